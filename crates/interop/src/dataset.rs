//! A dataset with every type and every encoding, with expiries, in several databases.

use std::io;

use quorate_client::Client;
use quorate_stdx::Rng;

/// The kinds of values; `samples` has one key of each.
const KINDS: &[&str] = &[
    "integer",
    "embedded",
    "raw",
    "compressible",
    "list",
    "long-list",
    "large-elements",
    "integers",
    "listpack-set",
    "table-set",
    "small-zset",
    "large-zset",
    "small-hash",
    "large-hash",
];

/// A key of each kind that [`fill`] makes.
pub fn samples() -> Vec<String> {
    KINDS.iter().map(|kind| format!("{kind}:0")).collect()
}

/// Makes `keys` keys: mostly strings, a twentieth of them collections, a tenth with an expiry that is far away.
///
/// # Errors
/// The connection breaks, or a request is refused.
pub fn fill(client: &mut Client, keys: u64, seed: u64) -> io::Result<()> {
    let mut rng = Rng::new(seed);
    let mut pending = 0;
    for number in 0..keys {
        // The first round has one of each kind.
        let kind = match number {
            0..14 => number as usize,
            _ if rng.below(20) == 0 => 4 + rng.below(10) as usize,
            _ => rng.below(3) as usize,
        };
        let key = format!("{}:{}", KINDS[kind], if number < 14 { 0 } else { number });
        for request in requests(KINDS[kind], &key, &mut rng) {
            client.push(&request);
            pending += 1;
        }
        // Samples are compared by value, copied without their expiry.
        if number >= 14 && rng.below(10) == 0 {
            client.push(&["PEXPIRE", &key, &(3_600_000 + rng.below(3_600_000)).to_string()]);
            pending += 1;
        }
        if pending > 500 || number + 1 == keys {
            settle(client, &mut pending)?;
        }
    }
    client.push(&["SELECT", "5"]);
    client.push(&["SET", "elsewhere", "too"]);
    client.push(&["SELECT", "0"]);
    pending = 3;
    settle(client, &mut pending)
}

fn settle(client: &mut Client, pending: &mut usize) -> io::Result<()> {
    client.flush()?;
    for _ in 0..std::mem::take(pending) {
        if let quorate_client::Reply::Error(text) = client.receive()? {
            return Err(io::Error::other(String::from_utf8_lossy(&text).into_owned()));
        }
    }
    Ok(())
}

fn requests(kind: &str, key: &str, rng: &mut Rng) -> Vec<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let with = |command: &str, members: &mut dyn Iterator<Item = String>| {
        let mut request = words(&[command, key]);
        request.extend(members);
        vec![request]
    };
    let n = rng.below(1_000_000);
    match kind {
        "integer" => vec![words(&["SET", key, &n.to_string()])],
        "embedded" => vec![words(&["SET", key, &format!("value {n}")])],
        "raw" => vec![words(&["SET", key, &format!("{n:>100}")])],
        "compressible" => vec![words(&["SET", key, &"abcd".repeat(500)])],
        "list" => with("RPUSH", &mut (0..5).map(|i| format!("{}", i * n))),
        "long-list" => with("RPUSH", &mut (0..400).map(|i| format!("element {} {i}", n))),
        "large-elements" => with("RPUSH", &mut (0..3).map(|i| format!("{i}").repeat(9000))),
        "integers" => with("SADD", &mut (0..20).map(|i| format!("{}", i * 1000 + n))),
        "listpack-set" => with("SADD", &mut (0..20).map(|i| format!("m{i}"))),
        "table-set" => with("SADD", &mut (0..200).map(|i| format!("member {n} {i}"))),
        "small-zset" => with("ZADD", &mut (0..10).flat_map(|i| [format!("{}.5", i * 3), format!("z{i}")])),
        "large-zset" => with("ZADD", &mut (0..200).flat_map(|i| [format!("{}", i % 50), format!("z{n} {i}")])),
        "small-hash" => with("HSET", &mut (0..8).flat_map(|i| [format!("f{i}"), format!("{}", n + i)])),
        _ => with("HSET", &mut (0..200).flat_map(|i| [format!("field {i}"), format!("value {n}")])),
    }
}

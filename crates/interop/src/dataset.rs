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
    "bitmap",
    "sparse-hyperloglog",
    "dense-hyperloglog",
    "places",
    "stream",
    "read-stream",
];

/// So many of the first kinds are strings, of which there are most.
const STRINGS: u64 = 4;

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
    let kinds = KINDS.len() as u64;
    for number in 0..keys {
        // The first round has one of each kind.
        let kind = match number {
            _ if number < kinds => number as usize,
            _ if rng.below(20) == 0 => (STRINGS + rng.below(kinds - STRINGS)) as usize,
            _ => rng.below(STRINGS - 1) as usize,
        };
        let key = format!("{}:{}", KINDS[kind], if number < kinds { 0 } else { number });
        for request in requests(KINDS[kind], &key, &mut rng) {
            client.push(&request);
            pending += 1;
        }
        // Samples are compared by value, copied without their expiry.
        if number >= kinds && rng.below(10) == 0 {
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

/// Makes what [`fill`] leaves out, because it takes its time: a library of functions, of which `FCALL twice 0 21` answers 42,
/// and values of many megabytes.
///
/// # Errors
/// The connection breaks, or a request is refused.
pub fn fill_large(client: &mut Client) -> io::Result<()> {
    let library = "#!lua name=numbers\n redis.register_function('twice', function(keys, args) return args[1] * 2 end)";
    client.push(&["FUNCTION", "LOAD", library]);
    client.push(&["SETRANGE", "large:string", &(16 << 20).to_string(), "the end"]);
    let mut noise = Rng::new(9);
    let text: String = (0..1 << 20).map(|_| char::from(b'a' + noise.below(26) as u8)).collect();
    for _ in 0..4 {
        client.push(&["APPEND", "large:noise", &text]);
        client.push(&["RPUSH", "large:list", &text, "and a short one"]);
        client.push(&["HSET", "large:hash", &text[..noise.below(1 << 16) as usize], &text]);
        client.push(&["XADD", "large:stream", "*", "field", &text]);
    }
    let mut pending = 18;
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
        "large-hash" => with("HSET", &mut (0..200).flat_map(|i| [format!("field {i}"), format!("value {n}")])),
        "bitmap" => vec![
            words(&["SETBIT", key, &(n % 5000).to_string(), "1"]),
            words(&[
                "BITFIELD",
                key,
                "SET",
                "u17",
                "#7",
                &n.to_string(),
                "OVERFLOW",
                "SAT",
                "INCRBY",
                "i5",
                "100",
                "30",
            ]),
        ],
        "sparse-hyperloglog" => with("PFADD", &mut (0..50).map(|i| format!("{n} {i}"))),
        "dense-hyperloglog" => with("PFADD", &mut (0..3000).map(|i| format!("{n} {i}"))),
        "places" => with(
            "GEOADD",
            &mut (0..20).flat_map(|i| [format!("{}", (n + i * 7) % 180), format!("{}.5", i * 4), format!("place {i}")]),
        ),
        _ => stream(kind == "read-stream", key, n),
    }
}

/// A stream with entries of several forms, trimmed and with holes; if it `is_read`, two groups have read it.
fn stream(is_read: bool, key: &str, n: u64) -> Vec<Vec<String>> {
    let mut requests = Vec::new();
    let mut push = |words: &[&str]| requests.push(words.iter().map(|word| (*word).to_owned()).collect());
    for i in 1..=150_u64 {
        let (id, value) = (format!("{}-*", n + i / 3), format!("value {i}"));
        match i % 10 {
            0 => push(&["XADD", key, "MAXLEN", "~", "120", &id, "other", &value]),
            5 => push(&["XADD", key, &id, "name", &value, "number", &i.to_string()]),
            _ => push(&["XADD", key, &id, "name", &value]),
        }
    }
    push(&["XDEL", key, &format!("{}-0", n + 48), &format!("{}-1", n + 48)]);
    push(&["XTRIM", key, "MINID", &format!("{}-1", n + 20)]);
    if is_read {
        push(&["XGROUP", "CREATE", key, "readers", "0"]);
        push(&["XGROUP", "CREATE", key, "watchers", "$"]);
        push(&["XREADGROUP", "GROUP", "readers", "alice", "COUNT", "5", "STREAMS", key, ">"]);
        push(&["XREADGROUP", "GROUP", "readers", "bob", "NOACK", "COUNT", "1", "STREAMS", key, ">"]);
        push(&["XAUTOCLAIM", key, "readers", "carol", "0", "-", "COUNT", "2"]);
        push(&["XADD", key, "*", "name", "the last one"]);
    }
    requests
}

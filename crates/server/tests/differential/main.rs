//! The same seeded sequences of requests to our server and to a real one: every reply has to be the same,
//! byte for byte, in RESP2 and RESP3.
//!
//! The requests are mostly right and often odd: wrong types, wrong numbers of arguments, numbers that are
//! none, options in every order. What is random or unordered by its nature is compared as such; what we
//! answer otherwise on purpose is listed in `known`.
//!
//! A run that fails names its seed. `QUORATE_DIFFERENTIAL_SEED=<seed>` repeats that run alone, and
//! `QUORATE_DIFFERENTIAL_RUNS=<count>` sets how many runs there are.

mod commands;
mod grammar;
mod known;
mod peer;

use std::collections::HashMap;

use quorate_resp::{Protocol, Reply};
use quorate_stdx::Rng;

use commands::{COMMANDS, Compare};
use grammar::Grammar;
use peer::Peer;

/// Requests in a run: enough for keys of every type to meet commands of every other.
const LENGTH: usize = 5000;
/// Differences after which a run ends.
const MOST: usize = 5;
/// Requests that are shown when a run fails, the last of them the one that was answered differently.
const SHOWN: usize = 12;

type Request = Vec<Vec<u8>>;

fn show(request: &Request) -> String {
    let word = |word: &Vec<u8>| match word.len() {
        0..80 => format!("\"{}\"", word.escape_ascii()),
        len => format!("\"{}...\" ({len} bytes)", word[..8].escape_ascii()),
    };
    request.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Whether two replies are equal as far as the comparison goes.
fn agree(compare: Compare, ours: &(Reply, Vec<u8>), theirs: &(Reply, Vec<u8>)) -> bool {
    if ours.1 == theirs.1 {
        return true;
    }
    match compare {
        Compare::Bytes => false,
        Compare::Unordered => sorted(&ours.0) == sorted(&theirs.0),
        Compare::Shape => shape(&ours.0) == shape(&theirs.0),
        Compare::Nearly(by) => match (&ours.0, &theirs.0) {
            (Reply::Int(a), Reply::Int(b)) => *a > 0 && *b > 0 && a.abs_diff(*b) <= by,
            _ => false,
        },
    }
}

/// A reply with the elements of its aggregates in a fixed order.
fn sorted(reply: &Reply) -> String {
    let all = |items: &[Reply]| {
        let mut items: Vec<String> = items.iter().map(sorted).collect();
        items.sort();
        items.join(",")
    };
    match reply {
        Reply::Array(items) => format!("[{}]", all(items)),
        Reply::Set(items) => format!("~{}", all(items)),
        Reply::Map(pairs) => {
            let pairs: Vec<Reply> =
                pairs.iter().map(|(key, value)| Reply::Array(vec![key.clone(), value.clone()])).collect();
            format!("%{}", all(&pairs))
        }
        // Scores are written differently from version to version.
        Reply::Bulk(text) if text.contains(&b'.') => match quorate_values::parse_double(text) {
            Some(number) => format!("{number}"),
            None => format!("{reply:?}"),
        },
        other => format!("{other:?}"),
    }
}

/// What kind of reply it is, and how many elements it has.
fn shape(reply: &Reply) -> String {
    match reply {
        Reply::Array(items) => format!("array of {}", items.len()),
        Reply::Set(items) => format!("set of {}", items.len()),
        Reply::Map(pairs) => format!("map of {}", pairs.len()),
        Reply::Bulk(_) => "bulk".to_owned(),
        Reply::Int(_) => "integer".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Whether the request changes data at random, or asks for so many random elements that it takes too long.
fn is_random(request: &Request) -> bool {
    let is = |name: &str| request[0].eq_ignore_ascii_case(name.as_bytes());
    let count = request.get(2).and_then(|word| String::from_utf8_lossy(word).parse::<i64>().ok());
    let draws = is("hrandfield") || is("srandmember") || is("zrandmember");
    draws && count.is_some_and(|count| count < -1000) || is("spop") && request.len() == 2
}

/// Lets both start with nothing.
fn clear(protocol: Protocol, peers: [&mut Peer; 2]) {
    let words = |line: &str| -> Request { line.split(' ').map(|word| word.as_bytes().to_vec()).collect() };
    for peer in peers {
        peer.request(&words(if protocol == Protocol::Resp3 { "HELLO 3" } else { "HELLO 2" }));
        peer.request(&words("SELECT 0"));
        assert_eq!(peer.request(&words("FLUSHALL")).1, b"+OK\r\n");
    }
}

/// One run: the differences found, at most a few. After each of them both start anew.
fn run(
    seed: u64,
    protocol: Protocol,
    [ours, theirs]: [&mut Peer; 2],
    reached: &mut HashMap<&'static str, usize>,
) -> Vec<String> {
    let mut grammar = Grammar::new(Rng::new(seed));
    let mut history: Vec<Request> = Vec::new();
    let mut differences = Vec::new();
    clear(protocol, [ours, theirs]);
    for _ in 0..LENGTH {
        let (compare, line) = COMMANDS[grammar.below(COMMANDS.len())];
        let request = grammar.request(line);
        if is_random(&request) {
            continue;
        }
        history.push(request.clone());
        let (our_reply, their_reply) = (ours.request(&request), theirs.request(&request));
        if !matches!(their_reply.0, Reply::Error(_)) {
            *reached.entry(line.split(' ').next().unwrap_or_default()).or_default() += 1;
        }
        if agree(compare, &our_reply, &their_reply) || known::is_known(&request, &our_reply.0, &their_reply.0) {
            continue;
        }
        let shown: Vec<String> = history[history.len().saturating_sub(SHOWN)..].iter().map(show).collect();
        differences.push(format!(
            "seed {seed}, {protocol:?}: the last of these requests is answered differently\n  {}\n    ours:   {}\n    \
             theirs: {}",
            shown.join("\n  "),
            our_reply.1.escape_ascii(),
            their_reply.1.escape_ascii(),
        ));
        if differences.len() == MOST {
            break;
        }
        clear(protocol, [ours, theirs]);
    }
    differences
}

#[test]
fn the_same_requests_get_the_same_replies_as_from_a_real_server() {
    let Some(mut theirs) = Peer::real() else {
        eprintln!(
            "SKIPPED the_same_requests_get_the_same_replies_as_from_a_real_server: redis-server is not installed"
        );
        return;
    };
    let mut ours = Peer::ours();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seeds = match number("QUORATE_DIFFERENTIAL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("QUORATE_DIFFERENTIAL_RUNS").unwrap_or(10),
    };
    let one = seeds.end - seeds.start == 1;
    let (mut reached, mut differences) = (HashMap::new(), Vec::new());
    for seed in seeds {
        let protocol = if seed % 2 == 0 { Protocol::Resp2 } else { Protocol::Resp3 };
        differences.extend(run(seed, protocol, [&mut ours, &mut theirs], &mut reached));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    // A grammar that only ever provokes errors would prove little.
    for (_, line) in COMMANDS.iter().filter(|_| !one) {
        let name = line.split(' ').next().unwrap_or_default();
        assert!(reached.contains_key(name), "no request of {name} has succeeded");
    }
}

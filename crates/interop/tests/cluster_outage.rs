//! What clients see when a primary of a cluster is killed: for how long its slots take no writes, whether the other slots
//! notice, and whether a write that was acknowledged is lost.
//!
//! A test run kills once. For figures: `OUTAGE_RUNS=20 cargo test -p quorate-interop --test cluster_outage -- --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};
use quorate_interop::{PATIENCE, Server};

const PRIMARIES: usize = 3;
const SLOTS: usize = 16384;
/// How long the writers write before and after.
const AROUND: Duration = Duration::from_secs(2);

fn call(client: &mut Client, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    match client.call(&words).unwrap() {
        Reply::Simple(text) | Reply::Bulk(text) | Reply::Error(text) => String::from_utf8(text).unwrap(),
        Reply::Int(number) => number.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

fn ask(node: &Server, line: &str) -> String {
    call(&mut node.connect(), line)
}

fn await_all(nodes: &[Server], what: &str, is_so: impl Fn(&Server) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !nodes.iter().all(&is_so) {
        assert!(Instant::now() < deadline, "never: {what}\n{}", ask(&nodes[0], "CLUSTER NODES"));
        quorate_interop::pause();
    }
}

/// Three primaries and a replica of each, without any tool.
fn form() -> Vec<Server> {
    let start = || {
        let bus = quorate_interop::free_port().to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--network-threads", "1"];
        (Server::start(&options), bus)
    };
    let (nodes, buses): (Vec<Server>, Vec<String>) = (0..2 * PRIMARIES).map(|_| start()).unzip();
    for (index, node) in nodes.iter().enumerate() {
        assert_eq!(ask(node, &format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1)), "OK");
        if index < PRIMARIES {
            let (first, last) = (index * SLOTS / PRIMARIES, (index + 1) * SLOTS / PRIMARIES - 1);
            assert_eq!(ask(node, &format!("CLUSTER ADDSLOTSRANGE {first} {last}")), "OK");
        }
        let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", nodes[0].port(), buses[0]);
        assert_eq!(ask(node, &meet), "OK");
    }
    let count = nodes.len();
    await_all(&nodes, "everybody knows everybody", |node| {
        let text = ask(node, "CLUSTER NODES");
        text.lines().count() == count && !text.contains("handshake")
    });
    for (index, node) in nodes.iter().enumerate().skip(PRIMARIES) {
        let primary = ask(&nodes[index - PRIMARIES], "CLUSTER MYID");
        assert_eq!(ask(node, &format!("CLUSTER REPLICATE {primary}")), "OK");
    }
    await_all(&nodes, "the cluster works", |node| ask(node, "CLUSTER INFO").contains("cluster_state:ok"));
    await_all(&nodes[PRIMARIES..], "replicas follow", |node| {
        ask(node, "INFO replication").contains("master_link_status:up")
    });
    nodes
}

/// What one writer saw.
struct Seen {
    /// When each of its writes was acknowledged.
    times: Vec<Instant>,
    acknowledged: BTreeSet<u64>,
}

/// Appends numbers to a list, one after the other, as a client that follows redirections and asks elsewhere when a node is
/// gone.
fn write(key: &str, addresses: &[SocketAddr], stop: &AtomicBool) -> Seen {
    let mut seen = Seen { times: Vec::new(), acknowledged: BTreeSet::new() };
    let (mut at, mut client, mut number) = (0, None::<Client>, 0u64);
    while !stop.load(Ordering::Acquire) {
        let connect = || Client::connect(addresses[at], Duration::from_millis(500)).ok();
        let Some(connected) = client.take().or_else(connect) else {
            at = (at + 1) % addresses.len();
            continue;
        };
        let mut connected = connected;
        match connected.call(&["RPUSH", key, &number.to_string()]) {
            Ok(Reply::Int(_)) => {
                seen.times.push(Instant::now());
                seen.acknowledged.insert(number);
                number += 1;
                client = Some(connected);
            }
            Ok(Reply::Error(text)) if text.starts_with(b"MOVED ") => {
                let port =
                    text.rsplit(|&byte| byte == b':').next().map(|port| String::from_utf8_lossy(port).into_owned());
                let is_there = |address: &SocketAddr| Some(address.port().to_string()) == port;
                let told = addresses.iter().position(is_there).unwrap();
                // What was told may be out of date; then somebody else knows better.
                at = if told == at { (at + 1) % addresses.len() } else { told };
            }
            Ok(Reply::Error(_)) => client = Some(connected),
            Ok(other) => panic!("{other:?}"),
            Err(_) => at = (at + 1) % addresses.len(),
        }
    }
    seen
}

/// The longest time without an acknowledged write, from `from` on.
fn longest_gap(seen: &Seen, from: Instant) -> Duration {
    let times: Vec<Instant> = seen.times.iter().copied().filter(|time| *time >= from).collect();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.chain(times.first().map(|first| *first - from)).max().unwrap_or(Duration::MAX)
}

/// An outage that is longer is explained by the logs.
const SLOW: Duration = Duration::from_millis(500);

/// What a node has decided, from its log.
fn print_decisions(node: &Server) {
    let is_decision =
        |line: &&str| ["failing", "FAIL", "lection", "gone", "auth"].iter().any(|word| line.contains(word));
    for line in node.log().lines().filter(is_decision) {
        println!("{}: {line}", node.port());
    }
}

/// What a kill did.
struct Outcome {
    outage: Duration,
    /// Of the slots of the other primaries.
    others: Duration,
    lost: usize,
}

fn kill_once() -> Outcome {
    let mut nodes = form();
    let addresses: Vec<SocketAddr> = nodes.iter().map(Server::address).collect();
    // One list for each primary.
    let key = |index: usize| {
        (0..).map(|n| format!("list:{n}")).find(|key| {
            let slot: usize = ask(&nodes[0], &format!("CLUSTER KEYSLOT {key}")).parse().unwrap();
            slot * PRIMARIES / SLOTS == index
        })
    };
    let keys: Vec<String> = (0..PRIMARIES).map(|index| key(index).unwrap()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = keys
        .iter()
        .map(|key| {
            let (key, addresses, stop) = (key.clone(), addresses.clone(), Arc::clone(&stop));
            std::thread::spawn(move || write(&key, &addresses, &stop))
        })
        .collect();
    let began = Instant::now();
    while began.elapsed() < AROUND {
        std::thread::park_timeout(AROUND - began.elapsed());
    }
    let killed = Instant::now();
    drop(nodes.remove(1));
    let settled = || nodes.iter().all(|node| ask(node, "CLUSTER INFO").contains("cluster_slots_ok:16384"));
    while !settled() {
        assert!(killed.elapsed() < PATIENCE, "{}", ask(&nodes[0], "CLUSTER NODES"));
    }
    let rest = Instant::now();
    while rest.elapsed() < AROUND {
        std::thread::park_timeout(AROUND - rest.elapsed());
    }
    stop.store(true, Ordering::Release);
    let seen: Vec<Seen> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    let mut lost = 0;
    for (key, seen) in keys.iter().zip(&seen) {
        let found = nodes.iter().find_map(|node| match node.connect().call(&["LRANGE", key, "0", "-1"]) {
            Ok(Reply::Array(items)) => Some(items),
            _ => None,
        });
        let number = |item: &Reply| match item {
            Reply::Bulk(text) => String::from_utf8_lossy(text).parse().unwrap(),
            other => panic!("{other:?}"),
        };
        let held: BTreeSet<u64> = found.unwrap().iter().map(number).collect();
        lost += seen.acknowledged.difference(&held).count();
    }
    let outage = longest_gap(&seen[1], killed);
    if outage > SLOW {
        nodes.iter().for_each(print_decisions);
    }
    let others = longest_gap(&seen[0], killed).max(longest_gap(&seen[2], killed));
    Outcome { outage, others, lost }
}

#[test]
fn a_killed_primary_is_replaced_within_moments_and_nothing_acknowledged_is_lost() {
    let runs = std::env::var("OUTAGE_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1);
    let mut outages = Vec::new();
    let (mut worst_other, mut lost) = (Duration::ZERO, 0);
    for run in 0..runs {
        let outcome = kill_once();
        println!("run {run}: outage {:?}, others {:?}, lost {}", outcome.outage, outcome.others, outcome.lost);
        outages.push(outcome.outage);
        worst_other = worst_other.max(outcome.others);
        lost += outcome.lost;
    }
    outages.sort();
    println!("outage: median {:?}, worst {:?}", outages[outages.len() / 2], outages[outages.len() - 1]);
    println!("longest time without a write elsewhere: {worst_other:?}; acknowledged writes lost: {lost}");
    assert_eq!(lost, 0);
    // The node timeout is 15 seconds: a tenth of it is far below what silence would take, and far above what this takes.
    assert!(outages[outages.len() / 2] < Duration::from_millis(1500));
}

//! How long slots take to move while clients write to them, and how long the clients wait for it.
//!
//! A test run moves few keys, and only looks that none is lost. For figures, and for the time that redis-cli takes between two
//! real nodes that nobody writes to:
//! `MIGRATION_KEYS=300000 cargo test -p quorate-interop --test cluster_migration_speed -- --nocapture`
//! with MIGRATION_RATE for another load than 30000 writes a second.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};
use quorate_interop::cluster::{Cluster, call, slot};
use quorate_interop::{PATIENCE, Server, await_that, free_port};

const SLOTS: u16 = 1000;
const WRITERS: usize = 4;
/// Writes that a writer sends at once.
const BATCH: usize = 8;

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Keys of the first slots, the same number of each.
fn keys(count: usize) -> Vec<String> {
    let each = count.div_ceil(usize::from(SLOTS));
    let mut tags: Vec<Option<String>> = vec![None; usize::from(SLOTS)];
    let mut missing = tags.len();
    for candidate in 0.. {
        let tag = candidate.to_string();
        let place = tags.get_mut(usize::from(slot(tag.as_bytes())));
        if let Some(place @ None) = place {
            *place = Some(tag);
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    let tags = tags.into_iter().flatten();
    tags.flat_map(|tag| (0..each).map(move |number| format!("{{{tag}}}{number}"))).take(count).collect()
}

fn fill(address: SocketAddr, keys: &[String]) {
    let mut client = Client::connect(address, PATIENCE).unwrap();
    for chunk in keys.chunks(1000) {
        chunk.iter().for_each(|key| client.push(&["SET", key.as_str(), "0"]));
        client.flush().unwrap();
        chunk.iter().for_each(|_| assert_eq!(client.receive().unwrap(), Reply::Simple(b"OK".to_vec())));
    }
}

/// What a writer saw.
#[derive(Default)]
struct Seen {
    /// How often each key was counted up.
    counts: Vec<u32>,
    waits: Vec<Duration>,
    redirected: usize,
}

/// Counts keys up, so many a second, until it is told to stop. Whoever it is sent to is asked next.
fn write(places: [SocketAddr; 2], keys: &[String], seed: u64, rate: usize, stop: &AtomicBool) -> Seen {
    let mut clients = places.map(|place| Client::connect(place, PATIENCE).unwrap());
    let mut owner = vec![0_usize; keys.len()];
    let mut seen = Seen { counts: vec![0; keys.len()], ..Seen::default() };
    let mut rng = quorate_stdx::Rng::new(seed);
    let pause = Duration::from_secs_f64(BATCH as f64 / rate as f64);
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        while Instant::now() < due {
            std::thread::yield_now();
        }
        let begun = Instant::now();
        // A writer that fell behind does not make up for it: it would only measure its own hurry.
        due = begun.max(due + pause).min(begun + pause);
        let mut batch: Vec<usize> = (0..BATCH).map(|_| rng.below(keys.len() as u64) as usize).collect();
        while !batch.is_empty() {
            for &key in &batch {
                clients[owner[key]].push(&["INCR", keys[key].as_str()]);
            }
            clients.iter_mut().for_each(|client| client.flush().unwrap());
            let mut again = Vec::new();
            for &key in &batch {
                match clients[owner[key]].receive().unwrap() {
                    Reply::Int(_) => seen.counts[key] += 1,
                    Reply::Error(text) if text.starts_with(b"MOVED") => {
                        seen.redirected += 1;
                        let told = String::from_utf8(text).unwrap();
                        let at = places.iter().position(|place| told.ends_with(&place.to_string()));
                        again.push((key, at.unwrap()));
                    }
                    other => panic!("{}: {other:?}", keys[key]),
                }
            }
            again.iter().for_each(|&(key, at)| owner[key] = at);
            batch = again.into_iter().map(|(key, _)| key).collect();
        }
        seen.waits.push(begun.elapsed());
    }
    seen
}

fn percentile(waits: &[Duration], part: f64) -> Duration {
    waits.get((waits.len().saturating_sub(1) as f64 * part) as usize).copied().unwrap_or_default()
}

/// Whether the one migration of a node has succeeded.
fn has_succeeded(client: &mut Client) -> bool {
    let reply = client.call(&["CLUSTER", "GETSLOTMIGRATIONS"]).unwrap();
    let shown = format!("{reply:?}");
    let is = |word: &str| shown.contains(&format!("{:?}", Reply::Bulk(word.into())));
    assert!(!is("failed"), "{reply:?}");
    is("success")
}

#[test]
fn slots_move_under_load_and_no_write_is_lost() {
    let figures = number("MIGRATION_KEYS");
    let rate = number("MIGRATION_RATE").unwrap_or(if figures.is_some() { 30_000 } else { 2000 });
    let keys = keys(figures.unwrap_or(5000));
    let cluster = Cluster::form(2, 0, &["--network-threads", "1"]);
    fill(cluster.node(0).address(), &keys);
    let places = [cluster.node(0).address(), cluster.node(1).address()];
    let calm = Duration::from_secs(if figures.is_some() { 3 } else { 0 });
    let (seen, before, took) = std::thread::scope(|scope| {
        let run = |stop: &'static AtomicBool, time: Option<Duration>| {
            let keys = &keys;
            let writers: Vec<_> = (0..WRITERS as u64)
                .map(|seed| scope.spawn(move || write(places, keys, seed, rate / WRITERS, stop)))
                .collect();
            let begun = Instant::now();
            match time {
                Some(time) => std::thread::park_timeout(time),
                None => {
                    let order = format!("CLUSTER MIGRATESLOTS SLOTSRANGE 0 {} NODE {}", SLOTS - 1, cluster.id(1));
                    assert_eq!(call(&mut cluster.node(0).connect(), &order), "OK");
                    await_that("the migration succeeds", || has_succeeded(&mut cluster.node(0).connect()));
                }
            }
            let took = begun.elapsed();
            stop.store(true, Ordering::Relaxed);
            let seen: Vec<Seen> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            (seen, took)
        };
        static STOPS: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];
        let before = run(&STOPS[0], Some(calm)).0;
        let (seen, took) = run(&STOPS[1], None);
        (seen, before, took)
    });
    assert!(seen.iter().any(|seen| seen.redirected > 0));
    let mut counts = vec![0; keys.len()];
    for writer in seen.iter().chain(&before) {
        counts.iter_mut().zip(&writer.counts).for_each(|(sum, count)| *sum += count);
    }
    let mut client = cluster.node(1).connect();
    for (key, count) in keys.iter().zip(counts) {
        assert_eq!(call(&mut client, &format!("GET {key}")), count.to_string(), "{key}");
    }
    await_that("nothing stays behind", || call(&mut cluster.node(0).connect(), "DBSIZE") == "0");
    let sorted = |seen: &[Seen]| {
        let mut waits: Vec<Duration> = seen.iter().flat_map(|seen| seen.waits.iter().copied()).collect();
        waits.sort_unstable();
        waits
    };
    let (before, during) = (sorted(&before), sorted(&seen));
    println!(
        "{} keys in {SLOTS} slots, {} writes/s wanted, {:.0} done",
        keys.len(),
        rate,
        (during.len() * BATCH) as f64 / took.as_secs_f64()
    );
    println!("moved in {took:?}");
    for (name, waits) in [("before", before), ("meanwhile", during)] {
        let [half, most, worst] = [0.5, 0.99, 1.0].map(|part| percentile(&waits, part));
        println!("a batch of {BATCH} writes {name}: p50 {half:?}, p99 {most:?}, longest {worst:?}");
    }
    if figures.is_some() {
        by_redis_cli(&keys, took);
    }
}

/// The same by redis-cli, between two real nodes, without any load.
fn by_redis_cli(keys: &[String], ours: Duration) {
    let start = || {
        let bus = free_port().to_string();
        Server::start_redis(&["--cluster-enabled", "yes", "--cluster-port", &bus], None).map(|node| (node, bus))
    };
    let nodes: Option<Vec<_>> = (0..2).map(|_| start()).collect();
    let Some(nodes) = nodes else { return };
    let (first, second) = (&nodes[0].0, &nodes[1].0);
    assert_eq!(call(&mut first.connect(), "CLUSTER ADDSLOTSRANGE 0 8191"), "OK");
    assert_eq!(call(&mut second.connect(), "CLUSTER ADDSLOTSRANGE 8192 16383"), "OK");
    assert_eq!(call(&mut second.connect(), "CLUSTER SET-CONFIG-EPOCH 2"), "OK");
    let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", first.port(), nodes[0].1);
    assert_eq!(call(&mut second.connect(), &meet), "OK");
    await_that("both work", || {
        [first, second].iter().all(|node| call(&mut node.connect(), "CLUSTER INFO").contains("cluster_state:ok"))
    });
    fill(first.address(), keys);
    let id = |node: &Server| call(&mut node.connect(), "CLUSTER MYID");
    let mut command = Command::new("redis-cli");
    command.args(["--cluster", "reshard"]).arg(first.address().to_string());
    command.args(["--cluster-from", &id(first), "--cluster-to", &id(second), "--cluster-slots", &SLOTS.to_string()]);
    let begun = Instant::now();
    let output = command.arg("--cluster-yes").output().unwrap();
    let took = begun.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(call(&mut second.connect(), "DBSIZE"), keys.len().to_string());
    println!(
        "redis-cli between two real nodes without load: {took:?}, {:.1} times as long",
        took.as_secs_f64() / ours.as_secs_f64()
    );
}

#[test]
fn a_huge_value_moves_and_nobody_waits_for_it() {
    let figures = number("MIGRATION_KEYS");
    let fields = if figures.is_some() { 3_000_000 } else { 20_000 };
    let cluster = Cluster::form(2, 0, &["--network-threads", "1"]);
    let keys = keys(1000);
    fill(cluster.node(0).address(), &keys);
    let mut client = cluster.node(0).connect();
    let huge = format!("{}huge", keys[0]);
    let number = slot(huge.as_bytes());
    let others: Vec<&String> = keys.iter().filter(|key| slot(key.as_bytes()) != number).collect();
    let (from, to) = (0, 1);
    let mut holder = cluster.node(from).connect();
    for first in (0..fields).step_by(1000) {
        let mut words = vec!["HSET".to_owned(), huge.clone()];
        (first..first + 1000).for_each(|field| words.extend([field.to_string(), "value".to_owned()]));
        holder.push(&words);
        holder.flush().unwrap();
        assert_eq!(holder.receive().unwrap(), Reply::Int(1000));
    }
    let order = format!("CLUSTER MIGRATESLOTS SLOTSRANGE {number} {number} NODE {}", cluster.id(to));
    let mut waits = Vec::new();
    let begun = Instant::now();
    assert_eq!(call(&mut cluster.node(from).connect(), &order), "OK");
    let mut ask = cluster.node(from).connect();
    let mut round = 0;
    loop {
        let at = Instant::now();
        let reply = call(&mut client, &format!("INCR {}", others[round % others.len()]));
        assert!(reply.parse::<u64>().is_ok(), "{reply}");
        waits.push(at.elapsed());
        round += 1;
        if round.is_multiple_of(50) && has_succeeded(&mut ask) {
            break;
        }
        assert!(begun.elapsed() < 3 * PATIENCE);
    }
    let took = begun.elapsed();
    assert_eq!(call(&mut cluster.node(to).connect(), &format!("HLEN {huge}")), fields.to_string());
    waits.sort_unstable();
    let [half, most, worst] = [0.5, 0.99, 1.0].map(|part| percentile(&waits, part));
    println!(
        "a hash of {fields} fields moved in {took:?}; another key's INCR: p50 {half:?}, p99 {most:?}, longest {worst:?}"
    );
}

//! What is no reason for a failover: a primary of ours that is busy, but alive. And what is one: a primary whose data plane
//! is stuck for good. Sentinels of ours and Redis' own watch it side by side.
//!
//! Knobs: `QUORATE_STALL_SECONDS` (how long the primary is kept busy; 4 unless it is set, `down-after-milliseconds` is 1 s)
//! and `QUORATE_SYNC_MB` (the size of the dataset that is copied to a replica; 64 unless it is set).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};
use quorate_interop::deployment::Make::{Ours, Redis};
use quorate_interop::deployment::{Deployment, Make, Process};
use quorate_interop::{PATIENCE, await_that, is_redis_installed};

const QUICK: &str = "sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 10000";
/// A script that no other request can pass: it touches a key that it did not declare, so that it runs alone.
const ENDLESS: &str = "redis.call('get', 'undeclared') while true do end";

fn knob(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn stall() -> Duration {
    Duration::from_secs(knob("QUORATE_STALL_SECONDS", 4))
}

/// Sentinels of both makes, or ours alone where there is no Redis.
fn sentinels() -> Vec<Make> {
    if is_redis_installed() { vec![Ours, Redis, Redis] } else { vec![Ours; 3] }
}

fn deploy(server_lines: &str) -> Deployment {
    let lines = format!("busy-reply-threshold 500\n{server_lines}");
    Deployment::start_with(&[Ours; 2], &lines, &sentinels(), QUICK).unwrap()
}

/// Sends a request and does not wait for the reply, which the thread returns.
fn ask_aside(server: &Process, words: &[&str]) -> JoinHandle<Option<Reply>> {
    let mut client = Client::connect(server.address(), PATIENCE).unwrap();
    client.set_limit(4 * PATIENCE).unwrap();
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    std::thread::spawn(move || client.call(&words).ok())
}

/// A connection as a Sentinel has it.
fn observer(server: &Process) -> Client {
    let mut client = Client::connect(server.address(), PATIENCE).unwrap();
    let named = client.call(&["CLIENT", "SETNAME", "sentinel-0a1b2c3d-cmd"]).unwrap();
    assert_eq!(named, Reply::Simple(b"OK".to_vec()));
    client
}

/// Nobody holds the primary for down, at any moment until `is_over`.
fn nobody_minds(deployment: &Deployment, mut is_over: impl FnMut() -> bool) {
    while !is_over() {
        for sentinel in &deployment.sentinels {
            assert_eq!(sentinel.field("flags").as_deref(), Some("master"), "port {}", sentinel.port());
        }
    }
    for sentinel in &deployment.sentinels {
        assert!(!sentinel.log().contains("+sdown master") && !sentinel.log().contains("+odown"), "{}", sentinel.log());
    }
}

fn for_a_while() -> impl FnMut() -> bool {
    let until = Instant::now() + stall();
    move || Instant::now() >= until
}

fn a_script_that_runs_for_long_is_no_reason(server_lines: &str) {
    let deployment = deploy(server_lines);
    let mut observer = observer(&deployment.servers[0]);
    let script = ask_aside(&deployment.servers[0], &["EVAL", ENDLESS, "0"]);
    await_that(
        "the script keeps everybody waiting",
        || matches!(deployment.servers[0].call(&["GET", "any"]), Some(Reply::Error(text)) if text.starts_with(b"BUSY")),
    );
    nobody_minds(&deployment, for_a_while());
    assert_eq!(observer.call(&["PING"]).unwrap(), Reply::Simple(b"PONG".to_vec()));
    let Reply::Bulk(info) = observer.call(&["INFO"]).unwrap() else { panic!() };
    let info = String::from_utf8(info).unwrap();
    assert!(info.contains("role:master") && info.contains("data_plane:ok"), "{info}");
    assert_eq!(observer.call(&["SCRIPT", "KILL"]).unwrap(), Reply::Simple(b"OK".to_vec()));
    assert!(matches!(script.join().unwrap(), Some(Reply::Error(_))));
    nobody_minds(&deployment, || deployment.servers[0].call(&["GET", "any"]) == Some(Reply::Null));
}

#[test]
fn a_script_that_runs_for_long_on_many_threads_is_no_reason() {
    a_script_that_runs_for_long_is_no_reason("network-threads 4");
}

#[test]
fn a_script_that_runs_for_long_on_the_only_thread_is_no_reason() {
    a_script_that_runs_for_long_is_no_reason("network-threads 1");
}

#[test]
fn one_thread_that_is_stuck_is_no_reason() {
    let deployment = deploy("network-threads 2");
    let sleep = ask_aside(&deployment.servers[0], &["DEBUG", "SLEEP-THREAD", &stall().as_secs().to_string()]);
    let served = || {
        let mut client = Client::connect(deployment.servers[0].address(), Duration::from_millis(500)).ok()?;
        client.call(&["PING"]).ok()
    };
    await_that("whoever comes now is served by the other thread", || (0..4).all(|_| served().is_some()));
    nobody_minds(&deployment, || sleep.is_finished());
    assert_eq!(sleep.join().unwrap(), Some(Reply::Simple(b"OK".to_vec())));
}

#[test]
fn a_data_plane_that_is_stuck_is_a_reason() {
    let deployment = deploy("network-threads 2");
    let mut observer = observer(&deployment.servers[0]);
    assert_eq!(observer.call(&["PING"]).unwrap(), Reply::Simple(b"PONG".to_vec()));
    // Connections go to the threads in turn.
    let sleeps: Vec<_> = (0..4).map(|_| ask_aside(&deployment.servers[0], &["DEBUG", "SLEEP-THREAD", "600"])).collect();
    let begun = Instant::now();
    await_that(
        "it is no secret",
        || matches!(observer.call(&["PING"]).unwrap(), Reply::Error(text) if text.starts_with(b"HUNG")),
    );
    let old = deployment.servers[0].port();
    deployment.await_successor(old);
    println!("replaced {} ms after it got stuck", begun.elapsed().as_millis());
    // The threads end with the process.
    drop(deployment);
    assert!(sleeps.into_iter().all(|sleep| sleep.join().unwrap().is_none()));
}

#[test]
fn a_burst_of_connections_is_no_reason() {
    let deployment = deploy("maxclients 3000");
    let begun = Instant::now();
    let mut clients = Vec::new();
    let mut all_served = false;
    nobody_minds(&deployment, || {
        if clients.is_empty() {
            clients.extend((0..1000).map(|_| Client::connect(deployment.servers[0].address(), PATIENCE).unwrap()));
            all_served = clients.iter_mut().all(|client| client.call(&["PING"]).is_ok());
        }
        begun.elapsed() >= stall()
    });
    assert!(all_served);
}

#[test]
fn a_full_synchronisation_is_no_reason() {
    let deployment = deploy("");
    let size = knob("QUORATE_SYNC_MB", 64);
    let mut client = Client::connect(deployment.servers[0].address(), PATIENCE).unwrap();
    let value = "x".repeat(1 << 20);
    for number in 0..size {
        client.call(&["SET", &format!("key:{number}"), &value]).unwrap();
    }
    let port = deployment.servers[0].port();
    let newcomer = Process::server(Ours, &format!("replicaof 127.0.0.1 {port}"));
    let begun = Instant::now();
    nobody_minds(&deployment, || newcomer.info("replication", "master_link_status").as_deref() == Some("up"));
    println!("{size} MB were copied in {} ms", begun.elapsed().as_millis());
    assert_eq!(newcomer.call(&["DBSIZE"]), Some(Reply::Int(i64::try_from(size).unwrap())));
}

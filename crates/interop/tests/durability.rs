//! What an append-only file promises: no write that was acknowledged is lost when the process is killed, whatever it is
//! doing; real Redis goes on with our files, and we with its; and after a crash replicas go on where they were.
//!
//! `QUORATE_KILLS` sets how often the server is killed (4 unless it is set), `QUORATE_SEED` the moments.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};
use quorate_interop::{PATIENCE, Server, binary, dataset};
use quorate_stdx::Rng;

const WRITERS: u64 = 4;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn ours() -> [std::ffi::OsString; 2] {
    [binary(), "server".into()]
}

fn ask(server: &Server, words: &[&str]) -> Reply {
    server.connect().call(words).expect("the server answers")
}

fn text(reply: Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("a text was expected, not {other:?}"),
    }
}

fn number(reply: Reply) -> u64 {
    match reply {
        Reply::Int(number) => u64::try_from(number).unwrap(),
        Reply::Null => 0,
        other => text(other).parse().unwrap(),
    }
}

fn info(server: &Server, section: &str, field: &str) -> String {
    let info = text(ask(server, &["INFO", section]));
    let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
    found.unwrap_or_else(|| panic!("INFO {section} has no {field}:\n{info}"))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// What a writer was told, and what it may have done beyond that.
#[derive(Clone, Copy, Default)]
struct Told {
    acknowledged: u64,
    sent: u64,
}

/// Counts up a key and lets a list grow with it, in one transaction, until the connection breaks.
fn write(mut client: Client, writer: u64, from: u64, done: &AtomicU64) -> Told {
    let mut told = Told { acknowledged: from, sent: from };
    let (counter, list) = (format!("counter:{writer}"), format!("list:{writer}"));
    loop {
        told.sent += 1;
        let value = told.sent.to_string();
        for words in [&["MULTI"][..], &["INCR", &counter], &["RPUSH", &list, &value], &["EXEC"]] {
            client.push(words);
        }
        if client.flush().is_err() {
            break;
        }
        match (0..4).map(|_| client.receive()).collect::<Result<Vec<_>, _>>() {
            Ok(replies) if matches!(&replies[3], Reply::Array(_)) => {
                told.acknowledged = told.sent;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(replies) => panic!("the transaction was answered by {replies:?}"),
            Err(_) => break,
        }
    }
    told
}

/// Lets writers write, and kills the server in the midst of it, again and again.
fn nothing_is_lost_with(options: &[&str]) {
    let kills = setting("QUORATE_KILLS", 4);
    let mut rng = Rng::new(setting("QUORATE_SEED", 11));
    let mut server = Server::start(options);
    let mut told = vec![Told::default(); WRITERS as usize];
    for round in 0..kills {
        let done = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (client, done) = (server.connect(), Arc::clone(&done));
                let from = told[writer as usize].acknowledged;
                std::thread::spawn(move || write(client, writer, from, &done))
            })
            .collect();
        let mut rewrites = server.connect();
        for _ in 0..=rng.below(4) {
            // It may be refused because one is under way.
            rewrites.call(&["BGREWRITEAOF"]).unwrap();
            let goal = done.load(Ordering::Relaxed) + rng.below(150);
            wait_until("writers write", || done.load(Ordering::Relaxed) >= goal);
        }
        server.kill_and_start(&ours(), options);
        for (writer, thread) in threads.into_iter().enumerate() {
            let Told { acknowledged, sent } = thread.join().unwrap();
            let count = number(ask(&server, &["GET", &format!("counter:{writer}")]));
            let length = number(ask(&server, &["LLEN", &format!("list:{writer}")]));
            assert!(
                (acknowledged..=sent).contains(&count),
                "round {round}: writer {writer} was told of {acknowledged}, sent {sent}, and there are {count}"
            );
            assert_eq!(count, length, "round {round}: half a transaction is there");
            told[writer] = Told { acknowledged: count, sent: count };
        }
    }
    let all: u64 = told.iter().map(|told| told.acknowledged).sum();
    assert!(all > 0, "nothing was written at all");
    println!("{kills} kills, {all} transactions, none lost");
}

#[test]
fn a_server_that_is_killed_with_always_has_lost_no_acknowledged_write() {
    nothing_is_lost_with(&["--appendonly", "yes", "--appendfsync", "always"]);
}

#[test]
fn a_server_that_is_killed_with_a_base_of_requests_has_lost_no_acknowledged_write() {
    nothing_is_lost_with(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--aof-use-rdb-preamble",
        "no",
        "--aof-timestamp-enabled",
        "yes",
    ]);
}

#[test]
fn replies_of_writes_leave_only_when_the_disk_has_them() {
    let options = ["--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"];
    let server = Server::start(&options);
    let delay = Duration::from_millis(300);
    assert_eq!(text(ask(&server, &["DEBUG", "AOF-FLUSH-SLEEP", &delay.as_micros().to_string()])), "OK");
    let mut client = server.connect();
    let began = Instant::now();
    assert_eq!(text(client.call(&["SET", "a", "1"]).unwrap()), "OK");
    assert!(began.elapsed() >= delay, "the reply came after {:?}", began.elapsed());
    // Whoever reads what the disk does not have waits, too; and requests behind one that waits are answered in order.
    for words in [&["SET", "a", "2"][..], &["GET", "a"], &["INCR", "a"]] {
        client.push(words);
    }
    client.flush().unwrap();
    assert_eq!(text(client.receive().unwrap()), "OK");
    assert_eq!(text(client.receive().unwrap()), "2");
    assert_eq!(number(client.receive().unwrap()), 3);
}

/// All that a dataset of every type is, as DEBUG DIGEST tells it.
fn digest(server: &Server) -> String {
    text(ask(server, &["DEBUG", "DIGEST"]))
}

#[test]
fn real_redis_goes_on_with_our_files_and_we_with_its() {
    // With another setting either side may lose what it wrote last: it does not wait for an fsync that is under way.
    let options = ["--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"];
    for preamble in ["yes", "no"] {
        let options = [&options[..], &["--aof-use-rdb-preamble", preamble]].concat();
        let Some(mut server) = Server::start_redis(&options, None) else { return };
        dataset::fill(&mut server.connect(), 2000, 7).unwrap();
        dataset::fill_large(&mut server.connect()).unwrap();
        let expected = digest(&server);
        for (round, program) in [&ours()[..], &["redis-server".into()], &ours()].into_iter().enumerate() {
            server.kill_and_start(program, &options);
            assert_eq!(digest(&server), expected, "preamble {preamble}, round {round}");
            assert_eq!(ask(&server, &["FCALL", "twice", "0", "21"]), Reply::Int(42));
            ask(&server, &["BGREWRITEAOF"]);
            // Redis counts a rewrite when it begins.
            wait_until("the file is rewritten", || {
                ["aof_rewrites", "aof_rewrite_in_progress"].map(|field| info(&server, "persistence", field))
                    == ["1", "0"]
            });
            ask(&server, &["RPUSH", "behind the base", "1"]);
            ask(&server, &["LPOP", "behind the base"]);
            let manifest = server.directory().join("appendonlydir/appendonly.aof.manifest");
            for checker in [&ours()[..1], &["redis-check-aof".into()]] {
                let mut command = Command::new(&checker[0]);
                if checker[0] != "redis-check-aof" {
                    command.arg("check-aof");
                }
                let checked = command.arg(&manifest).output().unwrap();
                assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
            }
        }
    }
}

#[test]
fn after_a_crash_both_sides_go_on_where_they_were() {
    let options = ["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"];
    let mut primary = Server::start(&options);
    let port = primary.port().to_string();
    let mut replica = Server::start(&[&options[..], &["--replicaof", "127.0.0.1", &port]].concat());
    let replicating = [&options[..], &["--replicaof", "127.0.0.1", &port]].concat();
    let is_up = |replica: &Server| info(replica, "replication", "master_link_status") == "up";
    let offset = |server: &Server| info(server, "replication", "master_repl_offset").parse::<u64>().unwrap();
    wait_until("the replica is up", || is_up(&replica));
    wait_until("the replica's file holds what it has got", || info(&replica, "persistence", "aof_rewrites") == "1");
    for number in 0..200 {
        ask(&primary, &["SET", &format!("key:{number}"), "value"]);
    }
    wait_until("the replica has all", || offset(&replica) >= offset(&primary));
    // The replica crashes: it asks for what comes next, and gets that.
    let full = info(&primary, "stats", "sync_full");
    wait_until("the replica's disk has all", || {
        text(ask(&primary, &["SET", "mark", "1"])) == "OK"
            && matches!(&ask(&primary, &["WAITAOF", "1", "1", "1000"]), Reply::Array(both) if both[1] == Reply::Int(1))
    });
    replica.kill_and_start(&ours(), &replicating);
    wait_until("the replica is up again", || is_up(&replica));
    assert_eq!(info(&primary, "stats", "sync_full"), full, "a replica that crashed needs no snapshot");
    assert_eq!(number(ask(&replica, &["DBSIZE"])), 201);
    // The primary crashes: the replica goes on with the history that continues its own.
    wait_until("the replica has all", || offset(&replica) >= offset(&primary));
    primary.kill_and_start(&ours(), &options);
    wait_until("the replica is up with the new primary", || {
        is_up(&replica) && info(&primary, "replication", "connected_slaves") == "1"
    });
    assert_eq!(info(&primary, "stats", "sync_full"), "0", "a primary that crashed need not send a snapshot");
    assert_eq!(info(&primary, "stats", "sync_partial_ok"), "1");
    ask(&primary, &["SET", "after", "1"]);
    wait_until("the stream goes on", || number(ask(&replica, &["EXISTS", "after"])) == 1);
}

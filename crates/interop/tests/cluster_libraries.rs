//! redis-py and ioredis in cluster mode, unchanged, write while slots move to another node and back, and while a primary is killed,
//! and nobody helps them. (redis-rs is in `cluster_clients`.)
//!
//! What is not installed is skipped, and says so (`cargo xtask peers`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quorate_client::Reply;
use quorate_interop::Server;
use quorate_interop::cluster::{Cluster, await_that, call, slot};

fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Moves slots, and waits until they have moved.
fn migrate(cluster: &Cluster, from: usize, to: usize) {
    let mut client = cluster.node(from).connect();
    let order = format!("CLUSTER MIGRATESLOTS SLOTSRANGE 1000 3000 NODE {}", cluster.id(to));
    assert_eq!(call(&mut client, &order), "OK");
    await_that("the slots have moved", || {
        let key = (0..).map(|number: u32| number.to_string()).find(|key| slot(key.as_bytes()) == 1000).unwrap();
        call(&mut cluster.node(from).connect(), &format!("EXISTS {key}")).starts_with("MOVED")
    });
}

/// How much is written to the node that leads for slots of the third share.
fn writes(node: &Server) -> u64 {
    match node.connect().call(&["INFO", "commandstats"]).unwrap() {
        Reply::Bulk(text) | Reply::Verbatim(_, text) => {
            let text = String::from_utf8_lossy(&text).into_owned();
            // As INCR, or as INCRBY.
            let calls = text.split("cmdstat_incr").nth(1).and_then(|rest| rest.split(['=', ',']).nth(1));
            calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
        }
        other => panic!("{other:?}"),
    }
}

fn ride_through(mut program: Command) {
    let mut cluster = Cluster::form(3, 1, &["--network-threads", "1"]);
    let place = tempfile::tempdir().unwrap();
    let stop = place.path().join("stop");
    program.arg(&stop).args(cluster.running().map(|node| node.port().to_string()));
    let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    if first == "writing\n" {
        migrate(&cluster, 0, 1);
        migrate(&cluster, 1, 0);
        cluster.nodes[2] = None;
        await_that("its replica leads", || {
            call(&mut cluster.node(5).connect(), "INFO replication").contains("role:master")
        });
        let before = writes(cluster.node(5));
        await_that("the client writes to it", || writes(cluster.node(5)) > before + 10);
        migrate(&cluster, 0, 1);
    }
    std::fs::write(&stop, "").unwrap();
    let (mut out, mut errors) = (String::new(), String::new());
    lines.read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success() && out.ends_with("all is well\n"), "{status}\n{first}{out}\n{errors}");
    println!("{out}");
}

#[test]
fn redis_py_rides_through_slots_that_move_and_a_failover() {
    let python = peers().join("py/bin/python");
    if !python.exists() {
        println!("SKIPPED redis-py: not installed (cargo xtask peers)");
        return;
    }
    let mut program = Command::new(python);
    program.arg(script("cluster_redis_py.py"));
    ride_through(program);
}

#[test]
fn ioredis_rides_through_slots_that_move_and_a_failover() {
    let modules = peers().join("node/node_modules");
    if !modules.join("ioredis").exists() {
        println!("SKIPPED ioredis: not installed (cargo xtask peers)");
        return;
    }
    let mut program = Command::new("node");
    program.env("NODE_PATH", modules).arg(script("cluster_ioredis.js"));
    ride_through(program);
}

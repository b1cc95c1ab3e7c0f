//! redis-py and ioredis in cluster mode, unchanged, write while slots move to another node and back, and while a primary is killed,
//! and nobody helps them. (redis-rs is in `cluster_clients`.)
//!
//! What is not installed is skipped, and says so (`cargo xtask peers`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;

use quorate_client::Reply;
use quorate_interop::cluster::{Cluster, call, slot};
use quorate_interop::peers::{self, Rider};
use quorate_interop::{Server, await_that};

/// Moves slots, and waits until they have moved and the client has written to all parts of the cluster since.
fn migrate(cluster: &Cluster, from: usize, to: usize) {
    let mut client = cluster.node(from).connect();
    let order = format!("CLUSTER MIGRATESLOTS SLOTSRANGE 1000 3000 NODE {}", cluster.id(to));
    assert_eq!(call(&mut client, &order), "OK");
    await_that("the slots have moved", || {
        let key = (0..).map(|number: u32| number.to_string()).find(|key| slot(key.as_bytes()) == 1000).unwrap();
        call(&mut cluster.node(from).connect(), &format!("EXISTS {key}")).starts_with("MOVED")
    });
    let all = || cluster.running().map(writes).sum::<u64>();
    let before = all();
    await_that("the client goes on", || all() > before + 200);
}

/// How much has been written to a node.
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

fn ride_through(program: Command) {
    let mut cluster = Cluster::form(3, 1, &["--network-threads", "1"]);
    let rider = Rider::start(program, cluster.running().map(Server::port));
    if rider.writes() {
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
    rider.end();
}

#[test]
fn redis_py_rides_through_slots_that_move_and_a_failover() {
    if let Some(program) = peers::python("redis", "cluster_redis_py.py") {
        ride_through(program);
    }
}

#[test]
fn ioredis_rides_through_slots_that_move_and_a_failover() {
    if let Some(program) = peers::node("ioredis", "cluster_ioredis.js") {
        ride_through(program);
    }
}

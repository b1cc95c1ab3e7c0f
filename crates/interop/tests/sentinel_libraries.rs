//! Client libraries in their Sentinel mode ride through a failover: redis-py, ioredis and redis-rs, unchanged, keep writing
//! while the primary is killed, and nobody helps them.
//!
//! What is not installed is skipped, and says so (`cargo xtask peers`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;
use std::time::{Duration, Instant};

use quorate_client::Reply;
use quorate_interop::deployment::Make::Ours;
use quorate_interop::deployment::{Deployment, NAME, Process};
use quorate_interop::peers::{self, Rider};
use quorate_interop::{PATIENCE, await_that};
use redis::Commands as _;
use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};

/// Runs a program that counts up in a key until it is told to end, and kills the primary meanwhile.
fn ride_through(program: Command, key: &str) {
    let mut deployment = Deployment::start(&[Ours; 3], &[Ours; 3], "").unwrap();
    let rider = Rider::start(program, deployment.sentinels.iter().map(Process::port));
    if rider.writes() {
        let old = deployment.servers[0].port();
        deployment.servers[0].kill();
        let next = deployment.await_successor(old);
        let count = || match deployment.servers[next].call(&["GET", key]) {
            Some(Reply::Bulk(number)) => String::from_utf8_lossy(&number).parse().unwrap_or(0_u64),
            _ => 0,
        };
        let before = count();
        await_that("the client writes to the new primary", || count() > before + 10);
        deployment.servers[0].start();
        deployment.await_links();
    }
    rider.end();
}

#[test]
fn redis_py_rides_through_a_failover() {
    let Some(program) = peers::python("redis", "sentinel_redis_py.py") else { return };
    ride_through(program, "redis-py");
}

#[test]
fn ioredis_rides_through_a_failover() {
    let Some(program) = peers::node("ioredis", "sentinel_ioredis.js") else { return };
    ride_through(program, "ioredis");
}

#[test]
fn redis_rs_rides_through_a_failover() {
    let mut deployment = Deployment::start(&[Ours; 3], &[Ours; 3], "").unwrap();
    let urls: Vec<String> =
        deployment.sentinels.iter().map(Process::address).map(|address| format!("redis://{address}/")).collect();
    let mut sentinel = Sentinel::build(urls).unwrap();
    let deadline = Instant::now() + 2 * PATIENCE;
    let old = deployment.servers[0].port();
    let (mut last, mut killed_at, mut errors) = (0_u64, None, 0);
    while killed_at.is_none_or(|killed| last < killed + 50) {
        assert!(Instant::now() < deadline, "{last} writes, {errors} errors");
        let found = sentinel.master_for(NAME, None::<&SentinelNodeConnectionInfo>);
        let Some(mut connection) = found.ok().and_then(|client| client.get_connection_with_timeout(PATIENCE).ok())
        else {
            errors += 1;
            continue;
        };
        connection.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        while let Ok(count) = connection.incr::<_, _, u64>("redis-rs", 1) {
            last = count;
            if last == 100 && killed_at.is_none() {
                deployment.servers[0].kill();
                killed_at = Some(last);
            }
            if killed_at.is_some_and(|killed| last >= killed + 50) {
                break;
            }
        }
    }
    let next = deployment.await_successor(old);
    println!("{last} writes, {errors} times nobody was found, and port {} leads", deployment.servers[next].port());
}

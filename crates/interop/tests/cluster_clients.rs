//! redis-rs in cluster mode, unchanged, through a failover and through slots that move.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};
use quorate_interop::{PATIENCE, Server};
use redis::cluster::ClusterClient;
use redis::{Commands, RedisResult};

fn call(node: &Server, line: &str) -> String {
    let mut client: Client = node.connect();
    let words: Vec<&str> = line.split(' ').collect();
    match client.call(&words).unwrap() {
        Reply::Simple(text) | Reply::Bulk(text) | Reply::Error(text) => String::from_utf8(text).unwrap(),
        other => panic!("{line}: {other:?}"),
    }
}

/// Three primaries with a replica each; `None` if redis-cli is not installed.
fn form() -> Option<Vec<Option<Server>>> {
    let start = |_| {
        let bus = quorate_interop::free_port().to_string();
        Server::start(&["--cluster-enabled", "yes", "--cluster-port", &bus, "--network-threads", "1"])
    };
    let nodes: Vec<Server> = (0..6).map(start).collect();
    let mut command = Command::new("redis-cli");
    command.args(["--cluster", "create"]).args(nodes.iter().map(|node| node.address().to_string()));
    let Ok(output) = command.args(["--cluster-replicas", "1", "--cluster-yes"]).output() else {
        println!("SKIPPED redis-cli: not installed (cargo xtask peers)");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let deadline = Instant::now() + PATIENCE;
    let is_well = |node: &Server| {
        let replication = call(node, "INFO replication");
        let follows = replication.contains("role:master") || replication.contains("master_link_status:up");
        follows && call(node, "CLUSTER INFO").contains("cluster_state:ok")
    };
    while !nodes.iter().all(is_well) {
        assert!(Instant::now() < deadline, "{}", call(&nodes[0], "CLUSTER NODES"));
        quorate_interop::pause();
    }
    Some(nodes.into_iter().map(Some).collect())
}

#[test]
fn redis_rs_rides_through_a_failover_and_through_slots_that_move() {
    let Some(mut nodes) = form() else { return };
    let running = |nodes: &[Option<Server>]| nodes.iter().flatten().map(|node| node.port()).collect::<Vec<_>>();
    let urls: Vec<String> = running(&nodes).iter().map(|port| format!("redis://127.0.0.1:{port}/")).collect();
    let client = ClusterClient::builder(urls)
        .connection_timeout(Duration::from_secs(2))
        .response_timeout(Duration::from_secs(2))
        .retries(3)
        .build()
        .unwrap();
    let mut connection = client.get_connection().unwrap();
    let keys: Vec<String> = (0..200).map(|number| format!("key:{number}")).collect();
    for key in &keys {
        let _: () = connection.set(key, key).unwrap();
    }
    let total: i64 =
        redis::cmd("MGET").arg("{a}1").arg("{a}2").query::<Vec<Option<String>>>(&mut connection).unwrap().len() as i64;
    assert_eq!(total, 2);

    // Slots move while it reads and writes.
    let first = nodes[0].as_ref().unwrap();
    let (from, to) = (call(first, "CLUSTER MYID"), call(nodes[1].as_ref().unwrap(), "CLUSTER MYID"));
    let mut reshard = Command::new("redis-cli");
    reshard.args(["--cluster", "reshard", &first.address().to_string(), "--cluster-from", &from, "--cluster-to", &to]);
    reshard.args(["--cluster-slots", "500", "--cluster-yes"]).stdout(std::process::Stdio::null());
    let mut moving = reshard.spawn().unwrap();
    let mut rounds = 0u64;
    let status = loop {
        for key in &keys {
            let value: String = connection.get(key).unwrap();
            assert_eq!(&value, key);
            let _: () = connection.set(key, key).unwrap();
        }
        rounds += 1;
        if let Some(status) = moving.try_wait().unwrap() {
            break status;
        }
    };
    assert!(status.success() && rounds > 0);

    println!("{rounds} rounds while slots moved");

    // A primary dies.
    nodes[1] = None;
    let killed = Instant::now();
    for key in &keys {
        loop {
            let value: RedisResult<String> = connection.get(key);
            match value {
                Ok(value) => {
                    assert_eq!(&value, key);
                    break;
                }
                Err(error) => {
                    assert!(killed.elapsed() < PATIENCE, "{error}");
                    // A connection of this library goes on trying the node that it knows; who uses it makes a new one.
                    if let Ok(fresh) = client.get_connection() {
                        connection = fresh;
                    }
                }
            }
        }
    }
    println!("all keys were read again {:?} after the kill", killed.elapsed());
}

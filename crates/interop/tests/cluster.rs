//! Clusters of our nodes and real ones, formed by redis-cli.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use std::process::Command;
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};
use quorate_interop::{PATIENCE, Server};

/// Whose a node is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Maker {
    Ours,
    Real,
}
use Maker::{Ours, Real};

/// A cluster; a node that was killed is none.
struct Nodes(Vec<Option<Server>>);

impl Nodes {
    /// Starts nodes and lets redis-cli make a cluster of them, three primaries and their replicas; `None` if Redis is not
    /// installed.
    fn form(makers: &[Maker], options: &[&str]) -> Option<Nodes> {
        let mut nodes = Vec::new();
        for maker in makers {
            nodes.push(Some(start(*maker, options)?));
        }
        let replicas = (makers.len() / 3 - 1).to_string();
        let nodes = Nodes(nodes);
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create"]).args(nodes.running().map(|node| node.address().to_string()));
        let Ok(output) = command.args(["--cluster-replicas", &replicas, "--cluster-yes"]).output() else {
            println!("SKIPPED redis-cli: not installed (cargo xtask peers)");
            return None;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("[OK] All 16384 slots covered."), "{text}");
        nodes.await_all("the cluster works", |node| {
            call(&mut node.connect(), "CLUSTER INFO").contains("cluster_state:ok")
        });
        nodes.await_all("replicas follow", |node| {
            let text = call(&mut node.connect(), "INFO replication");
            text.contains("role:master") || text.contains("master_link_status:up")
        });
        Some(nodes)
    }

    fn running(&self) -> impl Iterator<Item = &Server> {
        self.0.iter().flatten()
    }

    fn node(&self, index: usize) -> &Server {
        self.0[index].as_ref().unwrap()
    }

    fn await_all(&self, what: &str, is_so: impl Fn(&Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !self.running().all(&is_so) {
            assert!(
                Instant::now() < deadline,
                "never: {what}\n{}",
                call(&mut self.node_alive().connect(), "CLUSTER NODES")
            );
            quorate_interop::pause();
        }
    }

    fn node_alive(&self) -> &Server {
        self.running().next().unwrap()
    }

    /// Waits until every node tells the same of all, but for when it has heard of them.
    fn await_agreement(&self) {
        let first = || told_by(self.node_alive());
        self.await_all("every node tells the same", |node| told_by(node) == first());
    }

    fn check(&self) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "check"]).arg(self.node_alive().address().to_string());
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }

    /// Sets a key at whichever node takes it, as a client would that follows redirections.
    fn set(&self, key: &str, value: &str) -> bool {
        self.running().any(|node| {
            let mut client = node.connect();
            client.call(&["SET", key, value]).is_ok_and(|reply| reply == Reply::Simple(b"OK".to_vec()))
        })
    }

    fn get(&self, key: &str) -> Option<String> {
        self.running().find_map(|node| match node.connect().call(&["GET", key]) {
            Ok(Reply::Bulk(value)) => Some(String::from_utf8(value).unwrap()),
            _ => None,
        })
    }
}

/// A node that knows no other; `None` if it is to be a real one and Redis is not installed.
fn start(maker: Maker, options: &[&str]) -> Option<Server> {
    let bus = quorate_interop::free_port().to_string();
    let mut all = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
    all.extend(options);
    match maker {
        Ours => Some(Server::start(&all)),
        Real => Server::start_redis(&all, None),
    }
}

fn call(client: &mut Client, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    match client.call(&words).unwrap() {
        Reply::Simple(text) | Reply::Bulk(text) | Reply::Error(text) => String::from_utf8(text).unwrap(),
        Reply::Int(number) => number.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

/// CLUSTER NODES without what differs from node to node: who is myself, and when who was heard of.
fn told_by(node: &Server) -> BTreeSet<String> {
    let text = call(&mut node.connect(), "CLUSTER NODES");
    let line = |line: &str| {
        let mut words: Vec<String> = line.replace("myself,", "").split(' ').map(str::to_owned).collect();
        words.drain(4..6);
        words.join(" ")
    };
    text.lines().map(line).collect()
}

#[test]
fn our_nodes_and_real_ones_are_one_cluster_and_replace_each_other() {
    let Some(mut nodes) = Nodes::form(&[Ours, Real, Ours, Real, Ours, Real], &[]) else { return };
    nodes.await_agreement();
    let keys: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
    assert!(keys.iter().all(|key| nodes.set(key, "1")));
    nodes.await_all("replicas have it", |node| call(&mut node.connect(), "DBSIZE") != "0");

    // A real primary dies, and our replica takes over long before the node timeout of 15 seconds.
    nodes.0[1] = None;
    let killed = Instant::now();
    let deadline = killed + PATIENCE;
    while !keys.iter().all(|key| nodes.set(key, "2")) {
        assert!(Instant::now() < deadline, "{}", nodes.node(0).log());
    }
    assert!(killed.elapsed() < Duration::from_secs(10), "took over after {:?}", killed.elapsed());
    assert!(keys.iter().all(|key| nodes.get(key).as_deref() == Some("2")));
    let leads = |node: &&Server| call(&mut node.connect(), "INFO replication").contains("role:master");
    assert_eq!(nodes.running().filter(leads).count(), 3);
    nodes.await_agreement();
}

/// However short the link to it was: it holds all that the primary had acknowledged.
#[test]
fn a_replica_whose_primary_dies_as_soon_as_it_has_its_data_takes_over() {
    let Some(mut nodes) = Nodes::form(&[Ours; 3], &[]) else { return };
    let keys: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
    assert!(keys.iter().all(|key| nodes.set(key, "1")));
    let (replica, primary) = (start(Ours, &[]).unwrap(), call(&mut nodes.node(0).connect(), "CLUSTER MYID"));
    let mut client = replica.connect();
    let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", nodes.node(0).address().port(), bus_port(nodes.node(0)));
    assert_eq!(call(&mut client, &meet), "OK");
    nodes.0.push(Some(replica));
    nodes.await_all("all know each other", |node| {
        call(&mut node.connect(), "CLUSTER INFO").contains("cluster_known_nodes:4")
    });
    let deadline = Instant::now() + PATIENCE;
    while call(&mut client, &format!("CLUSTER REPLICATE {primary}")) != "OK" {
        assert!(Instant::now() < deadline, "{}", nodes.node(3).log());
        quorate_interop::pause();
    }
    while !call(&mut client, "INFO replication").contains("master_link_status:up") {
        assert!(Instant::now() < deadline, "{}", nodes.node(3).log());
    }
    nodes.0[0] = None;
    let deadline = Instant::now() + PATIENCE;
    while !keys.iter().all(|key| nodes.get(key).as_deref() == Some("1")) {
        assert!(Instant::now() < deadline, "{}", nodes.node(3).log());
        quorate_interop::pause();
    }
}

/// It is back before anybody has missed it, and would make its replica as empty as it is.
#[test]
fn a_primary_that_is_back_at_once_with_nothing_yields_to_a_replica_that_has_everything() {
    let Some(mut nodes) = Nodes::form(&[Ours; 6], &[]) else { return };
    let keys: Vec<String> = (0..300).map(|number| format!("key:{number}")).collect();
    assert!(keys.iter().all(|key| nodes.set(key, "1")));
    // What is acknowledged is on its way to the replicas, which must have it before the primary dies.
    for primary in 0..3 {
        assert_eq!(call(&mut nodes.node(primary).connect(), "WAIT 1 30000"), "1");
    }
    let bus = bus_port(nodes.node(0));
    let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
    let began = Instant::now();
    let program = [quorate_interop::binary(), "server".into()];
    nodes.0[0].as_mut().unwrap().kill_and_start(&program, &options);
    println!("back after {:?}", began.elapsed());
    let mut first = nodes.node(0).connect();
    assert!(matches!(first.call(&["SET", "key:0", "2"]).unwrap(), Reply::Error(_)), "it takes no write");
    let deadline = Instant::now() + PATIENCE;
    while !keys.iter().all(|key| nodes.get(key).as_deref() == Some("1")) {
        assert!(Instant::now() < deadline, "{}", nodes.node(0).log());
        quorate_interop::pause();
    }
    let follows = |node: &Server| {
        let text = call(&mut node.connect(), "INFO replication");
        text.contains("role:slave") && text.contains("master_link_status:up")
    };
    while !follows(nodes.node(0)) {
        assert!(Instant::now() < deadline, "{}", nodes.node(0).log());
        quorate_interop::pause();
    }
    nodes.await_agreement();
}

fn bus_port(node: &Server) -> String {
    let text = call(&mut node.connect(), "CLUSTER NODES");
    let own = text.lines().find(|line| line.contains("myself")).unwrap();
    let address = own.split(' ').nth(1).unwrap().split(',').next().unwrap();
    address.split_once('@').unwrap().1.to_owned()
}

#[test]
fn a_manual_failover_swaps_our_node_and_a_real_one_and_loses_nothing() {
    let Some(nodes) = Nodes::form(&[Ours, Real, Ours, Real, Ours, Real], &[]) else { return };
    let keys: Vec<String> = (0..50).map(|number| format!("key:{number}")).collect();
    assert!(keys.iter().all(|key| nodes.set(key, "1")));
    // A real replica of ours takes over, and then our replica of a real one.
    for replica in [3, 4] {
        assert_eq!(call(&mut nodes.node(replica).connect(), "CLUSTER FAILOVER"), "OK");
        let deadline = Instant::now() + PATIENCE;
        while !call(&mut nodes.node(replica).connect(), "INFO replication").contains("role:master") {
            assert!(Instant::now() < deadline, "{}", nodes.node(replica).log());
            quorate_interop::pause();
        }
        nodes.await_agreement();
        assert!(keys.iter().all(|key| nodes.get(key).as_deref() == Some("1")));
    }
    assert!(!nodes.check().contains("[ERR]"), "{}", nodes.check());
}

#[test]
fn redis_cli_moves_slots_between_our_node_and_a_real_one_both_ways() {
    let Some(nodes) = Nodes::form(&[Ours, Real, Ours, Real, Ours, Real], &[]) else { return };
    let keys: Vec<String> = (0..300).map(|number| format!("key:{number}")).collect();
    assert!(keys.iter().all(|key| nodes.set(key, key)));
    let id = |index: usize| call(&mut nodes.node(index).connect(), "CLUSTER MYID");
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "reshard"]).arg(nodes.node(0).address().to_string());
        command.args([
            "--cluster-from",
            &id(from),
            "--cluster-to",
            &id(to),
            "--cluster-slots",
            "1000",
            "--cluster-yes",
        ]);
        let text = String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned();
        let tail = &text[text.len().saturating_sub(600)..];
        assert!(!text.contains("ERR"), "{tail}");
        nodes.await_agreement();
        assert!(keys.iter().all(|key| nodes.get(key).as_ref() == Some(key)), "after {from} to {to}");
    }
    assert!(!nodes.check().contains("[ERR]"), "{}", nodes.check());
}

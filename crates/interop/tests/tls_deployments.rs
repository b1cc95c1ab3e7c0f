//! TLS between servers: Sentinels of either make that reach everybody over TLS alone, and a cluster whose bus, replication
//! and slots that move are encrypted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddr};

use quorate_client::{Client, Reply};
use quorate_interop::certificates::Authority;
use quorate_interop::deployment::Make::{Ours, Redis};
use quorate_interop::deployment::{Make, NAME, Process};
use quorate_interop::{PATIENCE, Server, await_that, free_port, is_redis_installed};
use quorate_tls::Outgoing;

fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("server");
    authority.issue("client");
    authority
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A process, and its port for TLS.
struct Encrypted(Process, u16);

fn server(authority: &Authority, make: Make, lines: &str) -> Encrypted {
    let port = free_port();
    let tls = authority.lines("server", Some(port));
    let lines = format!("repl-diskless-sync-delay 0\ntls-replication yes\n{tls}{lines}");
    Encrypted(Process::server(make, &lines), port)
}

/// One primary and two replicas, under three Sentinels, of which the last is of this make.
fn fail_over(last: Make) {
    if last == Redis && !is_redis_installed() {
        return println!("SKIPPED redis-server: not installed (cargo xtask peers)");
    }
    let authority = authority();
    let mut servers = vec![server(&authority, Ours, "")];
    let leader = servers[0].1;
    for make in [Ours, last] {
        servers.push(server(&authority, make, &format!("replicaof 127.0.0.1 {leader}")));
    }
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let sentinels: Vec<Process> = [Ours, Ours, last]
        .into_iter()
        .zip(&ports)
        .enumerate()
        .map(|(number, (make, port))| {
            let tls = authority.lines("server", Some(*port));
            let id = format!("{:040x}", u128::from(*port) << 8 | number as u128);
            let lines = format!(
                "tls-replication yes\n{tls}sentinel myid {id}\nsentinel monitor {NAME} 127.0.0.1 {leader} 2\n\
                 sentinel down-after-milliseconds {NAME} 2000\nsentinel failover-timeout {NAME} 10000"
            );
            Process::sentinel(make, &lines)
        })
        .collect();
    await_that("the Sentinels know each other and the replicas", || {
        sentinels.iter().all(|sentinel| {
            sentinel.field("num-other-sentinels").as_deref() == Some("2")
                && sentinel.field("num-slaves").as_deref() == Some("2")
                && sentinel.field("flags").as_deref() == Some("master")
        })
    });
    // They are known by the ports that links like theirs come to.
    let Some(Reply::Array(others)) = sentinels[0].call(&["SENTINEL", "SENTINELS", NAME]) else {
        panic!("no Sentinels")
    };
    let told = format!("{others:?}");
    for port in &ports[1..] {
        assert!(told.contains(&format!("Bulk({:?})", port.to_string().as_bytes())), "{port}: {told}");
    }
    servers[0].0.kill();
    let mut next = 0;
    await_that("all Sentinels name the same new primary", || {
        let named: Vec<Option<u16>> = sentinels.iter().map(Process::names).collect();
        next = named[0].unwrap_or(leader);
        next != leader && named.iter().all(|port| *port == Some(next))
    });
    servers[0].0.start();
    let known = authority.client(Some("client"));
    await_that("the others follow it, over TLS", || {
        let told =
            Client::connect_over(at(next), Some(&known), PATIENCE).and_then(|mut it| it.call(&["INFO", "replication"]));
        let Ok(Reply::Bulk(text)) = told else { return false };
        let text = String::from_utf8_lossy(&text).into_owned();
        text.contains("role:master") && text.matches("state=online").count() == 2
    });
    let mut through = Client::connect_over(at(ports[0]), Some(&known), PATIENCE).unwrap();
    let answer = through.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).unwrap();
    let expected = [&b"127.0.0.1"[..], next.to_string().as_bytes()].map(|text| Reply::Bulk(text.to_vec()));
    assert_eq!(answer, Reply::Array(expected.to_vec()), "clients may come over TLS, too");
}

#[test]
fn our_sentinels_fail_over_what_is_reached_over_tls_alone() {
    fail_over(Ours);
}

#[test]
fn a_real_sentinel_and_a_real_server_take_part_over_tls() {
    fail_over(Redis);
}

struct Node {
    server: Server,
    tls: u16,
    bus: u16,
}

impl Node {
    fn start(authority: &Authority, make: Make, more: &[&str]) -> Option<Node> {
        let (tls, bus) = (free_port(), free_port());
        let mut options = authority.options("server", Some(tls));
        let bus_port = bus.to_string();
        let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus_port, "--tls-cluster", "yes"];
        options.extend(cluster.iter().chain(more).map(|&word| word.to_owned()));
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let server = match make {
            Ours => Server::start(&options),
            Redis => Server::start_redis(&options, None)?,
        };
        Some(Node { server, tls, bus })
    }

    fn ask(&self, line: &str) -> String {
        text(self.server.connect().call(&line.split(' ').collect::<Vec<_>>()).unwrap())
    }

    fn ask_over_tls(&self, known: &Outgoing, line: &str) -> String {
        let mut client = Client::connect_over(at(self.tls), Some(known), PATIENCE).unwrap();
        text(client.call(&line.split(' ').collect::<Vec<_>>()).unwrap())
    }
}

fn text(reply: Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) | Reply::Error(text) => String::from_utf8_lossy(&text).into_owned(),
        Reply::Int(number) => number.to_string(),
        other => panic!("a text was expected, not {other:?}"),
    }
}

/// Two primaries of ours and a replica, with a real primary and its replica beside them if there is one.
fn form(authority: &Authority) -> Vec<Node> {
    let follows = ["--tls-replication", "yes"];
    let mut nodes: Vec<Node> = (0..3).map(|_| Node::start(authority, Ours, &follows).unwrap()).collect();
    nodes.extend(Node::start(authority, Redis, &follows));
    for (index, node) in nodes.iter().enumerate() {
        assert_eq!(node.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1)), "OK");
        if index > 0 {
            // Nodes meet at the port for TLS: that is the one among them.
            let first = &nodes[0];
            assert_eq!(node.ask(&format!("CLUSTER MEET 127.0.0.1 {} {}", first.tls, first.bus)), "OK");
        }
    }
    assert_eq!(nodes[0].ask("CLUSTER ADDSLOTSRANGE 0 9999"), "OK");
    assert_eq!(nodes[1].ask("CLUSTER ADDSLOTSRANGE 10000 16383"), "OK");
    await_that("everybody knows everybody", || {
        let knows = |text: String| text.lines().count() == nodes.len() && !text.contains("handshake");
        nodes.iter().all(|node| knows(node.ask("CLUSTER NODES")))
    });
    for replica in &nodes[2..] {
        assert_eq!(replica.ask(&format!("CLUSTER REPLICATE {}", nodes[1].ask("CLUSTER MYID"))), "OK");
    }
    await_that("the cluster works, and the replicas follow", || {
        nodes.iter().all(|node| node.ask("CLUSTER INFO").contains("cluster_state:ok"))
            && nodes[2..].iter().all(|node| node.ask("INFO replication").contains("master_link_status:up"))
    });
    nodes
}

#[test]
fn a_cluster_whose_bus_is_encrypted_works_and_tells_each_client_the_ports_of_its_kind() {
    let authority = authority();
    let known = authority.client(Some("client"));
    let nodes = form(&authority);
    let (plain, tls) = (nodes[1].server.port(), nodes[1].tls);
    assert_eq!(nodes[0].ask("GET a"), "MOVED 15495 127.0.0.1:".to_owned() + &plain.to_string());
    assert_eq!(nodes[0].ask_over_tls(&known, "GET a"), format!("MOVED 15495 127.0.0.1:{tls}"));
    let (lines, over_tls) = (nodes[0].ask("CLUSTER NODES"), nodes[0].ask_over_tls(&known, "CLUSTER NODES"));
    assert!(lines.contains(&format!("127.0.0.1:{plain}@")) && !lines.contains(&format!("127.0.0.1:{tls}@")), "{lines}");
    assert!(over_tls.contains(&format!("127.0.0.1:{tls}@")), "{over_tls}");
    let conf = std::fs::read_to_string(nodes[0].server.directory().join("nodes.conf")).unwrap();
    assert!(conf.contains(&format!("127.0.0.1:{tls}@")) && conf.contains(&format!(",tcp-port={plain}")), "{conf}");
    // What operators use speaks it, too.
    let tool = |words: &[&str]| {
        let files = ["ca.crt", "client.crt", "client.key"].map(|name| authority.path(name));
        let encryption = ["--tls", "--cacert", &files[0], "--cert", &files[1], "--key", &files[2]];
        let output =
            std::process::Command::new(quorate_interop::binary()).args(words).args(encryption).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let entry = at(nodes[0].tls).to_string();
    let (is_well, told) = tool(&["cluster", "check", &entry]);
    assert!(is_well && told.contains(&format!("127.0.0.1:{tls}")), "{told}");
    let (is_well, told) = tool(&["status", &entry]);
    assert!(is_well && told.contains(&format!("127.0.0.1:{tls}")), "{told}");
    // Slots move between nodes over TLS, too.
    for number in 0..500 {
        assert_eq!(nodes[1].ask(&format!("SET {{a}}{number} {number}")), "OK");
    }
    assert_eq!(
        nodes[1].ask(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 15495 15495 NODE {}", nodes[0].ask("CLUSTER MYID"))),
        "OK"
    );
    await_that("the slot has moved", || nodes[0].ask("CLUSTER COUNTKEYSINSLOT 15495") == "500");
    await_that("everybody knows", || nodes[1].ask("GET {a}7").starts_with("MOVED"));
    assert_eq!(nodes[0].ask("GET {a}7"), "7");
}

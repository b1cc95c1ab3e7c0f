//! `quorate status` against deployments of either make, while they are well and while they are not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};

use quorate_client::{Client, Reply};
use quorate_interop::deployment::{Deployment, Make, Process};
use quorate_interop::shards::{self, ask};
use quorate_interop::{PATIENCE, Server, await_that, binary, free_port};
use serde_json::Value;

/// The exit status, and what it printed.
fn status(addresses: &[SocketAddr], options: &[&str]) -> (i32, String) {
    let mut command = Command::new(binary());
    // A busy machine answers late, which is no fault of who is asked.
    command.args(["status", "--timeout", "8000"]).args(options).args(addresses.iter().map(SocketAddr::to_string));
    command.env_remove("REDISCLI_AUTH").stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    (status.code().unwrap(), String::from_utf8(stdout).unwrap())
}

/// The exit status, and what it says as JSON.
fn facts(address: SocketAddr) -> (i32, Value) {
    let (code, text) = status(&[address], &["--json"]);
    (code, serde_json::from_str(&text).unwrap())
}

fn count(facts: &Value, state: &str) -> usize {
    facts["nodes"].as_array().unwrap().iter().filter(|node| node["state"] == state).count()
}

/// A problem whose text begins so, about this node.
fn has_problem(facts: &Value, node: &str, text: &str) -> bool {
    let mut problems = facts["problems"].as_array().unwrap().iter();
    problems.any(|problem| problem["node"] == node && problem["text"].as_str().unwrap().starts_with(text))
}

fn tell_the_truth_about_sentinels(make: Make) {
    let options = format!("sentinel down-after-milliseconds {} 5000", quorate_interop::deployment::NAME);
    let Some(mut all) = Deployment::start(&[make; 3], &[make; 3], &options) else { return };
    // From any of them the whole is found.
    let everybody: Vec<&Process> = all.servers.iter().chain(&all.sentinels).collect();
    for process in &everybody {
        await_that("all is well, whoever is asked", || {
            let (code, facts) = facts(process.address());
            (code, count(&facts, "up")) == (0, 6) && facts["groups"][0]["name"] == quorate_interop::deployment::NAME
        });
    }
    // A replica that is gone is named, by whoever is asked.
    let replica = all.servers[2].address().to_string();
    all.servers[2].kill();
    await_that("a dead replica is named", || {
        let (code, seen) = facts(all.servers[0].address());
        code == 1 && has_problem(&seen, &replica, "does not answer: connection refused")
    });
    // Without a primary nothing can be written; after the failover it can, and the dead one is still missed.
    let primary = all.servers[0].address().to_string();
    all.servers[0].kill();
    let (code, seen) = facts(all.sentinels[0].address());
    let is_failed_over = seen["groups"][0]["branches"][0]["address"] == all.servers[1].address().to_string();
    assert!(code == 2 || code == 1 && is_failed_over, "{code} {seen:#}");
    all.await_successor(all.servers[0].port());
    await_that("one replica is left, and two nodes are missed", || {
        let (code, seen) = facts(all.sentinels[1].address());
        code == 1 && count(&seen, "down") == 2 && has_problem(&seen, &primary, "does not answer: connection refused")
    });
    all.servers[0].start();
    all.servers[2].start();
    await_that("all is well again", || status(&[all.sentinels[2].address()], &["--quiet"]) == (0, String::new()));
}

#[test]
fn real_sentinels_and_servers_are_told_as_they_are() {
    tell_the_truth_about_sentinels(Make::Redis);
}

#[test]
fn our_sentinels_and_servers_are_told_as_they_are() {
    tell_the_truth_about_sentinels(Make::Ours);
}

fn tell_the_truth_about_a_cluster(make: Make) {
    let Some(mut nodes) = shards::form(make, shards::EVEN) else { return };
    for node in &nodes {
        await_that("all is well, whoever is asked", || {
            let (code, facts) = facts(node.address());
            (code, count(&facts, "up")) == (0, 6) && facts["groups"][0]["shards"].as_array().unwrap().len() == 3
        });
    }
    let dead = nodes.remove(1);
    let (address, id) = (dead.address().to_string(), ask(&dead, "CLUSTER MYID"));
    drop(dead);
    await_that("a dead primary is named", || {
        let (code, seen) = facts(nodes[0].address());
        (code == 2 || code == 1) && has_problem(&seen, &address, "does not answer: connection refused")
    });
    await_that("its replica has taken over", || {
        let (code, seen) = facts(nodes[4].address());
        code == 1 && has_problem(&seen, &address, "was found failed by the cluster")
    });
    for node in &nodes {
        // Ours tell each other.
        let said = ask(node, &format!("CLUSTER FORGET {id}"));
        assert!(said == "OK" || said.starts_with("ERR Unknown node"), "{said}");
    }
    await_that("nobody misses it any more", || facts(nodes[2].address()).0 == 0);
    // A slot without an owner is worse than a missing node.
    assert_eq!(ask(&nodes[0], "CLUSTER DELSLOTS 7"), "OK");
    await_that("a slot without an owner is told", || {
        let (code, seen) = facts(nodes[0].address());
        code == 2 && seen["verdict"] == "down"
    });
}

#[test]
fn a_real_cluster_is_told_as_it_is() {
    tell_the_truth_about_a_cluster(Make::Redis);
}

#[test]
fn our_cluster_is_told_as_it_is() {
    tell_the_truth_about_a_cluster(Make::Ours);
}

/// A listener that answers whatever it reads with the same.
fn saying(words: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                // Whoever asks may be gone before the answer.
                while std::io::Read::read(&mut stream, &mut [0; 512]).is_ok_and(|read| read > 0) {
                    let _ = std::io::Write::write_all(&mut stream, words.as_bytes());
                }
            });
        }
    });
    address
}

#[test]
fn what_is_no_server_is_called_so() {
    let nothing = SocketAddr::from(([127, 0, 0, 1], free_port()));
    for (address, said) in [
        (nothing, "connection refused"),
        (saying("HTTP/1.1 400 Bad Request\r\n\r\n"), "no Redis there: it speaks HTTP"),
        (saying("-ERR unknown command\r\n"), "no Redis there"),
        (saying("$9\r\nrole:king\r\n"), "no Redis there"),
        (saying("\x15\x03\x03\0\x02\x02\n"), "no Redis there: it speaks TLS"),
    ] {
        let (code, text) = status(&[address], &[]);
        assert_eq!((code, text.contains(said)), (3, true), "{said}: {text}");
    }
    let server = Server::start(&[]);
    await_that("one that lives is enough", || {
        let (code, text) = status(&[nothing, server.address()], &[]);
        code == 1 && text.contains("1 of 2 nodes answer")
    });
}

#[test]
fn a_password_is_asked_for_and_used() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.address(), PATIENCE).unwrap();
    assert_eq!(client.call(&["CONFIG", "SET", "requirepass", "secret"]).unwrap(), Reply::Simple(b"OK".to_vec()));
    let run = |password: Option<&str>| {
        let mut command = Command::new(binary());
        command.arg("status").arg(server.address().to_string()).env_remove("REDISCLI_AUTH");
        let output = command.envs(password.map(|password| ("QUORATE_AUTH", password))).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    for (password, code, said) in
        [(None, 3, "not let in: NOAUTH"), (Some("wrong"), 3, "not let in: WRONGPASS"), (Some("secret"), 0, "healthy")]
    {
        let (got, text) = run(password);
        assert_eq!((got, text.contains(said)), (code, true), "{text}");
    }
}

#[test]
fn servers_for_majority_locks_are_told_as_what_they_are() {
    let mut servers = [0; 3].map(|_| Process::server(Make::Ours, ""));
    let addresses = servers.each_ref().map(Process::address);
    let (code, said) = status(&addresses, &[]);
    assert_eq!((code, said.contains("3 independent servers; 2 of them grant a lock")), (0, true), "{said}");
    servers[0].kill();
    assert_eq!(status(&addresses, &["--quiet"]).0, 1, "a majority is left");
    // Of one that is left it can't be told what the others were; that they are gone can.
    servers[1].kill();
    let (code, said) = status(&addresses, &[]);
    assert_eq!((code, said.contains("1 of 3 nodes answer")), (1, true), "{said}");
}

/// Hands a server's place over; the exit status, and all that was said.
fn hand_over(address: SocketAddr) -> (i32, String) {
    let mut command = Command::new(binary());
    command.args(["handover", "--within", "60", "--timeout", "8000", &address.to_string()]).env_remove("REDISCLI_AUTH");
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn a_server_hands_its_place_over_before_it_is_stopped() {
    // Without Sentinels it does so itself; whoever leads nothing has nothing to hand over, and whoever is alone can't.
    let primary = Process::server(Make::Ours, "repl-diskless-sync-delay 0");
    let (code, said) = hand_over(primary.address());
    assert_eq!((code, said.contains("has no replica that could take its place")), (1, true), "{said}");
    let replica =
        Process::server(Make::Ours, &format!("repl-diskless-sync-delay 0\nreplicaof 127.0.0.1 {}", primary.port()));
    await_that("the replica is linked", || replica.info("replication", "master_link_status").as_deref() == Some("up"));
    let (code, said) = hand_over(replica.address());
    assert_eq!((code, said.contains("leads nothing: it can be stopped")), (0, true), "{said}");
    let (code, said) = hand_over(primary.address());
    assert_eq!((code, said.contains("leads no more: it can be stopped")), (0, true), "{said}");
    assert_eq!(replica.info("replication", "role").as_deref(), Some("master"));
    // With Sentinels one of them is asked.
    let Some(all) = Deployment::start(&[Make::Ours; 2], &[Make::Ours; 3], "") else { return };
    let (code, said) = hand_over(all.servers[0].address());
    assert_eq!((code, said.contains("SENTINEL FAILOVER mymaster")), (0, true), "{said}");
    assert_eq!(all.await_successor(all.servers[0].port()), 1);
    // In a cluster a replica takes over.
    let Some(nodes) = shards::form(Make::Ours, shards::EVEN) else { return };
    let (code, said) = hand_over(nodes[0].address());
    assert_eq!((code, said.contains("CLUSTER FAILOVER")), (0, true), "{said}");
    assert!(ask(&nodes[0], "INFO replication").contains("role:slave"));
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (code, said) = hand_over(nobody);
    assert_eq!((code, said.contains("connection refused")), (1, true), "{said}");
}

#[test]
fn a_hostile_name_can_t_steer_the_terminal() {
    let text = "role:master\r\nredis_mode:standalone\r\nredis_version:\x1b[2J<script>\r\n\
        slave0:ip=\x1b]0;owned\x07,port=1,state=online,offset=1,lag=0\r\n";
    let reply: &'static str = Box::leak(format!("${}\r\n{text}\r\n", text.len()).into_boxed_str());
    let (code, text) = status(&[saying(reply)], &[]);
    assert_eq!(code, 1, "{text}");
    assert!(!text.contains(['\x1b', '\x07']), "{text:?}");
}

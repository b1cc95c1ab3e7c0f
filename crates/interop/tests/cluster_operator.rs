//! `quorate cluster` over our nodes, over real ones, and over both.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Output};

use quorate_client::Reply;
use quorate_interop::cluster::call;
use quorate_interop::{Server, await_that, binary, free_port};

/// Whose a node is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Maker {
    Ours,
    Real,
}
use Maker::{Ours, Real};

/// Starts an empty node of a cluster to be; `None` if Redis is wanted and not installed.
fn start(maker: Maker) -> Option<Server> {
    let bus = free_port().to_string();
    let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
    match maker {
        Ours => Some(Server::start(&options)),
        Real => Server::start_redis(&options, None),
    }
}

fn run(words: &[&str]) -> Output {
    let output = Command::new(binary()).arg("cluster").args(words).output().unwrap();
    println!("{words:?}\n{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

fn succeed(words: &[&str]) -> String {
    let output = run(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A cluster that the manager has made, of these nodes, with some keys.
fn form(makers: &[Maker], replicas: usize) -> Option<(Vec<Server>, Vec<String>)> {
    let nodes: Vec<Server> = makers.iter().map(|maker| start(*maker)).collect::<Option<_>>()?;
    let places: Vec<String> = nodes.iter().map(|node| node.address().to_string()).collect();
    let mut words = vec!["create"];
    words.extend(places.iter().map(String::as_str));
    let replicas = replicas.to_string();
    words.extend(["--replicas", &replicas, "--yes"]);
    let told = succeed(&words);
    assert!(told.contains("[OK] All 16384 slots covered."), "{told}");
    for number in 0..500 {
        set(&nodes, &format!("key:{number}"));
    }
    Some((nodes, places))
}

/// Sets a key to itself at whichever node takes it.
fn set(nodes: &[Server], key: &str) {
    let takes = |node: &Server| {
        node.connect().call(&["SET", key, key]).is_ok_and(|reply| reply == Reply::Simple(b"OK".to_vec()))
    };
    await_that("somebody takes it", || nodes.iter().any(takes));
}

/// Every key is with somebody.
fn assert_all_there(nodes: &[Server]) {
    let clients = std::cell::RefCell::new(nodes.iter().map(Server::connect).collect::<Vec<_>>());
    for number in 0..500 {
        let key = format!("key:{number}");
        // The cluster may still be down in the eyes of a node for a moment.
        await_that(&key, || {
            let is_it = |reply| reply == Reply::Bulk(key.clone().into());
            clients.borrow_mut().iter_mut().any(|client| is_it(client.call(&["GET", &key]).unwrap()))
        });
    }
}

/// How many slots each node has.
fn sizes(place: &str) -> Vec<usize> {
    let told = succeed(&["check", place]);
    let count = |line: &str| line.split_once(" slots) master")?.0.rsplit_once('(')?.1.parse().ok();
    told.lines().filter_map(count).collect()
}

#[test]
fn nodes_come_and_go_by_one_command_each_and_leave_the_cluster_balanced() {
    let (mut nodes, places) = form(&[Ours; 6], 1).unwrap();
    let first = places[0].as_str();
    nodes.push(start(Ours).unwrap());
    let new = nodes[6].address().to_string();
    succeed(&["add-node", &new, first]);
    let mut all = sizes(first);
    all.sort_unstable();
    assert_eq!(all, [4096, 4096, 4096, 4096]);
    assert_all_there(&nodes);
    // One that follows it.
    nodes.push(start(Ours).unwrap());
    let follower = nodes[7].address().to_string();
    succeed(&["add-node", &follower, first, "--replica-of"]);
    await_that("it follows the one without a replica", || {
        call(&mut nodes[6].connect(), "INFO replication").contains("connected_slaves:1")
    });
    // And away again.
    succeed(&["del-node", first, &new, "--yes"]);
    let mut all = sizes(first);
    all.sort_unstable();
    assert_eq!(all.iter().sum::<usize>(), 16384);
    assert!(all.len() == 3 && all[2] - all[0] <= 2, "{all:?}");
    assert_all_there(&nodes[..6]);
    assert_eq!(call(&mut nodes[6].connect(), "CLUSTER INFO").lines().nth(5), Some("cluster_known_nodes:1"));
}

#[test]
fn a_dry_run_shows_and_changes_nothing() {
    let (nodes, places) = form(&[Ours; 3], 0).unwrap();
    let weight = format!("{}=0", places[1]);
    let told = succeed(&["rebalance", &places[0], "--weight", &weight, "--dry-run", "--json"]);
    assert!(told.starts_with("{\"moves\":[{\"from\":") && told.contains("\"atomic\":true"), "{told}");
    assert_eq!(sizes(&places[0]).len(), 3);
    let refused = run(&["rebalance", &places[0], "--weight", &weight]);
    assert!(!refused.status.success(), "nobody has said yes");
    succeed(&["rebalance", &places[0], "--weight", &weight, "--yes"]);
    let all = sizes(&places[0]);
    assert!(all.contains(&8192), "{all:?}");
    assert_all_there(&nodes);
}

/// How many keys each node has, in this order.
fn counts(nodes: &[Server]) -> Vec<i64> {
    nodes.iter().map(|node| call(&mut node.connect(), "DBSIZE").parse().unwrap()).collect()
}

#[test]
fn what_slots_weigh_is_shared_out_as_their_number_is() {
    let (nodes, places) = form(&[Ours; 3], 0).unwrap();
    // All of these are in one third of the slots, and asked for more often than others.
    let of_first = |number: &u32| quorate_interop::cluster::slot(format!("{{{number}}}").as_bytes()) < 5461;
    let tags: Vec<u32> = (0..).filter(of_first).take(300).collect();
    for tag in &tags {
        set(&nodes, &format!("{{{tag}}}"));
    }
    let told = succeed(&["rebalance", &places[0], "--by", "keys", "--dry-run"]);
    assert!(told.contains(">>> Shares of the keys:") && counts(&nodes).iter().max() > Some(&400), "{told}");
    succeed(&["rebalance", &places[0], "--by", "keys", "--yes"]);
    await_that("each has a third of the keys", || {
        let counts = counts(&nodes);
        counts.iter().sum::<i64>() == 800 && counts.iter().all(|count| (*count - 266).abs() <= 8)
    });
    assert_all_there(&nodes);
    let refused = run(&["rebalance", &places[0], "--by", "load", "--yes"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cluster-slot-stats-enabled yes"));
    for node in &nodes {
        assert_eq!(call(&mut node.connect(), "CONFIG SET cluster-slot-stats-enabled yes"), "OK");
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    let told = std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = std::time::Instant::now();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) && begun.elapsed().as_secs() < 60 {
                let mut client = nodes[0].connect();
                (0..100).for_each(|_| drop(client.call(&["GET", &format!("{{{}}}", tags[0])])));
                tags.iter().for_each(|tag| drop(client.call(&["GET", &format!("{{{tag}}}")])));
            }
        });
        let told = succeed(&["rebalance", &places[0], "--by", "traffic", "--measure", "1", "--dry-run", "--json"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        told
    });
    assert!(told.starts_with("{\"moves\":[{\"from\":"), "{told}");
}

#[test]
fn real_nodes_are_managed_alike() {
    let Some((mut nodes, places)) = form(&[Real; 3], 0) else { return };
    nodes.push(start(Real).unwrap());
    let new = nodes[3].address().to_string();
    succeed(&["add-node", &new, &places[0], "--no-rebalance"]);
    let told = succeed(&["reshard", &places[0], "--to", &new, "--slots", "100", "--yes"]);
    assert!(told.contains("key by key"), "{told}");
    let mut all = sizes(&places[0]);
    all.sort_unstable();
    assert_eq!(all[0], 100);
    // One that somebody else has just let in says for its first two seconds that the cluster is down: its keys wait.
    nodes.push(start(Real).unwrap());
    let newest = nodes[4].address();
    let known = call(&mut nodes[0].connect(), "CLUSTER NODES");
    let myself = known.lines().find(|line| line.contains("myself")).unwrap();
    let bus = myself.split(['@', ' ']).nth(2).unwrap();
    let place = nodes[0].address();
    let met = call(&mut nodes[4].connect(), &format!("CLUSTER MEET {} {} {bus}", place.ip(), place.port()));
    assert_eq!(met, "OK");
    let known = |node: &Server| call(&mut node.connect(), "CLUSTER INFO").contains("cluster_known_nodes:5\r");
    await_that("all know it", || nodes.iter().all(known));
    succeed(&["reshard", &places[0], "--to", &newest.to_string(), "--slots", "900", "--yes"]);
    assert_all_there(&nodes);
}

#[test]
fn slots_move_between_our_node_and_a_real_one_key_by_key() {
    let Some((nodes, places)) = form(&[Ours, Real, Ours], 0) else { return };
    for (from, to) in [(0, 1), (1, 2)] {
        let words = ["reshard", &places[0], "--from", &places[from], "--to", &places[to], "--slots", "200", "--yes"];
        let told = succeed(&words);
        assert!(told.contains("key by key"), "{told}");
        assert_all_there(&nodes);
    }
    let told = succeed(&["reshard", &places[0], "--from", &places[2], "--to", &places[0], "--slots", "200", "--yes"]);
    assert!(told.contains("as a whole"), "{told}");
    assert_all_there(&nodes);
}

#[test]
fn what_was_broken_off_is_finished_and_what_nobody_has_is_given_to_somebody() {
    let (nodes, places) = form(&[Ours; 3], 0).unwrap();
    let id = |index: usize| call(&mut nodes[index].connect(), "CLUSTER MYID");
    let say = |index: usize, line: &str| call(&mut nodes[index].connect(), line);
    // Slot 0 is on its way, 1 is said to be by one side alone, and 2 belongs to nobody.
    assert_eq!(say(1, &format!("CLUSTER SETSLOT 0 IMPORTING {}", id(0))), "OK");
    assert_eq!(say(0, &format!("CLUSTER SETSLOT 0 MIGRATING {}", id(1))), "OK");
    assert_eq!(say(0, &format!("CLUSTER SETSLOT 1 MIGRATING {}", id(1))), "OK");
    (0..3).for_each(|index| assert_eq!(say(index, "CLUSTER DELSLOTS 2"), "OK"));
    assert!(!run(&["check", &places[0]]).status.success());
    succeed(&["fix", &places[0], "--yes"]);
    await_that("all agree", || run(&["check", &places[0]]).status.success());
    assert_all_there(&nodes);
}

#[test]
fn every_node_is_restarted_in_its_turn_and_no_write_is_lost() {
    let (mut nodes, places) = form(&[Ours; 6], 1).unwrap();
    let buses: Vec<String> = nodes.iter().map(bus_of).collect();
    let mut command = Command::new(binary());
    command.args(["cluster", "upgrade", &places[0], "--yes"]).stdout(std::process::Stdio::piped());
    let mut upgrade = command.spawn().unwrap();
    let told = std::io::BufReader::new(upgrade.stdout.take().unwrap());
    let mut restarted = Vec::new();
    for line in std::io::BufRead::lines(told) {
        let line = line.unwrap();
        println!("{line}");
        let Some(place) = line.strip_prefix(">>> Restart ").and_then(|rest| rest.strip_suffix(" now")) else {
            continue;
        };
        let index = places.iter().position(|known| known == place).unwrap();
        assert!(call(&mut nodes[index].connect(), "INFO replication").contains("role:slave"), "{place} still leads");
        let options = ["--cluster-enabled", "yes", "--cluster-port", &buses[index]];
        nodes[index].kill_and_start(&[binary(), "server".into()], &options);
        restarted.push(index);
    }
    assert!(upgrade.wait().unwrap().success());
    restarted.sort_unstable();
    assert_eq!(restarted, [0, 1, 2, 3, 4, 5]);
    assert_all_there(&nodes);
}

/// Where a node's bus listens.
fn bus_of(node: &Server) -> String {
    let known = call(&mut node.connect(), "CLUSTER NODES");
    let myself = known.lines().find(|line| line.contains("myself")).unwrap();
    myself.split(['@', ' ', ',']).nth(2).unwrap().to_owned()
}

#[test]
fn a_backup_is_a_snapshot_of_each_shard() {
    for maker in [Ours, Real] {
        let Some((_nodes, places)) = form(&[maker; 3], 0) else { return };
        let place = tempfile::tempdir().unwrap();
        succeed(&["backup", &places[0], &place.path().display().to_string()]);
        let files = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
        let snapshots: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "rdb")).collect();
        assert_eq!(snapshots.len(), 3);
        let count = |path: &std::path::PathBuf| -> usize {
            call(&mut Server::start_with(&[], path).connect(), "DBSIZE").parse().unwrap()
        };
        assert_eq!(snapshots.iter().map(count).sum::<usize>(), 500);
        let listed: serde_json::Value =
            serde_json::from_slice(&std::fs::read(place.path().join("nodes.json")).unwrap()).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 3);
    }
}

#[test]
fn the_keys_of_a_server_that_stands_alone_are_taken_over() {
    let (nodes, places) = form(&[Ours; 3], 0).unwrap();
    for maker in [Ours, Real] {
        let alone = match maker {
            Ours => Server::start(&[]),
            Real => match Server::start_redis(&[], None) {
                Some(server) => server,
                None => return,
            },
        };
        let mut client = alone.connect();
        for number in 0..1000 {
            assert_eq!(call(&mut client, &format!("SET alone:{number} {number}")), "OK");
        }
        let from = alone.address().to_string();
        let copy = succeed(&["import", &places[0], "--from", &from, "--copy", "--yes", "--replace"]);
        assert!(copy.contains("[OK] 1000 keys copied."), "{copy}");
        let refused = run(&["import", &places[0], "--from", &from, "--yes"]);
        assert!(!refused.status.success(), "the keys are there already");
        succeed(&["import", &places[0], "--from", &from, "--replace", "--yes"]);
        assert_eq!(call(&mut client, "DBSIZE"), "0");
        let count = |node: &Server| call(&mut node.connect(), "DBSIZE").parse::<usize>().unwrap();
        assert_eq!(nodes.iter().map(count).sum::<usize>(), 1500);
    }
}

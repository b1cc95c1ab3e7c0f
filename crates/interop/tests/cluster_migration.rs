//! Slots that move with all that they hold, by CLUSTER MIGRATESLOTS, while clients go on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::atomic::{AtomicBool, Ordering};

use quorate_client::{Client, Reply};
use quorate_interop::await_that;
use quorate_interop::cluster::{Cluster, Router, call};

/// The state of each migration that a node knows of.
fn states(client: &mut Client) -> Vec<String> {
    let Reply::Array(migrations) = client.call(&["CLUSTER", "GETSLOTMIGRATIONS"]).unwrap() else { panic!("no list") };
    let state = |migration: Reply| {
        let Reply::Array(fields) = migration else { panic!("no migration") };
        let texts: Vec<String> = fields.into_iter().map(text).collect();
        let at = texts.iter().position(|text| text == "state").unwrap();
        texts[at + 1].clone()
    };
    migrations.into_iter().map(state).collect()
}

fn text(reply: Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) | Reply::Error(text) => String::from_utf8_lossy(&text).into_owned(),
        Reply::Int(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

/// One key of each kind for each tag: small ones, and large ones that go in pieces.
fn fill(router: &mut Router, tags: u32) -> Vec<String> {
    let mut keys = Vec::new();
    for tag in 0..tags {
        let key = |kind: &str| format!("{{{tag}}}{kind}");
        let mut add = |kind: &str, name: &str, words: Vec<String>| {
            let key = key(kind);
            let mut all: Vec<&[u8]> = vec![name.as_bytes(), key.as_bytes()];
            all.extend(words.iter().map(String::as_bytes));
            assert!(!matches!(router.call(key.as_bytes(), &all), Reply::Error(_)));
            keys.push(key);
        };
        let numbers = |count: u32| (0..count).map(|number| number.to_string());
        add("string", "SET", vec![tag.to_string()]);
        add("volatile", "SET", vec!["soon".into(), "EX".into(), "10000".into()]);
        add("long-string", "SET", vec!["x".repeat(600_000)]);
        for count in [5, 3000] {
            let pairs = || numbers(count).flat_map(|number| [number.clone(), format!("value {number}")]).collect();
            add(&format!("list{count}"), "RPUSH", numbers(count).collect());
            add(&format!("ints{count}"), "SADD", numbers(count).collect());
            add(&format!("set{count}"), "SADD", numbers(count).map(|number| format!("member {number}")).collect());
            add(&format!("hash{count}"), "HSET", pairs());
            add(&format!("zset{count}"), "ZADD", pairs());
        }
    }
    keys
}

fn digests(router: &mut Router, keys: &[String]) -> Vec<String> {
    let digest = |key: &String| {
        // To where the key is.
        let kind = text(router.call(key.as_bytes(), &[b"TYPE", key.as_bytes()]));
        let value = match &*kind {
            "string" => router.call(key.as_bytes(), &[b"GET", key.as_bytes()]),
            "list" => router.call(key.as_bytes(), &[b"LRANGE", key.as_bytes(), b"0", b"-1"]),
            "set" => router.call(key.as_bytes(), &[b"SORT", key.as_bytes(), b"ALPHA"]),
            "hash" => router.call(key.as_bytes(), &[b"HGETALL", key.as_bytes()]),
            "zset" => router.call(key.as_bytes(), &[b"ZRANGE", key.as_bytes(), b"0", b"-1", b"WITHSCORES"]),
            other => panic!("{key} is a {other}"),
        };
        let mut shown = format!("{value:?}");
        if kind == "hash" {
            let Reply::Array(items) = value else { panic!("{key}") };
            let mut pairs: Vec<String> = items.chunks(2).map(|pair| format!("{pair:?}")).collect();
            pairs.sort();
            shown = pairs.concat();
        }
        format!("{key} {kind} {shown}")
    };
    keys.iter().map(digest).collect()
}

fn migrate(cluster: &Cluster, from: usize, to: usize, range: &str) {
    let order = format!("CLUSTER MIGRATESLOTS SLOTSRANGE {range} NODE {}", cluster.id(to));
    assert_eq!(call(&mut cluster.node(from).connect(), &order), "OK");
}

/// Waits until the last migration of a node has come so far. One that has come to another end never will.
fn await_state(cluster: &Cluster, index: usize, state: &str) {
    const ENDS: [&str; 3] = ["success", "failed", "cancelled"];
    await_that(&format!("node {index} says {state}"), || {
        let mut client = cluster.node(index).connect();
        let Some(first) = states(&mut client).into_iter().next() else { return false };
        let mut told = || client.call(&["CLUSTER", "GETSLOTMIGRATIONS"]);
        assert!(first == state || !ENDS.contains(&&*first), "not {state}: {:?}", told());
        first == state
    });
}

/// Whether a node holds no key of a range of slots.
fn is_empty(client: &mut Client, first: u16, last: u16) -> bool {
    for slot in first..=last {
        client.push(&["CLUSTER".to_owned(), "COUNTKEYSINSLOT".to_owned(), slot.to_string()]);
    }
    client.flush().unwrap();
    (first..=last).filter(|_| client.receive().unwrap() != Reply::Int(0)).count() == 0
}

#[test]
fn what_slots_hold_goes_with_them_and_nothing_stays() {
    let cluster = Cluster::form(3, 1, &[]);
    let mut router = cluster.router(0);
    let keys = fill(&mut router, 40);
    let before = digests(&mut router, &keys);
    migrate(&cluster, 0, 1, "0 5000");
    await_state(&cluster, 0, "success");
    await_state(&cluster, 1, "success");
    assert_eq!(digests(&mut router, &keys), before);
    let ttl: i64 = text(router.call(b"{0}volatile", &[b"TTL", b"{0}volatile"])).parse().unwrap();
    assert!((9000..=10000).contains(&ttl), "{ttl}");
    // Neither the old owner nor a replica of it holds any of it any more; a replica of the new one holds all.
    for index in [0, 3] {
        await_that("they are deleted", || is_empty(&mut cluster.node(index).connect(), 0, 5000));
    }
    let size = |index: usize| call(&mut cluster.node(index).connect(), "DBSIZE");
    await_that("the replica has it", || size(1) == size(4) && size(1) != "0");
    // And back, the slots in two parts at once.
    let (to, order) = (cluster.id(0), "CLUSTER MIGRATESLOTS SLOTSRANGE 0 100 200 2000 NODE");
    let order = format!("{order} {to} SLOTSRANGE 101 199 2001 5000 NODE {to}");
    assert_eq!(call(&mut cluster.node(1).connect(), &order), "OK");
    await_that("both succeed", || {
        states(&mut cluster.node(1).connect()).iter().take(2).all(|state| state == "success")
    });
    assert_eq!(digests(&mut router, &keys), before);
}

/// Lets writers end, also if the test fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What each writer does in turn, so that at the end it is known what must be there.
fn write(router: &mut Router, tag: u32, round: u32) {
    let key = |kind: &str| format!("{{{tag}}}{kind}");
    let (counter, list, hash, zset) = (key("counter"), key("queue"), key("hash3000"), key("zset3000"));
    let number = round.to_string();
    let number = number.as_bytes();
    let requests: [&[&[u8]]; 5] = [
        &[b"INCR", counter.as_bytes()],
        &[b"RPUSH", list.as_bytes(), number],
        &[b"HINCRBY", hash.as_bytes(), b"total", b"1"],
        &[b"ZINCRBY", zset.as_bytes(), b"1", b"total"],
        &[b"HSET", hash.as_bytes(), number, number],
    ];
    for request in requests {
        let reply = router.call(request[1], request);
        assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
    }
}

#[test]
fn writers_go_on_while_slots_move_and_lose_nothing() {
    let cluster = Cluster::form(3, 1, &[]);
    fill(&mut cluster.router(0), 20);
    let stop = AtomicBool::new(false);
    let rounds: Vec<u32> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..20u32)
            .map(|tag| {
                let (stop, cluster) = (&stop, &cluster);
                scope.spawn(move || {
                    let mut router = cluster.router(0);
                    let mut round = 0;
                    while !stop.load(Ordering::Relaxed) {
                        write(&mut router, tag, round);
                        round += 1;
                    }
                    round
                })
            })
            .collect();
        let ends = EndOnDrop(&stop);
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            migrate(&cluster, from, to, "0 5000");
            await_state(&cluster, from, "success");
        }
        drop(ends);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let mut router = cluster.router(0);
    for (tag, rounds) in (0..20u32).zip(rounds) {
        let mut ask = |kind: &str, words: &[&[u8]]| {
            let key = format!("{{{tag}}}{kind}");
            let mut all: Vec<&[u8]> = vec![words[0], key.as_bytes()];
            all.extend(&words[1..]);
            text(router.call(key.as_bytes(), &all))
        };
        let expected = rounds.to_string();
        assert_eq!(ask("counter", &[b"GET"]), expected, "tag {tag}");
        assert_eq!(ask("queue", &[b"LLEN"]), expected, "tag {tag}");
        assert_eq!(ask("hash3000", &[b"HGET", b"total"]), expected, "tag {tag}");
        assert_eq!(ask("zset3000", &[b"ZSCORE", b"total"]), expected, "tag {tag}");
        assert_eq!(ask("hash3000", &[b"HLEN"]), (rounds.max(3000) + 1).to_string(), "tag {tag}");
        assert!(rounds > 0);
    }
}

#[test]
fn what_operators_must_not_ask_for_is_refused_in_valkeys_words() {
    let cluster = Cluster::form(3, 1, &[]);
    let (zero, one, two) = (cluster.id(0), cluster.id(1), cluster.id(2));
    let nobody = "a".repeat(40);
    let cases: Vec<(usize, String, &str)> = vec![
        (0, "MIGRATESLOTS INVALID 0 1 2".into(), "syntax error"),
        (0, "MIGRATESLOTS SLOTSRANGE 0 NODE x".into(), "No end slot for final slot range"),
        (0, format!("MIGRATESLOTS SLOTSRANGE 16385 16388 NODE {one}"), "Invalid or out of range slot"),
        (0, format!("MIGRATESLOTS SLOTSRANGE 1 0 NODE {one}"), "Start slot number 1 is greater than end slot number 0"),
        (0, format!("MIGRATESLOTS SLOTSRANGE a 0 NODE {one}"), "No slot ranges specified"),
        (0, format!("MIGRATESLOTS SLOTSRANGE 0 16383 NODE {one}"), "Requested slots span multiple shards"),
        (0, format!("MIGRATESLOTS SLOTSRANGE 0 5 3 6 NODE {one}"), "Slot range 3-6 overlaps with previous range 0-5"),
        (0, "MIGRATESLOTS SLOTSRANGE 0 0 NODE blah".into(), "Invalid node name"),
        (0, format!("MIGRATESLOTS SLOTSRANGE 0 0 NODE {nobody}"), "Unknown node name"),
        (
            0,
            format!("MIGRATESLOTS SLOTSRANGE 1 1 NODE {one} SLOTSRANGE 0 2 NODE {two}"),
            "Slot ranges in migrations overlap",
        ),
        (3, format!("MIGRATESLOTS SLOTSRANGE 0 0 NODE {one}"), "Slot migration can only be used on primary nodes"),
        (2, format!("MIGRATESLOTS SLOTSRANGE 0 0 NODE {zero}"), "Slots are not served by this node"),
        (0, format!("MIGRATESLOTS SLOTSRANGE 0 0 NODE {zero}"), "Target node can not be this node"),
        (0, "CANCELSLOTMIGRATIONS".into(), "No migrations ongoing"),
    ];
    for (node, order, error) in cases {
        let answer = call(&mut cluster.node(node).connect(), &format!("CLUSTER {order}"));
        assert!(answer.contains(error), "{order}: {answer}");
    }
}

/// Kills a primary in the midst of a migration: whoever has the slots afterwards has all of their keys, and nobody else any.
fn dies(victim: usize, at: &str) {
    let mut cluster = Cluster::form(3, 1, &["--repl-diskless-sync-delay", "0"]);
    let keys = fill(&mut cluster.router(0), 30);
    let before = digests(&mut cluster.router(0), &keys);
    let size =
        |cluster: &Cluster, index: usize| call(&mut cluster.node(index).connect(), "DBSIZE").parse::<usize>().unwrap();
    await_that("replicas have it", || (0..3).all(|index| size(&cluster, index) == size(&cluster, index + 3)));
    migrate(&cluster, 0, 1, "0 5000");
    await_that("it has come so far", || {
        let states = states(&mut cluster.node(0).connect());
        states.first().is_some_and(|state| state == at || state == "success")
    });
    cluster.nodes[victim] = None;
    cluster.await_all("the cluster works again", |node| {
        let mut client = node.connect();
        let nodes = call(&mut client, "CLUSTER NODES");
        let leading = nodes.lines().filter(|line| line.contains("master") && !line.contains("fail")).count();
        leading == 3 && call(&mut client, "CLUSTER INFO").contains("cluster_state:ok")
    });
    assert_eq!(digests(&mut cluster.router(2), &keys), before, "{victim} died when {at}");
    await_that("each key is there once", || {
        let leads =
            |node: &&quorate_interop::Server| call(&mut node.connect(), "INFO replication").contains("role:master");
        let sizes = cluster.running().filter(leads).map(|node| call(&mut node.connect(), "DBSIZE"));
        sizes.map(|size| size.parse::<usize>().unwrap()).sum::<usize>() == keys.len()
    });
}

#[test]
fn the_source_may_die_and_its_replica_has_everything() {
    dies(0, "snapshotting");
}

#[test]
fn the_target_may_die_over_a_snapshot_and_nothing_has_happened() {
    dies(1, "snapshotting");
}

#[test]
fn the_target_may_die_when_it_may_take_over_and_its_replica_has_everything() {
    dies(1, "failover-granted");
}

#[test]
fn what_is_called_off_leaves_nothing_behind() {
    let cluster = Cluster::form(3, 0, &[]);
    let mut router = cluster.router(0);
    let keys = fill(&mut router, 30);
    let before = digests(&mut router, &keys);
    let own: usize = call(&mut cluster.node(1).connect(), "DBSIZE").parse().unwrap();
    migrate(&cluster, 0, 1, "0 5000");
    let answer = call(&mut cluster.node(0).connect(), "CLUSTER CANCELSLOTMIGRATIONS");
    // It may have been faster.
    if answer == "OK" {
        await_state(&cluster, 0, "cancelled");
        await_state(&cluster, 1, "failed");
        await_that("it is deleted", || call(&mut cluster.node(1).connect(), "DBSIZE") == own.to_string());
    }
    assert_eq!(digests(&mut router, &keys), before);
}

#[test]
fn slots_tell_what_they_hold_and_cost_and_links_what_waits_on_them() {
    let cluster = Cluster::form(3, 0, &[]);
    let mut client = cluster.node(0).connect();
    for number in 0..7 {
        let key = format!("{{0}}{number}");
        cluster.router(0).call(key.as_bytes(), &[b"SET", key.as_bytes(), b"x"]);
    }
    let tag = quorate_interop::cluster::slot(b"0");
    let owner = usize::from(tag) * 3 / 16384;
    let stat = |slot: u16, count: i64| {
        let count = Reply::Array(vec![Reply::Bulk("key-count".into()), Reply::Int(count)]);
        Reply::Array(vec![Reply::Int(i64::from(slot)), count])
    };
    let mut holder = cluster.node(owner).connect();
    let words = ["CLUSTER", "SLOT-STATS", "ORDERBY", "KEY-COUNT", "LIMIT", "1"];
    assert_eq!(holder.call(&words).unwrap(), Reply::Array(vec![stat(tag, 7)]));
    let range = holder.call(&["CLUSTER", "SLOT-STATS", "SLOTSRANGE", &tag.to_string(), &(tag + 1).to_string()]);
    assert_eq!(range.unwrap(), Reply::Array(vec![stat(tag, 7), stat(tag + 1, 0)]));
    let error = call(&mut client, "CLUSTER SLOT-STATS ORDERBY fame");
    assert_eq!(error, "ERR Unrecognized sort metric for ORDERBY.");
    let by_cost = ["CLUSTER", "SLOT-STATS", "ORDERBY", "network-bytes-in", "LIMIT", "1"];
    assert!(matches!(holder.call(&by_cost), Ok(Reply::Error(_))), "that is not counted yet");
    assert_eq!(call(&mut holder, "CONFIG SET cluster-slot-stats-enabled yes"), "OK");
    assert_eq!(call(&mut holder, "SET {0}0 1234567890"), "OK");
    let Reply::Array(rows) = holder.call(&by_cost).unwrap() else { panic!("no list") };
    let Reply::Array(row) = &rows[0] else { panic!("no row") };
    let Reply::Array(counts) = &row[1] else { panic!("no counts") };
    let sent = "*3\r\n$3\r\nSET\r\n$4\r\n{0}0\r\n$10\r\n1234567890\r\n".len() as i64;
    let [_, keys, _, Reply::Int(_), _, bytes_in, _, bytes_out] = &counts[..] else { panic!("{counts:?}") };
    assert_eq!((&row[0], keys), (&Reply::Int(tag.into()), &Reply::Int(7)));
    assert_eq!((bytes_in, bytes_out), (&Reply::Int(sent), &Reply::Int(5)));
    let Reply::Array(links) = client.call(&["CLUSTER", "LINKS"]).unwrap() else { panic!("no list") };
    let allocated = |link: &Reply| {
        let Reply::Array(fields) = link else { panic!("no link") };
        let at = fields.iter().position(|field| *field == Reply::Bulk("send-buffer-allocated".into())).unwrap();
        fields[at + 1].clone()
    };
    // What we send goes through the links that we have made, and each of them has a buffer for it.
    let buffers = links.iter().filter(|link| matches!(allocated(link), Reply::Int(bytes) if bytes > 0)).count();
    assert!(buffers >= 2, "{links:?}");
}

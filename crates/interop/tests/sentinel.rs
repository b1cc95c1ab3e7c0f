//! Sentinels as operators run them: ours and Redis' over servers of ours and of Redis, alone and in one quorum, with a
//! failover in each; and what must not be lost or believed.
//!
//! `QUORATE_RUNS` sets how often the outage of a `kill -9` is measured (3 times unless it is set).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};
use quorate_interop::deployment::Make::{Ours, Redis};
use quorate_interop::deployment::{Deployment, Make, NAME, Process};
use quorate_interop::{PATIENCE, await_that};

/// What Redis' Sentinels need not to take half a minute.
const QUICK: &str = "sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 10000";

fn error_of(reply: Option<Reply>) -> String {
    match reply {
        Some(Reply::Error(text)) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("an error was expected, not {other:?}"),
    }
}

/// Kills the primary, waits for the next, and sees the old one come back as a replica.
fn fail_over(servers: &[Make], sentinels: &[Make], lines: &str) {
    let Some(mut deployment) = Deployment::start(servers, sentinels, lines) else { return };
    let old = deployment.servers[0].port();
    deployment.servers[0].kill();
    let begun = Instant::now();
    let next = deployment.await_successor(old);
    println!("{servers:?} under {sentinels:?}: {} ms", begun.elapsed().as_millis());
    deployment.servers[0].start();
    let last = deployment.await_peace();
    // Redis' Sentinels may take the new primary for down by what they remember of the old one, and fail over again.
    assert!(last == next || sentinels.contains(&Redis), "a second failover, without need");
}

#[test]
fn our_sentinels_fail_over_real_servers_without_waiting() {
    fail_over(&[Redis; 3], &[Ours; 3], "");
}

#[test]
fn our_sentinels_fail_over_our_servers_without_waiting() {
    fail_over(&[Ours; 3], &[Ours; 3], "");
}

#[test]
fn real_sentinels_fail_over_our_servers() {
    fail_over(&[Ours; 3], &[Redis; 3], QUICK);
}

#[test]
fn two_of_ours_and_a_real_one_fail_over_without_waiting() {
    fail_over(&[Redis, Ours, Redis], &[Ours, Ours, Redis], "");
}

#[test]
fn two_real_ones_and_one_of_ours_fail_over() {
    fail_over(&[Ours, Redis, Ours], &[Redis, Redis, Ours], QUICK);
}

#[test]
fn a_failover_that_is_ordered_is_led_by_either_and_followed_by_all() {
    let Some(deployment) = Deployment::start(&[Redis, Ours, Redis], &[Ours, Redis, Redis], QUICK) else { return };
    let mut leads = 0;
    for leader in [0, 1, 0] {
        // A Redis that hears of a later failover in the middle of its own ends up with the address of the one and the
        // epoch of the other, for good.
        let is_over = |sentinel: &Process| sentinel.field("flags").as_deref() == Some("master");
        await_that("all have ended the last failover", || deployment.sentinels.iter().all(is_over));
        let order = || deployment.sentinels[leader].call(&["SENTINEL", "FAILOVER", NAME]);
        // Redis refuses while it still holds an earlier one for under way.
        await_that("the failover is taken up", || order() == Some(Reply::Simple(b"OK".to_vec())));
        leads = deployment.await_successor(deployment.servers[leads].port());
        deployment.await_links();
    }
}

// ---- what is not lost -----------------------------------------------------------------------------------------

/// A client that writes numbers one after the other to whatever the Sentinels name, and notes what was acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Written>,
}

#[derive(Default)]
struct Written {
    /// What was acknowledged.
    good: Vec<u64>,
    /// The longest time between two acknowledgements.
    stall: Duration,
    /// Errors other than a connection that ended.
    errors: Vec<String>,
}

impl Writer {
    fn start(deployment: &Deployment) -> Writer {
        let sentinels: Vec<_> = deployment.sentinels.iter().map(Process::address).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut written = Written::default();
            let (mut last, mut number) = (Instant::now(), 0);
            while !stopped.load(Ordering::Relaxed) {
                let Some(mut client) = connect(&sentinels) else { continue };
                while !stopped.load(Ordering::Relaxed) {
                    number += 1;
                    match client.call(&["SADD", "written", &number.to_string()]) {
                        Ok(Reply::Int(_)) => {
                            written.good.push(number);
                            written.stall = written.stall.max(last.elapsed());
                            last = Instant::now();
                        }
                        // A Sentinel-aware client takes this for a reason to ask again where the primary is.
                        Ok(Reply::Error(error)) if error.starts_with(b"READONLY") => break,
                        Ok(other) => {
                            written.errors.push(format!("{other:?}"));
                            break;
                        }
                        Err(_) => break,
                    }
                }
            }
            written
        });
        Writer { stop, thread }
    }

    fn stop(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a writer does not panic")
    }
}

fn connect(sentinels: &[std::net::SocketAddr]) -> Option<Client> {
    sentinels.iter().find_map(|sentinel| {
        let mut client = Client::connect(*sentinel, Duration::from_secs(1)).ok()?;
        let Reply::Array(items) = client.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).ok()? else {
            return None;
        };
        let [_, Reply::Bulk(port)] = &items[..] else { return None };
        let port: u16 = std::str::from_utf8(port).ok()?.parse().ok()?;
        Client::connect(std::net::SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(1)).ok()
    })
}

/// How many of the acknowledged writes the server does not have.
fn lost(server: &Process, good: &[u64]) -> usize {
    let mut client = Client::connect(server.address(), PATIENCE).unwrap();
    let Ok(Reply::Array(items) | Reply::Set(items)) = client.call(&["SMEMBERS", "written"]) else { return good.len() };
    let held: std::collections::BTreeSet<u64> = items
        .into_iter()
        .filter_map(|item| match item {
            Reply::Bulk(text) => std::str::from_utf8(&text).ok()?.parse().ok(),
            _ => None,
        })
        .collect();
    good.iter().filter(|number| !held.contains(number)).count()
}

/// The outage of a `kill -9` at default settings: from the kill to the first acknowledged write after it.
#[test]
fn a_killed_primary_is_replaced_at_once_and_nothing_acknowledged_is_lost() {
    let runs: usize = std::env::var("QUORATE_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let mut outages = Vec::new();
    for run in 1..=runs {
        let mut deployment = Deployment::start(&[Ours; 3], &[Ours; 3], "").unwrap();
        let writer = Writer::start(&deployment);
        let primary = Client::connect(deployment.servers[0].address(), PATIENCE).unwrap();
        let mut primary = primary;
        await_that(
            "the writer writes",
            || matches!(primary.call(&["SCARD", "written"]), Ok(Reply::Int(count)) if count > 200),
        );
        let old = deployment.servers[0].port();
        deployment.servers[0].kill();
        let next = deployment.await_successor(old);
        let held = || match deployment.servers[next].call(&["SCARD", "written"]) {
            Some(Reply::Int(count)) => count,
            _ => 0,
        };
        let before = held();
        await_that("the writer writes again", || held() > before + 100);
        let written = writer.stop();
        let lost = lost(&deployment.servers[next], &written.good);
        println!(
            "run {run}: outage {} ms, {} acknowledged, {lost} lost",
            written.stall.as_millis(),
            written.good.len()
        );
        assert_eq!((lost, written.errors), (0, vec![]));
        outages.push(written.stall);
    }
    outages.sort();
    let median = outages[outages.len() / 2];
    println!("median of {runs} runs: {} ms, the longest {} ms", median.as_millis(), outages[runs - 1].as_millis());
    assert!(median < Duration::from_secs(5), "a failover at default settings does not wait for silence: {median:?}");
}

#[test]
fn a_coordinated_failover_loses_nothing() {
    let deployment = Deployment::start(&[Ours; 3], &[Ours; 3], "").unwrap();
    let writer = Writer::start(&deployment);
    let held = |index: usize| match deployment.servers[index].call(&["SCARD", "written"]) {
        Some(Reply::Int(count)) => count,
        _ => 0,
    };
    await_that("the writer writes", || held(0) > 200);
    let order = deployment.sentinels[0].call(&["SENTINEL", "FAILOVER", NAME, "COORDINATED"]);
    assert_eq!(order, Some(Reply::Simple(b"OK".to_vec())));
    let next = deployment.await_successor(deployment.servers[0].port());
    let before = held(next);
    await_that("the writer writes again", || held(next) > before + 100);
    deployment.await_links();
    let written = writer.stop();
    println!("coordinated: writes stall {} ms", written.stall.as_millis());
    assert_eq!(lost(&deployment.servers[next], &written.good), 0);
    assert_eq!(written.errors, Vec::<String>::new());
}

#[test]
fn a_primary_that_restarts_at_once_with_nothing_takes_nobodys_data_with_it() {
    let mut deployment = Deployment::start(&[Ours; 3], &[Ours; 3], "").unwrap();
    for number in 0..100 {
        deployment.servers[0].call(&["SET", &format!("key:{number}"), "value"]);
    }
    let sizes = |deployment: &Deployment| -> Vec<Option<Reply>> {
        deployment.servers.iter().map(|server| server.call(&["DBSIZE"])).collect()
    };
    await_that("the replicas have it all", || sizes(&deployment).iter().all(|size| *size == Some(Reply::Int(100))));
    let old = deployment.servers[0].port();
    deployment.servers[0].kill();
    deployment.servers[0].start();
    deployment.await_successor(old);
    deployment.await_links();
    await_that("all have it all again", || sizes(&deployment).iter().all(|size| *size == Some(Reply::Int(100))));
}

#[test]
fn a_thawed_primary_is_demoted_when_it_answers() {
    let deployment = Deployment::start(&[Ours; 3], &[Ours; 3], QUICK).unwrap();
    let old = deployment.servers[0].port();
    deployment.servers[0].signal("-STOP");
    let next = deployment.await_successor(old);
    deployment.servers[0].signal("-CONT");
    let thawed = Instant::now();
    await_that("the old primary follows", || {
        deployment.servers[0].info("replication", "role").as_deref() == Some("slave")
    });
    println!("demoted {} ms after it was thawed", thawed.elapsed().as_millis());
    deployment.await_links();
    assert_eq!(deployment.await_successor(old), next);
}

// ---- what is not believed -------------------------------------------------------------------------------------

#[test]
fn hostile_words_are_refused_and_nothing_is_believed() {
    let deployment = Deployment::start(&[Ours; 2], &[Ours; 1], "").unwrap();
    let sentinel = &deployment.sentinels[0];
    let id = "0123456789012345678901234567890123456789";
    let hello = |text: String| error_of(sentinel.call(&["PUBLISH", "__sentinel__:hello", &text]));
    assert!(hello("nonsense".to_owned()).contains("no hello"));
    assert!(hello(format!("127.0.0.1,1,{id},18446744073709551615,{NAME},127.0.0.1,1,1")).contains("epoch"));
    assert!(hello(format!("127.0.0.1,1,{id},1,{NAME}\nx,127.0.0.1,1,1")).contains("name"));
    let ask = |epoch: &str| {
        sentinel.call(&[
            "SENTINEL",
            "IS-MASTER-DOWN-BY-ADDR",
            "127.0.0.1",
            &deployment.servers[0].port().to_string(),
            epoch,
            id,
        ])
    };
    assert!(error_of(ask("9223372036854775807")).starts_with("ERR"));
    assert!(error_of(ask("-1")).starts_with("ERR"));
    for option in ["auth-pass", "auth-user"] {
        let set = sentinel.call(&["SENTINEL", "SET", NAME, option, "a\nsentinel monitor evil 1.1.1.1 1 1"]);
        assert!(error_of(set).starts_with("ERR Invalid argument"), "{option}");
    }
    let script = sentinel.call(&["SENTINEL", "SET", NAME, "notification-script", "/bin/true"]);
    assert!(error_of(script).contains("denied for security reasons"));
    assert!(
        error_of(sentinel.call(&["SENTINEL", "CONFIG", "SET", "sentinel-user", "a\nb"]))
            .starts_with("ERR Invalid value")
    );
    assert_eq!(sentinel.names(), Some(deployment.servers[0].port()));
    let file = std::fs::read_to_string(sentinel.file()).unwrap();
    assert!(!file.contains("evil") && file.contains("current-epoch 0"), "{file}");
}

#[test]
fn a_vote_that_can_not_be_saved_is_not_given() {
    let mut deployment = Deployment::start(&[Ours; 2], &[Ours; 1], "").unwrap();
    let sentinel = &mut deployment.sentinels[0];
    // A directory stands where the file was: whoever is root may write to every file, but not that.
    let kept = sentinel.file().with_extension("kept");
    std::fs::rename(sentinel.file(), &kept).unwrap();
    std::fs::create_dir(sentinel.file()).unwrap();
    let port = deployment.servers[0].port().to_string();
    let id = "0123456789012345678901234567890123456789";
    let ask = |sentinel: &Process| {
        let reply = sentinel.call(&["SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", &port, "7", id]);
        let Some(Reply::Array(items)) = reply else { panic!("{reply:?}") };
        items[1].clone()
    };
    assert_eq!(ask(sentinel), Reply::Bulk(b"*".to_vec()));
    assert!(error_of(sentinel.call(&["SENTINEL", "FLUSHCONFIG"])).contains("Failed to save"));
    assert!(sentinel.log().contains("not able to save"));
    std::fs::remove_dir(sentinel.file()).unwrap();
    std::fs::rename(&kept, sentinel.file()).unwrap();
    await_that("the vote is given when it is saved", || ask(sentinel) == Reply::Bulk(id.as_bytes().to_vec()));
    // Killed and started again it remembers that it has voted, and asks for no second time.
    sentinel.kill();
    sentinel.start();
    let other = id.replace('0', "a");
    let reply = sentinel.call(&["SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", &port, "7", &other]);
    let Some(Reply::Array(items)) = reply else { panic!("{reply:?}") };
    assert_eq!(items[1], Reply::Bulk(b"*".to_vec()));
}

#[test]
fn a_configuration_that_was_cut_off_starts_no_sentinel() {
    let mut deployment = Deployment::start(&[Ours; 2], &[Ours; 1], "").unwrap();
    let sentinel = &mut deployment.sentinels[0];
    sentinel.kill();
    let text = std::fs::read(sentinel.file()).unwrap();
    std::fs::write(sentinel.file(), &text[..text.len() - 9]).unwrap();
    sentinel.spawn();
    await_that("it ends", || sentinel.ended() == Some(false));
    assert!(sentinel.log().contains("cut off"), "{}", sentinel.log());
    std::fs::write(sentinel.file(), &text).unwrap();
    sentinel.start();
}

// ---- what operators see ---------------------------------------------------------------------------------------

#[test]
fn events_are_published_and_the_failover_can_be_explained() {
    let mut deployment = Deployment::start(&[Ours; 3], &[Ours; 3], "").unwrap();
    let switched = Arc::new(AtomicU16::new(0));
    let mut listener = Client::connect(deployment.sentinels[0].address(), PATIENCE).unwrap();
    listener.call(&["PSUBSCRIBE", "*"]).unwrap();
    let heard = Arc::clone(&switched);
    let thread = std::thread::spawn(move || {
        while let Ok(Reply::Array(items)) = listener.receive() {
            if let [_, _, Reply::Bulk(channel), Reply::Bulk(text)] = &items[..]
                && channel == b"+switch-master"
            {
                let text = String::from_utf8_lossy(text).into_owned();
                let port = text.split(' ').nth(4).and_then(|port| port.parse().ok()).unwrap_or(0);
                heard.store(port, Ordering::Relaxed);
                return;
            }
        }
    });
    let old = deployment.servers[0].port();
    deployment.servers[0].kill();
    let next = deployment.await_successor(old);
    thread.join().unwrap();
    assert_eq!(switched.load(Ordering::Relaxed), deployment.servers[next].port());
    let Some(Reply::Array(lines)) = deployment.sentinels[0].call(&["SENTINEL", "EXPLAIN", NAME]) else { panic!() };
    let line = |line: &Reply| match line {
        Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned() + "\n",
        other => panic!("{other:?}"),
    };
    let text: String = lines.iter().map(line).collect();
    assert!(text.contains("refuses connections") && text.contains("+switch-master"), "{text}");
}

#[test]
fn a_replica_that_is_gone_for_good_can_be_forgotten() {
    let mut deployment = Deployment::start(&[Ours; 3], &[Ours; 1], "").unwrap();
    deployment.servers[2].kill();
    let port = deployment.servers[2].port().to_string();
    let forget = ["SENTINEL", "FORGET", NAME, "REPLICA", "127.0.0.1", &port];
    let sentinel = &deployment.sentinels[0];
    await_that("the primary has noticed", || {
        deployment.servers[0].info("replication", "connected_slaves").as_deref() == Some("1")
    });
    assert_eq!(sentinel.call(&forget), Some(Reply::Simple(b"OK".to_vec())));
    assert_eq!(sentinel.field("num-slaves").as_deref(), Some("1"));
    assert_eq!(error_of(sentinel.call(&forget)), "ERR No such replica");
}

//! The tenure of a primary, seen from outside: what it takes while its Sentinels are silent, gone, or of the other make.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};
use quorate_interop::deployment::Make::{Ours, Redis};
use quorate_interop::deployment::{Deployment, Process};
use quorate_interop::{PATIENCE, await_that};

fn standing(server: &Process) -> Option<String> {
    server.info("replication", "tenure")
}

fn await_standing(server: &Process, wanted: &str) {
    await_that(wanted, || standing(server).as_deref() == Some(wanted));
}

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

/// Sends a write, the reply to which comes when it comes.
fn begin_to_write(server: &Process, value: &str) -> Client {
    let mut client = Client::connect(server.address(), 2 * PATIENCE).unwrap();
    client.push(&["SET", "key", value]);
    client.flush().unwrap();
    client
}

#[test]
fn writes_wait_while_a_majority_is_silent_and_reads_do_not() {
    let deployment = Deployment::start(&[Ours; 2], &[Ours; 3], "").unwrap();
    let primary = &deployment.servers[0];
    // Who stops before it has confirmed anything is not missed.
    await_that("all confirm it", || primary.info("replication", "tenure_monitors").as_deref() == Some("3"));
    assert_eq!(primary.call(&["SET", "key", "one"]), Some(ok()));
    deployment.sentinels[0].signal("-STOP");
    deployment.sentinels[1].signal("-STOP");
    await_standing(primary, "held");
    let mut writer = begin_to_write(primary, "two");
    await_that("the write waits", || primary.info("clients", "blocked_clients").as_deref() == Some("1"));
    assert_eq!(primary.call(&["GET", "key"]), Some(Reply::Bulk(b"one".to_vec())));
    deployment.sentinels[0].signal("-CONT");
    assert_eq!(writer.receive().unwrap(), ok());
    assert_eq!(primary.call(&["GET", "key"]), Some(Reply::Bulk(b"two".to_vec())));
    // Switched off, nobody is waited for.
    deployment.sentinels[0].signal("-STOP");
    await_standing(primary, "held");
    let mut writer = begin_to_write(primary, "three");
    assert_eq!(primary.call(&["CONFIG", "SET", "primary-tenure", "no"]), Some(ok()));
    assert_eq!(writer.receive().unwrap(), ok());
}

#[test]
fn sentinels_that_end_are_missed_by_nobody() {
    let mut deployment = Deployment::start(&[Ours; 2], &[Ours; 3], "").unwrap();
    await_standing(&deployment.servers[0], "confirmed");
    deployment.sentinels.iter_mut().for_each(Process::kill);
    await_standing(&deployment.servers[0], "unwatched");
    assert_eq!(deployment.servers[0].call(&["SET", "key", "value"]), Some(ok()));
}

#[test]
fn under_other_sentinels_nothing_is_held_back_but_after_a_freeze() {
    let quick = "sentinel down-after-milliseconds mymaster 30000";
    let Some(deployment) = Deployment::start(&[Ours; 2], &[Redis; 3], quick) else { return };
    let primary = &deployment.servers[0];
    // They are silent between their hellos, and when they are stopped, and that means nothing.
    deployment.sentinels[1].signal("-STOP");
    deployment.sentinels[2].signal("-STOP");
    assert_eq!(standing(primary).as_deref(), Some("unwatched"));
    assert_eq!(primary.call(&["SET", "key", "one"]), Some(ok()));
    let frozen = Instant::now();
    primary.signal("-STOP");
    await_that("it stands still for long enough", || frozen.elapsed() >= Duration::from_secs(2));
    primary.signal("-CONT");
    // The one that is left says who leads, and the write goes through.
    let mut writer = begin_to_write(primary, "two");
    assert_eq!(writer.receive().unwrap(), ok());
    assert!(
        primary.log().contains("Writes are held back") && primary.log().contains("Writes go on"),
        "{}",
        primary.log()
    );
}

#[test]
fn words_about_the_tenure_that_make_no_sense_are_refused() {
    let server = Process::server(Ours, "");
    let id = "0123456789012345678901234567890123456789";
    for words in [
        ["x", "3", "100", "500", "0"],
        [id, "-1", "100", "500", "0"],
        [id, "3", "x", "500", "0"],
        [id, "3", "100", "99999999999999999999", "0"],
        [id, "3", "100", "500", "-7"],
    ] {
        let asked: Vec<&str> = ["TENURE", "CONFIRM"].into_iter().chain(words).collect();
        assert!(matches!(server.call(&asked), Some(Reply::Error(_))), "{words:?}");
    }
    // A stamp from nowhere confirms nothing, and whoever has not confirmed is not missed.
    let stamp = i64::MAX.to_string();
    let asked = ["TENURE", "CONFIRM", id, "1", "100", "500", &stamp];
    assert!(matches!(server.call(&asked), Some(Reply::Int(_))));
    assert_eq!(standing(&server).as_deref(), Some("unwatched"));
    assert_eq!(server.call(&["SET", "key", "value"]), Some(ok()));
}

//! The demonstrations come to their end, and show what they are for.
//!
//! How many acknowledged writes were lost they count and say. Where the machine is so busy that a replica is far behind when its
//! primary is killed, some are: what that primary's system had not passed on goes with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;

use quorate_interop::binary;

/// What a demonstration of a second a part prints, and whether it ends well.
fn shown(name: &str) -> (String, bool) {
    let output = Command::new(binary()).args(["demo", name, "--seconds", "1"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{told}{}", String::from_utf8_lossy(&output.stderr));
    (told, output.status.success())
}

#[test]
fn writes_go_on_after_the_best_replica_was_made_primary() {
    let (told, is_well) = shown("replication");
    assert!(told.contains("writes are acknowledged again"));
    assert_eq!(told.ends_with("\n0 acknowledged writes were lost\n"), is_well);
    assert!(told.ends_with(" acknowledged writes were lost\n"));
}

#[test]
fn writes_go_on_when_sentinels_have_found_another_primary() {
    let (told, is_well) = shown("sentinel");
    assert!(told.contains("writes are acknowledged again"));
    assert!(told.contains("it follows port"), "the old primary is let in again");
    assert_eq!(told.ends_with("\n0 acknowledged writes were lost\n"), is_well);
    assert!(told.ends_with(" acknowledged writes were lost\n"));
}

#[test]
fn writes_to_a_cluster_go_on_when_a_primary_dies_and_when_slots_move() {
    let (told, is_well) = shown("cluster");
    for part in [" has taken over, and writes go on", "it follows port", "it owns ", " follows it and is in sync"] {
        assert!(told.contains(part), "{part}");
    }
    assert_eq!(told.ends_with("\n0 acknowledged writes were lost\n"), is_well);
    assert!(told.ends_with(" acknowledged writes were lost\n"));
}

#[test]
fn nobody_is_under_a_lock_that_another_holds() {
    let (told, is_well) = shown("redlock");
    assert!(is_well && told.ends_with("\n0 violations (0 additions lost), 0 requests refused\n"));
}

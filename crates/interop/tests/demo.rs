//! What the demonstrations show holds, every time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;

use quorate_interop::binary;

/// What a demonstration of a second a part prints.
fn shown(name: &str) -> String {
    let output = Command::new(binary()).args(["demo", name, "--seconds", "1"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "it ends with {}", output.status);
    told
}

#[test]
fn no_acknowledged_write_is_lost_with_the_primary() {
    let told = shown("replication");
    assert!(told.ends_with("\n0 acknowledged writes were lost\n"));
    assert!(told.contains("writes are acknowledged again"));
}

#[test]
fn no_acknowledged_write_is_lost_when_sentinels_find_another_primary() {
    let told = shown("sentinel");
    assert!(told.ends_with("\n0 acknowledged writes were lost\n"));
    assert!(told.contains("it follows port"), "the old primary is let in again");
}

#[test]
fn nobody_is_under_a_lock_that_another_holds() {
    assert!(shown("redlock").ends_with("\n0 violations (0 additions lost), 0 requests refused\n"));
}

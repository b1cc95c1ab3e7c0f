//! Each tutorial in docs/ is run as it is written: every line that begins with `$` in one shell, which stops at the first that
//! fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use quorate_interop::{binary, free_port, is_redis_installed};

/// Where a tutorial's servers begin; those that it starts beside them are at most so far away.
const FIRST: u16 = 7000;

/// A port in whose place and after which all that a tutorial uses are free.
fn base() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let all = |base: u16| (0..10).flat_map(move |n| [base + n, base + 1000 + n, base + 10_000 + n]);
    loop {
        let base = free_port() / 100 * 100;
        // None that looks like one of the tutorial's own; and the buses, 10000 above, stay below what outgoing connections get.
        let is_apart = !matches!(base / 1000 % 10, 6..=8) && base < 22_000;
        if is_apart && all(base).all(is_free) {
            return base;
        }
    }
}

fn follow(tutorial: &str) {
    if !is_redis_installed() {
        println!("SKIPPED redis-cli: not installed (cargo xtask peers)");
        return;
    }
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tutorials").join(tutorial);
    let text = std::fs::read_to_string(text).unwrap();
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(binary(), place.path().join("quorate")).unwrap();
    let base = base();
    let mut script = "set -ex\n".to_owned();
    for line in text.lines().filter_map(|line| line.strip_prefix("    $ ")) {
        let mut line = line.to_owned();
        for number in 0..10 {
            for (from, to) in [(FIRST + number, base + number), (FIRST + 1000 + number, base + 1000 + number)] {
                line = line.replace(&from.to_string(), &to.to_string());
            }
        }
        // What fails on purpose is looked at by the line itself.
        script += &format!(
            "{}\n",
            if line.contains("; test $?") { format!("set +e; {line} || exit 1; set -e") } else { line }
        );
    }
    let path = format!("{}:{}", place.path().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("timeout");
    command.args(["150", "sh", "-c", &script]).env("PATH", path).current_dir(place.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    // Whatever came of it, nothing stays behind.
    let _ = Command::new(binary()).args(["down", "--delete"]).current_dir(place.path()).output();
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{tutorial}: {}\n{out}\n{errors}", output.status);
}

/// One after the other, so that none takes a port that another has just found free.
#[test]
fn the_tutorials_work_as_they_are_written() {
    for tutorial in ["replication.md", "sentinel.md", "cluster.md", "redlock.md"] {
        follow(tutorial);
    }
}

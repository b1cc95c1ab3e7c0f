//! Each tutorial in docs/ is run as it is written: every line that begins with `$` in one shell, which stops at the first that
//! fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Stdio};

use quorate_interop::local::Local;
use quorate_interop::{binary, is_redis_installed};

/// Where a tutorial's servers begin; those that it starts beside them are at most so far away.
const FIRST: u16 = 7000;

fn follow(tutorial: &str) {
    if !is_redis_installed() {
        println!("SKIPPED redis-cli: not installed (cargo xtask peers)");
        return;
    }
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tutorials").join(tutorial);
    let text = std::fs::read_to_string(text).unwrap();
    let local = Local::empty();
    std::os::unix::fs::symlink(binary(), local.place().join("quorate")).unwrap();
    let base = local.ports.base;
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
    let path = format!("{}:{}", local.place().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("timeout");
    command.args(["150", "sh", "-c", &script]).env("PATH", path).current_dir(local.place()).stdin(Stdio::null());
    let output = command.output().unwrap();
    // Whatever came of it, nothing stays behind.
    let _ = Command::new(binary()).args(["down", "--delete"]).current_dir(local.place()).output();
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

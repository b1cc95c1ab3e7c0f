//! What a server does of which nobody wants anything: it sleeps. `cargo xtask cluster idle` measures what that saves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::time::Duration;

use quorate_interop::{Server, await_that};

/// How often all threads of a process have gone to sleep so far.
fn sleeps(pid: u32) -> u64 {
    let of_thread = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:").map(str::to_owned));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    };
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks.map(|task| of_thread(fs::read_to_string(task.path().join("status")).unwrap_or_default())).sum()
}

#[test]
fn a_server_of_which_nobody_wants_anything_is_seldom_awake() {
    const SECOND: Duration = Duration::from_secs(1);
    let server = Server::start(&["--network-threads", "2"]);
    // Each of its threads would wake ten times if it looked around all the time.
    await_that("it wakes fewer than twenty-five times a second", || {
        let before = sleeps(server.pid());
        std::thread::park_timeout(SECOND);
        sleeps(server.pid()) - before < 25
    });
}

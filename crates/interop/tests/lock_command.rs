//! `quorate lock` as scripts use it: the command's environment and exit status, and what happens when the lock is not to be
//! had, or is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use quorate_interop::{Server, binary};

fn nodes(servers: &[Server]) -> String {
    servers.iter().map(|server| server.address().to_string()).collect::<Vec<_>>().join(",")
}

fn lock(servers: &[Server]) -> Command {
    let mut command = Command::new(binary());
    command.arg("lock").env("QUORATE_LOCK_NODES", nodes(servers)).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

#[test]
fn the_command_runs_under_the_lock_with_its_token_and_ends_with_its_own_status() {
    let servers: Vec<Server> = (0..3).map(|_| Server::start(&[])).collect();
    let mut last = 0;
    for _ in 0..3 {
        let script = "echo $TOKEN; \"$0\" lock status r; exit 7";
        let (code, out, _) =
            run(lock(&servers).args(["r", "--fence-env", "TOKEN", "--", "sh", "-c", script]).arg(binary()));
        assert_eq!(code, Some(7));
        let (token, table) = out.split_once('\n').unwrap();
        assert!(token.parse::<u64>().unwrap() > last, "{token} after {last}");
        last = token.parse().unwrap();
        assert!(table.contains("r is held by"), "{table}");
    }
    let (code, out, _) = run(lock(&servers).args(["status", "r"]));
    assert_eq!((code, out.contains("not held by a majority")), (Some(120), true), "{out}");
}

#[test]
fn each_reason_to_run_nothing_has_its_status() {
    let servers: Vec<Server> = (0..3).map(|_| Server::start(&[])).collect();
    let mut holder = lock(&servers).args(["r", "--", "sleep", "60"]).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while run(lock(&servers).args(["status", "r"])).0 != Some(0) {
        assert!(Instant::now() < deadline, "nobody holds it");
    }
    let (code, _, errors) = run(lock(&servers).args(["r", "--wait", "0", "--", "true"]));
    assert_eq!(code, Some(120));
    assert!(errors.contains("2 are needed") && errors.contains(" no"), "{errors}");
    // Who is told to end passes it on, and gives back.
    assert!(Command::new("kill").arg(holder.id().to_string()).status().unwrap().success());
    assert_eq!(holder.wait().unwrap().code(), Some(128 + 15));
    assert_eq!(run(lock(&servers).args(["r", "--", "true"])).0, Some(0));

    assert_eq!(run(lock(&servers).args(["r", "--", "/nowhere/at-all"])).0, Some(127));
    for (list, said) in [("", "is no address"), ("127.0.0.1:1,127.0.0.1:2", "list 1 or 3"), ("127.0.0.1:1", "refused")]
    {
        let (code, _, errors) = run(lock(&servers).env("QUORATE_LOCK_NODES", list).args(["r", "--", "true"]));
        assert_eq!((code, errors.contains(said)), (Some(122), true), "{list}: {errors}");
    }
    assert_eq!(run(lock(&servers).args(["r", "--ttl", "0s", "--", "true"])).0, Some(122));
    assert_eq!(run(lock(&servers).args(["r", "--ttl", "x", "--", "true"])).0, Some(2));
}

#[test]
fn a_command_whose_lock_is_lost_is_ended() {
    let mut servers: Vec<Server> = (0..3).map(|_| Server::start(&[])).collect();
    let stubborn = "trap '' TERM; echo started; while :; do sleep 0.05; done";
    let mut command = lock(&servers);
    command.args(["r", "--ttl", "500ms", "--kill-after", "100ms", "--", "sh", "-c", stubborn]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut started = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut started).unwrap();
    // It goes on well beyond the TTL while the servers are there, and ends when a majority is gone.
    assert!(run(lock(&servers).args(["r", "--wait", "1500ms", "--", "true"])).0 == Some(120));
    servers.truncate(1);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), errors.contains("is lost")), (Some(121), true), "{errors}");
}

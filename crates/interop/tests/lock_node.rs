//! A server as a node of majority locks: it refuses locks after a start that proves nothing, and no jump of its wall clock
//! frees one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};
use quorate_interop::{PATIENCE, Server, binary};

fn ask(client: &mut Client, line: &str) -> Reply {
    client.call(&line.split(' ').collect::<Vec<_>>()).unwrap()
}

fn is_refused(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(text) if text.starts_with(b"QUARANTINE "))
}

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

#[test]
fn after_a_start_without_proof_locks_are_refused_until_the_longest_is_over() {
    let started = Instant::now();
    let server = Server::start(&["--lock-quarantine", "1500"]);
    let mut client = server.connect();
    assert!(is_refused(&ask(&mut client, "SET r token NX PX 100")));
    // Libraries that lock within a script are refused all the same.
    let script = "return redis.call('set', KEYS[1], 'token', 'PX', 100)";
    assert!(matches!(client.call(&["EVAL", script, "1", "r"]).unwrap(), Reply::Error(text) if
        text.windows(10).any(|part| part == b"QUARANTINE")));
    // What is no lock is served.
    assert_eq!(ask(&mut client, "SET other value"), ok());
    while ask(&mut client, "SET r token NX PX 60000") != ok() {
        assert!(started.elapsed() < PATIENCE, "it never ends");
    }
    assert!(started.elapsed() >= Duration::from_millis(1500));
    // It can be called off.
    let server = Server::start(&["--lock-quarantine", "600000"]);
    let mut client = server.connect();
    assert!(is_refused(&ask(&mut client, "SET r token NX PX 100")));
    assert_eq!(ask(&mut client, "CONFIG SET lock-quarantine 0"), ok());
    while ask(&mut client, "SET r token NX PX 60000") != ok() {
        assert!(started.elapsed() < PATIENCE, "it is not called off");
    }
}

/// A server in a directory that outlives it.
struct Stay {
    child: Child,
    client: Client,
}

impl Stay {
    fn start(place: &Path) -> Stay {
        let port = quorate_interop::free_port();
        let mut command = Command::new(binary());
        command.args(["server", "--port", &port.to_string(), "--save", "", "--lock-quarantine", "600000", "--dir"]);
        let child = command.arg(place).stdout(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let client = loop {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            if let Ok(mut client) = Client::connect(address, PATIENCE)
                && client.call(&["PING"]).is_ok_and(|reply| reply == Reply::Simple(b"PONG".to_vec()))
            {
                break client;
            }
            assert!(Instant::now() < deadline, "it does not start");
            quorate_interop::pause();
        };
        Stay { child, client }
    }

    fn refuses_locks(&mut self) -> bool {
        is_refused(&ask(&mut self.client, "SET r token NX PX 1000"))
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_shutdown_that_saved_everything_is_proof_for_one_start() {
    let place = tempfile::tempdir().unwrap();
    let mut first = Stay::start(place.path());
    assert!(first.refuses_locks(), "it can't know what was before");
    // The server closes the connection instead of an answer.
    let _ = first.client.call(&["SHUTDOWN", "SAVE"]);
    assert!(first.child.wait().unwrap().success());
    let mut second = Stay::start(place.path());
    assert!(!second.refuses_locks(), "all was saved");
    second.child.kill().unwrap();
    second.child.wait().unwrap();
    let mut third = Stay::start(place.path());
    assert!(third.refuses_locks(), "what the second held is lost");
}

#[test]
fn a_jump_of_the_wall_clock_frees_no_lock_with_the_steady_clock() {
    let hour = 3_600_000;
    for (clock, is_kept) in [("steady", true), ("wall", false)] {
        let server = Server::start(&["--ttl-clock", clock]);
        let mut client = server.connect();
        assert_eq!(ask(&mut client, "SET r token NX PX 60000"), ok());
        assert_eq!(ask(&mut client, &format!("CONFIG SET wall-clock-offset {hour}")), ok());
        let exists = Reply::Int(i64::from(is_kept));
        let deadline = Instant::now() + PATIENCE;
        while !is_kept && ask(&mut client, "EXISTS r") != exists {
            assert!(Instant::now() < deadline, "the jump is not seen");
        }
        assert_eq!(ask(&mut client, "EXISTS r"), exists, "{clock}");
        // Nor does a jump back keep one for longer.
        assert_eq!(ask(&mut client, "DEL r").clone(), Reply::Int(i64::from(is_kept)));
        assert_eq!(ask(&mut client, &format!("CONFIG SET wall-clock-offset -{hour}")), ok());
        assert_eq!(ask(&mut client, "SET r token NX PX 300"), ok());
        let begun = Instant::now();
        while ask(&mut client, "EXISTS r") != Reply::Int(0) {
            assert!(begun.elapsed() < PATIENCE, "it never expires");
        }
        assert!(begun.elapsed() >= Duration::from_millis(290), "{clock}: {:?}", begun.elapsed());
    }
}

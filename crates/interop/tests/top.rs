//! `quorate top` in a real terminal: it shows a deployment live, bears every size, and gives the terminal back on every way out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use quorate_client::Reply;
use quorate_interop::deployment::{Make, Process};
use quorate_interop::pseudo_terminal::PseudoTerminal;
use quorate_interop::{Server, binary};
use rustix::process::Signal;

const STANDARD: (u16, u16) = (80, 24);

fn top(address: &str) -> Command {
    let mut command = Command::new(binary());
    // A busy machine answers late, which is no fault of who is asked.
    command.args(["top", "--timeout", "8000", address]);
    command
}

#[test]
fn a_deployment_is_shown_as_it_changes() {
    let primary = Process::server(Make::Ours, "repl-diskless-sync-delay 0");
    let mut replica = Process::server(Make::Ours, &format!("replicaof 127.0.0.1 {}", primary.port()));
    let mut terminal = PseudoTerminal::start(&top(&primary.address().to_string()), STANDARD);
    terminal.await_text("healthy");
    terminal.await_text("2 nodes, nothing is wrong");
    terminal.await_text(&format!("   127.0.0.1:{}", replica.port()));
    assert!(matches!(primary.call(&["SET", "a", "1"]), Some(Reply::Simple(_))));
    terminal.await_text(" 1 keys");
    // A node is chosen and opened, and left again.
    terminal.press("j\r");
    terminal.await_text(&format!("replica of 127.0.0.1:{}", primary.port()));
    terminal.press("\x1b");
    terminal.await_text("ops/s");
    // In any size.
    terminal.resize(30, 8);
    terminal.await_text("node");
    terminal.resize(140, 40);
    terminal.await_text("program");
    replica.kill();
    terminal.await_text("does not answer: connection refused");
    terminal.await_text("1 of 2 nodes answer");
    terminal.press("q");
    assert!(terminal.end().success());
}

#[test]
fn the_terminal_is_given_back_on_every_way_out() {
    let server = Server::start(&[]);
    let address = server.address().to_string();
    for (signal, status) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130), (Signal::QUIT, 131)] {
        let mut terminal = PseudoTerminal::start(&top(&address), STANDARD);
        terminal.await_text("healthy");
        terminal.signal(signal);
        assert_eq!(terminal.end().code(), Some(status), "{signal:?}");
    }
    // The keys for an interruption and for the background reach it as keys.
    let mut terminal = PseudoTerminal::start(&top(&address), STANDARD);
    terminal.await_text("healthy");
    terminal.press("\x03");
    assert!(terminal.end().success());
    // What is wrong with the words is said before the terminal is touched.
    let terminal = PseudoTerminal::start(&top("nowhere"), STANDARD);
    assert_eq!(terminal.end().code(), Some(64));
}

#[test]
fn nobody_to_watch_is_waited_for() {
    let mut server = Process::server(Make::Ours, "");
    server.kill();
    let mut terminal = PseudoTerminal::start(&top(&server.address().to_string()), STANDARD);
    terminal.await_text("unreachable");
    server.start();
    terminal.await_text("healthy");
    terminal.press("q");
    assert!(terminal.end().success());
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let mut command = top("127.0.0.1:1");
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!((output.status.code(), output.status.signal()), (Some(1), None));
    assert!(String::from_utf8_lossy(&output.stderr).contains("quorate status"), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

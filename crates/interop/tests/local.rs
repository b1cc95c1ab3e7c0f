//! `quorate up`, `chaos` and `down`, and the dashboard that other commands serve beside their work.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use quorate_client::{Client, Reply};
use quorate_interop::browser::http;
use quorate_interop::deployment::{Deployment, Make, NAME, Process};
use quorate_interop::local::Local;
use quorate_interop::{PATIENCE, await_that, binary, free_port, is_redis_installed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn get(port: u16, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let (status, _, body) = http(port, &request).ok()?;
    (status == 200).then(|| String::from_utf8(body).unwrap())
}

/// What a dashboard says.
fn state(port: u16) -> Value {
    get(port, "/api/state").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn count(state: &Value) -> usize {
    state["nodes"].as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["state"] == "up").count())
}

#[test]
fn the_readme_s_one_command_leads_to_a_cluster_and_its_dashboard() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let line = readme.lines().find_map(|line| line.strip_prefix("    cargo run --release -- up cluster")).unwrap();
    assert_eq!(line, " --dashboard", "the command that a newcomer gives");
    let port = free_port();
    let local = Local::up(&["cluster", "--dashboard", &port.to_string()]);
    await_that("the page shows six nodes that are well", || {
        let state = state(port);
        (state["verdict"].as_str(), count(&state)) == (Some("healthy"), 6)
    });
    assert!(get(port, "/").unwrap().contains("<title>Quorate</title>"));
    // Whoever may act finds the token where it was said.
    let log = std::fs::read_to_string(local.place().join("quorate-local/dashboard/log")).unwrap();
    assert!(log.contains("The token for actions is "), "{log}");
    local.must(&["down", "--delete"]);
    assert_eq!(get(port, "/"), None);
    // Without a number it is where the README says.
    let help = local.must(&["up", "--help"]);
    assert!(help.contains("quorate up cluster --dashboard ") && readme.contains("http://127.0.0.1:7379"), "{help}");
}

#[test]
fn servers_and_sentinels_serve_the_dashboard_of_what_they_belong_to() {
    let port = free_port();
    let options = ["--dashboard", &port.to_string(), "--requirepass", "secret"];
    let mut lonely = Command::new(binary());
    let own = free_port();
    lonely.args(["server", "--port", &own.to_string(), "--save", ""]).args(options);
    let mut lonely = Ended(lonely.stdout(Stdio::null()).spawn().unwrap());
    await_that("a server with a password shows itself", || {
        let state = state(port);
        (state["verdict"].as_str(), count(&state)) == (Some("healthy"), 1)
    });
    assert_eq!(state(port)["actions"], false);
    lonely.end();
    let port = free_port();
    let Some(all) = Deployment::start(&[Make::Ours; 2], &[Make::Ours; 2], "") else { return };
    let watch = format!("sentinel monitor {NAME} 127.0.0.1 {} 2\ndashboard {port}", all.servers[0].port());
    let _third = Process::sentinel(Make::Ours, &watch);
    await_that("a Sentinel shows everybody", || {
        let state = state(port);
        count(&state) == 5 && state["groups"][0]["name"] == NAME
    });
}

/// A process that ends with the test.
struct Ended(Child);

impl Ended {
    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn a_demonstration_can_be_watched_on_the_dashboard() {
    let port = free_port();
    let start = || {
        let mut demo = Command::new(binary());
        demo.args(["demo", "replication", "--seconds", "600", "--dashboard", &port.to_string()]);
        Ended(demo.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    let mut demo = start();
    await_that("the demonstration's servers are on the page", || {
        // Its servers take ports that are free at that moment; somebody may be quicker.
        if demo.0.try_wait().unwrap().is_some() {
            demo = start();
        }
        count(&state(port)) == 3
    });
    kill_process(Pid::from_child(&demo.0), Signal::TERM).unwrap();
    demo.0.wait().unwrap();
    assert_eq!(get(port, "/"), None, "the page ends with the demonstration");
}

fn call(port: u16, words: &[&str]) -> Reply {
    Client::connect(([127, 0, 0, 1], port).into(), PATIENCE).unwrap().call(words).unwrap()
}

#[test]
fn a_node_that_is_cut_off_hears_nothing_and_catches_up_when_it_is_joined() {
    let local = Local::up(&["replication", "--nodes", "3"]);
    let [primary, cut, other] = [0, 1, 2].map(|n| local.ports.base + n);
    let get = |port| call(port, &["GET", "a"]);
    let value = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    let said = local.must(&["chaos", "partition", "server-2"]);
    assert!(said.starts_with("server-2 is cut off"), "{said}");
    assert!(local.must(&["chaos", "list"]).contains("is cut off"));
    // Clients reach it, and the primary does not.
    assert_eq!(call(primary, &["SET", "a", "1"]), Reply::Simple(b"OK".to_vec()));
    await_that("the other replica has it", || get(other) == value("1"));
    await_that("the primary hears of one replica only", || {
        // WAIT on a connection that has written, as a client would.
        let mut client = Client::connect(([127, 0, 0, 1], primary).into(), PATIENCE).unwrap();
        client.call(&["SET", "b", "1"]).unwrap();
        client.call(&["WAIT", "2", "300"]).unwrap() == Reply::Int(1)
    });
    assert_eq!(get(cut), Reply::Null);
    // One that is killed and started again meanwhile is cut off from it, too.
    local.must(&["chaos", "kill", "server-3"]);
    local.must(&["chaos", "heal", "server-3"]);
    assert_eq!(get(cut), Reply::Null);
    local.must(&["chaos", "heal", "server-2"]);
    await_that("it has caught up", || get(cut) == value("1"));
    assert!(!local.must(&["chaos", "list"]).contains("is cut off"));
}

#[test]
fn what_is_no_node_or_none_of_ours_is_not_cut_off() {
    let local = Local::empty();
    let refused = |local: &Local, words: &[&str], text: &str| {
        let output = local.run(words);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && errors.contains(text), "{errors}");
    };
    refused(&local, &["chaos", "partition", "server-1"], "there is no deployment in quorate-local");
    if !is_redis_installed() {
        println!("SKIPPED redis-server: not installed (cargo xtask peers)");
        return;
    }
    let local = Local::up(&["replication", "--nodes", "2", "--binary", "redis-server"]);
    refused(&local, &["chaos", "partition", "server-7"], "there is no server-7, but server-1, server-2");
    refused(&local, &["chaos", "partition", "server-1"], "only nodes of Quorate can");
    assert!(!local.must(&["chaos", "list"]).contains("is cut off"));
}

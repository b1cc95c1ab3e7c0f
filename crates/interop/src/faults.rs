//! Real network faults: a deployment with one host a node, each host a network namespace, under faults that no process can
//! be told of.
//!
//! `lan.rs` lays the cables and cuts them. Here is the deployment on it, and what its clients see: `writers.rs` are those who
//! write, `cases.rs` the faults, `table.rs` what came of them.

mod cases;
mod lan;
mod table;
mod writers;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};
use rustix::process::{Pid, Signal, kill_process};

pub use cases::{CASES, Case, Plan, run};
pub use lan::Lan;
pub use table::{Row, table};

use crate::binary;

/// Whether there can be hosts here; if not, a line says so, and why.
pub fn are_possible() -> bool {
    match Lan::lay(2) {
        Ok(_) => true,
        Err(why) => {
            println!("SKIPPED network faults: {why}");
            false
        }
    }
}

/// The primary's name.
const NAME: &str = "faults";
const SERVERS: usize = 3;
const SENTINELS: usize = 3;
/// The host on which nothing runs but clients.
const CLIENTS: usize = SERVERS + SENTINELS;
const HOSTS: usize = CLIENTS + 1;
const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// One primary, two replicas and three Sentinels of ours, each on a host of its own.
pub struct Deployment {
    lan: Lan,
    servers: Vec<Option<Child>>,
    sentinels: Vec<Option<Child>>,
    place: tempfile::TempDir,
}

impl Deployment {
    /// Starts one, and waits until all know each other.
    ///
    /// # Errors
    /// There can be no namespaces here, or the deployment does not come up: why.
    pub fn start(down_after: Duration) -> Result<Deployment, String> {
        let lan = Lan::lay(HOSTS)?;
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut deployment = Deployment {
            lan,
            servers: (0..SERVERS).map(|_| None).collect(),
            sentinels: (0..SENTINELS).map(|_| None).collect(),
            place,
        };
        for index in 0..SERVERS {
            let follows = if index == 0 { String::new() } else { format!("replicaof {} {SERVER_PORT}\n", Lan::ip(0)) };
            let file = deployment.place.path().join(format!("server{index}.conf"));
            let text = format!(
                "port {SERVER_PORT}\nbind {}\nprotected-mode no\nsave \"\"\ndir {}\n{follows}",
                Lan::ip(index),
                deployment.place.path().display()
            );
            std::fs::write(file, text).map_err(|error| error.to_string())?;
            deployment.start_server(index)?;
        }
        for index in 0..SENTINELS {
            let file = deployment.place.path().join(format!("sentinel{index}.conf"));
            // One that starts without an id abstains for a while, because it may have lost its memory.
            let text = format!(
                "port {SENTINEL_PORT}\nbind {}\nprotected-mode no\nsentinel myid {:040x}\nsentinel monitor {NAME} {} \
                 {SERVER_PORT} 2\nsentinel down-after-milliseconds {NAME} {}\nsentinel failover-timeout {NAME} 20000\n",
                Lan::ip(SERVERS + index),
                index + 1,
                Lan::ip(0),
                down_after.as_millis()
            );
            std::fs::write(file, text).map_err(|error| error.to_string())?;
            deployment.sentinels[index] = Some(deployment.spawn(SERVERS + index, "sentinel", index)?);
        }
        deployment.await_that("all know each other", || deployment.is_acquainted())?;
        Ok(deployment)
    }

    fn spawn(&self, host: usize, kind: &str, index: usize) -> Result<Child, String> {
        let file = self.place.path().join(format!("{kind}{index}.conf"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(file.with_extension("log"));
        let log = log.map_err(|error| error.to_string())?;
        let mut command = Command::new(binary());
        command.arg(kind).arg(file).stdin(Stdio::null()).stderr(Stdio::null()).stdout(log);
        self.lan.within(host, || command.spawn())?.map_err(|error| format!("{kind}: {error}"))
    }

    fn start_server(&mut self, index: usize) -> Result<(), String> {
        self.servers[index] = Some(self.spawn(index, "server", index)?);
        self.await_that("a server answers", || self.server(index, &["PING"]).is_some())
    }

    fn kill_server(&mut self, index: usize) {
        if let Some(mut child) = self.servers[index].take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn signal_server(&self, index: usize, signal: Signal) -> Result<Instant, String> {
        let child = self.servers[index].as_ref().ok_or("it does not run")?;
        let sent = kill_process(Pid::from_child(child), signal);
        sent.map(|()| Instant::now()).map_err(|error| error.to_string())
    }

    /// Asks a server from its own host.
    fn server(&self, index: usize, words: &[&str]) -> Option<Reply> {
        let address = SocketAddr::from((Lan::ip(index), SERVER_PORT));
        self.lan.within(index, || Client::connect(address, Duration::from_secs(5)).ok()?.call(words).ok()).ok()?
    }

    fn info(&self, index: usize, field: &str) -> Option<String> {
        let Some(Reply::Bulk(text)) = self.server(index, &["INFO", "replication"]) else { return None };
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(|value| value.trim().to_owned()))
    }

    /// Asks a Sentinel from its own host.
    fn sentinel(&self, index: usize, words: &[&str]) -> Option<Reply> {
        let host = SERVERS + index;
        let address = SocketAddr::from((Lan::ip(host), SENTINEL_PORT));
        self.lan.within(host, || Client::connect(address, Duration::from_secs(5)).ok()?.call(words).ok()).ok()?
    }

    /// The server that a Sentinel names.
    fn named_by(&self, index: usize) -> Option<usize> {
        let reply = self.sentinel(index, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME])?;
        let address = address(&reply)?;
        (0..SERVERS).find(|server| Lan::ip(*server) == address)
    }

    fn field(&self, index: usize, name: &str) -> Option<String> {
        let Some(Reply::Array(items)) = self.sentinel(index, &["SENTINEL", "MASTER", NAME]) else { return None };
        let texts: Vec<String> = items.into_iter().filter_map(text).collect();
        texts.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone())
    }

    fn is_acquainted(&self) -> bool {
        let knows = |index| {
            self.field(index, "num-other-sentinels").as_deref() == Some("2")
                && self.field(index, "num-slaves").as_deref() == Some("2")
                && self.field(index, "flags").as_deref() == Some("master")
        };
        (0..SENTINELS).all(knows) && self.is_healed() && self.info(0, "tenure").as_deref() == Some("confirmed")
    }

    /// All Sentinels name the same primary, and the other servers follow it.
    fn is_healed(&self) -> bool {
        let Some(primary) = self.named_by(0) else { return false };
        let follows = |index| {
            self.info(index, "master_host") == Some(Lan::ip(primary).to_string())
                && self.info(index, "master_link_status").as_deref() == Some("up")
        };
        (1..SENTINELS).all(|index| self.named_by(index) == Some(primary))
            && self.info(primary, "role").as_deref() == Some("master")
            && (0..SERVERS).filter(|index| *index != primary).all(follows)
    }

    fn await_that(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + LIMIT;
        while !holds() {
            if Instant::now() > deadline {
                return Err(format!("in vain: {what}\n{}", self.logs()));
            }
            crate::pause();
        }
        Ok(())
    }

    /// The ends of all logs.
    fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.place.path()).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(25)..].join("\n");
                text += &format!("---- {}\n{end}\n", entry.path().display());
            }
        }
        text
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        for child in self.servers.iter_mut().chain(&mut self.sentinels).flatten() {
            // It may have ended by itself; one that is stopped dies all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn text(reply: Reply) -> Option<String> {
    match reply {
        Reply::Bulk(text) | Reply::Simple(text) => Some(String::from_utf8_lossy(&text).into_owned()),
        _ => None,
    }
}

/// The host in the reply of GET-MASTER-ADDR-BY-NAME.
fn address(reply: &Reply) -> Option<Ipv4Addr> {
    let Reply::Array(items) = reply else { return None };
    let [Reply::Bulk(host), _] = &items[..] else { return None };
    std::str::from_utf8(host).ok()?.parse().ok()
}

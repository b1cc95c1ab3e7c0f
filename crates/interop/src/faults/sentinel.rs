//! A primary, two replicas and three Sentinels under network faults.

mod cases;
mod table;
mod writers;

use std::net::Ipv4Addr;
use std::time::Duration;

use quorate_client::Reply;

pub use cases::{CASES, Case, Plan, run};
pub use table::{Row, table};

use super::stage::Stage;
use super::{Lan, text};

/// The primary's name.
const NAME: &str = "faults";
const SERVERS: usize = 3;
const SENTINELS: usize = 3;
/// The host on which nothing runs but clients.
const CLIENTS: usize = SERVERS + SENTINELS;
const HOSTS: usize = CLIENTS + 1;
const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// One primary, two replicas and three Sentinels of ours, each on a host of its own.
pub struct Deployment {
    stage: Stage,
}

impl Deployment {
    /// Starts one, and waits until all know each other.
    ///
    /// # Errors
    /// There can be no namespaces here, or the deployment does not come up: why.
    pub fn start(down_after: Duration) -> Result<Deployment, String> {
        let mut deployment = Deployment { stage: Stage::set(HOSTS)? };
        for index in 0..SERVERS {
            let follows = if index == 0 { String::new() } else { format!("replicaof {} {SERVER_PORT}\n", Lan::ip(0)) };
            let text = format!(
                "port {SERVER_PORT}\nbind {}\nprotected-mode no\nsave \"\"\ndir {}\n{follows}",
                Lan::ip(index),
                deployment.stage.place()
            );
            deployment.stage.configure(index, &text)?;
            deployment.start_server(index)?;
        }
        for index in 0..SENTINELS {
            // One that starts without an id abstains for a while, because it may have lost its memory.
            let text = format!(
                "port {SENTINEL_PORT}\nbind {}\nprotected-mode no\nsentinel myid {:040x}\nsentinel monitor {NAME} {} \
                 {SERVER_PORT} 2\nsentinel down-after-milliseconds {NAME} {}\nsentinel failover-timeout {NAME} 20000\n",
                Lan::ip(SERVERS + index),
                index + 1,
                Lan::ip(0),
                down_after.as_millis()
            );
            deployment.stage.configure(SERVERS + index, &text)?;
            deployment.stage.start(SERVERS + index, "sentinel")?;
        }
        deployment.stage.await_that("all know each other", || deployment.is_acquainted())?;
        Ok(deployment)
    }

    fn start_server(&mut self, index: usize) -> Result<(), String> {
        self.stage.start(index, "server")?;
        self.stage.await_that("a server answers", || self.server(index, &["PING"]).is_some())
    }

    /// Asks a server from its own host.
    fn server(&self, index: usize, words: &[&str]) -> Option<Reply> {
        self.stage.ask(index, SERVER_PORT, words)
    }

    fn info(&self, index: usize, field: &str) -> Option<String> {
        self.stage.info(index, SERVER_PORT, "replication", field)
    }

    /// Asks a Sentinel from its own host.
    fn sentinel(&self, index: usize, words: &[&str]) -> Option<Reply> {
        self.stage.ask(SERVERS + index, SENTINEL_PORT, words)
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
}

/// The host in the reply of GET-MASTER-ADDR-BY-NAME.
fn address(reply: &Reply) -> Option<Ipv4Addr> {
    let Reply::Array(items) = reply else { return None };
    let [Reply::Bulk(host), _] = &items[..] else { return None };
    std::str::from_utf8(host).ok()?.parse().ok()
}

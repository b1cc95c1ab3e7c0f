//! Three primaries with a replica of each under network faults, which all strike the first primary or its replica.

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

const PRIMARIES: usize = 3;
const NODES: usize = 2 * PRIMARIES;
/// Whom the faults strike, and who is to take over.
const VICTIM: usize = 0;
const HEIR: usize = PRIMARIES;
/// The host on which nothing runs but clients.
const CLIENTS: usize = NODES;
/// The host of a server that is no node of the cluster: how long that keeps a client waiting, the machine does.
const APART: usize = CLIENTS + 1;
const HOSTS: usize = APART + 1;
const PORT: u16 = 6379;
const SLOTS: usize = 16384;

/// Six nodes of ours, each on a host of its own: the primaries, and then the replica of each.
pub struct Deployment {
    stage: Stage,
}

impl Deployment {
    /// Starts one, and waits until it works.
    ///
    /// # Errors
    /// There can be no namespaces here, or the deployment does not come up: why.
    pub fn start(node_timeout: Duration) -> Result<Deployment, String> {
        let mut deployment = Deployment { stage: Stage::set(HOSTS)? };
        for host in 0..NODES {
            let text = format!(
                "port {PORT}\nbind {}\nprotected-mode no\nsave \"\"\ndir {}\nenable-debug-command yes\n\
                 cluster-enabled yes\n\
                 cluster-config-file nodes{host}.conf\ncluster-node-timeout {}\n",
                Lan::ip(host),
                deployment.stage.place(),
                node_timeout.as_millis()
            );
            deployment.stage.configure(host, &text)?;
            deployment.start_node(host)?;
        }
        let (ip, place) = (Lan::ip(APART), deployment.stage.place());
        let text = format!("port {PORT}\nbind {ip}\nprotected-mode no\nsave \"\"\ndir {place}\n");
        deployment.stage.configure(APART, &text)?;
        deployment.start_node(APART)?;
        deployment.form()?;
        Ok(deployment)
    }

    fn form(&self) -> Result<(), String> {
        for host in 0..NODES {
            self.order(host, &format!("CLUSTER SET-CONFIG-EPOCH {}", host + 1))?;
            if host < PRIMARIES {
                let (first, end) = share(host);
                self.order(host, &format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1))?;
            }
            if host > 0 {
                self.order(host, &format!("CLUSTER MEET {} {PORT}", Lan::ip(0)))?;
            }
        }
        self.stage.await_that("everybody knows everybody", || {
            (0..NODES).all(|host| {
                let nodes = self.say(host, "CLUSTER NODES").unwrap_or_default();
                nodes.lines().count() == NODES && !nodes.contains("handshake")
            })
        })?;
        for replica in PRIMARIES..NODES {
            let id = self.say(replica - PRIMARIES, "CLUSTER MYID").ok_or("a node has no name")?;
            self.order(replica, &format!("CLUSTER REPLICATE {id}"))?;
        }
        self.stage.await_that("the cluster works", || self.is_well())
    }

    fn start_node(&mut self, host: usize) -> Result<(), String> {
        self.stage.start(host, "server")?;
        self.stage.await_that("a node answers", || self.say(host, "PING").is_some())
    }

    /// Asks a node from its own host.
    fn ask(&self, host: usize, words: &[&str]) -> Option<Reply> {
        self.stage.ask(host, PORT, words)
    }

    fn say(&self, host: usize, line: &str) -> Option<String> {
        text(self.ask(host, &line.split(' ').collect::<Vec<_>>())?)
    }

    fn order(&self, host: usize, line: &str) -> Result<(), String> {
        match self.say(host, line) {
            Some(word) if word == "OK" => Ok(()),
            other => Err(format!("{line}: {other:?}")),
        }
    }

    fn leads(&self, host: usize) -> bool {
        self.stage.info(host, PORT, "replication", "role").as_deref() == Some("master")
    }

    /// Every node sees a cluster that works, and each shard has one that leads and one that follows it.
    fn is_well(&self) -> bool {
        let field = |host, name: &str| {
            let info = self.say(host, "CLUSTER INFO").unwrap_or_default();
            info.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
        };
        let sees = |host| {
            field(host, "cluster_state").as_deref() == Some("ok")
                && field(host, "cluster_slots_ok").as_deref() == Some("16384")
        };
        let follows = |host, whom| {
            let value = |name| self.stage.info(host, PORT, "replication", name);
            value("master_link_status").as_deref() == Some("up")
                && value("master_host") == Some(Lan::ip(whom).to_string())
        };
        let has_both = |host| {
            let (one, other) = (host, host + PRIMARIES);
            (self.leads(one) && follows(other, one)) || (self.leads(other) && follows(one, other))
        };
        (0..NODES).all(sees) && (0..PRIMARIES).all(has_both)
    }

    /// What a set holds, as whoever has its slot says.
    fn members(&self, key: &str) -> Option<Reply> {
        let is_set = |reply: &Reply| matches!(reply, Reply::Array(_) | Reply::Set(_));
        (0..NODES).filter_map(|host| self.ask(host, &["SMEMBERS", key])).find(is_set)
    }
}

/// The first slot of a primary, and the one behind its last.
fn share(host: usize) -> (usize, usize) {
    (host * SLOTS / PRIMARIES, (host + 1) * SLOTS / PRIMARIES)
}

/// The host with an address.
fn host_of(ip: &str) -> Option<usize> {
    let ip: Ipv4Addr = ip.parse().ok()?;
    (0..NODES).find(|host| Lan::ip(*host) == ip)
}

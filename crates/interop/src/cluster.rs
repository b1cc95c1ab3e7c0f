//! A cluster of our nodes, formed by the commands that any tool gives, and a client that follows where it is sent.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::time::Instant;

use quorate_client::{Client, Reply};
use quorate_stdx::Rng;

use crate::server::{PATIENCE, Server, await_that, free_port};

/// The cluster; a node that was killed is none.
pub struct Cluster {
    /// Primaries first, then the replicas of the first, of the second and so on, as often as there are.
    pub nodes: Vec<Option<Server>>,
}

impl Cluster {
    /// Starts so many primaries with an equal share of the slots each, and so many replicas of each.
    ///
    /// # Panics
    /// If they don't come together.
    pub fn form(primaries: usize, replicas: usize, options: &[&str]) -> Cluster {
        let start = |_| {
            let bus = free_port().to_string();
            let mut all = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
            all.extend(options);
            let node = Server::start(&all);
            (node, bus)
        };
        let started: Vec<(Server, String)> = (0..primaries * (1 + replicas)).map(start).collect();
        let (first, bus) = (started[0].0.address(), started[0].1.clone());
        for (index, (node, _)) in started.iter().enumerate() {
            let mut client = node.connect();
            expect_ok(&mut client, &format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1));
            if index < primaries {
                let bounds = [index, index + 1].map(|bound| bound * 16384 / primaries);
                expect_ok(&mut client, &format!("CLUSTER ADDSLOTSRANGE {} {}", bounds[0], bounds[1] - 1));
            }
            if index > 0 {
                expect_ok(&mut client, &format!("CLUSTER MEET {} {} {bus}", first.ip(), first.port()));
            }
        }
        let cluster = Cluster { nodes: started.into_iter().map(|(node, _)| Some(node)).collect() };
        let count = cluster.nodes.len();
        cluster.await_all("everybody knows everybody", |node| {
            let lines = call(&mut node.connect(), "CLUSTER NODES");
            lines.lines().count() == count && !lines.contains("handshake")
        });
        for replica in primaries..count {
            let id = cluster.id(replica % primaries);
            expect_ok(&mut cluster.node(replica).connect(), &format!("CLUSTER REPLICATE {id}"));
        }
        cluster.await_all("the cluster works", |node| {
            let mut client = node.connect();
            let role = call(&mut client, "INFO replication");
            call(&mut client, "CLUSTER INFO").contains("cluster_state:ok")
                && (role.contains("role:master") || role.contains("master_link_status:up"))
        });
        cluster
    }

    /// A node that runs.
    ///
    /// # Panics
    /// If it doesn't.
    pub fn node(&self, index: usize) -> &Server {
        self.nodes[index].as_ref().expect("it runs")
    }

    /// Those that run.
    pub fn running(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().flatten()
    }

    /// The name of a node.
    pub fn id(&self, index: usize) -> String {
        call(&mut self.node(index).connect(), "CLUSTER MYID")
    }

    /// Waits until it is so of every node that runs.
    ///
    /// # Panics
    /// If it never is.
    pub fn await_all(&self, what: &str, is_so: impl Fn(&Server) -> bool) {
        await_that(what, || self.running().all(&is_so));
    }

    /// A client that starts at a node and goes where it is sent.
    pub fn router(&self, index: usize) -> Router {
        Router { start: self.node(index).address(), owners: HashMap::new(), clients: HashMap::new(), rng: Rng::new(1) }
    }
}

/// What a node answers to a line of words, as text.
///
/// # Panics
/// If it doesn't answer, or not by a text or a number.
pub fn call(client: &mut Client, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    match client.call(&words).expect("it answers") {
        Reply::Simple(text) | Reply::Bulk(text) | Reply::Error(text) => String::from_utf8_lossy(&text).into_owned(),
        Reply::Int(number) => number.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

fn expect_ok(client: &mut Client, line: &str) {
    assert_eq!(call(client, line), "OK", "{line}");
}

/// A client as libraries for clusters are: it asks whom it believes to have a key, and follows redirections.
pub struct Router {
    start: SocketAddr,
    /// Who was last seen to have a key's slot, by the key.
    owners: HashMap<Vec<u8>, SocketAddr>,
    clients: HashMap<SocketAddr, Client>,
    rng: Rng,
}

impl Router {
    /// Sends a request about a key to whoever has it. A node that is gone is passed over; an error that is no redirection
    /// is returned.
    ///
    /// # Panics
    /// If nobody answers in time.
    pub fn call(&mut self, key: &[u8], words: &[&[u8]]) -> Reply {
        let deadline = Instant::now() + PATIENCE;
        let mut to = self.owners.get(key).copied().unwrap_or(self.start);
        loop {
            assert!(Instant::now() < deadline, "nobody answers {:?}", words.first().map(|word| word.escape_ascii()));
            let reply = self.ask(to, words);
            let text = match &reply {
                Ok(Reply::Error(text)) => String::from_utf8_lossy(text).into_owned(),
                Ok(_) => {
                    self.owners.insert(key.to_vec(), to);
                    return reply.expect("it was looked at");
                }
                Err(_) => {
                    self.clients.remove(&to);
                    let known: Vec<SocketAddr> = self.clients.keys().copied().chain([self.start]).collect();
                    to = known[self.rng.below(known.len() as u64) as usize];
                    crate::pause();
                    continue;
                }
            };
            let mut parts = text.split(' ');
            match parts.next() {
                Some("MOVED") => {
                    to = parts.nth(1).and_then(|address| address.parse().ok()).expect("MOVED names an address");
                }
                Some("CLUSTERDOWN") => crate::pause(),
                _ => return reply.expect("it was looked at"),
            }
        }
    }

    fn ask(&mut self, to: SocketAddr, words: &[&[u8]]) -> std::io::Result<Reply> {
        let client = match self.clients.entry(to) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Client::connect(to, PATIENCE)?),
        };
        client.call(words)
    }
}

/// The slot of a key: CRC16 (XMODEM) of its tag, or of all of it.
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|&byte| byte == b'}').filter(|&length| length > 0).map(|length| &rest[..length])
    });
    let step = |crc: u16, byte: &u8| {
        (0..8)
            .fold(crc ^ (u16::from(*byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    };
    tag.unwrap_or(key).iter().fold(0, step) % 16384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_key_is_that_of_its_tag() {
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"{user}.a"), slot(b"user"));
        assert_eq!(slot(b"{}a"), slot(b"{}a"));
    }
}

//! All nodes that are known, each with what it said last.

use std::collections::BTreeMap;
use std::fmt;

use quorate_stdx::UnixMs;

use crate::address::Address;
use crate::facts::{Attached, Facts, Part};
use crate::pairs::text;
use quorate_resp::Reply;

/// Why a node gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens there: the process is gone, or was never there.
    Refused,
    /// The connection broke.
    Closed,
    /// No answer in time.
    Silent,
    /// The name is known to nobody.
    Unresolved,
    /// It wants a password, or another one.
    Denied(String),
    /// What answers is no server of ours, Redis' or Valkey's.
    Foreign(String),
    /// The system's words.
    Other(String),
}

impl Fault {
    /// The fault that an error reply to INFO means.
    pub(crate) fn of_reply(reply: Option<&Reply>) -> Fault {
        let Some(error @ Reply::Error(_)) = reply else {
            return Fault::Foreign("its INFO names no role".to_owned());
        };
        let said = text(error).unwrap_or_default();
        match said.split(' ').next() {
            Some("NOAUTH" | "WRONGPASS" | "NOPERM") => Fault::Denied(said),
            _ => Fault::Foreign(format!("it answers INFO with: {said}")),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Refused => f.write_str("connection refused"),
            Fault::Closed => f.write_str("connection closed"),
            Fault::Silent => f.write_str("no answer in time"),
            Fault::Unresolved => f.write_str("no such host"),
            Fault::Denied(said) => write!(f, "not let in: {said}"),
            Fault::Foreign(why) => write!(f, "no Redis there: {why}"),
            Fault::Other(why) => f.write_str(why),
        }
    }
}

/// Whether a node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It was not asked to the end yet.
    Unknown,
    /// It answered when it was asked last.
    Up,
    /// It did not.
    Down {
        /// Why.
        fault: Fault,
        /// Since when.
        since: UnixMs,
    },
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it is asked.
    pub address: Address,
    /// Whether it answers.
    pub state: State,
    /// What it said last, maybe long ago.
    pub facts: Option<Facts>,
    /// Whether it was named by whoever asked, and not by other nodes.
    pub is_seed: bool,
}

impl Node {
    /// What it says, if it answers.
    pub fn live(&self) -> Option<&Facts> {
        self.facts.as_ref().filter(|_| self.state == State::Up)
    }

    /// Why it does not answer.
    pub fn fault(&self) -> Option<&Fault> {
        match &self.state {
            State::Down { fault, .. } => Some(fault),
            State::Unknown | State::Up => None,
        }
    }

    /// What it is there for, as far as it is known.
    pub fn part(&self) -> Option<Part> {
        self.facts.as_ref().map(|facts| facts.part)
    }
}

/// All nodes, and other addresses of theirs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Topology {
    /// By address.
    pub nodes: BTreeMap<Address, Node>,
    /// Addresses at which a node answers that is known by another one.
    pub aliases: BTreeMap<Address, Address>,
}

impl Topology {
    /// The node at an address, or at one that means the same.
    pub fn node(&self, address: &Address) -> Option<&Node> {
        self.nodes.get(self.known_as(address))
    }

    /// The address by which a node is known.
    pub fn known_as<'a>(&'a self, address: &'a Address) -> &'a Address {
        self.aliases.get(address).unwrap_or(address)
    }

    /// How far a replica is behind, as its primary sees it: bytes of the stream, and seconds since it was heard. Nothing if
    /// either does not answer.
    pub fn lag(&self, replica: &Address) -> Option<(u64, u64)> {
        let replica = self.node(replica)?;
        let primary = self.node(replica.live()?.primary()?)?.live()?;
        let is_it = |attached: &&Attached| *self.known_as(&attached.address) == replica.address;
        let attached = primary.replicas.iter().find(is_it)?;
        Some((primary.offset.saturating_sub(attached.offset), attached.lag))
    }

    /// Nodes that answer, with what they say.
    pub fn live(&self) -> impl Iterator<Item = (&Node, &Facts)> {
        self.nodes.values().filter_map(|node| Some((node, node.live()?)))
    }
}

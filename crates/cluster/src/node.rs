//! What we know of one node, ourselves among them.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_stdx::{Mono, Now};

use crate::packet::Gossip;
use crate::{Epoch, LinkId, NodeFlags, NodeId, SavedNode, ShardId, Slots};

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// Its address; nothing if it is unknown.
    pub ip: Option<String>,
    /// Where its clients connect to.
    pub port: u16,
    /// The other one of the ports for clients with and without TLS; 0 if there is none.
    pub second_port: u16,
    /// Where its bus listens.
    pub bus_port: u16,
}

impl Address {
    /// Where a client connects to that speaks TLS where nodes don't, or the other way round (`otherwise`).
    pub fn port_for(&self, otherwise: bool) -> u16 {
        if otherwise && self.second_port > 0 { self.second_port } else { self.port }
    }
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has not told yet.
    Unknown,
    /// It leads, with slots or without.
    Primary,
    /// It follows.
    Replica {
        /// Whom, if it has told.
        of: Option<NodeId>,
    },
}

/// Whether a node can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// As far as we know.
    Fine,
    /// Not by us.
    Suspected,
    /// Not by a majority.
    Failed {
        /// Since when, as we know.
        since: Mono,
    },
}

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) address: Address,
    pub(crate) hostname: String,
    pub(crate) human_name: String,
    pub(crate) shard: Option<ShardId>,
    pub(crate) role: Role,
    pub(crate) slots: Slots,
    pub(crate) config_epoch: Epoch,
    pub(crate) offset: u64,
    pub(crate) health: Health,
    /// Which primaries can't reach it either, and when they last said so.
    pub(crate) reports: BTreeMap<NodeId, Mono>,
    /// Its process is gone: it closed the link, and its port refuses connections.
    pub(crate) is_gone: bool,
    /// A primary that has had a replica, or was given slots while others had some: it is missed when there is none.
    pub(crate) had_replicas: bool,
    /// Of NO_FAILOVER, EXTENSIONS and LIGHT_PUBLISH, those that it has told.
    pub(crate) told: NodeFlags,
    /// We have heard from itself which slots it claims, since we started.
    pub(crate) claims_heard: bool,
    /// The primary that it has taken over from, if it has in our time.
    pub(crate) replaces: Option<NodeId>,
    /// It tells its shard, so that it wants to know ours.
    pub(crate) tells_shard: bool,
    /// Since when we have been greeting a node whose name we don't know.
    pub(crate) handshake_since: Option<Mono>,
    /// It is to be greeted with MEET.
    pub(crate) greet: bool,
    /// When the ping was sent that it has not answered.
    pub(crate) ping_sent: Option<Now>,
    /// When it last answered.
    pub(crate) pong_received: Option<Now>,
    /// When anything last came from it.
    pub(crate) heard: Mono,
    pub(crate) link: Option<Outgoing>,
    /// When we last voted for one of its replicas.
    pub(crate) voted: Option<Mono>,
    /// Since when it has had slots and no replica that works, although it had one.
    pub(crate) orphaned_since: Option<Mono>,
}

/// Our link to a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing {
    pub(crate) id: LinkId,
    pub(crate) is_up: bool,
    pub(crate) since: Mono,
}

impl Node {
    pub(crate) fn new(id: NodeId, address: Address, now: Mono) -> Node {
        Node {
            id,
            address,
            hostname: String::new(),
            human_name: String::new(),
            shard: None,
            role: Role::Unknown,
            slots: Slots::none(),
            config_epoch: Epoch(0),
            offset: 0,
            health: Health::Fine,
            reports: BTreeMap::new(),
            is_gone: false,
            had_replicas: false,
            told: NodeFlags::default(),
            claims_heard: false,
            replaces: None,
            tells_shard: false,
            handshake_since: None,
            greet: false,
            ping_sent: None,
            pong_received: None,
            heard: now,
            link: None,
            voted: None,
            orphaned_since: None,
        }
    }

    pub(crate) fn of_saved(saved: &SavedNode, now: Now) -> Node {
        let SavedNode { ip, port, second_port, bus_port, .. } = saved.clone();
        let role = if saved.flags.any(NodeFlags::REPLICA) {
            Role::Replica { of: saved.primary }
        } else if saved.flags.any(NodeFlags::PRIMARY) {
            Role::Primary
        } else {
            Role::Unknown
        };
        let health = if saved.flags.any(NodeFlags::FAILED) {
            Health::Failed { since: now.mono }
        } else if saved.flags.any(NodeFlags::SUSPECTED) {
            Health::Suspected
        } else {
            Health::Fine
        };
        Node {
            hostname: saved.hostname.clone(),
            human_name: saved.human_name.clone(),
            shard: saved.shard,
            role,
            slots: saved.slots.clone(),
            config_epoch: saved.config_epoch,
            health,
            told: NodeFlags::default().and_if(saved.flags.any(NodeFlags::NO_FAILOVER), NodeFlags::NO_FAILOVER),
            // The node may have been silent for long; but we were, too.
            ping_sent: (saved.ping_sent != 0).then_some(now),
            pong_received: (saved.pong_received != 0).then_some(now),
            ..Node::new(saved.id, Address { ip, port, second_port, bus_port }, now.mono)
        }
    }

    pub(crate) fn to_saved(&self, me: NodeId) -> SavedNode {
        let Address { ip, port, second_port, bus_port } = self.address.clone();
        let unix = |moment: Option<Now>| moment.map_or(0, |moment| moment.unix.0);
        SavedNode {
            ip,
            port,
            second_port,
            bus_port,
            hostname: self.hostname.clone(),
            human_name: self.human_name.clone(),
            shard: self.shard,
            flags: self.flags(me),
            primary: self.primary(),
            ping_sent: unix(self.ping_sent),
            pong_received: unix(self.pong_received),
            config_epoch: self.config_epoch,
            is_linked: self.id == me || self.is_linked(),
            slots: self.slots.clone(),
            ..SavedNode::new(self.id)
        }
    }

    pub(crate) fn flags(&self, me: NodeId) -> NodeFlags {
        let role = match self.role {
            Role::Unknown => NodeFlags::default(),
            Role::Primary => NodeFlags::PRIMARY,
            Role::Replica { .. } => NodeFlags::REPLICA,
        };
        role.and(self.told)
            .and_if(self.id == me, NodeFlags::MYSELF)
            .and_if(self.health == Health::Suspected, NodeFlags::SUSPECTED)
            .and_if(self.is_failed(), NodeFlags::FAILED)
            .and_if(self.is_in_handshake(), NodeFlags::HANDSHAKE)
            .and_if(self.greet, NodeFlags::MEET)
            .and_if(self.had_replicas, NodeFlags::MIGRATE_TO)
            .and_if(self.id != me && self.address.ip.is_none(), NodeFlags::NO_ADDRESS)
    }

    /// What others are told of it.
    pub(crate) fn gossip(&self, me: NodeId) -> Gossip {
        let Address { ip, port, second_port, bus_port } = self.address.clone();
        let seconds =
            |moment: Option<Now>| moment.map_or(0, |moment| u32::try_from(moment.unix.seconds()).unwrap_or(0));
        Gossip {
            node: self.id,
            ping_sent: seconds(self.ping_sent),
            pong_received: seconds(self.pong_received),
            ip,
            port,
            second_port,
            bus_port,
            flags: self.flags(me),
        }
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }

    pub(crate) fn is_replica(&self) -> bool {
        matches!(self.role, Role::Replica { .. })
    }

    /// Whether it has a say: primaries with slots do.
    pub(crate) fn is_voter(&self) -> bool {
        self.is_primary() && !self.slots.is_empty()
    }

    pub(crate) fn primary(&self) -> Option<NodeId> {
        match self.role {
            Role::Replica { of } => of,
            Role::Unknown | Role::Primary => None,
        }
    }

    pub(crate) fn is_failed(&self) -> bool {
        matches!(self.health, Health::Failed { .. })
    }

    pub(crate) fn is_fine(&self) -> bool {
        self.health == Health::Fine
    }

    pub(crate) fn is_in_handshake(&self) -> bool {
        self.handshake_since.is_some()
    }

    pub(crate) fn is_linked(&self) -> bool {
        self.link.is_some_and(|link| link.is_up)
    }

    pub(crate) fn knows_extensions(&self) -> bool {
        self.told.any(NodeFlags::EXTENSIONS)
    }

    /// Whether it knows more extensions than that of the host's name, which is all that Redis 7.0 does.
    pub(crate) fn knows_shards(&self) -> bool {
        self.tells_shard || self.told.any(NodeFlags::LIGHT_PUBLISH)
    }

    /// For how long it has owed us an answer without a sign of life.
    pub(crate) fn silence(&self, now: Mono) -> Duration {
        self.ping_sent.map_or(Duration::ZERO, |ping| now.since(ping.mono).min(now.since(self.heard)))
    }

    /// The shard; a node that tells none is a shard with its primary's name.
    pub(crate) fn shard(&self) -> ShardId {
        self.shard.unwrap_or(self.primary().unwrap_or(self.id))
    }
}

//! The slot map: where a request belongs, as every thread that serves clients sees it.
//!
//! A map never changes; another one takes its place while no command runs. So what it says holds until the command that
//! asked it is done.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::node::Node;
use crate::{NodeId, SLOTS, Slots, TransferId};

const NOBODY: u16 = u16::MAX;

/// Where requests belong.
#[derive(Debug, PartialEq, Eq)]
pub struct Map {
    /// Whether the cluster works.
    pub is_ok: bool,
    /// The nodes; slots name them by their places in it.
    places: Vec<Place>,
    owners: Box<[u16]>,
    migrating: BTreeMap<u16, u16>,
    importing: BTreeMap<u16, u16>,
    /// Slots whose writes wait.
    held: Slots,
    /// Slots that come with all that they hold, and by which migration.
    taking: BTreeMap<TransferId, Slots>,
    /// We.
    me: u16,
    /// Whom we follow.
    primary: Option<u16>,
}

/// A node as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub id: NodeId,
    /// Its address; empty if it is unknown.
    pub ip: String,
    /// The name of its host; may be empty.
    pub hostname: String,
    /// Where clients connect to.
    pub port: u16,
    /// The other one of the ports with and without TLS; 0 if there is none.
    pub second_port: u16,
}

impl Place {
    /// Where a client connects to that speaks TLS where nodes don't, or the other way round (`otherwise`).
    pub fn port_for(&self, otherwise: bool) -> u16 {
        if otherwise && self.second_port > 0 { self.second_port } else { self.port }
    }
}

/// What is known of a request besides its slot.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// It may write.
    pub writes: bool,
    /// Its client has said READONLY.
    pub readonly: bool,
    /// Its client has said ASKING, or the command means as much.
    pub asking: bool,
    /// It moves keys between nodes itself, and so goes ahead where they are.
    pub moves_keys: bool,
}

/// Where a request belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'m> {
    /// Here.
    Here,
    /// Here, if its keys are; see [`Map::route_moving`].
    HereIfPresent,
    /// Elsewhere.
    Moved(&'m Place),
    /// Elsewhere, but the next request for the slot may belong here.
    Ask(&'m Place),
    /// Nowhere for the moment: some of its keys are here and some are not.
    TryAgain,
    /// Nobody has the slot.
    Unserved,
}

impl Map {
    pub(crate) fn of(cluster: &Cluster) -> Map {
        let known: Vec<&Node> = cluster.nodes.values().filter(|node| !node.is_in_handshake()).collect();
        let index: BTreeMap<NodeId, u16> = known.iter().zip(0..).map(|(node, index)| (node.id, index)).collect();
        let place = |node: &&Node| Place {
            id: node.id,
            ip: node.address.ip.clone().unwrap_or_default(),
            hostname: node.hostname.clone(),
            port: node.address.port,
            second_port: node.address.second_port,
        };
        let moving = |slots: &BTreeMap<u16, NodeId>| {
            slots.iter().filter_map(|(&slot, node)| Some((slot, *index.get(node)?))).collect()
        };
        let mut owners: Box<[u16]> = vec![NOBODY; usize::from(SLOTS)].into();
        for (node, index) in known.iter().zip(0..) {
            for (first, last) in node.slots.ranges() {
                owners[usize::from(first)..=usize::from(last)].fill(index);
            }
        }
        Map {
            is_ok: cluster.is_ok(),
            places: known.iter().map(place).collect(),
            owners,
            migrating: moving(&cluster.migrating),
            importing: moving(&cluster.importing),
            held: cluster.held(),
            taking: cluster.taking.iter().map(|(id, taking)| (*id, taking.slots.clone())).collect(),
            me: index[&cluster.id()],
            primary: cluster.myself().primary().and_then(|primary| index.get(&primary).copied()),
        }
    }

    /// Who has `slot`.
    pub fn owner(&self, slot: u16) -> Option<&Place> {
        self.places.get(usize::from(self.owners[usize::from(slot)]))
    }

    /// Whether `slot` is ours, or that of the primary that we follow.
    pub fn is_held_here(&self, slot: u16) -> bool {
        let owner = self.owners[usize::from(slot)];
        owner == self.me || Some(owner) == self.primary
    }

    /// Whether `slot` is ours.
    pub fn is_ours(&self, slot: u16) -> bool {
        assert!(slot < SLOTS, "slots are numbered where keys are hashed");
        self.owners[usize::from(slot)] == self.me
    }

    /// Whether writes to `slot` have to wait.
    #[inline]
    pub fn is_held(&self, slot: u16) -> bool {
        !self.held.is_empty() && self.held.has(slot)
    }

    /// Whether writes to any slot have to wait.
    pub fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether what a migration sends of `slot` is taken.
    pub fn takes(&self, id: TransferId, slot: u16) -> bool {
        self.taking.get(&id).is_some_and(|slots| slots.has(slot))
    }

    /// Whether a migration sends us anything.
    pub fn is_taking(&self, id: TransferId) -> bool {
        self.taking.contains_key(&id)
    }

    /// Whether any slot moves to or from us.
    pub fn has_moving(&self) -> bool {
        !self.migrating.is_empty() || !self.importing.is_empty()
    }

    /// Whether `slot` moves to or from us.
    pub fn is_moving(&self, slot: u16) -> bool {
        self.migrating.contains_key(&slot) || self.importing.contains_key(&slot)
    }

    /// Where a request for keys of `slot` belongs, before anybody has looked for its keys.
    #[inline]
    pub fn route(&self, slot: u16, asked: Asked) -> Route<'_> {
        let owner = self.owners[usize::from(slot)];
        if owner == self.me && !self.has_moving() {
            return Route::Here;
        }
        self.route_slowly(slot, owner, asked)
    }

    fn route_slowly(&self, slot: u16, owner: u16, asked: Asked) -> Route<'_> {
        let Some(place) = self.places.get(usize::from(owner)) else { return Route::Unserved };
        let is_moving = self.is_moving(slot);
        if is_moving && asked.moves_keys {
            return Route::Here;
        }
        if owner == self.me {
            return if is_moving { Route::HereIfPresent } else { Route::Here };
        }
        if self.importing.contains_key(&slot) && asked.asking {
            return Route::HereIfPresent;
        }
        if Some(owner) == self.primary && asked.readonly && !asked.writes {
            return Route::Here;
        }
        Route::Moved(place)
    }

    /// The same when [`Map::route`] said that it depends on the keys: how many there are, and how many are here, counted
    /// while nobody can move them.
    pub fn route_moving(&self, slot: u16, keys: usize, present: usize) -> Route<'_> {
        if present == keys {
            return Route::Here;
        }
        if let Some(to) = self.migrating.get(&slot) {
            return if present > 0 { Route::TryAgain } else { Route::Ask(&self.places[usize::from(*to)]) };
        }
        // What is being moved here and isn't here yet can be made here, one key at a time.
        if keys > 1 { Route::TryAgain } else { Route::Here }
    }
}

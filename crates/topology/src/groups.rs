//! How nodes belong together: replication trees with the Sentinels that watch them, and clusters with their shards.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::cluster::{Cluster, SlotRange};
use crate::facts::{Facts, Part};
use crate::node::{Node, Topology};

/// A node of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Which.
    pub address: Address,
    /// How many are between it and what takes the writes; 0 is that itself.
    pub depth: usize,
}

/// Slots with those who hold them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// The primary's id.
    pub id: String,
    /// Where the primary is, if anybody knows.
    pub primary: Option<Address>,
    /// Those that follow it.
    pub replicas: Vec<Address>,
    /// What it owns.
    pub slots: Vec<SlotRange>,
    /// Whether the cluster has found its primary failed.
    pub has_failed: bool,
}

/// Nodes that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Group {
    /// A server with what follows it, and the Sentinels that watch it.
    Tree {
        /// The name that Sentinels have for it.
        name: Option<String>,
        /// The one that takes the writes first, then each below what it follows.
        branches: Vec<Branch>,
        /// Those that watch it.
        sentinels: Vec<Address>,
    },
    /// Servers that stand alone, each: a majority of them grants locks.
    Independent {
        /// In the order of their addresses.
        nodes: Vec<Address>,
    },
    /// A cluster.
    Cluster {
        /// By the slots that they own.
        shards: Vec<Shard>,
    },
}

impl Topology {
    /// Everything that is known, in groups. Nodes of which nothing is known are in none.
    pub fn groups(&self) -> Vec<Group> {
        let mut groups = Vec::new();
        let mut sentinels_of: BTreeMap<(String, Address), Vec<Address>> = BTreeMap::new();
        for node in self.nodes.values() {
            for watched in node.facts.iter().flat_map(|facts| &facts.watched) {
                let primary = self.known_as(&watched.primary).clone();
                sentinels_of.entry((watched.name.clone(), primary)).or_default().push(node.address.clone());
            }
        }
        let follows = self.followers();
        let mut placed = BTreeSet::new();
        for ((name, primary), sentinels) in sentinels_of {
            let branches = self.branches(&primary, &follows, &mut placed);
            groups.push(Group::Tree { name: Some(name), branches, sentinels });
        }
        let is_server = |node: &&Node| node.part() == Some(Part::Server);
        let is_top = |node: &&Node| self.follows(node).is_none_or(|primary| !self.nodes.contains_key(primary));
        let tops: Vec<&Node> = self.nodes.values().filter(is_server).filter(is_top).collect();
        // What is left after the tops follows itself in a circle.
        for node in tops.into_iter().chain(self.nodes.values().filter(is_server)) {
            if !placed.contains(&node.address) {
                let branches = self.branches(&node.address, &follows, &mut placed);
                groups.push(Group::Tree { name: None, branches, sentinels: Vec::new() });
            }
        }
        self.gather_independent(&mut groups);
        let shards = self.shards();
        if !shards.is_empty() {
            groups.push(Group::Cluster { shards });
        }
        groups
    }

    /// Three servers or more that stand alone, and that somebody has named together, are there for majority locks: nothing else is done
    /// with such. One that nobody has seen yet counts with them if there is nothing else that it could belong to.
    fn gather_independent(&self, groups: &mut Vec<Group>) {
        let is_alone = |group: &Group| match group {
            Group::Tree { name: None, branches, .. } => match &branches[..] {
                [one] => self.nodes.get(&one.address).is_some_and(|node| {
                    node.is_seed
                        && node.facts.as_ref().is_some_and(|facts| facts.is_primary() && facts.replicas.is_empty())
                }),
                _ => false,
            },
            _ => false,
        };
        let alone = groups.iter().filter(|group| is_alone(group)).count();
        let unseen = self.nodes.values().filter(|node| node.is_seed && node.facts.is_none()).map(|node| &node.address);
        let unseen: Vec<Address> = if alone == groups.len() { unseen.cloned().collect() } else { Vec::new() };
        if alone < 2 || alone + unseen.len() < 3 {
            return;
        }
        let mut nodes = unseen;
        groups.retain(|group| {
            let is_alone = is_alone(group);
            if let (true, Group::Tree { branches, .. }) = (is_alone, group) {
                nodes.extend(branches.iter().map(|branch| branch.address.clone()));
            }
            !is_alone
        });
        nodes.sort();
        groups.push(Group::Independent { nodes });
    }

    /// Whom a server follows. One that does not answer may have been replaced meanwhile; then it belongs below its
    /// successor, as whose replica it will return.
    fn follows<'a>(&'a self, node: &'a Node) -> Option<&'a Address> {
        let facts = node.facts.as_ref()?;
        if node.live().is_none() {
            let watched = self.live().flat_map(|(_, facts)| &facts.watched);
            let mut lists = watched.filter(|watched| {
                watched.replicas.iter().any(|replica| *self.known_as(&replica.address) == node.address)
            });
            if let Some(watched) = lists.next() {
                return Some(self.known_as(&watched.primary));
            }
            let continues = |other: &Facts| other.is_primary() && other.continues == facts.history;
            if facts.is_primary() && !facts.history.is_empty() {
                return self.live().find(|(_, other)| continues(other)).map(|(successor, _)| &successor.address);
            }
        }
        facts.primary().map(|primary| self.known_as(primary))
    }

    fn followers(&self) -> BTreeMap<&Address, Vec<&Address>> {
        let mut follows: BTreeMap<&Address, Vec<&Address>> = BTreeMap::new();
        for node in self.nodes.values().filter(|node| node.part() == Some(Part::Server)) {
            if let Some(primary) = self.follows(node) {
                follows.entry(primary).or_default().push(&node.address);
            }
        }
        follows
    }

    fn branches(
        &self,
        top: &Address,
        follows: &BTreeMap<&Address, Vec<&Address>>,
        placed: &mut BTreeSet<Address>,
    ) -> Vec<Branch> {
        let mut branches = Vec::new();
        let mut open = vec![(top, 0)];
        while let Some((address, depth)) = open.pop() {
            if !placed.insert(address.clone()) {
                continue;
            }
            branches.push(Branch { address: address.clone(), depth });
            let below = follows.get(address).into_iter().flatten().rev();
            open.extend(below.map(|address| (*address, depth + 1)));
        }
        branches
    }

    /// The shards, as the view with the highest epoch has them; those who tell are asked in the order of their addresses.
    fn shards(&self) -> Vec<Shard> {
        let views = self.nodes.values().filter_map(|node| Some((node, node.facts.as_ref()?.cluster.as_ref()?)));
        let worth = |node: &Node, view: &Cluster| (node.live().is_some(), view.is_ok, view.epoch, view.members.len());
        let Some((_, view)) = views.max_by_key(|(node, view)| worth(node, view)) else { return Vec::new() };
        let mut shards: BTreeMap<&str, Shard> = BTreeMap::new();
        for member in view.members.iter().filter(|member| member.has("master")) {
            // Each is known best by itself.
            let own = member.address.as_ref().and_then(|address| self.node(address)).and_then(Node::live);
            let own = own.and_then(|facts| facts.cluster.as_ref()).and_then(Cluster::myself);
            let slots = own.filter(|own| own.epoch >= member.epoch).unwrap_or(member).slots.clone();
            let shard = Shard {
                id: member.id.clone(),
                primary: member.address.as_ref().map(|address| self.known_as(address).clone()),
                replicas: Vec::new(),
                slots,
                has_failed: member.has("fail"),
            };
            shards.insert(&member.id, shard);
        }
        for member in &view.members {
            let Some(shard) = member.primary.as_deref().and_then(|id| shards.get_mut(id)) else { continue };
            shard.replicas.extend(member.address.as_ref().map(|address| self.known_as(address).clone()));
        }
        let mut shards: Vec<Shard> = shards.into_values().collect();
        let place = |shard: &Shard| (shard.slots.first().map_or(u16::MAX, |range| range.first), shard.primary.clone());
        shards.sort_by_key(place);
        shards
    }
}

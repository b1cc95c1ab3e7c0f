//! The lines of the list: nodes in their order, with a line above each group where the order is that of the topology.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use quorate_topology::{Address, Group, Node, Role, Topology};

use super::desk::Sort;
use crate::report::ranges;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    /// What the nodes below belong to.
    Title(String),
    Node {
        address: Address,
        /// How many are between it and what takes the writes.
        depth: usize,
    },
}

impl Row {
    pub(super) fn address(&self) -> Option<&Address> {
        match self {
            Row::Title(_) => None,
            Row::Node { address, .. } => Some(address),
        }
    }
}

/// All lines whose nodes fit the filter.
pub(super) fn rows(topology: &Topology, sort: Sort, is_reversed: bool, filter: &str) -> Vec<Row> {
    let fits = |address: &Address| filter.is_empty() || text(topology, address).contains(&filter.to_lowercase());
    if sort == Sort::Topology {
        let mut rows = Vec::new();
        for (title, nodes) in groups(topology) {
            let nodes = nodes.into_iter().filter(|(address, _)| fits(address));
            let mut nodes: Vec<Row> = nodes.map(|(address, depth)| Row::Node { address, depth }).collect();
            if !nodes.is_empty() {
                rows.push(Row::Title(title));
                rows.append(&mut nodes);
            }
        }
        return rows;
    }
    let mut nodes: Vec<&Node> = topology.nodes.values().filter(|node| fits(&node.address)).collect();
    // The sort is stable, so that equals stand by address.
    nodes.sort_by_cached_key(|node| key(topology, node, sort));
    if is_reversed {
        nodes.reverse();
    }
    nodes.into_iter().map(|node| Row::Node { address: node.address.clone(), depth: 0 }).collect()
}

/// What a filter looks at.
fn text(topology: &Topology, address: &Address) -> String {
    let role = topology.node(address).map_or("", role);
    let state = if topology.node(address).is_some_and(|node| node.live().is_some()) { "up" } else { "down" };
    format!("{address} {role} {state}").to_lowercase()
}

pub(super) fn role(node: &Node) -> &'static str {
    match node.facts.as_ref().map(|facts| &facts.role) {
        None => "unknown",
        Some(Role::Primary) => "primary",
        Some(Role::Replica { .. }) => "replica",
        Some(Role::Sentinel) => "sentinel",
    }
}

/// The first is what is looked for: the worst, the busiest, the largest.
fn key(topology: &Topology, node: &Node, sort: Sort) -> (Reverse<u64>, Address) {
    let load = node.live().filter(|facts| facts.holds_data()).map(|facts| facts.load);
    let figure = match sort {
        Sort::Topology | Sort::Node => 0,
        Sort::Ops => load.map_or(0, |load| load.ops + 1),
        Sort::Lag => topology.lag(&node.address).map_or(0, |(bytes, _)| bytes + 1),
        Sort::Keys => load.map_or(0, |load| load.keys + 1),
        Sort::Memory => load.map_or(0, |load| load.memory + 1),
        Sort::Clients => load.map_or(0, |load| load.clients + 1),
    };
    (Reverse(figure), node.address.clone())
}

/// Each group's title, and its nodes with their depths.
fn groups(topology: &Topology) -> Vec<(String, Vec<(Address, usize)>)> {
    let (mut groups, mut placed) = (Vec::new(), BTreeSet::new());
    for group in topology.groups() {
        match group {
            Group::Tree { name, branches, sentinels } => {
                let nodes = branches.into_iter().map(|branch| (branch.address, branch.depth));
                let watchers = sentinels.into_iter().map(|address| (address, 0));
                groups.push((name.unwrap_or_else(|| "replication".to_owned()), nodes.chain(watchers).collect()));
            }
            Group::Independent { nodes } => {
                placed.extend(nodes.iter().cloned());
                let title = format!("independent, {} grant a lock", nodes.len() / 2 + 1);
                groups.push((title, nodes.into_iter().map(|address| (address, 0)).collect()));
            }
            Group::Cluster { shards } => {
                for shard in shards {
                    let primary = shard.primary.into_iter().map(|address| (address, 0));
                    let nodes = primary.chain(shard.replicas.into_iter().map(|address| (address, 1))).collect();
                    groups.push((ranges(&shard.slots), nodes));
                }
            }
        }
    }
    let unknown = topology.nodes.values().filter(|node| node.facts.is_none() && !placed.contains(&node.address));
    let unknown: Vec<(Address, usize)> = unknown.map(|node| (node.address.clone(), 0)).collect();
    if !unknown.is_empty() {
        groups.push(("unknown".to_owned(), unknown));
    }
    groups
}

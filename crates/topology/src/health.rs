//! What is wrong with a topology, and how badly: the answer that `quorate status` gives to scripts.
//!
//! It is derived from what was seen alone. What was not seen (a Sentinel that nobody names, a client's view of the network) is
//! not judged.

use std::collections::BTreeSet;

use crate::address::Address;
use crate::cluster::{Cluster, SLOTS};
use crate::facts::{Facts, Part, Role};
use crate::groups::{Group, Shard};
use crate::node::{Fault, Node, State, Topology};
use crate::sentinel::Watched;

/// How a topology is, from well to worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything is as it should be.
    Healthy,
    /// It works, but something that should be there is missing, or would not survive the next fault.
    Degraded,
    /// Some data takes no writes.
    Down,
    /// Nobody answered, so that nothing can be said.
    Unreachable,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// How bad it is alone.
    pub verdict: Verdict,
    /// Which node it is about, if one.
    pub node: Option<Address>,
    /// What it is, in words.
    pub text: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// That of the worst problem.
    pub verdict: Verdict,
    /// The worst first.
    pub problems: Vec<Problem>,
}

#[derive(Default)]
struct Findings(BTreeSet<Problem>);

impl Findings {
    fn add(&mut self, verdict: Verdict, node: Option<&Address>, text: impl Into<String>) {
        self.0.insert(Problem { verdict, node: node.cloned(), text: text.into() });
    }
}

impl Topology {
    /// What is wrong with it.
    pub fn health(&self) -> Health {
        let mut found = Findings::default();
        for node in self.nodes.values() {
            self.judge_node(node, &mut found);
        }
        for group in self.groups() {
            match &group {
                Group::Tree { name, branches, sentinels } => {
                    let top = branches.first().map(|branch| &branch.address);
                    self.judge_tree(name.as_deref(), top, !sentinels.is_empty(), &mut found);
                }
                Group::Independent { nodes } => self.judge_majority(nodes, &mut found),
                Group::Cluster { shards } => self.judge_cluster(shards, &mut found),
            }
        }
        if self.live().next().is_none() {
            let text = if self.nodes.is_empty() { "there is no node to ask" } else { "nobody answered" };
            found.add(Verdict::Unreachable, None, text);
        }
        let mut problems: Vec<Problem> = found.0.into_iter().collect();
        problems.sort_by(|a, b| b.verdict.cmp(&a.verdict).then_with(|| a.cmp(b)));
        let verdict = problems.first().map_or(Verdict::Healthy, |worst| worst.verdict);
        Health { verdict, problems }
    }

    fn judge_node(&self, node: &Node, found: &mut Findings) {
        let address = Some(&node.address);
        match &node.state {
            State::Unknown => {}
            State::Down { fault: fault @ (Fault::Denied(_) | Fault::Foreign(_)), .. } => {
                found.add(Verdict::Degraded, address, fault.to_string());
            }
            State::Down { fault, .. } => found.add(Verdict::Degraded, address, format!("does not answer: {fault}")),
            State::Up => {}
        }
        let Some(facts) = node.live() else { return };
        for complaint in &facts.complaints {
            found.add(Verdict::Degraded, address, complaint.as_str());
        }
        if let Role::Replica { of, is_linked: false, is_syncing, down_for } = &facts.role {
            let text = match is_syncing {
                true => format!("copies the dataset of {of}"),
                false => format!("has had no link to its primary {of} for {down_for} s"),
            };
            found.add(Verdict::Degraded, address, text);
        }
        for watched in &facts.watched {
            self.judge_watched(node, watched, found);
        }
        if let Some(cluster) = &facts.cluster {
            judge_view(&node.address, cluster, found);
        }
    }

    /// What a Sentinel says of a primary.
    fn judge_watched(&self, node: &Node, watched: &Watched, found: &mut Findings) {
        let (address, name) = (Some(&node.address), &watched.name);
        if watched.has("o_down") {
            found.add(Verdict::Down, address, format!("finds {name} down, and a quorum with it"));
        } else if watched.has("s_down") {
            found.add(Verdict::Degraded, address, format!("finds {name} down"));
        }
        if watched.has("failover_in_progress") {
            found.add(Verdict::Degraded, address, format!("a failover of {name} is under way"));
        }
        if let Some(refusal) = &watched.refusal {
            let text = format!("could not fail {name} over: {}", refusal.split_once(' ').map_or("", |(_, text)| text));
            found.add(Verdict::Degraded, address, text);
        }
        for peer in watched.replicas.iter().chain(&watched.sentinels).filter(|peer| peer.is_down()) {
            let is_up = self.node(&peer.address).is_some_and(|node| node.live().is_some());
            // Who does not answer us either is named once, as such.
            if is_up {
                found.add(Verdict::Degraded, address, format!("does not reach {} of {name}", peer.address));
            }
        }
        if watched.replicas.is_empty() {
            found.add(Verdict::Degraded, address, format!("knows no replica of {name} that could take over"));
        }
    }

    fn judge_tree(&self, name: Option<&str>, top: Option<&Address>, is_watched: bool, found: &mut Findings) {
        let Some((top, node)) = top.and_then(|top| Some((top, self.nodes.get(top)?))) else { return };
        let what = name.unwrap_or("the tree");
        match node.live() {
            None if node.state == State::Unknown => {}
            // A server that lets nobody in without a password may be well.
            None if matches!(node.fault(), Some(Fault::Denied(_))) => {}
            None => found.add(Verdict::Down, Some(top), format!("{what} takes no writes: its primary does not answer")),
            Some(facts) if !facts.is_primary() => {
                let text = match (is_watched, facts.primary()) {
                    (true, Some(of)) => format!("is the primary of {what} for Sentinels, but follows {of}"),
                    (_, Some(of)) => format!("follows {of}, which nobody has seen"),
                    _ => "is no primary".to_owned(),
                };
                found.add(Verdict::Down, Some(top), text);
            }
            Some(_) => {}
        }
        let names: BTreeSet<&Address> = self
            .live()
            .flat_map(|(_, facts)| &facts.watched)
            .filter(|watched| Some(watched.name.as_str()) == name)
            .map(|watched| self.known_as(&watched.primary))
            .collect();
        if names.len() > 1 {
            let list: Vec<String> = names.iter().map(|address| address.to_string()).collect();
            found.add(Verdict::Degraded, None, format!("Sentinels disagree on {what}: {}", list.join(", ")));
        }
    }

    /// Whether a majority of servers that stand alone could grant a lock. That one is missing is told of the node itself.
    fn judge_majority(&self, nodes: &[Address], found: &mut Findings) {
        let lives = |address: &&Address| {
            let node = self.nodes.get(*address);
            // A server that lets nobody in without a password may be well.
            node.is_some_and(|node| node.live().is_some() || matches!(node.fault(), Some(Fault::Denied(_))))
        };
        let (live, majority) = (nodes.iter().filter(lives).count(), nodes.len() / 2 + 1);
        let is_known =
            nodes.iter().all(|address| self.nodes.get(address).is_some_and(|node| node.state != State::Unknown));
        if is_known && live < majority {
            let text = format!("only {live} of {} independent servers answer: no lock is granted", nodes.len());
            found.add(Verdict::Down, None, text);
        }
    }

    fn judge_cluster(&self, shards: &[Shard], found: &mut Findings) {
        // Views are as old as their nodes' last answers, so that a slot on its way may have no owner in a few of them.
        let views: Vec<(&Node, &Cluster)> =
            self.live().filter_map(|(node, facts)| Some((node, facts.cluster.as_ref()?))).collect();
        let mut is_owned = vec![false; SLOTS as usize];
        for range in views.iter().flat_map(|(_, view)| &view.members).flat_map(|member| &member.slots) {
            is_owned[usize::from(range.first)..=usize::from(range.last)].fill(true);
        }
        let free = is_owned.iter().filter(|is_owned| !**is_owned).count();
        if free > 0 && !views.is_empty() {
            found.add(Verdict::Down, None, format!("{free} slots have no owner"));
        }
        for shard in shards.iter().filter(|shard| !shard.slots.is_empty()) {
            let primary = shard.primary.as_ref();
            let is_live = primary.and_then(|primary| self.nodes.get(primary)).is_none_or(|node| {
                node.live().is_some() || node.state == State::Unknown || matches!(node.fault(), Some(Fault::Denied(_)))
            });
            let slots: u32 = shard.slots.iter().map(|range| range.count()).sum();
            if shard.has_failed || !is_live {
                found.add(Verdict::Down, primary, format!("{slots} slots take no writes: their owner does not answer"));
            }
            let live = |address: &&Address| self.nodes.get(*address).is_some_and(|node| node.live().is_some());
            if !shard.replicas.is_empty() && shard.replicas.iter().filter(live).count() == 0 {
                found.add(Verdict::Degraded, primary, "no replica of it answers".to_owned());
            }
        }
        if views.iter().all(|(_, view)| view.moving.is_empty()) {
            judge_owners(&views, found);
        }
    }
}

/// Whether all nodes name the same owner for each slot.
fn judge_owners(views: &[(&Node, &Cluster)], found: &mut Findings) {
    let mut first: Option<Vec<Option<&str>>> = None;
    for (node, cluster) in views {
        let mut owners = vec![None; SLOTS as usize];
        for member in &cluster.members {
            for range in &member.slots {
                owners[usize::from(range.first)..=usize::from(range.last)].fill(Some(member.id.as_str()));
            }
        }
        let Some(first) = &first else {
            first = Some(owners);
            continue;
        };
        let differing = first.iter().zip(&owners).filter(|(one, other)| one != other).count();
        if differing > 0 {
            let text = format!("names other owners for {differing} slots than others do");
            found.add(Verdict::Degraded, Some(&node.address), text);
        }
    }
}

/// What a node of a cluster says of it.
fn judge_view(address: &Address, cluster: &Cluster, found: &mut Findings) {
    if !cluster.is_ok {
        found.add(Verdict::Down, Some(address), "says that the cluster is down".to_owned());
    }
    for member in &cluster.members {
        let name = member.address.as_ref().map_or_else(|| member.id.clone(), Address::to_string);
        if member.has("fail") {
            found.add(Verdict::Degraded, member.address.as_ref(), "was found failed by the cluster".to_owned());
        } else if member.has("fail?") {
            found.add(Verdict::Degraded, Some(address), format!("does not reach {name}"));
        } else if member.has("noaddr") {
            found.add(Verdict::Degraded, Some(address), format!("does not know where {name} is"));
        }
    }
}

impl Facts {
    /// Whether it holds data.
    pub fn holds_data(&self) -> bool {
        self.part != Part::Sentinel
    }
}

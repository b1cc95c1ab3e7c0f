//! Nodes that join and leave the simulated cluster, as an operator lets them: whoever joins is new and empty, and whoever
//! leaves has no slots and is not needed. What a fault kept from being done is done again in the end, as the operator's
//! tools do when their command is given again.

use super::world::World;
use crate::{Cluster, NodeId, Order};

impl World {
    /// A host on which no node is gets a new one, which meets one that runs.
    pub(super) fn join(&mut self, host: usize) {
        if self.members.contains(&host) {
            return;
        }
        self.members.insert(host);
        self.start(host, false);
        self.meet_somebody(host);
    }

    /// A node without slots becomes a replica of somebody that has some.
    pub(super) fn adopt(&mut self, host: usize) {
        let is_free = |machine: &Cluster| {
            machine.myself().is_primary() && machine.myself().slots.is_empty() && machine.taking.is_empty()
        };
        let Some(machine) = self.machine(host).filter(|machine| is_free(machine)) else { return };
        let leading: Vec<NodeId> = machine.nodes.values().filter(|node| node.is_voter()).map(|node| node.id).collect();
        if leading.is_empty() {
            return;
        }
        let primary = leading[self.rng.below(leading.len() as u64) as usize];
        self.order(host, Order::Replicate { primary, is_empty: true });
    }

    /// A node that is not needed goes, and those who run forget it.
    pub(super) fn leave(&mut self, host: usize) {
        if !self.may_leave(host) {
            return;
        }
        let id = self.id(host);
        self.members.remove(&host);
        self.left.push(id);
        self.end(host);
        self.forget(id);
    }

    /// It has no slots in anybody's eyes, and does not want or get any; and whom it follows runs.
    fn may_leave(&self, host: usize) -> bool {
        let Some(machine) = self.machine(host) else { return false };
        let id = machine.id();
        let running = || (0..self.processes.len()).filter_map(|host| self.machine(host));
        let is_fine = |primary: NodeId| running().any(|other| other.id() == primary && other.myself().is_voter());
        let is_spare = match machine.myself().primary() {
            Some(primary) => is_fine(primary) && !machine.nodes[&primary].is_failed(),
            None => machine.taking.is_empty(),
        };
        let owns = |other: &Cluster| other.nodes.get(&id).is_some_and(|node| !node.slots.is_empty());
        let gives = |other: &Cluster| other.giving.values().any(|giving| giving.to == id);
        is_spare && self.members.len() > 4 && !running().any(|other| owns(other) || gives(other))
    }

    fn forget(&mut self, id: NodeId) {
        for host in self.members.clone() {
            if self.machine(host).is_some_and(|machine| machine.knows(id)) {
                self.order(host, Order::Forget(id));
            }
        }
    }

    fn meet_somebody(&mut self, host: usize) {
        let belongs = |other: &usize| self.machine(*other).is_some_and(|machine| !is_astray(machine));
        let others: Vec<usize> =
            self.members.iter().copied().filter(|other| *other != host && belongs(other)).collect();
        if others.is_empty() {
            return;
        }
        let through = others[self.rng.below(others.len() as u64) as usize];
        self.order(host, Order::Meet { address: World::address_for_meet(through) });
    }

    /// Does again what may not have come about: who has left is forgotten, and who has joined is known.
    pub(super) fn settle_membership(&mut self) {
        for id in self.left.clone() {
            self.forget(id);
        }
        for host in self.members.clone() {
            if self.machine(host).is_some_and(is_astray) {
                self.meet_somebody(host);
            }
        }
    }
}

/// Whether a node does not belong to the cluster: it knows nobody who serves anything, whomever else it may have met.
fn is_astray(machine: &Cluster) -> bool {
    machine.nodes.values().all(|node| node.slots.is_empty())
}

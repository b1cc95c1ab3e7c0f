//! Where a replica is needed: a primary that has lost all of its replicas is given one of those that others can spare.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::NodeId;
use crate::cluster::Cluster;
use crate::event::Event;
use crate::node::Node;

/// A primary is without replicas for so long before one moves: a failover may be under way that explains it.
const DELAY: Duration = Duration::from_secs(5);

impl Cluster {
    /// How many replicas that work each primary has that has some.
    fn working_replicas(&self) -> BTreeMap<NodeId, usize> {
        let mut working = BTreeMap::new();
        for primary in self.nodes.values().filter(|node| !node.is_failed()).filter_map(Node::primary) {
            *working.entry(primary).or_default() += 1;
        }
        working
    }

    /// At each tick: which primaries lack a replica, and whether we are the one to go.
    pub(crate) fn look_for_orphans(&mut self) {
        let now = self.now.mono;
        let working = self.working_replicas();
        let count = |id: &NodeId| working.get(id).copied().unwrap_or(0);
        for (id, node) in &mut self.nodes {
            let replicas = count(id);
            node.had_replicas |= replicas > 0;
            let is_orphan = node.is_voter() && !node.is_failed() && node.had_replicas && replicas == 0;
            node.orphaned_since = if is_orphan { node.orphaned_since.or(Some(now)) } else { None };
        }
        let Some(primary) = self.myself().primary() else { return };
        let most = self.nodes.values().filter(|node| node.is_voter()).map(|node| count(&node.id)).max();
        let ours = count(&primary);
        let may_go = self.config.replica_migration && self.state.is_ok && !self.is_by_hand();
        if !may_go || most != Some(ours) || ours < 2 || ours <= self.config.migration_barrier as usize {
            return;
        }
        let has_most = |primary: &NodeId| count(primary) == ours;
        if let Some(target) = self.orphan_for_us(has_most) {
            self.announce(Event::Migrating { to: target });
            self.follow(target);
        }
    }

    /// The orphan that we go to: of all replicas of the primaries that have the most, the one with the smallest name goes.
    fn orphan_for_us(&self, has_most: impl Fn(&NodeId) -> bool) -> Option<NodeId> {
        let now = self.now.mono;
        let is_spare = |node: &&Node| !node.is_failed() && node.primary().as_ref().is_some_and(&has_most);
        let first = self.nodes.values().filter(is_spare).map(|node| node.id).min()?;
        let has_waited = |node: &&Node| node.orphaned_since.is_some_and(|since| now.since(since) > DELAY);
        let target = self.nodes.values().find(has_waited)?;
        (first == self.me).then_some(target.id)
    }
}

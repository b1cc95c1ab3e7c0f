//! Does the cluster work, as we see it: are all slots served, and can we see a majority of the primaries?

use std::time::Duration;

use quorate_stdx::Mono;

use crate::SLOTS;
use crate::cluster::Cluster;
use crate::event::Event;
use crate::node::{Health, Node};

/// A primary that has just started takes no writes for so long: it may have been replaced meanwhile, and would learn
/// that in this time.
const WRITABLE_DELAY: Duration = Duration::from_secs(2);
/// A primary that was in the minority waits for the node timeout before it takes writes again, but so long at least and
/// at most.
const REJOIN_DELAY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    pub(crate) is_ok: bool,
    /// Something has changed that it may depend on.
    pub(crate) is_stale: bool,
    started: Mono,
    /// When we last saw no majority.
    minority_at: Option<Mono>,
}

impl State {
    pub(crate) fn starting(now: Mono) -> State {
        State { is_ok: false, is_stale: true, started: now, minority_at: None }
    }
}

impl Cluster {
    pub(crate) fn update_state(&mut self) {
        if !std::mem::take(&mut self.state.is_stale) {
            return;
        }
        let now = self.now.mono;
        let leads = self.myself().is_primary();
        if leads && !self.state.is_ok && now.since(self.state.started) < WRITABLE_DELAY {
            self.state.is_stale = true;
            return;
        }
        let reachable = self.nodes.values().filter(|node| node.is_voter() && node.is_fine()).count();
        let has_majority = reachable >= self.majority();
        if !has_majority {
            self.state.minority_at = Some(now);
        }
        let is_ok = has_majority && !self.yields() && (!self.config.full_coverage || self.is_covered());
        if is_ok == self.state.is_ok {
            return;
        }
        let (shortest, longest) = REJOIN_DELAY;
        let delay = self.config.node_timeout.clamp(shortest, longest);
        if is_ok && leads && self.state.minority_at.is_some_and(|at| now.since(at) < delay) {
            self.state.is_stale = true;
            return;
        }
        self.state.is_ok = is_ok;
        self.is_map_dirty = true;
        self.announce(Event::StateChanged { is_ok });
    }

    /// Whether every slot has an owner that works, or whose replica will take over in time. DIFFERS: Redis stops serving
    /// every slot from the moment a primary has failed until its replica has been elected.
    fn is_covered(&self) -> bool {
        let served: usize = self.nodes.values().filter(|node| self.is_served(node)).map(|node| node.slots.len()).sum();
        served == usize::from(SLOTS)
    }

    fn is_served(&self, node: &Node) -> bool {
        let Health::Failed { since } = node.health else { return true };
        let can_stand = |replica: &Node| !replica.is_failed() && !replica.told.any(crate::NodeFlags::NO_FAILOVER);
        self.now.mono.since(since) <= self.config.election_timeout() && self.replicas(node.id).any(can_stand)
    }
}

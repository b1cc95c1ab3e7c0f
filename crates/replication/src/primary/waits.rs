//! Clients that wait until others have a write: WAIT and WAITAOF.
//!
//! They are kept in the order of their goals, so that an acknowledgement looks only at those it may end.

use std::collections::{BTreeMap, BTreeSet};

use quorate_stdx::{Mono, Offset};

use crate::WaitId;

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    /// The offset behind its last write.
    pub offset: Offset,
    /// So many replicas must have it.
    pub replicas: usize,
    /// On disk, not only applied: WAITAOF.
    pub durable: bool,
    /// Our own disk must have it too.
    pub local: bool,
}

impl Goal {
    pub(super) fn met(&self, local: bool, replicas: usize) -> bool {
        replicas >= self.replicas && (local || !self.local)
    }
}

/// Why a wait ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitEnd {
    /// The goal is met.
    Met,
    /// The time is over.
    TimedOut,
    /// We are no primary.
    RoleChanged,
}

#[derive(Debug, Clone)]
pub(super) struct Wait {
    pub(super) goal: Goal,
    pub(super) deadline: Option<Mono>,
}

/// All who wait.
#[derive(Debug, Default)]
pub(super) struct Waits {
    by_id: BTreeMap<WaitId, Wait>,
    by_goal: BTreeSet<(Offset, WaitId)>,
    by_deadline: BTreeSet<(Mono, WaitId)>,
    /// Acknowledgements are on their way, or have come, for all that is not beyond.
    asked: Offset,
}

impl Waits {
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn must_ask(&self, goal: Offset) -> bool {
        goal > self.asked
    }

    pub(super) fn asked(&mut self, upto: Offset) {
        self.asked = upto;
    }

    /// Adds a client; one that waits already now waits for this.
    pub(super) fn add(&mut self, id: WaitId, wait: Wait) {
        self.abandon(id);
        self.by_goal.insert((wait.goal.offset, id));
        self.by_deadline.extend(wait.deadline.map(|deadline| (deadline, id)));
        self.by_id.insert(id, wait);
    }

    pub(super) fn abandon(&mut self, id: WaitId) {
        if let Some(wait) = self.by_id.remove(&id) {
            self.by_goal.remove(&(wait.goal.offset, id));
            if let Some(deadline) = wait.deadline {
                self.by_deadline.remove(&(deadline, id));
            }
        }
    }

    /// Those whose goal is not beyond `upto`.
    pub(super) fn within(&self, upto: Offset) -> Vec<(WaitId, Wait)> {
        let ids = self.by_goal.range(..=(upto, WaitId(u64::MAX))).map(|(_, id)| *id);
        ids.filter_map(|id| Some((id, self.by_id.get(&id)?.clone()))).collect()
    }

    pub(super) fn first_deadline(&self) -> Option<Mono> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Removes and returns those whose time is over.
    pub(super) fn overdue(&mut self, now: Mono) -> Vec<(WaitId, Wait)> {
        let ids: Vec<WaitId> = self.by_deadline.range(..=(now, WaitId(u64::MAX))).map(|(_, id)| *id).collect();
        let overdue: Vec<_> = ids.into_iter().filter_map(|id| Some((id, self.by_id.get(&id)?.clone()))).collect();
        overdue.iter().for_each(|(id, _)| self.abandon(*id));
        overdue
    }

    pub(super) fn take(&mut self) -> BTreeMap<WaitId, Wait> {
        std::mem::take(self).by_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(offset: u64, deadline: Option<u64>) -> Wait {
        let goal = Goal { offset: Offset(offset), replicas: 1, durable: false, local: false };
        Wait { goal, deadline: deadline.map(Mono) }
    }

    fn ids(waits: Vec<(WaitId, Wait)>) -> Vec<u64> {
        waits.into_iter().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn an_acknowledgement_looks_only_at_goals_that_it_reaches() {
        let mut waits = Waits::default();
        for (id, goal) in [(1, 30), (2, 10), (3, 20), (4, 31)] {
            waits.add(WaitId(id), wait(goal, None));
        }
        assert_eq!(ids(waits.within(Offset(30))), [2, 3, 1]);
        waits.abandon(WaitId(3));
        assert_eq!(ids(waits.within(Offset(30))), [2, 1]);
    }

    #[test]
    fn a_deadline_ends_a_wait_once() {
        let mut waits = Waits::default();
        waits.add(WaitId(1), wait(10, Some(5)));
        waits.add(WaitId(2), wait(10, Some(6)));
        assert_eq!(waits.first_deadline(), Some(Mono(5)));
        assert_eq!(ids(waits.overdue(Mono(5))), [1]);
        assert_eq!(ids(waits.overdue(Mono(5))), [0; 0]);
        assert_eq!(waits.first_deadline(), Some(Mono(6)));
    }

    #[test]
    fn a_client_that_waits_again_waits_for_the_new_goal_only() {
        let mut waits = Waits::default();
        waits.add(WaitId(1), wait(10, Some(5)));
        waits.add(WaitId(1), wait(20, None));
        assert_eq!(ids(waits.within(Offset(19))), [0; 0]);
        assert_eq!(waits.first_deadline(), None);
    }

    #[test]
    fn a_goal_needs_both_the_replicas_and_our_disk_if_it_asks_for_both() {
        let goal = Goal { offset: Offset(1), replicas: 2, durable: true, local: true };
        assert!(goal.met(true, 2) && !goal.met(false, 2) && !goal.met(true, 1));
        assert!(Goal { local: false, ..goal }.met(false, 3));
    }
}

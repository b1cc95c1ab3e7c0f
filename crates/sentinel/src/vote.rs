//! Who leads the failover: one vote a Sentinel in each epoch, and the majority of all that are known.
//!
//! **Safety.** A vote is told to nobody before it is on disk, and neither is a candidacy, which is a vote for ourselves.
//! So at most one candidate gets a majority in an epoch, whoever crashes. At least quorum Sentinels must vote for it too,
//! if the quorum is greater than the majority. A Sentinel that starts without a memory may have lost it with its disk, and
//! may have voted: it neither votes nor stands for a while, and never votes in an epoch that had begun by then.
//!
//! **Speed.** Nobody waits a random second for a rival that may not exist. Among the Sentinels that can be reached, the one
//! with the smallest id stands at once and the others a little later each, so that they rather find themselves asked than
//! asking. An election that can't be won any more is over at once, and is repeated after a short random time that grows
//! with each failure. Who voted for another waits for what that one does, but no longer than an election may take.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_stdx::{Mono, ReplId};

use crate::core::Core;
use crate::event::Level;
use crate::failover::Failover;
use crate::machine::{Output, Reply, Timer};
use crate::primary::Primary;

/// How much later each next Sentinel stands for election.
const STAGGER: Duration = Duration::from_millis(80);
/// The first repetition of what failed comes within this time ...
const RETRY_MIN: Duration = Duration::from_millis(100);
/// ... and none waits longer than this.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Who voted for one that does not live any more waits no longer than this.
const LEADER_GONE: Duration = Duration::from_secs(1);

/// Whether a Sentinel in `current` epoch, whose last vote was in `voted`, may vote in `asked`.
pub(crate) fn may_vote(asked: u64, voted: u64, current: u64) -> bool {
    asked > voted && asked >= current
}

/// The candidate that has `needed` votes, if one has.
pub(crate) fn winner(votes: impl Iterator<Item = ReplId>, needed: usize) -> Option<ReplId> {
    let mut counts: BTreeMap<ReplId, usize> = BTreeMap::new();
    votes.for_each(|candidate| *counts.entry(candidate).or_default() += 1);
    counts.into_iter().find(|(_, count)| *count >= needed).map(|(candidate, _)| candidate)
}

/// How an election stands.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Won,
    /// Another has won, or nobody can.
    Lost {
        by: Option<ReplId>,
    },
    Open,
}

impl Primary {
    /// Another Sentinel asks for our vote. The answer is given when the vote is on disk.
    pub(crate) fn on_vote_asked(&mut self, core: &mut Core, epoch: u64, candidate: ReplId) -> Option<(ReplId, u64)> {
        // Asked first: an epoch that begins with this question is none that we can have forgotten.
        let is_newcomer = core.is_newcomer();
        self.see_epoch(core, epoch);
        let may = may_vote(epoch, self.leader_epoch.max(core.forgotten_epoch), core.epoch) && !is_newcomer;
        #[cfg(test)]
        let may = may || (core.planted == Some(crate::sim::Planted::VotesTwice) && epoch == core.epoch);
        if may {
            self.vote_for(core, candidate, epoch);
            if candidate != core.my_id {
                // It leads now, and we let it, unless nothing comes of it.
                self.candidacy = None;
                self.hold(core, core.periods.election.min(self.watch.failover_timeout * 2));
            }
        }
        self.leader.map(|leader| (leader, self.leader_epoch))
    }

    fn vote_for(&mut self, core: &mut Core, candidate: ReplId, epoch: u64) {
        (self.leader, self.leader_epoch) = (Some(candidate), epoch);
        core.save();
        self.announce(core, Level::Warning, "+vote-for-leader", format!("{candidate} {epoch}"));
    }

    /// No failover of ours begins for so long, and a random while.
    fn hold(&mut self, core: &mut Core, time: Duration) {
        let spread = Duration::from_millis(core.rng.below(1 + time.as_millis() as u64 / 10));
        self.hold_until = Some(core.mono() + time + spread);
    }

    /// What failed is tried again after a while that doubles with each failure.
    pub(crate) fn retry_later(&mut self, core: &mut Core) {
        let longest = RETRY_MAX.max(self.watch.failover_timeout.min(RETRY_MAX));
        let most = RETRY_MIN.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures += 1;
        let wait = most / 2 + Duration::from_micros(core.rng.below(most.as_micros() as u64 / 2 + 1));
        self.hold_until = Some(core.mono() + wait);
    }

    /// Stands for election when the primary is down and nothing speaks against it.
    pub(crate) fn stand(&mut self, core: &mut Core) {
        if self.o_down.is_none() || !self.failover.is_none() {
            self.candidacy = None;
            return;
        }
        if core.is_newcomer() {
            return;
        }
        self.release_if_leader_is_gone(core);
        if let Some(until) = self.hold_until {
            if !core.due(until, Timer::Candidacy) {
                return;
            }
            self.hold_until = None;
        }
        let at = match self.candidacy {
            Some(at) => at,
            None => {
                let rank = self.peers.iter().filter(|(id, peer)| **id < core.my_id && peer.node.is_reachable()).count();
                let at = core.mono() + STAGGER * u32::try_from(rank).unwrap_or(u32::MAX);
                *self.candidacy.insert(at)
            }
        };
        if core.due(at, Timer::Candidacy) {
            self.candidacy = None;
            self.begin(core, false);
        }
    }

    /// Who voted for one that has died since needn't wait for it.
    fn release_if_leader_is_gone(&mut self, core: &mut Core) {
        let is_gone = |leader: ReplId| self.peers.get(&leader).is_some_and(|peer| peer.node.down.is_some());
        let soon = core.mono() + LEADER_GONE;
        if self.leader.is_some_and(is_gone) && self.hold_until.is_some_and(|until| until > soon) {
            self.hold_until = Some(soon);
        }
    }

    /// Begins an epoch, votes for ourselves and asks the others; an operator who forces a failover needs no votes.
    pub(crate) fn begin(&mut self, core: &mut Core, is_forced: bool) {
        self.story.begin(core.now);
        core.epoch += 1;
        let epoch = core.epoch;
        core.save();
        self.announce(core, Level::Warning, "+new-epoch", epoch.to_string());
        self.announce_self(core, Level::Warning, "+try-failover");
        self.vote_for(core, core.my_id, epoch);
        self.peers.values_mut().for_each(|peer| peer.asked = None);
        self.replicas.values_mut().for_each(|replica| replica.node.link.want_info());
        let saved = core.save_point();
        self.failover = Failover::Electing { epoch, since: core.mono(), saved, is_forced };
        core.acted();
    }

    fn standing(&self, core: &Core, epoch: u64) -> Standing {
        let needed = self.majority().max(self.watch.quorum as usize);
        #[cfg(test)]
        let needed = match core.planted {
            // Those that are down don't count.
            Some(crate::sim::Planted::MajorityOfLive) => {
                let live = self.peers.values().filter(|peer| peer.node.is_reachable()).count() + 1;
                live / 2 + 1
            }
            _ => needed,
        };
        let of_peers = || self.peers.values().filter_map(|peer| peer.vote).filter(|(_, voted)| *voted == epoch);
        let own = self.leader.filter(|_| self.leader_epoch == epoch);
        let votes = || of_peers().map(|(candidate, _)| candidate).chain(own);
        match winner(votes(), needed) {
            Some(id) if id == core.my_id => return Standing::Won,
            Some(by) => return Standing::Lost { by: Some(by) },
            None => {}
        }
        // In a later epoch nobody votes in this one any more.
        if core.epoch > epoch {
            return Standing::Lost { by: None };
        }
        // Who has voted in this epoch or a later one votes no more in this one.
        let undecided = self.peers.values().filter(|peer| peer.vote.is_none_or(|(_, voted)| voted < epoch)).count();
        let for_us = votes().filter(|id| *id == core.my_id).count();
        if for_us + undecided >= needed { Standing::Open } else { Standing::Lost { by: None } }
    }

    /// Counts the votes.
    pub(crate) fn count_votes(&mut self, core: &mut Core, epoch: u64, since: Mono, is_forced: bool) {
        let standing = if is_forced { Standing::Won } else { self.standing(core, epoch) };
        match standing {
            Standing::Won => {
                self.announce_self(core, Level::Warning, "+elected-leader");
                if core.failpoints.after_election {
                    core.push(Output::Die);
                }
                self.announce_self(core, Level::Warning, "+failover-state-select-slave");
                self.failover = Failover::Selecting { epoch, since: core.mono() };
            }
            Standing::Lost { by } => self.lose(core, by),
            Standing::Open => {
                let time = core.periods.election.min(self.watch.failover_timeout);
                if core.due(since + time, Timer::Election) {
                    self.lose(core, None);
                }
            }
        }
    }

    fn lose(&mut self, core: &mut Core, by: Option<ReplId>) {
        self.announce_self(core, Level::Warning, "-failover-abort-not-elected");
        self.failover = Failover::None;
        match by {
            Some(_) => self.hold(core, core.periods.election.min(self.watch.failover_timeout * 2)),
            None => self.retry_later(core),
        }
    }
}

/// The answer to IS-MASTER-DOWN-BY-ADDR.
pub(crate) fn reply_when_saved(core: &mut Core, by: u64, is_down: bool, vote: Option<(ReplId, u64)>) {
    let reply = Reply::Opinion { is_down, vote };
    if vote.is_some() {
        core.once_saved(Output::Answer { by, reply });
    } else {
        core.answer(by, reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_stdx::Rng;

    #[test]
    fn one_votes_once_in_an_epoch_and_never_in_a_past_one() {
        assert!(may_vote(5, 4, 5) && may_vote(6, 2, 5));
        assert!(!may_vote(5, 5, 5) && !may_vote(4, 2, 5) && !may_vote(4, 5, 5));
    }

    #[test]
    fn whoever_has_enough_votes_wins() {
        let mut rng = Rng::new(1);
        let [a, b] = [ReplId::random(&mut rng), ReplId::random(&mut rng)];
        assert_eq!(winner([a, b, a].into_iter(), 2), Some(a));
        assert_eq!(winner([a, b].into_iter(), 2), None);
        assert_eq!(winner([].into_iter(), 1), None);
    }
}

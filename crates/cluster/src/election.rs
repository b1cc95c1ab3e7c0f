//! Who takes over: a replica of a failed primary asks all primaries for their votes, and leads when a majority has given
//! them, with an epoch that nobody had before.
//!
//! ```text
//!            our primary has failed            its time has come               a majority has voted
//!   Idle ─────────────────────────────► Waiting ─────────────────► Asking ───────────────────────► we lead
//!     ▲                                                              │
//!     └───────────────────────── not enough votes in time ◄──────────┘
//! ```
//!
//! A primary votes once in an epoch, and its vote is on disk before it is sent. How fresh a candidate's data are decides
//! when it asks, and so who wins, but not whether votes are given.
//!
//! **When it asks.** Redis waits for half a second and a random time more, so that everybody may hear of the failure, and
//! a second for each replica with more data. We tell of the failure ourselves, on each link just before we ask for the
//! vote, so that nobody can hear the question first; what is left of the wait is there to compare replicas. They tell each
//! other where they are when they hear of the failure, and the best one asks when all have spoken, after a moment, or at
//! once if it is alone. Only for one that does not speak is waited as long as Redis waits. DIFFERS: from Redis; in a shard
//! with real replicas they ask later, and find us elected, unless they have more data.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_stdx::Mono;

use crate::cluster::Cluster;
use crate::config::Config;
use crate::event::Event;
use crate::node::{Node, Role};
use crate::packet::{Body, Header};
use crate::{Epoch, LinkId, NodeId};

/// How long is waited for a replica that does not tell where it is, and the random time that is added to it at most.
const FIXED_DELAY: Duration = Duration::from_millis(500);
/// For each replica that has more data.
const DELAY_A_RANK: Duration = Duration::from_secs(1);
/// How long the replicas compare where they are at least, and how often they look whether all have told.
const COMPARISON: Duration = Duration::from_millis(40);

/// How far an election of ours is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Election {
    /// There is none.
    Idle {
        /// No other begins before, because the last one has failed.
        not_before: Mono,
    },
    /// The replicas tell each other where they are.
    Comparing {
        /// Since when.
        since: Mono,
        /// When we look next.
        at: Mono,
        /// When we go on without those who have not told.
        until: Mono,
    },
    /// Others go first, because they have more data.
    Waiting {
        /// When our time comes.
        at: Mono,
        /// How many had more data when that was decided.
        rank: usize,
    },
    /// We have asked.
    Asking {
        /// In which epoch.
        epoch: Epoch,
        /// Who has voted for us.
        votes: BTreeSet<NodeId>,
        /// When.
        since: Mono,
    },
}

impl Default for Election {
    fn default() -> Election {
        Election::Idle { not_before: Mono(0) }
    }
}

impl Election {
    pub(crate) fn wakes_at(&self) -> Option<Mono> {
        match self {
            Election::Comparing { at, .. } | Election::Waiting { at, .. } => Some(*at),
            Election::Idle { .. } | Election::Asking { .. } => None,
        }
    }
}

impl Cluster {
    /// Goes on with our election, or begins one, if that is called for.
    pub(crate) fn tend_election(&mut self) {
        let wanted = self.is_election_wanted();
        let now = self.now.mono;
        match self.election.clone() {
            // A wait is over when the primary is back; but a vote that has been asked for may still come.
            Election::Comparing { .. } | Election::Waiting { .. } if !wanted => self.election = Election::default(),
            Election::Idle { not_before } if wanted && now >= not_before => self.schedule_election(),
            Election::Comparing { since, at, until } if now >= at => self.compare(since, until),
            Election::Waiting { at, .. } if now >= at => self.ask_for_votes(),
            Election::Waiting { at, rank } => self.wait_longer(at, rank),
            Election::Asking { since, .. } if now.since(since) > self.config.election_timeout() => {
                self.announce(Event::ElectionExpired);
                self.election = Election::Idle { not_before: since + self.config.election_retry() };
            }
            _ => {}
        }
    }

    fn is_election_wanted(&self) -> bool {
        let Some(primary) = self.myself().primary().and_then(|primary| self.nodes.get(&primary)) else { return false };
        let by_hand = self.may_start_by_hand();
        let may = by_hand || (primary.is_failed() && !self.config.no_failover && self.are_our_data_fresh());
        may && !primary.slots.is_empty()
    }

    /// Whether what we hold is fresh enough to be led by. Nothing is never fresh: a node that has started empty and
    /// heard of no primary since must not be elected.
    fn are_our_data_fresh(&self) -> bool {
        if !self.status.has_data {
            return false;
        }
        let Config { validity_factor: factor, node_timeout, replica_ping_period, .. } = &self.config;
        if *factor == 0 || self.status.is_linked {
            return true;
        }
        let Some(linked_at) = self.status.linked_at else { return false };
        // The time that it took to find the primary dead is nobody's fault.
        let age = self.now.mono.since(linked_at).saturating_sub(*node_timeout);
        age <= *replica_ping_period + *node_timeout * *factor
    }

    fn schedule_election(&mut self) {
        let primary = self.myself().primary().expect("only a replica wants an election");
        let now = self.now.mono;
        let by_hand = self.may_start_by_hand();
        let rank = if by_hand { 0 } else { self.rank(primary) };
        let is_alone = self.rivals(primary).next().is_none();
        let delay = if by_hand || is_alone { Duration::ZERO } else { COMPARISON };
        let random = Duration::from_micros(self.rng.below(FIXED_DELAY.as_micros() as u64));
        let offset = self.status.offset;
        self.announce(Event::ElectionDelayed { delay, rank, offset });
        self.election = Election::Comparing { since: now, at: now + delay, until: now + FIXED_DELAY + random };
        // Those who compare themselves with us should know where we are.
        self.tell(|node| node.primary() == Some(primary));
        if delay.is_zero() {
            self.ask_for_votes();
        }
    }

    /// Who may lead in the place of our primary as well as we.
    fn rivals(&self, primary: NodeId) -> impl Iterator<Item = &Node> {
        let may_lead =
            |node: &&Node| node.id != self.me && !node.is_failed() && !node.told.any(crate::NodeFlags::NO_FAILOVER);
        self.replicas(primary).filter(may_lead)
    }

    /// Asks, if we are the best one of those who have told where they are, and all have, or have had time enough.
    fn compare(&mut self, since: Mono, until: Mono) {
        let primary = self.myself().primary().expect("only a replica wants an election");
        let now = self.now.mono;
        // Whom we suspect as well is most likely gone with the primary.
        let have_all_told = self.rivals(primary).all(|node| node.heard >= since || !node.is_fine());
        if !have_all_told && now < until {
            self.election = Election::Comparing { since, at: (now + COMPARISON).min(until), until };
            return;
        }
        let rank = self.rank(primary);
        if rank == 0 {
            return self.ask_for_votes();
        }
        let delay = FIXED_DELAY + DELAY_A_RANK * rank as u32;
        self.election = Election::Waiting { at: now + delay, rank };
        self.announce(Event::RankChanged { rank, delay });
    }

    /// How many replicas of our primary have more data than we; of equals those with smaller names count.
    fn rank(&self, primary: NodeId) -> usize {
        let ours = (self.status.offset, std::cmp::Reverse(self.me));
        self.rivals(primary).filter(|node| (node.offset, std::cmp::Reverse(node.id)) > ours).count()
    }

    /// Others have told meanwhile that they have more data.
    fn wait_longer(&mut self, at: Mono, rank: usize) {
        let Some(primary) = self.myself().primary() else { return };
        let new = self.rank(primary);
        if new > rank {
            let delay = DELAY_A_RANK * (new - rank) as u32;
            self.election = Election::Waiting { at: at + delay, rank: new };
            self.announce(Event::RankChanged { rank: new, delay });
        }
    }

    fn ask_for_votes(&mut self) {
        let primary = self.myself().primary().expect("only a replica wants an election");
        let epoch = self.current_epoch.next();
        self.current_epoch = epoch;
        self.announce(Event::ElectionStarted(epoch));
        self.election = Election::Asking { epoch, votes: BTreeSet::new(), since: self.now.mono };
        // An epoch that was used must not be used again after a crash.
        self.persist();
        // Nor is a vote given to whom a voter does not know for a replica of that primary yet, and gossip takes its time.
        self.tell(|node| node.primary() != Some(primary));
        if self.nodes[&primary].is_failed() {
            self.broadcast(Body::Fail(primary), |_| true);
        }
        let force_ack = self.is_by_hand();
        let packet = crate::packet::Packet {
            header: Some(Box::new(Header { force_ack, ..self.header() })),
            body: Body::AuthRequest,
        };
        let packet = std::sync::Arc::new(packet);
        for id in self.linked(|_| true) {
            self.send_packet(id, &packet);
        }
        self.count_votes();
    }

    /// A vote.
    pub(crate) fn on_auth_ack(&mut self, header: &Header) {
        let is_voter = self.nodes[&header.sender].is_voter();
        if let Election::Asking { epoch, votes, .. } = &mut self.election
            && is_voter
            && header.current_epoch >= *epoch
        {
            votes.insert(header.sender);
            self.count_votes();
        }
    }

    fn count_votes(&mut self) {
        let Election::Asking { epoch, votes, .. } = &self.election else { return };
        let (epoch, count) = (*epoch, votes.len());
        let needed = self.majority();
        #[cfg(test)]
        let needed = match self.config.planted {
            Some(crate::config::Planted::WinsWithOneVote) => 1,
            _ => needed,
        };
        if count >= needed {
            self.announce(Event::ElectionWon(epoch));
            let me = self.myself_mut();
            me.config_epoch = me.config_epoch.max(epoch);
            self.replace_primary();
        }
    }

    /// Leads in the place of our primary, and tells everybody.
    pub(crate) fn replace_primary(&mut self) {
        let Some(primary) = self.myself().primary() else { return };
        self.myself_mut().role = Role::Primary;
        self.give_slots(&self.nodes[&primary].slots.clone(), Some(self.me));
        self.drop_strays();
        self.election = Election::default();
        self.has_all = self.has_reached_goal();
        self.end_manual();
        self.state.is_stale = true;
        self.update_state();
        // What we claim from here on must not be forgotten either.
        self.persist();
        self.is_map_dirty = true;
        self.tell(|_| true);
    }

    // ---- the voter --------------------------------------------------------------------------------------

    /// A replica wants our vote. It gets the answer where it asked: the link of ours to a node that is young, or was away, may
    /// not be up, and a vote that is lost is lost for a whole election.
    pub(crate) fn on_auth_request(&mut self, link: LinkId, header: &Header) {
        if !self.myself().is_voter() {
            return;
        }
        match self.may_vote(header) {
            Ok(primary) => self.vote(link, header, primary),
            Err(why) => self.announce(Event::VoteDenied { to: header.sender, why }),
        }
    }

    /// Whether the sender of a request gets our vote: its primary, or why not.
    fn may_vote(&self, header: &Header) -> Result<NodeId, &'static str> {
        let now = self.now.mono;
        if header.current_epoch < self.current_epoch {
            return Err("its epoch is over");
        }
        #[cfg(test)]
        let votes_twice = self.config.planted == Some(crate::config::Planted::VotesTwice);
        #[cfg(not(test))]
        let votes_twice = false;
        if self.last_vote_epoch == self.current_epoch && !votes_twice {
            return Err("already voted in this epoch");
        }
        let primary = self.nodes[&header.sender].primary().ok_or("it is a master")?;
        let node = self.nodes.get(&primary).ok_or("I don't know its master")?;
        if !node.is_failed() && !header.force_ack {
            return Err("its master is up");
        }
        if node.voted.is_some_and(|voted| now.since(voted) < self.config.node_timeout * 2) && !votes_twice {
            return Err("can't vote about this master so soon again");
        }
        let is_stale = |slot: u16| {
            let owner = self.owners[usize::from(slot)];
            let is_later = |owner: NodeId| self.nodes[&owner].config_epoch > header.config_epoch;
            !self.unclaimed.has(slot) && owner.is_some_and(is_later)
        };
        if header.slots.iter().any(is_stale) {
            return Err("a slot that it claims has an owner with a greater epoch");
        }
        Ok(primary)
    }

    fn vote(&mut self, link: LinkId, header: &Header, primary: NodeId) {
        let to = header.sender;
        let now = self.now.mono;
        let epoch = self.current_epoch;
        self.node_mut(primary).voted = Some(now);
        self.last_vote_epoch = epoch;
        self.announce(Event::VoteGranted { to, epoch });
        self.persist();
        // A slot that had just come to the primary when it died may be news to its replica, and would stay with the dead.
        let primary = &self.nodes[&primary];
        if primary.slots != header.slots {
            let (config_epoch, slots) = (primary.config_epoch, primary.slots.clone());
            self.answer(link, Body::Update { config_epoch, node: primary.id, slots });
        }
        self.answer(link, Body::AuthAck);
    }
}

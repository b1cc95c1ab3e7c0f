//! CLUSTER FAILOVER: a replica takes over from a primary that works, because an operator wants it.
//!
//! ```text
//!  replica                                    primary
//!    │  MFSTART ───────────────────────────────► │ holds writes back
//!    │ ◄─────────── PING with PAUSED, its offset │
//!    │ (reads the stream up to there)            │
//!    │  AUTH_REQUEST with FORCEACK ────────────► all primaries
//! ```
//!
//! With FORCE the replica skips the first three lines, because its primary can't answer; with TAKEOVER it doesn't ask
//! anybody at all. Both ends give up after a while, and the primary lets writes through again.

use std::time::Duration;

use quorate_stdx::Mono;

use crate::NodeId;
use crate::cluster::{Cluster, Output};
use crate::event::Event;
use crate::node::Health;
use crate::packet::{Body, Heartbeat};

/// How long the replica has to win.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the primary holds writes back at most: the replica may begin at the end of its patience.
const PAUSE: Duration = Duration::from_secs(10);

/// How often the replica looks whether it has all of the stream: its shard's clients wait for it.
const LOOK_PERIOD: Duration = Duration::from_millis(1);

/// A manual failover under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manual {
    /// There is none.
    None,
    /// We hold writes back for a replica of ours.
    Yielding {
        /// Which.
        to: NodeId,
        /// Whether no write runs any more, so that our offset is the last one.
        is_quiet: bool,
        /// How long.
        until: Mono,
    },
    /// We want to take over.
    Taking {
        /// How far our primary's stream goes, if it has told.
        goal: Option<u64>,
        /// We may ask for votes.
        may_start: bool,
        /// How long we try.
        until: Mono,
    },
}

impl Manual {
    /// When to look again how far the stream has come, seen from `now`.
    pub(crate) fn wakes_at(&self, now: Mono) -> Option<Mono> {
        matches!(self, Manual::Taking { goal: Some(_), may_start: false, .. }).then(|| now + LOOK_PERIOD)
    }
}

impl Cluster {
    /// Whether we tell in our headers that our writes are held back.
    pub(crate) fn has_paused(&self) -> bool {
        matches!(self.manual, Manual::Yielding { is_quiet: true, .. })
    }

    /// Whether we hold writes back for `node`, which must hear from us often.
    pub(crate) fn hands_over_to(&self, node: NodeId) -> bool {
        matches!(self.manual, Manual::Yielding { to, .. } if to == node)
    }

    /// Whether an election of ours is an operator's wish.
    pub(crate) fn is_by_hand(&self) -> bool {
        matches!(self.manual, Manual::Taking { .. })
    }

    /// Whether it may begin.
    pub(crate) fn may_start_by_hand(&self) -> bool {
        matches!(self.manual, Manual::Taking { may_start: true, .. })
    }

    /// Whether our primary holds its writes back for us and we have all that it had to say.
    pub(crate) fn has_reached_goal(&self) -> bool {
        matches!(self.manual, Manual::Taking { goal: Some(goal), .. } if self.status.offset >= goal)
    }

    /// CLUSTER FAILOVER [FORCE] at a replica whose primary is known.
    pub(crate) fn begin_manual(&mut self, primary: NodeId, force: bool) {
        self.end_manual();
        let until = self.now.mono + PATIENCE;
        self.manual = Manual::Taking { goal: None, may_start: force, until };
        // An earlier attempt that has failed is no reason to wait when an operator wants it.
        self.election = crate::election::Election::default();
        if force {
            self.announce(Event::ManualAccepted("Forced failover user request accepted."));
            self.tend_election();
        } else {
            self.announce(Event::ManualAccepted("Manual failover user request accepted."));
            self.send(primary, Body::ManualStart);
        }
    }

    /// A replica of ours wants to take over.
    pub(crate) fn on_manual_start(&mut self, replica: NodeId) {
        // Slots that were granted to another primary may be its own already: that is settled first.
        if self.nodes[&replica].primary() != Some(self.me) || self.is_in_doubt() {
            return;
        }
        self.give_up_giving("A replica takes over by hand");
        self.end_manual();
        self.announce(Event::ManualAsked(replica));
        self.manual = Manual::Yielding { to: replica, is_quiet: false, until: self.now.mono + PAUSE };
        self.push(Output::PauseWrites);
    }

    pub(crate) fn on_writes_paused(&mut self, offset: u64) {
        self.status.offset = offset;
        self.myself_mut().offset = offset;
        if let Manual::Yielding { to, is_quiet, .. } = &mut self.manual {
            *is_quiet = true;
            let to = *to;
            self.send_heartbeat(to, Heartbeat::Ping);
        }
    }

    /// Our primary holds its writes back: this is as far as its stream goes.
    pub(crate) fn on_primary_paused(&mut self, offset: u64) {
        if let Manual::Taking { goal: goal @ None, may_start: false, .. } = &mut self.manual {
            *goal = Some(offset);
            self.announce(Event::ManualOffset(offset));
            self.tend_manual();
        }
    }

    /// Goes on with a manual failover, or gives it up.
    pub(crate) fn tend_manual(&mut self) {
        let now = self.now.mono;
        match &mut self.manual {
            Manual::None => {}
            Manual::Yielding { until, .. } | Manual::Taking { until, .. } if now >= *until => {
                self.announce(Event::ManualTimedOut);
                self.end_manual();
            }
            Manual::Taking { goal: Some(goal), may_start: may_start @ false, .. } if self.status.offset >= *goal => {
                *may_start = true;
                self.announce(Event::ManualCanStart);
                self.tend_election();
            }
            Manual::Yielding { .. } | Manual::Taking { .. } => {}
        }
    }

    /// It is over, one way or the other.
    pub(crate) fn end_manual(&mut self) {
        if let Manual::Yielding { .. } = std::mem::replace(&mut self.manual, Manual::None) {
            // Not before the map is in force that says whose the slots are now.
            self.resumes_writes = true;
        }
    }

    /// CLUSTER FAILOVER TAKEOVER.
    pub(crate) fn take_over_by_force(&mut self) {
        self.announce(Event::ManualAccepted("Taking over the master (user request)."));
        self.bump_epoch();
        self.replace_primary();
    }

    /// Why CLUSTER FAILOVER makes no sense here, if so; else our primary.
    pub(crate) fn may_take_over(&self, needs_primary: bool) -> Result<NodeId, &'static str> {
        const NO_PRIMARY: &str = "I'm a replica but my master is unknown to me";
        if !self.myself().is_replica() {
            return Err("You should send CLUSTER FAILOVER to a replica");
        }
        let primary = self.myself().primary().and_then(|primary| self.nodes.get(&primary)).ok_or(NO_PRIMARY)?;
        let is_down = matches!(primary.health, Health::Failed { .. }) || !primary.is_linked();
        if needs_primary && is_down {
            return Err("Master is down or failed, please use CLUSTER FAILOVER FORCE");
        }
        Ok(primary.id)
    }
}

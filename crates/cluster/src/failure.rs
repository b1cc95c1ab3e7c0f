//! Who is down: one node suspects, a majority of the primaries decides.
//!
//! ```text
//!           silent for the node timeout, or gone        a majority of voters agrees, or a FAIL message
//!   Fine ─────────────────────────────────► Suspected ──────────────────────────────────────────► Failed
//!     ▲                answers                  │                                                    │
//!     └─────────────────────────────────────────┴───────── answers, and has no slots to lose ◄───────┘
//! ```
//!
//! **A crash is no silence.** When a process dies its machine closes its links at once, and refuses new ones. That is
//! evidence, and who has it suspects at once: when a majority has it, the node has failed, without the node timeout.
//! Silence still takes its time. Whom a primary suspects, it tells the other primaries at once, in a heartbeat such as any
//! node understands.
//! DIFFERS: from Redis, which waits for the timeout in either case; a real node that hears of it counts the report, and
//! decides by its own clock.

use crate::NodeId;
use crate::cluster::Cluster;
use crate::event::Event;
use crate::node::{Health, Node};
use crate::packet::Body;

/// A primary with slots that has come back counts as failed for so many node timeouts more, so that a replica that has
/// been elected meanwhile can tell.
const RETURN_TIMEOUTS: u32 = 2;

/// So many suspected nodes are told of at once.
const SPREAD_AT_ONCE: usize = 4;

impl Cluster {
    /// Its port refuses connections. That means something if there was a link before: a node that was never there may
    /// be one that has yet to start.
    pub(crate) fn on_refused(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if node.is_in_handshake() || node.pong_received.is_none() || node.is_gone {
            return;
        }
        node.is_gone = true;
        if !node.is_fine() {
            return; // Others were faster.
        }
        node.health = Health::Suspected;
        self.announce(Event::ProcessGone(id));
        self.note_changed();
        self.spread_suspicion();
        self.fail_if_agreed(id);
    }

    /// Tells those who decide at once whom we suspect, if our word counts. When a large part of a cluster is cut off, it is left to
    /// the heartbeats: news of each node from each one to each one would be too much.
    fn spread_suspicion(&mut self) {
        let suspected = self.nodes.values().filter(|node| node.health == Health::Suspected);
        if !self.myself().is_voter() || suspected.clone().count() > SPREAD_AT_ONCE {
            return;
        }
        let suspected = suspected.map(|node| node.gossip(self.me)).collect();
        self.tell_of(suspected, Node::is_voter);
    }

    /// At each tick: who has been silent for too long.
    pub(crate) fn look_for_failures(&mut self) {
        let (now, timeout) = (self.now.mono, self.config.node_timeout);
        let silent: Vec<NodeId> = self
            .nodes
            .values()
            .filter(|node| node.id != self.me && node.is_fine() && !node.is_in_handshake())
            .filter(|node| node.silence(now) > timeout)
            .map(|node| node.id)
            .collect();
        for &id in &silent {
            self.node_mut(id).health = Health::Suspected;
            self.announce(Event::Suspected(id));
            self.note_changed();
        }
        if !silent.is_empty() {
            self.spread_suspicion();
        }
        for id in silent {
            self.fail_if_agreed(id);
        }
    }

    /// What a primary says of a node.
    pub(crate) fn note_report(&mut self, id: NodeId, by: NodeId, is_down: bool) {
        let now = self.now.mono;
        let reports = &mut self.node_mut(id).reports;
        if is_down {
            if reports.insert(by, now).is_none() {
                self.announce(Event::Reported { node: id, by });
            }
            self.fail_if_agreed(id);
        } else if reports.remove(&by).is_some() {
            self.announce(Event::ReportWithdrawn { node: id, by });
        }
    }

    /// How many primaries say that they can't reach a node.
    pub(crate) fn count_reports(&mut self, id: NodeId) -> usize {
        let (now, validity) = (self.now.mono, self.config.report_validity());
        let reports = &mut self.node_mut(id).reports;
        reports.retain(|_, at| now.since(*at) <= validity);
        let voters: Vec<NodeId> = reports.keys().copied().collect();
        voters.iter().filter(|by| self.nodes.get(by).is_some_and(|node| node.is_voter())).count()
    }

    /// A node that we suspect has failed if a majority agrees.
    fn fail_if_agreed(&mut self, id: NodeId) {
        if self.nodes[&id].health != Health::Suspected {
            return;
        }
        let ours = usize::from(self.myself().is_voter());
        if self.count_reports(id) + ours < self.majority() {
            return;
        }
        self.announce(Event::Failed(id));
        self.set_failed(id);
        self.broadcast(Body::Fail(id), |_| true);
        self.tend_election();
    }

    /// Somebody knows of a majority.
    pub(crate) fn on_fail(&mut self, by: NodeId, id: NodeId) {
        let Some(node) = self.nodes.get(&id).filter(|node| id != self.me && !node.is_failed()) else { return };
        let id = node.id;
        self.announce(Event::FailedSays { node: id, by });
        self.set_failed(id);
        self.tend_election();
    }

    fn set_failed(&mut self, id: NodeId) {
        let since = self.now.mono;
        self.node_mut(id).health = Health::Failed { since };
        self.note_changed();
        self.is_conf_dirty = true;
    }

    /// A node has answered.
    pub(crate) fn note_alive(&mut self, id: NodeId) {
        let (now, limit) = (self.now.mono, self.config.node_timeout * RETURN_TIMEOUTS);
        let node = &self.nodes[&id];
        match node.health {
            Health::Fine => return,
            Health::Suspected => self.announce(Event::NoLongerSuspected(id)),
            // Nobody has taken its place, and nobody could while it was counted as failed.
            Health::Failed { since } if node.is_voter() => {
                if now.since(since) <= limit {
                    return;
                }
                self.announce(Event::ClearedReturned(id));
            }
            Health::Failed { .. } => self.announce(Event::ClearedReplica(id)),
        }
        let was_failed = self.nodes[&id].is_failed();
        self.node_mut(id).health = Health::Fine;
        self.note_changed();
        self.is_conf_dirty |= was_failed;
    }

    fn note_changed(&mut self) {
        self.state.is_stale = true;
        self.is_map_dirty = true;
    }
}

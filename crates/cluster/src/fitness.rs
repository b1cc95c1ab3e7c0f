//! Are we fit to lead? A node is the first to know when it isn't, and says so itself: by the message with which any node tells
//! of a failure, and which a real node believes as well.
//!
//! **Our data plane hangs.** The bus goes on beside it, and must not make it look well. A command that is slow is no failure, and
//! nobody hears of it; but when none at all has got on for the node timeout, a primary is as good as silent to its clients.
//! Then it is silent on the bus, too, until it gets on again. DIFFERS: from Redis, whose bus stands still with its commands, so
//! that the others find out after their own timeout.
//!
//! **We came back with nothing**, and a replica of ours still has what we led with. It is to lead; until it does, or has had time
//! enough, nobody writes here. DIFFERS: from Redis, where such a primary goes on as if all its keys had been deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_stdx::Mono;

use crate::NodeId;
use crate::cluster::{Cluster, LinkId};
use crate::event::Event;
use crate::node::Node;
use crate::packet::{Body, Heartbeat};

/// What rests for less may be a busy machine.
const SHORTEST: Duration = Duration::from_secs(1);
/// How often we say that we came back with nothing: a link may not have been up before.
const INSISTENCE: Duration = Duration::from_millis(500);

/// What we know of ourselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fitness {
    /// No command gets on.
    pub(crate) hangs: bool,
    /// Links on which we were asked meanwhile, and owe an answer.
    owing: BTreeSet<LinkId>,
    /// Until when a replica may take over because we came back with nothing.
    yields_until: Option<Mono>,
    said: Option<Mono>,
}

impl Fitness {
    /// Of a node that has just started, and led before or didn't.
    pub(crate) fn starting(led: bool, until: Mono) -> Fitness {
        Fitness { yields_until: led.then_some(until), ..Fitness::default() }
    }

    /// Whether anything is to be looked after.
    pub(crate) fn is_troubled(&self) -> bool {
        self.hangs || self.yields_until.is_some()
    }
}

impl Cluster {
    /// For how long no command has got on.
    pub(crate) fn note_rest(&mut self, rests_for: Duration) {
        let hangs = rests_for >= self.config.node_timeout.max(SHORTEST);
        if hangs == self.fitness.hangs {
            return;
        }
        self.announce(if hangs { Event::DataPlaneHangs } else { Event::DataPlaneGetsOn });
        if hangs && self.myself().is_voter() {
            self.broadcast(Body::Fail(self.me), |_| true);
        }
        self.fitness.hangs = hangs;
        for link in std::mem::take(&mut self.fitness.owing) {
            let asker = self.inbound.get(&link).and_then(|inbound| self.nodes.get(&inbound.node?));
            let (from, knows_extensions) = (asker.map(|node| node.id), asker.is_some_and(Node::knows_extensions));
            self.answer_heartbeat(link, from, knows_extensions);
        }
    }

    /// Answers a heartbeat, now or when we are well again: whoever has asked does not ask twice.
    pub(crate) fn answer_heartbeat(&mut self, link: LinkId, from: Option<NodeId>, knows_extensions: bool) {
        if self.fitness.hangs {
            self.fitness.owing.insert(link);
            return;
        }
        let mut answer = self.heartbeat(Heartbeat::Pong, from);
        // Whoever hears of our slots for the first time hears our host's name, too.
        if let (None, true, Body::Heartbeat { extensions, .. }) = (from, knows_extensions, &mut answer) {
            extensions.extend(self.hostname_extension());
        }
        self.answer(link, answer);
    }

    /// Whether one of our replicas should lead in our place.
    pub(crate) fn yields(&self) -> bool {
        let has_something = |node: &Node| !node.is_failed() && node.offset > 0;
        self.fitness.yields_until.is_some()
            && !self.status.has_data
            && self.myself().is_voter()
            && self.replicas(self.me).any(has_something)
    }

    /// At each tick.
    pub(crate) fn tend_fitness(&mut self) {
        let now = self.now.mono;
        let is_over = self.fitness.yields_until.is_some_and(|until| now >= until);
        if is_over || self.status.has_data || !self.myself().is_primary() {
            if is_over && self.yields() {
                self.announce(Event::LeadsNothing);
            }
            self.fitness.yields_until = None;
        } else if self.yields() && self.fitness.said.is_none_or(|said| now.since(said) >= INSISTENCE) {
            if self.fitness.said.is_none() {
                self.announce(Event::CameBackEmpty);
            }
            self.fitness.said = Some(now);
            self.broadcast(Body::Fail(self.me), |_| true);
        }
    }
}

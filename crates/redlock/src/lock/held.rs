//! A lock that is held: until when, and how that is moved on.
//!
//! An extension never makes a lock: nodes extend only what is ours there, and an answer that comes when the time granted
//! before is over changes nothing. One to a shorter time is believed from the moment in which it is sent, since any node
//! may obey it at once.

use std::time::Duration;

use quorate_stdx::Mono;

use super::{Lock, LossReason, Output, Phase, Timer};
use crate::command::Command;
use crate::round::Round;
use crate::terms::check_ttl;
use crate::{Answer, NodeId, RequestId, Terms, Token, Vote, Votes};

#[derive(Debug)]
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) valid_until: Mono,
    extension: Option<Extension>,
    /// When to extend without being asked.
    next: Option<Mono>,
    /// When that ends for good.
    cap: Option<Mono>,
}

/// An extension under way.
#[derive(Debug)]
struct Extension {
    round: Round,
    ttl: Duration,
    is_automatic: bool,
}

impl Held {
    pub(super) fn new(terms: &Terms, now: Mono, token: Token, sent_at: Mono, valid_until: Mono) -> Held {
        let cap = terms.extend_for.map(|time| now + time);
        let next = cap.map(|_| sent_at + terms.ttl / 3);
        Held { token, valid_until, extension: None, next, cap }
    }

    pub(super) fn timeout(&self) -> (Mono, Timer) {
        let deadline = self.extension.as_ref().map(|extension| (extension.round.deadline, Timer::Deadline));
        let next = self.next.map(|at| (at, Timer::Extension));
        let timers = [deadline, next].into_iter().flatten();
        timers.fold((self.valid_until, Timer::Validity), |first, other| if other.0 < first.0 { other } else { first })
    }
}

impl Lock {
    pub(super) fn on_extend(&mut self, now: Mono, ttl: Duration) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        self.phase = match phase {
            Phase::Held(held) if now >= held.valid_until => self.lose(now, held),
            Phase::Held(held) if check_ttl(ttl, self.terms.drift).is_ok() => self.extend(now, held, ttl, false),
            phase => {
                let nodes = self.terms.nodes;
                self.outputs.push_back(Output::NotExtended(Votes(vec![Vote::Pending; nodes])));
                phase
            }
        };
    }

    fn extend(&mut self, now: Mono, mut held: Held, ttl: Duration, is_automatic: bool) -> Phase {
        let round = self.ask_all(now, &Command::Extend { token: held.token.clone(), ttl });
        held.valid_until = held.valid_until.min(now + (ttl - self.terms.drift.of(ttl)));
        held.next = None;
        held.extension = Some(Extension { round, ttl, is_automatic });
        Phase::Held(held)
    }

    pub(super) fn on_extension_reply(
        &mut self,
        now: Mono,
        mut held: Held,
        node: NodeId,
        request: RequestId,
        answer: &Answer,
    ) -> Phase {
        let Some(extension) = &mut held.extension else { return Phase::Held(held) };
        if !extension.round.count(node, request, answer) {
            return Phase::Held(held);
        }
        self.on_time_held(now, held)
    }

    /// Looks at what time and votes have come to.
    pub(super) fn on_time_held(&mut self, now: Mono, mut held: Held) -> Phase {
        if now >= held.valid_until {
            return self.lose(now, held);
        }
        if let Some(mut extension) = held.extension.take() {
            extension.round.expire(now);
            if extension.round.is_won() {
                self.on_extended(&mut held, &extension);
            } else if extension.round.is_refuted() {
                return self.end(now, held, LossReason::Taken);
            } else if extension.round.is_lost() {
                self.on_not_extended(now, &mut held, &extension);
            } else {
                held.extension = Some(extension);
            }
        }
        match held.next {
            Some(next) if now >= next => self.extend_by_itself(now, held),
            _ => Phase::Held(held),
        }
    }

    fn on_extended(&mut self, held: &mut Held, extension: &Extension) {
        let ttl = extension.ttl;
        held.valid_until = extension.round.sent_at + (ttl - self.terms.drift.of(ttl));
        held.next = held.cap.map(|_| extension.round.sent_at + ttl / 3);
        self.outputs.push_back(Output::Extended { valid_until: held.valid_until });
    }

    fn on_not_extended(&mut self, now: Mono, held: &mut Held, extension: &Extension) {
        held.next = held.cap.map(|_| now + self.terms.ttl / 10);
        if !extension.is_automatic {
            self.outputs.push_back(Output::NotExtended(extension.round.votes()));
        }
    }

    /// An automatic extension never reaches beyond its cap, and comes to nothing if that is near.
    fn extend_by_itself(&mut self, now: Mono, mut held: Held) -> Phase {
        let left = held.cap.map_or(Duration::ZERO, |cap| cap.since(now));
        let ttl = Duration::from_millis(u64::try_from(left.min(self.terms.ttl).as_millis()).unwrap_or(u64::MAX));
        let drift = self.terms.drift;
        if check_ttl(ttl, drift).is_err() || now + (ttl - drift.of(ttl)) <= held.valid_until {
            held.next = None;
            return Phase::Held(held);
        }
        self.extend(now, held, ttl, true)
    }

    fn lose(&mut self, now: Mono, held: Held) -> Phase {
        let was_capped = held.cap.is_some() && held.next.is_none() && held.extension.is_none();
        self.end(now, held, if was_capped { LossReason::Capped } else { LossReason::Expired })
    }

    /// The lock is lost; what is left of it on some nodes is removed.
    fn end(&mut self, now: Mono, held: Held, reason: LossReason) -> Phase {
        self.ask_all(now, &Command::Release { token: held.token, is_told: true, leave: None });
        self.outputs.push_back(Output::Lost(reason));
        Phase::Over
    }
}

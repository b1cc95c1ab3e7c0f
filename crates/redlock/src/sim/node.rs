//! A server, modelled: keys with a TTL, counters, who waits; what it does with a command is what the driver's scripts do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Planted;
use crate::command::{Command, Place};
use crate::{Answer, Fault, Token};

/// What the locks are about.
pub(crate) type Resource = u8;

/// Microseconds of one server's clock, by which its keys expire.
type Local = u64;

#[derive(Debug, Default)]
pub(crate) struct Node {
    locks: BTreeMap<Resource, (Token, Local)>,
    counters: BTreeMap<Resource, u64>,
    waiting: BTreeMap<Resource, Vec<(Place, Local)>>,
    /// Tokens that were here and are no more.
    gone: BTreeSet<Token>,
    /// Until when it grants nothing.
    pub(crate) quarantine: Local,
    planted: Option<Planted>,
}

/// What came of a command beside its answer.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Resources that were given up, and whose turn it is.
    pub(crate) freed: Vec<(Resource, Option<Token>)>,
    /// A counter began anew.
    pub(crate) has_seeded: bool,
    /// The token of a lock that was gone and is there again.
    pub(crate) revived: Option<Token>,
}

impl Node {
    pub(crate) fn new(planted: Option<Planted>) -> Node {
        Node { planted, ..Node::default() }
    }

    /// Everything is lost but what the checkers keep.
    pub(crate) fn forget(&mut self) {
        self.gone.extend(self.locks.values().map(|(token, _)| token.clone()));
        (self.locks, self.counters, self.waiting) = Default::default();
    }

    pub(crate) fn has_any_lock(&mut self, now: Local) -> bool {
        self.expire(now);
        !self.locks.is_empty()
    }

    fn expire(&mut self, now: Local) {
        let gone = &mut self.gone;
        self.locks.retain(|_, (token, until)| {
            let stays = *until > now;
            if !stays {
                gone.insert(token.clone());
            }
            stays
        });
        for waiting in self.waiting.values_mut() {
            waiting.retain(|(_, until)| *until > now);
        }
    }

    /// Does what is asked; `wall` is what a counter that is not there begins at.
    pub(crate) fn perform(
        &mut self,
        now: Local,
        wall: u64,
        resources: &[Resource],
        command: &Command,
    ) -> (Answer, Effects) {
        self.expire(now);
        let mut effects = Effects::default();
        let answer = match command {
            Command::Acquire { token, ttl, is_fenced, place } => {
                let fence = is_fenced.then_some(wall);
                self.acquire(now, resources, token, *ttl, fence, place.as_ref(), &mut effects)
            }
            Command::Raise { token, fence } if self.holds(resources, token) => {
                for resource in resources {
                    let counter = self.counters.entry(*resource).or_default();
                    *counter = (*counter).max(*fence);
                }
                Answer::Done { fence: None }
            }
            Command::Extend { token, ttl } => self.extend(now, resources, token, *ttl, &mut effects),
            Command::Release { token, is_told, leave } => {
                self.release(resources, token, *is_told, leave.as_ref(), &mut effects)
            }
            Command::Raise { .. } => not_ours(),
        };
        (answer, effects)
    }

    fn holds(&self, resources: &[Resource], token: &Token) -> bool {
        resources.iter().all(|resource| self.locks.get(resource).is_some_and(|(holder, _)| holder == token))
    }

    #[expect(clippy::too_many_arguments, reason = "it is the script's")]
    fn acquire(
        &mut self,
        now: Local,
        resources: &[Resource],
        token: &Token,
        ttl: Duration,
        fence: Option<u64>,
        place: Option<&Place>,
        effects: &mut Effects,
    ) -> Answer {
        if now < self.quarantine && self.planted != Some(Planted::SkipsQuarantine) {
            return Answer::Failed(Fault::Refused("QUARANTINE".into()));
        }
        let is_our_turn = place.is_none_or(|place| self.enqueue(now, resources, place));
        if !is_our_turn || resources.iter().any(|resource| self.locks.contains_key(resource)) {
            return not_ours();
        }
        for resource in resources {
            self.locks.insert(*resource, (token.clone(), now + ttl.as_micros() as u64));
            if let Some(place) = place {
                self.leave(*resource, place);
            }
        }
        let fence = fence.map(|wall| {
            effects.has_seeded = resources.iter().any(|resource| !self.counters.contains_key(resource));
            let known = |resource: &Resource| self.counters.get(resource).copied().unwrap_or(wall);
            let next = resources.iter().map(known).max().unwrap_or_default() + 1;
            self.counters.extend(resources.iter().map(|resource| (*resource, next)));
            next
        });
        Answer::Done { fence }
    }

    /// Takes a place among those who wait for each resource; whether it is the first everywhere.
    fn enqueue(&mut self, now: Local, resources: &[Resource], place: &Place) -> bool {
        let mut is_first = true;
        for resource in resources {
            let waiting = self.waiting.entry(*resource).or_default();
            waiting.retain(|(other, _)| other.waiter != place.waiter);
            waiting.push((place.clone(), now + place.patience.as_micros() as u64));
            waiting.sort_by_key(|(place, _)| (place.since, place.waiter.clone()));
            is_first &= waiting[0].0.waiter == place.waiter;
        }
        is_first
    }

    fn leave(&mut self, resource: Resource, place: &Place) {
        if let Some(waiting) = self.waiting.get_mut(&resource) {
            waiting.retain(|(other, _)| other.waiter != place.waiter);
        }
    }

    fn extend(
        &mut self,
        now: Local,
        resources: &[Resource],
        token: &Token,
        ttl: Duration,
        effects: &mut Effects,
    ) -> Answer {
        let until = now + ttl.as_micros() as u64;
        let is_free = !resources.iter().any(|resource| self.locks.contains_key(resource));
        if self.holds(resources, token) || is_free && self.planted == Some(Planted::ExtendsBySetNx) {
            effects.revived = is_free.then(|| token.clone()).filter(|token| self.gone.contains(token));
            self.locks.extend(resources.iter().map(|resource| (*resource, (token.clone(), until))));
            return Answer::Done { fence: None };
        }
        not_ours()
    }

    fn release(
        &mut self,
        resources: &[Resource],
        token: &Token,
        is_told: bool,
        leave: Option<&Place>,
        effects: &mut Effects,
    ) -> Answer {
        let mut removed = 0;
        for resource in resources {
            if let Some(place) = leave {
                self.leave(*resource, place);
            }
            let is_ours = self.locks.get(resource).is_some_and(|(holder, _)| holder == token);
            if is_ours || self.planted == Some(Planted::ReleasesWithoutToken) {
                self.gone.extend(self.locks.remove(resource).map(|(token, _)| token));
                removed += 1;
            }
            if is_told && (is_ours || leave.is_some()) {
                let first = self.waiting.get(resource).and_then(|waiting| waiting.first());
                effects.freed.push((*resource, first.map(|(place, _)| place.waiter.clone())));
            }
        }
        if removed == resources.len() { Answer::Done { fence: None } } else { not_ours() }
    }
}

fn not_ours() -> Answer {
    Answer::NotOurs
}

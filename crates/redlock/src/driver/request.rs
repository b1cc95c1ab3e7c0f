//! One request for a lock, with terms of its own.

use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::error::{LockError, NodeVotes, WithError};
use super::guard::{Guard, Held, Loss};
use super::redlock::RedLock;
use super::session::Session;
use super::wire::Keys;
use crate::{Output, Terms};

/// A request for a lock. See [`RedLock::request`].
#[derive(Debug, Clone)]
#[must_use = "nothing is locked before it is asked for"]
pub struct Request {
    redlock: RedLock,
    resources: Vec<String>,
    ttl: Duration,
    wait: Duration,
    is_fenced: bool,
    is_fair: bool,
    extend_for: Option<Duration>,
}

impl Request {
    pub(crate) fn new(redlock: RedLock, resources: Vec<String>, ttl: Duration) -> Request {
        let defaults = redlock.defaults.clone();
        Request {
            redlock,
            resources,
            ttl,
            wait: defaults.wait,
            is_fenced: defaults.is_fenced,
            is_fair: defaults.is_fair,
            extend_for: None,
        }
    }

    /// How long to go on trying; zero means one attempt.
    pub fn wait(mut self, wait: Duration) -> Request {
        self.wait = wait;
        self
    }

    /// Whether it comes with a fencing token.
    pub fn fenced(mut self, is_fenced: bool) -> Request {
        self.is_fenced = is_fenced;
        self
    }

    /// Whether to wait in the order in which we came.
    pub fn fair(mut self, is_fair: bool) -> Request {
        self.is_fair = is_fair;
        self
    }

    /// Extends by itself, until it has been held for this long: a hard cap.
    pub fn extend_for(mut self, cap: Duration) -> Request {
        self.extend_for = Some(cap);
        self
    }

    fn terms(&self) -> Result<Terms, LockError> {
        if self.resources.is_empty() || self.resources.iter().any(String::is_empty) {
            return Err(LockError::NoResource);
        }
        let defaults = &self.redlock.defaults;
        let mut terms = Terms::new(self.redlock.addresses.len(), self.ttl, rand::random());
        terms.drift = defaults.drift;
        terms.retry = defaults.retry;
        terms.node_timeout = defaults.node_timeout.unwrap_or_else(|| Terms::default_node_timeout(self.ttl));
        (terms.wait, terms.is_fenced, terms.is_fair) = (self.wait, self.is_fenced, self.is_fair);
        (terms.extend_for, terms.arrival) = (self.extend_for, clock::wall_micros());
        terms.check()?;
        Ok(terms)
    }

    /// Asks. If this is not awaited to its end, whatever was locked is given back in the background.
    ///
    /// # Errors
    /// It could not be had; the error says how each server voted.
    pub async fn lock(self) -> Result<Guard, LockError> {
        let terms = self.terms()?;
        let (nodes, addresses) = (Arc::clone(&self.redlock.nodes), Arc::clone(&self.redlock.addresses));
        let mut session = Session::begin(terms, nodes, Arc::new(Keys::of(self.resources)));
        loop {
            match session.next().await {
                Output::Granted(grant) => {
                    session.stop_listening();
                    return Ok(Guard::keep(session, grant, addresses));
                }
                Output::Refused(refusal) => {
                    let votes = NodeVotes::new(&addresses, refusal.votes);
                    return Err(LockError::NotAcquired { votes, reason: refusal.reason, attempts: refusal.attempts });
                }
                _ => {}
            }
        }
    }

    /// Works under the lock, which is extended by itself until the work is done or the cap is reached. See
    /// [`RedLock::with_lock`].
    ///
    /// # Errors
    /// The lock could not be had, or was lost before the work was done.
    pub async fn with<T, F: Future<Output = T>>(mut self, work: impl FnOnce(Held) -> F) -> Result<T, WithError> {
        let cap = self.extend_for.unwrap_or(self.redlock.defaults.extend_for);
        self.extend_for = Some(cap.max(self.ttl));
        let guard = self.lock().await?;
        let done = tokio::select! {
            biased;
            loss = guard.lost() => Err(WithError::Lost(loss)),
            value = work(guard.held().clone()) => Ok(value),
        };
        // Whoever kept the thread busy learns of the loss only now.
        let is_valid = guard.is_valid();
        guard.release().await;
        match done {
            Ok(_) if !is_valid => Err(WithError::Lost(Loss::Expired)),
            done => done,
        }
    }
}

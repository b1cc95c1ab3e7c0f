//! What few slots have: keys that are watched, keys that clients wait for or hold copies of, keys saved for a snapshot.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::space::Db;
use crate::tracking::Held;

/// Raised when a watched key changes; shared by a connection and the slots whose keys it watches.
pub type WatchFlag = Arc<AtomicBool>;

/// Names a blocked client's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Guarded by the slot's lock.
#[derive(Default)]
pub(crate) struct Extras {
    /// Few clients watch few keys of a slot at a time: a list is enough.
    watched: Vec<(Db, Box<[u8]>, WatchFlag)>,
    waiting: HashMap<(Db, Box<[u8]>), VecDeque<Ticket>>,
    /// Who may hold copies of which keys.
    pub(crate) held: Held,
    /// Keys whose old value the walk already has, or knows to have been absent.
    pub(crate) saved: HashSet<(Db, Box<[u8]>)>,
}

impl Extras {
    pub(crate) fn is_empty(&self) -> bool {
        self.watched.is_empty() && self.waiting.is_empty() && self.held.is_empty() && self.saved.is_empty()
    }

    pub(crate) fn watch(&mut self, db: Db, key: &[u8], flag: &WatchFlag) {
        self.watched.push((db, key.into(), Arc::clone(flag)));
    }

    pub(crate) fn unwatch(&mut self, flag: &WatchFlag) {
        self.watched.retain(|(_, _, other)| !Arc::ptr_eq(flag, other));
    }

    pub(crate) fn touch(&self, db: Db, key: &[u8]) {
        for (_, _, flag) in self.watched.iter().filter(|(at, name, _)| *at == db && **name == *key) {
            flag.store(true, Ordering::Release);
        }
    }

    /// Raises the flags of the watched keys of `db` for which `changes` holds.
    pub(crate) fn touch_where(&self, changes: impl Fn(Db, &[u8]) -> bool) {
        for (_, _, flag) in self.watched.iter().filter(|(db, key, _)| changes(*db, key)) {
            flag.store(true, Ordering::Release);
        }
    }

    pub(crate) fn wait(&mut self, db: Db, key: &[u8], ticket: Ticket) {
        let queue = self.waiting.entry((db, key.into())).or_default();
        if !queue.contains(&ticket) {
            queue.push_back(ticket);
        }
    }

    pub(crate) fn forget(&mut self, ticket: Ticket) {
        self.waiting.retain(|_, queue| {
            queue.retain(|other| *other != ticket);
            !queue.is_empty()
        });
    }

    pub(crate) fn waiters(&self, db: Db, key: &[u8]) -> Vec<Ticket> {
        self.waiting.get(&(db, key.into())).map(|queue| queue.iter().copied().collect()).unwrap_or_default()
    }

    pub(crate) fn awaits(&self, db: Db, key: &[u8]) -> bool {
        !self.waiting.is_empty() && self.waiting.contains_key(&(db, key.into()))
    }

    /// The keys that clients wait for.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (Db, &[u8])> {
        self.watched.iter().map(|(db, key, _)| (*db, &**key))
    }

    pub(crate) fn awaited(&self) -> impl Iterator<Item = &(Db, Box<[u8]>)> {
        self.waiting.keys()
    }
}

//! Counters that no two threads write: each thread has its own set, a reader adds them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

/// A number with one writing thread and any number of readers.
#[derive(Default)]
pub struct Tally(AtomicI64);

impl Tally {
    /// Adds `by`; only the owning thread may call it (a lost update is the worst that could come of it).
    #[inline]
    pub fn add(&self, by: i64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// Sets it, for what is taken stock of rather than counted; only the owning thread may call it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number as it stands.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one thread has done to the keyspace.
pub struct Counters {
    /// Keys of each database: added minus removed by this thread, so it may be below zero.
    pub keys: Box<[Tally]>,
    /// The same for keys with an expiry.
    pub expires: Box<[Tally]>,
    /// The same for hashes that have fields which expire.
    pub fielded: Box<[Tally]>,
    /// Reads that found a key.
    pub hits: Tally,
    /// Reads that found none.
    pub misses: Tally,
    /// Keys removed because their time had come.
    pub expired: Tally,
    /// Fields of hashes removed because their time had come.
    pub expired_fields: Tally,
    /// Keys removed to make room.
    pub evicted: Tally,
}

impl Counters {
    fn new(databases: usize) -> Counters {
        let tallies = || (0..databases).map(|_| Tally::default()).collect();
        Counters {
            keys: tallies(),
            expires: tallies(),
            fielded: tallies(),
            hits: Tally::default(),
            misses: Tally::default(),
            expired: Tally::default(),
            expired_fields: Tally::default(),
            evicted: Tally::default(),
        }
    }
}

/// All threads' counters.
pub(crate) struct Registry {
    databases: usize,
    all: Mutex<Vec<Arc<CachePadded<Counters>>>>,
}

impl Registry {
    pub(crate) fn new(databases: usize) -> Registry {
        Registry { databases, all: Mutex::new(Vec::new()) }
    }

    /// A new thread's counters. They stay counted when the thread is gone.
    pub(crate) fn join(&self) -> Arc<CachePadded<Counters>> {
        let counters = Arc::new(CachePadded::new(Counters::new(self.databases)));
        self.all.lock().push(Arc::clone(&counters));
        counters
    }

    pub(crate) fn sum(&self, pick: impl Fn(&Counters) -> i64) -> i64 {
        self.all.lock().iter().map(|counters| pick(counters)).sum()
    }

    /// Forgets what was done, but not what is there. Only while every thread is quiet.
    pub(crate) fn reset(&self) {
        for counters in &*self.all.lock() {
            for tally in
                [&counters.hits, &counters.misses, &counters.expired, &counters.expired_fields, &counters.evicted]
            {
                tally.add(-tally.get());
            }
        }
    }
}

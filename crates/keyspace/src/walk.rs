//! Snapshots without a fork: the whole keyspace exactly as it was at one moment, in bounded memory.
//!
//! A walk begins while everybody else is quiet (the moment). It then visits slot after slot under the
//! slot's lock, in small bites, and hands each entry to a [`Sink`]. Who changes a key that the walk has
//! not reached hands its old value to the sink first; the walk leaves that key out when it comes by.
//!
//! ```text
//!   slots   0 ........ cursor ........ 16383
//!           walked   │ within: db,    not reached: old values are
//!           changes  │ position in    saved before the first change,
//!           are free │ hash order     and the key is remembered as saved
//! ```
//!
//! Every entry that existed at the moment is thus handed over exactly once, with the value it had then,
//! and none that came later is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use quorate_values::dict::position;

use crate::entry::Record;
use crate::slot::{SLOTS, Slot};
use crate::space::{Alone, Db, Member, SlotData};
use crate::view::Scope;

/// Takes the entries of a snapshot, in no particular order of databases. It is called under a slot's
/// lock: it copies and returns, and waits for nothing that may wait for a slot, or for being alone.
///
/// The walker and those who write call it at the same time. What they share in it must be held for short moments
/// only: the walker may lose its CPU at any time, and with it everybody who waits for it.
pub trait Sink: Send + Sync {
    /// Takes one entry as it was at the snapshot's moment; only the walker calls it.
    fn entry(&self, db: Db, entry: &Record);

    /// The same from somebody who is about to change it.
    fn old(&self, db: Db, entry: &Record);

    /// The walker is at the end of a bite and holds no slot.
    fn bitten(&self) {}
}

/// A walk under way.
pub struct Walk {
    databases: usize,
    /// The slot that the walk is in; everything below is walked.
    cursor: AtomicUsize,
    cancelled: AtomicBool,
    /// How far the walk has come within its slot, whose lock orders every access.
    db: AtomicUsize,
    position: AtomicU64,
    sink: Box<dyn Sink>,
}

/// What a walk's step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to walk.
    More,
    /// Everything has been handed over.
    Done,
    /// The walk was cancelled: what the sink got is no snapshot.
    Cancelled,
}

impl Walk {
    /// Begins a walk at this moment. At most one is under way at a time.
    ///
    /// # Panics
    /// If another one is.
    pub fn begin(alone: &mut Alone<'_>, sink: Box<dyn Sink>) -> Arc<Walk> {
        let space = alone.space();
        let walk = Arc::new(Walk {
            databases: space.databases(),
            cursor: AtomicUsize::new(0),
            cancelled: AtomicBool::new(false),
            db: AtomicUsize::new(0),
            position: AtomicU64::new(0),
            sink,
        });
        // SAFETY: `Alone` proves that nobody else is active.
        unsafe {
            assert!(space.walk().is_none(), "one walk at a time");
            space.set_walk(Some(Arc::clone(&walk)));
        }
        walk
    }

    /// Ends the walk for good, whether it is finished or not; called once the walker is done with it.
    pub fn end(alone: &mut Alone<'_>) {
        let space = alone.space();
        // SAFETY: `Alone` proves that nobody else is active.
        unsafe {
            // A walk that has come through has left nothing behind, and nobody should wait while that is looked for.
            let reached = space.walk().map_or(0, |walk| walk.cursor.load(Ordering::Relaxed));
            space.set_walk(None);
            for slot in (reached..SLOTS).filter_map(Slot::new) {
                let data = space.data(slot);
                if let Some(extras) = &mut data.extras {
                    extras.saved.clear();
                    data.trim_extras();
                }
            }
        }
    }

    /// Makes the walk worthless, because everything changes at once (FLUSHALL, SWAPDB, a full sync).
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// How much of the keyspace is walked, from 0 to 1.
    pub fn progress(&self) -> f64 {
        self.cursor.load(Ordering::Relaxed) as f64 / SLOTS as f64
    }

    /// Walks about `budget` entries further. The member must be active, and must not hold a view.
    pub fn step(&self, member: &mut Member, scope: &Scope, budget: usize) -> Step {
        let step = self.bite(member, scope, budget);
        self.sink.bitten();
        step
    }

    fn bite(&self, member: &mut Member, scope: &Scope, budget: usize) -> Step {
        let mut left = budget;
        loop {
            if self.is_cancelled() {
                return Step::Cancelled;
            }
            let Some(slot) = Slot::new(self.cursor.load(Ordering::Relaxed)) else { return Step::Done };
            if left == 0 {
                return Step::More;
            }
            let view = member.view(crate::space::SlotSet::One(slot), scope);
            // SAFETY: the view holds the slot's lock.
            let data = unsafe { view.space().data(slot) };
            left = self.walk_slot(data, slot, left);
        }
    }

    /// Walks within one slot; what is left of the budget.
    fn walk_slot(&self, data: &mut SlotData, slot: Slot, budget: usize) -> usize {
        let (mut number, mut at) = (self.db.load(Ordering::Relaxed), self.position.load(Ordering::Relaxed));
        let mut left = budget;
        while number < self.databases {
            let db = Db(number as u16);
            if let Some(table) = data.table(db) {
                let saved = data.extras.as_ref().map(|extras| &extras.saved);
                let next = table.scan(at, left, |entry| {
                    left = left.saturating_sub(1);
                    let skip =
                        saved.is_some_and(|saved| !saved.is_empty() && saved.contains(&(db, entry.key().into())));
                    if !skip {
                        self.sink.entry(db, entry);
                    }
                });
                at = next;
                if next != 0 {
                    self.db.store(number, Ordering::Relaxed);
                    self.position.store(at, Ordering::Relaxed);
                    return 0;
                }
            }
            number += 1;
            at = 0;
        }
        self.db.store(0, Ordering::Relaxed);
        self.position.store(0, Ordering::Relaxed);
        if let Some(extras) = &mut data.extras {
            extras.saved.clear();
            data.trim_extras();
        }
        // Who holds the next slot and sees the cursor there sees the walk at the slot's beginning.
        self.cursor.store(slot.index() + 1, Ordering::Release);
        left
    }

    /// Called before `key` changes, under the lock of its slot.
    #[cold]
    pub(crate) fn before_change(&self, data: &mut SlotData, slot: Slot, db: Db, at: u64, hash: u64, key: &[u8]) {
        debug_assert_eq!(position(hash), at);
        // Only the walker moves the cursor, and it does so under the lock of the slot it is in: for our
        // slot the comparison can't change while we hold the lock.
        let cursor = self.cursor.load(Ordering::Acquire);
        if slot.index() < cursor || self.is_cancelled() {
            return;
        }
        let within = || (self.db.load(Ordering::Relaxed), self.position.load(Ordering::Relaxed));
        if slot.index() == cursor && (db.index(), at) < within() {
            return;
        }
        if !data.extras().saved.insert((db, key.into())) {
            return;
        }
        if let Some(entry) = data.table(db).and_then(|table| table.get(hash, key)) {
            self.sink.old(db, entry);
        }
    }
}

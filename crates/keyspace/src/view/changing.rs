//! An entry that a view lets be changed: what is counted of entries, and what is known of when they expire, is brought up to
//! date when the change is over.

use quorate_stdx::UnixMs;

use super::note_expiry;
use crate::counters::Counters;
use crate::entry::{Entry, ValueMut};
use crate::slot::Slot;
use crate::space::{Db, Keyspace};
use crate::table::EntryGuard;

/// An entry that is being changed; keeps the counts of keys with an expiry right when it goes.
pub struct EntryMut<'v> {
    entry: EntryGuard<'v>,
    /// When it and the first of its fields expired before the change.
    before: (Option<UnixMs>, Option<UnixMs>),
    space: &'v Keyspace,
    counters: &'v Counters,
    slot: Slot,
    db: Db,
}

impl<'v> EntryMut<'v> {
    pub(super) fn new(
        entry: EntryGuard<'v>,
        space: &'v Keyspace,
        counters: &'v Counters,
        slot: Slot,
        db: Db,
    ) -> EntryMut<'v> {
        let before = (entry.expiry(), entry.field_expiry());
        EntryMut { entry, before, space, counters, slot, db }
    }
}

impl std::ops::Deref for EntryMut<'_> {
    type Target = Entry;
    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl std::ops::DerefMut for EntryMut<'_> {
    fn deref_mut(&mut self) -> &mut Entry {
        &mut self.entry
    }
}

impl EntryMut<'_> {
    /// The value, to be changed in place.
    pub fn value_mut(&mut self) -> ValueMut<'_> {
        self.entry.value_mut()
    }
}

impl Drop for EntryMut<'_> {
    fn drop(&mut self) {
        let after = (self.entry.expiry(), self.entry.field_expiry());
        if after == self.before {
            return;
        }
        let change =
            |after: Option<UnixMs>, before: Option<UnixMs>| i64::from(after.is_some()) - i64::from(before.is_some());
        let (volatile, fielded) = (change(after.0, self.before.0), change(after.1, self.before.1));
        if volatile != 0 {
            self.entry.add_volatile(volatile);
            self.counters.expires[self.db.index()].add(volatile);
        }
        if fielded != 0 {
            self.entry.add_fielded(fielded);
            self.counters.fielded[self.db.index()].add(fielded);
        }
        for at in [after.0, after.1].into_iter().flatten() {
            note_expiry(self.space, self.slot, at);
        }
    }
}

//! One database's keys of one slot.

use std::ops::{Deref, DerefMut};

use quorate_stdx::Rng;
use quorate_values::dict::{Dict, Handle};

use crate::entry::{Entry, Record};

/// A small table of entries, and how many of them have an expiry.
#[derive(Default)]
pub(crate) struct Table {
    entries: Dict<Entry>,
    volatile: u32,
    /// Hashes of which fields expire.
    fielded: u32,
}

impl Table {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn volatile(&self) -> usize {
        self.volatile as usize
    }

    /// Counts entries with an expiry up or down.
    #[inline]
    pub(crate) fn add_volatile(&mut self, by: i64) {
        self.volatile = self.volatile.checked_add_signed(by as i32).expect("as many are taken away as were added");
    }

    /// How many hashes have fields that expire.
    pub(crate) fn fielded(&self) -> usize {
        self.fielded as usize
    }

    /// Counts hashes that have fields which expire up or down.
    #[inline]
    pub(crate) fn add_fielded(&mut self, by: i64) {
        self.fielded = self.fielded.checked_add_signed(by as i32).expect("as many are taken away as were added");
    }

    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<&Record> {
        self.entries.find(hash, key)
    }

    /// The table, for what it knows of caches.
    #[inline]
    pub(crate) fn entries(&self) -> &Dict<Entry> {
        &self.entries
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<EntryGuard<'_>> {
        let Table { entries, volatile, fielded } = self;
        entries.find_mut(hash, key).map(|handle| EntryGuard { handle, volatile, fielded })
    }

    #[inline]
    pub(crate) fn insert_new(&mut self, hash: u64, entry: Entry) {
        self.entries.insert_new(hash, entry);
    }

    pub(crate) fn insert(&mut self, hash: u64, entry: Entry) -> Option<Entry> {
        self.entries.insert(hash, entry)
    }

    pub(crate) fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Entry> {
        self.entries.remove(hash, key)
    }

    pub(crate) fn scan(&self, cursor: u64, budget: usize, each: impl FnMut(&Record)) -> u64 {
        self.entries.scan(cursor, budget, each)
    }

    pub(crate) fn random(&self, rng: &mut Rng) -> Option<&Record> {
        self.entries.random(rng)
    }
}

/// An entry of a table, to be changed or replaced by another of the same key.
pub(crate) struct EntryGuard<'t> {
    handle: Handle<'t, Entry>,
    volatile: &'t mut u32,
    fielded: &'t mut u32,
}

impl EntryGuard<'_> {
    /// Counts the table's hashes that have fields which expire up or down.
    pub(crate) fn add_fielded(&mut self, by: i64) {
        *self.fielded = self.fielded.checked_add_signed(by as i32).expect("as many are taken away as were added");
    }

    /// Counts the table's entries with an expiry up or down.
    pub(crate) fn add_volatile(&mut self, by: i64) {
        *self.volatile = self.volatile.checked_add_signed(by as i32).expect("as many are taken away as were added");
    }
}

impl Deref for EntryGuard<'_> {
    type Target = Entry;
    fn deref(&self) -> &Entry {
        &self.handle
    }
}

impl DerefMut for EntryGuard<'_> {
    fn deref_mut(&mut self) -> &mut Entry {
        &mut self.handle
    }
}

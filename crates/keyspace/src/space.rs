//! The keyspace: 16384 slots, each with its own lock and its own small tables for every database.
//!
//! Locking is decided here and in `quiet.rs`, and nowhere else:
//!
//! - a [`Member`] (one a thread) is *active* while it touches data and *quiet* otherwise;
//! - an active member locks the slots of a command in ascending order and gets a [`KeyView`];
//! - a quiet member may ask to be [`Member::alone`] and then gets a view of everything without a lock.
//!
//! What one thread may see of another's slot is thus either behind the slot's lock or behind the quiet
//! of all others; the few values that are read without either are atomics and only hints.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::RawMutex;
use parking_lot::lock_api::{RawMutex as _, RawMutexTimed as _};
use quorate_stdx::UnixMs;
use quorate_values::dict::{Dict, hash_bytes, prefetch};
use smallvec::SmallVec;

use crate::bitmap::Bitmap;
use crate::counters::{Counters, Registry};
use crate::entry::Record;
use crate::extras::Extras;
use crate::quiet::{Participant, Quiet};
use crate::reclaim::Reclaim;
use crate::slot::{SLOTS, Slot};
use crate::table::Table;
use crate::tracking::Tracking;
use crate::view::{KeyView, Scope};
use crate::walk::Walk;

/// How often who waits for a slot asks whether to give up.
const SOMETIMES: Duration = Duration::from_millis(50);

/// The number of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Db(pub u16);

impl Db {
    /// Its number as an index.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// All data of a server; see the module's text.
pub struct Keyspace {
    cells: Box<[SlotCell]>,
    databases: usize,
    occupied: Box<[Bitmap]>,
    /// For each slot a lower bound of its keys' expiries; `i64::MAX` if none expires.
    soonest: Box<[AtomicI64]>,
    quiet: Arc<Quiet>,
    registry: Registry,
    reclaim: Reclaim,
    tracking: Tracking,
    walking: AtomicBool,
    /// Changed only while alone, read only while active.
    walk: UnsafeCell<Option<Arc<Walk>>>,
}

#[repr(align(64))]
struct SlotCell {
    lock: RawMutex,
    data: UnsafeCell<SlotData>,
}

/// What a slot's lock guards.
#[derive(Default)]
pub(crate) struct SlotData {
    first: Table,
    more: Option<Box<[Table]>>,
    pub(crate) extras: Option<Box<Extras>>,
}

// SAFETY: `SlotData` is reached only through a view, which holds the slot's lock or is alone, and
// `walk` is written only while alone and read only while active.
unsafe impl Sync for Keyspace {}
// SAFETY: everything inside is Send.
unsafe impl Send for Keyspace {}

/// The slots that a view covers, ascending and without repetition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SlotSet {
    /// None: a command without keys.
    #[default]
    None,
    /// One, which nearly all commands need.
    One(Slot),
    /// Several.
    Many(Box<[Slot]>),
}

/// Where a key belongs, as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its database.
    pub db: Db,
    /// Its slot.
    pub slot: Slot,
    /// Its place within the slot's table.
    pub hash: u64,
}

impl Place {
    /// The place of `key`.
    #[inline]
    pub fn of(db: Db, key: &[u8]) -> Place {
        Place { db, slot: Slot::of(key), hash: hash_bytes(key) }
    }
}

impl SlotSet {
    /// The slots of `keys`.
    #[inline]
    pub fn of_keys<'k>(mut keys: impl Iterator<Item = &'k [u8]>) -> SlotSet {
        let Some(first) = keys.next().map(Slot::of) else { return SlotSet::None };
        let mut slots: SmallVec<[Slot; 8]> = SmallVec::new();
        for slot in keys.map(Slot::of) {
            if slot != first || !slots.is_empty() {
                slots.push(slot);
            }
        }
        if slots.is_empty() {
            return SlotSet::One(first);
        }
        slots.push(first);
        SlotSet::from_unordered(slots)
    }

    /// The slots of both.
    pub fn union(self, other: SlotSet) -> SlotSet {
        let mut slots: SmallVec<[Slot; 8]> = SmallVec::new();
        slots.extend(self.iter());
        slots.extend(other.iter());
        SlotSet::from_unordered(slots)
    }

    fn from_unordered(mut slots: SmallVec<[Slot; 8]>) -> SlotSet {
        slots.sort_unstable();
        slots.dedup();
        match slots[..] {
            [] => SlotSet::None,
            [slot] => SlotSet::One(slot),
            _ => SlotSet::Many(slots.into_boxed_slice()),
        }
    }

    /// The slots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        let slice = match self {
            SlotSet::None => &[],
            SlotSet::One(slot) => std::slice::from_ref(slot),
            SlotSet::Many(slots) => &slots[..],
        };
        slice.iter().copied()
    }

    /// Whether `slot` is one of them.
    #[inline]
    pub fn contains(&self, slot: Slot) -> bool {
        match self {
            SlotSet::None => false,
            SlotSet::One(one) => *one == slot,
            SlotSet::Many(slots) => slots.binary_search(&slot).is_ok(),
        }
    }

    /// Whether every slot of `other` is one of them.
    pub fn covers(&self, other: &SlotSet) -> bool {
        other.iter().all(|slot| self.contains(slot))
    }
}

impl Keyspace {
    /// An empty keyspace of so many databases.
    pub fn new(databases: usize) -> Keyspace {
        assert!((1..=usize::from(u16::MAX)).contains(&databases), "the configuration bounds the databases");
        Keyspace {
            cells: (0..SLOTS)
                .map(|_| SlotCell { lock: RawMutex::INIT, data: UnsafeCell::new(SlotData::default()) })
                .collect(),
            databases,
            occupied: (0..databases).map(|_| Bitmap::new()).collect(),
            soonest: (0..SLOTS).map(|_| AtomicI64::new(i64::MAX)).collect(),
            quiet: Arc::new(Quiet::default()),
            registry: Registry::new(databases),
            reclaim: Reclaim::default(),
            tracking: Tracking::default(),
            walking: AtomicBool::new(false),
            walk: UnsafeCell::new(None),
        }
    }

    /// How many databases there are.
    pub fn databases(&self) -> usize {
        self.databases
    }

    /// The way to the freeing thread.
    pub fn reclaim(&self) -> &Reclaim {
        &self.reclaim
    }

    /// What is noted of the copies that clients hold of keys.
    pub fn tracking(&self) -> &Tracking {
        &self.tracking
    }

    /// Makes the calling thread a member.
    pub fn join(self: &Arc<Keyspace>) -> Member {
        Member { participant: self.quiet.join(), counters: self.registry.join(), space: Arc::clone(self) }
    }

    /// A sum over all threads, of those that are gone too: exact when all are quiet, else a moment's view.
    pub fn sum(&self, pick: impl Fn(&Counters) -> i64) -> i64 {
        self.registry.sum(pick)
    }

    /// Forgets how many reads found a key, and what expired or was evicted (CONFIG RESETSTAT). Only while alone.
    pub fn reset_counters(&self) {
        self.registry.reset();
    }

    /// How many keys a database holds, expired ones that are not yet removed included.
    pub fn len(&self, db: Db) -> usize {
        usize::try_from(self.sum(|counters| counters.keys[db.index()].get())).unwrap_or(0)
    }

    /// Whether no database holds a key.
    pub fn is_empty(&self) -> bool {
        (0..self.databases).all(|db| self.len(Db(db as u16)) == 0)
    }

    /// How many keys of a database have an expiry.
    pub fn volatile(&self, db: Db) -> usize {
        usize::try_from(self.sum(|counters| counters.expires[db.index()].get())).unwrap_or(0)
    }

    /// How many hashes of a database have fields that expire.
    pub fn fielded(&self, db: Db) -> usize {
        usize::try_from(self.sum(|counters| counters.fielded[db.index()].get())).unwrap_or(0)
    }

    /// The first slot at or behind `from` that holds keys of `db`; a hint unless its lock is held.
    pub fn next_occupied(&self, db: Db, from: usize) -> Option<Slot> {
        self.occupied[db.index()].next(from)
    }

    /// The first slot at or behind `from` in which a key may have expired at `now`; a hint.
    pub fn next_due(&self, from: usize, now: UnixMs) -> Option<Slot> {
        let rest = self.soonest.get(from..)?;
        rest.iter().position(|at| at.load(Ordering::Relaxed) <= now.0).and_then(|offset| Slot::new(from + offset))
    }

    /// In how many slots a key may have expired at `now`; a hint.
    pub fn count_due(&self, now: UnixMs) -> usize {
        self.soonest.iter().filter(|at| at.load(Ordering::Relaxed) <= now.0).count()
    }

    pub(crate) fn set_occupied(&self, db: Db, slot: Slot, value: bool) {
        self.occupied[db.index()].set(slot, value);
    }

    pub(crate) fn soonest(&self, slot: Slot) -> &AtomicI64 {
        &self.soonest[slot.index()]
    }

    /// Locks a slot, unless it has to wait and is told to give up.
    #[inline]
    fn lock_unless(&self, slot: Slot, gives_up: &impl Fn() -> bool) -> bool {
        self.cells[slot.index()].lock.try_lock() || self.lock_slowly(slot, gives_up)
    }

    #[cold]
    fn lock_slowly(&self, slot: Slot, gives_up: &impl Fn() -> bool) -> bool {
        while !gives_up() {
            if self.cells[slot.index()].lock.try_lock_for(SOMETIMES) {
                return true;
            }
        }
        false
    }

    fn lock(&self, slot: Slot) {
        self.cells[slot.index()].lock.lock();
    }

    /// # Safety
    /// The calling thread holds the slot's lock.
    #[inline]
    pub(crate) unsafe fn unlock(&self, slot: Slot) {
        // SAFETY: the caller vouches for it.
        unsafe { self.cells[slot.index()].lock.unlock() }
    }

    /// # Safety
    /// The caller holds the slot's lock or is alone, and has no other reference into the slot.
    #[allow(clippy::mut_from_ref, reason = "the slot's lock, not the borrow, makes the access exclusive")]
    #[inline]
    pub(crate) unsafe fn data(&self, slot: Slot) -> &mut SlotData {
        // SAFETY: the caller vouches for exclusive access.
        unsafe { &mut *self.cells[slot.index()].data.get() }
    }

    /// The walk under way, if there is one.
    ///
    /// # Safety
    /// The caller is active or alone.
    #[inline]
    pub(crate) unsafe fn walk(&self) -> Option<&Arc<Walk>> {
        if !self.walking.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: only changed while everybody else is quiet.
        unsafe { (*self.walk.get()).as_ref() }
    }

    /// # Safety
    /// The caller is alone.
    pub(crate) unsafe fn set_walk(&self, walk: Option<Arc<Walk>>) {
        self.walking.store(walk.is_some(), Ordering::Relaxed);
        // SAFETY: the caller vouches that nobody reads.
        unsafe { *self.walk.get() = walk };
    }
}

impl SlotData {
    /// The table of `db`, for reading; `None` if it was never written.
    #[inline]
    pub(crate) fn table(&self, db: Db) -> Option<&Table> {
        match db.index().checked_sub(1) {
            None => Some(&self.first),
            Some(index) => self.more.as_ref().map(|more| &more[index]),
        }
    }

    /// The table of `db`, made if it is not there.
    #[inline]
    pub(crate) fn table_mut(&mut self, db: Db, databases: usize) -> &mut Table {
        match db.index().checked_sub(1) {
            None => &mut self.first,
            Some(index) => {
                let more = self.more.get_or_insert_with(|| (1..databases).map(|_| Table::default()).collect());
                &mut more[index]
            }
        }
    }

    /// Gives back what the tables of the other databases take, if none of them holds a key.
    #[cold]
    pub(crate) fn give_back(&mut self) {
        if self.more.as_ref().is_some_and(|more| more.iter().all(|table| table.len() == 0)) {
            self.more = None;
        }
    }

    /// Tells those who watch `key` that it has changed.
    #[inline]
    pub(crate) fn touch(&self, db: Db, key: &[u8]) {
        if let Some(extras) = &self.extras {
            extras.touch(db, key);
        }
    }

    pub(crate) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// Frees the extras when nothing is left in them.
    pub(crate) fn trim_extras(&mut self) {
        if self.extras.as_ref().is_some_and(|extras| extras.is_empty()) {
            self.extras = None;
        }
    }
}

/// A thread's membership in a keyspace.
pub struct Member {
    participant: Participant,
    counters: Arc<CachePadded<Counters>>,
    space: Arc<Keyspace>,
}

impl Member {
    /// The keyspace.
    pub fn space(&self) -> &Arc<Keyspace> {
        &self.space
    }

    /// This thread's counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Becomes active: see [`crate::quiet`].
    #[inline]
    pub fn enter(&mut self) {
        self.participant.enter();
    }

    /// Becomes quiet.
    #[inline]
    pub fn leave(&mut self) {
        self.participant.leave();
    }

    /// Makes way, between two commands, for a thread that wants to be alone.
    #[inline]
    pub fn pause(&mut self) {
        self.participant.pause();
    }

    /// Locks `slots`, in ascending order, and gives access to their keys. The member must be active.
    #[inline]
    pub fn view<'a>(&'a mut self, slots: SlotSet, scope: &'a Scope) -> KeyView<'a> {
        debug_assert!(self.participant.is_active());
        for slot in slots.iter() {
            self.space.lock(slot);
        }
        KeyView::new(&self.space, Held::Slots(slots), &self.counters, scope)
    }

    /// As [`Member::view`], but while it has to wait for a slot it asks from time to time whether to give
    /// up; `None`, and nothing held, if it did.
    #[inline]
    pub fn view_unless<'a>(
        &'a mut self,
        slots: SlotSet,
        scope: &'a Scope,
        gives_up: impl Fn() -> bool,
    ) -> Option<KeyView<'a>> {
        debug_assert!(self.participant.is_active());
        for (locked, slot) in slots.iter().enumerate() {
            if !self.space.lock_unless(slot, &gives_up) {
                for slot in slots.iter().take(locked) {
                    // SAFETY: it was locked above.
                    unsafe { self.space.unlock(slot) };
                }
                return None;
            }
        }
        Some(KeyView::new(&self.space, Held::Slots(slots), &self.counters, scope))
    }

    /// As [`Member::view_unless`] of one slot.
    #[inline]
    pub fn view_of<'a>(&'a mut self, slot: Slot, scope: &'a Scope, gives_up: impl Fn() -> bool) -> Option<KeyView<'a>> {
        debug_assert!(self.participant.is_active());
        let held = Held::Slots(SlotSet::One(slot));
        self.space.lock_unless(slot, &gives_up).then(|| KeyView::new(&self.space, held, &self.counters, scope))
    }

    /// Lets the cache fetch what is read first of the slot of a place that [`Member::expect`] will be asked for.
    #[inline]
    pub fn fetch(&self, place: Place) {
        prefetch(&raw const self.space.cells[place.slot.index()]);
    }

    /// Lets the cache fetch what is read to find the keys of these places, all of them at the same time: a key that is in no cache
    /// costs a search several waits for memory, each for an address that only the one before tells. The member must be
    /// active, and hold no view.
    ///
    /// The slots are held together for the few hundred nanoseconds that this takes, so that no lock, which orders
    /// memory, stands between the waits. It waits for none of them: a slot that is held by another thread is left out.
    pub fn expect(&self, places: impl Iterator<Item = Place>) {
        debug_assert!(self.participant.is_active());
        let space = &*self.space;
        let mut held: SmallVec<[(Hold<'_>, &Table, u64); 16]> = SmallVec::new();
        held.extend(places.filter_map(|place| {
            let hold = Hold::try_on(space, place.slot)?;
            // SAFETY: the slot is held for as long as the reference lives, which nobody else sees.
            let table = unsafe { space.data(place.slot) }.table(place.db)?;
            Some((hold, table, place.hash))
        }));
        for step in [Dict::prefetch_segment, Dict::prefetch_home] {
            for (_, table, hash) in &held {
                step(table.entries(), *hash);
            }
        }
        let mut entries: SmallVec<[&Record; 16]> = SmallVec::new();
        entries.extend(held.iter().filter_map(|(_, table, hash)| table.entries().prefetch_item(*hash)));
        entries.retain(|entry| entry.prefetch_value());
        for entry in entries {
            entry.prefetch_content();
        }
    }

    /// As [`Member::enter`], but waits no longer than that; false if the member is still quiet then.
    #[inline]
    pub fn enter_within(&mut self, patience: Duration) -> bool {
        self.participant.enter_within(patience)
    }

    /// Whether somebody wants to be alone.
    #[inline]
    pub fn is_in_the_way(&self) -> bool {
        self.participant.is_in_the_way()
    }

    /// As [`Member::alone`], but the member is active afterwards, and nobody has been alone in between. While it has to wait
    /// it asks from time to time whether to give up; `None` if it did, and then it is still quiet.
    pub fn alone_and_stay_unless<R>(
        &mut self,
        gives_up: impl Fn() -> bool,
        work: impl FnOnce(&mut Alone<'_>) -> R,
    ) -> Option<R> {
        let (space, counters) = (&self.space, &self.counters);
        self.participant.alone_and_stay_unless(gives_up, || work(&mut Alone { space, counters }))
    }

    /// Waits until every other member is quiet and runs `work` with access to everything. The member
    /// must be quiet itself.
    pub fn alone<R>(&mut self, work: impl FnOnce(&mut Alone<'_>) -> R) -> R {
        let (space, counters) = (&self.space, &self.counters);
        self.participant.alone(|| work(&mut Alone { space, counters }))
    }
}

/// What proves that no other thread touches data.
pub struct Alone<'a> {
    space: &'a Arc<Keyspace>,
    counters: &'a Counters,
}

impl<'a> Alone<'a> {
    /// The keyspace.
    pub fn space(&self) -> &Arc<Keyspace> {
        self.space
    }

    /// A view of every slot.
    pub fn view<'v>(&'v mut self, scope: &'v Scope) -> KeyView<'v> {
        KeyView::new(self.space, Held::All, self.counters, scope)
    }

    /// Takes every key out of `db`. A walk under way is cancelled, because its moment can't be told any more.
    /// The tables are returned, so that they can be dropped elsewhere.
    pub fn flush(&mut self, db: Db) -> Flushed {
        self.cancel_walk();
        self.make_copies_stale();
        let mut tables = Vec::new();
        let (mut keys, mut volatile, mut fielded) = (0, 0, 0);
        let mut from = 0;
        while let Some(slot) = self.space.next_occupied(db, from) {
            from = slot.index() + 1;
            // SAFETY: alone.
            let data = unsafe { self.space.data(slot) };
            if let Some(extras) = &data.extras {
                let table = data.table(db);
                extras.touch_where(|at, key| {
                    at == db
                        && table.is_some_and(|table| table.get(quorate_values::dict::hash_bytes(key), key).is_some())
                });
            }
            let table = std::mem::take(data.table_mut(db, self.space.databases));
            keys += table.len();
            volatile += table.volatile();
            fielded += table.fielded();
            tables.push(table);
            data.give_back();
            self.space.set_occupied(db, slot, false);
        }
        self.counters.keys[db.index()].add(-(keys as i64));
        self.counters.expires[db.index()].add(-(volatile as i64));
        self.counters.fielded[db.index()].add(-(fielded as i64));
        Flushed { tables, keys }
    }

    /// Lets two databases change places, for everybody; watched keys that are in either count as changed.
    pub fn swap(&mut self, a: Db, b: Db) {
        if a == b {
            return;
        }
        self.cancel_walk();
        self.make_copies_stale();
        let databases = self.space.databases;
        for slot in Slot::all() {
            // SAFETY: alone.
            let data = unsafe { self.space.data(slot) };
            let has = [a, b].map(|db| data.table(db).is_some_and(|table| table.len() > 0));
            if let Some(extras) = &data.extras {
                extras.touch_where(|at, key| {
                    let hash = quorate_values::dict::hash_bytes(key);
                    let in_db = |db| data.table(db).is_some_and(|table| table.get(hash, key).is_some());
                    (at == a || at == b) && (in_db(a) || in_db(b))
                });
            }
            if !has[0] && !has[1] {
                continue;
            }
            let mut held = std::mem::take(data.table_mut(a, databases));
            std::mem::swap(&mut held, data.table_mut(b, databases));
            *data.table_mut(a, databases) = held;
            self.space.set_occupied(a, slot, has[1]);
            self.space.set_occupied(b, slot, has[0]);
            // A sweep under way may have passed one database and not the other: it has to come again.
            self.space.soonest(slot).store(0, Ordering::Relaxed);
        }
        let [of_a, of_b] = [counts(self.space, a), counts(self.space, b)];
        for (db, before, after) in [(a, of_a, of_b), (b, of_b, of_a)] {
            recount(self.counters, db, before, after);
        }
    }

    /// Exchanges all data with another keyspace, at one moment for everybody. Who watches a key here that is in either
    /// sees it changed.
    ///
    /// # Panics
    /// If the other one has another number of databases.
    pub fn exchange(&mut self, other: &mut Alone<'_>) {
        assert_eq!(self.space.databases, other.space.databases, "both were made for the same configuration");
        self.cancel_walk();
        self.make_copies_stale();
        other.cancel_walk();
        let all = |space: &Keyspace| -> Vec<[i64; 3]> {
            (0..space.databases).map(|db| counts(space, Db(db as u16))).collect()
        };
        let (ours, theirs) = (all(self.space), all(other.space));
        for slot in Slot::all() {
            // SAFETY: alone in both.
            let (data, fresh) = unsafe { (self.space.data(slot), other.space.data(slot)) };
            if let Some(extras) = &data.extras {
                let has = |data: &SlotData, db, key: &[u8]| {
                    let hash = quorate_values::dict::hash_bytes(key);
                    data.table(db).is_some_and(|table| table.get(hash, key).is_some())
                };
                extras.touch_where(|db, key| has(data, db, key) || has(fresh, db, key));
            }
            std::mem::swap(&mut data.first, &mut fresh.first);
            std::mem::swap(&mut data.more, &mut fresh.more);
            // Where neither has more than the first database, there is nothing to say of the others.
            let databases = if data.more.is_some() || fresh.more.is_some() { self.space.databases } else { 1 };
            for (space, data) in [(self.space, &*data), (other.space, &*fresh)] {
                space.soonest(slot).store(0, Ordering::Relaxed);
                for number in 0..databases {
                    let db = Db(number as u16);
                    space.set_occupied(db, slot, data.table(db).is_some_and(|table| table.len() > 0));
                }
            }
        }
        for (number, (old, new)) in ours.into_iter().zip(theirs).enumerate() {
            recount(self.counters, Db(number as u16), old, new);
            recount(other.counters, Db(number as u16), new, old);
        }
    }

    /// The keys of any database that clients wait for.
    pub fn awaited_keys(&mut self) -> Vec<(Db, Box<[u8]>)> {
        let mut found = Vec::new();
        for slot in Slot::all() {
            // SAFETY: alone.
            let data = unsafe { self.space.data(slot) };
            let Some(extras) = &data.extras else { continue };
            found.extend(extras.awaited().cloned());
        }
        found
    }

    /// The keys that clients watch, of any database.
    pub fn watched_keys(&mut self) -> Vec<(Db, Box<[u8]>)> {
        let mut found = Vec::new();
        for slot in Slot::all() {
            // SAFETY: alone.
            let data = unsafe { self.space.data(slot) };
            found.extend(data.extras.iter().flat_map(|extras| extras.watched()).map(|(db, key)| (db, key.into())));
        }
        found
    }

    /// Whatever copies clients hold of keys, they are stale.
    fn make_copies_stale(&mut self) {
        let space = self.space;
        // SAFETY: alone, and each slot is given once.
        space.tracking.forget_all(|slot| unsafe { space.data(slot) });
    }

    fn cancel_walk(&mut self) {
        // SAFETY: alone.
        if let Some(walk) = unsafe { self.space.walk() } {
            walk.cancel();
        }
    }
}

/// How many keys a database holds, how many of them have an expiry, and how many have fields that expire.
fn counts(space: &Keyspace, db: Db) -> [i64; 3] {
    [space.len(db), space.volatile(db), space.fielded(db)].map(|count| count as i64)
}

/// Counts what a database holds that held something else before.
fn recount(counters: &Counters, db: Db, before: [i64; 3], after: [i64; 3]) {
    let tallies = [&counters.keys, &counters.expires, &counters.fielded];
    for (tally, (before, after)) in tallies.into_iter().zip(before.into_iter().zip(after)) {
        tally[db.index()].add(after - before);
    }
}

/// What a database held before it was flushed.
pub struct Flushed {
    tables: Vec<Table>,
    keys: usize,
}

impl Flushed {
    /// How many keys there were.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Gives the tables away one by one, each with its number of keys.
    pub(crate) fn for_each_table(self, mut each: impl FnMut(usize, Table)) {
        self.tables.into_iter().for_each(|table| each(table.len(), table));
    }
}

/// What a view holds; given back when it is dropped.
pub(crate) enum Held {
    Slots(SlotSet),
    All,
}

impl Held {
    #[inline]
    pub(crate) fn release(&self, space: &Keyspace) {
        if let Held::Slots(slots) = self {
            for slot in slots.iter() {
                // SAFETY: the view locked exactly these slots and is being dropped.
                unsafe { space.unlock(slot) };
            }
        }
    }

    /// Locks one more slot for a moment, or nothing if all are held already.
    pub(crate) fn visit<R>(&self, space: &Keyspace, slot: Slot, work: impl FnOnce() -> R) -> R {
        match self {
            Held::All => work(),
            Held::Slots(slots) => {
                // Whoever holds a slot and waits for another, out of order, may wait for ever.
                assert!(*slots == SlotSet::None, "a view that holds slots can't visit others");
                space.lock(slot);
                let _hold = Hold(space, slot);
                work()
            }
        }
    }
}

/// A slot that this thread has locked; unlocks it when dropped.
struct Hold<'a>(&'a Keyspace, Slot);

impl<'a> Hold<'a> {
    /// Locks a slot if that is possible without waiting.
    #[inline]
    fn try_on(space: &'a Keyspace, slot: Slot) -> Option<Hold<'a>> {
        space.cells[slot.index()].lock.try_lock().then(|| Hold(space, slot))
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        // SAFETY: made right after the slot was locked by this thread.
        unsafe { self.0.unlock(self.1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccessPolicy, Entry, Expiry, Lazy};
    use quorate_stdx::Rng;

    fn scope() -> Scope {
        let (now, access) = (UnixMs(1000), AccessPolicy::Lru);
        Scope {
            now,
            expiry: Expiry::Hide,
            access,
            no_touch: false,
            lazy: Lazy::default(),
            reports_new: false,
            broadcasts: false,
            acting: 0.into(),
            rng: Rng::new(1).into(),
        }
    }

    fn filled(keys: &[(u16, &str)]) -> (Arc<Keyspace>, Member) {
        let space = Arc::new(Keyspace::new(3));
        let mut member = space.join();
        member.alone(|alone| {
            for (db, key) in keys {
                alone.view(&scope()).insert(Db(*db), Entry::string(key.as_bytes(), b"v", Some(UnixMs(5000))));
            }
        });
        (space, member)
    }

    #[test]
    fn to_expect_keys_waits_for_no_slot_and_keeps_none() {
        let (space, member) = filled(&[(0, "a"), (1, "b")]);
        let mut member = member;
        member.enter();
        let (held, free) = (Slot::of(b"a"), Slot::of(b"b"));
        space.lock(held);
        for db in 0..3 {
            member.expect([&b"a"[..], b"b", b"absent"].into_iter().map(|key| Place::of(Db(db), key)));
        }
        assert!(!space.cells[held.index()].lock.try_lock());
        assert!(space.cells[free.index()].lock.try_lock());
        // SAFETY: both were locked above.
        unsafe {
            space.unlock(held);
            space.unlock(free);
        }
        member.leave();
    }

    #[test]
    fn two_keyspaces_exchange_everything_but_those_who_watch() {
        let (ours, mut member) = filled(&[(0, "a"), (0, "b"), (2, "c")]);
        let (theirs, mut other) = filled(&[(0, "a"), (1, "d"), (1, "e")]);
        let flags: Vec<crate::WatchFlag> = (0..3).map(|_| crate::WatchFlag::default()).collect();
        member.alone(|alone| {
            let scope = scope();
            let mut view = alone.view(&scope);
            for (flag, (db, key)) in flags.iter().zip([(Db(2), "c"), (Db(1), "d"), (Db(0), "nowhere")]) {
                view.watch(db, key.as_bytes(), flag);
            }
        });
        other.alone(|theirs| member.alone(|ours| ours.exchange(theirs)));
        let lens = |space: &Keyspace| [0, 1, 2].map(|db| (space.len(Db(db)), space.volatile(Db(db))));
        assert_eq!(lens(&ours), [(1, 1), (2, 2), (0, 0)]);
        assert_eq!(lens(&theirs), [(2, 2), (0, 0), (1, 1)]);
        assert_eq!(flags.iter().map(|flag| flag.load(Ordering::Relaxed)).collect::<Vec<_>>(), [true, true, false]);
        assert!(ours.next_occupied(Db(2), 0).is_none() && ours.next_occupied(Db(1), 0).is_some());
        member.alone(|alone| assert!(alone.view(&scope()).peek(Db(1), b"e").is_some()));
    }
}

//! The only door to data: a view of the keys whose slots are locked (or of all, while alone).
//!
//! Everything that must happen whenever a key is read or changed happens here, once: expired keys are
//! hidden or removed, access times kept, watchers told, keys counted, waiting clients noticed, and the
//! old value saved for a snapshot that has not reached the key.

pub(crate) mod by_slot;
mod changing;
mod fields;
mod sample;
mod sweep;

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering;

use quorate_stdx::{Rng, UnixMs};
use quorate_values::dict::{hash_bytes, position};
use quorate_values::{Value, ValueRef};
use smallvec::SmallVec;

use crate::access::AccessPolicy;
use crate::counters::Counters;
use crate::entry::{Entry, Record};
use crate::extras::{Ticket, WatchFlag};
use crate::reclaim::Lazy;
use crate::slot::Slot;
use crate::space::{Db, Held, Keyspace, Place, SlotSet};
use crate::table::Table;
use crate::undo::{self, Undo};

pub use changing::EntryMut;
pub use sweep::{Bite, Sweep};

/// What a view does with a key whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Removes it and reports it: a primary.
    Remove,
    /// Behaves as if it were absent, but leaves it to the primary: a replica.
    Hide,
    /// Takes no notice: the replication stream itself, and loading.
    Ignore,
}

/// What a view has to know of its command; the same for all commands of a batch.
#[derive(Debug)]
pub struct Scope {
    /// The time by which keys expire; it stands still during a command, a transaction or a script.
    pub now: UnixMs,
    /// What happens to expired keys.
    pub expiry: Expiry,
    /// What is remembered of an access.
    pub access: AccessPolicy,
    /// Whether reads leave the access time alone (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
    /// Which large values are freed on another thread.
    pub lazy: Lazy,
    /// Whether anybody wants to hear of keys that come into being (event class `n`).
    pub reports_new: bool,
    /// Whether anybody wants to hear of every change ([`crate::Tracking`]).
    pub broadcasts: bool,
    /// The client that makes the changes, if it does not want to hear of its own; else 0.
    pub acting: Cell<u64>,
    /// Dice for the LFU counter and for random keys.
    pub rng: RefCell<Rng>,
}

/// What befell a key besides what the command does that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It was removed because its time had come.
    Expired(Expired),
    /// It was made, and [`Scope::reports_new`] says that somebody wants to hear of it.
    New {
        /// Its database.
        db: Db,
        /// Its name.
        key: Box<[u8]>,
    },
    /// Fields of a hash were removed because their time had come.
    Fields {
        /// Its database.
        db: Db,
        /// Its name.
        key: Box<[u8]>,
        /// The fields.
        fields: Vec<Box<[u8]>>,
        /// Whether the hash went with them, because they were the last.
        emptied: bool,
    },
}

/// A key whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Its database.
    pub db: Db,
    /// Its name.
    pub key: Box<[u8]>,
}

/// Access to the keys of the locked slots; see the module's text.
pub struct KeyView<'a> {
    pub(crate) space: &'a Keyspace,
    held: Held,
    counters: &'a Counters,
    pub(crate) scope: &'a Scope,
    /// A key whose hash is known, and where its bytes lie, which are borrowed for as long as the view lives.
    known: Option<(&'a [u8], u64)>,
    /// What a view comes to hold if something out of the ordinary happens under it; nearly none does, and each is made
    /// and dropped in one word for it.
    rare: Option<Box<Rare>>,
}

#[derive(Default)]
struct Rare {
    notices: Vec<Notice>,
    ready: SmallVec<[(Db, Box<[u8]>); 1]>,
    /// Large values that were removed: they are freed when the slots are free again.
    garbage: Vec<Entry>,
    undo: Option<Undo>,
    /// Expired keys that a walk has met: each was in its hands for a moment only.
    overdue: Vec<Expired>,
}

/// Whether who waits for the entry may want to hear that it is lost: the readers of a stream's groups do.
fn is_stream(entry: &Entry) -> bool {
    matches!(entry.value(), ValueRef::Stream(_))
}

/// The most expired keys that a view keeps in mind.
const MOST_OVERDUE: usize = 256;

impl Drop for KeyView<'_> {
    #[inline]
    fn drop(&mut self) {
        self.held.release(self.space);
    }
}

impl<'a> KeyView<'a> {
    #[inline]
    pub(crate) fn new(space: &'a Keyspace, held: Held, counters: &'a Counters, scope: &'a Scope) -> KeyView<'a> {
        KeyView { space, held, counters, scope, known: None, rare: None }
    }

    /// Drops the view, with few steps where it holds one slot and nothing out of the ordinary has happened under it.
    #[inline]
    pub fn end(self) {
        let view = ManuallyDrop::new(self);
        match (&view.held, &view.rare) {
            // SAFETY: the view holds the slot, is not used any more, and neither variant owns anything.
            (Held::Slots(SlotSet::One(slot)), None) => unsafe { view.space.unlock(*slot) },
            _ => drop(ManuallyDrop::into_inner(view)),
        }
    }

    /// Tells the view where `key`, of which it will be asked, has been found to belong.
    #[inline]
    pub fn know(&mut self, key: &'a [u8], place: Place) {
        debug_assert_eq!(place, Place::of(place.db, key));
        self.known = Some((key, place.hash));
    }

    #[inline]
    fn hash_of(&self, key: &[u8]) -> u64 {
        match self.known {
            // The bytes can't have changed, since they are still borrowed.
            Some((known, hash)) if std::ptr::eq(known, key) => hash,
            _ => hash_bytes(key),
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// The context that the view was made with.
    pub fn scope(&self) -> &'a Scope {
        self.scope
    }

    /// The keyspace, for its counts and hints.
    pub fn space(&self) -> &'a Keyspace {
        self.space
    }

    /// Whether the view covers everything.
    pub fn is_alone(&self) -> bool {
        matches!(self.held, Held::All)
    }

    /// Whether `slots` are all covered.
    pub fn covers(&self, slots: &SlotSet) -> bool {
        match &self.held {
            Held::All => true,
            Held::Slots(held) => held.covers(slots),
        }
    }

    /// The slot of `key`, which has to be covered: to reach into another would be a race.
    #[inline]
    pub(crate) fn slot_of(&self, key: &[u8]) -> Slot {
        match &self.held {
            Held::Slots(SlotSet::One(slot)) => {
                debug_assert_eq!(Slot::of(key), *slot, "the command declared another key");
                *slot
            }
            Held::Slots(slots) => {
                let slot = Slot::of(key);
                assert!(slots.contains(slot), "the command did not declare this key");
                slot
            }
            Held::All => Slot::of(key),
        }
    }

    #[inline]
    fn table(&self, slot: Slot, db: Db) -> Option<&Table> {
        // SAFETY: `slot_of` has checked that the slot is held; the borrow is bound to the view's.
        unsafe { self.space.data(slot) }.table(db)
    }

    #[inline]
    fn is_due(&self, entry: &Record) -> bool {
        entry.expiry().is_some_and(|at| at <= self.scope.now)
    }

    /// The entry of `key`, without counting the read; expired ones are hidden but not removed.
    #[inline]
    pub fn peek(&self, db: Db, key: &[u8]) -> Option<&Record> {
        let entry = self.table(self.slot_of(key), db)?.get(self.hash_of(key), key)?;
        if self.scope.expiry != Expiry::Ignore && self.is_due(entry) { None } else { Some(entry) }
    }

    /// The entry of `key` as it lies there, expired or not.
    pub fn peek_raw(&self, db: Db, key: &[u8]) -> Option<&Record> {
        self.table(self.slot_of(key), db)?.get(self.hash_of(key), key)
    }

    #[cold]
    fn note_new(&mut self, db: Db, key: &[u8]) {
        self.rare().notices.push(Notice::New { db, key: key.into() });
    }

    /// Removes `key` if its time has come (on a primary).
    pub fn settle(&mut self, db: Db, key: &[u8]) {
        if self.scope.expiry != Expiry::Remove {
            return;
        }
        if self.peek_raw(db, key).is_some_and(|entry| self.is_due(entry)) {
            self.expire_now(db, key);
        }
    }

    /// Removes `key`, whose time has come; nobody else is told, because nobody else has it.
    pub fn expire_own(&mut self, db: Db, key: &[u8]) {
        drop(self.take_out(db, key, 0));
        self.counters.expired.add(1);
    }

    #[cold]
    fn expire_now(&mut self, db: Db, key: &[u8]) {
        if let Some(entry) = self.take_out(db, key, 0) {
            self.discard(entry, self.scope.lazy.expire);
        }
        self.counters.expired.add(1);
        self.rare().notices.push(Notice::Expired(Expired { db, key: key.into() }));
    }

    /// Reads `key`: removes it if its time has come, keeps its access time, counts hit or miss.
    #[inline]
    pub fn read(&mut self, db: Db, key: &[u8]) -> Option<&Record> {
        let found = self.look(db, key, !self.scope.no_touch);
        if found.is_some() {
            self.counters.hits.add(1)
        } else {
            self.counters.misses.add(1)
        }
        // SAFETY: the slot is held as long as the view lives, and the borrow is bound to it.
        found.map(|entry| unsafe { &*entry })
    }

    /// Reads what is no value of `key` (its type, its expiry ...): as `read`, but its access time stays.
    pub fn inspect(&mut self, db: Db, key: &[u8]) -> Option<&Record> {
        let found = self.look(db, key, false);
        let tally = if found.is_some() { &self.counters.hits } else { &self.counters.misses };
        tally.add(1);
        // SAFETY: as in `read`.
        found.map(|entry| unsafe { &*entry })
    }

    /// Looks at `key` in order to change it: as `read`, but no hit or miss.
    #[inline]
    pub fn find(&mut self, db: Db, key: &[u8]) -> Option<&Record> {
        let found = self.look(db, key, !self.scope.no_touch);
        // SAFETY: as in `read`.
        found.map(|entry| unsafe { &*entry })
    }

    #[inline]
    fn look(&mut self, db: Db, key: &[u8], touch: bool) -> Option<*const Record> {
        let slot = self.slot_of(key);
        // SAFETY: the slot is held, and no other reference into it is alive.
        let entry = unsafe { self.space.data(slot) }.table(db)?.get(self.hash_of(key), key)?;
        if self.scope.expiry != Expiry::Ignore && self.is_due(entry) {
            if self.scope.expiry == Expiry::Remove {
                self.expire_now(db, key);
            }
            return None;
        }
        if entry.field_expiry().is_some() && !self.look_after_fields(db, key) {
            return None;
        }
        if touch {
            let access = self.scope.access.touched(entry.access(), self.scope.now, &mut self.scope.rng.borrow_mut());
            if access != entry.access() {
                entry.set_access(access);
            }
        }
        Some(&raw const *entry)
    }

    /// The entry of `key`, to be changed: its old value is saved for a snapshot that needs it. Who really
    /// changes it calls [`KeyView::touch`] too.
    #[inline]
    pub fn modify(&mut self, db: Db, key: &[u8]) -> Option<EntryMut<'_>> {
        // Hidden keys of a replica are not for clients to change.
        self.look(db, key, !self.scope.no_touch)?;
        let slot = self.slot_of(key);
        let hash = self.hash_of(key);
        self.before_change(slot, db, hash, key);
        let (space, counters) = (self.space, self.counters);
        // SAFETY: the slot is held, and no other reference into it is alive.
        let data = unsafe { space.data(slot) };
        let entry = data.table_mut(db, space.databases()).get_mut(hash, key)?;
        Some(EntryMut::new(entry, space, counters, slot, db))
    }

    /// Puts a new entry in place of whatever `key` holds.
    #[inline]
    pub fn insert(&mut self, db: Db, entry: Entry) {
        let slot = self.slot_of(entry.key());
        let hash = hash_bytes(entry.key());
        self.before_change(slot, db, hash, entry.key());
        if self.scope.reports_new && self.peek_raw(db, entry.key()).is_none() {
            self.note_new(db, entry.key());
        }
        if entry.access() == 0 {
            entry.set_access(self.scope.access.initial(self.scope.now));
        }
        let (expiry, field_expiry) = (entry.expiry(), entry.field_expiry());
        let wakes = matches!(entry.value(), ValueRef::List(_) | ValueRef::ZSet(_) | ValueRef::Stream(_));
        // SAFETY: the slot is held, and no other reference into it is alive.
        let data = unsafe { self.space.data(slot) };
        self.announce(data, slot, db, entry.key(), self.scope.acting.get());
        if wakes && data.extras.as_ref().is_some_and(|extras| extras.awaits(db, entry.key())) {
            self.note_ready(db, entry.key());
        }
        let table = data.table_mut(db, self.space.databases());
        let old = table.insert(hash, entry);
        let (keys, was_volatile, was_fielded) = match &old {
            Some(old) => (0, old.expiry().is_some(), old.field_expiry().is_some()),
            None => (1, false, false),
        };
        if keys == 1 && table.len() == 1 {
            self.space.set_occupied(db, slot, true);
        }
        let volatile = i64::from(expiry.is_some()) - i64::from(was_volatile);
        table.add_volatile(volatile);
        self.count(db, keys, volatile);
        let fielded = i64::from(field_expiry.is_some()) - i64::from(was_fielded);
        if fielded != 0 {
            table.add_fielded(fielded);
            self.counters.fielded[db.index()].add(fielded);
        }
        for at in [expiry, field_expiry].into_iter().flatten() {
            note_expiry(self.space, slot, at);
        }
        if let Some(old) = old {
            if is_stream(&old) {
                self.signal(db, old.key());
            }
            self.discard(old, self.scope.lazy.server_del);
        }
    }

    /// Frees what was removed: a large value not before the slots are free again, and on the freeing
    /// thread if it may be done lazily.
    #[inline]
    pub fn discard(&mut self, entry: Entry, lazily: bool) {
        if entry.is_collection() {
            self.discard_collection(entry, lazily);
        }
    }

    #[cold]
    fn discard_collection(&mut self, entry: Entry, lazily: bool) {
        if lazily {
            self.space.reclaim().entry(entry);
        } else if entry.is_large() {
            self.rare().garbage.push(entry);
        }
    }

    /// Stores a string, in place where that is possible: SET's fast path.
    #[inline]
    pub fn set_str(&mut self, db: Db, key: &[u8], bytes: &[u8], expiry: Option<UnixMs>) {
        let slot = self.slot_of(key);
        let hash = self.hash_of(key);
        self.before_change(slot, db, hash, key);
        // SAFETY: the slot is held, and no other reference into it is alive.
        let data = unsafe { self.space.data(slot) };
        self.announce(data, slot, db, key, self.scope.acting.get());
        let table = data.table_mut(db, self.space.databases());
        let mut replaced = None;
        let (keys, volatile) = if let Some(mut entry) = table.get_mut(hash, key) {
            let before = entry.expiry().is_some();
            if entry.is_collection() {
                let access = entry.access();
                replaced = Some(std::mem::replace(&mut *entry, Entry::string(key, bytes, expiry)));
                entry.set_access(access);
            } else {
                entry.set_str(bytes, expiry);
            }
            let access = self.scope.access.touched(entry.access(), self.scope.now, &mut self.scope.rng.borrow_mut());
            entry.set_access(access);
            (0, i64::from(expiry.is_some()) - i64::from(before))
        } else {
            let entry = Entry::string(key, bytes, expiry);
            entry.set_access(self.scope.access.initial(self.scope.now));
            table.insert_new(hash, entry);
            if table.len() == 1 {
                self.space.set_occupied(db, slot, true);
            }
            if self.scope.reports_new {
                self.note_new(db, key);
            }
            (1, i64::from(expiry.is_some()))
        };
        if volatile != 0 {
            table.add_volatile(volatile);
        }
        self.count(db, keys, volatile);
        if let Some(at) = expiry {
            note_expiry(self.space, slot, at);
        }
        if let Some(replaced) = replaced {
            if replaced.field_expiry().is_some() {
                table.add_fielded(-1);
                self.counters.fielded[db.index()].add(-1);
            }
            if is_stream(&replaced) {
                self.signal(db, key);
            }
            self.discard(replaced, self.scope.lazy.server_del);
        }
    }

    /// Removes `key`; `None` if it was not there, or is expired and thus hidden.
    pub fn remove(&mut self, db: Db, key: &[u8]) -> Option<Entry> {
        self.settle(db, key);
        self.peek(db, key)?;
        self.remove_raw(db, key)
    }

    /// Removes `key`, expired or not.
    pub fn remove_raw(&mut self, db: Db, key: &[u8]) -> Option<Entry> {
        self.take_out(db, key, self.scope.acting.get())
    }

    /// Removes `key`, which is `by`'s deed, or nobody's.
    fn take_out(&mut self, db: Db, key: &[u8], by: u64) -> Option<Entry> {
        let slot = self.slot_of(key);
        let hash = self.hash_of(key);
        self.before_change(slot, db, hash, key);
        // SAFETY: the slot is held, and no other reference into it is alive.
        let data = unsafe { self.space.data(slot) };
        let table = data.table_mut(db, self.space.databases());
        let entry = table.remove(hash, key)?;
        let volatile = -i64::from(entry.expiry().is_some());
        table.add_volatile(volatile);
        if entry.field_expiry().is_some() {
            table.add_fielded(-1);
            self.counters.fielded[db.index()].add(-1);
        }
        if table.len() == 0 {
            self.space.set_occupied(db, slot, false);
            if db != Db(0) {
                data.give_back();
            }
        }
        self.announce(data, slot, db, key, by);
        self.count(db, -1, volatile);
        if is_stream(&entry) {
            self.signal(db, key);
        }
        Some(entry)
    }

    /// Removes `key` if it holds a collection without elements.
    pub fn remove_if_empty(&mut self, db: Db, key: &[u8]) -> bool {
        let empty = self.peek_raw(db, key).is_some_and(|entry| match entry.value() {
            ValueRef::List(list) => list.is_empty(),
            ValueRef::Set(set) => set.is_empty(),
            ValueRef::ZSet(zset) => zset.is_empty(),
            ValueRef::Hash(hash) => hash.len_of_all() == 0,
            ValueRef::Str(_) | ValueRef::Stream(_) => false,
        });
        empty && self.remove_raw(db, key).is_some()
    }

    /// Inserts `value` as a new entry without expiry.
    pub fn insert_value(&mut self, db: Db, key: &[u8], value: Value) {
        self.insert(db, Entry::new(key, value));
    }

    #[inline]
    fn count(&self, db: Db, keys: i64, volatile: i64) {
        if keys != 0 {
            self.counters.keys[db.index()].add(keys);
        }
        if volatile != 0 {
            self.counters.expires[db.index()].add(volatile);
        }
    }

    /// Saves what `key` holds for a walk that has not reached it.
    #[inline]
    fn before_change(&mut self, slot: Slot, db: Db, hash: u64, key: &[u8]) {
        if let Some(undo) = self.rare.as_mut().and_then(|rare| rare.undo.as_mut()) {
            // SAFETY: the slot is held, and no other reference into it is alive.
            let data = unsafe { self.space.data(slot) };
            undo.save(db, key, data.table(db).and_then(|table| table.get(hash, key)));
        }
        // SAFETY: a view exists only while its member is active or alone.
        if let Some(walk) = unsafe { self.space.walk() } {
            // SAFETY: the slot is held, and no other reference into it is alive.
            let data = unsafe { self.space.data(slot) };
            walk.before_change(data, slot, db, position(hash), hash, key);
        }
    }

    /// From here on the view can take back what is changed through it: see [`crate::undo`].
    pub fn keep_undo(&mut self) {
        self.rare().undo = Some(Undo::default());
    }

    /// The bytes that it takes, roughly, to remember what has been changed so far and what `keys` hold.
    pub fn undo_weight<'k>(&self, db: Db, keys: impl Iterator<Item = &'k [u8]>) -> usize {
        let Some(undo) = self.rare.as_ref().and_then(|rare| rare.undo.as_ref()) else { return 0 };
        let fresh = keys.filter(|key| !undo.has(db, key));
        undo.weight() + fresh.filter_map(|key| self.peek_raw(db, key)).map(undo::weight).sum::<usize>()
    }

    /// Takes back everything that was changed since [`KeyView::keep_undo`], what has expired included.
    pub fn take_back(&mut self) {
        let Some(undo) = self.rare.as_mut().and_then(|rare| rare.undo.take()) else { return };
        for (key, db, old) in undo.into_saved() {
            match old {
                Some(old) => self.insert(db, old),
                None => drop(self.remove_raw(db, &key)),
            }
        }
        let rare = self.rare();
        rare.notices.clear();
        rare.ready.clear();
    }

    /// Marks `key` as changed for those who watch it, without changing it.
    pub fn touch(&mut self, db: Db, key: &[u8]) {
        let slot = self.slot_of(key);
        // SAFETY: `slot_of` has checked that the slot is held.
        let data = unsafe { self.space.data(slot) };
        self.announce(data, slot, db, key, self.scope.acting.get());
    }

    /// Raises `flag` when `key` changes.
    pub fn watch(&mut self, db: Db, key: &[u8], flag: &WatchFlag) {
        // SAFETY: as above.
        unsafe { self.space.data(self.slot_of(key)) }.extras().watch(db, key, flag);
    }

    /// Takes back what `flag` watches in the slot of `key`.
    pub fn unwatch(&mut self, key: &[u8], flag: &WatchFlag) {
        // SAFETY: as above.
        let data = unsafe { self.space.data(self.slot_of(key)) };
        if let Some(extras) = &mut data.extras {
            extras.unwatch(flag);
            data.trim_extras();
        }
    }

    /// Lets `ticket` wait for `key`, behind those who wait already.
    pub fn wait(&mut self, db: Db, key: &[u8], ticket: Ticket) {
        // SAFETY: as above.
        unsafe { self.space.data(self.slot_of(key)) }.extras().wait(db, key, ticket);
    }

    /// Ends the waiting of `ticket` in the slot of `key`.
    pub fn forget(&mut self, key: &[u8], ticket: Ticket) {
        // SAFETY: as above.
        let data = unsafe { self.space.data(self.slot_of(key)) };
        if let Some(extras) = &mut data.extras {
            extras.forget(ticket);
            data.trim_extras();
        }
    }

    /// Who waits for `key`, in order of arrival.
    pub fn waiters(&self, db: Db, key: &[u8]) -> Vec<Ticket> {
        // SAFETY: as above.
        let data = unsafe { self.space.data(self.slot_of(key)) };
        data.extras.as_ref().map(|extras| extras.waiters(db, key)).unwrap_or_default()
    }

    /// Notes that a key that clients wait for may be of use to them now.
    #[cold]
    fn note_ready(&mut self, db: Db, key: &[u8]) {
        let ready = &mut self.rare().ready;
        if !ready.iter().any(|(at, name)| *at == db && **name == *key) {
            ready.push((db, key.into()));
        }
    }

    /// Notes `key` as ready if anybody waits for it (a key of another type may be what a waiter needs
    /// to hear of, or an element was added to what was there).
    pub fn signal(&mut self, db: Db, key: &[u8]) {
        // SAFETY: as above.
        let data = unsafe { self.space.data(self.slot_of(key)) };
        if data.extras.as_ref().is_some_and(|extras| extras.awaits(db, key)) {
            self.note_ready(db, key);
        }
    }

    /// The keys that waiting clients may be served from, once.
    #[inline]
    pub fn take_ready(&mut self) -> SmallVec<[(Db, Box<[u8]>); 1]> {
        self.rare.as_mut().map(|rare| std::mem::take(&mut rare.ready)).unwrap_or_default()
    }

    /// What befell keys besides what the command did, in order, once.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.rare.as_mut().map(|rare| std::mem::take(&mut rare.notices)).unwrap_or_default()
    }

    /// Whether nothing out of the ordinary has happened under this view: it has no notices, and nobody waits for a key of it.
    #[inline]
    pub fn is_ordinary(&self) -> bool {
        self.rare.is_none()
    }

    /// Whether keys have expired under this view, or were made and that is to be told.
    #[inline]
    pub fn has_notices(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.notices.is_empty())
    }

    /// Walks a bounded piece of a database, from `cursor` on: about `budget` entries, expired ones left
    /// out. Returns the cursor to go on with; 0 at the end. Each key that is there from the first call
    /// to the last is seen.
    pub fn scan(&mut self, db: Db, cursor: u64, budget: usize, mut each: impl FnMut(&Record)) -> u64 {
        let scope = self.scope;
        let mut overdue = Vec::new();
        let next = self.scan_raw(db, cursor, budget, |entry| {
            let due = entry.expiry().is_some_and(|at| at <= scope.now);
            if !due || scope.expiry == Expiry::Ignore {
                each(entry);
            } else if overdue.len() < MOST_OVERDUE {
                overdue.push(Expired { db, key: entry.key().into() });
            }
        });
        self.note_overdue(overdue);
        next
    }

    /// Keeps expired keys in mind, if it is ours to remove them.
    fn note_overdue(&mut self, mut keys: Vec<Expired>) {
        if !keys.is_empty() && self.scope.expiry == Expiry::Remove {
            let all = &mut self.rare().overdue;
            keys.truncate(MOST_OVERDUE - all.len());
            all.append(&mut keys);
        }
    }

    /// Expired keys that were met on a walk, once: whoever locks their slots may [`KeyView::settle`] them.
    pub fn take_overdue(&mut self) -> Vec<Expired> {
        self.rare.as_mut().map(|rare| std::mem::take(&mut rare.overdue)).unwrap_or_default()
    }

    /// As [`KeyView::scan`], with expired keys.
    pub fn scan_raw(&mut self, db: Db, cursor: u64, budget: usize, mut each: impl FnMut(&Record)) -> u64 {
        let (mut slot_number, mut inner) = split_cursor(cursor);
        let mut left = budget.max(1);
        while let Some(slot) = self.space.next_occupied(db, slot_number) {
            if slot.index() != slot_number {
                inner = 0;
            }
            let space = self.space;
            let mut seen = 0;
            inner = self.held.visit(space, slot, || {
                // SAFETY: the slot is held for the time of the visit.
                let Some(table) = unsafe { space.data(slot) }.table(db) else { return 0 };
                table.scan(inner, left, |entry| {
                    seen += 1;
                    each(entry);
                })
            });
            if inner != 0 {
                return join_cursor(slot.index(), inner);
            }
            slot_number = slot.index() + 1;
            left = left.saturating_sub(seen);
            if left == 0 {
                return self.space.next_occupied(db, slot_number).map_or(0, |next| join_cursor(next.index(), 0));
            }
        }
        0
    }

    /// A key chosen at random, each with nearly the same probability; `None` in an empty database.
    /// Expired keys are left out; where there are hardly any others, `None` is returned too.
    pub fn random_key(&mut self, db: Db) -> Option<Box<[u8]>> {
        let (space, scope) = (self.space, self.scope);
        let mut rng = scope.rng.borrow_mut();
        // Slots differ in how many keys they hold; a slot is taken with a probability that grows with its
        // keys by rejection, up to a bound of tries that keeps a lopsided keyspace from costing much.
        let mut largest = 1;
        let (mut overdue, mut found) = (Vec::new(), None);
        for attempt in 0..64 {
            let from = rng.below(crate::slot::SLOTS as u64) as usize;
            let Some(slot) = space.next_occupied(db, from).or_else(|| space.next_occupied(db, 0)) else { break };
            found = self.held.visit(space, slot, || {
                // SAFETY: the slot is held for the time of the visit.
                let table = unsafe { space.data(slot) }.table(db)?;
                largest = largest.max(table.len());
                let taken = attempt == 63 || rng.below(largest as u64) < table.len() as u64;
                let entry = if taken { table.random(&mut rng) } else { None }?;
                let due = entry.expiry().is_some_and(|at| at <= scope.now);
                if due && scope.expiry != Expiry::Ignore {
                    let expired = Expired { db, key: entry.key().into() };
                    if !overdue.contains(&expired) {
                        overdue.push(expired);
                    }
                    return None;
                }
                Some(Box::from(entry.key()))
            });
            if found.is_some() {
                break;
            }
        }
        drop(rng);
        self.note_overdue(overdue);
        found
    }
}

/// A cursor is shown to clients as one number: position within the slot above, slot below, and one
/// added so that 0 means both "begin" and "end".
fn join_cursor(slot: usize, inner: u64) -> u64 {
    ((inner >> 15) << 15 | slot as u64).wrapping_add(1)
}

fn split_cursor(cursor: u64) -> (usize, u64) {
    match cursor.checked_sub(1) {
        None => (0, 0),
        Some(rest) => ((rest & 0x3fff) as usize, (rest >> 15) << 15),
    }
}

fn note_expiry(space: &Keyspace, slot: Slot, at: UnixMs) {
    let soonest = space.soonest(slot);
    if at.0 < soonest.load(Ordering::Relaxed) {
        soonest.store(at.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn scope(now: i64, expiry: Expiry) -> Scope {
        Scope {
            now: UnixMs(now),
            expiry,
            access: AccessPolicy::Lru,
            no_touch: false,
            lazy: Lazy::default(),
            reports_new: false,
            broadcasts: false,
            acting: 0.into(),
            rng: Rng::new(3).into(),
        }
    }

    #[test]
    fn walks_keep_in_mind_what_has_expired_where_it_may_be_removed() {
        let space = Arc::new(Keyspace::new(1));
        let mut member = space.join();
        member.enter();
        let early = scope(0, Expiry::Remove);
        for (key, at) in [("stays", None), ("goes", Some(UnixMs(5))), ("went", Some(UnixMs(4)))] {
            let key = key.as_bytes();
            member.view(SlotSet::One(Slot::of(key)), &early).set_str(Db(0), key, b"v", at);
        }
        for (expiry, expected) in [(Expiry::Remove, &["goes", "went"][..]), (Expiry::Hide, &[]), (Expiry::Ignore, &[])]
        {
            let late = scope(5, expiry);
            let mut names = |walk: &mut dyn FnMut(&mut KeyView<'_>)| {
                let mut view = member.view(SlotSet::None, &late);
                walk(&mut view);
                let overdue = view.take_overdue();
                assert!(view.take_overdue().is_empty(), "they are told once");
                let mut names: Vec<_> =
                    overdue.iter().map(|expired| String::from_utf8_lossy(&expired.key).into_owned()).collect();
                names.sort();
                names
            };
            assert_eq!(names(&mut |view| assert_eq!(view.scan(Db(0), 0, 10, |_| ()), 0)), expected, "{expiry:?}");
            // A random key is drawn until one is found that lives.
            let met = names(&mut |view| assert!(view.random_key(Db(0)).is_some()));
            assert!(met.iter().all(|name| expected.contains(&name.as_str())), "{expiry:?}: {met:?}");
        }
    }

    #[test]
    fn what_befalls_keys_is_told_in_order_and_what_is_new_only_to_who_wants_it() {
        let told = |reports_new| {
            let space = Arc::new(Keyspace::new(1));
            let mut member = space.join();
            member.enter();
            let scope = Scope { reports_new, ..scope(5, Expiry::Remove) };
            let mut view = member.view(SlotSet::One(Slot::of(b"k")), &scope);
            view.set_str(Db(0), b"k", b"v", Some(UnixMs(5)));
            view.set_str(Db(0), b"k", b"w", Some(UnixMs(5)));
            view.settle(Db(0), b"k");
            view.insert(Db(0), Entry::string(b"k", b"v", None));
            view.insert(Db(0), Entry::string(b"k", b"w", None));
            view.take_notices()
        };
        let new = Notice::New { db: Db(0), key: b"k"[..].into() };
        let expired = Notice::Expired(Expired { db: Db(0), key: b"k"[..].into() });
        assert_eq!(told(true), [new.clone(), expired.clone(), new]);
        assert_eq!(told(false), [expired]);
    }

    #[test]
    fn a_cursor_survives_its_way_through_the_client() {
        for (slot, inner) in [(0, 1 << 63), (16383, 0), (5, 0xffff_ffff_ffff_8000), (1, 1 << 15)] {
            assert_eq!(split_cursor(join_cursor(slot, inner)), (slot, inner));
            assert_ne!(join_cursor(slot, inner), 0);
        }
    }
}

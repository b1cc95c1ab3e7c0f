//! Client-side caching: which clients may hold a copy of which keys, and which of these copies are stale.
//!
//! The table of who holds what is cut up by slots: what is remembered of a key lies with its slot and is guarded by that
//! slot's lock, so that a read and the note that it was read are one step, as are a change and the look for whom it
//! concerns. Nobody pays for it whose slot has nothing noted. The names of keys count, whatever the database: so the
//! protocol has it.
//!
//! What has become stale is queued here by whoever changed it, and taken from here by whoever passes it on. It is queued
//! under the slot's lock, behind the change: nobody can be told of a change that is not to be seen yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::bitmap::Bitmap;
use crate::slot::Slot;
use crate::space::{Db, SlotData};
use crate::view::KeyView;

/// A client that may hold a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub client: u64,
    /// The thread that serves it.
    pub thread: usize,
}

/// What is stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stale {
    /// A key.
    Key {
        /// Its name.
        key: Box<[u8]>,
        /// Who may hold a copy.
        holders: Box<[Holder]>,
        /// The client that has changed it, if that is known and may matter; else 0.
        by: u64,
        /// Whether it has changed, so that those are told as well who want to hear of every change. Else it has only been
        /// forgotten who holds it.
        changed: bool,
    },
    /// Everything: databases were emptied or exchanged.
    All,
}

/// What is noted of one slot's keys; guarded by the slot's lock.
#[derive(Default)]
pub(crate) struct Held(HashMap<Box<[u8]>, Vec<Holder>>);

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What concerns all slots; see the module's text.
pub struct Tracking {
    keys: AtomicUsize,
    items: AtomicUsize,
    /// The slots of which something is noted.
    slots: Bitmap,
    /// Whether anything is queued.
    any: AtomicBool,
    stale: Mutex<Vec<Stale>>,
}

impl Default for Tracking {
    fn default() -> Tracking {
        Tracking {
            keys: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            slots: Bitmap::new(),
            any: AtomicBool::new(false),
            stale: Mutex::default(),
        }
    }
}

impl Tracking {
    /// How many keys somebody may hold a copy of.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// How many copies there may be in all.
    pub fn items(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    /// The first slot at or behind `from` of which something is noted; a hint unless its lock is held.
    pub fn next_slot(&self, from: usize) -> Option<Slot> {
        self.slots.next(from)
    }

    /// Whether something is stale and has not been passed on. What a thread has queued itself it sees.
    #[inline]
    pub fn has_stale(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Passes on what is stale, in order. When this returns everything is passed on that was queued before the call, by
    /// whomever.
    pub fn pass_on(&self, pass: impl FnOnce(Vec<Stale>)) {
        let mut stale = self.stale.lock();
        let taken = std::mem::take(&mut *stale);
        if !taken.is_empty() {
            // Under the lock: who finds nothing here may be sure that it is on its way.
            pass(taken);
        }
        self.any.store(false, Ordering::Relaxed);
    }

    fn queue(&self, what: Stale) {
        let mut stale = self.stale.lock();
        if what != Stale::All || stale.last() != Some(&Stale::All) {
            stale.push(what);
        }
        self.any.store(true, Ordering::Relaxed);
    }

    /// Forgets what is noted, slot by slot, and queues that everything is stale. The caller is alone and gives each slot's
    /// data.
    pub(crate) fn forget_all<'d>(&self, data: impl Fn(Slot) -> &'d mut SlotData) {
        let mut from = 0;
        while let Some(slot) = self.slots.next(from) {
            from = slot.index() + 1;
            let data = data(slot);
            if let Some(extras) = &mut data.extras {
                extras.held = Held::default();
                data.trim_extras();
            }
            self.slots.set(slot, false);
        }
        self.keys.store(0, Ordering::Relaxed);
        self.items.store(0, Ordering::Relaxed);
        self.queue(Stale::All);
    }

    fn note(&self, held: &mut Held, slot: Slot, key: &[u8], holder: Holder) {
        if held.is_empty() {
            self.slots.set(slot, true);
        }
        if !held.0.contains_key(key) {
            self.keys.fetch_add(1, Ordering::Relaxed);
            held.0.insert(key.into(), Vec::new());
        }
        let holders = held.0.get_mut(key).expect("it was inserted");
        // In the order of their numbers: who comes later has the higher one.
        if let Err(at) = holders.binary_search_by_key(&holder.client, |known| known.client) {
            holders.insert(at, holder);
            self.items.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&self, held: &mut Held, slot: Slot, key: &[u8]) -> Box<[Holder]> {
        let Some(holders) = held.0.remove(key) else { return Box::default() };
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.items.fetch_sub(holders.len(), Ordering::Relaxed);
        if held.is_empty() {
            held.0 = HashMap::new();
            self.slots.set(slot, false);
        }
        holders.into_boxed_slice()
    }
}

impl KeyView<'_> {
    /// Notes that a client may hold a copy of `key` from now on: it is told of the next change.
    pub fn remember(&mut self, key: &[u8], holder: Holder) {
        let (space, slot) = (self.space, self.slot_of(key));
        // SAFETY: `slot_of` has checked that the slot is held.
        let data = unsafe { space.data(slot) };
        space.tracking().note(&mut data.extras().held, slot, key, holder);
    }

    /// Forgets who holds a copy of some key of `slot`, and queues that these copies are stale; false if nothing is noted of
    /// any. The view must cover the slot.
    pub fn forget_some(&mut self, slot: Slot) -> bool {
        assert!(self.covers(&crate::SlotSet::One(slot)), "what is noted of a slot is guarded by its lock");
        let space = self.space;
        // SAFETY: the view covers the slot.
        let data = unsafe { space.data(slot) };
        let Some(extras) = &mut data.extras else { return false };
        let Some(key) = extras.held.0.keys().next().cloned() else { return false };
        let holders = space.tracking().take(&mut extras.held, slot, &key);
        data.trim_extras();
        space.tracking().queue(Stale::Key { key, holders, by: 0, changed: false });
        true
    }

    /// Tells who watches `key`, or may hold a copy of it, that `by` has changed it.
    #[inline]
    pub(crate) fn announce(&self, data: &mut SlotData, slot: Slot, db: Db, key: &[u8], by: u64) {
        if data.extras.is_some() || self.scope.broadcasts {
            self.tell(data, slot, db, key, by);
        }
    }

    #[cold]
    fn tell(&self, data: &mut SlotData, slot: Slot, db: Db, key: &[u8], by: u64) {
        data.touch(db, key);
        let tracking = self.space.tracking();
        let holders = match &mut data.extras {
            Some(extras) if !extras.held.is_empty() => {
                let holders = tracking.take(&mut extras.held, slot, key);
                data.trim_extras();
                holders
            }
            _ => Box::default(),
        };
        if self.scope.broadcasts || !holders.is_empty() {
            tracking.queue(Stale::Key { key: key.into(), holders, by, changed: true });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_stdx::{Rng, UnixMs};

    use super::*;
    use crate::{AccessPolicy, Expiry, Keyspace, Lazy, Member, Scope, SlotSet};

    const ONE: Holder = Holder { client: 1, thread: 0 };
    const TWO: Holder = Holder { client: 2, thread: 1 };

    fn scope(now: i64, broadcasts: bool) -> Scope {
        Scope {
            now: UnixMs(now),
            expiry: Expiry::Remove,
            access: AccessPolicy::Lru,
            no_touch: false,
            lazy: Lazy::default(),
            reports_new: false,
            broadcasts,
            acting: 0.into(),
            rng: Rng::new(1).into(),
        }
    }

    fn member() -> Member {
        let mut member = Arc::new(Keyspace::new(2)).join();
        member.enter();
        member
    }

    fn view<'m>(member: &'m mut Member, scope: &'m Scope, key: &str) -> KeyView<'m> {
        member.view(SlotSet::One(Slot::of(key.as_bytes())), scope)
    }

    fn stale(space: &Keyspace) -> Vec<Stale> {
        let mut stale = Vec::new();
        space.tracking().pass_on(|taken| stale = taken);
        stale
    }

    fn changed(key: &str, holders: &[Holder], by: u64) -> Stale {
        Stale::Key { key: key.as_bytes().into(), holders: holders.into(), by, changed: true }
    }

    #[test]
    fn a_change_is_told_once_to_each_who_has_read_the_key_in_whatever_database() {
        let mut member = member();
        let space = Arc::clone(member.space());
        let scope = scope(0, false);
        for holder in [TWO, ONE, TWO] {
            view(&mut member, &scope, "k").remember(b"k", holder);
        }
        assert_eq!((space.tracking().keys(), space.tracking().items()), (1, 2));
        assert!(!space.tracking().has_stale());
        scope.acting.set(2);
        view(&mut member, &scope, "k").set_str(Db(1), b"k", b"v", None);
        view(&mut member, &scope, "k").set_str(Db(0), b"k", b"v", None);
        assert_eq!(stale(&space), [changed("k", &[ONE, TWO], 2)]);
        assert_eq!((space.tracking().keys(), space.tracking().items(), space.tracking().next_slot(0)), (0, 0, None));
        assert!(!space.tracking().has_stale());
    }

    #[test]
    fn what_expires_is_nobodys_deed() {
        let mut member = member();
        let space = Arc::clone(member.space());
        let scope = scope(0, true);
        scope.acting.set(7);
        view(&mut member, &scope, "k").set_str(Db(0), b"k", b"v", Some(UnixMs(5)));
        let scope = Scope { now: UnixMs(5), rng: scope.rng.clone(), acting: scope.acting.clone(), ..scope };
        assert!(view(&mut member, &scope, "k").read(Db(0), b"k").is_none());
        assert_eq!(stale(&space), [changed("k", &[], 7), changed("k", &[], 0)]);
    }

    #[test]
    fn who_wants_to_hear_of_every_change_hears_of_those_of_keys_that_nobody_holds() {
        for broadcasts in [false, true] {
            let mut member = member();
            let space = Arc::clone(member.space());
            let scope = scope(0, broadcasts);
            view(&mut member, &scope, "k").set_str(Db(0), b"k", b"v", None);
            view(&mut member, &scope, "k").remove(Db(0), b"k");
            view(&mut member, &scope, "k").remove(Db(0), b"k");
            assert_eq!(stale(&space).len(), if broadcasts { 2 } else { 0 });
        }
    }

    #[test]
    fn a_key_is_forgotten_to_make_room_and_its_copies_are_stale() {
        let mut member = member();
        let space = Arc::clone(member.space());
        let scope = scope(0, true);
        view(&mut member, &scope, "k").remember(b"k", ONE);
        let slot = space.tracking().next_slot(0).unwrap();
        assert!(member.view(SlotSet::One(slot), &scope).forget_some(slot));
        assert!(!member.view(SlotSet::One(slot), &scope).forget_some(slot));
        let forgotten = Stale::Key { key: b"k"[..].into(), holders: [ONE].into(), by: 0, changed: false };
        assert_eq!(stale(&space), [forgotten]);
    }

    #[test]
    fn when_databases_are_emptied_or_exchanged_everything_is_stale() {
        let mut member = member();
        let space = Arc::clone(member.space());
        let scope = scope(0, false);
        for what in ["flush", "swap"] {
            view(&mut member, &scope, "k").remember(b"k", ONE);
            member.leave();
            member.alone(|alone| match what {
                "flush" => (0..2).for_each(|db| drop(alone.flush(Db(db)))),
                _ => alone.swap(Db(0), Db(1)),
            });
            member.enter();
            assert_eq!(
                (space.tracking().keys(), space.tracking().items(), space.tracking().next_slot(0)),
                (0, 0, None)
            );
            assert_eq!(stale(&space), [Stale::All], "{what}");
        }
    }
}

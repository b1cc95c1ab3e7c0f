//! A few entries chosen at random, for eviction to choose from.

use super::KeyView;
use crate::entry::Record;
use crate::slot::SLOTS;
use crate::space::{Db, Held};
use crate::table::Table;
use quorate_stdx::UnixMs;

/// The most slots that are visited for one sample.
const VISITS: usize = 16;
/// The most entries that are looked at in one slot: where hardly any entry expires, those that do may be
/// missed, and another sample looks elsewhere.
const LOOKS: usize = 1024;

impl KeyView<'_> {
    /// Shows about `count` entries of `db` to `each`; only those with an expiry if `volatile` says so. The
    /// view must cover nothing or everything: one slot after the other is held for a moment.
    ///
    /// The entries of a slot are taken side by side in the order of their hashes, which says nothing about
    /// how they are used.
    pub fn sample(&mut self, db: Db, volatile: bool, count: usize, mut each: impl FnMut(&Record)) {
        let mut rng = self.scope.rng.borrow_mut();
        let mut from = rng.below(SLOTS as u64) as usize;
        let mut seen = 0;
        for _ in 0..VISITS {
            let next = |from| {
                if volatile {
                    self.space.next_due(from, UnixMs(i64::MAX - 1))
                } else {
                    self.space.next_occupied(db, from)
                }
            };
            let Some(slot) = next(from).or_else(|| next(0)) else { return };
            self.held.visit(self.space, slot, || {
                // SAFETY: the slot is held for the time of the visit.
                let Some(table) = (unsafe { self.space.data(slot) }).table(db) else { return };
                sample_table(table, volatile, count - seen, rng.next_u64(), |entry| {
                    seen += 1;
                    each(entry);
                });
            });
            if seen >= count {
                return;
            }
            from = (slot.index() + 1) % SLOTS;
        }
    }

    /// Removes an entry to make room, if it is still there and `still` holds for it; its slot must be held.
    pub fn evict(&mut self, db: Db, key: &[u8], lazily: bool, still: impl FnOnce(&Record) -> bool) -> bool {
        debug_assert!(matches!(self.held, Held::Slots(_)), "eviction goes on beside other threads");
        if !self.peek_raw(db, key).is_some_and(still) {
            return false;
        }
        let Some(entry) = self.take_out(db, key, 0) else { return false };
        self.discard(entry, lazily);
        self.counters.evicted.add(1);
        true
    }
}

/// Shows at most `count` entries of a table from the position `start` on, and from its beginning when its
/// end is reached.
fn sample_table(table: &Table, volatile: bool, count: usize, start: u64, mut each: impl FnMut(&Record)) {
    if table.len() == 0 || (volatile && table.volatile() == 0) {
        return;
    }
    let (mut seen, mut looked, mut wrapped) = (0, 0, false);
    let most = table.len().min(LOOKS);
    let mut cursor = start;
    while seen < count && looked < most {
        cursor = table.scan(cursor, (count - seen).max(4), |entry| {
            looked += 1;
            if seen < count && looked <= most && (!volatile || entry.expiry().is_some()) {
                seen += 1;
                each(entry);
            }
        });
        if cursor == 0 && std::mem::replace(&mut wrapped, true) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use quorate_stdx::Rng;

    use super::*;
    use crate::{AccessPolicy, Expiry, Keyspace, Lazy, Scope, Slot, SlotSet};

    fn scope(seed: u64) -> Scope {
        Scope {
            now: UnixMs(0),
            expiry: Expiry::Remove,
            access: AccessPolicy::Lru,
            no_touch: false,
            lazy: Lazy::default(),
            reports_new: false,
            broadcasts: false,
            acting: 0.into(),
            rng: Rng::new(seed).into(),
        }
    }

    /// Samples five a thousand times from keys of which every tenth expires.
    fn tally(volatile: bool) -> HashMap<Vec<u8>, usize> {
        let space = Arc::new(Keyspace::new(2));
        let mut member = space.join();
        let scope = scope(7);
        member.enter();
        for number in 0..1000 {
            let key = format!("key:{number}");
            let at = (number % 10 == 0).then_some(UnixMs(5));
            member.view(SlotSet::One(Slot::of(key.as_bytes())), &scope).set_str(Db(1), key.as_bytes(), b"v", at);
        }
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        for _ in 0..1000 {
            member
                .view(SlotSet::None, &scope)
                .sample(Db(1), volatile, 5, |entry| *seen.entry(entry.key().to_vec()).or_default() += 1);
        }
        seen
    }

    #[test]
    fn a_sample_has_as_many_entries_as_were_wanted_and_leaves_none_out() {
        let seen = tally(false);
        assert_eq!((seen.values().sum::<usize>(), seen.len() > 950), (5000, true), "{} keys", seen.len());
    }

    #[test]
    fn only_entries_with_an_expiry_are_shown_where_those_are_wanted() {
        let seen = tally(true);
        assert_eq!((seen.values().sum::<usize>(), seen.len()), (5000, 100));
        assert!(seen.keys().all(|key| key.ends_with(b"0")));
    }

    #[test]
    fn an_entry_that_has_changed_its_mind_is_not_evicted() {
        let space = Arc::new(Keyspace::new(1));
        let mut member = space.join();
        let scope = scope(1);
        member.enter();
        let mut view = member.view(SlotSet::One(Slot::of(b"k")), &scope);
        view.set_str(Db(0), b"k", b"v", None);
        assert!(!view.evict(Db(0), b"k", false, |_| false));
        assert!(view.evict(Db(0), b"k", false, |_| true));
        assert!(!view.evict(Db(0), b"k", false, |_| true));
        assert_eq!((space.len(Db(0)), space.sum(|counters| counters.evicted.get())), (0, 1));
    }
}

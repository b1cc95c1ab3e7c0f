//! Fields of hashes whose time has come.
//!
//! They follow the rules of keys ([`Expiry`]): who may remove them does so when he looks at their hash, a bounded number
//! at once, and the rest is hidden until the next look or until the slot is swept. Who may not only hides them.

use super::{EntryMut, Expiry, KeyView, Notice};
use crate::entry::ValueMut;
use crate::space::Db;
use quorate_values::{Hash, ValueRef};

/// The most fields that are removed at a look.
const MOST: usize = 256;

impl KeyView<'_> {
    /// Sees to it that nothing is to be seen of fields of a hash whose time has come; false if no field is left then.
    #[cold]
    pub(super) fn look_after_fields(&mut self, db: Db, key: &[u8]) -> bool {
        if self.scope.expiry == Expiry::Remove {
            self.expire_fields(db, key);
        }
        let until = (self.scope.expiry != Expiry::Ignore).then_some(self.scope.now);
        match self.peek_raw(db, key).map(|entry| entry.value()) {
            Some(ValueRef::Hash(hash)) => {
                hash.hide_due(until);
                !hash.is_empty()
            }
            _ => false,
        }
    }

    /// Removes fields of a hash whose time has come, and the hash with its last one; how many they were.
    pub(super) fn expire_fields(&mut self, db: Db, key: &[u8]) -> usize {
        let now = self.scope.now;
        let is_due = |hash: &Hash| hash.soonest_expiry().is_some_and(|at| at <= now);
        if !matches!(self.peek_raw(db, key).map(|entry| entry.value()), Some(ValueRef::Hash(hash)) if is_due(hash)) {
            return 0;
        }
        let slot = self.slot_of(key);
        let hash = self.hash_of(key);
        self.before_change(slot, db, hash, key);
        let (space, counters) = (self.space, self.counters);
        // SAFETY: the slot is held, and no other reference into it is alive.
        let data = unsafe { space.data(slot) };
        let Some(entry) = data.table_mut(db, space.databases()).get_mut(hash, key) else { return 0 };
        let mut entry = EntryMut::new(entry, space, counters, slot, db);
        let ValueMut::Hash(value) = entry.value_mut() else { return 0 };
        let fields = value.remove_due(now, MOST);
        let emptied = value.len_of_all() == 0;
        drop(entry);
        // SAFETY: as above; the entry, which held the earlier reference, is gone.
        self.announce(unsafe { space.data(slot) }, slot, db, key, 0);
        if emptied && let Some(entry) = self.take_out(db, key, 0) {
            self.discard(entry, self.scope.lazy.expire);
        }
        let count = fields.len();
        self.counters.expired_fields.add(count as i64);
        self.rare().notices.push(Notice::Fields { db, key: key.into(), fields, emptied });
        count
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_stdx::{Rng, UnixMs};
    use quorate_values::{Limits, Value};

    use super::*;
    use crate::{AccessPolicy, Entry, Keyspace, Lazy, Member, Scope, Slot, SlotSet, Sweep};

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
            rng: Rng::new(1).into(),
        }
    }

    fn hash(fields: &[(&str, Option<i64>)]) -> Value {
        let mut hash = Hash::new();
        for (field, at) in fields {
            hash.insert(field.as_bytes(), b"v", &Limits::default());
            hash.set_expiry(field.as_bytes(), at.map(UnixMs));
        }
        Value::Hash(Box::new(hash))
    }

    fn member(fields: &[(&str, Option<i64>)]) -> Member {
        let mut member = Arc::new(Keyspace::new(1)).join();
        member.enter();
        let scope = scope(0, Expiry::Remove);
        view(&mut member, &scope).insert(Db(0), Entry::new(b"h", hash(fields)));
        member
    }

    fn view<'m>(member: &'m mut Member, scope: &'m Scope) -> KeyView<'m> {
        member.view(SlotSet::One(Slot::of(b"h")), scope)
    }

    fn fields(names: &[&str], emptied: bool) -> Notice {
        let fields = names.iter().map(|name| name.as_bytes().into()).collect();
        Notice::Fields { db: Db(0), key: b"h"[..].into(), fields, emptied }
    }

    fn len(view: &mut KeyView<'_>) -> Option<usize> {
        view.read(Db(0), b"h").map(|entry| entry.value().elements())
    }

    #[test]
    fn who_may_remove_fields_does_so_at_a_look_and_the_hash_goes_with_the_last() {
        let mut member = member(&[("a", Some(5)), ("b", Some(6)), ("c", Some(7))]);
        let space = Arc::clone(member.space());
        let mut looks = Vec::new();
        for now in [4, 5, 7, 8] {
            let scope = scope(now, Expiry::Remove);
            let mut view = view(&mut member, &scope);
            looks.push((len(&mut view), view.take_notices()));
        }
        let expected = [
            (Some(3), vec![]),
            (Some(2), vec![fields(&["a"], false)]),
            (None, vec![fields(&["b", "c"], true)]),
            (None, vec![]),
        ];
        assert_eq!(looks, expected);
        assert_eq!((space.len(Db(0)), space.fielded(Db(0))), (0, 0));
        assert_eq!(member.counters().expired_fields.get(), 3);
    }

    #[test]
    fn who_may_not_sees_none_of_them_and_who_must_not_know_sees_all() {
        let mut member = member(&[("a", Some(5)), ("b", Some(6))]);
        let space = Arc::clone(member.space());
        for (now, expiry, seen) in [
            (5, Expiry::Hide, Some(1)),
            (6, Expiry::Hide, None),
            (6, Expiry::Ignore, Some(2)),
            (4, Expiry::Hide, Some(2)),
        ] {
            let scope = scope(now, expiry);
            let mut view = view(&mut member, &scope);
            assert_eq!((len(&mut view), view.take_notices()), (seen, vec![]), "{now} {expiry:?}");
        }
        assert_eq!((space.len(Db(0)), space.fielded(Db(0))), (1, 1));
    }

    #[test]
    fn a_sweep_removes_what_nobody_looks_at_however_much_it_is() {
        let names: Vec<String> = (0..2000).map(|number| format!("f{number}")).collect();
        let all: Vec<(&str, Option<i64>)> =
            names.iter().enumerate().map(|(number, name)| (&**name, (number % 4 != 0).then_some(10))).collect();
        let mut member = member(&all);
        let space = Arc::clone(member.space());
        let slot = Slot::of(b"h");
        assert_eq!((space.next_due(0, UnixMs(9)), space.next_due(0, UnixMs(10))), (None, Some(slot)));
        let late = scope(10, Expiry::Remove);
        for _ in 0..1000 {
            let Some(slot) = space.next_due(0, UnixMs(10)) else { break };
            let mut sweep = Sweep::new(slot);
            while !member.view(SlotSet::One(slot), &late).sweep(&mut sweep, 64).finished {}
        }
        assert_eq!((space.next_due(0, UnixMs(i64::MAX - 1)), space.fielded(Db(0))), (None, 0));
        assert_eq!(len(&mut view(&mut member, &late)), Some(500));
    }

    #[test]
    fn hashes_with_fields_that_expire_are_counted_wherever_they_go() {
        let mut member = member(&[("a", Some(5))]);
        let space = Arc::clone(member.space());
        let scope = scope(0, Expiry::Remove);
        let mut counts = vec![space.fielded(Db(0))];
        let mut count = |member: &mut Member, change: &dyn Fn(&mut KeyView<'_>)| {
            change(&mut view(member, &scope));
            counts.push(space.fielded(Db(0)));
        };
        count(&mut member, &|view| {
            let mut entry = view.modify(Db(0), b"h").unwrap();
            let ValueMut::Hash(hash) = entry.value_mut() else { panic!("a hash") };
            hash.set_expiry(b"a", None);
        });
        count(&mut member, &|view| view.insert(Db(0), Entry::new(b"h", hash(&[("a", Some(9))]))));
        count(&mut member, &|view| view.insert(Db(0), Entry::new(b"h", hash(&[("a", Some(8))]))));
        count(&mut member, &|view| view.set_str(Db(0), b"h", b"v", None));
        count(&mut member, &|view| view.insert(Db(0), Entry::new(b"h", hash(&[("a", Some(9))]))));
        count(&mut member, &|view| drop(view.remove(Db(0), b"h")));
        assert_eq!(counts, [1, 0, 1, 1, 0, 1, 0]);
    }
}

//! What a view needs to take back everything that was changed through it.
//!
//! A script that runs beside others holds the slots of the keys that it declared. If it turns out to
//! need more than that, it must not wait for another slot while it holds these: two such scripts could
//! wait for each other. So it takes back what it has done, lets go of everything, and is run again
//! alone. A view that keeps an [`Undo`] copies the old value of each key before its first change; whoever
//! keeps one bounds what that may cost by asking for the weight of a key first.
//!
//! Taken back are values and expiries. Hints and statistics (access times, hits, the mark that tells a
//! watching client of a change) may stay behind: they are allowed to be wrong in that direction.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::entry::{Entry, Record};
use crate::space::Db;

/// What one name stood for in the databases where it was changed; `None` is nothing.
type Before = SmallVec<[(Db, Option<Entry>); 1]>;

/// The old values of what a view has changed.
#[derive(Default)]
pub(crate) struct Undo {
    saved: HashMap<Box<[u8]>, Before>,
    weight: usize,
}

impl Undo {
    /// Whether the old value of that key is saved already.
    pub(crate) fn has(&self, db: Db, key: &[u8]) -> bool {
        self.saved.get(key).is_some_and(|saved| saved.iter().any(|(at, _)| *at == db))
    }

    /// Saves what a key holds before its first change.
    pub(crate) fn save(&mut self, db: Db, key: &[u8], old: Option<&Record>) {
        if self.has(db, key) {
            return;
        }
        self.weight += old.map_or(0, weight);
        self.saved.entry(key.into()).or_default().push((db, old.map(copy)));
    }

    /// What has been saved so far weighs so much, in bytes, roughly.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// The keys with what they held, in no order.
    pub(crate) fn into_saved(self) -> impl Iterator<Item = (Box<[u8]>, Db, Option<Entry>)> {
        self.saved.into_iter().flat_map(|(key, saved)| saved.into_iter().map(move |(db, old)| (key.clone(), db, old)))
    }
}

/// What it costs to copy an entry, in bytes, roughly: found in a time that does not grow with the value.
pub(crate) fn weight(entry: &Record) -> usize {
    /// Bytes that an element of a large collection counts for.
    const ELEMENT: usize = 64;
    match entry.value().elements() {
        few @ 0..=64 => entry.heap_bytes().max(few * ELEMENT),
        many => many * ELEMENT,
    }
}

fn copy(entry: &Record) -> Entry {
    let mut copy = Entry::new(entry.key(), entry.value().to_value());
    copy.set_expiry(entry.expiry());
    copy.set_access(entry.access());
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccessPolicy, Expiry, Keyspace, Scope, SlotSet};
    use quorate_stdx::{Rng, UnixMs};
    use quorate_values::{Limits, Set, Value};
    use std::sync::Arc;

    fn scope(now: i64) -> Scope {
        Scope {
            now: UnixMs(now),
            expiry: Expiry::Remove,
            access: AccessPolicy::Lru,
            no_touch: false,
            lazy: Default::default(),
            reports_new: false,
            broadcasts: false,
            acting: 0.into(),
            rng: Rng::new(1).into(),
        }
    }

    #[test]
    fn what_is_taken_back_was_never_there() {
        let space = Arc::new(Keyspace::new(2));
        let mut member = space.join();
        let early = scope(1_000);
        member.enter();
        let keys: [&[u8]; 4] = [b"{t}changed", b"{t}gone", b"{t}fresh", b"{t}due"];
        {
            let mut view = member.view(SlotSet::of_keys(keys.into_iter()), &early);
            view.set_str(Db(0), keys[0], b"old", Some(UnixMs(9_000)));
            view.insert_value(Db(0), keys[1], Value::Set(Box::new(Set::for_member(b"1", &Limits::default()))));
            view.set_str(Db(1), keys[3], b"soon", Some(UnixMs(2_000)));
        }
        let late = scope(3_000);
        let mut view = member.view(SlotSet::of_keys(keys.into_iter()), &late);
        view.keep_undo();
        view.set_str(Db(0), keys[0], b"new", None);
        view.set_str(Db(0), keys[0], b"newer", None);
        assert!(view.remove(Db(0), keys[1]).is_some());
        view.set_str(Db(0), keys[2], b"fresh", None);
        assert!(view.read(Db(1), keys[3]).is_none());
        assert!(view.undo_weight(Db(0), keys.into_iter()) > 0);
        view.take_back();
        assert_eq!(view.peek(Db(0), keys[0]).and_then(|entry| entry.expiry()), Some(UnixMs(9_000)));
        assert_eq!(view.peek(Db(0), keys[1]).map(|entry| entry.value().type_name()), Some("set"));
        assert!(view.peek_raw(Db(0), keys[2]).is_none());
        assert!(view.peek_raw(Db(1), keys[3]).is_some());
        assert!(!view.has_notices());
        drop(view);
        assert_eq!((space.len(Db(0)), space.volatile(Db(0)), space.len(Db(1)), space.volatile(Db(1))), (2, 1, 1, 1));
        member.leave();
    }
}

//! Active expiry within one slot: its keys whose time has come are found and removed, a bite at a time.
//!
//! What is known of a slot is one number, a lower bound of its keys' expiries. A sweep forgets it at its
//! beginning, goes through the slot's tables, and at its end lowers it to the soonest expiry that it has
//! passed by. Whoever sets an expiry meanwhile lowers it too, so that nothing is forgotten, whatever
//! happens between two bites.

use std::sync::atomic::Ordering;

use quorate_stdx::UnixMs;

use super::{KeyView, note_expiry};
use crate::entry::Record;
use crate::slot::Slot;
use crate::space::Db;

/// How many entries are looked at between two looks at the budget.
const STEP: usize = 64;

/// A sweep through one slot, and how far it has come. Once begun it has to be brought to its end, at any
/// later time: until then its slot does not count as due.
#[derive(Debug)]
pub struct Sweep {
    slot: Slot,
    db: usize,
    cursor: u64,
    soonest: i64,
    begun: bool,
}

/// What a bite of a sweep came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bite {
    /// Entries that were looked at.
    pub looked: usize,
    /// Keys that were removed.
    pub removed: usize,
    /// Whether the sweep is at its end.
    pub finished: bool,
}

impl Sweep {
    /// A sweep of `slot`, not yet begun.
    pub fn new(slot: Slot) -> Sweep {
        Sweep { slot, db: 0, cursor: 0, soonest: i64::MAX, begun: false }
    }

    /// The slot, which a view for [`KeyView::sweep`] has to cover.
    pub fn slot(&self) -> Slot {
        self.slot
    }
}

/// When the first of an entry's expiries is, its own or that of a field.
fn soonest_of(entry: &Record) -> Option<UnixMs> {
    [entry.expiry(), entry.field_expiry()].into_iter().flatten().min()
}

impl KeyView<'_> {
    /// Removes keys of the sweep's slot whose time has come, until about `budget` entries were looked at.
    pub fn sweep(&mut self, sweep: &mut Sweep, budget: usize) -> Bite {
        let (space, now, slot) = (self.space, self.scope.now, sweep.slot);
        if !sweep.begun {
            sweep.begun = true;
            space.soonest(slot).store(i64::MAX, Ordering::Relaxed);
        }
        let mut due: Vec<(Db, Box<[u8]>)> = Vec::new();
        let mut looked = 0;
        while sweep.db < space.databases() && looked < budget {
            let db = Db(sweep.db as u16);
            if let Some(table) = self.table(slot, db).filter(|table| table.volatile() + table.fielded() > 0) {
                sweep.cursor = table.scan(sweep.cursor, STEP.min(budget - looked), |entry| {
                    looked += 1;
                    match soonest_of(entry) {
                        Some(at) if at <= now => due.push((db, entry.key().into())),
                        Some(at) => sweep.soonest = sweep.soonest.min(at.0),
                        None => {}
                    }
                });
            } else {
                sweep.cursor = 0;
            }
            if sweep.cursor == 0 {
                sweep.db += 1;
            }
        }
        let mut removed = 0;
        for (db, key) in due {
            if self.peek_raw(db, &key).is_some_and(|entry| self.is_due(entry)) {
                self.expire_now(db, &key);
                removed += 1;
            } else {
                looked += self.expire_fields(db, &key);
                let rest = self.peek_raw(db, &key).and_then(soonest_of);
                sweep.soonest = rest.map_or(sweep.soonest, |at| sweep.soonest.min(at.0));
            }
        }
        let finished = sweep.db == space.databases();
        if finished && sweep.soonest != i64::MAX {
            note_expiry(space, slot, UnixMs(sweep.soonest));
        }
        Bite { looked, removed, finished }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_stdx::Rng;

    use super::*;
    use crate::{AccessPolicy, Expiry, Keyspace, Lazy, Member, Scope, SlotSet};

    fn scope(now: i64) -> Scope {
        Scope {
            now: UnixMs(now),
            expiry: Expiry::Remove,
            access: AccessPolicy::Lru,
            no_touch: false,
            lazy: Lazy::default(),
            reports_new: false,
            broadcasts: false,
            acting: 0.into(),
            rng: Rng::new(1).into(),
        }
    }

    fn set(member: &mut Member, db: u16, key: &str, at: Option<i64>) {
        let scope = scope(0);
        let slots = SlotSet::One(Slot::of(key.as_bytes()));
        member.view(slots, &scope).set_str(Db(db), key.as_bytes(), b"v", at.map(UnixMs));
    }

    fn sweep_all(member: &mut Member, sweep: &mut Sweep, now: i64, budget: usize) -> usize {
        let scope = scope(now);
        let mut removed = 0;
        loop {
            let bite = member.view(SlotSet::One(sweep.slot()), &scope).sweep(sweep, budget);
            removed += bite.removed;
            if bite.finished {
                return removed;
            }
        }
    }

    #[test]
    fn a_slot_far_larger_than_the_budget_is_swept_to_its_end() {
        let space = Arc::new(Keyspace::new(16));
        let mut member = space.join();
        member.enter();
        for number in 0..5000 {
            let at = if number % 2 == 0 { 10 } else { 1000 + number };
            set(&mut member, (number % 3) as u16, &format!("{{tag}}{number}"), Some(at));
        }
        let slot = Slot::of(b"{tag}");
        assert_eq!(space.next_due(0, UnixMs(9)), None);
        assert_eq!(space.next_due(0, UnixMs(10)), Some(slot));
        assert_eq!(sweep_all(&mut member, &mut Sweep::new(slot), 10, 100), 2500);
        assert_eq!((0..3).map(|db| space.len(Db(db))).sum::<usize>(), 2500);
        assert_eq!(space.next_due(0, UnixMs(1000)), None);
        assert_eq!(space.next_due(0, UnixMs(1001)), Some(slot), "the soonest that is left is known");
    }

    #[test]
    fn an_expiry_set_in_the_midst_of_a_sweep_is_not_forgotten() {
        let space = Arc::new(Keyspace::new(1));
        let mut member = space.join();
        member.enter();
        for number in 0..1000 {
            set(&mut member, 0, &format!("{{tag}}{number}"), Some(5000));
        }
        let mut sweep = Sweep::new(Slot::of(b"{tag}"));
        let scope = scope(10);
        assert!(!member.view(SlotSet::One(sweep.slot()), &scope).sweep(&mut sweep, 100).finished);
        for number in 0..1000 {
            set(&mut member, 0, &format!("{{tag}}new{number}"), Some(2000));
        }
        assert_eq!(sweep_all(&mut member, &mut sweep, 10, 100), 0);
        assert_eq!(space.next_due(0, UnixMs(2000)), Some(sweep.slot()));
    }

    #[test]
    fn a_slot_without_expiries_is_not_due_after_its_sweep() {
        let space = Arc::new(Keyspace::new(1));
        let mut member = space.join();
        member.enter();
        set(&mut member, 0, "k", Some(10));
        set(&mut member, 0, "k", None);
        assert_eq!(sweep_all(&mut member, &mut Sweep::new(Slot::of(b"k")), 20, 100), 0);
        assert_eq!(space.next_due(0, UnixMs(i64::MAX - 1)), None);
        assert_eq!(space.len(Db(0)), 1);
    }
}

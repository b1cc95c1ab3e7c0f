//! The keys of one slot: what moving a slot to another node asks for.

use quorate_values::dict::{hash_bytes, position};

use super::KeyView;
use crate::entry::Record;
use crate::slot::Slot;
use crate::space::{Db, SlotSet};

/// Where [`KeyView::scan_slot`] meets a key.
pub fn place_in_walk(key: &[u8]) -> u64 {
    position(hash_bytes(key))
}

/// Keys that are looked at in one go.
const BITE: usize = 1024;

impl KeyView<'_> {
    /// How many keys a slot holds, those included whose time has come.
    pub fn count_in(&mut self, db: Db, slot: Slot) -> usize {
        let space = self.space;
        self.held.visit(space, slot, || {
            // SAFETY: the slot is held for the time of the visit.
            unsafe { space.data(slot) }.table(db).map_or(0, |table| table.len())
        })
    }

    /// Walks about `budget` entries of a slot that the view covers, from `cursor` on, those included whose time has come; where
    /// to go on, or 0 at the end. An entry is met before a cursor if and only if [`place_in_walk`] of its key is less: also if
    /// it is made or removed between two calls.
    ///
    /// # Panics
    /// If the view doesn't cover the slot.
    pub fn scan_slot(&self, db: Db, slot: Slot, cursor: u64, budget: usize, each: impl FnMut(&Record)) -> u64 {
        assert!(self.covers(&SlotSet::One(slot)), "a walk through a slot holds it");
        // SAFETY: the view holds the slot's lock, or is alone.
        unsafe { self.space.data(slot) }.table(db).map_or(0, |table| table.scan(cursor, budget, each))
    }

    /// Up to `most` keys of a slot, those included whose time has come.
    pub fn keys_in(&mut self, db: Db, slot: Slot, most: usize) -> Vec<Box<[u8]>> {
        let space = self.space;
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        self.held.visit(space, slot, || {
            // SAFETY: the slot is held for the time of the visit.
            let Some(table) = unsafe { space.data(slot) }.table(db) else { return };
            let mut cursor = 0;
            while keys.len() < most {
                cursor = table.scan(cursor, BITE, |entry| keys.push(entry.key().into()));
                if cursor == 0 {
                    break;
                }
            }
        });
        keys.truncate(most);
        keys
    }
}

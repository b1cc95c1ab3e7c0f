//! The keys of one slot: what moving a slot to another node asks for.

use super::KeyView;
use crate::slot::Slot;
use crate::space::Db;

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

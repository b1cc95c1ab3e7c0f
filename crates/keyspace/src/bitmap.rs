//! One bit a slot, so that a walk over a sparse keyspace skips what is empty.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::slot::{SLOTS, Slot};

/// Bits that are set and cleared under their slot's lock and read without it.
pub(crate) struct Bitmap(Box<[AtomicU64]>);

impl Bitmap {
    pub(crate) fn new() -> Bitmap {
        Bitmap((0..SLOTS / 64).map(|_| AtomicU64::new(0)).collect())
    }

    #[cold]
    pub(crate) fn set(&self, slot: Slot, value: bool) {
        let (word, bit) = (&self.0[slot.index() / 64], 1 << (slot.index() % 64));
        if value {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// The first set slot at or behind `from`.
    pub(crate) fn next(&self, from: usize) -> Option<Slot> {
        let mut index = from / 64;
        let mut mask = !0 << (from % 64);
        while index < self.0.len() {
            let word = self.0[index].load(Ordering::Relaxed) & mask;
            if word != 0 {
                return Slot::new(index * 64 + word.trailing_zeros() as usize);
            }
            mask = !0;
            index += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_slot_is_found_across_words() {
        let bitmap = Bitmap::new();
        for number in [0, 63, 64, 5000, SLOTS - 1] {
            bitmap.set(Slot::new(number).unwrap(), true);
        }
        bitmap.set(Slot::new(64).unwrap(), false);
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(slot) = bitmap.next(from) {
            found.push(slot.index());
            from = slot.index() + 1;
        }
        assert_eq!(found, [0, 63, 5000, SLOTS - 1]);
        assert!(bitmap.next(SLOTS).is_none());
    }
}

//! Sets of hash slots: a bit for each of the 16384, as the bus carries them.

use std::sync::Arc;

/// How many hash slots there are.
pub const SLOTS: u16 = 16384;

/// Bytes of a set on the wire.
pub(crate) const BYTES: usize = SLOTS as usize / 8;

const WORDS: usize = SLOTS as usize / 64;

/// A set of hash slots. Clones share their bits until one of them changes.
#[derive(Clone, PartialEq, Eq)]
pub struct Slots {
    bits: Arc<[u64; WORDS]>,
    count: u16,
}

impl Slots {
    /// No slot.
    pub fn none() -> Slots {
        Slots { bits: Arc::new([0; WORDS]), count: 0 }
    }

    /// Every slot.
    pub fn all() -> Slots {
        Slots { bits: Arc::new([u64::MAX; WORDS]), count: SLOTS }
    }

    /// From the bits of a packet: slot n is bit n % 8, counted from the lowest, of byte n / 8.
    pub fn from_bytes(bytes: &[u8; BYTES]) -> Slots {
        let mut bits = [0; WORDS];
        for (word, chunk) in bits.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        let count = bits.iter().map(|word| word.count_ones() as u16).sum();
        Slots { bits: Arc::new(bits), count }
    }

    /// The bits of a packet.
    pub fn to_bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(*self.bits) {
            *chunk = word.to_le_bytes();
        }
        bytes
    }

    /// Whether `slot` is in it.
    pub fn has(&self, slot: u16) -> bool {
        self.bits[usize::from(slot / 64)] & (1 << (slot % 64)) != 0
    }

    /// Puts `slot` in; whether it was not there.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn insert(&mut self, slot: u16) -> bool {
        assert!(slot < SLOTS, "a slot's number is checked where it is read");
        let is_new = !self.has(slot);
        if is_new {
            Arc::make_mut(&mut self.bits)[usize::from(slot / 64)] |= 1 << (slot % 64);
            self.count += 1;
        }
        is_new
    }

    /// Takes `slot` out; whether it was there.
    pub fn remove(&mut self, slot: u16) -> bool {
        let was_there = self.has(slot);
        if was_there {
            Arc::make_mut(&mut self.bits)[usize::from(slot / 64)] &= !(1 << (slot % 64));
            self.count -= 1;
        }
        was_there
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.bits.iter().zip((0..SLOTS).step_by(64)).flat_map(|(&word, start)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as u16;
                rest &= rest.wrapping_sub(1);
                (bit < 64).then_some(start + bit)
            })
        })
    }

    /// Runs of neighbours, first and last, in ascending order.
    pub fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for slot in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }
}

impl FromIterator<u16> for Slots {
    fn from_iter<T: IntoIterator<Item = u16>>(slots: T) -> Slots {
        let mut set = Slots::none();
        for slot in slots {
            set.insert(slot);
        }
        set
    }
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |&(first, last): &(u16, u16)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        write!(f, "{{{}}}", self.ranges().iter().map(show).collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_not_taken_out() {
        let mut slots: Slots = [0, 5, 6, 7, 63, 64, 16383].into_iter().collect();
        let before = slots.clone();
        assert!(slots.remove(6) && !slots.remove(6) && slots.insert(100) && !slots.insert(100));
        assert_eq!(slots.iter().collect::<Vec<_>>(), [0, 5, 7, 63, 64, 100, 16383]);
        assert_eq!(slots.ranges(), [(0, 0), (5, 5), (7, 7), (63, 64), (100, 100), (16383, 16383)]);
        assert_eq!((slots.len(), before.len()), (7, 7));
        assert!(before.has(6));
    }

    #[test]
    fn the_bits_of_a_packet_are_those_of_the_set() {
        let slots: Slots = [0, 9, 16383].into_iter().collect();
        let bytes = slots.to_bytes();
        assert_eq!((bytes[0], bytes[1], bytes[2047]), (1, 2, 128));
        assert_eq!(Slots::from_bytes(&bytes), slots);
        assert_eq!(Slots::all().to_bytes(), [255; BYTES]);
        assert_eq!(Slots::all().len(), Slots::from_bytes(&[255; BYTES]).len());
    }
}

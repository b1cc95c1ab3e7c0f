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
        Slots::of_bits(bits)
    }

    fn of_bits(bits: [u64; WORDS]) -> Slots {
        let count = bits.iter().map(|word| word.count_ones() as u16).sum();
        Slots { bits: Arc::new(bits), count }
    }

    /// All from the first to the last.
    ///
    /// # Panics
    /// If there is no such slot as the last.
    pub fn of_range(first: u16, last: u16) -> Slots {
        (first..=last).collect()
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

    /// Those that are in both.
    pub fn common(&self, other: &Slots) -> Slots {
        self.combined(other, |own, other| own & other)
    }

    /// Those that are in this one and not in the other.
    pub fn without(&self, other: &Slots) -> Slots {
        self.combined(other, |own, other| own & !other)
    }

    /// Those that are in either.
    pub fn and(&self, other: &Slots) -> Slots {
        self.combined(other, |own, other| own | other)
    }

    fn combined(&self, other: &Slots, combine: impl Fn(u64, u64) -> u64) -> Slots {
        let mut bits = [0; WORDS];
        for ((word, own), other) in bits.iter_mut().zip(*self.bits).zip(*other.bits) {
            *word = combine(own, other);
        }
        Slots::of_bits(bits)
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
        // Most nodes of a large cluster have few, and replicas none.
        let mut left = self.count;
        for (&word, start) in self.bits.iter().zip((0..SLOTS).step_by(64)) {
            if left == 0 {
                break;
            }
            left -= word.count_ones() as u16;
            let mut rest = word;
            while rest != 0 {
                let first = rest.trailing_zeros() as u16;
                let length = (rest >> first).trailing_ones() as u16;
                let last = first + length - 1;
                rest = if last == 63 { 0 } else { rest & (u64::MAX << (last + 1)) };
                let (first, last) = (start + first, start + last);
                match ranges.last_mut() {
                    Some((_, end)) if *end + 1 == first => *end = last,
                    _ => ranges.push((first, last)),
                }
            }
        }
        ranges
    }

    /// `0-5`, `7` and so on, with `between` between them; nothing for no slot.
    pub fn to_words(&self, between: &str) -> String {
        let word = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
        self.ranges().into_iter().map(word).collect::<Vec<_>>().join(between)
    }
}

impl FromIterator<u16> for Slots {
    fn from_iter<T: IntoIterator<Item = u16>>(slots: T) -> Slots {
        let mut bits = [0_u64; WORDS];
        for slot in slots {
            assert!(slot < SLOTS, "a slot's number is checked where it is read");
            bits[usize::from(slot / 64)] |= 1 << (slot % 64);
        }
        Slots::of_bits(bits)
    }
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{{}}}", self.to_words(" "))
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
    fn sets_are_combined_slot_by_slot() {
        let (one, other): (Slots, Slots) = ([1, 2, 64, 16383].into_iter().collect(), [2, 64, 65].into_iter().collect());
        assert_eq!(one.common(&other), [2, 64].into_iter().collect());
        assert_eq!(one.without(&other), [1, 16383].into_iter().collect());
        assert_eq!(one.and(&other), [1, 2, 64, 65, 16383].into_iter().collect());
        assert_eq!((one.without(&one).len(), one.and(&Slots::all()).len()), (0, 16384));
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

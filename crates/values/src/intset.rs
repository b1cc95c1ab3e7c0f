//! A sorted set of integers in one allocation, in the byte format of Redis' intset: `u32` width (2, 4 or
//! 8 bytes), `u32` count, then the integers in ascending order, all little endian.

use crate::dict::prefetch;
use crate::listpack::Corrupt;

const HEADER: usize = 8;

/// See the module's text.
#[derive(Clone, PartialEq, Eq)]
pub struct Intset {
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Intset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Default for Intset {
    fn default() -> Intset {
        Intset::new()
    }
}

/// The width that a number needs.
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

impl Intset {
    /// Lets the cache fetch the first integers.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(self.bytes.as_ptr());
    }

    /// The empty set.
    pub fn new() -> Intset {
        Intset { bytes: vec![2, 0, 0, 0, 0, 0, 0, 0] }
    }

    /// Takes bytes from outside, after a look at each number.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Intset, Corrupt> {
        if bytes.len() < HEADER {
            return Err(Corrupt { at: 0 });
        }
        let set = Intset { bytes };
        if !matches!(set.width(), 2 | 4 | 8) {
            return Err(Corrupt { at: 0 });
        }
        if set.len().checked_mul(set.width()).and_then(|len| len.checked_add(HEADER)) != Some(set.bytes.len()) {
            return Err(Corrupt { at: 4 });
        }
        match (1..set.len()).find(|&index| set.at(index - 1) >= set.at(index)) {
            Some(index) => Err(Corrupt { at: HEADER + index * set.width() }),
            None => Ok(set),
        }
    }

    /// The bytes, as Redis lays them out.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(*self.bytes[at..].first_chunk().expect("the header is there"))
    }

    fn width(&self) -> usize {
        self.word(0) as usize
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.word(4) as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn at(&self, index: usize) -> i64 {
        let rest = &self.bytes[HEADER + index * self.width()..];
        match self.width() {
            2 => i64::from(i16::from_le_bytes(*rest.first_chunk().expect("within the count"))),
            4 => i64::from(i32::from_le_bytes(*rest.first_chunk().expect("within the count"))),
            _ => i64::from_le_bytes(*rest.first_chunk().expect("within the count")),
        }
    }

    /// The number of that rank.
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }

    fn search(&self, value: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle).cmp(&value) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Whether `value` is in it.
    pub fn contains(&self, value: i64) -> bool {
        self.search(value).is_ok()
    }

    /// Adds `value`; false if it was there.
    pub fn insert(&mut self, value: i64) -> bool {
        let Err(index) = self.search(value) else { return false };
        if width_of(value) > self.width() {
            self.widen(width_of(value));
        }
        let width = self.width();
        let at = HEADER + index * width;
        self.bytes.splice(at..at, value.to_le_bytes()[..width].iter().copied());
        self.set_len(self.len() + 1);
        true
    }

    /// Removes `value`; false if it was not there. The width stays.
    pub fn remove(&mut self, value: i64) -> bool {
        let Ok(index) = self.search(value) else { return false };
        let at = HEADER + index * self.width();
        self.bytes.drain(at..at + self.width());
        self.set_len(self.len() - 1);
        true
    }

    fn set_len(&mut self, len: usize) {
        let len = u32::try_from(len).expect("set-max-intset-entries is far below");
        self.bytes[4..8].copy_from_slice(&len.to_le_bytes());
    }

    fn widen(&mut self, width: usize) {
        let mut bytes = Vec::with_capacity(HEADER + (self.len() + 1) * width);
        bytes.extend_from_slice(&(width as u32).to_le_bytes());
        bytes.extend_from_slice(&self.bytes[4..8]);
        for value in self.iter() {
            bytes.extend_from_slice(&value.to_le_bytes()[..width]);
        }
        self.bytes = bytes;
    }

    /// The numbers in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = i64> + '_ {
        (0..self.len()).map(|index| self.at(index))
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_behaves_like_a_sorted_set(
            steps in prop::collection::vec(
                (any::<bool>(), prop_oneof![-50i64..50, any::<i64>(), any::<i32>().prop_map(i64::from)]),
                0..200,
            )
        ) {
            let (mut set, mut model) = (Intset::new(), BTreeSet::new());
            for (insert, value) in steps {
                if insert {
                    prop_assert_eq!(set.insert(value), model.insert(value));
                } else {
                    prop_assert_eq!(set.remove(value), model.remove(&value));
                }
                prop_assert_eq!(set.contains(value), model.contains(&value));
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert_eq!(Intset::from_bytes(set.as_bytes().to_vec()), Ok(set));
        }

        #[test]
        fn no_bytes_from_outside_make_it_panic(bytes in prop::collection::vec(0u8..9, 0..40)) {
            if let Ok(set) = Intset::from_bytes(bytes) {
                prop_assert_eq!(set.iter().count(), set.len());
            }
        }
    }
}

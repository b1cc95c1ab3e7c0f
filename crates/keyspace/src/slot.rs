//! Hash slots: which of the 16384 a key belongs to.

use crc::{CRC_16_XMODEM, Crc, Table};
use memchr::memchr;

/// How many hash slots there are; fixed by the cluster protocol.
pub const SLOTS: usize = 16384;

const CRC16: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);

/// A hash slot, below [`SLOTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of that number; `None` if there is none.
    pub fn new(number: usize) -> Option<Slot> {
        (number < SLOTS).then_some(Slot(number as u16))
    }

    /// The slot of `key`: CRC16 of its hash tag, or of the whole key if it has none
    /// (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>).
    #[inline]
    pub fn of(key: &[u8]) -> Slot {
        Slot(CRC16.checksum(hash_tag(key)) & (SLOTS as u16 - 1))
    }

    /// Its number.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// All slots in ascending order.
    pub fn all() -> impl Iterator<Item = Slot> {
        (0..SLOTS as u16).map(Slot)
    }
}

/// The part of `key` that decides its slot: what stands between the first `{` and the next `}`, if
/// anything does.
#[inline]
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr(b'{', key) else { return key };
    let inner = &key[open + 1..];
    match memchr(b'}', inner) {
        None | Some(0) => key,
        Some(close) => &inner[..close],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(key: &str) -> usize {
        Slot::of(key.as_bytes()).index()
    }

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(slot("123456789"), 0x31C3);
        assert_eq!(slot("foo"), 12182);
        assert_eq!(slot(""), 0);
    }

    #[test]
    fn a_hash_tag_decides_alone_unless_it_is_empty() {
        assert_eq!(slot("{user1000}.following"), slot("{user1000}.followers"));
        assert_eq!(slot("x{user1000}y{z}"), slot("user1000"));
        assert_ne!(slot("foo{}{bar}"), slot("bar"));
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        assert_ne!(slot("foo{bar"), slot("bar"));
    }
}

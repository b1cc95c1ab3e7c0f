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
        let checksum = match carryless::checksum_without_tag(key) {
            Some(checksum) => checksum,
            None => CRC16.checksum(hash_tag(key)),
        };
        Slot(checksum & (SLOTS as u16 - 1))
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

/// CRC16 by the processor's multiplication of polynomials: every request of a key needs it, and this takes a third of
/// the instructions that tables take.
///
/// The checksum of a message is the rest of its polynomial, times x^16, divided by P = x^16 + x^12 + x^5 + 1. Eight bytes at
/// a time are divided after Barrett: with mu = x^80 / P, rounded down, the quotient of B * x^16 is B * mu / x^64, rounded
/// down, and the rest is what the quotient times P leaves in the lowest 16 bits.
#[cfg(target_arch = "x86_64")]
mod carryless {
    use std::arch::x86_64::{
        _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_srli_si128,
    };

    /// P without its highest term.
    const P: u64 = 0x1021;
    /// mu without its highest term, x^64.
    const MU: u64 = quotient_of_x80();

    const fn quotient_of_x80() -> u64 {
        let (mut rest, mut quotient, mut at) = (1u128 << 80, 0u128, 80);
        while at >= 16 {
            if rest >> at & 1 == 1 {
                rest ^= (1 << 16 | P as u128) << (at - 16);
                quotient |= 1 << (at - 16);
            }
            at -= 1;
        }
        quotient as u64
    }

    /// The checksum of `key` if that decides its slot as a whole; `None` if it may have a hash tag, or the processor can't.
    #[inline]
    pub(super) fn checksum_without_tag(key: &[u8]) -> Option<u16> {
        // SAFETY: the processor has been asked.
        if std::is_x86_feature_detected!("pclmulqdq") { unsafe { checksum(key) } } else { None }
    }

    #[target_feature(enable = "pclmulqdq")]
    fn checksum(key: &[u8]) -> Option<u16> {
        // Zeros in front of a message change nothing, so what is left over by pieces of eight bytes comes first.
        let (over, pieces) = key.split_at(key.len() % 8);
        let (mut may_have_tag, mut rest) = (false, 0);
        if !over.is_empty() {
            let first = match key.first_chunk::<8>() {
                Some(first) => u64::from_be_bytes(*first) >> (64 - 8 * over.len()),
                None => over.iter().fold(0, |first, &byte| first << 8 | u64::from(byte)),
            };
            may_have_tag = has_brace(first);
            rest = reduced(first);
        }
        for piece in pieces.as_chunks::<8>().0 {
            let piece = u64::from_be_bytes(*piece);
            may_have_tag |= has_brace(piece);
            rest = reduced(piece ^ rest << 48);
        }
        (!may_have_tag).then_some(rest as u16)
    }

    /// The rest of B * x^16 divided by P.
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn reduced(b: u64) -> u64 {
        let constants = _mm_set_epi64x(P as i64, MU as i64);
        let product = _mm_clmulepi64_si128::<0x00>(_mm_cvtsi64_si128(b as i64), constants);
        let quotient = _mm_cvtsi128_si64(_mm_srli_si128::<8>(product)) as u64 ^ b;
        let product = _mm_clmulepi64_si128::<0x10>(_mm_cvtsi64_si128(quotient as i64), constants);
        _mm_cvtsi128_si64(product) as u64 & 0xffff
    }

    /// Whether one of the eight bytes is an opening brace.
    #[inline]
    fn has_brace(word: u64) -> bool {
        const EACH: u64 = u64::from_ne_bytes([1; 8]);
        let apart = word ^ (EACH * b'{' as u64);
        apart.wrapping_sub(EACH) & !apart & (EACH << 7) != 0
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod carryless {
    pub(super) fn checksum_without_tag(_: &[u8]) -> Option<u16> {
        None
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

    #[test]
    fn however_long_a_key_is_its_slot_is_what_tables_say() {
        let mut rng = quorate_stdx::Rng::new(5);
        for length in 0..200 {
            let key: Vec<u8> = (0..length).map(|_| rng.below(256) as u8).collect();
            assert_eq!(Slot::of(&key).0, CRC16.checksum(hash_tag(&key)) & 0x3fff, "{key:?}");
            for brace in 0..length {
                let mut key = vec![b'x'; length];
                key[brace] = b'{';
                key[length - 1] = b'}';
                assert_eq!(Slot::of(&key).0, CRC16.checksum(hash_tag(&key)) & 0x3fff, "{key:?}");
            }
        }
    }
}

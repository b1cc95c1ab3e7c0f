//! The CRC that ends an RDB file and a DUMP payload: CRC-64 with Jones' polynomial, as Redis uses it.
//!
//! The arithmetic is `crc-fast`'s; this file only fixes the variant and lets a checksum run over
//! bytes that arrive in pieces. Larger pieces are much cheaper per byte than small ones.

use crc_fast::CrcAlgorithm::Crc64Redis;

/// A checksum that runs over the bytes of a file as they come or go.
///
/// It starts at 0, which is also the checksum of no bytes at all.
#[derive(Clone)]
pub struct Digest {
    state: crc_fast::Digest,
}

impl Digest {
    /// The checksum of nothing yet.
    pub fn new() -> Digest {
        Digest { state: crc_fast::Digest::new(Crc64Redis) }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
    }

    /// The checksum of everything taken in so far; more may follow.
    pub fn value(&self) -> u64 {
        self.state.finalize()
    }
}

impl Default for Digest {
    fn default() -> Digest {
        Digest::new()
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({:#018x})", self.value())
    }
}

/// The checksum of `bytes`.
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(Crc64Redis, bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_check_value_of_the_variant_is_met() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(b""), 0);
    }

    /// The polynomial's definition, a bit at a time.
    fn bitwise(bytes: &[u8]) -> u64 {
        let mut crc = 0u64;
        for byte in bytes {
            crc ^= u64::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0x95ac_9329_ac4b_c9b5 } else { crc >> 1 };
            }
        }
        crc
    }

    proptest! {
        #[test]
        fn pieces_sum_up_to_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in any::<prop::sample::Index>()) {
            let cut = cut.index(bytes.len() + 1);
            let mut digest = Digest::new();
            digest.update(&bytes[..cut]);
            digest.update(&bytes[cut..]);
            prop_assert_eq!(digest.value(), bitwise(&bytes));
            prop_assert_eq!(crc64(&bytes), bitwise(&bytes));
        }
    }
}

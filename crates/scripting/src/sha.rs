//! The name of a script: the SHA-1 of its source.

use std::fmt;

use sha1::{Digest, Sha1};

/// A script's name, shown as 40 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScriptId([u8; 20]);

impl ScriptId {
    /// The name of `source`.
    pub fn of(source: &[u8]) -> ScriptId {
        ScriptId(Sha1::digest(source).into())
    }

    /// Reads 40 hex digits of either case; `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<ScriptId> {
        let (pairs, []) = text.as_chunks::<2>() else { return None };
        let pairs: &[[u8; 2]; 20] = pairs.try_into().ok()?;
        let mut id = [0; 20];
        for (byte, &[high, low]) in id.iter_mut().zip(pairs) {
            *byte = (digit(high)? << 4) | digit(low)?;
        }
        Some(ScriptId(id))
    }

    /// The 40 lower-case hex digits.
    pub fn hex(&self) -> [u8; 40] {
        let mut text = [0; 40];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [b"0123456789abcdef"[usize::from(byte >> 4)], b"0123456789abcdef"[usize::from(byte & 15)]];
        }
        text
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

impl fmt::Display for ScriptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.hex()).expect("hex digits are ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_in_either_case() {
        let id = ScriptId::of(b"return redis.call('get',KEYS[1])");
        assert_eq!(id.to_string(), "fd758d1589d044dd850a6f05d52f2eefd27f033f");
        assert_eq!(ScriptId::parse(id.to_string().to_uppercase().as_bytes()), Some(id));
        assert_eq!(ScriptId::parse(b"fd758d1589d044dd850a6f05d52f2eefd27f033"), None);
        assert_eq!(ScriptId::parse(b"fd758d1589d044dd850a6f05d52f2eefd27f033g"), None);
        assert_eq!(ScriptId::parse(b""), None);
    }
}

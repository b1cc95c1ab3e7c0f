//! The name of an entry: when it came, and its number among those of the same millisecond.

use std::fmt;

use crate::parse_u64;

/// An entry's id. Ids of a stream only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId {
    /// Milliseconds since 1970, as far as nobody has chosen them otherwise.
    pub ms: u64,
    /// The number within the millisecond.
    pub seq: u64,
}

impl StreamId {
    /// Before every entry; no entry has it.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The last one that there can be.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// The one behind it, if there is one.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| StreamId { ms, seq: 0 }),
        }
    }

    /// The one before it, if there is one.
    pub fn previous(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| StreamId { ms, seq: u64::MAX }),
        }
    }

    /// Reads `ms-seq`, or `ms` alone, which is completed by `seq`.
    pub fn parse(text: &[u8], seq: u64) -> Option<StreamId> {
        match text.iter().position(|&byte| byte == b'-') {
            None => Some(StreamId { ms: parse_u64(text)?, seq }),
            Some(dash) => Some(StreamId { ms: parse_u64(&text[..dash])?, seq: parse_u64(&text[dash + 1..])? }),
        }
    }

    /// As files have it: both parts in big-endian order.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The id that files have as these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId { ms: (both >> 64) as u64, seq: both as u64 }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_neighbours_and_forms() {
        let id = StreamId { ms: 5, seq: u64::MAX };
        assert_eq!(id.next(), Some(StreamId { ms: 6, seq: 0 }));
        assert_eq!(StreamId { ms: 6, seq: 0 }.previous(), Some(id));
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.previous()), (None, None));
        assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
        assert_eq!(StreamId::parse(id.to_string().as_bytes(), 0), Some(id));
        assert_eq!(StreamId::parse(b"7", 3), Some(StreamId { ms: 7, seq: 3 }));
        for text in ["", "-", "1-", "-1", "x", "1-x", "1-2-3", "18446744073709551616-0"] {
            assert_eq!(StreamId::parse(text.as_bytes(), 0), None, "{text}");
        }
    }
}

//! Commands on the bits of strings, the first being the highest of the first byte.

pub(crate) mod bit;
pub(crate) mod field;
pub(crate) mod operate;
pub(crate) mod search;

use crate::{Args, CommandError, Spec};

const BITMAP: Spec = Spec { group: crate::Group::Bitmap, ..Spec::BLANK };

/// A part of a string as BITCOUNT and BITPOS are given it: both ends included, negative indices from the end.
#[derive(Debug, Clone, Copy)]
struct Range {
    start: i64,
    end: i64,
    /// Whether the indices are those of bits; of bytes otherwise.
    of_bits: bool,
}

impl Range {
    /// Reads `[start [end [BYTE | BIT]]]` from `at` on; what is missing reaches to the string's ends.
    fn parse(args: Args<'_>, at: usize) -> Result<Range, CommandError> {
        let mut range = Range { start: 0, end: -1, of_bits: false };
        if args.len() > at {
            range.start = args.int(at)?;
        }
        if args.len() > at + 1 {
            range.end = args.int(at + 1)?;
        }
        match args.len() - at.min(args.len()) {
            0..=2 => Ok(range),
            3 if args.is(at + 2, "BIT") => Ok(Range { of_bits: true, ..range }),
            3 if args.is(at + 2, "BYTE") => Ok(range),
            _ => Err(CommandError::Syntax),
        }
    }

    /// The bits that it means in a string of `len` bytes: the first one, and the one behind the last. `None` if there
    /// are none.
    fn bits(self, len: usize) -> Option<(usize, usize)> {
        let total = if self.of_bits { len * 8 } else { len } as i64;
        if self.start < 0 && self.end < 0 && self.start > self.end {
            return None;
        }
        let from_front = |index: i64| if index < 0 { index.saturating_add(total).max(0) } else { index };
        let (start, end) = (from_front(self.start), from_front(self.end).min(total - 1));
        if start > end {
            return None;
        }
        let unit = if self.of_bits { 1 } else { 8 };
        Some((start as usize * unit, (end as usize + 1) * unit))
    }
}

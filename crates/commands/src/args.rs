//! A command's arguments, its name at index 0.

use quorate_stdx::UnixMs;
use quorate_values::{parse_double, parse_i64};

use crate::CommandError;

/// Borrowed arguments; see [`std::ops::Deref`] to the slice for the plain accesses.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a>(&'a [&'a [u8]]);

impl<'a> Args<'a> {
    /// The arguments of one request; there is at least the name.
    pub fn new(words: &'a [&'a [u8]]) -> Args<'a> {
        assert!(!words.is_empty(), "an empty request is skipped before it gets here");
        Args(words)
    }

    /// All of them.
    pub fn words(self) -> &'a [&'a [u8]] {
        self.0
    }

    /// The argument at `index`; the arity check makes sure that declared ones are there.
    #[inline]
    pub fn at(self, index: usize) -> &'a [u8] {
        self.0[index]
    }

    /// The argument at `index`, if there is one.
    pub fn get(self, index: usize) -> Option<&'a [u8]> {
        self.0.get(index).copied()
    }

    /// How many there are, the name included.
    #[inline]
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Never: the name is always there.
    pub fn is_empty(self) -> bool {
        false
    }

    /// Those from `index` on.
    pub fn from(self, index: usize) -> &'a [&'a [u8]] {
        self.0.get(index..).unwrap_or(&[])
    }

    /// Whether the argument at `index` is `word`, in any case.
    #[inline]
    pub fn is(self, index: usize, word: &str) -> bool {
        self.0.get(index).is_some_and(|argument| argument.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The argument at `index` as a 64-bit integer.
    pub fn int(self, index: usize) -> Result<i64, CommandError> {
        self.get(index).and_then(parse_i64).ok_or(CommandError::NotInteger)
    }

    /// The argument at `index` as an integer within bounds; outside of them it is `error`.
    pub fn int_within(self, index: usize, low: i64, high: i64, error: CommandError) -> Result<i64, CommandError> {
        let value = self.int(index)?;
        if (low..=high).contains(&value) { Ok(value) } else { Err(error) }
    }

    /// The argument at `index` as a 32-bit integer.
    pub fn int32(self, index: usize) -> Result<i32, CommandError> {
        const BOUNDS: CommandError =
            CommandError::text("ERR value is out of range, value must between -2147483648 and 2147483647");
        i32::try_from(self.int(index)?).map_err(|_| BOUNDS)
    }

    /// The argument at `index` as a double.
    pub fn double(self, index: usize) -> Result<f64, CommandError> {
        self.get(index).and_then(parse_double).ok_or(CommandError::NotFloat)
    }

    /// The argument at `index` as a timeout in seconds from `now` on; `None` is forever.
    pub fn deadline(self, index: usize, now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
        let seconds = self.get(index).and_then(parse_double).ok_or(CommandError::TimeoutNotFloat)?;
        let wait = (seconds * 1000.0).ceil();
        // The largest double below 2^63.
        if wait > 9_223_372_036_854_774_784.0 {
            return Err(CommandError::TimeoutOutOfRange);
        }
        match wait as i64 {
            ..0 => Err(CommandError::TimeoutNegative),
            0 => Ok(None),
            wait => now.0.checked_add(wait).map(|at| Some(UnixMs(at))).ok_or(CommandError::TimeoutOutOfRange),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_rounded_up_and_has_bounds() {
        let deadline = |text: &str| Args::new(&[text.as_bytes()]).deadline(0, UnixMs(10)).map(|at| at.map(|at| at.0));
        assert_eq!(deadline("0"), Ok(None));
        assert_eq!(deadline("-0.0"), Ok(None));
        assert_eq!(deadline("1.5"), Ok(Some(1510)));
        assert_eq!(deadline("0.0001"), Ok(Some(11)));
        assert_eq!(deadline("-1"), Err(CommandError::TimeoutNegative));
        assert_eq!(deadline("-inf"), Err(CommandError::TimeoutNegative));
        assert_eq!(deadline("x"), Err(CommandError::TimeoutNotFloat));
        assert_eq!(deadline("0x7FFFFFFFFFFFFF"), Err(CommandError::TimeoutOutOfRange));
        assert_eq!(deadline("inf"), Err(CommandError::TimeoutOutOfRange));
        assert_eq!(deadline("9223372036854775"), Err(CommandError::TimeoutOutOfRange));
    }
}

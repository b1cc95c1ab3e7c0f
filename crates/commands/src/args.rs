//! A command's arguments, its name at index 0.

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

    /// The argument at `index` as a double.
    pub fn double(self, index: usize) -> Result<f64, CommandError> {
        self.get(index).and_then(parse_double).ok_or(CommandError::NotFloat)
    }
}

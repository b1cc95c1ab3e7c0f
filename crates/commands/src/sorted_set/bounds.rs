//! What clients write for the ends of a range.

use std::ops::Range;

use quorate_values::{LexBound, LexRange, ScoreBound, ScoreRange, parse_double_bound};

use crate::CommandError;

/// Reads a range of scores: `(1` excludes, everything that is a double includes.
pub(super) fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, CommandError> {
    let bound = |text: &[u8]| match text {
        [b'(', rest @ ..] => parse_double_bound(rest).map(ScoreBound::Excluded),
        _ => parse_double_bound(text).map(ScoreBound::Included),
    };
    let range = bound(min).zip(bound(max));
    range.map(|(min, max)| ScoreRange { min, max }).ok_or(CommandError::MinMaxNotFloat)
}

/// Reads a range of members: `[a` includes, `(a` excludes, `-` and `+` are the ends of everything.
pub(super) fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, CommandError> {
    fn bound(text: &[u8]) -> Option<LexBound<'_>> {
        match text {
            b"-" => Some(LexBound::First),
            b"+" => Some(LexBound::Last),
            [b'[', member @ ..] => Some(LexBound::Included(member)),
            [b'(', member @ ..] => Some(LexBound::Excluded(member)),
            _ => None,
        }
    }
    let range = bound(min).zip(bound(max));
    range.map(|(min, max)| LexRange { min, max }).ok_or(CommandError::MinMaxNotString)
}

/// The ranks from `start` to `end` of `len`, both included, negative ones counted from the end; an empty range
/// if there are none.
pub(super) fn index_range(start: i64, end: i64, len: usize) -> Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let absolute = |index: i64| if index < 0 { index + len } else { index };
    let start = absolute(start).max(0);
    let end = absolute(end).min(len - 1);
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_those_of_redis() {
        for (start, end, expected) in [
            (0, -1, 0..5),
            (1, 3, 1..4),
            (-2, -1, 3..5),
            (-100, 1, 0..2),
            (3, 100, 3..5),
            (3, 2, 0..0),
            (5, 9, 0..0),
            (0, -6, 0..0),
            (i64::MIN, i64::MAX, 0..5),
            (i64::MAX, i64::MIN, 0..0),
        ] {
            assert_eq!(index_range(start, end, 5), expected, "{start} {end}");
        }
        assert_eq!(index_range(0, -1, 0), 0..0);
    }

    #[test]
    fn bounds_are_read_or_refused() {
        assert_eq!(score_range(b"(1", b"+inf").map(|range| range.min), Ok(ScoreBound::Excluded(1.0)));
        for text in ["((1", "x", "nan", "(nan", "1 "] {
            assert_eq!(score_range(text.as_bytes(), b"0"), Err(CommandError::MinMaxNotFloat), "{text}");
            assert_eq!(score_range(b"0", text.as_bytes()), Err(CommandError::MinMaxNotFloat), "{text}");
        }
        assert_eq!(lex_range(b"[", b"(+").map(|range| range.max), Ok(LexBound::Excluded(b"+")));
        for text in ["", "a", "+x", "-x"] {
            assert_eq!(lex_range(text.as_bytes(), b"+"), Err(CommandError::MinMaxNotString), "{text}");
        }
    }
}

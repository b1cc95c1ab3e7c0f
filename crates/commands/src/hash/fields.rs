//! FIELDS numfields field [field ...]: how the commands of Redis 7.4 and later name fields of a hash.

use crate::{Args, CommandError};

/// What is said of a number of fields that is none, or not positive: each command has its own words.
pub(super) type Wording = &'static str;

/// The words behind `FIELDS numfields`, which stands at `at`: as many groups of `each` words as it says, and nothing else.
pub(super) fn parse<'a>(
    args: Args<'a>,
    at: usize,
    each: usize,
    wording: Wording,
) -> Result<&'a [&'a [u8]], CommandError> {
    if !args.is(at, "FIELDS") {
        return Err(CommandError::text("ERR Mandatory argument FIELDS is missing or not at the right position"));
    }
    let count = args.get(at + 1).and_then(quorate_values::parse_i64).filter(|&count| count > 0);
    let Some(count) = count else { return Err(CommandError::text(wording)) };
    let words = if at + 2 <= args.len() { args.from(at + 2) } else { &[] };
    let fits = usize::try_from(count).ok().and_then(|count| count.checked_mul(each)) == Some(words.len());
    if !fits {
        return Err(CommandError::text("ERR The `numfields` parameter must match the number of arguments"));
    }
    Ok(words)
}

/// The words of a request about some fields of a hash: `head`, `FIELDS`, their number, and what is said of them.
pub(super) fn request<'a>(head: &[&'a [u8]], count: &'a str, words: &[&'a [u8]]) -> Vec<&'a [u8]> {
    [head, &[b"FIELDS", count.as_bytes()], words].concat()
}

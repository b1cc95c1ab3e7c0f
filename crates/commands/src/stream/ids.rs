//! Ids as requests write them.

use quorate_values::StreamId;

use crate::CommandError;

pub(super) const INVALID: CommandError =
    CommandError::text("ERR Invalid stream ID specified as stream command argument");

/// A part of an id: digits, more leniently than elsewhere also with a plus or zeros in front.
fn part(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() || digits.len() > 100 {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// `ms-seq`, or `ms` alone, which `seq` completes.
pub(super) fn complete(text: &[u8], seq: u64) -> Result<StreamId, CommandError> {
    let parts = match text.iter().position(|&byte| byte == b'-') {
        None => part(text).map(|ms| StreamId { ms, seq }),
        Some(dash) => part(&text[..dash]).zip(part(&text[dash + 1..])).map(|(ms, seq)| StreamId { ms, seq }),
    };
    parts.ok_or(INVALID)
}

/// The same with 0 for what is missing.
pub(super) fn strict(text: &[u8]) -> Result<StreamId, CommandError> {
    complete(text, 0)
}

/// Also `-` and `+` for the least and the greatest.
pub(super) fn bound(text: &[u8], seq: u64) -> Result<StreamId, CommandError> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        text => complete(text, seq),
    }
}

/// The first id of an interval; `(` in front leaves out the one that is named.
pub(super) fn start(text: &[u8]) -> Result<StreamId, CommandError> {
    match text.strip_prefix(b"(").filter(|rest| !rest.is_empty()) {
        None => bound(text, 0),
        // What is left out has to be named in full sense: - and + are no entries.
        Some(rest) => strict(rest)?.next().ok_or(CommandError::text("ERR invalid start ID for the interval")),
    }
}

/// The last id of an interval.
pub(super) fn end(text: &[u8]) -> Result<StreamId, CommandError> {
    match text.strip_prefix(b"(").filter(|rest| !rest.is_empty()) {
        None => bound(text, u64::MAX),
        Some(rest) => {
            complete(rest, u64::MAX)?.previous().ok_or(CommandError::text("ERR invalid end ID for the interval"))
        }
    }
}

/// The id that a new entry is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// `*`: as the time says.
    Any,
    /// `ms-*`: some in that millisecond.
    Within(u64),
    /// This one.
    This(StreamId),
}

/// The id of a new entry.
pub(super) fn wanted(text: &[u8]) -> Result<Wanted, CommandError> {
    match text {
        b"*" => Ok(Wanted::Any),
        text => match text.strip_suffix(b"-*") {
            Some(ms) => part(ms).map(Wanted::Within).ok_or(INVALID),
            None => strict(text).map(Wanted::This),
        },
    }
}

//! Points in time as commands are given them: seconds or milliseconds, from now or from 1970.

use quorate_stdx::UnixMs;
use quorate_values::parse_i64;

use crate::CommandError;

/// How a number is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
    /// Seconds since 1970.
    UnixSeconds,
    /// Milliseconds since 1970.
    UnixMilliseconds,
}

impl Unit {
    /// The unit that the option names: EX, PX, EXAT or PXAT, in any case.
    pub(crate) fn of(word: &[u8]) -> Option<Unit> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if is(b"EX") {
            Some(Unit::Seconds)
        } else if is(b"PX") {
            Some(Unit::Milliseconds)
        } else if is(b"EXAT") {
            Some(Unit::UnixSeconds)
        } else if is(b"PXAT") {
            Some(Unit::UnixMilliseconds)
        } else {
            None
        }
    }

    /// The point in time that is `value` units away; `None` if it leaves the range of 64 bits.
    pub(crate) fn at(self, value: i64, now: UnixMs) -> Option<UnixMs> {
        match self {
            Unit::Seconds => value.checked_mul(1000)?.checked_add(now.0),
            Unit::Milliseconds => value.checked_add(now.0),
            Unit::UnixSeconds => value.checked_mul(1000),
            Unit::UnixMilliseconds => Some(value),
        }
        .map(UnixMs)
    }
}

/// The point in time that `text` says, which has to be positive and in range; `command` is named in the
/// error.
pub(crate) fn parse(text: &[u8], unit: Unit, now: UnixMs, command: &'static str) -> Result<UnixMs, CommandError> {
    let value = parse_i64(text).ok_or(CommandError::NotInteger)?;
    if value <= 0 {
        return Err(CommandError::InvalidExpire(command));
    }
    unit.at(value, now).ok_or(CommandError::InvalidExpire(command))
}

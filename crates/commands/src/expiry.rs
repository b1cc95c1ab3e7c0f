//! Points in time as commands are given them: seconds or milliseconds, from now or from 1970.

use quorate_stdx::UnixMs;
use quorate_values::parse_i64;

use crate::{Args, CommandError};

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

/// What a command's options say of a key's expiry, as they stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish<'a> {
    /// Nothing.
    None,
    /// It stays (KEEPTTL), or goes (PERSIST): the command knows which of the two it takes.
    Word,
    /// It is to be this.
    At(Unit, &'a [u8]),
}

impl<'a> Wish<'a> {
    /// Takes over the option at `at`, if it is one about the expiry and agrees with those before it: how
    /// many arguments it has. The same option may come again, and the last one holds.
    pub(crate) fn option(&mut self, args: Args<'a>, at: usize, word: &str) -> Option<usize> {
        if args.is(at, word) {
            return matches!(self, Wish::None | Wish::Word).then(|| {
                *self = Wish::Word;
                1
            });
        }
        let unit = Unit::of(args.get(at)?)?;
        let agrees = match self {
            Wish::None => true,
            Wish::Word => false,
            Wish::At(before, _) => *before == unit,
        };
        let value = args.get(at + 1).filter(|_| agrees)?;
        *self = Wish::At(unit, value);
        Some(2)
    }
}

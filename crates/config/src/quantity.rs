//! Numbers as the configuration writes them: decimal, octal, sizes of memory with units, percentages.
//!
//! | notation | examples |
//! | --- | --- |
//! | decimal | `-1`, `10000`; one spelling only: no `+`, no leading zero, no blank |
//! | octal | `0700`, `777` |
//! | memory | `1024`, `1k` (1000), `1kb` (1024), `m mb g gb` alike, `b`; in any case. No digits mean 0 |
//! | memory or percent | as above, or `0%` to `100%` |
//!
//! Values travel as `i128`, which holds every range of Redis, from `INT_MIN` to `ULLONG_MAX`. A percentage is the
//! negative of its number, as `maxmemory-clients` stores it.

use quorate_values::{parse_i64, parse_u64};

use crate::spec::Refusal;

/// How a number is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notation {
    Decimal,
    Octal,
    Memory,
    MemoryOrPercent,
}
use Notation::{Decimal, Memory, MemoryOrPercent, Octal};

/// A notation and the range of its values, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) notation: Notation,
    pub(crate) low: i128,
    pub(crate) high: i128,
}

/// The largest `int` of C.
pub(crate) const INT: i128 = i32::MAX as i128;
/// The largest `long` of C on the platforms that we run on.
pub(crate) const LONG: i128 = i64::MAX as i128;

pub(crate) const fn decimal(low: i128, high: i128) -> Bounds {
    Bounds { notation: Decimal, low, high }
}

pub(crate) const fn octal(low: i128, high: i128) -> Bounds {
    Bounds { notation: Octal, low, high }
}

pub(crate) const fn memory(low: i128, high: i128) -> Bounds {
    Bounds { notation: Memory, low, high }
}

pub(crate) const fn memory_or_percent(high: i128) -> Bounds {
    Bounds { notation: MemoryOrPercent, low: -100, high }
}

impl Bounds {
    /// Reads a value and holds it against the range.
    pub(crate) fn parse(self, text: &[u8]) -> Result<i128, Refusal> {
        if self.notation == MemoryOrPercent
            && let Some(percent) = text.strip_suffix(b"%").and_then(parse_u64)
        {
            return match percent {
                0..=100 => Ok(-i128::from(percent)),
                _ => Err("percentage argument must be less or equal to 100".into()),
            };
        }
        let value = match self.notation {
            Decimal => parse_i64(text).map(i128::from).ok_or("argument couldn't be parsed into an integer")?,
            Octal => parse_octal(text).ok_or("argument couldn't be parsed as an octal number")?,
            Memory => parse_memory(text).map(i128::from).ok_or("argument must be a memory value")?,
            MemoryOrPercent => {
                parse_memory(text).map(i128::from).ok_or("argument must be a memory or percent value")?
            }
        };
        if (self.low..=self.high).contains(&value) {
            return Ok(value);
        }
        let (low, high) = (self.bound(self.low), self.bound(self.high));
        Err(format!("argument must be between {low} and {high} inclusive").into())
    }

    fn bound(self, value: i128) -> String {
        if self.notation == Octal { format!("{value:o}") } else { value.to_string() }
    }

    /// A value as CONFIG GET shows it.
    pub(crate) fn show(self, value: i128) -> String {
        match self.notation {
            Octal => format!("{value:o}"),
            MemoryOrPercent if value < 0 => format!("{}%", -value),
            _ => value.to_string(),
        }
    }

    /// A value as it is written to a file: sizes with the largest unit that divides them.
    pub(crate) fn write(self, value: i128) -> String {
        let units = [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")];
        match (self.notation, units.iter().find(|(unit, _)| value % unit == 0)) {
            (Memory | MemoryOrPercent, Some((unit, name))) if value > 0 => format!("{}{name}", value / unit),
            _ => self.show(value),
        }
    }
}

/// A size in bytes; `None` for what is none, and for more than fits 64 bits.
pub(crate) fn parse_memory(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, unit) = text.split_at(digits);
    let unit: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1000 * 1000,
        b"mb" => 1 << 20,
        b"g" => 1000 * 1000 * 1000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    digits
        .iter()
        .try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?
        .checked_mul(unit)
}

fn parse_octal(text: &[u8]) -> Option<i128> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || digits.len() > 30 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'7')) {
        return None;
    }
    Some(sign * digits.iter().fold(0, |sum, digit| sum * 8 + i128::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bounds: Bounds, text: &str) -> Result<i128, String> {
        bounds.parse(text.as_bytes()).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_decimal_has_one_spelling() {
        assert_eq!(parse(decimal(0, 65535), "6379"), Ok(6379));
        for text in ["", "+5", "00012", " 5", "5 ", "0x10", "1e3", "-0", "18446744073709551616"] {
            assert_eq!(parse(decimal(0, 65535), text).unwrap_err(), "argument couldn't be parsed into an integer");
        }
        assert_eq!(parse(decimal(0, 65535), "-1").unwrap_err(), "argument must be between 0 and 65535 inclusive");
    }

    #[test]
    fn units_of_memory_are_of_ten_or_of_two() {
        let unlimited = memory(0, i128::from(u64::MAX));
        let sizes =
            [("1k", 1000), ("1KB", 1024), ("2m", 2_000_000), ("2Mb", 2 << 20), ("3g", 3_000_000_000), ("3gB", 3 << 30)];
        for (text, bytes) in sizes.into_iter().chain([("7", 7), ("7b", 7), ("", 0), ("b", 0)]) {
            assert_eq!(parse(unlimited, text), Ok(bytes), "{text}");
        }
        assert_eq!(parse(unlimited, "18446744073709551615"), Ok(i128::from(u64::MAX)));
        for text in ["-1", "+5", "1.5gb", "100kk", " 1", "1 ", "5%", "18446744073709551616", "9999999999999gb"] {
            assert_eq!(parse(unlimited, text).unwrap_err(), "argument must be a memory value", "{text}");
        }
    }

    #[test]
    fn percentages_are_allowed_where_they_are_and_end_at_a_hundred() {
        let share = memory_or_percent(LONG);
        assert_eq!(parse(share, "20%"), Ok(-20));
        assert_eq!(parse(share, "0%"), Ok(0));
        assert_eq!(parse(share, "1k"), Ok(1000));
        assert_eq!(parse(share, "101%").unwrap_err(), "percentage argument must be less or equal to 100");
        for text in ["%", "1.5%", "-5%", "5%%", "-5"] {
            assert_eq!(parse(share, text).unwrap_err(), "argument must be a memory or percent value", "{text}");
        }
        assert_eq!(share.show(-20), "20%");
        assert_eq!(share.write(-20), "20%");
    }

    #[test]
    fn octal_is_read_shown_and_bounded_in_octal() {
        let mode = octal(0, 0o777);
        assert_eq!(parse(mode, "0700"), Ok(0o700));
        assert_eq!(mode.show(0o700), "700");
        assert_eq!(parse(mode, "8").unwrap_err(), "argument couldn't be parsed as an octal number");
        assert_eq!(parse(mode, "-").unwrap_err(), "argument couldn't be parsed as an octal number");
        assert_eq!(parse(mode, "1777").unwrap_err(), "argument must be between 0 and 777 inclusive");
        assert_eq!(parse(mode, "-7").unwrap_err(), "argument must be between 0 and 777 inclusive");
    }

    #[test]
    fn sizes_are_written_with_the_largest_unit_that_divides_them() {
        let size = memory(0, LONG);
        for (bytes, text) in
            [(0, "0"), (1000, "1000"), (1024, "1kb"), (100 << 20, "100mb"), (3 << 30, "3gb"), (1 << 40, "1024gb")]
        {
            assert_eq!(size.write(bytes), text);
            assert_eq!(decimal(0, LONG).write(bytes), bytes.to_string());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_and_what_is_shown_read_the_same(value in any::<u64>(), percent in 0i128..=100) {
            let unlimited = memory(0, i128::from(u64::MAX));
            let share = memory_or_percent(LONG);
            prop_assert_eq!(parse(unlimited, &unlimited.write(value.into())), Ok(value.into()));
            prop_assert_eq!(parse(unlimited, &unlimited.show(value.into())), Ok(value.into()));
            prop_assert_eq!(parse(share, &share.write(-percent)), Ok(-percent));
        }

        #[test]
        fn any_bytes_parse_without_panic(text in prop::collection::vec(any::<u8>(), 0..50)) {
            for bounds in [decimal(0, INT), octal(0, 7), memory(0, LONG), memory_or_percent(LONG)] {
                let _ = bounds.parse(&text);
            }
        }
    }
}

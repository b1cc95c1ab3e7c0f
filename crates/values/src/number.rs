//! Numbers as text, the way clients of Redis write and read them.
//!
//! Three questions are answered here: what text is an integer or a double (Redis is strict about the
//! first and as lenient as C's `strtod` about the second), how a double is printed (shortest text that
//! reads back as the same double, or 17 significant digits), and, in [`LongDouble`], how INCRBYFLOAT
//! adds. Units of memory and of time are not read here: they belong to the configuration.
//!
//! Redis' behaviour is observable with ZADD, ZSCORE, INCRBYFLOAT and ZCOUNT; the tests' tables were
//! recorded from a live 7.0.15, except for the shortest form, which came with 7.2.

mod long_double;

use std::io::Write as _;

pub use long_double::{LongDouble, write_double_fixed};

/// Reads a decimal integer in its one canonical form: no sign but `-`, no leading zeros, no blanks,
/// no `-0`.
///
/// The strictness is what makes the integer encodings lossless: text for which this answers can be
/// stored as a number and printed again byte by byte.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => match parse_u64(digits)? {
            0 => None,
            magnitude => 0i64.checked_sub_unsigned(magnitude),
        },
        digits => parse_u64(digits)?.try_into().ok(),
    }
}

/// Reads an unsigned decimal integer in its canonical form, as [`parse_i64`] does.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    let (&first, rest) = text.split_first()?;
    match first {
        b'0' => rest.is_empty().then_some(0),
        // 19 digits always fit; a 20th may overflow; a 21st always does.
        b'1'..=b'9' if rest.len() < 20 => rest.iter().try_fold(u64::from(first - b'0'), |value, &byte| {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value.checked_mul(10)?.checked_add(u64::from(digit))
        }),
        _ => None,
    }
}

/// Appends the canonical decimal form.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends the canonical decimal form.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Reads a double as ZADD, ZINCRBY and GEOADD do: C's `strtod` over the whole text.
///
/// So `1e3`, `.5`, `5.`, `+inf`, `Infinity` and `0x1.8p3` are doubles. Refused are NaN in every spelling,
/// blanks anywhere, and what overflows to infinity or underflows to zero.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    if let Some(value) = parse_small_integer(text) {
        return Some(value);
    }
    let form = Form::of(text)?;
    let value = form.double(text)?;
    form.fits(value.is_finite(), value == 0.0).then_some(value)
}

/// Reads a score bound: like [`parse_double`], but with the leniency of ZRANGEBYSCORE and its kin, which
/// take the empty text for zero, allow blanks in front, and round what is out of range to infinity or zero.
pub fn parse_double_bound(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    let blanks = text.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
    let text = &text[blanks..];
    match parse_small_integer(text) {
        Some(value) => Some(value),
        None => Form::of(text)?.double(text),
    }
}

/// The fast way for the most common doubles: integers of at most 15 digits, which every double can hold.
#[inline]
fn parse_small_integer(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = digits.iter().fold(0u64, |value, &byte| value * 10 + u64::from(byte - b'0')) as f64;
    Some(if negative { -magnitude } else { magnitude })
}

/// What `strtod` would make of a text, when it takes the whole of it. NaN is nobody's number here and
/// therefore has no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `inf` or `infinity`, in any case, with or without a sign.
    Infinite { negative: bool },
    /// Decimal digits with an optional point and exponent.
    Decimal { zero: bool },
    /// `0x`, hexadecimal digits with an optional point, and an optional binary exponent.
    Hexadecimal { zero: bool, has_exponent: bool },
}

impl Form {
    fn of(text: &[u8]) -> Option<Form> {
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
            return Some(Form::Infinite { negative });
        }
        match unsigned {
            [b'0', b'x' | b'X', rest @ ..] => {
                let (zero, exponent) = significand(rest, u8::is_ascii_hexdigit)?;
                is_exponent(exponent, b'p').then_some(Form::Hexadecimal { zero, has_exponent: !exponent.is_empty() })
            }
            rest => {
                let (zero, exponent) = significand(rest, u8::is_ascii_digit)?;
                is_exponent(exponent, b'e').then_some(Form::Decimal { zero })
            }
        }
    }

    /// The nearest double; `text` must be the one whose form this is.
    fn double(self, text: &[u8]) -> Option<f64> {
        match self {
            Form::Infinite { negative } => Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
            Form::Decimal { .. } => std::str::from_utf8(text).ok()?.parse().ok(),
            Form::Hexadecimal { .. } => {
                let value: rustc_apfloat::ieee::Double = self.software_float(text)?;
                Some(f64::from_bits(rustc_apfloat::Float::to_bits(value) as u64))
            }
        }
    }

    /// The nearest value of a format that the machine may not have.
    fn software_float<F: rustc_apfloat::Float>(self, text: &[u8]) -> Option<F> {
        let text = std::str::from_utf8(text).ok()?;
        let nearest = rustc_apfloat::Round::NearestTiesToEven;
        match self {
            Form::Infinite { negative } => Some(if negative { -F::INFINITY } else { F::INFINITY }),
            Form::Decimal { .. } | Form::Hexadecimal { has_exponent: true, .. } => {
                Some(F::from_str_r(text, nearest).ok()?.value)
            }
            // The library insists on the exponent that C leaves optional.
            Form::Hexadecimal { has_exponent: false, .. } => {
                Some(F::from_str_r(&format!("{text}p0"), nearest).ok()?.value)
            }
        }
    }

    /// Whether a value was in range: neither a finite text that became infinite, nor digits that became
    /// zero. Text that only lost precision fits.
    fn fits(self, is_finite: bool, is_zero: bool) -> bool {
        match self {
            Form::Infinite { .. } => true,
            Form::Decimal { zero } | Form::Hexadecimal { zero, .. } => is_finite && (zero || !is_zero),
        }
    }
}

/// Splits digits with at most one point from what follows them, and says whether they are all zero.
/// `None` without a digit.
fn significand(text: &[u8], is_digit: impl Fn(&u8) -> bool) -> Option<(bool, &[u8])> {
    let mut points = 0;
    let mut digits = 0;
    let mut zero = true;
    for byte in text {
        if is_digit(byte) {
            digits += 1;
            zero &= *byte == b'0';
        } else if *byte == b'.' && points == 0 {
            points = 1;
        } else {
            break;
        }
    }
    (digits > 0).then(|| (zero, &text[digits + points..]))
}

/// Whether a text is nothing, or `letter` (in either case), an optional sign and digits.
fn is_exponent(text: &[u8], letter: u8) -> bool {
    let Some((first, rest)) = text.split_first() else { return true };
    let digits = rest.strip_prefix(b"-").or_else(|| rest.strip_prefix(b"+")).unwrap_or(rest);
    first.eq_ignore_ascii_case(&letter) && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// The integer that a double is, when it is one and lies within ±2^62, the range in which Redis prints
/// and stores doubles as integers. Negative zero counts as zero.
#[inline]
pub fn double_as_integer(value: f64) -> Option<i64> {
    const SAFE: f64 = (i64::MAX / 2) as f64;
    if !(-SAFE..=SAFE).contains(&value) {
        return None;
    }
    let integer = value as i64;
    (integer as f64 == value).then_some(integer)
}

/// Appends a double as Redis 7.2 answers it (ZSCORE, and RESP3's doubles): an integer where it is one,
/// else the shortest text that reads back as the same double.
///
/// The exponent form is used where the plain one would need more than seven zeros behind the digits
/// (`1e+20`), and where seven or more digits would stand behind the point of a value below 0.001
/// (`1e-7`) or from 10000 on (`1.23456789012e+4`).
///
/// DIFFERS: the digits are always the fewest possible and, among those, the nearest; Redis' own
/// algorithm misses that for about one double in a thousand, which still reads back the same.
pub fn write_double(out: &mut Vec<u8>, value: f64) {
    if value == 0.0 && value.is_sign_negative() {
        out.extend_from_slice(b"-0");
    } else if let Some(integer) = double_as_integer(value) {
        write_i64(out, integer);
    } else if value.is_finite() {
        write_shortest(out, value);
    } else {
        write_not_finite(out, value);
    }
}

/// Appends a double with 17 significant digits, as C's `%.17g` does: what Redis writes into RDB files of
/// the oldest kind, AOF files and DEBUG DIGEST.
pub fn write_double_17g(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        return write_not_finite(out, value);
    }
    if value == 0.0 && value.is_sign_negative() {
        return out.extend_from_slice(b"-0");
    }
    match double_as_integer(value) {
        Some(integer) if integer.unsigned_abs() < 10u64.pow(17) => write_i64(out, integer),
        _ => Decimal::with_17_digits(value).write_general(out),
    }
}

fn write_not_finite(out: &mut Vec<u8>, value: f64) {
    let text: &[u8] = match value {
        f64::INFINITY => b"inf",
        f64::NEG_INFINITY => b"-inf",
        _ => b"nan",
    };
    out.extend_from_slice(text);
}

fn write_shortest(out: &mut Vec<u8>, value: f64) {
    let mut buffer = ryu::Buffer::new();
    Decimal::from_text(value < 0.0, buffer.format_finite(value.abs()).as_bytes()).write_compact(out);
}

/// A decimal number: `digits` × 10^`scale`, without zeros at either end of the digits.
struct Decimal {
    negative: bool,
    digits: [u8; 17],
    len: usize,
    scale: i32,
}

impl Decimal {
    /// Takes apart what ryu or Rust's formatter printed: digits, an optional point, an optional exponent.
    /// At most 17 significant digits, one of them not zero.
    fn from_text(negative: bool, text: &[u8]) -> Decimal {
        let mut decimal = Decimal { negative, digits: [b'0'; 17], len: 0, scale: 0 };
        let mut behind_point = false;
        let mut trailing_zeros = 0;
        for (at, &byte) in text.iter().enumerate() {
            match byte {
                b'.' => behind_point = true,
                b'e' => {
                    let exponent = std::str::from_utf8(&text[at + 1..]).ok().and_then(|text| text.parse::<i32>().ok());
                    decimal.scale += exponent.expect("a formatter's exponent is a small integer");
                    break;
                }
                digit => {
                    decimal.scale -= i32::from(behind_point);
                    match digit {
                        b'0' if decimal.len == 0 => {}
                        b'0' => trailing_zeros += 1,
                        digit => {
                            // Zeros count only once a digit stands behind them.
                            decimal.len += trailing_zeros;
                            trailing_zeros = 0;
                            decimal.digits[decimal.len] = digit;
                            decimal.len += 1;
                        }
                    }
                }
            }
        }
        decimal.scale += trailing_zeros as i32;
        decimal
    }

    /// The 17 significant digits that are nearest to a finite double other than zero.
    fn with_17_digits(value: f64) -> Decimal {
        let mut text = [0; 32];
        let mut rest = &mut text[..];
        write!(rest, "{:.16e}", value.abs()).expect("17 digits, a point and an exponent fit into 32 bytes");
        let unused = rest.len();
        Decimal::from_text(value < 0.0, &text[..text.len() - unused])
    }

    fn digits(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    /// The exponent when one digit stands in front of the point.
    fn exponent(&self) -> i32 {
        self.scale + self.len as i32 - 1
    }

    fn write_sign(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
    }

    /// As Redis 7.2 prints shortest digits.
    fn write_compact(&self, out: &mut Vec<u8>) {
        self.write_sign(out);
        let exponent = self.exponent();
        let is_plain = match self.scale {
            0.. => exponent < self.len as i32 + 7,
            scale => scale > -7 || exponent.abs() < 4,
        };
        if is_plain { self.write_plain(out) } else { self.write_exponential(out, 1) }
    }

    /// As C's `%.17g` prints.
    fn write_general(&self, out: &mut Vec<u8>) {
        self.write_sign(out);
        if (-4..17).contains(&self.exponent()) { self.write_plain(out) } else { self.write_exponential(out, 2) }
    }

    fn write_plain(&self, out: &mut Vec<u8>) {
        let digits = self.digits();
        let integral = self.len as i32 + self.scale;
        if self.scale >= 0 {
            out.extend_from_slice(digits);
            out.resize(out.len() + self.scale as usize, b'0');
        } else if integral > 0 {
            let (whole, fraction) = digits.split_at(integral as usize);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        } else {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + integral.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        }
    }

    fn write_exponential(&self, out: &mut Vec<u8>, exponent_digits_min: usize) {
        let digits = self.digits();
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let exponent = self.exponent();
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(exponent.unsigned_abs()).as_bytes();
        out.resize(out.len() + exponent_digits_min.saturating_sub(text.len()), b'0');
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>, f64), value: f64) -> String {
        let mut out = b"before ".to_vec();
        write(&mut out, value);
        String::from_utf8(out).unwrap().split_off(7)
    }

    #[test]
    fn only_the_canonical_form_is_an_integer() {
        let integers = ["0", "-1", "10", "9223372036854775807", "-9223372036854775808"];
        for text in integers {
            assert_eq!(parse_i64(text.as_bytes()), text.parse().ok(), "{text}");
        }
        let others = [
            "",
            "-",
            "+1",
            "-0",
            "00",
            "01",
            "-01",
            " 1",
            "1 ",
            "1\0",
            "1.0",
            "1e3",
            "0x1",
            "--1",
            "/",
            ":",
            "1:",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999999",
        ];
        for text in others {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"100000000000000000000"), None);
    }

    #[test]
    fn a_double_is_what_strtod_reads_to_the_end() {
        let doubles: [(&str, f64); 22] = [
            ("0", 0.0),
            ("5", 5.0),
            ("+5", 5.0),
            ("-00012", -12.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("3.0e3", 3000.0),
            ("1E-3", 0.001),
            ("inf", f64::INFINITY),
            ("+inf", f64::INFINITY),
            ("-InF", f64::NEG_INFINITY),
            ("INFINITY", f64::INFINITY),
            ("0x10", 16.0),
            ("-0X1P3", -8.0),
            ("0x.8", 0.5),
            ("0x1.8p1", 3.0),
            ("0x1p-1074", 5e-324),
            ("5e-324", 5e-324),
            ("0e99999999999999999999", 0.0),
            ("123456789012345678", 123456789012345678.0),
            ("999999999999999", 999999999999999.0),
            ("0x10000000000000000000000001", 2f64.powi(100)),
        ];
        for (text, value) in doubles {
            assert_eq!(parse_double(text.as_bytes()), Some(value), "{text}");
        }
        let minus_zero = parse_double(b"-0").unwrap();
        assert!(minus_zero == 0.0 && minus_zero.is_sign_negative());
        let others = [
            "",
            " ",
            " 1",
            "\t1",
            "1 ",
            ".",
            "e5",
            "0x",
            "0x.p1",
            "1e",
            "1e+",
            "0x1p",
            "0x1p+",
            "infinit",
            "nan",
            "-NaN",
            "nan(1)",
            "+-1",
            "1d5",
            "1e400",
            "-1e99999999999",
            "1e-400",
            "2e-324",
            "0x1p1024",
            "0x1p-1076",
            "1.5\0",
            "1_0",
            "1..2",
            "1.2.3",
            "0x1.8.1",
            "0b1",
            "(1",
            "\u{ff11}",
        ];
        for text in others {
            assert_eq!(parse_double(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_double(b"\xff"), None);
    }

    #[test]
    fn a_bound_is_read_with_more_leniency() {
        let bounds: [(&str, f64); 8] = [
            ("", 0.0),
            (" 1", 1.0),
            ("\t\x0b\n\r 1.5", 1.5),
            ("1e400", f64::INFINITY),
            ("-1e400", f64::NEG_INFINITY),
            ("1e-400", 0.0),
            (" inf", f64::INFINITY),
            ("7", 7.0),
        ];
        for (text, value) in bounds {
            assert_eq!(parse_double_bound(text.as_bytes()), Some(value), "{text:?}");
        }
        for text in [" ", "1 ", "nan", "(1", "x"] {
            assert_eq!(parse_double_bound(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_double_is_answered_as_integer_or_shortest_text() {
        let texts: [(f64, &str); 28] = [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (3.1, "3.1"),
            (-0.1, "-0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e15, "1000000000000000"),
            (4611686018427387904.0, "4611686018427387904"),
            (9223372036854775808.0, "9223372036854776000"),
            (1e19, "1e+19"),
            (1e20, "1e+20"),
            (-1.5e20, "-1.5e+20"),
            (1.2345678901234567e20, "123456789012345670000"),
            (1.2345678901234567e24, "1.2345678901234568e+24"),
            (1e100, "1e+100"),
            (0.001, "0.001"),
            (0.0001, "0.0001"),
            (0.000001, "0.000001"),
            (0.0000001, "1e-7"),
            (0.00012, "0.00012"),
            (0.00012345678, "1.2345678e-4"),
            (12345.678901, "12345.678901"),
            (12345.6789012, "1.23456789012e+4"),
            (1234.56789012, "1234.56789012"),
            (1.23456789e-5, "1.23456789e-5"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in texts {
            assert_eq!(written(write_double, value), text);
        }
        assert_eq!(written(write_double, f64::NAN), "nan");
        assert_eq!(written(write_double, -f64::NAN), "nan");
    }

    #[test]
    fn seventeen_digits_are_printed_as_by_c() {
        let texts: [(f64, &str); 16] = [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.1, "3.1000000000000001"),
            (-0.1, "-0.10000000000000001"),
            (100.0, "100"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456789012345678.0, "1.2345678901234568e+17"),
            (1e-4, "0.0001"),
            (1e-5, "1.0000000000000001e-05"),
            (0.00012345, "0.00012344999999999999"),
            (5e-324, "4.9406564584124654e-324"),
            (1e100, "1e+100"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in texts {
            assert_eq!(written(write_double_17g, value), text);
        }
    }

    #[test]
    fn a_double_between_two_shortest_texts_has_one_of_them() {
        // -1096967092690279.25
        let text = written(write_double, f64::from_bits(14_055_502_974_510_099_258));
        assert!(["-1096967092690279.2", "-1096967092690279.3"].contains(&text.as_str()), "{text}");
    }

    proptest! {
        #[test]
        fn an_integer_survives_its_text(value: i64) {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            prop_assert_eq!(parse_i64(&out), Some(value));
            prop_assert_eq!(parse_u64(&out), u64::try_from(value).ok());
        }

        #[test]
        fn a_double_survives_each_of_its_texts(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            for write in [write_double, write_double_17g] {
                let text = written(write, value);
                prop_assert_eq!(parse_double(text.as_bytes()).map(f64::to_bits), Some(bits), "{}", text);
            }
        }

        #[test]
        fn the_shortest_text_has_no_more_digits_than_rusts(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite() && double_as_integer(value).is_none());
            let digits = |text: &str| {
                let mantissa = text.split('e').next().unwrap_or_default();
                let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
                digits.trim_matches('0').to_owned()
            };
            // Where two texts are equally near, such as ...9.2 and ...9.3 to ...9.25, either will do.
            let (ours, rusts) = (written(write_double, value), format!("{value:e}"));
            prop_assert_eq!(digits(&ours).len(), digits(&rusts).len(), "{} {}", ours, rusts);
        }

        #[test]
        fn arbitrary_bytes_never_trouble_the_parsers(text: Vec<u8>) {
            let _ = (parse_i64(&text), parse_u64(&text), parse_double(&text), parse_double_bound(&text));
            let _ = LongDouble::parse(&text);
        }

        #[test]
        fn nearly_numbers_never_trouble_the_parsers(text in "[-+]?(0[xX])?[0-9a-f]{0,30}[.]?[0-9]{0,30}([eEpP][-+]?[0-9]{0,12})?") {
            let text = text.as_bytes();
            let double = parse_double(text);
            // Where both formats can hold the number they must agree that it is one.
            if double.is_some() {
                prop_assert!(LongDouble::parse(text).is_some());
            }
        }
    }
}

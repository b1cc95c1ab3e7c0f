//! The 80-bit float of x87 and of C's `long double` on x86-64: what INCRBYFLOAT and HINCRBYFLOAT add in.
//!
//! Replicas of other makes receive the result as text, and clients compare it, so the sum has to be
//! the one that Redis computes: 64 bits of precision, which hides the error of 0.1 + 0.2 behind the 17
//! digits that are printed. The arithmetic is in software, hence the same on every machine.

use rustc_apfloat::Float as _;
use rustc_apfloat::ieee::X87DoubleExtended;

use super::{Form, write_i64};

/// A finite or infinite number in x87's extended format; never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LongDouble(X87DoubleExtended);

/// The bits of a significand, its leading one included.
const SIGNIFICAND_BITS: u32 = 64;
/// What the biased exponent of a number of ones is.
const BIAS: i32 = 16383;
/// 10^17, for the digits behind the point that are printed.
const FRACTION: u64 = 10u64.pow(17);

impl LongDouble {
    /// The longest text that is read, in bytes.
    pub const TEXT_LEN_MAX: usize = 5 * 1024 - 1;

    /// Reads what C's `strtold` reads, under the terms of [`super::parse_double`] (infinity is accepted) and
    /// up to [`LongDouble::TEXT_LEN_MAX`] bytes.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() > LongDouble::TEXT_LEN_MAX {
            return None;
        }
        let form = Form::of(text)?;
        let value: X87DoubleExtended = form.software_float(text)?;
        form.fits(value.is_finite(), value.is_zero()).then_some(LongDouble(value))
    }

    /// Whether the number is not infinite.
    pub fn is_finite(self) -> bool {
        self.0.is_finite()
    }

    /// The sum, when it is finite.
    pub fn checked_add(self, other: LongDouble) -> Option<LongDouble> {
        let sum = (self.0 + other.0).value;
        sum.is_finite().then_some(LongDouble(sum))
    }

    /// Appends the number with up to 17 digits behind the point, without trailing zeros and never in exponent
    /// form. At most 4934 bytes.
    pub fn write(self, out: &mut Vec<u8>) {
        if !self.0.is_finite() {
            out.extend_from_slice(if self.0.is_negative() { b"-inf" } else { b"inf" });
            return;
        }
        let bits = self.0.to_bits();
        let biased = ((bits >> SIGNIFICAND_BITS) & 0x7fff) as i32;
        // Subnormal numbers have the exponent of the smallest normal ones.
        let exponent = biased.max(1) - BIAS - (SIGNIFICAND_BITS as i32 - 1);
        write_fixed(out, self.0.is_negative(), bits as u64, exponent);
    }
}

impl From<i64> for LongDouble {
    fn from(value: i64) -> LongDouble {
        // 64 bits of significand hold every i64.
        LongDouble(X87DoubleExtended::from_i128(i128::from(value)).value)
    }
}

/// Appends a finite double as GEOPOS answers coordinates: up to 17 digits behind the point, without
/// trailing zeros and never in exponent form. Infinity and NaN are written by name.
pub fn write_double_fixed(out: &mut Vec<u8>, value: f64) {
    if let Some(integer) = super::double_as_integer(value) {
        return write_i64(out, integer);
    }
    if !value.is_finite() {
        return super::write_not_finite(out, value);
    }
    let bits = value.to_bits();
    let biased = ((bits >> 52) & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let significand = if biased == 0 { fraction } else { fraction | 1 << 52 };
    write_fixed(out, value < 0.0, significand, biased.max(1) - 1023 - 52);
}

/// Appends `significand` × 2^`exponent`, rounded to 17 digits behind the point, ties to even, and without
/// the zeros at the end. A number that rounds to zero loses its sign.
fn write_fixed(out: &mut Vec<u8>, negative: bool, significand: u64, exponent: i32) {
    if exponent >= 0 {
        if negative && significand != 0 {
            out.push(b'-');
        }
        return write_shifted(out, significand, exponent as u32);
    }
    let shift = exponent.unsigned_abs();
    let (mut whole, fraction) = match shift {
        1..64 => (significand >> shift, significand & ((1 << shift) - 1)),
        _ => (0, significand),
    };
    let mut digits = round_to_fraction(fraction, shift);
    if digits == FRACTION {
        whole += 1;
        digits = 0;
    }
    if negative && (whole != 0 || digits != 0) {
        out.push(b'-');
    }
    super::write_u64(out, whole);
    if digits != 0 {
        let point = out.len();
        // A one in front keeps the zeros behind the point; its place is then taken by the point.
        super::write_u64(out, FRACTION + digits);
        out[point] = b'.';
        let zeros = out.iter().rev().take_while(|&&byte| byte == b'0').count();
        out.truncate(out.len() - zeros);
    }
}

/// `fraction` × 10^17 / 2^`shift`, rounded to the nearest integer, ties to even. `fraction` is below
/// 2^`shift`.
fn round_to_fraction(fraction: u64, shift: u32) -> u64 {
    // 64 bits times 57 bits stay below 2^121; behind a shift of more, nothing is left to round up.
    let product = u128::from(fraction) * u128::from(FRACTION);
    if shift > 122 {
        return 0;
    }
    let quotient = (product >> shift) as u64;
    let remainder = product & ((1 << shift) - 1);
    match remainder.cmp(&(1 << (shift - 1))) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Equal => quotient + (quotient & 1),
        std::cmp::Ordering::Greater => quotient + 1,
    }
}

/// Appends `significand` × 2^`shift` in decimal.
fn write_shifted(out: &mut Vec<u8>, significand: u64, shift: u32) {
    /// The largest power of ten in a limb.
    const CHUNK: u64 = 10u64.pow(19);
    // Little-endian limbs of the shifted number.
    let mut limbs = vec![0; (shift / 64) as usize];
    let shifted = u128::from(significand) << (shift % 64);
    limbs.extend([shifted as u64, (shifted >> 64) as u64]);
    let mut chunks = Vec::with_capacity(limbs.len() + 2);
    while let Some(&top) = limbs.last() {
        if top == 0 {
            limbs.pop();
            continue;
        }
        let mut remainder = 0u64;
        for limb in limbs.iter_mut().rev() {
            let dividend = u128::from(remainder) << 64 | u128::from(*limb);
            *limb = (dividend / u128::from(CHUNK)) as u64;
            remainder = (dividend % u128::from(CHUNK)) as u64;
        }
        chunks.push(remainder);
    }
    super::write_u64(out, chunks.pop().unwrap_or(0));
    for chunk in chunks.iter().rev() {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(*chunk).as_bytes();
        out.resize(out.len() + 19 - text.len(), b'0');
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: LongDouble) -> String {
        let mut out = Vec::new();
        value.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn incr_by_float(value: &str, increment: &str) -> String {
        match (LongDouble::parse(value.as_bytes()), LongDouble::parse(increment.as_bytes())) {
            (Some(value), Some(increment)) => value.checked_add(increment).map_or("NAN".to_owned(), text),
            _ => "ERR".to_owned(),
        }
    }

    #[test]
    fn sums_are_those_that_a_live_redis_left() {
        let table = include_str!("../../testdata/incrbyfloat.txt");
        let mut rows = 0;
        for line in table.lines().skip(1) {
            let [value, increment, result] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
            assert_eq!(incr_by_float(value, increment), result, "{line}");
            rows += 1;
        }
        assert!(rows > 700);
    }

    #[test]
    fn the_largest_number_is_printed_in_full() {
        let largest = text(LongDouble::parse(b"0xffffffffffffffffp16320").unwrap());
        assert_eq!(largest.len(), 4933);
        assert!(largest.starts_with("118973149535723176502126385303097020516906"));
        assert!(largest.ends_with("156604419552086811989770240"), "{}", &largest[4900..]);
        assert_eq!(incr_by_float(&largest, &largest), "NAN");
        assert_eq!(incr_by_float(&largest, &format!("-{largest}")), "0");
    }

    #[test]
    fn text_that_is_too_long_is_not_a_number() {
        let zeros = "0".repeat(LongDouble::TEXT_LEN_MAX);
        assert_eq!(incr_by_float(&zeros, "1"), "1");
        assert_eq!(incr_by_float(&format!("{zeros}0"), "1"), "ERR");
    }

    #[test]
    fn infinity_is_read_and_recognised() {
        let infinite = LongDouble::parse(b"-inf").unwrap();
        assert!(!infinite.is_finite());
        assert_eq!(text(infinite), "-inf");
        assert!(LongDouble::from(5).is_finite());
    }

    #[test]
    fn a_double_is_printed_with_its_own_digits_only() {
        let texts: [(f64, &str); 9] = [
            (0.0, "0"),
            (-0.0, "0"),
            (13.361389338970184, "13.36138933897018433"),
            (38.1155563954963, "38.11555639549629859"),
            (-0.5, "-0.5"),
            (1e-20, "0"),
            (-1e-20, "0"),
            (1e22, "10000000000000000000000"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in texts {
            let mut out = Vec::new();
            write_double_fixed(&mut out, value);
            assert_eq!(out, text.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn integers_add_up_exactly(a: i64, b: i64) {
            let sum = i128::from(a) + i128::from(b);
            // 64 bits of significand lose the last bit of a sum that needs 65.
            prop_assume!(sum.unsigned_abs() <= u128::from(u64::MAX));
            let result = LongDouble::from(a).checked_add(LongDouble::from(b)).map(text);
            prop_assert_eq!(result, Some(sum.to_string()));
        }

        #[test]
        fn a_double_is_printed_as_by_rust_with_seventeen_places(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let mut out = Vec::new();
            write_double_fixed(&mut out, value);
            let exact = format!("{value:.17}");
            let expected = exact.trim_end_matches('0').trim_end_matches('.');
            let expected = if expected == "-0" { "0" } else { expected };
            prop_assert_eq!(String::from_utf8_lossy(&out), expected);
        }

        #[test]
        fn a_double_between_readable_sizes_is_printed_as_by_rust(value in -1e12..1e12) {
            let mut out = Vec::new();
            write_double_fixed(&mut out, value);
            let exact = format!("{value:.17}");
            prop_assert_eq!(String::from_utf8_lossy(&out), exact.trim_end_matches('0').trim_end_matches('.'));
        }
    }
}

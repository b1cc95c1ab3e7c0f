//! How numbers are written: as Lua 5.1 shows them to scripts, and as Redis sends them to clients.
//!
//! Lua 5.1 prints a number with `%.14g`; Luau prints the shortest text that reads back as the same
//! number. A script that builds a key with `..` would see the difference, and neither `..` nor
//! `table.concat` asks a function that a sandbox could replace. All of them end in one function of
//! Luau's, whose object file holds nothing else but its brother for 64-bit integers. This file
//! defines both itself, and the linker, which finds ours first, never takes Luau's out of its
//! archive. Should a later Luau put something else into that file, the build fails with a duplicate
//! symbol; should it rename the function, the tests fail that look at what `..` makes.

use std::ffi::{c_char, c_long};
use std::io::Write;

/// The longest text that [`text_g`] makes with up to 17 digits: sign, digits, point, `e-308`.
const LONGEST: usize = 32;

/// A number's text.
pub(crate) struct Text {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Text {
    /// The text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn of(text: &[u8]) -> Text {
        let mut made = Text { bytes: [0; LONGEST], length: 0 };
        made.push(text);
        made
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes[self.length..self.length + text.len()].copy_from_slice(text);
        self.length += text.len();
    }

    fn push_zeros(&mut self, count: usize) {
        self.bytes[self.length..self.length + count].fill(b'0');
        self.length += count;
    }

    fn push_exponent(&mut self, exponent: i32, least_digits: usize) {
        self.push(if exponent < 0 { b"e-" } else { b"e+" });
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(exponent.unsigned_abs()).as_bytes();
        self.push_zeros(least_digits.saturating_sub(digits.len()));
        self.push(digits);
    }
}

/// `number` as C's `printf` writes it with `%.<digits>g`, for 1 to 17 significant digits.
pub(crate) fn text_g(number: f64, digits: usize) -> Text {
    assert!((1..=17).contains(&digits), "a double has at most 17 significant digits");
    if number.trunc() == number && number.abs() < 10f64.powi(digits.min(15) as i32) && (number != 0.0) {
        return Text::of(itoa::Buffer::new().format(number as i64).as_bytes());
    }
    let sign: &[u8] = if number.is_sign_negative() { b"-" } else { b"" };
    let mut text = Text::of(sign);
    if number.is_nan() {
        text.push(b"nan");
        return text;
    }
    if number.is_infinite() {
        text.push(b"inf");
        return text;
    }
    if number == 0.0 {
        text.push(b"0");
        return text;
    }
    let mut scientific = [0u8; LONGEST];
    let mut rest = &mut scientific[..];
    write!(rest, "{:.*e}", digits - 1, number.abs()).expect("17 digits and an exponent fit");
    let unused = rest.len();
    let scientific = &scientific[..LONGEST - unused];
    let (mantissa, exponent) = split_scientific(scientific);
    let mut figures = [0u8; 17];
    let mut count = 0;
    for &byte in mantissa.iter().filter(|byte| byte.is_ascii_digit()) {
        figures[count] = byte;
        count += 1;
    }
    while count > 1 && figures[count - 1] == b'0' {
        count -= 1;
    }
    let figures = &figures[..count];
    if exponent < -4 || exponent >= digits as i32 {
        push_figures(&mut text, figures, 1);
        text.push_exponent(exponent, 2);
    } else if exponent < 0 {
        text.push(b"0.");
        text.push_zeros((-exponent - 1) as usize);
        text.push(figures);
    } else {
        push_figures(&mut text, figures, exponent as usize + 1);
    }
    text
}

/// `number` as Redis 7.2 writes doubles: integers in full, everything else in the fewest digits
/// that read back as the same number.
pub(crate) fn text_shortest(number: f64) -> Text {
    const INTEGER_BOUND: f64 = (i64::MAX / 2) as f64;
    if number.is_nan() {
        return Text::of(b"nan");
    }
    if number.is_infinite() || number == 0.0 {
        return text_g(number, 17);
    }
    if number.trunc() == number && number.abs() < INTEGER_BOUND {
        return Text::of(itoa::Buffer::new().format(number as i64).as_bytes());
    }
    let mut buffer = ryu::Buffer::new();
    let (figures, count, power) = shortest_figures(buffer.format_finite(number.abs()).as_bytes());
    let figures = &figures[..count];
    let mut text = Text::of(if number < 0.0 { b"-" } else { b"" });
    let exponent = power + count as i32 - 1;
    if power >= 0 && exponent.abs() < count as i32 + 7 {
        text.push(figures);
        text.push_zeros(power as usize);
    } else if power < 0 && (power > -7 || exponent.abs() < 4) {
        if exponent >= 0 {
            push_figures(&mut text, figures, exponent as usize + 1);
        } else {
            text.push(b"0.");
            text.push_zeros((-exponent - 1) as usize);
            text.push(figures);
        }
    } else {
        push_figures(&mut text, figures, 1);
        text.push_exponent(exponent, 1);
    }
    text
}

/// Writes `figures` with the point behind the first `whole` digits, filling up with zeros.
fn push_figures(text: &mut Text, figures: &[u8], whole: usize) {
    if figures.len() <= whole {
        text.push(figures);
        text.push_zeros(whole - figures.len());
    } else {
        text.push(&figures[..whole]);
        text.push(b".");
        text.push(&figures[whole..]);
    }
}

/// `d.ddde-dd` as its mantissa and exponent.
fn split_scientific(text: &[u8]) -> (&[u8], i32) {
    let at = text.iter().position(|&byte| byte == b'e').expect("the format has an exponent");
    let exponent = std::str::from_utf8(&text[at + 1..]).ok().and_then(|digits| digits.parse().ok());
    (&text[..at], exponent.expect("the exponent is a small integer"))
}

/// The significant digits of what ryu wrote, how many there are, and the power of ten of the last one.
fn shortest_figures(text: &[u8]) -> ([u8; 17], usize, i32) {
    let (mantissa, exponent) = match text.iter().position(|&byte| byte == b'e') {
        Some(_) => split_scientific(text),
        None => (text, 0),
    };
    let mut figures = [0u8; 17];
    let mut count = 0;
    let mut power = exponent;
    let mut behind_point = false;
    for &byte in mantissa {
        if byte == b'.' {
            behind_point = true;
            continue;
        }
        power -= i32::from(behind_point);
        if (count > 0 || byte != b'0') && count < figures.len() {
            figures[count] = byte;
            count += 1;
        }
    }
    while count > 1 && figures[count - 1] == b'0' {
        count -= 1;
        power += 1;
    }
    (figures, count, power)
}

/// Stands in for Luau's `luai_num2str(char*, double)`: writes `number` at `buffer` and returns the
/// end of the text, without a zero byte.
///
/// # Safety
/// Luau alone calls it, with a buffer of at least 48 bytes.
#[unsafe(export_name = "_Z12luai_num2strPcd")]
unsafe extern "C" fn luau_number_text(buffer: *mut c_char, number: f64) -> *mut c_char {
    let text = text_g(number, 14);
    let bytes = text.as_bytes();
    // SAFETY: the caller's buffer is larger than the longest text.
    unsafe {
        buffer.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        buffer.add(bytes.len())
    }
}

/// Stands in for Luau's `luai_int2str(char*, long)`, in the same way. Scripts have no such integers;
/// it is here because Luau defines it beside the other one.
///
/// # Safety
/// Luau alone calls it, with a buffer of at least 48 bytes.
#[unsafe(export_name = "_Z12luai_int2strPcl")]
unsafe extern "C" fn luau_integer_text(buffer: *mut c_char, number: c_long) -> *mut c_char {
    let mut text = itoa::Buffer::new();
    let bytes = text.format(number).as_bytes();
    // SAFETY: the caller's buffer is larger than the longest text.
    unsafe {
        buffer.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        buffer.add(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    unsafe extern "C" {
        fn snprintf(buffer: *mut c_char, size: usize, format: *const c_char, ...) -> i32;
    }

    fn c_text(number: f64, digits: usize) -> Vec<u8> {
        let mut buffer = [0u8; 64];
        let format = std::ffi::CString::new(format!("%.{digits}g")).unwrap();
        // SAFETY: the buffer has the size that is given, the format wants one double.
        let length = unsafe { snprintf(buffer.as_mut_ptr().cast(), 64, format.as_ptr(), number) };
        buffer[..length as usize].to_vec()
    }

    #[test]
    fn numbers_look_as_lua_shows_them() {
        let check = |number: f64, text: &str| assert_eq!(text_g(number, 14).as_bytes(), text.as_bytes());
        check(3.0, "3");
        check(-0.0, "-0");
        check(0.1 + 0.2, "0.3");
        check(1e15, "1e+15");
        check(1e14, "1e+14");
        check(99_999_999_999_999.0, "99999999999999");
        check(9_007_199_254_740_993.0, "9.007199254741e+15");
        check(1.0 / 3.0, "0.33333333333333");
        check(1e-5, "1e-05");
        check(f64::NEG_INFINITY, "-inf");
        check(5e-324, "4.9406564584125e-324");
    }

    #[test]
    fn doubles_look_as_redis_sends_them() {
        let check = |number: f64, text: &str| assert_eq!(text_shortest(number).as_bytes(), text.as_bytes(), "{number}");
        check(3.0, "3");
        check(3.5, "3.5");
        check(-0.1, "-0.1");
        check(0.001, "0.001");
        check(1e15, "1000000000000000");
        check(1e100, "1e+100");
        check(1.5e-7, "1.5e-7");
        check(f64::INFINITY, "inf");
        check(-0.0, "-0");
        check(123_456.789, "123456.789");
    }

    proptest! {
        #[test]
        fn text_g_agrees_with_printf(bits: u64, digits in 1usize..=17) {
            let number = f64::from_bits(bits);
            prop_assume!(!number.is_nan());
            prop_assert_eq!(text_g(number, digits).as_bytes().to_vec(), c_text(number, digits).to_vec());
        }

        #[test]
        fn text_g_agrees_with_printf_on_everyday_numbers(number in -1e17f64..1e17, scale in 0i32..20, digits in 1usize..=17) {
            let number = (number / 10f64.powi(scale)).round() / 10f64.powi(scale.min(5));
            prop_assert_eq!(text_g(number, digits).as_bytes().to_vec(), c_text(number, digits).to_vec());
        }

        #[test]
        fn the_shortest_text_reads_back(bits: u64) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let text = text_shortest(number);
            let read: f64 = std::str::from_utf8(text.as_bytes()).unwrap().parse().unwrap();
            prop_assert_eq!(read.to_bits(), number.to_bits());
        }
    }
}

//! The `bit` library: operations on 32-bit integers.
//!
//! An argument is any number; its integer part modulo 2^32 counts. Results are signed. Nothing here
//! is sized by a script, which is where CVE-2024-31449 lay (`bit.tohex` with a huge width).

use crate::lua::{Frame, Raised, Results};

/// Pushes the library.
pub(crate) fn push(frame: &mut Frame<'_>) {
    frame.push_table(0, 12);
    let table = frame.top();
    macro_rules! functions {
        ($($name:literal: $function:expr,)*) => {
            $(frame.push_function($name, $function); frame.raw_set_field(table, $name);)*
        };
    }
    functions! {
        c"tobit": |frame: &mut Frame<'_>| unary(frame, |bits| bits),
        c"bnot": |frame: &mut Frame<'_>| unary(frame, |bits| !bits),
        c"bswap": |frame: &mut Frame<'_>| unary(frame, u32::swap_bytes),
        c"band": |frame: &mut Frame<'_>| fold(frame, |left, right| left & right),
        c"bor": |frame: &mut Frame<'_>| fold(frame, |left, right| left | right),
        c"bxor": |frame: &mut Frame<'_>| fold(frame, |left, right| left ^ right),
        c"lshift": |frame: &mut Frame<'_>| shift(frame, |bits, by| bits << by),
        c"rshift": |frame: &mut Frame<'_>| shift(frame, |bits, by| bits >> by),
        c"arshift": |frame: &mut Frame<'_>| shift(frame, |bits, by| (bits.cast_signed() >> by).cast_unsigned()),
        c"rol": |frame: &mut Frame<'_>| shift(frame, u32::rotate_left),
        c"ror": |frame: &mut Frame<'_>| shift(frame, u32::rotate_right),
        c"tohex": tohex,
    }
}

/// The argument at `index` as 32 bits.
fn bits(frame: &mut Frame<'_>, index: i32) -> Result<u32, Raised> {
    // Adding 2^52 + 2^51 moves the integer part, rounded to even, into the low bits of the mantissa.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    Ok((frame.check_number(index)? + SHIFT).to_bits() as u32)
}

fn answer(frame: &mut Frame<'_>, bits: u32) -> Results {
    frame.push_number(f64::from(bits.cast_signed()));
    Ok(1)
}

fn unary(frame: &mut Frame<'_>, operation: fn(u32) -> u32) -> Results {
    let argument = bits(frame, 1)?;
    answer(frame, operation(argument))
}

fn fold(frame: &mut Frame<'_>, operation: fn(u32, u32) -> u32) -> Results {
    let mut result = bits(frame, 1)?;
    for index in 2..=frame.arguments() {
        result = operation(result, bits(frame, index)?);
    }
    answer(frame, result)
}

fn shift(frame: &mut Frame<'_>, operation: fn(u32, u32) -> u32) -> Results {
    let argument = bits(frame, 1)?;
    let by = bits(frame, 2)? & 31;
    answer(frame, operation(argument, by))
}

/// `bit.tohex(x [, n])`: the last `n` hex digits, in capitals if `n` is negative.
fn tohex(frame: &mut Frame<'_>) -> Results {
    let argument = bits(frame, 1)?;
    let digits = if frame.arguments() < 2 { 8 } else { bits(frame, 2)?.cast_signed() };
    let text = if digits < 0 { format!("{argument:08X}") } else { format!("{argument:08x}") };
    let wanted = digits.unsigned_abs().min(8) as usize;
    frame.push_bytes(&text.as_bytes()[8 - wanted..]);
    Ok(1)
}

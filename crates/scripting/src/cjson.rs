//! The `cjson` library: JSON texts from Lua values and back.
//!
//! Its settings belong to the module and outlive a script, as in Redis; `cjson.new()` makes a module
//! with settings of its own. Both directions keep their place in a list instead of recursing, so
//! that no depth that a script asks for can exhaust the native stack.

mod decode;
mod encode;

use crate::lua::{Frame, Kind, Raised, Results};

/// What a module's functions go by; lives in a block of memory that all of them share.
#[derive(Debug, Clone, Copy)]
struct Settings {
    /// Whether a sparse array becomes an object instead of an error.
    sparse_convert: bool,
    /// An array is sparse if it has more than this many places for each element; 0 means never.
    sparse_ratio: i32,
    /// An array with no more places than this is never sparse.
    sparse_safe: i32,
    encode_max_depth: i32,
    decode_max_depth: i32,
    /// Significant digits of numbers, 1 to 14.
    number_precision: i32,
    keep_buffer: bool,
    encode_invalid: Invalid,
    decode_invalid: bool,
}

/// What becomes of NaN and the infinities, for which JSON has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Refuse,
    Write,
    Null,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_max_depth: 1000,
            decode_max_depth: 1000,
            number_precision: 14,
            keep_buffer: true,
            encode_invalid: Invalid::Refuse,
            decode_invalid: true,
        }
    }
}

/// Pushes a module with settings of its own.
pub(crate) fn push(frame: &mut Frame<'_>) {
    frame.push_table(0, 16);
    let table = frame.top();
    frame.push_block(Settings::default());
    let settings = frame.top();
    macro_rules! functions {
        ($($name:literal: $function:expr,)*) => {
            $(
                frame.push_copy(settings);
                frame.push_closure($name, $function, 1);
                frame.raw_set_field(table, $name);
            )*
        };
    }
    functions! {
        c"encode": encode::encode,
        c"decode": decode::decode,
        c"encode_sparse_array": encode_sparse_array,
        c"encode_max_depth": |frame: &mut Frame<'_>| depth(frame, |settings| &mut settings.encode_max_depth),
        c"decode_max_depth": |frame: &mut Frame<'_>| depth(frame, |settings| &mut settings.decode_max_depth),
        c"encode_number_precision": encode_number_precision,
        c"encode_keep_buffer": encode_keep_buffer,
        c"encode_invalid_numbers": encode_invalid_numbers,
        c"decode_invalid_numbers": decode_invalid_numbers,
        c"new": new,
    }
    frame.pop(1);
    frame.push_null();
    frame.raw_set_field(table, c"null");
    frame.push_bytes(b"cjson");
    frame.raw_set_field(table, c"_NAME");
    frame.push_bytes(b"2.1.0");
    frame.raw_set_field(table, c"_VERSION");
}

/// `cjson.new()`
fn new(frame: &mut Frame<'_>) -> Results {
    push(frame);
    Ok(1)
}

/// The settings of the module that the running function belongs to.
fn settings<'s>(frame: &'s mut Frame<'_>) -> &'s mut Settings {
    // SAFETY: every function of a module was pushed with its settings as the first upvalue.
    unsafe { frame.upvalue_block::<Settings>() }
}

fn at_most(frame: &mut Frame<'_>, most: i32) -> Result<(), Raised> {
    if frame.arguments() > most {
        return Err(frame.argument_error(most + 1, "found too many arguments"));
    }
    Ok(())
}

/// The integer argument at `index`, if there is one.
fn integer_option(frame: &mut Frame<'_>, index: i32, least: i32, most: i32) -> Result<Option<i32>, Raised> {
    if matches!(frame.kind(index), Kind::None | Kind::Nil) {
        return Ok(None);
    }
    let number = frame.check_number(index)?;
    if (f64::from(least)..=f64::from(most)).contains(&number) {
        return Ok(Some(number as i32));
    }
    let complaint = format!("expected integer between {least} and {most}");
    Err(frame.argument_error(1, &complaint))
}

/// The argument at `index` as one of three choices, if there is one.
fn choice(frame: &mut Frame<'_>, index: i32, with_null: bool) -> Result<Option<Invalid>, Raised> {
    match frame.kind(index) {
        Kind::None | Kind::Nil => return Ok(None),
        Kind::Boolean => return Ok(Some(if frame.truthy(index) { Invalid::Write } else { Invalid::Refuse })),
        _ => {}
    }
    match frame.check_bytes(index)? {
        b"off" => Ok(Some(Invalid::Refuse)),
        b"on" => Ok(Some(Invalid::Write)),
        b"null" if with_null => Ok(Some(Invalid::Null)),
        other => {
            let complaint = format!("invalid option '{}'", String::from_utf8_lossy(other));
            Err(frame.argument_error(index, &complaint))
        }
    }
}

/// `encode_sparse_array([convert [, ratio [, safe]]])`
fn encode_sparse_array(frame: &mut Frame<'_>) -> Results {
    at_most(frame, 3)?;
    if let Some(convert) = choice(frame, 1, false)? {
        settings(frame).sparse_convert = convert == Invalid::Write;
    }
    if let Some(ratio) = integer_option(frame, 2, 0, i32::MAX)? {
        settings(frame).sparse_ratio = ratio;
    }
    if let Some(safe) = integer_option(frame, 3, 0, i32::MAX)? {
        settings(frame).sparse_safe = safe;
    }
    let now = *settings(frame);
    frame.push_boolean(now.sparse_convert);
    frame.push_number(f64::from(now.sparse_ratio));
    frame.push_number(f64::from(now.sparse_safe));
    Ok(3)
}

/// `encode_max_depth([depth])` and `decode_max_depth([depth])`
fn depth(frame: &mut Frame<'_>, field: fn(&mut Settings) -> &mut i32) -> Results {
    at_most(frame, 1)?;
    if let Some(depth) = integer_option(frame, 1, 1, i32::MAX)? {
        *field(settings(frame)) = depth;
    }
    let depth = *field(settings(frame));
    frame.push_number(f64::from(depth));
    Ok(1)
}

/// `encode_number_precision([digits])`
fn encode_number_precision(frame: &mut Frame<'_>) -> Results {
    at_most(frame, 1)?;
    if let Some(digits) = integer_option(frame, 1, 1, 14)? {
        settings(frame).number_precision = digits;
    }
    let digits = settings(frame).number_precision;
    frame.push_number(f64::from(digits));
    Ok(1)
}

/// `encode_keep_buffer([keep])`: accepted, without effect.
fn encode_keep_buffer(frame: &mut Frame<'_>) -> Results {
    at_most(frame, 1)?;
    if let Some(keep) = choice(frame, 1, false)? {
        settings(frame).keep_buffer = keep == Invalid::Write;
    }
    let keep = settings(frame).keep_buffer;
    frame.push_boolean(keep);
    Ok(1)
}

/// `encode_invalid_numbers([how])`
fn encode_invalid_numbers(frame: &mut Frame<'_>) -> Results {
    at_most(frame, 1)?;
    if let Some(how) = choice(frame, 1, true)? {
        settings(frame).encode_invalid = how;
    }
    match settings(frame).encode_invalid {
        Invalid::Refuse => frame.push_boolean(false),
        Invalid::Write => frame.push_boolean(true),
        Invalid::Null => frame.push_bytes(b"null"),
    }
    Ok(1)
}

/// `decode_invalid_numbers([accept])`
fn decode_invalid_numbers(frame: &mut Frame<'_>) -> Results {
    at_most(frame, 1)?;
    if let Some(accept) = choice(frame, 1, false)? {
        settings(frame).decode_invalid = accept == Invalid::Write;
    }
    let accept = settings(frame).decode_invalid;
    frame.push_boolean(accept);
    Ok(1)
}

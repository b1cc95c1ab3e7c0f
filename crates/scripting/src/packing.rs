//! The `struct` library: numbers and strings in the layouts of C, by format letters.
//!
//! | letter | means |
//! | --- | --- |
//! | `>` `<` | big, little byte order from here on; the machine's at first |
//! | `!`*n* | align to at most *n* bytes (8 without *n*) from here on |
//! | `x` | a byte of padding |
//! | `b` `B`, `h` `H`, `l` `L`, `T` | integers of 1, 2, 8 and 8 bytes; capitals and `T` are unsigned |
//! | `i`*n* `I`*n* | integers of *n* bytes (4 without *n*, at most 32) |
//! | `f` `d` | a float, a double |
//! | `s` | a string that ends with a zero byte |
//! | `c`*n* | *n* bytes (1 without *n*); `c0`: the whole string, or as many as the number before says |

use crate::lua::{Frame, Kind, Raised, Results};

/// The largest integer, in bytes.
const MAX_INTEGER: usize = 32;

/// What `!` aligns to.
const MAX_ALIGNMENT: usize = 8;

/// How many values one call unpacks at most.
const MOST_RESULTS: i32 = 7990;

/// Pushes the library.
pub(crate) fn push(frame: &mut Frame<'_>) {
    frame.push_table(0, 3);
    let table = frame.top();
    frame.push_function(c"pack", pack);
    frame.raw_set_field(table, c"pack");
    frame.push_function(c"unpack", unpack);
    frame.raw_set_field(table, c"unpack");
    frame.push_function(c"size", size);
    frame.raw_set_field(table, c"size");
}

/// One letter of a format, with its size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Padding,
    Signed(usize),
    Unsigned(usize),
    Float,
    Double,
    /// A string with a zero byte behind it.
    Terminated,
    /// So many bytes; 0 means that something else says how many.
    Bytes(usize),
    /// Sets something for what follows, or is a blank.
    Control,
    Unknown(u8),
}

impl Item {
    /// The bytes that it takes, as far as the format alone says.
    fn size(self) -> usize {
        match self {
            Item::Padding => 1,
            Item::Signed(size) | Item::Unsigned(size) | Item::Bytes(size) => size,
            Item::Float => 4,
            Item::Double => 8,
            Item::Terminated | Item::Control | Item::Unknown(_) => 0,
        }
    }
}

/// Why a format is refused.
enum Flaw {
    SizeOverflow,
    TooWide(usize),
    Misaligned(usize),
}

impl Flaw {
    fn text(&self) -> String {
        match self {
            Flaw::SizeOverflow => "integral size overflow".to_owned(),
            Flaw::TooWide(size) => format!("integral size {size} is larger than limit of {MAX_INTEGER}"),
            Flaw::Misaligned(alignment) => format!("alignment {alignment} is not a power of 2"),
        }
    }
}

/// Reads a format letter by letter.
struct Format<'f> {
    rest: &'f [u8],
    big_endian: bool,
    alignment: usize,
}

impl<'f> Format<'f> {
    fn new(text: &'f [u8]) -> Format<'f> {
        // The format is a C string: it ends at its first zero byte.
        let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
        Format { rest: &text[..end], big_endian: cfg!(target_endian = "big"), alignment: 1 }
    }

    /// The next item and the padding that aligns it behind `offset` bytes.
    fn next(&mut self, offset: usize) -> Result<Option<(Item, usize)>, Flaw> {
        let Some((&letter, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let item = match letter {
            b'x' => Item::Padding,
            b'b' => Item::Signed(1),
            b'B' => Item::Unsigned(1),
            b'h' => Item::Signed(2),
            b'H' => Item::Unsigned(2),
            b'l' => Item::Signed(8),
            b'L' | b'T' => Item::Unsigned(8),
            b'i' => Item::Signed(self.integer_size()?),
            b'I' => Item::Unsigned(self.integer_size()?),
            b'f' => Item::Float,
            b'd' => Item::Double,
            b's' => Item::Terminated,
            b'c' => Item::Bytes(self.number(1)?),
            b' ' => Item::Control,
            b'>' => self.set_order(true),
            b'<' => self.set_order(false),
            b'!' => {
                let alignment = self.number(MAX_ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    return Err(Flaw::Misaligned(alignment));
                }
                self.alignment = alignment;
                Item::Control
            }
            other => Item::Unknown(other),
        };
        Ok(Some((item, self.padding(item, offset))))
    }

    fn set_order(&mut self, big_endian: bool) -> Item {
        self.big_endian = big_endian;
        Item::Control
    }

    fn integer_size(&mut self) -> Result<usize, Flaw> {
        match self.number(4)? {
            size if size > MAX_INTEGER => Err(Flaw::TooWide(size)),
            size => Ok(size),
        }
    }

    /// The number that stands here, or `default` if there is none.
    fn number(&mut self, default: usize) -> Result<usize, Flaw> {
        if !self.rest.first().is_some_and(u8::is_ascii_digit) {
            return Ok(default);
        }
        let mut number = 0i32;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.rest {
            number = number
                .checked_mul(10)
                .and_then(|number| number.checked_add(i32::from(digit - b'0')))
                .ok_or(Flaw::SizeOverflow)?;
            self.rest = rest;
        }
        Ok(number as usize)
    }

    fn padding(&self, item: Item, offset: usize) -> usize {
        let size = match item {
            Item::Bytes(_) => 0,
            item => item.size().min(self.alignment),
        };
        if size == 0 { 0 } else { (size - (offset & (size - 1))) & (size - 1) }
    }
}

/// `struct.pack(format, value, ...)`
fn pack(frame: &mut Frame<'_>) -> Results {
    let mut format = Format::new(frame.check_bytes(1)?);
    let mut bytes = Vec::new();
    let mut argument = 2;
    loop {
        let (item, padding) = match format.next(bytes.len()) {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(flaw) => return Err(frame.raise_here(flaw.text().as_bytes())),
        };
        bytes.resize(bytes.len() + padding, 0);
        match item {
            Item::Control => continue,
            Item::Unknown(letter) => return Err(unknown(frame, letter)),
            Item::Padding => {
                bytes.push(0);
                continue;
            }
            Item::Signed(size) | Item::Unsigned(size) => {
                put_integer(&mut bytes, to_bits(number(frame, argument)?), size, format.big_endian);
            }
            Item::Float => {
                let float = number(frame, argument)? as f32;
                bytes.extend_from_slice(&ordered(float.to_le_bytes(), format.big_endian));
            }
            Item::Double => {
                let double = number(frame, argument)?;
                bytes.extend_from_slice(&ordered(double.to_le_bytes(), format.big_endian));
            }
            Item::Terminated => {
                bytes.extend_from_slice(string(frame, argument)?);
                bytes.push(0);
            }
            Item::Bytes(size) => {
                let string = string(frame, argument)?;
                let size = if size == 0 { string.len() } else { size };
                match string.get(..size) {
                    Some(taken) => bytes.extend_from_slice(taken),
                    None => return Err(frame.argument_error(argument + 1, "string too short")),
                }
            }
        }
        argument += 1;
    }
    frame.push_bytes(&bytes);
    Ok(1)
}

/// The number argument at `index`; a missing one counts as nil.
fn number(frame: &mut Frame<'_>, index: i32) -> Result<f64, Raised> {
    match frame.number(index) {
        Some(number) => Ok(number),
        None => Err(frame.argument_error(index, &format!("number expected, got {}", given(frame, index)))),
    }
}

fn string<'f>(frame: &mut Frame<'f>, index: i32) -> Result<&'f [u8], Raised> {
    if matches!(frame.kind(index), Kind::String | Kind::Number) {
        return frame.check_bytes(index);
    }
    let complaint = format!("string expected, got {}", given(frame, index));
    Err(frame.argument_error(index, &complaint))
}

fn given(frame: &Frame<'_>, index: i32) -> &'static str {
    match frame.kind(index) {
        Kind::None => "nil",
        _ => frame.kind_name(index),
    }
}

fn unknown(frame: &mut Frame<'_>, letter: u8) -> Raised {
    let complaint = format!("invalid format option '{}'", char::from(letter));
    frame.argument_error(1, &complaint)
}

/// The integer part of `number` in 64 bits, as an x86 processor converts it.
fn to_bits(number: f64) -> u64 {
    if number.is_nan() {
        1 << 63
    } else if number < 0.0 {
        (number as i64).cast_unsigned()
    } else if number < 18_446_744_073_709_551_616.0 {
        number as u64
    } else {
        0
    }
}

fn put_integer(bytes: &mut Vec<u8>, bits: u64, size: usize, big_endian: bool) {
    let start = bytes.len();
    bytes.extend_from_slice(&bits.to_le_bytes()[..size.min(8)]);
    bytes.resize(start + size, 0);
    if big_endian {
        bytes[start..].reverse();
    }
}

fn ordered<const N: usize>(mut little_endian: [u8; N], big_endian: bool) -> [u8; N] {
    if big_endian {
        little_endian.reverse();
    }
    little_endian
}

/// `struct.unpack(format, bytes [, position])`: the values, and the position behind them.
fn unpack(frame: &mut Frame<'_>) -> Results {
    const TOO_SHORT: &str = "data string too short";
    let mut format = Format::new(frame.check_bytes(1)?);
    let data = frame.check_bytes(2)?;
    let mut at = match frame.kind(3) {
        Kind::None | Kind::Nil => 0,
        _ => match frame.check_number(3)? as i64 {
            0 => return Err(frame.argument_error(3, "offset must be 1 or greater")),
            // A negative position is beyond every end, as it is for C's unsigned sizes.
            position => usize::try_from(position - 1).unwrap_or(usize::MAX / 2),
        },
    };
    let mut results = 0;
    loop {
        let (item, padding) = match format.next(at) {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(flaw) => return Err(frame.raise_here(flaw.text().as_bytes())),
        };
        at += padding;
        let Some(mut taken) = data.get(at..).and_then(|rest| rest.get(..item.size())) else {
            return Err(frame.argument_error(2, TOO_SHORT));
        };
        if results >= MOST_RESULTS {
            return Err(frame.raise_here(b"too many results to unpack"));
        }
        match item {
            Item::Control | Item::Padding => {
                at += taken.len();
                continue;
            }
            Item::Unknown(letter) => return Err(unknown(frame, letter)),
            Item::Signed(_) => frame.push_number(signed(taken, format.big_endian) as f64),
            Item::Unsigned(_) => frame.push_number(unsigned(taken, format.big_endian) as f64),
            Item::Float => {
                let bytes = ordered(*taken.first_chunk().expect("a float was taken"), format.big_endian);
                frame.push_number(f64::from(f32::from_le_bytes(bytes)));
            }
            Item::Double => {
                let bytes = ordered(*taken.first_chunk().expect("a double was taken"), format.big_endian);
                frame.push_number(f64::from_le_bytes(bytes));
            }
            Item::Bytes(0) => {
                let size = match frame.number(frame.top()) {
                    Some(size) if results > 0 => size,
                    _ => return Err(frame.raise_here(b"format 'c0' needs a previous size")),
                };
                frame.pop(1);
                results -= 1;
                match usize::try_from(size as i64).ok().and_then(|size| data[at..].get(..size)) {
                    Some(bytes) => taken = bytes,
                    None => return Err(frame.argument_error(2, TOO_SHORT)),
                }
                frame.push_bytes(taken);
            }
            Item::Bytes(_) => frame.push_bytes(taken),
            Item::Terminated => {
                let Some(length) = data[at..].iter().position(|&byte| byte == 0) else {
                    return Err(frame.raise_here(b"unfinished string in data"));
                };
                frame.push_bytes(&data[at..at + length]);
                taken = &data[at..at + length + 1];
            }
        }
        at += taken.len();
        results += 1;
    }
    frame.push_number((at + 1) as f64);
    Ok(results + 1)
}

/// The last 64 bits of an unsigned integer.
fn unsigned(bytes: &[u8], big_endian: bool) -> u64 {
    let join = |bits: u64, byte: &u8| bits << 8 | u64::from(*byte);
    if big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
}

fn signed(bytes: &[u8], big_endian: bool) -> i64 {
    let unused = 64 - 8 * bytes.len().clamp(1, 8);
    (unsigned(bytes, big_endian) << unused).cast_signed() >> unused
}

/// `struct.size(format)`
fn size(frame: &mut Frame<'_>) -> Results {
    let mut format = Format::new(frame.check_bytes(1)?);
    let mut total = 0usize;
    loop {
        match format.next(total) {
            Ok(None) => break,
            Ok(Some((Item::Terminated, _))) => return Err(frame.argument_error(1, "option 's' has no fixed size")),
            Ok(Some((Item::Bytes(0), _))) => return Err(frame.argument_error(1, "option 'c0' has no fixed size")),
            Ok(Some((item, padding))) => total = total.saturating_add(padding + item.size()),
            Err(flaw) => return Err(frame.raise_here(flaw.text().as_bytes())),
        }
    }
    frame.push_number(total as f64);
    Ok(1)
}

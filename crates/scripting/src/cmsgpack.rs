//! The `cmsgpack` library: MessagePack bytes from Lua values and back.
//!
//! Packing goes 16 tables deep and writes nil for what lies deeper, as Redis' library does; so
//! tables that contain themselves can be packed. Unpacking is bounded, too.

use crate::lua::{Frame, Kind, Raised, Results};

/// How deep tables are packed.
const PACK_DEPTH: usize = 16;

/// How deep tables are unpacked.
const UNPACK_DEPTH: usize = 1000;

/// How many values one call unpacks at most.
const MOST_RESULTS: i32 = 7990;

/// Pushes the library.
pub(crate) fn push(frame: &mut Frame<'_>) {
    frame.push_table(0, 8);
    let table = frame.top();
    frame.push_function(c"pack", pack);
    frame.raw_set_field(table, c"pack");
    frame.push_function(c"unpack", unpack);
    frame.raw_set_field(table, c"unpack");
    frame.push_function(c"unpack_one", unpack_one);
    frame.raw_set_field(table, c"unpack_one");
    frame.push_function(c"unpack_limit", unpack_limit);
    frame.raw_set_field(table, c"unpack_limit");
    for (name, text) in [
        (c"_NAME", "cmsgpack"),
        (c"_VERSION", "lua-cmsgpack 0.4.0"),
        (c"_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"),
        (c"_DESCRIPTION", "MessagePack C implementation for Lua"),
    ] {
        frame.push_bytes(text.as_bytes());
        frame.raw_set_field(table, name);
    }
}

/// `pack(value, ...)`
fn pack(frame: &mut Frame<'_>) -> Results {
    let count = frame.arguments();
    if count == 0 {
        return Err(frame.argument_error(0, "MessagePack pack needs input."));
    }
    let mut bytes = Vec::with_capacity(64);
    for index in 1..=count {
        frame.push_copy(index);
        write(frame, &mut bytes, 0);
    }
    frame.push_bytes(&bytes);
    Ok(1)
}

/// Writes the value on top and pops it.
fn write(frame: &mut Frame<'_>, bytes: &mut Vec<u8>, depth: usize) {
    let top = frame.top();
    match frame.kind(top) {
        Kind::String => write_string(bytes, frame.bytes(top).unwrap_or_default()),
        Kind::Number => write_number(bytes, frame.number(top).unwrap_or_default()),
        Kind::Boolean => bytes.push(if frame.truthy(top) { 0xc3 } else { 0xc2 }),
        Kind::Table if depth < PACK_DEPTH => write_table(frame, bytes, top, depth),
        _ => bytes.push(0xc0),
    }
    frame.pop(1);
}

fn write_table(frame: &mut Frame<'_>, bytes: &mut Vec<u8>, table: i32, depth: usize) {
    let (entries, is_array) = survey(frame, table);
    if is_array {
        match entries {
            0..16 => bytes.push(0x90 | entries as u8),
            16..0x1_0000 => push_sized(bytes, 0xdc, &(entries as u16).to_be_bytes()),
            _ => push_sized(bytes, 0xdd, &entries.to_be_bytes()),
        }
        for position in 1..=entries {
            frame.raw_get_index(table, position as i32);
            write(frame, bytes, depth + 1);
        }
        return;
    }
    match entries {
        0..16 => bytes.push(0x80 | entries as u8),
        16..0x1_0000 => push_sized(bytes, 0xde, &(entries as u16).to_be_bytes()),
        _ => push_sized(bytes, 0xdf, &entries.to_be_bytes()),
    }
    let mut cursor = 0;
    while let Some(next) = frame.step(table, cursor) {
        frame.push_copy(table + 1);
        write(frame, bytes, depth + 1);
        write(frame, bytes, depth + 1);
        frame.pop(1);
        cursor = next;
    }
}

/// How many entries a table has, and whether their keys are 1, 2, 3 ... to that number.
fn survey(frame: &mut Frame<'_>, table: i32) -> (u32, bool) {
    let (mut entries, mut highest, mut positions) = (0u32, 0.0f64, true);
    let mut cursor = 0;
    while let Some(next) = frame.step(table, cursor) {
        let key = frame.top() - 1;
        match (frame.kind(key), frame.number(key)) {
            (Kind::Number, Some(number)) if number >= 1.0 && number.fract() == 0.0 => highest = highest.max(number),
            _ => positions = false,
        }
        frame.pop(2);
        entries += 1;
        cursor = next;
    }
    (entries, positions && highest == f64::from(entries))
}

fn push_sized(bytes: &mut Vec<u8>, mark: u8, size: &[u8]) {
    bytes.push(mark);
    bytes.extend_from_slice(size);
}

fn write_string(bytes: &mut Vec<u8>, string: &[u8]) {
    match string.len() {
        length @ 0..32 => bytes.push(0xa0 | length as u8),
        length @ 32..0x100 => push_sized(bytes, 0xd9, &[length as u8]),
        length @ 0x100..0x1_0000 => push_sized(bytes, 0xda, &(length as u16).to_be_bytes()),
        // Lua's strings are shorter than 2^30 bytes.
        length => push_sized(bytes, 0xdb, &(length as u32).to_be_bytes()),
    }
    bytes.extend_from_slice(string);
}

/// Writes integers of 64 bits in the fewest bytes, everything else as a float if that loses nothing.
fn write_number(bytes: &mut Vec<u8>, number: f64) {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if !((-BOUND..BOUND).contains(&number) && number.fract() == 0.0) {
        let narrow = number as f32;
        if f64::from(narrow) == number {
            push_sized(bytes, 0xca, &narrow.to_be_bytes());
        } else {
            push_sized(bytes, 0xcb, &number.to_be_bytes());
        }
        return;
    }
    let integer = number as i64;
    match integer {
        0..0x80 => bytes.push(integer as u8),
        0x80..0x100 => push_sized(bytes, 0xcc, &[integer as u8]),
        0x100..0x1_0000 => push_sized(bytes, 0xcd, &(integer as u16).to_be_bytes()),
        0x1_0000..0x1_0000_0000 => push_sized(bytes, 0xce, &(integer as u32).to_be_bytes()),
        0x1_0000_0000.. => push_sized(bytes, 0xcf, &integer.to_be_bytes()),
        -0x20..0 => bytes.push(integer as u8),
        -0x80..-0x20 => push_sized(bytes, 0xd0, &[integer as u8]),
        -0x8000..-0x80 => push_sized(bytes, 0xd1, &(integer as i16).to_be_bytes()),
        -0x8000_0000..-0x8000 => push_sized(bytes, 0xd2, &(integer as i32).to_be_bytes()),
        _ => push_sized(bytes, 0xd3, &integer.to_be_bytes()),
    }
}

/// `unpack(bytes)`: all values.
fn unpack(frame: &mut Frame<'_>) -> Results {
    read_values(frame, 0, 0)
}

/// `unpack_one(bytes [, offset])`: where the next value begins (-1: nowhere), and one value.
fn unpack_one(frame: &mut Frame<'_>) -> Results {
    let offset = integer(frame, 2, Some(0))?;
    read_values(frame, 1, offset)
}

/// `unpack_limit(bytes, limit [, offset])`: where the next value begins (-1: nowhere), and at most `limit` values.
fn unpack_limit(frame: &mut Frame<'_>) -> Results {
    let limit = integer(frame, 2, None)?;
    let offset = integer(frame, 3, Some(0))?;
    read_values(frame, limit, offset)
}

fn integer(frame: &mut Frame<'_>, index: i32, default: Option<i64>) -> Result<i64, Raised> {
    match (frame.kind(index), default) {
        (Kind::None | Kind::Nil, Some(default)) => Ok(default),
        _ => Ok(frame.check_number(index)? as i64),
    }
}

/// Without limit and offset all values are read, and no offset is returned.
fn read_values(frame: &mut Frame<'_>, limit: i64, offset: i64) -> Results {
    let bytes = frame.check_bytes(1)?;
    let length = bytes.len();
    if offset < 0 || limit < 0 {
        let complaint = format!("Invalid request to unpack with offset of {offset} and limit of {length}.");
        return Err(frame.raise_here(complaint.as_bytes()));
    }
    let Some(rest) = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)) else {
        let complaint = format!("Start offset {offset} greater than input length {length}.");
        return Err(frame.raise_here(complaint.as_bytes()));
    };
    let everything = limit == 0 && offset == 0;
    let mut reader = Reader { rest };
    let bottom = frame.top();
    if !everything {
        frame.push_nil();
    }
    let mut count = 0;
    while !reader.rest.is_empty() && (everything || i64::from(count) < limit) {
        if count == MOST_RESULTS {
            let complaint = b"too many return values at once; use unpack_one or unpack_limit instead.";
            return Err(frame.raise_here(complaint));
        }
        if let Err(flaw) = reader.push(frame, 0) {
            return Err(frame.raise_here(flaw.text().as_bytes()));
        }
        count += 1;
    }
    if everything {
        return Ok(count);
    }
    let next = if reader.rest.is_empty() { -1.0 } else { (length - reader.rest.len()) as f64 };
    frame.push_number(next);
    frame.replace(bottom + 1);
    Ok(count + 1)
}

/// What is wrong with packed bytes.
#[derive(Debug, Clone, Copy)]
enum Flaw {
    Missing,
    Unknown,
    TooDeep,
}

impl Flaw {
    fn text(self) -> &'static str {
        match self {
            Flaw::Missing => "Missing bytes in input.",
            Flaw::Unknown => "Bad data format in input.",
            Flaw::TooDeep => "stack overflow (the data is nested too deeply)",
        }
    }
}

struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Flaw> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Flaw::Missing)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (&taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Flaw::Missing)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Pushes the next value.
    fn push(&mut self, frame: &mut Frame<'_>, depth: usize) -> Result<(), Flaw> {
        if depth > UNPACK_DEPTH {
            return Err(Flaw::TooDeep);
        }
        let [mark] = self.array()?;
        match mark {
            0x00..=0x7f | 0xe0..=0xff => frame.push_number(f64::from(mark.cast_signed())),
            0xc0 => frame.push_nil(),
            0xc2 => frame.push_boolean(false),
            0xc3 => frame.push_boolean(true),
            0xca => frame.push_number(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => frame.push_number(f64::from_be_bytes(self.array()?)),
            0xcc => frame.push_number(f64::from(u8::from_be_bytes(self.array()?))),
            0xcd => frame.push_number(f64::from(u16::from_be_bytes(self.array()?))),
            0xce => frame.push_number(f64::from(u32::from_be_bytes(self.array()?))),
            0xd0 => frame.push_number(f64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => frame.push_number(f64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => frame.push_number(f64::from(i32::from_be_bytes(self.array()?))),
            // Unsigned integers beyond 63 bits come out negative, as in Redis.
            0xcf | 0xd3 => frame.push_number(i64::from_be_bytes(self.array()?) as f64),
            0xa0..=0xbf => frame.push_bytes(self.take(usize::from(mark & 31))?),
            0xd9 => {
                let length = u8::from_be_bytes(self.array()?);
                frame.push_bytes(self.take(usize::from(length))?);
            }
            0xda => {
                let length = u16::from_be_bytes(self.array()?);
                frame.push_bytes(self.take(usize::from(length))?);
            }
            0xdb => {
                let length = u32::from_be_bytes(self.array()?);
                frame.push_bytes(self.take(length as usize)?);
            }
            0x90..=0x9f => self.push_array(frame, u32::from(mark & 15), depth)?,
            0xdc => {
                let count = u16::from_be_bytes(self.array()?);
                self.push_array(frame, u32::from(count), depth)?;
            }
            0xdd => {
                let count = u32::from_be_bytes(self.array()?);
                self.push_array(frame, count, depth)?;
            }
            0x80..=0x8f => self.push_map(frame, u32::from(mark & 15), depth)?,
            0xde => {
                let count = u16::from_be_bytes(self.array()?);
                self.push_map(frame, u32::from(count), depth)?;
            }
            0xdf => {
                let count = u32::from_be_bytes(self.array()?);
                self.push_map(frame, count, depth)?;
            }
            _ => return Err(Flaw::Unknown),
        }
        Ok(())
    }

    fn push_array(&mut self, frame: &mut Frame<'_>, count: u32, depth: usize) -> Result<(), Flaw> {
        // A count that the rest can't hold gets no memory in advance.
        frame.push_table((count as usize).min(self.rest.len()), 0);
        let table = frame.top();
        for position in 1..=count {
            self.push(frame, depth + 1)?;
            frame.raw_set_index(table, position as i32);
        }
        Ok(())
    }

    fn push_map(&mut self, frame: &mut Frame<'_>, count: u32, depth: usize) -> Result<(), Flaw> {
        frame.push_table(0, (count as usize).min(self.rest.len() / 2));
        let table = frame.top();
        for _ in 0..count {
            self.push(frame, depth + 1)?;
            self.push(frame, depth + 1)?;
            frame.raw_set(table);
        }
        Ok(())
    }
}

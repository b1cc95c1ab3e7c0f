//! Commands' replies as Lua values: the bytes that the host wrote, pushed onto the Lua stack.
//!
//! | reply | Lua, RESP2 | Lua, RESP3 |
//! | --- | --- | --- |
//! | integer | number | number |
//! | bulk string | string | string |
//! | array, push | table | table |
//! | status | `{ok=...}` | `{ok=...}` |
//! | error | `{err=..., ignore_error_stats_update=true}` | the same |
//! | absent value or array | false | nil |
//! | map, set | — | `{map={...}}`, `{set={[element]=true}}` |
//! | double, big number | — | `{double=...}`, `{big_number=...}` |
//! | boolean | — | true, false |
//! | verbatim text | — | `{verbatim_string={format=..., string=...}}` |
//!
//! Attributes are read and dropped.

use crate::lua::{Frame, Kind, Raised};

/// How deep replies may be nested.
const MAX_DEPTH: usize = 128;

/// Pushes the one reply that `wire` holds and says whether it is an error.
pub(crate) fn push(frame: &mut Frame<'_>, wire: &[u8]) -> Result<Pushed, Raised> {
    let mut reader = Reader { rest: wire };
    match reader.push(frame, 0) {
        Ok(pushed) if reader.rest.is_empty() => Ok(pushed),
        Ok(_) | Err(Unreadable) => Err(frame.raise(b"the server's reply to the script can't be read")),
    }
}

/// What was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Value,
    /// A table that describes an error.
    Error,
}

struct Unreadable;

struct Reader<'w> {
    rest: &'w [u8],
}

impl<'w> Reader<'w> {
    fn line(&mut self) -> Result<&'w [u8], Unreadable> {
        let end = self.rest.iter().position(|&byte| byte == b'\r').ok_or(Unreadable)?;
        let line = &self.rest[..end];
        self.rest = self.rest[end..].strip_prefix(b"\r\n").ok_or(Unreadable)?;
        Ok(line)
    }

    fn body(&mut self, length: usize) -> Result<&'w [u8], Unreadable> {
        let (body, rest) = self.rest.split_at_checked(length).ok_or(Unreadable)?;
        self.rest = rest.strip_prefix(b"\r\n").ok_or(Unreadable)?;
        Ok(body)
    }

    /// A length; `None` for the absent value.
    fn length(&mut self) -> Result<Option<usize>, Unreadable> {
        match integer(self.line()?)? {
            -1 => Ok(None),
            length => Ok(Some(usize::try_from(length).map_err(|_| Unreadable)?)),
        }
    }

    /// The number of elements that follow, each of which takes at least three bytes.
    fn count(&mut self) -> Result<Option<usize>, Unreadable> {
        match self.length()? {
            Some(count) if count > self.rest.len() => Err(Unreadable),
            count => Ok(count),
        }
    }

    fn push(&mut self, frame: &mut Frame<'_>, depth: usize) -> Result<Pushed, Unreadable> {
        let (&mark, rest) = self.rest.split_first().ok_or(Unreadable)?;
        self.rest = rest;
        if depth > MAX_DEPTH {
            return Err(Unreadable);
        }
        match mark {
            b'$' => match self.length()? {
                Some(length) => frame.push_bytes(self.body(length)?),
                None => frame.push_boolean(false),
            },
            b':' => frame.push_number(integer(self.line()?)? as f64),
            b'*' | b'>' => match self.count()? {
                Some(count) => self.push_array(frame, count, depth)?,
                None => frame.push_boolean(false),
            },
            b'+' => {
                frame.push_table(0, 1);
                frame.push_bytes(self.line()?);
                name_it(frame, c"ok");
            }
            b'-' => {
                push_error(frame, self.line()?, true);
                return Ok(Pushed::Error);
            }
            b'!' => {
                let length = self.length()?.ok_or(Unreadable)?;
                push_error(frame, self.body(length)?, true);
                return Ok(Pushed::Error);
            }
            b'_' => {
                self.line()?;
                frame.push_nil();
            }
            b'#' => match self.line()? {
                b"t" => frame.push_boolean(true),
                b"f" => frame.push_boolean(false),
                _ => return Err(Unreadable),
            },
            b'%' => self.push_map(frame, depth)?,
            b'~' => self.push_set(frame, depth)?,
            b',' => {
                let text = std::str::from_utf8(self.line()?).map_err(|_| Unreadable)?;
                frame.push_table(0, 1);
                frame.push_number(text.parse().map_err(|_| Unreadable)?);
                name_it(frame, c"double");
            }
            b'(' => {
                frame.push_table(0, 1);
                frame.push_bytes(self.line()?);
                name_it(frame, c"big_number");
            }
            b'=' => self.push_verbatim(frame)?,
            b'|' => {
                let pairs = self.count()?.ok_or(Unreadable)?;
                for _ in 0..2 * pairs {
                    self.push(frame, depth + 1)?;
                    frame.pop(1);
                }
                return self.push(frame, depth + 1);
            }
            _ => return Err(Unreadable),
        }
        Ok(Pushed::Value)
    }

    fn push_array(&mut self, frame: &mut Frame<'_>, count: usize, depth: usize) -> Result<(), Unreadable> {
        frame.push_table(count, 0);
        let table = frame.top();
        for position in 1..=i32::try_from(count).map_err(|_| Unreadable)? {
            self.push(frame, depth + 1)?;
            frame.raw_set_index(table, position);
        }
        Ok(())
    }

    fn push_map(&mut self, frame: &mut Frame<'_>, depth: usize) -> Result<(), Unreadable> {
        let pairs = self.count()?.ok_or(Unreadable)?;
        frame.push_table(0, 1);
        frame.push_table(0, pairs);
        let table = frame.top();
        for _ in 0..pairs {
            self.push(frame, depth + 1)?;
            self.push(frame, depth + 1)?;
            set_or_drop(frame, table);
        }
        name_it(frame, c"map");
        Ok(())
    }

    fn push_set(&mut self, frame: &mut Frame<'_>, depth: usize) -> Result<(), Unreadable> {
        let count = self.count()?.ok_or(Unreadable)?;
        frame.push_table(0, 1);
        frame.push_table(0, count);
        let table = frame.top();
        for _ in 0..count {
            self.push(frame, depth + 1)?;
            frame.push_boolean(true);
            set_or_drop(frame, table);
        }
        name_it(frame, c"set");
        Ok(())
    }

    fn push_verbatim(&mut self, frame: &mut Frame<'_>) -> Result<(), Unreadable> {
        let length = self.length()?.ok_or(Unreadable)?;
        let (format, text) = self.body(length)?.split_at_checked(4).ok_or(Unreadable)?;
        frame.push_table(0, 1);
        frame.push_table(0, 2);
        frame.push_bytes(text);
        name_it(frame, c"string");
        frame.push_bytes(&format[..3]);
        name_it(frame, c"format");
        name_it(frame, c"verbatim_string");
        Ok(())
    }
}

/// Pushes the table that describes an error; `counted` says that the statistics know of it already.
pub(crate) fn push_error(frame: &mut Frame<'_>, text: &[u8], counted: bool) {
    frame.push_table(0, 2);
    frame.push_bytes(text);
    name_it(frame, c"err");
    if counted {
        frame.push_boolean(true);
        name_it(frame, c"ignore_error_stats_update");
    }
}

/// Pops a value and stores it under `name` in the table below it.
fn name_it(frame: &mut Frame<'_>, name: &std::ffi::CStr) {
    let table = frame.top() - 1;
    frame.raw_set_field(table, name);
}

/// Pops a value and a key and stores them, unless the key is one that no table takes.
fn set_or_drop(frame: &mut Frame<'_>, table: i32) {
    if frame.kind(frame.top() - 1) == Kind::Nil {
        frame.pop(2);
    } else {
        frame.raw_set(table);
    }
}

fn integer(line: &[u8]) -> Result<i64, Unreadable> {
    let (negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(Unreadable);
    }
    let mut number = 0i64;
    for &digit in digits {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        if digit > 9 {
            return Err(Unreadable);
        }
        // Counting downwards reaches the least of all integers, too.
        number = number.checked_mul(10).and_then(|number| number.checked_sub(digit)).ok_or(Unreadable)?;
    }
    if negative { Ok(number) } else { number.checked_neg().ok_or(Unreadable) }
}

//! `cjson.encode`: a Lua value as JSON text.

use super::{Invalid, Settings, settings};
use crate::lua::{Frame, Kind, Raised, Results};
use crate::number::text_g;

/// The longest text that is made, in bytes. A sparse array is far longer as text than in memory, so
/// Lua's memory limit alone would not bound it.
const MAX_TEXT: usize = 512 << 20;

/// `encode(value)`
pub(super) fn encode(frame: &mut Frame<'_>) -> Results {
    if frame.arguments() != 1 {
        return Err(frame.argument_error(1, "expected 1 argument"));
    }
    let settings = *settings(frame);
    let mut encoder = Encoder { frame, settings, text: Vec::with_capacity(64), open: Vec::new() };
    encoder.frame.push_copy(1);
    encoder.value()?;
    while let Some(container) = encoder.open.last().copied() {
        encoder.proceed(container)?;
        if encoder.text.len() > MAX_TEXT {
            return Err(encoder.frame.raise_here(b"Cannot serialise, the text is too long"));
        }
    }
    let text = encoder.text;
    frame.push_bytes(&text);
    Ok(1)
}

struct Encoder<'e, 'f> {
    frame: &'e mut Frame<'f>,
    settings: Settings,
    text: Vec<u8>,
    /// The tables that are begun and not closed yet, outermost first.
    open: Vec<Container>,
}

/// A table that is being written; it lies at `table` on the stack.
#[derive(Debug, Clone, Copy)]
enum Container {
    Array { table: i32, length: i32, written: i32 },
    Object { table: i32, cursor: i32, written: bool },
}

impl Encoder<'_, '_> {
    /// Writes the value on top and pops it; a table is only begun, and stays.
    fn value(&mut self) -> Result<(), Raised> {
        let top = self.frame.top();
        match self.frame.kind(top) {
            Kind::String => {
                write_string(&mut self.text, self.frame.bytes(top).unwrap_or_default());
            }
            Kind::Number => self.number(top)?,
            Kind::Boolean => self.text.extend_from_slice(if self.frame.truthy(top) { b"true" } else { b"false" }),
            Kind::Nil => self.text.extend_from_slice(b"null"),
            Kind::LightUserdata if self.frame.is_null(top) => self.text.extend_from_slice(b"null"),
            Kind::Table => return self.begin(top),
            _ => return Err(self.refuse(top, "type not supported")),
        }
        self.frame.pop(1);
        Ok(())
    }

    fn refuse(&mut self, index: i32, why: &str) -> Raised {
        let complaint = format!("Cannot serialise {}: {why}", self.frame.kind_name(index));
        self.frame.raise_here(complaint.as_bytes())
    }

    fn number(&mut self, index: i32) -> Result<(), Raised> {
        let number = self.frame.number(index).unwrap_or_default();
        if !number.is_finite() {
            match self.settings.encode_invalid {
                Invalid::Refuse => return Err(self.refuse(index, "must not be NaN or Inf")),
                Invalid::Null => self.text.extend_from_slice(b"null"),
                Invalid::Write if number.is_nan() => self.text.extend_from_slice(b"nan"),
                Invalid::Write => self.text.extend_from_slice(if number > 0.0 { b"inf" } else { b"-inf" }),
            }
            return Ok(());
        }
        self.text.extend_from_slice(text_g(number, self.settings.number_precision as usize).as_bytes());
        Ok(())
    }

    fn begin(&mut self, table: i32) -> Result<(), Raised> {
        let depth = self.open.len() + 1;
        if depth > self.settings.encode_max_depth as usize {
            let complaint = format!("Cannot serialise, excessive nesting ({depth})");
            return Err(self.frame.raise_here(complaint.as_bytes()));
        }
        match self.array_length(table)? {
            Some(length) => {
                self.text.push(b'[');
                self.open.push(Container::Array { table, length, written: 0 });
            }
            None => {
                self.text.push(b'{');
                self.open.push(Container::Object { table, cursor: 0, written: false });
            }
        }
        Ok(())
    }

    /// The length of the array that the table is; `None` for an object, which the empty table is, too.
    fn array_length(&mut self, table: i32) -> Result<Option<i32>, Raised> {
        let (mut most, mut elements) = (0.0f64, 0.0f64);
        let mut cursor = 0;
        while let Some(next) = self.frame.step(table, cursor) {
            let key = self.frame.top() - 1;
            let position = match self.frame.kind(key) {
                Kind::Number => self.frame.number(key).unwrap_or_default(),
                _ => 0.0,
            };
            self.frame.pop(2);
            if position < 1.0 || position.fract() != 0.0 || position > f64::from(i32::MAX) {
                return Ok(None);
            }
            most = most.max(position);
            elements += 1.0;
            cursor = next;
        }
        let ratio = f64::from(self.settings.sparse_ratio);
        if ratio > 0.0 && most > elements * ratio && most > f64::from(self.settings.sparse_safe) {
            if !self.settings.sparse_convert {
                return Err(self.refuse(table, "excessively sparse array"));
            }
            return Ok(None);
        }
        Ok((most > 0.0).then_some(most as i32))
    }

    /// Writes the next element of the innermost table, or its end.
    fn proceed(&mut self, container: Container) -> Result<(), Raised> {
        match container {
            Container::Array { table, length, written } if written < length => {
                self.note(Container::Array { table, length, written: written + 1 });
                if written > 0 {
                    self.text.push(b',');
                }
                self.frame.raw_get_index(table, written + 1);
                return self.value();
            }
            Container::Array { .. } => self.text.push(b']'),
            Container::Object { table, cursor, written } => {
                if let Some(next) = self.frame.step(table, cursor) {
                    self.note(Container::Object { table, cursor: next, written: true });
                    if written {
                        self.text.push(b',');
                    }
                    self.key(table + 1)?;
                    self.frame.replace(table + 1);
                    return self.value();
                }
                self.text.push(b'}');
            }
        }
        self.open.pop();
        self.frame.pop(1);
        Ok(())
    }

    fn note(&mut self, container: Container) {
        *self.open.last_mut().expect("the caller is inside of a table") = container;
    }

    fn key(&mut self, index: i32) -> Result<(), Raised> {
        match self.frame.kind(index) {
            Kind::String => write_string(&mut self.text, self.frame.bytes(index).unwrap_or_default()),
            Kind::Number => {
                self.text.push(b'"');
                self.number(index)?;
                self.text.push(b'"');
            }
            _ => return Err(self.refuse(index, "table key must be a number or string")),
        }
        self.text.extend_from_slice(b":");
        Ok(())
    }
}

/// Appends `bytes` as a JSON string. What is no UTF-8 stays as it is.
fn write_string(text: &mut Vec<u8>, bytes: &[u8]) {
    text.push(b'"');
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && !matches!(byte, b'"' | b'\\' | b'/' | 0x7f) {
            continue;
        }
        text.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'"' | b'\\' | b'/' => text.extend_from_slice(&[b'\\', byte]),
            0x08 => text.extend_from_slice(b"\\b"),
            b'\t' => text.extend_from_slice(b"\\t"),
            b'\n' => text.extend_from_slice(b"\\n"),
            0x0c => text.extend_from_slice(b"\\f"),
            b'\r' => text.extend_from_slice(b"\\r"),
            _ => text.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    text.extend_from_slice(&bytes[plain..]);
    text.push(b'"');
}

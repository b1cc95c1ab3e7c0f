//! What a script returns, as the bytes of a reply.
//!
//! A table with one of the fields `err`, `ok`, `double`, `map`, `set`, `big_number` or
//! `verbatim_string` (the first of them counts) is that kind of reply; any other is an array that
//! ends before its first nil. Numbers lose their fraction. Metatables are not asked: a reply is
//! written without running code.

use quorate_resp::{Protocol, ReplyWriter};

use crate::lua::{Frame, Kind};
use crate::number::text_shortest;

/// How deep the tables of a reply may be nested. Redis stops at the size of its Lua stack, about 8000.
const MAX_DEPTH: usize = 1000;

/// Whether a reply is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Value,
    /// An error, which the statistics know of already if it was `counted`.
    Error {
        counted: bool,
    },
}

/// Pops the value on top and writes it as a reply, for a script that spoke `script` at its end.
pub(crate) fn write(frame: &mut Frame<'_>, writer: &mut ReplyWriter<'_>, script: Protocol) -> Answer {
    let answer = Writer { frame, writer, script }.write(0);
    frame.pop(1);
    answer
}

struct Writer<'w, 'f, 'o> {
    frame: &'w mut Frame<'f>,
    writer: &'w mut ReplyWriter<'o>,
    script: Protocol,
}

impl Writer<'_, '_, '_> {
    /// Writes the value on top and leaves it there.
    fn write(&mut self, depth: usize) -> Answer {
        let value = self.frame.top();
        match self.frame.kind(value) {
            Kind::String => self.writer.bulk(self.frame.bytes(value).unwrap_or_default()),
            // Out of range is what an x86 processor makes of it: the least of all integers.
            Kind::Number => self.writer.int(truncate(self.frame.number(value).unwrap_or_default())),
            Kind::Boolean => match (self.frame.truthy(value), self.script) {
                (truth, Protocol::Resp3) => self.writer.boolean(truth),
                (true, Protocol::Resp2) => self.writer.int(1),
                (false, Protocol::Resp2) => self.writer.null(),
            },
            Kind::Table => {
                let answer = self.write_table(value, depth);
                // Fields that were looked at are still on the stack.
                let extra = self.frame.top() - value;
                self.frame.pop(extra);
                return answer;
            }
            _ => self.writer.null(),
        }
        Answer::Value
    }

    fn write_table(&mut self, table: i32, depth: usize) -> Answer {
        if depth >= MAX_DEPTH {
            self.writer.error(b"ERR reached lua stack limit");
            return Answer::Value;
        }
        if self.frame.raw_get_field(table, c"err") == Kind::String {
            self.writer.error(self.frame.bytes(self.frame.top()).unwrap_or_default());
            self.frame.raw_get_field(table, c"ignore_error_stats_update");
            return Answer::Error { counted: self.frame.truthy(self.frame.top()) };
        }
        self.frame.pop(1);
        if self.frame.raw_get_field(table, c"ok") == Kind::String {
            let text = one_line(self.frame.bytes(self.frame.top()).unwrap_or_default());
            self.writer.raw(b"+");
            self.writer.raw(&text);
            self.writer.raw(b"\r\n");
            return Answer::Value;
        }
        self.frame.pop(1);
        if self.frame.raw_get_field(table, c"double") == Kind::Number {
            let number = self.frame.number(self.frame.top()).unwrap_or_default();
            self.writer.double_text(text_shortest(number).as_bytes());
            return Answer::Value;
        }
        self.frame.pop(1);
        if self.frame.raw_get_field(table, c"map") == Kind::Table {
            self.write_entries(Entries::Pairs, depth);
            return Answer::Value;
        }
        self.frame.pop(1);
        if self.frame.raw_get_field(table, c"set") == Kind::Table {
            self.write_entries(Entries::Keys, depth);
            return Answer::Value;
        }
        self.frame.pop(1);
        if self.frame.raw_get_field(table, c"big_number") == Kind::String {
            let digits = one_line(self.frame.bytes(self.frame.top()).unwrap_or_default());
            self.writer.big_number(&digits);
            return Answer::Value;
        }
        self.frame.pop(1);
        if self.write_verbatim(table) {
            return Answer::Value;
        }
        self.write_array(table, depth);
        Answer::Value
    }

    /// Writes the keys, or the keys and values, of the table on top.
    fn write_entries(&mut self, entries: Entries, depth: usize) {
        let table = self.frame.top();
        let mut count = 0;
        let mut cursor = 0;
        while let Some(next) = self.frame.step(table, cursor) {
            self.frame.pop(2);
            count += 1;
            cursor = next;
        }
        match entries {
            Entries::Pairs => self.writer.map(count),
            Entries::Keys => self.writer.set(count),
        }
        let mut cursor = 0;
        while let Some(next) = self.frame.step(table, cursor) {
            self.frame.push_copy(table + 1);
            self.write(depth + 1);
            self.frame.pop(1);
            if entries == Entries::Pairs {
                self.write(depth + 1);
            }
            self.frame.pop(2);
            cursor = next;
        }
    }

    fn write_verbatim(&mut self, table: i32) -> bool {
        if self.frame.raw_get_field(table, c"verbatim_string") != Kind::Table {
            return false;
        }
        let verbatim = self.frame.top();
        let format = self.frame.raw_get_field(verbatim, c"format");
        let text = self.frame.raw_get_field(verbatim, c"string");
        if (format, text) != (Kind::String, Kind::String) {
            return false;
        }
        let mut kind = *b"   ";
        for (place, byte) in kind.iter_mut().zip(self.frame.bytes(verbatim + 1).unwrap_or_default()) {
            *place = *byte;
        }
        self.writer.verbatim(&kind, self.frame.bytes(verbatim + 2).unwrap_or_default());
        true
    }

    fn write_array(&mut self, table: i32, depth: usize) {
        // The border that Lua reports may lie behind a nil, but never before the first one by more
        // than the walk below finds out.
        let mut length = 0;
        while self.frame.raw_get_index(table, length + 1) != Kind::Nil {
            self.frame.pop(1);
            length += 1;
        }
        self.frame.pop(1);
        self.writer.array(length as usize);
        for position in 1..=length {
            self.frame.raw_get_index(table, position);
            self.write(depth + 1);
            self.frame.pop(1);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entries {
    Pairs,
    Keys,
}

/// The integer part of `number` as an x86 processor converts it.
fn truncate(number: f64) -> i64 {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&number) { number as i64 } else { i64::MIN }
}

/// `text` with blanks for line breaks, which would end the reply and begin another (CVE-2025-67733).
fn one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }).collect()
}

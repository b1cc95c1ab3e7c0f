//! Replies: one writer that speaks both protocol versions into a byte buffer.

/// The version of the protocol that a connection has asked for with HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RESP2, which every connection starts with.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

/// Appends replies to a connection's output.
pub struct ReplyWriter<'a> {
    out: &'a mut Vec<u8>,
    protocol: Protocol,
}

/// The place of an array whose length is not known yet.
#[must_use = "an array that is begun has to be closed with its length"]
pub struct Deferred(usize);

impl<'a> ReplyWriter<'a> {
    /// A writer behind what `out` already holds.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, protocol: Protocol) -> ReplyWriter<'a> {
        ReplyWriter { out, protocol }
    }

    /// The version that this writer speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Bytes in the buffer, earlier replies included.
    pub fn buffered(&self) -> usize {
        self.out.len()
    }

    /// Speaks another version from here on (HELLO, `redis.setresp`).
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// The bytes written so far, with what was there before.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing has been written and nothing was there before.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes back everything behind `len`.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// What stands behind `len`.
    pub fn written_since(&self, len: usize) -> &[u8] {
        &self.out[len..]
    }

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; it must not hold CR or LF.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        self.out.push(b'+');
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// An error with its code in front, without the `-`. Line breaks become blanks, so that no text
    /// that came from a client can forge a second reply (CVE-2025-67733).
    pub fn error(&mut self, text: &[u8]) {
        self.out.push(b'-');
        let end = text.iter().rposition(|&byte| byte != b'\r' && byte != b'\n').map_or(0, |last| last + 1);
        let trimmed = &text[..end];
        self.out.extend(trimmed.iter().map(|&byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        push_prefixed(self.out, b':', value);
    }

    /// A count as an integer.
    #[inline]
    pub fn count(&mut self, value: usize) {
        self.int(value as i64);
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        push_bulk(self.out, bytes);
    }

    /// An integer as a bulk string.
    pub fn bulk_int(&mut self, value: i64) {
        let mut buffer = itoa::Buffer::new();
        self.bulk(buffer.format(value).as_bytes());
    }

    /// The absent value.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// The absent array: differs from [`ReplyWriter::null`] in RESP2 only.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// The head of an array of `len` elements.
    #[inline]
    pub fn array(&mut self, len: usize) {
        push_prefixed(self.out, b'*', len as i64);
    }

    /// The head of a map of `pairs`; in RESP2 an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => push_prefixed(self.out, b'*', 2 * pairs as i64),
            Protocol::Resp3 => push_prefixed(self.out, b'%', pairs as i64),
        }
    }

    /// The head of a set of `len` elements; in RESP2 an array.
    pub fn set(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => push_prefixed(self.out, b'*', len as i64),
            Protocol::Resp3 => push_prefixed(self.out, b'~', len as i64),
        }
    }

    /// The head of an out-of-band message of `len` elements; in RESP2 an array.
    pub fn push(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => push_prefixed(self.out, b'*', len as i64),
            Protocol::Resp3 => push_prefixed(self.out, b'>', len as i64),
        }
    }

    /// A double whose text the caller has formatted; in RESP2 a bulk string.
    pub fn double_text(&mut self, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.out.push(b',');
                self.out.extend_from_slice(text);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A double whose text `write` appends: at most 99 bytes; in RESP2 a bulk string.
    #[inline]
    pub fn double_from(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        match self.protocol {
            Protocol::Resp2 => {
                let head = self.out.len();
                self.out.extend_from_slice(b"$0\r\n");
                write(self.out);
                let len = self.out.len() - head - 4;
                assert!(len < 100, "a double's text is short");
                self.out[head + 1] = b'0' + (len % 10) as u8;
                if len >= 10 {
                    self.out.insert(head + 1, b'0' + (len / 10) as u8);
                }
            }
            Protocol::Resp3 => {
                self.out.push(b',');
                write(self.out);
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// A truth value; in RESP2 the integers 0 and 1.
    pub fn boolean(&mut self, value: bool) {
        match self.protocol {
            Protocol::Resp2 => self.int(i64::from(value)),
            Protocol::Resp3 => self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// An integer of any size in decimal digits; in RESP2 a bulk string.
    pub fn big_number(&mut self, digits: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits),
            Protocol::Resp3 => {
                self.out.push(b'(');
                self.out.extend_from_slice(digits);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Text for people, with its kind (`txt`, `mkd`); in RESP2 a bulk string.
    pub fn verbatim(&mut self, kind: &[u8; 3], text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                push_prefixed(self.out, b'=', text.len() as i64 + 4);
                self.out.extend_from_slice(kind);
                self.out.push(b':');
                self.out.extend_from_slice(text);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Bytes that are a reply already.
    pub fn raw(&mut self, reply: &[u8]) {
        self.out.extend_from_slice(reply);
    }

    /// Begins an array, set or map whose length is known later.
    pub fn deferred(&mut self) -> Deferred {
        Deferred(self.out.len())
    }

    /// Closes a deferred array.
    pub fn close_array(&mut self, at: Deferred, len: usize) {
        self.close(at, b'*', len as i64);
    }

    /// Closes a deferred set.
    pub fn close_set(&mut self, at: Deferred, len: usize) {
        let mark = if self.protocol == Protocol::Resp3 { b'~' } else { b'*' };
        self.close(at, mark, len as i64);
    }

    /// Closes a deferred map.
    pub fn close_map(&mut self, at: Deferred, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.close(at, b'*', 2 * pairs as i64),
            Protocol::Resp3 => self.close(at, b'%', pairs as i64),
        }
    }

    fn close(&mut self, at: Deferred, mark: u8, len: i64) {
        let mut head = Vec::with_capacity(24);
        push_prefixed(&mut head, mark, len);
        self.out.splice(at.0..at.0, head);
    }
}

#[inline]
fn push_prefixed(out: &mut Vec<u8>, mark: u8, value: i64) {
    if (0..10).contains(&value) {
        out.extend_from_slice(&[mark, b'0' + value as u8, b'\r', b'\n']);
    } else if (10..100).contains(&value) {
        let (tens, ones) = (value as u8 / 10, value as u8 % 10);
        out.extend_from_slice(&[mark, b'0' + tens, b'0' + ones, b'\r', b'\n']);
    } else {
        let mut buffer = itoa::Buffer::new();
        out.push(mark);
        out.extend_from_slice(buffer.format(value).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a bulk string.
#[inline]
pub fn push_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 16);
    push_prefixed(out, b'$', bytes.len() as i64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an array of `len` bulk strings.
#[inline]
pub fn push_multibulk(out: &mut Vec<u8>, len: usize) {
    push_prefixed(out, b'*', len as i64);
}

/// Appends an integer reply.
pub fn push_int(out: &mut Vec<u8>, value: i64) {
    push_prefixed(out, b':', value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl Fn(&mut ReplyWriter<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut ReplyWriter::new(&mut out, protocol));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_versions_differ_where_they_should() {
        type Write<'a> = &'a dyn Fn(&mut ReplyWriter<'_>);
        let cases: [(Write<'_>, &str, &str); 9] = [
            (&|w| w.null(), "$-1\r\n", "_\r\n"),
            (&|w| w.null_array(), "*-1\r\n", "_\r\n"),
            (&|w| w.map(2), "*4\r\n", "%2\r\n"),
            (&|w| w.set(12), "*12\r\n", "~12\r\n"),
            (&|w| w.push(3), "*3\r\n", ">3\r\n"),
            (&|w| w.double_text(b"1.5"), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (&|w| w.boolean(true), ":1\r\n", "#t\r\n"),
            (&|w| w.big_number(b"123"), "$3\r\n123\r\n", "(123\r\n"),
            (&|w| w.verbatim(b"txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
        ];
        for (write, resp2, resp3) in cases {
            assert_eq!(written(Protocol::Resp2, write), resp2);
            assert_eq!(written(Protocol::Resp3, write), resp3);
        }
    }

    #[test]
    fn a_deferred_array_gets_its_length_at_the_end() {
        let text = written(Protocol::Resp2, |w| {
            let at = w.deferred();
            w.int(1);
            w.int(-20);
            w.close_array(at, 2);
        });
        assert_eq!(text, "*2\r\n:1\r\n:-20\r\n");
    }

    #[test]
    fn an_error_cannot_forge_a_second_reply() {
        assert_eq!(written(Protocol::Resp2, |w| w.error(b"ERR a\r\n+OK\r\n")), "-ERR a  +OK\r\n");
    }
}

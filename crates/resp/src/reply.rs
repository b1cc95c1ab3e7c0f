//! Replies as values: what a client of ours (an upstream link, a script, a test) reads back.

use memchr::memchr;

use crate::request::strict_i64;

/// A reply of either protocol version.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// `+text`
    Simple(Vec<u8>),
    /// `-text`, or a RESP3 blob error
    Error(Vec<u8>),
    /// `:n`
    Int(i64),
    /// `$len`
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`
    Null,
    /// `*len`
    Array(Vec<Reply>),
    /// `%pairs`, attributes (`|`) that stand in front of a reply are dropped
    Map(Vec<(Reply, Reply)>),
    /// `~len`
    Set(Vec<Reply>),
    /// `>len`
    Push(Vec<Reply>),
    /// `,text`
    Double(f64),
    /// `#t` or `#f`
    Boolean(bool),
    /// `(digits`
    BigNumber(Vec<u8>),
    /// `=len kind:text`
    Verbatim([u8; 3], Vec<u8>),
}

/// Why bytes are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// The first byte of a reply is none that the protocol knows.
    UnknownType(u8),
    /// A length or number can't be read.
    BadNumber,
    /// Deeper than 128 levels.
    TooDeep,
}

impl std::fmt::Display for ReplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReplyError::UnknownType(byte) => write!(f, "no reply starts with the byte {byte:#04x}"),
            ReplyError::BadNumber => f.write_str("a reply holds a number that can't be read"),
            ReplyError::TooDeep => f.write_str("a reply is nested more than 128 levels deep"),
        }
    }
}

impl std::error::Error for ReplyError {}

const MAX_DEPTH: usize = 128;

/// Reads one reply at the start of `input`: the reply and its length in bytes, or `None` if more
/// bytes are needed.
pub fn parse_reply(input: &[u8]) -> Result<Option<(Reply, usize)>, ReplyError> {
    let mut cursor = Cursor { input, at: 0 };
    match cursor.reply(0) {
        Ok(reply) => Ok(Some((reply, cursor.at))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Bad(error)) => Err(error),
    }
}

enum Stop {
    Incomplete,
    Bad(ReplyError),
}

struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.input[self.at..];
        let end = memchr(b'\n', rest).ok_or(Stop::Incomplete)?;
        self.at += end + 1;
        Ok(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]))
    }

    fn number(&mut self) -> Result<i64, Stop> {
        strict_i64(self.line()?).ok_or(Stop::Bad(ReplyError::BadNumber))
    }

    /// A length; `None` for -1.
    fn length(&mut self) -> Result<Option<usize>, Stop> {
        match self.number()? {
            -1 => Ok(None),
            len => usize::try_from(len).map(Some).map_err(|_| Stop::Bad(ReplyError::BadNumber)),
        }
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let end =
            len.checked_add(2).and_then(|len| self.at.checked_add(len)).ok_or(Stop::Bad(ReplyError::BadNumber))?;
        let bytes = self.input.get(self.at..end).ok_or(Stop::Incomplete)?;
        self.at = end;
        Ok(&bytes[..len])
    }

    fn items(&mut self, len: usize, depth: usize) -> Result<Vec<Reply>, Stop> {
        // The announced length is not trusted with memory: the items have to arrive first.
        let mut items = Vec::with_capacity(len.min(self.input.len() - self.at));
        for _ in 0..len {
            items.push(self.reply(depth + 1)?);
        }
        Ok(items)
    }

    fn reply(&mut self, depth: usize) -> Result<Reply, Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::Bad(ReplyError::TooDeep));
        }
        let kind = *self.input.get(self.at).ok_or(Stop::Incomplete)?;
        self.at += 1;
        Ok(match kind {
            b'+' => Reply::Simple(self.line()?.to_vec()),
            b'-' => Reply::Error(self.line()?.to_vec()),
            b':' => Reply::Int(self.number()?),
            b'_' => {
                self.line()?;
                Reply::Null
            }
            b'#' => Reply::Boolean(self.line()? == b"t"),
            b',' => Reply::Double(self.double()?),
            b'(' => Reply::BigNumber(self.line()?.to_vec()),
            b'$' => match self.length()? {
                None => Reply::Null,
                Some(len) => Reply::Bulk(self.bytes(len)?.to_vec()),
            },
            b'!' => {
                let len = self.length()?.unwrap_or(0);
                Reply::Error(self.bytes(len)?.to_vec())
            }
            b'=' => self.verbatim()?,
            b'*' => match self.length()? {
                None => Reply::Null,
                Some(len) => Reply::Array(self.items(len, depth)?),
            },
            b'~' => Reply::Set(self.counted(depth)?),
            b'>' => Reply::Push(self.counted(depth)?),
            b'%' => Reply::Map(self.pairs(depth)?),
            b'|' => {
                self.pairs(depth)?;
                self.reply(depth + 1)?
            }
            other => return Err(Stop::Bad(ReplyError::UnknownType(other))),
        })
    }

    fn counted(&mut self, depth: usize) -> Result<Vec<Reply>, Stop> {
        let len = self.length()?.unwrap_or(0);
        self.items(len, depth)
    }

    fn pairs(&mut self, depth: usize) -> Result<Vec<(Reply, Reply)>, Stop> {
        let len = self.length()?.unwrap_or(0);
        let mut pairs = Vec::with_capacity(len.min(self.input.len() - self.at));
        for _ in 0..len {
            pairs.push((self.reply(depth + 1)?, self.reply(depth + 1)?));
        }
        Ok(pairs)
    }

    fn double(&mut self) -> Result<f64, Stop> {
        let text = self.line()?;
        std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Stop::Bad(ReplyError::BadNumber))
    }

    fn verbatim(&mut self) -> Result<Reply, Stop> {
        let len = self.length()?.unwrap_or(0);
        match self.bytes(len)? {
            [a, b, c, b':', text @ ..] => Ok(Reply::Verbatim([*a, *b, *c], text.to_vec())),
            _ => Err(Stop::Bad(ReplyError::BadNumber)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_type_is_read() {
        let wire =
            b"*9\r\n+a\r\n-E b\r\n:-3\r\n$2\r\nxy\r\n_\r\n%1\r\n:1\r\n#t\r\n,1.5\r\n=7\r\ntxt:abc\r\n~1\r\n(99\r\n";
        let (reply, len) = parse_reply(wire).unwrap().unwrap();
        assert_eq!(len, wire.len());
        let Reply::Array(items) = reply else { panic!() };
        assert_eq!(items[5], Reply::Map(vec![(Reply::Int(1), Reply::Boolean(true))]));
        assert_eq!(items[7], Reply::Verbatim(*b"txt", b"abc".to_vec()));
        for end in 0..wire.len() {
            assert_eq!(parse_reply(&wire[..end]).unwrap(), None);
        }
    }

    #[test]
    fn a_nest_of_arrays_is_refused_before_the_stack_ends() {
        assert_eq!(parse_reply(&b"*1\r\n".repeat(100_000)), Err(ReplyError::TooDeep));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(input in prop::collection::vec(prop::sample::select(b"*$%~>|=!_#,(:+-\r\n019t\xff".to_vec()), 0..80)) {
            let _ = parse_reply(&input);
        }
    }
}

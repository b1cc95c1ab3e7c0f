//! Requests: a resumable parser over the bytes that a connection has read so far.
//!
//! A request is found as a list of spans into the caller's buffer; no byte is copied, except of an
//! inline request that has quotes. The parser remembers where it stopped, so that a request which
//! arrives in a thousand pieces is still looked at once.

use memchr::memchr;

use crate::split_words;

/// The longest line that starts an inline request or that holds a count.
const MAX_LINE: usize = 64 * 1024;

/// What a client may send; it is less before it has authenticated itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most arguments of one request.
    pub arguments: usize,
    /// The most bytes of one argument (`proto-max-bulk-len`).
    pub argument_bytes: usize,
    /// Whether the client has authenticated itself, or needs not to.
    pub authenticated: bool,
}

impl Limits {
    /// The limits of a client that may do everything.
    pub const fn authenticated(argument_bytes: usize) -> Limits {
        Limits { arguments: i32::MAX as usize, argument_bytes, authenticated: true }
    }

    /// The limits of a client that has yet to authenticate itself: 10 arguments of 16 KiB.
    pub const fn unauthenticated() -> Limits {
        Limits { arguments: 10, argument_bytes: 16 * 1024, authenticated: false }
    }
}

/// Why a client's bytes are no request; the connection is closed after the error was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProtocolError {
    /// A line that never ends.
    TooBigInline,
    /// An inline request whose quotes don't match.
    UnbalancedQuotes,
    /// A count line of arguments that never ends.
    TooBigMultibulkCount,
    /// A count of arguments that is no number or too large.
    InvalidMultibulk,
    /// More arguments than one may send before AUTH.
    UnauthenticatedMultibulk,
    /// A length line of an argument that never ends.
    TooBigBulkCount,
    /// Something else where an argument's `$` should stand.
    ExpectedBulk(u8),
    /// A length of an argument that is no number or too large.
    InvalidBulk,
    /// A longer argument than one may send before AUTH.
    UnauthenticatedBulk,
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            ProtocolError::TooBigInline => f.write_str("too big inline request"),
            ProtocolError::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
            ProtocolError::TooBigMultibulkCount => f.write_str("too big mbulk count string"),
            ProtocolError::InvalidMultibulk => f.write_str("invalid multibulk length"),
            ProtocolError::UnauthenticatedMultibulk => f.write_str("unauthenticated multibulk length"),
            ProtocolError::TooBigBulkCount => f.write_str("too big bulk count string"),
            ProtocolError::ExpectedBulk(got) => write!(f, "expected '$', got '{}'", printable(*got)),
            ProtocolError::InvalidBulk => f.write_str("invalid bulk length"),
            ProtocolError::UnauthenticatedBulk => f.write_str("unauthenticated bulk length"),
        }
    }
}

fn printable(byte: u8) -> char {
    // A line break inside an error reply would forge a second reply.
    if byte == b'\r' || byte == b'\n' { ' ' } else { char::from(byte) }
}

/// What the parser found.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request of this many bytes; read it with [`RequestParser::arguments`]. It may have no
    /// arguments (an empty line), which is to be skipped.
    Request(usize),
    /// More bytes are needed; at least this many are known to be missing (0 if unknown).
    Incomplete(usize),
    /// The bytes are no request.
    Error(ProtocolError),
}

/// Finds one request after the other; see the module's text.
#[derive(Debug, Default)]
pub struct RequestParser {
    /// Spans of the arguments found so far, relative to the request's start (or into `inline`).
    spans: Vec<(usize, usize)>,
    /// The unquoted words of an inline request.
    inline: Vec<u8>,
    is_inline: bool,
    /// Where to go on, relative to the request's start.
    at: usize,
    /// Arguments still to come; `None` before the count line.
    missing: Option<usize>,
    /// The length of the argument whose bytes are awaited.
    bulk: Option<usize>,
}

enum Step<T> {
    Done(T),
    More(usize),
    Fail(ProtocolError),
}

impl RequestParser {
    /// Looks for one request at the start of `input`.
    ///
    /// After `Incomplete`, call again with the same bytes and more behind them. After `Request(n)`
    /// and the use of its arguments, call [`RequestParser::clear`] and drop `n` bytes.
    pub fn parse(&mut self, input: &[u8], limits: &Limits) -> Parsed {
        if self.missing.is_none() {
            match input.first() {
                None => return Parsed::Incomplete(0),
                Some(b'*') => {}
                Some(_) => return self.parse_inline(input),
            }
        }
        match self.parse_multibulk(input, limits) {
            Step::Done(()) => Parsed::Request(self.at),
            Step::More(bytes) => Parsed::Incomplete(bytes),
            Step::Fail(error) => Parsed::Error(error),
        }
    }

    /// The arguments of the request that `parse` has found at the start of `input`.
    pub fn arguments<'a>(&'a self, input: &'a [u8]) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let source = if self.is_inline { &self.inline[..] } else { input };
        self.spans.iter().map(move |&(start, len)| &source[start..start + len])
    }

    /// Whether the request came as a line of words instead of an array of bulk strings.
    pub fn is_inline(&self) -> bool {
        self.is_inline
    }

    /// Whether a request has been begun that is not complete.
    pub fn is_midway(&self) -> bool {
        self.missing.is_some()
    }

    /// Bytes of a request under way that need not be looked at again: the lengths and arguments found so far.
    pub fn parsed(&self) -> usize {
        self.at
    }

    /// Makes ready for the next request.
    #[inline]
    pub fn clear(&mut self) {
        self.spans.clear();
        if self.is_inline {
            self.inline.clear();
            self.is_inline = false;
        }
        self.at = 0;
        self.missing = None;
        self.bulk = None;
    }

    /// Frees what a request of unusually many arguments left allocated.
    pub fn shrink(&mut self) {
        if self.spans.capacity() > 1024 {
            self.spans = Vec::new();
        }
        if self.inline.capacity() > MAX_LINE {
            self.inline = Vec::new();
        }
    }

    /// Bytes that this parser holds on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<(usize, usize)>() + self.inline.capacity()
    }

    fn parse_inline(&mut self, input: &[u8]) -> Parsed {
        let Some(end) = memchr(b'\n', input) else {
            return if input.len() > MAX_LINE {
                Parsed::Error(ProtocolError::TooBigInline)
            } else {
                Parsed::Incomplete(0)
            };
        };
        if end > MAX_LINE {
            return Parsed::Error(ProtocolError::TooBigInline);
        }
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        let Some(words) = split_words(line) else { return Parsed::Error(ProtocolError::UnbalancedQuotes) };
        self.is_inline = true;
        for word in words {
            self.spans.push((self.inline.len(), word.len()));
            self.inline.extend_from_slice(&word);
        }
        Parsed::Request(end + 1)
    }

    #[inline]
    fn parse_multibulk(&mut self, input: &[u8], limits: &Limits) -> Step<()> {
        let mut missing = match self.missing {
            Some(missing) => missing,
            None => match self.parse_count(input, limits) {
                Step::Done(count) => count,
                Step::More(bytes) => return Step::More(bytes),
                Step::Fail(error) => return Step::Fail(error),
            },
        };
        while missing > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => match self.parse_length(input, limits) {
                    Step::Done(len) => len,
                    Step::More(bytes) => {
                        self.missing = Some(missing);
                        return Step::More(bytes);
                    }
                    Step::Fail(error) => return Step::Fail(error),
                },
            };
            let end = self.at + len + 2;
            if input.len() < end {
                self.missing = Some(missing);
                self.bulk = Some(len);
                return Step::More(end - input.len());
            }
            self.spans.push((self.at, len));
            self.at = end;
            self.bulk = None;
            missing -= 1;
        }
        self.missing = Some(0);
        Step::Done(())
    }

    #[inline]
    fn parse_count(&mut self, input: &[u8], limits: &Limits) -> Step<usize> {
        let (value, next) = match read_line_number(input, 1) {
            Line::Number(value, next) => (value, next),
            Line::Incomplete if input.len() > MAX_LINE => return Step::Fail(ProtocolError::TooBigMultibulkCount),
            Line::Incomplete => return Step::More(0),
            Line::NoNumber => return Step::Fail(ProtocolError::InvalidMultibulk),
        };
        if value > i64::from(i32::MAX) {
            return Step::Fail(ProtocolError::InvalidMultibulk);
        }
        let count = usize::try_from(value).unwrap_or(0);
        if count > limits.arguments {
            return Step::Fail(if limits.authenticated {
                ProtocolError::InvalidMultibulk
            } else {
                ProtocolError::UnauthenticatedMultibulk
            });
        }
        self.at = next;
        Step::Done(count)
    }

    #[inline]
    fn parse_length(&mut self, input: &[u8], limits: &Limits) -> Step<usize> {
        let Some(&first) = input.get(self.at) else { return Step::More(0) };
        if first != b'$' {
            return Step::Fail(ProtocolError::ExpectedBulk(first));
        }
        let (value, next) = match read_line_number(input, self.at + 1) {
            Line::Number(value, next) => (value, next),
            Line::Incomplete if input.len() - self.at > MAX_LINE => return Step::Fail(ProtocolError::TooBigBulkCount),
            Line::Incomplete => return Step::More(0),
            Line::NoNumber => return Step::Fail(ProtocolError::InvalidBulk),
        };
        match usize::try_from(value) {
            Ok(len) if len <= limits.argument_bytes => {
                self.at = next;
                Step::Done(len)
            }
            Ok(_) if !limits.authenticated => Step::Fail(ProtocolError::UnauthenticatedBulk),
            _ => Step::Fail(ProtocolError::InvalidBulk),
        }
    }
}

enum Line {
    Number(i64, usize),
    Incomplete,
    NoNumber,
}

/// Reads a decimal number that a CRLF ends, from `at` on. One- and two-digit numbers, which nearly
/// all lengths are, take the first lines only.
#[inline]
fn read_line_number(input: &[u8], at: usize) -> Line {
    if let Some(&[a, b, c, d]) = input.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>()) {
        let (x, y) = (a.wrapping_sub(b'0'), b.wrapping_sub(b'0'));
        if x < 10 && b == b'\r' {
            return Line::Number(i64::from(x), at + 3);
        }
        if x < 10 && x != 0 && y < 10 && c == b'\r' && d == b'\n' {
            return Line::Number(i64::from(x) * 10 + i64::from(y), at + 4);
        }
    }
    read_any_number(input, at)
}

#[cold]
fn read_any_number(input: &[u8], at: usize) -> Line {
    let Some(end) = input.get(at..).and_then(|rest| memchr(b'\r', rest)) else { return Line::Incomplete };
    if input.len() < at + end + 2 {
        return Line::Incomplete;
    }
    match strict_i64(&input[at..at + end]) {
        Some(value) => Line::Number(value, at + end + 2),
        None => Line::NoNumber,
    }
}

/// A number as Redis reads it: no sign but `-`, no leading zeros, no blanks.
pub(crate) fn strict_i64(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let leading_zero = digits.first() == Some(&b'0') && (digits.len() > 1 || digits.len() != text.len());
    if digits.is_empty() || leading_zero || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Where an argument stands in the bytes of its request: its start and its length.
pub type Span = (u32, u32);

/// The most arguments that [`find_whole`] looks for: a longer request may come in many pieces, and is not to be looked
/// through again for each of them.
const FEW: usize = 64;

/// Finds a whole request at the start of `input` if it is of the kind that nearly all are: an array of at most 64 bulk
/// strings, none longer than six digits can say. Appends the spans of its arguments and returns its length.
///
/// `None` says nothing of the bytes, which are for [`RequestParser`] then; nothing has been appended. What is found
/// here, that parser finds too, under any limits that allow so many arguments of such lengths.
#[inline]
pub fn find_whole(input: &[u8], spans: &mut Vec<Span>) -> Option<usize> {
    // What a span can't say is not looked at.
    let input = &input[..input.len().min(u32::MAX as usize)];
    let (count, mut at) = header(input, b'*')?;
    if count == 0 || count > FEW {
        return None;
    }
    let before = spans.len();
    for _ in 0..count {
        let Some((start, len)) = bulk(&input[at..]) else {
            spans.truncate(before);
            return None;
        };
        spans.push(((at + start) as u32, len as u32));
        at += start + len + 2;
    }
    Some(at)
}

/// Where the bytes of the bulk string begin that `input` starts with, and how many there are.
#[inline(always)]
fn bulk(input: &[u8]) -> Option<(usize, usize)> {
    let (len, start) = header(input, b'$')?;
    let end = input.get(start + len..)?.first_chunk::<2>()?;
    (end == b"\r\n").then_some((start, len))
}

/// The number behind `mark` on the line that `input` starts with, and how long the line is.
#[inline(always)]
fn header(input: &[u8], mark: u8) -> Option<(usize, usize)> {
    // What is left of a line of one digit, if all that has to stand there is taken away, is the digit.
    let line = u32::from_le_bytes(*input.first_chunk::<4>()?) ^ u32::from_le_bytes([mark, b'0', b'\r', b'\n']);
    let digit = line.rotate_right(8);
    if digit < 10 { Some((digit as usize, 4)) } else { long_header(input, mark) }
}

/// As [`header`], of more than one digit.
#[inline]
fn long_header(input: &[u8], mark: u8) -> Option<(usize, usize)> {
    let line = u64::from_le_bytes(*input.first_chunk::<8>()?);
    let apart = line ^ u64::from_le_bytes([mark, b'0', b'0', b'\r', b'\n', 0, 0, 0]);
    let (tens, ones) = (apart >> 8 & 0xff, apart >> 16 & 0xff);
    if apart & 0xff_ff00_00ff == 0 && tens.wrapping_sub(1) < 9 && ones < 10 {
        return Some(((tens * 10 + ones) as usize, 5));
    }
    if apart & 0xff != 0 || tens.wrapping_sub(1) >= 9 || ones >= 10 {
        return None;
    }
    let mut number = (tens * 10 + ones) as usize;
    for index in 3..8 {
        let &byte = input.get(index)?;
        if byte == b'\r' {
            return (input.get(index + 1) == Some(&b'\n')).then_some((number, index + 2));
        }
        number = number * 10 + usize::from(Some(byte.wrapping_sub(b'0')).filter(|&digit| digit < 10)?);
    }
    None
}

/// Appends `arguments` as a request: an array of bulk strings.
pub fn encode_request<T: AsRef<[u8]>>(out: &mut Vec<u8>, arguments: &[T]) {
    crate::push_multibulk(out, arguments.len());
    for argument in arguments {
        crate::push_bulk(out, argument.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits::authenticated(512 * 1024 * 1024);

    fn one(input: &[u8]) -> (Parsed, Vec<Vec<u8>>) {
        let mut parser = RequestParser::default();
        let parsed = parser.parse(input, &LIMITS);
        let arguments = match parsed {
            Parsed::Request(_) => parser.arguments(input).map(<[u8]>::to_vec).collect(),
            _ => vec![],
        };
        (parsed, arguments)
    }

    fn error(input: &[u8], limits: Limits) -> String {
        match RequestParser::default().parse(input, &limits) {
            Parsed::Error(error) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_an_array_of_bulk_strings() {
        let input = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\nhello world!\r\n*1\r\n";
        assert_eq!(one(input), (Parsed::Request(39), vec![b"SET".to_vec(), b"k".to_vec(), b"hello world!".to_vec()]));
    }

    #[test]
    fn a_line_is_a_request_too() {
        assert_eq!(one(b"PING\r\nx"), (Parsed::Request(6), vec![b"PING".to_vec()]));
        assert_eq!(one(b"echo 'a b'\n").1, vec![b"echo".to_vec(), b"a b".to_vec()]);
        assert_eq!(one(b"\r\n"), (Parsed::Request(2), vec![]));
        assert_eq!(one(b"*0\r\n"), (Parsed::Request(4), vec![]));
        assert_eq!(one(b"*-1\r\n"), (Parsed::Request(5), vec![]));
    }

    #[test]
    fn bad_bytes_get_the_error_that_redis_gives() {
        assert_eq!(error(b"*x\r\n", LIMITS), "Protocol error: invalid multibulk length");
        assert_eq!(error(b"*3000000000\r\n", LIMITS), "Protocol error: invalid multibulk length");
        assert_eq!(error(b"*1\r\n+x\r\n", LIMITS), "Protocol error: expected '$', got '+'");
        assert_eq!(error(b"*1\r\n$-5\r\n", LIMITS), "Protocol error: invalid bulk length");
        assert_eq!(error(b"*1\r\n$2000000000\r\n", LIMITS), "Protocol error: invalid bulk length");
        assert_eq!(error(b"\"x\r\n", LIMITS), "Protocol error: unbalanced quotes in request");
        assert_eq!(error(&[b'x'; MAX_LINE + 1], LIMITS), "Protocol error: too big inline request");
        let mut line = b"*".to_vec();
        line.resize(MAX_LINE + 2, b'1');
        assert_eq!(error(&line, LIMITS), "Protocol error: too big mbulk count string");
    }

    #[test]
    fn a_client_that_has_not_authenticated_itself_is_kept_short() {
        let limits = Limits::unauthenticated();
        assert_eq!(error(b"*11\r\n", limits), "Protocol error: unauthenticated multibulk length");
        assert_eq!(error(b"*1\r\n$16385\r\n", limits), "Protocol error: unauthenticated bulk length");
    }

    #[test]
    fn a_request_of_the_usual_kind_is_found_at_once() {
        let found = |input: &[u8]| {
            let mut spans = vec![(7, 7)];
            let len = find_whole(input, &mut spans);
            assert!(len.is_some() || spans == [(7, 7)], "what was not found has left nothing");
            len.map(|len| (len, spans.split_off(1)))
        };
        let request = b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\nhello\r\nworld\r\n*1";
        assert_eq!(found(request), Some((request.len() - 2, vec![(8, 3), (17, 0), (24, 12)])));
        for cut in 0..request.len() - 2 {
            assert_eq!(found(&request[..cut]), None);
        }
        let many = |count: usize| format!("*{count}\r\n{}", "$1\r\nx\r\n".repeat(count)).into_bytes();
        assert_eq!(found(&many(64)).map(|(_, spans)| spans.len()), Some(64));
        assert_eq!(found(&many(65)), None);
        let long = |len: usize| format!("*1\r\n${len}\r\n{}\r\n", "x".repeat(len)).into_bytes();
        assert_eq!(found(&long(999_999)).map(|(_, spans)| spans), Some(vec![(13, 999_999)]));
        assert_eq!(found(&long(1_000_000)), None);
        let unusual: [&[u8]; 8] = [
            b"PING\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"*01\r\n$1\r\nx\r\n",
            b"*1\r\n$01\r\nx\r\n",
            b"*1\r\n$1\r\nxyz",
            b"*1\r\n+1\r\nx\r\n",
            b"*1\rx$1\r\nx\r\n",
        ];
        for input in unusual {
            assert_eq!(found(input), None, "{}", input.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_found_at_once_the_parser_finds_too(
            request in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..6),
            spoil in prop::option::of((0usize..40, prop::sample::select(b"0123456789*$\r\n x-".to_vec()))),
        ) {
            let mut wire = Vec::new();
            encode_request(&mut wire, &request);
            if let Some((at, byte)) = spoil {
                let at = at % wire.len();
                wire[at] = byte;
            }
            let mut spans = Vec::new();
            if let Some(len) = find_whole(&wire, &mut spans) {
                let words: Vec<_> = spans.iter().map(|&(at, len)| &wire[at as usize..][..len as usize]).collect();
                let mut parser = RequestParser::default();
                prop_assert_eq!(parser.parse(&wire, &LIMITS), Parsed::Request(len));
                prop_assert_eq!(parser.arguments(&wire).collect::<Vec<_>>(), words);
            } else {
                prop_assert!(spoil.is_some(), "an ordinary request is found");
            }
        }

        #[test]
        fn however_a_request_is_cut_it_is_found(
            requests in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6), 1..5),
            cuts in prop::collection::vec(1usize..50, 1..200),
        ) {
            let mut wire = Vec::new();
            for request in &requests {
                encode_request(&mut wire, request);
            }
            let mut parser = RequestParser::default();
            let (mut start, mut end, mut cuts, mut found) = (0, 0, cuts.into_iter().cycle(), Vec::new());
            while start < wire.len() {
                match parser.parse(&wire[start..end], &LIMITS) {
                    Parsed::Request(len) => {
                        found.push(parser.arguments(&wire[start..end]).map(<[u8]>::to_vec).collect::<Vec<_>>());
                        parser.clear();
                        start += len;
                    }
                    Parsed::Incomplete(missing) => {
                        prop_assert!(end + missing <= wire.len());
                        end = (end + cuts.next().expect("cycled")).min(wire.len());
                    }
                    Parsed::Error(error) => prop_assert!(false, "{}", error),
                }
            }
            prop_assert_eq!(found, requests);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(
            input in prop::collection::vec(prop::sample::select(b"*$\r\n-+0123456789\"'ax \x00\xff".to_vec()), 0..60)
        ) {
            let mut parser = RequestParser::default();
            for end in 0..=input.len() {
                match parser.parse(&input[..end], &LIMITS) {
                    Parsed::Request(len) => {
                        prop_assert!(len <= end);
                        let _ = parser.arguments(&input[..end]).count();
                        break;
                    }
                    Parsed::Error(_) => break,
                    Parsed::Incomplete(_) => {}
                }
            }
        }
    }
}

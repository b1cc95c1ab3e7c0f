//! Reads one file, request by request.

use std::io::{self, BufRead, Read};
use std::ops::Range;

use super::{Annotation, Request};

/// The longest line that is no argument, its end included, bytes: a count, a length, an annotation.
const LINE: usize = 128;
/// The longest argument, bytes.
const LONGEST: u64 = 512 << 20;
/// The most arguments of a request.
const MOST: u64 = 1 << 30;

/// What a file is made of.
#[derive(Debug, Clone, Copy)]
pub enum Item<'r> {
    /// A request.
    Request(Request<'r>),
    /// A remark beside the requests.
    Annotation(Annotation),
}

/// Why reading had to stop; `at` is where the item begins that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file ends within an item.
    #[error("byte {at}: the file ends within what begins here")]
    Truncated {
        /// See there.
        at: u64,
    },
    /// What is there is neither a request nor an annotation.
    #[error("byte {at}: expected {expected}")]
    Malformed {
        /// See there.
        at: u64,
        /// What should have been there.
        expected: &'static str,
    },
    /// The file can't be read.
    #[error("byte {at}: {source}")]
    Io {
        /// See there.
        at: u64,
        /// Why.
        source: io::Error,
    },
}

/// Why an item is none.
enum Flaw {
    Truncated,
    Malformed(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Flaw {
        Flaw::Io(error)
    }
}

/// A file that is read from its begin, or from behind what another reader has read.
pub struct Reader<R> {
    input: R,
    at: u64,
    bytes: Vec<u8>,
    words: Vec<Range<usize>>,
}

impl<R: BufRead> Reader<R> {
    /// Reads `input`, of which `at` bytes have been read already.
    pub fn new(input: R, at: u64) -> Reader<R> {
        Reader { input, at, bytes: Vec::new(), words: Vec::new() }
    }

    /// Where the last item ended.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next item; `None` at the file's end.
    ///
    /// # Errors
    /// The file ends in the midst of an item, or there is none. Reading can't go on behind it.
    #[allow(clippy::should_implement_trait, reason = "what it returns borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, Error> {
        let at = self.at;
        self.bytes.clear();
        self.words.clear();
        let is_annotation = match self.read_item() {
            Ok(Some(is_annotation)) => is_annotation,
            Ok(None) => return Ok(None),
            Err(Flaw::Truncated) => return Err(Error::Truncated { at }),
            Err(Flaw::Malformed(expected)) => return Err(Error::Malformed { at, expected }),
            Err(Flaw::Io(source)) => return Err(Error::Io { at, source }),
        };
        self.at += self.bytes.len() as u64;
        Ok(Some(if is_annotation {
            Item::Annotation(Annotation::parse(self.bytes.trim_ascii_end()))
        } else {
            Item::Request(Request { bytes: &self.bytes, words: &self.words })
        }))
    }

    /// Reads an item into the buffers; whether it is an annotation.
    fn read_item(&mut self) -> Result<Option<bool>, Flaw> {
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let line = self.line()?;
        if self.bytes[line.start] == b'#' {
            return Ok(Some(true));
        }
        let count = self.number(line, b'*', "the number of a request's arguments")?;
        if count == 0 || count > MOST {
            return Err(Flaw::Malformed("at least one argument of a request"));
        }
        for _ in 0..count {
            let line = self.line()?;
            let length = self.number(line, b'$', "the length of an argument")?;
            if length > LONGEST {
                return Err(Flaw::Malformed("an argument of at most 512 megabytes"));
            }
            let start = self.bytes.len();
            // What is announced takes no memory before it is there.
            let read = (&mut self.input).take(length).read_to_end(&mut self.bytes)?;
            if (read as u64) < length {
                return Err(Flaw::Truncated);
            }
            self.words.push(start..self.bytes.len());
            let mut end = [0; 2];
            match self.input.read_exact(&mut end) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Flaw::Truncated),
                Err(error) => return Err(error.into()),
            }
            if end != *b"\r\n" {
                return Err(Flaw::Malformed("the end of an argument"));
            }
            self.bytes.extend_from_slice(&end);
        }
        Ok(Some(false))
    }

    /// Reads a line; where it is among the bytes.
    fn line(&mut self) -> Result<Range<usize>, Flaw> {
        let start = self.bytes.len();
        let read = (&mut self.input).take(LINE as u64).read_until(b'\n', &mut self.bytes)?;
        if self.bytes.last() != Some(&b'\n') || read == 0 {
            return Err(if read < LINE { Flaw::Truncated } else { Flaw::Malformed("the end of a line") });
        }
        Ok(start..self.bytes.len())
    }

    fn number(&self, line: Range<usize>, sign: u8, expected: &'static str) -> Result<u64, Flaw> {
        let digits = self.bytes[line].strip_prefix(&[sign]).and_then(|rest| rest.strip_suffix(b"\r\n"));
        let number = digits.filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        number.ok_or(Flaw::Malformed(expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] =
        b"#TS:5\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nset\r\n$1\r\na\r\n$0\r\n\r\n#SKIP:3\r\n";

    fn read(mut bytes: &[u8]) -> (Vec<String>, Option<Error>, u64) {
        let mut reader = Reader::new(&mut bytes, 0);
        let mut items = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(Item::Request(request))) => {
                    items.push(
                        request.words().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" "),
                    );
                }
                Ok(Some(Item::Annotation(said))) => items.push(format!("{said:?}")),
                Ok(None) => return (items, None, reader.position()),
                Err(error) => return (items, Some(error), reader.position()),
            }
        }
    }

    #[test]
    fn requests_and_annotations_come_in_their_order() {
        let (items, error, at) = read(FILE);
        assert_eq!(items, ["Time(5)", "SELECT 0", "set a ", "Skipped(3)"]);
        assert!(error.is_none());
        assert_eq!(at, FILE.len() as u64);
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_read_to_its_last_whole_item() {
        let ends: Vec<u64> = vec![0, 7, 30, 56, FILE.len() as u64];
        for len in 0..FILE.len() {
            let (_, error, at) = read(&FILE[..len]);
            assert!(ends.contains(&at) && at <= len as u64, "{len}: {at}");
            match error {
                None => assert_eq!(at, len as u64),
                Some(Error::Truncated { at: begin }) => assert_eq!(begin, at),
                Some(error) => panic!("{len}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_no_request_is_refused_where_it_begins() {
        for (text, expected) in [
            ("*0\r\n", "at least one argument of a request"),
            ("*-1\r\n", "the number of a request's arguments"),
            ("PING\r\n", "the number of a request's arguments"),
            ("*1\n$1\r\na\r\n", "the number of a request's arguments"),
            ("*1\r\n#1\r\na\r\n", "the length of an argument"),
            ("*1\r\n$1\r\nab\r\n", "the end of an argument"),
            ("*1\r\n$1000000000\r\nab\r\n", "an argument of at most 512 megabytes"),
        ] {
            let bytes = [FILE, text.as_bytes()].concat();
            let (_, error, _) = read(&bytes);
            let Some(Error::Malformed { at, expected: named }) = error else { panic!("{text}: {error:?}") };
            assert_eq!((at, named), (FILE.len() as u64, expected), "{text}");
        }
        let long = [b"#", &[b'x'; 500][..], b"\r\n"].concat();
        assert!(matches!(read(&long).1, Some(Error::Malformed { at: 0, .. })));
    }
}

//! Where the bytes of a file come from: a buffered reader, a position, and the checksum so far.
//!
//! Decoding looks at the reader's own buffer and only notes how far it has come (`ahead`). When the
//! buffer is used up, its bytes go through the checksum in one piece and are then taken out of the
//! reader. So small fields cost a few instructions each, and no byte behind the end of the file is
//! ever taken: it may be the first of a replication stream.
//!
//! It relies on what `BufRead` promises: without a `consume` in between, `fill_buf` returns the same
//! bytes again (or those and more).

use std::io::{self, BufRead};

use super::error::{Error, Malformed};
use crate::crc64::Digest;

/// Memory that may be reserved on the strength of a promised length alone.
const TRUSTED: usize = 64 * 1024;

/// A reader with a position and, on demand, a checksum.
#[derive(Debug)]
pub(crate) struct Source<R> {
    input: R,
    /// Bytes at the start of the input's buffer that are decoded but not yet taken out.
    ahead: usize,
    /// Bytes in the input's buffer, when it was last filled.
    at_hand: usize,
    /// Bytes taken out of the input before.
    taken: u64,
    digest: Option<Digest>,
    /// What is being decoded, for errors: "a key".
    pub(crate) expected: &'static str,
}

impl<R: BufRead> Source<R> {
    pub(crate) fn new(input: R, checksum: bool) -> Source<R> {
        Source { input, ahead: 0, at_hand: 0, taken: 0, digest: checksum.then(Digest::new), expected: "an RDB file" }
    }

    /// How many bytes are decoded so far.
    pub(crate) fn position(&self) -> u64 {
        self.taken + self.ahead as u64
    }

    /// The reader below, exactly behind the last decoded byte.
    pub(crate) fn into_input(mut self) -> Result<R, Error> {
        self.settle()?;
        Ok(self.input)
    }

    /// The checksum of everything decoded so far, if it is kept.
    pub(crate) fn checksum(&mut self) -> Result<Option<u64>, Error> {
        self.settle()?;
        Ok(self.digest.as_ref().map(Digest::value))
    }

    /// Gives up the checksum, for files that have none.
    pub(crate) fn forget_checksum(&mut self) {
        self.digest = None;
    }

    /// The error that the bytes at this place are something else than what is needed.
    pub(crate) fn malformed(&self, Malformed(expected): Malformed) -> Error {
        Error::Malformed { at: self.position(), expected }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        let byte = self.window()?[0];
        self.ahead += 1;
        Ok(byte)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        if let Some(array) = self.window()?.first_chunk::<N>() {
            let array = *array;
            self.ahead += N;
            return Ok(array);
        }
        let mut array = [0; N];
        for byte in &mut array {
            *byte = self.byte()?;
        }
        Ok(array)
    }

    /// Appends the next `len` bytes to `out`, which grows as they arrive.
    pub(crate) fn bytes(&mut self, len: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        if len == 0 {
            return Ok(());
        }
        let window = self.window()?;
        // In most cases everything is here already: one exact allocation, one copy.
        if let Some(bytes) = usize::try_from(len).ok().and_then(|len| window.get(..len)) {
            out.reserve_exact(bytes.len());
            out.extend_from_slice(bytes);
            self.ahead += bytes.len();
            return Ok(());
        }
        self.long_bytes(len, out)
    }

    #[cold]
    fn long_bytes(&mut self, len: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut missing = len;
        while missing > 0 {
            let window = self.window()?;
            let wanted = usize::try_from(missing).unwrap_or(usize::MAX);
            let piece = &window[..wanted.min(window.len())];
            if out.capacity() - out.len() < piece.len() {
                // What has arrived vouches for as much again; the last step lands on the exact size.
                out.reserve_exact(wanted.min(out.len().max(piece.len()).max(TRUSTED)));
            }
            out.extend_from_slice(piece);
            let here = piece.len();
            self.ahead += here;
            missing -= here as u64;
        }
        Ok(())
    }

    /// Passes over the next `len` bytes.
    pub(crate) fn skip(&mut self, len: u64) -> Result<(), Error> {
        let mut missing = len;
        while missing > 0 {
            let here = self.window()?.len();
            let piece = usize::try_from(missing).unwrap_or(usize::MAX).min(here);
            self.ahead += piece;
            missing -= piece as u64;
        }
        Ok(())
    }

    /// The bytes that are at hand; at least one.
    #[inline]
    fn window(&mut self) -> Result<&[u8], Error> {
        if self.ahead >= self.at_hand {
            self.refill()?;
        }
        let (at, expected) = (self.position(), self.expected);
        let buffer = self.input.fill_buf().map_err(|source| Error::Io { at, expected, source })?;
        buffer.get(self.ahead..).filter(|window| !window.is_empty()).ok_or(Error::Truncated { at, expected })
    }

    /// Makes the input read on; it has at least one byte then.
    #[cold]
    fn refill(&mut self) -> Result<(), Error> {
        self.settle()?;
        self.at_hand = loop {
            match self.input.fill_buf() {
                Ok([]) => return Err(Error::Truncated { at: self.taken, expected: self.expected }),
                Ok(buffer) => break buffer.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Io { at: self.taken, expected: self.expected, source }),
            }
        };
        Ok(())
    }

    /// Takes what is decoded out of the input, through the checksum.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        if self.ahead > 0 {
            let at = self.position();
            let window = self.input.fill_buf().map_err(|source| Error::Io { at, expected: self.expected, source })?;
            let decoded = window.get(..self.ahead).ok_or(Error::Truncated { at, expected: self.expected })?;
            if let Some(digest) = &mut self.digest {
                digest.update(decoded);
            }
            self.input.consume(self.ahead);
            self.taken = at;
            self.at_hand = self.at_hand.saturating_sub(self.ahead);
            self.ahead = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;
    use crate::crc64::crc64;

    /// A source over `bytes` whose reader has `buffer` bytes at a time.
    fn source(bytes: &[u8], buffer: usize) -> Source<BufReader<&[u8]>> {
        Source::new(BufReader::with_capacity(buffer, bytes), true)
    }

    #[test]
    fn bytes_come_in_order_however_small_the_buffer_is() {
        let bytes: Vec<u8> = (0..=255).collect();
        for buffer in [1, 2, 3, 7, 64, 300] {
            let mut source = source(&bytes, buffer);
            assert_eq!(source.byte().unwrap(), 0);
            assert_eq!(source.array::<4>().unwrap(), [1, 2, 3, 4]);
            let mut out = vec![9];
            source.bytes(20, &mut out).unwrap();
            assert_eq!(out, [&[9], &bytes[5..25]].concat());
            source.skip(200).unwrap();
            assert_eq!(source.byte().unwrap(), 225);
            assert_eq!(source.position(), 226);
            assert_eq!(source.checksum().unwrap(), Some(crc64(&bytes[..226])));
        }
    }

    #[test]
    fn nothing_behind_the_decoded_bytes_is_taken() {
        let mut source = source(b"abcdefgh", 4);
        source.skip(5).unwrap();
        let mut rest = String::new();
        source.into_input().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "fgh");
    }

    #[test]
    fn a_promised_length_is_not_believed_before_the_bytes_are_there() {
        let mut out = Vec::new();
        let bytes = [7; 1000];
        let error = source(&bytes, 64).bytes(u64::MAX, &mut out).unwrap_err();
        assert!(matches!(error, Error::Truncated { at: 1000, .. }), "{error}");
        assert!(out.capacity() <= TRUSTED, "{}", out.capacity());
    }

    #[test]
    fn a_long_string_ends_up_in_memory_of_its_own_size() {
        let bytes = vec![7; 3_000_000];
        let mut out = Vec::new();
        source(&bytes, 4096).bytes(3_000_000, &mut out).unwrap();
        assert_eq!((out.len(), out.capacity()), (3_000_000, 3_000_000));
    }

    /// A reader that fails once, between its two pieces.
    struct Hiccup(Option<io::ErrorKind>, &'static [u8]);

    impl Read for Hiccup {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            match self.0.take() {
                Some(kind) => Err(kind.into()),
                None => self.1.read(out),
            }
        }
    }

    #[test]
    fn an_interrupted_read_is_repeated_and_another_error_is_reported() {
        let read = |kind| Source::new(BufReader::new(Hiccup(Some(kind), b"x")), false).byte();
        assert_eq!(read(io::ErrorKind::Interrupted).unwrap(), b'x');
        let error = read(io::ErrorKind::ConnectionReset).unwrap_err();
        assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::ConnectionReset));
    }
}

//! Lengths and strings: what everything else in an RDB file is made of.
//!
//! A length is one of the following; multi-byte lengths are big-endian:
//!
//! ```text
//! 00LLLLLL             6 bits
//! 01LLLLLL llllllll    14 bits
//! 80 and 4 bytes       32 bits
//! 81 and 8 bytes       64 bits
//! 11eeeeee             no length: the encoding of a string
//! ```
//!
//! A string is a length and as many bytes, or an encoding and what it asks for: an integer of one, two
//! or four bytes (c0, c1, c2; little-endian) that stands for its decimal digits, or LZF (c3): the
//! compressed length, the length, the compressed block.

use std::io::BufRead;

use quorate_values::{parse_i64, write_i64};

use super::error::{Error, Malformed};
use super::source::Source;
use crate::lzf;

const INT8: u8 = 0xc0;
const INT16: u8 = 0xc1;
const INT32: u8 = 0xc2;
const LZF: u8 = 0xc3;

/// Shorter strings are not compressed: the block's two lengths would eat up the gain.
const WORTH_COMPRESSING: usize = 21;

/// The most bytes of a string; `quorate-values` holds no longer ones in its collections.
const LONGEST: u64 = i32::MAX as u64;

/// A length, or what stands in its place.
enum Length {
    Length(u64),
    Encoding(u8),
}

/// How the next string is stored; its content is still to be read.
enum Form {
    Raw { len: u64 },
    Int(i32),
    Compressed { block: u64, len: u64 },
}

/// A string, or the integer whose decimal digits it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Bytes(Vec<u8>),
    Int(i64),
}

impl<R: BufRead> Source<R> {
    fn length_or_encoding(&mut self) -> Result<Length, Error> {
        let first = self.byte()?;
        Ok(Length::Length(match first {
            0x00..=0x3f => u64::from(first),
            0x40..=0x7f => u64::from(first & 0x3f) << 8 | u64::from(self.byte()?),
            0x80 => u32::from_be_bytes(self.array()?).into(),
            0x81 => u64::from_be_bytes(self.array()?),
            0x82..=0xbf => return Err(self.malformed(Malformed("a length"))),
            0xc0..=0xff => return Ok(Length::Encoding(first)),
        }))
    }

    /// A length, or a number that is stored as one.
    pub(crate) fn length(&mut self) -> Result<u64, Error> {
        match self.length_or_encoding()? {
            Length::Length(length) => Ok(length),
            Length::Encoding(_) => Err(self.malformed(Malformed("a length"))),
        }
    }

    fn form(&mut self) -> Result<Form, Error> {
        match self.length_or_encoding()? {
            Length::Length(len) => Ok(Form::Raw { len: self.bounded(len)? }),
            Length::Encoding(INT8) => Ok(Form::Int(i8::from_le_bytes(self.array()?).into())),
            Length::Encoding(INT16) => Ok(Form::Int(i16::from_le_bytes(self.array()?).into())),
            Length::Encoding(INT32) => Ok(Form::Int(i32::from_le_bytes(self.array()?))),
            Length::Encoding(LZF) => {
                let (block, len) = (self.length()?, self.length()?);
                Ok(Form::Compressed { block: self.bounded(block)?, len: self.bounded(len)? })
            }
            Length::Encoding(_) => Err(self.malformed(Malformed("a string's encoding"))),
        }
    }

    fn bounded(&self, len: u64) -> Result<u64, Error> {
        if len <= LONGEST { Ok(len) } else { Err(self.malformed(Malformed("a string below 2 GiB"))) }
    }

    /// Appends the next string to `out`, an integer as its digits.
    pub(crate) fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        match self.form()? {
            Form::Raw { len } => self.bytes(len, out),
            Form::Compressed { block, len } => self.compressed(block, len, out),
            Form::Int(int) => {
                write_i64(out, int.into());
                Ok(())
            }
        }
    }

    /// The next string, as an integer if it is stored as one.
    pub(crate) fn text(&mut self) -> Result<Text, Error> {
        let mut bytes = Vec::new();
        match self.form()? {
            Form::Raw { len } => self.bytes(len, &mut bytes)?,
            Form::Compressed { block, len } => self.compressed(block, len, &mut bytes)?,
            Form::Int(int) => return Ok(Text::Int(int.into())),
        }
        Ok(Text::Bytes(bytes))
    }

    /// Passes over the next string; a compressed one is not expanded.
    pub(crate) fn skip_string(&mut self) -> Result<(), Error> {
        match self.form()? {
            Form::Raw { len } | Form::Compressed { block: len, .. } => self.skip(len),
            Form::Int(_) => Ok(()),
        }
    }

    fn compressed(&mut self, block: u64, len: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut compressed = Vec::new();
        self.bytes(block, &mut compressed)?;
        lzf::decompress(&compressed, len as usize, out)
            .map_err(|lzf::Malformed| self.malformed(Malformed("a compressed string that yields its length")))
    }
}

/// Appends `length` in its shortest form.
pub(crate) fn push_length(out: &mut Vec<u8>, length: u64) {
    match length {
        0..=0x3f => out.push(length as u8),
        0x40..=0x3fff => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// Appends a string: as an integer if it is the decimal form of a small one, compressed if that is
/// wanted and pays, or else as it is.
pub(crate) fn push_string(out: &mut Vec<u8>, bytes: &[u8], compress: bool) {
    match small_int(bytes) {
        Some(int) => push_small_int(out, int),
        None if compress && bytes.len() >= WORTH_COMPRESSING && push_compressed(out, bytes) => {}
        None => push_raw(out, bytes),
    }
}

/// Appends the string that is `int` in decimal digits.
pub(crate) fn push_int(out: &mut Vec<u8>, int: i64) {
    match i32::try_from(int) {
        Ok(small) => push_small_int(out, small),
        Err(_) => {
            let mut digits = Vec::with_capacity(20);
            write_i64(&mut digits, int);
            push_raw(out, &digits);
        }
    }
}

fn push_small_int(out: &mut Vec<u8>, int: i32) {
    if let Ok(int) = i8::try_from(int) {
        out.extend_from_slice(&[INT8, int as u8]);
    } else if let Ok(int) = i16::try_from(int) {
        let [a, b] = int.to_le_bytes();
        out.extend_from_slice(&[INT16, a, b]);
    } else {
        let [a, b, c, d] = int.to_le_bytes();
        out.extend_from_slice(&[INT32, a, b, c, d]);
    }
}

fn push_raw(out: &mut Vec<u8>, bytes: &[u8]) {
    push_length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends `bytes` as a compressed string, if that makes them smaller.
fn push_compressed(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let start = out.len();
    // The block goes where it most likely stays: its length mostly takes as many bytes as the limit's.
    let limit = bytes.len() - 4;
    push_block_header(out, limit, bytes.len());
    let guessed = out.len();
    if !lzf::compress(bytes, out, limit) {
        out.truncate(start);
        return false;
    }
    let block = out.len() - guessed;
    let mut header = Vec::with_capacity(20);
    push_block_header(&mut header, block, bytes.len());
    let actual = start + header.len();
    if actual < guessed {
        out.copy_within(guessed.., actual);
        out.truncate(actual + block);
    }
    out[start..actual].copy_from_slice(&header);
    true
}

fn push_block_header(out: &mut Vec<u8>, block: usize, len: usize) {
    out.push(LZF);
    push_length(out, block as u64);
    push_length(out, len as u64);
}

/// The integer whose only decimal form `bytes` are, if it fits 32 bits.
fn small_int(bytes: &[u8]) -> Option<i32> {
    if bytes.len() > "-2147483648".len() {
        return None;
    }
    i32::try_from(parse_i64(bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(bytes: &[u8], compress: bool) -> Vec<u8> {
        let mut out = b"before".to_vec();
        push_string(&mut out, bytes, compress);
        out.split_off(6)
    }

    fn string(stored: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let mut source = Source::new(stored, false);
        source.string(&mut out)?;
        assert_eq!(source.position(), stored.len() as u64);
        Ok(out)
    }

    #[test]
    fn lengths_take_their_shortest_form() {
        let cases: [(u64, &[u8]); 8] = [
            (0, &[0]),
            (63, &[63]),
            (64, &[0x40, 64]),
            (16383, &[0x7f, 0xff]),
            (16384, &[0x80, 0, 0, 0x40, 0]),
            (0xffff_ffff, &[0x80, 0xff, 0xff, 0xff, 0xff]),
            (0x1_0000_0000, &[0x81, 0, 0, 0, 1, 0, 0, 0, 0]),
            (u64::MAX, &[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ];
        for (length, bytes) in cases {
            let mut out = Vec::new();
            push_length(&mut out, length);
            assert_eq!(out, bytes);
            assert_eq!(Source::new(bytes, false).length().unwrap(), length);
        }
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for bytes in [&[0x82, 0, 0, 0, 0][..], &[0xbf], &[0xc0, 1], &[0xff]] {
            assert!(matches!(Source::new(bytes, false).length(), Err(Error::Malformed { .. })));
        }
        assert!(matches!(string(&[0xc4, 0]), Err(Error::Malformed { .. })));
    }

    #[test]
    fn small_integers_take_their_width() {
        assert_eq!(stored(b"0", true), [0xc0, 0]);
        assert_eq!(stored(b"-128", true), [0xc0, 0x80]);
        assert_eq!(stored(b"128", true), [0xc1, 0x80, 0]);
        assert_eq!(stored(b"-32768", true), [0xc1, 0, 0x80]);
        assert_eq!(stored(b"32768", true), [0xc2, 0, 0x80, 0, 0]);
        assert_eq!(stored(b"-2147483648", true), [0xc2, 0, 0, 0, 0x80]);
        assert_eq!(stored(b"2147483648", true), b"\x0a2147483648");
    }

    #[test]
    fn digits_that_are_no_integers_only_form_stay_a_string() {
        for text in [&b""[..], b"-", b"-0", b"00", b"01", b"+1", b"1 ", b" 1", b"-01", b"12345678901", b"99999999999"] {
            assert_eq!(stored(text, true)[1..], *text);
        }
    }

    #[test]
    fn a_string_is_compressed_only_if_wanted_and_if_it_pays() {
        let run = [b'a'; 100];
        assert_eq!(stored(&run, true)[0], LZF);
        assert_eq!(stored(&run, false)[..2], [0x40, 100]);
        assert_eq!(stored(&run[..20], true)[0], 20);
        assert_eq!(stored(b"abcdefghijklmnopqrstuvwxyz", true)[0], 26);
    }

    #[test]
    fn a_compressed_string_may_not_promise_more_than_a_block_can_hold() {
        let mut bomb = vec![LZF, 5, 0x81];
        bomb.extend_from_slice(&(1u64 << 50).to_be_bytes());
        bomb.extend_from_slice(&[0, b'a', 0xe0, 255, 0]);
        assert!(matches!(string(&bomb), Err(Error::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn a_string_is_read_back_and_skipped(bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..100),
            prop::collection::vec(0u8..2, 0..20_000),
            any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            any::<i16>().prop_map(|n| n.to_string().into_bytes()),
        ], compress in any::<bool>()) {
            let stored = stored(&bytes, compress);
            prop_assert!(stored.len() <= bytes.len() + 5);
            prop_assert_eq!(string(&stored).unwrap(), bytes);
            let mut source = Source::new(&stored[..], false);
            source.skip_string().unwrap();
            prop_assert_eq!(source.position(), stored.len() as u64);
        }

        #[test]
        fn an_integer_is_read_back(int in prop_oneof![any::<i64>(), -70_000i64..70_000]) {
            let mut out = Vec::new();
            push_int(&mut out, int);
            prop_assert_eq!(&out, &stored(int.to_string().as_bytes(), false));
            prop_assert_eq!(string(&out).unwrap(), int.to_string().into_bytes());
        }
    }
}

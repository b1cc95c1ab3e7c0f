//! The zipmap: how Redis before 2.6 packed small hashes into one string. Read only, as the ziplist is.
//!
//! ```text
//! u8 pairs (254 or more: count them) | pairs... | ff
//! pair: length | field | length | u8 unused | value | unused bytes
//! length: one byte below 254, or fe and u32 little-endian, which then is at least 254
//! ```

use crate::rdb::Malformed;

const END: u8 = 0xff;
const LONG: u8 = 0xfe;

/// The fields and values of a zipmap, in order; it ends after the first error.
#[derive(Debug)]
pub(crate) struct Pairs<'a> {
    rest: &'a [u8],
    promised: u8,
    seen: usize,
    over: bool,
}

/// Begins to read `zipmap`.
pub(crate) fn pairs(zipmap: &[u8]) -> Result<Pairs<'_>, Malformed> {
    let [promised, rest @ ..] = zipmap else { return Err(Malformed("a zipmap")) };
    Ok(Pairs { rest, promised: *promised, seen: 0, over: false })
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let item = if self.rest.first() == Some(&END) { self.check_end().err().map(Err) } else { Some(self.pair()) };
        self.over = !matches!(item, Some(Ok(_)));
        item
    }
}

impl<'a> Pairs<'a> {
    fn pair(&mut self) -> Result<(&'a [u8], &'a [u8]), Malformed> {
        let len = self.length()?;
        let field = self.bytes(len)?;
        let len = self.length()?;
        let [unused] = self.array()?;
        let value = self.bytes(len)?;
        self.bytes(usize::from(unused))?;
        self.seen += 1;
        Ok((field, value))
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        match self.array()? {
            [END] => Err(Malformed("a length in a zipmap")),
            [LONG] => match u32::from_le_bytes(self.array()?) {
                short if short < u32::from(LONG) => Err(Malformed("a zipmap's short length in its short form")),
                len => Ok(len as usize),
            },
            [short] => Ok(usize::from(short)),
        }
    }

    fn check_end(&self) -> Result<(), Malformed> {
        if self.rest.len() != 1 {
            return Err(Malformed("a zipmap that ends with its end mark"));
        }
        if self.promised < LONG && usize::from(self.promised) != self.seen {
            return Err(Malformed("a zipmap with as many pairs as it says"));
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(*self.bytes(N)?.first_chunk().expect("as many bytes were taken"))
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Malformed("a pair that ends before its zipmap"))?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// A builder of zipmaps, for tests here and of the RDB reader.
#[cfg(test)]
pub(crate) mod fixtures {
    use super::*;

    fn push_length(out: &mut Vec<u8>, len: usize) {
        if len < usize::from(LONG) {
            out.push(len as u8);
        } else {
            out.push(LONG);
            out.extend_from_slice(&(len as u32).to_le_bytes());
        }
    }

    /// A zipmap of `pairs`, each value followed by `unused` spare bytes.
    pub(crate) fn zipmap(pairs: &[(&[u8], &[u8])], unused: u8) -> Vec<u8> {
        let mut out = vec![pairs.len().min(usize::from(LONG)) as u8];
        for (field, value) in pairs {
            push_length(&mut out, field.len());
            out.extend_from_slice(field);
            push_length(&mut out, value.len());
            out.push(unused);
            out.extend_from_slice(value);
            out.resize(out.len() + usize::from(unused), b'?');
        }
        out.push(END);
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fixtures::zipmap;
    use super::*;

    /// Fields with their values.
    type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

    fn read(bytes: &[u8]) -> Result<Pairs<'_>, Malformed> {
        pairs(bytes)?.collect()
    }

    #[test]
    fn a_known_zipmap_is_read() {
        let bytes = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world--\xff";
        assert_eq!(read(bytes).unwrap(), [(&b"foo"[..], &b"bar"[..]), (b"hello", b"world")]);
        assert_eq!(read(b"\x00\xff").unwrap(), []);
    }

    #[test]
    fn whatever_contradicts_itself_is_refused() {
        assert_eq!(read(b"").unwrap_err().0, "a zipmap");
        assert_eq!(read(b"\x00").unwrap_err().0, "a pair that ends before its zipmap");
        assert_eq!(read(b"\x01\xff").unwrap_err().0, "a zipmap with as many pairs as it says");
        assert_eq!(read(b"\x00\xff\xff").unwrap_err().0, "a zipmap that ends with its end mark");
        assert_eq!(read(b"\x01\x01a\x01\x02b.\xff").unwrap_err().0, "a pair that ends before its zipmap");
        assert_eq!(read(b"\x01\x01a\xff").unwrap_err().0, "a length in a zipmap");
        let padded = read(b"\x01\xfe\x01\0\0\0a\x01\0b\xff").unwrap_err().0;
        assert_eq!(padded, "a zipmap's short length in its short form");
    }

    proptest! {
        #[test]
        fn what_was_packed_is_read_back(
            owned in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), prop::collection::vec(any::<u8>(), 0..300)), 0..20),
            unused in 0u8..5,
        ) {
            let pairs: Vec<(&[u8], &[u8])> = owned.iter().map(|(f, v)| (&f[..], &v[..])).collect();
            let packed = zipmap(&pairs, unused);
            prop_assert_eq!(read(&packed).unwrap(), pairs);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&bytes);
        }
    }
}

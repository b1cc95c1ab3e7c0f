//! The ziplist: how Redis before 7.0 packed small lists, hashes and sorted sets into one string.
//!
//! It is only read here, to be turned into a listpack; nothing writes it any more. All numbers but
//! the string lengths are little-endian:
//!
//! ```text
//! u32 bytes of the whole | u32 offset of the last entry | u16 entries (65535: count them) | entries... | ff
//! entry: length of the entry before it (one byte, or fe and u32) | encoding | content
//! encoding: 00LLLLLL                        a string of L bytes
//!           01LLLLLL llllllll               a string of L:l bytes
//!           10xxxxxx and 4 bytes            a string, its length big-endian
//!           c0 / d0 / e0 / f0 / fe          an integer of 2 / 4 / 8 / 3 / 1 bytes
//!           1111nnnn, n from 1 to 13        the integer n - 1
//! ```
//!
//! The bytes come from whoever has sent them. Everything that they say twice must agree.

use quorate_values::listpack::Item;

use crate::rdb::Malformed;

const HEADER: usize = 10;
const END: u8 = 0xff;

/// The entries of a ziplist, front to back.
///
/// It ends after the first error. Only when it has ended without one are the entries known to be all
/// that there are.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    ziplist: &'a [u8],
    at: usize,
    /// Where the entry before this one begins.
    previous: usize,
    /// Entries seen so far.
    seen: usize,
    over: bool,
}

/// Begins to read `ziplist`, whose header is checked at once.
pub(crate) fn entries(ziplist: &[u8]) -> Result<Entries<'_>, Malformed> {
    let promised = ziplist.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize);
    if ziplist.len() < HEADER + 1 || promised != Some(ziplist.len()) {
        return Err(Malformed("a ziplist of the length that it says"));
    }
    Ok(Entries { ziplist, at: HEADER, previous: HEADER, seen: 0, over: false })
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Item<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let item =
            if self.ziplist.get(self.at) == Some(&END) { self.check_end().err().map(Err) } else { Some(self.entry()) };
        self.over = !matches!(item, Some(Ok(_)));
        item
    }
}

impl<'a> Entries<'a> {
    fn entry(&mut self) -> Result<Item<'a>, Malformed> {
        let begin = self.at;
        let before = match self.byte()? {
            0xfe => u32::from_le_bytes(self.array()?) as usize,
            END => return Err(Malformed("a ziplist entry")),
            short => usize::from(short),
        };
        if before != begin - self.previous {
            return Err(Malformed("a ziplist entry that knows the length of the one before it"));
        }
        let element = self.element()?;
        // The end mark lies behind every entry, so nothing may reach the last byte.
        if self.at >= self.ziplist.len() {
            return Err(Malformed("the end mark of a ziplist"));
        }
        self.previous = begin;
        self.seen += 1;
        Ok(element)
    }

    fn element(&mut self) -> Result<Item<'a>, Malformed> {
        let encoding = self.byte()?;
        let len = match encoding {
            0x00..=0x3f => usize::from(encoding),
            0x40..=0x7f => usize::from(encoding & 0x3f) << 8 | usize::from(self.byte()?),
            0x80..=0xbf => u32::from_be_bytes(self.array()?) as usize,
            0xc0 => return Ok(Item::Int(i16::from_le_bytes(self.array()?).into())),
            0xd0 => return Ok(Item::Int(i32::from_le_bytes(self.array()?).into())),
            0xe0 => return Ok(Item::Int(i64::from_le_bytes(self.array()?))),
            0xf0 => {
                let [a, b, c] = self.array()?;
                return Ok(Item::Int((i32::from_le_bytes([0, a, b, c]) >> 8).into()));
            }
            0xfe => return Ok(Item::Int(i8::from_le_bytes(self.array()?).into())),
            0xf1..=0xfd => return Ok(Item::Int(i64::from(encoding & 0x0f) - 1)),
            _ => return Err(Malformed("the encoding of a ziplist entry")),
        };
        self.bytes(len).map(Item::Bytes)
    }

    /// What the header says about the end must be true.
    fn check_end(&self) -> Result<(), Malformed> {
        let (last, count) = match self.ziplist[4..] {
            [a, b, c, d, e, f, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, u16::from_le_bytes([e, f])),
            _ => unreachable!("the header's length is checked when reading begins"),
        };
        if self.at + 1 != self.ziplist.len() {
            return Err(Malformed("a ziplist that ends with its end mark"));
        }
        if count != u16::MAX && usize::from(count) != self.seen {
            return Err(Malformed("a ziplist with as many entries as it says"));
        }
        if last != self.previous {
            return Err(Malformed("a ziplist whose last entry is where it says"));
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.bytes(N)?;
        Ok(*bytes.first_chunk().expect("as many bytes were taken"))
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let rest = &self.ziplist[self.at..];
        let (bytes, _) = rest.split_at_checked(len).ok_or(Malformed("a ziplist entry that ends before the ziplist"))?;
        self.at += len;
        Ok(bytes)
    }
}

/// Builders of the old encodings, for tests here and of the RDB reader.
#[cfg(test)]
pub(crate) mod fixtures {
    use super::*;

    /// The content of an entry as Redis would encode it; `wide` forces the longest string lengths.
    fn content(element: &Item<'_>, wide: bool) -> Vec<u8> {
        match *element {
            Item::Bytes(bytes) => {
                let mut out = match bytes.len() {
                    len @ 0..=63 if !wide => vec![len as u8],
                    len @ 64..=16383 if !wide => vec![0x40 | (len >> 8) as u8, len as u8],
                    len => [&[0x80], &(len as u32).to_be_bytes()[..]].concat(),
                };
                out.extend_from_slice(bytes);
                out
            }
            Item::Int(n @ 0..=12) => vec![0xf1 + n as u8],
            Item::Int(n) => {
                let bytes = n.to_le_bytes();
                let (encoding, width) = match n {
                    -0x80..=0x7f => (0xfe, 1),
                    -0x8000..=0x7fff => (0xc0, 2),
                    -0x80_0000..=0x7f_ffff => (0xf0, 3),
                    -0x8000_0000..=0x7fff_ffff => (0xd0, 4),
                    _ => (0xe0, 8),
                };
                [&[encoding], &bytes[..width]].concat()
            }
        }
    }

    /// A ziplist of `elements`; `wide` chooses the longest forms that are legal.
    pub(crate) fn ziplist(elements: &[Item<'_>], wide: bool) -> Vec<u8> {
        let mut out = vec![0; HEADER];
        let (mut last, mut before) = (HEADER, 0);
        for element in elements {
            last = out.len();
            if before < 254 && !wide {
                out.push(before as u8);
            } else {
                out.push(0xfe);
                out.extend_from_slice(&(before as u32).to_le_bytes());
            }
            out.extend_from_slice(&content(element, wide));
            before = out.len() - last;
        }
        out.push(END);
        let (bytes, count) = (out.len() as u32, elements.len().min(0xffff) as u16);
        out[0..4].copy_from_slice(&bytes.to_le_bytes());
        out[4..8].copy_from_slice(&(last as u32).to_le_bytes());
        out[8..10].copy_from_slice(&count.to_le_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fixtures::ziplist;
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Item<'_>>, Malformed> {
        entries(bytes)?.collect()
    }

    #[test]
    fn a_ziplist_of_every_encoding_is_read() {
        let long = vec![b'x'; 300];
        let huge = vec![b'y'; 20_000];
        let elements = [
            Item::Bytes(b""),
            Item::Bytes(b"short"),
            Item::Bytes(&long),
            Item::Bytes(&huge),
            Item::Int(0),
            Item::Int(12),
            Item::Int(13),
            Item::Int(-1),
            Item::Int(-129),
            Item::Int(0x7f_ffff),
            Item::Int(-0x80_0000),
            Item::Int(i64::from(i32::MIN)),
            Item::Int(i64::MAX),
        ];
        assert_eq!(read(&ziplist(&elements, false)).unwrap(), elements);
        assert_eq!(read(&ziplist(&elements, true)).unwrap(), elements);
        assert_eq!(read(&ziplist(&[], false)).unwrap(), []);
    }

    #[test]
    fn a_known_ziplist_is_read() {
        // "a", 5, "bc": written by hand after the format's description.
        let bytes = b"\x14\0\0\0\x0f\0\0\0\x03\0\0\x01a\x03\xf6\x02\x02bc\xff";
        assert_eq!(read(bytes).unwrap(), [Item::Bytes(b"a"), Item::Int(5), Item::Bytes(b"bc")]);
    }

    #[test]
    fn whatever_contradicts_itself_is_refused() {
        let good = ziplist(&[Item::Bytes(b"abc"), Item::Int(7), Item::Bytes(b"z")], false);
        let change = |at: usize, to: u8| {
            let mut bad = good.clone();
            bad[at] = to;
            read(&bad).unwrap_err().0
        };
        assert_eq!(change(0, 5), "a ziplist of the length that it says");
        assert_eq!(change(4, 10), "a ziplist whose last entry is where it says");
        assert_eq!(change(8, 2), "a ziplist with as many entries as it says");
        assert_eq!(change(15, 4), "a ziplist entry that knows the length of the one before it");
        assert_eq!(change(16, 0xff), "the encoding of a ziplist entry");
        assert_eq!(change(18, 0x3f), "a ziplist entry that ends before the ziplist");
        assert_eq!(change(18, 2), "the end mark of a ziplist");
        assert_eq!(change(15, 0xff), "a ziplist that ends with its end mark");
        assert_eq!(read(b"\x0a\0\0\0\x0a\0\0\0\0\0").unwrap_err().0, "a ziplist of the length that it says");
    }

    fn element() -> impl Strategy<Value = Result<Vec<u8>, i64>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..400).prop_map(Ok),
            any::<i64>().prop_map(Err),
            (-40_000i64..40_000).prop_map(Err),
        ]
    }

    proptest! {
        #[test]
        fn what_was_packed_is_read_back(owned in prop::collection::vec(element(), 0..30), wide in any::<bool>()) {
            let elements: Vec<_> =
                owned.iter().map(|e| e.as_deref().map_or_else(|n| Item::Int(*n), Item::Bytes)).collect();
            let packed = ziplist(&elements, wide);
            prop_assert_eq!(read(&packed).unwrap(), elements);
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 11..60)) {
            let len = bytes.len() as u32;
            bytes[0..4].copy_from_slice(&len.to_le_bytes());
            let _ = read(&bytes);
        }
    }
}

//! A sequence of strings and integers in one allocation, in the byte format of Redis' listpack, so that
//! loading and dumping a compact value is a copy.
//!
//! ```text
//!  ┌───────────────┬───────────┬─────────┬─────────┬───┬──────┐
//!  │ total bytes   │ elements  │ element │ element │ … │ 0xFF │
//!  │ u32           │ u16       │         │         │   │      │
//!  └───────────────┴───────────┴─────────┴─────────┴───┴──────┘
//!  element = first byte(s): kind and length │ payload │ its length so far, 7 bits a byte, read backwards
//!
//!  0xxxxxxx                 integer 0..=127          110xxxxx x            integer of 13 bits
//!  10xxxxxx …               up to 63 bytes           1110xxxx x …          up to 4095 bytes
//!  11110000 u32 …           longer strings           1111000{1,2,3,4} …    integers of 16, 24, 32, 64 bits
//! ```
//!
//! All numbers are little endian. The count saturates at 65535, which means "walk and see". Text that is a
//! canonical integer is stored as one, always in the shortest form, so that the same sequence of changes
//! yields the same bytes as in Redis.
//!
//! Bytes that come from outside pass [`Listpack::from_bytes`], which looks at every element; behind that
//! door the accessors trust the format and can't run out of bounds. A [`Pos`] is a byte offset: it is good
//! until the listpack changes, and only in the listpack that handed it out.

use std::fmt;

use crate::dict::{LINE, prefetch};
use crate::number::parse_i64;
use crate::size_class::reserve;

const HEADER: usize = 6;
const END: u8 = 0xFF;
/// This value in the header says that the elements must be counted.
const UNCOUNTED: u16 = u16::MAX;
/// No value grows past this; it is far below what the format's length field could say.
const SAFE_BYTES: usize = 1 << 30;
/// The longest encoding of an integer, and of what precedes a string's bytes.
const PREFIX_MAX: usize = 9;
const BACKLEN_MAX: usize = 5;

/// Bytes that are no listpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("corrupt listpack at byte {at}")]
pub struct Corrupt {
    /// The offset of the element, or of the header's field, that contradicts itself.
    pub at: usize,
}

/// A position: that of an element, or [`Listpack::end`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(u32);

/// An element, as it is stored or to be stored.
///
/// Bytes that are a canonical integer equal that integer's element in every respect: they are stored as
/// the integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// An integer.
    Int(i64),
    /// Any other string.
    Bytes(&'a [u8]),
}

impl<'a> From<&'a [u8]> for Item<'a> {
    fn from(bytes: &'a [u8]) -> Item<'a> {
        Item::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Item<'a> {
    fn from(bytes: &'a Vec<u8>) -> Item<'a> {
        Item::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Item<'a> {
    fn from(bytes: &'a [u8; N]) -> Item<'a> {
        Item::Bytes(bytes)
    }
}

impl From<i64> for Item<'_> {
    fn from(number: i64) -> Self {
        Item::Int(number)
    }
}

impl<'a> Item<'a> {
    /// Whether its text is `text`.
    #[inline]
    pub fn is(&self, text: &[u8]) -> bool {
        match self {
            Item::Bytes(bytes) => *bytes == text,
            Item::Int(number) => parse_i64(text) == Some(*number),
        }
    }

    /// Its text; `buffer` holds it if it is an integer.
    #[inline]
    pub fn text<'b>(&self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Item::Bytes(bytes) => bytes,
            Item::Int(number) => buffer.format(number).as_bytes(),
        }
    }

    /// Appends its text.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text(&mut itoa::Buffer::new()));
    }

    /// Its text, owned.
    pub fn to_vec(&self) -> Vec<u8> {
        self.text(&mut itoa::Buffer::new()).to_vec()
    }

    /// The length of its text in bytes.
    pub fn text_len(&self) -> usize {
        self.text(&mut itoa::Buffer::new()).len()
    }

    /// The integer that it is, if its text is a canonical one.
    #[inline]
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            Item::Int(number) => Some(number),
            Item::Bytes(bytes) => parse_i64(bytes),
        }
    }
}

/// An element cut into the three pieces that are copied one after the other.
struct Encoded<'a> {
    /// The kind and the length or the integer.
    prefix: [u8; PREFIX_MAX],
    prefix_len: usize,
    payload: &'a [u8],
    backlen: [u8; BACKLEN_MAX],
    backlen_len: usize,
}

impl<'a> Encoded<'a> {
    #[inline]
    fn new(item: Item<'a>) -> Encoded<'a> {
        let mut prefix = [0; PREFIX_MAX];
        let (prefix_len, payload): (usize, &[u8]) = match item {
            Item::Int(number) => (encode_int(&mut prefix, number), &[]),
            Item::Bytes(bytes) => match parse_i64(bytes) {
                Some(number) => (encode_int(&mut prefix, number), &[]),
                None => (encode_length(&mut prefix, bytes.len()), bytes),
            },
        };
        let mut backlen = [0; BACKLEN_MAX];
        let backlen_len = encode_backlen(&mut backlen, prefix_len + payload.len());
        Encoded { prefix, prefix_len, payload, backlen, backlen_len }
    }

    #[inline]
    fn len(&self) -> usize {
        self.prefix_len + self.payload.len() + self.backlen_len
    }

    /// Fills `room`, which is exactly [`Encoded::len`] bytes long.
    #[inline]
    fn write(&self, room: &mut [u8]) {
        let (prefix, rest) = room.split_at_mut(self.prefix_len);
        let (payload, backlen) = rest.split_at_mut(self.payload.len());
        prefix.copy_from_slice(&self.prefix[..self.prefix_len]);
        payload.copy_from_slice(self.payload);
        backlen.copy_from_slice(&self.backlen[..self.backlen_len]);
    }
}

#[inline]
fn encode_int(out: &mut [u8; PREFIX_MAX], number: i64) -> usize {
    let bytes = number.to_le_bytes();
    let (kind, width) = match number {
        0..=127 => {
            out[0] = number as u8;
            return 1;
        }
        -4096..=4095 => {
            out[0] = 0b1100_0000 | (bytes[1] & 0b0001_1111);
            out[1] = bytes[0];
            return 2;
        }
        -0x8000..=0x7fff => (0xF1, 2),
        -0x80_0000..=0x7f_ffff => (0xF2, 3),
        -0x8000_0000..=0x7fff_ffff => (0xF3, 4),
        _ => (0xF4, 8),
    };
    out[0] = kind;
    out[1..=width].copy_from_slice(&bytes[..width]);
    1 + width
}

#[inline]
fn encode_length(out: &mut [u8; PREFIX_MAX], len: usize) -> usize {
    match len {
        0..=63 => {
            out[0] = 0b1000_0000 | len as u8;
            1
        }
        64..=4095 => {
            out[0] = 0b1110_0000 | (len >> 8) as u8;
            out[1] = len as u8;
            2
        }
        _ => {
            out[0] = 0xF0;
            out[1..5].copy_from_slice(&u32::try_from(len).expect("refused by the safety bound").to_le_bytes());
            5
        }
    }
}

/// How many bytes say that an element takes `len` bytes. The steps lie one below what 7 bits a byte could
/// say; that is the format.
#[inline]
const fn backlen_bytes(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// Seven bits a byte, most significant first; each byte but the first says that there is more before it.
#[inline]
fn encode_backlen(out: &mut [u8; BACKLEN_MAX], len: usize) -> usize {
    let bytes = backlen_bytes(len);
    for (index, byte) in out[..bytes].iter_mut().enumerate() {
        let bits = (len >> (7 * (bytes - 1 - index))) as u8 & 0x7f;
        *byte = if index == 0 { bits } else { bits | 0x80 };
    }
    bytes
}

/// The length that the bytes before `end` spell backwards.
#[inline]
fn decode_backlen(bytes: &[u8], end: usize) -> usize {
    let mut len = 0;
    for index in 0..BACKLEN_MAX {
        let byte = bytes[end - 1 - index];
        len |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            break;
        }
    }
    len
}

/// The bytes of prefix and payload that the element starting with `rest[0]` has, as far as the prefix
/// can say; `None` if the prefix is cut off or is none.
#[inline]
fn encoded_len(rest: &[u8]) -> Option<usize> {
    let first = *rest.first()?;
    Some(match first {
        0x00..=0x7f => 1,
        0x80..=0xbf => 1 + usize::from(first & 0x3f),
        0xc0..=0xdf => 2,
        0xe0..=0xef => 2 + (usize::from(first & 0x0f) << 8 | usize::from(*rest.get(1)?)),
        0xf0 => 5 + u32::from_le_bytes(rest.get(1..5)?.try_into().ok()?) as usize,
        0xf1 => 3,
        0xf2 => 4,
        0xf3 => 5,
        0xf4 => 9,
        _ => return None,
    })
}

/// The integer in `len` little-endian bytes at the start of `bytes`.
#[inline]
fn decode_int<const LEN: usize>(bytes: &[u8]) -> i64 {
    let mut wide = [0; 8];
    wide[8 - LEN..].copy_from_slice(&bytes[..LEN]);
    i64::from_le_bytes(wide) >> (64 - 8 * LEN)
}

/// The listpack; see the module's text.
#[derive(Clone, PartialEq, Eq)]
pub struct Listpack {
    bytes: Vec<u8>,
}

impl Default for Listpack {
    fn default() -> Listpack {
        Listpack::new()
    }
}

impl fmt::Debug for Listpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &'a Listpack {
    type Item = Item<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Listpack {
    /// Lets the cache fetch the first bytes, which is where every search begins.
    #[inline]
    pub fn prefetch(&self) {
        let first = self.bytes.as_ptr();
        prefetch(first);
        prefetch(first.wrapping_add(LINE));
    }

    /// An empty one.
    pub fn new() -> Listpack {
        Listpack::with_capacity(0)
    }

    /// An empty one with room for elements of `bytes` encoded bytes altogether.
    pub fn with_capacity(bytes: usize) -> Listpack {
        let mut buffer = Vec::new();
        reserve(&mut buffer, HEADER + 1 + bytes);
        buffer.extend_from_slice(&[HEADER as u8 + 1, 0, 0, 0, 0, 0, END]);
        Listpack { bytes: buffer }
    }

    /// Takes over bytes of unknown origin.
    ///
    /// # Errors
    /// If any element, a length or the count contradicts the rest.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Listpack, Corrupt> {
        let Some((&END, _)) = bytes.split_last() else { return Err(Corrupt { at: bytes.len() }) };
        let end = bytes.len() - 1;
        if end < HEADER || bytes[..4] != u32::try_from(bytes.len()).map_err(|_| Corrupt { at: 0 })?.to_le_bytes() {
            return Err(Corrupt { at: 0 });
        }
        let (mut at, mut count) = (HEADER, 0usize);
        while at < end {
            let corrupt = Corrupt { at };
            let len = encoded_len(&bytes[at..end]).ok_or(corrupt)?;
            let mut backlen = [0; BACKLEN_MAX];
            let backlen_len = encode_backlen(&mut backlen, len);
            let rest = bytes[at..end].get(len..len + backlen_len).ok_or(corrupt)?;
            if *rest != backlen[..backlen_len] {
                return Err(corrupt);
            }
            at += len + backlen_len;
            count += 1;
        }
        let stated = u16::from_le_bytes([bytes[4], bytes[5]]);
        if stated != UNCOUNTED && usize::from(stated) != count {
            return Err(Corrupt { at: 4 });
        }
        Ok(Listpack { bytes })
    }

    /// How many elements there are. Above 65534 they are counted one by one.
    #[inline]
    pub fn len(&self) -> usize {
        match self.stated() {
            UNCOUNTED => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.byte_len() == HEADER + 1
    }

    /// The bytes of the whole, header and end mark included.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The whole in Redis' format.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes allocated.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives back what growth has reserved.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// The bytes that `item` takes as an element.
    #[inline]
    pub fn element_bytes<'a>(item: impl Into<Item<'a>>) -> usize {
        Encoded::new(item.into()).len()
    }

    /// Whether text of `bytes` more bytes may be added: a listpack is kept below 1 GiB. Who adds must ask
    /// first if the text can be that long.
    #[inline]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.byte_len().saturating_add(bytes) <= SAFE_BYTES
    }

    // ---- Positions ----------------------------------------------------------------------------------

    /// Behind the last element.
    #[inline]
    pub fn end(&self) -> Pos {
        Pos((self.bytes.len() - 1) as u32)
    }

    /// The first element.
    #[inline]
    pub fn first(&self) -> Option<Pos> {
        self.at_or_end(HEADER)
    }

    /// The last element.
    #[inline]
    pub fn last(&self) -> Option<Pos> {
        self.prev(self.end())
    }

    /// The element behind the one at `pos`.
    #[inline]
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        self.at_or_end(self.skip(pos.0 as usize))
    }

    /// The element before `pos`, which may be the end.
    #[inline]
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        let at = pos.0 as usize;
        if at == HEADER {
            return None;
        }
        let len = decode_backlen(&self.bytes, at);
        Some(Pos((at - len - backlen_bytes(len)) as u32))
    }

    /// The element of that index; negative ones count from the end, -1 being the last.
    pub fn at(&self, index: i64) -> Option<Pos> {
        let count = self.stated();
        let from_end = if index < 0 {
            index.unsigned_abs()
        } else if count == UNCOUNTED {
            u64::MAX
        } else {
            u64::from(count).checked_sub(index as u64).filter(|&from_end| from_end > 0)?
        };
        let from_start = if index >= 0 {
            index as u64
        } else if count == UNCOUNTED {
            u64::MAX
        } else {
            u64::from(count).checked_sub(from_end)?
        };
        if from_start < from_end {
            (0..from_start).try_fold(self.first()?, |pos, _| self.next(pos))
        } else {
            (0..from_end).try_fold(self.end(), |pos, _| self.prev(pos))
        }
    }

    /// The element at `pos`, which is not the end.
    #[inline]
    pub fn item(&self, pos: Pos) -> Item<'_> {
        let rest = &self.bytes[pos.0 as usize..];
        match rest[0] {
            small @ 0x00..=0x7f => Item::Int(i64::from(small)),
            first @ 0x80..=0xbf => Item::Bytes(&rest[1..1 + usize::from(first & 0x3f)]),
            first @ 0xc0..=0xdf => {
                // The 13 bits go to the top, and come back with their sign.
                let bits = (u16::from(first) << 8 | u16::from(rest[1])) << 3;
                Item::Int(i64::from(bits as i16 >> 3))
            }
            first @ 0xe0..=0xef => {
                let len = usize::from(first & 0x0f) << 8 | usize::from(rest[1]);
                Item::Bytes(&rest[2..2 + len])
            }
            0xf0 => {
                let len = u32::from_le_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
                Item::Bytes(&rest[5..5 + len])
            }
            0xf1 => Item::Int(decode_int::<2>(&rest[1..])),
            0xf2 => Item::Int(decode_int::<3>(&rest[1..])),
            0xf3 => Item::Int(decode_int::<4>(&rest[1..])),
            0xf4 => Item::Int(decode_int::<8>(&rest[1..])),
            _ => unreachable!("no element starts so; from_bytes has looked, or we have written it"),
        }
    }

    /// The element of that index; see [`Listpack::at`].
    #[inline]
    pub fn get(&self, index: i64) -> Option<Item<'_>> {
        self.at(index).map(|pos| self.item(pos))
    }

    /// The first element, from `from` on, that equals `needle` and lies a whole number of steps of `step`
    /// elements away: 1 looks at each, 2 at the fields of field-value pairs.
    pub fn find(&self, from: Option<Pos>, needle: &[u8], step: usize) -> Option<Pos> {
        let end = self.bytes.len() - 1;
        let mut at = from?.0 as usize;
        let number = parse_i64(needle);
        while at < end {
            let hit = match (self.item(Pos(at as u32)), number) {
                (Item::Bytes(bytes), _) => bytes == needle,
                (Item::Int(found), Some(wanted)) => found == wanted,
                (Item::Int(_), None) => false,
            };
            if hit {
                return Some(Pos(at as u32));
            }
            for _ in 0..step {
                if at == end {
                    return None;
                }
                at = self.skip(at);
            }
        }
        None
    }

    /// The elements in order.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(Pos(HEADER as u32))
    }

    /// The elements from `pos` on, which may be the end.
    #[inline]
    pub fn iter_from(&self, pos: Pos) -> Iter<'_> {
        Iter { listpack: self, at: pos }
    }

    /// The elements from the last to the first.
    #[inline]
    pub fn iter_rev(&self) -> IterRev<'_> {
        self.iter_rev_from(self.end())
    }

    /// The elements before `pos`, which may be the end, from the nearest to the first.
    #[inline]
    pub fn iter_rev_from(&self, pos: Pos) -> IterRev<'_> {
        IterRev { listpack: self, at: pos }
    }

    // ---- Changes ------------------------------------------------------------------------------------

    /// Adds an element at the end.
    #[inline]
    pub fn push_back<'a>(&mut self, item: impl Into<Item<'a>>) {
        self.insert_before(self.end(), item);
    }

    /// Adds an element at the front.
    pub fn push_front<'a>(&mut self, item: impl Into<Item<'a>>) {
        self.insert_before(Pos(HEADER as u32), item);
    }

    /// Adds an element before `pos`, which may be the end, and returns its position.
    #[inline]
    pub fn insert_before<'a>(&mut self, pos: Pos, item: impl Into<Item<'a>>) -> Pos {
        self.insert_all_before(pos, [item.into()])
    }

    /// Adds an element behind the one at `pos` and returns its position.
    pub fn insert_after<'a>(&mut self, pos: Pos, item: impl Into<Item<'a>>) -> Pos {
        let behind = Pos(self.skip(pos.0 as usize) as u32);
        self.insert_before(behind, item)
    }

    /// Adds elements in their order before `pos`, moving what follows but once, and returns the position
    /// of the first.
    #[inline]
    pub fn insert_all_before<const N: usize>(&mut self, pos: Pos, items: [Item<'_>; N]) -> Pos {
        let encoded = items.map(Encoded::new);
        let mut at = pos.0 as usize;
        self.resize_gap(at, 0, encoded.iter().map(Encoded::len).sum());
        for element in &encoded {
            element.write(&mut self.bytes[at..at + element.len()]);
            at += element.len();
        }
        self.recount(N as isize);
        pos
    }

    /// Puts another element in the place of the one at `pos`; the position stays.
    pub fn replace<'a>(&mut self, pos: Pos, item: impl Into<Item<'a>>) {
        let encoded = Encoded::new(item.into());
        let at = pos.0 as usize;
        self.resize_gap(at, self.skip(at) - at, encoded.len());
        encoded.write(&mut self.bytes[at..at + encoded.len()]);
    }

    /// Removes the element at `pos`; what followed it is at `pos` then, be it an element or the end.
    #[inline]
    pub fn delete(&mut self, pos: Pos) {
        self.delete_from(pos, 1);
    }

    /// Removes up to `count` elements from `pos` on, which may be the end, and returns how many there
    /// were; what followed them is at `pos` then.
    pub fn delete_from(&mut self, pos: Pos, count: usize) -> usize {
        let end = self.bytes.len() - 1;
        let (mut at, mut deleted) = (pos.0 as usize, 0);
        while deleted < count && at < end {
            at = self.skip(at);
            deleted += 1;
        }
        if deleted > 0 {
            self.resize_gap(pos.0 as usize, at - pos.0 as usize, 0);
            self.recount(-(deleted as isize));
        }
        deleted
    }

    /// Removes up to `count` elements from the one of index `index` on (see [`Listpack::at`]) and returns
    /// how many there were.
    pub fn delete_range(&mut self, index: i64, count: usize) -> usize {
        self.at(index).map_or(0, |pos| self.delete_from(pos, count))
    }

    /// Removes all elements and keeps the allocation.
    pub fn clear(&mut self) {
        let end = self.bytes.len() - 1;
        self.resize_gap(HEADER, end - HEADER, 0);
        self.set_stated(0);
    }

    /// Cuts off the elements from `pos` on, which may be the end, and returns them.
    pub fn split_off(&mut self, pos: Pos) -> Listpack {
        let at = pos.0 as usize;
        let end = self.bytes.len() - 1;
        let mut tail = Listpack::with_capacity(end - at);
        tail.resize_gap(HEADER, 0, end - at);
        tail.bytes[HEADER..HEADER + end - at].copy_from_slice(&self.bytes[at..end]);
        // A count that the header holds stays one; who had too many may have few enough.
        let moved = tail.iter().count();
        let kept = match self.stated() {
            UNCOUNTED => self.iter().count() - moved,
            count => usize::from(count) - moved,
        };
        self.resize_gap(at, end - at, 0);
        tail.set_stated(moved);
        self.set_stated(kept);
        tail
    }

    /// Adds the elements of `other` at the end.
    pub fn append(&mut self, other: &Listpack) {
        let count = match (self.stated(), other.stated()) {
            (UNCOUNTED, _) | (_, UNCOUNTED) => usize::from(UNCOUNTED),
            (ours, theirs) => usize::from(ours) + usize::from(theirs),
        };
        let body = &other.bytes[HEADER..other.bytes.len() - 1];
        let at = self.bytes.len() - 1;
        self.resize_gap(at, 0, body.len());
        self.bytes[at..at + body.len()].copy_from_slice(body);
        self.set_stated(count);
    }

    // ---- The bytes ----------------------------------------------------------------------------------

    #[inline]
    fn at_or_end(&self, at: usize) -> Option<Pos> {
        (at < self.bytes.len() - 1).then_some(Pos(at as u32))
    }

    /// The offset behind the element at `at`.
    #[inline]
    fn skip(&self, at: usize) -> usize {
        let len = encoded_len(&self.bytes[at..]).expect("an element starts at each position");
        at + len + backlen_bytes(len)
    }

    #[inline]
    fn stated(&self) -> u16 {
        u16::from_le_bytes([self.bytes[4], self.bytes[5]])
    }

    fn set_stated(&mut self, count: usize) {
        let stated = u16::try_from(count).unwrap_or(UNCOUNTED);
        self.bytes[4..6].copy_from_slice(&stated.to_le_bytes());
    }

    /// Counts elements in or out, unless the header has lost count.
    #[inline]
    fn recount(&mut self, change: isize) {
        if self.stated() != UNCOUNTED {
            let count = usize::from(self.stated()).checked_add_signed(change);
            self.set_stated(count.expect("no more go than there were"));
        }
    }

    /// Makes the `old` bytes at `at` into `new` ones, of any content, and writes the total down.
    #[inline]
    fn resize_gap(&mut self, at: usize, old: usize, new: usize) {
        let len = self.bytes.len();
        let total = len - old + new;
        assert!(total <= u32::MAX as usize, "callers ask has_room_for, which says no far below");
        if new > old {
            reserve(&mut self.bytes, new - old);
            self.bytes.resize(total, 0);
        }
        self.bytes.copy_within(at + old..len, at + new);
        self.bytes.truncate(total);
        self.bytes[..4].copy_from_slice(&(total as u32).to_le_bytes());
    }
}

/// The elements of a listpack from a position on.
#[derive(Clone)]
pub struct Iter<'a> {
    listpack: &'a Listpack,
    at: Pos,
}

impl Iter<'_> {
    /// Where the element is that comes next, or the end.
    #[inline]
    pub fn pos(&self) -> Pos {
        self.at
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.at == self.listpack.end() {
            return None;
        }
        let item = self.listpack.item(self.at);
        self.at = Pos(self.listpack.skip(self.at.0 as usize) as u32);
        Some(item)
    }
}

/// The elements of a listpack from the last to the first.
#[derive(Clone)]
pub struct IterRev<'a> {
    listpack: &'a Listpack,
    at: Pos,
}

impl<'a> Iterator for IterRev<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        self.at = self.listpack.prev(self.at)?;
        Some(self.listpack.item(self.at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listpack(elements: &[&[u8]]) -> Listpack {
        let mut listpack = Listpack::new();
        for &element in elements {
            listpack.push_back(element);
        }
        listpack
    }

    fn texts(listpack: &Listpack) -> Vec<Vec<u8>> {
        listpack.iter().map(|item| item.to_vec()).collect()
    }

    /// What every listpack must be: loadable, counted, the same backwards.
    fn check(listpack: &Listpack) {
        let loaded = Listpack::from_bytes(listpack.as_bytes().to_vec());
        assert_eq!(loaded.as_ref(), Ok(listpack));
        let mut backwards: Vec<_> = listpack.iter_rev().collect();
        backwards.reverse();
        assert_eq!(backwards, listpack.iter().collect::<Vec<_>>());
        assert_eq!(listpack.len(), backwards.len());
        assert_eq!(listpack.is_empty(), backwards.is_empty());
    }

    #[test]
    fn integers_take_the_shortest_form() {
        let cases: [(i64, &[u8]); 16] = [
            (0, &[0x00, 1]),
            (127, &[0x7f, 1]),
            (128, &[0xc0, 0x80, 2]),
            (-1, &[0xdf, 0xff, 2]),
            (4095, &[0xcf, 0xff, 2]),
            (-4096, &[0xd0, 0x00, 2]),
            (4096, &[0xf1, 0x00, 0x10, 3]),
            (-32768, &[0xf1, 0x00, 0x80, 3]),
            (32768, &[0xf2, 0x00, 0x80, 0x00, 4]),
            (-8_388_608, &[0xf2, 0x00, 0x00, 0x80, 4]),
            (8_388_608, &[0xf3, 0x00, 0x00, 0x80, 0x00, 5]),
            (-2_147_483_648, &[0xf3, 0x00, 0x00, 0x00, 0x80, 5]),
            (2_147_483_648, &[0xf4, 0x00, 0x00, 0x00, 0x80, 0, 0, 0, 0, 9]),
            (-2_147_483_649, &[0xf4, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 9]),
            (i64::MAX, &[0xf4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 9]),
            (i64::MIN, &[0xf4, 0, 0, 0, 0, 0, 0, 0, 0x80, 9]),
        ];
        for (number, bytes) in cases {
            let text = number.to_string();
            let listpack = listpack(&[text.as_bytes()]);
            assert_eq!(&listpack.as_bytes()[HEADER..listpack.byte_len() - 1], bytes, "{number}");
            assert_eq!(listpack.get(0), Some(Item::Int(number)));
            assert_eq!(Listpack::element_bytes(number), bytes.len());
        }
    }

    #[test]
    fn text_that_only_resembles_an_integer_stays_text() {
        for text in ["", "-", "-0", "+1", "01", " 1", "1 ", "1.0", "9223372036854775808", "-9223372036854775809"] {
            assert_eq!(listpack(&[text.as_bytes()]).get(0), Some(Item::Bytes(text.as_bytes())));
        }
    }

    #[test]
    fn lengths_change_their_form_where_the_format_says_so() {
        for len in
            [0, 1, 63, 64, 125, 126, 127, 128, 4095, 4096, 16_377, 16_378, 16_379, 2_097_144, 2_097_146, 2_097_147]
        {
            let text = vec![b'x'; len];
            let listpack = listpack(&[b"before", &text, b"behind"]);
            check(&listpack);
            assert_eq!(listpack.get(1), Some(Item::Bytes(&text)), "{len}");
            assert_eq!(listpack.get(-3), Some(Item::Bytes(b"before")), "{len}");
        }
        let mut backlen = [0; BACKLEN_MAX];
        assert_eq!(encode_backlen(&mut backlen, 16_382), 2);
        assert_eq!(encode_backlen(&mut backlen, 16_383), 3);
    }

    #[test]
    fn an_empty_listpack_is_seven_bytes_and_has_no_elements() {
        let mut empty = Listpack::new();
        assert_eq!(empty.as_bytes(), [7, 0, 0, 0, 0, 0, 0xff]);
        assert_eq!((empty.first(), empty.last(), empty.get(0), empty.get(-1)), (None, None, None, None));
        assert_eq!(empty.find(empty.first(), b"x", 1), None);
        assert_eq!(empty.delete_range(0, 5), 0);
        assert_eq!(empty.heap_bytes(), 8);
    }

    #[test]
    fn find_looks_only_at_whole_steps() {
        let pairs = listpack(&[b"a", b"b", b"b", b"1", b"1", b"a"]);
        let index = |needle: &[u8], step| {
            let pos = pairs.find(pairs.first(), needle, step)?;
            pairs.iter_from(pos).next().expect("found").is(needle).then_some(pos)
        };
        assert_eq!(index(b"b", 2), pairs.at(2));
        assert_eq!(index(b"b", 1), pairs.at(1));
        assert_eq!(index(b"1", 2), pairs.at(4));
        assert_eq!(index(b"a", 2), pairs.at(0));
        assert_eq!(pairs.find(pairs.at(2), b"a", 2), None);
        assert_eq!(pairs.find(pairs.at(1), b"a", 2), pairs.at(5));
        assert_eq!(index(b"01", 1), None);
    }

    #[test]
    fn more_elements_than_the_header_counts_are_still_counted() {
        let mut many = Listpack::new();
        for number in 0..65_534 {
            many.push_back(number);
        }
        assert_eq!(many.stated(), 65_534);
        many.push_back(1);
        assert_eq!((many.stated(), many.len()), (UNCOUNTED, 65_535));
        many.push_front(2);
        assert_eq!((many.len(), many.get(65_535), many.get(65_536)), (65_536, Some(Item::Int(1)), None));
        assert_eq!((many.get(-65_536), many.get(-65_537)), (Some(Item::Int(2)), None));
        check(&many);
        let tail = many.split_off(many.at(10).expect("there are more"));
        assert_eq!((many.stated(), tail.stated()), (10, 65_526));
        many.append(&tail);
        assert_eq!(many.len(), 65_536);
    }

    #[test]
    fn corrupt_bytes_are_refused() {
        let good = listpack(&[b"hello", b"1024", &[b'x'; 100], b"7"]).as_bytes().to_vec();
        assert!(Listpack::from_bytes(good.clone()).is_ok());
        for cut in 0..good.len() {
            assert!(Listpack::from_bytes(good[..cut].to_vec()).is_err(), "cut at {cut}");
        }
        let mut wrong_count = good.clone();
        wrong_count[4] = 5;
        assert_eq!(Listpack::from_bytes(wrong_count), Err(Corrupt { at: 4 }));
        // An end mark inside would hide the rest.
        let mut early_end = good.clone();
        early_end[HEADER] = END;
        assert_eq!(Listpack::from_bytes(early_end), Err(Corrupt { at: HEADER }));
        // A length that reaches past the end.
        let mut long = good;
        long[HEADER] = 0xbf;
        long[HEADER + 1] = 0xff;
        assert!(Listpack::from_bytes(long).is_err());
    }

    #[test]
    fn growth_is_amortised_and_shrinking_exact() {
        let mut listpack = Listpack::new();
        let (mut allocations, mut capacity) = (0, 0);
        for number in 0..100_000i64 {
            listpack.push_back(number);
            if listpack.heap_bytes() != capacity {
                capacity = listpack.heap_bytes();
                allocations += 1;
            }
        }
        assert!(allocations < 100, "{allocations}");
        listpack.shrink_to_fit();
        assert_eq!(listpack.heap_bytes(), listpack.byte_len());
    }

    #[derive(Debug, Clone)]
    enum Change {
        Insert(usize, Vec<u8>),
        InsertPair(usize, Vec<u8>, i64),
        After(usize, Vec<u8>),
        Replace(usize, Vec<u8>),
        Delete(usize, usize),
        DeleteFromEnd(usize, usize),
        SplitAndJoin(usize),
        Clear,
    }

    fn element() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
            4 => (-5000i64..5000).prop_map(|number| number.to_string().into_bytes()),
            8 => proptest::collection::vec(any::<u8>(), 0..20),
            4 => proptest::collection::vec(any::<u8>(), 60..140),
            1 => (4000usize..4200).prop_map(|len| vec![b'y'; len]),
            1 => (16_360usize..16_400).prop_map(|len| vec![b'z'; len]),
        ]
    }

    fn change() -> impl Strategy<Value = Change> {
        let at = any::<prop::sample::Index>().prop_map(|index| index.index(1 << 16));
        prop_oneof![
            8 => (at.clone(), element()).prop_map(|(at, text)| Change::Insert(at, text)),
            4 => (at.clone(), element(), any::<i64>()).prop_map(|(at, text, n)| Change::InsertPair(at, text, n)),
            4 => (at.clone(), element()).prop_map(|(at, text)| Change::After(at, text)),
            4 => (at.clone(), element()).prop_map(|(at, text)| Change::Replace(at, text)),
            3 => (at.clone(), 0usize..4).prop_map(|(at, count)| Change::Delete(at, count)),
            1 => (at.clone(), 0usize..4).prop_map(|(at, count)| Change::DeleteFromEnd(at, count)),
            1 => at.prop_map(Change::SplitAndJoin),
            1 => Just(Change::Clear),
        ]
    }

    fn apply(listpack: &mut Listpack, model: &mut Vec<Vec<u8>>, change: Change) {
        let index = |at: usize| (at % (model.len() + 1)) as i64;
        let pos = |listpack: &Listpack, at: i64| listpack.at(at).unwrap_or(listpack.end());
        match change {
            Change::Insert(at, text) => {
                let at = index(at);
                let new = listpack.insert_before(pos(listpack, at), &text);
                assert!(listpack.item(new).is(&text));
                model.insert(at as usize, text);
            }
            Change::InsertPair(at, text, number) => {
                let at = index(at);
                listpack.insert_all_before(pos(listpack, at), [Item::Bytes(&text), Item::Int(number)]);
                model.splice(at as usize..at as usize, [text, number.to_string().into_bytes()]);
            }
            Change::After(at, text) => {
                let Some(at) = (at % (model.len() + 1)).checked_sub(1) else { return };
                listpack.insert_after(listpack.at(at as i64).expect("counted"), &text);
                model.insert(at + 1, text);
            }
            Change::Replace(at, text) => {
                let Some(at) = (at % (model.len() + 1)).checked_sub(1) else { return };
                listpack.replace(listpack.at(at as i64).expect("counted"), &text);
                model[at] = text;
            }
            Change::Delete(at, count) => {
                let at = index(at) as usize;
                let expected = count.min(model.len() - at);
                assert_eq!(listpack.delete_range(at as i64, count), expected);
                model.drain(at..at + expected);
            }
            Change::DeleteFromEnd(at, count) => {
                let from_end = index(at) as usize;
                let at = model.len() - from_end;
                let expected = if from_end == 0 { 0 } else { count.min(from_end) };
                if from_end > 0 {
                    assert_eq!(listpack.delete_range(-(from_end as i64), count), expected);
                }
                model.drain(at..at + expected);
            }
            Change::SplitAndJoin(at) => {
                let at = index(at);
                let tail = listpack.split_off(pos(listpack, at));
                check(listpack);
                check(&tail);
                assert_eq!(texts(listpack), model[..at as usize]);
                listpack.append(&tail);
            }
            Change::Clear => {
                listpack.clear();
                model.clear();
            }
        }
    }

    proptest! {
        #[test]
        fn any_changes_leave_what_a_vector_would_hold(changes in proptest::collection::vec(change(), 1..60)) {
            let (mut listpack, mut model) = (Listpack::new(), Vec::new());
            for change in changes {
                apply(&mut listpack, &mut model, change);
                check(&listpack);
                prop_assert_eq!(&texts(&listpack), &model);
            }
            let fresh = self::listpack(&model.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(fresh.as_bytes(), listpack.as_bytes());
            for (index, text) in model.iter().enumerate() {
                prop_assert!(listpack.get(index as i64).is_some_and(|item| item.is(text)));
                prop_assert!(listpack.get(index as i64 - model.len() as i64).is_some_and(|item| item.is(text)));
                let first = model.iter().position(|other| other == text).map(|at| at as i64);
                let found = listpack.find(listpack.first(), text, 1);
                prop_assert_eq!(found, first.and_then(|at| listpack.at(at)));
            }
        }

        #[test]
        fn whatever_passes_the_door_can_be_read_without_harm(
            elements in proptest::collection::vec(element(), 0..8),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = listpack(&elements.iter().map(Vec::as_slice).collect::<Vec<_>>()).as_bytes().to_vec();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(mut listpack) = Listpack::from_bytes(bytes) {
                check(&listpack);
                listpack.find(listpack.first(), b"17", 2);
                listpack.delete_range(0, 1);
                listpack.push_front(b"front");
                listpack.push_back(b"back");
                check(&listpack);
            }
        }
    }
}

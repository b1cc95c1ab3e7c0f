//! The fields of packets: big-endian numbers, names of forty digits, addresses of 46 bytes, padded texts.

use super::Malformed;
use crate::{NodeId, text};

/// Bytes of an address, which ends with a zero byte: the longest text of an IPv6 address and a zero.
const ADDRESS: usize = 46;
/// Bytes of a name.
const NAME: usize = 40;

/// Reads fields one after the other; none of its steps can go beyond the end.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Truncated(what))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(u64::from_be_bytes)
    }

    pub(super) fn name(&mut self, what: &'static str) -> Result<NodeId, Malformed> {
        let digits: [u8; NAME] = self.array(what)?;
        NodeId::parse(&digits).ok_or(Malformed::Name(what))
    }

    /// A name, or forty zero bytes for none.
    pub(super) fn optional_name(&mut self, what: &'static str) -> Result<Option<NodeId>, Malformed> {
        let digits: [u8; NAME] = self.array(what)?;
        if digits == [0; NAME] {
            return Ok(None);
        }
        NodeId::parse(&digits).map(Some).ok_or(Malformed::Name(what))
    }

    /// An address; nothing if it is empty.
    pub(super) fn address(&mut self, what: &'static str) -> Result<Option<String>, Malformed> {
        let field: [u8; ADDRESS] = self.array(what)?;
        let text = until_zero(&field).ok_or(Malformed::Text(what))?;
        if text.is_empty() {
            return Ok(None);
        }
        text::address(text).map(Some).ok_or(Malformed::Text(what))
    }

    pub(super) fn finish(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::TooLong(self.0.len())) }
    }
}

/// What precedes the first zero byte; `None` if there is no such byte.
pub(super) fn until_zero(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().position(|&byte| byte == 0).map(|end| &bytes[..end])
}

/// Writes fields one after the other.
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn u16(&mut self, number: u16) {
        self.bytes(&number.to_be_bytes());
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.bytes(&number.to_be_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    pub(super) fn optional_name(&mut self, name: Option<NodeId>) {
        self.bytes(&name.map_or([0; NAME], |name| name.digits()));
    }

    /// An address, cut off where the field ends.
    pub(super) fn address(&mut self, address: Option<&str>) {
        let text = address.unwrap_or_default().as_bytes();
        let mut field = [0; ADDRESS];
        let length = text.len().min(ADDRESS - 1);
        field[..length].copy_from_slice(&text[..length]);
        self.bytes(&field);
    }
}

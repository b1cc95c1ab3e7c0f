//! One value by itself, as DUMP returns it and RESTORE and MIGRATE take it.
//!
//! ```text
//! type and body, as in an RDB file | u16 version of the format | u64 CRC64 of all before; little-endian
//! ```
//!
//! A payload goes through the hands of clients, so what comes back is checked more closely than a file.

use quorate_values::{Value, ValueRef};

use crate::crc64::crc64;
use crate::rdb::{self, Checksums, NEWEST_VERSION, ReadOptions, WriteOptions, payload};

/// Why bytes are no payload. RESTORE answers alike to the first two.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They were made by a newer server, or they are no payload at all.
    #[error("the payload is of no known version")]
    Version,
    /// They are not what was dumped.
    #[error("the payload's checksum is wrong")]
    Checksum,
    /// They were dumped by no sane server.
    #[error("the payload holds no value: {0}")]
    Value(#[from] rdb::Error),
    /// There is a value, but of a collection with nothing in it, which no key may have.
    #[error("the payload holds an empty collection")]
    Empty,
    /// There are bytes between the value and the footer.
    #[error("the payload's value ends at byte {at}, before its footer")]
    Trailing { at: u64 },
}

/// Appends the payload of `value`. The checksum is there whatever `options` say.
pub fn encode(out: &mut Vec<u8>, value: ValueRef<'_>, options: &WriteOptions) {
    let start = out.len();
    payload::write(out, value, options);
    let expires_in_parts = matches!(value, ValueRef::Hash(hash) if hash.expiring() > 0);
    let version = if expires_in_parts { rdb::VERSION_OF_EXPIRING_FIELDS } else { options.version.number() };
    seal(out, start, version);
}

/// Appends the payload of libraries of functions, as FUNCTION DUMP returns it.
pub fn encode_functions<'a>(out: &mut Vec<u8>, codes: impl Iterator<Item = &'a [u8]>, options: &WriteOptions) {
    let start = out.len();
    for code in codes {
        rdb::write_function(out, code, options);
    }
    seal(out, start, options.version.number());
}

/// Appends the footer of the payload that begins at `start`.
fn seal(out: &mut Vec<u8>, start: usize, version: u16) {
    out.extend_from_slice(&version.to_le_bytes());
    let checksum = crc64(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// Reads the value of a payload.
pub fn decode(payload: &[u8], options: &ReadOptions) -> Result<Value, Error> {
    let body = unseal(payload, options)?;
    let (value, len) = payload::read(body, options)?;
    if len < body.len() as u64 {
        return Err(Error::Trailing { at: len });
    }
    value.ok_or(Error::Empty)
}

/// Reads the libraries of a payload that FUNCTION DUMP made.
pub fn decode_functions(payload: &[u8], options: &ReadOptions) -> Result<Vec<Vec<u8>>, Error> {
    let body = unseal(payload, options)?;
    Ok(rdb::read_functions(body, options)?)
}

/// What lies before the footer, if that is right.
fn unseal<'p>(payload: &'p [u8], options: &ReadOptions) -> Result<&'p [u8], Error> {
    let (checked, checksum) = payload.split_last_chunk().ok_or(Error::Version)?;
    let (body, version) = checked.split_last_chunk().ok_or(Error::Version)?;
    if u32::from(u16::from_le_bytes(*version)) > NEWEST_VERSION {
        return Err(Error::Version);
    }
    if options.checksums == Checksums::Verify && u64::from_le_bytes(*checksum) != crc64(checked) {
        return Err(Error::Checksum);
    }
    Ok(body)
}

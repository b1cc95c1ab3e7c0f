//! Writing records: free functions, each of which appends one record to a buffer.
//!
//! A snapshot serialises key by key while it holds a lock, so a record has to go to memory first in any
//! case, and can't fail. Checksum and output come later and work on larger pieces ([`super::Writer`]).

use quorate_stdx::{Offset, ReplId, UnixMs};
use quorate_values::ValueRef;

use super::encode::{push_body, type_byte};
use super::string::{push_int, push_length, push_string};
use super::{Access, opcode};
use crate::crc64::Digest;

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    pub version: Version,
    /// Whether strings, and the packed forms of collections, are compressed where that pays
    /// (`rdbcompression`).
    pub compress: bool,
    /// Whether the file ends with a checksum (`rdbchecksum`).
    pub checksum: bool,
}

impl Default for WriteOptions {
    /// What Redis 7.0 can read, compressed and with a checksum.
    fn default() -> WriteOptions {
        WriteOptions { version: Version::Ten, compress: true, checksum: true }
    }
}

/// The version of the format to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// What Redis 7.0 and later read. It holds everything but the time at which a stream's consumer was
    /// last active; a reader takes the time at which it was last seen instead.
    Ten,
    /// What Redis 7.2 and later read. It holds everything, and packs small sets better.
    Eleven,
}

impl Version {
    /// As the file says it.
    pub fn number(self) -> u16 {
        match self {
            Version::Ten => 10,
            Version::Eleven => 11,
        }
    }
}

/// What a file says about itself before its first key.
#[derive(Debug, Clone)]
pub struct Preamble<'a> {
    /// The version of Redis that the writer claims to be (`redis-ver`).
    pub redis_version: &'a str,
    /// When it is written (`ctime`).
    pub created: UnixMs,
    /// Bytes in use by the writer (`used-mem`).
    pub used_memory: u64,
    /// From where a replica that loads the file can follow.
    pub replication: Option<ReplicationPoint>,
    /// Whether the file is the first part of an AOF (`aof-base`).
    pub aof_base: bool,
}

/// The point in a replication history that a file reflects.
#[derive(Debug, Clone)]
pub struct ReplicationPoint {
    /// The database that the next command of the stream works on (`repl-stream-db`).
    pub selected_db: u32,
    /// The history (`repl-id`).
    pub id: ReplId,
    /// How much of it the file holds (`repl-offset`).
    pub offset: Offset,
}

/// Appends the file's header.
pub fn write_header(out: &mut Vec<u8>, version: Version) {
    out.extend_from_slice(b"REDIS00");
    out.extend_from_slice(if version == Version::Ten { b"10" } else { b"11" });
}

/// Appends a note about the file as a whole.
pub fn write_aux(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.push(opcode::AUX);
    push_string(out, name.as_bytes(), false);
    push_string(out, value, false);
}

/// Appends what `preamble` holds, in the order of Redis.
pub fn write_preamble(out: &mut Vec<u8>, preamble: &Preamble<'_>) {
    write_aux(out, "redis-ver", preamble.redis_version.as_bytes());
    write_aux_number(out, "redis-bits", 64);
    write_aux_number(out, "ctime", preamble.created.seconds());
    write_aux_number(out, "used-mem", preamble.used_memory.cast_signed());
    if let Some(point) = &preamble.replication {
        write_aux_number(out, "repl-stream-db", point.selected_db.into());
        write_aux(out, "repl-id", point.id.as_bytes());
        write_aux_number(out, "repl-offset", point.offset.0.cast_signed());
    }
    write_aux_number(out, "aof-base", preamble.aof_base.into());
}

fn write_aux_number(out: &mut Vec<u8>, name: &str, value: i64) {
    out.push(opcode::AUX);
    push_string(out, name.as_bytes(), false);
    push_int(out, value);
}

/// Appends the switch to a database, for the keys that follow.
pub fn write_select_db(out: &mut Vec<u8>, number: u32) {
    out.push(opcode::SELECT_DB);
    push_length(out, number.into());
}

/// Appends how many keys follow in the database, and how many of them expire; a hint for the reader.
pub fn write_resize_db(out: &mut Vec<u8>, keys: u64, expires: u64) {
    out.push(opcode::RESIZE_DB);
    push_length(out, keys);
    push_length(out, expires);
}

/// Appends the source code of a library of functions.
pub fn write_function(out: &mut Vec<u8>, code: &[u8], options: &WriteOptions) {
    out.push(opcode::FUNCTION);
    push_string(out, code, options.compress);
}

/// Appends a key, its value and what is known about it.
pub fn write_entry(
    out: &mut Vec<u8>,
    key: &[u8],
    value: ValueRef<'_>,
    expire_at: Option<UnixMs>,
    access: Option<Access>,
    options: &WriteOptions,
) {
    if let Some(UnixMs(ms)) = expire_at {
        out.push(opcode::EXPIRE_MS);
        out.extend_from_slice(&ms.to_le_bytes());
    }
    match access {
        Some(Access::Idle { seconds }) => {
            out.push(opcode::IDLE);
            push_length(out, seconds);
        }
        Some(Access::Frequency(counter)) => out.extend_from_slice(&[opcode::FREQUENCY, counter]),
        None => {}
    }
    out.push(type_byte(value, options.version));
    push_string(out, key, options.compress);
    push_body(out, value, options);
}

/// Appends the end of a file. `digest` has taken in everything before it; without one, the file says
/// that it has no checksum.
pub fn write_end(out: &mut Vec<u8>, digest: Option<Digest>) {
    out.push(opcode::END);
    let checksum = digest.map_or(0, |mut digest| {
        digest.update(&[opcode::END]);
        digest.value()
    });
    out.extend_from_slice(&checksum.to_le_bytes());
}

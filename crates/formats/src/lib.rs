//! The formats in which data leaves the process: RDB files, DUMP payloads and append-only files.
//!
//! Codecs only, over byte slices and `std::io`: this crate opens no file, starts no thread and reads no
//! clock. It knows what bytes mean as values (`quorate-values`), not where values live.
//!
//! - [`rdb`]: snapshots, full synchronisations, the first part of an AOF. [`rdb::Reader`] takes apart
//!   what Redis up to 7.2 has ever written; [`rdb::Writer`] writes what Redis 7.0 reads.
//! - [`dump`]: one value in the form of DUMP, RESTORE and MIGRATE.
//! - [`aof`]: append-only files, and the manifest that tells which there are.
//! - [`lzf`] and [`crc64`]: what both are made of.
//!
//! Bytes from outside are hostile until proven otherwise: nothing here panics on them, and no promise
//! of a length is turned into memory before enough bytes have arrived to make it plausible.

pub mod aof;
mod crc64;
pub mod dump;
pub mod lzf;
pub mod rdb;
mod ziplist;
mod zipmap;

pub use crc64::{Digest, crc64};

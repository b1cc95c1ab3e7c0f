//! The encodings that Redis keeps as one string (ziplist, zipmap, listpack, intset) as a payload holds them: what is
//! accepted can be read to its end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_formats::dump;
use quorate_formats::rdb::{Checksums, ReadOptions, WriteOptions};

/// The types of the file format whose body is one such string.
const TYPES: [u8; 9] = [9, 10, 11, 12, 13, 16, 17, 20, 21];

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    let mut payload = vec![TYPES[usize::from(kind) % TYPES.len()], 0x80];
    payload.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    payload.extend_from_slice(bytes);
    payload.extend_from_slice(&[11, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let read = ReadOptions { checksums: Checksums::Ignore, ..ReadOptions::default() };
    let Ok(value) = dump::decode(&payload, &read) else { return };
    let mut ours = Vec::new();
    dump::encode(&mut ours, value.as_ref(), &WriteOptions::default());
    dump::decode(&ours, &ReadOptions::default()).expect("a payload of ours is accepted");
});

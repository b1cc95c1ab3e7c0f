//! Any payload is refused, or holds a value whose own payload is accepted and holds a value of the same kind.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_formats::dump;
use quorate_formats::rdb::{Checksums, ReadOptions, WriteOptions};

fuzz_target!(|body: &[u8]| {
    // The footer would only keep the fuzzer from the interesting part.
    let mut payload = body.to_vec();
    payload.extend_from_slice(&[11, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let read = ReadOptions { checksums: Checksums::Ignore, ..ReadOptions::default() };
    let Ok(value) = dump::decode(&payload, &read) else { return };

    let write = WriteOptions::default();
    let mut first = Vec::new();
    dump::encode(&mut first, value.as_ref(), &write);
    let again = dump::decode(&first, &ReadOptions::default()).expect("a payload of ours is accepted");
    let mut second = Vec::new();
    dump::encode(&mut second, again.as_ref(), &write);
    assert_eq!(first[0], second[0], "the type and its encoding stay");
});

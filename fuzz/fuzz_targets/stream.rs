//! A stream that a payload has brought, in any form, does what a stream does: it is read from both ends to the same
//! entries, shrinks by what is deleted and trimmed, grows by what is added, and goes out again as a stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_formats::dump;
use quorate_formats::rdb::{Checksums, ReadOptions, WriteOptions};
use quorate_values::stream::{Keep, Trim};
use quorate_values::{Limits, Listpack, StreamId, Value};

/// The types of the file format that are streams.
const TYPES: [u8; 3] = [15, 19, 21];

/// A payload of one node of these elements, or of raw bytes.
fn payload(kind: u8, base: [u8; 16], elements: Option<Vec<i64>>, rest: &[u8]) -> Vec<u8> {
    let mut payload = vec![TYPES[usize::from(kind) % TYPES.len()]];
    if let Some(elements) = elements {
        let mut pack = Listpack::new();
        elements.iter().for_each(|element| pack.push_back(*element));
        payload.extend_from_slice(&[1, 16]);
        payload.extend_from_slice(&base);
        payload.push(0x80);
        payload.extend_from_slice(&(pack.byte_len() as u32).to_be_bytes());
        payload.extend_from_slice(pack.as_bytes());
    }
    payload.extend_from_slice(rest);
    payload.extend_from_slice(&[11, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    payload
}

fuzz_target!(|input: (u8, [u8; 16], Option<Vec<i64>>, &[u8])| {
    let (kind, base, elements, rest) = input;
    let read = ReadOptions { checksums: Checksums::Ignore, ..ReadOptions::default() };
    let Ok(Value::Stream(mut stream)) = dump::decode(&payload(kind, base, elements, rest), &read) else { return };

    let ids: Vec<StreamId> = stream.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).collect();
    let mut reversed: Vec<StreamId> = stream.range_rev(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).collect();
    reversed.reverse();
    assert_eq!(ids, reversed);
    assert_eq!(ids.len() as u64, stream.len());
    stream.groups().for_each(|(_, group)| drop(stream.lag(group)));

    let mut left = stream.len();
    for id in ids.iter().step_by(2) {
        assert!(stream.delete(*id));
        left -= 1;
    }
    assert_eq!(stream.len(), left);
    if let Some(id) = stream.next_id(0) {
        stream.append(id, &[b"field", b"value"], &Limits::default()).expect("it is small");
        left += 1;
    }
    left -= stream.trim(Keep::Newest(left / 2), Trim::Exactly);
    assert_eq!(stream.len(), left);
    let mut ours = Vec::new();
    dump::encode(&mut ours, Value::Stream(stream).as_ref(), &WriteOptions::default());
    dump::decode(&ours, &ReadOptions::default()).expect("a payload of ours is accepted");
});

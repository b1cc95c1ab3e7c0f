//! Any file is read to its end or refused; what was read can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_formats::rdb::{Checksums, Item, ReadOptions, Reader, WriteOptions, write_end, write_entry, write_header};

fuzz_target!(|file: &[u8]| {
    let options = ReadOptions { checksums: Checksums::Ignore, ..ReadOptions::default() };
    let write = WriteOptions::default();
    let mut copy = Vec::new();
    write_header(&mut copy, write.version);
    let mut entries = 0;
    let Ok(mut reader) = Reader::new(file, options.clone()) else { return };
    loop {
        match reader.next() {
            Ok(Item::Entry(entry)) => {
                write_entry(&mut copy, entry.key, entry.value.as_ref(), entry.expire_at, entry.access, &write);
                entries += 1;
            }
            Ok(Item::End { .. }) | Err(_) => break,
            Ok(_) => {}
        }
    }
    write_end(&mut copy, None);

    let mut reader = Reader::new(&copy[..], options).expect("a header of ours is accepted");
    loop {
        match reader.next().expect("a file of ours is accepted") {
            Item::Entry(_) => entries -= 1,
            Item::End { .. } => break,
            item => panic!("{item:?} was never written"),
        }
    }
    assert_eq!(entries, 0);
});

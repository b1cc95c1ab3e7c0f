//! Any append-only file, and any manifest, is read to its end or refused; what was read can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_formats::aof::{Item, Manifest, Reader};

fuzz_target!(|input: &[u8]| {
    if let Ok(manifest) = Manifest::parse(input) {
        let text = manifest.to_bytes();
        if !text.is_empty() {
            // A name that was in quotes may be longer in the quotes that it needs.
            if let Ok(again) = Manifest::parse(&text) {
                assert_eq!(again.parts().collect::<Vec<_>>(), manifest.parts().collect::<Vec<_>>());
            }
        }
    }
    let mut reader = Reader::new(input, 0);
    let mut at = 0;
    loop {
        match reader.next() {
            Ok(Some(Item::Request(request))) => {
                let words: Vec<&[u8]> = request.words().collect();
                assert!(!words.is_empty());
                let mut copy = Vec::new();
                quorate_resp::encode_request(&mut copy, &words);
                let mut again = Reader::new(&copy[..], 0);
                let Ok(Some(Item::Request(same))) = again.next() else { panic!("a request of ours is accepted") };
                assert!(same.words().eq(words.iter().copied()));
            }
            Ok(Some(Item::Annotation(_))) => {}
            Ok(None) => {
                assert_eq!(reader.position(), input.len() as u64);
                return;
            }
            Err(_) => {
                // What is whole before the trouble ends where the last item did.
                assert_eq!(reader.position(), at);
                return;
            }
        }
        assert!(reader.position() > at && reader.position() <= input.len() as u64);
        at = reader.position();
    }
});

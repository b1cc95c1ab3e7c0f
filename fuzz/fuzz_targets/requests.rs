//! However a client's bytes are cut, the same requests come out, or the same error; and what is found at once is what the
//! parser finds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_resp::{Limits, Parsed, RequestParser, find_whole};

/// The requests in `input` when it arrives in pieces of this size, and whether it ends in an error.
fn read(input: &[u8], piece: usize, limits: &Limits) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let mut parser = RequestParser::default();
    let mut requests = Vec::new();
    let (mut start, mut end) = (0, 0);
    loop {
        match parser.parse(&input[start..end], limits) {
            Parsed::Request(length) => {
                assert!(length > 0, "a request has bytes");
                requests.push(parser.arguments(&input[start..end]).map(<[u8]>::to_vec).collect());
                parser.clear();
                start += length;
            }
            Parsed::Incomplete(_) if end == input.len() => return (requests, None),
            Parsed::Incomplete(_) => end = (end + piece).min(input.len()),
            Parsed::Error(error) => return (requests, Some(format!("{error:?}"))),
        }
    }
}

/// The requests at the start of `input` that are found at once.
fn found(input: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let (mut requests, mut at, mut spans) = (Vec::new(), 0, Vec::new());
    while let Some(length) = find_whole(&input[at..], &mut spans) {
        let word = |(start, length): (u32, u32)| input[at + start as usize..][..length as usize].to_vec();
        requests.push(spans.drain(..).map(word).collect());
        at += length;
    }
    requests
}

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (piece, trusted, bytes) = input;
    let limits = if trusted { Limits::authenticated(512 << 20) } else { Limits::unauthenticated() };
    let whole = read(bytes, bytes.len().max(1), &limits);
    let cut = read(bytes, usize::from(piece).max(1), &limits);
    assert_eq!(whole, cut);
    if trusted {
        let found = found(bytes);
        assert_eq!(found, whole.0[..found.len()]);
    }
});

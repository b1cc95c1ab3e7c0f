//! However a client's bytes are cut, the same requests come out, or the same error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_resp::{Limits, Parsed, RequestParser};

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

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (piece, trusted, bytes) = input;
    let limits = if trusted { Limits::authenticated(512 << 20) } else { Limits::unauthenticated() };
    let whole = read(bytes, bytes.len().max(1), &limits);
    let cut = read(bytes, usize::from(piece).max(1), &limits);
    assert_eq!(whole, cut);
});

//! A reply is read, refused, or found incomplete; none of it depends on what follows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_resp::parse_reply;

fuzz_target!(|input: &[u8]| {
    let Ok(Some((reply, length))) = parse_reply(input) else { return };
    assert!((1..=input.len()).contains(&length));
    let (again, same) = parse_reply(&input[..length]).expect("it was a reply").expect("it was whole");
    assert_eq!(length, same);
    // A number that is none equals nothing.
    assert_eq!(format!("{reply:?}"), format!("{again:?}"));
    assert!(matches!(parse_reply(&input[..length - 1]), Ok(None)), "a reply ends where it ends");
});

//! Any line is split into words or refused; words in quotes come back as they were.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_resp::split_words;

fuzz_target!(|line: &[u8]| {
    let Some(words) = split_words(line) else { return };
    let mut quoted = Vec::new();
    for word in &words {
        quoted.push(b'"');
        for byte in word {
            quoted.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
        quoted.extend_from_slice(b"\" ");
    }
    assert_eq!(split_words(&quoted).expect("the quotes match"), words);
});

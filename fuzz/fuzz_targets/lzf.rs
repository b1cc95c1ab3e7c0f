//! Any block is expanded or refused; whatever is compressed expands to itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_formats::lzf;

fuzz_target!(|input: (u16, &[u8])| {
    let (len, bytes) = input;
    let mut expanded = Vec::new();
    if lzf::decompress(bytes, usize::from(len), &mut expanded).is_ok() {
        assert_eq!(expanded.len(), usize::from(len));
    }

    let mut block = Vec::new();
    assert!(lzf::compress(bytes, &mut block, usize::MAX));
    let mut again = Vec::new();
    lzf::decompress(&block, bytes.len(), &mut again).expect("a block of ours expands");
    assert_eq!(again, bytes);
});

//! Any text is a configuration or an error; what a configuration is rewritten to is read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_config::{Mode, Scope, Source, UserLines, load, rewritten};

fuzz_target!(|text: &[u8]| {
    // Files that happen to be there would make a run that cannot be repeated.
    if text.to_ascii_lowercase().windows(7).any(|word| word == b"include") {
        return;
    }
    for mode in [Mode::Server, Mode::Sentinel] {
        let Ok(loaded) = load(mode, &[Source::Text(text.to_vec())]) else { continue };
        if mode == Mode::Sentinel {
            continue;
        }
        let once = rewritten(text, &loaded.config, Scope::Changed, UserLines::default());
        let again = load(mode, &[Source::Text(once.clone())]).expect("what was rewritten is accepted");
        let twice = rewritten(&once, &again.config, Scope::Changed, UserLines::default());
        assert_eq!(String::from_utf8_lossy(&once), String::from_utf8_lossy(&twice));
    }
});

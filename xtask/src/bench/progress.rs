//! One line on the terminal that says what is being measured; nothing where nobody watches.

use std::io::{IsTerminal, Write, stderr};

pub(super) fn show(what: &str) {
    write(&format!("\r\x1b[K{what} "));
}

pub(super) fn clear() {
    write("\r\x1b[K");
}

fn write(text: &str) {
    let mut stderr = stderr();
    if stderr.is_terminal() {
        // A terminal that went away is no reason to stop measuring.
        let _ = stderr.write_all(text.as_bytes());
    }
}

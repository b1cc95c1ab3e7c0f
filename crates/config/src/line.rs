//! One line of redis.conf as a list of arguments, and back.
//!
//! The syntax, which is also that of inline commands:
//!
//! - Arguments are separated by blanks. A comment is a whole line that begins with `#`; there is none behind a value.
//! - `"..."` knows `\n \r \t \a \b \xHH`; any other `\c` stands for `c`. `'...'` knows only `\'`.
//! - A quote may open in the middle of an argument (`a"b c"` is `ab c`), but a blank or the end must follow the closing one.
//!
//! **Theory.** [`quoted`] writes an argument such that [`arguments`] reads the same bytes back, for all bytes.
//! It quotes only when it has to, so that a rewritten file stays as readable as a written one.

/// The line has a quote that does not end, or one with text glued behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unbalanced;

/// Splits a line into its arguments.
pub(crate) fn arguments(line: &[u8]) -> Result<Vec<Vec<u8>>, Unbalanced> {
    let mut rest = line;
    let mut found = Vec::new();
    loop {
        while let [b' ' | b'\t'..=b'\r', after @ ..] = rest {
            rest = after;
        }
        if rest.is_empty() {
            return Ok(found);
        }
        found.push(argument(&mut rest)?);
    }
}

/// Takes one argument off the front of `rest`, which starts with its first byte.
fn argument(rest: &mut &[u8]) -> Result<Vec<u8>, Unbalanced> {
    let mut taken = Vec::new();
    loop {
        match **rest {
            [] | [b' ' | b'\t' | b'\n' | b'\r' | 0, ..] => {
                // The blank itself goes too: a NUL is a blank here, but none that the caller skips.
                *rest = rest.get(1..).unwrap_or_default();
                return Ok(taken);
            }
            [quote @ (b'"' | b'\''), ref inside @ ..] => {
                *rest =
                    if quote == b'"' { double_quoted(inside, &mut taken)? } else { single_quoted(inside, &mut taken)? };
                return match rest.first() {
                    None | Some(b' ' | b'\t'..=b'\r') => Ok(taken),
                    Some(_) => Err(Unbalanced),
                };
            }
            [byte, ref after @ ..] => {
                taken.push(byte);
                *rest = after;
            }
        }
    }
}

/// Appends what stands up to the closing quote, and returns what follows it.
fn double_quoted<'a>(mut rest: &'a [u8], taken: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        let (byte, after) = match *rest {
            [] => return Err(Unbalanced),
            [b'"', ref after @ ..] => return Ok(after),
            [b'\\', b'x', high, low, ref after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (nibble(high) << 4 | nibble(low), after)
            }
            [b'\\', escaped, ref after @ ..] => (unescaped(escaped), after),
            [byte, ref after @ ..] => (byte, after),
        };
        taken.push(byte);
        rest = after;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], taken: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        let (byte, after) = match *rest {
            [] => return Err(Unbalanced),
            [b'\'', ref after @ ..] => return Ok(after),
            [b'\\', b'\'', ref after @ ..] => (b'\'', after),
            [byte, ref after @ ..] => (byte, after),
        };
        taken.push(byte);
        rest = after;
    }
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// An argument as it is written to a file: in quotes if it must be.
pub(crate) fn quoted(argument: &[u8]) -> Vec<u8> {
    if is_plain(argument) {
        return argument.to_vec();
    }
    always_quoted(argument)
}

/// An argument in double quotes, whatever it is.
pub(crate) fn always_quoted(argument: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(argument.len() + 2);
    out.push(b'"');
    for &byte in argument {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x07 => out.extend(b"\\a"),
            0x08 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend(format!("\\x{byte:02x}").into_bytes()),
        }
    }
    out.push(b'"');
    out
}

/// Whether an argument reads as itself without quotes, wherever on the line it stands.
fn is_plain(argument: &[u8]) -> bool {
    let is_plain_byte = |&byte: &u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\');
    argument.first().is_some_and(|&byte| byte != b'#') && argument.iter().all(is_plain_byte)
}

/// Arguments as one line, without its end.
pub(crate) fn joined<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let quoted: Vec<Vec<u8>> = arguments.iter().map(|argument| quoted(argument.as_ref())).collect();
    quoted.join(&b' ')
}

/// A line without the blanks around it, as it is shown in messages and compared with `#`.
pub(crate) fn trimmed(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(line: &str, expected: &[&str]) {
        let expected: Vec<Vec<u8>> = expected.iter().map(|argument| argument.as_bytes().to_vec()).collect();
        assert_eq!(arguments(line.as_bytes()), Ok(expected), "{line}");
    }

    #[test]
    fn blanks_of_every_kind_separate_arguments() {
        check("", &[]);
        check(" \t\x0b\x0c\r\n", &[]);
        check("port 6379", &["port", "6379"]);
        check("  save\t900   1 \r", &["save", "900", "1"]);
        check("a\0b", &["a", "b"]);
    }

    #[test]
    fn quotes_hold_blanks_and_escapes_stand_for_bytes() {
        check(r#"a "b c" 'd "e'"#, &["a", "b c", "d \"e"]);
        check(r#""\x41\n\r\t\b\a\q\"\\" x"#, &["A\n\r\t\x08\x07q\"\\", "x"]);
        check(r"'a\'b\n'", &["a'b\\n"]);
        check(r#""" ''"#, &["", ""]);
        check(r#"a"b c" d"#, &["ab c", "d"]);
        check(r#""\xZZ""#, &["xZZ"]);
    }

    #[test]
    fn quotes_that_do_not_end_or_run_into_text_are_refused() {
        for line in ["\"a", "'a", "\"a\"b", "'a'b'", "\"a\"#c", "\"\\", "\"\\\"", "x \""] {
            assert_eq!(arguments(line.as_bytes()), Err(Unbalanced), "{line}");
        }
    }

    #[test]
    fn only_what_would_read_differently_is_quoted() {
        assert_eq!(joined(&["save", "900", "a b", "", "#x", "x#", "*&{}"]), br##"save 900 "a b" "" "#x" x# *&{}"##);
        assert_eq!(quoted(b"a\"\\\xff\n"), br#""a\"\\\xff\n""#);
    }

    #[test]
    fn trimming_leaves_inner_blanks() {
        assert_eq!(trimmed(b" \t a b\r\n"), b"a b");
        assert_eq!(trimmed(b" \r"), b"");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(written in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..5)) {
            let line = joined(&written);
            prop_assert!(!line.contains(&b'\n') && line[0] != b'#');
            prop_assert_eq!(trimmed(&line), &line[..]);
            prop_assert_eq!(arguments(&line), Ok(written));
        }

        #[test]
        fn any_bytes_split_without_panic(
            line in prop::collection::vec(prop_oneof![prop::sample::select(b"\"'\\x \0".to_vec()), any::<u8>()], 0..40)
        ) {
            if let Ok(found) = arguments(&line) {
                prop_assert_eq!(arguments(&joined(&found)), Ok(found));
            }
        }
    }
}

//! The options of the command line as lines of redis.conf.
//!
//! `--port 6380 --save 900 1` is the two lines `port "6380"` and `save "900" "1"`. The rules that scripts rely on:
//!
//! - What follows an option's name is its value, even if it begins with `--`; but only one such value, so that
//!   `--loglevel --bla` names a bad level, and `--port --bla --loglevel verbose` still has two options.
//! - `--save` alone, in front of another option or at the end, is `save ""`.
//! - An option with blanks in it, as `"--save 900 1"`, is a whole line already.

use crate::line;

/// The lines for these arguments, each behind a line's end; empty if there are none.
pub fn as_text(arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut waiting = false;
    for (index, argument) in arguments.iter().enumerate() {
        let name = argument.strip_prefix(b"--").filter(|name| !name.is_empty());
        match name {
            Some(name) if !waiting => {
                text.push(b'\n');
                text.extend_from_slice(name);
                let is_whole_line = line::arguments(name).is_ok_and(|words| words.len() > 1);
                let next_is_option = arguments.get(index + 1).is_none_or(|next| next.starts_with(b"--"));
                if name.eq_ignore_ascii_case(b"save") && next_is_option {
                    text.extend_from_slice(b" \"\"");
                } else {
                    waiting = !is_whole_line;
                }
            }
            _ => {
                if index == 0 {
                    text.push(b'\n');
                } else {
                    text.push(b' ');
                }
                text.extend(line::always_quoted(argument));
                waiting = false;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(arguments: &[&str]) -> String {
        let arguments: Vec<Vec<u8>> = arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect();
        String::from_utf8(as_text(&arguments)).unwrap()
    }

    #[test]
    fn each_option_is_a_line_with_its_values_in_quotes() {
        assert_eq!(lines(&["--port", "6380", "--save", "900", "1"]), "\nport \"6380\"\nsave \"900\" \"1\"");
        assert_eq!(lines(&["--port", "6379", "6380"]), "\nport \"6379\" \"6380\"");
        assert_eq!(lines(&["--maxmemory 5mb", "--loglevel verbose"]), "\nmaxmemory 5mb\nloglevel verbose");
        assert_eq!(lines(&["loglevel", "verbose", "--port", "1"]), "\n\"loglevel\" \"verbose\"\nport \"1\"");
        assert_eq!(lines(&["--port 0", "6 7"]), "\nport 0 \"6 7\"");
        assert_eq!(lines(&[]), "");
    }

    #[test]
    fn one_value_may_begin_with_dashes() {
        assert_eq!(lines(&["--port", "--bla", "--loglevel", "verbose"]), "\nport \"--bla\"\nloglevel \"verbose\"");
        assert_eq!(lines(&["--port", "--loglevel", "verbose"]), "\nport \"--loglevel\" \"verbose\"");
        assert_eq!(lines(&["--replicaof", "--127.0.0.1", "--abc"]), "\nreplicaof \"--127.0.0.1\"\nabc");
    }

    #[test]
    fn save_without_a_value_saves_nothing() {
        assert_eq!(lines(&["--save", "--port", "1"]), "\nsave \"\"\nport \"1\"");
        assert_eq!(lines(&["--port", "1", "--save"]), "\nport \"1\"\nsave \"\"");
        assert_eq!(lines(&["--save", "", "--port", "1"]), "\nsave \"\"\nport \"1\"");
        assert_eq!(
            lines(&["--proc-title-template", "--save", "--save", "", "--port", "1"]),
            "\nproc-title-template \"--save\"\nsave \"\"\nport \"1\""
        );
    }
}

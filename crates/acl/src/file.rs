//! The file of the users (`aclfile`): one line each, as ACL LIST shows it.
//!
//! It is taken as a whole or not at all, so all that is wrong with it is told at once.

use std::collections::HashSet;
use std::fmt::Write as _;

use thiserror::Error;

use crate::rule::merge;
use crate::{Terms, User, Users, is_valid_name};

/// What is wrong with a file, line after line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}WARNING: ACL errors detected, no change to the previously active ACL rules was performed")]
pub struct FileError(String);

/// Reads a file; `name` is what errors call it.
///
/// # Errors
/// What is wrong, of all lines.
pub fn parse(text: &[u8], name: &str, terms: Terms<'_>) -> Result<Users, FileError> {
    let mut users = Users::new(terms);
    let mut seen = HashSet::new();
    let mut errors = String::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        match parse_line(line, &mut seen, terms) {
            Ok(user) => users.insert(user),
            Err(fault) => fault.tell(&mut errors, name, index + 1),
        }
    }
    if errors.is_empty() { Ok(users) } else { Err(FileError(errors)) }
}

/// The text of a file of these users.
pub fn text(users: &Users) -> Vec<u8> {
    let mut text = users.lines().join(&b'\n');
    text.push(b'\n');
    text
}

/// What is wrong with a line.
enum Fault<'l> {
    NoUser,
    BadName(&'l [u8]),
    Twice(&'l [u8]),
    Unclosed,
    /// These rules, each with what is wrong with it.
    Rules(Vec<(Vec<u8>, crate::RuleError)>),
}

impl Fault<'_> {
    fn tell(&self, errors: &mut String, file: &str, line: usize) {
        let show = String::from_utf8_lossy;
        // Writing to a string can't fail.
        let _ = match self {
            Fault::NoUser => {
                write!(errors, "{file}:{line} should start with user keyword followed by the username. ")
            }
            Fault::BadName(name) => {
                write!(errors, "'{file}:{line}: username '{}' contains invalid characters. ", show(name))
            }
            Fault::Twice(name) => write!(errors, "WARNING: Duplicate user '{}' found on line {line}. ", show(name)),
            Fault::Unclosed => write!(errors, "{file}:{line}: Unmatched parenthesis in selector definition."),
            Fault::Rules(rules) => rules.iter().try_for_each(|(rule, error)| match error {
                // Redis names the rule only where that can't be taken for another.
                crate::RuleError::Unknown => {
                    write!(errors, "{file}:{line}: Error in applying operation '{}': {error}. ", show(rule))
                }
                _ => write!(errors, "{file}:{line}: {error}. "),
            }),
        };
    }
}

fn parse_line<'l>(line: &'l [u8], seen: &mut HashSet<&'l [u8]>, terms: Terms<'_>) -> Result<User, Fault<'l>> {
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let [b"user", name, words @ ..] = words.as_slice() else { return Err(Fault::NoUser) };
    if name.is_empty() {
        return Err(Fault::NoUser);
    }
    if !is_valid_name(name) {
        return Err(Fault::BadName(name));
    }
    if !seen.insert(name) {
        return Err(Fault::Twice(name));
    }
    let rules = merge(words).map_err(|_| Fault::Unclosed)?;
    let mut user = User::new(name, terms);
    let wrong: Vec<_> = rules
        .into_iter()
        .filter_map(|rule| user.apply(rule.trim_ascii(), terms).err().map(|error| (rule, error)))
        .collect();
    if wrong.is_empty() { Ok(user) } else { Err(Fault::Rules(wrong)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{catalog, terms};

    #[test]
    fn a_file_reads_as_it_is_written() {
        let catalog = catalog();
        let users =
            parse(b"user a on nopass (~x +get) ~* &* +@all\r\n\nuser b on +get\n", "f", terms(&catalog)).unwrap();
        let written = text(&users);
        assert_eq!(
            String::from_utf8(written.clone()).unwrap(),
            "user a on nopass ~* &* +@all (~x resetchannels -@all +get)\nuser b on resetchannels -@all +get\nuser default on \
             nopass ~* &* +@all\n"
        );
        assert_eq!(text(&parse(&written, "f", terms(&catalog)).unwrap()).len(), written.len());
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let catalog = catalog();
        let file = b"#c\nuser a on\nuser a on\nuser q +foo\nuser \"z z\" on\nuser z (a\nuser \0 on";
        let error = parse(file, "f", terms(&catalog)).unwrap_err().to_string();
        assert_eq!(
            error,
            "f:1 should start with user keyword followed by the username. WARNING: Duplicate user 'a' found on line 3. f:4: \
             Error in applying operation '+foo': Unknown command or category name in ACL. f:5: Syntax error. f:6: Unmatched \
             parenthesis in selector definition.'f:7: username '\0' contains invalid characters. WARNING: ACL errors \
             detected, no change to the previously active ACL rules was performed"
        );
    }
}

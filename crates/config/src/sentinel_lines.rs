//! The `sentinel` lines of a Sentinel's configuration: written into its file, and everything else left as it stands.
//!
//! A line takes the place of an old one about the same thing (the same directive of the same primary). Old lines that
//! nothing takes the place of are dropped; new ones that have none are added at the end.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;

use crate::line;
use crate::rewrite::{SIGNATURE, USER, UserLines, replace_file, user_line};

/// Directives that belong to no primary: their first argument is a value.
const GLOBAL: [&str; 10] = [
    "myid",
    "current-epoch",
    "announce-ip",
    "announce-port",
    "resolve-hostnames",
    "announce-hostnames",
    "sentinel-user",
    "sentinel-pass",
    "deny-scripts-reconfig",
    "forget-after",
];

/// Writes these lines, each without the word `sentinel` in front, into the file at `path`, atomically and durably.
///
/// # Errors
/// The file can't be read, or its folder can't be written to. The old file is there as it was.
pub fn rewrite_sentinel(path: &Path, lines: &[Vec<String>], users: UserLines<'_>) -> io::Result<()> {
    replace_file(path, |old| sentinel_rewritten(old, lines, users))
}

/// The text of `old` with these lines, and those of the users.
pub fn sentinel_rewritten(old: &[u8], lines: &[Vec<String>], users: UserLines<'_>) -> Vec<u8> {
    let mut queues: BTreeMap<Vec<String>, VecDeque<&Vec<String>>> = BTreeMap::new();
    for line in lines {
        queues.entry(subject(line)).or_default().push_back(line);
    }
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut placed: Vec<*const Vec<String>> = Vec::new();
    let mut has_signature = false;
    let mut left: VecDeque<Vec<u8>> = users.lines.iter().map(|line| user_line(line)).collect();
    let mut has_users = false;
    for text in old.split(|&byte| byte == b'\n') {
        let trimmed = line::trimmed(text);
        has_signature |= trimmed == SIGNATURE;
        if is_user(trimmed) {
            has_users = true;
            out.extend(left.pop_front());
            continue;
        }
        match mentioned(trimmed) {
            None => out.push(text.to_vec()),
            Some(words) => {
                if let Some(line) = queues.get_mut(&subject(&words)).and_then(VecDeque::pop_front) {
                    placed.push(line);
                    out.push(written(line));
                }
            }
        }
    }
    while out.last().is_some_and(|last| line::trimmed(last).is_empty()) {
        out.pop();
    }
    let added: Vec<Vec<u8>> =
        lines.iter().filter(|line| !placed.contains(&std::ptr::from_ref(*line))).map(|line| written(line)).collect();
    if users.go_without_saying && !has_users {
        left.clear();
    }
    let adds_nothing = added.is_empty() && left.is_empty();
    if !(adds_nothing || has_signature) {
        out.push(Vec::new());
        out.push(SIGNATURE.to_vec());
    }
    out.extend(added);
    out.extend(left);
    let mut text = out.join(&b'\n');
    text.push(b'\n');
    text
}

fn written(line: &[String]) -> Vec<u8> {
    [b"sentinel ".as_slice(), &line::joined(line)].concat()
}

fn is_user(text: &[u8]) -> bool {
    let first = line::arguments(text).ok().and_then(|words| words.into_iter().next());
    first.is_some_and(|first| first.eq_ignore_ascii_case(USER.as_bytes()))
}

/// The words behind `sentinel`, if it is such a line.
fn mentioned(text: &[u8]) -> Option<Vec<String>> {
    if text.starts_with(b"#") {
        return None;
    }
    let words = line::arguments(text).ok()?;
    let (first, rest) = words.split_first()?;
    first
        .eq_ignore_ascii_case(b"sentinel")
        .then(|| rest.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

/// What a line is about: the directive and, if it has one, the primary.
fn subject(line: &[String]) -> Vec<String> {
    let directive = line.first().map(|first| first.to_ascii_lowercase()).unwrap_or_default();
    let directive = if directive == "known-slave" { "known-replica".to_owned() } else { directive };
    let is_global = GLOBAL.contains(&directive.as_str());
    let primary = line.get(1).filter(|_| !is_global).cloned();
    std::iter::once(directive).chain(primary).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(old: &str, lines: &[&str]) -> String {
        let lines: Vec<Vec<String>> = lines.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect();
        let new = sentinel_rewritten(old.as_bytes(), &lines, UserLines::default());
        assert_eq!(sentinel_rewritten(&new, &lines, UserLines::default()), new, "a second rewrite changes something");
        String::from_utf8(new).unwrap()
    }

    #[test]
    fn lines_take_the_place_of_those_about_the_same_thing() {
        let old = "# mine\nport 1\nsentinel down-after-milliseconds m 5\nsentinel monitor m 1.1.1.1 1 2\n\
                   sentinel known-slave m 1.1.1.2 1\nsentinel known-slave m 1.1.1.3 1\ndir \"/x\"\n";
        let new = rewritten(
            old,
            &["myid x", "monitor m 1.1.1.2 1 2", "down-after-milliseconds m 5", "known-replica m 1.1.1.1 1"],
        );
        assert_eq!(
            new,
            "# mine\nport 1\nsentinel down-after-milliseconds m 5\nsentinel monitor m 1.1.1.2 1 2\n\
             sentinel known-replica m 1.1.1.1 1\ndir \"/x\"\n\n# Generated by CONFIG REWRITE\nsentinel myid x\n"
        );
    }

    #[test]
    fn what_is_gone_is_dropped_and_what_needs_quotes_gets_them() {
        let old = "sentinel monitor a 1.1.1.1 1 1\nsentinel monitor b 1.1.1.1 1 1\nsentinel auth-pass a old\n";
        let lines = vec![
            vec!["monitor".to_owned(), "b".to_owned(), "1.1.1.1".to_owned(), "1".to_owned(), "1".to_owned()],
            vec!["auth-pass".to_owned(), "b".to_owned(), "a b".to_owned()],
        ];
        let new = String::from_utf8(sentinel_rewritten(old.as_bytes(), &lines, UserLines::default())).unwrap();
        assert_eq!(
            new,
            "sentinel monitor b 1.1.1.1 1 1\n\n# Generated by CONFIG REWRITE\nsentinel auth-pass b \"a b\"\n"
        );
    }
    #[test]
    fn users_are_written_where_the_file_has_them_or_at_its_end() {
        let lines = [b"user a on".to_vec(), b"user default on".to_vec()];
        let new = |old: &str, go_without_saying| {
            let users = UserLines { lines: &lines, go_without_saying };
            String::from_utf8(sentinel_rewritten(old.as_bytes(), &[], users)).unwrap()
        };
        assert_eq!(
            new("user default off\nport 1\n", true),
            "user a on\nport 1\nuser default on\n".replace("\nuser", "\n\n# Generated by CONFIG REWRITE\nuser")
        );
        assert_eq!(new("port 1\n", true), "port 1\n");
        assert_eq!(new("port 1\n", false), "port 1\n\n# Generated by CONFIG REWRITE\nuser a on\nuser default on\n");
    }
}

//! No path of somebody's machine, and no host of a package registry, in anything that is checked in.
//!
//! Paths that every system has (`/etc`, `/proc`, `/usr`) are fine; a test that needs a directory asks for a temporary
//! one.

use super::Findings;
use super::tree::Tree;

const ENDINGS: &[&str] = &[".rs", ".md", ".toml", ".txt", ".sh", ".yml", ".json", ".ci/run"];
const PATHS: &[&str] = &["/work/", "/tmp/", "/root/", "/home/", "/farm/", "/mnt/"];
const HOSTS: &[&str] =
    &["debian.org", "crates.io", "pypi.org", "pythonhosted.org", "npmjs.org", "npmjs.com", "docker.io"];

/// Files that may name one of these, with the word and the reason.
const ALLOWED: &[(&str, &str, &str)] = &[];

pub(super) fn check(tree: &Tree, found: &mut Findings) {
    check_with(tree, ALLOWED, found);
}

fn check_with(tree: &Tree, allowed: &[(&str, &str, &str)], found: &mut Findings) {
    let mut needed = vec![false; allowed.len()];
    for (path, text) in tree.ending(ENDINGS) {
        // The rule has to name what it forbids.
        if path == file!() {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            let paths = PATHS.iter().filter(|word| names_path(line, word));
            for word in paths.chain(HOSTS.iter().filter(|word| line.contains(**word))) {
                match allowed.iter().position(|(file, what, _)| *file == path && what == word) {
                    Some(index) => needed[index] = true,
                    None => found.push(path, number, format!("names {word}")),
                }
            }
        }
    }
    for ((file, word, _), _) in allowed.iter().zip(needed).filter(|(_, needed)| !needed) {
        found.push(file, 0, format!("may name {word} (xtask/src/tidy/places.rs) but does not"));
    }
}

/// Whether an absolute path with this beginning stands in the line; `target/tmp/x` and `{}/tmp/x` hold none.
fn names_path(line: &str, beginning: &str) -> bool {
    let is_inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '}' | ')' | '*' | '>' | '$');
    line.match_indices(beginning).any(|(at, _)| !line[..at].ends_with(is_inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_machine_and_hosts_of_registries_are_found() {
        let text = "let a = \"/tmp/x\";\nsee /home/me/notes\nok: target/tmp/x {}/tmp/y /usr/bin /tmpfs\nhttps://static.crates.io/\n";
        let mut found = Findings::default();
        check_with(&Tree::of(&[("a.rs", text), ("b.bin", text)]), &[], &mut found);
        assert_eq!(found.places(), ["a.rs:1", "a.rs:2", "a.rs:4"]);
    }

    #[test]
    fn an_exception_that_nothing_needs_is_found() {
        let table = [("a.rs", "/tmp/", "r"), ("b.rs", "/tmp/", "r")];
        let mut found = Findings::default();
        check_with(&Tree::of(&[("a.rs", "\"/tmp/x\"\n"), ("b.rs", "\n")]), &table, &mut found);
        assert_eq!(found.places(), ["b.rs:0"]);
    }
}

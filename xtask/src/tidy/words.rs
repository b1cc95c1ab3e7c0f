//! Rules on Rust sources: a file begins with its story, modules have telling names, nothing is left undone, and tests
//! wait for their condition and never for time to pass.

use syn::Item;

use super::Findings;
use super::source::{Source, Sources};

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "manager", "helper", "helpers", "misc", "mod"];
/// Macros that stand for work not done, or for a look while working.
const UNDONE: &[&str] = &["todo", "unimplemented", "dbg"];
/// Tests that may sleep, by file, each with its reason.
const SLEEPERS: &[(&str, &str)] = &[];

pub(super) fn check(sources: &Sources<'_>, found: &mut Findings) {
    for source in &sources.0 {
        check_source(source, found);
    }
    for &(path, _) in SLEEPERS {
        let sleeps = |source: &Source<'_>| source.path == path && sleeps(source).next().is_some();
        if !sources.0.iter().any(sleeps) {
            found.push(path, 0, "may sleep in tests (xtask/src/tidy/words.rs) but does not");
        }
    }
}

fn check_source(source: &Source<'_>, found: &mut Findings) {
    let path = source.path;
    if !source.text.starts_with("//!") {
        found.push(path, 1, "does not begin with a //! paragraph");
    }
    let mut parts = path.trim_end_matches(".rs").split('/');
    if let Some(name) = parts.find(|part| EMPTY_NAMES.contains(part)) {
        found.push(path, 0, format!("{name} is no name for a module"));
    }
    check_modules(&source.syntax.items, path, found);
    for named in source.named.iter().filter(|named| named.is_call) {
        if let Some(name) = named.segments.last().filter(|name| UNDONE.contains(&name.as_str())) {
            found.push(path, named.line, format!("{name}!"));
        }
    }
    for (line, attribute) in &source.attributes {
        let words = attribute.to_string();
        let is_ignored = words.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "ignore");
        if is_ignored && !words.starts_with("doc") {
            found.push(path, *line, "#[ignore]: assert what it does, or leave it out");
        }
    }
    if !SLEEPERS.iter().any(|(sleeper, _)| *sleeper == path) {
        for line in sleeps(source) {
            found.push(path, line, "a test sleeps: wait for its condition");
        }
    }
}

/// Modules written inside of a file.
fn check_modules(items: &[Item], path: &str, found: &mut Findings) {
    for item in items {
        let Item::Mod(module) = item else { continue };
        let Some((_, inside)) = &module.content else { continue };
        let name = module.ident.to_string();
        if EMPTY_NAMES.contains(&name.as_str()) {
            found.push(path, module.ident.span().start().line, format!("{name} is no name for a module"));
        }
        check_modules(inside, path, found);
    }
}

/// Lines of tests that put a thread to sleep.
fn sleeps<'a>(source: &'a Source<'_>) -> impl Iterator<Item = usize> + 'a {
    let calls =
        source.named.iter().filter(|named| named.segments.ends_with(&["thread".to_owned(), "sleep".to_owned()]));
    calls.map(|named| named.line).filter(|&line| source.is_test_line(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::Tree;

    fn places(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[(path, text)]);
        let mut found = Findings::default();
        check(&Sources::parse(&tree, &mut found), &mut found);
        found.places()
    }

    #[test]
    fn a_file_begins_with_its_story() {
        assert!(places("a/src/b.rs", "//! Story.\n").is_empty());
        assert_eq!(places("a/src/b.rs", "// Not a story.\n"), ["a/src/b.rs:1"]);
    }

    #[test]
    fn names_that_say_nothing_are_refused_as_files_directories_and_modules() {
        assert_eq!(places("a/src/utils.rs", "//! x\n"), ["a/src/utils.rs:0"]);
        assert_eq!(places("a/src/common/b.rs", "//! x\n"), ["a/src/common/b.rs:0"]);
        assert_eq!(places("a/src/b/mod.rs", "//! x\n"), ["a/src/b/mod.rs:0"]);
        assert_eq!(places("a/src/b.rs", "//! x\nmod inner {\n    mod misc {}\n}\n"), ["a/src/b.rs:3"]);
    }

    #[test]
    fn work_not_done_is_found_in_code_only() {
        let text =
            "//! todo!()\nfn f() {\n    todo!();\n    assert!(std::unimplemented!());\n    dbg!(\"todo!()\");\n}\n";
        assert_eq!(places("a.rs", text), ["a.rs:3", "a.rs:4", "a.rs:5"]);
    }

    #[test]
    fn ignored_tests_are_found_also_behind_a_condition_and_in_macros() {
        let text = "//! x\n#[ignore = \"slow\"]\nfn a() {}\n#[cfg_attr(miri, ignore)]\nfn b() {}\n\
            proptest! {\n    #[ignore]\n    fn c() {}\n}\n/// We ignore it.\nfn d() {}\n";
        assert_eq!(places("a.rs", text), ["a.rs:2", "a.rs:4", "a.rs:7"]);
    }

    #[test]
    fn only_tests_may_not_sleep() {
        let text = "//! x\nfn a() { std::thread::sleep(d); }\n\
            #[cfg(test)]\nmod tests {\n    fn b() {\n        thread::sleep(d);\n    }\n}\n";
        assert_eq!(places("a/src/b.rs", text), ["a/src/b.rs:6"]);
        assert_eq!(places("a/tests/b.rs", "//! x\nfn a() { std::thread::sleep(d); }\n"), ["a/tests/b.rs:2"]);
    }
}

//! Rules on lines, for every text file that people write: no tabs, no spaces at the end, none too long.

use super::Findings;
use super::tree::Tree;

const ENDINGS: &[&str] = &[".rs", ".md", ".toml", ".txt", ".sh", ".yml", ".ci/run"];
/// Characters.
const LONGEST: usize = 140;

pub(super) fn check(tree: &Tree, found: &mut Findings) {
    // Data of tests is as long and as odd as it must be.
    let is_data = |path: &str| path.contains("testdata/") || path.contains("/tests/") && path.ends_with(".txt");
    for (path, text) in tree.ending(ENDINGS).filter(|(path, _)| !is_data(path)) {
        for (number, line) in (1..).zip(text.lines()) {
            if line.contains('\t') {
                found.push(path, number, "a tab");
            }
            if line.ends_with([' ', '\r']) {
                found.push(path, number, "white space at the end");
            }
            // A row of a Markdown table cannot be broken.
            let is_row = path.ends_with(".md") && line.starts_with('|');
            let length = line.chars().count();
            if length > LONGEST && !is_row {
                found.push(path, number, format!("{length} characters, more than {LONGEST}"));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            found.push(path, text.lines().count(), "no line break at the end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tabs_trailing_spaces_and_long_lines_are_found() {
        let text = format!("fine\n\ta\nb \n{}\nend", "x".repeat(141));
        let mut found = Findings::default();
        check(
            &Tree::of(&[("a.rs", &text), ("b.json", &text), ("testdata/a.txt", &text), ("x/tests/a.txt", &text)]),
            &mut found,
        );
        assert_eq!(found.places(), ["a.rs:2", "a.rs:3", "a.rs:4", "a.rs:5"]);
    }

    #[test]
    fn rows_of_tables_may_be_long_in_markdown_only() {
        let (row, broad) = (format!("| {} |\n", "é".repeat(140)), "é".repeat(140) + "\n");
        let mut found = Findings::default();
        check(&Tree::of(&[("a.md", &row), ("a.rs", &row), ("b.rs", &broad)]), &mut found);
        assert_eq!(found.places(), ["a.rs:1"]);
    }
}

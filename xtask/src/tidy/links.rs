//! Links between Markdown files of the repository lead to files and headings that exist.

use super::Findings;
use super::tree::Tree;
use crate::markdown;

pub(super) fn check(tree: &Tree, found: &mut Findings) {
    for (path, text) in tree.ending(&[".md"]) {
        for (line, target) in markdown::links(text) {
            if let Some(why) = broken(tree, path, target) {
                found.push(path, line, format!("{target}: {why}"));
            }
        }
    }
}

fn broken(tree: &Tree, from: &str, target: &str) -> Option<&'static str> {
    let has_scheme =
        target.split_once(':').is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric()));
    if has_scheme || target.is_empty() {
        return None;
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let Some(path) = (if file.is_empty() { Some(from.to_owned()) } else { resolve(from, file) }) else {
        return Some("leads out of the repository");
    };
    if !tree.has(&path) {
        return Some("no such file");
    }
    let text = tree.get(&path).filter(|_| path.ends_with(".md"));
    let is_missing =
        heading.zip(text).is_some_and(|(heading, text)| !markdown::anchors(text).iter().any(|a| a == heading));
    is_missing.then_some("no such heading")
}

/// The path from the root, or None if the link leaves the repository.
fn resolve(from: &str, file: &str) -> Option<String> {
    let directory = from.rsplit_once('/').map_or("", |(directory, _)| directory);
    let (start, file) = file.strip_prefix('/').map_or((directory, file), |file| ("", file));
    let mut parts: Vec<&str> = start.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop()?,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_directories_and_headings_are_followed() {
        let good = "[a](../README.md) [b](b.md#b-two) [c](#here) [d](/docs) [e](https://example.invalid/x) [f](mailto:a@b)\n# Here\n";
        let bad = "[a](absent.md)\n[b](b.md#absent)\n[c](#absent)\n[d](../../out.md)\n";
        let tree =
            Tree::of(&[("README.md", ""), ("docs/b.md", "## B two\n"), ("docs/good.md", good), ("docs/z.md", bad)]);
        let mut found = Findings::default();
        check(&tree, &mut found);
        assert_eq!(found.places(), ["docs/z.md:1", "docs/z.md:2", "docs/z.md:3", "docs/z.md:4"]);
    }
}

//! Dependencies are named once, in the root's `Cargo.toml`, and each is used: by a member, and by that member's code.

use toml::{Table, Value};

use super::Findings;
use super::source::Sources;
use super::tree::Tree;

pub(super) fn check(tree: &Tree, sources: &Sources<'_>, found: &mut Findings) {
    let mut used: Vec<String> = Vec::new();
    for (path, text) in tree.ending(&["/Cargo.toml"]) {
        let Some(manifest) = parse(path, text, found) else { continue };
        // A workspace of its own, as fuzz targets have, names its dependencies itself.
        if manifest.contains_key("workspace") {
            continue;
        }
        let directory = path.trim_end_matches("Cargo.toml");
        for (name, dependency) in dependencies(&manifest) {
            let line = line_of(text, name);
            if dependency.get("workspace") != Some(&Value::Boolean(true)) {
                found.push(path, line, format!("{name} is not taken from the workspace"));
            }
            if !is_named(sources, directory, &name.replace('-', "_")) {
                found.push(path, line, format!("{name} is not used below {directory}"));
            }
            used.push(name.clone());
        }
    }
    let Some(text) = tree.get("Cargo.toml") else { return };
    let Some(root) = parse("Cargo.toml", text, found) else { return };
    let named = root.get("workspace").and_then(|workspace| workspace.get("dependencies")).and_then(Value::as_table);
    for name in named.into_iter().flat_map(Table::keys).filter(|name| !used.contains(name)) {
        found.push("Cargo.toml", line_of(text, name), format!("no member uses {name}"));
    }
}

fn parse(path: &str, text: &str, found: &mut Findings) -> Option<Table> {
    text.parse().map_err(|error| found.push(path, 0, format!("cannot be parsed: {error}"))).ok()
}

/// Every dependency of a package, those of tests, build scripts and particular targets too.
fn dependencies(manifest: &Table) -> impl Iterator<Item = (&String, &Value)> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = targets.filter_map(Value::as_table).chain([manifest]);
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    tables.flat_map(|table| KINDS.iter().filter_map(move |kind| table.get(*kind)?.as_table())).flatten()
}

/// Whether a source below the directory names the crate.
fn is_named(sources: &Sources<'_>, directory: &str, krate: &str) -> bool {
    let below = sources.0.iter().filter(|source| source.path.starts_with(directory));
    below.flat_map(|source| &source.named).any(|named| named.segments.iter().any(|segment| segment == krate))
}

/// The line that names a dependency, from 1.
fn line_of(text: &str, name: &str) -> usize {
    let names = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    text.lines().position(names).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[workspace.dependencies]\nmemchr = \"2\"\nunheard = \"1\"\nloom = \"1\"\nserde-json = \"1\"\n";

    fn places(member: &str, source: &str) -> Vec<String> {
        let tree = Tree::of(&[("Cargo.toml", ROOT), ("crates/a/Cargo.toml", member), ("crates/a/src/lib.rs", source)]);
        let mut found = Findings::default();
        check(&tree, &Sources::parse(&tree, &mut found), &mut found);
        found.places()
    }

    #[test]
    fn a_dependency_of_the_workspace_that_no_member_uses_is_found() {
        let member = "[dependencies]\nmemchr.workspace = true\nserde-json.workspace = true\n\
            [target.'cfg(loom)'.dependencies]\nloom.workspace = true\n";
        assert_eq!(places(member, "//! x\nuse memchr::memchr;\nuse serde_json::x;\nuse loom::y;\n"), ["Cargo.toml:3"]);
    }

    #[test]
    fn a_dependency_that_the_code_does_not_name_and_one_with_a_version_of_its_own_are_found() {
        let member = "[dependencies]\nmemchr = \"2\"\nloom.workspace = true\n\n[dev-dependencies]\nserde-json.workspace = true\n";
        let found = places(member, "//! x\nuse memchr::memchr;\nuse loom::y;\n");
        assert_eq!(found, ["crates/a/Cargo.toml:2", "crates/a/Cargo.toml:6", "Cargo.toml:3"]);
    }
}

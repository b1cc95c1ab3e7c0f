//! The files that an `include` line names: one, or those that match a pattern, in alphabetical order.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use quorate_values::{Case, glob_is_literal, glob_matches};

/// The files that `name` stands for. A name without a wildcard stands for itself, whether it exists or not.
pub(crate) fn files(name: &[u8]) -> Vec<PathBuf> {
    if glob_is_literal(name) {
        return vec![PathBuf::from(OsStr::from_bytes(name))];
    }
    let start = if name.starts_with(b"/") { PathBuf::from("/") } else { PathBuf::new() };
    let mut found = vec![start];
    for part in name.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
        found = found.iter().flat_map(|folder| matching(folder, part)).collect();
    }
    found.sort();
    found
}

/// What in `folder` matches one part of a pattern. Names that begin with a dot need a dot in the pattern.
fn matching(folder: &Path, part: &[u8]) -> Vec<PathBuf> {
    if glob_is_literal(part) {
        let path = folder.join(OsStr::from_bytes(part));
        return if path.exists() { vec![path] } else { Vec::new() };
    }
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(listed) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name()));
    let is_meant = |name: &std::ffi::OsString| {
        let name = name.as_bytes();
        (part.starts_with(b".") || !name.starts_with(b".")) && glob_matches(part, name, Case::Sensitive)
    };
    names.filter(is_meant).map(|name| folder.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_what_it_matches_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", ".c.conf", "d.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/e.conf"), "").unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let pattern = folder.path().join(pattern);
            let files = files(pattern.as_os_str().as_bytes());
            let shown = |path: &PathBuf| path.strip_prefix(folder.path()).unwrap().display().to_string();
            files.iter().map(shown).collect()
        };
        assert_eq!(found("*.conf"), ["a.conf", "b.conf"]);
        assert_eq!(found(".*.conf"), [".c.conf"]);
        assert_eq!(found("*/e.conf"), ["sub/e.conf"]);
        assert_eq!(found("z*.conf"), Vec::<String>::new());
        assert_eq!(found("missing.conf"), ["missing.conf"]);
    }
}

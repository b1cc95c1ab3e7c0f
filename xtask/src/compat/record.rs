//! What is checked in about the suite, below `tests/compat`: the baseline, what is not applicable, and the floor.
//!
//! - `baseline.json`: for each file the names of the tests that a real Redis 7.0.15 passes, once for each time.
//! - `not-applicable.toml`: tests that cannot apply to this server, each with its reason.
//! - `floor.toml`: the quick files, and how many of their tests must pass. It may only rise.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::workspace;

/// File to names, in the order of the run.
pub(super) type Baseline = BTreeMap<String, Vec<String>>;
/// File to the number of tests that must pass.
pub(super) type Floor = BTreeMap<String, usize>;

/// A group of tests of one file that cannot apply, for one reason.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exemption {
    pub(super) file: String,
    /// Names; `*` stands for any text.
    pub(super) tests: Vec<String>,
    pub(super) reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exemptions {
    #[serde(default)]
    group: Vec<Exemption>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FloorFile {
    files: Floor,
}

fn path(name: &str) -> PathBuf {
    workspace::root().join("tests/compat").join(name)
}

pub(super) fn baseline() -> Result<Baseline> {
    let path = path("baseline.json");
    if !path.exists() {
        return Ok(Baseline::new());
    }
    serde_json::from_str(&fs::read_to_string(&path)?).with_context(|| format!("read {}", path.display()))
}

pub(super) fn write_baseline(baseline: &Baseline) -> Result<()> {
    fs::write(path("baseline.json"), serde_json::to_string_pretty(baseline)? + "\n").context("write the baseline")
}

/// Every exemption; each of their patterns matches a test of the baseline.
pub(super) fn exemptions(baseline: &Baseline) -> Result<Vec<Exemption>> {
    let path = path("not-applicable.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    parse_exemptions(&text, baseline, &path)
}

fn parse_exemptions(text: &str, baseline: &Baseline, path: &Path) -> Result<Vec<Exemption>> {
    let parsed: Exemptions = toml::from_str(text).with_context(|| format!("read {}", path.display()))?;
    for Exemption { file, tests, reason } in &parsed.group {
        let names = baseline.get(file).with_context(|| format!("{}: the baseline has no {file}", path.display()))?;
        ensure!(!tests.is_empty() && !reason.trim().is_empty(), "{}: a group of {file} is empty", path.display());
        for pattern in tests {
            let known = names.iter().any(|name| matches(pattern, name));
            ensure!(known, "{}: {pattern:?} matches no test of {file}", path.display());
        }
    }
    Ok(parsed.group)
}

/// Whether `name` is `pattern`, in which `*` stands for any text.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(head) else { return false };
    let mut ends = (0..=rest.len()).filter(|&at| rest.is_char_boundary(at));
    ends.any(|at| matches(tail, &rest[at..]))
}

pub(super) fn floor() -> Result<Floor> {
    let path = path("floor.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let parsed: FloorFile = toml::from_str(&text).with_context(|| format!("read {}", path.display()))?;
    Ok(parsed.files)
}

/// Writes new figures into the file and leaves everything else in it as it is.
pub(super) fn write_floor(floor: &Floor) -> Result<()> {
    let path = path("floor.toml");
    let text = with_figures(&fs::read_to_string(&path)?, floor);
    fs::write(&path, text).context("write the floor")
}

fn with_figures(text: &str, floor: &Floor) -> String {
    let figure = |line: &str| {
        let (quoted, _) = line.split_once(" = ")?;
        let figure = floor.get(quoted.trim_matches('"'))?;
        Some(format!("{quoted} = {figure}"))
    };
    text.lines().map(|line| figure(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

/// Tests that the suite repeats as often as its time allows, or as often as it draws a primary.
const REPEATED: &[&str] =
    &["PSYNC2 #3899 regression: kill *", "Wait for slave of #N to sync", "Wait failover by #N with *"];

/// Names as they are compared: without what differs from run to run, and what is repeated at will only once.
pub(super) fn comparable(names: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let name = stable(name);
        if !is_repeated(&name) || !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

/// Whether a test counts once however often it runs; it has passed if it did each time.
pub(super) fn is_repeated(name: &str) -> bool {
    REPEATED.iter().any(|pattern| matches(pattern, name))
}

/// Names that hold numbers drawn by chance, by their beginning, and what stands before such a number: psync2 shuffles its
/// servers and counts what it wrote, Sentinel's tests print the port of whom it elected, and the cluster's draw whom they kill.
const VARYING: &[(&str, &[&str])] = &[
    ("PSYNC2: ", &["#", "= "]),
    ("New master ", &[":"]),
    ("Wait for slave of #", &["#"]),
    ("Wait failover by #", &["#", "epoch "]),
    ("Terminating node #", &["#"]),
    ("Restarting node #", &["#"]),
    ("Instance #", &["#"]),
];

/// Tests that print something before their outcome, behind their names.
const TALKATIVE: &[&str] = &[
    "slot migration is invalid from primary to replica",
    "Main db not affected when fail to diskless load",
    "Resharding all the master #0 slots away from it",
    "Resharding back some slot to master #0",
];

/// A test's name with an N for each number that differs from run to run.
pub(super) fn stable(name: &str) -> String {
    if let Some(own) = TALKATIVE.iter().find(|own| name.starts_with(**own)) {
        return (*own).to_owned();
    }
    let Some((_, marks)) = VARYING.iter().find(|(beginning, _)| name.starts_with(beginning)) else {
        return name.to_owned();
    };
    let mut out = String::with_capacity(name.len());
    let mut is_drawn = false;
    for c in name.chars() {
        let is_digit = c.is_ascii_digit();
        if is_digit && !is_drawn && marks.iter().any(|mark| out.ends_with(mark)) {
            out.push('N');
            is_drawn = true;
        } else if !(is_digit && is_drawn) {
            out.push(c);
            is_drawn = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Baseline {
        Baseline::from([("unit/a".to_owned(), vec!["SET works".to_owned(), "XADD works".to_owned()])])
    }

    fn parse(text: &str) -> Result<Vec<Exemption>> {
        parse_exemptions(text, &known(), Path::new("not-applicable.toml"))
    }

    #[test]
    fn an_exemption_that_matches_nothing_is_refused() {
        let group =
            |file, test, reason| format!("[[group]]\nfile = {file:?}\ntests = [{test:?}]\nreason = {reason:?}\n");
        assert_eq!(parse(&group("unit/a", "X*", "no streams yet")).unwrap().len(), 1);
        for (file, test, reason) in [("unit/b", "X*", "r"), ("unit/a", "Y*", "r"), ("unit/a", "X*", " ")] {
            assert!(parse(&group(file, test, reason)).is_err(), "{file} {test} {reason:?}");
        }
        assert!(parse("[[group]]\nfile = \"unit/a\"\ntests = []\nreason = \"r\"\n").is_err());
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [("a", "a"), ("*", ""), ("a*c", "abc"), ("a*c", "ac"), ("*b*", "abc"), ("a*", "aé*")] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a*c", "abd"), ("*b", "bc"), ("", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_varies_in_a_name_is_replaced() {
        assert_eq!(stable("PSYNC2: Set #12 to replicate from #0"), "PSYNC2: Set #N to replicate from #N");
        assert_eq!(stable("PSYNC2: after load (x = 41382) in 2"), "PSYNC2: after load (x = N) in 2");
        assert_eq!(stable("New master 127.0.0.1:30003 role matches"), "New master 127.0.0.1:N role matches");
        assert_eq!(stable("Wait failover by #7 with old epoch 12"), "Wait failover by #N with old epoch N");
        assert_eq!(stable("BLPOP, issue #2473"), "BLPOP, issue #2473");
    }

    #[test]
    fn what_is_repeated_at_will_counts_once() {
        let names = ["PSYNC2 #3899 regression: kill first", "SET", "PSYNC2 #3899 regression: kill first", "SET"];
        let comparable = comparable(&names.map(str::to_owned));
        assert_eq!(comparable, ["PSYNC2 #3899 regression: kill first", "SET", "SET"]);
    }

    #[test]
    fn raising_the_floor_keeps_comments_and_order() {
        let text = "# why\n[files]\n\"unit/b\" = 1 # old\n\"unit/a\" = 2\n";
        let floor = Floor::from([("unit/a".to_owned(), 5), ("unit/b".to_owned(), 1)]);
        assert_eq!(with_figures(text, &floor), "# why\n[files]\n\"unit/b\" = 1\n\"unit/a\" = 5\n");
    }
}

//! Showing scores: as a table on the terminal, as `docs/compat.md`, and as JSON.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::record::Exemption;
use super::score::{Failed, Score};
use super::stand::{CHANGES, Change, DIRECTIVES, Directive, NEWCOMERS, Run};
use crate::{markdown, workspace};

/// One file's result.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) file: String,
    pub(super) seconds: f64,
    #[serde(flatten)]
    pub(super) score: Score,
}

/// Sums over files.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Total {
    pub(crate) files: usize,
    pub(crate) applicable: usize,
    pub(crate) not_applicable: usize,
    pub(crate) passed: usize,
    pub(crate) aborted: usize,
}

impl Total {
    pub(super) fn of(rows: &[Row]) -> Total {
        let mut total = Total::default();
        for Row { score, .. } in rows {
            total.files += 1;
            total.applicable += score.applicable;
            total.not_applicable += score.not_applicable;
            total.passed += score.passed;
            total.aborted += usize::from(score.aborted.is_some());
        }
        total
    }

    /// Percent of the applicable tests that passed; all of none is 100.
    pub(crate) fn percent(&self) -> f64 {
        if self.applicable == 0 { 100.0 } else { 100.0 * self.passed as f64 / self.applicable as f64 }
    }
}

/// The line of the terminal's table for one file; of its heading if there is none.
pub(super) fn line(row: Option<&Row>) -> String {
    let Some(Row { file, seconds, score }) = row else {
        return format!("{:<44} {:>6} {:>6} {:>6} {:>6}  {:>6}", "file", "passed", "failed", "n/a", "of", "s");
    };
    let known = score.applicable + score.not_applicable;
    let mut line = format!(
        "{file:<44} {:>6} {:>6} {:>6} {known:>6}  {seconds:>6.1}",
        score.passed,
        score.failed.len(),
        score.not_applicable
    );
    if let Some((why, reached)) = &score.aborted {
        let why = why.lines().next().unwrap_or_default();
        let _ = write!(line, "  aborted with {reached} passed: {why}");
    }
    line
}

pub(super) fn total_line(total: &Total) -> String {
    format!(
        "{} of {} applicable tests passed ({:.1} %), {} not applicable, {} of {} files aborted",
        total.passed,
        total.applicable,
        total.percent(),
        total.not_applicable,
        total.aborted,
        total.files
    )
}

/// Every failure of a file with what the suite said about it.
pub(super) fn details(row: &Row, run: &Run) -> String {
    let mut out = String::new();
    let score = &row.score;
    if let Some((why, _)) = &score.aborted {
        let _ = writeln!(out, "--- {} was aborted\n{}", row.file, indented(why));
    }
    for Failed { test, detail } in score.failed.iter().chain(&score.beside) {
        match detail {
            Some(detail) => _ = writeln!(out, "--- {test}\n{}", indented(detail)),
            // An aborted file has reached few of its tests; the table has their number, the JSON their names.
            None if score.aborted.is_some() => {}
            None => _ = writeln!(out, "--- {test}\n    not reached"),
        }
    }
    for test in &score.needlessly_exempt {
        let _ = writeln!(out, "--- {test}\n    passes, although not-applicable.toml lists it");
    }
    if !out.is_empty() {
        let _ = writeln!(out, "    (log: {})", run.log.display());
    }
    if let Some(place) = &run.kept {
        let _ = writeln!(out, "    (servers: {})", place.display());
    }
    out
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

pub(super) fn write_json(path: &Path, server: &str, rows: &[Row]) -> Result<()> {
    #[derive(Serialize)]
    struct All<'a> {
        server: &'a str,
        percent: f64,
        total: &'a Total,
        files: &'a [Row],
    }
    let total = Total::of(rows);
    let all = All { server, percent: total.percent(), total: &total, files: rows };
    fs::write(path, serde_json::to_string_pretty(&all)? + "\n").with_context(|| format!("write {}", path.display()))
}

/// Writes `docs/compat.md`, or the page about the cluster's files.
pub(super) fn write_docs(rows: &[Row], exempt: &[Exemption], is_cluster: bool) -> Result<()> {
    let docs = workspace::root().join("docs");
    let differences = fs::read_to_string(docs.join("differences.md")).unwrap_or_default();
    let exempt: Vec<Exemption> =
        exempt.iter().filter(|exemption| rows.iter().any(|row| row.file == exemption.file)).cloned().collect();
    let (name, page) = match is_cluster {
        true => ("compat-cluster.md", cluster_page(rows, &exempt, &differences)),
        false => ("compat.md", page(rows, &exempt, &differences)),
    };
    fs::write(docs.join(name), page).with_context(|| format!("write docs/{name}"))
}

/// `exempt` are the reasons why tests are not applicable, with the file of each.
fn page(rows: &[Row], exempt: &[Exemption], differences: &str) -> String {
    let mut out = String::from(
        "# The test suite of Redis 7.0.15, run against this server\n\n\
         `cargo xtask compat --write-docs` writes this page. Of each file of Redis' own suite it counts the tests that a\n\
         real Redis 7.0.15 passes; a file that does not run to its end has failed all of them.\n\n",
    );
    write_results(&mut out, rows, exempt, differences);
    out.push_str(&conditions());
    out
}

fn cluster_page(rows: &[Row], exempt: &[Exemption], differences: &str) -> String {
    let mut out = String::from(
        "# The cluster's tests of Redis 7.0.15, run against this server\n\n\
         `cargo xtask compat --cluster --write-docs` writes this page, which is read as [the one about all others](compat.md).\n\
         The suite's own redis-cli and its redis-benchmark are those of Debian's packages, the servers are ours.\n\n",
    );
    write_results(&mut out, rows, exempt, differences);
    let changes: Vec<&Change> = CHANGES.iter().filter(|change| change.file.contains("cluster/")).collect();
    if !changes.is_empty() {
        out.push_str("\n## What is changed in the suite for our server\n\n");
        changes.into_iter().for_each(|change| out.push_str(&change_bullet(change)));
    }
    out
}

/// The table, what fails, and what is not applicable.
fn write_results(out: &mut String, rows: &[Row], exempt: &[Exemption], differences: &str) {
    let total = Total::of(rows);
    let _ = writeln!(out, "**{}.**\n", total_line(&total));
    out.push_str("| file | passed | failed | not applicable | the real server passes |\n|---|--:|--:|--:|--:|\n");
    for Row { file, score, .. } in rows {
        let known = score.applicable + score.not_applicable;
        let failed = score.failed.len();
        let _ = writeln!(out, "| {file} | {} | {failed} | {} | {known} |", score.passed, score.not_applicable);
    }
    out.push_str("\n## Failing tests\n");
    if rows.iter().all(|row| row.score.failed.is_empty()) {
        out.push_str("\nNone.\n");
    }
    for row in rows.iter().filter(|row| !row.score.failed.is_empty()) {
        let _ = writeln!(out, "\n### {}\n", row.file);
        if let Some((why, _)) = &row.score.aborted {
            let _ = writeln!(out, "The file is aborted: {}\n", why.lines().next().unwrap_or_default());
        }
        for Failed { test, .. } in &row.score.failed {
            let name = test.replace('\n', " ");
            match explanation(differences, &name) {
                Some(anchor) => _ = writeln!(out, "- `{name}`: [explained](differences.md#{anchor})"),
                None => _ = writeln!(out, "- `{name}`"),
            }
        }
    }
    if !exempt.is_empty() {
        out.push_str("\n## Why tests are not applicable\n\n");
    }
    for Exemption { file, tests, reason } in exempt {
        let names: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
        out.push_str(&bullet(&format!("{file}: {reason} ({})", names.join(", "))));
    }
}

/// What is not as the suite has it.
fn conditions() -> String {
    let mut out = String::from("\n## How our server is run, and what is changed in the suite for it\n\n");
    for Directive { name, value, why } in DIRECTIVES {
        out.push_str(&bullet(&format!("Every server has `{name} {value}`. {why}")));
    }
    out.push_str(&bullet(NEWCOMERS));
    let changes = CHANGES.iter().filter(|change| !change.file.contains("cluster/"));
    changes.for_each(|change| out.push_str(&change_bullet(change)));
    out
}

fn change_bullet(Change { file, text, instead, why }: &Change) -> String {
    let (text, instead) = (one_line(text), one_line(instead));
    bullet(&format!("`{file}`: `{text}` is `{instead}`. {why}"))
}

/// An item of a list, in lines that a reader's editor has room for.
fn bullet(text: &str) -> String {
    let mut out = String::from("-");
    let mut width = 1;
    for word in text.split_whitespace() {
        let is_full = width + 1 + word.chars().count() > 120 && width > 1;
        out.push_str(if is_full { "\n  " } else { " " });
        width = if is_full { 2 } else { width + 1 } + word.chars().count();
        out.push_str(word);
    }
    out.push('\n');
    out
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The anchor of the heading below which the text speaks of this test, in backquotes.
fn explanation(text: &str, test: &str) -> Option<String> {
    let quoted = format!("`{test}`");
    let mut anchor = None;
    for line in text.lines() {
        if line.starts_with('#') {
            anchor = Some(markdown::anchor(line.trim_start_matches('#')));
        } else if line.contains(&quoted) {
            return anchor;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::compat::transcript::{End, Transcript};

    fn row(file: &str, passed: usize, failed: &[&str]) -> Row {
        let failed: Vec<Failed> = failed
            .iter()
            .map(|&test| Failed { test: test.to_owned(), detail: Some("Expected 1".to_owned()) })
            .collect();
        let score = Score {
            applicable: passed + failed.len(),
            not_applicable: 1,
            passed,
            failed,
            beside: Vec::new(),
            needlessly_exempt: Vec::new(),
            aborted: None,
        };
        Row { file: file.to_owned(), seconds: 1.0, score }
    }

    #[test]
    fn the_page_counts_and_links_each_failure_to_its_explanation() {
        let rows = [row("unit/a", 3, &["SET `x`", "SCAN order"]), row("unit/b", 2, &[])];
        let differences = "# Differences\n\n## How SCAN walks\n\nThe test `SCAN order` fails because of it.\n";
        let exemption =
            Exemption { file: "unit/a".to_owned(), tests: vec!["FORK *".to_owned()], reason: "no fork".to_owned() };
        let page = page(&rows, &[exemption], differences);
        assert!(
            page.contains("**5 of 7 applicable tests passed (71.4 %), 2 not applicable, 0 of 2 files aborted.**"),
            "{page}"
        );
        assert!(page.contains("| unit/a | 3 | 2 | 1 | 6 |"), "{page}");
        assert!(page.contains("- `SCAN order`: [explained](differences.md#how-scan-walks)\n"), "{page}");
        assert!(page.contains("- `SET `x``\n") && page.contains("- unit/a: no fork (`FORK *`)\n"), "{page}");
    }

    #[test]
    fn details_show_the_suites_words_and_where_the_log_is() {
        let transcript = Transcript { passed: Vec::new(), failed: Vec::new(), left_out: 0, end: End::Finished };
        let run = Run { transcript, took: Duration::ZERO, log: "a.log".into(), kept: None };
        assert_eq!(details(&row("unit/a", 1, &["INCR"]), &run), "--- INCR\n    Expected 1\n    (log: a.log)\n");
        assert_eq!(details(&row("unit/a", 1, &[]), &run), "");
    }

    #[test]
    fn nothing_applicable_is_all_of_it() {
        assert_eq!(Total::default().percent(), 100.0);
        assert_eq!(Total::of(&[row("unit/a", 1, &["x"])]).percent(), 50.0);
    }
}

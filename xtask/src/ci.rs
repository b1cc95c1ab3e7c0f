//! `cargo xtask ci`: everything that must hold before a change is merged, in the order in which it fails fastest.
//!
//! Every step runs, also after another has failed, and prints how long it took. What cannot run on this machine is
//! skipped in words that begin with SKIPPED, and those of tests are repeated at the end. The last line counts: tests of
//! the workspace, tests of Redis' suite, and each check that is no test as one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::workspace::{self, cargo};
use crate::{compat, peers, tidy};

/// What a step came to.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Lines for the end of the report: what was skipped, and what passed at its second try only.
    skipped: Vec<String>,
}

impl Tally {
    fn of(good: bool) -> Tally {
        Tally { passed: usize::from(good), failed: usize::from(!good), skipped: Vec::new() }
    }

    fn skipped(why: String) -> Tally {
        println!("{why}");
        Tally { skipped: vec![why], ..Tally::default() }
    }

    fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
    }
}

type Step = (&'static str, fn() -> Result<Tally>);

const STEPS: &[Step] = &[
    ("peers", provide_peers),
    ("fmt", || checked_with("cargo-fmt", cargo().args(["fmt", "--all", "--check"]))),
    ("tidy", check_rules),
    ("clippy", run_clippy),
    ("test", run_tests),
    ("seeds", play_seeds),
    ("doc", run_doc_tests),
    ("models", check_models),
    ("deny", check_licences),
    ("compat", run_suite),
];

pub(crate) fn run() -> Result<ExitCode> {
    let start = Instant::now();
    let mut all = Tally::default();
    for (name, step) in STEPS {
        println!("== {name}");
        let begun = Instant::now();
        let tally = step().unwrap_or_else(|error| {
            println!("{error:#}");
            Tally::of(false)
        });
        let verdict = if tally.failed > 0 { "FAILED" } else { "done" };
        println!("== {name}: {verdict} in {:.1} s", begun.elapsed().as_secs_f64());
        all.add(tally);
    }
    println!("== all: {:.1} s", start.elapsed().as_secs_f64());
    for line in &all.skipped {
        println!("{line}");
    }
    println!("{} passed, {} failed", all.passed, all.failed);
    Ok(if all.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn provide_peers() -> Result<Tally> {
    Ok(Tally { skipped: peers::provide(true)?, ..Tally::default() })
}

fn check_rules() -> Result<Tally> {
    let violations = tidy::violations()?;
    for violation in &violations {
        println!("{violation}");
    }
    Ok(Tally::of(violations.is_empty()))
}

fn checked(command: &mut Command) -> Result<Tally> {
    Ok(Tally::of(command.status().with_context(|| format!("start {command:?}"))?.success()))
}

/// A check by a subcommand of cargo that a machine may lack.
fn checked_with(program: &str, command: &mut Command) -> Result<Tally> {
    let name = program.trim_start_matches("cargo-");
    // rustup's stand-ins exist without what they stand for.
    let answers = cargo().args([name, "--version"]).output().is_ok_and(|out| out.status.success());
    if !answers {
        return Ok(Tally::skipped(format!("SKIPPED {name}: {program} is not installed")));
    }
    checked(command)
}

fn run_clippy() -> Result<Tally> {
    checked_with("cargo-clippy", cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn run_tests() -> Result<Tally> {
    // Tests that see the server from outside start its binary.
    if !cargo().args(["build", "--workspace"]).status()?.success() {
        return Ok(Tally::of(false));
    }
    if workspace::program("cargo-nextest").is_none() {
        return count_tests(cargo().args([
            "test",
            "--workspace",
            "--all-targets",
            "--no-fail-fast",
            "--",
            "--show-output",
        ]));
    }
    let report = workspace::built(&workspace::metadata()?)?.join("nextest/ci/junit.xml");
    let _ = fs::remove_file(&report);
    let good = cargo().args(["nextest", "run", "--workspace", "--profile", "ci"]).status()?.success();
    let Ok(text) = fs::read_to_string(&report) else {
        // The tests were not built.
        return Ok(Tally::of(false));
    };
    let mut tally = read_junit(&text)?;
    tally.failed = tally.failed.max(usize::from(!good));
    for line in &tally.skipped {
        println!("{line}");
    }
    Ok(tally)
}

/// Sentinels and clusters under faults drawn from more seeds than the tests of the workspace have time for.
fn play_seeds() -> Result<Tally> {
    let mut tally = Tally::default();
    // Those of a cluster take longer each; SIM_SEEDS=10000 is for hours in which nobody waits.
    for (package, seeds) in [("quorate-sentinel", "10000"), ("quorate-cluster", "2000")] {
        let mut play = cargo();
        play.env("SIM_SEEDS", seeds).args(["test", "-p", package, "--lib", "nothing_breaks"]);
        tally.add(count_tests(&mut play)?);
    }
    Ok(tally)
}

fn run_doc_tests() -> Result<Tally> {
    count_tests(cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]))
}

/// The locks and the log, in every order of their steps.
fn check_models() -> Result<Tally> {
    let mut command = cargo();
    command.env("RUSTFLAGS", "--cfg loom").args(["test", "--package", "quorate-keyspace", "--package", "quorate-feed"]);
    count_tests(command.arg("--target-dir").arg(workspace::scratch("loom")?).args(["--lib", "model"]))
}

/// Runs tests with libtest's own runner and shows all but the tests that passed.
fn count_tests(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("start {command:?}"))?;
    let mut tally = Tally::default();
    for line in BufReader::new(child.stdout.take().context("standard output is a pipe")?).lines() {
        let line = line?;
        read_libtest(&line, &mut tally);
        if !line.is_empty() && !line.ends_with("... ok") {
            println!("{line}");
        }
    }
    let good = child.wait()?.success();
    tally.failed = tally.failed.max(usize::from(!good));
    Ok(tally)
}

/// Counts `test result: ok. 3 passed; 0 failed; ...`, and keeps what tests skipped.
fn read_libtest(line: &str, tally: &mut Tally) {
    if line.starts_with("SKIPPED ") {
        tally.skipped.push(line.to_owned());
    }
    let Some(counts) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else { return };
    for count in counts.1.split("; ") {
        match count.split_once(' ').map(|(number, what)| (number.parse::<usize>(), what)) {
            Some((Ok(number), "passed")) => tally.passed += number,
            Some((Ok(number), "failed")) => tally.failed += number,
            _ => {}
        }
    }
}

/// Counts what nextest wrote, with the output of tests that passed in it.
fn read_junit(text: &str) -> Result<Tally> {
    let head =
        text.split_once("<testsuites ").and_then(|(_, rest)| rest.split_once('>')).context("find <testsuites>")?.0;
    let number = |name: &str| -> Result<usize> {
        let value = head.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        value.and_then(|(value, _)| value.parse().ok()).with_context(|| format!("find {name} in {head}"))
    };
    let failed = number("failures")? + number("errors")?;
    let mut skipped: Vec<String> =
        text.lines().filter_map(|line| Some(unescaped(&line[line.find("SKIPPED ")?..]))).collect();
    skipped.extend(flaky(text));
    skipped.sort();
    skipped.dedup();
    Ok(Tally { passed: number("tests")? - failed, failed, skipped })
}

/// A line for each test that failed, and passed when it was tried again.
fn flaky(text: &str) -> Vec<String> {
    let cases = text.split("<testcase ").skip(1).filter(|case| case.contains("<flakyFailure"));
    let name = |case: &str| {
        case.split_once("name=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(name, _)| unescaped(name))
    };
    cases.filter_map(name).map(|name| format!("FLAKY {name}: passed only when it was tried again")).collect()
}

/// A line of text in XML, up to the tag that ends it.
fn unescaped(text: &str) -> String {
    let text = text.split_once('<').map_or(text, |(text, _)| text);
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

fn check_licences() -> Result<Tally> {
    // Advisories change without the repository; whoever looks after it asks for them (cargo deny check advisories).
    checked_with("cargo-deny", cargo().args(["deny", "check", "licenses", "bans", "sources"]))
}

/// Redis' own suite, its quick files, against the build that the tests used.
fn run_suite() -> Result<Tally> {
    let built = cargo().args(["build", "--workspace"]).status()?.success();
    let server = workspace::built(&workspace::metadata()?)?.join("debug/quorate");
    if !built {
        return Ok(Tally::of(false));
    }
    if !server.is_file() {
        return Ok(Tally::skipped("SKIPPED compat: there is no server binary".to_owned()));
    }
    if let Err(error) = compat::prepare() {
        return Ok(Tally::skipped(format!("SKIPPED compat: {error:#}")));
    }
    let outcome = compat::measure(&compat::Options::quick(server))?;
    for complaint in &outcome.below_floor {
        println!("{complaint}");
    }
    Ok(Tally { passed: outcome.total.passed, failed: outcome.below_floor.len(), skipped: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_libtest_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s",
            "test a ... ok",
            "SKIPPED interop: no redis-server",
        ] {
            read_libtest(line, &mut tally);
        }
        let skipped = vec!["SKIPPED interop: no redis-server".to_owned()];
        assert_eq!(tally, Tally { passed: 5, failed: 1, skipped });
    }

    #[test]
    fn the_report_of_nextest_is_counted() {
        let text = "<?xml version=\"1.0\"?>\n<testsuites name=\"run\" tests=\"7\" failures=\"1\" errors=\"1\" uuid=\"x\">\n\
            <system-out>running\nSKIPPED interop: it&apos;s &lt;old&gt;</system-out>\n\
            SKIPPED interop: it&apos;s &lt;old&gt;\n\
            <testcase name=\"good\" classname=\"a\"></testcase>\n\
            <testcase name=\"moody\" classname=\"a\"><flakyFailure></flakyFailure></testcase>\n</testsuites>";
        let flaky = "FLAKY moody: passed only when it was tried again".to_owned();
        let skipped = vec![flaky, "SKIPPED interop: it's <old>".to_owned()];
        assert_eq!(read_junit(text).unwrap(), Tally { passed: 5, failed: 2, skipped });
        assert!(read_junit("<testsuites>").is_err());
    }
}

//! Comparing a run with what the real server passes.
//!
//! Only tests that the real server passes count. A file that does not run to its end has failed all of them, because a
//! server that breaks the file off should not profit from the tests before the break.

use std::collections::BTreeMap;

use serde::Serialize;

use super::record::{Exemption, comparable, is_repeated, matches, stable};
use super::transcript::{End, Transcript};

#[derive(Debug, Serialize)]
pub(super) struct Score {
    /// Tests that the real server passes and that apply here.
    pub(super) applicable: usize,
    pub(super) not_applicable: usize,
    pub(super) passed: usize,
    /// Tests that apply and were not passed.
    pub(super) failed: Vec<Failed>,
    /// What went wrong outside of the tests that count: between tests, or in tests that the real server fails too.
    pub(super) beside: Vec<Failed>,
    /// Tests that pass although they are listed as not applicable.
    pub(super) needlessly_exempt: Vec<String>,
    /// Why the file did not run to its end, if so, and how many tests had passed until then.
    pub(super) aborted: Option<(String, usize)>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Failed {
    pub(super) test: String,
    /// What the suite said; nothing about a test that it did not reach.
    pub(super) detail: Option<String>,
}

/// `expected` are the names of the baseline, `exemptions` those of this file.
pub(super) fn score(transcript: &Transcript, expected: &[String], exemptions: &[&Exemption]) -> Score {
    let is_exempt = |name: &str| exemptions.iter().any(|group| group.tests.iter().any(|test| matches(test, name)));
    let mut passed = count(comparable(&transcript.passed));
    let mut details: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for failure in transcript.failed.iter().rev() {
        let name = failure.test.as_deref().map_or_else(|| "outside of the tests".to_owned(), stable);
        details.entry(name).or_default().push(&failure.detail);
    }
    let reached = transcript.passed.len();
    let aborted = match &transcript.end {
        End::Finished => None,
        End::Aborted(why) => Some((why.clone(), reached)),
    };
    let mut out = Score {
        applicable: 0,
        not_applicable: 0,
        passed: 0,
        failed: Vec::new(),
        beside: Vec::new(),
        needlessly_exempt: Vec::new(),
        aborted,
    };
    for name in expected {
        let has_passed = take(&mut passed, name) && !(is_repeated(name) && details.contains_key(name));
        if is_exempt(name) {
            out.not_applicable += 1;
            details.remove(name);
            out.needlessly_exempt.extend(has_passed.then(|| name.clone()));
            continue;
        }
        out.applicable += 1;
        if has_passed && out.aborted.is_none() {
            out.passed += 1;
            continue;
        }
        let detail = details.get_mut(name).and_then(Vec::pop).map(str::to_owned);
        out.failed.push(Failed { test: name.clone(), detail });
    }
    for (test, left) in details {
        let failed = |detail: &str| Failed { test: test.clone(), detail: Some(detail.to_owned()) };
        out.beside.extend(left.into_iter().rev().map(failed));
    }
    out
}

fn count(names: Vec<String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_insert(0) += 1;
    }
    counts
}

/// Takes one of the counted `name`s, if there is one left.
fn take(counts: &mut BTreeMap<String, usize>, name: &str) -> bool {
    counts.get_mut(name).is_some_and(|left| {
        let any = *left > 0;
        *left -= usize::from(any);
        any
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::transcript::Failure;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn transcript(passed: &[&str], failed: &[(Option<&str>, &str)], end: End) -> Transcript {
        let failure = |&(test, detail): &(Option<&str>, &str)| Failure {
            test: test.map(str::to_owned),
            detail: detail.to_owned(),
        };
        Transcript { passed: names(passed), failed: failed.iter().map(failure).collect(), left_out: 0, end }
    }

    #[test]
    fn only_tests_of_the_baseline_count_and_each_as_often_as_there() {
        let run = transcript(&["a", "a", "new"], &[(Some("b"), "why b"), (None, "odd")], End::Finished);
        let score = score(&run, &names(&["a", "a", "a", "b", "c"]), &[]);
        assert_eq!((score.applicable, score.passed), (5, 2));
        let failed: Vec<_> = score.failed.iter().map(|f| (f.test.as_str(), f.detail.as_deref())).collect();
        assert_eq!(failed, [("a", None), ("b", Some("why b")), ("c", None)]);
        assert_eq!(score.beside, [Failed { test: "outside of the tests".to_owned(), detail: Some("odd".to_owned()) }]);
    }

    #[test]
    fn a_test_that_is_repeated_at_will_passes_if_it_never_fails() {
        let name = "PSYNC2 #3899 regression: kill first replica";
        let passes = |failed: &[(Option<&str>, &str)]| {
            score(&transcript(&[name, name], failed, End::Finished), &names(&[name]), &[]).passed
        };
        assert_eq!((passes(&[]), passes(&[(Some(name), "no")])), (1, 0));
    }

    #[test]
    fn an_aborted_file_has_passed_nothing() {
        let run = transcript(&["a"], &[], End::Aborted("exception".to_owned()));
        let score = score(&run, &names(&["a", "b"]), &[]);
        assert_eq!((score.applicable, score.passed, score.failed.len()), (2, 0, 2));
        assert_eq!(score.aborted, Some(("exception".to_owned(), 1)));
    }

    #[test]
    fn exempt_tests_do_not_count_and_are_named_when_they_pass() {
        let exemption = Exemption { file: "f".to_owned(), tests: names(&["X*"]), reason: "r".to_owned() };
        let run = transcript(&["a", "XADD"], &[(Some("XLEN"), "no")], End::Finished);
        let score = score(&run, &names(&["a", "XADD", "XLEN"]), &[&exemption]);
        assert_eq!((score.applicable, score.not_applicable, score.passed), (1, 2, 1));
        assert_eq!(score.needlessly_exempt, ["XADD"]);
        assert!(score.failed.is_empty() && score.beside.is_empty());
    }
}

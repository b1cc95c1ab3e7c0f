//! Reading what the suite's three frameworks print.
//!
//! `runtest` prints one record per test, marked `[ok]`, `[err]`, `[skip]`, `[ignore]` or `[exception]` at the start of a
//! line; a record goes on until the next mark, because names and messages may hold line breaks. `runtest-sentinel` and
//! `runtest-cluster` print `hh:mm:ss> NAME: ` before a test and its outcome after it, on the same line unless the test
//! printed something itself.

/// What one file of the suite came to.
#[derive(Debug, PartialEq)]
pub(super) struct Transcript {
    /// Names of the tests that passed, in their order, one for each time.
    pub(super) passed: Vec<String>,
    pub(super) failed: Vec<Failure>,
    /// Tests or groups that the framework itself left out.
    pub(super) left_out: usize,
    pub(super) end: End,
}

#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    /// None if the suite failed between tests, or in a server's start.
    pub(super) test: Option<String>,
    pub(super) detail: String,
}

#[derive(Debug, PartialEq)]
pub(super) enum End {
    Finished,
    /// The file did not run to its end, and why.
    Aborted(String),
}

/// Reads the output of `runtest --single <file>`.
pub(super) fn read_units(text: &str, file: &str) -> Transcript {
    let mut out = Transcript { passed: Vec::new(), failed: Vec::new(), left_out: 0, end: End::Aborted(String::new()) };
    for record in records(text) {
        let (mark, body) = split_mark(record);
        match mark {
            "ok" => out.passed.push(without_duration(body)),
            "err" => out.failed.push(read_failure(body, file)),
            "skip" | "ignore" => out.left_out += 1,
            "exception" => {
                out.end = End::Aborted(body.trim().to_owned());
                return out;
            }
            "TIMEOUT" => {
                out.end = End::Aborted("no progress within the suite's own limit".to_owned());
                return out;
            }
            _ if mark.ends_with(" done") => {
                out.end = End::Finished;
                return out;
            }
            _ => {}
        }
    }
    out.end = broke_off(text);
    out
}

/// The end of a suite that printed no end, with the last lines that it did print.
fn broke_off(text: &str) -> End {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    End::Aborted(format!("the suite broke off; its last lines:\n{}", lines[lines.len().saturating_sub(8)..].join("\n")))
}

/// Cuts the text where a line begins with a mark.
fn records(text: &str) -> impl Iterator<Item = &str> {
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if !split_mark(line).0.is_empty() {
            starts.push(at);
        }
        at += line.len();
    }
    let ends: Vec<usize> = starts.iter().copied().skip(1).chain([text.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| &text[start..end])
}

/// The mark of a record, without its brackets, and what follows it; an empty mark if there is none.
fn split_mark(record: &str) -> (&str, &str) {
    let Some((mark, body)) = record.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) else {
        return ("", record);
    };
    let known = ["ok", "err", "skip", "ignore", "exception", "TIMEOUT", "ready"].contains(&mark);
    let done = mark.strip_suffix(" done").is_some_and(|count| count.split('/').all(|n| n.parse::<u32>().is_ok()));
    if known || done { (mark, body) } else { ("", record) }
}

/// The name before ` (N ms)`. What a server's end printed after it goes.
fn without_duration(body: &str) -> String {
    let is_end = |at: &usize| {
        let number = &body[at + 2..];
        number
            .split_once(" ms)")
            .is_some_and(|(n, rest)| n.parse::<u64>().is_ok() && (rest.is_empty() || rest.starts_with('\n')))
    };
    let end = body.match_indices(" (").map(|(at, _)| at).find(is_end);
    body[..end.unwrap_or(body.trim_end().len())].to_owned()
}

/// A failure inside a test names it and its file in its first line; another does not.
fn read_failure(body: &str, file: &str) -> Failure {
    match body.split_once(&format!(" in tests/{file}.tcl\n")) {
        Some((test, detail)) => Failure { test: Some(test.to_owned()), detail: detail.trim_end().to_owned() },
        None => Failure { test: None, detail: body.trim_end().to_owned() },
    }
}

/// Reads the output of `runtest-sentinel --single <unit>` or `runtest-cluster --single <unit>`.
pub(super) fn read_instances(text: &str) -> Transcript {
    let mut out = Transcript { passed: Vec::new(), failed: Vec::new(), left_out: 0, end: End::Aborted(String::new()) };
    let mut open: Option<&str> = None;
    for line in text.lines() {
        let verdict = match split_clock(line) {
            Some(rest) => {
                // The name may hold a colon, the outcome is what stands after the last one.
                let (name, verdict) = rest.rsplit_once(": OK").map_or((rest, ""), |(name, _)| (name, "OK"));
                let (name, verdict) = name.split_once(": FAILED: ").unwrap_or((name, verdict));
                open = Some(name.trim_end().trim_end_matches(':'));
                verdict
            }
            None => line.trim_end(),
        };
        match (open, verdict) {
            (Some(name), "OK") => {
                out.passed.push(name.to_owned());
                open = None;
            }
            (_, "") => {}
            _ if line.contains("FAILED: ") || line.starts_with("ERROR: ") => {
                out.failed.push(Failure { test: open.take().map(str::to_owned), detail: line.to_owned() });
            }
            _ if verdict.starts_with("GOOD! ") || verdict.starts_with("WARNING ") => out.end = End::Finished,
            _ => {}
        }
    }
    if out.end != End::Finished {
        out.end = broke_off(text);
    }
    out
}

/// What follows `hh:mm:ss> `.
fn split_clock(line: &str) -> Option<&str> {
    let (clock, rest) = line.split_once("> ")?;
    (clock.len() == 8 && clock.split(':').all(|part| part.len() == 2 && part.parse::<u8>().is_ok())).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(test: Option<&str>, detail: &str) -> Failure {
        Failure { test: test.map(str::to_owned), detail: detail.to_owned() }
    }

    #[test]
    fn a_file_that_runs_through_yields_names_without_durations() {
        let text = "Starting test server at port 21079\n[ready]: 4711\nTesting unit/a\n\
            [ok]: SET and GET an item (3 ms)\n[ok]: with (parentheses) in it (0 ms)\n[skip]: one\n\
            [ignore]: two: large memory flag not provided\n[1/1 done]: unit/a (1 seconds)\n\n  The End\n\n\
            [err]: an echo of an earlier failure\n";
        let read = read_units(text, "unit/a");
        assert_eq!(read.passed, ["SET and GET an item", "with (parentheses) in it"]);
        assert_eq!(read.failed, []);
        assert_eq!(read.left_out, 2);
        assert_eq!(read.end, End::Finished);
    }

    #[test]
    fn a_name_may_hold_line_breaks_and_brackets() {
        let read = read_units("[ok]: first\n[second] line (1 ms)\nWaiting for process 9 to exit...\n", "unit/a");
        assert_eq!(read.passed, ["first\n[second] line"]);
    }

    #[test]
    fn a_failure_keeps_its_whole_message() {
        let text = "[err]: INCR over in tests/unit/a.tcl\nExpected '1' to be equal to '2'\n    while executing\n\
            [err]: ERR unknown command\n    in the block\n[ok]: next (1 ms)\n[1/1 done]: unit/a (1 seconds)\n";
        let read = read_units(text, "unit/a");
        assert_eq!(
            read.failed,
            [
                failure(Some("INCR over"), "Expected '1' to be equal to '2'\n    while executing"),
                failure(None, "ERR unknown command\n    in the block"),
            ]
        );
        assert_eq!(read.passed, ["next"]);
    }

    #[test]
    fn an_exception_a_stall_and_a_sudden_end_abort_the_file() {
        let aborted = |text| match read_units(text, "unit/a").end {
            End::Aborted(why) => why,
            End::Finished => panic!("{text} finished"),
        };
        assert_eq!(
            aborted("[ok]: a (1 ms)\n[exception]: Executing test client: no.\n  at x\n"),
            "Executing test client: no.\n  at x"
        );
        assert!(aborted("[ok]: a (1 ms)\n[TIMEOUT]: clients state report follows.\n").contains("no progress"));
        assert!(aborted("[ok]: a (1 ms)\ncouldn't execute\n").ends_with(":\n[ok]: a (1 ms)\ncouldn't execute"));
        assert!(aborted("").contains("broke off"));
    }

    #[test]
    fn the_instances_framework_prints_names_before_outcomes() {
        let text = "Starting sentinel #0 at port 20000\nTesting unit: 00-base.tcl\n\
            10:00:00> Basic failover: works: OK\n10:00:01> Noisy: 1 of 2 ... \nstill\nOK\n\
            10:00:02> Fails: FAILED: Expected x\n(Jumping to next unit after error)\nWARNING 1 test(s) failed.\n";
        let read = read_instances(text);
        assert_eq!(read.passed, ["Basic failover: works", "Noisy: 1 of 2 ..."]);
        assert_eq!(read.failed, [failure(Some("Fails"), "10:00:02> Fails: FAILED: Expected x")]);
        assert_eq!(read.end, End::Finished);
        assert!(matches!(read_instances("10:00:00> Stuck: ").end, End::Aborted(_)));
    }
}

//! LATENCY: when the server kept its clients waiting, and how long commands take.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec};

use crate::data::call::Cx;
use crate::data::histogram::Sum;
use crate::data::table::{Command, table};
use crate::server::{Server, unix_now};

/// Samples kept of an event.
const MOST_SAMPLES: usize = 160;

const ASKING: Flags = Flags::ADMIN.and(Flags::NO_SCRIPT).and(Flags::LOADING).and(Flags::STALE);

const fn sub(name: &'static str, arity: Arity, flags: Flags, since: &'static str, summary: &'static str) -> Spec {
    Spec { name, group: Group::Server, arity, flags, since, summary, run: Run::Server, ..Spec::BLANK }
}

static DOCTOR: Spec = sub("doctor", Arity::Exactly(2), ASKING, "2.8.13", "Says what the samples tell.").with_tips(&[
    "nondeterministic_output",
    "request_policy:all_nodes",
    "response_policy:special",
]);
static GRAPH: Spec = sub("graph", Arity::Exactly(3), ASKING, "2.8.13", "Draws an event's samples.").with_tips(&[
    "nondeterministic_output",
    "request_policy:all_nodes",
    "response_policy:special",
]);
static HISTOGRAM: Spec = sub("histogram", Arity::AtLeast(2), ASKING, "7.0.0", "Tells how long commands take.")
    .with_tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]);
static HISTORY: Spec = sub("history", Arity::Exactly(3), ASKING, "2.8.13", "Lists an event's samples.").with_tips(&[
    "nondeterministic_output",
    "request_policy:all_nodes",
    "response_policy:special",
]);
/// Alone, so that what other threads are at is over and among the samples.
static LATEST: Spec =
    sub("latest", Arity::Exactly(2), ASKING.and(Flags::ALONE), "2.8.13", "Lists each event's latest sample.")
        .with_tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]);
static RESET: Spec = sub("reset", Arity::AtLeast(2), ASKING, "2.8.13", "Forgets samples.")
    .with_tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]);
static HELP: Spec =
    sub("help", Arity::Exactly(2), Flags::LOADING.and(Flags::STALE), "2.8.13", "Explains the subcommands.");

/// LATENCY
pub static LATENCY: Spec = Spec {
    name: "latency",
    group: Group::Server,
    arity: Arity::AtLeast(2),
    subcommands: &[&DOCTOR, &GRAPH, &HELP, &HISTOGRAM, &HISTORY, &LATEST, &RESET],
    since: "2.8.13",
    complexity: "Depends on subcommand.",
    summary: "A container for commands on latency.",
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(
    &LATENCY,
    &[
        ("doctor", doctor),
        ("graph", graph),
        ("histogram", histogram),
        ("history", history),
        ("latest", latest),
        ("reset", reset),
        ("help", help),
    ],
)];

/// The samples of all events.
#[derive(Default)]
pub struct Latency(Mutex<BTreeMap<&'static str, Series>>);

/// The samples of one event.
#[derive(Default, Clone)]
struct Series {
    samples: VecDeque<Sample>,
    worst: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    /// Seconds since the epoch.
    at: i64,
    /// Milliseconds.
    took: u64,
}

impl Series {
    /// Adds a sample; of those of one second the worst stays.
    fn add(&mut self, sample: Sample) {
        self.worst = self.worst.max(sample.took);
        match self.samples.back_mut() {
            Some(last) if last.at == sample.at => last.took = last.took.max(sample.took),
            _ => {
                if self.samples.len() == MOST_SAMPLES {
                    self.samples.pop_front();
                }
                self.samples.push_back(sample);
            }
        }
    }
}

impl Latency {
    /// Notes an event if it took as long as `latency-monitor-threshold` says.
    pub fn note(&self, server: &Server, event: &'static str, took: Duration) {
        let threshold = server.config.load().latency.monitor_threshold;
        if threshold.is_some_and(|threshold| took >= threshold) {
            let sample = Sample { at: unix_now().0 / 1000, took: took.as_millis() as u64 };
            self.0.lock().entry(event).or_default().add(sample);
        }
    }
}

fn latest(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let events = cx.server.latency.0.lock().clone();
    let mut reply = cx.reply();
    reply.array(events.len());
    for (event, series) in events {
        let last = series.samples.back().copied().unwrap_or(Sample { at: 0, took: 0 });
        reply.array(4);
        reply.bulk(event.as_bytes());
        reply.int(last.at);
        reply.int(last.took as i64);
        reply.int(series.worst as i64);
    }
    Ok(())
}

fn find(cx: &Cx<'_, '_>, name: &[u8]) -> Option<Series> {
    cx.server.latency.0.lock().iter().find(|(event, _)| event.as_bytes() == name).map(|(_, series)| series.clone())
}

fn history(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let samples = find(cx, args.at(2)).unwrap_or_default().samples;
    let mut reply = cx.reply();
    reply.array(samples.len());
    for sample in samples {
        reply.array(2);
        reply.int(sample.at);
        reply.int(sample.took as i64);
    }
    Ok(())
}

fn reset(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let names = args.from(2);
    let mut events = cx.server.latency.0.lock();
    let before = events.len();
    if names.is_empty() {
        events.clear();
    } else {
        events.retain(|event, _| !names.contains(&event.as_bytes()));
    }
    let gone = before - events.len();
    drop(events);
    cx.reply().count(gone);
    Ok(())
}

fn graph(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let Some(series) = find(cx, args.at(2)) else {
        let text = format!("ERR No samples available for event '{}'", String::from_utf8_lossy(args.at(2)));
        return Err(CommandError::Bytes(text.into_bytes()));
    };
    let text = draw(&String::from_utf8_lossy(args.at(2)), &series, unix_now().0 / 1000);
    cx.reply().verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// Columns of bars, one for each of the latest samples, with its age written below from top to bottom.
fn draw(event: &str, series: &Series, now: i64) -> String {
    const ROWS: u64 = 4;
    const SHADES: [char; 3] = ['_', 'o', '#'];
    let most = |pick: fn(u64, u64) -> u64, start| series.samples.iter().fold(start, |best, s| pick(best, s.took));
    let (high, low) = (most(u64::max, 0), most(u64::min, u64::MAX));
    let mut text = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", series.worst);
    let _ = writeln!(text, "{}", "-".repeat(80));
    let skip = series.samples.len().saturating_sub(80);
    let shown: Vec<Sample> = series.samples.iter().skip(skip).copied().collect();
    let steps = ROWS * SHADES.len() as u64;
    let height = |sample: &Sample| 1 + (sample.took - low) * (steps - 1) / (high - low).max(1);
    for row in (0..ROWS).rev() {
        let below = row * SHADES.len() as u64;
        let line: String = shown
            .iter()
            .map(|sample| match height(sample).saturating_sub(below).min(SHADES.len() as u64) {
                0 => ' ',
                step => SHADES[step as usize - 1],
            })
            .collect();
        let _ = writeln!(text, "{line}");
    }
    let ages: Vec<Vec<char>> = shown.iter().map(|sample| age(now - sample.at).chars().collect()).collect();
    for row in 0..ages.iter().map(Vec::len).max().unwrap_or(0) {
        let line: String = ages.iter().map(|age| age.get(row).copied().unwrap_or(' ')).collect();
        let _ = writeln!(text, "{line}");
    }
    text
}

fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{}s", seconds.max(0)),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

fn doctor(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let config = cx.server.config.load();
    let text = match config.latency.monitor_threshold {
        None => "Latency is not monitored. CONFIG SET latency-monitor-threshold <milliseconds> begins it.\n".to_owned(),
        Some(threshold) => report(&cx.server.latency.0.lock(), threshold, config.slow_log.slower_than),
    };
    cx.reply().verbatim(b"txt", text.as_bytes());
    Ok(())
}

fn report(events: &BTreeMap<&'static str, Series>, threshold: Duration, slow: Option<Duration>) -> String {
    if events.is_empty() {
        return format!("Nothing has taken {} ms or longer since the samples were reset.\n", threshold.as_millis());
    }
    let mut text = String::from("These events have kept clients waiting:\n\n");
    for (number, (event, series)) in events.iter().enumerate() {
        let count = series.samples.len() as u64;
        let mean = series.samples.iter().map(|sample| sample.took).sum::<u64>() / count.max(1);
        let deviation = series.samples.iter().map(|sample| sample.took.abs_diff(mean)).sum::<u64>() / count.max(1);
        let _ = writeln!(
            text,
            "{}. {event}: {count} spikes (average {mean} ms, mean deviation {deviation} ms, worst {} ms).",
            number + 1,
            series.worst
        );
    }
    text.push_str("\nWhat may help:\n\n");
    if events.contains_key("command") || events.contains_key("fast-command") {
        text.push_str("- SLOWLOG GET names the commands that took long.\n");
        if slow.is_none_or(|slow| slow > threshold) {
            let micros = threshold.as_micros();
            let _ =
                writeln!(text, "- It lists fewer than are counted here: CONFIG SET slowlog-log-slower-than {micros}.");
        }
        text.push_str("- Commands whose cost grows with a key's size are slow on large keys: smaller keys, or SCAN and its kin.\n");
    }
    if events.keys().any(|event| event.starts_with("fast-command")) {
        text.push_str(
            "- Fast commands that are slow wait for the processor: look for swapping and for busy neighbours.\n",
        );
    }
    text
}

fn histogram(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let mut wanted: Vec<&'static Command> = Vec::new();
    if args.len() == 2 {
        for command in table().commands() {
            wanted.push(command);
            wanted.extend(&command.subcommands);
        }
    }
    for name in args.from(2) {
        let mut parts = name.splitn(2, |&byte| byte == b'|');
        let Some(command) = parts.next().and_then(|name| table().find(name)) else { continue };
        match parts.next() {
            Some(name) => wanted.extend(command.subcommand(name)),
            None => {
                wanted.push(command);
                wanted.extend(&command.subcommands);
            }
        }
    }
    let mut found: Vec<(&Command, Sum)> = Vec::new();
    for command in wanted {
        let sum = sum_of(cx.server, command);
        if sum.total() > 0 && !found.iter().any(|(other, _)| other.index == command.index) {
            found.push((command, sum));
        }
    }
    let mut reply = cx.reply();
    reply.map(found.len());
    for (command, sum) in found {
        reply.bulk(command.full_name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.int(sum.total() as i64);
        reply.bulk(b"histogram_usec");
        let steps = sum.cumulative();
        reply.map(steps.len());
        for (micros, count) in steps {
            reply.int(micros as i64);
            reply.int(count as i64);
        }
    }
    Ok(())
}

/// How long a command took, on all threads together.
pub fn sum_of(server: &Server, command: &Command) -> Sum {
    Sum::of(server.serving().map(|thread| &thread.stats.of(command).durations))
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(
        cx,
        "LATENCY",
        &[
            "DOCTOR",
            "    What the samples tell, and what may help.",
            "GRAPH <event>",
            "    A drawing of an event's samples.",
            "HISTORY <event>",
            "    An event's samples: when (seconds) and how long (milliseconds).",
            "LATEST",
            "    The latest and the worst sample of each event.",
            "RESET [<event> ...]",
            "    Forgets the samples of these events, or all.",
            "HISTOGRAM [<command> ...]",
            "    How many calls of each command took no longer than 1, 2, 4 ... microseconds.",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_second_become_their_worst_and_old_ones_go() {
        let mut series = Series::default();
        for at in 0..200 {
            series.add(Sample { at, took: 10 });
            series.add(Sample { at, took: 30 });
            series.add(Sample { at, took: 20 });
        }
        assert_eq!(series.samples.len(), MOST_SAMPLES);
        assert_eq!(series.samples.front(), Some(&Sample { at: 40, took: 30 }));
        assert_eq!(series.worst, 30);
    }

    #[test]
    fn a_drawing_shows_the_highest_as_a_full_column() {
        let mut series = Series::default();
        series.add(Sample { at: 100, took: 5 });
        series.add(Sample { at: 160, took: 50 });
        let text = draw("command", &series, 170);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 50 ms, low 5 ms (all time high 50 ms)");
        assert_eq!(lines[2..], [" #", " #", " #", "_#", "11", "m0", " s"]);
    }
}

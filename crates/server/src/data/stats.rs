//! What a thread counts: commands, their time, errors. One writer each; INFO adds them up.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_keyspace::Tally;

use crate::data::histogram::Histogram;
use crate::data::table::{Command, table};

/// How a command ended, for the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was run.
    Done,
    /// It was run and answered with an error.
    Failed,
    /// It has done nothing and is run again.
    Again,
}

/// The statistics of one command.
#[derive(Default)]
pub struct CommandStats {
    /// Times it was run.
    pub calls: Tally,
    /// Nanoseconds that it took in all.
    pub nanos: Tally,
    /// Times it was refused before it ran.
    pub rejected: Tally,
    /// Times it ran and answered with an error.
    pub failed: Tally,
    /// How long it took, with `latency-tracking`.
    pub durations: Histogram,
}

/// One thread's statistics.
pub struct Statistics {
    commands: Box<[CommandStats]>,
    /// Error replies by their code.
    errors: Mutex<BTreeMap<String, u64>>,
    /// What tells that the thread gets on; see `control/progress.rs`.
    pub steps: Tally,
    /// Whether it waits for its clients: 1 or 0.
    pub idles: Tally,
    /// All error replies.
    pub error_replies: Tally,
    /// All commands.
    pub processed: Tally,
    /// Changes to keys.
    pub dirty: Tally,
    /// Bytes read from clients.
    pub bytes_in: Tally,
    /// Bytes written to clients.
    pub bytes_out: Tally,
    /// Read events.
    pub reads: Tally,
    /// Write events.
    pub writes: Tally,
    /// How things stand now.
    pub gauges: Gauges,
}

/// How things stand with a thread's clients now, as far as no command changes it: taken stock of at each sweep,
/// but for those who block, who are counted when they do.
#[derive(Default)]
pub struct Gauges {
    /// Clients that wait for something.
    pub blocked: Tally,
    /// Those of them that give up some time.
    pub with_deadline: Tally,
    /// The longest input that is not a whole request, bytes.
    pub longest_input: Tally,
    /// The longest output that is not sent, bytes.
    pub longest_output: Tally,
    /// What all of its clients hold, replicas and our primary aside, bytes.
    pub client_bytes: Tally,
    /// Commands a second.
    pub commands_a_second: Tally,
    /// Bytes read a second.
    pub bytes_in_a_second: Tally,
    /// Bytes written a second.
    pub bytes_out_a_second: Tally,
}

/// How fast a count grows, as the mean of the last seconds.
#[derive(Default)]
pub struct Rate {
    last: i64,
    samples: [i64; RATE_SAMPLES],
    next: usize,
}

const RATE_SAMPLES: usize = 16;

impl Rate {
    /// How much time a sample stands for.
    const PERIOD: Duration = Duration::from_millis(100);

    /// Takes the count as it stands after `elapsed`; how fast it grew, a second. What took longer than a sample's period
    /// is as many samples.
    pub fn sample(&mut self, count: i64, elapsed: Duration) -> i64 {
        // RESETSTAT may have set it back.
        let grown = (count - self.last).max(0);
        self.last = count;
        let periods = elapsed.as_nanos() / Rate::PERIOD.as_nanos();
        for _ in 0..periods.clamp(1, RATE_SAMPLES as u128) {
            self.samples[self.next] = (grown as f64 / elapsed.as_secs_f64().max(1e-3)) as i64;
            self.next = (self.next + 1) % RATE_SAMPLES;
        }
        self.samples.iter().sum::<i64>() / RATE_SAMPLES as i64
    }
}

/// Errors with more different codes than this are counted as one (a script can invent codes).
const MOST_ERROR_CODES: usize = 128;

impl Default for Statistics {
    fn default() -> Statistics {
        Statistics {
            commands: (0..table().count()).map(|_| CommandStats::default()).collect(),
            errors: Mutex::default(),
            steps: Tally::default(),
            idles: Tally::default(),
            error_replies: Tally::default(),
            processed: Tally::default(),
            dirty: Tally::default(),
            bytes_in: Tally::default(),
            bytes_out: Tally::default(),
            reads: Tally::default(),
            writes: Tally::default(),
            gauges: Gauges::default(),
        }
    }
}

impl Statistics {
    /// Counts a command that was run, and took so many nanoseconds.
    #[inline]
    pub fn called(&self, command: &Command, nanos: u64, verdict: Verdict) {
        let stats = &self.commands[command.index];
        stats.calls.add(1);
        stats.nanos.add(nanos as i64);
        if verdict == Verdict::Failed {
            stats.failed.add(1);
        }
        self.processed.add(1);
    }

    /// Counts that a command has failed for which its client had waited; that it was run is counted already.
    pub fn failed_at_last(&self, command: &Command) {
        self.commands[command.index].failed.add(1);
    }

    /// Counts a command that was refused before it ran.
    pub fn rejected(&self, command: &Command) {
        self.commands[command.index].rejected.add(1);
    }

    /// Counts an error reply; `text` starts with its code.
    #[cold]
    pub fn error(&self, text: &[u8]) {
        self.error_replies.add(1);
        let code = text.split(|&byte| byte == b' ').next().unwrap_or_default();
        let code = String::from_utf8_lossy(code).into_owned();
        let mut errors = self.errors.lock();
        let code = if errors.len() < MOST_ERROR_CODES || errors.contains_key(&code) {
            code
        } else {
            "ERRORSTATS_OVERFLOW".to_owned()
        };
        *errors.entry(code).or_default() += 1;
    }

    /// The statistics of a command.
    pub fn of(&self, command: &Command) -> &CommandStats {
        &self.commands[command.index]
    }

    /// Adds this thread's errors to `sum`.
    pub fn add_errors(&self, sum: &mut BTreeMap<String, u64>) {
        for (code, count) in &*self.errors.lock() {
            *sum.entry(code.clone()).or_default() += count;
        }
    }

    /// Forgets everything (CONFIG RESETSTAT); only while alone.
    pub fn reset(&self) {
        for stats in &self.commands {
            for tally in [&stats.calls, &stats.nanos, &stats.rejected, &stats.failed] {
                tally.add(-tally.get());
            }
            stats.durations.reset();
        }
        for tally in [&self.error_replies, &self.processed, &self.bytes_in, &self.bytes_out, &self.reads, &self.writes]
        {
            tally.add(-tally.get());
        }
        self.errors.lock().clear();
    }
}

//! What counts as flat.

use std::fmt;
use std::time::Duration;

use super::load::Latency;

/// One stretch of a run.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When it ended, from the beginning of the load.
    pub at: Duration,
    /// Bytes in use (`used_memory`).
    pub used: u64,
    /// Bytes that the process holds.
    pub resident: u64,
    /// The same of the replica that stays.
    pub of_replica: u64,
    /// Keys.
    pub keys: u64,
    /// How long requests took.
    pub latency: Latency,
}

/// Bytes as MiB.
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(
            f,
            "{:>6.1} s  {:>7} keys  used {:>6.1} MiB  resident {:>6.1} MiB  replica {:>6.1} MiB  median {:>6.2} ms  \
             p99 {:>7.2} ms  longest {:>8.2} ms",
            self.at.as_secs_f64(),
            self.keys,
            mib(self.used),
            mib(self.resident),
            mib(self.of_replica),
            millis(self.latency.median),
            millis(self.latency.tail),
            millis(self.latency.longest),
        )
    }
}

/// How the last quarter of a run compares with the second, by their medians. A figure is *flat* if it has grown by no more
/// than a tenth and the slack that is said beside it, which covers what the machine does by itself.
#[derive(Debug)]
pub struct Verdict {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    unit: &'static str,
    second: f64,
    last: f64,
    slack: f64,
    /// An absolute bound, if there is one.
    most: Option<f64>,
}

impl Row {
    fn is_flat(&self) -> bool {
        self.last <= self.second * 1.1 + self.slack && self.most.is_none_or(|most| self.last <= most)
    }
}

impl Verdict {
    /// The verdict on a run whose memory was limited to `max_memory` bytes.
    pub fn of(samples: &[Sample], max_memory: u64) -> Verdict {
        let quarter = (samples.len() / 4).max(1);
        let second = &samples[quarter.min(samples.len() - 1)..(2 * quarter).min(samples.len())];
        let last = &samples[samples.len() - quarter..];
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let row = |name, unit, slack, most, of: &dyn Fn(&Sample) -> f64| Row {
            name,
            unit,
            second: median(second, of),
            last: median(last, of),
            slack,
            most,
        };
        // What one request takes is judged when it has run, and may lie above by then.
        let most = mib(max_memory) * 1.05 + 1.0;
        Verdict {
            rows: vec![
                row("used memory", "MiB", 1.0, Some(most), &|sample| mib(sample.used)),
                row("resident memory", "MiB", 4.0, None, &|sample| mib(sample.resident)),
                row("resident memory of the replica", "MiB", 4.0, None, &|sample| mib(sample.of_replica)),
                row("median latency", "ms", 0.2, None, &|sample| millis(sample.latency.median)),
                row("99th percentile of latency", "ms", 2.0, None, &|sample| millis(sample.latency.tail)),
            ],
        }
    }

    /// Whether everything has stayed flat.
    pub fn is_flat(&self) -> bool {
        self.rows.iter().all(Row::is_flat)
    }

    /// Whether memory in use has stayed within its limit.
    pub fn is_within_limit(&self) -> bool {
        self.rows.iter().all(|row| row.most.is_none_or(|most| row.last <= most))
    }
}

fn median(samples: &[Sample], of: &dyn Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { name, unit, second, last, slack, most } in &self.rows {
            let bound = most.map_or(String::new(), |most| format!(", at most {most:.1} {unit}"));
            writeln!(
                f,
                "{name}: {second:.2} {unit} in the second quarter, {last:.2} {unit} in the last (a tenth more, and {slack} \
                 {unit}, is flat{bound})"
            )?;
        }
        write!(f, "flat: {}", if self.is_flat() { "yes" } else { "NO" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(mib: u64, micros: u64) -> Sample {
        let time = Duration::from_micros(micros);
        let latency = Latency { median: time, tail: time, longest: time };
        let bytes = mib << 20;
        Sample { at: time, used: bytes, resident: bytes, of_replica: bytes, keys: 0, latency }
    }

    #[test]
    fn flat_is_what_grows_by_no_more_than_a_tenth_and_the_slack_once_it_is_warm() {
        let run = |figures: [(u64, u64); 4]| {
            let samples: Vec<Sample> =
                figures.iter().flat_map(|&(mib, micros)| std::iter::repeat_n(sample(mib, micros), 5)).collect();
            Verdict::of(&samples, 100 << 20)
        };
        assert!(run([(1, 9000), (100, 500), (90, 700), (102, 600)]).is_flat());
        assert!(!run([(1, 500), (100, 500), (90, 500), (120, 500)]).is_flat(), "memory has grown");
        assert!(!run([(1, 500), (100, 500), (90, 500), (100, 800)]).is_flat(), "the median has grown");
        assert!(!run([(1, 500), (130, 500), (130, 500), (130, 500)]).is_within_limit());
        assert!(run([(1, 500), (100, 500), (90, 500), (100, 800)]).to_string().ends_with("flat: NO"));
    }
}

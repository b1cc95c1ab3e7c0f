//! How long a command took: a histogram of one writing thread, fine enough for percentiles.
//!
//! Buckets grow with what they hold: each power of two of nanoseconds is cut into 32 parts, so a
//! percentile is right within 3 per cent. What takes longer than a second counts as a second.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// There are two to the power of this many buckets for each power of two.
const PRECISION: u32 = 5;
/// Nothing above this is told apart: 2^30 nanoseconds.
const LARGEST: u64 = (1 << 30) - 1;
const BUCKETS: usize = bucket(LARGEST) + 1;

/// The histogram of one command on one thread; made when the command is run for the first time.
#[derive(Default)]
pub struct Histogram(OnceLock<Box<[AtomicU32]>>);

impl Histogram {
    /// Counts a duration in nanoseconds; only the owning thread may call it.
    #[inline]
    pub fn record(&self, nanos: u64) {
        let buckets = self.0.get_or_init(|| (0..BUCKETS).map(|_| AtomicU32::new(0)).collect());
        let count = &buckets[bucket(nanos.min(LARGEST))];
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Forgets everything; only while alone.
    pub fn reset(&self) {
        for count in self.0.get().into_iter().flatten() {
            count.store(0, Ordering::Relaxed);
        }
    }
}

const fn bucket(nanos: u64) -> usize {
    let magnitude = 63 - (nanos | 1).leading_zeros();
    if magnitude <= PRECISION {
        return nanos as usize;
    }
    let shift = magnitude - PRECISION;
    // The leading bit is the same in the whole row and counts as the row.
    ((shift as usize) << PRECISION) + (nanos >> shift) as usize
}

/// The largest duration that lies in a bucket, nanoseconds.
fn top(bucket: usize) -> u64 {
    let shift = (bucket >> PRECISION).saturating_sub(1);
    let part = (bucket - (shift << PRECISION)) as u64;
    ((part + 1) << shift) - 1
}

/// The sum of several threads' histograms of a command.
pub struct Sum {
    counts: Box<[u64]>,
    total: u64,
}

impl Sum {
    /// Adds them up.
    pub fn of<'h>(histograms: impl Iterator<Item = &'h Histogram>) -> Sum {
        let mut counts = vec![0; BUCKETS].into_boxed_slice();
        for histogram in histograms {
            for (sum, count) in counts.iter_mut().zip(histogram.0.get().into_iter().flatten()) {
                *sum += u64::from(count.load(Ordering::Relaxed));
            }
        }
        let total = counts.iter().sum();
        Sum { counts, total }
    }

    /// How many durations there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What `percent` of the durations do not exceed, nanoseconds.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((self.total as f64 * percent / 100.0).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return top(bucket);
            }
        }
        0
    }

    /// How many durations are not above about 1, 2, 4 ... microseconds, as far as that differs.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut steps = Vec::new();
        let mut seen = 0;
        let mut counts = self.counts.iter().enumerate().peekable();
        let mut level = 1024u64;
        while seen < self.total {
            let before = seen;
            while let Some((_, count)) = counts.next_if(|(at, _)| *at <= bucket(level.min(LARGEST))) {
                seen += count;
            }
            if seen > before {
                // Named by the end of the level's last part, in the precision of 128 parts.
                steps.push(((level + level / 128 - 1) / 1000, seen));
            }
            level *= 2;
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        assert_eq!(bucket(0), 0);
        for nanos in (0..100_000u64).chain([1 << 20, (1 << 20) - 1, LARGEST]) {
            let at = bucket(nanos);
            assert!(nanos <= top(at) && (at == 0 || nanos > top(at - 1)), "{nanos} in {at}");
            assert!((top(at) - nanos) as f64 <= (nanos as f64 / 32.0).ceil(), "{nanos} ends at {}", top(at));
        }
    }

    #[test]
    fn percentiles_and_steps_tell_what_was_recorded() {
        let (one, other) = (Histogram::default(), Histogram::default());
        for micros in 1..=99 {
            one.record(micros * 1000);
        }
        other.record(50_000_000_000);
        let sum = Sum::of([&one, &other, &Histogram::default()].into_iter());
        assert_eq!(sum.total(), 100);
        let median = sum.percentile(50.0);
        assert!((50_000..=52_000).contains(&median), "{median}");
        assert_eq!(sum.percentile(100.0), LARGEST);
        let steps = sum.cumulative();
        assert_eq!(steps[..4], [(1, 1), (2, 2), (4, 4), (8, 8)]);
        assert_eq!(steps.last().map(|step| step.1), Some(100));
        one.reset();
        assert_eq!(Sum::of(std::iter::once(&one)).total(), 0);
    }
}

//! How long commands take, by the processor's own count of time: to ask the system twice for it, as quick as that is,
//! costs a tenth of what a GET does.
//!
//! The count is used where the system itself keeps its time by it, which it does only if the count runs evenly and
//! agrees on all cores. Elsewhere the system is asked.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the count is compared with the system's time: an error of a hundred nanoseconds is one part in ten thousand.
#[cfg(target_arch = "x86_64")]
const CALIBRATION: Duration = Duration::from_millis(1);

/// A duration as statistics count it: nanoseconds, five centuries at most.
#[inline]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A moment, in the units of its [`Ticker`].
#[derive(Debug, Clone, Copy)]
pub struct Tick(u64);

/// Tells moments, and the time between two of them.
#[derive(Debug, Clone, Copy)]
pub struct Ticker {
    since: Instant,
    /// Nanoseconds of a tick, times 2^32; zero if the system is asked, whose ticks are nanoseconds.
    scale: u64,
}

impl Ticker {
    /// The best that works here; the first one takes a millisecond to find out.
    pub fn new() -> Ticker {
        static SCALE: OnceLock<u64> = OnceLock::new();
        Ticker { since: Instant::now(), scale: *SCALE.get_or_init(|| measured_scale().unwrap_or(0)) }
    }

    /// This moment.
    #[inline]
    pub fn now(&self) -> Tick {
        if self.scale == 0 { Tick(self.since.elapsed().as_nanos() as u64) } else { Tick(count()) }
    }

    /// Nanoseconds from one moment to another; none if the second is the earlier one.
    #[inline]
    pub fn between(&self, from: Tick, to: Tick) -> u64 {
        let ticks = to.0.saturating_sub(from.0);
        if self.scale == 0 { ticks } else { ((u128::from(ticks) * u128::from(self.scale)) >> 32) as u64 }
    }
}

impl Default for Ticker {
    fn default() -> Ticker {
        Ticker::new()
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn count() -> u64 {
    // SAFETY: every processor of this architecture has the instruction, and the system has not forbidden it, or it
    // would not offer its clock to programs by the same instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn count() -> u64 {
    0
}

#[cfg(target_arch = "x86_64")]
fn measured_scale() -> Option<u64> {
    let source = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource").ok()?;
    if source.trim() != "tsc" {
        return None;
    }
    let (began, first) = (Instant::now(), count());
    while began.elapsed() < CALIBRATION {
        std::hint::spin_loop();
    }
    let (elapsed, last) = (began.elapsed(), count());
    let ticks = u128::from(last.checked_sub(first)?);
    let scale = (elapsed.as_nanos() << 32).checked_div(ticks)?;
    u64::try_from(scale).ok()
}

#[cfg(not(target_arch = "x86_64"))]
fn measured_scale() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_system() {
        let best = Ticker::new();
        for ticker in [best, Ticker { scale: 0, ..best }] {
            let (outer, from) = (Instant::now(), ticker.now());
            let inner = Instant::now();
            while inner.elapsed() < Duration::from_millis(5) {
                std::hint::spin_loop();
            }
            let (inner, to) = (inner.elapsed(), ticker.now());
            let (measured, outer) = (Duration::from_nanos(ticker.between(from, to)), outer.elapsed());
            // Whatever else the machine did meanwhile, it lies between the two, give or take one part in a hundred.
            assert!(measured >= inner * 99 / 100 && measured <= outer * 101 / 100, "{inner:?} {measured:?} {outer:?}");
            assert_eq!(ticker.between(to, from), 0);
        }
    }
}

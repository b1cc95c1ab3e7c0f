//! Instants as arguments: a monotonic one for timers, a wall-clock one for what users see.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Both clocks, read once at the edge and handed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For timers and timeouts; it never goes back.
    pub mono: Mono,
    /// For expiry times and what is shown; it may jump either way.
    pub unix: UnixMs,
}

/// Microseconds of a monotonic clock since an arbitrary start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// How long ago `earlier` was; zero if it is not earlier.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, rhs: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Milliseconds since the Unix epoch, by the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// Whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

impl Add<i64> for UnixMs {
    type Output = UnixMs;
    fn add(self, ms: i64) -> UnixMs {
        UnixMs(self.0.saturating_add(ms))
    }
}

impl Sub for UnixMs {
    type Output = i64;
    fn sub(self, rhs: UnixMs) -> i64 {
        self.0.saturating_sub(rhs.0)
    }
}

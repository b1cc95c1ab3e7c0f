//! The two clocks, read in one place.
//!
//! The monotonic one goes on while the machine sleeps (`CLOCK_BOOTTIME`), because the servers' clocks do: a laptop that wakes
//! up must not take its lock for valid.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_stdx::{Mono, Now, UnixMs};

pub(crate) fn now() -> Now {
    Now { mono: mono(), unix: UnixMs(wall_micros() / 1000) }
}

/// Microseconds since 1970.
pub(crate) fn wall_micros() -> i64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(unix.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(target_os = "linux")]
pub(crate) fn mono() -> Mono {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or_default());
    Mono(0) + seconds + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn mono() -> Mono {
    use std::sync::OnceLock;
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    Mono(0) + START.get_or_init(std::time::Instant::now).elapsed()
}

/// The instant of tokio's clock that is this far away.
pub(crate) fn alarm(at: Mono) -> tokio::time::Instant {
    tokio::time::Instant::now() + at.since(mono())
}

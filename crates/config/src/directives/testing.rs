//! What only tests ask for: delays that make short moments long enough to look at.

use std::time::Duration;

use crate::quantity::{INT, decimal};
use crate::spec::{Flags, Form, Spec, kept, number};

/// Delays that only tests ask for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Testing {
    /// `rdb-key-save-delay`: pause after each key that is saved. Below 0 in the file, one in so many keys pauses for
    /// a microsecond; that is rounded down to none.
    pub key_save_delay: Duration,
    /// `key-load-delay`: pause after each key that is loaded.
    pub key_load_delay: Duration,
    /// `wall-clock-offset`: milliseconds that are added to the wall clock, so that it can be seen to jump.
    pub wall_offset: i64,
    key_save_delay_shown: i32,
    key_load_delay_shown: i32,
}

const NO_ASSERTS: &str = "a broken invariant always ends the process with a report";
const INT_RANGE: crate::quantity::Bounds = decimal(i32::MIN as i128, INT);

pub(super) static TABLE: &[Spec] = &[
    number(
        "rdb-key-save-delay",
        INT_RANGE,
        |c| c.testing.key_save_delay_shown.into(),
        |c, n| {
            c.testing.key_save_delay_shown = n as i32;
            c.testing.key_save_delay = micros(n);
        },
    )
    .is(Flags::HIDDEN),
    number(
        "key-load-delay",
        INT_RANGE,
        |c| c.testing.key_load_delay_shown.into(),
        |c, n| {
            c.testing.key_load_delay_shown = n as i32;
            c.testing.key_load_delay = micros(n);
        },
    )
    .is(Flags::HIDDEN),
    number("wall-clock-offset", INT_RANGE, |c| c.testing.wall_offset.into(), |c, n| c.testing.wall_offset = n as i64)
        .is(Flags::HIDDEN)
        .ours(),
    kept(
        "loading-process-events-interval-bytes",
        Form::Number(decimal(1024, INT)),
        "2097152",
        "clients are answered by other threads than the one that loads",
    )
    .is(Flags::HIDDEN),
    kept("use-exit-on-panic", Form::Switch, "no", NO_ASSERTS).is(Flags::HIDDEN.and(Flags::IMMUTABLE)),
    kept("enable-debug-assert", Form::Switch, "no", NO_ASSERTS).is(Flags::HIDDEN.and(Flags::IMMUTABLE)).later(),
];

fn micros(number: i128) -> Duration {
    Duration::from_micros(u64::try_from(number).unwrap_or(0))
}

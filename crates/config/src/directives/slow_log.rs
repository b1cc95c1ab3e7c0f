//! Which commands are logged as slow. Later Redis and Valkey log large ones too.

use std::time::Duration;

use crate::quantity::{LONG, decimal};
use crate::spec::{Form, Spec, kept, number};

/// Which commands are logged as slow.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowLog {
    /// `slowlog-log-slower-than`, whole microseconds; unset logs none.
    pub slower_than: Option<Duration>,
    /// `slowlog-max-len`: entries that are kept.
    pub len_max: u64,
}

impl Default for SlowLog {
    fn default() -> SlowLog {
        SlowLog { slower_than: Some(Duration::from_millis(10)), len_max: 128 }
    }
}

const ONLY_SLOW: &str = "only slow commands are logged, not large ones";

pub(super) static TABLE: &[Spec] = &[
    number(
        "slowlog-log-slower-than",
        decimal(-1, LONG),
        |c| c.slow_log.slower_than.map_or(-1, |limit| limit.as_micros() as i128),
        |c, n| c.slow_log.slower_than = u64::try_from(n).ok().map(Duration::from_micros),
    )
    .also_abroad(&["commandlog-execution-slower-than"]),
    number("slowlog-max-len", decimal(0, LONG), |c| c.slow_log.len_max.into(), |c, n| c.slow_log.len_max = n as u64)
        .also_abroad(&["commandlog-slow-execution-max-len"]),
    kept("commandlog-request-larger-than", Form::Number(decimal(-1, LONG)), "1048576", ONLY_SLOW).later(),
    kept("commandlog-large-request-max-len", Form::Number(decimal(0, LONG)), "128", ONLY_SLOW).later(),
    kept("commandlog-reply-larger-than", Form::Number(decimal(-1, LONG)), "1048576", ONLY_SLOW).later(),
    kept("commandlog-large-reply-max-len", Form::Number(decimal(0, LONG)), "128", ONLY_SLOW).later(),
];

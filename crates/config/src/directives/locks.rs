//! What makes a server a safe node for locks that a majority of servers grants (RedLock).

use std::time::Duration;

use crate::choice::Choice;
use crate::quantity::{INT, decimal};
use crate::spec::{Spec, choice, number};

/// What a lock relies on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Locks {
    /// `lock-quarantine`, milliseconds in the file: for how long after a start that can't prove that nothing was lost no lock
    /// is granted. Zero is never.
    pub quarantine: Duration,
    /// `ttl-clock`.
    pub clock: TtlClock,
}

/// `ttl-clock`: the clock by which keys expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TtlClock {
    /// The wall clock, as in Redis: when it jumps, keys expire early or late.
    #[default]
    Wall,
    /// A monotonic clock that began at the wall clock and follows it by at most half a per cent: no jump frees a lock early.
    Steady,
}

impl Choice for TtlClock {
    const WORDS: &'static [(&'static str, TtlClock)] = &[("wall", TtlClock::Wall), ("steady", TtlClock::Steady)];
}

pub(super) static TABLE: &[Spec] = &[
    number(
        "lock-quarantine",
        decimal(0, INT),
        |c| c.locks.quarantine.as_millis() as i128,
        |c, n| c.locks.quarantine = Duration::from_millis(n as u64),
    )
    .ours(),
    choice("ttl-clock", TtlClock::words, |c| c.locks.clock.as_word(), |c, word| c.locks.clock = Choice::named(word))
        .ours(),
];

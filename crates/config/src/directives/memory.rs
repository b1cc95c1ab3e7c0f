//! The limit on memory, what is evicted above it, and how hard expired keys are looked for.

use crate::choice::Choice;
use crate::config::Config;
use crate::quantity::{INT, decimal, memory};
use crate::spec::{Apply, Spec, choice, number, switch};

/// The limit on memory and what is evicted.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// `maxmemory`: bytes; 0 is no limit.
    pub max: u64,
    /// `maxmemory-policy`: which keys go first.
    pub policy: Policy,
    /// `maxmemory-samples`: how many keys are compared for each that goes; at least 1.
    pub samples: u32,
    /// `maxmemory-eviction-tenacity`: how long eviction may hold a client up: 0 (hardly) to 100 (until it is done).
    pub eviction_tenacity: u32,
    /// `replica-ignore-maxmemory`: a replica leaves eviction to its primary.
    pub replica_ignores_max: bool,
    /// `active-expire-effort`: how much time the search for expired keys may take, 1 to 10.
    pub expire_effort: u32,
    /// `lfu-log-factor`: how many hits it takes to count one up.
    pub lfu_log_factor: u32,
    /// `lfu-decay-time`: minutes until the counter goes down by one; 0 for never.
    pub lfu_decay_minutes: u32,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            max: 0,
            policy: Policy::NoEviction,
            samples: 5,
            eviction_tenacity: 10,
            replica_ignores_max: true,
            expire_effort: 1,
            lfu_log_factor: 10,
            lfu_decay_minutes: 1,
        }
    }
}

/// Which keys go first when memory is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Of those with an expiry, the ones not used for longest.
    VolatileLru,
    /// Of those with an expiry, the ones used most rarely.
    VolatileLfu,
    /// Of those with an expiry, any.
    VolatileRandom,
    /// Of those with an expiry, the ones that expire first.
    VolatileTtl,
    /// The ones not used for longest.
    AllKeysLru,
    /// The ones used most rarely.
    AllKeysLfu,
    /// Any.
    AllKeysRandom,
    /// None: writes are refused.
    NoEviction,
}

impl Policy {
    /// Whether it needs to know how often keys are used, rather than when.
    pub fn counts_uses(self) -> bool {
        matches!(self, Policy::VolatileLfu | Policy::AllKeysLfu)
    }

    /// Whether it needs to know of each key when or how often it is used.
    pub fn looks_at_use(self) -> bool {
        self.counts_uses() || matches!(self, Policy::VolatileLru | Policy::AllKeysLru)
    }
}

impl Choice for Policy {
    const WORDS: &'static [(&'static str, Policy)] = &[
        ("volatile-lru", Policy::VolatileLru),
        ("volatile-lfu", Policy::VolatileLfu),
        ("volatile-random", Policy::VolatileRandom),
        ("volatile-ttl", Policy::VolatileTtl),
        ("allkeys-lru", Policy::AllKeysLru),
        ("allkeys-lfu", Policy::AllKeysLfu),
        ("allkeys-random", Policy::AllKeysRandom),
        ("noeviction", Policy::NoEviction),
    ];
}

impl Memory {
    /// The word for the policy, as INFO shows it.
    pub fn policy_word(&self) -> &'static str {
        self.policy.as_word()
    }
}

pub(super) static TABLE: &[Spec] = &[
    number("maxmemory", memory(0, u64::MAX as i128), |c| c.memory.max.into(), |c, n| c.memory.max = n as u64)
        .applies(Apply::MaxMemory),
    choice(
        "maxmemory-policy",
        Policy::words,
        |c| c.memory.policy.as_word(),
        |c, word| c.memory.policy = Choice::named(word),
    ),
    number("maxmemory-samples", decimal(1, INT), |c| c.memory.samples.into(), |c, n| c.memory.samples = n as u32),
    number(
        "maxmemory-eviction-tenacity",
        decimal(0, 100),
        |c| c.memory.eviction_tenacity.into(),
        |c, n| {
            c.memory.eviction_tenacity = n as u32;
        },
    ),
    switch(
        "replica-ignore-maxmemory",
        |c| c.memory.replica_ignores_max,
        |c: &mut Config, on| c.memory.replica_ignores_max = on,
    )
    .also(&["slave-ignore-maxmemory"]),
    number(
        "active-expire-effort",
        decimal(1, 10),
        |c| c.memory.expire_effort.into(),
        |c, n| {
            c.memory.expire_effort = n as u32;
        },
    ),
    number(
        "lfu-log-factor",
        decimal(0, INT),
        |c| c.memory.lfu_log_factor.into(),
        |c, n| {
            c.memory.lfu_log_factor = n as u32;
        },
    ),
    number(
        "lfu-decay-time",
        decimal(0, INT),
        |c| c.memory.lfu_decay_minutes.into(),
        |c, n| {
            c.memory.lfu_decay_minutes = n as u32;
        },
    ),
];

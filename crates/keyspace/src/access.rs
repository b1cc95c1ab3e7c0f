//! The 24 bits that remember how an entry was used: an LRU clock, or an LFU counter that decays.
//!
//! Both follow what Redis documents (<https://redis.io/docs/latest/develop/reference/eviction/>), because
//! RDB files carry them and OBJECT IDLETIME and OBJECT FREQ show them. The LRU clock counts seconds and
//! wraps after 194 days; LFU keeps 16 bits of minutes and 8 bits of a logarithmic counter.

use quorate_stdx::{Rng, UnixMs};

const CLOCK_MASK: u32 = 0x00ff_ffff;
/// A new key's LFU counter, so that it is not evicted before it had a chance to be used.
const LFU_INITIAL: u32 = 5;

/// Which of the two is kept, by `maxmemory-policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessPolicy {
    /// The time of the last access.
    Lru,
    /// How often it was accessed.
    Lfu {
        /// `lfu-log-factor`: how many hits it takes to count one up.
        log_factor: u32,
        /// `lfu-decay-time`: minutes until the counter goes down by one; 0 for never.
        decay_minutes: u32,
    },
}

impl AccessPolicy {
    /// What a new entry starts with.
    #[inline]
    pub fn initial(self, now: UnixMs) -> u32 {
        match self {
            AccessPolicy::Lru => clock(now),
            AccessPolicy::Lfu { .. } => minutes(now) << 8 | LFU_INITIAL,
        }
    }

    /// What an entry holds after an access.
    #[inline]
    pub fn touched(self, access: u32, now: UnixMs, rng: &mut Rng) -> u32 {
        match self {
            AccessPolicy::Lru => clock(now),
            AccessPolicy::Lfu { log_factor, decay_minutes } => {
                let counter = decayed(access, now, decay_minutes);
                minutes(now) << 8 | incremented(counter, log_factor, rng)
            }
        }
    }

    /// The larger, the better a victim for eviction: idle milliseconds, or 255 minus the counter.
    pub fn staleness(self, access: u32, now: UnixMs) -> u64 {
        match self {
            AccessPolicy::Lru => idle_seconds(access, now) * 1000,
            AccessPolicy::Lfu { decay_minutes, .. } => u64::from(255 - decayed(access, now, decay_minutes)),
        }
    }
}

fn clock(now: UnixMs) -> u32 {
    now.seconds() as u32 & CLOCK_MASK
}

fn minutes(now: UnixMs) -> u32 {
    (now.seconds() / 60) as u32 & 0xffff
}

/// Seconds since the last access (LRU).
pub fn idle_seconds(access: u32, now: UnixMs) -> u64 {
    u64::from(clock(now).wrapping_sub(access) & CLOCK_MASK)
}

/// The access bits of an entry that has been idle for so many seconds.
pub fn from_idle_seconds(idle: u64, now: UnixMs) -> u32 {
    clock(now).wrapping_sub(idle as u32) & CLOCK_MASK
}

/// The access bits of an entry with this LFU counter.
pub fn from_frequency(counter: u8, now: UnixMs) -> u32 {
    minutes(now) << 8 | u32::from(counter)
}

/// The LFU counter after its decay up to now.
pub fn decayed(access: u32, now: UnixMs, decay_minutes: u32) -> u32 {
    let elapsed = minutes(now).wrapping_sub(access >> 8) & 0xffff;
    let periods = elapsed.checked_div(decay_minutes).unwrap_or(0);
    (access & 0xff).saturating_sub(periods)
}

fn incremented(counter: u32, log_factor: u32, rng: &mut Rng) -> u32 {
    if counter >= 255 {
        return 255;
    }
    // The counter rises with probability 1 / (hits above the initial value * factor + 1).
    let base = u64::from(counter.saturating_sub(LFU_INITIAL)) * u64::from(log_factor) + 1;
    if rng.below(base) == 0 { counter + 1 } else { counter }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lru_clock_counts_idle_seconds_and_wraps() {
        let start = UnixMs(1_700_000_000_000);
        let access = AccessPolicy::Lru.initial(start);
        assert_eq!(idle_seconds(access, start + 5_000), 5);
        assert_eq!(idle_seconds(from_idle_seconds(77, start), start), 77);
        let wrapped = UnixMs((1 << 24) * 1000 - 1000);
        assert_eq!(idle_seconds(AccessPolicy::Lru.initial(wrapped), wrapped + 3_000), 3);
    }

    #[test]
    fn an_lfu_counter_rises_slower_and_slower_and_decays() {
        let policy = AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 };
        let now = UnixMs(1_700_000_000_000);
        let mut rng = Rng::new(1);
        let mut access = policy.initial(now);
        for _ in 0..100 {
            access = policy.touched(access, now, &mut rng);
        }
        let counter = access & 0xff;
        assert!((6..=20).contains(&counter), "{counter}");
        assert_eq!(decayed(access, now + 3 * 60_000, 1), counter - 3);
        assert_eq!(decayed(access, now + 3 * 60_000, 0), counter);
    }
}

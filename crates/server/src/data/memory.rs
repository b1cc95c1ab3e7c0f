//! How much memory is in use, cheaply enough to be asked before every command.
//!
//! The allocator counts what each thread has taken and given back, and to read one's own counters costs
//! two loads. Each thread adds the difference to a shared sum, in steps, so that the sum is written
//! rarely. What threads allocate that don't take part, and what the allocator counts otherwise, is the
//! difference between that sum and the allocator's own statistics; the upkeep thread samples it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tikv_jemalloc_ctl::thread;
use tikv_jemalloc_ctl::thread::ThreadLocal;

use crate::admin::memory::Allocator;

/// A thread tells when it has taken or given back so many bytes.
const STEP: i64 = 1024;

/// What the threads together know of the memory in use.
#[derive(Default)]
pub struct Memory {
    /// What threads have told: taken minus given back.
    told: AtomicI64,
    /// What is in use besides, as last sampled.
    besides: AtomicI64,
    /// What the last regular sample was.
    sampled: AtomicI64,
    /// `used_memory_peak`: the most that was ever sampled, bytes.
    peak: AtomicU64,
}

impl Memory {
    /// `used_memory`: bytes that are allocated now.
    #[inline]
    pub fn used(&self) -> u64 {
        let sum = self.told.load(Ordering::Relaxed) + self.besides.load(Ordering::Relaxed);
        u64::try_from(sum).unwrap_or(0)
    }

    /// The most that was ever in use, bytes.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed).max(self.used())
    }

    /// Asks the allocator how much is in use, for somebody who wants to know it now; takes some microseconds.
    pub fn sample(&self) {
        self.besides.store(self.besides_now(), Ordering::Relaxed);
    }

    /// The same, regularly. A sample has what a thread has taken and is about to tell in it a second time; so of two
    /// that follow each other the smaller counts.
    pub fn sample_regularly(&self) {
        self.settle(self.besides_now());
    }

    fn settle(&self, besides: i64) {
        let before = self.sampled.swap(besides, Ordering::Relaxed);
        self.besides.store(besides.min(before), Ordering::Relaxed);
    }

    fn besides_now(&self) -> i64 {
        // Without jemalloc (tests of the library) there is nothing to ask, and nothing is in use.
        let Allocator { allocated, cached, .. } = Allocator::sample();
        let allocated = allocated.saturating_sub(cached);
        self.peak.fetch_max(allocated, Ordering::Relaxed);
        allocated as i64 - self.told.load(Ordering::Relaxed)
    }

    /// Starts the peak anew (CONFIG RESETSTAT).
    pub fn reset_peak(&self) {
        self.peak.store(self.used(), Ordering::Relaxed);
    }

    /// Counts bytes as given back that another thread is about to free.
    pub fn forgive(&self, bytes: usize) {
        self.told.fetch_sub(bytes as i64, Ordering::Relaxed);
    }
}

/// One thread's own count. It belongs to the thread that made it and can't be sent to another.
pub struct Meter {
    counters: Option<(ThreadLocal<u64>, ThreadLocal<u64>)>,
    told: i64,
}

impl Meter {
    /// The calling thread's meter, which has nothing to tell yet.
    pub fn new() -> Meter {
        let counters = thread::allocatedp::read().and_then(|taken| Ok((taken, thread::deallocatedp::read()?))).ok();
        let mut meter = Meter { counters, told: 0 };
        meter.restart();
        meter
    }

    /// What the thread has taken minus what it has given back, ever.
    #[inline]
    fn net(&self) -> i64 {
        self.counters.map_or(0, |(taken, given)| taken.get().wrapping_sub(given.get()) as i64)
    }

    /// Leaves everything up to now to the next sample: a meter that was not looked at for long may have
    /// been sampled meanwhile.
    pub fn restart(&mut self) {
        self.told = self.net();
    }

    /// Tells what has changed, however little: a sample that is taken now would count it a second time.
    pub fn tell(&mut self, memory: &Memory) {
        let untold = self.net() - self.told;
        self.told += untold;
        memory.told.fetch_add(untold, Ordering::Relaxed);
    }

    /// Tells what has changed, if it is worth it; returns how much memory is in use.
    #[inline]
    pub fn used(&mut self, memory: &Memory) -> u64 {
        let untold = self.net() - self.told;
        if untold.abs() < STEP {
            return memory.used().saturating_add_signed(untold);
        }
        self.told += untold;
        memory.told.fetch_add(untold, Ordering::Relaxed);
        memory.used()
    }
}

impl Default for Meter {
    fn default() -> Meter {
        Meter::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_what_was_told_and_what_was_sampled_besides() {
        let memory = Memory::default();
        memory.told.store(1000, Ordering::Relaxed);
        memory.besides.store(500, Ordering::Relaxed);
        assert_eq!((memory.used(), memory.peak()), (1500, 1500));
        memory.forgive(2000);
        assert_eq!(memory.used(), 0, "never below nothing");
    }

    #[test]
    fn a_sample_that_stands_out_counts_for_nothing() {
        let memory = Memory::default();
        let used = [100, 100, 16_484, 100, 300, 300].map(|besides| {
            memory.settle(besides);
            memory.used()
        });
        assert_eq!(used, [0, 100, 100, 100, 100, 300]);
    }
}

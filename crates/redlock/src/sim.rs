//! Servers, clients and a network in one thread, drawn from a seed, with faults, and checkers for what must be true.
//!
//! - `node.rs` is a server, modelled: what the driver's scripts do, a clock of its own, memory that it may lose;
//! - `world.rs` is the heap of events, the connections, the drivers of the machines and what holders do;
//! - `checks.rs` holds what must be true, one function for each property;
//! - `swarm.rs` draws a deployment and its faults from a seed, heals it in the end and demands that nobody is stuck.
//!
//! The driver's tests ask a real server the same questions as the model (`driver/conformance.rs`), so that the model is known to
//! be one.

mod checks;
pub(crate) mod node;
mod swarm;
mod world;

/// Bugs that the checkers must catch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A majority that comes when the lock's time is over counts.
    NoValidityCheck,
    /// An extension locks what is not locked any more.
    ExtendsBySetNx,
    /// A majority of those who answer is enough.
    MajorityOfAnswering,
    /// A release removes whatever lock is there.
    ReleasesWithoutToken,
    /// The greatest counter is taken for the token and not written back.
    ForgetsToRaise,
    /// A server that has lost its memory grants locks at once.
    SkipsQuarantine,
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::Planted;
    use super::swarm::{Outcome, run};

    /// The seeds that a test run tries; `SIM_SEEDS=1000000 cargo test -p quorate-redlock` tries more.
    fn seeds() -> Range<u64> {
        quorate_stdx::seeds(10_000)
    }

    fn count() -> u64 {
        seeds().end - seeds().start
    }

    #[test]
    fn nothing_breaks_under_faults_and_nobody_is_stuck_when_they_end() {
        let share = |skip| seeds().skip(skip).step_by(2);
        // Most machines have two cores, and seeds know nothing of each other.
        let mut sum = Outcome::default();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| run_all(share(1)));
            sum.add(&run_all(share(0)));
            sum.add(&other.join().unwrap());
        });
        println!("{} seeds: {sum:?}", count());
        if count() >= 1000 {
            assert!(sum.reaches_all(), "something was never seen: {sum:?}");
        }
    }

    fn run_all(seeds: impl Iterator<Item = u64>) -> Outcome {
        let mut sum = Outcome::default();
        for seed in seeds {
            match run(seed, None, false) {
                Ok(outcome) => sum.add(&outcome),
                Err(violation) => {
                    panic!("seed {seed}: {violation}\nreplay: SIM_SEED={seed} SIM_SEEDS=1, trace: SIM_TRACE={seed}")
                }
            }
        }
        sum
    }

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        for seed in [1, 2, 3, 500, 1_000_000] {
            let trace = || run(seed, None, true).unwrap().trace;
            let (first, second) = (trace(), trace());
            assert!(first.lines().count() > 50, "seed {seed} does too little to be a test");
            assert!(first == second, "seed {seed} gives two traces");
        }
    }

    /// Prints one seed's trace: `SIM_TRACE=7 cargo test -p quorate-redlock prints -- --nocapture`.
    #[test]
    fn a_named_seed_prints_its_trace() {
        if let Some(seed) = std::env::var("SIM_TRACE").ok().and_then(|seed| seed.parse().ok()) {
            match run(seed, None, true) {
                Ok(outcome) => println!("{}", outcome.trace),
                Err(violation) => println!("{violation}"),
            }
        }
    }

    /// Each checker is shown to see: with the bug in place some seed must fail, and say so in these words.
    fn is_caught(bug: Planted, property: &str) {
        let caught = (0..count()).find_map(|seed| run(seed, Some(bug), false).err().map(|violation| (seed, violation)));
        let Some((seed, violation)) = caught else { panic!("{bug:?} was not caught by {} seeds", count()) };
        assert!(violation.contains(property), "{bug:?}, seed {seed}, was caught as something else: {violation}");
        println!("{bug:?}: seed {seed}: {violation}");
    }

    #[test]
    fn a_majority_that_comes_too_late_is_caught() {
        is_caught(Planted::NoValidityCheck, "its time is over");
    }

    #[test]
    fn an_extension_that_locks_is_caught() {
        is_caught(Planted::ExtendsBySetNx, "revived");
    }

    #[test]
    fn a_majority_of_those_who_answer_is_caught() {
        is_caught(Planted::MajorityOfAnswering, "both hold");
    }

    #[test]
    fn a_release_that_looks_at_no_token_is_caught() {
        is_caught(Planted::ReleasesWithoutToken, "both hold");
    }

    #[test]
    fn a_token_that_is_not_written_back_is_caught() {
        is_caught(Planted::ForgetsToRaise, "token");
    }

    #[test]
    fn a_server_that_forgot_and_grants_at_once_is_caught() {
        is_caught(Planted::SkipsQuarantine, "both hold");
    }
}

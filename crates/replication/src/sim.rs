//! A whole deployment in one thread: machines, a network that misbehaves, crashes, and checkers.
//!
//! - `world.rs` is the heap of events and the drivers of all nodes;
//! - `node.rs` is one server's data plane, modelled: a dataset is a set of write numbers, the log is a list
//!   of entries whose prefix is known by a hash;
//! - `net.rs` carries messages in order within a connection, with delays, cuts and partitions between them;
//! - `checks.rs` holds what must be true, one function per property;
//! - `swarm.rs` draws a deployment and its faults from a seed, heals it in the end and demands convergence.
//!
//! Requests and replies cross the network as the bytes of `wire.rs`. The interaction traces (`trace.rs`) run on
//! the same world.

pub(crate) mod checks;
pub(crate) mod net;
pub(crate) mod node;
pub(crate) mod swarm;
pub(crate) mod world;

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::swarm::{run, run_traced};
    use crate::config::Planted;

    /// The seeds that a test run tries; `SIM_SEEDS=100000 cargo test -p quorate-replication` tries more.
    fn seeds() -> Range<u64> {
        quorate_stdx::seeds(3000)
    }

    fn count() -> u64 {
        seeds().end - seeds().start
    }

    #[test]
    fn nothing_breaks_under_faults_and_all_converge_when_they_end() {
        for seed in seeds() {
            if let Err(violation) = run(seed, None) {
                panic!("seed {seed}: {violation}\nreplay: SIM_SEED={seed} SIM_SEEDS=1, trace: SIM_TRACE={seed}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        for seed in [1, 2, 3, 500, 1_000_000] {
            let (first, second) = (run_traced(seed, None).1, run_traced(seed, None).1);
            assert!(first.lines().count() > 100, "seed {seed} does too little to be a test");
            assert!(first == second, "seed {seed} gives two traces");
        }
    }

    /// What the seeds never reach they can't test.
    #[test]
    fn the_seeds_reach_every_corner_that_has_a_name() {
        let traces: String = (0..600).map(|seed| run_traced(seed, None).1).collect();
        let corners = [
            "Diverged",
            "ForeignHistory",
            "Trimmed",
            "Ahead",
            "Continues",
            "Refuse",
            "KeepAlive",
            "HistoryChanged",
            "DataReplaced",
            "RoleChanged",
            "Silent",
            "Stuck",
            "SnapshotFailed",
            "TimedOut",
            "Met",
            "BacklogReleased",
            "GoodReplicas",
            "OfferRefused",
            "Empty",
            "StartedEmpty",
            "Shrunk",
            "AbortLoad",
            "Failover(Synced",
            "Failover(Forced",
            "Failover(Aborted",
            "Failover(Unanswered",
            "Failover(Done",
            "Failover(Received",
            "rejected psync",
            "Continued { renamed: Some",
            "Continued { renamed: None",
            "phase: Loading",
            "phase: Receiving",
            "phase: Handshake",
            "phase: Awaiting",
            "phase: Connecting",
        ];
        let missed: Vec<_> = corners.iter().filter(|corner| !traces.contains(**corner)).collect();
        assert!(missed.is_empty(), "never seen: {missed:?}");
    }

    /// Prints one seed's trace: `SIM_TRACE=7 cargo test -p quorate-replication prints -- --nocapture`.
    #[test]
    fn a_named_seed_prints_its_trace() {
        if let Some(seed) = std::env::var("SIM_TRACE").ok().and_then(|seed| seed.parse().ok()) {
            let (outcome, trace) = run_traced(seed, None);
            println!("{trace}{outcome:?}");
        }
    }

    /// Each checker is shown to see: with the bug in place some seed must fail, and say so in these words.
    fn is_caught(bug: Planted, property: &str) {
        let caught = (0..count()).find_map(|seed| run(seed, Some(bug)).err().map(|violation| (seed, violation)));
        let Some((seed, violation)) = caught else { panic!("{bug:?} was not caught by {} seeds", count()) };
        assert!(violation.contains(property), "{bug:?}, seed {seed}, was caught as something else: {violation}");
    }

    #[test]
    fn a_promotion_that_keeps_the_old_id_is_caught() {
        is_caught(Planted::KeepsIdOnPromotion, "prefix");
    }

    #[test]
    fn a_forgotten_limit_of_the_previous_history_is_caught() {
        is_caught(Planted::ForgetsTheLimit, "prefix");
    }

    #[test]
    fn an_acknowledgement_that_was_never_given_is_caught() {
        is_caught(Planted::CountsUnacknowledged, "WAIT");
    }

    #[test]
    fn emptiness_that_is_loaded_is_caught() {
        is_caught(Planted::LoadsEmptiness, "empty");
    }
}

//! A whole cluster in one thread: machines, a network that misbehaves, crashes that lose what was not written, and
//! checkers.
//!
//! - `world.rs` is the heap of events, the network and the drivers of all nodes;
//! - `membership.rs` lets nodes join and leave;
//! - `transfers.rs` moves slots, with keys that are counted;
//! - `checks.rs` holds what must be true;
//! - `large.rs` measures how a large cluster fares;
//! - `swarm.rs` draws a cluster and its faults from a seed, heals it in the end and demands convergence.

mod checks;
mod large;
mod membership;
mod swarm;
mod transfers;
mod world;

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::swarm::{run, run_traced, run_transfers, time_to_recover};
    use super::world::Fault;
    use crate::config::Planted;

    /// The seeds that a test run tries; `SIM_SEEDS=10000 cargo test -p quorate-cluster` tries more.
    fn seeds() -> Range<u64> {
        quorate_stdx::seeds(60)
    }

    /// What comes of each seed, in their order, played on all processors.
    fn play<T: Send>(seeds: Range<u64>, play: impl Fn(u64) -> T + Sync) -> Vec<(u64, T)> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut outcomes: Vec<(u64, T)> = std::thread::scope(|scope| {
            let part = |first| {
                let (seeds, play) = (seeds.clone().skip(first).step_by(processors), &play);
                scope.spawn(move || seeds.map(|seed| (seed, play(seed))).collect::<Vec<_>>())
            };
            let parts: Vec<_> = (0..processors).map(part).collect();
            parts.into_iter().flat_map(|part| part.join().expect("a seed has panicked")).collect()
        });
        outcomes.sort_by_key(|(seed, _)| *seed);
        outcomes
    }

    #[test]
    fn nothing_breaks_under_faults_and_all_agree_when_they_end() {
        for (seed, outcome) in play(seeds(), |seed| run(seed, None)) {
            if let Err(violation) = outcome {
                panic!("seed {seed}: {violation}\nreplay: SIM_SEED={seed} SIM_SEEDS=1, trace: SIM_TRACE={seed}");
            }
        }
    }

    #[test]
    fn nothing_breaks_while_slots_move_no_write_is_lost_and_none_doubled() {
        let (mut successes, mut failures) = (0, 0);
        // They are half as many, because they find less each.
        let seeds = seeds();
        let seeds = seeds.start..seeds.end - (seeds.end - seeds.start) / 2;
        for (seed, outcome) in play(seeds, |seed| run_transfers(seed, false, None)) {
            if let Err(violation) = outcome.result {
                panic!("seed {seed}: {violation}\nreplay: SIM_SEED={seed} SIM_SEEDS=1, trace: SIM_TRANSFERS={seed}");
            }
            successes += outcome.endings.0;
            failures += outcome.endings.1;
        }
        assert!(successes > 0 && failures > 0, "{successes} successes, {failures} failures: it tests too little");
    }

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        for seed in [1, 500] {
            let (first, second) = (run_traced(seed, None).1, run_traced(seed, None).1);
            assert!(first.lines().count() > 100, "seed {seed} does too little to be a test");
            assert!(first == second, "seed {seed} gives two traces");
        }
    }

    /// What the seeds never reach they can't test.
    #[test]
    fn the_seeds_reach_every_corner_that_has_a_name() {
        let traces: String = (0..100).map(|seed| run_traced(seed, None).1).collect();
        let corners = [
            "ElectionWon",
            "VoteGranted",
            "VoteDenied",
            "ProcessGone",
            "Suspected",
            "FailedSays",
            "ClearedReplica",
            "Reconfigured",
            "StateChanged { is_ok: false",
            "ElectionExpired",
            "ManualCanStart",
            "DataPlaneHangs",
            "CameBackEmpty",
            "Update",
            "Join",
            "Leave",
            "HandshakeDone",
            "Forgotten",
        ];
        let missed: Vec<_> = corners.iter().filter(|corner| !traces.contains(**corner)).collect();
        assert!(missed.is_empty(), "never seen: {missed:?}");
    }

    /// Prints one seed's trace: `SIM_TRACE=7 cargo test -p quorate-cluster prints -- --nocapture`; SIM_TRANSFERS
    /// for one of those that move slots.
    #[test]
    fn a_named_seed_prints_its_trace() {
        if let Some(seed) = std::env::var("SIM_TRACE").ok().and_then(|seed| seed.parse().ok()) {
            let (outcome, trace) = run_traced(seed, None);
            println!("{trace}{outcome:?}");
        }
        if let Some(seed) = std::env::var("SIM_TRANSFERS").ok().and_then(|seed| seed.parse().ok()) {
            let outcome = run_transfers(seed, true, None);
            println!("{}{:?}", outcome.trace, outcome.result);
        }
    }

    #[test]
    fn a_process_that_dies_is_replaced_long_before_the_node_timeout() {
        for seed in 0..10 {
            let took = time_to_recover(seed, crate::Config::default().node_timeout, 1, Fault::Crash(0));
            assert!(took < std::time::Duration::from_millis(300), "seed {seed}: {took:?}");
        }
    }

    /// With two replicas, which have to agree on who asks.
    #[test]
    fn a_machine_that_falls_silent_is_replaced_within_twice_the_node_timeout() {
        for seed in 0..20 {
            let took = time_to_recover(seed, std::time::Duration::from_secs(1), 2, Fault::PowerOff(0));
            assert!(took < std::time::Duration::from_secs(2), "seed {seed}: {took:?}");
        }
    }

    #[test]
    fn slots_that_were_granted_to_a_node_which_dies_are_somebodys_as_soon_as_its_replica_leads() {
        for seed in 0..10 {
            let took = super::swarm::time_to_settle_a_grant(seed);
            assert!(took < std::time::Duration::from_millis(300), "seed {seed}: {took:?}");
        }
    }

    #[test]
    fn a_node_looks_around_rarely_while_nothing_happens_and_often_when_something_does() {
        let (wakes, next) = super::swarm::wakes_of_a_calm_node(1);
        assert!(wakes < 200, "{wakes} times a minute");
        assert!(next <= crate::cluster::TICK, "{next:?}");
    }

    /// Each checker is shown to see: with the bug in place some seed must fail, and say so in these words.
    fn is_caught(bug: Planted, property: &str) {
        let tried = (seeds().end - seeds().start).max(4000);
        let caught = (0..tried).find_map(|seed| run(seed, Some(bug)).err().map(|violation| (seed, violation)));
        let Some((seed, violation)) = caught else { panic!("{bug:?} was not caught by {tried} seeds") };
        assert!(violation.contains(property), "{bug:?}, seed {seed}, was caught as something else: {violation}");
    }

    #[test]
    fn a_second_vote_in_an_epoch_is_caught() {
        is_caught(Planted::VotesTwice, "voted");
    }

    #[test]
    fn a_candidate_without_a_majority_is_caught() {
        is_caught(Planted::WinsWithOneVote, "votes");
    }

    #[test]
    fn a_claim_with_an_old_epoch_is_caught() {
        is_caught(Planted::BelievesOldClaims, "older epoch");
    }

    /// Prints how a large cluster fares, and draws it into the file SIM_SVG: `cargo xtask cluster large`.
    #[test]
    fn a_large_cluster_agrees_on_a_failure_and_settles_after_a_cut() {
        let nodes = std::env::var("SIM_NODES").ok().and_then(|nodes| nodes.parse().ok()).unwrap_or(20);
        let report = super::large::report(nodes, 1).expect("it settles");
        println!("{}", report.text);
        assert!(report.svg.contains("<polyline") && report.svg.ends_with("</svg>\n"));
        if let Some(path) = std::env::var_os("SIM_SVG") {
            std::fs::write(&path, &report.svg).expect("the plot's place can be written to");
            println!("drawn: {}", path.display());
        }
        let timeout = crate::Config::default().node_timeout;
        assert!(report.crash < std::time::Duration::from_secs(1), "{:?}", report.crash);
        assert!(report.silence < timeout * 3, "{:?}", report.silence);
        assert!(report.settled < timeout * 3, "{:?}", report.settled);
    }

    /// The same where slots move.
    fn is_caught_when_slots_move(bug: Planted) {
        let violation = (0..4000).find_map(|seed| run_transfers(seed, false, Some(bug)).result.err());
        let Some(violation) = violation else { panic!("{bug:?} was not caught") };
        assert!(violation.contains("that were acknowledged"), "{bug:?} was caught as something else: {violation}");
    }

    #[test]
    fn a_write_to_slots_that_are_being_handed_over_is_caught() {
        is_caught_when_slots_move(Planted::HoldsNothing);
    }

    #[test]
    fn a_grant_that_a_crash_made_forgotten_is_caught() {
        is_caught_when_slots_move(Planted::ForgetsGrants);
    }

    #[test]
    fn a_claim_that_nobody_had_heard_of_before_a_crash_is_caught() {
        is_caught_when_slots_move(Planted::ForgetsClaims);
    }

    #[test]
    fn a_write_to_slots_that_may_have_been_taken_is_caught() {
        is_caught_when_slots_move(Planted::WritesInDoubt);
    }
}

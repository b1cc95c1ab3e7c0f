//! A whole deployment in one thread: Sentinels as they are, servers and clients as models, a network and disks that
//! misbehave, and checkers.
//!
//! - `server.rs` models a server: its role, how far its stream is, what it answers to a Sentinel;
//! - `world.rs` is the heap of events, the network, and the drivers of the machines, whose disks take their time;
//! - `checks.rs` holds what must be true, one function per property;
//! - `swarm.rs` draws a deployment and its faults from a seed, heals it in the end and demands that all agree.
//!
//! Requests, replies, hellos and INFO cross the network as the texts of `wire.rs`, `hello.rs` and `info.rs`.

mod checks;
mod server;
mod swarm;
mod world;

/// Bugs that the checkers must catch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A vote is told before it is on disk.
    VotesBeforePersist,
    /// A second vote in the same epoch.
    VotesTwice,
    /// The majority of those that can be reached is enough.
    MajorityOfLive,
}

mod tests {
    use super::Planted;
    use super::swarm::{run, run_traced};

    /// `SIM_SEEDS` sets how many seeds are tried, `SIM_SEED` the first; they are shared out among the processors.
    #[test]
    fn nothing_breaks_under_faults_and_all_agree_when_they_end() {
        let all = quorate_stdx::seeds(500);
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
        let failures: Vec<String> = std::thread::scope(|scope| {
            let work = |thread: usize| {
                let mut seeds = all.clone().skip(thread).step_by(threads);
                move || seeds.find_map(|seed| run(seed, None).err().map(|why| format!("seed {seed}: {why}")))
            };
            let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(work(thread))).collect();
            workers.into_iter().filter_map(|worker| worker.join().expect("a seed does not panic")).collect()
        });
        if let Some(failure) = failures.into_iter().next() {
            let seed: u64 = failure.split([' ', ':']).nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
            if std::env::var_os("SIM_TRACE").is_some() {
                println!("{}", run_traced(seed, None).1);
            }
            panic!("{failure}\nreplay with a trace: SIM_SEED={seed} SIM_SEEDS=1 SIM_TRACE=1");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        let mut lines = 0;
        for seed in (0..20).chain([500, 1_000_000]) {
            let (first, second) = (run_traced(seed, None).1, run_traced(seed, None).1);
            lines += first.lines().count();
            assert!(first == second, "seed {seed} gives two traces");
        }
        assert!(lines > 2000, "{lines} lines are too few to be a test");
    }

    /// What the seeds never reach they can't test.
    #[test]
    fn the_seeds_reach_every_corner_that_has_a_name() {
        let traces: String = (0..150).map(|seed| run_traced(seed, None).1).collect();
        for corner in [
            "+sdown",
            "-sdown",
            "+odown",
            "-odown",
            "+new-epoch",
            "+vote-for-leader",
            "+elected-leader",
            "-failover-abort-not-elected",
            "-failover-abort-no-good-slave",
            "-failover-abort-slave-timeout",
            "+promoted-slave",
            "+slave-reconf-sent",
            "+slave-reconf-done",
            "+failover-end ",
            "+switch-master",
            "+config-update-from",
            "+convert-to-slave",
            "+fix-slave-config",
            "+role-change",
            "-role-change",
            "+reboot",
            "+tilt",
            "-tilt",
            "+sentinel ",
            "-config-save-error",
            "is refused by",
            "restarts with its disk",
            "restarts without its disk",
        ] {
            assert!(traces.contains(corner), "no seed reaches {corner}");
        }
    }

    #[test]
    fn every_planted_bug_is_caught() {
        for planted in [Planted::VotesBeforePersist, Planted::VotesTwice, Planted::MajorityOfLive] {
            let caught = (0..2000).find_map(|seed| run(seed, Some(planted)).err().map(|why| (seed, why)));
            let (seed, why) = caught.unwrap_or_else(|| panic!("{planted:?} is never caught"));
            println!("{planted:?}: seed {seed}: {why}");
            assert!(run(seed, None).is_ok(), "seed {seed} fails without the bug too");
        }
    }
}

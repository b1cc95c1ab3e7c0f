//! A day of a server within seconds; `cargo xtask soak` takes its time, and says whether memory and latency stay flat.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use quorate_interop::soak::{Plan, run};

#[test]
fn after_a_day_in_ten_seconds_all_nodes_hold_the_same_within_their_limit() {
    let plan = Plan { lasts: Duration::from_secs(10), max_memory: 24 << 20, longest: 4000, pace: 6000, seed: 3 };
    let outcome = run(&plan, |_| ());
    for (name, figure) in &outcome.figures {
        assert!(*figure > 0, "{name}: {:?}", outcome.figures);
    }
    assert_eq!(outcome.digests.len(), 4);
    assert!(outcome.digests.iter().all(|digest| *digest == outcome.digests[0]), "{:?}", outcome.digests);
    assert!(outcome.verdict.is_within_limit(), "{}", outcome.verdict);
}

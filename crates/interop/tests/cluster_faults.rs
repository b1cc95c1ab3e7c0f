//! The faults that cost the most in a cluster, played once each on hosts of their own, as far as this machine lets us.
//! `cargo xtask faults cluster` plays all of them, and prints what each cost.

use std::time::Duration;

use quorate_interop::faults::are_possible;
use quorate_interop::faults::cluster::{CASES, Plan, Row, run, table};

/// What a primary that sees no majority any more may still take: the node timeout, and what a busy machine adds to it.
const TAKEN_MAX: Duration = Duration::from_millis(2500);

fn play(name: &str) -> Option<Row> {
    if !are_possible() {
        return None;
    }
    let case = CASES.iter().find(|case| case.name == name).expect("there is such a fault");
    let plan = Plan { node_timeout: None, length: Duration::from_secs(4) };
    let row = run(case, &plan).unwrap_or_else(|why| panic!("{name}: {why}"));
    print!("{}", table(std::slice::from_ref(&row)));
    assert_eq!(row.lost.0, 0, "clients that go where they are sent lose nothing");
    Some(row)
}

#[test]
fn a_primary_that_is_cut_off_with_clients_stops_and_is_replaced() {
    if let Some(row) = play("partition") {
        assert!(row.lost_for < TAKEN_MAX, "{row:?}");
    }
}

#[test]
fn a_primary_that_is_back_at_once_with_nothing_makes_nobody_empty() {
    if let Some(row) = play("restart-empty") {
        assert_eq!(row.lost, (0, 0), "{row:?}");
    }
}

#[test]
fn a_replica_that_is_cut_off_changes_nothing() {
    if let Some(row) = play("partition-replica") {
        assert_eq!((row.lost, row.promoted), ((0, 0), None));
    }
}

//! The faults that cost the most under Redis' Sentinels, played once each on hosts of their own, as far as this machine lets us.
//! `cargo xtask faults sentinel` plays all of them, and prints what each cost.

use std::time::Duration;

use quorate_interop::faults::are_possible;
use quorate_interop::faults::sentinel::{CASES, Plan, Row, run, table};

/// What a primary that nobody confirms any more may still take: a term, and what a busy machine adds to it.
const TAKEN_MAX: Duration = Duration::from_millis(600);

fn play(name: &str) -> Option<Row> {
    if !are_possible() {
        return None;
    }
    let case = CASES.iter().find(|case| case.name == name).expect("there is such a fault");
    let plan = Plan { down_after: Duration::from_secs(1), length: Duration::from_secs(3) };
    let row = run(case, &plan).unwrap_or_else(|why| panic!("{name}: {why}"));
    print!("{}", table(std::slice::from_ref(&row)));
    assert_eq!(row.lost.0, 0, "clients that may go elsewhere lose nothing");
    Some(row)
}

#[test]
fn a_primary_that_is_cut_off_with_clients_takes_little_more() {
    if let Some(row) = play("partition") {
        assert!(row.lost_for < TAKEN_MAX, "{row:?}");
    }
}

#[test]
fn a_frozen_primary_takes_nothing_when_it_wakes_up() {
    if let Some(row) = play("freeze") {
        assert!(row.lost_for < TAKEN_MAX, "{row:?}");
    }
}

#[test]
fn a_primary_that_is_back_at_once_with_nothing_takes_nothing() {
    if let Some(row) = play("restart-empty") {
        assert_eq!(row.lost, (0, 0), "{row:?}");
    }
}

#[test]
fn one_sentinel_that_is_cut_off_changes_nothing() {
    if let Some(row) = play("partition-sentinel") {
        assert_eq!((row.lost, row.replaced), ((0, 0), None));
    }
}

//! Real network faults: a deployment with one host a node, each host a network namespace, under faults that no process can
//! be told of.
//!
//! `lan.rs` lays the cables and cuts them, `stage.rs` lets one process run on each host, and `written.rs` holds what clients were
//! told. On that stand the two strategies that fail over by themselves, `sentinel` and `cluster`, each with its deployment,
//! its clients (`writers.rs`), its faults (`cases.rs`), and a table of what came of them.

pub mod cluster;
mod lan;
pub mod sentinel;
mod stage;
mod written;

use std::time::Duration;

use quorate_client::Reply;

pub use lan::Lan;

/// Whether there can be hosts here; if not, a line says so, and why.
pub fn are_possible() -> bool {
    match Lan::lay(2) {
        Ok(_) => true,
        Err(why) => {
            println!("SKIPPED network faults: {why}");
            false
        }
    }
}

fn text(reply: Reply) -> Option<String> {
    match reply {
        Reply::Bulk(text) | Reply::Simple(text) => Some(String::from_utf8_lossy(&text).into_owned()),
        _ => None,
    }
}

/// The median and the longest of some times, in milliseconds; `-` if there are none.
fn median_and_worst(times: impl Iterator<Item = Duration>) -> (String, String) {
    let mut times: Vec<u128> = times.map(|time| time.as_millis()).collect();
    times.sort_unstable();
    let shown = |time: Option<&u128>| time.map_or("-".to_owned(), u128::to_string);
    (shown(times.get(times.len() / 2)), shown(times.last()))
}

//! CLUSTER SLOT-STATS: what each slot that is served here holds, and with `cluster-slot-stats-enabled` what it costs.

use quorate_commands::{Args, CommandError, Outcome};
use quorate_keyspace::{Db, Slot};

use super::{error, node, slot};
use crate::data::call::Cx;

/// What is counted, by its name; the first of them always.
const METRICS: [&str; 4] = ["key-count", "cpu-usec", "network-bytes-in", "network-bytes-out"];

/// A slot with its counts, as far as they are kept.
type Row = (u16, [u64; METRICS.len()]);

/// SLOTSRANGE first last, or ORDERBY metric [LIMIT count] [ASC|DESC]
pub(super) fn slot_stats(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    node(cx.server)?;
    let kept = if cx.local.published.slot_load.is_some() { METRICS.len() } else { 1 };
    let rows = if args.is(2, "slotsrange") && args.len() == 5 {
        let (first, last) = (slot(args, 3)?, slot(args, 4)?);
        if first > last {
            return Err(error(format!("Start slot number {first} is greater than end slot number {last}")));
        }
        rows(cx, first, last)?
    } else if args.is(2, "orderby") {
        ordered(cx, args, kept)?
    } else {
        return Err(CommandError::Syntax);
    };
    let mut reply = cx.reply();
    reply.array(rows.len());
    for (slot, counts) in rows {
        reply.array(2);
        reply.count(usize::from(slot));
        reply.map(kept);
        for (metric, count) in METRICS.iter().zip(counts).take(kept) {
            reply.bulk(metric.as_bytes());
            reply.int(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
    Ok(())
}

/// The slots of a range that are served here.
fn rows(cx: &mut Cx<'_, '_>, first: u16, last: u16) -> Result<Vec<Row>, CommandError> {
    let routing = cx.server.published().cluster.clone().ok_or(super::DISABLED)?;
    let load = cx.local.published.slot_load.clone();
    let mut view = cx.view(std::iter::empty());
    let served = (first..=last).filter(|slot| routing.map.is_held_here(*slot));
    let row = |number: u16| {
        let slot = Slot::new(usize::from(number))?;
        let keys = view.count_in(Db(0), slot) as u64;
        let load = load.as_ref().map(|load| load.of(slot)).unwrap_or_default();
        Some((number, [keys, load.nanos / 1000, load.bytes_in, load.bytes_out]))
    };
    Ok(served.filter_map(row).collect())
}

fn ordered(cx: &mut Cx<'_, '_>, args: Args<'_>, kept: usize) -> Result<Vec<Row>, CommandError> {
    let Some(metric) = (0..kept).find(|metric| args.is(3, METRICS[*metric])) else {
        return Err(error("Unrecognized sort metric for ORDERBY."));
    };
    let (mut limit, mut ascends) = (usize::from(quorate_cluster::SLOTS), false);
    let mut at = 4;
    while at < args.len() {
        if args.is(at, "limit") && at + 1 < args.len() {
            let given = args.int(at + 1).ok().and_then(|given| usize::try_from(given).ok());
            let most = usize::from(quorate_cluster::SLOTS);
            let given = given.filter(|given| (1..=most).contains(given));
            limit = given.ok_or_else(|| error("Limit has to lie in between 1 and 16384 (maximum number of slots)."))?;
            at += 2;
        } else if args.is(at, "asc") || args.is(at, "desc") {
            ascends = args.is(at, "asc");
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let mut rows = rows(cx, 0, quorate_cluster::SLOTS - 1)?;
    // Of equals the smaller slot comes first.
    match ascends {
        true => rows.sort_by_key(|(_, counts)| counts[metric]),
        false => rows.sort_by_key(|(_, counts)| std::cmp::Reverse(counts[metric])),
    }
    rows.truncate(limit);
    Ok(rows)
}

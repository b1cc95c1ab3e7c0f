//! CLUSTER SLOT-STATS: what each slot that is served here holds. Keys are what is counted; processor time and traffic of slots
//! are not, as with `cluster-slot-stats-enabled no`.

use quorate_commands::{Args, CommandError, Outcome};
use quorate_keyspace::{Db, Slot};

use super::{error, node, slot};
use crate::data::call::Cx;

/// SLOTSRANGE first last, or ORDERBY key-count [LIMIT count] [ASC|DESC]
pub(super) fn slot_stats(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    node(cx.server)?;
    let stats = if args.is(2, "slotsrange") && args.len() == 5 {
        let (first, last) = (slot(args, 3)?, slot(args, 4)?);
        if first > last {
            return Err(error(format!("Start slot number {first} is greater than end slot number {last}")));
        }
        counts(cx, first, last)?
    } else if args.is(2, "orderby") {
        ordered(cx, args)?
    } else {
        return Err(CommandError::Syntax);
    };
    let mut reply = cx.reply();
    reply.array(stats.len());
    for (slot, count) in stats {
        reply.array(2);
        reply.count(usize::from(slot));
        reply.map(1);
        reply.bulk(b"key-count");
        reply.count(count);
    }
    Ok(())
}

/// How many keys there are in each slot of a range that is served here.
fn counts(cx: &mut Cx<'_, '_>, first: u16, last: u16) -> Result<Vec<(u16, usize)>, CommandError> {
    let routing = cx.server.published().cluster.clone().ok_or(super::DISABLED)?;
    let mut view = cx.view(std::iter::empty());
    let served = (first..=last).filter(|slot| routing.map.is_held_here(*slot));
    let count = |number: u16| Some((number, view.count_in(Db(0), Slot::new(usize::from(number))?)));
    Ok(served.filter_map(count).collect())
}

fn ordered(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Result<Vec<(u16, usize)>, CommandError> {
    if !args.is(3, "key-count") {
        return Err(error("Unrecognized sort metric for ORDERBY."));
    }
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
    let mut stats = counts(cx, 0, quorate_cluster::SLOTS - 1)?;
    // Of equals the smaller slot comes first.
    match ascends {
        true => stats.sort_by_key(|(_, count)| *count),
        false => stats.sort_by_key(|(_, count)| std::cmp::Reverse(*count)),
    }
    stats.truncate(limit);
    Ok(stats)
}

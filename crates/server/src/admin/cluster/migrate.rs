//! Slots that move with all that they hold: MIGRATESLOTS, GETSLOTMIGRATIONS and CANCELSLOTMIGRATIONS for operators, in the
//! words of Valkey 9, and SYNCSLOTS, in which the two nodes speak.

use quorate_cluster::{Answer, Epoch, NodeId, Order, Slots, TransferId};
use quorate_commands::{Args, CommandError, Outcome};
use quorate_keyspace::{Db, Slot};

use super::{error, node, order::give, slot};
use crate::data::call::Cx;
use crate::data::client::{Kind, ReplyMode};

/// SLOTSRANGE start end [start end ...] NODE id [SLOTSRANGE ... NODE id ...]
pub(super) fn begin(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    node(cx.server)?;
    let mut offers: Vec<(Slots, NodeId)> = Vec::new();
    let mut at = 2;
    while at < args.len() {
        if !args.is(at, "slotsrange") {
            return Err(CommandError::Syntax);
        }
        let (slots, next) = ranges(args, at + 1)?;
        if !args.is(next, "node") || next + 1 >= args.len() {
            return Err(CommandError::Syntax);
        }
        let shown = String::from_utf8_lossy(args.at(next + 1)).into_owned();
        let to = NodeId::parse(args.at(next + 1)).ok_or_else(|| error(format!("Invalid node name: {shown}")))?;
        if offers.iter().any(|(known, _)| slots.iter().any(|slot| known.has(slot))) {
            return Err(error("Slot ranges in migrations overlap"));
        }
        offers.push((slots, to));
        at = next + 2;
    }
    give(cx, Order::Give(offers))
}

/// Pairs of first and last slots from `at` on, and the index of what follows them.
fn ranges(args: Args<'_>, mut at: usize) -> Result<(Slots, usize), CommandError> {
    let mut slots = Slots::none();
    let mut known: Vec<(u16, u16)> = Vec::new();
    while at < args.len() && args.int(at).is_ok() {
        let first = slot(args, at)?;
        if at + 1 >= args.len() || args.is(at + 1, "node") {
            return Err(error("No end slot for final slot range"));
        }
        let last = slot(args, at + 1)?;
        if first > last {
            return Err(error(format!("Start slot number {first} is greater than end slot number {last}")));
        }
        if let Some((from, to)) = known.iter().find(|(from, to)| first <= *to && last >= *from) {
            return Err(error(format!("Slot range {first}-{last} overlaps with previous range {from}-{to}")));
        }
        known.push((first, last));
        (first..=last).for_each(|slot| _ = slots.insert(slot));
        at += 2;
    }
    match known.is_empty() {
        true => Err(error("No slot ranges specified")),
        false => Ok((slots, at)),
    }
}

pub(super) fn cancel(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    node(cx.server)?;
    give(cx, Order::CancelGiving)
}

pub(super) fn list(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let views = node(cx.server)?.look(|machine| machine.transfers());
    let mut reply = cx.reply();
    reply.array(views.len());
    for view in views {
        let ranges = view.slots.ranges().iter().map(|(first, last)| format!("{first}-{last}")).collect::<Vec<_>>();
        reply.map(12);
        let mut text = |name: &str, value: &[u8]| {
            reply.bulk(name.as_bytes());
            reply.bulk(value);
        };
        text("name", &view.id.digits());
        text("operation", if view.exports { b"EXPORT" } else { b"IMPORT" });
        text("slot_ranges", ranges.join(" ").as_bytes());
        text("target_node", &view.target.digits());
        text("source_node", &view.source.digits());
        let mut number = |name: &str, value: i64| {
            reply.bulk(name.as_bytes());
            reply.int(value);
        };
        number("create_time", view.created.seconds());
        number("last_update_time", view.updated.seconds());
        number("last_ack_time", view.heard.seconds());
        let mut text = |name: &str, value: &[u8]| {
            reply.bulk(name.as_bytes());
            reply.bulk(value);
        };
        text("state", view.state.as_bytes());
        text("message", view.message.as_bytes());
        let mut number = |name: &str, value: i64| {
            reply.bulk(name.as_bytes());
            reply.int(value);
        };
        // Nothing is copied on write here: there is no fork.
        number("cow_size", 0);
        number("remaining_repl_size", i64::try_from(view.behind).unwrap_or(i64::MAX));
    }
    Ok(())
}

/// Whether what the source says changes what clients see.
pub(super) fn needs_alone(args: Args<'_>) -> bool {
    args.is(2, "establish") || args.is(2, "verdict")
}

/// SYNCSLOTS ESTABLISH|VERDICT name source SLOTSRANGE ..., MARK, TAKE name epoch
pub(super) fn sync(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    node(cx.server)?;
    if args.is(2, "mark") && args.len() == 3 {
        if cx.session.import.is_none() {
            return Err(error("There is no such migration"));
        }
        cx.reply().ok();
        return Ok(());
    }
    let id = || args.get(3).and_then(TransferId::parse).ok_or(CommandError::Syntax);
    if args.is(2, "take") && args.len() == 5 {
        let epoch = args.int(4).ok().and_then(|epoch| u64::try_from(epoch).ok()).ok_or(CommandError::Syntax)?;
        return take(cx, id()?, Epoch(epoch));
    }
    let asks = args.is(2, "verdict");
    if !(asks || args.is(2, "establish")) || args.len() < 8 || !args.is(5, "slotsrange") {
        return Err(CommandError::Syntax);
    }
    let from = NodeId::parse(args.at(4)).ok_or(CommandError::Syntax)?;
    let (slots, end) = ranges(args, 6)?;
    if end != args.len() {
        return Err(CommandError::Syntax);
    }
    if asks {
        return give(cx, Order::Verdict { id: id()?, from, slots });
    }
    establish(cx, id()?, from, slots)
}

/// From here on the connection may write to the slots, and its requests are answered only if they are SYNCSLOTS.
fn establish(cx: &mut Cx<'_, '_>, id: TransferId, from: NodeId, slots: Slots) -> Outcome {
    if cx.session.kind != Kind::Normal {
        return Err(error("This connection serves another purpose"));
    }
    let mut view = cx.view(std::iter::empty());
    let numbers = slots.iter().filter_map(|slot| Slot::new(usize::from(slot)));
    let is_empty = numbers.into_iter().all(|slot| view.count_in(Db(0), slot) == 0);
    drop(view);
    give(cx, Order::Take { id, from, slots, is_empty })?;
    cx.session.kind = Kind::Importer;
    cx.session.import = Some(id);
    cx.session.replies = ReplyMode::Off;
    Ok(())
}

/// If the slots are taken, that is told to the whole cluster once it is written down, and not here.
fn take(cx: &mut Cx<'_, '_>, id: TransferId, epoch: Epoch) -> Outcome {
    if cx.session.import != Some(id) {
        return Err(error("There is no such migration"));
    }
    match node(cx.server)?.order_later(cx.server, Order::Granted { id, epoch }) {
        Answer::Outdated(epoch) => Err(CommandError::Bytes(format!("EPOCH {epoch}").into_bytes())),
        Answer::Refused(why) => Err(error(why)),
        Answer::Ok | Answer::Word(_) => Ok(()),
    }
}

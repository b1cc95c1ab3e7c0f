//! What changes something: each is parsed here and decided by the machine.

use quorate_cluster::{Address, Answer, NodeId, Order, SlotOrder, Slots};
use quorate_commands::{Args, CommandError, Outcome};
use quorate_keyspace::{Db, Slot};

use super::{error, node, slot};
use crate::data::call::Cx;

pub(super) fn give(cx: &mut Cx<'_, '_>, order: Order) -> Outcome {
    let answer = node(cx.server)?.order(cx.server, cx.access.alone(), order);
    // What follows in this turn must see it.
    cx.local.published = cx.server.published();
    match answer {
        Answer::Ok => cx.reply().ok(),
        Answer::Word(word) => cx.reply().simple(&word),
        Answer::Outdated(epoch) => return Err(error(format!("Epoch {epoch} is as great"))),
        Answer::Refused(why) => return Err(error(why)),
    }
    Ok(())
}

/// The node that an argument names.
fn named(args: Args<'_>, index: usize, otherwise: &str) -> Result<NodeId, CommandError> {
    let name = args.at(index);
    NodeId::parse(name).ok_or_else(|| error(format!("{otherwise} {}", String::from_utf8_lossy(name))))
}

/// ADDSLOTS, DELSLOTS, and the same of ranges.
pub(super) fn add_slots(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    node(cx.server)?;
    let name = cx.command.spec.name;
    let mut slots = Slots::none();
    let mut add = |slot: u16| match slots.insert(slot) {
        true => Ok(()),
        false => Err(error(format!("Slot {slot} specified multiple times"))),
    };
    if name.ends_with("range") {
        if !args.len().is_multiple_of(2) {
            return Err(CommandError::Arity(cx.command.full_name.clone()));
        }
        for index in (2..args.len()).step_by(2) {
            let (first, last) = (slot(args, index)?, slot(args, index + 1)?);
            if first > last {
                return Err(error(format!("start slot number {first} is greater than end slot number {last}")));
            }
            (first..=last).try_for_each(&mut add)?;
        }
    } else {
        for index in 2..args.len() {
            add(slot(args, index)?)?;
        }
    }
    give(cx, if name.starts_with("add") { Order::AddSlots(slots) } else { Order::DelSlots(slots) })
}

pub(super) fn bump_epoch(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    give(cx, Order::BumpEpoch)
}

pub(super) fn save_config(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    give(cx, Order::SaveConfig)
}

pub(super) fn flush_slots(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let is_empty = cx.server.space.is_empty();
    give(cx, Order::FlushSlots { is_empty })
}

pub(super) fn set_config_epoch(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    give(cx, Order::SetConfigEpoch(args.int(2)?))
}

pub(super) fn forget(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    node(cx.server)?;
    give(cx, Order::Forget(named(args, 2, "Unknown node")?))
}

pub(super) fn replicate(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    node(cx.server)?;
    let is_empty = cx.server.space.is_empty();
    give(cx, Order::Replicate { primary: named(args, 2, "Unknown node")?, is_empty })
}

pub(super) fn failover(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let order = match args.len() {
        2 => Order::Failover,
        3 if args.is(2, "force") => Order::FailoverForce,
        3 if args.is(2, "takeover") => Order::FailoverTakeover,
        _ => return Err(CommandError::Syntax),
    };
    give(cx, order)
}

pub(super) fn reset(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let hard = match args.len() {
        2 => false,
        3 if args.is(2, "hard") => true,
        3 if args.is(2, "soft") => false,
        _ => return Err(CommandError::Syntax),
    };
    let is_empty = cx.server.space.is_empty();
    give(cx, Order::Reset { hard, is_empty })
}

pub(super) fn meet(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    node(cx.server)?;
    let shown = |index: usize| String::from_utf8_lossy(args.at(index)).into_owned();
    if args.len() > 5 {
        return Err(CommandError::Arity(cx.command.full_name.clone()));
    }
    let port = args.int(3).map_err(|_| error(format!("Invalid base port specified: {}", shown(3))))?;
    let bus_port = match args.len() {
        5 => args.int(4).map_err(|_| error(format!("Invalid bus port specified: {}", shown(4))))?,
        _ => port.saturating_add(10000),
    };
    let ports = u16::try_from(port).ok().zip(u16::try_from(bus_port).ok()).filter(|(port, bus)| *port > 0 && *bus > 0);
    let is_address = shown(2).parse::<std::net::IpAddr>().is_ok();
    let Some((port, bus_port)) = ports.filter(|_| is_address) else {
        return Err(error(format!("Invalid node address specified: {}:{}", shown(2), shown(3))));
    };
    give(cx, Order::Meet { address: Address { ip: Some(shown(2)), port, second_port: 0, bus_port } })
}

pub(super) fn set_slot(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    node(cx.server)?;
    let number = slot(args, 2)?;
    let unknown = "I don't know about node";
    let order = if args.is(3, "stable") && args.len() == 4 {
        SlotOrder::Stable
    } else if args.is(3, "migrating") && args.len() == 5 {
        SlotOrder::Migrating(named(args, 4, unknown)?)
    } else if args.is(3, "importing") && args.len() == 5 {
        SlotOrder::Importing(named(args, 4, unknown)?)
    } else if args.is(3, "node") && args.len() == 5 {
        SlotOrder::Node(named(args, 4, "Unknown node")?)
    } else {
        return Err(error("Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"));
    };
    let of = Slot::new(usize::from(number)).expect("it was checked");
    let is_empty = cx.view(std::iter::empty()).count_in(Db(0), of) == 0;
    give(cx, Order::SetSlot { slot: number, order, is_empty })
}

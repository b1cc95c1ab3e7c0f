//! CLUSTER, and what clients of a cluster say to its nodes: ASKING, READONLY, READWRITE.
//!
//! Orders run alone, because what they mean for clients is in force when they are answered. What only looks asks the
//! machine under its lock.

pub(crate) mod look;
mod migrate;
mod order;
mod stats;

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec};

use crate::control::cluster::Node;
use crate::data::call::Cx;
use crate::server::Server;

const LOOK: Flags = Flags::LOADING.and(Flags::STALE);
const ORDER: Flags = Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING).and(Flags::ALONE);
const SYNC: Flags =
    Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING).and(Flags::NO_SCRIPT).and(Flags::NO_MULTI);
const CLIENTS: Flags = Flags::FAST.and(Flags::LOADING).and(Flags::STALE);

const fn of(name: &'static str, arity: Arity, flags: Flags, since: &'static str, summary: &'static str) -> Spec {
    Spec { name, group: Group::Cluster, arity, flags, since, summary, run: Run::Server, ..Spec::BLANK }
}

use Arity::{AtLeast, Exactly};

static SUBCOMMANDS: &[&Spec] = &[
    &of("addslots", AtLeast(3), ORDER, "3.0.0", "Assigns slots to this node."),
    &of("addslotsrange", AtLeast(4), ORDER, "7.0.0", "Assigns ranges of slots to this node."),
    &of("bumpepoch", Exactly(2), ORDER, "3.0.0", "Gives this node the greatest epoch."),
    &of("cancelslotmigrations", Exactly(2), ORDER, "9.0.0", "Calls off the migrations of slots away from this node."),
    &of("count-failure-reports", Exactly(3), LOOK, "3.0.0", "Counts those who can't reach a node."),
    &of("countkeysinslot", Exactly(3), Flags::STALE, "3.0.0", "Counts the keys of a slot."),
    &of("delslots", AtLeast(3), ORDER, "3.0.0", "Takes slots from their owners, as this node sees it."),
    &of("delslotsrange", AtLeast(4), ORDER, "7.0.0", "Takes ranges of slots from their owners, as this node sees it."),
    &of("failover", AtLeast(2), ORDER, "3.0.0", "Lets this replica take over from its primary."),
    &of("flushslots", Exactly(2), ORDER, "3.0.0", "Takes all slots from this node."),
    &of("forget", Exactly(3), ORDER, "3.0.0", "Removes a node."),
    &of("getkeysinslot", Exactly(4), Flags::STALE, "3.0.0", "Names keys of a slot."),
    &of("getslotmigrations", Exactly(2), LOOK.and(Flags::ADMIN), "9.0.0", "Lists migrations of slots."),
    &of("help", Exactly(2), LOOK, "5.0.0", "Tells what CLUSTER can do."),
    &of("info", Exactly(2), LOOK, "3.0.0", "Tells how the cluster is."),
    &of("keyslot", Exactly(3), LOOK, "3.0.0", "Tells the slot of a key."),
    &of("links", Exactly(2), LOOK, "7.0.0", "Lists the links to and from other nodes."),
    &of("meet", AtLeast(4), ORDER, "3.0.0", "Joins another node's cluster."),
    &of("migrateslots", AtLeast(5), ORDER, "9.0.0", "Moves slots with all that they hold to other nodes."),
    &of("myid", Exactly(2), LOOK, "3.0.0", "Tells the name of this node."),
    &of("myshardid", Exactly(2), LOOK, "7.2.0", "Tells the name of this node's shard."),
    &of("nodes", Exactly(2), LOOK, "3.0.0", "Lists the nodes, as nodes.conf does."),
    &of("replicas", Exactly(3), LOOK.and(Flags::ADMIN), "5.0.0", "Lists the replicas of a primary."),
    &of("replicate", Exactly(3), ORDER, "3.0.0", "Makes this node a replica."),
    &of("reset", AtLeast(2), ORDER.and(Flags::NO_SCRIPT), "3.0.0", "Makes this node one that knows nobody."),
    &of("saveconfig", Exactly(2), ORDER, "3.0.0", "Writes nodes.conf."),
    &of("set-config-epoch", Exactly(3), ORDER, "3.0.0", "Sets the epoch of a new node."),
    &of("setslot", AtLeast(4), ORDER, "3.0.0", "Tells where a slot is, or moves."),
    &of("shards", Exactly(2), LOOK, "7.0.0", "Tells slots and nodes, shard by shard."),
    &of("slaves", Exactly(3), LOOK.and(Flags::ADMIN), "3.0.0", "Lists the replicas of a primary."),
    &of(
        "slot-stats",
        AtLeast(4),
        Flags::STALE.and(Flags::LOADING),
        "8.0.0",
        "Counts the keys of slots that this node serves.",
    ),
    &of("slots", Exactly(2), LOOK, "3.0.0", "Tells slots and nodes, range by range."),
    &Spec {
        reaches: Some(migrate::needs_alone),
        ..of("syncslots", AtLeast(3), SYNC, "9.0.0", "What nodes say to each other while slots move.")
    },
];

/// What clients tell of themselves.
const fn talk(name: &'static str, flags: Flags, summary: &'static str) -> Spec {
    Spec { categories: &["connection"], ..of(name, Exactly(1), flags, "3.0.0", summary) }
}

static CLUSTER: Spec = Spec {
    subcommands: SUBCOMMANDS,
    summary: "Commands about the cluster.",
    run: Run::Container,
    ..of("cluster", AtLeast(2), Flags::NONE, "3.0.0", "")
};

static ASKING: Spec = talk("asking", Flags::FAST, "Lets the next request go ahead after an ASK.");
static READONLY: Spec = talk("readonly", CLIENTS, "Lets this connection read from a replica.");
static READWRITE: Spec = talk("readwrite", CLIENTS, "Takes READONLY back.");

pub(super) static RUNS: [super::Entry; 4] = [
    (
        &CLUSTER,
        &[
            ("addslots", order::add_slots),
            ("addslotsrange", order::add_slots),
            ("bumpepoch", order::bump_epoch),
            ("cancelslotmigrations", migrate::cancel),
            ("count-failure-reports", look::count_failure_reports),
            ("countkeysinslot", look::count_keys),
            ("delslots", order::add_slots),
            ("delslotsrange", order::add_slots),
            ("failover", order::failover),
            ("flushslots", order::flush_slots),
            ("forget", order::forget),
            ("getkeysinslot", look::get_keys),
            ("getslotmigrations", migrate::list),
            ("help", help),
            ("info", look::info),
            ("keyslot", look::key_slot),
            ("links", look::links),
            ("meet", order::meet),
            ("migrateslots", migrate::begin),
            ("myid", look::my_id),
            ("myshardid", look::my_shard_id),
            ("nodes", look::nodes),
            ("replicas", look::replicas),
            ("replicate", order::replicate),
            ("reset", order::reset),
            ("saveconfig", order::save_config),
            ("set-config-epoch", order::set_config_epoch),
            ("setslot", order::set_slot),
            ("shards", look::shards),
            ("slaves", look::replicas),
            ("slot-stats", stats::slot_stats),
            ("slots", look::slots),
            ("syncslots", migrate::sync),
        ],
    ),
    (&ASKING, &[("", asking)]),
    (&READONLY, &[("", |cx, _| set_readonly(cx, true))]),
    (&READWRITE, &[("", |cx, _| set_readonly(cx, false))]),
];

const DISABLED: CommandError = CommandError::text("ERR This instance has cluster support disabled");

/// The node that this server is.
fn node(server: &Server) -> Result<&Node, CommandError> {
    server.node().ok_or(DISABLED)
}

fn error(text: impl std::fmt::Display) -> CommandError {
    CommandError::Bytes(format!("ERR {text}").into_bytes())
}

/// A slot's number.
fn slot(args: Args<'_>, index: usize) -> Result<u16, CommandError> {
    let number = args.int(index).ok().and_then(|number| u16::try_from(number).ok());
    number.filter(|&number| number < quorate_cluster::SLOTS).ok_or_else(|| error("Invalid or out of range slot"))
}

fn asking(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    node(cx.server)?;
    cx.session.asking = true;
    cx.reply().ok();
    Ok(())
}

fn set_readonly(cx: &mut Cx<'_, '_>, on: bool) -> Outcome {
    node(cx.server)?;
    cx.session.readonly = on;
    cx.reply().ok();
    Ok(())
}

/// DEBUG CLUSTERLINK KILL to|from|all node
pub(super) fn debug_link(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let (to, from) = (args.is(3, "to"), args.is(3, "from"));
    let all = args.is(3, "all");
    if !args.is(2, "kill") || !(to || from || all) {
        return Err(CommandError::Syntax);
    }
    let unknown = || error(format!("Unknown node {}", String::from_utf8_lossy(args.at(4))));
    let named = quorate_cluster::NodeId::parse(args.at(4)).ok_or_else(unknown)?;
    let order = quorate_cluster::Order::KillLinks { node: named, to: to || all, from: from || all };
    match node(cx.server)?.order_later(cx.server, order) {
        quorate_cluster::Answer::Refused(why) => return Err(error(why)),
        _ => cx.reply().ok(),
    }
    Ok(())
}

/// DEBUG DROP-CLUSTER-PACKET-FILTER; on a server that is no node there is nothing to drop.
pub(super) fn debug_drop(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let kind = args.int(2)?;
    if let Some(node) = cx.server.node() {
        node.dropped_type.store(kind, std::sync::atomic::Ordering::Relaxed);
    }
    cx.reply().ok();
    Ok(())
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let mut lines = Vec::new();
    for spec in SUBCOMMANDS.iter().filter(|spec| spec.name != "help") {
        lines.push(spec.name.to_uppercase());
        lines.push(format!("    {}", spec.summary));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    super::help(cx, "CLUSTER", &lines);
    Ok(())
}

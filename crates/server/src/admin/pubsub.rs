//! SUBSCRIBE, PUBLISH and their kin.

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec};
use quorate_values::{Case, glob_matches};

use crate::data::call::Cx;
use crate::data::client::{ClientId, Session};
use crate::data::pubsub::{Kind, Listener};
use crate::server::Server;

const SUBSCRIBING: Flags = Flags::PUBSUB.and(Flags::NO_SCRIPT).and(Flags::LOADING).and(Flags::STALE);
const PUBLISHING: Flags =
    Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::MAY_REPLICATE);

const fn subscribing(name: &'static str, arity: Arity, since: &'static str, summary: &'static str) -> Spec {
    Spec {
        name,
        group: Group::PubSub,
        arity,
        flags: SUBSCRIBING,
        since,
        complexity: "O(N) in the number of names.",
        summary,
        run: Run::Server,
        ..Spec::BLANK
    }
}

/// SUBSCRIBE
pub static SUBSCRIBE: Spec = subscribing("subscribe", Arity::AtLeast(2), "2.0.0", "Listens to channels.");
/// UNSUBSCRIBE
pub static UNSUBSCRIBE: Spec = subscribing("unsubscribe", Arity::AtLeast(1), "2.0.0", "Ends listening to channels.");
/// PSUBSCRIBE
pub static PSUBSCRIBE: Spec = subscribing("psubscribe", Arity::AtLeast(2), "2.0.0", "Listens to channels by pattern.");
/// PUNSUBSCRIBE
pub static PUNSUBSCRIBE: Spec =
    subscribing("punsubscribe", Arity::AtLeast(1), "2.0.0", "Ends listening to channels by pattern.");
/// SSUBSCRIBE
pub static SSUBSCRIBE: Spec = subscribing("ssubscribe", Arity::AtLeast(2), "7.0.0", "Listens to channels of a shard.");
/// SUNSUBSCRIBE
pub static SUNSUBSCRIBE: Spec =
    subscribing("sunsubscribe", Arity::AtLeast(1), "7.0.0", "Ends listening to channels of a shard.");

/// PUBLISH
pub static PUBLISH: Spec = Spec {
    name: "publish",
    group: Group::PubSub,
    arity: Arity::Exactly(3),
    flags: PUBLISHING,
    since: "2.0.0",
    complexity: "O(N+M) in the listeners of the channel and in all patterns.",
    summary: "Sends a message to a channel.",
    run: Run::Server,
    ..Spec::BLANK
};

/// SPUBLISH
pub static SPUBLISH: Spec = Spec {
    name: "spublish",
    group: Group::PubSub,
    arity: Arity::Exactly(3),
    flags: PUBLISHING,
    since: "7.0.0",
    complexity: "O(N) in the listeners of the channel.",
    summary: "Sends a message to a channel of a shard.",
    run: Run::Server,
    ..Spec::BLANK
};

const fn asking(name: &'static str, arity: Arity, since: &'static str, summary: &'static str) -> Spec {
    Spec {
        name,
        group: Group::PubSub,
        arity,
        flags: Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE),
        since,
        summary,
        run: Run::Server,
        ..Spec::BLANK
    }
}

static CHANNELS: Spec = asking("channels", Arity::AtLeast(2), "2.8.0", "Lists the channels that anybody listens to.");
static NUMSUB: Spec = asking("numsub", Arity::AtLeast(2), "2.8.0", "Counts the listeners of channels.");
static NUMPAT: Spec = asking("numpat", Arity::Exactly(2), "2.8.0", "Counts the patterns that anybody listens by.");
static SHARDCHANNELS: Spec = asking("shardchannels", Arity::AtLeast(2), "7.0.0", "Lists the channels of shards.");
static SHARDNUMSUB: Spec =
    asking("shardnumsub", Arity::AtLeast(2), "7.0.0", "Counts the listeners of shards' channels.");
static HELP: Spec = asking("help", Arity::Exactly(2), "6.2.0", "Explains the subcommands.");

/// PUBSUB
pub static PUBSUB: Spec = Spec {
    name: "pubsub",
    group: Group::PubSub,
    arity: Arity::AtLeast(2),
    subcommands: &[&CHANNELS, &HELP, &NUMPAT, &NUMSUB, &SHARDCHANNELS, &SHARDNUMSUB],
    since: "2.8.0",
    complexity: "Depends on subcommand.",
    summary: "A container for Pub/Sub commands.",
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 9] = [
    (&SUBSCRIBE, &[("", |cx, args| subscribe(cx, args, Kind::Channel))]),
    (&PSUBSCRIBE, &[("", |cx, args| subscribe(cx, args, Kind::Pattern))]),
    (&SSUBSCRIBE, &[("", |cx, args| subscribe(cx, args, Kind::Shard))]),
    (&UNSUBSCRIBE, &[("", |cx, args| unsubscribe(cx, args, Kind::Channel))]),
    (&PUNSUBSCRIBE, &[("", |cx, args| unsubscribe(cx, args, Kind::Pattern))]),
    (&SUNSUBSCRIBE, &[("", |cx, args| unsubscribe(cx, args, Kind::Shard))]),
    (&PUBLISH, &[("", publish)]),
    (&SPUBLISH, &[("", spublish)]),
    (
        &PUBSUB,
        &[
            ("channels", |cx, args| channels(cx, args, Kind::Channel)),
            ("shardchannels", |cx, args| channels(cx, args, Kind::Shard)),
            ("numsub", |cx, args| numsub(cx, args, Kind::Channel)),
            ("shardnumsub", |cx, args| numsub(cx, args, Kind::Shard)),
            ("numpat", numpat),
            ("help", help),
        ],
    ),
];

fn words(kind: Kind) -> (&'static [u8], &'static [u8]) {
    match kind {
        Kind::Channel => (b"subscribe", b"unsubscribe"),
        Kind::Pattern => (b"psubscribe", b"punsubscribe"),
        Kind::Shard => (b"ssubscribe", b"sunsubscribe"),
    }
}

fn names(session: &mut Session, kind: Kind) -> &mut std::collections::HashSet<Box<[u8]>> {
    match kind {
        Kind::Channel => &mut session.channels,
        Kind::Pattern => &mut session.patterns,
        Kind::Shard => &mut session.shard_channels,
    }
}

/// The count that replies carry: channels and patterns together, or those of shards alone.
fn count(session: &Session, kind: Kind) -> usize {
    match kind {
        Kind::Channel | Kind::Pattern => session.channels.len() + session.patterns.len(),
        Kind::Shard => session.shard_channels.len(),
    }
}

fn subscribe(cx: &mut Cx<'_, '_>, args: Args<'_>, kind: Kind) -> Outcome {
    for name in args.from(1) {
        if names(cx.session, kind).insert((*name).into()) {
            let listener = Listener { client: cx.client.id, worker: cx.client.worker };
            cx.session.subscribed_bytes += name.len();
            cx.server.pubsub.subscribe(kind, name, listener);
        }
        let count = count(cx.session, kind);
        let mut reply = cx.reply();
        reply.push(3);
        reply.bulk(words(kind).0);
        reply.bulk(name);
        reply.count(count);
    }
    Ok(())
}

fn unsubscribe(cx: &mut Cx<'_, '_>, args: Args<'_>, kind: Kind) -> Outcome {
    let mut leaving: Vec<Box<[u8]>> = args.from(1).iter().map(|name| Box::from(*name)).collect();
    if leaving.is_empty() {
        leaving = names(cx.session, kind).iter().cloned().collect();
        if leaving.is_empty() {
            let count = count(cx.session, kind);
            let mut reply = cx.reply();
            reply.push(3);
            reply.bulk(words(kind).1);
            reply.null();
            reply.count(count);
        }
    }
    for name in leaving {
        if names(cx.session, kind).remove(&name) {
            cx.session.subscribed_bytes -= name.len();
            cx.server.pubsub.unsubscribe(kind, &name, cx.client.id);
        }
        let count = count(cx.session, kind);
        let mut reply = cx.reply();
        reply.push(3);
        reply.bulk(words(kind).1);
        reply.bulk(&name);
        reply.count(count);
    }
    Ok(())
}

/// Ends all of a client's subscriptions, when it goes or is reset.
pub fn forget(server: &Server, client: ClientId, session: &mut Session) {
    for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
        for name in names(session, kind).drain() {
            server.pubsub.unsubscribe(kind, &name, client);
        }
    }
    session.subscribed_bytes = 0;
}

fn publish(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let count = cx.server.pubsub.publish(cx.server, args.at(1), args.at(2));
    pass_on(cx, args, false);
    cx.reply().count(count);
    Ok(())
}

fn spublish(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let count = cx.server.pubsub.publish_to_shard(cx.server, args.at(1), args.at(2));
    pass_on(cx, args, true);
    cx.reply().count(count);
    Ok(())
}

/// Lets others hear of a message: our replicas, or the nodes of the cluster.
fn pass_on(cx: &mut Cx<'_, '_>, args: Args<'_>, sharded: bool) {
    match cx.server.node() {
        Some(node) => node.publish(cx.server, sharded, args.at(1), args.at(2)),
        None => cx.local.effects.tell(),
    }
}

fn channels(cx: &mut Cx<'_, '_>, args: Args<'_>, kind: Kind) -> Outcome {
    if args.len() > 3 {
        let text = format!(
            "ERR unknown subcommand or wrong number of arguments for '{}'. Try PUBSUB HELP.",
            String::from_utf8_lossy(args.at(1))
        );
        return Err(CommandError::Bytes(text.into_bytes()));
    }
    let mut found = cx.server.pubsub.names(kind);
    if let Some(pattern) = args.get(2) {
        found.retain(|name| glob_matches(pattern, name, Case::Sensitive));
    }
    let mut reply = cx.reply();
    reply.array(found.len());
    for name in found {
        reply.bulk(&name);
    }
    Ok(())
}

fn numsub(cx: &mut Cx<'_, '_>, args: Args<'_>, kind: Kind) -> Outcome {
    let counts: Vec<usize> = args.from(2).iter().map(|name| cx.server.pubsub.listeners(kind, name)).collect();
    let mut reply = cx.reply();
    reply.map(counts.len());
    for (name, count) in args.from(2).iter().zip(counts) {
        reply.bulk(name);
        reply.count(count);
    }
    Ok(())
}

fn numpat(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let count = cx.server.pubsub.len(Kind::Pattern);
    cx.reply().count(count);
    Ok(())
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(
        cx,
        "PUBSUB",
        &[
            "CHANNELS [<pattern>]",
            "    The channels that anybody listens to.",
            "NUMPAT",
            "    How many patterns anybody listens by.",
            "NUMSUB [<channel> ...]",
            "    How many clients listen to each channel.",
            "SHARDCHANNELS [<pattern>]",
            "    The channels of shards that anybody listens to.",
            "SHARDNUMSUB [<shardchannel> ...]",
            "    How many clients listen to each channel of a shard.",
        ],
    );
    Ok(())
}

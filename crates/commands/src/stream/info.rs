//! XINFO: what a stream, its groups and their consumers keep about themselves.

use quorate_resp::ReplyWriter;
use quorate_values::stream::{Consumer, Group, Stream, StreamId};

use super::group::wrong_arguments;
use super::{STREAM, no_such_group, reply};
use crate::exec::as_stream;
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Keys, Outcome, Run, Spec};

/// XINFO subcommand ...
pub(crate) static XINFO: Spec = Spec {
    name: "xinfo",
    arity: Arity::AtLeast(2),
    subcommands: &[&CONSUMERS, &GROUPS, &HELP, &WHOLE],
    complexity: "Depends on the subcommand",
    summary: "A container for questions about streams.",
    run: Run::Container,
    ..STREAM
};

const ASKING: Spec =
    Spec { arity: Arity::Exactly(3), flags: Flags::READONLY, keys: &[(Keys::At(2), Access::READ)], ..STREAM };

static CONSUMERS: Spec = Spec {
    name: "consumers",
    arity: Arity::Exactly(4),
    tips: &["nondeterministic_output"],
    summary: "Lists the consumers of a group.",
    run: Run::Data(consumers),
    ..ASKING
};

static GROUPS: Spec =
    Spec { name: "groups", summary: "Lists the groups of a stream.", run: Run::Data(groups), ..ASKING };

static HELP: Spec = Spec {
    name: "help",
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.and(Flags::STALE),
    summary: "Lists the subcommands.",
    run: Run::Data(help),
    ..STREAM
};

static WHOLE: Spec = Spec {
    name: "stream",
    arity: Arity::AtLeast(3),
    summary: "Describes a stream, on demand with its entries and groups.",
    run: Run::Data(stream),
    ..ASKING
};

fn there<'s>(cx: &'s mut Exec<'_, '_>, key: &[u8]) -> Result<&'s Stream, CommandError> {
    as_stream(cx.keys.read(cx.db, key))?.ok_or(CommandError::NoSuchKey)
}

fn groups(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let stream = as_stream(cx.keys.read(cx.db, args.at(2)))?.ok_or(CommandError::NoSuchKey)?;
    let reply = &mut cx.reply;
    reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"consumers");
        reply.count(group.consumers().len());
        reply.bulk(b"pending");
        reply.count(group.pending_len());
        progress(reply, stream, group);
    }
    Ok(())
}

/// Three pairs: how far a group has read.
fn progress(reply: &mut ReplyWriter<'_>, stream: &Stream, group: &Group) {
    reply.bulk(b"last-delivered-id");
    reply::id(reply, group.last_id);
    let numbers = [(&b"entries-read"[..], group.entries_read.map(|read| read as i64)), (b"lag", stream.lag(group))];
    for (name, number) in numbers {
        reply.bulk(name);
        match number {
            Some(number) => reply.int(number),
            None => reply.null(),
        }
    }
}

fn consumers(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, name, now) = (args.at(2), args.at(3), cx.now.0);
    let stream = as_stream(cx.keys.read(cx.db, key))?.ok_or(CommandError::NoSuchKey)?;
    let group = stream.group(name).ok_or_else(|| no_such_group(key, name))?;
    let since = |at: i64| now.saturating_sub(at).max(0);
    cx.reply.array(group.consumers().len());
    for consumer in group.consumers() {
        cx.reply.map(4);
        cx.reply.bulk(b"name");
        cx.reply.bulk(consumer.name());
        cx.reply.bulk(b"pending");
        cx.reply.count(consumer.pending_len());
        cx.reply.bulk(b"idle");
        cx.reply.int(since(consumer.seen));
        cx.reply.bulk(b"inactive");
        cx.reply.int(consumer.active.map_or(-1, since));
    }
    Ok(())
}

/// Entries of each kind that FULL shows unless it is told otherwise.
const SHOWN: usize = 10;

fn stream(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let shown = match args.len() {
        3 => None,
        4 if args.is(3, "FULL") => Some(SHOWN),
        6 if args.is(3, "FULL") && args.is(4, "COUNT") => match args.int(5)? {
            ..0 => Some(SHOWN),
            0 => Some(usize::MAX),
            count => Some(count as usize),
        },
        _ => {
            there(cx, args.at(2))?;
            return Err(wrong_arguments("XINFO", args));
        }
    };
    let stream = as_stream(cx.keys.read(cx.db, args.at(2)))?.ok_or(CommandError::NoSuchKey)?;
    let reply = &mut cx.reply;
    reply.map(if shown.is_some() { 9 } else { 10 });
    let nodes = stream.nodes().len();
    let numbers = [("length", stream.len()), ("radix-tree-keys", nodes as u64), ("radix-tree-nodes", nodes as u64 + 1)];
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.int(number as i64);
    }
    let pair = |reply: &mut ReplyWriter<'_>, name: &str, id: StreamId| {
        reply.bulk(name.as_bytes());
        reply::id(reply, id);
    };
    pair(reply, "last-generated-id", stream.last_id);
    pair(reply, "max-deleted-entry-id", stream.max_deleted_id);
    reply.bulk(b"entries-added");
    reply.int(stream.entries_added as i64);
    pair(reply, "recorded-first-entry-id", stream.first_id);
    match shown {
        Some(shown) => whole(reply, stream, shown),
        None => ends(reply, stream),
    }
    Ok(())
}

/// Three pairs: the number of groups, and the entries at both ends.
fn ends(reply: &mut ReplyWriter<'_>, stream: &Stream) {
    reply.bulk(b"groups");
    reply.count(stream.groups().len());
    let all = (StreamId::MIN, StreamId::MAX);
    let ends =
        [("first-entry", stream.range(all.0, all.1).next()), ("last-entry", stream.range_rev(all.0, all.1).next())];
    for (name, entry) in ends {
        reply.bulk(name.as_bytes());
        match entry {
            Some(entry) => reply::entry(reply, &entry),
            None => reply.null(),
        }
    }
}

/// Two pairs: entries and groups.
fn whole(reply: &mut ReplyWriter<'_>, stream: &Stream, shown: usize) {
    reply.bulk(b"entries");
    reply::entries(reply, stream.range(StreamId::MIN, StreamId::MAX), shown);
    reply.bulk(b"groups");
    reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(name);
        progress(reply, stream, group);
        reply.bulk(b"pel-count");
        reply.count(group.pending_len());
        reply.bulk(b"pending");
        reply.array(group.pending_len().min(shown));
        for (id, pending) in group.pending_range(StreamId::MIN, StreamId::MAX).take(shown) {
            reply.array(4);
            reply::id(reply, id);
            reply.bulk(group.consumer(pending.consumer).name());
            reply.int(pending.delivered);
            reply.int(pending.deliveries as i64);
        }
        reply.bulk(b"consumers");
        reply.array(group.consumers().len());
        group.consumers().for_each(|consumer| whole_consumer(reply, group, consumer, shown));
    }
}

fn whole_consumer(reply: &mut ReplyWriter<'_>, group: &Group, consumer: &Consumer, shown: usize) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(consumer.name());
    reply.bulk(b"seen-time");
    reply.int(consumer.seen);
    reply.bulk(b"active-time");
    reply.int(consumer.active.unwrap_or(-1));
    reply.bulk(b"pel-count");
    reply.count(consumer.pending_len());
    reply.bulk(b"pending");
    reply.array(consumer.pending_len().min(shown));
    for (id, pending) in
        consumer.pending_from(StreamId::MIN).take(shown).filter_map(|id| Some((id, group.pending(id)?)))
    {
        reply.array(3);
        reply::id(reply, id);
        reply.int(pending.delivered);
        reply.int(pending.deliveries as i64);
    }
}

fn help(cx: &mut Exec<'_, '_>, _: Args<'_>) -> Outcome {
    cx.help(&[
        "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CONSUMERS <key> <group>",
        "    The consumers of the group.",
        "GROUPS <key>",
        "    The groups of the stream.",
        "STREAM <key> [FULL [COUNT <count>]]",
        "    What the stream keeps about itself; FULL shows entries and groups too.",
        "HELP",
        "    Print this help.",
    ])
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn streams_tell_about_themselves() {
        let mut bench = Bench::new();
        bench.check("XADD s 1-1 a b", "1-1").check("XADD s 2-1 c d", "2-1").check("XGROUP CREATE s g 0", "OK");
        bench.run("XREADGROUP GROUP g alice COUNT 1 STREAMS s >");
        bench.check("XGROUP CREATECONSUMER s g bob", "1").now += 7;
        let head = "length 2 radix-tree-keys 1 radix-tree-nodes 2 last-generated-id 2-1 max-deleted-entry-id 0-0 \
                    entries-added 2 recorded-first-entry-id 1-1";
        let ends = "groups 1 first-entry [1-1 [a b]] last-entry [2-1 [c d]]";
        bench.check("XINFO STREAM s", &format!("[{head} {ends}]"));
        let group = "name g last-delivered-id 1-1 entries-read 1 lag 1 pel-count 1 pending [[1-1 alice 1000000 1]]";
        let alice = "name alice seen-time 1000000 active-time 1000000 pel-count 1 pending [[1-1 1000000 1]]";
        let bob = "name bob seen-time 1000000 active-time -1 pel-count 0 pending []";
        let whole = format!("entries [[1-1 [a b]]] groups [[{group} consumers [[{alice}] [{bob}]]]]");
        bench.check("XINFO STREAM s FULL COUNT 1", &format!("[{head} {whole}]"));
        bench.script(
            "XINFO GROUPS s => [[name g consumers 2 pending 1 last-delivered-id 1-1 entries-read 1 lag 1]]
             XINFO CONSUMERS s g => [[name alice pending 1 idle 7 inactive 7] [name bob pending 0 idle 7 inactive -1]]
             XINFO STREAM s FULL 1 => ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP.
             XINFO STREAM none => ERR no such key
             XINFO GROUPS none => ERR no such key
             XINFO CONSUMERS s none => NOGROUP No such consumer group 'none' for key name 's'
             SET str v => OK
             XINFO STREAM str => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }
}

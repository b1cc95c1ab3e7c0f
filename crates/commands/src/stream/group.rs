//! XGROUP: groups of consumers made, moved and removed.

use quorate_values::Value;
use quorate_values::stream::{Group, Stream, StreamId};

use super::{Reader, STREAM, ids, no_such_group, with_stream};
use crate::exec::as_stream;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Keys, Outcome, Run, Spec};

/// XGROUP subcommand ...
pub(crate) static XGROUP: Spec = Spec {
    name: "xgroup",
    arity: Arity::AtLeast(2),
    subcommands: &[&CREATE, &CREATECONSUMER, &DELCONSUMER, &DESTROY, &HELP, &SETID],
    complexity: "Depends on the subcommand",
    summary: "A container for what is done to consumer groups.",
    run: Run::Container,
    ..STREAM
};

static CREATE: Spec = Spec {
    name: "create",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(2), Access::INSERT)],
    summary: "Makes a consumer group.",
    run: Run::Data(create),
    ..STREAM
};

static CREATECONSUMER: Spec = Spec {
    name: "createconsumer",
    arity: Arity::Exactly(5),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(2), Access::INSERT)],
    since: "6.2.0",
    summary: "Makes a consumer of a group.",
    run: Run::Data(create_consumer),
    ..STREAM
};

static DELCONSUMER: Spec = Spec {
    name: "delconsumer",
    arity: Arity::Exactly(5),
    flags: Flags::WRITE,
    keys: &[(Keys::At(2), Access::DELETE)],
    summary: "Removes a consumer of a group, and what waits for its acknowledgement.",
    run: Run::Data(delete_consumer),
    ..STREAM
};

static DESTROY: Spec = Spec {
    name: "destroy",
    arity: Arity::Exactly(4),
    flags: Flags::WRITE,
    keys: &[(Keys::At(2), Access::DELETE)],
    complexity: "O(N) for N entries that wait for an acknowledgement",
    summary: "Removes a consumer group.",
    run: Run::Data(destroy),
    ..STREAM
};

static HELP: Spec = Spec {
    name: "help",
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.and(Flags::STALE),
    summary: "Lists the subcommands.",
    run: Run::Data(help),
    ..STREAM
};

static SETID: Spec = Spec {
    name: "setid",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE,
    keys: &[(Keys::At(2), Access::UPDATE)],
    summary: "Sets how far a group has read.",
    run: Run::Data(set_id),
    ..STREAM
};

/// The options behind the id.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    makes_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(args: Args<'_>, creates: bool) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut at = 5;
        while at < args.len() {
            if creates && args.is(at, "MKSTREAM") {
                options.makes_stream = true;
                at += 1;
            } else if args.is(at, "ENTRIESREAD") && at + 1 < args.len() {
                options.entries_read = match args.int(at + 1)? {
                    ..-1 => return Err(CommandError::text("ERR value for ENTRIESREAD must be positive or -1")),
                    read => u64::try_from(read).ok(),
                };
                at += 2;
            } else {
                return Err(wrong_arguments("XGROUP", args));
            }
        }
        Ok(options)
    }
}

/// The error that a subcommand does not take these arguments.
pub(super) fn wrong_arguments(container: &str, args: Args<'_>) -> CommandError {
    let name = &args.at(1)[..args.at(1).len().min(128)];
    let head = b"ERR unknown subcommand or wrong number of arguments for '";
    CommandError::Bytes([head, name, b"'. Try ", container.as_bytes(), b" HELP."].concat())
}

/// The error that there is no stream.
fn key_required() -> CommandError {
    CommandError::text(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
         option to create an empty stream automatically.",
    )
}

/// The id that a group has read up to, as `parse` reads it; `$` is the stream's last one.
fn position(
    text: &[u8],
    stream: Option<&Stream>,
    parse: impl FnOnce(&[u8]) -> Result<StreamId, CommandError>,
) -> Result<StreamId, CommandError> {
    match text {
        b"$" => Ok(stream.map_or(StreamId::MIN, |stream| stream.last_id)),
        text => parse(text),
    }
}

fn create(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, name) = (args.at(2), args.at(3));
    let options = Options::parse(args, true)?;
    let stream = as_stream(cx.keys.find(cx.db, key))?;
    if stream.is_none() && !options.makes_stream {
        return Err(key_required());
    }
    let is_there = stream.is_some();
    let group = Group::new(position(args.at(4), stream, ids::strict)?, options.entries_read);
    if !is_there {
        cx.keys.insert_value(cx.db, key, Value::Stream(Box::default()));
    }
    let added = with_stream(cx, key, |stream, _| stream.add_group(name, group))?;
    if added != Some(true) {
        return Err(CommandError::text("BUSYGROUP Consumer Group name already exists"));
    }
    cx.changed(1);
    cx.notify(Class::STREAM, "xgroup-create", key);
    cx.reply.ok();
    Ok(())
}

/// That the key has the group; the subcommands beyond CREATE ask for it.
fn check(cx: &mut Exec<'_, '_>, key: &[u8], group: &[u8]) -> Outcome {
    let stream = as_stream(cx.keys.find(cx.db, key))?.ok_or_else(key_required)?;
    stream.group(group).map(drop).ok_or_else(|| no_such_group(key, group))
}

fn set_id(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, name) = (args.at(2), args.at(3));
    let options = Options::parse(args, false)?;
    check(cx, key, name)?;
    let stream = as_stream(cx.keys.peek(cx.db, key))?;
    // Unlike for a new group, - and + are ids here.
    let last_id = position(args.at(4), stream, |text| ids::bound(text, 0))?;
    with_stream(cx, key, |stream, _| {
        if let Some(group) = stream.group_mut(name) {
            (group.last_id, group.entries_read) = (last_id, options.entries_read);
        }
    })?;
    cx.changed(1);
    cx.notify(Class::STREAM, "xgroup-setid", key);
    cx.reply.ok();
    Ok(())
}

fn destroy(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, name) = (args.at(2), args.at(3));
    as_stream(cx.keys.find(cx.db, key))?.ok_or_else(key_required)?;
    let removed = with_stream(cx, key, |stream, _| stream.remove_group(name))?.flatten().is_some();
    if removed {
        // Who waits on its behalf is to hear of it.
        cx.keys.signal(cx.db, key);
        cx.changed(1);
        cx.notify(Class::STREAM, "xgroup-destroy", key);
    }
    cx.reply.int(removed.into());
    Ok(())
}

fn create_consumer(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let reader = Reader { key: args.at(2), group: args.at(3), consumer: args.at(4) };
    check(cx, reader.key, reader.group)?;
    let now = cx.now.0;
    let made = with_stream(cx, reader.key, |stream, _| {
        let group = stream.group_mut(reader.group)?;
        let is_new = group.find_consumer(reader.consumer).is_none();
        if is_new {
            group.add_consumer(reader.consumer, now);
        }
        Some(is_new)
    })?;
    let made = made.flatten() == Some(true);
    if made {
        reader.tell_made(cx);
    }
    cx.reply.int(made.into());
    Ok(())
}

fn delete_consumer(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, name) = (args.at(2), args.at(3));
    check(cx, key, name)?;
    let removed = with_stream(cx, key, |stream, _| stream.group_mut(name)?.remove_consumer(args.at(4)))?.flatten();
    if removed.is_some() {
        cx.changed(1);
        cx.notify(Class::STREAM, "xgroup-delconsumer", key);
    }
    cx.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn help(cx: &mut Exec<'_, '_>, _: Args<'_>) -> Outcome {
    cx.help(&[
        "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CREATE <key> <group> <id|$> [MKSTREAM] [ENTRIESREAD <entries-read>]",
        "    Make a group that has read up to that id, of so many entries. MKSTREAM makes an",
        "    empty stream if there is none.",
        "CREATECONSUMER <key> <group> <consumer>",
        "    Make a consumer of the group.",
        "DELCONSUMER <key> <group> <consumer>",
        "    Remove a consumer of the group.",
        "DESTROY <key> <group>",
        "    Remove the group.",
        "SETID <key> <group> <id|$> [ENTRIESREAD <entries-read>]",
        "    Set up to which id the group has read, and how many entries.",
        "HELP",
        "    Print this help.",
    ])
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn groups_and_consumers_come_and_go() {
        let mut bench = Bench::new();
        let required = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use \
                        the MKSTREAM option to create an empty stream automatically.";
        for line in ["XGROUP CREATE s g $", "XGROUP SETID s g 0", "XGROUP DESTROY s g", "XGROUP DELCONSUMER s g c"] {
            bench.check(line, required);
        }
        bench.check("XGROUP CREATE s g $ MKSTREAM", "OK").propagates("XGROUP CREATE s g $ MKSTREAM");
        bench.notifies("xgroup-create s").check("XLEN s", "0");
        bench.check("XGROUP CREATECONSUMER s g alice", "1").notifies("xgroup-createconsumer s");
        bench.check("XGROUP CREATECONSUMER s g alice", "0").propagates("");
        bench.check("XADD s 1-1 a b", "1-1").check("XREADGROUP GROUP g alice STREAMS s >", "[[s [[1-1 [a b]]]]]");
        bench.check("XGROUP SETID s g 0 ENTRIESREAD 0", "OK").notifies("xgroup-setid s");
        bench.check("XGROUP DELCONSUMER s g alice", "1").notifies("xgroup-delconsumer s");
        bench.check("XGROUP DELCONSUMER s g alice", "0").propagates("");
        bench.script(
            "XPENDING s g => [0 nil nil nil]
             XGROUP CREATE s g 0 => BUSYGROUP Consumer Group name already exists
             XGROUP CREATE s h - => ERR Invalid stream ID specified as stream command argument
             XGROUP SETID s g + => OK
             XGROUP SETID s g - => OK
             XGROUP CREATE s h x => ERR Invalid stream ID specified as stream command argument
             XGROUP CREATE s h 0 FOO => ERR unknown subcommand or wrong number of arguments for 'CREATE'. Try XGROUP HELP.
             XGROUP SETID s g 0 MKSTREAM => ERR unknown subcommand or wrong number of arguments for 'SETID'. Try XGROUP HELP.
             XGROUP SETID s g 0 ENTRIESREAD -2 => ERR value for ENTRIESREAD must be positive or -1
             XGROUP SETID s none 0 => NOGROUP No such consumer group 'none' for key name 's'
             XGROUP CREATECONSUMER s none c => NOGROUP No such consumer group 'none' for key name 's'
             SET str v => OK
             XGROUP CREATE str g 0 => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
        bench.check("XGROUP DESTROY s g", "1").notifies("xgroup-destroy s").check("XGROUP DESTROY s g", "0");
        bench.propagates("");
    }
}

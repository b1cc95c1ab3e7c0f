//! XREAD and XREADGROUP: what has come since, of several streams at once, now or as soon as something comes.
//!
//! A request that waits is run again when an entry comes. So that it then asks for the same, it waits with the ids that `$`
//! stood for. One of a group is also run again when its stream or group is lost, and answers with the error then.

use quorate_keyspace::ValueMut;
use quorate_resp::{Deferred, Protocol, ReplyWriter};
use quorate_stdx::UnixMs;
use quorate_values::Stream;
use quorate_values::stream::{Pending, StreamId};

use super::{Reader, STREAM, ids, no_group, reply};
use crate::block::{Block, TimeoutReply};
use crate::exec::as_stream;
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Keys, Origin, Outcome, Run, Spec};

/// XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]
pub(crate) static XREAD: Spec = Spec {
    name: "xread",
    arity: Arity::AtLeast(4),
    flags: Flags::READONLY.and(Flags::BLOCKING),
    keys: &[(Keys::After { word: "STREAMS", from: 1, many: true }, Access::READ)],
    complexity: "O(N) for N entries returned",
    summary: "Returns what has come to some streams since; waits for it if asked to.",
    run: Run::Data(|cx, args| read(cx, args, false)),
    ..STREAM
};

/// XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]
pub(crate) static XREADGROUP: Spec = Spec {
    name: "xreadgroup",
    arity: Arity::AtLeast(7),
    flags: Flags::WRITE.and(Flags::BLOCKING),
    keys: &[(Keys::After { word: "STREAMS", from: 4, many: true }, Access::READ)],
    complexity: "O(N) for N entries returned",
    summary: "Returns what nobody of a group has got yet, or what waits for a consumer's acknowledgement.",
    run: Run::Data(|cx, args| read(cx, args, true)),
    ..STREAM
};

#[derive(Debug, Clone, Copy)]
struct Request<'a> {
    /// At most so many entries of each stream.
    count: usize,
    /// Whether it waits, and until when.
    block: Option<Option<UnixMs>>,
    /// The group and the consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    no_ack: bool,
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
}

/// From where a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Behind this entry.
    Behind(StreamId),
    /// What nobody of the group has got (`>`).
    New,
}

impl<'a> Request<'a> {
    fn parse(args: Args<'a>, by_group: bool, now: UnixMs) -> Result<Request<'a>, CommandError> {
        let mut request = Request { count: usize::MAX, block: None, group: None, no_ack: false, keys: &[], ids: &[] };
        let name = String::from_utf8_lossy(args.at(0));
        let only_group = |option: &str| {
            let text = format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.");
            Err(CommandError::Text(text.into()))
        };
        let mut at = 1;
        while at < args.len() {
            let left = args.len() - at - 1;
            if args.is(at, "BLOCK") && left >= 1 {
                request.block = Some(timeout(args.at(at + 1), now)?);
                at += 2;
            } else if args.is(at, "COUNT") && left >= 1 {
                request.count = usize::try_from(args.int(at + 1)?).ok().filter(|&n| n > 0).unwrap_or(usize::MAX);
                at += 2;
            } else if args.is(at, "STREAMS") && left >= 1 {
                let rest = args.from(at + 1);
                if !rest.len().is_multiple_of(2) {
                    let text = format!(
                        "ERR Unbalanced {} list of streams: for each stream key an ID or '$' must be specified.",
                        name.to_uppercase()
                    );
                    return Err(CommandError::Text(text.into()));
                }
                (request.keys, request.ids) = rest.split_at(rest.len() / 2);
                break;
            } else if args.is(at, "GROUP") && left >= 2 {
                if !by_group {
                    return only_group("GROUP");
                }
                request.group = Some((args.at(at + 1), args.at(at + 2)));
                at += 3;
            } else if args.is(at, "NOACK") {
                if !by_group {
                    return only_group("NOACK");
                }
                request.no_ack = true;
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if request.keys.is_empty() {
            return Err(CommandError::Syntax);
        }
        if by_group && request.group.is_none() {
            return Err(CommandError::text("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(request)
    }

    /// From where the stream at `key` is read, as `text` says; that it and the group are there is looked at too.
    fn from(&self, cx: &mut Exec<'_, '_>, key: &[u8], text: &[u8]) -> Result<From, CommandError> {
        const MEANINGLESS: &str = "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the \
            history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would \
            just return an empty result set.";
        const ONLY_GROUP: &str = "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
            <consumer> option.";
        let stream = as_stream(cx.keys.read(cx.db, key))?;
        if let Some((group, _)) = self.group
            && stream.and_then(|stream| stream.group(group)).is_none()
        {
            return Err(no_group(key, group, b" in XREADGROUP with GROUP option"));
        }
        match (text, self.group) {
            (b"$", None) => Ok(From::Behind(stream.map_or(StreamId::MIN, |stream| stream.last_id))),
            (b"$", Some(_)) => Err(CommandError::text(MEANINGLESS)),
            (b">", Some(_)) => Ok(From::New),
            (b">", None) => Err(CommandError::text(ONLY_GROUP)),
            (text, _) => ids::strict(text).map(From::Behind),
        }
    }
}

/// A timeout in milliseconds from now on; `None` is forever.
fn timeout(text: &[u8], now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    const NO_INTEGER: CommandError = CommandError::text("ERR timeout is not an integer or out of range");
    match quorate_values::parse_i64(text).ok_or(NO_INTEGER)? {
        ..0 => Err(CommandError::TimeoutNegative),
        0 => Ok(None),
        wait => now.0.checked_add(wait).map(|at| Some(UnixMs(at))).ok_or(CommandError::TimeoutOutOfRange),
    }
}

fn read(cx: &mut Exec<'_, '_>, args: Args<'_>, by_group: bool) -> Outcome {
    let request = Request::parse(args, by_group, cx.now)?;
    if request.block.is_some() && cx.origin == Origin::Script {
        let name = String::from_utf8_lossy(args.at(0));
        let text = format!("ERR {name} command is not allowed with BLOCK option from scripts");
        return Err(CommandError::Text(text.into()));
    }
    let mut from = Vec::with_capacity(request.keys.len());
    for (key, text) in request.keys.iter().zip(request.ids) {
        from.push(request.from(cx, key, text)?);
    }
    if by_group {
        // What a group's reader changes is passed on in words of its own.
        cx.effects.keep_local();
    }
    let start = cx.reply.len();
    let at = cx.reply.deferred();
    let mut served = 0;
    for (key, from) in request.keys.iter().zip(&from) {
        served += usize::from(match request.group {
            None => read_stream(cx, key, *from, request.count)?,
            Some((group, consumer)) => {
                let reader = Reader { key, group, consumer };
                read_group(cx, reader, *from, &request)?
            }
        });
    }
    if served > 0 {
        close(&mut cx.reply, at, served);
        return Ok(());
    }
    cx.reply.truncate(start);
    match request.block {
        Some(until) if cx.may_block() => wait(cx, args, &request, &from, until),
        _ => cx.reply.null_array(),
    }
    Ok(())
}

fn wait(cx: &mut Exec<'_, '_>, args: Args<'_>, request: &Request<'_>, from: &[From], until: Option<UnixMs>) {
    let mut words: Vec<Vec<u8>> = args.words().iter().map(|word| word.to_vec()).collect();
    let ids_at = words.len() - from.len();
    for (word, from) in words[ids_at..].iter_mut().zip(from) {
        if let From::Behind(id) = from {
            *word = id.to_string().into_bytes();
        }
    }
    cx.block = Some(Block {
        keys: request.keys.iter().map(|key| Box::from(*key)).collect(),
        until,
        reply: TimeoutReply::NullArray,
        again: Some(words),
        wakes_on_loss: request.group.is_some(),
    });
}

/// Writes the head of one stream's part of the reply: streams are a map where the protocol has maps, and else an array of
/// pairs.
fn head(reply: &mut ReplyWriter<'_>, key: &[u8]) {
    if reply.protocol() == Protocol::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}

/// Closes the reply of so many streams.
fn close(reply: &mut ReplyWriter<'_>, at: Deferred, streams: usize) {
    match reply.protocol() {
        Protocol::Resp2 => reply.close_array(at, streams),
        Protocol::Resp3 => reply.close_map(at, streams),
    }
}

/// Answers what is behind an entry, if anything is; whether it was.
fn read_stream(cx: &mut Exec<'_, '_>, key: &[u8], from: From, count: usize) -> Result<bool, CommandError> {
    let From::Behind(id) = from else { return Ok(false) };
    let Some(start) = id.next() else { return Ok(false) };
    let Some(stream) = as_stream(cx.keys.peek(cx.db, key))? else { return Ok(false) };
    if stream.last_entry_id().is_none_or(|last| last < start) {
        return Ok(false);
    }
    head(&mut cx.reply, key);
    reply::entries(&mut cx.reply, stream.range(start, StreamId::MAX), count);
    Ok(true)
}

/// Answers what a group's consumer asks for; whether there was anything to answer.
fn read_group(
    cx: &mut Exec<'_, '_>,
    reader: Reader<'_>,
    from: From,
    request: &Request<'_>,
) -> Result<bool, CommandError> {
    let now = cx.now.0;
    let appeared = super::with_stream(cx, reader.key, |stream, _| {
        stream.group_mut(reader.group).map(|group| reader.appear(group, now))
    })?;
    let Some((consumer, is_new)) = appeared.flatten() else { return Ok(false) };
    if is_new {
        reader.tell_made(cx);
    }
    let delivered = match from {
        From::Behind(id) => {
            read_history(cx, reader, consumer, id, request.count)?;
            None
        }
        From::New => Some(read_new(cx, reader, consumer, request)?),
    };
    // An XCLAIM makes the consumer too.
    if is_new && (request.no_ack || delivered.is_none_or(|entries| entries == 0)) {
        reader.propagate_made(cx);
    }
    Ok(delivered.is_none_or(|entries| entries > 0))
}

/// Answers what waits for a consumer's acknowledgement, behind an entry.
fn read_history(cx: &mut Exec<'_, '_>, reader: Reader<'_>, consumer: u32, id: StreamId, count: usize) -> Outcome {
    let now = cx.now.0;
    head(&mut cx.reply, reader.key);
    let mut found = Vec::new();
    if let Some(stream) = as_stream(cx.keys.peek(cx.db, reader.key))?
        && let Some(group) = stream.group(reader.group)
        && let Some(start) = id.next()
    {
        found.extend(group.consumer(consumer).pending_from(start).take(count));
        cx.reply.array(found.len());
        found.retain(|id| match stream.get(*id) {
            Some(entry) => {
                reply::entry(&mut cx.reply, &entry);
                true
            }
            // It was deleted, and there is only its id to acknowledge.
            None => {
                cx.reply.array(2);
                reply::id(&mut cx.reply, *id);
                cx.reply.null_array();
                false
            }
        });
    } else {
        cx.reply.array(0);
    }
    super::with_stream(cx, reader.key, |stream, _| {
        let Some(group) = stream.group_mut(reader.group) else { return };
        for id in found {
            if let Some(pending) = group.pending(id) {
                let deliveries = pending.deliveries.wrapping_add(1);
                group.set_pending(id, Pending { delivered: now, deliveries, ..pending });
            }
        }
    })?;
    Ok(())
}

/// What was delivered: the ids, and how many entries the group has read then.
struct Delivery {
    ids: Vec<StreamId>,
    entries_read: Option<u64>,
}

/// Answers up to `count` entries that the group has not read, if there are any.
fn answer_new(cx: &mut Exec<'_, '_>, reader: Reader<'_>, count: usize) -> Result<Option<Delivery>, CommandError> {
    let Some(stream) = as_stream(cx.keys.peek(cx.db, reader.key))? else { return Ok(None) };
    let Some(group) = stream.group(reader.group) else { return Ok(None) };
    let Some(start) = group.last_id.next() else { return Ok(None) };
    let mut delivery = Delivery { ids: Vec::new(), entries_read: group.entries_read };
    if stream.last_entry_id().is_none_or(|last| last < start) {
        return Ok(None);
    }
    head(&mut cx.reply, reader.key);
    let at = cx.reply.deferred();
    for entry in stream.range(start, StreamId::MAX).take(count) {
        reply::entry(&mut cx.reply, &entry);
        delivery.entries_read = count_on(stream, delivery.entries_read, entry.id);
        delivery.ids.push(entry.id);
    }
    cx.reply.close_array(at, delivery.ids.len());
    Ok(Some(delivery))
}

/// How many entries have been read when `id` has, and `read` had been before.
fn count_on(stream: &Stream, read: Option<u64>, id: StreamId) -> Option<u64> {
    match read {
        Some(read) if !stream.may_have_holes_from(id) => Some(read.wrapping_add(1)),
        _ if stream.entries_added > 0 => stream.entries_up_to(id),
        read => read,
    }
}

/// Answers what nobody of the group has got, and lets it wait for the consumer's acknowledgement: how many entries.
fn read_new(
    cx: &mut Exec<'_, '_>,
    reader: Reader<'_>,
    consumer: u32,
    request: &Request<'_>,
) -> Result<usize, CommandError> {
    let now = cx.now.0;
    let Some(delivery) = answer_new(cx, reader, request.count)? else { return Ok(0) };
    let Some(last_id) = delivery.ids.last().copied() else { return Ok(0) };
    let pending = Pending { delivered: now, deliveries: 1, consumer };
    if let Some(mut entry) = cx.keys.modify(cx.db, reader.key)
        && let ValueMut::Stream(stream) = entry.value_mut()
        && let Some(group) = stream.group_mut(reader.group)
    {
        group.last_id = last_id;
        group.entries_read = delivery.entries_read;
        group.consumer_mut(consumer).active = Some(now);
        if !request.no_ack {
            delivery.ids.iter().for_each(|id| group.set_pending(*id, pending));
        }
    }
    if !request.no_ack {
        for id in &delivery.ids {
            reader.propagate_claim(cx, *id, pending, last_id);
        }
    }
    reader.propagate_position(cx, last_id, delivery.entries_read);
    Ok(delivery.ids.len())
}

#[cfg(test)]
mod tests {
    use quorate_resp::Protocol;

    use crate::Origin;
    use crate::testing::Bench;

    fn filled() -> Bench {
        let mut bench = Bench::new();
        bench.check("XADD {s}a 1-1 f 1", "1-1").check("XADD {s}a 2-1 f 2", "2-1").check("XADD {s}b 1-1 g 1", "1-1");
        bench
    }

    #[test]
    fn what_has_come_since_is_read_of_several_streams() {
        let mut bench = filled();
        bench.script(
            "XREAD STREAMS {s}a {s}b {s}none 1-1 0 0 => [[{s}a [[2-1 [f 2]]]] [{s}b [[1-1 [g 1]]]]]
             XREAD STREAMS {s}a {s}b 1-1 $ => [[{s}a [[2-1 [f 2]]]]]
             XREAD COUNT 1 STREAMS {s}a {s}b 0 1-1 => [[{s}a [[1-1 [f 1]]]]]
             XREAD STREAMS {s}a $ => nil
             XREAD STREAMS {s}a 18446744073709551615-18446744073709551615 => nil
             XREAD STREAMS {s}a {s}b 0 => ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.
             XREAD COUNT x STREAMS {s}a 0 => ERR value is not an integer or out of range
             XREAD NOACK STREAMS {s}a 0 => ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.
             XREAD STREAMS {s}a > => ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.
             XREAD BLOCK -1 STREAMS {s}a 0 => ERR timeout is negative
             XREAD BLOCK x STREAMS {s}a 0 => ERR timeout is not an integer or out of range
             XREAD FOO STREAMS {s}a 0 => ERR syntax error
             SET {s}str v => OK
             XREAD STREAMS {s}str 0 => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
        bench.check(
            "XREAD BLOCK 0 STREAMS {s}a {s}b $ $",
            "(waits for {s}a {s}b, again as XREAD BLOCK 0 STREAMS {s}a {s}b 2-1 1-1)",
        );
        bench.check(
            "XREAD BLOCK 5 STREAMS {s}a 9",
            "(waits for {s}a until 1000005, again as XREAD BLOCK 5 STREAMS {s}a 9-0)",
        );
        bench.origin = Origin::Script;
        bench.check("XREAD BLOCK 5 STREAMS {s}a 9", "ERR XREAD command is not allowed with BLOCK option from scripts");
        bench.origin = Origin::Transaction;
        bench.check("XREAD BLOCK 5 STREAMS {s}a 9", "nil");
        bench.protocol = Protocol::Resp3;
        bench.check("XREAD STREAMS {s}a 1-1", "{{s}a: [[2-1 [f 2]]]}");
    }

    #[test]
    fn a_group_gets_each_entry_once_and_replicas_hear_who_has_it() {
        let mut bench = filled();
        bench.check("XGROUP CREATE {s}a g 0", "OK");
        bench.check("XREADGROUP GROUP g alice COUNT 1 STREAMS {s}a >", "[[{s}a [[1-1 [f 1]]]]]");
        bench.notifies("xgroup-createconsumer {s}a").propagates(
            "XCLAIM {s}a g alice 0 1-1 TIME 1000000 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1; \
             XGROUP SETID {s}a g 1-1 ENTRIESREAD 1",
        );
        bench.now += 5;
        bench.check("XREADGROUP GROUP g bob NOACK STREAMS {s}a >", "[[{s}a [[2-1 [f 2]]]]]");
        bench.propagates("XGROUP SETID {s}a g 2-1 ENTRIESREAD 2; XGROUP CREATECONSUMER {s}a g bob");
        bench.check("XREADGROUP GROUP g bob STREAMS {s}a >", "nil").propagates("");
        bench.check("XREADGROUP GROUP g bob STREAMS {s}a 0", "[[{s}a []]]").propagates("");
        bench.check("XREADGROUP GROUP g alice STREAMS {s}a 0", "[[{s}a [[1-1 [f 1]]]]]").propagates("");
        bench.check("XPENDING {s}a g - + 9", "[[1-1 alice 0 2]]").check("XDEL {s}a 1-1", "1");
        bench.check("XREADGROUP GROUP g alice STREAMS {s}a 0", "[[{s}a [[1-1 nil]]]]");
        bench.check(
            "XREADGROUP GROUP g carol BLOCK 0 STREAMS {s}a >",
            "(waits for {s}a, again as XREADGROUP GROUP g carol BLOCK 0 STREAMS {s}a >)",
        );
        bench.propagates("XGROUP CREATECONSUMER {s}a g carol");
        bench.script(
            "XREADGROUP GROUP none c STREAMS {s}a > => NOGROUP No such key '{s}a' or consumer group 'none' in XREADGROUP with GROUP option
             XREADGROUP GROUP g c STREAMS {s}none > => NOGROUP No such key '{s}none' or consumer group 'g' in XREADGROUP with GROUP option
             XREADGROUP COUNT 1 NOACK NOACK NOACK STREAMS {s}a > => ERR Missing GROUP option for XREADGROUP
             XREADGROUP GROUP g c STREAMS {s}a x => ERR Invalid stream ID specified as stream command argument",
        );
    }
}

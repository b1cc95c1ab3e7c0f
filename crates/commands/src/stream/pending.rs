//! XACK and XPENDING: entries that wait for an acknowledgement, acknowledged and looked at.

use quorate_values::stream::{Group, StreamId};

use super::{STREAM, ids, no_group, reply, with_stream};
use crate::exec::as_stream;
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Keys, Outcome, Run, Spec};

/// XACK key group id [id ...]
pub(crate) static XACK: Spec = Spec {
    name: "xack",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::UPDATE)],
    complexity: "O(log(N)) for each id, for N entries that wait",
    summary: "Acknowledges entries: they wait no longer.",
    run: Run::Data(xack),
    ..STREAM
};

/// XPENDING key group [[IDLE min-idle-time] start end count [consumer]]
pub(crate) static XPENDING: Spec = Spec {
    name: "xpending",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    tips: &["nondeterministic_output"],
    complexity: "O(N) for N entries looked at; without a range for N consumers",
    summary: "Tells which entries wait for an acknowledgement, and whose.",
    run: Run::Data(xpending),
    ..STREAM
};

fn xack(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, name) = (args.at(1), args.at(2));
    if as_stream(cx.keys.find(cx.db, key))?.and_then(|stream| stream.group(name)).is_none() {
        cx.reply.int(0);
        return Ok(());
    }
    let ids = args.from(3).iter().map(|text| ids::strict(text)).collect::<Result<Vec<StreamId>, _>>()?;
    let acknowledged = with_stream(cx, key, |stream, _| {
        let group = stream.group_mut(name)?;
        Some(ids.into_iter().filter(|id| group.acknowledge(*id)).count())
    })?;
    let acknowledged = acknowledged.flatten().unwrap_or(0);
    cx.changed(acknowledged);
    cx.reply.count(acknowledged);
    Ok(())
}

/// What of the waiting entries is asked for.
struct Part<'a> {
    min_idle: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Part<'a> {
    fn parse(args: Args<'a>) -> Result<Option<Part<'a>>, CommandError> {
        if args.len() == 3 {
            return Ok(None);
        }
        let has_idle = args.is(3, "IDLE");
        let at = if has_idle { 5 } else { 3 };
        if args.len() < at + 3 || args.len() > at + 4 {
            return Err(CommandError::Syntax);
        }
        let min_idle = if has_idle { args.int(4)? } else { 0 };
        let count = usize::try_from(args.int(at + 2)?).unwrap_or(0);
        let (start, end) = (ids::start(args.at(at))?, ids::end(args.at(at + 1))?);
        Ok(Some(Part { min_idle, start, end, count, consumer: args.get(at + 3) }))
    }
}

fn xpending(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, name) = (args.at(1), args.at(2));
    let part = Part::parse(args)?;
    let stream = as_stream(cx.keys.read(cx.db, key))?;
    let group = stream.and_then(|stream| stream.group(name)).ok_or_else(|| no_group(key, name, b""))?;
    let reply = &mut cx.reply;
    match part {
        None => summary(reply, group),
        Some(part) => list(reply, group, &part, cx.now.0),
    }
    Ok(())
}

fn summary(reply: &mut quorate_resp::ReplyWriter<'_>, group: &Group) {
    let mut waiting = group.pending_range(StreamId::MIN, StreamId::MAX);
    reply.array(4);
    reply.count(group.pending_len());
    let Some((first, _)) = waiting.next() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    let last = waiting.next_back().map_or(first, |(last, _)| last);
    reply::id(reply, first);
    reply::id(reply, last);
    let of_them = || group.consumers().filter(|consumer| consumer.pending_len() > 0);
    reply.array(of_them().count());
    for consumer in of_them() {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_int(consumer.pending_len() as i64);
    }
}

fn list(reply: &mut quorate_resp::ReplyWriter<'_>, group: &Group, part: &Part<'_>, now: i64) {
    let own: Box<dyn Iterator<Item = StreamId> + '_> = match part.consumer {
        None => Box::new(group.pending_range(part.start, part.end).map(|(id, _)| id)),
        Some(name) => match group.find_consumer(name) {
            Some(number) => Box::new(group.consumer(number).pending_from(part.start)),
            // Nothing waits for who is not there.
            None => Box::new(std::iter::empty()),
        },
    };
    let idle = |delivered: i64| now.saturating_sub(delivered).max(0);
    let found = own.take_while(|id| *id <= part.end).filter_map(|id| Some((id, group.pending(id)?)));
    let at = reply.deferred();
    let mut len = 0;
    for (id, pending) in found.filter(|(_, pending)| idle(pending.delivered) >= part.min_idle).take(part.count) {
        reply.array(4);
        reply::id(reply, id);
        reply.bulk(group.consumer(pending.consumer).name());
        reply.int(idle(pending.delivered));
        reply.int(pending.deliveries as i64);
        len += 1;
    }
    reply.close_array(at, len);
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn what_waits_is_told_and_acknowledged() {
        let mut bench = Bench::new();
        for number in 1..=4 {
            bench.run(&format!("XADD s {number}-0 f v"));
        }
        bench.check("XGROUP CREATE s g 0", "OK").run("XREADGROUP GROUP g alice COUNT 2 STREAMS s >");
        bench.now += 100;
        bench.run("XREADGROUP GROUP g bob STREAMS s >");
        bench.now += 10;
        bench.script(
            "XPENDING s g => [4 1-0 4-0 [[alice 2] [bob 2]]]
             XPENDING s g - + 10 => [[1-0 alice 110 1] [2-0 alice 110 1] [3-0 bob 10 1] [4-0 bob 10 1]]
             XPENDING s g (1 + 2 => [[2-0 alice 110 1] [3-0 bob 10 1]]
             XPENDING s g - + 10 bob => [[3-0 bob 10 1] [4-0 bob 10 1]]
             XPENDING s g IDLE 50 - + 1 => [[1-0 alice 110 1]]
             XPENDING s g IDLE 50 - + 10 bob => []
             XPENDING s g - + 10 nobody => []
             XPENDING s g - + 0 => []
             XPENDING s g + - 10 => []
             XPENDING s g - + => ERR syntax error
             XPENDING s g - + x => ERR value is not an integer or out of range
             XPENDING s none => NOGROUP No such key 's' or consumer group 'none'
             XACK s none 1 => 0
             XACK none g x => 0
             XACK s g x => ERR Invalid stream ID specified as stream command argument",
        );
        bench.check("XACK s g 1-0 3-0 9-0", "2").propagates("XACK s g 1-0 3-0 9-0");
        bench.check("XACK s g 1-0", "0").propagates("").check("XPENDING s g", "[2 2-0 4-0 [[alice 1] [bob 1]]]");
        bench.check("XACK s g 2-0 4-0", "2").check("XPENDING s g", "[0 nil nil nil]");
    }
}

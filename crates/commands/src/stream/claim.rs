//! XCLAIM and XAUTOCLAIM: entries that wait for one consumer are made to wait for another.
//!
//! What waits for a consumer although the stream has it no more is found here, and waits no longer.

use std::borrow::Cow;

use quorate_values::stream::{Group, Pending, Stream, StreamId};

use super::{Reader, STREAM, ids, no_group, reply, with_stream};
use crate::exec::as_stream;
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Keys, Outcome, Run, Spec};

/// XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]
pub(crate) static XAUTOCLAIM: Spec = Spec {
    name: "xautoclaim",
    arity: Arity::AtLeast(6),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::DELETE)],
    tips: &["nondeterministic_output"],
    since: "6.2.0",
    complexity: "O(N) for N entries looked at, ten times the count at most",
    summary: "Lets entries that have waited long for others wait for a consumer.",
    run: Run::Data(xautoclaim),
    ..STREAM
};

/// XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-ms] [RETRYCOUNT count] [FORCE] [JUSTID]
/// [LASTID id]
pub(crate) static XCLAIM: Spec = Spec {
    name: "xclaim",
    arity: Arity::AtLeast(6),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::UPDATE)],
    tips: &["nondeterministic_output"],
    complexity: "O(log(N)) for each id, for N entries that wait",
    summary: "Lets entries that wait for others wait for a consumer.",
    run: Run::Data(xclaim),
    ..STREAM
};

/// What an XCLAIM asks for.
struct Claim {
    min_idle: i64,
    ids: Vec<StreamId>,
    /// When the entries count as delivered.
    delivered: i64,
    deliveries: Option<u64>,
    /// Whether entries that wait for nobody wait for the consumer then.
    force: bool,
    /// Whether only ids are answered, and no delivery is counted.
    just_id: bool,
    last_id: StreamId,
}

/// The argument at `at` as an integer; the error names it.
fn number(args: Args<'_>, at: usize, what: &str) -> Result<i64, CommandError> {
    args.int(at).map_err(|_| CommandError::Text(Cow::Owned(format!("ERR Invalid {what} for {}", name(args)))))
}

fn name(args: Args<'_>) -> String {
    String::from_utf8_lossy(args.at(0)).to_uppercase()
}

impl Claim {
    fn parse(args: Args<'_>, now: i64) -> Result<Claim, CommandError> {
        let mut claim = Claim {
            min_idle: number(args, 4, "min-idle-time argument")?.max(0),
            ids: Vec::new(),
            delivered: now,
            deliveries: None,
            force: false,
            just_id: false,
            last_id: StreamId::MIN,
        };
        let mut at = 5;
        while let Some(id) = args.get(at).and_then(|text| ids::strict(text).ok()) {
            claim.ids.push(id);
            at += 1;
        }
        while at < args.len() {
            let has_value = at + 1 < args.len();
            if args.is(at, "FORCE") {
                claim.force = true;
            } else if args.is(at, "JUSTID") {
                claim.just_id = true;
            } else if args.is(at, "IDLE") && has_value {
                at += 1;
                claim.delivered = now.saturating_sub(number(args, at, "IDLE option argument")?);
            } else if args.is(at, "TIME") && has_value {
                at += 1;
                claim.delivered = number(args, at, "TIME option argument")?;
            } else if args.is(at, "RETRYCOUNT") && has_value {
                at += 1;
                claim.deliveries = u64::try_from(number(args, at, "RETRYCOUNT option argument")?).ok();
            } else if args.is(at, "LASTID") && has_value {
                at += 1;
                claim.last_id = ids::strict(args.at(at))?;
            } else {
                return Err(CommandError::Bytes([b"ERR Unrecognized XCLAIM option '", args.at(at), b"'"].concat()));
            }
            at += 1;
        }
        // A time that makes no sense is none.
        if !(0..=now).contains(&claim.delivered) {
            claim.delivered = now;
        }
        Ok(claim)
    }
}

/// What became of the entries.
#[derive(Default)]
struct Outcomes {
    /// Those that wait for the consumer now.
    claimed: Vec<(StreamId, Pending)>,
    /// Those that were deleted, with what they were to whom.
    lost: Vec<(StreamId, Pending)>,
    /// Whether the consumer was made.
    is_new: bool,
    /// The group's last id moved.
    moved: bool,
    last_id: StreamId,
    entries_read: Option<u64>,
}

/// Where the loop over entries is to go on.
enum Step {
    Skip,
    Claim(Pending),
    Lose(Pending),
}

/// Ends the waiting of an entry that was deleted, or looks whether it may be claimed.
fn judge(stream: &Stream, waiting: Option<Pending>, id: StreamId, min_idle: i64, now: i64) -> Step {
    match waiting {
        Some(pending) if stream.get(id).is_none() => Step::Lose(pending),
        Some(pending) if now.saturating_sub(pending.delivered) < min_idle => Step::Skip,
        Some(pending) => Step::Claim(pending),
        None => Step::Skip,
    }
}

fn group_of<'s>(cx: &'s Exec<'_, '_>, reader: Reader<'_>) -> Result<(&'s Stream, &'s Group), CommandError> {
    let stream = as_stream(cx.keys.peek(cx.db, reader.key))?;
    let found = stream.and_then(|stream| Some((stream, stream.group(reader.group)?)));
    found.ok_or_else(|| no_group(reader.key, reader.group, b""))
}

/// Answers entries as they are asked for.
fn answer(cx: &mut Exec<'_, '_>, reader: Reader<'_>, claimed: &[(StreamId, Pending)], just_id: bool) -> Outcome {
    let stream = as_stream(cx.keys.peek(cx.db, reader.key))?;
    cx.reply.array(claimed.len());
    for (id, _) in claimed {
        match stream.and_then(|stream| stream.get(*id)).filter(|_| !just_id) {
            Some(entry) => reply::entry(&mut cx.reply, &entry),
            None => reply::id(&mut cx.reply, *id),
        }
    }
    Ok(())
}

impl Outcomes {
    /// Passes on what happened.
    fn propagate(&self, cx: &mut Exec<'_, '_>, reader: Reader<'_>, lost_names: &[Vec<u8>]) {
        cx.effects.keep_local();
        if self.is_new {
            reader.tell_made(cx);
            if self.claimed.is_empty() {
                reader.propagate_made(cx);
            }
        }
        // To claim what is not there is to find that out.
        for ((id, pending), name) in self.lost.iter().zip(lost_names) {
            Reader { consumer: name, ..reader }.propagate_claim(cx, *id, *pending, self.last_id);
        }
        for (id, pending) in &self.claimed {
            reader.propagate_claim(cx, *id, *pending, self.last_id);
        }
        if self.moved && self.claimed.is_empty() && self.lost.is_empty() {
            reader.propagate_position(cx, self.last_id, self.entries_read);
        }
    }
}

/// Applies `plan` to the group: who loses an entry, and what is claimed.
fn apply(
    cx: &mut Exec<'_, '_>,
    reader: Reader<'_>,
    plan: &[(StreamId, Step)],
    last_id: StreamId,
    renew: impl Fn(Pending, u32) -> Pending,
) -> Result<(Outcomes, Vec<Vec<u8>>), CommandError> {
    let now = cx.now.0;
    let done = with_stream(cx, reader.key, |stream, _| {
        let group = stream.group_mut(reader.group)?;
        let mut outcomes = Outcomes { moved: last_id > group.last_id, ..Outcomes::default() };
        group.last_id = group.last_id.max(last_id);
        (outcomes.last_id, outcomes.entries_read) = (group.last_id, group.entries_read);
        let (consumer, is_new) = reader.appear(group, now);
        outcomes.is_new = is_new;
        let mut lost_names = Vec::new();
        for (id, step) in plan {
            match step {
                Step::Skip => {}
                Step::Lose(pending) => {
                    lost_names.push(group.consumer(pending.consumer).name().to_vec());
                    group.acknowledge(*id);
                    outcomes.lost.push((*id, *pending));
                }
                Step::Claim(pending) => {
                    let pending = renew(*pending, consumer);
                    group.set_pending(*id, pending);
                    outcomes.claimed.push((*id, pending));
                }
            }
        }
        if !outcomes.claimed.is_empty() {
            group.consumer_mut(consumer).active = Some(now);
        }
        Some((outcomes, lost_names))
    })?;
    done.flatten().ok_or_else(|| no_group(reader.key, reader.group, b""))
}

fn xclaim(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let reader = Reader { key: args.at(1), group: args.at(2), consumer: args.at(3) };
    as_stream(cx.keys.find(cx.db, reader.key))?;
    group_of(cx, reader)?;
    let now = cx.now.0;
    let claim = Claim::parse(args, now)?;
    let (stream, group) = group_of(cx, reader)?;
    let mut plan: Vec<(StreamId, Step)> = Vec::with_capacity(claim.ids.len());
    for id in &claim.ids {
        let step = match group.pending(*id) {
            // It counts as delivered once, to nobody.
            None if claim.force && stream.get(*id).is_some() => {
                Step::Claim(Pending { delivered: now, deliveries: 1, consumer: 0 })
            }
            waiting => judge(stream, waiting, *id, claim.min_idle, now),
        };
        plan.push((*id, step));
    }
    let (outcomes, lost_names) = apply(cx, reader, &plan, claim.last_id, |pending, consumer| Pending {
        delivered: claim.delivered,
        deliveries: claim.deliveries.unwrap_or(pending.deliveries.wrapping_add(u64::from(!claim.just_id))),
        consumer,
    })?;
    outcomes.propagate(cx, reader, &lost_names);
    answer(cx, reader, &outcomes.claimed, claim.just_id)
}

/// What an XAUTOCLAIM asks for.
struct Search {
    min_idle: i64,
    start: StreamId,
    count: usize,
    just_id: bool,
}

impl Search {
    fn parse(args: Args<'_>) -> Result<Search, CommandError> {
        const COUNT: CommandError = CommandError::text("ERR COUNT must be > 0");
        const COUNT_MAX: i64 = i64::MAX / 16;
        let min_idle = number(args, 4, "min-idle-time argument")?.max(0);
        let mut search = Search { min_idle, start: ids::start(args.at(5))?, count: 100, just_id: false };
        let mut at = 6;
        while at < args.len() {
            if args.is(at, "COUNT") && at + 1 < args.len() {
                let count = args.int_within(at + 1, 1, COUNT_MAX, COUNT).map_err(|_| COUNT)?;
                search.count = usize::try_from(count).map_err(|_| COUNT)?;
                at += 2;
            } else if args.is(at, "JUSTID") {
                search.just_id = true;
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(search)
    }

    /// What becomes of the entries that wait, and where the next search is to start; 0-0 if there is nothing left.
    fn plan(&self, stream: &Stream, group: &Group, now: i64) -> (Vec<(StreamId, Step)>, StreamId) {
        /// So many entries are looked at for each that may be claimed.
        const ATTEMPTS: usize = 10;
        let (mut plan, mut left, mut attempts) = (Vec::new(), self.count, self.count.saturating_mul(ATTEMPTS));
        for (id, pending) in group.pending_range(self.start, StreamId::MAX) {
            if left == 0 || attempts == 0 {
                return (plan, id);
            }
            attempts -= 1;
            let step = judge(stream, Some(pending), id, self.min_idle, now);
            if !matches!(step, Step::Skip) {
                left -= 1;
                plan.push((id, step));
            }
        }
        (plan, StreamId::MIN)
    }
}

fn xautoclaim(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let reader = Reader { key: args.at(1), group: args.at(2), consumer: args.at(3) };
    let search = Search::parse(args)?;
    let now = cx.now.0;
    as_stream(cx.keys.find(cx.db, reader.key))?;
    let (stream, group) = group_of(cx, reader)?;
    let (plan, next) = search.plan(stream, group, now);
    let (outcomes, lost_names) = apply(cx, reader, &plan, StreamId::MIN, |pending, consumer| Pending {
        delivered: now,
        deliveries: pending.deliveries.wrapping_add(u64::from(!search.just_id)),
        consumer,
    })?;
    outcomes.propagate(cx, reader, &lost_names);
    cx.reply.array(3);
    reply::id(&mut cx.reply, next);
    answer(cx, reader, &outcomes.claimed, search.just_id)?;
    cx.reply.array(outcomes.lost.len());
    for (id, _) in &outcomes.lost {
        reply::id(&mut cx.reply, *id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    /// Four entries that wait for alice since 100 ms.
    fn waiting() -> Bench {
        let mut bench = Bench::new();
        for number in 1..=4 {
            bench.run(&format!("XADD s {number}-0 f {number}"));
        }
        bench.check("XGROUP CREATE s g 0", "OK").run("XREADGROUP GROUP g alice STREAMS s >");
        bench.now += 100;
        bench
    }

    #[test]
    fn entries_are_claimed_from_others() {
        let mut bench = waiting();
        bench.check("XCLAIM s g bob 50 1-0 9-9", "[[1-0 [f 1]]]").notifies("xgroup-createconsumer s");
        bench.propagates("XCLAIM s g bob 0 1-0 TIME 1000100 RETRYCOUNT 2 FORCE JUSTID LASTID 4-0");
        bench.check("XCLAIM s g carol 50 1-0", "[]").propagates("XGROUP CREATECONSUMER s g carol");
        bench.check("XCLAIM s g carol 0 2-0 IDLE 30 JUSTID", "[2-0]");
        bench.check("XCLAIM s g carol 0 3-0 TIME 5 RETRYCOUNT 7", "[[3-0 [f 3]]]");
        bench.check("XPENDING s g - + 9", "[[1-0 bob 0 2] [2-0 carol 30 1] [3-0 carol 1000095 7] [4-0 alice 100 1]]");
        bench.check("XDEL s 1-0", "1").check("XCLAIM s g carol 0 1-0", "[]");
        bench.propagates("XCLAIM s g bob 0 1-0 TIME 1000100 RETRYCOUNT 2 FORCE JUSTID LASTID 4-0");
        bench.check("XPENDING s g - + 1", "[[2-0 carol 30 1]]").check("XACK s g 2-0", "1");
        bench.check("XCLAIM s g carol 0 2-0", "[]").check("XCLAIM s g carol 0 2-0 FORCE", "[[2-0 [f 2]]]");
        bench.check("XCLAIM s g carol 0 9-0 FORCE LASTID 9", "[]").propagates("XGROUP SETID s g 9-0 ENTRIESREAD 4");
        bench.script(
            "XCLAIM none g c 0 1-0 => NOGROUP No such key 'none' or consumer group 'g'
             XCLAIM s none c 0 1-0 => NOGROUP No such key 's' or consumer group 'none'
             XCLAIM s g c x 1-0 => ERR Invalid min-idle-time argument for XCLAIM
             XCLAIM s g c 0 1-0 IDLE x => ERR Invalid IDLE option argument for XCLAIM
             XCLAIM s g c 0 1-0 TIME x => ERR Invalid TIME option argument for XCLAIM
             XCLAIM s g c 0 1-0 RETRYCOUNT x => ERR Invalid RETRYCOUNT option argument for XCLAIM
             XCLAIM s g c 0 1-0 LASTID x => ERR Invalid stream ID specified as stream command argument
             XCLAIM s g c 0 1-0 foo => ERR Unrecognized XCLAIM option 'foo'",
        );
    }

    #[test]
    fn what_waited_long_is_claimed_piece_by_piece() {
        let mut bench = waiting();
        bench.check("XDEL s 2-0", "1");
        bench.check("XAUTOCLAIM s g bob 50 - COUNT 2", "[3-0 [[1-0 [f 1]]] [2-0]]").propagates(
            "XCLAIM s g alice 0 2-0 TIME 1000000 RETRYCOUNT 1 FORCE JUSTID LASTID 4-0; \
             XCLAIM s g bob 0 1-0 TIME 1000100 RETRYCOUNT 2 FORCE JUSTID LASTID 4-0",
        );
        bench.check("XAUTOCLAIM s g bob 50 3-0 JUSTID", "[0-0 [3-0 4-0] []]");
        bench.check("XPENDING s g - + 9", "[[1-0 bob 0 2] [3-0 bob 0 1] [4-0 bob 0 1]]");
        bench.check("XAUTOCLAIM s g bob 50 0", "[0-0 [] []]").propagates("");
        bench.script(
            "XAUTOCLAIM none g c 0 0 => NOGROUP No such key 'none' or consumer group 'g'
             XAUTOCLAIM s g c x 0 => ERR Invalid min-idle-time argument for XAUTOCLAIM
             XAUTOCLAIM s g c 0 x => ERR Invalid stream ID specified as stream command argument
             XAUTOCLAIM s g c 0 0 COUNT 0 => ERR COUNT must be > 0
             XAUTOCLAIM s g c 0 0 COUNT x => ERR COUNT must be > 0
             XAUTOCLAIM s g c 0 0 FOO => ERR syntax error",
        );
    }
}

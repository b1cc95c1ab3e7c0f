//! ZPOPMIN, ZPOPMAX, ZMPOP and their blocking forms: members taken from one of a sorted set's ends.
//!
//! What looks at several keys, or waits, is passed on as the plain pop that it came to.

use quorate_values::listpack::Item;

use super::reply::Scores;
use crate::exec::as_zset;
use crate::{
    Access, Args, Arity, Block, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec, TimeoutReply,
};

const POPPING: Spec = Spec {
    group: Group::SortedSet,
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_DELETE)],
    since: "5.0.0",
    complexity: "O(log(N)*M) for M members taken of N",
    ..Spec::BLANK
};

const BLOCKING: Spec = Spec {
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::NO_SCRIPT).and(Flags::FAST).and(Flags::BLOCKING),
    keys: &[(Keys::Span { first: 1, last: -2, step: 1 }, Access::READ_DELETE)],
    complexity: "O(log(N)) for N members",
    ..POPPING
};

/// BZMPOP timeout numkeys key [key ...] MIN|MAX [COUNT count]
pub(crate) static BZMPOP: Spec = Spec {
    name: "bzmpop",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLE_KEYS),
    keys: &[(Keys::Counted { count_at: 2 }, Access::READ_DELETE)],
    since: "7.0.0",
    complexity: "O(K)+O(M*log(N)) for K keys and M members taken of N",
    summary: "Takes members from the first sorted set that has any, and waits if none has.",
    run: Run::Data(bzmpop),
    ..BLOCKING
};

/// BZPOPMAX key [key ...] timeout
pub(crate) static BZPOPMAX: Spec = Spec {
    name: "bzpopmax",
    summary: "Takes the member with the highest score from the first sorted set that has any, and waits if none has.",
    run: Run::Data(|cx, args| bzpop(cx, args, End::Max)),
    ..BLOCKING
};

/// BZPOPMIN key [key ...] timeout
pub(crate) static BZPOPMIN: Spec = Spec {
    name: "bzpopmin",
    summary: "Takes the member with the lowest score from the first sorted set that has any, and waits if none has.",
    run: Run::Data(|cx, args| bzpop(cx, args, End::Min)),
    ..BLOCKING
};

/// ZMPOP numkeys key [key ...] MIN|MAX [COUNT count]
pub(crate) static ZMPOP: Spec = Spec {
    name: "zmpop",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.and(Flags::MOVABLE_KEYS),
    keys: &[(Keys::Counted { count_at: 1 }, Access::READ_DELETE)],
    since: "7.0.0",
    complexity: "O(K)+O(M*log(N)) for K keys and M members taken of N",
    summary: "Takes members from the first sorted set that has any.",
    run: Run::Data(zmpop),
    ..POPPING
};

/// ZPOPMAX key [count]
pub(crate) static ZPOPMAX: Spec = Spec {
    name: "zpopmax",
    arity: Arity::AtLeast(2),
    summary: "Removes and returns the members with the highest scores.",
    run: Run::Data(|cx, args| zpop(cx, args, End::Max)),
    ..POPPING
};

/// ZPOPMIN key [count]
pub(crate) static ZPOPMIN: Spec = Spec {
    name: "zpopmin",
    arity: Arity::AtLeast(2),
    summary: "Removes and returns the members with the lowest scores.",
    run: Run::Data(|cx, args| zpop(cx, args, End::Min)),
    ..POPPING
};

/// From which end members are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }

    /// The command that takes from this end of one sorted set.
    fn command(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }
}

/// Takes up to `count` members, which are written to the reply by `answer` before they go: it is told how many
/// there are, and shows each with the function it is given. Whether there were any.
fn take(cx: &mut Exec<'_, '_>, key: &[u8], end: End, count: usize, scores: Scores) -> Result<usize, CommandError> {
    let Some(zset) = as_zset(cx.keys.find(cx.db, key))? else { return Ok(0) };
    let len = zset.len();
    let count = count.min(len);
    if count == 0 {
        return Ok(0);
    }
    let ranks = match end {
        End::Min => 0..count,
        End::Max => len - count..len,
    };
    let mut answer = |(member, score): (Item<'_>, f64)| scores.member(&mut cx.reply, member, score);
    match end {
        End::Min => zset.range(ranks.clone()).for_each(&mut answer),
        End::Max => zset.range_rev(ranks.clone()).for_each(&mut answer),
    }
    if count == len {
        cx.keys.remove(cx.db, key);
        cx.changed(count);
        cx.notify(Class::ZSET, end.event(), key);
        cx.notify(Class::GENERIC, "del", key);
    } else {
        cx.with_zset(key, |zset, _| zset.remove_range(ranks, |_, _| {}))?;
        cx.modified(key, count);
        cx.notify(Class::ZSET, end.event(), key);
    }
    Ok(count)
}

/// How many members there are at `key`.
fn available(cx: &mut Exec<'_, '_>, key: &[u8]) -> Result<usize, CommandError> {
    Ok(as_zset(cx.keys.find(cx.db, key))?.map_or(0, |zset| zset.len()))
}

fn zpop(cx: &mut Exec<'_, '_>, args: Args<'_>, end: End) -> Outcome {
    let count = match args.len() {
        2 => None,
        3 => {
            let count = args.int(2).map_err(|_| CommandError::NotPositive)?;
            Some(usize::try_from(count).map_err(|_| CommandError::NotPositive)?)
        }
        _ => return Err(CommandError::Syntax),
    };
    let key = args.at(1);
    let taken = available(cx, key)?.min(count.unwrap_or(1));
    if taken == 0 {
        cx.reply.array(0);
        return Ok(());
    }
    // Without a count there is one member, and nothing to nest.
    let scores = match count {
        Some(_) => Scores::wanted(true, cx.reply.protocol()),
        None => Scores::Flat,
    };
    scores.head(&mut cx.reply, taken);
    take(cx, key, end, taken, scores)?;
    Ok(())
}

/// What ZMPOP and BZMPOP are told.
struct Request<'a> {
    keys: &'a [&'a [u8]],
    end: End,
    count: usize,
}

impl<'a> Request<'a> {
    /// Reads everything from the number of keys at `at` on.
    fn parse(args: Args<'a>, at: usize) -> Result<Request<'a>, CommandError> {
        const NUMKEYS: CommandError = CommandError::text("ERR numkeys should be greater than 0");
        const COUNT: CommandError = CommandError::text("ERR count should be greater than 0");
        let positive = |index: usize, error: CommandError| {
            let value = args.int(index).ok().filter(|&value| value > 0);
            value.and_then(|value| usize::try_from(value).ok()).ok_or(error)
        };
        let number = positive(at, NUMKEYS)?;
        let behind = at.saturating_add(1).saturating_add(number);
        let end = match args.get(behind) {
            Some(word) if word.eq_ignore_ascii_case(b"MIN") => End::Min,
            Some(word) if word.eq_ignore_ascii_case(b"MAX") => End::Max,
            _ => return Err(CommandError::Syntax),
        };
        let count = match args.len() - behind - 1 {
            0 => 1,
            2 if args.is(behind + 1, "COUNT") => positive(behind + 2, COUNT)?,
            // What is wrong with the count is said before what is wrong with the rest.
            3.. if args.is(behind + 1, "COUNT") => positive(behind + 2, COUNT).and(Err(CommandError::Syntax))?,
            _ => return Err(CommandError::Syntax),
        };
        Ok(Request { keys: &args.words()[at + 1..behind], end, count })
    }

    /// Takes from the first sorted set that has any members; whether there is one.
    fn serve(&self, cx: &mut Exec<'_, '_>) -> Result<bool, CommandError> {
        for key in self.keys {
            let taken = available(cx, key)?.min(self.count);
            if taken == 0 {
                continue;
            }
            cx.reply.array(2);
            cx.reply.bulk(key);
            cx.reply.array(taken);
            take(cx, key, self.end, taken, Scores::Nested)?;
            cx.propagate(&[self.end.command(), key, itoa::Buffer::new().format(taken).as_bytes()]);
            return Ok(true);
        }
        Ok(false)
    }
}

fn zmpop(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    if !Request::parse(args, 1)?.serve(cx)? {
        cx.reply.null_array();
    }
    Ok(())
}

fn bzmpop(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let request = Request::parse(args, 2)?;
    let until = args.deadline(1, cx.now)?;
    if !request.serve(cx)? {
        wait(cx, request.keys, until);
    }
    Ok(())
}

fn bzpop(cx: &mut Exec<'_, '_>, args: Args<'_>, end: End) -> Outcome {
    let last = args.len() - 1;
    let until = args.deadline(last, cx.now)?;
    let keys = &args.words()[1..last];
    for key in keys {
        if available(cx, key)? == 0 {
            continue;
        }
        cx.reply.array(3);
        cx.reply.bulk(key);
        take(cx, key, end, 1, Scores::Flat)?;
        cx.propagate(&[end.command(), key]);
        return Ok(());
    }
    wait(cx, keys, until);
    Ok(())
}

/// Waits for one of the keys, or answers that there is nothing where it must not wait.
fn wait(cx: &mut Exec<'_, '_>, keys: &[&[u8]], until: Option<quorate_stdx::UnixMs>) {
    if !cx.may_block() {
        cx.reply.null_array();
        return;
    }
    cx.block = Some(Block::new(keys, until, TimeoutReply::NullArray));
}

#[cfg(test)]
mod tests {
    use quorate_resp::Protocol;

    use crate::testing::Bench;

    #[test]
    fn members_are_taken_from_both_ends() {
        for most in [128, 0] {
            let mut bench = Bench::new();
            bench.settings.limits.zset_max_listpack_entries = most;
            bench.check("ZADD z 1 a 2 b 3 c 4 d 5 e", "5");
            bench.check("ZPOPMIN z", "[a 1]").propagates("ZPOPMIN z").notifies("zpopmin z");
            bench.check("ZPOPMAX z 2", "[e 5 d 4]").propagates("ZPOPMAX z 2").notifies("zpopmax z");
            bench.check("ZPOPMIN z 0", "[]").propagates("").notifies("");
            bench.protocol = Protocol::Resp3;
            bench.check("ZPOPMAX z", "[c Double(3.0)]");
            bench.check("ZPOPMAX z 7", "[[b Double(2.0)]]").notifies("zpopmax z; del z").check("EXISTS z", "0");
        }
        let mut bench = Bench::new();
        bench.script(
            "ZPOPMIN none => []
             ZPOPMIN none 3 => []
             ZPOPMIN none -1 => ERR value is out of range, must be positive
             ZPOPMIN none x => ERR value is out of range, must be positive
             ZPOPMIN none 1 1 => ERR syntax error
             SET s v => OK
             ZPOPMIN s => WRONGTYPE Operation against a key holding the wrong kind of value
             ZPOPMIN s 0 => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }

    #[test]
    fn the_first_sorted_set_with_members_gives_them() {
        let mut bench = Bench::new();
        bench.check("ZADD z 1 a 2 b 3 c", "3").check("ZADD y 9 i", "1");
        bench.check("ZMPOP 3 none z y MIN", "[z [[a 1]]]").propagates("ZPOPMIN z 1").notifies("zpopmin z");
        bench.check("ZMPOP 2 z y MAX COUNT 9", "[z [[c 3] [b 2]]]").propagates("ZPOPMAX z 2");
        bench.notifies("zpopmax z; del z").check("ZMPOP 1 none MIN", "nil").propagates("");
        bench.script(
            "ZMPOP 0 z MIN => ERR numkeys should be greater than 0
             ZMPOP x z MIN => ERR numkeys should be greater than 0
             ZMPOP 2 z MIN => ERR syntax error
             ZMPOP 9223372036854775807 z MIN => ERR syntax error
             ZMPOP 1 z MIDDLE => ERR syntax error
             ZMPOP 1 z MIN COUNT => ERR syntax error
             ZMPOP 1 z MIN COUNT 0 => ERR count should be greater than 0
             ZMPOP 1 z MIN COUNT 1 COUNT 2 => ERR syntax error
             BZMPOP x 1 z MIN => ERR timeout is not a float or out of range
             BZMPOP -1 1 y MIN => ERR timeout is negative
             SET s v => OK
             ZMPOP 2 none s MIN => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
        bench.check("BZMPOP 1 2 none y MIN COUNT 2", "[y [[i 9]]]").propagates("ZPOPMIN y 1");
    }

    #[test]
    fn what_need_not_wait_is_a_plain_pop_for_replicas() {
        let mut bench = Bench::new();
        bench.check("ZADD z 1.5 a 2 b", "2");
        bench.check("BZPOPMIN none z 0", "[z a 1.5]").propagates("ZPOPMIN z").notifies("zpopmin z");
        bench.protocol = Protocol::Resp3;
        bench.check("BZPOPMAX z 0.1", "[z b Double(2.0)]").propagates("ZPOPMAX z").notifies("zpopmax z; del z");
        bench.check("BZPOPMIN z x", "ERR timeout is not a float or out of range");
        bench
            .check("SET s v", "OK")
            .check("BZPOPMIN none s 0", "WRONGTYPE Operation against a key holding the wrong kind of value");
    }
}

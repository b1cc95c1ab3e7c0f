//! ZRANGE and the older commands that ask for one of its forms: members in a range, in order.
//!
//! ZRANGESTORE goes to replicas as it came: they hold the same sorted set.

use std::ops::Range;

use quorate_values::{Members, Value, ZSet};

use super::bounds::{index_range, lex_range, score_range};
use super::reply::Scores;
use crate::exec::as_zset;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const READING: Spec = Spec {
    group: Group::SortedSet,
    arity: Arity::AtLeast(4),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    complexity: "O(log(N)+M) for M members returned of N",
    ..Spec::BLANK
};

/// ZRANGE key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
pub(crate) static ZRANGE: Spec = Spec {
    name: "zrange",
    since: "1.2.0",
    summary: "Returns the members in a range of ranks, scores or names.",
    run: Run::Data(|cx, args| answer(cx, args, None, None)),
    ..READING
};

/// ZRANGEBYLEX key min max [LIMIT offset count]
pub(crate) static ZRANGEBYLEX: Spec = Spec {
    name: "zrangebylex",
    deprecated: Some(("6.2.0", "ZRANGE with BYLEX")),
    since: "2.8.9",
    summary: "Returns the members that lie in a range, in a sorted set whose scores are all equal.",
    run: Run::Data(|cx, args| answer(cx, args, Some(By::Lex), Some(Order::Forward))),
    ..READING
};

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
pub(crate) static ZRANGEBYSCORE: Spec = Spec {
    name: "zrangebyscore",
    deprecated: Some(("6.2.0", "ZRANGE with BYSCORE")),
    since: "1.0.5",
    summary: "Returns the members whose scores lie in a range.",
    run: Run::Data(|cx, args| answer(cx, args, Some(By::Score), Some(Order::Forward))),
    ..READING
};

/// ZRANGESTORE destination source min max [BYSCORE|BYLEX] [REV] [LIMIT offset count]
pub(crate) static ZRANGESTORE: Spec = Spec {
    name: "zrangestore",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::OVERWRITE), (Keys::At(2), Access::READ)],
    since: "6.2.0",
    complexity: "O(log(N)+M) for M members stored of N",
    summary: "Stores the members in a range of ranks, scores or names.",
    run: Run::Data(zrangestore),
    ..READING
};

/// ZREVRANGE key start stop [WITHSCORES]
pub(crate) static ZREVRANGE: Spec = Spec {
    name: "zrevrange",
    deprecated: Some(("6.2.0", "ZRANGE with REV")),
    since: "1.2.0",
    summary: "Returns the members in a range of ranks that are counted from the highest score.",
    run: Run::Data(|cx, args| answer(cx, args, Some(By::Rank), Some(Order::Reverse))),
    ..READING
};

/// ZREVRANGEBYLEX key max min [LIMIT offset count]
pub(crate) static ZREVRANGEBYLEX: Spec = Spec {
    name: "zrevrangebylex",
    deprecated: Some(("6.2.0", "ZRANGE with REV and BYLEX")),
    since: "2.8.9",
    summary: "Returns the members that lie in a range, the last first, in a sorted set whose scores are all equal.",
    run: Run::Data(|cx, args| answer(cx, args, Some(By::Lex), Some(Order::Reverse))),
    ..READING
};

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]
pub(crate) static ZREVRANGEBYSCORE: Spec = Spec {
    name: "zrevrangebyscore",
    deprecated: Some(("6.2.0", "ZRANGE with REV and BYSCORE")),
    since: "2.2.0",
    summary: "Returns the members whose scores lie in a range, the highest first.",
    run: Run::Data(|cx, args| answer(cx, args, Some(By::Score), Some(Order::Reverse))),
    ..READING
};

/// What the bounds of a range are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Rank,
    Score,
    Lex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Forward,
    Reverse,
}

/// The ranks that lie between two bounds. Bounds are read before the key is looked at.
pub(super) enum Bounds<'a> {
    Rank(i64, i64),
    Score(quorate_values::ScoreRange),
    Lex(quorate_values::LexRange<'a>),
}

impl<'a> Bounds<'a> {
    /// Reads the bounds at `from` and behind.
    pub(super) fn parse(by: By, args: Args<'a>, from: usize) -> Result<Bounds<'a>, CommandError> {
        Bounds::of(by, args.at(from), args.at(from + 1))
    }

    fn of(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Bounds<'a>, CommandError> {
        Ok(match by {
            By::Rank => {
                let words = [min, max];
                let words = Args::new(&words);
                Bounds::Rank(words.int(0)?, words.int(1)?)
            }
            By::Score => Bounds::Score(score_range(min, max)?),
            By::Lex => Bounds::Lex(lex_range(min, max)?),
        })
    }

    /// The ranks of the members in between; those of [`Bounds::Rank`] as they are counted from the front.
    pub(super) fn ranks(&self, zset: &ZSet) -> Range<usize> {
        match self {
            Bounds::Rank(start, end) => index_range(*start, *end, zset.len()),
            Bounds::Score(range) => zset.ranks_by_score(range),
            Bounds::Lex(range) => zset.ranks_by_lex(range),
        }
    }
}

/// A range as it was asked for.
struct Request<'a> {
    bounds: Bounds<'a>,
    order: Order,
    offset: i64,
    /// Below 0: all.
    limit: i64,
    with_scores: bool,
}

impl<'a> Request<'a> {
    /// Reads bounds and options from the argument at `from` on. What a command does not leave open its options
    /// can't say.
    fn parse(
        args: Args<'a>,
        from: usize,
        by: Option<By>,
        order: Option<Order>,
        stores: bool,
    ) -> Result<Request<'a>, CommandError> {
        let (mut offset, mut limit) = (0, -1);
        let mut with_scores = false;
        let (mut chosen_by, mut chosen_order) = (by, order);
        let mut at = from + 2;
        while at < args.len() {
            if !stores && args.is(at, "WITHSCORES") {
                with_scores = true;
            } else if args.is(at, "LIMIT") && at + 2 < args.len() {
                (offset, limit) = (args.int(at + 1)?, args.int(at + 2)?);
                at += 2;
            } else if chosen_order.is_none() && args.is(at, "REV") {
                chosen_order = Some(Order::Reverse);
            } else if chosen_by.is_none() && args.is(at, "BYLEX") {
                chosen_by = Some(By::Lex);
            } else if chosen_by.is_none() && args.is(at, "BYSCORE") {
                chosen_by = Some(By::Score);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        let (by, order) = (chosen_by.unwrap_or(By::Rank), chosen_order.unwrap_or(Order::Forward));
        if limit != -1 && by == By::Rank {
            return Err(CommandError::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(CommandError::text("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        if by == By::Rank {
            // A limit of -1 is let through, and nothing is made of it.
            offset = 0;
        }
        let (first, second) = (args.at(from), args.at(from + 1));
        // Backwards the upper bound comes first; ranks are counted from the other end instead.
        let is_swapped = order == Order::Reverse && by != By::Rank;
        let (min, max) = if is_swapped { (second, first) } else { (first, second) };
        Ok(Request { bounds: Bounds::of(by, min, max)?, order, offset, limit, with_scores })
    }

    /// The members that are asked for.
    fn members<'z>(&self, zset: &'z ZSet) -> Members<'z> {
        let mut ranks = self.bounds.ranks(zset);
        if self.order == Order::Reverse && matches!(self.bounds, Bounds::Rank(..)) {
            ranks = zset.len() - ranks.end..zset.len() - ranks.start;
        }
        // A negative offset leaves nothing, a negative limit everything.
        let skipped = usize::try_from(self.offset).unwrap_or(usize::MAX).min(ranks.len());
        let taken = usize::try_from(self.limit).unwrap_or(usize::MAX).min(ranks.len() - skipped);
        match self.order {
            Order::Forward => zset.range(ranks.start + skipped..ranks.start + skipped + taken),
            Order::Reverse => zset.range_rev(ranks.end - skipped - taken..ranks.end - skipped),
        }
    }
}

fn answer(cx: &mut Exec<'_, '_>, args: Args<'_>, by: Option<By>, order: Option<Order>) -> Outcome {
    let request = Request::parse(args, 2, by, order, false)?;
    let scores = Scores::wanted(request.with_scores, cx.reply.protocol());
    match as_zset(cx.keys.read(cx.db, args.at(1)))? {
        Some(zset) => scores.members(&mut cx.reply, request.members(zset)),
        None => cx.reply.array(0),
    }
    Ok(())
}

fn zrangestore(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let request = Request::parse(args, 3, None, None, true)?;
    let limits = cx.settings.limits;
    let zset = as_zset(cx.keys.read(cx.db, args.at(2)))?;
    let members = zset.map(|zset| request.members(zset).map(|(member, score)| (member.to_vec(), score)).collect());
    let result = ZSet::from_members(members.unwrap_or_default(), &limits).expect("no member is there twice");
    store(cx, args.at(1), result, "zrangestore");
    Ok(())
}

/// Puts a result in the place of whatever `key` holds, or removes that if there is nothing in the result, and
/// answers how many members there are.
pub(super) fn store(cx: &mut Exec<'_, '_>, key: &[u8], zset: ZSet, event: &'static str) {
    let len = zset.len();
    if len > 0 {
        cx.keys.settle(cx.db, key);
        cx.keys.insert_value(cx.db, key, Value::ZSet(Box::new(zset)));
        cx.changed(1);
        cx.notify(Class::ZSET, event, key);
    } else if cx.keys.remove(cx.db, key).is_some() {
        cx.changed(1);
        cx.notify(Class::GENERIC, "del", key);
    }
    cx.reply.count(len);
}

#[cfg(test)]
mod tests {
    use quorate_resp::Protocol;

    use crate::testing::Bench;

    fn in_both_forms(test: impl Fn(&mut Bench)) {
        for most in [128, 0] {
            let mut bench = Bench::new();
            bench.settings.limits.zset_max_listpack_entries = most;
            test(&mut bench);
        }
    }

    #[test]
    fn ranges_of_ranks_and_scores_are_answered() {
        in_both_forms(|bench| {
            bench.script(
                "ZADD z 1 a 2 b 3 c 4 d 5 e => 5
                 ZRANGE z 0 -1 => [a b c d e]
                 ZRANGE z 1 2 WITHSCORES => [b 2 c 3]
                 ZRANGE z -2 -1 REV => [b a]
                 ZREVRANGE z 0 1 WITHSCORES => [e 5 d 4]
                 ZRANGE z 3 1 => []
                 ZRANGE z 0 0 REV => [e]
                 ZRANGEBYSCORE z 2 4 => [b c d]
                 ZRANGEBYSCORE z (2 +inf WITHSCORES LIMIT 1 2 => [d 4 e 5]
                 ZREVRANGEBYSCORE z 4 (2 => [d c]
                 ZREVRANGEBYSCORE z +inf -inf LIMIT 1 2 => [d c]
                 ZRANGE z (1 3 BYSCORE => [b c]
                 ZRANGE z 3 (1 BYSCORE REV LIMIT 0 1 => [c]
                 ZRANGEBYSCORE z 0 9 LIMIT 2 -1 => [c d e]
                 ZRANGEBYSCORE z 0 9 LIMIT 0 0 => []
                 ZRANGEBYSCORE z 0 9 LIMIT -1 2 => []
                 ZRANGEBYSCORE z 0 9 LIMIT 9 2 => []
                 ZREVRANGEBYSCORE z 9 0 LIMIT 4 5 => [a]
                 ZRANGE z 0 1 LIMIT 1 -1 => [a b]
                 ZRANGE none 0 -1 WITHSCORES => []",
            );
        });
    }

    #[test]
    fn ranges_of_names_are_answered() {
        in_both_forms(|bench| {
            bench.script(
                "ZADD z 0 a 0 b 0 c 0 d 0 17 => 5
                 ZRANGEBYLEX z - + => [17 a b c d]
                 ZRANGEBYLEX z [b (d => [b c]
                 ZREVRANGEBYLEX z (d [b => [c b]
                 ZRANGE z [b + BYLEX LIMIT 1 1 => [c]
                 ZRANGE z + [b BYLEX REV => [d c b]
                 ZRANGEBYLEX z + - => []
                 ZRANGEBYLEX z [x [y => []",
            );
        });
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let limit = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
        let mut bench = Bench::new();
        bench.script(
            "ZADD z 1 a => 1
             ZRANGE z 0 x => ERR value is not an integer or out of range
             ZRANGE z 0 1 FOO => ERR syntax error
             ZRANGE z 0 1 LIMIT 1 => ERR syntax error
             ZRANGE z 0 1 BYLEX LIMIT x 1 => ERR value is not an integer or out of range
             ZREVRANGE z 0 1 REV => ERR syntax error
             ZREVRANGE z 0 1 BYSCORE => ERR syntax error
             ZRANGEBYSCORE z 0 x => ERR min or max is not a float
             ZRANGEBYLEX z 0 x => ERR min or max not valid string range item
             ZRANGESTORE d z 0 1 WITHSCORES => ERR syntax error
             ZRANGEBYLEX z - + WITHSCORES => ERR syntax error, WITHSCORES not supported in combination with BYLEX
             SET s v => OK
             ZRANGE s 0 1 => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
        bench.check("ZRANGE z 0 1 LIMIT 1 1", limit).check("ZREVRANGE z 0 1 LIMIT 1 1", limit);
    }

    #[test]
    fn scores_are_nested_in_the_new_protocol() {
        let mut bench = Bench::new();
        bench.check("ZADD z 1 a 2.5 b", "2");
        bench.protocol = Protocol::Resp3;
        bench.check("ZRANGE z 0 -1 WITHSCORES", "[[a Double(1.0)] [b Double(2.5)]]");
        bench.check("ZRANGE z 0 -1", "[a b]");
    }

    #[test]
    fn a_range_is_stored() {
        let mut bench = Bench::new();
        bench.check("ZADD z 1 a 2 b 3 c", "3").check("SET d v EX 9", "OK");
        bench.check("ZRANGESTORE d z 0 1", "2").propagates("ZRANGESTORE d z 0 1").notifies("zrangestore d");
        bench.check("ZRANGE d 0 -1 WITHSCORES", "[a 1 b 2]").check("TTL d", "-1");
        bench.check("ZRANGESTORE z z 2 +inf BYSCORE REV LIMIT 0 1", "0").check("EXISTS z", "0");
        bench.check("ZRANGESTORE d d +inf 2 BYSCORE REV LIMIT 0 1", "1").check("ZRANGE d 0 -1", "[b]");
        bench.check("ZRANGESTORE d none 0 -1", "0").propagates("ZRANGESTORE d none 0 -1").notifies("del d");
        bench.check("ZRANGESTORE d none 0 -1", "0").propagates("").check("EXISTS d", "0");
    }
}

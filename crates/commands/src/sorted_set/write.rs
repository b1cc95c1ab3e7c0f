//! ZADD, ZINCRBY and ZREM: members added, moved and removed.
//!
//! All three go to replicas as they came: the same additions of the same doubles have the same sums there.

use quorate_values::{ZSet, parse_double};

use super::reply::push_score;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const SORTED_SET: Spec = Spec { group: Group::SortedSet, since: "1.2.0", ..Spec::BLANK };

/// ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member [score member ...]
pub(crate) static ZADD: Spec = Spec {
    name: "zadd",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::UPDATE)],
    complexity: "O(log(N)) a member, for N members of the sorted set",
    summary: "Adds members to a sorted set or gives them other scores; makes the key if it is not there.",
    run: Run::Data(zadd),
    ..SORTED_SET
};

/// ZINCRBY key increment member
pub(crate) static ZINCRBY: Spec = Spec {
    name: "zincrby",
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_UPDATE)],
    complexity: "O(log(N)) for N members",
    summary: "Adds to the score of a member.",
    run: Run::Data(zincrby),
    ..SORTED_SET
};

/// ZREM key member [member ...]
pub(crate) static ZREM: Spec = Spec {
    name: "zrem",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::DELETE)],
    complexity: "O(M*log(N)) for M members of N",
    summary: "Removes members of a sorted set, and the sorted set with the last one.",
    run: Run::Data(zrem),
    ..SORTED_SET
};

/// What a ZADD is told besides scores and members.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    /// Only new members.
    nx: bool,
    /// Only members that are there.
    xx: bool,
    /// Only to higher scores.
    gt: bool,
    /// Only to lower scores.
    lt: bool,
    /// Changes count in the reply too.
    ch: bool,
    /// The score is an increment.
    incr: bool,
}

/// What became of one member.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Added(f64),
    /// It has the score, and had another.
    Moved(f64),
    /// It has the score, as before.
    Kept(f64),
    /// The options don't let it be touched.
    Refused,
    /// The sum of its score and the increment is no number.
    NotANumber,
}

impl Options {
    /// The options of a request, and the index of the first score.
    fn parse(args: Args<'_>) -> (Options, usize) {
        let mut options = Options::default();
        let mut at = 2;
        while at < args.len() {
            let option = match args.at(at) {
                word if word.eq_ignore_ascii_case(b"NX") => &mut options.nx,
                word if word.eq_ignore_ascii_case(b"XX") => &mut options.xx,
                word if word.eq_ignore_ascii_case(b"GT") => &mut options.gt,
                word if word.eq_ignore_ascii_case(b"LT") => &mut options.lt,
                word if word.eq_ignore_ascii_case(b"CH") => &mut options.ch,
                word if word.eq_ignore_ascii_case(b"INCR") => &mut options.incr,
                _ => break,
            };
            *option = true;
            at += 1;
        }
        (options, at)
    }

    /// Whether the options go together, for that many members.
    fn check(self, members: usize) -> Result<(), CommandError> {
        if self.nx && self.xx {
            return Err(CommandError::text("ERR XX and NX options at the same time are not compatible"));
        }
        if [self.nx, self.gt, self.lt].into_iter().filter(|on| *on).count() > 1 {
            return Err(CommandError::text("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if self.incr && members > 1 {
            return Err(CommandError::text("ERR INCR option supports a single increment-element pair"));
        }
        Ok(())
    }

    /// What becomes of a member that has the score `old`, if any, and is given `score`.
    fn decide(self, old: Option<f64>, score: f64) -> Fate {
        let Some(old) = old else { return if self.xx { Fate::Refused } else { Fate::Added(score) } };
        if self.nx {
            return Fate::Refused;
        }
        let new = if self.incr { old + score } else { score };
        if new.is_nan() {
            Fate::NotANumber
        } else if self.lt && new >= old || self.gt && new <= old {
            Fate::Refused
        } else if new == old {
            Fate::Kept(new)
        } else {
            Fate::Moved(new)
        }
    }

    fn apply(self, zset: &mut ZSet, limits: &quorate_values::Limits, member: &[u8], score: f64) -> Fate {
        let mut fate = Fate::Refused;
        zset.update(member, limits, |old| {
            fate = self.decide(old, score);
            match fate {
                Fate::Added(score) | Fate::Moved(score) => Some(score),
                Fate::Kept(_) | Fate::Refused | Fate::NotANumber => None,
            }
        });
        fate
    }
}

pub(crate) fn zadd(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (options, first) = Options::parse(args);
    let pairs = args.from(first);
    if pairs.is_empty() || pairs.len() % 2 == 1 {
        return Err(CommandError::Syntax);
    }
    options.check(pairs.len() / 2)?;
    // All scores are looked at before anything changes.
    for pair in pairs.chunks_exact(2) {
        score(pair[0])?;
    }
    if options.incr {
        return increment(cx, args.at(1), options, score(pairs[0])?, pairs[1]);
    }
    let key = args.at(1);
    let (added, moved) = cx.with_zset_or_new(key, |zset, limits| {
        let (mut added, mut moved) = (0, 0);
        for pair in pairs.chunks_exact(2) {
            let score = parse_double(pair[0]).expect("looked at above");
            match options.apply(zset, limits, pair[1], score) {
                Fate::Added(_) => added += 1,
                Fate::Moved(_) => moved += 1,
                Fate::Kept(_) | Fate::Refused | Fate::NotANumber => {}
            }
        }
        (added, moved)
    })?;
    if added + moved > 0 {
        cx.modified(key, added + moved);
        cx.notify(Class::ZSET, "zadd", key);
    }
    cx.reply.count(if options.ch { added + moved } else { added });
    Ok(())
}

fn zincrby(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    if ["NX", "XX", "GT", "LT", "CH", "INCR"].iter().any(|option| args.is(2, option)) {
        // For Redis it is ZADD with an option, and then lacks a score.
        return Err(CommandError::Syntax);
    }
    let options = Options { incr: true, ..Options::default() };
    increment(cx, args.at(1), options, score(args.at(2))?, args.at(3))
}

fn score(text: &[u8]) -> Result<f64, CommandError> {
    parse_double(text).ok_or(CommandError::NotFloat)
}

fn increment(cx: &mut Exec<'_, '_>, key: &[u8], options: Options, by: f64, member: &[u8]) -> Outcome {
    let fate = cx.with_zset_or_new(key, |zset, limits| options.apply(zset, limits, member, by))?;
    match fate {
        Fate::Added(score) | Fate::Moved(score) => {
            cx.modified(key, 1);
            cx.notify(Class::ZSET, "zincr", key);
            push_score(&mut cx.reply, score);
        }
        Fate::Kept(score) => push_score(&mut cx.reply, score),
        Fate::Refused => cx.reply.null(),
        Fate::NotANumber => return Err(CommandError::text("ERR resulting score is not a number (NaN)")),
    }
    Ok(())
}

fn zrem(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let removed =
        cx.with_zset(key, |zset, _| args.from(2).iter().filter(|member| zset.remove(member).is_some()).count())?;
    let removed = removed.unwrap_or(0);
    if removed > 0 {
        cx.modified(key, removed);
        cx.notify(Class::ZSET, "zrem", key);
        cx.drop_if_empty(key);
    }
    cx.reply.count(removed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate_resp::Protocol;

    use crate::testing::Bench;

    #[test]
    fn members_are_added_and_moved() {
        let mut bench = Bench::new();
        bench.check("ZADD z 1 a 2 b", "2").propagates("ZADD z 1 a 2 b").notifies("zadd z");
        bench.check("ZADD z 1 a", "0").propagates("").notifies("");
        bench.check("ZADD z 3 a", "0").propagates("ZADD z 3 a").notifies("zadd z");
        bench.check("ZADD z CH 4 a 1 c 2 b", "2").check("ZRANGE z 0 -1 WITHSCORES", "[c 1 b 2 a 4]");
        bench.check("ZADD z 1 d 2 d", "1").check("ZSCORE z d", "2");
        bench.script(
            "ZADD z x a => ERR value is not a valid float
             ZADD z nan a => ERR value is not a valid float
             ZADD z 1 e x f => ERR value is not a valid float
             ZSCORE z e => nil
             ZADD z 1 a 2 => ERR syntax error
             ZADD z nx xx => ERR syntax error
             ZADD z nx xx 1 a => ERR XX and NX options at the same time are not compatible
             ZADD z nx gt 1 a => ERR GT, LT, and/or NX options at the same time are not compatible
             ZADD z gt lt 1 a => ERR GT, LT, and/or NX options at the same time are not compatible
             ZADD z incr 1 a 2 b => ERR INCR option supports a single increment-element pair
             SET s v => OK
             ZADD s 1 a => WRONGTYPE Operation against a key holding the wrong kind of value
             ZADD none XX 1 a => 0
             EXISTS none => 0",
        );
    }

    #[test]
    fn options_say_who_may_be_touched() {
        let mut bench = Bench::new();
        bench.check("ZADD z 10 a 20 b", "2");
        bench.check("ZADD z NX 11 a 30 c", "1").check("ZADD z XX CH 21 b 40 d", "1");
        bench.check("ZRANGE z 0 -1 WITHSCORES", "[a 10 b 21 c 30]");
        bench.check("ZADD z GT CH 5 a 25 b 40 d", "2").check("ZADD z LT CH 5 a 26 b 50 e", "2");
        bench.check("ZRANGE z 0 -1 WITHSCORES", "[a 5 b 25 c 30 d 40 e 50]");
        bench.check("ZADD z XX GT CH 4 a 60 f", "0").propagates("");
    }

    #[test]
    fn scores_are_incremented() {
        let mut bench = Bench::new();
        bench.check("ZINCRBY z 1.5 a", "1.5").propagates("ZINCRBY z 1.5 a").notifies("zincr z");
        bench.check("ZINCRBY z 0 a", "1.5").propagates("").notifies("");
        bench.check("ZINCRBY z nx a", "ERR syntax error");
        bench.check("ZADD z INCR 1 a", "2.5").notifies("zincr z");
        bench.check("ZADD z NX INCR 1 a", "nil").check("ZADD z XX INCR 1 b", "nil").propagates("");
        bench.check("ZADD z GT INCR -1 a", "nil").check("ZADD z LT INCR -1 a", "1.5");
        bench.check("ZADD z -inf low", "1").check("ZINCRBY z +inf low", "ERR resulting score is not a number (NaN)");
        bench.check("ZSCORE z low", "-inf").check("ZINCRBY z x a", "ERR value is not a valid float");
        bench.protocol = Protocol::Resp3;
        bench.check("ZINCRBY z 1 a", "Double(2.5)");
    }

    #[test]
    fn the_last_member_takes_the_key_along() {
        let mut bench = Bench::new();
        bench.check("ZADD z 1 a 2 b 3 c", "3");
        bench.check("ZREM z a x", "1").propagates("ZREM z a x").notifies("zrem z");
        bench.check("ZREM z x", "0").propagates("").check("ZREM none x", "0");
        bench.check("ZREM z b c", "2").notifies("zrem z; del z").check("EXISTS z", "0");
    }
}

//! ZREMRANGEBYRANK, ZREMRANGEBYSCORE and ZREMRANGEBYLEX: members removed by range.

use super::range::{Bounds, By};
use crate::{Access, Args, Arity, Class, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const REMOVING: Spec = Spec {
    group: Group::SortedSet,
    arity: Arity::Exactly(4),
    flags: Flags::WRITE,
    keys: &[(Keys::At(1), Access::DELETE)],
    complexity: "O(log(N)+M) for M members removed of N",
    ..Spec::BLANK
};

/// ZREMRANGEBYLEX key min max
pub(crate) static ZREMRANGEBYLEX: Spec = Spec {
    name: "zremrangebylex",
    since: "2.8.9",
    summary: "Removes the members that lie in a range, in a sorted set whose scores are all equal.",
    run: Run::Data(|cx, args| remove(cx, args, By::Lex, "zremrangebylex")),
    ..REMOVING
};

/// ZREMRANGEBYRANK key start stop
pub(crate) static ZREMRANGEBYRANK: Spec = Spec {
    name: "zremrangebyrank",
    since: "2.0.0",
    summary: "Removes the members in a range of ranks.",
    run: Run::Data(|cx, args| remove(cx, args, By::Rank, "zremrangebyrank")),
    ..REMOVING
};

/// ZREMRANGEBYSCORE key min max
pub(crate) static ZREMRANGEBYSCORE: Spec = Spec {
    name: "zremrangebyscore",
    since: "1.2.0",
    summary: "Removes the members whose scores lie in a range.",
    run: Run::Data(|cx, args| remove(cx, args, By::Score, "zremrangebyscore")),
    ..REMOVING
};

fn remove(cx: &mut Exec<'_, '_>, args: Args<'_>, by: By, event: &'static str) -> Outcome {
    let key = args.at(1);
    let bounds = Bounds::parse(by, args, 2)?;
    let removed = cx.with_zset(key, |zset, _| {
        let ranks = bounds.ranks(zset);
        let count = ranks.len();
        zset.remove_range(ranks, |_, _| {});
        count
    })?;
    let removed = removed.unwrap_or(0);
    if removed > 0 {
        cx.modified(key, removed);
        cx.notify(Class::ZSET, event, key);
        cx.drop_if_empty(key);
    }
    cx.reply.count(removed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn ranges_are_removed() {
        let mut bench = Bench::new();
        bench.check("ZADD z 1 a 2 b 3 c 4 d 5 e", "5");
        bench.check("ZREMRANGEBYRANK z -1 -1", "1").propagates("ZREMRANGEBYRANK z -1 -1").notifies("zremrangebyrank z");
        bench.check("ZREMRANGEBYRANK z 9 10", "0").propagates("").notifies("");
        bench.check("ZREMRANGEBYSCORE z (1 2", "1").notifies("zremrangebyscore z").check("ZRANGE z 0 -1", "[a c d]");
        bench.check("ZREMRANGEBYSCORE z -inf +inf", "3").notifies("zremrangebyscore z; del z");
        bench.check("ZADD z 0 a 0 b 0 c", "3").check("ZREMRANGEBYLEX z [b +", "2").notifies("zremrangebylex z");
        bench.script(
            "ZREMRANGEBYLEX z b + => ERR min or max not valid string range item
             ZREMRANGEBYRANK z x 1 => ERR value is not an integer or out of range
             ZREMRANGEBYSCORE z x 1 => ERR min or max is not a float
             ZREMRANGEBYSCORE none 0 1 => 0
             SET s v => OK
             ZREMRANGEBYRANK s 0 1 => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }
}

//! ZCARD, ZSCORE, ZRANK, ZCOUNT, ZSCAN and their kin: questions about a sorted set.

use quorate_values::{ZSet, write_double};

use super::bounds::{lex_range, score_range};
use super::reply::push_score;
use crate::exec::as_zset;
use crate::generic::scan::{Options, parse_cursor};
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const FAST: Spec = Spec {
    group: Group::SortedSet,
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ)],
    since: "1.2.0",
    complexity: "O(log(N)) for N members",
    ..Spec::BLANK
};

/// ZCARD key
pub(crate) static ZCARD: Spec = Spec {
    name: "zcard",
    arity: Arity::Exactly(2),
    keys: &[(Keys::At(1), Access::LOOK)],
    complexity: "O(1)",
    summary: "Returns how many members a sorted set has.",
    run: Run::Data(zcard),
    ..FAST
};

/// ZCOUNT key min max
pub(crate) static ZCOUNT: Spec = Spec {
    name: "zcount",
    arity: Arity::Exactly(4),
    since: "2.0.0",
    summary: "Counts the members whose scores lie in a range.",
    run: Run::Data(zcount),
    ..FAST
};

/// ZLEXCOUNT key min max
pub(crate) static ZLEXCOUNT: Spec = Spec {
    name: "zlexcount",
    arity: Arity::Exactly(4),
    since: "2.8.9",
    summary: "Counts the members that lie in a range, in a sorted set whose scores are all equal.",
    run: Run::Data(zlexcount),
    ..FAST
};

/// ZMSCORE key member [member ...]
pub(crate) static ZMSCORE: Spec = Spec {
    name: "zmscore",
    arity: Arity::AtLeast(3),
    since: "6.2.0",
    complexity: "O(N) for N members asked for",
    summary: "Returns the scores of several members.",
    run: Run::Data(zmscore),
    ..FAST
};

/// ZRANK key member [WITHSCORE]
pub(crate) static ZRANK: Spec = Spec {
    name: "zrank",
    arity: Arity::AtLeast(3),
    since: "2.0.0",
    summary: "Returns how many members stand in front of a member.",
    run: Run::Data(|cx, args| rank(cx, args, "zrank", |rank, _| rank)),
    ..FAST
};

/// ZREVRANK key member [WITHSCORE]
pub(crate) static ZREVRANK: Spec = Spec {
    name: "zrevrank",
    arity: Arity::AtLeast(3),
    since: "2.0.0",
    summary: "Returns how many members stand behind a member.",
    run: Run::Data(|cx, args| rank(cx, args, "zrevrank", |rank, len| len - 1 - rank)),
    ..FAST
};

/// ZSCAN key cursor [MATCH pattern] [COUNT count]
pub(crate) static ZSCAN: Spec = Spec {
    name: "zscan",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    since: "2.8.0",
    complexity: "O(1) a call, O(N) for the whole of N members",
    summary: "Goes through the members of a sorted set and their scores piece by piece.",
    run: Run::Data(zscan),
    ..FAST
};

/// ZSCORE key member
pub(crate) static ZSCORE: Spec = Spec {
    name: "zscore",
    arity: Arity::Exactly(3),
    complexity: "O(1)",
    summary: "Returns the score of a member.",
    run: Run::Data(zscore),
    ..FAST
};

fn zcard(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let len = cx.zset(args.at(1))?.map_or(0, ZSet::len);
    cx.reply.count(len);
    Ok(())
}

fn zscore(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    match cx.zset(args.at(1))?.and_then(|zset| zset.score(args.at(2))) {
        Some(score) => push_score(&mut cx.reply, score),
        None => cx.reply.null(),
    }
    Ok(())
}

fn zmscore(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let zset = as_zset(cx.keys.read(cx.db, args.at(1)))?;
    cx.reply.array(args.len() - 2);
    for member in args.from(2) {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => push_score(&mut cx.reply, score),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

fn rank(cx: &mut Exec<'_, '_>, args: Args<'_>, name: &str, place: fn(usize, usize) -> usize) -> Outcome {
    let with_score = match args.len() {
        3 => false,
        4 if args.is(3, "WITHSCORE") => true,
        4 => return Err(CommandError::Syntax),
        _ => return Err(CommandError::Arity(name.to_owned())),
    };
    let zset = cx.zset(args.at(1))?;
    let found = zset.and_then(|zset| zset.rank(args.at(2)).map(|(rank, score)| (place(rank, zset.len()), score)));
    match found {
        Some((rank, score)) if with_score => {
            cx.reply.array(2);
            cx.reply.count(rank);
            push_score(&mut cx.reply, score);
        }
        Some((rank, _)) => cx.reply.count(rank),
        None if with_score => cx.reply.null_array(),
        None => cx.reply.null(),
    }
    Ok(())
}

fn zcount(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let range = score_range(args.at(2), args.at(3))?;
    let count = cx.zset(args.at(1))?.map_or(0, |zset| zset.ranks_by_score(&range).len());
    cx.reply.count(count);
    Ok(())
}

fn zlexcount(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let range = lex_range(args.at(2), args.at(3))?;
    let count = cx.zset(args.at(1))?.map_or(0, |zset| zset.ranks_by_lex(&range).len());
    cx.reply.count(count);
    Ok(())
}

fn zscan(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let cursor = parse_cursor(args.at(2))?;
    let Some(zset) = as_zset(cx.keys.read(cx.db, args.at(1)))? else {
        cx.reply.array(2);
        cx.reply.bulk(b"0");
        cx.reply.array(0);
        return Ok(());
    };
    let options = Options::parse(args, 3)?;
    let (mut found, mut count) = (Vec::new(), 0);
    let next = zset.scan(cursor, options.count, |member, score| {
        let mut buffer = itoa::Buffer::new();
        let member = member.text(&mut buffer);
        if options.accepts(member) {
            let mut text = Vec::with_capacity(24);
            write_double(&mut text, score);
            quorate_resp::push_bulk(&mut found, member);
            quorate_resp::push_bulk(&mut found, &text);
            count += 2;
        }
    });
    cx.reply.array(2);
    cx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    cx.reply.array(count);
    cx.reply.raw(&found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate_resp::Protocol;

    use crate::testing::Bench;

    #[test]
    fn a_sorted_set_is_asked_in_every_way() {
        let mut bench = Bench::new();
        bench.script(
            "ZADD z 1 a 2 b 2.5 c -inf low => 4
             ZCARD z => 4
             ZCARD none => 0
             ZSCORE z c => 2.5
             ZSCORE z low => -inf
             ZSCORE z x => nil
             ZMSCORE z a x b => [1 nil 2]
             ZMSCORE none a => [nil]
             ZRANK z b => 2
             ZREVRANK z b => 1
             ZRANK z x => nil
             ZRANK none x => nil
             ZRANK z b WITHSCORE => [2 2]
             ZREVRANK z low WITHSCORE => [3 -inf]
             ZRANK z x WITHSCORE => nil
             ZRANK z b SCORE => ERR syntax error
             ZRANK z b WITHSCORE x => ERR wrong number of arguments for 'zrank' command
             ZCOUNT z -inf +inf => 4
             ZCOUNT z (1 2 => 1
             ZCOUNT z (2 (2 => 0
             ZCOUNT z 3 1 => 0
             ZCOUNT none 0 1 => 0
             ZCOUNT z x 1 => ERR min or max is not a float
             SET s v => OK
             ZSCORE s a => WRONGTYPE Operation against a key holding the wrong kind of value
             ZSCAN s 0 => WRONGTYPE Operation against a key holding the wrong kind of value
             ZCOUNT s 0 1 => WRONGTYPE Operation against a key holding the wrong kind of value
             ZADD e 0 a 0 b 0 c 0 d => 4
             ZLEXCOUNT e - + => 4
             ZLEXCOUNT e [b (d => 2
             ZLEXCOUNT e + - => 0
             ZLEXCOUNT e b d => ERR min or max not valid string range item",
        );
        bench.protocol = Protocol::Resp3;
        bench.check("ZSCORE z c", "Double(2.5)").check("ZMSCORE z a x", "[Double(1.0) nil]");
    }

    #[test]
    fn a_sorted_set_is_scanned() {
        let mut bench = Bench::new();
        bench.script(
            "ZADD z 1 a 2.5 b 3 ab => 3
             ZSCAN z 0 => [0 [a 1 b 2.5 ab 3]]
             ZSCAN z 0 MATCH a* COUNT 1 => [0 [a 1 ab 3]]
             ZSCAN none 0 => [0 []]
             ZSCAN z x => ERR invalid cursor
             ZSCAN z 0 TYPE zset => ERR syntax error",
        );
        bench.settings.limits.zset_max_listpack_entries = 0;
        (0..100).for_each(|number| assert_eq!(bench.run(&format!("ZADD large {number} m{number}")), "1"));
        let (mut cursor, mut seen) = ("0".to_owned(), 0);
        loop {
            let reply = bench.run(&format!("ZSCAN large {cursor}"));
            let words: Vec<&str> = reply.trim_matches(|bracket| bracket == '[' || bracket == ']').split(' ').collect();
            seen += (words.len() - 1) / 2;
            cursor = words[0].to_owned();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen, 100);
    }
}

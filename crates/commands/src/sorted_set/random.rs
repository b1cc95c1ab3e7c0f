//! ZRANDMEMBER: members of a sorted set by chance.

use quorate_values::listpack::Item;

use super::reply::Scores;
use crate::exec::as_zset;
use crate::sample::{Count, distinct, pick, repeat};
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

/// ZRANDMEMBER key [count [WITHSCORES]]
pub(crate) static ZRANDMEMBER: Spec = Spec {
    name: "zrandmember",
    group: Group::SortedSet,
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    tips: &["nondeterministic_output"],
    since: "6.2.0",
    complexity: "O(N) for N members returned",
    summary: "Returns one or more members of a sorted set, chosen at random.",
    run: Run::Data(zrandmember),
    ..Spec::BLANK
};

fn zrandmember(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let request = if args.len() == 2 { None } else { Some((Count::parse(args, 2)?, with_scores(args)?)) };
    let rng = &cx.keys.scope().rng;
    let zset = as_zset(cx.keys.read(cx.db, args.at(1)))?;
    let mut rng = rng.borrow_mut();
    let Some((count, with_scores)) = request else {
        match zset.and_then(|zset| zset.random(&mut rng)) {
            Some((member, _)) => cx.reply.bulk(member.text(&mut itoa::Buffer::new())),
            None => cx.reply.null(),
        }
        return Ok(());
    };
    let Some(zset) = zset else {
        cx.reply.array(0);
        return Ok(());
    };
    let scores = Scores::wanted(with_scores, cx.reply.protocol());
    match count {
        Count::Distinct(amount) => {
            let amount = amount.min(zset.len());
            scores.head(&mut cx.reply, amount);
            let answer = |(member, score): (Item<'_>, f64)| scores.member(&mut cx.reply, member, score);
            pick(zset.iter(), &distinct(zset.len(), amount, &mut rng)).for_each(answer);
        }
        Count::Repeating(amount) => {
            scores.head(&mut cx.reply, amount);
            repeat(&mut cx.reply, cx.settings.max_string, amount, |reply| {
                let (member, score) = zset.random(&mut rng).expect("a sorted set has at least one member");
                scores.member(reply, member, score);
            })?;
        }
    }
    Ok(())
}

/// Whether scores are wanted too.
fn with_scores(args: Args<'_>) -> Result<bool, CommandError> {
    match args.len() {
        3 => Ok(false),
        4 if args.is(3, "WITHSCORES") => {
            // Twice as many replies have to be countable.
            if Count::parse(args, 2)?.amount() > i64::MAX as usize / 2 {
                return Err(CommandError::OutOfRange);
            }
            Ok(true)
        }
        _ => Err(CommandError::Syntax),
    }
}

#[cfg(test)]
mod tests {
    use quorate_resp::Protocol;

    use crate::testing::Bench;

    #[test]
    fn members_are_chosen_as_the_count_says() {
        let mut bench = Bench::new();
        bench.script(
            "ZADD z 1 a 2 b 3 c => 3
             ZRANDMEMBER z 5 => [a b c]
             ZRANDMEMBER z 3 WITHSCORES => [a 1 b 2 c 3]
             ZRANDMEMBER z 0 => []
             ZRANDMEMBER none => nil
             ZRANDMEMBER none 3 => []
             ZRANDMEMBER z 1 FOO => ERR syntax error
             ZRANDMEMBER z x => ERR value is not an integer or out of range
             ZRANDMEMBER z -9223372036854775807 WITHSCORES => ERR value is out of range
             ZRANDMEMBER z -9223372036854775807 => ERR value is out of range
             SET s v => OK
             ZRANDMEMBER s => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
        let seen: std::collections::HashSet<String> = (0..50).map(|_| bench.run("ZRANDMEMBER z")).collect();
        assert_eq!(seen.len(), 3);
        assert_eq!(bench.run("ZRANDMEMBER z -10").split_whitespace().count(), 10);
        bench.protocol = Protocol::Resp3;
        bench.check("ZRANDMEMBER z 9 WITHSCORES", "[[a Double(1.0)] [b Double(2.0)] [c Double(3.0)]]");
    }
}

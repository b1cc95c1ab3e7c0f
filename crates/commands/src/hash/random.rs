//! HRANDFIELD: fields of a hash by chance.

use quorate_resp::{Protocol, ReplyWriter};
use quorate_values::listpack::Item;

use crate::exec::as_hash;
use crate::sample::{Count, distinct, pick, repeat};
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

/// HRANDFIELD key [count [WITHVALUES]]
pub(crate) static HRANDFIELD: Spec = Spec {
    name: "hrandfield",
    group: Group::Hash,
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    tips: &["nondeterministic_output"],
    since: "6.2.0",
    complexity: "O(N) for N fields returned",
    summary: "Returns one or more fields of a hash, chosen at random.",
    run: Run::Data(hrandfield),
    ..Spec::BLANK
};

fn hrandfield(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let request = if args.len() == 2 { None } else { Some((Count::parse(args, 2)?, with_values(args)?)) };
    let rng = &cx.keys.scope().rng;
    let hash = as_hash(cx.keys.read(cx.db, args.at(1)))?;
    let mut rng = rng.borrow_mut();
    let Some((count, values)) = request else {
        match hash.and_then(|hash| hash.random(&mut rng)) {
            Some((field, _)) => cx.reply.bulk(field.text(&mut itoa::Buffer::new())),
            None => cx.reply.null(),
        }
        return Ok(());
    };
    let Some(hash) = hash else {
        cx.reply.array(0);
        return Ok(());
    };
    let amount = match count {
        Count::Distinct(amount) => amount.min(hash.len()),
        Count::Repeating(amount) => amount,
    };
    let nested = values && cx.reply.protocol() == Protocol::Resp3;
    cx.reply.array(if values && !nested { amount * 2 } else { amount });
    let answer = |reply: &mut ReplyWriter<'_>, (field, value): (Item<'_>, Item<'_>)| {
        if nested {
            reply.array(2);
        }
        reply.bulk(field.text(&mut itoa::Buffer::new()));
        if values {
            reply.bulk(value.text(&mut itoa::Buffer::new()));
        }
    };
    match count {
        Count::Repeating(_) => repeat(&mut cx.reply, cx.settings.max_string, amount, |reply| {
            answer(reply, hash.random(&mut rng).expect("a hash has at least one field"));
        })?,
        Count::Distinct(_) => pick(hash.iter(), &distinct(hash.len(), amount, &mut rng))
            .for_each(|element| answer(&mut cx.reply, element)),
    }
    Ok(())
}

/// Whether values are wanted too.
fn with_values(args: Args<'_>) -> Result<bool, CommandError> {
    match args.len() {
        3 => Ok(false),
        4 if args.is(3, "WITHVALUES") => {
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
    fn fields_are_chosen_as_the_count_says() {
        let mut bench = Bench::new();
        bench.script(
            "HSET h a 1 b 2 c 3 => 3
             HRANDFIELD h 5 => [a b c]
             HRANDFIELD h 3 WITHVALUES => [a 1 b 2 c 3]
             HRANDFIELD h 0 => []
             HRANDFIELD none => nil
             HRANDFIELD none 3 => []
             HRANDFIELD h 1 FOO => ERR syntax error
             HRANDFIELD h x => ERR value is not an integer or out of range
             HRANDFIELD h 9223372036854775806 WITHVALUES => ERR value is out of range
             SET s v => OK
             HRANDFIELD s => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
        let mut seen = std::collections::HashSet::new();
        for _ in 0..50 {
            seen.insert(bench.run("HRANDFIELD h"));
        }
        assert_eq!(seen.len(), 3);
        assert_eq!(bench.run("HRANDFIELD h -10").split_whitespace().count(), 10);
        bench.protocol = Protocol::Resp3;
        bench.check("HRANDFIELD h 3 WITHVALUES", "[[a 1] [b 2] [c 3]]");
    }
}

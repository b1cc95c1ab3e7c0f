//! SPOP and SRANDMEMBER: members by chance.
//!
//! What chance has chosen replicas can't choose again: SPOP is passed on as the removal of what it took.

use quorate_values::Set;

use crate::exec::as_set;
use crate::sample::{Count, distinct, pick, repeat};
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

/// SPOP key [count]
pub(crate) static SPOP: Spec = Spec {
    name: "spop",
    group: Group::Set,
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_DELETE)],
    tips: &["nondeterministic_output"],
    complexity: "O(N) for N members taken; O(M) for a set of M members if there are several",
    summary: "Removes and returns one or more members of a set, chosen at random.",
    run: Run::Data(spop),
    ..Spec::BLANK
};

/// SRANDMEMBER key [count]
pub(crate) static SRANDMEMBER: Spec = Spec {
    name: "srandmember",
    group: Group::Set,
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    tips: &["nondeterministic_output"],
    complexity: "O(N) for N members returned; O(M) for a set of M members if there are several",
    summary: "Returns one or more members of a set, chosen at random.",
    run: Run::Data(srandmember),
    ..Spec::BLANK
};

/// Members that one request to replicas names.
const BATCH: usize = 1024;

fn srandmember(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let count = match args.len() {
        2 => None,
        3 => Some(Count::parse(args, 2)?),
        _ => return Err(CommandError::Syntax),
    };
    let rng = &cx.keys.scope().rng;
    let set = as_set(cx.keys.read(cx.db, args.at(1)))?;
    let mut rng = rng.borrow_mut();
    match (count, set) {
        (None, None) => cx.reply.null(),
        (Some(_), None) => cx.reply.array(0),
        (None, Some(set)) => {
            let member = set.random(&mut rng).expect("a set has at least one member");
            cx.reply.bulk(member.text(&mut itoa::Buffer::new()));
        }
        (Some(Count::Repeating(amount)), Some(set)) => {
            cx.reply.array(amount);
            repeat(&mut cx.reply, cx.settings.max_string, amount, |reply| {
                let member = set.random(&mut rng).expect("a set has at least one member");
                reply.bulk(member.text(&mut itoa::Buffer::new()));
            })?;
        }
        (Some(Count::Distinct(amount)), Some(set)) => {
            let amount = amount.min(set.len());
            cx.reply.array(amount);
            for member in pick(set.iter(), &distinct(set.len(), amount, &mut rng)) {
                cx.reply.bulk(member.text(&mut itoa::Buffer::new()));
            }
        }
    }
    Ok(())
}

fn spop(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    match args.len() {
        2 => spop_one(cx, args.at(1)),
        3 => {
            let count = args.int(2).ok().and_then(|count| usize::try_from(count).ok());
            spop_many(cx, args.at(1), count.ok_or(CommandError::NotPositive)?)
        }
        _ => Err(CommandError::Syntax),
    }
}

fn spop_one(cx: &mut Exec<'_, '_>, key: &[u8]) -> Outcome {
    let rng = &cx.keys.scope().rng;
    let taken = cx.with_set(key, |set, _| {
        let member = set.random(&mut rng.borrow_mut()).expect("a set has at least one member").to_vec();
        set.remove(&member);
        member
    })?;
    let Some(member) = taken else {
        cx.reply.null();
        return Ok(());
    };
    cx.modified(key, 1);
    cx.notify(Class::SET, "spop", key);
    cx.propagate(&[b"SREM", key, &member]);
    cx.drop_if_empty(key);
    cx.reply.bulk(&member);
    Ok(())
}

fn spop_many(cx: &mut Exec<'_, '_>, key: &[u8], count: usize) -> Outcome {
    let rng = &cx.keys.scope().rng;
    let set = as_set(cx.keys.find(cx.db, key))?;
    let Some(set) = set.filter(|_| count > 0) else {
        cx.reply.set(0);
        return Ok(());
    };
    let len = set.len();
    if count >= len {
        return spop_all(cx, key);
    }
    let indices = distinct(len, count, &mut rng.borrow_mut());
    let members: Vec<Vec<u8>> = pick(set.iter(), &indices).map(|member| member.to_vec()).collect();
    cx.with_set(key, |set, _| members.iter().for_each(|member| assert!(set.remove(member), "chosen from the set")))?;
    cx.modified(key, count);
    cx.notify(Class::SET, "spop", key);
    for batch in members.chunks(BATCH) {
        let mut words: Vec<&[u8]> = vec![b"SREM", key];
        words.extend(batch.iter().map(|member| &member[..]));
        cx.propagate(&words);
    }
    cx.reply.set(count);
    members.iter().for_each(|member| cx.reply.bulk(member));
    Ok(())
}

/// Returns all members and removes the key.
fn spop_all(cx: &mut Exec<'_, '_>, key: &[u8]) -> Outcome {
    let set = as_set(cx.keys.find(cx.db, key))?;
    let len = set.map_or(0, Set::len);
    cx.reply.set(len);
    for member in set.iter().flat_map(|set| set.iter()) {
        cx.reply.bulk(member.text(&mut itoa::Buffer::new()));
    }
    cx.notify(Class::SET, "spop", key);
    cx.delete_instead(key, cx.keys.scope().lazy.server_del);
    cx.changed(len.saturating_sub(1));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::testing::Bench;

    #[test]
    fn what_was_popped_is_what_replicas_remove() {
        let mut bench = Bench::new();
        bench.check("SADD s a b c d e", "5");
        let member = bench.run("SPOP s");
        bench.propagates(&format!("SREM s {member}")).notifies("spop s").check(&format!("SISMEMBER s {member}"), "0");
        let members = bench.run("SPOP s 2");
        bench.propagates(&format!("SREM s {}", &members[1..members.len() - 1])).check("SCARD s", "2");
        bench.check("SPOP s 0", "[]").propagates("");
        let members = bench.run("SPOP s 9");
        assert_eq!(members.split_whitespace().count(), 2);
        bench.propagates("DEL s").notifies("spop s; del s").check("EXISTS s", "0");
        bench.check("SPOP s", "nil").check("SPOP s 3", "[]").propagates("");
        bench.check("SADD s x", "1").check("SPOP s", "x").propagates("SREM s x").notifies("spop s; del s");
        bench.check("SPOP s -1", "ERR value is out of range, must be positive");
        bench.check("SPOP s x", "ERR value is out of range, must be positive").check("SPOP s 1 2", "ERR syntax error");
        bench.lazy.server_del = true;
        bench.check("SADD s x", "1").check("SPOP s 1", "[x]").propagates("UNLINK s");
    }

    #[test]
    fn members_are_chosen_as_the_count_says() {
        let mut bench = Bench::new();
        bench.script(
            "SADD s 1 2 3 => 3
             SRANDMEMBER s 5 => [1 2 3]
             SRANDMEMBER s 0 => []
             SRANDMEMBER none => nil
             SRANDMEMBER none 2 => []
             SRANDMEMBER s x => ERR value is not an integer or out of range
             SRANDMEMBER s 1 2 => ERR syntax error",
        );
        let seen: HashSet<String> = (0..50).map(|_| bench.run("SRANDMEMBER s")).collect();
        assert_eq!(seen.len(), 3);
        assert_eq!(bench.run("SRANDMEMBER s -10").split_whitespace().count(), 10);
        let pairs: HashSet<String> = (0..50).map(|_| bench.run("SRANDMEMBER s 2")).collect();
        assert_eq!(pairs.len(), 3);
    }
}

//! SADD, SREM and SMOVE: members put in and taken out.

use crate::exec::as_set;
use crate::{Access, Args, Arity, Class, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const SET: Spec = Spec { group: Group::Set, ..Spec::BLANK };

/// SADD key member [member ...]
pub(crate) static SADD: Spec = Spec {
    name: "sadd",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::INSERT)],
    complexity: "O(N) for N members",
    summary: "Adds members to a set, which is made if it does not exist.",
    run: Run::Data(sadd),
    ..SET
};

/// SMOVE source destination member
pub(crate) static SMOVE: Spec = Spec {
    name: "smove",
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_DELETE), (Keys::At(2), Access::INSERT)],
    summary: "Moves a member from one set to another.",
    run: Run::Data(smove),
    ..SET
};

/// SREM key member [member ...]
pub(crate) static SREM: Spec = Spec {
    name: "srem",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::DELETE)],
    complexity: "O(N) for N members",
    summary: "Removes members of a set, and the set with the last one.",
    run: Run::Data(srem),
    ..SET
};

fn sadd(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let members = args.from(2).iter();
    let added =
        cx.with_set_or_new(key, args.at(2), |set, limits| members.filter(|member| set.insert(member, limits)).count())?;
    if added > 0 {
        cx.modified(key, added);
        cx.notify(Class::SET, "sadd", key);
    }
    cx.reply.count(added);
    Ok(())
}

fn srem(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let members = args.from(2).iter();
    let removed = cx.with_set(key, |set, _| members.filter(|member| set.remove(member)).count())?.unwrap_or(0);
    if removed > 0 {
        cx.modified(key, removed);
        cx.notify(Class::SET, "srem", key);
        cx.drop_if_empty(key);
    }
    cx.reply.count(removed);
    Ok(())
}

fn smove(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (from, to, member) = (args.at(1), args.at(2), args.at(3));
    let Some(source) = as_set(cx.keys.find(cx.db, from))? else {
        cx.reply.int(0);
        return Ok(());
    };
    let present = source.contains(member);
    as_set(cx.keys.find(cx.db, to))?;
    cx.reply.int(i64::from(present));
    if !present || from == to {
        return Ok(());
    }
    cx.with_set(from, |set, _| set.remove(member))?;
    cx.modified(from, 1);
    cx.notify(Class::SET, "srem", from);
    cx.drop_if_empty(from);
    if cx.with_set_or_new(to, member, |set, limits| set.insert(member, limits))? {
        cx.modified(to, 1);
        cx.notify(Class::SET, "sadd", to);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn members_come_and_go_and_with_the_last_one_the_set() {
        let mut bench = Bench::new();
        bench.check("SADD s a b a", "2").propagates("SADD s a b a").notifies("sadd s");
        bench.check("SADD s a", "0").propagates("").check("SREM s none", "0").propagates("");
        bench.check("SREM s a", "1").notifies("srem s").check("SREM s b", "1").notifies("srem s; del s");
        bench.check("EXISTS s", "0").check("SREM s a", "0").check("SET text v", "OK");
        for line in ["SADD text a", "SREM text a", "SMOVE text s a"] {
            bench.check(line, "WRONGTYPE Operation against a key holding the wrong kind of value");
        }
    }

    #[test]
    fn a_member_moves_from_set_to_set() {
        let mut bench = Bench::new();
        bench.check("SADD a 1 2", "2").check("SADD b 2", "1").check("SET text v", "OK");
        bench.check("SMOVE a b 1", "1").propagates("SMOVE a b 1").notifies("srem a; sadd b");
        bench.check("SMOVE a b 3", "0").propagates("").check("SMOVE none text 1", "0").check("SMOVE a a 2", "1");
        bench
            .propagates("")
            .check("SMOVE a text 9", "WRONGTYPE Operation against a key holding the wrong kind of value");
        bench.check("SMOVE a b 2", "1").notifies("srem a; del a").check("SMEMBERS b", "~[1 2]");
        bench.check("SMOVE b new 1", "1").check("SMEMBERS new", "[1]");
    }
}

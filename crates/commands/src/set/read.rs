//! SMEMBERS, SISMEMBER, SSCAN and their kin: what is in a set.

use quorate_values::Set;

use crate::exec::as_set;
use crate::generic::scan::{Options, parse_cursor};
use crate::{Access, Args, Arity, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const FAST: Spec = Spec {
    group: Group::Set,
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::LOOK)],
    ..Spec::BLANK
};

/// SCARD key
pub(crate) static SCARD: Spec = Spec {
    name: "scard",
    arity: Arity::Exactly(2),
    summary: "Returns how many members a set has.",
    run: Run::Data(scard),
    ..FAST
};

/// SISMEMBER key member
pub(crate) static SISMEMBER: Spec = Spec {
    name: "sismember",
    arity: Arity::Exactly(3),
    summary: "Says whether a set has a member.",
    run: Run::Data(sismember),
    ..FAST
};

/// SMEMBERS key
pub(crate) static SMEMBERS: Spec = Spec {
    name: "smembers",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    tips: &["nondeterministic_output_order"],
    complexity: "O(N) for a set of N members",
    summary: "Returns all members of a set.",
    run: Run::Data(smembers),
    ..FAST
};

/// SMISMEMBER key member [member ...]
pub(crate) static SMISMEMBER: Spec = Spec {
    name: "smismember",
    arity: Arity::AtLeast(3),
    keys: &[(Keys::At(1), Access::READ)],
    since: "6.2.0",
    complexity: "O(N) for N members",
    summary: "Says of several members whether a set has them.",
    run: Run::Data(smismember),
    ..FAST
};

/// SSCAN key cursor [MATCH pattern] [COUNT count]
pub(crate) static SSCAN: Spec = Spec {
    name: "sscan",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    tips: &["nondeterministic_output"],
    since: "2.8.0",
    complexity: "O(1) a call, O(N) for the whole of N members",
    summary: "Goes through the members of a set piece by piece.",
    run: Run::Data(sscan),
    ..FAST
};

fn scard(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let len = cx.set(args.at(1))?.map_or(0, Set::len);
    cx.reply.count(len);
    Ok(())
}

fn sismember(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let found = cx.set(args.at(1))?.is_some_and(|set| set.contains(args.at(2)));
    cx.reply.int(i64::from(found));
    Ok(())
}

fn smismember(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let set = as_set(cx.keys.read(cx.db, args.at(1)))?;
    cx.reply.array(args.len() - 2);
    for member in args.from(2) {
        cx.reply.int(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

fn smembers(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let set = as_set(cx.keys.read(cx.db, args.at(1)))?;
    cx.reply.set(set.map_or(0, Set::len));
    for member in set.iter().flat_map(|set| set.iter()) {
        cx.reply.bulk(member.text(&mut itoa::Buffer::new()));
    }
    Ok(())
}

fn sscan(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let cursor = parse_cursor(args.at(2))?;
    let Some(set) = as_set(cx.keys.read(cx.db, args.at(1)))? else {
        cx.reply.array(2);
        cx.reply.bulk(b"0");
        cx.reply.array(0);
        return Ok(());
    };
    let options = Options::parse(args, 3)?;
    let mut found = Vec::new();
    let next = set.scan(cursor, options.count, |member| {
        if options.accepts(member.text(&mut itoa::Buffer::new())) {
            found.push(member.to_vec());
        }
    });
    cx.reply.array(2);
    cx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    cx.reply.array(found.len());
    found.iter().for_each(|member| cx.reply.bulk(member));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn a_set_is_read_in_every_way() {
        let mut bench = Bench::new();
        bench.script(
            "SADD s 3 1 2 => 3
             SCARD s => 3
             SCARD none => 0
             SISMEMBER s 1 => 1
             SISMEMBER s x => 0
             SISMEMBER none x => 0
             SMISMEMBER s 1 x 2 => [1 0 1]
             SMISMEMBER none 1 => [0]
             SMEMBERS s => [1 2 3]
             SMEMBERS none => []
             SSCAN s 0 => [0 [1 2 3]]
             SSCAN s 0 MATCH 2 => [0 [2]]
             SSCAN none 0 FOO => [0 []]
             SSCAN s x => ERR invalid cursor
             SET text v => OK",
        );
        for line in ["SCARD text", "SISMEMBER text a", "SMISMEMBER text a", "SMEMBERS text", "SSCAN text 0"] {
            bench.check(line, "WRONGTYPE Operation against a key holding the wrong kind of value");
        }
    }
}

//! SINTER, SUNION, SDIFF and their kin: sets made of sets.
//!
//! A result that is stored goes out as the client sent it: replicas hold the same sets.

use std::collections::HashSet;

use quorate_values::{Limits, Set, Value};

use crate::exec::as_set;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const READING: Spec = Spec {
    group: Group::Set,
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    keys: &[(Keys::Span { first: 1, last: -1, step: 1 }, Access::READ)],
    tips: &["nondeterministic_output_order"],
    complexity: "O(N) for N members in all sets",
    ..Spec::BLANK
};

const SOURCES: Keys = Keys::Span { first: 2, last: -1, step: 1 };

const STORING: Spec = Spec {
    group: Group::Set,
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::OVERWRITE), (SOURCES, Access::READ)],
    complexity: "O(N) for N members in all sets",
    ..Spec::BLANK
};

/// SDIFF key [key ...]
pub(crate) static SDIFF: Spec = Spec {
    name: "sdiff",
    summary: "Returns the members of the first set that no other has.",
    run: Run::Data(|cx, args| answer(cx, args, difference)),
    ..READING
};

/// SDIFFSTORE destination key [key ...]
pub(crate) static SDIFFSTORE: Spec = Spec {
    name: "sdiffstore",
    summary: "Stores the members of the first set that no other has.",
    run: Run::Data(|cx, args| store(cx, args, difference, "sdiffstore")),
    ..STORING
};

/// SINTER key [key ...]
pub(crate) static SINTER: Spec = Spec {
    name: "sinter",
    complexity: "O(N*M) for M sets, the smallest of N members",
    summary: "Returns the members that all sets have.",
    run: Run::Data(|cx, args| answer(cx, args, intersection)),
    ..READING
};

/// SINTERCARD numkeys key [key ...] [LIMIT limit]
pub(crate) static SINTERCARD: Spec = Spec {
    name: "sintercard",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY.and(Flags::MOVABLE_KEYS),
    keys: &[(Keys::Counted { count_at: 1 }, Access::READ)],
    tips: &[],
    since: "7.0.0",
    complexity: "O(N*M) for M sets, the smallest of N members",
    summary: "Counts the members that all sets have.",
    run: Run::Data(sintercard),
    ..READING
};

/// SINTERSTORE destination key [key ...]
pub(crate) static SINTERSTORE: Spec = Spec {
    name: "sinterstore",
    keys: &[(Keys::At(1), Access::UPDATE), (SOURCES, Access::READ)],
    complexity: "O(N*M) for M sets, the smallest of N members",
    summary: "Stores the members that all sets have.",
    run: Run::Data(|cx, args| store(cx, args, intersection, "sinterstore")),
    ..STORING
};

/// SUNION key [key ...]
pub(crate) static SUNION: Spec = Spec {
    name: "sunion",
    summary: "Returns the members that at least one set has.",
    run: Run::Data(|cx, args| answer(cx, args, union)),
    ..READING
};

/// SUNIONSTORE destination key [key ...]
pub(crate) static SUNIONSTORE: Spec = Spec {
    name: "sunionstore",
    summary: "Stores the members that at least one set has.",
    run: Run::Data(|cx, args| store(cx, args, union, "sunionstore")),
    ..STORING
};

/// The sets at some keys in order, `None` where there is none.
type Sources<'s> = Vec<Option<&'s Set>>;
/// Calls its second argument with each member of the result, once.
type Operation = fn(&Sources<'_>, &mut dyn FnMut(&[u8]) -> Flow);

/// Whether more members are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    More,
    Enough,
}

/// The sets at `keys`; each is looked at, so that a wrong type is found wherever it is.
fn sources<'s>(cx: &'s mut Exec<'_, '_>, keys: &[&[u8]]) -> Result<Sources<'s>, CommandError> {
    for key in keys {
        cx.keys.read(cx.db, key);
    }
    keys.iter().map(|key| as_set(cx.keys.peek(cx.db, key))).collect()
}

fn intersection(sources: &Sources<'_>, each: &mut dyn FnMut(&[u8]) -> Flow) {
    let Some(mut sets) = sources.iter().copied().collect::<Option<Vec<&Set>>>() else { return };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    for member in smallest.iter() {
        let mut buffer = itoa::Buffer::new();
        let member = member.text(&mut buffer);
        if others.iter().all(|set| set.contains(member)) && each(member) == Flow::Enough {
            return;
        }
    }
}

fn union(sources: &Sources<'_>, each: &mut dyn FnMut(&[u8]) -> Flow) {
    let mut seen = HashSet::new();
    for member in sources.iter().flatten().flat_map(|set| set.iter()) {
        let mut buffer = itoa::Buffer::new();
        let text = member.text(&mut buffer);
        if seen.insert(text.to_vec()) && each(text) == Flow::Enough {
            return;
        }
    }
}

fn difference(sources: &Sources<'_>, each: &mut dyn FnMut(&[u8]) -> Flow) {
    let Some((Some(first), others)) = sources.split_first() else { return };
    for member in first.iter() {
        let mut buffer = itoa::Buffer::new();
        let member = member.text(&mut buffer);
        let elsewhere = others.iter().flatten().any(|set| set.contains(member));
        if !elsewhere && each(member) == Flow::Enough {
            return;
        }
    }
}

fn answer(cx: &mut Exec<'_, '_>, args: Args<'_>, operation: Operation) -> Outcome {
    let place = cx.reply.deferred();
    let mut found = Vec::new();
    let mut count = 0;
    operation(&sources(cx, args.from(1))?, &mut |member| {
        quorate_resp::push_bulk(&mut found, member);
        count += 1;
        Flow::More
    });
    cx.reply.raw(&found);
    cx.reply.close_set(place, count);
    Ok(())
}

fn collect(sources: &Sources<'_>, operation: Operation, limits: &Limits) -> Option<Set> {
    let mut result: Option<Set> = None;
    operation(sources, &mut |member| {
        result.get_or_insert_with(|| Set::for_member(member, limits)).insert(member, limits);
        Flow::More
    });
    result
}

fn store(cx: &mut Exec<'_, '_>, args: Args<'_>, operation: Operation, event: &'static str) -> Outcome {
    let (key, limits) = (args.at(1), cx.settings.limits);
    match collect(&sources(cx, args.from(2))?, operation, &limits) {
        Some(set) => {
            let len = set.len();
            cx.keys.settle(cx.db, key);
            cx.keys.insert_value(cx.db, key, Value::Set(Box::new(set)));
            cx.changed(len);
            cx.notify(Class::SET, event, key);
            cx.reply.count(len);
        }
        None => {
            if cx.remove(key, cx.keys.scope().lazy.server_del) {
                cx.changed(1);
                cx.notify(Class::GENERIC, "del", key);
            }
            cx.reply.int(0);
        }
    }
    Ok(())
}

fn sintercard(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    const NUMKEYS: CommandError = CommandError::text("ERR numkeys should be greater than 0");
    const LIMIT: CommandError = CommandError::text("ERR LIMIT can't be negative");
    let number = args.int(1).ok().and_then(|number| usize::try_from(number).ok()).filter(|&number| number > 0);
    let number = number.ok_or(NUMKEYS)?;
    if number > args.len() - 2 {
        return Err(CommandError::text("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = 0;
    let mut at = 2 + number;
    while at < args.len() {
        if !args.is(at, "LIMIT") || at + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        limit = args.int(at + 1).ok().and_then(|limit| usize::try_from(limit).ok()).ok_or(LIMIT)?;
        at += 2;
    }
    let mut count = 0;
    intersection(&sources(cx, &args.words()[2..2 + number])?, &mut |_| {
        count += 1;
        if count == limit { Flow::Enough } else { Flow::More }
    });
    cx.reply.count(count);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn sets_are_combined() {
        let mut bench = Bench::new();
        bench.script(
            "SADD a 1 2 3 x => 4
             SADD b 2 3 4 => 3
             SADD c 3 x => 2
             SINTER a b => ~[2 3]
             SINTER a b c => [3]
             SINTER a none => []
             SINTER a => ~[1 2 3 x]
             SUNION a b none => ~[1 2 3 4 x]
             SUNION none => []
             SDIFF a b => ~[1 x]
             SDIFF a b c none => [1]
             SDIFF none a => []
             SDIFF a a => []
             SINTERCARD 2 a b => 2
             SINTERCARD 2 a b LIMIT 1 => 1
             SINTERCARD 2 a b LIMIT 0 => 2
             SINTERCARD 0 a => ERR numkeys should be greater than 0
             SINTERCARD x a => ERR numkeys should be greater than 0
             SINTERCARD 2 a => ERR Number of keys can't be greater than number of args
             SINTERCARD 1 a LIMIT -1 => ERR LIMIT can't be negative
             SINTERCARD 1 a LIMIT => ERR syntax error
             SINTERCARD 1 a FOO 1 => ERR syntax error
             SET text v => OK",
        );
        for line in ["SINTER none text", "SUNION a text", "SDIFF none text", "SINTERSTORE d none text"] {
            bench.check(line, "WRONGTYPE Operation against a key holding the wrong kind of value").propagates("");
        }
    }

    #[test]
    fn a_combination_is_stored_in_place_of_whatever_was_there() {
        let mut bench = Bench::new();
        bench.check("SADD a 1 2 3", "3").check("SADD b 2 3 y", "3").check("SET d v EX 10", "OK");
        bench.check("SINTERSTORE d a b", "2").propagates("SINTERSTORE d a b").notifies("sinterstore d");
        bench.check("SMEMBERS d", "[2 3]").check("TTL d", "-1").check("OBJECT ENCODING d", "intset");
        bench.check("SUNIONSTORE a a b", "4").check("SMEMBERS a", "~[1 2 3 y]");
        bench.check("SDIFFSTORE d a b", "1").notifies("sdiffstore d").check("SMEMBERS d", "[1]");
        bench.check("SDIFFSTORE d b b", "0").propagates("SDIFFSTORE d b b").notifies("del d").check("EXISTS d", "0");
        bench.check("SUNIONSTORE d none", "0").propagates("");
    }
}

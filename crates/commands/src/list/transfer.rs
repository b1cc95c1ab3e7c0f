//! LMOVE, RPOPLPUSH and their blocking forms BLMOVE and BRPOPLPUSH: an element from one list to another.

use quorate_values::list::End;

use super::pop::{taken, wait};
use super::push;
use crate::exec::as_list;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec, TimeoutReply};

const MOVE: Spec = Spec {
    group: Group::List,
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::READ_DELETE), (Keys::At(2), Access::INSERT)],
    ..Spec::BLANK
};

const BLOCKING: Flags = Flags::WRITE.and(Flags::DENY_OOM).and(Flags::NO_SCRIPT).and(Flags::BLOCKING);

/// BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout
pub(crate) static BLMOVE: Spec = Spec {
    name: "blmove",
    arity: Arity::Exactly(6),
    flags: BLOCKING,
    since: "6.2.0",
    summary: "Moves an element from an end of one list to an end of another, or waits for one.",
    run: Run::Data(blmove),
    ..MOVE
};

/// BRPOPLPUSH source destination timeout
pub(crate) static BRPOPLPUSH: Spec = Spec {
    name: "brpoplpush",
    deprecated: Some(("6.2.0", "BLMOVE with RIGHT and LEFT")),
    arity: Arity::Exactly(4),
    flags: BLOCKING,
    since: "2.2.0",
    summary: "Moves the last element of one list to the front of another, or waits for one.",
    run: Run::Data(brpoplpush),
    ..MOVE
};

/// LMOVE source destination LEFT|RIGHT LEFT|RIGHT
pub(crate) static LMOVE: Spec = Spec {
    name: "lmove",
    arity: Arity::Exactly(5),
    since: "6.2.0",
    summary: "Moves an element from an end of one list to an end of another.",
    run: Run::Data(lmove),
    ..MOVE
};

/// RPOPLPUSH source destination
pub(crate) static RPOPLPUSH: Spec = Spec {
    name: "rpoplpush",
    deprecated: Some(("6.2.0", "LMOVE with RIGHT and LEFT")),
    arity: Arity::Exactly(3),
    since: "1.2.0",
    summary: "Moves the last element of one list to the front of another.",
    run: Run::Data(rpoplpush),
    ..MOVE
};

fn lmove(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (from, to) = (super::end(args, 3)?, super::end(args, 4)?);
    if !transfer(cx, args.at(1), from, args.at(2), to)? {
        cx.reply.null();
    }
    Ok(())
}

fn rpoplpush(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    if !transfer(cx, args.at(1), End::Back, args.at(2), End::Front)? {
        cx.reply.null();
    }
    Ok(())
}

fn blmove(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (from, to) = (super::end(args, 3)?, super::end(args, 4)?);
    let until = args.deadline(5, cx.now)?;
    if transfer(cx, args.at(1), from, args.at(2), to)? {
        cx.propagate(&[b"LMOVE", args.at(1), args.at(2), args.at(3), args.at(4)]);
    } else {
        wait(cx, &[args.at(1)], until, TimeoutReply::Null);
    }
    Ok(())
}

fn brpoplpush(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let until = args.deadline(3, cx.now)?;
    if transfer(cx, args.at(1), End::Back, args.at(2), End::Front)? {
        cx.propagate(&[b"RPOPLPUSH", args.at(1), args.at(2)]);
    } else {
        wait(cx, &[args.at(1)], until, TimeoutReply::Null);
    }
    Ok(())
}

/// Moves an element and answers with it; false if there is no source.
fn transfer(
    cx: &mut Exec<'_, '_>,
    source: &[u8],
    from: End,
    destination: &[u8],
    to: End,
) -> Result<bool, CommandError> {
    let Some(list) = as_list(cx.keys.find(cx.db, source))? else { return Ok(false) };
    let element = list.peek(from).map(|element| element.to_vec());
    let Some(element) = element else { return Ok(false) };
    as_list(cx.keys.find(cx.db, destination))?;
    // Taken first, so that a list of one element that goes into itself is never seen with two.
    let empty = cx.with_list(source, |list, limits| {
        list.remove(from, 1);
        if source == destination {
            list.push(to, &element, limits);
        }
        list.is_empty()
    })?;
    if source != destination {
        cx.with_list_or_new(destination, |list, limits| list.push(to, &element, limits))?;
        cx.modified(destination, 0);
    }
    cx.notify(Class::LIST, push::event(to), destination);
    taken(cx, source, from, 1, empty.unwrap_or(false));
    cx.reply.bulk(&element);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn an_element_moves_from_list_to_list() {
        let mut bench = Bench::new();
        bench.check("RPUSH a 1 2 3", "3");
        bench.check("LMOVE a b LEFT RIGHT", "1").propagates("LMOVE a b LEFT RIGHT").notifies("rpush b; lpop a");
        bench.check("RPOPLPUSH a b", "3").propagates("RPOPLPUSH a b").notifies("lpush b; rpop a");
        bench.check("LRANGE b 0 -1", "[3 1]");
        bench.check("LMOVE a b right left", "2").notifies("lpush b; rpop a; del a").check("EXISTS a", "0");
        bench.check("LMOVE b b LEFT RIGHT", "2").notifies("rpush b; lpop b").check("LRANGE b 0 -1", "[3 1 2]");
        bench.check("RPUSH one x", "1").check("RPOPLPUSH one one", "x").notifies("lpush one; rpop one");
        bench.check("LRANGE one 0 -1", "[x]").check("LMOVE a b LEFT LEFT", "nil").propagates("");
        bench.check("SET text v", "OK").check("LMOVE b text LEFT UP", "ERR syntax error");
        for line in ["LMOVE b text LEFT LEFT", "LMOVE text b LEFT LEFT", "RPOPLPUSH b text", "BRPOPLPUSH b text 0"] {
            bench.check(line, "WRONGTYPE Operation against a key holding the wrong kind of value");
        }
        bench.check("RPOPLPUSH none text", "nil").check("LRANGE b 0 -1", "[3 1 2]");
    }

    #[test]
    fn what_waited_is_passed_on_as_what_it_did() {
        let mut bench = Bench::new();
        bench.check("BLMOVE a b LEFT RIGHT 0", "(waits for a, else nil)").check("EXISTS b", "0");
        bench.check("BRPOPLPUSH a b 2", "(waits for a until 1002000, else nil)");
        bench.check("RPUSH a 1 2", "2");
        bench.check("BLMOVE a b Left Right 0", "1").propagates("LMOVE a b Left Right").notifies("rpush b; lpop a");
        bench.check("BRPOPLPUSH a b 2", "2").propagates("RPOPLPUSH a b").notifies("lpush b; rpop a; del a");
        bench.check("BLMOVE a b UP LEFT x", "ERR syntax error");
        bench.check("BLMOVE a b LEFT LEFT x", "ERR timeout is not a float or out of range");
        bench.origin = crate::Origin::Script;
        bench.check("BLMOVE a b LEFT RIGHT 0", "nil").check("BRPOPLPUSH a b 0", "nil");
    }
}

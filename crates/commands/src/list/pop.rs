//! LPOP, RPOP, LMPOP and their blocking forms BLPOP, BRPOP and BLMPOP: elements taken at an end.
//!
//! What waited is passed on as what it came to do: replicas see LPOP or RPOP.

use quorate_stdx::UnixMs;
use quorate_values::list::End;

use crate::exec::as_list;
use crate::{
    Access, Args, Arity, Block, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec, TimeoutReply,
};

const POP: Spec = Spec {
    group: Group::List,
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_DELETE)],
    complexity: "O(N) for N elements",
    ..Spec::BLANK
};

const BPOP: Spec = Spec {
    group: Group::List,
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::NO_SCRIPT).and(Flags::BLOCKING),
    keys: &[(Keys::Span { first: 1, last: -2, step: 1 }, Access::READ_DELETE)],
    since: "2.0.0",
    complexity: "O(N) for N keys",
    ..Spec::BLANK
};

/// BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]
pub(crate) static BLMPOP: Spec = Spec {
    name: "blmpop",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLE_KEYS),
    keys: &[(Keys::Counted { count_at: 2 }, Access::READ_DELETE)],
    since: "7.0.0",
    complexity: "O(N+M) for N keys and M elements",
    summary: "Takes elements from an end of the first list that has any, or waits for one.",
    run: Run::Data(blmpop),
    ..BPOP
};

/// BLPOP key [key ...] timeout
pub(crate) static BLPOP: Spec = Spec {
    name: "blpop",
    summary: "Takes the first element of the first list that has any, or waits for one.",
    run: Run::Data(|cx, args| bpop(cx, args, End::Front)),
    ..BPOP
};

/// BRPOP key [key ...] timeout
pub(crate) static BRPOP: Spec = Spec {
    name: "brpop",
    summary: "Takes the last element of the first list that has any, or waits for one.",
    run: Run::Data(|cx, args| bpop(cx, args, End::Back)),
    ..BPOP
};

/// LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]
pub(crate) static LMPOP: Spec = Spec {
    name: "lmpop",
    group: Group::List,
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.and(Flags::MOVABLE_KEYS),
    keys: &[(Keys::Counted { count_at: 1 }, Access::READ_DELETE)],
    since: "7.0.0",
    complexity: "O(N+M) for N keys and M elements",
    summary: "Takes elements from an end of the first list that has any.",
    run: Run::Data(lmpop),
    ..Spec::BLANK
};

/// LPOP key [count]
pub(crate) static LPOP: Spec = Spec {
    name: "lpop",
    summary: "Takes the first elements of a list, and removes the list with the last one.",
    run: Run::Data(|cx, args| pop(cx, args, End::Front)),
    ..POP
};

/// RPOP key [count]
pub(crate) static RPOP: Spec = Spec {
    name: "rpop",
    summary: "Takes the last elements of a list, and removes the list with the last one.",
    run: Run::Data(|cx, args| pop(cx, args, End::Back)),
    ..POP
};

/// What subscribers hear of a pop at that end, and replicas do.
pub(super) fn event(end: End) -> &'static str {
    match end {
        End::Front => "lpop",
        End::Back => "rpop",
    }
}

fn request(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LPOP",
        End::Back => b"RPOP",
    }
}

fn pop(cx: &mut Exec<'_, '_>, args: Args<'_>, end: End) -> Outcome {
    let key = args.at(1);
    match args.len() {
        2 => {
            if !take_one(cx, key, end, None)? {
                cx.reply.null();
            }
        }
        3 => {
            let count = args.int(2).ok().and_then(|count| usize::try_from(count).ok());
            let count = count.ok_or(CommandError::NotPositive)?;
            if as_list(cx.keys.find(cx.db, key))?.is_none() {
                cx.reply.null_array();
            } else {
                take(cx, key, end, count)?;
            }
        }
        _ => return Err(CommandError::Arity(event(end).to_owned())),
    }
    Ok(())
}

/// Takes one element, if there is any, and answers with it; behind the key's name if `name` is given.
fn take_one(cx: &mut Exec<'_, '_>, key: &[u8], end: End, name: Option<&[u8]>) -> Result<bool, CommandError> {
    let reply = &mut cx.reply;
    let mut entry = cx.keys.modify(cx.db, key);
    let list = match entry.as_mut().map(|entry| entry.value_mut()) {
        None => return Ok(false),
        Some(quorate_keyspace::ValueMut::List(list)) => list,
        Some(_) => return Err(CommandError::WrongType),
    };
    let Some(element) = list.peek(end) else { return Ok(false) };
    if let Some(name) = name {
        reply.array(2);
        reply.bulk(name);
    }
    reply.bulk(element.text(&mut itoa::Buffer::new()));
    list.remove(end, 1);
    let empty = list.is_empty();
    drop(entry);
    taken(cx, key, end, 1, empty);
    Ok(true)
}

/// Takes up to `count` elements of a list that is there, answers with all of them, and returns how many there were.
fn take(cx: &mut Exec<'_, '_>, key: &[u8], end: End, count: usize) -> Result<usize, CommandError> {
    let Some(list) = as_list(cx.keys.find(cx.db, key))? else { return Ok(0) };
    let (len, amount) = (list.len(), count.min(list.len()));
    cx.reply.array(amount);
    let mut text = itoa::Buffer::new();
    match end {
        End::Front => list.iter().take(amount).for_each(|element| cx.reply.bulk(element.text(&mut text))),
        End::Back => list.iter_rev().take(amount).for_each(|element| cx.reply.bulk(element.text(&mut text))),
    }
    if amount > 0 {
        cx.with_list(key, |list, _| list.remove(end, amount))?;
        taken(cx, key, end, amount, amount == len);
    }
    Ok(amount)
}

/// What has to be told of elements that were taken.
pub(super) fn taken(cx: &mut Exec<'_, '_>, key: &[u8], end: End, amount: usize, empty: bool) {
    cx.modified(key, amount);
    cx.notify(Class::LIST, event(end), key);
    if empty {
        cx.drop_if_empty(key);
    }
}

fn bpop(cx: &mut Exec<'_, '_>, args: Args<'_>, end: End) -> Outcome {
    let last = args.len() - 1;
    let until = args.deadline(last, cx.now)?;
    let keys = &args.words()[1..last];
    for &key in keys {
        if take_one(cx, key, end, Some(key))? {
            cx.propagate(&[request(end), key]);
            return Ok(());
        }
    }
    wait(cx, keys, until, TimeoutReply::NullArray);
    Ok(())
}

/// Lets the client wait for `keys`, or answers that there is nothing where it may not wait.
pub(super) fn wait(cx: &mut Exec<'_, '_>, keys: &[&[u8]], until: Option<UnixMs>, reply: TimeoutReply) {
    if cx.may_block() {
        cx.block = Some(Block::new(keys, until, reply));
        return;
    }
    match reply {
        TimeoutReply::Null => cx.reply.null(),
        TimeoutReply::NullArray => cx.reply.null_array(),
    }
}

fn lmpop(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (keys, end, count) = parse_many(args, 1)?;
    if !take_from_first(cx, keys, end, count)? {
        cx.reply.null_array();
    }
    Ok(())
}

fn blmpop(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let until = args.deadline(1, cx.now)?;
    let (keys, end, count) = parse_many(args, 2)?;
    if !take_from_first(cx, keys, end, count)? {
        wait(cx, keys, until, TimeoutReply::NullArray);
    }
    Ok(())
}

/// `numkeys key [key ...] LEFT|RIGHT [COUNT count]` from `at` on.
fn parse_many<'a>(args: Args<'a>, at: usize) -> Result<(&'a [&'a [u8]], End, usize), CommandError> {
    const KEYS: CommandError = CommandError::text("ERR numkeys should be greater than 0");
    const COUNT: CommandError = CommandError::text("ERR count should be greater than 0");
    let amount = args.int(at).ok().filter(|&amount| amount > 0).ok_or(KEYS)?;
    let amount = usize::try_from(amount).unwrap_or(usize::MAX);
    let keys = args.from(at + 1).get(..amount).ok_or(CommandError::Syntax)?;
    let mut next = at + 1 + amount;
    let end = super::end(args, next)?;
    next += 1;
    if next == args.len() {
        return Ok((keys, end, 1));
    }
    if !args.is(next, "COUNT") || args.len() < next + 2 {
        return Err(CommandError::Syntax);
    }
    let count = args.int(next + 1).ok().filter(|&count| count > 0).ok_or(COUNT)?;
    if args.len() > next + 2 {
        return Err(CommandError::Syntax);
    }
    Ok((keys, end, usize::try_from(count).unwrap_or(usize::MAX)))
}

/// Takes elements of the first of the lists that is there; whether any is.
fn take_from_first(cx: &mut Exec<'_, '_>, keys: &[&[u8]], end: End, count: usize) -> Result<bool, CommandError> {
    for &key in keys {
        if as_list(cx.keys.find(cx.db, key))?.is_none() {
            continue;
        }
        cx.reply.array(2);
        cx.reply.bulk(key);
        let amount = take(cx, key, end, count)?;
        cx.propagate(&[request(end), key, itoa::Buffer::new().format(amount).as_bytes()]);
        return Ok(true);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn elements_leave_at_both_ends_and_with_the_last_one_the_list() {
        let mut bench = Bench::new();
        bench.check("RPUSH l a b c d e", "5");
        bench.check("LPOP l", "a").propagates("LPOP l").notifies("lpop l");
        bench.check("RPOP l 2", "[e d]").propagates("RPOP l 2").notifies("rpop l");
        bench.check("LPOP l 0", "[]").propagates("").notifies("");
        bench.check("LPOP l 9", "[b c]").propagates("LPOP l 9").notifies("lpop l; del l").check("EXISTS l", "0");
        bench.check("LPOP l", "nil").check("RPOP l 1", "nil").propagates("").check("RPUSH l x", "1");
        bench.check("RPOP l", "x").notifies("rpop l; del l");
        bench.script(
            "LPOP l -1 => ERR value is out of range, must be positive
             LPOP l x => ERR value is out of range, must be positive
             LPOP l 1 2 => ERR wrong number of arguments for 'lpop' command
             RPOP l 1 2 => ERR wrong number of arguments for 'rpop' command
             SET text v => OK
             LPOP text => WRONGTYPE Operation against a key holding the wrong kind of value
             RPOP text 1 => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }

    #[test]
    fn the_first_list_that_has_any_is_popped() {
        let mut bench = Bench::new();
        bench.check("RPUSH b 1 2 3", "3").check("SET text v", "OK");
        bench.check("LMPOP 2 a b LEFT COUNT 2", "[b [1 2]]").propagates("LPOP b 2").notifies("lpop b");
        bench.check("LMPOP 2 a b right", "[b [3]]").propagates("RPOP b 1").notifies("rpop b; del b");
        bench.check("LMPOP 2 a b RIGHT", "nil").propagates("");
        bench.script(
            "LMPOP 2 a text LEFT => WRONGTYPE Operation against a key holding the wrong kind of value
             LMPOP 0 a LEFT => ERR numkeys should be greater than 0
             LMPOP x a LEFT => ERR numkeys should be greater than 0
             LMPOP 9 a LEFT => ERR syntax error
             LMPOP 1 a UP => ERR syntax error
             LMPOP 1 a LEFT COUNT => ERR syntax error
             LMPOP 1 a LEFT COUNT 0 => ERR count should be greater than 0
             LMPOP 1 a LEFT COUNT x => ERR count should be greater than 0
             LMPOP 1 a LEFT COUNT 1 COUNT 1 => ERR syntax error
             BLMPOP x 1 a LEFT => ERR timeout is not a float or out of range",
        );
    }

    #[test]
    fn who_finds_nothing_waits_and_replicas_never_do() {
        let mut bench = Bench::new();
        bench.check("BLPOP a b 0", "(waits for a b)").propagates("");
        bench.check("BRPOP a b 1.5", "(waits for a b until 1001500)");
        bench.check("BLMPOP 0.001 2 a b LEFT COUNT 9", "(waits for a b until 1000001)");
        bench.check("RPUSH b 1 2 3 4 5", "5");
        bench.check("BLPOP a b 0", "[b 1]").propagates("LPOP b").notifies("lpop b");
        bench.check("BRPOP a b 0", "[b 5]").propagates("RPOP b").notifies("rpop b");
        bench.check("BLMPOP 0 2 a b RIGHT COUNT 2", "[b [4 3]]").propagates("RPOP b 2");
        bench.check("BLPOP a b 0", "[b 2]").notifies("lpop b; del b");
        bench.script(
            "SET text v => OK
             BLPOP text 0 => WRONGTYPE Operation against a key holding the wrong kind of value
             BLPOP a text 0 => WRONGTYPE Operation against a key holding the wrong kind of value
             BLPOP a -1 => ERR timeout is negative
             BLPOP a x => ERR timeout is not a float or out of range
             BRPOP a 1e100 => ERR timeout is out of range",
        );
        bench.origin = crate::Origin::Transaction;
        bench.check("BLPOP a 0", "nil").check("BRPOP a 0", "nil").check("BLMPOP 0 1 a LEFT", "nil");
    }
}

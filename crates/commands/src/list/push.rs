//! LPUSH, RPUSH, LPUSHX and RPUSHX: elements added at an end.

use quorate_values::list::End;

use crate::{Access, Args, Arity, Class, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const PUSH: Spec = Spec {
    group: Group::List,
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::INSERT)],
    complexity: "O(N) for N elements",
    ..Spec::BLANK
};

/// LPUSH key element [element ...]
pub(crate) static LPUSH: Spec = Spec {
    name: "lpush",
    summary: "Adds elements in front of a list, which is made if it does not exist.",
    run: Run::Data(|cx, args| push(cx, args, End::Front)),
    ..PUSH
};

/// LPUSHX key element [element ...]
pub(crate) static LPUSHX: Spec = Spec {
    name: "lpushx",
    since: "2.2.0",
    summary: "Adds elements in front of a list if it exists.",
    run: Run::Data(|cx, args| push_if_there(cx, args, End::Front)),
    ..PUSH
};

/// RPUSH key element [element ...]
pub(crate) static RPUSH: Spec = Spec {
    name: "rpush",
    summary: "Adds elements at the end of a list, which is made if it does not exist.",
    run: Run::Data(|cx, args| push(cx, args, End::Back)),
    ..PUSH
};

/// RPUSHX key element [element ...]
pub(crate) static RPUSHX: Spec = Spec {
    name: "rpushx",
    since: "2.2.0",
    summary: "Adds elements at the end of a list if it exists.",
    run: Run::Data(|cx, args| push_if_there(cx, args, End::Back)),
    ..PUSH
};

/// What subscribers hear of a push at that end.
pub(super) fn event(end: End) -> &'static str {
    match end {
        End::Front => "lpush",
        End::Back => "rpush",
    }
}

fn push(cx: &mut Exec<'_, '_>, args: Args<'_>, end: End) -> Outcome {
    let (key, elements) = (args.at(1), args.from(2));
    let len = cx.with_list_or_new(key, |list, limits| {
        elements.iter().for_each(|element| list.push(end, element, limits));
        list.len()
    })?;
    pushed(cx, key, end, elements.len());
    cx.reply.count(len);
    Ok(())
}

fn push_if_there(cx: &mut Exec<'_, '_>, args: Args<'_>, end: End) -> Outcome {
    let (key, elements) = (args.at(1), args.from(2));
    let len = cx.with_list(key, |list, limits| {
        elements.iter().for_each(|element| list.push(end, element, limits));
        list.len()
    })?;
    if len.is_some() {
        pushed(cx, key, end, elements.len());
    }
    cx.reply.count(len.unwrap_or(0));
    Ok(())
}

fn pushed(cx: &mut Exec<'_, '_>, key: &[u8], end: End, amount: usize) {
    cx.modified(key, amount);
    cx.notify(Class::LIST, event(end), key);
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn elements_come_in_at_both_ends() {
        let mut bench = Bench::new();
        bench.check("RPUSH l c d", "2").propagates("RPUSH l c d").notifies("rpush l");
        bench.check("LPUSH l b a", "4").propagates("LPUSH l b a").notifies("lpush l");
        bench.check("LRANGE l 0 -1", "[a b c d]");
        bench.check("LPUSHX l 0", "5").notifies("lpush l").check("RPUSHX l e f", "7").notifies("rpush l");
        bench.check("LRANGE l 0 -1", "[0 a b c d e f]");
        bench.check("LPUSHX none x", "0").propagates("").notifies("").check("RPUSHX none x", "0").propagates("");
        bench.check("EXISTS none", "0").check("SET text v", "OK");
        for name in ["LPUSH", "RPUSH", "LPUSHX", "RPUSHX"] {
            bench.check(&format!("{name} text x"), "WRONGTYPE Operation against a key holding the wrong kind of value");
        }
    }
}

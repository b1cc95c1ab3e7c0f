//! LSET, LINSERT, LREM and LTRIM: changes within a list.

use quorate_values::list::{End, Needle};

use super::read::from_front;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const EDIT: Spec = Spec { group: Group::List, ..Spec::BLANK };

/// LINSERT key BEFORE|AFTER pivot element
pub(crate) static LINSERT: Spec = Spec {
    name: "linsert",
    arity: Arity::Exactly(5),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::INSERT)],
    since: "2.2.0",
    complexity: "O(N) for N elements up to the pivot",
    summary: "Puts an element before or behind another.",
    run: Run::Data(linsert),
    ..EDIT
};

/// LREM key count element
pub(crate) static LREM: Spec = Spec {
    name: "lrem",
    arity: Arity::Exactly(4),
    flags: Flags::WRITE,
    keys: &[(Keys::At(1), Access::DELETE)],
    complexity: "O(N) for N elements",
    summary: "Removes elements that equal another, and the list with the last one.",
    run: Run::Data(lrem),
    ..EDIT
};

/// LSET key index element
pub(crate) static LSET: Spec = Spec {
    name: "lset",
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::UPDATE)],
    complexity: "O(log N) for N nodes, and O(M) for the elements of one",
    summary: "Replaces the element of an index.",
    run: Run::Data(lset),
    ..EDIT
};

/// LTRIM key start stop
pub(crate) static LTRIM: Spec = Spec {
    name: "ltrim",
    arity: Arity::Exactly(4),
    flags: Flags::WRITE,
    keys: &[(Keys::At(1), Access::DELETE)],
    complexity: "O(N) for N elements removed",
    summary: "Removes all elements outside of a range, and the list if none is left.",
    run: Run::Data(ltrim),
    ..EDIT
};

fn lset(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, element) = (args.at(1), args.at(3));
    let changed = cx.with_list(key, |list, limits| {
        let index = from_front(args.int(2)?, list.len());
        match index.filter(|&index| list.set(index, element, limits)) {
            Some(_) => Ok(()),
            None => Err(CommandError::IndexOutOfRange),
        }
    })?;
    changed.ok_or(CommandError::NoSuchKey)??;
    cx.modified(key, 1);
    cx.notify(Class::LIST, "lset", key);
    cx.reply.ok();
    Ok(())
}

fn linsert(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let behind = if args.is(2, "AFTER") {
        1
    } else if args.is(2, "BEFORE") {
        0
    } else {
        return Err(CommandError::Syntax);
    };
    let (key, pivot, element) = (args.at(1), Needle::new(args.at(3)), args.at(4));
    let Some(list) = crate::exec::as_list(cx.keys.find(cx.db, key))? else {
        cx.reply.int(0);
        return Ok(());
    };
    let Some(index) = list.position(&pivot) else {
        cx.reply.int(-1);
        return Ok(());
    };
    let len = cx.with_list(key, |list, limits| {
        list.insert(index + behind, element, limits);
        list.len()
    })?;
    cx.modified(key, 1);
    cx.notify(Class::LIST, "linsert", key);
    cx.reply.count(len.unwrap_or(0));
    Ok(())
}

fn lrem(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, needle) = (args.at(1), Needle::new(args.at(3)));
    let (most, end) = match args.int(2)? {
        0 => (usize::MAX, End::Front),
        count @ 1.. => (usize::try_from(count).unwrap_or(usize::MAX), End::Front),
        count => (usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX), End::Back),
    };
    let gone = cx.with_list(key, |list, limits| list.remove_matching(&needle, most, end, limits))?.unwrap_or(0);
    if gone > 0 {
        cx.modified(key, gone);
        cx.notify(Class::LIST, "lrem", key);
        cx.drop_if_empty(key);
    }
    cx.reply.count(gone);
    Ok(())
}

fn ltrim(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, start, stop) = (args.at(1), args.int(2)?, args.int(3)?);
    let gone = cx.with_list(key, |list, _| {
        let len = list.len();
        let (first, amount) = super::span(start, stop, len);
        list.remove_front(first);
        list.remove_back(len - first - amount);
        len - amount
    })?;
    if let Some(gone) = gone {
        // Redis tells watchers and subscribers of a trim that removed nothing, too; replicas need not know.
        cx.modified(key, gone);
        cx.notify(Class::LIST, "ltrim", key);
        cx.drop_if_empty(key);
    }
    cx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

    #[test]
    fn elements_are_replaced_by_index() {
        let mut bench = Bench::new();
        bench.check("RPUSH l a b c", "3").check("LSET l -1 z", "OK").propagates("LSET l -1 z").notifies("lset l");
        bench.check("LRANGE l 0 -1", "[a b z]").check("LSET l 3 x", "ERR index out of range").propagates("");
        bench.check("LSET l -4 x", "ERR index out of range").check("LSET none x y", "ERR no such key");
        bench.check("LSET l x y", "ERR value is not an integer or out of range").check("SET text v", "OK");
        bench.check("LSET text 0 x", WRONG_TYPE);
    }

    #[test]
    fn elements_are_put_beside_a_pivot() {
        let mut bench = Bench::new();
        bench.check("RPUSH l a b 3", "3");
        bench.check("LINSERT l BEFORE a 0", "4").propagates("LINSERT l BEFORE a 0").notifies("linsert l");
        bench
            .check("LINSERT l after 3 4", "5")
            .check("LINSERT l AFTER a x", "6")
            .check("LRANGE l 0 -1", "[0 a x b 3 4]");
        bench.check("LINSERT l AFTER none x", "-1").propagates("").check("LINSERT none AFTER a x", "0");
        bench.check("LINSERT l BESIDE a x", "ERR syntax error").check("SET text v", "OK");
        bench.check("LINSERT text BEFORE a b", WRONG_TYPE);
    }

    #[test]
    fn matches_are_removed_from_the_end_that_the_count_says() {
        let mut bench = Bench::new();
        bench.check("RPUSH l x 1 x 2 x 3 x", "7");
        bench
            .check("LREM l 1 x", "1")
            .propagates("LREM l 1 x")
            .notifies("lrem l")
            .check("LRANGE l 0 -1", "[1 x 2 x 3 x]");
        bench.check("LREM l -2 x", "2").check("LRANGE l 0 -1", "[1 x 2 3]").check("LREM l 0 none", "0").propagates("");
        bench.check("LREM l 0 x", "1").check("LREM l 0 2", "1").check("LREM l 5 1", "1");
        bench.check("LREM l 0 3", "1").notifies("lrem l; del l").check("EXISTS l", "0").check("LREM l 0 3", "0");
        bench.check("LREM l x 3", "ERR value is not an integer or out of range").check("SET text v", "OK");
        bench.check("LREM text 0 x", WRONG_TYPE);
    }

    #[test]
    fn what_is_outside_of_the_range_goes() {
        let mut bench = Bench::new();
        bench.check("RPUSH l a b c d e", "5");
        bench
            .check("LTRIM l 1 -2", "OK")
            .propagates("LTRIM l 1 -2")
            .notifies("ltrim l")
            .check("LRANGE l 0 -1", "[b c d]");
        bench.check("LTRIM l 0 -1", "OK").propagates("").notifies("ltrim l").check("LLEN l", "3");
        bench.check("LTRIM l 5 9", "OK").propagates("LTRIM l 5 9").notifies("ltrim l; del l").check("EXISTS l", "0");
        bench.check("LTRIM l 0 1", "OK").propagates("").notifies("").check("SET text v", "OK");
        bench.check("LTRIM text 0 1", WRONG_TYPE).check("LTRIM l x 1", "ERR value is not an integer or out of range");
    }
}

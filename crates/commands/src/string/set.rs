//! SET and its older forms: a string put in place of whatever a key holds.
//!
//! Replicas get the expiry as a point in time, so that they expire the key at the same moment however
//! late the command reaches them.

use quorate_stdx::UnixMs;
use quorate_values::StrRef;

use crate::exec::{Origin, as_str};
use crate::expiry::{self, Unit, Wish};
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

/// PSETEX key milliseconds value
pub(crate) static PSETEX: Spec = Spec {
    name: "psetex",
    group: Group::String,
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::OVERWRITE)],
    since: "2.6.0",
    summary: "Sets the string value of a key and the milliseconds until it expires.",
    run: Run::Data(psetex),
    ..Spec::BLANK
};

/// DELIFEQ key value, as Valkey 9 has it
pub(crate) static DELIFEQ: Spec = Spec {
    name: "delifeq",
    group: Group::String,
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::REMOVE)],
    since: "9.0.0",
    summary: "Removes a key if it holds that string.",
    run: Run::Data(delifeq),
    ..Spec::BLANK
};

/// SET key value [NX | XX | IFEQ comparison] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
pub(crate) static SET: Spec = Spec {
    name: "set",
    group: Group::String,
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::of(&["RW", "access", "update", "variable_flags"]))],
    precisely: Some(|args| {
        // Only GET and IFEQ look at what was there.
        let reads = (3..args.len()).any(|at| args.is(at, "GET") || args.is(at, "IFEQ"));
        if reads { Access::READ_UPDATE } else { Access::OVERWRITE }
    }),
    since: "1.0.0",
    summary: "Sets the string value of a key, ignoring its type.",
    run: Run::Data(set),
    ..Spec::BLANK
};

/// SETEX key seconds value
pub(crate) static SETEX: Spec = Spec {
    name: "setex",
    group: Group::String,
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::OVERWRITE)],
    since: "2.0.0",
    summary: "Sets the string value of a key and the seconds until it expires.",
    run: Run::Data(setex),
    ..Spec::BLANK
};

/// SETNX key value
pub(crate) static SETNX: Spec = Spec {
    name: "setnx",
    group: Group::String,
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::of(&["OW", "insert"]))],
    since: "1.0.0",
    summary: "Sets the string value of a key if there is no such key.",
    run: Run::Data(setnx),
    ..Spec::BLANK
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    IfAbsent,
    IfPresent,
    /// If the key holds this string (Valkey 8.1).
    IfEqual(&'a [u8]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    Forever,
    Keep,
    Until(UnixMs),
}

struct Options<'a> {
    condition: Condition<'a>,
    lifetime: Lifetime,
    get: bool,
}

impl Options<'_> {
    /// Whether this is how locks are taken: only if nobody has it, or for a while.
    fn may_lock(&self) -> bool {
        match self.condition {
            Condition::IfAbsent => true,
            Condition::Always => matches!(self.lifetime, Lifetime::Until(_)),
            Condition::IfPresent | Condition::IfEqual(_) => false,
        }
    }
}

/// Whether a lock may be granted. What a primary has granted is not ours to refuse.
fn grant(cx: &Exec<'_, '_>) -> Outcome {
    match cx.settings.refuses_locks && cx.origin != Origin::Replication {
        true => Err(CommandError::text(
            "QUARANTINE This server may have lost locks when it was started, and grants none until the longest may have \
             ended (lock-quarantine).",
        )),
        false => Ok(()),
    }
}

fn options<'a>(cx: &Exec<'_, '_>, args: Args<'a>) -> Result<Options<'a>, CommandError> {
    let (mut condition, mut get, mut wish) = (Condition::Always, false, Wish::None);
    let mut at = 3;
    while at < args.len() {
        let may_be = |other: Condition<'_>| condition == Condition::Always || condition == other;
        if args.is(at, "NX") && may_be(Condition::IfAbsent) {
            condition = Condition::IfAbsent;
        } else if args.is(at, "XX") && may_be(Condition::IfPresent) {
            condition = Condition::IfPresent;
        } else if args.is(at, "IFEQ") && at + 1 < args.len() && condition == Condition::Always {
            at += 1;
            condition = Condition::IfEqual(args.at(at));
        } else if args.is(at, "GET") {
            get = true;
        } else {
            at += wish.option(args, at, "KEEPTTL").ok_or(CommandError::Syntax)? - 1;
        }
        at += 1;
    }
    let lifetime = match wish {
        Wish::None => Lifetime::Forever,
        Wish::Word => Lifetime::Keep,
        Wish::At(unit, value) => Lifetime::Until(expiry::parse(value, unit, cx.now, "set")?),
    };
    Ok(Options { condition, lifetime, get })
}

fn set(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, value) = (args.at(1), args.at(2));
    if args.len() == 3 {
        cx.keys.set_str(cx.db, key, value, None);
        cx.changed(1);
        cx.notify(Class::STRING, "set", key);
        cx.reply.ok();
        return Ok(());
    }
    let options = options(cx, args)?;
    if options.may_lock() {
        grant(cx)?;
    }
    let mark = cx.reply.len();
    if options.get {
        match cx.string(key)?.map(|text| text.to_vec()) {
            Some(text) => cx.reply.bulk(&text),
            None => cx.reply.null(),
        }
    }
    let found = cx.keys.find(cx.db, key);
    let refused = match options.condition {
        Condition::Always => false,
        Condition::IfAbsent => found.is_some(),
        Condition::IfPresent => found.is_none(),
        Condition::IfEqual(wanted) => !holds(as_str(found)?, wanted),
    };
    if refused {
        if !options.get {
            cx.reply.null();
        }
        return Ok(());
    }
    store(cx, key, value, options.lifetime);
    if matches!(options.condition, Condition::IfEqual(_)) {
        // Not every replica knows that option, and it has been decided.
        match options.lifetime {
            Lifetime::Forever => cx.propagate(&[b"SET", key, value]),
            Lifetime::Keep => cx.propagate(&[b"SET", key, value, b"KEEPTTL"]),
            Lifetime::Until(_) => {}
        }
    }
    if cx.reply.len() == mark {
        cx.reply.ok();
    }
    Ok(())
}

/// Puts the value in place and passes on what replicas have to do.
fn store(cx: &mut Exec<'_, '_>, key: &[u8], value: &[u8], lifetime: Lifetime) {
    let expiry = match lifetime {
        Lifetime::Forever => None,
        Lifetime::Keep => cx.keys.peek(cx.db, key).and_then(|entry| entry.expiry()),
        Lifetime::Until(at) => Some(at),
    };
    cx.keys.set_str(cx.db, key, value, expiry);
    cx.changed(1);
    cx.notify(Class::STRING, "set", key);
    if let Lifetime::Until(at) = lifetime {
        cx.notify(Class::GENERIC, "expire", key);
        let at = at.0.to_string();
        cx.propagate(&[b"SET", key, value, b"PXAT", at.as_bytes()]);
    }
}

/// Whether a string is there and is that one.
fn holds(text: Option<StrRef<'_>>, wanted: &[u8]) -> bool {
    text.is_some_and(|text| text.text(&mut itoa::Buffer::new()) == wanted)
}

fn delifeq(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let removed = holds(as_str(cx.keys.find(cx.db, key))?, args.at(2)) && cx.remove(key, false);
    if removed {
        cx.changed(1);
        cx.notify(Class::GENERIC, "del", key);
        cx.propagate(&[b"DEL", key]);
    }
    cx.reply.int(removed.into());
    Ok(())
}

fn setnx(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    grant(cx)?;
    let key = args.at(1);
    let absent = cx.keys.find(cx.db, key).is_none();
    if absent {
        store(cx, key, args.at(2), Lifetime::Forever);
    }
    cx.reply.int(i64::from(absent));
    Ok(())
}

fn setex(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    set_until(cx, args, Unit::Seconds, "setex")
}

fn psetex(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    set_until(cx, args, Unit::Milliseconds, "psetex")
}

fn set_until(cx: &mut Exec<'_, '_>, args: Args<'_>, unit: Unit, command: &'static str) -> Outcome {
    let at = expiry::parse(args.at(2), unit, cx.now, command)?;
    grant(cx)?;
    store(cx, args.at(1), args.at(3), Lifetime::Until(at));
    cx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn set_keeps_its_conditions() {
        Bench::new().script(
            "SET k v XX => nil
             SET k v NX => OK
             SET k w NX => nil
             SET k w XX GET => v
             SET k x NX GET => w
             GET k => w
             SET new x NX GET => nil
             GET new => x
             SET k v NX XX => ERR syntax error
             SET k v EX => ERR syntax error
             SET k v EX 1 PX 1 => ERR syntax error
             SET k v EX 0 => ERR invalid expire time in 'set' command
             SET k v EX x => ERR value is not an integer or out of range
             SETNX k v => 0
             SETNX k2 v => 1
             HSET h f v => 1
             SET h v GET => WRONGTYPE Operation against a key holding the wrong kind of value
             SET h v => OK",
        );
    }

    #[test]
    fn in_quarantine_nothing_is_set_that_may_be_a_lock() {
        let mut bench = Bench::new();
        bench.script("SET held v => OK");
        bench.settings.refuses_locks = true;
        let refused = "QUARANTINE This server may have lost locks when it was started, and grants none until the longest may have \
                       ended (lock-quarantine).";
        for lock in ["SET k v NX PX 9", "SET k v NX", "SET k v EX 9", "SETNX k v", "SETEX k 9 v", "PSETEX k 9 v"] {
            bench.check(lock, refused);
        }
        bench.script("SET k v => OK\nSET k v XX PX 9000 => OK\nPEXPIRE held 9000 => 1\nDEL held => 1");
    }

    #[test]
    fn expiries_are_passed_on_as_points_in_time() {
        let mut bench = Bench::new();
        bench.check("SET k v EX 10", "OK").propagates("SET k v PXAT 1010000").notifies("set k; expire k");
        bench.check("SETEX k 5 v", "OK").propagates("SET k v PXAT 1005000");
        bench.check("PSETEX k 5 v", "OK").propagates("SET k v PXAT 1000005");
        bench.check("SET k w KEEPTTL", "OK").propagates("SET k w KEEPTTL").check("PTTL k", "5");
        bench.check("SET k w", "OK").propagates("SET k w").check("PTTL k", "-1");
        bench.check("SETEX k 0 v", "ERR invalid expire time in 'setex' command");
        bench.check("SETEX k 9223372036854775807 v", "ERR invalid expire time in 'setex' command");
    }

    #[test]
    fn a_value_is_replaced_or_removed_only_if_it_is_the_one_that_was_named() {
        let mut bench = Bench::new();
        bench.check("SET k a PX 1000", "OK").check("SET k b IFEQ x", "nil").propagates("").check("GET k", "a");
        bench.check("SET k b IFEQ a KEEPTTL", "OK").propagates("SET k b KEEPTTL").check("PTTL k", "1000");
        bench.check("SET k c IFEQ b GET", "b").propagates("SET k c").check("SET k d IFEQ b GET", "c").propagates("");
        bench.check("SET k 5 PX 10 IFEQ c", "OK").propagates("SET k 5 PXAT 1000010").check("SET k 6 IFEQ 5", "OK");
        bench.script(
            "SET none a IFEQ a => nil
             SET k a NX IFEQ a => ERR syntax error
             SET k a IFEQ a XX => ERR syntax error
             SET k a IFEQ => ERR syntax error
             HSET h f v => 1
             SET h a IFEQ a => WRONGTYPE Operation against a key holding the wrong kind of value
             DELIFEQ h a => WRONGTYPE Operation against a key holding the wrong kind of value
             DELIFEQ none a => 0",
        );
        bench.check("DELIFEQ k 5", "0").propagates("").check("DELIFEQ k 6", "1").propagates("DEL k").notifies("del k");
        bench.check("EXISTS k", "0");
    }
}

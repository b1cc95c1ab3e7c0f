//! SET and its older forms: a string put in place of whatever a key holds.
//!
//! Replicas get the expiry as a point in time, so that they expire the key at the same moment however
//! late the command reaches them.

use quorate_stdx::UnixMs;

use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

/// SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
pub(crate) static SET: Spec = Spec {
    name: "set",
    group: Group::String,
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::of(&["RW", "access", "update", "variable_flags"]))],
    since: "1.0.0",
    summary: "Sets the string value of a key, ignoring its type.",
    run: Run::Data(set),
    ..Spec::BLANK
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    Forever,
    Keep,
    Until(UnixMs),
}

struct Options {
    condition: Condition,
    lifetime: Lifetime,
    get: bool,
}

fn options(cx: &Exec<'_, '_>, args: Args<'_>) -> Result<Options, CommandError> {
    let mut options = Options { condition: Condition::Always, lifetime: Lifetime::Forever, get: false };
    let mut at = 3;
    while at < args.len() {
        let unset = options.lifetime == Lifetime::Forever;
        let next = args.get(at + 1);
        if args.is(at, "NX") && options.condition != Condition::IfPresent {
            options.condition = Condition::IfAbsent;
        } else if args.is(at, "XX") && options.condition != Condition::IfAbsent {
            options.condition = Condition::IfPresent;
        } else if args.is(at, "GET") {
            options.get = true;
        } else if args.is(at, "KEEPTTL") && unset {
            options.lifetime = Lifetime::Keep;
        } else if let Some(unit) = crate::expiry::Unit::of(args.at(at)).filter(|_| unset && next.is_some()) {
            options.lifetime = Lifetime::Until(crate::expiry::parse(args.at(at + 1), unit, cx.now, "set")?);
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
        at += 1;
    }
    Ok(options)
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
    let mark = cx.reply.len();
    if options.get {
        match cx.string(key)?.map(|text| text.to_vec()) {
            Some(text) => cx.reply.bulk(&text),
            None => cx.reply.null(),
        }
    }
    let present = cx.keys.find(cx.db, key).is_some();
    let refused = match options.condition {
        Condition::Always => false,
        Condition::IfAbsent => present,
        Condition::IfPresent => !present,
    };
    if refused {
        if !options.get {
            cx.reply.null();
        }
        return Ok(());
    }
    store(cx, key, value, options.lifetime);
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

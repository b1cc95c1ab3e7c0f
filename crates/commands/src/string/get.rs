//! GET and its kin: the string at a key, and what to do with the key once it is read.

use crate::exec::as_str;
use crate::expiry::{self, Wish};
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Origin, Outcome, Run, Spec};

const STRING: Spec = Spec { group: Group::String, ..Spec::BLANK };

/// GET key
pub(crate) static GET: Spec = Spec {
    name: "get",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ)],
    summary: "Returns the string value of a key.",
    run: Run::Data(get),
    ..STRING
};

/// GETDEL key
pub(crate) static GETDEL: Spec = Spec {
    name: "getdel",
    arity: Arity::Exactly(2),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_DELETE)],
    since: "6.2.0",
    summary: "Returns the string value of a key and removes the key.",
    run: Run::Data(getdel),
    ..STRING
};

/// GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]
pub(crate) static GETEX: Spec = Spec {
    name: "getex",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_UPDATE)],
    since: "6.2.0",
    summary: "Returns the string value of a key and changes when the key expires.",
    run: Run::Data(getex),
    ..STRING
};

/// GETSET key value
pub(crate) static GETSET: Spec = Spec {
    name: "getset",
    deprecated: Some(("6.2.0", "SET with GET")),
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_UPDATE)],
    summary: "Sets a key to a new string value and returns the one that it had.",
    run: Run::Data(getset),
    ..STRING
};

/// Answers with the string at `key`; whether there is one.
#[inline]
fn answer(cx: &mut Exec<'_, '_>, key: &[u8]) -> Result<bool, CommandError> {
    match as_str(cx.keys.read(cx.db, key))? {
        Some(text) => {
            cx.reply.bulk(text.text(&mut itoa::Buffer::new()));
            Ok(true)
        }
        None => {
            cx.reply.null();
            Ok(false)
        }
    }
}

fn get(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    answer(cx, args.at(1)).map(|_| ())
}

fn getdel(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    if answer(cx, args.at(1))? {
        cx.delete_instead(args.at(1), cx.settings.lazy_user_del);
    }
    Ok(())
}

/// What GETEX is to do to the expiry.
fn wish<'a>(args: Args<'a>) -> Result<Wish<'a>, CommandError> {
    let mut wish = Wish::None;
    let mut at = 2;
    while at < args.len() {
        at += wish.option(args, at, "PERSIST").ok_or(CommandError::Syntax)?;
    }
    Ok(wish)
}

fn getex(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let wish = wish(args)?;
    if !answer(cx, key)? {
        return Ok(());
    }
    let until = match wish {
        Wish::At(unit, value) => Some(expiry::parse(value, unit, cx.now, "getex")?),
        Wish::None | Wish::Word => None,
    };
    match (wish, until) {
        (Wish::None, _) => {}
        (_, Some(at)) if at <= cx.now && cx.origin != Origin::Replication => {
            cx.delete_instead(key, cx.keys.scope().lazy.expire);
        }
        (_, Some(at)) => {
            if let Some(mut entry) = cx.keys.modify(cx.db, key) {
                entry.set_expiry(Some(at));
            }
            cx.modified(key, 1);
            cx.notify(Class::GENERIC, "expire", key);
            cx.propagate(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at.0).as_bytes()]);
        }
        (_, None) => {
            if cx.keys.peek(cx.db, key).is_some_and(|entry| entry.expiry().is_some()) {
                if let Some(mut entry) = cx.keys.modify(cx.db, key) {
                    entry.set_expiry(None);
                }
                cx.modified(key, 1);
                cx.notify(Class::GENERIC, "persist", key);
                cx.propagate(&[b"PERSIST", key]);
            }
        }
    }
    Ok(())
}

fn getset(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, value) = (args.at(1), args.at(2));
    answer(cx, key)?;
    cx.keys.set_str(cx.db, key, value, None);
    cx.changed(1);
    cx.notify(Class::STRING, "set", key);
    cx.propagate(&[b"SET", key, value]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn a_value_is_read_and_its_key_removed_or_replaced() {
        let mut bench = Bench::new();
        bench.check("GET k", "nil").check("SET k v", "OK").check("GET k", "v").propagates("");
        bench.check("GETDEL k", "v").propagates("DEL k").notifies("del k").check("GETDEL k", "nil").propagates("");
        bench.check("GETSET k 5", "nil").propagates("SET k 5").check("GETSET k x", "5").check("GET k", "x");
        bench.check("HSET h f v", "1");
        for line in ["GET h", "GETDEL h", "GETEX h", "GETSET h v"] {
            bench.check(line, "WRONGTYPE Operation against a key holding the wrong kind of value").propagates("");
        }
    }

    #[test]
    fn getex_passes_on_what_it_does_to_the_expiry() {
        let mut bench = Bench::new();
        bench.check("SET k v", "OK").check("GETEX k", "v").propagates("");
        bench.check("GETEX k EX 10", "v").propagates("PEXPIREAT k 1010000").notifies("expire k");
        bench.check("GETEX k PERSIST", "v").propagates("PERSIST k").check("GETEX k PERSIST", "v").propagates("");
        bench.check("GETEX k EX 0", "ERR invalid expire time in 'getex' command");
        bench.check("GETEX k EX", "ERR syntax error").check("GETEX k PERSIST EX 1", "ERR syntax error");
        bench.check("GETEX k PXAT 1", "v").propagates("DEL k").check("EXISTS k", "0");
    }
}

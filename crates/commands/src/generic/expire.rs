//! EXPIRE and its kin: when a key is to go.
//!
//! Replicas get points in time, whatever the client gave, so that late delivery changes nothing. A point
//! that has passed removes the key at once, and that is what is passed on.

use quorate_stdx::UnixMs;

use crate::expiry::Unit;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Origin, Outcome, Run, Spec};

const EXPIRING: Spec = Spec {
    group: Group::Generic,
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::UPDATE)],
    ..Spec::BLANK
};

/// EXPIRE key seconds [NX | XX | GT | LT]
pub(crate) static EXPIRE: Spec = Spec {
    name: "expire",
    summary: "Sets in how many seconds a key expires.",
    run: Run::Data(|cx, args| expire(cx, args, Unit::Seconds, "expire")),
    ..EXPIRING
};

/// EXPIREAT key unix-seconds [NX | XX | GT | LT]
pub(crate) static EXPIREAT: Spec = Spec {
    name: "expireat",
    since: "1.2.0",
    summary: "Sets the second since 1970 at which a key expires.",
    run: Run::Data(|cx, args| expire(cx, args, Unit::UnixSeconds, "expireat")),
    ..EXPIRING
};

/// PERSIST key
pub(crate) static PERSIST: Spec = Spec {
    name: "persist",
    arity: Arity::Exactly(2),
    since: "2.2.0",
    summary: "Makes a key one that never expires.",
    run: Run::Data(persist),
    ..EXPIRING
};

/// PEXPIRE key milliseconds [NX | XX | GT | LT]
pub(crate) static PEXPIRE: Spec = Spec {
    name: "pexpire",
    since: "2.6.0",
    summary: "Sets in how many milliseconds a key expires.",
    run: Run::Data(|cx, args| expire(cx, args, Unit::Milliseconds, "pexpire")),
    ..EXPIRING
};

/// PEXPIREAT key unix-milliseconds [NX | XX | GT | LT]
pub(crate) static PEXPIREAT: Spec = Spec {
    name: "pexpireat",
    since: "2.6.0",
    summary: "Sets the millisecond since 1970 at which a key expires.",
    run: Run::Data(|cx, args| expire(cx, args, Unit::UnixMilliseconds, "pexpireat")),
    ..EXPIRING
};

/// Which expiries may be replaced; several conditions hold together.
#[derive(Debug, Clone, Copy, Default)]
struct Conditions {
    if_none: bool,
    if_any: bool,
    if_later: bool,
    if_sooner: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Result<Conditions, CommandError> {
        let mut conditions = Conditions::default();
        for at in 3..args.len() {
            match () {
                () if args.is(at, "NX") => conditions.if_none = true,
                () if args.is(at, "XX") => conditions.if_any = true,
                () if args.is(at, "GT") => conditions.if_later = true,
                () if args.is(at, "LT") => conditions.if_sooner = true,
                () => return Err(CommandError::Bytes([b"ERR Unsupported option ", args.at(at)].concat())),
            }
        }
        if conditions.if_none && (conditions.if_any || conditions.if_later || conditions.if_sooner) {
            return Err(CommandError::text("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.if_later && conditions.if_sooner {
            return Err(CommandError::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// Whether `at` may replace `current`. A key that never expires counts as expiring later than any.
    fn allow(self, current: Option<UnixMs>, at: UnixMs) -> bool {
        !(self.if_none && current.is_some()
            || self.if_any && current.is_none()
            || self.if_later && current.is_none_or(|current| at <= current)
            || self.if_sooner && current.is_some_and(|current| at >= current))
    }
}

fn expire(cx: &mut Exec<'_, '_>, args: Args<'_>, unit: Unit, name: &'static str) -> Outcome {
    let key = args.at(1);
    let conditions = Conditions::parse(args)?;
    let at = unit.at(args.int(2)?, cx.now).ok_or(CommandError::InvalidExpire(name))?;
    let allowed = match cx.keys.find(cx.db, key) {
        None => false,
        Some(entry) => conditions.allow(entry.expiry(), at),
    };
    cx.reply.int(i64::from(allowed));
    if !allowed {
        return Ok(());
    }
    if at <= cx.now && cx.origin != Origin::Replication {
        cx.delete_instead(key, cx.keys.scope().lazy.expire);
        return Ok(());
    }
    if let Some(mut entry) = cx.keys.modify(cx.db, key) {
        entry.set_expiry(Some(at));
    }
    cx.modified(key, 1);
    cx.notify(Class::GENERIC, "expire", key);
    cx.propagate(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at.0).as_bytes()]);
    Ok(())
}

fn persist(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let expires = cx.keys.find(cx.db, key).is_some_and(|entry| entry.expiry().is_some());
    if expires {
        if let Some(mut entry) = cx.keys.modify(cx.db, key) {
            entry.set_expiry(None);
        }
        cx.modified(key, 1);
        cx.notify(Class::GENERIC, "persist", key);
    }
    cx.reply.int(i64::from(expires));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn a_key_expires_when_it_was_told_to() {
        let mut bench = Bench::new();
        bench.check("SET k v", "OK").check("EXPIRE k 10", "1").propagates("PEXPIREAT k 1010000").notifies("expire k");
        bench.check("PEXPIRE k 5", "1").propagates("PEXPIREAT k 1000005");
        bench.check("EXPIREAT k 2000", "1").propagates("PEXPIREAT k 2000000");
        bench.check("PEXPIREAT k 3000000", "1").propagates("PEXPIREAT k 3000000").check("EXPIRE none 1", "0");
        bench.now = 2_999_999;
        bench.check("GET k", "v");
        bench.now = 3_000_000;
        bench.check("GET k", "nil").check("DBSIZE", "0");
    }

    #[test]
    fn a_point_in_the_past_removes_the_key_at_once() {
        let mut bench = Bench::new();
        for line in ["EXPIRE k 0", "EXPIRE k -1", "EXPIREAT k 1", "PEXPIREAT k 999999"] {
            bench.check("SET k v", "OK").check(line, "1").propagates("DEL k").notifies("del k").check("EXISTS k", "0");
        }
    }

    #[test]
    fn conditions_look_at_the_expiry_that_there_is() {
        Bench::new().script(
            "SET k v => OK
             EXPIRE k 100 XX => 0
             EXPIRE k 100 GT => 0
             EXPIRE k 100 NX => 1
             EXPIRE k 100 NX => 0
             EXPIRE k 50 GT => 0
             EXPIRE k 200 GT => 1
             EXPIRE k 300 LT => 0
             EXPIRE k 100 LT XX => 1
             TTL k => 100
             PERSIST k => 1
             PERSIST k => 0
             PERSIST none => 0
             EXPIRE k 100 LT => 1
             EXPIRE k 1 FOO => ERR Unsupported option FOO
             EXPIRE k 1 NX GT => ERR NX and XX, GT or LT options at the same time are not compatible
             EXPIRE k 1 GT LT => ERR GT and LT options at the same time are not compatible
             EXPIRE k x => ERR value is not an integer or out of range
             EXPIRE k 9223372036854775807 => ERR invalid expire time in 'expire' command
             PEXPIRE k 9223372036854775807 => ERR invalid expire time in 'pexpire' command",
        );
    }
}

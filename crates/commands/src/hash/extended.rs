//! HGETDEL, HGETEX, HSETEX: fields of a hash read or set, and removed or given an expiry in the same step.

use quorate_stdx::UnixMs;

use super::expire::{LATEST, pass_on};
use super::fields;
use crate::exec::as_hash;
use crate::expiry::{Unit, Wish};
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Origin, Outcome, Run, Spec};

const WORDING: fields::Wording = "ERR Number of fields must be a positive integer";

const HASH: Spec = Spec {
    group: Group::Hash,
    arity: Arity::AtLeast(5),
    since: "8.0.0",
    complexity: "O(N) for N fields",
    ..Spec::BLANK
};

/// HGETDEL key FIELDS numfields field [field ...]
pub(crate) static HGETDEL: Spec = Spec {
    name: "hgetdel",
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_DELETE)],
    summary: "Returns the values of fields of a hash and removes them.",
    run: Run::Data(hgetdel),
    ..HASH
};

/// HGETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST] FIELDS numfields field [field ...]
pub(crate) static HGETEX: Spec = Spec {
    name: "hgetex",
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_UPDATE)],
    summary: "Returns the values of fields of a hash and sets when they expire.",
    run: Run::Data(hgetex),
    ..HASH
};

/// HSETEX key [FNX | FXX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL] FIELDS numfields field value [field value ...]
pub(crate) static HSETEX: Spec = Spec {
    name: "hsetex",
    arity: Arity::AtLeast(6),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::UPDATE)],
    summary: "Sets fields of a hash and when they expire.",
    run: Run::Data(hsetex),
    ..HASH
};

/// Answers with the values of `fields`; which of them there are.
fn answer<'a>(cx: &mut Exec<'_, '_>, key: &[u8], fields: &[&'a [u8]]) -> Result<Vec<&'a [u8]>, CommandError> {
    let hash = as_hash(cx.keys.find(cx.db, key))?;
    let mut present = Vec::new();
    cx.reply.array(fields.len());
    for field in fields {
        match hash.and_then(|hash| hash.get(field)) {
            Some(value) => {
                present.push(*field);
                cx.reply.bulk(value.text(&mut itoa::Buffer::new()));
            }
            None => cx.reply.null(),
        }
    }
    Ok(present)
}

/// The point in time that a wish names, if it does.
fn point(wish: Wish<'_>, now: UnixMs, name: &'static str) -> Result<Option<UnixMs>, CommandError> {
    let Wish::At(unit, text) = wish else { return Ok(None) };
    let value = quorate_values::parse_i64(text).ok_or(CommandError::NotInteger)?;
    let is_positive = value > 0 || (value == 0 && matches!(unit, Unit::UnixSeconds | Unit::UnixMilliseconds));
    if !is_positive {
        return Err(CommandError::InvalidExpire(name));
    }
    unit.at(value, now).filter(|at| at.0 <= LATEST).map(Some).ok_or(CommandError::InvalidExpire(name))
}

fn hgetdel(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    cx.hash(key)?;
    let fields = fields::parse(args, 2, 1, WORDING)?;
    let mut present = answer(cx, key, fields)?;
    // A field that is named twice is there once; the second time it is answered as it was found.
    present.sort_unstable();
    present.dedup();
    cx.with_hash(key, |hash, _| present.iter().for_each(|field| _ = hash.remove(field)))?;
    pass_on(cx, key, UnixMs(0), &[], &present);
    Ok(())
}

fn hgetex(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    cx.hash(key)?;
    let (mut wish, mut at) = (Wish::None, 2);
    while at < args.len() && !args.is(at, "FIELDS") {
        at += wish.option(args, at, "PERSIST").ok_or(CommandError::Syntax)?;
    }
    let fields = fields::parse(args, at, 1, WORDING)?;
    let until = point(wish, cx.now, "hgetex")?;
    let present = answer(cx, key, fields)?;
    match (wish, until) {
        (Wish::None, _) => {}
        (_, Some(at)) => expire(cx, key, at, &present)?,
        (_, None) => {
            let persist = |hash: &mut quorate_values::Hash| {
                let mut expiring = present.clone();
                expiring.retain(|field| hash.expiry(field).is_some());
                expiring.iter().for_each(|field| hash.set_expiry(field, None));
                expiring
            };
            let changed = cx.with_hash(key, |hash, _| persist(hash))?.unwrap_or_default();
            if !changed.is_empty() {
                cx.modified(key, changed.len());
                cx.notify(Class::HASH, "hpersist", key);
                let count = changed.len().to_string();
                cx.propagate(&fields::request(&[b"HPERSIST", key], &count, &changed));
            }
        }
    }
    Ok(())
}

/// Lets fields that are there expire at a point in time; they go at once if that has passed.
fn expire(cx: &mut Exec<'_, '_>, key: &[u8], at: UnixMs, fields: &[&[u8]]) -> Outcome {
    let goes_at_once = at <= cx.now && cx.origin != Origin::Replication;
    cx.with_hash(key, |hash, _| {
        for field in fields {
            if goes_at_once {
                hash.remove(field);
            } else {
                hash.set_expiry(field, Some(at));
            }
        }
    })?;
    let (set, removed) = if goes_at_once { (&[][..], fields) } else { (fields, &[][..]) };
    pass_on(cx, key, at, set, removed);
    Ok(())
}

fn hsetex(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    cx.hash(key)?;
    let (mut wish, mut condition, mut at) = (Wish::None, None, 2);
    while at < args.len() && !args.is(at, "FIELDS") {
        if (args.is(at, "FNX") || args.is(at, "FXX")) && condition.is_none() {
            condition = Some(args.is(at, "FXX"));
            at += 1;
        } else {
            at += wish.option(args, at, "KEEPTTL").ok_or(CommandError::Syntax)?;
        }
    }
    let pairs = fields::parse(args, at, 2, WORDING)?;
    let until = point(wish, cx.now, "hsetex")?;
    let names: Vec<&[u8]> = pairs.chunks_exact(2).map(|pair| pair[0]).collect();
    let allowed = match condition {
        None => true,
        Some(present) => {
            let hash = cx.hash(key)?;
            names.iter().all(|name| hash.is_some_and(|hash| hash.contains(name)) == present)
        }
    };
    cx.reply.int(i64::from(allowed));
    if !allowed {
        return Ok(());
    }
    let keeps = wish == Wish::Word;
    cx.with_hash_or_new(key, |hash, limits| {
        for pair in pairs.chunks_exact(2) {
            if keeps {
                hash.set_value(pair[0], pair[1], limits);
            } else {
                hash.insert(pair[0], pair[1], limits);
            }
        }
    })?;
    cx.modified(key, names.len());
    cx.notify(Class::HASH, "hset", key);
    if let Some(at) = until {
        cx.propagate(&[&[b"HSET", key], pairs].concat());
        let mut names = names;
        names.sort_unstable();
        names.dedup();
        expire(cx, key, at, &names)?;
    } else if !keeps {
        cx.propagate(&[&[b"HSET", key], pairs].concat());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn fields_are_read_and_removed_in_one_step() {
        let mut bench = Bench::new();
        bench.check("HSET h a 1 b 2 c 3", "3").check("HGETDEL h FIELDS 3 a none b", "[1 nil 2]");
        bench.propagates("HDEL h a b").notifies("hdel h");
        bench.check("HGETDEL h FIELDS 2 c c", "[3 3]").propagates("HDEL h c").notifies("hdel h; del h");
        bench.check("HGETDEL h FIELDS 1 c", "[nil]").propagates("");
    }

    #[test]
    fn fields_are_read_and_expire_in_one_step() {
        let mut bench = Bench::new();
        bench.check("HSET h a 1 b 2", "2").check("HGETEX h FIELDS 2 a none", "[1 nil]").propagates("");
        bench.check("HGETEX h EX 10 FIELDS 2 a none", "[1 nil]").notifies("hexpire h");
        bench.propagates("HPEXPIREAT h 1010000 FIELDS 1 a");
        bench.check("HGETEX h PERSIST FIELDS 2 a b", "[1 2]").notifies("hpersist h");
        bench.propagates("HPERSIST h FIELDS 1 a");
        bench.check("HGETEX h PXAT 1 FIELDS 1 a", "[1]").propagates("HDEL h a").check("HGETALL h", "[b 2]");
        bench.check("HGETEX none EX 10 FIELDS 1 a", "[nil]").propagates("");
    }

    #[test]
    fn fields_are_set_with_their_expiry() {
        let mut bench = Bench::new();
        bench.check("HSETEX h EX 10 FIELDS 2 a 1 b 2", "1").notifies("hset h; hexpire h");
        bench.propagates("HSET h a 1 b 2; HPEXPIREAT h 1010000 FIELDS 2 a b").check("HTTL h FIELDS 1 a", "[10]");
        bench.check("HSETEX h KEEPTTL FIELDS 1 a 3", "1").propagates("HSETEX h KEEPTTL FIELDS 1 a 3");
        bench.check("HTTL h FIELDS 1 a", "[10]").check("HSETEX h FIELDS 1 a 4", "1").propagates("HSET h a 4");
        bench.check("HTTL h FIELDS 2 a b", "[-1 10]").check("HSETEX h FNX FIELDS 2 a 5 new 6", "0").propagates("");
        bench.check("HSETEX h FXX FIELDS 2 a 5 new 6", "0").check("HSETEX h FXX EX 5 FIELDS 1 a 5", "1");
        bench.check("HSETEX new FNX FIELDS 1 a 1", "1").check("HSETEX none FXX FIELDS 1 a 1", "0");
        bench.check("EXISTS none", "0").check("HSETEX gone PXAT 1 FIELDS 1 a 1", "1").check("EXISTS gone", "0");
    }

    #[test]
    fn what_is_not_as_the_grammar_says_is_refused() {
        let mut bench = Bench::new();
        bench.script(
            "SET s v => OK
             HGETDEL s FIELDS 1 a => WRONGTYPE Operation against a key holding the wrong kind of value
             HGETEX s FIELDS 1 a => WRONGTYPE Operation against a key holding the wrong kind of value
             HSETEX s FIELDS 1 a 1 => WRONGTYPE Operation against a key holding the wrong kind of value
             HGETDEL h FOO 1 a => ERR Mandatory argument FIELDS is missing or not at the right position
             HGETDEL h FIELDS 0 a => ERR Number of fields must be a positive integer
             HGETDEL h FIELDS 2 a => ERR The `numfields` parameter must match the number of arguments
             HGETEX h EX 1 PERSIST FIELDS 1 a => ERR syntax error
             HGETEX h EX 0 FIELDS 1 a => ERR invalid expire time in 'hgetex' command
             HGETEX h EX x FIELDS 1 a => ERR value is not an integer or out of range
             HSETEX h FNX FXX FIELDS 1 a 1 => ERR syntax error
             HSETEX h FIELDS 1 a 1 b => ERR The `numfields` parameter must match the number of arguments",
        );
    }
}

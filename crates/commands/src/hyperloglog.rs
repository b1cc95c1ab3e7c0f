//! HyperLogLogs: PFADD, PFCOUNT, PFMERGE and what debugs them. The representation is `quorate_values::hll`.

use quorate_keyspace::Expiry;
use quorate_values::hll::{self, Corrupt, REGISTERS, Registers};

use crate::exec::as_str;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const HYPERLOGLOG: Spec = Spec { group: Group::HyperLogLog, since: "2.8.9", ..Spec::BLANK };

/// PFADD key [element ...]
pub(crate) static PFADD: Spec = Spec {
    name: "pfadd",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::INSERT)],
    complexity: "O(1) for each element",
    summary: "Adds elements to a HyperLogLog, which is made if it does not exist.",
    run: Run::Data(pfadd),
    ..HYPERLOGLOG
};

/// PFCOUNT key [key ...]
pub(crate) static PFCOUNT: Spec = Spec {
    name: "pfcount",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY.and(Flags::MAY_REPLICATE),
    keys: &[(Keys::Span { first: 1, last: -1, step: 1 }, Access::of(&["RW", "access"]))],
    complexity: "O(N) for N HyperLogLogs, O(1) for a single one whose count is known",
    summary: "Estimates how many different elements were added to the HyperLogLogs at some keys.",
    run: Run::Data(pfcount),
    ..HYPERLOGLOG
};

/// PFDEBUG GETREG | DECODE | ENCODING | TODENSE key
pub(crate) static PFDEBUG: Spec = Spec {
    name: "pfdebug",
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::ADMIN).and(Flags::SYSTEM),
    keys: &[(Keys::At(2), Access::of(&["RW", "access"]))],
    complexity: "N/A",
    summary: "Shows the inside of a HyperLogLog.",
    run: Run::Data(pfdebug),
    ..HYPERLOGLOG
};

/// PFMERGE destination [source ...]
pub(crate) static PFMERGE: Spec = Spec {
    name: "pfmerge",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[
        (Keys::At(1), Access::of(&["RW", "access", "insert"])),
        (Keys::Span { first: 2, last: -1, step: 1 }, Access::READ),
    ],
    complexity: "O(N) for N HyperLogLogs",
    summary: "Merges HyperLogLogs into one.",
    run: Run::Data(pfmerge),
    ..HYPERLOGLOG
};

/// PFSELFTEST
pub(crate) static PFSELFTEST: Spec = Spec {
    name: "pfselftest",
    arity: Arity::Exactly(1),
    flags: Flags::ADMIN.and(Flags::SYSTEM),
    complexity: "N/A",
    summary: "Checks that HyperLogLogs estimate as well as they should.",
    run: Run::Data(pfselftest),
    ..HYPERLOGLOG
};

impl From<Corrupt> for CommandError {
    fn from(_: Corrupt) -> CommandError {
        CommandError::text("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// Looks at the HyperLogLog at `key`; `None` if there is none.
fn look<R>(cx: &Exec<'_, '_>, key: &[u8], look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, CommandError> {
    let Some(text) = as_str(cx.keys.peek(cx.db, key))? else { return Ok(None) };
    let mut buffer = itoa::Buffer::new();
    let bytes = text.text(&mut buffer);
    if hll::is_hll(bytes) {
        return Ok(Some(look(bytes)));
    }
    Err(CommandError::text("WRONGTYPE Key is not a valid HyperLogLog string value."))
}

/// Makes an empty one at `key` if there is nothing; whether it was made.
fn make(cx: &mut Exec<'_, '_>, key: &[u8]) -> Result<bool, CommandError> {
    cx.keys.find(cx.db, key);
    let is_new = look(cx, key, |_| ())?.is_none();
    if is_new {
        cx.keys.set_str(cx.db, key, &hll::empty(), None);
    }
    Ok(is_new)
}

/// Changes the one that is at `key`.
fn change<R>(cx: &mut Exec<'_, '_>, key: &[u8], change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut entry = cx.keys.modify(cx.db, key).expect("it has been looked at or made just now");
    entry.bytes_mut(change)
}

fn pfadd(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let sparse_max = cx.settings.limits.hll_sparse_max_bytes;
    let is_new = make(cx, key)?;
    let mut outcome = Ok(());
    let added = change(cx, key, |bytes| {
        let mut changes = usize::from(is_new);
        for element in args.from(2) {
            match hll::add(bytes, element, sparse_max) {
                Ok(changed) => changes += usize::from(changed),
                Err(corrupt) => {
                    outcome = Err(corrupt);
                    break;
                }
            }
        }
        if changes > 0 {
            hll::forget_count(bytes);
        }
        changes
    });
    if added > 0 {
        cx.modified(key, added);
        cx.notify(Class::STRING, "pfadd", key);
    }
    outcome?;
    cx.reply.int(i64::from(added > 0));
    Ok(())
}

/// All registers of the HyperLogLogs at `keys` merged, and whether one of them is dense.
fn merged(cx: &Exec<'_, '_>, keys: &[&[u8]]) -> Result<(Box<Registers>, bool), CommandError> {
    let mut registers = Box::new([0; REGISTERS]);
    let mut is_dense = false;
    for key in keys {
        let outcome = look(cx, key, |bytes| {
            is_dense |= !hll::is_sparse(bytes);
            hll::merge(&mut registers, bytes)
        })?;
        outcome.unwrap_or(Ok(()))?;
    }
    Ok((registers, is_dense))
}

fn pfcount(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    for key in args.from(1) {
        cx.keys.read(cx.db, key);
    }
    if args.len() > 2 {
        let (registers, _) = merged(cx, args.from(1))?;
        cx.reply.int(hll::count_registers(&registers) as i64);
        return Ok(());
    }
    let key = args.at(1);
    let cached = look(cx, key, |bytes| {
        hll::cached_count(bytes).map_or_else(|| hll::count(bytes).map(Err), |count| Ok(Ok(count)))
    })?;
    let count = match cached.transpose()? {
        None => 0,
        Some(Ok(count)) => count,
        Some(Err(count)) => {
            change(cx, key, |bytes| hll::cache_count(bytes, count));
            // A replica caches for itself; it is its primary that tells others.
            if cx.keys.scope().expiry != Expiry::Hide {
                cx.modified(key, 1);
            }
            count
        }
    };
    cx.reply.int(count as i64);
    Ok(())
}

fn pfmerge(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    for source in args.from(2) {
        cx.keys.read(cx.db, source);
    }
    cx.keys.settle(cx.db, key);
    let (registers, is_dense) = merged(cx, args.from(1))?;
    let sparse_max = cx.settings.limits.hll_sparse_max_bytes;
    make(cx, key)?;
    change(cx, key, |bytes| {
        if is_dense {
            hll::make_dense(bytes)?;
        }
        for (index, value) in registers.iter().enumerate().filter(|(_, value)| **value > 0) {
            hll::raise(bytes, index, *value, sparse_max)?;
        }
        hll::forget_count(bytes);
        Ok::<_, Corrupt>(())
    })?;
    cx.modified(key, 1);
    cx.notify(Class::STRING, "pfadd", key);
    cx.reply.ok();
    Ok(())
}

fn pfdebug(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(2);
    cx.keys.find(cx.db, key);
    let Some(is_sparse) = look(cx, key, hll::is_sparse)? else {
        return Err(CommandError::text("ERR The specified key does not exist"));
    };
    if args.is(1, "GETREG") {
        let mut registers = Box::new([0; REGISTERS]);
        look(cx, key, |bytes| hll::merge(&mut registers, bytes))?.unwrap_or(Ok(()))?;
        densify(cx, key, is_sparse)?;
        cx.reply.array(REGISTERS);
        registers.iter().for_each(|register| cx.reply.int((*register).into()));
    } else if args.is(1, "DECODE") {
        if !is_sparse {
            return Err(CommandError::text("ERR HLL encoding is not sparse"));
        }
        let text = look(cx, key, hll::describe_sparse)?.unwrap_or_default();
        cx.reply.bulk(text.as_bytes());
    } else if args.is(1, "ENCODING") {
        cx.reply.simple(if is_sparse { "sparse" } else { "dense" });
    } else if args.is(1, "TODENSE") {
        densify(cx, key, is_sparse)?;
        cx.reply.int(is_sparse.into());
    } else {
        let name = [b"ERR Unknown PFDEBUG subcommand '", args.at(1), b"'"].concat();
        return Err(CommandError::Bytes(name));
    }
    Ok(())
}

fn densify(cx: &mut Exec<'_, '_>, key: &[u8], is_sparse: bool) -> Outcome {
    if is_sparse {
        change(cx, key, hll::make_dense)?;
        cx.modified(key, 1);
    }
    Ok(())
}

fn pfselftest(cx: &mut Exec<'_, '_>, _: Args<'_>) -> Outcome {
    const FAILED: CommandError = CommandError::text("ERR TESTFAILED The estimate is too far from the truth");
    let (mut grows, mut dense) = (hll::empty(), hll::empty());
    for number in 1..=100_000_u64 {
        hll::add(&mut grows, &number.to_le_bytes(), cx.settings.limits.hll_sparse_max_bytes)?;
        hll::add(&mut dense, &number.to_le_bytes(), 0)?;
        if number.is_power_of_two() || number % 10_000 == 0 {
            let estimate = hll::count(&grows)?;
            // Six standard errors of 1.04 / sqrt(16384), and one for what is counted nearly by hand.
            let most = (number as f64 * 6.0 * 0.008_125).ceil() as u64 + 1;
            if estimate.abs_diff(number) > most || hll::count(&dense)? != estimate {
                return Err(FAILED);
            }
        }
    }
    cx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn different_elements_are_counted() {
        let mut bench = Bench::new();
        bench.check("PFADD {t}a", "1").propagates("PFADD {t}a").notifies("pfadd {t}a");
        bench.check("PFADD {t}a", "0").propagates("").notifies("");
        bench
            .check("PFADD {t}a x y z x", "1")
            .propagates("PFADD {t}a x y z x")
            .check("PFADD {t}a z", "0")
            .propagates("");
        bench.check("PFCOUNT {t}a", "3").propagates("PFCOUNT {t}a").check("PFCOUNT {t}a", "3").propagates("");
        bench.script(
            "PFADD {t}b z w => 1
             PFCOUNT {t}a {t}b {t}none => 4
             PFCOUNT {t}none => 0
             PFMERGE {t}c {t}a {t}b {t}none => OK
             PFCOUNT {t}c => 4
             PFDEBUG ENCODING {t}c => sparse
             PFDEBUG TODENSE {t}c => 1
             PFDEBUG TODENSE {t}c => 0
             PFDEBUG encoding {t}c => dense
             PFDEBUG DECODE {t}c => ERR HLL encoding is not sparse
             PFDEBUG FOO {t}c => ERR Unknown PFDEBUG subcommand 'FOO'
             PFDEBUG DECODE {t}none => ERR The specified key does not exist
             PFCOUNT {t}c => 4
             PFMERGE {t}a {t}c => OK
             PFDEBUG ENCODING {t}a => dense
             PFCOUNT {t}a => 4
             PFSELFTEST => OK",
        );
        bench.check("PFMERGE {t}a {t}b", "OK").propagates("PFMERGE {t}a {t}b").notifies("pfadd {t}a");
    }

    #[test]
    fn what_is_none_is_refused() {
        Bench::new().script(
            r#"SET k foo => OK
             PFADD k x => WRONGTYPE Key is not a valid HyperLogLog string value.
             PFCOUNT k => WRONGTYPE Key is not a valid HyperLogLog string value.
             PFMERGE new{k} k => WRONGTYPE Key is not a valid HyperLogLog string value.
             SET k "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80" => OK
             PFCOUNT k => INVALIDOBJ Corrupted HLL object detected
             PFADD k x => INVALIDOBJ Corrupted HLL object detected
             PFMERGE new{k} k => INVALIDOBJ Corrupted HLL object detected
             EXISTS new{k} => 0
             SET k "HYLL\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80" => OK
             PFCOUNT k => WRONGTYPE Key is not a valid HyperLogLog string value.
             HSET h f v => 1
             PFADD h x => WRONGTYPE Operation against a key holding the wrong kind of value"#,
        );
    }
}

//! INCR and its kin: strings that are numbers, counted up and down in place.

use quorate_values::LongDouble;

use crate::exec::as_str;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const COUNTER: Spec = Spec {
    group: Group::String,
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_UPDATE)],
    ..Spec::BLANK
};

/// DECR key
pub(crate) static DECR: Spec = Spec {
    name: "decr",
    arity: Arity::Exactly(2),
    summary: "Decrements the integer at a key by one; an absent key counts as 0.",
    run: Run::Data(decr),
    ..COUNTER
};

/// DECRBY key decrement
pub(crate) static DECRBY: Spec = Spec {
    name: "decrby",
    arity: Arity::Exactly(3),
    summary: "Decrements the integer at a key by a number; an absent key counts as 0.",
    run: Run::Data(decrby),
    ..COUNTER
};

/// INCR key
pub(crate) static INCR: Spec = Spec {
    name: "incr",
    arity: Arity::Exactly(2),
    summary: "Increments the integer at a key by one; an absent key counts as 0.",
    run: Run::Data(incr),
    ..COUNTER
};

/// INCRBY key increment
pub(crate) static INCRBY: Spec = Spec {
    name: "incrby",
    arity: Arity::Exactly(3),
    summary: "Increments the integer at a key by a number; an absent key counts as 0.",
    run: Run::Data(incrby),
    ..COUNTER
};

/// INCRBYFLOAT key increment
pub(crate) static INCRBYFLOAT: Spec = Spec {
    name: "incrbyfloat",
    arity: Arity::Exactly(3),
    since: "2.6.0",
    summary: "Increments the floating-point number at a key; an absent key counts as 0.",
    run: Run::Data(incrbyfloat),
    ..COUNTER
};

fn incr(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    count(cx, args.at(1), 1)
}

fn decr(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    count(cx, args.at(1), -1)
}

fn incrby(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    count(cx, args.at(1), args.int(2)?)
}

fn decrby(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let by = args.int(2)?.checked_neg().ok_or(CommandError::text("ERR decrement would overflow"))?;
    count(cx, args.at(1), by)
}

#[inline]
fn count(cx: &mut Exec<'_, '_>, key: &[u8], by: i64) -> Outcome {
    let sum = if let Some(mut entry) = cx.keys.modify(cx.db, key) {
        let text = as_str(Some(&entry))?.expect("there is an entry");
        let number = text.as_int().ok_or(CommandError::NotInteger)?;
        let sum = number.checked_add(by).ok_or(CommandError::Overflow)?;
        entry.set_int(sum);
        sum
    } else {
        cx.keys.set_str(cx.db, key, itoa::Buffer::new().format(by).as_bytes(), None);
        by
    };
    cx.modified(key, 1);
    cx.notify(Class::STRING, "incrby", key);
    cx.reply.int(sum);
    Ok(())
}

fn incrbyfloat(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let (number, expiry) = match cx.keys.find(cx.db, key) {
        None => (LongDouble::parse(b"0"), None),
        Some(entry) => {
            let text = as_str(Some(entry))?.expect("there is an entry");
            (LongDouble::parse(text.text(&mut itoa::Buffer::new())), entry.expiry())
        }
    };
    let number = number.ok_or(CommandError::NotFloat)?;
    let by = LongDouble::parse(args.at(2)).ok_or(CommandError::NotFloat)?;
    let sum = number.checked_add(by).ok_or(CommandError::text("ERR increment would produce NaN or Infinity"))?;
    let mut text = Vec::new();
    sum.write(&mut text);
    cx.keys.set_str(cx.db, key, &text, expiry);
    cx.changed(1);
    cx.notify(Class::STRING, "incrbyfloat", key);
    // Machines differ in how they add; the sum is the same everywhere.
    cx.propagate(&[b"SET", key, &text, b"KEEPTTL"]);
    cx.reply.bulk(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn integers_are_counted_up_and_down() {
        let mut bench = Bench::new();
        bench.script(
            "INCR n => 1
             INCRBY n 41 => 42
             DECR n => 41
             DECRBY n 50 => -9
             GET n => -9
             SET text abc => OK
             INCR text => ERR value is not an integer or out of range
             INCRBY n x => ERR value is not an integer or out of range
             DECRBY n -9223372036854775808 => ERR decrement would overflow
             SET big 9223372036854775807 EX 100 => OK
             INCR big => ERR increment or decrement would overflow
             DECR big => 9223372036854775806
             TTL big => 100
             HSET h f v => 1
             INCR h => WRONGTYPE Operation against a key holding the wrong kind of value
             APPEND joined 12 => 2
             APPEND joined 3 => 3
             INCR joined => 124
             OBJECT ENCODING joined => int",
        );
        bench.check("INCR n", "-8").propagates("INCR n").notifies("incrby n");
    }

    #[test]
    fn sums_of_floats_are_passed_on_as_values() {
        let mut bench = Bench::new();
        bench.check("SET f 10.50 EX 100", "OK").check("INCRBYFLOAT f 0.1", "10.6").propagates("SET f 10.6 KEEPTTL");
        bench.check("TTL f", "100").check("INCRBYFLOAT none 3.0e3", "3000");
        bench.check("INCRBYFLOAT f x", "ERR value is not a valid float");
        bench.check("INCRBYFLOAT f inf", "ERR increment would produce NaN or Infinity").propagates("");
    }
}

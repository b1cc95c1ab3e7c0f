//! HINCRBY and HINCRBYFLOAT: fields that are numbers.

use quorate_values::LongDouble;

use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const COUNTER: Spec = Spec {
    group: Group::Hash,
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_UPDATE)],
    ..Spec::BLANK
};

/// HINCRBY key field increment
pub(crate) static HINCRBY: Spec = Spec {
    name: "hincrby",
    since: "2.0.0",
    summary: "Increments the integer in a field of a hash; an absent field counts as 0.",
    run: Run::Data(hincrby),
    ..COUNTER
};

/// HINCRBYFLOAT key field increment
pub(crate) static HINCRBYFLOAT: Spec = Spec {
    name: "hincrbyfloat",
    since: "2.6.0",
    summary: "Increments the floating-point number in a field of a hash; an absent field counts as 0.",
    run: Run::Data(hincrbyfloat),
    ..COUNTER
};

fn hincrby(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, field) = (args.at(1), args.at(2));
    let by = args.int(3)?;
    let sum = cx.with_hash_or_new(key, |hash, limits| {
        let number = match hash.get(field) {
            None => 0,
            Some(item) => item.as_int().ok_or(CommandError::text("ERR hash value is not an integer"))?,
        };
        let sum = number.checked_add(by).ok_or(CommandError::Overflow)?;
        hash.set_value(field, itoa::Buffer::new().format(sum).as_bytes(), limits);
        Ok::<i64, CommandError>(sum)
    })??;
    cx.modified(key, 1);
    cx.notify(Class::HASH, "hincrby", key);
    cx.reply.int(sum);
    Ok(())
}

fn hincrbyfloat(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, field) = (args.at(1), args.at(2));
    let by = LongDouble::parse(args.at(3)).ok_or(CommandError::NotFloat)?;
    if !by.is_finite() {
        return Err(CommandError::text("ERR value is NaN or Infinity"));
    }
    let (text, expiry) = cx.with_hash_or_new(key, |hash, limits| {
        let number = match hash.get(field) {
            None => LongDouble::parse(b"0"),
            Some(item) => LongDouble::parse(item.text(&mut itoa::Buffer::new())),
        };
        let number = number.ok_or(CommandError::text("ERR hash value is not a float"))?;
        let sum = number.checked_add(by).ok_or(CommandError::text("ERR increment would produce NaN or Infinity"))?;
        let mut text = Vec::new();
        sum.write(&mut text);
        hash.set_value(field, &text, limits);
        Ok::<_, CommandError>((text, hash.expiry(field)))
    })??;
    cx.modified(key, 1);
    cx.notify(Class::HASH, "hincrbyfloat", key);
    // Machines differ in how they add; the sum is the same everywhere.
    cx.propagate(&[b"HSET", key, field, &text]);
    if let Some(at) = expiry {
        let mut buffer = itoa::Buffer::new();
        cx.propagate(&[b"HPEXPIREAT", key, buffer.format(at.0).as_bytes(), b"FIELDS", b"1", field]);
    }
    cx.reply.bulk(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn fields_are_counted_up_and_down() {
        let mut bench = Bench::new();
        bench.script(
            "HINCRBY h n 5 => 5
             HINCRBY h n -7 => -2
             HSET h text abc big 9223372036854775807 => 2
             HINCRBY h text 1 => ERR hash value is not an integer
             HINCRBY h big 1 => ERR increment or decrement would overflow
             HINCRBY h n x => ERR value is not an integer or out of range
             HINCRBYFLOAT h text 1 => ERR hash value is not a float
             HINCRBYFLOAT h n x => ERR value is not a valid float
             HINCRBYFLOAT h n inf => ERR value is NaN or Infinity
             HINCRBYFLOAT none n x => ERR value is not a valid float
             EXISTS none => 0",
        );
        bench.check("HINCRBYFLOAT h n 0.5", "-1.5").propagates("HSET h n -1.5").notifies("hincrbyfloat h");
        bench.check("HINCRBY h m 1", "1").propagates("HINCRBY h m 1").notifies("hincrby h");
    }
}

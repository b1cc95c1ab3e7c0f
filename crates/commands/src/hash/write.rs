//! HSET, HDEL and their kin: fields set and removed.

use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const HASH: Spec = Spec { group: Group::Hash, since: "2.0.0", ..Spec::BLANK };

/// HDEL key field [field ...]
pub(crate) static HDEL: Spec = Spec {
    name: "hdel",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::DELETE)],
    complexity: "O(N) for N fields",
    summary: "Removes fields of a hash, and the hash with the last one.",
    run: Run::Data(hdel),
    ..HASH
};

/// HMSET key field value [field value ...]
pub(crate) static HMSET: Spec = Spec {
    name: "hmset",
    deprecated: Some(("4.0.0", "HSET")),
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::UPDATE)],
    complexity: "O(N) for N fields",
    summary: "Sets fields of a hash; HSET with another reply.",
    run: Run::Data(hmset),
    ..HASH
};

/// HSET key field value [field value ...]
pub(crate) static HSET: Spec = Spec {
    name: "hset",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::UPDATE)],
    complexity: "O(N) for N fields",
    summary: "Sets fields of a hash, which is made if it does not exist.",
    run: Run::Data(hset),
    ..HASH
};

/// HSETNX key field value
pub(crate) static HSETNX: Spec = Spec {
    name: "hsetnx",
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::INSERT)],
    summary: "Sets a field of a hash if the field does not exist.",
    run: Run::Data(hsetnx),
    ..HASH
};

fn hset(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let added = set_fields(cx, args, "hset")?;
    cx.reply.count(added);
    Ok(())
}

fn hmset(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    set_fields(cx, args, "hmset")?;
    cx.reply.ok();
    Ok(())
}

/// Returns how many fields are new.
fn set_fields(cx: &mut Exec<'_, '_>, args: Args<'_>, name: &str) -> Result<usize, CommandError> {
    if args.len() % 2 == 1 {
        return Err(CommandError::Arity(name.to_owned()));
    }
    let key = args.at(1);
    let pairs = args.from(2).chunks_exact(2);
    let count = pairs.len();
    let added =
        cx.with_hash_or_new(key, |hash, limits| pairs.filter(|pair| hash.insert(pair[0], pair[1], limits)).count())?;
    cx.modified(key, count);
    cx.notify(Class::HASH, "hset", key);
    Ok(added)
}

fn hsetnx(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, field) = (args.at(1), args.at(2));
    let present = cx.hash(key)?.is_some_and(|hash| hash.contains(field));
    if !present {
        cx.with_hash_or_new(key, |hash, limits| hash.insert(field, args.at(3), limits))?;
        cx.modified(key, 1);
        cx.notify(Class::HASH, "hset", key);
    }
    cx.reply.int(i64::from(!present));
    Ok(())
}

fn hdel(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let fields = args.from(2).iter();
    let removed = cx.with_hash(key, |hash, _| fields.filter(|field| hash.remove(field)).count())?.unwrap_or(0);
    if removed > 0 {
        cx.modified(key, removed);
        cx.notify(Class::HASH, "hdel", key);
        cx.drop_if_empty(key);
    }
    cx.reply.count(removed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn fields_come_and_go_and_with_the_last_one_the_hash() {
        let mut bench = Bench::new();
        bench.check("HSET h a 1 b 2", "2").propagates("HSET h a 1 b 2").notifies("hset h");
        bench.script(
            "HSET h a 3 c 4 => 1
             HMSET h d 5 => OK
             HSETNX h a 9 => 0
             HSETNX h e 6 => 1
             HSETNX new a 1 => 1
             HGETALL h => [a 3 b 2 c 4 d 5 e 6]",
        );
        bench.check("HSET h a 1 b", "ERR wrong number of arguments for 'hset' command").propagates("");
        bench.check("HDEL h none", "0").propagates("").check("HDEL h a b a", "2").notifies("hdel h");
        bench.check("HDEL h c d e", "3").notifies("hdel h; del h").check("EXISTS h", "0");
        bench.check("SET s v", "OK").check("HDEL none a", "0");
        for line in ["HSET s a 1", "HSETNX s a 1", "HDEL s a"] {
            bench.check(line, "WRONGTYPE Operation against a key holding the wrong kind of value").propagates("");
        }
    }
}

//! OBJECT: how a value is kept.

use quorate_keyspace::{AccessPolicy, decayed, idle_seconds};
use quorate_values::{StrRef, ValueRef};

use crate::{Access, Args, Arity, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

/// OBJECT subcommand ...
pub(crate) static OBJECT: Spec = Spec {
    name: "object",
    group: Group::Generic,
    arity: Arity::AtLeast(2),
    subcommands: &[&ENCODING, &FREQ, &HELP, &IDLETIME, &REFCOUNT],
    since: "2.2.3",
    complexity: "Depends on the subcommand",
    summary: "A container for questions about how values are kept.",
    run: Run::Container,
    ..Spec::BLANK
};

const ASKING: Spec = Spec {
    group: Group::Generic,
    arity: Arity::Exactly(3),
    flags: Flags::READONLY,
    keys: &[(Keys::At(2), Access::LOOK)],
    tips: &["nondeterministic_output"],
    since: "2.2.3",
    ..Spec::BLANK
};

static ENCODING: Spec =
    Spec { name: "encoding", summary: "Names the form in which a value is kept.", run: Run::Data(encoding), ..ASKING };

static FREQ: Spec = Spec {
    name: "freq",
    since: "4.0.0",
    summary: "Returns how often a key is used, as a logarithmic counter.",
    run: Run::Data(freq),
    ..ASKING
};

static IDLETIME: Spec = Spec {
    name: "idletime",
    summary: "Returns for how many seconds a key has not been used.",
    run: Run::Data(idletime),
    ..ASKING
};

static REFCOUNT: Spec = Spec {
    name: "refcount",
    summary: "Returns how many references there are to a value: one, but for small integers.",
    run: Run::Data(refcount),
    ..ASKING
};

static HELP: Spec = Spec {
    name: "help",
    group: Group::Generic,
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.and(Flags::STALE),
    since: "6.2.0",
    summary: "Lists the subcommands.",
    run: Run::Data(help),
    ..Spec::BLANK
};

fn encoding(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    match cx.keys.inspect(cx.db, args.at(2)) {
        Some(entry) => cx.reply.bulk(entry.encoding().as_bytes()),
        None => cx.reply.null(),
    }
    Ok(())
}

fn refcount(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    // Redis shares the small integers among all keys. Ours lie in their entries, but who looks for that in a
    // reply (its own suite does) finds it.
    const SHARED: std::ops::Range<i64> = 0..10_000;
    let shares = cx.settings.shares_integers;
    match cx.keys.inspect(cx.db, args.at(2)).map(|entry| entry.value()) {
        Some(ValueRef::Str(StrRef::Int(number))) if shares && SHARED.contains(&number) => {
            cx.reply.int(i64::from(i32::MAX))
        }
        Some(_) => cx.reply.int(1),
        None => cx.reply.null(),
    }
    Ok(())
}

fn idletime(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let Some(access) = cx.keys.inspect(cx.db, args.at(2)).map(|entry| entry.access()) else {
        cx.reply.null();
        return Ok(());
    };
    if cx.keys.scope().access != AccessPolicy::Lru {
        return Err(CommandError::text(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    cx.reply.count(idle_seconds(access, cx.now) as usize);
    Ok(())
}

fn freq(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let Some(access) = cx.keys.inspect(cx.db, args.at(2)).map(|entry| entry.access()) else {
        cx.reply.null();
        return Ok(());
    };
    let AccessPolicy::Lfu { decay_minutes, .. } = cx.keys.scope().access else {
        return Err(CommandError::text(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    };
    cx.reply.count(decayed(access, cx.now, decay_minutes) as usize);
    Ok(())
}

fn help(cx: &mut Exec<'_, '_>, _args: Args<'_>) -> Outcome {
    cx.help(&[
        "OBJECT <subcommand> [<arg> ...]. Subcommands are:",
        "ENCODING <key>",
        "    The form in which the key's value is kept.",
        "FREQ <key>",
        "    How often the key is used, as a logarithmic counter (under an LFU policy).",
        "IDLETIME <key>",
        "    For how many seconds the key has not been used (unless under an LFU policy).",
        "REFCOUNT <key>",
        "    How many references there are to the key's value.",
        "HELP",
        "    This text.",
    ])
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn values_are_described() {
        let mut bench = Bench::new();
        bench.script(
            "MSET n 5 t text => OK
             HSET h f v => 1
             SADD ints 1 2 => 2
             OBJECT ENCODING n => int
             OBJECT encoding t => embstr
             OBJECT ENCODING h => listpack
             OBJECT ENCODING ints => intset
             OBJECT ENCODING none => nil
             OBJECT REFCOUNT t => 1
             OBJECT REFCOUNT n => 2147483647
             OBJECT REFCOUNT none => nil
             OBJECT IDLETIME none => nil
             OBJECT FREQ none => nil",
        );
        assert!(bench.run("OBJECT FREQ n").starts_with("ERR An LFU maxmemory policy is not selected"));
        assert!(bench.run("OBJECT HELP").starts_with("[OBJECT <subcommand>"));
    }
}

//! MGET, MSET and MSETNX: several strings at once.

use quorate_values::ValueRef;

use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const STRING: Spec = Spec { group: Group::String, ..Spec::BLANK };
const PAIRS: Keys = Keys::Span { first: 1, last: -1, step: 2 };

/// MGET key [key ...]
pub(crate) static MGET: Spec = Spec {
    name: "mget",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::Span { first: 1, last: -1, step: 1 }, Access::READ)],
    tips: &["request_policy:multi_shard"],
    complexity: "O(N) for N keys",
    summary: "Returns the string values of several keys.",
    run: Run::Data(mget),
    ..STRING
};

/// MSET key value [key value ...]
pub(crate) static MSET: Spec = Spec {
    name: "mset",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(PAIRS, Access::OVERWRITE)],
    tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
    since: "1.0.1",
    complexity: "O(N) for N keys",
    summary: "Sets the string values of several keys at once.",
    run: Run::Data(mset),
    ..STRING
};

/// MSETNX key value [key value ...]
pub(crate) static MSETNX: Spec = Spec {
    name: "msetnx",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(PAIRS, Access::of(&["OW", "insert"]))],
    tips: &["request_policy:multi_shard", "response_policy:agg_min"],
    since: "1.0.1",
    complexity: "O(N) for N keys",
    summary: "Sets the string values of several keys if none of the keys exists.",
    run: Run::Data(msetnx),
    ..STRING
};

fn mget(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    cx.reply.array(args.len() - 1);
    for key in args.from(1) {
        match cx.keys.read(cx.db, key).map(|entry| entry.value()) {
            Some(ValueRef::Str(text)) => cx.reply.bulk(text.text(&mut itoa::Buffer::new())),
            _ => cx.reply.null(),
        }
    }
    Ok(())
}

fn mset(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    pairs(args, "mset")?;
    store(cx, args);
    cx.reply.ok();
    Ok(())
}

fn msetnx(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    pairs(args, "msetnx")?;
    for pair in args.from(1).chunks_exact(2) {
        if cx.keys.find(cx.db, pair[0]).is_some() {
            cx.reply.int(0);
            return Ok(());
        }
    }
    store(cx, args);
    cx.reply.int(1);
    Ok(())
}

fn pairs(args: Args<'_>, name: &str) -> Result<(), CommandError> {
    if args.len() % 2 == 1 { Ok(()) } else { Err(CommandError::Arity(name.to_owned())) }
}

fn store(cx: &mut Exec<'_, '_>, args: Args<'_>) {
    for pair in args.from(1).chunks_exact(2) {
        cx.keys.set_str(cx.db, pair[0], pair[1], None);
        cx.notify(Class::STRING, "set", pair[0]);
    }
    cx.changed(args.len() / 2);
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn several_keys_are_read_and_written_at_once() {
        Bench::new().script(
            "MSET a 1 b 2 a 3 => OK
             HSET h f v => 1
             MGET a b none h a => [3 2 nil nil 3]
             MSET a 1 b => ERR wrong number of arguments for 'mset' command
             MSETNX c 1 a 2 => 0
             MGET c a => [nil 3]
             MSETNX c 1 d 2 => 1
             MGET c d => [1 2]",
        );
    }
}

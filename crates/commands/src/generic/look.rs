//! EXISTS, TYPE and TOUCH: whether a key is there, and what it holds.

use crate::{Access, Args, Arity, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const LOOK: Spec = Spec {
    group: Group::Generic,
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::Span { first: 1, last: -1, step: 1 }, Access::LOOK)],
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    complexity: "O(N) for N keys",
    ..Spec::BLANK
};

/// EXISTS key [key ...]
pub(crate) static EXISTS: Spec =
    Spec { name: "exists", summary: "Counts how many of the keys exist.", run: Run::Data(exists), ..LOOK };

/// TOUCH key [key ...]
pub(crate) static TOUCH: Spec = Spec {
    name: "touch",
    since: "3.2.1",
    summary: "Counts how many of the keys exist, which then count as used.",
    run: Run::Data(touch),
    ..LOOK
};

/// TYPE key
pub(crate) static TYPE: Spec = Spec {
    name: "type",
    arity: Arity::Exactly(2),
    keys: &[(Keys::At(1), Access::LOOK)],
    tips: &[],
    complexity: "O(1)",
    summary: "Names the type of the value of a key.",
    run: Run::Data(type_of),
    ..LOOK
};

fn exists(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let found = args.from(1).iter().filter(|key| cx.keys.inspect(cx.db, key).is_some()).count();
    cx.reply.count(found);
    Ok(())
}

fn touch(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let found = args.from(1).iter().filter(|key| cx.keys.read(cx.db, key).is_some()).count();
    cx.reply.count(found);
    Ok(())
}

fn type_of(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let name = cx.keys.inspect(cx.db, args.at(1)).map_or("none", |entry| entry.value().type_name());
    cx.reply.simple(name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn keys_are_counted_as_often_as_they_are_named() {
        let mut bench = Bench::new();
        bench.script(
            "MSET a 1 b 2 => OK
             EXISTS a b none a => 3
             TOUCH a none => 1
             TYPE a => string
             TYPE none => none
             HSET h f v => 1
             TYPE h => hash
             SADD s m => 1
             TYPE s => set",
        );
        bench.now += 10_000;
        bench.check("OBJECT IDLETIME a", "10").check("EXISTS a", "1").check("TYPE a", "string");
        bench.check("OBJECT IDLETIME a", "10").check("TOUCH a", "1").check("OBJECT IDLETIME a", "0");
    }
}

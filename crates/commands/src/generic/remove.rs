//! DEL and UNLINK: keys removed.

use crate::{Access, Args, Arity, Class, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const EACH: &[(Keys, Access)] = &[(Keys::Span { first: 1, last: -1, step: 1 }, Access::REMOVE)];
const TIPS: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

/// DEL key [key ...]
pub(crate) static DEL: Spec = Spec {
    name: "del",
    group: Group::Generic,
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE,
    keys: EACH,
    tips: TIPS,
    complexity: "O(N) for N keys, and O(M) for a key of M elements",
    summary: "Removes keys.",
    run: Run::Data(|cx, args| remove(cx, args, cx.settings.lazy_user_del)),
    ..Spec::BLANK
};

/// UNLINK key [key ...]
pub(crate) static UNLINK: Spec = Spec {
    name: "unlink",
    flags: Flags::WRITE.and(Flags::FAST),
    since: "4.0.0",
    summary: "Removes keys; their memory may be given back later.",
    ..DEL_LIKE
};

const DEL_LIKE: Spec = Spec {
    group: Group::Generic,
    arity: Arity::AtLeast(2),
    keys: EACH,
    tips: TIPS,
    complexity: "O(1) a key",
    run: Run::Data(|cx, args| remove(cx, args, true)),
    ..Spec::BLANK
};

fn remove(cx: &mut Exec<'_, '_>, args: Args<'_>, lazily: bool) -> Outcome {
    let mut removed = 0;
    for key in args.from(1) {
        if cx.remove(key, lazily) {
            cx.notify(Class::GENERIC, "del", key);
            removed += 1;
        }
    }
    cx.changed(removed);
    cx.reply.count(removed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn keys_are_removed_once() {
        let mut bench = Bench::new();
        bench.check("MSET a 1 b 2 c 3", "OK");
        bench.check("DEL a none b a", "2").propagates("DEL a none b a").notifies("del a; del b");
        bench.check("UNLINK c", "1").check("UNLINK c", "0").propagates("").check("DBSIZE", "0");
        bench.check("SET k v PX 10", "OK");
        bench.now += 10;
        bench.check("DEL k", "0");
    }
}

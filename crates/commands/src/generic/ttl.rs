//! TTL and its kin: when a key expires.

use crate::{Access, Args, Arity, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const ASKING: Spec = Spec {
    group: Group::Generic,
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ)],
    ..Spec::BLANK
};

/// EXPIRETIME key
pub(crate) static EXPIRETIME: Spec = Spec {
    name: "expiretime",
    since: "7.0.0",
    summary: "Returns the second since 1970 at which a key expires.",
    run: Run::Data(|cx, args| answer(cx, args, |at, _| in_seconds(at))),
    ..ASKING
};

/// PEXPIRETIME key
pub(crate) static PEXPIRETIME: Spec = Spec {
    name: "pexpiretime",
    since: "7.0.0",
    summary: "Returns the millisecond since 1970 at which a key expires.",
    run: Run::Data(|cx, args| answer(cx, args, |at, _| at)),
    ..ASKING
};

/// PTTL key
pub(crate) static PTTL: Spec = Spec {
    name: "pttl",
    tips: &["nondeterministic_output"],
    since: "2.6.0",
    summary: "Returns in how many milliseconds a key expires.",
    run: Run::Data(|cx, args| answer(cx, args, |at, now| (at - now).max(0))),
    ..ASKING
};

/// TTL key
pub(crate) static TTL: Spec = Spec {
    name: "ttl",
    tips: &["nondeterministic_output"],
    summary: "Returns in how many seconds a key expires.",
    run: Run::Data(|cx, args| answer(cx, args, |at, now| in_seconds((at - now).max(0)))),
    ..ASKING
};

fn in_seconds(milliseconds: i64) -> i64 {
    milliseconds.saturating_add(500) / 1000
}

/// Answers with what `show` makes of the expiry and the time, -1 without expiry, -2 without key.
fn answer(cx: &mut Exec<'_, '_>, args: Args<'_>, show: fn(i64, i64) -> i64) -> Outcome {
    let now = cx.now.0;
    let number = match cx.keys.inspect(cx.db, args.at(1)).map(|entry| entry.expiry()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => show(at.0, now),
    };
    cx.reply.int(number);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn what_is_left_is_rounded_to_the_nearest_second() {
        Bench::new().script(
            "SET k v PX 1499 => OK
             TTL k => 1
             PTTL k => 1499
             EXPIRETIME k => 1001
             PEXPIRETIME k => 1001499
             PEXPIRE k 1500 => 1
             TTL k => 2
             PERSIST k => 1
             TTL k => -1
             PTTL none => -2
             EXPIRETIME none => -2
             PEXPIRETIME k => -1",
        );
    }
}

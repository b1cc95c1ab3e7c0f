//! HEXPIRE, HTTL, HPERSIST and their kin: when fields of a hash are to go.
//!
//! As with keys, replicas get points in time, and of what goes at once that it is removed.

use quorate_stdx::UnixMs;

use super::fields;
use crate::expiry::Unit;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Origin, Outcome, Run, Spec};

/// The latest point in time at which a field may expire, milliseconds since 1970: what Redis has room for.
pub(super) const LATEST: i64 = (1 << 46) - 1;

const WORDING: fields::Wording = "ERR Parameter `numFields` should be greater than 0";

const EXPIRING: Spec = Spec {
    group: Group::Hash,
    arity: Arity::AtLeast(6),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::UPDATE)],
    since: "7.4.0",
    complexity: "O(N) for N fields",
    ..Spec::BLANK
};

/// HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
pub(crate) static HEXPIRE: Spec = Spec {
    name: "hexpire",
    summary: "Sets in how many seconds fields of a hash expire.",
    run: Run::Data(|cx, args| hexpire(cx, args, Unit::Seconds, "hexpire")),
    ..EXPIRING
};

/// HEXPIREAT key unix-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
pub(crate) static HEXPIREAT: Spec = Spec {
    name: "hexpireat",
    summary: "Sets the second since 1970 at which fields of a hash expire.",
    run: Run::Data(|cx, args| hexpire(cx, args, Unit::UnixSeconds, "hexpireat")),
    ..EXPIRING
};

/// HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
pub(crate) static HPEXPIRE: Spec = Spec {
    name: "hpexpire",
    summary: "Sets in how many milliseconds fields of a hash expire.",
    run: Run::Data(|cx, args| hexpire(cx, args, Unit::Milliseconds, "hpexpire")),
    ..EXPIRING
};

/// HPEXPIREAT key unix-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
pub(crate) static HPEXPIREAT: Spec = Spec {
    name: "hpexpireat",
    summary: "Sets the millisecond since 1970 at which fields of a hash expire.",
    run: Run::Data(|cx, args| hexpire(cx, args, Unit::UnixMilliseconds, "hpexpireat")),
    ..EXPIRING
};

/// HPERSIST key FIELDS numfields field [field ...]
pub(crate) static HPERSIST: Spec = Spec {
    name: "hpersist",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.and(Flags::FAST),
    summary: "Makes fields of a hash ones that never expire.",
    run: Run::Data(hpersist),
    ..EXPIRING
};

const ASKING: Spec = Spec {
    arity: Arity::AtLeast(5),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ)],
    ..EXPIRING
};

/// HEXPIRETIME key FIELDS numfields field [field ...]
pub(crate) static HEXPIRETIME: Spec = Spec {
    name: "hexpiretime",
    summary: "Returns the second since 1970 at which fields of a hash expire.",
    run: Run::Data(|cx, args| show(cx, args, |at, _| in_seconds(at))),
    ..ASKING
};

/// HPEXPIRETIME key FIELDS numfields field [field ...]
pub(crate) static HPEXPIRETIME: Spec = Spec {
    name: "hpexpiretime",
    summary: "Returns the millisecond since 1970 at which fields of a hash expire.",
    run: Run::Data(|cx, args| show(cx, args, |at, _| at)),
    ..ASKING
};

/// HTTL key FIELDS numfields field [field ...]
pub(crate) static HTTL: Spec = Spec {
    name: "httl",
    tips: &["nondeterministic_output"],
    summary: "Returns in how many seconds fields of a hash expire.",
    run: Run::Data(|cx, args| show(cx, args, |at, now| in_seconds((at - now).max(0)))),
    ..ASKING
};

/// HPTTL key FIELDS numfields field [field ...]
pub(crate) static HPTTL: Spec = Spec {
    name: "hpttl",
    tips: &["nondeterministic_output"],
    summary: "Returns in how many milliseconds fields of a hash expire.",
    run: Run::Data(|cx, args| show(cx, args, |at, now| (at - now).max(0))),
    ..ASKING
};

/// Rounded up: nothing is said to have gone that has not.
fn in_seconds(milliseconds: i64) -> i64 {
    milliseconds.saturating_add(999) / 1000
}

/// Which expiries may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfNone,
    IfAny,
    IfLater,
    IfSooner,
}

impl Condition {
    /// The condition at `at`, and how many words it has.
    fn parse(args: Args<'_>, at: usize) -> (Condition, usize) {
        match () {
            () if args.is(at, "NX") => (Condition::IfNone, 1),
            () if args.is(at, "XX") => (Condition::IfAny, 1),
            () if args.is(at, "GT") => (Condition::IfLater, 1),
            () if args.is(at, "LT") => (Condition::IfSooner, 1),
            () => (Condition::Always, 0),
        }
    }

    /// Whether `at` may replace `current`. A field that never expires counts as expiring later than any.
    fn allows(self, current: Option<UnixMs>, at: UnixMs) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfNone => current.is_none(),
            Condition::IfAny => current.is_some(),
            Condition::IfLater => current.is_some_and(|current| at > current),
            Condition::IfSooner => current.is_none_or(|current| at < current),
        }
    }
}

/// What became of a field, as HEXPIRE answers.
const ABSENT: i64 = -2;
const REFUSED: i64 = 0;
const SET: i64 = 1;
const REMOVED: i64 = 2;

fn hexpire(cx: &mut Exec<'_, '_>, args: Args<'_>, unit: Unit, name: &'static str) -> Outcome {
    let key = args.at(1);
    cx.hash(key)?;
    let value = args.int(2)?;
    if value < 0 {
        return Err(CommandError::text("ERR invalid expire time, must be >= 0"));
    }
    let at = unit.at(value, cx.now).filter(|at| at.0 <= LATEST).ok_or(CommandError::InvalidExpire(name))?;
    let (condition, words) = Condition::parse(args, 3);
    let fields = fields::parse(args, 3 + words, 1, WORDING)?;
    let goes_at_once = at <= cx.now && cx.origin != Origin::Replication;
    let outcomes = cx.with_hash(key, |hash, _| {
        let outcomes = fields.iter().map(|field| {
            if !hash.contains(field) {
                return ABSENT;
            }
            if !condition.allows(hash.expiry(field), at) {
                return REFUSED;
            }
            if goes_at_once {
                hash.remove(field);
                return REMOVED;
            }
            hash.set_expiry(field, Some(at));
            SET
        });
        outcomes.collect::<Vec<i64>>()
    })?;
    let outcomes = outcomes.unwrap_or_else(|| vec![ABSENT; fields.len()]);
    let those = |outcome| -> Vec<&[u8]> {
        fields.iter().zip(&outcomes).filter(|(_, other)| **other == outcome).map(|(field, _)| *field).collect()
    };
    pass_on(cx, key, at, &those(SET), &those(REMOVED));
    cx.reply.array(outcomes.len());
    outcomes.iter().for_each(|outcome| cx.reply.int(*outcome));
    Ok(())
}

/// Tells that fields of a hash expire from now on, and that others were removed because they would have at once.
pub(super) fn pass_on(cx: &mut Exec<'_, '_>, key: &[u8], at: UnixMs, set: &[&[u8]], removed: &[&[u8]]) {
    if !set.is_empty() {
        cx.modified(key, set.len());
        cx.notify(Class::HASH, "hexpire", key);
        let (mut at_text, count) = (itoa::Buffer::new(), set.len().to_string());
        let at = at_text.format(at.0).as_bytes();
        cx.propagate(&fields::request(&[b"HPEXPIREAT", key, at], &count, set));
    }
    if !removed.is_empty() {
        cx.modified(key, removed.len());
        cx.notify(Class::HASH, "hdel", key);
        cx.propagate(&[&[b"HDEL", key], removed].concat());
        cx.drop_if_empty(key);
    }
}

fn hpersist(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    cx.hash(key)?;
    let fields = fields::parse(args, 2, 1, WORDING)?;
    let outcomes = cx.with_hash(key, |hash, _| {
        let outcomes = fields.iter().map(|field| {
            let outcome = if hash.contains(field) { outcome_of_persist(hash.expiry(field)) } else { ABSENT };
            if outcome == SET {
                hash.set_expiry(field, None);
            }
            outcome
        });
        outcomes.collect::<Vec<i64>>()
    })?;
    let outcomes = outcomes.unwrap_or_else(|| vec![ABSENT; fields.len()]);
    let changed = outcomes.iter().filter(|outcome| **outcome == SET).count();
    if changed > 0 {
        cx.modified(key, changed);
        cx.notify(Class::HASH, "hpersist", key);
    }
    cx.reply.array(outcomes.len());
    outcomes.iter().for_each(|outcome| cx.reply.int(*outcome));
    Ok(())
}

fn outcome_of_persist(expiry: Option<UnixMs>) -> i64 {
    if expiry.is_some() { SET } else { -1 }
}

/// Answers with what `show` makes of each field's expiry and the time, -1 without expiry, -2 without field.
fn show(cx: &mut Exec<'_, '_>, args: Args<'_>, show: fn(i64, i64) -> i64) -> Outcome {
    let (key, now) = (args.at(1), cx.now.0);
    cx.hash(key)?;
    let fields = fields::parse(args, 2, 1, WORDING)?;
    let hash = crate::exec::as_hash(cx.keys.peek(cx.db, key))?;
    cx.reply.array(fields.len());
    for field in fields {
        let number = match hash.filter(|hash| hash.contains(field)).map(|hash| hash.expiry(field)) {
            None => ABSENT,
            Some(None) => -1,
            Some(Some(at)) => show(at.0, now),
        };
        cx.reply.int(number);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn fields_expire_when_they_were_told_to_and_the_hash_with_the_last() {
        let mut bench = Bench::new();
        bench.check("HSET h a 1 b 2 c 3", "3");
        bench.check("HEXPIRE h 10 FIELDS 3 a b none", "[1 1 -2]").notifies("hexpire h");
        bench.propagates("HPEXPIREAT h 1010000 FIELDS 2 a b");
        bench.check("HPEXPIRE h 5 FIELDS 1 a", "[1]").propagates("HPEXPIREAT h 1000005 FIELDS 1 a");
        bench.check("HEXPIREAT h 2000 FIELDS 1 c", "[1]").propagates("HPEXPIREAT h 2000000 FIELDS 1 c");
        bench.check("HPEXPIREAT h 3000000 FIELDS 1 c", "[1]").propagates("HPEXPIREAT h 3000000 FIELDS 1 c");
        bench.check("HTTL h FIELDS 4 a b c none", "[1 10 2000 -2]").check("HPTTL h FIELDS 2 a b", "[5 10000]");
        bench.check("HEXPIRETIME h FIELDS 1 a", "[1001]").check("HPEXPIRETIME h FIELDS 1 a", "[1000005]");
        bench.now += 5;
        bench.check("HGETALL h", "[b 2 c 3]").check("HLEN h", "2");
        bench.now = 1_010_000;
        bench.check("HGET h b", "nil").check("HKEYS h", "[c]").check("HRANDFIELD h 5", "[c]");
        bench.now = 3_000_000;
        bench.check("HEXISTS h c", "0").check("DBSIZE", "0");
    }

    #[test]
    fn a_point_in_the_past_removes_fields_at_once() {
        let mut bench = Bench::new();
        for line in ["HEXPIRE h 0", "HPEXPIRE h 0", "HEXPIREAT h 1", "HPEXPIREAT h 999999"] {
            bench.check("HSET h a 1 b 2", "2").check(&format!("{line} FIELDS 1 a"), "[2]");
            bench.propagates("HDEL h a").notifies("hdel h");
            bench.check(&format!("{line} FIELDS 2 b a"), "[2 -2]").notifies("hdel h; del h").check("EXISTS h", "0");
        }
    }

    #[test]
    fn conditions_look_at_the_expiry_of_each_field() {
        let mut bench = Bench::new();
        bench.script(
            "HSET h a 1 b 2 => 2
             HEXPIRE h 100 XX FIELDS 1 a => [0]
             HEXPIRE h 100 GT FIELDS 1 a => [0]
             HEXPIRE h 100 NX FIELDS 1 a => [1]
             HEXPIRE h 100 NX FIELDS 2 a b => [0 1]
             HEXPIRE h 50 GT FIELDS 1 a => [0]
             HEXPIRE h 200 GT FIELDS 1 a => [1]
             HEXPIRE h 300 LT FIELDS 1 a => [0]
             HPERSIST h FIELDS 3 a b none => [1 1 -2]
             HPERSIST h FIELDS 1 a => [-1]
             HEXPIRE h 100 LT FIELDS 1 a => [1]
             HTTL h FIELDS 2 a b => [100 -1]
             HEXPIRE none 100 FIELDS 2 a b => [-2 -2]
             HPERSIST none FIELDS 1 a => [-2]
             HTTL none FIELDS 1 a => [-2]",
        );
        bench.check("HPERSIST h FIELDS 1 a", "[1]").propagates("HPERSIST h FIELDS 1 a").notifies("hpersist h");
    }

    #[test]
    fn what_changes_a_value_leaves_its_expiry_and_what_replaces_it_does_not() {
        let mut bench = Bench::new();
        bench.check("HSET h n 1 f 1.5 s x", "3").check("HEXPIRE h 100 FIELDS 3 n f s", "[1 1 1]");
        bench.check("HINCRBY h n 1", "2").propagates("HINCRBY h n 1");
        bench.check("HINCRBYFLOAT h f 1", "2.5");
        bench.propagates("HSET h f 2.5; HPEXPIREAT h 1100000 FIELDS 1 f");
        bench.check("HSET h s y", "0").check("HTTL h FIELDS 3 n f s", "[100 100 -1]");
        bench.check("COPY h g", "1").check("HTTL g FIELDS 2 n s", "[100 -1]");
        bench.check("RENAME g k", "OK").check("HTTL k FIELDS 1 n", "[100]");
        bench.check("HDEL h n", "1").check("HSET h n 1", "1").check("HTTL h FIELDS 1 n", "[-1]");
    }

    #[test]
    fn what_is_not_as_the_grammar_says_is_refused() {
        let mut bench = Bench::new();
        bench.script(
            "HSET h a 1 => 1
             SET s v => OK
             HEXPIRE s 1 FIELDS 1 a => WRONGTYPE Operation against a key holding the wrong kind of value
             HTTL s FIELDS 1 a => WRONGTYPE Operation against a key holding the wrong kind of value
             HPERSIST s FIELDS 1 a => WRONGTYPE Operation against a key holding the wrong kind of value
             HEXPIRE h x FIELDS 1 a => ERR value is not an integer or out of range
             HEXPIRE h -1 FIELDS 1 a => ERR invalid expire time, must be >= 0
             HEXPIRE h 70368744177664 FIELDS 1 a => ERR invalid expire time in 'hexpire' command
             HPEXPIREAT h 70368744177664 FIELDS 1 a => ERR invalid expire time in 'hpexpireat' command
             HPEXPIREAT h 70368744177663 FIELDS 1 a => [1]
             HEXPIRE h 1 NX XX FIELDS 1 a => ERR Mandatory argument FIELDS is missing or not at the right position
             HEXPIRE h 1 FOO 1 a b => ERR Mandatory argument FIELDS is missing or not at the right position
             HEXPIRE h 1 FIELDS 0 a => ERR Parameter `numFields` should be greater than 0
             HEXPIRE h 1 FIELDS x a => ERR Parameter `numFields` should be greater than 0
             HEXPIRE h 1 FIELDS 2 a => ERR The `numfields` parameter must match the number of arguments
             HTTL h FIELDS 1 a b => ERR The `numfields` parameter must match the number of arguments
             HTTL h FIELDS 9223372036854775807 a => ERR The `numfields` parameter must match the number of arguments",
        );
    }
}

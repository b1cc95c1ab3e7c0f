//! ZUNION, ZINTER, ZDIFF and their kin: sorted sets made of sorted sets, and of sets, whose members all score 1.
//!
//! A result that is stored goes out as the client sent it: replicas hold the same sets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use quorate_values::listpack::Item;
use quorate_values::{Set, ValueRef, ZSet, parse_double};

use super::range::store;
use super::reply::Scores;
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const READING: Spec = Spec {
    group: Group::SortedSet,
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY.and(Flags::MOVABLE_KEYS),
    keys: &[(Keys::Counted { count_at: 1 }, Access::READ)],
    since: "6.2.0",
    complexity: "O(N)+O(M*log(M)) for N members altogether and M of the result",
    ..Spec::BLANK
};

const STORING: Spec = Spec {
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::MOVABLE_KEYS),
    keys: &[(Keys::At(1), Access::OVERWRITE), (Keys::Counted { count_at: 2 }, Access::READ)],
    ..READING
};

/// ZDIFF numkeys key [key ...] [WITHSCORES]
pub(crate) static ZDIFF: Spec = Spec {
    name: "zdiff",
    summary: "Returns the members that only the first of several sorted sets has.",
    run: Run::Data(|cx, args| answer(cx, args, Operation::Difference, "zdiff")),
    ..READING
};

/// ZDIFFSTORE destination numkeys key [key ...]
pub(crate) static ZDIFFSTORE: Spec = Spec {
    name: "zdiffstore",
    summary: "Stores the members that only the first of several sorted sets has.",
    run: Run::Data(|cx, args| combine(cx, args, Operation::Difference, "zdiffstore")),
    ..STORING
};

/// ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]
pub(crate) static ZINTER: Spec = Spec {
    name: "zinter",
    complexity: "O(N*K)+O(M*log(M)) for K sorted sets, the smallest of N members, and M of the result",
    summary: "Returns the members that all sorted sets have.",
    run: Run::Data(|cx, args| answer(cx, args, Operation::Intersection, "zinter")),
    ..READING
};

/// ZINTERCARD numkeys key [key ...] [LIMIT limit]
pub(crate) static ZINTERCARD: Spec = Spec {
    name: "zintercard",
    since: "7.0.0",
    complexity: "O(N*K) for K sorted sets, the smallest of N members",
    summary: "Counts the members that all sorted sets have.",
    run: Run::Data(zintercard),
    ..READING
};

/// ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX]
pub(crate) static ZINTERSTORE: Spec = Spec {
    name: "zinterstore",
    since: "2.0.0",
    complexity: "O(N*K)+O(M*log(M)) for K sorted sets, the smallest of N members, and M of the result",
    summary: "Stores the members that all sorted sets have.",
    run: Run::Data(|cx, args| combine(cx, args, Operation::Intersection, "zinterstore")),
    ..STORING
};

/// ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]
pub(crate) static ZUNION: Spec = Spec {
    name: "zunion",
    summary: "Returns the members that at least one sorted set has.",
    run: Run::Data(|cx, args| answer(cx, args, Operation::Union, "zunion")),
    ..READING
};

/// ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX]
pub(crate) static ZUNIONSTORE: Spec = Spec {
    name: "zunionstore",
    since: "2.0.0",
    summary: "Stores the members that at least one sorted set has.",
    run: Run::Data(|cx, args| combine(cx, args, Operation::Union, "zunionstore")),
    ..STORING
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// What becomes of the scores that a member has in several sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, one: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(one + other),
            Aggregate::Min if other < one => other,
            Aggregate::Max if other > one => other,
            Aggregate::Min | Aggregate::Max => one,
        }
    }
}

/// What is added to its opposite infinity, or is infinitely often zero, counts as zero.
fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// Where members come from.
#[derive(Clone, Copy)]
enum Members<'s> {
    None,
    Set(&'s Set),
    Sorted(&'s ZSet),
}

#[derive(Clone, Copy)]
struct Source<'s> {
    members: Members<'s>,
    weight: f64,
}

impl Source<'_> {
    fn len(&self) -> usize {
        match self.members {
            Members::None => 0,
            Members::Set(set) => set.len(),
            Members::Sorted(zset) => zset.len(),
        }
    }

    /// The weighted score of a member, which may be no number.
    fn score(&self, member: &[u8]) -> Option<f64> {
        let score = match self.members {
            Members::None => None,
            Members::Set(set) => set.contains(member).then_some(1.0),
            Members::Sorted(zset) => zset.score(member),
        };
        score.map(|score| score * self.weight)
    }

    /// Shows the members with their weighted scores, until `each` has seen enough.
    fn each(&self, mut each: impl FnMut(&[u8], f64) -> Flow) {
        let mut show = |member: Item<'_>, score: f64| {
            each(member.text(&mut itoa::Buffer::new()), number_or_zero(score * self.weight)) == Flow::More
        };
        match self.members {
            Members::None => {}
            Members::Set(set) => {
                set.iter().all(|member| show(member, 1.0));
            }
            Members::Sorted(zset) => {
                zset.iter().all(|(member, score)| show(member, score));
            }
        }
    }
}

/// Whether more members are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    More,
    Enough,
}

/// The keys of a request whose number stands at `at`, and the index behind them.
fn keys<'a>(args: Args<'a>, at: usize, name: &str) -> Result<(&'a [&'a [u8]], usize), CommandError> {
    let number = args.int(at)?;
    if number < 1 {
        let text = format!("ERR at least 1 input key is needed for '{name}' command");
        return Err(CommandError::Text(text.into()));
    }
    let behind = usize::try_from(number).ok().and_then(|number| number.checked_add(at + 1));
    let behind = behind.filter(|&behind| behind <= args.len()).ok_or(CommandError::Syntax)?;
    Ok((&args.words()[at + 1..behind], behind))
}

/// What is at the keys, each with the weight 1; each is looked at, so that a wrong type is found wherever it is.
fn sources<'s>(cx: &'s mut Exec<'_, '_>, keys: &[&[u8]]) -> Result<Vec<Source<'s>>, CommandError> {
    for key in keys {
        cx.keys.read(cx.db, key);
    }
    let members = keys.iter().map(|key| match cx.keys.peek(cx.db, key).map(|entry| entry.value()) {
        None => Ok(Members::None),
        Some(ValueRef::Set(set)) => Ok(Members::Set(set)),
        Some(ValueRef::ZSet(zset)) => Ok(Members::Sorted(zset)),
        Some(_) => Err(CommandError::WrongType),
    });
    members.map(|members| Ok(Source { members: members?, weight: 1.0 })).collect()
}

/// What a request says behind its keys.
struct Options {
    /// Empty if nothing is said.
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
}

impl Options {
    /// Reads the options from the argument at `at` on. A difference knows no weights, and what is stored is not
    /// answered with scores.
    fn parse(
        args: Args<'_>,
        mut at: usize,
        keys: usize,
        operation: Operation,
        stores: bool,
    ) -> Result<Options, CommandError> {
        let mut options = Options { weights: Vec::new(), aggregate: Aggregate::Sum, with_scores: false };
        let is_weighted = operation != Operation::Difference;
        while at < args.len() {
            let behind = args.len() - at - 1;
            if is_weighted && behind >= keys && args.is(at, "WEIGHTS") {
                let weights = args.words()[at + 1..at + 1 + keys].iter().map(|text| parse_double(text));
                let weights = weights.collect::<Option<Vec<f64>>>();
                options.weights = weights.ok_or(CommandError::text("ERR weight value is not a float"))?;
                at += 1 + keys;
            } else if is_weighted && behind >= 1 && args.is(at, "AGGREGATE") {
                options.aggregate = match args.at(at + 1) {
                    word if word.eq_ignore_ascii_case(b"SUM") => Aggregate::Sum,
                    word if word.eq_ignore_ascii_case(b"MIN") => Aggregate::Min,
                    word if word.eq_ignore_ascii_case(b"MAX") => Aggregate::Max,
                    _ => return Err(CommandError::Syntax),
                };
                at += 2;
            } else if !stores && args.is(at, "WITHSCORES") {
                options.with_scores = true;
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

/// The members of the result with their scores, in no order.
fn result(mut sources: Vec<Source<'_>>, operation: Operation, options: &Options) -> Vec<(Vec<u8>, f64)> {
    for (source, weight) in sources.iter_mut().zip(&options.weights) {
        source.weight = *weight;
    }
    match operation {
        Operation::Difference => difference(&sources),
        Operation::Union => {
            // Sums depend on their order, so it is that of Redis.
            sources.sort_by_key(Source::len);
            union(&sources, options.aggregate)
        }
        Operation::Intersection => {
            sources.sort_by_key(Source::len);
            let mut found = Vec::new();
            intersection(&sources, options.aggregate, |member, score| {
                found.push((member.to_vec(), score));
                Flow::More
            });
            found
        }
    }
}

fn union(sources: &[Source<'_>], aggregate: Aggregate) -> Vec<(Vec<u8>, f64)> {
    let mut scores: HashMap<Vec<u8>, f64> = HashMap::new();
    for source in sources {
        source.each(|member, score| {
            match scores.entry(member.to_vec()) {
                Entry::Vacant(entry) => {
                    entry.insert(score);
                }
                Entry::Occupied(mut entry) => *entry.get_mut() = aggregate.of(*entry.get(), score),
            }
            Flow::More
        });
    }
    scores.into_iter().collect()
}

/// Shows the members that all sources have; the first of them is the smallest.
fn intersection(sources: &[Source<'_>], aggregate: Aggregate, mut each: impl FnMut(&[u8], f64) -> Flow) {
    let Some((smallest, others)) = sources.split_first() else { return };
    smallest.each(|member, score| {
        let total = others.iter().try_fold(score, |total, other| Some(aggregate.of(total, other.score(member)?)));
        total.map_or(Flow::More, |total| each(member, total))
    });
}

fn difference(sources: &[Source<'_>]) -> Vec<(Vec<u8>, f64)> {
    let Some((first, others)) = sources.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    first.each(|member, score| {
        if others.iter().all(|other| other.score(member).is_none()) {
            found.push((member.to_vec(), score));
        }
        Flow::More
    });
    found
}

fn answer(cx: &mut Exec<'_, '_>, args: Args<'_>, operation: Operation, name: &str) -> Outcome {
    let (keys, behind) = keys(args, 1, name)?;
    let sources = sources(cx, keys)?;
    let options = Options::parse(args, behind, keys.len(), operation, false)?;
    let mut found = result(sources, operation, &options);
    found.sort_unstable_by(|(one, one_score), (two, two_score)| {
        one_score.partial_cmp(two_score).expect("no score is NaN").then_with(|| one.cmp(two))
    });
    let scores = Scores::wanted(options.with_scores, cx.reply.protocol());
    scores.members(&mut cx.reply, found.iter().map(|(member, score)| (Item::Bytes(member), *score)));
    Ok(())
}

fn combine(cx: &mut Exec<'_, '_>, args: Args<'_>, operation: Operation, name: &'static str) -> Outcome {
    let (keys, behind) = keys(args, 2, name)?;
    let limits = cx.settings.limits;
    let sources = sources(cx, keys)?;
    let options = Options::parse(args, behind, keys.len(), operation, true)?;
    let found = ZSet::from_members(result(sources, operation, &options), &limits).expect("no member comes twice");
    store(cx, args.at(1), found, name);
    Ok(())
}

fn zintercard(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    const LIMIT: CommandError = CommandError::text("ERR LIMIT can't be negative");
    let (keys, behind) = keys(args, 1, "zintercard")?;
    let mut sources = sources(cx, keys)?;
    let mut limit = 0;
    let mut at = behind;
    while at < args.len() {
        if !args.is(at, "LIMIT") || at + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        limit = args.int(at + 1).ok().and_then(|limit| usize::try_from(limit).ok()).ok_or(LIMIT)?;
        at += 2;
    }
    sources.sort_by_key(Source::len);
    let mut count = 0;
    intersection(&sources, Aggregate::Sum, |_, _| {
        count += 1;
        if count == limit { Flow::Enough } else { Flow::More }
    });
    cx.reply.count(count);
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate_resp::Protocol;

    use crate::testing::Bench;

    #[test]
    fn sorted_sets_and_sets_are_combined() {
        let mut bench = Bench::new();
        bench.script(
            "ZADD a 1 x 2 y 3 z => 3
             ZADD b 10 y 20 z 30 w => 3
             SADD s x w => 2
             ZUNION 2 a b => [x y z w]
             ZUNION 2 a b WITHSCORES => [x 1 y 12 z 23 w 30]
             ZUNION 3 a none s WITHSCORES => [w 1 x 2 y 2 z 3]
             ZUNION 2 a b WEIGHTS 2 -1 WITHSCORES => [w -30 z -14 y -6 x 2]
             ZUNION 2 a b AGGREGATE MIN WITHSCORES => [x 1 y 2 z 3 w 30]
             ZUNION 2 a b AGGREGATE max WEIGHTS 1 0.1 WITHSCORES => [x 1 y 2 w 3 z 3]
             ZINTER 2 a b WITHSCORES => [y 12 z 23]
             ZINTER 2 a s WITHSCORES => [x 2]
             ZINTER 2 a none => []
             ZINTER 2 a a WITHSCORES => [x 2 y 4 z 6]
             ZDIFF 2 a b => [x]
             ZDIFF 2 a s WITHSCORES => [y 2 z 3]
             ZDIFF 2 none a => []
             ZDIFF 2 a a => []
             ZINTERCARD 2 a b => 2
             ZINTERCARD 2 a b LIMIT 1 => 1
             ZINTERCARD 2 a b LIMIT 0 => 2",
        );
        bench.protocol = Protocol::Resp3;
        bench.check("ZDIFF 2 a b WITHSCORES", "[[x Double(1.0)]]");
    }

    #[test]
    fn what_is_no_number_counts_as_zero() {
        let mut bench = Bench::new();
        bench.script(
            "ZADD a +inf x => 1
             ZADD b -inf x => 1
             ZUNION 2 a b WITHSCORES => [x 0]
             ZINTER 2 a b WITHSCORES => [x 0]
             ZUNION 1 a WEIGHTS 0 WITHSCORES => [x 0]
             ZADD c 3 x 0 y => 2
             ZADD d 0 x 5 y => 2
             ZUNION 2 c d WEIGHTS 1 inf WITHSCORES => [x 3 y inf]
             ZINTER 2 c d WEIGHTS 1 inf WITHSCORES => [x 0 y inf]
             ZINTER 2 c d WEIGHTS 1 inf AGGREGATE MIN WITHSCORES => [y 0 x 3]",
        );
    }

    #[test]
    fn malformed_requests_are_refused() {
        let mut bench = Bench::new();
        bench.script(
            "ZADD a 1 x => 1
             ZUNION 0 a => ERR at least 1 input key is needed for 'zunion' command
             ZUNIONSTORE d 0 a => ERR at least 1 input key is needed for 'zunionstore' command
             ZINTERCARD 0 a => ERR at least 1 input key is needed for 'zintercard' command
             ZUNION x a => ERR value is not an integer or out of range
             ZUNION 2 a => ERR syntax error
             ZUNION 9223372036854775807 a => ERR syntax error
             ZUNION 1 a WEIGHTS => ERR syntax error
             ZUNION 1 a WEIGHTS x => ERR weight value is not a float
             ZUNION 1 a AGGREGATE => ERR syntax error
             ZUNION 1 a AGGREGATE avg => ERR syntax error
             ZDIFF 1 a WEIGHTS 1 => ERR syntax error
             ZUNIONSTORE d 1 a WITHSCORES => ERR syntax error
             ZINTERCARD 1 a LIMIT -1 => ERR LIMIT can't be negative
             ZINTERCARD 1 a LIMIT x => ERR LIMIT can't be negative
             ZINTERCARD 1 a WITHSCORES => ERR syntax error
             SET t v => OK
             ZUNION 2 none t FOO => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }

    #[test]
    fn a_combination_is_stored_in_place_of_whatever_was_there() {
        let mut bench = Bench::new();
        bench.check("ZADD a 1 x 2 y", "2").check("ZADD b 3 y", "1").check("SET d v EX 10", "OK");
        bench.check("ZUNIONSTORE d 2 a b", "2").propagates("ZUNIONSTORE d 2 a b").notifies("zunionstore d");
        bench.check("ZRANGE d 0 -1 WITHSCORES", "[x 1 y 5]").check("TTL d", "-1");
        bench.check("ZINTERSTORE a 2 a b WEIGHTS 1 2", "1").notifies("zinterstore a");
        bench.check("ZRANGE a 0 -1 WITHSCORES", "[y 8]");
        bench.check("ZDIFFSTORE d 2 d b", "1").notifies("zdiffstore d").check("ZRANGE d 0 -1", "[x]");
        bench
            .check("ZDIFFSTORE d 2 b b", "0")
            .propagates("ZDIFFSTORE d 2 b b")
            .notifies("del d")
            .check("EXISTS d", "0");
        bench.check("ZUNIONSTORE d 1 none", "0").propagates("");
    }
}

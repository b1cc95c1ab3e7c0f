//! SCAN, KEYS, RANDOMKEY and DBSIZE: the keyspace as a whole; and the options that SCAN, HSCAN, SSCAN
//! and ZSCAN share.

use quorate_values::{Case, glob_is_literal, glob_matches, parse_u64};

use crate::{Args, Arity, CommandError, Exec, Flags, Group, Outcome, Run, Spec};

/// DBSIZE
pub(crate) static DBSIZE: Spec = Spec {
    name: "dbsize",
    group: Group::Server,
    arity: Arity::Exactly(1),
    flags: Flags::READONLY.and(Flags::FAST),
    categories: &["keyspace"],
    tips: &["request_policy:all_shards", "response_policy:agg_sum"],
    summary: "Returns how many keys the selected database holds.",
    run: Run::Data(dbsize),
    ..Spec::BLANK
};

/// KEYS pattern
pub(crate) static KEYS: Spec = Spec {
    name: "keys",
    group: Group::Generic,
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.and(Flags::ALONE).and(Flags::DANGEROUS),
    tips: &["request_policy:all_shards", "nondeterministic_output_order"],
    complexity: "O(N) for N keys in the database",
    summary: "Returns all keys that match a pattern.",
    run: Run::Data(keys),
    ..Spec::BLANK
};

/// RANDOMKEY
pub(crate) static RANDOMKEY: Spec = Spec {
    name: "randomkey",
    group: Group::Generic,
    arity: Arity::Exactly(1),
    flags: Flags::READONLY.and(Flags::WALKS),
    tips: &["request_policy:all_shards", "nondeterministic_output"],
    summary: "Returns a key chosen at random.",
    run: Run::Data(randomkey),
    ..Spec::BLANK
};

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
pub(crate) static SCAN: Spec = Spec {
    name: "scan",
    group: Group::Generic,
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY.and(Flags::WALKS),
    tips: &["nondeterministic_output", "request_policy:special"],
    since: "2.8.0",
    complexity: "O(1) a call, O(N) for the whole of N keys",
    summary: "Goes through the keys of the selected database piece by piece.",
    run: Run::Data(scan),
    ..Spec::BLANK
};

/// The options of a scan.
pub(crate) struct Options<'a> {
    /// About how many elements to look at.
    pub(crate) count: usize,
    pattern: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// The options of a collection's scan, from the argument at `from` on.
    pub(crate) fn parse(args: Args<'a>, from: usize) -> Result<Options<'a>, CommandError> {
        let options = Options::parse_with_type(args, from)?;
        if options.kind.is_some() { Err(CommandError::Syntax) } else { Ok(options) }
    }

    fn parse_with_type(args: Args<'a>, from: usize) -> Result<Options<'a>, CommandError> {
        let mut options = Options { count: 10, pattern: None, kind: None };
        let mut at = from;
        while at < args.len() {
            let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
            if args.is(at, "COUNT") {
                let count = args.int(at + 1)?;
                options.count = usize::try_from(count).ok().filter(|&count| count > 0).ok_or(CommandError::Syntax)?;
            } else if args.is(at, "MATCH") {
                options.pattern = Some(value).filter(|pattern| *pattern != b"*");
            } else if args.is(at, "TYPE") {
                options.kind = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 2;
        }
        Ok(options)
    }

    /// Whether `name` matches the pattern.
    pub(crate) fn accepts(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob_matches(pattern, name, Case::Sensitive))
    }
}

/// Reads a cursor.
pub(crate) fn parse_cursor(text: &[u8]) -> Result<u64, CommandError> {
    parse_u64(text).ok_or(CommandError::text("ERR invalid cursor"))
}

fn scan(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let cursor = parse_cursor(args.at(1))?;
    let options = Options::parse_with_type(args, 2)?;
    let mut found: Vec<Box<[u8]>> = Vec::new();
    let next = cx.keys.scan(cx.db, cursor, options.count, |entry| {
        let kind = entry.value().type_name().as_bytes();
        if options.accepts(entry.key()) && options.kind.is_none_or(|wanted| kind.eq_ignore_ascii_case(wanted)) {
            found.push(entry.key().into());
        }
    });
    cx.reply.array(2);
    cx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    cx.reply.array(found.len());
    found.iter().for_each(|key| cx.reply.bulk(key));
    Ok(())
}

fn keys(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let pattern = args.at(1);
    let place = cx.reply.deferred();
    let mut found = 0;
    if glob_is_literal(pattern) {
        if cx.keys.peek(cx.db, pattern).is_some() {
            cx.reply.bulk(pattern);
            found = 1;
        }
        cx.reply.close_array(place, found);
        return Ok(());
    }
    let mut cursor = 0;
    loop {
        cursor = cx.keys.scan(cx.db, cursor, usize::MAX, |entry| {
            // A star alone matches the empty key too, which it does nowhere else.
            if pattern == b"*" || glob_matches(pattern, entry.key(), Case::Sensitive) {
                cx.reply.bulk(entry.key());
                found += 1;
            }
        });
        if cursor == 0 {
            break;
        }
    }
    cx.reply.close_array(place, found);
    Ok(())
}

fn randomkey(cx: &mut Exec<'_, '_>, _args: Args<'_>) -> Outcome {
    match cx.keys.random_key(cx.db) {
        Some(key) => cx.reply.bulk(&key),
        None => cx.reply.null(),
    }
    Ok(())
}

fn dbsize(cx: &mut Exec<'_, '_>, _args: Args<'_>) -> Outcome {
    let len = cx.keys.space().len(cx.db);
    cx.reply.count(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::testing::Bench;

    #[test]
    fn a_scan_sees_each_key_once() {
        let mut bench = Bench::new();
        for number in 0..500 {
            bench.check(&format!("SET {{tag{}}}key{number} v", number % 7), "OK");
        }
        let (mut cursor, mut seen, mut calls) = ("0".to_owned(), HashSet::new(), 0);
        loop {
            let reply = bench.run(&format!("SCAN {cursor} COUNT 20"));
            let (next, keys) = reply[1..reply.len() - 2].split_once(" [").expect("two elements");
            for key in keys.split_whitespace() {
                assert!(seen.insert(key.to_owned()), "{key} comes twice");
            }
            calls += 1;
            cursor = next.to_owned();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 500);
        assert!(calls >= 15, "{calls} calls for 500 keys, 20 each");
    }

    #[test]
    fn keys_are_filtered_by_pattern_and_type() {
        let mut bench = Bench::new();
        bench.script(
            "MSET one 1 two 2 three 3 => OK
             HSET hash f v => 1
             KEYS t* => ~[two three]
             KEYS * => ~[one two three hash]
             KEYS one => [one]
             KEYS none => []
             SCAN 0 TYPE HASH COUNT 100 => [0 [hash]]
             SCAN 0 MATCH t[w]o COUNT 100 => [0 [two]]
             SCAN 0 TYPE foo COUNT 100 => [0 []]
             SCAN x => ERR invalid cursor
             SCAN 0 COUNT 0 => ERR syntax error
             SCAN 0 COUNT x => ERR value is not an integer or out of range
             SCAN 0 MATCH => ERR syntax error
             HSCAN hash 0 TYPE hash => ERR syntax error
             DBSIZE => 4",
        );
    }

    #[test]
    fn a_random_key_is_one_that_is_there() {
        let mut bench = Bench::new();
        bench.check("RANDOMKEY", "nil").check("SET gone v PX 1", "OK").check("MSET a 1 b 2", "OK");
        bench.now += 1;
        let seen: HashSet<String> = (0..50).map(|_| bench.run("RANDOMKEY")).collect();
        assert_eq!(seen, HashSet::from(["a".to_owned(), "b".to_owned()]));
    }
}

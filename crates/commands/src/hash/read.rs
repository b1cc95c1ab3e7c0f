//! HGET, HGETALL, HSCAN and their kin: what is in a hash.

use quorate_resp::ReplyWriter;
use quorate_values::Hash;
use quorate_values::listpack::Item;

use crate::exec::as_hash;
use crate::generic::scan::{Options, parse_cursor};
use crate::{Access, Args, Arity, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const FAST: Spec = Spec {
    group: Group::Hash,
    since: "2.0.0",
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ)],
    ..Spec::BLANK
};

const WHOLE: Spec = Spec {
    arity: Arity::Exactly(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output_order"],
    complexity: "O(N) for a hash of N fields",
    ..FAST
};

/// HEXISTS key field
pub(crate) static HEXISTS: Spec = Spec {
    name: "hexists",
    arity: Arity::Exactly(3),
    keys: &[(Keys::At(1), Access::LOOK)],
    summary: "Says whether a hash has a field.",
    run: Run::Data(hexists),
    ..FAST
};

/// HGET key field
pub(crate) static HGET: Spec = Spec {
    name: "hget",
    arity: Arity::Exactly(3),
    summary: "Returns the value of a field of a hash.",
    run: Run::Data(hget),
    ..FAST
};

/// HGETALL key
pub(crate) static HGETALL: Spec = Spec {
    name: "hgetall",
    summary: "Returns all fields of a hash with their values.",
    run: Run::Data(hgetall),
    ..WHOLE
};

/// HKEYS key
pub(crate) static HKEYS: Spec =
    Spec { name: "hkeys", summary: "Returns all fields of a hash.", run: Run::Data(hkeys), ..WHOLE };

/// HLEN key
pub(crate) static HLEN: Spec = Spec {
    name: "hlen",
    arity: Arity::Exactly(2),
    keys: &[(Keys::At(1), Access::LOOK)],
    summary: "Returns how many fields a hash has.",
    run: Run::Data(hlen),
    ..FAST
};

/// HMGET key field [field ...]
pub(crate) static HMGET: Spec = Spec {
    name: "hmget",
    arity: Arity::AtLeast(3),
    complexity: "O(N) for N fields",
    summary: "Returns the values of several fields of a hash.",
    run: Run::Data(hmget),
    ..FAST
};

/// HSCAN key cursor [MATCH pattern] [COUNT count]
pub(crate) static HSCAN: Spec = Spec {
    name: "hscan",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    since: "2.8.0",
    complexity: "O(1) a call, O(N) for the whole of N fields",
    summary: "Goes through the fields and values of a hash piece by piece.",
    run: Run::Data(hscan),
    ..FAST
};

/// HSTRLEN key field
pub(crate) static HSTRLEN: Spec = Spec {
    name: "hstrlen",
    arity: Arity::Exactly(3),
    keys: &[(Keys::At(1), Access::LOOK)],
    since: "3.2.0",
    summary: "Returns the length in bytes of the value of a field of a hash.",
    run: Run::Data(hstrlen),
    ..FAST
};

/// HVALS key
pub(crate) static HVALS: Spec =
    Spec { name: "hvals", summary: "Returns all values of a hash.", run: Run::Data(hvals), ..WHOLE };

/// Answers with a text, or with its absence.
fn answer(reply: &mut ReplyWriter<'_>, item: Option<Item<'_>>) {
    match item {
        Some(item) => reply.bulk(item.text(&mut itoa::Buffer::new())),
        None => reply.null(),
    }
}

fn hget(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let hash = as_hash(cx.keys.read(cx.db, args.at(1)))?;
    answer(&mut cx.reply, hash.and_then(|hash| hash.get(args.at(2))));
    Ok(())
}

fn hmget(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let hash = as_hash(cx.keys.read(cx.db, args.at(1)))?;
    cx.reply.array(args.len() - 2);
    for field in args.from(2) {
        answer(&mut cx.reply, hash.and_then(|hash| hash.get(field)));
    }
    Ok(())
}

fn hexists(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let found = cx.hash(args.at(1))?.is_some_and(|hash| hash.contains(args.at(2)));
    cx.reply.int(i64::from(found));
    Ok(())
}

fn hlen(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let len = cx.hash(args.at(1))?.map_or(0, Hash::len);
    cx.reply.count(len);
    Ok(())
}

fn hstrlen(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let value = cx.hash(args.at(1))?.and_then(|hash| hash.get(args.at(2)));
    let len = value.map_or(0, |value| value.text_len());
    cx.reply.count(len);
    Ok(())
}

fn hkeys(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let hash = as_hash(cx.keys.read(cx.db, args.at(1)))?;
    cx.reply.array(hash.map_or(0, Hash::len));
    for (field, _) in hash.iter().flat_map(|hash| hash.iter()) {
        answer(&mut cx.reply, Some(field));
    }
    Ok(())
}

fn hvals(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let hash = as_hash(cx.keys.read(cx.db, args.at(1)))?;
    cx.reply.array(hash.map_or(0, Hash::len));
    for (_, value) in hash.iter().flat_map(|hash| hash.iter()) {
        answer(&mut cx.reply, Some(value));
    }
    Ok(())
}

fn hgetall(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let hash = as_hash(cx.keys.read(cx.db, args.at(1)))?;
    cx.reply.map(hash.map_or(0, Hash::len));
    for (field, value) in hash.iter().flat_map(|hash| hash.iter()) {
        answer(&mut cx.reply, Some(field));
        answer(&mut cx.reply, Some(value));
    }
    Ok(())
}

fn hscan(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let cursor = parse_cursor(args.at(2))?;
    let Some(hash) = as_hash(cx.keys.read(cx.db, args.at(1)))? else {
        cx.reply.array(2);
        cx.reply.bulk(b"0");
        cx.reply.array(0);
        return Ok(());
    };
    let options = Options::parse(args, 3)?;
    let mut found = Vec::new();
    let next = hash.scan(cursor, options.count, |field, value| {
        if options.accepts(field.text(&mut itoa::Buffer::new())) {
            found.push((field.to_vec(), value.to_vec()));
        }
    });
    cx.reply.array(2);
    cx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    cx.reply.array(found.len() * 2);
    for (field, value) in &found {
        cx.reply.bulk(field);
        cx.reply.bulk(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn a_hash_is_read_in_every_way() {
        let mut bench = Bench::new();
        bench.script(
            "HSET h a 1 b two => 2
             HGET h a => 1
             HGET h none => nil
             HGET none a => nil
             HMGET h a none b => [1 nil two]
             HMGET none a b => [nil nil]
             HEXISTS h a => 1
             HEXISTS h c => 0
             HLEN h => 2
             HLEN none => 0
             HSTRLEN h b => 3
             HSTRLEN h c => 0
             HKEYS h => [a b]
             HVALS h => [1 two]
             HGETALL h => [a 1 b two]
             HGETALL none => []
             HSCAN h 0 => [0 [a 1 b two]]
             HSCAN h 0 MATCH b* => [0 [b two]]
             HSCAN none 0 FOO => [0 []]
             HSCAN none x => ERR invalid cursor
             HSCAN h 0 FOO => ERR syntax error
             SET s v => OK",
        );
        for line in ["HGET s a", "HMGET s a", "HGETALL s", "HKEYS s", "HLEN s", "HSCAN s 0", "HSTRLEN s a"] {
            bench.check(line, "WRONGTYPE Operation against a key holding the wrong kind of value");
        }
        bench.protocol = quorate_resp::Protocol::Resp3;
        bench.check("HGETALL h", "{a: 1, b: two}");
    }

    #[test]
    fn a_scan_of_a_large_hash_sees_each_field_once() {
        let mut bench = Bench::new();
        for number in 0..1000 {
            bench.check(&format!("HSET h field{number} {number}"), "1");
        }
        let (mut cursor, mut seen, mut calls) = ("0".to_owned(), std::collections::HashSet::new(), 0);
        loop {
            let reply = bench.run(&format!("HSCAN h {cursor} COUNT 50"));
            let (next, items) = reply[1..reply.len() - 2].split_once(" [").expect("two elements");
            for field in items.split_whitespace().step_by(2) {
                assert!(seen.insert(field.to_owned()), "{field} comes twice");
            }
            calls += 1;
            cursor = next.to_owned();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 1000);
        assert!(calls > 10, "{calls} calls for 1000 fields, 50 each");
    }
}

//! DUMP and RESTORE: a value by itself, in the form of RDB files, on its way through a client's hands.
//!
//! A payload may come from anybody. `quorate-formats` looks at all of it before a value comes into being, whatever
//! `sanitize-dump-payload` says.

use quorate_formats::dump;
use quorate_formats::rdb::{Checksums, ReadOptions, Sanitize, WriteOptions};
use quorate_keyspace::{AccessPolicy, Entry, from_frequency, from_idle_seconds};
use quorate_stdx::UnixMs;

use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Origin, Outcome, Run, Spec};

const GENERIC: Spec = Spec { group: Group::Generic, since: "2.6.0", ..Spec::BLANK };

/// DUMP key
pub(crate) static DUMP: Spec = Spec {
    name: "dump",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    tips: &["nondeterministic_output"],
    complexity: "O(N) for a value of N bytes",
    summary: "Returns the value of a key in a form that RESTORE takes.",
    run: Run::Data(dump),
    ..GENERIC
};

/// RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
pub(crate) static RESTORE: Spec = RESTORING;

/// RESTORE-ASKING key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
pub(crate) static RESTORE_ASKING: Spec = Spec {
    name: "restore-asking",
    group: Group::Server,
    flags: RESTORING.flags.and(Flags::ASKING).and(Flags::SYSTEM),
    // It is about keys all the same.
    categories: &["keyspace"],
    since: "3.0.0",
    summary: "Makes a key of what DUMP returned, in a slot that is on its way to this node.",
    ..RESTORING
};

const RESTORING: Spec = Spec {
    name: "restore",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::DANGEROUS),
    keys: &[(Keys::At(1), Access::OVERWRITE)],
    complexity: "O(N) for a value of N bytes; O(N*log(N)) for a sorted set",
    summary: "Makes a key of what DUMP returned.",
    run: Run::Data(restore),
    ..GENERIC
};

fn dump(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    match cx.keys.read(cx.db, args.at(1)) {
        Some(entry) => {
            let mut payload = Vec::new();
            dump::encode(&mut payload, entry.value(), &WriteOptions::default());
            cx.reply.bulk(&payload);
        }
        None => cx.reply.null(),
    }
    Ok(())
}

/// What a RESTORE says besides key, expiry and payload.
#[derive(Debug, Default)]
struct Options {
    replace: bool,
    is_absolute: bool,
    /// Seconds.
    idle: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(args: Args<'_>, from: usize) -> Result<Options, CommandError> {
        const IDLE: CommandError = CommandError::text("ERR Invalid IDLETIME value, must be >= 0");
        const FREQUENCY: CommandError = CommandError::text("ERR Invalid FREQ value, must be >= 0 and <= 255");
        let mut options = Options::default();
        let mut at = from;
        while at < args.len() {
            let has_value = at + 1 < args.len();
            if args.is(at, "REPLACE") {
                options.replace = true;
            } else if args.is(at, "ABSTTL") {
                options.is_absolute = true;
            } else if args.is(at, "IDLETIME") && has_value && options.frequency.is_none() {
                at += 1;
                options.idle = Some(u64::try_from(args.int(at)?).map_err(|_| IDLE)?);
            } else if args.is(at, "FREQ") && has_value && options.idle.is_none() {
                at += 1;
                options.frequency = Some(u8::try_from(args.int(at)?).map_err(|_| FREQUENCY)?);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }

    /// The access bits of the entry; 0 leaves them to be those of a new one. A policy that counts in the other way
    /// takes no notice.
    fn access(&self, policy: AccessPolicy, now: UnixMs) -> u32 {
        match (policy, self.idle, self.frequency) {
            (AccessPolicy::Lru, Some(idle), _) => from_idle_seconds(idle, now),
            (AccessPolicy::Lfu { .. }, _, Some(frequency)) => from_frequency(frequency, now),
            _ => 0,
        }
    }
}

/// When the restored key expires, if ever.
fn expiry(cx: &Exec<'_, '_>, text: &[u8], is_absolute: bool) -> Result<Option<UnixMs>, CommandError> {
    const TTL: CommandError = CommandError::text("ERR Invalid TTL value, must be >= 0");
    let ttl = quorate_values::parse_i64(text).ok_or(CommandError::NotInteger)?;
    match ttl {
        ..0 => Err(TTL),
        0 => Ok(None),
        ttl if is_absolute => Ok(Some(UnixMs(ttl))),
        ttl => Ok(Some(UnixMs(cx.now.0.checked_add(ttl).ok_or(TTL)?))),
    }
}

fn restore(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let options = Options::parse(args, 4)?;
    if !options.replace && cx.keys.find(cx.db, key).is_some() {
        return Err(CommandError::BusyKey);
    }
    let expiry = expiry(cx, args.at(2), options.is_absolute)?;
    let reading = ReadOptions {
        limits: cx.settings.limits,
        sanitize: if cx.origin == Origin::Replication { Sanitize::No } else { Sanitize::Yes },
        checksums: if cx.settings.skip_checksums { Checksums::Ignore } else { Checksums::Verify },
    };
    let value = dump::decode(args.at(3), &reading).map_err(|error| match error {
        dump::Error::Version | dump::Error::Checksum => {
            CommandError::text("ERR DUMP payload version or checksum are wrong")
        }
        dump::Error::Value(_) | dump::Error::Empty | dump::Error::Trailing { .. } => {
            CommandError::BadPayload(error.to_string())
        }
    })?;
    cx.reply.ok();
    if expiry.is_some_and(|at| at <= cx.now) && cx.origin != Origin::Replication {
        // What would be gone at once takes only the place of what was there.
        cx.delete_instead(key, cx.keys.scope().lazy.server_del);
        return Ok(());
    }
    cx.keys.settle(cx.db, key);
    let mut entry = Entry::new(key, value);
    entry.set_expiry(expiry);
    entry.set_access(options.access(cx.keys.scope().access, cx.now));
    cx.put_anew(cx.db, entry);
    cx.changed(1);
    cx.notify(Class::GENERIC, "restore", key);
    if let Some(at) = expiry.filter(|_| !options.is_absolute) {
        let mut buffer = itoa::Buffer::new();
        let mut words = args.words().to_vec();
        words[2] = buffer.format(at.0).as_bytes();
        words.push(b"ABSTTL");
        cx.propagate(&words);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_resp::Reply;

    use crate::testing::Bench;

    /// A bench with a key of each kind and encoding.
    fn furnished() -> (Bench, Vec<&'static str>) {
        let mut bench = Bench::new();
        for number in 0..600 {
            bench.run(&format!("HSET large-hash field{number} value{number}"));
            bench.run(&format!("ZADD large-zset {number}.5 member{number}"));
            bench.run(&format!("SADD large-set member{number}"));
            bench.run(&format!("SADD ints {number}"));
            bench.run(&format!("RPUSH large-list {number}-some-text-that-makes-it-longer-than-one-node"));
        }
        for line in [
            "SET text some-text",
            "SET int 12345",
            "HSET hash a 1 b two",
            "ZADD zset 1 a -inf low 2.5 b 3 17",
            "SADD set a b 17",
            "SADD few-ints 1 2 70000",
            "RPUSH list a 2 c",
        ] {
            bench.run(line);
        }
        let keys = "text int hash zset set few-ints list large-hash large-zset large-set ints large-list";
        (bench, keys.split(' ').collect())
    }

    fn dump(bench: &mut Bench, key: &str) -> Vec<u8> {
        match bench.reply(&[b"DUMP", key.as_bytes()]) {
            Reply::Bulk(payload) => payload,
            other => panic!("{other:?}"),
        }
    }

    fn restore(bench: &mut Bench, key: &str, ttl: &str, payload: &[u8], options: &[&str]) -> String {
        let mut words: Vec<&[u8]> = vec![b"RESTORE", key.as_bytes(), ttl.as_bytes(), payload];
        words.extend(options.iter().map(|option| option.as_bytes()));
        match bench.reply(&words) {
            Reply::Simple(text) | Reply::Error(text) => String::from_utf8(text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_dumped_is_restored_in_its_encoding() {
        let (mut bench, keys) = furnished();
        for key in keys {
            let payload = dump(&mut bench, key);
            assert_eq!(restore(&mut bench, "copy", "0", &payload, &["REPLACE"]), "OK");
            assert_eq!(dump(&mut bench, "copy").len(), payload.len(), "{key}");
            let encoding = bench.run(&format!("OBJECT ENCODING {key}"));
            bench.check("OBJECT ENCODING copy", &encoding);
        }
        bench.check("DUMP none", "nil");
    }

    #[test]
    fn a_taken_name_is_only_replaced_on_demand() {
        let mut bench = Bench::new();
        bench.check("SET k v", "OK");
        let payload = dump(&mut bench, "k");
        assert_eq!(restore(&mut bench, "k", "0", &payload, &[]), "BUSYKEY Target key name already exists.");
        assert_eq!(restore(&mut bench, "k", "0", &payload, &["replace"]), "OK");
        bench.notifies("restore k").check("GET k", "v");
    }

    #[test]
    fn replicas_are_told_when_a_restored_key_expires() {
        let mut bench = Bench::new();
        bench.check("SET k 1", "OK");
        let payload = dump(&mut bench, "k");
        assert_eq!(restore(&mut bench, "a", "500", &payload, &[]), "OK");
        bench.propagates(&format!("RESTORE a 1000500 {} ABSTTL", String::from_utf8_lossy(&payload)));
        bench.check("PTTL a", "500");
        assert_eq!(restore(&mut bench, "b", "1000700", &payload, &["ABSTTL"]), "OK");
        bench.check("PTTL b", "700");
        // One that has expired already leaves nothing, not even what it replaces.
        assert_eq!(restore(&mut bench, "b", "999", &payload, &["ABSTTL", "REPLACE"]), "OK");
        bench.propagates("DEL b").notifies("del b").check("EXISTS b", "0");
        assert_eq!(restore(&mut bench, "c", "999", &payload, &["ABSTTL"]), "OK");
        bench.propagates("").check("EXISTS c", "0");
    }

    #[test]
    fn options_are_read_or_refused() {
        let mut bench = Bench::new();
        bench.check("SET k 1", "OK");
        let payload = dump(&mut bench, "k");
        assert_eq!(restore(&mut bench, "a", "0", &payload, &["IDLETIME", "700"]), "OK");
        bench.check("OBJECT IDLETIME a", "700");
        for (ttl, options, expected) in [
            ("x", &[][..], "ERR value is not an integer or out of range"),
            ("-1", &[], "ERR Invalid TTL value, must be >= 0"),
            ("0", &["IDLETIME", "-1"], "ERR Invalid IDLETIME value, must be >= 0"),
            ("0", &["IDLETIME", "x"], "ERR value is not an integer or out of range"),
            ("0", &["FREQ", "256"], "ERR Invalid FREQ value, must be >= 0 and <= 255"),
            ("0", &["IDLETIME", "1", "FREQ", "1"], "ERR syntax error"),
            ("0", &["FREQ"], "ERR syntax error"),
            ("0", &["FOO"], "ERR syntax error"),
        ] {
            assert_eq!(restore(&mut bench, "b", ttl, &payload, options), expected, "{ttl} {options:?}");
        }
        bench.check("EXISTS b", "0");
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        let mut bench = Bench::new();
        bench.check("SET k some-text", "OK");
        let payload = dump(&mut bench, "k");
        const WRONG: &str = "ERR DUMP payload version or checksum are wrong";
        for len in 0..payload.len() {
            assert_eq!(restore(&mut bench, "a", "0", &payload[..len], &[]), WRONG);
        }
        let mut flipped = payload.clone();
        flipped[3] ^= 1;
        assert_eq!(restore(&mut bench, "a", "0", &flipped, &[]), WRONG);
        assert_eq!(restore(&mut bench, "a", "0", &sealed(&payload[..payload.len() - 10], 200), &[]), WRONG);
        let bad = "ERR Bad data format";
        assert_eq!(restore(&mut bench, "a", "0", &sealed(b"\x00\x7f\xffshort", 10), &[]), bad);
        assert_eq!(restore(&mut bench, "a", "0", &sealed(b"\x63text", 10), &[]), bad);
        assert_eq!(restore(&mut bench, "a", "0", &sealed(b"\x02\x00", 10), &[]), bad);
        assert_eq!(restore(&mut bench, "a", "0", &sealed(b"\x00\x01xy", 10), &[]), bad);
        // Lengths far beyond what is there are no reason to ask for memory.
        for kind in 0..=30 {
            let mut body = vec![kind, 0x81];
            body.extend_from_slice(&u64::MAX.to_be_bytes());
            assert_eq!(restore(&mut bench, "a", "0", &sealed(&body, 10), &[]), bad, "type {kind}");
        }
    }

    /// A body with a version and its checksum.
    fn sealed(body: &[u8], version: u16) -> Vec<u8> {
        let mut payload = [body, &version.to_le_bytes()].concat();
        let checksum = quorate_formats::crc64(&payload);
        payload.extend_from_slice(&checksum.to_le_bytes());
        payload
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
        #[test]
        fn damaged_payloads_yield_an_error_or_a_value_that_works(
            which in 0usize..7, cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bench = Bench::new();
            for line in ["SET text aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "HSET hash a 1 b two c 70000", "SADD set a b 17",
                "ZADD zset 1 a -inf low 2.5 b 3 17", "SADD ints 1 2 70000", "RPUSH list a 2 cccccccccc"] {
                bench.run(line);
            }
            bench.settings.limits.zset_max_listpack_entries = 0;
            bench.run("ZADD large 1 a 2 b 2.5 c");
            let key = ["text", "hash", "set", "zset", "ints", "list", "large"][which];
            let payload = dump(&mut bench, key);
            let mut body = payload[..payload.len() - 10].to_vec();
            for (at, byte) in cuts {
                let at = at.index(body.len());
                body[at] = byte;
            }
            if restore(&mut bench, "copy", "0", &sealed(&body, 10), &[]) == "OK" {
                // Whatever it is now, it can be used.
                for line in ["DUMP copy", "TYPE copy", "OBJECT ENCODING copy", "HGETALL copy", "HSET copy x y",
                    "ZADD copy 1 x", "ZRANGE copy 0 -1 WITHSCORES", "ZRANGEBYSCORE copy -inf +inf", "ZPOPMIN copy 2",
                    "ZREMRANGEBYRANK copy 0 -1", "SADD copy 5", "SADD copy x", "SMEMBERS copy", "SPOP copy", "LPUSH copy x",
                    "LRANGE copy 0 -1", "LREM copy 0 a", "RPOP copy 9", "GET copy", "APPEND copy x", "DEL copy"] {
                    bench.run(line);
                }
            }
        }
    }
}

//! What the server tells of its commands, beside what Redis tells of them: how they are called, where their keys stand,
//! and what arguments they take. Sentences are each server's own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};

use quorate_client::{Client, Reply};
use quorate_interop::Server;

/// What is told otherwise on purpose: command, field, reason.
const KNOWN: &[(&str, &str, &str)] = &[
    ("cluster|*", "*", "they answer while a node loads, too, and hold no lock on the keys"),
    ("wait", "flags", "since Redis 7.2 it may be called from scripts, and blocks"),
    ("wait", "categories", "since Redis 7.2 it blocks"),
    ("zrank", "*", "since Redis 7.2 there is WITHSCORE"),
    ("zrevrank", "*", "since Redis 7.2 there is WITHSCORE"),
    ("set", "arguments", "IFEQ of Valkey 8.1"),
    ("migrate", "range", "its keys stand in one of two places, and are found by looking"),
    ("migrate", "keys", "its keys stand in one of two places, and are found by looking"),
    ("spublish", "range", "a channel is no key"),
    ("spublish", "keys", "a channel is no key"),
    ("ssubscribe", "range", "a channel is no key"),
    ("ssubscribe", "keys", "a channel is no key"),
    ("sunsubscribe", "range", "a channel is no key"),
    ("sunsubscribe", "keys", "a channel is no key"),
    ("acl|*", "tips", "since Redis 7.2 those that change users are for all nodes"),
    ("pubsub|help", "*", "it is about Pub/Sub"),
    ("replconf", "categories", "it is not told apart"),
];

fn is_known(command: &str, field: &str) -> bool {
    let fits = |pattern: &str, text: &str| match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    };
    KNOWN.iter().any(|(name, of, _)| fits(name, command) && fits(of, field))
}

fn items(reply: &Reply) -> &[Reply] {
    match reply {
        Reply::Array(items) | Reply::Set(items) => items,
        other => panic!("an array was expected, not {other:?}"),
    }
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Int(number) => number.to_string(),
        other => panic!("a text was expected, not {other:?}"),
    }
}

/// Names and values in turn.
fn fields(reply: &Reply) -> BTreeMap<String, &Reply> {
    items(reply).chunks_exact(2).map(|pair| (text(&pair[0]), &pair[1])).collect()
}

fn sorted(reply: &Reply) -> BTreeSet<String> {
    items(reply).iter().map(text).collect()
}

/// A reply in one line, without the order of what are sets and without sentences.
fn line(reply: &Reply) -> String {
    match reply {
        Reply::Array(items) | Reply::Set(items) => {
            let name = |reply: &Reply| matches!(reply, Reply::Bulk(name) if name == b"notes");
            if items.len() % 2 == 0 && items.first().is_some_and(name) {
                return line(&Reply::Array(items[2..].to_vec()));
            }
            let words: Option<BTreeSet<&[u8]>> = items
                .iter()
                .map(|item| match item {
                    Reply::Simple(word) => Some(&word[..]),
                    _ => None,
                })
                .collect();
            match words {
                Some(words) if !words.is_empty() => {
                    format!("{:?}", words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>())
                }
                _ => format!("[{}]", items.iter().map(line).collect::<Vec<_>>().join(" ")),
            }
        }
        other => text(other),
    }
}

/// Commands and subcommands by name, each with its fields.
type Told = BTreeMap<String, BTreeMap<&'static str, String>>;

fn told(client: &mut Client) -> Told {
    fn take(reply: &Reply, told: &mut Told) {
        let entry = items(reply);
        let set = |reply: &Reply| format!("{:?}", sorted(reply));
        let range = format!("{} {} {}", text(&entry[3]), text(&entry[4]), text(&entry[5]));
        let known = BTreeMap::from([
            ("arity", text(&entry[1])),
            ("flags", set(&entry[2])),
            ("range", range),
            ("categories", set(&entry[6])),
            ("tips", set(&entry[7])),
            ("keys", line(&entry[8])),
        ]);
        told.insert(text(&entry[0]), known);
        items(&entry[9]).iter().for_each(|subcommand| take(subcommand, told));
    }
    let mut all = Told::new();
    items(&client.call(&["COMMAND"]).unwrap()).iter().for_each(|entry| take(entry, &mut all));
    all
}

fn documented(client: &mut Client) -> Told {
    fn take(reply: &Reply, told: &mut Told) {
        for (name, docs) in fields(reply) {
            let docs = fields(docs);
            let compared = ["since", "group", "doc_flags", "deprecated_since", "arguments"];
            let known = compared.into_iter().filter_map(|field| Some((field, line(docs.get(field)?))));
            told.insert(name, known.collect());
            if let Some(subcommands) = docs.get("subcommands") {
                take(subcommands, told);
            }
        }
    }
    let mut all = Told::new();
    take(&client.call(&["COMMAND", "DOCS"]).unwrap(), &mut all);
    all
}

fn differences(redis: &Told, ours: &Told) -> Vec<String> {
    let mut found = Vec::new();
    let both = redis.iter().filter_map(|(name, theirs)| Some((name, theirs, ours.get(name)?)));
    for (name, theirs, own) in both {
        let names: BTreeSet<&str> = theirs.keys().chain(own.keys()).copied().collect();
        for field in names.into_iter().filter(|field| theirs.get(field) != own.get(field)) {
            if !is_known(name, field) {
                let shown = |told: Option<&String>| told.cloned().unwrap_or_else(|| "nothing".to_owned());
                found.push(format!(
                    "{name}, {field}:\n  Redis {}\n  ours  {}",
                    shown(theirs.get(field)),
                    shown(own.get(field))
                ));
            }
        }
    }
    found
}

#[test]
fn commands_are_described_as_redis_describes_them() {
    let Some(redis) = Server::start_redis(&[], None) else { return };
    let ours = Server::start(&[]);
    let (mut theirs, mut own) = (redis.connect(), ours.connect());
    let (redis_told, ours_told) = (told(&mut theirs), told(&mut own));
    let both = redis_told.keys().filter(|name| ours_told.contains_key(*name)).count();
    assert!(both > 300, "only {both} commands are common");
    let mut found = differences(&redis_told, &ours_told);
    found.extend(differences(&documented(&mut theirs), &documented(&mut own)));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Whole commands, with keys wherever they may stand.
const CALLS: &[&str] = &[
    "GET a",
    "SET a b",
    "SET a b GET",
    "MSET a 1 b 2",
    "MGET a b c",
    "DEL a b",
    "BITOP AND d a b",
    "BITFIELD a SET u8 0 1",
    "BITFIELD a GET u8 0",
    "BITFIELD_RO a GET u8 0",
    "PFCOUNT a b",
    "PFMERGE d a b",
    "GEOADD a 1 2 m",
    "GEOSEARCHSTORE d s FROMLONLAT 1 2 BYRADIUS 1 m",
    "GEORADIUS a 1 2 3 m",
    "GEORADIUS a 1 2 3 m STORE d",
    "GEORADIUSBYMEMBER a m 3 m STOREDIST d",
    "XADD s * f v",
    "XREAD COUNT 1 STREAMS a b 0 0",
    "XREADGROUP GROUP g c STREAMS a b > >",
    "XGROUP CREATE s g $",
    "XINFO STREAM s",
    "XCLAIM s g c 0 1-1",
    "SORT a",
    "SORT a STORE d",
    "SORT_RO a",
    "ZUNIONSTORE d 2 a b",
    "ZUNION 2 a b",
    "ZMPOP 2 a b MIN",
    "BZMPOP 0 2 a b MIN",
    "LMPOP 2 a b LEFT",
    "BLMPOP 0 2 a b LEFT",
    "BLPOP a b 0",
    "LMOVE a b LEFT RIGHT",
    "SINTERCARD 2 a b",
    "EVAL script 2 a b c",
    "FCALL f 1 a b",
    "OBJECT ENCODING a",
    "MEMORY USAGE a",
    "COPY a b",
    "RENAME a b",
    "LCS a b",
    "GETEX a",
    "PING",
    "NONE a",
    "GET",
];

#[test]
fn the_keys_of_a_whole_command_are_found_as_redis_finds_them() {
    let Some(redis) = Server::start_redis(&[], None) else { return };
    let ours = Server::start(&[]);
    let (mut theirs, mut own) = (redis.connect(), ours.connect());
    for call in CALLS {
        for way in ["GETKEYS", "GETKEYSANDFLAGS"] {
            let mut words = vec!["COMMAND", way];
            words.extend(call.split(' '));
            let answer = |client: &mut Client| match client.call(&words).unwrap() {
                Reply::Error(text) => String::from_utf8_lossy(&text).into_owned(),
                keys => line(&keys),
            };
            assert_eq!(answer(&mut own), answer(&mut theirs), "{words:?}");
        }
    }
}

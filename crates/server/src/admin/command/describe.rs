//! A command's specification in the form of COMMAND's replies.

use quorate_commands::{Access, Flags, Keys, Spec, categories};
use quorate_resp::ReplyWriter;

use super::arguments;
use crate::data::table::Command;

/// The words of COMMAND for properties of a command.
static WORDS: [(Flags, &str); 19] = [
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENY_OOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NO_SCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::ASKING, "asking"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::ALLOW_BUSY, "allow_busy"),
    (Flags::ONLY_SENTINEL, "only_sentinel"),
    (Flags::TOUCHES_ARBITRARY_KEYS, "touches_arbitrary_keys"),
];

/// Whether a call without a key is a good one (`EVAL script 0`).
pub(super) fn may_lack_keys(spec: &Spec) -> bool {
    spec.group == quorate_commands::Group::Scripting
}

/// A set of words.
pub(super) fn words<S: AsRef<str>>(reply: &mut ReplyWriter<'_>, words: &[S]) {
    reply.set(words.len());
    for word in words {
        reply.simple(word.as_ref());
    }
}

/// What COMMAND and COMMAND INFO tell of a command.
pub(crate) fn info(reply: &mut ReplyWriter<'_>, command: &Command) {
    let spec = command.spec;
    let (first, last, step) = legacy_range(spec);
    reply.array(10);
    reply.bulk(command.full_name.as_bytes());
    reply.int(spec.arity.wire());
    let mut flags: Vec<&str> = WORDS.iter().filter(|(flag, _)| spec.flags.has(*flag)).map(|(_, word)| *word).collect();
    if !spec.keys.is_empty() && may_lack_keys(spec) {
        flags.push("no_mandatory_keys");
    }
    if spec.flags.has(Flags::MOVABLE_KEYS) || spec.keys.iter().any(|(keys, _)| is_movable(*keys)) {
        flags.push("movablekeys");
    }
    words(reply, &flags);
    reply.int(first);
    reply.int(last);
    reply.int(step);
    let categories: Vec<String> = categories(spec).iter().map(|category| format!("@{category}")).collect();
    words(reply, &categories);
    reply.set(spec.tips.len());
    for tip in spec.tips {
        reply.bulk(tip.as_bytes());
    }
    reply.set(spec.keys.len());
    for (keys, access) in spec.keys {
        key_specification(reply, *keys, *access);
    }
    reply.array(command.subcommands.len());
    for subcommand in &command.subcommands {
        info(reply, subcommand);
    }
}

/// Whether keys of this kind can't be told from first, last and step.
fn is_movable(keys: Keys) -> bool {
    !matches!(keys, Keys::At(_) | Keys::Span { .. })
}

/// First key, last key and step, for those who know no key specifications: the range that all simple ones lie in.
fn legacy_range(spec: &Spec) -> (i64, i64, i64) {
    let range = |keys: Keys| match keys {
        Keys::At(index) => Some((index as i64, index as i64, 1)),
        Keys::Span { first, last, step } => Some((first as i64, i64::from(last), step as i64)),
        Keys::Counted { .. } | Keys::After { .. } | Keys::Parsed(_) => None,
    };
    let mut ranges = spec.keys.iter().filter_map(|(keys, _)| range(*keys));
    let Some(first) = ranges.next() else { return (0, 0, 0) };
    ranges.fold(first, |(first, last, step), (next_first, next_last, _)| {
        // Two keys side by side are one range; anything else is told by the first alone.
        if last >= 0 && next_first == last + 1 { (first, next_last, step) } else { (first, last, step) }
    })
}

fn key_specification(reply: &mut ReplyWriter<'_>, keys: Keys, access: Access) {
    reply.map(3);
    reply.bulk(b"flags");
    words(reply, access.flags());
    reply.bulk(b"begin_search");
    match keys {
        Keys::At(index) | Keys::Span { first: index, .. } | Keys::Counted { count_at: index } => {
            search(reply, "index", &[("index", index as i64)]);
        }
        Keys::After { word, from, .. } => {
            reply.map(2);
            reply.bulk(b"type");
            reply.bulk(b"keyword");
            reply.bulk(b"spec");
            reply.map(2);
            reply.bulk(b"keyword");
            reply.bulk(word.as_bytes());
            reply.bulk(b"startfrom");
            reply.int(from as i64);
        }
        Keys::Parsed(_) => search(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    match keys {
        Keys::At(_) => search(reply, "range", &[("lastkey", 0), ("keystep", 1), ("limit", 0)]),
        Keys::Span { first, last, step } => {
            // A last key that is counted from the front is told relative to the first.
            let last = if last < 0 { i64::from(last) } else { i64::from(last) - first as i64 };
            search(reply, "range", &[("lastkey", last), ("keystep", step as i64), ("limit", 0)]);
        }
        Keys::Counted { .. } => search(reply, "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]),
        Keys::After { many, .. } => {
            let (last, limit) = if many { (-1, 2) } else { (0, 0) };
            search(reply, "range", &[("lastkey", last), ("keystep", 1), ("limit", limit)]);
        }
        Keys::Parsed(_) => search(reply, "unknown", &[]),
    }
}

fn search(reply: &mut ReplyWriter<'_>, kind: &str, numbers: &[(&str, i64)]) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.int(*number);
    }
}

/// What COMMAND DOCS tells of a command.
pub(super) fn docs(reply: &mut ReplyWriter<'_>, command: &Command) {
    let spec = command.spec;
    let fields = [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.complexity),
    ];
    let has_arguments = arguments::are_known(&command.full_name);
    let is_system = spec.flags.has(Flags::SYSTEM);
    let more = [is_system || spec.deprecated.is_some(), has_arguments, !command.subcommands.is_empty()];
    let of_deprecated = if spec.deprecated.is_some() { 2 } else { 0 };
    reply.map(fields.len() + of_deprecated + more.into_iter().filter(|more| *more).count());
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if more[0] {
        reply.bulk(b"doc_flags");
        let flags = [("syscmd", is_system), ("deprecated", spec.deprecated.is_some())];
        let flags: Vec<&str> = flags.into_iter().filter(|(_, holds)| *holds).map(|(flag, _)| flag).collect();
        words(reply, &flags);
    }
    if let Some((since, other)) = spec.deprecated {
        for (name, value) in [("deprecated_since", since), ("replaced_by", other)] {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        }
    }
    if has_arguments {
        reply.bulk(b"arguments");
        arguments::write(reply, &command.full_name);
    }
    if !command.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(command.subcommands.len());
        for subcommand in &command.subcommands {
            reply.bulk(subcommand.full_name.as_bytes());
            docs(reply, subcommand);
        }
    }
}

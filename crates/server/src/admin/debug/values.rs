//! DEBUG OBJECT and its kin: how one value, or one database, lies in memory.

use std::fmt::Write as _;

use quorate_commands::{Args, CommandError, Outcome};
use quorate_keyspace::{Db, Record, idle_seconds};
use quorate_values::{HashView, Listpack, NodeRef, SetView, ValueRef, ZSetView, size_class};

use super::unknown;
use crate::data::call::Cx;
use crate::log;

/// Looks at the entry of the key that the subcommand names.
fn look<R>(
    cx: &mut Cx<'_, '_>,
    key: &[u8],
    work: impl FnOnce(&Record) -> Result<R, CommandError>,
) -> Result<R, CommandError> {
    let db = cx.session.db;
    let view = cx.access.alone().view(cx.scope);
    view.peek_raw(db, key).ok_or(CommandError::NoSuchKey).and_then(work)
}

/// DEBUG OBJECT key
pub(super) fn object(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(unknown(args));
    }
    let now = cx.scope.now;
    let options = cx.server.persistence.write_options(cx.server);
    let limits = cx.local.published.settings.limits;
    let text = look(cx, args.at(2), |entry| {
        let mut payload = Vec::new();
        quorate_formats::dump::encode(&mut payload, entry.value(), &options);
        let idle = idle_seconds(entry.access(), now);
        let mut text = format!(
            "Value at:{:p} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{idle}",
            std::ptr::from_ref(entry),
            entry.encoding(),
            // The type in front and the footer of a payload don't count.
            payload.len() - 1 - FOOTER,
            entry.access() & 0xff_ffff,
        );
        if let ValueRef::List(list) = entry.value() {
            let (nodes, bytes) =
                list.nodes().fold((0usize, 0), |(nodes, bytes), node| (nodes + 1, bytes + node_bytes(node)));
            // Writing to a string can't fail.
            let _ = write!(
                text,
                " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:0 ql_uncompressed_size:{bytes}",
                list.len() as f64 / nodes.max(1) as f64,
                limits.list_max_listpack_size,
            );
        }
        Ok(text)
    })?;
    cx.reply().simple(&text);
    Ok(())
}

/// Version and checksum behind a payload.
const FOOTER: usize = 2 + 8;

fn node_bytes(node: NodeRef<'_>) -> usize {
    match node {
        NodeRef::Packed(pack) => pack.byte_len(),
        NodeRef::Plain(element) => element.len(),
    }
}

/// Writes down the elements of a listpack.
fn describe(text: &mut String, pack: &Listpack) {
    // Writing to a string can't fail.
    let _ = writeln!(text, "{{total bytes {}}} {{num entries {}}}", pack.byte_len(), pack.len());
    for (index, item) in pack.iter().enumerate() {
        let _ = writeln!(text, "{index}: {}", item.to_vec().escape_ascii());
    }
}

/// DEBUG LISTPACK key
pub(super) fn listpack(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let text = look(cx, args.at(2), |entry| {
        let pack = match entry.value() {
            ValueRef::Hash(hash) => match hash.view() {
                HashView::Listpack(pack) => Some(pack),
                HashView::Table(_) => None,
            },
            ValueRef::Set(set) => match set.view() {
                SetView::Listpack(pack) => Some(pack),
                SetView::Intset(_) | SetView::Table(_) => None,
            },
            ValueRef::ZSet(zset) => match zset.view() {
                ZSetView::Listpack(pack) => Some(pack),
                ZSetView::Table(_) => None,
            },
            _ => None,
        };
        let pack = pack.ok_or(CommandError::text("ERR Not a listpack encoded object."))?;
        let mut text = "Listpack:\n".to_owned();
        describe(&mut text, pack);
        Ok(text)
    })?;
    log::notice(text.trim_end());
    cx.reply().simple("Listpack structure printed on stdout");
    Ok(())
}

/// DEBUG QUICKLIST key [0|1]
pub(super) fn quicklist(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let full = args.get(3).is_some_and(|level| level == b"1");
    let text = look(cx, args.at(2), |entry| {
        let ValueRef::List(list) = entry.value() else {
            return Err(CommandError::text("ERR Not a quicklist encoded object."));
        };
        // Writing to a string can't fail.
        let mut text = format!("Quicklist: {{count: {}}}\n", list.len());
        for (index, node) in list.nodes().enumerate() {
            let _ = writeln!(text, "{{quicklist node({index})}} {{bytes: {}}}", node_bytes(node));
            match node {
                NodeRef::Packed(pack) if full => describe(&mut text, pack),
                NodeRef::Plain(element) if full => {
                    let _ = writeln!(text, "{}", element.escape_ascii());
                }
                NodeRef::Packed(_) | NodeRef::Plain(_) => {}
            }
        }
        Ok(text)
    })?;
    log::notice(text.trim_end());
    cx.reply().simple("Quicklist structure printed on stdout");
    Ok(())
}

/// DEBUG SDSLEN key: the sizes of a key and of its string. A string lies in one piece with its entry, so there is
/// never room left in it.
pub(super) fn string_sizes(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let text = look(cx, args.at(2), |entry| match entry.value() {
        ValueRef::Str(string) => {
            let (key, value) = (entry.key().len(), string.text_len());
            Ok(format!(
                "key_sds_len:{key}, key_sds_avail:0, key_zmalloc: {}, val_sds_len:{value}, val_sds_avail:0, val_zmalloc: {}",
                size_class(key),
                size_class(value)
            ))
        }
        _ => Err(CommandError::text("ERR Not an sds encoded string.")),
    })?;
    cx.reply().simple(&text);
    Ok(())
}

/// DEBUG HTSTATS db
pub(super) fn table_of_database(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let number = args.int(2)?;
    let databases = cx.server.space.databases();
    let db = u16::try_from(number).ok().filter(|number| usize::from(*number) < databases).map(Db);
    let db = db.ok_or(CommandError::text("ERR Out of range database"))?;
    let (keys, volatile) = (cx.server.space.len(db), cx.server.space.volatile(db));
    let text = format!("[Dictionary HT]\n{}[Expires HT]\n{}", table_text(keys, None), table_text(volatile, None));
    cx.reply().verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// DEBUG HTSTATS-KEY key
pub(super) fn table_of_key(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let text = look(cx, args.at(2), |entry| {
        let value = entry.value();
        match value {
            ValueRef::Set(set) if matches!(set.view(), SetView::Table(_)) => {}
            ValueRef::Hash(hash) if matches!(hash.view(), HashView::Table(_)) => {}
            ValueRef::ZSet(zset) if zset.encoding() == "skiplist" => {}
            _ => {
                return Err(CommandError::text(
                    "ERR The value stored at the specified key is not represented using an hash table",
                ));
            }
        }
        Ok(table_text(value.elements(), Some(value.heap_bytes())))
    })?;
    cx.reply().verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// What there is to say of a table. Tables here grow piece by piece, so there is no second one that the first is
/// moved to, and no chains.
fn table_text(elements: usize, bytes: Option<usize>) -> String {
    let mut text = "Hash table 0 stats (main hash table):\n".to_owned();
    if elements == 0 {
        text.push_str("No stats available for empty dictionaries\n");
        return text;
    }
    // Writing to a string can't fail.
    let _ = writeln!(text, " number of elements: {elements}");
    if let Some(bytes) = bytes {
        let _ = writeln!(text, " bytes: {bytes}");
    }
    text
}

//! DEBUG OBJECT and its kin: how one value, or one database, lies in memory.

use std::fmt::Write as _;

use quorate_commands::{Args, CommandError, Outcome};
use quorate_keyspace::{Db, Record};
use quorate_values::{HashView, SetView, ValueRef, size_class};

use crate::data::call::Cx;

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

//! XDEL, XLEN and XSETID: single entries removed, entries counted, and what a stream keeps about itself set.

use quorate_values::stream::StreamId;

use super::{STREAM, ids, with_stream};
use crate::exec::as_stream;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Keys, Outcome, Run, Spec};

/// XDEL key id [id ...]
pub(crate) static XDEL: Spec = Spec {
    name: "xdel",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::DELETE)],
    summary: "Removes entries from a stream.",
    run: Run::Data(xdel),
    ..STREAM
};

/// XLEN key
pub(crate) static XLEN: Spec = Spec {
    name: "xlen",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::LOOK)],
    summary: "Counts the entries of a stream.",
    run: Run::Data(xlen),
    ..STREAM
};

/// XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]
pub(crate) static XSETID: Spec = Spec {
    name: "xsetid",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::UPDATE)],
    summary: "Sets the last id of a stream; for replication and the rewriting of files.",
    run: Run::Data(xsetid),
    ..STREAM
};

fn xlen(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let len = cx.stream(args.at(1))?.map_or(0, |stream| stream.len());
    cx.reply.int(len as i64);
    Ok(())
}

fn xdel(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    as_stream(cx.keys.find(cx.db, key))?;
    // All ids are looked at before anything changes.
    let ids = args.from(2).iter().map(|text| ids::strict(text)).collect::<Result<Vec<StreamId>, _>>()?;
    let deleted = with_stream(cx, key, |stream, _| {
        let (mut deleted, mut lost_first) = (0, false);
        for id in ids {
            if stream.delete(id) {
                deleted += 1;
                lost_first |= id == stream.first_id;
                stream.max_deleted_id = stream.max_deleted_id.max(id);
            }
        }
        if lost_first || deleted > 0 && stream.is_empty() {
            stream.refresh_first_id();
        }
        deleted
    })?;
    let deleted = deleted.unwrap_or(0);
    if deleted > 0 {
        cx.modified(key, deleted);
        cx.notify(Class::STREAM, "xdel", key);
    }
    cx.reply.count(deleted);
    Ok(())
}

fn xsetid(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let id = ids::strict(args.at(2))?;
    let (mut added, mut max_deleted) = (None, None);
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "ENTRIESADDED") && at + 1 < args.len() {
            const POSITIVE: CommandError = CommandError::text("ERR entries_added must be positive");
            added = Some(u64::try_from(args.int(at + 1)?).map_err(|_| POSITIVE)?);
        } else if args.is(at, "MAXDELETEDID") && at + 1 < args.len() {
            let deleted = ids::strict(args.at(at + 1))?;
            if id < deleted {
                const TEXT: &str = "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id";
                return Err(CommandError::text(TEXT));
            }
            max_deleted = Some(deleted);
        } else {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    let stream = as_stream(cx.keys.find(cx.db, key))?.ok_or(CommandError::NoSuchKey)?;
    if id < stream.max_deleted_id {
        const TEXT: &str = "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id";
        return Err(CommandError::text(TEXT));
    }
    if stream.last_entry_id().is_some_and(|last| id < last) {
        return Err(CommandError::text("ERR The ID specified in XSETID is smaller than the target stream top item"));
    }
    if added.is_some_and(|added| added < stream.len()) {
        const TEXT: &str = "ERR The entries_added specified in XSETID is smaller than the target stream length";
        return Err(CommandError::text(TEXT));
    }
    with_stream(cx, key, |stream, _| {
        stream.last_id = id;
        stream.entries_added = added.unwrap_or(stream.entries_added);
        stream.max_deleted_id = max_deleted.unwrap_or(stream.max_deleted_id);
    })?;
    cx.changed(1);
    cx.notify(Class::STREAM, "xsetid", key);
    cx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn single_entries_go_and_the_stream_stays() {
        let mut bench = Bench::new();
        bench.script(
            "XADD s 1-1 a b => 1-1
             XADD s 2-1 a b => 2-1
             XADD s 3-1 c d => 3-1",
        );
        bench.check("XDEL s 2-1 9-9 2-1", "1").propagates("XDEL s 2-1 9-9 2-1").notifies("xdel s");
        bench.check("XDEL s 2-1", "0").propagates("").check("XDEL none 1", "0").check("XDEL s 1-1 3-1", "2");
        bench.script(
            "XLEN s => 0
             XLEN none => 0
             EXISTS s => 1
             XDEL s x => ERR Invalid stream ID specified as stream command argument
             XADD s 3-1 a b => ERR The ID specified in XADD is equal or smaller than the target stream top item
             XADD s 4-1 a b => 4-1
             SET str v => OK
             XDEL str 1 => WRONGTYPE Operation against a key holding the wrong kind of value
             XLEN str => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }

    #[test]
    fn the_last_id_is_set_where_that_makes_sense() {
        let mut bench = Bench::new();
        bench.check("XADD s 5-1 a b", "5-1").check("XSETID s 200-0", "OK").propagates("XSETID s 200-0");
        bench.notifies("xsetid s").script(
            "XADD s 199 a b => ERR The ID specified in XADD is equal or smaller than the target stream top item
             XSETID s 5-0 => ERR The ID specified in XSETID is smaller than the target stream top item
             XSETID s 5-1 ENTRIESADDED 0 => ERR The entries_added specified in XSETID is smaller than the target stream length
             XSETID s 9 ENTRIESADDED -1 => ERR entries_added must be positive
             XSETID s 9 MAXDELETEDID 10 => ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id
             XSETID s 9 ENTRIESADDED => ERR syntax error
             XSETID s 9 ENTRIESADDED 7 MAXDELETEDID 8 => OK
             XSETID s 7 => ERR The ID specified in XSETID is smaller than current max_deleted_entry_id
             XSETID none 9 => ERR no such key",
        );
    }
}

//! RENAME, COPY and MOVE: a value under another name or in another database.

use quorate_keyspace::{Db, Entry};

use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const GENERIC: Spec = Spec { group: Group::Generic, ..Spec::BLANK };
const SAME: CommandError = CommandError::text("ERR source and destination objects are the same");

/// COPY source destination [DB db] [REPLACE]
pub(crate) static COPY: Spec = Spec {
    name: "copy",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::READ), (Keys::At(2), Access::OVERWRITE)],
    since: "6.2.0",
    complexity: "O(N) for N elements",
    summary: "Copies the value and the expiry of a key to another key.",
    run: Run::Data(copy),
    ..GENERIC
};

/// MOVE key db
pub(crate) static MOVE: Spec = Spec {
    name: "move",
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_UPDATE)],
    summary: "Moves a key to another database.",
    run: Run::Data(move_key),
    ..GENERIC
};

/// RENAME key newkey
pub(crate) static RENAME: Spec = Spec {
    name: "rename",
    arity: Arity::Exactly(3),
    flags: Flags::WRITE,
    keys: &[(Keys::At(1), Access::READ_DELETE), (Keys::At(2), Access::OVERWRITE)],
    summary: "Renames a key; what the new name held is removed.",
    run: Run::Data(rename),
    ..GENERIC
};

/// RENAMENX key newkey
pub(crate) static RENAMENX: Spec = Spec {
    name: "renamenx",
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ_DELETE), (Keys::At(2), Access::of(&["OW", "insert"]))],
    summary: "Renames a key if the new name is free.",
    run: Run::Data(renamenx),
    ..GENERIC
};

/// The entry under another name, with its expiry and its use.
fn renamed(entry: Entry, key: &[u8]) -> Entry {
    let (expiry, access) = (entry.expiry(), entry.access());
    let mut entry = Entry::new(key, entry.into_value());
    entry.set_expiry(expiry);
    entry.set_access(access);
    entry
}

fn rename(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (from, to) = (args.at(1), args.at(2));
    if from == to {
        cx.keys.find(cx.db, from).ok_or(CommandError::NoSuchKey)?;
    } else {
        rename_entry(cx, from, to)?;
    }
    cx.reply.ok();
    Ok(())
}

fn renamenx(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (from, to) = (args.at(1), args.at(2));
    cx.keys.find(cx.db, from).ok_or(CommandError::NoSuchKey)?;
    let free = cx.keys.find(cx.db, to).is_none();
    if free {
        rename_entry(cx, from, to)?;
    }
    cx.reply.int(i64::from(free));
    Ok(())
}

fn rename_entry(cx: &mut Exec<'_, '_>, from: &[u8], to: &[u8]) -> Outcome {
    let entry = cx.keys.remove(cx.db, from).ok_or(CommandError::NoSuchKey)?;
    cx.keys.settle(cx.db, to);
    cx.put_anew(cx.db, renamed(entry, to));
    cx.changed(1);
    cx.notify(Class::GENERIC, "rename_from", from);
    cx.notify(Class::GENERIC, "rename_to", to);
    Ok(())
}

/// The database that the argument at `index` names.
fn database(cx: &Exec<'_, '_>, args: Args<'_>, index: usize) -> Result<Db, CommandError> {
    let number = args.int32(index)?;
    let number = u16::try_from(number).ok().filter(|&number| usize::from(number) < cx.keys.space().databases());
    number.map(Db).ok_or(CommandError::text("ERR DB index is out of range"))
}

fn move_key(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let to = database(cx, args, 2)?;
    if to == cx.db {
        return Err(SAME);
    }
    let possible = cx.keys.find(cx.db, key).is_some() && cx.keys.find(to, key).is_none();
    if let Some(entry) = if possible { cx.keys.remove(cx.db, key) } else { None } {
        cx.put_anew(to, entry);
        cx.changed(1);
        cx.notify(Class::GENERIC, "move_from", key);
        cx.events.note(Class::GENERIC, "move_to", to, key);
    }
    cx.reply.int(i64::from(possible));
    Ok(())
}

fn copy(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (from, to) = (args.at(1), args.at(2));
    let (mut db, mut replace) = (cx.db, false);
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "REPLACE") {
            replace = true;
        } else if args.is(at, "DB") && at + 1 < args.len() {
            at += 1;
            db = database(cx, args, at)?;
        } else {
            return Err(CommandError::Syntax);
        }
        at += 1;
    }
    if from == to && db == cx.db {
        return Err(SAME);
    }
    let copy = cx.keys.read(cx.db, from).map(|entry| {
        let mut copy = Entry::new(to, entry.value().to_value());
        copy.set_expiry(entry.expiry());
        copy
    });
    let occupied = cx.keys.find(db, to).is_some();
    let Some(copy) = copy.filter(|_| replace || !occupied) else {
        cx.reply.int(0);
        return Ok(());
    };
    cx.put_anew(db, copy);
    cx.changed(1);
    cx.events.note(Class::GENERIC, "copy_to", db, to);
    cx.reply.int(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate_keyspace::Db;

    use crate::testing::Bench;

    #[test]
    fn a_renamed_key_keeps_its_value_and_expiry() {
        let mut bench = Bench::new();
        bench.check("SET a 1 EX 100", "OK").check("SET b 2", "OK");
        bench.check("RENAME a b", "OK").propagates("RENAME a b").notifies("rename_from a; rename_to b");
        bench.script(
            "GET b => 1
             TTL b => 100
             EXISTS a => 0
             RENAME a b => ERR no such key
             RENAME a a => ERR no such key
             RENAME b b => OK
             SET c 3 => OK
             RENAMENX b c => 0
             RENAMENX b b => 0
             RENAMENX b d => 1
             RENAMENX b d => ERR no such key
             TTL d => 100
             RENAME c d => OK
             TTL d => -1
             DBSIZE => 1",
        );
    }

    #[test]
    fn copies_go_to_other_keys_and_databases() {
        let mut bench = Bench::new();
        bench.check("HSET h f v", "1").check("EXPIRE h 100", "1").check("COPY h g", "1").propagates("COPY h g");
        bench.notifies("copy_to g");
        bench.script(
            "HSET h f w => 0
             HGET g f => v
             TTL g => 100
             COPY h g => 0
             COPY h g REPLACE => 1
             HGET g f => w
             COPY none g REPLACE => 0
             COPY h h => ERR source and destination objects are the same
             COPY h h DB 1 => 1
             COPY h x DB 99 => ERR DB index is out of range
             COPY h x DB x => ERR value is not an integer or out of range
             COPY h x FOO => ERR syntax error
             MOVE h 0 => ERR source and destination objects are the same
             MOVE h 99 => ERR DB index is out of range
             MOVE h x => ERR value is not an integer or out of range
             MOVE h 1 => 0
             MOVE none 1 => 0",
        );
        bench.check("MOVE g 1", "1").propagates("MOVE g 1").notifies("move_from g; move_to g");
        bench.db = Db(1);
        bench.check("HGET g f", "w").check("TTL g", "100").check("DBSIZE", "2");
    }
}

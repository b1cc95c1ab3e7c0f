//! FLUSHALL, FLUSHDB and SWAPDB: whole databases at once.
//!
//! They run while every other thread is quiet. What takes long is to free what was there, and that is done
//! when the others are at work again: on the freeing thread if the client asks for it (ASYNC).

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Origin, Outcome, Run, Spec};
use quorate_keyspace::{Db, Flushed, SlotSet};

use crate::data::call::{Cx, log_notices};

const FLUSHING: Spec = Spec {
    group: Group::Server,
    arity: Arity::AtLeast(1),
    flags: Flags::WRITE.and(Flags::ALONE).and(Flags::DANGEROUS),
    categories: &["keyspace"],
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    complexity: "O(N) for N keys",
    run: Run::Server,
    ..Spec::BLANK
};

/// FLUSHALL [ASYNC | SYNC]
pub static FLUSHALL: Spec = Spec { name: "flushall", summary: "Removes all keys of all databases.", ..FLUSHING };

/// FLUSHDB [ASYNC | SYNC]
pub static FLUSHDB: Spec = Spec { name: "flushdb", summary: "Removes all keys of the selected database.", ..FLUSHING };

/// SWAPDB index index
pub static SWAPDB: Spec = Spec {
    name: "swapdb",
    group: Group::Server,
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::FAST).and(Flags::ALONE).and(Flags::DANGEROUS),
    categories: &["keyspace"],
    since: "4.0.0",
    complexity: "O(1) for the number of keys",
    summary: "Lets two databases change places.",
    run: Run::Server,
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 3] =
    [(&FLUSHALL, &[("", flushall)]), (&FLUSHDB, &[("", flushdb)]), (&SWAPDB, &[("", swapdb)])];

/// Whether what was removed is freed on the freeing thread.
fn lazily(cx: &Cx<'_, '_>, args: Args<'_>) -> Result<bool, CommandError> {
    match args.len() {
        1 => Ok(cx.local.published.lazy_user_flush),
        2 if args.is(1, "SYNC") => Ok(false),
        2 if args.is(1, "ASYNC") => Ok(true),
        _ => Err(CommandError::Syntax),
    }
}

/// Takes what `db` holds out of it.
fn flush(cx: &mut Cx<'_, '_>, db: Db, lazily: bool) {
    let flushed: Flushed = cx.access.alone().flush(db);
    if cx.server.waiters.anybody_minds_loss() {
        let awaited = cx.access.alone().awaited_keys();
        cx.local.ready.extend(awaited.into_iter().filter(|(of, _)| *of == db));
    }
    cx.local.effects.changed(flushed.keys());
    if lazily || cx.origin == Origin::Replication {
        cx.server.space.reclaim().tables(flushed);
    } else {
        cx.local.flushed.push(flushed);
    }
}

fn flushdb(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let lazily = lazily(cx, args)?;
    flush(cx, cx.session.db, lazily);
    // Replicas hear of it even if there was nothing: theirs may hold something.
    cx.local.effects.force();
    cx.reply().ok();
    Ok(())
}

fn flushall(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let lazily = lazily(cx, args)?;
    for number in 0..cx.server.space.databases() {
        flush(cx, Db(number as u16), lazily);
    }
    if cx.server.persistence.flushed_all(cx.server, cx.access.alone()) {
        // What this command changed is saved already; it is counted when the command is done.
        let changed = i64::try_from(cx.local.effects.dirty()).unwrap_or(0);
        cx.server.saved_dirty.fetch_add(changed, std::sync::atomic::Ordering::Relaxed);
    }
    cx.local.effects.force();
    cx.reply().ok();
    Ok(())
}

/// Removes watched keys of either database whose time had come: what nobody could see is not changed by an exchange.
fn settle_watched(cx: &mut Cx<'_, '_>, swapped: [Db; 2]) {
    let watched = cx.access.alone().watched_keys();
    if watched.is_empty() {
        return;
    }
    let mut view = cx.access.view(SlotSet::None, cx.scope);
    for (_, key) in watched.iter().filter(|(db, _)| swapped.contains(db)) {
        for db in swapped {
            view.settle(db, key);
        }
    }
    if view.has_notices() {
        log_notices(cx.server, &mut view, cx.local);
    }
}

fn swapdb(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if cx.server.node().is_some() {
        return Err(CommandError::text("ERR SWAPDB is not allowed in cluster mode"));
    }
    let first = args.int32(1).map_err(|_| CommandError::text("ERR invalid first DB index"))?;
    let second = args.int32(2).map_err(|_| CommandError::text("ERR invalid second DB index"))?;
    let databases = cx.server.space.databases();
    let database = |number: i32| match usize::try_from(number) {
        Ok(index) if index < databases => Ok(Db(index as u16)),
        _ => Err(CommandError::text("ERR DB index is out of range")),
    };
    let (first, second) = (database(first)?, database(second)?);
    settle_watched(cx, [first, second]);
    let alone = cx.access.alone();
    alone.swap(first, second);
    // Clients that wait for a key may find it now; they are served behind this command in the log.
    cx.local.ready.extend(alone.awaited_keys());
    cx.local.effects.changed(1);
    cx.reply().ok();
    Ok(())
}

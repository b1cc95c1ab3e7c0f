//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: several commands as one.
//!
//! EXEC locks the union of its commands' slots, so nobody sees half of it; if one of its commands needs
//! the whole keyspace, so does EXEC.

use quorate_acl::Context;
use quorate_commands::{
    Access as KeyAccess, Args, Arity, CommandError, Flags, Group, Keys, Origin, Outcome, Run, Spec,
};
use quorate_keyspace::SlotSet;

use crate::admin::{monitor, slowlog};
use crate::data::blocked;
use crate::data::call::{After, Cx, End, Job, gather, gather_effects, log_notices, log_total, run_data, write_error};
use crate::data::client::{Client, Queued, Session, Transaction};
use crate::data::guard;
use crate::data::stats::Verdict;
use crate::data::table::{Command, Runner};
use crate::data::ticks::nanos;
use crate::data::tracking;
use crate::server::Server;

const BASE: Flags = Flags::NO_SCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::ALLOW_BUSY);

/// MULTI
pub static MULTI: Spec = Spec {
    name: "multi",
    group: Group::Transactions,
    arity: Arity::Exactly(1),
    flags: BASE,
    since: "1.2.0",
    summary: "Begins a transaction.",
    run: Run::Server,
    ..Spec::BLANK
};

/// EXEC
pub static EXEC: Spec = Spec {
    name: "exec",
    group: Group::Transactions,
    arity: Arity::Exactly(1),
    flags: Flags::NO_SCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::SKIP_SLOWLOG),
    since: "1.2.0",
    complexity: "Depends on the queued commands.",
    summary: "Runs what was queued since MULTI.",
    run: Run::Server,
    ..Spec::BLANK
};

/// DISCARD
pub static DISCARD: Spec = Spec {
    name: "discard",
    group: Group::Transactions,
    arity: Arity::Exactly(1),
    flags: BASE,
    since: "2.0.0",
    complexity: "O(N) in the number of queued commands.",
    summary: "Drops what was queued since MULTI.",
    run: Run::Server,
    ..Spec::BLANK
};

/// WATCH
pub static WATCH: Spec = Spec {
    name: "watch",
    group: Group::Transactions,
    arity: Arity::AtLeast(2),
    flags: BASE,
    keys: &[(Keys::Span { first: 1, last: -1, step: 1 }, KeyAccess::LOOK)],
    since: "2.2.0",
    complexity: "O(1) for every key.",
    summary: "Lets the next EXEC fail if one of the keys changes before it.",
    run: Run::Server,
    ..Spec::BLANK
};

/// UNWATCH
pub static UNWATCH: Spec = Spec {
    name: "unwatch",
    group: Group::Transactions,
    arity: Arity::Exactly(1),
    flags: BASE,
    since: "2.2.0",
    summary: "Forgets all watched keys.",
    run: Run::Server,
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 5] = [
    (&MULTI, &[("", multi)]),
    (&EXEC, &[("", exec)]),
    (&DISCARD, &[("", discard)]),
    (&WATCH, &[("", watch)]),
    (&UNWATCH, &[("", unwatch)]),
];

fn multi(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    if cx.session.transaction.is_some() {
        return Err(CommandError::text("ERR MULTI calls can not be nested"));
    }
    cx.session.transaction = Some(Box::<Transaction>::default());
    cx.reply().ok();
    Ok(())
}

fn discard(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    if cx.session.transaction.take().is_none() {
        return Err(CommandError::text("ERR DISCARD without MULTI"));
    }
    forget_watched(cx);
    cx.reply().ok();
    Ok(())
}

fn watch(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if cx.session.transaction.is_some() {
        return Err(CommandError::text("ERR WATCH inside MULTI is not allowed"));
    }
    let db = cx.session.db;
    let watch = cx.session.watch.get_or_insert_default();
    let slots = SlotSet::of_keys(args.from(1).iter().copied());
    let busy = || cx.server.scripts.is_busy();
    let Some(mut view) = cx.access.view_unless(slots, cx.scope, busy) else {
        return Err(cx.server.scripts.busy_error());
    };
    for key in args.from(1) {
        if watch.keys.iter().any(|(at, name, _)| *at == db && **name == **key) {
            continue;
        }
        // What has expired goes now, where that is ours to do: its end is no change that came later.
        view.settle(db, key);
        // A key that has expired already may be removed without having changed for us.
        let expired = view.peek_raw(db, key).is_some() && view.peek(db, key).is_none();
        view.watch(db, key, &watch.flag);
        watch.keys.push((db, (*key).into(), expired));
        watch.bytes += key.len();
    }
    if view.has_notices() {
        log_notices(cx.server, &mut view, cx.local);
    }
    drop(view);
    cx.reply().ok();
    Ok(())
}

fn unwatch(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    forget_watched(cx);
    cx.reply().ok();
    Ok(())
}

/// Ends the client's watching.
pub fn forget_watched(cx: &mut Cx<'_, '_>) {
    if let Some(watch) = cx.session.watch.take() {
        crate::data::dispatch::unwatch(&watch, &mut cx.access, cx.scope);
    }
}

fn exec(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let Some(transaction) = cx.session.transaction.take() else {
        return Err(CommandError::text("ERR EXEC without MULTI"));
    };
    if transaction.broken {
        forget_watched(cx);
        return Err(CommandError::text("EXECABORT Transaction discarded because of previous errors."));
    }
    let queue = &transaction.queue;
    let plain = queue.iter().all(|queued| matches!(queued.command.runner, Runner::Data(_)));
    let slots = slots_of(cx, queue);
    if plain {
        exec_plain(cx, queue, slots)
    } else {
        exec_alone(cx, queue)
    }
    if cx.local.after == After::Again {
        cx.session.transaction = Some(transaction);
    }
    Ok(())
}

/// The slots of all queued commands and of the watched keys.
fn slots_of(cx: &Cx<'_, '_>, queue: &[Queued]) -> SlotSet {
    let mut keys: Vec<&[u8]> = Vec::new();
    for queued in queue {
        let words: Vec<&[u8]> = queued.words.iter().map(Vec::as_slice).collect();
        for index in queued.command.spec.key_indices(Args::new(&words)) {
            keys.push(&queued.words[index]);
        }
    }
    if let Some(watch) = &cx.session.watch {
        keys.extend(watch.keys.iter().map(|(_, key, _)| &**key));
    }
    SlotSet::of_keys(keys.into_iter())
}

/// On whose behalf the commands of a transaction run.
fn nested(outer: Origin) -> Origin {
    match outer {
        Origin::Replication => Origin::Replication,
        Origin::Client | Origin::Transaction | Origin::Script => Origin::Transaction,
    }
}

/// Runs commands on keys under one view of all their slots.
fn exec_plain(cx: &mut Cx<'_, '_>, queue: &[Queued], slots: SlotSet) {
    let watch = cx.session.watch.take();
    let (server, local, session) = (cx.server, &mut *cx.local, &mut *cx.session);
    let gives_up = || matches!(cx.origin, Origin::Client | Origin::Replication) && server.scripts.is_busy();
    let Some(mut view) = cx.access.view_unless(slots, cx.scope, gives_up) else {
        session.watch = watch;
        if cx.origin == Origin::Replication {
            // What our primary has done is done here too, later.
            local.after = After::Again;
            return;
        }
        let busy = server.scripts.busy_error();
        let text = format!("EXECABORT Transaction discarded because of: {busy}");
        return write_error(cx.out, cx.out.len(), &CommandError::Bytes(text.into_bytes()), &local.stats);
    };
    if let Some(watch) = &watch {
        let changed = has_changed(watch, &view);
        for (_, key, _) in &watch.keys {
            view.unwatch(key, &watch.flag);
        }
        if changed {
            drop(view);
            cx.reply().null_array();
            return;
        }
    }
    local.total.clear();
    quorate_resp::push_multibulk(cx.out, queue.len());
    for queued in queue {
        let words: Vec<&[u8]> = queued.words.iter().map(Vec::as_slice).collect();
        let args = Args::new(&words);
        let Runner::Data(run) = queued.command.runner else { unreachable!("only plain commands come here") };
        if let Some(error) = denied(server, cx.client, session, queued.command, args) {
            write_error(cx.out, cx.out.len(), &error, &local.stats);
            continue;
        }
        let job = Job {
            spec: queued.command.spec,
            run,
            args,
            db: session.db,
            protocol: session.protocol,
            origin: nested(cx.origin),
        };
        let started = std::time::Instant::now();
        let end = run_data(&mut view, local, &job, cx.out);
        if session.tracking.is_some() {
            tracking::remember(&mut view, cx.client, session, queued.command, args);
        }
        let verdict = if matches!(end, End::Failed) { Verdict::Failed } else { Verdict::Done };
        let elapsed = nanos(started.elapsed());
        local.called(queued.command, elapsed, verdict);
        slowlog::note(server, session, local, queued.command, args, elapsed);
        monitor::show(server, session, queued.command, args, Origin::Transaction);
        local.stats.dirty.add(local.effects.dirty() as i64);
        gather_effects(&mut view, local, session.db, args);
    }
    log_total(server, local);
    let later = blocked::serve(server, local, &mut view);
    drop(view);
    local.effects.clear();
    if !later.is_empty() {
        blocked::serve_later(server, local, cx.access.reborrow(), cx.scope, later);
        local.effects.clear();
    }
}

/// What the client's user may not do any more, though it could when it was queued.
fn denied(
    server: &Server,
    client: &Client,
    session: &Session,
    command: &Command,
    args: Args<'_>,
) -> Option<CommandError> {
    if session.unrestricted {
        return None;
    }
    let refusal = guard::judge(session, command, args)?;
    Some(guard::explain(server, client, session, command, args, (refusal, Context::Multi)))
}

/// Whether a watched key has changed, or expired since it was watched.
fn has_changed(watch: &crate::data::client::Watch, view: &quorate_keyspace::KeyView<'_>) -> bool {
    watch.flag.load(std::sync::atomic::Ordering::Acquire)
        || watch.keys.iter().any(|(db, key, was_expired)| {
            !was_expired && view.peek_raw(*db, key).is_some() && view.peek(*db, key).is_none()
        })
}

/// Runs commands of any kind while alone.
fn exec_alone(cx: &mut Cx<'_, '_>, queue: &[Queued]) {
    if let Some(watch) = cx.session.watch.take() {
        let mut view = cx.access.view(SlotSet::None, cx.scope);
        let changed = has_changed(&watch, &view);
        for (_, key, _) in &watch.keys {
            view.unwatch(key, &watch.flag);
        }
        drop(view);
        if changed {
            cx.reply().null_array();
            return;
        }
    }
    cx.local.total.clear();
    quorate_resp::push_multibulk(cx.out, queue.len());
    for queued in queue {
        let words: Vec<&[u8]> = queued.words.iter().map(Vec::as_slice).collect();
        let (origin, args) = (nested(cx.origin), Args::new(&words));
        match denied(cx.server, cx.client, cx.session, queued.command, args) {
            Some(error) => write_error(cx.out, cx.out.len(), &error, &cx.local.stats),
            None => run_nested(cx, queued.command, args, origin, true),
        }
    }
    log_total(cx.server, cx.local);
    cx.local.effects.clear();
}

/// Runs a command within another one's context, while alone; its effects join those of the whole.
pub fn run_nested(
    cx: &mut Cx<'_, '_>,
    command: &'static crate::data::table::Command,
    args: Args<'_>,
    origin: Origin,
    replicates: bool,
) {
    let started = std::time::Instant::now();
    let db = cx.session.db;
    let mut verdict = Verdict::Done;
    match command.runner {
        Runner::Data(run) => {
            let job = Job { spec: command.spec, run, args, db, protocol: cx.session.protocol, origin };
            let mut view = cx.access.view(SlotSet::None, cx.scope);
            if matches!(run_data(&mut view, cx.local, &job, cx.out), End::Failed) {
                verdict = Verdict::Failed;
            }
            // What a script reads is noted as what it declares.
            if cx.session.tracking.is_some() && origin != Origin::Script {
                tracking::remember(&mut view, cx.client, cx.session, command, args);
            }
            cx.local.stats.dirty.add(cx.local.effects.dirty() as i64);
            if !replicates {
                cx.local.effects.clear();
            }
            gather_effects(&mut view, cx.local, db, args);
            // Who waits is served when the whole is in the log: what it does then comes behind it.
            cx.local.ready.extend(view.take_ready());
        }
        Runner::Server(run) => {
            let start = cx.out.len();
            cx.local.effects.clear();
            let outer = (std::mem::replace(&mut cx.command, command), std::mem::replace(&mut cx.origin, origin));
            let outcome = run(cx, args);
            (cx.command, cx.origin) = outer;
            if let Err(error) = outcome {
                write_error(cx.out, start, &error, &cx.local.stats);
                verdict = Verdict::Failed;
            }
            if std::mem::take(&mut cx.local.after) == After::Failed {
                verdict = Verdict::Failed;
            }
            cx.local.stats.dirty.add(cx.local.effects.dirty() as i64);
            if replicates {
                gather(cx.local, db, args);
            }
        }
        Runner::Container => unreachable!("a container is resolved to its subcommand before it is queued"),
    }
    let elapsed = nanos(started.elapsed());
    cx.local.called(command, elapsed, verdict);
    slowlog::note(cx.server, cx.session, cx.local, command, args, elapsed);
    monitor::show(cx.server, cx.session, command, args, origin);
}

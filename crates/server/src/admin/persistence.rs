//! SAVE, BGSAVE, LASTSAVE: the dataset's file; and BGREWRITEAOF: the append-only one.

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Origin, Outcome, Run, Spec};

use crate::data::call::Cx;
use crate::persist::aof::rewriter::Asked;

const SAVING: Spec = Spec {
    group: Group::Server,
    flags: Flags::ADMIN.and(Flags::NO_SCRIPT).and(Flags::NO_ASYNC_LOADING).and(Flags::ALONE),
    complexity: "O(N) for N keys",
    run: Run::Server,
    ..Spec::BLANK
};

/// SAVE
pub static SAVE: Spec = Spec {
    name: "save",
    arity: Arity::Exactly(1),
    flags: SAVING.flags.and(Flags::NO_MULTI),
    summary: "Saves the dataset while everybody waits.",
    ..SAVING
};

/// BGSAVE [SCHEDULE]
pub static BGSAVE: Spec = Spec {
    name: "bgsave",
    arity: Arity::AtLeast(1),
    complexity: "O(1)",
    summary: "Saves the dataset in the background.",
    ..SAVING
};

/// LASTSAVE
pub static LASTSAVE: Spec = Spec {
    name: "lastsave",
    group: Group::Server,
    arity: Arity::Exactly(1),
    flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
    categories: &["admin", "dangerous"],
    tips: &["nondeterministic_output"],
    summary: "Returns when the dataset was last saved.",
    run: Run::Server,
    ..Spec::BLANK
};

/// BGREWRITEAOF
pub static BGREWRITEAOF: Spec = Spec {
    name: "bgrewriteaof",
    arity: Arity::Exactly(1),
    flags: SAVING.flags,
    complexity: "O(1)",
    summary: "Rewrites the append-only file in the background.",
    ..SAVING
};

pub(super) static RUNS: [super::Entry; 4] = [
    (&SAVE, &[("", save)]),
    (&BGSAVE, &[("", bgsave)]),
    (&LASTSAVE, &[("", last_save)]),
    (&BGREWRITEAOF, &[("", rewrite_append_only_file)]),
];

const IN_PROGRESS: CommandError = CommandError::text("ERR Background save already in progress");

fn save(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    if cx.server.persistence.is_walking() {
        return Err(IN_PROGRESS);
    }
    // The log says why; a client has always got no more than this.
    cx.server.persistence.save_now(cx.server, cx.access.alone()).map_err(|_| CommandError::text("ERR"))?;
    cx.reply().ok();
    Ok(())
}

fn bgsave(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let schedule = match args.len() {
        1 => false,
        2 if args.is(1, "SCHEDULE") => true,
        _ => return Err(CommandError::Syntax),
    };
    let persistence = &cx.server.persistence;
    let waits = cx.origin == Origin::Transaction || (schedule && persistence.is_walking());
    if waits {
        persistence.schedule();
        cx.reply().simple("Background saving scheduled");
    } else if persistence.begin(cx.server, cx.access.alone()) {
        cx.reply().simple("Background saving started");
    } else if cx.server.aof.has_current() {
        return Err(CommandError::text(
            "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a \
             BGSAVE whenever possible.",
        ));
    } else {
        return Err(IN_PROGRESS);
    }
    Ok(())
}

fn rewrite_append_only_file(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    match cx.server.aof.ask(cx.server, cx.origin == Origin::Transaction) {
        Asked::Started => cx.reply().simple("Background append only file rewriting started"),
        Asked::Scheduled => cx.reply().simple("Background append only file rewriting scheduled"),
        Asked::Already => {
            return Err(CommandError::text("ERR Background append only file rewriting already in progress"));
        }
    }
    Ok(())
}

fn last_save(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let seconds = cx.server.persistence.last_save().seconds();
    cx.reply().int(seconds);
    Ok(())
}

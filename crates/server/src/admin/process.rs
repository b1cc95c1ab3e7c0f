//! SHUTDOWN and TIME.

use std::time::Duration;

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Origin, Outcome, Run, Spec};
use quorate_config::{Saving, ShutdownOptions};

use crate::data::call::Cx;
use crate::data::client::Blocked;
use crate::shutdown;

/// SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]
pub static SHUTDOWN: Spec = Spec {
    name: "shutdown",
    group: Group::Server,
    arity: Arity::AtLeast(1),
    flags: Flags::ADMIN
        .and(Flags::NO_SCRIPT)
        .and(Flags::LOADING)
        .and(Flags::STALE)
        .and(Flags::NO_MULTI)
        .and(Flags::SENTINEL)
        .and(Flags::ALLOW_BUSY)
        .and(Flags::ALONE),
    since: "1.0.0",
    complexity: "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
    summary: "Saves the dataset if it is to be saved, and ends the server.",
    run: Run::Server,
    ..Spec::BLANK
};

/// TIME
pub static TIME: Spec = Spec {
    name: "time",
    group: Group::Server,
    arity: Arity::Exactly(1),
    flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
    tips: &["nondeterministic_output"],
    since: "2.6.0",
    summary: "Returns the server's clock: seconds, and microseconds of the second.",
    run: Run::Server,
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 2] = [(&SHUTDOWN, &[("", shutdown)]), (&TIME, &[("", time)])];

fn shutdown(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let mut options = ShutdownOptions::default();
    let (mut save, mut nosave, mut abort) = (false, false, false);
    for index in 1..args.len() {
        match args.at(index).to_ascii_lowercase().as_slice() {
            b"save" => save = true,
            b"nosave" => nosave = true,
            b"now" => options.now = true,
            b"force" => options.force = true,
            b"abort" => abort = true,
            _ => return Err(CommandError::Syntax),
        }
    }
    if (abort && args.len() > 2) || (save && nosave) {
        return Err(CommandError::Syntax);
    }
    if abort {
        if !shutdown::abort(cx.server) {
            return Err(CommandError::text("ERR No shutdown in progress."));
        }
        cx.reply().ok();
        return Ok(());
    }
    options.save = match (save, nosave) {
        (true, _) => Saving::Always,
        (_, true) => Saving::Never,
        _ => Saving::IfConfigured,
    };
    cx.session.blocked = Some(Blocked::OnAnswer { until: None });
    shutdown::begin(cx.server, options, Some(cx.client));
    Ok(())
}

fn time(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let since = match cx.origin {
        // Within a script time stands still.
        Origin::Script => Duration::from_millis(u64::try_from(cx.now.unix.0).unwrap_or(0)),
        _ => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default(),
    };
    let mut reply = cx.reply();
    reply.array(2);
    reply.bulk(since.as_secs().to_string().as_bytes());
    reply.bulk(since.subsec_micros().to_string().as_bytes());
    Ok(())
}

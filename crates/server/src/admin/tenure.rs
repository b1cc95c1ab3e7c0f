//! TENURE: what Sentinels of ours say to a primary, a few dozen times a second; see `replication/tenure.rs`.

use std::time::Duration;

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec};
use quorate_replication::tenure::{Confirmation, Input};
use quorate_stdx::{Mono, ReplId};

use crate::data::call::Cx;
use crate::server::Server;

const ANYTIME: Flags = Flags::ADMIN.and(Flags::NO_SCRIPT).and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST);

const fn sub(name: &'static str, arity: Arity, summary: &'static str) -> Spec {
    Spec { name, group: Group::Server, arity, flags: ANYTIME, since: "7.2.0", summary, run: Run::Server, ..Spec::BLANK }
}

static CONFIRM: Spec = sub("confirm", Arity::Exactly(7), "Confirms that this server is the primary, for a while.");
static HELP: Spec = sub("help", Arity::Exactly(2), "Explains the subcommands.");

/// TENURE
pub static TENURE: Spec = Spec {
    name: "tenure",
    group: Group::Server,
    arity: Arity::AtLeast(2),
    subcommands: &[&CONFIRM, &HELP],
    since: "7.2.0",
    complexity: "O(N) in the number of monitors.",
    summary: "A container for what monitors say of a primary's tenure.",
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(&TENURE, &[("confirm", confirm), ("help", help)])];

/// TENURE CONFIRM: who says so, and the stamp that it is to show the next time.
///
/// # Errors
/// An argument is none.
pub fn take_confirmation(server: &Server, args: Args<'_>) -> Result<(ReplId, Mono), CommandError> {
    let by = monitor(args)?;
    let number = |index| {
        let number =
            args.int_within(index, 0, i64::MAX, CommandError::text("ERR value is not an integer or out of range"));
        number.map(|number| number as u64)
    };
    let confirmation = Confirmation {
        by,
        monitors: u32::try_from(number(3)?).unwrap_or(u32::MAX),
        term: Duration::from_millis(number(4)?),
        patience: Duration::from_millis(number(5)?),
        stamp: Mono(number(6)?),
    };
    server.tenure.submit(server, Input::Confirmed(confirmation));
    Ok((by, server.mono()))
}

fn monitor(args: Args<'_>) -> Result<ReplId, CommandError> {
    ReplId::parse(args.at(2)).ok_or(CommandError::text("ERR the id of a monitor has 40 hexadecimal digits"))
}

fn confirm(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let (_, stamp) = take_confirmation(cx.server, args)?;
    cx.reply().int(stamp.0 as i64);
    Ok(())
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(
        cx,
        "TENURE",
        &[
            "CONFIRM <monitor-id> <monitors> <term-ms> <patience-ms> <stamp>",
            "    One of so many monitors confirms that this server is the primary, for so long after the stamp, which is the",
            "    reply to its last confirmation, or 0. It does not give the connection up within its patience.",
        ],
    );
    Ok(())
}

//! CLIENT PAUSE, UNPAUSE and UNBLOCK: who waits, and for how long.

use quorate_commands::{Args, CommandError, Outcome};
use quorate_stdx::UnixMs;

use crate::data::call::Cx;
use crate::data::client::ClientId;
use crate::data::worker::Mail;
use crate::server::Pause;

pub(super) fn pause(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if args.len() > 4 {
        return Err(CommandError::Syntax);
    }
    let all = match args.get(3) {
        None => true,
        Some(_) if args.is(3, "ALL") => true,
        Some(_) if args.is(3, "WRITE") => false,
        Some(_) => return Err(CommandError::text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let millis = args.int(2).map_err(|_| CommandError::text("ERR timeout is not an integer or out of range"))?;
    if millis < 0 {
        return Err(CommandError::text("ERR timeout is negative"));
    }
    let until = cx.now.unix.0.checked_add(millis).ok_or(CommandError::text("ERR timeout is out of range"))?;
    cx.server.publish(|published| published.pause = Some(Pause { until: UnixMs(until), all }));
    cx.reply().ok();
    Ok(())
}

pub(super) fn unpause(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    cx.server.publish(|published| published.pause = None);
    for worker in 0..cx.server.workers.get().map_or(0, Vec::len) {
        cx.server.mail(worker, Mail::Resume);
    }
    cx.reply().ok();
    Ok(())
}

pub(super) fn unblock(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let with_error = match args.get(3) {
        None => false,
        Some(_) if args.is(3, "TIMEOUT") && args.len() == 4 => false,
        Some(_) if args.is(3, "ERROR") && args.len() == 4 => true,
        Some(_) => return Err(CommandError::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    let id = ClientId(u64::try_from(args.int(2)?).unwrap_or(0));
    let error = with_error.then_some(UNBLOCKED);
    let unblocked = cx.server.waiters.unblock(cx.server, id, error) || cx.server.control.end_wait(cx.server, id, error);
    cx.reply().int(i64::from(unblocked));
    Ok(())
}

const UNBLOCKED: &[u8] = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";

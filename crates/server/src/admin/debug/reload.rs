//! DEBUG RELOAD and LOADAOF: the dataset out of the process and in again.

use quorate_commands::{Args, CommandError, Outcome};
use quorate_keyspace::Db;

use crate::data::call::Cx;
use crate::log;
use crate::persist::load::{Conflict, load_alone};
use crate::persist::{aof, boot};

/// DEBUG RELOAD [NOSAVE] [NOFLUSH] [MERGE]
pub(super) fn reload(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let (mut save, mut flush, mut conflict) = (true, true, Conflict::Refuse);
    for index in 2..args.len() {
        if args.is(index, "NOSAVE") {
            save = false;
        } else if args.is(index, "NOFLUSH") {
            flush = false;
        } else if args.is(index, "MERGE") {
            conflict = Conflict::Replace;
        } else {
            return Err(CommandError::text("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."));
        }
    }
    let server = cx.server;
    let alone = cx.access.alone();
    if save {
        server.persistence.save_now(server, alone).map_err(|_| CommandError::text("ERR"))?;
    }
    // Without a file there is nothing to come back, so nothing is emptied either.
    let failed = |why: String| {
        log::warning(&format!("DEBUG RELOAD: {why}"));
        CommandError::text("ERR Error trying to load the RDB dump, check server logs.")
    };
    let input = boot::open(server).map_err(|error| failed(error.to_string()))?;
    if flush {
        for number in 0..server.space.databases() as u16 {
            server.space.reclaim().tables(alone.flush(Db(number)));
        }
    }
    let drop_expired = cx.local.published.role == crate::server::Role::Primary;
    let loaded = load_alone(server, alone, input, drop_expired, conflict).map_err(|error| failed(error.to_string()))?;
    server.took_over(&loaded);
    log::warning("DB reloaded by DEBUG RELOAD");
    cx.reply().ok();
    Ok(())
}

/// DEBUG LOADAOF
pub(super) fn append_only_file(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let server = cx.server;
    if let Err(error) = aof::start::reload(server, cx.access.alone()) {
        log::warning(&format!("DEBUG LOADAOF: {error}"));
        return Err(CommandError::text("ERR Error trying to load the AOF files, check server logs."));
    }
    log::warning("Append Only File loaded by DEBUG LOADAOF");
    cx.reply().ok();
    Ok(())
}

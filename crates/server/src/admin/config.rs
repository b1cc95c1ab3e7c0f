//! CONFIG: what the configuration is, what it shall be, and what of it the file says.

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec};
use quorate_config::{Change, Conditions, Scope};

use crate::apply;
use crate::data::call::Cx;
use crate::data::client_memory;
use crate::data::table::ServerRun;
use crate::data::tracking;
use crate::log;
use crate::process::plain;
use crate::server::{Loading, Server};
use crate::users;

const ANYTIME: Flags = Flags::ADMIN.and(Flags::NO_SCRIPT).and(Flags::LOADING).and(Flags::STALE);
const HELPS: Flags = Flags::LOADING.and(Flags::STALE);

const fn sub(name: &'static str, arity: Arity, flags: Flags, since: &'static str, summary: &'static str) -> Spec {
    Spec { name, group: Group::Server, arity, flags, since, summary, run: Run::Server, ..Spec::BLANK }
}

static GET: Spec = Spec {
    complexity: "O(N) where N is the number of directives times that of patterns",
    ..sub("get", Arity::AtLeast(3), ANYTIME, "2.0.0", "Returns the values of directives.")
};
static SET: Spec = Spec {
    complexity: "O(N) where N is the number of directives",
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    ..sub("set", Arity::AtLeast(4), ANYTIME.and(Flags::ALONE), "2.0.0", "Changes directives while the server runs.")
};
static REWRITE: Spec = Spec {
    ..sub("rewrite", Arity::Exactly(2), ANYTIME, "2.8.0", "Writes what is in force into the configuration file.")
};
static RESETSTAT: Spec = Spec {
    ..sub("resetstat", Arity::Exactly(2), ANYTIME.and(Flags::ALONE), "2.0.0", "Sets the statistics of INFO to zero.")
};
static HELP: Spec = sub("help", Arity::Exactly(2), HELPS, "5.0.0", "Describes the subcommands.");

/// CONFIG
pub static CONFIG: Spec = Spec {
    name: "config",
    group: Group::Server,
    arity: Arity::AtLeast(2),
    subcommands: &[&GET, &HELP, &RESETSTAT, &REWRITE, &SET],
    since: "2.0.0",
    complexity: "Depends on subcommand.",
    summary: "A container for server configuration commands.",
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(&CONFIG, &SUBCOMMANDS)];

static SUBCOMMANDS: [(&str, ServerRun); 5] =
    [("get", get), ("set", set), ("rewrite", rewrite), ("resetstat", resetstat), ("help", help)];

fn get(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let found = quorate_config::get(&cx.server.config.load(), args.from(2));
    let mut reply = cx.reply();
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name.as_bytes());
        reply.bulk(&value);
    }
    Ok(())
}

fn set(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let (pairs, rest) = args.from(2).as_chunks::<2>();
    if !rest.is_empty() {
        return Err(CommandError::Syntax);
    }
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|&[name, value]| (name, value)).collect();
    let conditions =
        Conditions { loading: cx.local.published.loading != Loading::No, local: cx.session.peer.is_local() };
    let change = Change::of(&cx.server.config.load(), &pairs, conditions);
    change
        .and_then(|change| apply::apply(cx.server, &change))
        .map_err(|error| CommandError::Bytes(error.to_string().into_bytes()))?;
    if pairs.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"requirepass")) {
        users::bring_up_to_date(cx.server, (cx.client, &mut *cx.session), |_| false);
    }
    let published = cx.server.published();
    // Whoever asks after this sees that the limits hold.
    tracking::limit_alone(cx.server, cx.access.alone(), cx.scope, published.tracked_keys_max);
    cx.with_output_in_place(|cx| {
        let own = Some((cx.client, &mut *cx.session));
        client_memory::make_room(cx.server, &published, cx.access.alone(), own, cx.now)
    });
    cx.reply().ok();
    Ok(())
}

fn rewrite(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    rewrite_file(cx.server, Scope::Changed)?;
    cx.reply().ok();
    Ok(())
}

/// Writes the configuration into its file, for CONFIG REWRITE and for DEBUG CONFIG-REWRITE-FORCE-ALL.
///
/// # Errors
/// There is no file, or it can't be written.
pub fn rewrite_file(server: &Server, scope: Scope) -> Outcome {
    let Some(path) = &server.config_file else {
        return Err(CommandError::text("ERR The server is running without a config file"));
    };
    let config = server.config.load();
    let users = server.published().users.clone();
    let kept = users::KeptLines::of(&config, &users, users::terms(&config));
    match quorate_config::rewrite(path, &config, scope, kept.lines()) {
        Ok(()) => {
            log::notice("CONFIG REWRITE executed with success.");
            Ok(())
        }
        Err(error) => {
            log::warning(&format!("CONFIG REWRITE failed: {}", plain(&error)));
            Err(CommandError::Bytes(format!("ERR Rewriting config file: {}", plain(&error)).into_bytes()))
        }
    }
}

fn resetstat(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    cx.server.reset_statistics();
    cx.reply().ok();
    Ok(())
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(
        cx,
        "CONFIG",
        &[
            "GET <pattern>",
            "    Return parameters matching the glob-like <pattern> and their values.",
            "SET <directive> <value>",
            "    Set the configuration <directive> to <value>.",
            "RESETSTAT",
            "    Reset statistics reported by the INFO command.",
            "REWRITE",
            "    Rewrite the configuration file.",
        ],
    );
    Ok(())
}

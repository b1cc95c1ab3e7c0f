//! FCALL and FUNCTION: functions that are kept in libraries.

use std::sync::Arc;

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec};
use quorate_formats::dump;
use quorate_formats::rdb::{ReadOptions, WriteOptions};
use quorate_resp::ReplyWriter;
use quorate_scripting::Library;
use quorate_values::{Case, glob_matches};

use crate::admin::script::{self, Program};
use crate::data::call::Cx;
use crate::data::functions::{Reader, Shelf, options};
use crate::data::scripts::Kind;
use crate::data::table::ServerRun;

const fn calling(name: &'static str, reads_only: bool, summary: &'static str) -> Spec {
    Spec { name, since: "7.0.0", summary, ..script::running(reads_only) }
}

/// FCALL function numkeys [key ...] [arg ...]
pub static FCALL: Spec = calling("fcall", false, "Calls a function.");
/// FCALL_RO function numkeys [key ...] [arg ...]
pub static FCALL_RO: Spec = calling("fcall_ro", true, "Calls a function that only reads.");

const fn sub(name: &'static str, arity: Arity, flags: Flags, summary: &'static str) -> Spec {
    Spec { name, group: Group::Scripting, arity, flags, since: "7.0.0", summary, run: Run::Server, ..Spec::BLANK }
}

const CHANGE: Flags = Flags::NO_SCRIPT.and(Flags::WRITE).and(Flags::ALONE);

static DELETE: Spec = sub("delete", Arity::Exactly(3), CHANGE, "Removes a library.")
    .with_tips(&["request_policy:all_shards", "response_policy:all_succeeded"]);
static DUMP: Spec = sub("dump", Arity::Exactly(2), Flags::NO_SCRIPT, "Returns all libraries in a form for RESTORE.");
static FLUSH: Spec = sub("flush", Arity::AtLeast(2), CHANGE, "Removes all libraries.")
    .with_tips(&["request_policy:all_shards", "response_policy:all_succeeded"]);
static HELP: Spec = sub("help", Arity::Exactly(2), Flags::LOADING.and(Flags::STALE), "Explains the subcommands.");
static KILL: Spec = sub(
    "kill",
    Arity::Exactly(2),
    Flags::NO_SCRIPT.and(Flags::ALLOW_BUSY),
    "Ends the functions that run and have not written.",
)
.with_tips(&["request_policy:all_shards", "response_policy:one_succeeded"]);
static LIST: Spec = sub("list", Arity::AtLeast(2), Flags::NO_SCRIPT, "Tells which libraries there are.")
    .with_tips(&["nondeterministic_output_order"]);
static LOAD: Spec = sub("load", Arity::AtLeast(3), CHANGE.and(Flags::DENY_OOM), "Adds a library.")
    .with_tips(&["request_policy:all_shards", "response_policy:all_succeeded"]);
static RESTORE: Spec =
    sub("restore", Arity::AtLeast(3), CHANGE.and(Flags::DENY_OOM), "Adds the libraries that DUMP returned.")
        .with_tips(&["request_policy:all_shards", "response_policy:all_succeeded"]);
static STATS: Spec =
    sub("stats", Arity::Exactly(2), Flags::NO_SCRIPT.and(Flags::ALLOW_BUSY), "Tells which function is busy.")
        .with_tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]);

/// FUNCTION
pub static FUNCTION: Spec = Spec {
    name: "function",
    group: Group::Scripting,
    arity: Arity::AtLeast(2),
    subcommands: &[&DELETE, &DUMP, &FLUSH, &HELP, &KILL, &LIST, &LOAD, &RESTORE, &STATS],
    since: "7.0.0",
    complexity: "Depends on subcommand.",
    summary: "A container for commands on functions.",
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 3] =
    [(&FCALL, &[("", fcall)]), (&FCALL_RO, &[("", fcall)]), (&FUNCTION, &SUBCOMMANDS)];

static SUBCOMMANDS: [(&str, ServerRun); 9] = [
    ("delete", delete),
    ("dump", dump_all),
    ("flush", flush),
    ("help", help),
    ("kill", kill),
    ("list", list),
    ("load", load),
    ("restore", restore),
    ("stats", stats),
];

fn fcall(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    script::with_interpreter(cx, |cx, interpreter| {
        let found = interpreter.find_function(&cx.server.libraries, args.at(1));
        let found = found.ok_or(CommandError::text("ERR Function not found"))?;
        let keys = args.int(2).map_err(|_| CommandError::text("ERR Bad number of keys provided"))?;
        let keys = script::check_key_count(keys, args)?;
        interpreter.make_ready(&found).map_err(|error| CommandError::Bytes(format!("ERR {error}").into_bytes()))?;
        script::run(cx, interpreter, &Program::Function(found), args, keys)
    })
}

fn error(text: impl std::fmt::Display) -> CommandError {
    CommandError::Bytes(format!("ERR {text}").into_bytes())
}

/// Changes the store, and passes the command on.
fn change(cx: &mut Cx<'_, '_>, shelf: Shelf) {
    cx.server.libraries.set(shelf);
    cx.local.effects.changed(1);
}

fn load(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let replaces = args.len() > 3 && args.is(2, "REPLACE");
    let option = if replaces { 3 } else { 2 };
    if args.len() > option + 1 {
        return Err(error(format_args!("Unknown option given: {}", String::from_utf8_lossy(args.at(option)))));
    }
    let library = Reader::new(options(&cx.server.config.load())).read(args.at(option)).map_err(error)?;
    let name = library.name.clone();
    let mut shelf = Shelf::clone(&cx.server.libraries.shelf());
    shelf.add(library, replaces).map_err(error)?;
    change(cx, shelf);
    cx.reply().bulk(&name);
    Ok(())
}

fn delete(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let mut shelf = Shelf::clone(&cx.server.libraries.shelf());
    if !shelf.remove(args.at(2)) {
        return Err(CommandError::text("ERR Library not found"));
    }
    change(cx, shelf);
    cx.reply().ok();
    Ok(())
}

fn flush(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(CommandError::text(
            "ERR unknown subcommand or wrong number of arguments for 'flush'. Try FUNCTION HELP.",
        ));
    }
    if args.len() == 3 && !args.is(2, "SYNC") && !args.is(2, "ASYNC") {
        return Err(CommandError::text("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    change(cx, Shelf::default());
    cx.reply().ok();
    Ok(())
}

fn dump_all(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let shelf = cx.server.libraries.shelf();
    let mut payload = Vec::new();
    let codes = shelf.libraries().map(|library| &*library.source);
    dump::encode_functions(&mut payload, codes, &WriteOptions::default());
    cx.reply().bulk(&payload);
    Ok(())
}

fn restore(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    const POLICY: CommandError =
        CommandError::text("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.");
    if args.len() > 4 {
        return Err(CommandError::text(
            "ERR unknown subcommand or wrong number of arguments for 'restore'. Try FUNCTION HELP.",
        ));
    }
    let (flushes, replaces) = match args.get(3) {
        None => (false, false),
        Some(_) if args.is(3, "APPEND") => (false, false),
        Some(_) if args.is(3, "FLUSH") => (true, false),
        Some(_) if args.is(3, "REPLACE") => (false, true),
        Some(_) => return Err(POLICY),
    };
    let codes = dump::decode_functions(args.at(2), &ReadOptions::default()).map_err(|wrong| match wrong {
        dump::Error::Version | dump::Error::Checksum => {
            CommandError::text("ERR DUMP payload version or checksum are wrong")
        }
        _ => CommandError::text("ERR failed loading functions from payload"),
    })?;
    let mut shelf = if flushes { Shelf::default() } else { Shelf::clone(&cx.server.libraries.shelf()) };
    let mut reader = Reader::new(options(&cx.server.config.load()));
    for code in codes {
        let library = reader.read(&code).map_err(error)?;
        shelf.add(library, replaces).map_err(error)?;
    }
    change(cx, shelf);
    cx.reply().ok();
    Ok(())
}

fn list(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let (mut pattern, mut with_code) = (None, false);
    let mut at = 2;
    while at < args.len() {
        if !with_code && args.is(at, "WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && args.is(at, "LIBRARYNAME") {
            at += 1;
            let name = args.get(at).ok_or(CommandError::text("ERR library name argument was not given"))?;
            pattern = Some(name);
        } else {
            return Err(error(format_args!("Unknown argument {}", String::from_utf8_lossy(args.at(at)))));
        }
        at += 1;
    }
    let shelf = cx.server.libraries.shelf();
    let is_meant =
        |library: &&Arc<Library>| pattern.is_none_or(|pattern| glob_matches(pattern, &library.name, Case::Insensitive));
    let shown: Vec<_> = shelf.libraries().filter(is_meant).collect();
    let mut reply = cx.reply();
    reply.array(shown.len());
    for library in shown {
        describe(&mut reply, library, with_code);
    }
    Ok(())
}

fn describe(reply: &mut ReplyWriter<'_>, library: &Library, with_code: bool) {
    reply.map(if with_code { 4 } else { 3 });
    reply.bulk(b"library_name");
    reply.bulk(&library.name);
    reply.bulk(b"engine");
    reply.bulk(b"LUA");
    reply.bulk(b"functions");
    reply.array(library.functions.len());
    for function in &library.functions {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(&function.name);
        reply.bulk(b"description");
        match &function.description {
            Some(text) => reply.bulk(text),
            None => reply.null(),
        }
        reply.bulk(b"flags");
        reply.set(function.flags.names().count());
        for name in function.flags.names() {
            reply.simple(name);
        }
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(&library.source);
    }
}

fn stats(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let shelf = cx.server.libraries.shelf();
    let busy = cx.server.scripts.busy_function();
    let mut reply = cx.reply();
    reply.map(2);
    reply.bulk(b"running_script");
    match busy {
        Some(busy) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(&busy.name);
            reply.bulk(b"command");
            reply.array(busy.words.len());
            for word in &busy.words {
                reply.bulk(word);
            }
            reply.bulk(b"duration_ms");
            reply.int(busy.since.elapsed().as_millis() as i64);
        }
        None => reply.null(),
    }
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.int(shelf.libraries().len() as i64);
    reply.bulk(b"functions_count");
    reply.int(shelf.functions() as i64);
    Ok(())
}

fn kill(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    script::end_those(cx, Kind::Function)
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(
        cx,
        "FUNCTION",
        &[
            "DELETE <library>",
            "    Removes a library.",
            "DUMP",
            "    Returns all libraries in a form that RESTORE takes.",
            "FLUSH [ASYNC|SYNC]",
            "    Removes all libraries.",
            "KILL",
            "    Ends the functions that run and have not written yet.",
            "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
            "    The libraries with their functions, and their sources if WITHCODE is given.",
            "LOAD [REPLACE] <source>",
            "    Adds a library.",
            "RESTORE <payload> [FLUSH|APPEND|REPLACE]",
            "    Adds libraries: in place of all (FLUSH), beside those that are there (APPEND, which is the default),",
            "    or in place of those of the same name (REPLACE).",
            "STATS",
            "    The function that is busy, and how many libraries and functions there are.",
        ],
    );
    Ok(())
}

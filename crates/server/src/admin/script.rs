//! EVAL, EVALSHA and SCRIPT.

use std::sync::Arc;

use quorate_commands::{
    Access as KeyAccess, Args, Arity, CommandError, Flags, Group, Keys as KeySpec, Origin, Outcome, Run, Spec,
};
use quorate_keyspace::SlotSet;
use quorate_scripting::{Call, Flags as Declared, Outcome as End, ScriptId};

use crate::data::blocked;
use crate::data::call::{Access, After, Cx, log_total};
use crate::data::functions::options;
use crate::data::script_host::{Keys, Own, Rules, ScriptHost};
pub(super) use crate::data::scripts::Program;
use crate::data::scripts::{Interpreter, Kill, Kind};
use crate::data::table::{Command, ServerRun};
use crate::server::{Role, Server};

const RUNNING: Flags = Flags::NO_SCRIPT.and(Flags::STALE).and(Flags::SKIP_MONITOR).and(Flags::MOVABLE_KEYS);

/// What the commands that run scripts and functions have in common.
pub(super) const fn running(reads_only: bool) -> Spec {
    Spec {
        group: Group::Scripting,
        arity: Arity::AtLeast(3),
        flags: RUNNING.and(if reads_only { Flags::READONLY } else { Flags::MAY_REPLICATE }),
        keys: if reads_only {
            &[(KeySpec::Counted { count_at: 2 }, KeyAccess::READ)]
        } else {
            &[(KeySpec::Counted { count_at: 2 }, KeyAccess::READ_UPDATE)]
        },
        complexity: "Depends on the script.",
        run: Run::Server,
        ..Spec::BLANK
    }
}

const fn eval_spec(name: &'static str, reads_only: bool, since: &'static str, summary: &'static str) -> Spec {
    Spec { name, since, summary, ..running(reads_only) }
}

/// EVAL
pub static EVAL: Spec = eval_spec("eval", false, "2.6.0", "Runs a script.");
/// EVALSHA
pub static EVALSHA: Spec = eval_spec("evalsha", false, "2.6.0", "Runs a script that was loaded before.");
/// EVAL_RO
pub static EVAL_RO: Spec = eval_spec("eval_ro", true, "7.0.0", "Runs a script that only reads.");
/// EVALSHA_RO
pub static EVALSHA_RO: Spec =
    eval_spec("evalsha_ro", true, "7.0.0", "Runs a script that was loaded before and only reads.");

const fn sub(name: &'static str, arity: Arity, flags: Flags, since: &'static str, summary: &'static str) -> Spec {
    Spec { name, group: Group::Scripting, arity, flags, since, summary, run: Run::Server, ..Spec::BLANK }
}

static LOAD: Spec =
    sub("load", Arity::Exactly(3), Flags::NO_SCRIPT.and(Flags::STALE), "2.6.0", "Loads a script without running it.")
        .with_tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]);
static EXISTS: Spec = sub("exists", Arity::AtLeast(3), Flags::NO_SCRIPT, "2.6.0", "Tells which scripts are loaded.")
    .with_tips(&["request_policy:all_shards", "response_policy:agg_logical_and"]);
static FLUSH: Spec = sub("flush", Arity::AtLeast(2), Flags::NO_SCRIPT, "2.6.0", "Forgets all scripts.")
    .with_tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]);
static KILL: Spec = sub(
    "kill",
    Arity::Exactly(2),
    Flags::NO_SCRIPT.and(Flags::ALLOW_BUSY),
    "2.6.0",
    "Ends the scripts that run and have not written.",
)
.with_tips(&["request_policy:all_shards", "response_policy:one_succeeded"]);
static DEBUG: Spec =
    sub("debug", Arity::Exactly(3), Flags::NO_SCRIPT, "3.2.0", "Switches the debugger, which is not there.");
static HELP: Spec =
    sub("help", Arity::Exactly(2), Flags::LOADING.and(Flags::STALE), "5.0.0", "Explains the subcommands.");

/// SCRIPT
pub static SCRIPT: Spec = Spec {
    name: "script",
    group: Group::Scripting,
    arity: Arity::AtLeast(2),
    subcommands: &[&DEBUG, &EXISTS, &FLUSH, &HELP, &KILL, &LOAD],
    since: "2.6.0",
    complexity: "Depends on subcommand.",
    summary: "A container for commands on scripts.",
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 5] = [
    (&EVAL, &[("", eval)]),
    (&EVAL_RO, &[("", eval)]),
    (&EVALSHA, &[("", evalsha)]),
    (&EVALSHA_RO, &[("", evalsha)]),
    (&SCRIPT, &SUBCOMMANDS),
];

static SUBCOMMANDS: [(&str, ServerRun); 6] =
    [("load", load), ("exists", exists), ("flush", flush), ("kill", kill), ("debug", debug), ("help", help)];

const NO_SCRIPT: CommandError = CommandError::text("NOSCRIPT No matching script. Please use EVAL.");

/// How many of the arguments are keys.
fn key_count(args: Args<'_>) -> Result<usize, CommandError> {
    check_key_count(args.int(2)?, args)
}

/// The same for a number that was read.
pub(super) fn check_key_count(count: i64, args: Args<'_>) -> Result<usize, CommandError> {
    let count = usize::try_from(count).map_err(|_| CommandError::text("ERR Number of keys can't be negative"))?;
    if count > args.len() - 3 {
        return Err(CommandError::text("ERR Number of keys can't be greater than number of args"));
    }
    Ok(count)
}

fn eval(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let keys = key_count(args)?;
    with_interpreter(cx, |cx, interpreter| {
        let id = interpreter
            .load(&cx.server.scripts, args.at(1))
            .map_err(|error| CommandError::Bytes(format!("ERR {error}").into_bytes()))?;
        run(cx, interpreter, &Program::Script(id), args, keys)
    })
}

fn evalsha(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    // What can't be a script's name is not looked at any further.
    let id = ScriptId::parse(args.at(1)).ok_or(NO_SCRIPT)?;
    let keys = key_count(args)?;
    with_interpreter(cx, |cx, interpreter| {
        if !interpreter.find(&cx.server.scripts, &id) {
            return Err(NO_SCRIPT);
        }
        run(cx, interpreter, &Program::Script(id), args, keys)
    })
}

/// Lends the thread's interpreter, which is made at the first use.
pub(super) fn with_interpreter(
    cx: &mut Cx<'_, '_>,
    work: impl FnOnce(&mut Cx<'_, '_>, &mut Interpreter) -> Outcome,
) -> Outcome {
    let mut interpreter = match cx.local.interpreter.take() {
        Some(interpreter) => interpreter,
        None => Box::new(Interpreter::new(&cx.server.scripts, options(&cx.server.config.load()))),
    };
    let outcome = work(cx, &mut interpreter);
    cx.local.interpreter = Some(interpreter);
    outcome
}

/// Why a script can't run here and now, by what it says of itself.
fn refused_by(cx: &Cx<'_, '_>, reads_only: bool, flags: Option<Declared>) -> Option<CommandError> {
    if reads_only && flags.is_some_and(|flags| !flags.no_writes) {
        return Some(CommandError::text("ERR Can not execute a script with write flag using *_ro command."));
    }
    if flags.is_some_and(|flags| flags.no_cluster) && cx.server.node().is_some() {
        return Some(CommandError::text("ERR Can not run script on cluster, 'no-cluster' flag is set."));
    }
    if let Role::Replica(replica) = &cx.local.published.role
        && !replica.link_up
        && !replica.serves_stale
        && !flags.is_some_and(|flags| flags.allow_stale)
    {
        return Some(CommandError::text(
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        ));
    }
    None
}

/// Runs a script or function that has been found, and answers.
pub(super) fn run(
    cx: &mut Cx<'_, '_>,
    interpreter: &mut Interpreter,
    program: &Program,
    args: Args<'_>,
    keys: usize,
) -> Outcome {
    let id = program.id();
    let flags = interpreter.declared(program);
    let reads_only = cx.command.spec.flags.has(Flags::READONLY);
    if let Some(error) = refused_by(cx, reads_only, flags) {
        return Err(error);
    }
    let is_alone = matches!(cx.access, Access::Alone(_));
    let is_loner = interpreter.is_loner(&id);
    if is_loner && !is_alone {
        cx.local.after = After::Again;
        return Ok(());
    }
    let (keys, argv) = args.from(3).split_at(keys);
    let declared = SlotSet::of_keys(keys.iter().copied());
    let rules = Rules {
        read_only: reads_only || flags.is_some_and(|flags| flags.no_writes),
        allow_oom: flags.is_some_and(|flags| flags.allow_oom),
        // Scripts of old that say nothing of themselves may do as they always could.
        single_slot: flags.is_some_and(|flags| !flags.allow_cross_slot_keys),
    };
    let own = Own::of(cx.session);
    let call = Call { keys, argv, protocol: own.protocol() };
    if cx.origin == Origin::Client {
        cx.local.total.clear();
    }
    let mut reply = std::mem::take(&mut cx.local.script_reply);
    interpreter.run.begin(program.kind());
    let (command, origin) = (cx.command, cx.origin);
    let Some(mut host) = ScriptHost::new(cx, args, declared, rules, Arc::clone(&interpreter.run)) else {
        interpreter.end();
        cx.local.script_reply = reply;
        return Err(cx.server.scripts.busy_error());
    };
    host.show(command, args, origin);
    let end = interpreter.execute(program, &call, &mut host, &mut reply);
    let outcome = finish(host, own, is_loner.then_some(&id), interpreter);
    interpreter.end();
    match outcome {
        Finished::Again => {
            interpreter.note_loner(id);
            cx.local.after = After::Again;
        }
        Finished::Done { later } => {
            answer(cx, end, &reply);
            if !later.is_empty() {
                blocked::serve_later(cx.server, cx.local, cx.access.reborrow(), cx.scope, later);
            }
            cx.local.effects.clear();
        }
    }
    reply.clear();
    reply.shrink_to(64 << 10);
    cx.local.script_reply = reply;
    Ok(())
}

enum Finished {
    /// Everything was taken back.
    Again,
    /// Done; these wait for keys that the script made ready, in slots that it did not hold.
    Done { later: Vec<blocked::Late> },
}

/// Ends a script whose slots are still held: its effects go into the log as one, or nothing remains of it.
fn finish(mut host: ScriptHost<'_, '_>, own: Own, loner: Option<&ScriptId>, interpreter: &mut Interpreter) -> Finished {
    own.restore(host.session);
    if host.wants_again() {
        host.take_back();
        return Finished::Again;
    }
    if let Some(id) = loner
        && host.was_harmless()
    {
        interpreter.note_harmless(id);
    }
    host.reveal();
    let ScriptHost { server, local, keys, .. } = host;
    match keys {
        Keys::Held(mut view) => {
            log_total(server, local);
            Finished::Done { later: blocked::serve(server, local, &mut view) }
        }
        Keys::Alone(_) => Finished::Done { later: Vec::new() },
    }
}

/// Hands over the reply.
fn answer(cx: &mut Cx<'_, '_>, end: End, reply: &[u8]) {
    cx.out.extend_from_slice(reply);
    if let End::Error { counted } = end {
        cx.local.after = After::Failed;
        if !counted {
            let text = reply.strip_prefix(b"-").unwrap_or(reply);
            cx.local.stats.error(text.strip_suffix(b"\r\n").unwrap_or(text));
        }
    }
    // Who is alone logs behind the script; within a transaction, the transaction does.
    if cx.origin == Origin::Client && matches!(cx.access, Access::Alone(_)) {
        log_total(cx.server, cx.local);
    }
}

/// The flags of EVAL, EVALSHA and FCALL as the script's first line or the function's own flags change them; `None` for
/// other commands, and for scripts without such a line.
pub fn flags_of(server: &Server, command: &Command, args: Args<'_>) -> Option<Flags> {
    let source = match command.spec.name {
        "fcall" | "fcall_ro" => return Some(flags_for(server.libraries.shelf().find(args.at(1))?.function().flags)),
        "eval" | "eval_ro" => Arc::from(args.at(1)),
        "evalsha" | "evalsha_ro" => server.scripts.source(&ScriptId::parse(args.at(1))?)?,
        _ => return None,
    };
    quorate_scripting::declared_flags(&source).map(flags_for)
}

fn flags_for(declared: Declared) -> Flags {
    let mut flags = Flags::NO_SCRIPT.and(Flags::SKIP_MONITOR).and(Flags::MOVABLE_KEYS);
    if !declared.no_writes {
        flags = flags.and(Flags::WRITE);
    }
    if !declared.allow_oom && !declared.no_writes {
        flags = flags.and(Flags::DENY_OOM);
    }
    if declared.allow_stale {
        flags = flags.and(Flags::STALE);
    }
    flags
}

fn load(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    with_interpreter(cx, |cx, interpreter| {
        let id = interpreter
            .load(&cx.server.scripts, args.at(2))
            .map_err(|error| CommandError::Bytes(format!("ERR {error}").into_bytes()))?;
        cx.reply().bulk(&id.hex());
        Ok(())
    })
}

fn exists(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let found: Vec<bool> =
        args.from(2).iter().map(|name| ScriptId::parse(name).is_some_and(|id| cx.server.scripts.exists(&id))).collect();
    let mut reply = cx.reply();
    reply.array(found.len());
    for found in found {
        reply.int(i64::from(found));
    }
    Ok(())
}

fn flush(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if !(args.len() == 2 || args.len() == 3 && (args.is(2, "SYNC") || args.is(2, "ASYNC"))) {
        return Err(CommandError::text("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    cx.server.scripts.flush();
    cx.reply().ok();
    Ok(())
}

fn kill(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    end_those(cx, Kind::Script)
}

/// SCRIPT KILL and FUNCTION KILL
pub(super) fn end_those(cx: &mut Cx<'_, '_>, kind: Kind) -> Outcome {
    end(cx.server, kind)?;
    cx.reply().ok();
    Ok(())
}

/// Ends the scripts of that kind that may be ended.
pub fn end(server: &Server, kind: Kind) -> Outcome {
    match server.scripts.kill(kind) {
        Kill::Done => Ok(()),
        Kill::NoneRuns => Err(CommandError::text("NOTBUSY No scripts in execution right now.")),
        Kill::OtherKind => Err(server.scripts.busy_error()),
        Kill::Unkillable => Err(CommandError::text(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the \
             script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
        )),
    }
}

fn debug(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if args.is(2, "YES") || args.is(2, "SYNC") {
        crate::log::warning("SCRIPT DEBUG: there is no debugger, scripts run to their end without a stop");
    } else if !args.is(2, "NO") {
        return Err(CommandError::text("ERR Use SCRIPT DEBUG YES/SYNC/NO"));
    }
    cx.reply().ok();
    Ok(())
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(
        cx,
        "SCRIPT",
        &[
            "DEBUG (YES|SYNC|NO)",
            "    There is no debugger: scripts run to their end without a stop.",
            "EXISTS <sha1> [<sha1> ...]",
            "    Which of these scripts are loaded.",
            "FLUSH [ASYNC|SYNC]",
            "    Forgets all scripts.",
            "KILL",
            "    Ends the scripts that run and have not written yet.",
            "LOAD <script>",
            "    Loads a script without running it.",
        ],
    );
    Ok(())
}

//! DEBUG: what tests, and people who search for a fault, may do to a server; off by default.
//!
//! Every subcommand runs while everybody else is quiet. So DEBUG SLEEP stops the whole server, which is what its
//! callers want of it, and the others may look at everything.

mod digest;
mod protocol;
mod reload;
mod values;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec};
use quorate_replication::Order;
use quorate_values::{Case, glob_matches, parse_double, parse_i64};

use crate::data::call::Cx;
use crate::log;
use crate::partition::{self, Peer};

/// What DEBUG can switch, for those whose work it concerns.
pub struct Knobs {
    /// Expired keys are removed in the background (SET-ACTIVE-EXPIRE).
    pub active_expire: AtomicBool,
    /// Periodic work rests (PAUSE-CRON).
    pub cron_paused: AtomicBool,
    /// Checksums of RDB files and RESTORE payloads are not looked at (SET-SKIP-CHECKSUM-VALIDATION).
    pub skip_checksums: AtomicBool,
    /// Scripts may call commands that scripts must not call (SET-DISABLE-DENY-SCRIPTS).
    pub disable_deny_scripts: AtomicBool,
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs {
            active_expire: AtomicBool::new(true),
            cron_paused: AtomicBool::new(false),
            skip_checksums: AtomicBool::new(false),
            disable_deny_scripts: AtomicBool::new(false),
        }
    }
}

/// DEBUG subcommand ...
pub static DEBUG: Spec = Spec {
    name: "debug",
    group: Group::Server,
    arity: Arity::AtLeast(2),
    flags: Flags::ADMIN.and(Flags::NO_SCRIPT).and(Flags::LOADING).and(Flags::STALE).and(Flags::SYSTEM),
    reaches: Some(|args| !args.is(1, "SLEEP-THREAD")),
    since: "1.0.0",
    complexity: "Depends on the subcommand.",
    summary: "Looks into the server, or makes it misbehave, for tests.",
    run: Run::Server,
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(&DEBUG, &[("", debug)])];

/// What is answered where `enable-debug-command` says no.
pub const NOT_ALLOWED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
    from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.";

type Sub = (&'static str, Arity, fn(&mut Cx<'_, '_>, Args<'_>) -> Outcome);

/// The subcommands; the arity counts the command and the subcommand too.
static SUBCOMMANDS: &[Sub] = &[
    ("aof-flush-sleep", Arity::Exactly(3), delay_writes),
    ("assert", Arity::AtLeast(2), abort),
    ("change-repl-id", Arity::Exactly(2), change_history),
    ("clusterlink", Arity::Exactly(5), super::cluster::debug_link),
    ("config-rewrite-force-all", Arity::Exactly(2), rewrite_configuration),
    ("dict-resizing", Arity::Exactly(3), accept),
    ("digest", Arity::Exactly(2), digest::dataset),
    ("digest-value", Arity::AtLeast(2), digest::values),
    ("drop-cluster-packet-filter", Arity::Exactly(3), super::cluster::debug_drop),
    ("drop-from", Arity::AtLeast(2), drop_from),
    ("error", Arity::Exactly(3), error),
    ("help", Arity::Exactly(2), help),
    ("htstats", Arity::AtLeast(3), values::table_of_database),
    ("htstats-key", Arity::AtLeast(3), values::table_of_key),
    ("listpack", Arity::Exactly(3), values::listpack),
    ("loadaof", Arity::Exactly(2), reload::append_only_file),
    ("log", Arity::Exactly(3), write_log),
    ("object", Arity::AtLeast(3), values::object),
    ("oom", Arity::Exactly(2), abort),
    ("panic", Arity::Exactly(2), abort),
    ("pause-cron", Arity::Exactly(3), pause_cron),
    ("populate", Arity::AtLeast(3), populate),
    ("protocol", Arity::Exactly(3), protocol::sample),
    ("quicklist", Arity::AtLeast(3), values::quicklist),
    ("quicklist-packed-threshold", Arity::Exactly(3), packed_threshold),
    ("reload", Arity::AtLeast(2), reload::reload),
    ("replicate", Arity::AtLeast(3), replicate),
    ("replybuffer", Arity::Exactly(4), reply_buffer),
    ("sdslen", Arity::Exactly(3), values::string_sizes),
    ("segfault", Arity::Exactly(2), segfault),
    ("set-active-expire", Arity::Exactly(3), set_active_expire),
    ("set-disable-deny-scripts", Arity::Exactly(3), set_disable_deny_scripts),
    ("set-skip-checksum-validation", Arity::Exactly(3), set_skip_checksums),
    ("sleep", Arity::Exactly(3), sleep),
    ("sleep-thread", Arity::Exactly(3), sleep),
    ("stringmatch-len", Arity::Exactly(4), string_match),
];

/// Writes every directive into the configuration file, those with their defaults too.
fn rewrite_configuration(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::config::rewrite_file(cx.server, quorate_config::Scope::All)?;
    cx.reply().ok();
    Ok(())
}

/// DEBUG AOF-FLUSH-SLEEP: each write to the append-only file is delayed by so many microseconds.
fn delay_writes(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let micros = u64::try_from(args.int(2)?).map_err(|_| CommandError::text("ERR value is out of range"))?;
    cx.server.aof.flush_sleep.store(micros, std::sync::atomic::Ordering::Relaxed);
    cx.reply().ok();
    Ok(())
}

/// DEBUG DROP-FROM [address[:port] ...]: what these send is lost; without any, nothing is.
fn drop_from(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let peers: Option<Vec<Peer>> = (2..args.len()).map(|index| Peer::parse(args.at(index))).collect();
    let peers = peers.ok_or(CommandError::text("ERR a peer is an IPv4 address, or one with a port"))?;
    partition::drop_from(&peers)
        .map_err(|error| CommandError::Bytes(format!("ERR {}", crate::process::plain(&error)).into_bytes()))?;
    log::warning(&format!("DEBUG DROP-FROM: what {} peers send is lost", peers.len()));
    cx.reply().ok();
    Ok(())
}

fn debug(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if !cx.local.published.debug_command.allows(cx.session.peer.is_local()) {
        return Err(CommandError::text(NOT_ALLOWED));
    }
    let name = args.at(1);
    let found = SUBCOMMANDS.iter().find(|(own, ..)| own.as_bytes().eq_ignore_ascii_case(name));
    match found {
        Some((_, arity, run)) if arity.accepts(args.len()) => run(cx, args),
        _ => Err(unknown(args)),
    }
}

/// What a subcommand answers whose arguments are not what it takes.
fn unknown(args: Args<'_>) -> CommandError {
    let mut text = b"ERR unknown subcommand or wrong number of arguments for '".to_vec();
    text.extend_from_slice(&args.at(1)[..args.at(1).len().min(128)]);
    text.extend_from_slice(b"'. Try DEBUG HELP.");
    CommandError::Bytes(text)
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(
        cx,
        "DEBUG",
        &[
            "CHANGE-REPL-ID",
            "    Give the history of the dataset another name, so that replicas that come back start over.",
            "DROP-CLUSTER-PACKET-FILTER <type>",
            "    Drop what comes over the cluster bus of this type; -1 for nothing.",
            "DIGEST",
            "    A fingerprint of the whole dataset.",
            "DIGEST-VALUE <key> [<key> ...]",
            "    Fingerprints of values.",
            "DROP-FROM [<address>[:<port>] ...]",
            "    Lose what these peers send, and nobody else; a trial of a partition. Without peers it is over.",
            "ERROR <message>",
            "    Answer with an error.",
            "HTSTATS <db>",
            "    Figures on a database's table.",
            "HTSTATS-KEY <key>",
            "    Figures on the table of a set, sorted set or hash.",
            "LISTPACK <key>",
            "    Write the listpack of a value to the log.",
            "LOADAOF",
            "    Load the append-only file again, if there is one.",
            "LOG <message>",
            "    Write a line to the log.",
            "OBJECT <key>",
            "    How a value is kept.",
            "PANIC",
            "    Abort the process.",
            "PAUSE-CRON <0|1>",
            "    Stop or resume periodic work.",
            "POPULATE <count> [<prefix> [<size>]]",
            "    Create strings named prefix:number. Replicas are not told.",
            "PROTOCOL <type>",
            "    A sample reply: string, integer, double, bignum, null, array, set, map, attrib, push, verbatim, true or false.",
            "QUICKLIST <key> [<0|1>]",
            "    Write the nodes of a list to the log.",
            "QUICKLIST-PACKED-THRESHOLD <size>",
            "    Elements of lists that are larger get nodes of their own; 0 is the default.",
            "RELOAD [NOSAVE] [NOFLUSH] [MERGE]",
            "    Save the dataset and load it again, without saving or emptying it before if so asked; MERGE lets the",
            "    file win where a key is there already.",
            "REPLICATE <word> ...",
            "    Send a request to the replicas without running it.",
            "REPLYBUFFER <PEAK-RESET-TIME|RESIZING> <value>",
            "    Accepted without an effect.",
            "SDSLEN <key>",
            "    Sizes of a key and of its string.",
            "SEGFAULT",
            "    End the process by a segmentation fault.",
            "SET-ACTIVE-EXPIRE <0|1>",
            "    Whether expired keys are removed in the background.",
            "SET-DISABLE-DENY-SCRIPTS <0|1>",
            "    Whether scripts may call what they must not call.",
            "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
            "    Whether checksums of RDB files and RESTORE payloads are ignored.",
            "SLEEP <seconds>",
            "    Stop the whole server for a while.",
            "SLEEP-THREAD <seconds>",
            "    Stop the network thread that serves this connection for a while.",
            "STRINGMATCH-LEN <len> <pattern>",
            "    Match a pattern against so many letters a.",
        ],
    );
    Ok(())
}

/// A knob of Redis that nothing here corresponds to.
fn accept(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    cx.reply().ok();
    Ok(())
}

/// Whether a switch's argument says on; as Redis reads it, what is no number is off.
fn is_on(args: Args<'_>) -> bool {
    parse_i64(args.at(2)).is_some_and(|number| number != 0)
}

fn set_active_expire(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    cx.server.knobs.active_expire.store(is_on(args), Ordering::Relaxed);
    accept(cx, args)
}

fn pause_cron(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    cx.server.knobs.cron_paused.store(is_on(args), Ordering::Relaxed);
    accept(cx, args)
}

fn set_skip_checksums(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let skip = is_on(args);
    cx.server.knobs.skip_checksums.store(skip, Ordering::Relaxed);
    cx.server.publish(|next| next.settings.skip_checksums = skip);
    accept(cx, args)
}

fn set_disable_deny_scripts(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    cx.server.knobs.disable_deny_scripts.store(is_on(args), Ordering::Relaxed);
    accept(cx, args)
}

fn sleep(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let seconds = parse_double(args.at(2)).filter(|seconds| *seconds > 0.0).unwrap_or(0.0);
    std::thread::sleep(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    accept(cx, args)
}

fn change_history(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    log::notice("Changing replication IDs after receiving change-repl-id");
    cx.server.control.order(cx.server, cx.access.alone(), Order::Rename);
    accept(cx, args)
}

fn error(_: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    Err(CommandError::Bytes(args.at(2).to_vec()))
}

fn write_log(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    log::warning(&format!("DEBUG LOG: {}", String::from_utf8_lossy(args.at(2))));
    accept(cx, args)
}

fn abort(_: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    log::warning(&format!("Aborted by DEBUG {}", String::from_utf8_lossy(args.at(1)).to_uppercase()));
    std::process::abort();
}

fn segfault(_: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    log::warning("Ended by DEBUG SEGFAULT");
    // SAFETY: both calls only concern this process, which is to end.
    unsafe {
        libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        libc::raise(libc::SIGSEGV);
    }
    std::process::abort();
}

/// Sends a request to the replicas that is not run here, so that they diverge.
fn replicate(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if cx.server.feed.is_on() {
        let mut wire = Vec::new();
        quorate_resp::encode_request(&mut wire, args.from(2));
        cx.server.feed.append(cx.session.db, &wire);
    }
    accept(cx, args)
}

fn reply_buffer(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let peak = args.is(2, "PEAK-RESET-TIME");
    let words = peak && (args.is(3, "NEVER") || args.is(3, "RESET"));
    if !peak && !args.is(2, "RESIZING") {
        return Err(unknown(args));
    }
    if !words {
        args.int(3)?;
    }
    accept(cx, args)
}

fn string_match(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let len = usize::try_from(args.int(2)?).ok().filter(|len| *len <= 1 << 30).ok_or(CommandError::OutOfRange)?;
    let matches = glob_matches(args.at(3), &vec![b'a'; len], Case::Sensitive);
    cx.reply().int(matches.into());
    Ok(())
}

/// The size above which a list's element gets a node of its own.
fn packed_threshold(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let text = std::str::from_utf8(args.at(2)).map(str::to_lowercase).unwrap_or_default();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "b" => Some(1),
        "k" => Some(1_000),
        "kb" => Some(1 << 10),
        "m" => Some(1_000_000),
        "mb" => Some(1 << 20),
        "g" => Some(1_000_000_000),
        "gb" => Some(1u64 << 30),
        _ => None,
    };
    let size = digits.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    match size.filter(|size| *size <= 4 << 30) {
        None => Err(CommandError::text("ERR argument must be a memory value bigger than 1 and smaller than 4gb")),
        Some(size) => {
            cx.server.publish(|next| next.settings.limits.list_packed_threshold = size as usize);
            accept(cx, args)
        }
    }
}

/// Creates strings quickly; nothing is logged, so replicas don't get them.
fn populate(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if args.len() > 5 {
        return Err(unknown(args));
    }
    let positive = |index| args.int_within(index, 0, i64::MAX, CommandError::NotPositive);
    let not_positive = |_| CommandError::NotPositive;
    let count = positive(2).map_err(not_positive)?;
    let size = if args.len() == 5 { Some(positive(4).map_err(not_positive)?) } else { None };
    let size = size.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    if size.is_some_and(|size| size > cx.local.published.settings.max_string) {
        return Err(CommandError::TooLong);
    }
    let prefix = args.get(3).unwrap_or(b"key");
    let db = cx.session.db;
    let mut view = cx.access.alone().view(cx.scope);
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for number in 0..count {
        key.clear();
        key.extend_from_slice(prefix);
        key.push(b':');
        quorate_values::write_i64(&mut key, number);
        if view.peek(db, &key).is_some() {
            continue;
        }
        value.clear();
        value.extend_from_slice(b"value:");
        quorate_values::write_i64(&mut value, number);
        if let Some(size) = size.filter(|size| *size > 0) {
            value.resize(size, 0);
        }
        view.set_str(db, &key, &value, None);
    }
    drop(view);
    cx.reply().ok();
    Ok(())
}

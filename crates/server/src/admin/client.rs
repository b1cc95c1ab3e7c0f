//! CLIENT: what connections there are, and what they may ask of themselves.

mod kill;
mod pause;
pub mod tracking;

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec};
use quorate_stdx::Now;

use crate::control::observers;
use crate::data::call::Cx;
use crate::data::client::{Blocked, Client, Kind, Peer, ReplyMode, Session};
use crate::data::table::ServerRun;
use crate::data::tracking::Mode;

const OWN: Flags = Flags::NO_SCRIPT.and(Flags::LOADING).and(Flags::STALE);
const OTHERS: Flags = OWN.and(Flags::ADMIN).and(Flags::ALONE);

const fn sub(name: &'static str, arity: Arity, flags: Flags, since: &'static str, summary: &'static str) -> Spec {
    Spec { name, group: Group::Connection, arity, flags, since, summary, run: Run::Server, ..Spec::BLANK }
}

static CACHING: Spec = sub("caching", Arity::Exactly(3), OWN, "6.0.0", "Tracks the keys of the next command, or not.");
static CAPA: Spec = sub("capa", Arity::AtLeast(3), OWN, "8.0.0", "Tells the server what the client is capable of.");
static GETNAME: Spec = sub("getname", Arity::Exactly(2), OWN, "2.6.9", "Returns the connection's name.");
static GETREDIR: Spec = sub("getredir", Arity::Exactly(2), OWN, "6.0.0", "Returns who gets the tracking messages.");
static HELP: Spec =
    sub("help", Arity::Exactly(2), Flags::LOADING.and(Flags::STALE), "5.0.0", "Explains the subcommands.");
static ID: Spec = sub("id", Arity::Exactly(2), OWN, "5.0.0", "Returns the connection's number.");
static INFO: Spec =
    sub("info", Arity::Exactly(2), OWN, "6.2.0", "Describes the connection.").with_tips(&["nondeterministic_output"]);
static KILL: Spec = sub("kill", Arity::AtLeast(3), OTHERS, "2.4.0", "Closes connections.");
static LIST: Spec = sub("list", Arity::AtLeast(2), OTHERS, "2.4.0", "Describes all connections.")
    .with_tips(&["nondeterministic_output"]);
static NO_EVICT: Spec =
    sub("no-evict", Arity::Exactly(3), OWN.and(Flags::ADMIN), "7.0.0", "Protects the connection when memory is short.");
static NO_TOUCH: Spec = sub("no-touch", Arity::Exactly(3), OWN, "7.2.0", "Lets reads leave the access times alone.");
static PAUSE: Spec = sub("pause", Arity::AtLeast(3), OTHERS, "2.9.50", "Lets commands wait for a while.");
static REPLY: Spec = sub("reply", Arity::Exactly(3), OWN, "3.2.0", "Switches replies on or off.");
static SETINFO: Spec = sub("setinfo", Arity::Exactly(4), OWN, "7.2.0", "Tells the server of the client library.");
static SETNAME: Spec = sub("setname", Arity::Exactly(3), OWN, "2.6.9", "Names the connection.");
static TRACKING: Spec = sub("tracking", Arity::AtLeast(3), OWN, "6.0.0", "Switches the tracking of keys on or off.");
static TRACKINGINFO: Spec =
    sub("trackinginfo", Arity::Exactly(2), OWN, "6.2.0", "Describes the connection's tracking.");
static UNBLOCK: Spec = sub("unblock", Arity::AtLeast(3), OTHERS, "5.0.0", "Ends the waiting of a client.");
static UNPAUSE: Spec = sub("unpause", Arity::Exactly(2), OTHERS, "6.2.0", "Ends a pause.");

/// CLIENT
#[rustfmt::skip]
pub static CLIENT: Spec = Spec {
    name: "client",
    group: Group::Connection,
    arity: Arity::AtLeast(2),
    subcommands: &[
        &CACHING, &CAPA, &GETNAME, &GETREDIR, &HELP, &ID, &INFO, &KILL, &LIST, &NO_EVICT, &NO_TOUCH, &PAUSE, &REPLY,
        &SETINFO, &SETNAME, &TRACKING, &TRACKINGINFO, &UNBLOCK, &UNPAUSE,
    ],
    since: "2.4.0",
    complexity: "Depends on subcommand.",
    summary: "A container for client connection commands.",
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(&CLIENT, &SUBCOMMANDS)];

static SUBCOMMANDS: [(&str, ServerRun); 19] = [
    ("caching", tracking::caching),
    ("capa", capa),
    ("getname", getname),
    ("getredir", tracking::getredir),
    ("help", help),
    ("id", id),
    ("info", info),
    ("kill", kill::kill),
    ("list", kill::list),
    ("no-evict", no_evict),
    ("no-touch", no_touch),
    ("pause", pause::pause),
    ("reply", reply),
    ("setinfo", setinfo),
    ("setname", setname),
    ("tracking", tracking::tracking),
    ("trackinginfo", tracking::trackinginfo),
    ("unblock", pause::unblock),
    ("unpause", pause::unpause),
];

fn id(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let id = cx.client.id.0;
    cx.reply().int(id as i64);
    Ok(())
}

fn getname(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let name = cx.session.name.clone();
    let mut reply = cx.reply();
    if name.is_empty() {
        reply.null()
    } else {
        reply.bulk(&name)
    }
    Ok(())
}

/// Whether `name` has only characters that CLIENT LIST can show.
pub fn is_printable(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn setname(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    set_name(cx.session, args.at(2))?;
    cx.reply().ok();
    Ok(())
}

/// Names a connection, if the name can be shown.
pub fn set_name(session: &mut Session, name: &[u8]) -> Outcome {
    if !is_printable(name) {
        return Err(CommandError::text("ERR Client names cannot contain spaces, newlines or special characters."));
    }
    session.name = name.to_vec();
    session.observes = observers::is_name(name);
    Ok(())
}

fn setinfo(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let field = String::from_utf8_lossy(args.at(2)).to_lowercase();
    let place = match field.as_str() {
        "lib-name" => &mut cx.session.lib_name,
        "lib-ver" => &mut cx.session.lib_version,
        _ => {
            let text = format!("ERR Unrecognized option '{}'", String::from_utf8_lossy(args.at(2)));
            return Err(CommandError::Bytes(text.into_bytes()));
        }
    };
    if !is_printable(args.at(3)) {
        let text = format!("ERR {field} cannot contain spaces, newlines or special characters.");
        return Err(CommandError::Bytes(text.into_bytes()));
    }
    *place = args.at(3).to_vec();
    cx.reply().ok();
    Ok(())
}

/// The bytes of a request as they came, or would have come in another form.
fn wire_len(args: Args<'_>) -> usize {
    let mut wire = Vec::new();
    quorate_resp::encode_request(&mut wire, args.words());
    wire.len()
}

fn info(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let line = cx.with_output_in_place(|cx| describe(cx.client, cx.session, cx.now, wire_len(args))) + "\n";
    cx.reply().verbatim(b"txt", line.as_bytes());
    Ok(())
}

/// ON or OFF at `index`.
fn on_or_off(args: Args<'_>, index: usize) -> Result<bool, CommandError> {
    match (args.is(index, "ON"), args.is(index, "OFF")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

fn no_evict(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    cx.session.no_evict = on_or_off(args, 2)?;
    cx.reply().ok();
    Ok(())
}

fn no_touch(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    cx.session.no_touch = on_or_off(args, 2)?;
    cx.reply().ok();
    Ok(())
}

fn reply(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if args.is(2, "ON") {
        cx.session.replies = ReplyMode::On;
        cx.reply().ok();
    } else if args.is(2, "OFF") {
        cx.session.replies = ReplyMode::Off;
    } else if args.is(2, "SKIP") {
        if cx.session.replies != ReplyMode::Off {
            cx.session.replies = ReplyMode::Skip;
        }
    } else {
        return Err(CommandError::Syntax);
    }
    Ok(())
}

fn capa(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    // What we don't know is for others to understand.
    cx.session.redirect |= (2..args.len()).any(|index| args.is(index, "redirect"));
    cx.reply().ok();
    Ok(())
}

fn help(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::help(
        cx,
        "CLIENT",
        &[
            "CACHING (YES|NO)",
            "    Tracks the keys of the next command, or not, for a client that opts in or out.",
            "CAPA <option> [options...]",
            "    What the client is capable of: redirect.",
            "GETNAME",
            "    The connection's name.",
            "GETREDIR",
            "    Who gets the messages of what is stale: 0 is this connection, -1 that there are none.",
            "ID",
            "    The connection's number.",
            "INFO",
            "    The connection, in the form of LIST.",
            "KILL <ip:port>",
            "    Closes the connection from there.",
            "KILL <filter> <value> [<filter> <value> ...]",
            "    Closes the connections to which all filters apply:",
            "    * ADDR (<ip:port>|<unixsocket>:0), LADDR (<ip:port>|<unixsocket>:0)",
            "    * ID <client-id>, USER <username>",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "    * SKIPME (YES|NO): whether this connection is spared, which it is.",
            "LIST [options ...]",
            "    All connections, or those of a kind:",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "    * ID <client-id> [<client-id> ...]",
            "NO-EVICT (ON|OFF)",
            "    Whether the connection is spared when clients take too much memory.",
            "NO-TOUCH (ON|OFF)",
            "    Whether reads leave the access times of keys alone.",
            "PAUSE <timeout> [WRITE|ALL]",
            "    Lets all commands, or those that write, wait for so many milliseconds.",
            "REPLY (ON|OFF|SKIP)",
            "    Whether there are replies from now on, or to the next command.",
            "SETINFO (LIB-NAME|LIB-VER) <value>",
            "    Tells of the client's library.",
            "SETNAME <name>",
            "    Names the connection.",
            "TRACKING (ON|OFF) [options ...]",
            "    Tells of changes of keys that this connection has read. Options are:",
            "    * REDIRECT <client-id>: tells another connection.",
            "    * BCAST: tells of all keys, or of those that begin with a prefix.",
            "    * PREFIX <prefix>: how keys begin, with BCAST; may be given several times.",
            "    * OPTIN, OPTOUT: tracks only, or does not track, the keys of the command behind CLIENT CACHING.",
            "    * NOLOOP: does not tell of the connection's own changes.",
            "TRACKINGINFO",
            "    What is tracked for this connection.",
            "UNBLOCK <client-id> [TIMEOUT|ERROR]",
            "    Ends the waiting of a client, as if its time were over or with an error.",
            "UNPAUSE",
            "    Ends a pause.",
        ],
    );
    Ok(())
}

/// A client in the form of CLIENT LIST's lines.
///
/// `under_way` are the bytes of the request that the client waits for, if it is known.
pub fn describe(client: &Client, session: &Session, now: Now, under_way: usize) -> String {
    let mut line = String::new();
    let (address, local) = (session.peer.remote(), session.peer.local());
    let name = String::from_utf8_lossy(&session.name);
    let multi = session.transaction.as_ref().map_or(-1, |transaction| transaction.queue.len() as i64);
    // What was set aside was heard elsewhere, and later.
    let aside = client.aside.lock().filter(|(at, _)| *at > session.active_at);
    let active_at = aside.map_or(session.active_at, |(at, _)| at);
    let last_command = aside.map(|(_, command)| command).or(session.last_command);
    let command = last_command.map_or("NULL", |command| command.full_name.as_str());
    let _ = write!(
        line,
        "id={} addr={address} laddr={local} fd={} name={name} age={} idle={} flags={} db={} sub={} psub={} ssub={} \
         multi={multi} qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll=0 omem={} tot-mem={} \
         events=r cmd={command} user={} redir={} resp={} lib-name={} lib-ver={}",
        client.id.0,
        std::os::fd::AsRawFd::as_raw_fd(&session.socket),
        now.mono.since(session.since).as_secs(),
        now.mono.since(active_at).as_secs(),
        flags(session),
        session.db.0,
        session.channels.len(),
        session.patterns.len(),
        session.shard_channels.len(),
        (session.input.len() - session.parser.parsed().min(session.input.len())) + under_way,
        session.input.capacity() - session.input.len(),
        session.parser.parsed().min(session.input.len()),
        session.transaction.as_ref().map_or(0, |transaction| transaction.bytes),
        session.out.capacity(),
        session.out.capacity(),
        session.pending(),
        0,
        session.heap_bytes(),
        String::from_utf8_lossy(session.user_name()),
        tracking::redirect(session.tracking.as_deref()),
        match session.protocol {
            quorate_resp::Protocol::Resp2 => 2,
            quorate_resp::Protocol::Resp3 => 3,
        },
        String::from_utf8_lossy(&session.lib_name),
        String::from_utf8_lossy(&session.lib_version),
    );
    line
}

fn flags(session: &Session) -> String {
    let mut flags = String::new();
    match session.kind {
        Kind::Normal => {}
        Kind::Replica => flags.push('S'),
        Kind::Primary => flags.push('M'),
        Kind::Monitor => flags.push('O'),
        Kind::Importer => flags.push('o'),
    }
    if session.is_subscriber() {
        flags.push('P');
    }
    if session.transaction.is_some() {
        flags.push('x');
    }
    if matches!(session.blocked, Some(Blocked::OnKeys { .. } | Blocked::OnAnswer { .. })) {
        flags.push('b');
    }
    if let Some(tracking) = &session.tracking {
        flags.push('t');
        flags.extend(tracking.broken.then_some('R'));
        flags.extend((tracking.mode == Mode::Broadcast).then_some('B'));
    }
    if session.watch.as_ref().is_some_and(|watch| watch.flag.load(Ordering::Acquire)) {
        flags.push('d');
    }
    if session.closing.is_some() {
        flags.push('c');
    }
    if matches!(session.peer, Peer::Unix(_)) {
        flags.push('U');
    }
    if session.readonly {
        flags.push('r');
    }
    if session.no_evict {
        flags.push('e');
    }
    if session.no_touch {
        flags.push('T');
    }
    if flags.is_empty() {
        flags.push('N');
    }
    flags
}

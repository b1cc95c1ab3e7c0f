//! CLIENT: what connections there are, and what they may ask of themselves.

use std::fmt::Write as _;
use std::sync::Arc;

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec};
use quorate_stdx::Now;

use crate::data::call::Cx;
use crate::data::client::{Blocked, Client, Kind, Peer, Session};
use crate::data::table::ServerRun;

const OWN: Flags = Flags::NO_SCRIPT.and(Flags::LOADING).and(Flags::STALE);
const OTHERS: Flags = OWN.and(Flags::ADMIN).and(Flags::ALONE);

const fn sub(name: &'static str, arity: Arity, flags: Flags, since: &'static str, summary: &'static str) -> Spec {
    Spec { name, group: Group::Connection, arity, flags, since, summary, run: Run::Server, ..Spec::BLANK }
}

static ID: Spec = sub("id", Arity::Exactly(2), OWN, "5.0.0", "Returns the connection's number.");
static GETNAME: Spec = sub("getname", Arity::Exactly(2), OWN, "2.6.9", "Returns the connection's name.");
static SETNAME: Spec = sub("setname", Arity::Exactly(3), OWN, "2.6.9", "Names the connection.");
static SETINFO: Spec = sub("setinfo", Arity::Exactly(4), OWN, "7.2.0", "Tells the server of the client library.");
static INFO: Spec = sub("info", Arity::Exactly(2), OWN, "6.2.0", "Describes the connection.");
static LIST: Spec = sub("list", Arity::AtLeast(2), OTHERS, "2.4.0", "Describes all connections.");

/// CLIENT
pub static CLIENT: Spec = Spec {
    name: "client",
    group: Group::Connection,
    arity: Arity::AtLeast(2),
    subcommands: &[&GETNAME, &ID, &INFO, &LIST, &SETINFO, &SETNAME],
    since: "2.4.0",
    complexity: "Depends on subcommand.",
    summary: "A container for client connection commands.",
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(&CLIENT, &SUBCOMMANDS)];

static SUBCOMMANDS: [(&str, ServerRun); 6] =
    [("id", id), ("getname", getname), ("setname", setname), ("setinfo", setinfo), ("info", info), ("list", list)];

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

fn info(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let line = describe(cx.client, cx.session, cx.now) + "\n";
    cx.reply().verbatim(b"txt", line.as_bytes());
    Ok(())
}

fn list(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let clients: Vec<Arc<Client>> = cx.server.clients.lock().values().cloned().collect();
    let mut text = String::new();
    for client in clients {
        if client.id == cx.client.id {
            text += &describe(cx.client, cx.session, cx.now);
        } else {
            // SAFETY: LIST runs alone, and our own session, which is borrowed, was excluded.
            text += &describe(&client, unsafe { client.session() }, cx.now);
        }
        text.push('\n');
    }
    cx.reply().verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// A client in the form of CLIENT LIST's lines.
pub fn describe(client: &Client, session: &Session, now: Now) -> String {
    let mut line = String::new();
    let (address, local) = match &session.peer {
        Peer::Inet { remote, local } => (remote.to_string(), local.to_string()),
        Peer::Unix(path) => (format!("{path}:0"), format!("{path}:0")),
    };
    let name = String::from_utf8_lossy(&session.name);
    let multi = session.transaction.as_ref().map_or(-1, |transaction| transaction.queue.len() as i64);
    let command = session.last_command.map_or("NULL", |command| command.full_name.as_str());
    let _ = write!(
        line,
        "id={} addr={address} laddr={local} fd={} name={name} age={} idle={} flags={} db={} sub={} psub={} ssub={} \
         multi={multi} qbuf={} qbuf-free={} argv-mem=0 multi-mem={} rbs={} rbp={} obl={} oll=0 omem={} tot-mem={} \
         events=r cmd={command} user={} redir=-1 resp={} lib-name={} lib-ver={}",
        client.id.0,
        std::os::fd::AsRawFd::as_raw_fd(&session.socket),
        now.mono.since(session.since).as_secs(),
        now.mono.since(session.active_at).as_secs(),
        flags(session),
        session.db.0,
        session.channels.len(),
        session.patterns.len(),
        session.shard_channels.len(),
        session.input.len(),
        session.input.capacity() - session.input.len(),
        session.transaction.as_ref().map_or(0, |transaction| transaction.bytes),
        session.out.capacity(),
        session.out.capacity(),
        session.pending(),
        0,
        session.input.capacity() + session.out.capacity() + size_of::<Session>(),
        session.user,
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
    if session.closing.is_some() {
        flags.push('c');
    }
    if matches!(session.peer, Peer::Unix(_)) {
        flags.push('U');
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

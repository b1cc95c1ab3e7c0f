//! Commands about the connection itself: PING, ECHO, SELECT, HELLO, AUTH, QUIT, RESET.

use quorate_acl::{DEFAULT, Reason};
use quorate_commands::{Args, Arity, CommandError, Flags, Group, Outcome, Run, Spec};
use quorate_keyspace::Db;
use quorate_resp::Protocol;

use crate::data::call::Cx;
use crate::data::client::{Closing, Kind, ReplyMode};
use crate::data::guard;

const ANYTIME: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::FAST);
const FIRST: Flags = ANYTIME.and(Flags::NO_SCRIPT).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY);

const fn of(name: &'static str, arity: Arity, flags: Flags, since: &'static str, summary: &'static str) -> Spec {
    Spec { name, group: Group::Connection, arity, flags, since, summary, run: Run::Server, ..Spec::BLANK }
}

/// PING
pub static PING: Spec = Spec {
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    ..of("ping", Arity::AtLeast(1), Flags::FAST.and(Flags::SENTINEL), "1.0.0", "Answers PONG, or with the argument.")
};
/// ECHO
pub static ECHO: Spec = of("echo", Arity::Exactly(2), ANYTIME, "1.0.0", "Answers with the argument.");
/// SELECT
pub static SELECT: Spec = of("select", Arity::Exactly(2), ANYTIME, "1.0.0", "Chooses a database.");
/// HELLO
pub static HELLO: Spec = of("hello", Arity::AtLeast(1), FIRST, "6.0.0", "Agrees on the protocol's version.");
/// AUTH
pub static AUTH: Spec = of("auth", Arity::AtLeast(2), FIRST, "1.0.0", "Authenticates the connection.");
/// QUIT
pub static QUIT: Spec = of("quit", Arity::AtLeast(1), FIRST, "1.0.0", "Closes the connection.");
/// RESET
pub static RESET: Spec = of("reset", Arity::Exactly(1), FIRST, "6.2.0", "Makes the connection like a new one.");

pub(super) static RUNS: [super::Entry; 7] = [
    (&PING, &[("", ping)]),
    (&ECHO, &[("", echo)]),
    (&SELECT, &[("", select)]),
    (&HELLO, &[("", hello)]),
    (&AUTH, &[("", auth)]),
    (&QUIT, &[("", quit)]),
    (&RESET, &[("", reset)]),
];

fn ping(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if args.len() > 2 {
        return Err(CommandError::Arity("ping".to_owned()));
    }
    let in_subscription = cx.session.is_subscriber() && cx.session.protocol == Protocol::Resp2;
    let mut reply = cx.reply();
    match args.get(1) {
        text if in_subscription => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(text.unwrap_or_default());
        }
        Some(text) => reply.bulk(text),
        None => reply.simple("PONG"),
    }
    Ok(())
}

fn echo(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    cx.reply().bulk(args.at(1));
    Ok(())
}

fn select(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let number = args.int32(1)?;
    if number != 0 && cx.server.node().is_some() {
        return Err(CommandError::text("ERR SELECT is not allowed in cluster mode"));
    }
    match usize::try_from(number) {
        Ok(index) if index < cx.server.space.databases() => cx.session.db = Db(index as u16),
        _ => return Err(CommandError::text("ERR DB index is out of range")),
    }
    cx.reply().ok();
    Ok(())
}

fn quit(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    cx.reply().ok();
    cx.session.closing = Some(Closing::AfterReplies);
    Ok(())
}

/// Checks name and password and, if they are right, lets the client in; `word` is the command that it said.
fn let_in(cx: &mut Cx<'_, '_>, word: &[u8], user: &[u8], password: &[u8]) -> Outcome {
    // Within a transaction that changes users, the thread's own copy is older.
    let published = cx.server.published();
    let Some(known) = published.users.get(user).filter(|known| known.lets_in(password)) else {
        let what = (Reason::Auth, guard::context_of(cx.session));
        guard::note(cx.server, cx.client, cx.session, what, word, user);
        return Err(CommandError::text("WRONGPASS invalid username-password pair or user is disabled."));
    };
    cx.session.let_in(known, &published);
    Ok(())
}

fn auth(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    match args.len() {
        2 if cx.local.published.users.default_user().has_no_password() => {
            return Err(CommandError::text(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            ));
        }
        2 => let_in(cx, args.at(0), DEFAULT, args.at(1))?,
        3 => let_in(cx, args.at(0), args.at(1), args.at(2))?,
        _ => return Err(CommandError::Syntax),
    }
    cx.reply().ok();
    Ok(())
}

fn hello(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let protocol = match args.get(1) {
        None => cx.session.protocol,
        Some(_) => match args.int(1) {
            Ok(2) => Protocol::Resp2,
            Ok(3) => Protocol::Resp3,
            Ok(_) => return Err(CommandError::text("NOPROTO unsupported protocol version")),
            Err(_) => return Err(CommandError::text("ERR Protocol version is not an integer or out of range")),
        },
    };
    let (mut credentials, mut name, mut at) = (None, None, 2);
    while at < args.len() {
        if args.is(at, "AUTH") && at + 2 < args.len() {
            credentials = Some((args.at(at + 1), args.at(at + 2)));
            at += 3;
        } else if args.is(at, "SETNAME") && at + 1 < args.len() {
            name = Some(args.at(at + 1));
            at += 2;
        } else {
            let text = format!("ERR Syntax error in HELLO option '{}'", String::from_utf8_lossy(args.at(at)));
            return Err(CommandError::Bytes(text.into_bytes()));
        }
    }
    if let Some(name) = name
        && !super::client::is_printable(name)
    {
        return Err(CommandError::text("ERR Client names cannot contain spaces, newlines or special characters."));
    }
    if let Some((user, password)) = credentials {
        let_in(cx, args.at(0), user, password)?;
    }
    if !cx.session.authenticated && cx.local.published.needs_auth {
        return Err(CommandError::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        super::client::set_name(cx.session, name)?;
    }
    cx.session.protocol = protocol;
    greet(cx);
    Ok(())
}

/// What HELLO answers: who we are.
fn greet(cx: &mut Cx<'_, '_>) {
    let is_replica = matches!(cx.local.published.role, crate::server::Role::Replica(_));
    let (id, protocol) = (cx.client.id.0, cx.session.protocol);
    let mode: &[u8] = if cx.server.node().is_some() { b"cluster" } else { b"standalone" };
    let mut reply = cx.reply();
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(crate::REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.int(if protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.int(id as i64);
    reply.bulk(b"mode");
    reply.bulk(mode);
    reply.bulk(b"role");
    reply.bulk(if is_replica { b"replica" } else { b"master" });
    reply.bulk(b"modules");
    reply.array(0);
}

fn reset(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    super::transactions::forget_watched(cx);
    super::pubsub::forget(cx.server, cx.client.id, cx.session);
    super::client::tracking::end(cx);
    let session = &mut *cx.session;
    session.transaction = None;
    session.db = Db(0);
    session.protocol = Protocol::Resp2;
    session.name.clear();
    session.replies = ReplyMode::On;
    session.no_evict = false;
    session.no_touch = false;
    session.readonly = false;
    session.asking = false;
    if session.kind == Kind::Monitor {
        session.kind = Kind::Normal;
        cx.server.monitors.remove(cx.client.id);
    }
    session.greet(&cx.server.published());
    cx.reply().simple("RESET");
    Ok(())
}

//! PING, AUTH, HELLO, RESET, QUIT and SHUTDOWN.

use quorate_acl::{DEFAULT, Reason};
use quorate_resp::Protocol;

use super::{Cx, Outcome, acl, unknown_subcommand, wrong_number};
use crate::admin::client::is_printable;
use crate::log;
use crate::partition::{self, Peer};

pub(super) fn ping(cx: &mut Cx<'_>) -> Outcome {
    if cx.words.len() > 2 {
        return Err(wrong_number("ping"));
    }
    let text = cx.words.get(1).cloned();
    let client = cx.client();
    let listens = client.subscriptions() > 0 && client.protocol == Protocol::Resp2;
    let mut reply = client.reply();
    match text {
        text if listens => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(&text.unwrap_or_default());
        }
        Some(text) => reply.bulk(&text),
        None => reply.simple("PONG"),
    }
    Ok(())
}

/// DEBUG DROP-FROM [address[:port] ...], as on a server, and nothing else.
pub(super) fn debug(cx: &mut Cx<'_>) -> Outcome {
    let is_local = cx.client().remote.ip().is_loopback();
    if !cx.shell.context.config.general.debug_command.allows(is_local) {
        return Err(crate::admin::debug::NOT_ALLOWED.to_owned());
    }
    if !cx.is(1, "drop-from") {
        return Err(unknown_subcommand(cx));
    }
    let peers: Option<Vec<Peer>> = cx.words[2..].iter().map(|word| Peer::parse(word)).collect();
    let peers = peers.ok_or("ERR a peer is an IPv4 address, or one with a port")?;
    partition::drop_from(&peers).map_err(|error| format!("ERR {}", crate::process::plain(&error)))?;
    log::warning(&format!("DEBUG DROP-FROM: what {} peers send is lost", peers.len()));
    cx.ok()
}

fn let_in(cx: &mut Cx<'_>, name: &[u8], password: &[u8]) -> Outcome {
    let user = cx.shell.context.doors.users.get(name).filter(|user| user.lets_in(password)).cloned();
    let Some(user) = user else {
        let word = cx.word(0).to_vec();
        acl::note(cx, Reason::Auth, &word, name);
        return Err("WRONGPASS invalid username-password pair or user is disabled.".to_owned());
    };
    let client = cx.client();
    (client.is_authenticated, client.user) = (true, user);
    Ok(())
}

pub(super) fn auth(cx: &mut Cx<'_>) -> Outcome {
    match cx.words {
        [_, _] if cx.shell.context.doors.users.default_user().has_no_password() => {
            return Err(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                        your configuration is correct?"
                    .to_owned(),
            );
        }
        [_, password] => let_in(cx, DEFAULT, password)?,
        [_, user, password] => let_in(cx, user, password)?,
        _ => return Err("ERR syntax error".to_owned()),
    }
    cx.ok()
}

pub(super) fn hello(cx: &mut Cx<'_>) -> Outcome {
    let protocol = match cx.words.get(1) {
        None => cx.client().protocol,
        Some(_) => match cx.int::<i64>(1) {
            Ok(2) => Protocol::Resp2,
            Ok(3) => Protocol::Resp3,
            Ok(_) => return Err("NOPROTO unsupported protocol version".to_owned()),
            Err(_) => return Err("ERR Protocol version is not an integer or out of range".to_owned()),
        },
    };
    let (mut credentials, mut name, mut at) = (None, None, 2);
    while at < cx.words.len() {
        let left = cx.words.len() - at - 1;
        if cx.is(at, "AUTH") && left >= 2 {
            credentials = Some((&cx.words[at + 1], &cx.words[at + 2]));
            at += 3;
        } else if cx.is(at, "SETNAME") && left >= 1 {
            name = Some(&cx.words[at + 1]);
            at += 2;
        } else {
            return Err(format!("ERR Syntax error in HELLO option '{}'", cx.text(at)));
        }
    }
    if name.is_some_and(|name| !is_printable(name)) {
        return Err("ERR Client names cannot contain spaces, newlines or special characters.".to_owned());
    }
    if let Some((user, password)) = credentials {
        let_in(cx, user, password)?;
    }
    if !cx.client().is_authenticated && cx.shell.context.doors.need_auth() {
        return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
                    <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
                    the same time"
            .to_owned());
    }
    let client = cx.client();
    if let Some(name) = name {
        client.name.clone_from(name);
    }
    client.protocol = protocol;
    let id = client.id;
    let mut reply = client.reply();
    reply.map(6);
    for (field, value) in [("server", "redis"), ("version", crate::REDIS_VERSION)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.int(if protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.int(id as i64);
    reply.bulk(b"mode");
    reply.bulk(b"sentinel");
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

pub(super) fn quit(cx: &mut Cx<'_>) -> Outcome {
    cx.client().is_closing = true;
    cx.ok()
}

pub(super) fn reset(cx: &mut Cx<'_>) -> Outcome {
    let (needs_auth, user) = {
        let doors = &cx.shell.context.doors;
        (doors.need_auth(), std::sync::Arc::clone(doors.users.default_user()))
    };
    let client = cx.client();
    client.channels.clear();
    client.patterns.clear();
    client.name.clear();
    client.protocol = Protocol::Resp2;
    (client.is_authenticated, client.user) = (!needs_auth, user);
    client.reply().simple("RESET");
    Ok(())
}

pub(super) fn shutdown(cx: &mut Cx<'_>) -> Outcome {
    let is_known = |word: &Vec<u8>| {
        ["nosave", "save", "now", "force"].iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
    };
    if !cx.words[1..].iter().all(is_known) {
        return Err("ERR syntax error".to_owned());
    }
    log::warning("User requested shutdown...");
    cx.shell.context.is_ending = true;
    Ok(())
}

//! CLIENT: names, lists and ends of connections, as client libraries and operators use them.

use super::{Cx, Outcome, unknown_subcommand, wrong_number};
use crate::admin::client::is_printable;
use crate::sentinel::clients::Client;

const HELP: [&str; 15] = [
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port> | KILL [ID <id>] [ADDR <ip:port>] [USER <name>] [TYPE (normal|pubsub)] [SKIPME (yes|no)]",
    "    Kill connections.",
    "LIST",
    "    Return information about client connections.",
    "SETINFO <option> <value>",
    "    Set the name or the version of the client's library.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
];

pub(super) fn client(cx: &mut Cx<'_>) -> Outcome {
    let count = cx.words.len();
    match (cx.text(1).to_lowercase().as_str(), count) {
        ("id", 2) => {
            let id = cx.id as i64;
            cx.client().reply().int(id);
            Ok(())
        }
        ("getname", 2) => {
            let name = cx.client().name.clone();
            match name.is_empty() {
                true => cx.client().reply().null(),
                false => cx.client().reply().bulk(&name),
            }
            Ok(())
        }
        ("setname", 3) => {
            if !is_printable(cx.word(2)) {
                return Err("ERR Client names cannot contain spaces, newlines or special characters.".to_owned());
            }
            cx.client().name = cx.words[2].clone();
            cx.ok()
        }
        ("setinfo", 4) => setinfo(cx),
        ("info", 2) => {
            let line = line(cx.client());
            cx.bulk(line)
        }
        ("list", 2..) => {
            let lines: String = cx.shell.clients.iter().map(line).collect();
            cx.bulk(lines)
        }
        ("kill", 3..) => kill(cx),
        ("no-evict" | "no-touch" | "reply", 3) => cx.ok(),
        ("help", 2) => cx.lines(&HELP.map(str::to_owned)),
        ("id" | "getname" | "setname" | "setinfo" | "info" | "kill", _) => {
            Err(wrong_number(&format!("client|{}", cx.text(1).to_lowercase())))
        }
        _ => Err(unknown_subcommand(cx)),
    }
}

fn setinfo(cx: &mut Cx<'_>) -> Outcome {
    let field = cx.text(2).to_lowercase();
    let index = match field.as_str() {
        "lib-name" => 0,
        "lib-ver" => 1,
        _ => return Err(format!("ERR Unrecognized option '{}'", cx.text(2))),
    };
    if !is_printable(cx.word(3)) {
        return Err(format!("ERR {field} cannot contain spaces, newlines or special characters."));
    }
    cx.client().library[index] = cx.words[3].clone();
    cx.ok()
}

/// A line of CLIENT LIST.
pub(super) fn line(client: &Client) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={} db=0 sub={} psub={} ssub=0 multi=-1 watch=0 qbuf=0 \
         qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={} oll=0 omem=0 tot-mem=0 events=r cmd={} user={} redir=-1 \
         resp={} lib-name={} lib-ver={}\n",
        client.id,
        client.remote,
        client.local,
        text(&client.name),
        client.since.elapsed().as_secs(),
        client.last.elapsed().as_secs(),
        if client.subscriptions() > 0 { "P" } else { "N" },
        client.channels.len(),
        client.patterns.len(),
        client.out.len(),
        client.command,
        text(client.user.name()),
        if client.protocol == quorate_resp::Protocol::Resp3 { 3 } else { 2 },
        text(&client.library[0]),
        text(&client.library[1]),
    )
}

fn kill(cx: &mut Cx<'_>) -> Outcome {
    if cx.words.len() == 3 {
        let addr = cx.text(2);
        let found = cx.shell.clients.iter_mut().find(|client| client.remote.to_string() == addr);
        found.ok_or_else(|| "ERR No such client".to_owned())?.is_closing = true;
        return cx.ok();
    }
    let (mut id, mut addr, mut listens, mut user, mut skip_me) = (None, None, None, None, true);
    for at in (2..cx.words.len()).step_by(2) {
        let value = cx.words.get(at + 1).map(|value| String::from_utf8_lossy(value).to_lowercase());
        match (cx.text(at).to_lowercase().as_str(), value.as_deref()) {
            ("id", Some(value)) => {
                id = Some(value.parse::<u64>().map_err(|_| "ERR client-id should be greater than 0".to_owned())?);
            }
            ("addr", Some(value)) => addr = Some(value.to_owned()),
            ("user", Some(_)) => {
                let name = cx.word(at + 1).to_vec();
                if cx.shell.context.doors.users.get(&name).is_none() {
                    return Err(format!("ERR No such user '{}'", cx.text(at + 1)));
                }
                user = Some(name);
            }
            ("type", Some("normal")) => listens = Some(false),
            ("type", Some("pubsub")) => listens = Some(true),
            ("type", Some("master" | "primary" | "slave" | "replica")) => {
                cx.client().reply().int(0);
                return Ok(());
            }
            ("type", Some(value)) => return Err(format!("ERR Unknown client type '{value}'")),
            ("skipme", Some("yes")) => skip_me = true,
            ("skipme", Some("no")) => skip_me = false,
            _ => return Err("ERR syntax error".to_owned()),
        }
    }
    let (own, mut count) = (cx.id, 0);
    for client in cx.shell.clients.iter_mut() {
        let matches = id.is_none_or(|id| client.id == id)
            && addr.as_ref().is_none_or(|addr| client.remote.to_string() == *addr)
            && user.as_ref().is_none_or(|user| client.user.name() == &**user)
            && listens.is_none_or(|listens| (client.subscriptions() > 0) == listens);
        if matches && !(skip_me && client.id == own) {
            client.is_closing = true;
            count += 1;
        }
    }
    cx.client().reply().int(count);
    Ok(())
}

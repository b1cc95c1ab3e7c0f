//! ACL, and what a user may ask of a Sentinel at all.

use quorate_acl::{Channel, Context, Denied, Reason, Request};
use quorate_commands::{Args, CommandError};
use quorate_resp::ReplyWriter;

use super::{Command, Cx, Outcome, client, unknown_subcommand, wrong_number};
use crate::admin::acl::{HELP_LINES, change, names, password, show};
use crate::data::guard;
use crate::sentinel::users::{self, catalog, terms};
use crate::server::unix_now;

/// Subcommands, each with the least and, if there is one, the greatest number of words.
const SUBCOMMANDS: [(&str, usize, Option<usize>); 13] = [
    ("cat", 2, None),
    ("deluser", 3, None),
    ("dryrun", 4, None),
    ("genpass", 2, None),
    ("getuser", 3, Some(3)),
    ("help", 2, Some(2)),
    ("list", 2, Some(2)),
    ("load", 2, Some(2)),
    ("log", 2, None),
    ("save", 2, Some(2)),
    ("setuser", 3, None),
    ("users", 2, Some(2)),
    ("whoami", 2, Some(2)),
];

pub(super) fn acl(cx: &mut Cx<'_>) -> Outcome {
    let name = cx.text(1).to_lowercase();
    let found = SUBCOMMANDS.iter().find(|(known, ..)| *known == name);
    let Some((name, least, most)) = found else { return Err(unknown_subcommand(cx)) };
    let count = cx.words.len();
    if count < *least || most.is_some_and(|most| count > most) {
        return Err(wrong_number(&format!("acl|{name}")));
    }
    let words: Vec<&[u8]> = cx.words.iter().map(Vec::as_slice).collect();
    run(cx, name, Args::new(&words)).map_err(|error| text(&error))
}

fn text(error: &CommandError) -> String {
    String::from_utf8_lossy(&error.wire()).into_owned()
}

fn run(cx: &mut Cx<'_>, name: &str, args: Args<'_>) -> Result<(), CommandError> {
    let terms = terms(&cx.shell.context.config);
    let client = cx.shell.clients.get_mut(cx.id).expect("a client that asks is there");
    let doors = &mut cx.shell.context.doors;
    let mut reply = ReplyWriter::new(&mut client.out, client.protocol);
    let changed = match name {
        "setuser" => Some((change::with_user(&doors.users, args, terms)?, false)),
        "load" => Some((change::read_file(&cx.shell.context.config, terms)?, true)),
        "deluser" => {
            let (users, count) = change::without_users(&doors.users, args)?;
            reply.count(count);
            users::put_in_force(doors, &mut cx.shell.clients, users, |_| false);
            return Ok(());
        }
        _ => None,
    };
    if let Some((users, ends_all)) = changed {
        reply.ok();
        users::put_in_force(doors, &mut cx.shell.clients, users, |_| ends_all);
        return Ok(());
    }
    match name {
        "whoami" => reply.bulk(client.user.name()),
        "users" => show::write_names(&mut reply, &doors.users),
        "list" => show::write_lines(&mut reply, &doors.users),
        "getuser" => show::write_user(&mut reply, doors.users.get(args.at(2)).map(|user| &**user)),
        "log" => show::answer_log(&mut reply, &mut doors.log, args)?,
        "genpass" => reply.bulk(password(args)?.as_bytes()),
        "save" => {
            change::write_file(&cx.shell.context.config, &doors.users)?;
            reply.ok();
        }
        "cat" => {
            let names = names(catalog(), args)?;
            reply.array(names.len());
            names.iter().for_each(|name| reply.bulk(name.as_bytes()));
        }
        "dryrun" => return dryrun(cx, args),
        _ => {
            reply.array(HELP_LINES.len());
            HELP_LINES.iter().for_each(|line| reply.simple(line));
        }
    }
    Ok(())
}

fn dryrun(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(user) = cx.shell.context.doors.users.get(args.at(2)).cloned() else {
        return Err(CommandError::Bytes([b"ERR User '", args.at(2), b"' not found"].concat()));
    };
    let words = args.from(3);
    let Some(command) = super::find(words[0]) else {
        return Err(CommandError::Bytes([b"ERR Command '", words[0], b"' not found"].concat()));
    };
    if !command.arity.accepts(words.len()) {
        return Err(CommandError::Arity(command.name.to_owned()));
    }
    let (name, checked) = check(&user, command, words);
    let mut reply = cx.client().reply();
    match checked {
        Ok(()) => reply.ok(),
        Err(denied) => reply.bulk(&guard::sentence(denied, user.name(), name, object(denied, words))),
    }
    Ok(())
}

/// The channel that is denied; there are no keys here.
fn object<'a>(denied: Denied, words: &[&'a [u8]]) -> Option<&'a [u8]> {
    match denied {
        Denied::Command => None,
        Denied::Key(index) | Denied::Channel(index) => words.get(index).copied(),
    }
}

/// Whether a user may ask this, and what it is called in rules.
fn check(user: &quorate_acl::User, command: &Command, words: &[&[u8]]) -> (&'static str, Result<(), Denied>) {
    let with_subcommand = words.get(1).and_then(|sub| catalog().find(&[command.name.as_bytes(), b"|", sub].concat()));
    let id = with_subcommand.or_else(|| catalog().find(command.name.as_bytes()));
    let id = id.expect("the catalog is made of the commands");
    let is_pattern = command.name == "psubscribe";
    let named = match command.name {
        "subscribe" | "psubscribe" => words.len(),
        "publish" => 2,
        _ => 0,
    };
    let channels: Vec<Channel<'_>> =
        (1..named).map(|index| Channel { index, name: words[index], is_pattern }).collect();
    let first_argument = words.get(1).copied();
    let request = Request { command: id, is_free: command.is_first, first_argument, keys: &[], channels: &channels };
    (catalog().name(id), user.check(&request))
}

/// What the client's user may not ask, which is noted.
pub(super) fn denied(cx: &mut Cx<'_>, command: &Command) -> Option<String> {
    let user = std::sync::Arc::clone(&cx.client().user);
    if user.is_unrestricted() {
        return None;
    }
    let words: Vec<&[u8]> = cx.words.iter().map(Vec::as_slice).collect();
    let (name, checked) = check(&user, command, &words);
    let denied = checked.err()?;
    let (reason, object) = match denied {
        Denied::Command => (Reason::Command, name.as_bytes()),
        Denied::Key(index) => (Reason::Key, words[index]),
        Denied::Channel(index) => (Reason::Channel, words[index]),
    };
    note(cx, reason, object, user.name());
    let sentence = guard::sentence(denied, user.name(), name, None);
    Some(format!("NOPERM {}", String::from_utf8_lossy(&sentence)))
}

/// Notes what was denied.
pub(super) fn note(cx: &mut Cx<'_>, reason: Reason, object: &[u8], user: &[u8]) {
    let description = client::line(cx.client()).trim_end().to_owned();
    let most = usize::try_from(cx.shell.context.config.security.acl_log_len_max).unwrap_or(usize::MAX);
    let now = u64::try_from(unix_now().0).unwrap_or(0);
    cx.shell.context.doors.log.note((reason, Context::TopLevel), object, user, description, now, most);
}

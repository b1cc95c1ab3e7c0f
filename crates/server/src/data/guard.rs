//! What a client's user may do: asked before a request runs, unless the user may do everything, which the session says.
//!
//! The rules are `quorate-acl`'s. Here a command and its words become a request as rules see it, and what is denied
//! becomes an error and an entry of the log. How users change is in `users.rs`.

use std::sync::Arc;

use quorate_acl::{Channel, CommandId, Context, Denied, Key, Need, Reason, Request, User};
use quorate_commands::{Access, Args, CommandError, Flags};
use smallvec::SmallVec;

use crate::data::client::{Client, Session};
use crate::data::table::{Command, table};
use crate::server::{Server, unix_now};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The user's rules say so.
    Denied(Denied),
    /// It would read keys that its words don't name, and the user may not read every key.
    Reaches(&'static str),
}

/// Whether the session's user may run this.
#[cold]
pub fn judge(session: &Session, command: &Command, args: Args<'_>) -> Option<Refusal> {
    let user = session.user.as_deref()?;
    match check(user, command, args) {
        Err(denied) => Some(Refusal::Denied(denied)),
        Ok(()) => reaches_too_far(user, command, args).map(Refusal::Reaches),
    }
}

/// Whether a user may run this, as far as the request's words tell.
///
/// # Errors
/// What it may not.
pub fn check(user: &User, command: &Command, args: Args<'_>) -> Result<(), Denied> {
    if user.is_unrestricted() {
        return Ok(());
    }
    let keys = keys_of(command, args);
    let channels = channels_of(command, args);
    user.check(&Request {
        command: CommandId(command.index),
        is_free: command.spec.flags.has(Flags::NO_AUTH),
        first_argument: args.get(1),
        keys: &keys,
        channels: &channels,
    })
}

fn keys_of<'a>(command: &Command, args: Args<'a>) -> SmallVec<[Key<'a>; 8]> {
    let spec = command.spec;
    let mut all = SmallVec::new();
    for (keys, access) in spec.keys {
        let mut indices = quorate_commands::Indices::new();
        keys.find(args, &mut indices);
        let need = need(spec.precisely.map_or(*access, |precisely| precisely(args)));
        all.extend(indices.into_iter().map(|index| Key { index, name: args.at(index), need }));
    }
    all
}

/// What a user must be allowed at a key to which this is done.
fn need(access: Access) -> Need {
    let has = |flag| access.flags().contains(&flag);
    Need { read: has("access"), write: has("insert") || has("update") || has("delete") }
}

/// The channels that a request sends to or begins to listen to; to stop is always allowed.
fn channels_of<'a>(command: &Command, args: Args<'a>) -> SmallVec<[Channel<'a>; 4]> {
    let is_pattern = match table().catalog().name(CommandId(command.index)) {
        "publish" | "spublish" => {
            return args.get(1).map(|name| Channel { index: 1, name, is_pattern: false }).into_iter().collect();
        }
        "subscribe" | "ssubscribe" => false,
        "psubscribe" => true,
        _ => return SmallVec::new(),
    };
    let names = args.words().iter().enumerate().skip(1);
    names.map(|(index, name)| Channel { index, name, is_pattern }).collect()
}

/// SORT's BY and GET name keys that only the data tell.
fn reaches_too_far(user: &User, command: &Command, args: Args<'_>) -> Option<&'static str> {
    if !matches!(table().catalog().name(CommandId(command.index)), "sort" | "sort_ro")
        || user.reads_all_keys_with(CommandId(command.index), args.get(1))
    {
        return None;
    }
    let mut at = 2;
    while at < args.len() {
        let left = args.len() - at - 1;
        at += if args.is(at, "LIMIT") && left >= 2 {
            3
        } else if args.is(at, "STORE") && left >= 1 {
            2
        } else if args.is(at, "BY") && left >= 1 {
            if args.at(at + 1).contains(&b'*') {
                return Some("ERR BY option of SORT denied due to insufficient ACL permissions.");
            }
            2
        } else if args.is(at, "GET") && left >= 1 {
            return Some("ERR GET option of SORT denied due to insufficient ACL permissions.");
        } else if ["ASC", "DESC", "ALPHA"].iter().any(|word| args.is(at, word)) {
            1
        } else {
            // Not the command's form, which is told before anything is read.
            return None;
        };
    }
    None
}

/// What a client is told, in the words of the place where it is told; what is denied is noted.
#[cold]
pub fn explain(
    server: &Server,
    client: &Client,
    session: &Session,
    command: &Command,
    args: Args<'_>,
    (refusal, context): (Refusal, Context),
) -> CommandError {
    let denied = match refusal {
        Refusal::Denied(denied) => denied,
        Refusal::Reaches(text) => return CommandError::text(text),
    };
    let name = table().catalog().name(CommandId(command.index));
    let (reason, object) = match denied {
        Denied::Command => (Reason::Command, name.as_bytes()),
        Denied::Key(index) => (Reason::Key, args.at(index)),
        Denied::Channel(index) => (Reason::Channel, args.at(index)),
    };
    note(server, client, session, (reason, context), object, session.user_name());
    let user = session.user_name();
    CommandError::Bytes(match context {
        Context::TopLevel => [b"NOPERM ", &*sentence(denied, user, name, None)].concat(),
        Context::Lua => [b"ERR ACL failure in script: ", &*sentence(denied, user, name, None)].concat(),
        Context::Multi if session.transaction.is_some() => [b"NOPERM ", &*sentence(denied, user, name, None)].concat(),
        Context::Multi => {
            let why = match denied {
                Denied::Command => "no permission to execute the command or subcommand",
                Denied::Key(_) => "no permission to touch the specified keys",
                Denied::Channel(_) => "no permission to access one of the channels used as arguments to the command",
            };
            format!(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
                 command is no longer allowed for the following reason: {why}"
            )
            .into_bytes()
        }
    })
}

/// What is denied, in a sentence; which key or channel it is is told only to who is given it as `object`.
pub fn sentence(denied: Denied, user: &[u8], command: &str, object: Option<&[u8]>) -> Vec<u8> {
    let (kind, short) = match denied {
        Denied::Command => {
            let end = format!(" has no permissions to run the '{command}' command");
            return [b"User ", user, end.as_bytes()].concat();
        }
        Denied::Key(_) => ("key", "No permissions to access a key"),
        Denied::Channel(_) => ("channel", "No permissions to access a channel"),
    };
    match object {
        None => short.as_bytes().to_vec(),
        Some(object) => {
            [b"User ", user, b" has no permissions to access the '", object, b"' ", kind.as_bytes()].concat()
        }
    }
}

/// Notes what was denied in the log (ACL LOG), and counts it.
pub fn note(server: &Server, client: &Client, session: &Session, what: (Reason, Context), object: &[u8], user: &[u8]) {
    let description = crate::admin::client::describe(client, session, server.now(), 0);
    let most = usize::try_from(server.config.load().security.acl_log_len_max).unwrap_or(usize::MAX);
    let now = u64::try_from(unix_now().0).unwrap_or(0);
    server.acl_log.lock().note(what, object, user, description, now, most);
}

/// Where a client of which `session` is is told what it may not.
pub fn context_of(session: &Session) -> Context {
    if session.transaction.is_some() { Context::Multi } else { Context::TopLevel }
}

/// As which user a thread may serve a client that is set aside: none for one that may do everything.
pub fn limits_of(session: &Session) -> Option<Arc<User>> {
    session.user.clone().filter(|_| !session.unrestricted)
}

#[cfg(test)]
mod tests {
    use quorate_acl::{Terms, merge};

    use super::*;
    use crate::data::dispatch::resolve;

    fn told(rules: &str, line: &str) -> String {
        let terms = Terms { catalog: table().catalog(), all_channels: false };
        let rules = merge(&rules.split(' ').collect::<Vec<_>>()).unwrap();
        let user = User::new(b"u", terms).with(&rules, terms).unwrap();
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let args = Args::new(&words);
        let command = resolve(args).unwrap_or_else(|error| panic!("{line}: {error}"));
        match check(&user, command, args) {
            Ok(()) => reaches_too_far(&user, command, args).unwrap_or("OK").to_owned(),
            Err(Denied::Command) => "command".to_owned(),
            Err(Denied::Key(index) | Denied::Channel(index)) => line.split(' ').nth(index).unwrap().to_owned(),
        }
    }

    #[test]
    fn keys_are_allowed_by_what_is_done_to_them() {
        let rules = "+@all %R~read* %W~write* %RW~rw*";
        for (line, expected) in [
            ("GET read", "OK"),
            ("GET write", "write"),
            ("SET write x", "OK"),
            ("SET write x GET", "write"),
            ("COPY read write", "OK"),
            ("COPY write read", "write"),
            ("SORT read STORE write", "OK"),
            ("SORT read STORE read2", "read2"),
            ("EVAL x 1 rw", "OK"),
            ("EVAL x 1 read", "read"),
            ("EVAL_RO x 1 read", "OK"),
            ("EVAL x 3 read read", "OK"),
            ("MIGRATE h p  0 1 AUTH2 KEYS 1 KEYS read", "read"),
            ("GEORADIUS read 1 1 1 M STOREDIST write", "OK"),
            ("GEORADIUS write 1 1 1 M STOREDIST write", "write"),
            ("EXISTS read write", "OK"),
            ("EXISTS other", "other"),
            ("BITFIELD read GET u4 0", "OK"),
            ("BITFIELD read SET u4 0 1", "read"),
        ] {
            assert_eq!(told(rules, line), expected, "{line}");
        }
    }

    #[test]
    fn channels_are_allowed_by_name_and_to_stop_is_always_allowed() {
        let rules = "+@all &a &b:*";
        for (line, expected) in [
            ("PUBLISH a x", "OK"),
            ("SPUBLISH b:1 x", "OK"),
            ("SUBSCRIBE a c", "c"),
            ("SSUBSCRIBE b:1", "OK"),
            ("PSUBSCRIBE b:*", "OK"),
            ("PSUBSCRIBE b:1", "b:1"),
            ("UNSUBSCRIBE c", "OK"),
        ] {
            assert_eq!(told(rules, line), expected, "{line}");
        }
    }

    #[test]
    fn sort_reads_other_keys_only_for_who_may_read_all() {
        assert_eq!(told("+sort ~l", "SORT l BY nosort"), "OK");
        assert!(told("+sort ~l", "SORT l BY x*").starts_with("ERR BY"));
        assert!(told("+sort ~l %W~*", "SORT l LIMIT 0 1 GET x").starts_with("ERR GET"));
        assert_eq!(told("+sort ~l %R~*", "SORT l GET x BY y*"), "OK");
        assert!(told("+sort ~l (+get ~*)", "SORT l GET x").starts_with("ERR GET"));
    }
}

//! MIGRATE: keys handed over to another server.
//!
//! A key is in one of the two servers at any time, whoever looks. So the keys' slots stay locked from the moment in
//! which the values are dumped to that in which those are removed that the other server has confirmed: nobody can
//! change in between what would then be removed. Who needs one of these slots waits as long, and so do the other
//! clients of the same network thread and whoever wants to be alone; Redis lets all wait. Every wait for the other
//! server is bounded by the request's timeout, and the connection is made before anything is locked.
//!
//! If the answers stop coming, what was not confirmed stays here. It may have arrived there all the same.

mod link;

use std::time::Duration;

use quorate_commands::{Access, Args, Arity, Class, CommandError, Flags, Group, Indices, Keys, Origin, Outcome};
use quorate_commands::{Run, Spec};
use quorate_formats::dump;
use quorate_formats::rdb::WriteOptions;
use quorate_keyspace::{Db, KeyView, SlotSet};
use quorate_stdx::UnixMs;

use crate::data::call::{self, Cx, Local};
use crate::data::own_expiries;
use link::{Broken, Link};

pub use link::Links;

/// MIGRATE host port key|"" destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] [KEYS key ...]
static MIGRATE: Spec = Spec {
    name: "migrate",
    group: Group::Generic,
    arity: Arity::AtLeast(6),
    flags: Flags::WRITE.and(Flags::MOVABLE_KEYS).and(Flags::DANGEROUS),
    keys: &[(Keys::Parsed(find_keys), Access::READ_DELETE)],
    tips: &["nondeterministic_output"],
    since: "2.6.0",
    complexity: "O(N) for values of N bytes, and their way to the other server.",
    summary: "Hands keys over to another server.",
    run: Run::Server,
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(&MIGRATE, &[("", migrate)])];

const FIRST_OPTION: usize = 6;

/// Where the keys are: behind KEYS, or at their usual place.
fn find_keys(args: Args<'_>, indices: &mut Indices) {
    let mut at = FIRST_OPTION;
    while at < args.len() {
        if args.is(at, "KEYS") {
            indices.extend(at + 1..args.len());
            return;
        }
        at += 1 + credentials_len(args, at);
    }
    if args.len() > 3 {
        indices.push(3);
    }
}

/// How many arguments belong to the option at `at`, if it says who we are.
fn credentials_len(args: Args<'_>, at: usize) -> usize {
    if args.is(at, "AUTH") {
        1
    } else if args.is(at, "AUTH2") {
        2
    } else {
        0
    }
}

/// Whether the argument at `index` is part of a name and password.
pub fn is_secret(args: Args<'_>, index: usize) -> bool {
    let mut at = FIRST_OPTION;
    while at < index {
        let len = credentials_len(args, at);
        if args.is(at, "KEYS") {
            return false;
        }
        if index <= at + len {
            return true;
        }
        at += 1 + len;
    }
    false
}

/// What a request says.
struct Request<'a> {
    host: &'a [u8],
    port: &'a [u8],
    /// The other server's database. It is for that server to say whether there is one.
    db: i64,
    timeout: Duration,
    keeps: bool,
    replaces: bool,
    /// The command that makes the keys: in a cluster their slot is on its way and not there yet.
    restore: &'static [u8],
    /// What AUTH is to say.
    credentials: &'a [&'a [u8]],
    keys: &'a [&'a [u8]],
}

impl<'a> Request<'a> {
    fn parse(args: Args<'a>) -> Result<Request<'a>, CommandError> {
        const NOT_EMPTY: CommandError =
            CommandError::text("ERR When using MIGRATE KEYS option, the key argument must be set to the empty string");
        let (mut keeps, mut replaces) = (false, false);
        let mut credentials: &[&[u8]] = &[];
        let mut keys = &args.words()[3..4];
        let mut at = FIRST_OPTION;
        while at < args.len() {
            let len = credentials_len(args, at);
            if args.is(at, "COPY") {
                keeps = true;
            } else if args.is(at, "REPLACE") {
                replaces = true;
            } else if len > 0 && at + len < args.len() {
                credentials = &args.words()[at + 1..=at + len];
            } else if args.is(at, "KEYS") {
                if !args.at(3).is_empty() {
                    return Err(NOT_EMPTY);
                }
                keys = args.from(at + 1);
                break;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1 + len;
        }
        let timeout = args.int(5)?;
        let timeout = u64::try_from(timeout).ok().filter(|millis| *millis > 0).unwrap_or(1000);
        let timeout = Duration::from_millis(timeout);
        Ok(Request {
            host: args.at(1),
            port: args.at(2),
            db: args.int(4)?,
            timeout,
            keeps,
            replaces,
            restore: b"RESTORE",
            credentials,
            keys,
        })
    }
}

fn migrate(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let mut request = Request::parse(args)?;
    if cx.server.node().is_some() {
        request.restore = b"RESTORE-ASKING";
    }
    let db = cx.session.db;
    let (server, local) = (cx.server, &mut *cx.local);
    let slots = || SlotSet::of_keys(request.keys.iter().copied());
    let gives_up = || cx.origin == Origin::Client && server.scripts.is_busy();
    let view = cx.access.view_unless(slots(), cx.scope, gives_up).ok_or_else(|| server.scripts.busy_error())?;
    let any = request.keys.iter().any(|key| view.peek(db, key).is_some());
    drop(view);
    if !any {
        cx.reply().simple("NOKEY");
        return Ok(());
    }
    // As between the nodes of a cluster.
    let contexts = server.tls.load();
    let tls = contexts.as_ref().filter(|_| server.config.load().tls.cluster).map(|contexts| contexts.outgoing());
    let mut link = Link::to(&server.migrations, &request, tls).map_err(Broken::into_error)?;
    let mut view = cx.access.view_unless(slots(), cx.scope, gives_up).ok_or_else(|| server.scripts.busy_error())?;
    let parcels = pack(&mut view, server.now().unix, db, request.keys);
    let delivery = link::deliver(&mut link, &request, tls, &parcels);
    if !request.keeps {
        let taken = parcels.iter().zip(&delivery.taken).filter(|(_, taken)| **taken).map(|(parcel, _)| parcel.key);
        remove(&mut view, local, db, taken);
    }
    if cx.origin == Origin::Client {
        // In the log before the slots are free.
        call::log_effects(server, &mut view, local, db, args, None);
        own_expiries::note(server, local, &view, cx.origin, db, request.keys.iter().copied());
        local.effects.clear();
    } else {
        call::gather_notices(&mut view, local);
    }
    drop(view);
    let was_refused = delivery.refusal.is_some();
    if let Some(broken) = delivery.broken {
        return Err(broken.into_error());
    }
    link.give_back(&server.migrations, was_refused);
    match delivery.refusal {
        Some(text) => {
            Err(CommandError::Bytes([b"ERR Target instance replied with error: ".as_slice(), &text].concat()))
        }
        None if parcels.is_empty() => {
            // All have gone while the connection was made.
            cx.reply().simple("NOKEY");
            Ok(())
        }
        None => {
            cx.reply().ok();
            Ok(())
        }
    }
}

/// A key on its way.
struct Parcel<'a> {
    key: &'a [u8],
    /// Milliseconds that it has left to live; 0 if it lives forever.
    ttl: i64,
    payload: Vec<u8>,
}

fn pack<'a>(view: &mut KeyView<'_>, now: UnixMs, db: Db, keys: &[&'a [u8]]) -> Vec<Parcel<'a>> {
    let mut parcels = Vec::with_capacity(keys.len());
    for &key in keys {
        let Some(entry) = view.read(db, key) else { continue };
        let ttl = match entry.expiry() {
            None => 0,
            // It may have expired while it waited for its turn; what is there now is sent to live a moment.
            Some(at) => (at.0 - now.0).max(1),
        };
        let mut payload = Vec::new();
        dump::encode(&mut payload, entry.value(), &WriteOptions::default());
        parcels.push(Parcel { key, ttl, payload });
    }
    parcels
}

/// Removes what is now elsewhere.
fn remove<'k>(view: &mut KeyView<'_>, local: &mut Local, db: Db, keys: impl Iterator<Item = &'k [u8]>) {
    let mut words: Vec<&[u8]> = vec![b"DEL"];
    for key in keys {
        // A key may have been named twice.
        let Some(entry) = view.remove(db, key) else { continue };
        view.discard(entry, view.scope().lazy.server_del);
        local.events.note(Class::GENERIC, "del", db, key);
        words.push(key);
    }
    if words.len() > 1 {
        local.effects.changed(words.len() - 1);
        local.effects.record(db, &words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(|word| if word == "''" { "" } else { word }.as_bytes()).collect()
    }

    fn refusal(line: &str) -> String {
        Request::parse(Args::new(&words(line))).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_request_is_understood_or_refused() {
        let line = words("MIGRATE host 6379 '' 2 0 copy REPLACE AUTH2 KEYS secret keys a b");
        let request = Request::parse(Args::new(&line)).unwrap();
        assert_eq!((request.db, request.timeout), (2, Duration::from_secs(1)));
        assert!(request.keeps && request.replaces);
        assert_eq!(request.credentials, [b"KEYS".as_slice(), b"secret"]);
        assert_eq!(request.keys, [b"a", b"b"]);
        for (line, expected) in [
            ("MIGRATE h 1 k 0 1", ""),
            (
                "MIGRATE h 1 k 0 1 KEYS a",
                "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
            ),
            ("MIGRATE h 1 k 0 1 AUTH", "ERR syntax error"),
            ("MIGRATE h 1 k 0 1 AUTH2 user", "ERR syntax error"),
            ("MIGRATE h 1 k 0 1 COPYING", "ERR syntax error"),
            ("MIGRATE h 1 k x 1", "ERR value is not an integer or out of range"),
            ("MIGRATE h 1 k 0 soon", "ERR value is not an integer or out of range"),
        ] {
            assert_eq!(refusal(line), expected, "{line}");
        }
    }

    #[test]
    fn keys_are_found_in_either_place() {
        let found = |line: &str| {
            let mut indices = Indices::new();
            find_keys(Args::new(&words(line)), &mut indices);
            indices.to_vec()
        };
        assert_eq!(found("MIGRATE h 1 k 0 1 COPY"), [3]);
        assert_eq!(found("MIGRATE h 1 '' 0 1 AUTH keys KEYS a b"), [9, 10]);
        assert_eq!(found("MIGRATE h 1 '' 0 1 AUTH keys"), [3]);
        assert!(found("MIGRATE h 1 '' 0 1 KEYS").is_empty());
    }

    #[test]
    fn names_and_passwords_are_secret() {
        let secret = |line: &str| -> Vec<usize> {
            let words = words(line);
            (0..words.len()).filter(|&index| is_secret(Args::new(&words), index)).collect()
        };
        assert_eq!(secret("MIGRATE h 1 k 0 1 COPY AUTH secret REPLACE"), [8]);
        assert_eq!(secret("MIGRATE h 1 '' 0 1 AUTH2 user secret KEYS AUTH a"), [7, 8]);
        assert!(secret("MIGRATE auth auth2 auth 0 1").is_empty());
    }
}

//! MONITOR: clients that are shown every command, and what of a command may be shown at all.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use quorate_commands::{Args, Arity, CommandError, Flags, Group, Origin, Outcome, Run, Spec};
use quorate_keyspace::Db;

use crate::data::call::Cx;
use crate::data::client::{ClientId, Kind, Peer, Session};
use crate::data::pubsub::Listener;
use crate::data::table::Command;
use crate::data::worker::Mail;
use crate::server::Server;

/// MONITOR
pub static MONITOR: Spec = Spec {
    name: "monitor",
    group: Group::Server,
    arity: Arity::Exactly(1),
    flags: Flags::ADMIN.and(Flags::NO_SCRIPT).and(Flags::LOADING).and(Flags::STALE),
    since: "1.0.0",
    summary: "Shows every command that is run from here on.",
    run: Run::Server,
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(&MONITOR, &[("", monitor)])];

/// Who watches; with nobody it costs one load a command.
#[derive(Default)]
pub struct Monitors {
    any: AtomicBool,
    all: Mutex<Vec<Listener>>,
}

impl Monitors {
    /// Whether anybody watches.
    #[inline]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// A client has gone, or wants no more.
    pub fn remove(&self, client: ClientId) {
        let mut all = self.all.lock();
        all.retain(|listener| listener.client != client);
        self.any.store(!all.is_empty(), Ordering::Relaxed);
    }

    /// Sends a line to all.
    pub fn feed(&self, server: &Server, line: &[u8]) {
        let bytes: Arc<[u8]> = line.into();
        for listener in &*self.all.lock() {
            server.mail(listener.worker, Mail::Feed { client: listener.client, bytes: Arc::clone(&bytes) });
        }
    }
}

fn monitor(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    if cx.origin != Origin::Client {
        return Err(CommandError::text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if cx.session.kind == Kind::Normal {
        cx.session.kind = Kind::Monitor;
        let monitors = &cx.server.monitors;
        monitors.all.lock().push(Listener { client: cx.client.id, worker: cx.client.worker });
        monitors.any.store(true, Ordering::Relaxed);
    }
    cx.reply().ok();
    Ok(())
}

/// Shows a command that was run, if anybody watches.
#[inline]
pub fn show(server: &Server, session: &Session, command: &Command, args: Args<'_>, origin: Origin) {
    if server.monitors.any() && !command.spec.flags.any(Flags::SKIP_MONITOR.and(Flags::ADMIN)) {
        server.monitors.feed(server, &line(session, command, args, origin));
    }
}

/// A command as MONITOR shows it.
#[cold]
pub fn line(session: &Session, command: &Command, args: Args<'_>, origin: Origin) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let source = match (origin, &session.peer) {
        (Origin::Script, _) => "lua".to_owned(),
        (_, Peer::Inet { remote, .. }) => remote.to_string(),
        (_, Peer::Unix(path)) => format!("unix:{path}"),
    };
    let Db(db) = session.db;
    let mut line = format!("+{}.{:06} [{db} {source}]", now.as_secs(), now.subsec_micros());
    for (index, word) in args.words().iter().enumerate() {
        line.push(' ');
        quote(&mut line, if is_secret(command, args, index) { b"(redacted)" } else { word });
    }
    line.push_str("\r\n");
    line.into_bytes()
}

/// Appends `word` in quotes, with everything escaped that is not printable ASCII.
fn quote(line: &mut String, word: &[u8]) {
    line.push('"');
    for &byte in word {
        match byte {
            b'"' | b'\\' => {
                line.push('\\');
                line.push(char::from(byte));
            }
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            0x07 => line.push_str("\\a"),
            0x08 => line.push_str("\\b"),
            b' '..=b'~' => line.push(char::from(byte)),
            _ => {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
    line.push('"');
}

/// Whether the argument at `index` is a password, or whatever else is shown nowhere.
pub fn is_secret(command: &Command, args: Args<'_>, index: usize) -> bool {
    match command.full_name.as_str() {
        "auth" => index > 0,
        "hello" => {
            let credentials = (2..args.len()).find(|&at| args.is(at, "AUTH"));
            credentials.is_some_and(|at| index == at + 1 || index == at + 2)
        }
        "config|set" => {
            let secret = ["requirepass", "masterauth", "masteruser", "tls-key-file-pass", "tls-client-key-file-pass"];
            index >= 3 && index % 2 == 1 && secret.iter().any(|name| args.is(index - 1, name))
        }
        "acl|setuser" => index > 1,
        "migrate" => super::migrate::is_secret(args, index),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dispatch::resolve;

    fn shown(line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let args = Args::new(&words);
        let command = resolve(args).unwrap_or_else(|error| panic!("{line}: {error}"));
        let word =
            |index: usize| if is_secret(command, args, index) { "*" } else { line.split(' ').nth(index).unwrap() };
        (0..words.len()).map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn passwords_are_shown_nowhere() {
        assert_eq!(shown("AUTH secret"), "AUTH *");
        assert_eq!(shown("AUTH user secret"), "AUTH * *");
        assert_eq!(shown("HELLO 3 SETNAME a AUTH user secret"), "HELLO 3 SETNAME a AUTH * *");
        assert_eq!(shown("HELLO 3 AUTH user secret SETNAME a"), "HELLO 3 AUTH * * SETNAME a");
        assert_eq!(shown("ACL SETUSER user on >secret"), "ACL SETUSER * * *");
        assert_eq!(shown("SET auth secret"), "SET auth secret");
    }

    #[test]
    fn what_can_not_be_printed_is_escaped() {
        let mut line = String::new();
        quote(&mut line, b"a\x00\n\"\\\x7f\xe4~");
        assert_eq!(line, r#""a\x00\n\"\\\x7f\xe4~""#);
    }
}

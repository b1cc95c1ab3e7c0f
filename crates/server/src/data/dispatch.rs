//! From a request's words to its command: found, checked, queued, postponed or run.

use std::borrow::Cow;
use std::sync::Arc;

use quorate_commands::{Args, CommandError, Flags, Origin};
use quorate_keyspace::{Place, Scope, SlotSet};
use quorate_resp::ReplyWriter;
use quorate_stdx::Now;

use crate::data::call::{Access, After, Cx, Local};
use crate::data::client::{Blocked, Client, Closing, Kind, Queued, ReplyMode, Session, Watch};
use crate::data::evict::{self, Room};
use crate::data::gates::{self, Asked, Gate};
use crate::data::guard;
use crate::data::net::Net;
use crate::data::redirect;
use crate::data::stream;
use crate::data::table::{Command, Runner, table};
use crate::data::worker::Worker;
use crate::server::Server;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is done with (answered, queued, or its client waits).
    Done,
    /// Nothing was done; it has to be tried again later.
    Postponed,
}

/// Handles one request of a client of this thread; `place` is where its first argument belongs if that is a key of the
/// selected database, as far as that is known already.
#[inline]
pub fn request(
    worker: &mut Worker,
    client: &Arc<Client>,
    words: &[&[u8]],
    raw: Option<&[u8]>,
    place: Option<Place>,
) -> Step {
    // SAFETY: the worker owns the client and is active; the reference ends before it is ever not.
    let session = unsafe { client.session() };
    let args = Args::new(words);
    let command = match resolve(args) {
        Ok(command) => command,
        Err(error) => return refuse_unresolved(&mut worker.local, session, args, &error),
    };
    session.commands += 1;
    session.last_command = Some(command);
    let (server, member, local, scope, _) = worker.parts();
    if local.saw_busy
        && let Some(error) = kept_by_busy_script(server, command, args)
    {
        local.stats.rejected(command);
        refuse(local, session, Some(command), &error);
        return Step::Done;
    }
    let no_room = evict::make_room(server, member, local, scope) == Room::None;
    local.no_room = no_room;
    let mut if_present = false;
    match gates::pass(server, &local.published, session, command, Asked { args, no_room }) {
        Gate::Open => {}
        Gate::OpenIfPresent => if_present = !redirect::looks_itself(command),
        Gate::Elsewhere(error) => {
            local.stats.rejected(command);
            send_elsewhere(local, session, command, &error);
            return Step::Done;
        }
        Gate::Refused(error) => return reject(local, session, command, &error),
        Gate::Denied(refusal) => {
            let what = (refusal, guard::context_of(session));
            let error = guard::explain(server, client, session, command, args, what);
            return reject(local, session, command, &error);
        }
        Gate::Wait => {
            session.blocked = Some(Blocked::OnPause);
            return Step::Postponed;
        }
    }
    if is_queued(session, command) {
        queue(local, session, command, args);
        return Step::Done;
    }
    let mut done = true;
    if needs_alone(session, command, args) || if_present {
        done = run_alone(worker, client, command, args, raw);
    } else {
        let (server, member, local, scope, now, net) = worker.parts_with_net();
        run(server, client, Access::Active(member), local, scope, now, net, command, args, raw, place);
        if worker.local.after == After::Again {
            worker.local.after = After::Nothing;
            done = run_alone(worker, client, command, args, raw);
        }
    }
    if !done {
        // SAFETY: as above; the reference from there is not used any more.
        let session = unsafe { client.session() };
        let (server, _, local, ..) = worker.parts();
        refuse(local, session, Some(command), &server.scripts.busy_error());
    }
    Step::Done
}

/// A gate has refused it.
#[cold]
fn reject(local: &mut Local, session: &mut Session, command: &Command, error: &CommandError) -> Step {
    local.stats.rejected(command);
    refuse(local, session, Some(command), error);
    Step::Done
}

/// What is asked for is no command, or not so.
#[cold]
fn refuse_unresolved(local: &mut Local, session: &mut Session, args: Args<'_>, error: &CommandError) -> Step {
    if let Some(command) = named(args) {
        local.stats.rejected(command);
    }
    refuse(local, session, None, error);
    Step::Done
}

/// What the client is told if a busy script keeps it waiting: everybody waits, but for the commands that may always
/// run, and that which ends the server.
#[cold]
fn kept_by_busy_script(server: &Server, command: &Command, args: Args<'_>) -> Option<CommandError> {
    let is_shutdown = command.spec.name == "shutdown";
    let is_free = ends_scripts(command, args) || (command.spec.flags.has(Flags::ALLOW_BUSY) && !is_shutdown);
    (!is_free && server.scripts.is_busy()).then(|| server.scripts.busy_error())
}

fn ends_scripts(command: &Command, args: Args<'_>) -> bool {
    command.spec.name == "shutdown" && (1..args.len()).any(|index| args.is(index, "NOSAVE"))
}

/// Runs a command while every other thread is quiet; false if a busy script stands in the way.
fn run_alone(
    worker: &mut Worker,
    client: &Arc<Client>,
    command: &'static Command,
    args: Args<'_>,
    raw: Option<&[u8]>,
) -> bool {
    let ends_scripts = ends_scripts(command, args);
    if ends_scripts {
        worker.parts().0.scripts.end_all();
    }
    let ran = worker.alone(!ends_scripts, |server, access, local, scope, now, net| {
        run(server, client, access, local, scope, now, net, command, args, raw, None)
    });
    ran.is_some()
}

#[allow(clippy::too_many_arguments, reason = "they are a context taken apart, put together at once")]
#[inline]
fn run(
    server: &Arc<Server>,
    client: &Arc<Client>,
    access: Access<'_, '_>,
    local: &mut Local,
    scope: &Scope,
    now: Now,
    net: &mut Net,
    command: &'static Command,
    args: Args<'_>,
    raw: Option<&[u8]>,
    place: Option<Place>,
) {
    // SAFETY: the caller owns the client and is active, or is alone.
    let session = unsafe { client.session() };
    let mut access = access;
    if !local.published.all_clear
        && let Some(error) = redirect::absent_while_alone(&local.published, &mut access, scope, session, command, args)
    {
        return send_elsewhere(local, session, command, &error);
    }
    let mut out = std::mem::take(&mut session.out);
    let start = out.len();
    let mode = session.replies;
    let imported;
    let scope = match session.kind {
        // When a key of its slots has expired, the node that sends them says so.
        Kind::Importer => {
            imported = Scope { expiry: stream::EXPIRY, rng: scope.rng.clone(), acting: scope.acting.clone(), ..*scope };
            &imported
        }
        _ => scope,
    };
    let origin = Origin::Client;
    let net = Some(net);
    Cx { server, client, session, access, scope, local, net, out: &mut out, now, origin, command }
        .call_at(args, raw, place);
    // SAFETY: as above; the context, which held the earlier reference, is gone.
    let session = unsafe { client.session() };
    if local.after == After::Again {
        session.out = out;
        return;
    }
    if session.kind == Kind::Replica {
        // What it gets comes through its link; a SYNC has moved earlier replies there.
        if out.len() > start {
            answered_replica(session, Some(command), &out[start..]);
        }
        out.truncate(start.min(out.len()));
    }
    let start = if session.kind == Kind::Importer { answered_importer(session, command, &out, start) } else { start };
    // What tells of subscriptions is no reply.
    let start = if command.spec.name.ends_with("subscribe") { out.len() } else { start };
    match (mode, session.replies) {
        (ReplyMode::On, _) => {}
        // CLIENT REPLY ON is answered even if it was to be skipped.
        (ReplyMode::Skip | ReplyMode::Off, ReplyMode::On) => {}
        (ReplyMode::Skip, _) => {
            out.truncate(start);
            session.replies = ReplyMode::On;
        }
        (ReplyMode::Off, _) => out.truncate(start),
    }
    session.out = out;
}

/// A replica has asked for something that has an answer. Within the stream that would be taken for a command, so the
/// replica can't get it, and what it will do without one nobody knows.
#[cold]
fn answered_replica(session: &mut Session, command: Option<&Command>, reply: &[u8]) {
    let name = command.map_or("(unknown)", |command| &command.full_name);
    if reply.starts_with(b"-") {
        crate::log::warning(&format!(
            "== CRITICAL == This master is sending an error to its replica: '{}' after processing the command '{name}'",
            String::from_utf8_lossy(&reply[1..]).trim_end()
        ));
    }
    crate::log::warning(&format!(
        "Replica generated a reply to command '{name}', disconnecting it: name={}",
        String::from_utf8_lossy(&session.name)
    ));
    session.closing = Some(Closing::Now);
}

/// Applies one request of our primary's stream and appends it to the log: nothing can refuse it. A busy script that stands
/// in the way postpones it.
pub fn replicated(
    worker: &mut Worker,
    client: &Arc<Client>,
    command: &'static Command,
    args: Args<'_>,
    raw: &[u8],
) -> Step {
    // SAFETY: the worker owns the client and is active; the reference ends before it is ever not.
    let session = unsafe { client.session() };
    session.commands += 1;
    session.last_command = Some(command);
    if !is_queued(session, command) && needs_alone(session, command, args) {
        let step = worker.alone(true, |server, access, local, scope, now, _| {
            // Somebody was alone before, and may have ended the link and applied what had come.
            // SAFETY: alone.
            match unsafe { client.session() }.closing {
                None => apply(server, client, access, local, scope, now, (command, args, raw)),
                Some(_) => Step::Postponed,
            }
        });
        step.unwrap_or(Step::Postponed)
    } else {
        let (server, member, local, scope, now) = worker.parts();
        apply(server, client, Access::Active(member), local, scope, now, (command, args, raw))
    }
}

/// Runs a request of our primary's stream, or queues it, and appends it to the log, unless a busy script stands in the way.
/// The caller owns the client and is active, or is alone.
pub fn apply(
    server: &Arc<Server>,
    client: &Arc<Client>,
    access: Access<'_, '_>,
    local: &mut Local,
    scope: &Scope,
    now: Now,
    (command, args, raw): (&'static Command, Args<'_>, &[u8]),
) -> Step {
    // SAFETY: the caller owns the client and is active, or is alone.
    let session = unsafe { client.session() };
    if is_queued(session, command) {
        queue(local, session, command, args);
        stream::append(server, session, raw, stream::Matter::of(command));
        return Step::Done;
    }
    let scope = &Scope { expiry: stream::EXPIRY, rng: scope.rng.clone(), acting: scope.acting.clone(), ..*scope };
    let mut replies = Vec::new();
    let (out, net, origin) = (&mut replies, None, Origin::Replication);
    Cx { server, client, session, access, scope, local: &mut *local, net, out, now, origin, command }.call(args, None);
    if std::mem::take(&mut local.after) == After::Again {
        return Step::Postponed;
    }
    if let Some(error) = replies.strip_prefix(b"-") {
        stream::diverged(error, &command.full_name);
    }
    // SAFETY: as above; the context, which held the earlier reference, is gone.
    stream::append(server, unsafe { client.session() }, raw, stream::Matter::of(command));
    Step::Done
}

/// Of what a node that sends slots is answered, it hears what it asked for, and errors, after which it is not heard any more;
/// where the rest begins.
#[cold]
fn answered_importer(session: &mut Session, command: &Command, out: &[u8], start: usize) -> usize {
    if command.spec.name == "syncslots" {
        return out.len();
    }
    if !out[start..].starts_with(b"-") {
        return start;
    }
    let error = String::from_utf8_lossy(&out[start + 1..]).trim_end().to_owned();
    crate::log::warning(&format!(
        "Closing the connection of a migration: {} was answered with {error}",
        command.full_name
    ));
    session.closing = Some(Closing::AfterReplies);
    out.len()
}

/// Appends the late reply of a client that was blocked.
pub fn append_reply(session: &mut Session, reply: &[u8]) {
    if session.replies == ReplyMode::On {
        session.out.extend_from_slice(reply);
    }
}

/// The command that the words name, with as many arguments as it takes.
#[inline]
pub fn resolve(args: Args<'_>) -> Result<&'static Command, CommandError> {
    let Some(mut command) = table().find(args.at(0)) else { return Err(unknown_command(args)) };
    if !command.subcommands.is_empty()
        && let Some(name) = args.get(1)
    {
        match command.subcommand(name) {
            Some(subcommand) => command = subcommand,
            None if matches!(command.runner, Runner::Container) => return Err(unknown_subcommand(command, name)),
            None => {}
        }
    }
    if matches!(command.runner, Runner::Container) || !command.spec.arity.accepts(args.len()) {
        return Err(CommandError::Arity(command.full_name.clone()));
    }
    Ok(command)
}

/// Whether the words name a command, with whatever arguments.
pub(crate) fn is_known(args: Args<'_>) -> bool {
    table().find(args.at(0)).is_some()
}

/// The command that the words name, with whatever arguments.
#[cold]
fn named(args: Args<'_>) -> Option<&'static Command> {
    let command = table().find(args.at(0))?;
    let subcommand = args.get(1).and_then(|name| command.subcommand(name));
    // A container that names no subcommand of its own is no command that was refused.
    subcommand.or(Some(command).filter(|command| !matches!(command.runner, Runner::Container)))
}

#[cold]
fn unknown_command(args: Args<'_>) -> CommandError {
    let clip = |text: &[u8], most: usize| text[..text.len().min(most)].to_vec();
    let mut message = b"ERR unknown command '".to_vec();
    message.extend(clip(args.at(0), 128));
    message.extend_from_slice(b"', with args beginning with: ");
    let mut room = 128usize;
    for word in args.from(1) {
        if room == 0 {
            break;
        }
        let word = clip(word, room);
        room = room.saturating_sub(word.len() + 3);
        message.push(b'\'');
        message.extend(word);
        message.extend_from_slice(b"' ");
    }
    CommandError::Bytes(message)
}

#[cold]
pub(crate) fn unknown_subcommand(command: &Command, name: &[u8]) -> CommandError {
    let mut message = b"ERR unknown subcommand '".to_vec();
    message.extend_from_slice(&name[..name.len().min(128)]);
    message.extend_from_slice(format!("'. Try {} HELP.", command.spec.name.to_uppercase()).as_bytes());
    CommandError::Bytes(message)
}

/// Answers with an error before the command ran; a transaction can't succeed after that.
#[cold]
pub(crate) fn refuse(local: &mut Local, session: &mut Session, command: Option<&Command>, error: &CommandError) {
    let text = error.wire();
    local.stats.error(&text);
    if session.kind == Kind::Replica {
        return answered_replica(session, command, &[b"-", &*text].concat());
    }
    let is_exec = command.is_some_and(|command| command.spec.name == "exec");
    if let Some(transaction) = &mut session.transaction {
        if is_exec {
            session.transaction = None;
            let stripped = String::from_utf8_lossy(&text).into_owned();
            let text = format!("EXECABORT Transaction discarded because of: {stripped}");
            ReplyWriter::new(&mut session.out, session.protocol).error(text.as_bytes());
            return;
        }
        transaction.broken = true;
    }
    if wants_reply(session) || session.kind == Kind::Importer {
        ReplyWriter::new(&mut session.out, session.protocol).error(&text);
    }
    if session.kind == Kind::Importer {
        let name = command.map_or("what it sends", |command| &command.full_name);
        let error = String::from_utf8_lossy(&text).into_owned();
        crate::log::warning(&format!("Closing the connection of a migration: {name} is refused with {error}"));
        session.closing = Some(Closing::AfterReplies);
    }
    if command.is_some_and(|command| command.spec.name == "quit") {
        session.closing = Some(Closing::AfterReplies);
    }
}

/// The request belongs to another node: the client is told which, and a transaction can't succeed after that.
#[cold]
fn send_elsewhere(local: &mut Local, session: &mut Session, command: &Command, error: &CommandError) {
    if command.spec.name == "exec" {
        session.transaction = None;
    }
    refuse(local, session, Some(command), error);
}

/// Whether the client wants this reply.
fn wants_reply(session: &mut Session) -> bool {
    if session.replies == ReplyMode::Skip {
        session.replies = ReplyMode::On;
        return false;
    }
    session.replies == ReplyMode::On && session.kind != Kind::Replica
}

/// Whether a command is queued: a transaction is open, and it is not one of those that end or touch it.
fn is_queued(session: &Session, command: &Command) -> bool {
    session.transaction.is_some() && !runs_inside_multi(command)
}

/// Whether a command is run, and not queued, within a transaction.
pub(crate) fn runs_inside_multi(command: &Command) -> bool {
    matches!(command.spec.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

/// Queues a command of a transaction.
pub(crate) fn queue(local: &mut Local, session: &mut Session, command: &'static Command, args: Args<'_>) {
    if command.spec.flags.has(Flags::NO_MULTI) {
        let error = CommandError::Text(Cow::Borrowed("ERR Command not allowed inside a transaction"));
        refuse(local, session, Some(command), &error);
        return;
    }
    let transaction = session.transaction.as_mut().expect("the caller has looked");
    let words: Vec<Vec<u8>> = args.words().iter().map(|word| word.to_vec()).collect();
    transaction.bytes += size_of::<Queued>() + words.iter().map(|word| word.len() + size_of_val(word)).sum::<usize>();
    transaction.queue.push(Queued { command, words });
    if wants_reply(session) {
        ReplyWriter::new(&mut session.out, session.protocol).simple("QUEUED");
    }
}

/// Whether the command can't run beside others: it says so, or a command of its transaction is not a
/// plain one on keys.
pub(crate) fn needs_alone(session: &Session, command: &Command, args: Args<'_>) -> bool {
    if command.spec.needs_alone(args) {
        return true;
    }
    let plain = |queued: &Queued| {
        let spec = queued.command.spec;
        let reaches = || {
            let words: Vec<&[u8]> = queued.words.iter().map(Vec::as_slice).collect();
            spec.needs_alone(Args::new(&words))
        };
        let is_data = matches!(queued.command.runner, Runner::Data(_));
        is_data && !spec.flags.any(Flags::ALONE.and(Flags::WALKS)) && !(spec.reaches.is_some() && reaches())
    };
    command.spec.name == "exec"
        && session.transaction.as_ref().is_some_and(|transaction| !transaction.queue.iter().all(plain))
}

/// Takes back what a client watches.
pub fn unwatch(watch: &Watch, access: &mut Access<'_, '_>, scope: &Scope) {
    let slots = SlotSet::of_keys(watch.keys.iter().map(|(_, key, _)| &**key));
    let mut view = access.view(slots, scope);
    for (_, key, _) in &watch.keys {
        view.unwatch(key, &watch.flag);
    }
}

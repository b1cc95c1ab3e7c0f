//! Applying our primary's stream: a network thread runs it like the requests of a client that passes every
//! gate and gets no replies.
//!
//! Each request is applied and appended to our log, as it came, without a pause in between: so the log's
//! end always names the state of the dataset, for a snapshot as well as for a replica of ours. A
//! transaction counts when it is complete.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorate_commands::Args;
use quorate_keyspace::{Alone, Expiry, Scope};
use quorate_replication::{Input, replica};
use quorate_resp::{Limits, Parsed, RequestParser};
use quorate_stdx::{Now, Rng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::data::backlog::Backlog;
use crate::data::call::{Access, Local};
use crate::data::client::{Blocked, Client, Closing, Kind, Session, Upstream};
use crate::data::dispatch::{self, Step};
use crate::data::gates;
use crate::data::stats::Statistics;
use crate::data::table::Command;
use crate::data::worker::Worker;
use crate::log;
use crate::server::Server;

/// How long what comes is applied before this server leads; far more than a socket's buffers take.
const DRAINS_FOR: Duration = Duration::from_secs(1);
/// How long nothing has to come until that is taken for all. A primary that has died is known to have sent all, and not waited for.
const MOMENT: Duration = Duration::from_millis(50);
/// How much is read at once then.
const PIECE: usize = 64 << 10;
/// How much of the stream is read before it is applied, bytes. More stays on the other side.
const READ_AHEAD: usize = 64 << 20;
/// How often the machine hears that the stream flows.
const NEWS: Duration = Duration::from_secs(1);

/// Applies one request of the stream; `raw` is how it came, blank lines included. While clients are paused (CLIENT PAUSE)
/// so is the stream: what of it has come is read, and applied afterwards.
pub fn request(worker: &mut Worker, client: &Arc<Client>, words: &[&[u8]], raw: &[u8]) -> Step {
    if words.is_empty() {
        passed(worker, client, raw);
        return Step::Done;
    }
    // SAFETY: the worker owns the client and is active.
    if !is_of_a_primary(raw, unsafe { client.session() }) {
        return Step::Done;
    }
    let args = Args::new(words);
    match dispatch::resolve(args) {
        // A busy script keeps the stream waiting as a pause does, and not the thread with it.
        Ok(command)
            if is_paused(worker, client, command, args)
                || dispatch::replicated(worker, client, command, args, raw) == Step::Postponed =>
        {
            // SAFETY: the worker owns the client and is active.
            unsafe { client.session() }.blocked = Some(Blocked::OnPause);
            return Step::Postponed;
        }
        Ok(_) => {}
        Err(error) => {
            diverged(&error.wire(), "(unknown)");
            passed(worker, client, raw);
        }
    }
    if is_getack(words) {
        let (server, ..) = worker.parts();
        // SAFETY: the worker owns the client and is active.
        if let Some(upstream) = &unsafe { client.session() }.upstream {
            server.control.submit(server, Input::Replica(replica::Input::AckWanted { link: upstream.link }));
        }
    }
    Step::Done
}

fn is_paused(worker: &mut Worker, client: &Client, command: &Command, args: Args<'_>) -> bool {
    let (server, _, local, ..) = worker.parts();
    // SAFETY: the worker owns the client and is active.
    gates::holds_stream(server, &local.published, unsafe { client.session() }, command, args)
}

/// Applies what our primary has sent and nobody has read yet, before this server leads instead of it: the clients of that
/// primary were told of these writes as soon as they were on their way here. The link is over afterwards.
///
/// As long as more comes, it is waited for, if more may come; what a dead process has handed to its system still arrives when
/// room is made for it here. A primary that lives would go on for ever, so there is a bound.
pub fn drain(server: &Arc<Server>, alone: &mut Alone<'_>, client: &Arc<Client>, more_may_come: bool) {
    let patience = if more_may_come { MOMENT } else { Duration::ZERO };
    // SAFETY: the caller is alone.
    let session = unsafe { client.session() };
    if session.kind != Kind::Primary || session.closing.is_some() {
        return;
    }
    let Some(upstream) = &mut session.upstream else { return };
    // The owning thread may be in the midst of these bytes. It will find that the link is over.
    let mut input = upstream.backlog.rest().to_vec();
    upstream.backlog.advance(input.len());
    let published = server.published();
    let limits = Limits::authenticated(published.settings.max_string);
    let scope = published.scope(server.now().unix, Rng::new(rand::random()));
    let stats = Arc::clone(&server.workers.get().expect("all threads are known")[client.worker].stats);
    let mut local = Local::new(published, stats, client.worker);
    let (mut parser, mut at, mut applied) = (RequestParser::default(), 0, 0);
    let deadline = Instant::now() + DRAINS_FOR;
    loop {
        match parser.parse(&input[at..], &limits) {
            Parsed::Request(len) => {
                let raw = &input[at..at + len];
                let words: Vec<&[u8]> = parser.arguments(raw).collect();
                apply_alone(server, alone, client, &mut local, &scope, &words, raw);
                parser.clear();
                (at, applied) = (at + len, applied + len);
            }
            Parsed::Incomplete(_) => {
                input.drain(..std::mem::take(&mut at));
                if Instant::now() > deadline || !read_more(client, &mut input, patience) {
                    break;
                }
            }
            Parsed::Error(error) => {
                log::warning(&format!("What our primary has sent last is no request: {error}"));
                break;
            }
        }
    }
    if applied > 0 {
        log::notice(&format!(
            "{applied} bytes that had come from our primary and waited are applied before this server leads"
        ));
    }
    // SAFETY: as above; no earlier reference is used any more.
    unsafe { client.session() }.closing = Some(Closing::Now);
}

fn apply_alone(
    server: &Arc<Server>,
    alone: &mut Alone<'_>,
    client: &Arc<Client>,
    local: &mut Local,
    scope: &Scope,
    words: &[&[u8]],
    raw: &[u8],
) {
    if words.is_empty() {
        // SAFETY: the caller is alone.
        return append(server, unsafe { client.session() }, raw, Matter::Aside);
    }
    // SAFETY: the caller is alone.
    if !is_of_a_primary(raw, unsafe { client.session() }) {
        return;
    }
    let args = Args::new(words);
    match dispatch::resolve(args) {
        Ok(command) => {
            let (access, now) = (Access::Alone(alone), server.now());
            let step = dispatch::apply(server, client, access, local, scope, now, (command, args, raw));
            debug_assert!(step == Step::Done, "nothing is in the way of who is alone");
        }
        Err(error) => {
            diverged(&error.wire(), "(unknown)");
            // SAFETY: as above.
            append(server, unsafe { client.session() }, raw, Matter::Aside);
        }
    }
}

/// Reads what has come, and waits for a moment if nothing has; false if nothing comes any more.
fn read_more(client: &Client, input: &mut Vec<u8>, moment: Duration) -> bool {
    // SAFETY: the caller is alone.
    let socket = &unsafe { client.session() }.socket;
    for _ in 0..2 {
        input.reserve(PIECE);
        match socket.read_behind(input) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut wanted = [PollFd::new(socket, PollFlags::IN)];
                let moment = Timespec { tv_sec: 0, tv_nsec: moment.subsec_nanos().into() };
                if !matches!(poll(&mut wanted, Some(&moment)), Ok(1..)) {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    false
}

/// What our primary has done can't be done here: from now on the two may hold different data.
#[cold]
pub fn diverged(error: &[u8], command: &str) {
    log::warning(&format!(
        "== CRITICAL == This replica is sending an error to its master: '{}' after processing the command '{command}'",
        String::from_utf8_lossy(error).trim_end()
    ));
}

/// What a request of the stream is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matter {
    /// It may change data.
    Data,
    /// It selects a database.
    Select,
    /// It is for those who follow only, and changes no data.
    Aside,
}

impl Matter {
    /// What `command` is about.
    pub fn of(command: &Command) -> Matter {
        match command.spec.name {
            "ping" | "replconf" | "publish" | "spublish" => Matter::Aside,
            "select" => Matter::Select,
            _ => Matter::Data,
        }
    }
}

fn is_getack(words: &[&[u8]]) -> bool {
    words.len() >= 2 && words[0].eq_ignore_ascii_case(b"replconf") && words[1].eq_ignore_ascii_case(b"getack")
}

/// Whether a request has the only form in which a primary sends any. Another one ends the link before it has any effect: what
/// goes into our log, and from there into the append-only file and to our replicas, are these very bytes, and there a request
/// of another form could not be read any more.
fn is_of_a_primary(raw: &[u8], session: &mut Session) -> bool {
    let is_array = raw.first() == Some(&b'*');
    if !is_array && session.closing.is_none() {
        log::warning("Our primary has sent an inline request, which no primary does: the link is closed");
        session.closing = Some(Closing::Now);
    }
    is_array && session.closing.is_none()
}

/// A request that changes nothing.
fn passed(worker: &mut Worker, client: &Arc<Client>, raw: &[u8]) {
    let (server, ..) = worker.parts();
    // SAFETY: the worker owns the client and is active.
    append(server, unsafe { client.session() }, raw, Matter::Aside);
}

/// Appends a request that has been applied, or is queued, to the log. Nobody may have been alone since it
/// was applied.
pub fn append(server: &Server, session: &mut Session, raw: &[u8], matter: Matter) {
    let db = session.db;
    let in_transaction = session.transaction.is_some();
    let Some(upstream) = &mut session.upstream else { return };
    if in_transaction || !upstream.held.is_empty() {
        upstream.selects.extend((matter == Matter::Select).then_some(upstream.held.len()));
        upstream.held.extend_from_slice(raw);
    }
    if in_transaction {
        return;
    }
    if upstream.held.is_empty() {
        match matter {
            Matter::Data => server.feed.append_raw(raw),
            Matter::Select => server.feed.append_selecting(raw, &[0]),
            Matter::Aside => server.feed.append_aside(raw),
        };
    } else {
        server.feed.append_selecting(&upstream.held, &upstream.selects);
        (upstream.held, upstream.selects) = (Vec::new(), Vec::new());
    }
    server.set_stream_db(db);
}

/// Reads what the socket holds of the stream, as far as there is room for it; `ended` if the other end has closed its side.
/// Only for the thread that owns the client; it lends it `room` to read into.
pub fn read_ahead(
    server: &Arc<Server>,
    session: &mut Session,
    stats: &Statistics,
    now: Now,
    room: &mut [u8],
    ended: bool,
) {
    let Some(upstream) = &mut session.upstream else { return };
    let mut came = 0;
    while !upstream.ended && upstream.backlog.len() < READ_AHEAD {
        match (&session.socket).read(room) {
            Ok(count @ 1..) => {
                upstream.backlog.push(&room[..count]);
                came += count;
                stats.reads.add(1);
                // A short read means that the socket is empty, and the next bytes raise a new event. The end of the
                // connection does not, if it came with these.
                if count < room.len() && !ended {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Ok(0) | Err(_) => upstream.ended = true,
        }
    }
    if came > 0 {
        session.bytes_in += came as u64;
        session.active_at = now.mono;
        stats.bytes_in.add(came as i64);
        if now.mono.since(upstream.noted_at) >= NEWS {
            upstream.noted_at = now.mono;
            server.control.submit(server, Input::Replica(replica::Input::Heard { link: upstream.link, read: 0 }));
        }
    }
    note_unapplied(server, upstream);
}

/// How much of the stream has been read and waits, for INFO.
pub fn note_unapplied(server: &Server, upstream: &Upstream) {
    server.stream_unapplied.store(upstream.backlog.len() as u64, Ordering::Relaxed);
}

/// What a link's client starts with, and the beginning of the stream, which has come already.
pub fn upstream(link: quorate_replication::LinkId, now: quorate_stdx::Mono, early: Vec<u8>) -> Box<Upstream> {
    let (held, selects, backlog) = (Vec::new(), Vec::new(), Backlog::new(early));
    Box::new(Upstream { link, held, selects, noted_at: now, backlog, ended: false })
}

/// How keys expire for the stream: our primary decides what has.
pub const EXPIRY: Expiry = Expiry::Ignore;

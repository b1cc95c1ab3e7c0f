//! A network thread: one epoll loop that owns its connections and runs their commands itself.
//!
//! Each turn of the loop has three parts, and their order is a promise:
//!
//! 1. read what has come, run the commands, collect the replies;
//! 2. hand the log to the append-only file, if there is one, and to the replicas' sockets;
//! 3. hand the replies to the clients.
//!
//! So whatever a client was told is on its way to the replicas already, and outlives a `kill -9`. The file comes first, so
//! that after a crash the replicas hold no more than it does, and need no snapshot.

mod ahead;
mod aside;
mod deadline;
mod denied;
mod durable;
mod follow;
pub(crate) mod inbox;
mod mail;
mod plain;
mod stock;
mod sweep;
mod tracked;
mod weigh;

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events as MioEvents, Poll, Token, Waker};
use quorate_keyspace::{Member, Place, Scope, SlotSet, Ticket};
use quorate_replication::{Input, primary};
use quorate_resp::{Limits, Parsed, ReplyWriter, RequestParser};
use quorate_stdx::{Mono, Now, Rng};

use crate::data::call::{Access, Local};
use crate::data::client::{Blocked, Client, ClientId, Closing, Kind, Peer, Session, Socket};
use crate::data::dispatch;
use crate::data::net::Net;
use crate::data::stats::Rate;
use crate::data::stream;
use crate::data::tracking;
use crate::listen::Seat;
use crate::server::Server;
use ahead::Ahead;
use deadline::Deadline;
pub use mail::{Mail, Mailbox};

/// The token of the mailbox's waker; clients' tokens are their ids.
const MAIL: Token = Token(usize::MAX);
/// How much is read from a socket at once.
const READ: usize = 64 << 10;
/// Room is made for so many bytes of a request before any of them has come.
const AHEAD: usize = 1 << 20;
/// How often a thread looks through its clients while they ask for something.
const SWEEP: Duration = Duration::from_millis(100);
/// The same while next to nothing is asked: replicas report once a second.
const CALM_SWEEP: Duration = Duration::from_secs(1);
/// So many commands since the last sweep are next to nothing.
const CALM: i64 = 2;
/// The most that is written to one client before the others have their turn.
const WRITE: usize = 1 << 20;

/// A network thread's belongings.
pub struct Worker {
    server: Arc<Server>,
    net: Net,
    member: Member,
    pub(crate) local: Local,
    scope: Scope,
    generation: u64,
    /// Clients whose output is to be written at the end of the turn.
    writes: Vec<Arc<Client>>,
    /// Clients whose replies wait for the disk.
    held: Vec<Arc<Client>>,
    /// When blocked clients give up: (milliseconds since the epoch, client).
    deadlines: std::collections::BTreeSet<(i64, ClientId)>,
    scratch: Box<[u8]>,
    /// What was foreseen of one client, and of the first ones of a group.
    ahead: Ahead,
    group_ahead: Ahead,
    /// The requests of a client have not been run to their end, so that others can be alone: see `run_parsed`.
    interrupted: bool,
    now: Now,
    swept_at: Mono,
    stock_taken_at: Mono,
    /// The last sweep has found what is to be looked at again soon.
    restless: bool,
    /// Commands up to the last sweep.
    swept_commands: i64,
    /// Changes up to the last turn.
    changes: i64,
    /// How fast commands, bytes read and bytes written grow.
    rates: [Rate; 3],
    /// How long an input is to be that lacks the rest of a long argument, bytes, as far as room is made for it; else 0.
    wanted: usize,
    /// By how much its clients have grown since the sum of all was looked at, bytes.
    grown: usize,
    /// The sweep after which clients were closed to make room, and that was not enough.
    evicted_in_vain_at: Option<Mono>,
}

impl Worker {
    /// The poll and the mailbox of a thread to be; the mailbox has to be known to all before it runs.
    pub fn prepare() -> std::io::Result<(Poll, Mailbox)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), MAIL)?;
        Ok((poll, Mailbox::new(waker)))
    }

    /// The thread with that index.
    pub fn new(server: Arc<Server>, index: usize, poll: Poll, seed: u64) -> Worker {
        // In this order: what is published in between is taken over at the first turn. The other way round a thread that
        // starts while the dataset is being loaded could hold that for the newest state, and answer so for good.
        let generation = server.generation.load(Ordering::Acquire);
        let published = server.published();
        let now = server.now();
        let stats = Arc::clone(&server.workers.get().expect("all threads are known")[index].stats);
        Worker {
            member: server.space.join(),
            local: Local::new(Arc::clone(&published), stats, index),
            scope: published.scope(now.unix, Rng::new(seed)),
            generation,
            writes: Vec::new(),
            held: Vec::new(),
            deadlines: Default::default(),
            scratch: vec![0; READ].into_boxed_slice(),
            ahead: Ahead::default(),
            group_ahead: Ahead::default(),
            interrupted: false,
            now,
            swept_at: now.mono,
            stock_taken_at: now.mono,
            restless: false,
            swept_commands: 0,
            changes: 0,
            rates: Default::default(),
            wanted: 0,
            grown: 0,
            evicted_in_vain_at: None,
            server,
            net: Net::new(index, poll),
        }
    }

    /// Runs until the server stops.
    pub fn run(mut self) {
        let mut events = MioEvents::with_capacity(1024);
        while !self.server.stopping.load(Ordering::Acquire) {
            let patience = self.patience();
            self.local.stats.idles.set(1);
            let polled = self.net.poll.poll(&mut events, Some(patience));
            self.local.stats.idles.set(0);
            if let Err(error) = polled {
                assert!(error.kind() == ErrorKind::Interrupted, "epoll fails for no other reason: {error}");
                continue;
            }
            self.turn(&events);
        }
    }

    /// How long the thread may sleep: until the next deadline, and never longer than a sweep's period.
    fn patience(&self) -> Duration {
        if self.net.follows_on.is_some() {
            return Duration::ZERO;
        }
        let is_calm = !self.restless && self.local.stats.processed.get() - self.swept_commands <= CALM;
        let sweep = if is_calm { CALM_SWEEP } else { SWEEP };
        match self.deadlines.first() {
            None => sweep,
            Some((at, _)) => {
                sweep.min(Duration::from_millis(u64::try_from(at - self.server.now().unix.0).unwrap_or(0)))
            }
        }
    }

    fn turn(&mut self, events: &MioEvents) {
        self.enter();
        self.local.stats.steps.add(1);
        self.refresh();
        while let Some(mail) = self.net.mail(&self.server) {
            self.deliver(mail);
        }
        for event in events.iter() {
            if event.token() == MAIL {
                continue;
            }
            let Some(client) = self.net.clients.get(&ClientId(event.token().0 as u64)).map(Arc::clone) else {
                continue;
            };
            if event.is_readable() || event.is_error() {
                self.receive(&client, event.is_read_closed());
            }
            if event.is_writable() {
                self.writable(&client);
            }
        }
        self.run_arrivals();
        if let Some(client) = self.net.follows_on.take() {
            self.follow_on(&client, false);
        }
        self.make_way();
        self.give_up();
        self.sweep();
        if self.server.aof.follows() {
            self.hand_to_disk();
        }
        self.server.replicas.flush(&self.server.feed);
        tracking::pass_on(&self.server);
        self.write_all();
        if self.grown > 0 {
            self.evict_clients();
        }
        if self.local.published.memory.max > 0 {
            // What was taken for requests that are not whole yet would be in the next sample, and told again later.
            self.local.meter.used(&self.server.memory);
        }
        self.member.leave();
        let changes = self.local.stats.dirty.get();
        if std::mem::replace(&mut self.changes, changes) != changes {
            self.server.rest.disturb(&self.server);
        }
    }

    /// Becomes active; while a busy script keeps the thread from it, clients are told so.
    fn enter(&mut self) {
        while !self.member.enter_within(Duration::from_millis(50)) {
            self.now = self.server.now();
            self.net.serve_busy(&self.server, &mut self.local, &self.scope, self.now);
        }
    }

    #[cold]
    fn step_aside(&mut self) {
        self.local.ended = None;
        self.member.leave();
        self.enter();
    }

    /// Takes over the time and what has been published; the thread has just become active.
    #[inline]
    fn refresh(&mut self) {
        self.now = self.server.now();
        self.scope.now = self.now.unix;
        self.local.saw_busy = self.server.scripts.is_busy();
        let generation = self.server.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            let published = self.server.published();
            published.update(&mut self.scope);
            self.local.adopt(published);
        }
        if self.server.tenure.holds(&self.server, self.now.mono) != self.local.published.held {
            self.hold_or_release();
        }
    }

    /// Between two pieces of work: lets a thread have its time alone.
    #[inline]
    fn make_way(&mut self) {
        if self.member.is_in_the_way() {
            self.step_aside();
        }
        if self.server.generation.load(Ordering::Relaxed) != self.generation {
            self.refresh();
        }
    }

    fn deliver(&mut self, mail: Mail) {
        match mail {
            Mail::Adopt { socket, peer, seat, refusal } => self.adopt(socket, peer, seat, refusal),
            Mail::Message { clients, message } => self.pass_message(&clients, &message),
            Mail::Stale { client, note } => self.tell_stale(client, &note),
            Mail::Redirected { client, keys } => {
                let server = Arc::clone(&self.server);
                self.with(client, |session| tracking::tell_redirected(&server, session, keys.as_deref()));
            }
            Mail::Feed { client, bytes } => self.with(client, |session| session.out.extend_from_slice(&bytes)),
            Mail::Follow { socket, peer, input, upstream } => {
                if let Some(client) = self.net.follow(&self.server, socket, peer, input, &upstream, self.now) {
                    self.follow_on(&client, false);
                }
            }
            Mail::NoReplica { client, line } => {
                let Some(client) = self.net.clients.get(&client).map(Arc::clone) else { return };
                // SAFETY: this thread owns the client and is active.
                let session = unsafe { client.session() };
                session.kind = Kind::Normal;
                session.out.extend_from_slice(&line);
                self.go_on(&client);
            }
            Mail::Served { client, ticket, reply } => self.served(client, ticket, &reply),
            Mail::Denied { client, reason, object, user } => self.note_denied(client, reason, &object, &user),
            Mail::Answer { client, reply } => {
                let Some(client) = self.net.clients.get(&client).map(Arc::clone) else { return };
                // SAFETY: this thread owns the client and is active.
                let session = unsafe { client.session() };
                if session.blocked.take().is_some() {
                    self.local.stats.gauges.blocked.add(-1);
                    dispatch::append_reply(session, &reply);
                }
                self.go_on(&client);
            }
            Mail::Look(client) => {
                let Some(client) = self.net.clients.get(&client).map(Arc::clone) else { return };
                if client.condemned.load(Ordering::Acquire) {
                    self.close(&client);
                } else {
                    self.go_on(&client);
                }
            }
            Mail::Back { client, back } => self.take_back(client, back),
            Mail::Observe(_) | Mail::ResetStatistics => {}
            Mail::Durable => self.release(),
            Mail::Resume => {
                let clients: Vec<_> = self.net.clients.values().cloned().collect();
                for client in clients {
                    // SAFETY: as above.
                    let session = unsafe { client.session() };
                    if matches!(session.blocked, Some(Blocked::OnPause)) {
                        session.blocked = None;
                        self.local.stats.gauges.blocked.add(-1);
                        self.go_on(&client);
                    }
                }
            }
        }
    }

    fn with(&mut self, client: ClientId, change: impl FnOnce(&mut Session)) {
        let Some(client) = self.net.clients.get(&client).map(Arc::clone) else { return };
        // SAFETY: this thread owns the client and is active.
        change(unsafe { client.session() });
        self.weigh(&client);
        self.queue_write(&client);
    }

    fn adopt(&mut self, socket: Socket, peer: Peer, seat: Option<Seat>, refusal: Option<&'static str>) {
        let mut session = Session::new(socket, peer, self.now.mono);
        session.authenticated = !self.local.published.needs_auth;
        session.seat = seat;
        session.refuse(refusal);
        if let Some(client) = self.net.register(&self.server, session) {
            self.queue_write(&client);
            self.read(&client, false);
        }
    }

    fn served(&mut self, client: ClientId, ticket: Ticket, reply: &[u8]) {
        let Some(client) = self.net.clients.get(&client).map(Arc::clone) else { return };
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        match session.blocked.take() {
            Some(Blocked::OnKeys { ticket: own, until, slots, keys }) if own == ticket => {
                self.local.stats.gauges.blocked.add(-1);
                self.leave_queues(&client, ticket, until, slots, &keys);
            }
            other => {
                session.blocked = other;
                return;
            }
        }
        // SAFETY: the earlier reference is not used any more.
        let session = unsafe { client.session() };
        if reply.starts_with(b"-UNBLOCKED") {
            // Other errors have been counted by the thread that ran the command.
            self.local.stats.error(&reply[1..]);
            if let Some(command) = session.last_command {
                self.local.stats.of(command).failed.add(1);
            }
        }
        dispatch::append_reply(session, reply);
        self.go_on(&client);
    }

    fn leave_queues(
        &mut self,
        client: &Client,
        ticket: Ticket,
        until: Option<i64>,
        slots: SlotSet,
        keys: &[(quorate_keyspace::Db, Box<[u8]>)],
    ) {
        if let Some(at) = until {
            self.deadlines.remove(&(at, client.id));
        }
        let mut view = self.member.view(slots, &self.scope);
        for (_, key) in keys {
            view.forget(key, ticket);
        }
        drop(view);
        self.server.waiters.remove(ticket);
    }

    /// A client that waited may have more requests in its buffer.
    fn go_on(&mut self, client: &Arc<Client>) {
        // SAFETY: this thread owns the client and is active.
        if unsafe { client.session() }.kind == Kind::Primary {
            return self.follow_on(client, false);
        }
        self.run_buffered(client);
        self.queue_write(client);
    }

    /// Runs the requests that a client's own buffer holds.
    fn run_buffered(&mut self, client: &Arc<Client>) {
        self.run_own(client);
        self.go_on_if_interrupted(client);
    }

    fn run_own(&mut self, client: &Arc<Client>) {
        // SAFETY: this thread owns the client and is active.
        let mut input = std::mem::take(&mut unsafe { client.session() }.input);
        let used = self.run_requests(client, &input, 0, &mut Ahead::default());
        input.drain(..used);
        if !input.is_empty() {
            input.reserve_exact(self.wanted.saturating_sub(input.len()));
        }
        if input.is_empty() && input.capacity() > READ {
            input = Vec::new();
        }
        // SAFETY: `run_requests` has given up its reference.
        unsafe { client.session() }.input = input;
    }

    /// Runs the requests of `input` from `at` on, of which `ahead` holds some that were foreseen; where those end that
    /// were run. The rest belongs into the client's buffer, and then comes [`Worker::go_on_if_interrupted`].
    fn run_requests(&mut self, client: &Arc<Client>, input: &[u8], at: usize, ahead: &mut Ahead) -> usize {
        // The parser is taken out, so that nothing of the session is borrowed while a command runs.
        // SAFETY: this thread owns the client and is active.
        let mut parser = std::mem::take(&mut unsafe { client.session() }.parser);
        let mut own = std::mem::take(&mut self.ahead);
        self.local.ended = None;
        self.net.current = Some(client.id);
        self.net.answered_at = None;
        self.wanted = 0;
        let end = self.run_parsed(client, &mut parser, input, at, [ahead, &mut own]);
        self.net.current = None;
        own.clear();
        self.ahead = own;
        // SAFETY: as above, and no other reference is alive.
        unsafe { client.session() }.parser = parser;
        end
    }

    fn run_parsed(
        &mut self,
        client: &Arc<Client>,
        parser: &mut RequestParser,
        input: &[u8],
        mut at: usize,
        [given, own]: [&mut Ahead; 2],
    ) -> usize {
        loop {
            // SAFETY: this thread owns the client and is active.
            let session = unsafe { client.session() };
            if at == input.len() || session.blocked.is_some() || session.closing.is_some() {
                return at;
            }
            let next = match given.take(input, at) {
                None => self.foresee(session, parser, input, at, own),
                next => next,
            };
            let step = match next {
                Some(next) if self.run_plain(session, &next) => Some((dispatch::Step::Done, next.raw.len())),
                Some(next) => {
                    let step = self.request(client, &next.words(), next.raw, true, next.place);
                    Some((step, next.raw.len()))
                }
                None => self.parse(client, parser, &input[at..]),
            };
            let began = at;
            match step {
                Some((dispatch::Step::Done, len)) => at += len,
                Some((dispatch::Step::Postponed, _)) => return at,
                // What is no request ends the connection; what is none yet is kept.
                // SAFETY: as above; the reference from there is not used any more.
                None if unsafe { client.session() }.closing.is_some() => return input.len(),
                None => return at,
            }
            // SAFETY: as above; the reference from there is not used any more.
            if let Some(upstream) = &mut unsafe { client.session() }.upstream
                && upstream.backlog.advance(at - began)
            {
                return at;
            }
            self.weigh(client);
            if self.interrupted || self.member.is_in_the_way() {
                // The thread may have to wait for a script until that is busy, and the client is then answered from its own
                // buffer.
                self.interrupted = true;
                return at;
            }
            self.make_way();
        }
    }

    /// Goes on with a client that was interrupted, once others have been alone. What it has sent is in its buffer.
    #[inline]
    fn go_on_if_interrupted(&mut self, client: &Arc<Client>) {
        while std::mem::take(&mut self.interrupted) {
            self.step_aside();
            self.refresh();
            self.run_own(client);
        }
    }

    /// The request at `at`, if it is one that can be foreseen, together with those that follow.
    #[inline]
    fn foresee<'a>(
        &self,
        session: &Session,
        parser: &RequestParser,
        input: &'a [u8],
        at: usize,
        ahead: &'a mut Ahead,
    ) -> Option<ahead::Next<'a>> {
        if ahead.is_at_end() && session.authenticated && !parser.is_midway() {
            ahead.clear();
            ahead.find(session.db, input, at, |place| self.member.fetch(place));
            self.member.expect(ahead.places());
        }
        ahead.take(input, at)
    }

    /// Parses one request at the start of `input` and runs it; what became of it, and its length. `None` if there is no
    /// whole one, or the bytes are no request, which ends the connection.
    fn parse(
        &mut self,
        client: &Arc<Client>,
        parser: &mut RequestParser,
        input: &[u8],
    ) -> Option<(dispatch::Step, usize)> {
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        let limits = if session.authenticated {
            Limits::authenticated(self.local.published.settings.max_string)
        } else {
            Limits::unauthenticated()
        };
        match parser.parse(input, &limits) {
            Parsed::Request(len) => {
                let words: ahead::Words<'_> = parser.arguments(input).collect();
                let step = self.request(client, &words, &input[..len], !parser.is_inline(), None);
                drop(words);
                parser.clear();
                parser.shrink();
                Some((step, len))
            }
            Parsed::Incomplete(missing) => {
                if input.len() + missing > self.local.published.query_limit && session.kind != Kind::Primary {
                    crate::log::warning("Closing client that reached max query buffer length");
                    session.closing = Some(Closing::Now);
                } else if missing >= READ {
                    // Not all at once: to announce much costs nothing.
                    self.wanted = input.len() + missing.min(input.len().max(AHEAD));
                }
                None
            }
            Parsed::Error(error) => {
                let text = format!("ERR {error}");
                self.local.stats.error(text.as_bytes());
                ReplyWriter::new(&mut session.out, session.protocol).error(text.as_bytes());
                session.closing = Some(Closing::AfterReplies);
                None
            }
        }
    }

    /// Runs one request; `place` is where its first argument belongs if that is a key.
    #[inline]
    fn request(
        &mut self,
        client: &Arc<Client>,
        words: &[&[u8]],
        bytes: &[u8],
        is_multibulk: bool,
        place: Option<Place>,
    ) -> dispatch::Step {
        // SAFETY: this thread owns the client and is active; nothing else holds its session here.
        let session = unsafe { client.session() };
        match session.kind {
            Kind::Primary => {
                let step = stream::request(self, client, words, bytes);
                self.note_blocked(client);
                return step;
            }
            Kind::Replica if words.is_empty() => {
                let replica = quorate_replication::PeerId(client.id.0);
                self.server.control.submit(&self.server, Input::Primary(primary::Input::Heard { replica }));
            }
            _ => {}
        }
        if words.is_empty() {
            return dispatch::Step::Done;
        }
        self.scope.no_touch = session.no_touch;
        let before = Deadline::of(client);
        let raw = is_multibulk.then_some(bytes);
        let step = match session.tracking {
            None => dispatch::request(self, client, words, raw, place),
            Some(_) => self.request_of_tracker(client, words, raw, place),
        };
        self.note_blocked(client);
        Deadline::of(client).moved_from(before, client.id, &mut self.deadlines);
        step
    }

    /// Splits the thread for the dispatcher: what a command's context is made of.
    pub(crate) fn parts(&mut self) -> (&Arc<Server>, &mut Member, &mut Local, &Scope, Now) {
        (&self.server, &mut self.member, &mut self.local, &self.scope, self.now)
    }

    /// The same with the thread's sockets.
    pub(crate) fn parts_with_net(&mut self) -> (&Arc<Server>, &mut Member, &mut Local, &Scope, Now, &mut Net) {
        (&self.server, &mut self.member, &mut self.local, &self.scope, self.now, &mut self.net)
    }

    /// Is alone for the time of `work`, and active before and after. `None`, and nothing done, if a busy script stands in the
    /// way and the work may be given up; where that happens for a client's request, the client is interrupted behind it.
    pub(crate) fn alone<R>(
        &mut self,
        may_give_up: bool,
        work: impl FnOnce(&Arc<Server>, Access<'_, '_>, &mut Local, &Scope, Now, &mut Net) -> R,
    ) -> Option<R> {
        // To wait for the others is not part of what the command takes.
        self.local.ended = None;
        self.member.leave();
        let (server, local, scope, now) = (&self.server, &mut self.local, &mut self.scope, self.now);
        let (generation, net) = (&mut self.generation, &mut self.net);
        let gives_up = || may_give_up && server.scripts.is_busy();
        let result = self.member.alone_and_stay_unless(gives_up, |alone| {
            // What was published up to now holds for this command too.
            *generation = server.generation.load(Ordering::Acquire);
            local.adopt(server.published());
            local.published.update(scope);
            work(server, Access::Alone(alone), local, scope, now, net)
        });
        self.local.flushed.clear();
        self.local.ended = None;
        if result.is_none() && self.net.current.is_some() {
            self.interrupted = true;
            return None;
        }
        if result.is_none() {
            self.enter();
        }
        self.refresh();
        result
    }

    pub(crate) fn queue_write(&mut self, client: &Arc<Client>) {
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        if !session.queued_for_write && (session.pending() > 0 || session.closing.is_some()) {
            session.queued_for_write = true;
            self.writes.push(Arc::clone(client));
        }
    }

    fn write_all(&mut self) {
        for client in std::mem::take(&mut self.writes) {
            self.send(&client);
        }
    }

    /// Hands the replies of a client to its socket.
    #[inline]
    fn send(&mut self, client: &Arc<Client>) {
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        session.queued_for_write = false;
        if session.pending() > READ && self.is_over_hard_limit(session) {
            // Also if the socket would take some of it.
            return self.check_output(client);
        }
        if !session.write_blocked && session.held_until.is_none() && !self.write(session) {
            return self.close(client);
        }
        let finished = session.pending() == 0;
        self.weigh(client);
        if session.closing == Some(Closing::Now) || (session.closing == Some(Closing::AfterReplies) && finished) {
            self.close(client);
        } else if !finished {
            self.check_output(client);
        } else if session.observes {
            self.set_aside(client);
        }
    }

    /// Writes what is queued until the socket takes no more; false if the connection is broken.
    fn write(&mut self, session: &mut Session) -> bool {
        let mut written = 0;
        while session.pending() > 0 && written < WRITE.max(session.out.len() / 8) {
            match (&session.socket).write(&session.out[session.sent..]) {
                Ok(0) => return false,
                Ok(count) => {
                    session.sent += count;
                    written += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    session.write_blocked = true;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        session.bytes_out += written as u64;
        self.local.stats.bytes_out.add(written as i64);
        self.local.stats.writes.add(1);
        if session.pending() == 0 {
            session.out.clear();
            session.sent = 0;
            if session.out.capacity() > READ || session.stale_bytes > 0 {
                session.out = Vec::new();
                self.server.trackers.sent(session);
            }
        } else if session.sent > session.out.len() / 2 {
            session.out.drain(..session.sent);
            session.sent = 0;
        }
        true
    }

    fn writable(&mut self, client: &Arc<Client>) {
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        session.write_blocked = false;
        if session.socket.advance().is_err() {
            return self.close(client);
        }
        if session.kind == Kind::Replica {
            self.server.replicas.writable(client.id, &self.server.feed);
        }
        self.queue_write(client);
    }

    /// Answers blocked clients whose time is over.
    fn give_up(&mut self) {
        while let Some(&(at, id)) = self.deadlines.first() {
            if at > self.now.unix.0 {
                return;
            }
            self.deadlines.remove(&(at, id));
            let Some(client) = self.net.clients.get(&id).map(Arc::clone) else { continue };
            // SAFETY: this thread owns the client and is active.
            let session = unsafe { client.session() };
            let reply = match &session.blocked {
                Some(Blocked::OnKeys { ticket, .. }) => match self.server.waiters.get(*ticket) {
                    Some(waiter) if waiter.claim() => waiter.vain_reply(),
                    // Another thread is about to serve it, or to find that it can't.
                    Some(_) => {
                        self.deadlines.insert((self.now.unix.0 + 5, id));
                        continue;
                    }
                    None => continue,
                },
                Some(Blocked::OnAnswer { .. }) => {
                    // The control plane keeps the time, and answers.
                    continue;
                }
                Some(Blocked::OnPause | Blocked::OnDisk) | None => continue,
            };
            if let Some(Blocked::OnKeys { ticket, slots, keys, .. }) = session.blocked.take() {
                self.local.stats.gauges.blocked.add(-1);
                self.leave_queues(&client, ticket, None, slots, &keys);
            }
            // SAFETY: the reference from above is not used any more.
            dispatch::append_reply(unsafe { client.session() }, &reply);
            self.go_on(&client);
        }
    }
}

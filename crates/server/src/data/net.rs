//! A network thread's sockets, and how they are served while a script keeps everything waiting.
//!
//! After `busy-reply-threshold` a script is *busy*. Commands on other slots go on as ever. Who needs a slot
//! that it holds, or needs to be alone, is answered -BUSY. And threads that can't go on at all serve their
//! clients in a small way, with -BUSY for nearly everything, from [`Net::serve_busy`]:
//!
//! - the thread that runs the script, from time to time between two steps of it;
//! - the threads that wait outside because a busy script is alone, or because somebody wants to be alone
//!   who has to wait for a busy script.
//!
//! Sessions are a thread's own only while it is active, and such a thread may not be. What makes it sound
//! is that while a busy script runs nobody is alone but perhaps the script, which touches no other client's
//! session; and that it ends its being busy under a lock, behind all who still serve.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

use mio::{Interest, Poll, Token};
use quorate_commands::{Args, CommandError, Flags, Origin};
use quorate_keyspace::Scope;
use quorate_resp::{Limits, Parsed, ReplyWriter};
use quorate_stdx::Now;
use smallvec::SmallVec;

use crate::control::upstream::Upstream;
use crate::data::call::{Access, Cx, Local, write_error};
use crate::data::client::{Blocked, Client, ClientId, Closing, Kind, Peer, ReplyMode, Session, Socket};
use crate::data::dispatch::{refuse, resolve};
use crate::data::guard;
use crate::data::stream;
use crate::data::table::{Command, Runner};
use crate::data::tracking;
use crate::data::worker::Mail;
use crate::data::worker::inbox::Inbox;
use crate::server::Server;

/// The most that is read from one client before the others have their turn.
const READ: usize = 16 << 10;

/// A network thread's sockets.
pub struct Net {
    /// The thread's index.
    pub index: usize,
    /// Where it waits.
    pub poll: Poll,
    /// Its clients.
    pub clients: BTreeMap<ClientId, Arc<Client>>,
    /// What has been read and was not run.
    pub(crate) inbox: Inbox,
    /// Our primary, if some of what it has sent was read and waits for the thread to have time for it.
    pub follows_on: Option<Arc<Client>>,
    /// The client whose requests are being run.
    pub current: Option<ClientId>,
    /// The mark of the log behind all that has been answered, as far as it was looked at since: see `serve_busy`.
    pub(crate) answered_at: Option<u64>,
    /// Mail that came while a script was busy.
    postponed: VecDeque<Mail>,
}

impl Net {
    /// A thread without clients.
    pub fn new(index: usize, poll: Poll) -> Net {
        Net {
            index,
            poll,
            clients: BTreeMap::new(),
            inbox: Inbox::new(),
            follows_on: None,
            current: None,
            answered_at: None,
            postponed: VecDeque::new(),
        }
    }

    /// The next mail.
    pub fn mail(&mut self, server: &Server) -> Option<Mail> {
        self.postponed.pop_front().or_else(|| self.fresh_mail(server))
    }

    fn fresh_mail(&self, server: &Server) -> Option<Mail> {
        server.workers.get().expect("all threads are known")[self.index].mailbox.take()
    }

    /// Makes a client of a connection.
    pub fn register(&mut self, server: &Server, mut session: Session) -> Option<Arc<Client>> {
        match session.kind {
            Kind::Primary => session.trust(),
            _ => session.greet(&server.published()),
        }
        let id = server.next_client_id();
        if let Err(error) = self.listen_to(id, &mut session) {
            crate::log::warning(&format!("Error registering fd event for the new client: {error}"));
            return None;
        }
        let client = Client::new(id, self.index, session);
        server.clients.lock().insert(id, Arc::clone(&client));
        self.clients.insert(id, Arc::clone(&client));
        Some(client)
    }

    /// Makes a client of the connection to our primary, with what has come of its stream already, unless the link was ended
    /// meanwhile.
    pub fn follow(
        &mut self,
        server: &Server,
        socket: Socket,
        peer: Peer,
        early: Vec<u8>,
        upstream: &Upstream,
        now: Now,
    ) -> Option<Arc<Client>> {
        if upstream.has_ended() {
            return None;
        }
        let mut session = Session::new(socket, peer, now.mono);
        session.kind = Kind::Primary;
        session.authenticated = true;
        session.replies = ReplyMode::Off;
        session.db = server.stream_db();
        session.upstream = Some(stream::upstream(upstream.link, now.mono, early));
        let client = self.register(server, session)?;
        upstream.adopted(&client);
        Some(client)
    }

    /// Hears of what comes for a client.
    pub fn listen_to(&self, id: ClientId, session: &mut Session) -> std::io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        session.socket.source().register(self.poll.registry(), Token(id.0 as usize), interest)
    }

    /// Serves every client once, if a script is busy; see the module's text.
    #[cold]
    pub fn serve_busy(&mut self, server: &Arc<Server>, local: &mut Local, scope: &Scope, now: Now) {
        let Some(_busy) = server.scripts.while_busy() else { return };
        while let Some(mail) = self.fresh_mail(server) {
            match mail {
                Mail::Adopt { socket, peer, seat, refusal } => {
                    let mut session = Session::new(socket, peer, now.mono);
                    session.seat = seat;
                    session.refuse(refusal);
                    self.register(server, session);
                }
                // What has come of it is not left to the buffers of the connection until the script ends.
                Mail::Follow { socket, peer, input, upstream } => {
                    self.follows_on = self.follow(server, socket, peer, input, &upstream, now);
                }
                other => self.postponed.push_back(other),
            }
        }
        // What was answered before the script was busy goes out below, and as ever not before the replicas and the disk
        // have it.
        server.replicas.flush(&server.feed);
        tracking::pass_on(server);
        if server.aof.follows() {
            server.aof.hand_on(server);
        }
        let mark = *self.answered_at.get_or_insert_with(|| server.aof.mark(&server.feed));
        let may_flush = server.aof.has(mark);
        // What has arrived, and was not run, comes before what is still in the sockets.
        self.inbox.put_back();
        for client in self.clients.values() {
            if self.current == Some(client.id) {
                continue;
            }
            // SAFETY: the thread owns the client; see the module's text for why that is enough here. The
            // client whose session is in use further up the stack was left out.
            let session = unsafe { client.session() };
            if session.held_until.is_some_and(|mark| server.aof.has(mark)) {
                // The thread is told so only when it has time for that.
                session.held_until = None;
                session.blocked.take_if(|blocked| matches!(blocked, Blocked::OnDisk));
            }
            // What has come from our primary is not left to the buffers of the connection.
            if session.kind == Kind::Primary {
                stream::read_ahead(server, session, &local.stats, now, &mut vec![0; READ], false);
                self.follows_on = Some(Arc::clone(client));
            }
            let is_served = session.kind == Kind::Normal
                && session.blocked.is_none()
                && session.closing.is_none()
                && !session.aside;
            let goes_on =
                !is_served || { serve(server, client, session, local, scope, now) && (!may_flush || flush(session)) };
            if !goes_on {
                // It is closed when its thread has time for that.
                client.condemn();
            }
        }
    }
}

/// Reads and answers; false if the connection is at its end.
fn serve(
    server: &Arc<Server>,
    client: &Arc<Client>,
    session: &mut Session,
    local: &mut Local,
    scope: &Scope,
    now: Now,
) -> bool {
    let before = session.input.len();
    session.input.resize(before + READ, 0);
    let result = (&session.socket).read(&mut session.input[before..]);
    session.input.truncate(before + *result.as_ref().unwrap_or(&0));
    match result {
        Ok(0) => return false,
        Ok(_) => session.active_at = now.mono,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(_) => return false,
    }
    let input = std::mem::take(&mut session.input);
    let mut used = 0;
    while used < input.len() && session.closing.is_none() && session.blocked.is_none() {
        let limits = if session.authenticated {
            Limits::authenticated(local.published.settings.max_string)
        } else {
            Limits::unauthenticated()
        };
        let mut parser = std::mem::take(&mut session.parser);
        match parser.parse(&input[used..], &limits) {
            Parsed::Request(len) => {
                {
                    let words: SmallVec<[&[u8]; 8]> = parser.arguments(&input[used..]).collect();
                    if !words.is_empty() {
                        answer(server, client, session, local, scope, now, Args::new(&words));
                    }
                }
                parser.clear();
                used += len;
            }
            Parsed::Incomplete(_) => {
                session.parser = parser;
                break;
            }
            Parsed::Error(error) => {
                ReplyWriter::new(&mut session.out, session.protocol).error(format!("ERR {error}").as_bytes());
                session.closing = Some(Closing::AfterReplies);
            }
        }
        session.parser = parser;
    }
    session.input = input;
    session.input.drain(..used);
    true
}

/// Writes what the socket takes; false if the connection is at its end.
fn flush(session: &mut Session) -> bool {
    while session.pending() > 0 && !session.write_blocked {
        match (&session.socket).write(&session.out[session.sent..]) {
            Ok(0) => return false,
            Ok(count) => session.sent += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The rest goes out in the ordinary way.
            Err(error) if error.kind() == ErrorKind::WouldBlock => session.write_blocked = true,
            Err(_) => return false,
        }
    }
    if session.pending() == 0 {
        session.out.clear();
        session.sent = 0;
    }
    session.closing.is_none() || session.pending() > 0
}

/// Runs one of the few commands that need nothing which a script could hold, or refuses.
fn answer(
    server: &Arc<Server>,
    client: &Arc<Client>,
    session: &mut Session,
    local: &mut Local,
    scope: &Scope,
    now: Now,
    args: Args<'_>,
) {
    let command = match resolve(args) {
        Ok(command) => command,
        Err(error) => return refuse(local, session, None, &error),
    };
    session.commands += 1;
    session.last_command = Some(command);
    let run = match command.runner {
        Runner::Server(run) if is_possible(session, command, args) => run,
        _ => return refuse(local, session, Some(command), &server.scripts.busy_error()),
    };
    if !session.unrestricted {
        if !session.authenticated && local.published.needs_auth && !command.spec.flags.has(Flags::NO_AUTH) {
            return refuse(local, session, Some(command), &CommandError::text("NOAUTH Authentication required."));
        }
        if let Some(refusal) = guard::judge(session, command, args) {
            let context = guard::context_of(session);
            let error = guard::explain(server, client, session, command, args, (refusal, context));
            return refuse(local, session, Some(command), &error);
        }
    }
    if command.spec.name == "shutdown" {
        server.scripts.end_all();
    }
    let mut out = std::mem::take(&mut session.out);
    let start = out.len();
    let mut cx = Cx {
        server,
        client,
        session,
        access: Access::Withheld,
        scope,
        local,
        net: None,
        out: &mut out,
        now,
        origin: Origin::Client,
        command,
    };
    if let Err(error) = run(&mut cx, args) {
        write_error(&mut out, start, &error, &local.stats);
    }
    session.out = out;
}

/// Whether a command needs no data.
fn is_possible(session: &Session, command: &Command, args: Args<'_>) -> bool {
    match command.full_name.as_str() {
        "script|kill" | "function|kill" | "function|stats" => session.transaction.is_none(),
        "shutdown" => session.transaction.is_none() && (1..args.len()).any(|index| args.is(index, "NOSAVE")),
        "auth" | "hello" | "quit" | "multi" => true,
        // They give back what is watched, in slots that may be held.
        "discard" | "reset" | "unwatch" => session.watch.is_none(),
        _ => false,
    }
}

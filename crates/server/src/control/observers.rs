//! Observers: the connections of Sentinels, served by a thread of their own.
//!
//! A Sentinel asks from time to time whether we live, and what we are. If the answer had to wait for the data plane, a
//! script or a thread that is stuck would look like a dead server, and be answered with a failover. So a connection that
//! has named itself as a Sentinel's does ([`is_name`]) is *set aside* as soon as nothing of it is under way: its network
//! thread stops listening to it, and this thread answers ([`answer`]) what needs no data and nobody to stand still.
//!
//! ```text
//!   network thread ──── Mail::Observe ───► observers     PING INFO ROLE PUBLISH of a hello, SCRIPT KILL, messages
//!     owns client    ◄─── Mail::Back ─────   a copy of the descriptor
//! ```
//!
//! The client stays its network thread's, which alone touches its session; here is a copy of the descriptor, and what
//! little of the session the answers depend on. Anything else that is asked for goes back with the connection, is run as
//! ever, and when it is done the connection is set aside again.
//!
//! The thread also watches the data plane ([`super::progress`]): while nothing moves there, PING is answered with an error.

mod answer;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use parking_lot::MutexGuard;
use quorate_commands::Args;
use quorate_replication::tenure;
use quorate_resp::{Limits, Parsed, Protocol, ReplyWriter, RequestParser};
use quorate_stdx::ReplId;
use smallvec::SmallVec;

use crate::control::progress::{Pace, Progress};
use crate::data::client::{Client, ClientId, Session, Socket};
use crate::data::pubsub::Message;
use crate::data::stats::Statistics;
use crate::data::worker::{Mail, Worker};
use crate::server::{Server, WorkerHandle};

/// Stands for this thread where a network thread's number does.
pub const OBSERVERS: usize = usize::MAX;
/// How often the thread looks at the data plane.
const TICK: Duration = Duration::from_millis(100);
/// How much is read at once.
const READ: usize = 16 << 10;
/// A Sentinel that reads so little of what it gets is sent away, bytes.
const UNREAD_MAX: usize = 8 << 20;

/// Whether a connection of that name is a Sentinel's: ours and Redis' both name theirs like this.
pub fn is_name(name: &[u8]) -> bool {
    name.strip_prefix(b"sentinel-").is_some_and(|rest| rest.ends_with(b"-cmd") || rest.ends_with(b"-pubsub"))
}

/// Starts the thread. It ends soon after the server's `stopping` is set.
///
/// # Errors
/// The system has no descriptor or no thread left.
pub fn start(server: &Arc<Server>) -> std::io::Result<JoinHandle<()>> {
    let (poll, mailbox) = Worker::prepare()?;
    let handle = WorkerHandle { mailbox, stats: Arc::new(Statistics::default()) };
    assert!(server.observers.set(handle).is_ok(), "the thread is started once");
    let server = Arc::clone(server);
    let run = move || Observers { server, poll, visits: BTreeMap::new() }.run();
    std::thread::Builder::new().name("observers".to_owned()).spawn(run)
}

/// A connection that was set aside.
pub struct Visit {
    client: Arc<Client>,
    socket: Socket,
    parser: RequestParser,
    input: Vec<u8>,
    out: Vec<u8>,
    protocol: Protocol,
    is_subscriber: bool,
    write_blocked: bool,
    /// Who confirms our tenure on it.
    monitor: Cell<Option<ReplId>>,
}

/// What has become of a connection.
enum Next {
    /// It stays.
    Stays,
    /// It asks for what its network thread has to do.
    Back,
    /// It is at its end.
    Ended,
}

struct Observers {
    server: Arc<Server>,
    poll: Poll,
    visits: BTreeMap<ClientId, Visit>,
}

impl Observers {
    fn run(mut self) {
        let mut events = Events::with_capacity(256);
        while !self.server.stopping.load(Ordering::Acquire) {
            if let Err(error) = self.poll.poll(&mut events, Some(self.patience())) {
                assert!(error.kind() == ErrorKind::Interrupted, "epoll fails for no other reason: {error}");
                continue;
            }
            drop(self.server.progress());
            if self.server.tenure.poll_timeout().is_some_and(|(at, _)| at <= self.server.mono()) {
                self.server.tenure.submit(&self.server, tenure::Input::Timeout);
            }
            self.take_mail();
            for event in &events {
                let id = ClientId(event.token().0 as u64);
                if event.is_writable()
                    && let Some(visit) = self.visits.get_mut(&id)
                {
                    visit.write_blocked = false;
                }
                self.serve(id);
            }
        }
    }

    /// How long the thread may sleep: there is nobody to be told how the data plane gets on, or there is.
    fn patience(&self) -> Duration {
        let longest = if self.visits.is_empty() { self.server.progress().patience() } else { TICK };
        let due = self.server.tenure.poll_timeout().map(|(at, _)| at.since(self.server.mono()));
        due.map_or(longest, |due| due.min(longest).max(Duration::from_millis(1)))
    }

    fn take_mail(&mut self) {
        while let Some(mail) = self.server.observers.get().and_then(|own| own.mailbox.take()) {
            match mail {
                Mail::Observe(visit) => self.admit(*visit),
                Mail::Message { clients, message } => {
                    clients.into_iter().for_each(|client| self.tell(client, &message));
                }
                Mail::ResetStatistics => self.stats().reset(),
                // Nothing else is sent to who is set aside.
                _ => {}
            }
        }
    }

    fn stats(&self) -> Arc<Statistics> {
        Arc::clone(&self.server.observers.get().expect("it was set before the thread was started").stats)
    }

    fn admit(&mut self, mut visit: Visit) {
        let id = visit.client.id;
        let token = Token(id.0 as usize);
        let registered =
            visit.socket.source().register(self.poll.registry(), token, Interest::READABLE | Interest::WRITABLE);
        self.visits.insert(id, visit);
        match registered {
            Ok(()) => self.serve(id),
            Err(_) => self.give_back(id, false),
        }
    }

    /// A message for a subscriber.
    fn tell(&mut self, client: ClientId, message: &Message) {
        let Some(visit) = self.visits.get_mut(&client) else { return };
        message.write(&mut visit.out, visit.protocol);
        self.serve(client);
    }

    /// Reads, answers and writes.
    fn serve(&mut self, id: ClientId) {
        let stats = self.stats();
        let Some(visit) = self.visits.get_mut(&id) else { return };
        let next = match visit.serve(&self.server, &stats) {
            Ok(next) => next,
            Err(_) => Next::Ended,
        };
        match next {
            Next::Stays => {}
            Next::Back => self.give_back(id, false),
            Next::Ended => self.give_back(id, true),
        }
    }

    /// Gives a connection back to its network thread, with what has come and was not answered.
    fn give_back(&mut self, id: ClientId, ended: bool) {
        let Some(mut visit) = self.visits.remove(&id) else { return };
        // The copy goes with its descriptor.
        let _ = visit.socket.source().deregister(self.poll.registry());
        if ended {
            visit.socket.shut();
            if let Some(by) = visit.monitor.get() {
                self.server.tenure.submit(&self.server, tenure::Input::Closed { by });
            }
        }
        let back = Back { input: visit.input, out: visit.out, ended };
        self.server.mail(visit.client.worker, Mail::Back { client: id, back });
    }
}

/// What a connection has with it that comes back.
pub struct Back {
    /// Requests that were not answered.
    pub input: Vec<u8>,
    /// Replies that were not sent.
    pub out: Vec<u8>,
    /// The connection is at its end.
    pub ended: bool,
}

impl Visit {
    /// What is set aside of a client with this session.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn of(client: &Arc<Client>, session: &Session) -> std::io::Result<Visit> {
        Ok(Visit {
            client: Arc::clone(client),
            socket: session.socket.try_clone()?,
            parser: RequestParser::default(),
            input: Vec::new(),
            out: Vec::new(),
            protocol: session.protocol,
            is_subscriber: session.is_subscriber(),
            write_blocked: false,
            monitor: Cell::new(None),
        })
    }

    fn serve(&mut self, server: &Arc<Server>, stats: &Statistics) -> std::io::Result<Next> {
        loop {
            let count = match self.read() {
                Ok(0) => return Ok(Next::Ended),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            stats.bytes_in.add(count as i64);
            let all_answered = self.answer(server, stats);
            self.write(stats)?;
            if !all_answered {
                return Ok(Next::Back);
            }
            if self.out.len() > UNREAD_MAX {
                return Ok(Next::Ended);
            }
            if count == 0 {
                return Ok(Next::Stays);
            }
        }
    }

    fn read(&mut self) -> std::io::Result<usize> {
        let before = self.input.len();
        self.input.resize(before + READ, 0);
        let result = loop {
            match (&self.socket).read(&mut self.input[before..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.input.truncate(before + *result.as_ref().unwrap_or(&0));
        result
    }

    /// Answers what has come; false if there is something that can't be answered here, which is left in `input`.
    fn answer(&mut self, server: &Arc<Server>, stats: &Statistics) -> bool {
        let input = std::mem::take(&mut self.input);
        let (mut used, mut all_answered) = (0, true);
        while all_answered && used < input.len() {
            let len = match self.parser.parse(&input[used..], &Limits::unauthenticated()) {
                Parsed::Request(len) => len,
                Parsed::Incomplete(_) if input.len() - used < READ => break,
                // A network thread takes more, and says what is wrong with what is no request.
                Parsed::Incomplete(_) | Parsed::Error(_) => {
                    all_answered = false;
                    break;
                }
            };
            let words: SmallVec<[&[u8]; 8]> = self.parser.arguments(&input[used..]).collect();
            let asked = answer::Asked {
                server,
                stats,
                client: &self.client,
                protocol: self.protocol,
                is_subscriber: self.is_subscriber,
                monitor: &self.monitor,
            };
            all_answered = words.is_empty() || answer::answer(&asked, Args::new(&words), &mut self.out);
            drop(words);
            self.parser.clear();
            used += if all_answered { len } else { 0 };
        }
        self.input = input;
        self.input.drain(..used);
        if !all_answered {
            self.parser = RequestParser::default();
        }
        all_answered
    }

    fn write(&mut self, stats: &Statistics) -> std::io::Result<()> {
        let mut sent = 0;
        while sent < self.out.len() && !self.write_blocked {
            match (&self.socket).write(&self.out[sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.write_blocked = true,
                Err(error) => return Err(error),
            }
        }
        stats.bytes_out.add(sent as i64);
        self.out.drain(..sent);
        Ok(())
    }
}

/// What is refused, in the client's protocol.
pub(super) fn refuse(out: &mut Vec<u8>, protocol: Protocol, stats: &Statistics, text: &[u8]) {
    stats.error(text);
    ReplyWriter::new(out, protocol).error(text);
}

impl Server {
    /// Whether the data plane gets on, by a look at it.
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        let threads = self
            .workers
            .get()
            .into_iter()
            .flatten()
            .map(|worker| Pace { steps: worker.stats.steps.get(), idles: worker.stats.idles.get() != 0 });
        let mut progress = self.progress.lock();
        progress.look(self.mono(), threads);
        progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinels_are_known_by_the_names_of_their_connections() {
        for name in ["sentinel-0a1b2c3d-cmd", "sentinel-0a1b2c3d-pubsub"] {
            assert!(is_name(name.as_bytes()), "{name}");
        }
        for name in ["", "sentinel-", "sentinel-0a1b2c3d", "my-sentinel-0a1b2c3d-cmd", "sentinel_exporter"] {
            assert!(!is_name(name.as_bytes()), "{name}");
        }
    }
}

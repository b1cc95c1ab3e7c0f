//! What has come, read for several clients before any of it is run.
//!
//! Each client's requests are still run together and in order. But the keys that the first ones name are fetched into
//! the cache at the same time (`ahead.rs`), which helps clients that send one request and wait; and the way through the
//! system is walked sixteen times in a row, and then the way through the commands.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::data::client::{Blocked, Client, Closing, Kind, Session};
use crate::data::worker::ahead::{Ahead, TOGETHER};
use crate::data::worker::{READ, Worker};
use crate::log;

/// What a group of clients has sent, as far as it was not run.
pub(crate) struct Inbox {
    /// Shared only while a group is run, so that the group can be reached meanwhile.
    buffer: Arc<[u8]>,
    filled: usize,
    arrivals: VecDeque<Arrival>,
}

/// What one client has sent.
struct Arrival {
    client: Arc<Client>,
    /// Where it is in the buffer.
    from: usize,
    to: usize,
    /// How many requests of the group have been found up to its last.
    foreseen: usize,
    /// Whether the socket may hold more, and whether its other end has closed its side.
    more: bool,
    ended: bool,
}

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox { buffer: vec![0; 4 * READ].into(), filled: 0, arrivals: VecDeque::with_capacity(TOGETHER) }
    }

    /// Whether what it holds has to be run before another client is read.
    fn is_full(&self) -> bool {
        self.arrivals.len() == TOGETHER || self.buffer.len() - self.filled < READ
    }

    /// Gives what was not run to the clients' own buffers, from where they are served while a script keeps everything
    /// waiting. Only for the thread whose clients they are.
    #[cold]
    pub(crate) fn put_back(&mut self) {
        for arrival in &self.arrivals {
            // SAFETY: the caller's thread owns the client, and uses the session of none that has arrived.
            let session = unsafe { arrival.client.session() };
            if std::mem::take(&mut session.arrived) {
                session.input.extend_from_slice(&self.buffer[arrival.from..arrival.to]);
            }
        }
    }
}

impl Worker {
    /// Reads what has come for a client into the inbox; `ended` if the other end has closed its side. A client that
    /// is in the midst of a request is served at once; our primary's bytes are kept where others find them.
    pub(super) fn receive(&mut self, client: &Arc<Client>, ended: bool) {
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        if session.kind == Kind::Primary {
            return self.follow_on(client, ended);
        }
        if !session.input.is_empty() || self.is_condemned(client, session) {
            return self.read(client, ended);
        }
        let inbox = &mut self.net.inbox;
        let from = inbox.filled;
        let buffer = Arc::get_mut(&mut inbox.buffer).expect("a group is run to its end before the next is read");
        let result = (&session.socket).read(&mut buffer[from..from + READ]);
        let Some(count) = self.received(client, session, result) else { return };
        session.arrived = true;
        let (client, to, more) = (Arc::clone(client), from + count, count == READ || ended);
        let inbox = &mut self.net.inbox;
        inbox.filled = to;
        inbox.arrivals.push_back(Arrival { client, from, to, foreseen: 0, more, ended });
        if inbox.is_full() {
            self.run_arrivals();
        }
    }

    /// Runs what the inbox holds.
    pub(super) fn run_arrivals(&mut self) {
        let buffer = Arc::clone(&self.net.inbox.buffer);
        let mut ahead = std::mem::take(&mut self.group_ahead);
        if self.net.inbox.arrivals.len() > 1 {
            self.look_ahead_at(&buffer, &mut ahead);
        }
        while let Some(arrival) = self.net.inbox.arrivals.pop_front() {
            self.run_arrival(&arrival, &buffer, &mut ahead);
            ahead.skip_to(arrival.foreseen);
            self.make_way();
        }
        ahead.clear();
        self.group_ahead = ahead;
        self.net.inbox.filled = 0;
    }

    fn look_ahead_at(&mut self, buffer: &[u8], ahead: &mut Ahead) {
        for arrival in &mut self.net.inbox.arrivals {
            // SAFETY: this thread owns the client and is active.
            let session = unsafe { arrival.client.session() };
            if session.may_be_foreseen() {
                ahead.find(session.db, &buffer[..arrival.to], arrival.from, |place| self.member.fetch(place));
            }
            arrival.foreseen = ahead.len();
        }
        self.member.expect(ahead.places());
    }

    fn run_arrival(&mut self, arrival: &Arrival, buffer: &[u8], ahead: &mut Ahead) {
        let client = &arrival.client;
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        // Another client's command may have ended this one.
        if self.is_condemned(client, session) {
            return self.close(client);
        }
        if std::mem::take(&mut session.arrived) {
            let end = self.run_requests(client, &buffer[..arrival.to], arrival.from, ahead);
            self.keep(client, &buffer[end..arrival.to]);
            self.go_on_if_interrupted(client);
        } else {
            // A script was busy meanwhile, and it was put back.
            self.run_buffered(client);
        }
        if self.has_run(client) && arrival.more {
            self.read(client, arrival.ended);
        }
    }

    /// Reads what has come for a client and runs it at once; `ended` if the other end has closed its side.
    pub(super) fn read(&mut self, client: &Arc<Client>, ended: bool) {
        loop {
            // SAFETY: this thread owns the client and is active.
            let session = unsafe { client.session() };
            if self.is_condemned(client, session) {
                return self.close(client);
            }
            let fresh = session.input.is_empty();
            let room = if fresh { READ } else { room_behind(&mut session.input) };
            let result = if fresh {
                (&session.socket).read(&mut self.scratch)
            } else {
                session.socket.read_behind(&mut session.input)
            };
            let Some(count) = self.received(client, session, result) else { return };
            if fresh {
                // Requests are run from the scratch buffer; only an incomplete rest is copied.
                let scratch = std::mem::take(&mut self.scratch);
                let end = self.run_requests(client, &scratch[..count], 0, &mut Ahead::default());
                self.keep(client, &scratch[end..count]);
                self.scratch = scratch;
                self.go_on_if_interrupted(client);
            } else {
                self.run_buffered(client);
            }
            // A short read means that the socket is empty, and the next bytes raise a new event. The end of the
            // connection does not, if it came with these.
            if !self.has_run(client) || (count < room && !ended) {
                return;
            }
        }
    }

    /// Keeps the beginning of a request until the rest has come.
    fn keep(&mut self, client: &Arc<Client>, rest: &[u8]) {
        if !rest.is_empty() {
            // SAFETY: this thread owns the client and is active, and nothing else holds its session here.
            let input = &mut unsafe { client.session() }.input;
            input.reserve_exact(self.wanted.max(rest.len()));
            input.extend_from_slice(rest);
        }
    }

    /// What follows when the requests of a client have been run as far as they go; whether more may be read of it now.
    fn has_run(&mut self, client: &Arc<Client>) -> bool {
        if self.weigh_input(client) {
            return false;
        }
        self.queue_write(client);
        true
    }

    pub(super) fn is_condemned(&self, client: &Client, session: &Session) -> bool {
        session.closing == Some(Closing::Now) || client.condemned.load(Ordering::Acquire)
    }

    /// What reading from a client's socket has brought; `None` if nothing, and what follows from that is done.
    #[inline]
    fn received(
        &mut self,
        client: &Arc<Client>,
        session: &mut Session,
        result: std::io::Result<usize>,
    ) -> Option<usize> {
        match result {
            Ok(0) if matches!(session.blocked, Some(Blocked::OnDisk)) => {
                session.ended_while_held = true;
                None
            }
            Ok(0) if session.pending() > 0 && session.blocked.is_none() && session.kind == Kind::Normal => {
                // It may have closed only its own side, and still waits for the answers to what it asked.
                session.closing = Some(Closing::AfterReplies);
                self.queue_write(client);
                None
            }
            Ok(count @ 1..) => {
                session.bytes_in += count as u64;
                session.active_at = self.now.mono;
                self.local.stats.bytes_in.add(count as i64);
                self.local.stats.reads.add(1);
                Some(count)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                if session.write_blocked && session.socket.is_encrypted() {
                    // What waited for the end of the handshake can be written now.
                    session.write_blocked = false;
                    self.queue_write(client);
                }
                None
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                refused(session, &error);
                self.close(client);
                None
            }
            Ok(0) | Err(_) => {
                self.close(client);
                None
            }
        }
    }
}

/// What a client says is not TLS, or it is not trusted.
#[cold]
fn refused(session: &Session, error: &std::io::Error) {
    let (address, local) = (session.peer.remote(), session.peer.local());
    if session.socket.is_shaking_hands() {
        log::warning(&format!("Error accepting a client connection: {error} (addr={address} laddr={local})"));
    } else {
        log::verbose(&format!("Client closed connection: {error} (addr={address} laddr={local})"));
    }
}

/// How much may be read behind what is there. Where there was no room, some more is made than what is there calls for,
/// but not much: it counts as the client's.
fn room_behind(input: &mut Vec<u8>) -> usize {
    if input.capacity() == input.len() {
        input.reserve_exact(READ.max(input.len() / 4));
    }
    input.capacity() - input.len()
}

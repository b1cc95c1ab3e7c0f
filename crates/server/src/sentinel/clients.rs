//! Connections that others have opened: clients, operators and other Sentinels.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Interest, Registry};
use quorate_acl::User;
use quorate_resp::{Limits, Parsed, Protocol, ReplyWriter, RequestParser};
use quorate_values::{Case, glob_matches};

use super::shell::token_of_client;
use crate::socket::Socket;

/// A client that does not read is let go when so much waits for it.
const OUTPUT_MAX: usize = 32 << 20;
/// A request of a Sentinel's client is short.
const INPUT_MAX: usize = 1 << 20;

/// One connection and what it has said of itself.
pub(super) struct Client {
    pub(super) id: u64,
    stream: Socket,
    pub(super) remote: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) since: Instant,
    pub(super) last: Instant,
    parser: RequestParser,
    input: Vec<u8>,
    pub(super) out: Vec<u8>,
    pub(super) protocol: Protocol,
    pub(super) is_authenticated: bool,
    /// Whose it is.
    pub(super) user: Arc<User>,
    pub(super) name: Vec<u8>,
    pub(super) library: [Vec<u8>; 2],
    pub(super) channels: BTreeSet<Vec<u8>>,
    pub(super) patterns: BTreeSet<Vec<u8>>,
    /// The last command, in small letters.
    pub(super) command: String,
    /// It gets what waits for it and is closed.
    pub(super) is_closing: bool,
}

/// What a look for a request has found.
pub(super) enum Found {
    Request(Vec<Vec<u8>>),
    Nothing,
    Refused(String),
}

impl Client {
    pub(super) fn reply(&mut self) -> ReplyWriter<'_> {
        ReplyWriter::new(&mut self.out, self.protocol)
    }

    pub(super) fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// The next request that has arrived as a whole.
    pub(super) fn next_request(&mut self) -> Found {
        if self.is_closing {
            return Found::Nothing;
        }
        let limits = if self.is_authenticated { Limits::authenticated(INPUT_MAX) } else { Limits::unauthenticated() };
        match self.parser.parse(&self.input, &limits) {
            Parsed::Request(length) => {
                let words = self.parser.arguments(&self.input).map(<[u8]>::to_vec).collect();
                self.parser.clear();
                self.input.drain(..length);
                Found::Request(words)
            }
            Parsed::Incomplete(_) => Found::Nothing,
            Parsed::Error(error) => Found::Refused(format!("ERR {error}")),
        }
    }

    /// Reads all that is there; an error if it is over.
    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        self.stream.advance()?;
        loop {
            match (&self.stream).read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.input.len() > INPUT_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match (&self.stream).write(&self.out) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.out.len() > OUTPUT_MAX || (self.is_closing && self.out.is_empty()) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// All clients.
pub(super) struct Clients {
    registry: Registry,
    open: BTreeMap<u64, Client>,
    next: u64,
    /// How many there ever were.
    pub(super) total: u64,
}

impl Clients {
    pub(super) fn new(registry: Registry) -> Clients {
        Clients { registry, open: BTreeMap::new(), next: 1, total: 0 }
    }

    /// Takes a connection on.
    ///
    /// # Errors
    /// It is gone already.
    pub(super) fn admit(&mut self, mut stream: Socket, remote: SocketAddr, default: &Arc<User>) -> io::Result<()> {
        let id = self.next;
        // A connection that is gone already says so at its first read.
        let tcp = stream.tcp().ok_or(io::ErrorKind::Unsupported)?;
        let _ = tcp.set_nodelay(true);
        let (now, local) = (Instant::now(), tcp.local_addr()?);
        self.registry.register(stream.source(), token_of_client(id), Interest::READABLE | Interest::WRITABLE)?;
        let client = Client {
            id,
            stream,
            remote,
            local,
            since: now,
            last: now,
            parser: RequestParser::default(),
            input: Vec::new(),
            out: Vec::new(),
            protocol: Protocol::Resp2,
            is_authenticated: default.needs_no_login(),
            user: Arc::clone(default),
            name: Vec::new(),
            library: [Vec::new(), Vec::new()],
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            command: String::new(),
            is_closing: false,
        };
        self.open.insert(id, client);
        (self.next, self.total) = (id + 1, self.total + 1);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Client> {
        self.open.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Client> {
        self.open.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.open.values_mut()
    }

    /// Reads what a client has sent; whether it is over with it once that is answered.
    pub(super) fn read(&mut self, id: u64) -> bool {
        self.open.get_mut(&id).is_some_and(|client| client.read().is_err())
    }

    pub(super) fn close(&mut self, id: u64) {
        if let Some(mut client) = self.open.remove(&id) {
            // It goes with its descriptor.
            let _ = self.registry.deregister(client.stream.source());
        }
    }

    /// When the first of those has to be let go with whom it is not agreed yet how to encrypt.
    pub(super) fn first_deadline(&self, patience: Duration) -> Option<Instant> {
        self.shaking_hands().filter_map(|client| client.since.checked_add(patience)).min()
    }

    /// Lets those go who have taken longer for that.
    pub(super) fn drop_the_slow(&mut self, patience: Duration) {
        let slow: Vec<u64> =
            self.shaking_hands().filter(|client| client.since.elapsed() >= patience).map(|client| client.id).collect();
        slow.into_iter().for_each(|id| self.close(id));
    }

    fn shaking_hands(&self) -> impl Iterator<Item = &Client> {
        self.open.values().filter(|client| client.stream.is_shaking_hands())
    }

    /// Sends what waits, and lets go whom that fails for.
    pub(super) fn flush(&mut self) {
        let waiting = self.open.values_mut().filter(|client| !client.out.is_empty() || client.is_closing);
        let over: Vec<u64> = waiting.filter_map(|client| client.flush().err().map(|_| client.id)).collect();
        over.into_iter().for_each(|id| self.close(id));
    }

    /// Hands a message to everybody who wants it; how many did.
    pub(super) fn publish(&mut self, channel: &[u8], text: &[u8]) -> usize {
        let mut count = 0;
        for client in self.open.values_mut() {
            let patterns: Vec<Vec<u8>> = client
                .patterns
                .iter()
                .filter(|pattern| glob_matches(pattern, channel, Case::Sensitive))
                .cloned()
                .collect();
            if client.channels.contains(channel) {
                let mut reply = client.reply();
                reply.push(3);
                [b"message".as_slice(), channel, text].iter().for_each(|part| reply.bulk(part));
                count += 1;
            }
            for pattern in patterns {
                let mut reply = client.reply();
                reply.push(4);
                [b"pmessage".as_slice(), &pattern, channel, text].iter().for_each(|part| reply.bulk(part));
                count += 1;
            }
        }
        count
    }
}

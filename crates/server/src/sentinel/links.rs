//! Connections that the machine asked for: bytes out, replies in, in the order of the requests.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::{Interest, Registry};
use quorate_config::Text;
use quorate_resp::{Reply, encode_request, parse_reply};
use quorate_sentinel::wire::{self, Tag};
use quorate_sentinel::{ConnId, Input, LostReason, hello};
use quorate_tls::Contexts;

use crate::listen::begin_to_connect;
use crate::log;
use crate::socket::{self, Socket};

/// More than this of one reply is nobody's honest answer.
const INPUT_MAX: usize = 16 << 20;

struct Link {
    stream: Socket,
    is_open: bool,
    /// What the next replies are about.
    tags: VecDeque<Tag>,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// All connections, by the machine's numbers.
pub(super) struct Links {
    registry: Registry,
    /// `bind-source-addr`
    source: Option<Text>,
    /// What connections are encrypted with, if they are (`tls-replication`).
    tls: Option<Contexts>,
    open: BTreeMap<ConnId, Link>,
}

impl Links {
    pub(super) fn new(registry: Registry, source: Option<Text>, tls: Option<Contexts>) -> Links {
        Links { registry, source, tls, open: BTreeMap::new() }
    }

    /// Begins to connect.
    pub(super) fn connect(&mut self, conn: ConnId, to: SocketAddr, inputs: &mut VecDeque<Input>) {
        let begun = begin_to_connect(to, self.source.as_ref()).and_then(|stream| {
            let mut stream = socket::outgoing(self.tls.as_ref(), stream, self.tls.is_some())?;
            let token = super::shell::token_of_link(conn);
            self.registry.register(stream.source(), token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        match begun {
            Ok(stream) => {
                let link =
                    Link { stream, is_open: false, tags: VecDeque::new(), input: Vec::new(), output: Vec::new() };
                self.open.insert(conn, link);
            }
            Err(error) => inputs.push_back(Input::Lost { conn, why: reason(&error) }),
        }
    }

    pub(super) fn disconnect(&mut self, conn: ConnId) {
        if let Some(mut link) = self.open.remove(&conn) {
            // It goes with its descriptor.
            let _ = self.registry.deregister(link.stream.source());
        }
    }

    /// Puts a request behind the others; [`Links::flush`] sends it.
    pub(super) fn send(&mut self, conn: ConnId, tag: Tag, words: &[String]) {
        if let Some(link) = self.open.get_mut(&conn) {
            encode_request(&mut link.output, words);
            link.tags.push_back(tag);
        }
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self, inputs: &mut VecDeque<Input>) {
        let ready = self.open.iter_mut().filter(|(_, link)| link.is_open && !link.output.is_empty());
        let failed: Vec<(ConnId, LostReason)> =
            ready.filter_map(|(conn, link)| link.flush().err().map(|error| (*conn, reason(&error)))).collect();
        failed.into_iter().for_each(|(conn, why)| self.lose(conn, why, inputs));
    }

    fn lose(&mut self, conn: ConnId, why: LostReason, inputs: &mut VecDeque<Input>) {
        self.disconnect(conn);
        inputs.push_back(Input::Lost { conn, why });
    }

    /// Something has happened to a connection.
    pub(super) fn on_ready(&mut self, conn: ConnId, inputs: &mut VecDeque<Input>) {
        let Some(link) = self.open.get_mut(&conn) else { return };
        if !link.is_open {
            match link.opened() {
                Ok(None) => return,
                Ok(Some(local)) => inputs.push_back(Input::Opened { conn, local: Some(local.ip()) }),
                Err(error) => return self.lose(conn, reason(&error), inputs),
            }
        }
        let ended = link.read(conn, inputs);
        if let Err(error) = ended.and_then(|()| link.flush()) {
            self.lose(conn, reason(&error), inputs);
        }
    }
}

impl Link {
    /// Whether the connection is there now, and our end of it.
    fn opened(&mut self) -> io::Result<Option<SocketAddr>> {
        if !self.stream.has_connected()? {
            return Ok(None);
        }
        let stream = self.stream.tcp().ok_or(io::ErrorKind::Unsupported)?;
        // A connection that is gone already says so at its first read.
        let _ = stream.set_nodelay(true);
        self.is_open = true;
        stream.local_addr().map(Some)
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.stream.tcp().and_then(|stream| stream.peer_addr().ok())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.advance()?;
        while self.is_open && !self.output.is_empty() {
            match (&self.stream).write(&self.output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads all that is there, and hands on what is complete. What came before the end is handed on, too.
    fn read(&mut self, conn: ConnId, inputs: &mut VecDeque<Input>) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        let ended = loop {
            match (&self.stream).read(&mut chunk) {
                Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if self.input.len() > INPUT_MAX {
                break Err(io::ErrorKind::InvalidData.into());
            }
        };
        self.hand_on(conn, inputs)?;
        ended
    }

    fn hand_on(&mut self, conn: ConnId, inputs: &mut VecDeque<Input>) -> io::Result<()> {
        let mut at = 0;
        while at < self.input.len() {
            match parse_reply(&self.input[at..]) {
                Ok(Some((reply, length))) => {
                    at += length;
                    inputs.extend(self.meaning(conn, reply));
                }
                Ok(None) => break,
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        self.input.drain(..at);
        Ok(())
    }

    fn meaning(&mut self, conn: ConnId, reply: Reply) -> Option<Input> {
        if let Reply::Array(items) | Reply::Push(items) = &reply
            && let [Reply::Bulk(kind), Reply::Bulk(channel), Reply::Bulk(text)] = &items[..]
            && kind == b"message"
        {
            if channel != hello::CHANNEL.as_bytes() {
                return None;
            }
            return match hello::parse(text) {
                Ok(hello) => Some(Input::Heard { conn: Some(conn), hello }),
                Err(error) => {
                    log::verbose(&format!("A hello on {:?} is refused: {error}", self.peer()));
                    None
                }
            };
        }
        let tag = self.tags.pop_front()?;
        let answer = wire::read(tag, reply);
        if let wire::Answer::Nonsense(what) = &answer {
            log::verbose(&format!("A reply of {:?} makes no sense: {what}", self.peer()));
        }
        Some(Input::Answered { conn, tag, answer })
    }
}

fn reason(error: &io::Error) -> LostReason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => LostReason::Refused,
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => LostReason::Closed,
        _ => LostReason::Failed,
    }
}

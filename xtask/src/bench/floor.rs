//! The *floor*: an epoll server that does the network's work and nothing else.
//!
//! It reads what is there, finds where the requests in it end, and answers each with the same canned reply, in one
//! write for everything that one read brought. There is no command, no key and no memory behind it, so its CPU per
//! request is what a single-threaded server pays for being on a socket at all. The measured servers are judged as
//! multiples of it, because that ratio survives a change of kernel or machine far better than nanoseconds do.
//!
//! It is not a server to talk to: it trusts its load, and drops a connection that sends anything but RESP arrays or
//! that lets replies pile up.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use super::cases::Reply;

/// More than one readable event ever brings: a batch of the load is a few KiB.
const INBOX: usize = 64 * 1024;
/// The shortest request that RESP can spell, `*1\r\n$0\r\n\r\n`, bounds how many replies one read can ask for.
const SHORTEST_REQUEST: usize = 10;
const LISTENER: u64 = u64::MAX;

/// Serves `PORT REPLY` until it is killed; `REPLY` is a [`Reply`] as `Display` spells it, and defaults to `+OK`.
pub(super) fn run(args: &[String]) -> Result<()> {
    let (port, reply) = match args {
        [port] => (port, Reply::Ok),
        [port, reply] => (port, reply.parse()?),
        _ => bail!("usage: bench floor PORT [ok | integer:VALUE | bulk:BYTES]"),
    };
    let port = port.parse().with_context(|| format!("{port:?} is not a port"))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("bind the floor's port")?;
    serve(listener, reply)
}

/// Answers every request that arrives at `listener` with `reply`; returns only on an error.
pub(super) fn serve(listener: TcpListener, reply: Reply) -> Result<()> {
    Floor::new(listener, &reply.canned())?.serve()
}

struct Floor {
    epoll: OwnedFd,
    listener: TcpListener,
    /// Indexed by the epoll token; a slot of a closed connection stays empty, since a run has few connections.
    connections: Vec<Option<Connection>>,
    inbox: Vec<u8>,
    /// As many replies in a row as one read can ask for, so that any number of them is one slice.
    replies: Vec<u8>,
    reply_len: usize,
}

struct Connection {
    stream: TcpStream,
    /// The beginning of a request whose end has not arrived.
    partial: Vec<u8>,
}

/// Whether a connection stays open.
#[derive(PartialEq)]
enum Fate {
    Open,
    Closed,
}

impl Floor {
    fn new(listener: TcpListener, reply: &[u8]) -> Result<Floor> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        Ok(Floor {
            epoll,
            listener,
            connections: Vec::new(),
            inbox: vec![0; INBOX],
            replies: reply.repeat(INBOX / SHORTEST_REQUEST + 1),
            reply_len: reply.len(),
        })
    }

    fn serve(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Err(rustix::io::Errno::INTR) => continue,
                waited => waited?,
            };
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    token => self.answer(token as usize),
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let token = epoll::EventData::new_u64(self.connections.len() as u64);
        epoll::add(&self.epoll, &stream, token, epoll::EventFlags::IN)?;
        self.connections.push(Some(Connection { stream, partial: Vec::new() }));
        Ok(())
    }

    fn answer(&mut self, token: usize) {
        let Some(connection) = &mut self.connections[token] else { return };
        if connection.answer(&mut self.inbox, &self.replies, self.reply_len) == Fate::Closed {
            self.connections[token] = None;
        }
    }
}

impl Connection {
    fn answer(&mut self, inbox: &mut [u8], replies: &[u8], reply_len: usize) -> Fate {
        let read = match rustix::io::read(&self.stream, &mut *inbox) {
            Ok(0) => return Fate::Closed,
            Ok(read) => read,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Fate::Open,
            Err(_) => return Fate::Closed,
        };
        let Some(requests) = self.count(&inbox[..read]) else { return Fate::Closed };
        let owed = requests * reply_len;
        if owed == 0 {
            return Fate::Open;
        }
        match rustix::io::write(&self.stream, &replies[..owed.min(replies.len())]) {
            Ok(written) if written == owed => Fate::Open,
            _ => Fate::Closed,
        }
    }

    /// How many requests end in `fresh`, or `None` if it is not RESP. What is left over waits in `partial`.
    fn count(&mut self, fresh: &[u8]) -> Option<usize> {
        if self.partial.is_empty() {
            let (requests, end) = whole_requests(fresh)?;
            self.partial.extend_from_slice(&fresh[end..]);
            return Some(requests);
        }
        self.partial.extend_from_slice(fresh);
        let (requests, end) = whole_requests(&self.partial)?;
        self.partial.drain(..end);
        Some(requests)
    }
}

/// The number of complete requests at the start of `bytes` and where the last one ends, or `None` if it is not RESP.
fn whole_requests(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut requests = 0;
    let mut end = 0;
    loop {
        match request_len(&bytes[end..]) {
            Length::Known(len) => end += len,
            Length::Incomplete => return Some((requests, end)),
            Length::NotResp => return None,
        }
        requests += 1;
    }
}

enum Length {
    Known(usize),
    Incomplete,
    NotResp,
}

/// Hops from header to header; no argument's bytes are looked at.
fn request_len(bytes: &[u8]) -> Length {
    let mut at = 0;
    let arguments = match header(bytes, b'*', &mut at) {
        Length::Known(arguments) => arguments,
        unknown => return unknown,
    };
    for _ in 0..arguments {
        match header(bytes, b'$', &mut at) {
            Length::Known(len) => at = at.saturating_add(len).saturating_add(2),
            unknown => return unknown,
        }
    }
    if at <= bytes.len() { Length::Known(at) } else { Length::Incomplete }
}

/// Reads `<mark><digits>\r\n` at `at` and steps over it; the length is the number.
fn header(bytes: &[u8], mark: u8, at: &mut usize) -> Length {
    match bytes.get(*at) {
        None => return Length::Incomplete,
        Some(&found) if found != mark => return Length::NotResp,
        Some(_) => *at += 1,
    }
    let mut number = 0_usize;
    while let Some(&byte) = bytes.get(*at) {
        *at += 1;
        match byte {
            b'0'..=b'9' => number = number.saturating_mul(10).saturating_add(usize::from(byte - b'0')),
            // The line feed that follows needs no look: a body or the next header is found behind it.
            b'\r' => {
                *at += 1;
                return Length::Known(number);
            }
            _ => return Length::NotResp,
        }
    }
    Length::Incomplete
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\n*1\r\n$4\r\nPING\r\n";

    #[test]
    fn a_value_that_looks_like_a_request_is_not_counted() {
        assert_eq!(whole_requests(SET), Some((1, SET.len())));
        assert_eq!(whole_requests(&SET.repeat(3)), Some((3, 3 * SET.len())));
    }

    #[test]
    fn a_request_counts_only_when_its_last_byte_is_there() {
        for cut in 0..SET.len() {
            assert_eq!(whole_requests(&SET[..cut]), Some((0, 0)), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_resp_is_refused() {
        for bytes in [&b"PING\r\n"[..], b"*1\r\n:4\r\n", b"*x\r\n", b"*1\r\n$-1\r\n"] {
            assert_eq!(whole_requests(bytes), None, "{:?}", bytes.escape_ascii().to_string());
        }
        let endless = b"*1\r\n$99999999999999999999999\r\n";
        assert_eq!(whole_requests(endless), Some((0, 0)), "a length past the end of memory is never complete");
    }

    #[test]
    fn requests_split_over_reads_are_counted_once() {
        let (local, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let stream = TcpStream::from(OwnedFd::from(local));
        let mut connection = Connection { stream, partial: Vec::new() };
        let bytes = SET.repeat(5);
        let counted: usize = bytes.chunks(7).map(|chunk| connection.count(chunk).unwrap()).sum();
        assert_eq!(counted, 5);
        assert!(connection.partial.is_empty());
    }
}

//! The load generator: one thread, one epoll instance, N connections, P requests on their way on each.
//!
//! A connection sends a whole batch, waits until every reply to it has arrived, and sends the next. It must never be
//! the bottleneck, so requests are refreshed in place (see [`Batch`]), replies are checked by their first byte and
//! length only, and there is one read and one write per batch. What it costs itself is reported beside each result,
//! because a load that has no core left measures itself.
//!
//! It is not a latency meter; `probe.rs` is.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll;

use super::cases::{Batch, Reply};
use super::interrupt;
use super::proc;
use super::wire::{Door, Wire};

const INBOX: usize = 256 * 1024;
/// A server that answers nothing for so long is taken for hung.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Load {
    epoll: OwnedFd,
    /// The index is the epoll token.
    connections: Vec<Connection>,
    batch: Batch,
    pipeline: usize,
    reply: Reply,
    /// Requests that may still be sent.
    budget: u64,
    /// Replies that have arrived.
    answered: u64,
    /// Replies that were nil where a value was expected.
    misses: u64,
    inbox: Vec<u8>,
    events: Vec<epoll::Event>,
    last_progress: Instant,
}

struct Connection {
    wire: Wire,
    /// Requests without a reply yet.
    outstanding: usize,
    /// The beginning of a reply whose end has not arrived.
    partial: Vec<u8>,
}

/// When a measurement begins and ends.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) warmup: Duration,
    pub(super) window: Duration,
    /// Ends the window early once so many requests were sent, the warm-up's included.
    pub(super) requests: u64,
}

/// What happened between a measurement's two edges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) requests: u64,
    pub(super) elapsed: Duration,
    /// CPU time of what the gauge looked at.
    pub(super) server_cpu: Duration,
    /// CPU time of the load generator's own thread.
    pub(super) load_cpu: Duration,
}

/// All counters at one edge of a window.
struct Edge {
    at: Instant,
    answered: u64,
    server_cpu: Duration,
    load_cpu: Duration,
}

impl Load {
    pub(super) fn connect(door: &Door, clients: usize, pipeline: usize, batch: Batch, reply: Reply) -> Result<Load> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(clients);
        for token in 0..clients {
            let wire = Wire::connect(door)?;
            epoll::add(&epoll, wire.socket(), epoll::EventData::new_u64(token as u64), epoll::EventFlags::IN)?;
            connections.push(Connection { wire, outstanding: 0, partial: Vec::new() });
        }
        Ok(Load {
            epoll,
            connections,
            batch,
            pipeline,
            reply,
            budget: 0,
            answered: 0,
            misses: 0,
            inbox: vec![0; INBOX],
            events: Vec::with_capacity(clients.max(1)),
            last_progress: Instant::now(),
        })
    }

    /// Sends exactly `requests` requests and waits for their replies.
    pub(super) fn exactly(&mut self, requests: u64) -> Result<()> {
        self.start(requests)?;
        while self.budget > 0 {
            self.pump()?;
        }
        self.settle()
    }

    /// Runs for a warm-up and a window, and says what happened in the window. `server_cpu` is asked at its two edges.
    /// Nothing is on its way any more on return, so that the server may be stopped.
    pub(super) fn measure(&mut self, bounds: Bounds, server_cpu: impl Fn() -> Result<Duration>) -> Result<Window> {
        self.start(bounds.requests)?;
        self.pump_until(Instant::now() + bounds.warmup)?;
        ensure!(self.budget > 0, "the warm-up used up all {} requests", bounds.requests);
        let first = self.edge(&server_cpu)?;
        self.pump_until(first.at + bounds.window)?;
        let last = self.edge(&server_cpu)?;
        self.settle()?;
        ensure!(self.misses * 1000 <= self.answered, "{} of {} replies were nil", self.misses, self.answered);
        Ok(Window {
            requests: last.answered - first.answered,
            elapsed: last.at - first.at,
            server_cpu: last.server_cpu.saturating_sub(first.server_cpu),
            load_cpu: last.load_cpu - first.load_cpu,
        })
    }

    fn edge(&self, server_cpu: impl Fn() -> Result<Duration>) -> Result<Edge> {
        let load_cpu = proc::own_thread_cpu();
        Ok(Edge { at: Instant::now(), answered: self.answered, server_cpu: server_cpu()?, load_cpu })
    }

    fn start(&mut self, requests: u64) -> Result<()> {
        self.budget = requests;
        self.last_progress = Instant::now();
        for index in 0..self.connections.len() {
            self.send(index)?;
        }
        Ok(())
    }

    fn pump_until(&mut self, deadline: Instant) -> Result<()> {
        while self.budget > 0 && Instant::now() < deadline {
            self.pump()?;
        }
        Ok(())
    }

    /// Sends no more and waits for what is on its way.
    fn settle(&mut self) -> Result<()> {
        self.budget = 0;
        while self.connections.iter().any(|connection| connection.outstanding > 0) {
            self.pump()?;
        }
        Ok(())
    }

    /// Waits for replies, takes them in, and sends the next batch on each connection that has none on its way.
    fn pump(&mut self) -> Result<()> {
        interrupt::check()?;
        let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            waited => waited?,
        };
        if self.events.is_empty() {
            ensure!(self.last_progress.elapsed() < PATIENCE, "the server has answered nothing for {PATIENCE:?}");
            return Ok(());
        }
        self.last_progress = Instant::now();
        for event in std::mem::take(&mut self.events).drain(..) {
            let index = event.data.u64() as usize;
            self.receive(index)?;
            if self.connections[index].outstanding == 0 {
                self.send(index)?;
            }
        }
        self.events.reserve(self.connections.len());
        Ok(())
    }

    fn send(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        let requests = self.pipeline.min(usize::try_from(self.budget).unwrap_or(usize::MAX));
        if requests == 0 {
            return Ok(());
        }
        self.budget -= requests as u64;
        connection.outstanding = requests;
        connection.wire.write_all(self.batch.next(requests), PATIENCE)
    }

    fn receive(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        let read = match connection.wire.read(&mut self.inbox) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(error) => return Err(error).context("read replies"),
        };
        let fresh = &self.inbox[..read];
        let replies = if connection.partial.is_empty() {
            let replies = whole_replies(fresh, self.reply)?;
            connection.partial.extend_from_slice(&fresh[replies.end..]);
            replies
        } else {
            connection.partial.extend_from_slice(fresh);
            let replies = whole_replies(&connection.partial, self.reply)?;
            connection.partial.drain(..replies.end);
            replies
        };
        let outstanding = connection.outstanding.checked_sub(replies.count);
        connection.outstanding = outstanding.context("the server answered more than it was asked")?;
        self.answered += replies.count as u64;
        self.misses += replies.nils as u64;
        Ok(())
    }
}

/// The complete replies at the start of some bytes.
#[derive(Debug, Default, PartialEq)]
struct Replies {
    count: usize,
    nils: usize,
    end: usize,
}

fn whole_replies(bytes: &[u8], expected: Reply) -> Result<Replies> {
    let mut found = Replies::default();
    while let Some(len) = reply_len(&bytes[found.end..], expected)? {
        let start = &bytes[found.end..];
        found.nils += usize::from(start.starts_with(b"$-1") || start.starts_with(b"*-1") || start[0] == b'_');
        found.end += len;
        found.count += 1;
    }
    Ok(found)
}

/// The length of the reply at the start of `bytes`, `None` if it is not all there, an error if it is not of the
/// expected kind or size.
pub(super) fn reply_len(bytes: &[u8], expected: Reply) -> Result<Option<usize>> {
    let Some(feed) = bytes.iter().take(64 * 1024).position(|&byte| byte == b'\n') else { return Ok(None) };
    let line_len = feed + 1;
    let whole = match expected {
        Reply::Ok if bytes.starts_with(b"+OK\r") => line_len,
        Reply::Integer(_) if bytes[0] == b':' => line_len,
        Reply::Bulk(_) if bytes.starts_with(b"$-1\r") || bytes[0] == b'_' => line_len,
        Reply::Bulk(len) if bytes[0] == b'$' && spells(&bytes[1..feed], len) => line_len + len + 2,
        Reply::AnyBulk(_) if bytes[0] == b'$' => match number(&bytes[1..feed]) {
            Some(len) => line_len + len + 2,
            None => line_len,
        },
        Reply::Array(_) if bytes[0] == b'*' || bytes[0] == b'_' => return Ok(nested_len(bytes)),
        _ => bail!("{expected} was expected, and the server said {:?}", bytes[..line_len].escape_ascii().to_string()),
    };
    Ok((whole <= bytes.len()).then_some(whole))
}

/// The length of a reply of any kind and depth, `None` if it is not all there.
fn nested_len(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut open) = (0, 1_usize);
    while open > 0 {
        let rest = bytes.get(at..)?;
        let feed = rest.iter().position(|&byte| byte == b'\n')?;
        let count = number(&rest[1..feed]).unwrap_or(0);
        at += feed + 1;
        open -= 1;
        match rest[0] {
            b'*' | b'~' | b'>' => open += count,
            b'%' => open += 2 * count,
            // Nil has no body, and no count.
            b'$' if rest[1] != b'-' => at += count + 2,
            _ => {}
        }
    }
    (at <= bytes.len()).then_some(at)
}

/// Whether `line`, which ends in a carriage return, is that number.
fn spells(line: &[u8], expected: usize) -> bool {
    number(line) == Some(expected)
}

/// The number that `line` is, which ends in a carriage return.
fn number(line: &[u8]) -> Option<usize> {
    let (b'\r', digits) = line.split_last()? else { return None };
    digits.iter().try_fold(0_usize, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| usize::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::super::cases::{SET_P16, Walk};
    use super::super::floor;
    use super::*;

    /// A load of 3 connections at pipeline 7 on a floor that says `reply`.
    fn load_on_floor(reply: Reply) -> Load {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        // The floor serves until the test's process ends.
        std::thread::spawn(move || floor::serve(listener, reply));
        let batch = Batch::new(SET_P16.request, 7, Walk::scattered(1000));
        Load::connect(&Door::plain(port), 3, 7, batch, Reply::Ok).unwrap()
    }

    #[test]
    fn exactly_the_requests_that_were_asked_for_are_sent_and_answered() {
        let mut load = load_on_floor(Reply::Ok);
        for requests in [1, 20, 21, 22, 10_000] {
            let before = load.answered;
            load.exactly(requests).unwrap();
            assert_eq!(load.answered - before, requests);
        }
    }

    #[test]
    fn a_window_ends_with_its_requests_and_leaves_nothing_on_its_way() {
        let mut load = load_on_floor(Reply::Ok);
        let bounds = Bounds { warmup: Duration::ZERO, window: PATIENCE, requests: 5000 };
        let window = load.measure(bounds, || Ok(Duration::ZERO)).unwrap();
        assert_eq!(load.answered, 5000);
        assert!(window.requests <= 5000 && window.requests > 4900, "{}", window.requests);
        assert!(window.elapsed < PATIENCE && window.load_cpu > Duration::ZERO);
    }

    #[test]
    fn a_wrong_reply_ends_the_load() {
        let error = load_on_floor(Reply::Integer(1)).exactly(10).unwrap_err();
        assert!(error.to_string().contains("ok was expected"), "{error}");
    }

    #[test]
    fn replies_are_counted_when_whole() {
        let bytes = b"$3\r\nabc\r\n$-1\r\n$3\r\na\r\n\r\n$3\r\nab";
        let found = whole_replies(bytes, Reply::Bulk(3)).unwrap();
        assert_eq!(found, Replies { count: 3, nils: 1, end: bytes.len() - 6 });
        let found = whole_replies(b":1\r\n:100001\r\n:7", Reply::Integer(1)).unwrap();
        assert_eq!(found, Replies { count: 2, nils: 0, end: 13 });
    }

    #[test]
    fn an_array_counts_when_its_last_element_is_there() {
        let bytes = b"*2\r\n$1\r\nk\r\n*2\r\n*2\r\n$3\r\n1-1\r\n$-1\r\n:7\r\n*-1\r\n*0\r\n";
        let first = bytes.len() - b"*-1\r\n*0\r\n".len();
        assert_eq!(whole_replies(bytes, Reply::Array(2)).unwrap().count, 3);
        for cut in 0..first {
            assert_eq!(reply_len(&bytes[..cut], Reply::Array(2)).unwrap(), None, "cut at {cut}");
        }
        assert_eq!(reply_len(bytes, Reply::Array(2)).unwrap(), Some(first));
        assert_eq!(reply_len(b"$15\r\n1764200000000-0\r\n", Reply::AnyBulk(3)).unwrap(), Some(22));
    }

    #[test]
    fn a_reply_of_another_kind_or_size_is_an_error() {
        for (bytes, expected) in [
            (&b"-ERR no\r\n"[..], Reply::Ok),
            (b":1\r\n", Reply::Ok),
            (b"+OK\r\n", Reply::Integer(1)),
            (b"$4\r\nabcd\r\n", Reply::Bulk(3)),
            (b"$x\r\n", Reply::Bulk(3)),
            (b"$1\r\na\r\n", Reply::Array(1)),
            (b"*0\r\n", Reply::AnyBulk(1)),
        ] {
            assert!(whole_replies(bytes, expected).is_err(), "{:?}", bytes.escape_ascii().to_string());
        }
    }
}

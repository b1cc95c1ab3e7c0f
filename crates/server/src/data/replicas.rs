//! The links to our replicas, as the network threads see them: sockets to hand the log to, and how far
//! each replica says it has come.
//!
//! From PSYNC on nothing is written to a replica's socket but through its [`Link`]: first lines (the
//! answer to PSYNC, signs of life), then a snapshot if it needs one, then the log. Any network thread may
//! hand the log on, because whoever has run a command hands its effects on before it answers. A link's
//! lock makes them take turns; what one thread has appended is thus on its way when
//! [`Replicas::flush`] returns, unless the socket takes no more.

use std::io::{ErrorKind, Write as _};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use quorate_stdx::{Mono, Offset};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::data::client::{ClientId, Socket};
use quorate_feed::{Feed, Position};

/// The most that is written to a replica before the next one has its turn.
const TURN: usize = 1 << 20;

/// A link to one replica.
pub struct Link {
    /// The client that it is.
    pub client: ClientId,
    /// Its network thread.
    pub worker: usize,
    /// A copy of its socket.
    socket: Socket,
    /// How far the log has been handed to its socket, once it is known where it starts.
    position: OnceLock<Arc<Position>>,
    /// Lines that come before everything else; held while somebody writes to the socket.
    lines: Mutex<Vec<u8>>,
    /// Whether there are any.
    has_lines: AtomicBool,
    /// Whether it gets the stream; before that it gets a snapshot.
    online: AtomicBool,
    broken: AtomicBool,
    /// The offset up to which it has applied the stream, as it says.
    acked: AtomicU64,
    /// The offset up to which it has the stream on disk, as it says.
    fsynced: AtomicU64,
    /// Since when it is above its soft limit: microseconds of the server's clock; 0 if it isn't.
    over_soft_limit: AtomicU64,
}

/// A replica's socket is closed, or its link was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl Link {
    /// A link that is not online yet; `pending` is what the client has not got of earlier replies.
    pub fn new(client: ClientId, worker: usize, socket: Socket, pending: Vec<u8>) -> Arc<Link> {
        Arc::new(Link {
            client,
            worker,
            socket,
            position: OnceLock::new(),
            has_lines: AtomicBool::new(!pending.is_empty()),
            lines: Mutex::new(pending),
            online: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            acked: AtomicU64::new(0),
            fsynced: AtomicU64::new(0),
            over_soft_limit: AtomicU64::new(0),
        })
    }

    /// Whether it gets the stream.
    pub fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }

    /// Whether its socket is closed or it was given up.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Holds the log from `from` on for it; false if that is not there any more.
    pub fn hold(&self, feed: &Feed, from: Offset) -> bool {
        if let Some(position) = self.position.get() {
            return position.get() == from;
        }
        feed.read_from(from).is_some_and(|position| self.position.set(position).is_ok())
    }

    /// From now on it gets the stream, from where it is held.
    pub fn go_online(&self, feed: &Feed) {
        self.online.store(true, Ordering::Release);
        self.flush(feed);
    }

    /// Puts a line, with its ending, in front of all that is still to be written.
    pub fn write_line(&self, line: &[u8]) {
        let mut lines = self.lines.lock();
        lines.extend_from_slice(line);
        self.has_lines.store(true, Ordering::Release);
        self.write_lines(&mut lines);
    }

    fn write_lines(&self, lines: &mut Vec<u8>) {
        while !lines.is_empty() && !self.is_broken() {
            match (&self.socket).write(lines) {
                Ok(0) => return self.breaks(),
                Ok(count) => drop(lines.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.breaks(),
            }
        }
        self.has_lines.store(!lines.is_empty(), Ordering::Release);
    }

    /// Writes a piece of a snapshot, waiting for the socket to take it. `stop` is asked now and then.
    pub fn write_all(&self, mut bytes: &[u8], stop: &dyn Fn() -> bool) -> Result<(), Gone> {
        while self.has_lines.load(Ordering::Acquire) && !self.is_broken() {
            self.write_lines(&mut self.lines.lock());
            if self.has_lines.load(Ordering::Acquire) {
                self.wait_writable(stop)?;
            }
        }
        while !bytes.is_empty() {
            if self.is_broken() {
                return Err(Gone);
            }
            match (&self.socket).write(bytes) {
                Ok(0) => {
                    self.breaks();
                    return Err(Gone);
                }
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_writable(stop)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.breaks();
                    return Err(Gone);
                }
            }
        }
        Ok(())
    }

    fn wait_writable(&self, stop: &dyn Fn() -> bool) -> Result<(), Gone> {
        if stop() || self.is_broken() {
            return Err(Gone);
        }
        let patience = Timespec { tv_sec: 0, tv_nsec: Duration::from_millis(100).as_nanos() as i64 };
        // Whatever poll says, the next write tells what the socket's state is.
        let _ = rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], Some(&patience));
        Ok(())
    }

    /// Notes what it says to have applied and to have on disk.
    pub fn acknowledge(&self, applied: Offset, fsynced: Option<Offset>) {
        self.acked.fetch_max(applied.0, Ordering::AcqRel);
        if let Some(fsynced) = fsynced {
            self.fsynced.fetch_max(fsynced.0, Ordering::AcqRel);
        }
    }

    /// The offset up to which it has applied the stream.
    pub fn acked(&self) -> Offset {
        Offset(self.acked.load(Ordering::Acquire))
    }

    /// The offset up to which it has the stream on disk.
    pub fn fsynced(&self) -> Offset {
        Offset(self.fsynced.load(Ordering::Acquire))
    }

    /// Bytes of the log that its socket has not taken.
    pub fn backlog(&self, feed: &Feed) -> u64 {
        self.position.get().map_or(0, |position| feed.end().0.saturating_sub(position.get().0))
    }

    /// Hands the log to its socket, as far as that takes it.
    #[inline]
    pub fn flush(&self, feed: &Feed) {
        let behind = self.is_online() && self.position.get().is_some_and(|position| position.get() != feed.end());
        if (behind || self.has_lines.load(Ordering::Relaxed)) && !self.is_broken() {
            self.write_stream(feed);
        }
    }

    fn write_stream(&self, feed: &Feed) {
        let mut lines = self.lines.lock();
        self.write_lines(&mut lines);
        let Some(position) = self.position.get() else { return };
        if !lines.is_empty() || !self.is_online() {
            return;
        }
        let mut written = 0;
        while written < TURN && !self.is_broken() {
            let stretch = feed.stretch(position, TURN);
            if stretch.is_empty() {
                return;
            }
            let mut slices = stretch.io_slices();
            slices.truncate(64);
            match self.socket.write_pieces(&slices) {
                Ok(0) => return self.breaks(),
                Ok(count) => {
                    written += count;
                    position.set(position.get().advance(count));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.breaks(),
            }
        }
    }

    /// The thread that owns the client will notice that the socket is gone; until then nobody writes.
    fn breaks(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether it has been above `hard` now, or above `soft` for `seconds`.
    pub fn exceeds(&self, feed: &Feed, limit: &crate::server::OutputLimit, now: Mono) -> bool {
        let behind = usize::try_from(self.backlog(feed)).unwrap_or(usize::MAX);
        if limit.hard > 0 && behind > limit.hard {
            return true;
        }
        if limit.soft == 0 || behind <= limit.soft {
            self.over_soft_limit.store(0, Ordering::Relaxed);
            return false;
        }
        match self.over_soft_limit.load(Ordering::Relaxed) {
            0 => {
                self.over_soft_limit.store(now.0.max(1), Ordering::Relaxed);
                false
            }
            since => now.since(Mono(since)).as_secs() >= limit.seconds,
        }
    }
}

/// All links.
#[derive(Default)]
pub struct Replicas {
    links: ArcSwap<Vec<Arc<Link>>>,
    /// How many are close behind; for `min-replicas-to-write`.
    good: AtomicUsize,
}

impl Replicas {
    /// The links as they are now.
    pub fn all(&self) -> Arc<Vec<Arc<Link>>> {
        self.links.load_full()
    }

    /// The link of a client.
    pub fn get(&self, client: ClientId) -> Option<Arc<Link>> {
        self.links.load().iter().find(|link| link.client == client).cloned()
    }

    /// Adds a link.
    pub fn add(&self, link: &Arc<Link>) {
        self.links.rcu(|links| {
            let mut links = Vec::clone(links);
            links.push(Arc::clone(link));
            links
        });
    }

    /// Gives a link up: nothing is written to it any more, and the log is not kept for it.
    pub fn remove(&self, feed: &Feed, client: ClientId) {
        let Some(link) = self.get(client) else { return };
        link.breaks();
        self.links.rcu(|links| links.iter().filter(|other| other.client != client).cloned().collect::<Vec<_>>());
        if let Some(position) = link.position.get() {
            feed.forget(position);
        }
    }

    /// Hands the log to the sockets of all replicas that are online.
    #[inline]
    pub fn flush(&self, feed: &Feed) {
        let links = self.links.load();
        for link in links.iter() {
            link.flush(feed);
        }
    }

    /// A replica's socket can take more.
    pub fn writable(&self, client: ClientId, feed: &Feed) {
        if let Some(link) = self.get(client) {
            link.flush(feed);
        }
    }

    /// How many replicas are close behind.
    pub fn good(&self) -> usize {
        self.good.load(Ordering::Relaxed)
    }

    /// Notes how many replicas are close behind.
    pub fn set_good(&self, count: usize) {
        self.good.store(count, Ordering::Relaxed);
    }

    /// How many replicas have applied the stream up to `goal`.
    pub fn count_acked(&self, goal: Offset) -> usize {
        self.links.load().iter().filter(|link| link.is_online() && link.acked() >= goal).count()
    }

    /// How many replicas have the stream on disk up to `goal`.
    pub fn count_fsynced(&self, goal: Offset) -> usize {
        self.links.load().iter().filter(|link| link.is_online() && link.fsynced() >= goal).count()
    }
}

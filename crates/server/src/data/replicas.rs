//! The links to our replicas, as the network threads see them: sockets to hand the log to, and how far
//! each replica says it has come.
//!
//! Any network thread may write to a replica's socket, because whoever has run a command hands its
//! effects on before it answers. A link's lock makes them take turns; what one thread has appended is
//! thus on its way when [`Replicas::flush`] returns, unless the socket takes no more.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use quorate_stdx::{Mono, Offset};
use rustix::io::Errno;

use crate::data::client::{ClientId, ReplicaHello};
use crate::data::feed::{Feed, Position};
use crate::server::Server;

/// The most that is written to a replica before the next one has its turn.
const TURN: usize = 1 << 20;

/// A link to one replica that reads the stream.
pub struct Link {
    /// The client that it was.
    pub client: ClientId,
    /// Its network thread.
    pub worker: usize,
    /// Its address as INFO shows it.
    pub address: String,
    /// What it has told of itself.
    pub hello: ReplicaHello,
    /// A duplicate of its socket's descriptor.
    socket: OwnedFd,
    /// How far the log has been handed to its socket.
    position: Arc<Position>,
    /// Held while somebody writes.
    writing: Mutex<()>,
    /// Whether it gets the stream; before that it gets a snapshot.
    online: AtomicBool,
    broken: AtomicBool,
    /// The offset up to which it has applied the stream, as it says.
    acked: AtomicU64,
    /// The offset up to which it has the stream on disk, as it says.
    fsynced: AtomicU64,
    /// When it last said anything: microseconds of the server's clock.
    heard_at: AtomicU64,
}

impl Link {
    /// A link that is not online yet.
    pub fn new(
        client: ClientId,
        worker: usize,
        address: String,
        hello: ReplicaHello,
        socket: OwnedFd,
        position: Arc<Position>,
        now: Mono,
    ) -> Arc<Link> {
        Arc::new(Link {
            client,
            worker,
            address,
            hello,
            socket,
            position,
            writing: Mutex::new(()),
            online: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            acked: AtomicU64::new(0),
            fsynced: AtomicU64::new(0),
            heard_at: AtomicU64::new(now.0),
        })
    }

    /// Whether it gets the stream.
    pub fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }

    /// From now on it gets the stream.
    pub fn go_online(&self, now: Mono) {
        self.heard_at.store(now.0, Ordering::Relaxed);
        self.online.store(true, Ordering::Release);
    }

    /// The socket, for the snapshot.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// How far the log has been handed to its socket.
    pub fn position(&self) -> &Arc<Position> {
        &self.position
    }

    /// Notes what it says to have applied and to have on disk.
    pub fn acknowledge(&self, applied: Offset, fsynced: Option<Offset>, now: Mono) {
        self.acked.fetch_max(applied.0, Ordering::AcqRel);
        if let Some(fsynced) = fsynced {
            self.fsynced.fetch_max(fsynced.0, Ordering::AcqRel);
        }
        self.heard_at.store(now.0, Ordering::Relaxed);
    }

    /// The offset up to which it has applied the stream.
    pub fn acked(&self) -> Offset {
        Offset(self.acked.load(Ordering::Acquire))
    }

    /// The offset up to which it has the stream on disk.
    pub fn fsynced(&self) -> Offset {
        Offset(self.fsynced.load(Ordering::Acquire))
    }

    /// When it was last heard.
    pub fn heard_at(&self) -> Mono {
        Mono(self.heard_at.load(Ordering::Relaxed))
    }

    /// Hands the log to its socket, as far as that takes it.
    pub fn flush(&self, feed: &Feed) {
        if !self.is_online() || self.broken.load(Ordering::Relaxed) || self.position.get() == feed.end() {
            return;
        }
        let _turn = self.writing.lock();
        let mut written = 0;
        while written < TURN {
            let stretch = feed.stretch(&self.position, TURN);
            if stretch.is_empty() {
                return;
            }
            let mut slices = stretch.io_slices();
            slices.truncate(64);
            match rustix::io::writev(&self.socket, &slices) {
                Ok(0) => return self.breaks(),
                Ok(count) => {
                    written += count;
                    self.position.set(self.position.get().advance(count));
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => return self.breaks(),
            }
        }
    }

    /// The thread that owns the client will notice that the socket is gone; until then nobody writes.
    fn breaks(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

/// All links.
#[derive(Default)]
pub struct Replicas {
    links: ArcSwap<Vec<Arc<Link>>>,
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

    /// A replica's connection is closed.
    pub fn left(&self, server: &Server, client: ClientId) {
        let Some(link) = self.get(client) else { return };
        link.broken.store(true, Ordering::Relaxed);
        self.links.rcu(|links| links.iter().filter(|other| other.client != client).cloned().collect::<Vec<_>>());
        server.feed.forget(&link.position);
    }

    /// How many replicas are online and were heard within `lag` seconds.
    pub fn good(&self, now: Mono, lag: u64) -> usize {
        let links = self.links.load();
        links.iter().filter(|link| link.is_online() && now.since(link.heard_at()).as_secs() <= lag).count()
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

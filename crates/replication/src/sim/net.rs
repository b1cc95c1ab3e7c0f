//! Connections between nodes: messages arrive in order within one, and at any time compared with another.
//!
//! A *cut* resets a connection. A *partition* holds everything back until it heals, as retransmission does;
//! whoever waits too long gives up by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use quorate_stdx::{Offset, Rng};

use crate::{Introduction, LinkId};

use super::node::{Entry, Image};

/// What crosses a connection.
#[derive(Debug, Clone)]
pub(crate) enum Msg {
    /// From the client: one request, encoded.
    Request(Vec<u8>),
    /// From the server: one line, without its ending.
    Line(String),
    /// The text of INFO.
    Info(String),
    /// The bytes of a snapshot.
    Image(Rc<Image>),
    /// Not on the real wire: where the stream that follows starts, and the hash of what comes before.
    StreamStart { from: Offset, hash: u64 },
    /// A piece of the stream.
    Stream(Entry),
    /// The other side has closed.
    Close,
}

/// One connection; `client` follows, `server` is followed.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) link: LinkId,
    pub(crate) introduction: Introduction,
    /// Whether it has become a replica's.
    pub(crate) joined: bool,
    /// Which ends are open: the client's, the server's.
    pub(crate) open: [bool; 2],
    queues: [VecDeque<Msg>; 2],
    /// When the last message of each direction arrives.
    last: [u64; 2],
}

/// The direction of a message; also the end that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum From {
    Client,
    Server,
}

impl From {
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn other(self) -> From {
        match self {
            From::Client => From::Server,
            From::Server => From::Client,
        }
    }
}

/// All connections. Times are in microseconds.
pub(crate) struct Net {
    pub(crate) conns: BTreeMap<u64, Conn>,
    next: u64,
    blocked: BTreeSet<(usize, usize)>,
    latency: u64,
    jitter: u64,
}

impl Net {
    pub(crate) fn new(latency: u64, jitter: u64) -> Net {
        Net { conns: BTreeMap::new(), next: 1, blocked: BTreeSet::new(), latency, jitter }
    }

    pub(crate) fn delay(&self, rng: &mut Rng) -> u64 {
        self.latency + rng.below(self.jitter + 1)
    }

    pub(crate) fn open(&mut self, client: usize, server: usize, link: LinkId) -> u64 {
        let id = self.next;
        self.next += 1;
        let introduction = Introduction::default();
        let queues = [VecDeque::new(), VecDeque::new()];
        let conn = Conn { client, server, link, introduction, joined: false, open: [true; 2], queues, last: [0; 2] };
        self.conns.insert(id, conn);
        id
    }

    /// Queues a message and returns when it arrives; `None` if nobody will see it.
    pub(crate) fn send(&mut self, id: u64, from: From, msg: Msg, now: u64, rng: &mut Rng) -> Option<u64> {
        let delay = self.delay(rng);
        let conn = self.conns.get_mut(&id)?;
        if !conn.open[from.index()] {
            return None;
        }
        conn.queues[from.index()].push_back(msg);
        let at = (now + delay).max(conn.last[from.index()] + 1);
        conn.last[from.index()] = at;
        Some(at)
    }

    /// Takes the next message of a direction, unless a partition holds it back.
    pub(crate) fn deliver(&mut self, id: u64, from: From) -> Option<Msg> {
        let conn = self.conns.get_mut(&id)?;
        if self.blocked.contains(&pair(conn.client, conn.server)) {
            return None;
        }
        conn.queues[from.index()].pop_front()
    }

    /// Closes one end. Returns when the other end sees it, if it is still open.
    pub(crate) fn close(&mut self, id: u64, end: From, now: u64, rng: &mut Rng) -> Option<u64> {
        let at = self.send(id, end, Msg::Close, now, rng);
        let conn = self.conns.get_mut(&id)?;
        conn.open[end.index()] = false;
        if conn.open == [false; 2] {
            self.conns.remove(&id);
            return None;
        }
        at
    }

    pub(crate) fn block(&mut self, a: usize, b: usize) {
        self.blocked.insert(pair(a, b));
    }

    pub(crate) fn is_blocked(&self, a: usize, b: usize) -> bool {
        self.blocked.contains(&pair(a, b))
    }

    /// Ends all partitions. Returns what was held back, to be delivered once each.
    pub(crate) fn heal(&mut self) -> Vec<(u64, From)> {
        let blocked = std::mem::take(&mut self.blocked);
        let mut held = Vec::new();
        for (id, conn) in &self.conns {
            if blocked.contains(&pair(conn.client, conn.server)) {
                for from in [From::Client, From::Server] {
                    held.extend(std::iter::repeat_n((*id, from), conn.queues[from.index()].len()));
                }
            }
        }
        held
    }

    /// The connections that have an open end at `node`.
    pub(crate) fn of(&self, node: usize) -> Vec<(u64, From)> {
        let ends = |(id, conn): (&u64, &Conn)| {
            let client = (conn.client == node && conn.open[0]).then_some((*id, From::Client));
            let server = (conn.server == node && conn.open[1]).then_some((*id, From::Server));
            [client, server]
        };
        self.conns.iter().flat_map(ends).flatten().collect()
    }

    /// The connections between two nodes.
    pub(crate) fn between(&self, a: usize, b: usize) -> Vec<u64> {
        let joins = |conn: &Conn| pair(conn.client, conn.server) == pair(a, b);
        self.conns.iter().filter(|(_, conn)| joins(conn)).map(|(id, _)| *id).collect()
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

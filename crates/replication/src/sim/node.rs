//! One server without its sockets: dataset, log, readers of the log, and the machine.
//!
//! The dataset is a set of write numbers. Its hash covers every byte that led to it, in order, so that two nodes
//! hold the same prefix exactly if they have the same hash.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use quorate_stdx::{Offset, ReplId};

use crate::{Addr, Config, History, LinkId, PeerId, Replication, SnapshotId};

/// A piece of the stream: one command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) end: Offset,
    /// Of all that comes before `end`, this included.
    pub(crate) hash: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Write(u64),
    Ping,
    GetAck,
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Kind::Write(n) => 30 + (n % 7) as usize,
            Kind::Ping => 14,
            Kind::GetAck => 37,
        }
    }

    fn mix(self, hash: u64) -> u64 {
        let word = match self {
            Kind::Write(n) => n + 3,
            Kind::Ping => 1,
            Kind::GetAck => 2,
        };
        (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
    }
}

/// A snapshot, and what checkers want to know of where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) data: BTreeSet<u64>,
    pub(crate) hash: u64,
    pub(crate) id: ReplId,
    pub(crate) source: usize,
    /// When the process that took it was started, if it was started with nothing and has loaded nothing since.
    pub(crate) started_empty: Option<u64>,
    /// When it was started, in any case.
    pub(crate) started: u64,
}

/// What survives a crash.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) data: BTreeSet<u64>,
    pub(crate) hash: u64,
    pub(crate) position: Option<(ReplId, Offset)>,
}

/// The log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) open: bool,
    start: Offset,
    end: Offset,
    entries: VecDeque<Entry>,
    /// The hash of what comes before `start`.
    base: u64,
}

impl Log {
    pub(crate) fn open(&mut self, at: Offset, hash: u64) {
        *self = Log { open: true, start: at, end: at, entries: VecDeque::new(), base: hash };
    }

    pub(crate) fn held(&self) -> Range<Offset> {
        self.start..self.end
    }

    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    fn append(&mut self, entry: Entry) {
        self.end = entry.end;
        self.entries.push_back(entry);
    }

    /// The hash of what comes before `at`; `None` if it isn't held, or no command starts there.
    pub(crate) fn hash_at(&self, at: Offset) -> Option<u64> {
        if at == self.start {
            return Some(self.base);
        }
        let index = self.entries.binary_search_by_key(&at, |entry| entry.end).ok()?;
        Some(self.entries[index].hash)
    }

    pub(crate) fn after(&self, at: Offset) -> impl Iterator<Item = Entry> + '_ {
        let index = self.entries.partition_point(|entry| entry.end <= at);
        self.entries.range(index..).copied()
    }

    /// Forgets what is older than `size` bytes, but nothing after `pinned`.
    fn trim(&mut self, size: u64, pinned: Offset) {
        while let Some(first) = self.entries.front()
            && first.end <= pinned
            && self.end.0 - first.end.0 >= size
        {
            (self.start, self.base) = (first.end, first.hash);
            self.entries.pop_front();
        }
    }
}

/// A replica's place in our log.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) next: Offset,
    /// Whether it gets the stream; before, the place is only held.
    pub(crate) flows: bool,
}

/// The link to our primary, as the driver holds it.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) link: LinkId,
    pub(crate) conn: Option<u64>,
    pub(crate) image: Option<Rc<Image>>,
    /// The machine asked for the snapshot.
    pub(crate) receives: bool,
    /// The snapshot is being loaded, which goes on even if the link breaks.
    pub(crate) loads: bool,
    pub(crate) streams: bool,
    /// The stream, as far as it came before it was wanted.
    pub(crate) early: VecDeque<Entry>,
    pub(crate) start: Option<(Offset, u64)>,
}

/// A snapshot that is taken.
#[derive(Debug)]
pub(crate) struct Taking {
    pub(crate) image: Rc<Image>,
    /// The log is kept from here on.
    pub(crate) at: Offset,
}

/// One server.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) addr: Addr,
    pub(crate) config: Config,
    pub(crate) machine: Replication,
    pub(crate) up: bool,
    /// Counts starts, so that what was planned for an earlier process is known as such.
    pub(crate) boot: u64,
    pub(crate) started: u64,
    /// Started with nothing, and nothing loaded since.
    pub(crate) started_empty: bool,
    pub(crate) loaded_keys: u64,
    pub(crate) keeps_aof: bool,
    pub(crate) data: BTreeSet<u64>,
    pub(crate) hash: u64,
    pub(crate) log: Log,
    pub(crate) readers: BTreeMap<PeerId, Reader>,
    pub(crate) taking: BTreeMap<SnapshotId, Taking>,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) follows: Option<Addr>,
    pub(crate) paused: bool,
    /// For the checkers: the FAILOVER under way went on without waiting any longer.
    pub(crate) forced: bool,
    /// For the checkers: what it held when it last took over; its answer may arrive after it has crashed.
    pub(crate) took_over_with: BTreeSet<u64>,
    pub(crate) history: Option<History>,
    pub(crate) disk: Option<Disk>,
    /// The wake-up that is in the heap.
    pub(crate) wake_at: Option<u64>,
    /// For the checkers: by an operator's word, until something is loaded.
    pub(crate) consented: bool,
    /// For the checkers: when each node was last heard while its stream came in, since we follow it.
    pub(crate) heard: BTreeMap<usize, u64>,
    /// For the checkers: the highest offset since the last load or start, and the history it belongs to.
    pub(crate) reached: Option<(ReplId, Offset)>,
}

impl Node {
    /// Whether a client's write is taken.
    pub(crate) fn takes_writes(&self) -> bool {
        self.up && self.follows.is_none() && !self.paused
    }

    /// Runs a command here: appends what replicas must see, if anybody may want to.
    pub(crate) fn run(&mut self, kind: Kind) {
        self.hash = kind.mix(self.hash);
        if let Kind::Write(n) = kind {
            self.data.insert(n);
        }
        if self.log.open {
            let end = self.log.end().advance(kind.bytes());
            self.log.append(Entry { kind, end, hash: self.hash });
            self.trim();
        }
    }

    /// Applies a piece of our primary's stream, and passes it on as it is.
    pub(crate) fn apply(&mut self, entry: Entry) {
        self.run(entry.kind);
    }

    fn trim(&mut self) {
        let read = self.readers.values().map(|reader| reader.next);
        let pinned = read.chain(self.taking.values().map(|taking| taking.at)).min();
        self.log.trim(self.config.backlog_size, pinned.unwrap_or(self.log.end()));
    }

    pub(crate) fn info(&self, now: u64) -> String {
        let uptime = now / 1_000_000 - self.started / 1_000_000;
        let (aof, keys) = (u8::from(self.keeps_aof), self.loaded_keys);
        let run = run_id(&self.name, self.boot);
        format!(
            "run_id:{run}\r\nuptime_in_seconds:{uptime}\r\naof_enabled:{aof}\r\nrdb_last_load_keys_loaded:{keys}\r\n"
        )
    }
}

/// Names the process that `name` is since its start number `boot`.
fn run_id(name: &str, boot: u64) -> String {
    let name = name.bytes().take(12).fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
    format!("{name:0>24}{boot:016x}")
}

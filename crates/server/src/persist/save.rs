//! A snapshot as a stream of bytes: the dataset exactly as it was at one moment, while writes go on.
//!
//! ```text
//!   walker ──────────┐ entries, slot by slot          ┌──► take(): a file, or replicas' sockets
//!                    ├──► buffer, at most `BOUND` ────┤
//!   who writes ──────┘ old values, before the change  └──  checksum
//! ```
//!
//! Both sides only append to the buffer, under a slot's lock; the thread that called [`Snapshot::run`] empties it and
//! holds nothing meanwhile. The walker stops when the buffer holds a few megabytes. Writers save at most each key's
//! value once; if even so the buffer gets full, because the disk is slower than they are, they wait until there is room
//! again. If nothing is taken for [`PATIENCE`] while somebody waits, the snapshot fails and everybody goes on: an
//! unusable disk costs the snapshot and not the service. So memory is bounded by twice `BOUND` (what is collected, and
//! what is being taken) and one value, and the service by neither.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use quorate_config::Policy;
use quorate_formats::Digest;
use quorate_formats::rdb::{self, Access, Preamble, WriteOptions};
use quorate_keyspace::{AccessPolicy, Alone, Db, Member, Record, Sink, Step, Walk, decayed, idle_seconds};
use quorate_stdx::{Rng, UnixMs};

use super::{delay, replication, write_options};
use crate::server::{Published, Server, unix_now};

/// How many entries a bite of the walk has: small enough that a slot is never held for long.
const BITE: usize = 64;
/// Bytes that are worth a call of `take`.
const PIECE: usize = 64 << 10;
/// Bytes above which the walker waits.
const AHEAD: usize = 4 << 20;
/// Bytes above which writers wait.
const BOUND: usize = 64 << 20;
/// How long writers wait for somebody who takes nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// A snapshot under way.
pub struct Snapshot {
    walk: Arc<Walk>,
    pipe: Arc<Pipe>,
    checksum: bool,
    /// It is made of requests, which need no end.
    spelled: bool,
    /// The file's beginning.
    head: Vec<u8>,
    progress: Arc<Progress>,
    key_delay: Duration,
}

/// How far a snapshot has come, for INFO.
#[derive(Default)]
pub struct Progress {
    keys: AtomicU64,
    keys_total: u64,
    old_bytes: AtomicU64,
}

impl Progress {
    /// Keys saved so far.
    pub fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    /// Keys that there were at the snapshot's moment.
    pub fn keys_total(&self) -> u64 {
        self.keys_total
    }

    /// Bytes of old values that writers have saved.
    pub fn old_bytes(&self) -> u64 {
        self.old_bytes.load(Ordering::Relaxed)
    }

    /// Percent of the keys that are saved.
    pub fn percent(&self) -> f64 {
        if self.keys_total == 0 { 0.0 } else { self.keys() as f64 * 100.0 / self.keys_total as f64 }
    }
}

/// What was collected and not taken yet.
#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    db: Option<Db>,
    /// The walk is at its end: nothing more comes.
    complete: bool,
    /// Nobody takes anything any more: what comes is dropped.
    closed: bool,
    /// A writer waits for room.
    awaited: bool,
    /// Writers have waited in vain.
    stalled: bool,
}

/// The buffer between those who save and the one who writes.
struct Pipe {
    collected: Mutex<Collected>,
    filled: Condvar,
    drained: Condvar,
    bound: AtomicU64,
    patience: Mutex<Duration>,
}

impl Pipe {
    fn new() -> Pipe {
        Pipe {
            collected: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            bound: AtomicU64::new(BOUND as u64),
            patience: Mutex::new(PATIENCE),
        }
    }

    /// Wakes the one who takes if the last `len` bytes have made a piece of what is collected.
    fn announce(&self, collected: &Collected, len: usize) {
        let now = collected.bytes.len();
        if now >= PIECE && now - len < PIECE {
            self.filled.notify_one();
        }
    }

    /// Lets a writer, which holds a slot, wait for room. The one who takes needs no slot, so there will be some.
    #[cold]
    fn hold_writer(&self, collected: &mut parking_lot::MutexGuard<'_, Collected>, bound: usize) {
        let until = Instant::now() + *self.patience.lock();
        while collected.bytes.len() > bound && !collected.closed {
            // Said again after each wait: the walker may have used the room before this writer woke up.
            collected.awaited = true;
            self.filled.notify_one();
            if self.drained.wait_until(collected, until).timed_out() {
                collected.closed = true;
                collected.stalled = true;
                self.drained.notify_all();
                self.filled.notify_all();
            }
        }
    }

    /// Lets the walker, which holds nothing, wait for room; false if nobody takes anything any more.
    fn await_room(&self) -> bool {
        let mut collected = self.collected.lock();
        while collected.bytes.len() > AHEAD && !collected.closed {
            self.drained.wait(&mut collected);
        }
        !collected.closed
    }

    /// Waits for a piece that is worth it; false at the end.
    fn take_piece(&self, piece: &mut Vec<u8>) -> io::Result<bool> {
        piece.clear();
        let mut collected = self.collected.lock();
        while collected.bytes.len() < PIECE && !collected.awaited && !collected.complete && !collected.closed {
            self.filled.wait(&mut collected);
        }
        if collected.closed {
            return Err(collected.why_closed());
        }
        std::mem::swap(piece, &mut collected.bytes);
        collected.awaited = false;
        self.drained.notify_all();
        Ok(!piece.is_empty())
    }

    fn close(&self) {
        let mut collected = self.collected.lock();
        collected.closed = true;
        collected.bytes = Vec::new();
        self.drained.notify_all();
        self.filled.notify_all();
    }

    fn complete(&self) {
        self.collected.lock().complete = true;
        self.filled.notify_all();
    }
}

impl Collected {
    fn why_closed(&self) -> io::Error {
        if self.stalled {
            io::Error::new(io::ErrorKind::TimedOut, "nothing was written for too long while clients had to wait for it")
        } else {
            io::Error::other("the snapshot was given up")
        }
    }
}

/// The walk's sink. The walker collects a bite of its own and then puts it into the pipe in one piece, so that nobody
/// who writes ever waits for a walker that has lost its CPU in the midst of its work.
struct Collector {
    pipe: Arc<Pipe>,
    progress: Arc<Progress>,
    form: Form,
    /// The walker's own; nobody else locks it.
    bite: Mutex<Bite>,
}

/// What the walker has collected since it last put something into the pipe.
#[derive(Default)]
struct Bite {
    bytes: Vec<u8>,
    db: Option<Db>,
    keys: u64,
}

/// How the base of an append-only file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// As a snapshot.
    Snapshot,
    /// As requests.
    Requests,
}

/// How entries are written.
#[derive(Clone, Copy)]
struct Form {
    /// As requests, and not as records of a snapshot.
    spelled: bool,
    options: WriteOptions,
    /// What is remembered of accesses, if those who evict need it.
    access: Option<AccessPolicy>,
    now: UnixMs,
}

impl Form {
    fn new(published: &Published, options: WriteOptions, now: UnixMs, base: Option<Base>) -> Form {
        let access = match published.access {
            AccessPolicy::Lru if !matches!(published.memory.policy, Policy::AllKeysLru | Policy::VolatileLru) => None,
            policy => Some(policy),
        };
        Form { spelled: base == Some(Base::Requests), options, access, now }
    }

    fn append(&self, out: &mut Vec<u8>, selected: &mut Option<Db>, db: Db, entry: &Record) {
        if self.spelled {
            return super::aof::spell::entry(out, selected, db, entry);
        }
        if *selected != Some(db) {
            *selected = Some(db);
            rdb::write_select_db(out, u32::from(db.0));
        }
        let access = self.access.map(|policy| match policy {
            AccessPolicy::Lru => Access::Idle { seconds: idle_seconds(entry.access(), self.now) },
            AccessPolicy::Lfu { decay_minutes, .. } => {
                Access::Frequency(decayed(entry.access(), self.now, decay_minutes) as u8)
            }
        });
        rdb::write_entry(out, entry.key(), entry.value(), entry.expiry(), access, &self.options);
    }
}

impl Sink for Collector {
    fn entry(&self, db: Db, entry: &Record) {
        let mut bite = self.bite.lock();
        let Bite { bytes, db: selected, keys } = &mut *bite;
        self.form.append(bytes, selected, db, entry);
        *keys += 1;
    }

    fn bitten(&self) {
        let mut bite = self.bite.lock();
        self.progress.keys.fetch_add(bite.keys, Ordering::Relaxed);
        let mut collected = self.pipe.collected.lock();
        if !collected.closed && !bite.bytes.is_empty() {
            // Each bite begins with its database.
            collected.bytes.extend_from_slice(&bite.bytes);
            collected.db = bite.db;
            self.pipe.announce(&collected, bite.bytes.len());
        }
        drop(collected);
        bite.bytes.clear();
        (bite.db, bite.keys) = (None, 0);
    }

    fn old(&self, db: Db, entry: &Record) {
        let mut collected = self.pipe.collected.lock();
        if collected.closed {
            return;
        }
        let Collected { bytes, db: selected, .. } = &mut *collected;
        let before = bytes.len();
        self.form.append(bytes, selected, db, entry);
        let len = bytes.len() - before;
        self.progress.keys.fetch_add(1, Ordering::Relaxed);
        self.progress.old_bytes.fetch_add(len as u64, Ordering::Relaxed);
        self.pipe.announce(&collected, len);
        let bound = self.pipe.bound.load(Ordering::Relaxed) as usize;
        if collected.bytes.len() > bound {
            self.pipe.hold_writer(&mut collected, bound);
        }
    }
}

/// The beginning of a file as of this moment.
fn head(server: &Server, options: &WriteOptions, base: Option<Base>) -> Vec<u8> {
    if base == Some(Base::Requests) {
        return super::aof::spell::head(server);
    }
    let mut head = preamble(server, options, base.is_some());
    for number in 0..server.space.databases() {
        let db = Db(number as u16);
        let keys = server.space.len(db);
        if keys > 0 {
            rdb::write_select_db(&mut head, u32::from(db.0));
            rdb::write_resize_db(&mut head, keys as u64, server.space.volatile(db) as u64);
        }
    }
    head
}

/// What comes before the keys.
fn preamble(server: &Server, options: &WriteOptions, aof_base: bool) -> Vec<u8> {
    let mut head = Vec::new();
    rdb::write_header(&mut head, options.version);
    rdb::write_preamble(
        &mut head,
        &Preamble {
            redis_version: crate::REDIS_VERSION,
            created: unix_now(),
            used_memory: server.memory.used(),
            replication: replication::point(server),
            aof_base,
        },
    );
    for library in server.libraries.shelf().libraries() {
        rdb::write_function(&mut head, &library.source, options);
    }
    head
}

impl Snapshot {
    /// Fixes the dataset as it is now; it is written by [`Snapshot::run`].
    ///
    /// # Panics
    /// If another one is under way: see [`super::Persistence::is_walking`].
    pub fn begin(server: &Server, alone: &mut Alone<'_>) -> Snapshot {
        Snapshot::begin_as(server, alone, None)
    }

    /// The same for the base of an append-only file.
    pub fn begin_base(server: &Server, alone: &mut Alone<'_>, base: Base) -> Snapshot {
        Snapshot::begin_as(server, alone, Some(base))
    }

    fn begin_as(server: &Server, alone: &mut Alone<'_>, base: Option<Base>) -> Snapshot {
        let config = server.config.load();
        let options = write_options(&config);
        let pipe = Arc::new(Pipe::new());
        let databases = server.space.databases() as u16;
        let keys_total = (0..databases).map(|number| server.space.len(Db(number)) as u64).sum();
        let progress = Arc::new(Progress { keys_total, ..Progress::default() });
        let sink = Collector {
            pipe: Arc::clone(&pipe),
            progress: Arc::clone(&progress),
            form: Form::new(&server.published(), options, unix_now(), base),
            bite: Mutex::default(),
        };
        let walk = Walk::begin(alone, Box::new(sink));
        server.persistence.walking.store(true, Ordering::Release);
        Snapshot {
            walk,
            pipe,
            checksum: options.checksum,
            spelled: base == Some(Base::Requests),
            head: head(server, &options, base),
            progress,
            key_delay: config.testing.key_save_delay,
        }
    }

    /// The walk, for cancelling.
    pub fn walk(&self) -> &Arc<Walk> {
        &self.walk
    }

    /// How far it has come.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Lets writers wait for up to `patience` once more than `bound` bytes are collected that nobody has taken, before
    /// the snapshot is given up. A primary that would rather lose a slow replica than wait for it says zero.
    pub fn bound(&mut self, bound: usize, patience: Duration) {
        self.pipe.bound.store(bound as u64, Ordering::Relaxed);
        *self.pipe.patience.lock() = patience;
    }

    /// Walks to the end on a thread of its own, while `take` gets the file's bytes piece by piece on this one. The
    /// caller is a quiet member; `take` may wait for anything but the keyspace. The walk is over when this returns,
    /// whatever it returns.
    pub fn run(
        self,
        server: &Server,
        member: &mut Member,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let result = std::thread::scope(|scope| {
            let walker = std::thread::Builder::new()
                .name("snapshot".to_owned())
                .spawn_scoped(scope, || self.walk_through(server, &mut *member));
            let taken = match walker {
                Ok(_) => self.hand_out(take),
                Err(error) => Err(error),
            };
            if taken.is_err() {
                self.walk.cancel();
                self.pipe.close();
            }
            taken
        });
        member.alone(|alone| {
            Walk::end(alone);
            server.persistence.walking.store(false, Ordering::Release);
        });
        if self.walk.is_cancelled() && result.is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the dataset was replaced while it was being saved",
            ));
        }
        result
    }

    fn hand_out(&self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut digest = (self.checksum && !self.spelled).then(Digest::new);
        let mut hand = |bytes: &[u8]| {
            if let Some(digest) = &mut digest {
                digest.update(bytes);
            }
            take(bytes)
        };
        hand(&self.head)?;
        let mut piece = Vec::new();
        while self.pipe.take_piece(&mut piece)? {
            hand(&piece)?;
        }
        if self.walk.is_cancelled() || self.spelled {
            // The file has no end and so can't be taken for a whole one.
            return Ok(());
        }
        let mut tail = Vec::new();
        rdb::write_end(&mut tail, digest);
        take(&tail)
    }

    /// The walker.
    fn walk_through(&self, server: &Server, member: &mut Member) {
        let scope = server.published().scope(unix_now(), Rng::new(0));
        let bite = if self.key_delay.is_zero() { BITE } else { 1 };
        loop {
            if !self.pipe.await_room() || server.stopping.load(Ordering::Acquire) {
                self.walk.cancel();
            }
            member.enter();
            let step = self.walk.step(member, &scope, bite);
            member.leave();
            if step != Step::More {
                return self.pipe.complete();
            }
            if !self.key_delay.is_zero() {
                delay(self.key_delay, || self.walk.is_cancelled() || server.stopping.load(Ordering::Acquire));
            }
        }
    }
}

/// A file with everything but the keys: the libraries of functions.
pub fn without_keys(server: &Server) -> Vec<u8> {
    let options = write_options(&server.config.load());
    let mut bytes = preamble(server, &options, false);
    let mut digest = options.checksum.then(Digest::new);
    if let Some(digest) = &mut digest {
        digest.update(&bytes);
    }
    rdb::write_end(&mut bytes, digest);
    bytes
}

/// Writes the whole dataset at once, while alone.
pub fn write_alone(server: &Server, alone: &mut Alone<'_>, output: &mut dyn Write) -> io::Result<()> {
    write_alone_as(server, alone, output, None)
}

/// The same, as the base of an append-only file if that is what it is for.
pub fn write_alone_as(
    server: &Server,
    alone: &mut Alone<'_>,
    output: &mut dyn Write,
    base: Option<Base>,
) -> io::Result<()> {
    let config = server.config.load();
    let options = write_options(&config);
    let pause = config.testing.key_save_delay;
    let mut digest = options.checksum.then(Digest::new);
    let mut put = |bytes: &[u8]| {
        if let Some(digest) = &mut digest {
            digest.update(bytes);
        }
        output.write_all(bytes)
    };
    put(&head(server, &options, base))?;
    let published = server.published();
    let scope = published.scope(unix_now(), Rng::new(0));
    let form = Form::new(&published, options, scope.now, base);
    let mut bytes = Vec::new();
    for number in 0..server.space.databases() as u16 {
        let (db, mut selected, mut cursor) = (Db(number), None, 0);
        loop {
            cursor = alone.view(&scope).scan_raw(db, cursor, 1024, |entry| {
                form.append(&mut bytes, &mut selected, db, entry);
                if !pause.is_zero() {
                    delay(pause, || server.stopping.load(Ordering::Acquire));
                }
            });
            put(&bytes)?;
            bytes.clear();
            if cursor == 0 {
                break;
            }
        }
    }
    if form.spelled {
        return Ok(());
    }
    rdb::write_end(&mut bytes, digest);
    output.write_all(&bytes)
}

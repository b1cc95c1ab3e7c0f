//! The append-only file: the log, on disk.
//!
//! ```text
//!   network threads ── write ──────────────┐                      ┌─► increment (append) ─┐
//!   (everysec, no: at the end of a turn)   ├─► Writer (one lock) ─┤                       ├─ named by the manifest
//!   the syncing thread ── write, fsync ────┘                      │   base (a snapshot) ──┘
//!   the rewriting thread: a new base, a new increment ────────────┘
//! ```
//!
//! It is a reader of the log like a replica: what is in the file is what the log holds, in its order and form, less what
//! changes no data. Where in the replication history the file ends can therefore be told from the file
//! (`quorate_formats::aof`).
//!
//! - [`writer`]: the log into the last increment.
//! - [`syncer`]: the thread that hands it to the disk.
//! - [`rewriter`]: the thread that replaces what has grown too long.
//! - [`folder`]: the files' names, and how a manifest is replaced.
//! - [`spell`]: a base as requests, for `aof-use-rdb-preamble no`.
//! - [`start`]: loading, and which file the first write goes to.
//! - [`replay`]: running what a file holds.
//! - [`check`]: `quorate check-aof`.
//!
//! **When clients are answered.** With `appendfsync always` a network thread keeps the replies of a turn until the disk
//! has the log up to the turn's end, and goes on with other clients meanwhile. One fsync serves all threads' turns that
//! ended before it began. Otherwise the bytes are with the kernel before the replies leave, so that a process that is
//! killed has lost nothing; unless an fsync is under way that began less than two seconds ago, which a write would have
//! to wait for.
//!
//! **Marks.** Offsets of the log start over with another history. What waits for the disk counts in *marks*: bytes of
//! the log since the process started, which never go back.

pub mod check;
pub mod folder;
pub mod replay;
pub mod rewriter;
pub(super) mod spell;
pub mod start;
pub mod syncer;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use quorate_config::Fsync;
use quorate_feed::Feed;
use quorate_stdx::{Mono, Offset};

use self::folder::Folder;
use self::writer::Writer;
use crate::data::worker::Mail;
use crate::log;
use crate::server::{Role, Server};
use quorate_formats::aof::Manifest;

/// How long writes are kept back for the sake of an fsync that is under way.
const PATIENCE: Duration = Duration::from_secs(2);

/// The append-only file; see the module's text.
pub struct Aof {
    /// The log is followed.
    follows: AtomicBool,
    /// Replies wait for the disk.
    holds: AtomicBool,
    /// The mark up to which the log is in the file.
    written: AtomicU64,
    /// The mark up to which the disk has it.
    durable: AtomicU64,
    /// What is added to an offset of the log, wrapping, to make a mark of it. Changes only while a thread is alone.
    shift: AtomicU64,
    /// Since when an fsync is under way: microseconds of the server's clock; 0 if none is.
    syncing_since: AtomicU64,
    /// Writes that did not wait any longer for an fsync (`aof_delayed_fsync`).
    delayed: AtomicU64,
    /// Microseconds that each write is delayed by (DEBUG AOF-FLUSH-SLEEP).
    pub flush_sleep: AtomicU64,
    writer: Mutex<Option<Writer>>,
    /// Network threads that keep replies until the disk has more.
    waiting: Mutex<Vec<usize>>,
    syncer: OnceLock<Thread>,
    state: Mutex<State>,
    /// There is something to do for the rewriting thread.
    wake: Condvar,
    /// Why nothing can be written, if that is so.
    failure: Mutex<Option<String>>,
    size: AtomicU64,
    base_size: AtomicU64,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// There is none.
    #[default]
    Off,
    /// There is to be one as soon as there is a dataset whose history is known.
    Awaited,
    /// The first base is being written, or is to be; the log since then is in a file of its own that no manifest names.
    Begun,
    /// The files hold the dataset.
    On,
}

/// What the rewriting thread is to do and has done.
#[derive(Default)]
pub(super) struct State {
    phase: Phase,
    manifest: Manifest,
    /// There is news for the rewriting thread.
    nudged: bool,
    /// A rewrite has been asked for and not begun.
    wanted: bool,
    /// It has to wait for another snapshot (`aof_rewrite_scheduled`).
    scheduled: bool,
    current: Option<Arc<rewriter::Current>>,
    last_took: Option<Duration>,
    last_failed: bool,
    failures: u32,
    /// No rewrite is begun of itself before.
    not_before: Option<Instant>,
    rewrites: u64,
    last_old_bytes: u64,
}

/// What INFO shows, by the names of its fields.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are those of INFO")]
pub struct Figures {
    pub aof_enabled: bool,
    pub aof_rewrite_in_progress: bool,
    pub aof_rewrite_scheduled: bool,
    pub aof_last_rewrite_time_sec: i64,
    pub aof_current_rewrite_time_sec: i64,
    pub aof_last_bgrewrite_ok: bool,
    pub aof_rewrites: u64,
    pub aof_rewrites_consecutive_failures: u32,
    pub aof_last_write_ok: bool,
    pub aof_last_cow_size: u64,
    pub aof_current_size: u64,
    pub aof_base_size: u64,
    pub aof_buffer_length: u64,
    pub aof_pending_bio_fsync: u64,
    pub aof_delayed_fsync: u64,
}

impl Default for Aof {
    fn default() -> Aof {
        Aof {
            follows: AtomicBool::new(false),
            holds: AtomicBool::new(false),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            shift: AtomicU64::new(0),
            syncing_since: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            flush_sleep: AtomicU64::new(0),
            writer: Mutex::new(None),
            waiting: Mutex::default(),
            syncer: OnceLock::new(),
            state: Mutex::default(),
            wake: Condvar::new(),
            failure: Mutex::default(),
            size: AtomicU64::new(0),
            base_size: AtomicU64::new(0),
        }
    }
}

impl Aof {
    /// Whether the log is followed: all that an ordinary turn has to know.
    #[inline]
    pub fn follows(&self) -> bool {
        self.follows.load(Ordering::Relaxed)
    }

    /// Whether replies wait for the disk.
    #[inline]
    pub fn holds(&self) -> bool {
        self.holds.load(Ordering::Relaxed)
    }

    /// The mark of the log's end.
    pub fn mark(&self, feed: &Feed) -> u64 {
        feed.end().0.wrapping_add(self.shift.load(Ordering::Relaxed))
    }

    /// The mark up to which the disk has the log.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The same as an offset of the log; `None` while the files do not hold the dataset.
    pub fn durable_offset(&self) -> Option<Offset> {
        let is_on = self.state.lock().phase == Phase::On;
        is_on.then(|| Offset(self.durable().wrapping_sub(self.shift.load(Ordering::Relaxed))))
    }

    /// A network thread has done its work and is about to send replies.
    #[cold]
    pub fn hand_on(&self, server: &Server) {
        let mark = self.mark(&server.feed);
        if self.holds() {
            if self.durable() < mark {
                self.wake_syncer();
            }
        } else if self.written.load(Ordering::Acquire) < mark && self.may_write(server.mono()) {
            self.write(server);
        }
    }

    /// Whether a write would not have to wait for an fsync, or has to go all the same.
    fn may_write(&self, now: Mono) -> bool {
        match self.syncing_since.load(Ordering::Acquire) {
            0 => true,
            since if now.since(Mono(since)) < PATIENCE => false,
            _ => {
                self.delayed.fetch_add(1, Ordering::Relaxed);
                true
            }
        }
    }

    /// Writes what the log has to the file; whether that worked.
    fn write(&self, server: &Server) -> bool {
        let mut writer = self.writer.lock();
        let Some(writer) = &mut *writer else { return true };
        let sleep = self.flush_sleep.load(Ordering::Relaxed);
        if sleep > 0 {
            std::thread::sleep(Duration::from_micros(sleep));
        }
        let timestamps = server.config.load().append_only.timestamps;
        let result = writer.write(&server.feed, timestamps.then(crate::server::unix_now));
        let shift = self.shift.load(Ordering::Relaxed);
        self.written.store(writer.upto().0.wrapping_add(shift), Ordering::Release);
        self.size.store(writer.total_size(), Ordering::Relaxed);
        match result {
            Ok(()) => true,
            Err(error) => {
                self.fail(&format!("Error writing to the AOF file: {}", crate::process::plain(&error)), &error);
                false
            }
        }
    }

    /// Notes that nothing can be written; the syncing thread sees to what follows.
    fn fail(&self, line: &str, error: &std::io::Error) {
        let mut failure = self.failure.lock();
        if failure.is_none() {
            log::warning(line);
            *failure = Some(crate::process::plain(error));
            self.wake_syncer();
        }
    }

    fn wake_syncer(&self) {
        if let Some(thread) = self.syncer.get() {
            thread.unpark();
        }
    }

    /// A network thread keeps replies until the disk has the log up to `mark`; false if it has by now.
    pub fn await_durable(&self, worker: usize, mark: u64) -> bool {
        let mut waiting = self.waiting.lock();
        if !waiting.contains(&worker) {
            waiting.push(worker);
        }
        drop(waiting);
        self.wake_syncer();
        // In this order: whoever syncs tells of it first, and then looks who waits.
        self.holds() && self.durable() < mark
    }

    /// Whether replies that wait for `mark` may leave.
    pub fn has(&self, mark: u64) -> bool {
        self.durable() >= mark || !self.holds()
    }

    /// Tells the threads that wait.
    fn tell(&self, server: &Server) {
        for worker in std::mem::take(&mut *self.waiting.lock()) {
            server.mail(worker, Mail::Durable);
        }
    }

    /// What follows from the configuration and the phase. The calling thread is alone, or the threads have not started.
    fn settle(&self, server: &Server) {
        let config = server.config.load();
        let is_on = self.state.lock().phase == Phase::On;
        let held = self.holds.swap(is_on && config.append_only.fsync == Fsync::Always, Ordering::AcqRel);
        if held && !self.holds() {
            self.tell(server);
        }
        self.wake_syncer();
    }

    /// Another history is about to begin in the log, or the log is about to end. The calling thread is alone.
    pub fn before_restart(&self, server: &Server) {
        if self.follows() {
            self.write(server);
            if self.holds() {
                self.sync(server);
            }
        }
    }

    /// The log has begun anew; it is followed from there. The calling thread is alone.
    pub fn after_restart(&self, server: &Server) {
        let feed = &server.feed;
        let mut slot = self.writer.lock();
        if let Some(writer) = &mut *slot {
            let mark = self.written.load(Ordering::Relaxed);
            self.shift.store(mark.wrapping_sub(feed.end().0), Ordering::Relaxed);
            writer.restart(feed, server.control.position(server));
        }
        drop(slot);
        self.write(server);
        if self.state.lock().phase == Phase::Awaited {
            self.begin(server);
        }
    }

    /// Our history has another name from here on. The calling thread is alone.
    pub fn renamed(&self, server: &Server) {
        if !self.follows() {
            return;
        }
        self.write(server);
        if let Some(writer) = &mut *self.writer.lock() {
            writer.note_position(server.control.position(server));
        }
        self.write(server);
    }

    /// The dataset is about to be replaced: what the files hold stays, and nothing is added to it. The calling thread
    /// is alone.
    pub fn suspend(&self, server: &Server) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Begun | Phase::On) {
            state.phase = Phase::Awaited;
            drop(state);
            self.before_restart(server);
            self.stop_following(server);
        }
    }

    fn stop_following(&self, server: &Server) {
        if let Some(current) = &self.state.lock().current {
            log::notice("Killing AOF child: the rewrite that is under way is ended");
            current.cancel();
        }
        if let Some(writer) = self.writer.lock().take() {
            writer.end(&server.feed);
        }
        server.feed.keep_notes(false);
        self.follows.store(false, Ordering::Release);
        self.settle(server);
        self.tell(server);
    }

    /// From now on the dataset is to be in files: a first base is begun as soon as that is possible.
    fn begin(&self, server: &Server) {
        let mut state = self.state.lock();
        // A primary's writes are counted from some moment soon; a replica's history is that of what it has got.
        let is_counted = server.feed.backlog().is_some() || server.published().role != Role::Primary;
        state.phase = if is_counted { Phase::Begun } else { Phase::Awaited };
        (state.wanted, state.nudged) = (true, true);
        state.scheduled = server.persistence.is_walking();
        state.not_before = None;
        drop(state);
        self.wake.notify_all();
    }

    /// The directive `appendonly` or `appendfsync` has changed. The calling thread is alone.
    pub fn configured(&self, server: &Server, config: &quorate_config::Config) {
        let phase = self.state.lock().phase;
        match (config.append_only.enabled, phase) {
            (true, Phase::Off) => self.begin(server),
            (false, Phase::Begun | Phase::On | Phase::Awaited) => {
                if self.follows() {
                    self.write(server);
                    self.sync(server);
                }
                let mut state = self.state.lock();
                state.phase = Phase::Off;
                (state.wanted, state.scheduled) = (false, false);
                drop(state);
                self.stop_following(server);
                self.recovered(server);
            }
            _ => self.settle(server),
        }
    }

    /// Writes go on as if nothing had happened.
    fn recovered(&self, server: &Server) {
        *self.failure.lock() = None;
        if server.published().append_failure.is_some() {
            server.publish(|next| next.append_failure = None);
        }
    }

    /// Where the files hold the dataset, or are about to.
    pub fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    /// Whether a rewrite is under way or about to be.
    pub fn is_rewriting(&self) -> bool {
        let state = self.state.lock();
        state.current.is_some() || (state.wanted && !state.scheduled)
    }

    /// Writes and syncs what there is, for the end of the process; an error is in the log.
    pub fn flush(&self, server: &Server) -> bool {
        if !self.follows() {
            return true;
        }
        log::notice("Calling fsync() on the AOF file.");
        self.write(server) && self.sync(server)
    }

    /// What INFO shows.
    pub fn figures(&self, server: &Server) -> Figures {
        let state = self.state.lock();
        let seconds = |duration: Duration| duration.as_secs() as i64;
        let buffered = match self.follows() {
            true => self.mark(&server.feed).saturating_sub(self.written.load(Ordering::Acquire)),
            false => 0,
        };
        Figures {
            aof_enabled: state.phase != Phase::Off,
            aof_rewrite_in_progress: state.current.is_some() || (state.wanted && !state.scheduled),
            aof_rewrite_scheduled: state.scheduled,
            aof_last_rewrite_time_sec: state.last_took.map_or(-1, seconds),
            aof_current_rewrite_time_sec: state
                .current
                .as_ref()
                .map_or(-1, |current| seconds(current.since().elapsed())),
            aof_last_bgrewrite_ok: !state.last_failed,
            aof_rewrites: state.rewrites,
            aof_rewrites_consecutive_failures: state.failures,
            aof_last_write_ok: self.failure.lock().is_none(),
            aof_last_cow_size: state.last_old_bytes,
            aof_current_size: self.size.load(Ordering::Relaxed),
            aof_base_size: self.base_size.load(Ordering::Relaxed),
            aof_buffer_length: buffered,
            aof_pending_bio_fsync: u64::from(self.syncing_since.load(Ordering::Relaxed) != 0),
            aof_delayed_fsync: self.delayed.load(Ordering::Relaxed),
        }
    }

    /// The folder of its files.
    fn folder(server: &Server) -> Folder {
        Folder::of(&server.config.load())
    }
}

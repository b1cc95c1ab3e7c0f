//! Snapshots on disk: written while writes go on, read at the start.
//!
//! - [`save`]: a snapshot as a stream of bytes, for a file or a replica, without a fork.
//! - [`file`]: a file that gets its name only when it is complete and on disk.
//! - [`saver`]: the thread that saves in the background, and when it does.
//! - [`load`]: the way back.
//! - [`boot`]: loading at the start.
//! - [`check`]: `quorate check-rdb`.
//! - [`aof`]: the append-only file.
//!
//! At most one snapshot is under way at a time, whoever it is for. What INFO shows of all this is in [`Figures`].

pub mod aof;
pub mod boot;
pub mod check;
pub mod file;
pub mod load;
pub mod replication;
pub mod save;
pub mod saver;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use quorate_config::Config;
use quorate_formats::rdb::WriteOptions;
use quorate_stdx::UnixMs;

pub use load::{LoadError, Loaded, load};
pub use save::Snapshot;

use crate::server::{Server, unix_now};

/// Where the snapshot is: the process works in `dir`.
pub(crate) fn path(config: &Config) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(config.snapshots.file_name.as_bytes()))
}

/// How snapshots are written.
fn write_options(config: &Config) -> WriteOptions {
    let snapshots = &config.snapshots;
    WriteOptions { compress: snapshots.compression, checksum: snapshots.checksum, ..WriteOptions::default() }
}

/// The state of saving and loading.
pub struct Persistence {
    /// A snapshot is under way, for a file or a replica. Set and cleared while alone.
    walking: AtomicBool,
    state: Mutex<State>,
    /// There is something to do for the saver.
    wake: Condvar,
    /// Loading, as far as it has come.
    pub loading: LoadProgress,
}

struct State {
    /// A snapshot that was begun and that the saver has yet to take over.
    begun: Option<saver::Begun>,
    /// The one that the saver writes.
    current: Option<Arc<saver::Current>>,
    /// A snapshot is to be begun as soon as that is possible (BGSAVE SCHEDULE).
    scheduled: bool,
    last_save: UnixMs,
    last_try: UnixMs,
    last_failed: bool,
    last_took: Option<Duration>,
    last_old_bytes: u64,
    saves: u64,
    expired_at_load: u64,
    loaded: u64,
}

/// How far loading has come.
#[derive(Default)]
pub struct LoadProgress {
    /// When it began; 0 if nothing is being loaded.
    pub since: AtomicI64,
    /// Bytes to be loaded, if that is known.
    pub total: AtomicU64,
    /// Bytes loaded.
    pub loaded: AtomicU64,
}

/// What INFO shows, by the names of its fields.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are those of INFO")]
pub struct Figures {
    pub loading_start_time: i64,
    pub loading_total_bytes: u64,
    pub loading_loaded_bytes: u64,
    /// Old values saved so far on behalf of the snapshot under way, bytes: what a fork would have copied.
    pub current_cow_size: u64,
    /// Percent.
    pub current_fork_perc: f64,
    pub current_save_keys_processed: u64,
    pub current_save_keys_total: u64,
    pub rdb_changes_since_last_save: i64,
    pub rdb_bgsave_in_progress: bool,
    pub rdb_last_save_time: i64,
    pub rdb_last_bgsave_ok: bool,
    /// -1 if there was none.
    pub rdb_last_bgsave_time_sec: i64,
    /// -1 if there is none.
    pub rdb_current_bgsave_time_sec: i64,
    pub rdb_saves: u64,
    pub rdb_last_cow_size: u64,
    pub rdb_last_load_keys_expired: u64,
    pub rdb_last_load_keys_loaded: u64,
}

impl Default for Persistence {
    fn default() -> Persistence {
        Persistence {
            walking: AtomicBool::new(false),
            state: Mutex::new(State {
                begun: None,
                current: None,
                scheduled: false,
                last_save: unix_now(),
                last_try: UnixMs(0),
                last_failed: false,
                last_took: None,
                last_old_bytes: 0,
                saves: 0,
                expired_at_load: 0,
                loaded: 0,
            }),
            wake: Condvar::new(),
            loading: LoadProgress::default(),
        }
    }
}

impl Persistence {
    /// How snapshots are written.
    pub fn write_options(&self, server: &Server) -> WriteOptions {
        write_options(&server.config.load())
    }

    /// Whether a snapshot is under way, for a file, a replica or the append-only file.
    pub fn is_walking(&self) -> bool {
        self.walking.load(Ordering::Acquire)
    }

    /// When the dataset was last saved.
    pub fn last_save(&self) -> UnixMs {
        self.state.lock().last_save
    }

    /// Keeps in mind what was loaded, for INFO.
    fn note_loaded(&self, loaded: &Loaded) {
        let mut state = self.state.lock();
        state.loaded = loaded.keys;
        state.expired_at_load = loaded.expired;
    }

    /// What INFO shows.
    pub fn figures(&self, server: &Server) -> Figures {
        let walking = self.is_walking() && !server.aof.has_current();
        let rewrite = server.aof.progress();
        let state = self.state.lock();
        let seconds = |duration: Duration| duration.as_secs() as i64;
        let progress = state.current.as_ref().map(|current| &current.progress).or(rewrite.as_ref());
        Figures {
            loading_start_time: self.loading.since.load(Ordering::Relaxed),
            loading_total_bytes: self.loading.total.load(Ordering::Relaxed),
            loading_loaded_bytes: self.loading.loaded.load(Ordering::Relaxed),
            current_cow_size: progress.map_or(0, |progress| progress.old_bytes()),
            current_fork_perc: progress.map_or(0.0, |progress| progress.percent()),
            current_save_keys_processed: progress.map_or(0, |progress| progress.keys()),
            current_save_keys_total: progress.map_or(0, |progress| progress.keys_total()),
            rdb_changes_since_last_save: server.changes_since_save(),
            rdb_bgsave_in_progress: walking || state.begun.is_some() || state.current.is_some(),
            rdb_last_save_time: state.last_save.seconds(),
            rdb_last_bgsave_ok: !state.last_failed,
            rdb_last_bgsave_time_sec: state.last_took.map_or(-1, seconds),
            rdb_current_bgsave_time_sec: state.current.as_ref().map_or(-1, |current| seconds(current.since.elapsed())),
            rdb_saves: state.saves,
            rdb_last_cow_size: state.last_old_bytes,
            rdb_last_load_keys_expired: state.expired_at_load,
            rdb_last_load_keys_loaded: state.loaded,
        }
    }
}

impl Server {
    /// The dataset is now the one that was loaded: its functions take the place of those that there were.
    pub fn took_over(&self, loaded: &Loaded) {
        self.libraries.set(loaded.libraries.clone());
        self.persistence.note_loaded(loaded);
    }

    /// `rdb_changes_since_last_save`
    pub fn changes_since_save(&self) -> i64 {
        self.changes() - self.saved_dirty.load(Ordering::Relaxed)
    }

    /// All changes to keys since the start.
    pub fn changes(&self) -> i64 {
        self.sum(|stats| stats.dirty.get())
    }
}

/// Waits as `rdb-key-save-delay` and `key-load-delay` ask for, unless `stop` says that there is nothing to wait for any
/// more.
fn delay(pause: Duration, stop: impl Fn() -> bool) {
    let until = Instant::now() + pause;
    while !stop() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(10)));
    }
}

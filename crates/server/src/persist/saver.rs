//! The thread that saves in the background: on request (BGSAVE) and by the rules of `save`.
//!
//! A snapshot is begun by whoever is alone, so that its moment is that of the command, and handed to this thread. What
//! it becomes is decided here: a file that replaces the last one, an error that may stop writes
//! (`stop-writes-on-bgsave-error`), or nothing, if the dataset was replaced meanwhile.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_config::Config;
use quorate_keyspace::{Alone, Member, Walk};

use super::file::Pending;
use super::save::{Progress, write_alone};
use super::{Persistence, Snapshot, path};
use crate::log;
use crate::process;
use crate::server::{Loading, Server, unix_now};

/// How often the rules are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long a rule waits after a save that failed.
const RETRY: Duration = Duration::from_secs(5);

/// A snapshot that was begun.
pub(super) struct Begun {
    snapshot: Snapshot,
    /// All changes up to its moment.
    changes: i64,
    current: Arc<Current>,
}

/// The snapshot that is being written, as others see it.
pub(super) struct Current {
    pub(super) since: Instant,
    pub(super) progress: Arc<Progress>,
    walk: Arc<Walk>,
    fate: Mutex<Fate>,
}

/// What is to become of it.
#[derive(Default)]
struct Fate {
    /// It is not wanted any more: it must not replace what has been written since, and isn't begun again.
    dropped: bool,
    /// Its file, which has to go when the process ends before it is finished.
    temporary: Option<PathBuf>,
}

impl Current {
    /// Sees to it that it does not become the dataset's file. If it has just become it, this waits for it.
    fn drop_it(&self) {
        let mut fate = self.fate.lock();
        fate.dropped = true;
        if let Some(temporary) = fate.temporary.take() {
            // It is gone already if the saver was quicker.
            let _ = fs::remove_file(temporary);
        }
        self.walk.cancel();
    }
}

impl Persistence {
    /// Begins a snapshot for the file; false if another one is under way, for whomever.
    pub fn begin(&self, server: &Server, alone: &mut Alone<'_>) -> bool {
        if self.is_walking() {
            return false;
        }
        let snapshot = Snapshot::begin(server, alone);
        let current = Arc::new(Current {
            since: Instant::now(),
            progress: Arc::clone(snapshot.progress()),
            walk: Arc::clone(snapshot.walk()),
            fate: Mutex::default(),
        });
        let mut state = self.state.lock();
        state.scheduled = false;
        state.last_try = unix_now();
        state.current = Some(Arc::clone(&current));
        state.begun = Some(Begun { snapshot, changes: server.changes(), current });
        self.wake.notify_all();
        true
    }

    /// Lets the saver look at once what there is to do.
    pub fn wake(&self) {
        self.wake.notify_all();
    }

    /// Has a snapshot begun as soon as that is possible.
    pub fn schedule(&self) {
        self.state.lock().scheduled = true;
        self.wake.notify_all();
    }

    /// FLUSHALL has emptied everything: a snapshot of what was there is of no use any more. If there are rules, the
    /// empty dataset is saved at once; whether it was.
    pub fn flushed_all(&self, server: &Server, alone: &mut Alone<'_>) -> bool {
        self.drop_current();
        // A save that fails is in the log; the flush has succeeded all the same.
        !server.config.load().snapshots.save.is_empty() && self.save_now(server, alone).is_ok()
    }

    /// Saves while everybody waits (SAVE, SHUTDOWN, DEBUG RELOAD). A file that is being written in the background is
    /// dropped.
    pub fn save_now(&self, server: &Server, alone: &mut Alone<'_>) -> io::Result<()> {
        self.drop_current();
        let result = self.write_now(server, alone);
        match &result {
            Ok(()) => {
                log::notice("DB saved on disk");
                server.saved_dirty.store(server.changes(), Ordering::Relaxed);
                let mut state = self.state.lock();
                state.last_save = unix_now();
                state.last_failed = false;
                state.saves += 1;
                drop(state);
                note_outcome(server, false);
            }
            Err(error) => log::warning(&why(&server.config.load(), error)),
        }
        result
    }

    fn write_now(&self, server: &Server, alone: &mut Alone<'_>) -> io::Result<()> {
        let config = server.config.load();
        let pending = Pending::create(&path(&config), config.snapshots.incremental_fsync)?;
        let mut file = io::BufWriter::with_capacity(1 << 20, pending);
        write_alone(server, alone, &mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    }

    /// Gives up what is being written to a file in the background and removes it; for the end of the process too.
    pub fn drop_current(&self) {
        if let Some(current) = &self.state.lock().current {
            current.drop_it();
        }
    }
}

/// Lets writes through or not, as `stop-writes-on-bgsave-error` says. The calling thread is alone.
fn note_outcome(server: &Server, failed: bool) {
    if server.published().save_failed != failed {
        server.publish(|published| published.save_failed = failed);
    }
}

/// What the log says of a save that failed: what, where, and what is left.
fn why(config: &Config, error: &io::Error) -> String {
    let path = std::path::absolute(path(config)).unwrap_or_else(|_| path(config));
    format!("Error saving DB on disk to {}: {error}. The file that was there is unchanged", path.display())
}

/// Starts the thread. It ends soon after the server's `stopping` is set.
pub fn start(server: &Arc<Server>) -> io::Result<JoinHandle<()>> {
    let server = Arc::clone(server);
    let run = move || Saver { member: server.space.join(), server }.run();
    std::thread::Builder::new().name("saver".to_owned()).spawn(run)
}

struct Saver {
    server: Arc<Server>,
    member: Member,
}

impl Saver {
    fn run(mut self) {
        process::step_back();
        let server = Arc::clone(&self.server);
        let persistence = &server.persistence;
        while !server.stopping.load(Ordering::Acquire) {
            let begun = {
                let mut state = persistence.state.lock();
                if state.begun.is_none() {
                    persistence.wake.wait_for(&mut state, server.rest.patience(TICK));
                }
                state.begun.take()
            };
            match begun {
                Some(begun) => self.save(begun),
                None => self.tick(),
            }
        }
        persistence.drop_current();
    }

    /// Begins a snapshot if one is due.
    fn tick(&mut self) {
        let server = &self.server;
        if server.knobs.cron_paused.load(Ordering::Relaxed)
            || server.published().loading != Loading::No
            || server.persistence.is_walking()
            || !self.is_due()
        {
            return;
        }
        self.member.alone(|alone| server.persistence.begin(server, alone));
    }

    fn is_due(&self) -> bool {
        let config = self.server.config.load();
        let changes = self.server.changes_since_save();
        let now = unix_now();
        let since = |then: quorate_stdx::UnixMs| Duration::from_millis(u64::try_from(now.0 - then.0).unwrap_or(0));
        let state = self.server.persistence.state.lock();
        if state.last_failed && since(state.last_try) <= RETRY {
            return false;
        }
        if state.scheduled {
            return true;
        }
        let age = since(state.last_save);
        let due = config
            .snapshots
            .save
            .iter()
            .find(|rule| u64::try_from(changes).unwrap_or(0) >= rule.changes && age > rule.within);
        if let Some(rule) = due {
            log::notice(&format!("{} changes in {} seconds. Saving...", rule.changes, rule.within.as_secs()));
        }
        due.is_some()
    }

    /// Writes a snapshot to its file and settles what follows from it.
    fn save(&mut self, begun: Begun) {
        let Begun { snapshot, changes, current } = begun;
        let server = Arc::clone(&self.server);
        let config = server.config.load_full();
        log::notice("Background saving started");
        let result = self.write(snapshot, &current, &config);
        let mut outcome = None;
        let mut state = server.persistence.state.lock();
        state.current = None;
        state.last_old_bytes = current.progress.old_bytes();
        match result {
            Ok(()) => {
                state.last_save = unix_now();
                state.last_took = Some(current.since.elapsed());
                state.last_failed = false;
                state.saves += 1;
                server.saved_dirty.store(changes, Ordering::Relaxed);
                outcome = Some(false);
                log::notice("DB saved on disk");
                log::notice("Background saving terminated with success");
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                let dropped = current.fate.lock().dropped;
                state.scheduled |= !dropped;
                let then = if dropped { "" } else { "; it is begun again" };
                log::notice(&format!("Background saving cancelled: {error}{then}"));
            }
            Err(error) => {
                state.last_took = Some(current.since.elapsed());
                state.last_failed = true;
                outcome = Some(true);
                log::warning(&why(&config, &error));
                log::warning("Background saving error");
            }
        }
        drop(state);
        if let Some(failed) = outcome.filter(|failed| server.published().save_failed != *failed) {
            self.member.alone(|_| note_outcome(&server, failed));
        }
    }

    fn write(&mut self, snapshot: Snapshot, current: &Current, config: &Config) -> io::Result<()> {
        let pending = Pending::create(&path(config), config.snapshots.incremental_fsync);
        let mut file = match pending {
            Ok(pending) => {
                current.fate.lock().temporary = Some(pending.temporary().to_owned());
                Ok(pending)
            }
            Err(error) => Err(error),
        };
        // Without a file, the walk still has to be ended.
        let mut failure = file.as_ref().err().map(|error| io::Error::new(error.kind(), error.to_string()));
        snapshot.run(&self.server, &mut self.member, &mut |bytes| match &mut file {
            Ok(file) => file.write_all(bytes),
            Err(_) => Err(failure.take().unwrap_or_else(|| io::Error::other("there is no file"))),
        })?;
        let file = file?;
        file.sync()?;
        let mut fate = current.fate.lock();
        if fate.dropped {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "another one has overtaken it"));
        }
        fate.temporary = None;
        file.finish()
    }
}

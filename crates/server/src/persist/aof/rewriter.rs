//! The thread that rewrites the append-only file: a snapshot becomes the new base, and only what was done since its
//! moment stays in increments.
//!
//! What takes time is done while clients are served: the new increment is there, and named by the manifest, before the
//! moment comes at which the snapshot is begun and writes go there. Should the process end at any step, the manifest
//! on disk names files that make up the dataset: the old base with one more increment, which may be empty, or the new
//! base with that increment.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_formats::aof::Part;
use quorate_keyspace::{Alone, Member, Walk};

use super::folder::{Folder, Trouble};
use super::writer::Writer;
use super::{Aof, Phase, State};
use crate::log;
use crate::persist::Snapshot;
use crate::persist::file::Pending;
use crate::persist::save::{Base, Progress};
use crate::process;
use crate::server::{Loading, Role, Server};

/// How often it looks whether a rewrite is due, or can begin.
const TICK: Duration = Duration::from_millis(100);
/// So many rewrites fail in a row before the next one has to wait,
const FAILURES: u32 = 3;
/// for so many minutes at first, twice as many each time, and at most so many.
const DELAYS: (u32, u32) = (1, 60);

/// A rewrite under way, as others see it.
pub struct Current {
    since: Instant,
    cancelled: AtomicBool,
    under_way: Mutex<Option<(Arc<Walk>, Arc<Progress>)>>,
}

impl Current {
    /// When it began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Ends it before its time.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        if let Some((walk, _)) = &*self.under_way.lock() {
            walk.cancel();
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// How a request for a rewrite is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It begins.
    Started,
    /// It begins when another snapshot is done.
    Scheduled,
    /// One is under way.
    Already,
}

impl Aof {
    /// Asks for a rewrite; `later` if it can't begin before the caller has done its work.
    pub fn ask(&self, server: &Server, later: bool) -> Asked {
        let is_walking = server.persistence.is_walking();
        let mut state = self.state.lock();
        if state.current.is_some() || (state.wanted && !state.scheduled) {
            return Asked::Already;
        }
        (state.wanted, state.nudged) = (true, true);
        state.not_before = None;
        state.scheduled = is_walking || later;
        let asked = if state.scheduled { Asked::Scheduled } else { Asked::Started };
        drop(state);
        self.wake.notify_all();
        asked
    }

    /// Ends a rewrite that is under way; whether there was one.
    pub fn cancel_rewrite(&self) -> bool {
        match &self.state.lock().current {
            Some(current) => {
                current.cancel();
                true
            }
            None => false,
        }
    }

    /// How far the rewrite under way has come.
    pub fn progress(&self) -> Option<Arc<Progress>> {
        let state = self.state.lock();
        let under_way = state.current.as_ref()?.under_way.lock();
        under_way.as_ref().map(|(_, progress)| Arc::clone(progress))
    }

    /// Whether the snapshot under way is a rewrite's.
    pub fn has_current(&self) -> bool {
        self.state.lock().current.is_some()
    }

    /// Lets the threads look at once what there is to do.
    pub fn wake_threads(&self) {
        self.state.lock().nudged = true;
        self.wake.notify_all();
        self.wake_syncer();
    }
}

/// Starts the thread. It ends soon after the server's `stopping` is set.
pub fn start(server: &Arc<Server>) -> io::Result<JoinHandle<()>> {
    let server = Arc::clone(server);
    let run = move || Rewriter { member: server.space.join(), server }.run();
    std::thread::Builder::new().name("aof-rewrite".to_owned()).spawn(run)
}

struct Rewriter {
    server: Arc<Server>,
    member: Member,
}

impl Rewriter {
    fn run(mut self) {
        process::step_back();
        let server = Arc::clone(&self.server);
        while !server.stopping.load(Ordering::Acquire) {
            if let Some(current) = self.take_up() {
                self.rewrite(&current);
                continue;
            }
            let mut state = server.aof.state.lock();
            if std::mem::take(&mut state.nudged) {
                continue;
            }
            if state.phase == Phase::Off && !state.wanted {
                server.aof.wake.wait(&mut state);
            } else {
                server.aof.wake.wait_for(&mut state, TICK);
            }
        }
    }

    /// Begins a rewrite if one is due and can be.
    fn take_up(&self) -> Option<Arc<Current>> {
        let server = &self.server;
        if server.published().loading != Loading::No || server.stopping.load(Ordering::Acquire) {
            return None;
        }
        let aof = &server.aof;
        let is_walking = server.persistence.is_walking();
        let mut state = aof.state.lock();
        let is_early = state.not_before.is_some_and(|at| Instant::now() < at);
        if !state.wanted && !is_walking && !is_early && self.has_grown(&state) {
            state.wanted = true;
        }
        if !state.wanted || state.phase == Phase::Awaited || is_early {
            drop(state);
            return None;
        }
        let is_put_off = state.scheduled && server.knobs.cron_paused.load(Ordering::Relaxed);
        if is_walking || is_put_off {
            state.scheduled = true;
            return None;
        }
        (state.wanted, state.scheduled) = (false, false);
        let current =
            Arc::new(Current { since: Instant::now(), cancelled: AtomicBool::new(false), under_way: Mutex::default() });
        state.current = Some(Arc::clone(&current));
        Some(current)
    }

    /// Whether the files have grown so much since the last rewrite that another one is due.
    fn has_grown(&self, state: &State) -> bool {
        let aof = &self.server.aof;
        let settings = self.server.config.load();
        let (percentage, least) = (settings.append_only.rewrite_percentage, settings.append_only.rewrite_min_size);
        let size = aof.size.load(Ordering::Relaxed);
        if state.phase != Phase::On || percentage == 0 || size <= least {
            return false;
        }
        if self.server.knobs.cron_paused.load(Ordering::Relaxed) {
            return false;
        }
        let base = aof.base_size.load(Ordering::Relaxed).max(1);
        let growth = (u128::from(size) * 100 / u128::from(base)).saturating_sub(100);
        if growth < u128::from(percentage) {
            return false;
        }
        log::notice(&format!("Starting automatic rewriting of AOF on {growth}% growth"));
        true
    }

    fn rewrite(&mut self, current: &Arc<Current>) {
        let server = Arc::clone(&self.server);
        let aof = &server.aof;
        log::notice("Background append only file rewriting started");
        let result = self.attempt(current);
        let mut state = aof.state.lock();
        state.current = None;
        if let Some((_, progress)) = &*current.under_way.lock() {
            state.last_old_bytes = progress.old_bytes();
        }
        match result {
            Ok(()) => {
                state.last_took = Some(current.since.elapsed());
                (state.last_failed, state.failures, state.not_before) = (false, 0, None);
                state.rewrites += 1;
                log::notice("Background AOF rewrite finished successfully");
            }
            Err(_) if current.is_cancelled() => log::notice("Background AOF rewrite was ended before its time"),
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                state.wanted = true;
                log::notice(&format!("Background AOF rewrite is begun again: {error}"));
            }
            Err(error) => {
                state.last_took = Some(current.since.elapsed());
                state.last_failed = true;
                log::warning(&format!("Background AOF rewrite terminated with error: {error}"));
                note_failure(&mut state);
            }
        }
        let is_fruitless = matches!(state.phase, Phase::Begun | Phase::Off | Phase::Awaited);
        let is_begun = state.phase == Phase::Begun;
        drop(state);
        if is_begun {
            aof.stop_following(&server);
        }
        if is_fruitless {
            remove_first_increment(&Aof::folder(&server));
        }
    }

    fn attempt(&mut self, current: &Arc<Current>) -> io::Result<()> {
        let server = Arc::clone(&self.server);
        let config = server.config.load_full();
        let folder = Folder::of(&config);
        folder.create()?;
        let phase = server.aof.phase();
        let begun = match phase {
            Phase::On => self.begin_another(&folder, current)?,
            Phase::Begun => self.begin_first(&folder, current)?,
            Phase::Off => self.begin_alone(&folder, current)?,
            Phase::Awaited => return Err(io::Error::other("the dataset is being replaced")),
        };
        let snapshot_first = config.append_only.snapshot_first;
        let part = server.aof.state.lock().manifest.next_base(folder.prefix(), snapshot_first);
        let path = folder.part(&part);
        let size = self.write(begun, current, &path, config.append_only.incremental_fsync)?;
        let folded = server.aof.fold(&server, &folder, phase, part, size);
        if folded.is_err() {
            // Nobody knows of it.
            let _ = fs::remove_file(&path);
        }
        folded
    }

    /// Begins a snapshot behind which writes go to a new increment.
    fn begin_another(&mut self, folder: &Folder, current: &Current) -> io::Result<Snapshot> {
        let server = Arc::clone(&self.server);
        let mut manifest = server.aof.state.lock().manifest.clone();
        let part = manifest.next_increment(folder.prefix());
        log::notice(&format!("Creating AOF incr file {} on background rewrite", String::from_utf8_lossy(&part.name)));
        let mut file = Some(folder.create_file(&folder.part(&part))?);
        let path = folder.part(&part);
        manifest.add_increment(part);
        folder.store(&manifest).inspect_err(|_| drop(fs::remove_file(path)))?;
        server.aof.state.lock().manifest = manifest;
        self.at_the_moment(current, |server, writer| {
            let Some(writer) = writer else { return Err(io::Error::other("there is no append-only file any more")) };
            let has_position = server.control.position(server).is_some();
            writer.switch(file.take().expect("the moment comes once"), has_position);
            Ok(())
        })
    }

    /// Begins a snapshot, and with it to follow the log.
    fn begin_first(&mut self, folder: &Folder, current: &Current) -> io::Result<Snapshot> {
        let server = Arc::clone(&self.server);
        let manifest = match folder.read() {
            Ok(manifest) => manifest.unwrap_or_default(),
            Err(Trouble::Io(error)) => return Err(error),
            Err(Trouble::Manifest(error)) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
        };
        server.aof.state.lock().manifest = manifest;
        let mut file = Some(folder.create_file(&folder.first_increment())?);
        self.at_the_moment(current, |server, writer| {
            let file = file.take().expect("the moment comes once");
            let before = writer.take();
            let mut next = Writer::new(&server.feed, file, 0, 0);
            if server.control.position(server).is_some() {
                next.has_position();
            }
            if let Some(before) = before {
                before.end(&server.feed);
            }
            *writer = Some(next);
            let mark = server.aof.mark(&server.feed);
            server.aof.written.store(mark, Ordering::Release);
            server.aof.durable.store(mark, Ordering::Release);
            server.aof.follows.store(true, Ordering::Release);
            Ok(())
        })
    }

    /// Begins a snapshot without an append-only file that goes on.
    fn begin_alone(&mut self, folder: &Folder, current: &Current) -> io::Result<Snapshot> {
        let manifest = match folder.read() {
            Ok(manifest) => manifest.unwrap_or_default(),
            Err(Trouble::Io(error)) => return Err(error),
            Err(Trouble::Manifest(error)) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
        };
        self.server.aof.state.lock().manifest = manifest;
        self.at_the_moment(current, |_, _| Ok(()))
    }

    /// Begins the snapshot; `turn` lets writes go elsewhere from there on.
    fn at_the_moment(
        &mut self,
        current: &Current,
        mut turn: impl FnMut(&Server, &mut Option<Writer>) -> io::Result<()>,
    ) -> io::Result<Snapshot> {
        let server = Arc::clone(&self.server);
        let base = match server.config.load().append_only.snapshot_first {
            true => Base::Snapshot,
            false => Base::Requests,
        };
        let phase = server.aof.phase();
        loop {
            let begun = self.member.alone(|alone| {
                if server.persistence.is_walking() {
                    return None;
                }
                Some(moment(&server, alone, current, phase, base, &mut turn))
            });
            match begun {
                Some(begun) => return begun,
                None if current.is_cancelled() || server.stopping.load(Ordering::Acquire) => {
                    return Err(ErrorKind::Interrupted.into());
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Writes the base; its length.
    fn write(&mut self, snapshot: Snapshot, current: &Current, path: &Path, incremental: bool) -> io::Result<u64> {
        let mut pending = Pending::create(path, incremental);
        // Without a file, the walk still has to be ended.
        let mut failure = pending.as_ref().err().map(|error| io::Error::new(error.kind(), error.to_string()));
        let mut size = 0;
        snapshot.run(&self.server, &mut self.member, &mut |bytes| {
            if current.is_cancelled() {
                return Err(ErrorKind::Interrupted.into());
            }
            size += bytes.len() as u64;
            match &mut pending {
                Ok(file) => file.write_all(bytes),
                Err(_) => Err(failure.take().unwrap_or_else(|| io::Error::other("there is no file"))),
            }
        })?;
        if current.is_cancelled() {
            return Err(ErrorKind::Interrupted.into());
        }
        pending?.finish()?;
        Ok(size)
    }
}

/// What happens at a snapshot's moment, in this order: the log up to here goes where it went before.
fn moment(
    server: &Server,
    alone: &mut Alone<'_>,
    current: &Current,
    phase: Phase,
    base: Base,
    turn: &mut dyn FnMut(&Server, &mut Option<Writer>) -> io::Result<()>,
) -> io::Result<Snapshot> {
    let aof = &server.aof;
    if aof.phase() != phase || current.is_cancelled() {
        return Err(ErrorKind::Interrupted.into());
    }
    if aof.follows() && !aof.write(server) {
        return Err(io::Error::other("the append-only file can't be written to"));
    }
    let mut writer = aof.writer.lock();
    turn(server, &mut writer)?;
    if let Some(writer) = &mut *writer {
        match server.published().role {
            // A file stands for itself: whoever reads it begins in database 0.
            Role::Primary => server.feed.force_select(),
            Role::Replica(_) if server.stream_db().0 != 0 => {
                writer.select(server.stream_db().0, server.control.position(server));
            }
            Role::Replica(_) => {}
        }
    }
    drop(writer);
    let snapshot = Snapshot::begin_base(server, alone, base);
    *current.under_way.lock() = Some((Arc::clone(snapshot.walk()), Arc::clone(snapshot.progress())));
    Ok(snapshot)
}

/// After some failures in a row the next attempt has to wait.
fn note_failure(state: &mut State) {
    state.failures += 1;
    state.wanted |= state.phase == Phase::Begun;
    if state.failures < FAILURES {
        return;
    }
    let (first, most) = DELAYS;
    let minutes = first.checked_shl(state.failures - FAILURES).unwrap_or(most).min(most);
    state.not_before = Some(Instant::now() + Duration::from_secs(60) * minutes);
    log::warning(&format!(
        "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {minutes} minutes"
    ));
}

/// Removes what is left of a first increment that no manifest names.
fn remove_first_increment(folder: &Folder) {
    let path: PathBuf = folder.first_increment();
    if path.exists() {
        log::notice(&format!(
            "Removing the temp incr aof file {} in the background",
            path.file_name().unwrap_or_default().to_string_lossy()
        ));
        // It is of no use to anybody, and the next attempt replaces it.
        let _ = fs::remove_file(path);
    }
}

impl Aof {
    /// The base is complete: from here on the manifest names it, and of the increments only what is behind it.
    fn fold(&self, server: &Arc<Server>, folder: &Folder, phase: Phase, base: Part, size: u64) -> io::Result<()> {
        let config = server.config.load();
        let mut manifest = self.state.lock().manifest.clone();
        match phase {
            Phase::On => manifest.rebase(base, 1),
            Phase::Begun => {
                manifest.rebase(base, 0);
                let part = manifest.next_increment(folder.prefix());
                // What lies in it so far has to be as durable as the base that it is named with.
                if !self.sync(server) {
                    return Err(io::Error::other("the first increment can't be handed to the disk"));
                }
                manifest.add_increment(part);
            }
            Phase::Off | Phase::Awaited => manifest.rebase(base, 0),
        }
        {
            // CONFIG SET may have switched it off, or on, meanwhile; or the dataset is being replaced.
            let mut state = self.state.lock();
            if state.phase != phase {
                return Err(ErrorKind::Interrupted.into());
            }
            if let (Phase::Begun, Some(part)) = (phase, manifest.increments.last()) {
                fs::rename(folder.first_increment(), folder.part(part))?;
                folder.sync()?;
            }
            folder.store(&manifest)?;
            state.manifest = manifest.clone();
            if phase == Phase::Begun {
                state.phase = Phase::On;
            }
        }
        if let Some(writer) = &mut *self.writer.lock() {
            writer.rebased(size);
            let total = writer.total_size();
            self.size.store(total, Ordering::Relaxed);
            self.base_size.store(total, Ordering::Relaxed);
        }
        self.settle(server);
        server.control.disk_moved(server);
        if !config.append_only.keep_history {
            // The dataset is safe whatever becomes of this.
            if let Err(error) = folder.clear_history(&mut manifest) {
                log::warning(&format!("Can't write the AOF manifest: {error}"));
            }
            self.state.lock().manifest = manifest;
        }
        Ok(())
    }
}

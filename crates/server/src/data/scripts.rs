//! What threads know of scripts: the cache that they share, and the interpreter that each has for itself.
//!
//! # How scripts run beside each other
//!
//! A script declares its keys. It locks their slots, like any command, and runs beside others. Nothing
//! stops it from touching a key that it didn't declare, and Redis would run it; so do we, by this rule:
//!
//! 1. *While it holds slots it never waits for another.* So scripts can't deadlock, whatever they do.
//! 2. *What it has done can be taken back.* Old values of the keys that it changes are kept until its end
//!    (`keyspace/undo.rs`), its effects are gathered and logged only then, and what would be seen
//!    elsewhere at once (PUBLISH, events, MONITOR, the statistics) is held back until then.
//! 3. *When it needs more than it holds*, everything is taken back, and it is run again alone, where
//!    there is nothing that it could not reach. Its client notices nothing but the time. More than it
//!    holds means: another slot, a command on all keys or on the server, or changes whose old values are
//!    too much to be kept ([`MOST_UNDO`]).
//! 4. *A script that had to be run again is remembered* by the thread, and runs alone at once from then
//!    on; after [`PROBATION`] runs that would have done without, it is trusted again.
//!
//! Scripts in a transaction run alone, as everything in that transaction does.
//!
//! # The cache
//!
//! Sources are shared by all threads; each compiles what it runs, when it runs it for the first time.
//! SCRIPT FLUSH empties the shared cache and raises its epoch; a thread whose interpreter is of another
//! epoch throws away what it has compiled before it looks anything up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use quorate_scripting::{Engine, LoadError, Options, ScriptId};

use crate::server::Server;

/// The bytes of old values that a script may leave to be kept, roughly.
pub const MOST_UNDO: usize = 32 << 10;
/// After so many runs alone in which it did nothing that needs it, a script runs beside others again.
const PROBATION: u8 = 32;

/// The scripts of a server.
#[derive(Default)]
pub struct Scripts {
    sources: Mutex<HashMap<ScriptId, Arc<[u8]>>>,
    source_bytes: AtomicU64,
    epoch: AtomicU64,
    runs: Mutex<Vec<Arc<Run>>>,
    /// How many scripts run for longer than `busy-reply-threshold`.
    busy: RwLock<usize>,
    /// The same, to be looked at in passing.
    any_busy: AtomicBool,
}

impl Scripts {
    /// The source of a script.
    pub fn source(&self, id: &ScriptId) -> Option<Arc<[u8]>> {
        self.sources.lock().get(id).cloned()
    }

    /// Whether there is such a script.
    pub fn exists(&self, id: &ScriptId) -> bool {
        self.sources.lock().contains_key(id)
    }

    /// Lets every thread find a script.
    fn share(&self, id: ScriptId, source: &[u8]) {
        self.sources.lock().entry(id).or_insert_with(|| {
            self.source_bytes.fetch_add(source.len() as u64, Ordering::Relaxed);
            source.into()
        });
    }

    /// Forgets all scripts, everywhere.
    pub fn flush(&self) {
        let mut sources = self.sources.lock();
        *sources = HashMap::new();
        self.source_bytes.store(0, Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// How many scripts there are (`number_of_cached_scripts`).
    pub fn len(&self) -> usize {
        self.sources.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the sources and of the list of them.
    pub fn bytes(&self) -> u64 {
        let entry = size_of::<(ScriptId, Arc<[u8]>)>() + 32;
        self.source_bytes.load(Ordering::Relaxed) + (self.len() * entry) as u64
    }

    /// Bytes that the interpreters of all threads hold.
    pub fn vm_bytes(&self) -> u64 {
        self.runs.lock().iter().map(|run| run.vm_bytes.load(Ordering::Relaxed)).sum()
    }

    /// Whether a script is busy.
    pub fn is_busy(&self) -> bool {
        self.any_busy.load(Ordering::Relaxed)
    }

    /// If a script is busy, keeps it so as long as the guard lives.
    pub fn while_busy(&self) -> Option<RwLockReadGuard<'_, usize>> {
        // Not behind a writer that waits: the busy script itself is served in this way, too.
        Some(self.busy.read_recursive()).filter(|busy| **busy > 0)
    }

    /// Ends every script that runs, whatever it has done, because the server ends.
    pub fn end_all(&self) {
        for run in &*self.runs.lock() {
            let ended = |state| (state != State::IDLE).then_some(State::ENDED);
            // Who runs nothing needs no end.
            let _ = run.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, ended);
        }
    }

    /// Ends every script that has not written yet.
    pub fn kill(&self) -> Kill {
        let (mut killed, mut spared) = (false, false);
        for run in &*self.runs.lock() {
            match run.state.compare_exchange(State::RUNS, State::KILLED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) | Err(State::KILLED) => killed = true,
                Err(State::WROTE) => spared = true,
                Err(_) => {}
            }
        }
        match (killed, spared) {
            (true, _) => Kill::Done,
            (false, true) => Kill::Unkillable,
            (false, false) => Kill::NoneRuns,
        }
    }
}

/// What SCRIPT KILL came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// A script ends.
    Done,
    /// What runs has written already.
    Unkillable,
    /// Nothing runs.
    NoneRuns,
}

/// The states of [`Run`].
struct State;

impl State {
    const IDLE: u8 = 0;
    const RUNS: u8 = 1;
    const WROTE: u8 = 2;
    const KILLED: u8 = 3;
    const ENDED: u8 = 4;
}

/// The script that a thread runs, as other threads see it.
#[derive(Default)]
pub struct Run {
    state: AtomicU8,
    vm_bytes: AtomicU64,
}

impl Run {
    /// A script begins.
    pub fn begin(&self) {
        self.state.store(State::RUNS, Ordering::Release);
    }

    /// It ends.
    pub fn end(&self, vm_bytes: usize) {
        self.state.store(State::IDLE, Ordering::Release);
        self.vm_bytes.store(vm_bytes as u64, Ordering::Relaxed);
    }

    /// Whether it has to end.
    pub fn is_killed(&self) -> bool {
        self.state.load(Ordering::Acquire) == State::KILLED
    }

    /// Whether it has to end because the server does.
    pub fn is_ended(&self) -> bool {
        self.state.load(Ordering::Acquire) == State::ENDED
    }

    /// It is about to write for the first time, after which it can't be killed; false if it was killed.
    pub fn may_write(&self) -> bool {
        let change = self.state.compare_exchange(State::RUNS, State::WROTE, Ordering::AcqRel, Ordering::Acquire);
        matches!(change, Ok(_) | Err(State::WROTE))
    }
}

/// A script's being busy: see `net.rs`.
pub struct Busy(Arc<Server>);

impl Busy {
    /// From now on who waits for the script is told so.
    pub fn begin(server: Arc<Server>) -> Busy {
        *server.scripts.busy.write() += 1;
        server.scripts.any_busy.store(true, Ordering::Relaxed);
        Busy(server)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = self.0.scripts.busy.write();
        *busy -= 1;
        self.0.scripts.any_busy.store(*busy > 0, Ordering::Relaxed);
    }
}

/// One thread's interpreter.
pub struct Interpreter {
    /// The Lua state.
    pub engine: Engine,
    /// What it runs.
    pub run: Arc<Run>,
    epoch: u64,
    /// Scripts that run alone, each with the number of runs that would have done without.
    loners: HashMap<ScriptId, u8>,
}

impl Interpreter {
    /// An interpreter that has compiled nothing.
    pub fn new(scripts: &Scripts, seed: u32) -> Interpreter {
        let run = Arc::<Run>::default();
        scripts.runs.lock().push(Arc::clone(&run));
        Interpreter {
            engine: Engine::new(Options { seed, ..Options::default() }),
            run,
            epoch: scripts.epoch.load(Ordering::Acquire),
            loners: HashMap::new(),
        }
    }

    fn follow(&mut self, scripts: &Scripts) {
        let epoch = scripts.epoch.load(Ordering::Acquire);
        if epoch != self.epoch {
            self.epoch = epoch;
            self.engine.flush();
            self.loners = HashMap::new();
        }
    }

    /// Compiles `source` and lets every thread find it.
    pub fn load(&mut self, scripts: &Scripts, source: &[u8]) -> Result<ScriptId, LoadError> {
        self.follow(scripts);
        let before = self.engine.len();
        let id = self.engine.load(source)?;
        if self.engine.len() != before {
            scripts.share(id, source);
        }
        Ok(id)
    }

    /// Makes ready the script that a client names; false if nobody knows it.
    pub fn find(&mut self, scripts: &Scripts, id: &ScriptId) -> bool {
        self.follow(scripts);
        // What was loaded by another thread has been compiled once already, without a complaint.
        self.engine.exists(id) || scripts.source(id).is_some_and(|source| self.engine.load(&source).is_ok())
    }

    /// Whether the script has to run alone.
    pub fn is_loner(&self, id: &ScriptId) -> bool {
        !self.loners.is_empty() && self.loners.contains_key(id)
    }

    /// Notes that the script could not run beside others.
    pub fn note_loner(&mut self, id: ScriptId) {
        self.loners.insert(id, 0);
    }

    /// Notes that a script which ran alone would not have needed to.
    pub fn note_harmless(&mut self, id: &ScriptId) {
        if let Some(runs) = self.loners.get_mut(id) {
            *runs += 1;
            if *runs >= PROBATION {
                self.loners.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_one_thread_loads_is_found_by_all_until_it_is_flushed() {
        let scripts = Scripts::default();
        let (mut one, mut other) = (Interpreter::new(&scripts, 1), Interpreter::new(&scripts, 2));
        let id = one.load(&scripts, b"return 1").unwrap();
        assert!(scripts.exists(&id) && other.find(&scripts, &id));
        scripts.flush();
        assert!(!one.find(&scripts, &id) && !other.find(&scripts, &id));
        assert_eq!(one.load(&scripts, b"return 1"), Ok(id));
        assert!(other.find(&scripts, &id));
        assert_eq!(scripts.len(), 1);
    }

    #[test]
    fn what_has_written_is_not_killed_and_what_was_killed_does_not_write() {
        let scripts = Scripts::default();
        assert_eq!(scripts.kill(), Kill::NoneRuns);
        let run = Interpreter::new(&scripts, 1).run;
        run.begin();
        assert!(run.may_write() && run.may_write());
        assert_eq!(scripts.kill(), Kill::Unkillable);
        assert!(!run.is_killed());
        run.begin();
        assert_eq!(scripts.kill(), Kill::Done);
        assert!(run.is_killed() && !run.may_write());
        run.end(0);
        assert_eq!(scripts.kill(), Kill::NoneRuns);
    }

    #[test]
    fn a_loner_is_trusted_again_after_its_probation() {
        let scripts = Scripts::default();
        let mut interpreter = Interpreter::new(&scripts, 1);
        let id = ScriptId::of(b"x");
        interpreter.note_loner(id);
        for _ in 0..PROBATION {
            assert!(interpreter.is_loner(&id));
            interpreter.note_harmless(&id);
        }
        assert!(!interpreter.is_loner(&id));
    }
}

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
use std::time::Instant;

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use quorate_commands::CommandError;
use quorate_scripting::{Call, Engine, Flags, Functions, Host, LibraryError, LoadError, Options, Outcome, ScriptId};

use crate::data::functions::{Found, Libraries, Patience, Shelf};
use crate::server::Server;

/// The bytes of old values that a script may leave to be kept, roughly.
pub const MOST_UNDO: usize = 32 << 10;
/// After so many runs alone in which it did nothing that needs it, a script runs beside others again.
const PROBATION: u8 = 32;

/// What a command gets that a busy script keeps waiting.
const BUSY: CommandError =
    CommandError::text("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.");
/// The same for a busy function.
const BUSY_FUNCTION: CommandError =
    CommandError::text("BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.");

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

    /// Bytes that the interpreters of functions hold.
    pub fn function_vm_bytes(&self) -> u64 {
        self.runs.lock().iter().map(|run| run.function_vm_bytes.load(Ordering::Relaxed)).sum()
    }

    /// What a client is told that a busy script keeps waiting.
    pub fn busy_error(&self) -> CommandError {
        let functions_only = {
            let runs = self.runs.lock();
            let mut busy = runs.iter().filter_map(|run| run.busy.lock().as_ref().map(|busy| busy.kind)).peekable();
            busy.peek().is_some() && busy.all(|kind| kind == Kind::Function)
        };
        if functions_only { BUSY_FUNCTION } else { BUSY }
    }

    /// The function that has been running for longest, if one is busy.
    pub fn busy_function(&self) -> Option<BusyScript> {
        let runs = self.runs.lock();
        let busy = runs.iter().filter_map(|run| run.busy.lock().clone());
        busy.filter(|busy| busy.kind == Kind::Function).min_by_key(|busy| busy.since)
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

    /// Ends every script, or every function, that has not written yet.
    pub fn kill(&self, kind: Kind) -> Kill {
        let (mut killed, mut spared, mut others) = (false, false, false);
        for run in &*self.runs.lock() {
            if run.kind() != kind {
                others |= run.state.load(Ordering::Acquire) != State::IDLE;
                continue;
            }
            match run.state.compare_exchange(State::RUNS, State::KILLED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) | Err(State::KILLED) => killed = true,
                Err(State::WROTE) => spared = true,
                Err(_) => {}
            }
        }
        match (killed, spared) {
            (true, _) => Kill::Done,
            (false, true) => Kill::Unkillable,
            (false, false) if others && self.is_busy() => Kill::OtherKind,
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
    /// What is busy is of the other kind.
    OtherKind,
}

/// What SCRIPT KILL can end, and what FUNCTION KILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A script.
    #[default]
    Script,
    /// A function of a library.
    Function,
}

/// What is known of a script that is busy.
#[derive(Debug, Clone)]
pub struct BusyScript {
    /// Which of the two it is.
    pub kind: Kind,
    /// The function's name.
    pub name: Vec<u8>,
    /// The command that called it.
    pub words: Vec<Vec<u8>>,
    /// When it began.
    pub since: Instant,
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
    is_function: AtomicBool,
    vm_bytes: AtomicU64,
    function_vm_bytes: AtomicU64,
    busy: Mutex<Option<BusyScript>>,
}

impl Run {
    /// A script begins.
    pub fn begin(&self, kind: Kind) {
        self.is_function.store(kind == Kind::Function, Ordering::Relaxed);
        self.state.store(State::RUNS, Ordering::Release);
    }

    /// It ends.
    pub fn end(&self) {
        self.state.store(State::IDLE, Ordering::Release);
    }

    /// Which of the two runs, or ran last.
    pub fn kind(&self) -> Kind {
        if self.is_function.load(Ordering::Relaxed) { Kind::Function } else { Kind::Script }
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
pub struct Busy(Arc<Server>, Arc<Run>);

impl Busy {
    /// From now on who waits for the script is told so.
    pub fn begin(server: Arc<Server>, run: Arc<Run>, what: BusyScript) -> Busy {
        *run.busy.lock() = Some(what);
        *server.scripts.busy.write() += 1;
        server.scripts.any_busy.store(true, Ordering::Relaxed);
        Busy(server, run)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.1.busy.lock() = None;
        let mut busy = self.0.scripts.busy.write();
        *busy -= 1;
        self.0.scripts.any_busy.store(*busy > 0, Ordering::Relaxed);
    }
}

/// What is run.
pub enum Program {
    /// A script.
    Script(ScriptId),
    /// A function.
    Function(Found),
}

impl Program {
    /// The name under which a thread remembers how it ran.
    pub fn id(&self) -> ScriptId {
        match self {
            Program::Script(id) => *id,
            Program::Function(found) => found.id,
        }
    }

    /// Which of the two it is.
    pub fn kind(&self) -> Kind {
        match self {
            Program::Script(_) => Kind::Script,
            Program::Function(_) => Kind::Function,
        }
    }
}

/// One thread's interpreter.
pub struct Interpreter {
    /// The Lua state.
    pub engine: Engine,
    options: Options,
    /// The Lua state of functions, made at the first call of one.
    functions: Option<Functions>,
    /// The functions that there are, as far as this thread knows.
    shelf: Arc<Shelf>,
    shelf_epoch: u64,
    /// What it runs.
    pub run: Arc<Run>,
    epoch: u64,
    /// Scripts that run alone, each with the number of runs that would have done without.
    loners: HashMap<ScriptId, u8>,
}

impl Interpreter {
    /// An interpreter that has compiled nothing.
    pub fn new(scripts: &Scripts, options: Options) -> Interpreter {
        let run = Arc::<Run>::default();
        scripts.runs.lock().push(Arc::clone(&run));
        Interpreter {
            engine: Engine::new(options),
            options,
            functions: None,
            shelf: Arc::default(),
            shelf_epoch: 0,
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

    /// The function of that name.
    pub fn find_function(&mut self, libraries: &Libraries, name: &[u8]) -> Option<Found> {
        let epoch = libraries.epoch();
        if epoch != self.shelf_epoch {
            // The epoch first: a shelf that is newer is taken once more the next time.
            self.shelf_epoch = epoch;
            self.shelf = libraries.shelf();
            self.functions = None;
        }
        self.shelf.find(name).cloned()
    }

    /// Compiles the library of a function, unless that was done before.
    pub fn make_ready(&mut self, found: &Found) -> Result<(), LibraryError> {
        // Random numbers don't begin anew because a library was loaded.
        let options = Options { seed: rand::random(), ..self.options };
        let functions = self.functions.get_or_insert_with(|| Functions::new(options));
        if !functions.has(&found.library.name) {
            functions.load(&found.library.source, &mut Patience::new())?;
        }
        Ok(())
    }

    /// What a script that is ready, or a function, declares about itself, if it does so at all.
    pub fn declared(&self, program: &Program) -> Option<Flags> {
        match program {
            Program::Script(id) => self.engine.flags(id).flatten(),
            Program::Function(found) => Some(found.function().flags),
        }
    }

    /// Runs a script or a function that is ready.
    pub fn execute(&mut self, program: &Program, call: &Call<'_>, host: &mut dyn Host, reply: &mut Vec<u8>) -> Outcome {
        let end = match program {
            Program::Script(id) => self.engine.eval(id, call, host, reply),
            Program::Function(found) => {
                let functions = self.functions.as_mut().expect("the caller has made it ready");
                functions.call(&found.library.name, &found.function().name, call, host, reply)
            }
        };
        end.expect("the caller has found it")
    }

    /// What has run has ended.
    pub fn end(&self) {
        self.run.vm_bytes.store(self.engine.vm_memory() as u64, Ordering::Relaxed);
        let functions = self.functions.as_ref().map_or(0, Functions::vm_memory);
        self.run.function_vm_bytes.store(functions as u64, Ordering::Relaxed);
        self.run.end();
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
        let (mut one, mut other) =
            (Interpreter::new(&scripts, Options::default()), Interpreter::new(&scripts, Options::default()));
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
        assert_eq!(scripts.kill(Kind::Script), Kill::NoneRuns);
        let run = Interpreter::new(&scripts, Options::default()).run;
        run.begin(Kind::Script);
        assert!(run.may_write() && run.may_write());
        assert_eq!(scripts.kill(Kind::Script), Kill::Unkillable);
        assert!(!run.is_killed());
        run.begin(Kind::Script);
        assert_eq!(scripts.kill(Kind::Script), Kill::Done);
        assert!(run.is_killed() && !run.may_write());
        run.end();
        assert_eq!(scripts.kill(Kind::Script), Kill::NoneRuns);
    }

    #[test]
    fn a_loner_is_trusted_again_after_its_probation() {
        let scripts = Scripts::default();
        let mut interpreter = Interpreter::new(&scripts, Options::default());
        let id = ScriptId::of(b"x");
        interpreter.note_loner(id);
        for _ in 0..PROBATION {
            assert!(interpreter.is_loner(&id));
            interpreter.note_harmless(&id);
        }
        assert!(!interpreter.is_loner(&id));
    }
}

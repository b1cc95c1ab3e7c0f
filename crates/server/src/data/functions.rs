//! The libraries of functions that a server has: one store, which all threads read, snapshots keep and replicas copy.
//!
//! A shelf of libraries never changes; a change makes another shelf and raises the store's epoch. A thread keeps the
//! shelf that it saw last, and takes the new one, and a new interpreter, when the epoch is another. Libraries are
//! changed by a thread that is alone, or that loads a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_config::Config;
use quorate_resp::Protocol;
use quorate_scripting::{
    Function, Functions, Host, Library, LibraryError, LogLevel, Options, Replicate, ScriptId, Stop,
};

/// How long the code of a library may run when it is loaded.
const LOADING_TIME: Duration = Duration::from_millis(500);

/// Libraries and where their functions are.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Shelf {
    libraries: BTreeMap<Vec<u8>, Arc<Library>>,
    functions: HashMap<Vec<u8>, Found>,
}

/// A function and its library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The library.
    pub library: Arc<Library>,
    index: usize,
    /// The name under which a thread remembers how it ran.
    pub id: ScriptId,
}

impl Found {
    /// The function.
    pub fn function(&self) -> &Function {
        &self.library.functions[self.index]
    }
}

/// Why a library has no place on a shelf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Taken {
    /// There is one of that name.
    #[error("Library '{0}' already exists")]
    Library(String),
    /// Another library has a function of that name.
    #[error("Function {0} already exists")]
    Function(String),
}

impl Shelf {
    /// Adds a library, in place of one of the same name if that is wanted. Nothing is changed by an error.
    pub fn add(&mut self, library: Library, replaces: bool) -> Result<(), Taken> {
        let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        if !replaces && self.libraries.contains_key(&library.name) {
            return Err(Taken::Library(shown(&library.name)));
        }
        for function in &library.functions {
            if self.functions.get(&function.name).is_some_and(|found| found.library.name != library.name) {
                return Err(Taken::Function(shown(&function.name)));
            }
        }
        self.remove(&library.name);
        let library = Arc::new(library);
        for (index, function) in library.functions.iter().enumerate() {
            let found = Found { library: Arc::clone(&library), index, id: ScriptId::of(&function.name) };
            self.functions.insert(function.name.clone(), found);
        }
        self.libraries.insert(library.name.clone(), library);
        Ok(())
    }

    /// Removes a library; false if there is none of that name.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(library) = self.libraries.remove(name) else { return false };
        for function in &library.functions {
            self.functions.remove(&function.name);
        }
        true
    }

    /// The function of that name.
    pub fn find(&self, function: &[u8]) -> Option<&Found> {
        self.functions.get(function)
    }

    /// All libraries, by name.
    pub fn libraries(&self) -> impl ExactSizeIterator<Item = &Arc<Library>> {
        self.libraries.values()
    }

    /// How many functions there are.
    pub fn functions(&self) -> usize {
        self.functions.len()
    }

    /// The bytes of all sources.
    pub fn bytes(&self) -> u64 {
        self.libraries().map(|library| library.source.len() as u64).sum()
    }
}

/// The store.
#[derive(Default)]
pub struct Libraries {
    shelf: Mutex<Arc<Shelf>>,
    epoch: AtomicU64,
}

impl Libraries {
    /// What there is.
    pub fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.lock())
    }

    /// Puts `shelf` in place of what there is.
    pub fn set(&self, shelf: Shelf) {
        *self.shelf.lock() = Arc::new(shelf);
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Removes all libraries.
    pub fn flush(&self) {
        self.set(Shelf::default());
    }

    /// Differs after each change.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

/// Finds out what the sources of libraries register, by running them where nothing remains of it.
pub struct Reader {
    options: Options,
    functions: Option<Functions>,
}

impl Reader {
    /// One that has read nothing.
    pub fn new(options: Options) -> Reader {
        Reader { options, functions: None }
    }

    /// Reads one library.
    pub fn read(&mut self, source: &[u8]) -> Result<Library, LibraryError> {
        let functions = self.functions.get_or_insert_with(|| Functions::new(self.options));
        functions.load(source, &mut Patience::new())
    }
}

/// How an interpreter of scripts or functions is set up.
pub fn options(config: &Config) -> Options {
    Options { seed: rand::random(), deprecated_api: config.deprecated_script_api, ..Options::default() }
}

/// The host of a library that is being loaded: it has nothing to offer but some time.
pub struct Patience {
    until: Instant,
}

impl Patience {
    /// As much as a library gets.
    pub fn new() -> Patience {
        Patience { until: Instant::now() + LOADING_TIME }
    }
}

impl Default for Patience {
    fn default() -> Patience {
        Patience::new()
    }
}

impl Host for Patience {
    fn call(&mut self, _: &[&[u8]], reply: &mut Vec<u8>) {
        reply.extend_from_slice(b"-ERR a library that is being loaded calls no commands\r\n");
    }

    fn set_protocol(&mut self, _: Protocol) {}

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        super::script_host::write_log(level, message);
    }

    fn set_replication(&mut self, _: Replicate) {}

    fn may_run(&mut self, _: &[&[u8]]) -> Option<bool> {
        None
    }

    fn should_stop(&mut self) -> Option<Stop> {
        (Instant::now() >= self.until).then_some(Stop::LoadTimeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str, functions: &[&str]) -> Library {
        let mut source = format!("#!lua name={name}\n");
        for function in functions {
            source += &format!("redis.register_function('{function}', function() end)\n");
        }
        Reader::new(Options::default()).read(source.as_bytes()).unwrap()
    }

    #[test]
    fn a_library_is_replaced_only_if_that_is_wanted_and_never_takes_anothers_function() {
        let mut shelf = Shelf::default();
        shelf.add(library("a", &["f", "g"]), false).unwrap();
        shelf.add(library("b", &["h"]), false).unwrap();
        assert_eq!(shelf.add(library("a", &["f"]), false), Err(Taken::Library("a".to_owned())));
        assert_eq!(shelf.add(library("b", &["f"]), true), Err(Taken::Function("f".to_owned())));
        assert_eq!((shelf.libraries().len(), shelf.functions()), (2, 3));
        shelf.add(library("a", &["g"]), true).unwrap();
        assert!(shelf.find(b"f").is_none());
        assert_eq!(shelf.find(b"g").unwrap().function().name, b"g");
        assert!(shelf.remove(b"a") && !shelf.remove(b"a"));
        assert_eq!((shelf.libraries().len(), shelf.functions()), (1, 1));
    }
}

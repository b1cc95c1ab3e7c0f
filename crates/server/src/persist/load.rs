//! Reading a snapshot into the keyspace: record by record, put in place a few hundred at a time.
//!
//! Entries are made while nothing is held, because reading may have to wait for a disk or a primary. A full batch goes
//! in under the locks of its slots, one after the other.

use std::io::{self, BufRead};
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_formats::rdb::{self, Access, Checksums, Item, ReadOptions, Reader, Sanitize};
use quorate_keyspace::{Alone, Db, Entry, Expiry, KeyView, Member, Scope, SlotSet, from_frequency, from_idle_seconds};
use quorate_stdx::{Offset, ReplId, Rng, UnixMs};

use super::delay;
use crate::data::functions::{self, Shelf};
use crate::log;
use crate::server::{Server, unix_now};

/// Entries that are put in place together.
const BATCH: usize = 256;

/// Keys without a value that the log names; there may be millions.
const EMPTY_KEYS_NAMED: u64 = 10;

/// What a snapshot said and what became of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Keys put into the keyspace.
    pub keys: u64,
    /// Keys left out because their time had passed.
    pub expired: u64,
    /// The same by name, if the snapshot belongs to a history: replicas that go on with it must hear of them.
    pub left_out: Vec<(Db, Box<[u8]>)>,
    /// Keys left out because they held nothing.
    pub empty: u64,
    /// The point in a history that it belongs to.
    pub replication: Option<(ReplId, Offset)>,
    /// The database that the stream behind it runs in.
    pub stream_db: u16,
    /// The version of Redis that it says it was written by.
    pub writer: String,
    /// When it was written, if it says so.
    pub created: Option<UnixMs>,
    /// The bytes that its writer used.
    pub writer_memory: u64,
    /// The bytes read.
    pub bytes: u64,
    /// The last bytes of that history before that point, as far as they are known.
    pub tail: Vec<u8>,
    /// Its functions; they are nobody's yet.
    pub libraries: Shelf,
}

/// Why a snapshot could not be loaded. What was put in place up to there is still there.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is not what a snapshot should be.
    #[error(transparent)]
    Rdb(#[from] rdb::Error),
    /// It has more databases than there are.
    #[error("byte {at}: it has a database {number}, but there are only {databases} (see 'databases')")]
    Database {
        /// Where this was found.
        at: u64,
        /// The database.
        number: u32,
        /// How many there are.
        databases: usize,
    },
    /// A key is there twice.
    #[error("byte {at}: the key '{key}' is there already")]
    Duplicate {
        /// Where this was found, or up to some hundred records behind it.
        at: u64,
        /// The key.
        key: String,
    },
    /// A library of functions that can't be loaded.
    #[error("byte {at}: {why}")]
    Function {
        /// Where it is.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
    /// It does not end as the primary that sends it has announced.
    #[error("byte {at}: {why}")]
    End {
        /// Where it ended.
        at: u64,
        /// What is there instead.
        why: String,
    },
    /// The server is to end.
    #[error("the server is ending")]
    Stopping,
}

/// What happens to keys that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Loading fails: no server writes a key twice.
    Refuse,
    /// They are replaced.
    Replace,
}

/// Where entries go.
enum Place<'a, 'b> {
    Member(&'a mut Member),
    Alone(&'a mut Alone<'b>),
}

/// Loads a snapshot into a keyspace that nobody else writes to. Keys whose time has passed are left out if
/// `drop_expired`; a replica keeps them until its primary removes them. The member is quiet.
pub fn load<R: BufRead>(
    server: &Server,
    member: &mut Member,
    input: R,
    drop_expired: bool,
) -> Result<Loaded, LoadError> {
    Loader::new(server, Place::Member(member), Conflict::Refuse).run(input, drop_expired)
}

/// The same while alone.
pub fn load_alone<R: BufRead>(
    server: &Server,
    alone: &mut Alone<'_>,
    input: R,
    drop_expired: bool,
    conflict: Conflict,
) -> Result<Loaded, LoadError> {
    Loader::new(server, Place::Alone(alone), conflict).run(input, drop_expired)
}

struct Loader<'a, 'b> {
    server: &'a Server,
    place: Place<'a, 'b>,
    conflict: Conflict,
    scope: Scope,
    pause: Duration,
    loaded: Loaded,
    /// The history's name, until its offset comes.
    history: Option<ReplId>,
    db: Db,
    batch: Vec<(Db, Entry)>,
}

impl<'a, 'b> Loader<'a, 'b> {
    fn new(server: &'a Server, place: Place<'a, 'b>, conflict: Conflict) -> Loader<'a, 'b> {
        let mut scope = server.published().scope(unix_now(), Rng::new(0));
        scope.expiry = Expiry::Ignore;
        Loader {
            server,
            place,
            conflict,
            scope,
            pause: server.config.load().testing.key_load_delay,
            loaded: Loaded::default(),
            history: None,
            db: Db(0),
            batch: Vec::with_capacity(BATCH),
        }
    }

    fn run<R: BufRead>(mut self, input: R, drop_expired: bool) -> Result<Loaded, LoadError> {
        let server = self.server;
        let skip = !server.config.load().snapshots.checksum || server.knobs.skip_checksums.load(Ordering::Relaxed);
        let options = ReadOptions {
            limits: server.published().settings.limits,
            sanitize: Sanitize::No,
            checksums: if skip { Checksums::Ignore } else { Checksums::Verify },
        };
        let mut reader = Reader::new(input, options)?;
        let mut libraries = functions::Reader::new(functions::options(&server.config.load()));
        loop {
            let at = reader.position();
            match reader.next()? {
                Item::Aux { key, value } => self.note(&key, &value),
                Item::SelectDb(number) => self.db = self.database(number, at)?,
                Item::Entry(entry) if drop_expired && entry.expire_at.is_some_and(|at| at <= self.scope.now) => {
                    self.loaded.expired += 1;
                    if self.loaded.replication.is_some() {
                        self.loaded.left_out.push((self.db, entry.key.into()));
                    }
                }
                Item::Entry(entry) => {
                    self.batch.push((self.db, make(entry, self.scope.now)));
                    if self.batch.len() == BATCH || !self.pause.is_zero() {
                        self.put(at)?;
                    }
                }
                Item::EmptyKey { key } => {
                    self.loaded.empty += 1;
                    if self.loaded.empty <= EMPTY_KEYS_NAMED {
                        log::notice(&format!("skipping empty key: {}", key.escape_ascii()));
                    }
                }
                Item::Function(code) => self.take_library(&mut libraries, &code, at)?,
                Item::ResizeDb { .. } | Item::ModuleAux(_) => {}
                Item::End { .. } => break,
            }
        }
        self.loaded.bytes = reader.position();
        self.put(self.loaded.bytes)?;
        Ok(self.loaded)
    }

    fn take_library(&mut self, reader: &mut functions::Reader, code: &[u8], at: u64) -> Result<(), LoadError> {
        let failed = |why: String| LoadError::Function { at, why };
        let library = reader.read(code).map_err(|error| failed(error.to_string()))?;
        self.loaded.libraries.add(library, false).map_err(|taken| failed(taken.to_string()))
    }

    fn note(&mut self, key: &[u8], value: &[u8]) {
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        let loaded = &mut self.loaded;
        match key {
            b"redis-ver" => loaded.writer = String::from_utf8_lossy(value).into_owned(),
            b"ctime" => loaded.created = number().and_then(|s| i64::try_from(s.saturating_mul(1000)).ok()).map(UnixMs),
            b"used-mem" => loaded.writer_memory = number().unwrap_or(0),
            b"repl-id" => self.history = ReplId::parse(value),
            b"repl-offset" => {
                if let (Some(id), Some(offset)) = (self.history, number()) {
                    loaded.replication = Some((id, Offset(offset)));
                }
            }
            b"repl-stream-db" => loaded.stream_db = number().and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
            _ => {}
        }
    }

    fn database(&self, number: u32, at: u64) -> Result<Db, LoadError> {
        let databases = self.server.space.databases();
        let found = u16::try_from(number).ok().filter(|number| usize::from(*number) < databases);
        found.map(Db).ok_or(LoadError::Database { at, number, databases })
    }

    /// Puts what was read in place.
    fn put(&mut self, at: u64) -> Result<(), LoadError> {
        let server = self.server;
        self.loaded.keys += self.batch.len() as u64;
        server.persistence.loading.loaded.store(at, Ordering::Relaxed);
        if server.stopping.load(Ordering::Acquire) {
            return Err(LoadError::Stopping);
        }
        if !self.pause.is_zero() {
            delay(self.pause, || server.stopping.load(Ordering::Acquire));
        }
        let mut twice = None;
        match &mut self.place {
            Place::Member(member) => {
                member.enter();
                for (db, entry) in self.batch.drain(..) {
                    member.pause();
                    let slots = SlotSet::of_keys(std::iter::once(entry.key()));
                    insert(&mut member.view(slots, &self.scope), db, entry, self.conflict, &mut twice);
                }
                member.leave();
            }
            Place::Alone(alone) => {
                let mut view = alone.view(&self.scope);
                for (db, entry) in self.batch.drain(..) {
                    insert(&mut view, db, entry, self.conflict, &mut twice);
                }
            }
        }
        match twice {
            Some(key) => Err(LoadError::Duplicate { at, key: String::from_utf8_lossy(&key).into_owned() }),
            None => Ok(()),
        }
    }
}

fn insert(view: &mut KeyView<'_>, db: Db, entry: Entry, conflict: Conflict, twice: &mut Option<Vec<u8>>) {
    if conflict == Conflict::Refuse && view.peek_raw(db, entry.key()).is_some() {
        twice.get_or_insert_with(|| entry.key().to_vec());
        return;
    }
    view.insert(db, entry);
}

fn make(item: rdb::Entry<'_>, now: UnixMs) -> Entry {
    let mut entry = Entry::new(item.key, item.value);
    if let Some(at) = item.expire_at {
        entry.set_expiry(Some(at));
    }
    match item.access {
        Some(Access::Idle { seconds }) => entry.set_access(from_idle_seconds(seconds, now)),
        Some(Access::Frequency(counter)) => entry.set_access(from_frequency(counter, now)),
        None => {}
    }
    entry
}

/// Whether a snapshot has any keys at all, by a look at its beginning: `Some(0)` if none, `None` if some.
pub fn peek_keys<R: BufRead>(input: R) -> Result<Option<u64>, rdb::Error> {
    let mut reader = Reader::new(input, ReadOptions { sanitize: Sanitize::No, ..ReadOptions::default() })?;
    loop {
        match reader.next()? {
            Item::Entry(_) => return Ok(None),
            Item::End { .. } => return Ok(Some(0)),
            _ => {}
        }
    }
}

impl From<LoadError> for io::Error {
    fn from(error: LoadError) -> io::Error {
        io::Error::other(error)
    }
}

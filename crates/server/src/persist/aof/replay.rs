//! Running what an append-only file holds, as our primary's stream is run: nothing is refused, nothing expires of
//! itself, and nobody gets a reply.
//!
//! A transaction counts when it is complete. One whose end is missing is as if it had never begun.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::net::UnixStream;
use quorate_commands::{Args, Origin};
use quorate_formats::aof::{Annotation, Error, Item, Reader, Request, SELECT};
use quorate_keyspace::{Alone, Member, Scope};
use quorate_stdx::{Offset, ReplId, Rng};

use crate::data::call::{Access, After, Cx, Local};
use crate::data::client::{Client, ClientId, Kind, Peer, ReplyMode, Session, Socket};
use crate::data::dispatch;
use crate::data::stats::Statistics;
use crate::data::stream;
use crate::log;
use crate::persist::delay;
use crate::persist::load::{Conflict, LoadError, Loaded, load, load_alone};
use crate::server::{Server, unix_now};

/// Requests between two looks at what else there is to do.
const BITE: u64 = 512;

/// Why a file could not be loaded.
#[derive(Debug)]
pub enum Trouble {
    /// It ends too early: so many of its bytes are whole.
    Truncated {
        /// Where what is whole ends.
        valid: u64,
        /// Whether it is a transaction that has no end.
        in_transaction: bool,
    },
    /// It is not what such a file is.
    Malformed {
        /// Where.
        at: u64,
        /// What should have been there.
        expected: &'static str,
    },
    /// It names a command that there is not.
    Unknown(String),
    /// The snapshot at its beginning can't be loaded.
    Snapshot(LoadError),
    /// It can't be read.
    Io(io::Error),
    /// The server is to end.
    Stopping,
}

/// Whether another server has begun to write here: see [`quorate_formats::aof`].
fn is_foreign(request: Request<'_>) -> bool {
    request.words().next().is_some_and(|word| word.eq_ignore_ascii_case(SELECT) && word != SELECT)
}

impl Trouble {
    /// What follows from `error`, behind so many bytes that are whole.
    fn of(error: Error, valid: u64, in_transaction: bool) -> Trouble {
        match error {
            Error::Truncated { .. } => Trouble::Truncated { valid, in_transaction },
            Error::Malformed { at, expected } => Trouble::Malformed { at, expected },
            Error::Io { source, .. } => Trouble::Io(source),
        }
    }
}

/// What has been loaded up to here.
#[derive(Debug, Default)]
pub struct Standing {
    /// What the snapshot said that the files begin with.
    pub loaded: Loaded,
    /// The point in a history that the dataset is at, if it is known.
    pub position: Option<(ReplId, Offset)>,
    /// The database that what follows runs in.
    pub stream_db: u16,
    /// The last bytes of that history, without a gap.
    tail: Vec<u8>,
    /// Bytes read of all files.
    pub read: u64,
}

/// Where what is run reaches the data.
pub enum Place<'a, 'b> {
    /// As a member, which is quiet.
    Member(&'a mut Member),
    /// While alone.
    Alone(&'a mut Alone<'b>),
}

/// Loads files, one after the other.
pub struct Player<'a, 'b> {
    server: &'a Arc<Server>,
    place: Place<'a, 'b>,
    client: Arc<Client>,
    local: Local,
    scope: Scope,
    pause: Duration,
    /// How much of a history's end is worth keeping, bytes.
    backlog: usize,
    /// Keeps the client's socket from being closed at the other end.
    _other_end: UnixStream,
    standing: Standing,
}

impl<'a, 'b> Player<'a, 'b> {
    /// Somebody who has loaded nothing yet.
    pub fn new(server: &'a Arc<Server>, place: Place<'a, 'b>) -> io::Result<Player<'a, 'b>> {
        let (socket, other_end) = UnixStream::pair()?;
        let mut session = Session::new(Socket::Unix(socket), Peer::Unix(String::new()), server.mono());
        session.kind = Kind::Primary;
        session.trust();
        session.replies = ReplyMode::Off;
        let mut scope = server.published().scope(unix_now(), Rng::new(0));
        scope.expiry = stream::EXPIRY;
        Ok(Player {
            server,
            place,
            client: Client::new(ClientId(0), 0, session),
            // What is loaded was counted when it was done.
            local: Local::new(server.published(), Arc::new(Statistics::default()), 0),
            scope,
            pause: server.config.load().testing.key_load_delay,
            backlog: usize::try_from(server.config.load().replication.backlog_size).unwrap_or(usize::MAX),
            _other_end: other_end,
            standing: Standing::default(),
        })
    }

    /// What has been loaded.
    pub fn standing(mut self) -> Standing {
        let standing = &mut self.standing;
        standing.loaded.replication = standing.position;
        standing.loaded.stream_db = standing.stream_db;
        if standing.position.is_some() {
            let excess = standing.tail.len().saturating_sub(self.backlog);
            standing.loaded.tail = standing.tail.split_off(excess);
        }
        self.standing
    }

    /// Loads one file, a base or an increment.
    ///
    /// # Errors
    /// It can't be loaded to its end. What was loaded of it is in place.
    pub fn play(&mut self, path: &Path, is_base: bool) -> Result<(), Trouble> {
        let mut input = BufReader::with_capacity(1 << 20, File::open(path).map_err(Trouble::Io)?);
        let before = self.standing.read;
        let mut at = 0;
        if is_base && input.fill_buf().map_err(Trouble::Io)?.starts_with(b"REDIS") {
            log::notice("Reading RDB base file on AOF loading...");
            at = self.play_snapshot(&mut input)?;
            if !input.fill_buf().map_err(Trouble::Io)?.is_empty() {
                log::notice("Reading the remaining AOF tail...");
                // Nobody knows what these are in the history that the snapshot names.
                self.standing.position = None;
            }
        }
        // SAFETY: nobody else knows this client.
        let session = unsafe { self.client.session() };
        (session.db, session.transaction) = (quorate_keyspace::Db(0), None);
        let result = self.play_requests(input, at, is_base);
        self.standing.read = before + std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        result
    }

    /// Loads the snapshot that a file begins with; its length.
    fn play_snapshot(&mut self, input: &mut BufReader<File>) -> Result<u64, Trouble> {
        let server = self.server;
        // What has expired may be the subject of what follows, and is removed by what follows.
        let loaded = match &mut self.place {
            Place::Member(member) => load(server, member, &mut *input, false),
            Place::Alone(alone) => load_alone(server, alone, &mut *input, false, Conflict::Refuse),
        };
        let loaded = loaded.map_err(|error| match error {
            LoadError::Stopping => Trouble::Stopping,
            other => Trouble::Snapshot(other),
        })?;
        server.libraries.set(loaded.libraries.clone());
        let bytes = loaded.bytes;
        self.standing.position = loaded.replication;
        self.standing.stream_db = loaded.stream_db;
        self.standing.loaded = loaded;
        Ok(bytes)
    }

    fn play_requests(&mut self, input: impl Read, at: u64, is_base: bool) -> Result<(), Trouble> {
        let mut reader = Reader::new(BufReader::with_capacity(1 << 16, input), at);
        // Where what is whole ends: no transaction is open there.
        let mut valid = at;
        let mut position = self.standing.position;
        let mut count = 0u64;
        // What has come since what is whole ended.
        let mut fresh: Vec<u8> = Vec::new();
        self.enter();
        let result = loop {
            let item = match reader.next() {
                Ok(Some(item)) => item,
                Ok(None) if self.is_in_transaction() => break Err(Trouble::Truncated { valid, in_transaction: true }),
                Ok(None) => break Ok(()),
                Err(error) => break Err(Trouble::of(error, valid, self.is_in_transaction())),
            };
            match item {
                Item::Annotation(Annotation::Position(id, offset)) => {
                    // The one that a history continues has the same bytes.
                    if position.is_none_or(|(_, before)| before != offset) {
                        self.standing.tail.clear();
                        fresh.clear();
                    }
                    position = Some((id, offset));
                }
                Item::Annotation(Annotation::Skipped(bytes)) => {
                    self.standing.tail.clear();
                    fresh.clear();
                    advance(&mut position, bytes);
                }
                Item::Annotation(Annotation::Time(_) | Annotation::Other) => {}
                Item::Request(request) => {
                    if !is_base {
                        position = position.filter(|_| !is_foreign(request));
                        advance(&mut position, request.bytes().len() as u64);
                        fresh.extend_from_slice(request.bytes());
                    }
                    if let Err(trouble) = self.run(request) {
                        break Err(trouble);
                    }
                }
            }
            if !self.is_in_transaction() {
                valid = reader.position();
                self.standing.position = position;
                self.standing.keep(&mut fresh, self.backlog);
                if reader.position() > at {
                    // SAFETY: nobody else knows this client.
                    self.standing.stream_db = unsafe { self.client.session() }.db.0;
                }
            }
            count += 1;
            if (count.is_multiple_of(BITE) || !self.pause.is_zero())
                && let Err(trouble) = self.look_around(reader.position())
            {
                break Err(trouble);
            }
        };
        self.leave();
        result
    }

    fn is_in_transaction(&self) -> bool {
        // SAFETY: nobody else knows this client.
        unsafe { self.client.session() }.transaction.is_some()
    }

    fn enter(&mut self) {
        if let Place::Member(member) = &mut self.place {
            member.enter();
        }
    }

    fn leave(&mut self) {
        if let Place::Member(member) = &mut self.place {
            member.leave();
        }
    }

    /// Lets others have their turn.
    fn look_around(&mut self, at: u64) -> Result<(), Trouble> {
        self.server.persistence.loading.loaded.store(self.standing.read + at, Ordering::Relaxed);
        let stops = || self.server.stopping.load(Ordering::Acquire);
        if let Place::Member(member) = &mut self.place {
            member.pause();
        }
        if !self.pause.is_zero() {
            self.leave();
            delay(self.pause, stops);
            self.enter();
        }
        if stops() { Err(Trouble::Stopping) } else { Ok(()) }
    }

    fn run(&mut self, request: Request<'_>) -> Result<(), Trouble> {
        let words: Vec<&[u8]> = request.words().collect();
        let args = Args::new(&words);
        let command = match dispatch::resolve(args) {
            Ok(command) => command,
            Err(_) if dispatch::is_known(args) => {
                // A request that has never been run like this changed nothing.
                return Ok(());
            }
            Err(_) => return Err(Trouble::Unknown(String::from_utf8_lossy(words[0]).into_owned())),
        };
        // SAFETY: nobody else knows this client.
        let session = unsafe { self.client.session() };
        if session.transaction.is_some() && !dispatch::runs_inside_multi(command) {
            dispatch::queue(&mut self.local, session, command, args);
            session.out.clear();
            return Ok(());
        }
        let (server, client, scope) = (self.server, &self.client, &self.scope);
        let needs_alone = dispatch::needs_alone(session, command, args);
        let local = &mut self.local;
        let mut call = |access: Access<'_, '_>| {
            let mut replies = Vec::new();
            // SAFETY: nobody else knows this client, and the reference above is not used any more.
            let session = unsafe { client.session() };
            let (now, origin) = (server.now(), Origin::Replication);
            Cx {
                server,
                client,
                session,
                access,
                scope,
                local: &mut *local,
                net: None,
                out: &mut replies,
                now,
                origin,
                command,
            }
            .call(args, None);
            std::mem::take(&mut local.after) == After::Again
        };
        let again = match &mut self.place {
            Place::Alone(alone) => call(Access::Alone(alone)),
            Place::Member(member) => {
                let again = !needs_alone && call(Access::Active(member));
                if needs_alone || again {
                    member.leave();
                    member.alone(|alone| call(Access::Alone(alone)));
                    member.enter();
                }
                false
            }
        };
        debug_assert!(!again, "who is alone has no reason to run a command again");
        self.local.flushed.clear();
        Ok(())
    }
}

impl Standing {
    /// What a snapshot by itself brings.
    pub fn of(loaded: Loaded) -> Standing {
        let (position, stream_db, read) = (loaded.replication, loaded.stream_db, loaded.bytes);
        Standing { position, stream_db, read, loaded, ..Standing::default() }
    }

    /// Adds to the history's end, of which not much more is kept than is worth it.
    fn keep(&mut self, fresh: &mut Vec<u8>, most: usize) {
        self.tail.append(fresh);
        if self.tail.len() > most.saturating_mul(2).max(1 << 16) {
            self.tail.drain(..self.tail.len() - most.min(self.tail.len()));
        }
    }
}

fn advance(position: &mut Option<(ReplId, Offset)>, bytes: u64) {
    if let Some((_, offset)) = position {
        offset.0 = offset.0.saturating_add(bytes);
    }
}

//! The world as a command sees it: keys, a reply, effects, and the time.

use quorate_keyspace::{Db, Entry, EntryMut, KeyView, Record, ValueMut};
use quorate_resp::{Protocol, ReplyWriter};
use quorate_stdx::UnixMs;
use quorate_values::{Hash, Limits, List, Set, StrRef, Stream, Value, ValueRef, ZSet};

use crate::block::Block;
use crate::effects::Effects;
use crate::error::CommandError;
use crate::events::{Class, Events};

/// Settings that data commands depend on; a part of the published configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Thresholds of the compact encodings.
    pub limits: Limits,
    /// Whether RESTORE believes every checksum (`DEBUG SET-SKIP-CHECKSUM-VALIDATION`).
    pub skip_checksums: bool,
    /// `proto-max-bulk-len`: the longest string, in bytes.
    pub max_string: usize,
    /// Whether DEL leaves large values to the freeing thread as UNLINK does (`lazyfree-lazy-user-del`).
    pub lazy_user_del: bool,
    /// Whether what may be a lock is refused (`lock-quarantine`).
    pub refuses_locks: bool,
    /// Whether small integers count as shared: not where each key's use is looked at to evict it.
    pub shares_integers: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            limits: Limits::default(),
            skip_checksums: false,
            max_string: 512 << 20,
            lazy_user_del: false,
            refuses_locks: false,
            shares_integers: true,
        }
    }
}

/// On whose behalf a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client.
    Client,
    /// A client, within MULTI/EXEC: it must not block.
    Transaction,
    /// A script: it must not block.
    Script,
    /// The replication stream or the append-only file: what it says is done.
    Replication,
}

/// What a command works with. It knows no socket, no thread, no role and no cluster.
pub struct Exec<'a, 'v> {
    /// The time, standing still for the whole command.
    pub now: UnixMs,
    /// The selected database.
    pub db: Db,
    /// The keys that it has declared.
    pub keys: &'a mut KeyView<'v>,
    /// The reply.
    pub reply: ReplyWriter<'a>,
    /// What replicas see.
    pub effects: &'a mut Effects,
    /// What subscribers of keyspace notifications see.
    pub events: &'a mut Events,
    /// Settings.
    pub settings: &'a Settings,
    /// On whose behalf it runs.
    pub origin: Origin,
    /// Set by a blocking command that has to wait.
    pub block: Option<Block>,
}

/// What each command returns; an error becomes the reply.
pub type Outcome = Result<(), CommandError>;

impl<'a, 'v> Exec<'a, 'v> {
    /// The protocol version that the client speaks.
    pub fn protocol(&self) -> Protocol {
        self.reply.protocol()
    }

    /// Answers a subcommand HELP.
    pub fn help(&mut self, lines: &[&str]) -> Outcome {
        self.reply.array(lines.len());
        lines.iter().for_each(|line| self.reply.simple(line));
        Ok(())
    }

    /// Whether the command may wait.
    pub fn may_block(&self) -> bool {
        self.origin == Origin::Client
    }

    /// Notes a keyspace event of the selected database.
    #[inline]
    pub fn notify(&mut self, class: Class, name: &'static str, key: &[u8]) {
        self.events.note(class, name, self.db, key);
    }

    /// Counts `by` changes of `key`, and tells those who watch it.
    #[inline]
    pub fn modified(&mut self, key: &[u8], by: usize) {
        self.keys.touch(self.db, key);
        self.effects.changed(by);
    }

    /// Counts `by` changes by operations that tell the watchers themselves (insert, remove, set).
    #[inline]
    pub fn changed(&mut self, by: usize) {
        self.effects.changed(by);
    }

    /// Passes `words` on in place of the command.
    pub fn propagate(&mut self, words: &[&[u8]]) {
        self.effects.record(self.db, words);
    }

    /// Removes `key` if its collection is empty, with the event that goes with it.
    pub fn drop_if_empty(&mut self, key: &[u8]) {
        if self.keys.remove_if_empty(self.db, key) {
            self.notify(Class::GENERIC, "del", key);
        }
    }

    /// The value at `key`, counted as a read (hit or miss).
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        self.keys.read(self.db, key).map(|entry| entry.value())
    }

    /// The string at `key`.
    #[inline]
    pub fn string(&mut self, key: &[u8]) -> Result<Option<StrRef<'_>>, CommandError> {
        as_str(self.keys.read(self.db, key))
    }

    /// The list at `key`.
    pub fn list(&mut self, key: &[u8]) -> Result<Option<&List>, CommandError> {
        as_list(self.keys.read(self.db, key))
    }

    /// The set at `key`.
    pub fn set(&mut self, key: &[u8]) -> Result<Option<&Set>, CommandError> {
        as_set(self.keys.read(self.db, key))
    }

    /// The sorted set at `key`.
    pub fn zset(&mut self, key: &[u8]) -> Result<Option<&ZSet>, CommandError> {
        as_zset(self.keys.read(self.db, key))
    }

    /// The hash at `key`.
    pub fn hash(&mut self, key: &[u8]) -> Result<Option<&Hash>, CommandError> {
        as_hash(self.keys.read(self.db, key))
    }

    /// The stream at `key`.
    pub fn stream(&mut self, key: &[u8]) -> Result<Option<&Stream>, CommandError> {
        as_stream(self.keys.read(self.db, key))
    }

    /// The hash at `key`, to be changed by `change`; made if it is not there, unless `change` leaves it
    /// empty.
    pub fn with_hash_or_new<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Hash, &Limits) -> R,
    ) -> Result<R, CommandError> {
        let limits = &self.settings.limits;
        if let Some(mut entry) = self.keys.modify(self.db, key) {
            return match entry.value_mut() {
                ValueMut::Hash(hash) => Ok(change(hash, limits)),
                _ => Err(CommandError::WrongType),
            };
        }
        let mut hash = Hash::new();
        let result = change(&mut hash, limits);
        if !hash.is_empty() {
            self.keys.insert_value(self.db, key, Value::Hash(Box::new(hash)));
        }
        Ok(result)
    }

    /// The list at `key`, to be changed by `change`; made if it is not there, unless `change` leaves it empty.
    pub fn with_list_or_new<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut List, &Limits) -> R,
    ) -> Result<R, CommandError> {
        let limits = &self.settings.limits;
        if let Some(mut entry) = self.keys.modify(self.db, key) {
            return match entry.value_mut() {
                ValueMut::List(list) => Ok(change(list, limits)),
                _ => Err(CommandError::WrongType),
            };
        }
        let mut list = List::new();
        let result = change(&mut list, limits);
        if !list.is_empty() {
            self.keys.insert_value(self.db, key, Value::List(Box::new(list)));
        }
        Ok(result)
    }

    /// The set at `key`, to be changed by `change`; made in the form that suits `first` if it is not
    /// there, unless `change` leaves it empty.
    pub fn with_set_or_new<R>(
        &mut self,
        key: &[u8],
        first: &[u8],
        change: impl FnOnce(&mut Set, &Limits) -> R,
    ) -> Result<R, CommandError> {
        let limits = &self.settings.limits;
        if let Some(mut entry) = self.keys.modify(self.db, key) {
            return match entry.value_mut() {
                ValueMut::Set(set) => Ok(change(set, limits)),
                _ => Err(CommandError::WrongType),
            };
        }
        let mut set = Set::for_member(first, limits);
        let result = change(&mut set, limits);
        if !set.is_empty() {
            self.keys.insert_value(self.db, key, Value::Set(Box::new(set)));
        }
        Ok(result)
    }

    /// Puts a new entry in place of whatever its key holds. To whom it is told, it is another key then, not the same one
    /// with another value.
    pub fn put_anew(&mut self, db: Db, entry: Entry) {
        if self.keys.peek_raw(db, entry.key()).is_some() {
            self.events.note(Class::NEW, "new", db, entry.key());
        }
        self.keys.insert(db, entry);
    }

    /// Removes `key`; whether it was there. Its value is freed on another thread if it is large and
    /// `lazily` says so.
    pub fn remove(&mut self, key: &[u8], lazily: bool) -> bool {
        let removed = self.keys.remove(self.db, key);
        let was_there = removed.is_some();
        if let Some(entry) = removed {
            self.keys.discard(entry, lazily);
        }
        was_there
    }

    /// The sorted set at `key`, to be changed by `change`; made if it is not there, unless `change` leaves it
    /// empty.
    pub fn with_zset_or_new<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut ZSet, &Limits) -> R,
    ) -> Result<R, CommandError> {
        let limits = &self.settings.limits;
        if let Some(mut entry) = self.keys.modify(self.db, key) {
            return match entry.value_mut() {
                ValueMut::ZSet(zset) => Ok(change(zset, limits)),
                _ => Err(CommandError::WrongType),
            };
        }
        let mut zset = ZSet::new();
        let result = change(&mut zset, limits);
        if !zset.is_empty() {
            self.keys.insert_value(self.db, key, Value::ZSet(Box::new(zset)));
        }
        Ok(result)
    }

    /// Removes `key` on behalf of a command that is not DEL; whether it was there. Replicas are told to
    /// remove it in place of the command.
    pub fn delete_instead(&mut self, key: &[u8], lazily: bool) -> bool {
        let removed = self.remove(key, lazily);
        if removed {
            self.changed(1);
            self.notify(Class::GENERIC, "del", key);
            let word: &[u8] = if lazily { b"UNLINK" } else { b"DEL" };
            self.propagate(&[word, key]);
        }
        removed
    }

    /// The list at `key`, to be changed by `change`; `None` if there is no such key.
    pub fn with_list<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut List, &Limits) -> R,
    ) -> Result<Option<R>, CommandError> {
        let limits = &self.settings.limits;
        with(self.keys.modify(self.db, key), |value| match value {
            ValueMut::List(list) => Some(change(list, limits)),
            _ => None,
        })
    }

    /// The set at `key`, to be changed by `change`; `None` if there is no such key.
    pub fn with_set<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Set, &Limits) -> R,
    ) -> Result<Option<R>, CommandError> {
        let limits = &self.settings.limits;
        with(self.keys.modify(self.db, key), |value| match value {
            ValueMut::Set(set) => Some(change(set, limits)),
            _ => None,
        })
    }

    /// The sorted set at `key`, to be changed by `change`; `None` if there is no such key.
    pub fn with_zset<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut ZSet, &Limits) -> R,
    ) -> Result<Option<R>, CommandError> {
        let limits = &self.settings.limits;
        with(self.keys.modify(self.db, key), |value| match value {
            ValueMut::ZSet(zset) => Some(change(zset, limits)),
            _ => None,
        })
    }

    /// The hash at `key`, to be changed by `change`; `None` if there is no such key.
    pub fn with_hash<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Hash, &Limits) -> R,
    ) -> Result<Option<R>, CommandError> {
        let limits = &self.settings.limits;
        with(self.keys.modify(self.db, key), |value| match value {
            ValueMut::Hash(hash) => Some(change(hash, limits)),
            _ => None,
        })
    }
}

fn with<R>(
    entry: Option<EntryMut<'_>>,
    change: impl FnOnce(ValueMut<'_>) -> Option<R>,
) -> Result<Option<R>, CommandError> {
    match entry {
        None => Ok(None),
        Some(mut entry) => change(entry.value_mut()).map(Some).ok_or(CommandError::WrongType),
    }
}

// What follows takes an entry and not the whole context, so that a command can write its reply while it
// looks at a value.

/// An entry's string.
#[inline]
pub(crate) fn as_str(entry: Option<&Record>) -> Result<Option<StrRef<'_>>, CommandError> {
    match entry.map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::Str(text)) => Ok(Some(text)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// An entry's list.
pub(crate) fn as_list(entry: Option<&Record>) -> Result<Option<&List>, CommandError> {
    match entry.map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::List(list)) => Ok(Some(list)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// An entry's set.
pub(crate) fn as_set(entry: Option<&Record>) -> Result<Option<&Set>, CommandError> {
    match entry.map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::Set(set)) => Ok(Some(set)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// An entry's sorted set.
pub(crate) fn as_zset(entry: Option<&Record>) -> Result<Option<&ZSet>, CommandError> {
    match entry.map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::ZSet(zset)) => Ok(Some(zset)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// An entry's stream.
pub(crate) fn as_stream(entry: Option<&Record>) -> Result<Option<&Stream>, CommandError> {
    match entry.map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::Stream(stream)) => Ok(Some(stream)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// An entry's hash.
pub(crate) fn as_hash(entry: Option<&Record>) -> Result<Option<&Hash>, CommandError> {
    match entry.map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::Hash(hash)) => Ok(Some(hash)),
        Some(_) => Err(CommandError::WrongType),
    }
}

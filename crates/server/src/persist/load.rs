//! Reading a snapshot into the keyspace, in pieces, each under its slots' locks.

use std::io::BufRead;

use quorate_formats::rdb::{self, Access, Item, ReadOptions, Reader, Sanitize};
use quorate_keyspace::{Db, Entry, Expiry, Member, Scope, SlotSet, from_frequency, from_idle_seconds};
use quorate_stdx::{Offset, ReplId, Rng};

use crate::server::{Server, unix_now};

/// What a snapshot said and what became of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Keys put into the keyspace.
    pub keys: u64,
    /// Keys left out because their time had passed.
    pub expired: u64,
    /// Keys left out because they held nothing.
    pub empty: u64,
    /// The point in a history that it belongs to.
    pub replication: Option<(ReplId, Offset)>,
    /// The database that the stream behind it runs in.
    pub stream_db: u16,
    /// The bytes read.
    pub bytes: u64,
}

/// Loads a snapshot into a keyspace that nobody else uses. Keys whose time has passed are left out if
/// `drop_expired`; a replica keeps them until its primary removes them. The member is quiet.
pub fn load<R: BufRead>(server: &Server, member: &mut Member, input: R, drop_expired: bool) -> Result<Loaded, rdb::Error> {
    let published = server.published();
    let options = ReadOptions { limits: published.settings.limits, sanitize: Sanitize::No, ..ReadOptions::default() };
    let mut reader = Reader::new(input, options)?;
    let mut loaded = Loaded::default();
    let mut scope: Scope = published.scope(unix_now(), Rng::new(0));
    scope.expiry = Expiry::Ignore;
    let (mut db, mut id) = (Db(0), None);
    loop {
        match reader.next()? {
            Item::Aux { key, value } => note(&mut loaded, &mut id, &key, &value),
            Item::SelectDb(number) => match u16::try_from(number).ok().filter(|n| usize::from(*n) < server.space.databases()) {
                Some(number) => db = Db(number),
                None => return Err(rdb::Error::Io(std::io::Error::other(format!(
                    "the snapshot has a database {number}, but there are only {}: raise 'databases'",
                    server.space.databases()
                )))),
            },
            Item::Entry(entry) => {
                if drop_expired && entry.expire_at.is_some_and(|at| at <= scope.now) {
                    loaded.expired += 1;
                    continue;
                }
                insert(member, &scope, db, entry);
                loaded.keys += 1;
            }
            Item::EmptyKey { .. } => loaded.empty += 1,
            Item::ResizeDb { .. } | Item::Function(_) | Item::ModuleAux(_) => {}
            Item::End { .. } => break,
        }
    }
    loaded.bytes = reader.position();
    Ok(loaded)
}

fn note(loaded: &mut Loaded, id: &mut Option<ReplId>, key: &[u8], value: &[u8]) {
    let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
    match key {
        b"repl-id" => *id = ReplId::parse(value),
        b"repl-offset" => {
            if let (Some(id), Some(offset)) = (*id, number()) {
                loaded.replication = Some((id, Offset(offset)));
            }
        }
        b"repl-stream-db" => loaded.stream_db = number().and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
        _ => {}
    }
}

fn insert(member: &mut Member, scope: &Scope, db: Db, item: rdb::Entry<'_>) {
    let mut entry = Entry::new(item.key, item.value);
    if let Some(at) = item.expire_at {
        entry.set_expiry(Some(at));
    }
    match item.access {
        Some(Access::Idle { seconds }) => entry.set_access(from_idle_seconds(seconds, scope.now)),
        Some(Access::Frequency(counter)) => entry.set_access(from_frequency(counter, scope.now)),
        None => {}
    }
    member.enter();
    member.view(SlotSet::of_keys(std::iter::once(item.key)), scope).insert(db, entry);
    member.leave();
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


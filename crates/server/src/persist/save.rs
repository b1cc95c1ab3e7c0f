//! Writing a snapshot: a walk's sink that collects RDB bytes, and a thread that moves them on.
//!
//! The sink is called under a slot's lock, by the walker and by whoever changes a key that the walk has
//! not reached. It only appends to a buffer; the walking thread takes the buffer between two bites and
//! writes it wherever it goes, while nothing is locked.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use quorate_formats::Digest;
use quorate_formats::rdb::{self, Access, Preamble, ReplicationPoint, WriteOptions};
use quorate_keyspace::{AccessPolicy, Alone, Db, Member, Record, Sink, Step, Walk, decayed, idle_seconds};
use quorate_stdx::{Rng, UnixMs};

use crate::server::{Server, unix_now};

/// How many entries a bite of the walk has: small enough that a slot is never held for long.
const BITE: usize = 128;

/// What the sink has collected and nobody has moved on yet.
#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    db: Option<Db>,
}

/// A snapshot under way.
pub struct Snapshot {
    walk: Arc<Walk>,
    collected: Arc<Mutex<Collected>>,
    options: WriteOptions,
    digest: Digest,
    /// The file's beginning, not handed out yet.
    head: Option<Vec<u8>>,
}

struct Collector {
    collected: Arc<Mutex<Collected>>,
    options: WriteOptions,
    access: AccessPolicy,
    now: UnixMs,
}

impl Sink for Collector {
    fn entry(&mut self, db: Db, entry: &Record) {
        let mut collected = self.collected.lock();
        append(&mut collected, db, entry, self.access, self.now, &self.options);
    }
}

fn append(collected: &mut Collected, db: Db, entry: &Record, policy: AccessPolicy, now: UnixMs, options: &WriteOptions) {
    if collected.db != Some(db) {
        collected.db = Some(db);
        rdb::write_select_db(&mut collected.bytes, u32::from(db.0));
    }
    let access = match policy {
        AccessPolicy::Lru => None,
        AccessPolicy::Lfu { decay_minutes, .. } => Some(Access::Frequency(decayed(entry.access(), now, decay_minutes) as u8)),
    };
    let access = access.or_else(|| match idle_seconds(entry.access(), now) {
        0 => None,
        seconds => Some(Access::Idle { seconds }),
    });
    // Idle times only matter to those who evict by them; without maxmemory Redis writes none either.
    let access = access.filter(|_| options.checksum);
    rdb::write_entry(&mut collected.bytes, entry.key(), entry.value(), entry.expiry(), access, options);
}

/// The beginning of a file as of this moment.
fn head(server: &Server, keys: bool) -> Vec<u8> {
    let mut head = Vec::new();
    rdb::write_header(&mut head, WriteOptions::default().version);
    let replication = server.feed.backlog().map(|_| ReplicationPoint {
        selected_db: u32::from(server.stream_db.load(Ordering::Relaxed)),
        id: server.history.load().id(),
        offset: server.feed.end(),
    });
    rdb::write_preamble(
        &mut head,
        &Preamble {
            redis_version: crate::REDIS_VERSION,
            created: unix_now(),
            used_memory: server.memory.used(),
            replication,
            aof_base: false,
        },
    );
    for number in 0..server.space.databases() {
        let db = Db(number as u16);
        if keys && server.space.len(db) > 0 {
            rdb::write_select_db(&mut head, u32::from(db.0));
            rdb::write_resize_db(&mut head, server.space.len(db) as u64, server.space.volatile(db) as u64);
        }
    }
    head
}

impl Snapshot {
    /// Fixes the dataset as it is now; it is written by [`Snapshot::run`].
    pub fn begin(server: &Server, alone: &mut Alone<'_>) -> Snapshot {
        let options = WriteOptions { checksum: true, ..WriteOptions::default() };
        let collected = Arc::new(Mutex::new(Collected::default()));
        let sink = Collector {
            collected: Arc::clone(&collected),
            options,
            access: server.published().access,
            now: unix_now(),
        };
        let walk = Walk::begin(alone, Box::new(sink));
        Snapshot { walk, collected, options, digest: Digest::new(), head: Some(head(server, true)) }
    }

    /// The walk, for progress and for cancelling.
    pub fn walk(&self) -> &Arc<Walk> {
        &self.walk
    }

    /// Walks to the end on the calling thread; `take` gets the file's bytes piece by piece. The caller is
    /// a quiet member. The walk is over when this returns, whatever it returns.
    pub fn run(mut self, server: &Server, member: &mut Member, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let result = self.walk_through(server, member, take);
        member.alone(Walk::end);
        server.walking.store(false, Ordering::Release);
        result
    }

    fn walk_through(&mut self, server: &Server, member: &mut Member, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let head = self.head.take().unwrap_or_default();
        self.digest.update(&head);
        take(&head)?;
        let scope = server.published().scope(unix_now(), Rng::new(0));
        loop {
            member.enter();
            let step = self.walk.step(member, &scope, BITE);
            member.leave();
            let bytes = std::mem::take(&mut self.collected.lock().bytes);
            self.digest.update(&bytes);
            take(&bytes)?;
            match step {
                Step::More => {}
                Step::Done => break,
                Step::Cancelled => return Err(io::Error::other("the dataset was replaced while it was being saved")),
            }
        }
        let mut tail = Vec::new();
        let digest = std::mem::take(&mut self.digest);
        rdb::write_end(&mut tail, self.options.checksum.then_some(digest));
        take(&tail)
    }
}

/// Writes the whole dataset at once, while alone.
pub fn write_alone(server: &Server, alone: &mut Alone<'_>, output: &mut dyn Write) -> io::Result<()> {
    let options = WriteOptions::default();
    let mut digest = Digest::new();
    let mut put = |bytes: &[u8]| {
        digest.update(bytes);
        output.write_all(bytes)
    };
    put(&head(server, true))?;
    let published = server.published();
    let scope = published.scope(unix_now(), Rng::new(0));
    for number in 0..server.space.databases() {
        let db = Db(number as u16);
        let mut collected = Collected::default();
        let mut cursor = 0;
        loop {
            let mut view = alone.view(&scope);
            cursor = view.scan_raw(db, cursor, 1024, |entry| {
                append(&mut collected, db, entry, published.access, scope.now, &options);
            });
            put(&std::mem::take(&mut collected.bytes))?;
            if cursor == 0 {
                break;
            }
        }
    }
    let mut tail = Vec::new();
    rdb::write_end(&mut tail, Some(digest));
    output.write_all(&tail)
}

/// A file that takes its name only when it is complete and on disk.
pub struct Pending {
    file: Option<File>,
    temporary: PathBuf,
}

impl Pending {
    /// Begins a file beside where it will be.
    pub fn create(target: &Path) -> io::Result<Pending> {
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = folder.join(format!("temp-{}-{}.rdb", std::process::id(), rand::random::<u32>()));
        Ok(Pending { file: Some(File::create(&temporary)?), temporary })
    }

    /// The file, for writing.
    pub fn file(&mut self) -> &mut File {
        self.file.as_mut().expect("the file is open until it is finished")
    }

    /// Makes it durable and gives it its name.
    pub fn finish(mut self, target: &Path) -> io::Result<()> {
        let file = self.file.take().expect("a file is finished once");
        file.sync_all()?;
        drop(file);
        fs::rename(&self.temporary, target)?;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // After `finish` there is nothing of that name.
        let _ = fs::remove_file(&self.temporary);
    }
}

//! Snapshots under writers, and what becomes of their files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_config::Config;
use quorate_formats::rdb::{Item, ReadOptions, Reader};
use quorate_keyspace::{Db, Entry, Member, Scope, SlotSet};
use quorate_stdx::{Rng, UnixMs};
use quorate_values::Value;

use super::load::{Conflict, LoadError, load_alone};
use super::{Figures, Snapshot, boot, load, saver};
use crate::server::Server;

type Dataset = BTreeMap<(u32, Vec<u8>), i64>;

fn server(file: &Path) -> Arc<Server> {
    let mut config = Config::default();
    config.snapshots.file_name = file.to_str().unwrap().into();
    Arc::new(Server::new(config, 1))
}

fn scope(server: &Server) -> Scope {
    server.published().scope(UnixMs(1), Rng::new(1))
}

fn put(member: &mut Member, scope: &Scope, db: Db, key: &[u8], number: i64) {
    let mut view = member.view(SlotSet::of_keys(std::iter::once(key)), scope);
    view.insert(db, Entry::new(key, Value::Int(number)));
}

fn fill(server: &Server, member: &mut Member, count: i64) {
    let scope = scope(server);
    member.enter();
    for number in 0..count {
        put(member, &scope, Db((number % 3) as u16), format!("key:{number}").as_bytes(), number);
    }
    member.leave();
}

/// The numbers of a snapshot.
fn dataset(bytes: &[u8]) -> Dataset {
    let mut reader = Reader::new(bytes, ReadOptions::default()).unwrap();
    let (mut found, mut db) = (Dataset::new(), 0);
    loop {
        match reader.next().unwrap() {
            Item::SelectDb(number) => db = number,
            Item::Entry(entry) => {
                let Value::Int(number) = entry.value else { panic!("all values are numbers") };
                assert!(found.insert((db, entry.key.to_vec()), number).is_none(), "a key comes once");
            }
            Item::End { .. } => return found,
            _ => {}
        }
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Raises a flag when it goes, so that threads end also when a test fails.
struct RaisedAtEnd<'a>(&'a AtomicBool);

impl Drop for RaisedAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const KEYS: u64 = 500;

/// What a writer does as its `step`th: every seventh removes, the others set its key to the step.
fn write(member: &mut Member, scope: &Scope, writer: u64, step: u64) {
    let key = format!("{writer}:{}", step * 31 % KEYS);
    let db = Db((step * 31 % KEYS % 2) as u16);
    if step % 7 == 3 {
        member.view(SlotSet::of_keys(std::iter::once(key.as_bytes())), scope).remove(db, key.as_bytes());
    } else {
        put(member, scope, db, key.as_bytes(), step as i64);
    }
}

/// What a writer's keys are after so many steps. It comes to each key once in so many steps as there are keys.
fn expected(writer: u64, steps: u64, into: &mut Dataset) {
    for step in steps.saturating_sub(KEYS)..steps {
        let number = step * 31 % KEYS;
        let key = (u32::try_from(number % 2).unwrap(), format!("{writer}:{number}").into_bytes());
        if step % 7 == 3 {
            into.remove(&key);
        } else {
            into.insert(key, step as i64);
        }
    }
}

#[test]
fn a_snapshot_is_the_state_of_its_moment_whatever_is_written_meanwhile() {
    let server = server(Path::new("unused.rdb"));
    let stop = AtomicBool::new(false);
    let steps: Vec<AtomicU64> = (0..3).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|threads| {
        for (writer, done) in steps.iter().enumerate() {
            let (server, stop) = (&server, &stop);
            threads.spawn(move || {
                let mut member = server.space.join();
                let scope = scope(server);
                member.enter();
                while !stop.load(Ordering::Relaxed) {
                    write(&mut member, &scope, writer as u64, done.load(Ordering::Relaxed));
                    done.fetch_add(1, Ordering::Relaxed);
                    member.pause();
                }
                member.leave();
            });
        }
        let _end = RaisedAtEnd(&stop);
        let mut member = server.space.join();
        for round in 0..12 {
            until("writers write", || steps.iter().all(|done| done.load(Ordering::Relaxed) > 400 * round));
            let (snapshot, at) = member.alone(|alone| {
                let at: Vec<u64> = steps.iter().map(|done| done.load(Ordering::Relaxed)).collect();
                (Snapshot::begin(&server, alone), at)
            });
            let progress = Arc::clone(snapshot.progress());
            let mut bytes = Vec::new();
            let take = &mut |piece: &[u8]| {
                bytes.extend_from_slice(piece);
                Ok(())
            };
            snapshot.run(&server, &mut member, take).unwrap();
            let mut wanted = Dataset::new();
            at.iter().enumerate().for_each(|(writer, steps)| expected(writer as u64, *steps, &mut wanted));
            assert_eq!(dataset(&bytes), wanted, "round {round}");
            assert_eq!(progress.keys(), progress.keys_total());
        }
    });
}

#[test]
fn writers_wait_for_a_slow_disk_and_lose_nothing() {
    let server = server(Path::new("unused.rdb"));
    let mut member = server.space.join();
    fill(&server, &mut member, 20_000);
    let mut snapshot = member.alone(|alone| Snapshot::begin(&server, alone));
    snapshot.bound(1000, Duration::from_secs(60));
    let progress = Arc::clone(snapshot.progress());
    let stop = AtomicBool::new(false);
    let mut bytes = Vec::new();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut other = server.space.join();
            // From the last slot on, which the walk reaches last.
            for number in (0..20_000).rev() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("key:{number}");
                other.enter();
                put(&mut other, &scope(&server), Db((number % 3) as u16), key.as_bytes(), -1);
                other.leave();
            }
        });
        let _end = RaisedAtEnd(&stop);
        until("the writer has no room", || progress.old_bytes() > 1000);
        let take = &mut |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        snapshot.run(&server, &mut member, take).unwrap();
    });
    let found = dataset(&bytes);
    assert_eq!(found.len(), 20_000);
    assert!(found.iter().all(|((_, key), number)| key == format!("key:{number}").as_bytes()));
}

#[test]
fn a_snapshot_that_nobody_takes_is_given_up_and_writers_go_on() {
    let server = server(Path::new("unused.rdb"));
    let mut member = server.space.join();
    fill(&server, &mut member, 5_000);
    let mut snapshot = member.alone(|alone| Snapshot::begin(&server, alone));
    snapshot.bound(100, Duration::ZERO);
    // The writer gets to its end although nothing is taken yet; else the walk might have reached most keys before it began.
    fill(&server, &mut server.space.join(), 5_000);
    let error = snapshot.run(&server, &mut member, &mut |_: &[u8]| Ok(())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(!server.persistence.is_walking());
    member.alone(|alone| drop(Snapshot::begin(&server, alone)));
}

#[test]
fn a_snapshot_of_a_dataset_that_is_replaced_is_no_snapshot() {
    let server = server(Path::new("unused.rdb"));
    let mut member = server.space.join();
    fill(&server, &mut member, 5_000);
    let snapshot = member.alone(|alone| Snapshot::begin(&server, alone));
    let mut other = server.space.join();
    let mut flushed = false;
    let take = &mut |_: &[u8]| {
        if !std::mem::replace(&mut flushed, true) {
            other.alone(|alone| drop(alone.flush(Db(1))));
        }
        Ok(())
    };
    let error = snapshot.run(&server, &mut member, take).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Interrupted);
}

/// A server whose saver runs, until it is dropped.
struct Running {
    server: Arc<Server>,
    member: Member,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn new(file: &Path) -> Running {
        let server = server(file);
        let thread = Some(saver::start(&server).unwrap());
        Running { member: server.space.join(), server, thread }
    }

    fn begin(&mut self) -> bool {
        let server = &self.server;
        self.member.alone(|alone| server.persistence.begin(server, alone))
    }

    fn figures(&self) -> Figures {
        self.server.persistence.figures(&self.server)
    }

    fn finished(&self) -> Figures {
        until("the save ends", || !self.figures().rdb_bgsave_in_progress);
        self.figures()
    }

    fn configure(&self, change: impl FnOnce(&mut Config)) {
        let mut config = Config::clone(&self.server.config.load());
        change(&mut config);
        self.server.config.store(Arc::new(config));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.stopping.store(true, Ordering::Release);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

#[test]
fn a_background_save_becomes_the_file_and_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.rdb");
    let mut running = Running::new(&file);
    let server = Arc::clone(&running.server);
    fill(&server, &mut running.member, 3_000);
    assert!(running.begin());
    let figures = running.finished();
    assert!(figures.rdb_last_bgsave_ok && figures.rdb_saves == 1 && figures.rdb_last_bgsave_time_sec >= 0);
    let saved = dataset(&fs::read(&file).unwrap());
    assert_eq!(saved.len(), 3_000);

    let second = self::server(&file);
    let source = boot::prepare(&second).unwrap().expect("there is a file");
    assert_ne!(second.published().loading, crate::server::Loading::No);
    let loaded = boot::finish(&second, source).unwrap().loaded;
    assert_eq!((loaded.keys, loaded.expired), (3_000, 0));
    boot::open_doors(&second);
    assert_eq!(second.published().loading, crate::server::Loading::No);
    let mut member = second.space.join();
    let mut bytes = Vec::new();
    member.alone(|alone| super::save::write_alone(&second, alone, &mut bytes)).unwrap();
    assert_eq!(dataset(&bytes), saved);
}

#[test]
fn a_save_that_fails_is_reported_and_leaves_the_last_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.rdb");
    fs::write(&file, "the last one").unwrap();
    let mut running = Running::new(&folder.path().join("missing/dump.rdb"));
    let server = Arc::clone(&running.server);
    fill(&server, &mut running.member, 100);
    assert!(running.begin());
    assert!(!running.finished().rdb_last_bgsave_ok);
    assert!(server.published().save_failed);
    assert_eq!(fs::read(&file).unwrap(), b"the last one");

    running.configure(|config| config.snapshots.file_name = file.to_str().unwrap().into());
    assert!(running.begin());
    assert!(running.finished().rdb_last_bgsave_ok);
    until("writes are let through again", || !server.published().save_failed);
    assert_eq!(dataset(&fs::read(&file).unwrap()).len(), 100);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn flushall_ends_a_background_save_and_flushdb_has_it_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.rdb");
    let mut running = Running::new(&file);
    let server = Arc::clone(&running.server);
    running.configure(|config| {
        config.testing.key_save_delay = Duration::from_secs(100);
        config.snapshots.save.clear();
    });
    fill(&server, &mut running.member, 300);
    assert!(running.begin());
    assert!(!running.begin(), "one at a time");
    running.member.alone(|alone| {
        (0..16).for_each(|db| drop(alone.flush(Db(db))));
        assert!(!server.persistence.flushed_all(&server, alone), "without rules nothing is saved");
    });
    assert_eq!(running.finished().rdb_saves, 0);
    assert!(!file.exists());

    fill(&server, &mut running.member, 300);
    assert!(running.begin());
    running.configure(|config| config.testing.key_save_delay = Duration::ZERO);
    running.member.alone(|alone| drop(alone.flush(Db(1))));
    until("the save is begun again and ends", || running.figures().rdb_saves == 1);
    assert_eq!(dataset(&fs::read(&file).unwrap()).len(), 200);
}

#[test]
fn a_foreground_save_takes_the_place_of_one_in_the_background() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.rdb");
    let mut running = Running::new(&file);
    let server = Arc::clone(&running.server);
    running.configure(|config| config.testing.key_save_delay = Duration::from_secs(100));
    fill(&server, &mut running.member, 10);
    assert!(running.begin());
    running.configure(|config| config.testing.key_save_delay = Duration::ZERO);
    running.member.alone(|alone| server.persistence.save_now(&server, alone)).unwrap();
    assert_eq!(running.finished().rdb_saves, 1);
    assert_eq!(dataset(&fs::read(&file).unwrap()).len(), 10);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn a_file_that_is_cut_off_anywhere_or_altered_stops_the_start_with_an_explanation() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.rdb");
    let first = server(&file);
    let mut member = first.space.join();
    fill(&first, &mut member, 20);
    member.alone(|alone| first.persistence.save_now(&first, alone)).unwrap();
    let bytes = fs::read(&file).unwrap();
    let explained = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let second = server(&file);
        let source = boot::prepare(&second).unwrap().expect("there is a file");
        boot::finish(&second, source).unwrap_err()
    };
    for len in 0..bytes.len() {
        let text = explained(&bytes[..len]);
        assert!(text.contains("dump.rdb") && text.contains("byte "), "{text}");
    }
    let mut altered = bytes.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert!(explained(&altered).contains("RDB CRC error"));
    assert_eq!(fs::read(&file).unwrap(), altered, "the file is left as it is");
}

#[test]
fn a_key_that_is_there_already_is_refused_unless_it_may_be_replaced() {
    let server = server(Path::new("unused.rdb"));
    let mut member = server.space.join();
    fill(&server, &mut member, 5);
    let mut bytes = Vec::new();
    member.alone(|alone| super::save::write_alone(&server, alone, &mut bytes)).unwrap();
    assert!(matches!(load(&server, &mut member, &bytes[..], true), Err(LoadError::Duplicate { .. })));
    member.enter();
    put(&mut member, &scope(&server), Db(0), b"key:0", 77);
    member.leave();
    member.alone(|alone| load_alone(&server, alone, &bytes[..], true, Conflict::Replace)).unwrap();
    let mut again = Vec::new();
    member.alone(|alone| super::save::write_alone(&server, alone, &mut again)).unwrap();
    assert_eq!(dataset(&again), dataset(&bytes));
}

#[test]
fn a_primary_leaves_out_what_has_expired_and_a_replica_keeps_it() {
    let server = server(Path::new("unused.rdb"));
    let mut member = server.space.join();
    fill(&server, &mut member, 2);
    member.alone(|alone| {
        let mut entry = Entry::new(b"gone", Value::Int(1));
        entry.set_expiry(Some(UnixMs(1000)));
        alone.view(&scope(&server)).insert(Db(0), entry);
    });
    let mut bytes = Vec::new();
    member.alone(|alone| super::save::write_alone(&server, alone, &mut bytes)).unwrap();
    for (drop_expired, keys, expired) in [(true, 2, 1), (false, 3, 0)] {
        let other = self::server(Path::new("unused.rdb"));
        let loaded = load(&other, &mut other.space.join(), &bytes[..], drop_expired).unwrap();
        assert_eq!((loaded.keys, loaded.expired), (keys, expired));
    }
}

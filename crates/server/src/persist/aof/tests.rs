//! What the log holds comes back from the files; whatever they are cut to or turned into, a start either takes up what is
//! whole or says what is wrong.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use quorate_config::{Config, Fsync};
use quorate_keyspace::Db;
use quorate_stdx::Offset;

use super::start;
use super::{Aof, Phase};
use crate::persist::save::write_alone;
use crate::server::Server;

/// A server whose append-only file is in `folder`.
fn server(folder: &Path, change: impl FnOnce(&mut Config)) -> Arc<Server> {
    let mut config = Config::default();
    config.append_only.enabled = true;
    config.append_only.directory = folder.to_str().unwrap().into();
    config.append_only.fsync = Fsync::EverySecond;
    config.snapshots.checksum = false;
    change(&mut config);
    Arc::new(Server::new(config, 1))
}

/// Starts as a server does: what there is is loaded, and the log is followed from there on.
fn start(server: &Arc<Server>) -> Result<(), String> {
    let standing = match start::find(server)? {
        Some(files) => Some(files.load(server)?),
        None => None,
    };
    if let Some(standing) = &standing {
        server.control.loaded(server, &standing.loaded, 2);
    }
    server.control.begin(server, &[]);
    server.space.join().alone(|alone| start::open(server, alone, standing.as_ref()))
}

/// Lets the log say that these were run.
fn log(server: &Server, db: u16, words: &[&str]) {
    let mut request = Vec::new();
    quorate_resp::encode_request(&mut request, words);
    server.feed.append(Db(db), &request);
}

/// All keys and values.
fn dataset(server: &Server) -> Vec<String> {
    let mut bytes = Vec::new();
    server.space.join().alone(|alone| write_alone(server, alone, &mut bytes)).unwrap();
    let mut reader = quorate_formats::rdb::Reader::new(&bytes[..], Default::default()).unwrap();
    let (mut found, mut db) = (Vec::new(), 0);
    loop {
        match reader.next().unwrap() {
            quorate_formats::rdb::Item::SelectDb(number) => db = number,
            quorate_formats::rdb::Item::Entry(entry) => {
                let value = entry.value.as_ref();
                let quorate_values::ValueRef::Str(text) = value else { panic!("all values are strings") };
                let (key, text) = (entry.key.escape_ascii(), text.to_vec());
                found.push(format!("{db}/{key}={}", text.escape_ascii()));
            }
            quorate_formats::rdb::Item::End { .. } => break,
            _ => {}
        }
    }
    found.sort();
    found
}

/// Writes a few requests through the log, in several databases and a transaction; how many keys there are at which
/// length of the increment.
fn sample(folder: &Path) -> Vec<(u64, Vec<String>)> {
    let first = server(folder, |_| {});
    start(&first).unwrap();
    let path = folder.join("appendonly.aof.1.incr.aof");
    let mut states = vec![(0, Vec::new())];
    let mut note = |keys: &[&str]| {
        assert!(first.aof.write(&first));
        let mut all: Vec<String> = states.last().map(|(_, keys)| keys.clone()).unwrap_or_default();
        all.extend(keys.iter().map(|key| (*key).to_owned()));
        all.sort();
        states.push((fs::metadata(&path).unwrap().len(), all));
    };
    log(&first, 0, &["SET", "a", "1"]);
    note(&["0/a=1"]);
    log(&first, 3, &["SET", "b", "line\r\nline"]);
    note(&["3/b=line\\r\\nline"]);
    first.feed.append_aside(b"*1\r\n$4\r\nPING\r\n");
    let mut requests = Vec::new();
    for words in [["SET", "c", "3"], ["SET", "d", "4"]] {
        let mut request = Vec::new();
        quorate_resp::encode_request(&mut request, &words);
        requests.push(request);
    }
    first.feed.append_all(requests.iter().map(|request| (Db(3), request.as_slice())));
    note(&["3/c=3", "3/d=4"]);
    states
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn what_the_log_holds_comes_back_and_goes_on_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let states = sample(folder.path());
    let second = server(folder.path(), |_| {});
    start(&second).unwrap();
    assert_eq!(dataset(&second), states.last().unwrap().1);
    log(&second, 0, &["SET", "e", "5"]);
    assert!(second.aof.write(&second) && second.aof.sync(&second));
    assert_eq!(second.aof.durable_offset(), Some(second.feed.end()));
    let third = server(folder.path(), |_| {});
    start(&third).unwrap();
    assert_eq!(dataset(&third).len(), 5);
    // Its history continues the second's where that ended, PINGs counted.
    let (previous, limit) = third.control.history.load().previous().expect("it continues a history");
    assert_eq!((previous, limit), (second.control.history.load().id(), second.feed.end()));
}

#[test]
fn what_another_server_has_written_behind_the_log_is_loaded_and_is_not_of_the_history() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    let continues = |foreign: &[&[&str]]| {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        let path = copied.path().join("appendonly.aof.1.incr.aof");
        let mut bytes = fs::read(&path).unwrap();
        foreign.iter().for_each(|words| quorate_resp::encode_request(&mut bytes, words));
        fs::write(&path, bytes).unwrap();
        let server = server(copied.path(), |_| {});
        start(&server).unwrap();
        let continues = server.control.history.load().previous().is_some();
        // What is written from here on does not look like it either.
        log(&server, 2, &["SET", "y", "25"]);
        assert!(server.aof.write(&server));
        let standing = start::find(&server).unwrap().unwrap();
        let again = self::server(copied.path(), |_| {});
        let position = standing.load(&again).unwrap().position;
        assert_eq!(position.is_some(), continues);
        continues
    };
    assert!(continues(&[]));
    assert!(!continues(&[&["SELECT", "0"], &["SET", "z", "26"]]));
    assert!(continues(&[&["select", "3"]]), "a SELECT of ours");
    assert!(!continues(&[&["SELECT", "3"]]));
    assert!(!continues(&[&["MULTI"], &["SELECT", "0"], &["SET", "z", "26"], &["EXEC"]]));
}

#[test]
fn an_increment_that_is_cut_anywhere_is_taken_up_to_its_last_whole_request_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let states = sample(folder.path());
    let whole = fs::read(folder.path().join("appendonly.aof.1.incr.aof")).unwrap();
    for len in 0..whole.len() {
        let cut = tempfile::tempdir().unwrap();
        copy(folder.path(), cut.path());
        let path = cut.path().join("appendonly.aof.1.incr.aof");
        fs::write(&path, &whole[..len]).unwrap();
        let strict = server(cut.path(), |config| config.append_only.load_truncated = false);
        let refused = start(&strict).err();
        if refused.is_some() {
            assert_eq!(fs::read(&path).unwrap(), whole[..len], "a file that is refused is left as it is");
        }
        let lenient = server(cut.path(), |_| {});
        start(&lenient).unwrap();
        let expected = states.iter().rev().find(|(end, _)| *end <= len as u64).unwrap();
        assert_eq!(dataset(&lenient), expected.1, "{len}");
        match refused {
            Some(why) => assert!(why.starts_with("Unexpected end of file reading the append only file"), "{why}"),
            None => assert_eq!(dataset(&strict), expected.1, "{len}"),
        }
        log(&lenient, 0, &["SET", "z", "26"]);
        assert!(lenient.aof.write(&lenient));
        let again = server(cut.path(), |config| config.append_only.load_truncated = false);
        start(&again).unwrap();
        assert_eq!(dataset(&again).len(), expected.1.len() + 1, "{len}: what was cut off is gone from the file");
    }
}

#[test]
fn a_file_that_is_not_the_last_and_a_base_must_be_whole() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    let base = fs::read(folder.path().join("appendonly.aof.1.base.rdb")).unwrap();
    for len in 1..base.len() {
        fs::write(folder.path().join("appendonly.aof.1.base.rdb"), &base[..len]).unwrap();
        assert!(start(&server(folder.path(), |_| {})).is_err(), "{len}");
    }
    fs::write(folder.path().join("appendonly.aof.1.base.rdb"), &base).unwrap();
    let manifest = folder.path().join("appendonly.aof.manifest");
    let text = [&fs::read(&manifest).unwrap()[..], b"file appendonly.aof.2.incr.aof seq 2 type i\n"].concat();
    fs::write(&manifest, text).unwrap();
    fs::write(folder.path().join("appendonly.aof.2.incr.aof"), b"").unwrap();
    start(&server(folder.path(), |_| {})).unwrap();
    let first = folder.path().join("appendonly.aof.1.incr.aof");
    let whole = fs::read(&first).unwrap();
    fs::write(&first, &whole[..whole.len() - 1]).unwrap();
    let why = start(&server(folder.path(), |_| {})).unwrap_err();
    assert!(why.contains("the truncated file is not the last file"), "{why}");
}

#[test]
fn a_byte_that_is_altered_anywhere_is_loaded_or_refused_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    for name in ["appendonly.aof.1.incr.aof", "appendonly.aof.manifest"] {
        let whole = fs::read(folder.path().join(name)).unwrap();
        for at in 0..whole.len() {
            let altered = tempfile::tempdir().unwrap();
            copy(folder.path(), altered.path());
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(altered.path().join(name), &bytes).unwrap();
            let server = server(altered.path(), |_| {});
            if let Err(why) = start(&server) {
                assert!(!why.is_empty());
            }
        }
    }
}

#[test]
fn a_start_between_any_two_steps_of_a_rewrite_finds_the_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let states = sample(folder.path());
    let expected = &states.last().unwrap().1;
    let finds = |what: &str| {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        let server = server(copied.path(), |_| {});
        start(&server).unwrap();
        assert_eq!(&dataset(&server), expected, "{what}");
        let names: Vec<_> = fs::read_dir(copied.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().starts_with("temp-")), "{what}: {names:?}");
    };
    let at = |name: &str| folder.path().join(name);
    fs::write(at("appendonly.aof.2.incr.aof"), b"").unwrap();
    finds("the next increment is there, and no manifest names it");
    fs::write(at("temp-appendonly.aof.manifest"), b"file append").unwrap();
    finds("the manifest that names it is half written");
    let before = fs::read(at("appendonly.aof.manifest")).unwrap();
    fs::write(at("appendonly.aof.manifest"), [&before[..], b"file appendonly.aof.2.incr.aof seq 2 type i\n"].concat())
        .unwrap();
    finds("the manifest names it");
    fs::write(at("temp-77.0.rdb"), b"REDIS0010").unwrap();
    finds("the base is half written");
    let complete = server(folder.path(), |config| config.append_only.snapshot_first = false);
    let standing = start::find(&complete).unwrap().unwrap().load(&complete).unwrap();
    assert!(standing.position.is_some());
    let mut base = Vec::new();
    let spelled = Some(crate::persist::save::Base::Requests);
    let write = |alone: &mut quorate_keyspace::Alone<'_>| {
        crate::persist::save::write_alone_as(&complete, alone, &mut base, spelled)
    };
    complete.space.join().alone(write).unwrap();
    fs::write(at("appendonly.aof.2.base.aof"), &base).unwrap();
    finds("the base is complete, and no manifest names it");
    let after = b"file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.1.base.rdb seq 1 type h\n\
                  file appendonly.aof.1.incr.aof seq 1 type h\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
    fs::write(at("appendonly.aof.manifest"), after).unwrap();
    finds("the manifest names the base, and what was before is there");
    fs::remove_file(at("appendonly.aof.1.incr.aof")).unwrap();
    finds("some of what was before is gone");
}

#[test]
fn marks_go_on_when_the_log_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), |_| {});
    start(&server).unwrap();
    log(&server, 0, &["SET", "a", "1"]);
    let before = server.aof.mark(&server.feed);
    server.space.join().alone(|_| {
        server.aof.before_restart(&server);
        server.feed.restart_at(Offset(7));
        server.aof.after_restart(&server);
    });
    assert!(server.aof.mark(&server.feed) >= before);
    log(&server, 0, &["SET", "b", "2"]);
    assert!(server.aof.write(&server) && server.aof.sync(&server));
    assert_eq!(server.aof.durable(), server.aof.mark(&server.feed));
    assert_eq!(server.aof.durable_offset(), Some(server.feed.end()));
    let again = self::server(folder.path(), |_| {});
    start(&again).unwrap();
    assert_eq!(dataset(&again), ["0/a=1", "0/b=2"]);
}

#[test]
fn a_write_that_fails_is_undone_and_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), |_| {});
    start(&server).unwrap();
    log(&server, 0, &["SET", "a", "1"]);
    assert!(server.aof.write(&server));
    // Nothing can be written to a file that is open for reading only.
    let path = folder.path().join("appendonly.aof.1.incr.aof");
    let broken = server.aof.writer.lock().as_mut().unwrap().exchange_file(fs::File::open(&path).unwrap());
    log(&server, 0, &["SET", "b", "2"]);
    assert!(!server.aof.write(&server));
    assert!(server.aof.failure.lock().is_some());
    let length = fs::metadata(&path).unwrap().len();
    server.aof.writer.lock().as_mut().unwrap().put_file_back(broken);
    assert!(server.aof.write(&server));
    assert!(fs::metadata(&path).unwrap().len() > length);
    let again = self::server(folder.path(), |_| {});
    start(&again).unwrap();
    assert_eq!(dataset(&again), ["0/a=1", "0/b=2"]);
}

#[test]
fn a_dataset_that_is_replaced_leaves_the_files_as_they_are_until_there_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), |_| {});
    start(&server).unwrap();
    log(&server, 0, &["SET", "a", "1"]);
    let mut member = server.space.join();
    member.alone(|_| {
        server.aof.suspend(&server);
        server.feed.close();
    });
    assert_eq!((server.aof.phase(), server.aof.follows()), (Phase::Awaited, false));
    let path = folder.path().join("appendonly.aof.1.incr.aof");
    assert!(fs::read(&path).unwrap().ends_with(b"$1\r\n1\r\n"), "what had been logged is in the file");
    member.alone(|_| {
        server.feed.open(Offset(1000), 1 << 20);
        server.aof.after_restart(&server);
    });
    assert_eq!(server.aof.phase(), Phase::Begun);
    assert!(Aof::folder(&server).manifest().exists());
}

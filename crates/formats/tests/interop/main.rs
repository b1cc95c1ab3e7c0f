//! Files and payloads that go to a live Redis and come from one. Its DEBUG DIGEST says whether both hold the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod dataset;
mod server;

use quorate_formats::dump;
use quorate_formats::rdb::{Item, Preamble, ReadOptions, Reader, Sanitize, WriteOptions, Writer};
use quorate_stdx::UnixMs;
use server::{Reply, Server, check_rdb, installed};

/// Reads a file and writes all that is in it to another.
fn rewritten(rdb: &[u8], options: WriteOptions) -> Vec<u8> {
    let preamble = Preamble {
        redis_version: "7.2.4",
        created: UnixMs(1_700_000_000_000),
        used_memory: 1,
        replication: None,
        aof_base: false,
    };
    let mut writer = Writer::new(Vec::new(), options, &preamble);
    let mut reader = Reader::new(rdb, ReadOptions { sanitize: Sanitize::Yes, ..ReadOptions::default() }).unwrap();
    let mut database = None;
    loop {
        match reader.next().unwrap() {
            Item::SelectDb(number) => database = Some(number),
            Item::ResizeDb { keys, expires } => {
                writer.select_db(database.expect("a database comes before its size"), keys, expires).unwrap();
            }
            Item::Entry(entry) => {
                writer.entry(entry.key, entry.value.as_ref(), entry.expire_at, entry.access).unwrap();
            }
            Item::Function(code) => writer.function(&code).unwrap(),
            Item::Aux { .. } | Item::ModuleAux(_) => {}
            Item::EmptyKey { key } => panic!("{key:?} is empty"),
            Item::End { .. } => break,
        }
    }
    writer.finish().unwrap()
}

#[test]
fn a_file_that_is_read_and_written_again_holds_the_same_for_redis() {
    let Some(()) = installed("a_file_that_is_read_and_written_again_holds_the_same_for_redis") else { return };
    let mut original = Server::start();
    dataset::fill(&mut original);
    let (file, digest) = (original.save(), original.bytes("DEBUG DIGEST"));
    for compress in [true, false] {
        let ours = rewritten(&file, WriteOptions { compress, ..WriteOptions::default() });
        check_rdb(&ours).unwrap();
        let mut loaded = Server::load(&ours);
        assert_eq!(loaded.bytes("DEBUG DIGEST"), digest, "compress: {compress}");
        assert!(matches!(loaded.run("FUNCTION LIST"), Reply::Array(libraries) if libraries.len() == 1));
    }
}

#[test]
fn payloads_go_both_ways() {
    let Some(()) = installed("payloads_go_both_ways") else { return };
    let mut server = Server::start();
    dataset::fill(&mut server);
    let Reply::Array(keys) = server.run("KEYS *") else { panic!("KEYS answers with an array") };
    assert!(keys.len() > 20);
    for key in keys {
        let Reply::Bulk(Some(key)) = key else { panic!("a key is a string") };
        // A payload says nothing of when its key expires, but a digest does.
        server.ask(&[b"PERSIST", &key]);
        let name = String::from_utf8_lossy(&key).into_owned();
        let Reply::Bulk(Some(theirs)) = server.ask(&[b"DUMP", &key]) else { panic!("{name} can't be dumped") };
        let value = dump::decode(&theirs, &ReadOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut ours = Vec::new();
        dump::encode(&mut ours, value.as_ref(), &WriteOptions::default());
        assert_eq!(server.ask(&[b"RESTORE", b"copy", b"0", &ours, b"REPLACE"]), Reply::Status("OK".into()), "{name}");
        let digests = [&key[..], b"copy"].map(|key| server.ask(&[b"DEBUG", b"DIGEST-VALUE", key]));
        assert_eq!(digests[0], digests[1], "{name}");
    }
}

//! A key as requests that make it: how a base is written with `aof-use-rdb-preamble no`.

use quorate_formats::aof::Annotation;
use quorate_formats::dump;
use quorate_formats::rdb::WriteOptions;
use quorate_keyspace::{Db, Record};
use quorate_resp::encode_request;
use quorate_values::{ValueRef, write_double_17g};

use crate::server::{Server, unix_now};

/// How many elements of a collection a request has at most.
const TOGETHER: usize = 64;

/// What comes before the keys: where in its history the dataset is, and its functions. The caller is alone.
pub(in crate::persist) fn head(server: &Server) -> Vec<u8> {
    let mut head = Vec::new();
    if server.config.load().append_only.timestamps {
        Annotation::Time(unix_now().seconds()).write(&mut head);
    }
    if let Some((id, offset)) = server.control.position(server) {
        Annotation::Position(id, offset).write(&mut head);
    }
    for library in server.libraries.shelf().libraries() {
        encode_request(&mut head, &[&b"FUNCTION"[..], b"LOAD", &library.source]);
    }
    head
}

/// Appends the requests that make `entry`.
pub(in crate::persist) fn entry(out: &mut Vec<u8>, selected: &mut Option<Db>, db: Db, entry: &Record) {
    if *selected != Some(db) {
        *selected = Some(db);
        encode_request(out, &[b"SELECT", db.0.to_string().as_bytes()]);
    }
    let key = entry.key();
    match entry.value() {
        ValueRef::Str(string) => encode_request(out, &[b"SET", key, &string.to_cow()]),
        ValueRef::List(list) => {
            spread(out, b"RPUSH", key, 1, list.iter().map(|item| text(&item)));
        }
        ValueRef::Set(set) => spread(out, b"SADD", key, 1, set.iter().map(|item| text(&item))),
        ValueRef::ZSet(zset) => {
            let words = zset.iter().flat_map(|(member, score)| [spelled(score), text(&member)]);
            spread(out, b"ZADD", key, 2, words);
        }
        ValueRef::Hash(hash) => {
            let words = hash.iter_all().flat_map(|(field, value)| [text(&field), text(&value)]);
            spread(out, b"HMSET", key, 2, words);
            if hash.expiring() > 0 {
                for (field, _) in hash.iter_all() {
                    let field = text(&field);
                    let Some(at) = hash.expiry(&field) else { continue };
                    let at = at.0.to_string();
                    encode_request(out, &[b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", &field]);
                }
            }
        }
        value @ ValueRef::Stream(_) => {
            let mut payload = Vec::new();
            dump::encode(&mut payload, value, &WriteOptions::default());
            encode_request(out, &[b"RESTORE", key, b"0", &payload]);
        }
    }
    if let Some(at) = entry.expiry() {
        encode_request(out, &[b"PEXPIREAT", key, at.0.to_string().as_bytes()]);
    }
}

/// Appends requests that add elements of so many words each.
fn spread(out: &mut Vec<u8>, name: &[u8], key: &[u8], each: usize, words: impl Iterator<Item = Vec<u8>>) {
    let mut some: Vec<Vec<u8>> = Vec::with_capacity(TOGETHER * each);
    let mut put = |some: &mut Vec<Vec<u8>>| {
        if !some.is_empty() {
            let all: Vec<&[u8]> = [name, key].into_iter().chain(some.iter().map(Vec::as_slice)).collect();
            encode_request(out, &all);
            some.clear();
        }
    };
    for word in words {
        some.push(word);
        if some.len() == TOGETHER * each {
            put(&mut some);
        }
    }
    put(&mut some);
}

fn text(item: &quorate_values::listpack::Item<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    item.write_to(&mut text);
    text
}

fn spelled(score: f64) -> Vec<u8> {
    let mut text = Vec::new();
    write_double_17g(&mut text, score);
    text
}

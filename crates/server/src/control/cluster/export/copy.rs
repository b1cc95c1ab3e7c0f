//! What a key becomes on its way to another node: one RESTORE, or many small requests if its value is large, so that
//! nobody who needs its slot waits for long, here or there.

use quorate_formats::dump;
use quorate_formats::rdb::WriteOptions;
use quorate_keyspace::Record;
use quorate_resp::encode_request;
use quorate_stdx::UnixMs;
use quorate_values::listpack::Item;
use quorate_values::{StrRef, ValueRef};

/// A collection of more elements goes in pieces.
const MOST_ELEMENTS: usize = 1024;
/// A string of more bytes does.
const LONGEST_STRING: usize = 256 << 10;
/// Elements of a piece, about.
const PIECE: usize = 256;
/// Bytes of elements after which a piece ends.
const PIECE_BYTES: usize = 64 << 10;

/// Whether a value goes in pieces.
pub(super) fn is_large(value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::Str(text) => text.text_len() > LONGEST_STRING,
        ValueRef::List(_) | ValueRef::Set(_) | ValueRef::ZSet(_) | ValueRef::Hash(_) => {
            value.elements() > MOST_ELEMENTS
        }
        // What it is made of is known to nobody here.
        _ => false,
    }
}

/// Appends the request that makes a key with a small value.
pub(super) fn whole(out: &mut Vec<u8>, entry: &Record, options: &WriteOptions, payload: &mut Vec<u8>) {
    payload.clear();
    dump::encode(payload, entry.value(), options);
    let expiry = entry.expiry().map_or(0, |at| at.0);
    let mut digits = itoa::Buffer::new();
    let words: [&[u8]; 6] = [b"RESTORE", entry.key(), digits.format(expiry).as_bytes(), payload, b"REPLACE", b"ABSTTL"];
    encode_request(out, &words);
}

/// A large value that goes in pieces.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) key: Box<[u8]>,
    kind: &'static str,
    /// Where the next piece begins: an index, a byte, or a place in the order of hashes.
    at: u64,
}

/// What a step has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// There is more.
    More,
    /// That was all.
    Done,
    /// The value is not that any more which was begun.
    Spoiled,
}

impl Partial {
    pub(super) fn begin(entry: &Record) -> Partial {
        Partial { key: entry.key().into(), kind: entry.value().type_name(), at: 0 }
    }

    /// Appends the next piece of the key's value; the expiry comes with the last.
    pub(super) fn step(&mut self, entry: Option<&Record>, out: &mut Vec<u8>) -> Pace {
        let Some(entry) = entry else { return Pace::Spoiled };
        let value = entry.value();
        if value.type_name() != self.kind {
            return Pace::Spoiled;
        }
        let next = match value {
            ValueRef::Str(text) => self.piece_of_string(text, out),
            ValueRef::List(list) => self.piece_of_list(list, out),
            ValueRef::Set(set) => {
                let mut words = Words::of(b"SADD", &self.key);
                let next = set.scan(self.at, PIECE, |member| words.push(member));
                words.encode(out);
                next
            }
            ValueRef::Hash(hash) => {
                let mut words = Words::of(b"HSET", &self.key);
                let mut expiries: Vec<(Vec<u8>, UnixMs)> = Vec::new();
                let next = hash.scan(self.at, PIECE, |field, value| {
                    words.push(field);
                    words.push(value);
                    if hash.expiring() > 0 {
                        let field = field.to_vec();
                        expiries.extend(hash.expiry(&field).map(|at| (field, at)));
                    }
                });
                words.encode(out);
                for (field, at) in expiries {
                    let at = at.0.to_string();
                    let words: [&[u8]; 6] = [b"HPEXPIREAT", &self.key, at.as_bytes(), b"FIELDS", b"1", &field];
                    encode_request(out, &words);
                }
                next
            }
            ValueRef::ZSet(zset) => {
                let mut words = Words::of(b"ZADD", &self.key);
                let next = zset.scan(self.at, PIECE, |member, score| {
                    words.push(Item::Bytes(score.to_string().as_bytes()));
                    words.push(member);
                });
                words.encode(out);
                next
            }
            _ => return Pace::Spoiled,
        };
        self.at = next;
        if next != 0 {
            return Pace::More;
        }
        expire(out, &self.key, entry.expiry());
        Pace::Done
    }

    fn piece_of_string(&self, text: StrRef<'_>, out: &mut Vec<u8>) -> u64 {
        let text = text.to_cow();
        let start = (self.at as usize).min(text.len());
        let end = (start + PIECE_BYTES).min(text.len());
        let words: [&[u8]; 3] = [b"APPEND", &self.key, &text[start..end]];
        encode_request(out, &words);
        if end == text.len() { 0 } else { end as u64 }
    }

    fn piece_of_list(&self, list: &quorate_values::List, out: &mut Vec<u8>) -> u64 {
        let start = self.at as usize;
        let mut words = Words::of(b"RPUSH", &self.key);
        let mut count = 0;
        for element in list.iter_from(start).take(PIECE) {
            words.push(element);
            count += 1;
            if words.bytes > PIECE_BYTES {
                break;
            }
        }
        words.encode(out);
        if start + count >= list.len() { 0 } else { (start + count) as u64 }
    }
}

fn expire(out: &mut Vec<u8>, key: &[u8], expiry: Option<UnixMs>) {
    match expiry {
        Some(at) => {
            let mut digits = itoa::Buffer::new();
            let words: [&[u8]; 3] = [b"PEXPIREAT", key, digits.format(at.0).as_bytes()];
            encode_request(out, &words);
        }
        None => encode_request(out, &[b"PERSIST", key]),
    }
}

/// A request that grows.
struct Words {
    head: [Vec<u8>; 2],
    rest: Vec<Vec<u8>>,
    bytes: usize,
}

impl Words {
    fn of(name: &[u8], key: &[u8]) -> Words {
        Words { head: [name.to_vec(), key.to_vec()], rest: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, item: Item<'_>) {
        let word = match item {
            Item::Int(number) => itoa::Buffer::new().format(number).as_bytes().to_vec(),
            Item::Bytes(bytes) => bytes.to_vec(),
        };
        self.bytes += word.len();
        self.rest.push(word);
    }

    /// Appends it, unless there is nothing to be done.
    fn encode(self, out: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            let words: Vec<Vec<u8>> = self.head.into_iter().chain(self.rest).collect();
            encode_request(out, &words);
        }
    }
}

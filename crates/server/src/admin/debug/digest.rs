//! DEBUG DIGEST: a fingerprint of the dataset that does not depend on the order in which keys are found.
//!
//! It is the one of Redis to the bit, so that the two can be compared: SHA-1 sums of keys, values and elements, folded
//! by XOR where order is none of the data's and chained where it is. Of an expiry only its presence counts.

use quorate_commands::{Args, Outcome};
use quorate_keyspace::{Db, Record};
use quorate_values::listpack::Item;
use quorate_values::{StreamId, ValueRef, write_double_17g};
use sha1::{Digest as _, Sha1};

use crate::data::call::Cx;

/// A fingerprint that is being made.
#[derive(Clone, Copy, Default)]
struct Print([u8; 20]);

impl Print {
    /// Folds in what has no place in an order.
    fn fold(&mut self, bytes: &[u8]) {
        let sum: [u8; 20] = Sha1::digest(bytes).into();
        self.0.iter_mut().zip(sum).for_each(|(own, other)| *own ^= other);
    }

    /// Chains on what has its place in an order.
    fn chain(&mut self, bytes: &[u8]) {
        self.fold(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Folds in an element that is made of several parts.
    fn fold_parts<const N: usize>(&mut self, parts: [&[u8]; N]) {
        let mut element = Print::default();
        parts.into_iter().for_each(|part| element.chain(part));
        self.fold(&element.0);
    }

    /// Takes in a value and whether it expires.
    fn take(&mut self, entry: &Record) {
        let value = entry.value();
        self.chain(&type_number(value).to_be_bytes());
        let text = |item: Item<'_>| item.to_vec();
        match value {
            ValueRef::Str(string) => self.chain(&string.to_cow()),
            ValueRef::Set(set) => set.iter().for_each(|member| self.fold(&text(member))),
            ValueRef::Hash(hash) => {
                for (field, value) in hash.iter_all() {
                    let field = text(field);
                    self.fold_parts([&field, &text(value)]);
                    if let Some(at) = hash.expiry(&field) {
                        self.fold_parts([b"!!hexpire!!", &field, &at.0.to_be_bytes()]);
                    }
                }
            }
            ValueRef::List(list) => list.iter().for_each(|item| self.chain(&text(item))),
            ValueRef::ZSet(zset) => {
                let mut score_text = Vec::new();
                for (member, score) in zset.iter() {
                    score_text.clear();
                    write_double_17g(&mut score_text, score);
                    self.fold_parts([&text(member), &score_text]);
                }
            }
            ValueRef::Stream(stream) => {
                for entry in stream.range(StreamId::MIN, StreamId::MAX) {
                    self.chain(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                    for (field, value) in entry.fields() {
                        self.chain(&text(field));
                        self.chain(&text(value));
                    }
                }
            }
        }
        if entry.expiry().is_some() {
            self.fold(b"!!expire!!");
        }
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The number of a type in fingerprints.
fn type_number(value: ValueRef<'_>) -> u32 {
    match value {
        ValueRef::Str(_) => 0,
        ValueRef::List(_) => 1,
        ValueRef::Set(_) => 2,
        ValueRef::ZSet(_) => 3,
        ValueRef::Hash(_) => 4,
        ValueRef::Stream(_) => 6,
    }
}

/// DEBUG DIGEST
pub(super) fn dataset(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let databases = cx.server.space.databases();
    let mut view = cx.access.alone().view(cx.scope);
    let mut total = Print::default();
    for number in 0..databases as u16 {
        let db = Db(number);
        if view.space().len(db) == 0 {
            continue;
        }
        total.chain(&u32::from(number).to_be_bytes());
        let mut cursor = 0;
        loop {
            cursor = view.scan_raw(db, cursor, 1024, |entry| {
                let mut print = Print::default();
                print.chain(entry.key());
                print.take(entry);
                total.fold(&print.0);
            });
            if cursor == 0 {
                break;
            }
        }
    }
    drop(view);
    cx.reply().simple(&total.hex());
    Ok(())
}

/// DEBUG DIGEST-VALUE key ...
pub(super) fn values(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let db = cx.session.db;
    let view = cx.access.alone().view(cx.scope);
    let prints: Vec<Print> = args
        .from(2)
        .iter()
        .map(|key| {
            let mut print = Print::default();
            if let Some(entry) = view.peek_raw(db, key) {
                print.take(entry);
            }
            print
        })
        .collect();
    drop(view);
    let mut reply = cx.reply();
    reply.array(prints.len());
    prints.iter().for_each(|print| reply.simple(&print.hex()));
    Ok(())
}

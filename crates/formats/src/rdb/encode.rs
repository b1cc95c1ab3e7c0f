//! Writing values: the body behind a type and a key. The layouts are described in `decode.rs`.
//!
//! Of several layouts the one is chosen that the value has in memory, as long as the version knows it: a
//! listpack, an intset, a node goes out as it is, and comes back as it is.

use quorate_values::listpack::Item;
use quorate_values::{HashView, List, NodeRef, Set, SetView, StrRef, ValueRef, ZSetView};

use super::Type;
use super::decode::{PACKED, PLAIN};
use super::expiring;
use super::record::{Version, WriteOptions};
use super::stream::{self, Form};
use super::string::{push_int, push_length, push_string};

/// Appends the body of `value`, which is laid out as [`type_byte`] says.
pub(crate) fn push_body(out: &mut Vec<u8>, value: ValueRef<'_>, options: &WriteOptions) {
    let compress = options.compress;
    match value {
        ValueRef::Str(StrRef::Int(int)) => push_int(out, int),
        ValueRef::Str(StrRef::Bytes(bytes)) => push_string(out, bytes, compress),
        ValueRef::List(list) => push_list(out, list, compress),
        ValueRef::Set(set) => push_set(out, set, options),
        ValueRef::ZSet(zset) => match zset.view() {
            ZSetView::Listpack(packed) => push_string(out, packed.as_bytes(), compress),
            ZSetView::Table(table) => {
                push_length(out, table.len() as u64);
                // From the last to the first, as Redis does, which then never has to search where it inserts.
                for (member, score) in table.iter_rev() {
                    push_string(out, member, compress);
                    out.extend_from_slice(&score.to_le_bytes());
                }
            }
        },
        ValueRef::Hash(hash) if hash.expiring() > 0 => expiring::push(out, hash, compress),
        ValueRef::Hash(hash) => match hash.view() {
            HashView::Listpack(packed) => push_string(out, packed.as_bytes(), compress),
            HashView::Table(table) => {
                push_length(out, table.len() as u64);
                for pair in table.iter() {
                    push_string(out, pair.field(), compress);
                    push_string(out, pair.value(), compress);
                }
            }
        },
        ValueRef::Stream(value) => stream::push(out, value, options),
    }
}

/// The byte in front of the key that says how the body is laid out.
pub(crate) fn type_byte(value: ValueRef<'_>, version: Version) -> u8 {
    let layout = match value {
        ValueRef::Str(_) => Type::String,
        ValueRef::List(_) => Type::ListQuicklist2,
        ValueRef::Set(set) => match set.view() {
            SetView::Intset(_) => Type::SetIntset,
            SetView::Listpack(_) if version >= Version::Eleven => Type::SetListpack,
            SetView::Listpack(_) | SetView::Table(_) => Type::Set,
        },
        ValueRef::ZSet(zset) => match zset.view() {
            ZSetView::Listpack(_) => Type::ZSetListpack,
            ZSetView::Table(_) => Type::ZSet,
        },
        ValueRef::Hash(hash) if hash.expiring() > 0 => expiring::type_of(hash),
        ValueRef::Hash(hash) => match hash.view() {
            HashView::Listpack(_) => Type::HashListpack,
            HashView::Table(_) => Type::Hash,
        },
        ValueRef::Stream(_) => match Form::of(version) {
            Form::Three => Type::Stream3,
            Form::One | Form::Two => Type::Stream2,
        },
    };
    layout as u8
}

fn push_set(out: &mut Vec<u8>, set: &Set, options: &WriteOptions) {
    match set.view() {
        SetView::Intset(ints) => push_string(out, ints.as_bytes(), options.compress),
        SetView::Listpack(packed) if options.version >= Version::Eleven => {
            push_string(out, packed.as_bytes(), options.compress);
        }
        SetView::Listpack(packed) => {
            push_length(out, packed.len() as u64);
            packed.iter().for_each(|member| push_item(out, member, options.compress));
        }
        SetView::Table(table) => {
            push_length(out, table.len() as u64);
            table.iter().for_each(|member| push_string(out, member, options.compress));
        }
    }
}

fn push_list(out: &mut Vec<u8>, list: &List, compress: bool) {
    let nodes = list.nodes();
    push_length(out, nodes.len() as u64);
    for node in nodes {
        match node {
            NodeRef::Packed(packed) => {
                push_length(out, PACKED);
                push_string(out, packed.as_bytes(), compress);
            }
            NodeRef::Plain(element) => {
                push_length(out, PLAIN);
                push_string(out, element, compress);
            }
        }
    }
}

fn push_item(out: &mut Vec<u8>, item: Item<'_>, compress: bool) {
    match item {
        Item::Int(int) => push_int(out, int),
        Item::Bytes(bytes) => push_string(out, bytes, compress),
    }
}

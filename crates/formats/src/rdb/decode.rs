//! Reading values: the body behind a type and a key, in all its layouts.
//!
//! ```text
//! String                     a string
//! List, Set                  count, then as many strings
//! Hash                       count, then for each: field, value (strings)
//! ZSet                       count, then for each: member (a string), score (f64, little-endian)
//! ZSetText                   as ZSet, but the score is a length byte and decimal digits,
//!                            or only a byte: fd not a number, fe infinity, ff minus infinity
//! ListQuicklist              count, then as many strings, each a ziplist
//! ListQuicklist2             count, then for each: 1 and a string, a single large element,
//!                            or 2 and a string, a listpack of elements
//! Stream1, Stream2, Stream3  see stream.rs
//! HashMetadata and its kin   see expiring.rs
//! the others                 a string that is a zipmap, ziplist, intset or listpack
//! ```
//!
//! In packed hashes and sorted sets, fields and values, members and scores take turns. The old packed
//! forms become listpacks, which is what they have become in Redis too.

use std::io::BufRead;

use quorate_values::listpack::Item;
use quorate_values::{Hash, Intset, List, Listpack, Node, Set, Value, ZSet, parse_double, parse_i64};

use super::Type;
use super::error::{Error, Malformed, ModuleName};
use super::expiring;
use super::reader::ReadOptions;
use super::source::Source;
use super::stream::{self, Form};
use super::string::Text;
use crate::{ziplist, zipmap};

/// A quicklist node that is one element.
pub(super) const PLAIN: u64 = 1;
/// A quicklist node that is a listpack.
pub(super) const PACKED: u64 = 2;

/// Reads the body of a value; `None` if it is a collection with nothing in it.
pub(crate) fn value<R: BufRead>(
    source: &mut Source<R>,
    kind: Type,
    options: &ReadOptions,
) -> Result<Option<Value>, Error> {
    match kind {
        Type::String => string(source).map(Some),
        Type::List => plain_list(source, options),
        Type::ListZiplist => ziplist_list(source, options, 1),
        Type::ListQuicklist => {
            let nodes = source.length()?;
            ziplist_list(source, options, nodes)
        }
        Type::ListQuicklist2 => quicklist(source, options),
        Type::Set => plain_set(source, options),
        Type::SetIntset => intset(source, options),
        Type::SetListpack => packed(source, listpack, |packed| set_of(packed, options)),
        Type::ZSet => plain_zset(source, options, binary_score),
        Type::ZSetText => plain_zset(source, options, text_score),
        Type::ZSetZiplist => packed(source, ziplist, |packed| zset_of(packed, options)),
        Type::ZSetListpack => packed(source, listpack, |packed| zset_of(packed, options)),
        Type::Hash => plain_hash(source, options),
        Type::HashMetadata | Type::HashListpackEx | Type::HashMetadataEarly | Type::HashListpackExEarly => {
            expiring::read(source, kind, options)
        }
        Type::HashZipmap => packed(source, zipmap, |packed| hash_of(packed, options)),
        Type::HashZiplist => packed(source, ziplist, |packed| hash_of(packed, options)),
        Type::HashListpack => packed(source, listpack, |packed| hash_of(packed, options)),
        Type::Stream1 | Type::Stream2 | Type::Stream3 => stream(source, kind, options).map(Some),
        Type::ModulePreRelease | Type::Module => {
            let module = ModuleName::from_id(source.length()?);
            Err(Error::Module { at: source.position(), module })
        }
    }
}

fn string<R: BufRead>(source: &mut Source<R>) -> Result<Value, Error> {
    Ok(match source.text()? {
        Text::Int(int) => Value::Int(int),
        Text::Bytes(bytes) => parse_i64(&bytes).map_or(Value::Str(bytes), Value::Int),
    })
}

// ---- Packed collections ---------------------------------------------------------------------------

/// Reads a collection that is packed into one string: `unpack` makes a listpack of the string, `build`
/// the collection of a listpack with something in it.
fn packed<R: BufRead>(
    source: &mut Source<R>,
    unpack: fn(Vec<u8>) -> Result<Listpack, Malformed>,
    build: impl FnOnce(Listpack) -> Result<Value, Malformed>,
) -> Result<Option<Value>, Error> {
    let mut bytes = Vec::new();
    source.string(&mut bytes)?;
    let value = unpack(bytes).and_then(|packed| if packed.is_empty() { Ok(None) } else { build(packed).map(Some) });
    value.map_err(|malformed| source.malformed(malformed))
}

fn listpack(bytes: Vec<u8>) -> Result<Listpack, Malformed> {
    Listpack::from_bytes(bytes).map_err(|_| Malformed("a listpack"))
}

fn ziplist(bytes: Vec<u8>) -> Result<Listpack, Malformed> {
    let mut packed = Listpack::with_capacity(bytes.len());
    for item in ziplist::entries(&bytes)? {
        push(&mut packed, item?)?;
    }
    Ok(packed)
}

fn zipmap(bytes: Vec<u8>) -> Result<Listpack, Malformed> {
    let mut packed = Listpack::with_capacity(bytes.len());
    for pair in zipmap::pairs(&bytes)? {
        let (field, value) = pair?;
        push(&mut packed, field.into())?;
        push(&mut packed, value.into())?;
    }
    Ok(packed)
}

fn push(packed: &mut Listpack, item: Item<'_>) -> Result<(), Malformed> {
    if !packed.has_room_for(Listpack::element_bytes(item)) {
        return Err(Malformed("a packed collection below 1 GiB"));
    }
    packed.push_back(item);
    Ok(())
}

fn hash_of(packed: Listpack, options: &ReadOptions) -> Result<Value, Malformed> {
    let hash = Hash::from_listpack(packed, &options.limits);
    hash.map(|hash| Value::Hash(Box::new(hash))).map_err(|_| Malformed("a hash of pairs with different fields"))
}

fn set_of(packed: Listpack, options: &ReadOptions) -> Result<Value, Malformed> {
    let set = Set::from_listpack(packed, &options.limits);
    set.map(|set| Value::Set(Box::new(set))).map_err(|_| Malformed("a set of different members"))
}

fn zset_of(packed: Listpack, options: &ReadOptions) -> Result<Value, Malformed> {
    let zset = ZSet::from_listpack(packed, &options.limits);
    zset.map(|zset| Value::ZSet(Box::new(zset))).map_err(|_| Malformed("a sorted set of different members"))
}

fn intset<R: BufRead>(source: &mut Source<R>, options: &ReadOptions) -> Result<Option<Value>, Error> {
    let mut bytes = Vec::new();
    source.string(&mut bytes)?;
    let ints = Intset::from_bytes(bytes).map_err(|_| source.malformed(Malformed("an intset")))?;
    Ok((!ints.is_empty()).then(|| Value::Set(Box::new(Set::from_intset(ints, &options.limits)))))
}

// ---- Plain collections ----------------------------------------------------------------------------

/// Reads a set member by member.
fn plain_set<R: BufRead>(source: &mut Source<R>, options: &ReadOptions) -> Result<Option<Value>, Error> {
    let mut set: Option<Set> = None;
    let mut member = Vec::new();
    for _ in 0..source.length()? {
        member.clear();
        source.string(&mut member)?;
        let set = set.get_or_insert_with(|| Set::for_member(&member, &options.limits));
        if !set.insert(&member, &options.limits) {
            return Err(source.malformed(Malformed("a set of different members")));
        }
    }
    Ok(set.map(|set| Value::Set(Box::new(set))))
}

/// Reads a hash pair by pair.
fn plain_hash<R: BufRead>(source: &mut Source<R>, options: &ReadOptions) -> Result<Option<Value>, Error> {
    let mut hash = Hash::new();
    let (mut field, mut value) = (Vec::new(), Vec::new());
    for _ in 0..source.length()? {
        field.clear();
        source.string(&mut field)?;
        value.clear();
        source.string(&mut value)?;
        if !hash.insert(&field, &value, &options.limits) {
            return Err(source.malformed(Malformed("a hash of pairs with different fields")));
        }
    }
    Ok((!hash.is_empty()).then(|| Value::Hash(Box::new(hash))))
}

/// Reads a sorted set member by member; `score` reads a score.
fn plain_zset<R: BufRead>(
    source: &mut Source<R>,
    options: &ReadOptions,
    score: fn(&mut Source<R>) -> Result<f64, Error>,
) -> Result<Option<Value>, Error> {
    let mut zset = ZSet::new();
    let mut member = Vec::new();
    for _ in 0..source.length()? {
        member.clear();
        source.string(&mut member)?;
        let score = score(source)?;
        if score.is_nan() {
            return Err(source.malformed(Malformed("a score that is a number")));
        }
        if !zset.insert(&member, score, &options.limits) {
            return Err(source.malformed(Malformed("a sorted set of different members")));
        }
    }
    Ok((!zset.is_empty()).then(|| Value::ZSet(Box::new(zset))))
}

fn binary_score<R: BufRead>(source: &mut Source<R>) -> Result<f64, Error> {
    Ok(f64::from_le_bytes(source.array()?))
}

fn text_score<R: BufRead>(source: &mut Source<R>) -> Result<f64, Error> {
    match source.byte()? {
        0xff => Ok(f64::NEG_INFINITY),
        0xfe => Ok(f64::INFINITY),
        0xfd => Ok(f64::NAN),
        len => {
            let mut digits = Vec::new();
            source.bytes(len.into(), &mut digits)?;
            parse_double(&digits).ok_or_else(|| source.malformed(Malformed("a score in decimal digits")))
        }
    }
}

// ---- Lists and streams ----------------------------------------------------------------------------

fn plain_list<R: BufRead>(source: &mut Source<R>, options: &ReadOptions) -> Result<Option<Value>, Error> {
    let mut list = List::new();
    let mut element = Vec::new();
    for _ in 0..source.length()? {
        element.clear();
        source.string(&mut element)?;
        list.push_back(&element, &options.limits);
    }
    Ok((!list.is_empty()).then(|| Value::List(Box::new(list))))
}

/// Reads a list of `nodes` ziplists. Empty ones are left out.
fn ziplist_list<R: BufRead>(source: &mut Source<R>, options: &ReadOptions, nodes: u64) -> Result<Option<Value>, Error> {
    let mut list = Vec::new();
    for _ in 0..nodes {
        let mut bytes = Vec::new();
        source.string(&mut bytes)?;
        let packed = ziplist(bytes).map_err(|malformed| source.malformed(malformed))?;
        if !packed.is_empty() {
            list.push(Node::Packed(packed));
        }
    }
    Ok(list_of(list, options))
}

/// Reads a list of listpacks and large elements. Empty listpacks are left out.
fn quicklist<R: BufRead>(source: &mut Source<R>, options: &ReadOptions) -> Result<Option<Value>, Error> {
    let mut list = Vec::new();
    for _ in 0..source.length()? {
        let container = source.length()?;
        let mut bytes = Vec::new();
        source.string(&mut bytes)?;
        match container {
            PLAIN if bytes.is_empty() => return Err(source.malformed(Malformed("a large element"))),
            PLAIN => list.push(Node::Plain(bytes)),
            PACKED => {
                let packed = listpack(bytes).map_err(|malformed| source.malformed(malformed))?;
                if !packed.is_empty() {
                    list.push(Node::Packed(packed));
                }
            }
            _ => return Err(source.malformed(Malformed("a list node that is packed or plain"))),
        }
    }
    Ok(list_of(list, options))
}

fn list_of(nodes: Vec<Node>, options: &ReadOptions) -> Option<Value> {
    (!nodes.is_empty()).then(|| Value::List(Box::new(List::from_nodes(nodes, &options.limits))))
}

fn stream<R: BufRead>(source: &mut Source<R>, kind: Type, options: &ReadOptions) -> Result<Value, Error> {
    let form = match kind {
        Type::Stream1 => Form::One,
        Type::Stream2 => Form::Two,
        _ => Form::Three,
    };
    stream::read(source, form, options.sanitize).map(|stream| Value::Stream(Box::new(stream)))
}

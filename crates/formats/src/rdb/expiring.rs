//! Hashes of which fields expire, as Redis 7.4 has them.
//!
//! ```text
//! HashMetadata    i64 milliseconds: when the first field expires; count, then for each: when it expires, field, value
//! HashListpackEx  i64 milliseconds: the same; a string, a listpack of fields, values and when each expires
//! ```
//!
//! In the first, when a field expires is a length: 0 for never, else by how many milliseconds later than the first one,
//! plus one. In the second it is milliseconds since 1970, or 0, and what expires sooner comes first. The forms of the
//! versions before 7.4 was done lack the first number, and have milliseconds since 1970 in both.

use std::io::BufRead;

use quorate_stdx::UnixMs;
use quorate_values::listpack::Item;
use quorate_values::{Hash, HashView, Listpack, Value};

use super::Type;
use super::error::{Error, Malformed};
use super::reader::ReadOptions;
use super::source::Source;
use super::string::{push_length, push_string};

/// No field expires later than that, by 48 bits of milliseconds.
const LATEST: u64 = (1 << 48) - 1;

/// The type of a hash of which fields expire.
pub(super) fn type_of(hash: &Hash) -> Type {
    match hash.view() {
        HashView::Listpack(_) => Type::HashListpackEx,
        HashView::Table(_) => Type::HashMetadata,
    }
}

/// Appends the body of a hash of which fields expire.
pub(super) fn push(out: &mut Vec<u8>, hash: &Hash, compress: bool) {
    let soonest = hash.soonest_expiry().map_or(0, |at| at.0);
    out.extend_from_slice(&soonest.to_le_bytes());
    match hash.view() {
        HashView::Table(table) => {
            push_length(out, table.len() as u64);
            for pair in table.iter() {
                let after = hash.expiry(pair.field()).map_or(0, |at| at.0.abs_diff(soonest) + 1);
                push_length(out, after);
                push_string(out, pair.field(), compress);
                push_string(out, pair.value(), compress);
            }
        }
        HashView::Listpack(_) => {
            let mut triples: Vec<(Item<'_>, Item<'_>, i64)> = Vec::with_capacity(hash.len_of_all());
            for (field, value) in hash.iter_all() {
                let at = hash.expiry(&field.to_vec());
                triples.push((field, value, at.map_or(0, |at| at.0)));
            }
            triples.sort_by_key(|(_, _, at)| if *at == 0 { i64::MAX } else { *at });
            let mut packed = Listpack::new();
            for (field, value, at) in triples {
                packed.push_back(field);
                packed.push_back(value);
                packed.push_back(Item::Int(at));
            }
            push_string(out, packed.as_bytes(), compress);
        }
    }
}

/// Reads the body of a hash of which fields may expire; `None` if there is nothing in it.
pub(super) fn read<R: BufRead>(
    source: &mut Source<R>,
    kind: Type,
    options: &ReadOptions,
) -> Result<Option<Value>, Error> {
    let soonest = match kind {
        Type::HashMetadata | Type::HashListpackEx => u64::from_le_bytes(source.array()?),
        _ => 0,
    };
    if soonest > LATEST + 1 {
        return Err(source.malformed(Malformed("the time of the first field's expiry")));
    }
    let mut hash = Hash::new();
    match kind {
        Type::HashListpackEx | Type::HashListpackExEarly => read_packed(source, &mut hash, options)?,
        _ => {
            let (mut field, mut value) = (Vec::new(), Vec::new());
            for _ in 0..source.length()? {
                let at = match source.length()? {
                    0 => 0,
                    after if kind == Type::HashMetadata => soonest.saturating_add(after - 1),
                    at => at,
                };
                field.clear();
                source.string(&mut field)?;
                value.clear();
                source.string(&mut value)?;
                add(&mut hash, &field, &value, at, options).map_err(|malformed| source.malformed(malformed))?;
            }
        }
    }
    Ok((!hash.is_empty()).then(|| Value::Hash(Box::new(hash))))
}

fn read_packed<R: BufRead>(source: &mut Source<R>, hash: &mut Hash, options: &ReadOptions) -> Result<(), Error> {
    let mut bytes = Vec::new();
    source.string(&mut bytes)?;
    let fill = |hash: &mut Hash| {
        let packed = Listpack::from_bytes(bytes).map_err(|_| Malformed("a listpack"))?;
        let mut items = packed.iter();
        while let Some(field) = items.next() {
            let (Some(value), Some(at)) = (items.next(), items.next()) else {
                return Err(Malformed("fields with their values and expiries"));
            };
            let at = at.as_int().and_then(|at| u64::try_from(at).ok()).ok_or(Malformed("when a field expires"))?;
            add(hash, &field.to_vec(), &value.to_vec(), at, options)?;
        }
        Ok(())
    };
    fill(hash).map_err(|malformed| source.malformed(malformed))
}

/// Adds a field that expires at `at`; 0 is never.
fn add(hash: &mut Hash, field: &[u8], value: &[u8], at: u64, options: &ReadOptions) -> Result<(), Malformed> {
    if at > LATEST {
        return Err(Malformed("when a field expires"));
    }
    if !hash.insert(field, value, &options.limits) {
        return Err(Malformed("a hash of pairs with different fields"));
    }
    if at > 0 {
        hash.set_expiry(field, Some(UnixMs(at.cast_signed())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate_values::{Limits, ValueRef};

    use super::*;
    use crate::dump;
    use crate::rdb::{WriteOptions, payload};

    fn hash(packed: bool) -> Hash {
        let limits = Limits { hash_max_listpack_entries: if packed { 512 } else { 0 }, ..Limits::default() };
        let mut hash = Hash::new();
        for (field, value, at) in [("a", "1", 0), ("12", "two", 2_000_000_005), ("c", "-3", 2_000_000_000)] {
            hash.insert(field.as_bytes(), value.as_bytes(), &limits);
            hash.set_expiry(field.as_bytes(), (at > 0).then_some(UnixMs(at)));
        }
        hash
    }

    type Triple = (Vec<u8>, Vec<u8>, Option<i64>);

    fn triples(hash: &Hash) -> Vec<Triple> {
        let mut all: Vec<Triple> = hash
            .iter_all()
            .map(|(field, value)| (field.to_vec(), value.to_vec(), hash.expiry(&field.to_vec()).map(|at| at.0)))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn a_hash_with_expiring_fields_comes_back_in_either_form_and_an_older_server_refuses_it() {
        for packed in [true, false] {
            let (hash, mut bytes) = (hash(packed), Vec::new());
            dump::encode(&mut bytes, ValueRef::Hash(&hash), &WriteOptions::default());
            assert_eq!(bytes[0], if packed { 25 } else { 24 });
            assert_eq!(bytes[bytes.len() - 10..][..2], [12, 0], "the version of the payload");
            let Value::Hash(back) = dump::decode(&bytes, &ReadOptions::default()).unwrap() else { panic!("a hash") };
            assert_eq!(triples(&back), triples(&hash));
        }
    }

    #[test]
    fn a_hash_without_expiring_fields_is_written_as_ever() {
        for packed in [true, false] {
            let (mut hash, mut bytes) = (hash(packed), Vec::new());
            hash.set_expiry(b"12", None);
            hash.set_expiry(b"c", None);
            dump::encode(&mut bytes, ValueRef::Hash(&hash), &WriteOptions::default());
            assert_eq!(bytes[0], if packed { 16 } else { 4 });
            assert_eq!(bytes[bytes.len() - 10..][..2], [10, 0]);
        }
    }

    /// Type, soonest and the rest, by the description above.
    fn by_hand(kind: u8, soonest: Option<i64>, body: &[u8]) -> Vec<u8> {
        let soonest = soonest.map_or(Vec::new(), |at| at.to_le_bytes().to_vec());
        [&[kind][..], &soonest, body].concat()
    }

    #[test]
    fn every_form_is_read_as_it_is_described() {
        let mut packed = Listpack::new();
        for item in [Item::from(&b"f"[..]), Item::from(&b"v"[..]), Item::Int(1000), Item::from(&b"g"[..])] {
            packed.push_back(item);
        }
        packed.push_back(Item::from(&b"w"[..]));
        packed.push_back(Item::Int(0));
        let mut listpack = Vec::new();
        push_string(&mut listpack, packed.as_bytes(), false);
        let plain = |at: &[u8]| [&[2][..], at, b"\x01f\x01v", b"\x00\x01g\x01w"].concat();
        for bytes in [
            by_hand(24, Some(1000), &plain(&[1])),
            by_hand(24, Some(990), &plain(&[11])),
            by_hand(22, None, &plain(&[0x43, 0xe8])),
            by_hand(25, Some(1000), &listpack),
            by_hand(23, None, &listpack),
        ] {
            let (value, len) = payload::read(&bytes, &ReadOptions::default()).unwrap();
            let Some(Value::Hash(hash)) = value else { panic!("a hash") };
            let expected = [(b"f".to_vec(), b"v".to_vec(), Some(1000)), (b"g".to_vec(), b"w".to_vec(), None)];
            assert_eq!((triples(&hash), len), (expected.to_vec(), bytes.len() as u64));
        }
    }

    #[test]
    fn what_no_server_writes_is_an_error() {
        let late = |kind| by_hand(kind, Some(i64::MAX), &[0]);
        let twice = by_hand(24, Some(1), b"\x02\x01\x01f\x01v\x01\x01f\x01v");
        let mut listpack = Vec::new();
        let mut packed = Listpack::new();
        packed.push_back(Item::Int(1));
        push_string(&mut listpack, packed.as_bytes(), false);
        for bytes in [late(24), late(25), twice, by_hand(25, Some(1), &listpack)] {
            assert!(payload::read(&bytes, &ReadOptions::default()).is_err(), "{bytes:?}");
        }
    }
}

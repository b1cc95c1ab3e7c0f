//! Some entries of a stream that follow one another, packed into one listpack, in the grammar of RDB files.
//!
//! ```text
//! node  = live, deleted, fields, field name..., 0, entry...
//! entry = flags, ms, seq, value..., elements before                       flag 2: it has the node's field names
//!       | flags, ms, seq, fields, (name, value)..., elements before       flag 1: it is deleted
//! ```
//!
//! Ids are told as differences to the node's, which is that of its first entry. Most entries of a stream have the same
//! fields; those of the node's first entry are written once. What is deleted stays until all of the node is.
//!
//! A node from outside passes [`check`]; behind that door the grammar is trusted.

use crate::Listpack;
use crate::listpack::{Item, Pos};
use crate::stream::StreamId;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// What a node says about itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) live: u64,
    pub(super) deleted: u64,
    fields: usize,
    /// The first field name, if there is one.
    names: Pos,
    /// Where the first entry begins, or the end.
    entries: Pos,
}

/// An element that has to be there and a number.
fn number(pack: &Listpack, at: Pos) -> i64 {
    pack.item(at).as_int().expect("the grammar has a number there, which was checked")
}

/// The position behind `count` elements from `at` on; the end if they are the last ones.
fn skip(pack: &Listpack, at: Pos, count: usize) -> Pos {
    (0..count).fold(at, |at, _| pack.next(at).unwrap_or(pack.end()))
}

impl Head {
    pub(super) fn of(pack: &Listpack) -> Head {
        let live = pack.first().expect("a node has a head");
        let deleted = skip(pack, live, 1);
        let fields = skip(pack, deleted, 1);
        let names = skip(pack, fields, 1);
        let count = number(pack, fields) as usize;
        Head {
            live: number(pack, live) as u64,
            deleted: number(pack, deleted) as u64,
            fields: count,
            names,
            entries: skip(pack, names, count + 1),
        }
    }
}

/// An entry within its node.
#[derive(Debug, Clone, Copy)]
pub struct EntryRef<'a> {
    /// Its id.
    pub id: StreamId,
    pub(super) is_deleted: bool,
    /// Where it begins.
    pub(super) at: Pos,
    pack: &'a Listpack,
    /// The number of its fields.
    fields: usize,
    /// Where the node's field names are, if they are the entry's.
    names: Option<Pos>,
    /// Its first value, or its first field name.
    values: Pos,
}

impl<'a> EntryRef<'a> {
    fn read(pack: &'a Listpack, base: StreamId, head: &Head, at: Pos) -> EntryRef<'a> {
        let flags = number(pack, at);
        let ms = skip(pack, at, 1);
        let seq = skip(pack, ms, 1);
        let behind = skip(pack, seq, 1);
        let id = StreamId {
            ms: base.ms.wrapping_add(number(pack, ms) as u64),
            seq: base.seq.wrapping_add(number(pack, seq) as u64),
        };
        let is_deleted = flags & DELETED != 0;
        if flags & SAME_FIELDS != 0 {
            return EntryRef { id, is_deleted, at, pack, fields: head.fields, names: Some(head.names), values: behind };
        }
        let fields = number(pack, behind) as usize;
        EntryRef { id, is_deleted, at, pack, fields, names: None, values: skip(pack, behind, 1) }
    }

    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.fields
    }

    /// Whether it has none, which only entries from files can.
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// Its fields with their values, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (Item<'a>, Item<'a>)> + use<'a> {
        let pack = self.pack;
        let mut names = self.names;
        let mut at = self.values;
        (0..self.fields).map(move |_| {
            let name = match &mut names {
                Some(names) => take(pack, names),
                None => take(pack, &mut at),
            };
            (name, take(pack, &mut at))
        })
    }

    /// Where the next entry begins, or the end.
    fn behind(&self) -> Pos {
        let elements = if self.names.is_some() { self.fields } else { self.fields * 2 };
        skip(self.pack, self.values, elements + 1)
    }
}

/// The element at `at`, which moves on.
fn take<'a>(pack: &'a Listpack, at: &mut Pos) -> Item<'a> {
    let item = pack.item(*at);
    *at = skip(pack, *at, 1);
    item
}

/// The entries from the first to the last, deleted ones included.
pub(super) fn entries(pack: &Listpack, base: StreamId) -> impl Iterator<Item = EntryRef<'_>> {
    let head = Head::of(pack);
    let mut at = head.entries;
    std::iter::from_fn(move || {
        if at == pack.end() {
            return None;
        }
        let entry = EntryRef::read(pack, base, &head, at);
        at = entry.behind();
        Some(entry)
    })
}

/// The entries from the last to the first, deleted ones included.
pub(super) fn entries_rev(pack: &Listpack, base: StreamId) -> impl Iterator<Item = EntryRef<'_>> {
    let head = Head::of(pack);
    let mut behind = pack.end();
    std::iter::from_fn(move || {
        if behind == head.entries {
            return None;
        }
        let count_at = pack.prev(behind).expect("an entry ends with how long it is");
        let back = |at: Pos, _| pack.prev(at).expect("an entry is as long as it says");
        let at = (0..number(pack, count_at)).fold(count_at, back);
        behind = at;
        Some(EntryRef::read(pack, base, &head, at))
    })
}

/// A node of one entry; `pairs` are fields and values in turn.
pub(super) fn with_entry(pairs: &[&[u8]], room: usize) -> Listpack {
    let mut pack = Listpack::with_capacity(room);
    for head in [1, 0, (pairs.len() / 2) as i64] {
        pack.push_back(head);
    }
    pairs.chunks_exact(2).for_each(|pair| pack.push_back(pair[0]));
    pack.push_back(0);
    push_same(&mut pack, StreamId::MIN, StreamId::MIN, pairs);
    pack
}

/// Adds an entry at the end.
pub(super) fn append(pack: &mut Listpack, base: StreamId, id: StreamId, pairs: &[&[u8]]) {
    let head = Head::of(pack);
    let mut names = head.names;
    let same = head.fields == pairs.len() / 2
        && pairs.chunks_exact(2).all(|pair| {
            let name = take(pack, &mut names);
            name.is(pair[0])
        });
    if same {
        push_same(pack, base, id, pairs);
    } else {
        push_head(pack, 0, base, id);
        pack.push_back((pairs.len() / 2) as i64);
        pairs.iter().for_each(|text| pack.push_back(*text));
        pack.push_back(pairs.len() as i64 + 4);
    }
    let live = pack.first().expect("a node has a head");
    pack.replace(live, head.live as i64 + 1);
}

fn push_same(pack: &mut Listpack, base: StreamId, id: StreamId, pairs: &[&[u8]]) {
    push_head(pack, SAME_FIELDS, base, id);
    pairs.chunks_exact(2).for_each(|pair| pack.push_back(pair[1]));
    pack.push_back((pairs.len() / 2) as i64 + 3);
}

fn push_head(pack: &mut Listpack, flags: i64, base: StreamId, id: StreamId) {
    pack.push_back(flags);
    pack.push_back(id.ms.wrapping_sub(base.ms) as i64);
    pack.push_back(id.seq.wrapping_sub(base.seq) as i64);
}

/// Marks entries as deleted, which must not be yet; their positions rise.
pub(super) fn delete(pack: &mut Listpack, at: &[Pos]) {
    let head = Head::of(pack);
    // From the back, because a number of another length moves what is behind it.
    for at in at.iter().rev() {
        pack.replace(*at, number(pack, *at) | DELETED);
    }
    let count = at.len() as i64;
    let live = pack.first().expect("a node has a head");
    let deleted = skip(pack, live, 1);
    pack.replace(deleted, head.deleted as i64 + count);
    pack.replace(live, head.live as i64 - count);
}

/// Checks that `pack` follows the grammar, and that its ids rise from `base` on: the last one, and how many entries are
/// not deleted. `None` if it does not.
pub(super) fn check(pack: &Listpack, base: StreamId) -> Option<(StreamId, u64)> {
    let mut elements = pack.iter();
    let mut next = || elements.next();
    let int = |item: Option<Item<'_>>| match item? {
        Item::Int(number) => Some(number),
        Item::Bytes(_) => None,
    };
    let live = u64::try_from(int(next())?).ok()?;
    let deleted = u64::try_from(int(next())?).ok()?;
    let node_fields = u32::try_from(int(next())?).ok()?;
    (0..node_fields).try_for_each(|_| next().map(drop))?;
    if int(next())? != 0 {
        return None;
    }
    let (mut last, mut seen_deleted, mut seen) = (None, 0, 0);
    while let Some(flags) = next() {
        let flags = int(Some(flags))?;
        let (ms, seq) = (int(next())? as u64, int(next())? as u64);
        let before = if flags & SAME_FIELDS != 0 {
            (0..node_fields).try_for_each(|_| next().map(drop))?;
            i64::from(node_fields) + 3
        } else {
            let fields = u32::try_from(int(next())?).ok()?;
            (0..u64::from(fields) * 2).try_for_each(|_| next().map(drop))?;
            i64::from(fields) * 2 + 4
        };
        let id = StreamId { ms: base.ms.wrapping_add(ms), seq: base.seq.wrapping_add(seq) };
        let rises = last.map_or(id >= base, |last| id > last);
        if int(next())? != before || flags & !(DELETED | SAME_FIELDS) != 0 || !rises {
            return None;
        }
        seen_deleted += u64::from(flags & DELETED != 0);
        seen += 1;
        last = Some(id);
    }
    let is_counted = seen_deleted == deleted && live.checked_add(deleted) == Some(seen);
    last.filter(|_| is_counted).map(|last| (last, live))
}

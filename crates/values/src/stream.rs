//! Streams: entries in the order in which they came, and the groups of consumers that read them.
//!
//! Entries are packed, by up to a hundred of them or 4 KiB (`stream-node-max-entries`, `-bytes`), into nodes that are
//! listpacks as RDB files have them ([`node`]): saving and loading a stream copies them. The nodes stand in a B-tree by the
//! id of their first entry, so an entry is found by one search and a walk over a node, and whole nodes are trimmed
//! without a look inside.
//!
//! What is deleted within a node is only marked, and goes with the node. So [`Stream::trim`] to about some length takes
//! whole nodes only.
//!
//! Not here: clocks (ids and times are arguments), and what commands make of it.

mod group;
mod id;
mod node;

use std::collections::BTreeMap;

use crate::limits::Limits;
use crate::listpack::Listpack;

pub use group::{Consumer, ConsumerNumber, Group, Pending};
pub use id::StreamId;
pub use node::EntryRef;

/// No node grows past this, whatever the limits are.
const NODE_BYTES_MAX: usize = 1 << 30;

/// An entry that no node can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// What a trimmed stream keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The last so many entries.
    Newest(u64),
    /// The entries from this id on.
    From(StreamId),
}

/// How exactly a stream is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trim {
    /// To the entry.
    Exactly,
    /// By whole nodes, of so many entries together at most; 0 is no limit.
    ByNodes(u64),
}

/// The stream; see the module's text.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    nodes: BTreeMap<StreamId, Listpack>,
    len: u64,
    /// The last id that was ever used.
    pub last_id: StreamId,
    /// The id of the first entry; 0-0 if there is none.
    pub first_id: StreamId,
    /// The greatest id of an entry that was deleted (XDEL).
    pub max_deleted_id: StreamId,
    /// How many entries were ever added.
    pub entries_added: u64,
    groups: BTreeMap<Box<[u8]>, Group>,
}

impl Stream {
    /// An empty stream.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none; a stream may be empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The nodes with their ids, as files have them.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (StreamId, &Listpack)> {
        self.nodes.iter().map(|(id, pack)| (*id, pack))
    }

    /// Takes over a node from a file, which has to stand behind all others; whether it follows the grammar.
    pub fn push_node(&mut self, base: StreamId, pack: Listpack) -> bool {
        let is_behind = self.nodes.is_empty() || base > self.last_id;
        let Some((last, live)) = node::check(&pack, base).filter(|_| is_behind) else { return false };
        self.last_id = last;
        if live > 0 {
            self.len += live;
            self.nodes.insert(base, pack);
        }
        true
    }

    // ---- Adding and removing ------------------------------------------------------------------------

    /// The id of an entry that comes at `now_ms`; `None` if there is none left.
    pub fn next_id(&self, now_ms: u64) -> Option<StreamId> {
        if now_ms > self.last_id.ms { Some(StreamId { ms: now_ms, seq: 0 }) } else { self.last_id.next() }
    }

    /// Adds an entry, whose id is greater than the last one. `pairs` are fields and values in turn.
    ///
    /// # Errors
    /// It is too large for any node; nothing has changed.
    pub fn append(&mut self, id: StreamId, pairs: &[&[u8]], limits: &Limits) -> Result<(), TooLarge> {
        debug_assert!(id > self.last_id && pairs.len().is_multiple_of(2));
        let bytes: usize = pairs.iter().map(|text| text.len()).sum();
        if bytes > NODE_BYTES_MAX {
            return Err(TooLarge);
        }
        match self.nodes.last_entry() {
            Some(mut last) if has_room(last.get(), bytes, limits) => {
                let base = *last.key();
                node::append(last.get_mut(), base, id, pairs);
            }
            last => {
                if let Some(mut last) = last {
                    last.get_mut().shrink_to_fit();
                }
                self.nodes.insert(id, node::with_entry(pairs, bytes));
            }
        }
        if self.len == 0 {
            self.first_id = id;
        }
        self.len += 1;
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        Ok(())
    }

    /// Deletes an entry; whether it was there. The first id is not looked for anew.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some((&base, pack)) = self.nodes.range_mut(..=id).next_back() else { return false };
        let found = node::entries(pack, base).take_while(|entry| entry.id <= id).find(|entry| entry.id == id);
        let Some(at) = found.filter(|entry| !entry.is_deleted).map(|entry| entry.at) else { return false };
        if node::Head::of(pack).live == 1 {
            self.nodes.remove(&base);
        } else {
            node::delete(pack, &[at]);
        }
        self.len -= 1;
        true
    }

    /// Removes entries from the front; how many.
    pub fn trim(&mut self, keep: Keep, trim: Trim) -> u64 {
        let before = self.len;
        while let Some(mut first) = self.nodes.first_entry() {
            let (base, live) = (*first.key(), node::Head::of(first.get()).live);
            let (is_done, goes_whole) = match keep {
                Keep::Newest(len) => (self.len <= len, self.len - live >= len),
                // The last of its entries counts, deleted or not.
                Keep::From(id) => (false, node::entries_rev(first.get(), base).next().is_none_or(|last| last.id < id)),
            };
            let is_too_much = matches!(trim, Trim::ByNodes(most) if most > 0 && before - self.len + live > most);
            if is_done || is_too_much {
                break;
            }
            if goes_whole {
                first.remove();
                self.len -= live;
                continue;
            }
            if trim == Trim::Exactly {
                let most = match keep {
                    Keep::Newest(len) => self.len - len,
                    Keep::From(_) => live,
                };
                let from = if let Keep::From(id) = keep { id } else { StreamId::MAX };
                let doomed = node::entries(first.get(), base).take_while(|entry| entry.id < from);
                let doomed: Vec<_> =
                    doomed.filter(|entry| !entry.is_deleted).take(most as usize).map(|entry| entry.at).collect();
                self.len -= doomed.len() as u64;
                if doomed.len() as u64 == live {
                    first.remove();
                } else if !doomed.is_empty() {
                    node::delete(first.get_mut(), &doomed);
                }
            }
            break;
        }
        if self.len < before {
            self.refresh_first_id();
        }
        before - self.len
    }

    /// Finds the first id anew.
    pub fn refresh_first_id(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id);
        self.first_id = first.unwrap_or(StreamId::MIN);
    }

    // ---- Reading ------------------------------------------------------------------------------------

    /// The entries from `start` to `end`, both included.
    pub fn range(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = EntryRef<'_>> {
        let first = self.nodes.range(..=start).next_back().map_or(start, |(base, _)| *base);
        let nodes = self.nodes.range(first..);
        let entries = nodes.flat_map(|(base, pack)| node::entries(pack, *base));
        entries
            .skip_while(move |entry| entry.id < start)
            .take_while(move |entry| entry.id <= end)
            .filter(|entry| !entry.is_deleted)
    }

    /// The same from the last to the first.
    pub fn range_rev(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = EntryRef<'_>> {
        let nodes = self.nodes.range(..=end).rev();
        let entries = nodes.flat_map(|(base, pack)| node::entries_rev(pack, *base));
        entries
            .skip_while(move |entry| entry.id > end)
            .take_while(move |entry| entry.id >= start)
            .filter(|entry| !entry.is_deleted)
    }

    /// The entry of that id.
    pub fn get(&self, id: StreamId) -> Option<EntryRef<'_>> {
        self.range(id, id).next()
    }

    /// The id of the last entry that is there.
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.range_rev(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }

    // ---- How far one has read -----------------------------------------------------------------------

    /// Whether an entry behind `id`, or that one, may have been deleted.
    pub fn may_have_holes_from(&self, id: StreamId) -> bool {
        self.len > 0 && self.max_deleted_id != StreamId::MIN && id <= self.max_deleted_id
    }

    /// How many entries were ever added up to `id`, that one included; `None` where that can't be told.
    pub fn entries_up_to(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.len == 0 && id < self.last_id {
            return Some(self.entries_added);
        }
        if id >= self.last_id {
            return (id == self.last_id).then_some(self.entries_added);
        }
        let before_first = self.entries_added.wrapping_sub(self.len);
        let is_whole = self.max_deleted_id == StreamId::MIN || self.max_deleted_id < self.first_id;
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if is_whole => Some(before_first),
            std::cmp::Ordering::Equal if is_whole => Some(before_first.wrapping_add(1)),
            _ => None,
        }
    }

    /// How many entries a group has still to read; `None` where that can't be told.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        let counted = group.entries_read.filter(|_| !self.may_have_holes_from(group.last_id));
        let read = counted.or_else(|| self.entries_up_to(group.last_id))?;
        Some(self.entries_added.wrapping_sub(read) as i64)
    }

    // ---- Groups -------------------------------------------------------------------------------------

    /// All groups by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// The group of that name.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    /// The group of that name, to be changed.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    /// Makes a group; whether there was none of that name.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        let is_new = !self.groups.contains_key(name);
        if is_new {
            self.groups.insert(name.into(), group);
        }
        is_new
    }

    /// Removes a group.
    pub fn remove_group(&mut self, name: &[u8]) -> Option<Group> {
        self.groups.remove(name)
    }

    // ---- Costs --------------------------------------------------------------------------------------

    /// Entries and pending entries together.
    pub fn elements(&self) -> usize {
        self.len as usize + self.groups.values().map(Group::pending_len).sum::<usize>()
    }

    /// About how many allocations it lies in.
    pub fn allocations(&self) -> usize {
        self.nodes.len() + self.groups.values().map(Group::allocations).sum::<usize>()
    }

    /// Bytes on the heap, roughly: tree nodes are taken for two thirds full.
    pub fn heap_bytes(&self) -> usize {
        let slot = size_of::<(StreamId, Listpack)>() * 3 / 2;
        let nodes: usize = self.nodes.values().map(|pack| pack.heap_bytes() + slot).sum();
        nodes + self.groups().map(|(name, group)| name.len() + size_of::<Group>() + group.heap_bytes()).sum::<usize>()
    }
}

/// Whether an entry of so many bytes goes into a node.
fn has_room(pack: &Listpack, bytes: usize, limits: &Limits) -> bool {
    let bytes_max = match limits.stream_node_max_bytes {
        0 => NODE_BYTES_MAX,
        max => max.min(NODE_BYTES_MAX),
    };
    let head = node::Head::of(pack);
    let entries_max = limits.stream_node_max_entries as u64;
    pack.byte_len() + bytes < bytes_max && (entries_max == 0 || head.live + head.deleted < entries_max)
}

#[cfg(test)]
mod tests;

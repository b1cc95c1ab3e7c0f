//! A consumer group: how far it has read, and which entries wait for whose acknowledgement.
//!
//! A pending entry is kept once, in the group, with the number of its consumer; a consumer knows the ids of its own. That
//! is about a third of what a tree node for each would take.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::StreamId;

/// The number of a consumer within its group; another may get it when it is gone.
pub type ConsumerNumber = u32;

/// An entry that was delivered and is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// When it was delivered last, in milliseconds since 1970.
    pub delivered: i64,
    /// How often it was delivered.
    pub deliveries: u64,
    /// To whom.
    pub consumer: ConsumerNumber,
}

/// Who reads.
#[derive(Debug, Clone)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it asked for something last, in milliseconds since 1970.
    pub seen: i64,
    /// When it got something last; `None` is never.
    pub active: Option<i64>,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many entries wait for its acknowledgement.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Those entries, from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = StreamId> {
        self.pending.range(start..).copied()
    }
}

/// The group; see the module's text.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// The last entry that was delivered to anybody.
    pub last_id: StreamId,
    /// How many entries were read up to there; `None` where that can't be told.
    pub entries_read: Option<u64>,
    pending: BTreeMap<StreamId, Pending>,
    consumers: Vec<Option<Consumer>>,
    by_name: BTreeMap<Box<[u8]>, ConsumerNumber>,
}

impl Group {
    /// A group that has read up to `last_id`.
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Group {
        Group { last_id, entries_read, ..Group::default() }
    }

    // ---- Consumers ----------------------------------------------------------------------------------

    /// The number of the consumer of that name.
    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerNumber> {
        self.by_name.get(name).copied()
    }

    /// A consumer.
    ///
    /// # Panics
    /// If there is none of that number.
    pub fn consumer(&self, number: ConsumerNumber) -> &Consumer {
        self.consumers[number as usize].as_ref().expect("a number in use")
    }

    /// A consumer, to be changed.
    ///
    /// # Panics
    /// If there is none of that number.
    pub fn consumer_mut(&mut self, number: ConsumerNumber) -> &mut Consumer {
        self.consumers[number as usize].as_mut().expect("a number in use")
    }

    /// Makes a consumer, of whose name there is none.
    pub fn add_consumer(&mut self, name: &[u8], seen: i64) -> ConsumerNumber {
        let consumer = Consumer { name: name.into(), seen, active: None, pending: BTreeSet::new() };
        let free = self.consumers.iter().position(Option::is_none);
        let number = free.unwrap_or_else(|| {
            self.consumers.push(None);
            self.consumers.len() - 1
        });
        self.consumers[number] = Some(consumer);
        self.by_name.insert(name.into(), number as ConsumerNumber);
        number as ConsumerNumber
    }

    /// Removes a consumer and what waits for it: how many entries these were. `None` if there is none of that name.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let number = self.by_name.remove(name)?;
        let consumer = self.consumers[number as usize].take()?;
        while self.consumers.last().is_some_and(Option::is_none) {
            self.consumers.pop();
        }
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    /// All consumers by name.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.by_name.values().map(|number| self.consumer(*number))
    }

    // ---- Pending entries ----------------------------------------------------------------------------

    /// How many entries wait.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// An entry that waits.
    pub fn pending(&self, id: StreamId) -> Option<Pending> {
        self.pending.get(&id).copied()
    }

    /// All that wait, from `start` to `end`, both included.
    pub fn pending_range(
        &self,
        start: StreamId,
        end: StreamId,
    ) -> impl DoubleEndedIterator<Item = (StreamId, Pending)> {
        let bounds = if start <= end {
            (Bound::Included(start), Bound::Included(end))
        } else {
            (Bound::Included(start), Bound::Excluded(start))
        };
        self.pending.range(bounds).map(|(id, pending)| (*id, *pending))
    }

    /// Lets an entry wait for a consumer, whether it waited before or not.
    pub fn set_pending(&mut self, id: StreamId, pending: Pending) {
        let before = self.pending.insert(id, pending).map(|before| before.consumer);
        if before == Some(pending.consumer) {
            return;
        }
        if let Some(before) = before {
            self.consumer_mut(before).pending.remove(&id);
        }
        self.consumer_mut(pending.consumer).pending.insert(id);
    }

    /// Ends the waiting of an entry; whether it waited.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        self.consumer_mut(pending.consumer).pending.remove(&id);
        true
    }

    /// Bytes on the heap, roughly: tree nodes are taken for two thirds full.
    pub(super) fn heap_bytes(&self) -> usize {
        let entry = size_of::<StreamId>() + size_of::<Pending>() + size_of::<StreamId>();
        let names: usize = self.by_name.keys().map(|name| name.len() * 2).sum();
        let slot = size_of::<Option<Consumer>>() + size_of::<(Box<[u8]>, ConsumerNumber)>() * 3 / 2;
        self.pending.len() * entry * 3 / 2 + self.consumers.capacity() * slot + names
    }

    /// About how many allocations it lies in.
    pub(super) fn allocations(&self) -> usize {
        self.pending.len() / 4 + self.consumers.len() * 3 + 1
    }
}

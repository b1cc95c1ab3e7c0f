//! Walks over a list, from anywhere to either end.

use std::iter::FusedIterator;

use super::chunk::{Chunk, position};
use super::{Chain, Form, List, NodeRef};
use crate::counted_tree::{Backward, Forward};
use crate::listpack::{self, Item};

/// The elements of one node that are still to come.
#[derive(Clone)]
enum Part<'a, P> {
    Packed(P),
    Plain(&'a [u8]),
    None,
}

impl<'a, P: Iterator<Item = Item<'a>>> Part<'a, P> {
    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            Part::Packed(items) => items.next(),
            Part::Plain(element) => {
                let element = Item::Bytes(element);
                *self = Part::None;
                Some(element)
            }
            Part::None => None,
        }
    }
}

/// The nodes from some place on to the last.
#[derive(Clone)]
pub(super) struct Chunks<'a> {
    first: Option<&'a Chunk>,
    middle: Option<Forward<'a, Chunk>>,
    last: Option<&'a Chunk>,
}

impl<'a> Chunks<'a> {
    /// From the node that holds the element of `index`, and its index in there.
    pub(super) fn from(list: &'a List, index: usize) -> (Chunks<'a>, usize) {
        let chain = match &list.form {
            Form::One(chunk) => return (Chunks { first: Some(chunk), middle: None, last: None }, index),
            Form::Many(chain) => chain,
        };
        let Chain { head, middle, tail } = &**chain;
        let Some(index) = index.checked_sub(head.count()) else {
            return (Chunks { first: Some(head), middle: Some(middle.iter_from(0)), last: Some(tail) }, index);
        };
        match middle.place(index) {
            Some(place) => {
                let middle = Some(middle.iter_from(index));
                (Chunks { first: None, middle, last: Some(tail) }, place.offset)
            }
            None => (Chunks { first: None, middle: None, last: Some(tail) }, index - middle.weight()),
        }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a Chunk;

    fn next(&mut self) -> Option<&'a Chunk> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if let Some(middle) = &mut self.middle {
            if let Some(chunk) = middle.next() {
                return Some(chunk);
            }
            self.middle = None;
        }
        self.last.take()
    }
}

/// The nodes from some place back to the first.
#[derive(Clone)]
struct ChunksRev<'a> {
    last: Option<&'a Chunk>,
    middle: Option<Backward<'a, Chunk>>,
    first: Option<&'a Chunk>,
}

impl<'a> ChunksRev<'a> {
    /// From the node that holds the element of `index`, and its index in there.
    fn from(list: &'a List, index: usize) -> (ChunksRev<'a>, usize) {
        let chain = match &list.form {
            Form::One(chunk) => return (ChunksRev { last: Some(chunk), middle: None, first: None }, index),
            Form::Many(chain) => chain,
        };
        let Chain { head, middle, tail } = &**chain;
        let Some(index) = index.checked_sub(head.count()) else {
            return (ChunksRev { last: None, middle: None, first: Some(head) }, index);
        };
        match middle.place(index) {
            Some(place) => {
                let middle = Some(middle.iter_rev_from(index + 1));
                (ChunksRev { last: None, middle, first: Some(head) }, place.offset)
            }
            None => {
                let all = Some(middle.iter_rev_from(middle.weight()));
                (ChunksRev { last: Some(tail), middle: all, first: Some(head) }, index - middle.weight())
            }
        }
    }
}

impl<'a> Iterator for ChunksRev<'a> {
    type Item = &'a Chunk;

    fn next(&mut self) -> Option<&'a Chunk> {
        if let Some(last) = self.last.take() {
            return Some(last);
        }
        if let Some(middle) = &mut self.middle {
            if let Some(chunk) = middle.next() {
                return Some(chunk);
            }
            self.middle = None;
        }
        self.first.take()
    }
}

/// Elements in order; see [`List::iter_from`].
#[derive(Clone)]
pub struct Iter<'a> {
    part: Part<'a, listpack::Iter<'a>>,
    chunks: Chunks<'a>,
    left: usize,
}

impl<'a> Iter<'a> {
    pub(super) fn new(list: &'a List, index: usize) -> Iter<'a> {
        let left = list.len().saturating_sub(index);
        let (mut chunks, offset) = Chunks::from(list, index);
        let part = match chunks.next() {
            Some(Chunk::Packed { pack, .. }) => Part::Packed(pack.iter_from(position(pack, offset))),
            Some(Chunk::Plain(element)) if left > 0 => Part::Plain(element),
            _ => Part::None,
        };
        Iter { part, chunks, left }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(item) = self.part.next() {
                self.left -= 1;
                return Some(item);
            }
            self.part = match self.chunks.next()? {
                Chunk::Packed { pack, .. } => Part::Packed(pack.iter()),
                Chunk::Plain(element) => Part::Plain(element),
            };
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

/// Elements from one back to the first; see [`List::iter_rev_from`].
#[derive(Clone)]
pub struct IterRev<'a> {
    part: Part<'a, listpack::IterRev<'a>>,
    chunks: ChunksRev<'a>,
    left: usize,
}

impl<'a> IterRev<'a> {
    pub(super) fn new(list: &'a List, index: usize) -> IterRev<'a> {
        if list.is_empty() {
            let chunks = ChunksRev { last: None, middle: None, first: None };
            return IterRev { part: Part::None, chunks, left: 0 };
        }
        let index = index.min(list.len() - 1);
        let (mut chunks, offset) = ChunksRev::from(list, index);
        let part = match chunks.next() {
            Some(Chunk::Packed { pack, .. }) => Part::Packed(pack.iter_rev_from(position(pack, offset + 1))),
            Some(Chunk::Plain(element)) => Part::Plain(element),
            None => Part::None,
        };
        IterRev { part, chunks, left: index + 1 }
    }
}

impl<'a> Iterator for IterRev<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(item) = self.part.next() {
                self.left -= 1;
                return Some(item);
            }
            self.part = match self.chunks.next()? {
                Chunk::Packed { pack, .. } => Part::Packed(pack.iter_rev()),
                Chunk::Plain(element) => Part::Plain(element),
            };
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for IterRev<'_> {}
impl FusedIterator for IterRev<'_> {}

/// The nodes of a list in order; see [`List::nodes`].
#[derive(Clone)]
pub struct Nodes<'a> {
    chunks: Chunks<'a>,
    left: usize,
}

impl<'a> Nodes<'a> {
    pub(super) fn new(list: &'a List) -> Nodes<'a> {
        let chunks = Chunks::from(list, 0).0;
        let left = if list.is_empty() { 0 } else { chunks.clone().count() };
        Nodes { chunks, left }
    }
}

impl<'a> Iterator for Nodes<'a> {
    type Item = NodeRef<'a>;

    fn next(&mut self) -> Option<NodeRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(match self.chunks.next()? {
            Chunk::Packed { pack, .. } => NodeRef::Packed(pack),
            Chunk::Plain(element) => NodeRef::Plain(element),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Nodes<'_> {}
impl FusedIterator for Nodes<'_> {}

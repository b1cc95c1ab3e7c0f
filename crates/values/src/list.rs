//! Lists: elements in order, cheap to change at both ends, and found anywhere by skipping.
//!
//! ```text
//!   small     [ listpack ]                                one node and nothing else
//!
//!   large     [ head ]   CountedTree of nodes   [ tail ]  a node is a listpack, or one large element
//! ```
//!
//! **Theory.** A listpack is compact but everything behind a change moves, so it is kept to a few kilobytes and
//! a long list is a sequence of them. The nodes at the two ends lie outside of the tree, because nearly every
//! change of a list is made there: a push or a pop touches one listpack, and the tree only when a node is
//! full or empty. The others are found by their weight, the number of their elements, in a logarithm of
//! their number. An element too large for a node is a node; it is never copied to move a neighbour.
//!
//! A node is never empty, but for the one node of an empty list. What a node may hold is configuration
//! ([`Limits`]); nodes that were made under other limits, or loaded, stay as they are until they change.
//!
//! Not here: compression of inner nodes (`list-compress-depth`), which costs more time than its memory is worth.

mod chunk;
mod iter;

use self::chunk::{Caps, Chunk};
pub use self::chunk::{End, Needle};
pub use self::iter::{Iter, IterRev, Nodes};
use crate::Limits;
use crate::counted_tree::CountedTree;
use crate::dict::prefetch;
use crate::listpack::{Item, Listpack};

/// A list; see the module's text.
#[derive(Clone)]
pub struct List {
    form: Form,
}

#[derive(Clone)]
enum Form {
    One(Chunk),
    Many(Box<Chain>),
}

/// Two nodes or more.
struct Chain {
    head: Chunk,
    middle: CountedTree<Chunk>,
    tail: Chunk,
}

/// A node as it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Neighbours.
    Packed(Listpack),
    /// One large element.
    Plain(Vec<u8>),
}

/// A node as it lies in memory, for those who write it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeRef<'a> {
    /// Neighbours.
    Packed(&'a Listpack),
    /// One large element.
    Plain(&'a [u8]),
}

impl Default for List {
    fn default() -> List {
        List::new()
    }
}

impl Clone for Chain {
    fn clone(&self) -> Chain {
        let middle = CountedTree::from_ordered(self.middle.iter_from(0).cloned());
        Chain { head: self.head.clone(), middle, tail: self.tail.clone() }
    }
}

impl List {
    /// Lets the cache fetch what a look at the value most likely begins with.
    #[inline]
    pub fn prefetch(&self) {
        match &self.form {
            Form::One(Chunk::Packed { pack, .. }) => pack.prefetch(),
            Form::One(Chunk::Plain(_)) => {}
            Form::Many(chain) => prefetch(&raw const **chain),
        }
    }

    /// An empty list.
    pub fn new() -> List {
        List { form: Form::One(Chunk::default()) }
    }

    /// A list of these nodes, which stay as they are; empty ones are left out.
    pub fn from_nodes(nodes: impl IntoIterator<Item = Node>, _limits: &Limits) -> List {
        let chunks = nodes.into_iter().map(|node| match node {
            Node::Packed(pack) => Chunk::packed(pack),
            Node::Plain(element) => Chunk::Plain(element),
        });
        let mut chunks: Vec<Chunk> = chunks.filter(|chunk| !chunk.is_empty()).collect();
        let Some(tail) = chunks.pop() else { return List::new() };
        if chunks.is_empty() {
            return List { form: Form::One(tail) };
        }
        let mut chunks = chunks.into_iter();
        let head = chunks.next().expect("there is one in front of the last");
        let middle = CountedTree::from_ordered(chunks);
        List { form: Form::Many(Box::new(Chain { head, middle, tail })) }
    }

    /// How many elements there are.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::One(chunk) => chunk.count(),
            Form::Many(chain) => chain.head.count() + chain.middle.weight() + chain.tail.count(),
        }
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        matches!(&self.form, Form::One(chunk) if chunk.is_empty())
    }

    /// As OBJECT ENCODING names it: of any length the same, as Redis up to 7.0 does.
    pub fn encoding(&self) -> &'static str {
        "quicklist"
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::One(chunk) => chunk.heap_bytes(),
            Form::Many(chain) => {
                let Chain { head, middle, tail } = &**chain;
                let inner: usize = middle.iter_from(0).map(Chunk::heap_bytes).sum();
                size_of::<Chain>() + middle.heap_bytes() + inner + head.heap_bytes() + tail.heap_bytes()
            }
        }
    }

    /// The nodes, for those who write the list out.
    pub fn nodes(&self) -> Nodes<'_> {
        Nodes::new(self)
    }

    // ---- Looking ------------------------------------------------------------------------------------

    /// The element of `index`.
    pub fn get(&self, index: usize) -> Option<Item<'_>> {
        (index < self.len()).then(|| {
            let (chunk, offset) = self.chunk(index);
            chunk.get(offset)
        })
    }

    /// The first element.
    #[inline]
    pub fn front(&self) -> Option<Item<'_>> {
        match &self.form {
            Form::One(chunk) if chunk.is_empty() => None,
            Form::One(chunk) => Some(chunk.get(0)),
            Form::Many(chain) => Some(chain.head.get(0)),
        }
    }

    /// The last element.
    #[inline]
    pub fn back(&self) -> Option<Item<'_>> {
        let chunk = match &self.form {
            Form::One(chunk) => chunk,
            Form::Many(chain) => &chain.tail,
        };
        Some(chunk.get(chunk.count().checked_sub(1)?))
    }

    /// The element at that end.
    #[inline]
    pub fn peek(&self, end: End) -> Option<Item<'_>> {
        match end {
            End::Front => self.front(),
            End::Back => self.back(),
        }
    }

    /// All elements in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(self, 0)
    }

    /// The elements from that of `index` to the last.
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        Iter::new(self, index)
    }

    /// The elements from the last to the first.
    pub fn iter_rev(&self) -> IterRev<'_> {
        IterRev::new(self, usize::MAX)
    }

    /// The elements from that of `index`, or the last if that is behind it, to the first.
    pub fn iter_rev_from(&self, index: usize) -> IterRev<'_> {
        IterRev::new(self, index)
    }

    /// The index of the first element that is `needle`.
    pub fn position(&self, needle: &Needle<'_>) -> Option<usize> {
        let mut before = 0;
        for chunk in iter::Chunks::from(self, 0).0 {
            if let Some(index) = chunk.position(needle) {
                return Some(before + index);
            }
            before += chunk.count();
        }
        None
    }

    /// The node that holds the element of `index`, which is there, and its index in it.
    fn chunk(&self, index: usize) -> (&Chunk, usize) {
        let chain = match &self.form {
            Form::One(chunk) => return (chunk, index),
            Form::Many(chain) => chain,
        };
        let Some(index) = index.checked_sub(chain.head.count()) else { return (&chain.head, index) };
        match chain.middle.place(index) {
            Some(place) => (&place.items[place.slot], place.offset),
            None => (&chain.tail, index - chain.middle.weight()),
        }
    }

    // ---- Changes ------------------------------------------------------------------------------------

    /// Adds an element behind the last.
    #[inline]
    pub fn push_back(&mut self, element: &[u8], limits: &Limits) {
        let caps = Caps::of(limits);
        let last = match &mut self.form {
            Form::One(chunk) => chunk,
            Form::Many(chain) => &mut chain.tail,
        };
        if !last.push_back(element, &caps) {
            self.insert_chunk(self.len(), Chunk::of(element, &caps));
        }
    }

    /// Adds an element before the first.
    #[inline]
    pub fn push_front(&mut self, element: &[u8], limits: &Limits) {
        let caps = Caps::of(limits);
        let first = match &mut self.form {
            Form::One(chunk) => chunk,
            Form::Many(chain) => &mut chain.head,
        };
        if !first.push_front(element, &caps) {
            self.insert_chunk(0, Chunk::of(element, &caps));
        }
    }

    /// Adds an element at that end.
    #[inline]
    pub fn push(&mut self, end: End, element: &[u8], limits: &Limits) {
        match end {
            End::Front => self.push_front(element, limits),
            End::Back => self.push_back(element, limits),
        }
    }

    /// Puts an element before that of `index`, or at the end.
    ///
    /// # Panics
    /// If `index` is behind the end.
    pub fn insert(&mut self, index: usize, element: &[u8], limits: &Limits) {
        assert!(index <= self.len(), "an element is put between others or at the end");
        if index == 0 {
            return self.push_front(element, limits);
        }
        if index == self.len() {
            return self.push_back(element, limits);
        }
        let caps = Caps::of(limits);
        if self.edit(index, |chunk, offset| chunk.insert(offset, element, &caps)) {
            return;
        }
        let (_, offset) = self.chunk(index);
        if offset > 0 {
            let rest = self.edit(index, Chunk::split_off);
            self.insert_chunk(index, rest);
        }
        // Between two nodes, the element goes to the end of one, to the start of the other, or stands alone.
        if !self.edit(index - 1, |chunk, _| chunk.push_back(element, &caps))
            && !self.edit(index, |chunk, _| chunk.push_front(element, &caps))
        {
            self.insert_chunk(index, Chunk::of(element, &caps));
        }
    }

    /// Puts another element in the place of that of `index`; false if there is none.
    pub fn set(&mut self, index: usize, element: &[u8], limits: &Limits) -> bool {
        if index >= self.len() {
            return false;
        }
        let caps = Caps::of(limits);
        if !self.edit(index, |chunk, offset| chunk.replace(offset, element, &caps)) {
            self.edit(index, |chunk, offset| chunk.remove(offset, 1));
            self.insert(index, element, limits);
        }
        true
    }

    /// Removes up to `count` elements at that end.
    #[inline]
    pub fn remove(&mut self, end: End, count: usize) {
        match end {
            End::Front => self.remove_front(count),
            End::Back => self.remove_back(count),
        }
    }

    /// Removes up to `count` elements from the first on.
    pub fn remove_front(&mut self, mut count: usize) {
        while count > 0 && !self.is_empty() {
            let held = self.chunk(0).0.count();
            self.edit(0, |chunk, _| chunk.remove(0, count));
            count = count.saturating_sub(held);
        }
    }

    /// Removes up to `count` elements from the last back.
    pub fn remove_back(&mut self, mut count: usize) {
        while count > 0 && !self.is_empty() {
            let last = self.len() - 1;
            let held = self.chunk(last).0.count();
            self.edit(last, |chunk, _| chunk.remove(held.saturating_sub(count), count));
            count = count.saturating_sub(held);
        }
    }

    /// Removes up to `most` elements that are `needle`, as counted from that end, and returns how many there were.
    pub fn remove_matching(&mut self, needle: &Needle<'_>, most: usize, end: End, limits: &Limits) -> usize {
        let caps = Caps::of(limits);
        let mut gone = 0;
        // What lies before (or, counted from the back, behind) `at` has been looked through.
        let mut at = if end == End::Front { 0 } else { self.len() };
        loop {
            let inside = if end == End::Front { Some(at).filter(|&at| at < self.len()) } else { at.checked_sub(1) };
            let Some(inside) = inside.filter(|_| gone < most) else { return gone };
            let (chunk, offset) = self.chunk(inside);
            let (start, held) = (inside - offset, chunk.count());
            let mut here = 0;
            if chunk.has(needle) {
                here = self.edit(start, |chunk, _| chunk.remove_matching(needle, most - gone, end));
                gone += here;
                self.join(start, &caps);
            }
            at = if end == End::Front { start + held - here } else { start };
        }
    }

    /// Changes the node that holds the element of `index`, which is told its index in there. A node that is empty
    /// afterwards is dropped.
    #[inline]
    fn edit<R>(&mut self, index: usize, change: impl FnOnce(&mut Chunk, usize) -> R) -> R {
        let chain = match &mut self.form {
            Form::One(chunk) => return change(chunk, index),
            Form::Many(chain) => chain,
        };
        let (result, gap) = match index.checked_sub(chain.head.count()) {
            None => {
                let result = change(&mut chain.head, index);
                (result, chain.head.is_empty())
            }
            Some(index) if index < chain.middle.weight() => {
                let result = chain.middle.update(index, change).expect("the index is in the tree");
                (result, false)
            }
            Some(index) => {
                let result = change(&mut chain.tail, index - chain.middle.weight());
                (result, chain.tail.is_empty())
            }
        };
        if gap {
            self.close_gap();
        }
        result
    }

    /// Puts the next node in the place of an end that is empty.
    #[cold]
    fn close_gap(&mut self) {
        let Form::Many(chain) = &mut self.form else { return };
        let Chain { head, middle, tail } = &mut **chain;
        let left = if head.is_empty() {
            match middle.remove_at(0) {
                Some(next) => {
                    *head = next;
                    return;
                }
                None => tail,
            }
        } else {
            match middle.weight().checked_sub(1).and_then(|last| middle.remove_at(last)) {
                Some(next) => {
                    *tail = next;
                    return;
                }
                None => head,
            }
        };
        self.form = Form::One(std::mem::take(left));
    }

    /// Puts a node where `at` is the number of elements in front of it, between two others or at an end.
    #[cold]
    fn insert_chunk(&mut self, at: usize, chunk: Chunk) {
        let chain = match &mut self.form {
            Form::One(only) => {
                let only = std::mem::take(only);
                let (head, tail) = if at == 0 { (chunk, only) } else { (only, chunk) };
                self.form = Form::Many(Box::new(Chain { head, middle: CountedTree::new(), tail }));
                return;
            }
            Form::Many(chain) => chain,
        };
        let Chain { head, middle, tail } = &mut **chain;
        if at == 0 {
            let next = std::mem::replace(head, chunk);
            middle.insert_at(0, next);
        } else if at == head.count() + middle.weight() + tail.count() {
            let previous = std::mem::replace(tail, chunk);
            middle.insert_at(middle.weight(), previous);
        } else {
            middle.insert_at(at - head.count(), chunk);
        }
    }

    /// Joins the inner node that starts at `index` with the one behind or before it, if they are small enough.
    fn join(&mut self, index: usize, caps: &Caps) {
        let Form::Many(chain) = &mut self.form else { return };
        let middle = &mut chain.middle;
        let Some(start) = index.checked_sub(chain.head.count()) else { return };
        let Some(place) = middle.place(start).filter(|place| place.items[place.slot].is_sparse(caps)) else { return };
        let chunk = &place.items[place.slot];
        let behind = start + chunk.count();
        let next = place.items.get(place.slot + 1).filter(|next| chunk.can_absorb(next, caps));
        let previous = place.slot.checked_sub(1).map(|slot| &place.items[slot]);
        let second = match (next, previous.filter(|previous| previous.can_absorb(chunk, caps))) {
            (Some(_), _) => behind,
            (None, Some(_)) => start,
            (None, None) => return,
        };
        let second = middle.remove_at(second).map(|chunk| (second, chunk));
        if let Some((at, second)) = second {
            middle.update(at - 1, |first, _| first.absorb(&second));
        }
    }
}

#[cfg(test)]
mod tests;

//! A sequence that knows its positions: a B+ tree of items that carry weights and may be in order.
//!
//! Sorted sets put one item a member into it, each of weight 1, in order of score and member; lists put
//! their nodes into it, each weighing as many elements as it holds. Both ask the same question: where is
//! the element with that many elements in front?
//!
//! ```text
//!   branch   [ first key, weight, ● │ first key, weight, ● │ … ]        up to 63 children
//!                                ▼
//!   leaf     [ item │ item │ item │ … ]                                 up to 63 items
//! ```
//!
//! **Theory.** Each child is listed with its smallest key and the sum of its weights, so that a search by key
//! and a search by weight both read one array a level. Whoever changes a leaf mends the arrays on the
//! way back. A node that reaches [`FULL`] is split in the middle, but at the sequence's two ends it is split
//! behind (or before) everything, so that what arrives in order leaves full nodes. A node below half joins
//! a neighbour when both fit comfortably into one; nothing is ever moved just for balance, and still two
//! neighbours together hold half of what they could. Arrays grow along the allocator's size classes, so
//! a half-full node costs half a node.
//!
//! Not here: what the items own, what order means (callers bring predicates), and duplicates.

use crate::size_class::size_class;

/// A node of so many items or children is split.
const FULL: usize = 64;
/// Two neighbours that together stay at or below this become one.
const COMFORTABLE: usize = FULL * 7 / 8;

/// What a tree holds.
pub(crate) trait Weighed {
    /// By what the items are in order, if they are.
    type Key: Copy;
    /// Whether every item weighs 1, which makes weights positions.
    const UNIT: bool;

    /// The key.
    fn key(&self) -> Self::Key;

    /// The weight; never 0 while the item is in a tree.
    fn weight(&self) -> usize;
}

/// The tree; see the module's text.
pub(crate) struct CountedTree<T: Weighed> {
    root: Body<T>,
    weight: usize,
}

enum Body<T: Weighed> {
    Leaf(Vec<T>),
    Branch(Vec<Child<T>>),
}

/// A node as its parent lists it.
struct Child<T: Weighed> {
    /// The smallest key below.
    first: T::Key,
    /// The sum of all weights below.
    weight: usize,
    body: Body<T>,
}

/// A leaf and a place in it.
pub(crate) struct Place<'a, T> {
    /// The leaf's items.
    pub(crate) items: &'a [T],
    /// Which of them was sought.
    pub(crate) slot: usize,
    /// By how much the sought weight lies inside of that item.
    pub(crate) offset: usize,
    /// The weight of everything in front of the leaf.
    pub(crate) start: usize,
}

/// A way to go down the tree.
trait Seek<T: Weighed> {
    /// Which of the children to enter; there is at least one.
    fn child(&mut self, children: &[Child<T>]) -> usize;
    /// Which place in the leaf is meant.
    fn slot(&mut self, items: &[T]) -> usize;
}

/// To the last item for which the predicate holds, when `behind` is 1; to the place behind it when 0.
struct ByKey<P> {
    holds: P,
    back: usize,
}

impl<T: Weighed, P: Fn(T::Key) -> bool> Seek<T> for ByKey<P> {
    #[inline]
    fn child(&mut self, children: &[Child<T>]) -> usize {
        children.partition_point(|child| (self.holds)(child.first)).saturating_sub(1)
    }

    #[inline]
    fn slot(&mut self, items: &[T]) -> usize {
        items.partition_point(|item| (self.holds)(item.key())).wrapping_sub(self.back)
    }
}

/// To the item that has the weight `left` inside of it, which must be less than the tree's; what is left
/// behind is the offset in the item.
struct Inside {
    left: usize,
}

impl<T: Weighed> Seek<T> for Inside {
    #[inline]
    fn child(&mut self, children: &[Child<T>]) -> usize {
        skip(&mut self.left, children.iter().map(|child| child.weight), |left, weight| left < weight)
    }

    #[inline]
    fn slot(&mut self, items: &[T]) -> usize {
        if T::UNIT {
            return std::mem::take(&mut self.left);
        }
        skip(&mut self.left, items.iter().map(T::weight), |left, weight| left < weight)
    }
}

/// To the gap between two items that has the weight `left` in front of it.
struct Between {
    left: usize,
}

impl<T: Weighed> Seek<T> for Between {
    #[inline]
    fn child(&mut self, children: &[Child<T>]) -> usize {
        skip(&mut self.left, children.iter().map(|child| child.weight), |left, weight| left <= weight)
    }

    #[inline]
    fn slot(&mut self, items: &[T]) -> usize {
        if T::UNIT {
            return std::mem::take(&mut self.left);
        }
        let slot = skip(&mut self.left, items.iter().map(T::weight), |left, weight| left < weight);
        assert_eq!(self.left, 0, "an item is put between others and not into one");
        slot
    }
}

/// Takes weights off `left` until `stops`, and returns how many were taken.
#[inline]
fn skip(left: &mut usize, weights: impl Iterator<Item = usize>, stops: impl Fn(usize, usize) -> bool) -> usize {
    let mut skipped = 0;
    for weight in weights {
        if stops(*left, weight) {
            break;
        }
        *left -= weight;
        skipped += 1;
    }
    skipped
}

/// On which ends of the whole sequence a node lies.
#[derive(Clone, Copy)]
struct Edges {
    left: bool,
    right: bool,
}

impl Edges {
    /// Where to cut a full node whose newest part is at `newest`.
    fn cut(self, newest: usize, len: usize) -> usize {
        if self.right && newest + 1 == len {
            len - 1
        } else if self.left && newest <= 1 {
            1
        } else {
            len / 2
        }
    }
}

/// What became of a node, for its parent.
struct Edited<T: Weighed, R> {
    result: R,
    /// By how much its weight changed.
    gain: isize,
    /// Whether its first key may have changed.
    is_new_front: bool,
    /// What was cut off behind it.
    sibling: Option<Child<T>>,
}

impl<T: Weighed> Default for CountedTree<T> {
    fn default() -> CountedTree<T> {
        CountedTree::new()
    }
}

impl<T: Weighed> CountedTree<T> {
    /// An empty tree; allocates nothing.
    pub(crate) const fn new() -> CountedTree<T> {
        CountedTree { root: Body::Leaf(Vec::new()), weight: 0 }
    }

    /// A tree of items that are in their order already, its nodes comfortably full.
    pub(crate) fn from_ordered(items: impl IntoIterator<Item = T>) -> CountedTree<T> {
        let mut items = items.into_iter();
        let mut level: Vec<Child<T>> = Vec::new();
        loop {
            let leaf = exact(items.by_ref().take(COMFORTABLE));
            if leaf.is_empty() {
                break;
            }
            level.push(Child::of(Body::Leaf(leaf)));
        }
        while level.len() > 1 {
            let mut below = level.into_iter();
            level = Vec::new();
            while below.len() > 0 {
                level.push(Child::of(Body::Branch(exact(below.by_ref().take(COMFORTABLE)))));
            }
        }
        level.pop().map_or_else(CountedTree::new, |root| CountedTree { root: root.body, weight: root.weight })
    }

    /// The sum of all weights.
    #[inline]
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// The place of the item that has the weight `at` inside of it; `None` at the end and behind.
    pub(crate) fn place(&self, at: usize) -> Option<Place<'_, T>> {
        if at >= self.weight {
            return None;
        }
        let mut seek = Inside { left: at };
        let mut body = &self.root;
        loop {
            match body {
                Body::Branch(children) => body = &children[Seek::<T>::child(&mut seek, children)].body,
                Body::Leaf(items) => {
                    let start = at - seek.left;
                    let slot = seek.slot(items);
                    return Some(Place { items, slot, offset: seek.left, start });
                }
            }
        }
    }

    /// The weight of the items for which `holds`; it must hold for those up to some key and for none behind.
    pub(crate) fn weight_where(&self, holds: impl Fn(T::Key) -> bool) -> usize {
        let mut seek = ByKey { holds, back: 0 };
        let mut before = 0;
        let mut body = &self.root;
        loop {
            match body {
                Body::Branch(children) => {
                    let index = Seek::<T>::child(&mut seek, children);
                    before += children[..index].iter().map(|child| child.weight).sum::<usize>();
                    body = &children[index].body;
                }
                Body::Leaf(items) => {
                    let slot = seek.slot(items);
                    return before + if T::UNIT { slot } else { items[..slot].iter().map(T::weight).sum::<usize>() };
                }
            }
        }
    }

    /// Puts an item behind those for which `holds`.
    pub(crate) fn insert_where(&mut self, holds: impl Fn(T::Key) -> bool, item: T) {
        self.edit(&mut ByKey { holds, back: 0 }, |items, slot| ((), put(items, slot, item)));
    }

    /// Puts an item where `at` is the weight in front of it.
    pub(crate) fn insert_at(&mut self, at: usize, item: T) {
        assert!(at <= self.weight);
        self.edit(&mut Between { left: at }, |items, slot| ((), put(items, slot, item)));
    }

    /// Takes out the last item for which `holds`.
    pub(crate) fn remove_where(&mut self, holds: impl Fn(T::Key) -> bool) -> Option<T> {
        self.edit(&mut ByKey { holds, back: 1 }, take)
    }

    /// Takes out the item that has the weight `at` inside of it.
    pub(crate) fn remove_at(&mut self, at: usize) -> Option<T> {
        if at >= self.weight {
            return None;
        }
        self.edit(&mut Inside { left: at }, take)
    }

    /// Takes out the items from the weight `range.start` to `range.end`, neither of which may lie inside of an
    /// item, and hands them to `taken`. Costs as much as finding the two ends, and a step for each item.
    pub(crate) fn remove_range(&mut self, range: std::ops::Range<usize>, mut taken: impl FnMut(T)) {
        assert!(range.end <= self.weight, "the range ends at {} of {}", range.end, self.weight);
        if range.is_empty() {
            return;
        }
        self.weight -= range.len();
        if self.weight == 0 {
            return std::mem::replace(&mut self.root, Body::Leaf(Vec::new())).drain(&mut taken);
        }
        self.root.remove_range(range, &mut taken);
        self.lower();
    }

    /// Offers the last item for which `holds`, with its neighbours as far as they are at hand (in the same
    /// leaf), to be changed in its place, without changing its weight.
    pub(crate) fn adjust_where<R>(
        &mut self,
        holds: impl Fn(T::Key) -> bool,
        adjust: impl FnOnce(Option<T::Key>, &mut T, Option<T::Key>) -> R,
    ) -> Option<R> {
        self.edit(&mut ByKey { holds, back: 1 }, |items, slot| {
            let before = slot.checked_sub(1).and_then(|slot| items.get(slot)).map(T::key);
            let behind = items.get(slot.wrapping_add(1)).map(T::key);
            (items.get_mut(slot).map(|item| adjust(before, item, behind)), 0)
        })
    }

    /// Changes the item that has the weight `at` inside of it; the change is also told how far inside. An item
    /// that weighs nothing afterwards is dropped.
    pub(crate) fn update<R>(&mut self, at: usize, change: impl FnOnce(&mut T, usize) -> R) -> Option<R> {
        if at >= self.weight {
            return None;
        }
        let mut seek = Inside { left: at };
        // The offset is what the search leaves over, hence known only once it has ended.
        let offset = self.place(at).map_or(0, |place| place.offset);
        Some(self.edit(&mut seek, |items, slot| {
            let item = &mut items[slot];
            let before = item.weight();
            let result = change(item, offset);
            let after = item.weight();
            if after == 0 {
                items.remove(slot);
            }
            (result, after as isize - before as isize)
        }))
    }

    /// The items from the one that has the weight `at` inside of it to the last.
    pub(crate) fn iter_from(&self, at: usize) -> Forward<'_, T> {
        Forward { tree: self, items: [].iter(), next: at }
    }

    /// The items from the one that has the weight before `end` inside of it to the first.
    pub(crate) fn iter_rev_from(&self, end: usize) -> Backward<'_, T> {
        Backward { tree: self, items: [].iter(), end }
    }

    /// Bytes on the heap, those of the items not counted.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }

    /// Seeks a place in a leaf, lets `change` change the leaf there, and mends the way back. `change` returns its
    /// result and by how much the leaf's weight changed.
    #[inline]
    fn edit<R>(&mut self, seek: &mut impl Seek<T>, change: impl FnOnce(&mut Vec<T>, usize) -> (R, isize)) -> R {
        let edited = self.root.edit(seek, change, Edges { left: true, right: true });
        self.weight = self.weight.wrapping_add_signed(edited.gain);
        if let Some(sibling) = edited.sibling {
            let left = std::mem::replace(&mut self.root, Body::Leaf(Vec::new()));
            let left = Child { first: left.first(), weight: self.weight - sibling.weight, body: left };
            self.root = Body::Branch(exact([left, sibling]));
        }
        self.lower();
        edited.result
    }

    /// Takes away roots that only hold another.
    #[inline]
    fn lower(&mut self) {
        while let Body::Branch(children) = &mut self.root
            && children.len() <= 1
        {
            self.root = children.pop().map_or(Body::Leaf(Vec::new()), |child| child.body);
        }
    }
}

impl<T: Weighed> Child<T> {
    /// A node that is not empty, with what its parent has to know.
    fn of(body: Body<T>) -> Child<T> {
        let weight = match &body {
            Body::Leaf(items) if T::UNIT => items.len(),
            Body::Leaf(items) => items.iter().map(T::weight).sum(),
            Body::Branch(children) => children.iter().map(|child| child.weight).sum(),
        };
        Child { first: body.first(), weight, body }
    }
}

impl<T: Weighed> Body<T> {
    fn len(&self) -> usize {
        match self {
            Body::Leaf(items) => items.len(),
            Body::Branch(children) => children.len(),
        }
    }

    fn first(&self) -> T::Key {
        match self {
            Body::Leaf(items) => items[0].key(),
            Body::Branch(children) => children[0].first,
        }
    }

    fn edit<R>(
        &mut self,
        seek: &mut impl Seek<T>,
        change: impl FnOnce(&mut Vec<T>, usize) -> (R, isize),
        edges: Edges,
    ) -> Edited<T, R> {
        match self {
            Body::Leaf(items) => {
                let slot = seek.slot(items);
                let (result, gain) = change(items, slot);
                let sibling = (items.len() >= FULL).then(|| {
                    let cut = edges.cut(slot, items.len());
                    Child::of(Body::Leaf(split_off(items, cut)))
                });
                shrink(items);
                Edited { result, gain, is_new_front: slot == 0, sibling }
            }
            Body::Branch(children) => {
                let index = seek.child(children);
                let last = children.len() - 1;
                let below = Edges { left: edges.left && index == 0, right: edges.right && index == last };
                let edited = children[index].body.edit(seek, change, below);
                let is_new_front = edited.is_new_front && index == 0;
                mend(children, index, &edited);
                let newest = index + usize::from(edited.sibling.is_some());
                if let Some(sibling) = edited.sibling {
                    children[index].weight -= sibling.weight;
                    reserve(children);
                    children.insert(index + 1, sibling);
                }
                let sibling = (children.len() >= FULL).then(|| {
                    let cut = edges.cut(newest, children.len());
                    Child::of(Body::Branch(split_off(children, cut)))
                });
                shrink(children);
                Edited { result: edited.result, gain: edited.gain, is_new_front, sibling }
            }
        }
    }

    /// Takes out the items of a range that is not everything, so that no node is left empty.
    fn remove_range(&mut self, range: std::ops::Range<usize>, taken: &mut impl FnMut(T)) {
        match self {
            Body::Leaf(items) => {
                let slot = |weight| {
                    let mut seek = Between { left: weight };
                    Seek::<T>::slot(&mut seek, items)
                };
                let slots = slot(range.start)..slot(range.end);
                items.drain(slots).for_each(taken);
                shrink(items);
            }
            Body::Branch(children) => {
                let mut start = 0;
                // Of the children that the range meets, those at its two ends may keep something.
                let mut emptied = 0..0;
                let mut seam = 0;
                for (index, child) in children.iter_mut().enumerate() {
                    let end = start + child.weight;
                    let part = range.start.max(start)..range.end.min(end);
                    if part.len() == child.weight {
                        std::mem::replace(&mut child.body, Body::Leaf(Vec::new())).drain(taken);
                        emptied.start = if emptied.is_empty() { index } else { emptied.start };
                        emptied.end = index + 1;
                    } else if !part.is_empty() {
                        child.body.remove_range(part.start - start..part.end - start, taken);
                        child.weight -= part.len();
                        child.first = child.body.first();
                    }
                    if start <= range.start {
                        seam = index;
                    }
                    if end >= range.end {
                        break;
                    }
                    start = end;
                }
                children.drain(emptied);
                for index in [seam + 1, seam, seam.wrapping_sub(1)] {
                    join_if_small(children, index);
                }
                shrink(children);
            }
        }
    }

    /// Hands all items to `taken`.
    fn drain(self, taken: &mut impl FnMut(T)) {
        match self {
            Body::Leaf(items) => items.into_iter().for_each(taken),
            Body::Branch(children) => children.into_iter().for_each(|child| child.body.drain(taken)),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Body::Leaf(items) => items.capacity() * size_of::<T>(),
            Body::Branch(children) => {
                let below: usize = children.iter().map(|child| child.body.heap_bytes()).sum();
                below + children.capacity() * size_of::<Child<T>>()
            }
        }
    }
}

/// Writes down what an edit below `children[index]` changed there, and removes or joins that child if it has
/// become empty or small.
fn mend<T: Weighed, R>(children: &mut Vec<Child<T>>, index: usize, edited: &Edited<T, R>) {
    let child = &mut children[index];
    child.weight = child.weight.wrapping_add_signed(edited.gain);
    let len = child.body.len();
    if len == 0 {
        children.remove(index);
        return;
    }
    if edited.is_new_front {
        child.first = child.body.first();
    }
    if edited.gain < 0 {
        join_if_small(children, index);
    }
}

/// Joins the child at `index`, if there is one and it is below half, with a neighbour that has room.
fn join_if_small<T: Weighed>(children: &mut Vec<Child<T>>, index: usize) {
    let Some(len) = children.get(index).map(|child| child.body.len()).filter(|&len| len < FULL / 2) else { return };
    let fits =
        |left: usize, right: &[Child<T>]| right.first().is_some_and(|right| left + right.body.len() <= COMFORTABLE);
    if fits(len, &children[index + 1..]) {
        join(children, index);
    } else if index > 0 && fits(children[index - 1].body.len(), &children[index..]) {
        join(children, index - 1);
    }
}

/// Moves what is in the child behind `index` to the end of the child at `index`.
fn join<T: Weighed>(children: &mut Vec<Child<T>>, index: usize) {
    let right = children.remove(index + 1);
    let left = &mut children[index];
    left.weight += right.weight;
    match (&mut left.body, right.body) {
        (Body::Leaf(left), Body::Leaf(right)) => append(left, right),
        (Body::Branch(left), Body::Branch(right)) => append(left, right),
        _ => unreachable!("all leaves lie equally deep"),
    }
}

fn append<E>(left: &mut Vec<E>, right: Vec<E>) {
    left.reserve_exact(classed::<E>(left.len() + right.len()) - left.len());
    left.extend(right);
}

#[inline]
fn put<T: Weighed>(items: &mut Vec<T>, slot: usize, item: T) -> isize {
    let weight = item.weight();
    debug_assert!(weight > 0);
    reserve(items);
    items.insert(slot, item);
    weight as isize
}

#[inline]
fn take<T: Weighed>(items: &mut Vec<T>, slot: usize) -> (Option<T>, isize) {
    if slot >= items.len() {
        return (None, 0);
    }
    let item = items.remove(slot);
    let weight = item.weight();
    (Some(item), -(weight as isize))
}

/// How many elements fit into the allocator's class for `len` of them.
fn classed<E>(len: usize) -> usize {
    (size_class(len * size_of::<E>()) / size_of::<E>()).max(len)
}

/// Makes room for one more.
#[inline]
fn reserve<E>(elements: &mut Vec<E>) {
    if elements.len() == elements.capacity() {
        elements.reserve_exact(classed::<E>(elements.len() + 1) - elements.len());
    }
}

/// Gives memory back when half of it is unused.
#[inline]
fn shrink<E>(elements: &mut Vec<E>) {
    if elements.len() * 2 < elements.capacity() {
        elements.shrink_to(classed::<E>(elements.len()));
    }
}

fn exact<E>(elements: impl IntoIterator<Item = E>) -> Vec<E> {
    let mut vec: Vec<E> = elements.into_iter().collect();
    vec.shrink_to(classed::<E>(vec.len()));
    vec
}

/// Cuts off the elements from `at` on, and leaves both parts in fitting arrays.
fn split_off<E>(elements: &mut Vec<E>, at: usize) -> Vec<E> {
    let mut right = Vec::with_capacity(classed::<E>(elements.len() - at));
    right.extend(elements.drain(at..));
    elements.shrink_to(classed::<E>(elements.len()));
    right
}

/// Items from some place on.
#[derive(Clone)]
pub(crate) struct Forward<'a, T: Weighed> {
    tree: &'a CountedTree<T>,
    items: std::slice::Iter<'a, T>,
    /// The weight in front of what comes behind `items`.
    next: usize,
}

impl<'a, T: Weighed> Iterator for Forward<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        if let Some(item) = self.items.next() {
            return Some(item);
        }
        // Looking the next leaf up costs as much as a step of the walk in fifty.
        let place = self.tree.place(self.next)?;
        let weight: usize = if T::UNIT { place.items.len() } else { place.items.iter().map(T::weight).sum() };
        self.next = place.start + weight;
        self.items = place.items[place.slot..].iter();
        self.items.next()
    }
}

/// Items from some place back to the first.
#[derive(Clone)]
pub(crate) struct Backward<'a, T: Weighed> {
    tree: &'a CountedTree<T>,
    items: std::slice::Iter<'a, T>,
    /// The weight in front of `items`, behind which the rest ends.
    end: usize,
}

impl<'a, T: Weighed> Iterator for Backward<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        if let Some(item) = self.items.next_back() {
            return Some(item);
        }
        let place = self.tree.place(self.end.checked_sub(1)?)?;
        self.end = place.start;
        self.items = place.items[..=place.slot].iter();
        self.items.next_back()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An item that weighs what it says.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Load(usize);

    impl Weighed for Load {
        type Key = ();
        const UNIT: bool = false;
        fn key(&self) {}
        fn weight(&self) -> usize {
            self.0
        }
    }

    /// An item in order.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    struct Number(u32);

    impl Weighed for Number {
        type Key = u32;
        const UNIT: bool = true;
        fn key(&self) -> u32 {
            self.0
        }
        fn weight(&self) -> usize {
            1
        }
    }

    /// The depth below; weights and first keys are right, and no node is empty or overfull.
    fn depth<T: Weighed<Key: PartialEq + std::fmt::Debug>>(body: &Body<T>) -> usize {
        assert!(body.len() < FULL);
        let Body::Branch(children) = body else { return 0 };
        let depths = children.iter().map(|child| {
            assert!(child.body.len() > 0);
            assert_eq!(child.first, child.body.first());
            let weight: usize = match &child.body {
                Body::Leaf(items) => items.iter().map(T::weight).sum(),
                Body::Branch(children) => children.iter().map(|child| child.weight).sum(),
            };
            assert_eq!(child.weight, weight);
            depth(&child.body)
        });
        let depths: Vec<usize> = depths.collect();
        assert!(depths.windows(2).all(|pair| pair[0] == pair[1]), "all leaves lie equally deep");
        depths[0] + 1
    }

    fn check<T: Weighed<Key: PartialEq + std::fmt::Debug>>(tree: &CountedTree<T>) {
        depth(&tree.root);
        assert_eq!(tree.iter_from(0).map(T::weight).sum::<usize>(), tree.weight());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn ranges_are_removed_as_from_a_vector(
            len in 0usize..12_000, cuts in prop::collection::vec((any::<usize>(), 0usize..5000), 0..12), adds in 0u32..3,
        ) {
            let mut model: Vec<Number> = (0..len as u32).map(|number| Number(number * 2)).collect();
            let mut tree = CountedTree::from_ordered(model.iter().copied());
            for (start, count) in cuts {
                let start = start % (model.len() + 1);
                let end = (start + count).min(model.len());
                let mut taken = Vec::new();
                tree.remove_range(start..end, |number| taken.push(number));
                prop_assert_eq!(taken, model.drain(start..end).collect::<Vec<_>>());
                check(&tree);
                for add in 0..adds {
                    let number = Number(start as u32 * 2 + add * 700 + 1);
                    if let Err(at) = model.binary_search(&number) {
                        model.insert(at, number);
                        tree.insert_where(|key| key < number.0, number);
                    }
                }
                check(&tree);
                prop_assert_eq!(tree.iter_from(0).copied().collect::<Vec<_>>(), model.clone());
            }
        }

        #[test]
        fn weights_say_where_an_item_is(loads in prop::collection::vec(1usize..9, 1..3000), at in any::<usize>()) {
            let mut tree = CountedTree::new();
            for load in &loads {
                tree.insert_at(tree.weight(), Load(*load));
            }
            check(&tree);
            let at = at % tree.weight();
            let (mut index, mut before) = (0, 0);
            while before + loads[index] <= at {
                before += loads[index];
                index += 1;
            }
            let place = tree.place(at).unwrap();
            prop_assert_eq!((place.items[place.slot], place.offset), (Load(loads[index]), at - before));
            let end: usize = loads[..=index].iter().sum();
            tree.remove_range(before..end, |_| {});
            check(&tree);
            let expected: Vec<Load> =
                loads.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, load)| Load(*load)).collect();
            prop_assert_eq!(tree.iter_from(0).copied().collect::<Vec<_>>(), expected.clone());
            let backwards: Vec<Load> = tree.iter_rev_from(tree.weight()).copied().collect();
            prop_assert_eq!(backwards, expected.into_iter().rev().collect::<Vec<_>>());
        }
    }
}

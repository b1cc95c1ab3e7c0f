//! The hash table of the product: for the keys of each slot, the fields of hashes, the members of sets.
//!
//! Eight bytes a cell: a 48-bit pointer to a heap item, and 16 bits of the item's hash above it.
//!
//! ```text
//!  hash   ┌── depth ──┬────── tag: 16 bits ──────┬─── rest ───┐
//!         │ segment   │ home cell, and the order │            │
//!
//!  cells  [ tag 3 │ · │ tag 9 │ tag 9 │ tag 12 │ · │ · │ tag 40 │ … ]     sorted by tag
//! ```
//!
//! Cells are *ordered by hash*: an item lies at or behind the home that its tag maps to, and tags never
//! fall from left to right. So a search ends at the first larger tag, deleting needs no tombstones, and a
//! scan's cursor is a position in hash space that means the same whatever grows, splits or shrinks in
//! between. A table of up to 15 items is a sorted array. Sizes follow the allocator's classes in steps of
//! about a fifth, and a segment never has more than 511 cells: a larger table is a directory of segments
//! chosen by the hash's first bits (extendible hashing, Fagin et al. 1979). No operation ever touches more
//! than one segment's items; doubling the directory copies pointers only.

mod key;

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use quorate_stdx::Rng;

use self::key::are_equal;
pub use self::key::hash_bytes;
use crate::size_class::size_class;

/// Where a scan meets the item of that hash; scans go upwards.
#[inline]
pub fn position(hash: u64) -> u64 {
    hash
}

/// An owned heap item that is one pointer wide.
///
/// # Safety
/// `into_raw` gives up ownership of a unique pointer of at most 48 bits, which stays valid until
/// `from_raw` takes it back; `body` and `key` of such a pointer may be borrowed until then.
pub unsafe trait Item: Sized {
    /// What a borrowed item is seen as.
    type Body: ?Sized;
    /// Gives up ownership.
    fn into_raw(self) -> NonNull<u8>;
    /// Takes ownership back.
    ///
    /// # Safety
    /// The pointer came from `into_raw`, and nobody else takes it back.
    unsafe fn from_raw(raw: NonNull<u8>) -> Self;
    /// Borrows an item.
    ///
    /// # Safety
    /// The pointer came from `into_raw` and is not taken back during `'a`.
    unsafe fn body<'a>(raw: NonNull<u8>) -> &'a Self::Body;
    /// The key by which it is found.
    fn key(body: &Self::Body) -> &[u8];
}

const POINTER: u64 = (1 << 48) - 1;
/// A table of so many cells or fewer is a sorted array without homes.
const ARRAY: usize = 15;
/// A segment of so many cells is split and not grown.
const SEGMENT: usize = 511;
/// Behind so many split bits, hashes that still agree are equal: the segment grows instead.
const DEEPEST: u32 = 32;

/// A hash table; see the module's text.
pub struct Dict<T: Item> {
    /// Zero if empty; a pointer to a segment, with its number of cells in the 16 bits above, so that a search need not ask the
    /// segment; or a pointer to a directory, and then the lowest bit is set.
    root: u64,
    len: usize,
    items: PhantomData<T>,
}

// SAFETY: a Dict owns its items, and nothing in it is shared.
unsafe impl<T: Item + Send> Send for Dict<T> {}
// SAFETY: through a shared reference items are only read.
unsafe impl<T: Item + Sync> Sync for Dict<T> {}

struct Directory {
    /// 2^depth pointers; a segment of lesser depth stands several times in a row.
    segments: Vec<Segment>,
    depth: u32,
}

/// A pointer to a segment's allocation: one header word, then the cells.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Segment(NonNull<u64>);

/// Where a search goes on: a segment, and what it has to know of that.
#[derive(Clone, Copy)]
struct Spot {
    segment: Segment,
    cells: usize,
    depth: u32,
}

/// What a segment's first word says.
#[derive(Clone, Copy)]
struct Header {
    cells: usize,
    len: usize,
    depth: u32,
}

/// Bytes that a cache fetches at once.
pub(crate) const LINE: usize = 64;

/// Lets the cache fetch the line that `place` points into, without waiting for it. It may point anywhere.
#[inline]
pub fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program sees, and never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

#[inline]
fn tag_of(hash: u64, depth: u32) -> u64 {
    (hash << depth) >> 48
}

#[inline]
fn tag_in(cell: u64) -> u64 {
    cell >> 48
}

#[inline]
fn pointer_in(cell: u64) -> NonNull<u8> {
    NonNull::new(std::ptr::with_exposed_provenance_mut((cell & POINTER) as usize))
        .expect("an empty cell is never asked")
}

#[inline]
fn cell_of<T: Item>(tag: u64, item: T) -> u64 {
    tag << 48 | address_of(item.into_raw().as_ptr())
}

#[inline]
fn address_of<T>(pointer: *mut T) -> u64 {
    let address = pointer.expose_provenance() as u64;
    assert!(address & !POINTER == 0, "the heap lies below 2^48");
    address
}

impl Segment {
    fn new(cells: usize, depth: u32) -> Segment {
        let layout = Segment::layout(cells);
        // SAFETY: the layout is not empty.
        let Some(pointer) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let segment = Segment(pointer.cast());
        segment.set_header(Header { cells, len: 0, depth });
        segment
    }

    fn layout(cells: usize) -> Layout {
        Layout::array::<u64>(cells + 1).expect("a segment is small")
    }

    /// # Safety
    /// Nobody uses the segment afterwards.
    unsafe fn free(self) {
        // SAFETY: allocated with the same layout.
        unsafe { dealloc(self.0.as_ptr().cast(), Segment::layout(self.header().cells)) }
    }

    #[inline]
    fn header(self) -> Header {
        // SAFETY: each segment starts with its header.
        let word = unsafe { self.0.read() };
        Header {
            cells: (word & 0xff_ffff) as usize,
            len: (word >> 24 & 0xff_ffff) as usize,
            depth: (word >> 48) as u32,
        }
    }

    #[inline]
    fn set_header(self, header: Header) {
        assert!(header.cells < 1 << 24, "a segment this large would mean 2^24 equal hashes");
        let word = header.cells as u64 | (header.len as u64) << 24 | u64::from(header.depth) << 48;
        // SAFETY: as above; the table is held mutably by whoever changes it.
        unsafe { self.0.write(word) }
    }

    /// Where the cell of that index is.
    ///
    /// # Safety
    /// The segment has so many cells.
    #[inline]
    unsafe fn cell(self, index: usize) -> *mut u64 {
        // SAFETY: the cells follow the header.
        unsafe { self.0.as_ptr().add(1 + index) }
    }

    /// The cells, for reading.
    ///
    /// # Safety
    /// Nobody changes the segment during `'a`.
    #[inline]
    unsafe fn cells<'a>(self) -> &'a [u64] {
        // SAFETY: the cells follow the header.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(1), self.header().cells) }
    }

    /// The cells, for writing.
    ///
    /// # Safety
    /// Nobody else uses the segment during `'a`.
    #[inline]
    unsafe fn cells_mut<'a>(self) -> &'a mut [u64] {
        // SAFETY: the cells follow the header.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr().add(1), self.header().cells) }
    }
}

/// How many cells have a home: the rest is room for what the last homes push to the right.
#[inline]
fn homes(cells: usize) -> usize {
    if cells <= ARRAY { 1 } else { cells - cells / 16 }
}

#[inline]
fn home(tag: u64, cells: usize) -> usize {
    ((tag as usize) * homes(cells)) >> 16
}

/// The most items that a segment of so many cells takes.
#[inline]
fn capacity(cells: usize) -> usize {
    if cells <= ARRAY { cells } else { cells - cells / 8 }
}

/// The number of cells of the allocator's next larger class.
fn next_cells(cells: usize) -> usize {
    match cells {
        0 => 1,
        1 => 3,
        _ => size_class((cells + 2) * 8) / 8 - 1,
    }
}

/// The number of cells that so many items need.
fn cells_for(items: usize) -> usize {
    let mut cells = 1;
    while capacity(cells) < items {
        cells = next_cells(cells);
    }
    cells
}

enum Root<'a> {
    Empty,
    Single(Segment),
    Many(&'a Directory),
}

impl<T: Item> Default for Dict<T> {
    fn default() -> Dict<T> {
        Dict::new()
    }
}

impl<T: Item> Dict<T> {
    /// An empty table; allocates nothing.
    pub const fn new() -> Dict<T> {
        Dict { root: 0, len: 0, items: PhantomData }
    }

    /// How many items there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn root(&self) -> Root<'_> {
        if self.root == 0 {
            return Root::Empty;
        }
        if self.root & 1 == 0 {
            return Root::Single(Segment(pointer_in(self.root).cast()));
        }
        // SAFETY: a root with its lowest bit set is a boxed directory, one byte further on.
        Root::Many(unsafe { pointer_in(self.root - 1).cast::<Directory>().as_ref() })
    }

    fn directory_mut(&mut self) -> &mut Directory {
        if self.root & 1 == 0 {
            let segment = Segment(pointer_in(self.root).cast());
            let directory = Box::new(Directory { segments: vec![segment], depth: 0 });
            self.root = address_of(Box::into_raw(directory)) + 1;
        }
        // SAFETY: as in `root`, and the table is held mutably.
        unsafe { pointer_in(self.root - 1).cast::<Directory>().as_mut() }
    }

    /// Makes `segment` the only one.
    fn set_single(&mut self, segment: Segment) {
        let header = segment.header();
        let cells = u16::try_from(header.cells).expect("what is not split is small");
        debug_assert_eq!(header.depth, 0);
        self.root = address_of(segment.0.as_ptr()) | u64::from(cells) << 48;
    }

    /// Where the search for `hash` goes on. Of a table of one segment nothing else is read.
    #[inline]
    fn spot(&self, hash: u64) -> Option<Spot> {
        match self.root() {
            Root::Empty => None,
            Root::Single(segment) => Some(Spot { segment, cells: (self.root >> 48) as usize, depth: 0 }),
            Root::Many(directory) => {
                let segment = directory.segments[directory.index(hash)];
                let Header { cells, depth, .. } = segment.header();
                Some(Spot { segment, cells, depth })
            }
        }
    }

    #[inline]
    fn segment(&self, hash: u64) -> Option<Segment> {
        match self.root() {
            Root::Empty => None,
            Root::Single(segment) => Some(segment),
            Root::Many(directory) => Some(directory.segments[directory.index(hash)]),
        }
    }

    /// Lets the cache fetch what the first step of a search for `hash` reads. [`Dict::prefetch_home`] and
    /// [`Dict::prefetch_item`] do so for the next two; each reads what the one before has fetched, so that who does
    /// each step for many keys waits for memory hardly more than once a step.
    #[inline]
    pub fn prefetch_segment(&self, hash: u64) {
        if let Root::Many(directory) = self.root() {
            prefetch(directory.segments[directory.index(hash)].0.as_ptr());
        }
    }

    /// See [`Dict::prefetch_segment`].
    #[inline]
    pub fn prefetch_home(&self, hash: u64) {
        if let Some(Spot { segment, cells, depth }) = self.spot(hash) {
            prefetch(segment.0.as_ptr().wrapping_add(1 + home(tag_of(hash, depth), cells)));
        }
    }

    /// See [`Dict::prefetch_segment`]. Returns the item that the search will most likely find, of which nothing was read.
    #[inline]
    pub fn prefetch_item(&self, hash: u64) -> Option<&T::Body> {
        let Spot { segment, cells, depth } = self.spot(hash)?;
        let tag = tag_of(hash, depth);
        // SAFETY: the segment has so many cells, and the table is borrowed.
        let behind = (home(tag, cells)..cells).map(|index| unsafe { segment.cell(index).read() });
        let item = behind.take_while(|&cell| cell != 0 && tag_in(cell) <= tag).find(|&cell| tag_in(cell) == tag)?;
        let item = pointer_in(item);
        prefetch(item.as_ptr());
        prefetch(item.as_ptr().wrapping_add(LINE));
        // SAFETY: the cell's item is alive while the table is borrowed.
        Some(unsafe { T::body(item) })
    }

    /// The segment and the index of the cell of `key`.
    #[inline]
    fn locate(&self, hash: u64, key: &[u8]) -> Option<(Segment, usize)> {
        let Spot { segment, cells, depth } = self.spot(hash)?;
        let tag = tag_of(hash, depth);
        let mut index = home(tag, cells);
        while index < cells {
            // SAFETY: the segment has so many cells, and the table is borrowed.
            let cell = unsafe { segment.cell(index).read() };
            if cell == 0 || tag_in(cell) > tag {
                return None;
            }
            // SAFETY: the cell's item is alive while the table is borrowed.
            if tag_in(cell) == tag && are_equal(T::key(unsafe { T::body(pointer_in(cell)) }), key) {
                return Some((segment, index));
            }
            index += 1;
        }
        None
    }

    /// The item of `key`.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<&T::Body> {
        let (segment, index) = self.locate(hash, key)?;
        // SAFETY: the cell is one of the segment's, and its item is alive while the table is borrowed.
        Some(unsafe { T::body(pointer_in(segment.cell(index).read())) })
    }

    /// Whether there is an item of `key`.
    pub fn contains(&self, hash: u64, key: &[u8]) -> bool {
        self.locate(hash, key).is_some()
    }

    /// The item of `key`, to be changed or replaced by another of the same key.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<Handle<'_, T>> {
        let (segment, index) = self.locate(hash, key)?;
        // SAFETY: the table is held mutably as long as the handle lives; the item is taken out of the cell
        // and put back when the handle goes.
        unsafe {
            let cell = &mut *segment.cell(index);
            let item = ManuallyDrop::new(T::from_raw(pointer_in(*cell)));
            Some(Handle { cell, item })
        }
    }

    /// Adds an item whose key is not there yet; `hash` is [`hash_bytes`] of that key, here as everywhere.
    #[inline]
    pub fn insert_new(&mut self, hash: u64, item: T) {
        loop {
            let segment = match self.segment(hash) {
                Some(segment) => segment,
                None => {
                    let segment = Segment::new(1, 0);
                    self.set_single(segment);
                    segment
                }
            };
            let header = segment.header();
            if header.len < capacity(header.cells) {
                let tag = tag_of(hash, header.depth);
                // SAFETY: the table is held mutably.
                if let Some(index) = make_room(unsafe { segment.cells_mut() }, tag) {
                    // SAFETY: as above.
                    unsafe { segment.cells_mut()[index] = cell_of(tag, item) };
                    segment.set_header(Header { len: header.len + 1, ..header });
                    self.len += 1;
                    return;
                }
            }
            self.make_larger(segment, hash);
        }
    }

    /// Puts an item in, and returns the one of the same key that was there.
    pub fn insert(&mut self, hash: u64, item: T) -> Option<T> {
        let raw = item.into_raw();
        // SAFETY: the item is ours until it is put in.
        let key = unsafe { T::key(T::body(raw)) };
        let found = self.locate(hash, key);
        // SAFETY: taken back from the line above.
        let item = unsafe { T::from_raw(raw) };
        let Some((segment, index)) = found else {
            self.insert_new(hash, item);
            return None;
        };
        // SAFETY: the table is held mutably; the cell's item is replaced by another of the same hash.
        unsafe {
            let cell = &mut segment.cells_mut()[index];
            let old = T::from_raw(pointer_in(*cell));
            *cell = cell_of(tag_in(*cell), item);
            Some(old)
        }
    }

    /// Removes the item of `key`.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        let (segment, index) = self.locate(hash, key)?;
        // SAFETY: the table is held mutably; the cell is closed right after its item is taken.
        let item = unsafe {
            let cells = segment.cells_mut();
            let item = T::from_raw(pointer_in(cells[index]));
            close_gap(cells, index);
            item
        };
        let header = segment.header();
        segment.set_header(Header { len: header.len - 1, ..header });
        self.len -= 1;
        if self.len == 0 {
            self.free_segments();
        } else if header.cells > ARRAY && header.len * 3 < header.cells {
            self.replace(segment, hash, rebuilt(segment, cells_for(header.len + header.len / 4)));
        }
        Some(item)
    }

    /// Grows or splits a segment that has no room for `hash`.
    #[cold]
    fn make_larger(&mut self, segment: Segment, hash: u64) {
        let header = segment.header();
        if header.cells < SEGMENT || header.depth >= DEEPEST {
            self.replace(segment, hash, rebuilt(segment, next_cells(header.cells)));
        } else {
            self.split(segment, hash);
        }
    }

    /// Puts `new` wherever `old` stood.
    fn replace(&mut self, old: Segment, hash: u64, new: Segment) {
        if self.root & 1 == 0 {
            self.set_single(new);
        } else {
            let directory = self.directory_mut();
            let range = directory.range(hash, old.header().depth);
            directory.segments[range].fill(new);
        }
        // SAFETY: nothing points to it any more; its items have moved.
        unsafe { old.free() };
    }

    /// Cuts a segment in two by one more bit of its items' hashes.
    fn split(&mut self, segment: Segment, hash: u64) {
        let depth = segment.header().depth;
        // SAFETY: the table is held mutably, and every occupied cell holds an item.
        let hashes: Vec<(u64, u64)> = unsafe {
            let occupied = segment.cells().iter().copied().filter(|&cell| cell != 0);
            occupied.map(|cell| (hash_bytes_of::<T>(cell), cell)).collect()
        };
        let goes_right = |hash: u64| hash << depth >> 63 == 1;
        let right_len = hashes.iter().filter(|(hash, _)| goes_right(*hash)).count();
        let mut halves =
            [hashes.len() - right_len, right_len].map(|len| Segment::new(cells_for(len + len / 8 + 1), depth + 1));
        for (hash, cell) in hashes {
            let half = &mut halves[usize::from(goes_right(hash))];
            add_cell(half, tag_of(hash, depth + 1), cell & POINTER);
        }
        let directory = self.directory_mut();
        if depth == directory.depth {
            directory.segments = directory.segments.iter().flat_map(|&segment| [segment, segment]).collect();
            directory.depth += 1;
        }
        let range = directory.range(hash, depth);
        let middle = range.start + range.len() / 2;
        directory.segments[range.start..middle].fill(halves[0]);
        directory.segments[middle..range.end].fill(halves[1]);
        // SAFETY: nothing points to it any more; its items have moved.
        unsafe { segment.free() };
    }

    /// The segments, each once, in hash order.
    fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        let (single, many) = match self.root() {
            Root::Empty => (None, None),
            Root::Single(segment) => (Some(segment), None),
            Root::Many(directory) => (None, Some(directory)),
        };
        let many = many.into_iter().flat_map(|directory| {
            let mut index = 0;
            std::iter::from_fn(move || {
                let segment = *directory.segments.get(index)?;
                index += 1 << (directory.depth - segment.header().depth);
                Some(segment)
            })
        });
        single.into_iter().chain(many)
    }

    /// All items, in hash order.
    pub fn iter(&self) -> impl Iterator<Item = &T::Body> {
        // SAFETY: the table is borrowed as long as the iterator lives.
        let cells = self.segments().flat_map(|segment| unsafe { segment.cells() });
        // SAFETY: as above.
        cells.copied().filter(|&cell| cell != 0).map(|cell| unsafe { T::body(pointer_in(cell)) })
    }

    /// Shows a bounded piece of the table to `each`, from the position `cursor` on: about `budget` items.
    /// Returns the position to go on from, 0 at the end. An item is shown if its position is at or behind
    /// `cursor` and before what is returned, exactly once, so that one that is there from the first call
    /// to the last is never missed, and is not shown twice.
    pub fn scan(&self, cursor: u64, budget: usize, mut each: impl FnMut(&T::Body)) -> u64 {
        let mut at = cursor;
        let mut left = budget.max(1);
        loop {
            let Some(segment) = self.segment(at) else { return 0 };
            let depth = segment.header().depth;
            // SAFETY: the table is borrowed.
            let cells = unsafe { segment.cells() };
            let first = tag_of(at, depth);
            let is_aligned = at << depth << 16 == 0;
            let mut previous = None;
            for &cell in cells[home(first, cells.len())..].iter().filter(|&&cell| cell != 0 && tag_in(cell) >= first) {
                let tag = tag_in(cell);
                if left == 0 && previous != Some(tag) {
                    let prefix = if depth == 0 { 0 } else { at >> (64 - depth) << (64 - depth) };
                    return prefix | (tag << 48 >> depth);
                }
                // SAFETY: as above.
                let body = unsafe { T::body(pointer_in(cell)) };
                if tag > first || is_aligned || hash_bytes(T::key(body)) >= at {
                    each(body);
                    left = left.saturating_sub(1);
                }
                previous = Some(tag);
            }
            // On to the next segment: the first hash with a higher prefix.
            if depth == 0 {
                return 0;
            }
            let next = (at >> (64 - depth)).wrapping_add(1) << (64 - depth);
            if next == 0 {
                return 0;
            }
            at = next;
            // An empty segment costs something too.
            left = left.saturating_sub(1);
            if left == 0 {
                return at;
            }
        }
    }

    /// An item, each with exactly the same probability.
    pub fn random(&self, rng: &mut Rng) -> Option<&T::Body> {
        if self.len == 0 {
            return None;
        }
        for _ in 0..1000 {
            let (segment, weight_bits, bound) = match self.root() {
                Root::Empty => return None,
                Root::Single(segment) => (segment, 0, segment.header().cells),
                Root::Many(directory) => {
                    let segment = directory.segments[rng.below(directory.segments.len() as u64) as usize];
                    let header = segment.header();
                    (segment, directory.depth - header.depth, SEGMENT.max(header.cells))
                }
            };
            // A shallower segment is drawn more often, so it is turned down as much more often; so is an
            // empty cell, and one beyond a smaller segment's end.
            if rng.below(1 << weight_bits) != 0 {
                continue;
            }
            // SAFETY: the table is borrowed.
            let cell = unsafe { segment.cells() }.get(rng.below(bound as u64) as usize).copied().unwrap_or(0);
            if cell != 0 {
                // SAFETY: as above.
                return Some(unsafe { T::body(pointer_in(cell)) });
            }
        }
        // Nearly everything was deleted: count instead of guessing.
        self.iter().nth(rng.below(self.len as u64) as usize)
    }

    /// Bytes on the heap, those of the items not counted.
    pub fn heap_bytes(&self) -> usize {
        let segments: usize = self.segments().map(|segment| size_class((segment.header().cells + 1) * 8)).sum();
        match self.root() {
            Root::Many(directory) => segments + size_of::<Directory>() + directory.segments.capacity() * 8,
            Root::Empty | Root::Single(_) => segments,
        }
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        for segment in self.segments().collect::<Vec<_>>() {
            // SAFETY: the table is held mutably, and the segments are freed below.
            for &cell in unsafe { segment.cells() }.iter().filter(|&&cell| cell != 0) {
                // SAFETY: each item is taken once.
                drop(unsafe { T::from_raw(pointer_in(cell)) });
            }
        }
        self.free_segments();
        self.len = 0;
    }

    /// Frees segments and directory; the items have been taken.
    fn free_segments(&mut self) {
        for segment in self.segments().collect::<Vec<_>>() {
            // SAFETY: each is freed once, and the root is cleared below.
            unsafe { segment.free() };
        }
        if self.root & 1 == 1 {
            // SAFETY: as in `root`; the box is taken back once.
            drop(unsafe { Box::from_raw(pointer_in(self.root - 1).cast::<Directory>().as_ptr()) });
        }
        self.root = 0;
    }
}

impl<T: Item> Drop for Dict<T> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Directory {
    #[inline]
    fn index(&self, hash: u64) -> usize {
        if self.depth == 0 { 0 } else { (hash >> (64 - self.depth)) as usize }
    }

    /// Where the segment of `depth` that `hash` leads to stands.
    fn range(&self, hash: u64, depth: u32) -> std::ops::Range<usize> {
        let count = 1 << (self.depth - depth);
        let start = self.index(hash) / count * count;
        start..start + count
    }
}

/// # Safety
/// The cell holds a live item.
unsafe fn hash_bytes_of<T: Item>(cell: u64) -> u64 {
    // SAFETY: the caller vouches for it.
    hash_bytes(T::key(unsafe { T::body(pointer_in(cell)) }))
}

/// Opens a cell for `tag`, behind those of the same tag; `None` if there is no free cell to the right.
#[inline]
fn make_room(cells: &mut [u64], tag: u64) -> Option<usize> {
    let start = home(tag, cells.len());
    let behind = cells[start..].iter().position(|&cell| cell == 0 || tag_in(cell) > tag)?;
    let index = start + behind;
    let free = index + cells[index..].iter().position(|&cell| cell == 0)?;
    cells.copy_within(index..free, index + 1);
    Some(index)
}

/// Closes the cell at `index`: what lies to the right of its home moves one to the left.
fn close_gap(cells: &mut [u64], index: usize) {
    let len = cells.len();
    let run = cells[index + 1..].iter().enumerate();
    let end = run
        .take_while(|&(offset, &cell)| cell != 0 && home(tag_in(cell), len) <= index + offset)
        .last()
        .map_or(index, |(offset, _)| index + 1 + offset);
    cells.copy_within(index + 1..end + 1, index);
    cells[end] = 0;
}

/// A segment of the same items in another number of cells. Tags stay: the depth does.
fn rebuilt(old: Segment, cells: usize) -> Segment {
    let mut new = Segment::new(cells, old.header().depth);
    // SAFETY: the caller holds the table mutably.
    for &cell in unsafe { old.cells() }.iter().filter(|&&cell| cell != 0) {
        add_cell(&mut new, tag_in(cell), cell & POINTER);
    }
    new
}

/// Adds a cell to a segment that is being built, which grows if chance has filled its end.
fn add_cell(segment: &mut Segment, tag: u64, pointer: u64) {
    let header = segment.header();
    // SAFETY: the segment is not in any table yet.
    match make_room(unsafe { segment.cells_mut() }, tag) {
        Some(index) => {
            // SAFETY: as above.
            unsafe { segment.cells_mut()[index] = tag << 48 | pointer };
            segment.set_header(Header { len: header.len + 1, ..header });
        }
        None => {
            let larger = rebuilt(*segment, next_cells(header.cells));
            // SAFETY: its cells have moved.
            unsafe { segment.free() };
            *segment = larger;
            add_cell(segment, tag, pointer);
        }
    }
}

/// An item taken out of its cell for a change; it goes back when this goes.
pub struct Handle<'a, T: Item> {
    cell: &'a mut u64,
    item: ManuallyDrop<T>,
}

impl<T: Item> Deref for Handle<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T: Item> DerefMut for Handle<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.item
    }
}

impl<T: Item> Drop for Handle<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the item moves back into its cell, which no longer owns what it points to.
        *self.cell = cell_of(tag_in(*self.cell), unsafe { ManuallyDrop::take(&mut self.item) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thin::ThinBytes;
    use proptest::prelude::*;
    use quorate_stdx::Rng;
    use std::collections::{BTreeMap, BTreeSet, HashMap};

    fn key(number: u32) -> Vec<u8> {
        format!("key:{number}").into_bytes()
    }

    fn insert(dict: &mut Dict<ThinBytes>, key: &[u8]) {
        dict.insert_new(hash_bytes(key), ThinBytes::new(key));
    }

    /// Every cell at or behind its home, tags never falling, no gap between home and item, counts right.
    fn check(dict: &Dict<ThinBytes>) {
        let mut total = 0;
        for segment in dict.segments() {
            let header = segment.header();
            // SAFETY: the table is borrowed.
            let cells = unsafe { segment.cells() };
            let mut last = 0;
            let mut count = 0;
            for (index, &cell) in cells.iter().enumerate().filter(|(_, cell)| **cell != 0) {
                let tag = tag_in(cell);
                assert!(tag >= last);
                last = tag;
                count += 1;
                let home = home(tag, cells.len());
                assert!(home <= index && cells[home..index].iter().all(|&cell| cell != 0));
                // SAFETY: as above.
                assert_eq!(tag, tag_of(unsafe { hash_bytes_of::<ThinBytes>(cell) }, header.depth));
            }
            assert_eq!(count, header.len);
            total += count;
        }
        assert_eq!(total, dict.len());
    }

    #[test]
    fn an_empty_table_is_two_words_and_no_allocation() {
        assert_eq!(size_of::<Dict<ThinBytes>>(), 16);
        assert_eq!(Dict::<ThinBytes>::new().heap_bytes(), 0);
    }

    #[test]
    fn it_grows_by_splitting_and_finds_everything() {
        let mut dict = Dict::new();
        for number in 0..20_000 {
            insert(&mut dict, &key(number));
        }
        check(&dict);
        for number in 0..20_000 {
            assert!(dict.find(hash_bytes(&key(number)), &key(number)).is_some());
            assert!(dict.find(hash_bytes(&key(number + 20_000)), &key(number + 20_000)).is_none());
        }
        assert_eq!(dict.iter().map(<[u8]>::to_vec).collect::<BTreeSet<_>>().len(), 20_000);
        for number in 0..19_990 {
            assert!(dict.remove(hash_bytes(&key(number)), &key(number)).is_some());
        }
        check(&dict);
        dict.clear();
        assert_eq!((dict.len(), dict.heap_bytes()), (0, 0));
    }

    #[test]
    fn memory_per_item_is_near_the_load() {
        let mut bytes = 0.0;
        for items in 16..200u32 {
            let mut dict = Dict::new();
            (0..items).for_each(|number| insert(&mut dict, &key(number)));
            bytes += dict.heap_bytes() as f64 / f64::from(items);
        }
        let average = bytes / f64::from(200 - 16);
        assert!(average < 11.5, "{average}");
    }

    #[test]
    fn random_items_are_drawn_evenly() {
        let mut dict = Dict::new();
        (0..700).for_each(|number| insert(&mut dict, &key(number)));
        let mut rng = Rng::new(7);
        let mut drawn: HashMap<Vec<u8>, f64> = HashMap::new();
        let draws = 70_000.0;
        for _ in 0..draws as u32 {
            *drawn.entry(dict.random(&mut rng).unwrap().to_vec()).or_default() += 1.0;
        }
        let expected = draws / 700.0;
        let chi_square: f64 = drawn.values().map(|count| (count - expected).powi(2) / expected).sum();
        // 699 degrees of freedom: mean 699, deviation 37; six deviations above is no chance.
        assert!(drawn.len() == 700 && chi_square < 921.0, "{chi_square}");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u32),
        Remove(u32),
        Scan(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0u32..3000).prop_map(Step::Insert),
            4 => (0u32..3000).prop_map(Step::Remove),
            1 => (1usize..40).prop_map(Step::Scan),
        ];
        prop::collection::vec(step, 0..6000)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn a_scan_shows_what_stays_exactly_once_whatever_happens_meanwhile(preset in 0u32..3000, steps in steps()) {
            let mut dict = Dict::new();
            let mut model = BTreeSet::new();
            for number in 0..preset {
                insert(&mut dict, &key(number));
                model.insert(number);
            }
            let stays_from_the_start = model.clone();
            let mut removed = BTreeSet::new();
            let mut shown: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
            let mut cursor = 0;
            let mut finished = false;
            let mut scan = |dict: &Dict<ThinBytes>, budget, finished: &mut bool| {
                if !*finished {
                    let from = cursor;
                    cursor = dict.scan(cursor, budget, |item| *shown.entry(item.to_vec()).or_default() += 1);
                    *finished = cursor == 0;
                    assert!(*finished || cursor > from);
                }
            };
            for step in steps {
                match step {
                    Step::Insert(number) => {
                        if model.insert(number) {
                            insert(&mut dict, &key(number));
                        }
                    }
                    Step::Remove(number) => {
                        prop_assert_eq!(dict.remove(hash_bytes(&key(number)), &key(number)).is_some(), model.remove(&number));
                        removed.insert(number);
                    }
                    Step::Scan(budget) => scan(&dict, budget, &mut finished),
                }
            }
            check(&dict);
            prop_assert_eq!(dict.len(), model.len());
            for _ in 0..10_000 {
                scan(&dict, 10, &mut finished);
            }
            prop_assert!(finished);
            for number in stays_from_the_start.difference(&removed) {
                prop_assert_eq!(shown.get(&key(*number)), Some(&1));
            }
        }
    }
}

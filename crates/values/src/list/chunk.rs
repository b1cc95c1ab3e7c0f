//! A node of a list: a listpack of neighbours, or one large element by itself.
//!
//! Not here: the order of the nodes. A chunk says of each change whether it can take it, and who asks
//! finds another place if not.

use crate::Limits;
use crate::counted_tree::Weighed;
use crate::listpack::{Item, Listpack, Pos};
use crate::number::parse_i64;

/// Whatever the count may be, a node with a limit of elements stays below this.
const SAFE_BYTES: usize = 8192;
/// The format's header can say no more elements than this without losing count.
const SAFE_COUNT: usize = 32_767;
/// What an element may take besides its text, estimated as Redis does, so that nodes are cut where it cuts them.
const OVERHEAD: usize = 8;

/// What a node may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    /// Bytes of the whole listpack.
    bytes: usize,
    /// Elements.
    count: usize,
    /// Elements of so many bytes or more get a node of their own.
    plain: usize,
}

impl Caps {
    #[inline]
    pub(super) fn of(limits: &Limits) -> Caps {
        let (bytes, count) = match limits.list_max_listpack_size {
            count @ 0.. => (SAFE_BYTES, (count as usize).clamp(1, SAFE_COUNT)),
            class => (4096 << (class.unsigned_abs().min(5) - 1), SAFE_COUNT),
        };
        let plain = match limits.list_packed_threshold {
            0 => bytes + 1,
            threshold => threshold.min(bytes + 1),
        };
        Caps { bytes, count, plain }
    }
}

/// What is sought in a list.
///
/// An element that is stored as an integer is compared as one, and what is sought is parsed but once.
#[derive(Debug, Clone, Copy)]
pub struct Needle<'a> {
    text: &'a [u8],
    number: Option<i64>,
}

impl<'a> Needle<'a> {
    /// The element with this text.
    pub fn new(text: &'a [u8]) -> Needle<'a> {
        Needle { text, number: parse_i64(text) }
    }

    /// Whether `item` is it.
    #[inline]
    pub fn is(&self, item: Item<'_>) -> bool {
        match item {
            Item::Bytes(bytes) => bytes == self.text,
            Item::Int(number) => self.number == Some(number),
        }
    }
}

/// From which end something is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// From the first element on.
    Front,
    /// From the last element back.
    Back,
}

/// A node; see the module's text.
#[derive(Clone)]
pub(super) enum Chunk {
    /// Neighbours, counted, because a tree of nodes asks for the count more often than for anything else.
    Packed {
        count: u32,
        pack: Listpack,
    },
    Plain(Vec<u8>),
}

impl Default for Chunk {
    fn default() -> Chunk {
        Chunk::packed(Listpack::new())
    }
}

impl Weighed for Chunk {
    type Key = ();
    const UNIT: bool = false;

    fn key(&self) {}

    #[inline]
    fn weight(&self) -> usize {
        self.count()
    }
}

impl Chunk {
    /// The node of one element.
    pub(super) fn of(element: &[u8], caps: &Caps) -> Chunk {
        if element.len() >= caps.plain {
            return Chunk::Plain(element.to_vec());
        }
        let mut pack = Listpack::with_capacity(Listpack::element_bytes(element));
        pack.push_back(element);
        Chunk::Packed { count: 1, pack }
    }

    /// The node that these neighbours are.
    pub(super) fn packed(pack: Listpack) -> Chunk {
        let count = u32::try_from(pack.len()).expect("a listpack is below 4 GiB, and an element takes two bytes");
        Chunk::Packed { count, pack }
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        match self {
            Chunk::Packed { count, .. } => *count as usize,
            Chunk::Plain(_) => 1,
        }
    }

    /// Only ever the one node of an empty list.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Chunk::Packed { pack, .. } => pack.heap_bytes(),
            Chunk::Plain(element) => element.capacity(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Item<'_> {
        match self {
            Chunk::Packed { pack, .. } => pack.item(position(pack, index)),
            Chunk::Plain(element) => Item::Bytes(element),
        }
    }

    /// Whether one more element of so many bytes may come in.
    #[inline]
    fn fits(&self, bytes: usize, caps: &Caps) -> bool {
        match self {
            Chunk::Packed { count, pack } => {
                bytes < caps.plain && pack.byte_len() + bytes + OVERHEAD <= caps.bytes && (*count as usize) < caps.count
            }
            Chunk::Plain(_) => false,
        }
    }

    /// Puts an element behind the last one; false if there is no room.
    #[inline]
    pub(super) fn push_back(&mut self, element: &[u8], caps: &Caps) -> bool {
        let fits = self.fits(element.len(), caps);
        match self {
            Chunk::Packed { count, pack } if fits => {
                pack.push_back(element);
                *count += 1;
                true
            }
            _ => self.begin(element, caps),
        }
    }

    /// Puts an element before the first one; false if there is no room.
    #[inline]
    pub(super) fn push_front(&mut self, element: &[u8], caps: &Caps) -> bool {
        let fits = self.fits(element.len(), caps);
        match self {
            Chunk::Packed { count, pack } if fits => {
                pack.push_front(element);
                *count += 1;
                true
            }
            _ => self.begin(element, caps),
        }
    }

    /// Becomes the node of its first element, whatever its size; false if there are others.
    #[cold]
    fn begin(&mut self, element: &[u8], caps: &Caps) -> bool {
        let is_first = self.is_empty();
        if is_first {
            *self = Chunk::of(element, caps);
        }
        is_first
    }

    /// Puts an element before that of `index`; false if there is no room.
    pub(super) fn insert(&mut self, index: usize, element: &[u8], caps: &Caps) -> bool {
        let fits = self.fits(element.len(), caps);
        match self {
            Chunk::Packed { count, pack } if fits => {
                pack.insert_before(position(pack, index), element);
                *count += 1;
                true
            }
            _ => false,
        }
    }

    /// Puts another element in the place of that of `index`; false if there is no room.
    pub(super) fn replace(&mut self, index: usize, element: &[u8], caps: &Caps) -> bool {
        if self.count() == 1 {
            *self = Chunk::of(element, caps);
            return true;
        }
        let Chunk::Packed { pack, .. } = self else { return false };
        let at = position(pack, index);
        let rest = pack.byte_len() - Listpack::element_bytes(pack.item(at));
        if element.len() >= caps.plain || rest + element.len() + OVERHEAD > caps.bytes {
            return false;
        }
        pack.replace(at, element);
        true
    }

    /// Removes up to `amount` elements, the one of `index` first and those behind it.
    #[inline]
    pub(super) fn remove(&mut self, index: usize, amount: usize) {
        match self {
            Chunk::Packed { count, pack } => {
                let gone = pack.delete_from(position(pack, index), amount);
                *count -= gone as u32;
                give_back(pack);
            }
            Chunk::Plain(_) if amount > 0 => *self = Chunk::default(),
            Chunk::Plain(_) => {}
        }
    }

    /// Removes up to `most` elements that are `needle`, as counted from that end, and returns how many there were.
    pub(super) fn remove_matching(&mut self, needle: &Needle<'_>, most: usize, end: End) -> usize {
        let Chunk::Packed { count, pack } = self else {
            let hit = most > 0 && needle.is(self.get(0));
            if hit {
                *self = Chunk::default();
            }
            return usize::from(hit);
        };
        let gone = match end {
            End::Front => remove_forward(pack, needle, most),
            End::Back => remove_backward(pack, needle, most),
        };
        *count -= gone as u32;
        give_back(pack);
        gone
    }

    /// The index of the first element that is `needle`.
    pub(super) fn position(&self, needle: &Needle<'_>) -> Option<usize> {
        match self {
            Chunk::Packed { pack, .. } => {
                // Most nodes hold no match, and a search by bytes tells so faster than a walk by elements.
                pack.find(pack.first(), needle.text, 1)?;
                pack.iter().position(|item| needle.is(item))
            }
            Chunk::Plain(element) => (**element == *needle.text).then_some(0),
        }
    }

    /// Whether an element is `needle`.
    pub(super) fn has(&self, needle: &Needle<'_>) -> bool {
        match self {
            Chunk::Packed { pack, .. } => pack.find(pack.first(), needle.text, 1).is_some(),
            Chunk::Plain(element) => **element == *needle.text,
        }
    }

    /// Cuts off the elements from that of `index` on.
    ///
    /// # Panics
    /// If it is a single large element, which can't be cut.
    pub(super) fn split_off(&mut self, index: usize) -> Chunk {
        let Chunk::Packed { count, pack } = self else { panic!("a large element is not cut in two") };
        let tail = pack.split_off(position(pack, index));
        let moved = *count - index as u32;
        *count = index as u32;
        give_back(pack);
        Chunk::Packed { count: moved, pack: tail }
    }

    /// Whether it is worth a try to join it with a neighbour.
    pub(super) fn is_sparse(&self, caps: &Caps) -> bool {
        match self {
            Chunk::Packed { count, pack } => {
                pack.byte_len() < caps.bytes / 4 && (*count as usize) < caps.count.div_ceil(4)
            }
            Chunk::Plain(_) => false,
        }
    }

    /// Whether `next` can be added without coming near the limits.
    pub(super) fn can_absorb(&self, next: &Chunk, caps: &Caps) -> bool {
        match (self, next) {
            (Chunk::Packed { count, pack }, Chunk::Packed { count: more, pack: other }) => {
                pack.byte_len() + other.byte_len() <= caps.bytes / 4 * 3
                    && (*count + *more) as usize <= caps.count.div_ceil(4) * 3
            }
            _ => false,
        }
    }

    /// Adds the elements of `next` behind its own.
    ///
    /// # Panics
    /// If one of the two is a large element; [`Chunk::can_absorb`] has said no.
    pub(super) fn absorb(&mut self, next: &Chunk) {
        match (self, next) {
            (Chunk::Packed { count, pack }, Chunk::Packed { count: more, pack: other }) => {
                pack.append(other);
                *count += *more;
            }
            _ => panic!("only listpacks are joined"),
        }
    }
}

/// The place of the element of `index`, or the end.
#[inline]
pub(super) fn position(pack: &Listpack, index: usize) -> Pos {
    if index == 0 { pack.first() } else { pack.at(index as i64) }.unwrap_or(pack.end())
}

/// Gives memory back when most of it is unused.
#[inline]
fn give_back(pack: &mut Listpack) {
    if pack.heap_bytes() > 64 && pack.byte_len() * 4 < pack.heap_bytes() {
        pack.shrink_to_fit();
    }
}

fn remove_forward(pack: &mut Listpack, needle: &Needle<'_>, most: usize) -> usize {
    let mut gone = 0;
    let mut from = pack.first();
    while gone < most
        && let Some(at) = pack.find(from, needle.text, 1)
    {
        // Matches that stand together go together.
        let run = pack.iter_from(at).take(most - gone).take_while(|&item| needle.is(item)).count();
        gone += pack.delete_from(at, run);
        from = (at != pack.end()).then_some(at);
    }
    gone
}

fn remove_backward(pack: &mut Listpack, needle: &Needle<'_>, most: usize) -> usize {
    let mut gone = 0;
    let mut cursor = pack.last();
    while gone < most
        && let Some(at) = cursor
    {
        if needle.is(pack.item(at)) {
            pack.delete(at);
            gone += 1;
        }
        cursor = pack.prev(at);
    }
    gone
}

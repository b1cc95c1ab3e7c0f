//! Strings on the heap behind one thin pointer: members of sets, fields of hashes with their values, and
//! members of sorted sets with their scores.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::dict::Item;
use crate::size_class::size_class;

fn allocate(bytes: usize) -> NonNull<u8> {
    let layout = layout(bytes);
    // SAFETY: the layout is not empty.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(size_class(bytes.max(8)), 4).expect("far below isize::MAX")
}

/// Bytes on the heap: `u32` length, bytes.
pub struct ThinBytes(NonNull<u8>);

// SAFETY: it owns plain bytes.
unsafe impl Send for ThinBytes {}
// SAFETY: as above.
unsafe impl Sync for ThinBytes {}

impl ThinBytes {
    /// A copy of `bytes`.
    pub fn new(bytes: &[u8]) -> ThinBytes {
        let len = u32::try_from(bytes.len()).expect("the parser refuses strings of 4 GiB");
        let pointer = allocate(4 + bytes.len());
        // SAFETY: the allocation holds length and bytes.
        unsafe {
            pointer.cast::<u32>().write(len);
            pointer.as_ptr().add(4).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        ThinBytes(pointer)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: we own the allocation.
        unsafe { ThinBytes::body(self.0) }
    }

    /// Bytes of the allocation for a string of `len`.
    pub fn heap_bytes(len: usize) -> usize {
        size_class((4 + len).max(8))
    }
}

impl Drop for ThinBytes {
    fn drop(&mut self) {
        // SAFETY: allocated with the layout that the same length gives.
        unsafe { dealloc(self.0.as_ptr(), layout(4 + self.as_bytes().len())) }
    }
}

// SAFETY: the pointer is unique, from the heap, and valid until `from_raw`.
unsafe impl Item for ThinBytes {
    type Body = [u8];

    fn into_raw(self) -> NonNull<u8> {
        std::mem::ManuallyDrop::new(self).0
    }

    unsafe fn from_raw(raw: NonNull<u8>) -> ThinBytes {
        ThinBytes(raw)
    }

    #[inline]
    unsafe fn body<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: the caller vouches for the pointer; length and bytes were written by `new`.
        unsafe { std::slice::from_raw_parts(raw.as_ptr().add(4), raw.cast::<u32>().read() as usize) }
    }

    #[inline]
    fn key(body: &[u8]) -> &[u8] {
        body
    }
}

/// A field and its value: `u32` field length, `u32` value length (its highest bit is kept free for a
/// field's own expiry), field, value.
pub struct FieldValue(NonNull<u8>);

// SAFETY: it owns plain bytes.
unsafe impl Send for FieldValue {}
// SAFETY: as above.
unsafe impl Sync for FieldValue {}

impl FieldValue {
    /// A copy of both.
    pub fn new(field: &[u8], value: &[u8]) -> FieldValue {
        let field_len = u32::try_from(field.len()).expect("the parser refuses strings of 4 GiB");
        let value_len = u32::try_from(value.len()).expect("the parser refuses strings of 4 GiB");
        assert!(value_len >> 31 == 0, "the parser refuses strings of 2 GiB");
        let pointer = allocate(8 + field.len() + value.len());
        // SAFETY: the allocation holds both lengths and both strings.
        unsafe {
            pointer.cast::<u32>().write(field_len);
            pointer.add(4).cast::<u32>().write(value_len);
            pointer.as_ptr().add(8).copy_from_nonoverlapping(field.as_ptr(), field.len());
            pointer.as_ptr().add(8 + field.len()).copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
        FieldValue(pointer)
    }

    /// Borrows both.
    pub fn pair(&self) -> &Pair {
        // SAFETY: we own the allocation.
        unsafe { FieldValue::body(self.0) }
    }

    /// Replaces the value, in place if the allocation's class has room.
    pub fn set_value(&mut self, value: &[u8]) {
        let field_len = self.pair().field().len();
        let (old, new) = (8 + field_len + self.pair().value().len(), 8 + field_len + value.len());
        if size_class(old) == size_class(new) && value.len() >> 31 == 0 {
            // SAFETY: the class has room for the new value.
            unsafe {
                self.0.add(4).cast::<u32>().write(value.len() as u32);
                self.0.as_ptr().add(8 + field_len).copy_from_nonoverlapping(value.as_ptr(), value.len());
            }
        } else {
            *self = FieldValue::new(self.pair().field(), value);
        }
    }

    /// Bytes of the allocation for strings of these lengths.
    pub fn heap_bytes(field: usize, value: usize) -> usize {
        size_class(8 + field + value)
    }
}

impl Drop for FieldValue {
    fn drop(&mut self) {
        let total = 8 + self.pair().field().len() + self.pair().value().len();
        // SAFETY: `set_value` never leaves the class of the allocation.
        unsafe { dealloc(self.0.as_ptr(), layout(total)) }
    }
}

/// A borrowed field with its value: a name for the bytes that a [`FieldValue`] points to.
#[repr(C)]
pub struct Pair {
    field_len: u32,
    value_len: u32,
    /// The strings follow; their length is in the header, not in the pointer.
    rest: [u8; 0],
}

impl Pair {
    #[inline]
    fn bytes(&self, from: usize, len: usize) -> &[u8] {
        // SAFETY: a `Pair` only exists at the start of a `FieldValue`'s allocation, whose bytes live as
        // long as it. The pointer's provenance is the allocation's (exposed when it went into a cell).
        unsafe {
            let base = std::ptr::with_exposed_provenance::<u8>((&raw const *self).expose_provenance());
            std::slice::from_raw_parts(base.add(8 + from), len)
        }
    }

    /// The field.
    #[inline]
    pub fn field(&self) -> &[u8] {
        self.bytes(0, self.field_len as usize)
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &[u8] {
        self.bytes(self.field_len as usize, self.value_len as usize)
    }
}

// SAFETY: the pointer is unique, from the heap, and valid until `from_raw`.
unsafe impl Item for FieldValue {
    type Body = Pair;

    fn into_raw(self) -> NonNull<u8> {
        std::mem::ManuallyDrop::new(self).0
    }

    unsafe fn from_raw(raw: NonNull<u8>) -> FieldValue {
        FieldValue(raw)
    }

    #[inline]
    unsafe fn body<'a>(raw: NonNull<u8>) -> &'a Pair {
        // SAFETY: the caller vouches for the pointer.
        unsafe {
            raw.as_ptr().expose_provenance();
            raw.cast::<Pair>().as_ref()
        }
    }

    #[inline]
    fn key(body: &Pair) -> &[u8] {
        body.field()
    }
}

/// A member and its score: `f64` score, `u32` length, member. It stays where it is until it is dropped.
pub struct ScoredMember(NonNull<u8>);

// SAFETY: it owns plain bytes.
unsafe impl Send for ScoredMember {}
// SAFETY: as above.
unsafe impl Sync for ScoredMember {}

impl ScoredMember {
    /// A copy of `member` with `score`.
    pub fn new(member: &[u8], score: f64) -> ScoredMember {
        let len = u32::try_from(member.len()).expect("the parser refuses strings of 4 GiB");
        let layout = ScoredMember::layout(member.len());
        // SAFETY: the layout is not empty.
        let pointer = NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: the allocation holds score, length and member, and is aligned for the score.
        unsafe {
            pointer.cast::<f64>().write(score);
            pointer.add(8).cast::<u32>().write(len);
            pointer.as_ptr().add(12).copy_from_nonoverlapping(member.as_ptr(), member.len());
        }
        ScoredMember(pointer)
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(ScoredMember::heap_bytes(len), 8).expect("far below isize::MAX")
    }

    /// Borrows both.
    pub fn scored(&self) -> &Scored {
        // SAFETY: we own the allocation.
        unsafe { ScoredMember::body(self.0) }
    }

    /// Where it lies, for [`Item::body`].
    pub(crate) fn address(&self) -> NonNull<u8> {
        self.0
    }

    /// Changes the score.
    pub fn set_score(&mut self, score: f64) {
        // SAFETY: we own the allocation, which begins with the score.
        unsafe { self.0.cast::<f64>().write(score) }
    }

    /// Bytes of the allocation for a member of `len` bytes.
    pub fn heap_bytes(len: usize) -> usize {
        size_class((12 + len).max(size_of::<Scored>()))
    }
}

impl Drop for ScoredMember {
    fn drop(&mut self) {
        let layout = ScoredMember::layout(self.scored().member().len());
        // SAFETY: allocated with the layout that the same length gives.
        unsafe { dealloc(self.0.as_ptr(), layout) }
    }
}

/// A borrowed member with its score: a name for the bytes that a [`ScoredMember`] points to.
#[repr(C)]
pub struct Scored {
    score: f64,
    len: u32,
    /// The member follows; its length is in the header, not in the pointer.
    rest: [u8; 0],
}

impl Scored {
    /// The score.
    #[inline]
    pub fn score(&self) -> f64 {
        self.score
    }

    /// The member.
    #[inline]
    pub fn member(&self) -> &[u8] {
        // SAFETY: a `Scored` only exists at the start of a `ScoredMember`'s allocation, whose bytes live as
        // long as it. The pointer's provenance is the allocation's (exposed by `body`).
        unsafe {
            let base = std::ptr::with_exposed_provenance::<u8>((&raw const *self).expose_provenance());
            std::slice::from_raw_parts(base.add(std::mem::offset_of!(Scored, rest)), self.len as usize)
        }
    }
}

// SAFETY: the pointer is unique, from the heap, and valid until `from_raw`.
unsafe impl Item for ScoredMember {
    type Body = Scored;

    fn into_raw(self) -> NonNull<u8> {
        std::mem::ManuallyDrop::new(self).0
    }

    unsafe fn from_raw(raw: NonNull<u8>) -> ScoredMember {
        ScoredMember(raw)
    }

    #[inline]
    unsafe fn body<'a>(raw: NonNull<u8>) -> &'a Scored {
        // SAFETY: the caller vouches for the pointer.
        unsafe {
            raw.as_ptr().expose_provenance();
            raw.cast::<Scored>().as_ref()
        }
    }

    #[inline]
    fn key(body: &Scored) -> &[u8] {
        body.member()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_keeps_its_place_when_its_score_changes() {
        for len in [0, 3, 4, 5, 100] {
            let mut member = ScoredMember::new(&vec![7; len], 1.5);
            let at = member.address();
            member.set_score(-2.0);
            assert_eq!((member.scored().score(), member.scored().member()), (-2.0, &vec![7; len][..]));
            assert_eq!(member.address(), at);
        }
    }

    #[test]
    fn a_value_is_replaced_in_place_or_elsewhere() {
        let mut pair = FieldValue::new(b"field", b"value");
        pair.set_value(b"other");
        assert_eq!((pair.pair().field(), pair.pair().value()), (&b"field"[..], &b"other"[..]));
        pair.set_value(&[7; 1000]);
        assert_eq!(pair.pair().value(), [7; 1000]);
        pair.set_value(b"");
        assert_eq!((pair.pair().field(), pair.pair().value()), (&b"field"[..], &b""[..]));
    }

    #[test]
    fn bytes_come_back() {
        assert_eq!(ThinBytes::new(b"").as_bytes(), b"");
        assert_eq!(ThinBytes::new(&[9; 300]).as_bytes(), [9; 300]);
    }
}

//! An entry of the keyspace: key, value, expiry and access time in one allocation behind one pointer.
//!
//! Memory is one of the product's figures, so a short string costs its bytes and a header of 12:
//!
//! ```text
//!  0        4        8            8 or 16
//!  ┌────────┬────────┬───────────┬──────────────────────────────┬─────┬────────────────┐
//!  │ access │ key len│ expiry ms │ body                         │ key │ embedded value │
//!  │ kind   │        │ (if any)  │ u32 len, i64, Vec or Box     │     │ (if embedded)  │
//!  └────────┴────────┴───────────┴──────────────────────────────┴─────┴────────────────┘
//! ```
//!
//! `access` holds the 24 bits of LRU clock or LFU counter in its low part, the kind and whether there is
//! an expiry in its high byte. Allocations are rounded up to the allocator's size classes, so that a
//! value of nearly the same length is written in place.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use quorate_stdx::UnixMs;
use quorate_values::dict::{Item, prefetch};
use quorate_values::{Hash, List, Set, StrRef, Stream, Value, ValueRef, ZSet, parse_i64, size_class};

/// Longer strings live in an allocation of their own, which can grow in place.
const EMBED_MAX: usize = 1024;
const HEADER: usize = 8;
const EXPIRY: usize = 8;
const ALIGN: usize = 8;

const ACCESS_MASK: u32 = 0x00ff_ffff;
const HAS_EXPIRY: u32 = 0x0800_0000;
const KIND_SHIFT: u32 = 28;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
enum Kind {
    Int = 0,
    Embedded = 1,
    Raw = 2,
    List = 3,
    Set = 4,
    ZSet = 5,
    Hash = 6,
    Stream = 7,
}

impl Kind {
    fn of_bits(word: u32) -> Kind {
        const ALL: [Kind; 8] =
            [Kind::Int, Kind::Embedded, Kind::Raw, Kind::List, Kind::Set, Kind::ZSet, Kind::Hash, Kind::Stream];
        ALL[(word >> KIND_SHIFT) as usize & 7]
    }

    #[inline]
    const fn body_bytes(self) -> usize {
        // By arithmetic, because each search asks, and to branch by what was just fetched is to wait for it.
        BODY_BYTES.to_le_bytes()[self as usize] as usize
    }
}

/// How many bytes each kind's body takes, a byte for each.
const BODY_BYTES: u64 = {
    let mut bytes = [8; 8];
    bytes[Kind::Embedded as usize] = size_of::<u32>() as u8;
    bytes[Kind::Raw as usize] = size_of::<Vec<u8>>() as u8;
    u64::from_le_bytes(bytes)
};

/// An owned entry; see the module's text. What can be read of it is on [`Record`].
pub struct Entry(NonNull<u8>);

/// A borrowed entry: a name for the bytes that an [`Entry`] points to.
#[repr(C)]
pub struct Record {
    /// Written through shared references too (the access time), under the slot's lock; atomic, so that
    /// this is sound, and relaxed, so that it costs nothing.
    word: AtomicU32,
    key_len: u32,
    // Expiry, body, key and value follow.
}

// SAFETY: an entry owns everything that it points to, and all of that is Send.
unsafe impl Send for Entry {}

// SAFETY: the pointer is unique, from the heap, and valid until `from_raw`.
unsafe impl Item for Entry {
    type Body = Record;

    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).0
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Entry {
        Entry(raw)
    }

    #[inline]
    unsafe fn body<'a>(raw: NonNull<u8>) -> &'a Record {
        // SAFETY: the caller vouches for the pointer; each entry starts with a record.
        unsafe { raw.cast().as_ref() }
    }

    #[inline]
    fn key(body: &Record) -> &[u8] {
        body.key()
    }
}

impl std::ops::Deref for Entry {
    type Target = Record;
    #[inline]
    fn deref(&self) -> &Record {
        // SAFETY: we own the allocation, which starts with a record.
        unsafe { self.0.cast().as_ref() }
    }
}

/// A value that may be changed in place.
pub enum ValueMut<'a> {
    /// A string; change it with [`Entry::set_str`] or [`Entry::bytes_mut`].
    Str,
    /// A list.
    List(&'a mut List),
    /// A set.
    Set(&'a mut Set),
    /// A sorted set.
    ZSet(&'a mut ZSet),
    /// A hash.
    Hash(&'a mut Hash),
    /// A stream.
    Stream(&'a mut Stream),
}

impl Entry {
    /// An entry that never expires.
    pub fn new(key: &[u8], value: Value) -> Entry {
        match value {
            Value::Int(number) => Entry::int(key, number, None),
            Value::Str(bytes) if bytes.len() > EMBED_MAX => Entry::raw(key, bytes, None),
            Value::Str(bytes) => Entry::embedded(key, &bytes, None),
            Value::List(list) => Entry::boxed(Kind::List, key, Box::into_raw(list).cast()),
            Value::Set(set) => Entry::boxed(Kind::Set, key, Box::into_raw(set).cast()),
            Value::ZSet(zset) => Entry::boxed(Kind::ZSet, key, Box::into_raw(zset).cast()),
            Value::Hash(hash) => Entry::boxed(Kind::Hash, key, Box::into_raw(hash).cast()),
            Value::Stream(stream) => Entry::boxed(Kind::Stream, key, Box::into_raw(stream).cast()),
        }
    }

    /// A string entry from borrowed bytes; a canonical integer is stored as one.
    #[inline]
    pub fn string(key: &[u8], bytes: &[u8], expiry: Option<UnixMs>) -> Entry {
        match parse_i64(bytes) {
            Some(number) => Entry::int(key, number, expiry),
            None => Entry::plain_string(key, bytes, expiry),
        }
    }

    fn plain_string(key: &[u8], bytes: &[u8], expiry: Option<UnixMs>) -> Entry {
        if bytes.len() > EMBED_MAX {
            Entry::raw(key, bytes.to_vec(), expiry)
        } else {
            Entry::embedded(key, bytes, expiry)
        }
    }

    fn int(key: &[u8], number: i64, expiry: Option<UnixMs>) -> Entry {
        let mut entry = Entry::blank(Kind::Int, key, expiry, 0);
        // SAFETY: an Int entry's body holds 8 bytes.
        unsafe { entry.body_mut().cast::<i64>().write_unaligned(number) };
        entry
    }

    #[inline]
    fn embedded(key: &[u8], bytes: &[u8], expiry: Option<UnixMs>) -> Entry {
        let mut entry = Entry::blank(Kind::Embedded, key, expiry, bytes.len());
        // SAFETY: `blank` has made room for that many bytes.
        unsafe { entry.write_embedded(bytes) };
        entry
    }

    fn raw(key: &[u8], bytes: Vec<u8>, expiry: Option<UnixMs>) -> Entry {
        let mut entry = Entry::blank(Kind::Raw, key, expiry, 0);
        // SAFETY: a Raw entry's body holds a Vec, unaligned.
        unsafe { entry.body_mut().cast::<Vec<u8>>().write_unaligned(bytes) };
        entry
    }

    fn boxed(kind: Kind, key: &[u8], pointer: *mut u8) -> Entry {
        let mut entry = Entry::blank(kind, key, None, 0);
        // SAFETY: the body of a boxed kind holds one pointer.
        unsafe { entry.body_mut().cast::<*mut u8>().write_unaligned(pointer) };
        entry
    }

    /// Allocates an entry, writes header and key, and leaves the body to the caller.
    #[inline]
    fn blank(kind: Kind, key: &[u8], expiry: Option<UnixMs>, embedded: usize) -> Entry {
        let key_len = u32::try_from(key.len()).expect("the parser refuses keys of 4 GiB");
        let expiry_bytes = if expiry.is_some() { EXPIRY } else { 0 };
        let total = HEADER + expiry_bytes + kind.body_bytes() + key.len() + embedded;
        let layout = Entry::layout(total);
        // SAFETY: the layout's size is not zero.
        let Some(pointer) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let word = (kind as u32) << KIND_SHIFT | if expiry.is_some() { HAS_EXPIRY } else { 0 };
        // SAFETY: the allocation is large enough for header, expiry, body and key.
        unsafe {
            pointer.as_ptr().expose_provenance();
            pointer.cast::<u32>().write(word);
            pointer.add(4).cast::<u32>().write(key_len);
            if let Some(at) = expiry {
                pointer.add(HEADER).cast::<i64>().write(at.0);
            }
            let key_at = pointer.add(HEADER + expiry_bytes + kind.body_bytes());
            key_at.as_ptr().copy_from_nonoverlapping(key.as_ptr(), key.len());
        }
        Entry(pointer)
    }

    fn layout(total: usize) -> Layout {
        Layout::from_size_align(size_class(total), ALIGN).expect("far below isize::MAX")
    }

    #[inline]
    fn body_mut(&mut self) -> *mut u8 {
        self.body().cast_mut()
    }

    /// # Safety
    /// The entry is of kind `Embedded` and its allocation has room for `bytes` behind the key.
    unsafe fn write_embedded(&mut self, bytes: &[u8]) {
        let len = bytes.len() as u32;
        // SAFETY: the caller vouches for kind and room.
        unsafe {
            self.body_mut().cast::<u32>().write_unaligned(len);
            let value_at = self.key_at().add(self.key_len()).cast_mut();
            value_at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }

    /// The value, to be changed in place.
    #[inline]
    pub fn value_mut(&mut self) -> ValueMut<'_> {
        // SAFETY: as in `value`, and the entry is held mutably.
        unsafe {
            match self.kind() {
                Kind::Int | Kind::Embedded | Kind::Raw => ValueMut::Str,
                Kind::List => ValueMut::List(&mut *self.pointer()),
                Kind::Set => ValueMut::Set(&mut *self.pointer()),
                Kind::ZSet => ValueMut::ZSet(&mut *self.pointer()),
                Kind::Hash => ValueMut::Hash(&mut *self.pointer()),
                Kind::Stream => ValueMut::Stream(&mut *self.pointer()),
            }
        }
    }

    /// Replaces the value by a string and the expiry, in place if the allocation's size class allows.
    #[inline]
    pub fn set_str(&mut self, bytes: &[u8], expiry: Option<UnixMs>) {
        let same_shape = self.kind() == Kind::Embedded && (self.word() & HAS_EXPIRY != 0) == expiry.is_some();
        if same_shape && bytes.len() <= EMBED_MAX && parse_i64(bytes).is_none() {
            let old = self.total();
            let new = old - self.embedded_len() + bytes.len();
            if size_class(old) == size_class(new) {
                // SAFETY: the size class has room for `new` bytes.
                unsafe { self.write_embedded(bytes) };
                if let Some(at) = expiry {
                    // SAFETY: the flag says that there is room for an expiry.
                    unsafe { self.0.add(HEADER).cast::<i64>().write(at.0) };
                }
                return;
            }
        }
        let access = self.access();
        *self = Entry::string(self.key(), bytes, expiry);
        self.set_access(access);
    }

    /// Replaces the value by an integer, in place if it is one already; the expiry stays.
    pub fn set_int(&mut self, number: i64) {
        if self.kind() == Kind::Int {
            // SAFETY: an Int entry's body holds 8 bytes.
            unsafe { self.body_mut().cast::<i64>().write_unaligned(number) };
        } else {
            let access = self.access();
            *self = Entry::int(self.key(), number, self.expiry());
            self.set_access(access);
        }
    }

    /// Lets `change` work on a string's bytes where they can grow; returns `change`'s result.
    ///
    /// # Panics
    /// If the value is no string: the caller has checked the type.
    pub fn bytes_mut<R>(&mut self, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let ValueRef::Str(text) = self.value() else { panic!("bytes_mut on a value that is no string") };
        if self.kind() != Kind::Raw {
            let bytes = text.to_vec();
            let access = self.access();
            *self = Entry::raw(self.key(), bytes, self.expiry());
            self.set_access(access);
        }
        // SAFETY: the Vec is moved out and back in; if `change` panics, the process aborts (release) or
        // the entry keeps a Vec that is dropped twice never, because the guard writes it back.
        unsafe {
            let mut guard = PutBack { place: self.vec_at(), vec: ManuallyDrop::new(self.vec_at().read_unaligned()) };
            change(&mut guard.vec)
        }
    }

    /// Replaces the expiry, in place if there was one and is one.
    pub fn set_expiry(&mut self, expiry: Option<UnixMs>) {
        match (self.expiry(), expiry) {
            (None, None) => {}
            // SAFETY: the flag says that there is room for an expiry.
            (Some(_), Some(at)) => unsafe { self.0.add(HEADER).cast::<i64>().write(at.0) },
            (_, expiry) => self.rebuild(expiry),
        }
    }

    /// Moves body, key and embedded value into an allocation with or without room for an expiry.
    fn rebuild(&mut self, expiry: Option<UnixMs>) {
        let embedded = if self.kind() == Kind::Embedded { self.embedded_len() } else { 0 };
        let body_bytes = self.kind().body_bytes();
        let mut entry = Entry::blank(self.kind(), self.key(), expiry, embedded);
        entry.set_access(self.access());
        // SAFETY: both hold body, key and embedded value one after the other, of equal lengths. The old
        // allocation is freed without dropping the body, which has moved.
        unsafe {
            entry.body_mut().copy_from_nonoverlapping(self.body(), body_bytes + self.key_len() + embedded);
            std::mem::swap(self, &mut entry);
            entry.free();
        }
        std::mem::forget(entry);
    }

    /// Takes the value out, as one that stands alone.
    pub fn into_value(self) -> Value {
        let this = ManuallyDrop::new(self);
        // SAFETY: the body is moved out, then only the allocation is freed.
        unsafe {
            let value = match this.kind() {
                Kind::Int => Value::Int(this.body().cast::<i64>().read_unaligned()),
                Kind::Embedded => match this.value() {
                    ValueRef::Str(StrRef::Bytes(bytes)) => Value::Str(bytes.to_vec()),
                    _ => unreachable!("an embedded value is a string"),
                },
                Kind::Raw => Value::Str(this.vec_at().read_unaligned()),
                Kind::List => Value::List(Box::from_raw(this.pointer())),
                Kind::Set => Value::Set(Box::from_raw(this.pointer())),
                Kind::ZSet => Value::ZSet(Box::from_raw(this.pointer())),
                Kind::Hash => Value::Hash(Box::from_raw(this.pointer())),
                Kind::Stream => Value::Stream(Box::from_raw(this.pointer())),
            };
            this.free();
            value
        }
    }

    /// # Safety
    /// Nothing uses the entry afterwards, and its body was moved out or needs no drop.
    unsafe fn free(&self) {
        // SAFETY: the same layout as at allocation: `total` never leaves its size class in between.
        unsafe { dealloc(self.0.as_ptr(), Entry::layout(self.total())) }
    }
}

impl Record {
    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        // SAFETY: the key's bytes were written by `blank` and live as long as the entry.
        unsafe { std::slice::from_raw_parts(self.key_at(), self.key_len()) }
    }

    /// The allocation's first byte, with the right to reach all of it.
    #[inline]
    fn base(&self) -> *const u8 {
        std::ptr::with_exposed_provenance((&raw const *self).addr())
    }

    #[inline]
    fn word(&self) -> u32 {
        self.word.load(Ordering::Relaxed)
    }

    #[inline]
    fn kind(&self) -> Kind {
        Kind::of_bits(self.word())
    }

    #[inline]
    fn key_len(&self) -> usize {
        self.key_len as usize
    }

    #[inline]
    fn body_at(&self) -> usize {
        if self.word() & HAS_EXPIRY != 0 { HEADER + EXPIRY } else { HEADER }
    }

    #[inline]
    fn body(&self) -> *const u8 {
        // SAFETY: the body lies inside the allocation.
        unsafe { self.base().add(self.body_at()) }
    }

    #[inline]
    fn key_at(&self) -> *const u8 {
        // SAFETY: the key lies behind the body, inside the allocation.
        unsafe { self.body().add(self.kind().body_bytes()) }
    }

    /// The bytes that the allocation has to hold, before rounding.
    fn total(&self) -> usize {
        let embedded = if self.kind() == Kind::Embedded { self.embedded_len() } else { 0 };
        self.body_at() + self.kind().body_bytes() + self.key_len() + embedded
    }

    fn embedded_len(&self) -> usize {
        debug_assert_eq!(self.kind(), Kind::Embedded);
        // SAFETY: an embedded entry's body is its length.
        unsafe { self.body().cast::<u32>().read_unaligned() as usize }
    }

    /// When it expires; `None` if never.
    #[inline]
    pub fn expiry(&self) -> Option<UnixMs> {
        // SAFETY: the flag says that an expiry follows the header.
        (self.word() & HAS_EXPIRY != 0).then(|| UnixMs(unsafe { self.base().add(HEADER).cast::<i64>().read() }))
    }

    /// When the first field of a hash expires; `None` if none does, or this is no hash.
    #[inline]
    pub fn field_expiry(&self) -> Option<UnixMs> {
        // Each search asks, and most entries are no hashes.
        if self.kind() == Kind::Hash { self.soonest_field() } else { None }
    }

    fn soonest_field(&self) -> Option<UnixMs> {
        match self.value() {
            ValueRef::Hash(hash) => hash.soonest_expiry(),
            _ => None,
        }
    }

    /// The 24 bits of access information (LRU clock, or LFU minutes and counter).
    #[inline]
    pub fn access(&self) -> u32 {
        self.word() & ACCESS_MASK
    }

    /// Replaces the access information; only its low 24 bits are kept.
    #[inline]
    pub fn set_access(&self, access: u32) {
        let word = (self.word() & !ACCESS_MASK) | (access & ACCESS_MASK);
        self.word.store(word, Ordering::Relaxed);
    }

    fn pointer<T>(&self) -> *mut T {
        // SAFETY: callers have checked that the kind is a boxed one.
        unsafe { self.body().cast::<*mut T>().read_unaligned() }
    }

    fn vec_at(&self) -> *mut Vec<u8> {
        debug_assert_eq!(self.kind(), Kind::Raw);
        self.body().cast_mut().cast()
    }

    /// Lets the cache fetch the head of a value that lies elsewhere; whether there was one.
    #[inline]
    pub(crate) fn prefetch_value(&self) -> bool {
        let is_elsewhere = self.kind() as u32 >= Kind::List as u32;
        if is_elsewhere {
            prefetch(self.pointer::<u8>());
        }
        is_elsewhere
    }

    /// Lets the cache fetch what that head tells of.
    #[inline]
    pub(crate) fn prefetch_content(&self) {
        match self.value() {
            ValueRef::List(list) => list.prefetch(),
            ValueRef::Set(set) => set.prefetch(),
            ValueRef::ZSet(zset) => zset.prefetch(),
            ValueRef::Hash(hash) => hash.prefetch(),
            ValueRef::Str(_) | ValueRef::Stream(_) => {}
        }
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> ValueRef<'_> {
        // SAFETY: each arm reads what the entry of that kind was built with, for no longer than the
        // borrow of the entry. A Vec that lies unaligned is only ever copied out, never referenced.
        unsafe {
            match self.kind() {
                Kind::Int => ValueRef::Str(StrRef::Int(self.body().cast::<i64>().read_unaligned())),
                Kind::Embedded => ValueRef::Str(StrRef::Bytes(std::slice::from_raw_parts(
                    self.key_at().add(self.key_len()),
                    self.embedded_len(),
                ))),
                Kind::Raw => {
                    let copy = ManuallyDrop::new(self.vec_at().read_unaligned());
                    ValueRef::Str(StrRef::Bytes(std::slice::from_raw_parts(copy.as_ptr(), copy.len())))
                }
                Kind::List => ValueRef::List(&*self.pointer()),
                Kind::Set => ValueRef::Set(&*self.pointer()),
                Kind::ZSet => ValueRef::ZSet(&*self.pointer()),
                Kind::Hash => ValueRef::Hash(&*self.pointer()),
                Kind::Stream => ValueRef::Stream(&*self.pointer()),
            }
        }
    }

    /// Whether the value is no string: its parts may lie in many allocations.
    #[inline]
    pub fn is_collection(&self) -> bool {
        self.kind() as u32 >= Kind::List as u32
    }

    /// How OBJECT ENCODING names the value's form.
    pub fn encoding(&self) -> &'static str {
        match self.kind() {
            Kind::Int => "int",
            Kind::Embedded if self.embedded_len() <= 44 => "embstr",
            Kind::Embedded | Kind::Raw => "raw",
            _ => self.value().encoding(),
        }
    }

    /// Bytes that the entry takes, its value included.
    pub fn heap_bytes(&self) -> usize {
        let own = size_class(self.total());
        match self.kind() {
            Kind::Int | Kind::Embedded => own,
            // SAFETY: the Vec is copied out, looked at and not dropped.
            Kind::Raw => own + unsafe { ManuallyDrop::new(self.vec_at().read_unaligned()).capacity() },
            _ => own + self.value().heap_bytes(),
        }
    }
}

/// Writes a Vec back to where it lies, also when a change panics half-way.
struct PutBack {
    place: *mut Vec<u8>,
    vec: ManuallyDrop<Vec<u8>>,
}

impl Drop for PutBack {
    fn drop(&mut self) {
        // SAFETY: `place` is the entry's body, which outlives the guard; the Vec moves back there.
        unsafe { self.place.write_unaligned(ManuallyDrop::take(&mut self.vec)) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: each kind's body is dropped once, then the allocation is freed.
        unsafe {
            match self.kind() {
                Kind::Int | Kind::Embedded => {}
                Kind::Raw => drop(self.vec_at().read_unaligned()),
                Kind::List => drop(Box::<List>::from_raw(self.pointer())),
                Kind::Set => drop(Box::<Set>::from_raw(self.pointer())),
                Kind::ZSet => drop(Box::<ZSet>::from_raw(self.pointer())),
                Kind::Hash => drop(Box::<Hash>::from_raw(self.pointer())),
                Kind::Stream => drop(Box::<Stream>::from_raw(self.pointer())),
            }
            self.free();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(entry: &Entry) -> Vec<u8> {
        match entry.value() {
            ValueRef::Str(text) => text.to_vec(),
            _ => panic!("no string"),
        }
    }

    #[test]
    fn strings_of_every_length_come_back_with_and_without_expiry() {
        for len in [0, 1, 44, 45, 64, 1023, 1024, 1025, 70_000] {
            let bytes: Vec<u8> = (0..len).map(|index| b'a' + (index % 26) as u8).collect();
            let mut entry = Entry::string(b"the key", &bytes, None);
            entry.set_access(0x00ab_cdef);
            assert_eq!((entry.key(), text(&entry), entry.expiry()), (&b"the key"[..], bytes.clone(), None));
            entry.set_expiry(Some(UnixMs(77)));
            assert_eq!((entry.key(), text(&entry), entry.expiry()), (&b"the key"[..], bytes.clone(), Some(UnixMs(77))));
            entry.set_expiry(Some(UnixMs(78)));
            assert_eq!(entry.expiry(), Some(UnixMs(78)));
            entry.set_expiry(None);
            assert_eq!((text(&entry), entry.expiry(), entry.access()), (bytes.clone(), None, 0x00ab_cdef));
            entry.bytes_mut(|value| value.extend_from_slice(b"xyz"));
            assert_eq!(text(&entry), [&bytes[..], b"xyz"].concat());
        }
    }

    #[test]
    fn integers_are_stored_as_such() {
        let mut entry = Entry::string(b"k", b"-42", None);
        assert_eq!(entry.encoding(), "int");
        entry.set_int(7);
        assert_eq!(text(&entry), b"7");
        entry.set_str(b"007", None);
        assert_eq!((entry.encoding(), text(&entry)), ("embstr", b"007".to_vec()));
        entry.set_int(8);
        assert_eq!((entry.encoding(), text(&entry)), ("int", b"8".to_vec()));
    }

    #[test]
    fn a_value_of_nearly_the_same_length_is_written_in_place() {
        let mut entry = Entry::string(b"0123456789abcdef", &[b'x'; 64], None);
        assert_eq!(entry.heap_bytes(), 96);
        let place = entry.0;
        entry.set_str(&[b'y'; 60], None);
        assert_eq!((entry.0, text(&entry)), (place, vec![b'y'; 60]));
        entry.set_str(&[b'z'; 20], None);
        assert_eq!(text(&entry), [b'z'; 20]);
    }

    #[test]
    fn collections_are_owned_and_given_back() {
        let mut entry = Entry::new(b"h", Value::Hash(Box::new(Hash::new())));
        match entry.value_mut() {
            ValueMut::Hash(hash) => assert!(hash.insert(b"f", b"v", &Default::default())),
            _ => panic!("no hash"),
        }
        entry.set_expiry(Some(UnixMs(5)));
        match entry.into_value() {
            Value::Hash(hash) => assert_eq!(hash.len(), 1),
            _ => panic!("no hash"),
        }
    }
}

//! A stretch of the log in memory: one writer appends, any number of readers read what was published, without a lock.

use std::cell::UnsafeCell;

use crate::sync::{AtomicUsize, Ordering};

/// Bytes from `base` on. Only the writer, under the log's lock, writes behind `len`; what is before it
/// never changes again.
pub(crate) struct Block {
    base: u64,
    len: AtomicUsize,
    bytes: Box<[UnsafeCell<u8>]>,
    /// Touched as the bytes are: loom sees these, and reports an access that is not ordered against another.
    #[cfg(loom)]
    witnesses: Box<[loom::cell::UnsafeCell<()>]>,
}

// SAFETY: see the type's text: published bytes are immutable, unpublished ones have one writer.
unsafe impl Sync for Block {}
#[cfg(loom)]
// SAFETY: a witness has no content.
unsafe impl Send for Block {}

impl Block {
    pub(crate) fn new(base: u64, capacity: usize) -> Block {
        Block {
            base,
            len: AtomicUsize::new(0),
            bytes: vec![0u8; capacity].into_iter().map(UnsafeCell::new).collect(),
            #[cfg(loom)]
            witnesses: (0..capacity).map(|_| loom::cell::UnsafeCell::new(())).collect(),
        }
    }

    /// The offset of its first byte.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// The offset behind the last byte that was published.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.len.load(Ordering::Acquire) as u64
    }

    pub(crate) fn published(&self) -> &[u8] {
        let len = self.len.load(Ordering::Acquire);
        #[cfg(loom)]
        self.witnesses[..len].iter().for_each(|witness| witness.with(|_| ()));
        // SAFETY: bytes below `len` were written before it was raised and never change again.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().cast(), len) }
    }

    /// Takes as much of `bytes` as fits; the rest is returned.
    ///
    /// # Safety
    /// The caller holds the log's lock.
    pub(crate) unsafe fn append<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let len = self.len.load(Ordering::Relaxed);
        let fits = bytes.len().min(self.bytes.len() - len);
        #[cfg(loom)]
        self.witnesses[len..len + fits].iter().for_each(|witness| witness.with_mut(|_| ()));
        // SAFETY: the room behind `len` is unpublished, and the lock makes us its only writer.
        unsafe {
            let at = self.bytes.as_ptr().add(len).cast_mut().cast::<u8>();
            at.copy_from_nonoverlapping(bytes.as_ptr(), fits);
        }
        self.len.store(len + fits, Ordering::Release);
        &bytes[fits..]
    }
}

//! The primitives that the locking files are written in: the real ones, or loom's when they are
//! model-checked (`RUSTFLAGS="--cfg loom"`).

#[cfg(loom)]
pub(crate) use loom::sync::Mutex as Turn;
#[cfg(loom)]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};
#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex as Turn;
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

/// Stands between a SeqCst store and the SeqCst load after it. The two are in the one order of all SeqCst operations by
/// themselves; loom knows that order of fences only, and takes such accesses for acquire and release.
#[inline(always)]
pub(crate) fn in_one_order() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

//! Lazy freeing: values that take long to free are given to a thread that has nothing else to do.
//!
//! A value that lies in one or few allocations is freed at once, by whoever removes it: to hand it over
//! would cost more. Without a freeing thread everything is freed at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::entry::{Entry, Record};
use crate::space::Flushed;

/// What takes more allocations than this to free is worth handing over.
const LARGE: usize = 64;

/// Which removals leave the freeing of large values to the freeing thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lazy {
    /// Of keys whose time has come (`lazyfree-lazy-expire`).
    pub expire: bool,
    /// Of values that a command replaces (`lazyfree-lazy-server-del`).
    pub server_del: bool,
}

/// The way to the freeing thread.
#[derive(Default)]
pub struct Reclaim {
    queue: Mutex<VecDeque<Garbage>>,
    arrived: Condvar,
    running: AtomicBool,
    pending: AtomicUsize,
    freed: AtomicU64,
}

enum Garbage {
    Entry(#[allow(dead_code, reason = "held to be dropped")] Entry),
    Tables(Flushed),
}

impl Garbage {
    /// How many objects it counts as.
    fn objects(&self) -> usize {
        match self {
            Garbage::Entry(_) => 1,
            Garbage::Tables(flushed) => flushed.keys(),
        }
    }
}

impl Record {
    /// Whether freeing it takes so long that nobody should wait for it.
    pub(crate) fn is_large(&self) -> bool {
        self.is_collection() && self.value().allocations() > LARGE
    }

    /// Bytes that another thread frees when the entry is discarded lazily.
    pub fn lazy_bytes(&self) -> usize {
        if self.is_large() { self.heap_bytes() } else { 0 }
    }
}

impl Reclaim {
    /// Frees an entry, on the freeing thread if it is large.
    pub fn entry(&self, entry: Entry) {
        if entry.is_large() {
            self.push(Garbage::Entry(entry));
        }
    }

    /// Frees what a database held.
    pub fn tables(&self, flushed: Flushed) {
        if flushed.keys() > 0 {
            self.push(Garbage::Tables(flushed));
        }
    }

    fn push(&self, garbage: Garbage) {
        if !self.running.load(Ordering::Acquire) {
            return;
        }
        self.pending.fetch_add(garbage.objects(), Ordering::Relaxed);
        self.queue.lock().push_back(garbage);
        self.arrived.notify_one();
    }

    /// `lazyfree_pending_objects`: how many objects wait to be freed.
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// `lazyfreed_objects`: how many objects were freed in this way.
    pub fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }

    /// Forgets how many objects were freed (CONFIG RESETSTAT).
    pub fn reset(&self) {
        self.freed.store(0, Ordering::Relaxed);
    }

    /// Lets the freeing thread see that it is to end.
    pub fn wake(&self) {
        // Held, so that the thread is not between its look and its sleep.
        let _queue = self.queue.lock();
        self.arrived.notify_one();
    }

    /// Frees what comes until `stopped` says so, and [`Reclaim::wake`] makes it look: the freeing thread's whole life.
    pub fn run(&self, stopped: impl Fn() -> bool) {
        self.running.store(true, Ordering::Release);
        while !stopped() {
            let mut queue = self.queue.lock();
            if queue.is_empty() && !stopped() {
                self.arrived.wait(&mut queue);
            }
            let garbage = queue.pop_front();
            drop(queue);
            if let Some(garbage) = garbage {
                self.free(garbage);
            }
        }
        self.running.store(false, Ordering::Release);
    }

    fn free(&self, garbage: Garbage) {
        let count = |objects: usize| {
            self.pending.fetch_sub(objects, Ordering::Relaxed);
            self.freed.fetch_add(objects as u64, Ordering::Relaxed);
        };
        match garbage {
            Garbage::Entry(entry) => {
                drop(entry);
                count(1);
            }
            // Table by table, so that it can be seen how it goes on.
            Garbage::Tables(flushed) => flushed.for_each_table(|keys, table| {
                drop(table);
                count(keys);
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_stdx::{Rng, UnixMs};
    use quorate_values::{Limits, Set, Value};

    use super::*;
    use crate::{AccessPolicy, Db, Expiry, Keyspace, Scope, Slot, SlotSet};

    fn large(key: &str) -> Entry {
        let members = (0..1000).map(|number| format!("member {number}"));
        let set = Set::from_members(members, &Limits::default()).unwrap();
        Entry::new(key.as_bytes(), Value::Set(Box::new(set)))
    }

    fn scope() -> Scope {
        Scope {
            now: UnixMs(1),
            expiry: Expiry::Remove,
            access: AccessPolicy::Lru,
            no_touch: false,
            lazy: Lazy::default(),
            reports_new: false,
            broadcasts: false,
            acting: 0.into(),
            rng: Rng::new(1).into(),
        }
    }

    /// Waits until so many objects were freed.
    fn await_freed(space: &Keyspace, objects: u64) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while space.reclaim().freed() < objects {
            assert!(std::time::Instant::now() < deadline, "only {} were freed", space.reclaim().freed());
            std::thread::yield_now();
        }
        assert_eq!((space.reclaim().freed(), space.reclaim().pending()), (objects, 0));
    }

    #[test]
    fn large_values_and_whole_databases_are_freed_elsewhere_and_counted() {
        let space = Arc::new(Keyspace::new(2));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (space, stop) = (Arc::clone(&space), Arc::clone(&stop));
            std::thread::spawn(move || space.reclaim().run(|| stop.load(Ordering::Acquire)))
        };
        while !space.reclaim().running.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let mut member = space.join();
        let scope = scope();
        member.enter();
        for key in ["a", "b", "c", "d"] {
            let mut view = member.view(SlotSet::One(Slot::of(key.as_bytes())), &scope);
            view.insert(Db(0), large(key));
        }
        let mut view = member.view(SlotSet::One(Slot::of(b"a")), &scope);
        let entry = view.remove(Db(0), b"a").unwrap();
        view.discard(entry, true);
        drop(view);
        await_freed(&space, 1);
        let mut view = member.view(SlotSet::One(Slot::of(b"b")), &scope);
        let entry = view.remove(Db(0), b"b").unwrap();
        view.discard(entry, false);
        view.set_str(Db(0), b"b", b"small", None);
        drop(view);
        member.leave();
        let flushed = member.alone(|alone| alone.flush(Db(0)));
        assert_eq!(flushed.keys(), 3);
        space.reclaim().tables(flushed);
        await_freed(&space, 4);
        stop.store(true, Ordering::Release);
        space.reclaim().wake();
        thread.join().unwrap();
    }

    #[test]
    fn without_a_freeing_thread_nothing_waits() {
        let space = Keyspace::new(1);
        space.reclaim().entry(large("k"));
        assert_eq!((space.reclaim().pending(), space.reclaim().freed()), (0, 0));
    }
}

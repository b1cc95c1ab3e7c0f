//! What clients were told: which of their numbers were acknowledged, and when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_client::Reply;

/// What was acknowledged to one client, and when: the numbers count from one.
pub(super) type Written = Vec<(Instant, u64)>;

/// What a client has in common with those that write beside it.
#[derive(Clone, Default)]
pub(super) struct Shared {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
}

impl Shared {
    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Notes that a number was acknowledged just now.
    pub(super) fn note(&self, written: &mut Written, number: u64) {
        written.push((Instant::now(), number));
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// Some clients that write until they are stopped.
pub(super) struct Clients {
    shared: Shared,
    threads: Vec<JoinHandle<Written>>,
}

impl Clients {
    /// Starts so many; each is told its number.
    pub(super) fn start<W>(count: usize, mut client: impl FnMut(usize) -> W) -> Clients
    where
        W: FnOnce(&Shared) -> Written + Send + 'static,
    {
        let shared = Shared::default();
        let threads = (0..count).map(|number| {
            let (shared, write) = (shared.clone(), client(number));
            std::thread::spawn(move || write(&shared))
        });
        Clients { threads: threads.collect(), shared }
    }

    /// How many writes have been acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends them; what each was told.
    pub(super) fn stop(self) -> Vec<Written> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    }
}

/// The longest time after `since` in which nothing was acknowledged to any of them.
pub(super) fn outage<'a>(clients: impl IntoIterator<Item = &'a Written>, since: Instant) -> Duration {
    let mut times: Vec<Instant> = clients.into_iter().flatten().map(|(at, _)| *at).collect();
    times.sort();
    let gaps = times.windows(2).filter(|pair| pair[1] > since).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}

/// When those were acknowledged that are not among the members of a set; `None` if that is none.
pub(super) fn lost(written: &Written, members: Reply) -> Option<Vec<Instant>> {
    let (Reply::Array(items) | Reply::Set(items)) = members else { return None };
    let held: BTreeSet<u64> = items.into_iter().filter_map(|item| super::text(item)?.parse().ok()).collect();
    Some(written.iter().filter(|(_, number)| !held.contains(number)).map(|(at, _)| *at).collect())
}

/// How many writes were acknowledged.
pub(super) fn count(clients: &[Written]) -> usize {
    clients.iter().map(Vec::len).sum()
}

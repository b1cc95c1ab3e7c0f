//! Clients that write one number after the other and remember which were acknowledged, and when.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};

use super::{CLIENTS, Deployment, Lan, NAME, SENTINEL_PORT, SENTINELS, SERVER_PORT, SERVERS, address};

/// After so long without a reply a client that may go elsewhere gives a connection up.
const PATIENCE: Duration = Duration::from_millis(200);

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// On a host of its own, to whatever the Sentinels name.
    Roaming,
    /// On the first primary's host, to that alone.
    Pinned,
}

/// What was acknowledged, and when: the numbers count from zero.
type Written = Vec<(Instant, u64)>;

/// Some clients of one kind, which write until they are stopped.
pub(super) struct Writers {
    kind: Kind,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Written>>,
}

impl Writers {
    pub(super) fn start(deployment: &Deployment, kind: Kind, count: usize) -> Writers {
        let (stop, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let threads = (0..count)
            .map(|number| {
                let host = if kind == Kind::Pinned { 0 } else { CLIENTS };
                let (door, stop, acknowledged) =
                    (deployment.lan.door(host), Arc::clone(&stop), Arc::clone(&acknowledged));
                std::thread::spawn(move || {
                    door().map_or_else(|_| Vec::new(), |()| write(kind, &key(kind, number), &stop, &acknowledged))
                })
            })
            .collect();
        Writers { kind, stop, acknowledged, threads }
    }

    /// How many writes have been acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends them.
    pub(super) fn stop(self) -> Log {
        self.stop.store(true, Ordering::Relaxed);
        let written = self.threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect();
        Log { kind: self.kind, written }
    }
}

/// What the clients of one kind were told.
pub(super) struct Log {
    kind: Kind,
    written: Vec<Written>,
}

impl Log {
    /// The longest time after `since` in which nothing was acknowledged to anybody.
    pub(super) fn outage(&self, since: Instant) -> Duration {
        let mut times: Vec<Instant> = self.written.iter().flatten().map(|(at, _)| *at).collect();
        times.sort();
        let gaps = times.windows(2).filter(|pair| pair[1] > since).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or_default()
    }

    /// When those were acknowledged that a server does not have; `None` if it does not say.
    pub(super) fn lost(&self, deployment: &Deployment, server: usize) -> Option<Vec<Instant>> {
        let mut lost = Vec::new();
        for (number, written) in self.written.iter().enumerate() {
            let items = match deployment.server(server, &["SMEMBERS", &key(self.kind, number)])? {
                Reply::Array(items) | Reply::Set(items) => items,
                _ => return None,
            };
            let held: BTreeSet<u64> = items.into_iter().filter_map(|item| super::text(item)?.parse().ok()).collect();
            lost.extend(written.iter().filter(|(_, number)| !held.contains(number)).map(|(at, _)| *at));
        }
        Some(lost)
    }

    /// How many were acknowledged.
    pub(super) fn len(&self) -> usize {
        self.written.iter().map(Vec::len).sum()
    }
}

fn key(kind: Kind, number: usize) -> String {
    format!("{kind:?}:{number}")
}

fn write(kind: Kind, key: &str, stop: &AtomicBool, acknowledged: &AtomicUsize) -> Written {
    let mut written = Vec::new();
    let mut next = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let Some(mut client) = connect(kind) else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            next += 1;
            match client.call(&["SADD", key, &next.to_string()]) {
                Ok(Reply::Int(_)) => {
                    written.push((Instant::now(), next));
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                // It is no primary any more, or does not answer.
                Ok(_) | Err(_) => break,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if kind == Kind::Pinned {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    written
}

fn connect(kind: Kind) -> Option<Client> {
    if kind == Kind::Pinned {
        return Client::connect(SocketAddr::from((Lan::ip(0), SERVER_PORT)), Duration::from_secs(1)).ok();
    }
    (SERVERS..SERVERS + SENTINELS).find_map(|host| {
        let mut sentinel = Client::connect(SocketAddr::from((Lan::ip(host), SENTINEL_PORT)), PATIENCE).ok()?;
        let named = address(&sentinel.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).ok()?)?;
        Client::connect(SocketAddr::from((named, SERVER_PORT)), PATIENCE).ok()
    })
}

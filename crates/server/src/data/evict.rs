//! `maxmemory`: keys are removed until there is room for the next command.
//!
//! Victims are approximate: a few entries are drawn at random, the best of them and of earlier draws stand
//! in a small pool, and the best of the pool goes. Before it goes it is looked at again, because it may
//! have been used since it was drawn. One thread evicts at a time, the others wait for it; it does so for
//! as long as `maxmemory-eviction-tenacity` allows, and the upkeep thread goes on from there.
//!
//! How much has to go is decided once, at the beginning. To remove a key takes memory, too: clients that hold copies of it have
//! to hear of it. If that counted, the removal of one key would be the reason to remove the next, until none is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_commands::Class;
use quorate_config::Policy;
use quorate_keyspace::{Db, Member, Record, Scope, Slot, SlotSet};
use quorate_stdx::UnixMs;

use crate::data::call::Local;
use crate::server::{Published, Role, Server};

/// How many candidates are kept from draw to draw.
const POOL: usize = 16;
/// Keys that are removed between two looks at the clock.
const BATCH: usize = 16;
/// Draws without a victim after which there is none.
const PATIENCE: usize = 64;

/// Which keys may be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    AllKeys,
    /// Those with an expiry.
    Volatile,
}

/// Which of them go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// What the access bits say: those not used for longest, or used least often.
    Access,
    Random,
    /// Those that expire first.
    Ttl,
}

/// What a policy means; `None` if nothing is evicted.
fn meaning(policy: Policy) -> Option<(Among, By)> {
    match policy {
        Policy::NoEviction => None,
        Policy::AllKeysLru | Policy::AllKeysLfu => Some((Among::AllKeys, By::Access)),
        Policy::AllKeysRandom => Some((Among::AllKeys, By::Random)),
        Policy::VolatileLru | Policy::VolatileLfu => Some((Among::Volatile, By::Access)),
        Policy::VolatileRandom => Some((Among::Volatile, By::Random)),
        Policy::VolatileTtl => Some((Among::Volatile, By::Ttl)),
    }
}

/// How long a command may be held up by eviction; `None` is for ever.
fn patience(tenacity: u32) -> Option<Duration> {
    let micros = match tenacity {
        0..=10 => 50.0 * f64::from(tenacity),
        11..=99 => 500.0 * 1.15f64.powi(tenacity as i32 - 10),
        _ => return None,
    };
    Some(Duration::from_secs_f64(micros / 1e6))
}

/// Whether there is room for a command that needs memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Enough,
    /// There is not, but it is being made.
    Soon,
    /// There is not, and nothing may be evicted.
    None,
}

/// What eviction remembers from one command to the next.
#[derive(Default)]
pub struct Evictor {
    state: Mutex<State>,
    /// `total_eviction_exceeded_time`, microseconds, without the current stretch.
    exceeded_micros: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The better a victim, the further behind.
    pool: Vec<Candidate>,
    /// Since when memory has been above the limit.
    exceeded_since: Option<Instant>,
}

struct Candidate {
    score: u64,
    db: Db,
    key: Box<[u8]>,
}

impl Evictor {
    /// For how long memory was above the limit in all, and has been without interruption.
    pub fn exceeded(&self) -> (Duration, Duration) {
        let current = self.state.lock().exceeded_since.map_or(Duration::ZERO, |since| since.elapsed());
        (Duration::from_micros(self.exceeded_micros.load(Ordering::Relaxed)) + current, current)
    }

    /// Forgets for how long that was (CONFIG RESETSTAT).
    pub fn reset(&self) {
        self.exceeded_micros.store(0, Ordering::Relaxed);
    }

    fn note(&self, state: &mut State, exceeded: bool) {
        if exceeded {
            state.exceeded_since.get_or_insert_with(Instant::now);
        } else if let Some(since) = state.exceeded_since.take() {
            self.exceeded_micros.fetch_add(since.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
    }
}

/// Sees to it that there is room for a command, before it runs. The thread is active and holds no slot.
#[inline]
pub fn make_room(server: &Arc<Server>, member: &mut Member, local: &mut Local, scope: &Scope) -> Room {
    let limit = local.published.memory.max;
    if limit == 0 || local.meter.used(&server.memory) <= limit {
        return Room::Enough;
    }
    make_room_slowly(server, member, local, scope)
}

#[cold]
fn make_room_slowly(server: &Arc<Server>, member: &mut Member, local: &mut Local, scope: &Scope) -> Room {
    let published = Arc::clone(&local.published);
    if published.role != Role::Primary && published.memory.replica_ignores_max {
        return Room::Enough;
    }
    let mut state = server.evictor.state.lock();
    let began = Instant::now();
    let patience = patience(published.memory.eviction_tenacity);
    let mut left = excess(server, local, &published);
    let room = loop {
        left = left.min(excess(server, local, &published));
        if left == 0 {
            break Room::Enough;
        }
        if published.memory.policy == Policy::NoEviction {
            break Room::None;
        }
        server.evictor.note(&mut state, true);
        let mut evicted = false;
        for _ in 0..BATCH {
            let Some(bytes) = evict_one(server, member, local, scope, &published, &mut state.pool) else { break };
            evicted = true;
            left = left.saturating_sub(bytes as u64).min(excess(server, local, &published));
            if left == 0 {
                break;
            }
        }
        if !evicted && left > 0 {
            // What the freeing thread has still to free is room as well.
            break if server.space.reclaim().pending() > 0 { Room::Soon } else { Room::None };
        }
        if patience.is_some_and(|patience| began.elapsed() >= patience) && left > 0 {
            break Room::Soon;
        }
    };
    server.evictor.note(&mut state, room != Room::Enough);
    drop(state);
    if room == Room::Soon {
        server.wake_upkeep();
    }
    room
}

/// How much more is in use than may be, bytes. What replicas have not read yet does not count, nor what clients have not read
/// of stale copies: to evict keys makes more of it.
fn excess(server: &Server, local: &mut Local, published: &Published) -> u64 {
    let unsent = server.feed.excess_bytes() + server.trackers.unsent() as u64;
    local.meter.used(&server.memory).saturating_sub(unsent).saturating_sub(published.memory.max)
}

/// Removes one key; how many bytes it had, or nothing if there is none to remove.
fn evict_one(
    server: &Server,
    member: &mut Member,
    local: &mut Local,
    scope: &Scope,
    published: &Published,
    pool: &mut Vec<Candidate>,
) -> Option<usize> {
    let (among, by) = meaning(published.memory.policy)?;
    for _ in 0..PATIENCE {
        draw(server, member, scope, published.memory.samples as usize, among, by, pool);
        while let Some(candidate) = pool.pop() {
            let mut view = member.view(SlotSet::One(Slot::of(&candidate.key)), scope);
            let still = |entry: &Record| {
                let score = score(entry, by, scope);
                score.is_some_and(|score| score >= candidate.score)
                    && (among == Among::AllKeys || entry.expiry().is_some())
            };
            let lazily = published.lazy_eviction;
            let record = view.peek_raw(candidate.db, &candidate.key);
            let bytes = record.map_or(0, |record| record.heap_bytes());
            let freed_later = record.filter(|_| lazily).map_or(0, Record::lazy_bytes);
            if view.evict(candidate.db, &candidate.key, lazily, still) {
                server.memory.forgive(freed_later);
                pass_on(server, local, published, candidate.db, &candidate.key);
                return Some(bytes);
            }
        }
        if is_empty(server, among) {
            return None;
        }
    }
    None
}

/// Tells replicas and subscribers, under the lock of the key's slot.
fn pass_on(server: &Server, local: &mut Local, published: &Published, db: Db, key: &[u8]) {
    if published.role == Role::Primary && server.feed.is_on() {
        let name: &[u8] = if published.lazy_eviction { b"UNLINK" } else { b"DEL" };
        let mut wire = Vec::new();
        quorate_resp::encode_request(&mut wire, &[name, key]);
        server.feed.append(db, &wire);
    }
    local.events.note(Class::EVICTED, "evicted", db, key);
}

fn databases(server: &Server) -> impl Iterator<Item = Db> + '_ {
    (0..server.space.databases()).map(|number| Db(number as u16))
}

/// Whether no key may be evicted.
fn is_empty(server: &Server, among: Among) -> bool {
    databases(server).all(|db| count(server, db, among) == 0)
}

fn count(server: &Server, db: Db, among: Among) -> usize {
    match among {
        Among::AllKeys => server.space.len(db),
        Among::Volatile => server.space.volatile(db),
    }
}

/// How good a victim an entry is; higher is better.
fn score(entry: &Record, by: By, scope: &Scope) -> Option<u64> {
    match by {
        By::Random => Some(0),
        By::Access => Some(scope.access.staleness(entry.access(), scope.now)),
        By::Ttl => entry.expiry().map(|UnixMs(at)| i64::MAX.abs_diff(at)),
    }
}

/// Draws entries from each database into the pool.
fn draw(
    server: &Server,
    member: &mut Member,
    scope: &Scope,
    samples: usize,
    among: Among,
    by: By,
    pool: &mut Vec<Candidate>,
) {
    // One at random is as good as the best of many.
    let samples = if by == By::Random { 1 } else { samples.max(1) };
    for db in databases(server) {
        if count(server, db, among) == 0 {
            continue;
        }
        let mut view = member.view(SlotSet::None, scope);
        view.sample(db, among == Among::Volatile, samples, |entry| {
            if let Some(score) = score(entry, by, scope) {
                enter(pool, score, db, entry.key());
            }
        });
    }
}

/// Takes a candidate into the pool, if it is better than the worst there.
fn enter(pool: &mut Vec<Candidate>, score: u64, db: Db, key: &[u8]) {
    if pool.len() == POOL && score <= pool[0].score {
        return;
    }
    if pool.iter().any(|other| other.db == db && *other.key == *key) {
        return;
    }
    if pool.len() == POOL {
        pool.remove(0);
    }
    let at = pool.partition_point(|other| other.score <= score);
    pool.insert(at, Candidate { score, db, key: key.into() });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_keeps_the_best_in_order_and_none_twice() {
        let mut pool = Vec::new();
        for score in [5, 3, 9, 9, 1] {
            enter(&mut pool, score, Db(0), &score.to_le_bytes());
        }
        let scores = |pool: &Vec<Candidate>| pool.iter().map(|candidate| candidate.score).collect::<Vec<_>>();
        assert_eq!(scores(&pool), [1, 3, 5, 9]);
        for score in 10..30 {
            enter(&mut pool, score, Db(0), &score.to_le_bytes());
        }
        assert_eq!(scores(&pool), (14..30).collect::<Vec<_>>());
        enter(&mut pool, 2, Db(0), b"worse");
        assert_eq!(pool.len(), POOL);
    }

    #[test]
    fn tenacity_says_how_long_a_command_may_be_held_up() {
        assert_eq!(patience(0), Some(Duration::ZERO));
        assert_eq!(patience(10), Some(Duration::from_micros(500)));
        assert!(patience(50).is_some_and(|patience| patience > Duration::from_millis(100)));
        assert_eq!(patience(100), None);
    }
}

//! The upkeep thread: what has to be done for the data when no client asks for it.
//!
//! It is a member of the keyspace like a network thread and works in bites of at most a millisecond, with
//! pauses in between, so that its share of a processor is bounded (a quarter, or what
//! `active-expire-effort` says) and nobody waits for it noticeably. It holds one slot at a time, for as
//! long as it takes to look at a few dozen keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_keyspace::{Counters, Db, Expiry, Member, Scope, SlotSet, Sweep};
use quorate_stdx::{Rng, UnixMs};

use crate::data::blocked;
use crate::data::call::{Access, Local, log_notices};
use crate::data::evict::{self, Room};
use crate::data::stats::Statistics;
use crate::data::tracking;
use crate::data::worker::Mail;
use crate::process;
use crate::server::{Loading, Server, unix_now};

/// The longest that the thread works without a pause.
const BITE: Duration = Duration::from_millis(1);
/// Entries looked at under a slot's lock before it is given up for a moment.
const ENTRIES: usize = 64;
/// Keys of a database whose time to live is looked at in a round.
const TTLS: usize = 20;

/// The figures of active expiry.
pub struct ActiveExpiry {
    /// `expire_cycle_cpu_milliseconds`, in nanoseconds.
    pub nanos: AtomicU64,
    /// `expired_time_cap_reached_count`: rounds that ended because their time was over.
    pub cut_short: AtomicU64,
    /// Millionths of the keys with an expiry that are estimated to be expired but not removed.
    stale_millionths: AtomicU64,
    /// How long keys with an expiry have to live, milliseconds, by database: moving averages of samples.
    ttls: Mutex<BTreeMap<Db, i64>>,
}

impl Default for ActiveExpiry {
    fn default() -> ActiveExpiry {
        ActiveExpiry {
            nanos: AtomicU64::new(0),
            cut_short: AtomicU64::new(0),
            stale_millionths: AtomicU64::new(0),
            ttls: Mutex::default(),
        }
    }
}

impl ActiveExpiry {
    /// `expired_stale_perc`: percents, a moving average.
    pub fn stale_percent(&self) -> f64 {
        self.stale_millionths.load(Ordering::Relaxed) as f64 / 1e4
    }

    /// `avg_ttl` of a database, milliseconds; 0 if nothing in it has an expiry.
    pub fn average_ttl(&self, db: Db) -> i64 {
        self.ttls.lock().get(&db).copied().unwrap_or(0)
    }

    /// Takes one sample's mean into a database's average; none if there is nothing to sample.
    fn note_ttl(&self, db: Db, mean: Option<i64>) {
        let mut ttls = self.ttls.lock();
        match mean {
            Some(mean) => _ = ttls.entry(db).and_modify(|average| *average += (mean - *average) / 50).or_insert(mean),
            None => _ = ttls.remove(&db),
        }
    }

    /// Forgets the figures (CONFIG RESETSTAT).
    pub fn reset(&self) {
        self.stale_millionths.store(0, Ordering::Relaxed);
        self.cut_short.store(0, Ordering::Relaxed);
    }

    /// Takes one round's estimate into the average.
    fn estimate(&self, share: f64) {
        let before = self.stale_millionths.load(Ordering::Relaxed) as f64;
        let after = share.clamp(0.0, 1.0) * 1e6 * 0.05 + before * 0.95;
        self.stale_millionths.store(after as u64, Ordering::Relaxed);
    }
}

/// Starts the thread. It ends soon after the server's `stopping` is set.
pub fn start(server: &Arc<Server>, seed: u64) -> std::io::Result<JoinHandle<()>> {
    let server = Arc::clone(server);
    std::thread::Builder::new().name("upkeep".to_owned()).spawn(move || Upkeep::new(server, seed).run())
}

/// Starts the thread that frees what is large.
pub fn start_reclaiming(server: &Arc<Server>) -> std::io::Result<JoinHandle<()>> {
    let server = Arc::clone(server);
    let run = move || {
        process::step_back();
        server.space.reclaim().run(|| server.stopping.load(Ordering::Acquire));
    };
    std::thread::Builder::new().name("lazyfree".to_owned()).spawn(run)
}

struct Upkeep {
    server: Arc<Server>,
    member: Member,
    local: Local,
    scope: Scope,
    generation: u64,
    /// A slot whose sweep is not at its end.
    sweep: Option<Sweep>,
    /// Where the search for due slots goes on.
    next: usize,
}

/// What one round of active expiry has seen.
#[derive(Default)]
struct Round {
    due_slots: usize,
    swept: usize,
    removed: usize,
}

impl Upkeep {
    fn new(server: Arc<Server>, seed: u64) -> Upkeep {
        let generation = server.generation.load(Ordering::Acquire);
        let published = server.published();
        Upkeep {
            member: server.space.join(),
            // It runs no commands: what it counts are keys, and those are the member's.
            local: Local::new(Arc::clone(&published), Arc::new(Statistics::default()), usize::MAX),
            scope: published.scope(server.now().unix, Rng::new(seed)),
            generation,
            sweep: None,
            next: 0,
            server,
        }
    }

    fn run(mut self) {
        let known = self.server.upkeep.set(std::thread::current());
        assert!(known.is_ok(), "the upkeep thread is started once");
        while !self.server.stopping.load(Ordering::Acquire) {
            let period = Duration::from_secs(1) / self.local.published.hz.max(1);
            self.server.rest.round();
            let began = Instant::now();
            self.local.meter.tell(&self.server.memory);
            self.server.memory.sample_regularly();
            self.server.migrations.close_idle();
            self.make_room();
            self.end_pause();
            self.look_after_locks();
            self.look_after_copies();
            if !self.server.knobs.cron_paused.load(Ordering::Relaxed) {
                self.expire(period);
            }
            if !self.server.own_expiries.is_empty() {
                self.active(|this| this.server.own_expiries.sweep(&mut this.member, &this.scope));
            }
            // Woken early where memory is short.
            let period = if self.may_rest() { self.server.rest.patience(period) } else { period };
            std::thread::park_timeout(period.saturating_sub(began.elapsed()).max(BITE));
        }
    }

    /// Whether nothing is to be looked after that becomes due by itself.
    fn may_rest(&self) -> bool {
        let server = &self.server;
        let published = server.published();
        let has_due = self.volatile() > 0 || !server.own_expiries.is_empty() || published.pause.is_some();
        !has_due && published.memory.max == 0 && !published.settings.refuses_locks && server.migrations.count() == 0
    }

    /// Takes back a CLIENT PAUSE whose time is over, so that commands don't ask for it any more.
    fn end_pause(&mut self) {
        let is_over = |server: &Server| server.published().pause.is_some_and(|pause| pause.until <= unix_now());
        if !is_over(&self.server) {
            return;
        }
        let server = &self.server;
        self.member.alone(|_| {
            // A client may have paused again meanwhile.
            if is_over(server) {
                server.publish(|published| published.pause = None);
            }
        });
        server.mail_all(|| Mail::Resume);
    }

    /// Keeps the clock of expiry, and ends the quarantine of locks when it is over.
    fn look_after_locks(&mut self) {
        let server = &self.server;
        let config = server.config.load();
        server.locks.tick(config.locks.clock, server.mono());
        if server.locks.is_quarantine_over(&config, server.mono()) {
            self.member.alone(|_| server.publish(|published| published.settings.refuses_locks = false));
            server.locks.end_quarantine();
        }
    }

    /// Passes on what nobody else has, and keeps no more than is of use.
    fn look_after_copies(&mut self) {
        tracking::pass_on(&self.server);
        let most = self.local.published.tracked_keys_max;
        if tracking::are_too_many(&self.server, most) {
            self.active(|this| tracking::limit(&this.server, &mut this.member, &this.scope, most));
        }
        if self.local.published.broadcasts && self.server.trackers.prefixes() == 0 {
            let server = &self.server;
            // A client may have asked for it again meanwhile.
            self.member.alone(|_| {
                if server.trackers.prefixes() == 0 {
                    server.publish(|published| published.broadcasts = false);
                }
            });
        }
    }

    /// Evicts until there is room or nothing to evict.
    fn make_room(&mut self) {
        let mut room = Room::Soon;
        while room == Room::Soon && !self.server.stopping.load(Ordering::Acquire) {
            self.active(|this| room = evict::make_room(&this.server, &mut this.member, &mut this.local, &this.scope));
            if room == Room::Soon && self.server.space.reclaim().pending() > 0 {
                // The freeing thread is to have its turn.
                std::thread::sleep(BITE);
                self.local.meter.tell(&self.server.memory);
                self.server.memory.sample();
            }
        }
    }

    /// Becomes active for `work`, with the time and what is published brought up to date.
    fn active(&mut self, work: impl FnOnce(&mut Upkeep)) {
        self.member.enter();
        self.refresh();
        work(self);
        self.member.leave();
        self.server.replicas.flush(&self.server.feed);
        tracking::pass_on(&self.server);
        if !self.local.events.is_empty() {
            crate::data::pubsub::publish_events(&self.server, &mut self.local.events);
        }
    }

    fn refresh(&mut self) {
        self.scope.now = self.server.now().unix;
        let generation = self.server.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            let published = self.server.published();
            published.update(&mut self.scope);
            self.local.adopt(published);
        }
    }

    /// Whether expired keys may be removed: only a primary does that, and not while writes are paused.
    fn may_expire(&self) -> bool {
        self.scope.expiry == Expiry::Remove
            && self.local.published.loading == Loading::No
            && !self.local.published.is_paused(true)
            && self.server.knobs.active_expire.load(Ordering::Relaxed)
    }

    /// One round of active expiry: at most all slots once, within its share of the period.
    fn expire(&mut self, period: Duration) {
        let percent = share_percent(self.local.published.memory.expire_effort);
        let limit = period * percent / 100;
        let volatile = self.volatile();
        let now = self.server.now().unix;
        let mut round = Round { due_slots: self.server.space.count_due(now), ..Round::default() };
        let mut spent = Duration::ZERO;
        let mut more = volatile > 0;
        while more && spent < limit && !self.server.stopping.load(Ordering::Acquire) {
            let began = Instant::now();
            self.active(|this| more = this.bite(&mut round));
            let took = began.elapsed();
            spent += took;
            if more {
                // The pause keeps the share also within the period.
                std::thread::sleep(took * (100 - percent) / percent);
            }
        }
        let figures = &self.server.expiry;
        figures.nanos.fetch_add(spent.as_nanos() as u64, Ordering::Relaxed);
        if more {
            figures.cut_short.fetch_add(1, Ordering::Relaxed);
        }
        figures.estimate(round.stale_share(volatile));
        self.sample_ttls();
    }

    /// Looks how long a few keys of each database have to live.
    fn sample_ttls(&mut self) {
        for db in (0..self.server.space.databases()).map(|number| Db(number as u16)) {
            let (mut sum, mut count) = (0, 0);
            if self.server.space.volatile(db) > 0 {
                self.active(|this| {
                    let now = this.scope.now;
                    this.member.view(SlotSet::None, &this.scope).sample(db, true, TTLS, |entry| {
                        let left = entry.expiry().map_or(0, |at| at.0.saturating_sub(now.0));
                        sum += i128::from(left.max(0));
                        count += 1;
                    });
                });
            }
            let mean = (count > 0).then(|| i64::try_from(sum / count).unwrap_or(i64::MAX));
            self.server.expiry.note_ttl(db, mean);
        }
    }

    fn volatile(&self) -> usize {
        let space = &self.server.space;
        let of = |counters: &Counters| counters.expires.iter().chain(&*counters.fielded).map(|tally| tally.get()).sum();
        usize::try_from(space.sum(of)).unwrap_or(0)
    }

    /// Sweeps due slots for a bite; whether there is more to sweep.
    fn bite(&mut self, round: &mut Round) -> bool {
        let began = Instant::now();
        while self.may_expire() && round.swept <= round.due_slots {
            let Some(mut sweep) = self.sweep.take().or_else(|| self.next_sweep(self.scope.now)) else { return false };
            let mut view = self.member.view(SlotSet::One(sweep.slot()), &self.scope);
            let bite = view.sweep(&mut sweep, ENTRIES);
            if view.has_notices() {
                log_notices(&self.server, &mut view, &mut self.local);
            }
            // Who waits for a stream on behalf of a group is to hear that it is gone.
            let later = blocked::serve(&self.server, &mut self.local, &mut view);
            drop(view);
            if !later.is_empty() {
                let access = Access::Active(&mut self.member);
                blocked::serve_later(&self.server, &mut self.local, access, &self.scope, later);
            }
            let took = began.elapsed();
            if took > BITE {
                // A large value was freed. It is noted before somebody has a turn who may ask for it.
                self.server.latency.note(&self.server, "expire-cycle", took);
            }
            round.removed += bite.removed;
            if bite.finished {
                round.swept += 1;
            } else {
                self.sweep = Some(sweep);
            }
            self.member.pause();
            if self.server.generation.load(Ordering::Relaxed) != self.generation {
                self.refresh();
            }
            if took >= BITE {
                return true;
            }
        }
        false
    }

    /// The next due slot, going round.
    fn next_sweep(&mut self, now: UnixMs) -> Option<Sweep> {
        let space = &self.server.space;
        let slot = space.next_due(self.next, now).or_else(|| space.next_due(0, now))?;
        self.next = slot.index() + 1;
        Some(Sweep::new(slot))
    }
}

impl Round {
    /// The share of the keys with an expiry that had expired when the round began, as far as it can be told
    /// from the slots that were swept.
    fn stale_share(&self, volatile: usize) -> f64 {
        if self.swept == 0 || volatile == 0 {
            return 0.0;
        }
        let unswept = self.due_slots.max(self.swept) as f64 / self.swept as f64;
        self.removed as f64 * unswept / volatile as f64
    }
}

/// The share of one processor's time that active expiry may take, for `active-expire-effort` 1 to 10.
fn share_percent(effort: u32) -> u32 {
    25 + 2 * (effort.clamp(1, 10) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_with_the_effort_and_is_bounded() {
        assert_eq!([0, 1, 5, 10, 99].map(share_percent), [25, 25, 33, 43, 43]);
    }

    #[test]
    fn what_was_not_swept_is_estimated_from_what_was() {
        assert_eq!(Round { due_slots: 10, swept: 5, removed: 20 }.stale_share(100), 0.4);
        assert_eq!(Round { due_slots: 0, swept: 1, removed: 1 }.stale_share(10), 0.1);
        assert_eq!(Round::default().stale_share(10), 0.0);
    }

    #[test]
    fn the_average_time_to_live_follows_slowly_and_goes_with_the_last_key() {
        let figures = ActiveExpiry::default();
        let shown = [Some(1000), Some(2000), Some(1020), None].map(|mean| {
            figures.note_ttl(Db(3), mean);
            figures.average_ttl(Db(3))
        });
        assert_eq!(shown, [1000, 1020, 1020, 0]);
    }

    #[test]
    fn the_stale_average_follows_slowly() {
        let figures = ActiveExpiry::default();
        figures.estimate(1.0);
        assert_eq!(figures.stale_percent(), 5.0);
        figures.estimate(0.0);
        assert_eq!(figures.stale_percent(), 4.75);
    }
}

//! What all threads of a server share.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use quorate_commands::{Class, Settings};
use quorate_keyspace::{AccessPolicy, Expiry, Keyspace, Lazy, Scope};
use quorate_stdx::{Mono, Now, ReplId, Rng, UnixMs};

use crate::admin::debug::{Knobs, Permitted};
use crate::data::blocked::Waiters;
use crate::data::client::{Client, ClientId};
use crate::data::feed::Feed;
use crate::data::pubsub::PubSub;
use crate::data::replicas::Replicas;
use crate::data::stats::Statistics;
use crate::data::upkeep::ActiveExpiry;
use crate::data::waits::Waits;
use crate::data::worker::{Mail, Mailbox};

/// What a network thread has to know of everything else: swapped as a whole while all are quiet.
#[derive(Clone)]
pub struct Published {
    /// What data commands depend on.
    pub settings: Settings,
    /// What is remembered of accesses.
    pub access: AccessPolicy,
    /// Which keyspace events anybody may want.
    pub notify: Class,
    /// The server's role.
    pub role: Role,
    /// Whether the dataset is being loaded.
    pub loading: Loading,
    /// Whether the default user has a password.
    pub needs_auth: bool,
    /// Which large values are freed on another thread (`lazyfree-lazy-expire`, `lazyfree-lazy-server-del`).
    pub lazy: Lazy,
    /// Whether evicted values are (`lazyfree-lazy-eviction`).
    pub lazy_eviction: bool,
    /// Whether FLUSHALL and FLUSHDB free on another thread unless told otherwise (`lazyfree-lazy-user-flush`).
    pub lazy_user_flush: bool,
    /// `hz`: rounds of upkeep a second.
    pub hz: u32,
    /// `active-expire-effort`, 1 to 10.
    pub expire_effort: u32,
    /// `maxmemory`, bytes; 0 is no limit.
    pub maxmemory: u64,
    /// `min-replicas-to-write`.
    pub min_replicas: usize,
    /// `min-replicas-max-lag`, seconds.
    pub min_replicas_max_lag: u64,
    /// `stop-writes-on-bgsave-error`.
    pub stop_writes_on_failed_save: bool,
    /// `enable-debug-command`
    pub debug_command: Permitted,
    /// Clients are paused.
    pub pause: Option<Pause>,
    /// The longest request, bytes.
    pub query_limit: usize,
    /// Seconds without a request after which a client is closed; 0 is never.
    pub timeout: u64,
    /// Hard, soft (bytes) and soft seconds for normal, replica and Pub/Sub clients.
    pub output_limits: [OutputLimit; 3],
    /// Nothing of the above can refuse a command of an authenticated client.
    pub all_clear: bool,
}

/// When a client that doesn't read is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputLimit {
    /// At once above so many bytes; 0 is never.
    pub hard: usize,
    /// After a while above so many bytes; 0 is never.
    pub soft: usize,
    /// That while, seconds.
    pub seconds: u64,
}

/// Primary or replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows another.
    Replica(Following),
}

/// What matters to clients of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// `replica-read-only`
    pub read_only: bool,
    /// `replica-serve-stale-data`
    pub serves_stale: bool,
    /// Whether the stream flows.
    pub link_up: bool,
}

/// Whether the dataset is being loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loading {
    /// No.
    No,
    /// Yes, and nothing else is served meanwhile.
    Blocking,
    /// Yes, and the old one is served meanwhile.
    Async,
}

/// CLIENT PAUSE, FAILOVER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// When it ends.
    pub until: UnixMs,
    /// Whether reads wait as well.
    pub all: bool,
}

impl Default for Published {
    fn default() -> Published {
        Published {
            settings: Settings::default(),
            access: AccessPolicy::Lru,
            notify: Class::default(),
            role: Role::Primary,
            loading: Loading::No,
            needs_auth: false,
            lazy: Lazy::default(),
            lazy_eviction: false,
            lazy_user_flush: false,
            hz: 10,
            expire_effort: 1,
            maxmemory: 0,
            min_replicas: 0,
            min_replicas_max_lag: 10,
            stop_writes_on_failed_save: false,
            debug_command: Permitted::Nobody,
            pause: None,
            query_limit: 1 << 30,
            timeout: 0,
            output_limits: [
                OutputLimit::default(),
                OutputLimit { hard: 256 << 20, soft: 64 << 20, seconds: 60 },
                OutputLimit { hard: 32 << 20, soft: 8 << 20, seconds: 60 },
            ],
            all_clear: true,
        }
    }
}

impl Published {
    /// Whether a command has to wait now.
    pub fn is_paused(&self, writes: bool) -> bool {
        self.pause.is_some_and(|pause| (pause.all || writes) && unix_now() < pause.until)
    }

    /// Recomputes what follows from the rest; called before it is published.
    pub fn settle(&mut self) {
        self.all_clear = self.role == Role::Primary
            && self.loading == Loading::No
            && self.maxmemory == 0
            && self.min_replicas == 0
            && self.pause.is_none()
            && !self.stop_writes_on_failed_save;
    }

    /// How keys expire for clients.
    pub fn expiry(&self) -> Expiry {
        match self.role {
            Role::Primary => Expiry::Remove,
            Role::Replica(_) => Expiry::Hide,
        }
    }

    /// A scope for commands from `now` on.
    pub fn scope(&self, now: UnixMs, rng: Rng) -> Scope {
        Scope { now, expiry: self.expiry(), access: self.access, no_touch: false, lazy: self.lazy, rng: rng.into() }
    }

    /// Brings a scope up to date with what is published.
    pub fn update(&self, scope: &mut Scope) {
        scope.expiry = self.expiry();
        scope.access = self.access;
        scope.lazy = self.lazy;
    }
}

/// A network thread as others see it.
pub struct WorkerHandle {
    /// Where it gets its mail.
    pub mailbox: Mailbox,
    /// Its statistics.
    pub stats: Arc<Statistics>,
}

/// Everything shared; see the module's text.
pub struct Server {
    /// The data.
    pub space: Arc<Keyspace>,
    /// The log.
    pub feed: Feed,
    /// Pub/Sub.
    pub pubsub: PubSub,
    /// Clients that wait for keys.
    pub waiters: Waiters,
    /// Clients that wait for replicas.
    pub waits: Waits,
    /// Our replicas.
    pub replicas: Replicas,
    /// The default user's password.
    password: Mutex<Option<Vec<u8>>>,
    /// All clients.
    pub clients: Mutex<std::collections::BTreeMap<ClientId, Arc<Client>>>,
    next_client: AtomicU64,
    published: ArcSwap<Published>,
    /// Counts the changes of `published`.
    pub generation: AtomicU64,
    /// The network threads.
    pub workers: OnceLock<Vec<WorkerHandle>>,
    /// When the server started.
    pub started: Instant,
    /// The same by the wall clock.
    pub started_unix: UnixMs,
    /// 40 hexadecimal digits, new at each start.
    pub run_id: ReplId,
    /// Set when the server is to end.
    pub stopping: AtomicBool,
    /// Bytes of memory in use, as last sampled.
    pub used_memory: AtomicU64,
    /// Set when the last save failed.
    pub save_failed: AtomicBool,
    /// What DEBUG has switched.
    pub knobs: Knobs,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused.
    pub rejected_connections: AtomicU64,
    /// Changes up to the last save.
    pub saved_dirty: AtomicI64,
    /// Active expiry: its switch and its figures.
    pub expiry: ActiveExpiry,
}

impl Server {
    /// A server without threads.
    pub fn new(databases: usize, published: Published, seed: u64) -> Server {
        let mut published = published;
        published.settle();
        Server {
            space: Arc::new(Keyspace::new(databases)),
            feed: Feed::default(),
            pubsub: PubSub::default(),
            waiters: Waiters::default(),
            waits: Waits::default(),
            replicas: Replicas::default(),
            password: Mutex::new(None),
            clients: Mutex::default(),
            next_client: AtomicU64::new(0),
            published: ArcSwap::from_pointee(published),
            generation: AtomicU64::new(1),
            workers: OnceLock::new(),
            started: Instant::now(),
            started_unix: unix_now(),
            run_id: ReplId::random(&mut Rng::new(seed)),
            stopping: AtomicBool::new(false),
            used_memory: AtomicU64::new(0),
            save_failed: AtomicBool::new(false),
            knobs: Knobs::default(),
            connections: AtomicU64::new(0),
            rejected_connections: AtomicU64::new(0),
            saved_dirty: AtomicI64::new(0),
            expiry: ActiveExpiry::default(),
        }
    }

    /// Publishes another state. Must be called while alone, or before the threads start.
    pub fn publish(&self, change: impl FnOnce(&mut Published)) {
        let mut next = Published::clone(&self.published.load());
        change(&mut next);
        next.settle();
        self.published.store(Arc::new(next));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The published state.
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// An id for a new client.
    pub fn next_client_id(&self) -> ClientId {
        ClientId(self.next_client.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Puts mail into a network thread's box and wakes it.
    pub fn mail(&self, worker: usize, mail: Mail) {
        self.workers.get().expect("threads run only after they are all known")[worker].mailbox.send(mail);
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), unix: unix_now() }
    }

    /// The monotonic clock: microseconds since the server started.
    pub fn mono(&self) -> Mono {
        Mono(self.started.elapsed().as_micros() as u64)
    }

    /// A sum over the network threads' statistics.
    pub fn sum(&self, pick: impl Fn(&Statistics) -> i64) -> i64 {
        self.workers.get().map_or(0, |workers| workers.iter().map(|worker| pick(&worker.stats)).sum())
    }

    /// Whether memory is short, as last sampled.
    pub fn is_out_of_memory(&self) -> bool {
        let published = self.published.load();
        published.maxmemory > 0 && self.used_memory.load(Ordering::Relaxed) > published.maxmemory
    }

    /// Whether writes are refused because the last save failed.
    pub fn last_save_failed(&self, published: &Published) -> bool {
        published.stop_writes_on_failed_save && self.save_failed.load(Ordering::Relaxed)
    }

    /// How many replicas are near enough to count for `min-replicas-to-write`.
    pub fn good_replicas(&self, published: &Published) -> usize {
        self.replicas.good(self.mono(), published.min_replicas_max_lag)
    }

    /// The default user's password, if it needs one.
    pub fn password(&self) -> Option<Vec<u8>> {
        self.password.lock().clone()
    }
}

/// The wall clock, milliseconds.
pub fn unix_now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

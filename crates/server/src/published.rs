//! What a network thread has to know of everything else, taken together so that one look at a counter tells whether
//! any of it has changed.

use std::sync::Arc;

use quorate_acl::Users;
use quorate_commands::{Class, Settings};
use quorate_config::{Config, EventClasses, Memory, Permission};
use quorate_keyspace::{AccessPolicy, Expiry, Lazy, Scope};
use quorate_stdx::{Rng, UnixMs};
use quorate_values::Limits;

use crate::data::redirect::Routing;
use crate::data::slot_load::SlotLoad;
use crate::data::ticks::nanos;
use crate::server::unix_now;

/// What a network thread has to know of everything else: swapped as a whole while all are quiet.
#[derive(Clone)]
pub struct Published {
    /// What data commands depend on.
    pub settings: Settings,
    /// What is remembered of accesses.
    pub access: AccessPolicy,
    /// Which keyspace events anybody may want.
    pub notify: Class,
    /// Whether any client may want to hear of every change of a key ([`crate::data::tracking`]).
    pub broadcasts: bool,
    /// `tracking-table-max-keys`; 0 is no limit.
    pub tracked_keys_max: usize,
    /// The server's role.
    pub role: Role,
    /// Whether the dataset is being loaded.
    pub loading: Loading,
    /// The users, and what they may do.
    pub users: Arc<Users>,
    /// Whether clients have to say who they are before they may do anything.
    pub needs_auth: bool,
    /// Which large values are freed on another thread (`lazyfree-lazy-expire`, `lazyfree-lazy-server-del`).
    pub lazy: Lazy,
    /// Whether evicted values are (`lazyfree-lazy-eviction`).
    pub lazy_eviction: bool,
    /// Whether FLUSHALL and FLUSHDB free on another thread unless told otherwise (`lazyfree-lazy-user-flush`).
    pub lazy_user_flush: bool,
    /// `hz`: rounds of upkeep a second.
    pub hz: u32,
    /// The limit on memory, what is evicted above it, and how hard expired keys are looked for.
    pub memory: Memory,
    /// `min-replicas-to-write`.
    pub min_replicas: usize,
    /// `min-replicas-max-lag`, seconds.
    pub min_replicas_max_lag: u64,
    /// `stop-writes-on-bgsave-error`.
    pub stop_writes_on_failed_save: bool,
    /// Whether the last save failed.
    pub save_failed: bool,
    /// Why the append-only file can't be written to, if it can't.
    pub append_failure: Option<Arc<str>>,
    /// `enable-debug-command`
    pub debug_command: Permission,
    /// What takes as long, nanoseconds, is noted by SLOWLOG or LATENCY.
    pub notable: u64,
    /// `latency-tracking`
    pub track_latency: bool,
    /// Clients are paused.
    pub pause: Option<Pause>,
    /// A failover is under way: writes wait.
    pub handover: bool,
    /// Writes wait until Sentinels have confirmed our role. Each thread sees that for itself; see `control/tenure.rs`.
    pub held: bool,
    /// The longest request, bytes.
    pub query_limit: usize,
    /// Seconds without a request after which a client is closed; 0 is never.
    pub timeout: u64,
    /// Hard, soft (bytes) and soft seconds for normal, replica and Pub/Sub clients.
    pub output_limits: [OutputLimit; 3],
    /// What all clients together may hold, bytes (`maxmemory-clients`).
    pub client_memory: Option<u64>,
    /// Nothing of the above can refuse a command of an authenticated client.
    pub calm: bool,
    /// Where the slots of a cluster are, on a node of one.
    pub cluster: Option<Arc<Routing>>,
    /// What each slot costs, where that is counted.
    pub slot_load: Option<Arc<SlotLoad>>,
    /// Nothing at all can refuse a command of an authenticated client: it is calm, and this is no node of a cluster.
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
        Published::of(&Config::default())
    }
}

impl Published {
    /// What network threads see of a server that has just started with this configuration.
    pub fn of(config: &Config) -> Published {
        let mut published = Published {
            settings: Settings::default(),
            access: AccessPolicy::Lru,
            notify: Class::default(),
            broadcasts: false,
            tracked_keys_max: 0,
            role: Role::Primary,
            loading: Loading::No,
            users: Arc::new(crate::users::of(config, crate::users::terms(config))),
            needs_auth: false,
            lazy: Lazy::default(),
            lazy_eviction: false,
            lazy_user_flush: false,
            hz: 0,
            memory: Memory::default(),
            min_replicas: 0,
            min_replicas_max_lag: 0,
            stop_writes_on_failed_save: false,
            save_failed: false,
            append_failure: None,
            debug_command: Permission::No,
            notable: u64::MAX,
            track_latency: true,
            pause: None,
            handover: false,
            held: false,
            query_limit: 0,
            timeout: 0,
            output_limits: [OutputLimit::default(); 3],
            client_memory: None,
            calm: true,
            cluster: None,
            slot_load: None,
            all_clear: true,
        };
        published.follow(config);
        published.settle();
        published
    }

    /// Takes over what follows from the configuration. What is no setting (role, loading, pause) stays as it is.
    pub fn follow(&mut self, config: &Config) {
        self.settings = Settings {
            // DEBUG and the start set these, and the configuration has nothing to say of them.
            skip_checksums: self.settings.skip_checksums,
            refuses_locks: self.settings.refuses_locks,
            limits: Limits {
                list_packed_threshold: self.settings.limits.list_packed_threshold,
                ..config.encodings.limits
            },
            max_string: config.clients.bulk_len_max as usize,
            lazy_user_del: config.lazy_free.user_del,
            shares_integers: config.memory.max == 0 || !config.memory.policy.looks_at_use(),
        };
        self.access = if config.memory.policy.counts_uses() {
            AccessPolicy::Lfu {
                log_factor: config.memory.lfu_log_factor,
                decay_minutes: config.memory.lfu_decay_minutes,
            }
        } else {
            AccessPolicy::Lru
        };
        self.notify = classes(config.events);
        self.tracked_keys_max = config.clients.tracked_keys_max as usize;
        self.lazy = Lazy { expire: config.lazy_free.expire, server_del: config.lazy_free.server_del };
        self.lazy_eviction = config.lazy_free.eviction;
        self.lazy_user_flush = config.lazy_free.user_flush;
        self.hz = config.general.timer_frequency;
        self.memory = config.memory.clone();
        self.min_replicas = config.replication.min_replicas as usize;
        // Without a limit on their silence no replica is counted, and none is asked for.
        match config.replication.max_lag {
            Some(lag) => self.min_replicas_max_lag = lag.as_secs(),
            None => self.min_replicas = 0,
        }
        self.stop_writes_on_failed_save = config.snapshots.stop_writes_on_error && !config.snapshots.save.is_empty();
        self.debug_command = config.general.debug_command;
        let notable = [config.slow_log.slower_than, config.latency.monitor_threshold];
        self.notable = notable.into_iter().flatten().min().map_or(u64::MAX, nanos);
        self.track_latency = config.latency.tracking;
        self.query_limit = config.clients.query_buffer_max as usize;
        self.timeout = config.network.timeout.map_or(0, |timeout| timeout.as_secs());
        let limits = &config.clients.output_buffer;
        self.output_limits = [limits.normal, limits.replica, limits.pubsub].map(|limit| OutputLimit {
            hard: limit.hard as usize,
            soft: limit.soft as usize,
            seconds: limit.soft_time.as_secs(),
        });
        self.client_memory = crate::data::client_memory::limit(config);
        let counts_load = config.cluster.enabled && config.cluster.slot_stats;
        self.slot_load = counts_load.then(|| self.slot_load.take().unwrap_or_default());
        if let Role::Replica(following) = &mut self.role {
            following.read_only = config.replication.read_only;
            following.serves_stale = config.replication.serve_stale_data;
        }
    }

    /// Whether a command has to wait now.
    pub fn is_paused(&self, writes: bool) -> bool {
        ((self.handover || self.held) && writes)
            || self.pause.is_some_and(|pause| (pause.all || writes) && unix_now() < pause.until)
    }

    /// Recomputes what follows from the rest; called before it is published.
    pub fn settle(&mut self) {
        self.needs_auth = !self.users.default_user().needs_no_login();
        self.calm = self.role == Role::Primary
            && self.loading == Loading::No
            && self.memory.max == 0
            && self.min_replicas == 0
            && self.pause.is_none()
            && !self.handover
            && !self.held
            && self.append_failure.is_none()
            && !self.refuses_writes_after_failed_save();
        self.all_clear = self.calm && self.cluster.is_none();
    }

    /// Whether writes are refused because the last save failed.
    pub fn refuses_writes_after_failed_save(&self) -> bool {
        self.stop_writes_on_failed_save && self.save_failed
    }

    /// How keys expire for clients.
    pub fn expiry(&self) -> Expiry {
        match self.role {
            // While writes wait nothing may change, so that a replica can catch up.
            Role::Primary if !self.is_paused(true) => Expiry::Remove,
            Role::Primary | Role::Replica(_) => Expiry::Hide,
        }
    }

    /// `client-output-buffer-limit replica`; what is within the backlog of `size` bytes costs nothing and is
    /// no reason to close anybody.
    pub fn replica_output_limit(&self, size: u64) -> OutputLimit {
        let limit = self.output_limits[1];
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let raised = |bytes: usize| if bytes == 0 { 0 } else { bytes.max(size) };
        OutputLimit { hard: raised(limit.hard), soft: raised(limit.soft), ..limit }
    }

    /// A scope for commands from `now` on.
    pub fn scope(&self, now: UnixMs, rng: Rng) -> Scope {
        Scope {
            now,
            expiry: self.expiry(),
            access: self.access,
            no_touch: false,
            lazy: self.lazy,
            reports_new: self.notify.intersects(Class::NEW),
            broadcasts: self.broadcasts,
            acting: 0.into(),
            rng: rng.into(),
        }
    }

    /// Brings a scope up to date with what is published.
    pub fn update(&self, scope: &mut Scope) {
        scope.expiry = self.expiry();
        scope.access = self.access;
        scope.lazy = self.lazy;
        scope.reports_new = self.notify.intersects(Class::NEW);
        scope.broadcasts = self.broadcasts;
    }
}

/// The classes of keyspace events that the letters of `notify-keyspace-events` name.
fn classes(letters: EventClasses) -> Class {
    let named = letters.letters().map(|letter| match letter {
        b'K' => Class::KEYSPACE,
        b'E' => Class::KEYEVENT,
        b'g' => Class::GENERIC,
        b'$' => Class::STRING,
        b'l' => Class::LIST,
        b's' => Class::SET,
        b'h' => Class::HASH,
        b'z' => Class::ZSET,
        b'x' => Class::EXPIRED,
        b'e' => Class::EVICTED,
        b't' => Class::STREAM,
        b'm' => Class::KEY_MISS,
        b'd' => Class::MODULE,
        b'n' => Class::NEW,
        _ => Class::default(),
    });
    Class(named.fold(0, |all, class| all | class.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_with_default_settings_asks_no_gate() {
        let mut published = Published::default();
        assert!(published.all_clear && published.stop_writes_on_failed_save);
        published.save_failed = true;
        published.settle();
        assert!(!published.all_clear);
    }

    #[test]
    fn what_is_no_setting_outlives_a_change_of_settings() {
        let mut published = Published { loading: Loading::Async, ..Published::default() };
        published.settings.limits.list_packed_threshold = 7;
        published.follow(&Config::default());
        assert_eq!((published.loading, published.settings.limits.list_packed_threshold), (Loading::Async, 7));
    }
}

//! What all threads of a server share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use quorate_config::{Change, Config};
use quorate_keyspace::{Db, Keyspace};
use quorate_replication::Start;
use quorate_stdx::{Mono, Now, ReplId, Rng, UnixMs};

use crate::admin::debug::Knobs;
use crate::admin::latency::Latency;
use crate::admin::memory::Allocator;
use crate::admin::migrate::Links;
use crate::admin::monitor::Monitors;
use crate::admin::slowlog::SlowLog;
use crate::control::Control;
use crate::control::observers::OBSERVERS;
use crate::control::progress::Progress;
use crate::control::tenure::Guard;
use crate::data::blocked::Waiters;
use crate::data::client::{Client, ClientId, Peer, Socket};
use crate::data::evict::Evictor;
use crate::data::functions::Libraries;
use crate::data::memory::Memory;
use crate::data::own_expiries::OwnExpiries;
use crate::data::pubsub::PubSub;
use crate::data::replicas::Replicas;
use crate::data::scripts::Scripts;
use crate::data::stats::Statistics;
use crate::data::tracking::Trackers;
use crate::data::upkeep::ActiveExpiry;
use crate::data::worker::{Mail, Mailbox};
use crate::desk::Desk;
use crate::persist::Persistence;
use crate::persist::aof::Aof;
pub use crate::published::{Following, Loading, OutputLimit, Pause, Published, Role};
use crate::rest::Rest;
use crate::socket;
use quorate_feed::Feed;

/// A network thread as others see it.
pub struct WorkerHandle {
    /// Where it gets its mail.
    pub mailbox: Mailbox,
    /// Its statistics.
    pub stats: Arc<Statistics>,
}

/// Who wants to know of changes of the configuration; see [`Server::on_config_change`].
type ConfigListener = Box<dyn Fn(&Change) + Send + Sync>;

/// Everything shared; see the module's text.
pub struct Server {
    /// The data.
    pub space: Arc<Keyspace>,
    /// The log.
    pub feed: Feed,
    /// Pub/Sub.
    pub pubsub: PubSub,
    /// Scripts.
    pub scripts: Scripts,
    /// Functions.
    pub libraries: Libraries,
    /// Clients that are shown every command.
    pub monitors: Monitors,
    /// Slow commands.
    pub slow_log: SlowLog,
    /// What users were denied.
    pub acl_log: Mutex<quorate_acl::Log>,
    /// When clients were kept waiting.
    pub latency: Latency,
    /// Bytes that were allocated when the server started.
    pub startup_memory: u64,
    /// Clients that wait for keys.
    pub waiters: Waiters,
    /// Clients that hold copies of keys.
    pub trackers: Trackers,
    /// The control plane.
    pub control: Control,
    /// The node of a cluster that this server is, if it is one.
    pub cluster: OnceLock<crate::control::cluster::Node>,
    /// The clock by which keys expire, and the quarantine of locks.
    pub locks: crate::locks::Locks,
    /// Our replicas.
    pub replicas: Replicas,
    /// The configuration; see [`Server::configure`] for how it changes.
    pub config: ArcSwap<Config>,
    /// What encrypted connections are made from, if there are any.
    pub tls: ArcSwapOption<quorate_tls::Contexts>,
    /// The configuration's file, by its absolute path, if there is one.
    pub config_file: Option<PathBuf>,
    /// Who wants to know of changes of the configuration.
    config_listeners: Mutex<Vec<ConfigListener>>,
    /// The main thread, for those who want something of it.
    pub desk: Desk,
    /// All clients.
    pub clients: Mutex<std::collections::BTreeMap<ClientId, Arc<Client>>>,
    next_client: AtomicU64,
    published: ArcSwap<Published>,
    /// Counts the changes of `published`.
    pub generation: AtomicU64,
    /// When our primary's stream was last seen to begin or to end, microseconds of the server's clock; 0 for never.
    pub streamed_at: AtomicU64,
    /// The network threads.
    pub workers: OnceLock<Vec<WorkerHandle>>,
    /// The thread that serves Sentinels' connections.
    pub observers: OnceLock<WorkerHandle>,
    /// Whether a primary may take writes.
    pub tenure: Guard,
    /// Whether the network threads get on, as it was seen last.
    pub(crate) progress: Mutex<Progress>,
    /// Whether anybody changes anything.
    pub rest: Rest,
    /// When the server started.
    pub started: Instant,
    /// The same by the wall clock.
    pub started_unix: UnixMs,
    /// 40 hexadecimal digits, new at each start.
    pub run_id: ReplId,
    /// Set when the server is to end.
    pub stopping: AtomicBool,
    /// Bytes in use when the server had started and held nothing.
    pub memory_at_start: AtomicU64,
    /// How much memory is in use.
    pub memory: Memory,
    /// Makes room when there is none left.
    pub evictor: Evictor,
    /// The upkeep thread, to be woken before its time.
    pub upkeep: OnceLock<std::thread::Thread>,
    /// What DEBUG has switched.
    pub knobs: Knobs,
    /// Saving and loading.
    pub persistence: Persistence,
    /// The append-only file.
    pub aof: Aof,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused.
    pub rejected_connections: AtomicU64,
    /// Connections closed to make room (`evicted_clients`).
    pub evicted_clients: AtomicU64,
    /// Changes up to the last save.
    pub saved_dirty: AtomicI64,
    /// The figures of active expiry.
    pub expiry: ActiveExpiry,
    /// The database in which our primary's stream goes on.
    stream_db: AtomicU16,
    /// Bytes of that stream that have been read and not applied.
    pub stream_unapplied: AtomicU64,
    /// Keys that clients have written to a replica, with an expiry.
    pub own_expiries: OwnExpiries,
    /// Connections that were made by MIGRATE.
    pub migrations: Links,
}

impl Server {
    /// A server without threads.
    pub fn new(config: Config, seed: u64) -> Server {
        let mut published = Published::of(&config);
        if config.replication.primary.is_some() {
            let replication = &config.replication;
            let (read_only, serves_stale) = (replication.read_only, replication.serve_stale_data);
            published.role = Role::Replica(Following { read_only, serves_stale, link_up: false });
            published.settle();
        }
        let started = Instant::now();
        let now = Now { mono: Mono(0), unix: unix_now() };
        let settings = crate::control::settings::of(&config);
        let start = Start { follow: crate::control::settings::primary(&config), ..Start::default() };
        let tenure = Guard::new(config.replication.primary.is_none(), config.replication.tenure);
        Server {
            // A slot belongs to a node whole, and there is one name for each of its keys.
            space: Arc::new(Keyspace::new(if config.cluster.enabled { 1 } else { config.general.databases as usize })),
            feed: Feed::default(),
            pubsub: PubSub::default(),
            scripts: Scripts::default(),
            libraries: Libraries::default(),
            monitors: Monitors::default(),
            slow_log: SlowLog::default(),
            acl_log: Mutex::default(),
            latency: Latency::default(),
            startup_memory: Allocator::sample().allocated,
            waiters: Waiters::default(),
            trackers: Trackers::default(),
            control: Control::new(settings, start, seed, now),
            cluster: OnceLock::new(),
            stream_db: AtomicU16::new(0),
            own_expiries: OwnExpiries::default(),
            migrations: Links::default(),
            locks: crate::locks::Locks::default(),
            replicas: Replicas::default(),
            config: ArcSwap::from_pointee(config),
            tls: ArcSwapOption::empty(),
            config_file: None,
            config_listeners: Mutex::default(),
            desk: Desk::default(),
            clients: Mutex::default(),
            next_client: AtomicU64::new(0),
            published: ArcSwap::from_pointee(published),
            generation: AtomicU64::new(1),
            streamed_at: AtomicU64::new(0),
            workers: OnceLock::new(),
            observers: OnceLock::new(),
            tenure,
            progress: Mutex::default(),
            rest: Rest::default(),
            started,
            started_unix: now.unix,
            run_id: ReplId::random(&mut Rng::new(seed)),
            stopping: AtomicBool::new(false),
            memory_at_start: AtomicU64::new(0),
            memory: Memory::default(),
            evictor: Evictor::default(),
            upkeep: OnceLock::new(),
            knobs: Knobs::default(),
            persistence: Persistence::default(),
            aof: Aof::default(),
            connections: AtomicU64::new(0),
            rejected_connections: AtomicU64::new(0),
            evicted_clients: AtomicU64::new(0),
            stream_unapplied: AtomicU64::new(0),
            saved_dirty: AtomicI64::new(0),
            expiry: ActiveExpiry::default(),
        }
    }

    /// Publishes another state. Must be called while alone, or before the threads start.
    pub fn publish(&self, change: impl FnOnce(&mut Published)) {
        let mut next = Published::clone(&self.published.load());
        change(&mut next);
        next.settle();
        if next.memory.max > 0 {
            // Threads begin to tell from here on; what was before comes from the allocator.
            self.memory.sample();
        }
        self.published.store(Arc::new(next));
        self.generation.fetch_add(1, Ordering::Release);
        self.rest.disturb(self);
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
        let handle = match worker {
            OBSERVERS => self.observers.get().expect("nobody is set aside before there is a thread for it"),
            worker => &self.workers.get().expect("threads run only after they are all known")[worker],
        };
        handle.mailbox.send(mail);
    }

    /// All threads that answer clients, as others see them.
    pub fn serving(&self) -> impl Iterator<Item = &WorkerHandle> {
        self.workers.get().into_iter().flatten().chain(self.observers.get())
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        let mono = self.mono();
        Now { mono, unix: self.locks.unix(mono) }
    }

    /// The monotonic clock: microseconds since the server started.
    pub fn mono(&self) -> Mono {
        Mono(self.started.elapsed().as_micros() as u64)
    }

    /// A sum over the statistics of all threads that answer clients.
    pub fn sum(&self, pick: impl Fn(&Statistics) -> i64) -> i64 {
        self.serving().map(|thread| pick(&thread.stats)).sum()
    }

    /// Lets the upkeep thread look at once what there is to do.
    pub fn wake_upkeep(&self) {
        if let Some(thread) = self.upkeep.get() {
            thread.unpark();
        }
    }

    /// Sets the statistics of INFO to zero. The calling thread is alone.
    pub fn reset_statistics(&self) {
        for worker in self.workers.get().into_iter().flatten() {
            worker.stats.reset();
        }
        if self.observers.get().is_some() {
            // It is not quiet, and does it itself.
            self.mail(OBSERVERS, Mail::ResetStatistics);
        }
        let counts = &self.control.counts;
        let (of_clients, of_replicas) = (&self.connections, [&counts.full, &counts.partial, &counts.refused]);
        let events = [of_clients, &self.rejected_connections, &self.evicted_clients].into_iter().chain(of_replicas);
        for count in events {
            count.store(0, Ordering::Relaxed);
        }
        self.space.reset_counters();
        self.space.reclaim().reset();
        self.evictor.reset();
        self.expiry.reset();
        self.memory.reset_peak();
        self.acl_log.lock().reset_counts();
        if let Some(load) = &self.published().slot_load {
            load.forget(|_| false);
        }
    }

    /// How many keys there are in all databases.
    pub fn keys(&self) -> u64 {
        (0..self.space.databases()).map(|number| self.space.len(Db(number as u16)) as u64).sum()
    }

    /// The database in which our primary's stream goes on.
    pub fn stream_db(&self) -> Db {
        Db(self.stream_db.load(Ordering::Relaxed))
    }

    /// Notes the database in which our primary's stream goes on.
    pub fn set_stream_db(&self, db: Db) {
        self.stream_db.store(db.0, Ordering::Relaxed);
    }

    /// What a replica is to its clients while its link is down.
    pub fn following(&self) -> Following {
        let config = self.config.load();
        let (read_only, serves_stale) = (config.replication.read_only, config.replication.serve_stale_data);
        Following { read_only, serves_stale, link_up: false }
    }

    /// Lets a network thread apply our primary's stream; `early` is what came of it already.
    pub fn follow(
        self: &Arc<Server>,
        socket: Socket,
        early: Vec<u8>,
        upstream: Arc<crate::control::upstream::Upstream>,
    ) -> std::io::Result<()> {
        let Some(tcp) = socket.tcp() else { return Err(std::io::ErrorKind::Unsupported.into()) };
        let peer = Peer::Inet { remote: tcp.peer_addr()?, local: tcp.local_addr()? };
        let threads = self.workers.get().map_or(1, Vec::len);
        let worker = upstream.link.0 as usize % threads;
        self.mail(worker, Mail::Follow { socket, peer, input: early, upstream });
        Ok(())
    }

    /// What is spoken over a connection that somebody has opened: encrypted, if it has to be, behind a handshake.
    ///
    /// # Errors
    /// It has to be, and can't.
    pub fn incoming(&self, stream: mio::net::TcpStream, encrypted: bool) -> std::io::Result<Socket> {
        socket::incoming(self.tls.load().as_deref(), stream, encrypted)
    }

    /// What is spoken over a connection that we have opened: encrypted, if it has to be, behind a handshake.
    ///
    /// # Errors
    /// It has to be, and can't.
    pub fn outgoing(&self, stream: mio::net::TcpStream, encrypted: bool) -> std::io::Result<Socket> {
        socket::outgoing(self.tls.load().as_deref(), stream, encrypted)
    }

    /// Puts another configuration in force, with what network threads see of it, and tells those who want to know.
    /// Must be called while alone, or before the threads start.
    pub fn configure(&self, change: &Change) {
        let config = Arc::new(change.config.clone());
        self.config.store(Arc::clone(&config));
        let is_password_new = change.changed.iter().any(|spec| spec.name == "requirepass");
        self.publish(|published| {
            published.follow(&config);
            if is_password_new {
                let password = config.security.password.as_ref().map(quorate_config::Secret::reveal);
                crate::users::set_password(Arc::make_mut(&mut published.users), password);
            }
        });
        for listener in &*self.config_listeners.lock() {
            listener(change);
        }
    }

    /// From now on `listener` is told of every change of the configuration, while the thread that makes it is alone:
    /// it must be quick, and not wait for a network thread.
    pub fn on_config_change(&self, listener: impl Fn(&Change) + Send + Sync + 'static) {
        self.config_listeners.lock().push(Box::new(listener));
    }
}

/// The wall clock, milliseconds.
pub fn unix_now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(WALL_OFFSET.load(Ordering::Relaxed)))
}

/// What tests add to the wall clock, milliseconds (`wall-clock-offset`).
static WALL_OFFSET: AtomicI64 = AtomicI64::new(0);

/// Lets the wall clock jump.
pub(crate) fn set_wall_offset(ms: i64) {
    WALL_OFFSET.store(ms, Ordering::Relaxed);
}

//! The node of the cluster: it owns the machine, and performs what that decides.
//!
//! ```text
//!   CLUSTER ... (alone) ───────────┐
//!   PUBLISH, SPUBLISH ─────────────┤  inputs   ┌─────────┐  outputs   ┌─► links, nodes.conf, the log: the bus thread
//!   the bus thread: packets, links ┼──────────►│ machine │───────────►│
//!   timers, how replication stands ┘           └─────────┘            └─► the data plane: whoever is alone
//! ```
//!
//! **Two queues.** What concerns the bus is performed by the bus thread, in order, and never waits for the data plane:
//! a slow command can't make this node look dead. What concerns the data plane (another slot map, another primary, a pause of
//! writes) must be performed while that stands still; whoever is alone performs all of it that there is, in order, and
//! the control thread sees to it that somebody soon is.
//!
//! **The barrier.** What comes behind a `Persist` in the data plane's queue waits until the bus thread has written it.
//! An operator's command doesn't: it answers when it is in force, as in Redis, and its line in nodes.conf follows.

mod bus;
mod drops;
mod export;
mod file;
mod settings;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use quorate_cluster::packet::Published;
use quorate_cluster::{Answer, Cluster, Input, LinkId, NodesConf, Order, OrderId, Output, ReplicaStatus, TransferId};
use quorate_keyspace::{Alone, Db, Slot};
use quorate_replication as replication;
use quorate_stdx::{Machine as _, Mono};

use crate::data::redirect::Routing;
use crate::data::worker::Mail;
use crate::log;
use crate::published::Loading;
use crate::server::{Role, Server};

pub use bus::start;
pub use file::Saved;

/// The node; see the module's text.
pub struct Node {
    inner: Mutex<Inner>,
    waker: OnceLock<mio::Waker>,
    /// The map has changed, and clients that listen to channels of shards have not been looked through yet.
    has_new_map: AtomicBool,
    /// How many `Persist` have been written.
    persisted: AtomicU64,
    /// The file, for as long as the node runs: it is locked.
    saved: Mutex<Saved>,
    /// Slots that are being sent to other nodes.
    exports: Mutex<BTreeMap<TransferId, export::Export>>,
    drops: drops::Drops,
    /// What CLUSTER LINKS and INFO show of links.
    pub links: Links,
    /// DEBUG DROP-CLUSTER-PACKET-FILTER: packets of this type are dropped as they come; of none if it is negative.
    pub dropped_type: AtomicI64,
}

/// What waits on links.
#[derive(Default)]
pub struct Links {
    /// What each has not sent.
    pub waiting: Mutex<BTreeMap<LinkId, Waiting>>,
    /// How many were closed because too much waited.
    pub closed: AtomicU64,
}

/// What a link has not sent, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waiting {
    /// What its buffer takes.
    pub allocated: usize,
    /// What is in it.
    pub used: usize,
}

struct Inner {
    machine: Cluster,
    /// For the bus thread.
    bus: VecDeque<Output>,
    /// For whoever is alone, each with the number of the last `Persist` before it.
    tasks: VecDeque<(u64, Output)>,
    /// How many `Persist` there were.
    barriers: u64,
    answers: BTreeMap<OrderId, Answer>,
    orders: u64,
    /// Whether what we hold came from a primary, or is anything at all.
    has_data: bool,
}

impl Node {
    /// A node that remembers what the file holds.
    pub fn new(server: &Server, saved: Saved, conf: Option<NodesConf>, seed: u64) -> Node {
        let machine = Cluster::new(settings::of(&server.config.load()), conf, seed, server.now());
        let inner = Inner {
            machine,
            bus: VecDeque::new(),
            tasks: VecDeque::new(),
            barriers: 0,
            answers: BTreeMap::new(),
            orders: 0,
            has_data: false,
        };
        Node {
            inner: Mutex::new(inner),
            waker: OnceLock::new(),
            has_new_map: AtomicBool::new(false),
            persisted: AtomicU64::new(0),
            saved: Mutex::new(saved),
            exports: Mutex::default(),
            drops: drops::Drops::default(),
            links: Links::default(),
            dropped_type: AtomicI64::new(-1),
        }
    }

    /// Puts the first map in force before anybody is let in: a server without one is taken for none of a cluster. What is
    /// to be written first is written before it matters: the map says that the cluster is down.
    fn publish_first_map(&self, server: &Server) {
        let is_map = |(_, task): &(u64, Output)| matches!(task, Output::Publish(_));
        let mut inner = self.inner.lock();
        let at = inner.tasks.iter().position(is_map).expect("a new machine publishes a map");
        let Some((_, Output::Publish(map))) = inner.tasks.remove(at) else { unreachable!("it was just found") };
        let routing = Arc::new(Routing::new(map, &server.config.load()));
        server.publish(|next| next.cluster = Some(routing));
    }

    /// Looks at the machine.
    pub fn look<R>(&self, look: impl FnOnce(&mut Cluster) -> R) -> R {
        look(&mut self.inner.lock().machine)
    }

    /// Gives an operator's order while alone; what it means for clients is in force when this returns.
    pub fn order(&self, server: &Arc<Server>, alone: &mut Alone<'_>, order: Order) -> Answer {
        let mut inner = self.inner.lock();
        inner.orders += 1;
        let by = OrderId(inner.orders);
        inner.tell_status(server);
        inner.machine.handle(server.now(), Input::Ordered { by, order });
        inner.sort();
        let answer = inner.answers.remove(&by).expect("the machine answers each order before it takes the next input");
        drop(inner);
        self.perform_tasks(server, alone, u64::MAX);
        self.wake();
        answer
    }

    /// Gives an order that need not be in force when this returns; what it means for clients is performed behind what
    /// has to be written first.
    pub fn order_later(&self, server: &Server, order: Order) -> Answer {
        let mut inner = self.inner.lock();
        inner.orders += 1;
        let by = OrderId(inner.orders);
        inner.machine.handle(server.now(), Input::Ordered { by, order });
        inner.sort();
        let answer = inner.answers.remove(&by).expect("the machine answers each order before it takes the next input");
        drop(inner);
        self.wake();
        answer
    }

    /// A client's message for the nodes of the cluster, or of our shard.
    pub fn publish(&self, server: &Server, sharded: bool, channel: &[u8], message: &[u8]) {
        let published = Published { sharded, channel: channel.to_vec(), message: message.to_vec() };
        self.submit(server, Input::Publish(published));
    }

    /// The connection is no more through which slots were coming.
    pub fn taking_closed(&self, server: &Server, id: TransferId) {
        self.submit(server, Input::TakingClosed { id });
    }

    fn submit(&self, server: &Server, input: Input) {
        let mut inner = self.inner.lock();
        inner.machine.handle(server.now(), input);
        inner.sort();
        drop(inner);
        self.wake();
    }

    /// The configuration has changed.
    fn configure(&self, server: &Server, config: &quorate_config::Config) {
        self.submit(server, Input::Configure(Box::new(settings::of(config))));
    }

    /// Lets the bus thread look at once what there is to do.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake().expect("an eventfd that was made can be written to");
        }
    }

    /// Whether there is anything to be performed alone.
    pub fn has_tasks(&self) -> bool {
        if self.has_new_map.load(Ordering::Acquire) {
            return true;
        }
        let persisted = self.persisted.load(Ordering::Acquire);
        self.inner.lock().tasks.front().is_some_and(|(barrier, _)| *barrier <= persisted)
    }

    /// Performs what the data plane must stand still for.
    ///
    /// # Safety
    /// The calling thread holds no reference to any session: it is no network thread.
    pub unsafe fn perform(&self, server: &Arc<Server>, alone: &mut Alone<'_>) {
        self.perform_tasks(server, alone, self.persisted.load(Ordering::Acquire));
        if self.has_new_map.swap(false, Ordering::AcqRel)
            && let Some(routing) = &server.published().cluster
        {
            let is_elsewhere = |channel: &[u8]| !routing.map.is_held_here(Slot::of(channel).index() as u16);
            // SAFETY: the caller vouches for it.
            unsafe { crate::data::pubsub::end_shard_channels(server, alone, is_elsewhere) };
        }
    }

    fn perform_tasks(&self, server: &Arc<Server>, alone: &mut Alone<'_>, persisted: u64) {
        loop {
            let mut inner = self.inner.lock();
            let Some((_, task)) = inner.tasks.pop_front_if(|(barrier, _)| *barrier <= persisted) else { return };
            drop(inner);
            self.perform_task(server, alone, task);
        }
    }

    fn perform_task(&self, server: &Arc<Server>, alone: &mut Alone<'_>, task: Output) {
        match task {
            Output::Publish(map) => {
                let routing = Arc::new(Routing::new(map, &server.config.load()));
                let held_some = server.published().cluster.as_ref().is_some_and(|routing| routing.map.holds_any());
                if let Some(load) = &server.published().slot_load {
                    load.forget(|slot| routing.map.is_held_here(slot.index() as u16));
                }
                server.publish(|next| next.cluster = Some(routing));
                crate::data::redirect::after_change(server);
                if held_some {
                    server.mail_all(|| Mail::Resume);
                }
                self.has_new_map.store(true, Ordering::Release);
            }
            Output::Follow { ip, port } => {
                let to = replication::Addr::new(ip, port);
                let by = replication::Authority::Standing;
                server.control.order(server, alone, replication::Order::Follow { to, by });
            }
            Output::Lead { has_all } => {
                server.control.lead(server, alone, !has_all);
            }
            Output::PauseWrites => {
                server.publish(|next| next.handover = true);
                let offset = server.feed.backlog().map_or(0, |held| held.end.0);
                self.submit(server, Input::WritesPaused { offset });
            }
            Output::ResumeWrites => {
                server.publish(|next| next.handover = false);
                server.mail_all(|| Mail::Resume);
            }
            Output::HoldSlots { id } => self.submit(server, Input::SlotsHeld { id, offset: server.feed.end().0 }),
            Output::DropKeys(slots) => self.drops.add(server, slots),
            Output::DropEverything => {
                for number in 0..server.space.databases() {
                    server.space.reclaim().tables(alone.flush(Db(number as u16)));
                }
            }
            other => unreachable!("{other:?} is for the bus thread"),
        }
    }
}

impl Inner {
    /// Sorts what the machine wants done into the two queues.
    fn sort(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Answer { by, answer } => {
                    self.answers.insert(by, answer);
                }
                Output::Publish(_)
                | Output::Follow { .. }
                | Output::Lead { .. }
                | Output::PauseWrites
                | Output::ResumeWrites
                | Output::HoldSlots { .. }
                | Output::DropKeys(_)
                | Output::DropEverything => self.tasks.push_back((self.barriers, output)),
                Output::Persist(_) => {
                    self.barriers += 1;
                    self.bus.push_back(output);
                }
                Output::Connect { .. }
                | Output::Disconnect { .. }
                | Output::Send { .. }
                | Output::Give { .. }
                | Output::Drain { .. }
                | Output::Grant { .. }
                | Output::AskVerdict { .. }
                | Output::EndGiving { .. }
                | Output::Deliver(_)
                | Output::Announce(_) => self.bus.push_back(output),
            }
        }
    }

    /// Tells the machine how our data stand.
    fn tell_status(&mut self, server: &Server) {
        let now = server.now();
        let is_linked = match &server.published().role {
            Role::Primary => false,
            Role::Replica(following) => following.link_up,
        };
        let streamed_at = Some(server.streamed_at.load(Ordering::Relaxed)).filter(|at| *at > 0).map(Mono);
        let linked_at = if is_linked { Some(now.mono) } else { streamed_at };
        self.has_data |= linked_at.is_some() || !server.space.is_empty();
        let published = server.published();
        // What is being loaded takes the place of what the offset would be about.
        let is_loading = published.loading != Loading::No && published.role != Role::Primary;
        let offset = server.feed.backlog().filter(|_| !is_loading).map_or(0, |held| held.end.0);
        let rests_for = server.progress().rests_for(now.mono);
        // What a primary is still loading it has.
        let has_data = self.has_data || (published.loading != Loading::No && published.role == Role::Primary);
        let status = ReplicaStatus { offset, is_linked, linked_at, has_data, rests_for };
        self.machine.handle(now, Input::Replication(status));
        self.sort();
    }
}

/// Lets the node hear of changes of the configuration.
pub fn attach(server: &Arc<Server>) {
    let listener = Arc::downgrade(server);
    server.on_config_change(move |change| {
        let Some(server) = listener.upgrade() else { return };
        let Some(node) = server.cluster.get() else { return };
        node.configure(&server, &change.config);
        let map = server.published().cluster.as_ref().map(|routing| Arc::clone(&routing.map));
        if let Some(map) = map {
            let routing = Arc::new(Routing::new(map, &change.config));
            server.publish(|next| next.cluster = Some(routing));
        }
    });
}

/// Makes the node of a server that is to be one; nothing happens on a server that is not.
///
/// # Errors
/// nodes.conf is damaged or in use, or the bus can't listen.
pub fn open(server: &Arc<Server>, seed: u64) -> anyhow::Result<Option<bus::Bus>> {
    if !server.config.load().cluster.enabled {
        return Ok(None);
    }
    let (saved, conf) = Saved::open(&server.config.load())?;
    if let Some(conf) = &conf {
        let me = conf.nodes.iter().find(|node| node.flags.any(quorate_cluster::NodeFlags::MYSELF));
        log::notice(&format!("Node configuration loaded, I'm {}", me.expect("a file without one is refused").id));
    }
    let node = Node::new(server, saved, conf, seed);
    node.inner.lock().sort();
    node.publish_first_map(server);
    assert!(server.cluster.set(node).is_ok(), "a server is one node");
    attach(server);
    Ok(Some(bus::Bus::open(server)?))
}

impl Server {
    /// The node of the cluster that this server is, if it is one.
    pub fn node(&self) -> Option<&Node> {
        self.cluster.get()
    }
}

/// The inner part, for the bus thread.
fn lock(node: &Node) -> MutexGuard<'_, Inner> {
    node.inner.lock()
}

//! The control plane: it owns the replication machine and performs what that decides.
//!
//! ```text
//!   network threads ── REPLCONF ACK, WAIT, link closed ──┐
//!   REPLICAOF, PSYNC, FAILOVER (alone) ──────────────────┤   inputs    ┌─────────┐  outputs
//!   the link's thread: lines, snapshot received, loaded ─┼────────────►│ machine │───────────► perform.rs
//!   threads that send snapshots ─────────────────────────┤             └─────────┘
//!   the control thread: timers ──────────────────────────┘
//! ```
//!
//! It decides nothing: an `if` about the protocol here would be in the wrong place.
//!
//! **Who runs the machine.** Whoever has an input, under one lock that is held for microseconds and never
//! while anything is waited for. Some outputs (a new role, another history, a snapshot's moment) must be
//! performed while the data plane stands still. Who is alone already performs them on the spot, so that
//! REPLICAOF answers when it is done, also within a transaction; everybody else leaves them to the
//! control thread, in order, and nothing is handled in between.
//!
//! **Where the log ends** is told to the machine before each input, by a look at the log itself. So
//! whatever it decides while the data plane stands still, it decides on exact positions.

pub mod cluster;
pub mod observers;
mod perform;
pub mod progress;
pub mod settings;
mod snapshots;
pub mod tenure;
pub mod upstream;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use quorate_keyspace::{Alone, Db, Member};
use quorate_replication::primary::{self, Goal};
use quorate_replication::{
    Answer, BacklogView, Config, History, Input, Order, OrderId, Output, PeerId, Replication, RoleView, SnapshotId,
    Start, View, WaitId,
};
use quorate_stdx::{Machine, Mono, Offset, ReplId};

use crate::data::client::ClientId;
use crate::data::replicas::Replicas;
use crate::data::worker::Mail;
use crate::persist::Loaded;
use crate::server::Server;

/// How often the limits of replicas' output are looked at, and a snapshot that has to wait is tried again.
const TICK: Duration = Duration::from_millis(100);
/// The same while a snapshot waits for another walk to end.
const SHORT_TICK: Duration = Duration::from_millis(5);

/// The control plane; see the module's text.
pub struct Control {
    inner: Mutex<Inner>,
    nudge: Sender<()>,
    nudged: Receiver<()>,
    /// The name of our history, for snapshots and INFO.
    pub history: ArcSwap<History>,
    /// How often replicas came and how they were served.
    pub counts: Counts,
}

/// What INFO stats tells of replicas.
#[derive(Default)]
pub struct Counts {
    /// `sync_full`
    pub full: AtomicU64,
    /// `sync_partial_ok`
    pub partial: AtomicU64,
    /// `sync_partial_err`
    pub refused: AtomicU64,
}

/// The machine, what it is about to hear, and what was not performed yet.
struct Inner {
    machine: Replication,
    inputs: VecDeque<Input>,
    outputs: VecDeque<Output>,
    /// Whether the machine knows where the log ends, for the next input.
    told: bool,
    answers: BTreeMap<OrderId, Answer>,
    orders: u64,
    /// Clients that wait for acknowledgements; whether for those of disks.
    waits: BTreeMap<WaitId, Goal>,
    /// The link to our primary, if there is one.
    upstream: Option<Arc<upstream::Upstream>>,
    /// Snapshots for replicas.
    snapshots: BTreeMap<SnapshotId, snapshots::Taking>,
    /// A snapshot that can't begin because another walk is under way.
    postponed: Option<primary::Output>,
    /// Whether clients were told that the stream flows.
    link_up: bool,
    /// Until when the control thread sleeps.
    sleeps_until: Mono,
    /// What was loaded of our history's end, for the log that is opened first.
    tail: Vec<u8>,
}

/// What was not performed yet, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing.
    Nothing,
    /// What must be done alone.
    NeedsAlone,
}

impl Control {
    /// A machine for a server that starts like this; nothing is performed before [`Control::begin`].
    pub fn new(config: Config, start: Start, seed: u64, now: quorate_stdx::Now) -> Control {
        let machine = Replication::new(config, start, seed, now);
        let (nudge, nudged) = bounded(1);
        let history = ArcSwap::from_pointee(machine.view(now).history);
        let inner = Inner {
            machine,
            inputs: VecDeque::new(),
            outputs: VecDeque::new(),
            told: false,
            answers: BTreeMap::new(),
            orders: 0,
            waits: BTreeMap::new(),
            upstream: None,
            snapshots: BTreeMap::new(),
            postponed: None,
            link_up: false,
            sleeps_until: Mono(0),
            tail: Vec::new(),
        };
        Control { inner: Mutex::new(inner), nudge, nudged, history, counts: Counts::default() }
    }

    /// Starts over as a server that has loaded a snapshot, which may belong to a point of a history. Before
    /// [`Control::begin`].
    pub fn loaded(&self, server: &Server, loaded: &Loaded, seed: u64) {
        if loaded.replication.is_none() {
            return;
        }
        server.set_stream_db(Db(loaded.stream_db));
        let mut inner = self.inner.lock();
        assert!(inner.upstream.is_none() && inner.snapshots.is_empty(), "a server starts once");
        let config = server.config.load();
        let start =
            Start { saved: loaded.replication, held: loaded.tail.len() as u64, follow: settings::primary(&config) };
        inner.tail.clone_from(&loaded.tail);
        inner.machine = Replication::new(settings::of(&config), start, seed, server.now());
        self.history.store(Arc::new(inner.machine.view(server.now()).history));
    }

    /// Performs what the start asks for: the role, the log, the first attempt to reach a primary. Replicas that go on
    /// from the snapshot's point are told of the keys in `left_out`.
    pub fn begin(&self, server: &Arc<Server>, left_out: &[(Db, Box<[u8]>)]) {
        self.stand_still(server, &mut server.space.join());
        if server.feed.is_on() {
            let mut request = Vec::new();
            for (db, key) in left_out {
                request.clear();
                quorate_resp::encode_request(&mut request, &[b"DEL", &**key]);
                server.feed.append(*db, &request);
            }
        }
    }

    /// Runs the control thread until the server stops.
    pub fn run(&self, server: &Arc<Server>) {
        let mut member = server.space.join();
        while !server.stopping.load(Ordering::Acquire) {
            let patience = self.patience(server.mono(), server.rest.patience(TICK));
            // An error would mean that the sender is gone, but we own it.
            let _ = self.nudged.recv_timeout(patience);
            self.turn(server, &mut member);
        }
    }

    /// How long the thread may sleep; without a deadline, for `rest`.
    fn patience(&self, now: Mono, rest: Duration) -> Duration {
        let mut inner = self.inner.lock();
        let tick = if inner.postponed.is_some() { SHORT_TICK } else { rest };
        let due = inner.machine.poll_timeout().map_or(tick, |(at, _)| at.since(now).min(tick));
        inner.sleeps_until = now + due;
        due
    }

    fn turn(&self, server: &Arc<Server>, member: &mut Member) {
        let mut inner = self.inner.lock();
        if inner.machine.poll_timeout().is_some_and(|(at, _)| at <= server.mono()) {
            inner.inputs.push_back(Input::Timeout);
        }
        inner.retry_postponed(server);
        let left = inner.run(server, None);
        drop(inner);
        if left == Left::NeedsAlone {
            self.stand_still(server, member);
        }
        if let Some(node) = server.node()
            && node.has_tasks()
        {
            // SAFETY: the control thread has no clients of its own, and holds no session.
            member.alone(|alone| unsafe { node.perform(server, alone) });
        }
        self.drop_slow_replicas(server);
    }

    /// Performs what must be performed while the data plane stands still.
    fn stand_still(&self, server: &Arc<Server>, member: &mut Member) {
        member.alone(|alone| self.inner.lock().run(server, Some(alone)));
    }

    /// Closes replicas that are above `client-output-buffer-limit`: the log can't be kept for them for ever.
    fn drop_slow_replicas(&self, server: &Arc<Server>) {
        let published = server.published();
        let limit = published.replica_output_limit(server.feed.backlog_size());
        for link in server.replicas.all().iter() {
            if link.exceeds(&server.feed, &limit, server.mono()) {
                crate::log::warning(&format!(
                    "Client id={} flags=S scheduled to be closed ASAP for overcoming of output buffer limits.",
                    link.client.0
                ));
                server.condemn(link.client);
            }
        }
    }

    /// Hands an input in. What it leads to is performed before this returns, except for what must be done
    /// alone: the control thread does that soon after.
    pub fn submit(&self, server: &Arc<Server>, input: Input) {
        let mut inner = self.inner.lock();
        inner.inputs.push_back(input);
        let left = inner.run(server, None);
        let earlier = inner.machine.poll_timeout().is_some_and(|(at, _)| at < inner.sleeps_until);
        drop(inner);
        if left == Left::NeedsAlone || earlier {
            self.wake();
        }
    }

    /// Hands an input in while alone; everything that it leads to is performed before this returns.
    pub fn submit_alone(&self, server: &Arc<Server>, alone: &mut Alone<'_>, input: Input) {
        let mut inner = self.inner.lock();
        inner.inputs.push_back(input);
        inner.run(server, Some(alone));
        drop(inner);
        self.wake();
    }

    /// Gives an order while alone, and returns how it is answered.
    pub fn order(&self, server: &Arc<Server>, alone: &mut Alone<'_>, order: Order) -> Answer {
        if order == Order::Lead {
            return self.lead(server, alone, true);
        }
        self.order_as_is(server, alone, order)
    }

    /// Orders this server to lead. What has come of the stream of its primary is applied first, and what is still on its way,
    /// if more may come.
    pub fn lead(&self, server: &Arc<Server>, alone: &mut Alone<'_>, more_may_come: bool) -> Answer {
        // The stream's commands may hand inputs in, so the lock is free meanwhile.
        let upstream = self.inner.lock().upstream.clone();
        if let Some(upstream) = upstream {
            upstream.drain(server, alone, more_may_come);
        }
        self.order_as_is(server, alone, Order::Lead)
    }

    fn order_as_is(&self, server: &Arc<Server>, alone: &mut Alone<'_>, order: Order) -> Answer {
        let mut inner = self.inner.lock();
        inner.orders += 1;
        let by = OrderId(inner.orders);
        inner.inputs.push_back(Input::Ordered { by, order });
        inner.run(server, Some(alone));
        let answer = inner.answers.remove(&by).expect("the machine answers each order before it takes the next input");
        drop(inner);
        self.wake();
        answer
    }

    /// Lets a client wait for acknowledgements; it gets its answer by mail.
    pub fn wait(&self, server: &Arc<Server>, client: ClientId, goal: Goal, deadline: Option<Mono>) {
        let id = WaitId(client.0);
        self.inner.lock().waits.insert(id, goal);
        self.submit(server, Input::Primary(primary::Input::Wait { id, goal, deadline }));
    }

    /// A client that waited is gone, or waits no longer.
    pub fn abandon_wait(&self, server: &Arc<Server>, client: ClientId) {
        let id = WaitId(client.0);
        if self.inner.lock().waits.remove(&id).is_some() {
            self.submit(server, Input::Primary(primary::Input::WaitAbandoned { id }));
        }
    }

    /// Ends the waiting of a client before its time (CLIENT UNBLOCK): as if its time were over, or with `error`, which
    /// is a whole reply. Whether it waited here.
    pub fn end_wait(&self, server: &Arc<Server>, client: ClientId, error: Option<&[u8]>) -> bool {
        let id = WaitId(client.0);
        let Some(goal) = self.inner.lock().waits.remove(&id) else { return false };
        self.submit(server, Input::Primary(primary::Input::WaitAbandoned { id }));
        let reply = error.map_or_else(
            || {
                let count = if goal.durable { Replicas::count_fsynced } else { Replicas::count_acked };
                let local = server.aof.durable_offset().is_some_and(|upto| upto >= goal.offset);
                perform::wait_reply(goal, local, count(&server.replicas, goal.offset))
            },
            <[u8]>::to_vec,
        );
        server.mail_client(client, |client| Mail::Answer { client, reply });
        true
    }

    /// Our disk has more of the log: who waits for that is answered.
    pub fn disk_moved(&self, server: &Arc<Server>) {
        let mut inner = self.inner.lock();
        // Asked under the lock under which another history begins: so it is an offset of the present one.
        let Some(upto) = server.aof.durable_offset() else { return };
        inner.inputs.push_back(Input::Fsynced { upto });
        let left = inner.run(server, None);
        drop(inner);
        if left == Left::NeedsAlone {
            self.wake();
        }
    }

    /// What INFO and ROLE show, with the log's end as it is now.
    pub fn view(&self, server: &Server) -> View {
        let mut view = self.inner.lock().machine.view(server.now());
        if let Some(held) = server.feed.backlog() {
            view.offset = held.end;
            view.backlog = Some(BacklogView { first_byte: held.start.0 + 1, length: held.end.0 - held.start.0 });
            view.backlog_size = server.feed.backlog_size();
            if let RoleView::Replica(primary) = &mut view.role {
                primary.offset = held.end;
                primary.read = Offset(held.end.0 + server.stream_unapplied.load(Ordering::Relaxed));
            }
        }
        view
    }

    /// The history and offset that the dataset belongs to at this moment; nothing while writes aren't counted.
    /// Exact only while alone.
    pub fn position(&self, server: &Server) -> Option<(ReplId, Offset)> {
        server.feed.backlog().map(|held| (self.history.load().id(), held.end))
    }

    /// The configuration has changed.
    fn configure(&self, server: &Arc<Server>, config: &quorate_config::Config) {
        if server.feed.backlog().is_some() {
            server.feed.set_backlog(config.replication.backlog_size);
        }
        self.submit(server, Input::Configure(Box::new(settings::of(config))));
    }

    pub(crate) fn wake(&self) {
        // A full channel means that the thread is about to wake up anyway.
        let _ = self.nudge.try_send(());
    }
}

/// Lets the control plane hear of changes of the configuration.
pub fn attach(server: &Arc<Server>) {
    let listener = Arc::downgrade(server);
    server.on_config_change(move |change| {
        if let Some(server) = listener.upgrade() {
            server.aof.configured(&server, &change.config);
            server.control.configure(&server, &change.config);
            server
                .tenure
                .submit(&server, quorate_replication::tenure::Input::Enabled(change.config.replication.tenure));
        }
    });
}

impl Inner {
    /// Performs what there is to perform and hands in what there is to hand in, in order, until both are
    /// exhausted or something must be done alone.
    fn run(&mut self, server: &Arc<Server>, mut alone: Option<&mut Alone<'_>>) -> Left {
        loop {
            if let Some(output) = self.outputs.pop_front().or_else(|| self.machine.poll_output()) {
                if alone.is_none() && self.needs_alone(&output) {
                    self.outputs.push_front(output);
                    return Left::NeedsAlone;
                }
                self.perform(server, alone.as_deref_mut(), output);
                continue;
            }
            if self.link_up != self.streams() {
                if alone.is_none() {
                    return Left::NeedsAlone;
                }
                self.link_up = self.streams();
                self.publish_link(server);
            }
            self.start_snapshots(server);
            let Some(input) = self.inputs.pop_front() else { return Left::Nothing };
            if !self.told
                && let Some(held) = server.feed.backlog()
            {
                self.told = true;
                self.inputs.push_front(input);
                self.machine.handle(server.now(), Input::Fed { held });
                continue;
            }
            self.told = false;
            self.machine.handle(server.now(), input);
        }
    }

    /// The link of a replica.
    fn peer(server: &Server, replica: PeerId) -> Option<Arc<crate::data::replicas::Link>> {
        server.replicas.get(ClientId(replica.0))
    }
}

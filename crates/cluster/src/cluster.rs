//! The machine that joins the rooms: what we know, what comes in, and what follows from it when all is said.
//!
//! Rooms change what we know and say so by `is_conf_dirty` (it belongs in nodes.conf) and `is_map_dirty` (it changes where
//! clients go). What follows, is derived at the end of each `handle` by `settle`: whether the cluster works, whom we follow,
//! what is published, and what is written. So no room can forget it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quorate_stdx::{Machine, Mono, Now, Rng};

use crate::config::Config;
use crate::election::Election;
use crate::event::Event;
use crate::fitness::Fitness;
use crate::giving::{Giving, GivingNews};
use crate::links::Inbound;
use crate::manual::Manual;
use crate::map::Map;
use crate::node::{Address, Node, Role};
use crate::nodes_conf::NodesConf;
use crate::orders::{Answer, Order, OrderId};
use crate::packet::{Packet, Published};
use crate::state::State;
use crate::taking::{Claimed, Taking};
use crate::transfer::{Ended, TransferId};
use crate::{Epoch, NodeId, SLOTS, SavedNode, ShardId, Slots};

/// How often the machine looks around while anything is under way.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// The same while nothing is, at most: each time it wakes a processor, and there are many nodes.
pub(crate) const CALM_TICK: Duration = Duration::from_millis(500);

/// A link of the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkId {
    /// One that we made; the machine numbers them.
    To(u64),
    /// One that another node made; the driver numbers them. No number comes twice.
    From(u64),
}

/// What happens.
#[derive(Debug, Clone)]
pub enum Input {
    /// The instant that `poll_timeout` named has come.
    Timeout,
    /// The configuration has changed.
    Configure(Box<Config>),
    /// Another node has connected.
    Accepted {
        /// The link.
        link: LinkId,
        /// Where it comes from.
        from: String,
        /// Our own address, as it is at this end.
        local: String,
    },
    /// A link that we wanted is up.
    Connected {
        /// The link.
        link: LinkId,
        /// Our own address, as it is at this end.
        local: String,
    },
    /// A link is no more, or has never been.
    Closed {
        /// The link.
        link: LinkId,
        /// Why.
        why: CloseReason,
    },
    /// A packet has come.
    Received {
        /// Through which link.
        link: LinkId,
        /// The packet.
        packet: Packet,
    },
    /// How our own data stand.
    Replication(ReplicaStatus),
    /// No write runs any more, as [`Output::PauseWrites`] asked; our stream ends here.
    WritesPaused {
        /// Where, bytes.
        offset: u64,
    },
    /// A command of an operator.
    Ordered {
        /// Who waits for the answer.
        by: OrderId,
        /// What is to be done.
        order: Order,
    },
    /// A client publishes to the whole cluster, or to a shard.
    Publish(Published),
    /// What becomes of slots that we give to another primary.
    Giving {
        /// The migration.
        id: TransferId,
        /// The news.
        news: GivingNews,
    },
    /// No write to the slots of a migration runs any more, as [`Output::HoldSlots`] asked; the log ends here.
    SlotsHeld {
        /// The migration.
        id: TransferId,
        /// Where, bytes.
        offset: u64,
    },
    /// The connection is no more through which slots were coming.
    TakingClosed {
        /// The migration.
        id: TransferId,
    },
}

/// Why a link is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It was closed or reset at the other end.
    Broken,
    /// There was an answer from the other machine: nobody listens at that port.
    Refused,
    /// It couldn't be made, or couldn't be written to, for another reason.
    Unreachable,
    /// What came through it is no packet, though it may have begun like one of this kind.
    Malformed(Option<&'static str>),
}

/// How our own data stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaStatus {
    /// Where our stream ends, bytes.
    pub offset: u64,
    /// Whether the stream of our primary comes in.
    pub is_linked: bool,
    /// When the stream was last known to come in; nothing if it never has since we started.
    pub linked_at: Option<Mono>,
    /// Whether what we hold is a primary's data: it came from one, or was loaded, or is being loaded, and is not the nothing of
    /// a fresh start.
    pub has_data: bool,
    /// For how long no command has got on, though some may have wanted to.
    pub rests_for: Duration,
}

/// What is to be done, in this order.
#[derive(Debug, Clone)]
pub enum Output {
    /// Write this down; it is on disk before the next output is performed.
    Persist(Box<NodesConf>),
    /// Make a link.
    Connect {
        /// Which.
        link: LinkId,
        /// The address, or a name.
        ip: String,
        /// The port of the bus.
        port: u16,
    },
    /// Close a link; nothing more is heard of it.
    Disconnect {
        /// Which.
        link: LinkId,
    },
    /// Send a packet.
    Send {
        /// Through which link.
        link: LinkId,
        /// The packet.
        packet: Arc<Packet>,
    },
    /// Where clients go from here on.
    Publish(Arc<Map>),
    /// Replicate from there, as a node of the cluster.
    Follow {
        /// The address.
        ip: String,
        /// The port for clients.
        port: u16,
    },
    /// Follow nobody.
    Lead {
        /// Whether nothing more comes of the stream: the primary has held its writes back, and we have all of it.
        has_all: bool,
    },
    /// No write may run until [`Output::ResumeWrites`]; say so by [`Input::WritesPaused`] when none runs any more.
    PauseWrites,
    /// Writes may run.
    ResumeWrites,
    /// Delete the keys of these slots, which belong to another node; nobody waits for it.
    DropKeys(Slots),
    /// Send what these slots hold, and what clients do to them, to another primary, which is asked first whether it takes
    /// them; tell by [`Input::Giving`] how it goes.
    Give {
        /// The migration.
        id: TransferId,
        /// The slots.
        slots: Slots,
        /// The target's address.
        ip: String,
        /// Its port for clients.
        port: u16,
    },
    /// The map that was published holds writes to a migration's slots back: say by [`Input::SlotsHeld`] where the log ends.
    HoldSlots {
        /// The migration.
        id: TransferId,
    },
    /// Send the log up to there, and say when the target has confirmed all of it.
    Drain {
        /// The migration.
        id: TransferId,
        /// The log's offset, bytes.
        upto: u64,
    },
    /// Tell the target that it may claim the slots with this epoch.
    Grant {
        /// The migration.
        id: TransferId,
        /// The epoch.
        epoch: Epoch,
    },
    /// Ask the target through another connection whether it has taken the slots.
    AskVerdict {
        /// The migration.
        id: TransferId,
        /// The slots.
        slots: Slots,
        /// The target's address.
        ip: String,
        /// Its port for clients.
        port: u16,
    },
    /// Nothing more is sent for this migration.
    EndGiving {
        /// The migration.
        id: TransferId,
    },
    /// Delete all keys, and stand alone: CLUSTER RESET of a replica.
    DropEverything,
    /// A message for those of our clients who have subscribed.
    Deliver(Published),
    /// Answer an operator's command.
    Answer {
        /// Who waits for it.
        by: OrderId,
        /// The answer.
        answer: Answer,
    },
    /// A line for the log.
    Announce(Event),
}

/// Why the machine wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// To look around.
    Tick,
    /// An election begins.
    Election,
    /// To see how far the stream of the primary has come that waits for us.
    Stream,
}

/// A node of the cluster.
pub struct Cluster {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) now: Now,
    pub(crate) me: NodeId,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) owners: Box<[Option<NodeId>]>,
    /// Slots that their owners don't claim themselves; see `claims`.
    pub(crate) unclaimed: Slots,
    pub(crate) migrating: BTreeMap<u16, NodeId>,
    pub(crate) importing: BTreeMap<u16, NodeId>,
    /// Slots that go away with all that they hold.
    pub(crate) giving: BTreeMap<TransferId, Giving>,
    /// Slots that come so.
    pub(crate) taking: BTreeMap<TransferId, Taking>,
    /// Slots that have come so, and whose source has not shown yet that it knows.
    pub(crate) claimed: BTreeMap<TransferId, Claimed>,
    pub(crate) ended: Ended,
    /// Migrations that want to hear when writes are held back.
    pub(crate) holds_due: Vec<TransferId>,
    /// Writes that were held back for a replica of ours go on.
    pub(crate) resumes_writes: bool,
    /// We are to lead instead of a primary whose stream we have all of.
    pub(crate) has_all: bool,
    /// Slots whose keys are to be deleted, once the map says whose they are.
    pub(crate) drops_due: Slots,
    pub(crate) current_epoch: Epoch,
    pub(crate) last_vote_epoch: Epoch,
    pub(crate) inbound: BTreeMap<LinkId, Inbound>,
    pub(crate) next_link: u64,
    pub(crate) state: State,
    pub(crate) election: Election,
    pub(crate) manual: Manual,
    /// Forgotten nodes, and until when they may not come back.
    pub(crate) banned: BTreeMap<NodeId, Mono>,
    pub(crate) status: ReplicaStatus,
    pub(crate) fitness: Fitness,
    pub(crate) next_tick: Mono,
    /// When one of a few nodes is asked that would not be yet.
    pub(crate) next_question: Mono,
    pub(crate) counts: crate::view::Counts,
    pub(crate) is_conf_dirty: bool,
    pub(crate) is_map_dirty: bool,
    /// Whom replication was last told to follow.
    following: Option<(String, u16)>,
    published: Option<Arc<Map>>,
    out: VecDeque<Output>,
}

impl Cluster {
    /// A node that remembers `saved`, or a new one, which leads nobody yet. Its first outputs are there to be performed.
    pub fn new(config: Config, saved: Option<NodesConf>, seed: u64, now: Now) -> Cluster {
        let mut rng = Rng::new(seed);
        let is_new = saved.is_none();
        let saved = saved.unwrap_or_else(|| fresh(&mut rng));
        let me = saved.nodes.iter().find(|node| node.flags.any(crate::NodeFlags::MYSELF));
        let me = me.expect("a file without one is refused").clone();
        let mut machine = Cluster {
            state: State::starting(now.mono),
            config,
            rng,
            now,
            me: me.id,
            nodes: saved.nodes.iter().map(|node| (node.id, Node::of_saved(node, now))).collect(),
            owners: vec![None; usize::from(SLOTS)].into(),
            unclaimed: Slots::none(),
            migrating: me.migrating.into_iter().collect(),
            importing: me.importing.into_iter().collect(),
            giving: BTreeMap::new(),
            taking: BTreeMap::new(),
            claimed: BTreeMap::new(),
            ended: Ended::default(),
            holds_due: Vec::new(),
            resumes_writes: false,
            has_all: false,
            drops_due: Slots::none(),
            current_epoch: saved.current_epoch,
            last_vote_epoch: saved.last_vote_epoch,
            inbound: BTreeMap::new(),
            next_link: 0,
            election: Election::default(),
            manual: Manual::None,
            banned: BTreeMap::new(),
            status: ReplicaStatus::default(),
            fitness: Fitness::default(),
            next_tick: now.mono + TICK,
            next_question: now.mono + crate::links::QUESTION_PERIOD,
            counts: crate::view::Counts::default(),
            is_conf_dirty: true,
            is_map_dirty: true,
            following: None,
            published: None,
            out: VecDeque::new(),
        };
        machine.adopt_saved_slots();
        let patience = machine.config.election_timeout() * 2;
        machine.fitness = Fitness::starting(machine.myself().is_voter(), now.mono + patience);
        machine.adopt_saved_grants(saved.granted);
        machine.adopt_saved_claims(saved.claimed);
        machine.adopt_announcement();
        machine.drop_strays();
        if is_new {
            machine.announce(Event::NewIdentity(machine.me));
        }
        machine.settle();
        machine
    }

    /// Takes over who owns which slot from the nodes' own lists; of two that claim one, the greater epoch holds.
    fn adopt_saved_slots(&mut self) {
        let claims: Vec<(NodeId, Epoch, Slots)> =
            self.nodes.values().map(|node| (node.id, node.config_epoch, node.slots.clone())).collect();
        for (id, ..) in &claims {
            self.node_mut(*id).slots = Slots::none();
        }
        for (id, epoch, slots) in claims {
            let better = self.nodes.values().filter(|node| node.config_epoch >= epoch);
            let taken = better.fold(Slots::none(), |taken, node| taken.and(&node.slots));
            self.give_slots(&slots.without(&taken), Some(id));
        }
        let greatest = self.nodes.values().map(|node| node.config_epoch).max().unwrap_or_default();
        self.current_epoch = self.current_epoch.max(greatest);
    }

    /// A migration that ended with a crash may have left keys in slots of others: who leads deletes them. What an operator
    /// moves by hand is left alone.
    pub(crate) fn drop_strays(&mut self) {
        if !self.myself().is_primary() {
            return;
        }
        let others = self.nodes.values().filter(|node| node.id != self.me);
        let theirs = others.fold(Slots::none(), |theirs, node| theirs.and(&node.slots));
        let coming = self.taking.values().fold(Slots::none(), |coming, taking| coming.and(&taking.slots));
        self.drops_due = theirs.without(&coming).without(&self.importing.keys().copied().collect());
    }

    /// Takes over from the configuration what others are told of us.
    fn adopt_announcement(&mut self) {
        let announce = self.config.announce.clone();
        let no_failover = self.config.no_failover;
        let me = self.myself_mut();
        me.address = Address {
            ip: announce.ip.or(me.address.ip.take()),
            port: announce.port,
            second_port: announce.second_port,
            bus_port: announce.bus_port,
        };
        me.hostname = announce.hostname;
        me.human_name = announce.human_name;
        let lasting = crate::NodeFlags::EXTENSIONS.and(crate::NodeFlags::LIGHT_PUBLISH);
        me.told = lasting.and_if(no_failover, crate::NodeFlags::NO_FAILOVER);
        self.is_conf_dirty = true;
        self.is_map_dirty = true;
    }

    // ---- what we know -----------------------------------------------------------------------------------

    /// Our name.
    pub fn id(&self) -> NodeId {
        self.me
    }

    /// Whether we follow another node.
    pub fn is_replica(&self) -> bool {
        self.myself().is_replica()
    }

    /// Whether the cluster works, as we see it.
    pub fn is_ok(&self) -> bool {
        self.state.is_ok
    }

    pub(crate) fn myself(&self) -> &Node {
        &self.nodes[&self.me]
    }

    pub(crate) fn myself_mut(&mut self) -> &mut Node {
        let me = self.me;
        self.node_mut(me)
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("the caller has looked it up, and nodes go in one place only")
    }

    /// The primary whose slots we serve or copy: ourselves, or the one that we follow.
    pub(crate) fn lead(&self) -> &Node {
        let me = self.myself();
        me.primary().and_then(|primary| self.nodes.get(&primary)).unwrap_or(me)
    }

    /// How many primaries have a say.
    pub(crate) fn voters(&self) -> usize {
        self.nodes.values().filter(|node| node.is_voter()).count()
    }

    /// How many of them are a majority.
    pub(crate) fn majority(&self) -> usize {
        self.voters() / 2 + 1
    }

    /// The replicas of `primary`.
    pub(crate) fn replicas(&self, primary: NodeId) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(move |node| node.primary() == Some(primary))
    }

    /// Gives slots to `owner`, or to nobody.
    pub(crate) fn give_slots(&mut self, slots: &Slots, owner: Option<NodeId>) {
        let new = match owner {
            Some(owner) => slots.without(&self.nodes[&owner].slots),
            None => self.nodes.values().fold(Slots::none(), |owned, node| owned.and(&node.slots)).common(slots),
        };
        if new.is_empty() {
            return;
        }
        self.unclaimed = self.unclaimed.without(&new);
        let lost = self.myself().slots.common(&new);
        self.migrating.retain(|slot, _| !lost.has(*slot));
        for node in self.nodes.values_mut().filter(|node| !node.slots.is_empty()) {
            node.slots = node.slots.without(&new);
        }
        if let Some(owner) = owner {
            let others_have_some = self.nodes.values().any(Node::is_replica);
            let node = self.node_mut(owner);
            node.had_replicas |= node.slots.is_empty() && others_have_some;
            node.slots = node.slots.and(&new);
        }
        if owner == Some(self.me) {
            self.importing.retain(|slot, _| !new.has(*slot));
        }
        for (first, last) in new.ranges() {
            self.owners[usize::from(first)..=usize::from(last)].fill(owner);
        }
        self.is_conf_dirty = true;
        self.is_map_dirty = true;
    }

    /// Makes us a replica of `primary`.
    pub(crate) fn follow(&mut self, primary: NodeId) {
        let shard = self.nodes[&primary].shard();
        let me = self.myself_mut();
        me.role = Role::Replica { of: Some(primary) };
        me.shard = Some(shard);
        self.migrating.clear();
        self.importing.clear();
        self.end_manual();
        self.election = Election::default();
        self.is_conf_dirty = true;
        self.is_map_dirty = true;
    }

    /// Forgets a node.
    pub(crate) fn remove_node(&mut self, id: NodeId) {
        assert!(id != self.me, "nobody forgets himself");
        self.give_slots(&self.nodes[&id].slots.clone(), None);
        let node = self.nodes.remove(&id).expect("its slots were looked up");
        if let Some(link) = node.link {
            self.push(Output::Disconnect { link: link.id });
        }
        for other in self.nodes.values_mut() {
            other.reports.remove(&id);
            if other.role == (Role::Replica { of: Some(id) }) {
                other.role = Role::Replica { of: None };
            }
        }
        self.migrating.retain(|_, to| *to != id);
        self.importing.retain(|_, from| *from != id);
        self.is_conf_dirty = true;
        self.is_map_dirty = true;
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.out.push_back(output);
    }

    pub(crate) fn announce(&mut self, event: Event) {
        self.push(Output::Announce(event));
    }

    // ---- what follows -----------------------------------------------------------------------------------

    /// Writes down what must not be forgotten, before anything that is pushed after it.
    pub(crate) fn persist(&mut self) {
        self.is_conf_dirty = false;
        let conf = self.to_conf();
        self.push(Output::Persist(Box::new(conf)));
    }

    /// What we remember.
    pub fn to_conf(&self) -> NodesConf {
        let known = self.nodes.values().filter(|node| !node.is_in_handshake());
        let mut nodes: Vec<SavedNode> = known.map(|node| node.to_saved(self.me)).collect();
        for node in &mut nodes {
            // A replica is shown with the epoch of the slots that it copies.
            if let Some(primary) = node.primary.and_then(|primary| self.nodes.get(&primary)) {
                node.config_epoch = primary.config_epoch;
            }
            if node.id == self.me {
                node.migrating = self.migrating.iter().map(|(&slot, &to)| (slot, to)).collect();
                node.importing = self.importing.iter().map(|(&slot, &from)| (slot, from)).collect();
            }
        }
        let Cluster { current_epoch, last_vote_epoch, .. } = *self;
        let (granted, claimed) = (self.to_saved_grants(), self.to_saved_claims());
        NodesConf { nodes, current_epoch, last_vote_epoch, granted, claimed }
    }

    /// What follows from all that has changed.
    fn settle(&mut self) {
        if self.is_map_dirty {
            self.tend_giving();
            self.tend_taking();
        }
        self.update_state();
        if self.is_conf_dirty {
            self.persist();
        }
        let leads = self.nodes.get(&self.me).and_then(Node::primary);
        let wanted = leads.and_then(|primary| self.nodes.get(&primary)).and_then(|primary| {
            let ip = primary.address.ip.clone()?;
            Some((ip, primary.address.port_for(self.config.follows_otherwise)))
        });
        if self.is_map_dirty {
            self.is_map_dirty = false;
            let map = Map::of(self);
            if self.published.as_deref() != Some(&map) {
                let map = Arc::new(map);
                self.published = Some(Arc::clone(&map));
                self.push(Output::Publish(map));
            }
        }
        // All of these mean the map that was published last.
        for id in std::mem::take(&mut self.holds_due) {
            self.push(Output::HoldSlots { id });
        }
        if std::mem::take(&mut self.resumes_writes) {
            self.push(Output::ResumeWrites);
        }
        let drops = std::mem::replace(&mut self.drops_due, Slots::none());
        if !drops.is_empty() {
            self.push(Output::DropKeys(drops));
        }
        // A replica whose primary's address is unknown goes on with what it has.
        if wanted != self.following && (wanted.is_some() || self.myself().is_primary()) {
            self.following.clone_from(&wanted);
            match wanted {
                Some((ip, port)) => self.push(Output::Follow { ip, port }),
                None => {
                    let has_all = std::mem::take(&mut self.has_all);
                    self.push(Output::Lead { has_all });
                }
            }
        }
    }
}

impl Machine for Cluster {
    type Input = Input;
    type Output = Output;
    type Timer = Timer;

    fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        let is_routine = matches!(input, Input::Received { .. } | Input::Replication(_) | Input::Publish(_));
        let is_tick = matches!(input, Input::Timeout);
        match input {
            Input::Timeout => self.on_timeout(),
            Input::Configure(config) => {
                self.config = *config;
                self.adopt_announcement();
            }
            Input::Accepted { link, from, local } => self.on_accepted(link, from, local),
            Input::Connected { link, local } => self.on_connected(link, local),
            Input::Closed { link, why } => self.on_closed(link, why),
            Input::Received { link, packet } => self.on_received(link, packet),
            Input::Replication(status) => self.on_replication(status),
            Input::WritesPaused { offset } => self.on_writes_paused(offset),
            Input::Ordered { by, order } => {
                let answer = self.on_ordered(order);
                self.push(Output::Answer { by, answer });
            }
            Input::Publish(published) => self.on_publish(published),
            Input::Giving { id, news } => self.on_giving(id, news),
            Input::SlotsHeld { id, offset } => self.on_slots_held(id, offset),
            Input::TakingClosed { id } => self.on_taking_closed(id),
        }
        let has_changed = self.is_conf_dirty || self.is_map_dirty || (self.state.is_stale && !is_tick);
        if has_changed || !(is_tick || is_routine) {
            self.next_tick = self.next_tick.min(self.now.mono + TICK);
        }
        self.settle();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Mono, Timer)> {
        let election = self.election.wakes_at().map(|at| (at, Timer::Election));
        let stream = self.manual.wakes_at(self.now.mono).map(|at| (at, Timer::Stream));
        let tick = (self.next_tick, Timer::Tick);
        [Some(tick), election, stream].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

impl Cluster {
    fn on_timeout(&mut self) {
        if self.now.mono >= self.next_tick {
            let now = self.now.mono;
            self.banned.retain(|_, until| *until > now);
            self.tend_links();
            self.look_for_failures();
            self.tend_manual();
            self.look_for_orphans();
            self.tend_fitness();
            self.tend_giving();
            self.tend_taking();
            self.state.is_stale = true;
            self.next_tick = now + if self.is_calm() { self.config.calm_tick() } else { TICK };
        }
        self.tend_election();
    }

    /// Whether nothing is under way that has to be looked after often: everybody is well and answers at once.
    fn is_calm(&self) -> bool {
        let now = self.now.mono;
        let is_well = |node: &Node| {
            let answers = node.ping_sent.is_none_or(|ping| now.since(ping.mono) < TICK);
            node.is_fine() && !node.is_in_handshake() && node.orphaned_since.is_none() && answers && node.is_linked()
        };
        let moves_nothing = self.giving.is_empty() && self.taking.is_empty() && self.claimed.is_empty();
        self.state.is_ok
            && self.manual == Manual::None
            && moves_nothing
            && !self.fitness.is_troubled()
            && self.nodes.values().all(|node| node.id == self.me || is_well(node))
    }

    fn on_replication(&mut self, status: ReplicaStatus) {
        self.status = status;
        let offset = status.offset;
        self.myself_mut().offset = offset;
        self.note_rest(status.rests_for);
        self.tend_manual();
    }
}

/// A node that has just been made.
fn fresh(rng: &mut Rng) -> NodesConf {
    let node = SavedNode {
        flags: crate::NodeFlags::MYSELF.and(crate::NodeFlags::PRIMARY),
        shard: Some(ShardId::random(rng)),
        ..SavedNode::new(NodeId::random(rng))
    };
    let (granted, claimed) = (Vec::new(), Vec::new());
    NodesConf { nodes: vec![node], current_epoch: Epoch(0), last_vote_epoch: Epoch(0), granted, claimed }
}

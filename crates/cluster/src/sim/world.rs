//! The heap of events, the network, and the driver of each node.
//!
//! Connections are in order and have delays. Between hosts that are cut off from each other nothing arrives and nothing
//! is refused. A process that dies closes its connections, and its host refuses new ones; a host that loses power does
//! neither. What a node has persisted is all that it finds again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use quorate_stdx::{Machine as _, Mono, Now, Rng, UnixMs};

use super::checks::{Witness, check_slot};
use super::transfers::{Export, Parcel, Party};
use crate::packet::{Body, Packet};
use crate::{
    Announce, Answer, CloseReason, Cluster, Config, Epoch, Event, Input, LinkId, Map, NodeId, NodesConf, Order,
    OrderId, Output, ReplicaStatus, SLOTS, TransferId,
};

const PORT: u16 = 7000;
const BUS: u16 = 17000;
/// How often a node does something, whether its machine wants to be woken or not.
const BEAT: Duration = Duration::from_millis(100);
/// Writes that a primary takes in a beat.
const WRITES: u64 = 10;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    host: usize,
    incarnation: u64,
    link: LinkId,
}

pub(super) enum What {
    Wake { host: usize, incarnation: u64 },
    Handed { to: End, input: Box<Input> },
    Connecting { from: End, to: usize },
    Fault(Fault),
    Carried(Box<Parcel>),
    Copied { source: Party, id: TransferId },
    Lost { source: Party, id: TransferId },
    TakingClosed { peer: Party, id: TransferId },
}

/// Something that happens to a host.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Crash(usize),
    PowerOff(usize),
    Start {
        host: usize,
        keeps_data: bool,
    },
    /// The hosts in the set can't talk to the others.
    Partition(BTreeSet<usize>),
    Heal,
    Failover(usize),
    /// From now on no command gets on, or they do again.
    Hang {
        host: usize,
        hangs: bool,
    },
    /// A new node joins there.
    Join(usize),
    /// It follows somebody, if it has nothing else to do.
    Adopt(usize),
    /// It leaves for good, if it is not needed.
    Leave(usize),
    /// What joins and leaves have missed is done again.
    SettleMembership,
    /// A quarter of a host's slots is moved to another.
    Migrate {
        host: usize,
        to: usize,
        share: usize,
    },
}

/// What it would be worst to die over: what has just been promised or written down, and nobody knows yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stakes {
    #[default]
    Nothing,
    /// A vote.
    Promise,
    /// A claim to slots that were granted.
    Claim,
    /// That slots which were granted are not any more.
    TakeBack,
}

/// A running node.
pub(crate) struct Process {
    pub(crate) machine: Cluster,
    pub(super) incarnation: u64,
    next_inbound: u64,
    links: BTreeMap<LinkId, End>,
    following: Option<usize>,
    offset: u64,
    has_data: bool,
    linked_at: Option<Mono>,
    pub(super) is_paused: bool,
    /// Since when no command gets on.
    hangs_since: Option<Mono>,
    pub(super) map: Option<Arc<Map>>,
    pub(super) exports: BTreeMap<TransferId, Export>,
    pub(super) answer: Option<Answer>,
}

impl Process {
    /// Whether a client's write gets on.
    pub(super) fn takes_writes(&self) -> bool {
        !self.is_paused && self.hangs_since.is_none()
    }
}

pub(crate) struct World {
    pub(crate) now: Mono,
    pub(crate) rng: Rng,
    pub(crate) processes: Vec<Option<Process>>,
    pub(super) disks: Vec<Option<NodesConf>>,
    config: Config,
    heap: BinaryHeap<Reverse<(Mono, u64)>>,
    pending: BTreeMap<u64, What>,
    sequence: u64,
    /// When the last message between two ends arrives.
    order: BTreeMap<End, Mono>,
    cut_off: BTreeSet<usize>,
    witness: Witness,
    violation: Option<String>,
    /// Whether doomed processes die between two outputs.
    pub(crate) dooms: bool,
    stakes: Stakes,
    /// What is written down next is a claim.
    pub(super) claims: bool,
    /// What is written down next takes slots back.
    takes_back: bool,
    pub(crate) trace: Option<String>,
    pub(crate) sent: u64,
    /// It is too large for each file to be read back.
    pub(crate) is_large: bool,
    /// Packets and bytes that were sent, in a large world.
    pub(crate) traffic: (u64, u64),
    /// How many writes each host holds of a slot; they survive a crash if data do.
    pub(super) data: Vec<BTreeMap<u16, u64>>,
    /// How many ends of migrations were successes, on either side, and how many weren't.
    pub(crate) endings: (usize, usize),
    /// How many were acknowledged.
    pub(super) acknowledged: BTreeMap<u16, u64>,
    /// Hosts whose nodes belong to the cluster, whether they run or not.
    pub(super) members: BTreeSet<usize>,
    /// Who has left.
    pub(super) left: Vec<NodeId>,
}

impl World {
    pub(crate) fn new(hosts: usize, config: Config, seed: u64) -> World {
        World {
            now: Mono(1_000_000),
            rng: Rng::new(seed),
            processes: (0..hosts).map(|_| None).collect(),
            disks: vec![None; hosts],
            config,
            heap: BinaryHeap::new(),
            pending: BTreeMap::new(),
            sequence: 0,
            order: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            witness: Witness::default(),
            violation: None,
            dooms: false,
            stakes: Stakes::Nothing,
            claims: false,
            takes_back: false,
            trace: None,
            sent: 0,
            is_large: false,
            traffic: (0, 0),
            data: vec![BTreeMap::new(); hosts],
            endings: (0, 0),
            acknowledged: BTreeMap::new(),
            members: BTreeSet::new(),
            left: Vec::new(),
        }
    }

    fn clock(&self) -> Now {
        Now { mono: self.now, unix: UnixMs(1_700_000_000_000 + (self.now.0 / 1000) as i64) }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:>12} {}", self.now.0, line());
        }
    }

    pub(super) fn at(&mut self, at: Mono, what: What) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence)));
        self.pending.insert(self.sequence, what);
    }

    pub(crate) fn fault_at(&mut self, at: Mono, fault: Fault) {
        self.at(at, What::Fault(fault));
    }

    pub(super) fn delay(&mut self) -> Duration {
        Duration::from_micros(100 + self.rng.below(900))
    }

    pub(super) fn can_talk(&self, a: usize, b: usize) -> bool {
        self.cut_off.contains(&a) == self.cut_off.contains(&b)
    }

    /// Runs until `end`, or until something is wrong.
    pub(crate) fn run_until(&mut self, end: Mono) -> Result<(), String> {
        while let Some(&Reverse((at, sequence))) = self.heap.peek().filter(|Reverse((at, _))| *at <= end) {
            self.heap.pop();
            self.now = self.now.max(at);
            let what = self.pending.remove(&sequence).expect("each entry of the heap has one");
            self.happen(what);
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Wake { host, incarnation } => {
                let Some(process) = self.processes[host].as_ref() else { return };
                if process.incarnation == incarnation {
                    self.replicate(host);
                    if self.processes[host].is_some() {
                        self.write(host);
                    }
                    self.hand(host, Input::Timeout);
                    self.wake_later(host);
                }
            }
            What::Handed { to, input } => {
                let alive =
                    |process: &Process| process.incarnation == to.incarnation && process.links.contains_key(&to.link);
                if !self.processes[to.host].as_ref().is_some_and(alive) {
                    return;
                }
                if let Input::Closed { link, .. } = &*input {
                    self.process(to.host).links.remove(link);
                }
                self.hand(to.host, *input);
            }
            What::Connecting { from, to } => self.connect(from, to),
            What::Fault(fault) => self.suffer(fault),
            What::Carried(parcel) => self.arrive(*parcel),
            What::Copied { source, id } => self.on_copied(source, id),
            What::Lost { source, id } => self.on_lost(source, id),
            What::TakingClosed { peer, id } => self.on_taking_closed(peer, id),
        }
    }

    pub(super) fn process(&mut self, host: usize) -> &mut Process {
        self.processes[host].as_mut().expect("the caller has looked")
    }

    fn wake_later(&mut self, host: usize) {
        let Some(process) = &self.processes[host] else { return };
        let incarnation = process.incarnation;
        if let Some((at, _)) = process.machine.poll_timeout() {
            // What replicates and writes goes on in any case.
            let at = at.min(self.now + BEAT).max(self.now + Duration::from_micros(1));
            self.at(at, What::Wake { host, incarnation });
        }
    }

    // ---- hosts ------------------------------------------------------------------------------------------

    pub(crate) fn start(&mut self, host: usize, keeps_data: bool) {
        if !keeps_data {
            self.data[host].clear();
        }
        let announce = Announce { port: PORT, bus_port: BUS, ..self.config.announce.clone() };
        let config = Config { announce, ..self.config.clone() };
        let saved = self.disks[host].clone();
        let seed = self.rng.next_u64();
        self.sequence += 1;
        let incarnation = self.sequence;
        let process = Process {
            machine: Cluster::new(config, saved, seed, self.clock()),
            incarnation,
            next_inbound: 0,
            links: BTreeMap::new(),
            following: None,
            offset: if keeps_data { 1 } else { 0 },
            has_data: keeps_data,
            linked_at: None,
            is_paused: false,
            hangs_since: None,
            map: None,
            exports: BTreeMap::new(),
            answer: None,
        };
        self.processes[host] = Some(process);
        self.perform(host);
        self.wake_later(host);
    }

    fn suffer(&mut self, fault: Fault) {
        self.note(|| format!("FAULT {fault:?}"));
        match fault {
            Fault::Crash(host) => self.stop(host, true),
            Fault::PowerOff(host) => self.stop(host, false),
            Fault::Start { host, keeps_data } if self.processes[host].is_none() && self.members.contains(&host) => {
                self.start(host, keeps_data);
            }
            Fault::Start { .. } => {}
            Fault::Partition(hosts) => self.cut_off = hosts,
            Fault::Heal => self.cut_off.clear(),
            Fault::Join(host) => self.join(host),
            Fault::Adopt(host) => self.adopt(host),
            Fault::Leave(host) => self.leave(host),
            Fault::SettleMembership => self.settle_membership(),
            Fault::Migrate { host, to, share } => self.migrate(host, to, share),
            Fault::Hang { host, hangs } => {
                let now = self.now;
                if let Some(process) = &mut self.processes[host] {
                    process.hangs_since = hangs.then(|| process.hangs_since.unwrap_or(now));
                }
            }
            Fault::Failover(host) => {
                if self.processes[host].is_some() {
                    self.order(host, Order::Failover);
                }
            }
        }
    }

    /// Its process ends, and nothing of it is left.
    pub(super) fn end(&mut self, host: usize) {
        self.stop(host, true);
        self.disks[host] = None;
        self.data[host].clear();
    }

    fn stop(&mut self, host: usize, closes: bool) {
        let Some(process) = self.processes[host].take() else { return };
        self.close_all(process.exports, Duration::from_millis(if closes { 1 } else { 2000 }));
        if !closes {
            return;
        }
        for far in process.links.into_values() {
            if self.can_talk(host, far.host) {
                self.deliver(far, Input::Closed { link: far.link, why: CloseReason::Broken });
            }
        }
    }

    pub(crate) fn order(&mut self, host: usize, order: Order) {
        self.note(|| format!("{host} ORDER {order:?}"));
        self.hand(host, Input::Ordered { by: OrderId(0), order });
    }

    /// A primary writes; a replica has what its primary has, if it can reach it.
    fn replicate(&mut self, host: usize) {
        let now = self.now;
        let process = self.process(host);
        let (following, mut offset, mut has_data) = (process.following, process.offset, process.has_data);
        let hangs_since = process.hangs_since;
        let mut is_linked = false;
        match following {
            _ if hangs_since.is_some() => {}
            None if process.machine.is_ok() && !process.is_paused => {
                offset += WRITES;
                has_data = true;
            }
            None => {}
            Some(primary) if self.can_talk(host, primary) => {
                if let Some(primary) = self.processes[primary].as_ref().filter(|process| process.has_data) {
                    (offset, has_data, is_linked) = (primary.offset, true, true);
                }
            }
            Some(_) => {}
        }
        let process = self.process(host);
        (process.offset, process.has_data) = (offset, has_data);
        if is_linked {
            process.linked_at = Some(now);
        }
        let linked_at = process.linked_at;
        let rests_for = hangs_since.map_or(Duration::ZERO, |since| now.since(since));
        self.hand(host, Input::Replication(ReplicaStatus { offset, is_linked, linked_at, has_data, rests_for }));
    }

    // ---- the network ------------------------------------------------------------------------------------

    pub(super) fn host_of(ip: &str) -> usize {
        ip.rsplit('.').next().and_then(|last| last.parse().ok()).expect("addresses are of this world")
    }

    fn address(host: usize) -> String {
        format!("10.0.0.{host}")
    }

    /// Hands an input to the far end of a connection, after those that were sent before.
    fn deliver(&mut self, to: End, input: Input) {
        let at = (self.now + self.delay()).max(self.order.get(&to).copied().unwrap_or_default());
        self.order.insert(to, at);
        self.at(at, What::Handed { to, input: Box::new(input) });
    }

    fn connect(&mut self, from: End, to: usize) {
        let is_there =
            self.processes[from.host].as_ref().is_some_and(|process| process.incarnation == from.incarnation);
        if !is_there || !self.can_talk(from.host, to) {
            return;
        }
        let Some(process) = self.processes[to].as_mut() else {
            self.process(from.host).links.insert(from.link, from);
            return self.deliver(from, Input::Closed { link: from.link, why: CloseReason::Refused });
        };
        process.next_inbound += 1;
        let link = LinkId::From(process.next_inbound);
        let far = End { host: to, incarnation: process.incarnation, link };
        process.links.insert(link, from);
        self.process(from.host).links.insert(from.link, far);
        let (here, there) = (World::address(from.host), World::address(to));
        self.deliver(from, Input::Connected { link: from.link, local: here.clone() });
        self.deliver(far, Input::Accepted { link, from: here, local: there });
    }

    // ---- the driver -------------------------------------------------------------------------------------

    pub(super) fn hand(&mut self, host: usize, input: Input) {
        if self.trace.is_some() && !matches!(input, Input::Timeout | Input::Replication(_)) {
            let shown = match &input {
                Input::Received { link, packet } => format!("{link:?} {}", summary(packet)),
                other => format!("{other:?}"),
            };
            self.note(|| format!("{host} < {shown}"));
        }
        if self.processes[host].is_none() {
            return; // It died while it performed what came before.
        }
        let now = self.clock();
        // Nothing else says anything of owners.
        let tells_owners = matches!(input, Input::Received { .. } | Input::Ordered { .. });
        let before = tells_owners.then(|| self.owners(host));
        self.process(host).machine.handle(now, input);
        if let Some(before) = before {
            self.check_owners(host, &before);
        }
        self.perform(host);
    }

    /// Of some slots, the epoch of their owner.
    fn owners(&self, host: usize) -> Vec<Option<Epoch>> {
        let machine = &self.processes[host].as_ref().expect("the caller has looked").machine;
        // What its owner doesn't claim any more is anybody's.
        let owner = |slot: u16| machine.owners[usize::from(slot)].filter(|_| !machine.unclaimed.has(slot));
        let epoch = |slot: u16| owner(slot).map(|owner| machine.nodes[&owner].config_epoch);
        (0..SLOTS).step_by(2048).map(epoch).collect()
    }

    fn check_owners(&mut self, host: usize, before: &[Option<Epoch>]) {
        let after = self.owners(host);
        for (slot, (before, after)) in (0..SLOTS).step_by(2048).zip(before.iter().zip(after)) {
            if let Err(violation) = check_slot(slot, *before, after) {
                self.violation.get_or_insert(violation);
            }
        }
    }

    fn perform(&mut self, host: usize) {
        loop {
            let stakes = std::mem::take(&mut self.stakes);
            let odds = if stakes == Stakes::Nothing { 20_000 } else { 3 };
            if self.dooms && self.processes[host].is_some() && self.rng.below(odds) == 0 {
                return self.die(host, stakes);
            }
            let Some(process) = self.processes[host].as_mut() else { return };
            let Some(output) = process.machine.poll_output() else { return };
            self.perform_one(host, output);
        }
    }

    /// It ends between two outputs. Those who might now do harm by what they don't know either may end, too.
    fn die(&mut self, host: usize, stakes: Stakes) {
        self.note(|| format!("{host} DIES between two outputs, over {stakes:?}"));
        let me = self.id(host);
        let soon = Duration::from_millis(1 + self.rng.below(100) * self.rng.below(30));
        let late = Duration::from_millis(1000 + self.rng.below(7000));
        let joins_in = stakes == Stakes::Claim && self.rng.below(2) == 0;
        let back = self.now + if joins_in || stakes == Stakes::TakeBack { late } else { soon };
        self.fault_at(back, Fault::Start { host, keeps_data: true });
        let gives_to_us = |source: &usize| {
            let machine = self.machine(*source);
            machine.is_some_and(|machine| machine.giving.values().any(|giving| giving.is_granted() && giving.to == me))
        };
        let sources: Vec<usize> = (0..self.processes.len()).filter(gives_to_us).filter(|_| joins_in).collect();
        for source in sources {
            let at = self.now + Duration::from_millis(self.rng.below(300));
            self.fault_at(at, Fault::Crash(source));
            let back = at + Duration::from_millis(20 + self.rng.below(500));
            self.fault_at(back, Fault::Start { host: source, keeps_data: true });
        }
        self.stop(host, true);
    }

    fn note_stakes_of_file(&mut self) {
        if std::mem::take(&mut self.claims) {
            self.stakes = Stakes::Claim;
        } else if std::mem::take(&mut self.takes_back) {
            self.stakes = Stakes::TakeBack;
        }
    }

    fn perform_one(&mut self, host: usize, output: Output) {
        let incarnation = self.process(host).incarnation;
        match output {
            // A file that is read back takes its time; what is in it is checked elsewhere, too.
            Output::Persist(conf) if self.is_large || !self.sequence.is_multiple_of(8) => {
                self.disks[host] = Some(*conf);
                self.note_stakes_of_file();
            }
            Output::Persist(conf) => {
                let text = conf.to_text(false);
                let read = NodesConf::parse(text.as_bytes()).expect("what a node writes it can read");
                let read = read.expect("it is not empty");
                assert_eq!(read.to_text(false), text);
                self.disks[host] = Some(read);
                self.note_stakes_of_file();
            }
            Output::Connect { link, ip, .. } => {
                let at = self.now + self.delay();
                self.at(at, What::Connecting { from: End { host, incarnation, link }, to: World::host_of(&ip) });
            }
            Output::Disconnect { link } => {
                if let Some(far) = self.process(host).links.remove(&link)
                    && self.can_talk(host, far.host)
                {
                    self.deliver(far, Input::Closed { link: far.link, why: CloseReason::Broken });
                }
            }
            Output::Send { link, packet } => self.send(host, link, &packet),
            Output::Follow { ip, .. } => self.process(host).following = Some(World::host_of(&ip)),
            Output::Lead { .. } => self.process(host).following = None,
            Output::PauseWrites => {
                let process = self.process(host);
                process.is_paused = true;
                let offset = process.offset;
                self.hand(host, Input::WritesPaused { offset });
            }
            Output::ResumeWrites => self.process(host).is_paused = false,
            Output::DropEverything => self.process(host).has_data = false,
            Output::Announce(event) => self.witness(host, &event),
            Output::Publish(map) => self.process(host).map = Some(map),
            Output::Answer { by: OrderId(1), answer } => self.process(host).answer = Some(answer),
            Output::Deliver(_) | Output::Answer { .. } => {}
            transfer => self.perform_transfer(host, transfer),
        }
    }

    fn send(&mut self, host: usize, link: LinkId, packet: &Arc<Packet>) {
        self.sent += 1;
        if self.is_large {
            let mut bytes = Vec::new();
            packet.encode(&mut bytes);
            self.traffic = (self.traffic.0 + 1, self.traffic.1 + bytes.len() as u64);
        }
        let Some(&far) = self.process(host).links.get(&link) else { return };
        if matches!(packet.body, Body::AuthAck) {
            self.stakes = Stakes::Promise;
            let header = packet.header.as_ref().expect("a vote has a full header");
            let machine = &self.process(host).machine;
            let candidate = machine.speaker(link).expect("a vote goes to whom it was asked by");
            let voted = self.witness.voted(header.sender, header.current_epoch, candidate);
            if let Err(violation) = voted {
                self.violation.get_or_insert(violation);
            }
        }
        if self.can_talk(host, far.host) {
            self.deliver(far, Input::Received { link: far.link, packet: Packet::clone(packet) });
        }
    }

    fn witness(&mut self, host: usize, event: &Event) {
        self.note(|| format!("{host} * {event:?}"));
        if let Event::TransferEnded { how, why, .. } = event {
            match *how {
                "success" => self.endings.0 += 1,
                _ => self.endings.1 += 1,
            }
            self.takes_back |= why.contains("the slots stay here");
        }
        if let Event::ElectionWon(epoch) = event {
            let machine = &self.process(host).machine;
            let (id, majority) = (machine.id(), machine.majority());
            if let Err(violation) = self.witness.won(*epoch, id, majority) {
                self.violation.get_or_insert(violation);
            }
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    // ---- what the swarm asks ----------------------------------------------------------------------------

    pub(crate) fn machine(&self, host: usize) -> Option<&Cluster> {
        self.processes[host].as_ref().map(|process| &process.machine)
    }

    pub(crate) fn id(&self, host: usize) -> NodeId {
        self.machine(host).expect("it runs").id()
    }

    pub(crate) fn address_for_meet(host: usize) -> crate::Address {
        crate::Address { ip: Some(World::address(host)), port: PORT, second_port: 0, bus_port: BUS }
    }
}

fn summary(packet: &Packet) -> String {
    let header = packet.header.as_ref();
    let from = header.map(|header| (header.sender, header.current_epoch, header.config_epoch));
    match &packet.body {
        Body::Heartbeat { kind, entries, .. } => format!("{kind:?} {from:?} of {}", entries.len()),
        other => format!("{other:?} {from:?}"),
    }
}

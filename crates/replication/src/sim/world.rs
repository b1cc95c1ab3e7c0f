//! The heap of events, and the drivers: they perform what machines put out and tell them what happened.
//!
//! Every protocol decision is a machine's. A driver here does what the server's does, on models.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::rc::Rc;

use quorate_stdx::{Machine, Mono, Now, Offset, Rng, UnixMs};

use crate::Replication;
use crate::event::{FailoverEvent, PeerEvent};
use crate::primary::{self, Asks, Target};
use crate::replica;
use crate::wire::{Origin, Reply, Request};
use crate::{
    Addr, Config, Event, Input, LinkId, Order, OrderId, Output, PeerId, Psync, Replconf, Role, SnapshotId, Start,
    WaitId,
};

use super::checks::{self, Holders};
use super::net::{From, Msg, Net};
use super::node::{Disk, Image, Kind, Log, Node, Taking, Upstream};

/// Something that is going to happen.
#[derive(Debug)]
enum Due {
    Wake { node: usize, boot: u64 },
    Deliver { conn: u64, from: From },
    Connected { node: usize, boot: u64, link: LinkId, to: Option<usize> },
    Written { node: usize, boot: u64, id: SnapshotId },
    Sent { node: usize, boot: u64, id: SnapshotId, replica: PeerId },
    Received { node: usize, boot: u64, link: LinkId },
    Loaded { node: usize, boot: u64, link: LinkId },
}

/// How a process starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Without persistence.
    Empty,
    /// From the last snapshot that was saved, if there is one.
    Snapshot,
    /// From an append-only file that lacks nothing: all data, no history.
    AppendOnly,
}

/// How long things take, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) snapshot: u64,
    pub(crate) transfer: u64,
    pub(crate) load: u64,
}

/// The deployment.
pub(crate) struct World {
    pub(crate) now: u64,
    heap: BTreeMap<(u64, u64), Due>,
    seq: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: Net,
    pub(crate) rng: Rng,
    pub(crate) pace: Pace,
    /// One snapshot in so many fails; 0 means none.
    pub(crate) snapshot_failures: u64,
    pub(crate) holders: Holders,
    writes: u64,
    waits: BTreeMap<WaitId, u64>,
    orders: u64,
    pub(crate) trace: Option<String>,
    /// The first property that didn't hold.
    pub(crate) violation: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, net: Net, pace: Pace) -> World {
        World {
            now: 1_000_000,
            heap: BTreeMap::new(),
            seq: 0,
            nodes: Vec::new(),
            net,
            rng: Rng::new(seed),
            pace,
            snapshot_failures: 0,
            holders: Holders::default(),
            writes: 0,
            waits: BTreeMap::new(),
            orders: 0,
            trace: None,
            violation: None,
        }
    }

    pub(crate) fn clock(&self) -> Now {
        Now { mono: Mono(self.now), unix: UnixMs((self.now / 1000) as i64) }
    }

    fn at(&mut self, at: u64, due: Due) {
        self.seq += 1;
        self.heap.insert((at.max(self.now), self.seq), due);
    }

    fn tell(&mut self, node: usize, text: &str) {
        if let Some(trace) = &mut self.trace {
            let since = self.now - 1_000_000;
            let (seconds, rest) = (since / 1_000_000, since % 1_000_000 / 100);
            let name = &self.nodes[node].name;
            let _ = writeln!(trace, "{seconds:>4}.{rest:04} {name} {text}");
        }
    }

    fn violate(&mut self, outcome: Result<(), String>) {
        if let Err(violation) = outcome {
            let at = self.now;
            self.violation.get_or_insert(format!("{violation} (at {at} µs)"));
        }
    }

    // ---- nodes ------------------------------------------------------------------------------------------

    pub(crate) fn add(&mut self, name: &str, config: Config, follow: Option<Addr>) -> usize {
        let index = self.nodes.len();
        let seed = self.rng.next_u64();
        let config = Config { port: 7000 + index as u16, announce_ip: Some(name.into()), ..config };
        let addr = Addr::new(name, config.port);
        let machine = Replication::new(config.clone(), Start { follow, ..Start::default() }, seed, self.clock());
        self.nodes.push(Node {
            name: name.into(),
            addr,
            config,
            machine,
            up: true,
            boot: 1,
            started: self.now,
            started_empty: true,
            loaded_keys: 0,
            keeps_aof: false,
            data: Default::default(),
            hash: 7,
            log: Log::default(),
            readers: BTreeMap::new(),
            taking: BTreeMap::new(),
            upstream: None,
            follows: None,
            paused: false,
            forced: false,
            took_over_with: Default::default(),
            history: None,
            disk: None,
            wake_at: None,
            consented: false,
            heard: BTreeMap::new(),
            reached: None,
        });
        self.drain(index);
        index
    }

    pub(crate) fn find(&self, addr: &Addr) -> Option<usize> {
        self.nodes.iter().position(|node| node.addr.same_place(addr))
    }

    pub(crate) fn crash(&mut self, node: usize) {
        if !self.nodes[node].up {
            return;
        }
        self.tell(node, "-- crashes");
        self.nodes[node].up = false;
        self.nodes[node].boot += 1;
        for (conn, end) in self.net.of(node) {
            self.close(conn, end);
        }
    }

    /// What SHUTDOWN, or a save point, leaves on disk.
    pub(crate) fn save(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let position = node.machine.position();
        node.disk = Some(Disk { data: node.data.clone(), hash: node.hash, position });
    }

    pub(crate) fn restart(&mut self, index: usize, how: Restart) {
        if self.nodes[index].up {
            return;
        }
        let (now, clock, seed) = (self.now, self.clock(), self.rng.next_u64());
        let node = &mut self.nodes[index];
        let (data, hash, position) = match (how, node.disk.clone()) {
            (Restart::AppendOnly, _) => (node.data.clone(), node.hash, None),
            (Restart::Snapshot, Some(disk)) => (disk.data, disk.hash, disk.position),
            (Restart::Snapshot | Restart::Empty, _) => (Default::default(), 7, None),
        };
        (node.up, node.paused, node.started) = (true, false, now);
        node.keeps_aof = how == Restart::AppendOnly;
        node.loaded_keys = if how == Restart::Snapshot { data.len() as u64 } else { 0 };
        node.started_empty = data.is_empty() && how != Restart::AppendOnly;
        (node.data, node.hash, node.log) = (data, hash, Log::default());
        (node.readers, node.taking, node.upstream) = Default::default();
        (node.history, node.reached, node.wake_at, node.consented) = (None, None, None, false);
        node.heard.clear();
        let start = Start { saved: position, held: 0, follow: node.follows.take() };
        node.machine = Replication::new(node.config.clone(), start, seed, clock);
        self.tell(index, &format!("-- restarts ({how:?})"));
        self.drain(index);
    }

    /// A client writes, and may wait for acknowledgements.
    pub(crate) fn write(&mut self, index: usize, wait: Option<(usize, u64)>) {
        if !self.nodes[index].takes_writes() {
            return;
        }
        self.writes += 1;
        let write = self.writes;
        let node = &mut self.nodes[index];
        node.run(Kind::Write(write));
        self.holders.add(write, index);
        self.flow(index);
        self.fed(index);
        let end = self.nodes[index].log.end();
        if let Some((replicas, timeout)) = wait {
            let id = WaitId(write);
            self.waits.insert(id, write);
            let goal = primary::Goal { offset: end, replicas, durable: false, local: false };
            let deadline = Some(Mono(self.now + timeout));
            self.handle(index, Input::Primary(primary::Input::Wait { id, goal, deadline }));
        }
    }

    pub(crate) fn order(&mut self, index: usize, order: Order) {
        if !self.nodes[index].up {
            return;
        }
        self.orders += 1;
        let by = OrderId(self.orders);
        if let Order::Follow { by: crate::Authority::Operator, .. } = &order {
            self.nodes[index].consented = true;
        }
        self.fed(index);
        self.handle(index, Input::Ordered { by, order });
    }

    // ---- network ----------------------------------------------------------------------------------------

    fn send(&mut self, conn: u64, from: From, msg: Msg) {
        if let Some(at) = self.net.send(conn, from, msg, self.now, &mut self.rng) {
            self.at(at, Due::Deliver { conn, from });
        }
    }

    fn close(&mut self, conn: u64, end: From) {
        if let Some(at) = self.net.close(conn, end, self.now, &mut self.rng) {
            self.at(at, Due::Deliver { conn, from: end });
        }
    }

    /// Resets all connections between two nodes.
    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        for conn in self.net.between(a, b) {
            self.lost(conn, From::Server);
            self.lost(conn, From::Client);
        }
    }

    pub(crate) fn heal(&mut self) {
        for (conn, from) in self.net.heal() {
            let at = self.now + self.net.delay(&mut self.rng);
            self.at(at, Due::Deliver { conn, from });
        }
    }

    /// One end sees that the connection is gone, and closes it on its side.
    fn lost(&mut self, id: u64, gone: From) {
        let Some(conn) = self.net.conns.get(&id) else { return };
        let end = gone.other();
        if !conn.open[end.index()] {
            return;
        }
        let (client, server, link, joined) = (conn.client, conn.server, conn.link, conn.joined);
        self.close(id, end);
        match end {
            From::Client => {
                let upstream = &mut self.nodes[client].upstream;
                match upstream.as_mut().filter(|upstream| upstream.link == link) {
                    Some(upstream) if upstream.loads => upstream.conn = None,
                    Some(_) => *upstream = None,
                    None => {}
                }
                let why = "reset".into();
                self.handle(client, Input::Replica(replica::Input::LinkDown { link, why }));
            }
            From::Server if joined => {
                self.nodes[server].readers.remove(&PeerId(id));
                self.handle(server, Input::Primary(primary::Input::Left { replica: PeerId(id) }));
            }
            From::Server => {}
        }
    }

    // ---- running ----------------------------------------------------------------------------------------

    /// Lets everything happen that is due until `until`.
    pub(crate) fn run_until(&mut self, until: u64) {
        while let Some(entry) = self.heap.first_entry() {
            let (at, _) = *entry.key();
            if at > until || self.violation.is_some() {
                break;
            }
            let due = entry.remove();
            self.now = at;
            self.happen(due);
        }
        self.now = until.max(self.now);
    }

    fn is_alive(&self, node: usize, boot: u64) -> bool {
        self.nodes[node].up && self.nodes[node].boot == boot
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Wake { node, boot } => self.on_wake(node, boot),
            Due::Deliver { conn, from } => {
                if let Some(msg) = self.net.deliver(conn, from) {
                    match from {
                        From::Client => self.on_server_message(conn, msg),
                        From::Server => self.on_client_message(conn, msg),
                    }
                }
            }
            Due::Connected { node, boot, link, to } => self.on_connected(node, boot, link, to),
            Due::Written { node, boot, id } if self.is_alive(node, boot) => {
                if let Some(taking) = self.nodes[node].taking.get(&id) {
                    let bytes = 10 * taking.image.data.len() as u64 + 100;
                    self.handle(node, Input::Primary(primary::Input::SnapshotWritten { id, bytes }));
                }
            }
            Due::Sent { node, boot, id, replica } if self.is_alive(node, boot) => {
                let Some(taking) = self.nodes[node].taking.get(&id) else { return };
                if self.net.conns.get(&replica.0).is_some_and(|conn| conn.open[From::Server.index()]) {
                    let image = taking.image.clone();
                    self.send(replica.0, From::Server, Msg::Image(image));
                    self.handle(node, Input::Primary(primary::Input::SnapshotSent { id, replica }));
                }
            }
            Due::Received { node, boot, link } if self.is_alive(node, boot) => self.on_received(node, link),
            Due::Loaded { node, boot, link } if self.is_alive(node, boot) => self.on_loaded(node, link),
            Due::Written { .. } | Due::Sent { .. } | Due::Received { .. } | Due::Loaded { .. } => {}
        }
    }

    fn on_wake(&mut self, node: usize, boot: u64) {
        if !self.is_alive(node, boot) || self.nodes[node].wake_at != Some(self.now) {
            return;
        }
        self.nodes[node].wake_at = None;
        self.fed(node);
        self.handle(node, Input::Timeout);
        let left = self.nodes[node].machine.poll_timeout();
        assert!(left.is_none_or(|(at, _)| at.0 > self.now), "a timeout leaves itself due: {left:?}");
    }

    /// Hands in one input and performs all that follows from it.
    pub(crate) fn handle(&mut self, index: usize, input: Input) {
        let clock = self.clock();
        let silent = matches!(input, Input::Timeout | Input::Fed { .. });
        if !silent {
            let text = super::super::trace::input_line(&input);
            self.tell(index, &text);
        }
        self.nodes[index].machine.handle(clock, input);
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        let mut later = VecDeque::new();
        while let Some(output) = self.nodes[index].machine.poll_output() {
            if self.trace.is_some() {
                let text = super::super::trace::output_line(&output);
                self.tell(index, &text);
            }
            self.perform(index, output, &mut later);
        }
        let outcome = checks::check_progress(&mut self.nodes[index]);
        self.violate(outcome);
        for input in later {
            self.handle(index, input);
        }
        self.schedule_wake(index);
    }

    fn schedule_wake(&mut self, index: usize) {
        let node = &self.nodes[index];
        let Some((Mono(at), _)) = node.machine.poll_timeout() else { return };
        let at = at.max(self.now);
        if node.wake_at.is_none_or(|planned| at < planned) {
            let boot = node.boot;
            self.nodes[index].wake_at = Some(at);
            self.at(at, Due::Wake { node: index, boot });
        }
    }

    /// Tells the machine where the log is. A replica's driver tells with each piece it applies.
    fn fed(&mut self, index: usize) {
        let node = &self.nodes[index];
        if node.log.open {
            let held = node.log.held();
            self.handle(index, Input::Fed { held });
        }
    }

    /// Sends the log to those who follow it.
    fn flow(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let mut sent = Vec::new();
        for (peer, reader) in &mut node.readers {
            if reader.flows {
                sent.extend(node.log.after(reader.next).map(|entry| (peer.0, entry)));
                reader.next = node.log.end();
            }
        }
        for (conn, entry) in sent {
            self.send(conn, From::Server, Msg::Stream(entry));
        }
    }

    // ---- performing -------------------------------------------------------------------------------------

    fn perform(&mut self, index: usize, output: Output, later: &mut VecDeque<Input>) {
        let node = &mut self.nodes[index];
        match output {
            Output::OpenLog { at } => {
                node.log.open(at, node.hash);
                node.reached = None;
            }
            Output::CloseLog => node.log.open = false,
            Output::Role(Role::Primary) => node.follows = None,
            Output::Role(Role::Replica { of }) => {
                node.follows = Some(of);
                node.heard.clear();
            }
            Output::Adopt(history) => node.history = Some(history),
            Output::PauseWrites => {
                node.paused = true;
                later.push_back(Input::Fed { held: node.log.held() });
                later.push_back(Input::WritesPaused);
            }
            Output::ResumeWrites => node.paused = false,
            Output::Answer { .. } => {}
            Output::Announce(event) => self.on_announced(index, &event),
            Output::Primary(output) => self.perform_primary(index, output, later),
            Output::Replica(output) => self.perform_replica(index, output, later),
        }
    }

    fn on_announced(&mut self, index: usize, event: &Event) {
        match event {
            Event::Failover(FailoverEvent::Requested { .. }) => self.nodes[index].forced = false,
            Event::Failover(FailoverEvent::Forced { .. }) => self.nodes[index].forced = true,
            Event::Failover(FailoverEvent::Done { to }) if !self.nodes[index].forced => {
                if let Some(to) = self.find(to) {
                    let outcome = checks::check_handover(&self.nodes[index], &self.nodes[to]);
                    self.violate(outcome);
                }
            }
            Event::Peer(PeerEvent::Leading { .. }) => {
                let node = &mut self.nodes[index];
                node.consented = false;
                node.took_over_with = node.data.clone();
            }
            _ => {}
        }
    }

    fn perform_primary(&mut self, index: usize, output: primary::Output, later: &mut VecDeque<Input>) {
        use primary::Output as O;
        let line =
            |world: &mut World, replica: PeerId, line: String| world.send(replica.0, From::Server, Msg::Line(line));
        match output {
            O::Continue { replica, id } => line(self, replica, crate::wire::continue_line(id)),
            O::FullResync { replica, id, at, line: true } => {
                self.hold(index, replica, at);
                line(self, replica, crate::wire::full_resync_line(id, at));
            }
            O::FullResync { replica, at, line: false, .. } => self.hold(index, replica, at),
            O::Refuse { replica, why } => {
                line(self, replica, why.line().into());
                if let Some(conn) = self.net.conns.get_mut(&replica.0) {
                    conn.joined = false;
                }
            }
            O::TakeSnapshot { id, target, .. } => self.take_snapshot(index, id, target, later),
            O::SendSnapshot { id, replica, framing } => {
                line(self, replica, framing.line());
                let boot = self.nodes[index].boot;
                let at = self.now + self.pace.transfer;
                self.at(at, Due::Sent { node: index, boot, id, replica });
            }
            O::EndSnapshot { id } => {
                self.nodes[index].taking.remove(&id);
            }
            O::StreamFrom { replica, from } => {
                let node = &mut self.nodes[index];
                let hash = node.log.hash_at(from);
                node.readers.insert(replica, super::node::Reader { next: from, flows: true });
                // A position that is no boundary of ours is told as a hash that nobody has.
                self.send(replica.0, From::Server, Msg::StreamStart { from, hash: hash.unwrap_or(0) });
                self.flow(index);
            }
            O::KeepAlive { replica } => line(self, replica, String::new()),
            O::Drop { replica, .. } => {
                self.nodes[index].readers.remove(&replica);
                self.close(replica.0, From::Server);
            }
            O::PingReplicas | O::AskAcks => {
                let kind = if output == O::PingReplicas { Kind::Ping } else { Kind::GetAck };
                self.nodes[index].run(kind);
                self.flow(index);
                later.push_back(Input::Fed { held: self.nodes[index].log.held() });
            }
            O::WaitOver { id, replicas, .. } => {
                if let Some(write) = self.waits.remove(&id) {
                    let outcome = self.holders.check_wait(write, index, replicas);
                    self.violate(outcome);
                }
            }
            O::GoodReplicas(_) => {}
        }
    }

    /// Keeps the log from `at` on for a replica that gets a snapshot.
    fn hold(&mut self, index: usize, replica: PeerId, at: Offset) {
        self.nodes[index].readers.insert(replica, super::node::Reader { next: at, flows: false });
    }

    fn take_snapshot(&mut self, index: usize, id: SnapshotId, target: Target, later: &mut VecDeque<Input>) {
        if self.snapshot_failures > 0 && self.rng.below(self.snapshot_failures) == 0 {
            later.push_back(Input::Primary(primary::Input::SnapshotFailed { id }));
            return;
        }
        let node = &mut self.nodes[index];
        let (at, history) = (node.log.end(), node.history.clone().expect("a history is adopted at the start"));
        let image = Image {
            data: node.data.clone(),
            hash: node.hash,
            id: history.id(),
            source: index,
            started_empty: node.started_empty.then_some(node.started),
            started: node.started,
        };
        node.taking.insert(id, Taking { image: Rc::new(image), at });
        let boot = node.boot;
        later.push_back(Input::Primary(primary::Input::SnapshotTaken { id, at }));
        if target == Target::Disk {
            let at = self.now + self.pace.snapshot;
            self.at(at, Due::Written { node: index, boot, id });
        }
    }

    fn perform_replica(&mut self, index: usize, output: replica::Output, later: &mut VecDeque<Input>) {
        use replica::Output as O;
        let now = self.now;
        let boot = self.nodes[index].boot;
        match output {
            O::Connect { link, to } => {
                let start = None;
                let (conn, image, early) = (None, None, VecDeque::new());
                let upstream =
                    Upstream { link, conn, image, receives: false, loads: false, streams: false, early, start };
                self.nodes[index].upstream = Some(upstream);
                let to = self.find(&to);
                let at = now + self.net.delay(&mut self.rng);
                self.at(at, Due::Connected { node: index, boot, link, to });
            }
            O::Disconnect { link } => {
                let Some(upstream) = self.nodes[index].upstream.take_if(|upstream| upstream.link == link) else {
                    return;
                };
                if upstream.streams {
                    let upto = self.nodes[index].log.end();
                    later.push_back(Input::Replica(replica::Input::Applied { link, upto }));
                }
                if let Some(conn) = upstream.conn {
                    self.close(conn, From::Client);
                }
            }
            O::Send { link, request } | O::Acknowledge { link, request, .. } => {
                self.send_request(index, link, &request)
            }
            O::Receive { link, .. } => {
                if let Some(upstream) = self.upstream(index, link) {
                    upstream.receives = true;
                    if upstream.image.is_some() {
                        self.at(now, Due::Received { node: index, boot, link });
                    }
                }
            }
            O::Load { link } => {
                let Some(upstream) = self.upstream(index, link) else { return };
                upstream.loads = true;
                let Some(image) = upstream.image.clone() else { return };
                let outcome = checks::check_replacement(&self.nodes[index], &image);
                self.violate(outcome);
                let node = &mut self.nodes[index];
                node.data.clear();
                node.hash = 7;
                let at = now + self.pace.load;
                self.at(at, Due::Loaded { node: index, boot, link });
            }
            O::AbortLoad { link } => {
                if let Some(upstream) = self.upstream(index, link) {
                    (upstream.image, upstream.receives) = (None, false);
                }
            }
            O::Stream { link, .. } => {
                self.nodes[index].consented = false;
                let Some(upstream) = self.upstream(index, link) else { return };
                upstream.streams = true;
                let server = upstream.conn.and_then(|conn| self.net.conns.get(&conn)).map(|conn| conn.server);
                self.nodes[index].heard.extend(server.map(|server| (server, now)));
                self.apply_early(index, link);
            }
        }
    }

    fn upstream(&mut self, index: usize, link: LinkId) -> Option<&mut Upstream> {
        self.nodes[index].upstream.as_mut().filter(|upstream| upstream.link == link)
    }

    fn send_request(&mut self, index: usize, link: LinkId, request: &Request) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        if let Some(conn) = self.upstream(index, link).and_then(|upstream| upstream.conn) {
            self.send(conn, From::Client, Msg::Request(bytes));
        }
    }

    // ---- our primary's side of a connection -------------------------------------------------------------

    fn on_connected(&mut self, node: usize, boot: u64, link: LinkId, to: Option<usize>) {
        if !self.is_alive(node, boot) || self.upstream(node, link).is_none() {
            return;
        }
        match to {
            Some(server) if self.net.is_blocked(node, server) => {
                // Nobody answers; the kernel would try for minutes.
                let at = self.now + 100_000;
                self.at(at, Due::Connected { node, boot, link, to });
            }
            Some(server) if self.nodes[server].up => {
                let conn = self.net.open(node, server, link);
                let upstream = self.upstream(node, link).expect("it was there a moment ago");
                upstream.conn = Some(conn);
                self.handle(node, Input::Replica(replica::Input::LinkUp { link }));
            }
            Some(_) | None => {
                let why = "connection refused".into();
                self.handle(node, Input::Replica(replica::Input::LinkDown { link, why }));
            }
        }
    }

    fn on_client_message(&mut self, id: u64, msg: Msg) {
        let Some(conn) = self.net.conns.get(&id) else { return };
        let (node, link, server) = (conn.client, conn.link, conn.server);
        if !conn.open[From::Client.index()] {
            return;
        }
        if let Msg::Close = msg {
            return self.lost(id, From::Server);
        }
        let boot = self.nodes[node].boot;
        let now = self.now;
        let Some(upstream) = self.upstream(node, link) else { return };
        match msg {
            Msg::Line(line) => {
                let reply = Reply::parse(line.as_bytes());
                self.handle(node, Input::Replica(replica::Input::Replied { link, reply }));
            }
            Msg::Info(text) => {
                let reply = Reply::Info(Origin::parse(text.as_bytes()));
                self.handle(node, Input::Replica(replica::Input::Replied { link, reply }));
            }
            Msg::Image(image) => {
                upstream.image = Some(image);
                if upstream.receives {
                    self.at(now, Due::Received { node, boot, link });
                }
            }
            Msg::StreamStart { from, hash } => {
                upstream.start = Some((from, hash));
                self.apply_early(node, link);
            }
            Msg::Stream(entry) => {
                upstream.early.push_back(entry);
                if upstream.streams {
                    self.nodes[node].heard.insert(server, now);
                }
                self.apply_early(node, link);
            }
            Msg::Request(_) | Msg::Close => {}
        }
    }

    fn on_received(&mut self, node: usize, link: LinkId) {
        let ours = self.nodes[node].data.len() as u64;
        let Some(theirs) = self.upstream(node, link).and_then(|upstream| Some(upstream.image.as_ref()?.data.len()))
        else {
            return;
        };
        let theirs = Some(theirs as u64);
        self.handle(node, Input::Replica(replica::Input::Offered { link, theirs, ours }));
    }

    fn on_loaded(&mut self, index: usize, link: LinkId) {
        let Some(upstream) = self.upstream(index, link) else { return };
        upstream.loads = false;
        let Some(image) = upstream.image.take() else { return };
        let now = self.now;
        let node = &mut self.nodes[index];
        (node.data, node.hash) = (image.data.clone(), image.hash);
        node.loaded_keys = image.data.len() as u64;
        node.started_empty = false;
        node.consented = false;
        node.heard.insert(image.source, now);
        image.data.iter().for_each(|write| self.holders.add(*write, index));
        self.handle(index, Input::Replica(replica::Input::Loaded { link }));
    }

    /// Applies what has come, once the machine wants the stream and it is known where it starts.
    fn apply_early(&mut self, index: usize, link: LinkId) {
        loop {
            let Some(upstream) = self.upstream(index, link) else { return };
            if !upstream.streams {
                return;
            }
            if let Some((from, hash)) = upstream.start.take() {
                let outcome = checks::check_prefix(&self.nodes[index], from, hash);
                self.violate(outcome);
                continue;
            }
            let Some(entry) = upstream.early.pop_front() else { return };
            let node = &mut self.nodes[index];
            node.apply(entry);
            let outcome = checks::check_applied(node, entry.end, entry.hash);
            self.violate(outcome);
            if let Kind::Write(write) = entry.kind {
                self.holders.add(write, index);
            }
            self.flow(index);
            self.handle(index, Input::Replica(replica::Input::Applied { link, upto: entry.end }));
            if entry.kind == Kind::GetAck {
                self.handle(index, Input::Replica(replica::Input::AckWanted { link }));
            }
        }
    }

    // ---- a replica's side of a connection ---------------------------------------------------------------

    fn on_server_message(&mut self, id: u64, msg: Msg) {
        let Some(conn) = self.net.conns.get(&id) else { return };
        if !conn.open[From::Server.index()] {
            return;
        }
        match msg {
            Msg::Request(bytes) => self.on_request(id, &bytes),
            Msg::Close => self.lost(id, From::Client),
            _ => {}
        }
    }

    fn on_request(&mut self, id: u64, bytes: &[u8]) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        let (server, replica) = (conn.server, PeerId(id));
        let text = String::from_utf8_lossy(bytes);
        let words: Vec<&[u8]> = match text.starts_with('*') {
            true => text.split("\r\n").skip(2).step_by(2).map(str::as_bytes).collect(),
            false => vec![text.trim_end().as_bytes()],
        };
        match words.as_slice() {
            [b"PING"] => self.send(id, From::Server, Msg::Line("+PONG".into())),
            [b"INFO"] => {
                let info = self.nodes[server].info(self.now);
                self.send(id, From::Server, Msg::Info(info));
            }
            [b"REPLCONF", args @ ..] => match conn.introduction.replconf(args) {
                Ok(Replconf::Introduced) => self.send(id, From::Server, Msg::Line("+OK".into())),
                Ok(Replconf::Acked { applied, fsynced }) if conn.joined => {
                    self.fed(server);
                    self.handle(server, Input::Primary(primary::Input::Acked { replica, applied, fsynced }));
                }
                Ok(_) => {}
                Err(error) => self.send(id, From::Server, Msg::Line(format!("-{error}"))),
            },
            [b"PSYNC", history, next, rest @ ..] => {
                let psync = Psync::parse(history, next, rest).expect("the machine writes numbers");
                self.ask(id, Asks::Psync(psync));
            }
            [b"SYNC"] => self.ask(id, Asks::Sync),
            [b""] => self.handle(server, Input::Primary(primary::Input::Heard { replica })),
            _ => unreachable!("a machine sends nothing else: {text}"),
        }
    }

    fn ask(&mut self, id: u64, asks: Asks) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        conn.joined = true;
        let (server, introduction, ip) = (conn.server, conn.introduction.clone(), self.nodes[conn.client].name.clone());
        self.fed(server);
        let asked = primary::Input::Asked { replica: PeerId(id), ip, asks, introduction };
        self.handle(server, Input::Primary(asked));
    }
}

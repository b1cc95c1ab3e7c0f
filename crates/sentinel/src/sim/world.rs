//! The heap of events, the network, and the drivers of the machines.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use quorate_resp::Reply as Wire;
use quorate_stdx::{Machine as _, Mono, Now, ReplId, Rng, UnixMs};

use crate::address::Addr;
use crate::hello;
use crate::machine::{ConnId, Input, LostReason, Output, Reply, Sentinel, Setup};
use crate::saved::Saved;
use crate::settings::Periods;
use crate::wire::{self, Tag};

use super::Planted;
use super::checks::Checks;
use super::server::{Server, Turned};

pub(crate) const MS: u64 = 1000;
pub(crate) const SECOND: u64 = 1_000_000;
/// For how long a Sentinel confirms a primary at most.
const TERM: u64 = 100 * MS;
/// The name of the one primary.
pub(crate) const NAME: &str = "m";

/// Sentinels first, then servers.
pub(crate) type Host = usize;

/// A Sentinel and its driver.
pub(crate) struct Node {
    pub(crate) addr: Addr,
    pub(crate) machine: Option<Sentinel>,
    /// What is durable.
    pub(crate) disk: Saved,
    /// What it is configured with if the disk is lost.
    pub(crate) origin: Saved,
    pub(crate) frozen_until: u64,
    /// Grows with each start: what belongs to an earlier one is void.
    pub(crate) life: u64,
    /// Outputs behind a state that is being written.
    held: VecDeque<Output>,
    pub(crate) is_writing: bool,
    wake: Option<u64>,
    /// How far the wall clock is off, in milliseconds.
    pub(crate) skew: i64,
    pub(crate) id: Option<ReplId>,
    /// The epoch in which it leads, and the replica that it chose.
    leads: Option<(u64, Option<Addr>)>,
}

/// One connection of a Sentinel.
struct Conn {
    to: Host,
    is_open: bool,
    listens: bool,
    /// The other side is gone and can't say so.
    is_lost: bool,
    /// When what was sent last arrives, each way.
    last: [u64; 2],
    life: u64,
}

type Key = (Host, ConnId);

#[derive(Debug)]
enum Event {
    Wake(Host, u64),
    Arrives(Key),
    Request(Key, Tag, Vec<String>),
    Replies(Key, Tag, Wire),
    Message(Key, String),
    Closes(Key, LostReason),
    Written(Host, u64, u64, Box<Saved>, bool),
    Replicate,
    /// A term has passed since this server was told to lead, beside those that led.
    Unconfirmed(Addr, Vec<Host>),
}

/// An event and its time; of two at the same time the one that was planned first comes first.
#[derive(Debug)]
struct Planned {
    at: u64,
    sequence: u64,
    event: Event,
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> Ordering {
        // The heap hands out its greatest.
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Planned {}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) dice: Rng,
    pub(crate) sentinels: Vec<Node>,
    pub(crate) servers: Vec<Server>,
    events: BinaryHeap<Planned>,
    sequence: u64,
    conns: BTreeMap<Key, Conn>,
    pub(crate) blocked: BTreeSet<(Host, Host)>,
    /// The least delay of a message in microseconds, and what may come on top.
    pub(crate) delay: (u64, u64),
    /// How long a disk takes, and how many of a hundred writes fail.
    pub(crate) disk: (u64, u64),
    pub(crate) periods: Periods,
    pub(crate) planted: Option<Planted>,
    pub(crate) checks: Checks,
    /// Clients' questions: which connection waits for which number.
    asked: BTreeMap<(Host, u64), (Key, Tag)>,
    next_question: u64,
    pub(crate) trace: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, periods: Periods, planted: Option<Planted>) -> World {
        let mut world = World {
            now: SECOND,
            dice: Rng::new(seed),
            sentinels: Vec::new(),
            servers: Vec::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            conns: BTreeMap::new(),
            blocked: BTreeSet::new(),
            delay: (200, 500),
            disk: (2 * MS, 0),
            periods,
            planted,
            checks: Checks::default(),
            asked: BTreeMap::new(),
            next_question: 0,
            trace: None,
        };
        world.at(SECOND, Event::Replicate);
        world
    }

    pub(crate) fn add_sentinel(&mut self, addr: Addr, origin: Saved) {
        let my_id = Some(ReplId::random(&mut self.dice));
        self.sentinels.push(Node {
            addr,
            machine: None,
            disk: Saved { my_id, ..origin.clone() },
            origin,
            frozen_until: 0,
            life: 0,
            held: VecDeque::new(),
            is_writing: false,
            wake: None,
            skew: 0,
            id: None,
            leads: None,
        });
    }

    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push_str(&format!("{:>10.3} {}\n", now as f64 / 1000.0, line()));
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Planned { at: at.max(self.now), sequence: self.sequence, event });
    }

    fn clock(&self, host: Host) -> Now {
        let unix = UnixMs((self.now / MS) as i64 + self.sentinels[host].skew);
        Now { mono: Mono(self.now), unix }
    }

    pub(crate) fn host_of(&self, addr: &Addr) -> Option<Host> {
        let sentinels = self.sentinels.iter().position(|node| node.addr == *addr);
        let servers = || self.servers.iter().position(|server| server.addr == *addr);
        sentinels.or_else(|| servers().map(|index| index + self.sentinels.len()))
    }

    fn server(&mut self, host: Host) -> Option<&mut Server> {
        let index = host.checked_sub(self.sentinels.len())?;
        self.servers.get_mut(index)
    }

    pub(crate) fn is_cut(&self, a: Host, b: Host) -> bool {
        self.blocked.contains(&(a, b))
    }

    fn is_up(&self, host: Host) -> bool {
        match self.sentinels.get(host) {
            Some(node) => node.machine.is_some(),
            None => self.servers[host - self.sentinels.len()].is_up,
        }
    }

    fn frozen_until(&self, host: Host) -> u64 {
        match self.sentinels.get(host) {
            Some(node) => node.frozen_until,
            None => self.servers[host - self.sentinels.len()].frozen_until,
        }
    }

    // ---- the network ----------------------------------------------------------------------------------------

    fn travel(&mut self) -> u64 {
        let (least, more) = self.delay;
        least + self.dice.below(more + 1)
    }

    /// When something sent now arrives; what is sent on one connection arrives in order.
    fn arrival(&mut self, key: Key, way: usize) -> u64 {
        let at = self.now + self.travel();
        let conn = self.conns.get_mut(&key).expect("it was looked up");
        conn.last[way] = conn.last[way].max(at);
        conn.last[way]
    }

    /// Sends towards the server's side.
    fn send(&mut self, key: Key, event: Event) {
        let Some(conn) = self.conns.get(&key) else { return };
        if conn.is_lost || self.is_cut(key.0, conn.to) {
            return self.lose_silently(key);
        }
        let at = self.arrival(key, 0);
        self.at(at, event);
    }

    /// Sends towards the Sentinel's side.
    fn send_back(&mut self, key: Key, event: Event) {
        let Some(conn) = self.conns.get(&key) else { return };
        if conn.is_lost || self.is_cut(conn.to, key.0) {
            return self.lose_silently(key);
        }
        let at = self.arrival(key, 1);
        self.at(at, event);
    }

    /// A segment is lost and repeated in vain for longer than anybody waits: nothing comes through any more.
    fn lose_silently(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.is_lost = true;
        }
    }

    fn connect(&mut self, key: Key, to: Addr, listens: bool) {
        let Some(host) = self.host_of(&to) else { return };
        let life = self.sentinels[key.0].life;
        self.conns.insert(key, Conn { to: host, is_open: false, listens, is_lost: false, last: [0, 0], life });
        let is_dark = self.server(host).is_some_and(|server| server.is_dark);
        if is_dark || self.is_cut(key.0, host) || self.is_cut(host, key.0) {
            return self.lose_silently(key);
        }
        self.send(key, Event::Arrives(key));
    }

    /// Ends every connection of a host. `told`: the other sides learn of it.
    pub(crate) fn end_conns(&mut self, host: Host, told: bool) {
        let of_host: Vec<Key> =
            self.conns.iter().filter(|(key, conn)| key.0 == host || conn.to == host).map(|(key, _)| *key).collect();
        for key in of_host {
            if key.0 == host {
                self.conns.remove(&key);
            } else if told {
                self.send_back(key, Event::Closes(key, LostReason::Closed));
            } else {
                self.lose_silently(key);
            }
        }
    }

    /// Cuts the connections between two hosts, with an error on both sides.
    pub(crate) fn reset_conns(&mut self, a: Host, b: Host) {
        let between: Vec<Key> = self
            .conns
            .iter()
            .filter(|(key, conn)| (key.0 == a && conn.to == b) || (key.0 == b && conn.to == a))
            .map(|(key, _)| *key)
            .collect();
        between.into_iter().for_each(|key| self.send_back(key, Event::Closes(key, LostReason::Closed)));
    }

    // ---- Sentinels ------------------------------------------------------------------------------------------

    pub(crate) fn start(&mut self, host: Host, with_disk: bool) {
        let seed = self.dice.next_u64();
        let node = &mut self.sentinels[host];
        if node.machine.is_some() {
            return;
        }
        if !with_disk {
            node.disk = node.origin.clone();
        }
        node.life += 1;
        (node.held, node.is_writing, node.wake, node.frozen_until) = (VecDeque::new(), false, None, 0);
        let (saved, port) = (node.disk.clone(), node.addr.port);
        let setup = Setup { port, own_password: None, periods: self.periods.clone() };
        let mut machine = Sentinel::new(saved, setup, seed, self.clock(host));
        machine.plant(self.planted);
        self.tell(|| format!("s{host} restarts {} its disk", if with_disk { "with" } else { "without" }));
        self.sentinels[host].id = Some(machine.id());
        self.sentinels[host].machine = Some(machine);
        self.drain(host);
    }

    pub(crate) fn stop(&mut self, host: Host) {
        if self.sentinels[host].machine.take().is_some() {
            self.tell(|| format!("s{host} crashes"));
            self.end_conns(host, true);
        }
    }

    pub(crate) fn handle(&mut self, host: Host, input: Input) {
        let now = self.clock(host);
        let Some(machine) = &mut self.sentinels[host].machine else { return };
        machine.handle(now, input);
        self.check_leader(host);
        self.drain(host);
    }

    fn drain(&mut self, host: Host) {
        loop {
            let node = &mut self.sentinels[host];
            let Some(machine) = &mut node.machine else { return };
            while let Some(output) = machine.poll_output() {
                node.held.push_back(output);
            }
            if node.is_writing {
                break;
            }
            let Some(output) = node.held.pop_front() else { break };
            self.perform(host, output);
        }
        let node = &mut self.sentinels[host];
        let wake = node.machine.as_ref().and_then(|machine| machine.poll_timeout()).map(|(at, _)| at.0);
        if let Some(at) = wake
            && node.wake.is_none_or(|earlier| at < earlier || earlier <= self.now)
        {
            node.wake = Some(at);
            let life = node.life;
            self.at(at, Event::Wake(host, life));
        }
    }

    fn perform(&mut self, host: Host, output: Output) {
        match output {
            Output::Persist { number, saved } => {
                let (time, failing) = self.disk;
                let fails = self.dice.below(100) < failing;
                let at = self.now + 1 + self.dice.below(time + 1);
                let node = &mut self.sentinels[host];
                node.is_writing = true;
                let life = node.life;
                self.at(at, Event::Written(host, life, number, saved, !fails));
            }
            Output::Connect { conn, to, listens } => {
                self.connect((host, conn), Addr::new(to.ip().to_string(), to.port()), listens);
            }
            Output::Disconnect { conn } => drop(self.conns.remove(&(host, conn))),
            Output::Send { conn, tag, words } => {
                if let Some((id, epoch)) = candidacy(&words) {
                    self.checks.voted(host, self.sentinels[host].id, epoch, id);
                }
                self.send((host, conn), Event::Request((host, conn), tag, words));
            }
            Output::Answer { by, reply } => self.on_answer(host, by, reply),
            Output::Announce(event) => {
                self.tell(|| format!("s{host} {event}"));
            }
            Output::Resolve { .. } | Output::Run { .. } | Output::Kill { .. } | Output::Die => {}
        }
    }

    fn on_answer(&mut self, host: Host, by: u64, reply: Reply) {
        let Some((key, tag)) = self.asked.remove(&(host, by)) else { return };
        let Reply::Opinion { is_down, vote } = reply else { return };
        if let Some((candidate, epoch)) = vote {
            self.checks.voted(host, self.sentinels[host].id, epoch, candidate);
        }
        let leader = vote.map_or_else(|| "*".to_owned(), |(id, _)| id.to_string());
        let epoch = vote.map_or(0, |(_, epoch)| epoch as i64);
        let items = vec![Wire::Int(i64::from(is_down)), Wire::Bulk(leader.into_bytes()), Wire::Int(epoch)];
        self.send_back(key, Event::Replies(key, tag, Wire::Array(items)));
    }

    /// Looks at what a Sentinel does as a leader.
    fn check_leader(&mut self, host: Host) {
        let node = &mut self.sentinels[host];
        let leads = node.machine.as_ref().and_then(|machine| machine.leads(NAME));
        let before = std::mem::replace(&mut node.leads, leads.clone());
        let Some((epoch, chosen)) = leads else { return };
        self.checks.elected(host, self.sentinels[host].id, epoch);
        if let Some(chosen) = chosen
            && before.is_none_or(|(earlier, before)| earlier != epoch || before.is_none())
        {
            self.check_choice(host, &chosen.to_string());
        }
    }

    /// The chosen replica has as much as any that the leader could have chosen, by what it was told last.
    fn check_choice(&mut self, host: Host, chosen: &str) {
        let Some(machine) = &self.sentinels[host].machine else { return };
        let view = |fields: crate::view::Fields| -> BTreeMap<&'static str, String> { fields.into_iter().collect() };
        let views: Vec<_> = machine.replicas(NAME).unwrap_or_default().into_iter().map(view).collect();
        let rank = |view: &BTreeMap<&str, String>| {
            let number = |field: &str| view[field].parse::<u64>().unwrap_or(0);
            (number("slave-priority"), std::cmp::Reverse(number("slave-repl-offset")))
        };
        let is_good = |view: &&BTreeMap<&str, String>| {
            let recent = |field: &str| view[field].parse::<u64>().unwrap_or(u64::MAX) < 1000;
            view["flags"] == "slave"
                && recent("info-refresh")
                && recent("last-ok-ping-reply")
                && view["slave-priority"] != "0"
                && view["master-link-down-time"] == "0"
        };
        let Some(own) = views.iter().find(|view| view["name"] == chosen).map(rank) else { return };
        if let Some(better) = views.iter().filter(is_good).find(|view| rank(view) < own) {
            let why = format!("s{host} chose {chosen} though {} was better", better["name"]);
            self.checks.violation.get_or_insert(why);
        }
    }

    /// A server that led when another was told to do so is confirmed by no majority a term later, unless nothing has come of
    /// that: an order that was late finds a failover that was given up, and is taken back.
    fn check_tenure(&mut self, promoted: &Addr, servers: &[Host]) {
        let names =
            |node: &Node| node.machine.as_ref().is_some_and(|it| it.address_of(NAME) == Ok(Some(promoted.clone())));
        if !self.sentinels.iter().any(names) {
            return;
        }
        let (now, majority) = (self.now, self.sentinels.len() / 2 + 1);
        for host in servers {
            let Some(server) = self.server(*host) else { continue };
            let confirmed = server.confirmed.values().filter(|until| **until > now).count();
            if server.follows.is_none() && confirmed >= majority {
                let why = format!("{} is confirmed by {confirmed} although it was replaced", server.addr);
                self.checks.violation.get_or_insert(why);
            }
        }
    }

    // ---- events ---------------------------------------------------------------------------------------------

    pub(crate) fn run_until(&mut self, until: u64) {
        while self.checks.violation.is_none() && self.events.peek().is_some_and(|next| next.at <= until) {
            let Some(Planned { at, event, .. }) = self.events.pop() else { break };
            self.now = at;
            self.on_event(event);
        }
        self.now = self.now.max(until);
    }

    /// The host that has to be awake for an event to happen.
    fn acts_at(&self, event: &Event) -> Option<Host> {
        match event {
            Event::Wake(host, _) => Some(*host),
            Event::Written(..) | Event::Replicate | Event::Unconfirmed(..) => None,
            // A kernel accepts connections for a process that is stopped.
            Event::Arrives(_) => None,
            Event::Request(key, ..) => self.conns.get(key).map(|conn| conn.to),
            Event::Replies(key, ..) | Event::Message(key, _) | Event::Closes(key, _) => Some(key.0),
        }
    }

    fn on_event(&mut self, event: Event) {
        if let Some(host) = self.acts_at(&event) {
            let until = self.frozen_until(host);
            if until > self.now {
                return self.at(until, event);
            }
        }
        match event {
            Event::Wake(host, life) => {
                let node = &mut self.sentinels[host];
                if node.life == life {
                    node.wake = None;
                    self.handle(host, Input::Timeout);
                }
            }
            Event::Arrives(key) => self.on_arrival(key),
            Event::Request(key, tag, words) => self.on_request(key, tag, &words),
            Event::Replies(key, tag, reply) => {
                if self.conns.contains_key(&key) {
                    self.handle(key.0, Input::Answered { conn: key.1, tag, answer: wire::read(tag, reply) });
                }
            }
            Event::Message(key, text) => {
                if self.conns.contains_key(&key)
                    && let Ok(hello) = hello::parse(text.as_bytes())
                {
                    self.handle(key.0, Input::Heard { conn: Some(key.1), hello });
                }
            }
            Event::Closes(key, why) => {
                if let Some(conn) = self.conns.remove(&key)
                    && conn.life == self.sentinels[key.0].life
                {
                    if why == LostReason::Refused {
                        self.tell(|| format!("s{} is refused by {}", key.0, conn.to));
                    }
                    self.handle(key.0, Input::Lost { conn: key.1, why });
                }
            }
            Event::Written(host, life, number, saved, good) => self.on_written(host, life, number, *saved, good),
            Event::Replicate => {
                self.replicate();
                self.at(self.now + 50 * MS, Event::Replicate);
            }
            Event::Unconfirmed(promoted, others) => self.check_tenure(&promoted, &others),
        }
    }

    fn on_written(&mut self, host: Host, life: u64, number: u64, saved: Saved, good: bool) {
        let node = &mut self.sentinels[host];
        if node.life != life || node.machine.is_none() {
            return;
        }
        node.is_writing = false;
        if good {
            node.disk = saved;
        }
        let error = (!good).then(|| "No space left on device".to_owned());
        self.handle(host, Input::Persisted { number, error });
    }

    fn on_arrival(&mut self, key: Key) {
        let Some(conn) = self.conns.get(&key) else { return };
        let to = conn.to;
        if self.server(to).is_some_and(|server| server.is_dark) {
            return self.lose_silently(key);
        }
        if !self.is_up(to) {
            return self.send_back(key, Event::Closes(key, LostReason::Refused));
        }
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.is_open = true;
        }
        if self.frozen_until(key.0) <= self.now {
            self.handle(key.0, Input::Opened { conn: key.1, local: self.sentinels[key.0].addr.ip() });
        } else {
            self.lose_silently(key);
        }
    }

    fn on_request(&mut self, key: Key, tag: Tag, words: &[String]) {
        let Some(conn) = self.conns.get(&key) else { return };
        let (to, listens) = (conn.to, conn.listens);
        if !self.is_up(to) || listens {
            return;
        }
        if to < self.sentinels.len() {
            return self.on_request_to_sentinel(key, to, tag, words);
        }
        if words[0] == "PUBLISH" {
            self.publish(to, &words[2]);
        }
        let addr = self.servers[to - self.sentinels.len()].addr.clone();
        let follows = |server: &&Server| server.is_up && server.is_linked && server.follows.as_ref() == Some(&addr);
        let replicas: Vec<Addr> = self.servers.iter().filter(follows).map(|server| server.addr.clone()).collect();
        let now = self.now;
        let server = self.server(to).expect("it is no Sentinel");
        let (reply, turned) = server.answer(now, words, &replicas);
        self.send_back(key, Event::Replies(key, tag, reply));
        if let Some(turned) = turned {
            let what = if turned == Turned::Leads { "leads" } else { "follows another" };
            self.tell(|| format!("server {addr} {what}"));
            if turned == Turned::Leads {
                let first = self.sentinels.len();
                let leads = |(index, server): (usize, &Server)| server.follows.is_none().then_some(index + first);
                let leading = self.servers.iter().enumerate().filter_map(leads).filter(|host| *host != to).collect();
                self.at(self.now + TERM, Event::Unconfirmed(addr, leading));
            }
            self.kick_clients(to, key);
        }
    }

    /// CLIENT KILL as a Sentinel sends it: everybody but the one that asks.
    fn kick_clients(&mut self, server: Host, but: Key) {
        let others: Vec<Key> =
            self.conns.iter().filter(|(key, conn)| conn.to == server && **key != but).map(|(key, _)| *key).collect();
        others.into_iter().for_each(|key| self.send_back(key, Event::Closes(key, LostReason::Closed)));
    }

    fn publish(&mut self, server: Host, text: &str) {
        let listening = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.to == server && conn.listens && conn.is_open)
            .map(|(key, _)| *key);
        let listening: Vec<Key> = listening.collect();
        listening.into_iter().for_each(|key| self.send_back(key, Event::Message(key, text.to_owned())));
    }

    fn on_request_to_sentinel(&mut self, key: Key, to: Host, tag: Tag, words: &[String]) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let reply = match words[..] {
            ["PING"] => Wire::Simple(b"PONG".to_vec()),
            ["PUBLISH", _, text] => {
                if let Ok(hello) = hello::parse(text.as_bytes()) {
                    self.handle(to, Input::Heard { conn: None, hello });
                }
                Wire::Int(1)
            }
            ["SENTINEL", "is-master-down-by-addr", host, port, epoch, id] => {
                self.next_question += 1;
                let by = self.next_question;
                self.asked.insert((to, by), (key, tag));
                let primary = Addr::parse(host.as_bytes(), port.as_bytes()).expect("an address");
                let epoch = hello::parse_epoch(epoch.as_bytes()).expect("an epoch");
                return self.handle(to, Input::Asked { by, primary, epoch, candidate: ReplId::parse(id.as_bytes()) });
            }
            ["SENTINEL", "MASTER", name] => {
                let fields = self.sentinels[to].machine.as_ref().and_then(|machine| machine.primary(name));
                match fields {
                    None => Wire::Error(b"ERR No such master with that name".to_vec()),
                    Some(fields) => Wire::Array(
                        fields
                            .into_iter()
                            .flat_map(|(name, value)| [name.as_bytes().to_vec(), value.into_bytes()])
                            .map(Wire::Bulk)
                            .collect(),
                    ),
                }
            }
            _ => Wire::Simple(b"OK".to_vec()),
        };
        self.send_back(key, Event::Replies(key, tag, reply));
    }

    // ---- servers --------------------------------------------------------------------------------------------

    /// Primaries write, replicas link up and catch up, as far as they can reach each other.
    fn replicate(&mut self) {
        let base = self.sentinels.len();
        for index in 0..self.servers.len() {
            let server = &self.servers[index];
            if !server.is_up || server.frozen_until > self.now {
                continue;
            }
            let Some(of) = server.follows.clone() else {
                self.servers[index].offset += 10;
                continue;
            };
            let primary = self.servers.iter().position(|server| server.addr == of);
            let source = primary.filter(|&primary| {
                let other = &self.servers[primary];
                other.is_up && other.frozen_until <= self.now && !self.is_cut(base + index, base + primary)
            });
            let (now, offset) = (self.now, source.map(|primary| self.servers[primary].offset));
            let lags = self.dice.below(4) == 0;
            let server = &mut self.servers[index];
            match offset {
                Some(offset) => {
                    server.is_linked = true;
                    if !lags {
                        server.offset = offset;
                    }
                }
                None if server.is_linked => (server.is_linked, server.down_since) = (false, now),
                None => {}
            }
        }
    }

    pub(crate) fn stop_server(&mut self, index: usize, dark: bool) {
        let host = index + self.sentinels.len();
        let server = &mut self.servers[index];
        if !server.is_up {
            return;
        }
        (server.is_up, server.is_dark, server.is_linked) = (false, dark, false);
        self.tell(|| format!("server {index} {}", if dark { "loses power" } else { "is killed" }));
        self.end_conns(host, !dark);
    }

    pub(crate) fn start_server(&mut self, index: usize, with_data: bool) {
        let host = index + self.sentinels.len();
        let (run_id, now) = (ReplId::random(&mut self.dice), self.now);
        let server = &mut self.servers[index];
        if server.is_up {
            return;
        }
        let was_dark = server.is_dark;
        (server.is_up, server.is_dark, server.run_id, server.frozen_until) = (true, false, run_id, 0);
        (server.is_linked, server.down_since) = (false, now);
        if !with_data {
            server.offset = 0;
        }
        self.tell(|| format!("server {index} starts"));
        if was_dark {
            // What was connected before learns of it with the next segment that it sends.
            let of_host: Vec<Key> =
                self.conns.iter().filter(|(_, conn)| conn.to == host).map(|(key, _)| *key).collect();
            for key in of_host {
                let at = self.now + self.travel();
                self.at(at, Event::Closes(key, LostReason::Closed));
            }
        }
    }
}

/// Whether a request asks for votes for its sender.
fn candidacy(words: &[String]) -> Option<(ReplId, u64)> {
    match words {
        [_, question, _, _, epoch, id] if question == "is-master-down-by-addr" => {
            Some((ReplId::parse(id.as_bytes())?, epoch.parse().ok()?))
        }
        _ => None,
    }
}

//! The heap of events, the connections, and the drivers of all machines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use quorate_stdx::{Machine, Mono, Now, Rng, UnixMs};

use super::checks::{self, Granted, Store, Tokens};
use super::node::{Node, Resource};
use super::swarm::Outcome;
use crate::{Answer, Command, Fault, Input, Lock, NodeId, Output, RequestId, Terms, Token};

/// When the servers' wall clocks start, in microseconds since 1970.
const EPOCH: u64 = 1_700_000_000_000_000;
/// Beyond this a wall clock is wrong, in microseconds.
const WRONG: i64 = 5_000;

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) dice: Rng,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pub(crate) servers: Vec<Server>,
    pub(crate) clients: Vec<Client>,
    /// The shortest way of a message, and what may be added, in microseconds.
    pub(crate) delay: (u64, u64),
    /// Clocks, memory and restarts are as the algorithm assumes.
    pub(crate) is_within: bool,
    /// Resources whose counters began anew by a clock that is wrong.
    suspect: BTreeSet<Resource>,
    tokens: Tokens,
    store: Store,
    pub(crate) violation: Option<String>,
    pub(crate) outcome: Outcome,
    pub(crate) is_traced: bool,
}

pub(crate) struct Server {
    pub(crate) node: Node,
    pub(crate) is_up: bool,
    pub(crate) hung_until: u64,
    /// Parts per million by which its clock is fast.
    pub(crate) ppm: i64,
    /// How wrong its wall clock is, in microseconds.
    pub(crate) jump: i64,
    /// Whether its keys expire by a clock that doesn't jump.
    pub(crate) is_monotonic: bool,
}

pub(crate) struct Client {
    ppm: i64,
    paused_until: u64,
    session: Option<Session>,
    next_lock: u64,
    connections: Vec<Connection>,
    /// How many locks it has yet to ask for.
    pub(crate) wishes: Vec<Wish>,
}

/// What a client does next.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) resources: Vec<Resource>,
    pub(crate) terms: Terms,
    /// How long it works, in microseconds.
    pub(crate) work: u64,
    /// Extend by hand, this often.
    pub(crate) extensions: u32,
    /// It must be granted.
    pub(crate) is_demanded: bool,
}

struct Session {
    number: u64,
    lock: Lock,
    wish: Wish,
    began: u64,
    granted: Option<Granted>,
    is_listening: bool,
    wake: Option<u64>,
}

/// Messages of one connection arrive in order; a new one knows nothing of an old one.
#[derive(Default)]
struct Connection {
    generation: u64,
    last_request: u64,
    last_reply: u64,
}

#[derive(Debug)]
enum Event {
    Begin {
        client: usize,
    },
    Request {
        client: usize,
        node: usize,
        generation: u64,
        lock: u64,
        request: RequestId,
        resources: Vec<Resource>,
        command: Command,
    },
    Input {
        client: usize,
        generation: Option<(usize, u64)>,
        lock: u64,
        input: Input,
    },
    Wake {
        client: usize,
        lock: u64,
    },
    Work {
        client: usize,
        lock: u64,
        left: u32,
    },
}

impl World {
    pub(crate) fn new(dice: Rng, servers: Vec<Server>, delay: (u64, u64), is_within: bool) -> World {
        World {
            now: 1000,
            dice,
            events: BTreeMap::new(),
            next_event: 0,
            servers,
            clients: Vec::new(),
            delay,
            is_within,
            suspect: BTreeSet::new(),
            tokens: Tokens::default(),
            store: Store::default(),
            violation: None,
            outcome: Outcome::default(),
            is_traced: false,
        }
    }

    pub(crate) fn add_client(&mut self, ppm: i64, wishes: Vec<Wish>) {
        let connections = self.servers.iter().map(|_| Connection::default()).collect();
        self.clients.push(Client { ppm, paused_until: 0, session: None, next_lock: 0, connections, wishes });
    }

    pub(crate) fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.is_traced {
            writeln!(self.outcome.trace, "{:>10} {}", self.now, line()).expect("a string takes everything");
        }
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.events.insert((at.max(self.now), self.next_event), event);
        self.next_event += 1;
    }

    pub(crate) fn begin(&mut self, client: usize, delay: u64) {
        self.schedule(self.now + delay, Event::Begin { client });
    }

    fn fail(&mut self, checked: Result<(), String>) {
        if let Err(violation) = checked {
            self.trace(|| format!("VIOLATION {violation}"));
            self.violation.get_or_insert(violation);
        }
    }

    /// Runs everything that happens up to then.
    pub(crate) fn run_until(&mut self, until: u64) {
        while self.violation.is_none() {
            let Some(entry) = self.events.first_entry() else { break };
            if entry.key().0 > until {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.perform(event);
        }
        self.now = self.now.max(until);
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.events.is_empty() && self.clients.iter().all(|client| client.session.is_none() && client.wishes.is_empty())
    }

    fn perform(&mut self, event: Event) {
        let client = match event {
            Event::Begin { client }
            | Event::Request { client, .. }
            | Event::Input { client, .. }
            | Event::Wake { client, .. }
            | Event::Work { client, .. } => client,
        };
        let paused_until = self.clients[client].paused_until;
        if paused_until > self.now && !matches!(event, Event::Request { .. }) {
            return self.schedule(paused_until, event);
        }
        match event {
            Event::Begin { client } => self.on_begin(client),
            Event::Request { client, node, generation, lock, request, resources, command } => {
                let hung_until = self.servers[node].hung_until;
                if hung_until > self.now {
                    let event = Event::Request { client, node, generation, lock, request, resources, command };
                    return self.schedule(hung_until, event);
                }
                self.on_request(client, node, generation, lock, request, &resources, &command);
            }
            Event::Input { client, generation, lock, input } => {
                let is_open =
                    |(node, generation): (usize, u64)| self.clients[client].connections[node].generation == generation;
                if generation.is_none_or(is_open) {
                    self.handle(client, lock, input);
                }
            }
            Event::Wake { client, lock } => {
                if let Some(session) = self.clients[client].session.as_mut().filter(|session| session.number == lock) {
                    session.wake = None;
                }
                self.handle(client, lock, Input::Timeout);
            }
            Event::Work { client, lock, left } => self.on_work(client, lock, left),
        }
    }

    fn on_begin(&mut self, client: usize) {
        let asker = &mut self.clients[client];
        if asker.session.is_some() {
            return;
        }
        let Some(mut wish) = asker.wishes.pop() else { return };
        asker.next_lock += 1;
        let number = asker.next_lock;
        wish.terms.identity = (client as u128) << 64 | u128::from(number);
        wish.terms.arrival = (EPOCH + self.now) as i64 + client as i64 * 900;
        wish.terms.seed = self.dice.next_u64();
        let lock = Lock::new(wish.terms.clone());
        let began = self.now;
        let session = Session { number, lock, wish, began, granted: None, is_listening: false, wake: None };
        self.clients[client].session = Some(session);
        self.handle(client, number, Input::Begin);
    }

    /// A client's clocks: fast or slow, and a wall clock that is nearly right.
    fn clock(&self, client: usize) -> Now {
        let mono = scaled(self.now, self.clients[client].ppm);
        Now { mono: Mono(mono), unix: UnixMs(((EPOCH + self.now) / 1000) as i64) }
    }

    fn handle(&mut self, client: usize, lock: u64, input: Input) {
        let now = self.clock(client);
        let Some(session) = self.clients[client].session.as_mut().filter(|session| session.number == lock) else {
            return;
        };
        let line = self.is_traced.then(|| format!("client {client} lock {lock} {input:?}"));
        if matches!(input, Input::Timeout) && session.lock.poll_timeout().is_none_or(|(at, _)| at > now.mono) {
            session.lock.handle(now, input);
            assert_eq!(session.lock.poll_output(), None, "a timeout that comes early changes nothing");
        } else {
            session.lock.handle(now, input);
        }
        if let Some(line) = line {
            self.trace(|| line);
        }
        while let Some(session) = &mut self.clients[client].session {
            let Some(output) = session.lock.poll_output() else { break };
            self.trace(|| format!("client {client} lock {lock}   {output:?}"));
            self.perform_output(client, lock, output);
        }
        self.arm(client);
    }

    fn arm(&mut self, client: usize) {
        let (now, ppm) = (self.now, self.clients[client].ppm);
        let Some(session) = &mut self.clients[client].session else { return };
        let Some((at, _)) = session.lock.poll_timeout() else { return };
        let at = unscaled(at.0, ppm).max(now);
        if session.wake.is_none_or(|wake| wake > at) {
            session.wake = Some(at);
            let lock = session.number;
            self.schedule(at, Event::Wake { client, lock });
        }
    }

    fn perform_output(&mut self, client: usize, lock: u64, output: Output) {
        match output {
            Output::Send { node, request, command } => self.send(client, lock, node, request, command),
            Output::Listen => self.listen(client, lock),
            Output::Granted(grant) => self.on_granted(client, lock, grant.fence, grant.valid_until),
            Output::Refused(refusal) => {
                self.outcome.refused += 1;
                let is_demanded = self.clients[client].session.as_ref().is_some_and(|session| session.wish.is_demanded);
                if is_demanded {
                    self.fail(Err(format!("client {client} is stuck though all is well: {refusal:?}")));
                }
                self.finish(client);
            }
            Output::Extended { .. } => self.outcome.extended += 1,
            Output::NotExtended(_) => self.outcome.not_extended += 1,
            Output::Lost(_) => {
                self.outcome.lost += 1;
                self.finish(client);
            }
            Output::Released(_) => {
                self.outcome.released += 1;
                self.finish(client);
            }
        }
    }

    fn finish(&mut self, client: usize) {
        // What it still wants to send is sent; later answers reach nobody, as when a program has ended.
        while let Some(session) = &mut self.clients[client].session {
            let Some(output) = session.lock.poll_output() else { break };
            let lock = session.number;
            if let Output::Send { node, request, command } = output {
                self.send(client, lock, node, request, command);
            }
        }
        self.clients[client].session = None;
        let pause = self.dice.below(20_000);
        self.begin(client, pause);
    }

    fn way(&mut self) -> u64 {
        let (least, more) = self.delay;
        // Mostly quick, now and then as slow as can be.
        let more = if self.dice.below(4) == 0 { more } else { more / 8 };
        least + self.dice.below(more + 1)
    }

    fn send(&mut self, client: usize, lock: u64, NodeId(node): NodeId, request: RequestId, command: Command) {
        let way = self.way();
        let sender = &mut self.clients[client];
        let connection = &mut sender.connections[node];
        let at = (self.now + way).max(connection.last_request + 1);
        connection.last_request = at;
        let generation = connection.generation;
        let resources = sender.session.as_ref().map(|session| session.wish.resources.clone()).unwrap_or_default();
        self.schedule(at, Event::Request { client, node, generation, lock, request, resources, command });
    }

    fn listen(&mut self, client: usize, lock: u64) {
        if let Some(session) = &mut self.clients[client].session {
            session.is_listening = true;
        }
        for node in 0..self.servers.len() {
            if self.servers[node].is_up && self.servers[node].hung_until <= self.now {
                let at = self.now + 2 * self.delay.0;
                let input = Input::Listening(NodeId(node));
                let generation = Some((node, self.clients[client].connections[node].generation));
                self.schedule(at, Event::Input { client, generation, lock, input });
            }
        }
    }

    fn reply(&mut self, client: usize, node: usize, generation: u64, lock: u64, input: Input) {
        let way = self.way();
        let connection = &mut self.clients[client].connections[node];
        if connection.generation != generation {
            return;
        }
        let at = (self.now + way).max(connection.last_reply + 1);
        connection.last_reply = at;
        self.schedule(at, Event::Input { client, generation: Some((node, generation)), lock, input });
    }

    #[expect(clippy::too_many_arguments, reason = "it is the event's")]
    fn on_request(
        &mut self,
        client: usize,
        node: usize,
        generation: u64,
        lock: u64,
        request: RequestId,
        resources: &[Resource],
        command: &Command,
    ) {
        let replied = |answer| Input::Replied { node: NodeId(node), request, answer };
        if !self.servers[node].is_up {
            let answer = Answer::Failed(Fault::Unreachable("connection refused".into()));
            return self.reply(client, node, generation, lock, replied(answer));
        }
        let (local, wall) = (self.local(node), self.wall(node));
        let (answer, effects) = self.servers[node].node.perform(local, wall, resources, command);
        self.trace(|| format!("server {node} {command:?} of client {client} {resources:?}: {answer:?}"));
        // What is locked together has one token, so that a wrong beginning of one counter is passed on.
        let is_wrong = self.servers[node].jump.abs() > WRONG && effects.has_seeded;
        if is_wrong || resources.iter().any(|resource| self.suspect.contains(resource)) {
            self.suspect.extend(resources);
        }
        if let Some(token) = effects.revived {
            self.fail(Err(format!("the lock {token} was revived on server {node}")));
        }
        self.reply(client, node, generation, lock, replied(answer));
        for (resource, next) in effects.freed {
            self.tell(node, resource, next.as_ref());
        }
    }

    /// Tells everybody who listens that a resource was given up.
    fn tell(&mut self, node: usize, resource: Resource, next: Option<&Token>) {
        for client in 0..self.clients.len() {
            let Some(session) = &self.clients[client].session else { continue };
            if session.is_listening && session.wish.resources.contains(&resource) {
                let (lock, generation) = (session.number, self.clients[client].connections[node].generation);
                let input = Input::Freed { node: NodeId(node), next: next.cloned() };
                self.reply(client, node, generation, lock, input);
            }
        }
    }

    fn on_granted(&mut self, client: usize, lock: u64, fence: Option<u64>, valid_until: Mono) {
        self.outcome.granted += 1;
        let now = self.clock(client).mono;
        let number = self.outcome.granted;
        let Some(session) = &mut self.clients[client].session else { return };
        let resources = session.wish.resources.clone();
        let granted = Granted { number, began: session.began, at: self.now, client, resources, fence };
        session.granted = Some(granted.clone());
        let (work, extensions) = (session.wish.work, session.wish.extensions);
        self.fail(checks::check_in_time(&granted, now.0, valid_until.0));
        for other in self.holders().filter(|other| *other != client).collect::<Vec<_>>() {
            let Some(theirs) = self.clients[other].session.as_ref().and_then(|session| session.granted.clone()) else {
                continue;
            };
            let checked = checks::check_exclusion(&granted, &theirs);
            if self.is_within {
                self.fail(checked);
            } else if checked.is_err() {
                self.outcome.doubled += 1;
            }
        }
        if !granted.resources.iter().any(|resource| self.suspect.contains(resource)) {
            let checked = self.tokens.check(&granted, self.is_within);
            self.fail(checked);
        }
        let step = work / u64::from(extensions + 1);
        self.schedule(self.now + step, Event::Work { client, lock, left: extensions });
    }

    /// Clients whose lock is valid now, whether they look or not.
    fn holders(&self) -> impl Iterator<Item = usize> {
        (0..self.clients.len()).filter(|client| {
            let valid_until = self.clients[*client].session.as_ref().and_then(|session| session.lock.valid_until());
            valid_until.is_some_and(|until| self.clock(*client).mono < until)
        })
    }

    /// A holder works: it writes, whether its lock is valid still or not, then goes on or is done.
    fn on_work(&mut self, client: usize, lock: u64, left: u32) {
        let Some(session) = self.clients[client].session.as_ref().filter(|session| session.number == lock) else {
            return;
        };
        let Some(granted) = session.granted.clone() else { return };
        let (ttl, step) = (session.wish.terms.ttl, session.wish.work / u64::from(session.wish.extensions + 1));
        let is_checked = !granted.resources.iter().any(|resource| self.suspect.contains(resource));
        let written = self.store.write(&granted, is_checked);
        self.outcome.refused_writes = self.store.refused;
        self.fail(written);
        if left == 0 {
            return self.handle(client, lock, Input::Release);
        }
        self.schedule(self.now + step, Event::Work { client, lock, left: left - 1 });
        self.handle(client, lock, Input::Extend { ttl });
    }

    /// Microseconds of the clock by which a server's keys expire.
    fn local(&self, node: usize) -> u64 {
        let server = &self.servers[node];
        let jump = if server.is_monotonic { 0 } else { server.jump };
        (EPOCH + scaled(self.now, server.ppm)).saturating_add_signed(jump)
    }

    fn wall(&self, node: usize) -> u64 {
        (EPOCH + self.now + node as u64 * 700).saturating_add_signed(self.servers[node].jump)
    }

    /// A writer that stands still, and writes when it goes on, before it looks at anything.
    pub(crate) fn pause(&mut self, client: usize, time: u64) {
        self.clients[client].paused_until = self.now + time;
        if let Some(session) = self.clients[client].session.as_ref().filter(|session| session.granted.is_some()) {
            let lock = session.number;
            self.schedule(self.now + time, Event::Work { client, lock, left: 1 });
        }
    }

    /// The program ends without a word.
    pub(crate) fn crash_client(&mut self, client: usize) {
        if self.clients[client].session.take().is_some() {
            self.outcome.crashed += 1;
            self.begin(client, 1000);
        }
    }

    /// The connection breaks: answers are lost; what is on its way may arrive still, after what is sent later.
    pub(crate) fn cut(&mut self, client: usize, node: usize) {
        self.trace(|| format!("cut between client {client} and server {node}"));
        let connection = &mut self.clients[client].connections[node];
        let generation = connection.generation + 1;
        *connection = Connection { generation, ..Connection::default() };
        let is_lost = self.dice.below(2) == 0;
        let mut failed = Vec::new();
        self.events.retain(|_, event| match event {
            Event::Request { client: c, node: n, generation: g, lock, request, .. }
                if (*c, *n) == (client, node) && *g < generation =>
            {
                failed.push((*lock, *request));
                !is_lost
            }
            _ => true,
        });
        for (lock, request) in failed {
            let answer = Answer::Failed(Fault::Unreachable("connection reset".into()));
            let input = Input::Replied { node: NodeId(node), request, answer };
            self.schedule(self.now, Event::Input { client, generation: None, lock, input });
        }
    }

    pub(crate) fn crash_server(&mut self, node: usize) {
        if self.servers[node].is_up {
            self.trace(|| format!("server {node} dies"));
            self.servers[node].is_up = false;
            for client in 0..self.clients.len() {
                self.cut(client, node);
            }
        }
    }

    pub(crate) fn restart_server(&mut self, node: usize, forgets: bool, quarantine: Duration) {
        if !self.servers[node].is_up {
            self.trace(|| format!("server {node} starts, {}", if forgets { "empty" } else { "with its data" }));
            let local = self.local(node);
            let server = &mut self.servers[node];
            server.is_up = true;
            if forgets {
                server.node.forget();
                server.node.quarantine = local + quarantine.as_micros() as u64;
                self.outcome.forgotten += 1;
            }
        }
    }

    /// Somebody sets the clocks right. Where keys went by a clock that jumped, nobody can tell when they expire: such a
    /// server starts anew.
    pub(crate) fn set_clocks(&mut self) {
        for server in &mut self.servers {
            server.jump = 0;
            if !server.is_monotonic {
                server.node.forget();
                server.node.quarantine = 0;
            }
        }
    }

    /// No lock is left anywhere.
    pub(crate) fn check_nothing_is_left(&mut self) {
        for node in 0..self.servers.len() {
            let local = self.local(node);
            if self.servers[node].node.has_any_lock(local) {
                self.fail(Err(format!("a lock on server {node} outlives its TTL")));
            }
        }
    }
}

fn scaled(time: u64, ppm: i64) -> u64 {
    (i128::from(time) * i128::from(1_000_000 + ppm) / 1_000_000) as u64
}

/// The true time at which a clock reaches an instant.
fn unscaled(local: u64, ppm: i64) -> u64 {
    (i128::from(local) * 1_000_000 / i128::from(1_000_000 + ppm)) as u64 + 1
}

//! The bus thread: sockets, and bytes that become packets. It decides nothing, and it waits for nobody but the disk that
//! nodes.conf is on.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use quorate_cluster::packet::{self, Packet};
use quorate_cluster::{CloseReason, GivingNews, Input, Level, LinkId, NodeId, NodesConf, Output, TransferId};
use quorate_stdx::Machine as _;

use super::{Node, Waiting, export, lock, settings};
use crate::listen;
use crate::log;
use crate::process::plain;
use crate::server::Server;
use crate::socket::Socket;

const WAKE: Token = Token(0);
const FIRST_LISTENER: usize = 1;
/// Tokens of links begin here; there are fewer listeners than that.
const FIRST_LINK: usize = 1024;
/// Bytes that are read from one link before others have their turn.
const PORTION: usize = 256 << 10;
/// How long the thread sleeps at most.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The bus thread's belongings.
pub struct Bus {
    server: Arc<Server>,
    poll: Poll,
    listeners: Vec<TcpListener>,
    links: BTreeMap<Token, Link>,
    tokens: BTreeMap<LinkId, Token>,
    next_token: usize,
    next_inbound: u64,
    /// Addresses of nodes that are known by their names.
    resolved: (Sender<Resolved>, Receiver<Resolved>),
}

/// What became of a name.
struct Resolved {
    link: LinkId,
    address: io::Result<SocketAddr>,
}

struct Link {
    id: LinkId,
    stream: Socket,
    since: Instant,
    is_up: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
}

/// Starts the bus thread.
///
/// # Errors
/// There can be no thread.
pub fn start(mut bus: Bus) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("bus".to_owned()).spawn(move || bus.run())
}

impl Bus {
    /// Listens where the configuration says.
    ///
    /// # Errors
    /// It can't; it has been logged why.
    pub fn open(server: &Arc<Server>) -> anyhow::Result<Bus> {
        let config = server.config.load();
        let port = config.cluster.port;
        if port == 0 && settings::client_port(&config) > u16::MAX - 10000 {
            anyhow::bail!(
                "Redis port number too high for cluster mode. Cluster bus port is 10000 more than the Redis port, which \
                 must be at most 55535, or set cluster-port."
            );
        }
        let poll = Poll::new()?;
        let mut listeners = Vec::new();
        for name in &config.network.bind {
            listeners.extend(listen::bind_name(name, settings::bus_port(&config), &config)?);
        }
        for (listener, token) in listeners.iter_mut().zip(FIRST_LISTENER..) {
            poll.registry().register(listener, Token(token), Interest::READABLE)?;
        }
        let node = server.node().expect("the node is made before its bus");
        let waker = Waker::new(poll.registry(), WAKE)?;
        assert!(node.waker.set(waker).is_ok(), "a node has one bus");
        Ok(Bus {
            server: Arc::clone(server),
            poll,
            listeners,
            links: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next_token: FIRST_LINK,
            next_inbound: 0,
            resolved: unbounded(),
        })
    }

    fn node(server: &Server) -> &Node {
        server.node().expect("the node is made before its bus")
    }

    /// Runs until the server stops.
    fn run(&mut self) {
        let mut events = Events::with_capacity(256);
        let server = Arc::clone(&self.server);
        self.perform();
        while !server.stopping.load(Ordering::Acquire) {
            if let Err(error) = self.poll.poll(&mut events, Some(self.patience())) {
                assert!(error.kind() == io::ErrorKind::Interrupted, "epoll fails for no other reason: {error}");
            }
            for event in &events {
                match event.token() {
                    WAKE => {}
                    Token(index) if index < FIRST_LINK => self.accept(index - FIRST_LISTENER),
                    token => self.serve(token),
                }
            }
            while let Ok(resolved) = self.resolved.1.try_recv() {
                self.connect(resolved.link, resolved.address);
            }
            self.tick();
            self.drop_the_slow();
            self.perform();
        }
    }

    /// Closes links on which it is not agreed how to encrypt although there was time for it.
    fn drop_the_slow(&mut self) {
        let tls = &self.server.config.load().tls;
        if tls.cluster {
            let is_slow = |link: &Link| link.stream.is_shaking_hands() && link.since.elapsed() > tls.handshake_timeout;
            let slow: Vec<Token> =
                self.links.iter().filter(|(_, link)| is_slow(link)).map(|(token, _)| *token).collect();
            slow.into_iter().for_each(|token| self.close(token, CloseReason::Unreachable));
        }
    }

    fn patience(&self) -> Duration {
        let inner = lock(Bus::node(&self.server));
        let now = self.server.mono();
        inner.machine.poll_timeout().map_or(LONGEST_SLEEP, |(at, _)| at.since(now).min(LONGEST_SLEEP))
    }

    fn tick(&mut self) {
        let now = self.server.now();
        let mut inner = lock(Bus::node(&self.server));
        if inner.machine.poll_timeout().is_some_and(|(at, _)| at <= now.mono) {
            inner.tell_status(&self.server);
            inner.machine.handle(now, Input::Timeout);
            inner.sort();
        }
    }

    /// Hands an input in. What it leads to for the bus is performed when all that has come has been handed in: then
    /// nodes.conf is written once for all of it, and no packet waits for the disk behind each one before it.
    fn hand(&mut self, input: Input) {
        let mut inner = lock(Bus::node(&self.server));
        if matches!(input, Input::Received { .. } | Input::Closed { .. }) {
            inner.tell_status(&self.server);
        }
        inner.machine.handle(self.server.now(), input);
        inner.sort();
    }

    // ---- outputs ----------------------------------------------------------------------------------------

    fn perform(&mut self) {
        loop {
            let output = lock(Bus::node(&self.server)).bus.pop_front();
            let Some(output) = output else { break };
            self.perform_one(output);
        }
        if Bus::node(&self.server).has_tasks() {
            self.server.control.wake();
        }
    }

    fn perform_one(&mut self, output: Output) {
        match output {
            Output::Persist(conf) => self.persist(*conf),
            Output::Connect { link, ip, port } => self.resolve(link, ip, port),
            Output::Disconnect { link } => self.forget(link),
            Output::Send { link, packet } => self.send(link, &packet),
            Output::Deliver(published) => {
                let pubsub = &self.server.pubsub;
                if published.sharded {
                    pubsub.publish_to_shard(&self.server, &published.channel, &published.message);
                } else {
                    pubsub.publish(&self.server, &published.channel, &published.message);
                }
            }
            Output::Give { id, slots, ip, port } => self.give(export::Job { id, me: self.me(), slots, ip, port }),
            Output::AskVerdict { id, slots, ip, port } => {
                export::ask_verdict(&self.server, export::Job { id, me: self.me(), slots, ip, port });
            }
            Output::Drain { id, upto } => self.with_export(id, |export| export.drain(upto)),
            Output::Grant { id, epoch } => self.with_export(id, |export| export.grant(epoch)),
            Output::EndGiving { id } => drop(Bus::node(&self.server).exports.lock().remove(&id)),
            Output::Announce(event) => match event.level() {
                Level::Verbose => log::verbose(&event.to_string()),
                Level::Notice => log::notice(&event.to_string()),
                Level::Warning => log::warning(&event.to_string()),
            },
            other => unreachable!("{other:?} is for whoever is alone"),
        }
    }

    fn me(&self) -> NodeId {
        lock(Bus::node(&self.server)).machine.id()
    }

    fn give(&mut self, job: export::Job) {
        let id = job.id;
        match export::start(&self.server, job) {
            Ok(export) => drop(Bus::node(&self.server).exports.lock().insert(id, export)),
            Err(error) => {
                let news = GivingNews::Broken(format!("There is no thread for it: {error}"));
                self.hand(Input::Giving { id, news });
            }
        }
    }

    fn with_export(&self, id: TransferId, order: impl FnOnce(&export::Export)) {
        if let Some(export) = Bus::node(&self.server).exports.lock().get(&id) {
            order(export);
        }
    }

    /// Writes what must not be forgotten. If more of it waits already, the last of all is written in the place of each:
    /// it holds what they hold, and heartbeats must not wait for one write after the other.
    fn persist(&self, mut conf: NodesConf) {
        let node = Bus::node(&self.server);
        let mut count = 1;
        lock(node).bus.retain_mut(|output| {
            let Output::Persist(later) = output else { return true };
            std::mem::swap(&mut conf, later);
            count += 1;
            false
        });
        if let Err(error) = node.saved.lock().write(&conf.to_text(self.server.config.load().tls.cluster)) {
            // A vote that can't be kept must not be given, and a node that can't remember must not go on.
            log::warning(&format!("Fatal: can't update cluster config file: {}", plain(&error)));
            std::process::exit(1);
        }
        node.persisted.fetch_add(count, Ordering::Release);
    }

    /// Finds the address and connects; a name is looked up by a thread of its own, because that may take long.
    fn resolve(&mut self, link: LinkId, host: String, port: u16) {
        if let Ok(ip) = host.parse::<std::net::IpAddr>() {
            return self.connect(link, Ok(SocketAddr::new(ip, port)));
        }
        let answers = self.resolved.0.clone();
        let server = Arc::downgrade(&self.server);
        let look_up = move || {
            let found = (host.as_str(), port)
                .to_socket_addrs()
                .and_then(|mut found| found.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)));
            // The bus may have ended meanwhile.
            let _ = answers.send(Resolved { link, address: found });
            if let Some(server) = server.upgrade() {
                Bus::node(&server).wake();
            }
        };
        if let Err(error) = std::thread::Builder::new().name("resolve".to_owned()).spawn(look_up) {
            self.connect(link, Err(error));
        }
    }

    fn connect(&mut self, link: LinkId, address: io::Result<SocketAddr>) {
        let source = self.server.config.load().network.source_address.clone();
        let connected = address.and_then(|address| crate::listen::begin_to_connect(address, source.as_ref()));
        let is_encrypted = self.server.config.load().tls.cluster;
        let connected = connected.and_then(|stream| self.server.outgoing(stream, is_encrypted));
        match connected.and_then(|stream| self.add(link, stream, false)) {
            Ok(()) => {}
            Err(error) => self.hand(Input::Closed { link, why: reason(&error) }),
        }
    }

    fn add(&mut self, id: LinkId, mut stream: Socket, is_up: bool) -> io::Result<()> {
        // A heartbeat must not wait for the next one.
        let _ = stream.tcp().map(|stream| stream.set_nodelay(true));
        let token = Token(self.next_token);
        self.next_token += 1;
        self.poll.registry().register(stream.source(), token, Interest::READABLE | Interest::WRITABLE)?;
        self.links.insert(
            token,
            Link { id, stream, since: Instant::now(), is_up, input: Vec::new(), output: Vec::new(), sent: 0 },
        );
        self.tokens.insert(id, token);
        Ok(())
    }

    fn forget(&mut self, link: LinkId) {
        if let Some(mut gone) = self.tokens.remove(&link).and_then(|token| self.links.remove(&token)) {
            Bus::node(&self.server).links.waiting.lock().remove(&link);
            // It is closed with the stream in any case.
            let _ = self.poll.registry().deregister(gone.stream.source());
        }
    }

    fn send(&mut self, link: LinkId, packet: &Packet) {
        let Some(token) = self.tokens.get(&link).copied() else { return };
        let Some(link) = self.links.get_mut(&token) else { return };
        packet.encode(&mut link.output);
        let limit = self.server.config.load().cluster.link_limit;
        if limit > 0 && (link.output.len() - link.sent) as u64 > limit {
            Bus::node(&self.server).links.closed.fetch_add(1, Ordering::Relaxed);
            log::warning("Freeing outbound cluster link: its output is above cluster-link-sendbuf-limit");
            return self.close(token, CloseReason::Unreachable);
        }
        self.flush(token);
    }

    /// Writes what the socket takes, and notes what it doesn't.
    fn flush(&mut self, token: Token) {
        self.write(token);
        if let Some(link) = self.links.get(&token) {
            let waiting = Waiting { allocated: link.output.capacity(), used: link.output.len() - link.sent };
            Bus::node(&self.server).links.waiting.lock().insert(link.id, waiting);
        }
    }

    fn write(&mut self, token: Token) {
        let Some(link) = self.links.get_mut(&token).filter(|link| link.is_up) else { return };
        if link.stream.advance().is_err() {
            return self.close(token, CloseReason::Broken);
        }
        while link.sent < link.output.len() {
            match (&link.stream).write(&link.output[link.sent..]) {
                Ok(0) => return self.close(token, CloseReason::Broken),
                Ok(count) => link.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.close(token, CloseReason::Broken),
            }
        }
        link.output.clear();
        link.sent = 0;
    }

    /// The link is no more; the machine hears of it behind what it is told already.
    fn close(&mut self, token: Token, why: CloseReason) {
        let Some(link) = self.links.get(&token).map(|link| link.id) else { return };
        self.forget(link);
        self.hand(Input::Closed { link, why });
    }

    // ---- inputs -----------------------------------------------------------------------------------------

    fn accept(&mut self, index: usize) {
        loop {
            let (stream, from) = match self.listeners[index].accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return log::verbose(&format!("Error accepting cluster node: {}", plain(&error))),
            };
            let local = stream.local_addr().unwrap_or(from);
            self.next_inbound += 1;
            let link = LinkId::From(self.next_inbound);
            let is_encrypted = self.server.config.load().tls.cluster;
            let accepted = self.server.incoming(stream, is_encrypted);
            if accepted.and_then(|stream| self.add(link, stream, true)).is_ok() {
                self.hand(Input::Accepted { link, from: text(from), local: text(local) });
            }
        }
    }

    fn serve(&mut self, token: Token) {
        if !self.come_up(token) {
            return;
        }
        self.flush(token);
        let mut read = 0;
        while let Some(link) = self.links.get_mut(&token).filter(|link| link.is_up) {
            let start = link.input.len();
            link.input.resize(start + (16 << 10), 0);
            let outcome = (&link.stream).read(&mut link.input[start..]);
            link.input.truncate(start + outcome.as_ref().copied().unwrap_or(0));
            match outcome {
                Ok(0) => return self.close(token, CloseReason::Broken),
                Ok(count) => {
                    read += count;
                    self.take_packets(token);
                    if read >= PORTION {
                        // The rest is announced again, behind the others.
                        return self.announce_again(token);
                    }
                }
                // What waited for the end of a handshake can go now.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.flush(token),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.kind() == io::ErrorKind::InvalidData {
                        log::verbose(&format!("Error of TLS on the cluster bus: {error}"));
                    }
                    return self.close(token, CloseReason::Broken);
                }
            }
        }
    }

    fn announce_again(&mut self, token: Token) {
        if let Some(link) = self.links.get_mut(&token) {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().reregister(link.stream.source(), token, interest).expect("it is registered");
        }
    }

    /// A link that was being made is made, or can't be; whether it is up.
    fn come_up(&mut self, token: Token) -> bool {
        let Some(link) = self.links.get_mut(&token) else { return false };
        if link.is_up {
            return true;
        }
        match link.stream.has_connected() {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => {
                self.close(token, reason(&error));
                return false;
            }
        }
        link.is_up = true;
        let local = link.stream.tcp().and_then(|stream| stream.local_addr().ok());
        let (link, local) = (link.id, local.map(text).unwrap_or_default());
        self.hand(Input::Connected { link, local });
        true
    }

    /// Hands in every whole packet that has come.
    fn take_packets(&mut self, token: Token) {
        let mut at = 0;
        loop {
            let Some(link) = self.links.get_mut(&token) else { return };
            let rest = &link.input[at..];
            let decoded = match packet::length(rest) {
                Ok(Some(length)) if length <= rest.len() => {
                    Packet::decode(&rest[..length]).map(|packet| (length, packet))
                }
                Ok(_) => {
                    link.input.drain(..at);
                    return;
                }
                Err(error) => Err(error),
            };
            match decoded {
                Ok((length, packet)) => {
                    let kind = packet::kind(&link.input[at..]).map(i64::from);
                    let is_dropped = kind == Some(Bus::node(&self.server).dropped_type.load(Ordering::Relaxed));
                    at += length;
                    let link = link.id;
                    if let Some(packet) = packet.filter(|_| !is_dropped) {
                        self.hand(Input::Received { link, packet });
                    }
                }
                Err(error) => {
                    let word = packet::word(&link.input[at..]);
                    let from = link.stream.tcp().and_then(|stream| stream.peer_addr().ok());
                    let from = from.map(|from| from.to_string()).unwrap_or_default();
                    log::warning(&format!("Bad message of the cluster bus from {from}, closing the link: {error}"));
                    return self.close(token, CloseReason::Malformed(word));
                }
            }
        }
    }
}

fn reason(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => CloseReason::Refused,
        _ => CloseReason::Unreachable,
    }
}

fn text(address: SocketAddr) -> String {
    address.ip().to_canonical().to_string()
}

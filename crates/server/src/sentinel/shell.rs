//! The loop: it waits for whatever comes first, tells the machine, and performs what the machine decides.

use std::collections::VecDeque;
use std::io;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use mio::net::{TcpListener, UnixStream};
use mio::{Events, Interest, Poll, Token, Waker};
use quorate_config::Config;
use quorate_sentinel::{ConnId, Event, Input, Level, Output, Reply, Sentinel};
use quorate_stdx::{Machine as _, Mono, Now};
use quorate_tls::Contexts;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::clients::{Clients, Found};
use super::commands;
use super::links::Links;
use super::scripts::Scripts;
use super::users::Doors;
use super::webhook::Webhooks;
use crate::log;
use crate::process::plain;
use crate::server::unix_now;
use crate::socket;

/// The lowest two bits of a token tell what it is of.
const KINDS: usize = 4;
const LISTENER: usize = 0;
const LINK: usize = 1;
const CLIENT: usize = 2;
const OTHER: usize = 3;

const WAKE: Token = Token(OTHER);
const TERM: Token = Token(OTHER + KINDS);
const INT: Token = Token(OTHER + 2 * KINDS);

/// How long listeners rest when there is no descriptor left for another client.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

pub(super) fn token_of_link(conn: ConnId) -> Token {
    Token(conn.0 as usize * KINDS + LINK)
}

pub(super) fn token_of_client(id: u64) -> Token {
    Token(id as usize * KINDS + CLIENT)
}

/// How other threads send something to the loop.
#[derive(Clone)]
pub(super) struct Mail {
    sender: Sender<Input>,
    waker: Arc<Waker>,
}

impl Mail {
    pub(super) fn send(&self, input: Input) {
        // The loop outlives nobody, and at its end nobody reads any more.
        if self.sender.send(input).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// What commands see and change beside the machine.
pub(super) struct Context {
    pub(super) config: Config,
    /// What encrypted connections are made from, if there are any.
    pub(super) tls: Option<Contexts>,
    /// Who may come in, and do what.
    pub(super) doors: Doors,
    /// Where the state is kept.
    pub(super) file: PathBuf,
    pub(super) started: Instant,
    /// As INFO shows it; the machine's id is another.
    pub(super) run_id: String,
    pub(super) commands: u64,
    /// The process is to end.
    pub(super) is_ending: bool,
}

/// Where others connect to.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) is_encrypted: bool,
}

pub(super) struct Shell {
    poll: Poll,
    listeners: Vec<Listener>,
    /// They live as long as the loop does.
    signals: [UnixStream; 2],
    received: Receiver<Input>,
    mail: Mail,
    pub(super) machine: Sentinel,
    links: Links,
    pub(super) clients: Clients,
    scripts: Scripts,
    webhooks: Webhooks,
    pub(super) context: Context,
    /// What has happened and the machine does not know yet.
    inputs: VecDeque<Input>,
    /// Listeners are to be looked at again then.
    accept_at: Option<Instant>,
}

impl Shell {
    /// A shell around a machine.
    ///
    /// # Errors
    /// The operating system lacks something.
    pub(super) fn new(machine: Sentinel, context: Context, mut listeners: Vec<Listener>) -> io::Result<Shell> {
        let poll = Poll::new()?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(&mut listener.socket, Token(index * KINDS + LISTENER), Interest::READABLE)?;
        }
        let hear = |signal, token| crate::process::hear(signal, poll.registry(), token);
        let signals = [hear(SIGTERM, TERM)?, hear(SIGINT, INT)?];
        // A terminal that closes does not end a Sentinel.
        signal_hook::flag::register(SIGHUP, Arc::default())?;
        let (sender, received) = crossbeam_channel::unbounded();
        let mail = Mail { sender, waker: Arc::new(Waker::new(poll.registry(), WAKE)?) };
        let tls = context.tls.clone().filter(|_| context.config.tls.replication);
        Ok(Shell {
            links: Links::new(poll.registry().try_clone()?, context.config.network.source_address.clone(), tls),
            clients: Clients::new(poll.registry().try_clone()?),
            poll,
            listeners,
            signals,
            received,
            mail,
            machine,
            scripts: Scripts::default(),
            webhooks: Webhooks::new(context.config.tls.clone()),
            context,
            inputs: VecDeque::new(),
            accept_at: None,
        })
    }

    pub(super) fn now(&self) -> Now {
        now(self.context.started)
    }

    /// Serves until the process is to end.
    ///
    /// # Errors
    /// The operating system fails.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        self.settle();
        while !self.context.is_ending {
            if let Err(error) = self.poll.poll(&mut events, self.patience())
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            if self.accept_at.is_some_and(|at| at <= Instant::now()) {
                self.accept_at = None;
                (0..self.listeners.len()).for_each(|index| self.accept(index));
            }
            for event in &events {
                self.on_event(event.token());
            }
            while let Ok(input) = self.received.try_recv() {
                if let Input::ScriptEnded { job, .. } = &input {
                    self.scripts.ended(*job);
                }
                self.inputs.push_back(input);
            }
            if self.context.config.tls.port > 0 {
                self.clients.drop_the_slow(self.context.config.tls.handshake_timeout);
            }
            let now = self.now();
            if self.machine.poll_timeout().is_some_and(|(at, _)| at <= now.mono) {
                self.inputs.push_back(Input::Timeout);
            }
            self.settle();
        }
        self.clients.flush();
        Ok(())
    }

    fn patience(&self) -> Option<Duration> {
        let now = self.now().mono;
        let by_machine = self.machine.poll_timeout().map(|(at, _)| at.since(now));
        let by_listeners = self.accept_at.map(|at| at.saturating_duration_since(Instant::now()));
        let by_clients = self.clients.first_deadline(self.context.config.tls.handshake_timeout);
        let by_clients = by_clients.map(|at| at.saturating_duration_since(Instant::now()));
        by_machine.into_iter().chain(by_listeners).chain(by_clients).min()
    }

    fn on_event(&mut self, token: Token) {
        let number = token.0 / KINDS;
        match token.0 % KINDS {
            LISTENER => self.accept(number),
            LINK => self.links.on_ready(ConnId(number as u64), &mut self.inputs),
            CLIENT => self.on_client(number as u64),
            _ if token == TERM || token == INT => {
                let signal = &mut self.signals[usize::from(token == INT)];
                // How often the signal came does not matter, only that it did.
                while io::Read::read(signal, &mut [0; 64]).is_ok_and(|count| count > 0) {}
                log::warning("User requested shutdown...");
                self.context.is_ending = true;
            }
            _ => {}
        }
    }

    fn accept(&mut self, index: usize) {
        loop {
            match self.listeners[index].socket.accept() {
                Ok((stream, remote)) => {
                    let (tls, is_encrypted) = (self.context.tls.as_ref(), self.listeners[index].is_encrypted);
                    let Ok(stream) = socket::incoming(tls, stream, is_encrypted) else { continue };
                    if self.clients.len() >= self.context.config.clients.max as usize {
                        // Whoever does not get the text is closed all the same.
                        let _ = io::Write::write(&mut &stream, b"-ERR max number of clients reached\r\n");
                        continue;
                    }
                    // One that is gone already needs no place.
                    let _ = self.clients.admit(stream, remote, self.context.doors.users.default_user());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {
                }
                Err(error) => {
                    log::warning(&format!("Accepting client connection: {}", plain(&error)));
                    self.accept_at = Some(Instant::now() + ACCEPT_RETRY);
                    return;
                }
            }
        }
    }

    fn on_client(&mut self, id: u64) {
        let is_over = self.clients.read(id);
        loop {
            let Some(client) = self.clients.get_mut(id) else { return };
            match client.next_request() {
                Found::Request(words) if words.is_empty() => {}
                Found::Request(words) => {
                    client.last = Instant::now();
                    commands::run(self, id, &words);
                    // Orders are answered by the machine, before the next request is looked at.
                    self.settle_machine();
                }
                Found::Nothing => break,
                Found::Refused(error) => {
                    client.reply().error(error.as_bytes());
                    client.is_closing = true;
                    break;
                }
            }
        }
        if is_over {
            self.clients.flush();
            self.clients.close(id);
        }
    }

    /// Tells the machine.
    pub(super) fn tell(&mut self, input: Input) {
        self.inputs.push_back(input);
    }

    fn settle(&mut self) {
        self.settle_machine();
        self.clients.flush();
    }

    /// Hands in what has happened, and performs what follows, until nothing does.
    fn settle_machine(&mut self) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.perform(output);
            }
            self.links.flush(&mut self.inputs);
            let Some(input) = self.inputs.pop_front() else { return };
            self.machine.handle(self.now(), input);
        }
    }

    // ---- outputs --------------------------------------------------------------------------------------------

    fn perform(&mut self, output: Output) {
        match output {
            Output::Persist { number, saved } => {
                let lines = saved.lines(self.machine.periods());
                let kept = self.context.doors.kept(&self.context.config);
                let error = quorate_config::rewrite_sentinel(&self.context.file, &lines, kept.lines()).err();
                match &error {
                    None => log::notice("Sentinel new configuration saved on disk"),
                    Some(error) => log::warning(&format!(
                        "WARNING: Sentinel was not able to save the new configuration on disk!!!: {}",
                        plain(error)
                    )),
                }
                // What is behind this in the queue needed the wait, but not its success: that is for the machine to judge.
                self.inputs.push_front(Input::Persisted { number, error: error.map(|error| plain(&error)) });
            }
            Output::Connect { conn, to, .. } => self.links.connect(conn, to, &mut self.inputs),
            Output::Disconnect { conn } => self.links.disconnect(conn),
            Output::Send { conn, tag, words } => self.links.send(conn, tag, &words),
            Output::Answer { by, reply } => self.answer(by, &reply),
            Output::Announce(event) => self.announce(&event),
            Output::Resolve { host } => self.resolve(host),
            Output::Run { job, argv } => self.scripts.run(job, &argv, &self.mail),
            Output::Kill { job } => self.scripts.kill(job),
            Output::Die => {
                log::warning("Sentinel CRASH because of SENTINEL simulate-failure");
                std::process::exit(99);
            }
        }
    }

    fn answer(&mut self, by: u64, reply: &Reply) {
        let Some(client) = self.clients.get_mut(by) else { return };
        let mut writer = client.reply();
        match reply {
            Reply::Ok => writer.ok(),
            Reply::Count(count) => writer.count(*count),
            Reply::Error(text) => writer.error(text.as_bytes()),
            Reply::Opinion { is_down, vote } => {
                writer.array(3);
                writer.int(i64::from(*is_down));
                writer.bulk(vote.map_or_else(|| "*".to_owned(), |(leader, _)| leader.to_string()).as_bytes());
                writer.int(vote.map_or(0, |(_, epoch)| epoch as i64));
            }
        }
    }

    fn announce(&mut self, event: &Event) {
        let level = match event.level {
            Level::Debug => log::Level::Debug,
            Level::Verbose => log::Level::Verbose,
            Level::Notice => log::Level::Notice,
            Level::Warning => log::Level::Warning,
        };
        log::write(level, &event.to_string());
        for url in self.machine.webhooks(event) {
            self.webhooks.post(&url, event, self.machine.id().as_str(), unix_now().0);
        }
        if event.level != Level::Debug {
            self.clients.publish(event.name.as_bytes(), event.text.as_bytes());
        }
    }

    /// Asks for a name's address on a thread of its own: the answer may take as long as the resolver likes.
    fn resolve(&mut self, host: String) {
        let (mail, asked) = (self.mail.clone(), host.clone());
        let resolver = std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            let found = (asked.as_str(), 0).to_socket_addrs().ok();
            let ip = found.and_then(|mut found| found.next()).map(|address| address.ip());
            mail.send(Input::Resolved { host: asked, ip });
        });
        if resolver.is_err() {
            self.inputs.push_back(Input::Resolved { host, ip: None });
        }
    }
}

/// Both clocks, the monotonic one counted from the start of the process.
pub(super) fn now(started: Instant) -> Now {
    Now { mono: Mono(started.elapsed().as_micros() as u64), unix: unix_now() }
}

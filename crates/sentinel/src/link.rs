//! The two connections to one server or Sentinel: one for commands, one that listens for hellos.
//!
//! ```text
//!             opened                    closed
//!   Idle ──► Opening ──────────► Up ──────────────► Idle (again at once, then after a while)
//!    ▲          │ failed, or it takes too long
//!    └──────────┘
//! ```
//!
//! **Silence.** A link is silent since the oldest PING that has not been answered well; while there is no connection,
//! since the last good answer. **Evidence.** A link that was up and closes is opened again at once. If that is refused, no
//! process listens there any more: that is as good as silence for `down-after-milliseconds`, and takes no time.

use std::net::IpAddr;
use std::time::Duration;

use quorate_stdx::Mono;

use crate::core::{Core, NodeId};
use crate::hello::{CHANNEL, Hello};
use crate::machine::{ConnId, LostReason, Output, Timer};
use crate::names::Known;
use crate::settings::Watch;
use crate::wire::{self, Tag};

/// How long a connection may take to be opened.
const OPEN_MAX: Duration = Duration::from_secs(3);
/// After a refusal a server may be back any moment, for so long ...
const EAGER: Duration = Duration::from_secs(2);
/// ... and is tried so often.
const EAGER_PERIOD: Duration = Duration::from_millis(100);
/// More unanswered requests than this on one connection are enough.
const PENDING_MAX: u32 = 100;

/// One connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conn {
    Idle { at: Mono },
    Opening { id: ConnId, since: Mono },
    Up { id: ConnId, since: Mono },
}

impl Conn {
    pub(crate) fn id(self) -> Option<ConnId> {
        match self {
            Conn::Idle { .. } => None,
            Conn::Opening { id, .. } | Conn::Up { id, .. } => Some(id),
        }
    }

    pub(crate) fn up(self) -> Option<ConnId> {
        match self {
            Conn::Up { id, .. } => Some(id),
            _ => None,
        }
    }
}

/// With what a link introduces itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Credentials<'a> {
    pub(crate) user: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
}

/// How a link is to be tended.
pub(crate) struct Care<'a> {
    pub(crate) primary: &'a str,
    pub(crate) watch: &'a Watch,
    pub(crate) credentials: Credentials<'a>,
    /// Whether it listens for hellos too.
    pub(crate) listens: bool,
    /// How often INFO is asked for, if at all.
    pub(crate) info_period: Option<Duration>,
    /// What is published, if anything may be.
    pub(crate) hello: Option<&'a Hello>,
}

/// What has become of a connection that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The one for commands, which was up.
    Commands,
    /// The one for hellos.
    Events,
    /// It never was up. Whether that is evidence of a crash.
    Attempt { is_evidence: bool },
}

/// A server or Sentinel as somebody to talk to.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) commands: Conn,
    pub(crate) events: Conn,
    /// Our own address as the other side sees it.
    local: Option<IpAddr>,
    /// The connection for commands was up, and none has been since.
    was_up: bool,
    /// Since when connections are refused.
    pub(crate) refused: Option<Mono>,
    /// Requests without a reply.
    pub(crate) pending: u32,
    /// The oldest PING without a good answer.
    pub(crate) waiting_since: Option<Mono>,
    pub(crate) last_ping: Mono,
    /// The last good answer to a PING.
    pub(crate) last_ok: Mono,
    /// The last answer of any kind to a PING.
    pub(crate) last_reply: Mono,
    last_event: Mono,
    published: Option<Mono>,
    info_asked: Option<Mono>,
    pub(crate) tenure: TenureTalk,
}

/// How far we are with confirming a primary's tenure on this connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TenureTalk {
    /// What it was answered last.
    pub(crate) stamp: i64,
    /// When it was confirmed last.
    pub(crate) confirmed: Option<Mono>,
    /// The answer to that has not come.
    pub(crate) waits: bool,
}

impl Link {
    pub(crate) fn new(now: Mono) -> Link {
        Link {
            commands: Conn::Idle { at: now },
            events: Conn::Idle { at: now },
            local: None,
            was_up: false,
            refused: None,
            pending: 0,
            waiting_since: Some(now),
            last_ping: Mono(0),
            last_ok: now,
            last_reply: now,
            last_event: now,
            published: None,
            info_asked: None,
            tenure: TenureTalk::default(),
        }
    }

    /// Since when nothing good has been heard, if an answer is owed.
    pub(crate) fn silent_since(&self) -> Option<Mono> {
        match (self.waiting_since, self.commands) {
            (Some(since), _) => Some(since),
            (None, Conn::Up { .. }) => None,
            (None, _) => Some(self.last_ok),
        }
    }

    /// Begins to count silence anew: what was not heard while we stood still, or in another role, is nobody's fault.
    pub(crate) fn restart_clock(&mut self, now: Mono) {
        self.waiting_since = self.waiting_since.map(|_| now);
        (self.last_ok, self.last_reply, self.last_event) = (now, now, now);
    }

    /// INFO is wanted now.
    pub(crate) fn want_info(&mut self) {
        self.info_asked = None;
    }

    /// A hello is wanted now.
    pub(crate) fn want_hello(&mut self) {
        self.published = None;
    }

    pub(crate) fn on_event(&mut self, now: Mono) {
        self.last_event = now;
    }

    pub(crate) fn on_reply(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// An answer to a PING.
    pub(crate) fn on_pong(&mut self, now: Mono, is_good: bool) {
        self.last_reply = now;
        if is_good {
            self.last_ok = now;
            self.waiting_since = None;
            self.refused = None;
        }
    }

    /// Closes both connections; new ones are opened at that time.
    pub(crate) fn close(&mut self, core: &mut Core, again_at: Mono) {
        for conn in [&mut self.commands, &mut self.events] {
            disconnect(conn, core, again_at);
        }
        self.pending = 0;
    }
}

fn disconnect(conn: &mut Conn, core: &mut Core, again_at: Mono) {
    if let Some(id) = conn.id() {
        core.forget(id);
        core.push(Output::Disconnect { conn: id });
    }
    *conn = Conn::Idle { at: again_at };
}

/// A link and where it leads.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) addr: crate::Addr,
    pub(crate) link: Link,
    /// Since when we hold it for down.
    pub(crate) down: Option<Mono>,
}

impl Node {
    pub(crate) fn new(core: &mut Core, addr: crate::Addr) -> Node {
        Node { id: core.new_node(), addr, link: Link::new(core.mono()), down: None }
    }

    /// Whether a request would reach it.
    pub(crate) fn is_reachable(&self) -> bool {
        self.down.is_none() && self.link.commands.up().is_some()
    }

    /// When it is to be held for down.
    pub(crate) fn down_at(&self, watch: &Watch) -> Option<Mono> {
        let by_silence = self.link.silent_since().map(|since| since + watch.down_after);
        let by_evidence = self.link.refused.filter(|_| watch.crash_evidence);
        by_silence.into_iter().chain(by_evidence).min()
    }

    /// Sends a request, if there is a connection.
    pub(crate) fn send(&mut self, core: &mut Core, tag: Tag, words: Vec<String>, watch: &Watch) -> bool {
        let Some(conn) = self.link.commands.up() else { return false };
        self.link.pending += 1;
        core.push(Output::Send { conn, tag, words: renamed(words, watch) });
        true
    }

    /// Has a connection opened, closed, asked and told, as far as it is time.
    pub(crate) fn tend(&mut self, core: &mut Core, care: &Care<'_>) {
        self.open(core, care, false);
        if care.listens {
            self.open(core, care, true);
        }
        self.give_up_the_silent(core, care);
        if self.link.commands.up().is_none() || self.link.pending >= PENDING_MAX {
            return;
        }
        let period = care.watch.ping_period(&core.periods);
        let next_ping = (self.link.last_reply + period).max(self.link.last_ping + period / 2);
        if core.due(next_ping, Timer::Ping) {
            self.ping(core, care.watch);
        }
        if let Some(period) = care.info_period
            && self.link.info_asked.is_none_or(|asked| core.due(asked + period, Timer::Info))
        {
            self.link.info_asked = Some(core.mono());
            self.send(core, Tag::Info, wire::words(&["INFO"]), care.watch);
        }
        if let Some(hello) = care.hello
            && self.link.published.is_none_or(|at| core.due(at + core.periods.publish, Timer::Hello))
        {
            self.link.published = Some(core.mono());
            let mut hello = hello.clone();
            if hello.from.host.is_empty() {
                hello.from.host = self.link.local.map_or_else(|| "127.0.0.1".to_owned(), |ip| ip.to_string());
            }
            self.send(core, Tag::Publish, wire::words(&["PUBLISH", CHANNEL, &hello.to_string()]), care.watch);
        }
    }

    fn ping(&mut self, core: &mut Core, watch: &Watch) {
        let now = core.mono();
        self.link.last_ping = now;
        self.link.waiting_since.get_or_insert(now);
        self.send(core, Tag::Ping, wire::words(&["PING"]), watch);
    }

    fn open(&mut self, core: &mut Core, care: &Care<'_>, events: bool) {
        let now = core.mono();
        let Conn::Idle { at } = *self.conn(events) else { return };
        // A primary is asked for nothing before commands can be sent to it.
        if (events && self.link.commands.up().is_none()) || !core.due(at, Timer::Connect) {
            return;
        }
        match core.names.look_up(&self.addr.host, now) {
            Known::As(ip) => {
                let id = core.new_conn(care.primary, self.id);
                *self.conn(events) = Conn::Opening { id, since: now };
                core.push(Output::Connect { conn: id, to: (ip, self.addr.port).into(), listens: events });
            }
            Known::Ask => core.push(Output::Resolve { host: self.addr.host.clone() }),
            Known::Wait(Some(at)) => _ = core.due(at, Timer::Connect),
            Known::Wait(None) => {}
        }
    }

    fn conn(&mut self, events: bool) -> &mut Conn {
        if events { &mut self.link.events } else { &mut self.link.commands }
    }

    fn give_up_the_silent(&mut self, core: &mut Core, care: &Care<'_>) {
        let now = core.mono();
        let patience = care.watch.down_after / 2;
        for events in [false, true] {
            let silent_at = match (*self.conn(events), events, self.link.waiting_since) {
                (Conn::Opening { since, .. }, ..) => Some(since + OPEN_MAX),
                (Conn::Up { since, .. }, false, Some(waiting)) => {
                    let silent = (waiting + patience).max(self.link.last_reply + patience);
                    Some(silent.max(since + core.periods.min_link))
                }
                (Conn::Up { .. }, true, _) => Some(self.link.last_event + core.periods.publish * 3),
                _ => None,
            };
            if silent_at.is_some_and(|at| core.due(at, Timer::Reconnect)) {
                core.names.doubt(&self.addr.host, now);
                disconnect(self.conn(events), core, now);
                if !events {
                    self.link.pending = 0;
                }
                self.link.last_event = now;
            }
        }
    }

    /// A connection is open: it introduces itself.
    pub(crate) fn on_opened(&mut self, core: &mut Core, conn: ConnId, local: Option<IpAddr>, care: &Care<'_>) {
        let now = core.mono();
        let events = self.link.events.id() == Some(conn);
        *self.conn(events) = Conn::Up { id: conn, since: now };
        let my_id = core.my_id;
        let mut say = |tag, words: &[&str]| {
            core.push(Output::Send { conn, tag, words: renamed(wire::words(words), care.watch) });
        };
        let mut said = 1;
        if let Some(password) = care.credentials.password {
            match care.credentials.user {
                Some(user) => say(Tag::Auth, &["AUTH", user, password]),
                None => say(Tag::Auth, &["AUTH", password]),
            }
            said += 1;
        }
        let kind = if events { "pubsub" } else { "cmd" };
        say(Tag::Quiet, &["CLIENT", "SETNAME", &format!("sentinel-{}-{kind}", &my_id.as_str()[..8])]);
        if events {
            say(Tag::Quiet, &["SUBSCRIBE", CHANNEL]);
            self.link.last_event = now;
            return;
        }
        self.link.local = local;
        self.link.pending = said;
        self.link.was_up = true;
        (self.link.info_asked, self.link.published) = (None, None);
        self.link.tenure = TenureTalk::default();
        self.ping(core, care.watch);
    }

    /// A connection is gone, or could not be opened.
    pub(crate) fn on_lost(&mut self, core: &mut Core, conn: ConnId, why: LostReason, watch: &Watch) -> Lost {
        let now = core.mono();
        let period = watch.ping_period(&core.periods);
        if self.link.events.id() == Some(conn) {
            self.link.events = Conn::Idle { at: now + period };
            return Lost::Events;
        }
        self.link.pending = 0;
        if self.link.commands.up() == Some(conn) {
            self.link.commands = Conn::Idle { at: now };
            return Lost::Commands;
        }
        let is_refused = why == LostReason::Refused;
        let is_evidence = is_refused && self.link.was_up && self.link.refused.is_none();
        if is_evidence {
            self.link.refused = Some(now);
        }
        self.link.was_up = false;
        core.names.doubt(&self.addr.host, now);
        let is_eager = self.link.refused.is_some_and(|since| now.since(since) < EAGER);
        self.link.commands = Conn::Idle { at: now + if is_eager { EAGER_PERIOD } else { period } };
        Lost::Attempt { is_evidence }
    }
}

/// The words as that primary's servers know them.
fn renamed(mut words: Vec<String>, watch: &Watch) -> Vec<String> {
    if let Some(first) = words.first_mut()
        && let Some(name) = watch.renames.get(&first.to_ascii_uppercase())
    {
        first.clone_from(name);
    }
    words
}

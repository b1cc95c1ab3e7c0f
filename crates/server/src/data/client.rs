//! A client as the server knows it: its socket, its buffers and what it has asked for so far.
//!
//! A [`Session`] belongs to one network thread, which touches it while that thread is active in the
//! keyspace's sense. Any other thread may touch it only while it is alone: so CLIENT LIST, CLIENT KILL
//! and the like need no lock, and an ordinary command pays for none.

use std::cell::UnsafeCell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use quorate_acl::User;
use quorate_cluster::TransferId;
use quorate_commands::Spec;
use quorate_keyspace::{Db, SlotSet, Ticket, WatchFlag};
use quorate_replication::{Introduction, LinkId};
use quorate_resp::{Protocol, RequestParser};
use quorate_stdx::{Mono, Offset};

use crate::data::backlog::Backlog;
use crate::data::table::Command;
use crate::data::tracking::Tracking;
use crate::listen::Seat;
use crate::server::Published;
pub use crate::socket::Socket;

/// What a name costs besides its bytes where it is listed, with the server and with the client, bytes.
const NAME_OVERHEAD: usize = 32;

/// What a parser may keep at hand and not be counted, bytes: it is elsewhere while a command of its client runs, and what
/// the client holds is not to change by that.
const UNCOUNTED: usize = 1 << 10;

/// What the allocator takes for a buffer of that many bytes: its sizes are four to each doubling.
fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=128 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2)),
    }
}

/// Names a client for as long as the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// A client, shared by everything that knows of it.
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// The index of the network thread that owns it.
    pub worker: usize,
    /// Set when it is to be closed by whoever notices first.
    pub condemned: AtomicBool,
    /// When it was last heard by the thread that serves those who are set aside, and the command.
    pub aside: Mutex<Option<(Mono, &'static Command)>>,
    /// As which user that thread serves it, unless that may do everything.
    pub limits: Mutex<Option<Arc<User>>>,
    session: UnsafeCell<Session>,
}

// SAFETY: `session` is reached through `Client::session`, whose contract makes the access exclusive.
unsafe impl Sync for Client {}
// SAFETY: everything in a session is Send.
unsafe impl Send for Client {}

impl Client {
    /// A client whose session nobody has touched yet.
    pub fn new(id: ClientId, worker: usize, session: Session) -> Arc<Client> {
        let (condemned, aside, limits) = (AtomicBool::new(false), Mutex::default(), Mutex::default());
        Arc::new(Client { id, worker, condemned, aside, limits, session: UnsafeCell::new(session) })
    }

    /// The session.
    ///
    /// # Safety
    /// The caller is the owning thread and active, or any thread that is alone; and no other reference
    /// to this session is alive.
    #[allow(clippy::mut_from_ref, reason = "ownership by thread, not the borrow, makes the access exclusive")]
    pub unsafe fn session(&self) -> &mut Session {
        // SAFETY: the caller vouches for it.
        unsafe { &mut *self.session.get() }
    }

    /// Lets the owning thread close it at its next look.
    pub fn condemn(&self) {
        self.condemned.store(true, Ordering::Release);
    }
}

/// Where a client's bytes come from and go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Inet {
        /// The client's address.
        remote: SocketAddr,
        /// Ours.
        local: SocketAddr,
    },
    /// Through the Unix socket of this path.
    Unix(String),
}

impl Peer {
    /// Whether the client is on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Peer::Inet { remote, .. } => remote.ip().to_canonical().is_loopback(),
            Peer::Unix(_) => true,
        }
    }
}

impl Peer {
    /// The client's address, as CLIENT LIST shows it.
    pub fn remote(&self) -> String {
        match self {
            Peer::Inet { remote, .. } => remote.to_string(),
            Peer::Unix(path) => format!("{path}:0"),
        }
    }

    /// Our address.
    pub fn local(&self) -> String {
        match self {
            Peer::Inet { local, .. } => local.to_string(),
            Peer::Unix(path) => format!("{path}:0"),
        }
    }
}

/// What a client is to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary one.
    Normal,
    /// A replica of ours.
    Replica,
    /// Our primary.
    Primary,
    /// One that gets every command (MONITOR).
    Monitor,
    /// Another node of the cluster, which sends what slots hold that are to be ours.
    Importer,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// When what is queued for it has been sent.
    AfterReplies,
    /// At once.
    Now,
}

/// Whether replies are sent (`CLIENT REPLY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMode {
    /// Yes.
    On,
    /// No.
    Off,
    /// Not the next one.
    Skip,
}

/// A queued command of a transaction.
pub struct Queued {
    /// The command.
    pub command: &'static Command,
    /// Its arguments, name first.
    pub words: Vec<Vec<u8>>,
}

/// MULTI up to EXEC or DISCARD.
#[derive(Default)]
pub struct Transaction {
    /// What was queued.
    pub queue: Vec<Queued>,
    /// Whether a command could not be queued: EXEC refuses.
    pub broken: bool,
    /// Bytes of the arguments and of the queue.
    pub bytes: usize,
}

/// Keys that a client watches.
#[derive(Default)]
pub struct Watch {
    /// Raised by whoever changes one of them.
    pub flag: WatchFlag,
    /// The keys, each with its database and whether it was expired already when the watch began.
    pub keys: Vec<(Db, Box<[u8]>, bool)>,
    /// Bytes of their names.
    pub bytes: usize,
}

/// A client that waits for something.
pub enum Blocked {
    /// For a key.
    OnKeys {
        /// Its place in the queues.
        ticket: Ticket,
        /// When it gives up.
        until: Option<i64>,
        /// The slots whose queues it stands in.
        slots: SlotSet,
        /// The keys.
        keys: Vec<(Db, Box<[u8]>)>,
    },
    /// For replicas (WAIT, WAITAOF), or for an answer of another thread.
    OnAnswer {
        /// When it gives up.
        until: Option<i64>,
    },
    /// For CLIENT PAUSE or FAILOVER to end, or with our primary's stream for a busy script; the request is parsed again then.
    OnPause,
    /// For the disk to have what its replies tell of (`appendfsync always`).
    OnDisk,
}

/// What a connection to our primary needs besides what every client has.
pub struct Upstream {
    /// The link's number.
    pub link: LinkId,
    /// What has come of a transaction that is not complete: it belongs into the log as a whole, because a
    /// link that breaks is taken up at the log's end.
    pub held: Vec<u8>,
    /// Where SELECTs begin in that.
    pub selects: Vec<usize>,
    /// When the machine was last told that the primary lives.
    pub noted_at: Mono,
    /// What has come and was not applied.
    pub backlog: Backlog,
    /// Nothing more comes.
    pub ended: bool,
}

/// The state of one connection.
pub struct Session {
    /// Its socket.
    pub socket: Socket,
    /// Its addresses.
    pub peer: Peer,
    /// Its place among `maxclients`.
    pub seat: Option<Seat>,
    /// When it connected.
    pub since: Mono,
    /// When it was last heard.
    pub active_at: Mono,
    /// Bytes that are not a whole request yet.
    pub input: Vec<u8>,
    /// Whether more bytes, none of which was run, are with the owning thread.
    pub arrived: bool,
    /// Finds requests in `input`.
    pub parser: RequestParser,
    /// Replies that have not been sent.
    pub out: Vec<u8>,
    /// How much of `out` has been sent.
    pub sent: usize,
    /// Whether the owning thread has it on its list of those to write to.
    pub queued_for_write: bool,
    /// Whether the socket took less than it was given.
    pub write_blocked: bool,
    /// Since when the output is above the soft limit.
    pub over_soft_limit: Option<Mono>,
    /// Replies are held back until the disk has the log up to this mark (`persist::aof`).
    pub held_until: Option<u64>,
    /// The other end has closed its side while replies were held back: there may be requests that were not run.
    pub ended_while_held: bool,
    /// How the connection ends, once that is decided.
    pub closing: Option<Closing>,
    /// The protocol's version.
    pub protocol: Protocol,
    /// The selected database.
    pub db: Db,
    /// Whether it may do more than authenticate itself.
    pub authenticated: bool,
    /// Whose it is; nobody's, who may do everything, for what the server itself has begun.
    pub user: Option<Arc<User>>,
    /// It may do everything: nothing has to be asked of its user.
    pub unrestricted: bool,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_version: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// It has named itself as a Sentinel does; see `control/observers.rs`.
    pub observes: bool,
    /// It is set aside, and served by another thread.
    pub aside: bool,
    /// CLIENT REPLY.
    pub replies: ReplyMode,
    /// MULTI.
    pub transaction: Option<Box<Transaction>>,
    /// WATCH.
    pub watch: Option<Box<Watch>>,
    /// What it waits for.
    pub blocked: Option<Blocked>,
    /// CLIENT TRACKING.
    pub tracking: Option<Box<Tracking>>,
    /// Bytes by which the buffer of replies has grown for what copies are stale, until it has been sent.
    pub stale_bytes: usize,
    /// SUBSCRIBE.
    pub channels: HashSet<Box<[u8]>>,
    /// PSUBSCRIBE.
    pub patterns: HashSet<Box<[u8]>>,
    /// SSUBSCRIBE.
    pub shard_channels: HashSet<Box<[u8]>>,
    /// Bytes of the names in these three.
    pub subscribed_bytes: usize,
    /// What REPLCONF told.
    pub introduction: Option<Box<Introduction>>,
    /// What belongs to a connection of kind [`Kind::Primary`].
    pub upstream: Option<Box<Upstream>>,
    /// The offset behind the last write; WAIT waits for it.
    pub written: Offset,
    /// The last command.
    pub last_command: Option<&'static Command>,
    /// CLIENT NO-EVICT.
    pub no_evict: bool,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// READONLY of a cluster.
    pub readonly: bool,
    /// ASKING of a cluster, for the next request.
    pub asking: bool,
    /// Which migration a connection of kind [`Kind::Importer`] serves.
    pub import: Option<TransferId>,
    /// CLIENT CAPA redirect.
    pub redirect: bool,
    /// What it holds, bytes, as far as it is part of its thread's sum.
    pub weight: usize,
    /// Bytes read in all.
    pub bytes_in: u64,
    /// Bytes written in all.
    pub bytes_out: u64,
    /// The number of commands in all.
    pub commands: u64,
}

impl Session {
    /// A fresh connection's state.
    pub fn new(socket: Socket, peer: Peer, now: Mono) -> Session {
        Session {
            socket,
            peer,
            seat: None,
            since: now,
            active_at: now,
            input: Vec::new(),
            arrived: false,
            parser: RequestParser::default(),
            out: Vec::new(),
            sent: 0,
            queued_for_write: false,
            write_blocked: false,
            over_soft_limit: None,
            held_until: None,
            ended_while_held: false,
            closing: None,
            protocol: Protocol::Resp2,
            db: Db(0),
            authenticated: false,
            user: None,
            unrestricted: false,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_version: Vec::new(),
            kind: Kind::Normal,
            observes: false,
            aside: false,
            replies: ReplyMode::On,
            transaction: None,
            watch: None,
            blocked: None,
            tracking: None,
            stale_bytes: 0,
            channels: HashSet::new(),
            patterns: HashSet::new(),
            shard_channels: HashSet::new(),
            subscribed_bytes: 0,
            introduction: None,
            upstream: None,
            written: Offset(0),
            last_command: None,
            no_evict: false,
            no_touch: false,
            readonly: false,
            asking: false,
            import: None,
            redirect: false,
            weight: 0,
            bytes_in: 0,
            bytes_out: 0,
            commands: 0,
        }
    }

    /// It gets this text, if there is one, and is closed.
    pub fn refuse(&mut self, text: Option<&str>) {
        if let Some(text) = text {
            self.out.extend_from_slice(text.as_bytes());
            self.closing = Some(Closing::AfterReplies);
        }
    }

    /// A connection that has not said yet whose it is.
    pub fn greet(&mut self, published: &Published) {
        self.authenticated = !published.needs_auth;
        self.user = Some(Arc::clone(published.users.default_user()));
        self.judge(published.needs_auth);
    }

    /// It is this user's from now on.
    pub fn let_in(&mut self, user: &Arc<User>, published: &Published) {
        self.authenticated = true;
        self.user = Some(Arc::clone(user));
        self.judge(published.needs_auth);
    }

    /// A connection of the server itself.
    pub fn trust(&mut self) {
        (self.authenticated, self.unrestricted, self.user) = (true, true, None);
    }

    /// Finds out again whether there is anything to ask of its user.
    pub fn judge(&mut self, needs_auth: bool) {
        let may_begin = self.authenticated || !needs_auth;
        self.unrestricted = may_begin && self.user.as_ref().is_none_or(|user| user.is_unrestricted());
    }

    /// The user's name, as CLIENT LIST shows it.
    pub fn user_name(&self) -> &[u8] {
        self.user.as_ref().map_or(b"(superuser)", |user| user.name())
    }

    /// Whether it subscribes to anything.
    #[inline]
    pub fn is_subscriber(&self) -> bool {
        !(self.channels.is_empty() && self.patterns.is_empty() && self.shard_channels.is_empty())
    }

    /// What it holds, bytes (`tot-mem`).
    pub fn heap_bytes(&self) -> usize {
        let entry = size_of::<Box<[u8]>>() + NAME_OVERHEAD;
        let names = self.channels.len() + self.patterns.len() + self.shard_channels.len();
        let watched = self.watch.as_ref().map_or(0, |watch| watch.bytes + watch.keys.len() * (entry + size_of::<Db>()));
        size_of::<Session>()
            + allocated(self.input.capacity())
            + self.upstream.as_ref().map_or(0, |upstream| upstream.backlog.heap_bytes())
            + allocated(self.parser.heap_bytes().saturating_sub(UNCOUNTED))
            + allocated(self.out.capacity())
            + self.transaction.as_ref().map_or(0, |transaction| transaction.bytes)
            + watched
            + self.tracking.as_ref().map_or(0, |tracking| tracking.heap_bytes())
            + self.subscribed_bytes
            + names * entry
    }

    /// Whether requests may be looked for without the parser: it is not in the midst of one, and what the client may
    /// send is not limited beyond the ordinary.
    #[inline]
    pub fn may_be_foreseen(&self) -> bool {
        self.authenticated && !self.parser.is_midway()
    }

    /// Whether nothing is known of it that a plain command would have to mind: see `worker/plain.rs`.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.kind == Kind::Normal
            && self.unrestricted
            && self.transaction.is_none()
            && self.tracking.is_none()
            && self.replies == ReplyMode::On
            && !self.is_subscriber()
    }

    /// Bytes waiting to be sent.
    pub fn pending(&self) -> usize {
        self.out.len() - self.sent
    }

    /// The specification of the last command, for CLIENT LIST.
    pub fn last_spec(&self) -> Option<&'static Spec> {
        self.last_command.map(|command| command.spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_take_what_the_allocator_gives() {
        let sizes = [0, 1, 16, 17, 128, 129, 160, 161, 3189, 4096, 4097, 1 << 20, (1 << 20) + 1];
        let taken = [0, 16, 16, 32, 128, 160, 160, 192, 3584, 4096, 5120, 1 << 20, 5 << 18];
        assert_eq!(sizes.map(allocated), taken);
    }
}

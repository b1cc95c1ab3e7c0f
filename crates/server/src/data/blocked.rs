//! Clients that wait for keys: they stand in their keys' queues and are served in order of arrival by
//! whoever makes a key ready.
//!
//! A blocked request is simply run again, on behalf of its client, under the locks of the command that
//! made a key ready. If it needs slots which that command doesn't hold (its keys lie in several), it is
//! run right after, under its own locks: another client may then have been quicker, and it waits on.
//! A key that has become another thing than what a request waits for, or nothing, wakes nobody.
//!
//! Whether a request is served, times out or is given up is decided once, by `Waiter::claim`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use quorate_acl::{Denied, Reason, User};
use quorate_commands::{Args, Block, CommandError, Flags, Group, Origin, TimeoutReply};
use quorate_keyspace::{Alone, Db, Holder, KeyView, Scope, SlotSet, Ticket};
use quorate_resp::{Protocol, ReplyWriter};
use quorate_values::ValueRef;

use crate::admin::slowlog;
use crate::data::call::{Access, End, Job, Local, log_effects, log_notices, run_data};
use crate::data::client::{Blocked, Client, ClientId, Session};
use crate::data::guard;
use crate::data::table::{Command, Runner};
use crate::data::ticks::nanos;
use crate::data::worker::Mail;
use crate::server::Server;

/// A blocked request.
pub struct Waiter {
    /// Its place in the queues.
    pub ticket: Ticket,
    /// Whose it is.
    pub client: ClientId,
    /// The network thread of the client.
    pub worker: usize,
    db: Db,
    protocol: Protocol,
    command: &'static Command,
    words: Vec<Vec<u8>>,
    slots: SlotSet,
    /// Its client speaks TLS.
    is_encrypted: bool,
    /// What the client gets if nothing comes.
    on_timeout: TimeoutReply,
    /// Whether it answers with an error when a key is lost.
    wakes_on_loss: bool,
    over: AtomicBool,
    /// The client's address and name, for the list of slow commands.
    whose: (String, Vec<u8>),
    /// It may hold copies of what it reads.
    holder: Option<Holder>,
    /// As whom it is run again; nobody for somebody who may do everything.
    user: Mutex<Option<Arc<User>>>,
}

impl Waiter {
    /// Takes the right to answer; only the first who asks gets it.
    pub fn claim(&self) -> bool {
        !self.over.swap(true, Ordering::AcqRel)
    }

    /// What the client gets that has waited in vain.
    pub fn vain_reply(&self) -> Vec<u8> {
        let mut reply = Vec::new();
        let mut writer = ReplyWriter::new(&mut reply, self.protocol);
        match self.on_timeout {
            TimeoutReply::Null => writer.null(),
            TimeoutReply::NullArray => writer.null_array(),
        }
        reply
    }

    /// Whether `key` holds what the request waits for.
    fn is_served_by(&self, view: &KeyView<'_>, key: &[u8]) -> bool {
        let value = view.peek(self.db, key).map(|entry| entry.value());
        self.wakes_on_loss
            || matches!(
                (self.command.spec.group, value),
                (Group::List, Some(ValueRef::List(_)))
                    | (Group::SortedSet, Some(ValueRef::ZSet(_)))
                    | (Group::Stream, Some(ValueRef::Stream(_)))
            )
    }
}

/// A request that could not be served with the slots at hand, and the key that may serve it.
pub struct Late {
    ticket: Ticket,
    key: Box<[u8]>,
}

/// All blocked requests.
#[derive(Default)]
pub struct Waiters {
    next: AtomicU64,
    all: Mutex<HashMap<Ticket, Arc<Waiter>>>,
    /// How many of them answer with an error when a key is lost.
    minding_loss: AtomicUsize,
}

impl Waiters {
    /// The request with that ticket, if it still waits.
    pub fn get(&self, ticket: Ticket) -> Option<Arc<Waiter>> {
        self.all.lock().get(&ticket).cloned()
    }

    /// Forgets a request that is over.
    pub fn remove(&self, ticket: Ticket) {
        let removed = self.all.lock().remove(&ticket);
        if removed.is_some_and(|waiter| waiter.wakes_on_loss) {
            self.minding_loss.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether anybody answers with an error when a key is lost.
    pub fn anybody_minds_loss(&self) -> bool {
        self.minding_loss.load(Ordering::Relaxed) > 0
    }

    /// What `client` waits for is run again as this user.
    pub fn set_user(&self, client: ClientId, user: Option<&Arc<User>>) {
        for waiter in self.all.lock().values().filter(|waiter| waiter.client == client) {
            *waiter.user.lock() = user.cloned();
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.all.lock().len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the waiting of `client` before its time (CLIENT UNBLOCK): as if its time were over, or with `error`,
    /// which is a whole reply. Whether it waited for keys.
    pub fn unblock(&self, server: &Server, client: ClientId, error: Option<&[u8]>) -> bool {
        loop {
            let waiter = self.all.lock().values().find(|waiter| waiter.client == client).map(Arc::clone);
            let Some(waiter) = waiter else { return false };
            if waiter.claim() {
                self.remove(waiter.ticket);
                let reply = error.map_or_else(|| waiter.vain_reply(), <[u8]>::to_vec);
                server.mail(waiter.worker, Mail::Served { client, ticket: waiter.ticket, reply });
                return true;
            }
            // Another thread is about to serve it, or to find that it can't: it waits for nothing that we hold.
            std::thread::yield_now();
        }
    }
}

/// Lets a client wait for the keys of `block`, under the locks that found them of no use.
#[cold]
pub fn begin(
    server: &Server,
    client: &Client,
    session: &mut Session,
    command: &'static Command,
    args: Args<'_>,
    block: &Block,
    view: &mut KeyView<'_>,
) {
    let ticket = Ticket(server.waiters.next.fetch_add(1, Ordering::Relaxed));
    let slots = SlotSet::of_keys(command.spec.keys_of(args));
    let waiter = Arc::new(Waiter {
        ticket,
        client: client.id,
        worker: client.worker,
        db: session.db,
        protocol: session.protocol,
        command,
        words: block.again.clone().unwrap_or_else(|| args.words().iter().map(|word| word.to_vec()).collect()),
        slots,
        is_encrypted: session.socket.is_encrypted(),
        on_timeout: block.reply,
        wakes_on_loss: block.wakes_on_loss,
        over: AtomicBool::new(false),
        whose: (session.peer.remote(), session.name.clone()),
        holder: session
            .tracking
            .as_ref()
            .filter(|tracking| tracking.remembers())
            .map(|_| Holder { client: client.id.0, thread: client.worker }),
        user: Mutex::new(session.user.clone()),
    });
    server.waiters.all.lock().insert(ticket, waiter);
    if block.wakes_on_loss {
        server.waiters.minding_loss.fetch_add(1, Ordering::Relaxed);
    }
    for key in &block.keys {
        view.wait(session.db, key, ticket);
    }
    session.blocked = Some(Blocked::OnKeys {
        ticket,
        until: block.until.map(|at| at.0),
        slots: SlotSet::of_keys(block.keys.iter().map(|key| &**key)),
        keys: block.keys.iter().map(|key| (session.db, key.clone())).collect(),
    });
}

/// Serves who waits for the keys that the command under way has made ready. What could not be served
/// with the slots at hand is returned, for [`serve_later`].
#[inline]
pub fn serve(server: &Arc<Server>, local: &mut Local, view: &mut KeyView<'_>) -> Vec<Late> {
    let ready = view.take_ready();
    if ready.is_empty() { Vec::new() } else { serve_ready(server, local, view, ready) }
}

#[cold]
fn serve_ready(
    server: &Arc<Server>,
    local: &mut Local,
    view: &mut KeyView<'_>,
    mut ready: smallvec::SmallVec<[(Db, Box<[u8]>); 1]>,
) -> Vec<Late> {
    let mut later = Vec::new();
    // To serve one may make another key ready (BLMOVE), so this goes on until nothing is.
    while !ready.is_empty() {
        for (db, key) in std::mem::take(&mut ready) {
            // A key whose time came while it was made ready goes now, and not when somebody looks at it.
            view.settle(db, &key);
            if view.has_notices() {
                log_notices(server, view, local);
            }
            for ticket in view.waiters(db, &key) {
                // Nothing is left for those behind, however many they are; but some may have to be told.
                if view.peek(db, &key).is_none() && !server.waiters.anybody_minds_loss() {
                    break;
                }
                let Some(waiter) = server.waiters.get(ticket) else {
                    view.forget(&key, ticket);
                    continue;
                };
                if view.covers(&waiter.slots) {
                    try_serve(server, local, view, &waiter, &key);
                } else {
                    later.push(Late { ticket, key: key.clone() });
                }
            }
        }
        ready = view.take_ready();
    }
    later
}

/// Serves who waits for the keys that were noted while a transaction, a script or SWAPDB was under way,
/// now that it is in the log.
#[cold]
pub fn serve_noted(server: &Arc<Server>, local: &mut Local, alone: &mut Alone<'_>, scope: &Scope) {
    // Time stood still for the whole, however long it took; who waits gets nothing that has expired since.
    let scope = Scope { now: server.now().unix, rng: scope.rng.clone(), acting: scope.acting.clone(), ..*scope };
    let mut view = alone.view(&scope);
    for (db, key) in std::mem::take(&mut local.ready) {
        view.signal(db, &key);
    }
    let later = serve(server, local, &mut view);
    debug_assert!(later.is_empty(), "a view of everything covers every waiter's slots");
    local.effects.clear();
}

/// Serves requests whose keys lie in other slots than those that were held.
#[cold]
pub fn serve_later(
    server: &Arc<Server>,
    local: &mut Local,
    mut access: Access<'_, '_>,
    scope: &Scope,
    later: Vec<Late>,
) {
    let mut queue: std::collections::VecDeque<Late> = later.into();
    while let Some(Late { ticket, key }) = queue.pop_front() {
        let Some(waiter) = server.waiters.get(ticket) else { continue };
        let mut view = access.view(waiter.slots.clone(), scope);
        try_serve(server, local, &mut view, &waiter, &key);
        queue.extend(serve(server, local, &mut view));
    }
}

/// What a blocked client gets when the server's role changes.
pub const UNBLOCKED: &[u8] =
    b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";

/// The role has changed: nobody waits any longer.
pub fn release_all(server: &Server) {
    let waiters: Vec<_> = server.waiters.all.lock().values().cloned().collect();
    for waiter in waiters {
        if waiter.claim() {
            let (client, ticket) = (waiter.client, waiter.ticket);
            server.mail(waiter.worker, Mail::Served { client, ticket, reply: UNBLOCKED.to_vec() });
        }
    }
}

/// Slots have changed hands: who waits for keys that are elsewhere now is told so, as
/// `elsewhere` words it for somebody who speaks TLS or does not.
pub fn redirect(server: &Server, elsewhere: impl Fn(&SlotSet, bool) -> Option<CommandError>) {
    let waiters: Vec<_> = server.waiters.all.lock().values().cloned().collect();
    for waiter in waiters {
        let Some(error) = elsewhere(&waiter.slots, waiter.is_encrypted) else { continue };
        if waiter.claim() {
            let mut reply = Vec::new();
            ReplyWriter::new(&mut reply, waiter.protocol).error(&error.wire());
            let (client, ticket) = (waiter.client, waiter.ticket);
            server.mail(waiter.worker, Mail::Served { client, ticket, reply });
        }
    }
}

/// The user of a client that waits may not do any more what it waits for.
#[cold]
fn turn_away(server: &Server, local: &Local, waiter: &Waiter, user: &Arc<User>, denied: Denied) {
    let (reason, object) = match denied {
        Denied::Command => (Reason::Command, waiter.command.full_name.as_bytes()),
        Denied::Key(index) => (Reason::Key, &*waiter.words[index]),
        Denied::Channel(index) => (Reason::Channel, &*waiter.words[index]),
    };
    // The thread of the client notes it, which knows the client.
    let (client, object, of) = (waiter.client, object.into(), Arc::clone(user));
    server.mail(waiter.worker, Mail::Denied { client, reason, object, user: of });
    let sentence = guard::sentence(denied, user.name(), &waiter.command.full_name, None);
    let (text, mut reply) = ([b"NOPERM ", &*sentence].concat(), Vec::new());
    local.stats.error(&text);
    local.stats.failed_at_last(waiter.command);
    ReplyWriter::new(&mut reply, waiter.protocol).error(&text);
    server.waiters.remove(waiter.ticket);
    server.mail(waiter.worker, Mail::Served { client: waiter.client, ticket: waiter.ticket, reply });
}

/// Runs a blocked request again because of `key`; if it is served, its client hears of it.
fn try_serve(server: &Arc<Server>, local: &mut Local, view: &mut KeyView<'_>, waiter: &Arc<Waiter>, key: &[u8]) {
    let Runner::Data(run) = waiter.command.runner else { unreachable!("only data commands wait for keys") };
    if !waiter.is_served_by(view, key) || !waiter.claim() {
        return;
    }
    let words: Vec<&[u8]> = waiter.words.iter().map(Vec::as_slice).collect();
    let args = Args::new(&words);
    let user = waiter.user.lock().clone();
    if let Some(user) = user
        && let Err(denied) = guard::check(&user, waiter.command, args)
    {
        return turn_away(server, local, waiter, &user, denied);
    }
    let job =
        Job { spec: waiter.command.spec, run, args, db: waiter.db, protocol: waiter.protocol, origin: Origin::Client };
    let (mut reply, began) = (Vec::new(), Instant::now());
    // What is done for it is not done by who has served it.
    let acting = view.scope().acting.replace(0);
    let end = run_data(view, local, &job, &mut reply);
    view.scope().acting.set(acting);
    if let Some(holder) = waiter.holder.filter(|_| waiter.command.spec.flags.has(Flags::READONLY)) {
        waiter.command.spec.keys_of(args).for_each(|key| view.remember(key, holder));
    }
    // One that waits on may have changed something all the same (a group's consumer).
    log_effects(server, view, local, waiter.db, args, None);
    if let End::Blocks(_) = end {
        // Not this time: it keeps its place.
        waiter.over.store(false, Ordering::Release);
        return;
    }
    slowlog::note_served(server, local, (waiter.command, args), nanos(began.elapsed()), &waiter.whose);
    if let End::Failed = end {
        local.stats.failed_at_last(waiter.command);
    }
    server.waiters.remove(waiter.ticket);
    server.mail(waiter.worker, Mail::Served { client: waiter.client, ticket: waiter.ticket, reply });
}

//! Client-side caching: clients are told when copies that they hold have become stale.
//!
//! Which keys a client has read is noted where the keys are (`keyspace/tracking.rs`), under the same lock under which they
//! are read; so is what becomes stale. Here it is passed on: at the end of each network thread's turn, before any reply of
//! that turn is sent, and by the upkeep thread. The thread that serves a client gets it as mail. So a client hears of a
//! change behind the reply that gave it the copy, because that was in its buffer before the change could be made, and no
//! later than whoever made the change hears that it is made.
//!
//! Who wants to hear of every change (BCAST) is told once a turn, by prefix.
//!
//! What clients have not been sent yet of this does not count for `maxmemory`: to evict keys makes more of it.
//!
//! A client that goes leaves behind what was noted of it, as in Redis: that is found to be of no use when a key changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use quorate_commands::{Args, Flags, Group};
use quorate_keyspace::{Holder, KeyView, Member, Scope, SlotSet, Stale};
use quorate_resp::{Protocol, ReplyWriter};

use crate::data::client::{Client, ClientId, Session};
use crate::data::table::Command;
use crate::data::worker::Mail;
use crate::server::Server;

/// Where a client that speaks RESP2 hears of what is stale, if another tracks keys on its behalf.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Keys that are forgotten between two looks at whether that is enough.
const MOST_FORGOTTEN: usize = 100;

/// What a client is told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Keys that it has read.
    Read,
    /// Keys that it has read just after CLIENT CACHING yes.
    OptIn,
    /// Keys that it has read, but not just after CLIENT CACHING no.
    OptOut,
    /// All keys that begin in a certain way.
    Broadcast,
}

/// CLIENT TRACKING of one connection.
#[derive(Debug)]
pub struct Tracking {
    /// What it is told about.
    pub mode: Mode,
    /// Who is told in its place.
    pub redirect: Option<ClientId>,
    /// Whoever was to be told in its place is gone.
    pub broken: bool,
    /// It does not want to hear of its own changes.
    pub noloop: bool,
    /// CLIENT CACHING has been said, and holds for the next command.
    pub caching: bool,
    /// How keys begin of which it wants to hear, in order.
    pub prefixes: Vec<Box<[u8]>>,
}

impl Tracking {
    /// Whether the keys that the client reads now are noted.
    pub fn remembers(&self) -> bool {
        match self.mode {
            Mode::Read => true,
            Mode::OptIn => self.caching,
            Mode::OptOut => !self.caching,
            Mode::Broadcast => false,
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Tracking>() + self.prefixes.iter().map(|prefix| size_of_val(prefix) + prefix.len()).sum::<usize>()
    }
}

type Threads = BTreeMap<ClientId, usize>;

/// All clients that track keys, each with its network thread.
#[derive(Default)]
pub struct Trackers {
    clients: Mutex<Threads>,
    prefixes: RwLock<BTreeMap<Box<[u8]>, Threads>>,
    /// Bytes in the clients' buffers of replies.
    unsent: AtomicUsize,
}

impl Trackers {
    /// How many clients track keys.
    pub fn len(&self) -> usize {
        self.clients.lock().len()
    }

    /// Whether nobody does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait to be sent to clients.
    #[inline]
    pub fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Relaxed)
    }

    /// A client's buffer has been sent, or is gone.
    #[cold]
    pub fn sent(&self, session: &mut Session) {
        self.unsent.fetch_sub(std::mem::take(&mut session.stale_bytes), Ordering::Relaxed);
    }

    /// How many prefixes there are of which anybody wants to hear.
    pub fn prefixes(&self) -> usize {
        self.prefixes.read().len()
    }

    /// A client tracks keys from now on.
    pub fn begin(&self, client: &Client, tracking: &Tracking) {
        self.clients.lock().insert(client.id, client.worker);
        let mut known = self.prefixes.write();
        for prefix in &tracking.prefixes {
            known.entry(prefix.clone()).or_default().insert(client.id, client.worker);
        }
    }

    /// A client tracks none any more.
    pub fn end(&self, client: ClientId, tracking: &Tracking) {
        self.clients.lock().remove(&client);
        let mut known = self.prefixes.write();
        for prefix in &tracking.prefixes {
            if let Some(threads) = known.get_mut(prefix) {
                threads.remove(&client);
                if threads.is_empty() {
                    known.remove(prefix);
                }
            }
        }
    }
}

/// Keys of which copies are stale, with the client that changed each, if one did and that is known; or all keys.
pub enum Note {
    /// One key that the client has read.
    Read(Box<[u8]>, u64),
    /// Keys of which it wants to hear anyhow.
    Changed(Vec<(Box<[u8]>, u64)>),
    /// All.
    All,
}

impl Note {
    /// What of it a client wants to hear; `None` is all keys.
    fn of_interest(&self, client: ClientId, tracking: &Tracking) -> Option<Vec<&[u8]>> {
        let minds = |by: u64| !(tracking.noloop && by == client.0);
        match self {
            // It may have been noted when it had not yet said that it wants to hear of all.
            Note::Read(..) if tracking.mode == Mode::Broadcast => Some(Vec::new()),
            Note::Read(key, by) => Some(if minds(*by) { vec![key] } else { Vec::new() }),
            Note::Changed(_) if tracking.mode != Mode::Broadcast => Some(Vec::new()),
            Note::Changed(keys) => Some(keys.iter().filter(|(_, by)| minds(*by)).map(|(key, _)| &**key).collect()),
            Note::All => None,
        }
    }
}

/// Writes that copies of `keys` are stale, or all; nothing to a client that can't be told.
fn write(server: &Server, session: &mut Session, is_redirected: bool, keys: Option<&[&[u8]]>) {
    let before = session.out.capacity();
    let about = (session.protocol, session.is_subscriber());
    write_to(&mut session.out, about, is_redirected, keys);
    let grown = session.out.capacity() - before;
    session.stale_bytes += grown;
    server.trackers.unsent.fetch_add(grown, Ordering::Relaxed);
}

fn write_to(out: &mut Vec<u8>, (protocol, subscribes): (Protocol, bool), is_redirected: bool, keys: Option<&[&[u8]]>) {
    let mut reply = ReplyWriter::new(out, protocol);
    match protocol {
        Protocol::Resp3 => {
            reply.push(2);
            reply.bulk(b"invalidate");
        }
        Protocol::Resp2 if is_redirected && subscribes => {
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(CHANNEL);
        }
        Protocol::Resp2 => return,
    }
    match keys {
        None => reply.null(),
        Some(keys) => {
            reply.array(keys.len());
            keys.iter().for_each(|key| reply.bulk(key));
        }
    }
}

/// Tells a client of this thread what is stale, or has whoever told that is to hear it in its place.
pub fn tell(server: &Server, client: &Client, session: &mut Session, note: &Note) {
    let protocol = session.protocol;
    let Some(tracking) = &mut session.tracking else { return };
    let keys = note.of_interest(client.id, tracking);
    if keys.as_ref().is_some_and(Vec::is_empty) {
        return;
    }
    let Some(target) = tracking.redirect else {
        return write(server, session, false, keys.as_deref());
    };
    let target = server.clients.lock().get(&target).cloned();
    match target {
        Some(target) => {
            let keys = keys.map(|keys| keys.into_iter().map(Box::from).collect());
            server.mail(target.worker, Mail::Redirected { client: target.id, keys });
        }
        None => {
            tracking.broken = true;
            if protocol == Protocol::Resp3 {
                let id = tracking.redirect.map_or(0, |id| id.0);
                let mut reply = ReplyWriter::new(&mut session.out, protocol);
                reply.push(2);
                reply.bulk(b"tracking-redir-broken");
                reply.int(id as i64);
            }
        }
    }
}

/// Tells a client of what concerns another, which has asked for that.
pub fn tell_redirected(server: &Server, session: &mut Session, keys: Option<&[Box<[u8]>]>) {
    let keys: Option<Vec<&[u8]>> = keys.map(|keys| keys.iter().map(|key| &**key).collect());
    write(server, session, true, keys.as_deref());
}

/// Passes on what has become stale.
#[inline]
pub fn pass_on(server: &Server) {
    pass_on_by(server, &mut |thread, client, note| server.mail(thread, Mail::Stale { client, note }));
}

/// As [`pass_on`], by a way of the caller's; it is given a client's thread, the client, and what to tell it.
#[inline]
pub fn pass_on_by(server: &Server, way: &mut dyn FnMut(usize, ClientId, Arc<Note>)) {
    let tracking = server.space.tracking();
    if tracking.has_stale() {
        tracking.pass_on(|stale| send(server, stale, way));
    }
}

#[cold]
fn send(server: &Server, stale: Vec<Stale>, way: &mut dyn FnMut(usize, ClientId, Arc<Note>)) {
    let mut changed = BTreeMap::new();
    for stale in stale {
        match stale {
            Stale::Key { key, holders, by, changed: is_change } => {
                if !holders.is_empty() {
                    let note = Arc::new(Note::Read(key.clone(), by));
                    for Holder { client, thread } in holders {
                        way(thread, ClientId(client), Arc::clone(&note));
                    }
                }
                if is_change {
                    // Changed by two it is nobody's own change.
                    changed.entry(key).and_modify(|known| *known = if *known == by { by } else { 0 }).or_insert(by);
                }
            }
            Stale::All => {
                broadcast(server, std::mem::take(&mut changed), way);
                let note = Arc::new(Note::All);
                for (&client, &thread) in &*server.trackers.clients.lock() {
                    way(thread, client, Arc::clone(&note));
                }
            }
        }
    }
    broadcast(server, changed, way);
}

/// Tells those who want to hear of keys that begin in a certain way.
fn broadcast(server: &Server, changed: BTreeMap<Box<[u8]>, u64>, way: &mut dyn FnMut(usize, ClientId, Arc<Note>)) {
    if changed.is_empty() {
        return;
    }
    for (prefix, threads) in &*server.trackers.prefixes.read() {
        let matching = changed.iter().filter(|(key, _)| key.starts_with(prefix));
        let keys: Vec<_> = matching.map(|(key, by)| (key.clone(), *by)).collect();
        if keys.is_empty() {
            continue;
        }
        let note = Arc::new(Note::Changed(keys));
        for (&client, &thread) in threads {
            way(thread, client, Arc::clone(&note));
        }
    }
}

/// Notes that a client has read the keys of a command, under the locks under which it did.
#[cold]
pub fn remember(view: &mut KeyView<'_>, client: &Client, session: &Session, command: &Command, args: Args<'_>) {
    let is_script = command.spec.group == Group::Scripting;
    if command.spec.flags.has(Flags::READONLY) && !is_script {
        remember_keys(view, client, session, command, args);
    }
}

/// Notes that a client may have read the keys of a command.
#[cold]
pub fn remember_keys(view: &mut KeyView<'_>, client: &Client, session: &Session, command: &Command, args: Args<'_>) {
    if !session.tracking.as_ref().is_some_and(|tracking| tracking.remembers()) {
        return;
    }
    let holder = Holder { client: client.id.0, thread: client.worker };
    for key in command.spec.keys_of(args) {
        view.remember(key, holder);
    }
}

/// Whether more keys are noted than `tracking-table-max-keys` allows.
pub fn are_too_many(server: &Server, most: usize) -> bool {
    most > 0 && server.space.tracking().keys() > most
}

/// Forgets keys, chosen at random, until there are no more than may be, or as many as can be forgotten in one go; `view`
/// gives a view of a slot.
fn forget(server: &Server, scope: &Scope, most: usize, mut visit: impl FnMut(quorate_keyspace::Slot) -> bool) {
    let tracking = server.space.tracking();
    for _ in 0..MOST_FORGOTTEN {
        if !are_too_many(server, most) {
            return;
        }
        let from = scope.rng.borrow_mut().below(quorate_keyspace::SLOTS as u64) as usize;
        let Some(slot) = tracking.next_slot(from).or_else(|| tracking.next_slot(0)) else { return };
        visit(slot);
    }
}

/// Keeps to `tracking-table-max-keys`.
pub fn limit(server: &Server, member: &mut Member, scope: &Scope, most: usize) {
    if are_too_many(server, most) {
        forget(server, scope, most, |slot| member.view(SlotSet::One(slot), scope).forget_some(slot));
    }
}

/// As [`limit`], of a thread that is alone, and to the end.
pub fn limit_alone(server: &Server, alone: &mut quorate_keyspace::Alone<'_>, scope: &Scope, most: usize) {
    while are_too_many(server, most) && server.space.tracking().next_slot(0).is_some() {
        let mut view = alone.view(scope);
        forget(server, scope, most, |slot| view.forget_some(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracking(mode: Mode, noloop: bool) -> Tracking {
        Tracking { mode, redirect: None, broken: false, noloop, caching: false, prefixes: Vec::new() }
    }

    #[test]
    fn a_client_hears_of_what_its_mode_is_about_and_not_of_its_own_changes_unless_it_wants_to() {
        let read = Note::Read(b"k"[..].into(), 1);
        let changed = Note::Changed(vec![(b"a"[..].into(), 1), (b"b"[..].into(), 2), (b"c"[..].into(), 0)]);
        let hears = |note: &Note, client, mode, noloop| -> Option<Vec<String>> {
            let keys = note.of_interest(ClientId(client), &tracking(mode, noloop));
            keys.map(|keys| keys.into_iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect())
        };
        let some = |keys: &[&str]| Some(keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>());
        assert_eq!(hears(&read, 1, Mode::OptIn, false), some(&["k"]));
        assert_eq!(hears(&read, 1, Mode::Read, true), some(&[]));
        assert_eq!(hears(&read, 2, Mode::Broadcast, false), some(&[]));
        assert_eq!(hears(&changed, 1, Mode::Broadcast, false), some(&["a", "b", "c"]));
        assert_eq!(hears(&changed, 1, Mode::Broadcast, true), some(&["b", "c"]));
        assert_eq!(hears(&changed, 1, Mode::Read, true), some(&[]));
        assert_eq!(hears(&Note::All, 1, Mode::Read, true), None);
    }

    #[test]
    fn the_form_of_a_message_is_that_of_who_gets_it() {
        let form = |protocol, subscribes, is_redirected, keys: Option<&[&[u8]]>| {
            let mut out = Vec::new();
            write_to(&mut out, (protocol, subscribes), is_redirected, keys);
            String::from_utf8(out).unwrap().replace("\r\n", " ")
        };
        let key: Option<&[&[u8]]> = Some(&[b"k"]);
        assert_eq!(form(Protocol::Resp3, false, false, key), ">2 $10 invalidate *1 $1 k ");
        assert_eq!(form(Protocol::Resp3, false, true, None), ">2 $10 invalidate _ ");
        assert_eq!(form(Protocol::Resp2, true, true, key), "*3 $7 message $20 __redis__:invalidate *1 $1 k ");
        assert_eq!(form(Protocol::Resp2, true, true, None), "*3 $7 message $20 __redis__:invalidate $-1 ");
        assert_eq!(form(Protocol::Resp2, true, false, key), "");
        assert_eq!(form(Protocol::Resp2, false, true, key), "");
    }
}

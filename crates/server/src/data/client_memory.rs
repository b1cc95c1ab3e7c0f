//! `maxmemory-clients`: connections are closed when all of them together hold too much, the largest first.
//!
//! Each network thread keeps the sum of what its own clients hold, and looks at everybody's sum when its own has grown by
//! [`STEP`], and at the end of each turn of its loop in which it has grown at all. Without the directive nothing of this
//! happens, and the sum is taken stock of for INFO only.
//!
//! Clients are closed by a thread that is alone, for only then may it look at all of them. It frees their buffers
//! at once, and their own threads do the rest when they go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_keyspace::Alone;
use quorate_resp::RequestParser;
use quorate_stdx::Now;

use crate::data::client::{Client, Closing, Kind, Session};
use crate::data::worker::Mail;
use crate::log;
use crate::server::{Published, Server};

/// A thread looks at the sum of all when its own clients have grown by so many bytes.
pub const STEP: usize = 16 << 10;

/// A smaller limit counts as this one, bytes: below it hardly anybody could stay connected.
const LEAST: u64 = 128 << 10;

/// The limit in force, bytes; none if clients may hold what they want.
pub fn limit(config: &quorate_config::Config) -> Option<u64> {
    config.clients.memory_max.bytes(config.memory.max).map(|limit| limit.max(LEAST))
}

/// Whether what a client holds counts: replicas and our primary have limits of their own.
pub fn counts(session: &Session) -> bool {
    matches!(session.kind, Kind::Normal | Kind::Monitor)
}

/// Whether it may be closed to make room.
fn is_evictable(client: &Client, session: &Session) -> bool {
    counts(session) && !session.no_evict && session.closing.is_none() && !client.condemned.load(Ordering::Acquire)
}

/// What all clients hold, as far as their threads have told, bytes.
pub fn held(server: &Server) -> u64 {
    u64::try_from(server.sum(|stats| stats.gauges.client_bytes.get())).unwrap_or(0)
}

/// Whether clients hold more than they may.
pub fn exceeds(server: &Server, published: &Published) -> bool {
    published.client_memory.is_some_and(|limit| held(server) > limit)
}

/// Closes clients until the rest hold no more than they may; whether that was possible. `own` is the session of the
/// client whose command asks for it, if it is borrowed.
pub fn make_room(
    server: &Server,
    published: &Published,
    _alone: &mut Alone<'_>,
    mut own: Option<(&Arc<Client>, &mut Session)>,
    now: Now,
) -> bool {
    let Some(limit) = published.client_memory else { return true };
    let clients: Vec<Arc<Client>> = server.clients.lock().values().cloned().collect();
    let mut victims = Vec::new();
    for client in &clients {
        with_session(client, &mut own, |session| {
            weigh(server, client, session);
            if is_evictable(client, session) {
                victims.push((session.weight, client));
            }
        });
    }
    victims.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    for (_, client) in victims {
        if held(server) <= limit {
            return true;
        }
        with_session(client, &mut own, |session| evict(server, client, session, now));
    }
    held(server) <= limit
}

/// The calling thread is alone.
fn with_session<R>(
    client: &Arc<Client>,
    own: &mut Option<(&Arc<Client>, &mut Session)>,
    work: impl FnOnce(&mut Session) -> R,
) -> R {
    match own {
        Some((of, session)) if of.id == client.id => work(session),
        // SAFETY: the thread is alone, and the one session that is borrowed was excluded.
        _ => work(unsafe { client.session() }),
    }
}

fn evict(server: &Server, client: &Arc<Client>, session: &mut Session, now: Now) {
    log::notice(&format!("Evicting client: {}", crate::admin::client::describe(client, session, now, 0)));
    session.closing = Some(Closing::Now);
    (session.out, session.sent) = (Vec::new(), 0);
    (session.input, session.parser) = (Vec::new(), RequestParser::default());
    weigh(server, client, session);
    client.condemn();
    session.socket.shut();
    server.evicted_clients.fetch_add(1, Ordering::Relaxed);
    // It is on no list any more, even before its thread has closed it.
    server.clients.lock().remove(&client.id);
    server.mail(client.worker, Mail::Look(client.id));
}

/// Brings the sum of the client's thread up to date. That thread calls this, or one that is alone.
pub fn weigh(server: &Server, client: &Client, session: &mut Session) {
    let Some(worker) = server.workers.get().and_then(|workers| workers.get(client.worker)) else { return };
    let weight = if counts(session) && session.closing != Some(Closing::Now) { session.heap_bytes() } else { 0 };
    worker.stats.gauges.client_bytes.add(weight as i64 - session.weight as i64);
    session.weight = weight;
}

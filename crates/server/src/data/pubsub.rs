//! Pub/Sub: who listens to which channel, and the way of a message to them.
//!
//! The registry says which clients, and which network threads they live on. A publisher puts one shared
//! message, with the clients that it is for, into the mailbox of each such thread; the thread writes it to its clients in the form that
//! each one's protocol wants. So messages of one publisher arrive in order everywhere.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use quorate_commands::{Class, Events};
use quorate_keyspace::Alone;
use quorate_resp::{Protocol, ReplyWriter};
use quorate_values::{Case, glob_matches};
use smallvec::SmallVec;

use crate::data::client::{ClientId, Session};
use crate::data::worker::Mail;
use crate::server::Server;

type Name = Box<[u8]>;

/// Who listens to what.
#[derive(Default)]
pub struct PubSub {
    channels: RwLock<HashMap<Name, Vec<Listener>>>,
    patterns: RwLock<HashMap<Name, Vec<Listener>>>,
    shard_channels: RwLock<HashMap<Name, Vec<Listener>>>,
}

/// A client that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Its id.
    pub client: ClientId,
    /// Its network thread.
    pub worker: usize,
}

/// The three kinds of subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SUBSCRIBE
    Channel,
    /// PSUBSCRIBE
    Pattern,
    /// SSUBSCRIBE
    Shard,
}

/// A message under way to clients.
pub struct Message {
    /// The pattern that matched, if a pattern did.
    pattern: Option<Name>,
    channel: Name,
    payload: Name,
    /// Whether the channel is a shard's.
    shard: bool,
    /// As the clients of each protocol want it, once one of them has got it: most messages are for many.
    written: [OnceLock<Box<[u8]>>; 2],
}

impl Message {
    /// Writes the message as a client of this protocol wants it.
    pub fn write(&self, out: &mut Vec<u8>, protocol: Protocol) {
        let written = match protocol {
            Protocol::Resp2 => &self.written[0],
            Protocol::Resp3 => &self.written[1],
        };
        out.extend_from_slice(written.get_or_init(|| {
            let mut bytes = Vec::new();
            self.write_anew(&mut bytes, protocol);
            bytes.into()
        }));
    }

    fn write_anew(&self, out: &mut Vec<u8>, protocol: Protocol) {
        let mut reply = ReplyWriter::new(out, protocol);
        match &self.pattern {
            Some(pattern) => {
                reply.push(4);
                reply.bulk(b"pmessage");
                reply.bulk(pattern);
            }
            None => {
                reply.push(3);
                reply.bulk(if self.shard { b"smessage" } else { b"message" });
            }
        }
        reply.bulk(&self.channel);
        reply.bulk(&self.payload);
    }
}

impl PubSub {
    fn table(&self, kind: Kind) -> &RwLock<HashMap<Name, Vec<Listener>>> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shard_channels,
        }
    }

    /// Lets a client listen. It must not listen to this already.
    pub fn subscribe(&self, kind: Kind, name: &[u8], listener: Listener) {
        self.table(kind).write().entry(name.into()).or_default().push(listener);
    }

    /// From now on another thread is told what a client listens to.
    pub fn relocate(&self, session: &Session, listener: Listener) {
        let names = [
            (Kind::Channel, &session.channels),
            (Kind::Pattern, &session.patterns),
            (Kind::Shard, &session.shard_channels),
        ];
        for (kind, names) in names {
            let mut table = self.table(kind).write();
            for name in names {
                let listeners = table.get_mut(name).into_iter().flatten();
                listeners.filter(|known| known.client == listener.client).for_each(|known| *known = listener);
            }
        }
    }

    /// Ends a client's listening.
    pub fn unsubscribe(&self, kind: Kind, name: &[u8], client: ClientId) {
        let mut table = self.table(kind).write();
        if let Some(listeners) = table.get_mut(name) {
            listeners.retain(|listener| listener.client != client);
            if listeners.is_empty() {
                table.remove(name);
            }
        }
    }

    /// Sends `payload` to all who listen; how many those are.
    pub fn publish(&self, server: &Server, channel: &[u8], payload: &[u8]) -> usize {
        let mut count = 0;
        if let Some(listeners) = self.channels.read().get(channel) {
            count += send(server, listeners, None, channel, payload, false);
        }
        let patterns = self.patterns.read();
        for (pattern, listeners) in patterns.iter() {
            if glob_matches(pattern, channel, Case::Sensitive) {
                count += send(server, listeners, Some(pattern), channel, payload, false);
            }
        }
        count
    }

    /// Sends `payload` to all who listen to a shard's channel; how many those are.
    pub fn publish_to_shard(&self, server: &Server, channel: &[u8], payload: &[u8]) -> usize {
        match self.shard_channels.read().get(channel) {
            Some(listeners) => send(server, listeners, None, channel, payload, true),
            None => 0,
        }
    }

    /// How many would get a message.
    pub fn receivers(&self, channel: &[u8], shard: bool) -> usize {
        if shard {
            return self.listeners(Kind::Shard, channel);
        }
        let patterns = self.patterns.read();
        let matching = patterns.iter().filter(|(pattern, _)| glob_matches(pattern, channel, Case::Sensitive));
        self.listeners(Kind::Channel, channel) + matching.map(|(_, listeners)| listeners.len()).sum::<usize>()
    }

    /// The channels that anybody listens to.
    pub fn names(&self, kind: Kind) -> Vec<Name> {
        self.table(kind).read().keys().cloned().collect()
    }

    /// How many clients listen to `name`.
    pub fn listeners(&self, kind: Kind, name: &[u8]) -> usize {
        self.table(kind).read().get(name).map_or(0, Vec::len)
    }

    /// How many names of this kind are listened to.
    pub fn len(&self, kind: Kind) -> usize {
        self.table(kind).read().len()
    }
}

fn send(
    server: &Server,
    listeners: &[Listener],
    pattern: Option<&Name>,
    channel: &[u8],
    payload: &[u8],
    shard: bool,
) -> usize {
    let (pattern, channel, payload, written) = (pattern.cloned(), channel.into(), payload.into(), Default::default());
    let message = Arc::new(Message { pattern, channel, payload, shard, written });
    // There are few threads, and maybe many clients of each.
    let mut of_threads: SmallVec<[(usize, Vec<ClientId>); 4]> = SmallVec::new();
    for listener in listeners {
        match of_threads.iter_mut().find(|(thread, _)| *thread == listener.worker) {
            Some((_, clients)) => clients.push(listener.client),
            None => of_threads.push((listener.worker, vec![listener.client])),
        }
    }
    for (thread, clients) in of_threads {
        server.mail(thread, Mail::Message { clients, message: Arc::clone(&message) });
    }
    listeners.len()
}

/// Ends listening to the channels of shards that are elsewhere now, and tells those who did.
///
/// # Safety
/// The calling thread holds no reference to any session.
pub unsafe fn end_shard_channels(server: &Server, _alone: &mut Alone<'_>, is_elsewhere: impl Fn(&[u8]) -> bool) {
    if server.pubsub.len(Kind::Shard) == 0 {
        return;
    }
    let clients: Vec<_> = server.clients.lock().values().cloned().collect();
    for client in clients {
        // SAFETY: this thread is alone, and the caller vouches that it holds no other reference to a session.
        let session = unsafe { client.session() };
        let gone: Vec<Name> = session.shard_channels.iter().filter(|name| is_elsewhere(name)).cloned().collect();
        for name in gone {
            session.shard_channels.remove(&name);
            server.pubsub.unsubscribe(Kind::Shard, &name, client.id);
            let mut bytes = Vec::new();
            let mut reply = ReplyWriter::new(&mut bytes, session.protocol);
            reply.push(3);
            reply.bulk(b"sunsubscribe");
            reply.bulk(&name);
            reply.count(session.shard_channels.len());
            server.mail(client.worker, Mail::Feed { client: client.id, bytes: bytes.into() });
        }
    }
}

/// Publishes keyspace notifications.
#[cold]
pub fn publish_events(server: &Server, events: &mut Events) {
    let mask = events.mask;
    for event in events.take() {
        if mask.intersects(Class::KEYSPACE) {
            let channel = [format!("__keyspace@{}__:", event.db.0).as_bytes(), &event.key].concat();
            server.pubsub.publish(server, &channel, event.name.as_bytes());
        }
        if mask.intersects(Class::KEYEVENT) {
            let channel = format!("__keyevent@{}__:{}", event.db.0, event.name);
            server.pubsub.publish(server, channel.as_bytes(), &event.key);
        }
    }
}

//! What threads tell each other: mail, in the order in which it was sent.

use std::sync::Arc;

use crossbeam_queue::SegQueue;
use mio::Waker;
use quorate_acl::{Reason, User};
use quorate_keyspace::Ticket;

use crate::control::observers::{Back, Visit};
use crate::control::upstream::Upstream;
use crate::data::client::{ClientId, Peer, Socket};
use crate::data::pubsub::Message;
use crate::data::tracking::Note;
use crate::listen::Seat;

/// What other threads tell a network thread.
pub enum Mail {
    /// A new connection is yours.
    Adopt {
        /// Its socket.
        socket: Socket,
        /// Its addresses.
        peer: Peer,
        /// Its place among `maxclients`, if it needs one.
        seat: Option<Seat>,
        /// It is told this and closed: whom we don't serve can be told so behind a handshake only.
        refusal: Option<&'static str>,
    },
    /// A message for a subscriber of yours.
    Message {
        /// The subscriber.
        client: ClientId,
        /// The message.
        message: Arc<Message>,
    },
    /// What is stale of the copies that a client of yours holds.
    Stale {
        /// The client.
        client: ClientId,
        /// What.
        note: Arc<Note>,
    },
    /// The same, for a client of yours that hears it in another's place.
    Redirected {
        /// The client.
        client: ClientId,
        /// The keys; `None` is all.
        keys: Option<Vec<Box<[u8]>>>,
    },
    /// A client of yours that waited for keys was served.
    Served {
        /// The client.
        client: ClientId,
        /// Its place in the queues, to be given up.
        ticket: Ticket,
        /// What it gets.
        reply: Vec<u8>,
    },
    /// A client of yours waited for what its user may not do any more: for the list of what was denied.
    Denied {
        /// The client.
        client: ClientId,
        /// What was denied.
        reason: Reason,
        /// The command, or the key.
        object: Box<[u8]>,
        /// To whom.
        user: Arc<User>,
    },
    /// A client of yours that waited for another thread's answer gets it.
    Answer {
        /// The client.
        client: ClientId,
        /// What it gets.
        reply: Vec<u8>,
    },
    /// The stream of our primary is yours.
    Follow {
        /// The connection.
        socket: Socket,
        /// Its addresses.
        peer: Peer,
        /// What has come of the stream already.
        input: Vec<u8>,
        /// The link.
        upstream: Arc<Upstream>,
    },
    /// A client of yours that asked to be a replica is none.
    NoReplica {
        /// The client.
        client: ClientId,
        /// Why, as a reply.
        line: Vec<u8>,
    },
    /// Bytes for a client that does not wait for them (MONITOR).
    Feed {
        /// The client.
        client: ClientId,
        /// What it gets.
        bytes: Arc<[u8]>,
    },
    /// A client of yours has been condemned, or may go on after a pause.
    Look(ClientId),
    /// Clients that a pause holds back may go on.
    Resume,
    /// A connection is set aside: for the thread that serves those.
    Observe(Box<Visit>),
    /// A client of yours that was set aside wants what only you can do.
    Back {
        /// The client.
        client: ClientId,
        /// What it has with it.
        back: Back,
    },
    /// Your statistics begin anew: for the thread that serves those who are set aside.
    ResetStatistics,
    /// The disk has more of the log.
    Durable,
}

/// A network thread's mailbox.
pub struct Mailbox {
    queue: SegQueue<Mail>,
    waker: Waker,
}

impl Mailbox {
    /// An empty one; `waker` wakes the thread.
    pub fn new(waker: Waker) -> Mailbox {
        Mailbox { queue: SegQueue::new(), waker }
    }

    /// Puts `mail` in and wakes the thread.
    pub fn send(&self, mail: Mail) {
        self.queue.push(mail);
        // A waker fails only if its descriptor is gone, and it lives as long as the thread.
        let _ = self.waker.wake();
    }

    /// The next mail.
    pub fn take(&self) -> Option<Mail> {
        self.queue.pop()
    }
}

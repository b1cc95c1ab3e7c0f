//! What threads tell each other: mail, in the order in which it was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// A message for subscribers of yours.
    Message {
        /// The subscribers.
        clients: Vec<ClientId>,
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
    /// The thread has been woken and has not found the box empty since: it will see what is put in.
    woken: AtomicBool,
}

impl Mailbox {
    /// An empty one; `waker` wakes the thread.
    pub fn new(waker: Waker) -> Mailbox {
        Mailbox { queue: SegQueue::new(), waker, woken: AtomicBool::new(false) }
    }

    /// Puts `mail` in and wakes the thread, unless that has been done already.
    pub fn send(&self, mail: Mail) {
        self.queue.push(mail);
        if !self.woken.swap(true, Ordering::AcqRel) {
            // A waker fails only if its descriptor is gone, and it lives as long as the thread.
            let _ = self.waker.wake();
        }
    }

    /// The next mail. Whoever has begun to take has to go on until there is none: only then is he woken again.
    pub fn take(&self) -> Option<Mail> {
        self.queue.pop().or_else(|| {
            // Whoever has put something in and found the thread woken has done so before this, and it is found now; whoever
            // comes later wakes it.
            self.woken.swap(false, Ordering::AcqRel);
            self.queue.pop()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use mio::{Events, Poll, Token};

    use super::*;

    fn mailbox() -> (Poll, Mailbox) {
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        (poll, Mailbox::new(waker))
    }

    fn is_woken(poll: &mut Poll, patience: Duration) -> bool {
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(patience)).unwrap();
        !events.is_empty()
    }

    #[test]
    fn a_thread_is_woken_once_until_it_has_found_the_box_empty() {
        let (mut poll, mailbox) = mailbox();
        for _ in 0..2 {
            mailbox.send(Mail::Durable);
            assert!(is_woken(&mut poll, Duration::from_secs(30)));
            mailbox.send(Mail::Durable);
            assert!(!is_woken(&mut poll, Duration::ZERO));
            assert_eq!((0..3).map(|_| mailbox.take().is_some()).collect::<Vec<_>>(), [true, true, false]);
        }
    }

    #[test]
    fn no_mail_is_left_behind_by_a_thread_that_sleeps_when_it_has_found_none() {
        const MAILS: usize = 20_000;
        let (mut poll, mailbox) = mailbox();
        let mut taken = 0;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..MAILS).for_each(|_| mailbox.send(Mail::Durable)));
            }
            let deadline = Instant::now() + Duration::from_secs(60);
            while taken < 2 * MAILS {
                assert!(
                    is_woken(&mut poll, Duration::from_secs(60)) && Instant::now() < deadline,
                    "{taken} were taken"
                );
                while mailbox.take().is_some() {
                    taken += 1;
                }
            }
        });
        assert!(mailbox.take().is_none());
    }
}

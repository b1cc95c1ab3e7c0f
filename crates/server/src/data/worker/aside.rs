//! Setting Sentinels' connections aside, and taking them back; see `control/observers.rs`.

use std::sync::Arc;

use crate::control::observers::{Back, OBSERVERS, Visit};
use crate::data::client::{Client, ClientId, Kind, ReplyMode, Session};
use crate::data::guard;
use crate::data::pubsub::{Listener, Message};
use crate::data::worker::{Mail, Worker};
use crate::server::Published;

impl Worker {
    /// Writes wait from now on, or don't any more.
    #[cold]
    pub(super) fn hold_or_release(&mut self) {
        let mut published = Published::clone(&self.local.published);
        published.held = !published.held;
        published.settle();
        published.update(&mut self.scope);
        self.local.adopt(Arc::new(published));
    }

    /// Lets the observers' thread serve a client of which nothing is under way.
    #[cold]
    pub(super) fn set_aside(&mut self, client: &Arc<Client>) {
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        if !is_at_rest(session) || self.server.observers.get().is_none() {
            return;
        }
        let Ok(visit) = Visit::of(client, session) else { return };
        // The poll has known it since it came.
        let _ = session.socket.source().deregister(self.net.poll.registry());
        session.aside = true;
        *client.limits.lock() = guard::limits_of(session);
        self.server.pubsub.relocate(session, Listener { client: client.id, worker: OBSERVERS });
        self.server.mail(OBSERVERS, Mail::Observe(Box::new(visit)));
    }

    /// Serves a client again that was set aside.
    pub(super) fn take_back(&mut self, id: ClientId, back: Back) {
        // It may have been closed meanwhile.
        let Some(client) = self.net.clients.get(&id).map(Arc::clone) else { return };
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        session.aside = false;
        self.server.pubsub.relocate(session, Listener { client: id, worker: client.worker });
        if back.ended || self.net.listen_to(id, session).is_err() {
            return self.close(&client);
        }
        session.active_at = self.now.mono;
        session.out.extend_from_slice(&back.out);
        session.input = back.input;
        self.go_on(&client);
        self.read(&client, false);
    }

    /// A message for subscribers, some of whom may have been set aside while it was under way.
    pub(super) fn pass_message(&mut self, clients: &[ClientId], message: &Arc<Message>) {
        for client in clients {
            let Some(found) = self.net.clients.get(client).map(Arc::clone) else { continue };
            // SAFETY: this thread owns the client and is active.
            let session = unsafe { found.session() };
            if session.aside {
                let (clients, message) = (vec![*client], Arc::clone(message));
                self.server.mail(OBSERVERS, Mail::Message { clients, message });
                continue;
            }
            message.write(&mut session.out, session.protocol);
            self.weigh(&found);
            self.queue_write(&found);
        }
    }
}

/// Whether nothing of the connection is under way.
fn is_at_rest(session: &Session) -> bool {
    session.authenticated
        && session.kind == Kind::Normal
        && session.replies == ReplyMode::On
        && session.transaction.is_none()
        && session.watch.is_none()
        && session.tracking.is_none()
        && session.blocked.is_none()
        && session.closing.is_none()
        && session.input.is_empty()
        && !session.arrived
        && !session.parser.is_midway()
        && session.pending() == 0
        && !session.aside
}

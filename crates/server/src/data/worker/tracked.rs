//! The clients of a network thread that hold copies of keys; see `data/tracking.rs`.

use std::sync::Arc;

use quorate_keyspace::Place;

use crate::data::client::{Client, ClientId};
use crate::data::dispatch;
use crate::data::evict;
use crate::data::tracking::{self, Note};
use crate::data::worker::{Mail, Worker};

impl Worker {
    /// Tells a client what is stale of the copies that it holds.
    #[cold]
    pub(super) fn tell_stale(&mut self, client: ClientId, note: &Note) {
        let Some(client) = self.net.clients.get(&client).map(Arc::clone) else { return };
        // SAFETY: this thread owns the client and is active.
        tracking::tell(&self.server, &client, unsafe { client.session() }, note);
        self.weigh(&client);
        self.queue_write(&client);
    }

    /// Makes room for a request, and tells the thread's own clients what that has made stale before anything is answered: it
    /// was done before.
    #[cold]
    fn make_room_first(&mut self) {
        evict::make_room(&self.server, &mut self.member, &mut self.local, &self.scope);
        let (server, mut own) = (Arc::clone(&self.server), Vec::new());
        tracking::pass_on_by(&server, &mut |thread, client, note| {
            if thread == self.net.index {
                own.push((client, note));
            } else {
                server.mail(thread, Mail::Stale { client, note });
            }
        });
        for (client, note) in own {
            self.tell_stale(client, &note);
        }
    }

    /// Runs a request of a client that tracks keys.
    #[cold]
    pub(super) fn request_of_tracker(
        &mut self,
        client: &Arc<Client>,
        words: &[&[u8]],
        raw: Option<&[u8]>,
        place: Option<Place>,
    ) -> dispatch::Step {
        if self.local.published.memory.max > 0 {
            self.make_room_first();
        }
        // SAFETY: this thread owns the client and is active; the reference ends before it is ever not.
        let noloop = unsafe { client.session() }.tracking.as_ref().is_some_and(|tracking| tracking.noloop);
        self.scope.acting.set(if noloop { client.id.0 } else { 0 });
        let step = dispatch::request(self, client, words, raw, place);
        self.scope.acting.set(0);
        // SAFETY: as above.
        let session = unsafe { client.session() };
        let says_how = session.last_command.is_some_and(|command| command.full_name.starts_with("client|"));
        if step == dispatch::Step::Done
            && !says_how
            && session.transaction.is_none()
            && let Some(tracking) = &mut session.tracking
        {
            // It held for this one.
            tracking.caching = false;
        }
        tracking::limit(&self.server, &mut self.member, &self.scope, self.local.published.tracked_keys_max);
        step
    }
}

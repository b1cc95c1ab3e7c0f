//! A network thread's part in `maxmemory-clients`; see [`crate::data::client_memory`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::data::client::Client;
use crate::data::client_memory::{self, STEP};
use crate::data::worker::Worker;

impl Worker {
    /// Something of a client has grown or shrunk.
    #[inline]
    pub(super) fn weigh(&mut self, client: &Arc<Client>) {
        if self.local.published.client_memory.is_some() {
            self.weigh_now(client);
        }
    }

    /// What has come from a client is in its buffer. Whether the client was closed on that account: what it holds is free
    /// before the next one is read.
    #[inline]
    pub(super) fn weigh_input(&mut self, client: &Arc<Client>) -> bool {
        self.weigh(client);
        if self.local.published.client_memory.is_none() || !client.condemned.load(Ordering::Relaxed) {
            return false;
        }
        self.close(client);
        true
    }

    #[cold]
    fn weigh_now(&mut self, client: &Arc<Client>) {
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        let before = session.weight;
        if self.is_over_hard_limit(session) {
            // It goes for that reason, and nobody else on its account; who writes to it says so in the log.
            return;
        }
        client_memory::weigh(&self.server, client, session);
        self.local.meter.used(&self.server.memory);
        self.grown += session.weight.saturating_sub(before);
        if self.grown >= STEP {
            self.evict_clients();
        }
    }

    /// Closes clients if all together hold too much.
    pub(super) fn evict_clients(&mut self) {
        self.grown = 0;
        let is_futile = self.evicted_in_vain_at == Some(self.swept_at);
        if is_futile || !client_memory::exceeds(&self.server, &self.local.published) {
            return;
        }
        let done = self.alone(true, |server, access, local, _, now, _| match access {
            crate::data::call::Access::Alone(alone) => {
                client_memory::make_room(server, &local.published, alone, None, now)
            }
            _ => true,
        });
        // Where everybody who is left is protected, it is tried again when the clients have been looked through.
        self.evicted_in_vain_at = (done != Some(true)).then_some(self.swept_at);
    }
}

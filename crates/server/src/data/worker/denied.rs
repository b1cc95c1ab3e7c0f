//! What was denied to a client while it waited; see `data/blocked.rs`.

use quorate_acl::{Context, Reason, User};

use crate::data::client::ClientId;
use crate::data::guard;
use crate::data::worker::Worker;

impl Worker {
    /// Notes it in the list of what was denied.
    #[cold]
    pub(super) fn note_denied(&mut self, client: ClientId, reason: Reason, object: &[u8], user: &User) {
        let Some(client) = self.net.clients.get(&client) else { return };
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        guard::note(&self.server, client, session, (reason, Context::TopLevel), object, user.name());
    }
}

//! Following our primary: its stream is read as it comes, and applied in pieces between which others have their turn.

use std::sync::Arc;

use crate::data::client::Client;
use crate::data::stream;
use crate::data::worker::Worker;
use crate::data::worker::ahead::Ahead;

/// How much of the stream is applied before it is looked whether more has come, bytes.
const PIECE: usize = 64 << 10;
/// How much of it is applied before other clients have their turn, bytes.
const TURN: usize = 256 << 10;

impl Worker {
    /// Reads what has come from our primary, and applies some of it; `ended` if the other end has closed its side.
    pub(super) fn follow_on(&mut self, client: &Arc<Client>, ended: bool) {
        let mut applied = 0;
        loop {
            // SAFETY: this thread owns the client and is active.
            let session = unsafe { client.session() };
            if self.is_condemned(client, session) {
                return self.close(client);
            }
            let room = &mut self.scratch;
            stream::read_ahead(&self.server, session, &self.local.stats, self.now, room, ended);
            if session.blocked.is_some() {
                return;
            }
            let used = self.apply(client);
            if std::mem::take(&mut self.interrupted) {
                self.step_aside();
                self.refresh();
            }
            applied += used;
            // SAFETY: as above; the reference from there is not used any more.
            let session = unsafe { client.session() };
            let Some(upstream) = &session.upstream else { return };
            let is_blocked = session.blocked.is_some();
            let has_more = used > 0 && !upstream.backlog.is_empty() && !is_blocked;
            if session.closing.is_some() || (upstream.ended && !has_more && !is_blocked) {
                return self.close(client);
            }
            if !has_more || applied >= TURN {
                self.net.follows_on = has_more.then(|| Arc::clone(client));
                return self.queue_write(client);
            }
        }
    }

    /// Applies the next requests that wait, up to a piece; how many bytes these were.
    fn apply(&mut self, client: &Arc<Client>) -> usize {
        // SAFETY: this thread owns the client and is active.
        let Some(upstream) = &mut unsafe { client.session() }.upstream else { return 0 };
        let bytes = std::ptr::from_ref(upstream.backlog.begin(PIECE));
        // SAFETY: bytes are added to the backlog by `stream::read_ahead` only, which the thread does not call for this client
        // meanwhile, and taken away by nobody: what has been applied is marked so, and stays where it is.
        let bytes = unsafe { &*bytes };
        let used = self.run_requests(client, bytes, 0, &mut Ahead::default());
        // SAFETY: as above; the reference from there is not used any more.
        if let Some(upstream) = &unsafe { client.session() }.upstream {
            stream::note_unapplied(&self.server, upstream);
        }
        used
    }
}

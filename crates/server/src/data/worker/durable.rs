//! Replies that wait for the disk (`appendfsync always`).
//!
//! A turn's replies wait until the disk has the log up to the turn's end: those of writes because they promise it, and
//! those of reads because they may tell of writes that the disk does not have. A client that waits so is not served
//! meanwhile; its next requests lie in its buffer. So its replies keep their order, and one that sends without end is
//! answered once an fsync.

use std::sync::Arc;

use crate::data::client::{Blocked, Closing};
use crate::data::worker::Worker;

impl Worker {
    /// The turn's work is done: the log goes to the append-only file, and replies wait for it if they have to.
    #[cold]
    pub(super) fn hand_to_disk(&mut self) {
        let server = Arc::clone(&self.server);
        server.aof.hand_on(&server);
        if !server.aof.holds() || self.writes.is_empty() {
            return;
        }
        let mark = server.aof.mark(&server.feed);
        if server.aof.has(mark) {
            return;
        }
        let mut goes = Vec::new();
        for client in std::mem::take(&mut self.writes) {
            // SAFETY: this thread owns the client and is active.
            let session = unsafe { client.session() };
            if session.closing == Some(Closing::Now) {
                goes.push(client);
                continue;
            }
            session.queued_for_write = false;
            session.blocked.get_or_insert(Blocked::OnDisk);
            if session.held_until.replace(mark).is_none() {
                self.held.push(client);
            }
        }
        self.writes = goes;
        if !self.held.is_empty() && !server.aof.await_durable(self.local.worker, mark) {
            self.release();
        }
    }

    /// Lets those replies go that the disk has caught up with.
    #[cold]
    pub(super) fn release(&mut self) {
        let server = Arc::clone(&self.server);
        let mut latest = None;
        for client in std::mem::take(&mut self.held) {
            // SAFETY: this thread owns the client and is active.
            let session = unsafe { client.session() };
            if let Some(mark) = session.held_until
                && !server.aof.has(mark)
            {
                latest = latest.max(Some(mark));
                self.held.push(client);
                continue;
            }
            session.held_until = None;
            if matches!(session.blocked, Some(Blocked::OnDisk)) {
                session.blocked = None;
            }
            let has_ended = std::mem::take(&mut session.ended_while_held);
            if !self.net.clients.contains_key(&client.id) {
                continue;
            }
            // At once: at the end of the turn they would have to wait again, for what others have written since.
            self.send(&client);
            if self.net.clients.contains_key(&client.id) {
                self.go_on(&client);
                if has_ended {
                    self.read(&client, true);
                }
            }
        }
        if let Some(mark) = latest {
            // Whether it has been reached meanwhile is seen when this thread is told so.
            server.aof.await_durable(self.local.worker, mark);
        }
    }
}

//! Looking through a network thread's clients from time to time, and their end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_replication::{Input, primary, replica};

use crate::data::call::Access;
use crate::data::client::{Blocked, Client, Closing, Kind, Session};
use crate::data::dispatch;
use crate::data::worker::{SWEEP, Worker};
use crate::log;

impl Worker {
    /// From time to time: closes who has been idle for too long, has been condemned or reads too slowly.
    pub(super) fn sweep(&mut self) {
        if self.now.mono.since(self.swept_at) < SWEEP {
            return;
        }
        self.swept_at = self.now.mono;
        self.swept_commands = self.local.stats.processed.get();
        self.restless = self.local.published.client_memory.is_some();
        let timeout = self.local.published.timeout;
        let paused = self.local.published.is_paused(true);
        let clients: Vec<_> = self.net.clients.values().cloned().collect();
        self.take_stock(&clients);
        if self.local.published.client_memory.is_some() {
            self.evict_clients();
        }
        for client in clients {
            // SAFETY: this thread owns the client and is active.
            let session = unsafe { client.session() };
            let idle = self.now.mono.since(session.active_at).as_secs();
            let may_time_out = session.kind == Kind::Normal && session.blocked.is_none() && !session.is_subscriber();
            if client.condemned.load(Ordering::Acquire) || (timeout > 0 && may_time_out && idle > timeout) {
                self.close(&client);
                continue;
            }
            if session.socket.is_shaking_hands() && self.takes_long_to_shake_hands(session) {
                self.close(&client);
                continue;
            }
            if session.kind == Kind::Importer && idle > self.server.config.load().cluster.node_timeout.as_secs().max(1)
            {
                // Who sends slots is never silent for long.
                self.close(&client);
                continue;
            }
            if !paused && matches!(session.blocked, Some(Blocked::OnPause)) {
                session.blocked = None;
                self.local.stats.gauges.blocked.add(-1);
                self.go_on(&client);
                continue;
            }
            let waits = matches!(session.blocked, Some(Blocked::OnPause)) || session.socket.is_shaking_hands();
            self.restless |= waits || session.pending() > 0;
            if session.pending() > 0 && session.write_blocked {
                self.check_output(&client);
            }
        }
    }

    fn takes_long_to_shake_hands(&self, session: &Session) -> bool {
        let patience = self.server.config.load().tls.handshake_timeout;
        let takes_long = self.now.mono.since(session.since) > patience;
        if takes_long {
            log::verbose(&format!("Closing a client whose handshake takes too long: {}", session.peer.remote()));
        }
        takes_long
    }

    pub(crate) fn close(&mut self, client: &Arc<Client>) {
        if self.net.clients.remove(&client.id).is_none() {
            return;
        }
        self.server.clients.lock().remove(&client.id);
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        if let Some(blocked) = session.blocked.take() {
            if !matches!(blocked, Blocked::OnDisk) {
                self.local.stats.gauges.blocked.add(-1);
            }
            match blocked {
                Blocked::OnKeys { ticket, until, slots, keys } => {
                    if let Some(waiter) = self.server.waiters.get(ticket) {
                        waiter.claim();
                    }
                    self.leave_queues(client, ticket, until, slots, &keys);
                }
                Blocked::OnAnswer { until } => {
                    if let Some(at) = until {
                        self.deadlines.remove(&(at, client.id));
                    }
                    self.server.control.abandon_wait(&self.server, client.id);
                }
                Blocked::OnPause | Blocked::OnDisk => {}
            }
        }
        // SAFETY: the reference from above is not used any more.
        let session = unsafe { client.session() };
        if let Some(watch) = session.watch.take() {
            dispatch::unwatch(&watch, &mut Access::Active(&mut self.member), &self.scope);
        }
        crate::admin::pubsub::forget(&self.server, client.id, session);
        if let Some(tracking) = session.tracking.take() {
            self.server.trackers.end(client.id, &tracking);
        }
        self.server.trackers.sent(session);
        if session.kind == Kind::Monitor {
            self.server.monitors.remove(client.id);
        }
        if session.kind == Kind::Replica {
            self.server.replicas.remove(&self.server.feed, client.id);
            let left = primary::Input::Left { replica: quorate_replication::PeerId(client.id.0) };
            self.server.control.submit(&self.server, Input::Primary(left));
        }
        if let (Some(id), Some(node)) = (session.import.take(), self.server.node()) {
            node.taking_closed(&self.server, id);
        }
        if let Some(upstream) = session.upstream.take() {
            self.server.stream_unapplied.store(0, Ordering::Relaxed);
            let down = replica::Input::LinkDown { link: upstream.link, why: "closed".to_owned() };
            self.server.control.submit(&self.server, Input::Replica(down));
        }
        let registry = self.net.poll.registry();
        // The descriptor leaves the poll when it is closed anyway.
        let _ = session.socket.source().deregister(registry);
        self.local.stats.gauges.client_bytes.add(-(std::mem::take(&mut session.weight) as i64));
        // Others may hold the client for a moment, but nobody needs these any more.
        (session.input, session.out, session.sent) = (Vec::new(), Vec::new(), 0);
        session.seat = None;
        // What was read of it and not run is not run any more.
        session.closing = Some(Closing::Now);
        session.socket.shut();
    }
}

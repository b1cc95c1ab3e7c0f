//! What a network thread's clients hold: summed up for INFO, and bounded for each of them.

use std::sync::Arc;

use crate::data::client::{Client, Session};
use crate::data::client_memory;
use crate::data::worker::Worker;
use crate::published::OutputLimit;

/// The most that may wait to be sent to a client that has yet to say who it is, bytes.
const STRANGERS_OUTPUT: usize = 1024;

impl Worker {
    /// Closes a client that reads too slowly for what it asks for.
    pub(super) fn check_output(&mut self, client: &Arc<Client>) {
        // SAFETY: this thread owns the client and is active.
        let session = unsafe { client.session() };
        let limit = self.output_limit(session);
        let pending = session.pending();
        if limit.soft > 0 && pending > limit.soft {
            session.over_soft_limit.get_or_insert(self.now.mono);
        } else {
            session.over_soft_limit = None;
        }
        let soft = session.over_soft_limit.is_some_and(|since| self.now.mono.since(since).as_secs() >= limit.seconds);
        let is_stranger = !session.authenticated && self.local.published.needs_auth;
        if soft || (limit.hard > 0 && pending > limit.hard) || (is_stranger && pending > STRANGERS_OUTPUT) {
            crate::log::warning(&format!(
                "Client {} scheduled to be closed ASAP for overcoming of output buffer limits.",
                crate::admin::client::describe(client, session, self.now, 0)
            ));
            self.close(client);
        } else if !session.write_blocked {
            self.queue_write(client);
        }
    }

    fn output_limit(&self, session: &Session) -> OutputLimit {
        self.local.published.output_limits[if session.is_subscriber() { 2 } else { 0 }]
    }

    /// Whether more waits to be sent to a client than is ever allowed.
    pub(super) fn is_over_hard_limit(&self, session: &Session) -> bool {
        let hard = self.output_limit(session).hard;
        hard > 0 && session.pending() > hard
    }

    /// Counts a client that has begun to wait.
    #[inline]
    pub(super) fn note_blocked(&self, client: &Client) {
        // SAFETY: this thread owns the client and is active.
        if unsafe { client.session() }.blocked.is_some() {
            self.local.stats.gauges.blocked.add(1);
        }
    }

    /// Sums up for INFO how things stand with this thread's clients.
    pub(super) fn take_stock(&mut self, clients: &[Arc<Client>]) {
        let elapsed = self.now.mono.since(self.stock_taken_at);
        self.stock_taken_at = self.now.mono;
        let (mut blocked, mut input, mut output) = (0, 0, 0);
        for client in clients {
            // SAFETY: this thread owns the client and is active.
            let session = unsafe { client.session() };
            blocked += i64::from(session.blocked.is_some());
            input = input.max(session.input.len());
            output = output.max(session.pending());
            client_memory::weigh(&self.server, client, session);
        }
        let stats = &self.local.stats;
        stats.gauges.blocked.set(blocked);
        stats.gauges.with_deadline.set(self.deadlines.len() as i64);
        stats.gauges.longest_input.set(input as i64);
        stats.gauges.longest_output.set(output as i64);
        let [commands, bytes_in, bytes_out] = &mut self.rates;
        stats.gauges.commands_a_second.set(commands.sample(stats.processed.get(), elapsed));
        stats.gauges.bytes_in_a_second.set(bytes_in.sample(stats.bytes_in.get(), elapsed));
        stats.gauges.bytes_out_a_second.set(bytes_out.sample(stats.bytes_out.get(), elapsed));
    }
}

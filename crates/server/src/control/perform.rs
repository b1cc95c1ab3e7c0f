//! What each output of the machine means for sockets, threads, the log and what clients see.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_keyspace::Alone;
use quorate_replication::primary::{self, Goal, WaitEnd};
use quorate_replication::wire::{continue_line, full_resync_line};
use quorate_replication::{Event, FullReason, Input, Output, PeerEvent, Role, WaitId, replica, tenure};

use super::Inner;
use super::upstream::{self, Go};
use crate::data::client::ClientId;
use crate::data::worker::Mail;
use crate::log;
use crate::server::{Following, Role as PublishedRole, Server};

/// `REPLCONF GETACK *`
const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
/// `PING`
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

impl Inner {
    /// Whether an output has to find the data plane standing still.
    pub(super) fn needs_alone(&self, output: &Output) -> bool {
        match output {
            Output::OpenLog { .. }
            | Output::CloseLog
            | Output::Role(_)
            | Output::Adopt(_)
            | Output::PauseWrites
            | Output::ResumeWrites
            | Output::Primary(primary::Output::TakeSnapshot { .. }) => true,
            Output::Replica(replica::Output::Disconnect { link }) => {
                self.upstream.as_ref().is_some_and(|upstream| upstream.link == *link && upstream.streams())
            }
            Output::Answer { .. } | Output::Announce(_) | Output::Primary(_) | Output::Replica(_) => false,
        }
    }

    pub(super) fn perform(&mut self, server: &Arc<Server>, alone: Option<&mut Alone<'_>>, output: Output) {
        match output {
            Output::OpenLog { at } => {
                server.aof.before_restart(server);
                let tail = std::mem::take(&mut self.tail);
                server.feed.open_behind(at, &tail, server.config.load().replication.backlog_size);
                server.aof.after_restart(server);
            }
            Output::CloseLog => {
                server.aof.suspend(server);
                server.feed.close();
            }
            Output::Role(role) => self.publish_role(server, &role),
            Output::Adopt(history) => {
                server.control.history.store(Arc::new(history));
                server.aof.renamed(server);
            }
            Output::PauseWrites => {
                server.publish(|next| next.handover = true);
                self.inputs.push_front(Input::WritesPaused);
            }
            Output::ResumeWrites => {
                server.publish(|next| next.handover = false);
                server.mail_all(|| Mail::Resume);
            }
            Output::Answer { by, answer } => {
                self.answers.insert(by, answer);
            }
            Output::Announce(event) => announce(server, &event),
            Output::Primary(output) => self.perform_primary(server, alone, output),
            Output::Replica(output) => self.perform_replica(server, output),
        }
    }

    /// Whether the stream comes in.
    pub(super) fn streams(&self) -> bool {
        self.machine.streams() && self.upstream.as_ref().is_some_and(|upstream| upstream.streams())
    }

    fn publish_role(&mut self, server: &Arc<Server>, role: &Role) {
        let published = match role {
            Role::Primary => PublishedRole::Primary,
            Role::Replica { .. } => PublishedRole::Replica(Following { link_up: false, ..server.following() }),
        };
        self.link_up = false;
        let leads = published == PublishedRole::Primary;
        server.tenure.submit(server, tenure::Input::Role { leads });
        server.feed.set_leading(leads);
        log::set_role(if leads { b'M' } else { b'S' });
        server.publish(|next| next.role = published);
        server.own_expiries.clear();
        self.note_primary(server, role);
        if !leads {
            crate::data::blocked::release_all(server);
        }
    }

    /// CONFIG GET and CONFIG REWRITE show whom we follow.
    fn note_primary(&self, server: &Server, role: &Role) {
        server.config.rcu(|config| {
            let mut config = quorate_config::Config::clone(config);
            config.replication.primary = match role {
                Role::Primary => None,
                Role::Replica { of } => {
                    Some(quorate_config::Primary { host: of.host.as_bytes().into(), port: of.port })
                }
            };
            config
        });
    }

    pub(super) fn publish_link(&self, server: &Arc<Server>) {
        let up = self.link_up;
        note_streaming(server);
        server.publish(|next| {
            if let PublishedRole::Replica(following) = &mut next.role {
                following.link_up = up;
            }
        });
    }

    fn perform_primary(&mut self, server: &Arc<Server>, alone: Option<&mut Alone<'_>>, output: primary::Output) {
        use primary::Output as P;
        match output {
            P::Continue { replica, id } => {
                if let Some(link) = Inner::peer(server, replica) {
                    link.write_line(format!("{}\r\n", continue_line(id)).as_bytes());
                }
            }
            P::FullResync { replica, id, at, line } => {
                let Some(link) = Inner::peer(server, replica) else { return };
                if !link.hold(&server.feed, at) {
                    return server.condemn(link.client);
                }
                if line {
                    link.write_line(format!("{}\r\n", full_resync_line(id, at)).as_bytes());
                }
            }
            P::Refuse { replica, why } => self.refuse(server, ClientId(replica.0), why.line()),
            P::TakeSnapshot { .. } => {
                let alone = alone.expect("a snapshot is begun alone");
                self.take_snapshot(server, alone, output);
            }
            P::SendSnapshot { id, replica, framing } => {
                if let Some(link) = Inner::peer(server, replica) {
                    self.send_snapshot(server, id, link, framing);
                }
            }
            P::EndSnapshot { id } => self.end_snapshot(server, id),
            P::StreamFrom { replica, from } => {
                let Some(link) = Inner::peer(server, replica) else { return };
                // The log may have moved on since the decision; the replica will ask again.
                match link.hold(&server.feed, from) {
                    true => link.go_online(&server.feed),
                    false => server.condemn(link.client),
                }
            }
            P::KeepAlive { replica } => {
                if let Some(link) = Inner::peer(server, replica) {
                    link.write_line(b"\n");
                }
            }
            P::Drop { replica, .. } => {
                let client = ClientId(replica.0);
                server.replicas.remove(&server.feed, client);
                server.condemn(client);
            }
            // A replica that takes over waits for the end of the stream, and this server for its replica.
            P::PingReplicas if server.node().is_some() && server.published().handover => {}
            P::PingReplicas => {
                server.feed.append_aside(PING);
                server.replicas.flush(&server.feed);
            }
            P::AskAcks => {
                server.feed.append_aside(GETACK);
                server.replicas.flush(&server.feed);
                if let Some(held) = server.feed.backlog() {
                    self.inputs.push_front(Input::Fed { held });
                }
            }
            P::WaitOver { id, local, replicas, why } => self.end_wait(server, id, local, replicas, why),
            P::GoodReplicas(count) => server.replicas.set_good(count),
        }
    }

    /// A client that waited for acknowledgements gets its answer.
    fn end_wait(&mut self, server: &Server, id: WaitId, local: bool, replicas: usize, why: WaitEnd) {
        let Some(goal) = self.waits.remove(&id) else { return };
        let reply = match why {
            WaitEnd::RoleChanged => crate::data::blocked::UNBLOCKED.to_vec(),
            _ => wait_reply(goal, local, replicas),
        };
        server.mail_client(ClientId(id.0), |client| Mail::Answer { client, reply });
    }

    /// The connection was no replica's after all.
    fn refuse(&self, server: &Arc<Server>, client: ClientId, line: &str) {
        server.replicas.remove(&server.feed, client);
        let line = format!("{line}\r\n").into_bytes();
        server.mail_client(client, |client| Mail::NoReplica { client, line });
    }

    fn perform_replica(&mut self, server: &Arc<Server>, output: replica::Output) {
        use replica::Output as R;
        let ours = |link| self.upstream.as_ref().filter(|upstream| upstream.link == link);
        match output {
            R::Connect { link, to } => match upstream::connect(server, link, to) {
                Ok(upstream) => self.upstream = Some(upstream),
                Err(error) => {
                    let why = format!("no thread for it: {error}");
                    self.inputs.push_back(Input::Replica(replica::Input::LinkDown { link, why }));
                }
            },
            R::Disconnect { link } => {
                if let Some(upstream) = self.upstream.take_if(|upstream| upstream.link == link) {
                    upstream.end(server);
                }
            }
            R::Send { link, request } => {
                if let Some(upstream) = ours(link) {
                    upstream.send(&request);
                }
            }
            R::Acknowledge { link, request, sure } => {
                if let Some(upstream) = ours(link).filter(|upstream| sure || !upstream.has_unread()) {
                    upstream.send(&request);
                }
            }
            R::Receive { link, framing } => {
                if let Some(upstream) = ours(link) {
                    upstream.go(Go::Receive(framing));
                }
            }
            R::Load { link } => {
                if let Some(upstream) = ours(link) {
                    upstream.go(Go::Load);
                }
            }
            R::AbortLoad { link } => {
                if let Some(upstream) = ours(link) {
                    upstream.abort();
                }
            }
            R::Stream { link, .. } => {
                note_streaming(server);
                if let Some(upstream) = ours(link) {
                    upstream.go(Go::Stream);
                }
            }
        }
    }
}

/// From here on our primary's stream flows, or up to here it did. However short that was, what we hold is its data as of now.
fn note_streaming(server: &Server) {
    server.streamed_at.fetch_max(server.mono().0.max(1), Ordering::Relaxed);
}

fn announce(server: &Server, event: &Event) {
    let counts = &server.control.counts;
    match event {
        Event::Peer(PeerEvent::Continues { .. }) => {
            counts.partial.fetch_add(1, Ordering::Relaxed);
        }
        Event::Peer(PeerEvent::NeedsAll { reason, .. }) => {
            counts.full.fetch_add(1, Ordering::Relaxed);
            if *reason != FullReason::Requested {
                counts.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        _ => {}
    }
    match event.level() {
        quorate_replication::Level::Notice => log::notice(&event.to_string()),
        quorate_replication::Level::Warning => log::warning(&event.to_string()),
    }
}

/// The reply of WAIT and WAITAOF.
pub(super) fn wait_reply(goal: Goal, local: bool, replicas: usize) -> Vec<u8> {
    let mut reply = Vec::new();
    if goal.durable {
        quorate_resp::push_multibulk(&mut reply, 2);
        quorate_resp::push_int(&mut reply, i64::from(local));
    }
    quorate_resp::push_int(&mut reply, replicas as i64);
    reply
}

impl Server {
    /// Lets a client be closed by the thread that owns it.
    pub fn condemn(&self, client: ClientId) {
        let found = self.clients.lock().get(&client).cloned();
        if let Some(found) = found {
            found.condemn();
            self.mail(found.worker, Mail::Look(client));
        }
    }

    /// Sends mail to the thread of a client, if that is still there.
    pub fn mail_client(&self, client: ClientId, mail: impl FnOnce(ClientId) -> Mail) {
        let worker = self.clients.lock().get(&client).map(|client| client.worker);
        if let Some(worker) = worker {
            self.mail(worker, mail(client));
        }
    }

    /// Sends mail to every network thread.
    pub fn mail_all(&self, mail: impl Fn() -> Mail) {
        for worker in 0..self.workers.get().map_or(0, Vec::len) {
            self.mail(worker, mail());
        }
    }
}

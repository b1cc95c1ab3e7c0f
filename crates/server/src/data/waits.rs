//! WAIT and WAITAOF: clients that wait until enough replicas have what they wrote.

use parking_lot::Mutex;
use quorate_resp::{push_int, push_multibulk};
use quorate_stdx::Offset;

use crate::data::client::ClientId;
use crate::data::worker::Mail;
use crate::server::Server;

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// So many replicas have applied the stream.
    Applied(usize),
    /// So many replicas, and we ourselves if `local`, have the stream on disk.
    OnDisk {
        /// Whether our own disk counts too.
        local: bool,
        /// How many replicas.
        replicas: usize,
    },
}

struct Wait {
    client: ClientId,
    worker: usize,
    offset: Offset,
    goal: Goal,
}

/// All who wait.
#[derive(Default)]
pub struct Waits {
    all: Mutex<Vec<Wait>>,
}

/// What there is to report about a goal: our own disk, and replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Whether our own disk has it.
    pub local: bool,
    /// How many replicas have it.
    pub replicas: usize,
}

impl Goal {
    /// How near it is.
    pub fn reached(self, server: &Server, offset: Offset) -> Reached {
        match self {
            Goal::Applied(_) => Reached { local: false, replicas: server.replicas.count_acked(offset) },
            Goal::OnDisk { .. } => Reached { local: false, replicas: server.replicas.count_fsynced(offset) },
        }
    }

    /// Whether that is enough.
    pub fn is_met(self, reached: Reached) -> bool {
        match self {
            Goal::Applied(replicas) => reached.replicas >= replicas,
            Goal::OnDisk { local, replicas } => reached.replicas >= replicas && (reached.local || !local),
        }
    }

    /// The reply.
    pub fn reply(self, reached: Reached) -> Vec<u8> {
        let mut reply = Vec::new();
        if let Goal::OnDisk { .. } = self {
            push_multibulk(&mut reply, 2);
            push_int(&mut reply, i64::from(reached.local));
        }
        push_int(&mut reply, reached.replicas as i64);
        reply
    }
}

impl Waits {
    /// Lets a client wait.
    pub fn add(&self, client: ClientId, worker: usize, offset: Offset, goal: Goal) {
        self.all.lock().push(Wait { client, worker, offset, goal });
    }

    /// Whether anybody waits.
    pub fn is_empty(&self) -> bool {
        self.all.lock().is_empty()
    }

    /// A replica has acknowledged something: answers those whose goal is met.
    pub fn look(&self, server: &Server) {
        self.all.lock().retain(|wait| {
            let reached = wait.goal.reached(server, wait.offset);
            let met = wait.goal.is_met(reached);
            if met {
                server.mail(wait.worker, Mail::Answer { client: wait.client, reply: wait.goal.reply(reached) });
            }
            !met
        });
    }

    /// A client's time is over: it gets what there is.
    pub fn expired(&self, server: &Server, client: ClientId) {
        self.all.lock().retain(|wait| {
            if wait.client != client {
                return true;
            }
            let reached = wait.goal.reached(server, wait.offset);
            server.mail(wait.worker, Mail::Answer { client, reply: wait.goal.reply(reached) });
            false
        });
    }

    /// A client has gone.
    pub fn forget(&self, client: ClientId) {
        self.all.lock().retain(|wait| wait.client != client);
    }

    /// The role has changed: nobody's goal can be met any more.
    pub fn release_all(&self, server: &Server) {
        for wait in self.all.lock().drain(..) {
            let reply =
                b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";
            server.mail(wait.worker, Mail::Answer { client: wait.client, reply: reply.to_vec() });
        }
    }
}

//! The replication protocol as state machines: who follows whom, what a replica is told when it asks to
//! synchronise, when a snapshot is shared, who has acknowledged what, how a primary hands over.
//!
//! It is not the replication stream. Bytes never enter this crate: the server's log holds them, and
//! the machine learns positions, coarsely. It knows no socket, file, clock, thread or dice either; its
//! driver performs what it decides ([`Output`]) and tells it what happened ([`Input`]).
//!
//! ```text
//!                    orders (REPLICAOF, FAILOVER)       Timeout
//!                                  │                      │
//!   replicas' requests  ┌──────────▼──────────────────────▼───────────┐   replies of our primary
//!   acks, snapshots ───►│ Replication                                  │◄─── payload, applied offset
//!                       │   Primary ── History, Backlog ── Replica     │
//!   replies, snapshots ◄│                  Handover                    │───► connect, handshake, load
//!                       └──────────┬───────────────────────────────────┘
//!                                  ▼
//!                     log on and off, role, history, pause of writes
//! ```
//!
//! Reading order: [`resync()`] (the PSYNC decision) and [`History`] are the heart and are pure; then the
//! rooms `primary`, `replica` and `handover`; [`Replication`] joins them; [`wire`] knows the texts.
//!
//! # What a driver promises
//!
//! 1. After each `handle` it drains `poll_output` and performs in order; what happens meanwhile is
//!    handed in afterwards.
//! 2. Inputs that change the role ([`Order`], a PSYNC with FAILOVER) are handed in while the data plane
//!    stands still, and [`Input::Fed`] or [`replica::Input::Applied`] with the exact end of the log
//!    comes before them. The same holds after a `Disconnect` of a streaming link: where the stream
//!    ended is reported before anything else.
//! 3. [`Input::Fed`] comes before each PSYNC, so that the decision knows what the log still holds (if
//!    it has moved on all the same, the driver closes the link and the replica asks again), and after each
//!    [`primary::Output::AskAcks`]. It tells of the log that the last `OpenLog` opened, never of an older one.
//! 4. Role, log and pause outputs take effect before the next output is performed.

mod backlog;
mod config;
mod event;
mod handover;
mod history;
mod introduction;
mod order;
pub mod primary;
pub mod replica;
mod replication;
mod resync;
#[cfg(test)]
mod sim;
pub mod tenure;
#[cfg(test)]
mod trace;
mod view;
mod wakes;
pub mod wire;

pub use config::{Config, Secret};
pub use event::{Event, FailoverEvent, Level, LinkEvent, PeerEvent};
pub use history::History;
pub use introduction::{Filter, Introduction, Replconf, ReplconfError};
pub use order::{Answer, Authority, Order, OrderId, OrderRefusal};
pub use replication::{Input, Output, Replication, Role, Start};
pub use resync::{AskedId, FullReason, Psync, Resync, resync};
pub use view::{BacklogView, LinkView, PeerState, PeerView, PrimaryView, RoleView, SyncView, View};
pub use wakes::Timer;

/// One connection of a replica to us; the server numbers them and never reuses a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// One attempt at a link to our primary; numbered by the machine, so that late news of an old link is known as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One snapshot taken for replicas; numbered by the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

/// One client that waits for acknowledgements; numbered by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitId(pub u64);

/// Where a server listens: a host name or address as it was given, unresolved, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr {
    /// As configured or announced; compared without regard to case.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Addr {
    /// An address from its parts.
    pub fn new(host: impl Into<String>, port: u16) -> Addr {
        Addr { host: host.into(), port }
    }

    /// Whether both name the same place, as far as the texts tell.
    pub fn same_place(&self, other: &Addr) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }
}

impl std::fmt::Display for Addr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

//! The cluster's protocol: who serves which of the 16384 slots, who is alive, and who takes over.
//!
//! It knows no socket, file, clock, thread or dice, and no keys: bytes of the bus become a [`packet::Packet`] in one
//! place, those of nodes.conf become a [`NodesConf`] in another, and between them [`Cluster`] is a pure machine that takes
//! [`Input`]s and says by [`Output`]s what is to be done.
//!
//! ```text
//!            operators' commands      Timeout
//!                     │                  │
//!   links up, down ┌──▼──────────────────▼───────────────────┐
//!   packets ──────►│ heartbeat ─► failure ─► election ─┐      │──► connect, send, disconnect
//!   replication's  │     │                      claims ◄┘      │──► persist (a barrier)
//!   status ───────►│     └────────────────────► state          │──► publish the slot map, follow, lead, pause
//!                  └───────────────────────────────────────────┘
//! ```
//!
//! Reading order: [`packet`] and [`NodesConf`] are the world outside; `node` is what is known of one node, `cluster` the
//! machine, and each of its rooms answers one question: `heartbeat` (what do we tell, what are we told), `failure` (who is
//! down), `fitness` (are we),
//! `claims` (whose is a slot), `election` (who takes over), `manual` (at an operator's wish), `migration` (where a
//! replica is needed), `transfer`, `giving` and `taking` (how slots move with their keys), `state` (does the cluster work),
//! `orders` (what operators may do).
//!
//! # What a driver promises
//!
//! 1. After each `handle` it drains `poll_output` and performs in order; what happens meanwhile is handed in afterwards.
//! 2. [`Output::Persist`] is on disk before any later output is performed: a vote is sent only if it can't be forgotten.
//! 3. [`Output::Publish`] is in force for every command that begins after it was performed, and a command that began
//!    before has ended by then.
//! 4. [`Input::Replication`] comes before each timeout, and as soon as the link to our primary breaks.
//! 5. While [`Output::Drain`] is not answered, nothing is sent to the target but what the log holds of its slots; and
//!    [`GivingNews::Drained`] means that the target has applied all of it.

mod claims;
mod cluster;
mod config;
mod election;
mod epoch;
mod event;
mod failure;
mod fitness;
mod flags;
mod giving;
mod heartbeat;
mod id;
mod links;
mod manual;
mod map;
mod migration;
mod node;
mod nodes_conf;
mod orders;
pub mod packet;
#[cfg(test)]
mod sim;
mod slots;
mod state;
mod taking;
mod text;
mod transfer;
mod view;

pub use cluster::{CloseReason, Cluster, Input, LinkId, Output, ReplicaStatus, Timer};
pub use config::{Announce, Config};
pub use epoch::Epoch;
pub use event::{Event, Level};
pub use flags::NodeFlags;
pub use giving::GivingNews;
pub use id::{NodeId, ShardId};
pub use map::{Asked, Map, Place, Route};
pub use node::{Address, Health, Role};
pub use nodes_conf::{ConfError, NodesConf, SavedGrant, SavedNode};
pub use orders::{Answer, Order, OrderId, SlotOrder};
pub use slots::{SLOTS, Slots};
pub use transfer::{TransferId, TransferView};
pub use view::{Info, LinkView, ShardView, View};

//! The cluster's protocol: who serves which of the 16384 slots, who is alive, and who takes over.
//!
//! It knows no socket, file, clock, thread or dice, and no keys: bytes of the bus become a [`packet::Packet`] in one
//! place, those of nodes.conf become a [`NodesConf`] in another, and what is beyond them is pure.

mod epoch;
mod flags;
mod id;
mod nodes_conf;
pub mod packet;
mod slots;
mod text;

pub use epoch::Epoch;
pub use flags::NodeFlags;
pub use id::{NodeId, ShardId};
pub use nodes_conf::{ConfError, NodesConf, SavedNode};
pub use slots::{SLOTS, Slots};

//! What a deployment looks like from outside: found from any one address, told as data.
//!
//! It speaks with our servers and with real ones alike, by what both document: INFO, SENTINEL, CLUSTER NODES. It decides
//! whom to ask what, and reads the answers; it opens no connection itself and knows no clock.
//!
//! ```text
//!  replies, announcements ──► Explorer ──► questions, whom to listen to
//!                                │
//!                                ├──► Topology: nodes, replication trees, Sentinels' views, shards
//!                                │        └──► health: what is wrong, and how badly
//!                                └──► events, and the stories of failovers that they make
//! ```
//!
//! What a server says is never trusted to be true, small or printable: what can't be read is left out, nodes are counted, and
//! whoever shows a text makes it harmless for its medium.

mod address;
mod cluster;
mod events;
mod explorer;
mod facts;
mod groups;
mod health;
mod info;
mod node;
mod pairs;
mod plan;
mod question;
mod sentinel;
mod story;

pub use address::Address;
pub use cluster::{Cluster, Member, Moving, SlotRange};
pub use events::{Event, Kind, Tone};
pub use explorer::{Explorer, Input, Output, Pace, Timer};
pub use facts::{Attached, Facts, Load, Make, Part, Role};
pub use groups::{Branch, Group, Shard};
pub use health::{Health, Problem, Verdict};
pub use info::Info;
pub use node::{Fault, Node, State, Topology};
pub use plan::{Command, Plan, PlanStep, Shift, Wish};
pub use question::{Channels, Question};
pub use sentinel::{Watched, WatchedPeer};
pub use story::{Step, Story};

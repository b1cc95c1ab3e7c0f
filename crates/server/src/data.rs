//! The data plane: network threads, connections, the way of a command, the log.

pub mod backlog;
pub mod blocked;
pub mod call;
pub mod client;
pub mod client_memory;
pub mod dispatch;
pub mod evict;
pub mod functions;
pub mod gates;
pub mod guard;
pub mod histogram;
pub mod memory;
pub mod net;
pub mod own_expiries;
pub mod pubsub;
pub mod redirect;
pub mod replicas;
pub mod script_host;
pub mod scripts;
pub mod slot_load;
pub mod stats;
pub mod stream;
pub mod table;
pub mod ticks;
pub mod upkeep;
pub mod worker;

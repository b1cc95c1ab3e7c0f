//! The server: network threads around the keyspace, and everything that commands need besides data.
//!
//! `data/` is the way of a request: read `data/worker.rs`, `data/dispatch.rs`, `data/call.rs`
//! in this order; the log that they append to is the crate `quorate-feed`. `admin/` holds the commands that need the server.

pub mod admin;
pub mod apply;
pub mod command_line;
pub mod control;
pub mod dashboard;
pub mod data;
pub mod desk;
pub mod listen;
pub mod locks;
pub mod log;
pub mod manual;
pub mod metrics;
pub mod partition;
pub mod persist;
pub mod process;
pub mod published;
pub mod rest;
pub mod sentinel;
pub mod server;
pub mod shutdown;
pub mod socket;
pub mod start;
pub mod users;

/// The version of Redis whose behaviour clients may rely on.
pub const REDIS_VERSION: &str = "7.2.4";

/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

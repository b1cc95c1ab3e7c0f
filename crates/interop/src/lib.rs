//! The server as a process of its own, for tests that see it from outside: by many connections at once, and by the client
//! libraries that people use. Only tests use this.
//!
//! The tests start the binary that was built last in the same profile: `cargo build -p quorate-server` comes first. Another
//! one is named by QUORATE_BINARY.

pub mod browser;
pub mod certificates;
mod checker;
pub mod cluster;
pub mod dataset;
pub mod deployment;
pub mod faults;
pub mod idle;
pub mod local;
pub mod peers;
pub mod pseudo_terminal;
mod server;
pub mod shards;
pub mod soak;

pub use checker::{Model, Record, linearize};
pub use server::{PATIENCE, Server, await_that, binary, free_port, is_redis_installed, pause};

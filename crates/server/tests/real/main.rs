//! The server as a process of its own, over real connections.

mod blocking;
mod scripts;
mod server;

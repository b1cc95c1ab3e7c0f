//! The lock as programs use it: on tokio, over redis-rs.
//!
//! Nothing about the protocol is decided here. [`session`] performs what a [`Lock`](crate::Lock) decides for one lock;
//! [`node`] keeps a connection to each server; [`wire`] says commands in Redis' words; [`ears`] hears of releases;
//! [`guard`] is what a holder has.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the world that the machine does not know"
)]

mod builder;
mod clock;
#[cfg(test)]
mod conformance;
mod ears;
mod error;
pub mod fenced;
mod guard;
mod inspect;
mod node;
mod redlock;
mod request;
mod session;
#[doc(hidden)]
pub mod stand;
mod wire;

pub use builder::{BuildError, Builder};
pub use error::{CheckError, ExtendError, LockError, NodeVotes, WithError};
pub use guard::{Guard, Held, Loss, Release};
pub use inspect::{NodeView, ResourceView};
pub use redlock::RedLock;
pub use request::Request;

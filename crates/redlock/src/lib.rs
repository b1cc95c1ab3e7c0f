//! RedLock: a lock that a majority of independent servers grants, so that no single one of them has to be trusted to stay up.
//!
//! It is not consensus. It rests on time: a lock is valid for its TTL, less what the request took and what clocks may drift.
//! Whoever must be safe when that assumption fails passes the *fencing token* along with each write, and the store refuses a
//! token that is older than one it has seen.
//!
//! ```text
//!                      ┌────────────────────────────┐
//!   driver (tokio) ───►│ Lock: one lock's whole life│───► Send{node, request, command}, Granted, Lost, ...
//!   replies, timeouts  │  asking → held → over      │
//!                      └────────────────────────────┘
//! ```
//!
//! Reading order: [`Terms`] (what a lock is asked for), [`vote`] (what a node can say), [`Lock`] (the machine).
//! `sim` runs many of them against model servers that crash, forget, and have clocks of their own.
//!
//! # What a driver promises
//!
//! 1. After each `handle` it drains `poll_output` and performs in order.
//! 2. Requests to one node are performed there in the order in which they were sent, unless its connection breaks in between.
//! 3. Each request is answered at most once, with what the node said or with why it could not be asked.

pub mod command;
mod driver;
mod lock;
mod round;
#[cfg(test)]
mod sim;
mod terms;
pub mod vote;

pub use command::Command;
#[doc(hidden)]
pub use driver::stand;
pub use driver::{
    BuildError, Builder, CheckError, ExtendError, Guard, Held, LockError, Loss, NodeView, NodeVotes, RedLock, Release,
    Request, ResourceView, WithError, fenced,
};
pub use lock::{Grant, Input, Lock, LossReason, Output, Refusal, RefusalReason, Released, Timer};
pub use terms::{Drift, MAX_TTL, MIN_TTL, Retry, Terms, TermsError, Token};
pub use vote::{Answer, Fault, Vote, Votes};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;

/// A server, by its place in the list that the lock was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// One request to one node; numbered by the machine and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// How many of `nodes` servers are a majority.
pub fn quorum(nodes: usize) -> usize {
    nodes / 2 + 1
}

//! Sentinel as a state machine: who is down, who leads, which replica is promoted, whom everybody follows, and where
//! clients are sent.
//!
//! It knows no socket, file, clock, thread or dice. Its driver opens the connections that it asks for, sends what it says,
//! reads replies with [`wire::read`] and hellos with [`hello::parse`], and tells it what happened ([`Input`]); the rest is
//! done by the outputs ([`Output`]).
//!
//! ```text
//!   servers: PING INFO PUBLISH ──► link ──► primary ──► down ──► vote ──► failover ──► orders to servers, hellos
//!   other Sentinels: hello, opinions, votes ──┘           │        │          │
//!   operators: MONITOR SET FAILOVER ..                    └────────┴──────────┴──► events, SENTINEL EXPLAIN, the disk
//! ```
//!
//! Reading order: `hello`, `info` and `wire` are what is said; `link` and `primary` are what is known; `down`, `vote`,
//! `choice`, `failover` and `correct` are what is decided; [`Sentinel`] joins them; `saved` is what survives.
//!
//! # What a driver promises
//!
//! 1. After each `handle` it drains `poll_output` and performs in order; what happens meanwhile is handed in afterwards.
//! 2. [`Output::Persist`] is a barrier, and is answered with [`Input::Persisted`].
//! 3. Replies are handed in in the order of the requests of their connection, each with its request's tag. When a connection
//!    is gone, that is said once, and nothing of it any more.

mod address;
mod choice;
mod core;
mod correct;
mod down;
mod event;
mod failover;
pub mod hello;
pub mod info;
mod link;
mod machine;
mod names;
mod order;
mod primary;
pub mod saved;
mod scripts;
pub mod settings;
#[cfg(test)]
mod sim;
mod story;
mod tenure;
pub mod view;
mod vote;
pub mod wire;

pub use address::{Addr, is_host};
pub use core::Failpoints;
pub use event::{Event, Level};
pub use machine::{ConnId, Input, LostReason, NoSuchPrimary, Output, Reply, Sentinel, Setup, Timer};
pub use order::{Change, Order, period};
pub use quorate_stdx::ReplId as RunId;
pub use scripts::{JobId, ScriptEnd};

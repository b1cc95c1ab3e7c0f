//! The data commands: what each takes, does, answers and passes on to replicas.
//!
//! One directory a group, one file a family; `table.rs` is the list. Commands are synchronous and pure,
//! given their [`Exec`]: they know no socket, no thread, no role and no cluster.

mod args;
mod bitmap;
mod block;
mod categories;
mod effects;
mod error;
mod events;
mod exec;
mod expiry;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod list;
mod sample;
mod set;
mod sorted_set;
mod spec;
mod stream;
mod string;
mod table;
#[cfg(test)]
mod testing;

pub use args::Args;
pub use block::{Block, TimeoutReply};
pub use categories::{CATEGORIES, categories};
pub use effects::Effects;
pub use error::CommandError;
pub use events::{Class, Event, Events};
pub use exec::{Exec, Origin, Outcome, Settings};
pub use spec::{Access, Arity, Flags, Group, Indices, Keys, Run, Spec};
pub use table::TABLE;

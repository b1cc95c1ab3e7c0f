//! The engine behind EVAL and FCALL: Lua scripts in a sandbox, with the libraries and the rules of Redis.
//!
//! It knows neither keys nor sockets. A script reaches its server through the [`Host`] that runs it,
//! and what it returns comes out as the bytes of a reply. The Lua underneath is Luau; what a script
//! can see of that is listed in `docs/lua.md`.
//!
//! Theory: one [`Engine`] holds one Lua state, in which every script is compiled once and which no
//! script can change. The globals and everything they lead to are readonly; each call gets its own
//! `KEYS` and `ARGV` and nothing else that outlives a call can be written to.
//!
//! Reading order: [`host`] and [`engine`] are the outside; [`sandbox`] says what scripts find;
//! [`api`], [`reply`] and [`answer`] are the way to the server and back; [`lua`] is the only file
//! that talks to Luau.

mod answer;
mod api;
mod bit;
mod cjson;
mod cmsgpack;
mod dialect;
mod engine;
mod host;
mod library;
mod lua;
mod number;
mod packing;
mod random;
mod reply;
mod sandbox;
mod session;
mod sha;
mod shebang;
#[cfg(test)]
mod trial;

pub use engine::{Call, Engine, LoadError, Options, Outcome};
pub use host::{Host, LogLevel, Replicate, Stop};
pub use library::{Function, Functions, Library, LibraryError};
pub use sha::ScriptId;
pub use shebang::{Flags, ShebangError, declared_flags};

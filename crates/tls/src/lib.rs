//! TLS: what `tls-*` directives say becomes contexts ([`Contexts`]), and a context makes of a socket that doesn't block an
//! encrypted one ([`Stream`]).
//!
//! This is the only crate that knows the library. It opens no socket, has no thread and no clock of its own but that which
//! certificates and kept sessions need; who reads, who writes and how long a handshake may take is the caller's business.

mod blocking;
mod contexts;
mod encrypted_key;
mod encryption;
mod files;
mod sessions;
mod stream;
mod suites;

#[cfg(test)]
mod tests;

pub use blocking::{Blocking, Connection};
pub use contexts::{Contexts, Error, Outgoing, Web};
pub use encryption::Encryption;
pub use stream::Stream;

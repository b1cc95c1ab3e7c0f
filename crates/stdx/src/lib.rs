//! What every room of Quorate shares and std lacks: instants that are passed in, a seeded
//! generator, replication ids and the contract of a state machine.
//!
//! It imports nothing of ours, and it reads no clock and throws no dice: time and randomness are
//! arguments here, so that whatever is built on it can be replayed.

mod id;
mod machine;
mod rng;
mod seeds;
mod time;

pub use id::ReplId;
pub use machine::Machine;
pub use rng::Rng;
pub use seeds::seeds;
pub use time::{Mono, Now, UnixMs};

/// A position in a replication stream, in bytes since the history began.
///
/// The first byte of a history has offset 1 on the wire (PSYNC asks for the *next* byte wanted);
/// an `Offset` is the number of bytes that precede a point, so that `PSYNC id n+1` follows `Offset(n)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset `bytes` further on.
    pub fn advance(self, bytes: usize) -> Offset {
        Offset(self.0 + bytes as u64)
    }
}

impl std::fmt::Display for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

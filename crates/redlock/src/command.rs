//! What a node is asked to do. The driver says it in Redis' words, the simulation does it on a model.

use std::time::Duration;

use crate::Token;

/// One request about the lock's resources, all of them or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Lock, if nobody has.
    Acquire {
        /// What to store.
        token: Token,
        /// For how long.
        ttl: Duration,
        /// Whether to raise the counters and say what they stand at.
        is_fenced: bool,
        /// Our place among those who wait, if order matters.
        place: Option<Place>,
    },
    /// Raise the counters to this, if they are lower, and only if the lock is ours still.
    Raise {
        /// Whose lock it must be.
        token: Token,
        /// The fencing token.
        fence: u64,
    },
    /// Let the lock last this long from now on, only if it is ours still.
    Extend {
        /// Whose lock it must be.
        token: Token,
        /// For how long.
        ttl: Duration,
    },
    /// Unlock what is ours.
    Release {
        /// Whose locks to remove.
        token: Token,
        /// Whether to tell those who wait.
        is_told: bool,
        /// The place among those who wait, to be given up.
        leave: Option<Place>,
    },
}

/// A place among those who wait. Every node orders by it in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Who waits: the identity of the lock.
    pub waiter: Token,
    /// Since when, in microseconds of its wall clock: what the order goes by.
    pub since: i64,
    /// For how long a node remembers it if we don't ask again.
    pub patience: Duration,
}

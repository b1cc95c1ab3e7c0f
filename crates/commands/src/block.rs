//! What a blocking command asks for when it can't be served at once.

use quorate_stdx::UnixMs;

/// What a client gets that has waited in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutReply {
    /// The absent value (BLMOVE, BRPOPLPUSH).
    Null,
    /// The absent array (BLPOP, BZPOPMIN, BLMPOP ...).
    NullArray,
}

/// A command that wants to be run again when one of its keys may serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The keys to wait for, in the order in which the command looks at them.
    pub keys: Vec<Box<[u8]>>,
    /// When to give up; `None` is never.
    pub until: Option<UnixMs>,
    /// What to answer then.
    pub reply: TimeoutReply,
    /// The request to run again, if not the one that waits.
    pub again: Option<Vec<Vec<u8>>>,
    /// Whether it is run again also when one of its keys is lost, or becomes something else: it answers with an error
    /// then.
    pub wakes_on_loss: bool,
}

impl Block {
    /// A request that is run again as it is, when one of `keys` may serve it.
    pub fn new(keys: &[&[u8]], until: Option<UnixMs>, reply: TimeoutReply) -> Block {
        let keys = keys.iter().map(|key| Box::from(*key)).collect();
        Block { keys, until, reply, again: None, wakes_on_loss: false }
    }
}

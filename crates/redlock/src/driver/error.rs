//! Errors, which say how each node voted.

use std::fmt;
use std::sync::Arc;

use super::guard::Loss;
use crate::{Fault, RefusalReason, TermsError, Vote, Votes, quorum};

/// Each server's vote, with its address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeVotes(pub Vec<(String, Vote)>);

impl NodeVotes {
    pub(crate) fn new(addresses: &Arc<[String]>, votes: Votes) -> NodeVotes {
        NodeVotes(addresses.iter().cloned().zip(votes.0).collect())
    }

    /// How many said yes.
    pub fn yes(&self) -> usize {
        self.0.iter().filter(|(_, vote)| *vote == Vote::Yes).count()
    }
}

impl fmt::Display for NodeVotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} said yes, {} are needed: ", self.yes(), self.0.len(), quorum(self.0.len()))?;
        for (index, (address, vote)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{address} {vote}")?;
        }
        Ok(())
    }
}

/// A lock that could not be had.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LockError {
    /// The servers did not grant it.
    #[error("not locked after {attempts} attempts: {}; {votes}", describe(*reason))]
    NotAcquired {
        /// The last attempt's votes.
        votes: NodeVotes,
        /// Why they were not enough.
        reason: RefusalReason,
        /// How many attempts were made.
        attempts: u32,
    },
    /// It can't be asked for like this.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// No resource was named, or one without a name.
    #[error("there is no resource without a name: name what is to be locked")]
    NoResource,
}

fn describe(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::NoMajority => "no majority",
        RefusalReason::TooLate => "a majority, but so late that nothing of the TTL is left (raise it)",
        RefusalReason::Unfenced => "a majority, but the fencing token did not reach one in time",
    }
}

/// A lock that could not be extended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtendError {
    /// Too few servers extended it. It stays valid for as long as it was.
    #[error("not extended: {0}")]
    NoMajority(NodeVotes),
    /// It can't be extended like this.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// It is not ours any more.
    #[error("the lock is lost: {0}")]
    Lost(Loss),
}

/// Work under a lock that did not come to its end.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WithError {
    /// It was not begun.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The lock was lost before it was done. The work's future was dropped then.
    #[error("the lock was lost before the work was done: {0}")]
    Lost(Loss),
}

/// Servers that must not be used together, or can't be used at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckError(pub Vec<(String, Fault)>);

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (address, fault)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "; " };
            write!(f, "{comma}{address} {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for CheckError {}

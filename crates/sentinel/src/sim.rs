//! A whole deployment in one thread (to come).

/// Bugs that the checkers must catch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A vote is told before it is on disk.
    VotesBeforePersist,
    /// A second vote in the same epoch.
    VotesTwice,
    /// The majority of those that can be reached is enough.
    MajorityOfLive,
}

//! What a node can say, and why one could not be asked. An error of a lock shows these, one for each node.

use std::fmt;

use crate::NodeId;

/// What came of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was done; the counter of the resource, if a fencing token was asked for.
    Done {
        /// What the node's counter stands at now.
        fence: Option<u64>,
    },
    /// Somebody else holds it (an acquisition), or we don't (everything else).
    NotOurs,
    /// It may have been done or not.
    Failed(Fault),
}

/// Why a node gave no vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No connection.
    Unreachable(String),
    /// No answer within the node's deadline.
    Silent,
    /// It answered with an error.
    Refused(String),
    /// It is a replica: what it grants can be lost with its primary, so its vote counts for nothing.
    Replica {
        /// The primary that it named.
        of: String,
    },
    /// It is the same server as another one of the list, which votes already.
    Duplicate(NodeId),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unreachable(why) => write!(f, "unreachable: {why}"),
            Fault::Silent => f.write_str("no answer in time"),
            Fault::Refused(text) => write!(f, "refused: {text}"),
            Fault::Replica { of } => write!(f, "is a replica of {of}; list independent primaries only"),
            Fault::Duplicate(NodeId(other)) => write!(f, "is the same server as number {} of the list", other + 1),
        }
    }
}

/// What is known of one node in one round of questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// It was asked, and there was no time or need to wait for its answer.
    Pending,
    /// It did what was asked.
    Yes,
    /// The lock is somebody else's there, or nobody's.
    No,
    /// It gave no vote.
    Failed(Fault),
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Vote::Pending => f.write_str("no answer yet"),
            Vote::Yes => f.write_str("yes"),
            Vote::No => f.write_str("no"),
            Vote::Failed(fault) => fault.fmt(f),
        }
    }
}

/// One vote for each node, in the order of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Votes(pub Vec<Vote>);

impl Votes {
    /// How many said yes.
    pub fn yes(&self) -> usize {
        self.0.iter().filter(|vote| **vote == Vote::Yes).count()
    }

    /// How many said no.
    pub fn no(&self) -> usize {
        self.0.iter().filter(|vote| **vote == Vote::No).count()
    }
}

impl fmt::Display for Votes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, vote) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}: {vote}", index + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_told_node_by_node() {
        let votes = Votes(vec![
            Vote::Yes,
            Vote::No,
            Vote::Pending,
            Vote::Failed(Fault::Replica { of: "h:1".into() }),
            Vote::Failed(Fault::Duplicate(NodeId(0))),
        ]);
        assert_eq!((votes.yes(), votes.no()), (1, 1));
        assert_eq!(
            votes.to_string(),
            "1: yes, 2: no, 3: no answer yet, 4: is a replica of h:1; list independent primaries only, \
             5: is the same server as number 1 of the list"
        );
    }
}

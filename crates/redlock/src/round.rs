//! One question to all nodes, and the count of their votes.

use quorate_stdx::Mono;

use crate::{Answer, Fault, NodeId, RequestId, Vote, Votes, quorum};

/// One question, asked of all nodes at one instant.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) sent_at: Mono,
    /// When whoever has not answered counts as silent.
    pub(crate) deadline: Mono,
    votes: Vec<Vote>,
    requests: Vec<Option<RequestId>>,
    quorum: usize,
}

impl Round {
    pub(crate) fn new(nodes: usize, sent_at: Mono, deadline: Mono) -> Round {
        Round {
            sent_at,
            deadline,
            votes: vec![Vote::Pending; nodes],
            requests: vec![None; nodes],
            quorum: quorum(nodes),
        }
    }

    /// Whom a request went to; an answer counts if it is to that one.
    pub(crate) fn asked(&mut self, node: NodeId, request: RequestId) {
        self.requests[node.0] = Some(request);
    }

    /// Counts an answer; whether it was to this round, and the first of its node. A late one counts still: the node did it.
    pub(crate) fn count(&mut self, node: NodeId, request: RequestId, answer: &Answer) -> bool {
        if self.requests.get(node.0).copied().flatten() != Some(request) {
            return false;
        }
        self.requests[node.0] = None;
        self.votes[node.0] = match answer {
            Answer::Done { .. } => Vote::Yes,
            Answer::NotOurs => Vote::No,
            Answer::Failed(fault) => Vote::Failed(fault.clone()),
        };
        true
    }

    /// Whoever has not answered by the deadline is silent.
    pub(crate) fn expire(&mut self, now: Mono) {
        if now >= self.deadline {
            for vote in self.votes.iter_mut().filter(|vote| **vote == Vote::Pending) {
                *vote = Vote::Failed(Fault::Silent);
            }
        }
    }

    pub(crate) fn vote(&self, node: NodeId) -> &Vote {
        &self.votes[node.0]
    }

    pub(crate) fn set(&mut self, node: NodeId, vote: Vote) {
        self.votes[node.0] = vote;
    }

    fn count_of(&self, is: fn(&Vote) -> bool) -> usize {
        self.votes.iter().filter(|vote| is(vote)).count()
    }

    pub(crate) fn pending(&self) -> usize {
        self.count_of(|vote| *vote == Vote::Pending)
    }

    pub(crate) fn yes(&self) -> usize {
        self.count_of(|vote| *vote == Vote::Yes)
    }

    pub(crate) fn no(&self) -> usize {
        self.count_of(|vote| *vote == Vote::No)
    }

    /// A majority of all nodes has said yes, of those that answered or not.
    pub(crate) fn is_won(&self) -> bool {
        self.yes() >= self.quorum
    }

    /// There can't be a majority any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.yes() + self.pending() < self.quorum
    }

    /// So many have said no that there is no majority that could be ours.
    pub(crate) fn is_refuted(&self) -> bool {
        self.votes.len() - self.no() < self.quorum
    }

    pub(crate) fn votes(&self) -> Votes {
        Votes(self.votes.clone())
    }

    /// The quorum of a lock that counts only those who answer: a bug that the simulation must see.
    #[cfg(test)]
    pub(crate) fn shrink_quorum(&mut self) {
        let answering = self.count_of(|vote| !matches!(vote, Vote::Failed(_)));
        self.quorum = quorum(answering.max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(answers: &[Option<bool>]) -> Round {
        let mut round = Round::new(answers.len(), Mono(0), Mono(10));
        for (index, answer) in answers.iter().enumerate() {
            let (node, request) = (NodeId(index), RequestId(index as u64));
            round.asked(node, request);
            match answer {
                Some(true) => assert!(round.count(node, request, &Answer::Done { fence: None })),
                Some(false) => assert!(round.count(node, request, &Answer::NotOurs)),
                None => {}
            }
        }
        round
    }

    #[test]
    fn a_majority_of_all_decides_as_soon_as_it_can() {
        let (yes, no) = (Some(true), Some(false));
        for (answers, is_won, is_lost) in [
            (&[yes, yes, None, None, None][..], false, false),
            (&[yes, yes, yes, None, None], true, false),
            (&[no, no, None, None, None], false, false),
            (&[no, no, no, None, None], false, true),
            (&[yes, yes, None, None], false, false),
            (&[yes, yes, no, no], false, true),
            (&[yes], true, false),
        ] {
            let round = round(answers);
            assert_eq!((round.is_won(), round.is_lost()), (is_won, is_lost), "{answers:?}");
        }
    }

    #[test]
    fn silence_counts_as_none_and_an_answer_counts_once() {
        let mut round = round(&[Some(true), None, None]);
        round.expire(Mono(9));
        assert_eq!(round.pending(), 2);
        round.expire(Mono(10));
        assert!(round.is_lost() && !round.is_refuted());
        assert!(!round.count(NodeId(0), RequestId(0), &Answer::NotOurs));
        assert!(round.count(NodeId(1), RequestId(1), &Answer::Done { fence: None }));
        assert!(round.is_won());
    }
}

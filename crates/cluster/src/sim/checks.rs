//! What must be true.

use std::collections::BTreeMap;

use crate::{Epoch, NodeId};

/// What is remembered of all that was seen, beyond what any node remembers.
#[derive(Default)]
pub(crate) struct Witness {
    /// Who voted for whom in an epoch.
    votes: BTreeMap<(NodeId, Epoch), NodeId>,
    /// Who won an election in an epoch.
    winners: BTreeMap<Epoch, NodeId>,
}

impl Witness {
    /// A node has one vote in an epoch, also if it crashes in between.
    pub(crate) fn voted(&mut self, voter: NodeId, epoch: Epoch, candidate: NodeId) -> Result<(), String> {
        let before = *self.votes.entry((voter, epoch)).or_insert(candidate);
        match before == candidate {
            true => Ok(()),
            false => Err(format!("{voter:?} voted for {before:?} and for {candidate:?} in epoch {epoch}")),
        }
    }

    /// An epoch has one winner, and a majority of the voters has chosen it.
    pub(crate) fn won(&mut self, epoch: Epoch, winner: NodeId, majority: usize) -> Result<(), String> {
        let before = *self.winners.entry(epoch).or_insert(winner);
        if before != winner {
            return Err(format!("{before:?} and {winner:?} won with the votes of epoch {epoch}"));
        }
        let votes = self.votes.iter().filter(|((_, of), candidate)| *of == epoch && **candidate == winner).count();
        match votes >= majority {
            true => Ok(()),
            false => Err(format!("{winner:?} won epoch {epoch} with {votes} votes of {majority} needed")),
        }
    }
}

/// A slot goes only to an owner with a greater epoch.
pub(crate) fn check_slot(slot: u16, before: Option<Epoch>, after: Option<Epoch>) -> Result<(), String> {
    match (before, after) {
        (Some(before), Some(after)) if after < before => {
            Err(format!("slot {slot} went from epoch {before} to the older epoch {after}"))
        }
        _ => Ok(()),
    }
}

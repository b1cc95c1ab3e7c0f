//! The target of a migration: whom it lets write to slots that aren't its own yet, and when they are.

use quorate_stdx::UnixMs;

use crate::cluster::Cluster;
use crate::event::Event;
use crate::orders::Answer;
use crate::transfer::{Ending, TransferId, TransferView};
use crate::{Epoch, NodeId, SavedGrant, Slots};

/// Slots that are coming.
#[derive(Debug, Clone)]
pub(crate) struct Taking {
    pub(crate) from: NodeId,
    pub(crate) slots: Slots,
    created: UnixMs,
    heard: UnixMs,
}

/// Slots that have come, as long as their source has not shown that it knows. If we don't live to hear that, it may have taken
/// them back, as of a node that is lost.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    from: NodeId,
    epoch: Epoch,
    slots: Slots,
    /// We have ended since, and don't know what happened meanwhile.
    is_in_doubt: bool,
}

impl Taking {
    pub(crate) fn view(&self, id: TransferId, target: NodeId) -> TransferView {
        TransferView {
            id,
            exports: false,
            slots: self.slots.clone(),
            source: self.from,
            target,
            created: self.created,
            updated: self.created,
            heard: self.heard,
            state: "receiving-snapshot",
            message: String::new(),
            behind: 0,
        }
    }
}

impl Cluster {
    /// Whether a slot is coming.
    pub(crate) fn takes(&self, slot: u16) -> bool {
        self.taking.values().any(|taking| taking.slots.has(slot))
    }

    /// A source wants to send us what is in its slots.
    pub(crate) fn take(&mut self, id: TransferId, from: NodeId, slots: Slots, is_empty: bool) -> Result<(), String> {
        if !self.myself().is_primary() {
            return Err("Target node is not a primary".into());
        }
        if slots.is_empty() || self.taking.contains_key(&id) {
            return Err("This migration is under way already, or has no slots".into());
        }
        if let Some(slot) = slots.iter().find(|slot| self.owners[usize::from(*slot)] != Some(from)) {
            return Err(format!("Slot {slot} is not served by node {from}, as the target node knows"));
        }
        let is_busy = |slot: &u16| self.importing.contains_key(slot) || self.takes(*slot);
        if let Some(slot) = slots.iter().find(is_busy) {
            return Err(format!("Slot {slot} is being imported by the target node already"));
        }
        if !is_empty {
            return Err("Keys of the slots are left over at the target node".into());
        }
        let now = self.now.unix;
        self.announce(Event::TakingBegins { id, from, count: slots.len() });
        self.taking.insert(id, Taking { from, slots, created: now, heard: now });
        self.is_map_dirty = true;
        Ok(())
    }

    /// The source has sent everything, and lets us claim the slots with this epoch. What we answer is the claim itself, when it
    /// is written down.
    pub(crate) fn on_grant(&mut self, id: TransferId, epoch: Epoch) -> Answer {
        let Some(taking) = self.taking.get(&id) else {
            return Answer::Refused("There is no such migration".into());
        };
        if self.is_in_doubt() {
            return Answer::Refused("The target node is handing slots over itself".into());
        }
        let greatest = self.current_epoch.max(self.last_vote_epoch);
        if epoch <= greatest {
            return Answer::Outdated(greatest);
        }
        let (from, slots) = (taking.from, taking.slots.clone());
        self.claimed.insert(id, Claimed { from, epoch, slots: slots.clone(), is_in_doubt: false });
        self.current_epoch = epoch;
        self.myself_mut().config_epoch = epoch;
        self.give_slots(&slots, Some(self.me));
        self.end_taking(id, Ending::Success);
        self.state.is_stale = true;
        self.persist();
        self.tell(|_| true);
        Answer::Ok
    }

    /// What is claimed and not confirmed, to be remembered.
    pub(crate) fn to_saved_claims(&self) -> Vec<SavedGrant> {
        let saved = |(id, claimed): (&TransferId, &Claimed)| {
            let Claimed { from, epoch, slots, .. } = claimed.clone();
            SavedGrant { id: *id, other: from, epoch, slots }
        };
        self.claimed.iter().map(saved).collect()
    }

    /// Goes on where we were when we had claimed slots and did not live to hear that their source knows.
    pub(crate) fn adopt_saved_claims(&mut self, claimed: Vec<SavedGrant>) {
        #[cfg(test)]
        if self.config.planted == Some(crate::config::Planted::ForgetsClaims) {
            return;
        }
        for SavedGrant { id, other: from, epoch, slots } in claimed {
            self.announce(Event::TransferInDoubt { id, node: from });
            self.claimed.insert(id, Claimed { from, epoch, slots, is_in_doubt: true });
        }
    }

    /// Slots that are ours as far as we know, and may have been taken back.
    pub(crate) fn claims_in_doubt(&self) -> impl Iterator<Item = &Slots> {
        self.claimed.values().filter(|claimed| claimed.is_in_doubt).map(|claimed| &claimed.slots)
    }

    /// What a node says of itself: it has not taken back what it doesn't claim.
    pub(crate) fn note_confirmed(&mut self, sender: NodeId, slots: &Slots) {
        self.forget_claims(|_, claimed| claimed.from == sender && !claimed.slots.iter().any(|slot| slots.has(slot)));
    }

    /// Forgets claims to what we don't have any more, or nobody can take back.
    fn tend_claimed(&mut self) {
        self.forget_claims(|cluster, claimed| {
            let has_some = claimed.slots.iter().any(|slot| cluster.owners[usize::from(slot)] == Some(cluster.me));
            let can_take_back = cluster.nodes.get(&claimed.from).is_some_and(crate::node::Node::is_primary);
            !has_some || !can_take_back || cluster.is_replaced(claimed.from)
        });
    }

    fn forget_claims(&mut self, is_over: impl Fn(&Cluster, &Claimed) -> bool) {
        let over: Vec<TransferId> =
            self.claimed.iter().filter(|(_, claimed)| is_over(self, claimed)).map(|(id, _)| *id).collect();
        for id in over {
            self.claimed.remove(&id);
            self.is_conf_dirty = true;
            self.is_map_dirty = true;
        }
    }

    /// Whether we have taken the slots of a migration that the source has granted. If not, we never will; and if somebody
    /// else has them, that is not for us to tell.
    pub(crate) fn verdict(&mut self, id: TransferId, from: NodeId, slots: &Slots) -> Answer {
        if self.taking.contains_key(&id) {
            self.end_taking(id, Ending::Failed("The source node has asked before it was granted".into()));
        }
        let all = |owner: NodeId| slots.iter().all(|slot| self.owners[usize::from(slot)] == Some(owner));
        if all(self.me) {
            Answer::Word("TAKEN".into())
        } else if all(from) {
            Answer::Word("NEVER".into())
        } else {
            Answer::Refused("The slots have another owner".into())
        }
    }

    /// The source's connection is no more.
    pub(crate) fn on_taking_closed(&mut self, id: TransferId) {
        if self.taking.contains_key(&id) {
            self.end_taking(id, Ending::Failed("The connection to the source node was lost".into()));
        }
    }

    /// At each tick, and when anything about slots has changed.
    pub(crate) fn tend_taking(&mut self) {
        self.tend_claimed();
        for id in self.taking.keys().copied().collect::<Vec<_>>() {
            let taking = &self.taking[&id];
            let is_its = |slot: u16| self.owners[usize::from(slot)] == Some(taking.from);
            let why = if !self.myself().is_primary() {
                "The target node is no primary any more"
            } else if !taking.slots.iter().all(is_its) {
                "The slots have another owner"
            } else if self.nodes.get(&taking.from).is_none_or(|source| source.is_failed()) {
                "The source node is down"
            } else {
                continue;
            };
            self.end_taking(id, Ending::Failed(why.into()));
        }
    }

    fn end_taking(&mut self, id: TransferId, ending: Ending) {
        let taking = self.taking.remove(&id).expect("the caller has looked it up");
        self.announce(Event::TransferEnded { id, how: ending.word(), why: ending.message() });
        let view = TransferView {
            state: ending.word(),
            message: ending.message(),
            updated: self.now.unix,
            ..taking.view(id, self.me)
        };
        self.ended.remember(view);
        if ending != Ending::Success && self.myself().is_primary() {
            taking.slots.iter().for_each(|slot| _ = self.drops_due.insert(slot));
        }
        self.is_map_dirty = true;
    }
}

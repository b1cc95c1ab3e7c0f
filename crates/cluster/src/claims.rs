//! Whose is a slot: of two claims the one with the greater epoch holds, and no two primaries keep the same epoch.
//!
//! **Old news with a new epoch.** A node has one epoch for all its slots, and takes a greater one for reasons of its own. Who
//! has not heard that it gave a slot away would hold that slot, by that epoch, against its new owner, and tell him so. So a slot
//! that its owner's own heartbeat does not claim is *unclaimed*: it stays where it is, but any other claim to it holds, and nobody
//! is corrected in its name, nor in the name of an owner that we have not heard since we started.

use crate::cluster::Cluster;
use crate::event::Event;
use crate::node::Role;
use crate::packet::{Body, Header};
use crate::{Epoch, NodeId, Slots};

/// What a node says, or somebody says of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) node: NodeId,
    pub(crate) config_epoch: Epoch,
    pub(crate) slots: &'a Slots,
}

impl Cluster {
    /// What a heartbeat's header says of slots: the sender's, or those of its primary.
    pub(crate) fn note_claims(&mut self, sender: NodeId, header: &Header) {
        let claimant = header.primary.unwrap_or(sender);
        let Some(known) = self.nodes.get(&claimant) else { return };
        let is_own = header.primary.is_none() && header.config_epoch >= known.config_epoch;
        if known.slots != header.slots {
            if header.primary.is_none() {
                self.take_over(Claim { node: sender, config_epoch: header.config_epoch, slots: &header.slots });
            }
            if is_own {
                self.note_unclaimed(sender, &header.slots);
            }
            self.correct(sender, header);
        }
        if is_own {
            self.node_mut(sender).claims_heard = true;
            self.note_confirmed(sender, &header.slots);
        }
        let is_same_epoch = header.primary.is_none() && header.config_epoch == self.myself().config_epoch;
        if is_same_epoch && self.myself().is_primary() && self.nodes[&sender].is_primary() {
            self.on_collision(sender);
        }
    }

    /// Which slots of a node it doesn't claim itself.
    fn note_unclaimed(&mut self, owner: NodeId, claimed: &Slots) {
        let owned = &self.nodes[&owner].slots;
        self.unclaimed = self.unclaimed.without(owned).and(&owned.without(claimed));
    }

    /// Tells a node that claims a slot of one with a greater epoch, of that one.
    fn correct(&mut self, sender: NodeId, header: &Header) {
        let stale = header.slots.iter().find_map(|slot| {
            let owner = self.owners[usize::from(slot)]?;
            let is_other = owner != sender && Some(owner) != header.primary;
            let is_known = owner == self.me || self.nodes[&owner].claims_heard;
            (is_other && is_known && !self.unclaimed.has(slot) && self.nodes[&owner].config_epoch > header.config_epoch)
                .then_some(owner)
        });
        if let Some(owner) = stale {
            let owner = &self.nodes[&owner];
            let slots = owner.slots.iter().filter(|slot| !self.unclaimed.has(*slot)).collect();
            let config_epoch = owner.config_epoch;
            let body = Body::Update { config_epoch, node: owner.id, slots };
            self.send(sender, body);
        }
    }

    /// Both lead with the same epoch, which must not stay so: the one with the smaller name takes a new one.
    fn on_collision(&mut self, node: NodeId) {
        if node <= self.me || self.is_in_doubt() {
            return;
        }
        let epoch = self.myself().config_epoch;
        let new = self.current_epoch.next();
        self.current_epoch = new;
        self.myself_mut().config_epoch = new;
        self.announce(Event::EpochCollision { node, epoch, new });
        self.is_conf_dirty = true;
    }

    /// Somebody tells us of a claim with a greater epoch than we have heard of, or of more slots with the same: slot by slot
    /// only what is better than what we know counts, so that old news does no harm.
    pub(crate) fn on_update(&mut self, claim: Claim<'_>) {
        let Some(node) = self.nodes.get(&claim.node).filter(|node| !node.is_in_handshake()) else { return };
        if node.config_epoch > claim.config_epoch || claim.node == self.me {
            return;
        }
        let was_primary = node.is_primary();
        if node.config_epoch == claim.config_epoch && !was_primary {
            return; // It follows now, and this is what it had when it led.
        }
        let node = self.node_mut(claim.node);
        node.config_epoch = claim.config_epoch;
        if !was_primary {
            node.role = Role::Primary;
            self.is_map_dirty = true;
        }
        self.current_epoch = self.current_epoch.max(claim.config_epoch);
        self.is_conf_dirty = true;
        self.take_over(claim);
    }

    /// Gives the claimant the slots that it claims with a greater epoch than their owners have.
    pub(crate) fn take_over(&mut self, claim: Claim<'_>) {
        if claim.node == self.me {
            return;
        }
        let lead = self.lead().id;
        let won = self.won_by(claim);
        let from_lead = self.nodes[&lead].slots.common(&won).len();
        let lost = self.myself().slots.common(&won);
        self.give_slots(&won, Some(claim.node));
        if from_lead == 0 {
            return;
        }
        self.state.is_stale = true;
        let has_lost_all = self.nodes[&lead].slots.is_empty();
        let took_only_ours = claim.slots.len() == from_lead;
        if has_lost_all && (self.config.replica_migration || took_only_ours) {
            self.announce(Event::Reconfigured { primary: claim.node });
            self.follow(claim.node);
        } else if !lost.is_empty() {
            self.announce(Event::SlotsLost { count: lost.len() });
            lost.iter().for_each(|slot| _ = self.drops_due.insert(slot));
        }
    }

    /// The slots to which a claim is better than what their owners have, and that the claimant does not have yet.
    fn won_by(&self, claim: Claim<'_>) -> Slots {
        // What is being moved here by hand is decided by hand.
        let importing = self.importing.keys().copied().collect();
        let wanted = claim.slots.without(&self.nodes[&claim.node].slots).without(&importing);
        #[cfg(test)]
        if self.config.planted == Some(crate::config::Planted::BelievesOldClaims) {
            return wanted;
        }
        let better = self.nodes.values().filter(|node| node.config_epoch >= claim.config_epoch);
        let kept = better.fold(Slots::none(), |kept, node| kept.and(&node.slots)).without(&self.unclaimed);
        wanted.without(&kept)
    }

    /// Takes an epoch that nobody has, without asking; whether it is new. Some operators' commands need that.
    pub(crate) fn bump_epoch(&mut self) -> bool {
        let greatest = self.nodes.values().map(|node| node.config_epoch).max().unwrap_or_default();
        let ours = self.myself().config_epoch;
        if self.is_in_doubt() {
            return false;
        }
        if ours != Epoch(0) && ours == greatest && self.is_only_one_with(ours) {
            return false;
        }
        let new = self.current_epoch.max(greatest).next();
        self.current_epoch = new;
        self.myself_mut().config_epoch = new;
        self.announce(Event::EpochSet(new));
        self.is_conf_dirty = true;
        true
    }

    fn is_only_one_with(&self, epoch: Epoch) -> bool {
        self.nodes.values().all(|node| node.id == self.me || node.config_epoch != epoch)
    }
}

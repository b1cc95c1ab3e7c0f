//! The source of a migration: what it offers, to whom, how far it has come, and when writes have to wait.

use std::time::Duration;

use quorate_stdx::{Mono, UnixMs};

use crate::cluster::{Cluster, Output};
use crate::event::Event;
use crate::transfer::{Ending, TransferId, TransferView};
use crate::{Epoch, NodeId, SavedGrant, Slots};

/// A target that is so close behind gets the rest while writes wait, bytes.
const NEAR: u64 = 256 << 10;
/// Writers of the slots wait when the target is further behind than the first, and until it is closer than the second, bytes:
/// so it catches up however fast they are.
const THROTTLE: (u64, u64) = (8 << 20, 1 << 20);
/// Writes wait for so long at most before the target has everything; then it has to come closer first.
const LONGEST_HOLD: Duration = Duration::from_secs(2);
/// A target is given so long to claim what it was granted before it is asked, as long as there is a connection to it: to ask
/// ends a migration whose grant is still on its way, and on a busy machine that may be long.
const CLAIM_TIME: Duration = Duration::from_secs(10);
/// Without one it is asked at once, and so often again.
const ASK_PERIOD: Duration = Duration::from_millis(500);

/// What becomes of slots that we give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivingNews {
    /// The target lets us write.
    Accepted,
    /// Every key has been sent; from here on it is what clients do.
    Copied,
    /// So many bytes of the log are not confirmed.
    Behind(u64),
    /// All that [`Output::Drain`] asked for, up to this offset of the log, is confirmed.
    Drained(u64),
    /// The target knows of this epoch, so that it can't claim slots with the one that it was granted.
    Outdated(Epoch),
    /// The target doesn't want the slots, and says why.
    Refused(String),
    /// The connection is no more, or there can't be one.
    Broken(String),
    /// The target says whether it has taken the slots; if not, it never will.
    Verdict(bool),
}

/// Slots that we give.
#[derive(Debug, Clone)]
pub(crate) struct Giving {
    pub(crate) to: NodeId,
    pub(crate) slots: Slots,
    stage: Stage,
    /// Writers wait because the target doesn't keep up.
    is_throttled: bool,
    behind: u64,
    created: UnixMs,
    updated: UnixMs,
    heard: UnixMs,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Copying,
    Following,
    /// Writes are being stopped.
    Holding {
        since: Mono,
    },
    /// They are; the rest is on its way, up to where the log ends.
    Draining {
        since: Mono,
        upto: u64,
    },
    Granted {
        epoch: Epoch,
        ask_at: Mono,
        lost_since: Option<Mono>,
    },
}

impl Giving {
    fn new(to: NodeId, slots: Slots, now: UnixMs) -> Giving {
        Giving {
            to,
            slots,
            stage: Stage::Connecting,
            is_throttled: false,
            behind: 0,
            created: now,
            updated: now,
            heard: now,
        }
    }

    /// Whether writes to its slots wait.
    pub(crate) fn holds(&self) -> bool {
        self.is_throttled
            || matches!(self.stage, Stage::Holding { .. } | Stage::Draining { .. } | Stage::Granted { .. })
    }

    pub(crate) fn is_granted(&self) -> bool {
        matches!(self.stage, Stage::Granted { .. })
    }

    fn word(&self) -> &'static str {
        match self.stage {
            Stage::Connecting => "connecting",
            Stage::Copying => "snapshotting",
            Stage::Following => "waiting-to-pause",
            Stage::Holding { .. } | Stage::Draining { .. } => "failover-paused",
            Stage::Granted { .. } => "failover-granted",
        }
    }

    fn view(&self, id: TransferId, source: NodeId) -> TransferView {
        TransferView {
            id,
            exports: true,
            slots: self.slots.clone(),
            source,
            target: self.to,
            created: self.created,
            updated: self.updated,
            heard: self.heard,
            state: self.word(),
            message: String::new(),
            behind: self.behind,
        }
    }
}

impl Cluster {
    /// Slots whose writes wait.
    pub(crate) fn held(&self) -> Slots {
        #[cfg(test)]
        if self.config.planted == Some(crate::config::Planted::HoldsNothing) {
            return Slots::none();
        }
        let given = self.giving.values().filter(|giving| giving.holds()).map(|giving| &giving.slots);
        given.chain(self.claims_in_doubt()).fold(Slots::none(), |held, slots| held.and(slots))
    }

    /// Whether a slot is on its way, here or away.
    pub(crate) fn is_transferred(&self, slot: u16) -> bool {
        self.giving.values().any(|giving| giving.slots.has(slot)) || self.takes(slot)
    }

    /// CLUSTER MIGRATESLOTS: all of it begins, or none.
    pub(crate) fn give(&mut self, offers: Vec<(Slots, NodeId)>) -> Result<(), String> {
        let mut all = Slots::none();
        for (slots, to) in &offers {
            self.may_give(slots, *to)?;
            for slot in slots.iter() {
                if !all.insert(slot) {
                    return Err("Slot ranges in migrations overlap".into());
                }
            }
        }
        for (slots, to) in offers {
            let id = TransferId::random(&mut self.rng);
            let address = self.nodes[&to].address.clone();
            let Some(ip) = address.ip else { return Err("Target node has no known address".into()) };
            let now = self.now.unix;
            self.announce(Event::TransferBegins { id, to, count: slots.len() });
            self.push(Output::Give { id, slots: slots.clone(), ip, port: address.port });
            self.giving.insert(id, Giving::new(to, slots, now));
        }
        Ok(())
    }

    fn may_give(&self, slots: &Slots, to: NodeId) -> Result<(), String> {
        if !self.myself().is_primary() {
            return Err("Slot migration can only be used on primary nodes.".into());
        }
        if !self.migrating.is_empty() {
            return Err("Slots are being manually migrated, please finish it first".into());
        }
        if !self.importing.is_empty() {
            return Err("Slots are being manually imported, please finish it first".into());
        }
        let owners: std::collections::BTreeSet<_> = slots.iter().map(|slot| self.owners[usize::from(slot)]).collect();
        if let Some(slot) = slots.iter().find(|slot| self.owners[usize::from(*slot)].is_none()) {
            return Err(format!("Slot {slot} has no node served"));
        }
        if owners.len() > 1 {
            return Err("Requested slots span multiple shards".into());
        }
        let Some(target) = self.nodes.get(&to).filter(|node| !node.is_in_handshake()) else {
            return Err(format!("Unknown node name: {to}"));
        };
        if !owners.contains(&Some(self.me)) {
            return Err("Slots are not served by this node.".into());
        }
        if to == self.me {
            return Err("Target node can not be this node".into());
        }
        if !target.is_primary() {
            return Err("Target node is not a primary".into());
        }
        if target.address.ip.is_none() {
            return Err("Target node has no known address".into());
        }
        let ours = |slot: &u16| self.giving.values().any(|giving| giving.slots.has(*slot));
        if let Some(slot) = slots.iter().find(ours) {
            return Err(format!("I am already migrating slot {slot}."));
        }
        let is_in_doubt = |slot: &u16| self.claims_in_doubt().any(|slots| slots.has(*slot));
        match slots.iter().find(is_in_doubt) {
            Some(slot) => Err(format!("The node that slot {slot} came from has not confirmed that it is ours.")),
            None => Ok(()),
        }
    }

    /// CLUSTER CANCELSLOTMIGRATIONS. What has been granted is the target's to decide.
    pub(crate) fn cancel_giving(&mut self) -> Result<(), String> {
        let ids: Vec<_> = self.giving.iter().filter(|(_, giving)| !giving.is_granted()).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return Err("No migrations ongoing".into());
        }
        for id in ids {
            self.end_giving(id, Ending::Cancelled);
        }
        Ok(())
    }

    pub(crate) fn on_giving(&mut self, id: TransferId, news: GivingNews) {
        let now = self.now;
        let Some(giving) = self.giving.get_mut(&id) else { return };
        if !matches!(news, GivingNews::Broken(_)) {
            giving.heard = now.unix;
        }
        match (news, giving.stage) {
            (GivingNews::Accepted, Stage::Connecting) => self.set_stage(id, Stage::Copying),
            (GivingNews::Copied, Stage::Copying) => {
                self.set_stage(id, Stage::Following);
                self.judge_distance(id);
            }
            (GivingNews::Behind(bytes), _) => {
                giving.behind = bytes;
                self.judge_distance(id);
            }
            // What an earlier attempt asked for may be confirmed only now, and there is more since.
            (GivingNews::Drained(reached), Stage::Draining { upto, .. }) if reached >= upto => self.grant(id),
            (GivingNews::Outdated(epoch), Stage::Granted { .. }) => {
                self.current_epoch = self.current_epoch.max(epoch);
                self.is_conf_dirty = true;
                self.grant(id);
            }
            (GivingNews::Verdict(true), Stage::Granted { epoch, .. }) => self.believe(id, epoch),
            (GivingNews::Refused(why), _) => self.end_giving(id, Ending::Failed(why)),
            (GivingNews::Verdict(false), Stage::Granted { .. }) => {
                self.end_giving(id, Ending::Failed("The target node has not taken the slots".into()));
            }
            #[cfg(test)]
            (GivingNews::Broken(why), _) if self.config.planted == Some(crate::config::Planted::WritesInDoubt) => {
                self.end_giving(id, Ending::Failed(why));
            }
            // Whether it has taken them, only the target knows now.
            (GivingNews::Broken(_), Stage::Granted { .. }) => self.ask_for_verdict(id),
            (GivingNews::Broken(why), _) => self.end_giving(id, Ending::Failed(why)),
            _ => {} // It comes too late to matter.
        }
    }

    fn set_stage(&mut self, id: TransferId, stage: Stage) {
        let now = self.now.unix;
        let giving = self.giving.get_mut(&id).expect("the caller has looked it up");
        giving.stage = stage;
        giving.updated = now;
        // Whose writes wait may depend on it.
        self.is_map_dirty = true;
    }

    /// Whether the target is close enough to be handed the slots, or so far behind that writers have to wait.
    fn judge_distance(&mut self, id: TransferId) {
        let since = self.now.mono;
        let giving = self.giving.get_mut(&id).expect("the caller has looked it up");
        let (far, near) = THROTTLE;
        let was_throttled = giving.is_throttled;
        giving.is_throttled = giving.behind > if was_throttled { near } else { far };
        if giving.is_throttled != was_throttled {
            self.is_map_dirty = true;
        }
        let giving = &self.giving[&id];
        if giving.stage == Stage::Following && giving.behind <= NEAR {
            self.set_stage(id, Stage::Holding { since });
            self.holds_due.push(id);
        }
    }

    /// No write to the slots runs any more; the log ends at `offset`.
    pub(crate) fn on_slots_held(&mut self, id: TransferId, offset: u64) {
        let Some(Stage::Holding { since }) = self.giving.get(&id).map(|giving| giving.stage) else { return };
        self.set_stage(id, Stage::Draining { since, upto: offset });
        self.push(Output::Drain { id, upto: offset });
    }

    /// Whether slots of ours may have been claimed by those whom we have granted them. Until that is settled we take no greater
    /// epoch: we would hold these slots against the claim by it.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.giving.values().any(Giving::is_granted)
    }

    /// The target has all that there is: it may have the slots. That it may have claimed them must not be forgotten, or we
    /// would serve them again after a crash.
    fn grant(&mut self, id: TransferId) {
        let epoch = self.current_epoch.next();
        // Nobody is granted it twice.
        self.current_epoch = epoch;
        let ask_at = self.now.mono + CLAIM_TIME;
        self.set_stage(id, Stage::Granted { epoch, ask_at, lost_since: None });
        self.persist();
        self.push(Output::Grant { id, epoch });
    }

    /// What is granted, to be remembered.
    pub(crate) fn to_saved_grants(&self) -> Vec<SavedGrant> {
        let saved = |(id, giving): (&TransferId, &Giving)| match giving.stage {
            Stage::Granted { epoch, .. } => {
                Some(SavedGrant { id: *id, other: giving.to, epoch, slots: giving.slots.clone() })
            }
            _ => None,
        };
        self.giving.iter().filter_map(saved).collect()
    }

    /// Goes on where we were when we had granted slots and did not live to hear what became of them.
    pub(crate) fn adopt_saved_grants(&mut self, granted: Vec<SavedGrant>) {
        #[cfg(test)]
        if self.config.planted == Some(crate::config::Planted::ForgetsGrants) {
            return;
        }
        let now = self.now;
        for SavedGrant { id, other: to, epoch, slots } in granted {
            let stage = Stage::Granted { epoch, ask_at: now.mono, lost_since: None };
            self.current_epoch = self.current_epoch.max(epoch);
            self.announce(Event::TransferInDoubt { id, node: to });
            self.giving.insert(id, Giving { stage, ..Giving::new(to, slots, now.unix) });
        }
    }

    /// The target has claimed the slots with the epoch that we chose.
    fn believe(&mut self, id: TransferId, epoch: Epoch) {
        let giving = &self.giving[&id];
        let (to, slots) = (giving.to, giving.slots.clone());
        if let Some(target) = self.nodes.get(&to).filter(|target| target.config_epoch < epoch) {
            let to = target.id;
            self.node_mut(to).config_epoch = epoch;
        }
        self.current_epoch = self.current_epoch.max(epoch);
        self.take_over(crate::claims::Claim { node: to, config_epoch: epoch, slots: &slots });
    }

    fn ask_for_verdict(&mut self, id: TransferId) {
        let now = self.now.mono;
        let giving = self.giving.get_mut(&id).expect("the caller has looked it up");
        if let Stage::Granted { ask_at, .. } = &mut giving.stage {
            *ask_at = now + ASK_PERIOD;
        }
        let (to, slots) = (giving.to, giving.slots.clone());
        let Some(address) = self.nodes.get(&to).map(|node| node.address.clone()) else { return };
        if let Some(ip) = address.ip {
            self.push(Output::AskVerdict { id, slots, ip, port: address.port });
        }
    }

    /// At each tick, and when anything about slots has changed.
    pub(crate) fn tend_giving(&mut self) {
        for id in self.giving.keys().copied().collect::<Vec<_>>() {
            self.tend_one(id);
        }
    }

    fn tend_one(&mut self, id: TransferId) {
        let now = self.now.mono;
        let giving = &self.giving[&id];
        let owners = |owner: NodeId| giving.slots.iter().all(|slot| self.owners[usize::from(slot)] == Some(owner));
        if owners(giving.to) {
            return self.end_giving(id, Ending::Success);
        }
        if !owners(self.me) || !self.myself().is_primary() {
            return self.end_giving(id, Ending::Failed("The slots are not ours any more".into()));
        }
        let to = giving.to;
        let is_lost = self.nodes.get(&giving.to).is_none_or(|target| target.is_failed() || !target.is_primary());
        match giving.stage {
            Stage::Granted { epoch, ask_at, lost_since } => {
                let lost_since = if is_lost { lost_since.or(Some(now)) } else { None };
                let giving = self.giving.get_mut(&id).expect("it was looked up");
                giving.stage = Stage::Granted { epoch, ask_at, lost_since };
                let has_waited = lost_since.is_some_and(|since| now.since(since) > self.config.election_timeout());
                if has_waited || (is_lost && self.is_replaced(to)) {
                    self.take_back(id, epoch);
                } else if now >= ask_at {
                    self.ask_for_verdict(id);
                }
            }
            _ if is_lost => {
                self.end_giving(id, Ending::Failed("The target node is down or no primary any more".into()))
            }
            Stage::Holding { since } | Stage::Draining { since, .. } if now.since(since) > LONGEST_HOLD => {
                self.set_stage(id, Stage::Following);
            }
            _ => {}
        }
    }

    /// Whether a replica of a node leads in its place, and has told what it claims: if our slots are not among it, it knows
    /// nothing of them.
    pub(crate) fn is_replaced(&self, id: NodeId) -> bool {
        let Some(shard) = self.nodes.get(&id).map(crate::node::Node::shard) else { return false };
        let leads = |node: &crate::node::Node| node.is_voter() && !node.is_failed() && node.claims_heard;
        // Of a node that has just joined its shard we may not have heard which it is.
        let is_of_it = |node: &crate::node::Node| node.shard() == shard || node.replaces == Some(id);
        self.nodes.values().any(|node| node.id != id && node.id != self.me && is_of_it(node) && leads(node))
    }

    /// Nobody can use the epoch that was granted any more: with a greater one the slots are ours, whoever comes back with it.
    fn take_back(&mut self, id: TransferId, granted: Epoch) {
        let epoch = self.current_epoch.max(granted).next();
        self.current_epoch = epoch;
        self.myself_mut().config_epoch = epoch;
        self.announce(Event::EpochSet(epoch));
        self.end_giving(id, Ending::Failed("The target node is down; the slots stay here".into()));
        self.persist();
        self.tell(|_| true);
    }

    /// It is over, one way or the other.
    fn end_giving(&mut self, id: TransferId, ending: Ending) {
        let giving = self.giving.remove(&id).expect("the caller has looked it up");
        self.announce(Event::TransferEnded { id, how: ending.word(), why: ending.message() });
        let view = TransferView {
            state: ending.word(),
            message: ending.message(),
            updated: self.now.unix,
            ..giving.view(id, self.me)
        };
        self.ended.remember(view);
        self.push(Output::EndGiving { id });
        self.is_map_dirty = true;
        self.is_conf_dirty |= giving.is_granted();
    }

    /// Before something after which the slots may not be ours.
    pub(crate) fn give_up_giving(&mut self, why: &str) {
        for id in self.giving.keys().copied().collect::<Vec<_>>() {
            self.end_giving(id, Ending::Failed(why.to_owned()));
        }
    }

    /// CLUSTER GETSLOTMIGRATIONS: what is under way, and then what has ended, the latest first.
    pub fn transfers(&self) -> Vec<TransferView> {
        let giving = self.giving.iter().map(|(id, giving)| giving.view(*id, self.me));
        let taking = self.taking.iter().map(|(id, taking)| taking.view(*id, self.me));
        giving.chain(taking).chain(self.ended.iter().cloned()).collect()
    }
}

//! What operators may do: CLUSTER MEET, ADDSLOTS, SETSLOT, REPLICATE and so on, with Redis' words for what they may not.

use std::time::Duration;

use crate::cluster::{Cluster, Output};
use crate::node::{Address, Role};
use crate::packet::Heartbeat;
use crate::{Epoch, NodeId, ShardId, Slots, TransferId};

/// For how long a forgotten node may not come back.
const BAN: Duration = Duration::from_secs(60);

/// Which client gave an order; the server numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u64);

/// A command of an operator. What it depends on beyond the cluster is told with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// MEET.
    Meet {
        /// Where the node is.
        address: Address,
    },
    /// FORGET.
    Forget(NodeId),
    /// REPLICATE.
    Replicate {
        /// Whom.
        primary: NodeId,
        /// Whether we hold no key.
        is_empty: bool,
    },
    /// RESET.
    Reset {
        /// HARD: with another name and no epoch.
        hard: bool,
        /// Whether we hold no key.
        is_empty: bool,
    },
    /// ADDSLOTS, ADDSLOTSRANGE.
    AddSlots(Slots),
    /// DELSLOTS, DELSLOTSRANGE.
    DelSlots(Slots),
    /// FLUSHSLOTS.
    FlushSlots {
        /// Whether we hold no key.
        is_empty: bool,
    },
    /// SETSLOT.
    SetSlot {
        /// Which.
        slot: u16,
        /// What.
        order: SlotOrder,
        /// Whether we hold no key of it.
        is_empty: bool,
    },
    /// SET-CONFIG-EPOCH.
    SetConfigEpoch(i64),
    /// BUMPEPOCH.
    BumpEpoch,
    /// SAVECONFIG.
    SaveConfig,
    /// FAILOVER.
    Failover,
    /// FAILOVER FORCE.
    FailoverForce,
    /// FAILOVER TAKEOVER.
    FailoverTakeover,
    /// MIGRATESLOTS: slots, each set with the node that is to have it.
    Give(Vec<(Slots, NodeId)>),
    /// CANCELSLOTMIGRATIONS.
    CancelGiving,
    /// SYNCSLOTS ESTABLISH: a source wants to send what its slots hold.
    Take {
        /// The migration.
        id: TransferId,
        /// Who has the slots.
        from: NodeId,
        /// The slots.
        slots: Slots,
        /// Whether we hold no key of them.
        is_empty: bool,
    },
    /// SYNCSLOTS TAKE: the source has sent everything. If we take the slots, the answer is our claim on the bus.
    Granted {
        /// The migration.
        id: TransferId,
        /// The epoch of the claim.
        epoch: Epoch,
    },
    /// SYNCSLOTS VERDICT: whether we have taken the slots; if not, we never will.
    Verdict {
        /// The migration.
        id: TransferId,
        /// The source that asks.
        from: NodeId,
        /// The slots.
        slots: Slots,
    },
    /// DEBUG CLUSTERLINK KILL.
    KillLinks {
        /// Those with which node.
        node: NodeId,
        /// That which we made.
        to: bool,
        /// Those which it made.
        from: bool,
    },
}

/// SETSLOT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotOrder {
    /// MIGRATING.
    Migrating(NodeId),
    /// IMPORTING.
    Importing(NodeId),
    /// NODE.
    Node(NodeId),
    /// STABLE.
    Stable,
}

/// How an order is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is carried out, or has begun.
    Ok,
    /// The same, in other words.
    Word(String),
    /// It isn't carried out, because there is an epoch that is as great already.
    Outdated(Epoch),
    /// It isn't carried out; the text of the error, without ERR.
    Refused(String),
}

impl<T: Into<String>> From<Result<(), T>> for Answer {
    fn from(result: Result<(), T>) -> Answer {
        match result {
            Ok(()) => Answer::Ok,
            Err(why) => Answer::Refused(why.into()),
        }
    }
}

impl Cluster {
    pub(crate) fn on_ordered(&mut self, order: Order) -> Answer {
        match order {
            Order::Meet { address } => {
                self.greet(address, true);
                self.tend_links();
                Answer::Ok
            }
            Order::Forget(node) => self.forget(node).into(),
            Order::Replicate { primary, is_empty } => self.replicate(primary, is_empty).into(),
            Order::Reset { hard, is_empty } => self.reset(hard, is_empty).into(),
            Order::AddSlots(slots) => self.change_slots(&slots, true).into(),
            Order::DelSlots(slots) => self.change_slots(&slots, false).into(),
            Order::FlushSlots { is_empty } => self.flush_slots(is_empty).into(),
            Order::SetSlot { slot, order, is_empty } => self.set_slot(slot, order, is_empty).into(),
            Order::SetConfigEpoch(epoch) => self.set_config_epoch(epoch).into(),
            Order::BumpEpoch => {
                let word = if self.bump_epoch() { "BUMPED" } else { "STILL" };
                Answer::Word(format!("{word} {}", self.myself().config_epoch))
            }
            Order::SaveConfig => {
                self.persist();
                Answer::Ok
            }
            Order::Failover => self.may_take_over(true).map(|primary| self.begin_manual(primary, false)).into(),
            Order::FailoverForce => self.may_take_over(false).map(|primary| self.begin_manual(primary, true)).into(),
            Order::Give(offers) => self.give(offers).into(),
            Order::CancelGiving => self.cancel_giving().into(),
            Order::Take { id, from, slots, is_empty } => self.take(id, from, slots, is_empty).into(),
            Order::Granted { id, epoch } => self.on_grant(id, epoch),
            Order::Verdict { id, from, slots } => self.verdict(id, from, &slots),
            Order::KillLinks { node, to, from } => self.kill_links(node, to, from).into(),
            Order::FailoverTakeover => self.may_take_over(false).map(|_| self.take_over_by_force()).into(),
        }
    }

    fn forget(&mut self, node: NodeId) -> Result<(), String> {
        if node == self.me {
            return Err("I tried hard but I can't forget myself...".into());
        }
        if self.myself().primary() == Some(node) {
            return Err("Can't forget my master!".into());
        }
        if !self.nodes.contains_key(&node) {
            return Err(format!("Unknown node {node}"));
        }
        self.banned.insert(node, self.now.mono + BAN);
        self.remove_node(node);
        self.state.is_stale = true;
        // Others learn of it at once, as long as it is news.
        for id in self.linked(|node| node.knows_shards()) {
            self.send_heartbeat(id, Heartbeat::Pong);
        }
        Ok(())
    }

    fn kill_links(&mut self, node: NodeId, to: bool, from: bool) -> Result<(), String> {
        if !self.nodes.contains_key(&node) {
            return Err(format!("Unknown node {node}"));
        }
        if to {
            self.drop_link(node);
        }
        let its: Vec<_> =
            self.inbound.iter().filter(|(_, link)| link.node == Some(node)).map(|(link, _)| *link).collect();
        for link in its.into_iter().filter(|_| from) {
            self.inbound.remove(&link);
            self.push(Output::Disconnect { link });
        }
        Ok(())
    }

    fn replicate(&mut self, primary: NodeId, is_empty: bool) -> Result<(), String> {
        let node = self.nodes.get(&primary).filter(|node| !node.is_in_handshake());
        let Some(node) = node else { return Err(format!("Unknown node {primary}")) };
        if primary == self.me {
            return Err("Can't replicate myself".into());
        }
        if node.is_replica() {
            return Err("I can only replicate a master, not a replica.".into());
        }
        let me = self.myself();
        if me.is_primary() && (!me.slots.is_empty() || !is_empty) {
            return Err("To set a master the node must be empty and without assigned slots.".into());
        }
        self.follow(primary);
        self.state.is_stale = true;
        self.tell(|_| true);
        Ok(())
    }

    fn reset(&mut self, hard: bool, is_empty: bool) -> Result<(), String> {
        if self.myself().is_primary() && !is_empty {
            return Err("CLUSTER RESET can't be called with master nodes containing keys".into());
        }
        if self.myself().is_replica() {
            self.push(Output::DropEverything);
            self.myself_mut().role = Role::Primary;
        }
        self.give_slots(&Slots::all(), None);
        self.end_manual();
        self.election = crate::election::Election::default();
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|id| *id != self.me).collect();
        for id in others {
            self.remove_node(id);
        }
        self.migrating.clear();
        self.importing.clear();
        let shard = ShardId::random(&mut self.rng);
        self.myself_mut().shard = Some(shard);
        if hard {
            self.current_epoch = Epoch(0);
            self.last_vote_epoch = Epoch(0);
            let mut me = self.nodes.remove(&self.me).expect("we know ourselves");
            me.config_epoch = Epoch(0);
            me.id = NodeId::random(&mut self.rng);
            self.me = me.id;
            self.nodes.insert(me.id, me);
            self.announce(crate::Event::NewIdentity(self.me));
        }
        self.state.is_stale = true;
        self.is_conf_dirty = true;
        self.is_map_dirty = true;
        Ok(())
    }

    fn change_slots(&mut self, slots: &Slots, add: bool) -> Result<(), String> {
        for slot in slots.iter() {
            match (self.owners[usize::from(slot)], add) {
                (Some(_), true) => return Err(format!("Slot {slot} is already busy")),
                (None, false) => return Err(format!("Slot {slot} is already unassigned")),
                _ => {}
            }
        }
        self.give_slots(slots, add.then_some(self.me));
        self.state.is_stale = true;
        Ok(())
    }

    fn flush_slots(&mut self, is_empty: bool) -> Result<(), String> {
        if !is_empty {
            return Err("DB must be empty to perform CLUSTER FLUSHSLOTS.".into());
        }
        self.give_slots(&self.myself().slots.clone(), None);
        self.state.is_stale = true;
        Ok(())
    }

    fn set_slot(&mut self, slot: u16, order: SlotOrder, is_empty: bool) -> Result<(), String> {
        if !self.myself().is_primary() {
            return Err("You can use SETSLOT only with masters.".into());
        }
        if self.is_transferred(slot) {
            return Err(format!("Slot {slot} is being moved by CLUSTER MIGRATESLOTS"));
        }
        let is_ours = self.owners[usize::from(slot)] == Some(self.me);
        match order {
            SlotOrder::Migrating(_) if !is_ours => return Err(format!("I'm not the owner of hash slot {slot}")),
            SlotOrder::Importing(_) if is_ours => return Err(format!("I'm already the owner of hash slot {slot}")),
            SlotOrder::Migrating(to) => {
                self.other_primary(to, "I don't know about node")?;
                self.migrating.insert(slot, to);
            }
            SlotOrder::Importing(from) => {
                self.other_primary(from, "I don't know about node")?;
                self.importing.insert(slot, from);
            }
            SlotOrder::Stable => {
                self.migrating.remove(&slot);
                self.importing.remove(&slot);
            }
            SlotOrder::Node(to) => self.assign(slot, to, is_ours, is_empty)?,
        }
        self.is_conf_dirty = true;
        self.is_map_dirty = true;
        self.state.is_stale = true;
        Ok(())
    }

    fn other_primary(&self, node: NodeId, unknown: &str) -> Result<(), String> {
        let node = self.nodes.get(&node).filter(|node| !node.is_in_handshake()).ok_or(format!("{unknown} {node}"))?;
        if node.is_replica() { Err("Target node is not a master".into()) } else { Ok(()) }
    }

    /// SETSLOT NODE: the slot has changed hands.
    fn assign(&mut self, slot: u16, to: NodeId, was_ours: bool, is_empty: bool) -> Result<(), String> {
        self.other_primary(to, "Unknown node")?;
        if was_ours && to != self.me && !is_empty {
            return Err(format!(
                "Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
            ));
        }
        if is_empty {
            self.migrating.remove(&slot);
        }
        let was_imported = to == self.me && self.importing.remove(&slot).is_some();
        self.give_slots(&[slot].into_iter().collect(), Some(to));
        if was_imported {
            // Others believe the new owner only if its epoch is greater than the old one's.
            self.bump_epoch();
        }
        if was_ours && to != self.me && self.myself().slots.is_empty() && self.config.replica_migration {
            self.announce(crate::Event::Reconfigured { primary: to });
            self.follow(to);
        }
        self.tell(|_| true);
        Ok(())
    }

    fn set_config_epoch(&mut self, epoch: i64) -> Result<(), String> {
        let epoch = u64::try_from(epoch).map_err(|_| format!("Invalid config epoch specified: {epoch}"))?;
        if self.nodes.len() > 1 {
            return Err("The user can assign a config epoch only when the node does not know any other node.".into());
        }
        if self.myself().config_epoch != Epoch(0) {
            return Err("Node config epoch is already non-zero".into());
        }
        self.myself_mut().config_epoch = Epoch(epoch);
        self.current_epoch = self.current_epoch.max(Epoch(epoch));
        self.announce(crate::Event::EpochSet(Epoch(epoch)));
        self.is_conf_dirty = true;
        Ok(())
    }
}

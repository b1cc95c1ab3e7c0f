//! Migrations in the simulated cluster: the driver's part, with connections that break and keys that can be counted.
//!
//! A key is a slot's number of writes. What the source sends while it drains is what its slots hold at that moment; the target has
//! it when that arrives. So at the end the owner of a slot must hold every write that was acknowledged, once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{What, World};
use crate::{Answer, Epoch, GivingNews, Input, NodeId, Order, OrderId, Output, SLOTS, Slots, TransferId};

/// How long it takes until silence is noticed.
const PATIENCE: Duration = Duration::from_secs(1);
/// Every so manieth slot holds keys.
const STRIDE: usize = 512;

/// A process, so that what comes after it has died is not taken for its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Party {
    host: usize,
    incarnation: u64,
}

/// A connection that slots go through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Export {
    to: usize,
    /// The process at the other end, once it has answered.
    peer: Option<Party>,
}

/// What goes over it, and back.
#[derive(Debug, Clone)]
pub(crate) enum Freight {
    Establish { from: NodeId, slots: Slots },
    Keys(BTreeMap<u16, u64>),
    Grant(Epoch),
    Ask { from: NodeId, slots: Slots },
    News(GivingNews),
}

/// A piece of freight on its way.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    id: TransferId,
    source: Party,
    to: usize,
    freight: Freight,
}

impl World {
    fn party(&self, host: usize) -> Option<Party> {
        self.processes[host].as_ref().map(|process| Party { host, incarnation: process.incarnation })
    }

    fn lives(&self, party: Party) -> bool {
        self.party(party.host) == Some(party)
    }

    /// Performs what concerns migrations.
    pub(super) fn perform_transfer(&mut self, host: usize, output: Output) {
        let source = self.party(host).expect("it has just said so");
        match output {
            Output::Give { id, slots, ip, .. } => {
                let to = World::host_of(&ip);
                self.process(host).exports.insert(id, Export { to, peer: None });
                let from = self.id(host);
                self.dispatch(Parcel { id, source, to, freight: Freight::Establish { from, slots } });
            }
            Output::HoldSlots { id } => self.hand(host, Input::SlotsHeld { id, offset: 0 }),
            Output::Drain { id, .. } => {
                let Some(export) = self.process(host).exports.get(&id).copied() else { return };
                let slots = self.machine(host).expect("it runs").giving[&id].slots.clone();
                let keys = self.data[host].iter().filter(|(slot, _)| slots.has(**slot));
                let keys = keys.map(|(slot, count)| (*slot, *count)).collect();
                self.dispatch(Parcel { id, source, to: export.to, freight: Freight::Keys(keys) });
            }
            Output::Grant { id, epoch } => {
                let Some(export) = self.process(host).exports.get(&id).copied() else { return };
                self.dispatch(Parcel { id, source, to: export.to, freight: Freight::Grant(epoch) });
            }
            Output::AskVerdict { id, slots, ip, .. } => {
                let from = self.id(host);
                self.dispatch(Parcel { id, source, to: World::host_of(&ip), freight: Freight::Ask { from, slots } });
            }
            Output::EndGiving { id } => self.close(source, id, self.delay_of_news(host, id)),
            Output::DropKeys(slots) => self.data[host].retain(|slot, _| !slots.has(*slot)),
            other => unreachable!("{other:?} concerns no migration"),
        }
    }

    fn delay_of_news(&self, host: usize, id: TransferId) -> Duration {
        let export = self.processes[host].as_ref().and_then(|process| process.exports.get(&id));
        match export.is_some_and(|export| self.can_talk(host, export.to)) {
            true => Duration::from_millis(1),
            false => PATIENCE,
        }
    }

    /// Closes the connection; the target notices after a while.
    fn close(&mut self, source: Party, id: TransferId, after: Duration) {
        if !self.lives(source) {
            return;
        }
        if let Some(Export { peer: Some(peer), .. }) = self.process(source.host).exports.remove(&id) {
            self.at(self.now + after, What::TakingClosed { peer, id });
        }
    }

    /// A process is gone, and its connections with it.
    pub(super) fn close_all(&mut self, exports: BTreeMap<TransferId, Export>, after: Duration) {
        for (id, export) in exports {
            if let Some(peer) = export.peer {
                self.at(self.now + after, What::TakingClosed { peer, id });
            }
        }
    }

    pub(super) fn on_taking_closed(&mut self, peer: Party, id: TransferId) {
        if self.lives(peer) {
            self.hand(peer.host, Input::TakingClosed { id });
        }
    }

    fn dispatch(&mut self, parcel: Parcel) {
        let is_news = matches!(parcel.freight, Freight::News(_));
        let slow = matches!(parcel.freight, Freight::Keys(_)) || is_news;
        let delay = self.delay() + if slow { Duration::from_millis(self.rng.below(200)) } else { Duration::ZERO };
        self.at(self.now + delay, What::Carried(Box::new(parcel)));
    }

    /// A parcel arrives, or doesn't.
    pub(super) fn arrive(&mut self, parcel: Parcel) {
        let Parcel { id, source, to, freight } = parcel;
        if !self.lives(source) {
            return;
        }
        let reaches = self.can_talk(source.host, to);
        if let Freight::News(news) = freight {
            let is_open = self.process(source.host).exports.contains_key(&id) || matches!(news, GivingNews::Verdict(_));
            return match reaches {
                true if is_open => self.tell(source, id, news),
                true => {}
                false => self.lose(source, id),
            };
        }
        let Some(target) = self.party(to).filter(|_| reaches) else { return self.lose(source, id) };
        let asks = matches!(freight, Freight::Ask { .. });
        if !asks {
            let Some(export) = self.process(source.host).exports.get_mut(&id) else { return };
            if *export.peer.get_or_insert(target) != target {
                return self.lose(source, id); // It is another process, which knows nothing of this connection.
            }
        }
        if let Some(news) = self.receive(target.host, id, freight) {
            self.dispatch(Parcel { id, source, to, freight: Freight::News(news) });
        } else if !self.lives(target) {
            self.lose(source, id); // It died over it, and will not answer.
        }
    }

    /// What the target makes of it, and answers.
    fn receive(&mut self, host: usize, id: TransferId, freight: Freight) -> Option<GivingNews> {
        match freight {
            Freight::Establish { from, slots } => {
                let is_empty = !self.data[host].keys().any(|slot| slots.has(*slot));
                match self.ask(host, Order::Take { id, from, slots, is_empty })? {
                    Answer::Refused(why) => Some(GivingNews::Refused(why)),
                    _ => Some(GivingNews::Accepted),
                }
            }
            Freight::Keys(keys) => {
                if !self.machine(host)?.taking.contains_key(&id) {
                    return Some(GivingNews::Refused("it is no more".into()));
                }
                self.data[host].extend(keys);
                Some(GivingNews::Drained(0))
            }
            Freight::Grant(epoch) => match self.ask(host, Order::Granted { id, epoch })? {
                Answer::Outdated(epoch) => Some(GivingNews::Outdated(epoch)),
                Answer::Refused(why) => Some(GivingNews::Refused(why)),
                _ => None,
            },
            Freight::Ask { from, slots } => match self.ask(host, Order::Verdict { id, from, slots })? {
                Answer::Word(word) => Some(GivingNews::Verdict(word == "TAKEN")),
                _ => None,
            },
            Freight::News(_) => unreachable!("it goes the other way"),
        }
    }

    fn ask(&mut self, host: usize, order: Order) -> Option<Answer> {
        self.claims = matches!(order, Order::Granted { .. });
        self.hand(host, Input::Ordered { by: OrderId(1), order });
        self.claims = false;
        // It may have died over it.
        self.processes[host].as_mut()?.answer.take()
    }

    fn tell(&mut self, source: Party, id: TransferId, news: GivingNews) {
        let has_begun = news == GivingNews::Accepted;
        self.hand(source.host, Input::Giving { id, news });
        if has_begun && self.lives(source) {
            // All its keys have been sent, in a while; what counts comes when it drains.
            let after = Duration::from_millis(10 + self.rng.below(2000));
            self.at(self.now + after, What::Copied { source, id });
        }
    }

    pub(super) fn on_copied(&mut self, source: Party, id: TransferId) {
        let Some(export) = self.lives(source).then(|| self.process(source.host).exports.get(&id).copied()).flatten()
        else {
            return;
        };
        if !export.peer.is_some_and(|peer| self.lives(peer) && self.can_talk(source.host, peer.host)) {
            return self.lose(source, id);
        }
        self.hand(source.host, Input::Giving { id, news: GivingNews::Copied });
    }

    /// The source notices that the connection is no more.
    fn lose(&mut self, source: Party, id: TransferId) {
        self.at(self.now + PATIENCE, What::Lost { source, id });
    }

    pub(super) fn on_lost(&mut self, source: Party, id: TransferId) {
        if self.lives(source) && self.process(source.host).exports.contains_key(&id) {
            self.close(source, id, PATIENCE);
            self.hand(source.host, Input::Giving { id, news: GivingNews::Broken("timed out".into()) });
        }
    }

    /// An operator moves some slots from one host to another, if that makes sense.
    pub(super) fn migrate(&mut self, host: usize, to: usize, share: usize) {
        let (Some(source), Some(target)) = (self.machine(host), self.machine(to)) else { return };
        let quarter = source.myself().slots.len() / 4;
        let slots: Slots = source.myself().slots.iter().skip(quarter * share).take(quarter).collect();
        let target = target.id();
        if !slots.is_empty() {
            self.order(host, Order::Give(vec![(slots, target)]));
        }
    }

    /// Clients write to slots of which a host says that they are its own.
    pub(super) fn write(&mut self, host: usize) {
        for _ in 0..4 {
            let slot = (self.rng.below(u64::from(SLOTS) / STRIDE as u64) as usize * STRIDE) as u16;
            let process = self.processes[host].as_ref().expect("the caller has looked");
            let Some(map) = &process.map else { return };
            if map.is_ok && map.is_ours(slot) && !map.is_held(slot) && process.takes_writes() {
                *self.data[host].entry(slot).or_default() += 1;
                *self.acknowledged.entry(slot).or_default() += 1;
            }
        }
    }

    /// Whether every write that was acknowledged is with the owner of its slot.
    pub(crate) fn check_writes(&self) -> Result<(), String> {
        for (&slot, &count) in &self.acknowledged {
            let owns = |host: &usize| {
                let machine = self.machine(*host);
                machine.is_some_and(|machine| machine.owners[usize::from(slot)] == Some(machine.id()))
            };
            let owner = (0..self.processes.len()).find(owns).ok_or(format!("slot {slot} has no owner"))?;
            let held = self.data[owner].get(&slot).copied().unwrap_or_default();
            if held != count {
                return Err(format!(
                    "host {owner} holds {held} writes of slot {slot}, of {count} that were acknowledged"
                ));
            }
            let others = (0..self.processes.len()).filter(|host| *host != owner);
            if let Some(other) = others.into_iter().find(|host| self.data[*host].contains_key(&slot)) {
                return Err(format!("host {other} still holds keys of slot {slot}, which is host {owner}'s"));
            }
        }
        Ok(())
    }

    /// Whether anything is still being moved.
    pub(crate) fn transfers_under_way(&self) -> bool {
        self.processes.iter().flatten().any(|process| !process.machine.giving.is_empty())
    }
}

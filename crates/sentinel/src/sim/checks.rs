//! What must be true. Each function checks one property and notes what is wrong.

use std::collections::BTreeMap;

use quorate_stdx::ReplId;

use super::world::{Host, NAME, World};

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Checks {
    /// The first property that did not hold.
    pub(crate) violation: Option<String>,
    /// What each Sentinel has told of its vote in each epoch.
    votes: BTreeMap<(ReplId, u64), ReplId>,
    leaders: BTreeMap<u64, ReplId>,
}

impl Checks {
    fn wrong(&mut self, why: String) {
        self.violation.get_or_insert(why);
    }

    /// A Sentinel has told somebody for whom it voted: it never told anything else of that epoch, in this life or before.
    pub(crate) fn voted(&mut self, host: Host, id: Option<ReplId>, epoch: u64, candidate: ReplId) {
        let Some(id) = id else { return };
        let first = *self.votes.entry((id, epoch)).or_insert(candidate);
        if first != candidate {
            self.wrong(format!("s{host} voted for {first} and for {candidate} in epoch {epoch}"));
        }
    }

    /// A Sentinel leads: no other does in that epoch.
    pub(crate) fn elected(&mut self, host: Host, id: Option<ReplId>, epoch: u64) {
        let Some(id) = id else { return };
        let first = *self.leaders.entry(epoch).or_insert(id);
        if first != id {
            self.wrong(format!("s{host} is the second leader of epoch {epoch}"));
        }
    }
}

/// Whether all Sentinels name the same primary, which leads, and all others follow it.
pub(crate) fn agreement(world: &World) -> Result<(), String> {
    let mut named = Vec::new();
    for (host, node) in world.sentinels.iter().enumerate() {
        let machine = node.machine.as_ref().ok_or("a Sentinel is down")?;
        let addr = machine.address_of(NAME).ok().flatten().ok_or_else(|| format!("s{host} names nobody"))?;
        let view: BTreeMap<_, _> = machine.primary(NAME).ok_or("it is not watched")?.into_iter().collect();
        if view["flags"] != "master" {
            return Err(format!("s{host} says that its primary is {}", view["flags"]));
        }
        named.push((addr, view["config-epoch"].clone()));
    }
    named.dedup();
    let [(addr, _)] = &named[..] else { return Err(format!("they name {named:?}")) };
    for server in &world.servers {
        if server.addr == *addr {
            if server.follows.is_some() {
                return Err(format!("{addr} is named but follows"));
            }
        } else if server.follows.as_ref() != Some(addr) {
            return Err(format!("{} does not follow {addr}", server.addr));
        }
    }
    Ok(())
}

//! `fix`: finishes what was broken off, and gives every slot an owner.

use std::collections::BTreeMap;

use anyhow::Result;
use quorate_client::Reply;
use quorate_cluster::{NodeId, Slots};

use crate::moving;
use crate::node::Credentials;
use crate::picture::{Open, Picture};

/// What is done about something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Repair {
    /// The slot is moved on from the first to the second.
    Finish(u16, NodeId, NodeId),
    /// Nothing was moved yet, or everything is where it belongs: the marks are taken away.
    Forget(u16, Vec<NodeId>),
    /// Keys that came to the first although the slot is the second's go there.
    BringBack(u16, NodeId, NodeId),
    /// Slots that nobody has get an owner.
    Adopt(Slots, NodeId),
}

impl std::fmt::Display for Repair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Repair::Finish(slot, from, to) => write!(f, "finish moving slot {slot} from {from} to {to}"),
            Repair::Forget(slot, _) => write!(f, "take back that slot {slot} is on its way"),
            Repair::BringBack(slot, from, to) => write!(f, "bring keys of slot {slot} from {from} back to {to}"),
            Repair::Adopt(slots, to) => write!(f, "give {} slots without owner to {to}", slots.len()),
        }
    }
}

/// What there is to be done.
///
/// # Errors
/// A node is gone.
pub(crate) fn plan(picture: &mut Picture) -> Result<Vec<Repair>> {
    let mut repairs = Vec::new();
    for (slot, open) in picture.open() {
        repairs.push(for_open(picture, slot, &open)?);
    }
    for (owner, slots) in adoptions(picture)? {
        repairs.push(Repair::Adopt(slots, owner));
    }
    Ok(repairs)
}

fn for_open(picture: &mut Picture, slot: u16, open: &Open) -> Result<Repair> {
    let owner = picture.primaries().find(|member| member.told.slots.has(slot)).map(|member| member.id());
    let marked: Vec<NodeId> = open.migrating.into_iter().chain(open.importing.iter().copied()).collect();
    if let (Some(from), [to]) = (open.migrating, &open.importing[..]) {
        return Ok(Repair::Finish(slot, from, *to));
    }
    if let (Some(from), Some(to)) = (open.migrating, open.to.filter(|to| picture.member(*to).is_some()))
        && open.importing.is_empty()
        && count(picture, to, slot)? > 0
    {
        return Ok(Repair::Finish(slot, from, to));
    }
    for id in &open.importing {
        if let Some(owner) = owner.filter(|owner| owner != id)
            && count(picture, *id, slot)? > 0
        {
            return Ok(Repair::BringBack(slot, *id, owner));
        }
    }
    Ok(Repair::Forget(slot, marked))
}

fn count(picture: &mut Picture, id: NodeId, slot: u16) -> Result<i64> {
    Ok(picture.node(id)?.node.say(&format!("CLUSTER COUNTKEYSINSLOT {slot}"))?.parse()?)
}

/// Who adopts slots that nobody has: whoever holds the most of their keys, else whoever has the fewest slots.
fn adoptions(picture: &mut Picture) -> Result<BTreeMap<NodeId, Slots>> {
    let uncovered = picture.uncovered();
    let mut adoptions: BTreeMap<NodeId, Slots> = BTreeMap::new();
    if uncovered.is_empty() {
        return Ok(adoptions);
    }
    let mut sizes: BTreeMap<NodeId, usize> =
        picture.primaries().map(|member| (member.id(), member.told.slots.len())).collect();
    let request =
        |slot: u16| ["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()].map(|word| word.as_bytes().to_vec()).to_vec();
    let requests: Vec<Vec<Vec<u8>>> = uncovered.iter().map(request).collect();
    let mut holders: BTreeMap<u16, (i64, NodeId)> = BTreeMap::new();
    for id in sizes.keys().copied().collect::<Vec<_>>() {
        let counts = picture.node(id)?.node.call_all(&requests)?;
        for (slot, count) in uncovered.iter().zip(counts) {
            if let Reply::Int(count) = count
                && count > holders.get(&slot).map_or(0, |(most, _)| *most)
            {
                holders.insert(slot, (count, id));
            }
        }
    }
    for slot in uncovered.iter() {
        let smallest = sizes.iter().min_by_key(|(_, size)| **size).map(|(id, _)| *id);
        let Some(owner) = holders.get(&slot).map(|(_, id)| *id).or(smallest) else { continue };
        *sizes.entry(owner).or_default() += 1;
        adoptions.entry(owner).or_insert_with(Slots::none).insert(slot);
    }
    Ok(adoptions)
}

/// Does it.
///
/// # Errors
/// A node refuses, or is gone.
pub(crate) fn perform(picture: &mut Picture, repair: &Repair, credentials: &Credentials) -> Result<()> {
    match repair {
        Repair::Finish(slot, from, to) => moving::by_hand(picture, *slot, *from, *to, credentials),
        Repair::Forget(slot, marked) => marked.iter().try_for_each(|id| stable(picture, *slot, *id)),
        Repair::BringBack(slot, from, to) => {
            picture.node(*to)?.node.say(&format!("CLUSTER SETSLOT {slot} IMPORTING {from}"))?;
            moving::send_keys(picture, *slot, *from, *to, credentials)?;
            stable(picture, *slot, *to)?;
            stable(picture, *slot, *from)
        }
        Repair::Adopt(slots, to) => {
            let mut words = vec!["CLUSTER".to_owned(), "ADDSLOTSRANGE".to_owned()];
            for (first, last) in slots.ranges() {
                words.extend([first.to_string(), last.to_string()]);
            }
            let node = &mut picture.node(*to)?.node;
            for (first, last) in slots.ranges() {
                // It may believe that a node has them that is no more.
                for slot in first..=last {
                    let _ = node.say(&format!("CLUSTER DELSLOTS {slot}"));
                }
            }
            node.call(&words)?;
            // Whoever has heard of another owner believes this one.
            node.say("CLUSTER BUMPEPOCH").map(drop)
        }
    }
}

fn stable(picture: &mut Picture, slot: u16, id: NodeId) -> Result<()> {
    picture.node(id)?.node.say(&format!("CLUSTER SETSLOT {slot} STABLE")).map(drop)
}

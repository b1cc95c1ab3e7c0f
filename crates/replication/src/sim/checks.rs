//! What must be true. Each function checks one property and says what is wrong.

use std::collections::BTreeMap;

use quorate_stdx::Offset;

use super::node::{Image, Node};

/// Which nodes ever held a write.
#[derive(Default)]
pub(crate) struct Holders(BTreeMap<u64, u64>);

impl Holders {
    pub(crate) fn add(&mut self, write: u64, node: usize) {
        *self.0.entry(write).or_default() |= 1 << node;
    }

    /// A write for which a client was told that `replicas` have it is, or was, on as many others.
    pub(crate) fn check_wait(&self, write: u64, primary: usize, replicas: usize) -> Result<(), String> {
        let others = self.0.get(&write).copied().unwrap_or_default() & !(1 << primary);
        match others.count_ones() as usize >= replicas {
            true => Ok(()),
            false => Err(format!("WAIT counted {replicas} replicas for write {write}, which {others:b} hold")),
        }
    }
}

/// A replica that goes on holds exactly the prefix that its primary has up to there.
pub(crate) fn check_prefix(node: &Node, from: Offset, hash: u64) -> Result<(), String> {
    match (node.log.end(), node.hash) == (from, hash) {
        true => Ok(()),
        false => Err(format!(
            "{} goes on from {from} but holds no prefix of its primary's bytes (its offset is {})",
            node.name,
            node.log.end()
        )),
    }
}

/// A piece of the stream leaves the replica with what the primary had behind it.
pub(crate) fn check_applied(node: &Node, end: Offset, hash: u64) -> Result<(), String> {
    match (node.log.end(), node.hash) == (end, hash) {
        true => Ok(()),
        false => Err(format!("{} holds no prefix of its primary's bytes at {end}", node.name)),
    }
}

/// Within a history offsets never go back.
pub(crate) fn check_progress(node: &mut Node) -> Result<(), String> {
    let Some((id, offset)) = node.machine.position() else { return Ok(()) };
    if let Some((reached_id, reached)) = node.reached
        && reached_id == id
        && offset < reached
    {
        return Err(format!("{} went back from offset {reached} to {offset}", node.name));
    }
    node.reached = Some((id, offset));
    Ok(())
}

/// An empty primary's dataset takes nobody's place, unless an operator said so.
pub(crate) fn check_replacement(node: &Node, image: &Image) -> Result<(), String> {
    let related = node.history.as_ref().is_some_and(|history| history.knows(image.id));
    if node.data.is_empty() || node.consented || related || !node.config.refuse_empty_primary {
        return Ok(());
    }
    let heard = node.heard.get(&image.source).copied();
    let restarted = |started: u64| heard.is_some_and(|heard| started > heard);
    let (ours, theirs) = (node.data.len(), image.data.len());
    if image.data.is_empty() && (heard.is_none() || restarted(image.started)) {
        return Err(format!("{} lets an empty primary wipe its {ours} keys", node.name));
    }
    if image.started_empty.is_some_and(restarted) {
        return Err(format!("{} lets a primary that started empty replace its {ours} keys by {theirs}", node.name));
    }
    Ok(())
}

/// An unforced FAILOVER loses nothing: the new primary had it all when it took over.
pub(crate) fn check_handover(old: &Node, new: &Node) -> Result<(), String> {
    match old.data.is_subset(&new.took_over_with) {
        true => Ok(()),
        false => Err(format!("the FAILOVER from {} to {} lost writes", old.name, new.name)),
    }
}

/// Once faults have ended all hold the same.
pub(crate) fn check_converged(nodes: &[Node]) -> Result<(), String> {
    let Some(primary) = nodes.iter().find(|node| node.follows.is_none()) else { return Err("nobody leads".into()) };
    for node in nodes {
        let same = (node.log.end(), node.hash, &node.data) == (primary.log.end(), primary.hash, &primary.data);
        if !node.up || (node.follows.is_some() && !same) {
            return Err(format!("{} didn't converge to {}", node.name, primary.name));
        }
        if node.follows.is_none() && node.name != primary.name {
            return Err(format!("{} and {} both lead", node.name, primary.name));
        }
    }
    Ok(())
}

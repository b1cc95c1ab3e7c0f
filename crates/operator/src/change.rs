//! What changes a cluster: `create`, `add-node`, `del-node`, `reshard`, `rebalance`, `forget`, `failover`. Each makes a plan,
//! shows it, and carries it out if that is wanted. A plan follows from the cluster as it is: so what was broken off is gone on
//! with by giving the same command again.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use quorate_cluster::NodeId;

use crate::node::{Credentials, Node};
use crate::picture::{Member, Picture};
use crate::plan::{self, Move, Share};
use crate::screen::{Bar, confirm, quoted};
use crate::{Manner, moving};

/// How long the nodes may take to agree.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Shows moves, and carries them out if that is wanted.
///
/// # Errors
/// A node refuses, or is gone.
pub(crate) fn carry_out(picture: &mut Picture, moves: &[Move], manner: &Manner) -> Result<()> {
    show(picture, moves, manner);
    if moves.is_empty() || manner.dry_run {
        return Ok(());
    }
    if !manner.yes && !confirm("Do you want to proceed with the proposed plan?") {
        bail!("nothing was changed");
    }
    for (number, step) in moves.iter().enumerate() {
        let name = |id| picture.member(id).map_or_else(|| id.to_string(), |member| member.address.to_string());
        let what = format!("{} slots {} -> {}", step.slots.len(), name(step.from), name(step.to));
        let mut bar = Bar::new(what, step.slots.len());
        moving::run(picture, step, &manner.credentials, &mut |done, note| bar.at(done, note))?;
        drop(bar);
        if !manner.json {
            println!("[{}/{}] {}", number + 1, moves.len(), describe(picture, step));
        }
    }
    settle(picture, &manner.credentials)
}

pub(crate) fn describe(picture: &Picture, step: &Move) -> String {
    let name = |id| picture.member(id).map_or_else(|| id.to_string(), |member| member.address.to_string());
    let how = if moving::is_atomic(picture, step) { "as a whole" } else { "key by key" };
    format!("Moving {} slots from {} to {} {how}", step.slots.len(), name(step.from), name(step.to))
}

fn show(picture: &Picture, moves: &[Move], manner: &Manner) {
    if manner.json {
        let line = |step: &Move| {
            format!(
                "{{\"from\":{},\"to\":{},\"slots\":{},\"ranges\":{},\"atomic\":{}}}",
                quoted(&step.from.to_string()),
                quoted(&step.to.to_string()),
                step.slots.len(),
                quoted(&crate::report::ranges(&step.slots)),
                moving::is_atomic(picture, step)
            )
        };
        println!("{{\"moves\":[{}]}}", moves.iter().map(line).collect::<Vec<_>>().join(","));
        return;
    }
    if moves.is_empty() {
        println!("*** No rebalancing needed! All nodes are within the threshold.");
    }
    for step in moves {
        println!("    {}: {}", describe(picture, step), crate::report::ranges(&step.slots));
    }
}

/// Waits until all nodes agree.
fn settle(picture: &mut Picture, credentials: &Credentials) -> Result<()> {
    *picture = Picture::settled(picture.members[0].address, credentials)?;
    if !picture.agrees() {
        bail!("the nodes don't agree about the slots");
    }
    Ok(())
}

/// The primaries with what they have; weights as given, by name, else 1.
///
/// # Errors
/// A weight is none, or of no node.
pub(crate) fn shares(picture: &Picture, weights: &[String], use_empty: bool) -> Result<Vec<Share>> {
    let mut shares: Vec<Share> = picture
        .primaries()
        .filter(|member| use_empty || !member.told.slots.is_empty())
        .map(|member| Share { id: member.id(), slots: member.told.slots.clone(), weight: 1.0 })
        .collect();
    for weight in weights {
        let (name, value) = weight.split_once('=').with_context(|| format!("{weight} is no NODE=WEIGHT"))?;
        let id = picture.named(name)?;
        let value: f64 = value.parse().with_context(|| format!("{value} is no weight"))?;
        if !(0.0..=1e6).contains(&value) {
            bail!("{value} is no weight");
        }
        let share = shares.iter_mut().find(|share| share.id == id);
        share.with_context(|| format!("{name} is no primary that takes part"))?.weight = value;
    }
    Ok(shares)
}

/// `create`.
///
/// # Errors
/// There are too few nodes, one is not empty, or they don't come together.
pub(crate) fn create(addresses: &[SocketAddr], replicas: usize, manner: &Manner) -> Result<()> {
    let primaries = addresses.len() / (replicas + 1);
    if primaries < 3 {
        let needed = 3 * (replicas + 1);
        bail!("a cluster needs at least 3 primaries: with {replicas} replicas each, {needed} nodes");
    }
    let mut nodes = Vec::new();
    for address in addresses {
        let mut node = Node::connect(*address, &manner.credentials)?;
        let info = node.say("CLUSTER INFO")?;
        let is_alone = info.contains("cluster_known_nodes:1\r") && node.say("DBSIZE")? == "0";
        if !is_alone {
            bail!("node {address} is not empty: either it knows other nodes already, or it holds keys");
        }
        let id = node.say("CLUSTER MYID")?;
        nodes.push((node, id));
    }
    let machines: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let (leading, following) = plan::roles(&machines, primaries);
    println!(">>> Performing hash slots allocation on {} nodes...", addresses.len());
    let shares = plan::shares(primaries);
    for ((index, (first, last)), number) in leading.iter().zip(&shares).zip(0..) {
        println!("Master[{number}] -> Slots {first} - {last}");
        println!(
            "M: {} {}\n   slots:[{first}-{last}] ({} slots) master",
            nodes[*index].1,
            addresses[*index],
            last - first + 1
        );
    }
    for (node, primary) in &following {
        println!("S: {} {}\n   replicates {}", nodes[*node].1, addresses[*node], nodes[*primary].1);
    }
    if manner.dry_run {
        return Ok(());
    }
    if !manner.yes && !confirm("Can I set the above configuration?") {
        bail!("nothing was changed");
    }
    join(&mut nodes, &leading, &shares, &following)?;
    let first = addresses[leading[0]];
    let mut picture = Picture::take(first, &manner.credentials)?;
    settle(&mut picture, &manner.credentials)?;
    crate::report::check(&mut picture, manner.json).map(drop)
}

/// Lets empty nodes, each with its name, become one cluster.
fn join(
    nodes: &mut [(Node, String)],
    leading: &[usize],
    shares: &[(u16, u16)],
    following: &[(usize, usize)],
) -> Result<()> {
    for (index, (first, last)) in leading.iter().zip(shares) {
        nodes[*index].0.say(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"))?;
    }
    println!(">>> Nodes configuration updated");
    for (number, (node, _)) in nodes.iter_mut().enumerate() {
        node.say(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1))?;
    }
    println!(">>> Sending CLUSTER MEET messages to join the cluster");
    let first = nodes[leading[0]].0.address;
    let bus = bus_port(&mut nodes[leading[0]].0)?;
    for (_, (node, _)) in nodes.iter_mut().enumerate().filter(|(index, _)| *index != leading[0]) {
        node.say(&format!("CLUSTER MEET {} {} {bus}", first.ip(), first.port()))?;
    }
    await_that("all nodes to know each other", || {
        let mut lines = Vec::new();
        for (node, _) in nodes.iter_mut() {
            lines.push(node.say("CLUSTER NODES")?);
        }
        Ok(lines.iter().all(|text| text.lines().count() == lines.len() && !text.contains("handshake")))
    })?;
    for (node, primary) in following {
        let primary = nodes[*primary].1.clone();
        nodes[*node].0.say(&format!("CLUSTER REPLICATE {primary}"))?;
    }
    await_that("the cluster to work", || {
        for (node, _) in nodes.iter_mut() {
            if !node.say("CLUSTER INFO")?.contains("cluster_state:ok") {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    Ok(())
}

/// Where a node's bus listens, as it says itself.
fn bus_port(node: &mut Node) -> Result<u16> {
    let lines = node.say("CLUSTER NODES")?;
    let own = lines.lines().find(|line| line.contains("myself")).context("a node knows itself")?;
    let address = own.split(' ').nth(1).and_then(|address| address.split(['@', ',']).nth(1));
    address.and_then(|port| port.parse().ok()).context("a node knows the port of its bus")
}

fn await_that(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let (begun, mut bar) = (Instant::now(), Bar::waiting(format!("waiting for {what}")));
    while !is_so()? {
        bar.at(0, "");
        if begun.elapsed() > PATIENCE {
            bail!("waited in vain for {what}");
        }
        sleep(POLL);
    }
    Ok(())
}

/// `add-node`: a new primary gets its share of the slots, unless it is to be a replica, or to stay empty.
///
/// # Errors
/// The node is not empty, or doesn't become known.
pub(crate) fn add(
    new: SocketAddr,
    entry: SocketAddr,
    follows: Option<Option<String>>,
    rebalance: bool,
    manner: &Manner,
) -> Result<()> {
    let mut picture = Picture::take(entry, &manner.credentials)?;
    let mut node = Node::connect(new, &manner.credentials)?;
    let id = NodeId::parse(node.say("CLUSTER MYID")?.as_bytes()).context("a node has a name")?;
    let is_known = picture.member(id).is_some();
    if !is_known && (!node.say("CLUSTER INFO")?.contains("cluster_known_nodes:1\r") || node.say("DBSIZE")? != "0") {
        bail!("node {new} is not empty: either it knows other nodes already, or it holds keys");
    }
    let primary = match &follows {
        None => None,
        Some(Some(name)) => Some(picture.named(name)?),
        Some(None) => {
            let fewest = picture.primaries().filter(|member| !member.told.slots.is_empty());
            let fewest = fewest.min_by_key(|member| picture.replicas(member.id()).count());
            Some(fewest.context("there is no primary with slots")?.id())
        }
    };
    println!(">>> Adding node {new} to cluster {entry}");
    if let Some(primary) = primary {
        println!(">>> It replicates {primary}");
    }
    if manner.dry_run {
        return Ok(());
    }
    if !is_known {
        let through = &mut picture.members[0];
        let (bus, place) = (bus_port(&mut through.node)?, through.address);
        println!(">>> Send CLUSTER MEET to node {new} to make it join the cluster.");
        node.say(&format!("CLUSTER MEET {} {} {bus}", place.ip(), place.port()))?;
    }
    await_that("the new node to be known", || {
        picture = Picture::take(entry, &manner.credentials)?;
        // A node that has just started holds itself back for a while; until then it would refuse the keys that come to it.
        let works = node.say("CLUSTER INFO")?.contains("cluster_state:ok");
        let is_needed = picture.members[0].node.say("CLUSTER INFO")?.contains("cluster_state:ok");
        Ok(picture.member(id).is_some() && picture.agrees() && (works || !is_needed))
    })?;
    if let Some(primary) = primary {
        node.say(&format!("CLUSTER REPLICATE {primary}"))?;
    } else if rebalance {
        let shares = shares(&picture, &[], true)?;
        carry_out(&mut picture, &plan::rebalance(&shares, 0.0), &Manner { yes: true, ..manner.clone() })?;
    }
    println!("[OK] New node added correctly.");
    Ok(())
}

/// `del-node`: its slots go to the others, its replicas follow another, and everybody forgets it.
///
/// # Errors
/// It is the last primary, or a node refuses.
pub(crate) fn remove(entry: SocketAddr, name: &str, rebalance: bool, manner: &Manner) -> Result<()> {
    let mut picture = Picture::settled(entry, &manner.credentials)?;
    let id = picture.named(name)?;
    let member = picture.member(id).context("it was just named")?;
    println!(">>> Removing node {id} from cluster {entry}");
    if !member.told.slots.is_empty() {
        if !rebalance {
            bail!("node {} is not empty: its slots must be moved first", member.address);
        }
        let leaving = Share { id, slots: member.told.slots.clone(), weight: 0.0 };
        let others: Vec<Share> = shares(&picture, &[], false)?.into_iter().filter(|share| share.id != id).collect();
        if others.is_empty() {
            bail!("it is the only node with slots");
        }
        carry_out(&mut picture, &plan::drain(&leaving, &others), manner)?;
    }
    if manner.dry_run {
        return Ok(());
    }
    let replicas: Vec<NodeId> = picture.replicas(id).map(Member::id).collect();
    for replica in replicas {
        let others = picture.primaries().filter(|member| member.id() != id && !member.told.slots.is_empty());
        let fewest = others.min_by_key(|member| picture.replicas(member.id()).count());
        let primary = fewest.context("there is no other primary")?.id();
        println!(">>> {replica} as replica of {primary}");
        picture.node(replica)?.node.say(&format!("CLUSTER REPLICATE {primary}"))?;
    }
    forget(&mut picture, id, manner)?;
    println!(">>> Sending CLUSTER RESET SOFT to the deleted node.");
    // It may have become a replica when it gave its last slot away.
    if let Ok(member) = picture.node(id) {
        member.node.say("CLUSTER RESET SOFT")?;
    }
    Ok(())
}

/// `forget`: every other node forgets one.
///
/// # Errors
/// A node refuses.
pub(crate) fn forget(picture: &mut Picture, id: NodeId, manner: &Manner) -> Result<()> {
    if manner.dry_run {
        return Ok(());
    }
    println!(">>> Sending CLUSTER FORGET messages to the cluster...");
    for member in picture.members.iter_mut().filter(|member| member.id() != id) {
        if let Err(error) = member.node.say(&format!("CLUSTER FORGET {id}")) {
            // It may have heard of it from another already.
            if !format!("{error:#}").contains("Unknown node") {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// `failover`: a replica takes over, while writes wait for a moment.
///
/// # Errors
/// It is no replica, or doesn't become primary.
pub(crate) fn failover(picture: &mut Picture, id: NodeId, manner: &Manner) -> Result<()> {
    let member = picture.node(id)?;
    println!(
        ">>> {} takes over from {}",
        member.address,
        member.told.primary.map_or("nobody".into(), |id| id.to_string())
    );
    if manner.dry_run {
        return Ok(());
    }
    // A node that has just started has no link of the bus to its primary yet.
    await_that("the replica to see its primary", || match member.node.say("CLUSTER FAILOVER") {
        Err(error) if format!("{error:#}").contains("Master is down or failed") => Ok(false),
        told => told.map(|_| true),
    })?;
    await_that("the replica to lead", || Ok(member.node.say("INFO replication")?.contains("role:master")))?;
    settle(picture, &manner.credentials)
}

/// A field of what INFO answers.
pub(crate) fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

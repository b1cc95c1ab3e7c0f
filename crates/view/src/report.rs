//! A topology as lines for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use quorate_topology::{Address, Facts, Group, Health, Node, Part, Role, Shard, SlotRange, State, Topology, Verdict};

use crate::json;
use crate::text::{bytes, plain, table, thousands};

/// Everything, the verdict last.
pub(crate) fn report(topology: &Topology, health: &Health) -> String {
    let (mut text, mut placed) = (String::new(), BTreeSet::new());
    for group in topology.groups() {
        let (title, rows) = match &group {
            Group::Tree { name, branches, sentinels } => {
                let mut rows: Vec<Vec<String>> =
                    branches.iter().map(|branch| server_row(topology, &branch.address, branch.depth)).collect();
                rows.extend(sentinels.iter().map(|address| sentinel_row(topology, address, name.as_deref())));
                (name.as_deref().map_or_else(|| "replication".to_owned(), plain), rows)
            }
            Group::Independent { nodes } => {
                placed.extend(nodes.iter().cloned());
                let rows = nodes.iter().map(|address| server_row(topology, address, 0)).collect();
                (format!("{} independent servers; {} of them grant a lock", nodes.len(), nodes.len() / 2 + 1), rows)
            }
            Group::Cluster { shards } => {
                let rows = shards.iter().flat_map(|shard| shard_rows(topology, shard)).collect();
                (format!("cluster of {} shards", shards.iter().filter(|shard| !shard.slots.is_empty()).count()), rows)
            }
        };
        add(&mut text, &title, &rows);
    }
    let strangers: Vec<Vec<String>> = topology
        .nodes
        .values()
        .filter(|node| node.facts.is_none() && !placed.contains(&node.address))
        .map(|node| vec![plain(&node.address.to_string()), state(node)])
        .collect();
    if !strangers.is_empty() {
        add(&mut text, "unknown", &strangers);
    }
    if !health.problems.is_empty() {
        let rows: Vec<Vec<String>> = health
            .problems
            .iter()
            .map(|problem| {
                let node = problem.node.as_ref().map(Address::to_string).unwrap_or_default();
                vec![json::verdict(problem.verdict).to_owned(), plain(&node), plain(&problem.text)]
            })
            .collect();
        add(&mut text, "problems", &rows);
    }
    // Writing to a string can't fail.
    let _ = writeln!(text, "{}", conclusion(topology, health));
    text
}

/// One line that says how it is.
pub(crate) fn conclusion(topology: &Topology, health: &Health) -> String {
    let (all, live) = (topology.nodes.len(), topology.live().count());
    let nodes = if all == live { format!("{all} nodes") } else { format!("{live} of {all} nodes answer") };
    match (health.verdict, health.problems.len()) {
        (Verdict::Healthy, _) => format!("healthy: {nodes}, nothing is wrong"),
        (verdict, 1) => format!("{}: {nodes}, one problem", json::verdict(verdict)),
        (verdict, count) => format!("{}: {nodes}, {count} problems", json::verdict(verdict)),
    }
}

fn add(text: &mut String, title: &str, rows: &[Vec<String>]) {
    let lines: String = table(rows).iter().map(|line| format!("  {line}\n")).collect();
    // Writing to a string can't fail.
    let _ = write!(text, "{title}\n{lines}\n");
}

fn state(node: &Node) -> String {
    match &node.state {
        State::Unknown => "not asked yet".to_owned(),
        State::Up => "up".to_owned(),
        State::Down { fault, .. } => plain(&fault.to_string()),
    }
}

fn make(facts: &Facts) -> String {
    format!("{} {}", json::make(facts.make), plain(&facts.version))
}

pub(crate) fn server_row(topology: &Topology, address: &Address, depth: usize) -> Vec<String> {
    let place = format!("{}{}", "  ".repeat(depth), plain(&address.to_string()));
    let Some(node) = topology.node(address) else { return vec![place, "nobody has seen it".to_owned()] };
    let Some(facts) = &node.facts else { return vec![place, state(node)] };
    let role = match &facts.role {
        Role::Primary => "primary",
        Role::Replica { .. } => "replica",
        Role::Sentinel => "sentinel",
    };
    if node.live().is_none() {
        return vec![place, role.to_owned(), make(facts), state(node)];
    }
    let link = match (&facts.role, topology.lag(address)) {
        (Role::Replica { is_linked: true, .. }, Some((lag, _))) => format!("{} behind", bytes(lag)),
        (Role::Replica { is_linked: true, .. }, None) => "linked".to_owned(),
        (Role::Replica { is_syncing: true, .. }, _) => "copying".to_owned(),
        (Role::Replica { .. }, _) => "no link".to_owned(),
        _ => format!("offset {}", thousands(facts.offset)),
    };
    let load = &facts.load;
    vec![
        place,
        role.to_owned(),
        make(facts),
        link,
        format!("{} keys", thousands(load.keys)),
        bytes(load.memory),
        format!("{} ops/s", thousands(load.ops)),
        format!("{} clients", thousands(load.clients)),
    ]
}

fn sentinel_row(topology: &Topology, address: &Address, name: Option<&str>) -> Vec<String> {
    let place = plain(&address.to_string());
    let Some(node) = topology.node(address) else { return vec![place] };
    let Some(facts) = node.facts.as_ref().filter(|facts| facts.part == Part::Sentinel) else {
        return vec![place, "sentinel".to_owned(), String::new(), state(node)];
    };
    let view = match (node.live(), facts.watched.iter().find(|watched| Some(watched.name.as_str()) == name)) {
        (None, _) => state(node),
        (Some(_), None) => "does not watch it".to_owned(),
        (Some(_), Some(watched)) => {
            let flags: Vec<String> =
                watched.flags.iter().filter(|flag| *flag != "master").map(|flag| plain(flag)).collect();
            let flags = if flags.is_empty() { String::new() } else { format!(" ({})", flags.join(", ")) };
            format!("names {}{flags}, quorum {}", plain(&watched.primary.to_string()), watched.quorum)
        }
    };
    vec![place, "sentinel".to_owned(), make(facts), view]
}

/// Slots as people write them.
pub(crate) fn ranges(slots: &[SlotRange]) -> String {
    let range = |range: &SlotRange| match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{}-{}", range.first, range.last),
    };
    match slots {
        [] => "no slots".to_owned(),
        [a, b, c, rest @ ..] if !rest.is_empty() => {
            format!("{} {} {} and {} more", range(a), range(b), range(c), rest.len())
        }
        all => all.iter().map(range).collect::<Vec<_>>().join(" "),
    }
}

fn shard_rows(topology: &Topology, shard: &Shard) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let nodes =
        shard.primary.iter().map(|address| (address, 0)).chain(shard.replicas.iter().map(|address| (address, 1)));
    for (address, depth) in nodes {
        let first = if depth == 0 { ranges(&shard.slots) } else { String::new() };
        rows.push([vec![first], server_row(topology, address, depth)].concat());
    }
    rows
}

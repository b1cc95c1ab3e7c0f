//! A topology as JSON: what `quorate status --json` prints and the page draws. Fields are only ever added.

use quorate_topology::{
    Address, Cluster, Facts, Group, Health, Make, Node, Part, Role, State, Topology, Verdict, Watched,
};
use serde_json::{Value, json};

/// The whole.
pub(crate) fn topology(topology: &Topology, health: &Health) -> Value {
    json!({
        "verdict": verdict(health.verdict),
        "problems": health.problems.iter().map(|problem| json!({
            "verdict": verdict(problem.verdict),
            "node": problem.node.as_ref().map(Address::to_string),
            "text": problem.text,
        })).collect::<Vec<_>>(),
        "nodes": topology.nodes.values().map(|one| node(topology, one)).collect::<Vec<_>>(),
        "groups": topology.groups().iter().map(group).collect::<Vec<_>>(),
    })
}

pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "healthy",
        Verdict::Degraded => "degraded",
        Verdict::Down => "down",
        Verdict::Unreachable => "unreachable",
    }
}

pub(crate) fn make(make: Make) -> &'static str {
    match make {
        Make::Quorate => "Quorate",
        Make::Redis => "Redis",
        Make::Valkey => "Valkey",
    }
}

fn node(topology: &Topology, node: &Node) -> Value {
    let (state, fault, since) = match &node.state {
        State::Unknown => ("unknown", None, None),
        State::Up => ("up", None, None),
        State::Down { fault, since } => ("down", Some(fault.to_string()), Some(since.0)),
    };
    let mut value = json!({ "address": node.address.to_string(), "state": state, "fault": fault, "since": since });
    if let (Some(facts), Value::Object(fields)) = (&node.facts, &mut value)
        && let Value::Object(more) = said(topology, node, facts)
    {
        fields.extend(more);
    }
    value
}

fn said(topology: &Topology, node: &Node, facts: &Facts) -> Value {
    let (role, of, linked, syncing) = match &facts.role {
        Role::Primary => ("primary", None, None, None),
        Role::Sentinel => ("sentinel", None, None, None),
        Role::Replica { of, is_linked, is_syncing, .. } => {
            ("replica", Some(topology.known_as(of).to_string()), Some(is_linked), Some(is_syncing))
        }
    };
    let lag = topology.lag(&node.address);
    let load = &facts.load;
    json!({
        "make": make(facts.make),
        "version": facts.version,
        "part": match facts.part {
            Part::Server => "server",
            Part::ClusterNode => "cluster node",
            Part::Sentinel => "sentinel",
        },
        "role": role,
        "of": of,
        "linked": linked,
        "syncing": syncing,
        "run_id": facts.run_id,
        "uptime": facts.uptime,
        "offset": facts.offset,
        "lag_bytes": lag.map(|lag| lag.0),
        "lag_seconds": lag.map(|lag| lag.1),
        "complaints": facts.complaints,
        "load": {
            "ops": load.ops,
            "input": load.input,
            "output": load.output,
            "clients": load.clients,
            "blocked": load.blocked,
            "memory": load.memory,
            "max_memory": load.max_memory,
            "keys": load.keys,
            "hits": load.hits,
            "misses": load.misses,
            "evicted": load.evicted,
        },
        "watched": facts.watched.iter().map(|one| watched(topology, one)).collect::<Vec<_>>(),
        "cluster": facts.cluster.as_ref().map(cluster),
    })
}

fn watched(topology: &Topology, watched: &Watched) -> Value {
    json!({
        "name": watched.name,
        "primary": topology.known_as(&watched.primary).to_string(),
        "flags": watched.flags,
        "quorum": watched.quorum,
        "epoch": watched.epoch,
        "refusal": watched.refusal,
        "explanation": watched.explanation,
    })
}

fn cluster(cluster: &Cluster) -> Value {
    let myself = cluster.myself();
    json!({
        "id": myself.map(|member| member.id.as_str()),
        "ok": cluster.is_ok,
        "epoch": cluster.epoch,
        "config_epoch": myself.map(|member| member.epoch),
        "slots": myself.map(|member| member.slot_count()),
        "suspects": cluster.members.iter().filter(|member| member.has("fail?") || member.has("fail"))
            .filter_map(|member| member.address.as_ref().map(Address::to_string)).collect::<Vec<_>>(),
        "moving": cluster.moving.iter().map(|open| json!({
            "slot": open.slot,
            "other": cluster.member(&open.other).and_then(|member| member.address.as_ref()).map(Address::to_string),
            "leaves": open.leaves,
        })).collect::<Vec<_>>(),
    })
}

fn group(group: &Group) -> Value {
    let texts = |addresses: &[Address]| addresses.iter().map(Address::to_string).collect::<Vec<_>>();
    match group {
        Group::Tree { name, branches, sentinels } => json!({
            "kind": "tree",
            "name": name,
            "branches": branches.iter().map(|branch| json!({
                "address": branch.address.to_string(), "depth": branch.depth,
            })).collect::<Vec<_>>(),
            "sentinels": texts(sentinels),
        }),
        Group::Independent { nodes } => {
            json!({ "kind": "independent", "nodes": texts(nodes), "majority": nodes.len() / 2 + 1 })
        }
        Group::Cluster { shards } => json!({
            "kind": "cluster",
            "shards": shards.iter().map(|shard| json!({
                "id": shard.id,
                "primary": shard.primary.as_ref().map(Address::to_string),
                "replicas": texts(&shard.replicas),
                "slots": shard.slots.iter().map(|range| [range.first, range.last]).collect::<Vec<_>>(),
                "failed": shard.has_failed,
            })).collect::<Vec<_>>(),
        }),
    }
}

//! What only looks.

use std::fmt::Write as _;

use quorate_cluster::{Health, LinkId, NodeId, ShardView, View};
use quorate_commands::{Args, CommandError, Outcome};
use quorate_config::EndpointKind;
use quorate_keyspace::{Db, Slot};
use quorate_resp::ReplyWriter;

use super::{error, node};
use crate::control::cluster::Node;
use crate::data::call::Cx;
use crate::data::redirect::Routing;
use crate::server::Server;

pub(super) fn my_id(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let id = node(cx.server)?.look(|machine| machine.id());
    cx.reply().bulk(&id.digits());
    Ok(())
}

pub(super) fn my_shard_id(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let id = node(cx.server)?.look(|machine| machine.shard_id());
    cx.reply().bulk(&id.digits());
    Ok(())
}

pub(super) fn key_slot(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    node(cx.server)?;
    cx.reply().count(Slot::of(args.at(2)).index());
    Ok(())
}

pub(super) fn count_keys(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    node(cx.server)?;
    let number = args.int(2)?;
    let slot = usize::try_from(number).ok().and_then(Slot::new).ok_or_else(|| error("Invalid slot"))?;
    let count = cx.view(std::iter::empty()).count_in(Db(0), slot);
    cx.reply().count(count);
    Ok(())
}

pub(super) fn get_keys(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    node(cx.server)?;
    let (number, most) = (args.int(2)?, args.int(3)?);
    let slot = usize::try_from(number).ok().and_then(Slot::new);
    let (Some(slot), Ok(most)) = (slot, usize::try_from(most)) else {
        return Err(error("Invalid slot or number of keys"));
    };
    let keys = cx.view(std::iter::empty()).keys_in(Db(0), slot, most);
    let mut reply = cx.reply();
    reply.array(keys.len());
    for key in keys {
        reply.bulk(&key);
    }
    Ok(())
}

pub(super) fn count_failure_reports(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let named = NodeId::parse(args.at(2));
    let count = node(cx.server)?.look(|machine| named.and_then(|named| machine.failure_reports(named)));
    let unknown = || error(format!("Unknown node {}", String::from_utf8_lossy(args.at(2))));
    let count = count.ok_or_else(unknown)?;
    cx.reply().count(count);
    Ok(())
}

pub(super) fn nodes(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let lines = node(cx.server)?.look(|machine| machine.lines());
    let otherwise = routing(cx.server)?.speaks_otherwise(cx.session);
    let text: String = lines.iter().map(|line| line.to_line_for(otherwise) + "\n").collect();
    cx.reply().verbatim(b"txt", text.as_bytes());
    Ok(())
}

pub(super) fn replicas(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let lines = node(cx.server)?.look(|machine| machine.lines());
    let named = NodeId::parse(args.at(2)).and_then(|id| lines.iter().find(|line| line.id == id));
    let unknown = || error(format!("Unknown node {}", String::from_utf8_lossy(args.at(2))));
    let primary = named.ok_or_else(unknown)?;
    if primary.primary.is_some() {
        return Err(error("The specified node is not a master"));
    }
    let otherwise = routing(cx.server)?.speaks_otherwise(cx.session);
    let replicas = lines.iter().filter(|line| line.primary == Some(primary.id));
    let replicas: Vec<String> = replicas.map(|line| line.to_line_for(otherwise)).collect();
    let mut reply = cx.reply();
    reply.array(replicas.len());
    for line in replicas {
        reply.bulk(line.as_bytes());
    }
    Ok(())
}

pub(super) fn info(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let text = info_of(node(cx.server)?);
    cx.reply().verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// The text of CLUSTER INFO.
pub(crate) fn info_of(node: &Node) -> String {
    let info = node.look(|machine| machine.info());
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string can't fail.
        let _ = write!(text, "{name}:{value}\r\n");
    };
    line("cluster_state", &if info.is_ok { "ok" } else { "fail" });
    line("cluster_slots_assigned", &info.assigned);
    line("cluster_slots_ok", &info.ok);
    line("cluster_slots_pfail", &info.suspected);
    line("cluster_slots_fail", &info.failed);
    line("cluster_known_nodes", &info.known);
    line("cluster_size", &info.size);
    line("cluster_current_epoch", &info.current_epoch);
    line("cluster_my_epoch", &info.my_epoch);
    for (direction, counts) in [("sent", &info.sent), ("received", &info.received)] {
        for (word, count) in counts {
            line(&format!("cluster_stats_messages_{word}_{direction}"), count);
        }
        let sum: u64 = counts.iter().map(|(_, count)| count).sum();
        line(&format!("cluster_stats_messages_{direction}"), &sum);
    }
    let closed = node.links.closed.load(std::sync::atomic::Ordering::Relaxed);
    line("total_cluster_links_buffer_limit_exceeded", &closed);
    text
}

pub(super) fn links(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let now = cx.server.now();
    let links = node(cx.server)?.look(|machine| machine.link_views(now));
    let waiting = node(cx.server)?.links.waiting.lock().clone();
    let mut reply = cx.reply();
    reply.array(links.len());
    for link in links {
        let waits = waiting.get(&link.link).copied().unwrap_or_default();
        reply.map(6);
        reply.bulk(b"direction");
        reply.bulk(if matches!(link.link, LinkId::To(_)) { b"to" } else { b"from" });
        reply.bulk(b"node");
        reply.bulk(&link.node.digits());
        reply.bulk(b"create-time");
        reply.int(link.since);
        reply.bulk(b"events");
        reply.bulk(if waits.used > 0 { b"rw" } else { b"r" });
        reply.bulk(b"send-buffer-allocated");
        reply.count(waits.allocated);
        reply.bulk(b"send-buffer-used");
        reply.count(waits.used);
    }
    Ok(())
}

/// What clients are told of addresses.
fn routing(server: &Server) -> Result<std::sync::Arc<Routing>, CommandError> {
    server.published().cluster.clone().ok_or(super::DISABLED)
}

/// Ranges of slots, each with its primary and replicas that work.
pub(super) fn slots(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let views = node(cx.server)?.look(|machine| machine.views());
    let routing = routing(cx.server)?;
    let otherwise = routing.speaks_otherwise(cx.session);
    let mut ranges: Vec<(u16, u16, &View)> = Vec::new();
    for primary in views.iter().filter(|view| !view.is_replica) {
        ranges.extend(primary.slots.ranges().into_iter().map(|(first, last)| (first, last, primary)));
    }
    ranges.sort_by_key(|(first, ..)| *first);
    let mut reply = cx.reply();
    reply.array(ranges.len());
    for (first, last, primary) in ranges {
        let follows = |view: &&View| {
            let is_failed = matches!(view.health, Health::Failed { .. });
            view.primary == Some(primary.id) && !is_failed && !view.is_loading()
        };
        let replicas: Vec<&View> = views.iter().filter(follows).collect();
        reply.array(3 + replicas.len());
        reply.count(usize::from(first));
        reply.count(usize::from(last));
        for view in std::iter::once(primary).chain(replicas) {
            write_place(&mut reply, &routing, view, otherwise);
        }
    }
    Ok(())
}

fn write_place(reply: &mut ReplyWriter<'_>, routing: &Routing, view: &View, otherwise: bool) {
    let kind = routing.endpoint_kind();
    let ip = view.address.ip.as_deref().unwrap_or_default();
    reply.array(4);
    match kind {
        EndpointKind::Ip => reply.bulk(ip.as_bytes()),
        EndpointKind::Hostname if view.hostname.is_empty() => reply.bulk(b"?"),
        EndpointKind::Hostname => reply.bulk(view.hostname.as_bytes()),
        EndpointKind::Unknown => reply.null(),
    }
    reply.count(usize::from(view.address.port_for(otherwise)));
    reply.bulk(&view.id.digits());
    let mut more: Vec<(&[u8], &str)> = Vec::new();
    if kind != EndpointKind::Ip {
        more.push((b"ip", ip));
    }
    if kind != EndpointKind::Hostname && !view.hostname.is_empty() {
        more.push((b"hostname", &view.hostname));
    }
    reply.map(more.len());
    for (name, value) in more {
        reply.bulk(name);
        reply.bulk(value.as_bytes());
    }
}

pub(super) fn shards(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let shards = node(cx.server)?.look(|machine| machine.shards());
    let routing = routing(cx.server)?;
    let mut reply = cx.reply();
    reply.array(shards.len());
    for ShardView { slots, nodes } in shards {
        reply.map(2);
        reply.bulk(b"slots");
        let ranges = slots.ranges();
        reply.array(ranges.len() * 2);
        for (first, last) in ranges {
            reply.count(usize::from(first));
            reply.count(usize::from(last));
        }
        reply.bulk(b"nodes");
        reply.array(nodes.len());
        for view in &nodes {
            write_member(&mut reply, &routing, view);
        }
    }
    Ok(())
}

fn write_member(reply: &mut ReplyWriter<'_>, routing: &Routing, view: &View) {
    let ip = view.address.ip.as_deref().unwrap_or_default();
    let endpoint = match routing.endpoint_kind() {
        EndpointKind::Ip => ip,
        EndpointKind::Hostname if view.hostname.is_empty() => "?",
        EndpointKind::Hostname => &view.hostname,
        EndpointKind::Unknown => "",
    };
    let health = match view.health {
        Health::Failed { .. } => "fail",
        _ if view.is_loading() => "loading",
        _ => "online",
    };
    let mut texts: Vec<(&str, &str)> = vec![("ip", ip), ("endpoint", endpoint)];
    if !view.hostname.is_empty() {
        texts.push(("hostname", &view.hostname));
    }
    let (port, tls_port) = routing.ports(&view.address);
    let ports = [(b"port".as_slice(), port), (b"tls-port".as_slice(), tls_port)];
    let ports = ports.into_iter().filter(|(_, port)| *port > 0);
    reply.map(texts.len() + 4 + ports.clone().count());
    reply.bulk(b"id");
    reply.bulk(&view.id.digits());
    for (name, port) in ports {
        reply.bulk(name);
        reply.count(usize::from(port));
    }
    for (name, value) in texts {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"role");
    reply.bulk(if view.is_replica { b"replica" } else { b"master" });
    reply.bulk(b"replication-offset");
    reply.int(view.offset as i64);
    reply.bulk(b"health");
    reply.bulk(health.as_bytes());
}

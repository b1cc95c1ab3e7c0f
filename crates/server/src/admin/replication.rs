//! Commands about replication: REPLICAOF, ROLE, WAIT and FAILOVER for people and tools; PSYNC, SYNC and
//! REPLCONF for replicas.
//!
//! Orders and requests to synchronise run alone, because the machine decides on them while the data
//! plane stands still. So they are answered when they are done, also within MULTI, where Sentinel puts
//! its SLAVEOF.

use std::time::Duration;

use quorate_commands::{Args, Arity, CommandError, Flags, Group, Origin, Outcome, Run, Spec};
use quorate_replication::primary::{self, Asks, Goal};
use quorate_replication::{
    Addr, Authority, Input, Order, PeerId, PeerState, PrimaryView, Psync, Replconf, RoleView, View,
};
use quorate_resp::ReplyWriter;

use crate::data::call::Cx;
use crate::data::client::{Blocked, Kind, Peer};
use crate::data::replicas::Link;
use crate::persist::aof::Phase;
use crate::server::Role;

const ORDER: Flags =
    Flags::ADMIN.and(Flags::NO_SCRIPT).and(Flags::STALE).and(Flags::ALONE).and(Flags::NO_ASYNC_LOADING);
const HANDOVER: Flags = Flags::ADMIN.and(Flags::NO_SCRIPT).and(Flags::STALE).and(Flags::ALONE);
const SYNCHRONISE: Flags =
    Flags::ADMIN.and(Flags::NO_SCRIPT).and(Flags::NO_ASYNC_LOADING).and(Flags::NO_MULTI).and(Flags::ALONE);
const ANYTIME: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::FAST).and(Flags::NO_SCRIPT);

const fn of(name: &'static str, arity: Arity, flags: Flags, since: &'static str, summary: &'static str) -> Spec {
    Spec { name, group: Group::Server, arity, flags, since, summary, run: Run::Server, ..Spec::BLANK }
}

/// REPLICAOF
pub static REPLICAOF: Spec = of("replicaof", Arity::Exactly(3), ORDER, "5.0.0", "Follows a primary, or nobody.");
/// SLAVEOF
pub static SLAVEOF: Spec =
    of("slaveof", Arity::Exactly(3), ORDER, "1.0.0", "Follows a primary, or nobody.").replaced_by("5.0.0", "REPLICAOF");
/// FAILOVER
pub static FAILOVER: Spec =
    of("failover", Arity::AtLeast(1), HANDOVER, "6.2.0", "Hands over to a replica that has everything.");
/// ROLE
pub static ROLE: Spec = Spec {
    categories: &["admin", "dangerous"],
    ..of("role", Arity::Exactly(1), ANYTIME, "2.8.12", "Tells the role and who is linked.")
};
/// PSYNC
pub static PSYNC: Spec = of("psync", Arity::AtLeast(3), SYNCHRONISE, "2.8.0", "Asks for the stream, as a replica.");
/// SYNC
pub static SYNC: Spec = of("sync", Arity::Exactly(1), SYNCHRONISE, "1.0.0", "Asks for a snapshot and the stream.");
/// REPLCONF
pub static REPLCONF: Spec = of(
    "replconf",
    Arity::AtLeast(1),
    Flags::ADMIN.and(Flags::NO_SCRIPT).and(Flags::LOADING).and(Flags::STALE).and(Flags::ALLOW_BUSY).and(Flags::SYSTEM),
    "3.0.0",
    "Introduces a replica, and reports how far it is.",
);
/// WAIT
pub static WAIT: Spec = Spec {
    group: Group::Generic,
    ..of("wait", Arity::Exactly(3), Flags::BLOCKING, "3.0.0", "Waits until replicas have what this connection wrote.")
        .with_tips(&["request_policy:all_shards", "response_policy:agg_min"])
};
/// WAITAOF
pub static WAITAOF: Spec = Spec {
    group: Group::Generic,
    ..of("waitaof", Arity::Exactly(4), Flags::BLOCKING, "7.2.0", "Waits until disks have what this connection wrote.")
};

pub(super) static RUNS: [super::Entry; 9] = [
    (&REPLICAOF, &[("", replicaof)]),
    (&SLAVEOF, &[("", replicaof)]),
    (&FAILOVER, &[("", failover)]),
    (&ROLE, &[("", role)]),
    (&PSYNC, &[("", psync)]),
    (&SYNC, &[("", sync)]),
    (&REPLCONF, &[("", replconf)]),
    (&WAIT, &[("", wait)]),
    (&WAITAOF, &[("", waitaof)]),
];

// ---- orders -----------------------------------------------------------------------------------------------

fn replicaof(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if cx.server.node().is_some() {
        return Err(CommandError::text("ERR REPLICAOF not allowed in cluster mode."));
    }
    let order = if args.is(1, "no") && args.is(2, "one") {
        Order::Lead
    } else {
        Order::Follow { to: address(args, 1, 2)?, by: Authority::Operator }
    };
    if order != Order::Lead && cx.session.kind == Kind::Replica {
        return Err(CommandError::text("ERR Command is not valid when client is a replica."));
    }
    give(cx, order)
}

fn address(args: Args<'_>, host: usize, port: usize) -> Result<Addr, CommandError> {
    let port = args.int(port)?;
    let port = u16::try_from(port).map_err(|_| CommandError::text("ERR Invalid master port"))?;
    Ok(Addr::new(String::from_utf8_lossy(args.at(host)), port))
}

fn give(cx: &mut Cx<'_, '_>, order: Order) -> Outcome {
    let answer = cx.server.control.order(cx.server, cx.access.alone(), order);
    // The dataset's standing may have changed with the role; what follows in this turn must see it.
    cx.local.published = cx.server.published();
    cx.out.extend_from_slice(answer.line().as_bytes());
    cx.out.extend_from_slice(b"\r\n");
    Ok(())
}

fn failover(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if cx.server.node().is_some() {
        return Err(CommandError::text("ERR FAILOVER not allowed in cluster mode."));
    }
    let (mut target, mut force, mut timeout, mut abort) = (None, false, None, false);
    let mut at = 1;
    while at < args.len() {
        let left = args.len() - at - 1;
        if args.is(at, "timeout") && left >= 1 && timeout.is_none() {
            let millis = args.int(at + 1)?;
            let millis =
                u64::try_from(millis).map_err(|_| CommandError::text("ERR FAILOVER timeout must be greater than 0"))?;
            timeout = Some(Duration::from_millis(millis));
            at += 2;
        } else if args.is(at, "abort") && args.len() == 2 {
            abort = true;
            at += 1;
        } else if args.is(at, "to") && left >= 2 && target.is_none() {
            target = Some(address(args, at + 1, at + 2)?);
            at += 3;
        } else if args.is(at, "force") && !force {
            force = true;
            at += 1;
        } else {
            return Err(CommandError::text("ERR syntax error"));
        }
    }
    give(cx, if abort { Order::AbortFailover } else { Order::Failover { target, force, timeout } })
}

fn role(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    let view = cx.server.control.view(cx.server);
    write_role(&mut cx.reply(), &view);
    Ok(())
}

/// The reply of ROLE.
pub fn write_role(reply: &mut ReplyWriter<'_>, view: &View) {
    match &view.role {
        RoleView::Primary => {
            let online: Vec<_> = view.replicas.iter().filter(|replica| replica.state == PeerState::Online).collect();
            reply.array(3);
            reply.bulk(b"master");
            reply.int(view.offset.0 as i64);
            reply.array(online.len());
            for replica in online {
                reply.array(3);
                reply.bulk(replica.addr.host.as_bytes());
                reply.bulk(replica.addr.port.to_string().as_bytes());
                reply.bulk(replica.offset.to_string().as_bytes());
            }
        }
        RoleView::Replica(PrimaryView { addr, link, offset, .. }) => {
            reply.array(5);
            reply.bulk(b"slave");
            reply.bulk(addr.host.as_bytes());
            reply.int(i64::from(addr.port));
            reply.bulk(link.word().as_bytes());
            let known = view.backlog.is_some();
            reply.int(if known { offset.0 as i64 } else { -1 });
        }
    }
}

// ---- replicas ---------------------------------------------------------------------------------------------

fn psync(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let words = args.words();
    let Some(psync) = Psync::parse(words[1], words[2], &words[3..]) else {
        let addr = cx.session.peer.remote();
        crate::log::warning(&format!("Replica {addr} asks for synchronization but with a wrong offset"));
        return Err(CommandError::text("ERR value is not an integer or out of range"));
    };
    synchronise(cx, Asks::Psync(psync))
}

fn sync(cx: &mut Cx<'_, '_>, _: Args<'_>) -> Outcome {
    synchronise(cx, Asks::Sync)
}

/// From here on the connection is a replica's, unless the machine refuses.
fn synchronise(cx: &mut Cx<'_, '_>, asks: Asks) -> Outcome {
    if cx.session.kind == Kind::Replica {
        return Ok(());
    }
    if cx.origin != Origin::Client {
        return Err(CommandError::text("ERR PSYNC can't be part of a transaction"));
    }
    let Ok(socket) = cx.session.socket.try_clone() else {
        return Err(CommandError::text("ERR no file descriptor is left for a replica, raise 'maxclients'"));
    };
    // What was answered before, and not sent yet, stands in front of what the link writes.
    let pending = cx.out.split_off(std::mem::take(&mut cx.session.sent));
    cx.out.clear();
    if let (Some(stream), true) = (cx.session.socket.tcp(), cx.server.config.load().replication.disable_tcp_nodelay) {
        // It is a matter of packets, not of correctness.
        let _ = stream.set_nodelay(false);
    }
    let link = Link::new(cx.client.id, cx.client.worker, socket, pending);
    cx.server.replicas.add(&link);
    cx.session.kind = Kind::Replica;
    let introduction = cx.session.introduction.as_deref().cloned().unwrap_or_default();
    let ip = match &cx.session.peer {
        Peer::Inet { remote, .. } => remote.ip().to_string(),
        Peer::Unix(path) => path.clone(),
    };
    let asked = primary::Input::Asked { replica: PeerId(cx.client.id.0), ip, asks, introduction };
    cx.server.control.submit_alone(cx.server, cx.access.alone(), Input::Primary(asked));
    Ok(())
}

fn replconf(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let introduction = cx.session.introduction.get_or_insert_default();
    match introduction.replconf(args.from(1)) {
        Ok(Replconf::Introduced) => cx.reply().ok(),
        Ok(Replconf::Acked { applied, fsynced }) => {
            let Some(link) = cx.server.replicas.get(cx.client.id) else { return Ok(()) };
            link.acknowledge(applied, fsynced);
            let acked = primary::Input::Acked { replica: PeerId(cx.client.id.0), applied, fsynced };
            cx.server.control.submit(cx.server, Input::Primary(acked));
        }
        // Only our primary may ask, and its stream is not run here.
        Ok(Replconf::AckWanted) => {}
        Err(error) => return Err(CommandError::Bytes(error.to_string().into_bytes())),
    }
    Ok(())
}

// ---- waiting ----------------------------------------------------------------------------------------------

fn wait(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    if cx.server.published().role != Role::Primary {
        return Err(CommandError::text(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is \
             configured to be writable (which is not the default) writes to replicas are just local and are not \
             propagated.",
        ));
    }
    let replicas = replicas(args.int(1)?)?;
    let timeout = timeout(args.int(2)?)?;
    let offset = cx.session.written;
    let have = cx.server.replicas.count_acked(offset);
    if have >= replicas || cx.origin != Origin::Client {
        cx.reply().int(have as i64);
        return Ok(());
    }
    block(cx, Goal { offset, replicas, durable: false, local: false }, timeout);
    Ok(())
}

fn waitaof(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let local = args.int(1)?;
    if !(0..=1).contains(&local) {
        return Err(CommandError::text("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = replicas(args.int(2)?)?;
    let timeout = timeout(args.int(3)?)?;
    if cx.server.published().role != Role::Primary {
        return Err(CommandError::text(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local \
             and are not propagated.",
        ));
    }
    if local == 1 && cx.server.aof.phase() == Phase::Off {
        return Err(CommandError::text("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."));
    }
    let offset = cx.session.written;
    let have = cx.server.replicas.count_fsynced(offset);
    let has = cx.server.aof.durable_offset().is_some_and(|upto| upto >= offset);
    if (have >= replicas && (has || local == 0)) || cx.origin != Origin::Client {
        let mut reply = cx.reply();
        reply.array(2);
        reply.int(i64::from(has));
        reply.int(have as i64);
        return Ok(());
    }
    block(cx, Goal { offset, replicas, durable: true, local: local == 1 }, timeout);
    Ok(())
}

fn replicas(count: i64) -> Result<usize, CommandError> {
    usize::try_from(count).map_err(|_| CommandError::text("ERR value is out of range, must be positive"))
}

fn timeout(millis: i64) -> Result<Option<Duration>, CommandError> {
    match u64::try_from(millis) {
        Ok(0) => Ok(None),
        Ok(millis) => Ok(Some(Duration::from_millis(millis))),
        Err(_) => Err(CommandError::text("ERR timeout is negative")),
    }
}

fn block(cx: &mut Cx<'_, '_>, goal: Goal, timeout: Option<Duration>) {
    cx.session.blocked = Some(Blocked::OnAnswer { until: None });
    let deadline = timeout.map(|timeout| cx.server.mono() + timeout);
    cx.server.control.wait(cx.server, cx.client.id, goal, deadline);
}

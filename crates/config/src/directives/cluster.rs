//! The cluster node.

use std::time::Duration;

use crate::choice::Choice;
use crate::config::{from_millis, millis};
use crate::quantity::{INT, LONG, decimal, memory};
use crate::spec::{Apply, Flags, Form, Refusal, Spec, checked_text, choice, kept, number, switch, text};
use crate::text::{Text, shown};

/// The cluster node.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// `cluster-enabled`.
    pub enabled: bool,
    /// `cluster-config-file`: what the node knows of the cluster.
    pub file: Text,
    /// `cluster-port`: the bus; 0 is the data port plus 10000.
    pub port: u16,
    /// `cluster-node-timeout`: silence after which a node may be down.
    pub node_timeout: Duration,
    /// `cluster-replica-validity-factor`: how stale a replica may be that stands for election; 0 is any.
    pub replica_validity_factor: u32,
    /// `cluster-migration-barrier`: replicas that a primary keeps when one of them moves away.
    pub migration_barrier: u32,
    /// `cluster-allow-replica-migration`.
    pub replica_migration: bool,
    /// `cluster-require-full-coverage`: no slot is served while one is not.
    pub full_coverage: bool,
    /// `cluster-replica-no-failover`: this replica never stands for election.
    pub no_failover: bool,
    /// `cluster-allow-reads-when-down`.
    pub reads_when_down: bool,
    /// `cluster-allow-pubsubshard-when-down`.
    pub pubsub_when_down: bool,
    /// `cluster-link-sendbuf-limit`: bytes that a link to a node may hold; 0 is no limit.
    pub link_limit: u64,
    /// `cluster-announce-ip`.
    pub announce_ip: Option<Text>,
    /// `cluster-announce-port`; 0 is the one that we listen on.
    pub announce_port: u16,
    /// `cluster-announce-tls-port`.
    pub announce_tls_port: u16,
    /// `cluster-announce-bus-port`.
    pub announce_bus_port: u16,
    /// `cluster-announce-hostname`.
    pub announce_hostname: Option<Text>,
    /// `cluster-announce-human-nodename`.
    pub announce_name: Option<Text>,
    /// `cluster-slot-stats-enabled`: what each slot costs is counted.
    pub slot_stats: bool,
    /// `cluster-preferred-endpoint-type`: what clients are told to connect to.
    pub endpoint: EndpointKind,
}

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster {
            enabled: false,
            file: "nodes.conf".into(),
            port: 0,
            node_timeout: Duration::from_secs(15),
            replica_validity_factor: 10,
            migration_barrier: 1,
            replica_migration: true,
            full_coverage: true,
            no_failover: false,
            reads_when_down: false,
            pubsub_when_down: true,
            link_limit: 0,
            announce_ip: None,
            announce_port: 0,
            announce_tls_port: 0,
            announce_bus_port: 0,
            announce_hostname: None,
            announce_name: None,
            slot_stats: false,
            endpoint: EndpointKind::Ip,
        }
    }
}

/// What clients are told to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointKind {
    /// An address.
    Ip,
    /// A name.
    Hostname,
    /// Whatever they are connected to.
    Unknown,
}

impl Choice for EndpointKind {
    const WORDS: &'static [(&'static str, EndpointKind)] =
        &[("ip", EndpointKind::Ip), ("hostname", EndpointKind::Hostname), ("unknown-endpoint", EndpointKind::Unknown)];
}

const ONE_DATABASE: &str = "a node of a cluster has one database";
const EACH_SECOND: &str = "a node asks another one each second, and everybody within half the node timeout";
const PORT: crate::quantity::Bounds = decimal(0, 65535);

pub(super) static TABLE: &[Spec] = &[
    switch("cluster-enabled", |c| c.cluster.enabled, |c, on| c.cluster.enabled = on).is(Flags::IMMUTABLE),
    text("cluster-config-file", |c| c.cluster.file.as_bytes(), |c, text| c.cluster.file = text.into())
        .is(Flags::IMMUTABLE),
    number("cluster-port", PORT, |c| c.cluster.port.into(), |c, n| c.cluster.port = n as u16).is(Flags::IMMUTABLE),
    number(
        "cluster-node-timeout",
        decimal(0, LONG),
        |c| millis(c.cluster.node_timeout),
        |c, n| c.cluster.node_timeout = from_millis(n),
    ),
    number(
        "cluster-replica-validity-factor",
        decimal(0, INT),
        |c| c.cluster.replica_validity_factor.into(),
        |c, n| {
            c.cluster.replica_validity_factor = n as u32;
        },
    )
    .also(&["cluster-slave-validity-factor"]),
    number(
        "cluster-migration-barrier",
        decimal(0, INT),
        |c| c.cluster.migration_barrier.into(),
        |c, n| {
            c.cluster.migration_barrier = n as u32;
        },
    ),
    switch(
        "cluster-allow-replica-migration",
        |c| c.cluster.replica_migration,
        |c, on| c.cluster.replica_migration = on,
    ),
    switch("cluster-require-full-coverage", |c| c.cluster.full_coverage, |c, on| c.cluster.full_coverage = on),
    switch("cluster-replica-no-failover", |c| c.cluster.no_failover, |c, on| c.cluster.no_failover = on)
        .also(&["cluster-slave-no-failover"])
        .applies(Apply::ClusterFailover),
    switch("cluster-allow-reads-when-down", |c| c.cluster.reads_when_down, |c, on| c.cluster.reads_when_down = on),
    switch(
        "cluster-allow-pubsubshard-when-down",
        |c| c.cluster.pubsub_when_down,
        |c, on| c.cluster.pubsub_when_down = on,
    ),
    number(
        "cluster-link-sendbuf-limit",
        memory(0, LONG),
        |c| c.cluster.link_limit.into(),
        |c, n| {
            c.cluster.link_limit = n as u64;
        },
    ),
    text(
        "cluster-announce-ip",
        |c| shown(&c.cluster.announce_ip),
        |c, text| c.cluster.announce_ip = Text::unless_empty(text),
    )
    .applies(Apply::ClusterAnnounce),
    number(
        "cluster-announce-port",
        PORT,
        |c| c.cluster.announce_port.into(),
        |c, n| {
            c.cluster.announce_port = n as u16;
        },
    )
    .applies(Apply::ClusterAnnounce),
    number(
        "cluster-announce-tls-port",
        PORT,
        |c| c.cluster.announce_tls_port.into(),
        |c, n| {
            c.cluster.announce_tls_port = n as u16;
        },
    )
    .applies(Apply::ClusterAnnounce),
    number(
        "cluster-announce-bus-port",
        PORT,
        |c| c.cluster.announce_bus_port.into(),
        |c, n| {
            c.cluster.announce_bus_port = n as u16;
        },
    )
    .applies(Apply::ClusterAnnounce),
    checked_text(
        "cluster-announce-hostname",
        check_host_name,
        |c| shown(&c.cluster.announce_hostname),
        |c, text| c.cluster.announce_hostname = Text::unless_empty(text),
    )
    .applies(Apply::ClusterAnnounce),
    checked_text(
        "cluster-announce-human-nodename",
        check_node_name,
        |c| shown(&c.cluster.announce_name),
        |c, text| c.cluster.announce_name = Text::unless_empty(text),
    )
    .applies(Apply::ClusterAnnounce),
    choice(
        "cluster-preferred-endpoint-type",
        EndpointKind::words,
        |c| c.cluster.endpoint.as_word(),
        |c, word| c.cluster.endpoint = Choice::named(word),
    ),
    kept("cluster-databases", Form::Number(decimal(1, INT)), "1", ONE_DATABASE).is(Flags::IMMUTABLE).later(),
    kept("cluster-ping-interval", Form::Number(decimal(0, INT)), "1000", EACH_SECOND).is(Flags::HIDDEN).later(),
    switch("cluster-slot-stats-enabled", |c| c.cluster.slot_stats, |c, on| c.cluster.slot_stats = on).later(),
];

fn check_host_name(name: &[u8]) -> Result<(), Refusal> {
    if name.len() > 255 {
        return Err("Hostnames must be less than 256 characters".into());
    }
    if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        return Err("Hostnames may only contain alphanumeric characters, hyphens or dots".into());
    }
    Ok(())
}

fn check_node_name(name: &[u8]) -> Result<(), Refusal> {
    if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) {
        return Err("Announced human node name contained invalid character".into());
    }
    Ok(())
}

//! What the machine has to know of the configuration.

use quorate_cluster::{Announce, Config as Settings};
use quorate_config::{Config, Text};

/// What is added to the port for clients to make that of the bus.
const BUS_OFFSET: u16 = 10000;

/// The machine's part of the configuration.
pub(super) fn of(config: &Config) -> Settings {
    let cluster = &config.cluster;
    let text = |text: &Option<Text>| text.as_ref().map(Text::to_string);
    let announced = |announced: u16, own: u16| if announced == 0 { own } else { announced };
    let plain = announced(cluster.announce_port, config.network.port);
    let tls = announced(cluster.announce_tls_port, config.tls.port);
    Settings {
        node_timeout: cluster.node_timeout,
        validity_factor: cluster.replica_validity_factor,
        migration_barrier: cluster.migration_barrier,
        replica_migration: cluster.replica_migration,
        full_coverage: cluster.full_coverage,
        no_failover: cluster.no_failover,
        replica_ping_period: config.replication.ping_period,
        follows_otherwise: config.tls.replication != config.tls.cluster,
        announce: Announce {
            ip: text(&cluster.announce_ip),
            port: if config.tls.cluster { tls } else { plain },
            second_port: if config.tls.cluster { plain } else { tls },
            bus_port: announced(cluster.announce_bus_port, bus_port(config)),
            hostname: text(&cluster.announce_hostname).unwrap_or_default(),
            human_name: text(&cluster.announce_name).unwrap_or_default(),
        },
    }
}

/// Where the bus listens.
pub(super) fn bus_port(config: &Config) -> u16 {
    match config.cluster.port {
        0 => client_port(config).saturating_add(BUS_OFFSET),
        port => port,
    }
}

/// The port that is ours among nodes: clients who don't say otherwise come to this one.
pub(super) fn client_port(config: &Config) -> u16 {
    if config.tls.cluster { config.tls.port } else { config.network.port }
}

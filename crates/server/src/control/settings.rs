//! What the machine has to know of the configuration.

use std::time::Duration;

use quorate_config::Config;
use quorate_replication::{Addr, Config as Settings, Secret};

/// The machine's part of the configuration.
pub fn of(config: &Config) -> Settings {
    let replication = &config.replication;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Settings {
        timeout: replication.timeout,
        ping_period: replication.ping_period,
        diskless: replication.diskless_sync,
        diskless_delay: Some(replication.diskless_sync_delay).filter(|delay| !delay.is_zero()),
        diskless_max_replicas: replication.diskless_sync_max_replicas as usize,
        backlog_size: replication.backlog_size,
        backlog_ttl: replication.backlog_ttl.unwrap_or_default(),
        min_replicas: replication.min_replicas as usize,
        max_lag: replication.max_lag.unwrap_or(Duration::ZERO),
        user: replication.user.as_ref().map(|user| text(user.as_bytes())),
        password: replication.password.as_ref().map(|password| Secret(text(password.reveal()))),
        port: match replication.announce_port {
            0 if config.tls.replication && config.tls.port > 0 => config.tls.port,
            0 => config.network.port,
            port => port,
        },
        announce_ip: replication.announce_ip.as_ref().map(|ip| text(ip.as_bytes())),
        version: crate::REDIS_VERSION.to_owned(),
        priority: replication.priority,
        announced: replication.announced,
        append_only: config.append_only.enabled,
        refuse_empty_primary: replication.refuse_empty_primary,
    }
}

/// `replicaof`.
pub fn primary(config: &Config) -> Option<Addr> {
    let primary = config.replication.primary.as_ref()?;
    Some(Addr::new(String::from_utf8_lossy(primary.host.as_bytes()), primary.port))
}

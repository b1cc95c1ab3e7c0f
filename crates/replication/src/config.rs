//! The directives that the machine obeys; the server fills them in and hands them over when they change.

use std::time::Duration;

/// Replication's part of the configuration. The names in quotes are those of redis.conf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `repl-timeout`: how long a link may be silent, in either role.
    pub timeout: Duration,
    /// `repl-ping-replica-period`.
    pub ping_period: Duration,
    /// `repl-diskless-sync`: send a snapshot while it is taken, to replicas that can read it so.
    pub diskless: bool,
    /// `repl-diskless-sync-delay` if it was set; without it a snapshot starts when the first replica asks.
    pub diskless_delay: Option<Duration>,
    /// `repl-diskless-sync-max-replicas`: so many waiting replicas end the delay; 0 means that none does.
    pub diskless_max_replicas: usize,
    /// `repl-backlog-size` in bytes; shown, and obeyed by the log.
    pub backlog_size: u64,
    /// `repl-backlog-ttl`; zero means never.
    pub backlog_ttl: Duration,
    /// `min-replicas-to-write`; 0 switches the count of good replicas off.
    pub min_replicas: usize,
    /// `min-replicas-max-lag`; zero switches the count of good replicas off.
    pub max_lag: Duration,
    /// `masteruser`.
    pub user: Option<String>,
    /// `masterauth`.
    pub password: Option<Secret>,
    /// The port our primary tells others: `replica-announce-port`, else the one we listen on.
    pub port: u16,
    /// `replica-announce-ip`.
    pub announce_ip: Option<String>,
    /// The version that we tell our primary.
    pub version: String,
    /// `replica-priority`, shown.
    pub priority: u32,
    /// `replica-announced`, shown.
    pub announced: bool,
    /// `appendonly`: acknowledgements tell what is on disk, and writes are counted as long as we lead, replicas or not.
    pub append_only: bool,
    /// `replica-refuse-empty-primary`: see docs/decisions/0003-empty-primary.md.
    pub refuse_empty_primary: bool,
    /// A bug put back on purpose, so that the simulation's checkers can be seen to work.
    #[cfg(test)]
    pub(crate) planted: Option<Planted>,
}

/// Bugs that the checkers must catch.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A promotion keeps the old history's name.
    KeepsIdOnPromotion,
    /// A replica is believed to have applied all of the stream as soon as its snapshot is sent.
    CountsUnacknowledged,
    /// What an empty primary offers is loaded.
    LoadsEmptiness,
    /// The limit of the previous history is ignored.
    ForgetsTheLimit,
}

impl Default for Config {
    /// The defaults of redis.conf.
    fn default() -> Config {
        Config {
            timeout: Duration::from_secs(60),
            ping_period: Duration::from_secs(10),
            diskless: true,
            diskless_delay: None,
            diskless_max_replicas: 0,
            backlog_size: 1 << 20,
            backlog_ttl: Duration::from_secs(3600),
            min_replicas: 0,
            max_lag: Duration::from_secs(10),
            user: None,
            password: None,
            port: 6379,
            announce_ip: None,
            version: "7.2.4".into(),
            priority: 100,
            announced: true,
            append_only: false,
            refuse_empty_primary: true,
            #[cfg(test)]
            planted: None,
        }
    }
}

/// A text that no log and no trace shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

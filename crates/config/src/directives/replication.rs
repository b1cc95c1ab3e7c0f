//! Primary and replicas.

use std::time::Duration;

use crate::choice::Choice;
use crate::config::{Config, from_seconds, seconds, unless_zero};
use crate::quantity::{INT, LONG, decimal, memory};
use crate::spec::{Apply, Flags, Form, How, Lines, Refusal, Spec, choice, kept, number, special, switch, text};
use crate::text::{Secret, Text, shown};

/// Primary and replicas.
#[derive(Debug, Clone, PartialEq)]
pub struct Replication {
    /// `replicaof`: whom we follow, if anybody. REPLICAOF and failovers change it too.
    pub primary: Option<Primary>,
    /// `masteruser`: as whom we log in at our primary; without it as the default user.
    pub user: Option<Text>,
    /// `masterauth`: our password there, if it wants one.
    pub password: Option<Secret>,
    /// `replica-refuse-empty-primary`: don't throw our dataset away for a primary that has just started without one.
    pub refuse_empty_primary: bool,
    /// `primary-tenure`: hold writes back while too many of the Sentinels that have confirmed us are silent.
    pub tenure: bool,
    /// `replica-serve-stale-data`: answer reads while the primary is out of reach.
    pub serve_stale_data: bool,
    /// `replica-read-only`.
    pub read_only: bool,
    /// `repl-diskless-sync`: send a snapshot while it is taken.
    pub diskless_sync: bool,
    /// `repl-diskless-sync-delay`: how long to wait for more replicas before a snapshot is started for them.
    pub diskless_sync_delay: Duration,
    /// `repl-diskless-sync-max-replicas`: so many waiting replicas end that wait; 0 means that none does.
    pub diskless_sync_max_replicas: u32,
    /// `repl-diskless-load`: whether a snapshot is loaded as it arrives, or from a file.
    pub diskless_load: DisklessLoad,
    /// `repl-ping-replica-period`: how often a primary pings its replicas.
    pub ping_period: Duration,
    /// `repl-timeout`: how long a link may be silent.
    pub timeout: Duration,
    /// `repl-disable-tcp-nodelay`: fewer and larger packets to replicas.
    pub disable_tcp_nodelay: bool,
    /// `repl-backlog-size`: bytes of the stream that are kept for replicas that come back; at least 16 KiB.
    pub backlog_size: u64,
    /// `repl-backlog-ttl`: how long it is kept without a replica; unset is for ever.
    pub backlog_ttl: Option<Duration>,
    /// `replica-priority`: which replica Sentinel prefers, the lowest first; 0 is never promoted.
    pub priority: u32,
    /// `replica-announced`: whether Sentinel tells of this replica.
    pub announced: bool,
    /// `replica-announce-ip`: the address that we tell of ourselves; without it the one that we are seen with.
    pub announce_ip: Option<Text>,
    /// `replica-announce-port`; 0 is the one that we listen on.
    pub announce_port: u16,
    /// `min-replicas-to-write`: writes need so many good replicas; 0 needs none.
    pub min_replicas: u32,
    /// `min-replicas-max-lag`: how long a good replica may be silent; unset counts none.
    pub max_lag: Option<Duration>,
}

/// The address of a primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    /// A name or an address.
    pub host: Text,
    /// Its port.
    pub port: u16,
}

impl Default for Replication {
    fn default() -> Replication {
        Replication {
            primary: None,
            user: None,
            password: None,
            refuse_empty_primary: true,
            tenure: true,
            serve_stale_data: true,
            read_only: true,
            diskless_sync: true,
            diskless_sync_delay: Duration::ZERO,
            diskless_sync_max_replicas: 0,
            diskless_load: DisklessLoad::OnEmptyDb,
            ping_period: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            disable_tcp_nodelay: false,
            backlog_size: 10 << 20,
            backlog_ttl: Some(Duration::from_secs(3600)),
            priority: 100,
            announced: true,
            announce_ip: None,
            announce_port: 0,
            min_replicas: 0,
            max_lag: Some(Duration::from_secs(10)),
        }
    }
}

/// When a replica loads a snapshot as it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisklessLoad {
    /// Never: it is stored first.
    Disabled,
    /// When there is nothing to lose.
    OnEmptyDb,
    /// Always, beside the old dataset, which is served until the new one is complete.
    SwapDb,
    /// Always, after the old dataset was dropped.
    FlushBeforeLoad,
}

impl Choice for DisklessLoad {
    const WORDS: &'static [(&'static str, DisklessLoad)] = &[
        ("disabled", DisklessLoad::Disabled),
        ("on-empty-db", DisklessLoad::OnEmptyDb),
        ("swapdb", DisklessLoad::SwapDb),
        ("flush-before-load", DisklessLoad::FlushBeforeLoad),
    ];
}

/// Smaller backlogs are made as large as this.
const BACKLOG_MIN: u64 = 16 << 10;

pub(super) static TABLE: &[Spec] = &[
    special("replicaof", get_replicaof, set_replicaof, Lines::As(replicaof_lines))
        .also(&["slaveof"])
        .is(Flags::IMMUTABLE.and(Flags::MANY)),
    text("masteruser", |c| shown(&c.replication.user), |c, text| c.replication.user = Text::unless_empty(text))
        .also_abroad(&["primaryuser"])
        .is(Flags::SENSITIVE),
    text(
        "masterauth",
        |c| Secret::shown(&c.replication.password),
        |c, text| c.replication.password = Secret::unless_empty(text),
    )
    .also_abroad(&["primaryauth"])
    .is(Flags::SENSITIVE),
    switch(
        "replica-refuse-empty-primary",
        |c| c.replication.refuse_empty_primary,
        |c, on| c.replication.refuse_empty_primary = on,
    )
    .ours(),
    switch("primary-tenure", |c| c.replication.tenure, |c, on| c.replication.tenure = on).ours(),
    switch("replica-serve-stale-data", |c| c.replication.serve_stale_data, |c, on| c.replication.serve_stale_data = on)
        .also(&["slave-serve-stale-data"]),
    switch("replica-read-only", |c| c.replication.read_only, |c, on| c.replication.read_only = on)
        .also(&["slave-read-only"])
        .is(Flags::DEBUG),
    switch("repl-diskless-sync", |c| c.replication.diskless_sync, |c, on| c.replication.diskless_sync = on)
        .is(Flags::DEBUG),
    number(
        "repl-diskless-sync-delay",
        decimal(0, INT),
        |c| seconds(c.replication.diskless_sync_delay),
        |c, n| c.replication.diskless_sync_delay = from_seconds(n),
    ),
    number(
        "repl-diskless-sync-max-replicas",
        decimal(0, INT),
        |c| c.replication.diskless_sync_max_replicas.into(),
        |c, n| c.replication.diskless_sync_max_replicas = n as u32,
    ),
    choice(
        "repl-diskless-load",
        DisklessLoad::words,
        |c| c.replication.diskless_load.as_word(),
        |c, word| c.replication.diskless_load = Choice::named(word),
    )
    .is(Flags::DEBUG.and(Flags::NOT_WHILE_LOADING)),
    kept(
        "dual-channel-replication-enabled",
        Form::Switch,
        "no",
        "the stream is kept in the log while a snapshot is sent",
    )
    .later(),
    kept("repl-mptcp", Form::Switch, "no", "connections are plain TCP").is(Flags::IMMUTABLE).later(),
    number(
        "repl-ping-replica-period",
        decimal(1, INT),
        |c| seconds(c.replication.ping_period),
        |c, n| c.replication.ping_period = from_seconds(n),
    )
    .also(&["repl-ping-slave-period"]),
    number(
        "repl-timeout",
        decimal(1, INT),
        |c| seconds(c.replication.timeout),
        |c, n| c.replication.timeout = from_seconds(n),
    ),
    switch(
        "repl-disable-tcp-nodelay",
        |c| c.replication.disable_tcp_nodelay,
        |c, on| c.replication.disable_tcp_nodelay = on,
    ),
    number(
        "repl-backlog-size",
        memory(1, LONG),
        |c| c.replication.backlog_size.into(),
        |c, n| c.replication.backlog_size = (n as u64).max(BACKLOG_MIN),
    )
    .applies(Apply::Backlog),
    number(
        "repl-backlog-ttl",
        decimal(0, LONG),
        |c| c.replication.backlog_ttl.map_or(0, seconds),
        |c, n| c.replication.backlog_ttl = unless_zero(from_seconds(n)),
    ),
    number(
        "replica-priority",
        decimal(0, INT),
        |c| c.replication.priority.into(),
        |c, n| {
            c.replication.priority = n as u32;
        },
    )
    .also(&["slave-priority"]),
    kept(
        "propagation-error-behavior",
        Form::Choice(&["ignore", "panic", "panic-on-replicas"]),
        "ignore",
        "a replica that can't apply the stream drops the link and syncs anew, always",
    ),
    kept(
        "replica-ignore-disk-write-errors",
        Form::Switch,
        "no",
        "a replica whose disk fails keeps following, and says so",
    ),
    switch("replica-announced", |c| c.replication.announced, |c, on| c.replication.announced = on),
    text(
        "replica-announce-ip",
        |c| shown(&c.replication.announce_ip),
        |c, text| c.replication.announce_ip = Text::unless_empty(text),
    )
    .also(&["slave-announce-ip"]),
    number(
        "replica-announce-port",
        decimal(0, 65535),
        |c| c.replication.announce_port.into(),
        |c, n| {
            c.replication.announce_port = n as u16;
        },
    )
    .also(&["slave-announce-port"]),
    number(
        "min-replicas-to-write",
        decimal(0, INT),
        |c| c.replication.min_replicas.into(),
        |c, n| {
            c.replication.min_replicas = n as u32;
        },
    )
    .also(&["min-slaves-to-write"])
    .applies(Apply::GoodReplicas),
    number(
        "min-replicas-max-lag",
        decimal(0, INT),
        |c| c.replication.max_lag.map_or(0, seconds),
        |c, n| c.replication.max_lag = unless_zero(from_seconds(n)),
    )
    .also(&["min-slaves-max-lag"])
    .applies(Apply::GoodReplicas),
    kept("import-mode", Form::Switch, "no", "keys expire while data is imported as they always do").later(),
];

fn get_replicaof(config: &Config) -> Vec<u8> {
    match &config.replication.primary {
        Some(primary) => [primary.host.as_bytes(), primary.port.to_string().as_bytes()].join(&b' '),
        None => Vec::new(),
    }
}

fn set_replicaof(config: &mut Config, arguments: &[&[u8]], _: How) -> Result<(), Refusal> {
    let &[host, port] = arguments else { return Err("wrong number of arguments".into()) };
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        config.replication.primary = None;
        return Ok(());
    }
    let Ok(port) = decimal(0, 65535).parse(port) else { return Err("Invalid master port".into()) };
    if host.is_empty() {
        return Err("Invalid master host".into());
    }
    config.replication.primary = Some(Primary { host: host.into(), port: port as u16 });
    Ok(())
}

/// A cluster node's primary is in nodes.conf, and a file that names another one could not be loaded.
fn replicaof_lines(config: &Config) -> Vec<Vec<Vec<u8>>> {
    let primary = config.replication.primary.as_ref().filter(|_| !config.cluster.enabled);
    let line = |primary: &Primary| vec![primary.host.as_bytes().to_vec(), primary.port.to_string().into_bytes()];
    primary.map(line).into_iter().collect()
}

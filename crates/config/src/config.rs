//! The whole configuration as plain typed values.
//!
//! It is a value and not a place: the server publishes an `Arc<Config>` and every reader sees one consistent state;
//! CONFIG SET clones it, changes the clone and publishes that. Texts are shared between clones.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::directives::append_only::AppendOnly;
use crate::directives::clients::Clients;
use crate::directives::cluster::Cluster;
use crate::directives::dashboard::Dashboard;
use crate::directives::encodings::Encodings;
use crate::directives::events::EventClasses;
use crate::directives::general::General;
use crate::directives::latency::Latency;
use crate::directives::lazy_free::LazyFree;
use crate::directives::locks::Locks;
use crate::directives::memory::Memory;
use crate::directives::metrics::Metrics;
use crate::directives::network::Network;
use crate::directives::process::Process;
use crate::directives::replication::Replication;
use crate::directives::security::Security;
use crate::directives::shutdown::Shutdown;
use crate::directives::slow_log::SlowLog;
use crate::directives::snapshots::Snapshots;
use crate::directives::testing::Testing;
use crate::directives::tls::Tls;
use crate::spec::Meaning;
use crate::text::Text;

/// All directives that have an effect, in the order of redis.conf. [`Config::default`] holds their defaults.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Addresses, ports and sockets.
    pub network: Network,
    /// Certificates and what is encrypted.
    pub tls: Tls,
    /// The process, its logs and its files.
    pub general: General,
    /// RDB files.
    pub snapshots: Snapshots,
    /// Primary and replicas.
    pub replication: Replication,
    /// Passwords, users, what is forbidden.
    pub security: Security,
    /// What a client may use.
    pub clients: Clients,
    /// The limit on memory and what is evicted.
    pub memory: Memory,
    /// What is freed in the background.
    pub lazy_free: LazyFree,
    /// What the kernel is told of the process.
    pub process: Process,
    /// The append-only file.
    pub append_only: AppendOnly,
    /// What makes a safe node for majority locks.
    pub locks: Locks,
    /// Where metrics are fetched.
    pub metrics: Metrics,
    /// Where the dashboard is.
    pub dashboard: Dashboard,
    /// What a shutdown does.
    pub shutdown: Shutdown,
    /// `busy-reply-threshold`: how long a script or function runs before others are answered BUSY.
    pub busy_reply_threshold: BusyReplyThreshold,
    /// `lua-enable-deprecated-api`: whether scripts find `getfenv`, `setfenv` and `newproxy`.
    pub deprecated_script_api: bool,
    /// The cluster node.
    pub cluster: Cluster,
    /// Which commands are logged as slow.
    pub slow_log: SlowLog,
    /// What latencies are recorded.
    pub latency: Latency,
    /// `notify-keyspace-events`: the classes of events that are published.
    pub events: EventClasses,
    /// Up to which sizes values keep their compact encodings.
    pub encodings: Encodings,
    /// Delays that only tests ask for.
    pub testing: Testing,
    /// The texts of directives without an effect, where they differ from the default.
    pub(crate) accepted: BTreeMap<&'static str, Text>,
}

/// See [`Config::busy_reply_threshold`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyReplyThreshold(pub Duration);

impl Default for BusyReplyThreshold {
    fn default() -> BusyReplyThreshold {
        BusyReplyThreshold(Duration::from_secs(5))
    }
}

impl Config {
    /// The defaults of a Sentinel: another port, and reachable without a password.
    pub fn of_sentinel() -> Config {
        let mut config = Config::default();
        config.network.port = 26379;
        config.network.protected_mode = false;
        config
    }

    /// What it asks for that must not be left out in silence, and is not there yet: the directive and the reason.
    pub fn unsupported(&self) -> Option<(&'static str, &'static str)> {
        let asked = [("cluster-enabled", self.cluster.enabled)];
        let (name, _) = asked.into_iter().find(|(_, is_asked)| *is_asked)?;
        match crate::directives::find(name.as_bytes())?.meaning {
            Meaning::ToCome(why) => Some((name, why)),
            Meaning::Live | Meaning::Accepted(_) => None,
        }
    }
}

/// Whole seconds as they are shown; what is beyond them, which no directive can set, is cut off.
pub(crate) fn seconds(duration: Duration) -> i128 {
    duration.as_secs().into()
}

pub(crate) fn from_seconds(seconds: i128) -> Duration {
    Duration::from_secs(seconds as u64)
}

pub(crate) fn millis(duration: Duration) -> i128 {
    duration.as_millis() as i128
}

pub(crate) fn from_millis(millis: i128) -> Duration {
    Duration::from_millis(millis as u64)
}

/// A duration for which 0 means "never".
pub(crate) fn unless_zero(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

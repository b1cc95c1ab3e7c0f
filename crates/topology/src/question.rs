//! What nodes are asked, and what they are listened to for.

/// A request that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// Everything that INFO has by default.
    Info,
    /// How many listen for what Sentinels say of themselves: whether there are any.
    Listeners,
    /// The cluster as the node sees it.
    ClusterNodes,
    /// The state of the cluster.
    ClusterInfo,
    /// The primaries that a Sentinel watches.
    SentinelMasters,
    /// The replicas of one of them.
    SentinelReplicas(String),
    /// The other Sentinels of one of them.
    SentinelSentinels(String),
    /// Whether a failover of it could be authorized.
    SentinelQuorum(String),
    /// How its last failover came about; only our Sentinels know.
    SentinelExplain(String),
}

impl Question {
    /// The request.
    pub fn words(&self) -> Vec<&str> {
        match self {
            Question::Info => vec!["INFO"],
            Question::Listeners => vec!["PUBSUB", "NUMSUB", HELLO],
            Question::ClusterNodes => vec!["CLUSTER", "NODES"],
            Question::ClusterInfo => vec!["CLUSTER", "INFO"],
            Question::SentinelMasters => vec!["SENTINEL", "MASTERS"],
            Question::SentinelReplicas(name) => vec!["SENTINEL", "SLAVES", name],
            Question::SentinelSentinels(name) => vec!["SENTINEL", "SENTINELS", name],
            Question::SentinelQuorum(name) => vec!["SENTINEL", "CKQUORUM", name],
            Question::SentinelExplain(name) => vec!["SENTINEL", "EXPLAIN", name],
        }
    }
}

/// The channel on which Sentinels introduce themselves to each other, on the servers that they watch.
pub(crate) const HELLO: &str = "__sentinel__:hello";

/// What a node is listened to for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// On a server: how Sentinels introduce themselves.
    Hellos,
    /// On a Sentinel: whatever it announces.
    Announcements,
}

impl Channels {
    /// The request that begins it.
    pub fn words(self) -> [&'static str; 2] {
        match self {
            Channels::Hellos => ["SUBSCRIBE", HELLO],
            Channels::Announcements => ["PSUBSCRIBE", "*"],
        }
    }
}

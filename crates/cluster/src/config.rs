//! The directives that the machine obeys; the server fills them in and hands them over when they change.

use std::time::Duration;

use crate::cluster::{CALM_TICK, TICK};

/// The cluster's part of the configuration. The names in quotes are those of redis.conf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `cluster-node-timeout`: silence after which a node may be down.
    pub node_timeout: Duration,
    /// `cluster-replica-validity-factor`: how many timeouts a candidate's data may be old; 0 for any age.
    pub validity_factor: u32,
    /// `cluster-migration-barrier`: replicas that a primary keeps when one of them moves away.
    pub migration_barrier: u32,
    /// `cluster-allow-replica-migration`
    pub replica_migration: bool,
    /// `cluster-require-full-coverage`
    pub full_coverage: bool,
    /// `cluster-replica-no-failover`
    pub no_failover: bool,
    /// `repl-ping-replica-period`, by which even a good link may be silent.
    pub replica_ping_period: Duration,
    /// Replicas connect to the other one of their primaries' two ports: links of replication speak TLS and the bus does not,
    /// or the other way round.
    pub follows_otherwise: bool,
    /// What others are told of us.
    pub announce: Announce,
    /// A bug put back on purpose, so that the simulation's checkers can be seen to work.
    #[cfg(test)]
    pub(crate) planted: Option<Planted>,
}

/// What others are told of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// `cluster-announce-ip`; if there is none, others take the address that we connect from.
    pub ip: Option<String>,
    /// Where our clients connect to: the port for TLS if the bus speaks TLS.
    pub port: u16,
    /// The other port of the two; 0 if there is none.
    pub second_port: u16,
    /// Where our bus listens.
    pub bus_port: u16,
    /// `cluster-announce-hostname`
    pub hostname: String,
    /// `cluster-announce-human-nodename`
    pub human_name: String,
}

/// Bugs that the checkers must catch.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A vote is given whatever epoch the last one was given in.
    VotesTwice,
    /// A candidate needs no majority.
    WinsWithOneVote,
    /// Slots that are handed over are written to meanwhile.
    HoldsNothing,
    /// Whoever has granted slots and does not know whether they were taken writes to them again.
    WritesInDoubt,
    /// Whoever has granted slots does not know it any more after a crash.
    ForgetsGrants,
    /// Whoever has claimed slots and came back before the source knew it, writes to them at once.
    ForgetsClaims,
    /// Of two claims to a slot the later one holds, whatever its epoch.
    BelievesOldClaims,
}

impl Default for Config {
    /// The defaults of redis.conf.
    fn default() -> Config {
        Config {
            node_timeout: Duration::from_secs(15),
            validity_factor: 10,
            migration_barrier: 1,
            replica_migration: true,
            full_coverage: true,
            no_failover: false,
            replica_ping_period: Duration::from_secs(10),
            follows_otherwise: false,
            announce: Announce {
                ip: None,
                port: 6379,
                second_port: 0,
                bus_port: 16379,
                hostname: String::new(),
                human_name: String::new(),
            },
            #[cfg(test)]
            planted: None,
        }
    }
}

impl Config {
    /// How long a candidate waits for votes.
    pub(crate) fn election_timeout(&self) -> Duration {
        (self.node_timeout * 2).max(Duration::from_secs(2))
    }

    /// How long after one election a replica may begin the next.
    pub(crate) fn election_retry(&self) -> Duration {
        self.election_timeout() * 2
    }

    /// How often the machine looks around while nothing is under way: a small part of the timeout, so that it is kept.
    pub(crate) fn calm_tick(&self) -> Duration {
        (self.node_timeout / 20).clamp(TICK, CALM_TICK)
    }

    /// How long it counts that somebody has reported a node.
    pub(crate) fn report_validity(&self) -> Duration {
        self.node_timeout * 2
    }
}

//! Orders that change who follows whom, and how they are answered: REPLICAOF, FAILOVER, and the cluster's.

use std::time::Duration;

use crate::Addr;

/// Which client, or which part of the server, gave an order; the server numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u64);

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// REPLICAOF host port.
    Follow {
        /// The primary.
        to: Addr,
        /// On whose word.
        by: Authority,
    },
    /// REPLICAOF NO ONE.
    Lead,
    /// FAILOVER.
    Failover {
        /// The successor; any replica that has caught up, if not named.
        target: Option<Addr>,
        /// Hand over even if the target hasn't caught up in time.
        force: bool,
        /// How long to wait for it to catch up; forever if not given.
        timeout: Option<Duration>,
    },
    /// FAILOVER ABORT.
    AbortFailover,
    /// DEBUG CHANGE-REPL-ID: from now on the history has a name that nobody knows, so that whoever comes back starts over.
    Rename,
}

/// On whose word a primary is followed. It decides whether our data may be replaced by nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// Somebody gave the command and means it: consent to what this primary holds.
    Operator,
    /// A configuration file, or the cluster.
    Standing,
}

/// How an order is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is carried out, or has begun.
    Ok,
    /// We follow that primary already.
    AlreadyFollowing,
    /// It isn't carried out.
    Refused(OrderRefusal),
}

/// Why an order isn't carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderRefusal {
    /// A FAILOVER is under way.
    FailoverInProgress,
    /// REPLICAOF during a FAILOVER.
    FailingOver,
    /// FAILOVER ABORT with nothing to abort.
    NoFailover,
    /// Only a primary can hand over.
    NotAPrimary,
    /// There is nobody to hand over to.
    NoReplicas,
    /// FORCE makes sense only with a target and a timeout.
    ForceNeedsTargetAndTimeout,
    /// The timeout is zero.
    ZeroTimeout,
    /// No replica announced this address.
    UnknownTarget,
    /// The target is still loading.
    TargetNotOnline,
}

impl Answer {
    /// The reply on the wire, without its CRLF.
    pub fn line(&self) -> &'static str {
        match self {
            Answer::Ok => "+OK",
            Answer::AlreadyFollowing => "+OK Already connected to specified master",
            Answer::Refused(refusal) => refusal.line(),
        }
    }
}

impl OrderRefusal {
    fn line(self) -> &'static str {
        match self {
            OrderRefusal::FailoverInProgress => "-ERR FAILOVER already in progress.",
            OrderRefusal::FailingOver => "-ERR REPLICAOF not allowed while failing over.",
            OrderRefusal::NoFailover => "-ERR No failover in progress.",
            OrderRefusal::NotAPrimary => "-ERR FAILOVER is not valid when server is a replica.",
            OrderRefusal::NoReplicas => "-ERR FAILOVER requires connected replicas.",
            OrderRefusal::ForceNeedsTargetAndTimeout => {
                "-ERR FAILOVER with force option requires both a timeout and target HOST and IP."
            }
            OrderRefusal::ZeroTimeout => "-ERR FAILOVER timeout must be greater than 0",
            OrderRefusal::UnknownTarget => "-ERR FAILOVER target HOST and PORT is not a replica.",
            OrderRefusal::TargetNotOnline => "-ERR FAILOVER target replica is not online.",
        }
    }
}

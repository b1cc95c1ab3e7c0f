//! When the machine wants to be woken, and why.

use quorate_stdx::Mono;

/// The reason for a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Replicas are due a PING.
    Ping,
    /// Replicas that wait for a snapshot are due a sign of life.
    KeepAlive,
    /// A replica has been silent for too long.
    PeerSilent,
    /// The delay before a diskless snapshot is over.
    SnapshotDelay,
    /// A replica that wanted nothing but a snapshot has had time to read it.
    RdbOnlyDone,
    /// The number of good replicas falls.
    GoodReplicas,
    /// A client's WAIT is over.
    Wait,
    /// The backlog has been without replicas for long enough.
    BacklogTtl,
    /// The next attempt to reach our primary.
    Connect,
    /// Our primary has been silent for too long.
    LinkSilent,
    /// Our primary is due an acknowledgement, or a sign of life while we load.
    Ack,
    /// The time for a FAILOVER is over.
    Handover,
}

/// The earliest of several wake-ups.
#[derive(Default)]
pub(crate) struct Earliest(pub(crate) Option<(Mono, Timer)>);

impl Earliest {
    pub(crate) fn at(&mut self, at: Mono, timer: Timer) {
        if self.0.is_none_or(|earliest| (at, timer) < earliest) {
            self.0 = Some((at, timer));
        }
    }
}

//! What the log tells about replication: one variant, one line.
//!
//! Some wordings are looked for by scripts and by Redis' own test suite; those parts are kept to the
//! letter. The rest is ours.

use std::time::Duration;

use quorate_stdx::{Offset, ReplId};

use crate::primary::DropReason;
use crate::replica::{Phase, RefusedOffer};
use crate::{Addr, FullReason};

/// Something that an operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// About replicas, and the history they follow.
    Peer(PeerEvent),
    /// About the link to our primary.
    Link(LinkEvent),
    /// About a FAILOVER.
    Failover(FailoverEvent),
}

/// Something about replicas, and the history they follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// A replica goes on from where it was.
    Continues { addr: Addr, from: Offset },
    /// A replica needs the whole dataset.
    NeedsAll { addr: Addr, reason: FullReason },
    /// A replica has the whole dataset.
    Synced { addr: Addr },
    /// A replica closed its connection, or it broke.
    Lost { addr: Addr },
    /// We closed a replica's connection.
    Dropped { addr: Addr, why: DropReason },
    /// A snapshot for replicas failed.
    SnapshotFailed,
    /// A backlog begins, and with it a history.
    BacklogCreated { id: ReplId },
    /// The backlog ends, for want of replicas.
    BacklogReleased { ttl: Duration, id: ReplId },
    /// We are a primary; `id` continues `previous` from `limit` on.
    Leading { id: ReplId, previous: ReplId, limit: Offset },
}

/// Something about the link to our primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// We follow a primary.
    Following { to: Addr },
    /// An attempt to reach it begins.
    Connecting { to: Addr },
    /// The link broke, or our primary closed it.
    Lost { phase: Phase, why: String },
    /// Our primary was silent for `repl-timeout`.
    Silent { phase: Phase },
    /// It answers.
    Answered,
    /// It answers PING with an error that isn't about permission.
    BadPing { error: String },
    /// It doesn't accept our password.
    AuthFailed { error: String },
    /// It doesn't take a REPLCONF, which is no harm.
    ReplconfIgnored { option: &'static str, error: String },
    /// We ask it to go on from where we are.
    AskingToContinue { id: ReplId, held: Offset },
    /// We have nothing to go on from.
    AskingForAll,
    /// It can't synchronise at the moment.
    NotNow { reply: String },
    /// It knows no PSYNC, or not for us; SYNC is tried.
    FallingBack { reply: String },
    /// It answered what can't be understood.
    Nonsense { reply: String },
    /// It sends the whole dataset, as of `at`.
    FullResync { id: ReplId, at: Offset },
    /// It goes on from where we are; its history may have a new name.
    Continued { renamed: Option<ReplId> },
    /// It broke off before it sent the dataset.
    SyncAborted { error: String },
    /// What it offers would wipe our data.
    OfferRefused { refused: RefusedOffer, ours: u64 },
    /// Its dataset takes the place of ours.
    Loading,
    /// Its dataset is loaded.
    Loaded,
    /// Its dataset couldn't be received or loaded.
    LoadFailed { why: String },
}

/// Something about a FAILOVER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailoverEvent {
    /// It begins.
    Requested { target: Option<Addr> },
    /// The target has everything.
    Synced { to: Addr },
    /// The time is over, and it is forced.
    Forced { to: Addr },
    /// It ends with nothing changed.
    Aborted { target: Option<Addr>, why: &'static str },
    /// It is unknown whether the target has taken over; it is asked again.
    Unanswered { to: Addr },
    /// The target has taken over.
    Done { to: Addr },
    /// Our primary hands over to us.
    Received { id: ReplId },
}

/// The levels of Redis' log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// `*`
    Notice,
    /// `#`
    Warning,
}

impl Event {
    /// How loud it is.
    pub fn level(&self) -> Level {
        use FailoverEvent as F;
        use LinkEvent as L;
        use PeerEvent as P;
        match self {
            Event::Peer(P::Lost { .. } | P::Dropped { .. } | P::SnapshotFailed | P::Leading { .. })
            | Event::Link(L::Lost { .. } | L::Silent { .. } | L::BadPing { .. } | L::AuthFailed { .. })
            | Event::Link(L::Nonsense { .. } | L::SyncAborted { .. } | L::OfferRefused { .. } | L::LoadFailed { .. })
            | Event::Failover(F::Forced { .. } | F::Aborted { .. } | F::Unanswered { .. } | F::Received { .. }) => {
                Level::Warning
            }
            Event::Peer(_) | Event::Link(_) | Event::Failover(_) => Level::Notice,
        }
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::Peer(event) => event.fmt(f),
            Event::Link(event) => event.fmt(f),
            Event::Failover(event) => event.fmt(f),
        }
    }
}

impl From<PeerEvent> for Event {
    fn from(event: PeerEvent) -> Event {
        Event::Peer(event)
    }
}

impl From<LinkEvent> for Event {
    fn from(event: LinkEvent) -> Event {
        Event::Link(event)
    }
}

impl From<FailoverEvent> for Event {
    fn from(event: FailoverEvent) -> Event {
        Event::Failover(event)
    }
}

impl std::fmt::Display for PeerEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PeerEvent::Continues { addr, from } => {
                write!(f, "Replica {addr} goes on from offset {from}: partial resynchronization")
            }
            PeerEvent::NeedsAll { addr, reason } => write!(f, "Replica {addr} needs a full resync: {reason}"),
            PeerEvent::Synced { addr } => write!(f, "Synchronization with replica {addr} succeeded"),
            PeerEvent::Lost { addr } => write!(f, "Connection with replica {addr} lost."),
            PeerEvent::Dropped { addr, why } => match why {
                DropReason::Silent => write!(f, "Disconnecting timedout replica (streaming sync): {addr}"),
                DropReason::Stuck => write!(f, "Disconnecting timedout replica (full sync): {addr}"),
                DropReason::SnapshotFailed => write!(f, "Disconnecting replica {addr}: its snapshot failed"),
                DropReason::RdbOnlyDone => write!(f, "Closing {addr}, which wanted only a snapshot"),
                DropReason::HistoryChanged => write!(f, "Disconnecting replica {addr}: our replication id changed"),
                DropReason::DataReplaced => write!(f, "Disconnecting replica {addr}: our dataset is replaced"),
            },
            PeerEvent::SnapshotFailed => f.write_str("The snapshot for replicas failed"),
            PeerEvent::BacklogCreated { id } => write!(f, "Replication backlog created, new replication id {id}"),
            PeerEvent::BacklogReleased { ttl, id } => {
                let seconds = ttl.as_secs();
                write!(
                    f,
                    "Replication backlog freed after {seconds} seconds without connected replicas, new replication id {id}"
                )
            }
            PeerEvent::Leading { id, previous, limit } => write!(
                f,
                "MASTER MODE enabled. Replication id {id} continues {previous}, which is valid up to offset {}",
                limit.advance(1)
            ),
        }
    }
}

impl std::fmt::Display for LinkEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinkEvent::Following { to } => write!(f, "Following {to}"),
            LinkEvent::Connecting { to } => write!(f, "Connecting to MASTER {to}"),
            LinkEvent::Lost { phase, why } => write!(f, "Connection with master lost while {phase}: {why}"),
            LinkEvent::Silent { phase: Phase::Streaming } => {
                f.write_str("MASTER timeout: no data nor PING received for repl-timeout")
            }
            LinkEvent::Silent { phase: Phase::Receiving } => {
                f.write_str("Timeout receiving bulk data from MASTER: nothing heard for repl-timeout")
            }
            LinkEvent::Silent { phase } => {
                write!(f, "Timeout connecting to the MASTER while {phase}: nothing heard for repl-timeout")
            }
            LinkEvent::Answered => f.write_str("Master replied to PING, replication can continue..."),
            LinkEvent::BadPing { error } => write!(f, "Error reply to PING from master: '{error}'"),
            LinkEvent::AuthFailed { error } => write!(f, "Unable to AUTH to MASTER: {error}"),
            LinkEvent::ReplconfIgnored { option, error } => {
                write!(f, "Master does not take REPLCONF {option}, which is not critical: {error}")
            }
            LinkEvent::AskingToContinue { id, held } => {
                write!(f, "Trying a partial resynchronization (request {id}:{}).", held.advance(1))
            }
            LinkEvent::AskingForAll => f.write_str("Partial resynchronization not possible: nothing to go on from"),
            LinkEvent::NotNow { reply } => write!(f, "Master can't synchronize us at the moment: {reply}"),
            LinkEvent::FallingBack { reply } => write!(f, "Master does not do PSYNC (reply: {reply}), trying SYNC"),
            LinkEvent::Nonsense { reply } => write!(f, "Master replied what can't be understood: {reply}"),
            LinkEvent::FullResync { id, at } => write!(f, "Full resync from master: {id}:{at}"),
            LinkEvent::Continued { renamed: None } => f.write_str("Successful partial resynchronization with master."),
            LinkEvent::Continued { renamed: Some(id) } => {
                write!(f, "Successful partial resynchronization with master. Its replication ID changed to {id}")
            }
            LinkEvent::SyncAborted { error } => write!(f, "MASTER aborted replication with an error: {error}"),
            LinkEvent::OfferRefused { refused, ours } => write!(
                f,
                "Full resync refused, {ours} keys kept: {refused}. Repeat REPLICAOF to accept it, \
                 or REPLICAOF NO ONE to lead with what is held (replica-refuse-empty-primary)"
            ),
            LinkEvent::Loading => f.write_str("MASTER <-> REPLICA sync: Loading DB in memory"),
            LinkEvent::Loaded => f.write_str("MASTER <-> REPLICA sync: Finished with success"),
            LinkEvent::LoadFailed { why } => write!(f, "MASTER <-> REPLICA sync failed: {why}"),
        }
    }
}

impl std::fmt::Display for FailoverEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |target: &Option<Addr>| target.as_ref().map_or("any replica".into(), Addr::to_string);
        match self {
            FailoverEvent::Requested { target } => write!(f, "FAILOVER requested to {}.", name(target)),
            FailoverEvent::Synced { to } => write!(f, "Failover target {to} is synced, failing over."),
            FailoverEvent::Forced { to } => write!(f, "FAILOVER to {to} time out exceeded, failing over."),
            FailoverEvent::Aborted { target, why } => write!(f, "FAILOVER to {} aborted: {why}", name(target)),
            FailoverEvent::Unanswered { to } => {
                write!(f, "FAILOVER to {to}: the link broke before the answer, asking again")
            }
            FailoverEvent::Done { to } => write!(f, "FAILOVER to {to} done"),
            FailoverEvent::Received { id } => write!(f, "Failover request received for replid {id}."),
        }
    }
}

impl std::fmt::Display for FullReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FullReason::Requested => f.write_str("it asked for one"),
            FullReason::ForeignHistory => f.write_str("its replication id is none of ours"),
            FullReason::Diverged { limit } => {
                write!(f, "it holds more of our previous history than we do, which ends at offset {limit}")
            }
            FullReason::NoBacklog => f.write_str("there is no backlog"),
            FullReason::Trimmed => f.write_str("the backlog no longer holds what it lacks"),
            FullReason::Ahead => f.write_str("it claims an offset greater than ours"),
        }
    }
}

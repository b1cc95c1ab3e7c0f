//! What is worth a line in the log, in the words of Redis where scripts and test suites wait for them.

use std::time::Duration;

use crate::{Epoch, NodeId, TransferId};

/// Something that is worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the text of each, below, says what it is")]
pub enum Event {
    NewIdentity(NodeId),
    OwnAddress(String),
    AddressUpdated { node: NodeId, place: String },
    HandshakeDone(NodeId),
    HandshakeExpired,
    MetOurselves,
    Suspected(NodeId),
    ProcessGone(NodeId),
    NoLongerSuspected(NodeId),
    Reported { node: NodeId, by: NodeId },
    ReportWithdrawn { node: NodeId, by: NodeId },
    Failed(NodeId),
    FailedSays { node: NodeId, by: NodeId },
    ClearedReplica(NodeId),
    ClearedReturned(NodeId),
    StateChanged { is_ok: bool },
    EpochCollision { node: NodeId, epoch: Epoch, new: Epoch },
    EpochSet(Epoch),
    Reconfigured { primary: NodeId },
    SlotsLost { count: usize },
    ElectionDelayed { delay: Duration, rank: usize, offset: u64 },
    RankChanged { rank: usize, delay: Duration },
    ElectionStarted(Epoch),
    ElectionWon(Epoch),
    ElectionExpired,
    CannotStand(&'static str),
    VoteGranted { to: NodeId, epoch: Epoch },
    VoteDenied { to: NodeId, why: &'static str },
    ManualAccepted(&'static str),
    ManualAsked(NodeId),
    ManualOffset(u64),
    ManualCanStart,
    ManualTimedOut,
    Migrating { to: NodeId },
    Forgotten { node: NodeId, by: NodeId },
    Impostor { expected: NodeId, found: NodeId },
    DataPlaneHangs,
    DataPlaneGetsOn,
    CameBackEmpty,
    LeadsNothing,
    TransferBegins { id: TransferId, to: NodeId, count: usize },
    TakingBegins { id: TransferId, from: NodeId, count: usize },
    TransferInDoubt { id: TransferId, node: NodeId },
    TransferEnded { id: TransferId, how: &'static str, why: String },
}

/// How loud it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Only for whoever looks for the cause of something.
    Verbose,
    /// Normal.
    Notice,
    /// Somebody should look.
    Warning,
}

impl Event {
    /// How loud it is.
    pub fn level(&self) -> Level {
        match self {
            Event::Suspected(_) | Event::NoLongerSuspected(_) => Level::Verbose,
            Event::Reported { .. } | Event::ReportWithdrawn { .. } => Level::Verbose,
            Event::Failed(_) | Event::FailedSays { .. } | Event::ProcessGone(_) => Level::Notice,
            Event::TransferBegins { .. } | Event::TakingBegins { .. } | Event::TransferEnded { .. } => Level::Notice,
            Event::ClearedReplica(_) | Event::ClearedReturned(_) | Event::HandshakeDone(_) => Level::Notice,
            _ => Level::Warning,
        }
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::NewIdentity(id) => write!(f, "No cluster configuration found, I'm {id}"),
            Event::OwnAddress(ip) => write!(f, "IP address for this node updated to {ip}"),
            Event::AddressUpdated { node, place } => write!(f, "Address updated for node {node}, now {place}"),
            Event::HandshakeDone(id) => write!(f, "Handshake with node {id} completed."),
            Event::MetOurselves => f.write_str("The node that was to be met is this one"),
            Event::HandshakeExpired => f.write_str("Handshake with a node timed out"),
            Event::Suspected(id) => write!(f, "*** NODE {id} possibly failing"),
            Event::ProcessGone(id) => {
                write!(f, "Node {id} closed its link and refuses connections: its process is gone")
            }
            Event::NoLongerSuspected(id) => write!(f, "*** NODE {id} is reachable again"),
            Event::Reported { node, by } => write!(f, "Node {by} reported node {node} as not reachable."),
            Event::ReportWithdrawn { node, by } => write!(f, "Node {by} reported node {node} is back online."),
            Event::Failed(id) => write!(f, "Marking node {id} as failing (quorum reached)."),
            Event::FailedSays { node, by } => write!(f, "FAIL message received from {by} about {node}"),
            Event::ClearedReplica(id) => {
                write!(f, "Clear FAIL state for node {id}: replica or master without slots is reachable again.")
            }
            Event::ClearedReturned(id) => write!(
                f,
                "Clear FAIL state for node {id}: is reachable again and nobody is serving its slots after some time."
            ),
            Event::StateChanged { is_ok } => {
                write!(f, "Cluster state changed: {}", if *is_ok { "ok" } else { "fail" })
            }
            Event::EpochCollision { node, epoch, new } => {
                write!(f, "WARNING: configEpoch collision with node {node}. Both had {epoch}: configEpoch set to {new}")
            }
            Event::EpochSet(epoch) => write!(f, "New configEpoch set to {epoch}"),
            Event::Reconfigured { primary } => {
                write!(f, "Configuration change detected. Reconfiguring myself as a replica of {primary}")
            }
            Event::SlotsLost { count } => {
                write!(f, "{count} slots that held keys have another owner: their keys are deleted")
            }
            Event::ElectionDelayed { .. } | Event::RankChanged { .. } => self.fmt_delay(f),
            Event::ElectionStarted(epoch) => write!(f, "Starting a failover election for epoch {epoch}."),
            Event::ElectionWon(epoch) => {
                write!(
                    f,
                    "Failover election won: I'm the new master. configEpoch set to {epoch} after successful failover"
                )
            }
            Event::ElectionExpired => f.write_str("Currently unable to failover: Failover attempt expired."),
            Event::CannotStand(why) => write!(f, "Currently unable to failover: {why}"),
            Event::VoteGranted { to, epoch } => write!(f, "Failover auth granted to {to} for epoch {epoch}"),
            Event::VoteDenied { to, why } => write!(f, "Failover auth denied to {to}: {why}"),
            Event::ManualAccepted(text) => f.write_str(text),
            Event::ManualAsked(replica) => write!(f, "Manual failover requested by replica {replica}."),
            Event::ManualOffset(offset) => {
                write!(f, "Received replication offset for paused master manual failover: {offset}")
            }
            Event::ManualCanStart => f.write_str("All master replication stream processed, manual failover can start."),
            Event::ManualTimedOut => f.write_str("Manual failover timed out."),
            Event::Migrating { to } => write!(f, "Migrating to orphaned master {to}"),
            Event::DataPlaneHangs | Event::DataPlaneGetsOn | Event::CameBackEmpty | Event::LeadsNothing => {
                f.write_str(self.fitness())
            }
            Event::Forgotten { node, by } => write!(f, "Node {node} is forgotten, as node {by} has told"),
            Event::TransferBegins { .. } | Event::TakingBegins { .. } => self.fmt_transfer(f),
            Event::TransferInDoubt { .. } | Event::TransferEnded { .. } => self.fmt_transfer(f),
            Event::Impostor { expected, found } => {
                write!(f, "Node {found} answers where node {expected} was: its address is unknown from now on")
            }
        }
    }
}

impl Event {
    /// What makes an election of ours begin later.
    fn fmt_delay(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::ElectionDelayed { delay, rank, offset } => {
                let delay = delay.as_millis();
                write!(f, "Start of election delayed for {delay} milliseconds (rank #{rank}, offset {offset}).")
            }
            Event::RankChanged { rank, delay } => {
                write!(f, "Replica rank updated to #{rank}, added {} milliseconds of delay.", delay.as_millis())
            }
            _ => Ok(()),
        }
    }

    /// What we say of ourselves.
    fn fitness(&self) -> &'static str {
        match self {
            Event::DataPlaneHangs => "No command has got on for the node timeout: this node counts itself as failed",
            Event::DataPlaneGetsOn => "Commands get on again: this node speaks to the cluster again",
            Event::CameBackEmpty => {
                "This node led when it ended, and came back with nothing: a replica of it is to take over"
            }
            Event::LeadsNothing => {
                "No replica has taken over from this node, which came back with nothing: it leads as it is"
            }
            _ => "",
        }
    }

    /// Those of slots that move.
    fn fmt_transfer(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::TransferBegins { id, to, count } => write!(f, "Migration {id} of {count} slots to node {to} begins"),
            Event::TakingBegins { id, from, count } => {
                write!(f, "Migration {id} of {count} slots from node {from} begins")
            }
            Event::TransferInDoubt { id, node } => write!(
                f,
                "Migration {id} was not settled when this node ended: writes to its slots wait for what node {node} says"
            ),
            Event::TransferEnded { id, how, why } if why.is_empty() => write!(f, "Migration {id} has ended: {how}"),
            Event::TransferEnded { id, how, why } => write!(f, "Migration {id} has ended: {how}. {why}"),
            _ => Ok(()),
        }
    }
}

//! One replica as its primary sees it: where it stands on the way online, and what it has acknowledged.

use std::time::Duration;

use quorate_stdx::{Mono, Offset};

use crate::{Addr, Introduction, PeerId, PeerState, PeerView};

use super::{DropReason, RDB_ONLY_GRACE};

/// A replica's connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// The address it connects from.
    ip: String,
    pub(super) introduction: Introduction,
    /// It came with SYNC: it acknowledges nothing, and its silence means nothing.
    pub(super) legacy: bool,
    pub(super) stage: Stage,
    /// The highest acknowledged offset. None is not 0: a replica that still loads holds nothing, not even
    /// what was written before offsets were counted.
    pub(super) applied: Option<Offset>,
    /// The highest acknowledged offset on disk.
    pub(super) fsynced: Option<Offset>,
    /// When it was last heard of.
    pub(super) heard: Mono,
    /// Whether it counted as good when that was last told.
    pub(super) good: bool,
}

/// The states that are drawn in `primary.rs`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// No snapshot has begun for it.
    Waiting { since: Mono },
    /// Its snapshot is being written to disk.
    Preparing { at: Offset },
    /// Its snapshot is on the way. It may acknowledge before we know that all is sent.
    Sending { at: Offset, marked: bool, moved: Mono, acked: bool },
    /// It has its snapshot; the stream starts when it says so.
    AwaitingAck { at: Offset },
    /// It gets the stream.
    Online,
    /// It wanted no stream.
    Done { since: Mono },
}

impl Peer {
    pub(super) fn new(ip: String, introduction: Introduction, legacy: bool, now: Mono) -> Peer {
        let stage = Stage::Waiting { since: now };
        Peer { ip, introduction, legacy, stage, applied: None, fsynced: None, heard: now, good: false }
    }

    /// Where it says that it listens.
    pub(super) fn addr(&self) -> Addr {
        Addr::new(self.introduction.ip.clone().unwrap_or_else(|| self.ip.clone()), self.introduction.port)
    }

    pub(super) fn waiting_since(&self) -> Option<Mono> {
        match self.stage {
            Stage::Waiting { since } => Some(since),
            _ => None,
        }
    }

    /// Whether the snapshot in the making, or on the way, is for it.
    pub(super) fn in_snapshot(&self) -> bool {
        matches!(self.stage, Stage::Preparing { .. } | Stage::Sending { .. })
    }

    pub(super) fn needs_keep_alive(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. } | Stage::Preparing { .. })
    }

    pub(super) fn is_online(&self) -> bool {
        matches!(self.stage, Stage::Online)
    }

    pub(super) fn good_until(&self, max_lag: Duration) -> Mono {
        self.heard + max_lag
    }

    pub(super) fn is_good(&self, now: Mono, max_lag: Duration) -> bool {
        self.is_online() && now <= self.good_until(max_lag)
    }

    /// When its connection is closed if nothing comes before, and why.
    pub(super) fn drop_at(&self, timeout: Duration) -> Option<(Mono, DropReason)> {
        match self.stage {
            Stage::Waiting { .. } | Stage::Preparing { .. } => None,
            Stage::Sending { moved, .. } => Some((moved + timeout, DropReason::Stuck)),
            Stage::AwaitingAck { .. } | Stage::Online if self.legacy => None,
            Stage::AwaitingAck { .. } | Stage::Online => Some((self.heard + timeout, DropReason::Silent)),
            Stage::Done { since } => Some((since + RDB_ONLY_GRACE, DropReason::RdbOnlyDone)),
        }
    }

    pub(super) fn view(&self, id: PeerId, now: Mono) -> PeerView {
        let state = match self.stage {
            // A snapshot sent while it is taken counts as being taken until it has all gone.
            Stage::Waiting { .. } | Stage::Preparing { .. } | Stage::Sending { marked: true, .. } => {
                PeerState::WaitBgsave
            }
            Stage::Sending { marked: false, .. } => PeerState::SendBulk,
            Stage::AwaitingAck { .. } | Stage::Online => PeerState::Online,
            Stage::Done { .. } => PeerState::RdbTransmitted,
        };
        let streams = matches!(self.stage, Stage::AwaitingAck { .. } | Stage::Online);
        let lag = if streams { now.since(self.heard) } else { Duration::ZERO };
        PeerView { id, addr: self.addr(), state, offset: self.applied.unwrap_or_default(), lag }
    }
}

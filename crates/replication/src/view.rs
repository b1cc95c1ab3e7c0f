//! What INFO replication, ROLE and the replication fields of INFO memory show, as plain data.
//!
//! The server renders it. Durations are ages at the moment of asking; Redis shows them in whole seconds.

use std::time::Duration;

use quorate_stdx::Offset;

use crate::{Addr, History, PeerId};

/// Everything that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// `role` and what goes with it.
    pub role: RoleView,
    /// `slave0`, `slave1`...; `connected_slaves` is their number.
    pub replicas: Vec<PeerView>,
    /// `min_slaves_good_slaves`.
    pub good_replicas: usize,
    /// `master_failover_state`.
    pub failover: &'static str,
    /// `master_replid`, `master_replid2`, and `second_repl_offset`, which is one more than the limit.
    pub history: History,
    /// `master_repl_offset`.
    pub offset: Offset,
    /// `repl_backlog_*`; `None` while it isn't active.
    pub backlog: Option<BacklogView>,
    /// `repl_backlog_size` in bytes.
    pub backlog_size: u64,
}

/// The role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleView {
    /// `role:master`
    Primary,
    /// `role:slave`
    Replica(PrimaryView),
}

/// A replica's primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryView {
    /// `master_host`, `master_port`.
    pub addr: Addr,
    /// The state of the link; `master_link_status` is up if it is `Connected`.
    pub link: LinkView,
    /// `master_last_io_seconds_ago`; `None` is shown as -1.
    pub last_io: Option<Duration>,
    /// `master_sync_*`, while a snapshot comes in.
    pub sync: Option<SyncView>,
    /// `slave_repl_offset`: up to where the stream is applied.
    pub offset: Offset,
    /// `slave_read_repl_offset`: up to where it has been read.
    pub read: Offset,
    /// `master_link_down_since_seconds`; `None` while it is up, or if it never was.
    pub down_for: Option<Duration>,
    /// Whether what the primary offered was refused; see `replica-refuse-empty-primary`.
    pub refused: bool,
    /// `slave_priority`.
    pub priority: u32,
    /// `replica_announced`.
    pub announced: bool,
}

/// The words that ROLE has for the state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkView {
    /// Between two attempts.
    Connect,
    /// The connection is being made.
    Connecting,
    /// The handshake goes on.
    Handshake,
    /// A snapshot comes in.
    Sync,
    /// The stream comes in.
    Connected,
}

impl LinkView {
    /// The word in ROLE.
    pub fn word(self) -> &'static str {
        match self {
            LinkView::Connect => "connect",
            LinkView::Connecting => "connecting",
            LinkView::Handshake => "handshake",
            LinkView::Sync => "sync",
            LinkView::Connected => "connected",
        }
    }
}

/// A snapshot that comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncView {
    /// `master_sync_total_bytes`, if it is known.
    pub total: Option<u64>,
    /// `master_sync_read_bytes`.
    pub read: u64,
    /// `master_sync_last_io_seconds_ago`.
    pub last_io: Duration,
}

/// A replica of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Its connection.
    pub id: PeerId,
    /// `ip`, `port`.
    pub addr: Addr,
    /// `state`.
    pub state: PeerState,
    /// `offset`: the highest acknowledged.
    pub offset: Offset,
    /// `lag`: since it was last heard of; zero while it isn't online.
    pub lag: Duration,
}

/// The words that INFO has for the state of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// Its snapshot is awaited or taken.
    WaitBgsave,
    /// Its snapshot is on the way.
    SendBulk,
    /// It gets the stream, or is about to.
    Online,
    /// It has its snapshot and wanted no more.
    RdbTransmitted,
}

impl PeerState {
    /// The word in INFO.
    pub fn word(self) -> &'static str {
        match self {
            PeerState::WaitBgsave => "wait_bgsave",
            PeerState::SendBulk => "send_bulk",
            PeerState::Online => "online",
            PeerState::RdbTransmitted => "rdb_transmitted",
        }
    }
}

/// What the backlog holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacklogView {
    /// `repl_backlog_first_byte_offset`: offsets on the wire count from 1.
    pub first_byte: u64,
    /// `repl_backlog_histlen` in bytes.
    pub length: u64,
}

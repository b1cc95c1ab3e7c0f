//! The side that serves replicas: how each comes online, who shares a snapshot, who has acknowledged what.
//!
//! A primary has this room, and so has a replica with replicas of its own. It knows no upstream.
//!
//! ```text
//!             Asked: we hold all it lacks
//!        ┌────────────────────────────────────────────────────────────────┐
//!        │                                                                ▼
//!  Asked ┴─► Waiting ───────────► Preparing ──────────► Sending ──────► Online
//!            (wait_bgsave)  Taken (wait_bgsave) Written    │  ▲ Sent     ▲
//!                │    disk                                 │  │ sized    │
//!                └────────────────────────────────────────►┘  │          │ Acked
//!                     Taken, sent while taken            Sent └─► AwaitingAck
//!                                                   marked, not yet acknowledged
//!                                          Sent, rdb-only ─► Done ─► dropped
//! ```
//!
//! A replica leaves from any state. A snapshot ends when it is sent to, or given up by, all who wait for it.
//!
//! *Who shares.* A snapshot sent while it is taken goes to all who wait at the moment it starts. One that
//! is written first also takes those who come until it is written: they all hold the same offset. Only one is
//! taken at a time, and only for replicas that want the same content.
//!
//! *Why AwaitingAck.* A replica that looks for the end mark in what it has read last would overlook it if
//! the stream followed at once. So the stream starts after its first acknowledgement. Where the
//! length is known it starts at once.

mod peer;
mod waits;

use std::collections::BTreeMap;

use quorate_stdx::{Mono, Offset, ReplId};

use crate::event::PeerEvent;
use crate::replication::{Cx, Output as MachineOutput, Standing};
use crate::resync::{FullReason, Psync, Resync, resync};
use crate::wakes::Earliest;
use crate::wire::Framing;
use crate::{Addr, Filter, Introduction, PeerId, PeerView, SnapshotId, Timer, WaitId};

use peer::{Peer, Stage};
pub use waits::{Goal, WaitEnd};
use waits::{Wait, Waits};

/// How often a replica that waits for its snapshot gets a sign of life.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(1);
/// How long a replica that wanted only a snapshot may take to close its connection.
const RDB_ONLY_GRACE: std::time::Duration = std::time::Duration::from_secs(1);

/// What happens on the side of the replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A connection asks to synchronise; from here on it is a replica's.
    Asked {
        /// The connection.
        replica: PeerId,
        /// The address it comes from.
        ip: String,
        /// PSYNC or SYNC.
        asks: Asks,
        /// What its REPLCONFs told before.
        introduction: Introduction,
    },
    /// REPLCONF ACK.
    Acked {
        /// The connection.
        replica: PeerId,
        /// Up to where it has applied the stream.
        applied: Offset,
        /// Up to where the stream is on its disk.
        fsynced: Option<Offset>,
    },
    /// A line feed from a replica that loads.
    Heard {
        /// The connection.
        replica: PeerId,
    },
    /// The connection is closed.
    Left {
        /// The connection.
        replica: PeerId,
    },
    /// The snapshot has begun; it holds the dataset as of `at`, and the log keeps what follows.
    SnapshotTaken {
        /// The snapshot.
        id: SnapshotId,
        /// Its point in our history.
        at: Offset,
    },
    /// The snapshot, taken to disk, is complete.
    SnapshotWritten {
        /// The snapshot.
        id: SnapshotId,
        /// Its length.
        bytes: u64,
    },
    /// Bytes of a snapshot went to a replica. Once a second is often enough.
    SnapshotMoved {
        /// The connection.
        replica: PeerId,
    },
    /// The last byte of the snapshot, and its mark if it has one, went to a replica.
    SnapshotSent {
        /// The snapshot.
        id: SnapshotId,
        /// The connection.
        replica: PeerId,
    },
    /// The snapshot can't be taken or completed.
    SnapshotFailed {
        /// The snapshot.
        id: SnapshotId,
    },
    /// A client waits for acknowledgements.
    Wait {
        /// The client.
        id: WaitId,
        /// What it waits for.
        goal: Goal,
        /// When it waits no longer.
        deadline: Option<Mono>,
    },
    /// The client that waits is gone.
    WaitAbandoned {
        /// The client.
        id: WaitId,
    },
}

/// The two ways to ask for synchronisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// PSYNC.
    Psync(Psync),
    /// SYNC: no line comes before the snapshot, and no acknowledgement is owed.
    Sync,
}

/// What is to be done on the side of the replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write `+CONTINUE`, with the id if there is one.
    Continue {
        /// The connection.
        replica: PeerId,
        /// Our history's name, for a replica that understands it.
        id: Option<ReplId>,
    },
    /// Write `+FULLRESYNC id at`, and hold the log from `at` on for this replica.
    FullResync {
        /// The connection.
        replica: PeerId,
        /// Our history.
        id: ReplId,
        /// The point of the snapshot.
        at: Offset,
        /// Whether there is a line to write: a SYNC gets none.
        line: bool,
    },
    /// Write the error line. The connection stays open and is no replica's.
    Refuse {
        /// The connection.
        replica: PeerId,
        /// Why.
        why: Refusal,
    },
    /// Fix the dataset at the log's current end, keep the log from there until `EndSnapshot`, and answer
    /// `SnapshotTaken` at once.
    TakeSnapshot {
        /// Its number.
        id: SnapshotId,
        /// Where it goes.
        target: Target,
        /// What it holds.
        filter: Filter,
    },
    /// Write the line of `framing` and the snapshot; a marked one is sent while it is taken.
    SendSnapshot {
        /// The snapshot.
        id: SnapshotId,
        /// The connection.
        replica: PeerId,
        /// How it ends.
        framing: Framing,
    },
    /// Nobody needs the snapshot any more: stop taking it, delete it.
    EndSnapshot {
        /// The snapshot.
        id: SnapshotId,
    },
    /// Send the log from `from` on, now and as it grows.
    StreamFrom {
        /// The connection.
        replica: PeerId,
        /// How much the replica holds.
        from: Offset,
    },
    /// Write a line feed.
    KeepAlive {
        /// The connection.
        replica: PeerId,
    },
    /// Close the connection.
    Drop {
        /// The connection.
        replica: PeerId,
        /// Why.
        why: DropReason,
    },
    /// Append a PING to the log.
    PingReplicas,
    /// Append `REPLCONF GETACK *` to the log, and tell with `Fed` where that ends.
    AskAcks,
    /// Answer a client that waits.
    WaitOver {
        /// The client.
        id: WaitId,
        /// Whether our own disk has it.
        local: bool,
        /// How many replicas have it.
        replicas: usize,
        /// Why it ends.
        why: WaitEnd,
    },
    /// So many replicas are close behind; for `min-replicas-to-write`.
    GoodReplicas(usize),
}

/// Where a snapshot goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Into a file, or memory; it is sent when complete.
    Disk,
    /// To the replicas as it is taken.
    Replicas,
}

/// Why a request to synchronise gets an error line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// We are a replica without a link; what we hold may be about to go.
    NoMasterLink,
    /// PSYNC FAILOVER, but we are a primary.
    FailoverToPrimary,
    /// PSYNC FAILOVER with a history that isn't ours.
    FailoverForeign,
    /// The snapshot could not be taken.
    SnapshotFailed,
}

impl Refusal {
    /// The error line, without its CRLF.
    pub fn line(self) -> &'static str {
        match self {
            Refusal::NoMasterLink => "-NOMASTERLINK Can't SYNC while not connected with my master",
            Refusal::FailoverToPrimary => "-ERR PSYNC FAILOVER can't be sent to a master.",
            Refusal::FailoverForeign => "-ERR PSYNC FAILOVER replid must match my replid.",
            Refusal::SnapshotFailed => "-ERR BGSAVE failed, replication can't continue",
        }
    }
}

/// Why we close a replica's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// It has acknowledged nothing for `repl-timeout`.
    Silent,
    /// Nothing of its snapshot has moved for `repl-timeout`.
    Stuck,
    /// Its snapshot failed.
    SnapshotFailed,
    /// It wanted only the snapshot, and has it.
    RdbOnlyDone,
    /// Our history has a new name; it will hear it when it asks again.
    HistoryChanged,
    /// Our dataset is about to be replaced.
    DataReplaced,
}

/// One snapshot in the making.
#[derive(Debug)]
struct Snapshot {
    id: SnapshotId,
    target: Target,
    filter: Filter,
    /// The end mark, if it is sent while taken.
    mark: [u8; 40],
    /// Its point, once it has begun.
    at: Option<Offset>,
    written: bool,
}

/// The room.
#[derive(Debug)]
pub(crate) struct Primary {
    peers: BTreeMap<PeerId, Peer>,
    snapshot: Option<Snapshot>,
    snapshots: u64,
    waits: Waits,
    /// When replicas were last sent a PING, or the first of them came.
    pinged: Mono,
    /// When those who wait are due a line feed.
    keep_alive_due: Option<Mono>,
    /// The number of good replicas that was last told.
    good: usize,
}

impl Primary {
    pub(crate) fn new() -> Primary {
        Primary {
            peers: BTreeMap::new(),
            snapshot: None,
            snapshots: 0,
            waits: Waits::default(),
            pinged: Mono(0),
            keep_alive_due: None,
            good: 0,
        }
    }

    pub(crate) fn handle(&mut self, cx: &mut Cx<'_>, input: Input) {
        match input {
            Input::Asked { replica, ip, asks, introduction } => self.on_asked(cx, replica, ip, asks, introduction),
            Input::Acked { replica, applied, fsynced } => self.on_acked(cx, replica, applied, fsynced),
            Input::Heard { replica } => self.on_heard(cx, replica),
            Input::Left { replica } => self.on_left(cx, replica),
            Input::SnapshotTaken { id, at } => self.on_snapshot_taken(cx, id, at),
            Input::SnapshotWritten { id, bytes } => self.on_snapshot_written(cx, id, bytes),
            Input::SnapshotMoved { replica } => self.on_snapshot_moved(cx, replica),
            Input::SnapshotSent { id, replica } => self.on_snapshot_sent(cx, id, replica),
            Input::SnapshotFailed { id } => self.on_snapshot_failed(cx, id),
            Input::Wait { id, goal, deadline } => self.on_wait(cx, id, goal, deadline),
            Input::WaitAbandoned { id } => self.waits.abandon(id),
        }
        self.tell_good_replicas(cx);
    }

    fn on_asked(&mut self, cx: &mut Cx<'_>, replica: PeerId, ip: String, asks: Asks, introduction: Introduction) {
        if self.peers.contains_key(&replica) {
            return; // Asked twice; the first time counts.
        }
        if cx.standing == Standing::Unlinked {
            return cx.push(Output::Refuse { replica, why: Refusal::NoMasterLink });
        }
        let verdict = match asks {
            Asks::Psync(psync) if !introduction.rdb_only => decide(cx, &psync),
            Asks::Psync(_) | Asks::Sync => Resync::Full(FullReason::Requested),
        };
        if self.peers.is_empty() {
            cx.backlog.has_company();
            self.pinged = cx.now;
        }
        let mut peer = Peer::new(ip, introduction, asks == Asks::Sync, cx.now);
        let addr = peer.addr();
        match verdict {
            Resync::Continue { from } => {
                let id = peer.introduction.psync2.then(|| cx.history.id());
                peer.stage = Stage::Online;
                peer.applied = Some(from);
                self.peers.insert(replica, peer);
                cx.announce(PeerEvent::Continues { addr, from });
                cx.push(Output::Continue { replica, id });
                cx.push(Output::StreamFrom { replica, from });
                self.settle_waits(cx);
            }
            Resync::Full(reason) => {
                self.peers.insert(replica, peer);
                cx.announce(PeerEvent::NeedsAll { addr, reason });
                if !cx.backlog.is_open() {
                    cx.open_backlog();
                }
                self.keep_alive_due.get_or_insert(cx.now + KEEP_ALIVE);
                self.attach(cx, replica);
                self.start_snapshot(cx);
            }
        }
    }

    /// Lets a newcomer have the snapshot that is being written, if it is what it wants.
    fn attach(&mut self, cx: &mut Cx<'_>, replica: PeerId) {
        let Some(snapshot) = &self.snapshot else { return };
        let peer = self.peers.get_mut(&replica).expect("the caller has just inserted it");
        if let (Target::Disk, false, Some(at)) = (snapshot.target, snapshot.written, snapshot.at)
            && peer.introduction.filter == snapshot.filter
        {
            peer.stage = Stage::Preparing { at };
            let line = !peer.legacy;
            cx.push(Output::FullResync { replica, id: cx.history.id(), at, line });
        }
    }

    /// Starts the next snapshot if somebody waits for one and the delay is over.
    fn start_snapshot(&mut self, cx: &mut Cx<'_>) {
        let Some((due, target, filter)) = self.snapshot_due(cx.config) else { return };
        if due > cx.now {
            return;
        }
        self.snapshots += 1;
        let id = SnapshotId(self.snapshots);
        let mark = *ReplId::random(cx.rng).as_bytes();
        self.snapshot = Some(Snapshot { id, target, filter, mark, at: None, written: false });
        cx.push(Output::TakeSnapshot { id, target, filter });
    }

    /// When the next snapshot is to start, and what it is; `None` while one is taken or nobody waits.
    fn snapshot_due(&self, config: &crate::Config) -> Option<(Mono, Target, Filter)> {
        if self.snapshot.is_some() {
            return None;
        }
        let waiting = || self.peers.values().filter_map(|peer| Some((peer.waiting_since()?, &peer.introduction)));
        let (since, first) = waiting().min_by_key(|(since, _)| *since)?;
        let filter = first.filter;
        let group = || waiting().filter(move |(_, introduction)| introduction.filter == filter);
        let part = filter != Filter::ALL;
        let target = match group().all(|(_, introduction)| introduction.eof) && (config.diskless || part) {
            true => Target::Replicas,
            false => Target::Disk,
        };
        let enough = config.diskless_max_replicas > 0 && group().count() >= config.diskless_max_replicas;
        let delay = config.diskless_delay.filter(|_| target == Target::Replicas && !enough).unwrap_or_default();
        Some((since + delay, target, filter))
    }

    fn on_snapshot_taken(&mut self, cx: &mut Cx<'_>, id: SnapshotId, at: Offset) {
        let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| snapshot.id == id) else { return };
        assert!(snapshot.at.is_none(), "a snapshot begins once");
        snapshot.at = Some(at);
        let marked = snapshot.target == Target::Replicas;
        for (&replica, peer) in &mut self.peers {
            let wanted = peer.waiting_since().is_some() && peer.introduction.filter == snapshot.filter;
            if !wanted || (marked && !peer.introduction.eof) {
                continue;
            }
            let line = !peer.legacy;
            cx.push(Output::FullResync { replica, id: cx.history.id(), at, line });
            peer.stage = match marked {
                true => Stage::Sending { at, marked, moved: cx.now, acked: false },
                false => Stage::Preparing { at },
            };
            if marked {
                cx.push(Output::SendSnapshot { id, replica, framing: Framing::Mark(snapshot.mark) });
            }
        }
        self.end_unneeded_snapshot(cx);
    }

    fn on_snapshot_written(&mut self, cx: &mut Cx<'_>, id: SnapshotId, bytes: u64) {
        let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| snapshot.id == id) else { return };
        snapshot.written = true;
        for (&replica, peer) in &mut self.peers {
            if let Stage::Preparing { at } = peer.stage {
                peer.stage = Stage::Sending { at, marked: false, moved: cx.now, acked: false };
                cx.push(Output::SendSnapshot { id, replica, framing: Framing::Length(bytes) });
            }
        }
        self.end_unneeded_snapshot(cx);
    }

    fn on_snapshot_moved(&mut self, cx: &mut Cx<'_>, replica: PeerId) {
        if let Some(Peer { stage: Stage::Sending { moved, .. }, .. }) = self.peers.get_mut(&replica) {
            *moved = cx.now;
        }
    }

    fn on_snapshot_sent(&mut self, cx: &mut Cx<'_>, id: SnapshotId, replica: PeerId) {
        if self.snapshot.as_ref().is_none_or(|snapshot| snapshot.id != id) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&replica) else { return };
        let Stage::Sending { at, marked, acked, .. } = peer.stage else { return };
        peer.heard = cx.now;
        if peer.introduction.rdb_only {
            peer.stage = Stage::Done { since: cx.now };
        } else if marked && !acked {
            peer.stage = Stage::AwaitingAck { at };
        } else {
            come_online(cx, replica, peer, at);
        }
        cx.announce(PeerEvent::Synced { addr: peer.addr() });
        self.end_unneeded_snapshot(cx);
    }

    fn on_snapshot_failed(&mut self, cx: &mut Cx<'_>, id: SnapshotId) {
        let Some(snapshot) = self.snapshot.take_if(|snapshot| snapshot.id == id) else { return };
        cx.announce(PeerEvent::SnapshotFailed);
        let begun = snapshot.at.is_some();
        let members = |peer: &Peer| match begun {
            true => peer.in_snapshot(),
            false => peer.waiting_since().is_some() && peer.introduction.filter == snapshot.filter,
        };
        let lost: Vec<PeerId> = self.peers.iter().filter(|(_, peer)| members(peer)).map(|(id, _)| *id).collect();
        for replica in lost {
            if !begun {
                cx.push(Output::Refuse { replica, why: Refusal::SnapshotFailed });
            }
            self.drop_peer(cx, replica, DropReason::SnapshotFailed);
        }
        self.start_snapshot(cx);
    }

    /// Ends the snapshot when all who shared it have it or have gone, and starts the next if one is wanted.
    fn end_unneeded_snapshot(&mut self, cx: &mut Cx<'_>) {
        let begun = self.snapshot.as_ref().is_some_and(|snapshot| snapshot.at.is_some());
        if begun && !self.peers.values().any(Peer::in_snapshot) {
            let snapshot = self.snapshot.take().expect("it has begun, hence it is there");
            cx.push(Output::EndSnapshot { id: snapshot.id });
        }
        self.start_snapshot(cx);
    }

    fn on_acked(&mut self, cx: &mut Cx<'_>, replica: PeerId, applied: Offset, fsynced: Option<Offset>) {
        let Some(peer) = self.peers.get_mut(&replica) else { return };
        peer.heard = cx.now;
        peer.applied = peer.applied.max(Some(applied));
        peer.fsynced = peer.fsynced.max(fsynced);
        match &mut peer.stage {
            Stage::Sending { acked, .. } => *acked = true,
            &mut Stage::AwaitingAck { at } => come_online(cx, replica, peer, at),
            Stage::Waiting { .. } | Stage::Preparing { .. } | Stage::Online | Stage::Done { .. } => {}
        }
        self.settle_waits(cx);
    }

    fn on_heard(&mut self, cx: &mut Cx<'_>, replica: PeerId) {
        if let Some(peer) = self.peers.get_mut(&replica) {
            peer.heard = cx.now;
        }
    }

    fn on_left(&mut self, cx: &mut Cx<'_>, replica: PeerId) {
        if let Some(peer) = self.peers.remove(&replica) {
            cx.announce(PeerEvent::Lost { addr: peer.addr() });
            self.after_departure(cx);
        }
    }

    fn drop_peer(&mut self, cx: &mut Cx<'_>, replica: PeerId, why: DropReason) {
        self.peers.remove(&replica);
        cx.push(Output::Drop { replica, why });
        self.after_departure(cx);
    }

    fn after_departure(&mut self, cx: &mut Cx<'_>) {
        if self.peers.is_empty() {
            cx.backlog.left_alone(cx.now);
        }
        self.end_unneeded_snapshot(cx);
    }

    /// Closes every replica's connection: they will ask again, of a history that has changed.
    pub(crate) fn drop_all(&mut self, cx: &mut Cx<'_>, why: DropReason) {
        for (replica, _) in std::mem::take(&mut self.peers) {
            cx.push(Output::Drop { replica, why });
        }
        if let Some(snapshot) = self.snapshot.take() {
            cx.push(Output::EndSnapshot { id: snapshot.id });
        }
        cx.backlog.left_alone(cx.now);
        self.tell_good_replicas(cx);
    }

    fn on_wait(&mut self, cx: &mut Cx<'_>, id: WaitId, goal: Goal, deadline: Option<Mono>) {
        let wait = Wait { goal, deadline };
        let (local, replicas) = self.have(&wait.goal, cx.fsynced);
        if goal.met(local, replicas) {
            return cx.push(Output::WaitOver { id, local, replicas, why: WaitEnd::Met });
        }
        if cx.standing != Standing::Primary {
            return cx.push(Output::WaitOver { id, local, replicas, why: WaitEnd::RoleChanged });
        }
        // Whoever answers an earlier request that stands behind the goal in the stream answers this one too.
        if !cx.quiet && !self.peers.is_empty() && self.waits.must_ask(goal.offset) {
            self.waits.asked(goal.offset.max(cx.backlog.end()));
            cx.push(Output::AskAcks);
        }
        self.waits.add(id, wait);
    }

    /// Whether our disk, and how many replicas, have what a client waits for.
    fn have(&self, goal: &Goal, fsynced: Offset) -> (bool, usize) {
        let online = self.peers.values().filter(|peer| peer.is_online());
        let replicas =
            online.filter(|peer| if goal.durable { peer.fsynced } else { peer.applied } >= Some(goal.offset));
        (fsynced >= goal.offset, replicas.count())
    }

    /// Answers the clients whose goal is met.
    pub(crate) fn settle_waits(&mut self, cx: &mut Cx<'_>) {
        if self.waits.is_empty() {
            return;
        }
        let reported = self.peers.values().filter_map(|peer| peer.applied.max(peer.fsynced)).max().unwrap_or_default();
        for (id, wait) in self.waits.within(reported.max(cx.fsynced)) {
            let (local, replicas) = self.have(&wait.goal, cx.fsynced);
            if wait.goal.met(local, replicas) {
                self.waits.abandon(id);
                cx.push(Output::WaitOver { id, local, replicas, why: WaitEnd::Met });
            }
        }
    }

    /// Nobody acknowledges anything to a replica: all who wait are told so.
    pub(crate) fn end_waits(&mut self, cx: &mut Cx<'_>) {
        for (id, wait) in self.waits.take() {
            let (local, replicas) = self.have(&wait.goal, cx.fsynced);
            cx.push(Output::WaitOver { id, local, replicas, why: WaitEnd::RoleChanged });
        }
    }

    pub(crate) fn on_timeout(&mut self, cx: &mut Cx<'_>) {
        self.drop_silent(cx);
        self.start_snapshot(cx);
        if self.keep_alive_due.is_some_and(|due| due <= cx.now) {
            let waiting = || self.peers.iter().filter(|(_, peer)| peer.needs_keep_alive()).map(|(id, _)| *id);
            waiting().for_each(|replica| cx.push(Output::KeepAlive { replica }));
            self.keep_alive_due = waiting().next().map(|_| cx.now + KEEP_ALIVE);
        }
        if self.ping_due(cx.config, cx.standing, cx.quiet).is_some_and(|due| due <= cx.now) {
            self.pinged = cx.now;
            cx.push(Output::PingReplicas);
        }
        for (id, wait) in self.waits.overdue(cx.now) {
            let (local, replicas) = self.have(&wait.goal, cx.fsynced);
            cx.push(Output::WaitOver { id, local, replicas, why: WaitEnd::TimedOut });
        }
        self.tell_good_replicas(cx);
    }

    fn drop_silent(&mut self, cx: &mut Cx<'_>) {
        let overdue = |peer: &Peer| peer.drop_at(cx.config.timeout).filter(|(at, _)| *at <= cx.now).map(|(_, why)| why);
        let lost: Vec<_> = self.peers.iter().filter_map(|(id, peer)| Some((*id, overdue(peer)?))).collect();
        for (replica, why) in lost {
            if let Some(peer) = self.peers.get(&replica) {
                cx.announce(PeerEvent::Dropped { addr: peer.addr(), why });
            }
            self.drop_peer(cx, replica, why);
        }
    }

    /// Only the primary at the top of a chain sends PINGs, and not while its offset must stand still.
    fn ping_due(&self, config: &crate::Config, standing: Standing, quiet: bool) -> Option<Mono> {
        let pings = standing == Standing::Primary && !quiet && !self.peers.is_empty();
        pings.then(|| self.pinged + config.ping_period)
    }

    /// Tells how many replicas are good, if that has changed.
    pub(crate) fn tell_good_replicas(&mut self, cx: &mut Cx<'_>) {
        let counts = cx.config.min_replicas > 0 && !cx.config.max_lag.is_zero();
        for peer in self.peers.values_mut() {
            peer.good = counts && peer.is_good(cx.now, cx.config.max_lag);
        }
        let good = self.good_replicas();
        if good != self.good {
            self.good = good;
            cx.push(Output::GoodReplicas(good));
        }
    }

    /// How many replicas have acknowledged something within `min-replicas-max-lag`; 0 if that isn't counted.
    pub(crate) fn good_replicas(&self) -> usize {
        self.peers.values().filter(|peer| peer.good).count()
    }

    pub(crate) fn wakes(&self, earliest: &mut Earliest, config: &crate::Config, standing: Standing, quiet: bool) {
        for peer in self.peers.values() {
            if let Some((at, why)) = peer.drop_at(config.timeout) {
                let done = why == DropReason::RdbOnlyDone;
                earliest.at(at, if done { Timer::RdbOnlyDone } else { Timer::PeerSilent });
            }
            if peer.good {
                earliest.at(Mono(peer.good_until(config.max_lag).0.saturating_add(1)), Timer::GoodReplicas);
            }
        }
        let mut at = |due: Option<Mono>, timer| due.into_iter().for_each(|due| earliest.at(due, timer));
        at(self.snapshot_due(config).map(|(due, ..)| due), Timer::SnapshotDelay);
        at(self.keep_alive_due, Timer::KeepAlive);
        at(self.ping_due(config, standing, quiet), Timer::Ping);
        at(self.waits.first_deadline(), Timer::Wait);
    }

    /// The announced address of a replica that has applied everything up to `goal`: `target` if it is given.
    pub(crate) fn caught_up(&self, target: Option<&Addr>, goal: Offset) -> Option<Addr> {
        let ready = |peer: &&Peer| peer.is_online() && peer.introduction.port != 0 && peer.applied >= Some(goal);
        let mut addrs = self.peers.values().filter(ready).map(Peer::addr);
        addrs.find(|addr| target.is_none_or(|target| target.same_place(addr)))
    }

    /// Whether the replica that announced `target` is online; `None` if there is none such.
    pub(crate) fn is_online(&self, target: &Addr) -> Option<bool> {
        let peers = self.peers.values().filter(|peer| peer.addr().same_place(target));
        peers.map(Peer::is_online).reduce(|a, b| a || b)
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.peers.is_empty()
    }

    pub(crate) fn views(&self, now: Mono) -> Vec<PeerView> {
        self.peers.iter().map(|(id, peer)| peer.view(*id, now)).collect()
    }

    /// What must hold between two inputs.
    pub(crate) fn check(&self) {
        let begun = self.snapshot.as_ref().is_some_and(|snapshot| snapshot.at.is_some());
        let written = self.snapshot.as_ref().is_some_and(|snapshot| snapshot.written);
        for peer in self.peers.values() {
            assert!(!peer.in_snapshot() || begun, "a replica is in a snapshot that hasn't begun: {peer:?}");
            let preparing = matches!(peer.stage, Stage::Preparing { .. });
            assert!(!preparing || !written, "a replica waits for a snapshot that is complete: {peer:?}");
        }
    }
}

fn decide(cx: &Cx<'_>, psync: &Psync) -> Resync {
    #[cfg(test)]
    if let (Some(crate::config::Planted::ForgetsTheLimit), Some((previous, _))) =
        (cx.config.planted, cx.history.previous())
    {
        let careless = crate::History::continuing(cx.history.id(), previous, Offset(u64::MAX));
        return resync(&careless, cx.backlog.held(), psync);
    }
    resync(cx.history, cx.backlog.held(), psync)
}

/// The stream begins: the replica holds everything up to `at`.
fn come_online(cx: &mut Cx<'_>, replica: PeerId, peer: &mut Peer, at: Offset) {
    peer.stage = Stage::Online;
    peer.heard = cx.now;
    #[cfg(test)]
    if cx.config.planted == Some(crate::config::Planted::CountsUnacknowledged) {
        peer.applied = Some(cx.backlog.end());
    }
    cx.push(Output::StreamFrom { replica, from: at });
}

impl From<Output> for MachineOutput {
    fn from(output: Output) -> MachineOutput {
        MachineOutput::Primary(output)
    }
}

//! The side that follows a primary: connect, shake hands, go on or start over, keep up.
//!
//! It performs nothing: a driver holds the socket, receives the snapshot into a safe place, loads it and
//! applies the stream. It keeps one link at most; news of an older one are recognised by their number.
//!
//! ```text
//!          Follow                LinkUp              replies          +CONTINUE
//!   Idle ─────────► Connecting ─────────► Handshaking ─────────────────────────────► Streaming
//!    ▲                 ▲   │                  │  │                                      ▲   │
//!    │ Lead            │   │ fails            │  │ +FULLRESYNC (or SYNC is tried)       │   │
//!  any state           │   ▼                  │  ▼            $len, $EOF                │   │
//!                   Waiting ◄─────────────────┤ Awaiting ──────────────► Receiving      │   │
//!                      ▲                      │  │                        │ Offered      │   │
//!                      │                      ▼  ▼   may_replace: no      ▼              │   │
//!                      ├◄─────────────────────┴──┴────────────────────── yes             │   │
//!                      │                                                  │       Loaded │   │
//!                      │◄──────────── LoadFailed ─────────────────────── Loading ────────┘   │
//!                      └◄── link broken or silent (from Streaming: the next attempt at once) ┘
//! ```
//!
//! *What is kept when a link breaks.* Everything: our dataset is our history up to the log's end, and the
//! next PSYNC offers that. Only [`Output::Load`] ends it. A primary that is told to follow has
//! the same to offer: its own history.
//!
//! *When the next attempt comes.* A stream that breaks is taken up at once; if that fails the attempts
//! slow down to one a second. What a primary offered and we refused is asked for again more rarely.

mod guard;
mod handshake;
mod sight;

use std::time::Duration;

use quorate_stdx::{Mono, Offset, ReplId};

use crate::event::LinkEvent;
use crate::handover::{Takeover, Verdict};
use crate::replication::{Cx, Output as MachineOutput};
use crate::wakes::Earliest;
use crate::wire::{Framing, Origin, PsyncReply, Reply, Request};
use crate::{Addr, LinkId, Timer};

pub use guard::{RefusedOffer, Replacement, may_replace};
use handshake::{Advance, Handshake};

/// How often our primary gets an acknowledgement, or a sign of life while we load.
const ACK_PERIOD: Duration = Duration::from_secs(1);
/// Of so many acknowledgements that nobody has asked for one is sent in any case.
const SURE_ACK: u8 = 3;
/// How long after a refusal the primary is asked again: each question costs it a snapshot.
const REFUSED_RETRY: Duration = Duration::from_secs(10);

/// What happens on the side of our primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The connection is made.
    LinkUp {
        /// The link.
        link: LinkId,
    },
    /// The connection can't be made, or is closed. A link that we closed needs no such news.
    LinkDown {
        /// The link.
        link: LinkId,
        /// As the operating system puts it.
        why: String,
    },
    /// A line, or the answer to INFO.
    Replied {
        /// The link.
        link: LinkId,
        /// What it says.
        reply: Reply,
    },
    /// Bytes of the snapshot or the stream came, or loading went on. Once a second is often enough.
    Heard {
        /// The link.
        link: LinkId,
        /// How many bytes of the snapshot there are by now; 0 while streaming.
        read: u64,
    },
    /// The snapshot can be judged: all of it is received, or its first entry. Nothing of ours has changed.
    Offered {
        /// The link.
        link: LinkId,
        /// How many keys it holds; `None` if it holds some and doesn't say how many.
        theirs: Option<u64>,
        /// How many keys we hold.
        ours: u64,
    },
    /// The snapshot is our dataset.
    Loaded {
        /// The link.
        link: LinkId,
    },
    /// The snapshot can't be received or loaded. What we hold is what we held, unless loading had begun.
    LoadFailed {
        /// The link.
        link: LinkId,
        /// Why.
        why: String,
    },
    /// The stream is applied, and in our log, up to here.
    Applied {
        /// The link; it may be closed by now.
        link: LinkId,
        /// The end of our log.
        upto: Offset,
    },
    /// `REPLCONF GETACK` came, and is part of what was reported as applied.
    AckWanted {
        /// The link.
        link: LinkId,
    },
}

/// What is to be done on the side of our primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Make a connection.
    Connect {
        /// Its number.
        link: LinkId,
        /// Where to.
        to: Addr,
    },
    /// Close it. If it streamed, report where the stream ended before anything else.
    Disconnect {
        /// The link.
        link: LinkId,
    },
    /// Send a request.
    Send {
        /// The link.
        link: LinkId,
        /// The request.
        request: Request,
    },
    /// Send an acknowledgement that nobody has asked for; where `sure` is false, only if the socket holds nothing that was
    /// not read. A primary may have died, and its system still have some of its stream: if that hears anything, it resets
    /// the connection, and what it has is lost.
    Acknowledge {
        /// The link.
        link: LinkId,
        /// The request.
        request: Request,
        /// Whether it is sent in any case.
        sure: bool,
    },
    /// Receive the snapshot aside and answer `Offered`; our dataset stays as it is.
    Receive {
        /// The link.
        link: LinkId,
        /// How it ends.
        framing: Framing,
    },
    /// Put the snapshot in the place of our dataset.
    Load {
        /// The link.
        link: LinkId,
    },
    /// Throw away what is received.
    AbortLoad {
        /// The link.
        link: LinkId,
    },
    /// Apply what comes from now on, and append it to our log, which ends at `from`.
    Stream {
        /// The link.
        link: LinkId,
        /// The end of our log.
        from: Offset,
    },
}

/// How far a link had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The connection was being made.
    Connecting,
    /// The handshake went on.
    Handshake,
    /// The snapshot was awaited.
    Awaiting,
    /// The snapshot came in.
    Receiving,
    /// The snapshot was loaded.
    Loading,
    /// The stream came in.
    Streaming,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Connecting => "connecting",
            Phase::Handshake => "shaking hands",
            Phase::Awaiting => "awaiting the snapshot",
            Phase::Receiving => "receiving the snapshot",
            Phase::Loading => "loading the snapshot",
            Phase::Streaming => "streaming",
        })
    }
}

/// What the rest of the machine must do about what a reply or the driver told.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Turn {
    /// Nothing.
    Stay,
    /// We go on from where we are; the history may have a new name. Then call [`Replica::stream`].
    Continue { renamed: Option<ReplId> },
    /// The primary will send a snapshot as of `at`.
    FullSync { at: Offset },
    /// Our dataset is about to go. Then call [`Replica::load`].
    Replace,
    /// Our dataset is this; without an id it came from a primary that has none. Then call [`Replica::stream`].
    Loaded { history: Option<(ReplId, Offset)> },
    /// The primary we want to hand over to doesn't take it.
    Declined,
}

/// What an operator's word covers: who names a primary means what it holds, not what another process at the
/// same address may hold some day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consent {
    /// Nothing: nobody gave the word, or what it covered is loaded.
    None,
    /// The first history that is offered, if that is before `until`.
    First { until: Mono },
    /// This history, which was offered first.
    To(ReplId),
}

/// The one we follow.
#[derive(Debug)]
struct Upstream {
    addr: Addr,
    consent: Consent,
    takeover: Takeover,
    /// Attempts that failed since the last stream.
    failures: u32,
    /// When we last heard it while streaming.
    heard: Option<Mono>,
    /// The process whose stream we last had (`run_id`), if it told.
    run: Option<ReplId>,
    /// Since when the stream is interrupted.
    down_since: Option<Mono>,
    /// What it offered last was refused.
    refused: bool,
}

/// The link.
#[derive(Debug)]
enum Link {
    /// We follow nobody.
    Idle,
    /// Between two attempts.
    Waiting {
        until: Mono,
    },
    Active {
        id: LinkId,
        heard: Mono,
        stage: Stage,
    },
}

#[derive(Debug)]
enum Stage {
    Connecting,
    Handshaking(Handshake),
    Awaiting(Offer),
    Receiving {
        offer: Offer,
        total: Option<u64>,
        read: u64,
    },
    /// `broken`: the link is closed, but the snapshot was complete.
    Loading {
        offer: Offer,
        total: Option<u64>,
        read: u64,
        broken: bool,
        note_due: Mono,
    },
    /// Without `ack_due` the primary takes no acknowledgements.
    Streaming {
        ack_due: Option<Mono>,
        /// How many acknowledgements in a row may have been left out.
        unsure: u8,
    },
}

/// A snapshot that was promised.
#[derive(Debug, Clone, Copy)]
struct Offer {
    /// What it will be; a primary that knows no PSYNC doesn't tell.
    history: Option<(ReplId, Offset)>,
    /// Whether an operator's word covered it when it was promised.
    consent: bool,
    origin: Origin,
}

/// The room.
#[derive(Debug)]
pub(crate) struct Replica {
    upstream: Option<Upstream>,
    link: Link,
    links: u64,
    /// The link whose stream our log's end belongs to.
    stream: Option<LinkId>,
    /// Whether our dataset is our history up to the log's end, so that we can ask to go on from there.
    resumable: bool,
}

/// How long to wait after the `failures`th attempt in a row that came to nothing.
fn retry_delay(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        1..=4 => Duration::from_millis(50 << failures),
        _ => Duration::from_secs(1),
    }
}

impl Replica {
    pub(crate) fn new(resumable: bool) -> Replica {
        Replica { upstream: None, link: Link::Idle, links: 0, stream: None, resumable }
    }

    pub(crate) fn handle(&mut self, cx: &mut Cx<'_>, input: Input) -> Turn {
        match input {
            Input::LinkUp { link } => self.on_link_up(cx, link),
            Input::LinkDown { link, why } => self.on_link_down(cx, link, why),
            Input::Replied { link, reply } => return self.on_replied(cx, link, reply),
            Input::Heard { link, read } => self.on_heard(cx, link, read),
            Input::Offered { link, theirs, ours } => return self.on_offered(cx, link, theirs, ours),
            Input::Loaded { link } => return self.on_loaded(cx, link),
            Input::LoadFailed { link, why } => self.on_load_failed(cx, link, why),
            Input::Applied { link, upto } => self.on_applied(cx, link, upto),
            Input::AckWanted { link } => self.on_ack_wanted(cx, link),
        }
        Turn::Stay
    }

    /// Follows `to` from now on; `consent` is an operator's.
    pub(crate) fn follow(&mut self, cx: &mut Cx<'_>, to: Addr, consent: bool, takeover: Takeover) {
        self.close_link(cx);
        if self.upstream.is_none() {
            self.resumable = cx.backlog.is_open();
        }
        cx.announce(LinkEvent::Following { to: to.clone() });
        let consent = if consent { Consent::First { until: cx.now + cx.config.timeout } } else { Consent::None };
        let (failures, heard, run, down_since, refused) = (0, None, None, None, false);
        self.upstream = Some(Upstream { addr: to, consent, takeover, failures, heard, run, down_since, refused });
        self.connect(cx);
    }

    /// Follows nobody from now on.
    pub(crate) fn lead(&mut self, cx: &mut Cx<'_>) {
        self.close_link(cx);
        self.link = Link::Idle;
        self.upstream = None;
        self.stream = None;
    }

    /// An operator names the primary that we follow. Whether that changes anything: what it offered was
    /// refused, and is accepted now.
    pub(crate) fn consent_to_refused(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(upstream) = self.upstream.as_mut().filter(|upstream| upstream.refused) else { return false };
        upstream.consent = Consent::First { until: cx.now + cx.config.timeout };
        upstream.refused = false;
        upstream.failures = 0;
        self.close_link(cx);
        self.connect(cx);
        true
    }

    fn connect(&mut self, cx: &mut Cx<'_>) {
        let Some(upstream) = &self.upstream else { return };
        self.links += 1;
        let id = LinkId(self.links);
        self.link = Link::Active { id, heard: cx.now, stage: Stage::Connecting };
        cx.announce(LinkEvent::Connecting { to: upstream.addr.clone() });
        cx.push(Output::Connect { link: id, to: upstream.addr.clone() });
    }

    /// Closes the link, whatever it does; the caller says what comes next.
    fn close_link(&mut self, cx: &mut Cx<'_>) {
        if let (Link::Active { id, .. }, Some(Phase::Receiving | Phase::Loading)) = (&self.link, self.phase()) {
            cx.push(Output::AbortLoad { link: *id });
        }
        self.hang_up(cx);
    }

    /// As `close_link`, when there is nothing to abort.
    fn hang_up(&mut self, cx: &mut Cx<'_>) {
        if let Link::Active { id, heard, stage } = &self.link {
            let link = *id;
            if !matches!(stage, Stage::Loading { broken: true, .. }) {
                cx.push(Output::Disconnect { link });
            }
            let (streaming, heard) = (matches!(stage, Stage::Streaming { .. }), *heard);
            self.note_departure(cx.now, streaming, heard);
        }
        self.link = Link::Waiting { until: cx.now };
    }

    /// Remembers what the end of a link means for the one we follow.
    fn note_departure(&mut self, now: Mono, streaming: bool, heard: Mono) {
        let asked = self.phase() == Some(Phase::Handshake) && self.has_asked();
        let Some(upstream) = &mut self.upstream else { return };
        if streaming {
            upstream.heard = Some(heard);
            upstream.down_since = Some(now);
        }
        if asked && upstream.takeover == Takeover::Ask {
            upstream.takeover = Takeover::Unanswered;
        }
    }

    fn has_asked(&self) -> bool {
        matches!(&self.link, Link::Active { stage: Stage::Handshaking(shake), .. } if shake.has_asked())
    }

    /// Closes the link and tries again: at once if it streamed, otherwise slower each time.
    fn give_up(&mut self, cx: &mut Cx<'_>) {
        let streamed = self.phase() == Some(Phase::Streaming);
        self.close_link(cx);
        self.retry(cx, streamed);
    }

    fn retry(&mut self, cx: &mut Cx<'_>, streamed: bool) {
        let Some(upstream) = &mut self.upstream else { return };
        upstream.failures = if streamed { 0 } else { upstream.failures.saturating_add(1) };
        if upstream.takeover == Takeover::Unanswered {
            cx.announce(crate::event::FailoverEvent::Unanswered { to: upstream.addr.clone() });
        }
        match retry_delay(upstream.failures) {
            Duration::ZERO => self.connect(cx),
            delay => self.link = Link::Waiting { until: cx.now + delay },
        }
    }

    /// The stage of the link `id`, if it is the one we have; whoever asks has heard of it.
    fn stage(&mut self, now: Mono, id: LinkId) -> Option<&mut Stage> {
        match &mut self.link {
            Link::Active { id: ours, heard, stage } if *ours == id => {
                *heard = now;
                Some(stage)
            }
            _ => None,
        }
    }

    fn on_link_up(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        if let Some(stage @ Stage::Connecting) = self.stage(cx.now, link) {
            *stage = Stage::Handshaking(Handshake::new());
            cx.push(Output::Send { link, request: Request::Ping });
        }
    }

    fn on_link_down(&mut self, cx: &mut Cx<'_>, link: LinkId, why: String) {
        let Link::Active { id, heard, stage } = &mut self.link else { return };
        if *id != link {
            return;
        }
        if let Stage::Loading { broken, .. } = stage {
            // All bytes of the snapshot had come, else the load would have failed.
            *broken = true;
            return;
        }
        let (received, heard) = (matches!(stage, Stage::Receiving { .. }), *heard);
        let Some(phase) = self.phase() else { return };
        cx.announce(LinkEvent::Lost { phase, why });
        if received {
            cx.push(Output::AbortLoad { link });
        }
        self.note_departure(cx.now, phase == Phase::Streaming, heard);
        self.link = Link::Waiting { until: cx.now };
        self.retry(cx, phase == Phase::Streaming);
    }

    fn on_replied(&mut self, cx: &mut Cx<'_>, link: LinkId, reply: Reply) -> Turn {
        match self.stage(cx.now, link) {
            Some(Stage::Handshaking(shake)) => match shake.advance(cx, link, reply) {
                Advance::Stay => Turn::Stay,
                Advance::Ask => self.ask(cx, link),
                Advance::Answered(reply) => self.on_psync_answered(cx, link, reply),
                Advance::Fail => {
                    self.give_up(cx);
                    Turn::Stay
                }
            },
            Some(Stage::Awaiting(offer)) => {
                let offer = *offer;
                self.on_snapshot_announced(cx, link, offer, reply);
                Turn::Stay
            }
            _ => Turn::Stay,
        }
    }

    /// Whether an operator's word covers a history that is offered. The first one that is, is the only one.
    fn has_consent(&mut self, now: Mono, offered: Option<ReplId>) -> bool {
        let Some(upstream) = &mut self.upstream else { return false };
        let covered = match upstream.consent {
            Consent::None => false,
            Consent::First { until } => now < until,
            Consent::To(id) => offered == Some(id),
        };
        if let (true, Some(id)) = (covered, offered) {
            upstream.consent = Consent::To(id);
        }
        covered
    }

    /// What we can ask to go on from.
    fn held(&self, cx: &Cx<'_>) -> Option<(ReplId, Offset)> {
        (self.resumable && cx.backlog.is_open()).then(|| (cx.history.id(), cx.backlog.end()))
    }

    fn ask(&mut self, cx: &mut Cx<'_>, link: LinkId) -> Turn {
        let from = self.held(cx);
        let failover = self.upstream.as_ref().is_some_and(|upstream| upstream.takeover == Takeover::Ask);
        if let Some(Stage::Handshaking(shake)) = self.stage(cx.now, link) {
            shake.ask(from);
        }
        match from {
            Some((id, held)) => cx.announce(LinkEvent::AskingToContinue { id, held }),
            None => cx.announce(LinkEvent::AskingForAll),
        }
        cx.push(Output::Send { link, request: Request::Psync { from, failover } });
        Turn::Stay
    }

    fn on_psync_answered(&mut self, cx: &mut Cx<'_>, link: LinkId, reply: Reply) -> Turn {
        let Some(Stage::Handshaking(shake)) = self.stage(cx.now, link) else { return Turn::Stay };
        let (asked_from, origin) = (shake.asked_from(), shake.origin());
        let answer = PsyncReply::parse(&reply);
        if let Some(upstream) = &mut self.upstream
            && let Some(verdict) = upstream.takeover.judge(cx.history.id(), &answer)
        {
            match verdict {
                Verdict::TakenOver => upstream.takeover = Takeover::No,
                Verdict::Unclear => upstream.takeover = Takeover::Unanswered,
                Verdict::Declined => return Turn::Declined,
            }
        }
        let text = || format!("{reply:?}");
        match answer {
            PsyncReply::FullResync { id, at } => {
                cx.announce(LinkEvent::FullResync { id, at });
                self.await_snapshot(cx, link, Some((id, at)), origin);
                return Turn::FullSync { at };
            }
            PsyncReply::Continue { id } if asked_from.is_some() => {
                let renamed = id.filter(|id| *id != cx.history.id());
                cx.announce(LinkEvent::Continued { renamed });
                return Turn::Continue { renamed };
            }
            PsyncReply::Continue { .. } | PsyncReply::Malformed => cx.announce(LinkEvent::Nonsense { reply: text() }),
            PsyncReply::Later => cx.announce(LinkEvent::NotNow { reply: text() }),
            PsyncReply::Unsupported => {
                cx.announce(LinkEvent::FallingBack { reply: text() });
                cx.push(Output::Send { link, request: Request::Sync });
                self.await_snapshot(cx, link, None, origin);
                return Turn::Stay;
            }
        }
        self.give_up(cx);
        Turn::Stay
    }

    fn await_snapshot(&mut self, cx: &mut Cx<'_>, link: LinkId, history: Option<(ReplId, Offset)>, origin: Origin) {
        let consent = self.has_consent(cx.now, history.map(|(id, _)| id));
        if let Some(stage) = self.stage(cx.now, link) {
            *stage = Stage::Awaiting(Offer { history, consent, origin });
        }
    }

    fn on_snapshot_announced(&mut self, cx: &mut Cx<'_>, link: LinkId, offer: Offer, reply: Reply) {
        match reply {
            Reply::KeepAlive => {}
            Reply::Snapshot(framing) => {
                let total = match framing {
                    Framing::Length(bytes) => Some(bytes),
                    Framing::Mark(_) => None,
                };
                if let Some(stage) = self.stage(cx.now, link) {
                    *stage = Stage::Receiving { offer, total, read: 0 };
                }
                cx.push(Output::Receive { link, framing });
            }
            Reply::Error(error) => {
                cx.announce(LinkEvent::SyncAborted { error });
                self.give_up(cx);
            }
            Reply::Status(_) | Reply::Info(_) | Reply::Other(_) => {
                cx.announce(LinkEvent::Nonsense { reply: format!("{reply:?}") });
                self.give_up(cx);
            }
        }
    }

    fn on_heard(&mut self, cx: &mut Cx<'_>, link: LinkId, progress: u64) {
        if let Some(Stage::Receiving { read, .. } | Stage::Loading { read, .. }) = self.stage(cx.now, link) {
            *read = progress.max(*read);
        }
    }

    fn on_offered(&mut self, cx: &mut Cx<'_>, link: LinkId, theirs: Option<u64>, ours: u64) -> Turn {
        let Some(Stage::Receiving { offer, .. }) = self.stage(cx.now, link) else { return Turn::Stay };
        let offer = *offer;
        let case = self.replacement(cx, &offer, theirs, ours);
        let verdict = may_replace(&case);
        #[cfg(test)]
        let verdict = match cx.config.planted {
            Some(crate::config::Planted::LoadsEmptiness) => Ok(()),
            _ => verdict,
        };
        let Err(refused) = verdict else { return Turn::Replace };
        cx.announce(LinkEvent::OfferRefused { refused, ours });
        self.close_link(cx);
        if let Some(upstream) = &mut self.upstream {
            upstream.refused = true;
        }
        self.link = Link::Waiting { until: cx.now + REFUSED_RETRY };
        Turn::Stay
    }

    fn replacement(&self, cx: &Cx<'_>, offer: &Offer, theirs: Option<u64>, ours: u64) -> Replacement {
        let (heard, followed) = self.upstream.as_ref().map_or((None, None), |upstream| (upstream.heard, upstream.run));
        let at = offer.history.map_or(Offset(0), |(_, at)| at);
        Replacement {
            guarded: cx.config.refuse_empty_primary,
            consent: offer.consent,
            ours,
            theirs,
            related: offer.history.is_some_and(|(id, _)| cx.history.knows(id)),
            behind: at < cx.backlog.end(),
            origin: offer.origin,
            unheard: heard.map(|heard| cx.now.since(heard)),
            followed,
        }
    }

    /// Starts to load; from here on there is nothing to go on from.
    pub(crate) fn load(&mut self, cx: &mut Cx<'_>) {
        let Link::Active { id: link, stage, .. } = &mut self.link else { return };
        let &mut Stage::Receiving { offer, total, read } = stage else { return };
        *stage = Stage::Loading { offer, total, read, broken: false, note_due: cx.now + ACK_PERIOD };
        self.resumable = false;
        self.stream = None;
        cx.announce(LinkEvent::Loading);
        cx.push(Output::Load { link: *link });
    }

    fn on_loaded(&mut self, cx: &mut Cx<'_>, link: LinkId) -> Turn {
        let Some(Stage::Loading { offer, .. }) = self.stage(cx.now, link) else { return Turn::Stay };
        let history = offer.history;
        self.resumable = history.is_some();
        cx.announce(LinkEvent::Loaded);
        Turn::Loaded { history }
    }

    fn on_load_failed(&mut self, cx: &mut Cx<'_>, link: LinkId, why: String) {
        if let Some(Stage::Receiving { .. } | Stage::Loading { .. }) = self.stage(cx.now, link) {
            cx.announce(LinkEvent::LoadFailed { why });
            self.hang_up(cx);
            self.retry(cx, false);
        }
    }

    /// Takes up the stream at the log's end, or connects anew if the link broke while we loaded.
    pub(crate) fn stream(&mut self, cx: &mut Cx<'_>) {
        let Link::Active { id: link, heard, stage } = &mut self.link else { return };
        let link = *link;
        let broken = matches!(stage, Stage::Loading { broken: true, .. });
        let acks = self.resumable;
        let origin = match stage {
            Stage::Handshaking(shake) => shake.origin(),
            Stage::Loading { offer, .. } => offer.origin,
            _ => Origin::default(),
        };
        *heard = cx.now;
        *stage = Stage::Streaming { ack_due: acks.then(|| cx.now + ACK_PERIOD), unsure: 0 };
        self.stream = Some(link);
        if let Some(upstream) = &mut self.upstream {
            (upstream.heard, upstream.down_since, upstream.consent) = (Some(cx.now), None, Consent::None);
            (upstream.failures, upstream.refused) = (0, false);
            upstream.run = origin.run;
        }
        if broken {
            cx.announce(LinkEvent::Lost { phase: Phase::Loading, why: "closed by the master".into() });
            self.note_departure(cx.now, true, cx.now);
            return self.retry(cx, true);
        }
        cx.push(Output::Stream { link, from: cx.backlog.end() });
        if acks {
            self.send_ack(cx, link);
        }
    }

    fn on_applied(&mut self, cx: &mut Cx<'_>, link: LinkId, upto: Offset) {
        if self.stream != Some(link) {
            return;
        }
        if let Some(held) = cx.backlog.held() {
            cx.backlog.fed(held.start..upto.max(held.end));
        }
        let _ = self.stage(cx.now, link);
    }

    fn on_ack_wanted(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        if let Some(Stage::Streaming { ack_due: Some(due), unsure }) = self.stage(cx.now, link) {
            (*due, *unsure) = (cx.now + ACK_PERIOD, 0);
            self.send_ack(cx, link);
        }
    }

    fn send_ack(&self, cx: &mut Cx<'_>, link: LinkId) {
        cx.push(Output::Send { link, request: Replica::ack(cx) });
    }

    fn ack(cx: &Cx<'_>) -> Request {
        let fsynced = cx.config.append_only.then_some(cx.fsynced);
        Request::Ack { applied: cx.backlog.end(), fsynced }
    }

    pub(crate) fn on_timeout(&mut self, cx: &mut Cx<'_>) {
        let silent = self.silent_at(cx.config.timeout).is_some_and(|at| at <= cx.now);
        if silent && let Some(phase) = self.phase() {
            cx.announce(LinkEvent::Silent { phase });
            return self.give_up(cx);
        }
        match &mut self.link {
            Link::Waiting { until } if *until <= cx.now => self.connect(cx),
            &mut Link::Active { id: link, stage: Stage::Loading { broken: false, ref mut note_due, .. }, .. }
                if *note_due <= cx.now =>
            {
                *note_due = cx.now + ACK_PERIOD;
                cx.push(Output::Send { link, request: Request::KeepAlive });
            }
            &mut Link::Active {
                id: link,
                stage: Stage::Streaming { ack_due: Some(ref mut due), ref mut unsure },
                ..
            } if *due <= cx.now => {
                *due = cx.now + ACK_PERIOD;
                *unsure = (*unsure + 1) % SURE_ACK;
                let sure = *unsure == 0;
                cx.push(Output::Acknowledge { link, request: Replica::ack(cx), sure });
            }
            _ => {}
        }
    }

    /// When the link counts as dead if nothing is heard before. A load whose link is closed owes us nothing.
    fn silent_at(&self, timeout: Duration) -> Option<Mono> {
        match &self.link {
            Link::Idle | Link::Waiting { .. } | Link::Active { stage: Stage::Loading { broken: true, .. }, .. } => None,
            Link::Active { heard, .. } => Some(*heard + timeout),
        }
    }

    pub(crate) fn wakes(&self, earliest: &mut Earliest, config: &crate::Config) {
        if let Some(at) = self.silent_at(config.timeout) {
            earliest.at(at, Timer::LinkSilent);
        }
        match &self.link {
            Link::Waiting { until } => earliest.at(*until, Timer::Connect),
            Link::Active { stage: Stage::Loading { broken: false, note_due, .. }, .. } => {
                earliest.at(*note_due, Timer::Ack);
            }
            Link::Active { stage: Stage::Streaming { ack_due: Some(due), .. }, .. } => earliest.at(*due, Timer::Ack),
            Link::Idle | Link::Active { .. } => {}
        }
    }
}

impl From<Output> for MachineOutput {
    fn from(output: Output) -> MachineOutput {
        MachineOutput::Replica(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_slow_down_to_one_a_second() {
        let delays: Vec<u128> = (0..7).map(|failures| retry_delay(failures).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(retry_delay(u32::MAX), Duration::from_secs(1));
    }
}

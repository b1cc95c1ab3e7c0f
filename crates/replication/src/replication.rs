//! The machine that joins the rooms: it owns the history and the backlog, takes orders, and lets what
//! happens in one room have its effect in the others.
//!
//! ```text
//!                    Follow                         +CONTINUE, Loaded
//!   Primary ───────────────────────► Unlinked ───────────────────────► Linked
//!      ▲                               │   ▲                              │
//!      │  Lead, PSYNC FAILOVER         │   │ link broken, data replaced   │
//!      └───────────────────────────────┴───┴──────────────────────────────┘
//! ```
//!
//! What a change means for our own replicas:
//!
//! - *Promotion*: our history goes on under a new id. They are dropped, ask again with the old one, and continue.
//! - *Demotion*: they stay. Our primary may let us continue, and then they needn't notice.
//! - *Our primary's history has a new name*: ours too; they are dropped and continue, as after a promotion.
//! - *Our dataset is replaced*: they are dropped before the first key goes, and must start over.

use std::collections::VecDeque;
use std::ops::Range;

use quorate_stdx::{Machine, Mono, Now, Offset, ReplId, Rng};

use crate::backlog::Backlog;
use crate::event::{FailoverEvent, PeerEvent};
use crate::handover::{Handover, Plan, Situation, Takeover, may_hand_over};
use crate::primary::{self, Asks, DropReason, Primary, Refusal};
use crate::replica::{self, Replica, Turn};
use crate::wakes::Earliest;
use crate::{
    Addr, Answer, AskedId, Authority, BacklogView, Config, Event, History, Order, OrderId, OrderRefusal, PeerId, Psync,
    RoleView, Timer, View,
};

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The instant that `poll_timeout` named has come.
    Timeout,
    /// The configuration has changed.
    Configure(Box<Config>),
    /// The log holds these bytes of our history at this moment. It needn't be told of each append.
    Fed {
        /// How many bytes came before the first held one, up to our offset.
        held: Range<Offset>,
    },
    /// Our append-only file is on disk up to here.
    Fsynced {
        /// The offset.
        upto: Offset,
    },
    /// Writes stand still, and [`Input::Fed`] has told where.
    WritesPaused,
    /// An order.
    Ordered {
        /// Who waits for the answer.
        by: OrderId,
        /// What is to be done.
        order: Order,
    },
    /// From the side of our replicas.
    Primary(primary::Input),
    /// From the side of our primary.
    Replica(replica::Input),
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// From here on each effect is appended to the log, whose first byte follows `at`. What it held is gone.
    OpenLog {
        /// Our offset.
        at: Offset,
    },
    /// Effects are no longer appended; what the log held is gone.
    CloseLog,
    /// Our role. Commands that depend on it see it before the next output is performed.
    Role(Role),
    /// The name of our history, for INFO and for the snapshots that we write.
    Adopt(History),
    /// No write may run, and none is running; then hand in `Fed` and `WritesPaused`.
    PauseWrites,
    /// Writes may run, as far as the role allows.
    ResumeWrites,
    /// Answer an order.
    Answer {
        /// Who waits for it.
        by: OrderId,
        /// The answer.
        answer: Answer,
    },
    /// A line for the log.
    Announce(Event),
    /// On the side of our replicas.
    Primary(primary::Output),
    /// On the side of our primary.
    Replica(replica::Output),
}

/// Our role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// We lead.
    Primary,
    /// We follow.
    Replica {
        /// Whom.
        of: Addr,
    },
}

/// How a server starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start {
    /// The history and the offset that the loaded dataset belongs to, if it says so.
    pub saved: Option<(ReplId, Offset)>,
    /// How many bytes of that history, before that offset, the log will hold when the first `OpenLog` is performed: the end
    /// of an append-only file. Replicas that lack no more than these can go on.
    pub held: u64,
    /// `replicaof`.
    pub follow: Option<Addr>,
}

/// What the rooms need to know of our standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// We follow nobody.
    Primary,
    /// We follow, and the stream comes in.
    Linked,
    /// We follow, and the stream doesn't come in.
    Unlinked,
}

/// What a room is given to decide with, and where it puts what it decided.
pub(crate) struct Cx<'a> {
    pub(crate) now: Mono,
    pub(crate) config: &'a Config,
    pub(crate) standing: Standing,
    /// Our offset must stand still.
    pub(crate) quiet: bool,
    /// Up to where our append-only file is on disk.
    pub(crate) fsynced: Offset,
    pub(crate) history: &'a mut History,
    pub(crate) backlog: &'a mut Backlog,
    pub(crate) rng: &'a mut Rng,
    out: &'a mut VecDeque<Output>,
}

impl Cx<'_> {
    pub(crate) fn push(&mut self, output: impl Into<Output>) {
        self.out.push_back(output.into());
    }

    pub(crate) fn announce(&mut self, event: impl Into<Event>) {
        self.push(Output::Announce(event.into()));
    }

    /// Begins to count writes, for a first replica. The uncounted ones before belong to no offset, so that
    /// a new history begins.
    pub(crate) fn open_backlog(&mut self) {
        let id = ReplId::random(self.rng);
        self.history.replace(id);
        let at = self.backlog.end();
        self.backlog.open(at);
        self.announce(PeerEvent::BacklogCreated { id });
        self.push(Output::Adopt(self.history.clone()));
        self.push(Output::OpenLog { at });
    }
}

/// Replication, whole.
#[derive(Debug)]
pub struct Replication {
    config: Config,
    rng: Rng,
    history: History,
    backlog: Backlog,
    fsynced: Offset,
    primary: Primary,
    replica: Replica,
    handover: Handover,
    out: VecDeque<Output>,
}

impl Replication {
    /// A machine whose dice follow from `seed`. Its first outputs are there to be performed.
    pub fn new(config: Config, start: Start, seed: u64, now: Now) -> Replication {
        let mut rng = Rng::new(seed);
        let fresh = ReplId::random(&mut rng);
        let history = match (start.saved, &start.follow) {
            (None, _) => History::new(fresh),
            (Some((id, _)), Some(_)) => History::new(id),
            // A primary may have taken writes that were not saved and are lost: what it writes from now on
            // is another history, which shares what was saved.
            (Some((id, at)), None) => History::continuing(fresh, id, at),
        };
        let mut machine = Replication {
            config,
            rng,
            history,
            backlog: Backlog::closed(Offset(0)),
            fsynced: Offset(0),
            primary: Primary::new(),
            replica: Replica::new(start.saved.is_some()),
            handover: Handover::None,
            out: VecDeque::new(),
        };
        machine.out.push_back(Output::Adopt(machine.history.clone()));
        if let Some((_, at)) = start.saved {
            machine.backlog.open_from(Offset(at.0.saturating_sub(start.held))..at);
            machine.backlog.left_alone(now.mono);
            machine.out.push_back(Output::OpenLog { at });
        }
        match start.follow {
            Some(to) => machine.follow(now.mono, to, false, Takeover::No),
            None => {
                machine.out.push_back(Output::Role(Role::Primary));
                machine.count_writes(now.mono);
            }
        }
        machine
    }

    /// Sees to it that a primary with an append-only file counts its writes: the file is read from the log, and tells
    /// where in our history it ends.
    fn count_writes(&mut self, now: Mono) {
        if !self.config.append_only || self.backlog.is_open() || self.standing() != Standing::Primary {
            return;
        }
        self.history.replace(ReplId::random(&mut self.rng));
        let at = self.backlog.end();
        self.backlog.open(at);
        self.backlog.left_alone(now);
        self.out.push_back(Output::Adopt(self.history.clone()));
        self.out.push_back(Output::OpenLog { at });
    }

    /// The history and offset that a snapshot of the dataset belongs to; nothing while writes aren't counted.
    pub fn position(&self) -> Option<(ReplId, Offset)> {
        self.backlog.is_open().then(|| (self.history.id(), self.backlog.end()))
    }

    /// What INFO and ROLE show.
    pub fn view(&self, now: Now) -> View {
        let offset = self.backlog.end();
        View {
            role: match self.replica.view(now.mono, offset, &self.config) {
                Some(primary) => RoleView::Replica(primary),
                None => RoleView::Primary,
            },
            replicas: self.primary.views(now.mono),
            good_replicas: self.primary.good_replicas(),
            failover: self.handover.word(),
            history: self.history.clone(),
            offset,
            backlog: self
                .backlog
                .held()
                .map(|held| BacklogView { first_byte: held.start.0 + 1, length: held.end.0 - held.start.0 }),
            backlog_size: self.config.backlog_size,
        }
    }

    /// Whether we follow a primary and its stream comes in.
    pub fn streams(&self) -> bool {
        self.standing() == Standing::Linked
    }

    fn standing(&self) -> Standing {
        match self.replica.following() {
            None => Standing::Primary,
            Some(_) if self.replica.is_streaming() => Standing::Linked,
            Some(_) => Standing::Unlinked,
        }
    }

    /// The rooms, and what they decide with.
    fn rooms(&mut self, now: Mono) -> (Cx<'_>, &mut Primary, &mut Replica) {
        let cx = Cx {
            now,
            config: &self.config,
            standing: self.standing(),
            quiet: self.handover.is_under_way(),
            fsynced: self.fsynced,
            history: &mut self.history,
            backlog: &mut self.backlog,
            rng: &mut self.rng,
            out: &mut self.out,
        };
        (cx, &mut self.primary, &mut self.replica)
    }

    fn announce(&mut self, event: impl Into<Event>) {
        self.out.push_back(Output::Announce(event.into()));
    }

    // ---- orders -----------------------------------------------------------------------------------------

    fn on_ordered(&mut self, now: Mono, by: OrderId, order: Order) {
        let answer = match order {
            Order::Follow { .. } | Order::Lead if self.handover.is_under_way() => {
                Answer::Refused(OrderRefusal::FailingOver)
            }
            Order::Follow { to, by } => self.on_follow(now, to, by),
            Order::Lead => {
                if self.standing() != Standing::Primary {
                    self.lead(now);
                }
                Answer::Ok
            }
            Order::Failover { target, force, timeout } => {
                return self.on_failover(now, by, target, force, timeout);
            }
            Order::AbortFailover if !self.handover.is_under_way() => Answer::Refused(OrderRefusal::NoFailover),
            Order::AbortFailover => {
                self.abort_handover(now, "Failover manually aborted");
                Answer::Ok
            }
            Order::Rename => {
                self.history.replace(ReplId::random(&mut self.rng));
                self.out.push_back(Output::Adopt(self.history.clone()));
                Answer::Ok
            }
        };
        self.out.push_back(Output::Answer { by, answer });
    }

    fn on_follow(&mut self, now: Mono, to: Addr, by: Authority) -> Answer {
        let consent = by == Authority::Operator;
        if self.replica.following().is_some_and(|primary| primary.same_place(&to)) {
            let (mut cx, _, replica) = self.rooms(now);
            return match consent && replica.consent_to_refused(&mut cx) {
                true => Answer::Ok,
                false => Answer::AlreadyFollowing,
            };
        }
        self.follow(now, to, consent, Takeover::No);
        Answer::Ok
    }

    /// Follows `to`. Our replicas stay: we may be let continue, and then they can too.
    fn follow(&mut self, now: Mono, to: Addr, consent: bool, takeover: Takeover) {
        self.out.push_back(Output::Role(Role::Replica { of: to.clone() }));
        let (mut cx, primary, replica) = self.rooms(now);
        primary.end_waits(&mut cx);
        cx.backlog.has_company();
        replica.follow(&mut cx, to, consent, takeover);
    }

    /// Leads from now on; the history up to here is shared with the one that was followed.
    fn lead(&mut self, now: Mono) {
        let (mut cx, primary, replica) = self.rooms(now);
        replica.lead(&mut cx);
        cx.standing = Standing::Primary;
        let (previous, limit) = (cx.history.id(), cx.backlog.end());
        let id = ReplId::random(cx.rng);
        #[cfg(test)]
        let id = match cx.config.planted {
            Some(crate::config::Planted::KeepsIdOnPromotion) => previous,
            _ => id,
        };
        cx.history.shift(id, limit);
        cx.announce(PeerEvent::Leading { id, previous, limit });
        cx.backlog.has_company(); // The time without replicas counts from here on.
        primary.drop_all(&mut cx, DropReason::HistoryChanged);
        cx.push(Output::Adopt(cx.history.clone()));
        cx.push(Output::Role(Role::Primary));
        self.count_writes(now);
    }

    // ---- FAILOVER ---------------------------------------------------------------------------------------

    fn on_failover(
        &mut self,
        now: Mono,
        by: OrderId,
        target: Option<Addr>,
        force: bool,
        timeout: Option<std::time::Duration>,
    ) {
        let situation = Situation {
            failing_over: self.handover.is_under_way(),
            primary: self.standing() == Standing::Primary,
            alone: self.primary.is_alone(),
            target_online: target.as_ref().and_then(|target| self.primary.is_online(target)),
        };
        let answer = match may_hand_over(&situation, target.as_ref(), force, timeout) {
            Ok(()) => Answer::Ok,
            Err(refusal) => Answer::Refused(refusal),
        };
        let begins = answer == Answer::Ok;
        self.out.push_back(Output::Answer { by, answer });
        if begins {
            self.announce(FailoverEvent::Requested { target: target.clone() });
            let deadline = timeout.map(|timeout| now + timeout);
            self.handover = Handover::Pausing(Plan { target, force, deadline });
            self.out.push_back(Output::PauseWrites);
        }
    }

    fn on_writes_paused(&mut self, now: Mono) {
        let Handover::Pausing(plan) = &self.handover else { return };
        self.handover = Handover::CatchingUp { plan: plan.clone(), asked_at: None };
        self.hand_over_if_caught_up(now);
        if let Handover::CatchingUp { asked_at, .. } = &mut self.handover {
            // The answer tells sooner than the next report that the target has everything.
            *asked_at = Some(self.backlog.end());
            self.out.push_back(Output::Primary(primary::Output::AskAcks));
        }
    }

    fn hand_over_if_caught_up(&mut self, now: Mono) {
        let Handover::CatchingUp { plan, asked_at } = &self.handover else { return };
        if asked_at.is_some_and(|asked_at| self.backlog.end() <= asked_at) {
            return; // We haven't been told yet where the log ends with the question in it.
        }
        if let Some(to) = self.primary.caught_up(plan.target.as_ref(), self.backlog.end()) {
            self.announce(FailoverEvent::Synced { to: to.clone() });
            self.hand_over(now, to, false);
        }
    }

    fn hand_over(&mut self, now: Mono, to: Addr, forced: bool) {
        self.handover = Handover::HandingOver { to: to.clone(), forced };
        self.follow(now, to, false, Takeover::Ask);
    }

    fn abort_handover(&mut self, now: Mono, why: &'static str) {
        let (target, following) = match std::mem::replace(&mut self.handover, Handover::None) {
            Handover::None => return,
            Handover::Pausing(plan) | Handover::CatchingUp { plan, .. } => (plan.target, false),
            Handover::HandingOver { to, .. } => (Some(to), true),
        };
        self.announce(FailoverEvent::Aborted { target, why });
        if following {
            self.lead(now);
        }
        self.out.push_back(Output::ResumeWrites);
    }

    /// The target leads: we are its replica, and writes are answered as on any replica.
    fn finish_handover(&mut self) {
        if let Handover::HandingOver { to, .. } = std::mem::replace(&mut self.handover, Handover::None) {
            self.announce(FailoverEvent::Done { to });
            self.out.push_back(Output::ResumeWrites);
        }
    }

    // ---- our replicas -----------------------------------------------------------------------------------

    fn on_primary(&mut self, now: Mono, input: primary::Input) {
        if let primary::Input::Asked { replica, asks: Asks::Psync(psync @ Psync { failover: true, .. }), .. } = &input
            && !self.takes_over(now, *replica, *psync)
        {
            return;
        }
        let (mut cx, primary, _) = self.rooms(now);
        primary.handle(&mut cx, input);
        self.hand_over_if_caught_up(now);
        self.abort_if_target_left(now);
    }

    /// A target whose link broke may have been restarted, with less than it had acknowledged. So it isn't
    /// asked any more; if it has been, its answer decides.
    fn abort_if_target_left(&mut self, now: Mono) {
        if let Handover::HandingOver { to, forced: false } = &self.handover
            && !self.replica.has_asked_takeover()
            && self.primary.is_online(to) != Some(true)
        {
            self.abort_handover(now, "Failover target disconnected");
        }
    }

    /// Our primary steps down and names us its successor: whether we take its place.
    fn takes_over(&mut self, now: Mono, replica: PeerId, psync: Psync) -> bool {
        let refusal = match psync.id {
            _ if self.standing() == Standing::Primary => Some(Refusal::FailoverToPrimary),
            AskedId::Id(id) if id == self.history.id() => None,
            AskedId::Id(_) | AskedId::Unknown | AskedId::Strange => Some(Refusal::FailoverForeign),
        };
        if let Some(why) = refusal {
            self.out.push_back(primary::Output::Refuse { replica, why }.into());
            return false;
        }
        self.announce(FailoverEvent::Received { id: self.history.id() });
        self.lead(now);
        true
    }

    // ---- our primary ------------------------------------------------------------------------------------

    fn on_replica(&mut self, now: Mono, input: replica::Input) {
        let (mut cx, primary, replica) = self.rooms(now);
        match replica.handle(&mut cx, input) {
            Turn::Stay => {}
            Turn::Continue { renamed } => {
                if let Some(id) = renamed {
                    let limit = cx.backlog.end();
                    cx.history.shift(id, limit);
                    primary.drop_all(&mut cx, DropReason::HistoryChanged);
                    cx.push(Output::Adopt(cx.history.clone()));
                }
                replica.stream(&mut cx);
                self.finish_handover();
            }
            Turn::FullSync { at } => self.on_full_sync(now, at),
            Turn::Replace => {
                primary.drop_all(&mut cx, DropReason::DataReplaced);
                // What is there while we load, or after a load that failed, is no history that anybody knows.
                cx.history.replace(ReplId::random(cx.rng));
                cx.backlog.close();
                cx.push(Output::CloseLog);
                replica.load(&mut cx);
            }
            Turn::Loaded { history } => {
                let (id, at) = history.unwrap_or_else(|| (ReplId::random(cx.rng), Offset(0)));
                cx.history.replace(id);
                cx.backlog.open(at);
                cx.push(Output::Adopt(cx.history.clone()));
                cx.push(Output::OpenLog { at });
                replica.stream(&mut cx);
            }
            Turn::Declined => self.abort_handover(now, "Failover target rejected psync request"),
        }
    }

    /// A snapshot is promised. One from the target of a handover must be as far as we are: else it was
    /// restarted since it had caught up, and has lost what we still hold.
    fn on_full_sync(&mut self, now: Mono, at: Offset) {
        match self.handover {
            Handover::HandingOver { forced: false, .. } if at < self.backlog.end() => {
                self.abort_handover(now, "Failover target no longer holds our history");
            }
            _ => self.finish_handover(),
        }
    }

    // ---- time -------------------------------------------------------------------------------------------

    fn on_timeout(&mut self, now: Mono) {
        // The end of a handover lets timers run that it held, so it comes first.
        if self.handover.deadline().is_some_and(|deadline| deadline <= now) {
            self.on_handover_overdue(now);
        }
        let (mut cx, primary, replica) = self.rooms(now);
        replica.on_timeout(&mut cx);
        primary.on_timeout(&mut cx);
        self.abort_if_target_left(now);
        self.release_backlog(now);
    }

    fn on_handover_overdue(&mut self, now: Mono) {
        match &self.handover {
            Handover::CatchingUp { plan: Plan { target: Some(to), force: true, .. }, .. } => {
                let to = to.clone();
                self.announce(FailoverEvent::Forced { to: to.clone() });
                self.hand_over(now, to, true);
            }
            _ => self.abort_handover(now, "Replica never caught up before timeout"),
        }
    }

    fn release_backlog(&mut self, now: Mono) {
        let ttl = self.config.backlog_ttl;
        if self.backlog_release_at().is_none_or(|at| at > now) {
            return;
        }
        let id = ReplId::random(&mut self.rng);
        self.history.replace(id);
        self.backlog.close();
        self.announce(PeerEvent::BacklogReleased { ttl, id });
        self.out.push_back(Output::Adopt(self.history.clone()));
        self.out.push_back(Output::CloseLog);
    }

    /// A replica keeps its backlog: it may be promoted, and its siblings will ask it to continue.
    fn backlog_release_at(&self) -> Option<Mono> {
        match self.standing() {
            Standing::Primary if self.config.append_only => None,
            Standing::Primary => self.backlog.release_at(self.config.backlog_ttl),
            Standing::Linked | Standing::Unlinked => None,
        }
    }

    fn on_configured(&mut self, now: Mono, config: Config) {
        self.config = config;
        let (mut cx, primary, _) = self.rooms(now);
        primary.tell_good_replicas(&mut cx);
        self.count_writes(now);
    }

    fn on_fed(&mut self, now: Mono, held: Range<Offset>) {
        self.backlog.fed(held);
        self.hand_over_if_caught_up(now);
    }

    fn on_fsynced(&mut self, now: Mono, upto: Offset) {
        self.fsynced = upto;
        let (mut cx, primary, _) = self.rooms(now);
        primary.settle_waits(&mut cx);
    }

    /// What must hold between two inputs.
    fn check(&self) {
        self.primary.check();
        self.replica.check(self.backlog.is_open());
        let handing_over = matches!(self.handover, Handover::HandingOver { .. });
        let waiting = self.handover.is_under_way() && !handing_over;
        let primary = self.standing() == Standing::Primary;
        assert!(!waiting || primary, "only a primary waits for a replica to catch up");
        assert!(!handing_over || !primary, "who hands over follows");
        assert!(self.backlog.is_open() || self.primary.is_alone(), "a replica is served from no backlog");
        if let (Some((_, limit)), true) = (self.history.previous(), self.backlog.is_open()) {
            assert!(limit <= self.backlog.end(), "the previous history goes beyond what we hold");
        }
    }
}

impl Machine for Replication {
    type Input = Input;
    type Output = Output;
    type Timer = Timer;

    fn handle(&mut self, now: Now, input: Input) {
        let now = now.mono;
        match input {
            Input::Timeout => self.on_timeout(now),
            Input::Configure(config) => self.on_configured(now, *config),
            Input::Fed { held } => self.on_fed(now, held),
            Input::Fsynced { upto } => self.on_fsynced(now, upto),
            Input::WritesPaused => self.on_writes_paused(now),
            Input::Ordered { by, order } => self.on_ordered(now, by, order),
            Input::Primary(input) => self.on_primary(now, input),
            Input::Replica(input) => self.on_replica(now, input),
        }
        self.check();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Mono, Timer)> {
        let mut earliest = Earliest::default();
        self.primary.wakes(&mut earliest, &self.config, self.standing(), self.handover.is_under_way());
        self.replica.wakes(&mut earliest, &self.config);
        if let Some(at) = self.backlog_release_at() {
            earliest.at(at, Timer::BacklogTtl);
        }
        if let Some(at) = self.handover.deadline() {
            earliest.at(at, Timer::Handover);
        }
        earliest.0
    }
}

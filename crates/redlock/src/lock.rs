//! One lock's whole life as a machine: asking, waiting for another try, holding, extending, releasing.
//!
//! It decides everything that is decided: who is asked when, what a majority is, until when the lock is valid, when it is
//! lost, when to try again. It does not know the resources' names, connections or clocks.
//!
//! The fencing token is the greatest counter among the nodes that granted the lock. It counts once a majority's counters
//! stand at it or have been raised to it *while the lock was held there*. Any two such majorities share a node, on which
//! one holder came first; its counter had been raised before the other's acquisition raised it again. So a later holder's
//! token is greater.

mod held;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_stdx::{Machine, Mono, Now, Rng};

use crate::command::{Command, Place};
use crate::round::Round;
use crate::{Answer, NodeId, RequestId, Terms, Token, Vote, Votes, quorum};
use held::Held;

/// How long contenders that took votes from each other scatter over at first; it doubles each time.
const SCATTER: Duration = Duration::from_micros(300);
/// Requests of abandoned attempts whose late answers are still waited for.
const MOST_OPEN: usize = 256;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Start asking.
    Begin,
    /// Time has passed.
    Timeout,
    /// A node answered, or could not be asked.
    Replied {
        /// Who.
        node: NodeId,
        /// Which request.
        request: RequestId,
        /// What came of it.
        answer: Answer,
    },
    /// A node tells us of releases from now on.
    Listening(NodeId),
    /// A node says that the lock was given up there.
    Freed {
        /// Who.
        node: NodeId,
        /// Whose turn it is, if the node keeps an order.
        next: Option<Token>,
    },
    /// The holder wants the lock to last this long from now on.
    Extend {
        /// For how long.
        ttl: Duration,
    },
    /// The holder is done, or nobody waits for the lock any more.
    Release,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask a node. What it answers is wanted, also later.
    Send {
        /// Whom.
        node: NodeId,
        /// The number that the answer carries.
        request: RequestId,
        /// What.
        command: Command,
    },
    /// Listen for releases on all nodes, as far as they tell.
    Listen,
    /// The lock is ours.
    Granted(Grant),
    /// The lock is not ours, and no other attempt will be made.
    Refused(Refusal),
    /// It lasts longer.
    Extended {
        /// Until when.
        valid_until: Mono,
    },
    /// It could not be extended; what was granted stays valid for as long as it was.
    NotExtended(Votes),
    /// It is not ours any more, or can't be relied upon to be.
    Lost(LossReason),
    /// It was given up.
    Released(Released),
}

/// A lock that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What is stored under the resource.
    pub token: Token,
    /// Greater than that of each earlier holder, if it was asked for.
    pub fence: Option<u64>,
    /// Until when nobody else can hold it, by our monotonic clock.
    pub valid_until: Mono,
    /// How many attempts it took.
    pub attempts: u32,
}

/// A lock that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The last attempt's votes.
    pub votes: Votes,
    /// Why they were not enough.
    pub reason: RefusalReason,
    /// How many attempts were made.
    pub attempts: u32,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// No majority said yes.
    NoMajority,
    /// A majority said yes when the lock's time was over already.
    TooLate,
    /// The lock was ours, but not long enough for its fencing token to reach a majority.
    Unfenced,
}

/// Why a lock is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossReason {
    /// Its time is over.
    Expired,
    /// Its time is over, and automatic extension had reached its cap.
    Capped,
    /// So many nodes say that it is not ours that no majority can be.
    Taken,
}

/// What a release came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// Yes: it was removed there. No: it was not there any more.
    pub votes: Votes,
    /// A majority had it until now. If not, it had expired, or cannot be known; what is left ends with its TTL.
    pub was_held: bool,
}

/// Why the machine wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Nodes have not answered.
    Deadline,
    /// The next attempt is due.
    Retry,
    /// The lock's time is over.
    Validity,
    /// The next automatic extension is due.
    Extension,
}

/// The machine.
#[derive(Debug)]
pub struct Lock {
    terms: Terms,
    rng: Rng,
    phase: Phase,
    attempts: u32,
    give_up_at: Mono,
    /// Attempts in a row that took some nodes and not enough.
    splits: u32,
    is_listening: bool,
    listening: Vec<bool>,
    next_request: u64,
    /// Acquisitions that have not been answered, to undo one that is granted too late.
    open: BTreeMap<RequestId, (NodeId, Token)>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum Phase {
    Fresh,
    Asking(Asking),
    Raising(Raising),
    Waiting(Waiting),
    Held(Held),
    Releasing(Round),
    Over,
}

/// An attempt.
#[derive(Debug)]
struct Asking {
    token: Token,
    round: Round,
    valid_until: Mono,
    fences: Vec<Option<u64>>,
    /// Nodes that have told of a release since the attempt began.
    freed: Vec<bool>,
}

/// A majority has granted the lock, and its counters are raised to the fencing token.
#[derive(Debug)]
struct Raising {
    asking: Asking,
    fence: u64,
    /// Yes: the counter stands at the token. Pending: the node has yet to grant the lock, or to raise its counter.
    raised: Round,
}

/// Between two attempts.
#[derive(Debug)]
struct Waiting {
    retry_at: Mono,
    token: Token,
    /// Who said that somebody else has it and has not told of its release, or gave no vote.
    closed: Vec<bool>,
    /// Who has told of a release since that attempt began.
    freed: Vec<bool>,
}

impl Lock {
    /// A lock that asks when it is told to begin.
    ///
    /// # Panics
    /// If the terms don't pass their check: that is the caller's to tell.
    pub fn new(terms: Terms) -> Lock {
        assert_eq!(terms.check(), Ok(()), "terms are checked before");
        let nodes = terms.nodes;
        Lock {
            rng: Rng::new(terms.seed),
            phase: Phase::Fresh,
            attempts: 0,
            give_up_at: Mono(0),
            splits: 0,
            is_listening: false,
            listening: vec![false; nodes],
            next_request: 0,
            open: BTreeMap::new(),
            outputs: VecDeque::new(),
            terms,
        }
    }

    /// What it was asked for.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Until when the lock is valid, if it is held.
    pub fn valid_until(&self) -> Option<Mono> {
        match &self.phase {
            Phase::Held(held) => Some(held.valid_until),
            _ => None,
        }
    }

    /// Nothing will happen any more, but late answers that have to be undone.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn send(&mut self, node: NodeId, command: Command) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        if let Command::Acquire { token, .. } = &command {
            self.open.insert(request, (node, token.clone()));
            if self.open.len() > MOST_OPEN {
                self.open.pop_first();
            }
        }
        self.outputs.push_back(Output::Send { node, request, command });
        request
    }

    fn ask_all(&mut self, now: Mono, command: &Command) -> Round {
        let mut round = Round::new(self.terms.nodes, now, now + self.terms.node_timeout);
        for node in (0..self.terms.nodes).map(NodeId) {
            let request = self.send(node, command.clone());
            round.asked(node, request);
        }
        round
    }

    fn place(&self) -> Option<Place> {
        let pause = self.terms.retry.delay + self.terms.retry.jitter + self.terms.node_timeout;
        let waiter = || Token::of(self.terms.identity, 0);
        self.terms.is_fair.then(|| Place { waiter: waiter(), since: self.terms.arrival, patience: pause * 3 })
    }

    fn attempt(&mut self, now: Mono) -> Phase {
        self.attempts += 1;
        let token = Token::of(self.terms.identity, self.attempts);
        let (ttl, is_fenced) = (self.terms.ttl, self.terms.is_fenced);
        let command = Command::Acquire { token: token.clone(), ttl, is_fenced, place: self.place() };
        let round = self.ask_all(now, &command);
        let nodes = self.terms.nodes;
        let valid_until = now + (ttl - self.terms.drift.of(ttl));
        Phase::Asking(Asking { token, round, valid_until, fences: vec![None; nodes], freed: vec![false; nodes] })
    }

    /// What an attempt has come to, if it is decided.
    fn judge(&mut self, now: Mono, mut asking: Asking) -> Phase {
        asking.round.expire(now);
        #[cfg(test)]
        if self.terms.planted == Some(crate::sim::Planted::MajorityOfAnswering) {
            asking.round.shrink_quorum();
        }
        if asking.round.is_won() {
            if self.is_too_late(now, asking.valid_until) {
                return self.refuse(now, asking, RefusalReason::TooLate);
            }
            return if self.terms.is_fenced { self.raise(now, asking) } else { self.grant(now, asking, None) };
        }
        if asking.round.is_lost() {
            return self.refuse(now, asking, RefusalReason::NoMajority);
        }
        Phase::Asking(asking)
    }

    fn is_too_late(&self, now: Mono, valid_until: Mono) -> bool {
        #[cfg(test)]
        if self.terms.planted == Some(crate::sim::Planted::NoValidityCheck) {
            return false;
        }
        now >= valid_until
    }

    /// Finds the token, and has it written to those of the majority whose counters are behind it.
    fn raise(&mut self, now: Mono, asking: Asking) -> Phase {
        let fence = asking.fences.iter().flatten().copied().max().unwrap_or_default();
        let raised = Round::new(self.terms.nodes, now, now + self.terms.node_timeout);
        let mut raising = Raising { asking, fence, raised };
        for node in (0..self.terms.nodes).map(NodeId) {
            match raising.asking.round.vote(node) {
                Vote::Yes => self.confirm(node, &mut raising),
                Vote::Pending => {}
                vote => raising.raised.set(node, vote.clone()),
            }
        }
        self.judge_raise(now, raising)
    }

    /// A node has granted the lock: its counter stands at the token, is behind it, or has gone beyond and can't be used.
    fn confirm(&mut self, node: NodeId, raising: &mut Raising) {
        match raising.asking.fences[node.0] {
            Some(counter) if counter == raising.fence || self.is_forgetful() => raising.raised.set(node, Vote::Yes),
            Some(counter) if counter < raising.fence => {
                let command = Command::Raise { token: raising.asking.token.clone(), fence: raising.fence };
                let request = self.send(node, command);
                raising.raised.asked(node, request);
            }
            _ => raising.raised.set(node, Vote::No),
        }
    }

    /// Whether the planted bug keeps us from raising counters.
    fn is_forgetful(&self) -> bool {
        #[cfg(test)]
        if self.terms.planted == Some(crate::sim::Planted::ForgetsToRaise) {
            return true;
        }
        false
    }

    fn judge_raise(&mut self, now: Mono, mut raising: Raising) -> Phase {
        raising.raised.expire(now);
        if raising.raised.is_won() && !self.is_too_late(now, raising.asking.valid_until) {
            return self.grant(now, raising.asking, Some(raising.fence));
        }
        if raising.raised.is_lost() || now >= raising.asking.valid_until {
            return self.refuse(now, raising.asking, RefusalReason::Unfenced);
        }
        Phase::Raising(raising)
    }

    fn grant(&mut self, now: Mono, asking: Asking, fence: Option<u64>) -> Phase {
        let grant =
            Grant { token: asking.token.clone(), fence, valid_until: asking.valid_until, attempts: self.attempts };
        self.outputs.push_back(Output::Granted(grant));
        Phase::Held(Held::new(&self.terms, now, asking.token, asking.round.sent_at, asking.valid_until))
    }

    /// Gives back what the attempt got, and tries again later or gives up.
    fn refuse(&mut self, now: Mono, asking: Asking, reason: RefusalReason) -> Phase {
        let Asking { token, round, freed, .. } = asking;
        let nodes = self.terms.nodes;
        let is_closed = |n: usize| match round.vote(NodeId(n)) {
            Vote::No => !freed[n],
            Vote::Failed(_) => true,
            Vote::Yes | Vote::Pending => false,
        };
        let closed: Vec<bool> = (0..nodes).map(is_closed).collect();
        let was_told = freed.contains(&true);
        self.splits = if round.yes() > 0 { (self.splits + 1).min(16) } else { self.splits };
        let is_last = now >= self.give_up_at;
        // The last attempt is made when patience ends, not up to a pause before.
        let retry_at = self.next_attempt(now, &round, &closed, was_told).min(self.give_up_at);
        for node in (0..nodes).map(NodeId) {
            if *round.vote(node) != Vote::No || is_last && self.terms.is_fair {
                let leave = if is_last { self.place() } else { None };
                self.send(node, Command::Release { token: token.clone(), is_told: false, leave });
            }
        }
        if is_last {
            self.outputs.push_back(Output::Refused(Refusal { votes: round.votes(), reason, attempts: self.attempts }));
            return Phase::Over;
        }
        if !self.is_listening {
            self.is_listening = true;
            self.outputs.push_back(Output::Listen);
        }
        Phase::Waiting(Waiting { retry_at, token, closed, freed })
    }

    /// When to try again, if nobody says earlier that the lock was given up.
    fn next_attempt(&mut self, now: Mono, round: &Round, closed: &[bool], was_told: bool) -> Mono {
        let open = closed.iter().filter(|is_closed| !**is_closed).count();
        let is_possible = open >= quorum(self.terms.nodes) && round.no() > 0;
        // In order nobody takes votes from another, so that only a release is a reason.
        if is_possible && (was_told || !self.terms.is_fair) {
            return now + if self.terms.is_fair { Duration::ZERO } else { self.scatter() };
        }
        let jitter = self.rng.below(self.terms.retry.jitter.as_micros() as u64 + 1);
        now + self.terms.retry.delay + Duration::from_micros(jitter)
    }

    /// A short time by chance: contenders that split the votes must not meet again at once.
    fn scatter(&mut self) -> Duration {
        if self.splits == 0 {
            return Duration::ZERO;
        }
        let most = (SCATTER * (1 << self.splits.min(16))).min(self.terms.retry.delay.max(SCATTER));
        Duration::from_micros(self.rng.below(most.as_micros() as u64))
    }

    fn on_replied(&mut self, now: Mono, node: NodeId, request: RequestId, answer: &Answer) {
        let opened = self.open.remove(&request);
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        self.phase = match phase {
            Phase::Asking(mut asking) => {
                asking.count(node, request, answer);
                self.judge(now, asking)
            }
            Phase::Raising(mut raising) => {
                if raising.asking.count(node, request, answer) {
                    match raising.asking.round.vote(node) {
                        Vote::Yes => self.confirm(node, &mut raising),
                        vote => raising.raised.set(node, vote.clone()),
                    }
                } else {
                    raising.raised.count(node, request, answer);
                }
                self.judge_raise(now, raising)
            }
            Phase::Held(held) => self.on_extension_reply(now, held, node, request, answer),
            Phase::Releasing(mut round) => {
                round.count(node, request, answer);
                self.judge_release(now, round)
            }
            Phase::Waiting(mut waiting) => {
                // A vote that came after the attempt was decided says who has to be waited for.
                let is_last = opened.as_ref().is_some_and(|(_, token)| *token == waiting.token);
                waiting.closed[node.0] |= is_last && *answer == Answer::NotOurs && !waiting.freed[node.0];
                Phase::Waiting(waiting)
            }
            phase => phase,
        };
        if let (Some((node, token)), Answer::Done { .. }) = (opened, answer)
            && self.current() != Some(&token)
        {
            self.send(node, Command::Release { token, is_told: false, leave: None });
        }
    }

    /// The token of the lock that is held or asked for.
    fn current(&self) -> Option<&Token> {
        match &self.phase {
            Phase::Asking(asking) => Some(&asking.token),
            Phase::Raising(raising) => Some(&raising.asking.token),
            Phase::Held(held) => Some(&held.token),
            Phase::Fresh | Phase::Waiting(_) | Phase::Releasing(_) | Phase::Over => None,
        }
    }

    fn on_freed(&mut self, now: Mono, node: NodeId, next: Option<&Token>) {
        if next.is_some_and(|next| *next != Token::of(self.terms.identity, 0)) {
            return;
        }
        match &mut self.phase {
            // Its vote may be on its way still.
            Phase::Asking(asking) => asking.freed[node.0] = true,
            Phase::Waiting(waiting) => {
                waiting.freed[node.0] = true;
                let was_closed = std::mem::replace(&mut waiting.closed[node.0], false);
                let open = waiting.closed.iter().filter(|is_closed| !**is_closed).count();
                if was_closed && open >= quorum(self.terms.nodes) {
                    // The one that makes a majority possible counts, and not those that follow.
                    self.splits = self.splits.saturating_sub(u32::from(open == quorum(self.terms.nodes)));
                    self.hurry(now);
                }
            }
            _ => {}
        }
    }

    /// Brings the next attempt forward: it may succeed now.
    fn hurry(&mut self, now: Mono) {
        let soon = now + if self.terms.is_fair { Duration::ZERO } else { self.scatter() };
        if let Phase::Waiting(waiting) = &mut self.phase {
            waiting.retry_at = waiting.retry_at.min(soon);
        }
    }

    /// What was released before we listened is not told any more: once a majority tells, look again.
    fn on_listening(&mut self, now: Mono, node: NodeId) {
        self.listening[node.0] = true;
        let listening = self.listening.iter().filter(|is_listening| **is_listening).count();
        if listening == quorum(self.terms.nodes)
            && let Phase::Waiting(waiting) = &mut self.phase
        {
            waiting.retry_at = waiting.retry_at.min(now);
        }
    }

    fn on_release(&mut self, now: Mono) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let abandoned = match phase {
            Phase::Held(held) => {
                let command = Command::Release { token: held.token, is_told: true, leave: self.place() };
                let round = self.ask_all(now, &command);
                self.phase = Phase::Releasing(round);
                return;
            }
            Phase::Releasing(round) => {
                self.phase = Phase::Releasing(round);
                return;
            }
            Phase::Asking(asking) => Some(asking.token),
            Phase::Raising(raising) => Some(raising.asking.token),
            Phase::Waiting(_) => self.terms.is_fair.then(|| Token::of(self.terms.identity, self.attempts)),
            Phase::Fresh | Phase::Over => None,
        };
        if let Some(token) = abandoned {
            self.ask_all(now, &Command::Release { token, is_told: true, leave: self.place() });
        }
    }

    fn judge_release(&mut self, now: Mono, mut round: Round) -> Phase {
        round.expire(now);
        if round.is_won() || round.pending() == 0 {
            let released = Released { votes: round.votes(), was_held: round.is_won() };
            self.outputs.push_back(Output::Released(released));
            return Phase::Over;
        }
        Phase::Releasing(round)
    }

    fn on_timeout(&mut self, now: Mono) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        self.phase = match phase {
            Phase::Asking(asking) => self.judge(now, asking),
            Phase::Raising(raising) => self.judge_raise(now, raising),
            Phase::Waiting(waiting) if now >= waiting.retry_at => self.attempt(now),
            Phase::Held(held) => self.on_time_held(now, held),
            Phase::Releasing(round) => self.judge_release(now, round),
            phase => phase,
        };
    }
}

impl Asking {
    /// Counts an answer, if it is to this attempt.
    fn count(&mut self, node: NodeId, request: RequestId, answer: &Answer) -> bool {
        let is_ours = self.round.count(node, request, answer);
        if let (true, Answer::Done { fence }) = (is_ours, answer) {
            self.fences[node.0] = *fence;
        }
        is_ours
    }
}

impl Machine for Lock {
    type Input = Input;
    type Output = Output;
    type Timer = Timer;

    fn handle(&mut self, now: Now, input: Input) {
        let mono = now.mono;
        match input {
            Input::Begin => {
                if matches!(self.phase, Phase::Fresh) {
                    self.give_up_at = mono + self.terms.wait;
                    self.phase = self.attempt(mono);
                }
            }
            Input::Timeout => self.on_timeout(mono),
            Input::Replied { node, request, answer } => self.on_replied(mono, node, request, &answer),
            Input::Listening(node) => self.on_listening(mono, node),
            Input::Freed { node, next } => self.on_freed(mono, node, next.as_ref()),
            Input::Extend { ttl } => self.on_extend(mono, ttl),
            Input::Release => self.on_release(mono),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Mono, Timer)> {
        match &self.phase {
            Phase::Asking(asking) => Some((asking.round.deadline, Timer::Deadline)),
            Phase::Raising(raising) => Some((raising.raised.deadline.min(raising.asking.valid_until), Timer::Deadline)),
            Phase::Waiting(waiting) => Some((waiting.retry_at, Timer::Retry)),
            Phase::Held(held) => Some(held.timeout()),
            Phase::Releasing(round) => Some((round.deadline, Timer::Deadline)),
            Phase::Fresh | Phase::Over => None,
        }
    }
}

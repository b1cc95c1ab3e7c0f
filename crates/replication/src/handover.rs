//! FAILOVER: a primary hands over to a replica that has everything, and follows it.
//!
//! ```text
//!          FAILOVER                 WritesPaused                 a target has it all
//!   None ───────────► Pausing ──────────────────► Catching up ─────────────────────► Handing over
//!    ▲                   │ ABORT, timeout             │ ABORT, timeout        (time over and FORCE)
//!    ├◄──────────────────┴◄───────────────────────────┘                                   │
//!    │  writes resume; we are a primary as before                                         │
//!    │                                                                                    │
//!    ├◄── accepted: we follow, writes resume (and are refused as on any replica) ◄────────┤
//!    └◄── declined or ABORT: we lead again, under a new id, and writes resume ◄───────────┘
//! ```
//!
//! While writes are paused nothing else may move our offset: no PING, no GETACK for clients that wait. One
//! GETACK is sent if the target lags, so that it needn't wait for the target's next report.
//!
//! A link that breaks while the target is asked to take over leaves it open whether it has. That is found out
//! by an ordinary PSYNC, rather than taken for a refusal: two primaries would be worse than a longer pause.
//! The target isn't asked to take over twice. By then it may be another process, restarted with less
//! than it had acknowledged, and it would obey.

use std::time::Duration;

use quorate_stdx::{Mono, Offset, ReplId};

use crate::wire::PsyncReply;
use crate::{Addr, OrderRefusal};

/// The state of a FAILOVER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Handover {
    None,
    /// The driver stops writes.
    Pausing(Plan),
    /// Writes stand still; the target may lack some of them.
    CatchingUp {
        plan: Plan,
        /// Our offset when replicas were asked where they are; the question itself stands behind it.
        asked_at: Option<Offset>,
    },
    /// We follow the target; it hasn't said yet that it leads.
    HandingOver {
        to: Addr,
        /// It may lack some of what we hold.
        forced: bool,
    },
}

/// What was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The successor, or any replica.
    pub(crate) target: Option<Addr>,
    /// When the time is over, go on all the same.
    pub(crate) force: bool,
    /// When the time is over.
    pub(crate) deadline: Option<Mono>,
}

/// What a FAILOVER finds; `target` is whether the named one is online, `None` if there is none such.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    pub(crate) failing_over: bool,
    pub(crate) primary: bool,
    pub(crate) alone: bool,
    pub(crate) target_online: Option<bool>,
}

/// Whether a FAILOVER may begin. The order of the checks is the order of the errors on the wire.
pub(crate) fn may_hand_over(
    situation: &Situation,
    target: Option<&Addr>,
    force: bool,
    timeout: Option<Duration>,
) -> Result<(), OrderRefusal> {
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(OrderRefusal::ZeroTimeout);
    }
    if situation.failing_over {
        return Err(OrderRefusal::FailoverInProgress);
    }
    if !situation.primary {
        return Err(OrderRefusal::NotAPrimary);
    }
    if situation.alone {
        return Err(OrderRefusal::NoReplicas);
    }
    if force && (timeout.is_none() || target.is_none()) {
        return Err(OrderRefusal::ForceNeedsTargetAndTimeout);
    }
    match (target, situation.target_online) {
        (Some(_), None) => Err(OrderRefusal::UnknownTarget),
        (Some(_), Some(false)) => Err(OrderRefusal::TargetNotOnline),
        _ => Ok(()),
    }
}

/// What the one that we follow is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takeover {
    /// Nothing: it is a primary already.
    No,
    /// To take over, with the next PSYNC.
    Ask,
    /// Whether it has taken over: it was asked to, and the link broke before it answered.
    Unanswered,
}

/// What an answer to PSYNC means for a handover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    TakenOver,
    Declined,
    /// It can't be understood; it may have taken over.
    Unclear,
}

impl Takeover {
    /// Judges an answer to PSYNC; `None` if no handover depends on it. `ours` is the id of our history: a target
    /// that leads has a new one, which the answer to an ordinary PSYNC must show.
    pub(crate) fn judge(self, ours: ReplId, answer: &PsyncReply) -> Option<Verdict> {
        let leads = match (self, answer) {
            (Takeover::No, _) => return None,
            (Takeover::Ask | Takeover::Unanswered, PsyncReply::Malformed) => return Some(Verdict::Unclear),
            (_, PsyncReply::Later | PsyncReply::Unsupported) => false,
            (Takeover::Ask, PsyncReply::FullResync { .. } | PsyncReply::Continue { .. }) => true,
            (Takeover::Unanswered, PsyncReply::FullResync { id, .. }) => *id != ours,
            (Takeover::Unanswered, PsyncReply::Continue { id }) => id.is_some_and(|id| id != ours),
        };
        Some(if leads { Verdict::TakenOver } else { Verdict::Declined })
    }
}

impl Handover {
    /// `master_failover_state`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Handover::None => "no-failover",
            Handover::Pausing(_) | Handover::CatchingUp { .. } => "waiting-for-sync",
            Handover::HandingOver { .. } => "failover-in-progress",
        }
    }

    pub(crate) fn is_under_way(&self) -> bool {
        *self != Handover::None
    }

    /// When the time for it is over. Once the target is asked there is no such time: only ABORT ends it.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        match self {
            Handover::Pausing(plan) | Handover::CatchingUp { plan, .. } => plan.deadline,
            Handover::None | Handover::HandingOver { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_target_with_a_history_of_its_own_is_believed_to_lead_after_its_answer_was_lost() {
        use Verdict::*;
        let id = |digit: u8| ReplId::parse(&[digit; 40]).unwrap();
        let (ours, new) = (id(b'a'), id(b'b'));
        let full = |id| PsyncReply::FullResync { id, at: Offset(7) };
        let go_on = |id| PsyncReply::Continue { id };
        let table = [
            (Takeover::No, full(new), None),
            (Takeover::Ask, full(new), Some(TakenOver)),
            (Takeover::Ask, go_on(None), Some(TakenOver)),
            (Takeover::Ask, go_on(Some(new)), Some(TakenOver)),
            (Takeover::Ask, PsyncReply::Later, Some(Declined)),
            (Takeover::Ask, PsyncReply::Unsupported, Some(Declined)),
            (Takeover::Ask, PsyncReply::Malformed, Some(Unclear)),
            (Takeover::Unanswered, go_on(Some(new)), Some(TakenOver)),
            (Takeover::Unanswered, go_on(Some(ours)), Some(Declined)),
            (Takeover::Unanswered, go_on(None), Some(Declined)),
            (Takeover::Unanswered, full(new), Some(TakenOver)),
            (Takeover::Unanswered, full(ours), Some(Declined)),
            (Takeover::Unanswered, PsyncReply::Later, Some(Declined)),
        ];
        for (takeover, answer, expected) in table {
            assert_eq!(takeover.judge(ours, &answer), expected, "{takeover:?} {answer:?}");
        }
    }

    #[test]
    fn a_failover_begins_only_where_it_can_succeed() {
        use OrderRefusal::*;
        let ready = Situation { failing_over: false, primary: true, alone: false, target_online: Some(true) };
        let target = Addr::new("h", 1);
        let (some, second) = (Some(&target), Some(Duration::from_secs(1)));
        let table = [
            (ready, None, false, None, Ok(())),
            (ready, some, false, None, Ok(())),
            (ready, some, true, second, Ok(())),
            (ready, None, false, Some(Duration::ZERO), Err(ZeroTimeout)),
            (ready, None, true, second, Err(ForceNeedsTargetAndTimeout)),
            (ready, some, true, None, Err(ForceNeedsTargetAndTimeout)),
            (Situation { failing_over: true, primary: false, ..ready }, None, false, None, Err(FailoverInProgress)),
            (Situation { primary: false, alone: true, ..ready }, None, false, None, Err(NotAPrimary)),
            (Situation { alone: true, ..ready }, None, true, None, Err(NoReplicas)),
            (Situation { target_online: None, ..ready }, some, false, None, Err(UnknownTarget)),
            (Situation { target_online: Some(false), ..ready }, some, false, None, Err(TargetNotOnline)),
        ];
        for (situation, target, force, timeout, expected) in table {
            assert_eq!(may_hand_over(&situation, target, force, timeout), expected, "{situation:?} {target:?}");
        }
    }
}

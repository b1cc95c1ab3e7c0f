//! Which replica is promoted: of those that can be, the one with the lowest priority number, then with the most of the
//! stream, then with the smallest run id.

use std::cmp::{Ordering, Reverse};
use std::time::Duration;

use quorate_stdx::ReplId;

use crate::address::Addr;

/// What is known of a replica when the choice is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) addr: Addr,
    pub(crate) is_down: bool,
    /// Commands can be sent to it.
    pub(crate) is_connected: bool,
    /// For how long it has given no good answer to PING.
    pub(crate) unheard: Duration,
    /// How old its INFO is; `None` if there never was any.
    pub(crate) info_age: Option<Duration>,
    /// For how long it has been without its primary.
    pub(crate) cut_off: Duration,
    pub(crate) priority: u32,
    pub(crate) offset: u64,
    pub(crate) run_id: Option<ReplId>,
}

/// The ages up to which a replica can be chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) unheard: Duration,
    pub(crate) info_age: Duration,
    pub(crate) cut_off: Duration,
}

/// Why a replica can't be chosen, if it can't.
pub(crate) fn disqualified(candidate: &Candidate, limits: &Limits) -> Option<&'static str> {
    if candidate.is_down {
        Some("it is down")
    } else if !candidate.is_connected {
        Some("there is no link to it")
    } else if candidate.unheard > limits.unheard {
        Some("it has not answered PING for too long")
    } else if candidate.priority == 0 {
        Some("its priority is 0")
    } else if candidate.info_age.is_none_or(|age| age > limits.info_age) {
        Some("its INFO is too old")
    } else if candidate.cut_off > limits.cut_off {
        Some("it had lost its primary long before")
    } else {
        None
    }
}

/// The best that is not disqualified.
pub(crate) fn best<'a>(candidates: &'a [Candidate], limits: &Limits) -> Option<&'a Candidate> {
    candidates.iter().filter(|candidate| disqualified(candidate, limits).is_none()).min_by(|a, b| compare(a, b))
}

/// The better one is the lesser.
fn compare(left: &Candidate, right: &Candidate) -> Ordering {
    // Who has no run id is an old server, and comes last.
    let key = |candidate: &Candidate| {
        (
            candidate.priority,
            Reverse(candidate.offset),
            candidate.run_id.is_none(),
            candidate.run_id,
            candidate.addr.clone(),
        )
    };
    key(left).cmp(&key(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { unheard: Duration::from_secs(5), info_age: Duration::from_secs(5), cut_off: Duration::from_secs(300) };

    fn candidate(port: u16, priority: u32, offset: u64) -> Candidate {
        Candidate {
            addr: Addr::new("h", port),
            is_down: false,
            is_connected: true,
            unheard: Duration::ZERO,
            info_age: Some(Duration::ZERO),
            cut_off: Duration::ZERO,
            priority,
            offset,
            run_id: ReplId::parse(format!("{port:040}").as_bytes()),
        }
    }

    fn chosen(candidates: &[Candidate]) -> Option<u16> {
        best(candidates, &LIMITS).map(|candidate| candidate.addr.port)
    }

    #[test]
    fn priority_comes_before_offset_and_offset_before_id() {
        assert_eq!(chosen(&[candidate(1, 100, 9), candidate(2, 10, 5)]), Some(2));
        assert_eq!(chosen(&[candidate(1, 10, 5), candidate(2, 10, 9)]), Some(2));
        assert_eq!(chosen(&[candidate(2, 10, 5), candidate(1, 10, 5)]), Some(1));
        let old = Candidate { run_id: None, ..candidate(1, 10, 5) };
        assert_eq!(chosen(&[old, candidate(2, 10, 5)]), Some(2));
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn who_is_away_stale_or_unwilling_is_not_chosen() {
        let good = candidate(1, 10, 5);
        let seconds = Duration::from_secs;
        for bad in [
            Candidate { is_down: true, ..good.clone() },
            Candidate { is_connected: false, ..good.clone() },
            Candidate { unheard: seconds(6), ..good.clone() },
            Candidate { priority: 0, ..good.clone() },
            Candidate { info_age: None, ..good.clone() },
            Candidate { info_age: Some(seconds(6)), ..good.clone() },
            Candidate { cut_off: seconds(301), ..good.clone() },
        ] {
            assert!(disqualified(&bad, &LIMITS).is_some(), "{bad:?}");
            assert_eq!(chosen(&[bad, candidate(2, 200, 0)]), Some(2));
        }
    }
}

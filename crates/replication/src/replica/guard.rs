//! Whether what a primary offers may take the place of what we hold.
//!
//! The danger: a primary without persistence dies and is restarted, by a supervisor, faster than anybody
//! can notice. It is empty. Its replicas reconnect, hold a history that it has never heard of, are told to
//! start over, and load the emptiness. All copies are gone.
//!
//! Why the rule is what it is, and what it can't see, is in docs/decisions/0003-empty-primary.md. In short, a
//! full resync is refused if we hold keys, nobody asked for this primary by name, the history it
//! offers is unknown to us, and
//!
//! 1. it offers no key at all, or
//! 2. it was started after we last heard it, and with nothing, or
//! 3. it can't or won't tell, is behind us, and offers fewer than half of the keys that we hold,
//!
//! unless it tells that it has run since before we lost it: then it lacks what its clients removed.
//!
//! The decision falls between the first bytes of the snapshot and the first change to our dataset.

use std::time::Duration;

use quorate_stdx::ReplId;

use crate::wire::{Origin, Started};

/// INFO's clocks are cut to seconds, so that a process may look a second older than it is.
const UPTIME_SLACK: Duration = Duration::from_secs(1);

/// All that the decision looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replacement {
    /// `replica-refuse-empty-primary`.
    pub guarded: bool,
    /// An operator named this primary, and nothing has been loaded from it since.
    pub consent: bool,
    /// How many keys we hold.
    pub ours: u64,
    /// How many keys the snapshot holds: counted, or as it announces; `None` if it has some but doesn't say how many.
    pub theirs: Option<u64>,
    /// The offered history is ours, or the one ours continues.
    pub related: bool,
    /// The offered offset is below ours.
    pub behind: bool,
    /// How the primary came by its data, if it was asked and told.
    pub origin: Origin,
    /// How long ago we last heard the primary at this address while following it; `None` if we never did.
    pub unheard: Option<Duration>,
    /// The process at this address whose stream we last had, if it told its `run_id`.
    pub followed: Option<ReplId>,
}

/// Why an offer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedOffer {
    /// The snapshot holds no key, and its history is unknown.
    Empty,
    /// The primary was restarted with nothing; whatever it holds came since.
    StartedEmpty,
    /// Its history is unknown and behind ours, and most of our keys aren't in it.
    Shrunk {
        /// How many keys it holds.
        theirs: u64,
    },
}

impl std::fmt::Display for RefusedOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RefusedOffer::Empty => f.write_str("the master is empty and its history unknown"),
            RefusedOffer::StartedEmpty => f.write_str("the master was restarted without its data"),
            RefusedOffer::Shrunk { theirs } => {
                write!(f, "the master's history is unknown, behind ours, and holds only {theirs} keys")
            }
        }
    }
}

/// Whether our dataset may be replaced by what is offered.
pub fn may_replace(case: &Replacement) -> Result<(), RefusedOffer> {
    if !case.guarded || case.ours == 0 || case.consent || case.related {
        return Ok(());
    }
    let is_the_same = case.origin.run.is_some() && case.origin.run == case.followed;
    let restarted = if is_the_same { Some(false) } else { was_restarted(case.origin.uptime, case.unheard) };
    if restarted == Some(false) {
        return Ok(());
    }
    if case.theirs == Some(0) {
        return Err(RefusedOffer::Empty);
    }
    match (case.origin.started, case.theirs) {
        (Started::WithData, _) => Ok(()),
        (Started::Empty, _) if restarted == Some(true) => Err(RefusedOffer::StartedEmpty),
        (_, Some(theirs)) if case.behind && theirs < case.ours.div_ceil(2) => Err(RefusedOffer::Shrunk { theirs }),
        _ => Ok(()),
    }
}

/// Whether the process at the other end was started after we last heard it, by the clocks; `None` if that can't be known.
/// A process that is hardly older than the time for which we have not heard it is taken for a new one.
fn was_restarted(uptime: Option<Duration>, unheard: Option<Duration>) -> Option<bool> {
    Some(uptime? < unheard? + UPTIME_SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// We hold 100 keys, nobody asked for this primary, its history is unknown and starts at 0.
    const CASE: Replacement = Replacement {
        guarded: true,
        consent: false,
        ours: 100,
        theirs: Some(0),
        related: false,
        behind: true,
        origin: Origin { uptime: None, started: Started::Unknown, run: None },
        unheard: None,
        followed: None,
    };

    fn origin(uptime: u64, started: Started) -> Origin {
        Origin { uptime: Some(Duration::from_secs(uptime)), started, run: None }
    }

    fn check(story: &str, case: Replacement, expected: Result<(), RefusedOffer>) {
        assert_eq!(may_replace(&case), expected, "{story}: {case:?}");
    }

    #[test]
    fn an_unknown_empty_history_replaces_nothing() {
        check("restarted empty, nobody wrote", CASE, Err(RefusedOffer::Empty));
        check("even if its offset is not below ours", Replacement { behind: false, ..CASE }, Err(RefusedOffer::Empty));
        let told = origin(0, Started::Empty);
        let case = Replacement { origin: told, unheard: Some(SECOND), ..CASE };
        check("it even says so", case, Err(RefusedOffer::Empty));
    }

    #[test]
    fn what_must_pass_passes() {
        check("the guard is off", Replacement { guarded: false, ..CASE }, Ok(()));
        check("an operator wants it", Replacement { consent: true, ..CASE }, Ok(()));
        check("we hold nothing", Replacement { ours: 0, ..CASE }, Ok(()));
        check("the same history, flushed while we were away", Replacement { related: true, ..CASE }, Ok(()));
        let case = Replacement { origin: origin(500, Started::Empty), unheard: Some(SECOND * 30), ..CASE };
        check("it ran all the time and was flushed; its backlog expired", case, Ok(()));
        let case =
            Replacement { theirs: Some(99), origin: origin(1, Started::WithData), unheard: Some(SECOND), ..CASE };
        check("restarted from its snapshot", case, Ok(()));
        let case = Replacement { theirs: Some(98), origin: origin(1, Started::Unknown), unheard: Some(SECOND), ..CASE };
        check("restarted from its append-only file", case, Ok(()));
        let case = Replacement { theirs: Some(1), behind: false, ..CASE };
        check("a stranger further on, we were pointed at by the cluster", case, Ok(()));
        check("some keys, no count, no news", Replacement { theirs: None, ..CASE }, Ok(()));
    }

    #[test]
    fn a_primary_that_restarted_empty_is_known_even_if_clients_wrote_to_it_first() {
        let case = Replacement { theirs: Some(150), unheard: Some(SECOND / 3), ..CASE };
        let started = |uptime, started| Replacement { origin: origin(uptime, started), ..case };
        check("a blink ago", started(0, Started::Empty), Err(RefusedOffer::StartedEmpty));
        check("its clock has ticked since", started(1, Started::Empty), Err(RefusedOffer::StartedEmpty));
        check("it has run for longer than that", started(2, Started::Empty), Ok(()));
        check("it loaded something", started(0, Started::WithData), Ok(()));
    }

    #[test]
    fn a_process_that_tells_its_name_is_known_whatever_the_clocks_say() {
        let [old, new] = [b'1', b'2'].map(|digit| ReplId::parse(&[digit; 40]));
        let case = |run, uptime| {
            let origin = Origin { run, ..origin(uptime, Started::Empty) };
            Replacement { theirs: Some(150), origin, unheard: Some(SECOND * 3), followed: old, ..CASE }
        };
        check("it is young, and the one that we followed", case(old, 3), Ok(()));
        check("it is another one", case(new, 3), Err(RefusedOffer::StartedEmpty));
        check("another one that has run for long at this address", case(new, 300), Ok(()));
        check("it doesn't tell", case(None, 3), Err(RefusedOffer::StartedEmpty));
        check("the same one, flushed", Replacement { theirs: Some(0), ..case(old, 0) }, Ok(()));
    }

    #[test]
    fn without_news_most_of_the_keys_must_be_there() {
        let shrunk = |theirs| Err(RefusedOffer::Shrunk { theirs });
        let offers = |theirs| Replacement { theirs: Some(theirs), ..CASE };
        check("nearly nothing", offers(1), shrunk(1));
        check("just below half", offers(49), shrunk(49));
        check("half", offers(50), Ok(()));
        check("one of one", Replacement { ours: 1, ..offers(1) }, Ok(()));
        check("the only one of three", Replacement { ours: 3, ..offers(1) }, shrunk(1));
        let case = Replacement { origin: origin(3, Started::Empty), ..offers(49) };
        check("we restarted too, and can't tell who was first", case, shrunk(49));
    }

    #[test]
    fn uptime_is_compared_with_room_for_clocks_cut_to_seconds() {
        let check = |uptime: u64, unheard_ms: u64, expected| {
            let unheard = Some(Duration::from_millis(unheard_ms));
            assert_eq!(
                was_restarted(Some(Duration::from_secs(uptime)), unheard),
                Some(expected),
                "{uptime} {unheard_ms}"
            );
        };
        check(0, 0, true);
        check(1, 1, true);
        check(1, 0, false);
        check(30, 29_000, false);
        check(29, 29_000, true);
        assert_eq!(was_restarted(None, Some(SECOND)), None);
        assert_eq!(was_restarted(Some(SECOND), None), None);
    }
}

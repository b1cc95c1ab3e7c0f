//! What a replica that asks to synchronise is told: go on from where you are, or start over.
//!
//! `PSYNC id n` says: I hold the first `n - 1` bytes of history `id`, send me byte `n`. We can agree if we
//! hold a history of which that is a prefix, and still have every later byte:
//!
//! 1. `id` is our history's name; or it is the name of the history ours continues, and `n` is at most one
//!    past the point where they part. (Beyond it the replica has bytes that were never ours.)
//! 2. `n` is a byte in the backlog, or the one that comes next.
//!
//! All else is a full synchronisation, for a reason that the log names. Nothing here has a state.

use std::ops::Range;

use quorate_stdx::{Offset, ReplId};

use crate::History;

/// What a replica asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Psync {
    /// Which history it holds.
    pub id: AskedId,
    /// The next byte it wants: one more than it holds. -1 comes with `?`; any other value is judged.
    pub next: i64,
    /// The third argument FAILOVER: our primary steps down and names us its successor.
    pub failover: bool,
}

/// The first argument of PSYNC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedId {
    /// `?`: the replica holds nothing that it could go on from.
    Unknown,
    /// A history.
    Id(ReplId),
    /// A text that no server hands out as an id.
    Strange,
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resync {
    /// The replica holds a prefix of our history; it gets what follows `from`.
    Continue {
        /// How much the replica holds.
        from: Offset,
    },
    /// The replica must load a snapshot.
    Full(FullReason),
}

/// Why a partial resynchronisation is impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullReason {
    /// The replica asked for it.
    Requested,
    /// It holds another history than ours.
    ForeignHistory,
    /// It followed the old history beyond the point where ours parts from it.
    Diverged {
        /// The last point that both share.
        limit: Offset,
    },
    /// We have no backlog.
    NoBacklog,
    /// The bytes it lacks are no longer in the backlog.
    Trimmed,
    /// It claims to hold more than we do.
    Ahead,
}

/// The PSYNC decision. `held` are the bytes of our history that the log still has: `start` is how many
/// came before them, `end` is our offset; `None` if there is no backlog.
pub fn resync(history: &History, held: Option<Range<Offset>>, psync: &Psync) -> Resync {
    let id = match psync.id {
        AskedId::Unknown => return Resync::Full(FullReason::Requested),
        AskedId::Strange => return Resync::Full(FullReason::ForeignHistory),
        AskedId::Id(id) => id,
    };
    let from = psync.next.checked_sub(1).and_then(|from| u64::try_from(from).ok()).map(Offset);
    if id != history.id() {
        match history.previous() {
            Some((previous, limit)) if previous == id => {
                if from.is_some_and(|from| from > limit) {
                    return Resync::Full(FullReason::Diverged { limit });
                }
            }
            _ => return Resync::Full(FullReason::ForeignHistory),
        }
    }
    let Some(held) = held else { return Resync::Full(FullReason::NoBacklog) };
    match from {
        Some(from) if from > held.end => Resync::Full(FullReason::Ahead),
        Some(from) if from >= held.start => Resync::Continue { from },
        _ => Resync::Full(FullReason::Trimmed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: u8) -> ReplId {
        ReplId::parse(&[digit; 40]).unwrap()
    }

    /// Our history is `b`, which parted from `a` after 60 bytes; the log holds bytes 41 to 100.
    fn check(asked: AskedId, next: i64, expected: Resync) {
        let history = History::continuing(id(b'b'), id(b'a'), Offset(60));
        let psync = Psync { id: asked, next, failover: false };
        let got = resync(&history, Some(Offset(40)..Offset(100)), &psync);
        assert_eq!(got, expected, "PSYNC {asked:?} {next}");
    }

    #[test]
    fn a_replica_continues_exactly_where_it_holds_a_prefix_and_the_rest_is_held() {
        use FullReason::*;
        let (ours, old, other) = (AskedId::Id(id(b'b')), AskedId::Id(id(b'a')), AskedId::Id(id(b'c')));
        let go_on = |from| Resync::Continue { from: Offset(from) };
        let table = [
            (AskedId::Unknown, -1, Resync::Full(Requested)),
            (AskedId::Unknown, 101, Resync::Full(Requested)),
            (AskedId::Strange, 101, Resync::Full(ForeignHistory)),
            (other, 50, Resync::Full(ForeignHistory)),
            // Our own id: first byte held, last, next, beyond, before.
            (ours, 41, go_on(40)),
            (ours, 100, go_on(99)),
            (ours, 101, go_on(100)),
            (ours, 102, Resync::Full(Ahead)),
            (ours, 40, Resync::Full(Trimmed)),
            (ours, 0, Resync::Full(Trimmed)),
            (ours, -1, Resync::Full(Trimmed)),
            (ours, i64::MIN, Resync::Full(Trimmed)),
            (ours, i64::MAX, Resync::Full(Ahead)),
            // The id that ours continues: up to one past the parting.
            (old, 41, go_on(40)),
            (old, 61, go_on(60)),
            (old, 62, Resync::Full(Diverged { limit: Offset(60) })),
            (old, 101, Resync::Full(Diverged { limit: Offset(60) })),
            (old, 40, Resync::Full(Trimmed)),
        ];
        for (asked, next, expected) in table {
            check(asked, next, expected);
        }
    }

    #[test]
    fn without_a_backlog_nobody_continues() {
        let history = History::new(id(b'a'));
        let psync = Psync { id: AskedId::Id(id(b'a')), next: 1, failover: false };
        assert_eq!(resync(&history, None, &psync), Resync::Full(FullReason::NoBacklog));
    }

    #[test]
    fn an_empty_backlog_lets_those_continue_who_hold_everything() {
        let history = History::new(id(b'a'));
        let held = Some(Offset(7)..Offset(7));
        let psync = |next| Psync { id: AskedId::Id(id(b'a')), next, failover: false };
        assert_eq!(resync(&history, held.clone(), &psync(8)), Resync::Continue { from: Offset(7) });
        assert_eq!(resync(&history, held, &psync(7)), Resync::Full(FullReason::Trimmed));
    }
}

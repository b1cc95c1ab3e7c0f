//! Which history of the dataset we hold, and which one it grew out of.
//!
//! A history is a stream of bytes that has a name, its replication id. Each write to a primary extends the
//! history it owns. When a replica is promoted it stops following one history and starts another, which
//! shares the old one's bytes up to the point of promotion:
//!
//! ```text
//!   id A   ────────────────┬───────────►  the old primary went on alone
//!                          └───────────►  id B, previous = (A, limit)
//!                        limit
//! ```
//!
//! Whoever holds `A` up to some point not after `limit` holds a prefix of `B` too, and can go on with `B`.
//! One such memory is kept, as on the wire (`master_replid2`, `second_repl_offset`).

use quorate_stdx::{Offset, ReplId};

/// The name of our history, and the one it continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    id: ReplId,
    previous: Option<(ReplId, Offset)>,
}

impl History {
    /// A history that continues none.
    pub fn new(id: ReplId) -> History {
        History { id, previous: None }
    }

    /// The history `id` that shares its first `limit` bytes with `previous`.
    pub fn continuing(id: ReplId, previous: ReplId, limit: Offset) -> History {
        History { id, previous: Some((previous, limit)) }
    }

    /// `master_replid`.
    pub fn id(&self) -> ReplId {
        self.id
    }

    /// `master_replid2`, and how many of its bytes we hold; `second_repl_offset` is the next one.
    pub fn previous(&self) -> Option<(ReplId, Offset)> {
        self.previous
    }

    /// From `limit` on this history is called `id`: a promotion, or the primary's promotion that we learn of.
    pub(crate) fn shift(&mut self, id: ReplId, limit: Offset) {
        if id != self.id {
            self.previous = Some((self.id, limit));
            self.id = id;
        }
    }

    /// Another history altogether takes its place.
    pub(crate) fn replace(&mut self, id: ReplId) {
        *self = History::new(id);
    }

    /// Whether `id` names this history or the one it continues.
    pub fn knows(&self, id: ReplId) -> bool {
        id == self.id || self.previous.is_some_and(|(previous, _)| previous == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: u8) -> ReplId {
        ReplId::parse(&[digit; 40]).unwrap()
    }

    #[test]
    fn a_shift_remembers_only_the_last_name() {
        let mut history = History::new(id(b'a'));
        history.shift(id(b'b'), Offset(10));
        history.shift(id(b'c'), Offset(20));
        assert_eq!(history, History::continuing(id(b'c'), id(b'b'), Offset(20)));
        assert!(history.knows(id(b'b')) && !history.knows(id(b'a')));
    }

    #[test]
    fn a_shift_to_its_own_name_changes_nothing() {
        let mut history = History::continuing(id(b'b'), id(b'a'), Offset(5));
        history.shift(id(b'b'), Offset(9));
        assert_eq!(history.previous(), Some((id(b'a'), Offset(5))));
    }

    #[test]
    fn replacing_forgets_the_past() {
        let mut history = History::continuing(id(b'b'), id(b'a'), Offset(5));
        history.replace(id(b'c'));
        assert!(!history.knows(id(b'a')) && !history.knows(id(b'b')));
    }
}

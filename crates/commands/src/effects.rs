//! What replicas and the append-only file see of a command.
//!
//! A command that changed something is passed on as the client sent it, unless that would not do the
//! same thing again elsewhere or later: then the command says what to pass on in its place.

use quorate_keyspace::Db;
use quorate_resp::{push_bulk, push_multibulk};

/// The effects of one command, transaction or script; reused from command to command.
#[derive(Debug, Default)]
pub struct Effects {
    /// How many changes there were (what `rdb_changes_since_last_save` counts).
    dirty: u64,
    form: Form,
    /// Requests in wire form, each with the database that it is for, in order.
    wire: Vec<u8>,
    bounds: Vec<(Db, usize)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As the client sent it, if anything changed.
    #[default]
    Verbatim,
    /// Only what was recorded.
    Recorded,
    /// As the client sent it, whatever changed (SCRIPT LOAD, FLUSHALL ...).
    Forced,
    /// As the client sent it, to those who follow; no data is changed by it (PUBLISH).
    Told,
}

impl Effects {
    /// Counts changes; the command is passed on as it came unless it records something else.
    #[inline]
    pub fn changed(&mut self, by: usize) {
        self.dirty += by as u64;
    }

    /// Records a request to pass on in place of the command.
    pub fn record(&mut self, db: Db, words: &[&[u8]]) {
        self.form = Form::Recorded;
        push_multibulk(&mut self.wire, words.len());
        for word in words {
            push_bulk(&mut self.wire, word);
        }
        self.bounds.push((db, self.wire.len()));
    }

    /// Records a request that is in wire form already.
    pub fn record_wire(&mut self, db: Db, request: &[u8]) {
        self.form = Form::Recorded;
        self.wire.extend_from_slice(request);
        self.bounds.push((db, self.wire.len()));
    }

    /// Passes nothing on, although something changed.
    pub fn keep_local(&mut self) {
        self.form = Form::Recorded;
    }

    /// Passes the command on although no key changed.
    pub fn force(&mut self) {
        self.form = Form::Forced;
    }

    /// Passes the command on to those who follow, for whom it changes no data either.
    pub fn tell(&mut self) {
        self.form = Form::Told;
    }

    /// Whether the command goes out as it came, and changes no data.
    pub fn is_told(&self) -> bool {
        self.form == Form::Told
    }

    /// Changes counted so far.
    #[inline]
    pub fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Whether the command goes out as it came.
    #[inline]
    pub fn is_verbatim(&self) -> bool {
        match self.form {
            Form::Verbatim => self.dirty > 0,
            Form::Forced => true,
            Form::Recorded | Form::Told => false,
        }
    }

    /// Whether there are none: nothing changed, and nothing goes out.
    #[inline]
    pub fn is_none(&self) -> bool {
        self.dirty == 0 && self.form == Form::Verbatim
    }

    /// The recorded requests with their databases, in order.
    pub fn recorded(&self) -> impl ExactSizeIterator<Item = (Db, &[u8])> {
        self.bounds.iter().enumerate().map(|(index, &(db, end))| {
            let start = index.checked_sub(1).map_or(0, |previous| self.bounds[previous].1);
            (db, &self.wire[start..end])
        })
    }

    /// Makes ready for the next command.
    #[inline]
    pub fn clear(&mut self) {
        self.dirty = 0;
        self.form = Form::Verbatim;
        if !self.bounds.is_empty() {
            self.wire.clear();
            self.bounds.clear();
            if self.wire.capacity() > 1 << 20 {
                self.wire = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_passed_on_as_it_came_unless_something_else_was_recorded() {
        let mut effects = Effects::default();
        assert!(!effects.is_verbatim() && effects.is_none());
        effects.changed(1);
        assert!(effects.is_verbatim());
        effects.record(Db(3), &[b"DEL", b"k"]);
        effects.record(Db(0), &[b"PING"]);
        assert!(!effects.is_verbatim());
        let recorded: Vec<_> = effects.recorded().map(|(db, wire)| (db.0, wire.to_vec())).collect();
        assert_eq!(recorded, [(3, b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n".to_vec()), (0, b"*1\r\n$4\r\nPING\r\n".to_vec())]);
        effects.clear();
        assert_eq!((effects.dirty(), effects.recorded().len()), (0, 0));
        effects.force();
        assert!(effects.is_verbatim());
        effects.tell();
        assert!(effects.is_told() && !effects.is_verbatim() && !effects.is_none());
    }
}

//! What the log still holds of our history, and for how long it is kept without a replica: positions only.
//!
//! Without a replica there is no backlog, and writes are not counted. The first replica that asks makes
//! one; it goes away when a primary has had no replica for `repl-backlog-ttl`. Both are moments at which
//! the history gets a new name, since the uncounted writes between them belong to no offset.
//!
//! ```text
//!            open(at)                     fed: end grows, start follows as blocks are dropped
//!   Closed ───────────► Open{start..end} ◄──┐
//!     ▲                     │  └────────────┘
//!     └─────────────────────┘ close: ttl passed without replicas, or the dataset is about to be replaced
//! ```
//!
//! The log itself, its blocks and when they are trimmed (`repl-backlog-size`) are the server's.

use std::ops::Range;
use std::time::Duration;

use quorate_stdx::{Mono, Offset};

/// The positions of the log.
#[derive(Debug)]
pub(crate) struct Backlog {
    feed: Feed,
    /// Since when a primary has had no replica.
    alone_since: Option<Mono>,
}

#[derive(Debug)]
enum Feed {
    /// Writes are not counted; the offset stands still.
    Closed {
        at: Offset,
    },
    Open {
        start: Offset,
        end: Offset,
    },
}

impl Backlog {
    pub(crate) fn closed(at: Offset) -> Backlog {
        Backlog { feed: Feed::Closed { at }, alone_since: None }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.feed, Feed::Open { .. })
    }

    /// Starts anew at `at`, empty.
    pub(crate) fn open(&mut self, at: Offset) {
        self.open_from(at..at);
    }

    /// Starts anew at the range's end, with what the range says held already.
    pub(crate) fn open_from(&mut self, held: Range<Offset>) {
        self.feed = Feed::Open { start: held.start, end: held.end };
    }

    pub(crate) fn close(&mut self) {
        self.feed = Feed::Closed { at: self.end() };
        self.alone_since = None;
    }

    /// Takes the driver's word about what the log holds. News may be late, but neither end goes back.
    pub(crate) fn fed(&mut self, held: Range<Offset>) {
        assert!(held.start <= held.end, "the log reported a range whose start is behind its end");
        if let Feed::Open { start, end } = &mut self.feed {
            *end = held.end.max(*end);
            *start = held.start.max(*start).min(*end);
        }
    }

    /// Our offset: `master_repl_offset`.
    pub(crate) fn end(&self) -> Offset {
        match self.feed {
            Feed::Closed { at } => at,
            Feed::Open { end, .. } => end,
        }
    }

    pub(crate) fn held(&self) -> Option<Range<Offset>> {
        match self.feed {
            Feed::Closed { .. } => None,
            Feed::Open { start, end } => Some(start..end),
        }
    }

    pub(crate) fn left_alone(&mut self, now: Mono) {
        if self.is_open() {
            self.alone_since.get_or_insert(now);
        }
    }

    pub(crate) fn has_company(&mut self) {
        self.alone_since = None;
    }

    /// When a primary lets the backlog go, if `ttl` is not zero ("never").
    pub(crate) fn release_at(&self, ttl: Duration) -> Option<Mono> {
        let since = self.alone_since.filter(|_| !ttl.is_zero() && self.is_open())?;
        Some(since + ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_news_move_neither_end_back() {
        let mut backlog = Backlog::closed(Offset(0));
        backlog.open(Offset(10));
        backlog.fed(Offset(10)..Offset(50));
        backlog.fed(Offset(20)..Offset(60));
        backlog.fed(Offset(10)..Offset(50));
        assert_eq!(backlog.held(), Some(Offset(20)..Offset(60)));
    }

    #[test]
    fn what_a_file_brings_along_is_held_from_the_start() {
        let mut backlog = Backlog::closed(Offset(0));
        backlog.open_from(Offset(30)..Offset(50));
        backlog.fed(Offset(30)..Offset(60));
        assert_eq!(backlog.held(), Some(Offset(30)..Offset(60)));
    }

    #[test]
    fn a_closed_backlog_keeps_its_offset_and_counts_nothing() {
        let mut backlog = Backlog::closed(Offset(0));
        backlog.open(Offset(10));
        backlog.fed(Offset(10)..Offset(50));
        backlog.close();
        backlog.fed(Offset(10)..Offset(90));
        assert_eq!((backlog.end(), backlog.held()), (Offset(50), None));
    }

    #[test]
    fn the_time_to_live_runs_from_the_first_moment_alone_and_zero_means_never() {
        let mut backlog = Backlog::closed(Offset(0));
        let ttl = Duration::from_secs(5);
        backlog.left_alone(Mono(1));
        assert_eq!(backlog.release_at(ttl), None, "there is nothing to release");
        backlog.open(Offset(0));
        backlog.left_alone(Mono(7));
        backlog.left_alone(Mono(9));
        assert_eq!(backlog.release_at(ttl), Some(Mono(5_000_007)));
        assert_eq!(backlog.release_at(Duration::ZERO), None);
        backlog.has_company();
        assert_eq!(backlog.release_at(ttl), None);
    }
}

//! How the last failover, or the last refusal of one, came about: what SENTINEL EXPLAIN tells.
//!
//! A story begins with the first suspicion after a quiet time and goes on until all is quiet again. It holds what was
//! announced and, between that, what was seen and decided, with the time since its beginning.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_stdx::{Mono, Now, UnixMs};

/// The most lines of one story; the oldest but the first go.
const LINES_MAX: usize = 256;
/// What happens so long after the last line belongs to another story.
const QUIET: Duration = Duration::from_secs(60);

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Story {
    began: Option<Now>,
    last: Mono,
    /// What follows belongs to another story if nothing happens for a moment.
    has_ended: bool,
    lines: VecDeque<(Duration, String)>,
}

impl Story {
    /// Begins, unless it has begun: the primary is suspected.
    pub(crate) fn begin(&mut self, now: Now) {
        let is_over = self.has_ended && now.mono.since(self.last) > Duration::from_secs(1);
        if self.began.is_none() || is_over || now.mono.since(self.last) > QUIET {
            *self = Story { began: Some(now), last: now.mono, ..Story::default() };
        }
    }

    /// Adds what was seen or decided. What happens before a story begins is the beginning of one.
    pub(crate) fn note(&mut self, now: Now, line: String) {
        self.begin(now);
        self.tell(now, line);
    }

    /// Adds to a story that goes on.
    pub(crate) fn tell(&mut self, now: Now, line: String) {
        let Some(began) = self.began else { return };
        if self.has_ended && now.mono.since(self.last) > QUIET {
            return;
        }
        if self.lines.len() == LINES_MAX {
            self.lines.remove(1);
        }
        self.last = now.mono;
        self.lines.push_back((now.mono.since(began.mono), line));
    }

    /// The failover is over; what comes at once still belongs to it.
    pub(crate) fn end(&mut self, now: Now) {
        (self.has_ended, self.last) = (true, now.mono);
    }

    /// When each step came, in one line: the first of its kind after the beginning.
    pub(crate) fn summary(&self) -> String {
        const STEPS: [&str; 7] = [
            "+sdown",
            "+odown",
            "+try-failover",
            "+elected-leader",
            "+selected-slave",
            "+promoted-slave",
            "+failover-end",
        ];
        let first = |step: &&str| self.lines.iter().find(|(_, line)| line.starts_with(*step)).map(|(after, _)| *after);
        let steps = STEPS.iter().filter_map(|step| Some(format!("{} {} ms", &step[1..], first(step)?.as_millis())));
        steps.collect::<Vec<_>>().join(", ")
    }

    /// When it began, and its lines with the time since then.
    pub(crate) fn lines(&self) -> Option<(UnixMs, impl Iterator<Item = (Duration, &str)>)> {
        let began = self.began?;
        Some((began.unix, self.lines.iter().map(|(after, line)| (*after, line.as_str()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { mono: Mono(seconds * 1_000_000), unix: UnixMs(0) }
    }

    fn lines(story: &Story) -> Vec<(u64, String)> {
        let told = story.lines().map(|(_, lines)| lines.map(|(after, line)| (after.as_secs(), line.to_owned())));
        told.map(Iterator::collect).unwrap_or_default()
    }

    #[test]
    fn a_story_is_told_until_a_quiet_time_and_the_next_replaces_it() {
        let mut story = Story::default();
        story.tell(at(1), "nobody suspects anything".to_owned());
        assert_eq!(lines(&story), []);
        story.note(at(5), "a".to_owned());
        story.tell(at(7), "b".to_owned());
        story.end(at(7));
        story.tell(at(8), "c".to_owned());
        assert_eq!(lines(&story), [(0, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())]);
        story.note(at(20), "d".to_owned());
        assert_eq!(lines(&story), [(0, "d".to_owned())]);
        (0..1000).for_each(|n| story.tell(at(21), n.to_string()));
        assert_eq!(lines(&story).len(), LINES_MAX);
        assert_eq!(lines(&story)[0].1, "d");
        story.tell(at(22), "+odown master m".to_owned());
        assert_eq!(story.summary(), "odown 2000 ms");
    }
}

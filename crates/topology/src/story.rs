//! How a failover came about: the events around the moment in which a replica became a primary, in their order.
//!
//! Nobody tells an observer the whole story. Sentinels announce theirs, nodes of a cluster only show what they think; so it
//! is put together from what concerned the old primary and the new one shortly before and after.

use std::collections::VecDeque;

use quorate_stdx::UnixMs;

use crate::address::Address;
use crate::events::{Event, Kind};

/// What happened so long before a promotion may have led to it, in milliseconds.
const BEFORE: i64 = 60_000;
/// What happens so long after it may still belong to it, in milliseconds.
const AFTER: i64 = 30_000;
/// The most stories that are kept.
const STORIES: usize = 50;
/// The most steps of one story.
const STEPS: usize = 200;

/// A step of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When it was seen.
    pub at: UnixMs,
    /// Who says so, or whom it happened to.
    pub node: Option<Address>,
    /// What it was.
    pub text: String,
}

/// A failover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// The number of the event that is its middle: the promotion.
    pub number: u64,
    /// When the promotion was seen.
    pub at: UnixMs,
    /// Who was primary.
    pub from: Address,
    /// Who is.
    pub to: Address,
    /// What happened, in one sentence.
    pub summary: String,
    /// Everything that belongs to it.
    pub steps: Vec<Step>,
}

/// The last stories.
#[derive(Debug, Default)]
pub(crate) struct Stories(VecDeque<Story>);

impl Stories {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Story> {
        self.0.iter()
    }

    /// Takes an event; `past` are those before it, the oldest first.
    pub(crate) fn take(&mut self, event: &Event, past: &VecDeque<Event>) {
        if event.kind == Kind::Promoted
            && let (Some(to), Some(from)) = (&event.node, event.others.first())
        {
            let mut story = Story {
                number: event.number,
                at: event.at,
                from: from.clone(),
                to: to.clone(),
                summary: String::new(),
                steps: Vec::new(),
            };
            let led: Vec<Step> = past.iter().filter(|past| story.led_to(past)).map(Step::of).collect();
            // What is left of them is what came last.
            story.steps.extend_from_slice(&led[led.len().saturating_sub(STEPS / 2)..]);
            story.steps.push(Step::of(event));
            story.summarize();
            if self.0.len() == STORIES {
                self.0.pop_front();
            }
            self.0.push_back(story);
            return;
        }
        for story in self.0.iter_mut().rev() {
            if event.at - story.at <= AFTER && story.concerns(event) && story.steps.len() < STEPS {
                story.steps.push(Step::of(event));
                story.summarize();
                return;
            }
        }
    }
}

impl Step {
    fn of(event: &Event) -> Step {
        Step { at: event.at, node: event.node.clone(), text: event.text.clone() }
    }
}

impl Story {
    fn led_to(&self, event: &Event) -> bool {
        self.at - event.at <= BEFORE && event.kind != Kind::Found && self.concerns(event)
    }

    fn concerns(&self, event: &Event) -> bool {
        let is_ours = |address: &Address| *address == self.from || *address == self.to;
        event.node.as_ref().is_some_and(is_ours) || event.others.iter().any(is_ours)
    }

    fn summarize(&mut self) {
        let after = |start: UnixMs, at: UnixMs| format!("{:.1} s", (at - start) as f64 / 1000.0);
        let lost = self
            .steps
            .iter()
            .find(|step| step.node.as_ref() == Some(&self.from) && step.text.starts_with("does not answer"));
        let first = self.steps.first().map_or(self.at, |step| step.at);
        self.summary = match lost {
            Some(step) => {
                let why = step.text.split_once(": ").map_or("", |(_, why)| why);
                let took = after(step.at, self.at);
                format!("{} took over from {} {took} after that had stopped answering ({why})", self.to, self.from)
            }
            None => {
                format!("{} took over from {}, which was there; it took {}", self.to, self.from, after(first, self.at))
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Tone;

    fn event(number: u64, at: i64, kind: Kind, node: &str, other: Option<&str>, text: &str) -> Event {
        Event {
            number,
            at: UnixMs(at),
            kind,
            tone: Tone::Plain,
            node: Address::parse(node),
            others: other.and_then(Address::parse).into_iter().collect(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_promotion_is_told_with_what_led_to_it_and_what_followed() {
        let mut stories = Stories::default();
        let past = VecDeque::from([
            event(1, 0, Kind::Lost, "a:1", None, "does not answer: x"),
            event(2, 100_000, Kind::Lost, "a:1", None, "does not answer: connection refused"),
            event(3, 100_100, Kind::Announced, "s:1", Some("a:1"), "+odown master m a 1"),
            event(4, 100_200, Kind::Lost, "elsewhere:1", None, "does not answer: x"),
        ]);
        stories.take(&event(5, 100_500, Kind::Promoted, "b:1", Some("a:1"), "has become a primary"), &past);
        stories.take(&event(6, 101_000, Kind::Follows, "c:1", Some("b:1"), "follows b:1 now"), &past);
        stories.take(&event(7, 200_000, Kind::Back, "a:1", None, "answers again"), &past);
        let story = stories.iter().next().unwrap();
        assert_eq!(story.summary, "b:1 took over from a:1 0.5 s after that had stopped answering (connection refused)");
        let steps: Vec<_> = story.steps.iter().map(|step| step.at.0).collect();
        assert_eq!(steps, [100_000, 100_100, 100_500, 101_000]);
    }
}

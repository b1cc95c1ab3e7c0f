//! What happened between two answers of a node, and what Sentinels announce.

use quorate_stdx::UnixMs;

use crate::address::Address;
use crate::cluster::{Cluster, Member};
use crate::facts::{Facts, Role};
use crate::node::{Node, State, Topology};

/// How an event is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It is worth knowing.
    Plain,
    /// Something is well again.
    Good,
    /// Something may be wrong.
    Warning,
    /// Something is wrong.
    Bad,
}

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A node was found.
    Found,
    /// A node that nobody names any more is no longer looked at.
    Forgotten,
    /// A node does not answer.
    Lost,
    /// A node answers again.
    Back,
    /// A node is another process than before.
    Restarted,
    /// A replica has become a primary.
    Promoted,
    /// A primary has become a replica.
    Demoted,
    /// A replica follows another server than before.
    Follows,
    /// The link of a replica.
    Link,
    /// A node is suspected or found failed by others, or no longer.
    Suspected,
    /// Slots have another owner.
    Slots,
    /// The state that a cluster's node tells.
    State,
    /// Clients of a Sentinel are sent elsewhere.
    Switched,
    /// A Sentinel's own words.
    Announced,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which one; they are numbered from 1.
    pub number: u64,
    /// When it was seen.
    pub at: UnixMs,
    /// What kind of thing.
    pub kind: Kind,
    /// How to take it.
    pub tone: Tone,
    /// The node that it is about.
    pub node: Option<Address>,
    /// Others that it concerns.
    pub others: Vec<Address>,
    /// What happened, in words; the node is not named in them.
    pub text: String,
}

/// An event that has no number yet.
pub(crate) struct Draft {
    pub(crate) kind: Kind,
    pub(crate) tone: Tone,
    pub(crate) node: Option<Address>,
    pub(crate) others: Vec<Address>,
    pub(crate) text: String,
}

fn draft(node: &Node, kind: Kind, tone: Tone, text: impl Into<String>) -> Draft {
    Draft { kind, tone, node: Some(node.address.clone()), others: Vec::new(), text: text.into() }
}

impl Draft {
    fn concerning(mut self, other: &Address) -> Draft {
        self.others.push(other.clone());
        self
    }
}

/// What became of a node: `before` is how it was, if it was known.
pub(crate) fn of_node(topology: &Topology, before: Option<&Node>, after: &Node) -> Vec<Draft> {
    let mut events = Vec::new();
    let was_down = before.is_some_and(|node| node.fault().is_some());
    match (&after.state, before.map(|node| &node.state)) {
        (State::Down { .. }, Some(State::Down { .. })) => {}
        (State::Down { fault, .. }, _) => {
            events.push(draft(after, Kind::Lost, Tone::Bad, format!("does not answer: {fault}")));
        }
        (State::Up, None | Some(State::Unknown)) => {
            let text = after.facts.as_ref().map_or_else(|| "found".to_owned(), description);
            events.push(draft(after, Kind::Found, Tone::Plain, text));
        }
        (State::Up, Some(State::Down { .. })) => {
            events.push(draft(after, Kind::Back, Tone::Good, "answers again"));
        }
        _ => {}
    }
    let (Some(before), Some(facts)) = (before.and_then(|node| node.facts.as_ref()), after.live()) else {
        return events;
    };
    if before.run_id != facts.run_id && !before.run_id.is_empty() {
        events.push(draft(after, Kind::Restarted, Tone::Warning, "was started anew"));
    }
    of_role(after, before, facts, was_down, &mut events);
    of_watched(topology, after, before, facts, &mut events);
    if let (Some(old), Some(new)) = (&before.cluster, &facts.cluster) {
        of_cluster(after, old, new, &mut events);
    }
    events
}

fn description(facts: &Facts) -> String {
    match &facts.role {
        Role::Primary => "found: a primary".to_owned(),
        Role::Replica { of, .. } => format!("found: a replica of {of}"),
        Role::Sentinel => "found: a Sentinel".to_owned(),
    }
}

fn of_role(node: &Node, before: &Facts, facts: &Facts, was_down: bool, events: &mut Vec<Draft>) {
    match (&before.role, &facts.role) {
        (Role::Replica { of, .. }, Role::Primary) => {
            let event = draft(node, Kind::Promoted, Tone::Warning, format!("has become a primary; it followed {of}"));
            events.push(event.concerning(of));
        }
        (Role::Primary, Role::Replica { of, .. }) => {
            let event = draft(node, Kind::Demoted, Tone::Warning, format!("has become a replica of {of}"));
            events.push(event.concerning(of));
        }
        (Role::Replica { of: old, is_linked: was, .. }, Role::Replica { of, is_linked, is_syncing, .. }) => {
            if old != of {
                events.push(draft(node, Kind::Follows, Tone::Plain, format!("follows {of} now")).concerning(of));
            }
            let event = match (was, is_linked) {
                (true, false) if *is_syncing => (Tone::Warning, format!("copies the dataset of {of}")),
                (true, false) => (Tone::Bad, format!("has lost its link to {of}")),
                (false, true) => (Tone::Good, format!("is linked to {of} again")),
                _ => return,
            };
            // A node that comes back is not linked yet, which says nothing.
            if !was_down || *is_linked {
                events.push(draft(node, Kind::Link, event.0, event.1).concerning(of));
            }
        }
        _ => {}
    }
}

fn of_watched(topology: &Topology, node: &Node, before: &Facts, facts: &Facts, events: &mut Vec<Draft>) {
    for watched in &facts.watched {
        let Some(old) = before.watched.iter().find(|old| old.name == watched.name) else { continue };
        let (from, to) = (topology.known_as(&old.primary), topology.known_as(&watched.primary));
        if from != to {
            let text = format!("sends clients of {} from {from} to {to}", watched.name);
            events.push(draft(node, Kind::Switched, Tone::Plain, text).concerning(from).concerning(to));
        }
    }
}

fn of_cluster(node: &Node, before: &Cluster, after: &Cluster, events: &mut Vec<Draft>) {
    match (before.is_ok, after.is_ok) {
        (true, false) => events.push(draft(node, Kind::State, Tone::Bad, "says that the cluster is down")),
        (false, true) => events.push(draft(node, Kind::State, Tone::Good, "says that the cluster works")),
        _ => {}
    }
    for member in &after.members {
        let Some(old) = before.member(&member.id) else { continue };
        let Some(address) = &member.address else { continue };
        let was = |flag| (old.has(flag), member.has(flag));
        let event = match (was("fail"), was("fail?")) {
            ((false, true), _) => (Tone::Bad, format!("knows that {address} was found failed")),
            (_, (false, true)) => (Tone::Warning, format!("suspects {address}")),
            ((true, false), _) => (Tone::Good, format!("trusts {address} again")),
            _ => continue,
        };
        events.push(draft(node, Kind::Suspected, event.0, event.1).concerning(address));
    }
    if let (Some(old), Some(new)) = (before.myself(), after.myself()) {
        of_slots(node, old, new, events);
    }
}

/// What a node of a cluster has gained or lost.
fn of_slots(node: &Node, old: &Member, new: &Member, events: &mut Vec<Draft>) {
    let (had, has) = (old.slot_count(), new.slot_count());
    let text = match (had, has) {
        _ if old.slots == new.slots => return,
        (_, 0) => format!("owns no slots any more; it had {had}"),
        _ if has > had => format!("owns {has} slots now, {} more", has - had),
        _ if has < had => format!("owns {has} slots now, {} fewer", had - has),
        _ => format!("owns {has} slots, but others than before"),
    };
    events.push(draft(node, Kind::Slots, Tone::Plain, text));
}

/// What a Sentinel announces: `+sdown master mymaster 127.0.0.1 6379`.
pub(crate) fn announced(sentinel: &Address, channel: &str, payload: &str) -> Option<Draft> {
    let tone = match channel {
        "+sdown" | "+odown" | "+tilt" => Tone::Warning,
        "-sdown" | "-odown" | "+failover-end" | "-tilt" => Tone::Good,
        "-failover-abort-no-good-slave" | "-failover-abort-not-elected" | "-failover-abort-slave-timeout" => Tone::Bad,
        // What others say of themselves every two seconds, and what data is.
        _ if !channel.starts_with(['+', '-']) => return None,
        _ => Tone::Plain,
    };
    let mut others = Vec::new();
    let words: Vec<&str> = payload.split(' ').collect();
    others.extend(words.windows(2).filter_map(|pair| Address::of(pair[0], pair[1]).filter(|_| is_host(pair[0]))));
    others.dedup();
    let text = format!("{channel} {payload}");
    Some(Draft { kind: Kind::Announced, tone, node: Some(sentinel.clone()), others, text })
}

/// Whether a word of an announcement is a host rather than a name.
fn is_host(word: &str) -> bool {
    word.contains(['.', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_names_the_nodes_that_it_concerns() {
        let sentinel = Address::parse("h:1").unwrap();
        let event = announced(&sentinel, "+switch-master", "mymaster 10.0.0.1 6379 10.0.0.2 6380").unwrap();
        assert_eq!(event.others, [Address::parse("10.0.0.1:6379").unwrap(), Address::parse("10.0.0.2:6380").unwrap()]);
        assert_eq!(event.text, "+switch-master mymaster 10.0.0.1 6379 10.0.0.2 6380");
        assert!(announced(&sentinel, "__sentinel__:hello", "x").is_none());
    }
}

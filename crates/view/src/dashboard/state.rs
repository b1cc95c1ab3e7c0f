//! What the page is told: the topology, the events, the stories and what is being done, as one JSON object.

use quorate_stdx::UnixMs;
use quorate_topology::{Address, Event, Explorer, Kind, Story, Tone};
use serde_json::{Value, json};

use crate::json;

/// The newest events and stories that go with each state.
const EVENTS: usize = 120;
const STORIES: usize = 20;

pub(super) fn state(explorer: &Explorer, now: UnixMs, jobs: Value, may_act: bool, seeds: &[Address]) -> Value {
    let topology = explorer.topology();
    let mut state = json::topology(topology, &topology.health());
    if let Value::Object(fields) = &mut state {
        let events = explorer.events();
        let newest = events.iter().skip(events.len().saturating_sub(EVENTS));
        let mut stories: Vec<&Story> = explorer.stories().collect();
        let stories = stories.split_off(stories.len().saturating_sub(STORIES));
        fields.insert("now".to_owned(), json!(now.0));
        fields.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
        fields.insert("actions".to_owned(), json!(may_act));
        fields.insert("seeds".to_owned(), seeds.iter().map(Address::to_string).collect());
        fields.insert("full".to_owned(), json!(explorer.is_full()));
        fields.insert("events".to_owned(), newest.map(event).collect());
        fields.insert("stories".to_owned(), stories.into_iter().map(story).collect());
        fields.insert("jobs".to_owned(), jobs);
    }
    state
}

fn event(event: &Event) -> Value {
    json!({
        "number": event.number,
        "at": event.at.0,
        "kind": kind(event.kind),
        "tone": match event.tone {
            Tone::Plain => "plain",
            Tone::Good => "good",
            Tone::Warning => "warning",
            Tone::Bad => "bad",
        },
        "node": event.node.as_ref().map(Address::to_string),
        "others": event.others.iter().map(Address::to_string).collect::<Vec<_>>(),
        "text": event.text,
    })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Found => "found",
        Kind::Forgotten => "forgotten",
        Kind::Lost => "lost",
        Kind::Back => "back",
        Kind::Restarted => "restarted",
        Kind::Promoted => "promoted",
        Kind::Demoted => "demoted",
        Kind::Follows => "follows",
        Kind::Link => "link",
        Kind::Suspected => "suspected",
        Kind::Slots => "slots",
        Kind::State => "state",
        Kind::Switched => "switched",
        Kind::Announced => "announced",
    }
}

fn story(story: &Story) -> Value {
    json!({
        "number": story.number,
        "at": story.at.0,
        "from": story.from.to_string(),
        "to": story.to.to_string(),
        "summary": story.summary,
        "steps": story.steps.iter().map(|step| json!({
            "at": step.at.0,
            "node": step.node.as_ref().map(Address::to_string),
            "text": step.text,
        })).collect::<Vec<_>>(),
    })
}

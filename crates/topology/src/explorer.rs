//! The machine that explores: whom to ask what and when, and what the answers make of the topology.
//!
//! ```text
//!   named ──► asked ──► answered ──(more to ask)──► asked
//!               │           └──(nothing more)──► known, until the pace says ask again
//!               └──► failed ──► down, until the pace says ask again
//! ```
//!
//! Whoever drives it answers each `Ask` with exactly one `Answered` or `Failed`, in bounded time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quorate_resp::Reply;
use quorate_stdx::{Machine, Mono, Now, UnixMs};

use crate::address::Address;
use crate::events::{self, Draft, Event, Kind, Tone};
use crate::facts::{Answers, Facts, Part};
use crate::node::{Fault, Node, State, Topology};
use crate::question::{Channels, Question};
use crate::sentinel::introduced;
use crate::story::{Stories, Story};

/// More nodes than that are not looked at, whoever names them.
const MOST_NODES: usize = 1000;
/// The events that are kept.
const EVENTS: usize = 1000;
/// For how long Sentinels are waited for that must be there: they introduce themselves every two seconds.
const HELLO: Duration = Duration::from_millis(4500);
/// A node that nobody names and that does not answer is forgotten after so many milliseconds.
const FORGET: i64 = 120_000;

/// How often nodes are asked.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two rounds of one node, if there are few.
    pub interval: Duration,
    /// What each node adds to that, so that many nodes are no load.
    pub per_node: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { interval: Duration::from_millis(500), per_node: Duration::from_millis(5) }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The instant has come that `poll_timeout` named.
    Timeout,
    /// A node answered, each question in its order.
    Answered(Address, Vec<Reply>),
    /// A node did not, or its connection has broken while nothing was asked.
    Failed(Address, Fault),
    /// A node that is listened to has said this on a channel.
    Heard(Address, String, String),
    /// A node can't be listened to any more.
    Deaf(Address),
    /// An address is to be looked at too.
    Look(Address),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask a node this.
    Ask(Address, Vec<Question>),
    /// Listen to a node until its connection breaks.
    Listen(Address, Channels),
    /// No longer listen to a node, nor keep a connection to it.
    Leave(Address),
}

/// Why it wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// A node is to be asked.
    Ask,
    /// Nobody is waited for any longer.
    Hello,
}

#[derive(Debug, PartialEq)]
enum Turn {
    Due(Mono),
    Asked(Vec<Question>),
}

#[derive(Debug)]
struct Track {
    turn: Turn,
    answers: Answers,
    /// What the last whole round asked.
    last: Vec<Question>,
    is_listened_to: bool,
    /// When nobody named it any more.
    unnamed: Option<UnixMs>,
}

/// Whether Sentinels are waited for that must be there, but that nobody has named.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Hello {
    Unneeded,
    Until(Mono),
    Over,
}

/// See the module's text.
#[derive(Debug)]
pub struct Explorer {
    pace: Pace,
    topology: Topology,
    tracks: BTreeMap<Address, Track>,
    outputs: VecDeque<Output>,
    events: VecDeque<Event>,
    stories: Stories,
    numbered: u64,
    hello: Hello,
    /// Whether nodes were named that are too many.
    is_full: bool,
}

impl Explorer {
    /// Begins at these addresses.
    pub fn new(seeds: &[Address], pace: Pace, now: Now) -> Explorer {
        let mut explorer = Explorer {
            pace,
            topology: Topology::default(),
            tracks: BTreeMap::new(),
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            stories: Stories::default(),
            numbered: 0,
            hello: Hello::Unneeded,
            is_full: false,
        };
        for seed in seeds {
            explorer.meet(now, seed, true);
        }
        explorer.ask_due(now);
        explorer
    }

    /// What is known.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What happened, the oldest first.
    pub fn events(&self) -> &VecDeque<Event> {
        &self.events
    }

    /// The failovers, the oldest first.
    pub fn stories(&self) -> impl Iterator<Item = &Story> {
        self.stories.iter()
    }

    /// Whether nodes were named that are not looked at, because they are too many.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether every node that was named has been asked to the end, and nobody is waited for.
    pub fn is_settled(&self) -> bool {
        let waits = matches!(self.hello, Hello::Until(_)) && !self.knows_a_sentinel();
        !waits && self.topology.nodes.values().all(|node| node.state != State::Unknown)
    }

    fn knows_a_sentinel(&self) -> bool {
        self.topology.nodes.values().any(|node| node.part() == Some(Part::Sentinel))
    }

    fn meet(&mut self, now: Now, address: &Address, is_seed: bool) {
        if self.tracks.contains_key(address) || self.topology.aliases.contains_key(address) {
            return;
        }
        if self.tracks.len() >= MOST_NODES {
            self.is_full = true;
            return;
        }
        let track = Track {
            turn: Turn::Due(now.mono),
            answers: Answers::new(),
            last: Vec::new(),
            is_listened_to: false,
            unnamed: None,
        };
        self.tracks.insert(address.clone(), track);
        let node = Node { address: address.clone(), state: State::Unknown, facts: None, is_seed };
        self.topology.nodes.insert(address.clone(), node);
    }

    fn ask_due(&mut self, now: Now) {
        for (address, track) in &mut self.tracks {
            if !matches!(track.turn, Turn::Due(at) if at <= now.mono) {
                continue;
            }
            track.answers.clear();
            let questions = if track.last.is_empty() { vec![Question::Info] } else { track.last.clone() };
            track.turn = Turn::Asked(questions.clone());
            self.outputs.push_back(Output::Ask(address.clone(), questions));
        }
    }

    fn next_round(&self, now: Now) -> Turn {
        let count = u32::try_from(self.tracks.len()).unwrap_or(u32::MAX);
        Turn::Due(now.mono + self.pace.interval + self.pace.per_node.saturating_mul(count))
    }

    fn on_answered(&mut self, now: Now, address: &Address, replies: Vec<Reply>) {
        let Some(track) = self.tracks.get_mut(address) else { return };
        let Turn::Asked(questions) = &mut track.turn else { return };
        let questions = std::mem::take(questions);
        if replies.len() != questions.len() {
            self.on_failed(now, address, Fault::Closed);
            return;
        }
        track.answers.extend(questions.into_iter().zip(replies));
        let wanted = Facts::wanted(&track.answers);
        let missing: Vec<Question> =
            wanted.iter().filter(|question| !track.answers.contains_key(question)).cloned().collect();
        if !missing.is_empty() {
            track.turn = Turn::Asked(missing.clone());
            self.outputs.push_back(Output::Ask(address.clone(), missing));
            return;
        }
        track.last = wanted;
        match Facts::read(&track.answers) {
            Some(facts) => self.know(now, address, facts),
            None => {
                let fault = Fault::of_reply(track.answers.get(&Question::Info));
                self.on_failed(now, address, fault);
            }
        }
    }

    /// A round has ended well.
    fn know(&mut self, now: Now, address: &Address, facts: Facts) {
        if let Some(other) = self.same_process(address, &facts) {
            self.join(address, &other);
            return;
        }
        let named: Vec<Address> = facts.named().into_iter().cloned().collect();
        for named in &named {
            self.meet(now, named, false);
        }
        let listen = match facts.part {
            Part::Sentinel => Some(Channels::Announcements),
            Part::Server if facts.listeners > 0 && !self.knows_a_sentinel() => {
                if self.hello == Hello::Unneeded {
                    self.hello = Hello::Until(now.mono + HELLO);
                }
                Some(Channels::Hellos)
            }
            Part::Server | Part::ClusterNode => None,
        };
        self.become_so(now, address, State::Up, Some(facts));
        let next = self.next_round(now);
        let Some(track) = self.tracks.get_mut(address) else { return };
        track.turn = next;
        if let (Some(channels), false) = (listen, track.is_listened_to) {
            track.is_listened_to = true;
            self.outputs.push_back(Output::Listen(address.clone(), channels));
        }
    }

    /// Another address at which the same process was found, if it is the better name for it.
    fn same_process(&self, address: &Address, facts: &Facts) -> Option<Address> {
        let is_same = |node: &&Node| {
            node.address != *address
                && !facts.run_id.is_empty()
                && node.live().is_some_and(|other| other.run_id == facts.run_id)
        };
        self.topology.nodes.values().find(is_same).map(|node| node.address.clone())
    }

    /// Lets one of two addresses of the same process go: the one that only the user has named.
    fn join(&mut self, one: &Address, other: &Address) {
        let is_seed = |address: &Address| self.topology.nodes.get(address).is_some_and(|node| node.is_seed);
        let (gone, kept) = if is_seed(other) && !is_seed(one) { (other, one) } else { (one, other) };
        let (gone, kept) = (gone.clone(), kept.clone());
        let was_seed = is_seed(&gone);
        self.tracks.remove(&gone);
        self.topology.nodes.remove(&gone);
        self.topology.aliases.retain(|_, to| *to != gone);
        self.outputs.push_back(Output::Leave(gone.clone()));
        self.topology.aliases.insert(gone, kept.clone());
        if let Some(node) = self.topology.nodes.get_mut(&kept) {
            node.is_seed |= was_seed;
        }
        // Its round was not over if it is the one that has just answered.
        if let Some(track) = self.tracks.get_mut(&kept)
            && matches!(&track.turn, Turn::Asked(questions) if questions.is_empty())
        {
            track.turn = Turn::Due(Mono::default());
        }
    }

    fn on_failed(&mut self, now: Now, address: &Address, fault: Fault) {
        let next = self.next_round(now);
        let Some(track) = self.tracks.get_mut(address) else { return };
        let was_asked = matches!(track.turn, Turn::Asked(_));
        // A connection that breaks while nothing is asked proves little: the next attempt tells more, and at once.
        track.turn = if was_asked { next } else { Turn::Due(now.mono) };
        track.last.clear();
        if was_asked {
            let since = match self.topology.nodes.get(address).map(|node| &node.state) {
                Some(State::Down { since, .. }) => *since,
                _ => now.unix,
            };
            let facts = self.topology.nodes.get(address).and_then(|node| node.facts.clone());
            self.become_so(now, address, State::Down { fault, since }, facts);
        }
    }

    fn become_so(&mut self, now: Now, address: &Address, state: State, facts: Option<Facts>) {
        let before = self.topology.nodes.get(address).cloned();
        let is_seed = before.as_ref().is_some_and(|node| node.is_seed);
        let after = Node { address: address.clone(), state, facts, is_seed };
        for draft in events::of_node(&self.topology, before.as_ref(), &after) {
            self.happen(now, draft);
        }
        self.topology.nodes.insert(address.clone(), after);
    }

    fn happen(&mut self, now: Now, draft: Draft) {
        self.numbered += 1;
        let known = |address: Address| self.topology.known_as(&address).clone();
        let event = Event {
            number: self.numbered,
            at: now.unix,
            kind: draft.kind,
            tone: draft.tone,
            node: draft.node.map(known),
            others: draft.others.into_iter().map(known).collect(),
            text: draft.text,
        };
        self.stories.take(&event, &self.events);
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn on_heard(&mut self, now: Now, address: &Address, channel: &str, payload: &str) {
        let is_sentinel = self.topology.nodes.get(address).and_then(Node::part) == Some(Part::Sentinel);
        if !is_sentinel {
            if let Some(sentinel) = introduced(payload) {
                self.meet(now, &sentinel, false);
            }
            return;
        }
        if let Some(draft) = events::announced(address, channel, payload) {
            self.happen(now, draft);
            // Whatever it is, what is known of its subject is out of date.
            self.hurry(now, address);
        }
    }

    /// Asks a node at once, unless it is being asked.
    fn hurry(&mut self, now: Now, address: &Address) {
        if let Some(track) = self.tracks.get_mut(address)
            && matches!(track.turn, Turn::Due(_))
        {
            track.turn = Turn::Due(now.mono);
        }
    }

    /// Forgets nodes that nobody names and that do not answer.
    fn forget(&mut self, now: Now) {
        let named: BTreeSet<Address> = self
            .topology
            .live()
            .flat_map(|(_, facts)| facts.named())
            .map(|address| self.topology.known_as(address).clone())
            .collect();
        let mut gone = Vec::new();
        for (address, track) in &mut self.tracks {
            let Some(node) = self.topology.nodes.get(address) else { continue };
            let stays = node.is_seed || node.fault().is_none() || named.contains(address);
            match (stays, track.unnamed) {
                (true, _) => track.unnamed = None,
                (false, None) => track.unnamed = Some(now.unix),
                (false, Some(since)) if now.unix - since > FORGET => gone.push(address.clone()),
                (false, Some(_)) => {}
            }
        }
        // Where nobody answers, nobody is named either, which means nothing.
        if self.topology.live().next().is_none() {
            return;
        }
        for address in gone {
            self.tracks.remove(&address);
            self.topology.nodes.remove(&address);
            self.outputs.push_back(Output::Leave(address.clone()));
            let text = "is named by nobody any more, and forgotten".to_owned();
            let kind = Kind::Forgotten;
            self.happen(now, Draft { kind, tone: Tone::Plain, node: Some(address), others: Vec::new(), text });
        }
    }
}

impl Machine for Explorer {
    type Input = Input;
    type Output = Output;
    type Timer = Timer;

    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Timeout => self.forget(now),
            Input::Answered(address, replies) => self.on_answered(now, &address, replies),
            Input::Failed(address, fault) => self.on_failed(now, &address, fault),
            Input::Heard(address, channel, payload) => self.on_heard(now, &address, &channel, &payload),
            Input::Deaf(address) => {
                if let Some(track) = self.tracks.get_mut(&address) {
                    track.is_listened_to = false;
                }
            }
            Input::Look(address) => self.meet(now, &address, true),
        }
        if matches!(self.hello, Hello::Until(until) if until <= now.mono) {
            self.hello = Hello::Over;
        }
        self.ask_due(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Mono, Timer)> {
        let due = self.tracks.values().filter_map(|track| match track.turn {
            Turn::Due(at) => Some((at, Timer::Ask)),
            Turn::Asked(_) => None,
        });
        let hello = match self.hello {
            Hello::Until(until) => Some((until, Timer::Hello)),
            Hello::Unneeded | Hello::Over => None,
        };
        due.chain(hello).min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::Group;
    use crate::health::Verdict;

    /// Nodes that answer from a table, and whoever is not in it refuses.
    #[derive(Default)]
    struct World {
        answers: BTreeMap<String, BTreeMap<&'static str, Reply>>,
        listened: Vec<(String, Channels)>,
        now: Now,
    }

    fn at(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn list(items: &[&[&str]]) -> Reply {
        let bulk = |text: &&str| Reply::Bulk(text.as_bytes().to_vec());
        Reply::Array(items.iter().map(|item| Reply::Array(item.iter().map(bulk).collect())).collect())
    }

    impl World {
        fn says(&mut self, node: &str, question: &'static str, reply: Reply) {
            self.answers.entry(node.to_owned()).or_default().insert(question, reply);
        }

        fn info(&mut self, node: &str, text: &str) {
            let text = format!("run_id:{node}\r\n{}\r\n", text.replace(' ', "\r\n"));
            self.says(node, "INFO", Reply::Bulk(text.into_bytes()));
        }

        fn perform(&mut self, explorer: &mut Explorer) {
            while let Some(output) = explorer.poll_output() {
                match output {
                    Output::Ask(address, questions) => {
                        let replies = self.answers.get(&address.to_string()).map(|table| {
                            let reply = |question: &Question| {
                                let words = question.words();
                                let found = table.get(words[0]).or_else(|| table.get(words.get(1)?));
                                found.cloned().unwrap_or(Reply::Error(b"ERR unknown command".to_vec()))
                            };
                            questions.iter().map(reply).collect()
                        });
                        let input = match replies {
                            Some(replies) => Input::Answered(address, replies),
                            None => Input::Failed(address, Fault::Refused),
                        };
                        explorer.handle(self.now, input);
                    }
                    Output::Listen(address, channels) => self.listened.push((address.to_string(), channels)),
                    Output::Leave(_) => {}
                }
            }
        }

        /// Lets one round pass.
        fn round(&mut self, explorer: &mut Explorer) {
            self.now = Now { mono: self.now.mono + Duration::from_secs(1), unix: self.now.unix + 1000 };
            explorer.handle(self.now, Input::Timeout);
            self.perform(explorer);
        }

        fn explore(&mut self, seed: &str) -> Explorer {
            let mut explorer = Explorer::new(&[at(seed)], Pace::default(), self.now);
            self.perform(&mut explorer);
            explorer
        }
    }

    const PRIMARY: &str = "redis_mode:standalone role:master slave0:ip=r.x,port=2,state=online,offset=1,lag=0";
    const REPLICA: &str = "redis_mode:standalone role:slave master_host:p.x master_port:1 master_link_status:up";

    fn sentinel_deployment() -> World {
        let mut world = World::default();
        world.info("p.x:1", PRIMARY);
        world.info("r.x:2", REPLICA);
        world.says("p.x:1", "PUBSUB", Reply::Array(vec![Reply::Bulk(b"h".to_vec()), Reply::Int(2)]));
        for (own, other) in [("s.x:3", "4"), ("s.x:4", "3")] {
            world.info(own, "redis_mode:sentinel");
            world.says(
                own,
                "MASTERS",
                list(&[&["name", "m", "ip", "p.x", "port", "1", "flags", "master", "quorum", "2"]]),
            );
            world.says(own, "SLAVES", list(&[&["ip", "r.x", "port", "2", "flags", "slave"]]));
            world.says(own, "SENTINELS", list(&[&["ip", "s.x", "port", other, "flags", "sentinel"]]));
            world.says(own, "CKQUORUM", Reply::Simple(b"OK".to_vec()));
        }
        world
    }

    #[test]
    fn the_whole_is_found_from_any_node() {
        for seed in ["p.x:1", "r.x:2", "s.x:3", "s.x:4"] {
            let mut world = sentinel_deployment();
            let mut explorer = world.explore(seed);
            if seed.starts_with('p') || seed.starts_with('r') {
                assert!(!explorer.is_settled(), "Sentinels are there, but unknown yet");
                assert!(world.listened.contains(&("p.x:1".to_owned(), Channels::Hellos)));
                let hello = "s.x,3,id,0,m,p.x,1,0".to_owned();
                explorer.handle(world.now, Input::Heard(at("p.x:1"), "__sentinel__:hello".to_owned(), hello));
                world.perform(&mut explorer);
            }
            assert!(explorer.is_settled());
            assert_eq!(explorer.topology().nodes.len(), 4);
            let [Group::Tree { name, branches, sentinels }] = &explorer.topology().groups()[..] else { panic!() };
            assert_eq!((name.as_deref(), branches.len(), sentinels.len()), (Some("m"), 2, 2));
            assert_eq!(explorer.topology().health().verdict, Verdict::Healthy, "{:?}", explorer.topology().health());
        }
    }

    #[test]
    fn sentinels_that_do_not_introduce_themselves_are_waited_for_only_so_long() {
        let mut world = sentinel_deployment();
        let mut explorer = world.explore("r.x:2");
        for _ in 0..6 {
            assert!(explorer.poll_timeout().is_some_and(|(at, _)| at > world.now.mono), "it would spin");
            world.round(&mut explorer);
        }
        assert!(explorer.is_settled());
    }

    #[test]
    fn servers_that_stand_alone_grant_locks_as_long_as_a_majority_answers() {
        let mut world = World::default();
        let names = ["a.x:1", "b.x:1", "c.x:1"];
        names.iter().for_each(|name| world.info(name, "redis_mode:standalone role:master"));
        let seeds = names.map(at);
        let mut explorer = Explorer::new(&seeds, Pace::default(), world.now);
        world.perform(&mut explorer);
        assert_eq!(explorer.topology().groups(), [Group::Independent { nodes: seeds.to_vec() }]);
        for (gone, verdict) in [("a.x:1", Verdict::Degraded), ("b.x:1", Verdict::Down)] {
            world.answers.remove(gone);
            world.round(&mut explorer);
            assert_eq!(explorer.topology().health().verdict, verdict, "{:?}", explorer.topology().health());
        }
        // One that was never seen counts too.
        let mut world = World::default();
        ["a.x:1", "b.x:1"].iter().for_each(|name| world.info(name, "redis_mode:standalone role:master"));
        let mut explorer = Explorer::new(&seeds, Pace::default(), world.now);
        world.perform(&mut explorer);
        assert_eq!(explorer.topology().groups(), [Group::Independent { nodes: seeds.to_vec() }]);
        assert_eq!(explorer.topology().health().verdict, Verdict::Degraded);
    }

    #[test]
    fn a_failover_is_seen_and_told() {
        let mut world = sentinel_deployment();
        let mut explorer = world.explore("s.x:3");
        world.answers.remove("p.x:1");
        world.round(&mut explorer);
        assert_eq!(explorer.topology().health().verdict, Verdict::Down);
        let odown = "master m p.x 1 #quorum 2/2".to_owned();
        explorer.handle(world.now, Input::Heard(at("s.x:3"), "+odown".to_owned(), odown));
        world.info("r.x:2", "redis_mode:standalone role:master");
        for own in ["s.x:3", "s.x:4"] {
            world.says(
                own,
                "MASTERS",
                list(&[&["name", "m", "ip", "r.x", "port", "2", "flags", "master", "quorum", "2"]]),
            );
            world.says(own, "SLAVES", list(&[&["ip", "p.x", "port", "1", "flags", "slave,s_down"]]));
        }
        world.round(&mut explorer);
        let health = explorer.topology().health();
        assert_eq!(health.verdict, Verdict::Degraded, "{health:?}");
        let story = explorer.stories().next().unwrap();
        assert_eq!((story.from.to_string(), story.to.to_string()), ("p.x:1".to_owned(), "r.x:2".to_owned()));
        let told = |text: &str| story.steps.iter().any(|step| step.text.contains(text));
        assert!(told("connection refused") && told("+odown") && told("has become a primary"), "{story:?}");
        assert!(told("sends clients of m from p.x:1 to r.x:2"), "{story:?}");
    }

    #[test]
    fn a_node_under_two_names_is_one() {
        let mut world = sentinel_deployment();
        let same = world.answers["p.x:1"].clone();
        world.answers.insert("localhost:1".to_owned(), same);
        let mut explorer = world.explore("localhost:1");
        world.round(&mut explorer);
        let nodes: Vec<String> = explorer.topology().nodes.keys().map(Address::to_string).collect();
        assert_eq!(nodes, ["p.x:1", "r.x:2"]);
        assert_eq!(explorer.topology().node(&at("localhost:1")).unwrap().address, at("p.x:1"));
    }

    #[test]
    fn a_connection_that_breaks_is_looked_at_at_once() {
        let mut world = sentinel_deployment();
        let mut explorer = world.explore("s.x:3");
        world.answers.remove("r.x:2");
        explorer.handle(world.now, Input::Failed(at("r.x:2"), Fault::Closed));
        world.perform(&mut explorer);
        assert_eq!(explorer.topology().node(&at("r.x:2")).unwrap().fault(), Some(&Fault::Refused));
        let last = explorer.events().back().unwrap();
        assert_eq!((last.kind, last.text.as_str()), (Kind::Lost, "does not answer: connection refused"));
    }

    #[test]
    fn whoever_names_a_million_nodes_is_not_believed() {
        let mut world = World::default();
        let lines: String =
            (0..3000).map(|n| format!(" slave{n}:ip=10.0.0.{},port={},state=online", n % 250, n + 1)).collect();
        world.info("p.x:1", &format!("redis_mode:standalone role:master{lines}"));
        let explorer = world.explore("p.x:1");
        assert!(explorer.topology().nodes.len() <= MOST_NODES);
        assert!(explorer.is_full());
    }

    #[test]
    fn nothing_that_answers_nonsense_is_a_node() {
        for (reply, said) in [
            (Reply::Error(b"NOAUTH Authentication required.".to_vec()), "not let in"),
            (Reply::Error(b"ERR what".to_vec()), "no Redis there"),
            (Reply::Int(7), "no Redis there"),
        ] {
            let mut world = World::default();
            world.says("p.x:1", "INFO", reply);
            let explorer = world.explore("p.x:1");
            assert!(explorer.is_settled());
            let health = explorer.topology().health();
            assert_eq!(health.verdict, Verdict::Unreachable);
            assert!(health.problems.iter().any(|problem| problem.text.starts_with(said)), "{health:?}");
        }
    }
}

//! A bench for the commands' own tests: a keyspace, a clock that stands still until it is moved, and
//! replies in a form that people can read.
//!
//! Commands run as the server runs them: on a view of the slots that their specification declares, so
//! that a key that was not declared is found out.

use std::cell::RefCell;
use std::sync::Arc;

use quorate_keyspace::{AccessPolicy, Db, Expiry, KeyView, Keyspace, Lazy, Member, Scope, SlotSet};
use quorate_resp::{Protocol, Reply, ReplyWriter, parse_reply, split_words};
use quorate_stdx::{Rng, UnixMs};

use crate::{Args, Block, Class, Effects, Events, Exec, Origin, Outcome, Run, Settings, Spec, TABLE, TimeoutReply};

/// See the module's text.
pub(crate) struct Bench {
    member: Member,
    /// The time, in milliseconds.
    pub(crate) now: i64,
    pub(crate) db: Db,
    pub(crate) protocol: Protocol,
    pub(crate) settings: Settings,
    /// On whose behalf lines are run.
    pub(crate) origin: Origin,
    pub(crate) lazy: Lazy,
    seed: u64,
    propagated: String,
    events: String,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench {
            member: Arc::new(Keyspace::new(16)).join(),
            now: 1_000_000,
            db: Db(0),
            protocol: Protocol::Resp2,
            settings: Settings::default(),
            origin: Origin::Client,
            lazy: Lazy::default(),
            seed: 1,
            propagated: String::new(),
            events: String::new(),
        }
    }

    /// Runs a line and returns its reply in readable form: texts as they are, nothing as `nil`, arrays in
    /// brackets, and what it waits for in parentheses if it blocks.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let words = split_words(line.as_bytes()).expect("a line's quotes are balanced");
        let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
        render(&self.reply(&words))
    }

    /// Runs a request and returns its reply.
    pub(crate) fn reply(&mut self, words: &[&[u8]]) -> Reply {
        let args = Args::new(words);
        let spec = lookup(args);
        assert!(spec.arity.accepts(args.len()), "{} does not take so many arguments", spec.name);
        let Run::Data(run) = spec.run else { panic!("{} is no data command", spec.name) };
        self.seed += 1;
        let scope = Scope {
            now: UnixMs(self.now),
            expiry: Expiry::Remove,
            access: AccessPolicy::Lru,
            no_touch: false,
            lazy: self.lazy,
            reports_new: false,
            broadcasts: false,
            acting: 0.into(),
            rng: RefCell::new(Rng::new(self.seed)),
        };
        let job =
            Job { run, args, db: self.db, protocol: self.protocol, settings: &self.settings, origin: self.origin };
        let done = if spec.needs_alone(args) {
            self.member.alone(|alone| job.run(&mut alone.view(&scope)))
        } else {
            let slots = SlotSet::of_keys(spec.keys_of(args));
            self.member.enter();
            let done = job.run(&mut self.member.view(slots, &scope));
            self.member.leave();
            done
        };
        self.propagated = done.propagated;
        self.events = done.events;
        let (reply, len) = parse_reply(&done.out).expect("a reply").expect("a whole reply");
        assert_eq!(len, done.out.len(), "{} answers more than once", spec.name);
        reply
    }

    /// Runs a line and holds its reply against `expected`; `~` in front says that order is no matter.
    #[track_caller]
    pub(crate) fn check(&mut self, line: &str, expected: &str) -> &mut Bench {
        let reply = self.run(line);
        match expected.strip_prefix('~') {
            Some(expected) => {
                let sort = |text: &str| {
                    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
                    let mut words: Vec<String> = inner.split_whitespace().map(str::to_owned).collect();
                    words.sort_unstable();
                    words
                };
                assert_eq!(sort(&reply), sort(expected), "{line}");
            }
            None => assert_eq!(reply, expected, "{line}"),
        }
        self
    }

    /// Holds what the last line passes on against `expected`: requests with `; ` between them.
    #[track_caller]
    pub(crate) fn propagates(&mut self, expected: &str) -> &mut Bench {
        assert_eq!(self.propagated, expected);
        self
    }

    /// Holds the events of the last line against `expected`: `name key` with `; ` between them.
    #[track_caller]
    pub(crate) fn notifies(&mut self, expected: &str) -> &mut Bench {
        assert_eq!(self.events, expected);
        self
    }

    /// Runs lines of `request => reply`.
    #[track_caller]
    pub(crate) fn script(&mut self, lines: &str) -> &mut Bench {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (request, expected) = line.split_once(" => ").expect("a line has a request and a reply");
            self.check(request, expected);
        }
        self
    }
}

/// The specification that a request names.
fn lookup(args: Args<'_>) -> &'static Spec {
    let name = String::from_utf8_lossy(args.at(0)).to_lowercase();
    let spec = TABLE.iter().find(|spec| spec.name == name).unwrap_or_else(|| panic!("no command {name}"));
    match (spec.run, args.get(1)) {
        (Run::Container, Some(sub)) => spec.subcommand(sub).expect("a subcommand"),
        _ => spec,
    }
}

struct Job<'a> {
    run: fn(&mut Exec<'_, '_>, Args<'_>) -> Outcome,
    args: Args<'a>,
    db: Db,
    protocol: Protocol,
    settings: &'a Settings,
    origin: Origin,
}

struct Done {
    out: Vec<u8>,
    propagated: String,
    events: String,
}

impl Job<'_> {
    fn run(&self, view: &mut KeyView<'_>) -> Done {
        let mut out = Vec::new();
        let mut effects = Effects::default();
        let mut events = Events::default();
        // That a key is new is the view's to tell, and only where somebody wants to hear of it.
        events.mask = Class(!Class::NEW.0);
        let mut exec = Exec {
            now: view.scope().now,
            db: self.db,
            keys: view,
            reply: ReplyWriter::new(&mut out, self.protocol),
            effects: &mut effects,
            events: &mut events,
            settings: self.settings,
            origin: self.origin,
            block: None,
        };
        if let Err(error) = (self.run)(&mut exec, self.args) {
            out.clear();
            ReplyWriter::new(&mut out, self.protocol).error(&error.wire());
        } else if let Some(block) = exec.block.take() {
            assert!(out.is_empty(), "who waits has not been answered");
            ReplyWriter::new(&mut out, self.protocol).simple(&describe(&block));
        }
        let propagated = if effects.is_verbatim() {
            join(self.args.words().iter().copied())
        } else {
            let requests = effects.recorded().map(|(_, wire)| match parse_reply(wire) {
                Ok(Some((Reply::Array(words), _))) => render_all(&words),
                other => panic!("{other:?} is no request"),
            });
            requests.collect::<Vec<_>>().join("; ")
        };
        let events: Vec<_> = events
            .take()
            .into_iter()
            .map(|event| format!("{} {}", event.name, String::from_utf8_lossy(&event.key)))
            .collect();
        Done { out, propagated, events: events.join("; ") }
    }
}

/// What a client waits for, in readable form.
fn describe(block: &Block) -> String {
    let until = block.until.map(|at| format!(" until {}", at.0)).unwrap_or_default();
    let reply = if block.reply == TimeoutReply::Null { ", else nil" } else { "" };
    let again = block.again.iter().map(|words| format!(", again as {}", join(words.iter().map(Vec::as_slice))));
    let again: String = again.collect();
    format!("(waits for {}{until}{reply}{again})", join(block.keys.iter().map(|key| &**key)))
}

fn join<'w>(words: impl Iterator<Item = &'w [u8]>) -> String {
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" ")
}

fn render_all(replies: &[Reply]) -> String {
    replies.iter().map(render).collect::<Vec<_>>().join(" ")
}

fn render(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Error(text) | Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Int(value) => value.to_string(),
        Reply::Null => "nil".to_owned(),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => format!("[{}]", render_all(items)),
        Reply::Map(pairs) => {
            let pairs: Vec<_> =
                pairs.iter().map(|(key, value)| format!("{}: {}", render(key), render(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        other => format!("{other:?}"),
    }
}

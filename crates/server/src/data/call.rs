//! Running one command: keys locked, effects in the log before the locks go, the reply in a buffer.
//!
//! Everything that runs commands comes through here: requests, transactions, scripts, clients that were
//! blocked, and the replication stream.

use std::sync::Arc;

use quorate_commands::{Args, Block, Class, CommandError, Effects, Event, Events, Exec, Flags, Origin, Outcome, Spec};
use quorate_keyspace::{Alone, Db, Expired, Flushed, KeyView, Member, Notice, Place, Scope, SlotSet};
use quorate_resp::{Protocol, ReplyWriter};
use quorate_stdx::{Now, Offset};

use crate::data::blocked;
use crate::data::client::{Client, Session};
use crate::data::memory::Meter;
use crate::data::net::Net;
use crate::data::own_expiries;
use crate::data::redirect;
use crate::data::scripts::Interpreter;
use crate::data::slot_load::{self, Load};
use crate::data::stats::{Statistics, Verdict};
use crate::data::table::{Command, DataRun, Runner};
use crate::data::ticks::{Tick, Ticker};
use crate::data::tracking;
use crate::log;
use crate::server::{Published, Server};

/// What a thread that runs commands keeps from one to the next.
pub struct Local {
    /// Effects of the command that runs.
    pub effects: Effects,
    /// Effects of the whole transaction or script, while one runs.
    pub total: Effects,
    /// Keyspace events of the command that runs.
    pub events: Events,
    /// Keys that waiting clients may be served from when the command under way is in the log.
    pub ready: Vec<(Db, Box<[u8]>)>,
    /// What flushed databases held, to be freed by this thread when it is not alone any more.
    pub flushed: Vec<Flushed>,
    /// What commands depend on besides keys.
    pub published: Arc<Published>,
    /// Tells how long commands take.
    pub ticker: Ticker,
    /// When the last command ended, if nothing but the next one has come since.
    pub ended: Option<Tick>,
    /// Counts this thread's memory.
    pub meter: Meter,
    /// This thread's statistics.
    pub stats: Arc<Statistics>,
    /// The index of the thread among the network threads.
    pub worker: usize,
    /// The offset behind what this thread last appended to the log.
    pub appended: Offset,
    /// Runs scripts; made at the first one.
    pub interpreter: Option<Box<Interpreter>>,
    /// The reply of the script under way.
    pub script_reply: Vec<u8>,
    /// What a command of the server says of itself beyond its reply.
    pub after: After,
    /// A script was busy when the thread last looked.
    pub saw_busy: bool,
    /// There was no room, and nothing to evict, before the request that runs.
    pub no_room: bool,
}

/// What is to be done after a command of the server that has not returned an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum After {
    /// Nothing.
    #[default]
    Nothing,
    /// It counts as failed, and its error has been counted already.
    Failed,
    /// It has done nothing, because it needs to be alone for it: it is to be run again so. Or it came with our primary's
    /// stream, and a busy script stands in the way: it is to be run again when that has ended.
    Again,
}

impl Local {
    /// Takes over what has been published.
    pub fn adopt(&mut self, published: Arc<Published>) {
        if self.published.memory.max == 0 {
            self.meter.restart();
        }
        self.events.mask = published.notify;
        self.published = published;
    }
}

/// The data, as far as a command may reach.
pub enum Access<'a, 'b> {
    /// An active thread that holds nothing yet.
    Active(&'a mut Member),
    /// A thread that is alone.
    Alone(&'a mut Alone<'b>),
    /// The data are in use by the script on whose behalf the command runs, which needs none itself.
    Withheld,
}

impl Local {
    /// A thread that has done nothing yet.
    pub fn new(published: Arc<Published>, stats: Arc<Statistics>, worker: usize) -> Local {
        let mut events = Events::default();
        events.mask = published.notify;
        Local {
            effects: Effects::default(),
            total: Effects::default(),
            events,
            ready: Vec::new(),
            flushed: Vec::new(),
            ticker: Ticker::new(),
            ended: None,
            meter: Meter::new(),
            published,
            stats,
            worker,
            interpreter: None,
            script_reply: Vec::new(),
            after: After::Nothing,
            saw_busy: false,
            no_room: false,
            appended: Offset(0),
        }
    }
}

impl Local {
    /// Counts a command that was run, and took so many nanoseconds.
    #[inline]
    pub fn called(&self, command: &Command, nanos: u64, verdict: Verdict) {
        self.stats.called(command, nanos, verdict);
        if self.published.track_latency {
            self.stats.of(command).durations.record(nanos);
        }
    }
}

impl<'b> Access<'_, 'b> {
    /// The same for a shorter time.
    pub fn reborrow(&mut self) -> Access<'_, 'b> {
        match self {
            Access::Active(member) => Access::Active(member),
            Access::Alone(alone) => Access::Alone(alone),
            Access::Withheld => Access::Withheld,
        }
    }

    /// A view of these slots, or of everything while alone.
    #[inline]
    pub fn view<'v>(&'v mut self, slots: SlotSet, scope: &'v Scope) -> KeyView<'v> {
        match self {
            Access::Active(member) => member.view(slots, scope),
            Access::Alone(alone) => alone.view(scope),
            Access::Withheld => unreachable!("a script runs commands on data itself"),
        }
    }

    /// As [`Access::view`], unless it has to wait for a slot and is told to give up.
    #[inline]
    pub fn view_unless<'v>(
        &'v mut self,
        slots: SlotSet,
        scope: &'v Scope,
        gives_up: impl Fn() -> bool,
    ) -> Option<KeyView<'v>> {
        match self {
            Access::Active(member) => member.view_unless(slots, scope, gives_up),
            other => Some(other.view(slots, scope)),
        }
    }

    /// The proof of being alone.
    ///
    /// # Panics
    /// If the command's specification does not have `Flags::ALONE`.
    pub fn alone(&mut self) -> &mut Alone<'b> {
        match self {
            Access::Alone(alone) => alone,
            Access::Active(_) | Access::Withheld => {
                panic!("a command that needs to be alone says so in its specification")
            }
        }
    }
}

/// The world as a command of the server sees it.
pub struct Cx<'a, 'b> {
    /// The server.
    pub server: &'a Arc<Server>,
    /// The client.
    pub client: &'a Arc<Client>,
    /// Its state.
    pub session: &'a mut Session,
    /// The data.
    pub access: Access<'a, 'b>,
    /// The time, and how keys expire, for the batch of commands under way.
    pub scope: &'a Scope,
    /// This thread's belongings.
    pub local: &'a mut Local,
    /// Its sockets, for a client's own commands.
    pub net: Option<&'a mut Net>,
    /// Where replies go.
    pub out: &'a mut Vec<u8>,
    /// The time.
    pub now: Now,
    /// On whose behalf the command runs.
    pub origin: Origin,
    /// The command that runs.
    pub command: &'static Command,
}

impl Cx<'_, '_> {
    /// The reply.
    #[inline]
    pub fn reply(&mut self) -> ReplyWriter<'_> {
        ReplyWriter::new(self.out, self.session.protocol)
    }

    /// Does `work` while the client's output is where it is at other times, for those who look at what it holds.
    pub fn with_output_in_place<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        std::mem::swap(self.out, &mut self.session.out);
        let result = work(self);
        std::mem::swap(self.out, &mut self.session.out);
        result
    }

    /// A view of the slots of `keys`, or of everything while alone, with the other parts of this
    /// context still usable.
    pub fn view<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) -> KeyView<'_> {
        self.access.view(SlotSet::of_keys(keys), self.scope)
    }
}

/// What a data command needs besides its view.
pub struct Job<'j> {
    /// Its specification.
    pub spec: &'static Spec,
    /// Its function.
    pub run: fn(&mut Exec<'_, '_>, Args<'_>) -> Outcome,
    /// Its arguments.
    pub args: Args<'j>,
    /// The selected database.
    pub db: Db,
    /// The client's protocol version.
    pub protocol: Protocol,
    /// On whose behalf it runs.
    pub origin: Origin,
}

/// How a command ended.
pub enum End {
    /// With a reply, which is in the buffer.
    Replied,
    /// With an error, which is in the buffer.
    Failed,
    /// It has to wait; nothing is in the buffer.
    Blocks(Block),
}

/// Runs a data command on a view that covers its keys. Its effects are in `local.effects` afterwards.
#[inline(always)]
pub fn run_data(view: &mut KeyView<'_>, local: &mut Local, job: &Job<'_>, out: &mut Vec<u8>) -> End {
    let start = out.len();
    local.effects.clear();
    local.events.begin();
    let mut exec = Exec {
        now: view.scope().now,
        db: job.db,
        keys: view,
        reply: ReplyWriter::new(out, job.protocol),
        effects: &mut local.effects,
        events: &mut local.events,
        settings: &local.published.settings,
        origin: job.origin,
        block: None,
    };
    let outcome = (job.run)(&mut exec, job.args);
    let block = exec.block.take();
    match (outcome, block) {
        (Ok(()), None) => End::Replied,
        (Ok(()), Some(block)) => End::Blocks(block),
        (Err(error), _) => {
            write_error(out, start, &error, &local.stats);
            End::Failed
        }
    }
}

/// Replaces what a command has written since `start` by an error.
#[cold]
pub fn write_error(out: &mut Vec<u8>, start: usize, error: &CommandError, stats: &Statistics) {
    out.truncate(start);
    let text = error.wire();
    stats.error(&text);
    if let Some(note) = error.note() {
        log::warning(&note);
    }
    ReplyWriter::new(out, Protocol::Resp2).error(&text);
}

/// Puts what a command did into the log, while its slots are still held. `raw` is the request as it
/// came, if it can be passed on as it is.
#[inline]
pub fn log_effects(
    server: &Server,
    view: &mut KeyView<'_>,
    local: &mut Local,
    db: Db,
    args: Args<'_>,
    raw: Option<&[u8]>,
) {
    if view.has_notices() {
        log_notices(server, view, local);
    }
    let dirty = local.effects.dirty();
    if dirty > 0 {
        local.stats.dirty.add(dirty as i64);
    }
    if !server.feed.is_on() {
        return;
    }
    if local.effects.is_verbatim() {
        match raw {
            Some(raw) => local.appended = server.feed.append(db, raw),
            None => {
                let mut wire = Vec::new();
                quorate_resp::encode_request(&mut wire, args.words());
                local.appended = server.feed.append(db, &wire);
            }
        }
    } else if local.effects.recorded().len() > 0 {
        local.appended = server.feed.append_all(local.effects.recorded());
    } else if local.effects.is_told() {
        tell(server, local, args, raw);
    }
}

/// Puts what changes no data into the log.
#[cold]
fn tell(server: &Server, local: &mut Local, args: Args<'_>, raw: Option<&[u8]>) {
    local.appended = match raw {
        Some(raw) => server.feed.append_aside(raw),
        None => {
            let mut wire = Vec::new();
            quorate_resp::encode_request(&mut wire, args.words());
            server.feed.append_aside(&wire)
        }
    };
}

/// Passes on the removal of keys whose time had come, and tells of that and of new keys.
#[cold]
pub fn log_notices(server: &Server, view: &mut KeyView<'_>, local: &mut Local) {
    let name: &[u8] = if local.published.lazy.expire { b"UNLINK" } else { b"DEL" };
    for gone in tell_notices(view, local) {
        if server.feed.is_on() {
            let mut wire = Vec::new();
            quorate_resp::encode_request(&mut wire, &gone.words(name));
            server.feed.append(gone.db, &wire);
        }
    }
}

/// A key whose time had come, or fields of a hash.
struct Gone {
    db: Db,
    key: Box<[u8]>,
    /// None, if the key is gone as a whole.
    fields: Vec<Box<[u8]>>,
}

impl Gone {
    /// The request that tells others of it; `name` is that which removes a whole key.
    fn words<'g>(&'g self, name: &'g [u8]) -> Vec<&'g [u8]> {
        let name = if self.fields.is_empty() { name } else { b"HDEL" };
        [name, &self.key].into_iter().chain(self.fields.iter().map(|field| &**field)).collect()
    }
}

/// Puts what befell keys before the events of the command that ran; what is gone because its time had come.
#[cold]
fn tell_notices(view: &mut KeyView<'_>, local: &mut Local) -> Vec<Gone> {
    let (mut told, mut gone) = (Vec::new(), Vec::new());
    for notice in view.take_notices() {
        match notice {
            Notice::Expired(expired) => {
                told.push((Class::EXPIRED, "expired", expired.db, expired.key.clone()));
                gone.push(Gone { db: expired.db, key: expired.key, fields: Vec::new() });
            }
            Notice::Fields { db, key, fields, emptied } => {
                told.push((Class::HASH, "hexpired", db, key.clone()));
                if emptied {
                    told.push((Class::GENERIC, "del", db, key.clone()));
                }
                gone.push(Gone { db, key, fields });
            }
            Notice::New { db, key } => told.push((Class::NEW, "new", db, key)),
        }
    }
    local.events.note_before(told.into_iter().map(|(class, name, db, key)| Event { class, name, db, key }));
    gone
}

/// Adds the effects of a command within a transaction or script to those of the whole. Its changes are
/// counted by the caller.
pub fn gather_effects(view: &mut KeyView<'_>, local: &mut Local, db: Db, args: Args<'_>) {
    gather_notices(view, local);
    gather(local, db, args);
}

/// Adds the removal of keys whose time had come to the effects of the whole, and tells of that and of new keys.
pub fn gather_notices(view: &mut KeyView<'_>, local: &mut Local) {
    if !view.has_notices() {
        return;
    }
    for gone in tell_notices(view, local) {
        local.total.record(gone.db, &gone.words(b"DEL"));
    }
}

/// As [`gather_effects`], for a command that saw no keys.
pub fn gather(local: &mut Local, db: Db, args: Args<'_>) {
    if local.effects.is_verbatim() || local.effects.is_told() {
        local.total.record(db, args.words());
    } else {
        for (db, wire) in local.effects.recorded() {
            local.total.record_wire(db, wire);
        }
    }
}

/// Logs what a transaction or script did as a whole.
pub fn log_total(server: &Server, local: &mut Local) {
    if server.feed.is_on() && local.total.recorded().len() > 0 {
        local.appended = server.feed.append_all(local.total.recorded());
    }
    local.total.clear();
}

/// How things stood when a command began.
struct Began {
    started: Tick,
    appended: Offset,
}

/// Keeps the statistics of a command that has run, and tells of it whoever wants to hear; how many nanoseconds it took.
#[allow(clippy::too_many_arguments, reason = "they are a context taken apart")]
#[inline]
fn account(
    server: &Arc<Server>,
    session: &mut Session,
    local: &mut Local,
    command: &'static Command,
    args: Args<'_>,
    origin: Origin,
    began: Began,
    verdict: Verdict,
) -> u64 {
    let ended = local.ticker.now();
    local.ended = Some(ended);
    let nanos = local.ticker.between(began.started, ended);
    local.called(command, nanos, verdict);
    if local.appended != began.appended {
        session.written = local.appended;
    }
    crate::admin::monitor::show(server, session, command, args, origin);
    crate::admin::slowlog::note(server, session, local, command, args, nanos);
    if !local.events.is_empty() {
        crate::data::pubsub::publish_events(server, &mut local.events);
    }
    nanos
}

/// Runs a plain command of a client as [`Cx::call_at`] would; see `worker/plain.rs` for what is known of both. False, and
/// nothing done, if a busy script holds the slot.
#[allow(clippy::too_many_arguments, reason = "they are a context taken apart")]
#[inline]
pub fn call_plain(
    server: &Arc<Server>,
    session: &mut Session,
    member: &mut Member,
    scope: &Scope,
    local: &mut Local,
    (command, run): (&'static Command, DataRun),
    (args, raw): (Args<'_>, &[u8]),
    place: Place,
) -> bool {
    let started = local.ended.take().unwrap_or_else(|| local.ticker.now());
    let began = Began { started, appended: local.appended };
    let Some(mut view) = member.view_of(place.slot, scope, || server.scripts.is_busy()) else { return false };
    view.know(args.at(1), place);
    let (spec, db, protocol, origin) = (command.spec, session.db, session.protocol, Origin::Client);
    let end = run_data(&mut view, local, &Job { spec, run, args, db, protocol, origin }, &mut session.out);
    let is_ordinary = view.is_ordinary();
    if !is_ordinary || !local.effects.is_none() {
        log_effects(server, &mut view, local, db, args, Some(raw));
    }
    let later = if is_ordinary { Vec::new() } else { blocked::serve(server, local, &mut view) };
    view.end();
    if !later.is_empty() {
        blocked::serve_later(server, local, Access::Active(member), scope, later);
    }
    let verdict = if matches!(end, End::Failed) { Verdict::Failed } else { Verdict::Done };
    account(server, session, local, command, args, origin, began, verdict);
    true
}

impl Cx<'_, '_> {
    /// Runs one data command of a client at once or lets the client wait.
    #[inline]
    pub fn call_data(
        &mut self,
        run: fn(&mut Exec<'_, '_>, Args<'_>) -> Outcome,
        args: Args<'_>,
        raw: Option<&[u8]>,
        place: Option<Place>,
    ) -> End {
        let spec = self.command.spec;
        let db = self.session.db;
        // The place tells of the first argument, and of the database that was selected when it was looked up.
        let place = place.filter(|place| self.command.has_one_key_first && place.db == db);
        let slots = match place {
            Some(place) => SlotSet::One(place.slot),
            None if spec.flags.any(Flags::ALONE.and(Flags::WALKS)) => SlotSet::None,
            None => SlotSet::of_keys(spec.keys_of(args)),
        };
        let job = Job { spec, run, args, db, protocol: self.session.protocol, origin: self.origin };
        let waits = !matches!(self.origin, Origin::Client | Origin::Replication);
        let Some(mut view) = self.access.view_unless(slots, self.scope, || !waits && self.server.scripts.is_busy())
        else {
            return self.answer_busy();
        };
        if !self.local.published.all_clear
            && let Some(error) = redirect::absent_here(self.local, &view, self.origin, self.command, self.session, args)
        {
            write_error(self.out, self.out.len(), &error, &self.local.stats);
            return End::Failed;
        }
        if let Some(place) = place {
            view.know(args.at(1), place);
        }
        let end = run_data(&mut view, self.local, &job, self.out);
        if self.session.tracking.is_some() {
            tracking::remember(&mut view, self.client, self.session, self.command, args);
        }
        log_effects(self.server, &mut view, self.local, db, args, raw);
        if !self.local.published.all_clear && self.local.effects.dirty() > 0 {
            own_expiries::note(self.server, self.local, &view, self.origin, db, spec.keys_of(args));
        }
        if let End::Blocks(block) = &end {
            blocked::begin(self.server, self.client, self.session, self.command, args, block, &mut view);
        }
        let later = blocked::serve(self.server, self.local, &mut view);
        let overdue = if spec.keys.is_empty() { view.take_overdue() } else { Vec::new() };
        drop(view);
        for expired in overdue {
            self.settle(&expired);
        }
        if !later.is_empty() {
            blocked::serve_later(self.server, self.local, self.access.reborrow(), self.scope, later);
        }
        end
    }

    /// Removes an expired key that a walk has met, if it is still there.
    #[cold]
    fn settle(&mut self, expired: &Expired) {
        let slots = SlotSet::of_keys(std::iter::once(&*expired.key));
        let Some(mut view) = self.access.view_unless(slots, self.scope, || self.server.scripts.is_busy()) else {
            return;
        };
        view.settle(expired.db, &expired.key);
        if view.has_notices() {
            log_notices(self.server, &mut view, self.local);
        }
    }

    /// A slot of the command's keys is held by a busy script.
    #[cold]
    fn answer_busy(&mut self) -> End {
        if self.origin == Origin::Replication {
            self.local.after = After::Again;
            return End::Failed;
        }
        let start = self.out.len();
        write_error(self.out, start, &self.server.scripts.busy_error(), &self.local.stats);
        End::Failed
    }

    /// Runs the command, whatever it is, and keeps its statistics.
    pub fn call(&mut self, args: Args<'_>, raw: Option<&[u8]>) {
        self.call_at(args, raw, None);
    }

    /// As [`Cx::call`]; `place` is where the first argument belongs, if that is known already.
    #[inline]
    pub fn call_at(&mut self, args: Args<'_>, raw: Option<&[u8]>, place: Option<Place>) {
        // Of two requests that came together the first one's end is the second one's beginning.
        let ticker = self.local.ticker;
        let started = self.local.ended.take().unwrap_or_else(|| ticker.now());
        let appended = self.local.appended;
        let start = self.out.len();
        let verdict = match self.command.runner {
            Runner::Data(run) => match self.call_data(run, args, raw, place) {
                End::Failed if self.local.after == After::Again => Verdict::Again,
                End::Failed => Verdict::Failed,
                End::Replied | End::Blocks(_) => Verdict::Done,
            },
            Runner::Server(run) => self.call_server(run, args, raw),
            Runner::Container => unreachable!("a container is resolved to its subcommand before it is called"),
        };
        if verdict == Verdict::Again {
            return;
        }
        let nanos = account(
            self.server,
            self.session,
            self.local,
            self.command,
            args,
            self.origin,
            Began { started, appended },
            verdict,
        );
        if let Some(load) = &self.local.published.slot_load {
            let bytes_in = raw.map_or_else(|| slot_load::request_bytes(args), <[u8]>::len) as u64;
            let bytes_out = self.out.len().saturating_sub(start) as u64;
            load.note(self.command.spec, args, Load { nanos, bytes_in, bytes_out });
        }
    }

    /// Notes that the client is about to read keys by a command of the server, which locks them itself.
    #[cold]
    fn remember_before(&mut self, args: Args<'_>) {
        if self.command.spec.keys.is_empty() {
            return;
        }
        let slots = SlotSet::of_keys(self.command.spec.keys_of(args));
        let mut view = self.access.view(slots, self.scope);
        tracking::remember(&mut view, self.client, self.session, self.command, args);
    }

    fn call_server(&mut self, run: crate::data::table::ServerRun, args: Args<'_>, raw: Option<&[u8]>) -> Verdict {
        let start = self.out.len();
        self.local.effects.clear();
        let db = self.session.db;
        if self.session.tracking.is_some() && self.origin == Origin::Client {
            self.remember_before(args);
        }
        let outcome = run(self, args);
        let verdict = match outcome {
            Ok(()) => match std::mem::take(&mut self.local.after) {
                After::Nothing => Verdict::Done,
                After::Failed => Verdict::Failed,
                After::Again => {
                    self.local.after = After::Again;
                    return Verdict::Again;
                }
            },
            Err(error) => {
                write_error(self.out, start, &error, &self.local.stats);
                Verdict::Failed
            }
        };
        if matches!(self.access, Access::Alone(_)) {
            // What the command has published holds for how it is itself accounted for.
            self.local.adopt(self.server.published());
        }
        if self.origin == Origin::Client {
            let mut view = self.access.view(SlotSet::None, self.scope);
            log_effects(self.server, &mut view, self.local, db, args, raw);
            drop(view);
            if !self.local.ready.is_empty() {
                blocked::serve_noted(self.server, self.local, self.access.alone(), self.scope);
            }
        }
        verdict
    }
}

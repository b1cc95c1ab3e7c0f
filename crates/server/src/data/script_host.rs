//! The server as a running script sees it: which commands it may call, and how they are run.
//!
//! A script holds the slots of its keys, or it is alone; `scripts.rs` tells when, and why that is enough.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorate_acl::Context;
use quorate_commands::{Args, CommandError, Flags, Origin};
use quorate_keyspace::{Alone, Db, KeyView, Scope, Slot, SlotSet};
use quorate_resp::{Protocol, ReplyWriter};
use quorate_scripting::{Host, LogLevel, Replicate, Stop};
use quorate_stdx::Now;

use crate::admin::transactions::run_nested;
use crate::admin::{monitor, slowlog};
use crate::control::progress;
use crate::data::call::{Access, Cx, End, Job, Local, gather, gather_effects, run_data, write_error};
use crate::data::client::{Client, Session};
use crate::data::dispatch::resolve;
use crate::data::gates;
use crate::data::guard;
use crate::data::net::Net;
use crate::data::redirect;
use crate::data::scripts::{Busy, BusyScript, Kind, MOST_UNDO, Run};
use crate::data::stats::Verdict;
use crate::data::table::{Command, Runner};
use crate::data::ticks::nanos;
use crate::data::tracking;
use crate::server::{Role, Server};

/// The most calls whose statistics are held back; a script of more that is run again counts some twice.
const MOST_HELD_BACK: usize = 4096;

/// The data, as far as a script may reach.
pub enum Keys<'k, 'b> {
    /// The slots of its keys, and what it does can be taken back.
    Held(KeyView<'k>),
    /// Everything.
    Alone(&'k mut Alone<'b>),
}

/// What a script may do.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// It must not write.
    pub read_only: bool,
    /// It may write although memory is short.
    pub allow_oom: bool,
    /// In a cluster all of its keys must be in one slot.
    pub single_slot: bool,
}

/// The host of one script; see the module's text.
pub struct ScriptHost<'h, 'b> {
    /// The server.
    pub server: &'h Arc<Server>,
    /// Whose script it is.
    pub client: &'h Arc<Client>,
    /// Its session; database and protocol are the script's own while it runs.
    pub session: &'h mut Session,
    /// The thread's belongings.
    pub local: &'h mut Local,
    /// The frozen time.
    pub scope: &'h Scope,
    /// The same.
    pub now: Now,
    /// The data.
    pub keys: Keys<'h, 'b>,
    /// The command that calls it.
    call: Args<'h>,
    /// The slots of the declared keys.
    pub declared: SlotSet,
    /// What it may do.
    pub rules: Rules,
    /// The script as other threads see it.
    pub run: Arc<Run>,
    net: Option<&'h mut Net>,
    state: State,
}

/// What becomes of a script while it runs.
struct State {
    started: Instant,
    /// `busy-reply-threshold`
    threshold: Duration,
    /// It has been running for longer than that.
    busy: Option<Busy>,
    /// When the other clients of the thread were last served.
    looked_at: Option<Instant>,
    replicates: bool,
    wrote: bool,
    /// Whether memory was short when the script began.
    short_of_memory: bool,
    /// The slot of its keys, in a cluster.
    slot: Option<Slot>,
    /// It has to be run again, alone.
    again: bool,
    /// It has done nothing yet that it could not have done beside others.
    harmless: bool,
    held_back: HeldBack,
}

/// What others see of a script once it is certain that it is not run again.
#[derive(Default)]
struct HeldBack {
    dirty: u64,
    /// What has run, how many nanoseconds that took, and how it ended.
    calls: Vec<(&'static Command, u64, Verdict)>,
    messages: Vec<Message>,
    lines: Vec<Vec<u8>>,
}

struct Message {
    channel: Vec<u8>,
    payload: Vec<u8>,
    shard: bool,
}

impl<'h, 'b> ScriptHost<'h, 'b> {
    /// The host of a script that is about to begin, for the client whose context this is.
    /// `None` if a busy script stands in the way.
    pub fn new(
        cx: &'h mut Cx<'_, 'b>,
        call: Args<'h>,
        declared: SlotSet,
        rules: Rules,
        run: Arc<Run>,
    ) -> Option<ScriptHost<'h, 'b>> {
        let keys = match &mut cx.access {
            Access::Active(member) => {
                let server = cx.server;
                let gives_up = || cx.origin == Origin::Client && server.scripts.is_busy();
                let mut view = member.view_unless(declared.clone(), cx.scope, gives_up)?;
                view.keep_undo();
                Keys::Held(view)
            }
            Access::Alone(alone) => Keys::Alone(alone),
            Access::Withheld => unreachable!("no script is run by a script"),
        };
        let slot = declared.iter().next();
        // What is being freed at this moment is room, as it is for every other request.
        let short_of_memory = cx.local.published.memory.max > 0 && cx.local.no_room;
        cx.session.protocol = Protocol::Resp2;
        Some(ScriptHost {
            server: cx.server,
            client: cx.client,
            session: cx.session,
            local: cx.local,
            scope: cx.scope,
            now: cx.now,
            keys,
            call,
            declared,
            rules,
            run,
            net: cx.net.as_deref_mut(),
            state: State {
                started: Instant::now(),
                threshold: cx.server.config.load().busy_reply_threshold.0,
                busy: None,
                looked_at: None,
                replicates: true,
                wrote: false,
                short_of_memory,
                slot,
                again: false,
                harmless: true,
                held_back: HeldBack::default(),
            },
        })
    }

    /// Whether everything has to be taken back, and the script run again alone.
    pub fn wants_again(&self) -> bool {
        self.state.again
    }

    /// Whether the script could as well have run beside others.
    pub fn was_harmless(&self) -> bool {
        self.state.harmless
    }

    /// Takes back what a script did that is to be run again.
    pub fn take_back(&mut self) {
        if let Keys::Held(view) = &mut self.keys {
            view.take_back();
        }
        self.local.events.take();
        self.local.effects.clear();
        self.local.total.clear();
    }

    /// Makes seen what was held back.
    pub fn reveal(&mut self) {
        let held_back = std::mem::take(&mut self.state.held_back);
        self.local.stats.dirty.add(held_back.dirty as i64);
        for (command, elapsed, verdict) in held_back.calls {
            self.local.called(command, elapsed, verdict);
        }
        for line in held_back.lines {
            self.server.monitors.feed(self.server, &line);
        }
        for message in held_back.messages {
            let Message { channel, payload, shard } = &message;
            if *shard {
                self.server.pubsub.publish_to_shard(self.server, channel, payload);
            } else {
                self.server.pubsub.publish(self.server, channel, payload);
            }
            if let Some(node) = self.server.node() {
                node.publish(self.server, *shard, channel, payload);
            }
        }
    }

    /// The script has been running for long: those who wait are told so.
    #[cold]
    fn be_busy(&mut self) {
        if self.state.busy.is_none() {
            crate::log::warning(&format!(
                "Slow script detected: still in execution after {} milliseconds. You can try killing the script using \
                 the {} command.",
                self.state.started.elapsed().as_millis(),
                if self.run.kind() == Kind::Function { "FUNCTION KILL" } else { "SCRIPT KILL" },
            ));
            let what = BusyScript {
                kind: self.run.kind(),
                name: self.call.at(1).to_vec(),
                words: self.call.words().iter().map(|word| word.to_vec()).collect(),
                since: self.state.started,
            };
            self.state.busy = Some(Busy::begin(Arc::clone(self.server), Arc::clone(&self.run), what));
        }
        let is_time = self.state.looked_at.is_none_or(|at| at.elapsed() >= Duration::from_millis(20));
        if let Some(net) = &mut self.net
            && is_time
        {
            let now = self.server.now();
            net.serve_busy(self.server, self.local, self.scope, now);
            self.state.looked_at = Some(Instant::now());
        }
    }

    /// Shows the script itself to those who watch, in front of its commands.
    pub fn show(&mut self, command: &'static Command, args: Args<'_>, origin: Origin) {
        if self.server.monitors.any() {
            let line = monitor::line(self.session, command, args, origin);
            match self.keys {
                Keys::Held(_) => self.state.held_back.lines.push(line),
                Keys::Alone(_) => self.server.monitors.feed(self.server, &line),
            }
        }
    }

    /// The command that `args` name, if the script may call it.
    fn permit(&mut self, args: Args<'_>) -> Result<&'static Command, CommandError> {
        let command = resolve(args).map_err(|error| {
            CommandError::text(match error {
                CommandError::Arity(_) => "ERR Wrong number of args calling Redis command from script",
                _ => "ERR Unknown Redis command called from script",
            })
        })?;
        self.deny(command, args).or_else(|| self.refuse(command)).map_or(Ok(command), |error| {
            self.local.stats.rejected(command);
            Err(error)
        })
    }

    /// What the user of the script's client may not do.
    fn deny(&self, command: &'static Command, args: Args<'_>) -> Option<CommandError> {
        if self.session.unrestricted {
            return None;
        }
        let refusal = guard::judge(self.session, command, args)?;
        Some(guard::explain(self.server, self.client, self.session, command, args, (refusal, Context::Lua)))
    }

    fn refuse(&self, command: &'static Command) -> Option<CommandError> {
        let flags = command.spec.flags;
        let writes = flags.has(Flags::WRITE);
        if flags.has(Flags::NO_SCRIPT) && !self.server.knobs.disable_deny_scripts.load(Ordering::Relaxed) {
            return Some(CommandError::text("ERR This Redis command is not allowed from script"));
        }
        if self.rules.read_only && flags.any(Flags::WRITE.and(Flags::MAY_REPLICATE)) {
            return Some(CommandError::text("ERR Write commands are not allowed from read-only scripts."));
        }
        let published = &self.local.published;
        // What our primary has done, or an append-only file tells of, has passed these gates already.
        if published.all_clear || self.session.kind == crate::data::client::Kind::Primary {
            return None;
        }
        // What has begun to write may go on.
        if writes
            && !self.state.wrote
            && let Some(error) = gates::refuse_write(self.server, published, command, true)
        {
            return Some(error);
        }
        if self.state.short_of_memory && !self.rules.allow_oom && !self.state.wrote && flags.has(Flags::DENY_OOM) {
            return Some(CommandError::text("OOM command not allowed when used memory > 'maxmemory'."));
        }
        let stale = matches!(&published.role, Role::Replica(replica) if !replica.link_up && !replica.serves_stale);
        (stale && !flags.has(Flags::STALE))
            .then(|| CommandError::text("ERR Can not execute the command on a stale replica"))
    }

    /// Why a command's keys are not here, on a node of a cluster.
    #[cold]
    fn elsewhere(&mut self, command: &'static Command, args: Args<'_>) -> Option<CommandError> {
        let routing = Arc::clone(self.local.published.cluster.as_ref()?);
        if self.session.kind == crate::data::client::Kind::Primary {
            return None;
        }
        let single = self.rules.single_slot.then_some(&mut self.state.slot);
        if let Some(error) = redirect::elsewhere_for_script(&routing, self.session, command, args, single) {
            return Some(error);
        }
        // A script in a slot that moves runs alone.
        let Keys::Alone(alone) = &mut self.keys else { return None };
        let keys = command.spec.keys_of(args);
        redirect::absent(&routing, &alone.view(self.scope), self.session, keys).map(|_| redirect::NOT_LOCAL)
    }

    /// Whether a command stays within what the script holds, or would hold if it ran beside others.
    fn stays_within(&mut self, command: &'static Command, args: Args<'_>) -> bool {
        let spec = command.spec;
        let db = self.session.db;
        match command.runner {
            Runner::Data(_) => {
                let reaches_far = spec.flags.has(Flags::WALKS) || spec.needs_alone(args);
                if reaches_far || !self.declared.covers(&SlotSet::of_keys(spec.keys_of(args))) {
                    return false;
                }
                if !spec.flags.has(Flags::WRITE) {
                    return true;
                }
                let weight = match &mut self.keys {
                    Keys::Held(view) => view.undo_weight(db, spec.keys_of(args)),
                    Keys::Alone(alone) => alone.view(self.scope).undo_weight(db, spec.keys_of(args)),
                };
                weight <= MOST_UNDO
            }
            Runner::Server(_) => {
                matches!(spec.name, "ping" | "echo" | "select" | "time" | "publish" | "spublish")
            }
            Runner::Container => true,
        }
    }

    /// Runs a data command on the slots that the script holds.
    fn run_held(&mut self, command: &'static Command, args: Args<'_>, reply: &mut Vec<u8>) -> Verdict {
        let db = self.session.db;
        let Keys::Held(view) = &mut self.keys else { unreachable!("the caller has looked") };
        let Runner::Data(run) = command.runner else { unreachable!("the caller has looked") };
        let job = Job { spec: command.spec, run, args, db, protocol: self.session.protocol, origin: Origin::Script };
        let end = run_data(view, self.local, &job, reply);
        self.state.held_back.dirty += self.local.effects.dirty();
        if !self.state.replicates {
            self.local.effects.clear();
        }
        gather_effects(view, self.local, db, args);
        if matches!(end, End::Failed) { Verdict::Failed } else { Verdict::Done }
    }

    /// Runs one of the server's commands that needs no data.
    fn run_without_data(&mut self, command: &'static Command, args: Args<'_>, reply: &mut Vec<u8>) -> Verdict {
        let db = self.session.db;
        self.local.effects.clear();
        let outcome = match command.spec.name {
            name @ ("publish" | "spublish") => {
                self.publish_later(args, name == "spublish", reply);
                Ok(())
            }
            _ => {
                let Runner::Server(run) = command.runner else { unreachable!("the caller has looked") };
                let mut cx = self.context(command, reply);
                run(&mut cx, args)
            }
        };
        let verdict = match outcome {
            Ok(()) => Verdict::Done,
            Err(error) => {
                write_error(reply, 0, &error, &self.local.stats);
                Verdict::Failed
            }
        };
        if self.state.replicates {
            gather(self.local, db, args);
        }
        verdict
    }

    fn publish_later(&mut self, args: Args<'_>, shard: bool, reply: &mut Vec<u8>) {
        let (channel, payload) = (args.at(1).to_vec(), args.at(2).to_vec());
        let count = self.server.pubsub.receivers(&channel, shard);
        self.state.held_back.messages.push(Message { channel, payload, shard });
        if self.server.node().is_none() {
            self.local.effects.force();
        }
        ReplyWriter::new(reply, self.session.protocol).count(count);
    }

    fn context<'c>(&'c mut self, command: &'static Command, out: &'c mut Vec<u8>) -> Cx<'c, 'b> {
        let access = match &mut self.keys {
            Keys::Held(_) => Access::Withheld,
            Keys::Alone(alone) => Access::Alone(alone),
        };
        Cx {
            server: self.server,
            client: self.client,
            session: self.session,
            access,
            scope: self.scope,
            local: self.local,
            net: None,
            out,
            now: self.now,
            origin: Origin::Script,
            command,
        }
    }

    /// Notes that the script's client may have read the keys that the script declares.
    #[cold]
    fn remember(&mut self) {
        let Ok(command) = resolve(self.call) else { return };
        match &mut self.keys {
            Keys::Held(view) => tracking::remember_keys(view, self.client, self.session, command, self.call),
            Keys::Alone(alone) => {
                let mut view = alone.view(self.scope);
                tracking::remember_keys(&mut view, self.client, self.session, command, self.call);
            }
        }
    }

    fn run(&mut self, command: &'static Command, args: Args<'_>, reply: &mut Vec<u8>) {
        if self.session.tracking.is_some() && command.spec.flags.has(Flags::READONLY) {
            self.remember();
        }
        if matches!(self.keys, Keys::Alone(_)) {
            let replicates = self.state.replicates;
            let mut cx = self.context(command, reply);
            run_nested(&mut cx, command, args, Origin::Script, replicates);
            return;
        }
        let started = Instant::now();
        let verdict = match command.runner {
            Runner::Data(_) => self.run_held(command, args, reply),
            Runner::Server(_) | Runner::Container => self.run_without_data(command, args, reply),
        };
        let calls = &mut self.state.held_back.calls;
        let elapsed = nanos(started.elapsed());
        calls.push((command, elapsed, verdict));
        if calls.len() >= MOST_HELD_BACK {
            for (command, elapsed, verdict) in calls.drain(..) {
                self.local.called(command, elapsed, verdict);
            }
        }
        slowlog::note(self.server, self.session, self.local, command, args, elapsed);
        if self.server.monitors.any() && !command.spec.flags.any(Flags::SKIP_MONITOR.and(Flags::ADMIN)) {
            self.state.held_back.lines.push(monitor::line(self.session, command, args, Origin::Script));
        }
    }
}

impl Host for ScriptHost<'_, '_> {
    fn call(&mut self, argv: &[&[u8]], reply: &mut Vec<u8>) {
        let args = Args::new(argv);
        let command = match self.permit(args) {
            Ok(command) => command,
            Err(error) => return write_error(reply, 0, &error, &self.local.stats),
        };
        if !self.local.published.all_clear
            && let Some(error) = self.elsewhere(command, args)
        {
            self.local.stats.rejected(command);
            return write_error(reply, 0, &error, &self.local.stats);
        }
        if self.state.harmless && !self.stays_within(command, args) {
            self.state.harmless = false;
            self.state.again = matches!(self.keys, Keys::Held(_));
        }
        if command.spec.flags.has(Flags::WRITE) && !self.state.again {
            // Who was killed a moment ago is told so at the next question.
            self.state.wrote |= self.run.may_write();
        }
        if self.state.again || self.run.is_killed() || self.run.is_ended() {
            reply.extend_from_slice(b"-ERR the script ends here\r\n");
            return;
        }
        self.run(command, args, reply);
    }

    fn set_protocol(&mut self, protocol: Protocol) {
        self.session.protocol = protocol;
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        write_log(level, message);
    }

    fn set_replication(&mut self, replicate: Replicate) {
        // The log is one for all who follow it; what replicas don't get, nobody gets.
        self.state.replicates = replicate.replicas;
    }

    fn may_run(&mut self, argv: &[&[u8]]) -> Option<bool> {
        let args = Args::new(argv);
        let command = resolve(args).ok()?;
        let user = self.session.user.as_deref();
        Some(user.is_none_or(|user| guard::check(user, command, args).is_ok()))
    }

    fn should_stop(&mut self) -> Option<Stop> {
        if self.state.again {
            return Some(Stop::Again);
        }
        let elapsed = self.state.started.elapsed();
        if elapsed < progress::SCRIPT_MAX {
            self.local.stats.steps.add(1);
        }
        if elapsed >= self.state.threshold {
            self.be_busy();
        }
        if self.run.is_killed() {
            return Some(match self.run.kind() {
                Kind::Script => Stop::ScriptKill,
                Kind::Function => Stop::FunctionKill,
            });
        }
        if self.run.is_ended() {
            return Some(Stop::Shutdown);
        }
        self.server.stopping.load(Ordering::Relaxed).then_some(Stop::Shutdown)
    }
}

/// Writes a script's line to the log.
pub(super) fn write_log(level: LogLevel, message: &[u8]) {
    let text = String::from_utf8_lossy(message);
    match level {
        LogLevel::Debug => crate::log::debug(&text),
        LogLevel::Verbose => crate::log::verbose(&text),
        LogLevel::Notice => crate::log::notice(&text),
        LogLevel::Warning => crate::log::warning(&text),
    }
}

/// The database and protocol that a script may change for itself.
pub struct Own {
    db: Db,
    protocol: Protocol,
}

impl Own {
    /// What the session has now.
    pub fn of(session: &Session) -> Own {
        Own { db: session.db, protocol: session.protocol }
    }

    /// The protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Gives it back.
    pub fn restore(self, session: &mut Session) {
        session.db = self.db;
        session.protocol = self.protocol;
    }
}

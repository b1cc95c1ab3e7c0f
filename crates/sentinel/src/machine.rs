//! The machine: all primaries of one Sentinel, and what happens to them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use quorate_stdx::{Machine, Mono, Now, ReplId, Rng};

use crate::address::Addr;
use crate::core::{Core, Failpoints};
use crate::event::{Event, Level};
use crate::hello::Hello;
use crate::order::Order;
use crate::primary::Primary;
use crate::saved::{Saved, SavedPrimary};
use crate::scripts::{JobId, ScriptEnd, Verdict};
use crate::settings::{Globals, Periods, Secret, Watch};
use crate::vote::reply_when_saved;
use crate::wire::{Answer, Tag};

/// One connection that the machine asked for; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Why a connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// Nobody listens there.
    Refused,
    /// The other side closed it, or its kernel did.
    Closed,
    /// Anything else: no route, no answer, nonsense.
    Failed,
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The instant that `poll_timeout` named has come.
    Timeout,
    /// A connection is open.
    Opened {
        /// Which.
        conn: ConnId,
        /// Our own address on it.
        local: Option<IpAddr>,
    },
    /// A connection is gone, or could not be opened.
    Lost {
        /// Which.
        conn: ConnId,
        /// Why.
        why: LostReason,
    },
    /// A reply has come.
    Answered {
        /// On which connection.
        conn: ConnId,
        /// What was asked.
        tag: Tag,
        /// What it means.
        answer: Answer,
    },
    /// A hello has come: on a server's channel, which `conn` names, or directly.
    Heard {
        /// On which connection.
        conn: Option<ConnId>,
        /// The message.
        hello: Hello,
    },
    /// Another Sentinel asks whether a primary is down, and for a vote if it names a candidate.
    Asked {
        /// Who waits for the answer.
        by: u64,
        /// Where the primary is.
        primary: Addr,
        /// The epoch of the asker, or of the election.
        epoch: u64,
        /// For whom the vote is wanted.
        candidate: Option<ReplId>,
    },
    /// An operator's order.
    Ordered {
        /// Who waits for the answer.
        by: u64,
        /// What is to be done.
        order: Order,
    },
    /// What a host name stands for; nothing if that could not be found out.
    Resolved {
        /// The name.
        host: String,
        /// Its address.
        ip: Option<IpAddr>,
    },
    /// A script has ended.
    ScriptEnded {
        /// Which call.
        job: JobId,
        /// How.
        end: ScriptEnd,
    },
    /// A state was handed out to be saved: whether it is durable.
    Persisted {
        /// Its number.
        number: u64,
        /// What went wrong.
        error: Option<String>,
    },
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Make this state durable, and say whether it is ([`Input::Persisted`]). A barrier: nothing behind it is done before.
    Persist {
        /// Its number.
        number: u64,
        /// The state.
        saved: Box<Saved>,
    },
    /// Open a connection.
    Connect {
        /// Its number.
        conn: ConnId,
        /// Where to.
        to: SocketAddr,
        /// It is to listen for hellos.
        listens: bool,
    },
    /// Close a connection; nothing is reported about it any more.
    Disconnect {
        /// Which.
        conn: ConnId,
    },
    /// Send a request.
    Send {
        /// On which connection.
        conn: ConnId,
        /// What its reply is about.
        tag: Tag,
        /// The request.
        words: Vec<String>,
    },
    /// Answer a client.
    Answer {
        /// Who waits for it.
        by: u64,
        /// The reply.
        reply: Reply,
    },
    /// Log and publish.
    Announce(Event),
    /// Find out what a host name stands for.
    Resolve {
        /// The name.
        host: String,
    },
    /// Start a script.
    Run {
        /// Which call.
        job: JobId,
        /// The program and its arguments.
        argv: Vec<String>,
    },
    /// Kill a script that runs for too long.
    Kill {
        /// Which call.
        job: JobId,
    },
    /// End the process at once, as SENTINEL SIMULATE-FAILURE has asked for.
    Die,
}

/// A reply to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// OK
    Ok,
    /// A number.
    Count(usize),
    /// An error, with its code in front.
    Error(String),
    /// The answer to IS-MASTER-DOWN-BY-ADDR.
    Opinion {
        /// We hold it for down.
        is_down: bool,
        /// Our last vote, and its epoch.
        vote: Option<(ReplId, u64)>,
    },
}

/// Why the machine wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// To open a connection.
    Connect,
    /// To give one up.
    Reconnect,
    /// To ask whether somebody lives.
    Ping,
    /// To ask for INFO.
    Info,
    /// To tell the others of us.
    Hello,
    /// Somebody has been silent for long enough.
    Down,
    /// To ask the others about a primary.
    Ask,
    /// To stand for election.
    Candidacy,
    /// An election has taken long enough.
    Election,
    /// A step of a failover has taken long enough.
    Failover,
    /// To tell a server whom to follow.
    Correct,
    /// To forget somebody who has been dead for long enough.
    Forget,
    /// To start or end a script.
    Script,
    /// To try the disk again.
    Disk,
    /// To act again after this process stood still.
    Tilt,
    /// To name a primary although nobody has confirmed it.
    Confirm,
    /// To confirm a primary's tenure.
    Tenure,
}

/// How long a returning Sentinel waits for another one to confirm what it remembers, before it names it to clients.
const CONFIRM_MAX: std::time::Duration = std::time::Duration::from_secs(4);

/// What a Sentinel is told of itself.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Where it listens.
    pub port: u16,
    /// Its own `requirepass`, which is taken for that of the others unless `sentinel-pass` names one.
    pub own_password: Option<Secret>,
    /// The periods of the protocol.
    pub periods: Periods,
}

/// One Sentinel.
pub struct Sentinel {
    core: Core,
    primaries: BTreeMap<String, Primary>,
}

/// Which primaries have to be looked at again.
enum Scope {
    One(String),
    /// Those whose time has come.
    Due,
    All,
}

impl Sentinel {
    /// A Sentinel with this state, whose dice follow from `seed`. Its first outputs are there to be performed.
    pub fn new(saved: Saved, setup: Setup, seed: u64, now: Now) -> Sentinel {
        let mut rng = Rng::new(seed);
        let fresh = ReplId::random(&mut rng);
        let mut core = Core::new(saved.my_id.unwrap_or(fresh), setup.port, rng.next_u64(), now);
        core.globals = saved.globals;
        core.periods = setup.periods;
        core.own_password = setup.own_password;
        core.epoch = saved.epoch;
        if saved.my_id.is_none() {
            core.newcomer_until = Some(now.mono + core.periods.election);
            core.save();
        }
        let mut sentinel = Sentinel { core, primaries: BTreeMap::new() };
        for (name, saved) in saved.primaries {
            sentinel.add(name, saved);
        }
        sentinel.settle(&Scope::All);
        sentinel
    }

    /// Simulations put bugs in, to see that they are caught.
    #[cfg(test)]
    pub(crate) fn plant(&mut self, planted: Option<crate::sim::Planted>) {
        self.core.planted = planted;
    }

    /// The epoch in which we lead a failover, and the replica that we chose.
    #[cfg(test)]
    pub(crate) fn leads(&self, name: &str) -> Option<(u64, Option<Addr>)> {
        let failover = &self.primaries.get(name)?.failover;
        Some((failover.leading()?, failover.chosen().cloned()))
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn primaries(&self) -> &BTreeMap<String, Primary> {
        &self.primaries
    }

    fn add(&mut self, name: String, saved: SavedPrimary) {
        let mut primary = Primary::new(&mut self.core, name.clone(), saved);
        let text = format!("{} quorum {}", primary.title(&self.core), primary.watch.quorum);
        primary.announce(&mut self.core, Level::Warning, "+monitor", text);
        self.primaries.insert(name, primary);
    }

    fn saved(&self) -> Saved {
        Saved {
            my_id: Some(self.core.my_id),
            epoch: self.core.epoch,
            globals: self.core.globals.clone(),
            primaries: self.primaries.iter().map(|(name, primary)| (name.clone(), primary.saved())).collect(),
        }
    }

    // ---- passes ---------------------------------------------------------------------------------------------

    /// Looks at every rule again until nothing follows any more, and hands the state out if it has changed.
    fn settle(&mut self, scope: &Scope) {
        match scope {
            Scope::One(name) => {
                if let Some(primary) = self.primaries.get_mut(name) {
                    settle_one(&mut self.core, primary);
                }
            }
            Scope::Due => {
                let now = self.core.mono();
                let due = self.primaries.values_mut().filter(|primary| primary.wake.is_some_and(|(at, _)| at <= now));
                due.for_each(|primary| settle_one(&mut self.core, primary));
            }
            Scope::All => self.primaries.values_mut().for_each(|primary| settle_one(&mut self.core, primary)),
        }
        self.leave_tilt();
        self.run_scripts();
        if let Some(number) = self.core.take_dirty() {
            let saved = Box::new(self.saved());
            self.core.push(Output::Persist { number, saved });
        }
    }

    fn run_scripts(&mut self) {
        let now = self.core.mono();
        while let Some(job) = self.core.scripts.overdue(now, &self.core.periods) {
            let text = format!("job {} runs for too long and is killed", job.0);
            self.core.announce(Level::Warning, "-script-timeout", None, text);
            self.core.push(Output::Kill { job });
        }
        while let Some((job, argv)) = self.core.scripts.start(now) {
            self.core.announce(Level::Debug, "+script-child", None, job.0.to_string());
            self.core.push(Output::Run { job, argv });
        }
    }

    // ---- standing still -------------------------------------------------------------------------------------

    /// This process stood still, so that the silence it finds is its own. It watches, and does nothing else, until it has
    /// heard the others again, but no longer than the period.
    fn enter_tilt(&mut self) {
        let now = self.core.mono();
        if self.core.tilt.is_none() {
            self.core.announce(Level::Warning, "+tilt", None, "#tilt mode entered".to_owned());
        }
        self.core.tilt = Some(now);
        for primary in self.primaries.values_mut() {
            primary.restart_clocks(now);
            primary.want_news();
            // What it believes may be out of date, as after a restart.
            primary.is_unconfirmed |= !primary.peers.is_empty();
            primary.since = now;
            primary.peers.values_mut().for_each(|peer| (peer.heard, peer.was_asked_where) = (None, false));
        }
    }

    fn leave_tilt(&mut self) {
        let Some(since) = self.core.tilt else { return };
        let is_over = self.core.mono() >= since + self.core.periods.tilt;
        let all_sure = self.primaries.values().all(|primary| primary.is_sure(&self.core));
        let settled = self.core.mono() >= since + self.core.periods.ping.min(self.core.periods.tilt);
        if is_over || (settled && all_sure) {
            self.core.tilt = None;
            self.core.announce(Level::Warning, "-tilt", None, "#tilt mode exited".to_owned());
            let now = self.core.mono();
            for primary in self.primaries.values_mut() {
                primary.restart_clocks(now);
                settle_one(&mut self.core, primary);
            }
        }
    }

    // ---- inputs ---------------------------------------------------------------------------------------------

    fn on_input(&mut self, input: Input) -> Scope {
        match input {
            Input::Timeout => Scope::Due,
            Input::Opened { conn, local } => self.with(conn, |core, primary, node| {
                primary.on_opened(core, node, conn, local);
            }),
            Input::Lost { conn, why } => {
                let scope = self.with(conn, |core, primary, node| primary.on_lost(core, node, conn, why));
                self.core.forget(conn);
                scope
            }
            Input::Answered { conn, tag, answer } => {
                self.with(conn, |core, primary, node| primary.on_answer(core, node, tag, answer))
            }
            Input::Heard { conn, hello } => self.on_hello(conn, &hello),
            Input::Asked { by, primary, epoch, candidate } => self.on_asked(by, &primary, epoch, candidate),
            Input::Ordered { by, order } => {
                self.on_order(by, order);
                Scope::All
            }
            Input::Resolved { host, ip } => {
                self.core.names.resolved(&host, ip, self.core.now.mono);
                Scope::All
            }
            Input::ScriptEnded { job, end } => {
                self.on_script(job, end);
                Scope::All
            }
            Input::Persisted { number, error } => {
                self.core.persisted(number, error);
                Scope::All
            }
        }
    }

    fn with(&mut self, conn: ConnId, act: impl FnOnce(&mut Core, &mut Primary, crate::core::NodeId)) -> Scope {
        let Some(owner) = self.core.owner(conn) else { return Scope::All };
        if let Some(primary) = self.primaries.get_mut(&owner.primary) {
            act(&mut self.core, primary, owner.node);
        }
        Scope::One(owner.primary)
    }

    fn on_hello(&mut self, conn: Option<ConnId>, hello: &Hello) -> Scope {
        if let Some(conn) = conn {
            self.with(conn, |core, primary, node| {
                let now = core.mono();
                primary.server_mut(node).into_iter().for_each(|server| server.node.link.on_event(now));
            });
        }
        if hello.id == self.core.my_id {
            return Scope::One(hello.name.clone());
        }
        if let Some(primary) = self.primaries.get_mut(&hello.name) {
            primary.on_hello(&mut self.core, hello);
        }
        Scope::One(hello.name.clone())
    }

    fn on_asked(&mut self, by: u64, addr: &Addr, epoch: u64, candidate: Option<ReplId>) -> Scope {
        let Sentinel { core, primaries } = self;
        let found = primaries.values_mut().find(|primary| core.names.same_place(&primary.server.node.addr, addr));
        let Some(primary) = found else {
            reply_when_saved(core, by, false, None);
            return Scope::All;
        };
        let is_down = primary.server.node.down.is_some() && core.tilt.is_none();
        let vote = candidate.and_then(|candidate| primary.on_vote_asked(core, epoch, candidate));
        reply_when_saved(core, by, is_down, vote);
        Scope::One(primary.name.clone())
    }

    fn on_script(&mut self, job: JobId, end: ScriptEnd) {
        let now = self.core.mono();
        let Some((verdict, job)) = self.core.scripts.ended(job, end, now, &self.core.periods) else { return };
        let (code, signal) = match end {
            ScriptEnd::Code(code) => (code, 0),
            ScriptEnd::Signal(signal) => (0, signal),
            ScriptEnd::NotStarted => (-1, 0),
        };
        self.core.announce(Level::Debug, "-script-child", None, format!("{} {code} {signal}", job.id.0));
        if verdict == Verdict::GivenUp {
            let path = job.argv.first().cloned().unwrap_or_default();
            self.core.announce(Level::Warning, "-script-error", None, format!("{path} {code} {signal}"));
        }
    }

    fn on_order(&mut self, by: u64, order: Order) {
        match self.carry_out(order) {
            Ok(reply) => self.core.once_saved(Output::Answer { by, reply }),
            Err(error) => self.core.answer(by, Reply::Error(error)),
        }
    }

    fn carry_out(&mut self, order: Order) -> Result<Reply, String> {
        const NO_SUCH: &str = "ERR No such master with that name";
        let Sentinel { core, primaries } = self;
        match order {
            Order::Monitor { name, addr, quorum } => {
                if primaries.contains_key(&name) {
                    return Err("ERR Duplicated master name".to_owned());
                }
                let watch = Watch::new(quorum, &core.periods);
                core.save();
                self.add(name, SavedPrimary::new(addr, watch));
            }
            Order::Remove { name } => {
                let mut primary = primaries.remove(&name).ok_or(NO_SUCH)?;
                primary.announce_self(core, Level::Warning, "-monitor");
                primary.close(core);
                core.save();
            }
            Order::Reset { names } => {
                let mut count = 0;
                for name in names {
                    if let Some(primary) = primaries.get_mut(&name) {
                        primary.reset(core);
                        count += 1;
                    }
                }
                return Ok(Reply::Count(count));
            }
            Order::Failover { name, is_coordinated } => {
                primaries.get_mut(&name).ok_or(NO_SUCH)?.on_ordered(core, is_coordinated)?;
            }
            Order::Watch { name, changes } => {
                let primary = primaries.get_mut(&name).ok_or(NO_SUCH)?;
                for change in &changes {
                    change.apply(core, primary);
                }
                core.save();
            }
            Order::Globals(globals) => {
                core.globals = *globals;
                core.save();
            }
            Order::Periods(periods) => core.periods = *periods,
            Order::Failpoints(failpoints) => core.failpoints = failpoints,
            Order::Flush => core.save(),
            Order::ForgetReplica { name, addr } => {
                let primary = primaries.get_mut(&name).ok_or(NO_SUCH)?;
                if !primary.replicas.contains_key(&addr) {
                    return Err("ERR No such replica".to_owned());
                }
                primary.forget_replica(core, &addr);
            }
            Order::ForgetPeer { name, id } => {
                let primary = primaries.get_mut(&name).ok_or(NO_SUCH)?;
                if !primary.peers.contains_key(&id) {
                    return Err("ERR No such sentinel".to_owned());
                }
                primary.forget_peer(core, id);
            }
        }
        Ok(Reply::Ok)
    }

    // ---- what others see ------------------------------------------------------------------------------------

    /// Where clients are sent for a primary. `Err` if there is none of that name; `Ok(None)` while a Sentinel that has
    /// returned waits for another one to confirm what it remembers.
    pub fn address_of(&self, name: &str) -> Result<Option<Addr>, NoSuchPrimary> {
        let primary = self.primaries.get(name).ok_or(NoSuchPrimary)?;
        let waits = primary.is_unconfirmed && self.core.mono().since(primary.since) < CONFIRM_MAX;
        let addr = primary.current();
        let shown = self.core.names.shown(&addr.host, self.core.globals.announce_hostnames);
        Ok((!waits).then(|| Addr::new(shown, addr.port)))
    }

    /// Our id.
    pub fn id(&self) -> ReplId {
        self.core.my_id
    }

    /// What holds for all primaries.
    pub fn globals(&self) -> &Globals {
        &self.core.globals
    }

    /// The periods of the protocol.
    pub fn periods(&self) -> &Periods {
        &self.core.periods
    }

    /// Where an operator wants us to die.
    pub fn failpoints(&self) -> Failpoints {
        self.core.failpoints
    }
}

/// There is no primary of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchPrimary;

/// More passes in a row than anything needs: rules that undo each other.
const PASSES_MAX: u32 = 1000;

fn settle_one(core: &mut Core, primary: &mut Primary) {
    for _ in 0..PASSES_MAX {
        core.begin_pass();
        pass(core, primary);
        if let Ok(wake) = core.end_pass() {
            primary.wake = wake;
            return;
        }
    }
    panic!("the rules about {} never come to rest", primary.name);
}

fn pass(core: &mut Core, primary: &mut Primary) {
    primary.tend_links(core);
    if primary.is_unconfirmed {
        primary.is_unconfirmed = !core.due(primary.since + CONFIRM_MAX, Timer::Confirm);
    }
    if core.tilt.is_some() {
        return;
    }
    primary.confirm_tenure(core);
    primary.judge(core);
    primary.ask(core);
    primary.judge_together(core);
    primary.stand(core);
    primary.advance(core);
    primary.correct(core);
    primary.forget_the_dead(core);
}

impl Machine for Sentinel {
    type Input = Input;
    type Output = Output;
    type Timer = Timer;

    fn handle(&mut self, now: Now, input: Input) {
        let due = self.poll_timeout();
        self.core.now = now;
        let trigger = self.core.periods.tilt_trigger;
        let scope = if due.is_some_and(|(at, _)| now.mono.since(at) > trigger) {
            self.enter_tilt();
            self.on_input(input);
            Scope::All
        } else {
            self.on_input(input)
        };
        self.settle(&scope);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.core.next()
    }

    fn poll_timeout(&self) -> Option<(Mono, Timer)> {
        let tilt = self.core.tilt.map(|since| {
            let soon = (since + self.core.periods.ping).max(self.core.now.mono + self.core.periods.ping / 4);
            (soon.min(since + self.core.periods.tilt), Timer::Tilt)
        });
        let scripts = self.core.scripts.wake(&self.core.periods).map(|at| (at, Timer::Script));
        let disk = self.core.disk_retry().map(|at| (at, Timer::Disk));
        self.primaries.values().filter_map(|primary| primary.wake).chain(tilt).chain(scripts).chain(disk).min()
    }
}

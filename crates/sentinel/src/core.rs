//! What all primaries of a Sentinel share: the clock, the dice, the epoch, the disk and what is to be done.
//!
//! **The disk.** [`Core::save`] notes that the state has changed; at the end of the turn it is handed out as one
//! [`Output::Persist`]. What nobody may learn before it is durable (a vote, a candidacy) goes through
//! [`Core::once_saved`], which holds it back until the driver reports success. If it reports a failure, votes that hung on
//! it are answered without a vote.
//!
//! **Wake-ups.** [`Core::due`] asks whether an instant has come and, if not, notes it as one to be woken at. So whatever
//! is decided by time names its own wake-up, and none can be forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_stdx::{Mono, Now, ReplId, Rng};

use crate::event::{Event, Level};
use crate::machine::{ConnId, Output, Reply, Timer};
use crate::names::Names;
use crate::scripts::Scripts;
use crate::settings::{Globals, Periods, Secret};

/// How long a disk that failed is left alone.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// One server or Sentinel as somebody whom we hold links to. It keeps its number when its role changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(u64);

/// Whose connection it is.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) primary: String,
    pub(crate) node: NodeId,
}

/// Points at which an operator wants this process to die, to see what the others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failpoints {
    /// When it has been elected.
    pub after_election: bool,
    /// When its replica has been promoted.
    pub after_promotion: bool,
}

#[derive(Debug, Default)]
struct Disk {
    /// The number of the last state that was handed out.
    asked: u64,
    /// The number of the last state that is durable.
    done: u64,
    retry_at: Option<Mono>,
    is_dirty: bool,
    /// What waits, and for which number.
    held: Vec<(u64, Output)>,
}

pub(crate) struct Core {
    pub(crate) now: Now,
    pub(crate) my_id: ReplId,
    /// The port that we listen on.
    pub(crate) port: u16,
    pub(crate) globals: Globals,
    pub(crate) own_password: Option<Secret>,
    /// Until then we may have voted and forgotten it: see `vote.rs`.
    pub(crate) newcomer_until: Option<Mono>,
    /// In epochs up to this one we may have voted and forgotten it, too: they had begun by then.
    pub(crate) forgotten_epoch: u64,
    pub(crate) periods: Periods,
    pub(crate) epoch: u64,
    pub(crate) rng: Rng,
    pub(crate) names: Names,
    pub(crate) scripts: Scripts,
    pub(crate) failpoints: Failpoints,
    /// Since when nothing is done but watching.
    pub(crate) tilt: Option<Mono>,
    /// A bug put back on purpose, so that the simulation's checkers can be seen to work.
    #[cfg(test)]
    pub(crate) planted: Option<crate::sim::Planted>,
    conns: BTreeMap<ConnId, Owner>,
    next_id: u64,
    out: VecDeque<Output>,
    disk: Disk,
    /// Something was done in this pass, so that what follows from it has to be looked at.
    acted: bool,
    wake: Option<(Mono, Timer)>,
}

impl Core {
    pub(crate) fn new(my_id: ReplId, port: u16, seed: u64, now: Now) -> Core {
        Core {
            now,
            my_id,
            port,
            globals: Globals::default(),
            own_password: None,
            newcomer_until: None,
            forgotten_epoch: 0,
            periods: Periods::default(),
            epoch: 0,
            rng: Rng::new(seed),
            names: Names::default(),
            scripts: Scripts::default(),
            failpoints: Failpoints::default(),
            tilt: None,
            #[cfg(test)]
            planted: None,
            conns: BTreeMap::new(),
            next_id: 1,
            out: VecDeque::new(),
            disk: Disk::default(),
            acted: false,
            wake: None,
        }
    }

    pub(crate) fn mono(&self) -> Mono {
        self.now.mono
    }

    /// With what we introduce ourselves to other Sentinels.
    pub(crate) fn peer_password(&self) -> Option<Secret> {
        self.globals.password.clone().or_else(|| self.own_password.clone())
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.acted = true;
        self.out.push_back(output);
    }

    pub(crate) fn next(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    pub(crate) fn answer(&mut self, by: u64, reply: Reply) {
        self.push(Output::Answer { by, reply });
    }

    pub(crate) fn announce(&mut self, level: Level, name: &'static str, primary: Option<&str>, text: String) {
        self.push(Output::Announce(Event { level, name, text, primary: primary.map(str::to_owned) }));
    }

    // ---- wake-ups -------------------------------------------------------------------------------------------

    /// Whether the instant has come; if not, it is one to be woken at.
    pub(crate) fn due(&mut self, at: Mono, timer: Timer) -> bool {
        if at <= self.now.mono {
            return true;
        }
        if self.wake.is_none_or(|(earliest, _)| at < earliest) {
            self.wake = Some((at, timer));
        }
        false
    }

    /// Whether we abstain because our memory begins with this start.
    pub(crate) fn is_newcomer(&mut self) -> bool {
        if self.newcomer_until.is_some_and(|until| self.due(until, Timer::Candidacy)) {
            self.newcomer_until = None;
            self.forgotten_epoch = self.epoch;
        }
        self.newcomer_until.is_some()
    }

    /// Begins a pass over the state.
    pub(crate) fn begin_pass(&mut self) {
        (self.acted, self.wake) = (false, None);
    }

    /// Whether the pass changed something, so that another one is needed; if not, when to wake.
    pub(crate) fn end_pass(&mut self) -> Result<Option<(Mono, Timer)>, MoreToDo> {
        if self.acted { Err(MoreToDo) } else { Ok(self.wake.take()) }
    }

    /// Something changed that no output tells of.
    pub(crate) fn acted(&mut self) {
        self.acted = true;
    }

    // ---- connections ----------------------------------------------------------------------------------------

    pub(crate) fn new_node(&mut self) -> NodeId {
        self.next_id += 1;
        NodeId(self.next_id)
    }

    pub(crate) fn new_conn(&mut self, primary: &str, node: NodeId) -> ConnId {
        self.next_id += 1;
        let conn = ConnId(self.next_id);
        self.conns.insert(conn, Owner { primary: primary.to_owned(), node });
        conn
    }

    pub(crate) fn owner(&self, conn: ConnId) -> Option<Owner> {
        self.conns.get(&conn).cloned()
    }

    pub(crate) fn forget(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
    }

    // ---- the disk -------------------------------------------------------------------------------------------

    /// The state has changed and is to be made durable.
    pub(crate) fn save(&mut self) {
        self.disk.is_dirty = true;
    }

    /// The number of the state that holds every change up to now; see [`Core::is_saved`].
    pub(crate) fn save_point(&self) -> u64 {
        self.disk.asked + u64::from(self.disk.is_dirty)
    }

    /// Whether the state of that number is durable.
    pub(crate) fn is_saved(&self, point: u64) -> bool {
        #[cfg(test)]
        if self.planted == Some(crate::sim::Planted::VotesBeforePersist) {
            return true;
        }
        self.disk.done >= point
    }

    /// Does this when everything up to now is durable.
    pub(crate) fn once_saved(&mut self, output: Output) {
        let point = self.save_point();
        if self.is_saved(point) {
            self.push(output);
        } else {
            self.acted = true;
            self.disk.held.push((point, output));
        }
    }

    /// Whether a state has to be handed out now, and its number.
    pub(crate) fn take_dirty(&mut self) -> Option<u64> {
        let retry = self.disk.retry_at.is_some_and(|at| at <= self.now.mono);
        if !self.disk.is_dirty && !retry {
            return None;
        }
        self.disk.is_dirty = false;
        self.disk.retry_at = None;
        self.disk.asked += 1;
        Some(self.disk.asked)
    }

    /// When a disk that failed is tried again.
    pub(crate) fn disk_retry(&self) -> Option<Mono> {
        self.disk.retry_at
    }

    /// The driver's report about the state of that number.
    pub(crate) fn persisted(&mut self, number: u64, error: Option<String>) {
        let held = std::mem::take(&mut self.disk.held);
        let (ready, waiting): (Vec<_>, Vec<_>) = held.into_iter().partition(|(point, _)| *point <= number);
        self.disk.held = waiting;
        match error {
            None => {
                self.disk.done = self.disk.done.max(number);
                ready.into_iter().for_each(|(_, output)| self.push(output));
            }
            Some(error) => {
                self.disk.retry_at = Some(self.now.mono + DISK_RETRY);
                let text = format!("The configuration can't be saved, so that no vote is given: {error}");
                self.announce(Level::Warning, "-config-save-error", None, text);
                for (_, output) in ready {
                    self.without_vote(output);
                }
            }
        }
        self.acted = true;
    }

    /// What is left of an output whose vote could not be saved.
    fn without_vote(&mut self, output: Output) {
        match output {
            Output::Answer { by, reply: Reply::Opinion { is_down, .. } } => {
                self.answer(by, Reply::Opinion { is_down, vote: None });
            }
            Output::Answer { by, .. } => {
                let text = "ERR Failed to save config file. Check server logs.".to_owned();
                self.answer(by, Reply::Error(text));
            }
            // A request for votes, or news of a vote: it is as if it had not been given.
            _ => {}
        }
    }
}

/// Another pass is needed.
#[derive(Debug)]
pub(crate) struct MoreToDo;

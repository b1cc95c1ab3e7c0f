//! The failover itself, by the Sentinel that leads it.
//!
//! ```text
//!   None ──► Electing ──► Selecting ──► Promoting ──► Awaiting ──► Reconfiguring ──► (the promoted one is the primary)
//!    │                                                   ▲
//!    └──► HandingOver ───────────────────────────────────┘  SENTINEL FAILOVER .. COORDINATED
//! ```
//!
//! The states are those of Redis, in its events' words: `wait_start`, `select_slave`, `send_slaveof_noone`,
//! `wait_promotion`, `reconf_slaves`. From `Reconfiguring` on the promoted one is the primary for clients and for the other
//! Sentinels. What takes no time does not wait for a period: INFO follows the order to lead on the same connection, so that
//! the promotion is known when it has happened.

use std::time::Duration;

use quorate_stdx::Mono;

use crate::address::Addr;
use crate::choice::{self, Candidate, Limits};
use crate::core::Core;
use crate::event::Level;
use crate::machine::{Output, Timer};
use crate::primary::{Primary, Reconfiguration};
use crate::wire::{self, Tag};

/// The choice waits so long for fresh INFO of all replicas that can be reached.
const FRESH_WAIT: Duration = Duration::from_millis(200);
/// How often a server is asked whether it has done what it was told.
const LOOK: Duration = Duration::from_millis(20);
/// The same for servers that take up a new primary, which takes longer.
const LOOK_AT_REPLICAS: Duration = Duration::from_millis(100);
/// For so long; then once a second.
const LOOK_TIME: Duration = Duration::from_secs(5);

/// Where a failover stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failover {
    None,
    /// We are a candidate. `saved` is the save point of that.
    Electing {
        epoch: u64,
        since: Mono,
        saved: u64,
        is_forced: bool,
    },
    /// We lead, and choose a replica.
    Selecting {
        epoch: u64,
        since: Mono,
    },
    /// It is to be told that it leads.
    Promoting {
        epoch: u64,
        replica: Addr,
        since: Mono,
    },
    /// It was told.
    Awaiting {
        epoch: u64,
        replica: Addr,
        since: Mono,
    },
    /// The primary was told to hand over to it.
    HandingOver {
        epoch: u64,
        replica: Addr,
        since: Mono,
    },
    /// It leads; the others are told.
    Reconfiguring {
        promoted: Addr,
        since: Mono,
    },
}

impl Failover {
    pub(crate) fn is_none(&self) -> bool {
        *self == Failover::None
    }

    /// The replica that leads already.
    pub(crate) fn promoted(&self) -> Option<&Addr> {
        match self {
            Failover::Reconfiguring { promoted, .. } => Some(promoted),
            _ => None,
        }
    }

    /// The replica that is to lead, or leads already.
    pub(crate) fn chosen(&self) -> Option<&Addr> {
        match self {
            Failover::Promoting { replica, .. }
            | Failover::Awaiting { replica, .. }
            | Failover::HandingOver { replica, .. } => Some(replica),
            other => other.promoted(),
        }
    }

    /// The epoch, beginning and save point of an election that needs votes.
    pub(crate) fn election(&self) -> Option<(u64, Mono, u64)> {
        match *self {
            Failover::Electing { epoch, since, saved, is_forced: false } => Some((epoch, since, saved)),
            _ => None,
        }
    }

    /// The epoch in which we were elected, until the promotion.
    #[cfg(test)]
    pub(crate) fn leading(&self) -> Option<u64> {
        match *self {
            Failover::Selecting { epoch, .. }
            | Failover::Promoting { epoch, .. }
            | Failover::Awaiting { epoch, .. } => Some(epoch),
            _ => None,
        }
    }

    /// How often INFO is asked for meanwhile.
    pub(crate) fn info_period(&self, now: Mono) -> Option<Duration> {
        let second = Duration::from_secs(1);
        match *self {
            Failover::None => None,
            Failover::Awaiting { since, .. } | Failover::HandingOver { since, .. } if now.since(since) < LOOK_TIME => {
                Some(LOOK)
            }
            Failover::Reconfiguring { since, .. } if now.since(since) < LOOK_TIME => Some(LOOK_AT_REPLICAS),
            _ => Some(second),
        }
    }

    /// As SENTINEL MASTER names it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Failover::None => "none",
            Failover::Electing { .. } => "wait_start",
            Failover::Selecting { .. } => "select_slave",
            Failover::Promoting { .. } => "send_slaveof_noone",
            Failover::Awaiting { .. } | Failover::HandingOver { .. } => "wait_promotion",
            Failover::Reconfiguring { .. } => "reconf_slaves",
        }
    }
}

impl Primary {
    /// Goes on with a failover as far as it can go on.
    pub(crate) fn advance(&mut self, core: &mut Core) {
        match self.failover.clone() {
            Failover::None => {}
            Failover::Electing { epoch, since, saved, is_forced } => {
                if core.is_saved(saved) {
                    self.count_votes(core, epoch, since, is_forced);
                } else if core.due(since + core.periods.election, Timer::Election) {
                    self.announce_self(core, Level::Warning, "-failover-abort-not-elected");
                    self.failover = Failover::None;
                    self.retry_later(core);
                }
            }
            Failover::Selecting { epoch, since } => self.select(core, epoch, since),
            Failover::Promoting { epoch, replica, since } => self.promote(core, epoch, &replica, since),
            Failover::Awaiting { replica, since, .. } | Failover::HandingOver { replica, since, .. } => {
                let is_down = self.replicas.get(&replica).is_none_or(|server| server.node.down.is_some());
                if is_down || core.due(since + self.watch.failover_timeout, Timer::Failover) {
                    self.abort(core, "-failover-abort-slave-timeout");
                }
            }
            Failover::Reconfiguring { promoted, since } => self.reconfigure(core, &promoted, since),
        }
    }

    fn abort(&mut self, core: &mut Core, name: &'static str) {
        self.announce_self(core, Level::Warning, name);
        self.failover = Failover::None;
        self.retry_later(core);
        core.acted();
    }

    // ---- the choice -----------------------------------------------------------------------------------------

    fn candidates(&self, core: &Core) -> Vec<Candidate> {
        let now = core.mono();
        let candidate = |(addr, server): (&Addr, &crate::primary::Server)| {
            let info_age = server.info_at.map(|at| now.since(at));
            let following = server.following();
            let cut_off = following.and_then(|following| following.down_for).unwrap_or_default();
            Candidate {
                addr: addr.clone(),
                is_down: server.node.down.is_some(),
                is_connected: server.node.link.commands.up().is_some(),
                unheard: now.since(server.node.link.last_ok),
                info_age,
                cut_off: cut_off + info_age.unwrap_or_default(),
                priority: following.map_or(100, |following| following.priority),
                offset: server.info.as_ref().map_or(0, |info| info.offset),
                run_id: server.run_id,
            }
        };
        self.replicas.iter().map(candidate).collect()
    }

    fn limits(&self, core: &Core) -> Limits {
        let down_for = self.server.node.down.map_or(Duration::ZERO, |since| core.mono().since(since));
        let info_periods = if self.server.node.down.is_some() { 5 } else { 3 };
        Limits {
            unheard: core.periods.ping * 5,
            info_age: if self.server.node.down.is_some() { core.periods.ping } else { core.periods.info }
                * info_periods,
            cut_off: self.watch.down_after * 10 + down_for,
        }
    }

    /// The replica that would be promoted now.
    pub(crate) fn best_replica(&self, core: &Core) -> Option<Addr> {
        choice::best(&self.candidates(core), &self.limits(core)).map(|best| best.addr.clone())
    }

    fn select(&mut self, core: &mut Core, epoch: u64, since: Mono) {
        // Offsets from before the primary fell silent say little about who has most now.
        let fresh_from = self.server.node.down.unwrap_or(since);
        let is_stale = |server: &crate::primary::Server| {
            server.node.is_reachable() && server.info_at.is_none_or(|at| at < fresh_from)
        };
        if self.replicas.values().any(is_stale) && !core.due(since + FRESH_WAIT, Timer::Failover) {
            return;
        }
        let (candidates, limits) = (self.candidates(core), self.limits(core));
        for candidate in &candidates {
            let verdict = choice::disqualified(candidate, &limits).unwrap_or("it can be promoted");
            let Candidate { addr, priority, offset, .. } = candidate;
            let line = format!("replica {addr} (priority {priority}, offset {offset}): {verdict}");
            self.story.tell(core.now, line);
        }
        let Some(best) = choice::best(&candidates, &limits).map(|best| best.addr.clone()) else {
            return self.abort(core, "-failover-abort-no-good-slave");
        };
        self.announce_replica(core, Level::Warning, "+selected-slave", &best);
        self.announce_replica(core, Level::Notice, "+failover-state-send-slaveof-noone", &best);
        self.failover = Failover::Promoting { epoch, replica: best, since: core.mono() };
    }

    // ---- the promotion --------------------------------------------------------------------------------------

    fn promote(&mut self, core: &mut Core, epoch: u64, replica: &Addr, since: Mono) {
        if self.tell(core, replica, None) {
            self.announce_replica(core, Level::Notice, "+failover-state-wait-promotion", replica);
            self.failover = Failover::Awaiting { epoch, replica: replica.clone(), since: core.mono() };
        } else if core.due(since + self.watch.failover_timeout, Timer::Failover)
            || self.replicas.get(replica).is_none_or(|server| server.node.down.is_some())
        {
            self.abort(core, "-failover-abort-slave-timeout");
        }
    }

    /// Tells a server whom to follow, and asks it at once whether it does; whether it could be told.
    pub(crate) fn tell(&mut self, core: &mut Core, who: &Addr, to: Option<&Addr>) -> bool {
        let watch = self.watch.clone();
        let to = to.map(|to| Addr::new(core.names.shown(&to.host, core.globals.announce_hostnames), to.port));
        let Some(server) = self.servers_mut().find(|server| server.node.addr == *who) else { return false };
        if server.node.link.commands.up().is_none() {
            return false;
        }
        for (tag, words) in wire::follow(to.as_ref()) {
            server.node.send(core, tag, words, &watch);
        }
        server.node.link.want_info();
        true
    }

    /// The chosen replica says that it leads.
    pub(crate) fn on_promoted(&mut self, core: &mut Core, epoch: u64, promoted: Addr) {
        self.config_epoch = epoch;
        self.announce_replica(core, Level::Warning, "+promoted-slave", &promoted);
        if core.failpoints.after_promotion {
            core.push(Output::Die);
        }
        self.announce_self(core, Level::Warning, "+failover-state-reconf-slaves");
        self.call_reconfig_script(core, "leader", "start", &promoted);
        self.failover = Failover::Reconfiguring { promoted, since: core.mono() };
        for server in self.replicas.values_mut() {
            server.reconfiguration = Reconfiguration::No;
        }
        core.save();
        // Everybody is told as soon as it is on disk.
        self.config_saved = core.save_point();
        self.want_news();
    }

    // ---- the others -----------------------------------------------------------------------------------------

    fn reconfigure(&mut self, core: &mut Core, promoted: &Addr, since: Mono) {
        let in_work = |server: &crate::primary::Server| {
            matches!(server.reconfiguration, Reconfiguration::Sent(_) | Reconfiguration::InProgress)
        };
        self.retell_the_slow(core);
        let mut room = (self.watch.parallel_syncs as usize)
            .saturating_sub(self.replicas.values().filter(|server| in_work(server)).count());
        for addr in self.not_told(promoted) {
            if room == 0 {
                break;
            }
            if self.tell(core, &addr, Some(promoted)) {
                if let Some(server) = self.replicas.get_mut(&addr) {
                    server.reconfiguration = Reconfiguration::Sent(core.mono());
                }
                self.announce_replica(core, Level::Notice, "+slave-reconf-sent", &addr);
                room -= 1;
            }
        }
        let is_open = |(addr, server): (&Addr, &crate::primary::Server)| {
            addr != promoted && server.reconfiguration != Reconfiguration::Done && server.node.down.is_none()
        };
        let is_done = !self.replicas.iter().any(is_open);
        let is_late = core.due(since + self.watch.failover_timeout, Timer::Failover);
        let is_lost = self.replicas.get(promoted).is_some_and(|server| server.node.down.is_some());
        if is_done || is_late || is_lost {
            self.finish(core, promoted, is_late && !is_done);
        }
    }

    fn not_told(&self, promoted: &Addr) -> Vec<Addr> {
        let is_to_be_told = |(addr, server): &(&Addr, &crate::primary::Server)| {
            *addr != promoted && server.reconfiguration == Reconfiguration::No && server.node.is_reachable()
        };
        self.replicas.iter().filter(is_to_be_told).map(|(addr, _)| addr.clone()).collect()
    }

    fn retell_the_slow(&mut self, core: &mut Core) {
        let patience = core.periods.reconfiguration;
        let mut slow = Vec::new();
        for (addr, server) in &mut self.replicas {
            if let Reconfiguration::Sent(at) = server.reconfiguration
                && core.due(at + patience, Timer::Failover)
            {
                server.reconfiguration = Reconfiguration::No;
                slow.push(addr.clone());
            }
        }
        slow.iter().for_each(|addr| self.announce_replica(core, Level::Notice, "-slave-reconf-sent-timeout", addr));
    }

    fn finish(&mut self, core: &mut Core, promoted: &Addr, is_late: bool) {
        if is_late {
            self.announce_self(core, Level::Warning, "+failover-end-for-timeout");
        }
        self.announce_self(core, Level::Warning, "+failover-end");
        let text = format!("{} {}", self.title(core), self.story.summary());
        core.announce(Level::Notice, "+failover-steps", Some(&self.name), text);
        if is_late {
            for addr in self.not_told(promoted) {
                if self.tell(core, &addr, Some(promoted)) {
                    self.announce_replica(core, Level::Notice, "+slave-reconf-sent-be", &addr);
                }
            }
        }
        self.switch(core, promoted);
    }

    // ---- by order of an operator ----------------------------------------------------------------------------

    /// SENTINEL FAILOVER: without the others' votes.
    ///
    /// # Errors
    /// The reply that says why not.
    pub(crate) fn on_ordered(&mut self, core: &mut Core, is_coordinated: bool) -> Result<(), &'static str> {
        if !self.failover.is_none() {
            return Err("INPROG Failover already in progress");
        }
        let Some(best) = self.best_replica(core) else { return Err("NOGOODSLAVE No suitable replica to promote") };
        if !is_coordinated {
            self.begin(core, true);
            return Ok(());
        }
        if !self.server.node.is_reachable() {
            return Err("NOGOODPRIMARY The primary can't be reached to hand over");
        }
        self.story.begin(core.now);
        core.epoch += 1;
        let epoch = core.epoch;
        core.save();
        self.announce(core, Level::Warning, "+new-epoch", epoch.to_string());
        self.announce_self(core, Level::Warning, "+try-failover");
        self.announce_replica(core, Level::Warning, "+selected-slave", &best);
        let to = Addr::new(core.names.shown(&best.host, false), best.port);
        let watch = self.watch.clone();
        self.server.node.send(core, Tag::Handover, wire::hand_over(&to, watch.failover_timeout), &watch);
        self.announce_replica(core, Level::Notice, "+failover-state-wait-promotion", &best);
        self.failover = Failover::HandingOver { epoch, replica: best, since: core.mono() };
        Ok(())
    }

    /// The primary does not hand over.
    pub(crate) fn on_handover_refused(&mut self, core: &mut Core, error: &str) {
        if matches!(self.failover, Failover::HandingOver { .. }) {
            self.story.tell(core.now, format!("the primary does not hand over: {error}"));
            self.abort(core, "-failover-abort-slave-timeout");
        }
    }
}

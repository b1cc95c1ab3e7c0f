//! Is it down? First by what this Sentinel sees (subjectively), then by what enough of them say (objectively).
//!
//! A server is down for us when an answer has been owed for `down-after-milliseconds`, or when nobody listens there
//! any more (`link.rs`), or when the primary keeps saying that it is a replica, or has restarted without its data.
//! While we suspect the primary we ask the other Sentinels: at once, then quickly while the news is fresh, then once a
//! second.

use std::time::Duration;

use quorate_stdx::{Mono, ReplId};

use crate::core::Core;
use crate::event::Level;
use crate::machine::Timer;
use crate::primary::{Primary, Server};
use crate::settings::{Periods, Watch};
use crate::wire::{self, Tag};

/// For so long after the first suspicion, and in an election, the others are asked ...
const EAGER: Duration = Duration::from_secs(2);
/// ... so often.
const EAGER_PERIOD: Duration = Duration::from_millis(50);

/// A primary that came back without its data is held for down so long, in which somebody who has the data may take over.
const EMPTIED: Duration = Duration::from_secs(10);

/// When the primary is to be held for down.
fn primary_down_at(server: &Server, watch: &Watch, periods: &Periods) -> Option<Mono> {
    let by_link = server.node.down_at(watch);
    let denies = (!server.says_it_leads).then(|| server.role_since + watch.down_after + periods.info * 2);
    let rebooted = server.rebooted.filter(|_| !watch.reboot_down_after.is_zero());
    let by_reboot = rebooted.map(|at| at + watch.reboot_down_after);
    by_link.into_iter().chain(denies).chain(by_reboot).chain(server.emptied).min()
}

impl Primary {
    /// Looks at everybody's silence.
    pub(crate) fn judge(&mut self, core: &mut Core) {
        if self.server.emptied.is_some_and(|at| core.due(at + EMPTIED, Timer::Down)) {
            self.server.emptied = None;
        }
        let down_at = primary_down_at(&self.server, &self.watch, &core.periods);
        let is_down = down_at.is_some_and(|at| core.due(at, Timer::Down));
        if is_down != self.server.node.down.is_some() {
            self.server.node.down = is_down.then_some(core.mono());
            if is_down {
                self.suspect(core);
            } else {
                self.server.script_killed = false;
            }
            self.announce_self(core, Level::Warning, if is_down { "+sdown" } else { "-sdown" });
        }
        self.judge_replicas(core);
        self.judge_peers(core);
    }

    /// What is known of the replicas may decide soon who leads: it had better be fresh.
    fn suspect(&mut self, core: &mut Core) {
        self.story.begin(core.now);
        let why = match self.server.node.link.refused {
            Some(_) => "it closed its connections and refuses new ones".to_owned(),
            None if self.server.emptied.is_some() => "it has restarted without what its replicas still hold".to_owned(),
            None if !self.server.says_it_leads => "it says that it is a replica".to_owned(),
            None => format!("it has been silent for {} ms", self.watch.down_after.as_millis()),
        };
        self.story.tell(core.now, format!("this Sentinel holds the primary for down: {why}"));
        self.replicas.values_mut().for_each(|replica| replica.node.link.want_info());
        self.peers.values_mut().for_each(|peer| peer.asked = None);
    }

    fn judge_replicas(&mut self, core: &mut Core) {
        let mut changed = Vec::new();
        for replica in self.replicas.values_mut() {
            let is_down = replica.node.down_at(&self.watch).is_some_and(|at| core.due(at, Timer::Down));
            if is_down != replica.node.down.is_some() {
                replica.node.down = is_down.then_some(core.mono());
                replica.script_killed = false;
                changed.push((replica.node.addr.clone(), is_down));
            }
        }
        for (addr, is_down) in changed {
            self.announce_replica(core, Level::Warning, if is_down { "+sdown" } else { "-sdown" }, &addr);
        }
    }

    fn judge_peers(&mut self, core: &mut Core) {
        let mut changed = Vec::new();
        for (id, peer) in &mut self.peers {
            let is_down = peer.node.down_at(&self.watch).is_some_and(|at| core.due(at, Timer::Down));
            if is_down != peer.node.down.is_some() {
                peer.node.down = is_down.then_some(core.mono());
                changed.push((*id, peer.node.addr.clone(), is_down));
            }
        }
        for (id, addr, is_down) in changed {
            let text = self.title_of(core, "sentinel", id.as_str(), &addr);
            self.announce(core, Level::Warning, if is_down { "+sdown" } else { "-sdown" }, text);
        }
    }

    /// How many Sentinels hold the primary for down, ourselves included.
    pub(crate) fn down_count(&self, core: &Core) -> usize {
        let others = self.peers.values().filter(|peer| peer.finds_it_down(core.mono(), &core.periods)).count();
        others + usize::from(self.server.node.down.is_some())
    }

    /// Whether enough Sentinels hold the primary for down.
    pub(crate) fn judge_together(&mut self, core: &mut Core) {
        let count = self.down_count(core);
        let is_down = self.server.node.down.is_some() && count >= self.watch.quorum as usize;
        if is_down == self.o_down.is_some() {
            return;
        }
        self.o_down = is_down.then_some(core.mono());
        let title = self.title(core);
        if is_down {
            let text = format!("{title} #quorum {count}/{}", self.watch.quorum);
            self.announce(core, Level::Warning, "+odown", text);
        } else {
            self.announce(core, Level::Warning, "-odown", title);
        }
    }

    /// Asks the other Sentinels about a primary that we suspect; in an election also for their votes.
    pub(crate) fn ask(&mut self, core: &mut Core) {
        let election = self.failover.election();
        let Some(since) = self.server.node.down.or(election.map(|(_, since, _)| since)) else { return };
        if election.is_none() && !self.failover.is_none() {
            return;
        }
        let now = core.mono();
        let fresh_since = election.map_or(since, |(_, since, _)| since);
        let is_eager = now.since(fresh_since) < EAGER;
        let period = if is_eager { EAGER_PERIOD.min(core.periods.ask) } else { core.periods.ask };
        let candidate = election.filter(|(_, _, saved)| core.is_saved(*saved)).map(|_| core.my_id);
        let (addr, plain) = (&self.server.node.addr, Watch { renames: Default::default(), ..self.watch.clone() });
        // A vote is asked for the epoch of the candidacy, though a later one may have begun meanwhile.
        let epoch = election.map_or(core.epoch, |(epoch, ..)| epoch);
        let shown = crate::Addr::new(core.names.shown(&addr.host, core.globals.announce_hostnames), addr.port);
        for peer in self.peers.values_mut() {
            // In an election only those are asked again whose vote is not known.
            let is_settled = match election {
                Some((epoch, ..)) => peer.vote.is_some_and(|(_, voted)| voted >= epoch),
                None => is_eager && peer.finds_it_down(now, &core.periods),
            };
            let period = if is_settled { core.periods.ask } else { period };
            if peer.node.link.commands.up().is_none() || !peer.asked.is_none_or(|at| core.due(at + period, Timer::Ask))
            {
                continue;
            }
            peer.asked = Some(now);
            peer.node.send(core, Tag::Ask, wire::ask(&shown, epoch, candidate), &plain);
        }
    }

    /// Another Sentinel's opinion, and its vote if it was asked for one.
    pub(crate) fn on_opinion(&mut self, core: &mut Core, from: ReplId, is_down: bool, vote: Option<(ReplId, u64)>) {
        let now = core.mono();
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let had = (peer.finds_it_down(now, &core.periods), peer.vote);
        peer.says_down = is_down.then_some(now);
        if let Some(vote) = vote {
            peer.vote = Some(vote);
        }
        if had.0 != is_down {
            let opinion = if is_down { "finds the primary down too" } else { "does not find the primary down" };
            self.story.note(core.now, format!("sentinel {from} {opinion}"));
        }
        if let Some((candidate, epoch)) = vote.filter(|_| had.1 != vote) {
            self.story.note(core.now, format!("sentinel {from} voted for {candidate} in epoch {epoch}"));
            self.see_epoch(core, epoch);
        }
    }
}

//! What SENTINEL MASTERS, REPLICAS, SENTINELS, INFO, EXPLAIN and others show, as names and values.

use std::time::Duration;

use quorate_stdx::{Mono, ReplId};

use crate::address::Addr;
use crate::core::Core;
use crate::failover::Failover;
use crate::link::Node;
use crate::machine::Sentinel;
use crate::primary::{Peer, Primary, Reconfiguration, Server};
use crate::scripts::State;

/// Names and values in the order of Redis.
pub type Fields = Vec<(&'static str, String)>;

/// The text of INFO, and how old it is.
pub type CachedInfo = (Duration, Vec<u8>);

/// One primary in INFO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// `ok`, `sdown` or `odown`.
    pub status: &'static str,
    /// Where clients are sent.
    pub addr: Addr,
    /// How many replicas it has.
    pub replicas: usize,
    /// How many Sentinels watch it, ourselves included.
    pub sentinels: usize,
}

/// A script that waits or runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptView {
    /// The call.
    pub argv: Vec<String>,
    /// For how long it has run; `None` while it waits.
    pub runs_for: Option<Duration>,
    /// In how long it is started.
    pub starts_in: Duration,
    /// How often it was started.
    pub tries: u32,
}

/// Whether a failover could take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// Sentinels that can be reached, ourselves included.
    pub usable: usize,
    /// Whether they are enough to find the primary down.
    pub is_quorum: bool,
    /// Whether they are enough to elect one.
    pub is_majority: bool,
}

impl Sentinel {
    /// The names of all primaries.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.primaries().keys().map(String::as_str)
    }

    /// Where an event is to be posted.
    pub fn webhooks(&self, event: &crate::Event) -> Vec<String> {
        let concerns = |primary: &&Primary| event.primary.as_ref().is_none_or(|name| *name == primary.name);
        let wanted = self.primaries().values().filter(concerns);
        let matters = wanted.filter(|primary| event.level >= primary.watch.webhook_level);
        matters.filter_map(|primary| primary.watch.webhook.clone()).collect()
    }

    /// SENTINEL MASTER.
    pub fn primary(&self, name: &str) -> Option<Fields> {
        self.primaries().get(name).map(|primary| of_primary(self.core(), primary))
    }

    /// SENTINEL REPLICAS.
    pub fn replicas(&self, name: &str) -> Option<Vec<Fields>> {
        let primary = self.primaries().get(name)?;
        // A replica that does not want to be announced (`replica-announced no`) is known to Sentinels only.
        let is_announced = |replica: &&Server| replica.following().is_none_or(|following| following.is_announced);
        let announced = primary.replicas.values().filter(is_announced);
        Some(announced.map(|replica| of_replica(self.core(), primary, replica)).collect())
    }

    /// SENTINEL SENTINELS.
    pub fn peers(&self, name: &str) -> Option<Vec<Fields>> {
        let primary = self.primaries().get(name)?;
        Some(primary.peers.iter().map(|(id, peer)| of_peer(self.core(), primary, *id, peer)).collect())
    }

    /// INFO's lines of primaries.
    pub fn summaries(&self) -> Vec<Summary> {
        let summary = |primary: &Primary| {
            let addr = primary.current();
            Summary {
                name: primary.name.clone(),
                status: match (primary.o_down, primary.server.node.down) {
                    (Some(_), _) => "odown",
                    (None, Some(_)) => "sdown",
                    (None, None) => "ok",
                },
                addr: Addr::new(self.core().names.shown(&addr.host, self.core().globals.announce_hostnames), addr.port),
                replicas: primary.replicas.len(),
                sentinels: primary.voters(),
            }
        };
        self.primaries().values().map(summary).collect()
    }

    /// For how long this Sentinel has been in TILT mode.
    pub fn tilt(&self) -> Option<Duration> {
        self.core().tilt.map(|since| self.core().mono().since(since))
    }

    /// The current epoch.
    pub fn epoch(&self) -> u64 {
        self.core().epoch
    }

    /// SENTINEL PENDING-SCRIPTS.
    pub fn scripts(&self) -> Vec<ScriptView> {
        let now = self.core().mono();
        let view = |job: &crate::scripts::Job| {
            let (runs_for, starts_in) = match job.state {
                State::Running { since, .. } => (Some(now.since(since)), Duration::ZERO),
                State::Waiting { from } => (None, from.since(now)),
            };
            ScriptView { argv: job.argv.clone(), runs_for, starts_in, tries: job.tries }
        };
        self.core().scripts.jobs().map(view).collect()
    }

    /// SENTINEL INFO-CACHE: the age and the text of the INFO of the primary and its replicas.
    pub fn info_cache(&self, name: &str) -> Option<Vec<Option<CachedInfo>>> {
        let now = self.core().mono();
        let cached = |server: &Server| server.info_at.map(|at| (now.since(at), server.info_text.clone()));
        Some(self.primaries().get(name)?.servers().map(cached).collect())
    }

    /// SENTINEL CKQUORUM.
    pub fn quorum(&self, name: &str) -> Option<Quorum> {
        let primary = self.primaries().get(name)?;
        let others = primary.peers.values().filter(|peer| peer.node.is_reachable()).count();
        // Whoever has just been set up does not vote yet.
        let usable = others + usize::from(self.core().newcomer_until.is_none_or(|until| until <= self.core().mono()));
        let is_quorum = usable >= primary.watch.quorum as usize;
        Some(Quorum { usable, is_quorum, is_majority: usable >= primary.majority() })
    }

    /// SENTINEL EXPLAIN: how the last failover, or the last refusal of one, came about.
    pub fn explain(&self, name: &str) -> Option<Vec<String>> {
        let primary = self.primaries().get(name)?;
        let mut lines = Vec::new();
        let addr = primary.current();
        let state = match primary.failover.word() {
            "none" => "no failover is under way".to_owned(),
            word => format!("a failover is under way ({word})"),
        };
        let (voters, needed) = (primary.voters(), primary.majority().max(primary.watch.quorum as usize));
        lines.push(format!("primary {addr}, configuration epoch {}, {state}", primary.config_epoch));
        lines.push(format!(
            "{voters} sentinels are known; {} must find it down, {needed} must vote for a leader",
            primary.watch.quorum
        ));
        if let Some(until) = primary.hold_until {
            let wait = until.since(self.core().mono()).as_millis();
            lines.push(format!("this sentinel begins no failover for another {wait} ms"));
        }
        match primary.story.lines() {
            None => lines.push("nothing has happened since this sentinel watches it".to_owned()),
            Some((began, told)) => {
                lines.push(format!("it began at {} ms of Unix time; milliseconds since then:", began.0));
                lines.extend(told.map(|(after, line)| format!("{:>7} {line}", after.as_millis())));
            }
        }
        Some(lines)
    }
}

fn millis(core: &Core, at: Mono) -> String {
    core.mono().since(at).as_millis().to_string()
}

fn common(core: &Core, name: &str, node: &Node, run_id: Option<ReplId>, flags: &[&str]) -> Fields {
    let link = &node.link;
    let shown = core.names.shown(&node.addr.host, core.globals.announce_hostnames);
    vec![
        ("name", name.to_owned()),
        ("ip", shown),
        ("port", node.addr.port.to_string()),
        ("runid", run_id.map(|id| id.to_string()).unwrap_or_default()),
        ("flags", flags.join(",")),
        ("link-pending-commands", link.pending.to_string()),
        ("link-refcount", "1".to_owned()),
    ]
}

fn pings(core: &Core, node: &Node, fields: &mut Fields) {
    let link = &node.link;
    fields.push(("last-ping-sent", link.waiting_since.map_or_else(|| "0".to_owned(), |at| millis(core, at))));
    fields.push(("last-ok-ping-reply", millis(core, link.last_ok)));
    fields.push(("last-ping-reply", millis(core, link.last_reply)));
    if let Some(since) = node.down {
        fields.push(("s-down-time", millis(core, since)));
    }
}

fn link_flags(node: &Node, flags: &mut Vec<&'static str>) {
    if node.link.commands.up().is_none() {
        flags.push("disconnected");
    }
}

fn of_primary(core: &Core, primary: &Primary) -> Fields {
    // Clients that read this instead of asking for the address find the promoted one as soon as it leads.
    let promoted = primary.failover.promoted().and_then(|promoted| primary.replicas.get(promoted));
    let server = promoted.unwrap_or(&primary.server);
    let mut flags = Vec::new();
    flags.extend(server.node.down.map(|_| "s_down"));
    flags.extend(primary.o_down.filter(|_| promoted.is_none()).map(|_| "o_down"));
    flags.push("master");
    link_flags(&server.node, &mut flags);
    if !primary.failover.is_none() {
        flags.push("failover_in_progress");
    }
    if matches!(primary.failover, Failover::Electing { is_forced: true, .. }) {
        flags.push("force_failover");
    }
    flags.extend(server.script_killed.then_some("script_kill_sent"));
    flags.extend(server.rebooted.map(|_| "master_reboot"));
    let mut fields = common(core, &primary.name, &server.node, server.run_id, &flags);
    if !primary.failover.is_none() {
        fields.push(("failover-state", primary.failover.word().to_owned()));
    }
    pings(core, &server.node, &mut fields);
    if let Some(since) = primary.o_down.filter(|_| promoted.is_none()) {
        fields.push(("o-down-time", millis(core, since)));
    }
    let watch = &primary.watch;
    fields.push(("down-after-milliseconds", watch.down_after.as_millis().to_string()));
    of_server(core, server, &mut fields);
    fields.extend([
        ("config-epoch", primary.config_epoch.to_string()),
        ("num-slaves", primary.replicas.len().to_string()),
        ("num-other-sentinels", primary.peers.len().to_string()),
        ("quorum", watch.quorum.to_string()),
        ("failover-timeout", watch.failover_timeout.as_millis().to_string()),
        ("parallel-syncs", watch.parallel_syncs.to_string()),
    ]);
    fields.extend(watch.notification_script.clone().map(|script| ("notification-script", script)));
    fields.extend(watch.reconfig_script.clone().map(|script| ("client-reconfig-script", script)));
    fields
}

fn of_server(core: &Core, server: &Server, fields: &mut Fields) {
    let role = if server.says_it_leads { "master" } else { "slave" };
    fields.extend([
        ("info-refresh", server.info_at.map_or_else(|| "0".to_owned(), |at| millis(core, at))),
        ("role-reported", role.to_owned()),
        ("role-reported-time", millis(core, server.role_since)),
    ]);
}

fn of_replica(core: &Core, primary: &Primary, server: &Server) -> Fields {
    let mut flags = Vec::new();
    flags.extend(server.node.down.map(|_| "s_down"));
    flags.push("slave");
    link_flags(&server.node, &mut flags);
    flags.extend((primary.failover.chosen() == Some(&server.node.addr)).then_some("promoted"));
    flags.extend(match server.reconfiguration {
        Reconfiguration::No => None,
        Reconfiguration::Sent(_) => Some("reconf_sent"),
        Reconfiguration::InProgress => Some("reconf_inprog"),
        Reconfiguration::Done => Some("reconf_done"),
    });
    flags.extend(server.script_killed.then_some("script_kill_sent"));
    let mut fields = common(core, &server.name(), &server.node, server.run_id, &flags);
    pings(core, &server.node, &mut fields);
    fields.push(("down-after-milliseconds", primary.watch.down_after.as_millis().to_string()));
    of_server(core, server, &mut fields);
    let following = server.following();
    let down_for = following.and_then(|following| following.down_for).unwrap_or_default();
    let of = following.map(|following| following.of.clone()).unwrap_or_else(|| Addr::new("?", 0));
    let is_linked = following.is_some_and(|following| following.is_linked);
    fields.extend([
        ("master-link-down-time", down_for.as_millis().to_string()),
        ("master-link-status", if is_linked { "ok" } else { "err" }.to_owned()),
        ("master-host", of.host),
        ("master-port", of.port.to_string()),
        ("slave-priority", following.map_or(100, |following| following.priority).to_string()),
        ("slave-repl-offset", server.info.as_ref().map_or(0, |info| info.offset).to_string()),
        ("replica-announced", u8::from(following.is_none_or(|following| following.is_announced)).to_string()),
    ]);
    fields
}

fn of_peer(core: &Core, primary: &Primary, id: ReplId, peer: &Peer) -> Fields {
    let mut flags = Vec::new();
    flags.extend(peer.node.down.map(|_| "s_down"));
    flags.push("sentinel");
    link_flags(&peer.node, &mut flags);
    flags.extend(peer.finds_it_down(core.mono(), &core.periods).then_some("master_down"));
    let mut fields = common(core, id.as_str(), &peer.node, Some(id), &flags);
    pings(core, &peer.node, &mut fields);
    let (leader, epoch) = match peer.vote {
        Some((leader, epoch)) => (leader.to_string(), epoch),
        None => ("?".to_owned(), 0),
    };
    fields.extend([
        ("down-after-milliseconds", primary.watch.down_after.as_millis().to_string()),
        ("last-hello-message", millis(core, peer.heard.unwrap_or(primary.since))),
        ("voted-leader", leader),
        ("voted-leader-epoch", epoch.to_string()),
    ]);
    fields
}

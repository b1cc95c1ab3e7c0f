//! One monitored primary with its replicas and the other Sentinels that watch it: what is known of them, and how it is
//! learned from INFO and hellos.
//!
//! What is decided about it is in `down.rs` (is it down?), `vote.rs` (who leads the failover?), `failover.rs` (the
//! failover itself) and `correct.rs` (who follows the wrong one?). All of them are passes over the state: after each input
//! every rule is looked at again, and names the instant at which it wants to be looked at next.

use std::collections::BTreeMap;
use std::net::IpAddr;

use quorate_stdx::{Mono, ReplId};

use crate::address::Addr;
use crate::core::{Core, NodeId};
use crate::event::Level;
use crate::failover::Failover;
use crate::hello::Hello;
use crate::info::{Following, Info, Role};
use crate::link::{Care, Credentials, Lost, Node};
use crate::machine::{ConnId, LostReason, Timer};
use crate::saved::SavedPrimary;
use crate::settings::{Periods, Watch};
use crate::story::Story;
use crate::wire::{Answer, Tag};

/// A server: the primary or one of its replicas.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) node: Node,
    pub(crate) run_id: Option<ReplId>,
    /// What it said last.
    pub(crate) info: Option<Info>,
    pub(crate) info_text: Vec<u8>,
    pub(crate) info_at: Option<Mono>,
    /// Whether it says that it leads, and since when it has said so.
    pub(crate) says_it_leads: bool,
    pub(crate) role_since: Mono,
    /// Since when it follows whom it follows.
    pub(crate) follows_since: Mono,
    pub(crate) script_killed: bool,
    /// It was the primary until a failover, and has not been seen to follow since.
    pub(crate) was_primary: bool,
    /// Since when it has been seen to lead although another is the primary.
    pub(crate) leads_since: Option<Mono>,
    /// It restarted, which was noticed then, and does not serve yet.
    pub(crate) rebooted: Option<Mono>,
    /// As the primary it restarted without what its replicas still hold, which was noticed then.
    pub(crate) emptied: Option<Mono>,
    /// How far it is with taking up the promoted one as its primary.
    pub(crate) reconfiguration: Reconfiguration,
    /// When it was last told whom to follow outside of a failover.
    pub(crate) corrected: Option<Mono>,
    /// It could not be reached when the primary changed, so that the leader of the failover can't have told it.
    pub(crate) missed_switch: bool,
}

/// See [`Server::reconfiguration`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reconfiguration {
    /// Not told.
    No,
    /// Told.
    Sent(Mono),
    /// It says that it follows, but the link isn't up.
    InProgress,
    /// The link is up.
    Done,
}

impl Server {
    pub(crate) fn new(core: &mut Core, addr: Addr, leads: bool) -> Server {
        let now = core.mono();
        Server {
            node: Node::new(core, addr),
            run_id: None,
            info: None,
            info_text: Vec::new(),
            info_at: None,
            says_it_leads: leads,
            role_since: now,
            follows_since: now,
            script_killed: false,
            was_primary: false,
            leads_since: None,
            rebooted: None,
            emptied: None,
            reconfiguration: Reconfiguration::No,
            corrected: None,
            missed_switch: false,
        }
    }

    /// What it said of itself as a replica.
    pub(crate) fn following(&self) -> Option<&Following> {
        match &self.info.as_ref()?.role {
            Role::Replica(following) => Some(following),
            Role::Primary { .. } => None,
        }
    }

    /// How replicas are called.
    pub(crate) fn name(&self) -> String {
        self.node.addr.to_string()
    }
}

/// Another Sentinel that watches the same primary.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) node: Node,
    /// When it last told us of its configuration.
    pub(crate) heard: Option<Mono>,
    /// When it was last asked whether the primary is down.
    pub(crate) asked: Option<Mono>,
    /// When it last said that it is.
    pub(crate) says_down: Option<Mono>,
    /// For whom it voted, in which epoch.
    pub(crate) vote: Option<(ReplId, u64)>,
    /// It was asked for its configuration since the link is up.
    pub(crate) was_asked_where: bool,
}

pub(crate) struct Primary {
    pub(crate) name: String,
    pub(crate) watch: Watch,
    pub(crate) server: Server,
    pub(crate) replicas: BTreeMap<Addr, Server>,
    pub(crate) peers: BTreeMap<ReplId, Peer>,
    /// The epoch of the failover that put the primary where it is.
    pub(crate) config_epoch: u64,
    /// The save point of the configuration: it is told to nobody before that.
    pub(crate) config_saved: u64,
    /// Our vote, and its epoch. After a restart the epoch alone is known, which is enough to vote no second time.
    pub(crate) leader: Option<ReplId>,
    pub(crate) leader_epoch: u64,
    /// Since when enough Sentinels hold it for down.
    pub(crate) o_down: Option<Mono>,
    pub(crate) failover: Failover,
    /// No failover of ours begins before.
    pub(crate) hold_until: Option<Mono>,
    /// We confirm nobody's tenure before: we had voted for a failover, and don't know what came of it.
    pub(crate) confirms_from: Mono,
    /// When our candidacy begins, if nothing comes in between.
    pub(crate) candidacy: Option<Mono>,
    /// Elections and failovers in a row that came to nothing.
    pub(crate) failures: u32,
    /// Primaries before this one, the last one first.
    pub(crate) former: Vec<Addr>,
    /// When we began to watch it: it is not named to clients before the others were heard, for a while.
    pub(crate) since: Mono,
    /// Nobody has confirmed yet that the saved configuration still holds.
    pub(crate) is_unconfirmed: bool,
    pub(crate) story: Story,
    /// When the passes want to be repeated.
    pub(crate) wake: Option<(Mono, Timer)>,
}

/// So many former primaries are remembered.
const FORMER_MAX: usize = 8;

impl Primary {
    pub(crate) fn new(core: &mut Core, name: String, saved: SavedPrimary) -> Primary {
        let mut primary = Primary {
            server: Server::new(core, saved.addr, true),
            watch: saved.watch,
            replicas: BTreeMap::new(),
            peers: BTreeMap::new(),
            config_epoch: saved.config_epoch,
            config_saved: 0,
            leader: None,
            leader_epoch: saved.leader_epoch,
            o_down: None,
            failover: Failover::None,
            hold_until: None,
            confirms_from: match saved.leader_epoch > saved.config_epoch {
                true => core.mono() + core.periods.election,
                false => core.mono(),
            },
            candidacy: None,
            failures: 0,
            former: Vec::new(),
            since: core.mono(),
            is_unconfirmed: !saved.peers.is_empty(),
            story: Story::default(),
            wake: None,
            name,
        };
        for addr in saved.replicas {
            primary.add_replica(core, addr);
        }
        for (addr, id) in saved.peers {
            if let Some(id) = id.filter(|id| *id != core.my_id) {
                let peer = Peer::new(core, addr);
                primary.peers.insert(id, peer);
            }
        }
        primary
    }

    /// What is to be kept of it.
    pub(crate) fn saved(&self) -> SavedPrimary {
        SavedPrimary {
            addr: self.current().clone(),
            watch: self.watch.clone(),
            config_epoch: self.config_epoch,
            leader_epoch: self.leader_epoch,
            // While the promoted one is the primary already, the old one is a replica.
            replicas: std::iter::once(&self.server.node.addr)
                .chain(self.replicas.keys())
                .filter(|addr| *addr != self.current())
                .cloned()
                .collect(),
            peers: self.peers.iter().map(|(id, peer)| (peer.node.addr.clone(), Some(*id))).collect(),
        }
    }

    /// Where clients are sent: to the promoted one as soon as it leads.
    pub(crate) fn current(&self) -> &Addr {
        self.failover.promoted().unwrap_or(&self.server.node.addr)
    }

    // ---- words ----------------------------------------------------------------------------------------------

    fn shown(&self, core: &Core, addr: &Addr) -> String {
        format!("{} {}", core.names.shown(&addr.host, core.globals.announce_hostnames), addr.port)
    }

    /// `master mymaster 127.0.0.1 6379`
    pub(crate) fn title(&self, core: &Core) -> String {
        format!("master {} {}", self.name, self.shown(core, &self.server.node.addr))
    }

    /// `slave 127.0.0.1:6380 127.0.0.1 6380 @ mymaster 127.0.0.1 6379`
    pub(crate) fn title_of(&self, core: &Core, kind: &str, name: &str, addr: &Addr) -> String {
        let (own, primary) = (self.shown(core, addr), self.shown(core, &self.server.node.addr));
        format!("{kind} {name} {own} @ {} {primary}", self.name)
    }

    pub(crate) fn title_of_replica(&self, core: &Core, addr: &Addr) -> String {
        self.title_of(core, "slave", &addr.to_string(), addr)
    }

    /// Announces an event of this primary, and remembers it as a part of what happened.
    pub(crate) fn announce(&mut self, core: &mut Core, level: Level, name: &'static str, text: String) {
        self.story.tell(core.now, format!("{name} {text}"));
        if level == Level::Warning
            && let Some(script) = self.watch.notification_script.clone()
        {
            core.scripts.schedule(vec![script, name.to_owned(), text.clone()], core.mono());
        }
        core.announce(level, name, Some(&self.name), text);
    }

    /// Announces an event about the primary itself.
    pub(crate) fn announce_self(&mut self, core: &mut Core, level: Level, name: &'static str) {
        let text = self.title(core);
        self.announce(core, level, name, text);
    }

    /// Announces an event about a replica.
    pub(crate) fn announce_replica(&mut self, core: &mut Core, level: Level, name: &'static str, addr: &Addr) {
        let text = self.title_of_replica(core, addr);
        self.announce(core, level, name, text);
    }

    // ---- members --------------------------------------------------------------------------------------------

    /// Adds a replica; whether it is a new one.
    pub(crate) fn add_replica(&mut self, core: &mut Core, addr: Addr) -> bool {
        let is_known = |known: &Addr| core.names.same_place(known, &addr);
        if is_known(&self.server.node.addr) || self.replicas.keys().any(is_known) {
            return false;
        }
        let server = Server::new(core, addr.clone(), false);
        self.replicas.insert(addr, server);
        true
    }

    /// The server of that number.
    pub(crate) fn server_mut(&mut self, id: NodeId) -> Option<&mut Server> {
        std::iter::once(&mut self.server).chain(self.replicas.values_mut()).find(|server| server.node.id == id)
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.server).chain(self.replicas.values())
    }

    pub(crate) fn servers_mut(&mut self) -> impl Iterator<Item = &mut Server> {
        std::iter::once(&mut self.server).chain(self.replicas.values_mut())
    }

    fn peer_mut(&mut self, id: NodeId) -> Option<(ReplId, &mut Peer)> {
        self.peers.iter_mut().find(|(_, peer)| peer.node.id == id).map(|(id, peer)| (*id, peer))
    }

    /// How many Sentinels there are, ourselves included.
    pub(crate) fn voters(&self) -> usize {
        self.peers.len() + 1
    }

    /// How many make a majority of all that are known.
    pub(crate) fn majority(&self) -> usize {
        self.voters() / 2 + 1
    }

    /// Whether a majority of the Sentinels, ourselves included, has told us of its configuration a moment ago. Who is cut
    /// off, or has just come back, is not sure of anything.
    pub(crate) fn is_sure(&self, core: &Core) -> bool {
        let a_moment = core.periods.publish * 3;
        self.is_sure_since(Mono(core.mono().since(Mono(0) + a_moment).as_micros() as u64))
    }

    /// The same with what was heard at that instant or later.
    pub(crate) fn is_sure_since(&self, since: Mono) -> bool {
        let fresh =
            |peer: &&Peer| peer.heard.is_some_and(|heard| heard >= since) && peer.node.link.commands.up().is_some();
        self.peers.values().filter(fresh).count() + 1 >= self.majority()
    }

    /// Closes all links.
    pub(crate) fn close(&mut self, core: &mut Core) {
        self.servers_mut().for_each(|server| server.node.link.close(core, core.mono()));
        self.peers.values_mut().for_each(|peer| peer.node.link.close(core, core.mono()));
    }

    // ---- links ----------------------------------------------------------------------------------------------

    /// Where we are and what we hold for true, in one message.
    pub(crate) fn hello(&self, core: &Core) -> Hello {
        let names = core.globals.announce_hostnames;
        let current = self.current();
        // Without an announced address, each link names the one that it comes from.
        let host = core.globals.announce_ip.clone().unwrap_or_default();
        Hello {
            from: Addr::new(host, core.globals.announce_port.unwrap_or(core.port)),
            id: core.my_id,
            epoch: core.epoch,
            name: self.name.clone(),
            primary: Addr::new(core.names.shown(&current.host, names), current.port),
            config_epoch: self.config_epoch,
        }
    }

    pub(crate) fn tend_links(&mut self, core: &mut Core) {
        let hello = core.is_saved(self.config_saved).then(|| self.hello(core));
        let info_period = self.info_period(core);
        let Primary { name, watch, server, replicas, peers, .. } = self;
        let mut care = Care {
            primary: name,
            watch,
            credentials: of_servers(watch),
            listens: true,
            info_period: Some(info_period),
            hello: hello.as_ref(),
        };
        for server in std::iter::once(server).chain(replicas.values_mut()) {
            server.node.tend(core, &care);
        }
        let (user, password) = (core.globals.user.clone(), core.peer_password());
        let plain = Watch { renames: BTreeMap::new(), ..watch.clone() };
        care.credentials = of_sentinels(&user, &password);
        (care.listens, care.info_period, care.watch) = (false, None, &plain);
        for peer in peers.values_mut() {
            peer.node.tend(core, &care);
            if !peer.was_asked_where && peer.node.link.commands.up().is_some() {
                peer.was_asked_where = true;
                let words = crate::wire::words(&["SENTINEL", "MASTER", name]);
                peer.node.send(core, Tag::Configuration, words, &plain);
            }
        }
    }

    /// INFO is asked for more often while something is going on.
    fn info_period(&self, core: &Core) -> std::time::Duration {
        let is_cut = |server: &Server| server.following().is_some_and(|following| !following.is_linked);
        if let Some(period) = self.failover.info_period(core.mono()) {
            return period.min(core.periods.info);
        }
        // In the beginning there is somebody to find with each INFO.
        let is_new = core.mono().since(self.since) < core.periods.info;
        let is_busy =
            is_new || self.server.node.down.is_some() || self.replicas.values().any(is_cut) || self.has_returned();
        if is_busy { core.periods.info.min(std::time::Duration::from_secs(1)) } else { core.periods.info }
    }

    fn has_returned(&self) -> bool {
        self.replicas.values().any(|replica| replica.was_primary)
    }

    pub(crate) fn on_opened(&mut self, core: &mut Core, node: NodeId, conn: ConnId, local: Option<IpAddr>) {
        let Primary { name, watch, server, replicas, peers, .. } = self;
        let (user, password) = (core.globals.user.clone(), core.peer_password());
        let mut care = Care {
            primary: name,
            watch,
            credentials: of_servers(watch),
            listens: true,
            info_period: None,
            hello: None,
        };
        if let Some(server) = std::iter::once(server).chain(replicas.values_mut()).find(|server| server.node.id == node)
        {
            server.node.on_opened(core, conn, local, &care);
        } else if let Some(peer) = peers.values_mut().find(|peer| peer.node.id == node) {
            care.credentials = of_sentinels(&user, &password);
            peer.was_asked_where = false;
            peer.node.on_opened(core, conn, local, &care);
        }
    }

    pub(crate) fn on_lost(&mut self, core: &mut Core, node: NodeId, conn: ConnId, why: LostReason) {
        let is_primary = self.server.node.id == node;
        let watch = self.watch.clone();
        let (kind, lost, addr) = if let Some(server) = self.server_mut(node) {
            server.leads_since = None;
            let kind = if is_primary { "master" } else { "slave" };
            (kind, server.node.on_lost(core, conn, why, &watch), server.node.addr.clone())
        } else if let Some((_, peer)) = self.peer_mut(node) {
            ("sentinel", peer.node.on_lost(core, conn, why, &watch), peer.node.addr.clone())
        } else {
            return;
        };
        match lost {
            Lost::Commands => self.story.note(core.now, format!("the link to {kind} {addr} closed ({why:?})")),
            Lost::Attempt { is_evidence: true } => {
                self.story.note(core.now, format!("{kind} {addr} refuses connections: nobody listens there"));
            }
            _ => {}
        }
    }

    pub(crate) fn on_answer(&mut self, core: &mut Core, node: NodeId, tag: Tag, answer: Answer) {
        let now = core.mono();
        let watch = self.watch.clone();
        if let Some((id, peer)) = self.peer_mut(node) {
            peer.node.link.on_reply();
            match answer {
                Answer::Alive { .. } => peer.node.link.on_pong(now, true),
                Answer::Busy | Answer::Error(_) if tag == Tag::Ping => peer.node.link.on_pong(now, false),
                Answer::Stranger(_) => {
                    peer.node.link.on_pong(now, false);
                    peer.node.link.close(core, now + core.periods.ping);
                }
                Answer::Opinion { is_down, vote } => self.on_opinion(core, id, is_down, vote),
                Answer::Configuration { primary, epoch } => {
                    peer.heard = Some(now);
                    self.on_configuration(core, id, primary, epoch);
                }
                _ => {}
            }
            core.acted();
            return;
        }
        let Some(server) = self.server_mut(node) else { return };
        server.node.link.on_reply();
        match answer {
            Answer::Alive { serves } => {
                server.node.link.on_pong(now, true);
                if serves {
                    server.rebooted = None;
                }
            }
            Answer::Busy => {
                server.node.link.on_pong(now, false);
                // A script that keeps its server from answering is ended, once; it may not have written anything.
                if server.node.down.is_some() && !server.script_killed {
                    server.script_killed = true;
                    server.node.send(core, Tag::Quiet, crate::wire::words(&["SCRIPT", "KILL"]), &watch);
                }
            }
            Answer::Stranger(error) => {
                server.node.link.on_pong(now, false);
                server.node.link.close(core, now + core.periods.ping);
                let text = format!("{} does not let this Sentinel in: {error}", server.node.addr);
                self.story.tell(core.now, text);
            }
            Answer::Stamp(stamp) => {
                server.node.link.tenure.stamp = stamp;
                server.node.link.tenure.waits = false;
            }
            Answer::Error(_) if tag == Tag::Ping => server.node.link.on_pong(now, false),
            Answer::Error(error) if tag == Tag::Auth => {
                let text = format!("{} does not know this Sentinel: {error}", server.node.addr);
                self.story.tell(core.now, text);
            }
            Answer::Error(error) if tag == Tag::Handover => self.on_handover_refused(core, &error),
            Answer::Error(error) if tag == Tag::Order => {
                let text = format!("{} does not obey: {error}", server.node.addr);
                self.story.note(core.now, text);
            }
            Answer::Info(info, text) => self.on_info(core, node, *info, text),
            _ => {}
        }
        core.acted();
    }

    // ---- INFO -----------------------------------------------------------------------------------------------

    fn on_info(&mut self, core: &mut Core, node: NodeId, info: Info, text: Vec<u8>) {
        let now = core.mono();
        let is_primary = self.server.node.id == node;
        let Some(server) = self.server_mut(node) else { return };
        server.info_at = Some(now);
        server.info_text = text;
        let restarted = server.run_id.is_some() && info.run_id.is_some() && server.run_id != info.run_id;
        server.run_id = info.run_id.or(server.run_id);
        let followed = server.following().map(|following| following.of.clone());
        let leads = matches!(info.role, Role::Primary { .. });
        let turned = leads != server.says_it_leads;
        if turned {
            (server.says_it_leads, server.role_since) = (leads, now);
            server.follows_since = now;
        }
        let known = match &info.role {
            Role::Primary { replicas } if is_primary => replicas.clone(),
            _ => Vec::new(),
        };
        server.info = Some(info);
        if server.following().map(|following| &following.of) != followed.as_ref() {
            server.follows_since = now;
        }
        let addr = server.node.addr.clone();
        if restarted {
            self.on_restart(core, is_primary, &addr);
        }
        for replica in known {
            if self.add_replica(core, replica.clone()) {
                core.save();
                self.announce_replica(core, Level::Notice, "+slave", &replica);
            }
        }
        if turned {
            self.announce_role(core, is_primary, leads, &addr);
        }
        self.follow_up(core, node);
    }

    fn on_restart(&mut self, core: &mut Core, is_primary: bool, addr: &Addr) {
        if is_primary {
            self.server.rebooted = Some(core.mono());
            let offset = |server: &Server| server.info.as_ref().map_or(0, |info| info.offset);
            let held = self.replicas.values().map(offset).max().unwrap_or(0);
            if self.watch.crash_evidence && self.server.says_it_leads && offset(&self.server) < held {
                self.server.emptied = Some(core.mono());
            }
            self.announce_self(core, Level::Warning, "+reboot");
        } else {
            self.announce_replica(core, Level::Notice, "+reboot", addr);
        }
    }

    fn announce_role(&mut self, core: &mut Core, is_primary: bool, leads: bool, addr: &Addr) {
        let title = if is_primary { self.title(core) } else { self.title_of_replica(core, addr) };
        let name = if is_primary == leads { "+role-change" } else { "-role-change" };
        let role = if leads { "master" } else { "slave" };
        self.announce(core, Level::Verbose, name, format!("{title} new reported role is {role}"));
    }

    // ---- other Sentinels ------------------------------------------------------------------------------------

    /// A hello about this primary, from whatever channel.
    pub(crate) fn on_hello(&mut self, core: &mut Core, hello: &Hello) {
        self.meet(core, hello);
        if let Some(peer) = self.peers.get_mut(&hello.id) {
            peer.heard = Some(core.mono());
        }
        self.see_epoch(core, hello.epoch);
        self.on_configuration(core, hello.id, hello.primary.clone(), hello.config_epoch);
    }

    /// An epoch that somebody is in. We are in it, too, from now on.
    pub(crate) fn see_epoch(&mut self, core: &mut Core, epoch: u64) {
        if epoch > core.epoch {
            core.epoch = epoch;
            core.save();
            self.announce(core, Level::Warning, "+new-epoch", epoch.to_string());
        }
    }

    /// Gets to know the sender, or that it has moved.
    fn meet(&mut self, core: &mut Core, hello: &Hello) {
        let addr = hello.from.clone();
        if let Some(peer) = self.peers.get(&hello.id) {
            if core.names.same_place(&peer.node.addr, &addr) {
                return;
            }
            let old = self.peers.remove(&hello.id);
            old.into_iter().for_each(|mut peer| peer.node.link.close(core, core.mono()));
            let shown = self.shown(core, &addr);
            let (host, port) = shown.split_once(' ').unwrap_or((&shown, ""));
            let text = format!("{} ip {host} port {port} for {}", self.title(core), hello.id);
            self.announce(core, Level::Notice, "+sentinel-address-switch", text);
        } else if let Some((old, _)) = self.peers.iter().find(|(_, peer)| core.names.same_place(&peer.node.addr, &addr))
        {
            // Whoever lived there has been replaced by one that does not know its id.
            let old = *old;
            self.announce_peer(core, "+sentinel-invalid-addr", old);
            self.peers.remove(&old).into_iter().for_each(|mut peer| peer.node.link.close(core, core.mono()));
        }
        let peer = Peer::new(core, addr);
        self.peers.insert(hello.id, peer);
        core.save();
        self.announce_peer(core, "+sentinel", hello.id);
    }

    pub(crate) fn announce_peer(&mut self, core: &mut Core, name: &'static str, id: ReplId) {
        let Some(addr) = self.peers.get(&id).map(|peer| peer.node.addr.clone()) else { return };
        let text = self.title_of(core, "sentinel", id.as_str(), &addr);
        self.announce(core, Level::Notice, name, text);
    }

    /// Another Sentinel's configuration: the one with the higher epoch holds.
    fn on_configuration(&mut self, core: &mut Core, from: ReplId, primary: Addr, epoch: u64) {
        self.is_unconfirmed = false;
        if epoch <= self.config_epoch {
            return;
        }
        self.config_epoch = epoch;
        // A configuration epoch is the epoch of an election, and none was in a later one than the current.
        self.see_epoch(core, epoch);
        core.save();
        if core.names.same_place(&primary, &self.server.node.addr) {
            if !self.failover.is_none() {
                // A later failover than ours has ended where ours began.
                self.story.tell(core.now, format!("the failover is given up: epoch {epoch} has been decided"));
                self.failover = Failover::None;
                core.acted();
            }
            return;
        }
        let sender = self.peers.get(&from).map_or_else(|| primary.clone(), |peer| peer.node.addr.clone());
        let text = self.title_of(core, "sentinel", from.as_str(), &sender);
        self.announce(core, Level::Warning, "+config-update-from", text);
        self.call_reconfig_script(core, "observer", "start", &primary);
        self.switch(core, &primary);
    }

    /// Puts another server in the primary's place. Links and knowledge go with the servers; what was held against the old
    /// primary is not held against the new one.
    pub(crate) fn switch(&mut self, core: &mut Core, to: &Addr) {
        let (old, new) = (self.shown(core, &self.server.node.addr), self.shown(core, to));
        self.announce(core, Level::Warning, "+switch-master", format!("{} {old} {new}", self.name));
        let now = core.mono();
        let key = self.replicas.keys().find(|known| core.names.same_place(known, to)).cloned();
        let mut promoted = match key.and_then(|key| self.replicas.remove(&key)) {
            Some(server) => server,
            None => Server::new(core, to.clone(), true),
        };
        promoted.node.link.restart_clock(now);
        std::mem::swap(&mut self.server, &mut promoted);
        let mut old = promoted;
        old.was_primary = true;
        for server in [&mut old, &mut self.server] {
            (server.rebooted, server.emptied, server.leads_since) = (None, None, None);
            (server.role_since, server.follows_since) = (now, now);
        }
        self.former.retain(|addr| addr != to && *addr != old.node.addr);
        self.former.insert(0, old.node.addr.clone());
        self.former.truncate(FORMER_MAX);
        self.replicas.insert(old.node.addr.clone(), old);
        for server in self.replicas.values_mut() {
            server.reconfiguration = Reconfiguration::No;
            server.corrected = None;
            server.missed_switch = !server.node.is_reachable();
        }
        self.server.node.down = None;
        self.server.was_primary = false;
        (self.server.node.link.refused, self.server.script_killed) = (None, false);
        for peer in self.peers.values_mut() {
            (peer.says_down, peer.asked) = (None, None);
        }
        (self.o_down, self.candidacy, self.hold_until, self.failures) = (None, None, None, 0);
        self.failover = Failover::None;
        self.want_news();
        let replicas: Vec<Addr> = self.replicas.keys().cloned().collect();
        replicas.iter().for_each(|addr| self.announce_replica(core, Level::Notice, "+slave", addr));
        core.save();
        self.config_saved = core.save_point();
        self.story.end(core.now);
    }

    /// Everybody is asked, and told, at once.
    pub(crate) fn want_news(&mut self) {
        for server in self.servers_mut() {
            server.node.link.want_info();
            server.node.link.want_hello();
        }
        self.peers.values_mut().for_each(|peer| peer.node.link.want_hello());
    }

    pub(crate) fn call_reconfig_script(&mut self, core: &mut Core, role: &str, state: &str, to: &Addr) {
        let Some(script) = self.watch.reconfig_script.clone() else { return };
        let mut argv = vec![script, self.name.clone(), role.to_owned(), state.to_owned()];
        for addr in [&self.server.node.addr, to] {
            argv.extend(self.shown(core, addr).split(' ').map(str::to_owned));
        }
        core.scripts.schedule(argv, core.mono());
        core.acted();
    }

    /// Forgets all that was learned: RESET.
    pub(crate) fn reset(&mut self, core: &mut Core) {
        self.close(core);
        let addr = self.server.node.addr.clone();
        self.server = Server::new(core, addr, true);
        self.replicas.clear();
        self.peers.clear();
        (self.o_down, self.candidacy, self.hold_until, self.failures) = (None, None, None, 0);
        (self.leader, self.is_unconfirmed) = (None, false);
        self.failover = Failover::None;
        core.save();
        self.announce_self(core, Level::Warning, "+reset-master");
    }

    /// What stood still was we: nobody is silent because of that.
    pub(crate) fn restart_clocks(&mut self, now: Mono) {
        self.servers_mut().for_each(|server| server.node.link.restart_clock(now));
        self.peers.values_mut().for_each(|peer| peer.node.link.restart_clock(now));
    }

    /// Drops who has been down for longer than `forget-after`.
    pub(crate) fn forget_the_dead(&mut self, core: &mut Core) {
        let Some(age) = core.globals.forget_after else { return };
        let is_dead =
            |core: &mut Core, node: &Node| node.down.is_some_and(|since| core.due(since + age, Timer::Forget));
        let replicas: Vec<Addr> = self
            .replicas
            .iter()
            .filter(|(_, server)| is_dead(core, &server.node))
            .map(|(addr, _)| addr.clone())
            .collect();
        let peers: Vec<ReplId> =
            self.peers.iter().filter(|(_, peer)| is_dead(core, &peer.node)).map(|(id, _)| *id).collect();
        replicas.iter().for_each(|addr| self.forget_replica(core, addr));
        peers.into_iter().for_each(|id| self.forget_peer(core, id));
    }

    pub(crate) fn forget_replica(&mut self, core: &mut Core, addr: &Addr) {
        self.announce_replica(core, Level::Notice, "-slave", addr);
        self.replicas.remove(addr).into_iter().for_each(|mut server| server.node.link.close(core, core.mono()));
        core.save();
    }

    pub(crate) fn forget_peer(&mut self, core: &mut Core, id: ReplId) {
        self.announce_peer(core, "-sentinel", id);
        self.peers.remove(&id).into_iter().for_each(|mut peer| peer.node.link.close(core, core.mono()));
        core.save();
    }
}

impl Peer {
    fn new(core: &mut Core, addr: Addr) -> Peer {
        Peer {
            node: Node::new(core, addr),
            heard: None,
            asked: None,
            says_down: None,
            vote: None,
            was_asked_where: false,
        }
    }

    /// Whether it said a moment ago that the primary is down.
    pub(crate) fn finds_it_down(&self, now: Mono, periods: &Periods) -> bool {
        self.says_down.is_some_and(|at| now.since(at) <= periods.ask * 5)
    }
}

fn of_servers(watch: &Watch) -> Credentials<'_> {
    Credentials { user: watch.user.as_deref(), password: watch.password.as_ref().map(|secret| secret.0.as_str()) }
}

fn of_sentinels<'a>(user: &'a Option<String>, password: &'a Option<crate::settings::Secret>) -> Credentials<'a> {
    Credentials { user: user.as_deref(), password: password.as_ref().map(|secret| secret.0.as_str()) }
}

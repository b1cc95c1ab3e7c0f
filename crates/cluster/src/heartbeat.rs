//! Heartbeats: what we tell of ourselves and of others, and what we learn.

use std::sync::Arc;

use quorate_stdx::{Mono, Now, UnixMs};

use crate::claims::Claim;
use crate::cluster::{Cluster, LinkId};
use crate::event::Event;
use crate::node::{Address, Health, Node, Role};
use crate::packet::{Body, Extension, Gossip, Header, Heartbeat, Packet};
use crate::{NodeFlags, NodeId};

/// At least so many nodes are told of in each heartbeat, if there are so many.
const FEWEST_ENTRIES: usize = 3;
/// What others tell of a node's last answer may be so far ahead of our clock, milliseconds.
const CLOCK_TOLERANCE: i64 = 500;

impl Cluster {
    // ---- what we tell -----------------------------------------------------------------------------------

    pub(crate) fn header(&self) -> Header {
        let me = self.myself();
        let lead = self.lead();
        let Address { port, second_port, bus_port, .. } = me.address;
        Header {
            sender: self.me,
            current_epoch: self.current_epoch,
            config_epoch: lead.config_epoch,
            offset: self.status.offset,
            slots: lead.slots.clone(),
            primary: me.primary(),
            ip: self.config.announce.ip.clone(),
            port,
            second_port,
            bus_port,
            flags: me.flags(self.me),
            state_ok: self.state.is_ok,
            paused: me.is_primary() && self.has_paused(),
            force_ack: false,
            knows_extensions: true,
        }
    }

    pub(crate) fn send_heartbeat(&mut self, to: NodeId, kind: Heartbeat) {
        let body = self.heartbeat(kind, Some(to));
        if kind != Heartbeat::Pong {
            let now = self.now;
            self.node_mut(to).ping_sent = Some(now);
        }
        self.send(to, body);
    }

    /// A heartbeat for a node, or for one that is not known.
    pub(crate) fn heartbeat(&mut self, kind: Heartbeat, to: Option<NodeId>) -> Body {
        let extensions = self.extensions(to.map(|to| &self.nodes[&to]));
        Body::Heartbeat { kind, entries: self.entries(to), extensions }
    }

    /// A heartbeat at once, with which we tell those whom `wanted` chooses what has become of us.
    pub(crate) fn tell(&mut self, wanted: impl Fn(&Node) -> bool) {
        let entries = self.entries(None);
        self.tell_of(entries, wanted);
    }

    /// The same with these entries.
    pub(crate) fn tell_of(&mut self, entries: Vec<Gossip>, wanted: impl Fn(&Node) -> bool) {
        let header = self.header();
        let packet = |extensions: Vec<Extension>| {
            let body = Body::Heartbeat { kind: Heartbeat::Pong, entries: entries.clone(), extensions };
            Arc::new(Packet { header: Some(Box::new(header.clone())), body })
        };
        // Who understands names takes one that is not told for one that is no more.
        let (plain, named) = (packet(Vec::new()), packet(self.hostname_extension().into_iter().collect()));
        for id in self.linked(wanted) {
            let packet = if self.nodes[&id].knows_extensions() { &named } else { &plain };
            self.send_packet(id, packet);
        }
    }

    pub(crate) fn hostname_extension(&self) -> Option<Extension> {
        let hostname = &self.myself().hostname;
        (!hostname.is_empty()).then(|| Extension::Hostname(hostname.clone()))
    }

    fn extensions(&self, to: Option<&Node>) -> Vec<Extension> {
        let mut extensions = Vec::new();
        let me = self.myself();
        let Some(to) = to else { return extensions };
        if to.knows_extensions() {
            extensions.extend(self.hostname_extension());
        }
        // Redis 7.0 writes a line to its log for each extension that it doesn't know.
        if to.knows_shards() {
            if !me.human_name.is_empty() {
                extensions.push(Extension::HumanName(me.human_name.clone()));
            }
            extensions.extend(
                self.banned
                    .iter()
                    .map(|(&node, until)| Extension::Forgotten { node, seconds: until.since(self.now.mono).as_secs() }),
            );
            extensions.push(Extension::Shard(me.shard()));
        }
        extensions
    }

    /// A few nodes at random, and all that are suspected: news of those must travel fast.
    fn entries(&mut self, to: Option<NodeId>) -> Vec<Gossip> {
        let is_news = |node: &&Node| !node.is_in_handshake() && node.id != self.me && Some(node.id) != to;
        let suspected = self.nodes.values().filter(is_news).filter(|node| node.health == Health::Suspected);
        let suspected: Vec<NodeId> = suspected.map(|node| node.id).collect();
        let is_worth_it = |node: &&Node| {
            let is_reachable = node.address.ip.is_some() && (node.is_linked() || !node.slots.is_empty());
            node.health != Health::Suspected && is_reachable
        };
        let mut others: Vec<NodeId> = self.nodes.values().filter(is_news).filter(is_worth_it).map(|n| n.id).collect();
        let wanted = FEWEST_ENTRIES.max(self.nodes.len() / 10).min(others.len());
        for at in 0..wanted {
            let pick = at + self.rng.below((others.len() - at) as u64) as usize;
            others.swap(at, pick);
        }
        others.truncate(wanted);
        others.into_iter().chain(suspected).map(|id| self.nodes[&id].gossip(self.me)).collect()
    }

    // ---- what we learn ----------------------------------------------------------------------------------

    pub(crate) fn on_received(&mut self, link: LinkId, packet: Packet) {
        self.counts.received(&packet.body);
        let Packet { header, body } = packet;
        let Some(header) = header else {
            if let Body::Publish(published) = body {
                self.push(crate::Output::Deliver(published));
            }
            return;
        };
        let sender = self.known(header.sender);
        if let Some(sender) = sender {
            self.note_header(link, sender, &header);
        }
        match body {
            Body::Heartbeat { kind, entries, extensions } => {
                self.on_heartbeat(link, &header, kind, &entries, &extensions);
            }
            _ if sender.is_none() => {}
            Body::Fail(node) => self.on_fail(header.sender, node),
            Body::Publish(published) => self.push(crate::Output::Deliver(published)),
            Body::AuthRequest => self.on_auth_request(link, &header),
            Body::AuthAck => self.on_auth_ack(&header),
            Body::Update { config_epoch, node, slots } => self.on_update(Claim { node, config_epoch, slots: &slots }),
            Body::ManualStart => self.on_manual_start(header.sender),
            Body::Module(_) => {}
        }
    }

    /// The node of that name, if it is known as more than an address that was greeted.
    fn known(&self, id: NodeId) -> Option<NodeId> {
        self.nodes.get(&id).filter(|node| !node.is_in_handshake() && id != self.me).map(|node| node.id)
    }

    /// What every packet of a known node tells.
    fn note_header(&mut self, link: LinkId, sender: NodeId, header: &Header) {
        if header.current_epoch > self.current_epoch {
            self.current_epoch = header.current_epoch;
            self.is_conf_dirty = true;
        }
        let now = self.now.mono;
        if let Some(inbound) = self.inbound.get_mut(&link) {
            inbound.node = Some(sender);
        }
        let node = self.node_mut(sender);
        node.heard = now;
        node.offset = header.offset;
        // So that the answer to this can tell it all that it understands.
        let is_news = header.knows_extensions && !node.knows_extensions();
        node.told = node.told.and_if(header.knows_extensions, NodeFlags::EXTENSIONS);
        // The epoch in the header is that of the slots; only a primary's own are its own.
        if header.primary.is_none() && header.config_epoch > node.config_epoch {
            node.config_epoch = header.config_epoch;
            self.is_conf_dirty = true;
        }
        if header.paused && self.myself().primary() == Some(sender) {
            self.on_primary_paused(header.offset);
        }
        if is_news && !self.myself().hostname.is_empty() {
            // What it has heard of us so far came without our host's name, and clients may be told so.
            self.send_heartbeat(sender, Heartbeat::Pong);
        }
    }

    fn on_heartbeat(
        &mut self,
        link: LinkId,
        header: &Header,
        kind: Heartbeat,
        entries: &[Gossip],
        extensions: &[Extension],
    ) {
        if (kind == Heartbeat::Meet || self.myself().address.ip.is_none())
            && let Some(local) = self.inbound.get(&link).map(|inbound| inbound.local.clone())
        {
            self.set_own_address(local);
        }
        if kind == Heartbeat::Meet && self.known(header.sender).is_none() && header.sender != self.me {
            self.on_meet(link, header);
        }
        if kind != Heartbeat::Pong {
            let from = self.known(header.sender);
            self.answer_heartbeat(link, from, header.knows_extensions);
        }
        if self.node_of(link).is_some_and(|node| !self.is_who_we_thought(node, header)) {
            return;
        }
        let Some(sender) = self.known(header.sender) else { return };
        self.note_introduction(sender, header, extensions);
        if kind == Heartbeat::Ping {
            self.note_address(link, sender, header);
        }
        if kind == Heartbeat::Pong && self.node_of(link) == Some(sender) {
            self.on_pong(sender);
        }
        self.note_role(sender, header);
        self.note_claims(sender, header);
        self.note_gossip(sender, entries);
        self.note_forgotten(sender, extensions);
    }

    /// Somebody wants to be one of us: we greet it in turn, at the address that it tells or comes from.
    fn on_meet(&mut self, link: LinkId, header: &Header) {
        let Some(address) = self.address_of(link, header) else { return };
        self.greet(address, false);
    }

    /// Where the sender says that it is, or comes from.
    fn address_of(&self, link: LinkId, header: &Header) -> Option<Address> {
        let ip = header.ip.clone().or_else(|| self.inbound.get(&link).map(|inbound| inbound.from.clone()))?;
        let bus_port = if header.bus_port == 0 { header.port.wrapping_add(10000) } else { header.bus_port };
        Some(Address { ip: Some(ip), port: header.port, second_port: header.second_port, bus_port })
    }

    /// Whether the node that we have a link to is the one that answers. A node that was greeted learns its name so.
    fn is_who_we_thought(&mut self, node: NodeId, header: &Header) -> bool {
        if self.nodes[&node].is_in_handshake() {
            return self.end_handshake(node, header);
        }
        if node == header.sender {
            return true;
        }
        // Another node lives there now. We keep what we know of the old one but for its address.
        self.announce(Event::Impostor { expected: node, found: header.sender });
        self.drop_link(node);
        let node = self.node_mut(node);
        node.address = Address::default();
        self.is_conf_dirty = true;
        self.is_map_dirty = true;
        false
    }

    /// A node that was greeted by its address tells its name.
    fn end_handshake(&mut self, temporary: NodeId, header: &Header) -> bool {
        if header.sender == self.me {
            self.announce(Event::MetOurselves);
            self.remove_node(temporary);
            return false;
        }
        if let Some(known) = self.known(header.sender) {
            // We know it already, and now also where it is.
            let address = self.nodes[&temporary].address.clone();
            self.remove_node(temporary);
            self.move_to(known, Address { port: header.port, second_port: header.second_port, ..address });
            return false;
        }
        let mut node = self.nodes.remove(&temporary).expect("the caller has looked it up");
        node.id = header.sender;
        node.handshake_since = None;
        node.address.port = header.port;
        node.address.second_port = header.second_port;
        node.config_epoch = if header.primary.is_none() { header.config_epoch } else { crate::Epoch(0) };
        node.offset = header.offset;
        node.heard = self.now.mono;
        self.banned.remove(&header.sender);
        self.current_epoch = self.current_epoch.max(header.current_epoch);
        self.nodes.insert(header.sender, node);
        self.announce(Event::HandshakeDone(header.sender));
        self.is_conf_dirty = true;
        self.is_map_dirty = true;
        true
    }

    /// What a heartbeat tells of the sender beyond the header.
    fn note_introduction(&mut self, sender: NodeId, header: &Header, extensions: &[Extension]) {
        let lasting = NodeFlags::NO_FAILOVER.and(NodeFlags::LIGHT_PUBLISH);
        let told = NodeFlags(header.flags.0 & lasting.0).and_if(header.knows_extensions, NodeFlags::EXTENSIONS);
        let (mut hostname, mut human_name, mut shard) = (None, None, None);
        for extension in extensions {
            match extension {
                Extension::Hostname(name) => hostname = Some(name),
                Extension::HumanName(name) => human_name = Some(name),
                Extension::Shard(id) => shard = Some(*id),
                _ => {}
            }
        }
        let node = self.node_mut(sender);
        node.told = told;
        if !header.knows_extensions {
            return;
        }
        let mut changed = false;
        // A name that is not told any more is no more; but not everything is told before we have introduced ourselves.
        if hostname.is_some() || !extensions.is_empty() {
            let hostname = hostname.cloned().unwrap_or_default();
            changed |= std::mem::replace(&mut node.hostname, hostname.clone()) != hostname;
        }
        if shard.is_some() {
            node.tells_shard = true;
            let human_name = human_name.cloned().unwrap_or_default();
            changed |= std::mem::replace(&mut node.human_name, human_name.clone()) != human_name;
            changed |= std::mem::replace(&mut node.shard, shard) != shard;
            // We may have followed it before it told.
            if self.myself().primary() == Some(sender) {
                changed |= std::mem::replace(&mut self.myself_mut().shard, shard) != shard;
            }
        }
        self.is_conf_dirty |= changed;
        self.is_map_dirty |= changed;
    }

    /// A node that pings us from another address than we know has moved there.
    fn note_address(&mut self, link: LinkId, sender: NodeId, header: &Header) {
        if self.node_of(link).is_some() {
            return; // It is the one that we connected to, at its address.
        }
        if let Some(address) = self.address_of(link, header) {
            self.move_to(sender, address);
        }
    }

    fn move_to(&mut self, id: NodeId, address: Address) {
        if self.nodes[&id].address == address {
            return;
        }
        let place = format!("{}:{}", address.ip.as_deref().unwrap_or_default(), address.port);
        self.announce(Event::AddressUpdated { node: id, place });
        self.drop_link(id);
        let node = self.node_mut(id);
        node.address = address;
        node.is_gone = false;
        self.is_conf_dirty = true;
        self.is_map_dirty = true;
    }

    /// It has answered.
    fn on_pong(&mut self, sender: NodeId) {
        let now = self.now;
        let node = self.node_mut(sender);
        node.pong_received = Some(now);
        node.ping_sent = None;
        node.is_gone = false;
        self.note_alive(sender);
    }

    fn note_role(&mut self, sender: NodeId, header: &Header) {
        let role = match header.primary {
            None => Role::Primary,
            Some(primary) => Role::Replica { of: Some(primary) },
        };
        if self.nodes[&sender].role == role {
            return;
        }
        if role != Role::Primary {
            self.give_slots(&self.nodes[&sender].slots.clone(), None);
        }
        let joined = header.primary.and_then(|primary| self.nodes.get(&primary)?.shard);
        if role == Role::Primary {
            // Whoever took its place then has not taken the place that it has now.
            self.nodes.values_mut().filter(|node| node.replaces == Some(sender)).for_each(|node| node.replaces = None);
        }
        let node = self.node_mut(sender);
        // A replica that leads nothing has not taken over, but was told to go.
        node.replaces = node.primary().filter(|_| role == Role::Primary && !header.slots.is_empty());
        if !node.tells_shard {
            node.shard = None;
        } else if joined.is_some() {
            // It tells so itself, but not at once, and may have to take over before.
            node.shard = joined;
        }
        node.role = role;
        self.is_conf_dirty = true;
        self.is_map_dirty = true;
        self.state.is_stale = true;
        // Whoever follows a replica follows its primary instead: there are no chains in a cluster.
        if let Some(primary) = header.primary
            && self.myself().primary() == Some(sender)
            && primary != self.me
            && self.known(primary).is_some()
        {
            self.announce(Event::Reconfigured { primary });
            self.follow(primary);
        }
    }

    /// What it tells of others.
    fn note_gossip(&mut self, sender: NodeId, entries: &[Gossip]) {
        for entry in entries {
            if entry.node == self.me {
                continue;
            }
            match self.nodes.get(&entry.node) {
                Some(node) if node.is_in_handshake() => {}
                Some(_) => self.note_told_of(sender, entry),
                None => self.learn_of(entry),
            }
        }
    }

    fn note_told_of(&mut self, sender: NodeId, entry: &Gossip) {
        let id = entry.node;
        let is_down = entry.flags.any(NodeFlags::FAILED.and(NodeFlags::SUSPECTED));
        if self.nodes[&sender].is_primary() && id != sender {
            self.note_report(id, sender, is_down);
        }
        let now = self.now;
        let node = self.node_mut(id);
        if !is_down && node.ping_sent.is_none() && node.reports.is_empty() {
            // That it answered somebody else means that it lives, and that we needn't ask.
            let pong = i64::from(entry.pong_received) * 1000;
            let is_later = node.pong_received.is_none_or(|known| pong > known.unix.0);
            if is_later && pong <= now.unix.0 + CLOCK_TOLERANCE {
                node.pong_received = Some(at_unix(now, pong));
            }
        }
        let is_elsewhere = node.address.ip != entry.ip || node.address.bus_port != entry.bus_port;
        let they_reach_it = !is_down && !entry.flags.any(NodeFlags::NO_ADDRESS) && entry.ip.is_some();
        if (!node.is_fine() || node.address.ip.is_none()) && they_reach_it && is_elsewhere {
            self.move_to(id, address_in(entry));
        }
    }

    /// A node that we have never heard of, told by one that we know.
    fn learn_of(&mut self, entry: &Gossip) {
        let is_nowhere = entry.flags.any(NodeFlags::NO_ADDRESS) || entry.ip.is_none();
        if is_nowhere || self.banned.contains_key(&entry.node) || entry.flags.any(NodeFlags::HANDSHAKE) {
            return;
        }
        let mut node = Node::new(entry.node, address_in(entry), self.now.mono);
        node.role = if entry.flags.any(NodeFlags::REPLICA) {
            Role::Replica { of: None }
        } else if entry.flags.any(NodeFlags::PRIMARY) {
            Role::Primary
        } else {
            Role::Unknown
        };
        self.nodes.insert(entry.node, node);
        self.is_conf_dirty = true;
        self.is_map_dirty = true;
    }

    /// It was told to forget a node, and so should everybody.
    fn note_forgotten(&mut self, sender: NodeId, extensions: &[Extension]) {
        for extension in extensions {
            let Extension::Forgotten { node, seconds } = *extension else { continue };
            let is_needed = node == self.me || self.myself().primary() == Some(node) || node == sender;
            let Some(known) = self.known(node).filter(|_| !is_needed) else { continue };
            self.banned.insert(known, self.now.mono + std::time::Duration::from_secs(seconds.min(3600)));
            self.announce(Event::Forgotten { node, by: sender });
            self.remove_node(known);
        }
    }
}

fn address_in(entry: &Gossip) -> Address {
    Address { ip: entry.ip.clone(), port: entry.port, second_port: entry.second_port, bus_port: entry.bus_port }
}

/// The instant at which the wall clock showed `unix`, as far as both clocks agree.
fn at_unix(now: Now, unix: i64) -> Now {
    let ago = u64::try_from(now.unix.0.saturating_sub(unix)).unwrap_or(0);
    Now { mono: Mono(now.mono.0.saturating_sub(ago.saturating_mul(1000))), unix: UnixMs(unix) }
}

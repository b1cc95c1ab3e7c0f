//! Links: each node makes one to each other and sends its questions there; answers come back the same way. Through the
//! links that others have made to us, we only answer.

use std::sync::Arc;
use std::time::Duration;

use crate::NodeId;
use crate::cluster::{CloseReason, Cluster, LinkId, Output};
use crate::event::Event;
use crate::node::{Address, Node, Outgoing};
use crate::packet::{Body, Heartbeat, Packet, Published};

/// How many nodes are looked at for the one that is asked next, because it has been silent for the longest.
const SAMPLE: usize = 5;
/// How often that is done.
pub(crate) const QUESTION_PERIOD: Duration = Duration::from_secs(1);
/// A greeting is given up after this, or after the node timeout.
const SHORTEST_HANDSHAKE: Duration = Duration::from_secs(1);

/// A link that another node has made to us.
#[derive(Debug, Clone)]
pub(crate) struct Inbound {
    /// Where it comes from.
    pub(crate) from: String,
    /// Our own address, as it is at this end.
    pub(crate) local: String,
    /// Whose it is, if that is known.
    pub(crate) node: Option<NodeId>,
    /// Since when.
    pub(crate) since: quorate_stdx::UnixMs,
}

impl Cluster {
    pub(crate) fn on_accepted(&mut self, link: LinkId, from: String, local: String) {
        self.inbound.insert(link, Inbound { from, local, node: None, since: self.now.unix });
    }

    /// The node that we made `link` to.
    pub(crate) fn node_of(&self, link: LinkId) -> Option<NodeId> {
        match link {
            LinkId::From(_) => None,
            LinkId::To(_) => {
                let is_its = |node: &&Node| node.link.is_some_and(|own| own.id == link);
                self.nodes.values().find(is_its).map(|node| node.id)
            }
        }
    }

    /// The node at the other end of `link`, whoever made it, once it has told its name.
    #[cfg(test)]
    pub(crate) fn speaker(&self, link: LinkId) -> Option<NodeId> {
        self.node_of(link).or_else(|| self.inbound.get(&link)?.node)
    }

    pub(crate) fn on_connected(&mut self, link: LinkId, local: String) {
        let Some(id) = self.node_of(link) else { return };
        if self.myself().address.ip.is_none() {
            self.set_own_address(local);
        }
        let now = self.now.mono;
        let node = self.node_mut(id);
        node.link = Some(Outgoing { id: link, is_up: true, since: now });
        // A node that owes us an answer goes on owing it: a new link is no sign of life.
        let owed = node.ping_sent;
        let kind = if std::mem::take(&mut node.greet) { Heartbeat::Meet } else { Heartbeat::Ping };
        self.send_heartbeat(id, kind);
        if owed.is_some() {
            self.node_mut(id).ping_sent = owed;
        }
    }

    pub(crate) fn set_own_address(&mut self, ip: String) {
        if self.config.announce.ip.is_none() && self.myself().address.ip.as_ref() != Some(&ip) {
            self.announce(Event::OwnAddress(ip.clone()));
            self.myself_mut().address.ip = Some(ip);
            self.is_conf_dirty = true;
            self.is_map_dirty = true;
        }
    }

    pub(crate) fn on_closed(&mut self, link: LinkId, why: CloseReason) {
        self.inbound.remove(&link);
        if let CloseReason::Malformed(Some(word)) = why {
            self.counts.received_word(word);
        }
        let Some(id) = self.node_of(link) else { return };
        let node = self.node_mut(id);
        let was_up = node.is_linked();
        node.link = None;
        if was_up && why == CloseReason::Broken {
            // Whether somebody still listens there tells a broken link from a process that is gone.
            self.connect(id);
        } else if why == CloseReason::Refused {
            self.on_refused(id);
        }
    }

    /// Closes our link to a node, if there is one.
    pub(crate) fn drop_link(&mut self, id: NodeId) {
        if let Some(link) = self.node_mut(id).link.take() {
            self.push(Output::Disconnect { link: link.id });
        }
    }

    fn connect(&mut self, id: NodeId) {
        let link = LinkId::To(self.next_link);
        self.next_link += 1;
        let now = self.now;
        let node = self.node_mut(id);
        let Address { ip: Some(ip), bus_port: port, .. } = node.address.clone() else { return };
        // From now on it owes us an answer: if it can't be reached, it is suspected when the time has come.
        node.ping_sent.get_or_insert(now);
        node.link = Some(Outgoing { id: link, is_up: false, since: now.mono });
        self.push(Output::Connect { link, ip, port });
    }

    /// Greets a node that is known by its address only; false if that is being done already.
    pub(crate) fn greet(&mut self, address: Address, greet: bool) -> bool {
        let is_known = |node: &Node| {
            node.is_in_handshake() && node.address.ip == address.ip && node.address.bus_port == address.bus_port
        };
        if self.nodes.values().any(is_known) {
            return false;
        }
        let id = NodeId::random(&mut self.rng);
        let now = self.now.mono;
        self.nodes.insert(id, Node { handshake_since: Some(now), greet, ..Node::new(id, address, now) });
        true
    }

    // ---- what is sent -----------------------------------------------------------------------------------

    /// Sends a packet through our link to a node, if that is up.
    pub(crate) fn send(&mut self, to: NodeId, body: Body) {
        let packet = Packet { header: Some(Box::new(self.header())), body };
        self.send_packet(to, &Arc::new(packet));
    }

    pub(crate) fn send_packet(&mut self, to: NodeId, packet: &Arc<Packet>) {
        let Some(link) = self.nodes[&to].link.filter(|link| link.is_up) else { return };
        self.reply(link.id, Arc::clone(packet));
    }

    /// Says something on the link, of either direction, on which it was asked for.
    pub(crate) fn answer(&mut self, link: LinkId, body: Body) {
        let packet = Packet { header: Some(Box::new(self.header())), body };
        self.reply(link, Arc::new(packet));
    }

    pub(crate) fn reply(&mut self, link: LinkId, packet: Arc<Packet>) {
        if self.fitness.hangs {
            return; // It would make us look well.
        }
        self.counts.sent(&packet.body);
        self.push(Output::Send { link, packet });
    }

    /// Sends the same packet to every node that `wanted` chooses and there is a link to.
    pub(crate) fn broadcast(&mut self, body: Body, wanted: impl Fn(&Node) -> bool) {
        let packet = Arc::new(Packet { header: Some(Box::new(self.header())), body });
        for id in self.linked(wanted) {
            self.send_packet(id, &packet);
        }
    }

    pub(crate) fn linked(&self, wanted: impl Fn(&Node) -> bool) -> Vec<NodeId> {
        let can_hear = |node: &&Node| node.id != self.me && node.is_linked() && !node.is_in_handshake();
        self.nodes.values().filter(can_hear).filter(|node| wanted(node)).map(|node| node.id).collect()
    }

    /// A client's message goes to everybody, or to our shard; with a light header to those who understand it.
    pub(crate) fn on_publish(&mut self, published: Published) {
        let shard = self.myself().shard();
        let lead = self.lead().id;
        let sharded = published.sharded;
        let is_ours = move |node: &Node| node.shard() == shard || node.id == lead || node.primary() == Some(lead);
        let body = Body::Publish(published);
        let full = Arc::new(Packet { header: Some(Box::new(self.header())), body: body.clone() });
        let light = Arc::new(Packet { header: None, body });
        for id in self.linked(|node| !sharded || is_ours(node)) {
            let knows_light = self.nodes[&id].told.any(crate::NodeFlags::LIGHT_PUBLISH);
            self.send_packet(id, if knows_light { &light } else { &full });
        }
    }

    // ---- at each tick -----------------------------------------------------------------------------------

    /// Makes links that are missing, gives up those that seem dead, and asks whoever has been silent.
    pub(crate) fn tend_links(&mut self) {
        self.end_handshakes();
        let (now, timeout) = (self.now.mono, self.config.node_timeout);
        let ids: Vec<NodeId> = self.nodes.keys().copied().filter(|id| *id != self.me).collect();
        for &id in &ids {
            let node = &self.nodes[&id];
            if node.link.is_none() && node.address.ip.is_some() {
                self.connect(id);
                continue;
            }
            let Some(link) = node.link else { continue };
            let owes_for = node.ping_sent.map_or(Duration::ZERO, |ping| now.since(ping.mono));
            // A node that is heard on its own link to us says nothing of one that never came up.
            let is_deaf = !link.is_up || now.since(node.heard) > timeout / 2;
            let is_lost = (owes_for > timeout / 2 && is_deaf) || owes_for > timeout;
            if now.since(link.since) > timeout && is_lost {
                // The network may have lost the link without telling, or one direction of it: a new one shows who is to blame.
                self.drop_link(id);
                continue;
            }
            // Whoever has just spoken to us lives, and need not be asked yet; but what we send must be seen to arrive, too.
            let may_wait = if now.since(node.heard) < timeout / 4 { timeout * 3 / 4 } else { timeout / 2 };
            let is_quiet = node.pong_received.is_none_or(|pong| now.since(pong.mono) > may_wait);
            if link.is_up && node.ping_sent.is_none() && (is_quiet || self.hands_over_to(id)) {
                self.send_heartbeat(id, Heartbeat::Ping);
            }
        }
        if now >= self.next_question {
            self.next_question = now + QUESTION_PERIOD;
            self.ask_the_quietest(&ids);
        }
    }

    /// Of a few nodes, asks the one that answered the longest ago.
    fn ask_the_quietest(&mut self, ids: &[NodeId]) {
        let mut quietest: Option<(Option<quorate_stdx::Mono>, NodeId)> = None;
        for _ in 0..SAMPLE {
            let Some(&id) = ids.get(self.rng.below(ids.len() as u64) as usize) else { return };
            let node = &self.nodes[&id];
            if !node.is_linked() || node.ping_sent.is_some() || node.is_in_handshake() {
                continue;
            }
            let pong = node.pong_received.map(|pong| pong.mono);
            if quietest.is_none_or(|(earliest, _)| pong < earliest) {
                quietest = Some((pong, id));
            }
        }
        if let Some((_, id)) = quietest {
            self.send_heartbeat(id, Heartbeat::Ping);
        }
    }

    fn end_handshakes(&mut self) {
        let limit = self.config.node_timeout.max(SHORTEST_HANDSHAKE);
        let now = self.now.mono;
        let is_over = |node: &&Node| node.handshake_since.is_some_and(|since| now.since(since) > limit);
        let over: Vec<NodeId> = self.nodes.values().filter(is_over).map(|node| node.id).collect();
        for id in over {
            self.announce(Event::HandshakeExpired);
            self.remove_node(id);
        }
    }
}

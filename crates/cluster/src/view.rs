//! What CLUSTER NODES, SLOTS, SHARDS, LINKS and INFO show.

use quorate_stdx::Now;

use crate::cluster::{Cluster, LinkId};
use crate::node::{Address, Health, Node};
use crate::packet::Body;
use crate::{Epoch, NodeFlags, NodeId, NodesConf, SavedNode, ShardId, Slots};

/// How many packets of each kind went and came.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    sent: Vec<(&'static str, u64)>,
    received: Vec<(&'static str, u64)>,
}

impl Counts {
    pub(crate) fn sent(&mut self, body: &Body) {
        count(&mut self.sent, body.word());
    }

    pub(crate) fn received(&mut self, body: &Body) {
        self.received_word(body.word());
    }

    pub(crate) fn received_word(&mut self, word: &'static str) {
        count(&mut self.received, word);
    }
}

fn count(counts: &mut Vec<(&'static str, u64)>, word: &'static str) {
    match counts.iter_mut().find(|(counted, _)| *counted == word) {
        Some((_, count)) => *count += 1,
        None => counts.push((word, 1)),
    }
}

/// The figures of CLUSTER INFO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// `cluster_state`
    pub is_ok: bool,
    /// `cluster_slots_assigned`
    pub assigned: usize,
    /// `cluster_slots_ok`
    pub ok: usize,
    /// `cluster_slots_pfail`
    pub suspected: usize,
    /// `cluster_slots_fail`
    pub failed: usize,
    /// `cluster_known_nodes`
    pub known: usize,
    /// `cluster_size`
    pub size: usize,
    /// `cluster_current_epoch`
    pub current_epoch: Epoch,
    /// `cluster_my_epoch`
    pub my_epoch: Epoch,
    /// `cluster_stats_messages_*_sent`
    pub sent: Vec<(&'static str, u64)>,
    /// `cluster_stats_messages_*_received`
    pub received: Vec<(&'static str, u64)>,
}

/// A node.
#[derive(Debug, Clone)]
pub struct View {
    /// Its name.
    pub id: NodeId,
    /// Where it is.
    pub address: Address,
    /// The name of its host; may be empty.
    pub hostname: String,
    /// Whether it follows another.
    pub is_replica: bool,
    /// Whom it follows.
    pub primary: Option<NodeId>,
    /// Its slots.
    pub slots: Slots,
    /// How far its replication goes, bytes.
    pub offset: u64,
    /// Whether it can be reached.
    pub health: Health,
    /// Its shard.
    pub shard: ShardId,
}

impl View {
    /// Whether it is a replica that has no data yet, or is getting them anew: until then it tells no offset.
    pub fn is_loading(&self) -> bool {
        self.is_replica && self.offset == 0
    }
}

/// A shard: nodes that hold the same slots.
#[derive(Debug, Clone)]
pub struct ShardView {
    /// Its slots.
    pub slots: Slots,
    /// Its nodes.
    pub nodes: Vec<View>,
}

/// A link.
#[derive(Debug, Clone)]
pub struct LinkView {
    /// Which.
    pub link: LinkId,
    /// Whose.
    pub node: NodeId,
    /// Since when, Unix milliseconds.
    pub since: i64,
}

impl Cluster {
    /// CLUSTER INFO.
    pub fn info(&self) -> Info {
        let slots = |wanted: fn(&Node) -> bool| -> usize {
            self.nodes.values().filter(|node| wanted(node)).map(|node| node.slots.len()).sum()
        };
        Info {
            is_ok: self.is_ok(),
            assigned: slots(|_| true),
            ok: slots(Node::is_fine),
            suspected: slots(|node| node.health == Health::Suspected),
            failed: slots(Node::is_failed),
            known: self.nodes.len(),
            size: self.voters(),
            current_epoch: self.current_epoch,
            my_epoch: self.lead().config_epoch,
            sent: self.counts.sent.clone(),
            received: self.counts.received.clone(),
        }
    }

    /// CLUSTER NODES, with those that are only being greeted.
    pub fn lines(&self) -> Vec<SavedNode> {
        let NodesConf { mut nodes, .. } = self.to_conf();
        nodes.extend(self.nodes.values().filter(|node| node.is_in_handshake()).map(|node| node.to_saved(self.me)));
        nodes
    }

    fn view(&self, node: &Node) -> View {
        View {
            id: node.id,
            address: node.address.clone(),
            hostname: node.hostname.clone(),
            is_replica: node.is_replica(),
            primary: node.primary(),
            slots: node.slots.clone(),
            offset: node.offset,
            health: node.health,
            shard: node.shard(),
        }
    }

    /// The nodes that are known by name.
    pub fn views(&self) -> Vec<View> {
        self.nodes.values().filter(|node| !node.is_in_handshake()).map(|node| self.view(node)).collect()
    }

    /// CLUSTER SHARDS: each primary with its replicas; a replica without a known primary stands alone.
    pub fn shards(&self) -> Vec<ShardView> {
        let mut shards: Vec<(NodeId, ShardView)> = Vec::new();
        for node in self.views() {
            let lead = node.primary.filter(|primary| self.nodes.contains_key(primary)).unwrap_or(node.id);
            let slots = self.nodes[&lead].slots.clone();
            match shards.iter_mut().find(|(of, _)| *of == lead) {
                Some((_, shard)) if node.is_replica => shard.nodes.push(node),
                Some((_, shard)) => shard.nodes.insert(0, node),
                None => shards.push((lead, ShardView { slots, nodes: vec![node] })),
            }
        }
        shards.into_iter().map(|(_, shard)| shard).collect()
    }

    /// CLUSTER LINKS.
    pub fn link_views(&self, now: Now) -> Vec<LinkView> {
        let ours = self.nodes.values().filter_map(|node| {
            let link = node.link.filter(|link| link.is_up)?;
            let since = now.unix.0 - now.mono.since(link.since).as_millis() as i64;
            Some(LinkView { link: link.id, node: node.id, since })
        });
        let theirs = self
            .inbound
            .iter()
            .filter_map(|(&link, inbound)| Some(LinkView { link, node: inbound.node?, since: inbound.since.0 }));
        ours.chain(theirs).collect()
    }

    /// CLUSTER COUNT-FAILURE-REPORTS; nothing if the node is unknown.
    pub fn failure_reports(&mut self, node: NodeId) -> Option<usize> {
        self.nodes.contains_key(&node).then(|| self.count_reports(node))
    }

    /// Our shard.
    pub fn shard_id(&self) -> ShardId {
        self.myself().shard()
    }

    /// Whether we understand each other with `node` well enough to call it known.
    pub fn knows(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| !node.flags(self.me).any(NodeFlags::HANDSHAKE))
    }
}

//! The cluster as its nodes tell of it: each tells of all, and they may not agree.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use quorate_cluster::{NodeFlags, NodeId, SLOTS, SavedNode, Slots};

use crate::node::{Credentials, Node, address};
use crate::screen::Bar;

/// How long nodes may take to agree, as gossip goes.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// A node of the cluster.
pub(crate) struct Member {
    /// What it says of itself.
    pub(crate) told: SavedNode,
    /// Where we reach it.
    pub(crate) address: SocketAddr,
    /// The connection.
    pub(crate) node: Node,
    /// Who has which slots, as it sees it; without those that nobody has.
    pub(crate) view: BTreeMap<NodeId, Slots>,
    /// Whom it knows.
    pub(crate) known: BTreeSet<NodeId>,
    /// Whether it can move slots with all that they hold.
    pub(crate) is_atomic: bool,
}

/// The cluster.
pub(crate) struct Picture {
    /// The nodes that we reach, in the order of their addresses.
    pub(crate) members: Vec<Member>,
    /// Nodes that others know, and we don't reach: name, address, and why.
    pub(crate) missing: Vec<(NodeId, String, String)>,
}

impl Member {
    /// Its name.
    pub(crate) fn id(&self) -> NodeId {
        self.told.id
    }

    /// Whether it leads.
    pub(crate) fn is_primary(&self) -> bool {
        self.told.flags.any(NodeFlags::PRIMARY)
    }

    fn meet(address: SocketAddr, credentials: &Credentials) -> Result<(Member, Vec<SavedNode>)> {
        let mut node = Node::connect(address, credentials)?;
        let text = node.say("CLUSTER NODES")?;
        let lines = text.lines().map(|line| {
            let parsed = SavedNode::parse_line(line.as_bytes());
            parsed.map_err(|what| anyhow::anyhow!("{address} answers CLUSTER NODES with what is no line of it: {what}"))
        });
        let lines = lines.collect::<Result<Vec<SavedNode>>>()?;
        let told = lines.iter().find(|line| line.flags.any(NodeFlags::MYSELF)).cloned();
        let told = told.with_context(|| format!("{address} does not say which node it is"))?;
        let view =
            lines.iter().filter(|line| !line.slots.is_empty()).map(|line| (line.id, line.slots.clone())).collect();
        let known = lines.iter().filter(|line| !line.flags.any(NodeFlags::HANDSHAKE)).map(|line| line.id).collect();
        let is_atomic = node.say("CLUSTER GETSLOTMIGRATIONS").is_ok();
        Ok((Member { told, address, node, view, known, is_atomic }, lines))
    }
}

impl Picture {
    /// Asks a node of the cluster, and then all the nodes that it knows.
    ///
    /// # Errors
    /// That node can't be asked, or is none of a cluster.
    pub(crate) fn take(entry: SocketAddr, credentials: &Credentials) -> Result<Picture> {
        let (first, lines) = Member::meet(entry, credentials)?;
        let mut picture = Picture { members: vec![first], missing: Vec::new() };
        for line in lines {
            if line.flags.any(NodeFlags::MYSELF) {
                continue;
            }
            let Some(ip) = &line.ip else {
                picture.missing.push((line.id, String::new(), "it has no address".into()));
                continue;
            };
            let place = if ip.contains(':') { format!("[{ip}]:{}", line.port) } else { format!("{ip}:{}", line.port) };
            match address(&place).and_then(|address| Member::meet(address, credentials)) {
                Ok((member, _)) => picture.members.push(member),
                Err(error) => picture.missing.push((line.id, place, format!("{error:#}"))),
            }
        }
        picture.members.sort_by_key(|member| member.address);
        Ok(picture)
    }

    /// The same once all nodes that we reach agree; as it is if they don't after a while.
    ///
    /// # Errors
    /// As [`Picture::take`].
    pub(crate) fn settled(entry: SocketAddr, credentials: &Credentials) -> Result<Picture> {
        let (begun, mut bar) = (Instant::now(), Bar::waiting("waiting for the nodes to agree".to_owned()));
        loop {
            let picture = Picture::take(entry, credentials)?;
            if picture.agrees() || begun.elapsed() > PATIENCE {
                return Ok(picture);
            }
            bar.at(0, "");
            std::thread::sleep(POLL);
        }
    }

    /// A member by its name.
    pub(crate) fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.id() == id)
    }

    /// The same, to speak with it.
    ///
    /// # Errors
    /// There is none of that name that we reach.
    pub(crate) fn node(&mut self, id: NodeId) -> Result<&mut Member> {
        let found = self.members.iter_mut().find(|member| member.id() == id);
        found.with_context(|| format!("node {id} can't be reached"))
    }

    /// Those that lead.
    pub(crate) fn primaries(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_primary())
    }

    /// Those that follow `primary`.
    pub(crate) fn replicas(&self, primary: NodeId) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.told.primary == Some(primary))
    }

    /// The node that an operator names, by its name, the beginning of it, or its address.
    ///
    /// # Errors
    /// It is none, or several.
    pub(crate) fn named(&self, name: &str) -> Result<NodeId> {
        let by_address = address(name).ok();
        let is_it = |member: &&Member| member.id().to_string().starts_with(name) || Some(member.address) == by_address;
        let found: Vec<&Member> = self.members.iter().filter(is_it).collect();
        match &found[..] {
            [one] => Ok(one.id()),
            [] => bail!("no node is named {name}"),
            _ => bail!("several nodes are named {name}"),
        }
    }

    /// Slots that no primary says it has.
    pub(crate) fn uncovered(&self) -> Slots {
        let all: BTreeSet<u16> =
            self.primaries().flat_map(|member| member.told.slots.iter().collect::<Vec<_>>()).collect();
        (0..SLOTS).filter(|slot| !all.contains(slot)).collect()
    }

    /// Slots that are on their way by hand: which, and between whom as far as that is told.
    pub(crate) fn open(&self) -> BTreeMap<u16, Open> {
        let mut open: BTreeMap<u16, Open> = BTreeMap::new();
        for member in self.primaries() {
            for (slot, to) in &member.told.migrating {
                let slot = open.entry(*slot).or_default();
                (slot.migrating, slot.to) = (Some(member.id()), Some(*to));
            }
            for (slot, _) in &member.told.importing {
                open.entry(*slot).or_default().importing.push(member.id());
            }
        }
        open
    }

    /// Whether all know each other, and see the same owners.
    pub(crate) fn agrees(&self) -> bool {
        let know = |member: &Member| self.members.iter().all(|other| member.known.contains(&other.id()));
        self.members.windows(2).all(|pair| pair[0].view == pair[1].view) && self.members.iter().all(know)
    }
}

/// A slot that is on its way by hand.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    /// Who sends it.
    pub(crate) migrating: Option<NodeId>,
    /// Where to, as that says.
    pub(crate) to: Option<NodeId>,
    /// Who receives it.
    pub(crate) importing: Vec<NodeId>,
}

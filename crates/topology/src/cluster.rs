//! A cluster as one of its nodes sees it: CLUSTER NODES and CLUSTER INFO.

use quorate_resp::Reply;

use crate::address::Address;
use crate::info::Info;
use crate::pairs::text;

/// How many slots there are.
pub(crate) const SLOTS: u32 = 16384;

/// Slots from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotRange {
    /// Below 16384.
    pub first: u16,
    /// Not below `first`.
    pub last: u16,
}

impl SlotRange {
    /// How many there are.
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }
}

/// A slot that is open: on its way to another node, or from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// Which.
    pub slot: u16,
    /// The other node's id.
    pub other: String,
    /// Whether it leaves; else it arrives.
    pub leaves: bool,
}

/// A line of CLUSTER NODES.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// 40 hexadecimal digits.
    pub id: String,
    /// Nothing if the node does not know where it is.
    pub address: Option<Address>,
    /// `myself`, `master`, `slave`, `fail?`, `fail`, `handshake`, `noaddr`, `nofailover`.
    pub flags: Vec<String>,
    /// The id of its primary.
    pub primary: Option<String>,
    /// Whether the bus reaches it.
    pub is_linked: bool,
    /// Which change of ownership it won last.
    pub epoch: u64,
    /// The slots that it owns.
    pub slots: Vec<SlotRange>,
}

impl Member {
    /// Whether the node that tells this is meant itself.
    pub fn is_myself(&self) -> bool {
        self.has("myself")
    }

    /// Whether it has this flag.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|other| other == flag)
    }

    /// How many slots it owns.
    pub fn slot_count(&self) -> u32 {
        self.slots.iter().map(|range| range.count()).sum()
    }
}

/// The cluster as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// Whether the node serves requests.
    pub is_ok: bool,
    /// Slots that have an owner.
    pub assigned: u64,
    /// Slots whose owner is not suspected.
    pub ok: u64,
    /// The highest epoch that the node has seen.
    pub epoch: u64,
    /// Everybody, itself included.
    pub members: Vec<Member>,
    /// Its own slots that are open.
    pub moving: Vec<Moving>,
}

impl Cluster {
    /// Reads both replies. What can't be read is left out.
    pub(crate) fn read(nodes: &Reply, state: &Reply) -> Cluster {
        let state = Info::read(state);
        let mut cluster = Cluster {
            is_ok: state.get("cluster_state") == Some("ok"),
            assigned: state.number("cluster_slots_assigned"),
            ok: state.number("cluster_slots_ok"),
            epoch: state.number("cluster_current_epoch"),
            ..Cluster::default()
        };
        let lines = match nodes {
            Reply::Bulk(_) | Reply::Verbatim(..) => text(nodes).unwrap_or_default(),
            _ => String::new(),
        };
        for line in lines.lines() {
            if let Some(member) = member(line, &mut cluster.moving) {
                cluster.members.push(member);
            }
        }
        cluster
    }

    /// The line about the node itself.
    pub fn myself(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.is_myself())
    }

    /// The member with this id.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Slots that nobody owns.
    pub fn unassigned(&self) -> u32 {
        SLOTS.saturating_sub(self.members.iter().map(Member::slot_count).sum())
    }
}

fn member(line: &str, moving: &mut Vec<Moving>) -> Option<Member> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    let (id, place, flags, primary) = (word()?, word()?, word()?, word()?);
    let (_ping, _pong, epoch, link) = (word()?, word()?, word()?, word()?);
    let mut slots = Vec::new();
    for word in words {
        match word.strip_prefix('[') {
            Some(open) => moving.extend(open_slot(open.trim_end_matches(']'))),
            None => slots.extend(range(word)),
        }
    }
    Some(Member {
        id: id.to_owned(),
        address: place_of(place),
        flags: flags.split(',').map(str::to_owned).collect(),
        primary: (primary != "-").then(|| primary.to_owned()),
        is_linked: link == "connected",
        epoch: epoch.parse().ok()?,
        slots,
    })
}

/// `ip:port@bus,hostname,aux=value`
fn place_of(place: &str) -> Option<Address> {
    let (address, rest) = place.split_once('@').unwrap_or((place, ""));
    let address = address.split(',').next()?;
    let hostname = rest.split(',').nth(1).filter(|name| !name.is_empty() && !name.contains('='));
    match address.strip_prefix(':') {
        // A node that was told no address of its own has only a name.
        Some(port) => Address::of(hostname?, port),
        None => Address::parse(address),
    }
}

fn range(word: &str) -> Option<SlotRange> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && u32::from(last) < SLOTS).then_some(SlotRange { first, last })
}

/// `slot->-id` or `slot-<-id`
fn open_slot(word: &str) -> Option<Moving> {
    let (slot, other, leaves) = match (word.split_once("->-"), word.split_once("-<-")) {
        (Some((slot, other)), _) => (slot, other, true),
        (None, Some((slot, other))) => (slot, other, false),
        (None, None) => return None,
    };
    let slot: u16 = slot.parse().ok().filter(|slot| u32::from(*slot) < SLOTS)?;
    Some(Moving { slot, other: other.to_owned(), leaves })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_each_kind_is_read() {
        let nodes = "a 127.0.0.1:7000@17000,host,shard-id=5 myself,master - 0 0 1 connected 0-5460 5462 [93->-b] [94-<-c]\n\
             b 127.0.0.1:7001@17001 slave,fail? a 1 2 3 disconnected\nc :0@0 master,noaddr - 0 0 2 disconnected\n\
             d :7003@17003,named master - 0 0 2 connected 9-5 99999 x-y\nnonsense\n";
        let state = "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_current_epoch:6\r\n";
        let cluster = Cluster::read(&Reply::Bulk(nodes.into()), &Reply::Bulk(state.into()));
        assert!(cluster.is_ok && cluster.epoch == 6 && cluster.members.len() == 4);
        let [a, b, c, d] = &cluster.members[..] else { panic!() };
        assert_eq!((a.slot_count(), a.is_myself(), a.address.clone()), (5462, true, Address::parse("127.0.0.1:7000")));
        assert_eq!((b.primary.as_deref(), b.is_linked, b.has("fail?")), (Some("a"), false, true));
        assert_eq!((c.address.clone(), d.address.clone(), d.slots.len()), (None, Address::parse("named:7003"), 0));
        assert_eq!(
            cluster.moving.iter().map(|open| (open.slot, open.leaves)).collect::<Vec<_>>(),
            [(93, true), (94, false)]
        );
        assert_eq!(cluster.unassigned(), SLOTS - 5462);
    }

    #[test]
    fn an_error_is_an_empty_cluster() {
        let error = Reply::Error(b"ERR This instance has cluster support disabled".to_vec());
        assert_eq!(Cluster::read(&error, &error), Cluster::default());
    }
}

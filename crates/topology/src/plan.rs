//! What would be done to fulfil a wish, step by step, before anything is done.
//!
//! A plan is made from what is known alone and changes nothing. Whoever performs it shows it first, and stops at the first
//! step that is refused: each step alone leaves a deployment that works.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::address::Address;
use crate::cluster::{Cluster, Member, SLOTS};
use crate::facts::{Facts, Part};
use crate::node::Topology;

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// That Sentinels choose another primary for a name.
    FailOver(String),
    /// That this replica takes over from its primary, which lives.
    Promote(Address),
    /// That a node is in the cluster.
    Add(Address),
    /// That a node is in the cluster no more.
    Remove(Address),
    /// That each primary of the cluster has as many slots as every other.
    Rebalance,
}

/// What is done in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A request, which must not be answered with an error.
    Command {
        /// To whom.
        at: Address,
        /// What.
        words: Vec<String>,
        /// An error with these words says that it is so already.
        unless: Option<&'static str>,
    },
    /// Slots go from one primary to another, with their keys.
    Move {
        /// Which.
        slots: Vec<u16>,
        /// Who has them, and its id.
        from: (Address, String),
        /// Who gets them, and its id.
        to: (Address, String),
        /// Other primaries, which are told.
        others: Vec<Address>,
    },
}

/// A step, with what it does in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStep {
    /// For people.
    pub text: String,
    /// For whoever performs it.
    pub deed: Deed,
}

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it is for.
    pub title: String,
    /// In this order.
    pub steps: Vec<PlanStep>,
    /// What whoever confirms it should know.
    pub warnings: Vec<String>,
}

/// A primary of the cluster that answers.
struct Owner<'a> {
    address: &'a Address,
    member: &'a Member,
    slots: Vec<u16>,
}

impl Topology {
    /// What would be done, or why nothing can be.
    pub fn plan(&self, wish: &Wish) -> Result<Plan, String> {
        match wish {
            Wish::FailOver(name) => self.plan_failover(name),
            Wish::Promote(replica) => self.plan_promotion(replica),
            Wish::Add(node) => self.plan_addition(node),
            Wish::Remove(node) => self.plan_removal(node),
            Wish::Rebalance => self.plan_rebalance(),
        }
    }

    fn plan_failover(&self, name: &str) -> Result<Plan, String> {
        let mut watching =
            self.live().flat_map(|(node, facts)| facts.watched.iter().map(move |watched| (node, watched)));
        let (sentinel, watched) =
            watching.find(|(_, watched)| watched.name == name).ok_or("no Sentinel that answers watches it")?;
        let mut warnings = Vec::new();
        warnings.extend(watched.refusal.clone());
        let best = watched.replicas.iter().filter(|replica| !replica.is_down());
        let candidates: Vec<String> = best.map(|replica| replica.address.to_string()).collect();
        if candidates.is_empty() {
            return Err("no replica of it can take over".to_owned());
        }
        let text = format!(
            "{} starts a failover of {name} from {}; one of {} takes over",
            sentinel.address,
            watched.primary,
            candidates.join(", ")
        );
        let words = ["SENTINEL", "FAILOVER", name].map(str::to_owned).to_vec();
        let deed = Deed::Command { at: sentinel.address.clone(), words, unless: None };
        Ok(Plan { title: format!("Fail {name} over"), steps: vec![PlanStep { text, deed }], warnings })
    }

    fn plan_promotion(&self, replica: &Address) -> Result<Plan, String> {
        let node = self.node(replica).ok_or("it is not known")?;
        let facts = node.live().ok_or("it does not answer")?;
        let (Part::ClusterNode, Some(of)) = (facts.part, facts.primary()) else {
            return Err("it is no replica in a cluster".to_owned());
        };
        let lives = self.node(of).is_some_and(|node| node.live().is_some());
        let mut words = vec!["CLUSTER".to_owned(), "FAILOVER".to_owned()];
        let mut warnings = Vec::new();
        if !lives {
            words.push("FORCE".to_owned());
            warnings.push(format!("{of} does not answer: what only it has is lost"));
        }
        let text = format!("{replica} takes over from {of}");
        let deed = Deed::Command { at: node.address.clone(), words, unless: None };
        Ok(Plan { title: format!("Promote {replica}"), steps: vec![PlanStep { text, deed }], warnings })
    }

    fn cluster_nodes(&self) -> impl Iterator<Item = (&Address, &Facts)> {
        let nodes = self.live().filter(|(_, facts)| facts.part == Part::ClusterNode);
        nodes.map(|(node, facts)| (&node.address, facts))
    }

    fn plan_addition(&self, added: &Address) -> Result<Plan, String> {
        let ip: IpAddr = added.host.parse().map_err(|_| "CLUSTER MEET takes a number for a host, not a name")?;
        if self.cluster_nodes().any(|(address, _)| address == added) {
            return Err("it is in the cluster already".to_owned());
        }
        let (via, _) = self.cluster_nodes().next().ok_or("there is no cluster, or none of its nodes answers")?;
        let words = ["CLUSTER", "MEET", &ip.to_string(), &added.port.to_string()].map(str::to_owned).to_vec();
        let step = PlanStep {
            text: format!("{via} meets {added}"),
            deed: Deed::Command { at: via.clone(), words, unless: None },
        };
        let warnings = vec!["It owns no slots until the cluster is rebalanced.".to_owned()];
        Ok(Plan { title: format!("Add {added}"), steps: vec![step], warnings })
    }

    fn plan_removal(&self, removed: &Address) -> Result<Plan, String> {
        let members =
            self.cluster_nodes().filter_map(|(_, facts)| facts.cluster.as_ref()).flat_map(|view| &view.members);
        let is_it = |member: &&Member| member.address.as_ref().map(|address| self.known_as(address)) == Some(removed);
        let id =
            members.into_iter().find(is_it).map(|member| member.id.clone()).ok_or("no node of the cluster is there")?;
        let owners = self.owners();
        let mut steps = Vec::new();
        let mut warnings = Vec::new();
        let lives = self.node(removed).is_some_and(|node| node.live().is_some());
        if let Some(index) = owners.iter().position(|owner| owner.address == removed) {
            if owners.len() == 1 && !owners[0].slots.is_empty() {
                return Err("nobody else could take its slots".to_owned());
            }
            let mut wanted: Vec<usize> = shares(owners.len() - 1);
            wanted.insert(index, 0);
            // Who has more than its share keeps it: this is no rebalancing.
            steps = moves(&owners, &wanted, Some(index));
        } else if !lives && self.owns_slots(&id) {
            return Err("its slots would have no owner: let a replica take over first".to_owned());
        }
        for (address, facts) in self.cluster_nodes().filter(|(address, _)| *address != removed) {
            if facts.cluster.as_ref().is_some_and(|view| view.member(&id).is_some()) {
                let words = ["CLUSTER", "FORGET", &id].map(str::to_owned).to_vec();
                // Some makes tell each other.
                let deed = Deed::Command { at: address.clone(), words, unless: Some("Unknown node") };
                steps.push(PlanStep { text: format!("{address} forgets {removed}"), deed });
            }
        }
        if lives {
            warnings.push(format!("{removed} is not stopped; it stays behind alone and still knows the cluster."));
        }
        Ok(Plan { title: format!("Remove {removed}"), steps, warnings })
    }

    fn owns_slots(&self, id: &str) -> bool {
        let views = self.cluster_nodes().filter_map(|(_, facts)| facts.cluster.as_ref());
        views.filter_map(|view| view.member(id)).any(|member| member.slot_count() > 0)
    }

    fn plan_rebalance(&self) -> Result<Plan, String> {
        let owners = self.owners();
        if owners.is_empty() {
            return Err("there is no cluster, or none of its primaries answers".to_owned());
        }
        let owned: usize = owners.iter().map(|owner| owner.slots.len()).sum();
        if owned < SLOTS as usize {
            return Err(format!("{} slots have no owner that answers", SLOTS as usize - owned));
        }
        if self.cluster_nodes().filter_map(|(_, facts)| facts.cluster.as_ref()).any(|view| !view.moving.is_empty()) {
            return Err("slots are open: a move is under way, or was given up".to_owned());
        }
        // Those who have most are given the larger shares, so that nothing moves for the sake of one slot.
        let mut order: Vec<usize> = (0..owners.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(owners[index].slots.len()));
        let mut wanted = vec![0; owners.len()];
        for (share, index) in shares(owners.len()).into_iter().zip(order) {
            wanted[index] = share;
        }
        let steps = moves(&owners, &wanted, None);
        if steps.is_empty() {
            return Err("every primary has its share already".to_owned());
        }
        Ok(Plan { title: "Rebalance the cluster".to_owned(), steps, warnings: Vec::new() })
    }

    fn owners(&self) -> Vec<Owner<'_>> {
        let primaries = self.cluster_nodes().filter(|(_, facts)| facts.is_primary());
        let mut owners = Vec::new();
        for (address, facts) in primaries {
            let Some(member) = facts.cluster.as_ref().and_then(Cluster::myself) else { continue };
            let slots = member.slots.iter().flat_map(|range| range.first..=range.last).collect();
            owners.push(Owner { address, member, slots });
        }
        owners
    }
}

/// All slots in `count` shares that differ by one at most, the larger first.
fn shares(count: usize) -> Vec<usize> {
    let all = SLOTS as usize;
    (0..count).map(|index| all / count + usize::from(index < all % count)).collect()
}

/// Moves from those who have more than is wanted to those who have less. With `only`, nobody else gives anything away.
fn moves(owners: &[Owner<'_>], wanted: &[usize], only: Option<usize>) -> Vec<PlanStep> {
    let mut has: Vec<usize> = owners.iter().map(|owner| owner.slots.len()).collect();
    let mut left: Vec<&[u16]> = owners.iter().map(|owner| owner.slots.as_slice()).collect();
    let mut moved: BTreeMap<(usize, usize), Vec<u16>> = BTreeMap::new();
    for giver in (0..owners.len()).filter(|giver| only.is_none_or(|only| only == *giver)) {
        while has[giver] > wanted[giver] {
            // Whoever lacks most; if nobody lacks any, whoever has least.
            let others = (0..owners.len()).filter(|other| *other != giver);
            let Some(taker) = others.min_by_key(|&other| has[other] as i64 - wanted[other] as i64) else { break };
            let lacks = wanted[taker].saturating_sub(has[taker]);
            let count = (has[giver] - wanted[giver]).min(lacks.max(1));
            let (gone, rest) = left[giver].split_at(count);
            left[giver] = rest;
            moved.entry((giver, taker)).or_default().extend(gone);
            has[giver] -= count;
            has[taker] += count;
        }
    }
    let step = |((from, to), slots): ((usize, usize), Vec<u16>)| {
        let (giver, taker) = (&owners[from], &owners[to]);
        let others = owners.iter().map(|owner| owner.address);
        let others = others.filter(|address| *address != giver.address && *address != taker.address).cloned().collect();
        PlanStep {
            text: format!("{} slots go from {} to {}", slots.len(), giver.address, taker.address),
            deed: Deed::Move {
                slots,
                from: (giver.address.clone(), giver.member.id.clone()),
                to: (taker.address.clone(), taker.member.id.clone()),
                others,
            },
        }
    };
    moved.into_iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Node, State};
    use crate::question::Question;
    use quorate_resp::Reply;

    fn at(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    /// Primaries with these slots.
    fn cluster(slots: &[&str]) -> Topology {
        let mut topology = Topology::default();
        for own in 0..slots.len() {
            let mut lines = String::new();
            for (index, slots) in slots.iter().enumerate() {
                let flags = if index == own { "myself,master" } else { "master" };
                lines += &format!("id{index} 10.0.0.{index}:7@17 {flags} - 0 0 {index} connected {slots}\n");
            }
            let info = format!("redis_mode:cluster\r\nrole:master\r\nrun_id:{own}\r\n");
            let answers = BTreeMap::from([
                (Question::Info, Reply::Bulk(info.into_bytes())),
                (Question::ClusterNodes, Reply::Bulk(lines.into_bytes())),
            ]);
            let address = at(&format!("10.0.0.{own}:7"));
            let facts = Facts::read(&answers);
            let node = Node { address: address.clone(), state: State::Up, facts, is_seed: false };
            topology.nodes.insert(address, node);
        }
        topology
    }

    /// How many slots go from whom to whom.
    fn moved(plan: &Plan) -> Vec<(String, String, usize)> {
        let moved = plan.steps.iter().filter_map(|step| match &step.deed {
            Deed::Move { slots, from, to, .. } => Some((from.1.clone(), to.1.clone(), slots.len())),
            Deed::Command { .. } => None,
        });
        moved.collect()
    }

    fn entry(from: &str, to: &str, count: usize) -> (String, String, usize) {
        (from.to_owned(), to.to_owned(), count)
    }

    #[test]
    fn a_newcomer_gets_its_share_of_everybody() {
        let plan = cluster(&["0-5460", "5461-10922", "10923-16383", ""]).plan(&Wish::Rebalance).unwrap();
        assert_eq!(moved(&plan), [entry("id0", "id3", 1365), entry("id1", "id3", 1366), entry("id2", "id3", 1365)]);
        let Deed::Move { slots, others, .. } = &plan.steps[0].deed else { panic!() };
        assert_eq!((slots[0], slots[1364], others.len()), (0, 1364, 2));
    }

    #[test]
    fn what_is_balanced_or_broken_is_not_rebalanced() {
        for (slots, said) in [
            (&["0-8191", "8192-16383"][..], "share already"),
            (&["0-5461", "5462-10922", "10923-16383"], "share already"),
            (&["0-8000", "8192-16383"], "no owner"),
            (&["0-100 [5->-id1]", "101-16383"], "open"),
            (&[], "no cluster"),
        ] {
            let refusal = cluster(slots).plan(&Wish::Rebalance).unwrap_err();
            assert!(refusal.contains(said), "{refusal}");
        }
    }

    #[test]
    fn who_leaves_gives_its_slots_away_and_is_forgotten_by_all() {
        let topology = cluster(&["0-5460", "5461-10922", "10923-16383"]);
        let plan = topology.plan(&Wish::Remove(at("10.0.0.1:7"))).unwrap();
        assert_eq!(moved(&plan), [entry("id1", "id0", 2731), entry("id1", "id2", 2731)]);
        assert_eq!(plan.steps.len(), 4);
        assert!(cluster(&["0-16383"]).plan(&Wish::Remove(at("10.0.0.0:7"))).is_err());
        assert!(topology.plan(&Wish::Remove(at("10.0.0.9:7"))).is_err());
    }

    #[test]
    fn who_is_added_is_met_by_its_number() {
        let topology = cluster(&["0-16383"]);
        let plan = topology.plan(&Wish::Add(at("10.0.0.8:7"))).unwrap();
        let words = ["CLUSTER", "MEET", "10.0.0.8", "7"].map(str::to_owned).to_vec();
        assert_eq!(plan.steps[0].deed, Deed::Command { at: at("10.0.0.0:7"), words, unless: None });
        assert!(topology.plan(&Wish::Add(at("name:7"))).is_err());
        assert!(topology.plan(&Wish::Add(at("10.0.0.0:7"))).is_err());
    }
}

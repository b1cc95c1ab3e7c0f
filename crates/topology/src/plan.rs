//! What would be done to fulfil a wish, step by step, before anything is done.
//!
//! A plan is made from what is known alone and changes nothing. Whoever performs it shows it first, and stops at the first
//! step that is refused: each step alone leaves a deployment that works. Which slots go where is not decided here: a plan only says
//! that they have to, and why.

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

/// A request, which must not be answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// To whom.
    pub at: Address,
    /// What.
    pub words: Vec<String>,
    /// An error with these words says that it is so already.
    pub unless: Option<&'static str>,
}

/// Slots that have to move before anything else is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shift {
    /// Until every primary has its share.
    Even {
        /// Any node of the cluster that answers.
        via: Address,
    },
    /// Until this primary has none.
    Away {
        /// Which.
        from: Address,
    },
}

/// A step, with what it does in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStep {
    /// For people.
    pub text: String,
    /// For whoever performs it.
    pub command: Command,
}

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it is for.
    pub title: String,
    /// What comes first, if slots have to move.
    pub shift: Option<Shift>,
    /// In this order.
    pub steps: Vec<PlanStep>,
    /// What whoever confirms it should know.
    pub warnings: Vec<String>,
}

impl Plan {
    fn of(title: String, steps: Vec<PlanStep>, warnings: Vec<String>) -> Plan {
        Plan { title, shift: None, steps, warnings }
    }
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
        let command = Command { at: sentinel.address.clone(), words, unless: None };
        Ok(Plan::of(format!("Fail {name} over"), vec![PlanStep { text, command }], warnings))
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
        let command = Command { at: node.address.clone(), words, unless: None };
        Ok(Plan::of(format!("Promote {replica}"), vec![PlanStep { text, command }], warnings))
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
            command: Command { at: via.clone(), words, unless: None },
        };
        let warnings = vec!["It owns no slots until the cluster is rebalanced.".to_owned()];
        Ok(Plan::of(format!("Add {added}"), vec![step], warnings))
    }

    fn plan_removal(&self, removed: &Address) -> Result<Plan, String> {
        let members =
            self.cluster_nodes().filter_map(|(_, facts)| facts.cluster.as_ref()).flat_map(|view| &view.members);
        let is_it = |member: &&Member| member.address.as_ref().map(|address| self.known_as(address)) == Some(removed);
        let id =
            members.into_iter().find(is_it).map(|member| member.id.clone()).ok_or("no node of the cluster is there")?;
        let mut steps = Vec::new();
        let mut warnings = Vec::new();
        let lives = self.node(removed).is_some_and(|node| node.live().is_some());
        let owned = self.owned(&id);
        let shift = match (owned, lives) {
            (0, _) => None,
            (_, false) => return Err("its slots would have no owner: let a replica take over first".to_owned()),
            (owned, true) if owned == SLOTS => return Err("nobody else could take its slots".to_owned()),
            (_, true) => Some(Shift::Away { from: removed.clone() }),
        };
        for (address, facts) in self.cluster_nodes().filter(|(address, _)| *address != removed) {
            if facts.cluster.as_ref().is_some_and(|view| view.member(&id).is_some()) {
                let words = ["CLUSTER", "FORGET", &id].map(str::to_owned).to_vec();
                // Some makes tell each other.
                let command = Command { at: address.clone(), words, unless: Some("Unknown node") };
                steps.push(PlanStep { text: format!("{address} forgets {removed}"), command });
            }
        }
        if lives {
            warnings.push(format!("{removed} is not stopped; it stays behind alone and still knows the cluster."));
        }
        Ok(Plan { title: format!("Remove {removed}"), shift, steps, warnings })
    }

    /// How many slots a node owns, as it says itself if it answers, and else the others.
    fn owned(&self, id: &str) -> u32 {
        let views = || self.cluster_nodes().filter_map(|(_, facts)| facts.cluster.as_ref());
        let own = views().filter_map(Cluster::myself).find(|own| own.id == id);
        let told = views().filter_map(|view| view.member(id)).map(|member| member.slot_count()).max();
        own.map(|own| own.slot_count()).or(told).unwrap_or(0)
    }

    fn plan_rebalance(&self) -> Result<Plan, String> {
        let primaries: Vec<(&Address, &Cluster)> = self
            .cluster_nodes()
            .filter(|(_, facts)| facts.is_primary())
            .filter_map(|(address, facts)| Some((address, facts.cluster.as_ref()?)))
            .collect();
        let (via, _) = primaries.first().ok_or("there is no cluster, or none of its primaries answers")?;
        let owned =
            primaries.iter().filter_map(|(_, view)| view.myself()).map(|own| own.slot_count()).collect::<Vec<_>>();
        let all: u32 = owned.iter().sum();
        if all < SLOTS {
            return Err(format!("{} slots have no owner that answers", SLOTS - all));
        }
        if primaries.iter().any(|(_, view)| !view.moving.is_empty()) {
            return Err("slots are open: a move is under way, or was given up".to_owned());
        }
        if owned.iter().min().zip(owned.iter().max()).is_some_and(|(least, most)| most - least <= 1) {
            return Err("every primary has its share already".to_owned());
        }
        let shift = Some(Shift::Even { via: (*via).clone() });
        let title = "Rebalance the cluster".to_owned();
        Ok(Plan { title, shift, steps: Vec::new(), warnings: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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

    #[test]
    fn slots_have_to_move_if_somebody_has_more_than_others() {
        let plan = cluster(&["0-5460", "5461-10922", "10923-16383", ""]).plan(&Wish::Rebalance).unwrap();
        assert_eq!((plan.shift, plan.steps.len()), (Some(Shift::Even { via: at("10.0.0.0:7") }), 0));
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
        assert_eq!((plan.shift, plan.steps.len()), (Some(Shift::Away { from: at("10.0.0.1:7") }), 2));
        assert!(cluster(&["0-16383"]).plan(&Wish::Remove(at("10.0.0.0:7"))).is_err());
        assert!(topology.plan(&Wish::Remove(at("10.0.0.9:7"))).is_err());
    }

    #[test]
    fn who_is_added_is_met_by_its_number() {
        let topology = cluster(&["0-16383"]);
        let plan = topology.plan(&Wish::Add(at("10.0.0.8:7"))).unwrap();
        let words = ["CLUSTER", "MEET", "10.0.0.8", "7"].map(str::to_owned).to_vec();
        assert_eq!(plan.steps[0].command, Command { at: at("10.0.0.0:7"), words, unless: None });
        assert!(topology.plan(&Wish::Add(at("name:7"))).is_err());
        assert!(topology.plan(&Wish::Add(at("10.0.0.0:7"))).is_err());
    }
}

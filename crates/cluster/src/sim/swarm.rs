//! A cluster and its faults, drawn from a seed.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_stdx::{Mono, Rng};

use super::world::{Fault, World};
use crate::config::Planted;
use crate::{Cluster, Config, NodeId, Order, SLOTS, Slots};

/// Every so manieth seed is one of a large cluster and of many faults; each is with SIM_LONG=1.
fn is_long(seed: u64) -> bool {
    seed.is_multiple_of(50) || std::env::var_os("SIM_LONG").is_some()
}

/// How long a cluster may take to agree after the last fault.
const CALM: Duration = Duration::from_secs(60);
/// How long they have to go on agreeing.
const LASTING: Duration = Duration::from_secs(2);
/// Hosts on which no node is at first.
const SPARES: usize = 1;
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn run(seed: u64, planted: Option<Planted>) -> Result<(), String> {
    Swarm::new(seed, planted).play()
}

/// Slots move between primaries without replicas, whose processes die and come back with their data, while clients write:
/// no write that was acknowledged may be lost, or be there twice.
pub(crate) fn run_transfers(seed: u64, traced: bool, planted: Option<Planted>) -> Outcome {
    let mut swarm = Swarm::new(seed, planted);
    let hosts = if is_long(seed) { 3 + swarm.rng.below(3) as usize } else { 3 };
    let config = Config { full_coverage: false, ..swarm.world.config().clone() };
    swarm.world = World::new(hosts, config, swarm.rng.next_u64());
    (swarm.primaries, swarm.replicas) = (hosts, 0);
    // The worst takes a source as long as an election.
    swarm.length = swarm.length.max(Duration::from_secs(10));
    swarm.world.trace = traced.then(String::new);
    let result = swarm.play_transfers();
    Outcome { result, trace: swarm.world.trace.take().unwrap_or_default(), endings: swarm.world.endings }
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) result: Result<(), String>,
    pub(crate) trace: String,
    /// How many ends of migrations were successes, and how many weren't.
    pub(crate) endings: (usize, usize),
}

pub(crate) fn run_traced(seed: u64, planted: Option<Planted>) -> (Result<(), String>, String) {
    let mut swarm = Swarm::new(seed, planted);
    swarm.world.trace = Some(String::new());
    let outcome = swarm.play();
    (outcome, swarm.world.trace.take().unwrap_or_default())
}

/// How long after a primary, the first host, has suffered `fault` one of its replicas leads in its place.
pub(crate) fn time_to_recover(seed: u64, node_timeout: Duration, replicas: usize, fault: Fault) -> Duration {
    let mut rng = Rng::new(seed);
    let config = Config { node_timeout, ..Config::default() };
    let world = World::new(3 + 3 * replicas, config, rng.next_u64());
    let mut swarm = Swarm { length: Duration::ZERO, world, primaries: 3, replicas, rng, has_faults: false };
    swarm.form().expect("nothing disturbs it");
    let dead = swarm.world.id(0);
    let at = swarm.world.now + Duration::from_millis(1);
    swarm.world.fault_at(at, fault);
    while swarm.world.now.since(at) < Duration::from_secs(30) {
        let next = swarm.world.now + Duration::from_millis(1);
        swarm.world.run_until(next).expect("nothing is wrong");
        let witness = swarm.world.machine(1).expect("it lives");
        if witness.owners[0] != Some(dead) {
            break;
        }
    }
    swarm.world.now.since(at)
}

/// How long it takes, at default settings, to settle whose slots are that were granted to a node which died just then, and which
/// has a replica. Nobody writes to them meanwhile.
pub(crate) fn time_to_settle_a_grant(seed: u64) -> Duration {
    let mut rng = Rng::new(seed);
    let world = World::new(6, Config::default(), rng.next_u64());
    let mut swarm = Swarm { length: Duration::ZERO, world, primaries: 3, replicas: 1, rng, has_faults: false };
    swarm.form().expect("nothing disturbs it");
    swarm.world.fault_at(swarm.world.now, Fault::Migrate { host: 0, to: 1, share: 0 });
    let is_in_doubt = |swarm: &Swarm| swarm.world.machine(0).expect("it lives").is_in_doubt();
    let step = |swarm: &mut Swarm| swarm.pass(Duration::from_micros(100)).expect("nothing is wrong");
    while !is_in_doubt(&swarm) {
        step(&mut swarm);
    }
    let begun = swarm.world.now;
    swarm.world.fault_at(begun, Fault::Crash(1));
    step(&mut swarm);
    while is_in_doubt(&swarm) && swarm.world.now.since(begun) < Duration::from_secs(60) {
        step(&mut swarm);
    }
    swarm.world.now.since(begun)
}

/// How often the node of a cluster in which nothing happens wants to be woken in a minute, and how soon it does once a
/// process has died.
pub(crate) fn wakes_of_a_calm_node(seed: u64) -> (usize, Duration) {
    let mut rng = Rng::new(seed);
    let world = World::new(6, Config::default(), rng.next_u64());
    let mut swarm = Swarm { length: Duration::ZERO, world, primaries: 3, replicas: 1, rng, has_faults: false };
    swarm.form().expect("nothing disturbs it");
    swarm.pass(Duration::from_secs(5)).expect("nothing is wrong");
    let wakes_at = |swarm: &Swarm| swarm.world.machine(1).expect("it lives").next_tick;
    let mut wakes = BTreeSet::new();
    let end = swarm.world.now + Duration::from_secs(60);
    while swarm.world.now < end {
        wakes.insert(wakes_at(&swarm));
        swarm.pass(Duration::from_millis(10)).expect("nothing is wrong");
    }
    swarm.world.fault_at(swarm.world.now, Fault::Crash(0));
    swarm.pass(Duration::from_millis(10)).expect("nothing is wrong");
    (wakes.len(), wakes_at(&swarm).since(swarm.world.now))
}

pub(super) struct Swarm {
    /// How long faults go on.
    pub(super) length: Duration,
    pub(super) world: World,
    pub(super) primaries: usize,
    pub(super) replicas: usize,
    pub(super) rng: Rng,
    pub(super) has_faults: bool,
}

impl Swarm {
    fn new(seed: u64, planted: Option<Planted>) -> Swarm {
        let mut rng = Rng::new(seed);
        let node_timeout = Duration::from_millis([500, 1000, 2000][rng.below(3) as usize]);
        let config = Config { node_timeout, planted, ..Config::default() };
        // Most are short and small, because many different ones find more than a few that go on for long.
        let (length, primaries, replicas) = match is_long(seed) {
            true => (Duration::from_secs(30), 3 + rng.below(3) as usize, 1 + rng.below(2) as usize),
            false => (Duration::from_secs(5), 3, 1),
        };
        let world = World::new(primaries * (1 + replicas) + SPARES, config, rng.next_u64());
        Swarm { length, world, primaries, replicas, rng, has_faults: true }
    }

    pub(super) fn hosts(&self) -> usize {
        self.primaries * (1 + self.replicas)
    }

    /// With those on which no node is at first.
    fn all(&self) -> usize {
        self.world.processes.len()
    }

    pub(super) fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = self.world.now + time;
        self.world.run_until(end)
    }

    /// As redis-cli forms one: slots and epochs, then everybody meets the first, then the replicas choose.
    pub(super) fn form(&mut self) -> Result<(), String> {
        for host in 0..self.hosts() {
            self.world.members.insert(host);
            self.world.start(host, false);
        }
        self.pass(Duration::from_millis(10))?;
        for host in 0..self.primaries {
            let share = usize::from(SLOTS) / self.primaries;
            let last = if host + 1 == self.primaries { usize::from(SLOTS) } else { (host + 1) * share };
            let slots = (host * share..last).map(|slot| slot as u16).collect();
            self.world.order(host, Order::AddSlots(slots));
        }
        for host in 0..self.hosts() {
            self.world.order(host, Order::SetConfigEpoch(host as i64 + 1));
        }
        for host in 1..self.hosts() {
            self.world.order(host, Order::Meet { address: World::address_for_meet(0) });
        }
        self.await_all("everybody to know everybody", |swarm| {
            (0..swarm.hosts()).all(|host| {
                let machine = swarm.world.machine(host).expect("nothing has crashed");
                (0..swarm.hosts()).all(|other| machine.knows(swarm.world.id(other)))
            })
        })?;
        for host in self.primaries..self.hosts() {
            let primary = self.world.id(host % self.primaries);
            self.world.order(host, Order::Replicate { primary, is_empty: true });
        }
        self.await_all("a cluster that works", |swarm| {
            (0..swarm.hosts()).all(|host| swarm.world.machine(host).is_some_and(Cluster::is_ok))
        })?;
        // Nobody takes a write before.
        self.pass(Duration::from_secs(1))
    }

    pub(super) fn await_all(&mut self, what: &str, is_so: impl Fn(&Swarm) -> bool) -> Result<(), String> {
        let deadline = self.world.now + CALM;
        while !is_so(self) {
            if self.world.now > deadline {
                return Err(format!("still waiting for {what}\n{}", self.picture()));
            }
            self.pass(LOOK)?;
        }
        Ok(())
    }

    fn play(&mut self) -> Result<(), String> {
        self.form()?;
        self.world.dooms = self.has_faults;
        let end = self.world.now + self.length;
        self.draw_faults(end);
        self.world.run_until(end)?;
        self.world.dooms = false;
        self.world.fault_at(end, Fault::Heal);
        for host in 0..self.all() {
            self.world.fault_at(end, Fault::Start { host, keeps_data: true });
            self.world.fault_at(end, Fault::Hang { host, hangs: false });
        }
        // An operator tries again what has not come about.
        for later in [0, 5, 10] {
            self.world.fault_at(end + Duration::from_secs(later), Fault::SettleMembership);
        }
        self.await_lasting("all to agree", Swarm::agrees)
    }

    /// The same, and it stays so.
    fn await_lasting(&mut self, what: &str, is_so: impl Fn(&Swarm) -> bool) -> Result<(), String> {
        let deadline = self.world.now + CALM;
        let mut lasts = Duration::ZERO;
        while lasts < LASTING {
            if self.world.now > deadline {
                return Err(format!("still waiting for {what}\n{}", self.picture()));
            }
            self.pass(LOOK)?;
            lasts = if is_so(self) { lasts + LOOK } else { Duration::ZERO };
        }
        Ok(())
    }

    fn play_transfers(&mut self) -> Result<(), String> {
        self.form()?;
        let end = self.world.now + self.length;
        let mut at = self.world.now;
        self.world.dooms = true;
        loop {
            at = at + Duration::from_millis(100 + self.rng.below(2000));
            if at >= end {
                break;
            }
            let (host, to) = self.two_hosts();
            self.world.fault_at(at, Fault::Migrate { host, to, share: self.rng.below(4) as usize });
            if self.rng.below(2) == 0 {
                let dies = if self.rng.below(2) == 0 { host } else { to };
                let dies_at = (at + Duration::from_millis(self.rng.below(3000))).min(end);
                let fault = if self.rng.below(3) == 0 { Fault::PowerOff(dies) } else { Fault::Crash(dies) };
                self.world.fault_at(dies_at, fault);
                let back = dies_at + Duration::from_millis(20 + self.rng.below(8000));
                self.world.fault_at(back, Fault::Start { host: dies, keeps_data: true });
            }
        }
        self.world.run_until(end)?;
        self.world.dooms = false;
        for host in 0..self.hosts() {
            self.world.fault_at(end, Fault::Start { host, keeps_data: true });
        }
        self.await_lasting("all to agree", |swarm| swarm.agrees() && !swarm.world.transfers_under_way())?;
        self.world.check_writes()
    }

    fn two_hosts(&mut self) -> (usize, usize) {
        let host = self.rng.below(self.all() as u64) as usize;
        let to = (host + 1 + self.rng.below(self.all() as u64 - 1) as usize) % self.all();
        (host, to)
    }

    fn draw_faults(&mut self, end: Mono) {
        let mut at = self.world.now;
        loop {
            at = at + Duration::from_millis(200 + self.rng.below(self.length.as_millis() as u64 / 5));
            let host = self.rng.below(self.all() as u64) as usize;
            let back = at + Duration::from_millis(20 + self.rng.below(8000));
            if at >= end {
                return;
            }
            match self.rng.below(18) {
                0..4 => {
                    self.world.fault_at(at, Fault::Crash(host));
                    let keeps_data = self.rng.below(3) > 0;
                    self.world.fault_at(back, Fault::Start { host, keeps_data });
                }
                4..6 => {
                    self.world.fault_at(at, Fault::PowerOff(host));
                    let keeps_data = self.rng.below(3) > 0;
                    self.world.fault_at(back, Fault::Start { host, keeps_data });
                }
                6..8 => {
                    let hosts: BTreeSet<usize> = (0..self.all()).filter(|_| self.rng.below(3) == 0).collect();
                    self.world.fault_at(at, Fault::Partition(hosts));
                    self.world.fault_at(back, Fault::Heal);
                }
                8..10 => self.world.fault_at(at, Fault::Failover(host)),
                10..12 => {
                    self.world.fault_at(at, Fault::Hang { host, hangs: true });
                    self.world.fault_at(back, Fault::Hang { host, hangs: false });
                }
                12..14 => {
                    self.world.fault_at(at, Fault::Join(self.all() - 1));
                    self.world.fault_at(back, Fault::Adopt(self.all() - 1));
                }
                14 => {
                    self.world.fault_at(at, Fault::Leave(host));
                    self.world.fault_at(back, Fault::Join(host));
                }
                _ => {
                    let (host, to) = self.two_hosts();
                    let share = self.rng.below(4) as usize;
                    self.world.fault_at(at, Fault::Migrate { host, to, share });
                }
            }
        }
    }

    /// Every slot has one owner, the same in everybody's eyes; it leads, works, and has an epoch of its own.
    pub(super) fn agrees(&self) -> bool {
        let machines: Vec<_> = self.world.members.iter().map(|host| self.world.machine(*host)).collect();
        if machines.iter().any(Option::is_none) {
            return false;
        }
        let machines: Vec<_> = machines.into_iter().flatten().collect();
        let owned = |machine: &Cluster| -> Vec<(NodeId, Slots)> {
            let owners = machine.nodes.values().filter(|node| !node.slots.is_empty());
            owners.map(|node| (node.id, node.slots.clone())).collect()
        };
        let owners = owned(machines[0]);
        let same = machines.iter().all(|machine| machine.is_ok() && owned(machine) == owners);
        let all_served = owners.iter().map(|(_, slots)| slots.len()).sum::<usize>() == usize::from(SLOTS);
        let leaders: BTreeSet<NodeId> = owners.iter().map(|(owner, _)| *owner).collect();
        let epochs: BTreeSet<_> = leaders.iter().map(|leader| machines[0].nodes[leader].config_epoch).collect();
        let lead = |id: &NodeId| machines.iter().any(|machine| machine.id() == *id && machine.myself().is_primary());
        same && all_served && epochs.len() == leaders.len() && leaders.iter().all(lead)
    }

    fn picture(&self) -> String {
        let mut picture = String::new();
        for host in 0..self.all() {
            let Some(machine) = self.world.machine(host) else {
                picture += &format!("{host} is down\n");
                continue;
            };
            picture += &format!("{host}, ok {}, {:?}:\n", machine.is_ok(), machine.election);
            for node in machine.lines() {
                picture += &format!("    {}\n", node.to_line());
            }
            picture += &format!("    giving {:?}\n    taking {:?}\n", machine.giving, machine.taking);
        }
        picture
    }
}

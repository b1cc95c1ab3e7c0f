//! A deployment and its faults, drawn from a seed: first anything may break, then all heals and must agree.
//!
//! Each seed draws its own mix of faults: one in which everything happens all the time finds less than many in which some
//! things never do.

use std::time::Duration;

use quorate_stdx::Rng;

use crate::address::Addr;
use crate::saved::{Saved, SavedPrimary};
use crate::settings::{Periods, Watch};

use super::Planted;
use super::checks;
use super::server::Server;
use super::world::{Host, MS, NAME, SECOND, World};

/// How long a healed system may take to agree.
const PATIENCE: u64 = 240 * SECOND;

/// Runs one seed; the first property that did not hold.
pub(crate) fn run(seed: u64, planted: Option<Planted>) -> Result<(), String> {
    play(seed, planted, false).0
}

/// As `run`, with a line for everything that was announced and done.
pub(crate) fn run_traced(seed: u64, planted: Option<Planted>) -> (Result<(), String>, String) {
    play(seed, planted, true)
}

fn play(seed: u64, planted: Option<Planted>, traced: bool) -> (Result<(), String>, String) {
    let mut dice = Rng::new(seed ^ 0x0005_EA71);
    let mut world = deploy(&mut dice, planted);
    world.trace = traced.then(String::new);
    (0..world.sentinels.len()).for_each(|host| world.start(host, true));
    let mut mix = Mix::draw(&mut dice, &world);
    // They get to know each other.
    let until = world.now + 4 * SECOND;
    world.run_until(until);
    let steps = 8 + dice.below(25);
    for _ in 0..steps {
        let pause = [5 * MS, 50 * MS, SECOND, 4 * SECOND][dice.below(4) as usize];
        let until = world.now + 1 + dice.below(pause);
        world.run_until(until);
        if world.checks.violation.is_some() {
            break;
        }
        mix.act(&mut world, &mut dice);
    }
    let outcome = match world.checks.violation.clone() {
        Some(violation) => Err(violation),
        None => heal(&mut world),
    };
    (outcome, world.trace.unwrap_or_default())
}

fn deploy(dice: &mut Rng, planted: Option<Planted>) -> World {
    let mut world = World::new(dice.next_u64(), Periods::default(), planted);
    world.delay = [(100, 300), (500, 3 * MS), (MS, 40 * MS)][dice.below(3) as usize];
    world.disk = ([MS, 10 * MS, 150 * MS][dice.below(3) as usize], [0, 0, 0, 20][dice.below(4) as usize]);
    let sentinels = [3, 3, 3, 5][dice.below(4) as usize];
    let servers = 2 + dice.below(3) as usize;
    let addr = |kind: u8, index: usize| Addr::new(format!("10.0.{kind}.{}", index + 1), 6379);
    let primary = addr(1, 0);
    let mut watch = Watch::new(sentinels as u32 / 2 + 1, &Periods::default());
    if dice.below(5) == 0 {
        watch.quorum = 1 + dice.below(sentinels as u64) as u32;
    }
    watch.down_after = Duration::from_millis([1000, 2000, 5000][dice.below(3) as usize]);
    watch.failover_timeout = Duration::from_secs([5, 10, 60][dice.below(3) as usize]);
    watch.parallel_syncs = 1 + dice.below(2) as u32;
    watch.crash_evidence = dice.below(4) != 0;
    let mut origin = Saved::default();
    origin.primaries.insert(NAME.to_owned(), SavedPrimary::new(primary.clone(), watch));
    for index in 0..sentinels {
        world.add_sentinel(addr(0, index), origin.clone());
    }
    for index in 0..servers {
        let priority = [100, 100, 100, 50, 0][dice.below(5) as usize];
        let priority = if index == 1 && priority == 0 { 100 } else { priority };
        let follows = (index > 0).then(|| primary.clone());
        world.servers.push(Server::new(addr(1, index), follows, priority, dice));
    }
    // A confirmation every few milliseconds is most of what happens: only some seeds pay for it.
    let has_tenure = dice.below(10) == 0;
    world.servers.iter_mut().for_each(|server| server.has_tenure = has_tenure);
    world
}

type Action = fn(&mut World, &mut Rng, &mut u64);

/// How often what happens: the greatest weight that it is drawn with.
const ACTIONS: [(u64, Action); 14] = [
    (40, |world, _, _| {
        // Whoever leads dies, as is the point of it all.
        if let Some(index) = leading(world) {
            world.stop_server(index, false);
        }
    }),
    (10, |world, _, _| {
        if let Some(index) = leading(world) {
            world.stop_server(index, true);
        }
    }),
    (10, |world, dice, _| {
        let index = any_server(world, dice);
        world.stop_server(index, dice.below(3) == 0);
    }),
    (30, |world, dice, _| {
        let with_data = dice.below(3) != 0;
        (0..world.servers.len()).for_each(|index| world.start_server(index, with_data));
    }),
    (15, |world, dice, _| {
        // A quick restart, as a supervisor does it.
        if let Some(index) = leading(world) {
            let with_data = dice.below(2) == 0;
            world.stop_server(index, false);
            let until = world.now + dice.below(400 * MS);
            world.run_until(until);
            world.start_server(index, with_data);
        }
    }),
    (20, |world, dice, _| {
        let host = any_sentinel(world, dice);
        world.stop(host);
    }),
    (25, |world, _, _| (0..world.sentinels.len()).for_each(|host| world.start(host, true))),
    (20, |world, dice, _| {
        // Sentinels die in the middle of writing down whom they voted for.
        if let Some(index) = leading(world) {
            world.stop_server(index, false);
        }
        for _ in 0..12 {
            let until = world.now + dice.below(25 * MS);
            world.run_until(until);
            for host in 0..world.sentinels.len() {
                if world.sentinels[host].is_writing && dice.below(2) == 0 {
                    world.stop(host);
                    world.start(host, true);
                }
            }
        }
    }),
    (4, |world, dice, losses| {
        // A disk that is lost takes a voter with it, for the others never know that it is gone: one is enough.
        let host = any_sentinel(world, dice);
        if *losses == 0 {
            *losses += 1;
            world.stop(host);
            world.start(host, false);
        }
    }),
    (12, |world, dice, _| {
        let (a, b) = (any_host(world, dice), any_host(world, dice));
        if a != b {
            world.blocked.insert((a, b));
            if dice.below(3) != 0 {
                world.blocked.insert((b, a));
            }
        }
    }),
    (8, |world, dice, _| {
        // One host, or a half, is cut off.
        let hosts = world.sentinels.len() + world.servers.len();
        let inside: Vec<Host> = (0..hosts).filter(|_| dice.below(2) == 0).collect();
        for &a in &inside {
            for b in (0..hosts).filter(|b| !inside.contains(b)) {
                world.blocked.extend([(a, b), (b, a)]);
            }
        }
    }),
    (15, |world, _, _| world.blocked.clear()),
    (10, |world, dice, _| {
        let (host, until) = (any_host(world, dice), world.now + dice.below(8 * SECOND));
        world.tell(|| format!("host {host} stands still"));
        match world.sentinels.get_mut(host) {
            Some(node) => node.frozen_until = until,
            None => {
                let index = host - world.sentinels.len();
                world.servers[index].frozen_until = until;
            }
        }
    }),
    (6, |world, dice, _| {
        let (a, b) = (any_host(world, dice), any_host(world, dice));
        world.reset_conns(a, b);
        let host = any_sentinel(world, dice);
        world.sentinels[host].skew = dice.below(20_000) as i64 - 10_000;
    }),
];

fn leading(world: &World) -> Option<usize> {
    world.servers.iter().position(|server| server.is_up && server.follows.is_none())
}

fn any_server(world: &World, dice: &mut Rng) -> usize {
    dice.below(world.servers.len() as u64) as usize
}

fn any_sentinel(world: &World, dice: &mut Rng) -> Host {
    dice.below(world.sentinels.len() as u64) as usize
}

fn any_host(world: &World, dice: &mut Rng) -> Host {
    dice.below((world.sentinels.len() + world.servers.len()) as u64) as usize
}

/// Weights.
struct Mix {
    weights: [u64; ACTIONS.len()],
    losses: u64,
}

impl Mix {
    fn draw(dice: &mut Rng, world: &World) -> Mix {
        let mut weights = ACTIONS.map(|(most, _)| if dice.below(3) == 0 { 0 } else { dice.below(most + 1) });
        weights[0] += 10;
        // With a quorum of all, one lost disk is one voter too few for ever.
        let quorum = world.sentinels[0].origin.primaries[NAME].watch.quorum as usize;
        let losses = u64::from(quorum > world.sentinels.len() / 2 + 1);
        Mix { weights, losses }
    }

    fn act(&mut self, world: &mut World, dice: &mut Rng) {
        let mut pick = dice.below(self.weights.iter().sum());
        for (weight, (_, action)) in self.weights.iter().zip(ACTIONS) {
            if pick < *weight {
                return action(world, dice, &mut self.losses);
            }
            pick -= weight;
        }
    }
}

/// Ends all faults, and demands that all come to agree, and stay so.
fn heal(world: &mut World) -> Result<(), String> {
    world.tell(|| "all heals".to_owned());
    world.blocked.clear();
    world.disk.1 = 0;
    world.delay = (200, 500);
    (0..world.servers.len()).for_each(|index| world.start_server(index, true));
    (0..world.sentinels.len()).for_each(|host| world.start(host, true));
    let deadline = world.now + PATIENCE;
    let mut agreed = 0;
    let mut last = Ok(());
    while world.now < deadline {
        let until = world.now + 500 * MS;
        world.run_until(until);
        if let Some(violation) = world.checks.violation.take() {
            return Err(violation);
        }
        last = checks::agreement(world);
        agreed = if last.is_ok() { agreed + 1 } else { 0 };
        // For a few seconds nothing undoes it.
        if agreed == 8 {
            return Ok(());
        }
    }
    last.map_err(|why| format!("they do not agree after {} s: {why}", PATIENCE / SECOND))
}

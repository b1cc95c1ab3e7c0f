//! A deployment and its faults, drawn from a seed: first anything may break, then all heals.
//!
//! Each seed draws its own mix: how often each fault comes, how slow things are, how small the backlog is.
//! A mix in which everything happens all the time finds less than many mixes in which some things never do.

use std::time::Duration;

use quorate_stdx::Rng;

use crate::config::Planted;
use crate::{Addr, Authority, Config, Order, PrimaryView, RoleView};

use super::checks;
use super::net::Net;
use super::world::{Pace, Restart, World};

const MS: u64 = 1000;
const SECOND: u64 = 1_000_000;

/// Runs one seed and returns the first property that didn't hold.
pub(crate) fn run(seed: u64, planted: Option<Planted>) -> Result<(), String> {
    play(seed, planted, false).0
}

/// As `run`, with the trace of everything that happened.
pub(crate) fn run_traced(seed: u64, planted: Option<Planted>) -> (Result<(), String>, String) {
    play(seed, planted, true)
}

fn play(seed: u64, planted: Option<Planted>, traced: bool) -> (Result<(), String>, String) {
    let mut dice = Rng::new(seed ^ 0x5EED);
    let mut world = deploy(&mut dice, planted);
    world.trace = traced.then(String::new);
    let mix = Mix::draw(&mut dice);
    let steps = 30 + dice.below(50);
    for _ in 0..steps {
        let pause = [2 * MS, 20 * MS, 300 * MS, SECOND][dice.below(4) as usize];
        let until = world.now + 1 + dice.below(pause);
        world.run_until(until);
        mix.act(&mut world, &mut dice);
        if world.violation.is_some() {
            break;
        }
    }
    let outcome = match world.violation.clone() {
        Some(violation) => Err(violation),
        None => heal(&mut world, &mut dice),
    };
    (outcome, world.trace.unwrap_or_default())
}

fn deploy(dice: &mut Rng, planted: Option<Planted>) -> World {
    let net = Net::new(100 + dice.below(3 * MS), [0, MS, 30 * MS][dice.below(3) as usize]);
    let slow = [MS, 50 * MS, 2 * SECOND, 8 * SECOND];
    let mut duration = || {
        let most = slow[(dice.below(3) + dice.below(2) * dice.below(2)) as usize];
        1 + dice.below(most)
    };
    let pace = Pace { snapshot: duration(), transfer: duration(), load: duration() };
    let mut world = World::new(dice.next_u64(), net, pace);
    world.snapshot_failures = [0, 0, 5][dice.below(3) as usize];
    let config = Config {
        timeout: Duration::from_secs(3 + dice.below(4)),
        ping_period: Duration::from_secs(1),
        diskless: dice.below(2) == 0,
        diskless_delay: (dice.below(3) == 0).then(|| Duration::from_millis(dice.below(1500))),
        diskless_max_replicas: dice.below(3) as usize,
        backlog_size: [0, 200, 1000, 20_000][dice.below(4) as usize],
        backlog_ttl: Duration::from_secs([0, 2, 3600][dice.below(3) as usize]),
        min_replicas: dice.below(2) as usize,
        max_lag: Duration::from_secs(2),
        append_only: dice.below(2) == 0,
        refuse_empty_primary: dice.below(8) != 0,
        planted,
        ..Config::default()
    };
    let nodes = 2 + dice.below(3) as usize;
    for name in &["a", "b", "c", "d"][..nodes] {
        world.add(name, config.clone(), None);
    }
    for node in 1..nodes {
        let to = if dice.below(4) == 0 { node - 1 } else { 0 };
        follow(&mut world, node, to, Authority::Operator);
    }
    world
}

fn follow(world: &mut World, node: usize, to: usize, by: Authority) {
    let to = world.nodes[to].addr.clone();
    world.order(node, Order::Follow { to, by });
}

/// How often what happens: weights.
struct Mix([u64; ACTIONS.len()]);

type Action = fn(&mut World, &mut Rng, usize);

/// What may happen to a node, and the greatest weight it is drawn with.
const ACTIONS: [(u64, Action); 14] = [
    (60, write_some),
    (20, |world, dice, node| world.write(node, Some((1 + dice.below(2) as usize, 100 * MS + dice.below(2 * SECOND))))),
    (10, |world, dice, node| {
        let other = any(world, dice);
        world.cut(node, other);
    }),
    (5, |world, dice, node| {
        let other = any(world, dice);
        if other != node {
            world.net.block(node, other);
        }
    }),
    (8, |world, _, _| world.heal()),
    (6, |world, _, node| world.crash(node)),
    (12, start_again),
    (4, |world, _, node| {
        if world.nodes[node].up {
            world.save(node);
        }
    }),
    (4, |world, _, node| {
        // A clean stop and start.
        if world.nodes[node].up {
            world.save(node);
            world.crash(node);
            world.restart(node, Restart::Snapshot);
        }
    }),
    (6, fail_over),
    (20, interrupt),
    (2, |world, _, node| world.order(node, Order::AbortFailover)),
    (4, |world, _, node| world.order(node, Order::Lead)),
    (6, |world, dice, node| {
        let to = any(world, dice);
        let by = if dice.below(3) == 0 { Authority::Operator } else { Authority::Standing };
        if to != node {
            follow(world, node, to, by);
        }
    }),
];

fn any(world: &World, dice: &mut Rng) -> usize {
    dice.below(world.nodes.len() as u64) as usize
}

fn write_some(world: &mut World, dice: &mut Rng, node: usize) {
    for _ in 0..1 + dice.below(4) {
        world.write(node, None);
    }
}

fn start_again(world: &mut World, dice: &mut Rng, _: usize) {
    let how = [Restart::Empty, Restart::Snapshot, Restart::AppendOnly][dice.below(3) as usize];
    for node in 0..world.nodes.len() {
        world.restart(node, how);
    }
}

fn fail_over(world: &mut World, dice: &mut Rng, node: usize) {
    let target: Option<Addr> = (dice.below(2) == 0).then(|| world.nodes[any(world, dice)].addr.clone());
    let timeout = (dice.below(3) != 0).then(|| Duration::from_millis(1 + dice.below(3000)));
    let force = dice.below(3) == 0;
    world.order(node, Order::Failover { target, force, timeout });
}

/// Breaks the link of a node that hands over, at the moment when the answer may be on its way.
fn interrupt(world: &mut World, dice: &mut Rng, _: usize) {
    let handing =
        |node: &&crate::sim::node::Node| node.up && node.machine.view(world.clock()).failover == "failover-in-progress";
    let Some(node) = world.nodes.iter().find(handing) else { return fail_over(world, dice, 0) };
    let Some(to) = node.follows.clone() else { return };
    if let (Some(from), Some(to)) = (world.find(&node.addr.clone()), world.find(&to)) {
        match dice.below(3) {
            0 => world.crash(to),
            _ => world.cut(from, to),
        }
    }
}

impl Mix {
    fn draw(dice: &mut Rng) -> Mix {
        let mut weights = ACTIONS.map(|(most, _)| if dice.below(3) == 0 { 0 } else { dice.below(most + 1) });
        weights[0] += 20;
        Mix(weights)
    }

    fn act(&self, world: &mut World, dice: &mut Rng) {
        let mut pick = dice.below(self.0.iter().sum());
        let node = any(world, dice);
        for (weight, (_, action)) in self.0.iter().zip(ACTIONS) {
            if pick < *weight {
                return action(world, dice, node);
            }
            pick -= weight;
        }
    }
}

/// Ends all faults, has an operator put things in order, and demands that all come to hold the same.
fn heal(world: &mut World, dice: &mut Rng) -> Result<(), String> {
    world.heal();
    world.pace = Pace { snapshot: MS, transfer: MS, load: MS };
    start_again(world, dice, 0);
    let nodes = world.nodes.len();
    let primary = any(world, dice);
    for node in 0..nodes {
        world.order(node, Order::AbortFailover);
    }
    // A PSYNC FAILOVER that is on its way makes a primary of the one it reaches, whatever was ordered before.
    let until = world.now + SECOND;
    world.run_until(until);
    world.order(primary, Order::Lead);
    for node in (0..nodes).filter(|node| *node != primary) {
        // An operator who wants this primary for all says so; one word covers what it has to offer.
        if world.nodes[node].follows.as_ref() == Some(&world.nodes[primary].addr) {
            world.order(node, Order::Lead);
        }
        follow(world, node, primary, Authority::Operator);
    }
    converge(world)?;
    world.write(primary, Some((nodes - 1, 5 * SECOND)));
    converge(world)
}

fn converge(world: &mut World) -> Result<(), String> {
    let mut last = Ok(());
    for _ in 0..60 {
        let until = world.now + 777 * MS;
        world.run_until(until);
        if let Some(violation) = world.violation.take() {
            return Err(violation);
        }
        // What was refused is wanted all the same: the operator reads the log, and repeats the order.
        for node in 0..world.nodes.len() {
            let view = world.nodes[node].machine.view(world.clock());
            if matches!(view.role, RoleView::Replica(PrimaryView { refused: true, .. }))
                && let Some(primary) = world.nodes[node].follows.as_ref().and_then(|primary| world.find(primary))
            {
                follow(world, node, primary, Authority::Operator);
            }
        }
        last = checks::check_converged(&world.nodes);
        if last.is_ok() {
            break;
        }
    }
    last
}

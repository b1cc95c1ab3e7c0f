//! A deployment and its faults, drawn from a seed: first anything may break, then all heals and everybody must get a lock.
//!
//! Half of the seeds keep within what the algorithm assumes: clocks drift by less than the bound, servers that forget are
//! in quarantine. There two holders are a violation. The other half goes beyond: there only fencing is left.

use std::time::Duration;

use quorate_stdx::Rng;

use super::Planted;
use super::node::{Node, Resource};
use super::world::{Server, Wish, World};
use crate::Terms;

const MS: u64 = 1000;

/// What was seen, so that a test knows that the seeds reach it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    pub(crate) granted: u64,
    pub(crate) refused: u64,
    pub(crate) extended: u64,
    pub(crate) not_extended: u64,
    pub(crate) lost: u64,
    pub(crate) released: u64,
    pub(crate) crashed: u64,
    pub(crate) forgotten: u64,
    /// Grants while another was valid, beyond what the algorithm assumes.
    pub(crate) doubled: u64,
    /// Writes that the store refused for their old token.
    pub(crate) refused_writes: u64,
    pub(crate) trace: String,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Outcome) {
        for (sum, more) in self.figures().into_iter().zip(other.clone().figures()) {
            *sum += *more;
        }
    }

    fn figures(&mut self) -> [&mut u64; 10] {
        [
            &mut self.granted,
            &mut self.refused,
            &mut self.extended,
            &mut self.not_extended,
            &mut self.lost,
            &mut self.released,
            &mut self.crashed,
            &mut self.forgotten,
            &mut self.doubled,
            &mut self.refused_writes,
        ]
    }

    pub(crate) fn reaches_all(&self) -> bool {
        self.clone().figures().into_iter().all(|figure| *figure > 0)
    }
}

/// Runs one seed; the first property that didn't hold, or what was seen.
pub(crate) fn run(seed: u64, planted: Option<Planted>, is_traced: bool) -> Result<Outcome, String> {
    let mut dice = Rng::new(seed ^ 0x10C4);
    let mut world = deploy(&mut dice, planted);
    world.is_traced = is_traced;
    let mix = Mix::draw(&mut dice);
    let steps = 10 + dice.below(30);
    for _ in 0..steps {
        let pause = [2 * MS, 20 * MS, 200 * MS][dice.below(3) as usize];
        let until = world.now + 1 + dice.below(pause);
        world.run_until(until);
        mix.act(&mut world, &mut dice);
        if world.violation.is_some() {
            break;
        }
    }
    if world.violation.is_none() {
        heal(&mut world, &mut dice, planted);
    }
    match world.violation {
        Some(violation) => Err(violation + "\n" + &world.outcome.trace),
        None => Ok(world.outcome),
    }
}

/// The longest TTL that is drawn, in milliseconds, which a quarantine must outlast.
const LONGEST: u64 = 400;

fn deploy(dice: &mut Rng, planted: Option<Planted>) -> World {
    let is_within = dice.below(2) == 0;
    let count = [3, 5, 5, 4, 1][dice.below(5) as usize];
    let bound = if is_within { 4000 } else { [4000, 50_000, 300_000][dice.below(3) as usize] };
    let mut drift = || dice.below(2 * bound + 1) as i64 - bound as i64;
    let ppms: Vec<i64> = (0..count + 4).map(|_| drift()).collect();
    let is_monotonic = is_within || dice.below(2) == 0;
    let server =
        |n: usize| Server { node: Node::new(planted), is_up: true, hung_until: 0, ppm: ppms[n], jump: 0, is_monotonic };
    let delay = (50 + dice.below(400), [0, 500, 5 * MS, 60 * MS][dice.below(4) as usize]);
    let servers = (0..count).map(server).collect();
    let mut world = World::new(Rng::new(dice.next_u64()), servers, delay, is_within);
    let clients = 2 + dice.below(3) as usize;
    for ppm in ppms.into_iter().skip(count).take(clients) {
        let wishes = (0..2 + dice.below(5)).map(|_| wish(dice, count, planted)).collect();
        world.add_client(ppm, wishes);
    }
    for client in 0..clients {
        world.begin(client, dice.below(30 * MS));
    }
    world
}

fn wish(dice: &mut Rng, nodes: usize, planted: Option<Planted>) -> Wish {
    let ttl = [20, 60, 150, LONGEST][dice.below(4) as usize];
    let mut terms = Terms::new(nodes, Duration::from_millis(ttl), 0);
    terms.node_timeout = Duration::from_millis([2, ttl / 10, ttl / 2][dice.below(3) as usize].max(1));
    terms.retry.delay = Duration::from_millis([5, 50, 200][dice.below(3) as usize]);
    terms.retry.jitter = terms.retry.delay / 2;
    terms.wait = Duration::from_millis([0, 50, 500, 2000][dice.below(4) as usize]);
    terms.is_fenced = dice.below(4) != 0;
    terms.is_fair = dice.below(4) == 0;
    terms.planted = planted;
    if dice.below(3) == 0 {
        terms.extend_for = Some(Duration::from_millis(ttl * (1 + dice.below(4))));
    }
    let resources: Vec<Resource> = [vec![0], vec![0], vec![1], vec![0, 1]][dice.below(4) as usize].clone();
    let work = [0, ttl * MS / 4, ttl * MS, 3 * ttl * MS][dice.below(4) as usize];
    Wish { resources, terms, work, extensions: dice.below(4) as u32, is_demanded: false }
}

/// How often what happens: weights.
struct Mix([u64; ACTIONS.len()]);

type Action = fn(&mut World, &mut Rng);

fn server_of(world: &World, dice: &mut Rng) -> usize {
    dice.below(world.servers.len() as u64) as usize
}

fn client_of(world: &World, dice: &mut Rng) -> usize {
    dice.below(world.clients.len() as u64) as usize
}

/// What may happen, and the greatest weight it is drawn with.
const ACTIONS: [(u64, Action); 8] = [
    (20, |_, _| {}),
    (10, |world, dice| {
        let (client, node) = (client_of(world, dice), server_of(world, dice));
        world.cut(client, node);
    }),
    (6, |world, dice| {
        let node = server_of(world, dice);
        world.crash_server(node);
    }),
    (12, |world, dice| {
        let node = server_of(world, dice);
        let forgets = dice.below(2) == 0;
        world.restart_server(node, forgets, quarantine(world, dice));
    }),
    (8, |world, dice| {
        let node = server_of(world, dice);
        world.servers[node].hung_until = world.now + dice.below(600 * MS);
    }),
    (10, |world, dice| {
        let client = client_of(world, dice);
        let time = dice.below(900 * MS);
        world.pause(client, time);
    }),
    (4, |world, dice| {
        let client = client_of(world, dice);
        world.crash_client(client);
    }),
    (4, |world, dice| {
        let node = server_of(world, dice);
        let most = [10 * MS, 1000 * MS, 3_600_000 * MS][dice.below(3) as usize];
        world.servers[node].jump += dice.below(2 * most + 1) as i64 - most as i64;
    }),
];

/// Longer than any lock, by the fastest clock that is assumed; or not at all.
fn quarantine(world: &World, dice: &mut Rng) -> Duration {
    match world.is_within || dice.below(2) == 0 {
        true => Duration::from_millis(LONGEST + LONGEST / 50),
        false => Duration::ZERO,
    }
}

impl Mix {
    fn draw(dice: &mut Rng) -> Mix {
        let mut weights = [0; ACTIONS.len()];
        for (weight, (most, _)) in weights.iter_mut().zip(&ACTIONS) {
            *weight = dice.below(most + 1) * dice.below(2);
        }
        weights[0] += 1;
        Mix(weights)
    }

    fn act(&self, world: &mut World, dice: &mut Rng) {
        let mut draw = dice.below(self.0.iter().sum());
        for (weight, (_, action)) in self.0.iter().zip(&ACTIONS) {
            if draw < *weight {
                return action(world, dice);
            }
            draw -= weight;
        }
    }
}

/// Everything works again: what is under way ends, nothing is left, and whoever asks now gets the lock.
fn heal(world: &mut World, dice: &mut Rng, planted: Option<Planted>) {
    world.delay.1 = world.delay.1.min(300);
    for node in 0..world.servers.len() {
        world.restart_server(node, true, quarantine(world, dice));
        world.servers[node].hung_until = 0;
    }
    world.set_clocks();
    for client in 0..world.clients.len() {
        for wish in &mut world.clients[client].wishes {
            wish.terms.wait = Duration::from_secs(30);
        }
        world.begin(client, 0);
    }
    settle(world, "what was under way");
    let longest = world.now + 2 * LONGEST * MS;
    world.run_until(longest);
    world.check_nothing_is_left();
    for client in 0..world.clients.len() {
        let mut wish = wish(dice, world.servers.len(), planted);
        wish.terms.ttl = Duration::from_millis(LONGEST);
        wish.terms.node_timeout = Duration::from_millis(40);
        wish.terms.extend_for = None;
        wish.terms.wait = Duration::from_secs(30);
        (wish.work, wish.extensions, wish.is_demanded) = (MS, 0, true);
        world.clients[client].wishes.push(wish);
        world.begin(client, 0);
    }
    settle(world, "a lock with nothing in its way");
}

fn settle(world: &mut World, what: &str) {
    let deadline = world.now + 120_000 * MS;
    while !world.is_quiet() && world.violation.is_none() {
        let until = world.now + 100 * MS;
        world.run_until(until);
        if world.now > deadline {
            world.violation.get_or_insert(format!("{what} never ends"));
        }
    }
}

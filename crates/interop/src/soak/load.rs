//! The load: connections that ask for a bit of everything at a steady pace, and one that measures how long that takes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_client::Reply;
use quorate_stdx::Rng;

use super::Plan;
use crate::server::Server;

const CONNECTIONS: u64 = 4;
/// Requests on their way at a time.
const BATCH: usize = 16;
/// Names of each type.
const NAMES: u64 = 100_000;
/// The longest time to live, milliseconds: soon after the load has ended, nothing is left that would go by itself.
const LONGEST: u64 = 4000;
/// Between two round trips of the probe.
const PROBE: Duration = Duration::from_millis(1);

/// Round trips of a stretch.
#[derive(Default)]
pub(super) struct Trips(Mutex<Vec<u32>>);

/// How long round trips took: the median, what one in a hundred took longer than, and the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Half took no longer.
    pub median: Duration,
    /// One in a hundred took longer.
    pub tail: Duration,
    /// None took longer.
    pub longest: Duration,
}

impl Trips {
    /// Those since the last call.
    pub(super) fn take(&self) -> Latency {
        let mut micros = std::mem::take(&mut *self.0.lock().expect("nobody panics with it"));
        micros.sort_unstable();
        let at = |share: f64| {
            let index = ((micros.len() as f64 * share) as usize).min(micros.len().saturating_sub(1));
            Duration::from_micros(micros.get(index).copied().unwrap_or(0).into())
        };
        Latency { median: at(0.5), tail: at(0.99), longest: at(1.0) }
    }
}

/// Starts the connections that ask.
pub(super) fn start(
    server: &Server,
    plan: &Plan,
    stop: &Arc<AtomicBool>,
    answered: &Arc<AtomicU64>,
) -> Vec<JoinHandle<()>> {
    let pause = Duration::from_secs_f64(BATCH as f64 * CONNECTIONS as f64 / plan.pace as f64);
    let start = |number: u64| {
        let (mut client, mut rng) = (server.connect(), Rng::new(plan.seed.wrapping_add(number)));
        let (stop, answered, longest) = (Arc::clone(stop), Arc::clone(answered), plan.longest);
        std::thread::spawn(move || {
            let mut due = Instant::now();
            while !stop.load(Ordering::Acquire) {
                for _ in 0..BATCH {
                    client.push(&request(&mut rng, longest));
                }
                client.flush().expect("the server takes requests");
                for _ in 0..BATCH {
                    let reply = client.receive().expect("the server answers");
                    if let Reply::Error(text) = reply {
                        panic!("{}", String::from_utf8_lossy(&text));
                    }
                }
                answered.fetch_add(BATCH as u64, Ordering::Relaxed);
                // What could not be asked in time is left out.
                due = (due + pause).max(Instant::now());
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        })
    };
    (0..CONNECTIONS).map(start).collect()
}

/// Starts the connection that measures.
pub(super) fn probe(server: &Server, stop: &Arc<AtomicBool>, trips: &Arc<Trips>) -> JoinHandle<()> {
    let (mut client, stop, trips) = (server.connect(), Arc::clone(stop), Arc::clone(trips));
    std::thread::spawn(move || {
        let mut turn = 0_u64;
        while !stop.load(Ordering::Acquire) {
            turn += 1;
            let key = format!("probe:{}", turn % 100);
            let began = Instant::now();
            let reply =
                if turn.is_multiple_of(2) { client.call(&["GET", &key]) } else { client.call(&["SET", &key, "v"]) };
            let took = began.elapsed();
            reply.expect("the server answers");
            trips.0.lock().expect("nobody panics with it").push(took.as_micros().min(u32::MAX.into()) as u32);
            std::thread::sleep(PROBE);
        }
    })
}

fn request(rng: &mut Rng, longest: u64) -> Vec<String> {
    let name = rng.below(NAMES);
    let value = "v".repeat(1 + rng.below(longest.max(1)) as usize);
    let member = format!("member:{}", rng.below(50));
    let time = (1 + rng.below(LONGEST)).to_string();
    // Fewer names of what grows: each of them holds as much as many strings.
    let key = |kind: &str, names: u64| format!("{kind}:{}", name % names);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match rng.below(20) {
        0..=3 => words(&["SET", &key("string", NAMES), &value]),
        4 | 5 => words(&["SET", &key("short", NAMES), &value, "PX", &time]),
        6..=8 => words(&["GET", &key("string", NAMES)]),
        9 => words(&["INCR", &key("count", 1000)]),
        10 => words(&["HSET", &key("hash", 50), &member, &value]),
        11 => words(&["HPEXPIRE", &key("hash", 50), &time, "FIELDS", "1", &member]),
        12 => words(&["LPUSH", &key("list", 1000), &value]),
        13 => words(&["LTRIM", &key("list", 1000), "0", "20"]),
        14 => words(&["SADD", &key("set", 10_000), &member]),
        15 => words(&["ZADD", &key("zset", 10_000), &time, &member]),
        16 => words(&["XADD", &key("stream", 100), "MAXLEN", "~", "50", "*", "field", &value]),
        17 => words(&["PEXPIRE", &key("set", 10_000), &time]),
        18 => words(&["DEL", &key("string", NAMES)]),
        _ => {
            let script = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('STRLEN', KEYS[1])";
            words(&["EVAL", script, "1", &key("script", 10_000), &value])
        }
    }
}

/// Whether nothing is left that expires, by what the server tells.
pub(super) fn ends_by_itself(ask: impl Fn(&[&str]) -> String) -> bool {
    let text = ask(&["INFO", "keyspace"]);
    let mut databases = text.lines().filter(|line| line.starts_with("db"));
    databases.all(|line| line.contains("expires=0,") && !line.contains("subexpiry"))
}

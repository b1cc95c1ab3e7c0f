//! A day of a server, compressed: mixed load with expiry, eviction at `maxmemory`, rewrites of the append-only file, saves,
//! replicas that join and leave. What is asked at the end: whether memory and latency have stayed flat, and whether all
//! nodes hold the same.
//!
//! Each stretch of the run is measured as a whole: what memory was in use at its end, and how long requests of a connection
//! of its own took meanwhile. The first quarter is for getting warm. What is *flat* is said by [`Verdict`].

mod load;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_client::Reply;
use quorate_stdx::Rng;

use crate::server::{PATIENCE, Server, await_that};

pub use load::Latency;
pub use verdict::{Sample, Verdict};

/// How much of a day.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long the load lasts.
    pub lasts: Duration,
    /// `maxmemory`, bytes.
    pub max_memory: u64,
    /// The longest value, bytes.
    pub longest: u64,
    /// Requests a second that the load asks for, over all its connections.
    pub pace: u64,
    /// What all dice begin with.
    pub seed: u64,
}

/// Stretches of a run, each of which is measured as a whole; what an operator does is done once in each.
const STRETCHES: u32 = 40;

/// What has come of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Stretch by stretch.
    pub samples: Vec<Sample>,
    /// Whether it was flat.
    pub verdict: Verdict,
    /// Requests of the load that were answered.
    pub answered: u64,
    /// Fields of INFO at the end, for those who want to see that everything has happened.
    pub figures: BTreeMap<String, u64>,
    /// Fingerprints of the data: of the primary, of each replica, and of the primary when it was started again.
    pub digests: Vec<String>,
}

/// Replicas do not leave their primary because it is busy.
const OF_ALL: &[&str] = &["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0", "--repl-timeout", "60"];

fn info(server: &Server, field: &str) -> u64 {
    let Ok(Reply::Bulk(text)) = server.connect().call(&["INFO", "everything"]) else { return 0 };
    let text = String::from_utf8_lossy(&text).into_owned();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn ask(server: &Server, words: &[&str]) -> String {
    match server.connect().call(words) {
        Ok(Reply::Simple(text) | Reply::Bulk(text)) => String::from_utf8_lossy(&text).into_owned(),
        other => format!("{other:?}"),
    }
}

fn follow(primary: &Server) -> Server {
    let replica = Server::start(OF_ALL);
    let port = primary.port().to_string();
    ask(&replica, &["REPLICAOF", "127.0.0.1", &port]);
    replica
}

/// Threads that work until they are told to stop.
struct Crew {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    fn end(self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().expect("a thread of the load has a reason to end");
        }
    }
}

/// Plays a plan through; `tell` is told each sample as it is taken.
///
/// # Panics
/// If a server ends or does not answer, or a request of the load is refused.
pub fn run(plan: &Plan, mut tell: impl FnMut(&Sample)) -> Outcome {
    let max_memory = plan.max_memory.to_string();
    let own = ["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"];
    let limits = ["--maxmemory", &max_memory, "--maxmemory-policy", "allkeys-lru"];
    let mut primary = Server::start(&[OF_ALL, &own, &limits].concat());
    let stays = follow(&primary);
    let mut guest: Option<Server> = None;
    let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let trips = Arc::new(load::Trips::default());
    let mut threads = load::start(&primary, plan, &stop, &answered);
    threads.push(load::probe(&primary, &stop, &trips));
    let crew = Crew { stop, threads };
    let (began, stretch) = (Instant::now(), plan.lasts / STRETCHES);
    let mut rng = Rng::new(plan.seed);
    let mut samples = Vec::new();
    for number in 0..STRETCHES {
        operate(&primary, &mut guest, number, &mut rng);
        let until = began + stretch * (number + 1);
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        let sample = Sample {
            at: began.elapsed(),
            used: info(&primary, "used_memory"),
            resident: info(&primary, "used_memory_rss"),
            of_replica: info(&stays, "used_memory_rss"),
            keys: match primary.connect().call(&["DBSIZE"]) {
                Ok(Reply::Int(keys)) => u64::try_from(keys).unwrap_or(0),
                _ => 0,
            },
            latency: trips.take(),
        };
        tell(&sample);
        samples.push(sample);
    }
    crew.end();
    let figures = [
        "evicted_keys",
        "expired_keys",
        "expired_subkeys",
        "sync_full",
        "rdb_saves",
        "aof_rewrites",
        "total_commands_processed",
    ];
    let figures = figures.map(|field| (field.to_owned(), info(&primary, field))).into_iter().collect();
    let guest = guest.unwrap_or_else(|| follow(&primary));
    // Nothing is evicted any more on account of what the last replica needs. What is evicted or expires is nobody's write, and
    // may be on its way to the file when the process is killed.
    ask(&primary, &["CONFIG", "SET", "maxmemory", "0"]);
    let mut digests = equal_digests(&primary, &[&stays, &guest]);
    await_that("the file has all of the log", || info(&primary, "aof_buffer_length") == 0);
    // What it holds then lies otherwise in memory: without a limit, nothing is evicted on that account.
    let program = [crate::server::binary(), "server".into()];
    primary.kill_and_start(&program, &[OF_ALL, &own].concat());
    // What had expired just before it was killed may be in its file without its end, and goes again.
    digests.extend(equal_digests(&primary, &[]));
    let verdict = Verdict::of(&samples, plan.max_memory);
    Outcome { samples, verdict, answered: answered.load(Ordering::Relaxed), figures, digests }
}

/// What an operator does in one stretch; replicas come and go between the rest.
fn operate(primary: &Server, guest: &mut Option<Server>, number: u32, rng: &mut Rng) {
    match number % 4 {
        0 => *guest = Some(follow(primary)),
        1 => _ = ask(primary, &["BGREWRITEAOF"]),
        2 => {
            // It leaves in the midst of whatever it does.
            std::thread::sleep(Duration::from_millis(rng.below(50)));
            *guest = None;
        }
        _ => _ = ask(primary, &["BGSAVE"]),
    }
}

/// Waits until all nodes hold the same, and nothing is left that would go by itself; their fingerprints.
fn equal_digests(primary: &Server, replicas: &[&Server]) -> Vec<String> {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        // In this order: what goes while the fingerprints are taken may be in them.
        let is_settled = load::ends_by_itself(|words| ask(primary, words));
        let nodes = std::iter::once(primary).chain(replicas.iter().copied());
        let digests: Vec<String> = nodes.map(|node| ask(node, &["DEBUG", "DIGEST"])).collect();
        if (is_settled && digests.iter().all(|digest| *digest == digests[0])) || Instant::now() > deadline {
            return digests;
        }
        crate::server::pause();
    }
}

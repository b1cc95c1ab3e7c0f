//! Our lock beside rslock and npm's redlock, over five local servers, in one run.
//!
//! `cargo run --manifest-path bench/redlock/Cargo.toml` prints tables; words behind `--` choose among
//! them (uncontended, contended, wakes, hung). QUORATE_BINARY names another server than redis-server.
//! Each library has its defaults. Times are medians, and each acquisition is compared with what the network costs in the
//! same run: `SET NX` sent to all five, until the third has answered. The libraries take turns sample by sample, so that
//! a machine that is busy with other things is so for all.

use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use quorate_redlock::RedLock;
use quorate_redlock::stand::Servers;
use redis::aio::MultiplexedConnection;
use rslock::LockManager;
use tokio::task::LocalSet;

const TTL: Duration = Duration::from_secs(10);
const SAMPLES: usize = 2_000;
const WAKES: usize = 50;
const CONTENDERS: [usize; 3] = [1, 8, 64];
const CONTENTION: Duration = Duration::from_secs(3);
/// Samples of a library that waits for a server that hangs.
const HUNG: usize = 300;
const HUNG_PATIENCE: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error>;

/// Times of one kind.
#[derive(Default)]
struct Series(Vec<Duration>);

impl Series {
    fn at(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        self.0.get(self.0.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
    }

    fn median(&mut self) -> Duration {
        self.at(50)
    }
}

/// The servers, as the network sees them.
struct Floor(Vec<MultiplexedConnection>);

impl Floor {
    async fn connect(addresses: &[String]) -> Result<Floor, Failure> {
        let mut connections = Vec::new();
        for address in addresses {
            let client = redis::Client::open(format!("redis://{address}"))?;
            // None of these answers is waited for for ever, and one server hangs at times.
            let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
            connections.push(client.get_multiplexed_async_connection_with_config(&config).await?);
        }
        Ok(Floor(connections))
    }

    /// `SET NX` to all, until the third has answered.
    async fn third(&self) -> Duration {
        let mut set = redis::cmd("SET");
        set.arg("floor").arg("0123456789012345678901234567890123456789").arg("NX").arg("PX").arg(10_000);
        let begun = Instant::now();
        let ask = |connection: &MultiplexedConnection| {
            let (mut connection, set) = (connection.clone(), set.clone());
            async move { connection.send_packed_command(&set).await.is_ok() }
        };
        let mut asked: FuturesUnordered<_> = self.0.iter().map(ask).collect();
        let mut answered = 0;
        while answered < 3 && asked.next().await.is_some() {
            answered += 1;
        }
        let took = begun.elapsed();
        let mut rest = Box::pin(asked.collect::<Vec<bool>>());
        let _ = tokio::time::timeout(Duration::from_millis(2), &mut rest).await;
        self.all("DEL").await;
        took
    }

    /// Lets every server that answers come to rest.
    async fn all(&self, command: &str) {
        let mut cmd = redis::cmd(command);
        if command == "DEL" {
            cmd.arg("floor");
        }
        let asked = self.0.iter().map(|connection| {
            let (mut connection, cmd) = (connection.clone(), cmd.clone());
            async move {
                tokio::time::timeout(Duration::from_millis(20), connection.send_packed_command(&cmd)).await.is_ok()
            }
        });
        join_all(asked).await;
    }
}

async fn ours(redlock: &RedLock) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let lock = redlock.lock("ours", TTL).await?;
    let took = begun.elapsed();
    lock.release().await;
    Ok(took)
}

async fn theirs(rslock: &LockManager) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let lock = rslock.lock("theirs", TTL).await.map_err(|error| format!("rslock: {error:?}"))?;
    let took = begun.elapsed();
    rslock.unlock(&lock).await;
    Ok(took)
}

struct Bench {
    servers: Servers,
    floor: Floor,
    plain: RedLock,
    fenced: RedLock,
    fair: RedLock,
    rslock: Rc<LockManager>,
}

fn micros(time: Duration) -> String {
    format!("{:.0} µs", time.as_secs_f64() * 1e6)
}

fn ratio(time: Duration, floor: Duration) -> String {
    format!("{} ({:.2} ×)", micros(time), time.as_secs_f64() / floor.as_secs_f64())
}

impl Bench {
    async fn begin() -> Result<Bench, Failure> {
        let servers = Servers::start(5).ok_or("there is no server to measure with")?;
        let addresses = servers.addresses();
        let wait = Duration::from_secs(60);
        let builder = RedLock::builder().nodes(addresses.clone()).wait(wait);
        let urls: Vec<String> = addresses.iter().map(|address| format!("redis://{address}")).collect();
        Ok(Bench {
            floor: Floor::connect(&addresses).await?,
            plain: builder.clone().connect().await?,
            fenced: builder.clone().fenced(true).connect().await?,
            fair: builder.fair(true).connect().await?,
            rslock: Rc::new(LockManager::new(urls)),
            servers,
        })
    }

    async fn uncontended(&self) -> Result<(), Failure> {
        let [mut floor, mut plain, mut fenced, mut theirs_] = [const { Series(Vec::new()) }; 4];
        for sample in 0..SAMPLES + 100 {
            let took = [self.floor.third().await, ours(&self.plain).await?, ours(&self.fenced).await?];
            self.floor.all("PING").await;
            let other = theirs(&self.rslock).await?;
            self.floor.all("PING").await;
            // The first ones make connections.
            if sample >= 100 {
                floor.0.push(took[0]);
                plain.0.push(took[1]);
                fenced.0.push(took[2]);
                theirs_.0.push(other);
            }
        }
        let base = floor.median();
        println!("| uncontended | median | p99 |\n| --- | ---: | ---: |");
        println!("| SET NX to five, third answer | {} | {} |", micros(base), micros(floor.at(99)));
        println!("| ours | {} | {} |", ratio(plain.median(), base), micros(plain.at(99)));
        println!("| ours, fenced | {} | {} |", ratio(fenced.median(), base), micros(fenced.at(99)));
        println!("| rslock 0.10.0 | {} | {} |", ratio(theirs_.median(), base), micros(theirs_.at(99)));
        self.npm("uncontended");
        Ok(())
    }

    /// One server stands still: what that adds.
    async fn hung(&self) -> Result<(), Failure> {
        let [mut before, mut during, mut floor, mut theirs_] = [const { Series(Vec::new()) }; 4];
        for _ in 0..HUNG {
            before.0.push(ours(&self.plain).await?);
        }
        self.servers.hang(4, true);
        for _ in 0..HUNG {
            floor.0.push(self.floor.third().await);
            during.0.push(ours(&self.plain).await?);
        }
        let begun = Instant::now();
        while begun.elapsed() < HUNG_PATIENCE && theirs_.0.len() < HUNG {
            match theirs(&self.rslock).await {
                Ok(took) => theirs_.0.push(took),
                Err(_) => break,
            }
        }
        let (without, with) = (before.median(), during.median());
        println!("\n| one of five hangs | median |\n| --- | ---: |");
        println!("| SET NX to five, third answer | {} |", micros(floor.median()));
        println!("| ours | {}, {:+.0} µs |", micros(with), (with.as_secs_f64() - without.as_secs_f64()) * 1e6);
        match theirs_.0.is_empty() {
            true => println!("| rslock 0.10.0 | no lock in {:.0?} |", begun.elapsed()),
            false => println!("| rslock 0.10.0 | {} |", micros(theirs_.median())),
        }
        self.npm("hung");
        self.servers.hang(4, false);
        self.floor.all("PING").await;
        Ok(())
    }

    async fn contended(&self) -> Result<(), Failure> {
        println!("\n| locks a second, contenders: | 1 | 8 | 64 |\n| --- | ---: | ---: | ---: |");
        for (name, redlock) in [("ours", &self.plain), ("ours, fenced", &self.fenced), ("ours, fair", &self.fair)] {
            let mut rates = Vec::new();
            for count in CONTENDERS {
                let contend = || {
                    let redlock = redlock.clone();
                    async move { ours(&redlock).await.is_ok() }
                };
                rates.push(rate(count, contend).await);
            }
            row(name, &rates);
        }
        let mut rates = Vec::new();
        for count in CONTENDERS {
            let contend = || {
                let rslock = self.rslock.clone();
                async move { theirs(&rslock).await.is_ok() }
            };
            rates.push(rate(count, contend).await);
        }
        row("rslock 0.10.0", &rates);
        self.npm("contended");
        Ok(())
    }

    /// From the release to the next holder, who has waited for a while.
    async fn wakes(&self) -> Result<(), Failure> {
        println!("\n| from release to the waiter's lock | median | p99 |\n| --- | ---: | ---: |");
        for (name, redlock) in [("ours", &self.plain), ("ours, fair", &self.fair)] {
            let mut wakes = Series::default();
            for _ in 0..WAKES {
                let lock = redlock.lock("wake", TTL).await?;
                let waiter = redlock.clone();
                let waiting = tokio::task::spawn_local(async move {
                    let lock = waiter.lock("wake", TTL).await.ok();
                    (Instant::now(), lock)
                });
                tokio::time::sleep(Duration::from_millis(30)).await;
                let released = Instant::now();
                drop(lock);
                let (woken, lock) = waiting.await?;
                wakes.0.push(woken.duration_since(released));
                lock.ok_or("nobody woke")?.release().await;
            }
            println!("| {name} | {} | {} |", micros(wakes.median()), micros(wakes.at(99)));
        }
        let mut wakes = Series::default();
        for _ in 0..WAKES {
            let lock = self.rslock.acquire_no_guard("wake-theirs", TTL).await.map_err(|error| format!("{error:?}"))?;
            let waiter = self.rslock.clone();
            let waiting = tokio::task::spawn_local(async move {
                let lock = waiter.acquire_no_guard("wake-theirs", TTL).await.ok();
                (Instant::now(), lock)
            });
            tokio::time::sleep(Duration::from_millis(30)).await;
            let released = Instant::now();
            self.rslock.unlock(&lock).await;
            let (woken, lock) = waiting.await?;
            wakes.0.push(woken.duration_since(released));
            self.rslock.unlock(&lock.ok_or("nobody woke")?).await;
        }
        println!("| rslock 0.10.0 | {} | {} |", micros(wakes.median()), micros(wakes.at(99)));
        self.npm("wakes");
        Ok(())
    }

    /// The rows of npm's redlock, which measures itself and its own floor.
    fn npm(&self, what: &str) {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let modules = here.join("../../target/peers/node/node_modules");
        if !modules.join("redlock").exists() {
            println!("| SKIPPED redlock of npm (cargo xtask peers) |");
            return;
        }
        let ports = self.servers.addresses().into_iter().filter_map(|at| Some(at.rsplit_once(':')?.1.to_owned()));
        let mut node = Command::new("node");
        node.env("NODE_PATH", modules).arg(here.join("redlock.js")).arg(what).args(ports);
        match node.output() {
            Ok(output) => print!("{}", String::from_utf8_lossy(&output.stdout)),
            Err(error) => println!("| SKIPPED redlock of npm: {error} |"),
        }
    }
}

fn row(name: &str, rates: &[f64]) {
    let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    println!("| {name} | {} |", rates.join(" | "));
}

/// How often a second the work gets done by so many at a time.
async fn rate<F: Future<Output = bool> + 'static>(count: usize, work: impl Fn() -> F) -> f64 {
    let begun = Instant::now();
    let mut running: FuturesUnordered<_> = (0..count).map(|_| work()).collect();
    let mut done = 0;
    while let Ok(Some(is_done)) = tokio::time::timeout(CONTENTION.saturating_sub(begun.elapsed()), running.next()).await
    {
        done += u32::from(is_done);
        running.push(work());
    }
    let rate = f64::from(done) / begun.elapsed().as_secs_f64();
    drop(running);
    // What was cancelled is given back before the next one begins.
    tokio::time::sleep(Duration::from_millis(500)).await;
    rate
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let bench = Bench::begin().await?;
        let parts: Vec<String> = std::env::args().skip(1).collect();
        let wanted = |part: &str| parts.is_empty() || parts.iter().any(|other| other == part);
        if wanted("uncontended") {
            bench.uncontended().await?;
        }
        if wanted("contended") {
            bench.contended().await?;
        }
        if wanted("wakes") {
            bench.wakes().await?;
        }
        if wanted("hung") {
            bench.hung().await?;
        }
        Ok(())
    })
}

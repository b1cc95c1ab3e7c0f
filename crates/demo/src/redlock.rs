//! `demo redlock`: eight contenders add one to the number in a file, each under a lock that five servers grant, while
//! servers die, hang and come back without their memory.
//!
//! Reading the file, waiting and writing it back loses an addition whenever two are inside at once. So the file's number is
//! compared with how many additions were made, and each contender looks whether anybody else is inside, and whether its
//! fencing token is the newest that the file has seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quorate_redlock::RedLock;

use crate::RedlockOptions;
use crate::board::Board;
use crate::interrupt;
use crate::node::Node;
use crate::screen::Screen;

const SERVERS: usize = 5;
const CONTENDERS: usize = 8;
const RESOURCE: &str = "counter";
const TTL: Duration = Duration::from_secs(1);
/// How long a contender is inside at least.
const WORK: Duration = Duration::from_millis(5);
/// Longer than any lock of this demonstration.
const QUARANTINE: &str = "1100";
const LIMIT: Duration = Duration::from_secs(60);
const PROBE: Duration = Duration::from_millis(5);

/// What the contenders have done, and what went wrong.
#[derive(Debug, Default)]
struct Tally {
    inside: Option<usize>,
    newest: u64,
    done: [u64; CONTENDERS],
    violations: Vec<String>,
    /// How long acquisitions took since somebody looked.
    waits: Vec<Duration>,
    refused: u64,
}

#[derive(Debug)]
struct Shared {
    tally: Mutex<Tally>,
    file: PathBuf,
    stop: AtomicBool,
}

impl Shared {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, who: usize, fence: u64, wait: Duration) {
        let mut tally = self.tally();
        if let Some(other) = tally.inside.replace(who) {
            tally.violations.push(format!("contenders {} and {} were inside together", other + 1, who + 1));
        }
        if fence <= tally.newest {
            let newest = tally.newest;
            tally.violations.push(format!("contender {} has token {fence} after {newest}", who + 1));
        }
        tally.newest = tally.newest.max(fence);
        tally.waits.push(wait);
    }

    fn leave(&self, who: usize) {
        let mut tally = self.tally();
        tally.done[who] += 1;
        if tally.inside == Some(who) {
            tally.inside = None;
        }
    }

    fn number(&self) -> Result<u64> {
        let text = fs::read_to_string(&self.file).context("read the counter")?;
        text.trim().parse().with_context(|| format!("the counter holds {text:?}"))
    }
}

/// Adds one, again and again, until it is told to stop.
async fn contend(who: usize, redlock: RedLock, shared: Arc<Shared>) -> Result<()> {
    while !shared.stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let Ok(lock) = redlock.lock(RESOURCE, TTL).await else {
            shared.tally().refused += 1;
            continue;
        };
        shared.enter(who, lock.fence().unwrap_or_default(), asked.elapsed());
        let number = shared.number()?;
        tokio::time::sleep(WORK).await;
        // The write comes only while the lock is valid, as it must be.
        if lock.is_valid() {
            fs::write(&shared.file, (number + 1).to_string())?;
            shared.leave(who);
        } else {
            shared.tally().inside = None;
        }
        lock.release().await;
    }
    Ok(())
}

/// Runs the demonstration; how many violations there were.
pub(crate) fn show(options: &RedlockOptions) -> Result<u64> {
    let mut story = Story::begin(options)?;
    let _board = Board::open(options.dashboard, story.nodes.iter().map(Node::address), &mut story.screen)?;
    let time = Duration::from_secs(options.seconds);
    story.watch("all five are there", time)?;
    story.nodes[0].kill()?;
    story.event(0, "is killed");
    story.watch("one is dead", time)?;
    story.nodes[1].signal(rustix::process::Signal::STOP)?;
    story.event(1, "hangs (SIGSTOP)");
    story.watch("one is dead, one hangs", time)?;
    story.nodes[0].start_again()?;
    story.await_ready(0)?;
    let remark = if story.is_ours { "; it grants no lock until the longest is over" } else { "" };
    story.event(0, &format!("is started again, empty{remark}"));
    story.watch("one came back empty, one hangs", time)?;
    story.nodes[1].signal(rustix::process::Signal::CONT)?;
    story.event(1, "goes on (SIGCONT)");
    story.watch("all five are there again", time)?;
    story.end()
}

struct Story {
    nodes: Vec<Node>,
    shared: Arc<Shared>,
    screen: Screen,
    runtime: tokio::runtime::Runtime,
    contenders: Vec<tokio::task::JoinHandle<Result<()>>>,
    /// Time, how many acquisitions, and how long they took, for each part.
    parts: Vec<(String, Duration, Vec<Duration>)>,
    /// Whether the servers know our directives.
    is_ours: bool,
    /// Where the servers' files are; gone at the end, after the servers.
    _place: tempfile::TempDir,
}

impl Story {
    fn begin(options: &RedlockOptions) -> Result<Story> {
        let (binary, is_ours) = match &options.binary {
            Some(path) => (path.clone(), !is_another(path)),
            None => (std::env::current_exe().context("find this program")?, true),
        };
        let server_options = if is_ours { vec!["--lock-quarantine", QUARANTINE] } else { Vec::new() };
        let place = tempfile::Builder::new().prefix("quorate-demo-").tempdir()?;
        let start = |_| Node::start_with(&binary, place.path(), &server_options);
        let nodes = (0..SERVERS).map(start).collect::<Result<Vec<Node>>>()?;
        let file = place.path().join("counter");
        fs::write(&file, "0")?;
        let shared = Arc::new(Shared { tally: Mutex::default(), file, stop: AtomicBool::new(false) });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut story = Story {
            nodes,
            shared,
            screen: Screen::new(),
            runtime,
            contenders: Vec::new(),
            parts: Vec::new(),
            is_ours,
            _place: place,
        };
        for index in 0..SERVERS {
            story.await_ready(index)?;
        }
        story.screen.event(format!("five servers answer: ports {}", story.ports().join(", ")));
        story.contend()?;
        story.await_first_lock()?;
        Ok(story)
    }

    /// Servers that can't prove that they have lost nothing grant no lock at first; ours are such when they have just been started.
    fn await_first_lock(&mut self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while self.shared.tally().waits.is_empty() {
            interrupt::check()?;
            ensure!(Instant::now() < deadline, "nobody gets the lock");
            std::thread::sleep(PROBE);
        }
        self.screen.event("the first of them has it");
        Ok(())
    }

    fn ports(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.port().to_string()).collect()
    }

    fn contend(&mut self) -> Result<()> {
        for who in 0..CONTENDERS {
            // Each is a program of its own, as far as the servers can tell.
            let addresses = self.nodes.iter().map(|node| node.address().to_string());
            let redlock = RedLock::builder().nodes(addresses).fenced(true).fair(true).wait(LIMIT).build()?;
            self.contenders.push(self.runtime.spawn(contend(who, redlock, Arc::clone(&self.shared))));
        }
        self.screen.event("eight contenders add one to the number in a file, each under the lock");
        Ok(())
    }

    fn await_ready(&mut self, index: usize) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !self.nodes[index].is_ready()? {
            interrupt::check()?;
            ensure!(Instant::now() < deadline, "the server on port {} does not answer", self.nodes[index].port());
            std::thread::sleep(PROBE);
        }
        Ok(())
    }

    fn event(&mut self, index: usize, what: &str) {
        let port = self.nodes[index].port();
        self.screen.event(format!("the server on port {port} {what}"));
    }

    /// Lets the contenders go on, and notes how they fare.
    fn watch(&mut self, part: &str, time: Duration) -> Result<()> {
        self.shared.tally().waits.clear();
        let began = Instant::now();
        while began.elapsed() < time {
            interrupt::check()?;
            if let Some(index) = self.contenders.iter().position(tokio::task::JoinHandle::is_finished) {
                let contender = self.contenders.swap_remove(index);
                self.runtime.block_on(contender)??;
            }
            if self.screen.is_due() {
                self.show_state();
            }
            std::thread::sleep(PROBE);
        }
        let waits = std::mem::take(&mut self.shared.tally().waits);
        ensure!(!waits.is_empty(), "nobody got the lock while {part}");
        self.parts.push((part.to_owned(), began.elapsed(), waits));
        Ok(())
    }

    fn show_state(&mut self) {
        let tally = self.shared.tally();
        let holder = tally.inside.map_or("nobody".to_owned(), |who| format!("contender {}", who + 1));
        let done: Vec<String> = tally.done.iter().map(u64::to_string).collect();
        let lines = [
            format!("{holder} holds it; the newest token is {}", tally.newest),
            format!("additions of each: {}", done.join(" ")),
            format!("{} violations", tally.violations.len()),
        ];
        drop(tally);
        self.screen.state(&lines);
    }

    /// Stops everybody, and counts.
    fn end(mut self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for contender in std::mem::take(&mut self.contenders) {
            self.runtime.block_on(contender)??;
        }
        let (number, tally) = (self.shared.number()?, self.shared.tally());
        let made: u64 = tally.done.iter().sum();
        self.screen.event(format!("the file says {number}, and {made} additions were made"));
        self.screen.tell();
        println!("\nAcquisitions, eight contenders in order of arrival\n");
        println!("  {:<32} {:>8} {:>10} {:>10} {:>10}", "while", "a second", "median", "p99", "longest");
        for (part, time, waits) in &mut self.parts {
            waits.sort_unstable();
            let at = |percent: usize| format!("{:.1} ms", waits[(waits.len() - 1) * percent / 100].as_secs_f64() * 1e3);
            let rate = waits.len() as f64 / time.as_secs_f64();
            println!("  {part:<32} {rate:>8.0} {:>10} {:>10} {:>10}", at(50), at(99), at(100));
        }
        let lost = made.abs_diff(number);
        for violation in tally.violations.iter().take(10) {
            println!("  {violation}");
        }
        let violations = tally.violations.len() as u64 + lost;
        println!("\n{violations} violations ({lost} additions lost), {} requests refused", tally.refused);
        Ok(violations)
    }
}

/// Whether a server of somebody else is to be shown, which does not know our directives.
fn is_another(binary: &Path) -> bool {
    let name = binary.file_name().unwrap_or_default().to_string_lossy();
    ["redis-server", "valkey-server"].iter().any(|other| name.starts_with(other))
}

//! `demo replication`: a primary with two replicas takes a stream of writes, dies, and its best replica takes over.
//!
//! The one question is whether a write that a client saw acknowledged can be missing afterwards. So the numbers that were
//! acknowledged are read back from both survivors at the end, one by one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use quorate_client::Reply;

use crate::Options;
use crate::board::Board;
use crate::interrupt;
use crate::node::Node;
use crate::screen::Screen;
use crate::view::{Role, View};
use crate::writer::{Writer, key};

/// How long each step may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// How long a probe that found nothing waits before the next.
pub(crate) const PROBE: Duration = Duration::from_millis(5);
/// Keys that one MGET asks for.
pub(crate) const BATCH: u64 = 1_000;

/// Runs the demonstration; how many acknowledged writes were lost.
pub(crate) fn show(options: &Options) -> Result<u64> {
    let mut story = Story::begin(options)?;
    let [primary, first, second] = [0, 1, 2];
    let all = story.nodes.iter().map(Node::address);
    let mut board = Board::open(options.dashboard, all, &mut story.screen)?;
    story.form(primary, &[first, second])?;
    story.watch(Duration::from_secs(options.seconds))?;
    story.lose(primary)?;
    let (best, other) = story.choose(first, second)?;
    story.promote(best, other)?;
    story.watch(Duration::from_secs(options.seconds))?;
    let lost = story.count(best, other)?;
    story.screen.tell();
    println!("\n{lost} acknowledged writes were lost");
    if options.keep {
        story.leave(best, other);
        board.iter_mut().for_each(Board::leave);
    }
    Ok(lost)
}

struct Story {
    nodes: Vec<Node>,
    writer: Option<Writer>,
    screen: Screen,
    /// Where the servers' files are; gone at the end, after the servers.
    place: tempfile::TempDir,
    /// When and how much the writer had written when that was shown last.
    pace: (Instant, u64),
}

impl Story {
    fn begin(options: &Options) -> Result<Story> {
        let binary = options.program()?;
        let place = tempfile::Builder::new().prefix("quorate-demo-").tempdir()?;
        let nodes = (0..3).map(|_| Node::start(&binary, place.path())).collect::<Result<Vec<Node>>>()?;
        let pace = (Instant::now(), 0);
        let mut story = Story { nodes, writer: None, screen: Screen::new(), place, pace };
        for index in 0..story.nodes.len() {
            story.until("a server starts", |story| Ok(story.nodes[index].is_ready()?.then_some(())))?;
        }
        let ports: Vec<String> = story.nodes.iter().map(|node| node.port().to_string()).collect();
        story.screen.event(format!("three servers run on ports {} of 127.0.0.1", ports.join(", ")));
        Ok(story)
    }

    /// Asks until there is an answer, and shows the state meanwhile.
    fn until<T>(&mut self, what: &str, mut ask: impl FnMut(&mut Story) -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(answer) = ask(self).with_context(|| format!("wait until {what}"))? {
                return Ok(answer);
            }
            interrupt::check()?;
            ensure!(Instant::now() < deadline, "waited {} s in vain until {what}", LIMIT.as_secs());
            if self.writer.is_some() && self.screen.is_due() {
                self.show_state();
            }
            std::thread::sleep(PROBE);
        }
    }

    fn view(&mut self, index: usize) -> Result<View> {
        View::of(&mut self.nodes[index])
    }

    fn port(&self, index: usize) -> u16 {
        self.nodes[index].port()
    }

    /// Makes two servers replicas of another and starts the writes.
    fn form(&mut self, primary: usize, replicas: &[usize]) -> Result<()> {
        let port = self.port(primary).to_string();
        for &replica in replicas {
            self.nodes[replica].order(&["REPLICAOF", "127.0.0.1", &port])?;
        }
        self.screen.event(format!("REPLICAOF 127.0.0.1 {port} on the other two"));
        for &replica in replicas {
            self.until("a replica is in sync", |story| Ok(story.view(replica)?.is_up().then_some(())))?;
        }
        self.screen.event("both replicas are in sync");
        // An acknowledgement says something about the replicas only once they are there.
        self.until("both replicas hold a first write", |story| {
            story.nodes[primary].order(&["SET", "demo:first", "0"])?;
            let reply = story.nodes[primary].call(&["WAIT", "2", "1000"])?;
            Ok((reply == Reply::Int(2)).then_some(()))
        })?;
        self.screen.event("a first write is on both replicas (WAIT 2)");
        self.writer = Some(Writer::start(self.nodes[primary].address()));
        self.screen.event("a client writes numbered values, and notes which are acknowledged");
        Ok(())
    }

    /// Lets the writes go on.
    fn watch(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        self.until("time has passed", |_| Ok((Instant::now() >= end).then_some(())))
    }

    fn writer(&self) -> Result<&Writer> {
        self.writer.as_ref().context("the writes have begun")
    }

    fn lose(&mut self, primary: usize) -> Result<()> {
        self.nodes[primary].kill()?;
        let acknowledged = self.writer()?.acknowledged();
        let port = self.port(primary);
        self.screen.event(format!("SIGKILL to the primary on port {port}; {acknowledged} writes are acknowledged"));
        Ok(())
    }

    /// The replica that has received more, and the other one.
    fn choose(&mut self, first: usize, second: usize) -> Result<(usize, usize)> {
        for replica in [first, second] {
            // A link that is down has been read to its end, so that the offset is final.
            self.until("a replica notices", |story| Ok((!story.view(replica)?.is_up()).then_some(())))?;
        }
        let offsets = [self.view(first)?.offset, self.view(second)?.offset];
        let (best, other) = if offsets[0] >= offsets[1] { (first, second) } else { (second, first) };
        self.screen.event(format!(
            "both replicas have lost it; port {} stands at offset {}, port {} at {}",
            self.port(first),
            offsets[0],
            self.port(second),
            offsets[1]
        ));
        Ok((best, other))
    }

    fn promote(&mut self, best: usize, other: usize) -> Result<()> {
        let before = self.writer()?.acknowledged();
        self.nodes[best].order(&["REPLICAOF", "NO", "ONE"])?;
        ensure!(self.view(best)?.is_primary(), "port {} is no primary after REPLICAOF NO ONE", self.port(best));
        let port = self.port(best).to_string();
        self.screen.event(format!("REPLICAOF NO ONE on port {port}: it is the primary now"));
        self.writer()?.turn_to(self.nodes[best].address());
        self.nodes[other].order(&["REPLICAOF", "127.0.0.1", &port])?;
        self.screen.event(format!("REPLICAOF 127.0.0.1 {port} on port {}", self.port(other)));
        let outage = self.until("writes are acknowledged again", |story| {
            let writer = story.writer()?;
            Ok(writer.outage().filter(|_| writer.acknowledged() > before))
        })?;
        self.screen.event(format!("writes are acknowledged again, after {} ms without", outage.as_millis()));
        self.until("the other replica is in sync", |story| Ok(story.view(other)?.is_up().then_some(())))?;
        let how = if self.view(best)?.partial_syncs > 0 { "it went on where it stood" } else { "it got a full copy" };
        self.screen.event(format!("port {} follows the new primary: {how}", self.port(other)));
        Ok(())
    }

    /// Reads back everything that was acknowledged; how much of it one of the two lacks.
    fn count(&mut self, primary: usize, replica: usize) -> Result<u64> {
        let mut writer = self.writer.take().context("the writes have begun")?;
        let acknowledged = writer.stop();
        self.screen.event(format!("the client stops after {acknowledged} acknowledged writes"));
        self.until("the replica has caught up", |story| {
            let (ours, theirs) = (story.view(primary)?, story.view(replica)?);
            Ok((theirs.is_up() && theirs.offset >= ours.offset).then_some(()))
        })?;
        let mut worst = 0;
        for index in [primary, replica] {
            let lost = self.lost_on(index, acknowledged)?;
            self.screen.event(format!("port {} lacks {lost} of them", self.port(index)));
            worst = worst.max(lost);
        }
        Ok(worst)
    }

    fn lost_on(&mut self, index: usize, acknowledged: u64) -> Result<u64> {
        let mut lost = 0;
        for start in (1..=acknowledged).step_by(usize::try_from(BATCH)?) {
            interrupt::check()?;
            let numbers: Vec<u64> = (start..=acknowledged.min(start + BATCH - 1)).collect();
            let keys: Vec<String> = numbers.iter().map(|&number| key(number)).collect();
            let words: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
            let Reply::Array(values) = self.nodes[index].call(&words)? else { bail!("MGET answers no array") };
            let is_there = |(number, value): &(u64, Reply)| matches!(value, Reply::Bulk(text) if *text == number.to_string().as_bytes());
            ensure!(values.len() == numbers.len(), "MGET answers {} of {} values", values.len(), numbers.len());
            let pairs = numbers.into_iter().zip(values);
            lost += pairs.filter(|pair| !is_there(pair)).count() as u64;
        }
        Ok(lost)
    }

    fn show_state(&mut self) {
        let views: Vec<Option<View>> = (0..self.nodes.len())
            .map(|index| if self.nodes[index].is_alive() { self.view(index).ok() } else { None })
            .collect();
        let head = views.iter().flatten().filter(|view| view.is_primary()).map(|view| view.offset).max();
        let mut lines: Vec<String> =
            (0..views.len()).map(|index| self.describe(index, views[index].as_ref(), head)).collect();
        let (now, acknowledged) = (Instant::now(), self.writer.as_ref().map_or(0, Writer::acknowledged));
        let rate = (acknowledged - self.pace.1) as f64 / now.duration_since(self.pace.0).as_secs_f64().max(0.001);
        self.pace = (now, acknowledged);
        lines.push(format!("{acknowledged} writes acknowledged, {rate:.0} a second"));
        self.screen.state(&lines);
    }

    fn describe(&self, index: usize, view: Option<&View>, head: Option<u64>) -> String {
        let port = self.port(index);
        let Some(view) = view else { return format!("{port} is dead") };
        match (&view.role, head) {
            (Role::Primary, _) => format!("{port} primary at {}", view.offset),
            (Role::Replica { of, is_up: true }, Some(head)) => {
                format!("{port} replica of {of}, {} bytes behind", head.saturating_sub(view.offset))
            }
            (Role::Replica { of, is_up }, _) => {
                format!("{port} replica of {of}, link {}, at {}", if *is_up { "up" } else { "down" }, view.offset)
            }
        }
    }

    /// Leaves the survivors running, and says how to reach and to end them.
    fn leave(mut self, primary: usize, replica: usize) {
        println!("\nThe survivors go on:");
        for (index, role) in [(primary, "primary"), (replica, "replica")] {
            let port = self.port(index);
            println!("  {role:8} redis-cli -p {port}        (redis-cli -p {port} SHUTDOWN NOSAVE ends it)");
            self.nodes[index].leave();
        }
        println!("Their files are below {}", self.place.keep().display());
    }
}

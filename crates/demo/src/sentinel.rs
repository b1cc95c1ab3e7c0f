//! `demo sentinel`: three Sentinels watch a primary with two replicas, at default settings. A client asks them where the
//! primary is, writes, and asks again when it fails. Then the primary is killed.
//!
//! What the Sentinels see and decide is read off the events that one of them publishes. At the end the numbers that were
//! acknowledged are read back from the new primary, one by one, and the dead server is started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use quorate_client::{Client, Reply};

use crate::Options;
use crate::board::Board;
use crate::interrupt::{self, until};
use crate::node::Node;
use crate::replication::{BATCH, LIMIT, PROBE};
use crate::screen::Screen;
use crate::view::{Role, View};
use crate::writer::{Writer, key};

/// What the Sentinels call the primary.
const NAME: &str = "demo";
/// Events that are worth a line.
const TOLD: [&str; 9] = [
    "+sdown",
    "+odown",
    "+try-failover",
    "+vote-for-leader",
    "+elected-leader",
    "+selected-slave",
    "+promoted-slave",
    "+switch-master",
    "+convert-to-slave",
];

/// Runs the demonstration; how many acknowledged writes were lost.
pub(crate) fn show(options: &Options) -> Result<u64> {
    let binary = options.program()?;
    let place = tempfile::Builder::new().prefix("quorate-demo-").tempdir()?;
    let mut story = Story::begin(&binary, place.path())?;
    let all = story.servers.iter().chain(&story.sentinels).map(Node::address);
    let mut board = Board::open(options.dashboard, all, &mut story.screen)?;
    story.watch(Duration::from_secs(options.seconds))?;
    let next = story.lose_the_primary()?;
    story.watch(Duration::from_secs(options.seconds))?;
    let lost = story.count(next)?;
    story.bring_back(next)?;
    story.screen.tell();
    println!("\n{lost} acknowledged writes were lost");
    if options.keep {
        story.servers.iter_mut().chain(&mut story.sentinels).for_each(Node::leave);
        board.iter_mut().for_each(Board::leave);
        println!("Sentinels: redis-cli -p {} SENTINEL EXPLAIN {NAME}", story.sentinels[0].port());
        println!("Their files are in {}", place.keep().display());
    }
    Ok(lost)
}

struct Story {
    servers: Vec<Node>,
    sentinels: Vec<Node>,
    writer: Writer,
    screen: Screen,
    events: Receiver<(Instant, String)>,
    started: Instant,
}

impl Story {
    fn begin(binary: &std::path::Path, place: &std::path::Path) -> Result<Story> {
        let started = Instant::now();
        let mut screen = Screen::new();
        let common = "save \"\"\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0";
        let mut servers = vec![Node::start_with_file(binary, place, common, false)?];
        let primary = servers[0].port();
        for _ in 0..2 {
            let lines = format!("{common}\nreplicaof 127.0.0.1 {primary}");
            servers.push(Node::start_with_file(binary, place, &lines, false)?);
        }
        let mut sentinels = Vec::new();
        for number in 1..=3 {
            // With an id of their own they needn't wait until elections of an earlier life are over.
            let lines = format!("sentinel myid {number:040}\nsentinel monitor {NAME} 127.0.0.1 {primary} 2");
            sentinels.push(Node::start_with_file(binary, place, &lines, true)?);
        }
        for node in servers.iter_mut().chain(&mut sentinels) {
            until("a process answers", || Ok(node.is_ready()?.then_some(())))?;
        }
        screen.event(format!("a primary on port {primary}, two replicas, three Sentinels at default settings"));
        for sentinel in &mut sentinels {
            until("the Sentinels know each other and the replicas", || {
                let known = |name: &str| (name == "num-slaves" || name == "num-other-sentinels").then_some("2");
                let Reply::Array(items) = sentinel.call(&["SENTINEL", "MASTER", NAME])? else { bail!("no array") };
                let texts: Vec<String> = items.iter().map(text).collect();
                let is_right = |pair: &[String]| known(&pair[0]).is_none_or(|wanted| pair[1] == wanted);
                Ok((texts.chunks(2).all(is_right) && sentinel.call(&["SENTINEL", "CKQUORUM", NAME]).is_ok())
                    .then_some(()))
            })?;
        }
        for replica in &mut servers[1..] {
            until("a replica is in sync", || Ok(View::of(replica)?.is_up().then_some(())))?;
        }
        screen.event("they know each other, and the replicas are in sync");
        let events = listen(sentinels[0].address())?;
        let target = ask(&mut sentinels).context("the Sentinels name a primary")?;
        let writer = Writer::start(target);
        screen.event("a client has asked a Sentinel where the primary is, and writes numbered values");
        Ok(Story { servers, sentinels, writer, screen, events, started })
    }

    /// Tells what the Sentinels have published, with the time since the kill.
    fn tell_events(&mut self, since: Option<Instant>) {
        while let Ok((at, event)) = self.events.try_recv() {
            let after = since.map_or_else(String::new, |since| {
                format!("  {:+5} ms", at.saturating_duration_since(since).as_millis())
            });
            self.screen.event(format!("{after}  {event}"));
        }
    }

    fn watch(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            interrupt::check()?;
            self.tell_events(None);
            if self.screen.is_due() {
                let line = format!("{} writes acknowledged", self.writer.acknowledged());
                self.screen.state(&[line]);
            }
            std::thread::sleep(PROBE);
        }
        ensure!(self.writer.acknowledged() > 0, "nothing was written in {} s", self.started.elapsed().as_secs());
        Ok(())
    }

    /// Kills the primary and lets the client ask until it is told of another; which server that is.
    fn lose_the_primary(&mut self) -> Result<usize> {
        let old = self.servers[0].port();
        self.servers[0].kill()?;
        let killed = Instant::now();
        let before = self.writer.acknowledged();
        self.screen.event(format!("SIGKILL to the primary on port {old}; {before} writes are acknowledged"));
        let (mut next, deadline) = (old, killed + LIMIT);
        while self.writer.acknowledged() <= before || self.writer.outage().is_none() {
            interrupt::check()?;
            ensure!(Instant::now() < deadline, "no Sentinel names a primary that takes writes");
            if let Some(target) = ask(&mut self.sentinels).filter(|target| target.port() != next) {
                next = target.port();
                self.writer.turn_to(target);
                let after = killed.elapsed().as_millis();
                self.screen.event(format!("  {after:+5} ms  the client is told: port {next}"));
            }
            self.tell_events(Some(killed));
            std::thread::sleep(Duration::from_millis(1));
        }
        let outage = self.writer.outage().unwrap_or_default().as_millis();
        self.screen.event(format!("writes are acknowledged again, after {outage} ms without"));
        self.servers.iter().position(|server| server.port() == next).context("a Sentinel names a stranger")
    }

    /// Reads back everything that was acknowledged; how much of it the new primary lacks.
    fn count(&mut self, primary: usize) -> Result<u64> {
        let acknowledged = self.writer.stop();
        let mut lost = 0;
        for start in (1..=acknowledged).step_by(usize::try_from(BATCH)?) {
            let numbers: Vec<u64> = (start..=acknowledged.min(start + BATCH - 1)).collect();
            let keys: Vec<String> = numbers.iter().map(|&number| key(number)).collect();
            let words: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
            let Reply::Array(values) = self.servers[primary].call(&words)? else { bail!("MGET answers no array") };
            lost +=
                numbers.iter().zip(&values).filter(|(number, value)| text(value) != number.to_string()).count() as u64;
        }
        let port = self.servers[primary].port();
        self.screen.event(format!("port {port} lacks {lost} of {acknowledged} acknowledged writes"));
        Ok(lost)
    }

    /// Starts the dead one again: its configuration still says that it leads.
    fn bring_back(&mut self, primary: usize) -> Result<()> {
        let port = self.servers[primary].port();
        self.servers[0].start_again()?;
        let begun = Instant::now();
        let old = self.servers[0].port();
        self.screen.event(format!("the old primary on port {old} is started again"));
        let returned = &mut self.servers[0];
        until("the old primary follows the new one", || {
            let view = View::of(returned).ok();
            Ok(view.filter(|view| view.role == Role::Replica { of: port, is_up: true }))
        })?;
        let after = begun.elapsed().as_millis();
        self.tell_events(None);
        self.screen.event(format!("it follows port {port} and is in sync, {after} ms after its start"));
        Ok(())
    }
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(bytes) | Reply::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

/// The primary's address by the first Sentinel that names one.
fn ask(sentinels: &mut [Node]) -> Option<SocketAddr> {
    sentinels.iter_mut().find_map(|sentinel| {
        let Reply::Array(items) = sentinel.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).ok()? else {
            return None;
        };
        let port = text(items.get(1)?).parse().ok()?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    })
}

/// Subscribes to what a Sentinel announces.
fn listen(sentinel: SocketAddr) -> Result<Receiver<(Instant, String)>> {
    let mut client = Client::connect(sentinel, Duration::from_secs(3600))?;
    client.call(&["PSUBSCRIBE", "*"])?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        while let Ok(Reply::Array(items)) = client.receive() {
            let words: Vec<String> = items.iter().map(text).collect();
            let [_, _, event, about] = &words[..] else { continue };
            if TOLD.contains(&event.as_str()) && sender.send((Instant::now(), format!("{event} {about}"))).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

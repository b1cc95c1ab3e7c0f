//! `demo cluster`: three primaries and three replicas at default settings, and a client for each third of the slots. A primary
//! is killed, its replica takes over, and it comes back. Then two more nodes join, and slots move to them while the clients go on.
//!
//! The cluster is made and extended by `quorate cluster`, as an operator would.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quorate_client::Reply;

use crate::Options;
use crate::board::Board;
use crate::interrupt::{self, until};
use crate::lane::{Lane, Routes};
use crate::node::Node;
use crate::replication::{LIMIT, PROBE};
use crate::screen::Screen;
use crate::view::{Role, View};

/// The thirds of the slots that `create` gives to the primaries.
const THIRDS: [[u16; 2]; 3] = [[0, 5460], [5461, 10922], [10923, 16383]];

/// Runs the demonstration; how many acknowledged writes were lost.
pub(crate) fn show(options: &Options) -> Result<u64> {
    let binary = options.program()?;
    let place = tempfile::Builder::new().prefix("quorate-demo-").tempdir()?;
    let mut story = Story::begin(&binary, place.path())?;
    let mut board = Board::open(options.dashboard, story.nodes.iter().map(Node::address), &mut story.screen)?;
    let time = Duration::from_secs(options.seconds);
    story.watch(time)?;
    story.lose_a_primary()?;
    story.watch(time)?;
    story.bring_back()?;
    story.grow(&binary, place.path())?;
    story.watch(time)?;
    let lost = story.count()?;
    story.screen.tell();
    println!("\n{lost} acknowledged writes were lost");
    if options.keep {
        story.nodes.iter_mut().for_each(Node::leave);
        board.iter_mut().for_each(Board::leave);
        println!("The cluster: quorate cluster info 127.0.0.1:{}", story.nodes[0].port());
        println!("Its files are in {}", place.keep().display());
    }
    Ok(lost)
}

struct Story {
    nodes: Vec<Node>,
    lanes: Vec<Lane>,
    routes: Arc<Routes>,
    screen: Screen,
    /// Which node was killed.
    dead: usize,
}

impl Story {
    fn begin(binary: &Path, place: &Path) -> Result<Story> {
        let mut screen = Screen::new();
        let mut nodes = (0..6).map(|_| Node::start_in_cluster(binary, place)).collect::<Result<Vec<Node>>>()?;
        for node in &mut nodes {
            until("a node answers", || Ok(node.is_ready()?.then_some(())))?;
        }
        let addresses: Vec<String> = nodes.iter().map(|node| node.address().to_string()).collect();
        let words: Vec<&str> = addresses.iter().map(String::as_str).chain(["--replicas", "1", "--yes"]).collect();
        manage("create", &words, || Ok(()))?;
        for node in &mut nodes {
            until("the cluster is whole", || {
                let Reply::Bulk(info) = node.call(&["CLUSTER", "INFO"])? else { return Ok(None) };
                let view = View::of(node)?;
                let is_ok = String::from_utf8_lossy(&info).contains("cluster_state:ok");
                Ok((is_ok && (view.role == Role::Primary || view.is_up())).then_some(()))
            })?;
        }
        screen.event("three primaries and three replicas, made by quorate cluster create, at default settings");
        let routes = Arc::new(Routes::learn(nodes.iter().map(Node::port).collect())?);
        let lanes = THIRDS.iter().map(|&[first, last]| Lane::start(&routes, first..=last)).collect();
        screen.event("a client for each third of the slots writes numbered values");
        Ok(Story { nodes, lanes, routes, screen, dead: 0 })
    }

    fn watch(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            interrupt::check()?;
            self.show_state();
            std::thread::sleep(PROBE);
        }
        ensure!(self.lanes.iter().all(|lane| lane.count() > 0), "nothing was written to some of the slots");
        Ok(())
    }

    fn show_state(&mut self) {
        if self.screen.is_due() {
            let counts: Vec<String> = self.lanes.iter().map(|lane| lane.count().to_string()).collect();
            self.screen.state(&[format!("{} writes acknowledged", counts.join(" + "))]);
        }
    }

    /// The longest pauses of the thirds since this was asked last, milliseconds.
    fn pauses(&self) -> Vec<u128> {
        self.lanes.iter().map(|lane| lane.longest_pause().as_millis()).collect()
    }

    /// Kills the primary of the first third and waits until its slots are written again.
    fn lose_a_primary(&mut self) -> Result<()> {
        let old = self.routes.owner(THIRDS[0][0]);
        self.dead = self.nodes.iter().position(|node| node.port() == old).context("a stranger owns slots")?;
        self.pauses();
        self.nodes[self.dead].kill()?;
        let killed = Instant::now();
        self.screen.event(format!("SIGKILL to the primary on port {old}, which owns a third of the slots"));
        let lane = &self.lanes[0];
        // What was on its way when it died may still be read.
        let next = until("the slots of the dead primary are written again", || {
            let owner = self.routes.owner(THIRDS[0][0]);
            Ok((owner != old && lane.has_written_since(killed)).then_some(owner))
        })?;
        let after = killed.elapsed().as_millis();
        until("each third has been written", || {
            Ok(self.lanes.iter().all(|lane| lane.has_written_since(killed)).then_some(()))
        })?;
        let pauses = self.pauses();
        self.screen.event(format!("  {after:+5} ms  port {next} has taken over, and writes go on"));
        self.screen.event(format!(
            "the longest pause of the dead one's slots was {} ms, of the others {} and {} ms",
            pauses[0], pauses[1], pauses[2]
        ));
        Ok(())
    }

    /// Starts the dead one again.
    fn bring_back(&mut self) -> Result<()> {
        let next = self.routes.owner(THIRDS[0][0]);
        self.nodes[self.dead].start_again()?;
        let begun = Instant::now();
        let old = self.nodes[self.dead].port();
        self.screen.event(format!("the dead one on port {old} is started again"));
        let returned = &mut self.nodes[self.dead];
        until("it follows the new primary", || {
            let view = View::of(returned).ok();
            Ok(view.filter(|view| view.role == Role::Replica { of: next, is_up: true }))
        })?;
        let after = begun.elapsed().as_millis();
        self.screen.event(format!("it follows port {next} and is in sync, {after} ms after its start"));
        Ok(())
    }

    /// Lets two more nodes join: a primary, to which slots move, and its replica.
    fn grow(&mut self, binary: &Path, place: &Path) -> Result<()> {
        let known = self.nodes[(self.dead + 1) % self.nodes.len()].address().to_string();
        for _ in 0..2 {
            let mut node = Node::start_in_cluster(binary, place)?;
            until("a node answers", || Ok(node.is_ready()?.then_some(())))?;
            self.routes.add(node.port());
            self.nodes.push(node);
        }
        let [seventh, eighth] = [6, 7].map(|index: usize| self.nodes[index].port());
        self.screen.event(format!("a seventh node, on port {seventh}, joins: quorate cluster add-node"));
        self.pauses();
        let begun = Instant::now();
        manage("add-node", &[&at(seventh), &known, "--yes"], || {
            interrupt::check()?;
            self.show_state();
            Ok(())
        })?;
        let after = begun.elapsed().as_millis();
        self.routes.refresh()?;
        let (count, pauses) = (self.routes.count(seventh), self.pauses());
        let longest = pauses.iter().max().copied().unwrap_or_default();
        self.screen
            .event(format!("it owns {count} slots after {after} ms; the longest pause of a client was {longest} ms"));
        ensure!(count > 0, "no slot has moved");
        manage("add-node", &[&at(eighth), &known, "--replica-of", &at(seventh), "--yes"], interrupt::check)?;
        let replica = &mut self.nodes[7];
        until("the eighth node is in sync", || Ok(View::of(replica)?.is_up().then_some(())))?;
        self.screen.event(format!("an eighth node, on port {eighth}, follows it and is in sync"));
        Ok(())
    }

    /// Reads back everything that was acknowledged; how much of it the cluster lacks.
    fn count(&mut self) -> Result<u64> {
        self.lanes.iter_mut().for_each(Lane::stop);
        self.routes.refresh()?;
        let written: u64 = self.lanes.iter().map(Lane::count).sum();
        let lost = self.lanes.iter().map(Lane::missing).sum::<Result<u64>>()?;
        self.screen.event(format!("the cluster lacks {lost} of {written} acknowledged writes"));
        Ok(lost)
    }
}

fn at(port: u16) -> String {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()
}

/// Runs `quorate cluster`, and does something meanwhile.
fn manage(what: &str, words: &[&str], mut meanwhile: impl FnMut() -> Result<()>) -> Result<()> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.args(["cluster", what]).args(words).stdin(Stdio::null());
    // It says little, which its pipes hold until it has ended.
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("start quorate cluster")?;
    let deadline = Instant::now() + LIMIT;
    while child.try_wait()?.is_none() {
        if let Err(error) = meanwhile() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
        }
        std::thread::sleep(PROBE);
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "quorate cluster {what} {}: {}\n{said}", words.join(" "), output.status);
    Ok(())
}

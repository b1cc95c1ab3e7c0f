//! What clients feel while the server copies its data: full synchronisation of a replica, and BGSAVE.
//!
//! Each disturbance is repeated; the probe's worst round trip during it stands beside its worst during an equally long
//! quiet time just before, which is the machine's own noise. The server may use every core here, since pinning it
//! would make a forked child fight its parent for one; the replica stays on the load generator's core.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::cases::SET_P16;
use super::client::Client;
use super::interrupt;
use super::probe::{Probe, Rate, Writers};
use super::progress;
use super::report::{Figure, Unit};
use super::server::{Kind, Launch, Launcher, Place, Server};
use super::stats::Samples;
use super::throughput;

/// Longer than any copy of a few gigabytes takes.
const COPIED_WITHIN: Duration = Duration::from_secs(120);
/// 20 000 SETs per second, far from what any server's limit is.
const MODERATE: Rate = Rate::Batches(1000);
/// So that Redis does not wait for further replicas first.
const NO_DELAY: &[&str] = &["--repl-diskless-sync-delay", "0"];

#[derive(Clone, Copy)]
enum Disturbance {
    FullSync,
    Bgsave,
}

impl Disturbance {
    fn name(self) -> &'static str {
        match self {
            Disturbance::FullSync => "full sync",
            Disturbance::Bgsave => "BGSAVE",
        }
    }
}

/// A server that holds `keys` strings.
pub(super) fn filled(launcher: &Launcher, kind: Kind, place: Place, extra: &[&str], keys: u64) -> Result<Server> {
    let server = launcher.start(&Launch { extra, ..Launch::of(kind, place) })?;
    throughput::fill(&server, kind, &SET_P16, keys)?;
    Ok(server)
}

/// Full sync: how long it takes with default settings and without Redis' fixed delay, and what clients feel.
pub(super) fn full_sync(launcher: &Launcher, kinds: &[Kind], keys: u64, repeats: usize) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (name, extra) in [("default settings", &[][..]), ("repl-diskless-sync-delay 0", NO_DELAY)] {
        let mut figure = Figure::new(format!("full sync, REPLICAOF to link up, {name}"), Unit::Millis);
        for &kind in kinds {
            progress::show(&format!("full sync of {} {name}", kind.name()));
            let server = filled(launcher, kind, Place::Anywhere, extra, keys)?;
            let times: Result<Samples> =
                (0..repeats).map(|_| Ok(millis(sync(launcher, kind, &server, keys)?))).collect();
            figure.push(kind, times.with_context(|| format!("full sync of {}", kind.name()))?);
            progress::clear();
        }
        figures.push(figure);
    }
    figures.extend(latencies(launcher, kinds, keys, repeats, Disturbance::FullSync)?);
    Ok(figures)
}

/// What clients feel during a BGSAVE.
pub(super) fn bgsave(launcher: &Launcher, kinds: &[Kind], keys: u64, repeats: usize) -> Result<Vec<Figure>> {
    latencies(launcher, kinds, keys, repeats, Disturbance::Bgsave)
}

fn latencies(
    launcher: &Launcher,
    kinds: &[Kind],
    keys: u64,
    repeats: usize,
    disturbance: Disturbance,
) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (writes, rate) in [("no other load", None), ("20k SET/s beside", Some(MODERATE))] {
        let name = |when: &str| format!("worst latency, {when} {}, {writes}", disturbance.name());
        let mut quiet = Figure::new(name("before"), Unit::Millis);
        let mut disturbed = Figure::new(name("during"), Unit::Millis);
        for &kind in kinds {
            progress::show(&format!("latency of {} during {}, {writes}", kind.name(), disturbance.name()));
            let server = filled(launcher, kind, Place::Anywhere, NO_DELAY, keys)?;
            let writers = rate.map(|rate| Writers::start(server.port, keys, rate));
            let worst = worst_latencies(launcher, kind, &server, keys, repeats, disturbance)
                .with_context(|| format!("{} of {}", disturbance.name(), kind.name()))?;
            writers.map(Writers::finish).transpose()?;
            quiet.push(kind, worst.iter().map(|pair| millis(pair.0)).collect());
            disturbed.push(kind, worst.iter().map(|pair| millis(pair.1)).collect());
            progress::clear();
        }
        figures.extend([quiet, disturbed]);
    }
    Ok(figures)
}

/// Pairs of the worst latency in a quiet time and in an equally long disturbance that follows it.
fn worst_latencies(
    launcher: &Launcher,
    kind: Kind,
    server: &Server,
    keys: u64,
    repeats: usize,
    disturbance: Disturbance,
) -> Result<Vec<(Duration, Duration)>> {
    let probe = Probe::start(server.port, keys)?;
    let mut worst = Vec::new();
    // The first one is a rehearsal, which says how long the quiet time must be.
    let mut length = Duration::ZERO;
    for _ in 0..=repeats {
        probe.take_worst()?;
        sleep(length)?;
        let quiet = probe.take_worst()?;
        let (took, disturbed) = match disturbance {
            Disturbance::FullSync => {
                let replica = launcher.start(&Launch::of(kind, Place::LoadCore))?;
                // Starting the replica is no part of the disturbance.
                probe.take_worst()?;
                let took = follow(&replica, server)?;
                let worst = probe.take_worst()?;
                (took, worst)
            }
            Disturbance::Bgsave => (save(&mut server.client()?)?, probe.take_worst()?),
        };
        if length > Duration::ZERO {
            worst.push((quiet, disturbed));
        }
        length = took;
    }
    probe.finish()?;
    Ok(worst)
}

/// Starts a fresh replica of `primary` and returns how long its first synchronisation takes.
fn sync(launcher: &Launcher, kind: Kind, primary: &Server, keys: u64) -> Result<Duration> {
    let replica = launcher.start(&Launch::of(kind, Place::LoadCore))?;
    let took = follow(&replica, primary)?;
    let size = replica.client()?.call(&["DBSIZE"])?;
    ensure!(size == keys.to_string(), "the replica says that it is up, and holds {size} of {keys} keys");
    Ok(took)
}

/// Makes `replica` follow `primary` and returns how long it takes until its link is up.
pub(super) fn follow(replica: &Server, primary: &Server) -> Result<Duration> {
    let mut client = replica.client()?;
    let start = Instant::now();
    client.call(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()])?;
    until("the replica's link is up", Duration::from_millis(1), || {
        Ok(client.info("replication", "master_link_status")? == "up")
    })?;
    Ok(start.elapsed())
}

/// Runs one BGSAVE and returns how long it takes.
fn save(client: &mut Client) -> Result<Duration> {
    let start = Instant::now();
    client.call(&["BGSAVE"])?;
    until("BGSAVE is done", Duration::from_millis(5), || {
        Ok(client.info("persistence", "rdb_bgsave_in_progress")? == "0")
    })?;
    ensure!(client.info("persistence", "rdb_last_bgsave_status")? == "ok", "BGSAVE failed");
    Ok(start.elapsed())
}

/// Asks every `pause` until the answer is yes.
pub(super) fn until(what: &str, pause: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + COPIED_WITHIN;
    while !condition()? {
        interrupt::check()?;
        ensure!(Instant::now() < deadline, "waited {COPIED_WITHIN:?} until {what}");
        std::thread::sleep(pause);
    }
    Ok(())
}

/// Sleeps, in pieces that an interrupt can end.
pub(super) fn sleep(mut time: Duration) -> Result<()> {
    while !time.is_zero() {
        interrupt::check()?;
        let piece = time.min(Duration::from_millis(50));
        std::thread::sleep(piece);
        time -= piece;
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

//! What an attached replica adds to the CPU that a write costs its primary.
//!
//! Two servers of each kind take the same SETs in turn, one alone and one with a replica on the load generator's core.
//! The replica must keep up in the end: a round is only followed by the next once it has.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cases::{CLIENTS, SET_P16};
use super::load::{Bounds, Load};
use super::options::Effort;
use super::proc;
use super::progress;
use super::report::{Figure, Unit};
use super::server::{Kind, Launch, Launcher, Place, Server};
use super::stalls::{filled, follow, until};
use super::stats::Samples;

/// A replica that shares its core with the load may fall behind; it must not be dropped for that.
const PATIENT: &[&str] =
    &["--repl-diskless-sync-delay", "0", "--client-output-buffer-limit", "replica 0 0 0", "--repl-timeout", "600"];

struct Primary {
    server: Server,
    replica: Option<Server>,
    load: Load,
    cpu: Vec<f64>,
}

pub(super) fn cost(launcher: &Launcher, kinds: &[Kind], effort: &Effort) -> Result<Vec<Figure>> {
    let mut alone = Figure::new("CPU per SET at pipeline 16, alone".to_owned(), Unit::Nanos);
    let mut attached = Figure::new("CPU per SET at pipeline 16, with a replica".to_owned(), Unit::Nanos);
    let mut ratio = Figure::new("with a replica / alone".to_owned(), Unit::Times);
    let mut pairs = Vec::new();
    for &kind in kinds {
        pairs.push((
            kind,
            [Primary::start(launcher, kind, effort, false)?, Primary::start(launcher, kind, effort, true)?],
        ));
    }
    for round in 0..effort.rounds {
        progress::show(&format!("replica round {}/{}", round + 1, effort.rounds));
        for (kind, pair) in &mut pairs {
            // Whoever is measured first finds other caches than whoever comes second.
            pair.rotate_left(round % 2);
            for primary in &mut *pair {
                primary.round(effort).with_context(|| format!("replica of {}", kind.name()))?;
            }
            pair.rotate_left(round % 2);
        }
    }
    progress::clear();
    for (kind, pair) in pairs {
        let [without, with] = pair.map(|primary| primary.cpu.into_iter().collect::<Samples>());
        ratio.push(kind, with.over(&without));
        alone.push(kind, without);
        attached.push(kind, with);
    }
    Ok(vec![alone, attached, ratio])
}

impl Primary {
    fn start(launcher: &Launcher, kind: Kind, effort: &Effort, with_replica: bool) -> Result<Primary> {
        let server = filled(launcher, kind, Place::ServerCore, PATIENT, effort.keys)?;
        let replica = match with_replica {
            true => {
                let replica = launcher.start(&Launch { extra: PATIENT, ..Launch::of(kind, Place::LoadCore) })?;
                follow(&replica, &server)?;
                Some(replica)
            }
            false => None,
        };
        let load = Load::connect(&server.door, CLIENTS, SET_P16.pipeline, SET_P16.batch(effort.keys), SET_P16.reply)?;
        let primary = Primary { server, replica, load, cpu: Vec::new() };
        primary.each(Server::pause)?;
        Ok(primary)
    }

    fn round(&mut self, effort: &Effort) -> Result<()> {
        self.each(Server::resume)?;
        let bounds = Bounds { warmup: effort.warmup, window: effort.window, requests: u64::MAX };
        let pid = self.server.pid();
        self.cpu.push(self.load.measure(bounds, || proc::cpu(pid))?.cpu_nanos_per_request());
        if let Some(replica) = &self.replica {
            caught_up(&self.server, replica)?;
        }
        self.each(Server::pause)
    }

    fn each(&self, act: fn(&Server) -> Result<()>) -> Result<()> {
        act(&self.server)?;
        self.replica.as_ref().map_or(Ok(()), act)
    }
}

fn caught_up(primary: &Server, replica: &Server) -> Result<()> {
    let (mut primary, mut replica) = (primary.client()?, replica.client()?);
    until("the replica has caught up", Duration::from_millis(10), || {
        ensure!(replica.info("replication", "master_link_status")? == "up", "the replica lost its link");
        let written: u64 = primary.info("replication", "master_repl_offset")?.parse()?;
        let applied: u64 = replica.info("replication", "slave_repl_offset")?.parse()?;
        Ok(applied >= written)
    })
}

//! Server CPU per request, case by case.
//!
//! All servers of a case are up and filled from its start, and take turns: every round measures each of them once,
//! while the others are stopped. So whatever changes on the machine during the run, changes for all of them. Each case
//! starts fresh processes; no case pays for the memory that another has fragmented.

use std::time::Duration;

use anyhow::{Context, Result};

use super::cases::{Batch, CLIENTS, Case, Supply, Walk};
use super::instructions;
use super::load::{Bounds, Load, Window};
use super::options::Effort;
use super::proc;
use super::progress;
use super::server::{Kind, Launch, Launcher, Place, Server};
use super::stats::Samples;
use super::wire::Door;

/// A request with several values is long; this many of them at a time still fit a socket's buffer.
const FILL_PIPELINE: usize = 32;
const FILL_CLIENTS: usize = 8;

/// One server's figures in one case.
pub(super) struct Row {
    pub(super) case: &'static str,
    pub(super) kind: Kind,
    pub(super) requests_per_second: Samples,
    pub(super) cpu_nanos_per_request: Samples,
    /// The share of its core that the server used, and the load generator of its own.
    pub(super) busy: Samples,
    pub(super) load_busy: Samples,
    pub(super) instructions: Option<f64>,
}

struct Subject {
    kind: Kind,
    server: Server,
    load: Load,
    windows: Vec<Window>,
}

/// Measures one case on each kind of server.
pub(super) fn measure(
    launcher: &Launcher,
    case: &'static Case,
    kinds: &[Kind],
    effort: &Effort,
    count_instructions: bool,
) -> Result<Vec<Row>> {
    let mut subjects = Vec::new();
    // The floor knows nothing of encryption.
    for &kind in kinds.iter().filter(|kind| **kind != Kind::Floor || !case.encrypted) {
        let launch = Launch {
            reply: case.reply,
            extra: case.directives,
            encrypted: case.encrypted,
            ..Launch::of(kind, Place::ServerCore)
        };
        let server = launcher.start(&launch)?;
        fill(&server, kind, case, effort.keys).with_context(|| format!("fill {}", kind.name()))?;
        let load = Load::connect(&server.door, CLIENTS, case.pipeline, case.batch(effort.keys), case.reply)?;
        server.pause()?;
        subjects.push(Subject { kind, server, load, windows: Vec::new() });
    }
    for round in 0..effort.rounds {
        progress::show(&format!("{} round {}/{}", case.name, round + 1, effort.rounds));
        // Each server is the first of a round in turn.
        subjects.rotate_left(usize::from(round > 0));
        for subject in &mut subjects {
            subject.round(case, effort, round > 0).with_context(|| format!("{} {}", case.name, subject.kind.name()))?;
        }
    }
    progress::clear();
    subjects.sort_by_key(|subject| kinds.iter().position(|&kind| kind == subject.kind));
    let mut rows: Vec<Row> = subjects.iter().map(|subject| subject.row(case.name)).collect();
    drop(subjects);
    if count_instructions {
        for row in &mut rows {
            row.instructions = Some(instructions::per_request(launcher, case, row.kind)?);
        }
    }
    Ok(rows)
}

/// Makes a server hold what the case needs; the floor holds nothing.
pub(super) fn fill(server: &Server, kind: Kind, case: &Case, keys: u64) -> Result<()> {
    if kind == Kind::Floor || case.fill.is_empty() {
        return Ok(());
    }
    let keys = case.keys(keys);
    let batch = Batch::new(case.fill, FILL_PIPELINE, Walk::ascending(keys));
    Load::connect(&Door::plain(server.port), FILL_CLIENTS, FILL_PIPELINE, batch, case.fill_reply)?.exactly(keys)
}

impl Subject {
    fn round(&mut self, case: &Case, effort: &Effort, again: bool) -> Result<()> {
        self.server.resume()?;
        if again && case.supply != Supply::Steady && self.kind != Kind::Floor {
            self.server.client()?.call(&["FLUSHALL"])?;
            fill(&self.server, self.kind, case, effort.keys)?;
        }
        let requests = case.requests(effort.keys);
        let bounds = Bounds { warmup: effort.warmup, window: effort.window, requests };
        let pid = self.server.pid();
        self.windows.push(self.load.measure(bounds, || proc::cpu(pid))?);
        self.server.pause()
    }

    fn row(&self, case: &'static str) -> Row {
        let each = |figure: fn(&Window) -> f64| self.windows.iter().map(figure).collect::<Samples>();
        Row {
            case,
            kind: self.kind,
            requests_per_second: each(|window| window.requests as f64 / window.elapsed.as_secs_f64()),
            cpu_nanos_per_request: each(Window::cpu_nanos_per_request),
            busy: each(|window| share(window.server_cpu, window.elapsed)),
            load_busy: each(|window| share(window.load_cpu, window.elapsed)),
            instructions: None,
        }
    }
}

impl Window {
    pub(super) fn cpu_nanos_per_request(&self) -> f64 {
        self.server_cpu.as_nanos() as f64 / self.requests as f64
    }
}

fn share(cpu: Duration, elapsed: Duration) -> f64 {
    cpu.as_secs_f64() / elapsed.as_secs_f64()
}

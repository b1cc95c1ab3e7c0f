//! Instructions per request: the one figure that a noisy machine does not disturb.
//!
//! Where the CPU's counter is available (`perf stat -e instructions`), it counts user and kernel code of the running
//! server. Elsewhere, as in most virtual machines, callgrind counts the server's user code; the kernel's part is then
//! missing, but for comparing two builds of one server it is the part that matters. Either way the server is idle
//! but for the counted requests, so the count is divided by an exact number.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal};

use super::cases::{CLIENTS, Case};
use super::load::Load;
use super::progress;
use super::server::{Kind, Launch, Launcher, Place, Server};
use super::throughput;

/// Enough keys to leave the caches, few enough to be filled under an emulator.
const KEYS: u64 = 100_000;
const COUNTED: u64 = 100_000;
/// Grows buffers and reaches the steady state.
const UNCOUNTED: u64 = 20_000;

/// How instructions can be counted on this machine.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Counter {
    Perf,
    Callgrind,
}

impl Counter {
    /// What it counts, for the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Counter::Perf => "user and kernel code, by the CPU's counter",
            Counter::Callgrind => "user code only, by callgrind",
        }
    }
}

/// The best that works here.
pub(super) fn counter() -> Result<Counter> {
    let perf = Command::new("perf").args(["stat", "-x,", "-e", "instructions", "true"]).output();
    if perf.is_ok_and(|output| output.status.success() && counted(&output.stderr).is_some()) {
        return Ok(Counter::Perf);
    }
    let valgrind = Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success());
    ensure!(valgrind, "counting instructions needs perf with a hardware counter, or valgrind");
    Ok(Counter::Callgrind)
}

/// The instructions that `kind` spends on one request of `case`.
pub(super) fn per_request(launcher: &Launcher, case: &Case, kind: Kind) -> Result<f64> {
    progress::show(&format!("{} {} instructions", case.name, kind.name()));
    let instructions = match counter()? {
        Counter::Perf => count_with_perf(launcher, case, kind),
        Counter::Callgrind => {
            let scratch = tempfile::Builder::new().prefix("quorate-bench-").tempdir()?;
            run_in_callgrind(launcher, case, kind, scratch.path()).and_then(|()| total(scratch.path()))
        }
    };
    progress::clear();
    Ok(instructions? as f64 / requests(case) as f64)
}

/// How many requests are counted: a popping case ends before its lists do.
fn requests(case: &Case) -> u64 {
    COUNTED.min(case.requests(KEYS) - UNCOUNTED)
}

fn count_with_perf(launcher: &Launcher, case: &Case, kind: Kind) -> Result<u64> {
    let (server, mut load) = prepare(launcher, case, kind, &[])?;
    let mut perf = Command::new("perf");
    perf.args(["stat", "-x,", "-e", "instructions", "-p", &server.pid().to_string()]);
    let perf = perf.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("start perf")?;
    // perf does not say when it has attached; an idle server costs nothing while it does.
    std::thread::sleep(Duration::from_millis(300));
    load.exactly(requests(case))?;
    rustix::process::kill_process(Pid::from_child(&perf), Signal::INT)?;
    let output = perf.wait_with_output()?;
    counted(&output.stderr).with_context(|| format!("perf said {}", String::from_utf8_lossy(&output.stderr)))
}

/// The count in the output of `perf stat -x,`, if the event is supported.
fn counted(output: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(output);
    text.lines().find(|line| line.contains("instructions"))?.split(',').next()?.parse().ok()
}

/// Runs the case with the server under callgrind, which counts nothing but the counted requests, and leaves its
/// output in `scratch`.
pub(super) fn run_in_callgrind(launcher: &Launcher, case: &Case, kind: Kind, scratch: &Path) -> Result<()> {
    let out = format!("--callgrind-out-file={}/callgrind.out", scratch.display());
    let under = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", &out];
    let (server, mut load) = prepare(launcher, case, kind, &under)?;
    control(&server, "--instr=on")?;
    load.exactly(requests(case))?;
    control(&server, "--instr=off")?;
    control(&server, "--dump")
}

fn control(server: &Server, order: &str) -> Result<()> {
    let output = Command::new("callgrind_control").args([order, &server.pid().to_string()]).output()?;
    ensure!(output.status.success(), "callgrind_control {order}: {}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

fn prepare(launcher: &Launcher, case: &Case, kind: Kind, under: &[&str]) -> Result<(Server, Load)> {
    let launch = Launch {
        reply: case.reply,
        extra: case.directives,
        under,
        encrypted: case.encrypted,
        ..Launch::of(kind, Place::ServerCore)
    };
    let server = launcher.start(&launch)?;
    throughput::fill(&server, kind, case, KEYS)?;
    let mut load = Load::connect(&server.door, CLIENTS, case.pipeline, case.batch(KEYS), case.reply)?;
    load.exactly(UNCOUNTED)?;
    Ok((server, load))
}

/// The sum over all dumps and threads in a directory of callgrind's output.
fn total(scratch: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(scratch)? {
        let text = String::from_utf8_lossy(&fs::read(entry?.path())?).into_owned();
        let totals = text.lines().filter_map(|line| line.strip_prefix("totals: "));
        total += totals.filter_map(|count| count.trim().parse::<u64>().ok()).sum::<u64>();
    }
    ensure!(total > 0, "callgrind has counted nothing");
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsupported_counter_counts_nothing() {
        assert_eq!(counted(b"7,,cycles,1000,100.00,,\n123456,,instructions,1000,100.00,,\n"), Some(123_456));
        assert_eq!(counted(b"<not supported>,,instructions,0,100.00,,\n"), None);
        assert_eq!(counted(b""), None);
    }
}

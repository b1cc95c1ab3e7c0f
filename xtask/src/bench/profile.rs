//! `cargo xtask profile CASE`: where a server spends its time, or its instructions, under one case.
//!
//! perf samples the running server where it works; else, or on request, callgrind counts instructions of user code.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cases::{self, CLIENTS, Case};
use super::instructions;
use super::load::{Bounds, Load};
use super::options::ProfileOptions;
use super::proc;
use super::server::{Launch, Launcher, Place};
use super::throughput;

/// Samples per second; a prime, so as not to march in step with anything periodic.
const FREQUENCY: &str = "997";

pub(super) fn run(launcher: &Launcher, options: &ProfileOptions) -> Result<()> {
    let case = cases::find(&options.case)?;
    let scratch = tempfile::Builder::new().prefix("quorate-bench-").tempdir()?;
    if !options.callgrind && perf_records(scratch.path()) {
        return sample(launcher, case, options, scratch.path());
    }
    instructions::run_in_callgrind(launcher, case, options.on, scratch.path())?;
    for entry in fs::read_dir(scratch.path())? {
        let output = Command::new("callgrind_annotate").arg(entry?.path()).output().context("callgrind_annotate")?;
        print_rows(&output.stdout, options.top, |line| line.contains('%'));
    }
    Ok(())
}

fn perf_records(scratch: &Path) -> bool {
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-F", FREQUENCY, "-o"]).arg(scratch.join("trial")).arg("true");
    perf.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn sample(launcher: &Launcher, case: &Case, options: &ProfileOptions, scratch: &Path) -> Result<()> {
    let launch = Launch {
        reply: case.reply,
        extra: case.directives,
        encrypted: case.encrypted,
        ..Launch::of(options.on, Place::ServerCore)
    };
    let server = launcher.start(&launch)?;
    throughput::fill(&server, options.on, case, options.keys)?;
    let mut load = Load::connect(&server.door, CLIENTS, case.pipeline, case.batch(options.keys), case.reply)?;
    let data = scratch.join("data");
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-F", FREQUENCY, "-p", &server.pid().to_string(), "-o"]).arg(&data);
    perf.args(["--", "sleep", &options.seconds.to_string()]).stdout(Stdio::null());
    let mut perf = perf.spawn().context("start perf")?;
    let requests = case.requests(options.keys);
    let window = Duration::try_from_secs_f64(options.seconds).context("--seconds")?;
    let pid = server.pid();
    let measured = load.measure(Bounds { warmup: Duration::from_millis(100), window, requests }, || proc::cpu(pid))?;
    ensure!(perf.wait()?.success(), "perf record failed");
    println!("{} on {}: {:.0} CPU ns/request", case.name, options.on.name(), measured.cpu_nanos_per_request());
    let mut report = Command::new("perf");
    report.args(["report", "--stdio", "--no-children", "-F", "overhead,dso,symbol", "-i"]).arg(&data);
    let output = report.stderr(Stdio::null()).output().context("perf report")?;
    print_rows(&output.stdout, options.top, |line| !line.trim().is_empty() && !line.starts_with('#'));
    Ok(())
}

fn print_rows(output: &[u8], top: usize, is_row: fn(&str) -> bool) {
    for row in String::from_utf8_lossy(output).lines().filter(|line| is_row(line)).take(top) {
        println!("{}", row.trim_end());
    }
}

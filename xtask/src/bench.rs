//! `cargo xtask bench` and `cargo xtask profile`: Quorate beside Redis, and beside a server that does nothing.
//!
//! The figure that counts is the server's CPU per request, as a ratio taken in the same run: to Redis, and to the
//! *floor*, an epoll server that does the network's work only (`floor.rs`). Time on the clock depends on the machine
//! and on who else uses it, CPU time much less, a ratio of two CPU times hardly. The servers take turns on one core,
//! while the load generator has another one (`throughput.rs`, `load.rs`). Beside that stand the figures that throughput
//! does not show: memory (`memory.rs`), stalls (`stalls.rs`), the cost of a replica (`replica.rs`) and of a message to many
//! (`fanout.rs`).
//!
//! It is not a tester of correctness: replies are checked as far as needed to know that the work was done.

mod cases;
mod client;
mod fanout;
mod floor;
mod instructions;
mod interrupt;
mod load;
mod memory;
mod options;
mod probe;
mod proc;
mod profile;
mod progress;
mod replica;
mod report;
mod server;
mod stalls;
mod stats;
mod throughput;
mod wire;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use self::cases::CASES;
use self::options::{Binaries, Effort, Options, ProfileOptions};
use self::report::Report;
use self::server::{Cores, Kind, Launcher, Place};

/// What is measured beside the throughput cases, with the name by which `--case` asks for it.
const SCENARIOS: &[(&str, &str)] = &[
    ("memory", "resident bytes per key"),
    ("sync", "time of a full sync, and latency during it"),
    ("bgsave", "latency during BGSAVE"),
    ("snapshot-memory", "extra memory of BGSAVE under full write load"),
    ("replica", "CPU that an attached replica adds to a write"),
    ("fanout", "CPU that a message to each of 100 subscribers costs"),
];

/// Runs `bench ARGS`; `bench floor` and `bench profile` are the floor server and the profiler.
pub(crate) fn run(args: &[String]) -> Result<()> {
    match args.first().map(String::as_str) {
        Some("floor") => return floor::run(&args[1..]),
        Some("profile") => return profile(&args[1..]),
        _ => {}
    }
    let options = Options::parse_from(args);
    if options.list {
        for case in CASES {
            println!("{:<16} CPU per request, pipeline {}", case.name, case.pipeline);
        }
        for (name, what) in SCENARIOS {
            println!("{name:<16} {what}");
        }
        return Ok(());
    }
    options.cases.iter().try_for_each(|name| known(name))?;
    let report = measure(&options)?;
    print!("{}", report.text());
    if let Some(path) = &options.json {
        fs::write(path, format!("{:#}\n", report.json())).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Runs `profile ARGS`.
pub(crate) fn profile(args: &[String]) -> Result<()> {
    let options = ProfileOptions::parse_from(args);
    let launcher = launcher(&options.binaries, &[options.on])?;
    profile::run(&launcher, &options)
}

fn known(name: &str) -> Result<()> {
    match SCENARIOS.iter().any(|scenario| scenario.0 == name) {
        true => Ok(()),
        false => cases::find(name).map(|_| ()).with_context(|| {
            let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.0).collect();
            format!("{name:?} is no scenario either; there are {}", names.join(", "))
        }),
    }
}

fn measure(options: &Options) -> Result<Report> {
    let (kinds, effort) = (options.kinds(), options.effort()?);
    let launcher = launcher(&options.binaries, &kinds)?;
    let wanted = |name: &str| options.cases.is_empty() || options.cases.iter().any(|case| case == name);
    let mut report = Report { setting: setting(&launcher, &kinds, &effort), ..Report::default() };
    if options.instructions {
        report.setting.push(("instructions", instructions::counter()?.name().to_owned()));
    }
    for case in CASES.iter().filter(|case| wanted(case.name)) {
        report.rows.extend(throughput::measure(&launcher, case, &kinds, &effort, options.instructions)?);
    }
    // The floor holds no data.
    let kinds: Vec<Kind> = kinds.into_iter().filter(|&kind| kind != Kind::Floor).collect();
    let (keys, repeats) = (effort.keys, effort.rounds);
    for (name, _) in SCENARIOS.iter().filter(|scenario| wanted(scenario.0)) {
        report.figures.extend(match *name {
            "memory" => memory::per_key(&launcher, &kinds, keys)?,
            "sync" => stalls::full_sync(&launcher, &kinds, keys, repeats)?,
            "bgsave" => stalls::bgsave(&launcher, &kinds, keys, repeats)?,
            "snapshot-memory" => memory::during_snapshot(&launcher, &kinds, keys, repeats)?,
            "replica" => replica::cost(&launcher, &kinds, &effort)?,
            "fanout" => fanout::cost(&launcher, &kinds, &effort)?,
            other => unreachable!("SCENARIOS lists {other}"),
        });
    }
    Ok(report)
}

/// Finds the programs, takes the cores, and moves this thread to the load generator's.
fn launcher(binaries: &Binaries, kinds: &[Kind]) -> Result<Launcher> {
    let quorate = match &binaries.server {
        Some(path) => std::path::absolute(path).with_context(|| format!("find {}", path.display()))?,
        None if kinds.contains(&Kind::Quorate) => build()?,
        None => PathBuf::new(),
    };
    interrupt::watch()?;
    let cores = Cores::choose(binaries.cores.map(|pair| (pair.0, pair.1)))?;
    cores.move_to(Place::LoadCore)?;
    Ok(Launcher { quorate, redis: binaries.redis.clone(), threads: binaries.threads, append: binaries.append, cores })
}

/// Builds the release binary, in the target directory that this program was built in.
fn build() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe.ancestors().nth(2).context("xtask does not run from a target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--package", "quorate-server", "--target-dir"]).arg(target);
    ensure!(build.status().context("start cargo")?.success(), "the release build failed");
    let binary = target.join("release").join("quorate");
    if !binary.exists() {
        bail!(
            "there is no {} after the build; name a server with --server, or leave ours out with --only redis,floor",
            binary.display()
        );
    }
    Ok(binary)
}

/// What a reader must know to judge the figures.
fn setting(launcher: &Launcher, kinds: &[Kind], effort: &Effort) -> Vec<(&'static str, String)> {
    let kernel = rustix::system::uname();
    let mut setting = vec![
        ("machine", format!("{}, {} cores", cpu_model(), launcher.cores.count())),
        ("kernel", format!("{} {}", kernel.sysname().to_string_lossy(), kernel.release().to_string_lossy())),
    ];
    // Others who use the cores disturb wall-clock figures most, and everything a little.
    let busy = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    setting.push(("load average before", busy.split(' ').take(2).collect::<Vec<_>>().join(" ")));
    if kinds.contains(&Kind::Redis) {
        setting.push(("redis", version(&launcher.redis)));
    }
    if kinds.contains(&Kind::Quorate) {
        let threads = launcher.threads.map_or(String::new(), |threads| format!(", --network-threads {threads}"));
        setting.push(("quorate", format!("{}{threads}", version(&launcher.quorate))));
    }
    if launcher.append != options::Append::No {
        setting.push(("append-only file", launcher.append.arguments().join(" ")));
    }
    let method = format!(
        "{} clients, {} keys of 16 bytes, values of {} bytes; median of {} rounds of {:?}, range or (greatest - least) \
         / median beside it",
        cases::CLIENTS,
        effort.keys,
        cases::VALUE_LEN,
        effort.rounds,
        effort.window
    );
    setting.push(("method", method));
    setting
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// What `--version` says, without what only its builder cares about.
fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let words: Vec<&str> = text.lines().next().unwrap_or_default().split(' ').collect();
    let builders = ["sha=", "malloc=", "bits=", "build="];
    let words: Vec<&str> =
        words.into_iter().filter(|word| !builders.iter().any(|mark| word.starts_with(mark))).collect();
    let name = program.file_name().unwrap_or(OsStr::new("?")).to_string_lossy().into_owned();
    if words.concat().is_empty() { format!("{name}, version unknown") } else { words.join(" ") }
}

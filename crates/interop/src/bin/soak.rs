//! `cargo xtask soak`: a day of a server, compressed, and whether it stayed flat.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quorate_interop::soak::{Plan, run};

/// A day of a server, compressed: mixed load with expiry, eviction, rewrites, saves, replicas that join and leave.
#[derive(Parser)]
#[command(name = "cargo xtask soak")]
struct Options {
    /// How long the load lasts, minutes.
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// `maxmemory` of the primary, MiB.
    #[arg(long, default_value_t = 64)]
    memory: u64,
    /// The longest value, bytes.
    #[arg(long, default_value_t = 400)]
    longest: u64,
    /// Requests a second.
    #[arg(long, default_value_t = 8000)]
    pace: u64,
    /// What all dice begin with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let Options { minutes, memory, longest, pace, seed } = Options::parse();
    let lasts = Duration::from_secs_f64(minutes.clamp(0.1, 1e6) * 60.0);
    let plan = Plan { lasts, max_memory: memory << 20, longest, pace: pace.max(100), seed };
    let outcome = run(&plan, |sample| println!("{sample}"));
    println!("\n{} requests were answered", outcome.answered);
    for (name, figure) in &outcome.figures {
        println!("{name}: {figure}");
    }
    let is_equal = outcome.digests.iter().all(|digest| *digest == outcome.digests[0]);
    println!("digests of the primary, two replicas, and the primary started again: {}", outcome.digests.join(" "));
    println!("equal: {}\n{}", if is_equal { "yes" } else { "NO" }, outcome.verdict);
    if is_equal && outcome.verdict.is_flat() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

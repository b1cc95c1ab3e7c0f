//! `cargo xtask faults`: plays real network faults through and prints what came of them.

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser};
use quorate_interop::faults::{are_possible, cluster, sentinel};

/// Real network faults, one host a node, in network namespaces that are made for it and removed.
#[derive(Parser)]
#[command(name = "cargo xtask faults")]
enum Options {
    /// A primary, two replicas and three Sentinels.
    Sentinel {
        /// Only these faults; all without any.
        #[arg(value_parser = PossibleValuesParser::new(sentinel::CASES.map(|case| case.name)))]
        faults: Vec<String>,
        /// `down-after-milliseconds` of the Sentinels.
        #[arg(long, default_value_t = 1000)]
        down_after: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Three primaries of a cluster and a replica of each.
    Cluster {
        /// Only these faults; all without any.
        #[arg(value_parser = PossibleValuesParser::new(cluster::CASES.map(|case| case.name)))]
        faults: Vec<String>,
        /// `cluster-node-timeout`; the default for faults that are seen at once, and 1000 for silent ones, without it.
        #[arg(long)]
        node_timeout: Option<u64>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
struct Common {
    /// How often each is played.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long a fault lasts that ends by itself, seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Plays what was chosen of the cases; the rows, and whether each run came to its end.
fn play<C, R: std::fmt::Debug>(
    cases: &[C],
    chosen: &[String],
    runs: usize,
    describe: impl Fn(&C) -> (&'static str, &'static str),
    run: impl Fn(&C) -> Result<R, String>,
) -> (Vec<R>, bool) {
    let (mut rows, mut is_whole) = (Vec::new(), true);
    for case in cases {
        let (name, what) = describe(case);
        if !chosen.is_empty() && !chosen.iter().any(|one| one == name) {
            continue;
        }
        eprintln!("{name}: {what}");
        for number in 1..=runs {
            match run(case) {
                Ok(row) => {
                    eprintln!("  run {number}: {row:?}");
                    rows.push(row);
                }
                Err(why) => {
                    is_whole = false;
                    eprintln!("  run {number}: FAILED {why}");
                }
            }
        }
    }
    (rows, is_whole)
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !are_possible() {
        return ExitCode::SUCCESS;
    }
    let is_whole = match options {
        Options::Sentinel { faults, down_after, common } => {
            let length = Duration::from_secs(common.seconds);
            let plan = sentinel::Plan { down_after: Duration::from_millis(down_after), length };
            let describe = |case: &sentinel::Case| (case.name, case.what);
            let run = |case: &sentinel::Case| sentinel::run(case, &plan);
            let (rows, is_whole) = play(&sentinel::CASES, &faults, common.runs, describe, run);
            println!("down-after {down_after} ms; a fault that ends by itself lasts {} s\n", common.seconds);
            print!("{}", sentinel::table(&rows));
            is_whole
        }
        Options::Cluster { faults, node_timeout, common } => {
            let length = Duration::from_secs(common.seconds);
            let plan = cluster::Plan { node_timeout: node_timeout.map(Duration::from_millis), length };
            let describe = |case: &cluster::Case| (case.name, case.what);
            let run = |case: &cluster::Case| cluster::run(case, &plan);
            let (rows, is_whole) = play(&cluster::CASES, &faults, common.runs, describe, run);
            println!("three primaries, a replica of each; a fault that ends by itself lasts {} s\n", common.seconds);
            print!("{}", cluster::table(&rows));
            is_whole
        }
    };
    if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

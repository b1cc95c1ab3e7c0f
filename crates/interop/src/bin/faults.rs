//! `cargo xtask faults`: plays real network faults through and prints what came of them.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quorate_interop::faults::{CASES, Plan, are_possible, run, table};

/// Real network faults, one host a node, in network namespaces that are made for it and removed.
#[derive(Parser)]
#[command(name = "cargo xtask faults sentinel")]
struct Options {
    /// Only these faults; all without any.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(CASES.map(|case| case.name)))]
    faults: Vec<String>,
    /// How often each is played.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// `down-after-milliseconds` of the Sentinels.
    #[arg(long, default_value_t = 1000)]
    down_after: u64,
    /// How long a fault lasts that ends by itself, seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !are_possible() {
        return ExitCode::SUCCESS;
    }
    let plan =
        Plan { down_after: Duration::from_millis(options.down_after), length: Duration::from_secs(options.seconds) };
    let chosen =
        CASES.iter().filter(|case| options.faults.is_empty() || options.faults.iter().any(|name| name == case.name));
    let (mut rows, mut failed) = (Vec::new(), false);
    for case in chosen {
        eprintln!("{}: {}", case.name, case.what);
        for number in 1..=options.runs {
            match run(case, &plan) {
                Ok(row) => {
                    eprintln!("  run {number}: {row:?}");
                    rows.push(row);
                }
                Err(why) => {
                    failed = true;
                    eprintln!("  run {number}: FAILED {why}");
                }
            }
        }
    }
    println!("down-after {} ms; a fault that ends by itself lasts {} s\n", options.down_after, options.seconds);
    print!("{}", table(&rows));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

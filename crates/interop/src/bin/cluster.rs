//! `cargo xtask cluster idle`: what a cluster costs while nobody uses it, ours and Redis' side by side.

use std::time::Duration;

use clap::Parser;
use quorate_interop::idle::{measure, table};

/// What a cluster costs while nobody uses it.
#[derive(Parser)]
struct Options {
    /// Nodes of each make, half of them replicas.
    #[arg(long, default_value_t = 30)]
    nodes: usize,
    /// How long it is measured, seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

fn main() {
    let Options { nodes, seconds } = Options::parse();
    let costs = measure(nodes, Duration::from_secs(seconds));
    println!("{nodes} nodes of each make, idle for {seconds} s at default settings\n");
    print!("{}", table(&costs));
}

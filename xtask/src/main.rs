//! The repository's own tools: `cargo xtask <command>`.
//!
//! Each command is a module with its options, and does its work on the repository that it was built in. Nothing here is
//! part of the product, and no crate of the product depends on it.

mod bench;
mod ci;
mod cluster;
mod compat;
mod faults;
mod fuzz;
mod markdown;
mod package;
mod peers;
mod process;
mod sbom;
mod soak;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The repository's own tools")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything that must hold before a change is merged.
    Ci,
    Peers(peers::Options),
    Tidy(tidy::Options),
    Compat(compat::Options),
    Faults(faults::Options),
    Cluster(cluster::Options),
    Fuzz(fuzz::Options),
    Package(package::Options),
    Sbom(sbom::Options),
    Soak(soak::Options),
    /// Measures Quorate beside Redis (cargo xtask bench --help).
    #[command(disable_help_flag = true)]
    Bench(Rest),
    /// Shows where a server spends its time (cargo xtask profile --help).
    #[command(disable_help_flag = true)]
    Profile(Rest),
}

/// Words that the command reads itself.
#[derive(clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

fn main() -> ExitCode {
    run(Line::parse().command).unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Ci => ci::run(),
        Command::Peers(options) => peers::run(&options),
        Command::Tidy(options) => tidy::run(&options),
        Command::Compat(options) => compat::run(&options),
        Command::Faults(options) => faults::run(&options),
        Command::Cluster(options) => cluster::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Package(options) => package::run(&options),
        Command::Sbom(options) => sbom::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Bench(rest) => bench::run(&rest.words).map(|()| ExitCode::SUCCESS),
        Command::Profile(rest) => bench::profile(&rest.words).map(|()| ExitCode::SUCCESS),
    }
}

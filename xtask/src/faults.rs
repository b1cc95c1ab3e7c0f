//! `cargo xtask faults`: what real network faults cost, on hosts of their own (`crates/interop/src/faults.rs`).
//!
//! It needs network namespaces, for which one has to be root. Without the privilege it says so and does nothing else.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Plays the faults of a strategy through.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Whose.
    strategy: Strategy,
    /// Names of faults, `--runs`, `--seconds`, `--down-after` or `--node-timeout`; `-- --help` tells of them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Strategy {
    Sentinel,
    Cluster,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let strategy = match options.strategy {
        Strategy::Sentinel => "sentinel",
        Strategy::Cluster => "cluster",
    };
    let built = workspace::cargo().args(["build", "--quiet", "--package", "quorate-server"]).status();
    ensure!(built.context("build the server")?.success(), "the server can't be built");
    let mut play = workspace::cargo();
    play.args(["run", "--quiet", "--package", "quorate-interop", "--bin", "faults", "--", strategy])
        .args(&options.words);
    if std::env::var_os("QUORATE_BINARY").is_none() {
        play.env("QUORATE_BINARY", workspace::built(&workspace::metadata()?)?.join("debug/quorate"));
    }
    let ended = play.status().context("play the faults")?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

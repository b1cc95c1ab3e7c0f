//! `cargo xtask cluster`: figures of the cluster, each from one command.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::workspace::{self, cargo};

/// Measures the cluster.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// What a node costs while nobody uses the cluster, beside Redis.
    Idle {
        /// Nodes of each make, half of them replicas.
        #[arg(long, default_value_t = 30)]
        nodes: usize,
        /// How long it is measured, seconds.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// How a large simulated cluster agrees on a failure, and settles after a third of it was cut off.
    Large {
        /// How many nodes.
        #[arg(long, default_value_t = 1000)]
        nodes: usize,
        /// Where the plot goes, instead of below target/.
        #[arg(long)]
        svg: Option<PathBuf>,
    },
    /// How fast slots move while clients write to them, beside redis-cli between two real nodes, and what the clients notice.
    Moves {
        /// How many keys.
        #[arg(long, default_value_t = 300_000)]
        keys: usize,
        /// Writes a second.
        #[arg(long, default_value_t = 30_000)]
        rate: usize,
    },
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let command = match &options.what {
        What::Idle { nodes, seconds } => {
            let mut command = cargo();
            command.args(["run", "--quiet", "--release", "--package", "quorate-interop", "--bin", "cluster", "--"]);
            command.args(["--nodes", &nodes.to_string(), "--seconds", &seconds.to_string()]);
            with_server(command)?
        }
        What::Large { nodes, svg } => {
            let svg = match svg {
                Some(path) => std::path::absolute(path)?,
                None => workspace::scratch("cluster")?.join("large.svg"),
            };
            let mut command = cargo();
            command.env("SIM_NODES", nodes.to_string()).env("SIM_SVG", &svg);
            let test = "a_large_cluster_agrees_on_a_failure_and_settles_after_a_cut";
            command.args(["test", "--quiet", "--release", "--package", "quorate-cluster", "--lib", test]);
            command.args(["--", "--nocapture"]);
            command
        }
        What::Moves { keys, rate } => {
            let mut command = cargo();
            command.env("MIGRATION_KEYS", keys.to_string()).env("MIGRATION_RATE", rate.to_string());
            command.args(["test", "--quiet", "--release", "--package", "quorate-interop"]);
            command.args(["--test", "cluster_migration_speed", "--", "--nocapture", "--test-threads", "1"]);
            with_server(command)?
        }
    };
    finish(command)
}

/// Lets a command use a release build of the server.
fn with_server(mut command: Command) -> Result<Command> {
    if std::env::var_os("QUORATE_BINARY").is_none() {
        let built = cargo().args(["build", "--quiet", "--release", "--package", "quorate-server"]).status();
        ensure!(built.context("build the server")?.success(), "the server can't be built");
        command.env("QUORATE_BINARY", workspace::built(&workspace::metadata()?)?.join("release/quorate"));
    }
    Ok(command)
}

fn finish(mut command: Command) -> Result<ExitCode> {
    let ended = command.status().with_context(|| format!("start {command:?}"))?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

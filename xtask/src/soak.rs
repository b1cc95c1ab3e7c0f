//! `cargo xtask soak`: a day of a server, compressed (`crates/interop/src/soak.rs`).

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Plays a compressed day of a server through, and says whether memory and latency have stayed flat.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Measure this server; by default a debug build of this workspace.
    #[arg(long, value_name = "PATH")]
    server: Option<std::path::PathBuf>,
    /// How long the load lasts, minutes.
    #[arg(long, default_value = "20")]
    minutes: String,
    /// `--memory`, `--pace` or `--seed`; `-- --help` tells of them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let server = match &options.server {
        Some(path) => std::path::absolute(path).with_context(|| format!("find {}", path.display()))?,
        None => {
            let built = workspace::cargo().args(["build", "--quiet", "--package", "quorate-server"]).status();
            ensure!(built.context("build the server")?.success(), "the server can't be built");
            workspace::built(&workspace::metadata()?)?.join("debug/quorate")
        }
    };
    let mut play = workspace::cargo();
    play.args(["run", "--quiet", "--package", "quorate-interop", "--bin", "soak", "--", "--minutes", &options.minutes])
        .args(&options.words)
        .env("QUORATE_BINARY", server);
    let ended = play.status().context("play the day through")?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

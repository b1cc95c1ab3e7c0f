//! `quorate demo`: what Quorate is for, shown on real processes.
//!
//! The demonstration is a client like any other: it starts servers as child processes and knows only the documented
//! commands (REPLICAOF, INFO, WAIT, SET, MGET, SENTINEL). So it shows what an operator would see, and shows it of any server that
//! speaks the protocol (`--binary redis-server`).

mod board;
mod cluster;
mod interrupt;
mod lane;
mod node;
mod redlock;
mod replication;
mod screen;
mod sentinel;
mod view;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

#[derive(Parser)]
#[command(
    name = "quorate demo",
    about = "Shows on real processes what Quorate is for",
    after_help = "Examples:\n  \
                  quorate demo                         a cluster loses a primary, and gets two more nodes\n  \
                  quorate demo sentinel                a primary dies under load, and another takes its place\n  \
                  quorate demo redlock --seconds 10    a lock of five servers, while they die and hang\n  \
                  quorate demo replication --keep      leaves the survivors running"
)]
struct Demo {
    /// Which; a cluster's, unless it is said.
    #[command(subcommand)]
    which: Option<Which>,
}

#[derive(clap::Subcommand)]
enum Which {
    /// Kills a primary of a cluster under load, and lets two more nodes join; shows how long writes to which slots paused.
    #[command(after_help = "Examples:\n  \
        quorate demo cluster --dashboard 7379              watch it at http://127.0.0.1:7379\n  \
        quorate demo cluster --binary redis-server         the same with another server")]
    Cluster(Options),
    #[command(after_help = "Examples:\n  \
        quorate demo replication --dashboard 7379          watch it at http://127.0.0.1:7379\n  \
        quorate demo replication --binary redis-server     the same with another server")]
    Replication(Options),
    /// Kills a primary that three Sentinels watch, under load, and shows how another takes its place.
    #[command(after_help = "Examples:\n  \
        quorate demo sentinel --dashboard 7379             watch it at http://127.0.0.1:7379\n  \
        quorate demo sentinel --seconds 30 --keep          under load for longer, and the survivors stay")]
    Sentinel(Options),
    #[command(after_help = "Examples:\n  \
        quorate demo redlock --dashboard 7379              watch it at http://127.0.0.1:7379\n  \
        quorate demo redlock --binary valkey-server        the same with other servers")]
    Redlock(RedlockOptions),
}

/// Kills a primary under load, promotes its best replica and counts the acknowledged writes that were lost.
#[derive(clap::Args)]
struct Options {
    /// Leaves the servers running and says how to connect.
    #[arg(long)]
    keep: bool,
    /// The server to show, instead of this program: redis-server and valkey-server are started as such.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Serves the dashboard at this port meanwhile.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = board::PORT)]
    dashboard: Option<u16>,
    /// How long the writes go on before the primary dies, and after.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

impl Options {
    /// The program whose servers are shown.
    fn program(&self) -> Result<PathBuf> {
        match &self.binary {
            Some(path) => Ok(path.clone()),
            None => std::env::current_exe().context("find this program"),
        }
    }
}

/// Lets eight contenders share a file under a lock of five servers that die, hang and come back empty; counts violations.
#[derive(clap::Args)]
struct RedlockOptions {
    /// The server to show, instead of this program: redis-server and valkey-server are started as such.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Serves the dashboard at this port meanwhile.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = board::PORT)]
    dashboard: Option<u16>,
    /// How long each part lasts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

/// What `quorate demo` understands.
pub fn command() -> clap::Command {
    <Demo as clap::CommandFactory>::command()
}

/// Runs the demonstration that the words after `demo` name. Succeeds if no acknowledged write was lost, and no
/// lock was held twice.
pub fn run(words: &[String]) -> ExitCode {
    let line = ["quorate demo"].into_iter().chain(words.iter().map(String::as_str));
    let demo = match Demo::try_parse_from(line) {
        Ok(demo) => demo,
        Err(error) => {
            // Nobody is left to tell if this cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let which =
        demo.which.unwrap_or(Which::Cluster(Options { keep: false, binary: None, dashboard: None, seconds: 3 }));
    let shown = interrupt::listen().and_then(|()| match which {
        Which::Cluster(options) => cluster::show(&options),
        Which::Replication(options) => replication::show(&options),
        Which::Sentinel(options) => sentinel::show(&options),
        Which::Redlock(options) => redlock::show(&options),
    });
    match shown {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

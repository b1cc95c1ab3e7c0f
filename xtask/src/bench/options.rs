//! The command lines of `bench` and `profile`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use super::server::Kind;

/// Measures Quorate beside Redis and beside a server that does nothing but the network's work.
#[derive(Parser)]
#[command(name = "cargo xtask bench", no_binary_name = true)]
pub(super) struct Options {
    /// Measure these servers only.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Kind>,
    /// Run these cases only; --list shows them.
    #[arg(long = "case", value_delimiter = ',')]
    pub(super) cases: Vec<String>,
    /// Show the cases and end.
    #[arg(long)]
    pub(super) list: bool,
    /// Few seconds a case and a small key space; good for a first look, not for quoting.
    #[arg(long)]
    quick: bool,
    /// Rounds over the servers, of which the median counts.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that each server is measured in each round.
    #[arg(long)]
    seconds: Option<f64>,
    /// Keys that the servers hold.
    #[arg(long)]
    keys: Option<u64>,
    /// Count instructions too: with the CPU's counter where there is one, else of user code only, under callgrind.
    #[arg(long)]
    pub(super) instructions: bool,
    /// Write the figures to this file, too.
    #[arg(long)]
    pub(super) json: Option<PathBuf>,
    #[command(flatten)]
    pub(super) binaries: Binaries,
}

/// Records where a server spends its time under a case.
#[derive(Parser)]
#[command(name = "cargo xtask profile", no_binary_name = true)]
pub(super) struct ProfileOptions {
    /// A throughput case of `cargo xtask bench --list`.
    pub(super) case: String,
    /// Whom to record.
    #[arg(long, value_enum, default_value = "quorate")]
    pub(super) on: Kind,
    /// Seconds to record.
    #[arg(long, default_value = "5")]
    pub(super) seconds: f64,
    /// Keys that the server holds.
    #[arg(long, default_value = "1000000")]
    pub(super) keys: u64,
    /// Count instructions under callgrind, even where perf works.
    #[arg(long)]
    pub(super) callgrind: bool,
    /// How many symbols to print.
    #[arg(long, default_value = "40")]
    pub(super) top: usize,
    #[command(flatten)]
    pub(super) binaries: Binaries,
}

/// Which programs run, and where.
#[derive(clap::Args)]
pub(super) struct Binaries {
    /// Our server; by default a release build of this workspace.
    #[arg(long, value_name = "PATH")]
    pub(super) server: Option<PathBuf>,
    /// Redis or Valkey.
    #[arg(long, value_name = "PATH", default_value = "redis-server")]
    pub(super) redis: PathBuf,
    /// Network threads of our server.
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<u32>,
    /// Whether the servers keep an append-only file, and when they hand it to the disk.
    #[arg(long, value_enum, default_value = "no")]
    pub(super) append: Append,
    /// The servers' core and the load generator's.
    #[arg(long, value_name = "SERVER,LOAD")]
    pub(super) cores: Option<CorePair>,
}

/// `appendonly`, and `appendfsync` if there is such a file. It is not rewritten meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Append {
    /// There is none.
    No,
    /// At most a second later.
    Everysec,
    /// Before a client is answered.
    Always,
}

impl Append {
    /// The servers' directives.
    pub(super) const fn arguments(self) -> &'static [&'static str] {
        match self {
            Append::No => &["--appendonly", "no"],
            Append::Everysec => {
                &["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"]
            }
            Append::Always => &["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"],
        }
    }
}

/// Two core numbers, as in `0,1`.
#[derive(Clone, Copy, Debug)]
pub(super) struct CorePair(pub(super) usize, pub(super) usize);

impl FromStr for CorePair {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<CorePair> {
        let (server, load) = text.split_once(',').context("two cores, as in 0,1")?;
        Ok(CorePair(server.parse()?, load.parse()?))
    }
}

/// How much to measure.
pub(super) struct Effort {
    pub(super) rounds: usize,
    pub(super) warmup: Duration,
    pub(super) window: Duration,
    pub(super) keys: u64,
}

impl Options {
    pub(super) fn effort(&self) -> anyhow::Result<Effort> {
        let (rounds, seconds, keys) = if self.quick { (3, 0.5, 200_000) } else { (5, 2.0, 1_000_000) };
        let window = Duration::try_from_secs_f64(self.seconds.unwrap_or(seconds)).context("--seconds")?;
        let keys = self.keys.unwrap_or(keys);
        anyhow::ensure!((1000..=100_000_000).contains(&keys), "--keys is a number from 1000 to 100000000");
        let rounds = self.rounds.unwrap_or(rounds).max(1);
        Ok(Effort { rounds, warmup: window.min(Duration::from_secs(2)) / 5, window, keys })
    }

    /// The servers to measure, in the order of the rounds.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let all = [Kind::Floor, Kind::Redis, Kind::Quorate];
        all.into_iter().filter(|kind| self.only.is_empty() || self.only.contains(kind)).collect()
    }
}

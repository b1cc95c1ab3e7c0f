//! `quorate cluster`: what an operator does to a cluster, each thing by one command.
//!
//! It works on our nodes and on those of Redis and Valkey alike, through the commands that they answer: slots move with all that they
//! hold where both nodes can, and key by key where not. It keeps nothing between two runs: what is to be done follows from the
//! cluster as it is.
//!
//! `picture` is what the nodes tell, `load` what their slots weigh, `report` what is wrong; `plan` and `level` decide with
//! numbers alone, `change` and `repair` show and carry out, `moving` moves slots; `upgrade`, `backup` and `import` concern whole
//! nodes and what they hold. `works` lets other programs move slots, who show and ask themselves.

mod backup;
mod change;
mod import;
mod level;
mod load;
mod moving;
mod node;
mod picture;
mod plan;
mod repair;
mod report;
mod screen;
mod upgrade;
mod works;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

pub use crate::screen::Bar;
pub use crate::works::{Step, Works};

use crate::node::{Credentials, address};
use crate::picture::Picture;

/// How something is done.
#[derive(Debug, Clone, Default, clap::Args)]
struct Manner {
    #[command(flatten)]
    credentials: Credentials,
    /// Doesn't ask.
    #[arg(long, short = 'y', global = true)]
    yes: bool,
    /// Shows what would be done, and does nothing.
    #[arg(long, global = true)]
    dry_run: bool,
    /// Shows JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Parser)]
#[command(
    name = "quorate cluster",
    about = "Forms, watches and changes clusters, of our nodes and of real ones",
    after_help = "Each of them has a --help of its own.\n\nExamples:\n  \
                  quorate cluster check 10.0.0.1:6379        any node of the cluster will do\n  \
                  quorate cluster rebalance 10.0.0.1:6379    shows what would move, and asks"
)]
struct Line {
    #[command(flatten)]
    manner: Manner,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a cluster of empty nodes.
    #[command(after_help = "Examples:\n  \
        quorate cluster create 10.0.0.1:6379 10.0.0.2:6379 10.0.0.3:6379 10.0.0.4:6379 10.0.0.5:6379 10.0.0.6:6379 --replicas 1\n  \
        quorate cluster create --dry-run 127.0.0.1:7000 127.0.0.1:7001 127.0.0.1:7002")]
    Create {
        /// The nodes.
        #[arg(required = true, value_name = "HOST:PORT")]
        nodes: Vec<String>,
        /// Replicas of each primary.
        #[arg(long, default_value_t = 0)]
        replicas: usize,
    },
    /// Shows the nodes and what is wrong; fails if anything is.
    #[command(after_help = "Examples:\n  \
        quorate cluster check 10.0.0.1:6379\n  \
        quorate cluster check --json 10.0.0.1:6379")]
    Check {
        /// Any node of the cluster.
        node: String,
    },
    /// Shows the primaries and what they hold.
    #[command(after_help = "Examples:\n  \
        quorate cluster info 10.0.0.1:6379")]
    Info {
        /// Any node of the cluster.
        node: String,
    },
    /// Finishes what was broken off, and gives every slot an owner.
    #[command(after_help = "Examples:\n  \
        quorate cluster fix --dry-run 10.0.0.1:6379\n  \
        quorate cluster fix --yes 10.0.0.1:6379")]
    Fix {
        /// Any node of the cluster.
        node: String,
    },
    /// Moves some slots to one node.
    #[command(after_help = "Examples:\n  \
        quorate cluster reshard 10.0.0.1:6379 --to 10.0.0.4:6379 --slots 1000\n  \
        quorate cluster reshard 10.0.0.1:6379 --from 10.0.0.2:6379 --to 10.0.0.4:6379 --slots 100 --yes")]
    Reshard {
        /// Any node of the cluster.
        node: String,
        /// Who gives them, by name or address; all others without it.
        #[arg(long, value_delimiter = ',')]
        from: Vec<String>,
        /// Who gets them.
        #[arg(long)]
        to: String,
        /// How many.
        #[arg(long)]
        slots: usize,
    },
    /// Moves slots until every primary has its share.
    #[command(after_help = "Examples:\n  \
        quorate cluster rebalance 10.0.0.1:6379\n  \
        quorate cluster rebalance 10.0.0.1:6379 --weight 10.0.0.3:6379=2 --dry-run\n  \
        quorate cluster rebalance 10.0.0.1:6379 --by load --measure 60")]
    Rebalance {
        /// Any node of the cluster.
        node: String,
        /// By what shares are told.
        #[arg(long, value_enum, default_value_t)]
        by: load::By,
        /// How long load or traffic are measured, seconds.
        #[arg(long, default_value_t = 10, value_name = "SECONDS")]
        measure: u64,
        /// How much one is to have, compared with the others; 0 is nothing.
        #[arg(long, value_name = "NODE=WEIGHT", value_delimiter = ',')]
        weight: Vec<String>,
        /// Leaves primaries out that have no slots.
        #[arg(long)]
        skip_empty: bool,
        /// Differences of so many percent are left alone.
        #[arg(long, default_value_t = 2.0)]
        threshold: f64,
    },
    /// Lets an empty node join; as a primary it gets its share of the slots.
    #[command(after_help = "Examples:\n  \
        quorate cluster add-node 10.0.0.7:6379 10.0.0.1:6379\n  \
        quorate cluster add-node 10.0.0.8:6379 10.0.0.1:6379 --replica-of")]
    AddNode {
        /// The new node.
        new: String,
        /// Any node of the cluster.
        node: String,
        /// It follows this primary, or that with the fewest replicas.
        #[arg(long, value_name = "PRIMARY", num_args = 0..=1)]
        replica_of: Option<Option<String>>,
        /// It gets no slots for now.
        #[arg(long)]
        no_rebalance: bool,
    },
    /// Removes a node: its slots go to the others first.
    #[command(after_help = "Examples:\n  \
        quorate cluster del-node 10.0.0.1:6379 10.0.0.7:6379")]
    DelNode {
        /// Any node of the cluster.
        node: String,
        /// Which, by name or address.
        leaving: String,
        /// Refuses if it has slots.
        #[arg(long)]
        no_rebalance: bool,
    },
    /// Lets all nodes forget one that is gone.
    #[command(after_help = "Examples:\n  \
        quorate cluster forget 10.0.0.1:6379 07c37dfeb235213a872192d90877d0cd55635b91")]
    Forget {
        /// Any node of the cluster.
        node: String,
        /// Its name.
        gone: String,
    },
    /// Lets a replica take over from its primary.
    #[command(after_help = "Examples:\n  \
        quorate cluster failover 10.0.0.1:6379 10.0.0.4:6379")]
    Failover {
        /// Any node of the cluster.
        node: String,
        /// Which replica, by name or address.
        replica: String,
    },
    /// Restarts every node, replicas first, without an outage.
    #[command(after_help = "Examples:\n  \
        quorate cluster upgrade 10.0.0.1:6379 --dry-run")]
    Upgrade {
        /// Any node of the cluster.
        node: String,
        #[command(flatten)]
        how: upgrade::How,
    },
    /// Saves a snapshot of each shard.
    #[command(after_help = "Examples:\n  \
        quorate cluster backup 10.0.0.1:6379 /srv/backup")]
    Backup {
        /// Any node of the cluster.
        node: String,
        /// The directory for the files.
        place: PathBuf,
    },
    /// Takes over the keys of a server that is no node of a cluster.
    #[command(after_help = "Examples:\n  \
        quorate cluster import 10.0.0.1:6379 --from 10.0.0.99:6379 --copy")]
    Import {
        /// Any node of the cluster.
        node: String,
        #[command(flatten)]
        how: import::How,
    },
    /// Gives a command to every node.
    #[command(after_help = "Examples:\n  \
        quorate cluster call 10.0.0.1:6379 INFO server\n  \
        quorate cluster call 10.0.0.1:6379 --only-primaries DBSIZE")]
    Call {
        /// Any node of the cluster.
        node: String,
        /// Primaries only.
        #[arg(long, conflicts_with = "only_replicas")]
        only_primaries: bool,
        /// Replicas only.
        #[arg(long)]
        only_replicas: bool,
        /// The command.
        #[arg(required = true, trailing_var_arg = true)]
        words: Vec<String>,
    },
}

/// What `quorate cluster` understands.
pub fn command() -> clap::Command {
    <Line as clap::CommandFactory>::command()
}

/// Runs `quorate cluster`, with the words that follow it.
pub fn run(words: &[OsString]) -> ExitCode {
    let line = match Line::try_parse_from([OsString::from("quorate cluster")].iter().chain(words)) {
        Ok(line) => line,
        Err(error) => {
            // Nobody is left to tell if this can't be printed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match perform(line.command, &line.manner) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quorate cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well afterwards.
fn perform(command: Command, manner: &Manner) -> Result<bool> {
    let take = |node: &str| -> Result<Picture> { Picture::settled(address(node)?, &manner.credentials) };
    match command {
        Command::Create { nodes, replicas } => {
            let nodes: Vec<SocketAddr> = nodes.iter().map(|node| address(node)).collect::<Result<_>>()?;
            change::create(&nodes, replicas, manner)?;
        }
        Command::Check { node } => return report::check(&mut take(&node)?, manner.json),
        Command::Info { node } => report::summary(&mut take(&node)?)?,
        Command::Fix { node } => return fix(&mut take(&node)?, manner),
        Command::Reshard { node, from, to, slots } => reshard(&mut take(&node)?, &from, &to, slots, manner)?,
        Command::Rebalance { node, by, measure, weight, skip_empty, threshold } => {
            let mut picture = take(&node)?;
            whole(&picture)?;
            let shares = change::shares(&picture, &weight, !skip_empty)?;
            let moves = match by {
                load::By::Slots => plan::rebalance(&shares, threshold),
                by => {
                    let weights = load::weigh(&mut picture, by, Duration::from_secs(measure))?;
                    let moves = level::level(&shares, &weights, threshold);
                    if !manner.json {
                        load::show(&picture, &shares, &weights, &moves, by);
                    }
                    moves
                }
            };
            change::carry_out(&mut picture, &moves, manner)?;
        }
        Command::AddNode { new, node, replica_of, no_rebalance } => {
            change::add(address(&new)?, address(&node)?, replica_of, !no_rebalance, manner)?;
        }
        Command::DelNode { node, leaving, no_rebalance } => {
            change::remove(address(&node)?, &leaving, !no_rebalance, manner)?;
        }
        Command::Forget { node, gone } => {
            let mut picture = take(&node)?;
            let id = quorate_cluster::NodeId::parse(gone.as_bytes()).context("that is no node's name")?;
            change::forget(&mut picture, id, manner)?;
        }
        Command::Failover { node, replica } => {
            let mut picture = take(&node)?;
            let id = picture.named(&replica)?;
            change::failover(&mut picture, id, manner)?;
        }
        Command::Upgrade { node, how } => {
            let mut picture = take(&node)?;
            whole(&picture)?;
            upgrade::run(&mut picture, &how, manner)?;
        }
        Command::Backup { node, place } => backup::run(&take(&node)?, &place, manner)?,
        Command::Import { node, how } => {
            let mut picture = take(&node)?;
            whole(&picture)?;
            import::run(&mut picture, &how, manner)?;
        }
        Command::Call { node, only_primaries, only_replicas, words } => {
            call(&mut take(&node)?, &words, (only_primaries, only_replicas));
        }
    }
    Ok(true)
}

/// Slots are moved only where it is known whose they are.
fn whole(picture: &Picture) -> Result<()> {
    let problems = report::problems(picture);
    match problems.first() {
        None => Ok(()),
        Some(problem) => bail!("the cluster has problems, fix them first (quorate cluster fix): {problem}"),
    }
}

fn reshard(picture: &mut Picture, from: &[String], to: &str, count: usize, manner: &Manner) -> Result<()> {
    whole(picture)?;
    let to = picture.named(to)?;
    let mut sources = change::shares(picture, &[], false)?;
    if !from.is_empty() && from != ["all"] {
        let named = from.iter().map(|name| picture.named(name)).collect::<Result<Vec<_>>>()?;
        sources.retain(|share| named.contains(&share.id));
    }
    sources.retain(|share| share.id != to);
    change::carry_out(picture, &plan::reshard(&sources, to, count), manner)
}

fn fix(picture: &mut Picture, manner: &Manner) -> Result<bool> {
    let repairs = repair::plan(picture)?;
    for repair in &repairs {
        println!(">>> {repair}");
    }
    if manner.dry_run || repairs.is_empty() {
        return report::check(picture, manner.json);
    }
    if !manner.yes && !screen::confirm("Fix these?") {
        bail!("nothing was changed");
    }
    for repair in &repairs {
        repair::perform(picture, repair, &manner.credentials)?;
    }
    let entry = picture.members[0].address;
    *picture = Picture::settled(entry, &manner.credentials)?;
    report::check(picture, manner.json)
}

fn call(picture: &mut Picture, words: &[String], (only_primaries, only_replicas): (bool, bool)) {
    println!(">>> Calling {}", words.join(" "));
    for member in &mut picture.members {
        let is_wanted = if member.is_primary() { !only_replicas } else { !only_primaries };
        if is_wanted {
            let answer = member.node.call(words).map_or_else(|error| format!("{error:#}"), |reply| node::text(&reply));
            println!("{}: {answer}", member.address);
        }
    }
}

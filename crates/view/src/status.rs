//! `quorate status`: looks once, tells, and says with its exit status how it is.

use std::time::Duration;

use quorate_topology::{Address, Explorer, Pace, Verdict};

use crate::options::{Access, address};
use crate::report;
use crate::watch::Watch;
use crate::{json, text};

/// The longest look: longer than any node may take for a few rounds of answers.
const ROUNDS: u32 = 6;

#[derive(clap::Parser)]
#[command(
    name = "quorate status",
    about = "Finds everything that belongs to a node, and says how it is",
    after_help = "Exit status: 0 healthy, 1 degraded (it works, but something is missing), 2 down (some data takes no writes), \
                  3 nobody answered, 64 the words were not understood.\n\n\
                  Passwords are read from QUORATE_AUTH or REDISCLI_AUTH; Sentinels that want another one get QUORATE_SENTINEL_AUTH.\n\n\
                  Examples:\n  \
                  quorate status 127.0.0.1:6379             a server, a Sentinel or a node of a cluster: any will do\n  \
                  quorate status --json 127.0.0.1:26379     the same for programs\n  \
                  quorate status --quiet db1:6379 || page   for probes: the exit status alone"
)]
pub(crate) struct Options {
    /// Where to begin. More than one helps if some may be gone.
    #[arg(required = true, value_name = "HOST:PORT", value_parser = address)]
    nodes: Vec<Address>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Prints nothing.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    #[command(flatten)]
    access: Access,
}

pub(crate) async fn show(options: Options) -> anyhow::Result<u8> {
    let manners = options.access.manners()?;
    let patience = manners.limit * ROUNDS + Duration::from_secs(5);
    let mut watch = Watch::new(&options.nodes, manners, Pace::default());
    let explored = watch.until("looking", Explorer::is_settled);
    let is_whole = tokio::time::timeout(patience, explored).await.is_ok();
    let topology = watch.explorer().topology();
    let health = topology.health();
    if options.json {
        println!("{:#}", json::topology(topology, &health));
    } else if !options.quiet {
        print!("{}", report::report(topology, &health));
        if !is_whole || watch.explorer().is_full() {
            println!("{}", text::plain("Not everything was looked at: there is too much of it, or it is too slow."));
        }
    }
    Ok(match health.verdict {
        Verdict::Healthy => 0,
        Verdict::Degraded => 1,
        Verdict::Down => 2,
        Verdict::Unreachable => 3,
    })
}

//! `quorate up`: starts a deployment on this machine, waits until it is well, and leaves it running.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use quorate_resp::Reply;
use quorate_topology::{Address, Explorer, Pace, Verdict};

use super::Place;
use super::folder::Folder;
use crate::link::Link;
use crate::options::Manners;
use crate::report;
use crate::watch::Watch;

/// How long it may take until everything is well.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so many milliseconds of silence a node is given up.
const SILENCE: u32 = 5000;
const SLOTS: usize = 16384;
/// The bus of a node of a cluster is at its port and so much.
pub(super) const BUS: u16 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Strategy {
    /// A primary and its replicas.
    Replication,
    /// The same with three Sentinels.
    Sentinel,
    /// Three primaries of a cluster and their replicas.
    Cluster,
    /// Servers that know nothing of each other, for majority locks.
    Redlock,
}

#[derive(clap::Parser)]
#[command(
    name = "quorate up",
    about = "Starts a deployment on this machine, and leaves it running",
    after_help = "Examples:\n  quorate up cluster --dashboard       then open http://127.0.0.1:7379\n  \
                  quorate up sentinel --nodes 5        a primary and four replicas\n  \
                  quorate chaos kill server-1          sees what happens\n  quorate down --delete                ends it all"
)]
pub(crate) struct Up {
    /// What is started.
    #[arg(value_enum)]
    strategy: Strategy,
    /// How many servers. Three for replication and Sentinels, six for a cluster, five for locks.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: Option<u16>,
    /// The port of the first server; those of the others follow.
    #[arg(long, default_value_t = 7000, value_parser = clap::value_parser!(u16).range(1..=50_000))]
    port: u16,
    /// Serves the dashboard at this port, with actions allowed by the token that is printed.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "7379")]
    dashboard: Option<u16>,
    /// The program to start, instead of this one: redis-server and valkey-server are started as such.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn up(options: Up) -> Result<u8> {
    let strategy = options.strategy;
    let count = options.nodes.unwrap_or(match strategy {
        Strategy::Replication | Strategy::Sentinel => 3,
        Strategy::Cluster => 6,
        Strategy::Redlock => 5,
    });
    ensure!(strategy != Strategy::Cluster || count >= 3, "a cluster has three primaries at least");
    let ports: Vec<u16> = (options.port..).take(usize::from(count)).collect();
    let sentinels: Vec<u16> = match strategy {
        Strategy::Sentinel => (options.port + 1000..).take(3).collect(),
        _ => Vec::new(),
    };
    for port in ports.iter().chain(&sentinels).chain(&options.dashboard) {
        ensure!(TcpListener::bind(("127.0.0.1", *port)).is_ok(), "port {port} is taken: choose others with --port");
    }
    let own = std::env::current_exe().context("find this program")?;
    let program = |word: &str| -> Vec<String> {
        match &options.binary {
            // Another program is a server by its name.
            Some(other) if word == "server" => vec![other.display().to_string()],
            Some(other) => vec![other.display().to_string().replace("-server", "-sentinel")],
            None => vec![own.display().to_string(), word.to_owned()],
        }
    };
    let mut folder = Folder::create(&options.place.dir)?;
    for (index, port) in ports.iter().enumerate() {
        let name = format!("server-{}", index + 1);
        let more = match strategy {
            Strategy::Cluster => {
                format!("cluster-enabled yes\ncluster-node-timeout {SILENCE}\ncluster-announce-ip 127.0.0.1\n")
            }
            Strategy::Replication | Strategy::Sentinel if index > 0 => format!("replicaof 127.0.0.1 {}\n", ports[0]),
            _ => String::new(),
        };
        let source = source(index);
        let more = format!("replica-announce-ip 127.0.0.1\n{more}");
        let conf = configure(&folder, &name, *port, &source, &more)?;
        folder.start(&name, *port, [program("server"), vec![conf]].concat(), Some(source))?;
    }
    for (index, port) in sentinels.iter().enumerate() {
        let name = format!("sentinel-{}", index + 1);
        // One that starts without an id abstains for a while, because it may have lost its memory.
        let id = rand::random::<[u8; 20]>().map(|byte| format!("{byte:02x}")).concat();
        let more = format!(
            "sentinel myid {id}\nsentinel announce-ip 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds mymaster {SILENCE}\n",
            ports[0]
        );
        let source = source(ports.len() + index);
        let conf = configure(&folder, &name, *port, &source, &more)?;
        folder.start(&name, *port, [program("sentinel"), vec![conf]].concat(), Some(source))?;
    }
    if strategy == Strategy::Cluster {
        form(&ports).await?;
    }
    let seeds: Vec<Address> = ports.iter().chain(&sentinels).map(|port| here(*port)).collect();
    let is_well = settle(&seeds, seeds.len()).await;
    if let Some(port) = options.dashboard {
        serve_dashboard(&mut folder, port, &seeds)?;
    }
    println!("\nquorate status {}        shows this again", seeds[0]);
    println!("quorate chaos kill server-1        sees what happens");
    println!("quorate down --delete              ends it");
    Ok(u8::from(!is_well))
}

/// Leaves a dashboard running that watches all, and says where it is.
fn serve_dashboard(folder: &mut Folder, port: u16, seeds: &[Address]) -> Result<()> {
    let own = std::env::current_exe().context("find this program")?;
    let watch = seeds.iter().map(Address::to_string).collect::<Vec<_>>().join(",");
    let listen = format!("--listen=127.0.0.1:{port}");
    let words = ["dashboard", "--actions", &format!("--watch={watch}"), &listen].map(str::to_owned);
    folder.start("dashboard", port, [vec![own.display().to_string()], words.to_vec()].concat(), None)?;
    println!(
        "\nThe dashboard is at http://127.0.0.1:{port}; its token for actions stands in {}",
        folder.home("dashboard")?.join("log").display()
    );
    Ok(())
}

pub(super) fn here(port: u16) -> Address {
    Address { host: "127.0.0.1".to_owned(), port }
}

/// Where a node's connections to others come from: each has an address of its own on the loopback interface, so that it can be cut
/// off from the others and from nobody else.
fn source(index: usize) -> String {
    format!("127.0.1.{}", index + 1)
}

fn configure(folder: &Folder, name: &str, port: u16, source: &str, more: &str) -> Result<String> {
    let home = folder.home(name)?;
    let file = home.join("conf");
    let text = format!(
        "port {port}\nbind 127.0.0.1\nprotected-mode no\nbind-source-addr {source}\nenable-debug-command local\ndir \"{}\"\n{more}",
        home.display()
    );
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(file.display().to_string())
}

pub(super) fn manners() -> Manners {
    Manners { user: None, passwords: Vec::new(), limit: Duration::from_secs(10), tls: None }
}

/// Asks a node that has just been started.
pub(super) async fn ask(port: u16, words: &[&str]) -> Result<Reply> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let said = match Link::connect(&here(port), &manners()).await {
            Ok(mut link) => link.ask(&[words.to_vec()]).await,
            Err(fault) => Err(fault),
        };
        match said.map(|mut replies| replies.pop()) {
            Ok(Some(Reply::Error(error))) if !error.starts_with(b"LOADING") => {
                bail!("port {port} answers {}: {}", words.join(" "), String::from_utf8_lossy(&error))
            }
            Ok(Some(reply @ (Reply::Simple(_) | Reply::Bulk(_) | Reply::Verbatim(..)))) => return Ok(reply),
            said if tokio::time::Instant::now() > deadline => bail!("port {port} does not answer: {said:?}"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn text(port: u16, words: &[&str]) -> Result<String> {
    match ask(port, words).await? {
        Reply::Simple(text) | Reply::Bulk(text) | Reply::Verbatim(_, text) => {
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        other => bail!("port {port} answers {other:?}"),
    }
}

/// Makes a cluster of nodes that know nobody: three primaries or more, the rest replicas of each in turn.
async fn form(ports: &[u16]) -> Result<()> {
    let primaries = (ports.len() / 2).max(3);
    println!("{} nodes meet", ports.len());
    for (index, port) in ports.iter().enumerate() {
        ask(*port, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await?;
        if index < primaries {
            let (first, last) = (index * SLOTS / primaries, (index + 1) * SLOTS / primaries - 1);
            ask(*port, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await?;
        }
        if index > 0 {
            let (first, bus) = (ports[0].to_string(), (ports[0] + BUS).to_string());
            ask(*port, &["CLUSTER", "MEET", "127.0.0.1", &first, &bus]).await?;
        }
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for port in ports {
        while text(*port, &["CLUSTER", "NODES"]).await?.lines().filter(|line| !line.contains("handshake")).count()
            < ports.len()
        {
            ensure!(tokio::time::Instant::now() < deadline, "port {port} does not get to know all others");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    for (index, port) in ports.iter().enumerate().skip(primaries) {
        let id = text(ports[index % primaries], &["CLUSTER", "MYID"]).await?;
        ask(*port, &["CLUSTER", "REPLICATE", &id]).await?;
    }
    Ok(())
}

/// Waits until everything is well, and shows it; whether it is.
async fn settle(seeds: &[Address], count: usize) -> bool {
    let mut watch = Watch::new(seeds, manners(), Pace::default());
    let is_well = |explorer: &Explorer| {
        let topology = explorer.topology();
        explorer.is_settled() && topology.live().count() >= count && topology.health().verdict == Verdict::Healthy
    };
    // What is not well by then is shown as it is.
    let _ = tokio::time::timeout(PATIENCE, watch.until("waiting until all is well", is_well)).await;
    let topology = watch.explorer().topology();
    print!("{}", report::report(topology, &topology.health()));
    is_well(watch.explorer())
}

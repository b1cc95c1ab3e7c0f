//! `quorate chaos` and `quorate down`: what is done to the processes of a local deployment.

use anyhow::{Context as _, Result, bail, ensure};
use quorate_resp::Reply;
use rustix::process::Signal;

use super::folder::{Folder, Process};
use super::up::{self, BUS};
use super::{Down, Place};
use crate::link::Link;

#[derive(clap::Parser)]
#[command(
    name = "quorate chaos",
    about = "Plays with the nodes of a deployment that quorate up has started",
    after_help = "Examples:\n  quorate chaos list\n  quorate chaos kill server-1     as kill -9 does\n  \
                  quorate chaos pause 7001        by its port; it hangs and says nothing\n  \
                  quorate chaos partition server-1 sentinel-1\n  \
                  quorate chaos heal server-1     lets it go on, starts it again, or joins it to the others"
)]
pub(crate) enum Chaos {
    /// Shows the nodes.
    #[command(after_help = "Examples:\n  quorate chaos list\n  quorate chaos list --dir elsewhere")]
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Ends a node's process without a word.
    #[command(
        after_help = "Examples:\n  quorate chaos kill server-1     by its name\n  quorate chaos kill 7000         by its port"
    )]
    Kill(Node),
    /// Lets a node hang.
    #[command(after_help = "Examples:\n  quorate chaos pause server-1     it says nothing until it is healed")]
    Pause(Node),
    /// Cuts nodes off from the others: what one side sends, the other never gets.
    #[command(
        after_help = "The kernel loses every packet between the sides, as behind a cable that was pulled: nothing is refused, \
            connections hang, new ones are never made; what was lost comes again when it is healed. Nodes that are named together \
            reach each other. Clients, the dashboard among them, are not cut off: they reach both sides. It is no slow or lossy \
            network, and only nodes of Quorate can do it.\n\n\
            Examples:\n  \
            quorate chaos partition server-1                 a node alone\n  \
            quorate chaos partition server-1 sentinel-1      a smaller half"
    )]
    Partition {
        /// Their names, or their ports.
        #[arg(required = true)]
        nodes: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Lets a node go on, starts it again if it is gone, and joins it to the others if it was cut off.
    #[command(after_help = "Examples:\n  quorate chaos heal server-1")]
    Heal(Node),
}

#[derive(clap::Args)]
pub(crate) struct Node {
    /// Its name, or its port.
    node: String,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn play(chaos: Chaos) -> Result<u8> {
    match chaos {
        Chaos::List { place } => {
            let folder = Folder::open(&place.dir)?;
            let row = |process: &Process| {
                let state = match (folder.runs(process), process.side) {
                    (false, _) => "is gone",
                    (true, 0) => "runs",
                    (true, _) => "is cut off",
                };
                vec![process.name.clone(), format!("127.0.0.1:{}", process.port), state.to_owned()]
            };
            let rows: Vec<Vec<String>> = folder.processes.iter().map(row).collect();
            crate::text::table(&rows).iter().for_each(|line| println!("{line}"));
        }
        Chaos::Kill(node) => signal(&node, Signal::KILL, "is killed")?,
        Chaos::Pause(node) => signal(&node, Signal::STOP, "hangs")?,
        Chaos::Partition { nodes, place } => {
            let mut folder = Folder::open(&place.dir)?;
            let names = nodes.iter().map(|node| Ok(folder.find(node)?.name.clone())).collect::<Result<Vec<_>>>()?;
            let side = folder.processes.iter().map(|process| process.side).max().unwrap_or(0) + 1;
            for process in folder.processes.iter_mut().filter(|process| names.contains(&process.name)) {
                ensure!(process.source.is_some(), "{} is no node", process.name);
                process.side = side;
            }
            divide(&folder).await?;
            folder.save()?;
            println!("{} cut off from the other nodes; clients still reach all", listed(&names));
        }
        Chaos::Heal(node) => heal(&node).await?,
    }
    Ok(0)
}

fn signal(node: &Node, signal: Signal, what: &str) -> Result<()> {
    let folder = Folder::open(&node.place.dir)?;
    let process = folder.find(&node.node)?;
    folder.signal(process, signal)?;
    println!("{} {what}", process.name);
    Ok(())
}

pub(crate) async fn down(options: Down) -> Result<u8> {
    let folder = Folder::open(&options.place.dir)?;
    println!("{} processes are ended", folder.end_all()?);
    if options.delete {
        folder.delete()?;
    }
    Ok(0)
}

fn listed(names: &[String]) -> String {
    match names {
        [one] => format!("{one} is"),
        all => format!("{} are", all.join(", ")),
    }
}

async fn heal(node: &Node) -> Result<()> {
    let mut folder = Folder::open(&node.place.dir)?;
    let process = folder.find(&node.node)?.clone();
    let name = &process.name;
    if folder.runs(&process) {
        folder.signal(&process, Signal::CONT)?;
        println!("{name} goes on");
    } else {
        folder.start(name, process.port, process.argv.clone(), process.source.clone())?;
        println!("{name} is started again");
        if process.source.is_some() {
            up::ask(process.port, &["PING"]).await?;
        }
    }
    let was_cut_off = process.side != 0;
    for healed in folder.processes.iter_mut().filter(|other| other.name == *name) {
        healed.side = 0;
    }
    // Who was started anew does not know who is cut off.
    if was_cut_off || folder.processes.iter().any(|other| other.side != 0) {
        divide(&folder).await?;
    }
    folder.save()?;
    if was_cut_off {
        println!("{name} is joined to the others");
    }
    Ok(())
}

/// Tells each node whose packets are lost: those of all that are on another side.
async fn divide(folder: &Folder) -> Result<()> {
    for process in folder.processes.iter().filter(|process| process.source.is_some() && folder.runs(process)) {
        let others = folder.processes.iter().filter(|other| other.side != process.side);
        let mut words = vec!["DEBUG".to_owned(), "DROP-FROM".to_owned()];
        for other in others {
            let Some(source) = &other.source else { continue };
            // What it sends on connections that it has made, and on those that were made to it.
            words.extend([
                source.clone(),
                format!("127.0.0.1:{}", other.port),
                format!("127.0.0.1:{}", other.port.saturating_add(BUS)),
            ]);
        }
        let said = async {
            let mut link = Link::connect(&up::here(process.port), &up::manners()).await?;
            link.ask(std::slice::from_ref(&words)).await
        };
        let name = &process.name;
        match said.await.map(|mut replies| replies.pop()) {
            Ok(Some(Reply::Simple(_))) => {}
            Ok(Some(Reply::Error(error))) => {
                let error = String::from_utf8_lossy(&error).into_owned();
                bail!("{name} can't be cut off, nor from others; only nodes of Quorate can: {error}")
            }
            Ok(reply) => bail!("{name} answers {reply:?}"),
            Err(fault) => Err(anyhow::anyhow!("{fault}")).with_context(|| format!("{name} does not take the order"))?,
        }
    }
    Ok(())
}

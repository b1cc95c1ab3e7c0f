//! `quorate chaos` and `quorate down`: what is done to the processes of a local deployment.

use anyhow::Result;
use rustix::process::Signal;

use super::folder::Folder;
use super::{Down, Place};

#[derive(clap::Parser)]
#[command(
    name = "quorate chaos",
    about = "Plays with the nodes of a deployment that quorate up has started",
    after_help = "Examples:\n  quorate chaos list\n  quorate chaos kill server-1     as kill -9 does\n  \
                  quorate chaos pause 7001        by its port; it hangs and says nothing\n  \
                  quorate chaos heal server-1     lets it go on, or starts it again"
)]
pub(crate) enum Chaos {
    /// Shows the nodes.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Ends a node's process without a word.
    Kill(Node),
    /// Lets a node hang.
    Pause(Node),
    /// Lets a node go on, or starts it again if it is gone.
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
            let row = |process: &super::folder::Process| {
                let state = if folder.runs(process) { "runs" } else { "is gone" };
                vec![process.name.clone(), format!("127.0.0.1:{}", process.port), state.to_owned()]
            };
            let rows: Vec<Vec<String>> = folder.processes.iter().map(row).collect();
            crate::text::table(&rows).iter().for_each(|line| println!("{line}"));
        }
        Chaos::Kill(node) => signal(&node, Signal::KILL, "is killed")?,
        Chaos::Pause(node) => signal(&node, Signal::STOP, "hangs")?,
        Chaos::Heal(node) => {
            let mut folder = Folder::open(&node.place.dir)?;
            let process = folder.find(&node.node)?.clone();
            if folder.runs(&process) {
                folder.signal(&process, Signal::CONT)?;
                println!("{} goes on", process.name);
            } else {
                folder.start(&process.name, process.port, process.argv)?;
                println!("{} is started again", process.name);
            }
        }
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

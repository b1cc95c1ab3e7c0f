//! `upgrade`: every node is ended and started again, one after the other, without an outage: the replicas first, and each primary
//! once a replica of its own has taken over from it. What restarts a node is the operator's: a command of his, or he himself.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use quorate_cluster::NodeId;

use crate::Manner;
use crate::change::{failover, field};
use crate::node::{Credentials, Node};
use crate::picture::{Member, Picture};
use crate::screen::confirm;

const POLL: Duration = Duration::from_millis(100);

/// How the nodes are restarted.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct How {
    /// What restarts a node, for the shell, with {host}, {port} and {id} for those of the node; without it this waits until
    /// somebody has restarted it.
    #[arg(long, value_name = "COMMAND")]
    restart: Option<String>,
    /// Leaves nodes alone that tell this version already, and expects it of the others afterwards.
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// Goes on although a primary has no replica: its slots are served by nobody while it restarts.
    #[arg(long)]
    allow_outage: bool,
    /// How long a node may take to be back with all its data, seconds.
    #[arg(long, default_value_t = 600)]
    patience: u64,
}

/// A step of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is restarted as it is.
    Restart(NodeId),
    /// A replica of it takes over first.
    Replace(NodeId),
}

/// See the module's text.
///
/// # Errors
/// A primary has no replica, a node does not come back, or it is not what was wanted.
pub(crate) fn run(picture: &mut Picture, how: &How, manner: &Manner) -> Result<()> {
    let steps = plan(picture, how)?;
    for step in &steps {
        println!("    {}", describe(picture, *step));
    }
    if steps.is_empty() {
        println!("*** Nothing to do: every node tells that version.");
    }
    if steps.is_empty() || manner.dry_run {
        return Ok(());
    }
    if !manner.yes && !confirm("Restart these nodes in this order?") {
        bail!("nothing was changed");
    }
    for (number, step) in steps.iter().enumerate() {
        println!("[{}/{}] {}", number + 1, steps.len(), describe(picture, *step));
        let (Step::Restart(id) | Step::Replace(id)) = *step;
        if *step == Step::Replace(id) {
            replace(picture, id, how, manner)?;
        }
        restart(picture, id, how, &manner.credentials)?;
    }
    let entry = picture.members[0].address;
    *picture = Picture::settled(entry, &manner.credentials)?;
    crate::report::check(picture, manner.json).map(drop)
}

/// Lets a replica take over. One that has just been started may not see its primary yet, and then refuses for a moment.
fn replace(picture: &mut Picture, id: NodeId, how: &How, manner: &Manner) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(how.patience);
    loop {
        let Err(error) = heir(picture, id).and_then(|heir| failover(picture, heir, manner)) else { return Ok(()) };
        let text = format!("{error:#}");
        let is_refused = text.contains("answers CLUSTER FAILOVER") || text.contains("has its data");
        if !is_refused || Instant::now() > deadline {
            return Err(error);
        }
        sleep(POLL);
    }
}

/// Replicas first; the primaries that need nobody to take over, because they hold nothing, and then the others.
fn plan(picture: &mut Picture, how: &How) -> Result<Vec<Step>> {
    let mut wanted = Vec::new();
    for member in &mut picture.members {
        let is_done = match &how.to {
            Some(version) => is_version(&mut member.node, version)?,
            None => false,
        };
        if !is_done {
            wanted.push(member.id());
        }
    }
    let members: Vec<&Member> = wanted.iter().filter_map(|id| picture.member(*id)).collect();
    let (leading, following): (Vec<&Member>, Vec<&Member>) =
        members.into_iter().partition(|member| member.is_primary());
    let mut steps: Vec<Step> = following.into_iter().map(|member| Step::Restart(member.id())).collect();
    for member in leading {
        if member.told.slots.is_empty() {
            steps.push(Step::Restart(member.id()));
        } else if picture.replicas(member.id()).next().is_some() {
            steps.push(Step::Replace(member.id()));
        } else if how.allow_outage {
            steps.push(Step::Restart(member.id()));
        } else {
            bail!("{} has no replica: nobody serves its slots while it restarts (--allow-outage)", member.address);
        }
    }
    Ok(steps)
}

fn describe(picture: &Picture, step: Step) -> String {
    let (Step::Restart(id) | Step::Replace(id)) = step;
    let name = picture.member(id).map_or_else(|| id.to_string(), |member| member.address.to_string());
    match step {
        Step::Restart(_) => format!("{name} restarts"),
        Step::Replace(_) => format!("{name} hands over to a replica, and restarts"),
    }
}

/// Whether one of the versions that a node tells (its own, and the one that it is compatible with) is this.
fn is_version(node: &mut Node, version: &str) -> Result<bool> {
    let info = node.say("INFO server")?;
    let told = info.lines().filter_map(|line| line.split_once("_version:"));
    Ok(told.into_iter().any(|(_, told)| told.trim() == version))
}

/// The replica of a primary that has the most of its data.
fn heir(picture: &mut Picture, primary: NodeId) -> Result<NodeId> {
    let replicas: Vec<NodeId> = picture.replicas(primary).map(Member::id).collect();
    let mut best = None;
    for id in replicas {
        let info = picture.node(id)?.node.say("INFO replication")?;
        let offset: u64 = field(&info, "slave_repl_offset").and_then(|offset| offset.parse().ok()).unwrap_or(0);
        if field(&info, "master_link_status") == Some("up") && best.is_none_or(|(most, _)| offset > most) {
            best = Some((offset, id));
        }
    }
    best.map(|(_, id)| id).with_context(|| format!("no replica of {primary} has its data"))
}

/// Ends a node and starts it again, and waits until it has all its data.
fn restart(picture: &mut Picture, id: NodeId, how: &How, credentials: &Credentials) -> Result<()> {
    let member = picture.node(id)?;
    let address = member.address;
    let before = run_id(&mut member.node)?;
    match &how.restart {
        Some(command) => {
            let command = command
                .replace("{host}", &address.ip().to_string())
                .replace("{port}", &address.port().to_string())
                .replace("{id}", &id.to_string());
            let status = Command::new("sh").args(["-c", &command]).status().with_context(|| command.clone())?;
            if !status.success() {
                bail!("{command}: {status}");
            }
        }
        None => println!(">>> Restart {address} now"),
    }
    let deadline = Instant::now() + Duration::from_secs(how.patience);
    loop {
        // Until it is back it can't be asked.
        if let Some(node) = back(address, &before, credentials) {
            let member = picture.node(id)?;
            member.node = node;
            break;
        }
        if Instant::now() > deadline {
            bail!("{address} is not back after {} s", how.patience);
        }
        sleep(POLL);
    }
    let node = &mut picture.node(id)?.node;
    if let Some(version) = &how.to
        && !is_version(node, version)?
    {
        bail!("{address} has restarted, and is not version {version}");
    }
    println!(">>> {address} is back");
    Ok(())
}

fn run_id(node: &mut Node) -> Result<String> {
    let info = node.say("INFO server")?;
    field(&info, "run_id").map(str::to_owned).context("a node tells its run_id")
}

/// A connection to a node that is another process than before, has loaded everything, and sees a cluster that works.
fn back(address: std::net::SocketAddr, before: &str, credentials: &Credentials) -> Option<Node> {
    let mut node = Node::connect(address, credentials).ok()?;
    let is_new = run_id(&mut node).ok()? != before;
    let info = node.say("INFO replication").ok()?;
    let has_data = field(&info, "role") == Some("master") || field(&info, "master_link_status") == Some("up");
    let is_loaded = node.say("INFO persistence").ok()?.contains("loading:0");
    let works = node.say("CLUSTER INFO").ok()?.contains("cluster_state:ok");
    (is_new && has_data && is_loaded && works).then_some(node)
}

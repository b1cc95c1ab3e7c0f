//! `quorate handover`: before a server is stopped, another takes its place. For whoever stops servers one by one: a rolling update, a
//! machine that needs a new kernel, the preStop hook of a pod.
//!
//! It plans as the dashboard does and waits until the roles have changed. A server that leads nothing has nothing to hand over.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use quorate_resp::Reply;
use quorate_topology::{Address, Command, Explorer, Facts, Group, Pace, Part, Topology, Wish};

use crate::link::Link;
use crate::options::{Access, Manners, address};
use crate::watch::Watch;

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(clap::Parser)]
#[command(
    name = "quorate handover",
    about = "Lets another server take a server's place before it is stopped",
    after_help = "With Sentinels it asks one of them for a failover; in a cluster the replica that is closest behind takes over; without \
                  either, the server itself hands over to it (FAILOVER). It returns when the server leads no more, so that it can be \
                  stopped, and at once if it leads nothing.\n\n\
                  Passwords are read from QUORATE_AUTH or REDISCLI_AUTH; Sentinels that want another one get QUORATE_SENTINEL_AUTH.\n\n\
                  Examples:\n  \
                  quorate handover 127.0.0.1:6379              then stop it\n  \
                  quorate handover --within 25 10.0.0.1:6379   gives up after 25 s, with exit status 1"
)]
pub(crate) struct Options {
    /// The server that is to be stopped.
    #[arg(value_name = "HOST:PORT", value_parser = address)]
    server: Address,
    /// How long it may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    within: u64,
    #[command(flatten)]
    access: Access,
}

pub(crate) async fn hand_over(options: Options) -> Result<u8> {
    let manners = options.access.manners()?;
    let mut watch = Watch::new(std::slice::from_ref(&options.server), manners.clone(), Pace::default());
    let handing = async {
        watch.until("looking", Explorer::is_settled).await;
        loop {
            let Some(command) = order(watch.explorer().topology(), &options.server)? else {
                println!("{} leads nothing: it can be stopped", options.server);
                return Ok(());
            };
            println!("{}: {}", command.at, command.words.join(" "));
            match give(&command, &manners).await {
                Err(why) if will_pass(&why) => {
                    println!("{} answers: {why}; again", command.at);
                    let again = tokio::time::Instant::now() + AGAIN;
                    // The deployment is looked at meanwhile.
                    while tokio::time::timeout_at(again, watch.step()).await.is_ok() {}
                }
                given => break given.map_err(|why| anyhow::anyhow!("{} answers: {why}", command.at))?,
            }
        }
        watch.until("handing over", |explorer| !leads(explorer.topology(), &options.server)).await;
        println!("{} leads no more: it can be stopped", options.server);
        Ok(())
    };
    match tokio::time::timeout(Duration::from_secs(options.within), handing).await {
        Ok(done) => done.map(|()| 0),
        Err(_) => bail!("it was not done within {} s", options.within),
    }
}

fn leads(topology: &Topology, server: &Address) -> bool {
    // Whoever does not answer for a moment is not asked what it leads.
    topology.node(server).is_some_and(|node| node.live().is_none_or(Facts::is_primary))
}

/// What has to be ordered; nothing if the server leads nobody.
fn order(topology: &Topology, server: &Address) -> Result<Option<Command>> {
    let Some(node) = topology.node(server) else { bail!("{server} is not known") };
    let Some(facts) = node.live() else {
        bail!("{server} does not answer: {}", node.fault().map(ToString::to_string).unwrap_or_default())
    };
    if !facts.is_primary() {
        return Ok(None);
    }
    let owns = facts.cluster.as_ref().and_then(|cluster| cluster.myself()).map(|own| own.slot_count());
    if owns == Some(0) {
        return Ok(None);
    }
    let watched_as = topology.groups().into_iter().find_map(|group| match group {
        Group::Tree { name, branches, .. } if branches.first().is_some_and(|top| top.address == node.address) => name,
        _ => None,
    });
    if let Some(name) = watched_as {
        return Ok(Some(first_command(topology, &Wish::FailOver(name))?));
    }
    let candidates = topology
        .live()
        .filter(|(_, other)| other.primary().is_some_and(|primary| *topology.known_as(primary) == node.address));
    let closest = candidates.filter_map(|(other, _)| Some((topology.lag(&other.address)?, &other.address))).min();
    let Some((_, closest)) = closest else {
        ensure!(facts.replicas.is_empty(), "no replica of {server} is linked");
        bail!("{server} has no replica that could take its place");
    };
    if facts.part == Part::ClusterNode {
        return Ok(Some(first_command(topology, &Wish::Promote(closest.clone()))?));
    }
    let words = ["FAILOVER", "TO", &closest.host, &closest.port.to_string()].map(str::to_owned).to_vec();
    Ok(Some(Command { at: node.address.clone(), words, unless: None }))
}

fn first_command(topology: &Topology, wish: &Wish) -> Result<Command> {
    let plan = topology.plan(wish).map_err(anyhow::Error::msg)?;
    plan.steps.into_iter().next().map(|step| step.command).ok_or_else(|| anyhow::anyhow!("there is nothing to do"))
}

/// Whether an order may be taken in a moment that is refused now: a replica has just come, or a failover is under way.
fn will_pass(said: &str) -> bool {
    ["INPROG", "NOGOODSLAVE", "LOADING", "CLUSTERDOWN"].iter().any(|word| said.starts_with(word))
        || said.contains("is not online")
}

/// Gives the order; an error is what was answered, or why nothing was.
async fn give(command: &Command, manners: &Manners) -> Result<(), String> {
    let said = async {
        let mut link = Link::connect(&command.at, manners).await?;
        link.ask(std::slice::from_ref(&command.words)).await
    };
    match said.await.map(|mut replies| replies.pop()) {
        Ok(Some(Reply::Error(error))) => Err(String::from_utf8_lossy(&error).into_owned()),
        Ok(_) => Ok(()),
        Err(fault) => Err(fault.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_pass_is_waited_for_and_what_will_not_is_told() {
        for said in [
            "ERR FAILOVER target replica is not online.",
            "NOGOODSLAVE No suitable replica to promote",
            "INPROG Failover already in progress",
        ] {
            assert!(will_pass(said), "{said}");
        }
        for said in
            ["ERR FAILOVER requires connected replicas.", "NOAUTH Authentication required.", "connection refused"]
        {
            assert!(!will_pass(said), "{said}");
        }
    }
}

//! What slots weigh: what the nodes say that each of them holds, or has cost while we looked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use quorate_client::Reply;
use quorate_cluster::NodeId;

use crate::level::{Weights, carried};
use crate::node::{Node, text};
use crate::picture::Picture;
use crate::plan::{Move, Share};
use crate::screen::Bar;

/// By what slots are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum By {
    /// Their number.
    #[default]
    Slots,
    /// The keys in them.
    Keys,
    /// The processor time of their commands, while it is measured.
    Load,
    /// The bytes of their requests and replies, while it is measured.
    Traffic,
}

impl By {
    /// What it is called in a sentence.
    pub(crate) fn word(self) -> &'static str {
        match self {
            By::Slots => "slots",
            By::Keys => "keys",
            By::Load => "processor time",
            By::Traffic => "traffic",
        }
    }

    /// The fields of CLUSTER SLOT-STATS that make it up.
    fn fields(self) -> &'static [&'static str] {
        match self {
            By::Slots | By::Keys => &[],
            By::Load => &["cpu-usec"],
            By::Traffic => &["network-bytes-in", "network-bytes-out"],
        }
    }
}

/// What the slots of all primaries weigh; what has to be measured, for so long.
///
/// # Errors
/// A node does not say, or nobody has asked for anything meanwhile.
pub(crate) fn weigh(picture: &mut Picture, by: By, measure: Duration) -> Result<Weights> {
    let primaries: Vec<NodeId> = picture.primaries().map(|member| member.id()).collect();
    let mut weights = Weights::new();
    match by {
        By::Slots => {}
        By::Keys => {
            for id in primaries {
                weights.extend(keys(picture, id)?);
            }
        }
        By::Load | By::Traffic => {
            let read = |picture: &mut Picture| -> Result<Weights> {
                let mut all = Weights::new();
                for id in &primaries {
                    all.extend(costs(&mut picture.node(*id)?.node, by)?);
                }
                Ok(all)
            };
            let before = read(picture)?;
            wait(by, measure);
            let grown = |(slot, cost): (u16, f64)| (slot, (cost - before.get(&slot).unwrap_or(&0.0)).max(0.0));
            weights = read(picture)?.into_iter().map(grown).collect();
            if weights.values().all(|weight| *weight == 0.0) {
                bail!("nobody has asked for anything in {} seconds: there is no load to share", measure.as_secs());
            }
        }
    }
    Ok(weights)
}

/// Shows what part each node carries, and what it will.
pub(crate) fn show(picture: &Picture, shares: &[Share], weights: &Weights, moves: &[Move], by: By) {
    let total: f64 = weights.values().sum();
    let percent = |weight: f64| if total > 0.0 { weight * 100.0 / total } else { 0.0 };
    println!(">>> Shares of the {}:", by.word());
    for share in shares {
        let going = |away: bool| {
            let is_ours = |step: &&Move| share.id == if away { step.from } else { step.to };
            moves.iter().filter(is_ours).map(|step| carried(&step.slots, weights)).sum::<f64>()
        };
        let now = carried(&share.slots, weights);
        let then = now - going(true) + going(false);
        let name = picture.member(share.id).map_or_else(|| share.id.to_string(), |member| member.address.to_string());
        println!("    {name}: {:.1} % -> {:.1} %", percent(now), percent(then));
    }
}

fn wait(by: By, time: Duration) {
    let (begun, mut bar) = (Instant::now(), Bar::waiting(format!("measuring {}", by.word())));
    while begun.elapsed() < time {
        bar.at(0, "");
        std::thread::sleep(Duration::from_millis(100).min(time));
    }
}

/// How many keys each slot of a node holds, as any make of node tells it.
fn keys(picture: &mut Picture, id: NodeId) -> Result<Weights> {
    let member = picture.node(id)?;
    let slots: Vec<u16> = member.told.slots.iter().collect();
    let ask =
        |slot: &u16| ["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()].map(|word| word.as_bytes().to_vec()).to_vec();
    let answers = member.node.call_all(&slots.iter().map(ask).collect::<Vec<_>>())?;
    let count = |(slot, answer): (u16, Reply)| match answer {
        Reply::Int(count) => Ok((slot, count as f64)),
        other => bail!("{} does not count the keys of slot {slot}: {}", member.address, text(&other)),
    };
    slots.into_iter().zip(answers).map(count).collect()
}

/// What each slot of a node has cost since that began to count.
fn costs(node: &mut Node, by: By) -> Result<BTreeMap<u16, f64>> {
    let stats = node.call(&["CLUSTER", "SLOT-STATS", "SLOTSRANGE", "0", "16383"]).with_context(|| {
        format!("{} does not tell what slots cost; --by keys and --by slots need less of it", node.address)
    })?;
    let Reply::Array(rows) = stats else { bail!("{} does not list its slots", node.address) };
    let mut costs = BTreeMap::new();
    for row in &rows {
        let Reply::Array(row) = row else { bail!("{} does not list its slots", node.address) };
        let [Reply::Int(slot), counts] = &row[..] else { bail!("{} does not list its slots", node.address) };
        let mut cost = 0.0;
        for name in by.fields() {
            cost += field(counts, name).with_context(|| {
                format!("{} does not count what slots cost: CONFIG SET cluster-slot-stats-enabled yes", node.address)
            })?;
        }
        costs.insert(u16::try_from(*slot).unwrap_or_default(), cost);
    }
    Ok(costs)
}

fn field(counts: &Reply, name: &str) -> Option<f64> {
    let is_it = |reply: &Reply| text(reply) == name;
    let value = match counts {
        Reply::Array(items) => items.chunks_exact(2).find(|pair| is_it(&pair[0])).map(|pair| &pair[1]),
        Reply::Map(pairs) => pairs.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value),
        _ => None,
    };
    match value {
        Some(Reply::Int(count)) => Some(*count as f64),
        _ => None,
    }
}

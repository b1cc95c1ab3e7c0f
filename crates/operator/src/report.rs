//! What there is, and what is wrong with it: `check` and `info`, in the lines that scripts for redis-cli look for, and as JSON.

use anyhow::Result;
use quorate_cluster::{NodeFlags, SLOTS, Slots};

use crate::picture::{Member, Picture};
use crate::screen::quoted;

/// Something that is wrong.
pub(crate) type Problem = String;

/// What is wrong.
pub(crate) fn problems(picture: &Picture) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !picture.agrees() {
        problems.push("Nodes don't agree about configuration!".to_owned());
    }
    for (slot, open) in picture.open() {
        let side = match (open.migrating, open.importing.is_empty()) {
            (Some(_), false) => "is on its way",
            (Some(_), true) => "is set as migrating, and nobody imports it",
            (None, _) => "is set as importing, and nobody sends it",
        };
        problems.push(format!("Slot {slot} {side}"));
    }
    let uncovered = picture.uncovered();
    if !uncovered.is_empty() {
        problems.push(format!("Not all {SLOTS} slots are covered by nodes: {}", ranges(&uncovered)));
    }
    for (id, place, why) in &picture.missing {
        problems.push(format!("Node {id} at {place} can't be reached: {why}"));
    }
    problems
}

/// Slots as redis-cli shows them.
pub(crate) fn ranges(slots: &Slots) -> String {
    let show = |(first, last): (u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    slots.ranges().into_iter().map(show).collect::<Vec<_>>().join(",")
}

/// `check`: the nodes and what is wrong; whether nothing is.
///
/// # Errors
/// Never for what is found, only for nodes that go away meanwhile.
pub(crate) fn check(picture: &mut Picture, json: bool) -> Result<bool> {
    let problems = problems(picture);
    if json {
        println!("{}", as_json(picture, &problems)?);
        return Ok(problems.is_empty());
    }
    summary(picture)?;
    println!(">>> Performing Cluster Check (using node {})", picture.members[0].address);
    for member in &picture.members {
        println!("{}", describe(picture, member));
    }
    if picture.agrees() {
        println!("[OK] All nodes agree about slots configuration.");
    }
    println!(">>> Check for open slots...");
    println!(">>> Check slots coverage...");
    if picture.uncovered().is_empty() {
        println!("[OK] All {SLOTS} slots covered.");
    }
    for problem in &problems {
        println!("[ERR] {problem}");
    }
    Ok(problems.is_empty())
}

/// One node, as redis-cli describes it.
fn describe(picture: &Picture, member: &Member) -> String {
    let letter = if member.is_primary() { 'M' } else { 'S' };
    let mut text = format!("{letter}: {} {}\n", member.id(), member.address);
    let slots = &member.told.slots;
    let role = if member.is_primary() { "master" } else { "slave" };
    let shown = if slots.is_empty() { String::new() } else { format!("[{}]", ranges(slots)) };
    text += &format!("   slots:{shown} ({} slots) {role}", slots.len());
    if let Some(primary) = member.told.primary {
        text += &format!("\n   replicates {primary}");
    }
    let replicas = picture.replicas(member.id()).count();
    if replicas > 0 {
        text += &format!("\n   {replicas} additional replica(s)");
    }
    text
}

/// `info`: primaries, with what they hold.
///
/// # Errors
/// A node is gone.
pub(crate) fn summary(picture: &mut Picture) -> Result<()> {
    let mut total = 0;
    let primaries: Vec<_> = picture.primaries().map(Member::id).collect();
    for id in &primaries {
        let replicas = picture.replicas(*id).count();
        let member = picture.node(*id)?;
        let keys: u64 = member.node.say("DBSIZE")?.parse()?;
        total += keys;
        let short = &id.to_string()[..8];
        println!(
            "{} ({short}...) -> {keys} keys | {} slots | {replicas} slaves.",
            member.address,
            member.told.slots.len()
        );
    }
    println!("[OK] {total} keys in {} masters.", primaries.len());
    println!("{:.2} keys per slot on average.", total as f64 / f64::from(SLOTS));
    Ok(())
}

fn as_json(picture: &mut Picture, problems: &[Problem]) -> Result<String> {
    let mut nodes = Vec::new();
    for index in 0..picture.members.len() {
        let member = &mut picture.members[index];
        let keys = member.node.say("DBSIZE")?;
        let told = &member.told;
        let primary = told.primary.map_or("null".to_owned(), |primary| quoted(&primary.to_string()));
        nodes.push(format!(
            "{{\"id\":{},\"address\":{},\"role\":{},\"primary\":{primary},\"slots\":{},\"ranges\":{},\"keys\":{keys},\
             \"epoch\":{},\"atomic\":{}}}",
            quoted(&told.id.to_string()),
            quoted(&member.address.to_string()),
            quoted(if told.flags.any(NodeFlags::PRIMARY) { "primary" } else { "replica" }),
            told.slots.len(),
            quoted(&ranges(&told.slots)),
            told.config_epoch,
            member.is_atomic,
        ));
    }
    let problems: Vec<String> = problems.iter().map(|problem| quoted(problem)).collect();
    Ok(format!("{{\"nodes\":[{}],\"problems\":[{}]}}", nodes.join(","), problems.join(",")))
}

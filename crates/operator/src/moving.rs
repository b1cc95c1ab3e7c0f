//! Moving slots from one node to another: with all that they hold if both can, and key by key otherwise. Either way it can be
//! broken off at any moment, and done again.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use quorate_client::Reply;
use quorate_cluster::NodeId;

use crate::node::{Credentials, text};
use crate::picture::Picture;
use crate::plan::Move;

/// Keys of a MIGRATE.
const KEYS: usize = 100;
/// How long a MIGRATE may take, milliseconds.
const PATIENCE: &str = "60000";
/// How long a target may say that the cluster is down for it: a node is for 2 s after its start, and as long after a partition
/// as the others take to see it again.
const HELD_BACK: Duration = Duration::from_secs(15);
/// How often a node is asked how far it is.
const POLL: Duration = Duration::from_millis(20);
/// How often a migration is begun anew that came to nothing.
const ATTEMPTS: usize = 3;

/// Whether both can move slots with all that they hold.
pub(crate) fn is_atomic(picture: &Picture, step: &Move) -> bool {
    [step.from, step.to].iter().all(|id| picture.member(*id).is_some_and(|member| member.is_atomic))
}

/// Hears how many slots of a move are done, and what more there is to say.
pub(crate) type Ear<'e> = &'e mut dyn FnMut(usize, &str);

/// Moves slots.
///
/// # Errors
/// A node refuses, or is gone. What was moved by then stays moved.
pub(crate) fn run(picture: &mut Picture, step: &Move, credentials: &Credentials, ear: Ear<'_>) -> Result<()> {
    if is_atomic(picture, step) {
        as_a_whole(picture, step, ear)?;
    } else {
        for (done, slot) in step.slots.iter().enumerate() {
            ear(done, "");
            by_hand(picture, slot, step.from, step.to, credentials)?;
        }
    }
    ear(step.slots.len(), "");
    Ok(())
}

fn as_a_whole(picture: &mut Picture, step: &Move, ear: Ear<'_>) -> Result<()> {
    let mut words: Vec<String> = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE"].map(str::to_owned).to_vec();
    for (first, last) in step.slots.ranges() {
        words.extend([first.to_string(), last.to_string()]);
    }
    words.extend(["NODE".to_owned(), step.to.to_string()]);
    let mut attempt = 1;
    loop {
        let source = picture.node(step.from)?;
        source.node.call(&words)?;
        match await_end(&mut source.node, step.to, ear) {
            Ok(()) => return Ok(()),
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}

/// Waits for the end of the migration to `to` that was begun last.
fn await_end(source: &mut crate::node::Node, to: NodeId, ear: Ear<'_>) -> Result<()> {
    loop {
        let Reply::Array(migrations) = source.call(&["CLUSTER", "GETSLOTMIGRATIONS"])? else {
            bail!("{} does not list its migrations", source.address)
        };
        let fields = migrations.iter().map(fields);
        let ours = fields.into_iter().find(|fields| field(fields, "target_node") == Some(&to.to_string()));
        let ours = ours.with_context(|| format!("{} has forgotten the migration", source.address))?;
        let state = field(&ours, "state").map_or("", String::as_str);
        match state {
            "success" => return Ok(()),
            "failed" | "cancelled" => {
                bail!("the migration has {state}: {}", field(&ours, "message").map_or("", String::as_str))
            }
            _ => ear(0, state),
        }
        sleep(POLL);
    }
}

fn fields(migration: &Reply) -> Vec<(String, String)> {
    match migration {
        Reply::Array(items) => items.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        Reply::Map(pairs) => pairs.iter().map(|(name, value)| (text(name), text(value))).collect(),
        _ => Vec::new(),
    }
}

fn field<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f String> {
    fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
}

/// Moves a slot key by key, whether it has been begun before or not.
///
/// # Errors
/// As [`run`].
pub(crate) fn by_hand(
    picture: &mut Picture,
    slot: u16,
    from: NodeId,
    to: NodeId,
    credentials: &Credentials,
) -> Result<()> {
    picture.node(to)?.node.say(&format!("CLUSTER SETSLOT {slot} IMPORTING {from}"))?;
    picture.node(from)?.node.say(&format!("CLUSTER SETSLOT {slot} MIGRATING {to}"))?;
    send_keys(picture, slot, from, to, credentials)?;
    // The new owner first: if we are broken off here, it is known whose the slot is.
    let others: Vec<NodeId> =
        picture.primaries().map(|member| member.id()).filter(|id| *id != to && *id != from).collect();
    for id in [to, from].into_iter().chain(others) {
        let told = picture.node(id)?.node.say(&format!("CLUSTER SETSLOT {slot} NODE {to}"));
        // The others learn of it from the new owner anyhow.
        if id == to || id == from {
            told?;
        }
    }
    Ok(())
}

/// Sends all keys of a slot that a node holds to another.
///
/// # Errors
/// As [`run`].
pub(crate) fn send_keys(
    picture: &mut Picture,
    slot: u16,
    from: NodeId,
    to: NodeId,
    credentials: &Credentials,
) -> Result<()> {
    let target = picture.node(to)?.address;
    let source = &mut picture.node(from)?.node;
    let mut held_back = None;
    loop {
        let keys = source.call(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &KEYS.to_string()])?;
        let Reply::Array(keys) = keys else { bail!("{} does not name the keys of slot {slot}", source.address) };
        if keys.is_empty() {
            return Ok(());
        }
        let keys = keys.into_iter().filter_map(|key| match key {
            Reply::Bulk(key) => Some(key),
            _ => None,
        });
        let words = migrate_words(target, &["REPLACE"], credentials, keys);
        match source.call(&words) {
            // It has just started, or sees a majority of the others again since a moment; keys of before stay where they are.
            Err(error) if format!("{error:#}").contains("CLUSTERDOWN") => {
                if held_back.get_or_insert_with(Instant::now).elapsed() > HELD_BACK {
                    return Err(error);
                }
                sleep(POLL);
            }
            told => {
                told?;
                held_back = None;
            }
        }
    }
}

/// MIGRATE of several keys.
pub(crate) fn migrate_words(
    to: SocketAddr,
    options: &[&str],
    credentials: &Credentials,
    keys: impl Iterator<Item = Vec<u8>>,
) -> Vec<Vec<u8>> {
    let (ip, port) = (to.ip().to_string(), to.port().to_string());
    let password = credentials.secret();
    let mut words = vec!["MIGRATE", &ip, &port, "", "0", PATIENCE];
    words.extend(options);
    match (&password, &credentials.user) {
        (Some(password), Some(user)) => words.extend(["AUTH2", user, password]),
        (Some(password), None) => words.extend(["AUTH", password]),
        (None, _) => {}
    }
    words.push("KEYS");
    words.into_iter().map(|word| word.as_bytes().to_vec()).chain(keys).collect()
}

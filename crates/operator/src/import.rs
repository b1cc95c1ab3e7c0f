//! `import`: the keys of a server that is no node of a cluster go to the nodes that have their slots.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use quorate_client::Reply;
use quorate_cluster::NodeId;

use crate::Manner;
use crate::moving::migrate_words;
use crate::node::{Credentials, Node, text};
use crate::picture::Picture;
use crate::screen::{Bar, confirm};

/// Keys that are asked for at once, and at most go in one MIGRATE.
const COUNT: usize = 100;

/// What is done with keys.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct How {
    /// The server that has them.
    #[arg(long, value_name = "HOST:PORT")]
    from: String,
    /// They stay there, too.
    #[arg(long)]
    copy: bool,
    /// They take the place of keys of the same name.
    #[arg(long)]
    replace: bool,
    /// The password of that server.
    #[arg(long, value_name = "PASSWORD")]
    from_pass: Option<String>,
    /// The name of a user there.
    #[arg(long, value_name = "NAME")]
    from_user: Option<String>,
}

/// See the module's text.
///
/// # Errors
/// The server is a node of a cluster, has several databases, or a key is refused. What was moved by then stays moved.
pub(crate) fn run(picture: &mut Picture, how: &How, manner: &Manner) -> Result<()> {
    let from = crate::node::address(&how.from)?;
    // That server need not speak TLS where the cluster does; from where it is moved by MIGRATE, it does or does not itself.
    let theirs = Credentials {
        password: how.from_pass.clone(),
        user: how.from_user.clone(),
        encryption: quorate_tls::Encryption::default(),
    };
    let mut source = Node::connect(from, &theirs)?;
    if source.say("INFO cluster")?.contains("cluster_enabled:1") {
        bail!("{from} is a node of a cluster itself");
    }
    let databases = source.say("INFO keyspace")?.lines().filter(|line| line.starts_with("db")).count();
    let keys: usize = source.say("DBSIZE")?.parse().context("DBSIZE is a number")?;
    if databases > usize::from(keys > 0) {
        bail!("{from} has keys in other databases than 0, and a cluster has one");
    }
    let verb = if how.copy { "Copying" } else { "Moving" };
    println!(">>> {verb} {keys} keys from {from} to the cluster");
    if manner.dry_run {
        return Ok(());
    }
    if !manner.yes && !confirm("Do you want to proceed?") {
        bail!("nothing was changed");
    }
    let mut bar = Bar::new(format!("{from}"), keys);
    let (mut cursor, mut done) = ("0".to_owned(), 0);
    loop {
        let reply = source.call(&["SCAN", &cursor, "COUNT", &COUNT.to_string()])?;
        let Reply::Array(parts) = reply else { bail!("{from} does not understand SCAN") };
        let [next, Reply::Array(found)] = &parts[..] else { bail!("{from} does not understand SCAN") };
        let found: Vec<Vec<u8>> = found.iter().filter_map(bytes).collect();
        for (target, keys) in by_target(picture, found)? {
            send(&mut source, target, &keys, how, &manner.credentials)?;
            done += keys.len();
            bar.at(done, "");
        }
        cursor = text(next);
        if cursor == "0" {
            break;
        }
    }
    drop(bar);
    println!("[OK] {done} keys {}.", if how.copy { "copied" } else { "moved" });
    Ok(())
}

fn bytes(reply: &Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::Bulk(bytes) => Some(bytes.clone()),
        _ => None,
    }
}

/// Which keys go where.
fn by_target(picture: &mut Picture, keys: Vec<Vec<u8>>) -> Result<BTreeMap<SocketAddr, Vec<Vec<u8>>>> {
    let ask = |key: &Vec<u8>| vec![b"CLUSTER".to_vec(), b"KEYSLOT".to_vec(), key.clone()];
    let requests: Vec<Vec<Vec<u8>>> = keys.iter().map(ask).collect();
    let slots = picture.members[0].node.call_all(&requests)?;
    let mut targets = BTreeMap::<SocketAddr, Vec<Vec<u8>>>::new();
    for (key, slot) in keys.into_iter().zip(slots) {
        let Reply::Int(slot) = slot else { bail!("the slot of a key is a number") };
        let slot = u16::try_from(slot).context("the slot of a key is a number")?;
        let owner: Option<NodeId> =
            picture.primaries().find(|member| member.told.slots.has(slot)).map(|member| member.id());
        let owner = owner.with_context(|| format!("slot {slot} has no owner"))?;
        targets.entry(picture.node(owner)?.address).or_default().push(key);
    }
    Ok(targets)
}

fn send(source: &mut Node, to: SocketAddr, keys: &[Vec<u8>], how: &How, credentials: &Credentials) -> Result<()> {
    let mut options = Vec::new();
    options.extend(how.copy.then_some("COPY"));
    options.extend(how.replace.then_some("REPLACE"));
    let words = migrate_words(to, &options, credentials, keys.iter().cloned());
    // A key that has expired since it was found is no key any more.
    source.call(&words).map(drop)
}

//! A cluster of either make, formed without any tool.

use quorate_client::Reply;

use crate::deployment::Make;
use crate::server::await_that;
use crate::server::{Server, free_port};

/// The slots of three primaries that share them evenly.
pub const EVEN: [&str; 3] = ["0 5460", "5461 10922", "10923 16383"];

/// Starts a node that knows nobody; with its port of the bus. `None`, and a line that says so, if it needs a Redis that is
/// not installed.
///
/// # Panics
/// If it does not answer.
pub fn node(make: Make) -> Option<(Server, u16)> {
    let bus = free_port();
    let text = bus.to_string();
    let options = ["--cluster-enabled", "yes", "--cluster-port", &text, "--cluster-node-timeout", "5000"];
    let server = match make {
        Make::Ours => Server::start(&[&options[..], &["--network-threads", "1"]].concat()),
        Make::Redis => Server::start_redis(&options, None)?,
    };
    Some((server, bus))
}

/// Asks a node; what it answers as text.
///
/// # Panics
/// If that is no text, or the node does not answer.
pub fn ask(node: &Server, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    match node.connect().call(&words) {
        Ok(Reply::Simple(text) | Reply::Bulk(text) | Reply::Error(text)) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("{line}: {other:?}"),
    }
}

/// Three primaries with these slots and a replica of each, in this order. `None` as for [`node`].
///
/// # Panics
/// If they do not find each other.
pub fn form(make: Make, slots: [&str; 3]) -> Option<Vec<Server>> {
    let (mut nodes, mut first_bus) = (Vec::new(), 0);
    for index in 0..2 * slots.len() {
        let (node, bus) = self::node(make)?;
        assert_eq!(ask(&node, &format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1)), "OK");
        if let Some(slots) = slots.get(index) {
            assert_eq!(ask(&node, &format!("CLUSTER ADDSLOTSRANGE {slots}")), "OK");
        }
        nodes.push(node);
        if index == 0 {
            first_bus = bus;
        } else {
            let meet = format!("CLUSTER MEET 127.0.0.1 {} {first_bus}", nodes[0].port());
            assert_eq!(ask(&nodes[index], &meet), "OK");
        }
    }
    await_that("everybody knows everybody", || {
        let knows = |text: String| text.lines().count() == nodes.len() && !text.contains("handshake");
        nodes.iter().all(|node| knows(ask(node, "CLUSTER NODES")))
    });
    let (primaries, replicas) = nodes.split_at(slots.len());
    for (primary, replica) in primaries.iter().zip(replicas) {
        assert_eq!(ask(replica, &format!("CLUSTER REPLICATE {}", ask(primary, "CLUSTER MYID"))), "OK");
    }
    await_that("the cluster works, and its replicas follow", || {
        let works = |node: &Server| ask(node, "CLUSTER INFO").contains("cluster_state:ok");
        let follows = |node: &Server| ask(node, "INFO replication").contains("master_link_status:up");
        nodes.iter().all(works) && replicas.iter().all(follows)
    });
    Some(nodes)
}

//! The faults, and what is measured of each.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::written::{Written, count, outage};
use super::writers::{Kind, lost, start};
use super::{Deployment, HEIR, HOSTS, NODES, PORT, Row, VICTIM};

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// `cluster-node-timeout`, instead of each fault's own.
    pub node_timeout: Option<Duration>,
    /// How long a fault lasts that ends by itself.
    pub length: Duration,
}

/// What is done to a deployment; when it took effect.
type Act = fn(&mut Deployment) -> Result<Instant, String>;

/// One fault.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// How it is called.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// `cluster-node-timeout`: the default where that is not waited for.
    pub node_timeout: Duration,
    strike: Act,
    /// What ends it, after the plan's length; nothing if it is over at once.
    relent: Option<Act>,
    /// Whether the replica is to take over.
    replaces: Option<bool>,
}

const DEFAULT: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_secs(1);

/// All of them.
pub const CASES: [Case; 10] = [
    Case {
        name: "kill",
        what: "kill -9 of a primary, started again later",
        node_timeout: DEFAULT,
        strike: |deployment| {
            deployment.stage.kill(VICTIM);
            Ok(Instant::now())
        },
        relent: Some(start_again),
        replaces: Some(true),
    },
    Case {
        name: "restart-empty",
        what: "kill -9 of a primary, back with nothing at once",
        node_timeout: DEFAULT,
        strike: |deployment| {
            deployment.stage.kill(VICTIM);
            start_again(deployment)
        },
        relent: None,
        replaces: None,
    },
    Case {
        name: "manual",
        what: "CLUSTER FAILOVER",
        node_timeout: DEFAULT,
        strike: |deployment| {
            let begun = Instant::now();
            deployment.order(HEIR, "CLUSTER FAILOVER").map(|()| begun)
        },
        relent: None,
        replaces: Some(true),
    },
    Case {
        name: "power-off",
        what: "a primary's host is gone without a word, and back later",
        node_timeout: SHORT,
        strike: |deployment| {
            let cut = deployment.stage.lan.cut(&around(VICTIM))?;
            deployment.stage.kill(VICTIM);
            Ok(cut)
        },
        relent: Some(|deployment| {
            deployment.stage.lan.mend(&around(VICTIM))?;
            start_again(deployment)
        }),
        replaces: Some(true),
    },
    Case {
        name: "freeze",
        what: "SIGSTOP of a primary, SIGCONT later",
        node_timeout: SHORT,
        strike: |deployment| deployment.stage.signal(VICTIM, Signal::STOP),
        relent: Some(|deployment| deployment.stage.signal(VICTIM, Signal::CONT)),
        replaces: Some(true),
    },
    Case {
        name: "blocked",
        what: "a command that holds up all others of a primary",
        node_timeout: SHORT,
        strike: |deployment| {
            deployment.stage.leave(VICTIM, PORT, &["DEBUG", "SLEEP", "5"])?;
            Ok(Instant::now())
        },
        relent: Some(|_| Ok(Instant::now())),
        replaces: Some(true),
    },
    Case {
        name: "partition",
        what: "a primary and the clients on its host are cut off",
        node_timeout: SHORT,
        strike: |deployment| deployment.stage.lan.cut(&around(VICTIM)),
        relent: Some(|deployment| deployment.stage.lan.mend(&around(VICTIM))),
        replaces: Some(true),
    },
    Case {
        name: "partition-replica",
        what: "a replica is cut off",
        node_timeout: SHORT,
        strike: |deployment| deployment.stage.lan.cut(&around(HEIR)),
        relent: Some(|deployment| deployment.stage.lan.mend(&around(HEIR))),
        replaces: Some(false),
    },
    Case {
        name: "deaf-cluster",
        what: "what a primary sends to other nodes is lost, the other way not",
        node_timeout: SHORT,
        strike: |deployment| deployment.stage.lan.cut(&to_nodes()),
        relent: Some(|deployment| deployment.stage.lan.mend(&to_nodes())),
        replaces: Some(true),
    },
    Case {
        name: "deaf-replica",
        what: "what a primary sends to its replica is lost, the other way not",
        node_timeout: SHORT,
        strike: |deployment| deployment.stage.lan.cut(&[(VICTIM, HEIR)]),
        relent: Some(|deployment| deployment.stage.lan.mend(&[(VICTIM, HEIR)])),
        replaces: Some(false),
    },
];

fn start_again(deployment: &mut Deployment) -> Result<Instant, String> {
    let begun = Instant::now();
    deployment.start_node(VICTIM).map(|()| begun)
}

/// Both ends of all cables of a host; that to the clients first, so that none of them is told anything that the others
/// were not told before.
fn around(host: usize) -> Vec<(usize, usize)> {
    (0..HOSTS).rev().filter(|other| *other != host).flat_map(|other| [(host, other), (other, host)]).collect()
}

fn to_nodes() -> Vec<(usize, usize)> {
    (0..NODES).filter(|host| *host != VICTIM).map(|host| (VICTIM, host)).collect()
}

/// Plays one fault through.
///
/// # Errors
/// There can be no namespaces here, or something does not come about that has to: what.
pub fn run(case: &Case, plan: &Plan) -> Result<Row, String> {
    let node_timeout = plan.node_timeout.unwrap_or(case.node_timeout);
    let mut deployment = Deployment::start(node_timeout)?;
    let roaming = start(&deployment, Kind::Roaming, 4);
    let elsewhere = start(&deployment, Kind::Elsewhere, 2);
    let pinned = start(&deployment, Kind::Pinned, 2);
    let apart = start(&deployment, Kind::Apart, 2);
    deployment.stage.await_that("clients write", || {
        let others = [(&elsewhere, 200), (&pinned, 100), (&apart, 100)];
        roaming.acknowledged() > 200 && others.iter().all(|(clients, least)| clients.acknowledged() > *least)
    })?;
    let struck = Instant::now();
    let hit = (case.strike)(&mut deployment)?;
    let done = Instant::now();
    if case.replaces == Some(true) {
        deployment.stage.await_that("the replica leads", || deployment.leads(HEIR))?;
    }
    let promoted = struck.elapsed();
    while done.elapsed() < plan.length && case.relent.is_some() {
        if case.replaces == Some(false) && deployment.leads(HEIR) {
            return Err(format!("the primary was replaced for nothing\n{}", deployment.stage.logs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Some(relent) = case.relent {
        relent(&mut deployment)?;
    }
    let relented = Instant::now();
    deployment.stage.await_that("all is well again", || deployment.is_well())?;
    let healed = relented.elapsed();
    let before = roaming.acknowledged();
    deployment.stage.await_that("clients write again", || roaming.acknowledged() > before + 100)?;
    let (roaming, elsewhere, pinned, apart) = (roaming.stop(), elsewhere.stop(), pinned.stop(), apart.stop());
    // Each of them by itself: one must not hide that another waits.
    let longest = |clients: &[Written]| clients.iter().map(|client| outage([client], struck)).max().unwrap_or_default();
    let lost =
        |kind: Kind, clients: &[Written]| lost(&deployment, kind, clients).ok_or("nobody says what the cluster holds");
    let (lost_roaming, lost_pinned) = (lost(Kind::Roaming, &roaming)?, lost(Kind::Pinned, &pinned)?);
    let lost_elsewhere = lost(Kind::Elsewhere, &elsewhere)?;
    let span = lost_pinned.iter().map(|at| at.saturating_duration_since(hit)).max().unwrap_or_default();
    Ok(Row {
        name: case.name,
        node_timeout,
        outage: outage(&roaming, struck),
        elsewhere: longest(&elsewhere),
        apart: longest(&apart),
        promoted: (case.replaces == Some(true)).then_some(promoted),
        lost: (lost_roaming.len() + lost_elsewhere.len(), lost_pinned.len()),
        lost_for: span,
        acknowledged: (count(&roaming) + count(&elsewhere), count(&pinned)),
        healed,
    })
}

//! The faults, and what is measured of each.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::written::{Written, count, outage};
use super::writers::{Kind, lost, start};
use super::{Deployment, HOSTS, Row, SENTINELS, SERVERS};

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// `down-after-milliseconds`.
    pub down_after: Duration,
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
    strike: Act,
    /// What ends it, after the plan's length; nothing if it is over at once.
    relent: Option<Act>,
    /// Whether the primary is to be replaced.
    replaces: Option<bool>,
}

/// All of them.
pub const CASES: [Case; 10] = [
    Case {
        name: "kill",
        what: "kill -9 of the primary, started again later",
        strike: |deployment| {
            deployment.stage.kill(0);
            Ok(Instant::now())
        },
        relent: Some(start_again),
        replaces: Some(true),
    },
    Case {
        name: "restart-empty",
        what: "kill -9 of the primary, back with nothing within 0.3 s",
        strike: |deployment| {
            deployment.stage.kill(0);
            start_again(deployment)
        },
        relent: None,
        replaces: None,
    },
    Case {
        name: "power-off",
        what: "the primary's host is gone without a word, and back later",
        strike: |deployment| {
            let cut = deployment.stage.lan.cut(&around(0))?;
            deployment.stage.kill(0);
            Ok(cut)
        },
        relent: Some(|deployment| {
            deployment.stage.lan.mend(&around(0))?;
            start_again(deployment)
        }),
        replaces: Some(true),
    },
    Case {
        name: "freeze",
        what: "SIGSTOP of the primary, SIGCONT later",
        strike: |deployment| deployment.stage.signal(0, Signal::STOP),
        relent: Some(|deployment| deployment.stage.signal(0, Signal::CONT)),
        replaces: Some(true),
    },
    Case {
        name: "partition",
        what: "the primary and the clients on its host are cut off",
        strike: |deployment| deployment.stage.lan.cut(&around(0)),
        relent: Some(|deployment| deployment.stage.lan.mend(&around(0))),
        replaces: Some(true),
    },
    Case {
        name: "partition-sentinel",
        what: "one Sentinel is cut off",
        strike: |deployment| deployment.stage.lan.cut(&around(SERVERS)),
        relent: Some(|deployment| deployment.stage.lan.mend(&around(SERVERS))),
        replaces: Some(false),
    },
    Case {
        name: "deaf-sentinels",
        what: "what the primary sends to the Sentinels is lost, the other way not",
        strike: |deployment| deployment.stage.lan.cut(&to_sentinels()),
        relent: Some(|deployment| deployment.stage.lan.mend(&to_sentinels())),
        replaces: Some(true),
    },
    Case {
        name: "deaf-replicas",
        what: "what the primary sends to its replicas is lost, the other way not",
        strike: |deployment| deployment.stage.lan.cut(&[(0, 1), (0, 2)]),
        relent: Some(|deployment| deployment.stage.lan.mend(&[(0, 1), (0, 2)])),
        replaces: Some(false),
    },
    Case {
        name: "lossy-sentinels",
        what: "a tenth of the packets that the primary sends to the Sentinels is lost, the other way none",
        strike: |deployment| deployment.stage.lan.lose(&to_sentinels(), LOST),
        relent: Some(|deployment| deployment.stage.lan.lose_none(&to_sentinels())),
        replaces: Some(false),
    },
    Case {
        name: "lossy-replicas",
        what: "a tenth of the packets that the primary sends to its replicas is lost, the other way none",
        strike: |deployment| deployment.stage.lan.lose(&[(0, 1), (0, 2)], LOST),
        relent: Some(|deployment| deployment.stage.lan.lose_none(&[(0, 1), (0, 2)])),
        replaces: Some(false),
    },
];

/// How many of a hundred packets a bad plug loses.
const LOST: u32 = 10;

fn start_again(deployment: &mut Deployment) -> Result<Instant, String> {
    let begun = Instant::now();
    deployment.start_server(0).map(|()| begun)
}

/// Both ends of all cables of a host; that to the clients first, so that none of them is told anything that the others
/// were not told before.
fn around(host: usize) -> Vec<(usize, usize)> {
    (0..HOSTS).rev().filter(|other| *other != host).flat_map(|other| [(host, other), (other, host)]).collect()
}

fn to_sentinels() -> Vec<(usize, usize)> {
    (SERVERS..SERVERS + SENTINELS).map(|sentinel| (0, sentinel)).collect()
}

/// Plays one fault through.
///
/// # Errors
/// There can be no namespaces here, or something does not come about that has to: what.
pub fn run(case: &Case, plan: &Plan) -> Result<Row, String> {
    let mut deployment = Deployment::start(plan.down_after)?;
    let roaming = start(&deployment, Kind::Roaming, 4);
    let pinned = start(&deployment, Kind::Pinned, 2);
    deployment.stage.await_that("clients write", || roaming.acknowledged() > 200 && pinned.acknowledged() > 100)?;
    let struck = Instant::now();
    let hit = (case.strike)(&mut deployment)?;
    let done = Instant::now();
    if case.replaces == Some(true) {
        let others = || (0..SENTINELS).all(|index| deployment.named_by(index).is_some_and(|server| server != 0));
        deployment.stage.await_that("the primary is replaced", others)?;
    }
    let replaced = struck.elapsed();
    while done.elapsed() < plan.length && case.relent.is_some() {
        if case.replaces == Some(false)
            && (0..SENTINELS).any(|index| deployment.named_by(index).is_some_and(|server| server != 0))
        {
            return Err(format!("the primary was replaced for nothing\n{}", deployment.stage.logs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Some(relent) = case.relent {
        relent(&mut deployment)?;
    }
    let relented = Instant::now();
    deployment.stage.await_that("all is well again", || deployment.is_healed())?;
    let healed = relented.elapsed();
    let before = roaming.acknowledged();
    deployment.stage.await_that("clients write again", || roaming.acknowledged() > before + 100)?;
    let (roaming, pinned) = (roaming.stop(), pinned.stop());
    let primary = deployment.named_by(0).ok_or("a Sentinel names nobody")?;
    let lost = |kind: Kind, clients: &[Written]| {
        lost(&deployment, primary, kind, clients).ok_or("the primary does not say what it has")
    };
    let (lost_roaming, lost_pinned) = (lost(Kind::Roaming, &roaming)?, lost(Kind::Pinned, &pinned)?);
    let span = lost_pinned.iter().map(|at| at.saturating_duration_since(hit)).max().unwrap_or_default();
    Ok(Row {
        name: case.name,
        outage: outage(&roaming, struck),
        replaced: (primary != 0).then_some(replaced).filter(|_| case.replaces == Some(true)),
        lost: (lost_roaming.len(), lost_pinned.len()),
        lost_for: span,
        acknowledged: (count(&roaming), count(&pinned)),
        healed,
    })
}

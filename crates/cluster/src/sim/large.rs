//! How a large cluster fares: how long it takes to agree that a node has failed, what its nodes say to each other meanwhile, and how
//! long it takes to settle after a third of it was cut off. As a table, and a plot in text and as SVG.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use quorate_stdx::Rng;

use super::swarm::Swarm;
use super::world::{Fault, World};
use crate::{Address, Config, Epoch, NodeFlags, NodeId, NodesConf, SLOTS, SavedNode};

/// How often it is looked who knows.
const LOOK: Duration = Duration::from_millis(20);
/// How long traffic is counted.
const QUIET: Duration = Duration::from_secs(10);
/// How long a third is cut off, in node timeouts.
const CUT_OFF: u32 = 3;
/// The plot's width.
const WIDTH: usize = 50;
/// The SVG's size, and the margins around what is plotted.
const CANVAS: (f64, f64) = (720.0, 360.0);
const MARGIN: f64 = 48.0;

/// When how many of the nodes knew.
type Curve = Vec<(Duration, usize)>;

/// What was measured.
pub(crate) struct Report {
    pub(crate) text: String,
    /// The same curves as a picture.
    pub(crate) svg: String,
    pub(crate) crash: Duration,
    pub(crate) silence: Duration,
    pub(crate) settled: Duration,
}

/// A cluster of so many nodes, half of them replicas, at the default node timeout.
pub(crate) fn report(hosts: usize, seed: u64) -> Result<Report, String> {
    let mut rng = Rng::new(seed);
    let config = Config::default();
    let timeout = config.node_timeout;
    let mut world = World::new(hosts, config, rng.next_u64());
    world.is_large = true;
    let mut swarm = Swarm { length: Duration::ZERO, world, primaries: hosts / 2, replicas: 1, rng, has_faults: false };
    start_formed(&mut swarm)?;
    swarm.world.traffic = (0, 0);
    swarm.pass(QUIET)?;
    let (packets, bytes) = swarm.world.traffic;
    let a_node = |sum: u64| sum as f64 / QUIET.as_secs_f64() / hosts as f64;
    let (packets, bytes) = (a_node(packets), a_node(bytes));
    let crash = watch(&mut swarm, 0, Fault::Crash(0), timeout)?;
    swarm.world.fault_at(swarm.world.now, Fault::Start { host: 0, keeps_data: true });
    swarm.await_all("all to agree again", Swarm::agrees)?;
    let silence = watch(&mut swarm, 1, Fault::PowerOff(1), timeout)?;
    swarm.world.fault_at(swarm.world.now, Fault::Start { host: 1, keeps_data: true });
    swarm.await_all("all to agree again", Swarm::agrees)?;
    let third: BTreeSet<usize> = (0..hosts).filter(|host| host % 3 == 0).collect();
    swarm.world.fault_at(swarm.world.now, Fault::Partition(third));
    swarm.pass(timeout * CUT_OFF)?;
    let healed = swarm.world.now;
    swarm.world.fault_at(healed, Fault::Heal);
    swarm.await_all("all to agree after the cut", Swarm::agrees)?;
    let settled = swarm.world.now.since(healed);
    let time = |curve: &Curve, part: f64| reached(curve, (hosts as f64 * part) as usize);
    let mut text = format!("{hosts} nodes, half of them replicas, cluster-node-timeout {} s\n\n", timeout.as_secs());
    let mut line = |name: &str, value: String| _ = writeln!(text, "{name:<58} {value}");
    line("packets a node and second, while nothing happens", format!("{packets:.1}"));
    line("KiB a node and second", format!("{:.1}", bytes / 1024.0));
    for (name, curve) in [("a process dies", &crash), ("a machine falls silent", &silence)] {
        line(&format!("{name}: half of the nodes know it after"), format!("{:.2?}", time(curve, 0.5)));
        line(&format!("{name}: all do after"), format!("{:.2?}", time(curve, 0.999)));
    }
    line("a third was cut off: all agree again after", format!("{settled:.2?}"));
    plot(&mut text, "nodes that know that a process has died", &crash, hosts);
    plot(&mut text, "nodes that know that a machine is silent", &silence, hosts);
    let svg = picture(hosts, &[("a process dies", &crash), ("a machine falls silent", &silence)]);
    Ok(Report { text, svg, crash: time(&crash, 0.999), silence: time(&silence, 0.999), settled })
}

/// Starts nodes that know each other from their files: to introduce each to each takes far longer than what is measured.
fn start_formed(swarm: &mut Swarm) -> Result<(), String> {
    let (hosts, primaries) = (swarm.hosts(), swarm.primaries);
    let ids: Vec<NodeId> = (0..hosts).map(|_| NodeId::random(&mut swarm.rng)).collect();
    let node = |host: usize| {
        let Address { ip, port, bus_port, .. } = World::address_for_meet(host);
        let known = SavedNode { ip, port, bus_port, ..SavedNode::new(ids[host]) };
        if host >= primaries {
            return SavedNode { flags: NodeFlags::REPLICA, primary: Some(ids[host % primaries]), ..known };
        }
        let first_slot = |host: usize| (host * usize::from(SLOTS) / primaries) as u16;
        let slots = (first_slot(host)..first_slot(host + 1)).collect();
        SavedNode { flags: NodeFlags::PRIMARY, slots, config_epoch: Epoch(host as u64 + 1), ..known }
    };
    let nodes: Vec<SavedNode> = (0..hosts).map(node).collect();
    for host in 0..hosts {
        let mut nodes = nodes.clone();
        nodes[host].flags = nodes[host].flags.and(NodeFlags::MYSELF);
        let (granted, claimed) = (Vec::new(), Vec::new());
        let current_epoch = Epoch(primaries as u64);
        let conf = NodesConf { nodes, current_epoch, last_vote_epoch: Epoch(0), granted, claimed };
        swarm.world.disks[host] = Some(conf);
        swarm.world.members.insert(host);
        swarm.world.start(host, true);
    }
    swarm.await_all("a cluster that works", |swarm| {
        (0..swarm.hosts()).all(|host| swarm.world.machine(host).is_some_and(crate::Cluster::is_ok))
    })?;
    // Everybody has heard everybody by then.
    swarm.pass(Config::default().node_timeout)
}

/// Lets something befall a host, and looks who counts it as failed, until all others do.
fn watch(swarm: &mut Swarm, host: usize, fault: Fault, timeout: Duration) -> Result<Curve, String> {
    let victim = swarm.world.id(host);
    let begun = swarm.world.now;
    swarm.world.fault_at(begun, fault);
    let mut curve = Curve::new();
    loop {
        swarm.pass(LOOK)?;
        let knows = |index: &usize| {
            let machine = swarm.world.machine(*index);
            machine.is_some_and(|machine| machine.nodes.get(&victim).is_some_and(crate::node::Node::is_failed))
        };
        let known = (0..swarm.hosts()).filter(knows).count();
        let spent = swarm.world.now.since(begun);
        curve.push((spent, known));
        if known + 1 >= swarm.hosts() {
            return Ok(curve);
        }
        if spent > timeout * 6 {
            return Err(format!("{known} nodes know after {spent:?}"));
        }
    }
}

fn reached(curve: &Curve, count: usize) -> Duration {
    let found = curve.iter().find(|(_, known)| *known >= count.min(curve.last().map_or(0, |(_, known)| *known)));
    found.map_or(Duration::ZERO, |(time, _)| *time)
}

/// A bar for each of twenty moments.
fn plot(text: &mut String, name: &str, curve: &Curve, hosts: usize) {
    let _ = writeln!(text, "\n{name}");
    let first = curve.iter().position(|(_, known)| *known > 0).unwrap_or(0).saturating_sub(1);
    let shown = &curve[first..];
    for (time, known) in shown.iter().step_by(shown.len().div_ceil(20).max(1)).chain(curve.last()) {
        let _ = writeln!(text, "{:>9.2} s |{:<WIDTH$}| {known}", time.as_secs_f64(), "#".repeat(known * WIDTH / hosts));
    }
}

/// The curves as SVG: time from left to right, and from the bottom how many know.
fn picture(hosts: usize, curves: &[(&str, &Curve)]) -> String {
    const COLOURS: [&str; 2] = ["#0b6", "#d50"];
    let (width, height) = CANVAS;
    let longest =
        curves.iter().filter_map(|(_, curve)| curve.last()).map(|(time, _)| time.as_secs_f64()).fold(0.1, f64::max);
    let x = |time: f64| MARGIN + time / longest * (width - 2.0 * MARGIN);
    let y = |known: usize| height - MARGIN - known as f64 / hosts as f64 * (height - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"14\">Nodes of {hosts} that know of a failure</text>\n"
    );
    // Writing to a string can't fail.
    for quarter in 0..=4 {
        let (known, time) = (hosts * quarter / 4, longest * quarter as f64 / 4.0);
        let (at, below) = (y(known), height - MARGIN);
        let _ = write!(
            svg,
            "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{known}</text>\n\
             <text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{time:.1} s</text>\n",
            width - MARGIN,
            MARGIN - 6.0,
            at + 4.0,
            x(time),
            below + 18.0,
        );
    }
    for (place, ((name, curve), colour)) in curves.iter().zip(COLOURS).enumerate() {
        let points: Vec<String> =
            curve.iter().map(|(time, known)| format!("{:.1},{:.1}", x(time.as_secs_f64()), y(*known))).collect();
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>\n",
            points.join(" "),
            width - MARGIN,
            MARGIN + 16.0 * (place as f64 + 1.0),
        );
    }
    svg + "</svg>\n"
}

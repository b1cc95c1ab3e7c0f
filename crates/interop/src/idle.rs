//! What a cluster costs while nobody uses it: processor time and the bus's traffic, of our nodes and of Redis' beside them.
//!
//! Each make has a network namespace of its own, in which nothing else is sent: what its loopback device has carried is what the
//! nodes say to each other. Without the privilege for that both share one, and the traffic is not known.

use std::fs;
use std::time::{Duration, Instant};

use crate::deployment::Make;
use crate::faults::Lan;
use crate::server::{Server, await_that, free_port};
use crate::shards::ask;

/// How long nothing is counted after a cluster has come together.
const SETTLE: Duration = Duration::from_secs(20);

/// What a node costs.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Of whom.
    pub make: Make,
    /// Processor time, microseconds a second.
    pub cpu: f64,
    /// Packets of the bus that it sends, a second.
    pub packets: f64,
    /// Bytes that it sends, a second, with what TCP/IP adds to them; nothing if that can't be told.
    pub bytes: Option<f64>,
    /// Resident memory, bytes.
    pub memory: u64,
}

/// Both makes at the same time, with so many nodes each, half of them replicas, at default settings, for so long.
///
/// # Panics
/// If a cluster does not come together. If there is no Redis, a line says so, and only ours is measured.
pub fn measure(nodes: usize, time: Duration) -> Vec<Cost> {
    let lan = Lan::lay(2).inspect_err(|why| println!("SKIPPED the traffic: {why}")).ok();
    std::thread::scope(|scope| {
        let threads: Vec<_> = [Make::Ours, Make::Redis]
            .into_iter()
            .enumerate()
            .map(|(host, make)| {
                let lan = &lan;
                scope.spawn(move || {
                    if let Some(lan) = lan {
                        lan.enter(host).expect("the host was just made");
                    }
                    measure_one(make, nodes, time, lan.is_some())
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("nobody panics")).collect()
    })
}

fn measure_one(make: Make, count: usize, time: Duration, is_alone: bool) -> Option<Cost> {
    let nodes = form(make, count)?;
    std::thread::sleep(SETTLE);
    let counted = || {
        let cpu: Duration = nodes.iter().map(|node| cpu(node.pid())).sum();
        let packets: u64 = nodes.iter().map(packets).sum();
        (cpu, packets, if is_alone { traffic() } else { None })
    };
    let (begun, before) = (Instant::now(), counted());
    std::thread::sleep(time);
    let (after, spent) = (counted(), begun.elapsed());
    let each = |sum: f64| sum / spent.as_secs_f64() / count as f64;
    Some(Cost {
        make,
        cpu: each((after.0 - before.0).as_secs_f64() * 1e6),
        packets: each((after.1 - before.1) as f64),
        bytes: after.2.zip(before.2).map(|(after, before)| each((after - before) as f64)),
        memory: nodes.iter().map(|node| resident(node.pid())).sum::<u64>() / count as u64,
    })
}

/// A cluster of one make, at default settings; nothing if there is none.
fn form(make: Make, count: usize) -> Option<Vec<Server>> {
    let (mut nodes, primaries) = (Vec::<Server>::new(), count / 2);
    let mut first_bus = 0;
    for index in 0..count {
        let bus = free_port();
        let text = bus.to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-port", &text];
        let node = match make {
            Make::Ours => Server::start(&options),
            Make::Redis => Server::start_redis(&options, None)?,
        };
        assert_eq!(ask(&node, &format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1)), "OK");
        if index < primaries {
            let bounds = [index, index + 1].map(|bound| bound * 16384 / primaries);
            assert_eq!(ask(&node, &format!("CLUSTER ADDSLOTSRANGE {} {}", bounds[0], bounds[1] - 1)), "OK");
        }
        match nodes.first() {
            None => first_bus = bus,
            Some(first) => {
                let meet = format!("CLUSTER MEET 127.0.0.1 {} {first_bus}", first.port());
                assert_eq!(ask(&node, &meet), "OK");
            }
        }
        nodes.push(node);
    }
    await_that("everybody knows everybody", || {
        let knows = |text: String| text.lines().count() == count && !text.contains("handshake");
        nodes.iter().all(|node| knows(ask(node, "CLUSTER NODES")))
    });
    for (index, replica) in nodes.iter().enumerate().skip(primaries) {
        let id = ask(&nodes[index % primaries], "CLUSTER MYID");
        assert_eq!(ask(replica, &format!("CLUSTER REPLICATE {id}")), "OK");
    }
    await_that("the cluster works, and its replicas follow", || {
        let works = |node: &Server| ask(node, "CLUSTER INFO").contains("cluster_state:ok");
        let follows = |node: &Server| ask(node, "INFO replication").contains("master_link_status:up");
        nodes.iter().all(works) && nodes[primaries..].iter().all(follows)
    });
    Some(nodes)
}

/// Processor time of all threads of a process.
fn cpu(pid: u32) -> Duration {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Duration::from_nanos(nanos)
}

fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn packets(node: &Server) -> u64 {
    let info = ask(node, "CLUSTER INFO");
    let count = info.lines().find_map(|line| line.strip_prefix("cluster_stats_messages_sent:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Bytes that the loopback device of the calling thread's namespace has carried.
fn traffic() -> Option<u64> {
    let devices = fs::read_to_string("/proc/thread-self/net/dev").ok()?;
    let line = devices.lines().find_map(|line| line.trim().strip_prefix("lo:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A line for each make.
pub fn table(costs: &[Cost]) -> String {
    let mut text = String::from(
        "| of a node | CPU, microseconds a second | packets sent a second | bytes sent a second | memory KiB |\n|---|--:|--:|--:|--:|\n",
    );
    for Cost { make, cpu, packets, bytes, memory } in costs {
        let name = match make {
            Make::Ours => "Quorate",
            Make::Redis => "Redis",
        };
        let bytes = bytes.map_or("-".to_owned(), |bytes| format!("{bytes:.0}"));
        text += &format!("| {name} | {cpu:.0} | {packets:.2} | {bytes} | {} |\n", memory / 1024);
    }
    text
}

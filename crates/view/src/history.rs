//! How figures went in the last minutes, so that a page that is opened now shows what was before.

use std::collections::{BTreeMap, VecDeque};

use quorate_stdx::UnixMs;
use quorate_topology::{Address, Topology};
use serde_json::{Value, json};

/// Samples that are kept, one a second.
const SAMPLES: usize = 300;

/// The figures of one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    ops: u64,
    lag: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    times: VecDeque<UnixMs>,
    /// As long as `times`, each.
    nodes: BTreeMap<Address, VecDeque<Sample>>,
}

impl History {
    pub(crate) fn add(&mut self, at: UnixMs, topology: &Topology) {
        self.times.push_back(at);
        self.nodes.retain(|address, _| topology.nodes.contains_key(address));
        for node in topology.nodes.values() {
            let sample = Sample {
                ops: node.live().map_or(0, |facts| if facts.holds_data() { facts.load.ops } else { 0 }),
                lag: topology.lag(&node.address).map(|(bytes, _)| bytes),
            };
            let samples = self.nodes.entry(node.address.clone()).or_default();
            // A node that came late has nothing to show from before.
            while samples.len() + 1 < self.times.len() {
                samples.push_back(Sample::default());
            }
            samples.push_back(sample);
        }
        if self.times.len() > SAMPLES {
            self.times.pop_front();
            for samples in self.nodes.values_mut() {
                samples.pop_front();
            }
        }
    }

    /// Commands a second of one node, or of all together, the oldest first.
    pub(crate) fn ops(&self, node: Option<&Address>) -> Vec<u64> {
        self.series(node, |sample| sample.ops, |all, one| all + one)
    }

    /// Bytes by which one node is behind, or the one that is most, the oldest first. Who is no replica is not behind.
    pub(crate) fn lag(&self, node: Option<&Address>) -> Vec<u64> {
        self.series(node, |sample| sample.lag.unwrap_or(0), u64::max)
    }

    fn series(&self, node: Option<&Address>, of: fn(&Sample) -> u64, join: fn(u64, u64) -> u64) -> Vec<u64> {
        let mut series = vec![0; self.times.len()];
        let chosen = self.nodes.iter().filter(|(address, _)| node.is_none_or(|node| node == *address));
        for (_, samples) in chosen {
            for (all, sample) in series.iter_mut().zip(samples) {
                *all = join(*all, of(sample));
            }
        }
        series
    }

    pub(crate) fn json(&self) -> Value {
        let nodes: serde_json::Map<String, Value> = self
            .nodes
            .iter()
            .map(|(address, samples)| {
                let ops: Vec<u64> = samples.iter().map(|sample| sample.ops).collect();
                let lag: Vec<Option<u64>> = samples.iter().map(|sample| sample.lag).collect();
                (address.to_string(), json!({ "ops": ops, "lag": lag }))
            })
            .collect();
        json!({ "times": self.times.iter().map(|at| at.0).collect::<Vec<_>>(), "nodes": nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_topology::{Node, State};

    #[test]
    fn every_series_is_as_long_as_the_time_and_bounded() {
        let mut history = History::default();
        let mut topology = Topology::default();
        for at in 0..SAMPLES as i64 + 50 {
            if at == 20 {
                let address = Address::parse("h:1").unwrap();
                let node = Node { address: address.clone(), state: State::Unknown, facts: None, is_seed: true };
                topology.nodes.insert(address, node);
            }
            history.add(UnixMs(at), &topology);
        }
        let json = history.json();
        assert_eq!(json["times"].as_array().unwrap().len(), SAMPLES);
        assert_eq!(json["nodes"]["h:1"]["ops"].as_array().unwrap().len(), SAMPLES);
    }
}

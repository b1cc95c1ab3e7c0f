//! What latencies are recorded.

use std::time::Duration;

use quorate_values::parse_double;

use crate::config::{Config, from_millis, millis, unless_zero};
use crate::quantity::{LONG, decimal};
use crate::spec::{Flags, How, Lines, Refusal, Spec, number, special, switch};

/// What latencies are recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    /// `latency-monitor-threshold`, whole milliseconds: events that last longer are kept; unset keeps none.
    pub monitor_threshold: Option<Duration>,
    /// `latency-tracking`: a histogram for each command.
    pub tracking: bool,
    /// `latency-tracking-info-percentiles`: what INFO latencystats shows of them, 0 to 100 each.
    pub percentiles: Vec<f64>,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { monitor_threshold: None, tracking: true, percentiles: vec![50.0, 99.0, 99.9] }
    }
}

pub(super) static TABLE: &[Spec] = &[
    number(
        "latency-monitor-threshold",
        decimal(0, LONG),
        |c| c.latency.monitor_threshold.map_or(0, millis),
        |c, n| c.latency.monitor_threshold = unless_zero(from_millis(n)),
    ),
    switch("latency-tracking", |c| c.latency.tracking, |c, on| c.latency.tracking = on),
    special("latency-tracking-info-percentiles", get_percentiles, set_percentiles, Lines::Words).is(Flags::MANY),
];

fn get_percentiles(config: &Config) -> Vec<u8> {
    let shown: Vec<String> = config.latency.percentiles.iter().map(f64::to_string).collect();
    shown.join(" ").into_bytes()
}

fn set_percentiles(config: &mut Config, arguments: &[&[u8]], _: How) -> Result<(), Refusal> {
    if arguments == [b""] {
        config.latency.percentiles.clear();
        return Ok(());
    }
    let mut percentiles = Vec::new();
    for argument in arguments {
        let Some(percentile) = parse_double(argument) else {
            return Err("Invalid latency-tracking-info-percentiles parameters".into());
        };
        if !(0.0..=100.0).contains(&percentile) {
            return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into());
        }
        percentiles.push(percentile);
    }
    config.latency.percentiles = percentiles;
    Ok(())
}

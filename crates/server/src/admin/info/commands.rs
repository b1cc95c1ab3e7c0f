//! INFO commandstats, errorstats and latencystats.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Lines;
use crate::data::histogram::Sum;
use crate::data::stats::CommandStats;
use crate::data::table::{Command, table};
use crate::server::Server;

/// Every command and subcommand that can be run.
fn all_commands() -> impl Iterator<Item = &'static Command> {
    table().commands().iter().flat_map(|command| std::iter::once(*command).chain(command.subcommands.iter().copied()))
}

pub(super) fn commandstats(lines: &mut Lines, server: &Arc<Server>) {
    lines.section("Commandstats");
    for command in all_commands() {
        let sum = |pick: fn(&CommandStats) -> i64| server.sum(|stats| pick(stats.of(command)));
        let (calls, nanos) = (sum(|stats| stats.calls.get()), sum(|stats| stats.nanos.get()));
        let (rejected, failed) = (sum(|stats| stats.rejected.get()), sum(|stats| stats.failed.get()));
        if calls == 0 && rejected == 0 && failed == 0 {
            continue;
        }
        let micros = nanos / 1000;
        let per_call = if calls == 0 { 0.0 } else { micros as f64 / calls as f64 };
        lines.field(
            format_args!("cmdstat_{}", command.full_name),
            format_args!(
                "calls={calls},usec={micros},usec_per_call={per_call:.2},rejected_calls={rejected},failed_calls={failed}"
            ),
        );
    }
}

pub(super) fn errorstats(lines: &mut Lines, server: &Arc<Server>) {
    lines.section("Errorstats");
    let mut errors = BTreeMap::new();
    for thread in server.serving() {
        thread.stats.add_errors(&mut errors);
    }
    for (code, count) in errors {
        // A script can make up a code that would not be one line.
        let code: String = code.chars().map(|c| if c.is_control() || c == ':' { '_' } else { c }).collect();
        lines.field(format_args!("errorstat_{code}"), format_args!("count={count}"));
    }
}

pub(super) fn latencystats(lines: &mut Lines, server: &Arc<Server>) {
    lines.section("Latencystats");
    let config = server.config.load();
    if !config.latency.tracking {
        return;
    }
    for command in all_commands() {
        if server.sum(|stats| stats.of(command).calls.get()) == 0 {
            continue;
        }
        let durations = Sum::of(server.serving().map(|thread| &thread.stats.of(command).durations));
        if durations.total() == 0 {
            continue;
        }
        let shown = config
            .latency
            .percentiles
            .iter()
            .map(|&percent| format!("p{percent}={:.3}", durations.percentile(percent) as f64 / 1000.0));
        let shown: Vec<String> = shown.collect();
        lines.field(format_args!("latency_percentiles_usec_{}", command.full_name), shown.join(","));
    }
}

//! What came of the faults, as a table.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::median_and_worst;

/// What came of one run.
#[derive(Debug, Clone)]
pub struct Row {
    /// The fault.
    pub name: &'static str,
    /// `cluster-node-timeout`.
    pub node_timeout: Duration,
    /// The longest time without an acknowledged write to the slots that the fault concerns.
    pub outage: Duration,
    /// The longest time without one to a slot of another primary.
    pub elsewhere: Duration,
    /// The longest time without one to a server that is no node of the cluster: so long the machine kept its clients waiting.
    pub apart: Duration,
    /// After what time the replica led, if that was to be.
    pub promoted: Option<Duration>,
    /// Acknowledged writes that are lost: of clients that go where they are sent, and of those on the primary's own host.
    pub lost: (usize, usize),
    /// How long after the fault the last of the latter was acknowledged.
    pub lost_for: Duration,
    /// How many were acknowledged.
    pub acknowledged: (usize, usize),
    /// How long it took after the fault until every shard had one that leads and one that follows.
    pub healed: Duration,
}

/// One line for each fault, with the medians of its runs, and the worst of what was lost.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| fault | node timeout ms | runs | outage ms (worst) | other slots' worst ms | another server's | promoted ms \
         | lost of roaming clients | lost of pinned clients | acknowledged up to ms | healed ms |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    names.dedup();
    for name in names {
        let runs: Vec<&Row> = rows.iter().filter(|row| row.name == name).collect();
        let millis =
            |pick: &dyn Fn(&Row) -> Option<Duration>| median_and_worst(runs.iter().filter_map(|row| pick(row)));
        let (outage, worst) = millis(&|row| Some(row.outage));
        let lost = |pick: fn(&Row) -> (usize, usize)| {
            let worst = runs.iter().map(|row| pick(row)).max().unwrap_or_default();
            format!("{} of {}", worst.0, worst.1)
        };
        let written = writeln!(
            text,
            "| {name} | {} | {} | {outage} ({worst}) | {} | {} | {} | {} | {} | {} | {} |",
            runs[0].node_timeout.as_millis(),
            runs.len(),
            millis(&|row| Some(row.elsewhere)).1,
            millis(&|row| Some(row.apart)).1,
            millis(&|row| row.promoted).0,
            lost(|row| (row.lost.0, row.acknowledged.0)),
            lost(|row| (row.lost.1, row.acknowledged.1)),
            millis(&|row| Some(row.lost_for)).1,
            millis(&|row| Some(row.healed)).0,
        );
        written.expect("a string takes everything");
    }
    text
}

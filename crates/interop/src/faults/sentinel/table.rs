//! What came of the faults, as a table.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::median_and_worst;

/// What came of one run.
#[derive(Debug, Clone)]
pub struct Row {
    /// The fault.
    pub name: &'static str,
    /// The longest time without an acknowledged write, for clients that may go elsewhere.
    pub outage: Duration,
    /// After what time all Sentinels named another primary, if that was to be.
    pub replaced: Option<Duration>,
    /// Acknowledged writes that are lost: of those clients, and of those on the first primary's host.
    pub lost: (usize, usize),
    /// How long after the fault the last of those was acknowledged that is lost of the latter.
    pub lost_for: Duration,
    /// How many were acknowledged.
    pub acknowledged: (usize, usize),
    /// How long it took after the fault until one led and all others followed.
    pub healed: Duration,
}

/// One line for each fault, with the medians of its runs, and the worst of what was lost.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| fault | runs | outage ms (worst) | replaced ms | lost of roaming clients | lost of pinned clients \
         | acknowledged up to ms | healed ms |\n\
         |---|---|---|---|---|---|---|---|\n",
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
            "| {name} | {} | {} ({}) | {} | {} | {} | {} | {} |",
            runs.len(),
            outage,
            worst,
            millis(&|row| row.replaced).0,
            lost(|row| (row.lost.0, row.acknowledged.0)),
            lost(|row| (row.lost.1, row.acknowledged.1)),
            millis(&|row| Some(row.lost_for)).1,
            millis(&|row| Some(row.healed)).0,
        );
        written.expect("a string takes everything");
    }
    text
}

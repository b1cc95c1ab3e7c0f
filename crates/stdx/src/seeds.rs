//! Which seeds a simulation tries.

use std::ops::Range;

/// The seeds that a test of a simulation tries: `otherwise` of them from 0 on, unless `SIM_SEEDS` says how many and
/// `SIM_SEED` says the first.
pub fn seeds(otherwise: u64) -> Range<u64> {
    let knob = |name, otherwise| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let first: u64 = knob("SIM_SEED", 0);
    first..first.saturating_add(knob("SIM_SEEDS", otherwise))
}

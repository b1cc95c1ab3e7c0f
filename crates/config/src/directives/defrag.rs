//! Active defragmentation, which there is none of.

use crate::quantity::{INT, LONG, decimal, memory};
use crate::spec::{Form, Refusal, Spec, kept};

const WHY: &str = "memory is not moved around; the allocator's own purging returns it";

const fn tuning(name: &'static str, low: i128, high: i128, default: &'static str) -> Spec {
    kept(name, Form::Number(decimal(low, high)), default, WHY)
}

pub(super) static TABLE: &[Spec] = &[
    kept("activedefrag", Form::Switch, "no", WHY).vetted(check_off),
    tuning("active-defrag-cycle-min", 1, 99, "1"),
    tuning("active-defrag-cycle-max", 1, 99, "25"),
    tuning("active-defrag-threshold-lower", 0, 1000, "10"),
    tuning("active-defrag-threshold-upper", 0, 1000, "100"),
    tuning("active-defrag-max-scan-fields", 1, LONG, "1000"),
    tuning("active-defrag-cycle-us", 0, 100_000, "500").later(),
    kept("active-defrag-ignore-bytes", Form::Number(memory(1, INT * INT)), "104857600", WHY),
];

fn check_off(shown: &[u8]) -> Result<(), Refusal> {
    if shown == b"no" {
        return Ok(());
    }
    Err("Active defragmentation cannot be enabled: it requires a Redis server compiled with a modified Jemalloc like \
         the one shipped by default with the Redis source distribution"
        .into())
}

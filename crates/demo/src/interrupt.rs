//! Ctrl-C ends a demonstration where it stands, and with it the servers that it has started: also while it waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::replication::{LIMIT, PROBE};

static RAISED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT and SIGTERM are heard of by [`check`].
pub(crate) fn listen() -> Result<()> {
    let raised = RAISED.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(raised))?;
    }
    Ok(())
}

/// An error once somebody wants the end.
pub(crate) fn check() -> Result<()> {
    ensure!(!RAISED.get().is_some_and(|raised| raised.load(Ordering::Relaxed)), "interrupted");
    Ok(())
}

/// Asks until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask().with_context(|| format!("wait until {what}"))? {
            return Ok(answer);
        }
        check()?;
        ensure!(Instant::now() < deadline, "waited {} s in vain until {what}", LIMIT.as_secs());
        std::thread::sleep(PROBE);
    }
}

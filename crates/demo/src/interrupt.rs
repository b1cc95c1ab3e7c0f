//! Ctrl-C ends a demonstration where it stands, and with it the servers that it has started.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Result, ensure};

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

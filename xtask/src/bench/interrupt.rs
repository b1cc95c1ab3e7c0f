//! Ctrl-C and SIGTERM as an error that unwinds.
//!
//! A run owns child processes and temporary directories, and their `Drop` removes them. So a signal only sets a flag,
//! every loop that may last asks for it, and the first to see it returns an error. A second signal ends the process at
//! once; the kernel then ends the children, which asked for it at their start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on, SIGINT and SIGTERM make [`check`] fail.
pub(super) fn watch() -> Result<()> {
    let raised = FLAG.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 130, Arc::clone(raised))?;
        flag::register(signal, Arc::clone(raised))?;
    }
    Ok(())
}

/// Fails once a signal has asked the run to end.
pub(super) fn check() -> Result<()> {
    if FLAG.get().is_some_and(|raised| raised.load(Ordering::Relaxed)) {
        bail!("interrupted");
    }
    Ok(())
}

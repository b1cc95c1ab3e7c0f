//! What the machine of the tenure (`replication/tenure.rs`) means for network threads.
//!
//! Each of them looks at the start of its turn, before it runs anything, whether writes may be taken now: two loads, and if
//! the time is over until which the last decision holds, a look at the machine itself. So a process that stood still holds
//! writes back with the first thread that wakes up, and nobody has to be told in time. When writes may go on, all are told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use quorate_replication::tenure::{Input, Output, Standing, Tenure, Timer};
use quorate_stdx::{Machine, Mono};

use crate::data::worker::Mail;
use crate::log;
use crate::server::Server;

/// The file, in `dir`, that says to a primary which starts that Sentinels have confirmed it before.
const FILE: &str = "primary.tenure";

/// See the module's text.
pub struct Guard {
    machine: Mutex<Tenure>,
    /// Microseconds: until when `held` is the last word if nothing happens.
    good_until: AtomicU64,
    held: AtomicBool,
}

impl Guard {
    /// For a server that starts as a primary or not, in the directory where it keeps its files.
    pub fn new(leads: bool, enabled: bool) -> Guard {
        let is_remembered = leads && enabled && std::path::Path::new(FILE).exists();
        let mut machine = Tenure::new(leads, enabled, is_remembered, Mono(0));
        let held = machine.poll_output() == Some(Output::Hold);
        if held {
            log::warning("Sentinels have confirmed this primary before it started: writes wait until they do so again");
        }
        Guard { machine: Mutex::new(machine), good_until: AtomicU64::new(u64::MAX), held: AtomicBool::new(held) }
    }

    /// Whether writes are held back now.
    #[inline]
    pub fn holds(&self, server: &Server, now: Mono) -> bool {
        if now.0 >= self.good_until.load(Ordering::Relaxed) {
            self.submit(server, Input::Timeout);
        }
        self.held.load(Ordering::Relaxed)
    }

    /// Hands an input in, and performs what that leads to.
    #[cold]
    pub fn submit(&self, server: &Server, input: Input) {
        let mut machine = self.machine.lock();
        machine.handle(server.now(), input);
        let before = self.held.load(Ordering::Relaxed);
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Hold => self.held.store(true, Ordering::Relaxed),
                Output::Release => self.held.store(false, Ordering::Relaxed),
                Output::Remember => note(std::fs::write(FILE, "")),
                Output::Forget => note(std::fs::remove_file(FILE)),
            }
        }
        self.good_until.store(machine.good_until().map_or(u64::MAX, |at| at.0), Ordering::Relaxed);
        let held = self.held.load(Ordering::Relaxed);
        drop(machine);
        if held == before {
            return;
        }
        if held {
            log::warning(
                "Writes are held back until a majority of the Sentinels confirm that this server is the primary",
            );
        } else {
            log::warning("Writes go on");
            server.mail_all(|| Mail::Resume);
        }
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Option<(Mono, Timer)> {
        self.machine.lock().poll_timeout()
    }

    /// How things stand, and how many Sentinels would be missed.
    pub fn standing(&self) -> (Standing, usize) {
        let machine = self.machine.lock();
        (machine.standing(), machine.monitors())
    }
}

/// Without the file writes go on at once after a start, as they would without Sentinels.
fn note(changed: std::io::Result<()>) {
    if let Err(error) = changed
        && error.kind() != std::io::ErrorKind::NotFound
    {
        log::warning(&format!("{FILE} can't be kept: {}", crate::process::plain(&error)));
    }
}

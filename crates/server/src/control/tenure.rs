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

/// See the module's text.
pub struct Guard {
    machine: Mutex<Tenure>,
    /// Microseconds: until when `held` is the last word if nothing happens.
    good_until: AtomicU64,
    held: AtomicBool,
}

impl Guard {
    /// For a server that starts as a primary or not.
    pub fn new(leads: bool, enabled: bool) -> Guard {
        let machine = Mutex::new(Tenure::new(leads, enabled));
        Guard { machine, good_until: AtomicU64::new(u64::MAX), held: AtomicBool::new(false) }
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
            self.held.store(output == Output::Hold, Ordering::Relaxed);
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

    /// How things stand.
    pub fn standing(&self) -> Standing {
        self.machine.lock().standing()
    }
}

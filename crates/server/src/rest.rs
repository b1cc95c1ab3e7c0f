//! Rest: nobody changes anything, so nobody needs to look after what changes.
//!
//! Some threads look around ten times a second for what nobody tells them of: keys whose time has come, a rule of `save`
//! that is met, a replica that reads too slowly. On a server that nobody writes to, all of that is a processor woken for
//! nothing. So the upkeep thread notes at each of its rounds whether anything has changed since the last one; if not, these
//! threads *rest*: they sleep for [`NAP`], and the first network thread that changes something wakes them.
//!
//! ```text
//!            a round              a round
//!   Lively ──────────► Quiet ───────────────► Resting
//!     ▲                  │                       │
//!     └──────────────────┴───────────────────────┘ a change; from Resting, with a call to those who sleep
//! ```
//!
//! A network thread pays one load of a line that nobody writes while there is work. It may look in the very moment in which
//! the others fall asleep; then they miss its call, and are late by a nap at most. Nothing correct depends on them.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::server::Server;

/// How long those sleep who rest.
pub const NAP: Duration = Duration::from_secs(1);

const LIVELY: u8 = 0;
const QUIET: u8 = 1;
const RESTING: u8 = 2;

/// See the module's text.
#[derive(Default)]
pub struct Rest {
    state: AtomicU8,
}

impl Rest {
    /// Something has changed.
    #[inline]
    pub fn disturb(&self, server: &Server) {
        if self.state.load(Ordering::Relaxed) != LIVELY {
            self.end(server);
        }
    }

    #[cold]
    fn end(&self, server: &Server) {
        if self.state.swap(LIVELY, Ordering::AcqRel) == RESTING {
            server.wake_upkeep();
            server.control.wake();
            server.persistence.wake();
        }
    }

    /// A round of the upkeep thread.
    pub fn round(&self) {
        let calmer = |state| match state {
            LIVELY => Some(QUIET),
            QUIET => Some(RESTING),
            _ => None,
        };
        // An error says that all rest already.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, calmer);
    }

    /// Whether nothing has changed for two rounds.
    pub fn is_on(&self) -> bool {
        self.state.load(Ordering::Acquire) == RESTING
    }

    /// How long a thread may sleep that otherwise sleeps for `busy`.
    pub fn patience(&self, busy: Duration) -> Duration {
        if self.is_on() { NAP.max(busy) } else { busy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rest_after_two_rounds_without_a_change() {
        let (rest, server) = (Rest::default(), Server::new(quorate_config::Config::default(), 1));
        let busy = Duration::from_millis(100);
        let mut patience = |changes: bool| {
            if changes {
                rest.disturb(&server);
            }
            rest.round();
            rest.patience(busy)
        };
        assert_eq!([true, false, false, true, false].map(&mut patience), [busy, NAP, NAP, busy, NAP]);
    }
}

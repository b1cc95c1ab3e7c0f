//! Whether the data plane gets on.
//!
//! Each network thread counts its *steps*: turns of its loop, of which there are ten a second even if nothing happens, and
//! looks at a script that it runs. A thread that sleeps in a system call, waits for a slot for ever or is lost in one
//! command takes none. As long as any thread takes some, the data plane gets on; when none has for [`PATIENCE`], it
//! hangs, and nobody is told any more that this server is well.
//!
//! A script that runs for long takes steps, but not for ever ([`SCRIPT_MAX`]).

use std::time::Duration;

use quorate_stdx::Mono;

/// Without a step for so long the data plane hangs: ten times what a thread sleeps at most.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// So long a script's steps count. Nobody else gets on while it runs alone, and at some time a server on which nobody
/// does is as good as none.
pub const SCRIPT_MAX: Duration = Duration::from_secs(60);
/// Who looks so rarely stood still itself, and has seen nothing.
const LOOKED_AWAY: Duration = Duration::from_millis(500);

/// What was seen of the data plane.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    steps: i64,
    moved_at: Mono,
    looked_at: Mono,
}

impl Progress {
    /// Looks at the number of steps that all threads have taken. To be called a few times a second.
    pub fn look(&mut self, now: Mono, steps: i64) {
        if steps != self.steps || now.since(self.looked_at) > LOOKED_AWAY {
            (self.steps, self.moved_at) = (steps, now);
        }
        self.looked_at = now;
    }

    /// For how long no step has been seen.
    pub fn rests_for(&self, now: Mono) -> Duration {
        now.since(self.moved_at)
    }

    /// Whether the data plane hangs.
    pub fn hangs(&self, now: Mono) -> bool {
        self.rests_for(now) >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono(millis * 1000)
    }

    #[test]
    fn it_hangs_when_no_step_was_taken_for_a_second() {
        let mut progress = Progress::default();
        for millis in (0..2000).step_by(100) {
            progress.look(at(millis), (millis / 1000) as i64);
            assert!(!progress.hangs(at(millis)), "{millis}");
        }
        progress.look(at(2000), 1);
        assert!(progress.hangs(at(2000)));
        progress.look(at(2100), 2);
        assert!(!progress.hangs(at(2100)) && progress.rests_for(at(2150)) == Duration::from_millis(50));
    }

    #[test]
    fn who_stood_still_itself_blames_nobody() {
        let mut progress = Progress::default();
        progress.look(at(100), 1);
        progress.look(at(20_000), 1);
        assert!(!progress.hangs(at(20_000)));
    }
}

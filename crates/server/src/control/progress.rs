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
/// A thread that has taken no step for so long is given no new connection, if there is another.
const BUSY: Duration = Duration::from_millis(500);
/// Who looks so rarely stood still itself, and has seen nothing.
const LOOKED_AWAY: Duration = Duration::from_millis(500);

/// What was seen of one thread.
#[derive(Debug, Clone, Copy, Default)]
struct Thread {
    steps: i64,
    moved_at: Mono,
}

/// What was seen of the data plane.
#[derive(Debug, Default)]
pub struct Progress {
    threads: Vec<Thread>,
    looked_at: Mono,
}

impl Progress {
    /// Looks at the number of steps that each thread has taken. To be called a few times a second.
    pub fn look(&mut self, now: Mono, steps: impl Iterator<Item = i64>) {
        let looked_away = now.since(self.looked_at) > LOOKED_AWAY;
        for (index, steps) in steps.enumerate() {
            match self.threads.get_mut(index) {
                Some(thread) if thread.steps == steps && !looked_away => {}
                Some(thread) => *thread = Thread { steps, moved_at: now },
                None => self.threads.push(Thread { steps, moved_at: now }),
            }
        }
        self.looked_at = now;
    }

    /// For how long no thread has been seen to take a step.
    pub fn rests_for(&self, now: Mono) -> Duration {
        self.threads.iter().map(|thread| now.since(thread.moved_at)).min().unwrap_or_default()
    }

    /// Whether the data plane hangs.
    pub fn hangs(&self, now: Mono) -> bool {
        self.rests_for(now) >= PATIENCE
    }

    /// The thread after `last`, going round, that takes steps; the very next one if none does.
    pub fn next_thread(&self, last: usize, count: usize, now: Mono) -> usize {
        let takes_steps =
            |index: &usize| self.threads.get(*index).is_none_or(|thread| now.since(thread.moved_at) < BUSY);
        let round = (1..=count).map(|step| (last + step) % count.max(1));
        round.clone().find(takes_steps).or_else(|| round.clone().next()).unwrap_or(0)
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
            progress.look(at(millis), [7, (millis / 1000) as i64].into_iter());
            assert!(!progress.hangs(at(millis)), "{millis}");
        }
        progress.look(at(2000), [7, 1].into_iter());
        assert!(progress.hangs(at(2000)));
        progress.look(at(2100), [7, 2].into_iter());
        assert!(!progress.hangs(at(2100)) && progress.rests_for(at(2150)) == Duration::from_millis(50));
    }

    #[test]
    fn who_stood_still_itself_blames_nobody() {
        let mut progress = Progress::default();
        progress.look(at(100), [1].into_iter());
        progress.look(at(20_000), [1].into_iter());
        assert!(!progress.hangs(at(20_000)));
    }

    #[test]
    fn newcomers_go_round_the_threads_that_get_on() {
        let mut progress = Progress::default();
        assert_eq!([0, 1, 2].map(|last| progress.next_thread(last, 3, at(0))), [1, 2, 0]);
        for step in 0..10 {
            progress.look(at(step * 100), [step as i64, 1, step as i64].into_iter());
        }
        assert_eq!([0, 1, 2].map(|last| progress.next_thread(last, 3, at(950))), [2, 2, 0]);
        assert_eq!([0, 1, 2].map(|last| progress.next_thread(last, 3, at(9000))), [1, 2, 0], "none is better");
        assert_eq!(progress.next_thread(0, 1, at(9000)), 0);
    }
}

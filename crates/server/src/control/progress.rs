//! Whether the data plane gets on.
//!
//! Each network thread counts its *steps*: turns of its loop, and looks at a script that it runs. A thread that sleeps in a
//! system call, waits for a slot for ever or is lost in one command takes none. One that *idles* waits for its clients, and
//! would take one if they asked. As long as any thread takes some or could, the data plane gets on; when none has for
//! [`PATIENCE`], it hangs, and nobody is told any more that this server is well.
//!
//! A script that runs for long takes steps, but not for ever ([`SCRIPT_MAX`]).

use std::time::Duration;

use quorate_stdx::Mono;

/// Without a step for so long the data plane hangs.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// So long a script's steps count. Nobody else gets on while it runs alone, and at some time a server on which nobody
/// does is as good as none.
pub const SCRIPT_MAX: Duration = Duration::from_secs(60);
/// A thread that has taken no step for so long is given no new connection, if there is another.
const BUSY: Duration = Duration::from_millis(500);
/// How often somebody has to look while a thread is at work.
const SOON: Duration = Duration::from_millis(100);
/// The same while all of them idle.
const LATER: Duration = Duration::from_millis(500);
/// Who looks so rarely stood still itself, and has seen nothing.
const LOOKED_AWAY: Duration = Duration::from_millis(900);

/// How a thread stands.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The steps that it has taken.
    pub steps: i64,
    /// It waits for its clients.
    pub idles: bool,
}

/// What was seen of one thread.
#[derive(Debug, Clone, Copy, Default)]
struct Thread {
    steps: i64,
    idles: bool,
    moved_at: Mono,
}

/// What was seen of the data plane.
#[derive(Debug, Default)]
pub struct Progress {
    threads: Vec<Thread>,
    looked_at: Mono,
}

impl Progress {
    /// Looks how each thread stands. To be called as often as [`Progress::patience`] says, or more often.
    pub fn look(&mut self, now: Mono, threads: impl Iterator<Item = Pace>) {
        let looked_away = now.since(self.looked_at) > LOOKED_AWAY;
        for (index, Pace { steps, idles }) in threads.enumerate() {
            let seen = Thread { steps, idles, moved_at: now };
            match self.threads.get_mut(index) {
                Some(thread) if thread.steps == steps && !idles && !looked_away => thread.idles = false,
                Some(thread) => *thread = seen,
                None => self.threads.push(seen),
            }
        }
        self.looked_at = now;
    }

    /// How long nobody needs to look again.
    pub fn patience(&self) -> Duration {
        if self.threads.iter().all(|thread| thread.idles) { LATER } else { SOON }
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

    /// Threads at work that have taken so many steps.
    fn steps<const N: usize>(steps: [i64; N]) -> impl Iterator<Item = Pace> {
        steps.into_iter().map(|steps| Pace { steps, idles: false })
    }

    #[test]
    fn it_hangs_when_no_step_was_taken_for_a_second() {
        let mut progress = Progress::default();
        for millis in (0..2000).step_by(100) {
            progress.look(at(millis), steps([7, (millis / 1000) as i64]));
            assert!(!progress.hangs(at(millis)), "{millis}");
        }
        progress.look(at(2000), steps([7, 1]));
        assert!(progress.hangs(at(2000)));
        progress.look(at(2100), steps([7, 2]));
        assert!(!progress.hangs(at(2100)) && progress.rests_for(at(2150)) == Duration::from_millis(50));
    }

    #[test]
    fn who_stood_still_itself_blames_nobody() {
        let mut progress = Progress::default();
        progress.look(at(100), steps([1]));
        progress.look(at(20_000), steps([1]));
        assert!(!progress.hangs(at(20_000)));
    }

    #[test]
    fn who_waits_for_clients_gets_on_and_needs_no_steps_for_it() {
        let mut progress = Progress::default();
        for millis in (0..3000).step_by(500) {
            progress.look(at(millis), [Pace { steps: 3, idles: true }].into_iter());
            assert_eq!((progress.hangs(at(millis)), progress.patience()), (false, LATER), "{millis}");
        }
        progress.look(at(3000), steps([4]));
        assert_eq!(progress.patience(), SOON);
        (3100..=4000).step_by(100).for_each(|millis| progress.look(at(millis), steps([4])));
        assert!(progress.hangs(at(4000)));
    }

    #[test]
    fn newcomers_go_round_the_threads_that_get_on() {
        let mut progress = Progress::default();
        assert_eq!([0, 1, 2].map(|last| progress.next_thread(last, 3, at(0))), [1, 2, 0]);
        for step in 0..10 {
            progress.look(at(step * 100), steps([step as i64, 1, step as i64]));
        }
        assert_eq!([0, 1, 2].map(|last| progress.next_thread(last, 3, at(950))), [2, 2, 0]);
        assert_eq!([0, 1, 2].map(|last| progress.next_thread(last, 3, at(9000))), [1, 2, 0], "none is better");
        assert_eq!(progress.next_thread(0, 1, at(9000)), 0);
    }
}

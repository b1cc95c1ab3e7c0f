//! The queue of scripts: at most 256 wait, 16 run, and one that fails with exit code 1 or by a signal is run again, ten
//! times at most, after a delay that doubles each time.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_stdx::Mono;

use crate::settings::Periods;

/// The most that are kept, those that run included.
const QUEUE_MAX: usize = 256;
/// The most that run at the same time.
const RUNNING_MAX: usize = 16;
/// How often a script is run at most.
const TRIES_MAX: u32 = 10;

/// One call of a script; numbered by the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// How a script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptEnd {
    /// By itself, with this code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It could not be started.
    NotStarted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Waiting { from: Mono },
    Running { since: Mono, is_killed: bool },
}

/// A call and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) argv: Vec<String>,
    /// How often it has been started.
    pub(crate) tries: u32,
    pub(crate) state: State,
}

/// What became of a script that ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    Again,
    GivenUp,
}

/// All calls that are not done.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    jobs: VecDeque<Job>,
    next: u64,
}

impl Scripts {
    pub(crate) fn jobs(&self) -> impl ExactSizeIterator<Item = &Job> {
        self.jobs.iter()
    }

    pub(crate) fn running(&self) -> usize {
        self.jobs.iter().filter(|job| matches!(job.state, State::Running { .. })).count()
    }

    /// Puts a call behind the others. If there are too many, the oldest that waits is dropped.
    pub(crate) fn schedule(&mut self, argv: Vec<String>, now: Mono) {
        if self.jobs.len() >= QUEUE_MAX
            && let Some(oldest) = self.jobs.iter().position(|job| matches!(job.state, State::Waiting { .. }))
        {
            self.jobs.remove(oldest);
        }
        self.next += 1;
        self.jobs.push_back(Job { id: JobId(self.next), argv, tries: 0, state: State::Waiting { from: now } });
    }

    /// The next call to start now.
    pub(crate) fn start(&mut self, now: Mono) -> Option<(JobId, Vec<String>)> {
        if self.running() >= RUNNING_MAX {
            return None;
        }
        let is_ready = |job: &&mut Job| matches!(job.state, State::Waiting { from } if from <= now);
        let job = self.jobs.iter_mut().find(is_ready)?;
        job.state = State::Running { since: now, is_killed: false };
        job.tries += 1;
        Some((job.id, job.argv.clone()))
    }

    /// A call that runs for too long and is to be killed now.
    pub(crate) fn overdue(&mut self, now: Mono, periods: &Periods) -> Option<JobId> {
        self.jobs.iter_mut().find_map(|job| match &mut job.state {
            State::Running { since, is_killed } if !*is_killed && now.since(*since) >= periods.script_max => {
                *is_killed = true;
                Some(job.id)
            }
            _ => None,
        })
    }

    /// When something is to be started or killed.
    pub(crate) fn wake(&self, periods: &Periods) -> Option<Mono> {
        let has_room = self.running() < RUNNING_MAX;
        let wake = |job: &Job| match job.state {
            State::Waiting { from } => has_room.then_some(from),
            State::Running { since, is_killed } => (!is_killed).then(|| since + periods.script_max),
        };
        self.jobs.iter().filter_map(wake).min()
    }

    /// Notes the end of a call.
    pub(crate) fn ended(&mut self, id: JobId, end: ScriptEnd, now: Mono, periods: &Periods) -> Option<(Verdict, Job)> {
        let index = self.jobs.iter().position(|job| job.id == id)?;
        let job = &mut self.jobs[index];
        let may_help = matches!(end, ScriptEnd::Code(1) | ScriptEnd::Signal(_) | ScriptEnd::NotStarted);
        if may_help && job.tries < TRIES_MAX {
            let delay = periods.script_retry.saturating_mul(1 << (job.tries - 1).min(31));
            job.state = State::Waiting { from: now + delay.min(Duration::from_secs(86_400)) };
            return Some((Verdict::Again, job.clone()));
        }
        let verdict = if end == ScriptEnd::Code(0) { Verdict::Done } else { Verdict::GivenUp };
        self.jobs.remove(index).map(|job| (verdict, job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000)
    }

    fn call(scripts: &mut Scripts, name: &str) {
        scripts.schedule(vec![name.to_owned()], Mono(0));
    }

    #[test]
    fn a_script_that_fails_is_run_again_after_a_delay_that_doubles() {
        let (mut scripts, periods) = (Scripts::default(), Periods::default());
        call(&mut scripts, "a");
        let mut now = Mono(0);
        for again in 0..TRIES_MAX {
            let (id, _) = scripts.start(now).unwrap();
            let (verdict, _) = scripts.ended(id, ScriptEnd::Code(1), now, &periods).unwrap();
            if again + 1 == TRIES_MAX {
                assert_eq!(verdict, Verdict::GivenUp);
                break;
            }
            assert_eq!(verdict, Verdict::Again);
            let wake = scripts.wake(&periods).unwrap();
            assert_eq!(wake.since(now), Duration::from_secs(30 << again));
            assert_eq!(scripts.start(Mono(wake.0 - 1)), None);
            now = wake;
        }
        assert_eq!(scripts.jobs().len(), 0);
    }

    #[test]
    fn other_codes_are_final_and_one_that_hangs_is_killed_once() {
        let (mut scripts, periods) = (Scripts::default(), Periods::default());
        call(&mut scripts, "a");
        let (id, _) = scripts.start(Mono(0)).unwrap();
        assert_eq!(scripts.overdue(seconds(59), &periods), None);
        assert_eq!(scripts.overdue(seconds(60), &periods), Some(id));
        assert_eq!(scripts.overdue(seconds(61), &periods), None);
        assert_eq!(scripts.ended(id, ScriptEnd::Code(2), Mono(0), &periods).unwrap().0, Verdict::GivenUp);
        assert_eq!(scripts.ended(id, ScriptEnd::Code(0), Mono(0), &periods), None);
    }

    #[test]
    fn sixteen_run_and_the_oldest_that_waits_makes_room() {
        let mut scripts = Scripts::default();
        (0..300).for_each(|number| call(&mut scripts, &number.to_string()));
        assert_eq!(scripts.jobs().len(), QUEUE_MAX);
        let (_, argv) = scripts.start(Mono(0)).unwrap();
        assert_eq!(argv, ["44"]);
        while scripts.start(Mono(0)).is_some() {}
        assert_eq!(scripts.running(), RUNNING_MAX);
    }
}

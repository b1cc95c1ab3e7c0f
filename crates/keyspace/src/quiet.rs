//! Exclusive mode: how one thread gets the whole keyspace to itself without the others paying for it.
//!
//! Each thread that touches data is a [`Participant`]. It says `enter` when it wakes up with work and
//! `leave` when it goes back to wait, and between two commands it asks whether somebody wants to be
//! alone. Who wants to be alone raises one flag and waits until each participant is quiet.
//!
//! ```text
//!  participant                         exclusive
//!    active := true   (SeqCst)           wanted := true   (SeqCst)
//!    if wanted: step back, wait          for each: wait until not active
//!    ... commands ...                    ... alone ...
//!    active := false                     wanted := false, wake all
//! ```
//!
//! The two stores stand before the two loads in the one order of all SeqCst operations, so that at
//! least one side sees the other (Dekker's argument); the loom model at the end checks it. An ordinary
//! command costs one load of a line that nobody writes; entering costs one ordered store a wake-up.
//!
//! A participant may be in the midst of something that takes long. Then who wants to be alone lowers the flag again until
//! that has ended, so that the two of them don't keep everybody else waiting.
//!
//! Who is alone may be so for long (a script), and who waits may have better things to do: so each wait
//! comes in a form that ends after a while, and leaves the participant quiet.
//!
//! A participant must not wait for anything that an exclusive owner may hold while it is active.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering, Turn, in_one_order};

/// How often who waits asks whether to give up, and whether it keeps the others waiting for too long.
const SOMETIMES: Duration = Duration::from_millis(50);
/// How often who waits from aside looks.
#[cfg(not(loom))]
const SHORTLY: Duration = Duration::from_millis(1);
/// How long a wait lasts that is begun again at once.
const LONG: Duration = Duration::from_secs(3600);

/// Where the participants of one keyspace meet.
pub struct Quiet {
    wanted: CachePadded<AtomicBool>,
    /// Held by whoever is alone, or waits to be.
    owner: Turn<()>,
    members: Mutex<Vec<Arc<CachePadded<AtomicBool>>>>,
    /// Guards no data: both condition variables wait on it.
    door: Mutex<()>,
    /// A participant went quiet while somebody wants to be alone.
    went_quiet: Condvar,
    /// Nobody wants to be alone any more.
    reopened: Condvar,
}

impl Default for Quiet {
    fn default() -> Quiet {
        Quiet {
            wanted: CachePadded::new(AtomicBool::new(false)),
            owner: Turn::new(()),
            members: Mutex::new(Vec::new()),
            door: Mutex::new(()),
            went_quiet: Condvar::new(),
            reopened: Condvar::new(),
        }
    }
}

/// One thread's membership; it belongs to that thread alone.
pub struct Participant {
    quiet: Arc<Quiet>,
    active: Arc<CachePadded<AtomicBool>>,
}

impl Quiet {
    /// Makes the calling thread a participant, quiet at first.
    pub fn join(self: &Arc<Quiet>) -> Participant {
        let active = Arc::new(CachePadded::new(AtomicBool::new(false)));
        locked(&self.members).push(Arc::clone(&active));
        Participant { quiet: Arc::clone(self), active }
    }
}

impl Participant {
    /// Begins to touch data; waits while another thread is alone.
    #[inline]
    pub fn enter(&mut self) {
        while !self.enter_within(LONG) {}
    }

    /// As [`Participant::enter`], but waits no longer than that; false if it is still quiet then.
    #[inline]
    pub fn enter_within(&mut self, patience: Duration) -> bool {
        self.active.store(true, Ordering::SeqCst);
        in_one_order();
        !self.quiet.wanted.load(Ordering::SeqCst) || self.step_aside(patience)
    }

    /// Stops touching data.
    #[inline]
    pub fn leave(&mut self) {
        self.active.store(false, Ordering::SeqCst);
        in_one_order();
        if self.quiet.wanted.load(Ordering::SeqCst) {
            self.report_quiet();
        }
    }

    /// Whether it is between `enter` and `leave`.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Between two commands: makes way if somebody wants to be alone.
    #[inline]
    pub fn pause(&mut self) {
        if self.is_in_the_way() {
            self.leave();
            self.enter();
        }
    }

    /// Whether somebody wants to be alone: the participant has to leave soon.
    #[inline]
    pub fn is_in_the_way(&self) -> bool {
        self.quiet.wanted.load(Ordering::Relaxed)
    }

    /// Runs `work` while every other participant is quiet. The caller must be quiet itself (not between
    /// `enter` and `leave`); it is so afterwards too.
    pub fn alone<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.alone_unless(|| false, work).expect("it never gives up")
    }

    /// As [`Participant::alone`], but while it has to wait it asks from time to time whether to give up;
    /// `None` if it did.
    pub fn alone_unless<R>(&mut self, gives_up: impl Fn() -> bool, work: impl FnOnce() -> R) -> Option<R> {
        let result = self.alone_and_stay_unless(gives_up, work);
        if result.is_some() {
            self.leave();
        }
        result
    }

    /// As [`Participant::alone_unless`], but the participant is active afterwards, and nobody has been alone in between.
    /// Only who gave up is still quiet.
    pub fn alone_and_stay_unless<R>(&mut self, gives_up: impl Fn() -> bool, work: impl FnOnce() -> R) -> Option<R> {
        assert!(!self.is_active(), "a participant leaves before it asks to be alone");
        let quiet = &*self.quiet;
        let owner = take_turn(&quiet.owner, &gives_up)?;
        for rounds in 1.. {
            quiet.wanted.store(true, Ordering::SeqCst);
            in_one_order();
            // Panics in `work` abort the process in release builds; in tests the flag is lowered by the guard.
            let reopen = Reopen(quiet);
            let members = locked(&quiet.members).clone();
            let waits = members.iter().map(|member| (member, quiet.await_quiet(member, rounds, &gives_up)));
            match waits.into_iter().find(|(_, wait)| *wait != Wait::Over) {
                None => {
                    let result = work();
                    // Whoever is alone next has the turn after us, and so sees this.
                    self.active.store(true, Ordering::SeqCst);
                    drop(reopen);
                    drop(owner);
                    return Some(result);
                }
                Some((_, Wait::GivenUp)) => return None,
                // The others need not wait for it too. Who is always in the midst of something is waited for a little
                // longer each time.
                Some((member, _)) => {
                    drop(reopen);
                    quiet.await_from_aside(member, &gives_up)?;
                }
            }
        }
        unreachable!("there is always another round")
    }

    #[cold]
    fn step_aside(&mut self, patience: Duration) -> bool {
        loop {
            self.active.store(false, Ordering::SeqCst);
            self.report_quiet();
            {
                let mut door = locked(&self.quiet.door);
                while self.quiet.wanted.load(Ordering::SeqCst) {
                    let waited = self.quiet.reopened.wait_timeout(door, patience);
                    let (again, in_vain) = waited.expect("nobody panics at the door");
                    if in_vain.timed_out() {
                        return false;
                    }
                    door = again;
                }
            }
            self.active.store(true, Ordering::SeqCst);
            in_one_order();
            if !self.quiet.wanted.load(Ordering::SeqCst) {
                return true;
            }
        }
    }

    #[cold]
    fn report_quiet(&self) {
        // Taking the door's lock orders this after a waiter's last look and before its sleep.
        let _door = locked(&self.quiet.door);
        self.quiet.went_quiet.notify_all();
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.leave();
        locked(&self.quiet.members).retain(|member| !Arc::ptr_eq(member, &self.active));
    }
}

/// How waiting for a participant has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// It is quiet.
    Over,
    /// Whoever waited gave up.
    GivenUp,
    /// It is in the midst of something that takes long.
    InVain,
}

impl Quiet {
    /// Waits for so many times [`SOMETIMES`].
    fn await_quiet(&self, member: &AtomicBool, mut rounds: u32, gives_up: &impl Fn() -> bool) -> Wait {
        // Another thread is in the midst of a command, mostly for less than it takes to fall asleep.
        #[cfg(not(loom))]
        for _ in 0..200 {
            if !member.load(Ordering::SeqCst) {
                return Wait::Over;
            }
            std::hint::spin_loop();
        }
        let mut door = locked(&self.door);
        while member.load(Ordering::SeqCst) {
            let waited = self.went_quiet.wait_timeout(door, SOMETIMES);
            let (again, in_vain) = waited.expect("nobody panics at the door");
            door = again;
            if !in_vain.timed_out() {
                continue;
            }
            if gives_up() {
                return Wait::GivenUp;
            }
            rounds = rounds.saturating_sub(1);
            if rounds == 0 {
                return Wait::InVain;
            }
        }
        Wait::Over
    }

    /// Waits without being in anybody's way; `None` if it gave up.
    #[cfg(not(loom))]
    fn await_from_aside(&self, member: &AtomicBool, gives_up: &impl Fn() -> bool) -> Option<()> {
        while member.load(Ordering::SeqCst) {
            if gives_up() {
                return None;
            }
            std::thread::sleep(SHORTLY);
        }
        Some(())
    }

    /// The model knows no time that passes.
    #[cfg(loom)]
    fn await_from_aside(&self, _: &AtomicBool, _: &impl Fn() -> bool) -> Option<()> {
        loom::thread::yield_now();
        Some(())
    }
}

/// Lowers the flag even if the work panics.
struct Reopen<'a>(&'a Quiet);

impl Drop for Reopen<'_> {
    fn drop(&mut self) {
        self.0.wanted.store(false, Ordering::SeqCst);
        let _door = locked(&self.0.door);
        self.0.reopened.notify_all();
    }
}

/// Waits for its turn to be alone; `None` if it gave up.
#[cfg(not(loom))]
fn take_turn<'q>(owner: &'q Turn<()>, gives_up: &impl Fn() -> bool) -> Option<parking_lot::MutexGuard<'q, ()>> {
    loop {
        let turn = owner.try_lock_for(SOMETIMES);
        if turn.is_some() || gives_up() {
            return turn;
        }
    }
}

#[cfg(loom)]
fn take_turn<'q>(owner: &'q Turn<()>, _: &impl Fn() -> bool) -> Option<MutexGuard<'q, ()>> {
    Some(locked(owner))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics while it holds this lock")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::UnsafeCell;

    struct Shared(UnsafeCell<u64>);
    // SAFETY: the test only touches the cell while it is alone, which is what it checks.
    unsafe impl Sync for Shared {}

    #[test]
    fn who_takes_long_keeps_only_those_waiting_who_want_to_be_alone() {
        let quiet = Arc::new(Quiet::default());
        let (mut slow, mut other, mut boss) = (quiet.join(), quiet.join(), quiet.join());
        slow.enter();
        let was_alone = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&was_alone);
        let thread = std::thread::spawn(move || boss.alone(|| noted.store(true, Ordering::SeqCst)));
        while !other.is_in_the_way() {
            std::thread::yield_now();
        }
        // The flag is up, and comes down although the slow one goes on.
        other.enter();
        other.leave();
        assert!(!was_alone.load(Ordering::SeqCst) && slow.is_active());
        slow.leave();
        thread.join().unwrap();
        assert!(was_alone.load(Ordering::SeqCst));
    }

    #[test]
    fn nobody_is_active_while_one_is_alone() {
        let quiet = Arc::new(Quiet::default());
        let shared = Arc::new(Shared(UnsafeCell::new(0)));
        let inside = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let (quiet, shared, inside) = (Arc::clone(&quiet), Arc::clone(&shared), Arc::clone(&inside));
                std::thread::spawn(move || {
                    let mut me = quiet.join();
                    for round in 0..2000 {
                        if round % 5 == n {
                            me.alone(|| {
                                assert!(!inside.swap(true, Ordering::SeqCst));
                                // SAFETY: alone.
                                unsafe { *shared.0.get() += 1 };
                                inside.store(false, Ordering::SeqCst);
                            });
                        } else {
                            me.enter();
                            for _ in 0..3 {
                                assert!(!inside.load(Ordering::SeqCst));
                                me.pause();
                            }
                            me.leave();
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        // SAFETY: all threads have ended.
        assert_eq!(unsafe { *shared.0.get() }, 4 * 400);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::thread;

    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    #[test]
    fn an_exclusive_owner_and_an_active_participant_never_overlap() {
        check(|| {
            let quiet = Arc::new(Quiet::default());
            // loom's cell reports any access that is not ordered against another.
            let data = Arc::new(UnsafeCell::new(0u32));
            let mut worker = quiet.join();
            let mut boss = quiet.join();
            let other = {
                let data = Arc::clone(&data);
                thread::spawn(move || {
                    worker.enter();
                    // SAFETY: the model checks that no exclusive owner writes meanwhile.
                    data.with(|value| unsafe { *value });
                    worker.pause();
                    // SAFETY: as above.
                    data.with(|value| unsafe { *value });
                    worker.leave();
                })
            };
            // SAFETY: the model checks that nobody reads meanwhile.
            boss.alone(|| data.with_mut(|value| unsafe { *value += 1 }));
            other.join().unwrap();
        });
    }

    #[test]
    fn who_stays_after_being_alone_is_never_active_beside_another_who_is_alone() {
        check(|| {
            let quiet = Arc::new(Quiet::default());
            let data = Arc::new(UnsafeCell::new(0u32));
            let mut first = quiet.join();
            let mut second = quiet.join();
            let other = {
                let data = Arc::clone(&data);
                // SAFETY: the model checks that nobody reads or writes meanwhile.
                thread::spawn(move || second.alone(|| data.with_mut(|value| unsafe { *value += 1 })))
            };
            // SAFETY: as above.
            let seen = first.alone_and_stay_unless(
                || false,
                || {
                    data.with_mut(|value| unsafe {
                        *value += 1;
                        *value
                    })
                },
            );
            // SAFETY: active, and the model checks that nobody writes meanwhile.
            assert_eq!(data.with(|value| unsafe { *value }), seen.expect("it does not give up"));
            first.leave();
            other.join().unwrap();
        });
    }

    #[test]
    fn two_who_want_to_be_alone_take_turns() {
        check(|| {
            let quiet = Arc::new(Quiet::default());
            let data = Arc::new(UnsafeCell::new(0u32));
            let mut first = quiet.join();
            let mut second = quiet.join();
            let other = {
                let data = Arc::clone(&data);
                // SAFETY: the model checks that the two don't overlap.
                thread::spawn(move || second.alone(|| data.with_mut(|value| unsafe { *value += 1 })))
            };
            // SAFETY: as above.
            first.alone(|| data.with_mut(|value| unsafe { *value += 1 }));
            other.join().unwrap();
            // SAFETY: both have ended.
            assert_eq!(data.with(|value| unsafe { *value }), 2);
        });
    }

    #[test]
    fn what_is_published_alone_stays_the_same_for_whoever_is_active() {
        check(|| {
            let quiet = Arc::new(Quiet::default());
            // A role, a pause, the moment of a snapshot: two words that belong together, written by who is alone and
            // read by the others without any ordering of their own.
            let published = Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
            let mut worker = quiet.join();
            let mut boss = quiet.join();
            let other = {
                let published = Arc::clone(&published);
                thread::spawn(move || {
                    worker.enter();
                    let first = published.0.load(Ordering::Relaxed);
                    let second = published.1.load(Ordering::Relaxed);
                    assert_eq!(first, second, "half of a publication is seen");
                    worker.pause();
                    assert!(!first || published.0.load(Ordering::Relaxed), "a publication is taken back");
                    worker.leave();
                })
            };
            boss.alone(|| {
                published.0.store(true, Ordering::Relaxed);
                published.1.store(true, Ordering::Relaxed);
            });
            other.join().unwrap();
        });
    }
}

//! Tenure: whether a primary may go on taking writes, although it could have been replaced without knowing.
//!
//! Who can replace it are the *monitors* (Sentinels), and only a majority of them can. Each confirms, a few dozen times a
//! second, that for its part the primary leads for a short *term* more. The primary counts the silent: as soon as so many
//! monitors have let their term run out as could elect another primary, it holds writes back, until they are fewer.
//!
//! ```text
//!  primary                       monitor
//!    │ ◄──── confirm, stamp 0 ────  │      a stamp is the primary's own clock
//!    │ ───── stamp t ────────────►  │
//!    │ ◄──── confirm, stamp t ────  │      holds until t + term: what was under way while the primary stood still is worth
//!    │ ───── stamp t' ───────────►  │      nothing, however late it is read, and no two clocks are compared
//! ```
//!
//! A monitor whose process ends is not silent: its link closes while its term still runs, or shortly after, and it is
//! *gone*. So three Sentinels that are killed leave a primary that writes, as one that never had any. One that gave up a
//! primary that did not answer closes its link too, but only after its *patience*: it counts as silent still.
//!
//! **A primary that starts again** may have been replaced while it was not there. That a majority has confirmed it is
//! remembered on disk, and if it is, a start is as the end of a silence: writes wait for a majority, or for the order to
//! follow; and if no monitor says anything, that is the end of it after [`HEARING`].
//!
//! **Monitors that don't know of this** (Redis' Sentinels) only publish hellos, every other second, so that their silence says
//! nothing. But a primary that stood still for [`FREEZE`] and more, and has heard hellos before, holds writes back until one
//! comes that must have been sent after it woke up and names the primary that the hellos named before. Who names another
//! is about to demote us, and is waited for; if nobody says anything, that is the end of it after [`HEARING`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_stdx::{Machine, Mono, Now, ReplId};

/// Who stood still for less can't have been replaced by monitors that say nothing of their terms.
pub const FREEZE: Duration = Duration::from_secs(1);
/// A hello that comes sooner after a freeze may be an old one.
const STALE: Duration = Duration::from_secs(1);
/// For so long after a freeze, or after the last hello that named another primary, hellos are waited for.
pub const HEARING: Duration = Duration::from_secs(10);
/// The longest term that is believed, and the shortest.
const TERMS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);
/// More monitors than anybody has are not listened to.
const MONITORS_MAX: usize = 1024;

/// What a monitor says when it confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// Who says so.
    pub by: ReplId,
    /// How many monitors there are, itself among them.
    pub monitors: u32,
    /// For how long after the stamp.
    pub term: Duration,
    /// It would not close its link for silence before that.
    pub patience: Duration,
    /// What it was answered last; zero if it has not been.
    pub stamp: Mono,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A monitor confirms that we lead.
    Confirmed(Confirmation),
    /// The link of a monitor was closed.
    Closed {
        /// Whose.
        by: ReplId,
    },
    /// A hello has come.
    Hello {
        /// From whom.
        by: ReplId,
        /// The primary that it names.
        names: String,
    },
    /// We lead, or follow, from now on.
    Role {
        /// Whether we lead.
        leads: bool,
    },
    /// Whether writes may be held back at all.
    Enabled(bool),
    /// The instant that `poll_timeout` named has come.
    Timeout,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Hold writes back.
    Hold,
    /// Let them go on.
    Release,
    /// Remember, also after a restart, that monitors confirm us.
    Remember,
    /// Remember it no longer.
    Forget,
}

/// Why the machine wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A term runs out.
    Term,
    /// Nobody has said anything after a freeze.
    Hearing,
    /// To know that we don't stand still: who is woken much later did.
    Awake,
}

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody confirms anything.
    Unwatched,
    /// Writes are taken.
    Confirmed,
    /// Writes are held back.
    Held,
}

#[derive(Debug, Clone, Copy)]
struct Monitor {
    /// Until when its last confirmation holds.
    until: Mono,
    monitors: u32,
    patience: Duration,
}

/// See the module's text.
#[derive(Debug)]
pub struct Tenure {
    leads: bool,
    enabled: bool,
    monitors: BTreeMap<ReplId, Monitor>,
    /// The primary that hellos have named while we led undisturbed.
    named: Option<String>,
    /// When we woke up, and until when we wait for somebody to say something.
    woken: Option<(Mono, Mono)>,
    held: bool,
    /// A restart would find that monitors have confirmed us.
    is_remembered: bool,
    now: Mono,
    outputs: VecDeque<Output>,
}

impl Tenure {
    /// A server that leads, or does not; of which it `is_remembered` or not that monitors have confirmed it.
    pub fn new(leads: bool, enabled: bool, is_remembered: bool, now: Mono) -> Tenure {
        let mut tenure = Tenure {
            leads,
            enabled,
            monitors: BTreeMap::new(),
            named: None,
            woken: is_remembered.then_some((now, now + HEARING)),
            held: false,
            is_remembered,
            now,
            outputs: VecDeque::new(),
        };
        tenure.settle();
        tenure
    }

    /// Whether writes are held back.
    pub fn holds(&self) -> bool {
        self.held
    }

    /// How things stand.
    pub fn standing(&self) -> Standing {
        match (self.held, self.monitors.is_empty()) {
            (true, _) => Standing::Held,
            (false, true) => Standing::Unwatched,
            (false, false) => Standing::Confirmed,
        }
    }

    /// How many monitors have confirmed us and are not gone: those whose silence would be noticed.
    pub fn monitors(&self) -> usize {
        self.monitors.len()
    }

    /// Until when writes may be taken if nothing happens; `None` is for ever. Whoever is about to take one later looks at the
    /// machine first.
    pub fn good_until(&self) -> Option<Mono> {
        if !self.leads || !self.enabled || self.held {
            return None;
        }
        let by_term = self.lapses_at();
        // A freeze is noticed by those who thaw first.
        let by_freeze = self.named.as_ref().map(|_| self.now + FREEZE);
        by_term.into_iter().chain(by_freeze).min()
    }

    /// Whether so many are silent at that moment as could elect another primary. If those who are not agree that they are a
    /// majority themselves, the others have been forgotten, and elect nobody.
    fn is_lapsed(&self, at: Mono) -> bool {
        let majority = |monitors: u32| monitors as usize / 2 + 1;
        let (mut all, mut heard, mut silent) = (0, 0, 0);
        let mut heard_of = 0;
        for monitor in self.monitors.values() {
            all = all.max(monitor.monitors);
            if monitor.until > at {
                heard += 1;
                heard_of = heard_of.max(monitor.monitors);
            } else {
                silent += 1;
            }
        }
        silent > 0 && silent >= majority(all) && (heard == 0 || heard < majority(heard_of))
    }

    /// Whether a majority confirms us now.
    fn is_confirmed(&self) -> bool {
        let heard = self.monitors.values().filter(|monitor| monitor.until > self.now);
        let (count, of) = heard.fold((0, 0), |(count, of), monitor| (count + 1, monitor.monitors.max(of)));
        count > 0 && count > of / 2
    }

    /// When too many will have fallen silent, if none is heard before; in the past if they have.
    fn lapses_at(&self) -> Option<Mono> {
        let ends = self.monitors.values().map(|monitor| monitor.until);
        ends.filter(|end| self.is_lapsed(*end)).min()
    }

    fn must_hold(&self) -> bool {
        let waits = self.woken.is_some_and(|(_, end)| end > self.now);
        self.leads && self.enabled && (self.is_lapsed(self.now) || waits)
    }

    fn settle(&mut self) {
        if self.woken.is_some_and(|(_, end)| end <= self.now) {
            self.woken = None;
            // Nobody is left who could tell.
            self.remember(false);
        }
        let must_hold = self.must_hold();
        if must_hold != self.held {
            self.held = must_hold;
            self.outputs.push_back(if must_hold { Output::Hold } else { Output::Release });
        }
    }

    fn remember(&mut self, is_remembered: bool) {
        if self.is_remembered != is_remembered {
            self.is_remembered = is_remembered;
            self.outputs.push_back(if is_remembered { Output::Remember } else { Output::Forget });
        }
    }

    fn on_confirmed(&mut self, confirmation: Confirmation) {
        let Confirmation { by, monitors, term, patience, stamp } = confirmation;
        if !self.leads || (self.monitors.len() >= MONITORS_MAX && !self.monitors.contains_key(&by)) {
            return;
        }
        let term = term.clamp(*TERMS.start(), *TERMS.end());
        // A stamp that we can't have given yet belongs to an earlier life of ours.
        let until = if stamp == Mono(0) || stamp > self.now { None } else { Some(stamp + term) };
        let monitors = monitors.max(1);
        match self.monitors.get_mut(&by) {
            Some(known) => {
                *known =
                    Monitor { until: until.map_or(known.until, |until| known.until.max(until)), monitors, patience };
            }
            // It counts from its first good confirmation on: who comes can't take anything away.
            None if until.is_some_and(|until| until > self.now) => {
                let until = until.unwrap_or(self.now);
                self.monitors.insert(by, Monitor { until, monitors, patience });
            }
            None => {}
        }
        if self.is_confirmed() {
            self.woken = None;
            self.remember(true);
        } else if let Some((_, end)) = &mut self.woken {
            // Somebody is there: the others are waited for.
            *end = self.now + HEARING;
        }
    }

    fn on_closed(&mut self, by: ReplId) {
        let now = self.now;
        let is_gone = |monitor: &Monitor| now < monitor.until + monitor.patience;
        if self.monitors.get(&by).is_some_and(is_gone) {
            self.monitors.remove(&by);
            if self.monitors.is_empty() {
                self.remember(false);
            }
        }
    }

    fn on_hello(&mut self, by: ReplId, names: String) {
        // What those think who confirm by terms is known better from that.
        if !self.leads || self.monitors.contains_key(&by) {
            return;
        }
        match (&self.woken, &self.named) {
            (None, _) => self.named = Some(names),
            (Some((at, _)), Some(named)) if *named == names => {
                if self.now >= *at + STALE {
                    self.woken = None;
                }
            }
            (Some((at, _)), Some(_)) => self.woken = Some((*at, self.now + HEARING)),
            // We have just started, and know nothing to compare with.
            (Some(_), None) => {}
        }
    }
}

impl Machine for Tenure {
    type Input = Input;
    type Output = Output;
    type Timer = Timer;

    fn handle(&mut self, now: Now, input: Input) {
        let stood_still = now.mono.since(self.now) >= FREEZE;
        self.now = now.mono;
        if stood_still && self.leads && self.named.is_some() {
            self.woken = Some((self.now, self.now + HEARING));
        }
        match input {
            Input::Confirmed(confirmation) => self.on_confirmed(confirmation),
            Input::Closed { by } => self.on_closed(by),
            Input::Hello { by, names } => self.on_hello(by, names),
            Input::Role { leads } => {
                // To be told at the start what one is already ends nothing.
                if self.leads == leads {
                    return;
                }
                self.leads = leads;
                self.monitors.clear();
                (self.named, self.woken) = (None, None);
                self.remember(false);
            }
            Input::Enabled(enabled) => self.enabled = enabled,
            Input::Timeout => {}
        }
        self.settle();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Mono, Timer)> {
        if !self.leads || !self.enabled {
            return None;
        }
        let term = self.lapses_at().filter(|_| !self.held).map(|at| (at, Timer::Term));
        let hearing = self.woken.map(|(_, end)| (end, Timer::Hearing));
        let awake = self.named.as_ref().map(|_| (self.now + FREEZE / 4, Timer::Awake));
        term.into_iter().chain(hearing).chain(awake).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_stdx::{Rng, UnixMs};

    const TERM: Duration = Duration::from_millis(100);
    const PATIENCE: Duration = Duration::from_millis(500);

    fn id(number: u8) -> ReplId {
        ReplId::parse(&[b'0' + number; 40]).unwrap()
    }

    struct Primary {
        tenure: Tenure,
        millis: u64,
        holds: bool,
        is_remembered: bool,
    }

    impl Primary {
        fn new() -> Primary {
            Primary { tenure: Tenure::new(true, true, false, Mono(0)), millis: 1, holds: false, is_remembered: false }
        }

        /// As it is after a restart at that time.
        fn restarted(&self, millis: u64) -> Primary {
            let mut tenure = Tenure::new(true, true, self.is_remembered, Mono(millis * 1000));
            let holds = tenure.poll_output() == Some(Output::Hold);
            Primary { tenure, millis, holds, is_remembered: self.is_remembered }
        }

        fn mono(&self) -> Mono {
            Mono(self.millis * 1000)
        }

        fn put(&mut self, input: Input) -> bool {
            self.tenure.handle(Now { mono: self.mono(), unix: UnixMs(0) }, input);
            while let Some(output) = self.tenure.poll_output() {
                match output {
                    Output::Hold => self.holds = true,
                    Output::Release => self.holds = false,
                    Output::Remember => self.is_remembered = true,
                    Output::Forget => self.is_remembered = false,
                }
            }
            self.holds
        }

        fn at(&mut self, millis: u64, input: Input) -> bool {
            self.millis = millis;
            self.put(input)
        }

        fn confirm(&mut self, by: u8, monitors: u32, stamp: u64) -> bool {
            let (by, stamp) = (id(by), Mono(stamp * 1000));
            self.put(Input::Confirmed(Confirmation { by, monitors, term: TERM, patience: PATIENCE, stamp }))
        }

        fn hello(&mut self, millis: u64, names: &str) -> bool {
            self.at(millis, Input::Hello { by: id(9), names: names.to_owned() })
        }
    }

    #[test]
    fn it_holds_when_a_majority_is_silent_and_no_sooner() {
        let mut primary = Primary::new();
        primary.millis = 1000;
        for monitor in 0..3 {
            assert!(!primary.confirm(monitor, 3, 1000));
        }
        primary.millis = 1050;
        primary.confirm(0, 3, 1040);
        primary.confirm(1, 3, 1045);
        assert_eq!(primary.tenure.monitors(), 3);
        assert_eq!(primary.tenure.poll_timeout(), Some((Mono(1_140_000), Timer::Term)));
        assert!(!primary.at(1139, Input::Timeout), "one of three is silent");
        assert!(primary.at(1140, Input::Timeout));
        assert_eq!(primary.tenure.standing(), Standing::Held);
        assert!(!primary.confirm(2, 3, 1140), "one of three that comes back is enough, as two are not silent then");
    }

    #[test]
    fn what_was_sent_before_a_freeze_does_not_count_after_it() {
        let mut primary = Primary::new();
        primary.millis = 1000;
        for monitor in 0..3 {
            primary.confirm(monitor, 3, 1000);
        }
        assert!(primary.at(9000, Input::Timeout));
        for monitor in 0..3 {
            assert!(primary.confirm(monitor, 3, 1000), "it had been in the socket all the time");
        }
        primary.millis = 9030;
        assert!(primary.confirm(0, 3, 9005));
        assert!(!primary.confirm(1, 3, 9006));
    }

    #[test]
    fn who_is_gone_is_not_silent_and_who_gave_us_up_is() {
        let mut primary = Primary::new();
        primary.millis = 1000;
        for monitor in 0..3 {
            primary.confirm(monitor, 3, 1000);
        }
        for monitor in 0..3 {
            primary.at(1001, Input::Closed { by: id(monitor) });
        }
        assert!(!primary.at(5000, Input::Timeout), "nobody is left who could replace us");
        assert_eq!(primary.tenure.standing(), Standing::Unwatched);
        for monitor in 0..3 {
            primary.confirm(monitor, 3, 5000);
        }
        for monitor in 0..3 {
            primary.at(9000, Input::Closed { by: id(monitor) });
        }
        assert!(primary.at(9001, Input::Timeout), "they closed their links because we did not answer");
    }

    #[test]
    fn who_was_forgotten_by_the_others_is_missed_by_nobody() {
        let mut primary = Primary::new();
        primary.millis = 1000;
        for monitor in 0..3 {
            primary.confirm(monitor, 3, 1000);
        }
        primary.millis = 9000;
        assert!(primary.confirm(0, 3, 9000));
        assert!(!primary.confirm(0, 1, 9000), "SENTINEL RESET");
    }

    #[test]
    fn a_primary_that_nobody_watches_never_holds() {
        let mut primary = Primary::new();
        assert!(!primary.at(100_000, Input::Timeout));
        primary.confirm(0, 1, 0);
        assert!(!primary.at(190_000, Input::Timeout), "who has never confirmed anything is missed by nobody");
        assert_eq!((primary.tenure.good_until(), primary.tenure.poll_timeout()), (None, None));
        primary.millis = 200_000;
        primary.confirm(0, 1, 200_000);
        primary.at(200_001, Input::Closed { by: id(0) });
        assert!(!primary.at(300_000, Input::Timeout));
        let mut other = Primary::new();
        other.at(1, Input::Enabled(false));
        other.millis = 1000;
        other.confirm(0, 1, 1000);
        assert!(!other.at(9000, Input::Timeout), "it is switched off");
    }

    #[test]
    fn under_sentinels_that_only_say_hello_a_freeze_ends_with_a_hello_that_must_be_new() {
        let mut primary = Primary::new();
        primary.hello(1000, "a:1");
        assert_eq!(primary.tenure.good_until(), Some(Mono(2_000_000)));
        assert!(!primary.at(1900, Input::Timeout));
        assert!(primary.at(9000, Input::Timeout));
        assert!(primary.hello(9001, "a:1"), "it may have been in the socket");
        assert!(primary.at(9900, Input::Timeout) && !primary.hello(10_500, "a:1"));
        // Nobody is left to say anything.
        assert!(primary.at(20_000, Input::Timeout));
        let quiet: Vec<bool> = (1..=20).map(|half| primary.at(20_000 + half * 500, Input::Timeout)).collect();
        assert_eq!(quiet.iter().filter(|holds| **holds).count(), 19, "until 30,000");
        // They name another, and will say so to us soon.
        assert!(primary.at(40_000, Input::Timeout));
        let named: Vec<bool> = (1..40).map(|half| primary.hello(40_000 + half * 500, "b:1")).collect();
        assert!(named.iter().all(|holds| *holds));
        assert!(!primary.at(60_000, Input::Role { leads: false }));
    }

    #[test]
    fn after_a_restart_a_primary_that_was_confirmed_waits_for_a_majority_or_for_nobody() {
        let mut primary = Primary::new();
        primary.millis = 1000;
        primary.confirm(0, 3, 1000);
        assert!(!primary.is_remembered, "one of three is no majority");
        primary.confirm(1, 3, 1000);
        assert!(primary.is_remembered && !primary.holds);
        let mut again = primary.restarted(2000);
        assert!(again.holds);
        again.millis = 2010;
        assert!(again.confirm(0, 3, 0) && again.confirm(0, 3, 2005), "one of three may be wrong");
        assert!(!again.confirm(1, 3, 2006) && again.is_remembered);
        // Only one is within reach: the others are waited for as long as it takes.
        let mut cut_off = primary.restarted(2000);
        for millis in (2010..40_000).step_by(50) {
            cut_off.millis = millis;
            assert!(cut_off.confirm(0, 3, millis - 5) && cut_off.at(millis, Input::Timeout));
        }
        // Nobody is left.
        let mut alone = primary.restarted(2000);
        assert!(alone.at(11_999, Input::Timeout) && !alone.at(12_000, Input::Timeout) && !alone.is_remembered);
        assert!(!alone.restarted(13_000).holds);
        // It is told to follow.
        let mut old = primary.restarted(2000);
        assert!(!old.at(2100, Input::Role { leads: false }) && !old.is_remembered);
    }

    /// Monitors and a primary over a network that loses, delays and parts, with freezes and crashes: the primary takes no
    /// write later than a term after the last moment at which fewer than a majority were cut off, and it does take some
    /// whenever it was left in peace for a while.
    #[test]
    fn it_never_takes_a_write_a_term_after_a_majority_was_cut_off() {
        quorate_stdx::seeds(300).for_each(play);
    }

    fn play(seed: u64) {
        let mut rng = Rng::new(seed);
        let count = 1 + rng.below(5) as usize;
        let mut primary = Primary::new();
        // For each monitor: its last stamp, since when it is cut off, when it confirms next; and messages under way.
        let mut stamps = vec![0; count];
        let mut cut: Vec<Option<u64>> = vec![None; count];
        let mut due = vec![1; count];
        let mut under_way: Vec<(u64, usize, u64)> = Vec::new();
        let (mut frozen_until, mut quiet_since) = (0, 0);
        for millis in 1..6000u64 {
            if rng.below(400) == 0 {
                let monitor = rng.below(count as u64) as usize;
                cut[monitor] = if cut[monitor].is_none() { Some(millis) } else { None };
                quiet_since = quiet_since.max(millis);
            }
            if rng.below(1500) == 0 {
                frozen_until = millis + rng.below(1000);
                quiet_since = frozen_until;
            }
            for monitor in 0..count {
                if cut[monitor].is_none() && millis >= due[monitor] {
                    due[monitor] = millis + 25;
                    under_way.push((millis + rng.below(20), monitor, stamps[monitor]));
                }
            }
            if millis < frozen_until {
                continue;
            }
            let arrived: Vec<_> = under_way.iter().copied().filter(|(at, ..)| *at <= millis).collect();
            under_way.retain(|(at, ..)| *at > millis);
            primary.at(millis, Input::Timeout);
            for (_, monitor, stamp) in arrived {
                primary.confirm(monitor as u8, count as u32, stamp);
                if cut[monitor].is_none() {
                    stamps[monitor] = millis;
                }
            }
            let majority = count / 2 + 1;
            // Those that never were heard can't be missed.
            let is_long_cut = |monitor: &usize| {
                let known = primary.tenure.monitors.contains_key(&id(*monitor as u8));
                known && cut[*monitor].is_some_and(|since| millis - since > 120)
            };
            if (0..count).filter(is_long_cut).count() >= majority {
                assert!(primary.holds, "seed {seed} at {millis}: it writes, cut off");
            }
            if millis - quiet_since > 300 && cut.iter().flatten().count() < majority {
                let tenure = &primary.tenure;
                assert!(
                    !primary.holds,
                    "seed {seed} at {millis}: it holds writes back for nothing: {cut:?} {tenure:?}"
                );
            }
        }
    }
}

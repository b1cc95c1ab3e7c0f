//! What a lock is asked for: how long, by which rules, with what patience. Checked once, before anything is sent.

use std::fmt;
use std::time::Duration;

/// The shortest TTL: below it nothing would be left once drift is taken off.
pub const MIN_TTL: Duration = Duration::from_millis(5);
/// The longest TTL: a lock that nobody releases keeps its resource this long.
pub const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The text that a node stores under the resource, which nobody else has: 40 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(String);

impl Token {
    /// The token of one attempt. Each has its own, so that what is left of an earlier one can't be taken for this.
    pub fn of(identity: u128, attempt: u32) -> Token {
        Token(format!("{identity:032x}{attempt:08x}"))
    }

    /// A token that a server has told; `None` for anything else.
    pub fn parse(text: &str) -> Option<Token> {
        let is_token = text.len() == 40 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_token.then(|| Token(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far the clocks of the servers and ours may drift apart while a lock is held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// Parts per million of the TTL.
    pub ppm: u32,
    /// Added to that: servers expire keys in whole milliseconds.
    pub constant: Duration,
}

impl Default for Drift {
    /// One per cent and two milliseconds, as the published algorithm's implementations have it.
    fn default() -> Drift {
        Drift { ppm: 10_000, constant: Duration::from_millis(2) }
    }
}

impl Drift {
    /// What is taken off a TTL.
    pub fn of(self, ttl: Duration) -> Duration {
        let micros = ttl.as_micros().saturating_mul(u128::from(self.ppm)) / 1_000_000;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).saturating_add(self.constant)
    }
}

/// When a refused attempt is repeated, if nobody says earlier that the lock was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The shortest pause.
    pub delay: Duration,
    /// At most this is added, by chance, so that contenders don't stay in step.
    pub jitter: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { delay: Duration::from_millis(200), jitter: Duration::from_millis(100) }
    }
}

/// What a lock is asked for. The resources are not here: they are the driver's.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// How many servers there are; a majority of *all* of them must agree.
    pub nodes: usize,
    /// How long each server keeps the lock, if it is neither extended nor released.
    pub ttl: Duration,
    /// What clocks may do meanwhile.
    pub drift: Drift,
    /// How long one server may take for an answer; a fraction of the TTL.
    pub node_timeout: Duration,
    /// When to try again.
    pub retry: Retry,
    /// How long to go on trying; zero means one attempt.
    pub wait: Duration,
    /// Whether a fencing token is wanted.
    pub is_fenced: bool,
    /// Whether those who wait get it in the order in which they came.
    pub is_fair: bool,
    /// Extend by itself, until the lock has been held for this long.
    pub extend_for: Option<Duration>,
    /// When we came, in microseconds of the wall clock: those who wait in order go by it. A clock that is wrong costs fairness,
    /// not safety.
    pub arrival: i64,
    /// Whose lock it is: from a source of real randomness.
    pub identity: u128,
    /// For jitter.
    pub seed: u64,
    /// A bug put back on purpose, so that the simulation's checkers can be seen to work.
    #[cfg(test)]
    pub(crate) planted: Option<crate::sim::Planted>,
}

impl Terms {
    /// The defaults for so many servers.
    pub fn new(nodes: usize, ttl: Duration, identity: u128) -> Terms {
        Terms {
            nodes,
            ttl,
            drift: Drift::default(),
            node_timeout: Terms::default_node_timeout(ttl),
            retry: Retry::default(),
            wait: Duration::ZERO,
            is_fenced: false,
            is_fair: false,
            extend_for: None,
            arrival: 0,
            identity,
            seed: identity as u64 ^ (identity >> 64) as u64,
            #[cfg(test)]
            planted: None,
        }
    }

    /// A tenth of the TTL, between 2 and 250 ms.
    pub fn default_node_timeout(ttl: Duration) -> Duration {
        (ttl / 10).clamp(Duration::from_millis(2), Duration::from_millis(250))
    }

    /// Whether these terms can be kept.
    ///
    /// # Errors
    /// Says which can't, and what to change.
    pub fn check(&self) -> Result<(), TermsError> {
        if self.nodes == 0 {
            return Err(TermsError::NoNodes);
        }
        check_ttl(self.ttl, self.drift)?;
        if self.node_timeout.is_zero() || self.node_timeout >= self.ttl {
            return Err(TermsError::NodeTimeout { timeout: self.node_timeout, ttl: self.ttl });
        }
        if self.extend_for.is_some_and(|cap| cap < self.ttl) {
            return Err(TermsError::CapBelowTtl { cap: self.extend_for.unwrap_or_default(), ttl: self.ttl });
        }
        Ok(())
    }
}

impl Terms {
    /// Whether a lock can be extended by this.
    ///
    /// # Errors
    /// Says what to change.
    pub fn check_extension(&self, ttl: Duration) -> Result<(), TermsError> {
        check_ttl(ttl, self.drift)
    }
}

/// Whether a TTL leaves any time to work.
///
/// # Errors
/// Says what to change.
pub(crate) fn check_ttl(ttl: Duration, drift: Drift) -> Result<(), TermsError> {
    if !(MIN_TTL..=MAX_TTL).contains(&ttl) {
        return Err(TermsError::Ttl { ttl });
    }
    if !ttl.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(TermsError::TtlFraction { ttl });
    }
    let drift = drift.of(ttl);
    if drift >= ttl {
        return Err(TermsError::Drift { drift, ttl });
    }
    Ok(())
}

/// Terms that can't be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// There is nobody to ask.
    #[error("no servers are listed: name an odd number of independent ones, such as 3 or 5")]
    NoNodes,
    /// Too short or too long.
    #[error("a TTL of {ttl:?} is out of range: choose between {MIN_TTL:?} and {MAX_TTL:?}")]
    Ttl {
        /// What was asked for.
        ttl: Duration,
    },
    /// Servers count in milliseconds.
    #[error("a TTL of {ttl:?} has a fraction of a millisecond, which servers can't keep: round it")]
    TtlFraction {
        /// What was asked for.
        ttl: Duration,
    },
    /// Nothing is left.
    #[error("clock drift of {drift:?} leaves nothing of a TTL of {ttl:?}: raise the TTL or lower the drift")]
    Drift {
        /// What is taken off.
        drift: Duration,
        /// What it is taken off.
        ttl: Duration,
    },
    /// One server could use up the whole TTL.
    #[error(
        "a node timeout of {timeout:?} must be above zero and well below the TTL of {ttl:?}: a tenth of it is usual"
    )]
    NodeTimeout {
        /// What was asked for.
        timeout: Duration,
        /// The TTL.
        ttl: Duration,
    },
    /// The cap would end the lock before its TTL does.
    #[error(
        "automatic extension ends after {cap:?}, before the TTL of {ttl:?} is over: raise the cap or lower the TTL"
    )]
    CapBelowTtl {
        /// The cap.
        cap: Duration,
        /// The TTL.
        ttl: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_cannot_be_kept_say_what_to_change() {
        let ms = Duration::from_millis;
        let good = Terms::new(5, ms(1000), 1);
        assert_eq!(good.check(), Ok(()));
        let with = |change: fn(&mut Terms)| {
            let mut terms = good.clone();
            change(&mut terms);
            terms.check().unwrap_err().to_string()
        };
        for (said, of) in [
            ("no servers are listed", with(|terms| terms.nodes = 0)),
            ("out of range: choose between 5ms and 86400s", with(|terms| terms.ttl = Duration::ZERO)),
            ("out of range", with(|terms| terms.ttl = MAX_TTL + Duration::from_millis(1))),
            ("fraction of a millisecond", with(|terms| terms.ttl = Duration::from_micros(7500))),
            ("leaves nothing", with(|terms| terms.drift.ppm = 1_000_000)),
            ("well below the TTL", with(|terms| terms.node_timeout = terms.ttl)),
            ("raise the cap", with(|terms| terms.extend_for = Some(Duration::from_millis(10)))),
        ] {
            assert!(of.contains(said), "{of}");
        }
    }

    #[test]
    fn each_attempt_has_its_own_token_of_forty_digits() {
        let (first, second) = (Token::of(7, 1), Token::of(7, 2));
        assert_ne!(first, second);
        assert_eq!(first.as_str(), "0000000000000000000000000000000700000001");
    }

    #[test]
    fn drift_is_a_share_of_the_ttl_and_a_constant() {
        assert_eq!(Drift::default().of(Duration::from_secs(10)), Duration::from_millis(102));
        assert_eq!(Drift::default().of(Duration::MAX), Duration::from_micros(u64::MAX) + Duration::from_millis(2));
    }
}

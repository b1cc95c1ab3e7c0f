//! What an operator can set: for all primaries, for one, and the periods that only tests change.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::Level;

/// What holds for all primaries. The names in quotes are those of sentinel.conf.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Globals {
    /// `announce-ip`.
    pub announce_ip: Option<String>,
    /// `announce-port`.
    pub announce_port: Option<u16>,
    /// `resolve-hostnames`: names may stand where addresses do.
    pub resolve_hostnames: bool,
    /// `announce-hostnames`: names are told as they were given.
    pub announce_hostnames: bool,
    /// `sentinel-user`, for links to other Sentinels.
    pub user: Option<String>,
    /// `sentinel-pass`; if it is not set, links to other Sentinels use our own `requirepass`.
    pub password: Option<Secret>,
    /// `deny-scripts-reconfig no`: SENTINEL SET may change scripts.
    pub scripts_reconfigurable: bool,
    /// `forget-after`: replicas and Sentinels that have been silent for so long are forgotten.
    pub forget_after: Option<Duration>,
}

/// A text that no log and no trace shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// What holds for one primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// So many Sentinels must find it down.
    pub quorum: u32,
    /// `down-after-milliseconds`.
    pub down_after: Duration,
    /// `failover-timeout`.
    pub failover_timeout: Duration,
    /// `parallel-syncs`.
    pub parallel_syncs: u32,
    /// `auth-user`.
    pub user: Option<String>,
    /// `auth-pass`.
    pub password: Option<Secret>,
    /// `notification-script`.
    pub notification_script: Option<String>,
    /// `client-reconfig-script`.
    pub reconfig_script: Option<String>,
    /// `webhook`: where events are posted.
    pub webhook: Option<String>,
    /// `webhook-level`: which ones: those that matter so much, or more.
    pub webhook_level: Level,
    /// `master-reboot-down-after-period`; zero switches it off.
    pub reboot_down_after: Duration,
    /// `crash-evidence`: a link that closes and can't be opened again because nobody listens is as good as silence for
    /// `down-after-milliseconds`.
    pub crash_evidence: bool,
    /// `rename-command`: what commands are called there, by their names in capitals.
    pub renames: BTreeMap<String, String>,
}

impl Watch {
    /// The defaults, with these periods.
    pub fn new(quorum: u32, periods: &Periods) -> Watch {
        Watch {
            quorum,
            down_after: periods.default_down_after,
            failover_timeout: periods.default_failover_timeout,
            parallel_syncs: 1,
            user: None,
            password: None,
            notification_script: None,
            reconfig_script: None,
            webhook: None,
            webhook_level: Level::Warning,
            reboot_down_after: Duration::ZERO,
            crash_evidence: true,
            renames: BTreeMap::new(),
        }
    }

    /// How often its servers are sent PING: silence is counted from one, so that a period as long as `down_after` would let
    /// it go unnoticed for twice as long.
    pub(crate) fn ping_period(&self, periods: &Periods) -> Duration {
        (self.down_after / 3).min(periods.ping)
    }
}

/// The periods of the protocol, which SENTINEL DEBUG shows and changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Periods {
    /// Between two INFO.
    pub info: Duration,
    /// Between two PING.
    pub ping: Duration,
    /// Between two questions to other Sentinels about a primary that is down.
    pub ask: Duration,
    /// Between two hellos.
    pub publish: Duration,
    /// `down-after-milliseconds` of primaries that name none.
    pub default_down_after: Duration,
    /// `failover-timeout` of primaries that name none.
    pub default_failover_timeout: Duration,
    /// A wake-up that is so late means that this process stood still.
    pub tilt_trigger: Duration,
    /// For how long nothing is done after that.
    pub tilt: Duration,
    /// How long a replica may take to take up its new primary before it is told again.
    pub reconfiguration: Duration,
    /// A link that is younger is not given up for silence.
    pub min_link: Duration,
    /// How long an election may take.
    pub election: Duration,
    /// How long a script may run.
    pub script_max: Duration,
    /// How long a script that failed waits for its first repetition.
    pub script_retry: Duration,
}

/// Their names, as SENTINEL DEBUG knows them.
pub const PERIOD_NAMES: [&str; 13] = [
    "INFO-PERIOD",
    "PING-PERIOD",
    "ASK-PERIOD",
    "PUBLISH-PERIOD",
    "DEFAULT-DOWN-AFTER",
    "DEFAULT-FAILOVER-TIMEOUT",
    "TILT-TRIGGER",
    "TILT-PERIOD",
    "SLAVE-RECONF-TIMEOUT",
    "MIN-LINK-RECONNECT-PERIOD",
    "ELECTION-TIMEOUT",
    "SCRIPT-MAX-RUNTIME",
    "SCRIPT-RETRY-DELAY",
];

impl Periods {
    /// In the order of [`PERIOD_NAMES`].
    pub fn all(&self) -> [Duration; 13] {
        let mut copy = self.clone();
        copy.places().map(|place| *place)
    }

    /// The one of that name, in any case.
    pub fn by_name(&mut self, name: &str) -> Option<&mut Duration> {
        let index = PERIOD_NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        self.places().into_iter().nth(index)
    }

    fn places(&mut self) -> [&mut Duration; 13] {
        [
            &mut self.info,
            &mut self.ping,
            &mut self.ask,
            &mut self.publish,
            &mut self.default_down_after,
            &mut self.default_failover_timeout,
            &mut self.tilt_trigger,
            &mut self.tilt,
            &mut self.reconfiguration,
            &mut self.min_link,
            &mut self.election,
            &mut self.script_max,
            &mut self.script_retry,
        ]
    }
}

impl Default for Periods {
    fn default() -> Periods {
        let seconds = Duration::from_secs;
        Periods {
            info: seconds(10),
            ping: seconds(1),
            ask: seconds(1),
            publish: seconds(2),
            default_down_after: seconds(30),
            default_failover_timeout: seconds(180),
            tilt_trigger: seconds(2),
            tilt: seconds(30),
            reconfiguration: seconds(10),
            min_link: seconds(15),
            election: seconds(10),
            script_max: seconds(60),
            script_retry: seconds(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_found_by_its_name() {
        let mut periods = Periods::default();
        *periods.by_name("info-period").unwrap() = Duration::from_millis(5);
        assert_eq!(periods.all()[0], Duration::from_millis(5));
        assert!(periods.by_name("coffee-period").is_none());
    }
}

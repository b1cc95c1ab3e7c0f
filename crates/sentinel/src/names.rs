//! What host names stand for. Resolving takes as long as it takes and is done by the driver; links wait for it, and
//! nothing else does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use quorate_stdx::Mono;

use crate::address::Addr;

/// How long a name that could not be resolved is left alone.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Name {
    ip: Option<IpAddr>,
    is_asked: bool,
    /// The answer is of no use from here on: it was none, or it led nowhere.
    stale_at: Option<Mono>,
}

/// The names that were met.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<String, Name>);

/// What is known of a host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Its address.
    As(IpAddr),
    /// It has to be asked for now.
    Ask,
    /// It has been asked for, or could not be found a moment ago.
    Wait(Option<Mono>),
}

impl Names {
    /// What to do to connect to a host.
    pub(crate) fn look_up(&mut self, host: &str, now: Mono) -> Known {
        if let Ok(ip) = host.parse() {
            return Known::As(ip);
        }
        let name = self.0.entry(host.to_owned()).or_default();
        match (name.ip, name.stale_at) {
            _ if name.is_asked => Known::Wait(None),
            (Some(ip), None) => Known::As(ip),
            (None, Some(since)) if now < since + RETRY => Known::Wait(Some(since + RETRY)),
            _ => {
                name.is_asked = true;
                Known::Ask
            }
        }
    }

    /// The driver's answer.
    pub(crate) fn resolved(&mut self, host: &str, ip: Option<IpAddr>, now: Mono) {
        let name = self.0.entry(host.to_owned()).or_default();
        name.is_asked = false;
        name.stale_at = ip.is_none().then_some(now);
        name.ip = ip.or(name.ip);
    }

    /// Nothing answers at the address of this host: it may have another by now.
    pub(crate) fn doubt(&mut self, host: &str, now: Mono) {
        if let Some(name) = self.0.get_mut(host) {
            name.stale_at.get_or_insert(now);
        }
    }

    /// The last known address of a host.
    pub(crate) fn ip(&self, host: &str) -> Option<IpAddr> {
        host.parse().ok().or_else(|| self.0.get(host)?.ip)
    }

    /// Whether both name the same place, as far as is known.
    pub(crate) fn same_place(&self, left: &Addr, right: &Addr) -> bool {
        let same_ip = || self.ip(&left.host).is_some_and(|ip| self.ip(&right.host) == Some(ip));
        left.port == right.port && (left.host.eq_ignore_ascii_case(&right.host) || same_ip())
    }

    /// A host as it is told to others.
    pub(crate) fn shown(&self, host: &str, as_names: bool) -> String {
        match self.ip(host) {
            Some(ip) if !as_names => ip.to_string(),
            _ => host.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_once_and_again_when_it_leads_nowhere() {
        let (mut names, now) = (Names::default(), Mono(5_000_000));
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(names.look_up("10.0.0.1", now), Known::As(ip));
        assert_eq!(names.look_up("h", now), Known::Ask);
        assert_eq!(names.look_up("h", now), Known::Wait(None));
        names.resolved("h", None, now);
        assert_eq!(names.look_up("h", now), Known::Wait(Some(now + RETRY)));
        assert_eq!(names.look_up("h", now + RETRY), Known::Ask);
        names.resolved("h", Some(ip), now);
        assert_eq!(names.look_up("h", now), Known::As(ip));
        assert!(names.same_place(&Addr::new("h", 1), &Addr::new("10.0.0.1", 1)));
        assert_eq!((names.shown("h", false), names.shown("h", true)), ("10.0.0.1".to_owned(), "h".to_owned()));
        names.doubt("h", now);
        assert_eq!(names.look_up("h", now), Known::Ask);
        assert_eq!(names.ip("h"), Some(ip));
    }
}

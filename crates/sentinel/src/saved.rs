//! What a Sentinel must not forget: its `sentinel` lines of the configuration, read and written.
//!
//! Lines that belong to a primary may stand before the one that names it. Whatever is read is written back such that it
//! reads the same; what is as by default is not written, so that a real Sentinel can read the file too.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_stdx::ReplId;

use crate::address::{Addr, is_host};
use crate::event::Level;
use crate::hello::{parse_epoch, parse_name};
use crate::settings::{Globals, Periods, Secret, Watch};

/// The state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// Who we are; drawn at the first start.
    pub my_id: Option<ReplId>,
    /// The greatest epoch that was seen.
    pub epoch: u64,
    /// What holds for all primaries.
    pub globals: Globals,
    /// The primaries, by name.
    pub primaries: BTreeMap<String, SavedPrimary>,
}

/// One primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedPrimary {
    /// Where it is.
    pub addr: Addr,
    /// How it is watched.
    pub watch: Watch,
    /// The epoch of the failover that put it there.
    pub config_epoch: u64,
    /// The last epoch in which we voted about it.
    pub leader_epoch: u64,
    /// Its replicas.
    pub replicas: Vec<Addr>,
    /// The other Sentinels; very old files don't name their ids.
    pub peers: Vec<(Addr, Option<ReplId>)>,
}

/// The directives of one primary that change how it is watched, with what they are by default left out.
const RENAME: &str = "rename-command";

/// Reads the lines, each without the word `sentinel` in front.
///
/// # Errors
/// The index of the line that is wrong, and why.
pub fn parse<L: AsRef<[Vec<u8>]>>(lines: &[L], periods: &Periods) -> Result<Saved, (usize, String)> {
    let mut saved = Saved::default();
    let words = |line: &L| -> Vec<String> {
        line.as_ref().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    };
    let is_monitor = |words: &[String]| words.first().is_some_and(|first| first.eq_ignore_ascii_case("monitor"));
    for monitors in [true, false] {
        for (index, line) in lines.iter().enumerate() {
            let words = words(line);
            if is_monitor(&words) != monitors {
                continue;
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            read_line(&mut saved, &words, periods).map_err(|why| (index, why.into()))?;
        }
    }
    Ok(saved)
}

const NO_SUCH: &str = "No such master with specified name.";

fn read_line(saved: &mut Saved, words: &[&str], periods: &Periods) -> Result<(), &'static str> {
    let Some((directive, rest)) = words.split_first() else {
        return Err("Unrecognized sentinel configuration statement.");
    };
    let directive = directive.to_ascii_lowercase();
    match (directive.as_str(), rest) {
        ("monitor", [name, host, port, quorum]) => return monitor(saved, name, [host, port, quorum], periods),
        ("monitor", _) => return Err("Unrecognized sentinel configuration statement."),
        ("myid", [id]) => {
            saved.my_id = Some(ReplId::parse(id.as_bytes()).ok_or("Malformed Sentinel id in myid option.")?)
        }
        ("current-epoch", [epoch]) => saved.epoch = saved.epoch.max(epoch_of(epoch)?),
        ("known-slave" | "known-replica", [name, host, port]) => {
            let addr = Addr::parse(host.as_bytes(), port.as_bytes()).ok_or("Wrong hostname or port for replica.")?;
            let primary = saved.primaries.get_mut(*name).ok_or(NO_SUCH)?;
            if !primary.replicas.contains(&addr) {
                primary.replicas.push(addr);
            }
        }
        ("known-sentinel", [name, host, port, id @ ..]) if id.len() <= 1 => {
            let addr = Addr::parse(host.as_bytes(), port.as_bytes()).ok_or("Wrong hostname or port for sentinel.")?;
            let id = match id {
                [id] => Some(ReplId::parse(id.as_bytes()).ok_or("Malformed Sentinel id.")?),
                _ => None,
            };
            let primary = saved.primaries.get_mut(*name).ok_or(NO_SUCH)?;
            if !primary.peers.iter().any(|(known, other)| *known == addr || (id.is_some() && *other == id)) {
                primary.peers.push((addr, id));
            }
        }
        ("config-epoch" | "leader-epoch", [name, epoch]) => {
            let epoch = epoch_of(epoch)?;
            let primary = saved.primaries.get_mut(*name).ok_or(NO_SUCH)?;
            *(if directive == "config-epoch" { &mut primary.config_epoch } else { &mut primary.leader_epoch }) = epoch;
            // What happened in an epoch can't be newer than the newest epoch.
            saved.epoch = saved.epoch.max(epoch);
        }
        (RENAME, [name, from, to]) => {
            let watch = &mut saved.primaries.get_mut(*name).ok_or(NO_SUCH)?.watch;
            watch.renames.insert(from.to_ascii_uppercase(), (*to).to_owned());
        }
        (_, [value]) => return set_global(&mut saved.globals, &directive, value),
        (_, [name, value]) => {
            let watch = &mut saved.primaries.get_mut(*name).ok_or(NO_SUCH)?.watch;
            return set_watch(watch, &directive, value).map_err(|refusal| match refusal {
                NotSet::Unknown => "Unrecognized sentinel configuration statement.",
                NotSet::Invalid => "Invalid value.",
                NotSet::Time => "negative or zero time parameter.",
            });
        }
        _ => return Err("Unrecognized sentinel configuration statement."),
    }
    Ok(())
}

fn epoch_of(text: &str) -> Result<u64, &'static str> {
    parse_epoch(text.as_bytes()).ok_or("An epoch is no number that anybody counts to.")
}

fn monitor(saved: &mut Saved, name: &str, rest: [&str; 3], periods: &Periods) -> Result<(), &'static str> {
    let [host, port, quorum] = rest;
    let name =
        parse_name(name.as_bytes()).ok_or("A master's name is made of letters, digits and the characters .-_")?;
    let addr = Addr::parse(host.as_bytes(), port.as_bytes()).ok_or("Can't resolve instance hostname.")?;
    let quorum = quorum.parse().ok().filter(|&quorum| quorum > 0).ok_or("Quorum must be 1 or greater.")?;
    if saved.primaries.contains_key(&name) {
        return Err("Duplicate master name.");
    }
    saved.primaries.insert(name, SavedPrimary::new(addr, Watch::new(quorum, periods)));
    Ok(())
}

impl SavedPrimary {
    /// One of which nothing is known but where it is.
    pub fn new(addr: Addr, watch: Watch) -> SavedPrimary {
        SavedPrimary { addr, watch, config_epoch: 0, leader_epoch: 0, replicas: vec![], peers: vec![] }
    }
}

fn yes_no(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn optional(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

/// Whether a text can stand on a line of the configuration and come back as it was.
pub(crate) fn is_clean(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Sets what holds for all primaries.
///
/// # Errors
/// There is no such directive, or it can't have this value.
pub fn set_global(globals: &mut Globals, directive: &str, value: &str) -> Result<(), &'static str> {
    const BAD: &str = "Please specify yes or no for this option.";
    if !is_clean(value) {
        return Err("Control characters are not allowed.");
    }
    match directive {
        "announce-ip" if value.is_empty() => globals.announce_ip = None,
        "announce-ip" => {
            globals.announce_ip = Some(value.to_owned()).filter(|host| is_host(host));
            return if globals.announce_ip.is_some() { Ok(()) } else { Err("Can't be a host.") };
        }
        "announce-port" => {
            let port: u16 = value.parse().map_err(|_| "Invalid port.")?;
            globals.announce_port = (port != 0).then_some(port);
        }
        "resolve-hostnames" => globals.resolve_hostnames = yes_no(value).ok_or(BAD)?,
        "announce-hostnames" => globals.announce_hostnames = yes_no(value).ok_or(BAD)?,
        "sentinel-user" => globals.user = optional(value),
        "sentinel-pass" => globals.password = optional(value).map(Secret),
        "deny-scripts-reconfig" => globals.scripts_reconfigurable = !yes_no(value).ok_or(BAD)?,
        "forget-after" => {
            let seconds: u32 = value.parse().map_err(|_| "Invalid number of seconds.")?;
            globals.forget_after = (seconds != 0).then(|| Duration::from_secs(seconds.into()));
        }
        _ => return Err("Unrecognized sentinel configuration statement."),
    }
    Ok(())
}

/// Why a value is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSet {
    /// There is no such directive.
    Unknown,
    /// It can't have this value.
    Invalid,
    /// It is a time that can't be.
    Time,
}

/// Sets how one primary is watched.
///
/// # Errors
/// See [`NotSet`].
pub fn set_watch(watch: &mut Watch, directive: &str, value: &str) -> Result<(), NotSet> {
    if !is_clean(value) {
        return Err(NotSet::Invalid);
    }
    let positive = || value.parse::<u32>().ok().filter(|&number| number > 0);
    let time = || positive().map(|millis| Duration::from_millis(millis.into())).ok_or(NotSet::Time);
    match directive {
        "down-after-milliseconds" => watch.down_after = time()?,
        "failover-timeout" => watch.failover_timeout = time()?,
        "parallel-syncs" => watch.parallel_syncs = positive().ok_or(NotSet::Invalid)?,
        "quorum" => watch.quorum = positive().ok_or(NotSet::Invalid)?,
        "auth-user" => watch.user = optional(value),
        "auth-pass" => watch.password = optional(value).map(Secret),
        "notification-script" => watch.notification_script = optional(value),
        "client-reconfig-script" => watch.reconfig_script = optional(value),
        "master-reboot-down-after-period" | "primary-reboot-down-after-period" => {
            let millis: u32 = value.parse().map_err(|_| NotSet::Time)?;
            watch.reboot_down_after = Duration::from_millis(millis.into());
        }
        "webhook" => {
            let rest = value.strip_prefix("http://").or_else(|| value.strip_prefix("https://"));
            let is_url = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(' '));
            watch.webhook = Some(value.to_owned()).filter(|_| is_url);
            if !is_url && !value.is_empty() {
                return Err(NotSet::Invalid);
            }
        }
        "webhook-level" => {
            watch.webhook_level = match value {
                "verbose" => Level::Verbose,
                "notice" => Level::Notice,
                "warning" => Level::Warning,
                _ => return Err(NotSet::Invalid),
            };
        }
        "crash-evidence" => watch.crash_evidence = yes_no(value).ok_or(NotSet::Invalid)?,
        _ => return Err(NotSet::Unknown),
    }
    Ok(())
}

impl Saved {
    /// The lines, each without the word `sentinel` in front. `periods` names the defaults.
    pub fn lines(&self, periods: &Periods) -> Vec<Vec<String>> {
        let mut lines: Vec<Vec<String>> = Vec::new();
        let mut line = |words: &[&str]| lines.push(words.iter().map(|word| (*word).to_owned()).collect());
        if let Some(id) = self.my_id {
            line(&["myid", id.as_str()]);
        }
        let globals = &self.globals;
        for (directive, value) in [
            ("deny-scripts-reconfig", globals.scripts_reconfigurable.then(|| "no".to_owned())),
            ("resolve-hostnames", globals.resolve_hostnames.then(|| "yes".to_owned())),
            ("announce-hostnames", globals.announce_hostnames.then(|| "yes".to_owned())),
            ("announce-ip", globals.announce_ip.clone()),
            ("announce-port", globals.announce_port.map(|port| port.to_string())),
            ("sentinel-user", globals.user.clone()),
            ("sentinel-pass", globals.password.as_ref().map(|secret| secret.0.clone())),
            ("forget-after", globals.forget_after.map(|age| age.as_secs().to_string())),
        ] {
            if let Some(value) = value {
                line(&[directive, &value]);
            }
        }
        for (name, primary) in &self.primaries {
            primary.lines(name, periods, &mut line);
        }
        line(&["current-epoch", &self.epoch.to_string()]);
        lines
    }
}

impl SavedPrimary {
    fn lines(&self, name: &str, periods: &Periods, line: &mut impl FnMut(&[&str])) {
        let (watch, default) = (&self.watch, Watch::new(self.watch.quorum, periods));
        line(&["monitor", name, &self.addr.host, &self.addr.port.to_string(), &watch.quorum.to_string()]);
        let millis = |new: Duration, old: Duration| (new != old).then(|| new.as_millis().to_string());
        let level = match watch.webhook_level {
            Level::Debug | Level::Warning => None,
            Level::Verbose => Some("verbose"),
            Level::Notice => Some("notice"),
        };
        let parallel = (watch.parallel_syncs != 1).then(|| watch.parallel_syncs.to_string());
        for (directive, value) in [
            ("down-after-milliseconds", millis(watch.down_after, default.down_after)),
            ("failover-timeout", millis(watch.failover_timeout, default.failover_timeout)),
            ("parallel-syncs", parallel),
            ("notification-script", watch.notification_script.clone()),
            ("client-reconfig-script", watch.reconfig_script.clone()),
            ("auth-pass", watch.password.as_ref().map(|secret| secret.0.clone())),
            ("auth-user", watch.user.clone()),
            ("master-reboot-down-after-period", millis(watch.reboot_down_after, Duration::ZERO)),
            ("webhook", watch.webhook.clone()),
            ("webhook-level", level.map(str::to_owned)),
            ("crash-evidence", (!watch.crash_evidence).then(|| "no".to_owned())),
        ] {
            if let Some(value) = value {
                line(&[directive, name, &value]);
            }
        }
        for (from, to) in &watch.renames {
            line(&[RENAME, name, from, to]);
        }
        line(&["config-epoch", name, &self.config_epoch.to_string()]);
        line(&["leader-epoch", name, &self.leader_epoch.to_string()]);
        for replica in &self.replicas {
            line(&["known-replica", name, &replica.host, &replica.port.to_string()]);
        }
        for (addr, id) in &self.peers {
            let port = addr.port.to_string();
            match id {
                Some(id) => line(&["known-sentinel", name, &addr.host, &port, id.as_str()]),
                None => line(&["known-sentinel", name, &addr.host, &port]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Saved, (usize, String)> {
        let lines: Vec<Vec<Vec<u8>>> =
            text.lines().map(|line| line.split(' ').map(|word| word.as_bytes().to_vec()).collect()).collect();
        parse(&lines, &Periods::default())
    }

    const ID: &str = "0123456789012345678901234567890123456789";

    #[test]
    fn what_is_written_reads_the_same() {
        let text = format!(
            "down-after-milliseconds m 1000\nmyid {ID}\nmonitor m 10.0.0.1 6379 2\nparallel-syncs m 3\nauth-pass m s\n\
             rename-command m config x\nconfig-epoch m 4\nleader-epoch m 5\nknown-replica m 10.0.0.2 6379\n\
             known-slave m 10.0.0.3 6379\nknown-sentinel m 10.0.0.4 26379 {ID}\nannounce-ip 9.9.9.9\ncurrent-epoch 5\n\
             crash-evidence m no\nforget-after 60\nresolve-hostnames yes\nmaster-reboot-down-after-period m 7\n\
             webhook m http://h/x\nwebhook-level m notice"
        );
        let saved = read(&text).unwrap();
        let primary = &saved.primaries["m"];
        assert_eq!(primary.watch.down_after, Duration::from_secs(1));
        assert_eq!((primary.replicas.len(), primary.peers.len(), saved.epoch), (2, 1, 5));
        assert!(!primary.watch.crash_evidence);
        let lines: Vec<String> = saved.lines(&Periods::default()).iter().map(|words| words.join(" ")).collect();
        assert_eq!(read(&lines.join("\n")), Ok(saved));
        let monitor = lines.iter().position(|line| line.starts_with("monitor")).unwrap();
        let of_m = lines.iter().position(|line| line.contains(" m ")).unwrap();
        assert_eq!(monitor, of_m, "a real Sentinel reads what belongs to a primary after its monitor line");
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let bad = [
            ("monitor m h 6379 0", "Quorum"),
            ("monitor m h 0 1", "resolve"),
            ("monitor m h", "Unrecognized"),
            ("known-replica m 1.1.1.1 1", "No such master"),
            ("myid abc", "Malformed"),
            ("current-epoch 18446744073709551615", "epoch"),
            ("current-epoch", "Unrecognized"),
            ("what is this", "No such master"),
        ];
        for (line, why) in bad {
            let (index, text) = read(&format!("announce-port 5\n{line}")).unwrap_err();
            assert_eq!(index, 1, "{line}");
            assert!(text.contains(why), "{line}: {text}");
        }
        let twice = read("monitor m 1.1.1.1 1 1\nmonitor m 1.1.1.1 1 1").unwrap_err();
        assert_eq!(twice, (1, "Duplicate master name.".to_owned()));
        let time = read("monitor m 1.1.1.1 1 1\ndown-after-milliseconds m 0").unwrap_err();
        assert_eq!(time, (1, "negative or zero time parameter.".to_owned()));
    }

    #[test]
    fn an_epoch_of_a_primary_is_never_beyond_the_current_one() {
        assert_eq!(read("monitor m 1.1.1.1 1 1\nleader-epoch m 9").unwrap().epoch, 9);
    }

    #[test]
    fn values_that_could_break_out_of_their_line_are_refused() {
        let mut watch = Watch::new(1, &Periods::default());
        assert_eq!(set_watch(&mut watch, "auth-pass", "a\nsentinel myid x"), Err(NotSet::Invalid));
        assert_eq!(set_watch(&mut watch, "webhook", "https://h/"), Ok(()));
        for url in ["ftp://h/", "https://", "http://", "http://h/ x", "h"] {
            assert_eq!(set_watch(&mut watch, "webhook", url), Err(NotSet::Invalid), "{url}");
        }
        assert!(set_global(&mut Globals::default(), "sentinel-user", "a\rb").is_err());
    }
}

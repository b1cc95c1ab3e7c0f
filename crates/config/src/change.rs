//! CONFIG GET and CONFIG SET: what is asked for, and a change of several directives that happens whole or not at all.

use std::fmt;

use quorate_values::{Case, glob_is_literal, glob_matches};

use crate::config::Config;
use crate::directives;
use crate::spec::{Apply, Flags, How, Origin, Refusal, Spec};

/// The directives that any of `patterns` matches, each once, in reading order: name and value. What is hidden, what
/// only others know and foreign names are found by their exact names only.
pub fn get(config: &Config, patterns: &[&[u8]]) -> Vec<(&'static str, Vec<u8>)> {
    let mut found = Vec::new();
    for spec in directives::all() {
        let listed = !spec.is_hidden() && spec.origin != Origin::Later;
        let own = [spec.name].into_iter().chain(spec.aliases.iter().copied());
        let names = own.map(|name| (name, listed)).chain(spec.foreign_aliases.iter().map(|&name| (name, false)));
        for (name, listed) in names {
            let is_asked_for = |pattern: &&[u8]| match glob_is_literal(pattern) {
                true => pattern.eq_ignore_ascii_case(name.as_bytes()),
                false => listed && glob_matches(pattern, name.as_bytes(), Case::Insensitive),
            };
            if patterns.iter().any(is_asked_for) {
                found.push((name, spec.get(config)));
            }
        }
    }
    found
}

/// Under which conditions a change is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// Whether the dataset is being loaded.
    pub loading: bool,
    /// Whether the client is of this machine.
    pub local: bool,
}

/// A change that has been checked and not applied yet.
#[derive(Debug, Clone)]
pub struct Change {
    /// The configuration with all of it.
    pub config: Config,
    /// What must be done before it is in force, each once, with the name of the first directive that asks for it.
    pub applies: Vec<(Apply, String)>,
    /// The directives whose values differ, or are to be applied anyway.
    pub changed: Vec<&'static Spec>,
}

/// Why a change is refused. `Display` is the error reply of CONFIG SET, with its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeError {
    /// There is no such directive.
    Unknown(Vec<u8>),
    /// It can't be changed while the dataset is loaded.
    Loading,
    /// A directive and the reason.
    Refused(Vec<u8>, Refusal),
}

impl ChangeError {
    /// What could not be done about a directive while the change was applied.
    pub fn failed(name: &str, reason: impl Into<Refusal>) -> ChangeError {
        ChangeError::Refused(name.as_bytes().to_vec(), reason.into())
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::Unknown(name) => {
                let name = String::from_utf8_lossy(name);
                write!(f, "ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
            }
            ChangeError::Loading => f.write_str("LOADING Redis is loading the dataset in memory"),
            ChangeError::Refused(name, reason) => {
                let name = String::from_utf8_lossy(name);
                write!(f, "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
            }
        }
    }
}

impl std::error::Error for ChangeError {}

impl Change {
    /// The change of `current` that the pairs of name and value ask for.
    ///
    /// # Errors
    /// The first pair that is refused; nothing is changed then.
    pub fn of(current: &Config, pairs: &[(&[u8], &[u8])], conditions: Conditions) -> Result<Change, ChangeError> {
        let mut specs: Vec<&'static Spec> = Vec::new();
        for &(name, _) in pairs {
            let Some(spec) = directives::find(name) else { return Err(ChangeError::Unknown(name.to_vec())) };
            let refused = |reason: &'static str| Err(ChangeError::Refused(name.to_vec(), reason.into()));
            if spec.flags.has(Flags::IMMUTABLE) {
                return refused("can't set immutable config");
            }
            if spec.flags.has(Flags::PROTECTED) && !current.general.protected_configs.allows(conditions.local) {
                return refused("can't set protected config");
            }
            if spec.flags.has(Flags::NOT_WHILE_LOADING) && conditions.loading {
                return Err(ChangeError::Loading);
            }
            let earlier = &pairs[..specs.len()];
            if earlier.iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
                return refused("duplicate parameter");
            }
            specs.push(spec);
        }
        let mut change = Change { config: current.clone(), applies: Vec::new(), changed: Vec::new() };
        for (spec, &(name, value)) in specs.into_iter().zip(pairs) {
            let refused = |refusal| ChangeError::Refused(name.to_vec(), refusal);
            change.set(spec, value, current).map_err(refused)?;
        }
        Ok(change)
    }

    fn set(&mut self, spec: &'static Spec, value: &[u8], current: &Config) -> Result<(), Refusal> {
        let arguments: Vec<&[u8]> = match spec.flags.has(Flags::MANY) {
            true => value.split(|&byte| byte == b' ').collect(),
            false => vec![value],
        };
        spec.set(&mut self.config, &arguments, How::Replace)?;
        let shown = spec.get(&self.config);
        if let Some(vet) = spec.vet {
            vet(&shown)?;
        }
        if shown == spec.get(current) && !spec.flags.has(Flags::ALWAYS_APPLIED) {
            return Ok(());
        }
        self.changed.push(spec);
        if spec.apply != Apply::Nothing && !self.applies.iter().any(|(apply, _)| *apply == spec.apply) {
            self.applies.push((spec.apply, spec.name.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Conditions = Conditions { loading: false, local: true };

    fn change(config: &Config, pairs: &[(&str, &str)]) -> Result<Change, String> {
        let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        Change::of(config, &pairs, FREE).map_err(|error| error.to_string())
    }

    fn names(config: &Config, patterns: &[&str]) -> Vec<&'static str> {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        get(config, &patterns).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn patterns_find_names_and_aliases_once_and_nothing_hidden() {
        let config = Config::default();
        assert_eq!(names(&config, &["*of", "replicaof", "MAXMEMORY"]), ["replicaof", "slaveof", "maxmemory"]);
        let all = names(&config, &["*"]);
        assert!(all.len() > 150 && !all.contains(&"key-load-delay") && !all.contains(&"availability-zone"));
        assert_eq!(names(&config, &["key-load-delay", "availability-zone"]).len(), 2);
        assert_eq!(names(&config, &["primaryauth"]), ["primaryauth"]);
    }

    #[test]
    fn several_directives_change_together_or_not_at_all() {
        let config = Config::default();
        let both = change(&config, &[("maxmemory", "1mb"), ("save", "5 6"), ("port", "7")]).unwrap();
        assert_eq!((both.config.memory.max, both.config.network.port), (1 << 20, 7));
        assert_eq!(both.applies, [(Apply::MaxMemory, "maxmemory".to_owned()), (Apply::Listen, "port".to_owned())]);
        assert_eq!(
            change(&config, &[("maxmemory", "1mb"), ("maxmemory-clients", "200%")]).unwrap_err(),
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - percentage argument must be less \
             or equal to 100"
        );
    }

    #[test]
    fn what_may_not_be_set_is_refused_in_the_words_of_redis() {
        let config = Config::default();
        let refused = |pairs| change(&config, pairs).unwrap_err();
        assert_eq!(refused(&[("foo", "1")]), "ERR Unknown option or number of arguments for CONFIG SET - 'foo'");
        let failed = "ERR CONFIG SET failed (possibly related to argument";
        assert_eq!(refused(&[("daemonize", "yes")]), format!("{failed} 'daemonize') - can't set immutable config"));
        assert_eq!(refused(&[("dir", "/")]), format!("{failed} 'dir') - can't set protected config"));
        assert_eq!(
            refused(&[("maxmemory", "1"), ("MaxMemory", "2")]),
            format!("{failed} 'MaxMemory') - duplicate parameter")
        );
        let loading = Conditions { loading: true, local: true };
        let error = Change::of(&config, &[(b"appendonly", b"no")], loading).unwrap_err();
        assert_eq!(error.to_string(), "LOADING Redis is loading the dataset in memory");
    }

    #[test]
    fn a_protected_directive_is_open_to_those_whom_the_file_allows() {
        let mut config = Config::default();
        config.general.protected_configs = crate::Permission::Local;
        assert!(change(&config, &[("dbfilename", "x.rdb")]).is_ok());
        let remote = Conditions { loading: false, local: false };
        assert!(Change::of(&config, &[(b"dbfilename", b"x.rdb")], remote).is_err());
    }

    #[test]
    fn an_unchanged_value_needs_nothing_done() {
        let config = Config::default();
        let same = change(&config, &[("port", "6379"), ("maxmemory", "0")]).unwrap();
        assert!(same.applies.is_empty() && same.changed.is_empty());
    }

    #[test]
    fn every_directive_can_be_set_to_what_it_shows() {
        let config = Config::default();
        for spec in directives::all() {
            if spec.flags.has(Flags::IMMUTABLE) || spec.flags.has(Flags::PROTECTED) {
                continue;
            }
            let shown = spec.get(&config);
            let changed = Change::of(&config, &[(spec.name.as_bytes(), &shown)], FREE);
            let changed = changed.unwrap_or_else(|error| panic!("{}: {error}", spec.name));
            assert_eq!(spec.get(&changed.config), shown, "{}", spec.name);
        }
    }
}

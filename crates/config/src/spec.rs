//! What one directive is: its names, the type of its value, how the value is read and shown, and what a change needs.
//!
//! A [`Spec`] is plain data in a `static` table (`directives/`); nothing registers itself. Its default is not in it: it
//! is what [`Config::default`] holds, so that there is one place for it.
//!
//! **Theory.** A value has two ways to be stored. What this server obeys is a typed field of [`Config`], and the spec
//! has the two functions that read and write that field. What it only accepts ([`Meaning::Accepted`]) has no
//! field: its text is checked against the type that Redis gives it and kept, so that `CONFIG GET` and `CONFIG REWRITE`
//! return what was set. A directive that loses its field can't keep claiming to be obeyed.

use std::borrow::Cow;
use std::fmt;

use crate::choice::{self, Words};
use crate::config::Config;
use crate::line;
use crate::quantity::Bounds;
use crate::text::Text;

/// One directive of redis.conf.
#[derive(Debug)]
pub struct Spec {
    /// The name that is written by CONFIG REWRITE, in lower case.
    pub name: &'static str,
    /// Other names that Redis 7.2 knows.
    pub aliases: &'static [&'static str],
    /// Other names that only Valkey knows: answered when asked for, but not listed by `CONFIG GET *`.
    pub foreign_aliases: &'static [&'static str],
    /// Whether this server obeys it.
    pub meaning: Meaning,
    /// What must be done before a changed value is in force.
    pub apply: Apply,
    /// Who knows this directive.
    pub origin: Origin,
    pub(crate) flags: Flags,
    pub(crate) kind: Kind,
    /// A further condition on what CONFIG SET may set; a file may say otherwise.
    pub(crate) vet: Option<Check>,
}

/// Whether a directive has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The server obeys it.
    Live,
    /// It is taken, checked and shown, and has no effect, for this reason: a sentence without its full stop.
    Accepted(&'static str),
    /// The same, until the part of the server that obeys it is there.
    ToCome(&'static str),
}

/// Who knows a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Redis 7.2 does.
    Redis,
    /// Later Redis or Valkey do; not listed by `CONFIG GET *`.
    Later,
    /// Only Quorate does.
    Quorate,
}

/// What a changed value needs before it is in force. [`crate::Change`] lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Apply {
    /// Publishing the new configuration is all.
    Nothing,
    /// Change into another working directory.
    Directory,
    /// Listen on other addresses or another port.
    Listen,
    /// Listen on another port for TLS.
    ListenTls,
    /// Load certificates and keys anew.
    Tls,
    /// Log more, or less.
    Log,
    /// Make room for more connections, in the limit on open files too.
    MaxClients,
    /// Evict, if there is more than the new limit.
    MaxMemory,
    /// Drop clients, if they hold more than the new limit.
    ClientMemory,
    /// Give the replication backlog another size.
    Backlog,
    /// Count the good replicas anew.
    GoodReplicas,
    /// Give the default user another password.
    DefaultUser,
    /// Start or stop writing the append-only file.
    AppendOnly,
    /// Start the timers anew.
    Timers,
    /// Tell the kernel our out-of-memory score.
    OomScore,
    /// Show another title in process lists.
    ProcessTitle,
    /// Install or remove the handlers that report a crash.
    CrashLog,
    /// Tell the cluster our addresses and names.
    ClusterAnnounce,
    /// Tell the cluster whether we stand for election.
    ClusterFailover,
}

/// Why a value is refused: the reason as Redis words it, without the text around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(Cow<'static, str>);

impl From<&'static str> for Refusal {
    fn from(reason: &'static str) -> Refusal {
        Refusal(Cow::Borrowed(reason))
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Refusal {
        Refusal(Cow::Owned(reason))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of yes-or-no properties of a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    pub(crate) const NONE: Flags = Flags(0);
    /// Only a file or the command line sets it.
    pub(crate) const IMMUTABLE: Flags = Flags(1);
    /// Its value is not written to logs.
    pub(crate) const SENSITIVE: Flags = Flags(1 << 1);
    /// Changes what a bug report should tell.
    pub(crate) const DEBUG: Flags = Flags(1 << 2);
    /// Answered when asked for by name, but not listed by patterns.
    pub(crate) const HIDDEN: Flags = Flags(1 << 3);
    /// Takes any number of arguments.
    pub(crate) const MANY: Flags = Flags(1 << 4);
    /// CONFIG SET needs `enable-protected-configs`.
    pub(crate) const PROTECTED: Flags = Flags(1 << 5);
    /// CONFIG SET is refused while the dataset is loaded.
    pub(crate) const NOT_WHILE_LOADING: Flags = Flags(1 << 6);
    /// Applied although the value is the same: the file that it names may have changed.
    pub(crate) const ALWAYS_APPLIED: Flags = Flags(1 << 7);

    pub(crate) const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub(crate) const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Whether arguments replace a value or add to it. Only `save` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// CONFIG SET, and the first such line of a file.
    Replace,
    /// A further line of a file.
    Add,
}

/// The type of a value, and how to get at it.
#[derive(Debug)]
pub(crate) enum Kind {
    Switch { get: fn(&Config) -> bool, set: fn(&mut Config, bool) },
    Number { bounds: Bounds, get: fn(&Config) -> i128, set: fn(&mut Config, i128) },
    Choice { words: fn() -> Words, get: fn(&Config) -> &'static str, set: fn(&mut Config, &str) },
    Text { get: fn(&Config) -> &[u8], set: fn(&mut Config, &[u8]), check: Check },
    Special { get: fn(&Config) -> Vec<u8>, set: SetSpecial, lines: Lines },
    Kept { form: Form, default: &'static str },
}

/// What a text must look like.
pub(crate) type Check = fn(&[u8]) -> Result<(), Refusal>;

pub(crate) type SetSpecial = fn(&mut Config, &[&[u8]], How) -> Result<(), Refusal>;

/// How CONFIG REWRITE writes a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lines {
    /// One line that has all of what CONFIG GET shows as its one argument.
    One,
    /// One line with an argument for each word of what CONFIG GET shows, or an empty one if there is none.
    Words,
    /// As this function says: a list of arguments a line, without the directive's name.
    As(fn(&Config) -> Vec<Vec<Vec<u8>>>),
}

/// The type of a value that is only kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    Switch,
    Number(Bounds),
    Choice(&'static [&'static str]),
    Text,
}

impl Spec {
    /// Whether `name`, in any case, is its name or an alias.
    pub fn is_called(&self, name: &[u8]) -> bool {
        self.names().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.name].into_iter().chain(self.aliases.iter().copied()).chain(self.foreign_aliases.iter().copied())
    }

    /// Whether it is there for tests.
    pub fn is_hidden(&self) -> bool {
        self.flags.has(Flags::HIDDEN)
    }

    /// Whether only a file or the command line sets it.
    pub fn is_immutable(&self) -> bool {
        self.flags.has(Flags::IMMUTABLE)
    }

    /// Whether its value must not be written to logs.
    pub fn is_sensitive(&self) -> bool {
        self.flags.has(Flags::SENSITIVE)
    }

    /// Whether it changes what a bug report should tell.
    pub fn is_for_debugging(&self) -> bool {
        self.flags.has(Flags::DEBUG)
    }

    /// The value as CONFIG GET shows it.
    pub fn get(&self, config: &Config) -> Vec<u8> {
        match &self.kind {
            Kind::Switch { get, .. } => yes_or_no(get(config)).into(),
            Kind::Number { bounds, get, .. } => bounds.show(get(config)).into_bytes(),
            Kind::Choice { get, .. } => get(config).into(),
            Kind::Text { get, .. } => get(config).to_vec(),
            Kind::Special { get, .. } => get(config),
            Kind::Kept { default, .. } => match config.accepted.get(self.name) {
                Some(text) => text.as_bytes().to_vec(),
                None => default.as_bytes().to_vec(),
            },
        }
    }

    /// Reads `arguments` as its value. After an error the configuration is to be thrown away.
    pub(crate) fn set(&self, config: &mut Config, arguments: &[&[u8]], how: How) -> Result<(), Refusal> {
        if let Kind::Special { set, .. } = &self.kind {
            return set(config, arguments, how);
        }
        if let Kind::Choice { words, set, .. } = &self.kind {
            // Redis finds no word that `a b` is, rather than one argument too many, when a choice may have many.
            let [argument] = arguments else { return Err("wrong number of arguments".into()) };
            set(config, words().find(argument)?);
            return Ok(());
        }
        let &[argument] = arguments else { return Err("wrong number of arguments".into()) };
        match &self.kind {
            Kind::Switch { set, .. } => set(config, parse_yes_or_no(argument)?),
            Kind::Number { bounds, set, .. } => set(config, bounds.parse(argument)?),
            Kind::Text { set, check, .. } => {
                check(argument)?;
                set(config, argument);
            }
            Kind::Kept { form, default } => {
                let text = form.canonical(argument)?;
                if text == default.as_bytes() {
                    config.accepted.remove(self.name);
                } else {
                    config.accepted.insert(self.name, Text::from(&*text));
                }
            }
            Kind::Choice { .. } | Kind::Special { .. } => unreachable!("handled above"),
        }
        Ok(())
    }

    /// The lines that CONFIG REWRITE writes for the value; none if it has nothing to say.
    pub(crate) fn lines(&self, config: &Config) -> Vec<Vec<u8>> {
        let written = match &self.kind {
            Kind::Number { bounds, get, .. } => vec![vec![bounds.write(get(config)).into_bytes()]],
            Kind::Kept { form: Form::Number(bounds), .. } => {
                let value = bounds.parse(&self.get(config)).expect("only what parses is kept");
                vec![vec![bounds.write(value).into_bytes()]]
            }
            Kind::Special { lines: Lines::Words, .. } => {
                vec![self.get(config).split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect()]
            }
            Kind::Special { lines: Lines::As(lines), .. } => lines(config),
            _ => vec![vec![self.get(config)]],
        };
        let with_name = |mut arguments: Vec<Vec<u8>>| {
            arguments.insert(0, self.name.into());
            line::joined(&arguments)
        };
        written.into_iter().map(with_name).collect()
    }
}

impl Form {
    /// The one spelling of what `argument` says.
    fn canonical(self, argument: &[u8]) -> Result<Vec<u8>, Refusal> {
        match self {
            Form::Switch => Ok(yes_or_no(parse_yes_or_no(argument)?).into()),
            Form::Number(bounds) => Ok(bounds.show(bounds.parse(argument)?).into_bytes()),
            Form::Choice(words) => Ok(choice::find(words, argument)?.into()),
            Form::Text => Ok(argument.to_vec()),
        }
    }
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn parse_yes_or_no(argument: &[u8]) -> Result<bool, Refusal> {
    if argument.eq_ignore_ascii_case(b"yes") {
        Ok(true)
    } else if argument.eq_ignore_ascii_case(b"no") {
        Ok(false)
    } else {
        Err("argument must be 'yes' or 'no'".into())
    }
}

// How the tables write their entries: a constructor for the type, then what is special about it.

const fn spec(name: &'static str, kind: Kind) -> Spec {
    Spec {
        name,
        aliases: &[],
        foreign_aliases: &[],
        meaning: Meaning::Live,
        apply: Apply::Nothing,
        origin: Origin::Redis,
        flags: Flags::NONE,
        kind,
        vet: None,
    }
}

pub(crate) const fn switch(name: &'static str, get: fn(&Config) -> bool, set: fn(&mut Config, bool)) -> Spec {
    spec(name, Kind::Switch { get, set })
}

pub(crate) const fn number(
    name: &'static str,
    bounds: Bounds,
    get: fn(&Config) -> i128,
    set: fn(&mut Config, i128),
) -> Spec {
    spec(name, Kind::Number { bounds, get, set })
}

pub(crate) const fn choice(
    name: &'static str,
    words: fn() -> Words,
    get: fn(&Config) -> &'static str,
    set: fn(&mut Config, &str),
) -> Spec {
    spec(name, Kind::Choice { words, get, set })
}

pub(crate) const fn text(name: &'static str, get: fn(&Config) -> &[u8], set: fn(&mut Config, &[u8])) -> Spec {
    checked_text(name, |_| Ok(()), get, set)
}

pub(crate) const fn checked_text(
    name: &'static str,
    check: Check,
    get: fn(&Config) -> &[u8],
    set: fn(&mut Config, &[u8]),
) -> Spec {
    spec(name, Kind::Text { get, set, check })
}

pub(crate) const fn special(name: &'static str, get: fn(&Config) -> Vec<u8>, set: SetSpecial, lines: Lines) -> Spec {
    spec(name, Kind::Special { get, set, lines })
}

/// A directive that is accepted without an effect, and why.
pub(crate) const fn kept(name: &'static str, form: Form, default: &'static str, why: &'static str) -> Spec {
    let mut spec = spec(name, Kind::Kept { form, default });
    spec.meaning = Meaning::Accepted(why);
    spec
}

impl Spec {
    pub(crate) const fn also(mut self, aliases: &'static [&'static str]) -> Spec {
        self.aliases = aliases;
        self
    }

    pub(crate) const fn also_abroad(mut self, aliases: &'static [&'static str]) -> Spec {
        self.foreign_aliases = aliases;
        self
    }

    pub(crate) const fn applies(mut self, apply: Apply) -> Spec {
        self.apply = apply;
        self
    }

    pub(crate) const fn is(mut self, flags: Flags) -> Spec {
        self.flags = self.flags.and(flags);
        self
    }

    pub(crate) const fn later(mut self) -> Spec {
        self.origin = Origin::Later;
        self
    }

    /// Has its field already, and nothing that obeys it.
    pub(crate) const fn not_yet(mut self, why: &'static str) -> Spec {
        self.meaning = Meaning::ToCome(why);
        self
    }

    /// Has its field because the data types take it, and none of them does anything with it.
    pub(crate) const fn without_effect(mut self, why: &'static str) -> Spec {
        self.meaning = Meaning::Accepted(why);
        self
    }

    pub(crate) const fn ours(mut self) -> Spec {
        self.origin = Origin::Quorate;
        self
    }

    pub(crate) const fn vetted(mut self, vet: Check) -> Spec {
        self.vet = Some(vet);
        self
    }
}

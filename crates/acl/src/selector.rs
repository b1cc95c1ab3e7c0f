//! A selector: commands, keys and channels that are allowed together.

use std::collections::BTreeMap;

use quorate_values::{Case, glob_matches};

use crate::rule::{RuleError, is_torn};
use crate::{Channel, CommandId, Denied, Key, Need, Request, Terms};

/// What is allowed together; see the crate's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// A bit for each command of the catalog.
    allowed: Box<[u64]>,
    /// Commands that are allowed only with one of these words behind their name.
    first_arguments: BTreeMap<CommandId, Vec<Box<[u8]>>>,
    /// Whether the commands began with all, or with none.
    from_all: bool,
    /// What was said of commands since, in order.
    said: Vec<Said>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Box<[u8]>>,
}

/// A rule about commands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    allows: bool,
    /// `@category`, `command`, `container|subcommand` or `command|word`.
    about: Box<[u8]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyPattern {
    pattern: Box<[u8]>,
    allows: Need,
}

/// What a rule about a command is about.
enum About {
    Command(CommandId),
    /// A command with this word behind it.
    FirstArgument(CommandId, Box<[u8]>),
}

impl Selector {
    /// One that allows nothing, but perhaps all channels.
    pub(crate) fn new(terms: Terms<'_>) -> Selector {
        Selector {
            allowed: vec![0; terms.catalog.len().div_ceil(64)].into(),
            first_arguments: BTreeMap::new(),
            from_all: false,
            said: Vec::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels: terms.all_channels,
            channels: Vec::new(),
        }
    }

    /// Whether there is nothing that it does not allow.
    pub(crate) fn is_unrestricted(&self) -> bool {
        self.allows_all_commands() && self.all_keys && self.all_channels
    }

    fn allows_all_commands(&self) -> bool {
        self.from_all && self.said.is_empty()
    }

    /// Reads a selector in its parentheses.
    pub(crate) fn parse(text: &[u8], terms: Terms<'_>) -> Result<Selector, RuleError> {
        let inner = text.strip_prefix(b"(").and_then(|rest| rest.strip_suffix(b")")).ok_or(RuleError::Syntax)?;
        let mut selector = Selector::new(terms);
        for rule in inner.split(|&byte| byte == b' ') {
            // As one of several words it would be taken for the last one.
            if rule.ends_with(b")") {
                return Err(RuleError::Syntax);
            }
            selector.apply(rule, terms)?;
        }
        Ok(selector)
    }

    /// Applies a rule about commands, keys or channels.
    pub(crate) fn apply(&mut self, rule: &[u8], terms: Terms<'_>) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"" => {}
            b"allkeys" | b"~*" => {
                self.all_keys = true;
                self.keys.clear();
            }
            b"resetkeys" => {
                self.all_keys = false;
                self.keys.clear();
            }
            b"allchannels" | b"&*" => {
                self.all_channels = true;
                self.channels.clear();
            }
            b"resetchannels" => {
                self.all_channels = false;
                self.channels.clear();
            }
            b"allcommands" | b"+@all" => self.set_all_commands(true),
            b"nocommands" | b"-@all" => self.set_all_commands(false),
            _ => match rule[0] {
                b'~' => self.add_keys(&rule[1..], Need { read: true, write: true })?,
                b'%' => {
                    let (pattern, need) = split_permissions(&rule[1..])?;
                    self.add_keys(pattern, need)?;
                }
                b'&' => self.add_channels(&rule[1..])?,
                b'+' => self.say(true, &rule[1..], terms)?,
                b'-' => self.say(false, &rule[1..], terms)?,
                _ => return Err(RuleError::Syntax),
            },
        }
        Ok(())
    }

    fn set_all_commands(&mut self, allowed: bool) {
        self.from_all = allowed;
        self.said.clear();
        self.first_arguments.clear();
        self.allowed.fill(if allowed { u64::MAX } else { 0 });
    }

    fn add_keys(&mut self, pattern: &[u8], allows: Need) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::AllKeysAlready);
        }
        if is_torn(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|key| *key.pattern == *pattern) {
            Some(known) => {
                known.allows.read |= allows.read;
                known.allows.write |= allows.write;
            }
            None => self.keys.push(KeyPattern { pattern: pattern.into(), allows }),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::AllChannelsAlready);
        }
        if is_torn(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| **known == *pattern) {
            self.channels.push(pattern.into());
        }
        Ok(())
    }

    /// Allows or denies what `about` names.
    fn say(&mut self, allows: bool, about: &[u8], terms: Terms<'_>) -> Result<(), RuleError> {
        if let Some(category) = about.strip_prefix(b"@") {
            let bit = terms.catalog.category(category).ok_or(RuleError::Unknown)?;
            for id in terms.catalog.of_category(bit) {
                self.set_command(id, allows, terms);
            }
            self.note(allows, about.to_ascii_lowercase().into());
            return Ok(());
        }
        match find(about, allows, terms)? {
            About::Command(id) if self.says_already(id, allows, terms) => {}
            About::Command(id) => {
                self.set_command(id, allows, terms);
                let name = terms.catalog.name(id).as_bytes();
                // It says all that was said of its parts.
                self.said.retain(|said| said.about.strip_prefix(name).is_none_or(|rest| !rest.starts_with(b"|")));
                self.note(allows, name.into());
            }
            About::FirstArgument(id, _) if self.allows_command(id, None) => {}
            About::FirstArgument(id, word) => {
                let mut name = terms.catalog.name(id).as_bytes().to_vec();
                name.push(b'|');
                name.extend_from_slice(&word);
                let words = self.first_arguments.entry(id).or_default();
                if words.iter().any(|known| known.eq_ignore_ascii_case(&word)) {
                    return Ok(());
                }
                words.push(word);
                self.note(true, name.into());
            }
        }
        Ok(())
    }

    /// Whether it is said already that a command, with all of its subcommands, is allowed or denied. What categories say of
    /// it may be another thing in a later version.
    fn says_already(&self, id: CommandId, allows: bool, terms: Terms<'_>) -> bool {
        let is_so = |id: &CommandId| self.has_bit(*id) == allows && !self.first_arguments.contains_key(id);
        !self.said.iter().any(|said| said.about.starts_with(b"@"))
            && std::iter::once(&id).chain(terms.catalog.subcommands(id)).all(is_so)
    }

    /// Keeps what was said, and forgets what it replaces.
    fn note(&mut self, allows: bool, about: Box<[u8]>) {
        self.said.retain(|said| said.about != about);
        // What says the same as the beginning says nothing.
        if !(self.said.is_empty() && allows == self.from_all) {
            self.said.push(Said { allows, about });
        }
    }

    fn set_command(&mut self, id: CommandId, allowed: bool, terms: Terms<'_>) {
        self.set_bit(id, allowed);
        for subcommand in terms.catalog.subcommands(id) {
            self.set_bit(*subcommand, allowed);
        }
    }

    fn set_bit(&mut self, CommandId(index): CommandId, allowed: bool) {
        let (word, bit) = (&mut self.allowed[index / 64], 1 << (index % 64));
        *word = if allowed { *word | bit } else { *word & !bit };
        self.first_arguments.remove(&CommandId(index));
    }

    /// Whether it allows a request, or what it denies of it.
    pub(crate) fn check(&self, request: &Request<'_>) -> Result<(), Denied> {
        if !request.is_free && !self.allows_command(request.command, request.first_argument) {
            return Err(Denied::Command);
        }
        if let Some(key) = request.keys.iter().find(|key| !self.allows_key(key)) {
            return Err(Denied::Key(key.index));
        }
        match request.channels.iter().find(|channel| !self.allows_channel(channel)) {
            Some(channel) => Err(Denied::Channel(channel.index)),
            None => Ok(()),
        }
    }

    pub(crate) fn allows_command(&self, id: CommandId, first_argument: Option<&[u8]>) -> bool {
        self.has_bit(id)
            || first_argument.is_some_and(|argument| {
                let words = self.first_arguments.get(&id);
                words.is_some_and(|words| words.iter().any(|word| word.eq_ignore_ascii_case(argument)))
            })
    }

    fn has_bit(&self, CommandId(index): CommandId) -> bool {
        self.allowed.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    fn allows_key(&self, key: &Key<'_>) -> bool {
        let Need { read, write } = key.need;
        self.all_keys
            || self.keys.iter().any(|known| {
                (known.allows.read || !read)
                    && (known.allows.write || !write)
                    && glob_matches(&known.pattern, key.name, Case::Sensitive)
            })
    }

    /// Whether it allows to read every key, whatever its name.
    pub(crate) fn reads_all_keys(&self) -> bool {
        self.all_keys || self.keys.iter().any(|known| known.allows.read && *known.pattern == *b"*")
    }

    pub(crate) fn allows_channel(&self, channel: &Channel<'_>) -> bool {
        self.all_channels
            || self.channels.iter().any(|known| {
                if channel.is_pattern {
                    **known == *channel.name
                } else {
                    glob_matches(known, channel.name, Case::Sensitive)
                }
            })
    }

    /// What is allowed of commands, as rules.
    pub fn command_rules(&self) -> Vec<u8> {
        let mut text = if self.from_all { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for said in &self.said {
            text.extend_from_slice(if said.allows { b" +" } else { b" -" });
            text.extend_from_slice(&said.about);
        }
        text
    }

    /// What is allowed of keys, as rules.
    pub fn key_rules(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let last = self.keys.len().saturating_sub(1);
        let rule = |(index, key): (usize, &KeyPattern)| {
            let sign: &[u8] = match key.allows {
                Need { read: true, write: false } => b"%R~",
                Need { read: false, write: true } => b"%W~",
                // Behind `~*` there may be no other pattern.
                Need { .. } if *key.pattern == *b"*" && index < last => b"%RW~",
                Need { .. } => b"~",
            };
            [sign, &key.pattern].concat()
        };
        self.keys.iter().enumerate().map(rule).collect::<Vec<_>>().join(&b' ')
    }

    /// What is allowed of channels, as rules that begin with none.
    pub fn channel_rules(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        self.channels.iter().map(|channel| [b"&", &**channel].concat()).collect::<Vec<_>>().join(&b' ')
    }

    /// All of its rules, without parentheses.
    pub(crate) fn rules(&self) -> Vec<u8> {
        let mut parts = vec![self.key_rules()];
        if !self.all_channels {
            parts.push(b"resetchannels".to_vec());
        }
        parts.push(self.channel_rules());
        parts.push(self.command_rules());
        parts.retain(|part| !part.is_empty());
        parts.join(&b' ')
    }
}

/// The command, subcommand, or command with a first argument that a rule names.
fn find(about: &[u8], allows: bool, terms: Terms<'_>) -> Result<About, RuleError> {
    let catalog = terms.catalog;
    if let Some(id) = catalog.find(about) {
        return Ok(About::Command(id));
    }
    let Some(bar) = about.iter().rposition(|&byte| byte == b'|') else { return Err(RuleError::Unknown) };
    let (name, word) = (&about[..bar], &about[bar + 1..]);
    let id = catalog.find(name).filter(|_| allows).ok_or(RuleError::Unknown)?;
    if catalog.is_subcommand(id) {
        return Err(RuleError::FirstArgumentOfSubcommand);
    }
    if !catalog.subcommands(id).is_empty() {
        return Err(RuleError::Unknown);
    }
    if word.is_empty() || is_torn(word) {
        return Err(RuleError::Syntax);
    }
    Ok(About::FirstArgument(id, word.into()))
}

/// What stands between `%` and `~`, and the pattern behind it. Redis takes a rule that ends before the `~`.
fn split_permissions(rule: &[u8]) -> Result<(&[u8], Need), RuleError> {
    let mut need = Need::default();
    let mut at = 0;
    while let Some(letter) = rule.get(at).filter(|letter| **letter != b'~') {
        match letter {
            b'r' | b'R' => need.read = true,
            b'w' | b'W' => need.write = true,
            _ => return Err(RuleError::Syntax),
        }
        at += 1;
    }
    if need == Need::default() {
        return Err(RuleError::Syntax);
    }
    Ok((rule.get(at + 1..).unwrap_or_default(), need))
}

//! From text to values: files, what they include, standard input and the command line.
//!
//! A directive that stands twice counts as it stands last, but for `save`, whose lines add up. Lines that are no plain
//! directives (`user`, `rename-command`, `sentinel`) are kept for the server, which knows what they mean.
//!
//! **Errors** name the line as Redis does, so that scripts find what they look for, and say below it what Redis leaves
//! to guess: the file, and which directive may have been meant.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::directives;
use crate::include;
use crate::line;
use crate::spec::{Flags, How, Refusal};

/// Includes within includes are followed so deep; a file that includes itself ends here.
const DEPTH_MAX: usize = 16;

/// What kind of server the configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One that holds data.
    Server,
    /// A Sentinel.
    Sentinel,
}

/// A text to read, and where it is from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Text that is in no file: standard input, and the command line.
    Text(Vec<u8>),
}

/// What the sources said.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values of all directives.
    pub config: Config,
    /// `rename-command` lines, in order.
    pub renames: Vec<Rename>,
    /// `user` lines, in order.
    pub users: Vec<Kept>,
    /// `loadmodule` lines, in order.
    pub modules: Vec<Kept>,
    /// `sentinel` lines, in order.
    pub sentinel: Vec<Kept>,
}

/// A line whose meaning the server knows.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Where it stands.
    pub place: Place,
    /// Its arguments, without the directive's name.
    pub arguments: Vec<Vec<u8>>,
}

/// A command that has another name, or none.
#[derive(Debug, Clone)]
pub struct Rename {
    /// Where it stands.
    pub place: Place,
    /// The command.
    pub from: Vec<u8>,
    /// Its new name; empty for none at all.
    pub to: Vec<u8>,
}

/// Where a line stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, if it is in one.
    pub file: Option<PathBuf>,
    /// Counted from 1.
    pub line: usize,
    /// The line itself.
    pub text: Vec<u8>,
}

/// Why a configuration can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    place: Option<Place>,
    reason: Cow<'static, str>,
    hint: Option<String>,
}

impl ParseError {
    /// An error about a line.
    pub fn at(place: Place, reason: impl Into<Cow<'static, str>>) -> ParseError {
        ParseError { place: Some(place), reason: reason.into(), hint: None }
    }

    /// An error about no line in particular.
    pub fn of(reason: impl Into<Cow<'static, str>>) -> ParseError {
        ParseError { place: None, reason: reason.into(), hint: None }
    }

    /// Whether it is about a line.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            writeln!(f, "Reading the configuration file, at line {}", place.line)?;
            writeln!(f, ">>> '{}'", String::from_utf8_lossy(&place.text))?;
        }
        f.write_str(&self.reason)?;
        if let Some(file) = self.place.as_ref().and_then(|place| place.file.as_ref()) {
            write!(f, "\nThe file is {}", file.display())?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nDid you mean '{hint}'?")?;
        }
        Ok(())
    }
}

impl std::error::Error for ParseError {}

/// Reads `sources` one after the other on top of the defaults of `mode`. The lines of texts are counted on from the
/// file in front of them, as if all were one text.
///
/// # Errors
/// The first line that is wrong, or a file that can't be read.
pub fn load(mode: Mode, sources: &[Source]) -> Result<Loaded, ParseError> {
    let config = match mode {
        Mode::Server => Config::default(),
        Mode::Sentinel => Config::of_sentinel(),
    };
    let loaded = Loaded { config, renames: vec![], users: vec![], modules: vec![], sentinel: vec![] };
    let mut reader = Reader { mode, loaded, seen: HashSet::new(), user_names: HashSet::new() };
    let mut lines_before = 0;
    for source in sources {
        let (file, text) = match source {
            Source::File(path) => (Some(path.as_path()), read(path)?),
            Source::Text(text) => (None, text.clone()),
        };
        reader.text(file, &text, lines_before, 0)?;
        lines_before += text.iter().filter(|&&byte| byte == b'\n').count();
        if file.is_some() && text.last().is_some_and(|&last| last != b'\n') {
            lines_before += 1;
        }
    }
    if reader.loaded.config.cluster.enabled && reader.loaded.config.replication.primary.is_some() {
        return Err(ParseError::of("replicaof directive not allowed in cluster mode"));
    }
    Ok(reader.loaded)
}

fn read(path: &Path) -> Result<Vec<u8>, ParseError> {
    std::fs::read(path).map_err(|error| {
        ParseError::of(format!("Fatal error, can't open config file '{}': {}", path.display(), plain(&error)))
    })
}

/// An operating system's error without the number that Rust adds.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

struct Reader {
    mode: Mode,
    loaded: Loaded,
    /// Directives that had a line already.
    seen: HashSet<&'static str>,
    user_names: HashSet<Vec<u8>>,
}

impl Reader {
    fn text(&mut self, file: Option<&Path>, text: &[u8], before: usize, depth: usize) -> Result<(), ParseError> {
        for (index, raw) in text.split(|&byte| byte == b'\n').enumerate() {
            let trimmed = line::trimmed(raw);
            if trimmed.is_empty() || trimmed[0] == b'#' {
                continue;
            }
            let place = || Place { file: file.map(Path::to_owned), line: before + index + 1, text: trimmed.to_vec() };
            let Ok(arguments) = line::arguments(trimmed) else {
                return Err(ParseError::at(place(), "Unbalanced quotes in configuration line"));
            };
            let Some((name, arguments)) = arguments.split_first() else { continue };
            self.directive(name, arguments, place, depth)?;
        }
        Ok(())
    }

    fn directive(
        &mut self,
        name: &[u8],
        arguments: &[Vec<u8>],
        place: impl Fn() -> Place,
        depth: usize,
    ) -> Result<(), ParseError> {
        if let Some(spec) = directives::find(name) {
            let how = if self.seen.insert(spec.name) { How::Replace } else { How::Add };
            let words = match arguments {
                // Several arguments may be one in quotes, which is how the command line passes them on.
                [one] if spec.flags.has(Flags::MANY) => line::arguments(one).ok().filter(|words| !words.is_empty()),
                _ => None,
            };
            let arguments: Vec<&[u8]> = words.as_deref().unwrap_or(arguments).iter().map(Vec::as_slice).collect();
            let set = spec.set(&mut self.loaded.config, &arguments, how);
            return set.map_err(|refusal| ParseError::at(place(), refusal.into_text()));
        }
        let kept = || Kept { place: place(), arguments: arguments.to_vec() };
        match (name.to_ascii_lowercase().as_slice(), arguments) {
            (b"include", [pattern]) => self.include(pattern, &place, depth),
            (b"rename-command", [from, to]) => {
                self.loaded.renames.push(Rename { place: place(), from: from.clone(), to: to.clone() });
                Ok(())
            }
            (b"user", [user, ..]) => {
                if !self.user_names.insert(user.clone()) {
                    let user = String::from_utf8_lossy(user);
                    return Err(ParseError::at(
                        place(),
                        format!(
                            "Error in user declaration '{user}': Duplicate user found. A user can only be defined once in \
                             config files"
                        ),
                    ));
                }
                self.loaded.users.push(kept());
                Ok(())
            }
            (b"loadmodule", [_, ..]) => {
                self.loaded.modules.push(kept());
                Ok(())
            }
            (b"sentinel", [_, ..]) if self.mode == Mode::Sentinel => {
                self.loaded.sentinel.push(kept());
                Ok(())
            }
            (b"sentinel", [_, ..]) => Err(ParseError::at(place(), "sentinel directive while not in sentinel mode")),
            // Sizes of an encoding that no version has had since 3.2.
            (b"list-max-ziplist-entries" | b"list-max-ziplist-value", [_]) => Ok(()),
            (name, _) => Err(ParseError {
                place: Some(place()),
                reason: "Bad directive or wrong number of arguments".into(),
                hint: nearest(name),
            }),
        }
    }

    fn include(&mut self, pattern: &[u8], place: &impl Fn() -> Place, depth: usize) -> Result<(), ParseError> {
        if depth >= DEPTH_MAX {
            return Err(ParseError::at(place(), "files include each other too deep"));
        }
        for path in include::files(pattern) {
            let text = read(&path).map_err(|error| ParseError { place: Some(place()), ..error })?;
            self.text(Some(&path), &text, 0, depth + 1)?;
        }
        Ok(())
    }
}

impl Refusal {
    fn into_text(self) -> Cow<'static, str> {
        self.to_string().into()
    }
}

/// The directive whose name is nearest to what was written, if any is near.
fn nearest(written: &[u8]) -> Option<String> {
    let near_enough = (written.len() / 4).clamp(1, 3);
    let own = ["include", "rename-command", "user", "loadmodule"];
    let names = directives::all().flat_map(|spec| spec.names()).chain(own);
    let by_distance = names.map(|name| (distance(written, name.as_bytes()), name));
    by_distance.min().filter(|&(distance, _)| (1..=near_enough).contains(&distance)).map(|(_, name)| name.to_owned())
}

/// How many letters must be changed, added or removed to make one of the other (Levenshtein's distance).
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (at, to) in right.iter().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Result<Loaded, ParseError> {
        load(Mode::Server, &[Source::Text(text.as_bytes().to_vec())])
    }

    fn error(text: &str) -> String {
        of(text).unwrap_err().to_string()
    }

    #[test]
    fn values_are_read_and_the_last_of_a_directive_counts() {
        let loaded = of("# a comment\n  port 1\n\nport 7000\r\nBIND 127.0.0.1 -::1\nrequirepass \"a b\"").unwrap();
        let network = &loaded.config.network;
        assert_eq!(network.port, 7000);
        assert_eq!(network.bind.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1", "-::1"]);
        assert_eq!(loaded.config.security.password.unwrap().reveal(), b"a b");
    }

    #[test]
    fn save_lines_add_up_and_an_empty_one_takes_them_back() {
        let rules = |text| {
            let loaded = of(text).unwrap();
            loaded.config.snapshots.save.iter().map(|rule| (rule.within.as_secs(), rule.changes)).collect::<Vec<_>>()
        };
        assert_eq!(rules("port 1"), [(3600, 1), (300, 100), (60, 10000)]);
        assert_eq!(rules("save 900 1\nsave 10 5 3 2"), [(900, 1), (10, 5), (3, 2)]);
        assert_eq!(rules("save 900 1\nsave \"\"\nsave 5 5"), [(5, 5)]);
        assert_eq!(rules("save ''"), []);
        assert_eq!(rules("save '900 1'"), [(900, 1)]);
    }

    #[test]
    fn limits_of_output_are_set_class_by_class() {
        let loaded = of("client-output-buffer-limit normal 1mb 2mb 3\nclient-output-buffer-limit slave 5 6 7").unwrap();
        let limits = loaded.config.clients.output_buffer;
        assert_eq!((limits.normal.hard, limits.replica.soft), (1 << 20, 6));
        assert_eq!(limits.pubsub.hard, 32 << 20);
    }

    #[test]
    fn an_error_names_the_line_as_redis_does() {
        assert_eq!(
            error("port 0\nbogus 1"),
            "Reading the configuration file, at line 2\n>>> 'bogus 1'\nBad directive or wrong number of arguments"
        );
        assert_eq!(
            error(" port   x "),
            "Reading the configuration file, at line 1\n>>> 'port   x'\nargument couldn't be parsed into an integer"
        );
        assert!(error("foo \"a").ends_with("Unbalanced quotes in configuration line"));
        assert!(error("port 1 2").ends_with("wrong number of arguments"));
        assert!(error("sentinel myid x").ends_with("sentinel directive while not in sentinel mode"));
        assert!(error("user a on\nuser a off").contains("Error in user declaration 'a': Duplicate user found"));
        assert_eq!(error("cluster-enabled yes\nreplicaof h 1"), "replicaof directive not allowed in cluster mode");
    }

    #[test]
    fn a_near_name_is_proposed() {
        assert!(error("maxmemroy 1").ends_with("\nDid you mean 'maxmemory'?"));
        assert!(error("slave_of a 1").ends_with("\nDid you mean 'slaveof'?"));
        assert!(!error("something-else 1").contains("mean"));
    }

    #[test]
    fn files_include_files_and_errors_say_which() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("main.conf"), format!("port 1\ninclude {}/part*.conf\n", folder.path().display())).unwrap();
        std::fs::write(path("part1.conf"), "port 2\nmaxclients 5").unwrap();
        std::fs::write(path("part2.conf"), "port 3").unwrap();
        let sources = [Source::File(path("main.conf")), Source::Text(b"\ntimeout 7".to_vec())];
        let config = load(Mode::Server, &sources).unwrap().config;
        assert_eq!((config.network.port, config.clients.max), (3, 5));
        assert_eq!(config.network.timeout, Some(std::time::Duration::from_secs(7)));

        std::fs::write(path("part2.conf"), "\nport x").unwrap();
        let text = load(Mode::Server, &sources).unwrap_err().to_string();
        assert!(text.starts_with("Reading the configuration file, at line 2\n>>> 'port x'\n"), "{text}");
        assert!(text.ends_with("part2.conf"), "{text}");

        let own = format!("include {}", path("part1.conf").display());
        std::fs::write(path("part1.conf"), own).unwrap();
        let text = load(Mode::Server, &sources).unwrap_err().to_string();
        assert!(text.contains("include each other too deep"), "{text}");
        assert!(error("include /no/such/file").contains("can't open config file '/no/such/file': No such file"));
    }

    #[test]
    fn lines_of_the_command_line_are_counted_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        std::fs::write(&path, "port 1\n").unwrap();
        let error = load(Mode::Server, &[Source::File(path), Source::Text(b"\nbogus".to_vec())]).unwrap_err();
        assert_eq!(error.place().unwrap().line, 3);
        let error = load(Mode::Server, &[Source::Text(b"\nport \"0\"\nbogus".to_vec())]).unwrap_err();
        assert_eq!(error.place().unwrap().line, 3);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assume!(!text.windows(7).any(|word| word.eq_ignore_ascii_case(b"include")));
            let _ = load(Mode::Server, &[Source::Text(text)]);
        }
    }
}

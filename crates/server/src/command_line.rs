//! What the program is asked to be: by the name that it was started under, or by its first argument.
//!
//! `redis-server a.conf` and `quorate server a.conf` are the same, so that a link under the old name replaces the old
//! program. What follows is a configuration file or `-` for standard input, then options, each a line of that file.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use quorate_config::Source;

use crate::manual;
use crate::persist::aof;
use crate::{REDIS_VERSION, VERSION};

/// What is to be done.
pub enum Invocation {
    /// Be a server.
    Server(Options),
    /// Be a Sentinel.
    Sentinel(Options),
    /// Check an RDB file.
    CheckRdb(PathBuf),
    /// Check an append-only file.
    CheckAof(aof::check::Task, PathBuf),
    /// Show what it is for, as these words say.
    Demo(Vec<String>),
    /// Run a command under a lock, as these words say.
    Lock(Vec<OsString>),
    /// `quorate cluster`, with the words that follow.
    Cluster(Vec<OsString>),
    /// Show a deployment from outside: which command, and its words.
    View(String, Vec<OsString>),
    /// Write the pages of the manual into this folder.
    Manual(PathBuf),
    /// Say this and be done.
    Say(String),
    /// Say this, and that it was an error.
    Refuse(String),
}

/// What a server is started with.
#[derive(Debug, Default)]
pub struct Options {
    /// The configuration file, by its absolute path.
    pub file: Option<PathBuf>,
    /// Whether there is more of the configuration on standard input.
    pub from_stdin: bool,
    /// The options as lines of a file.
    pub lines: Vec<u8>,
}

impl Options {
    /// What the configuration is to be read from, in order.
    ///
    /// # Errors
    /// Standard input can't be read.
    pub fn sources(&self) -> std::io::Result<Vec<Source>> {
        let mut sources: Vec<Source> = self.file.iter().cloned().map(Source::File).collect();
        if self.from_stdin {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut text)?;
            sources.push(Source::Text(text));
        }
        if !self.lines.is_empty() {
            sources.push(Source::Text(self.lines.clone()));
        }
        Ok(sources)
    }
}

/// Reads the arguments, the program's name first.
pub fn read(arguments: &[Vec<u8>]) -> Invocation {
    let program = arguments.first().map(|path| std::path::Path::new(std::ffi::OsStr::from_bytes(path)));
    let program = program.and_then(|path| path.file_name()).map(|name| String::from_utf8_lossy(name.as_bytes()));
    let rest = arguments.get(1..).unwrap_or_default();
    match program.as_deref().unwrap_or_default() {
        "redis-server" | "valkey-server" => dispatch("server", rest),
        "redis-sentinel" | "valkey-sentinel" => dispatch("sentinel", rest),
        "redis-check-rdb" | "valkey-check-rdb" => dispatch("check-rdb", rest),
        "redis-check-aof" | "valkey-check-aof" => dispatch("check-aof", rest),
        _ => match rest.split_first() {
            None => Invocation::Refuse(usage()),
            Some((first, rest)) => dispatch(&String::from_utf8_lossy(first), rest),
        },
    }
}

fn dispatch(what: &str, rest: &[Vec<u8>]) -> Invocation {
    match what {
        "server" | "sentinel" if matches!(rest, [option] if is_help(option)) => Invocation::Say(manual::help(what)),
        "server" => server(rest),
        "completions" => match rest {
            [option] if is_help(option) => Invocation::Say(manual::help(what)),
            [shell] => manual::completions_for(&String::from_utf8_lossy(shell)).map_or_else(
                || Invocation::Refuse(manual::help(what)),
                |script| Invocation::Say(String::from_utf8_lossy(&script).into_owned()),
            ),
            _ => Invocation::Refuse(manual::help(what)),
        },
        "manual" => match rest {
            [option] if is_help(option) => Invocation::Say(manual::help(what)),
            [folder] => Invocation::Manual(PathBuf::from(std::ffi::OsStr::from_bytes(folder))),
            _ => Invocation::Refuse(manual::help(what)),
        },
        "check-rdb" => match rest {
            [option] if is_help(option) => Invocation::Say(manual::help(what)),
            [option] if option == b"-v" || option == b"--version" => {
                Invocation::Say(format!("redis-check-rdb {REDIS_VERSION}"))
            }
            [file] => Invocation::CheckRdb(PathBuf::from(std::ffi::OsStr::from_bytes(file))),
            _ => Invocation::Refuse("Usage: redis-check-rdb <rdb-file-name>".to_owned()),
        },
        "sentinel" => match server(rest) {
            Invocation::Server(options) => Invocation::Sentinel(options),
            other => other,
        },
        "check-aof" => match rest {
            [option] if is_help(option) => Invocation::Say(manual::help(what)),
            [option] if option == b"-v" || option == b"--version" => {
                Invocation::Say(format!("redis-check-aof {REDIS_VERSION}"))
            }
            _ => aof::check::arguments(rest).map_or_else(
                || {
                    Invocation::Refuse(
                        "Usage: redis-check-aof [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>"
                            .to_owned(),
                    )
                },
                |(task, path)| Invocation::CheckAof(task, path),
            ),
        },
        "demo" => Invocation::Demo(rest.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()),
        "lock" => Invocation::Lock(os_words(rest)),
        "cluster" => Invocation::Cluster(os_words(rest)),
        view if quorate_view::COMMANDS.contains(&view) => Invocation::View(view.to_owned(), os_words(rest)),
        "-v" | "--version" => Invocation::Say(version()),
        "-h" | "--help" | "help" => Invocation::Say(usage()),
        other => Invocation::Refuse(format!("quorate: there is no '{other}'\n\n{}", usage())),
    }
}

fn is_help(word: &[u8]) -> bool {
    word == b"-h" || word == b"--help"
}

fn os_words(words: &[Vec<u8>]) -> Vec<OsString> {
    words.iter().map(|word| std::ffi::OsStr::from_bytes(word).to_owned()).collect()
}

fn server(arguments: &[Vec<u8>]) -> Invocation {
    let (alone, first) = (arguments.len() == 1, arguments.first().map(Vec::as_slice));
    match first {
        Some(b"-v" | b"--version") => return Invocation::Say(version()),
        Some(b"--test-memory") => {
            return Invocation::Refuse(
                "--test-memory: the memory is not tested; memtest86 does that better".to_owned(),
            );
        }
        Some(b"--check-system") if alone => return Invocation::Say("[checks]...OK".to_owned()),
        _ => {}
    }
    let is_sentinel = arguments.iter().any(|argument| argument == b"--sentinel");
    let arguments: Vec<Vec<u8>> = arguments.iter().filter(|argument| *argument != b"--sentinel").cloned().collect();
    let mut options = Options::default();
    let mut rest = arguments.as_slice();
    if let Some((first, behind)) = rest.split_first()
        && !first.starts_with(b"-")
    {
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(first));
        // `dir` is changed into later, and CONFIG REWRITE still has to find it.
        options.file = Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        rest = behind;
    }
    // `-` stands in front of the options or behind them.
    if let Some((first, behind)) = rest.split_first()
        && first == b"-"
    {
        options.from_stdin = true;
        rest = behind;
    } else if let Some((last, before)) = rest.split_last()
        && last == b"-"
    {
        options.from_stdin = true;
        rest = before;
    }
    options.lines = quorate_config::as_text(rest);
    if is_sentinel { Invocation::Sentinel(options) } else { Invocation::Server(options) }
}

/// What `--version` says; scripts read `v=`.
fn version() -> String {
    format!("Quorate server v={REDIS_VERSION} quorate={VERSION} malloc=jemalloc bits={}", usize::BITS)
}

fn usage() -> String {
    "Usage: quorate server [/path/to/redis.conf | -] [--directive value ...]\n\
     \x20      quorate demo replication | sentinel [--keep] [--binary PATH]\n\
     \x20      quorate demo redlock [--binary PATH]\n\
     \x20      quorate lock --nodes HOST:PORT,HOST:PORT,HOST:PORT RESOURCE [--ttl 30s] [--wait 10s] -- command ...\n\
     \x20      quorate lock status RESOURCE --nodes HOST:PORT,...\n\
     \x20      quorate cluster create|check|info|fix|reshard|rebalance|add-node|del-node|... HOST:PORT ...\n\
     \x20      quorate up replication | sentinel | cluster | redlock [--dashboard PORT]\n\
     \x20      quorate down | quorate chaos kill | pause | heal NODE\n\
     \x20      quorate status [--json] HOST:PORT\n\
     \x20      quorate top HOST:PORT\n\
     \x20      quorate handover HOST:PORT\n\
     \x20      quorate dashboard --watch HOST:PORT [--actions]\n\
     \x20      quorate check-rdb | check-aof FILE\n\
     \x20      quorate completions bash | zsh | fish\n\
     \x20      quorate --version | --help\n\n\
     Each of them has a --help of its own, with examples.\n\
     Every directive of redis.conf is an option: quorate server --port 7777 --replicaof 127.0.0.1 8888\n\
     Under the name redis-server or valkey-server it is a server at once.\n\
     \x20      quorate sentinel /path/to/sentinel.conf, or quorate server /path/to/sentinel.conf --sentinel"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        let arguments: Vec<Vec<u8>> = arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect();
        match read(&arguments) {
            Invocation::Server(options) => options,
            Invocation::Sentinel(options) => panic!("{options:?}"),
            Invocation::CheckRdb(path) | Invocation::CheckAof(_, path) | Invocation::Manual(path) => {
                panic!("{}", path.display())
            }
            Invocation::Demo(words) => panic!("{words:?}"),
            Invocation::Lock(words) | Invocation::Cluster(words) | Invocation::View(_, words) => panic!("{words:?}"),
            Invocation::Say(text) | Invocation::Refuse(text) => panic!("{text}"),
        }
    }

    #[test]
    fn the_name_of_the_program_or_the_first_argument_says_what_it_is() {
        for arguments in [&["/usr/bin/redis-server", "a.conf"][..], &["quorate", "server", "a.conf"]] {
            assert_eq!(options(arguments).file, std::path::absolute("a.conf").ok());
        }
        assert!(matches!(read(&[b"redis-server".to_vec(), b"-v".to_vec()]), Invocation::Say(_)));
        assert!(matches!(read(&[b"redis-check-rdb".to_vec()]), Invocation::Refuse(_)));
        for arguments in [&["redis-check-rdb", "dump.rdb"][..], &["quorate", "check-rdb", "dump.rdb"]] {
            let arguments: Vec<Vec<u8>> = arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect();
            assert!(matches!(read(&arguments), Invocation::CheckRdb(path) if path == *"dump.rdb"));
        }
        assert!(matches!(read(&[]), Invocation::Refuse(_)));
    }

    #[test]
    fn a_file_standard_input_and_options_follow_each_other() {
        let all = options(&["redis-server", "a.conf", "-", "--port", "5"]);
        assert!(all.from_stdin && all.lines == b"\nport \"5\"");
        let behind = options(&["redis-server", "--port", "5", "-"]);
        assert!(behind.from_stdin && behind.file.is_none() && behind.lines == b"\nport \"5\"");
        assert!(options(&["redis-server"]).lines.is_empty());
    }
}

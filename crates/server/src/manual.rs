//! The whole command line as data: what `--help` says of the parts that read their words themselves, completions for shells, and the
//! pages of the manual. Whoever reads the words is asked what it understands, so that nothing is described twice.

use std::io;
use std::path::Path;

use clap::{Arg, ArgAction, Command, value_parser};
use clap_complete::Shell;

/// The parts of the program that clap does not read: configuration files and directives have rules of their own.
const SERVER: &str = "Every directive of redis.conf is an option, with two dashes in front, and is read after the file.\n\n\
    Examples:\n  \
    quorate server /etc/quorate/main.conf\n  \
    quorate server --port 7777 --replicaof 127.0.0.1 6379\n  \
    quorate server --metrics-port 9121 --dashboard 7379 --log-format json\n  \
    quorate server --cluster-enabled yes --port 7000";
const SENTINEL: &str = "The file must be there and stay writable: the Sentinel keeps in it what it has learnt and voted.\n\n\
    Examples:\n  \
    quorate sentinel /etc/quorate/sentinel.conf\n  \
    quorate sentinel /etc/quorate/sentinel.conf --port 26380 --dashboard 7379";

/// Everything that `quorate` understands.
pub fn command() -> Command {
    let mut root = Command::new("quorate")
        .version(crate::VERSION)
        .about("Replication, Sentinel, Cluster and majority locks on the wire formats of Redis and Valkey")
        .after_help(
            "Under the names redis-server, redis-sentinel, redis-check-rdb and redis-check-aof (and valkey-...) it is that \
             program.\n\n\
             Examples:\n  \
             quorate up cluster --dashboard          a cluster on this machine, and a page that shows it\n  \
             quorate server /etc/quorate/main.conf   a server\n  \
             quorate status 127.0.0.1:6379           how a deployment is",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(own("server", "Is a server").after_help(SERVER))
        .subcommand(own("sentinel", "Is a Sentinel").after_help(SENTINEL))
        .subcommand(check_rdb())
        .subcommand(check_aof())
        .subcommand(completions())
        .subcommand(manual());
    let others = [quorate_demo::command(), quorate_lock::command(), quorate_operator::command()];
    for other in others.into_iter().chain(quorate_view::commands()) {
        // Each reads its words as if it were a program of its own.
        let name = other.get_name().trim_start_matches("quorate ").to_owned();
        root = root.subcommand(other.name(name));
    }
    root
}

fn own(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .help("The configuration; - reads it from standard input")
                .value_hint(clap::ValueHint::FilePath),
        )
        .arg(
            Arg::new("directives")
                .value_name("--DIRECTIVE VALUE")
                .help("More of it")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true),
        )
}

fn check_rdb() -> Command {
    let file =
        Arg::new("file").value_name("FILE").required(true).help("The snapshot").value_hint(clap::ValueHint::FilePath);
    Command::new("check-rdb")
        .about("Reads a snapshot from its beginning to its end, and says what is wrong with it")
        .arg(file)
        .after_help("Examples:\n  quorate check-rdb dump.rdb")
}

fn check_aof() -> Command {
    let fix = Arg::new("fix").long("fix").action(ArgAction::SetTrue).help("Cuts off what can't be read, after asking");
    let moment = Arg::new("moment")
        .long("truncate-to-timestamp")
        .value_name("SECONDS")
        .value_parser(value_parser!(u64))
        .help("Cuts off what was written after this moment, in seconds since 1970");
    let file = Arg::new("file")
        .value_name("FILE")
        .required(true)
        .help("A manifest, or one file of it")
        .value_hint(clap::ValueHint::FilePath);
    Command::new("check-aof")
        .about("Reads an append-only file, and says what is wrong with it")
        .args([fix, moment, file])
        .after_help(
            "Examples:\n  quorate check-aof appendonlydir/appendonly.aof.manifest\n  \
             quorate check-aof --fix appendonlydir/appendonly.aof.manifest",
        )
}

fn completions() -> Command {
    let shell = Arg::new("shell").required(true).value_parser(value_parser!(Shell)).help("Whose");
    Command::new("completions")
        .about("Prints what a shell needs to complete the words of this program")
        .arg(shell)
        .after_help(
            "Examples:\n  quorate completions bash > /usr/share/bash-completion/completions/quorate\n  \
             quorate completions zsh > /usr/share/zsh/vendor-completions/_quorate\n  \
             quorate completions fish > /usr/share/fish/vendor_completions.d/quorate.fish",
        )
}

fn manual() -> Command {
    let folder =
        Arg::new("folder").value_name("FOLDER").required(true).help("Where to").value_hint(clap::ValueHint::DirPath);
    Command::new("manual")
        .about("Writes the pages of the manual, one for each command")
        .arg(folder)
        .after_help("Examples:\n  quorate manual /usr/share/man/man1")
}

/// What `--help` says of a part that reads its words itself.
pub fn help(name: &str) -> String {
    let mut root = command();
    root.build();
    let found = root.find_subcommand_mut(name).map(Command::render_help);
    found.map_or_else(String::new, |help| help.to_string().trim_end().to_owned())
}

/// The completions for a shell, directives as options of a server included; nothing if there are none for it.
pub fn completions_for(shell: &str) -> Option<Vec<u8>> {
    let shell: Shell = shell.parse().ok()?;
    let directives = |command: Command| {
        let known = quorate_config::names().map(|name| Arg::new(name).long(name).num_args(1));
        command.args(known)
    };
    let mut root = command().mut_subcommand("server", directives).mut_subcommand("sentinel", directives);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut root, "quorate", &mut script);
    Some(script)
}

/// Writes a page for each command into a folder that is there.
///
/// # Errors
/// It can't be written to.
pub fn write_pages(folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(command(), folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::{Invocation, read};

    /// Each command with its names, the root first.
    fn walk(command: &Command, names: &str, visit: &mut impl FnMut(&str, &Command)) {
        visit(names, command);
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            walk(below, &format!("{names} {}", below.get_name()), visit);
        }
    }

    #[test]
    fn every_command_says_what_it_is_for_and_shows_examples_of_itself() {
        let mut seen = 0;
        walk(&command(), "quorate", &mut |names, command| {
            seen += 1;
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.len() > 5, "{names} does not say what it is for");
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{names} has no examples")).1;
            assert!(examples.lines().all(|line| line.starts_with("  quorate ")), "{names}:\n{examples}");
            assert!(examples.lines().any(|line| line.trim().starts_with(names)), "{names} shows no example of itself");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{names} does not explain {}", argument.get_id());
            }
        });
        assert!(seen > 30, "{seen}");
    }

    #[test]
    fn the_examples_are_understood() {
        walk(&command(), "quorate", &mut |_, command| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.split_once("Examples:\n").map_or("", |(_, examples)| examples).lines() {
                // What follows the words is a remark, or belongs to the shell.
                let words = line.trim().split("  ").next().unwrap_or_default();
                let words = words.split([';', '|', '>']).next().unwrap_or_default();
                let words: Vec<&str> = words.split_whitespace().collect();
                if matches!(words[1], "server" | "sentinel") {
                    let bytes: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
                    assert!(matches!(read(&bytes), Invocation::Server(_) | Invocation::Sentinel(_)), "{line}");
                } else {
                    let parsed = self::command().try_get_matches_from(&words);
                    assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                }
            }
        });
    }

    #[test]
    fn whatever_the_program_understands_stands_here() {
        let root = command();
        let names: Vec<&str> = root.get_subcommands().map(Command::get_name).collect();
        for name in names {
            let said = read(&[b"quorate".to_vec(), name.as_bytes().to_vec(), b"--help".to_vec()]);
            assert!(!matches!(said, Invocation::Refuse(_)), "{name}");
        }
        for name in quorate_view::COMMANDS {
            assert!(root.find_subcommand(name).is_some(), "{name}");
        }
    }

    #[test]
    fn completions_and_pages_name_every_command() {
        for shell in ["bash", "zsh", "fish"] {
            let script = String::from_utf8(completions_for(shell).unwrap()).unwrap();
            for word in ["rebalance", "completions", "dashboard", "maxmemory-policy", "chaos"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
        assert!(completions_for("command.com").is_none());
        let folder = tempfile::tempdir().unwrap();
        write_pages(folder.path()).unwrap();
        walk(&command(), "quorate", &mut |names, _| {
            let page = folder.path().join(format!("{}.1", names.replace(' ', "-")));
            let text = std::fs::read_to_string(&page).unwrap_or_else(|_| panic!("there is no {}", page.display()));
            assert!(text.contains("Examples:"), "{text}");
        });
    }
}

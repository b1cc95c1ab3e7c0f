//! `quorate lock`: runs a command while holding a lock that a majority of servers grants, and shows who holds one.
//!
//! It is a program around `quorate-redlock` and knows nothing of our server. What the command may rely on: it runs only
//! while the lock is valid, and is ended when that is over; the fencing token is in its environment.

mod command;
mod span;
mod status;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quorate_redlock::{BuildError, MAX_TTL, RedLock};

/// The lock could not be had in time.
const NOT_ACQUIRED: u8 = 120;
/// The lock was lost while the command ran; it was ended.
const LOST: u8 = 121;
/// No lock can be made of these servers.
const UNUSABLE: u8 = 122;
/// The command can't be run; as in shells.
const CANNOT_RUN: u8 = 126;
/// There is no such command; as in shells.
const NOT_FOUND: u8 = 127;

/// Where the servers may stand, so that passwords need not be in a list of processes.
const NODES: &str = "QUORATE_LOCK_NODES";

#[derive(clap::Args)]
struct Nodes {
    /// The servers, as host:port or redis://[user][:password@]host[:port][/db]; an odd number, independent of each other.
    /// Without it, the variable QUORATE_LOCK_NODES.
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    nodes: Vec<String>,
}

#[derive(Parser)]
#[command(
    name = "quorate lock",
    about = "Runs a command while holding a lock that a majority of servers grants",
    after_help = "Exit status: the command's own, 128 + N if signal N ended it, 120 if the lock could not be had, 121 if it was \
                  lost, 122 if the servers can't be used, 126 or 127 if the command can't be run.\n\n\
                  quorate lock status RESOURCE --nodes ... shows what each server says of a lock.\n\n\
                  Examples:\n  \
                  quorate lock --nodes a:6379,b:6379,c:6379 nightly -- ./nightly.sh\n  \
                  quorate lock nightly --ttl 1m --wait 0 -- ./only-if-free.sh     with QUORATE_LOCK_NODES set"
)]
struct Run {
    #[command(flatten)]
    nodes: Nodes,
    /// What is to be locked.
    resource: String,
    /// How long the servers keep the lock if this program dies; it is extended while the command runs.
    #[arg(long, default_value = "30s", value_parser = span::parse)]
    ttl: Duration,
    /// How long to wait for the lock; 0 is one attempt.
    #[arg(long, default_value = "10s", value_parser = span::parse)]
    wait: Duration,
    /// When the command is ended at the latest: a hard cap on extension.
    #[arg(long, default_value = "24h", value_parser = span::parse)]
    max_hold: Duration,
    /// Waits in the order of arrival.
    #[arg(long)]
    fair: bool,
    /// The variable in which the command finds the fencing token.
    #[arg(long, value_name = "NAME", default_value = "FENCING_TOKEN", value_parser = variable)]
    fence_env: String,
    /// How long the command has to end after TERM, before KILL.
    #[arg(long, default_value = "5s", value_parser = span::parse)]
    kill_after: Duration,
    /// Leaves the command in this process group, so that it can read from the terminal; then only the command itself is ended
    /// when the lock is lost, not what it has started.
    #[arg(long)]
    foreground: bool,
    /// The command and its arguments, behind --.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<std::ffi::OsString>,
}

#[derive(Parser)]
#[command(
    name = "quorate lock status",
    about = "Shows what each server says of a lock",
    after_help = "Examples:\n  quorate lock status nightly --nodes a:6379,b:6379,c:6379"
)]
struct Status {
    #[command(flatten)]
    nodes: Nodes,
    /// What is locked, or not.
    resource: String,
}

/// What `quorate lock` understands.
pub fn command() -> clap::Command {
    use clap::CommandFactory as _;
    Run::command().args_conflicts_with_subcommands(true).subcommand(Status::command().name("status"))
}

/// Runs `quorate lock`, with the words that follow it.
pub fn run(words: &[std::ffi::OsString]) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(UNUSABLE, &error),
    };
    if words.first().is_some_and(|word| word == "status") {
        return match parse::<Status>("quorate lock status", &words[1..]) {
            Ok(status) => runtime.block_on(status::show(&status)),
            Err(code) => code,
        };
    }
    match parse::<Run>("quorate lock", words) {
        Ok(run) => runtime.block_on(command::run(&run)),
        Err(code) => code,
    }
}

fn parse<T: Parser>(name: &str, words: &[std::ffi::OsString]) -> Result<T, ExitCode> {
    T::try_parse_from([name.into()].iter().chain(words)).map_err(|error| {
        // Nobody is left to tell if this cannot be printed.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
    })
}

fn complain(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("quorate lock: {error}");
    ExitCode::from(code)
}

impl Nodes {
    fn lock(&self) -> Result<RedLock, BuildError> {
        let mut nodes = self.nodes.clone();
        if let (true, Ok(text)) = (nodes.is_empty(), std::env::var(NODES)) {
            nodes.extend(text.split(',').map(str::to_owned));
        }
        RedLock::builder().nodes(nodes.iter().map(|node| node.trim())).extend_for(MAX_TTL).build()
    }
}

/// A name that every shell takes for a variable.
fn variable(text: &str) -> Result<String, String> {
    let is_good = |(index, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || index > 0 && c.is_ascii_digit();
    match !text.is_empty() && text.chars().enumerate().all(is_good) {
        true => Ok(text.to_owned()),
        false => Err("a variable's name has letters, digits and _".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<std::ffi::OsString> {
        text.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn the_command_stands_behind_two_dashes() {
        let run: Run = parse("x", &words("--nodes a:1,b:2,c:3 r --ttl 500ms --fence-env T -- sh -c x"))
            .unwrap_or_else(|_| panic!());
        assert_eq!((run.nodes.nodes.len(), run.resource.as_str(), run.ttl), (3, "r", Duration::from_millis(500)));
        assert_eq!(run.command, words("sh -c x"));
        for bad in
            ["--nodes a:1 r", "--nodes a:1 -- ls", "--nodes a:1 r --ttl x -- ls", "--nodes a:1 r --fence-env 1X -- ls"]
        {
            assert!(parse::<Run>("x", &words(bad)).is_err(), "{bad}");
        }
    }
}

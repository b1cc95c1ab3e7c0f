//! What an operator sees of a deployment: `quorate status`, `quorate top` and `quorate dashboard`; and `quorate handover`, which lets
//! another server take a server's place.
//!
//! All of them look at a deployment from outside, as `quorate-topology` explores it, and know nothing of our server: they show
//! real Redis and Valkey alike. This crate is the way to the world: it connects, listens, draws and serves a page.
//!
//! Every text that a server sent passes through `plain` before it reaches a terminal, and is data, never markup, in the page.

mod dashboard;
mod handover;
mod history;
mod json;
mod link;
mod local;
pub mod metrics;
mod options;
mod report;
mod status;
mod text;
mod top;
mod watch;
mod wire;

pub use dashboard::start as serve_dashboard;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

/// The words were not understood; as in sysexits.h.
const USAGE: u8 = 64;

/// The subcommands of `quorate` that are here.
pub const COMMANDS: &[&str] = &["chaos", "dashboard", "down", "handover", "status", "top", "up"];

/// What each of [`COMMANDS`] understands.
pub fn commands() -> Vec<clap::Command> {
    vec![
        local::Chaos::command(),
        dashboard::Options::command(),
        local::Down::command(),
        handover::Options::command(),
        status::Options::command(),
        top::Options::command(),
        local::Up::command(),
    ]
}

/// Runs one of [`COMMANDS`], with the words that follow it.
pub fn run(command: &str, words: &[OsString]) -> ExitCode {
    match command {
        "dashboard" => perform("quorate dashboard", words, dashboard::show),
        "chaos" => perform("quorate chaos", words, local::play),
        "down" => perform("quorate down", words, local::down),
        "handover" => perform("quorate handover", words, handover::hand_over),
        "up" => perform("quorate up", words, local::up),
        "status" => perform("quorate status", words, status::show),
        "top" => perform("quorate top", words, top::show),
        other => {
            eprintln!("quorate: there is no '{other}'");
            ExitCode::from(USAGE)
        }
    }
}

fn perform<T: Parser>(name: &str, words: &[OsString], show: impl AsyncFnOnce(T) -> anyhow::Result<u8>) -> ExitCode {
    let options = match T::try_parse_from([name.into()].iter().chain(words)) {
        Ok(options) => options,
        Err(error) => {
            // Nobody is left to tell if this cannot be printed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(show(options)));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

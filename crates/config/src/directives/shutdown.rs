//! What a shutdown waits for, and what the signals that ask for one mean.

use std::time::Duration;

use crate::choice;
use crate::config::{Config, from_seconds, seconds};
use crate::quantity::{INT, decimal};
use crate::spec::{Flags, How, Lines, Refusal, Spec, number, special};

/// What a shutdown does.
#[derive(Debug, Clone, PartialEq)]
pub struct Shutdown {
    /// `shutdown-timeout`: how long it waits for replicas that lag behind; zero does not wait.
    pub timeout: Duration,
    /// `shutdown-on-sigint`.
    pub on_sigint: ShutdownOptions,
    /// `shutdown-on-sigterm`.
    pub on_sigterm: ShutdownOptions,
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown {
            timeout: Duration::from_secs(10),
            on_sigint: ShutdownOptions::default(),
            on_sigterm: ShutdownOptions::default(),
        }
    }
}

/// What SHUTDOWN may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShutdownOptions {
    /// Whether the dataset is saved; by default it is if there are save points.
    pub save: Saving,
    /// Replicas that lag behind are not waited for.
    pub now: bool,
    /// Errors don't prevent it.
    pub force: bool,
}

/// Whether a shutdown saves the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Saving {
    /// If there are save points.
    #[default]
    IfConfigured,
    /// Yes.
    Always,
    /// No.
    Never,
}

pub(super) static TABLE: &[Spec] = &[
    number(
        "shutdown-timeout",
        decimal(0, INT),
        |c| seconds(c.shutdown.timeout),
        |c, n| c.shutdown.timeout = from_seconds(n),
    ),
    special(
        "shutdown-on-sigint",
        |c| show(c.shutdown.on_sigint),
        |c, arguments, _| parse(arguments).map(|options| c.shutdown.on_sigint = options),
        Lines::Words,
    )
    .is(Flags::MANY),
    special(
        "shutdown-on-sigterm",
        |c| show(c.shutdown.on_sigterm),
        |c: &mut Config, arguments, _: How| parse(arguments).map(|options| c.shutdown.on_sigterm = options),
        Lines::Words,
    )
    .is(Flags::MANY),
];

const WORDS: &[&str] = &["default", "save", "nosave", "now", "force"];

fn parse(arguments: &[&[u8]]) -> Result<ShutdownOptions, Refusal> {
    let mut options = ShutdownOptions::default();
    let (mut save, mut nosave) = (false, false);
    if arguments.is_empty() {
        return Err(choice::none_of(WORDS));
    }
    for argument in arguments {
        match choice::find(WORDS, argument)? {
            "save" => save = true,
            "nosave" => nosave = true,
            "now" => options.now = true,
            "force" => options.force = true,
            _ => {}
        }
    }
    options.save = match (save, nosave) {
        (true, true) => return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into()),
        (true, false) => Saving::Always,
        (false, true) => Saving::Never,
        (false, false) => Saving::IfConfigured,
    };
    Ok(options)
}

fn show(options: ShutdownOptions) -> Vec<u8> {
    let save = match options.save {
        Saving::IfConfigured => None,
        Saving::Always => Some("save"),
        Saving::Never => Some("nosave"),
    };
    let words = [save, options.now.then_some("now"), options.force.then_some("force")];
    let words: Vec<&str> = words.into_iter().flatten().collect();
    if words.is_empty() { b"default".to_vec() } else { words.join(" ").into_bytes() }
}

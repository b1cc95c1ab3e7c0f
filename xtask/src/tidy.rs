//! `cargo xtask tidy`: the house rules as code.
//!
//! Each rule is a module that reads the tracked files (or what cargo says of the packages) and pushes violations; none
//! reads the disk itself, so each is tested with a few lines of fixture that break it. Exceptions stand in tables beside
//! their rule, or in `xtask/ratchet.txt`, with a reason, and an exception that nothing needs any more is a violation too.

mod links;
mod machines;
mod manifests;
mod places;
mod rooms;
mod size;
mod source;
mod text;
mod tree;
mod words;

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;

use self::source::Sources;
use self::tree::Tree;
use crate::workspace;

/// Checks the house rules.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Lowers the entries of xtask/ratchet.txt to what is there, and removes those that nothing needs.
    #[arg(long)]
    shrink: bool,
}

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    file: String,
    /// From 1; 0 if the file as a whole is meant.
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

/// What the rules have found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn push(&mut self, file: &str, line: usize, what: impl Into<String>) {
        self.0.push(Violation { file: file.to_owned(), line, what: what.into() });
    }

    /// `file:line` of each, as tests compare them.
    #[cfg(test)]
    fn places(self) -> Vec<String> {
        self.0.into_iter().map(|found| format!("{}:{}", found.file, found.line)).collect()
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.shrink {
        size::shrink(&Tree::tracked()?)?;
    }
    let violations = violations()?;
    for violation in &violations {
        println!("{violation}");
    }
    println!("tidy: {} violations", violations.len());
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that breaks a rule, by file and line.
pub(crate) fn violations() -> Result<Vec<Violation>> {
    let tree = Tree::tracked()?;
    let mut found = Findings::default();
    let sources = Sources::parse(&tree, &mut found);
    rooms::check(&workspace::metadata()?, &mut found)?;
    machines::check(&sources, &mut found);
    size::check(&tree, &sources, &mut found);
    text::check(&tree, &mut found);
    words::check(&sources, &mut found);
    links::check(&tree, &mut found);
    places::check(&tree, &mut found);
    manifests::check(&tree, &sources, &mut found);
    found.0.sort();
    Ok(found.0)
}

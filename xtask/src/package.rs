//! `cargo xtask package`: the Debian package of a release build, with completions, the manual, and the list of what it is made of.
//!
//! The package is made by `deploy/debian/build.sh` and dpkg-deb, which every Debian has, and not by a crate that would build them anew.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::sbom;
use crate::workspace::{self, cargo, root};

/// Makes the Debian package.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A binary that is built already.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where the package goes; target/debian without it.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => {
            let built = cargo().args(["build", "--release", "--locked", "-p", "quorate-server"]).status()?;
            ensure!(built.success(), "the release is not built");
            workspace::built(&workspace::metadata()?)?.join("release/quorate")
        }
    };
    let out = match &options.out {
        Some(out) => out.clone(),
        None => workspace::scratch("debian")?,
    };
    let mut build = Command::new(root().join("deploy/debian/build.sh"));
    build.arg(binary).arg(out).env("SBOM", sbom::write(None)?);
    let status = build.status().context("start deploy/debian/build.sh")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

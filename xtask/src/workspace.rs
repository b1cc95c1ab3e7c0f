//! Where things are: the workspace's root, and the place below `target/` for what these tools fetch or write.
//!
//! That place does not follow `CARGO_TARGET_DIR`, so that tests find the peers at one path however they were built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The directory that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies one level below the root")
}

/// `target/<name>`, which exists afterwards.
pub(crate) fn scratch(name: &str) -> Result<PathBuf> {
    let path = root().join("target").join(name);
    fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    Ok(path)
}

/// The cargo that runs this program, at the root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The directory that cargo builds into.
pub(crate) fn built(metadata: &serde_json::Value) -> Result<PathBuf> {
    Ok(metadata["target_directory"].as_str().context("cargo names its target directory")?.into())
}

/// What `cargo metadata` says of the members; dependencies of theirs as they are declared.
pub(crate) fn metadata() -> Result<serde_json::Value> {
    let text = output(cargo().args(["metadata", "--format-version", "1", "--no-deps", "--offline"]))?;
    serde_json::from_str(&text).context("read the output of cargo metadata")
}

/// Runs a command to its end; its standard output, if it succeeded.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("start {command:?}"))?;
    ensure!(
        out.status.success(),
        "{command:?} failed ({}): {}",
        out.status,
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The first program of this name on `PATH`.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
}

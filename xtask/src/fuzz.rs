//! `cargo xtask fuzz`: the decoders against libFuzzer.
//!
//! The targets are in `fuzz/`, a workspace of its own. Only a nightly compiler has a flag for the fuzzer's coverage, but
//! the stable one has LLVM's pass for it, and that is all that libFuzzer needs; so cargo-fuzz is not needed either. The
//! sanitizers are left out: the decoders are safe Rust, and their panics, assertions and overflows are what is looked for.
//! What the fuzzer has learned stays below `target/fuzz-corpus`, and what it has found below `target/fuzz-findings`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Runs the fuzz targets, one after the other.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Targets such as rdb; all if none.
    targets: Vec<String>,
    /// How long each runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Coverage of every edge, and of what is compared with what.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
/// What one input may take: seconds, and MiB of memory in all.
const LIMITS: [&str; 2] = ["-timeout=10", "-rss_limit_mb=2048"];

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let known = targets()?;
    for target in &options.targets {
        ensure!(known.contains(target), "there is no target {target}; there are {}", known.join(", "));
    }
    let place = build()?;
    let chosen = if options.targets.is_empty() { &known } else { &options.targets };
    let mut found = Vec::new();
    for target in chosen {
        println!("== {target}");
        let corpus = workspace::scratch("fuzz-corpus")?.join(target);
        std::fs::create_dir_all(&corpus)?;
        let findings = workspace::scratch("fuzz-findings")?;
        let mut command = Command::new(place.join(target));
        command.arg(&corpus).args(LIMITS).args(["-print_final_stats=1", "-verbosity=0"]);
        command.arg(format!("-max_total_time={}", options.seconds));
        command.arg(format!("-artifact_prefix={}/{target}-", findings.display()));
        if !command.status().with_context(|| format!("start {command:?}"))?.success() {
            found.push(target.as_str());
        }
    }
    for target in &found {
        println!("{target}: found something, see {}", workspace::scratch("fuzz-findings")?.display());
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The targets by name, in the manifest's order.
fn targets() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(workspace::root().join("fuzz/Cargo.toml"))?;
    let manifest: toml::Table = text.parse().context("read fuzz/Cargo.toml")?;
    let targets = manifest.get("bin").and_then(toml::Value::as_array).context("fuzz/Cargo.toml lists its targets")?;
    let name = |target: &toml::Value| target.get("name").and_then(toml::Value::as_str).map(str::to_owned);
    targets.iter().map(|target| name(target).context("a target has a name")).collect()
}

/// Builds them; where they are.
fn build() -> Result<PathBuf> {
    let version = workspace::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names its host")?;
    let place = workspace::scratch("fuzz")?;
    // A named target keeps the flags away from build scripts.
    let mut command = workspace::cargo();
    command.env("RUSTFLAGS", COVERAGE).args([
        "build",
        "--release",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target",
        host,
    ]);
    let built = command.arg("--target-dir").arg(&place).status().context("start cargo")?.success();
    ensure!(built, "the fuzz targets do not build");
    Ok(place.join(host).join("release"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_the_manifest_has_its_file_and_the_other_way_round() {
        let mut named = targets().unwrap();
        let mut files: Vec<String> = std::fs::read_dir(workspace::root().join("fuzz/fuzz_targets"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        named.sort();
        files.sort();
        assert_eq!(named, files);
    }
}

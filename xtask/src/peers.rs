//! `cargo xtask peers`: the programs and client libraries of others that tests talk to.
//!
//! Debian's Redis 7.0.15, Tcl and Chromium come with apt, redis-py, redlock-py, Prometheus' parser and PyYAML with pip into
//! `target/peers/py`, ioredis, redlock and axe-core with npm into `target/peers/node`. What cannot be had here is skipped loudly,
//! and the tests that need it skip loudly too. Debian's packages start services when they are installed; these are kept from it,
//! because tests start their own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::{self, output, program};

/// Installs the programs and client libraries that tests talk to.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Installs nothing, and fails if something is missing.
    #[arg(long)]
    check: bool,
}

const REDIS: &str = "7.0.15";
const REDIS_PY: &str = "8.1.0";
const IOREDIS: &str = "6.0.0";
const AXE_CORE: &str = "4.14.1";
const PROMETHEUS_CLIENT: &str = "0.26.0";
const PYYAML: &str = "6.0.3";
const REDLOCK_PY: &str = "1.0.8";
const REDLOCK_JS: &str = "5.0.0-beta.2";

/// Where local policy tells Debian's packages which services they may start.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A peer by its name, with how it is found and where it comes from.
struct Peer {
    name: &'static str,
    /// Its version and place; an error says why it cannot serve.
    find: fn(&Peer) -> Result<(String, PathBuf)>,
    from: Origin,
}

#[derive(Clone, Copy, PartialEq)]
enum Origin {
    /// Debian's package of this name.
    Debian(&'static str),
    Pip,
    Npm,
}

const PEERS: &[Peer] = &[
    Peer { name: "redis-server", find: redis, from: Origin::Debian("redis-server") },
    Peer { name: "redis-sentinel", find: redis, from: Origin::Debian("redis-sentinel") },
    Peer { name: "redis-cli", find: redis, from: Origin::Debian("redis-tools") },
    Peer { name: "tclsh", find: any_version, from: Origin::Debian("tcl") },
    Peer { name: "dpkg-source", find: any_version, from: Origin::Debian("dpkg-dev") },
    Peer { name: "python3", find: any_version, from: Origin::Debian("python3-venv") },
    Peer { name: "redis-py", find: redis_py, from: Origin::Pip },
    Peer { name: "redlock-py", find: redlock_py, from: Origin::Pip },
    Peer { name: "prometheus", find: prometheus_client, from: Origin::Pip },
    Peer { name: "PyYAML", find: pyyaml, from: Origin::Pip },
    Peer { name: "node", find: any_version, from: Origin::Debian("nodejs") },
    Peer { name: "npm", find: any_version, from: Origin::Debian("npm") },
    Peer { name: "chromium", find: any_version, from: Origin::Debian("chromium") },
    Peer { name: "chromedriver", find: any_version, from: Origin::Debian("chromium-driver") },
    Peer { name: "axe-core", find: axe_core, from: Origin::Npm },
    Peer { name: "ioredis", find: ioredis, from: Origin::Npm },
    Peer { name: "redlock (npm)", find: redlock_js, from: Origin::Npm },
];

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let skipped = provide(!options.check)?;
    Ok(if options.check && !skipped.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Installs what is missing, if asked to, and prints what is there; a line for each peer that is not.
pub(crate) fn provide(install: bool) -> Result<Vec<String>> {
    let mut refusals = Vec::new();
    if install {
        if missing().any(|peer| matches!(peer.from, Origin::Debian(_))) {
            refusals.extend(install_packages().err());
        }
        if missing().any(|peer| peer.from == Origin::Pip) {
            refusals.extend(install_for_python().err());
        }
        if missing().any(|peer| peer.from == Origin::Npm) {
            refusals.extend(install_for_node().err());
        }
    }
    let mut skipped = Vec::new();
    for peer in PEERS {
        match (peer.find)(peer) {
            Ok((version, place)) => println!("{:<15} {version:<12} {}", peer.name, place.display()),
            Err(error) => skipped.push(format!("SKIPPED peers {}: {error:#}", peer.name)),
        }
    }
    for line in &skipped {
        println!("{line}");
    }
    for refusal in refusals {
        println!("    {refusal:#}");
    }
    Ok(skipped)
}

fn missing() -> impl Iterator<Item = &'static Peer> {
    PEERS.iter().filter(|peer| (peer.find)(peer).is_err())
}

/// A program of exactly the version that the tests' expectations come from.
fn redis(peer: &Peer) -> Result<(String, PathBuf)> {
    let (path, printed) = version_of(peer.name)?;
    let version = first_version(&printed).context("it prints no version")?;
    ensure!(version == REDIS, "{} is version {version}, not {REDIS}", path.display());
    Ok((version, path))
}

fn any_version(peer: &Peer) -> Result<(String, PathBuf)> {
    if peer.name == "tclsh" {
        // It has no option for its version, but runs a script that it reads.
        let path = program(peer.name).context("not installed")?;
        let script = "echo 'puts [info patchlevel]' | tclsh";
        return Ok((output(Command::new("sh").args(["-c", script]))?.trim().to_owned(), path));
    }
    let (path, printed) = version_of(peer.name)?;
    Ok((first_version(&printed).context("it prints no version")?, path))
}

fn version_of(name: &str) -> Result<(PathBuf, String)> {
    let path = program(name).context("not installed")?;
    let printed = output(Command::new(&path).arg("--version"))?;
    Ok((path, printed))
}

/// The first word that begins with a number and holds a dot, after `v=` or `v`.
fn first_version(text: &str) -> Option<String> {
    let words = text.split_whitespace().map(|word| word.trim_start_matches("v=").trim_start_matches('v'));
    let is_version = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    words.into_iter().find(is_version).map(str::to_owned)
}

fn redis_py(_: &Peer) -> Result<(String, PathBuf)> {
    of_python("redis", REDIS_PY)
}

fn redlock_py(_: &Peer) -> Result<(String, PathBuf)> {
    of_python("redlock-py", REDLOCK_PY)
}

fn prometheus_client(_: &Peer) -> Result<(String, PathBuf)> {
    of_python("prometheus-client", PROMETHEUS_CLIENT)
}

fn pyyaml(_: &Peer) -> Result<(String, PathBuf)> {
    of_python("PyYAML", PYYAML)
}

fn ioredis(_: &Peer) -> Result<(String, PathBuf)> {
    of_node("ioredis", IOREDIS)
}

fn axe_core(_: &Peer) -> Result<(String, PathBuf)> {
    of_node("axe-core", AXE_CORE)
}

fn redlock_js(_: &Peer) -> Result<(String, PathBuf)> {
    of_node("redlock", REDLOCK_JS)
}

/// A package that pip has installed, of exactly this version.
fn of_python(package: &str, wanted: &str) -> Result<(String, PathBuf)> {
    let place = workspace::scratch("peers")?.join("py");
    let python = place.join("bin/python");
    ensure!(python.exists(), "not installed");
    let script = format!("import importlib.metadata as m; print(m.version('{package}'))");
    let version = output(Command::new(python).args(["-c", &script]))?.trim().to_owned();
    ensure!(version == wanted, "version {version}, not {wanted}");
    Ok((version, place))
}

/// A package that npm has installed, of exactly this version.
fn of_node(package: &str, wanted: &str) -> Result<(String, PathBuf)> {
    let place = workspace::scratch("peers/node")?;
    let manifest = place.join("node_modules").join(package).join("package.json");
    ensure!(manifest.exists(), "not installed");
    let script = "console.log(JSON.parse(require('fs').readFileSync(process.argv[1])).version)";
    let printed = output(Command::new("node").args(["-e", script]).arg(manifest))?;
    let version = printed.trim().trim_start_matches('v').to_owned();
    ensure!(version == wanted, "version {version}, not {wanted}");
    Ok((version, place))
}

fn install_packages() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "only root can install Debian's packages");
    let apt = program("apt-get").context("there is no apt-get here")?;
    let package = |peer: &Peer| match peer.from {
        Origin::Debian(package) => Some(package),
        Origin::Pip | Origin::Npm => None,
    };
    let packages: Vec<&str> = missing().filter_map(package).collect();
    println!("apt-get install {}", packages.join(" "));
    let _policy = NoServices::declare(Path::new(POLICY))?;
    let mut update = Command::new(&apt);
    output(update.args(["-q", "update"]))?;
    let mut install = Command::new(&apt);
    install.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y", "--no-install-recommends", "install"]);
    output(install.args(packages))?;
    Ok(())
}

/// While this lives, packages do not start their services. A policy that is there already stays as it is.
struct NoServices<'a>(Option<&'a Path>);

impl<'a> NoServices<'a> {
    fn declare(path: &'a Path) -> Result<NoServices<'a>> {
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path) {
            Ok(mut file) => {
                let policy = NoServices(Some(path));
                file.write_all(b"#!/bin/sh\nexit 101\n")?;
                Ok(policy)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(NoServices(None)),
            Err(error) => bail!("forbid services in {}: {error}", path.display()),
        }
    }
}

impl Drop for NoServices<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

fn install_for_python() -> Result<()> {
    let place = workspace::scratch("peers")?.join("py");
    let wanted = [
        format!("redis=={REDIS_PY}"),
        format!("redlock-py=={REDLOCK_PY}"),
        format!("prometheus-client=={PROMETHEUS_CLIENT}"),
        format!("PyYAML=={PYYAML}"),
    ];
    println!("pip install {} into {}", wanted.join(" "), place.display());
    output(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
    output(Command::new(place.join("bin/python")).args(["-m", "pip", "install", "--quiet"]).args(wanted))?;
    Ok(())
}

fn install_for_node() -> Result<()> {
    let place = workspace::scratch("peers/node")?;
    let wanted = [format!("ioredis@{IOREDIS}"), format!("redlock@{REDLOCK_JS}"), format!("axe-core@{AXE_CORE}")];
    println!("npm install {} into {}", wanted.join(" "), place.display());
    output(Command::new("npm").args(["install", "--no-save", "--prefix"]).arg(&place).args(wanted))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_print() {
        for (printed, version) in [
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64", Some("7.0.15")),
            ("redis-cli 7.0.15", Some("7.0.15")),
            ("Python 3.11.7\n", Some("3.11.7")),
            ("v20.20.2", Some("20.20.2")),
            ("no version here", None),
        ] {
            assert_eq!(first_version(printed).as_deref(), version, "{printed}");
        }
    }

    #[test]
    fn a_policy_against_services_is_taken_back_and_one_that_was_there_stays() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("policy-rc.d");
        let policy = NoServices::declare(&path).unwrap();
        assert_eq!(Command::new(&path).status().unwrap().code(), Some(101));
        drop(policy);
        assert!(!path.exists());
        fs::write(&path, "theirs").unwrap();
        drop(NoServices::declare(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert!(NoServices::declare(Path::new("/nowhere/policy-rc.d")).is_err());
    }
}

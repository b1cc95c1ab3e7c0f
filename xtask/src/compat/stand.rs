//! A test stand: a fresh copy of the suite's tree with the server under test in it, and the run of one file there.
//!
//! Files run in trees of their own because they leave servers' directories behind, and because a file that is killed
//! leaves them in any state. The suite's own search for free ports does not see every port that another run of it uses,
//! so a stand owns a range of ports, and holds its first one open as the sign of that.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::transcript::{End, Transcript, read_instances, read_units};
use crate::process::{Ended, end_strays, run_group};
use crate::workspace::{self, output};

/// Programs of Debian's redis-tools that the suite starts beside the server.
const TOOLS: &[&str] = &["redis-cli", "redis-benchmark", "redis-check-rdb", "redis-check-aof"];
/// What of the source package the suite reads.
const PARTS: &[&str] =
    &["tests", "utils", "runtest", "runtest-sentinel", "runtest-cluster", "redis.conf", "sentinel.conf"];
/// A directive that every server of ours gets beyond the suite's own.
pub(super) struct Directive {
    pub(super) name: &'static str,
    pub(super) value: &'static str,
    pub(super) why: &'static str,
}

/// All of them; docs/compat.md lists them.
pub(super) const DIRECTIVES: &[Directive] = &[
    Directive {
        name: "set-max-listpack-entries",
        value: "0",
        why: "7.0 knows no listpack encoding of sets, which came with 7.2; its tests expect a hash table in its place.",
    },
    Directive {
        name: "network-threads",
        value: "1",
        why: "Tests write to one connection after the other without awaiting replies, and take for granted that the \
              requests are served in that order. Connections of different threads have none.",
    },
    Directive {
        name: "repl-backlog-size",
        value: "1mb",
        why: "It is the default of 7.0. A test takes the backlog's growth beyond it for a full socket.",
    },
];

/// What is changed in the suite's files for a server of ours: only what would take others along for the sake of a part
/// that they are not about.
pub(super) struct Change {
    pub(super) file: &'static str,
    pub(super) text: &'static str,
    pub(super) instead: &'static str,
    pub(super) why: &'static str,
}

/// All of them; docs/compat.md lists them.
pub(super) const CHANGES: &[Change] = &[
    Change {
        file: "tests/unit/introspection.tcl",
        text: "            socket-mark-id\n        }\n",
        instead: "            socket-mark-id\n metrics-port metrics-bind dashboard dashboard-port dashboard-bind\n        }\n",
        why: "The test of CONFIG SET leaves out what can't be changed while a server runs, and does not know that these \
              of ours can't.",
    },
    Change {
        file: "tests/unit/type/set.tcl",
        text: "    proc setup_move {} {\n",
        instead: "    proc setup_move {} {\n        r config set set-max-intset-entries 512\n",
        why: "The test on chains of a hash table, which is not applicable, stops before it puts this directive back, \
              and the tests of SMOVE behind it ask for intsets.",
    },
    Change { file: "tests/unit/acl.tcl", text: "NOPERM*channels*", instead: "NOPERM*channel*", why: DENIALS },
    Change { file: "tests/unit/acl.tcl", text: "\"This user has no", instead: "\"User scripter has no", why: DENIALS },
    Change { file: "tests/unit/acl-v2.tcl", text: "NOPERM*keys*", instead: "NOPERM*key*", why: DENIALS },
    Change {
        file: "tests/unit/acl-v2.tcl",
        text: "NOPERM this user has no permissions to access one of the keys used as arguments",
        instead: "NOPERM No permissions to access a key",
        why: DENIALS,
    },
    Change {
        file: "tests/unit/acl-v2.tcl",
        text: "\"This user has no permissions to access the 'otherchannel'",
        instead: "\"User test-channels has no permissions to access the 'otherchannel'",
        why: DENIALS,
    },
    Change {
        file: "tests/unit/acl-v2.tcl",
        text: "\"This user has no",
        instead: "\"User command-test has no",
        why: DENIALS,
    },
    Change {
        file: "tests/cluster/tests/27-endpoints.tcl",
        text: "        R $j CLUSTER FORGET $node_id\n",
        instead: "        catch {R $j CLUSTER FORGET $node_id}\n",
        why: "As in 7.2, a node that forgets another tells the others, so that they may not know it any more when they are \
              told by the test.",
    },
    Change {
        file: "tests/cluster/tests/28-cluster-shards.tcl",
        text: "        R $i CLUSTER FORGET $id\n",
        instead: "        catch {R $i CLUSTER FORGET $id}\n",
        why: "The same.",
    },
    Change {
        file: "tests/cluster/tests/28-cluster-shards.tcl",
        text: "    R 4 cluster failover force\n",
        instead: "    catch {R 4 cluster failover force}\n",
        why: "The replica of a killed node may have taken over by itself before the test tells it to.",
    },
];
/// Why texts of the tests of users are changed.
const DENIALS: &str = "What a user may not do is told in the words of 7.2, which name the user.";
/// Where the ranges of ports begin that stands choose from, and how many ports each has. Cluster buses use the same
/// ports plus 10000, which are none either that the kernel gives to connections.
const RANGES: std::ops::Range<u16> = 12_000..22_000;
const RANGE: u16 = 500;
/// Where the frameworks of Sentinel and Cluster begin in a range with Sentinels, and with servers.
const SENTINELS: u16 = 50;
const SERVERS: u16 = 250;
/// The suite's test server listens below its servers' ports.
const CONTROL_PORTS: u16 = 50;
/// A path of a Unix socket holds at most so many bytes.
const SOCKET_PATH: usize = 107;

/// The server that is tested.
#[derive(Clone, Debug)]
pub(super) enum Server {
    /// Debian's.
    Real,
    /// The `quorate` binary at this path.
    Ours(PathBuf),
}

/// One run of one file.
pub(super) struct Run {
    pub(super) transcript: Transcript,
    pub(super) took: Duration,
    pub(super) log: PathBuf,
    /// Where the servers' directories are, if they were to be kept.
    pub(super) kept: Option<PathBuf>,
}

pub(super) struct Stand<'a> {
    source: &'a Path,
    server: &'a Server,
    /// Whether the servers' directories stay for a look at their logs, until the next run.
    keep: bool,
    tree: PathBuf,
    /// The first port of the stand's range.
    ports: TcpListener,
}

impl<'a> Stand<'a> {
    /// Takes a free range of ports; the stand's directory has the range's number.
    pub(super) fn new(source: &'a Path, server: &'a Server, keep: bool) -> Result<Stand<'a>> {
        let mut ranges = (0..).zip(RANGES.step_by(usize::from(RANGE)));
        let bound = |(number, port)| Some((number, TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?));
        let (number, ports): (u16, _) = ranges.find_map(bound).context("every range of ports is in use")?;
        let tree = workspace::scratch("compat")?.join(format!("stand{number}"));
        let longest = tree.join("tests/tmp/server.4194304.999/socket");
        ensure!(
            longest.as_os_str().len() <= SOCKET_PATH,
            "{} is too long for a Unix socket; check the repository out at a shorter path",
            longest.display()
        );
        Ok(Stand { source, server, keep, tree, ports })
    }

    /// Runs one file of the suite, for so long at most.
    pub(super) fn run(&self, file: &str, limit: Duration) -> Result<Run> {
        self.clear()?;
        self.build()?;
        let log = workspace::scratch("compat/logs")?.join(format!("{}.log", file.replace('/', "-")));
        let out = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut command = self.command(file, limit)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let start = Instant::now();
        let ended = run_group(&mut command, limit);
        let took = start.elapsed();
        self.end_strays()?;
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let mut transcript = if is_instances(file) { read_instances(&text) } else { read_units(&text, file) };
        if matches!(ended?, Ended::TimedOut) {
            transcript.end = End::Aborted(format!("not finished after {} s", limit.as_secs()));
        }
        let kept = self.keep.then(|| self.tree.join("tests/tmp"));
        Ok(Run { transcript, took, log, kept })
    }

    /// Removes what an earlier run left.
    fn clear(&self) -> Result<()> {
        if !self.tree.exists() {
            return Ok(());
        }
        self.end_strays()?;
        fs::remove_dir_all(&self.tree).with_context(|| format!("remove {}", self.tree.display()))
    }

    /// Ends servers that left the process group and still work in the tree.
    fn end_strays(&self) -> Result<()> {
        let server = match self.server {
            Server::Real => debian("redis-server")?,
            Server::Ours(binary) => binary.clone(),
        };
        end_strays(&self.tree.canonicalize()?, &[&server.canonicalize()?])
    }

    fn build(&self) -> Result<()> {
        let programs = self.tree.join("src");
        fs::create_dir_all(&programs)?;
        let parts = PARTS.iter().map(|part| self.source.join(part));
        output(Command::new("cp").arg("-a").args(parts).arg(&self.tree))?;
        if let Server::Ours(_) = self.server {
            self.change()?;
        }
        self.set_ports()?;
        for tool in TOOLS {
            symlink(debian(tool)?, programs.join(tool))?;
        }
        for (name, mode) in [("redis-server", "server"), ("redis-sentinel", "sentinel")] {
            let path = programs.join(name);
            match self.server {
                Server::Real => match debian(name) {
                    Ok(program) => symlink(program, path)?,
                    // Only the framework of Sentinel starts it.
                    Err(_) if name == "redis-sentinel" => {}
                    Err(error) => return Err(error),
                },
                Server::Ours(binary) => {
                    fs::write(&path, wrapper(binary, mode))?;
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                }
            }
        }
        Ok(())
    }

    fn change(&self) -> Result<()> {
        for Change { file, text, instead, .. } in CHANGES {
            let path = self.tree.join(file);
            let source = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            ensure!(source.contains(text), "{file} does not say {text}, which was to be changed");
            fs::write(&path, source.replace(text, instead))?;
        }
        Ok(())
    }

    /// The frameworks of Sentinel and Cluster have no option for where their ports begin.
    fn set_ports(&self) -> Result<()> {
        let first = self.ports.local_addr()?.port();
        let path = self.tree.join("tests/instances.tcl");
        let mut source = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        for (name, before, port) in
            [("sentinel_base_port", 20000, first + SENTINELS), ("redis_base_port", 30000, first + SERVERS)]
        {
            let (line, instead) = (format!("set ::{name} {before}\n"), format!("set ::{name} {port}\n"));
            ensure!(source.contains(&line), "{} does not set {name} as it did", path.display());
            source = source.replace(&line, &instead);
        }
        fs::write(&path, source).with_context(|| format!("write {}", path.display()))
    }

    fn command(&self, file: &str, limit: Duration) -> Result<Command> {
        let (program, unit) = match file.split_once("/tests/") {
            Some((framework, unit)) => (format!("./runtest-{framework}"), unit),
            None => ("./runtest".to_owned(), file),
        };
        let mut command = Command::new(program);
        // The marks are read back, so they must have no colours.
        command.current_dir(&self.tree).env("TERM", "dumb").env("LC_ALL", "C.UTF-8").args(["--single", unit]);
        if self.keep {
            command.arg("--dont-clean");
        }
        if !is_instances(file) {
            let first = self.ports.local_addr()?.port() + CONTROL_PORTS;
            command.args(["--clients", "1", "--durable"]);
            command.args(["--baseport", &first.to_string(), "--portcount", &(RANGE - CONTROL_PORTS).to_string()]);
            command.args(["--timeout", &limit.as_secs().to_string()]);
            if let Server::Ours(_) = self.server {
                command.args(DIRECTIVES.iter().flat_map(|one| ["--config", one.name, one.value]));
            }
        }
        Ok(command)
    }
}

/// The script that stands in the place of `redis-server` or `redis-sentinel`.
///
/// The suite knows its servers by the pid that it started, so the shell must become the server.
fn wrapper(binary: &Path, mode: &str) -> String {
    let quoted = binary.display().to_string().replace('\'', r"'\''");
    let before = if mode == "sentinel" { GIVE_ID } else { "" };
    format!("#!/bin/sh\n{before}exec '{quoted}' {mode} \"$@\"\n")
}

/// What stands before the start of a Sentinel of ours; [`NEWCOMERS`] says why.
const GIVE_ID: &str = "grep -q '^sentinel myid' \"$1\" ||\n  \
    printf 'sentinel myid %s\\n' \"$(od -An -N20 -tx1 /dev/urandom | tr -d ' \\n')\" >> \"$1\"\n";

/// docs/compat.md says it, too.
pub(super) const NEWCOMERS: &str = "A Sentinel has an id from its start, as one that has run before. One of ours that has \
    none abstains for 10 s, because it may have lost its disk and with it the memory of a vote, and each file of the suite \
    starts its Sentinels anew and is mostly over by then.";

/// Whether a file belongs to the frameworks of Sentinel or Cluster, which start all instances first.
fn is_instances(file: &str) -> bool {
    file.contains("/tests/")
}

/// A program of Debian's packages of Redis.
fn debian(name: &str) -> Result<PathBuf> {
    workspace::program(name).with_context(|| format!("{name} is not installed (cargo xtask peers)"))
}

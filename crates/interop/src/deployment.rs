//! A deployment with Sentinels: servers and Sentinels of either make as processes, which tests kill, freeze and start again.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use quorate_client::{Client, Reply};

use crate::server::{PATIENCE, await_that, binary, free_port, is_redis_installed, pause};

/// Who made a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// We.
    Ours,
    /// Debian's Redis.
    Redis,
}

/// The primary's name.
pub const NAME: &str = "mymaster";

/// A server or a Sentinel with a configuration file of its own, which it may rewrite.
#[derive(Debug)]
pub struct Process {
    child: Option<Child>,
    argv: Vec<OsString>,
    port: u16,
    directory: tempfile::TempDir,
}

impl Process {
    /// Starts a server with these lines in its configuration.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn server(make: Make, lines: &str) -> Process {
        let program = match make {
            Make::Ours => vec![binary(), "server".into()],
            Make::Redis => vec!["redis-server".into()],
        };
        Process::launch(program, &format!("save \"\"\n{lines}"))
    }

    /// Starts a Sentinel with these lines in its configuration.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn sentinel(make: Make, lines: &str) -> Process {
        let program = match make {
            Make::Ours => vec![binary(), "sentinel".into()],
            Make::Redis => vec!["redis-sentinel".into()],
        };
        Process::launch(program, lines)
    }

    fn launch(program: Vec<OsString>, lines: &str) -> Process {
        let port = free_port();
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let file = directory.path().join("conf");
        let text = format!("port {port}\nbind 127.0.0.1\ndir {}\n{lines}\n", directory.path().display());
        std::fs::write(&file, text).expect("there is room for a file");
        let argv = program.into_iter().chain([file.into_os_string()]).collect();
        let mut process = Process { child: None, argv, port, directory };
        process.start();
        process
    }

    /// Starts it, or starts it again, with the configuration as it left it.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn start(&mut self) {
        self.spawn();
        let deadline = Instant::now() + PATIENCE;
        while self.call(&["PING"]) != Some(Reply::Simple(b"PONG".to_vec())) {
            let ended = self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            assert!(!ended, "port {} has ended:\n{}", self.port, self.log());
            assert!(Instant::now() < deadline, "port {} does not answer:\n{}", self.port, self.log());
            pause();
        }
    }

    /// Starts it, and does not wait until it answers.
    ///
    /// # Panics
    /// If there is no such program.
    pub fn spawn(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.directory.path().join("log"));
        let log = log.expect("there is room for a log");
        let errors = log.try_clone().expect("a descriptor can be had twice");
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).stdin(Stdio::null()).stdout(log).stderr(errors);
        self.child = Some(command.spawn().expect("the program can be started"));
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it has ended by itself, and did so with success.
    pub fn ended(&mut self) -> Option<bool> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        Some(status.success())
    }

    /// Stops it, or lets it go on.
    ///
    /// # Panics
    /// If there is no `kill`.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let done = Command::new("kill").args([signal, &pid]).status();
        assert!(done.is_ok_and(|status| status.success()), "kill {signal} {pid}");
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its configuration file.
    pub fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("conf")
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Asks one question on a connection of its own; nothing if nobody answers.
    pub fn call(&self, words: &[&str]) -> Option<Reply> {
        Client::connect(self.address(), PATIENCE).ok()?.call(words).ok()
    }

    /// A field of INFO.
    pub fn info(&self, section: &str, field: &str) -> Option<String> {
        let Some(Reply::Bulk(text)) = self.call(&["INFO", section]) else { return None };
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(|value| value.trim().to_owned()))
    }

    /// The port of the primary that a Sentinel names.
    pub fn names(&self) -> Option<u16> {
        let Some(Reply::Array(items)) = self.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]) else { return None };
        let [_, Reply::Bulk(port)] = &items[..] else { return None };
        std::str::from_utf8(port).ok()?.parse().ok()
    }

    /// What a Sentinel tells of its primary.
    pub fn field(&self, name: &str) -> Option<String> {
        let Some(Reply::Array(items)) = self.call(&["SENTINEL", "MASTER", NAME]) else { return None };
        let texts: Vec<String> = items
            .into_iter()
            .filter_map(|item| match item {
                Reply::Bulk(text) => Some(String::from_utf8_lossy(&text).into_owned()),
                _ => None,
            })
            .collect();
        texts.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            // Who is stopped can't be waited for.
            self.signal("-CONT");
        }
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(60)..].join("\n");
            println!("---- the end of the log of port {}\n{end}", self.port);
        }
    }
}

/// A primary with its replicas, and the Sentinels that watch them.
#[derive(Debug)]
pub struct Deployment {
    /// The first one leads at the beginning.
    pub servers: Vec<Process>,
    /// The Sentinels.
    pub sentinels: Vec<Process>,
}

impl Deployment {
    /// Starts one, and waits until all know each other. `lines` belong to each Sentinel's configuration. `None`, and a
    /// line that says so, if it needs a Redis that is not installed.
    ///
    /// # Panics
    /// If they do not find each other.
    pub fn start(servers: &[Make], sentinels: &[Make], lines: &str) -> Option<Deployment> {
        Deployment::start_with(servers, "", sentinels, lines)
    }

    /// The same; `server_lines` belong to each server's configuration.
    ///
    /// # Panics
    /// If they do not find each other.
    pub fn start_with(servers: &[Make], server_lines: &str, sentinels: &[Make], lines: &str) -> Option<Deployment> {
        if servers.iter().chain(sentinels).any(|make| *make == Make::Redis) && !is_redis_installed() {
            println!("SKIPPED redis-server: not installed (cargo xtask peers)");
            return None;
        }
        let options = format!("repl-diskless-sync-delay 0\nenable-debug-command yes\n{server_lines}");
        let mut all: Vec<Process> = vec![Process::server(servers[0], &options)];
        let port = all[0].port();
        for make in &servers[1..] {
            all.push(Process::server(*make, &format!("{options}\nreplicaof 127.0.0.1 {port}")));
        }
        let quorum = sentinels.len() / 2 + 1;
        let mut text = String::new();
        write!(text, "sentinel monitor {NAME} 127.0.0.1 {port} {quorum}\n{lines}").expect("a string takes everything");
        // A Sentinel of ours that starts without an id abstains for a while, because it may have lost its memory.
        let id = |number: usize| format!("{:040x}", u128::from(port) << 8 | number as u128);
        let start =
            |(number, make): (usize, &Make)| Process::sentinel(*make, &format!("sentinel myid {}\n{text}", id(number)));
        let sentinels = sentinels.iter().enumerate().map(start).collect();
        let deployment = Deployment { servers: all, sentinels };
        deployment.await_acquaintance();
        Some(deployment)
    }

    /// Waits until every Sentinel knows all others and all replicas, and the replicas are linked.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn await_acquaintance(&self) {
        let (others, replicas) = ((self.sentinels.len() - 1).to_string(), (self.servers.len() - 1).to_string());
        for sentinel in &self.sentinels {
            await_that("the Sentinels know each other", || {
                let field = |name| sentinel.field(name);
                (field("num-other-sentinels"), field("num-slaves")) == (Some(others.clone()), Some(replicas.clone()))
                    && field("flags").as_deref() == Some("master")
                    && matches!(sentinel.call(&["SENTINEL", "CKQUORUM", NAME]), Some(Reply::Simple(_)))
            });
        }
        self.await_links();
    }

    /// Waits until every server but one follows, and its link is up.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn await_links(&self) {
        let is_linked = |server: &&Process| server.info("replication", "master_link_status").as_deref() == Some("up");
        let wanted = self.servers.len() - 1;
        await_that("the replicas are linked", || self.servers.iter().filter(is_linked).count() == wanted);
    }

    /// Waits until all Sentinels name the same server, which is not `old` and leads; which one that is.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn await_successor(&self, old: u16) -> usize {
        let mut found = None;
        await_that("all Sentinels name the same new primary", || {
            let mut named: Vec<Option<u16>> = self.sentinels.iter().map(Process::names).collect();
            named.dedup();
            let [Some(port)] = named[..] else { return false };
            found = self.servers.iter().position(|server| server.port() == port);
            let leads = |index: usize| self.servers[index].info("replication", "role").as_deref() == Some("master");
            port != old && found.is_some_and(leads)
        });
        found.expect("it was found")
    }

    /// Waits until all Sentinels name the same server, and all others follow it; which one that is.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn await_peace(&self) -> usize {
        let mut found = None;
        let replicas = (self.servers.len() - 1).to_string();
        await_that("one server leads all others, and all Sentinels name it", || {
            let mut named: Vec<Option<u16>> = self.sentinels.iter().map(Process::names).collect();
            named.dedup();
            let [Some(port)] = named[..] else { return false };
            found = self.servers.iter().position(|server| server.port() == port);
            let leads = |index: usize| {
                let info = |field| self.servers[index].info("replication", field);
                info("role").as_deref() == Some("master") && info("connected_slaves").as_ref() == Some(&replicas)
            };
            found.is_some_and(leads)
        });
        self.await_links();
        found.expect("it was found")
    }
}

//! Hosts with a process on each, that is started, killed, stopped and asked.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};
use rustix::process::{Pid, Signal, kill_process};

use super::Lan;
use crate::binary;

/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines of a log that are shown.
const SHOWN: usize = 25;

/// See the module's text.
pub(super) struct Stage {
    pub(super) lan: Lan,
    processes: Vec<Option<Child>>,
    place: tempfile::TempDir,
}

impl Stage {
    /// Makes so many hosts, on which nothing runs yet.
    pub(super) fn set(hosts: usize) -> Result<Stage, String> {
        let lan = Lan::lay(hosts)?;
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        Ok(Stage { lan, processes: (0..hosts).map(|_| None).collect(), place })
    }

    /// Where the files of all processes are.
    pub(super) fn place(&self) -> std::path::Display<'_> {
        self.place.path().display()
    }

    /// Writes the configuration of a host's process.
    pub(super) fn configure(&self, host: usize, text: &str) -> Result<(), String> {
        std::fs::write(self.file(host), text).map_err(|error| error.to_string())
    }

    fn file(&self, host: usize) -> std::path::PathBuf {
        self.place.path().join(format!("host{host}.conf"))
    }

    /// Starts a host's process, with the subcommand that it is.
    pub(super) fn start(&mut self, host: usize, kind: &str) -> Result<(), String> {
        let file = self.file(host);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(file.with_extension("log"));
        let log = log.map_err(|error| error.to_string())?;
        let mut command = Command::new(binary());
        command.arg(kind).arg(file).stdin(Stdio::null()).stderr(Stdio::null()).stdout(log);
        let child = self.lan.within(host, || command.spawn())?.map_err(|error| format!("{kind}: {error}"))?;
        self.processes[host] = Some(child);
        Ok(())
    }

    pub(super) fn kill(&mut self, host: usize) {
        if let Some(mut child) = self.processes[host].take() {
            // It may have ended by itself; one that is stopped dies all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal to a host's process; when.
    pub(super) fn signal(&self, host: usize, signal: Signal) -> Result<Instant, String> {
        let child = self.processes[host].as_ref().ok_or("it does not run")?;
        let sent = kill_process(Pid::from_child(child), signal);
        sent.map(|()| Instant::now()).map_err(|error| error.to_string())
    }

    /// Asks the process of a host, from its own host.
    pub(super) fn ask(&self, host: usize, port: u16, words: &[&str]) -> Option<Reply> {
        let address = SocketAddr::from((Lan::ip(host), port));
        self.lan.within(host, || Client::connect(address, PATIENCE).ok()?.call(words).ok()).ok()?
    }

    /// Sends a request to the process of a host, and waits for no answer.
    pub(super) fn leave(&self, host: usize, port: u16, words: &[&str]) -> Result<(), String> {
        let address = SocketAddr::from((Lan::ip(host), port));
        let send = || {
            let mut client = Client::connect(address, PATIENCE)?;
            client.push(words);
            client.flush()
        };
        self.lan.within(host, send)?.map_err(|error: std::io::Error| error.to_string())
    }

    /// A field of a part of INFO.
    pub(super) fn info(&self, host: usize, port: u16, part: &str, field: &str) -> Option<String> {
        let text = super::text(self.ask(host, port, &["INFO", part])?)?;
        let value = |line: &str| line.strip_prefix(field)?.strip_prefix(':').map(|value| value.trim().to_owned());
        text.lines().find_map(value)
    }

    pub(super) fn await_that(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + LIMIT;
        while !holds() {
            if Instant::now() > deadline {
                return Err(format!("in vain: {what}\n{}", self.logs()));
            }
            crate::pause();
        }
        Ok(())
    }

    /// The ends of all logs.
    pub(super) fn logs(&self) -> String {
        let mut text = String::new();
        for host in 0..self.processes.len() {
            let path = self.file(host).with_extension("log");
            let Ok(log) = std::fs::read_to_string(&path) else { continue };
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
            text += &format!("---- {}\n{end}\n", path.display());
        }
        text
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for host in 0..self.processes.len() {
            self.kill(host);
        }
    }
}

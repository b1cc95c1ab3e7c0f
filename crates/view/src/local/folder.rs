//! The folder of a local deployment: its list of processes, and how one of them is started, found and ended.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use quorate_operator::Bar;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const LIST: &str = "nodes.json";
/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) pid: i32,
    /// When it was started, as the kernel counts: whoever else gets its number was started later.
    started: u64,
    /// The program and its arguments.
    pub(super) argv: Vec<String>,
    /// The address that its connections to other nodes come from; none for what is no node.
    pub(super) source: Option<String>,
    /// On which side of a partition it is; nodes of one side reach each other.
    pub(super) side: u64,
}

impl Process {
    /// Waits until nothing is left of a process that was killed, its ports included: its first thread may be dead while others still
    /// hold them.
    fn await_end(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let is_left = || match stat(self.pid) {
            Some((_, started)) if started != self.started => false,
            Some((state, _)) => !is_over(&state) || threads(self.pid) > 1,
            None => false,
        };
        while is_left() {
            ensure!(Instant::now() < deadline, "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) processes: Vec<Process>,
}

impl Folder {
    /// Makes a new one.
    pub(super) fn create(path: &Path) -> Result<Folder> {
        ensure!(!path.exists(), "{} is there already: quorate down --delete ends and removes it", path.display());
        fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
        let path = path.canonicalize().context("find the folder")?;
        Ok(Folder { path, processes: Vec::new() })
    }

    /// Reads one that is there.
    pub(super) fn open(path: &Path) -> Result<Folder> {
        let list = path.join(LIST);
        let text = fs::read(&list).with_context(|| format!("there is no deployment in {}", path.display()))?;
        let list: Value = serde_json::from_slice(&text).with_context(|| format!("read {}", list.display()))?;
        let process = |value: &Value| {
            Some(Process {
                name: value["name"].as_str()?.to_owned(),
                port: value["port"].as_u64()?.try_into().ok()?,
                pid: value["pid"].as_i64()?.try_into().ok()?,
                started: value["started"].as_u64()?,
                argv: value["argv"].as_array()?.iter().filter_map(|word| Some(word.as_str()?.to_owned())).collect(),
                source: value["source"].as_str().map(str::to_owned),
                side: value["side"].as_u64().unwrap_or(0),
            })
        };
        let processes = list.as_array().into_iter().flatten().filter_map(process).collect();
        Ok(Folder { path: path.canonicalize().context("find the folder")?, processes })
    }

    /// Writes the list.
    pub(super) fn save(&self) -> Result<()> {
        let process = |process: &Process| {
            json!({
                "name": process.name,
                "port": process.port,
                "pid": process.pid,
                "started": process.started,
                "argv": process.argv,
                "source": process.source,
                "side": process.side,
            })
        };
        let list: Value = self.processes.iter().map(process).collect();
        fs::write(self.path.join(LIST), format!("{list:#}\n")).context("write the list of processes")
    }

    pub(super) fn delete(self) -> Result<()> {
        ensure!(self.path.join(LIST).is_file(), "{} is no deployment", self.path.display());
        fs::remove_dir_all(&self.path).with_context(|| format!("delete {}", self.path.display()))
    }

    /// Where a process has its files.
    pub(super) fn home(&self, name: &str) -> Result<PathBuf> {
        let home = self.path.join(name);
        fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
        Ok(home)
    }

    /// Starts a process that outlives this one, and puts it on the list; `source` is where its connections to others come from.
    pub(super) fn start(&mut self, name: &str, port: u16, argv: Vec<String>, source: Option<String>) -> Result<()> {
        if let Some(old) = self.processes.iter().find(|process| process.name == name) {
            old.await_end()?;
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.home(name)?.join("log"))
            .context("open a log")?;
        let (program, arguments) = argv.split_first().context("a process has a program")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().with_context(|| format!("start {program}"))?;
        let pid = i32::try_from(child.id()).context("a process has a number")?;
        self.processes.retain(|process| process.name != name);
        // One that has ended already is not found again.
        let started = started(pid).unwrap_or(0);
        self.processes.push(Process { name: name.to_owned(), port, pid, started, argv, source, side: 0 });
        self.processes.sort_by_key(|process| process.port);
        self.save()
    }

    pub(super) fn find(&self, name: &str) -> Result<&Process> {
        let is_it = |process: &&Process| process.name == name || process.port.to_string() == name;
        let names: Vec<&str> = self.processes.iter().map(|process| process.name.as_str()).collect();
        self.processes.iter().find(is_it).with_context(|| format!("there is no {name}, but {}", names.join(", ")))
    }

    /// Whether a process runs and is still the one on the list.
    pub(super) fn runs(&self, process: &Process) -> bool {
        started(process.pid) == Some(process.started)
    }

    pub(super) fn signal(&self, process: &Process, signal: Signal) -> Result<()> {
        ensure!(self.runs(process), "{} does not run", process.name);
        let pid = Pid::from_raw(process.pid).context("a process has a number")?;
        kill_process(pid, signal).with_context(|| format!("signal {}", process.name))
    }

    /// Ends all, the newest first.
    pub(super) fn end_all(&self) -> Result<usize> {
        let running: Vec<&Process> = self.processes.iter().rev().filter(|process| self.runs(process)).collect();
        for process in &running {
            self.signal(process, Signal::TERM)?;
            // One that is paused has to go on to end.
            self.signal(process, Signal::CONT).ok();
        }
        let deadline = Instant::now() + PATIENCE;
        let mut bar = Bar::new("ending".to_owned(), running.len());
        for (done, process) in running.iter().enumerate() {
            bar.at(done, "");
            while self.runs(process) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            if self.runs(process) {
                self.signal(process, Signal::KILL)?;
            }
        }
        if let Some(process) = running.iter().find(|process| process.pid <= 1) {
            bail!("{} has no process of its own", process.name);
        }
        Ok(running.len())
    }
}

/// When a process was started, in the kernel's ticks; nothing if there is none, or if it has ended and only waits to be asked how.
fn started(pid: i32) -> Option<u64> {
    stat(pid).filter(|(state, _)| !is_over(state)).map(|(_, started)| started)
}

fn is_over(state: &str) -> bool {
    state == "Z" || state == "X"
}

/// The state of a process, and when it was started.
fn stat(pid: i32) -> Option<(String, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // What comes before is its name, which may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.nth(18)?.parse().ok()?))
}

fn threads(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_again_and_ended_by_whoever_reads_the_list() {
        let place = std::env::temp_dir().join(format!("quorate-folder-{}", std::process::id()));
        let mut folder = Folder::create(&place).unwrap();
        assert!(Folder::create(&place).is_err());
        let argv = ["sleep", "--", "3600.125"].map(str::to_owned).to_vec();
        folder.start("one", 1, argv, None).unwrap();
        let folder = Folder::open(&place).unwrap();
        let process = folder.find("one").unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !folder.runs(process) {
            assert!(Instant::now() < deadline, "it never runs");
        }
        assert!(folder.find("two").unwrap_err().to_string().contains("but one"));
        assert_eq!(folder.end_all().unwrap(), 1);
        // A number that somebody else has by now is nobody of ours.
        let other = Process { pid: 1, ..process.clone() };
        assert!(!folder.runs(&other) && folder.signal(&other, Signal::TERM).is_err());
        folder.delete().unwrap();
        assert!(!place.exists());
    }
}

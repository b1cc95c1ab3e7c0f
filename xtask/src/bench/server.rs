//! Server processes under measurement: where they come from, where they run, and that none is left behind.
//!
//! Every server gets an empty temporary directory, a free port of 127.0.0.1, no persistence, and a core. It is killed
//! when its [`Server`] is dropped, and by the kernel should this process die first. A server that is not measured at
//! the moment is stopped (SIGSTOP), so that only one is running at a time.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tempfile::TempDir;

use super::cases::Reply;
use super::client::Client;
use super::interrupt;
use super::options::Append;
use super::wire::Door;

/// How long a server may take until it accepts connections; generous because it may run under an emulator.
const START: Duration = Duration::from_secs(30);

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Kind {
    Floor,
    Redis,
    Quorate,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Floor => "floor",
            Kind::Redis => "redis",
            Kind::Quorate => "quorate",
        }
    }
}

/// Where a process may run.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// On the core under measurement.
    ServerCore,
    /// Beside the load generator.
    LoadCore,
    /// On any core.
    Anywhere,
}

/// The cores of a run.
pub(super) struct Cores {
    server: usize,
    load: usize,
    all: CpuSet,
}

impl Cores {
    /// The first two cores that this process may use, or the two that are named.
    pub(super) fn choose(named: Option<(usize, usize)>) -> Result<Cores> {
        let all = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core));
        let (server, load) = match named {
            Some(named) => named,
            None => usable.next().zip(usable.next()).context("a benchmark needs two cores")?,
        };
        if server == load || !all.is_set(server) || !all.is_set(load) {
            bail!("cores {server} and {load} are not two cores that may be used");
        }
        Ok(Cores { server, load, all })
    }

    pub(super) fn count(&self) -> u32 {
        self.all.count()
    }

    /// Moves the calling thread, and with it the threads that it starts later.
    pub(super) fn move_to(&self, place: Place) -> Result<()> {
        Ok(sched_setaffinity(None, &self.set(place))?)
    }

    fn set(&self, place: Place) -> CpuSet {
        let core = match place {
            Place::ServerCore => self.server,
            Place::LoadCore => self.load,
            Place::Anywhere => return self.all,
        };
        let mut set = CpuSet::new();
        set.set(core);
        set
    }
}

/// How to start each kind.
pub(super) struct Launcher {
    pub(super) quorate: PathBuf,
    pub(super) redis: PathBuf,
    /// Network threads of ours; its default if none.
    pub(super) threads: Option<u32>,
    pub(super) append: Append,
    pub(super) cores: Cores,
}

/// One start.
pub(super) struct Launch<'a> {
    pub(super) kind: Kind,
    pub(super) place: Place,
    /// What the floor answers.
    pub(super) reply: Reply,
    /// Further arguments of a Redis-like server.
    pub(super) extra: &'a [&'a str],
    /// A program, with its arguments, to run the server under.
    pub(super) under: &'a [&'a str],
    /// Whether it is to listen for encrypted connections, too.
    pub(super) encrypted: bool,
}

impl Launch<'_> {
    pub(super) fn of(kind: Kind, place: Place) -> Launch<'static> {
        Launch { kind, place, reply: Reply::Ok, extra: &[], under: &[], encrypted: false }
    }
}

/// A running server; dropping it kills it.
pub(super) struct Server {
    pub(super) port: u16,
    /// Where a load comes in: the encrypted port if there is one.
    pub(super) door: Door,
    child: Child,
    directory: TempDir,
}

impl Launcher {
    /// Starts a server and waits until it answers.
    pub(super) fn start(&self, launch: &Launch<'_>) -> Result<Server> {
        let directory = tempfile::Builder::new().prefix("quorate-bench-").tempdir()?;
        let port = free_port()?;
        let mut words: Vec<OsString> = launch.under.iter().map(OsString::from).collect();
        match launch.kind {
            Kind::Floor => {
                words.push(std::env::current_exe()?.into());
                words.extend(["bench", "floor"].map(OsString::from));
                words.extend([port.to_string().into(), launch.reply.to_string().into()]);
            }
            Kind::Redis => words.push(self.redis.clone().into()),
            Kind::Quorate => words.extend([self.quorate.clone().into(), "server".into()]),
        }
        if launch.kind != Kind::Floor {
            words.extend(["--bind", "127.0.0.1", "--port"].map(OsString::from));
            words.push(port.to_string().into());
            words.extend(self.append.arguments().iter().map(OsString::from));
            words.extend(["--save", "", "--dir"].map(OsString::from));
            words.push(directory.path().into());
            words.extend(launch.extra.iter().map(OsString::from));
        }
        let mut door = Door::plain(port);
        if launch.encrypted {
            let (encrypted, told) = Door::encrypted(free_port()?, directory.path())?;
            words.extend(told.into_iter().map(OsString::from));
            door = encrypted;
        }
        if let (Kind::Quorate, Some(threads)) = (launch.kind, self.threads) {
            words.extend(["--network-threads".into(), threads.to_string().into()]);
        }
        let log = File::create(directory.path().join("log"))?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let set = self.cores.set(launch.place);
        // SAFETY: the closure runs between fork and exec; it makes two system calls, allocates nothing and takes no
        // lock.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                Ok(sched_setaffinity(None, &set)?)
            });
        }
        let child = command.spawn().with_context(|| format!("start {}", words[0].display()))?;
        let mut server = Server { port, door, child, directory };
        server.wait_until_up(launch.kind).with_context(|| format!("{} on port {port}", launch.kind.name()))?;
        Ok(server)
    }
}

/// A port that is free at the moment; a server that finds it taken after all says so and ends.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Server {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn client(&self) -> Result<Client> {
        Client::connect(self.port)
    }

    pub(super) fn pause(&self) -> Result<()> {
        Ok(rustix::process::kill_process(Pid::from_child(&self.child), Signal::STOP)?)
    }

    pub(super) fn resume(&self) -> Result<()> {
        Ok(rustix::process::kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    fn wait_until_up(&mut self, kind: Kind) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                bail!("ended at once, {status}:\n{}", log.trim_end());
            }
            let answers = match kind {
                Kind::Floor => TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok(),
                Kind::Redis | Kind::Quorate => self.client().and_then(|mut client| client.call(&["PING"])).is_ok(),
            };
            if answers {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("does not answer after {START:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either fails only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

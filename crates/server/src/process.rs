//! What the operating system knows of the process: background, pid file, open files, the out-of-memory score, the
//! supervisor.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;
use std::time::Duration;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use quorate_config::{Config, OomScore, Supervised};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::log;

/// Descriptors that are kept for files, listeners and the like, beside clients.
const RESERVED_FILES: u64 = 32;
/// By how much nicer than others a thread is that nobody waits for.
const MODESTY: i32 = 5;
/// Where a daemon without a `pidfile` leaves its pid.
const DAEMON_PID_FILE: &str = "/var/run/redis.pid";

/// An operating system's error as C programs word it, without the number that Rust adds.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Says in the log that the process begins, in the lines that scripts know.
pub fn greet() {
    log::warning("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    log::warning(&format!(
        "Redis version={}, bits={}, commit=00000000, modified=0, pid={}, just started",
        crate::REDIS_VERSION,
        usize::BITS,
        std::process::id()
    ));
}

/// A stream that raises an event of that token when the process gets the signal.
///
/// # Errors
/// The operating system lacks something.
pub fn hear(signal: i32, registry: &Registry, token: Token) -> io::Result<UnixStream> {
    let (mut ours, theirs) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal, theirs)?;
    registry.register(&mut ours, token, Interest::READABLE)?;
    Ok(ours)
}

/// Lets the threads that serve clients go first, where there are not enough processors for all: the calling thread, and those that
/// it starts, do work for which nobody waits. They still get a quarter of a processor that is asked for by both.
pub fn step_back() {
    // Both are of the calling thread alone on Linux. A refusal leaves all as it was.
    if let Ok(niceness) = rustix::process::getpriority_process(None) {
        let _ = rustix::process::setpriority_process(None, (niceness + MODESTY).min(19));
    }
}

/// Goes to the background: the caller's process ends here, and its child goes on without a terminal. Must be called
/// before there is any other thread.
///
/// # Errors
/// There can be no child.
pub fn daemonize() -> io::Result<()> {
    // SAFETY: the process has one thread, so the child finds no lock held by a thread that it does not have.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        _ => std::process::exit(0),
    }
    rustix::process::setsid()?;
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// The pid file, removed when the server ends as it should.
pub struct PidFile(Option<Vec<u8>>);

impl PidFile {
    /// Writes it, if there is to be one. Failing is logged and not fatal: the server does without.
    pub fn write(config: &Config) -> PidFile {
        let path = match &config.general.pid_file {
            Some(path) => path.as_bytes().to_vec(),
            None if config.general.daemonize => DAEMON_PID_FILE.into(),
            None => return PidFile(None),
        };
        let written = fs::write(std::ffi::OsStr::from_bytes(&path), format!("{}\n", std::process::id()));
        if let Err(error) = written {
            log::warning(&format!("Failed to write PID file: {}", plain(&error)));
            return PidFile(None);
        }
        PidFile(Some(path))
    }

    /// Removes it.
    pub fn remove(self) {
        let Some(path) = self.0 else { return };
        log::notice("Removing the pid file.");
        // It may have been removed by hand, and there is nobody left to tell.
        let _ = fs::remove_file(std::ffi::OsStr::from_bytes(&path));
    }
}

/// Raises the limit on open files, so that `clients` fit; how many do.
pub fn make_room_for_clients(clients: u32) -> u32 {
    let needed = u64::from(clients) + RESERVED_FILES;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= needed {
        return clients;
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(needed));
    if setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).is_ok() {
        log::notice(&format!(
            "Increased maximum number of open files to {needed} (it was originally set to {current})."
        ));
        return clients;
    }
    let hard = limit.maximum.unwrap_or(u64::MAX).min(needed);
    let reached = match setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: limit.maximum }) {
        Ok(()) => hard,
        Err(_) => current,
    };
    u32::try_from(reached.saturating_sub(RESERVED_FILES)).unwrap_or(clients).min(clients)
}

/// As [`make_room_for_clients`] at the start: what does not fit is logged, and the configuration reduced.
pub fn fit_clients(config: &mut Config) {
    let wanted = config.clients.max;
    let fitting = make_room_for_clients(wanted).max(1);
    if fitting < wanted {
        let needed = u64::from(wanted) + RESERVED_FILES;
        log::warning(&format!(
            "You requested maxclients of {wanted} requiring at least {needed} max file descriptors. Current maximum open \
             files is {}. maxclients has been reduced to {fitting} to compensate for low ulimit. If you need higher \
             maxclients increase 'ulimit -n'.",
            u64::from(fitting) + RESERVED_FILES
        ));
        config.clients.max = fitting;
    }
}

/// Tells the kernel how dear the process is, as `oom-score-adj` says.
///
/// # Errors
/// The kernel does not take it: a lower score needs a privilege.
pub fn set_oom_score(config: &Config, is_replica: bool) -> io::Result<()> {
    const PATH: &str = "/proc/self/oom_score_adj";
    static BEFORE: OnceLock<i32> = OnceLock::new();
    static CHANGED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let read = || fs::read_to_string(PATH).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let before = *BEFORE.get_or_init(read);
    let own = config.process.oom_scores[usize::from(is_replica)];
    let score = match config.process.oom_score {
        // What was set is taken back; what was never set is left alone.
        OomScore::No if !CHANGED.load(std::sync::atomic::Ordering::Relaxed) => return Ok(()),
        OomScore::No => before,
        OomScore::Relative => before.saturating_add(own),
        OomScore::Absolute => own,
    };
    fs::write(PATH, score.clamp(-1000, 1000).to_string())?;
    CHANGED.store(config.process.oom_score != OomScore::No, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// Processor time that was used.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuTime {
    /// In the kernel.
    pub system: Duration,
    /// Elsewhere.
    pub user: Duration,
}

/// What this process, or its children that have ended, have used.
pub fn cpu_time(children: bool) -> CpuTime {
    let who = if children { libc::RUSAGE_CHILDREN } else { libc::RUSAGE_SELF };
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a structure of the right type, and zeros are a valid value of it if the call fails.
    let usage = unsafe {
        libc::getrusage(who, usage.as_mut_ptr());
        usage.assume_init()
    };
    let duration =
        |time: libc::timeval| Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64);
    CpuTime { system: duration(usage.ru_stime), user: duration(usage.ru_utime) }
}

/// Bytes of the process that are in memory: its resident set.
pub fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Bytes of memory that the machine has.
pub fn system_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram as u64 * u64::from(info.mem_unit)
}

/// Who started the process and waits for a word of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervisor {
    /// Nobody.
    None,
    /// systemd.
    Systemd,
    /// upstart.
    Upstart,
}

static SUPERVISOR: OnceLock<Supervisor> = OnceLock::new();

impl Supervisor {
    /// The one that the configuration and the environment name; remembered for [`notify`].
    pub fn find(configured: Supervised) -> Supervisor {
        let has = |name| std::env::var_os(name).is_some();
        let found = match configured {
            Supervised::No => Supervisor::None,
            Supervised::Systemd => Supervisor::Systemd,
            Supervised::Upstart => Supervisor::Upstart,
            Supervised::Auto if has("UPSTART_JOB") => Supervisor::Upstart,
            Supervised::Auto if has("NOTIFY_SOCKET") => Supervisor::Systemd,
            Supervised::Auto => Supervisor::None,
        };
        *SUPERVISOR.get_or_init(|| found)
    }

    /// The one found at the start.
    pub fn current() -> Supervisor {
        SUPERVISOR.get().copied().unwrap_or(Supervisor::None)
    }

    /// As INFO names it.
    pub fn word(self) -> &'static str {
        match self {
            Supervisor::None => "no",
            Supervisor::Systemd => "systemd",
            Supervisor::Upstart => "upstart",
        }
    }
}

/// Tells systemd something, in the words of sd_notify(3); without systemd nothing happens.
pub fn notify(message: &str) {
    if Supervisor::current() != Supervisor::Systemd {
        return;
    }
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        log::warning("systemd supervision error: NOTIFY_SOCKET not found!");
        return;
    };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address));
    if let Err(error) = sent {
        log::warning(&format!("systemd supervision error: {}", plain(&error)));
    }
}

/// Tells upstart that the process is ready: it stops itself, and upstart lets it go on.
pub fn stop_for_upstart() {
    if Supervisor::current() == Supervisor::Upstart {
        log::notice("supervised by upstart, will stop to signal readiness");
        // Nothing can be done about a signal that does not come.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_written_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let lines = format!("pidfile {}", path.display());
        let sources = [quorate_config::Source::Text(lines.into_bytes())];
        let config = quorate_config::load(quorate_config::Mode::Server, &sources).unwrap().config;
        let file = PidFile::write(&config);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn an_error_is_worded_without_its_number() {
        assert_eq!(plain(&io::Error::from_raw_os_error(libc::ENOENT)), "No such file or directory");
    }
}

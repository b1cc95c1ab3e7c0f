//! A server under test: a process on a free port, which ends with the test.

use std::ffi::OsString;
use std::hash::BuildHasher as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};

/// How long anything may take that should take no time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Lets others work between two looks at what is awaited: who looks without a pause takes the processor from them.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(2));
}

/// Waits until something holds; there is a deadline.
///
/// # Panics
/// If it does not hold by then.
pub fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + 2 * PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        pause();
    }
}

/// A port that nobody listens on, and that no other test is given while this one runs. It lies below those that systems
/// hand out to outgoing connections: one of these could take the port of a server while that is down for a moment.
///
/// # Panics
/// If all are taken.
pub fn free_port() -> u16 {
    /// Tests run in processes of their own. Who has the port for UDP, which no server uses, is the one that it was given to.
    static GIVEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let dice = std::hash::RandomState::new();
    let tries = (0_u64..1000).map(|number| 12_000 + (dice.hash_one(number) % 20_000) as u16);
    let free = tries.into_iter().find_map(|port| {
        let given = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok().then_some((port, given))
    });
    let (port, given) = free.expect("one of many ports is free");
    GIVEN.lock().expect("nobody panics here").push(given);
    port
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

/// The binary under test, see the crate's text.
///
/// # Panics
/// If it was not built.
pub fn binary() -> OsString {
    std::env::var_os("QUORATE_BINARY").unwrap_or_else(|| {
        // A test's own program is in `deps/`, below where the binaries are.
        let test = std::env::current_exe().expect("a test knows where it is");
        let built = test.ancestors().nth(2).map(|profile| profile.join("quorate")).unwrap_or_default();
        assert!(built.is_file(), "{} is not there: cargo build -p quorate-server", built.display());
        built.into()
    })
}

/// Whether there is a real Redis to compare with.
pub fn is_redis_installed() -> bool {
    let is_there = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    is_there.is_ok_and(|status| status.success())
}

fn spawn(program: &[OsString], port: u16, options: &[&str], directory: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(directory.join("log"));
    Command::new(&program[0])
        .args(&program[1..])
        .args(["--port", &port.to_string(), "--save", "", "--dir"])
        .arg(directory)
        .args(options)
        .stdin(Stdio::null())
        .stdout(log.expect("there is room for a log"))
        .spawn()
        .expect("the binary can be started")
}

impl Server {
    /// Starts a server with these options beyond the port and the directory, and waits until it answers.
    ///
    /// # Panics
    /// If it does not: there is no test without a server.
    pub fn start(options: &[&str]) -> Server {
        let program = [binary(), "server".into()];
        Server::launch(&program, options, None)
    }

    /// The same with a file that it loads.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn start_with(options: &[&str], snapshot: &Path) -> Server {
        let program = [binary(), "server".into()];
        Server::launch(&program, options, Some(snapshot))
    }

    /// Starts a real Redis, with a file that it loads if there is one; `None`, and a line that says so, if it is not
    /// installed.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn start_redis(options: &[&str], snapshot: Option<&Path>) -> Option<Server> {
        if !is_redis_installed() {
            println!("SKIPPED redis-server: not installed (cargo xtask peers)");
            return None;
        }
        Some(Server::launch(&["redis-server".into()], options, snapshot))
    }

    /// Kills it, and starts another in its place that knows nothing of it but its port.
    ///
    /// # Panics
    /// If that does not answer.
    pub fn replace(self, options: &[&str]) -> Server {
        let port = self.port;
        drop(self);
        Server::launch_at(port, &[binary(), "server".into()], options, None)
    }

    /// Kills it, and starts it again where its files are.
    ///
    /// # Panics
    /// If it does not answer then.
    pub fn kill_and_start(&mut self, program: &[OsString], options: &[&str]) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = spawn(program, self.port, options, self.directory.path());
        self.await_ready();
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn launch(program: &[OsString], options: &[&str], snapshot: Option<&Path>) -> Server {
        Server::launch_at(free_port(), program, options, snapshot)
    }

    fn launch_at(port: u16, program: &[OsString], options: &[&str], snapshot: Option<&Path>) -> Server {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        if let Some(snapshot) = snapshot {
            std::fs::copy(snapshot, directory.path().join("dump.rdb")).expect("the file can be copied");
        }
        let child = spawn(program, port, options, directory.path());
        let mut server = Server { child, port, directory };
        server.await_ready();
        server
    }

    fn await_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let is_ready = |address| {
            let mut client = Client::connect(address, PATIENCE).ok()?;
            client.call(&["PING"]).ok().filter(|reply| *reply == Reply::Simple(b"PONG".to_vec()))
        };
        while is_ready(self.address()).is_none() {
            assert!(matches!(self.child.try_wait(), Ok(None)), "the server has ended");
            assert!(Instant::now() < deadline, "the server does not answer");
            pause();
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The port of its address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new connection.
    ///
    /// # Panics
    /// If the server refuses it.
    pub fn connect(&self) -> Client {
        Client::connect(self.address(), PATIENCE).expect("the server accepts connections")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!(
                "---- the end of the log of port {}\n{}",
                self.port,
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
    }
}

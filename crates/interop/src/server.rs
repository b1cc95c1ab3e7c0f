//! A server under test: a process on a free port, which ends with the test.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};

/// How long anything may take that should take no time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

/// The binary under test, see the crate's text.
fn binary() -> OsString {
    std::env::var_os("QUORATE_BINARY").unwrap_or_else(|| {
        // A test's own program is in `deps/`, below where the binaries are.
        let test = std::env::current_exe().expect("a test knows where it is");
        let built = test.ancestors().nth(2).map(|profile| profile.join("quorate")).unwrap_or_default();
        assert!(built.is_file(), "{} is not there: cargo build -p quorate-server", built.display());
        built.into()
    })
}

impl Server {
    /// Starts a server with these options beyond the port and the directory, and waits until it answers.
    ///
    /// # Panics
    /// If it does not: there is no test without a server.
    pub fn start(options: &[&str]) -> Server {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = free.expect("there is a free port").port();
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let child = Command::new(binary())
            .args(["server", "--port", &port.to_string(), "--save", "", "--dir"])
            .arg(directory.path())
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary can be started");
        let mut server = Server { child, port, _directory: directory };
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
            std::thread::yield_now();
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
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
    }
}

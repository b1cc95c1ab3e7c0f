//! Servers for the examples and tests: real ones, on free ports, which end with their handle. Not part of the API.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Servers that run as long as this lives.
#[derive(Debug)]
pub struct Servers(Vec<(Option<Child>, u16)>);

impl Servers {
    /// Starts so many; `None`, and a line that says so, if there is no `redis-server` here. `QUORATE_BINARY` names another.
    ///
    /// # Panics
    /// If one does not answer.
    pub fn start(count: usize) -> Option<Servers> {
        Servers::start_with(count, &[])
    }

    /// The same with options.
    ///
    /// # Panics
    /// If one does not answer.
    pub fn start_with(count: usize, options: &[&str]) -> Option<Servers> {
        let mut servers = Servers(Vec::new());
        for _ in 0..count {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
            let port = free.expect("there is a free port").port();
            let Some(child) = launch(port, options) else {
                println!("SKIPPED redlock: redis-server is not installed (cargo xtask peers)");
                return None;
            };
            servers.0.push((Some(child), port));
        }
        for (_, port) in &servers.0 {
            await_ready(*port);
        }
        Some(servers)
    }

    /// `host:port` of each.
    pub fn addresses(&self) -> Vec<String> {
        self.0.iter().map(|(_, port)| format!("127.0.0.1:{port}")).collect()
    }

    /// Kills one.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.0[index].0.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts one anew, in the place of one that was killed.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn restart(&mut self, index: usize, options: &[&str]) {
        self.kill(index);
        let port = self.0[index].1;
        self.0[index].0 = launch(port, options);
        await_ready(port);
    }

    /// The process of one.
    pub fn pid(&self, index: usize) -> Option<u32> {
        self.0[index].0.as_ref().map(Child::id)
    }

    /// Lets one stand still, or go on.
    pub fn hang(&self, index: usize, hangs: bool) {
        let pid = self.pid(index).and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        let signal = if hangs { rustix::process::Signal::STOP } else { rustix::process::Signal::CONT };
        if let Some(pid) = pid {
            // One that has ended hangs well enough.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

fn launch(port: u16, options: &[&str]) -> Option<Child> {
    let binary = std::env::var_os("QUORATE_BINARY");
    let mut command = Command::new(binary.clone().unwrap_or_else(|| "redis-server".into()));
    if binary.is_some() {
        command.arg("server");
    }
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(std::env::temp_dir()).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

fn await_ready(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < deadline, "the server on port {port} does not answer");
        std::thread::yield_now();
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        (0..self.0.len()).for_each(|index| self.kill(index));
    }
}

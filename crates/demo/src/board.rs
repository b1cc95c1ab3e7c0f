//! The dashboard beside a demonstration: `quorate dashboard` as a process of its own, which watches what is shown.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::replication::{LIMIT, PROBE};
use crate::screen::Screen;

/// Where it is, if only that there is to be one is said.
pub(crate) const PORT: &str = "7379";

/// It ends with the demonstration, unless it is left.
#[derive(Debug)]
pub(crate) struct Board(Option<Child>);

impl Board {
    /// Serves the page at this port, if there is one, and says where it is.
    pub(crate) fn open(
        port: Option<u16>,
        nodes: impl Iterator<Item = SocketAddr>,
        screen: &mut Screen,
    ) -> Result<Option<Board>> {
        let Some(port) = port else { return Ok(None) };
        let place = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        ensure!(TcpListener::bind(place).is_ok(), "port {port} is taken: choose another for --dashboard");
        let watch: Vec<String> = nodes.map(|node| node.to_string()).collect();
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        command.args(["dashboard", "--watch", &watch.join(","), "--listen", &place.to_string()]);
        // Ctrl-C is for the demonstration, which ends it itself.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut board = Board(Some(command.spawn().context("start the dashboard")?));
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect(place).is_err() {
            if let Some(status) = board.0.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("the dashboard ended ({status})");
            }
            ensure!(Instant::now() < deadline, "the dashboard does not answer");
            std::thread::sleep(PROBE);
        }
        screen.event(format!("the dashboard is at http://{place}"));
        Ok(Some(board))
    }

    /// Lets it outlive this value.
    pub(crate) fn leave(&mut self) {
        self.0 = None;
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

//! A server in a process of its own, and what it replies.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_client::Client;
use quorate_resp::Reply;

/// After so long something has gone wrong.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A running server; ended when dropped.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts one with these arguments, and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Server {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut server = Server::spawn(arguments);
            // Another server may have been quicker to take the port: then ours ends.
            while server.process.try_wait().is_ok_and(|ended| ended.is_none()) {
                let ours = format!("process_id:{}\r\n", server.process.id());
                if Client::connect(server.address, LIMIT).is_ok_and(|mut client| {
                    client.call(&["INFO", "server"]).is_ok_and(|info| show(&info).contains(&ours))
                }) {
                    return server;
                }
                assert!(Instant::now() < deadline, "the server does not listen");
                std::thread::yield_now();
            }
        }
    }

    fn spawn(arguments: &[&str]) -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.args(["server", "--port", &address.port().to_string(), "--save", "", "--dir"]);
        command.arg(folder.path()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("the server was built for this test");
        Server { process, address, _folder: folder }
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address, LIMIT).expect("the server listens")
    }
}

/// A reply in readable form.
pub(crate) fn show(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Error(text) | Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Int(value) => value.to_string(),
        Reply::Null => "nil".to_owned(),
        Reply::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        other => format!("{other:?}"),
    }
}

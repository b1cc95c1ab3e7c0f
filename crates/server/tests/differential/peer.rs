//! A server that is started for the test, and a connection to it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_resp::{Reply, encode_request, parse_reply};

/// See the module's text. The server ends with it.
pub(crate) struct Peer {
    name: String,
    server: Child,
    stream: TcpStream,
    input: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Peer {
    /// Our server, as it was just built.
    pub(crate) fn ours() -> Peer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.arg("server");
        Peer::start(command).expect("our server was built for this test")
    }

    /// The real one, if it is installed.
    pub(crate) fn real() -> Option<Peer> {
        Peer::start(Command::new("redis-server"))
    }

    fn start(mut command: Command) -> Option<Peer> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        command.args(["--port", &port.to_string(), "--save", "", "--dir"]).arg(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = match command.spawn() {
            Ok(server) => server,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("{command:?} can't be started: {error}"),
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{command:?} does not listen: {error}"),
            }
            std::thread::yield_now();
        };
        stream.set_nodelay(true).expect("a TCP connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        let name = command.get_program().to_string_lossy().into_owned();
        Some(Peer { name, server, stream, input: Vec::new(), _folder: folder })
    }

    /// Sends a request and waits for its reply: as a value, and as the bytes that came.
    pub(crate) fn request(&mut self, words: &[Vec<u8>]) -> (Reply, Vec<u8>) {
        let mut wire = Vec::new();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        encode_request(&mut wire, &words);
        self.stream.write_all(&wire).expect("the server reads");
        loop {
            if let Some((reply, len)) = parse_reply(&self.input).expect("a well-formed reply") {
                let bytes = self.input.drain(..len).collect();
                assert!(self.input.is_empty(), "{words:?} is answered more than once");
                return (reply, bytes);
            }
            let mut chunk = [0; 16384];
            let count = match self.stream.read(&mut chunk) {
                Ok(count) => count,
                Err(error) => panic!("{} does not answer {words:?}: {error}", self.name),
            };
            assert!(count > 0, "the server closed the connection after {words:?}");
            self.input.extend_from_slice(&chunk[..count]);
        }
    }
}

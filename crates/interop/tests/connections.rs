//! What becomes of connections.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use quorate_interop::{PATIENCE, Server};

#[test]
fn an_end_right_behind_the_last_request_is_noticed_at_once() {
    let server = Server::start(&["--network-threads", "1"]);
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"PING\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the server answers and closes its side too");
        assert_eq!(answer, b"+PONG\r\n");
    }
}

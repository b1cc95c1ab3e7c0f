//! What becomes of connections.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use quorate_client::{Client, Reply};
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

/// What `field` of INFO says.
fn info(client: &mut Client, field: &str) -> u64 {
    let Ok(Reply::Bulk(text)) = client.call(&["INFO", "everything"]) else { panic!("INFO is answered by a text") };
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("INFO has {field}")).parse().unwrap()
}

#[test]
fn the_largest_clients_go_when_all_hold_too_much_and_no_others() {
    let server = Server::start(&["--network-threads", "4", "--maxmemory-clients", "10mb"]);
    let mut observer = Client::connect(server.address(), PATIENCE).unwrap();
    observer.call(&["CLIENT", "NO-EVICT", "ON"]).unwrap();
    // Requests that lack their end: so much is held for each.
    let begin = |megabytes: usize| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let len = megabytes << 20;
        stream.write_all(format!("*2\r\n$4\r\nECHO\r\n${}\r\n", len + 1).as_bytes()).unwrap();
        stream.write_all(&vec![b'x'; len]).unwrap();
        stream
    };
    let held = |observer: &mut Client, megabytes: u64| {
        let deadline = Instant::now() + PATIENCE;
        while info(observer, "mem_clients_normal") < megabytes << 20 {
            assert!(Instant::now() < deadline, "the server does not read what was sent");
        }
    };
    let mut small: Vec<TcpStream> = (0..4).map(|_| begin(1)).collect();
    held(&mut observer, 4);
    let mut large = begin(3);
    held(&mut observer, 7);
    assert_eq!(info(&mut observer, "evicted_clients"), 0);
    small.push(begin(2));
    let mut byte = [0];
    assert!(matches!(large.read(&mut byte), Ok(0) | Err(_)), "the largest one is closed");
    assert_eq!(info(&mut observer, "evicted_clients"), 1);
    assert_eq!(info(&mut observer, "evicted_keys"), 0);
    for mut stream in small {
        stream.write_all(b"x\r\n").unwrap();
        stream.read_exact(&mut byte).expect("the others are still served");
        assert_eq!(byte, *b"$");
    }
}

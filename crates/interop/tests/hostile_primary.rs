//! A primary that sends nonsense, or stops in the middle: its replica closes the link and tries again, keeps what it holds
//! until something better is complete, and goes on answering.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use quorate_client::{Client, Reply};
use quorate_interop::{PATIENCE, Server};

/// A snapshot without a key and without a checksum.
const NOTHING: &[u8] = b"REDIS0009\xff\0\0\0\0\0\0\0\0";
const MARK: &str = "0123456789abcdef0123456789abcdef01234567";

fn full(rest: &[u8]) -> Vec<u8> {
    [format!("+FULLRESYNC {} 100\r\n", "a".repeat(40)).as_bytes(), rest].concat()
}

fn sized(snapshot: &[u8], stream: &[u8]) -> Vec<u8> {
    full(&[format!("${}\r\n", snapshot.len()).as_bytes(), snapshot, stream].concat())
}

/// Plays a primary that answers the handshake as it should and PSYNC with `answer`; tells of each PSYNC.
fn play(listener: &TcpListener, answer: &[u8], close: bool, told: &Sender<()>) -> std::io::Result<()> {
    let mut open: Vec<TcpStream> = Vec::new();
    loop {
        let (stream, _) = listener.accept()?;
        let mut input = BufReader::new(stream.try_clone()?);
        let mut output = stream;
        while let Some(words) = request(&mut input)? {
            match words[0].to_ascii_uppercase().as_str() {
                "PING" => output.write_all(b"+PONG\r\n")?,
                "INFO" => output.write_all(b"$0\r\n\r\n")?,
                "PSYNC" => {
                    // The replica may close before it has read everything.
                    let _ = output.write_all(answer);
                    if close {
                        output.shutdown(std::net::Shutdown::Both)?;
                    }
                    if told.send(()).is_err() {
                        return Ok(());
                    }
                    break;
                }
                _ => output.write_all(b"+OK\r\n")?,
            }
        }
        open.push(output);
    }
}

fn request(input: &mut impl BufRead) -> std::io::Result<Option<Vec<String>>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let Some(count) = line.trim().strip_prefix('*').and_then(|count| count.parse::<usize>().ok()) else {
        return Ok(Some(vec![line.trim().to_owned()]));
    };
    let mut words = Vec::new();
    for _ in 0..count {
        line.clear();
        input.read_line(&mut line)?;
        let mut word = vec![0; line.trim()[1..].parse::<usize>().unwrap() + 2];
        input.read_exact(&mut word)?;
        words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
    }
    Ok(Some(words))
}

fn begin(answer: Vec<u8>, close: bool) -> (u16, Receiver<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, hears) = channel();
    std::thread::spawn(move || play(&listener, &answer, close, &told));
    (port, hears)
}

/// The answer to a command; the replica may have come back for another snapshot, which takes a moment to load.
fn loaded(client: &mut Client, command: &str) -> Reply {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.call(&[command]).unwrap() {
            Reply::Error(error) if error.starts_with(b"LOADING") && Instant::now() < deadline => {}
            other => return other,
        }
    }
}

/// Lets a replica that holds ten keys follow such a primary until it has come back once more.
fn suffer(name: &str, answer: Vec<u8>, close: bool, keys_left: i64) {
    let server = Server::start(&["--repl-timeout", "3"]);
    let mut client = server.connect();
    for number in 0..10 {
        client.call(&["SET", &format!("key{number}"), "value"]).unwrap();
    }
    let (port, hears) = begin(answer, close);
    client.call(&["REPLICAOF", "127.0.0.1", &port.to_string()]).unwrap();
    for time in ["asks", "comes back"] {
        hears.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{name}: the replica never {time}"));
    }
    assert_eq!(loaded(&mut client, "PING"), Reply::Simple(b"PONG".to_vec()), "{name}");
    let memory = client.call(&["INFO", "memory"]).unwrap();
    let Reply::Bulk(memory) = memory else { panic!("INFO is a text") };
    let memory = String::from_utf8(memory).unwrap();
    let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    assert!(used.parse::<u64>().unwrap() < 64 << 20, "{name}: {used} bytes");
    client.call(&["REPLICAOF", "NO", "ONE"]).unwrap();
    assert_eq!(loaded(&mut client, "DBSIZE"), Reply::Int(keys_left), "{name}");
}

#[test]
fn a_handshake_of_nonsense_costs_nothing() {
    let cases: &[(&str, Vec<u8>)] = &[
        ("no such line", b"!what\r\n+hello\r\n".to_vec()),
        ("a line without an end", vec![b'+'; 200 << 10]),
        ("an id that is none", b"+FULLRESYNC xyz 1\r\n".to_vec()),
        ("an offset that is none", format!("+FULLRESYNC {} many\r\n", "a".repeat(40)).into_bytes()),
        ("a continuation of what was never asked for", b"+CONTINUE zzz\r\n".to_vec()),
        ("a negative length", full(b"$-5\r\n")),
        ("a length beyond all numbers", full(b"$99999999999999999999999\r\n")),
        ("a mark that is too short", full(b"$EOF:short\r\n")),
        ("an error in the place of a snapshot", full(b"-ERR no snapshot\r\n")),
    ];
    for (name, answer) in cases {
        suffer(name, answer.clone(), false, 10);
    }
}

#[test]
fn a_snapshot_that_breaks_off_or_is_damaged_replaces_nothing() {
    let flipped = |at: usize| {
        let mut bytes = NOTHING.to_vec();
        bytes[at] ^= 0x55;
        bytes
    };
    let promised = full(b"$1000000000000\r\nREDIS0009\xfe\x00");
    suffer("a length that never comes", promised, true, 10);
    suffer("a mark that never comes", full(format!("$EOF:{MARK}\r\nREDIS0009").as_bytes()), true, 10);
    suffer("no snapshot at all", sized(b"hello, this is not a snapshot", b""), false, 10);
    suffer("another version", sized(&flipped(6), b""), false, 10);
    suffer("an opcode that is none", sized(b"REDIS0009\xfe\x00\xc9\xc9\xc9\xc9", b""), false, 10);
    suffer("a string of absurd length", sized(b"REDIS0009\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff", b""), false, 10);
}

#[test]
fn a_stream_of_nonsense_ends_the_link() {
    let absurd = [
        ("garbage", &b"\x00\xff\xfe\x01garbage\r\n*\r\n"[..]),
        ("garbage behind empty lines and empty arrays", b"\r\n\n*0\r\n*-1\r\n\xff\r\n*x\r\n"),
        ("a negative count", b"*2\r\n$-7\r\nab\r\n"),
        ("a request in one line", b"SET key value\r\n"),
        ("too many words", b"*2147483647\r\n$1\r\na\r\n"),
        ("a word of absurd length", b"*1\r\n$99999999999\r\n"),
    ];
    for (name, stream) in absurd {
        // The primary was named by a client, so its empty dataset is taken; what comes behind it is not.
        suffer(name, sized(NOTHING, stream), false, 0);
    }
}

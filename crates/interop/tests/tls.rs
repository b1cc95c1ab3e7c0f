//! TLS seen from outside: by redis-cli, by a client of ours, by a real Redis at either end of a replication link, and by
//! those who don't speak it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Instant;

use quorate_client::{Client, Reply};
use quorate_interop::certificates::Authority;
use quorate_interop::{PATIENCE, Server, await_that, free_port, is_redis_installed};
use quorate_stdx::Rng;
use quorate_tls::Outgoing;

/// A server that listens for TLS, too.
struct Encrypted {
    server: Server,
    port: u16,
}

fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

impl Encrypted {
    fn start(authority: &Authority, more: &[&str]) -> Encrypted {
        let port = free_port();
        let options = authority.options("server", Some(port));
        let server = Server::start(&[words(&options), more.to_vec()].concat());
        Encrypted { server, port }
    }

    fn start_redis(authority: &Authority, more: &[&str]) -> Option<Encrypted> {
        let port = free_port();
        let options = authority.options("server", Some(port));
        let server = Server::start_redis(&[words(&options), more.to_vec()].concat(), None)?;
        Some(Encrypted { server, port })
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    fn connect(&self, context: &Outgoing) -> std::io::Result<Client> {
        Client::connect_over(self.address(), Some(context), PATIENCE)
    }

    /// Whether somebody is served who comes with this.
    fn serves(&self, context: &Outgoing) -> bool {
        // With TLS 1.3 a client is through the handshake before the server has judged it.
        let pong = self.connect(context).and_then(|mut client| client.call(&["PING"]));
        pong.is_ok_and(|reply| reply == Reply::Simple(b"PONG".to_vec()))
    }
}

fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("server");
    authority.issue("client");
    authority
}

fn text(reply: Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("a text was expected, not {other:?}"),
    }
}

fn ask(server: &Server, words: &[&str]) -> Reply {
    server.connect().call(words).unwrap()
}

fn info(server: &Server, section: &str, field: &str) -> String {
    let info = text(ask(server, &["INFO", section]));
    let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
    found.unwrap_or_else(|| panic!("INFO {section} has no {field}:\n{info}"))
}

fn connected_clients(server: &Server) -> usize {
    info(server, "clients", "connected_clients").parse().unwrap()
}

/// What redis-cli prints with these words behind what it needs to connect.
fn redis_cli(port: u16, authority: &Authority, certificate: Option<&str>, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port.to_string(), "--tls", "--cacert", &authority.path("ca.crt")]);
    if let Some(name) = certificate {
        let (certificate, key) = (authority.path(&format!("{name}.crt")), authority.path(&format!("{name}.key")));
        command.args(["--cert", &certificate, "--key", &key]);
    }
    let output = command.args(words).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn redis_cli_is_served_with_a_certificate_and_refused_without() {
    if !is_redis_installed() {
        return println!("SKIPPED redis-cli: not installed (cargo xtask peers)");
    }
    let authority = authority();
    let ours = Encrypted::start(&authority, &[]);
    let with = |words: &[&str]| redis_cli(ours.port, &authority, Some("client"), words);
    assert_eq!(with(&["SET", "key", "value"]), "OK\n");
    assert_eq!(with(&["GET", "key"]), "value\n");
    let protocols = |name: &str| with(&["CONFIG", "SET", "tls-protocols", name, "tls-session-caching", "no"]);
    assert_eq!(protocols("TLSv1.2"), "OK\n");
    assert_eq!(with(&["GET", "key"]), "value\n");
    assert!(!redis_cli(ours.port, &authority, None, &["GET", "key"]).contains("value"));
    assert_eq!(with(&["CONFIG", "SET", "tls-auth-clients", "optional"]), "OK\n");
    assert_eq!(redis_cli(ours.port, &authority, None, &["GET", "key"]), "value\n");
    let stranger = Authority::new();
    stranger.issue("client");
    assert!(!redis_cli(ours.port, &stranger, Some("client"), &["GET", "key"]).contains("value"));
}

#[test]
fn large_values_and_many_requests_at_once_go_through_as_they_are() {
    let authority = authority();
    let ours = Encrypted::start(&authority, &[]);
    let mut client = ours.connect(&authority.client(Some("client"))).unwrap();
    let value: Vec<u8> = (0..9_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert_eq!(client.call(&[b"SET".as_slice(), b"large", &value]).unwrap(), Reply::Simple(b"OK".to_vec()));
    let count = 20_000;
    for number in 0..count {
        client.push(&[b"ECHO".as_slice(), number.to_string().as_bytes()]);
        if number % 5000 == 0 {
            // More than a socket takes at once, for somebody who is not reading yet.
            client.push(&[b"GET".as_slice(), b"large"]);
        }
    }
    client.flush().unwrap();
    for number in 0..count {
        assert_eq!(client.receive().unwrap(), Reply::Bulk(number.to_string().into_bytes()));
        if number % 5000 == 0 {
            assert!(client.receive().unwrap() == Reply::Bulk(value.clone()), "the value came back as it went");
        }
    }
    // The plain port is another door to the same.
    assert_eq!(ask(&ours.server, &["STRLEN", "large"]), Reply::Int(9_000_000));
}

#[test]
fn a_port_for_tls_alone_can_be_opened_moved_and_closed() {
    let authority = authority();
    let known = authority.client(Some("client"));
    let ours = Encrypted::start(&authority, &[]);
    let mut client = ours.connect(&known).unwrap();
    let plain = ours.server.address();
    assert_eq!(text(client.call(&["CONFIG", "SET", "port", "0"]).unwrap()), "OK");
    assert!(TcpStream::connect(plain).is_err(), "nobody listens there any more");
    let told = text(client.call(&["INFO", "server"]).unwrap());
    assert!(told.contains(&format!("tcp_port:{}\r\n", ours.port)), "{told}");
    assert!(told.contains(&format!("listener2:name=tls,bind=*,bind=-::*,port={}\r\n", ours.port)), "{told}");
    let elsewhere = free_port();
    assert_eq!(text(client.call(&["CONFIG", "SET", "tls-port", &elsewhere.to_string()]).unwrap()), "OK");
    let moved = SocketAddr::from((Ipv4Addr::LOCALHOST, elsewhere));
    let mut second = Client::connect_over(moved, Some(&known), PATIENCE).unwrap();
    assert_eq!(text(second.call(&["PING"]).unwrap()), "PONG");
    assert!(ours.connect(&known).is_err());
    let port = plain.port().to_string();
    assert_eq!(text(second.call(&["CONFIG", "SET", "tls-port", "0", "port", &port]).unwrap()), "OK");
    assert!(Client::connect_over(moved, Some(&known), PATIENCE).is_err());
    assert_eq!(text(second.call(&["PING"]).unwrap()), "PONG", "what stands stays");
    assert_eq!(text(ask(&ours.server, &["PING"])), "PONG");
}

#[test]
fn certificates_are_exchanged_while_the_server_runs_and_bad_ones_are_refused() {
    let (authority, next) = (authority(), authority());
    let (known, known_next) = (authority.client(Some("client")), next.client(Some("client")));
    let ours = Encrypted::start(&authority, &[]);
    let mut early = ours.connect(&known).unwrap();
    assert_eq!(text(early.call(&["PING"]).unwrap()), "PONG");
    assert!(!ours.serves(&known_next));
    let mut set = |pairs: &[(&str, String)]| {
        let mut words = vec!["CONFIG".to_owned(), "SET".to_owned()];
        pairs.iter().for_each(|(name, value)| words.extend([(*name).to_owned(), value.clone()]));
        early.call(&words).unwrap()
    };
    let refused = Reply::Error(
        b"ERR CONFIG SET failed (possibly related to argument 'tls-cert-file') - Unable to update TLS configuration. \
          Check server logs."
            .to_vec(),
    );
    // A certificate whose key is another, and a file that is none.
    assert_eq!(set(&[("tls-cert-file", next.path("server.crt"))]), refused);
    std::fs::write(next.file("broken.crt"), "-----BEGIN CERTIFICATE-----\nAAAA").unwrap();
    assert_eq!(set(&[("tls-cert-file", next.path("broken.crt"))]), refused);
    assert!(ours.serves(&known), "what was in force stays in force");
    let all = [
        ("tls-cert-file", next.path("server.crt")),
        ("tls-key-file", next.path("server.key")),
        ("tls-ca-cert-file", next.path("ca.crt")),
    ];
    assert_eq!(text(set(&all)), "OK");
    assert!(ours.serves(&known_next) && !ours.serves(&known));
    // Under the same name: whoever sets it again has it read again.
    std::fs::copy(authority.file("ca.crt"), next.file("ca.crt")).unwrap();
    assert_eq!(text(set(&[("tls-ca-cert-file", next.path("ca.crt"))])), "OK");
    assert!(!ours.serves(&known_next), "nobody vouches for it any more");
    assert_eq!(text(set(&[("tls-auth-clients", "no".to_owned())])), "OK");
    assert!(ours.serves(&known_next), "nobody is asked any more");
}

#[test]
fn what_is_not_tls_is_turned_away_and_holds_nothing() {
    let authority = authority();
    let ours = Encrypted::start(&authority, &[]);
    let before = connected_clients(&ours.server);
    let mut rng = Rng::new(7);
    for round in 0..200_u64 {
        let mut socket = TcpStream::connect(ours.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let bytes: Vec<u8> = match round % 4 {
            0 => b"*1\r\n$4\r\nPING\r\n".to_vec(),
            1 => b"GET / HTTP/1.0\r\n\r\n".to_vec(),
            // The head of a record that is as long as none may be.
            2 => [&[0x16, 3, 1, 0xff, 0xff][..], &[0x41; 4000]].concat(),
            _ => (0..5000).map(|_| (rng.next_u64() >> 56) as u8 | 0x80).collect(),
        };
        // It may be closed before all of it has gone.
        let _ = socket.write_all(&bytes);
        // The end comes, with an alert before it or not; a reset is one, too.
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(answer.len() < 100, "{round}: {answer:?}");
    }
    await_that("all of them are gone", || connected_clients(&ours.server) == before);
    assert!(ours.serves(&authority.client(Some("client"))));
}

#[test]
fn who_does_not_get_through_the_handshake_is_let_go_and_keeps_nobody_waiting() {
    let authority = authority();
    let ours = Encrypted::start(&authority, &["--tls-handshake-timeout", "1", "--network-threads", "1"]);
    let before = connected_clients(&ours.server);
    let known = authority.client(Some("client"));
    let mut idle = ours.connect(&known).unwrap();
    assert_eq!(text(idle.call(&["PING"]).unwrap()), "PONG");
    let mut slow: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(ours.address()).unwrap()).collect();
    // Some say nothing, some the beginning of what they might say.
    for socket in slow.iter_mut().skip(30) {
        socket.write_all(&[0x16, 3, 1, 0, 200, 1, 0]).unwrap();
    }
    let begun = Instant::now();
    assert!(ours.serves(&known));
    assert!(begun.elapsed() < PATIENCE, "the others are served meanwhile");
    for socket in &mut slow {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut end = Vec::new();
        // An alert may come first.
        socket.read_to_end(&mut end).unwrap();
    }
    await_that("all of them are gone", || connected_clients(&ours.server) == before + 1);
    assert_eq!(text(idle.call(&["PING"]).unwrap()), "PONG", "who was through before them may be idle");
}

/// Lets one follow the other over TLS, from a snapshot on, while a client writes, and compares the data.
fn follows(primary: &Encrypted, replica: &Encrypted, known: &Outgoing) {
    let mut writer = primary.connect(known).unwrap();
    let value = "v".repeat(3000);
    let mut write = |from: u32, to: u32| {
        for number in from..to {
            writer.push(&["SET", &format!("key:{number}"), &value]);
            writer.push(&["RPUSH", &format!("list:{}", number % 50), &number.to_string()]);
        }
        writer.flush().unwrap();
        for _ in from..to {
            assert_eq!(text(writer.receive().unwrap()), "OK");
            writer.receive().unwrap();
        }
    };
    write(0, 2000);
    ask(&replica.server, &["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    write(2000, 4000);
    await_that("the link is up", || info(&replica.server, "replication", "master_link_status") == "up");
    write(4000, 6000);
    let offset = |server: &Server, field: &str| info(server, "replication", field);
    await_that("the replica has it all", || {
        offset(&primary.server, "master_repl_offset") == offset(&replica.server, "slave_repl_offset")
    });
    let digest = |server: &Server| text(ask(server, &["DEBUG", "DIGEST"]));
    assert_eq!(digest(&replica.server), digest(&primary.server));
    assert_eq!(ask(&primary.server, &["WAIT", "1", "30000"]), Reply::Int(1), "and says so");
    let line = info(&primary.server, "replication", "slave0");
    assert!(line.contains(&format!("port={}", replica.port)), "it announces its port for TLS: {line}");
}

const FOLLOWS: [&str; 4] = ["--tls-replication", "yes", "--enable-debug-command", "yes"];

#[test]
fn a_replica_of_ours_follows_ours_and_a_real_one_both_ways_over_tls() {
    let authority = authority();
    let known = authority.client(Some("client"));
    let ours = || Encrypted::start(&authority, &FOLLOWS);
    follows(&ours(), &ours(), &known);
    let Some(theirs) = Encrypted::start_redis(&authority, &FOLLOWS) else { return };
    let first = ours();
    follows(&first, &theirs, &known);
    // And back: the real one leads now, and ours begins anew.
    ask(&theirs.server, &["REPLICAOF", "NO", "ONE"]);
    follows(&theirs, &ours(), &known);
}

#[test]
fn a_link_that_is_to_be_encrypted_is_never_plain() {
    let authority = authority();
    let replica = Encrypted::start(&authority, &FOLLOWS);
    let primary = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = primary.local_addr().unwrap().port().to_string();
    ask(&replica.server, &["REPLICAOF", "127.0.0.1", &port]);
    for _ in 0..2 {
        let (mut link, _) = primary.accept().unwrap();
        let mut first = [0; 6];
        link.read_exact(&mut first).unwrap();
        assert_eq!((first[0], first[1], first[5]), (0x16, 3, 1), "it greets in TLS, and in nothing else");
        link.write_all(b"+PONG\r\n").unwrap();
        // It says why it goes, and comes again.
        let mut rest = Vec::new();
        let _ = link.read_to_end(&mut rest);
    }
    assert_eq!(info(&replica.server, "replication", "master_link_status"), "down");
}

#[test]
fn without_what_it_takes_a_server_does_not_start() {
    let authority = authority();
    let start = |options: &[String]| {
        let output = Command::new(quorate_interop::binary())
            .args(["server", "--port", "0", "--save", ""])
            .args(options)
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let port = free_port().to_string();
    let told = start(&["--tls-port".to_owned(), port]);
    assert!(told.contains("No tls-cert-file configured!"), "{told}");
    assert!(told.contains("Failed to configure TLS. Check logs for more info."), "{told}");
    let mut options = authority.options("server", Some(free_port()));
    options.extend(["--tls-protocols".to_owned(), "TLSv1.1".to_owned()]);
    assert!(start(&options).contains("'TLSv1.1' is not spoken"));
}

//! The same scripts on a real Redis and on the engine, whose host passes commands on to that Redis.
//!
//! The scripts are in `tests/scripts`. Each runs for a caller that speaks RESP2 and for one that
//! speaks RESP3, and the replies must be the same to the byte. Where they are not meant to be, the
//! list in `differential/known.rs` says what the engine answers instead, and why.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "differential/known.rs"]
mod known;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quorate_resp::{Protocol, encode_request, parse_reply};
use quorate_scripting::{Call, Engine, Host, LogLevel, Options, Replicate, Stop};

const FILES: &[(&str, &str)] = &[
    ("replies", include_str!("scripts/replies.txt")),
    ("redis", include_str!("scripts/redis.txt")),
    ("language", include_str!("scripts/language.txt")),
    ("cjson", include_str!("scripts/cjson.txt")),
    ("cmsgpack", include_str!("scripts/cmsgpack.txt")),
    ("struct", include_str!("scripts/struct.txt")),
    ("bit", include_str!("scripts/bit.txt")),
];

const HEX: &str =
    r#"local function hex(s) return (s:gsub(".", function(c) return string.format("%02x",c:byte()) end)) end"#;

const KEYS: &[&[u8]] = &[b"key1", b"key2"];
const ARGV: &[&[u8]] = &[b"arg1", b"5"];

/// A Redis that lives as long as this value.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts Redis; `None` if it is not installed.
    fn start() -> Option<Server> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--enable-debug-command", "yes", "--dir"])
            .arg(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.contains("Ready to accept connections")));
        assert!(ready, "redis-server ended before it was ready");
        Some(Server { child, port })
    }

    fn connect(&self) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream, buffer: Vec::new() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a command and returns the bytes of its reply.
    fn run(&mut self, argv: &[&[u8]]) -> Vec<u8> {
        let mut request = Vec::new();
        encode_request(&mut request, argv);
        self.stream.write_all(&request).unwrap();
        loop {
            if let Some((_, length)) = parse_reply(&self.buffer).expect("Redis answers with replies") {
                return self.buffer.drain(..length).collect();
            }
            let mut chunk = [0; 65536];
            let read = self.stream.read(&mut chunk).expect("Redis answers in time");
            assert!(read > 0, "Redis has closed the connection after {:?}", String::from_utf8_lossy(&request));
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }

    fn speak(&mut self, protocol: Protocol) {
        let version: &[u8] = if protocol == Protocol::Resp3 { b"3" } else { b"2" };
        self.run(&[b"HELLO", version]);
    }

    fn prepare(&mut self) {
        self.run(&[b"FLUSHALL"]);
        self.run(&[b"SET", b"x", b"abc"]);
    }
}

/// Passes a script's commands on to Redis, with the checks of a script's commands.
struct Passing {
    connection: Connection,
}

impl Host for Passing {
    fn call(&mut self, argv: &[&[u8]], reply: &mut Vec<u8>) {
        let answer = self.connection.run(argv);
        if answer.starts_with(b"-ERR unknown command") {
            reply.extend_from_slice(b"-ERR Unknown Redis command called from script\r\n");
        } else if answer.starts_with(b"-ERR wrong number of arguments") {
            reply.extend_from_slice(b"-ERR Wrong number of args calling Redis command from script\r\n");
        } else {
            reply.extend_from_slice(&answer);
        }
    }

    fn set_protocol(&mut self, protocol: Protocol) {
        self.connection.speak(protocol);
    }

    fn log(&mut self, _: LogLevel, _: &[u8]) {}

    fn set_replication(&mut self, _: Replicate) {}

    fn may_run(&mut self, argv: &[&[u8]]) -> Option<bool> {
        let info = self.connection.run(&[b"COMMAND", b"INFO", argv[0]]);
        (!info.starts_with(b"*1\r\n*-1") && !info.starts_with(b"*1\r\n$-1")).then_some(true)
    }

    fn should_stop(&mut self) -> Option<Stop> {
        None
    }
}

fn engine() -> Engine {
    Engine::new(Options { version: [7, 0, 15], ..Options::default() })
}

fn on_engine(engine: &mut Engine, host: &mut Passing, source: &str, protocol: Protocol) -> Vec<u8> {
    host.connection.speak(Protocol::Resp2);
    host.connection.run(&[b"SELECT", b"0"]);
    let mut out = Vec::new();
    match engine.load(source.as_bytes()) {
        Ok(id) => {
            engine.eval(&id, &Call { keys: KEYS, argv: ARGV, protocol }, host, &mut out).unwrap();
        }
        Err(error) => out = format!("-ERR {error}\r\n").into_bytes(),
    }
    out
}

fn on_redis(connection: &mut Connection, source: &str) -> Vec<u8> {
    connection.run(&[b"EVAL", source.as_bytes(), b"2", KEYS[0], KEYS[1], ARGV[0], ARGV[1]])
}

/// A reply as a line of text, with the script's name left out.
fn shown(reply: &[u8], source: &str) -> String {
    let name = quorate_scripting::ScriptId::of(source.as_bytes()).to_string();
    reply
        .escape_ascii()
        .to_string()
        .replace(&format!(" script: {name}, on"), " @")
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

#[test]
fn scripts_answer_as_they_do_on_redis() {
    let Some(server) = Server::start() else {
        eprintln!("SKIPPED: no redis-server here, nothing was compared");
        return;
    };
    let mut redis = server.connect();
    redis.run(&[b"DEBUG", b"SET-DISABLE-DENY-SCRIPTS", b"1"]);
    let mut host = Passing { connection: server.connect() };
    let mut engine = engine();
    let mut differences = Vec::new();
    let mut unused: Vec<&str> = known::DIFFERENCES.iter().map(|known| known.script).collect();
    let mut compared = 0;
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        for (file, text) in FILES {
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let source = line.replace("\\N", "\n").replace("$HEX", HEX);
                redis.speak(protocol);
                redis.prepare();
                let theirs = shown(&on_redis(&mut redis, &source), &source);
                redis.prepare();
                let ours = shown(&on_engine(&mut engine, &mut host, &source, protocol), &source);
                compared += 1;
                if ours == theirs {
                    continue;
                }
                let expected = known::DIFFERENCES.iter().find(|known| known.script == line);
                unused.retain(|script| *script != line);
                match expected {
                    Some(known) if ours.contains(known.ours) => {}
                    _ => differences.push(format!("{file}: {line}\n  redis: {theirs}\n  ours:  {ours}")),
                }
            }
        }
    }
    eprintln!("{compared} replies compared, {} scripts known to differ", known::DIFFERENCES.len());
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(unused.is_empty(), "these scripts don't differ any more: {unused:#?}");
}

#[test]
fn the_globals_are_those_of_redis() {
    let Some(server) = Server::start() else {
        eprintln!("SKIPPED: no redis-server here, nothing was compared");
        return;
    };
    let walk = r#"
        local names = {}
        for name, value in pairs(_G) do
            names[#names + 1] = name
            if type(value) == "table" and name ~= "_G" and name ~= "KEYS" and name ~= "ARGV" then
                for field, inner in pairs(value) do
                    names[#names + 1] = name .. "." .. field .. " " .. type(inner)
                end
            end
        end
        table.sort(names)
        return table.concat(names, "\n")
    "#;
    let text = |reply: &[u8]| String::from_utf8_lossy(reply).lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let theirs = text(&on_redis(&mut server.connect(), walk));
    let mut host = Passing { connection: server.connect() };
    let ours = text(&on_engine(&mut engine(), &mut host, walk, Protocol::Resp2));
    let only = |left: &[String], right: &[String]| -> Vec<String> {
        left.iter().filter(|name| !right.contains(name)).cloned().collect()
    };
    assert_eq!(only(&theirs, &ours), known::MISSING_GLOBALS);
    let more: Vec<String> = only(&ours, &theirs).into_iter().filter(|name| !name.starts_with("server.")).collect();
    assert_eq!(more, known::ADDED_GLOBALS);
}

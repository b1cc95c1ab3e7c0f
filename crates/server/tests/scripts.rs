//! Scripts and functions over real connections to a real server with several threads.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_client::Client;
use quorate_resp::Reply;

/// After so long something has gone wrong.
const LIMIT: Duration = Duration::from_secs(30);

struct Server {
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
    fn start() -> Server {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut server = Server::spawn();
            // Another server may have been quicker to take the port: then ours ends.
            while server.process.try_wait().is_ok_and(|ended| ended.is_none()) {
                let ours = format!("process_id:{}\r\n", server.process.id());
                if Client::connect(server.address, LIMIT)
                    .is_ok_and(|mut client| run(&mut client, &["INFO", "server"]).contains(&ours))
                {
                    return server;
                }
                assert!(Instant::now() < deadline, "the server does not listen");
                std::thread::yield_now();
            }
        }
    }

    fn spawn() -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.args(["server", "--port", &address.port().to_string(), "--save", "", "--network-threads", "4"]);
        command.args(["--busy-reply-threshold", "10", "--dir"]);
        command.arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("the server was built for this test");
        Server { process, address, _folder: folder }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address, LIMIT).expect("the server listens")
    }
}

fn show(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) | Reply::Error(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    }
}

fn run(client: &mut Client, words: &[&str]) -> String {
    show(&client.call(words).expect("a reply"))
}

fn send(client: &mut Client, words: &[&str]) {
    client.push(words);
    client.flush().expect("the server reads");
}

/// Waits until clients are told that a script is busy.
fn await_busy(client: &mut Client) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let reply = run(client, &["GET", "elsewhere"]);
        if reply.starts_with("BUSY") {
            return reply;
        }
        assert!(Instant::now() < deadline, "no script is busy: {reply}");
    }
}

#[test]
fn a_script_that_touches_keys_it_did_not_declare_does_all_of_it_once() {
    let server = Server::start();
    let source = "redis.call('INCR', KEYS[1]) redis.call('RPUSH', 'undeclared:' .. ARGV[1], KEYS[2]) \
                  return redis.call('INCR', 'undeclared')";
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let mut client = server.connect();
            std::thread::spawn(move || {
                let (own, worker) = (format!("own:{worker}"), worker.to_string());
                for _ in 0..100 {
                    let reply = client.call(&["EVAL", source, "2", &own, "second", &worker]).expect("a reply");
                    assert!(matches!(reply, Reply::Int(_)), "{reply:?}");
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("all scripts were answered");
    }
    let mut client = server.connect();
    assert_eq!(run(&mut client, &["GET", "undeclared"]), "400");
    for worker in 0..4 {
        assert_eq!(run(&mut client, &["GET", &format!("own:{worker}")]), "100");
        assert_eq!(client.call(&["LLEN", &format!("undeclared:{worker}")]).expect("a reply"), Reply::Int(100));
        assert_eq!(run(&mut client, &["LINDEX", &format!("undeclared:{worker}"), "-1"]), "second");
    }
}

#[test]
fn a_busy_script_keeps_everybody_waiting_until_it_is_killed() {
    let server = Server::start();
    let (mut caller, mut others) = (server.connect(), [server.connect(), server.connect(), server.connect()]);
    assert!(run(&mut others[0], &["SCRIPT", "KILL"]).starts_with("NOTBUSY"));
    send(&mut caller, &["EVAL", "while true do end", "1", "key"]);
    for other in &mut others {
        assert!(await_busy(other).ends_with("You can only call SCRIPT KILL or SHUTDOWN NOSAVE."));
        assert!(run(other, &["FUNCTION", "KILL"]).starts_with("BUSY"));
    }
    assert_eq!(run(&mut others[0], &["MULTI"]), "OK");
    assert!(run(&mut others[0], &["SET", "elsewhere", "1"]).starts_with("BUSY"));
    assert_eq!(run(&mut others[1], &["SCRIPT", "KILL"]), "OK");
    assert!(show(&caller.receive().expect("a reply")).contains("Script killed by user"));
    assert!(run(&mut others[0], &["EXEC"]).starts_with("EXECABORT"));
    assert_eq!(run(&mut others[2], &["SET", "key", "1"]), "OK");
}

#[test]
fn a_script_that_has_written_is_not_killed() {
    let server = Server::start();
    let (mut caller, mut other) = (server.connect(), server.connect());
    let source = "redis.call('SET', KEYS[1], 1) while redis.call('TIME')[1] do end";
    send(&mut caller, &["EVAL", source, "1", "key"]);
    await_busy(&mut other);
    assert!(run(&mut other, &["SCRIPT", "KILL"]).starts_with("UNKILLABLE"));
    // Ends the server, and the script with it.
    send(&mut other, &["SHUTDOWN", "NOSAVE"]);
    assert!(caller.receive().is_err() || caller.receive().is_err());
}

#[test]
fn a_function_is_found_by_every_thread_and_killed_by_its_own_command() {
    let server = Server::start();
    let (mut caller, mut other) = (server.connect(), server.connect());
    let library = "#!lua name=lib\nredis.register_function('store', function(keys, args) \
                   return redis.call('SET', keys[1], args[1]) end)\n\
                   redis.register_function('spin', function() while true do end end)";
    assert_eq!(run(&mut caller, &["FUNCTION", "LOAD", library]), "lib");
    for value in ["a", "b", "c", "d"] {
        let mut client = server.connect();
        assert_eq!(run(&mut client, &["FCALL", "store", "1", "key", value]), "OK");
        assert_eq!(run(&mut client, &["GET", "key"]), value);
    }
    send(&mut caller, &["FCALL", "spin", "0"]);
    assert!(await_busy(&mut other).ends_with("You can only call FUNCTION KILL or SHUTDOWN NOSAVE."));
    assert!(run(&mut other, &["FUNCTION", "STATS"]).starts_with("running_script name spin command FCALL spin 0 "));
    assert!(run(&mut other, &["SCRIPT", "KILL"]).starts_with("BUSY"));
    assert_eq!(run(&mut other, &["FUNCTION", "KILL"]), "OK");
    assert!(show(&caller.receive().expect("a reply")).contains("FUNCTION KILL"));
    assert_eq!(run(&mut other, &["FUNCTION", "FLUSH"]), "OK");
    assert_eq!(run(&mut caller, &["FCALL", "store", "1", "key", "e"]), "ERR Function not found");
}

//! Client libraries as people use them, unchanged, in their default mode: redis-py, ioredis and redis-rs connect, pipeline,
//! transact, run scripts, subscribe and wait for an element.
//!
//! redis-py and ioredis run as programs of their own (`redis_py.py`, `redis_py_cache.py`, `ioredis.js`); `cargo xtask
//! peers` installs them. What is not installed is skipped, and says so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;

use quorate_interop::{PATIENCE, Server, peers};
use redis::{Commands, Connection, RedisResult, Script};

/// Runs a program that ends well if the library gets on with the server.
fn run(mut program: Command, server: &Server) {
    let output = program.arg(server.port().to_string()).output().unwrap();
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{errors}", output.status);
    assert!(out.ends_with("all is well\n"), "it ended before its end: {out}\n{errors}");
}

#[test]
fn redis_py_gets_on_with_the_server() {
    let Some(program) = peers::python("redis", "redis_py.py") else { return };
    run(program, &Server::start(&[]));
}

#[test]
fn the_cache_of_redis_py_is_never_stale() {
    let Some(program) = peers::python("redis", "redis_py_cache.py") else { return };
    run(program, &Server::start(&[]));
}

#[test]
fn ioredis_gets_on_with_the_server() {
    let Some(program) = peers::node("ioredis", "ioredis.js") else { return };
    run(program, &Server::start(&[]));
}

fn connect(server: &Server, parameters: &str) -> Connection {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/{parameters}", server.port())).unwrap();
    let connection = client.get_connection_with_timeout(PATIENCE).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection
}

#[test]
fn redis_rs_gets_on_with_the_server() {
    let server = Server::start(&[]);
    for parameters in ["", "?protocol=resp3"] {
        let mut connection = connect(&server, parameters);
        let () = redis::cmd("FLUSHALL").query(&mut connection).unwrap();
        let (first, second): (i64, String) =
            redis::pipe().incr("n", 41).set("t", "text").ignore().get("t").query(&mut connection).unwrap();
        assert_eq!((first, second.as_str()), (41, "text"));
        transact(&mut connection, &server, parameters);
        let sum: i64 = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1]) * 2")
            .key("n")
            .arg(8)
            .invoke(&mut connection)
            .unwrap();
        assert_eq!(sum, 100);
        let error: RedisResult<i64> = connection.incr("t", 1);
        assert_eq!(error.unwrap_err().detail(), Some("value is not an integer or out of range"));
        wait_for_an_element(&mut connection, &server, parameters);
    }
    subscribe(&server);
}

/// A transaction whose key is written by somebody else in between is tried again.
fn transact(connection: &mut Connection, server: &Server, parameters: &str) {
    let mut other = connect(server, parameters);
    let mut attempts = 0;
    let (new,): (i64,) = redis::transaction(connection, &["n"], |connection, pipe| {
        attempts += 1;
        let old: i64 = connection.get("n")?;
        if attempts == 1 {
            let () = other.set("n", 41)?;
        }
        pipe.set("n", old + 1).ignore().get("n").query(connection)
    })
    .unwrap();
    assert_eq!((new, attempts), (42, 2));
}

fn wait_for_an_element(connection: &mut Connection, server: &Server, parameters: &str) {
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let popped: (String, String) = connect(server, parameters).blpop("queue", 30.0).unwrap();
            popped
        });
        let blocked = || -> String { redis::cmd("INFO").arg("clients").query(&mut *connection).unwrap() };
        wait_until(blocked, |info| info.contains("blocked_clients:1"));
        let () = connect(server, parameters).rpush("queue", "element").unwrap();
        assert_eq!(waiter.join().unwrap(), ("queue".to_owned(), "element".to_owned()));
    });
}

fn subscribe(server: &Server) {
    let mut listening = connect(server, "");
    let mut subscription = listening.as_pubsub();
    subscription.set_read_timeout(Some(PATIENCE)).unwrap();
    subscription.subscribe("news").unwrap();
    subscription.psubscribe("n*").unwrap();
    let receivers: i64 = connect(server, "").publish("news", "hello").unwrap();
    assert_eq!(receivers, 2);
    for pattern in [false, true] {
        let message = subscription.get_message().unwrap();
        assert_eq!((message.from_pattern(), message.get_payload::<String>().unwrap().as_str()), (pattern, "hello"));
    }
}

fn wait_until<T: std::fmt::Debug>(mut look: impl FnMut() -> T, is_reached: impl Fn(&T) -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if is_reached(&seen) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "in vain: {seen:?}");
        quorate_interop::pause();
    }
}

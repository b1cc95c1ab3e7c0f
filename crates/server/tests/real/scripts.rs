//! Scripts and functions over real connections to a real server with several threads.

use std::time::Instant;

use quorate_client::Client;
use quorate_resp::Reply;

use crate::server::{LIMIT, Server, show};

/// Several threads, and scripts that are soon called busy.
fn start() -> Server {
    Server::start(&["--network-threads", "4", "--busy-reply-threshold", "10", "--enable-debug-command", "yes"])
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
    let server = Server::start(&["--network-threads", "4"]);
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
    let server = start();
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

/// The thread reads several clients before it runs the requests of the first. Here that is a script, and what it lets wait
/// has been read already when the thread begins to answer with -BUSY.
#[test]
fn what_came_before_a_script_was_busy_is_answered_before_what_comes_later() {
    let arguments = ["--network-threads", "1", "--busy-reply-threshold", "10", "--enable-debug-command", "yes"];
    let server = Server::start(&arguments);
    let (mut sleeper, mut caller) = (server.connect(), server.connect());
    let (mut other, mut killer) = (server.connect(), server.connect());
    send(&mut sleeper, &["DEBUG", "SLEEP", "0.3"]);
    send(&mut caller, &["EVAL", "while true do end", "0"]);
    send(&mut other, &["ECHO", "first"]);
    await_busy(&mut killer);
    send(&mut other, &["ECHO", "second"]);
    // Each goes through all clients once.
    for _ in 0..2 {
        await_busy(&mut killer);
    }
    assert_eq!(run(&mut killer, &["SCRIPT", "KILL"]), "OK");
    let replies = [(); 2].map(|()| show(&other.receive().expect("a reply")));
    // Whatever the thread read together, each is answered by itself or told that a script is busy, and in order.
    for (reply, asked) in replies.iter().zip(["first", "second"]) {
        assert!(reply == asked || reply.starts_with("BUSY"), "{replies:?}");
    }
}

/// A script that is alone begins while others are in the midst of many requests, or want to be alone as well. All of them
/// are answered while it runs, and none has to wait for its end.
fn all_are_answered_while_a_script_runs(arguments: &[&str], request: &[&str]) {
    let common = ["--network-threads", "4", "--busy-reply-threshold", "10", "--enable-debug-command", "yes"];
    let server = Server::start(&[&common[..], arguments].concat());
    let (mut sleeper, mut caller, mut killer) = (server.connect(), server.connect(), server.connect());
    let (mut many, mut alone) = (server.connect(), server.connect());
    let deadline = Instant::now() + LIMIT;
    while run(&mut alone, &["DBSIZE"]).starts_with("LOADING") {
        assert!(Instant::now() < deadline, "the server does not end loading");
    }
    for round in 0..20 {
        // Those who come meanwhile begin together.
        send(&mut sleeper, &["DEBUG", "SLEEP", "0.05"]);
        send(&mut caller, &["EVAL", "redis.call('GET', 'undeclared') while true do end", "0"]);
        send(&mut alone, &["FLUSHALL"]);
        for _ in 0..500 {
            many.push(request);
        }
        many.flush().expect("the server reads");
        for _ in 0..500 {
            let reply = show(&many.receive().expect("a reply while the script runs"));
            assert!(!reply.starts_with("ERR"), "round {round}: {reply}");
        }
        let reply = show(&alone.receive().expect("a reply while the script runs"));
        assert!(reply == "OK" || reply.starts_with("BUSY"), "round {round}: {reply}");
        await_busy(&mut killer);
        assert_eq!(run(&mut killer, &["SCRIPT", "KILL"]), "OK");
        assert!(show(&caller.receive().expect("a reply")).contains("Script killed by user"));
        sleeper.receive().expect("a reply");
    }
}

#[test]
fn nobody_is_left_without_an_answer_by_a_script_that_came_between() {
    all_are_answered_while_a_script_runs(&[], &["GET", "elsewhere"]);
}

#[test]
fn nor_is_who_waits_for_the_disk() {
    all_are_answered_while_a_script_runs(
        &["--appendonly", "yes", "--appendfsync", "always"],
        &["SET", "elsewhere", "1"],
    );
}

#[test]
fn a_script_that_has_written_is_not_killed() {
    let server = start();
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
    let server = start();
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
    assert!(run(&mut other, &["FUNCTION", "STATS"]).starts_with("[running_script [name spin command [FCALL spin 0] "));
    assert!(run(&mut other, &["SCRIPT", "KILL"]).starts_with("BUSY"));
    assert_eq!(run(&mut other, &["FUNCTION", "KILL"]), "OK");
    assert!(show(&caller.receive().expect("a reply")).contains("FUNCTION KILL"));
    assert_eq!(run(&mut other, &["FUNCTION", "FLUSH"]), "OK");
    assert_eq!(run(&mut caller, &["FCALL", "store", "1", "key", "e"]), "ERR Function not found");
}

//! Clients that wait for keys, over real connections to a real server with several threads.

use std::time::Instant;

use quorate_client::Client;

use crate::server::{LIMIT, Server, show};

fn start() -> Server {
    Server::start(&["--network-threads", "4"])
}

/// Runs a line and returns its reply in readable form.
fn run(client: &mut Client, line: &str) -> String {
    show(&client.call(&line.split(' ').collect::<Vec<_>>()).expect("a reply"))
}

/// Sends a line that blocks, and returns when `count` clients wait.
fn block(client: &mut Client, line: &str, watcher: &mut Client, count: usize) {
    client.push(&line.split(' ').collect::<Vec<_>>());
    client.flush().expect("the server reads");
    await_blocked(watcher, count);
}

fn await_blocked(watcher: &mut Client, count: usize) {
    let deadline = Instant::now() + LIMIT;
    let wanted = format!("blocked_clients:{count}\r\n");
    while !run(watcher, "INFO clients").contains(&wanted) {
        assert!(Instant::now() < deadline, "not {count} clients wait");
    }
}

fn receive(client: &mut Client) -> String {
    show(&client.receive().expect("a reply"))
}

#[test]
fn who_waits_first_is_served_first() {
    let server = start();
    let (mut watcher, mut clients) = (server.connect(), [server.connect(), server.connect(), server.connect()]);
    for (index, client) in clients.iter_mut().enumerate() {
        block(client, "BLPOP k 0", &mut watcher, index + 1);
    }
    assert_eq!(run(&mut watcher, "RPUSH k a b"), "2");
    assert_eq!(receive(&mut clients[0]), "[k a]");
    assert_eq!(receive(&mut clients[1]), "[k b]");
    await_blocked(&mut watcher, 1);
    assert_eq!(run(&mut watcher, "EXISTS k"), "0");
    assert_eq!(run(&mut watcher, "RPUSH k c"), "1");
    assert_eq!(receive(&mut clients[2]), "[k c]");
}

#[test]
fn only_a_key_that_has_become_a_list_wakes_who_waits_for_one() {
    let server = start();
    let (mut watcher, mut client) = (server.connect(), server.connect());
    block(&mut client, "BRPOP k 0", &mut watcher, 1);
    for line in ["SET k v", "DEL k", "ZADD k 1 m", "DEL k", "MULTI", "RPUSH k gone", "DEL k", "SET k v", "EXEC"] {
        run(&mut watcher, line);
    }
    await_blocked(&mut watcher, 1);
    run(&mut watcher, "DEL k");
    run(&mut watcher, "RPUSH other x");
    assert_eq!(run(&mut watcher, "RENAME other k"), "OK");
    assert_eq!(receive(&mut client), "[k x]");
}

#[test]
fn an_element_goes_from_hand_to_hand_across_slots() {
    let server = start();
    let (mut watcher, mut first, mut second, mut third) =
        (server.connect(), server.connect(), server.connect(), server.connect());
    block(&mut third, "BLPOP none c 0", &mut watcher, 1);
    block(&mut second, "BLMOVE b c LEFT RIGHT 0", &mut watcher, 2);
    block(&mut first, "BRPOPLPUSH a b 0", &mut watcher, 3);
    assert_eq!(run(&mut watcher, "RPUSH a x"), "1");
    assert_eq!(receive(&mut first), "x");
    assert_eq!(receive(&mut second), "x");
    assert_eq!(receive(&mut third), "[c x]");
    assert_eq!(run(&mut watcher, "EXISTS a b c"), "0");
}

#[test]
fn waiting_ends_with_the_time_or_when_somebody_says_so() {
    let server = start();
    let (mut watcher, mut client) = (server.connect(), server.connect());
    let id = run(&mut client, "CLIENT ID");
    assert_eq!(run(&mut client, "BLPOP k 0.01"), "nil");
    assert_eq!(run(&mut client, "BLMOVE k d LEFT LEFT 0.01"), "nil");
    block(&mut client, "BLMPOP 0 1 k LEFT", &mut watcher, 1);
    assert_eq!(run(&mut watcher, &format!("CLIENT UNBLOCK {id}")), "1");
    assert_eq!(receive(&mut client), "nil");
    block(&mut client, "BLPOP k 0", &mut watcher, 1);
    assert_eq!(run(&mut watcher, &format!("CLIENT UNBLOCK {id} ERROR")), "1");
    assert_eq!(receive(&mut client), "UNBLOCKED client unblocked via CLIENT UNBLOCK");
    assert_eq!(run(&mut watcher, &format!("CLIENT UNBLOCK {id}")), "0");
    assert_eq!(run(&mut watcher, "RPUSH k x"), "1");
    assert_eq!(run(&mut client, "BLPOP k 0"), "[k x]");
}

#[test]
fn each_element_reaches_exactly_one_of_many() {
    const EACH: usize = 400;
    let server = start();
    let keys = ["a", "b", "c"];
    let mut taken: Vec<String> = std::thread::scope(|scope| {
        let producers = keys.map(|key| {
            let mut producer = server.connect();
            scope.spawn(move || {
                for number in 0..EACH {
                    run(&mut producer, &format!("RPUSH {key} {key}{number}"));
                }
            })
        });
        let consumers: Vec<_> = (0..4)
            .map(|index| {
                let mut consumer = server.connect();
                scope.spawn(move || {
                    let mut taken = Vec::new();
                    loop {
                        // Some wait in the slots of all keys, some in that of one.
                        let line = if index < 3 { "BLPOP a b c stop 0" } else { "BLPOP b 0.5" };
                        let reply = run(&mut consumer, line);
                        match reply.trim_matches(['[', ']']).split_once(' ') {
                            Some(("stop", _)) | None => return taken,
                            Some((_, element)) => taken.push(element.to_owned()),
                        }
                    }
                })
            })
            .collect();
        for producer in producers {
            producer.join().expect("it does not panic");
        }
        let mut watcher = server.connect();
        let deadline = Instant::now() + LIMIT;
        while run(&mut watcher, "EXISTS a b c") != "0" || !consumers[3].is_finished() {
            assert!(Instant::now() < deadline, "elements lie there while clients wait for them");
        }
        await_blocked(&mut watcher, 3);
        run(&mut watcher, "RPUSH stop 1 2 3");
        consumers.into_iter().flat_map(|consumer| consumer.join().expect("it does not panic")).collect()
    });
    taken.sort_unstable();
    let mut expected: Vec<String> =
        keys.iter().flat_map(|key| (0..EACH).map(move |number| format!("{key}{number}"))).collect();
    expected.sort_unstable();
    assert_eq!(taken, expected);
}

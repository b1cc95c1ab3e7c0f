//! Keys that move from server to server while others write to them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use quorate_client::{Client, Reply};
use quorate_interop::Server;

fn run(client: &mut Client, line: &str) -> Reply {
    client.call(&line.split(' ').map(|word| if word == "''" { "" } else { word }).collect::<Vec<_>>()).unwrap()
}

fn simple(text: &str) -> Reply {
    Reply::Simple(text.as_bytes().to_vec())
}

fn numbers(reply: Reply) -> Vec<usize> {
    let Reply::Array(items) = reply else { panic!("{reply:?}") };
    let number = |item| match item {
        Reply::Bulk(text) => String::from_utf8(text).unwrap().parse().unwrap(),
        other => panic!("{other:?}"),
    };
    items.into_iter().map(number).collect()
}

#[test]
fn no_write_is_lost_between_what_is_sent_and_what_is_removed() {
    const WRITES: usize = 4000;
    let (here, there) = (Server::start(&["--network-threads", "2"]), Server::start(&[]));
    let mut writer = here.connect();
    let writing = std::thread::spawn(move || {
        for number in 0..WRITES {
            assert!(matches!(run(&mut writer, &format!("RPUSH list {number}")), Reply::Int(_)));
        }
    });
    let (mut here_client, mut there_client) = (here.connect(), there.connect());
    let migrate = format!("MIGRATE 127.0.0.1 {} list 0 10000", there.port());
    let (mut seen, mut moves) = (Vec::new(), 0);
    loop {
        let is_last = writing.is_finished();
        let reply = run(&mut here_client, &migrate);
        if reply == simple("OK") {
            moves += 1;
            seen.extend(numbers(run(&mut there_client, "LRANGE list 0 -1")));
            run(&mut there_client, "DEL list");
        } else {
            assert_eq!(reply, simple("NOKEY"));
        }
        if is_last {
            break;
        }
    }
    writing.join().unwrap();
    assert_eq!(seen, (0..WRITES).collect::<Vec<_>>());
    assert!(moves > 1, "the key moved while it was written to");
    assert_eq!(run(&mut here_client, "EXISTS list"), Reply::Int(0));
}

#[test]
fn a_kept_connection_that_was_closed_is_made_anew() {
    let (here, there) = (Server::start(&[]), Server::start(&[]));
    let mut client = here.connect();
    let migrate = format!("MIGRATE 127.0.0.1 {} '' 3 10000 KEYS a b", there.port());
    run(&mut client, "MSET a 1 b 2");
    assert_eq!(run(&mut client, &migrate), simple("OK"));
    let there = there.replace(&[]);
    run(&mut client, "SET b 3");
    assert_eq!(run(&mut client, &migrate), simple("OK"), "{}", here.log());
    let mut other = there.connect();
    run(&mut other, "SELECT 3");
    assert_eq!(run(&mut other, "GET b"), Reply::Bulk(b"3".to_vec()));
    drop((other, there));
    run(&mut client, "SET a 4");
    let Reply::Error(text) = run(&mut client, &migrate) else { panic!("nobody listens there") };
    assert!(text.starts_with(b"IOERR "), "{}", text.escape_ascii());
    assert_eq!(run(&mut client, "GET a"), Reply::Bulk(b"4".to_vec()), "what has not arrived stays");
}

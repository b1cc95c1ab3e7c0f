//! Locks of several libraries on one resource at the same time: redlock-py, npm's redlock and ours, over five real Redis
//! servers and over five of ours.
//!
//! A witness, one more server, counts who is inside: never more than one. Our holders also write to a store that compares
//! fencing tokens, and none is refused. Everybody gets all the sections that it wants, so nobody is stuck.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_interop::{Server, peers};
use quorate_redlock::{RedLock, Retry, fenced};
use redis::AsyncCommands;

const TTL: Duration = Duration::from_secs(10);
/// How long all of it may take; a busy machine needs patience.
const PATIENCE: Duration = Duration::from_secs(300);
const CONTENDERS: u64 = 4;

/// Critical sections in all; `QUORATE_SECTIONS` says otherwise.
fn sections(most: u64) -> u64 {
    std::env::var("QUORATE_SECTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(most)
}

/// The programs of the other libraries, as far as they are installed.
fn others() -> Vec<(&'static str, Command)> {
    let redlock_py = peers::python("redlock", "redlock_py.py").map(|program| ("redlock-py", program));
    let redlock_js = peers::node("redlock", "redlock.js").map(|program| ("redlock of npm", program));
    redlock_py.into_iter().chain(redlock_js).collect()
}

#[test]
fn nobody_meets_anybody_inside_over_real_servers() {
    let servers: Vec<Server> = (0..6).map_while(|_| Server::start_redis(&[], None)).collect();
    if servers.len() == 6 {
        contend(&servers, 3_000);
    }
}

#[test]
fn nobody_meets_anybody_inside_over_ours() {
    let servers: Vec<Server> = (0..6).map(|_| Server::start(&["--io-threads", "1"])).collect();
    contend(&servers, 10_000);
}

/// `most` are as many as continuous integration has time for.
fn contend(servers: &[Server], most: u64) {
    let (witness, nodes) = servers.split_first().unwrap();
    let ports: Vec<String> = nodes.iter().map(|node| node.port().to_string()).collect();
    let others = others();
    let parties = others.len() as u64 + 1;
    let share = sections(most).div_ceil(parties).next_multiple_of(CONTENDERS);
    let started = Instant::now();
    let mut programs: Vec<(&str, Child)> = Vec::new();
    for (name, mut program) in others {
        program.arg(witness.port().to_string()).arg(share.to_string()).args(&ports);
        programs.push((name, program.stdout(Stdio::piped()).spawn().unwrap()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, ours(witness, nodes, share)).await.expect("ours is stuck") });
    println!("ours is done after {:.1?}", started.elapsed());
    for (name, program) in programs {
        let pid = program.id();
        let (sender, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(program.wait_with_output()));
        let Ok(output) = ended.recv_timeout(PATIENCE.saturating_sub(started.elapsed())) else {
            let _ = Command::new("kill").arg(pid.to_string()).status();
            panic!("{name} is stuck");
        };
        assert!(output.unwrap().status.success(), "{name} fails");
        println!("{name} is done after {:.1?}", started.elapsed());
    }
    let mut client = redis::Client::open(format!("redis://{}", witness.address())).unwrap();
    let read = |client: &mut redis::Client, key: &str| -> u64 {
        redis::Commands::get::<_, Option<u64>>(client, key).unwrap().unwrap_or_default()
    };
    let (done, overlaps) = (read(&mut client, "sections"), read(&mut client, "overlaps"));
    println!("{done} critical sections in {:.1?}, {overlaps} overlaps", started.elapsed());
    assert_eq!((done, overlaps, read(&mut client, "inside")), (share * parties, 0, 0));
}

/// Our contenders.
async fn ours(witness: &Server, nodes: &[Server], share: u64) {
    let retry = Retry { delay: Duration::from_millis(2), jitter: Duration::from_millis(4) };
    let addresses = nodes.iter().map(|node| node.address().to_string());
    let redlock = RedLock::builder().nodes(addresses).fenced(true).retry(retry).wait(PATIENCE).connect().await.unwrap();
    let client = redis::Client::open(format!("redis://{}", witness.address())).unwrap();
    let mut contenders = Vec::new();
    for _ in 0..CONTENDERS {
        let redlock = redlock.clone();
        let mut witness = client.get_multiplexed_async_connection().await.unwrap();
        fenced::load(&mut witness).await.unwrap();
        contenders.push(tokio::spawn(async move {
            for _ in 0..share / CONTENDERS {
                let lock = redlock.lock("shared", TTL).await.unwrap();
                let inside: u64 = witness.incr("inside", 1).await.unwrap();
                if inside != 1 {
                    let () = witness.incr("overlaps", 1).await.unwrap();
                }
                let is_newest = fenced::set(&mut witness, "state", "ours", lock.fence().unwrap()).await.unwrap();
                assert!(is_newest, "a holder's token is refused");
                let () = witness.incr("sections", 1).await.unwrap();
                let () = witness.decr("inside", 1).await.unwrap();
                assert!(lock.release().await.was_held);
            }
        }));
    }
    for contender in contenders {
        contender.await.unwrap();
    }
}

//! The main job on real input: data that a real Redis wrote, replicated into ours, served, followed by a real Redis,
//! through broken links, a chain and a change of primaries. At each stop all hold the same, as DEBUG DIGEST tells.
//!
//! `QUORATE_KEYS` sets how many keys there are (20,000 unless it is set), and `QUORATE_SECONDS` how long writes go on
//! in each round (2).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_client::{Client, Reply};
use quorate_interop::dataset;
use quorate_interop::{PATIENCE, Server};
use quorate_stdx::Rng;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn keys() -> u64 {
    setting("QUORATE_KEYS", 20_000)
}

fn seconds() -> u64 {
    setting("QUORATE_SECONDS", 2)
}

/// How long anything may take: DEBUG DIGEST looks at every byte of the dataset.
fn patience() -> Duration {
    PATIENCE + Duration::from_millis(keys() / 5)
}

fn text(reply: Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("a text was expected, not {other:?}"),
    }
}

fn ask(server: &Server, words: &[&str]) -> Reply {
    let mut client = Client::connect(server.address(), patience()).expect("the server accepts connections");
    client.call(words).expect("the server answers")
}

fn digest(server: &Server) -> String {
    text(ask(server, &["DEBUG", "DIGEST"]))
}

fn info(server: &Server, section: &str, field: &str) -> String {
    let info = text(ask(server, &["INFO", section]));
    let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
    found.unwrap_or_else(|| panic!("INFO {section} has no {field}:\n{info}"))
}

/// Waits until the condition holds; there is a deadline, and what was seen last is told then.
fn wait_until<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, mut see: impl FnMut() -> T) {
    let deadline = Instant::now() + patience();
    loop {
        let seen = see();
        if seen == *expected {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {seen:?} and not {expected:?}");
        quorate_interop::pause();
    }
}

fn follow(replica: &Server, primary: &Server) {
    let port = primary.port().to_string();
    ask(replica, &["REPLICAOF", "127.0.0.1", &port]);
}

fn await_link(replica: &Server) {
    wait_until("the link is up", &"up".to_owned(), || info(replica, "replication", "master_link_status"));
}

/// Writes until the replica has applied some of the stream, and all that there is.
fn await_stream(replica: &Server, primary: &Server, key: &str) {
    let offset = |server: &Server| info(server, "replication", "master_repl_offset").parse::<u64>().unwrap();
    wait_until("the stream flows", &true, || {
        ask(primary, &["SET", key, "1"]);
        offset(replica) > 0
    });
    wait_until("the replica has caught up", &true, || offset(replica) == offset(primary));
}

/// Waits until all replicas have applied what their primary has written, and compares the data.
fn assert_same(primary: &Server, replicas: &[&Server]) {
    let offset = |server: &Server| info(server, "replication", "master_repl_offset");
    for replica in replicas {
        await_link(replica);
    }
    for replica in replicas {
        // The primary may still remove what expires, so both are looked at until nothing moves any more.
        wait_until("the replica has caught up", &true, || offset(primary) == offset(replica));
        let what = format!("the data of {} agree with those of {}", replica.port(), primary.port());
        wait_until(&what, &true, || digest(primary) == digest(replica));
    }
}

/// Clients that write to a server until they are stopped; errors of a server that changes its role end nothing.
struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Writers {
    fn start(server: &Server, count: u64, seed: u64) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|number| {
            let (stop, mut client) = (Arc::clone(&stop), server.connect());
            std::thread::spawn(move || {
                let mut rng = Rng::new(seed * 1000 + number);
                let mut written = 0;
                while !stop.load(Ordering::Relaxed) {
                    if write(&mut client, &mut rng).is_err() {
                        break;
                    }
                    written += 1;
                }
                written
            })
        });
        Writers { threads: threads.collect(), stop }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a writer does not panic")).sum()
    }
}

/// One thing that an application does: each of them is passed on to replicas in a way of its own.
fn write(client: &mut Client, rng: &mut Rng) -> std::io::Result<()> {
    let key = |rng: &mut Rng, kind: &str| format!("w:{kind}:{}", rng.below(500));
    let number = rng.below(1000).to_string();
    match rng.below(46) {
        0 => drop(client.call(&["SET", &key(rng, "s"), &number])?),
        1 => drop(client.call(&["SET", &key(rng, "s"), &number, "PX", "50"])?),
        2 => drop(client.call(&["INCRBYFLOAT", &key(rng, "f"), "0.37"])?),
        3 => drop(client.call(&["SADD", &key(rng, "set"), &number, "a", "b", "c"])?),
        4 => drop(client.call(&["SPOP", &key(rng, "set"), "2"])?),
        5 => drop(client.call(&["HINCRBYFLOAT", &key(rng, "h"), &number, "1.5"])?),
        6 => drop(client.call(&["ZADD", &key(rng, "z"), &number, "m", "1", &number])?),
        7 => drop(client.call(&["ZPOPMIN", &key(rng, "z")])?),
        8 => drop(client.call(&["LPUSH", &key(rng, "l"), &number, "x"])?),
        9 => drop(client.call(&["BLPOP", &key(rng, "l"), "0.001"])?),
        10 => drop(client.call(&["LMOVE", &key(rng, "l"), &key(rng, "l"), "LEFT", "RIGHT"])?),
        11 => {
            client.push(&["MULTI"]);
            client.push(&["INCR", &key(rng, "i")]);
            client.push(&["EXPIRE", &key(rng, "i"), "100"]);
            client.push(&["APPEND", &key(rng, "a"), "xyz"]);
            client.push(&["EXEC"]);
            client.flush()?;
            for _ in 0..5 {
                client.receive()?;
            }
        }
        12 => {
            let script = "local n = redis.call('INCR', KEYS[1]) redis.call('SADD', KEYS[2], n) return redis.call('SPOP', KEYS[2])";
            drop(client.call(&["EVAL", script, "2", &key(rng, "i"), &key(rng, "set")])?);
        }
        13 => drop(client.call(&["GETEX", &key(rng, "s"), "EX", "200"])?),
        14 => drop(client.call(&["DEL", &key(rng, "a"), &key(rng, "i")])?),
        15 => drop(client.call(&["RENAME", &key(rng, "s"), &key(rng, "s")])?),
        16 => drop(client.call(&["COPY", &key(rng, "h"), &key(rng, "h"), "DB", "3", "REPLACE"])?),
        17 => drop(client.call(&["MOVE", &key(rng, "s"), "4"])?),
        18 => drop(client.call(&["SETRANGE", &key(rng, "s"), "5", &number])?),
        19 => drop(client.call(&["GETDEL", &key(rng, "s")])?),
        20 => drop(client.call(&["ZADD", &key(rng, "z"), "GT", "CH", &number, "m"])?),
        21 => drop(client.call(&["ZRANGESTORE", &key(rng, "z"), &key(rng, "z"), "0", "5"])?),
        22 => drop(client.call(&["LINSERT", &key(rng, "l"), "BEFORE", "x", &number])?),
        23 => drop(client.call(&["LTRIM", &key(rng, "l"), "0", "20"])?),
        24 => drop(client.call(&["SMOVE", &key(rng, "set"), &key(rng, "set"), "a"])?),
        25 => drop(client.call(&["EXPIREAT", &key(rng, "h"), "1000"])?),
        26 => drop(client.call(&["PEXPIRE", &key(rng, "z"), "60", "NX"])?),
        27 => drop(client.call(&["PERSIST", &key(rng, "s")])?),
        28 => drop(client.call(&["SORT", &key(rng, "set"), "ALPHA", "STORE", &key(rng, "l")])?),
        29 => drop(client.call(&["LMPOP", "2", &key(rng, "l"), &key(rng, "l"), "RIGHT", "COUNT", "3"])?),
        30 => drop(client.call(&["BZMPOP", "0.001", "1", &key(rng, "z"), "MAX", "COUNT", "2"])?),
        31 => drop(client.call(&["MSETNX", &key(rng, "m"), &number, &key(rng, "m"), "y"])?),
        32 => drop(client.call(&["PUBLISH", "news", &number])?),
        33 if rng.below(20) == 0 => drop(client.call(&["SWAPDB", "3", "4"])?),
        34 if rng.below(100) == 0 => {
            for words in [&["SELECT", "4"][..], &["FLUSHDB", "ASYNC"], &["SELECT", "0"]] {
                client.call(words)?;
            }
        }
        35..45 => write_newer(client, rng, &number)?,
        _ => drop(client.call(&["SUNIONSTORE", &key(rng, "set"), &key(rng, "set"), &key(rng, "set")])?),
    }
    Ok(())
}

/// The same on the types that have come to Redis later.
fn write_newer(client: &mut Client, rng: &mut Rng, number: &str) -> std::io::Result<()> {
    let key = |rng: &mut Rng, kind: &str| format!("w:{kind}:{}", rng.below(500));
    match rng.below(10) {
        0 => drop(client.call(&["XADD", &key(rng, "x"), "MAXLEN", "~", "200", "*", "number", number])?),
        1 => drop(client.call(&["XADD", &key(rng, "x"), "*", number, "a", "b", "c"])?),
        2 => drop(client.call(&["XGROUP", "CREATE", &key(rng, "x"), "g", "0", "MKSTREAM"])?),
        3 => {
            let id = if rng.below(2) == 0 { ">" } else { "0" };
            let stream = key(rng, "x");
            let words = ["XREADGROUP", "GROUP", "g", "c", "COUNT", "5", "BLOCK", "1", "STREAMS", &stream, id];
            drop(client.call(&words)?);
        }
        4 => drop(client.call(&["XAUTOCLAIM", &key(rng, "x"), "g", "d", "0", "-", "COUNT", "3"])?),
        5 => drop(client.call(&["XTRIM", &key(rng, "x"), "MAXLEN", "~", "50", "LIMIT", "200"])?),
        6 => drop(client.call(&["PFADD", &key(rng, "p"), number, "a", "b"])?),
        7 => drop(client.call(&["PFCOUNT", &key(rng, "p")])?),
        8 => drop(client.call(&["BITFIELD", &key(rng, "s"), "INCRBY", "i7", number, "33"])?),
        _ => drop(client.call(&["GEOADD", &key(rng, "g"), "13.3", "38.1", number])?),
    }
    Ok(())
}

fn write_for_a_while(server: &Server, seed: u64) {
    let writers = Writers::start(server, 4, seed);
    // What is tested is that the data agree after writes of some length, not how long they take.
    let until = Instant::now() + Duration::from_secs(seconds());
    while Instant::now() < until {
        std::thread::park_timeout(until - Instant::now());
    }
    assert!(writers.stop() > 100, "the writers write");
}

const OPTIONS: &[&str] = &["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"];

#[test]
fn a_dataset_of_a_real_redis_goes_through_ours_and_back() {
    let Some(redis) = Server::start_redis(OPTIONS, None) else { return };
    dataset::fill(&mut redis.connect(), keys(), 1).expect("Redis takes the dataset");
    dataset::fill_large(&mut redis.connect()).expect("Redis takes the dataset");
    assert_eq!(ask(&redis, &["SAVE"]), Reply::Simple(b"OK".to_vec()));

    // Its file starts ours.
    let ours = Server::start_with(OPTIONS, &redis.directory().join("dump.rdb"));
    assert_eq!(digest(&ours), digest(&redis), "loaded from the file");
    // Ours starts a real one.
    assert_eq!(ask(&ours, &["SAVE"]), Reply::Simple(b"OK".to_vec()));
    let file = ours.directory().join("dump.rdb");
    let checked = std::process::Command::new("redis-check-rdb").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let Some(back) = Server::start_redis(OPTIONS, Some(&file)) else { return };
    assert_eq!(digest(&back), digest(&redis), "and back");
    for server in [&ours, &back] {
        assert_eq!(ask(server, &["FCALL", "twice", "0", "21"]), Reply::Int(42));
    }

    // Values one by one, both ways.
    let (mut from, mut to) = (redis.connect(), ours.connect());
    for key in dataset::samples() {
        let Reply::Bulk(theirs) = from.call(&["DUMP", &key]).unwrap() else { panic!("{key} is there") };
        let Reply::Bulk(own) = to.call(&["DUMP", &key]).unwrap() else { panic!("{key} is there") };
        for (client, payload) in [(&mut from, &own), (&mut to, &theirs)] {
            let words: [&[u8]; 5] = [b"RESTORE", b"copy", b"0", payload, b"REPLACE"];
            assert_eq!(client.call(&words).unwrap(), Reply::Simple(b"OK".to_vec()), "{key}");
        }
        let value = |client: &mut Client, key: &str| client.call(&["DEBUG", "DIGEST-VALUE", key]).unwrap();
        assert_eq!(value(&mut from, "copy"), value(&mut from, &key), "{key}");
        assert_eq!(value(&mut to, "copy"), value(&mut to, &key), "{key}");
        assert_eq!(value(&mut to, &key), value(&mut from, &key), "{key}");
    }
}

#[test]
fn fields_of_hashes_go_everywhere_when_the_primary_says_so_and_are_hidden_before() {
    let primary = Server::start(&[OPTIONS, &["--appendonly", "yes"]].concat());
    let replica = Server::start(OPTIONS);
    follow(&replica, &primary);
    await_link(&replica);
    let mut client = primary.connect();
    for number in 0..500 {
        let key = format!("hash:{number}");
        client.push(&["HSET", &key, "stays", "1", "goes", "2"]);
        client.push(&["HPEXPIRE", &key, &(1 + number % 100).to_string(), "FIELDS", "1", "goes"]);
    }
    client.flush().unwrap();
    for _ in 0..1000 {
        assert!(!matches!(client.receive().unwrap(), Reply::Error(_)));
    }
    wait_until("all fields are gone", &"500".to_owned(), || info(&primary, "stats", "expired_subkeys"));
    assert_same(&primary, &[&replica]);
    let stays = Reply::Array(vec![Reply::Bulk(b"stays".to_vec()), Reply::Bulk(b"1".to_vec())]);
    assert_eq!(ask(&replica, &["HGETALL", "hash:7"]), stays);
    assert_eq!(info(&replica, "stats", "expired_subkeys"), "0");

    // Nobody looks for it on the primary, and the replica must not remove it.
    ask(&primary, &["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    ask(&primary, &["HPEXPIRE", "hash:7", "1", "FIELDS", "1", "stays"]);
    wait_until("the replica hides the field", &Reply::Null, || ask(&replica, &["HGET", "hash:7", "stays"]));
    assert_eq!(ask(&replica, &["HLEN", "hash:7"]), Reply::Int(0));
    assert_eq!(ask(&replica, &["DBSIZE"]), Reply::Int(500));
    assert_eq!(ask(&primary, &["HGET", "hash:7", "stays"]), Reply::Null);
    wait_until("the hash is gone", &Reply::Int(499), || ask(&replica, &["DBSIZE"]));

    // What the file says is the same.
    ask(&primary, &["HEXPIRE", "hash:8", "1000", "FIELDS", "1", "stays"]);
    assert_same(&primary, &[&replica]);
    ask(&primary, &["DEBUG", "LOADAOF"]);
    assert_eq!(digest(&primary), digest(&replica));
    ask(&primary, &["BGREWRITEAOF"]);
    wait_until("the file is rewritten", &"1".to_owned(), || info(&primary, "persistence", "aof_rewrites"));
    ask(&primary, &["DEBUG", "LOADAOF"]);
    assert_eq!(digest(&primary), digest(&replica));
}

#[test]
fn ours_follows_a_real_primary_and_takes_its_place() {
    let Some(redis) = Server::start_redis(OPTIONS, None) else { return };
    dataset::fill(&mut redis.connect(), keys(), 2).expect("Redis takes the dataset");
    let ours = Server::start(OPTIONS);
    let Some(chained) = Server::start_redis(OPTIONS, None) else { return };
    follow(&ours, &redis);
    await_link(&ours);
    follow(&chained, &ours);
    assert_same(&redis, &[&ours, &chained]);

    let partial = |server: &Server| info(server, "stats", "sync_partial_ok").parse::<u64>().unwrap();
    let full = |server: &Server| info(server, "stats", "sync_full");
    for cut in 0..3 {
        let (before, full_before) = (partial(&redis), full(&redis));
        let writers = Writers::start(&redis, 4, 10 + cut);
        ask(&redis, &["CLIENT", "KILL", "TYPE", "replica"]);
        wait_until("the link is taken up again", &(before + 1), || partial(&redis));
        assert!(writers.stop() > 0);
        assert_eq!(full(&redis), full_before, "nothing was sent anew");
    }
    write_for_a_while(&redis, 20);
    assert_same(&redis, &[&ours, &chained]);

    // The primary hands over, and follows.
    let port = ours.port().to_string();
    assert_eq!(ask(&redis, &["FAILOVER", "TO", "127.0.0.1", &port]), Reply::Simple(b"OK".to_vec()));
    wait_until("ours leads", &"master".to_owned(), || info(&ours, "replication", "role"));
    await_link(&redis);
    write_for_a_while(&ours, 30);
    assert_same(&ours, &[&redis, &chained]);
    assert_eq!(full(&ours), "1", "only the chained replica ever needed everything");
}

#[test]
fn real_replicas_follow_ours_and_one_takes_its_place() {
    let ours = Server::start(OPTIONS);
    dataset::fill(&mut ours.connect(), keys(), 3).expect("ours takes the dataset");
    let (Some(first), second) = (Server::start_redis(OPTIONS, None), Server::start(OPTIONS)) else { return };
    follow(&first, &ours);
    follow(&second, &ours);
    await_link(&first);
    await_link(&second);
    let Some(chained) = Server::start_redis(OPTIONS, None) else { return };
    follow(&chained, &second);
    assert_same(&ours, &[&first, &second, &chained]);

    let partial = |server: &Server| info(server, "stats", "sync_partial_ok").parse::<u64>().unwrap();
    let full = |server: &Server| info(server, "stats", "sync_full");
    for cut in 0..3 {
        let (before, full_before) = (partial(&ours), full(&ours));
        let writers = Writers::start(&ours, 4, 40 + cut);
        ask(&ours, &["CLIENT", "KILL", "TYPE", "replica"]);
        wait_until("both links are taken up again", &true, || partial(&ours) >= before + 2);
        assert!(writers.stop() > 0);
        assert_eq!(full(&ours), full_before, "nothing was sent anew");
    }
    write_for_a_while(&ours, 50);
    assert_same(&ours, &[&first, &second, &chained]);

    // Ours hands over to the real one; then our other replica is told of it.
    let port = first.port().to_string();
    assert_eq!(ask(&ours, &["FAILOVER", "TO", "127.0.0.1", &port]), Reply::Simple(b"OK".to_vec()));
    wait_until("the real one leads", &"master".to_owned(), || info(&first, "replication", "role"));
    follow(&second, &first);
    await_link(&second);
    write_for_a_while(&first, 60);
    assert_same(&first, &[&ours, &second, &chained]);
    assert_eq!(full(&first), "0", "all went on from where they were");
}

#[test]
fn an_empty_primary_that_restarted_wipes_nobody_unless_an_operator_says_so() {
    let primary = Server::start(OPTIONS);
    let replica = Server::start(OPTIONS);
    dataset::fill(&mut primary.connect(), 1000, 4).unwrap();
    follow(&replica, &primary);
    await_link(&replica);
    assert_same(&primary, &[&replica]);
    let held = digest(&replica);

    let primary = primary.replace(OPTIONS);
    wait_until("the offer is refused", &true, || replica.log().contains("Full resync refused"));
    assert_eq!(digest(&replica), held, "all is still there");
    assert_eq!(info(&replica, "replication", "master_link_status"), "down");

    follow(&replica, &primary);
    await_link(&replica);
    assert_same(&primary, &[&replica]);
}

#[test]
fn a_replica_that_is_restarted_goes_on_from_its_snapshot() {
    let primary = Server::start(OPTIONS);
    let replica = Server::start(OPTIONS);
    dataset::fill(&mut primary.connect(), 1000, 5).unwrap();
    follow(&replica, &primary);
    assert_same(&primary, &[&replica]);
    assert_eq!(ask(&replica, &["SAVE"]), Reply::Simple(b"OK".to_vec()));
    let port = primary.port().to_string();
    let again = [OPTIONS, &["--replicaof", "127.0.0.1", &port]].concat();
    let again = Server::start_with(&again, &replica.directory().join("dump.rdb"));
    drop(replica);
    write_for_a_while(&primary, 70);
    assert_same(&primary, &[&again]);
    assert_eq!(info(&primary, "stats", "sync_full"), "1");
    assert_eq!(info(&primary, "stats", "sync_partial_ok"), "1");
}

#[test]
fn a_killed_primary_has_passed_on_all_that_it_acknowledged() {
    let primary = Server::start(OPTIONS);
    let replica = Server::start(OPTIONS);
    follow(&replica, &primary);
    await_link(&replica);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let mut client = primary.connect();
            std::thread::spawn(move || {
                let mut acknowledged = 0u64;
                loop {
                    let key = format!("{thread}:{acknowledged}");
                    match client.call(&["SET", &key, "v"]) {
                        Ok(Reply::Simple(_)) => acknowledged += 1,
                        _ => return acknowledged,
                    }
                }
            })
        })
        .collect();
    wait_until("writes have gone on for a while", &true, || {
        info(&primary, "stats", "total_commands_processed").parse::<u64>().unwrap() > 5000
    });
    drop(primary);
    let acknowledged: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(ask(&replica, &["REPLICAOF", "NO", "ONE"]), Reply::Simple(b"OK".to_vec()));
    let mut client = replica.connect();
    for (thread, acknowledged) in acknowledged.into_iter().enumerate() {
        for number in 0..acknowledged {
            let found = client.call(&["EXISTS", &format!("{thread}:{number}")]).unwrap();
            assert_eq!(found, Reply::Int(1), "write {number} of {acknowledged} of client {thread}");
        }
    }
}

/// What has come and waits in the replica's socket when it is told to lead was acknowledged, too.
#[test]
fn a_replica_that_was_held_up_applies_all_that_has_come_before_it_leads() {
    const WRITES: usize = 1000;
    let primary = Server::start(OPTIONS);
    let replica = Server::start(OPTIONS);
    follow(&replica, &primary);
    await_stream(&replica, &primary, "first");
    // Some of them are served by another thread than the stream.
    let mut clients: Vec<_> = (0..8).map(|_| replica.connect()).collect();
    clients.iter_mut().for_each(|client| drop(client.call(&["PING"]).unwrap()));
    let signal = |name: &str| {
        let done = std::process::Command::new("kill").args([name, &replica.pid().to_string()]).status();
        assert!(done.is_ok_and(|status| status.success()));
    };
    signal("-STOP");
    let mut writer = primary.connect();
    (0..WRITES).for_each(|number| writer.push(&["SET", &format!("held:{number}"), "v"]));
    writer.push(&["FLUSHDB"]);
    (0..WRITES).for_each(|number| writer.push(&["SET", &format!("held:{number}"), &number.to_string()]));
    writer.flush().unwrap();
    (0..=2 * WRITES).for_each(|_| assert!(matches!(writer.receive().unwrap(), Reply::Simple(_))));
    drop(writer);
    drop(primary);
    for client in &mut clients {
        client.push(&["REPLICAOF", "NO", "ONE"]);
        client.flush().unwrap();
    }
    signal("-CONT");
    for client in &mut clients {
        assert_eq!(client.receive().unwrap(), Reply::Simple(b"OK".to_vec()));
    }
    for number in 0..WRITES {
        let found = clients[0].call(&["GET", &format!("held:{number}")]).unwrap();
        assert_eq!(found, Reply::Bulk(number.to_string().into()), "write {number}");
    }
    assert_eq!(info(&replica, "replication", "role"), "master");
}

#[test]
fn a_busy_script_on_a_replica_delays_the_stream_and_loses_nothing() {
    let primary = Server::start(OPTIONS);
    let replica = Server::start(&[OPTIONS, &["--busy-reply-threshold", "20"]].concat());
    follow(&replica, &primary);
    await_stream(&replica, &primary, "counter");

    let mut busy = replica.connect();
    busy.push(&["EVAL", "while true do redis.call('GET', KEYS[1]) end", "1", "counter"]);
    busy.flush().unwrap();
    wait_until(
        "the script is busy",
        &true,
        || matches!(ask(&replica, &["GET", "counter"]), Reply::Error(text) if text.starts_with(b"BUSY")),
    );
    let mut client = primary.connect();
    for words in [&["MULTI"][..], &["INCR", "counter"], &["SET", "other", "x"], &["EXEC"], &["INCR", "counter"]] {
        client.call(words).unwrap();
    }
    // Whoever waits for the script with the stream answers meanwhile.
    for _ in 0..16 {
        let reply = ask(&replica, &["GET", "other"]);
        assert!(matches!(&reply, Reply::Error(text) if text.starts_with(b"BUSY")), "{reply:?}");
    }
    end_script(&replica);
    assert!(matches!(busy.receive().unwrap(), Reply::Error(_)));
    assert_same(&primary, &[&replica]);
    assert_eq!(ask(&replica, &["GET", "counter"]), Reply::Bulk(b"3".to_vec()));
}

/// What a replica can't apply yet is with it all the same, and not in the buffers of a primary that may die.
#[test]
fn what_a_busy_script_holds_up_outlives_the_primary() {
    const WRITES: usize = 400;
    let Some(primary) = Server::start_redis(OPTIONS, None) else { return };
    let replica = Server::start(&[OPTIONS, &["--busy-reply-threshold", "20"]].concat());
    follow(&replica, &primary);
    await_stream(&replica, &primary, "held");
    let mut busy = replica.connect();
    busy.push(&["EVAL_RO", "while true do redis.call('GET', KEYS[1]) end", "1", "held"]);
    busy.flush().unwrap();
    wait_until(
        "the script is busy",
        &true,
        || matches!(ask(&replica, &["GET", "held"]), Reply::Error(text) if text.starts_with(b"BUSY")),
    );
    let mut client = primary.connect();
    let number = |section, field| info(&primary, section, field).parse::<i64>().unwrap();
    let sent = || number("stats", "total_net_repl_output_bytes") - number("replication", "master_repl_offset");
    let mut sent_before = sent();
    wait_until("nothing is under way", &true, || {
        quorate_interop::pause();
        std::mem::replace(&mut sent_before, sent()) == sent_before
    });
    client.call(&["SET", "held", "second"]).unwrap();
    // Far more than the buffers of a connection take.
    let value = "v".repeat(100_000);
    for number in 0..WRITES {
        client.call(&["SET", &format!("late:{number}"), &value]).unwrap();
    }
    wait_until("the primary has passed all on", &sent_before, sent);
    drop(primary);
    end_script(&replica);
    assert!(matches!(busy.receive().unwrap(), Reply::Error(_)));
    assert_eq!(ask(&replica, &["REPLICAOF", "NO", "ONE"]), Reply::Simple(b"OK".to_vec()));
    assert_eq!(ask(&replica, &["GET", "held"]), Reply::Bulk(b"second".to_vec()));
    assert_eq!(ask(&replica, &["DBSIZE"]), Reply::Int(1 + WRITES as i64));
}

/// Kills the busy script of a server, and waits until it has ended.
fn end_script(server: &Server) {
    wait_until(
        "the script is killed",
        &true,
        || matches!(ask(server, &["SCRIPT", "KILL"]), Reply::Error(text) if text.starts_with(b"NOTBUSY")),
    );
}

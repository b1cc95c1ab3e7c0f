//! The lock over real servers: what the simulation can't see.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "this is the world that the machine does not know")]

use std::time::{Duration, Instant};

use quorate_redlock::stand::Servers;
use quorate_redlock::{
    BuildError, ExtendError, Fault, Guard, LockError, Loss, MAX_TTL, RedLock, Retry, TermsError, Vote, WithError,
};
use redis::aio::MultiplexedConnection;

const TTL: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(20);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs a story over so many servers, on one thread and on several.
fn story(count: usize, tell: impl AsyncFn(&mut Servers, RedLock)) {
    let builders = [tokio::runtime::Builder::new_current_thread, tokio::runtime::Builder::new_multi_thread];
    for builder in builders {
        let Some(mut servers) = Servers::start(count) else { return };
        let runtime = builder().enable_all().build().unwrap();
        runtime.block_on(async {
            let redlock = RedLock::builder().nodes(servers.addresses()).fenced(true).connect().await.unwrap();
            tell(&mut servers, redlock).await;
        });
    }
}

async fn connect(address: &str) -> MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{address}")).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// A lock that somebody may have let go just now.
async fn eventually(redlock: &RedLock, resource: &str) -> Guard {
    redlock.request([resource], TTL).wait(PATIENCE).lock().await.unwrap()
}

/// Asks each server again and again until it says so.
async fn until_all<T: redis::FromRedisValue + std::fmt::Debug>(
    servers: &Servers,
    cmd: &redis::Cmd,
    is_reached: impl Fn(&T) -> bool,
) {
    for address in servers.addresses() {
        let mut connection = connect(&address).await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen: T = cmd.query_async(&mut connection).await.unwrap();
            if is_reached(&seen) {
                break;
            }
            assert!(Instant::now() < deadline, "{address} stays at {seen:?}");
            tokio::task::yield_now().await;
        }
    }
}

async fn until_free(servers: &Servers, resource: &str) {
    until_all(servers, redis::cmd("EXISTS").arg(resource), |exists: &bool| !exists).await;
}

#[test]
fn one_holds_and_the_votes_say_why_another_does_not() {
    story(3, async |_servers, redlock| {
        let lock = redlock.lock("r", TTL).await.unwrap();
        assert!(lock.is_valid() && lock.valid_for() < TTL && lock.attempts() == 1);
        let Err(LockError::NotAcquired { votes, attempts: 1, .. }) = redlock.try_lock("r", TTL).await else {
            panic!("two hold it");
        };
        assert!(votes.0.iter().filter(|(_, vote)| *vote == Vote::No).count() >= 2, "{votes}");
        let release = lock.release().await;
        assert!(release.was_held && release.votes.yes() >= 2);
        eventually(&redlock, "r").await.release().await;
    });
}

#[test]
fn tokens_grow_from_holder_to_holder_though_minorities_crash_and_forget() {
    story(5, async |servers, redlock| {
        let mut last = 0;
        for round in 0..20 {
            let lock = eventually(&redlock, "r").await;
            let fence = lock.fence().unwrap();
            assert!(fence > last, "{fence} after {last}");
            last = fence;
            lock.release().await;
            if round % 4 == 0 {
                servers.restart(round / 4 % 5, &[]);
                servers.restart((round / 4 + 1) % 5, &[]);
            }
        }
    });
}

#[test]
fn the_store_refuses_a_token_that_is_older_than_one_it_has_seen() {
    story(1, async |servers, _| {
        use quorate_redlock::fenced::{del, load, set};
        let mut store = connect(&servers.addresses()[0]).await;
        load(&mut store).await.unwrap();
        assert!(set(&mut store, "k", "new", 9).await.unwrap());
        assert!(!set(&mut store, "k", "old", 8).await.unwrap());
        assert!(set(&mut store, "k", "again", 9).await.unwrap());
        assert!(!del(&mut store, "k", 8).await.unwrap());
        assert!(del(&mut store, "k", 10).await.unwrap());
        for token in ["x", "-1", "1.5", "9007199254740992"] {
            let mut call = redis::cmd("FCALL");
            call.arg("fenced_set").arg(2).arg("k").arg("k:fence").arg("v").arg(token);
            let refused: redis::RedisResult<bool> = call.query_async(&mut store).await;
            assert!(refused.unwrap_err().to_string().contains("whole number"), "{token}");
        }
    });
}

#[test]
fn several_resources_are_locked_together_or_not_at_all() {
    story(3, async |servers, redlock| {
        let one = redlock.lock("b", TTL).await.unwrap();
        assert!(redlock.request(["a", "b", "c"], TTL).wait(Duration::ZERO).lock().await.is_err());
        until_free(servers, "a").await;
        let fence = one.fence().unwrap();
        one.release().await;
        let all = redlock.lock_many(["c", "b", "a", "b"], TTL).await.unwrap();
        assert!(all.fence().unwrap() > fence);
        for resource in ["a", "b", "c"] {
            assert!(redlock.try_lock(resource, TTL).await.is_err(), "{resource} is free");
        }
        assert!(all.release().await.was_held);
    });
}

#[test]
fn dropping_gives_back_at_any_moment() {
    story(3, async |servers, redlock| {
        drop(redlock.lock("r", TTL).await.unwrap());
        eventually(&redlock, "r").await.release().await;
        // An acquisition is cancelled after so many of its steps.
        for steps in 0..40 {
            let mut asking = Box::pin(redlock.lock("r", TTL));
            for _ in 0..steps {
                tokio::select! {
                    biased;
                    _ = &mut asking => break,
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        until_free(servers, "r").await;
    });
}

#[test]
fn a_waiter_wakes_when_the_lock_is_released() {
    story(3, async |servers, _| {
        // With these pauses nobody would see the release by asking again.
        let retry = Retry { delay: Duration::from_secs(15), jitter: Duration::ZERO };
        let redlock = RedLock::builder().nodes(servers.addresses()).retry(retry).wait(PATIENCE).build().unwrap();
        for is_fair in [false, true] {
            let lock = redlock.request(["r"], TTL * 10).fair(is_fair).lock().await.unwrap();
            let waiting = tokio::spawn(redlock.request(["r"], TTL).fair(is_fair).lock());
            let listeners = |seen: &(String, i64)| seen.1 > 0;
            until_all(servers, redis::cmd("PUBSUB").arg("NUMSUB").arg("redlock:released:r"), listeners).await;
            let released = Instant::now();
            lock.release().await;
            let next = waiting.await.unwrap().unwrap();
            assert!(released.elapsed() < Duration::from_secs(5), "{:?}", released.elapsed());
            next.release().await;
        }
    });
}

#[test]
fn a_waiter_wakes_when_another_library_releases_if_the_server_tells_of_keys() {
    let Some(servers) = Servers::start_with(3, &["--notify-keyspace-events", "KA"]) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let retry = Retry { delay: Duration::from_secs(15), jitter: Duration::ZERO };
        let redlock = RedLock::builder().nodes(servers.addresses()).retry(retry).wait(PATIENCE).build().unwrap();
        for address in servers.addresses() {
            let mut other = connect(&address).await;
            let () = redis::cmd("SET").arg("r").arg("theirs").query_async(&mut other).await.unwrap();
        }
        let waiting = tokio::spawn(redlock.request(["r"], TTL).lock());
        let listeners = |seen: &(String, i64)| seen.1 > 0;
        until_all(&servers, redis::cmd("PUBSUB").arg("NUMSUB").arg("__keyspace@0__:r"), listeners).await;
        let released = Instant::now();
        for address in servers.addresses() {
            let mut other = connect(&address).await;
            let () = redis::cmd("DEL").arg("r").query_async(&mut other).await.unwrap();
        }
        waiting.await.unwrap().unwrap().release().await;
        assert!(released.elapsed() < Duration::from_secs(5), "{:?}", released.elapsed());
    });
}

#[test]
fn those_who_wait_in_order_get_it_in_order() {
    story(3, async |servers, redlock| {
        let holder = redlock.request(["r"], TTL).fair(true).lock().await.unwrap();
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut waiters = Vec::new();
        for number in 0..6 {
            let (redlock, sender) = (redlock.clone(), sender.clone());
            waiters.push(tokio::spawn(async move {
                let lock = redlock.request(["r"], TTL).fair(true).wait(PATIENCE).lock().await.unwrap();
                sender.send(number).unwrap();
                lock.release().await;
            }));
            let has_come = |length: &usize| *length > number;
            until_all(servers, redis::cmd("ZCARD").arg("redlock:queue:r"), has_come).await;
        }
        holder.release().await;
        for waiter in waiters {
            waiter.await.unwrap();
        }
        let seen: Vec<usize> = std::iter::from_fn(|| order.try_recv().ok()).collect();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_dead_and_a_hung_server_cost_no_lock() {
    story(5, async |servers, redlock| {
        servers.hang(0, true);
        servers.kill(1);
        let begun = Instant::now();
        for _ in 0..20 {
            redlock.lock("r", TTL).await.unwrap().release().await;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        servers.hang(2, true);
        let error = redlock.try_lock("r", TTL).await.unwrap_err().to_string();
        assert!(error.contains("no answer in time") && error.contains("3 are needed"), "{error}");
        servers.hang(0, false);
        servers.hang(2, false);
        servers.restart(1, &[]);
        // What the hung ones were asked for is given back when they go on.
        until_free(servers, "r").await;
        eventually(&redlock, "r").await.release().await;
    });
}

#[test]
fn an_extension_keeps_what_is_ours_and_revives_nothing() {
    story(3, async |servers, redlock| {
        let lock = redlock.lock("r", ms(500)).await.unwrap();
        lock.extend(TTL).await.unwrap();
        assert!(lock.valid_for() > TTL / 2);
        // The keys vanish behind our back: there is nothing to extend.
        for address in servers.addresses() {
            let () = redis::cmd("DEL").arg("r").query_async(&mut connect(&address).await).await.unwrap();
        }
        assert_eq!(lock.extend(TTL).await, Err(ExtendError::Lost(Loss::Taken)));
        assert_eq!(lock.lost().await, Loss::Taken);
        assert!(!lock.is_valid());
        until_free(servers, "r").await;

        let lock = redlock.lock("r", ms(50)).await.unwrap();
        assert_eq!(lock.lost().await, Loss::Expired);
        assert_eq!(lock.extend(TTL).await, Err(ExtendError::Lost(Loss::Expired)));
        until_free(servers, "r").await;
        let lock = redlock.lock("r", TTL).await.unwrap();
        assert!(matches!(lock.extend(Duration::ZERO).await, Err(ExtendError::Terms(TermsError::Ttl { .. }))));
        assert!(lock.is_valid());
    });
}

#[test]
fn work_outlives_the_ttl_and_never_the_cap() {
    story(3, async |servers, redlock| {
        let held = redlock.request(["r"], ms(200)).extend_for(PATIENCE).lock().await.unwrap();
        let begun = Instant::now();
        // Another one, who wants it all the time, gets it only after the release.
        let waiting = tokio::spawn(redlock.request(["r"], TTL).wait(PATIENCE).lock());
        let lost = tokio::time::timeout(ms(1000), held.lost()).await;
        assert!(lost.is_err() && held.is_valid(), "{lost:?}");
        assert!(!waiting.is_finished());
        held.release().await;
        waiting.await.unwrap().unwrap().release().await;
        assert!(begun.elapsed() >= ms(1000));

        let number = redlock.request(["r"], ms(200)).with(|lock| async move { lock.fence() }).await.unwrap();
        assert!(number.is_some());
        let begun = Instant::now();
        let lost = redlock.request(["r"], ms(200)).extend_for(ms(700)).with(|_| std::future::pending::<()>()).await;
        assert_eq!(lost, Err(WithError::Lost(Loss::Capped)));
        assert!((ms(400)..ms(800)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        until_free(servers, "r").await;
    });
}

#[test]
fn ttls_of_a_few_milliseconds_work() {
    story(3, async |_servers, redlock| {
        for ttl in [10, 20, 50, 99] {
            let deadline = Instant::now() + PATIENCE;
            // A busy machine may take longer than that; then it says so.
            let lock = loop {
                match redlock.request(["r"], ms(ttl)).lock().await {
                    Ok(lock) => break lock,
                    Err(error) => assert!(Instant::now() < deadline, "{error}"),
                }
            };
            assert!(lock.valid_for() < ms(ttl));
            lock.lost().await;
        }
    });
}

#[test]
fn replicas_and_second_names_of_one_server_are_refused() {
    story(3, async |servers, _| {
        let addresses = servers.addresses();
        let port = addresses[0].rsplit_once(':').unwrap().1.to_owned();
        let mut third = connect(&addresses[2]).await;
        let () = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(&port).query_async(&mut third).await.unwrap();

        let refused = RedLock::builder().nodes(addresses.clone()).connect().await.err().unwrap().to_string();
        let reason = format!("{} is a replica of 127.0.0.1:{port}; list independent primaries only", addresses[2]);
        assert_eq!(refused, reason);
        // It has no vote, and two of three do.
        let redlock = RedLock::builder().nodes(addresses.clone()).build().unwrap();
        redlock.lock("r", TTL).await.unwrap().release().await;

        let twice = [addresses[0].clone(), addresses[1].clone(), format!("localhost:{port}")];
        let refused = RedLock::builder().nodes(twice).connect().await.err().unwrap().to_string();
        assert!(refused.contains("is the same server as number"), "{refused}");
    });
}

#[test]
fn a_primary_that_becomes_a_replica_loses_its_vote() {
    story(3, async |servers, redlock| {
        redlock.lock("r", TTL).await.unwrap().release().await;
        let addresses = servers.addresses();
        let port = addresses[0].rsplit_once(':').unwrap().1.to_owned();
        for address in &addresses[1..] {
            let mut connection = connect(address).await;
            let () = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(&port).query_async(&mut connection).await.unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = redlock.try_lock("r", TTL).await.unwrap_err();
            let LockError::NotAcquired { votes, .. } = error else { panic!("{error}") };
            let is_known = |(_, vote): &&(String, Vote)| matches!(vote, Vote::Failed(Fault::Replica { .. }));
            if votes.0.iter().filter(is_known).count() == 2 {
                break;
            }
            assert!(Instant::now() < deadline, "{votes}");
        }
    });
}

#[test]
fn wrong_passwords_and_ttls_are_refused_with_the_remedy() {
    let Some(servers) = Servers::start_with(3, &["--requirepass", "secret"]) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let with = |password: &str| -> Vec<String> {
            servers.addresses().iter().map(|address| format!("redis://:{password}@{address}")).collect()
        };
        for nodes in [with("wrong"), servers.addresses()] {
            let error = RedLock::builder().nodes(nodes.clone()).connect().await.err().unwrap();
            assert!(
                matches!(&error, BuildError::Check(check) if matches!(check.0[0].1, Fault::Refused(_))),
                "{error:?}"
            );
            assert!(error.to_string().contains("check the user and password"), "{error}");
            let redlock = RedLock::builder().nodes(nodes).build().unwrap();
            let error = redlock.try_lock("r", TTL).await.unwrap_err().to_string();
            assert!(error.contains("check the user and password"), "{error}");
        }
        let redlock = RedLock::builder().nodes(with("secret")).connect().await.unwrap();
        assert_eq!(redlock.lock("", TTL).await.unwrap_err(), LockError::NoResource);
        assert_eq!(redlock.lock_many::<String>([], TTL).await.unwrap_err(), LockError::NoResource);
        for ttl in [Duration::ZERO, ms(1), MAX_TTL + ms(1)] {
            assert!(matches!(redlock.lock("r", ttl).await.unwrap_err(), LockError::Terms(TermsError::Ttl { .. })));
        }
        redlock.lock("r", TTL).await.unwrap().release().await;
    });
}

"""redis-py with its cache, which the server on the port that is the first argument keeps from being stale."""

import sys
import threading
import time

import redis
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

PATIENCE = 30
ROUNDS = 2000

# redis-py wants to be sure that tracking works as in 7.4, and the server says what it follows.
CacheProxyConnection.MIN_ALLOWED_VERSION = "7.2.0"

port = int(sys.argv[1])
plain = redis.Redis(port=port, socket_timeout=PATIENCE)


def caching():
    return redis.Redis(port=port, protocol=3, cache_config=CacheConfig(), socket_timeout=PATIENCE)


def wait_until(look, what):
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, "waited in vain: " + what


def gets():
    return plain.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"]


cached = caching()
plain.set("k", "1")
assert cached.get("k") == b"1"
before = gets()
assert all(cached.get("k") == b"1" for _ in range(100))
assert gets() == before, "what is in the cache is not asked for"

# Whatever changes the key, the cache hears of it.
changes = [
    ("SET", lambda: plain.set("k", "2"), b"2"),
    ("INCR in a transaction", lambda: plain.pipeline().incr("k").incr("k").execute(), b"4"),
    ("a script", lambda: plain.eval("redis.call('set', KEYS[1], 'script')", 1, "k"), b"script"),
    ("an expiry", lambda: plain.set("k", "soon", px=50), None),
    ("RENAME", lambda: plain.set("other", "renamed") and plain.rename("other", "k"), b"renamed"),
    ("FLUSHALL", lambda: plain.flushall(), None),
    ("its own SET", lambda: cached.set("k", "own"), b"own"),
]
for what, change, expected in changes:
    cached.get("k")
    change()
    wait_until(lambda: cached.get("k") == expected, what)

# A writer and clients with caches: what each of them reads never goes back, and in the end it is the last.
plain.set("n", 0)
done = threading.Event()
failures = []


def read():
    client, last = caching(), 0
    while True:
        ends = done.is_set()
        seen = int(client.get("n"))
        if seen < last:
            failures.append(f"{seen} after {last}")
        last = max(last, seen)
        if last == ROUNDS:
            return
        if ends:
            deadline = time.monotonic() + PATIENCE
            while int(client.get("n")) != ROUNDS:
                if time.monotonic() > deadline:
                    return failures.append(f"{last} stays in the cache")
            return


readers = [threading.Thread(target=read) for _ in range(3)]
for reader in readers:
    reader.start()
for _ in range(ROUNDS):
    plain.incr("n")
done.set()
for reader in readers:
    reader.join()
assert not failures, failures

print("all is well")

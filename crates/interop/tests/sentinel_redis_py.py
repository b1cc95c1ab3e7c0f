"""redis-py in its Sentinel mode: the first argument is the file that says when to end, the others the Sentinels' ports.

It counts up until the file is there, and asks the library for the primary anew only through the library itself: what
fails is tried again, as an application does it. It prints a line at its first write and one at the end."""

import os
import sys
import time

import redis
from redis.sentinel import Sentinel

PATIENCE = 60

ports = [int(word) for word in sys.argv[2:]]
sentinel = Sentinel([("127.0.0.1", port) for port in ports], socket_timeout=1)
primary = sentinel.master_for("mymaster", socket_timeout=1)
deadline = time.monotonic() + PATIENCE
last, errors = 0, 0
while not os.path.exists(sys.argv[1]):
    assert time.monotonic() < deadline, "nobody said that it is over"
    try:
        last = primary.incr("redis-py")
        if last == 1:
            print("writing", flush=True)
    except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError):
        errors += 1
replica = sentinel.slave_for("mymaster", socket_timeout=5)
while int(replica.get("redis-py") or 0) < last:
    assert time.monotonic() < deadline, "the replica has not caught up"
assert last > 10
print(f"{last} writes, {errors} failed and were tried again")
print("all is well")

"""redis-py in cluster mode: the first argument is the file that says when to end, the others are the nodes' ports.

It counts up in keys of many slots until the file is there and each has been written, tries again what fails, and reads all of
it back. It prints a line at its first write and one at the end."""

import os
import sys
import time

import redis
from redis.cluster import ClusterNode, RedisCluster

PATIENCE = 120
KEYS = 200

nodes = [ClusterNode("127.0.0.1", int(word)) for word in sys.argv[2:]]
client = RedisCluster(startup_nodes=nodes, socket_timeout=2, require_full_coverage=False)
deadline = time.monotonic() + PATIENCE
counts, errors = [0] * KEYS, [0] * KEYS
turn = 0
while turn <= KEYS or not os.path.exists(sys.argv[1]):
    assert time.monotonic() < deadline, "nobody said that it is over"
    key = turn % KEYS
    try:
        client.incr(f"redis-py:{key}")
        counts[key] += 1
        if turn == 0:
            print("writing", flush=True)
        turn += 1
    except redis.RedisError:
        errors[key] += 1
for key in range(KEYS):
    value = int(client.get(f"redis-py:{key}") or 0)
    # What failed may have been done all the same.
    assert counts[key] <= value <= counts[key] + errors[key], (key, counts[key], value, errors[key])
print(f"{turn} writes, {sum(errors)} failed and were tried again")
print("all is well")

"""redlock-py contends for a lock: WITNESS SECTIONS NODE... are ports and a number."""

import sys
import threading
import time

import redis
from redlock import Redlock

witness_port, sections, *nodes = map(int, sys.argv[1:])
THREADS = 2


def contend():
    witness = redis.Redis(port=witness_port)
    locks = Redlock([{"host": "127.0.0.1", "port": port} for port in nodes], retry_count=1, retry_delay=0.001)
    for _ in range(sections // THREADS):
        while not (lock := locks.lock("shared", 10_000)):
            time.sleep(0.002)
        if witness.incr("inside") != 1:
            witness.incr("overlaps")
        witness.incr("sections")
        witness.decr("inside")
        locks.unlock(lock)


threads = [threading.Thread(target=contend) for _ in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("all is well")

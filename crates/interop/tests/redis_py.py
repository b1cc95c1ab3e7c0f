"""redis-py as people use it, against the server on the port that is the first argument."""

import sys
import threading
import time

import redis

PATIENCE = 30


def wait_until(look, what):
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, "waited in vain: " + what


client = redis.Redis(port=int(sys.argv[1]), socket_timeout=PATIENCE)
assert client.ping()

# What arrives is what was sent, whatever its bytes.
assert client.set("text", b"\x00\xff\r\n")
assert client.get("text") == b"\x00\xff\r\n"
assert client.get("missing") is None
assert client.hset("hash", mapping={"a": 1, "b": 2}) == 2
assert client.hgetall("hash") == {b"a": b"1", b"b": b"2"}
assert client.sadd("set", "x", "y") == 2
assert client.smembers("set") == {b"x", b"y"}
assert client.zadd("zset", {"low": 1.5, "high": 2}) == 2
scores = client.zrange("zset", 0, -1, withscores=True)
assert [tuple(pair) for pair in scores] == [(b"low", 1.5), (b"high", 2.0)], scores
assert sorted(client.scan_iter(match="*set")) == [b"set", b"zset"]
try:
    client.incr("text")
    raise AssertionError("INCR accepted a text")
except redis.ResponseError as error:
    assert str(error) == "value is not an integer or out of range", error

# A pipeline without a transaction, and one with.
pipe = client.pipeline(transaction=False)
for number in range(1000):
    pipe.set(f"n{number}", number)
assert all(pipe.execute())
pipe = client.pipeline()
assert pipe.incr("counter").incr("counter").lpush("list", "a").execute() == [1, 2, 1]


# A transaction whose key is written in between is tried again.
attempts = []


def add_ten(pipe):
    old = int(pipe.get("counter"))
    attempts.append(old)
    if len(attempts) == 1:
        client.incr("counter")
    pipe.multi()
    pipe.set("counter", old + 10)


client.transaction(add_ten, "counter")
assert attempts == [2, 3] and client.get("counter") == b"13", attempts

# Scripts: by text, and by digest after the script was forgotten.
double = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1]) * 2")
assert double(keys=["counter"], args=[7]) == 40
client.script_flush()
assert double(keys=["counter"], args=[1]) == 42
assert client.eval("return {1, 'two', {3}}", 0) == [1, b"two", [3]]

# A pop that waits for its element.
popped = []
waiter = threading.Thread(target=lambda: popped.append(client.blpop(["queue"], timeout=PATIENCE)))
waiter.start()
wait_until(lambda: client.info("clients")["blocked_clients"] == 1, "a client is blocked")
client.rpush("queue", "element")
waiter.join(PATIENCE)
assert [tuple(pair) for pair in popped] == [(b"queue", b"element")], popped
assert client.blpop(["queue"], timeout=0.01) is None

# Subscriptions.
listener = client.pubsub()
listener.subscribe("news")
listener.psubscribe("n*")
messages = []


def gather():
    message = listener.get_message(timeout=0.1)
    if message:
        messages.append((message["type"], message["data"]))
    return len(messages) >= 2


wait_until(gather, "both subscriptions are confirmed")
assert messages == [("subscribe", 1), ("psubscribe", 2)], messages
messages.clear()
assert client.publish("news", "hello") == 2
wait_until(gather, "both messages are there")
assert messages == [("message", b"hello"), ("pmessage", b"hello")], messages
listener.close()

print("all is well")

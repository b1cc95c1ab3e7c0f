// ioredis as people use it, against the server on the port that is the first argument.

const assert = require("node:assert/strict");
const { once } = require("node:events");
const Redis = require("ioredis");

const PATIENCE = 30_000;
const port = Number(process.argv[2]);

async function waitUntil(look, what) {
  const deadline = Date.now() + PATIENCE;
  while (!(await look())) {
    assert(Date.now() < deadline, `waited in vain: ${what}`);
  }
}

async function main() {
  const client = new Redis(port);
  assert.equal(await client.ping(), "PONG");

  // What arrives is what was sent, whatever its bytes.
  const bytes = Buffer.from([0, 255, 13, 10]);
  assert.equal(await client.set("text", bytes), "OK");
  assert.deepEqual(await client.getBuffer("text"), bytes);
  assert.equal(await client.get("missing"), null);
  await client.hset("hash", { a: 1, b: 2 });
  assert.deepEqual({ ...(await client.hgetall("hash")) }, { a: "1", b: "2" });
  assert.equal(await client.zadd("zset", 1.5, "low", 2, "high"), 2);
  assert.deepEqual(await client.zrange("zset", 0, -1), ["low", "high"]);
  await assert.rejects(client.incr("text"), /value is not an integer or out of range/);

  // Many commands at once; they are pipelined by themselves, and by hand.
  const numbers = Array.from({ length: 1000 }, (_, number) => number);
  await Promise.all(numbers.map((number) => client.set(`n${number}`, number)));
  const pipeline = client.pipeline();
  numbers.forEach((number) => pipeline.get(`n${number}`));
  const replies = await pipeline.exec();
  assert.deepEqual(replies, numbers.map((number) => [null, String(number)]));

  // A transaction, and one whose key is written in between.
  const done = await client.multi().incr("counter").incr("counter").exec();
  assert.deepEqual(done, [[null, 1], [null, 2]]);
  const other = client.duplicate();
  await client.watch("counter");
  await other.incr("counter");
  assert.equal(await client.multi().set("counter", 0).exec(), null);
  assert.equal(await client.get("counter"), "3");

  // Scripts: by text, and as a command that sends the digest first.
  assert.deepEqual(await client.eval("return {1, 'two', {3}}", 0), [1, "two", [3]]);
  client.defineCommand("double", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1]) * 2" });
  assert.equal(await client.double("counter", 17), 40);
  await client.script("FLUSH");
  assert.equal(await client.double("counter", 1), 42);

  // A pop that waits for its element.
  const popped = other.blpop("queue", PATIENCE / 1000);
  await waitUntil(async () => (await client.info("clients")).includes("blocked_clients:1"), "a client is blocked");
  await client.rpush("queue", "element");
  assert.deepEqual(await popped, ["queue", "element"]);

  // Subscriptions.
  const listener = client.duplicate();
  assert.equal(await listener.subscribe("news"), 1);
  assert.equal(await listener.psubscribe("n*"), 2);
  const message = once(listener, "message");
  const matched = once(listener, "pmessage");
  assert.equal(await client.publish("news", "hello"), 2);
  assert.deepEqual(await message, ["news", "hello"]);
  assert.deepEqual(await matched, ["n*", "news", "hello"]);

  for (const connection of [client, other, listener]) {
    await connection.quit();
  }
  console.log("all is well");
}

const timer = setTimeout(() => {
  console.error("not done in time");
  process.exit(1);
}, 2 * PATIENCE);
main().then(
  () => clearTimeout(timer),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);

// ioredis in cluster mode: the first argument is the file that says when to end, the others are the nodes' ports. It counts up in
// keys of many slots until the file is there and each has been written, tries again what fails, and reads all of it back. It
// prints a line at its first write and one at the end.
const fs = require('fs');
const Redis = require('ioredis');

const [, , stop, ...ports] = process.argv;
const KEYS = 200;
const nodes = ports.map((port) => ({ host: '127.0.0.1', port: Number(port) }));
const client = new Redis.Cluster(nodes, {
  clusterRetryStrategy: () => 20,
  slotsRefreshTimeout: 5000,
  redisOptions: { commandTimeout: 2000 },
});
client.on('error', () => {});

async function main() {
  const deadline = Date.now() + 120000;
  const counts = new Array(KEYS).fill(0);
  const errors = new Array(KEYS).fill(0);
  let turn = 0;
  while (!fs.existsSync(stop) || turn <= KEYS) {
    if (Date.now() > deadline) throw new Error('nobody said that it is over');
    const key = turn % KEYS;
    try {
      await client.incr(`ioredis:${key}`);
      counts[key] += 1;
      if (turn === 0) console.log('writing');
      turn += 1;
    } catch (error) {
      errors[key] += 1;
    }
  }
  for (let key = 0; key < KEYS; key += 1) {
    const value = Number(await client.get(`ioredis:${key}`));
    // What failed may have been done all the same.
    if (value < counts[key] || value > counts[key] + errors[key]) {
      throw new Error(`key ${key} holds ${value} of ${counts[key]} writes, ${errors[key]} failed`);
    }
  }
  console.log(`${turn} writes, ${errors.reduce((sum, count) => sum + count)} failed and were tried again`);
  console.log('all is well');
  client.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

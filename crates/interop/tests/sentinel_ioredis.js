// ioredis in its Sentinel mode: the first argument is the file that says when to end, the others the Sentinels' ports.
// It prints a line at its first write and one at the end.
const fs = require('fs');
const Redis = require('ioredis');

const [, , stop, ...ports] = process.argv;
const sentinels = ports.map((port) => ({ host: '127.0.0.1', port: Number(port) }));
const client = new Redis({ sentinels, name: 'mymaster', sentinelRetryStrategy: () => 20, retryStrategy: () => 20, commandTimeout: 2000 });
client.on('error', () => {});

async function main() {
  const deadline = Date.now() + 60000;
  let last = 0;
  let errors = 0;
  while (!fs.existsSync(stop)) {
    if (Date.now() > deadline) throw new Error('nobody said that it is over');
    try {
      last = await client.incr('ioredis');
      if (last === 1) console.log('writing');
    } catch (error) {
      errors += 1;
      // A replica answers: the library asks the Sentinels again when it connects anew.
      if (/READONLY/.test(error.message)) client.disconnect(true);
    }
  }
  if (last <= 10) throw new Error(`only ${last} writes`);
  console.log(`${last} writes, ${errors} failed and were tried again`);
  console.log('all is well');
  client.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

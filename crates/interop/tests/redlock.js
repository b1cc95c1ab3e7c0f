// npm's redlock contends for a lock: WITNESS SECTIONS NODE... are ports and a number.

const Redis = require('ioredis');
const Redlock = require('redlock').default;

const [witnessPort, sections, ...nodes] = process.argv.slice(2).map(Number);
const CONTENDERS = 2;

// Its own retries don't give back what an attempt that failed has locked on a minority, and then stand in their own way
// until the TTL is over; an attempt that is the last one does.
async function acquire(locks) {
  for (;;) {
    try {
      return await locks.acquire(['shared'], 10000);
    } catch (error) {
      if (error.name !== 'ExecutionError') throw error;
      await new Promise((resolve) => setTimeout(resolve, 1 + 3 * Math.random()));
    }
  }
}

async function contend(locks, witness) {
  for (let done = 0; done < sections / CONTENDERS; done++) {
    const lock = await acquire(locks);
    if ((await witness.incr('inside')) !== 1) await witness.incr('overlaps');
    await witness.incr('sections');
    await witness.decr('inside');
    await lock.release();
  }
}

async function main() {
  const witness = new Redis(witnessPort);
  const clients = nodes.map((port) => new Redis(port));
  const locks = new Redlock(clients, { retryCount: 0 });
  locks.on('error', () => {}); // votes that failed, which it retries
  await Promise.all(Array.from({ length: CONTENDERS }, () => contend(locks, witness)));
  for (const client of [witness, ...clients]) client.disconnect();
  console.log('all is well');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

// The rows of npm's redlock for the tables of the benchmark: WHAT PORT...

const Redis = require('ioredis');
const Redlock = require('redlock').default;

const [what, ...ports] = process.argv.slice(2);
const NAME = 'redlock 5.0.0-beta.2 (npm)';
const TTL = 10000;
const clients = ports.map((port) => new Redis(Number(port)));
const locks = new Redlock(clients, {});
locks.on('error', () => {});

const now = () => Number(process.hrtime.bigint()) / 1000;
const at = (series, percent) => series.sort((a, b) => a - b)[Math.floor(((series.length - 1) * percent) / 100)];
const micros = (time) => `${time.toFixed(0)} µs`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// SET NX to all five, until the third has answered.
async function floor() {
  const begun = now();
  let answered = 0;
  const asked = clients.map((client) => client.set('floor-js', '0123456789012345678901234567890123456789', 'PX', TTL, 'NX'));
  const took = await new Promise((resolve) => asked.forEach((set) => set.then(() => ++answered === 3 && resolve(now() - begun))));
  await Promise.all(asked);
  await Promise.all(clients.map((client) => client.del('floor-js')));
  return took;
}

async function acquire(resource) {
  const begun = now();
  const lock = await locks.acquire([resource], TTL);
  return [now() - begun, lock];
}

const measures = {
  async uncontended() {
    const [floors, times] = [[], []];
    for (let sample = 0; sample < 1100; sample++) {
      const base = await floor();
      const [took, lock] = await acquire('js');
      await lock.release();
      if (sample >= 100) floors.push(base), times.push(took);
    }
    const [base, time] = [at(floors, 50), at(times, 50)];
    console.log(`| ${NAME}, beside a floor of its own of ${micros(base)} | ${micros(time)} (${(time / base).toFixed(2)} ×) | ${micros(at(times, 99))} |`);
  },

  async hung() {
    const begun = now();
    const asked = acquire('js-hung').then(([took]) => micros(took), (error) => error.message);
    const outcome = await Promise.race([asked, sleep(10000).then(() => `no lock in ${((now() - begun) / 1e6).toFixed(0)} s`)]);
    console.log(`| ${NAME} | ${outcome} |`);
  },

  async contended() {
    const rates = [];
    for (const count of [1, 8, 64]) {
      const [begun, end] = [now(), now() + 3e6];
      let done = 0;
      const contend = async () => {
        while (now() < end) {
          try {
            const [, lock] = await acquire(`js-${count}`);
            if (now() < end) done++;
            await lock.release();
          } catch (error) {
            // Its retries are used up: it asks again.
          }
        }
      };
      await Promise.race([Promise.all(Array.from({ length: count }, contend)), sleep(4000)]);
      rates.push((done / 3).toFixed(0));
    }
    console.log(`| ${NAME} | ${rates.join(' | ')} |`);
  },

  async wakes() {
    const times = [];
    for (let sample = 0; sample < 30; sample++) {
      const [, lock] = await acquire('js-wake');
      let woken;
      const waiting = acquire('js-wake').then(([, next]) => { woken = now(); return next; });
      await sleep(30);
      const released = now();
      await lock.release();
      const next = await waiting;
      times.push(woken - released);
      await next.release();
    }
    console.log(`| ${NAME} | ${micros(at(times, 50))} | ${micros(at(times, 99))} |`);
  },
};

// A hung server keeps a connection, and the program, for ever.
measures[what]().then(() => process.exit(0), (error) => { console.log(`| ${NAME} | ${error.message} |`); process.exit(1); });

import { fork } from 'node:child_process';
import { Agent, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import axios, { type AxiosInstance } from 'axios';
import { request } from 'undici';
import { createHttpClient } from '../src/http/client.ts';

/**
 * Run by hand: `node bench/http-adapters.ts`. Processor time of one call from this process, 64 at a time, against
 * a local server in a process of its own, with axios' stock adapters and with the one that the clients use.
 */
const CALLS = 20_000;
const ROUNDS = 10;
const CONCURRENCY = 64;
const body = {
  event_name: 'rc_renewal_event',
  created_at: 1_760_000_000,
  id: '65f0c0ffee',
  metadata: { a: 'b' },
};
const headers = { authorization: 'Bearer token', 'intercom-version': '2.16' };

if (process.argv[2] === 'server') {
  const server = createServer((req, res) => {
    req.resume().on('end', () => {
      res.writeHead(202, { 'x-ratelimit-limit': '1667', 'x-ratelimit-remaining': '1000' }).end();
    });
  }).listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
} else {
  const child = fork(import.meta.filename, ['server']);
  const port = await new Promise<number>((resolve) =>
    child.once('message', (value) => resolve(Number(value))),
  );
  const url = `http://127.0.0.1:${port}/events`;
  const ours = createHttpClient();
  const withSignal = (http: AxiosInstance) => (): Promise<unknown> =>
    http.post(url, body, { headers, signal: AbortSignal.timeout(10_000) });
  const agent = new Agent({ keepAlive: true, maxSockets: 256 });
  const candidates: Readonly<Record<string, () => Promise<unknown>>> = {
    'axios, http adapter, keep-alive agent': withSignal(
      axios.create({ adapter: 'http', httpAgent: agent, maxRedirects: 0 }),
    ),
    'axios, fetch adapter': withSignal(axios.create({ adapter: 'fetch', maxRedirects: 0 })),
    'axios, adapter over undici': () => ours.post(url, body, { headers }),
    'undici without axios': async () => {
      const answer = await request(url, {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(10_000),
      });
      await answer.body.text();
    },
  };
  const used = new Map<string, number[]>(Object.keys(candidates).map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [name, call] of Object.entries(candidates)) {
      const before = process.cpuUsage();
      let left = CALLS / ROUNDS;
      await Promise.all(
        Array.from({ length: CONCURRENCY }, async () => {
          while (left-- > 0) await call();
        }),
      );
      const { user, system } = process.cpuUsage(before);
      used.get(name)?.push(((user + system) * ROUNDS) / CALLS);
    }
  }
  for (const [name, figures] of used) {
    const sorted = figures.sort((a, b) => a - b);
    process.stdout.write(`${name}: ${sorted[ROUNDS >> 1]?.toFixed(0)} µs of processor time a call\n`);
  }
  child.kill();
  process.exit();
}

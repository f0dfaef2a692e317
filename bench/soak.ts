import { createHmac } from 'node:crypto';
import { connect, createServer, type Socket } from 'node:net';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { Agent, request } from 'undici';
import { eventOf } from './data.ts';
import { killAll, type Running, stopOnSignals } from './processes.ts';
import { quantile } from './report.ts';
import {
  AUTHORIZATION,
  CLIENT_SECRET,
  createSetting,
  PROJECT_ID,
  startIntercom,
  WORKSPACE_ID,
} from './setting.ts';

/**
 * A long test: webhooks and cards at a steady rate, and a failure every minute. At the end each event must be on its
 * contact exactly once. `npm run bench:soak -- --minutes 30`; results: docs/performance.md.
 */
const options = new Command('soak')
  .option('--minutes <number>', 'how long', '30')
  .option('--webhooks <number>', 'a second', '200')
  .option('--cards <number>', 'a second', '50')
  .option('--customers <number>', 'that they are about', '20000')
  .parse()
  .opts<Record<'minutes' | 'webhooks' | 'cards' | 'customers', string>>();
const MINUTES = Number(options.minutes);
const CUSTOMERS = Number(options.customers);
/** Calls that the simulated Intercom allows in ten seconds: one workspace has the traffic of many here. */
const RATE = 20_000;
const LATENCY_MS = 30;
/** A card this soon after a fault began is counted separately. */
const AFFECTED_MS = 20_000;
const CATCH_UP_MS = 300_000;

stopOnSignals();

const setting = await createSetting({ quick: false });
const agent = new Agent({ connections: 64, headersTimeout: 10_000, bodyTimeout: 10_000 });
try {
  process.exitCode = (await soak()) ? 0 : 1;
} finally {
  killAll();
  await agent.close();
  await setting.close();
}

async function soak(): Promise<boolean> {
  const db = await setting.createDatabase('soak');
  const intercom = await startIntercom({
    CUSTOMERS: String(CUSTOMERS),
    RATE: String(RATE),
    LATENCY_MS: String(LATENCY_MS),
  });
  const network = await startNetwork(intercom.url);
  const startWorker = (): Promise<Running> => setting.startApp(db.url, 'worker', 'soak-worker', network.url);
  const web = await setting.startApp(db.url, 'web', 'soak-web', network.url);
  const workers = [await startWorker(), await startWorker()];

  const faults: { name: string; cause(): Promise<void> }[] = [
    {
      name: 'worker killed',
      async cause() {
        await workers.shift()?.kill();
        workers.push(await startWorker());
      },
    },
    { name: 'database killed', cause: () => setting.crashDatabase() },
    { name: 'Intercom answers 429', cause: () => failIntercom(intercom, 429, 12_000) },
    { name: 'Intercom answers 503', cause: () => failIntercom(intercom, 503, 15_000) },
    { name: 'network to Intercom cut', cause: () => network.cut(10_000) },
  ];

  const load = startLoad(web.url);
  const memory: { minute: number; webMiB: number; workerMiB: number }[] = [];
  const startedMs = Date.now();
  for (let minute = 0; minute < MINUTES; minute += 1) {
    await sleep(startedMs + minute * 60_000 + 30_000 - Date.now());
    const fault = faults[minute % faults.length];
    load.affectedUntil(Date.now() + AFFECTED_MS);
    await fault?.cause();
    await sleep(startedMs + (minute + 1) * 60_000 - Date.now());
    const sample = { minute: minute + 1, webMiB: web.memory(), workerMiB: workers.at(-1)?.memory() ?? 0 };
    memory.push(sample);
    print(
      `${sample.minute} min: ${load.accepted.size} webhooks, ${load.cards.count} cards; ${fault?.name}; web ${sample.webMiB} MiB, worker ${sample.workerMiB} MiB`,
    );
  }
  await load.stop();
  const endedMs = Date.now();
  const arrived = await waitForEvents(intercom, load.accepted);
  const caughtUpS = Math.round((Date.now() - endedMs) / 1_000);

  const missing = [...load.accepted].filter((id) => !arrived.has(id)).length;
  const doubled = [...arrived.values()].filter((times) => times > 1).length;
  print(`\n${new Date().toISOString()}, ${cpus().length} × ${cpus()[0]?.model}`);
  print(`${load.accepted.size} webhooks accepted, ${load.retries} of them sent again after a failure`);
  print(`on contacts: ${missing} missing, ${doubled} twice; caught up ${caughtUpS} s after the last webhook`);
  for (const [name, times] of [
    ['cards', load.cards.quiet],
    [`cards within ${AFFECTED_MS / 1_000} s of a fault`, load.cards.affected],
  ] as const)
    print(`${name}: ${times.length}, p50 ${quantile(times, 0.5)} ms, p99 ${quantile(times, 0.99)} ms`);
  print(`cards not answered with 200: ${load.cards.failures}`);
  print(`peak memory: web ${web.peakMemory()} MiB, worker ${workers.at(0)?.peakMemory()} MiB`);
  for (const worker of workers) await worker.stop();
  await web.stop();
  await network.close();
  await intercom.stop();
  return missing === 0 && doubled === 0;
}

async function failIntercom(intercom: Running, status: number, forMs: number): Promise<void> {
  const control = `${intercom.url}/__simulator/faults`;
  const add = (fault: object): Promise<Response> =>
    fetch(control, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(fault),
    });
  await add({ status });
  await sleep(forMs);
  await fetch(control, { method: 'DELETE' });
  await add({ latencyMs: LATENCY_MS });
}

/** A proxy between the app and Intercom. A cut breaks the connections on both sides. */
async function startNetwork(
  target: string,
): Promise<{ url: string; cut(forMs: number): Promise<void>; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer((near) => {
    if (isCut) return void near.destroy();
    const far = connect(Number(new URL(target).port), '127.0.0.1');
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const destroyAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    async cut(forMs) {
      isCut = true;
      destroyAll();
      await sleep(forMs);
      isCut = false;
    },
    async close() {
      destroyAll();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Load {
  /** Ids of the events that were answered with 200. */
  readonly accepted: ReadonlySet<string>;
  readonly retries: number;
  readonly cards: {
    readonly count: number;
    readonly failures: number;
    /** Times until the answer, ms. */
    readonly quiet: readonly number[];
    readonly affected: readonly number[];
  };
  affectedUntil(atMs: number): void;
  /** Sends nothing new, and waits until each webhook has been accepted. */
  stop(): Promise<void>;
}

function startLoad(url: string): Load {
  const accepted = new Set<string>();
  const cards = { count: 0, failures: 0, quiet: [] as number[], affected: [] as number[] };
  const underway = new Set<Promise<void>>();
  const startedMs = performance.now();
  let retries = 0;
  let webhooks = 0;
  let affectedUntilMs = 0;

  async function sendWebhook(number: number): Promise<void> {
    const { id, body } = webhook(number);
    // Like RevenueCat, sends the webhook again until it is answered with 200.
    for (;;) {
      const status = await post(
        `${url}/webhooks/revenuecat/${PROJECT_ID}`,
        { authorization: AUTHORIZATION },
        body,
      );
      if (status === 200) break;
      retries += 1;
      await sleep(2_000);
    }
    accepted.add(id);
  }
  async function openCard(number: number): Promise<void> {
    const body = cardRequest(number);
    const signature = createHmac('sha256', CLIENT_SECRET).update(body).digest('hex');
    const sentMs = performance.now();
    const status = await post(`${url}/canvas/inbox/initialize`, { 'x-body-signature': signature }, body);
    const tookMs = Math.round((performance.now() - sentMs) * 10) / 10;
    if (status !== 200) cards.failures += 1;
    (Date.now() < affectedUntilMs ? cards.affected : cards.quiet).push(tookMs);
  }
  const track = (work: Promise<void>): void => {
    const tracked = work.finally(() => underway.delete(tracked));
    underway.add(tracked);
  };
  const timer = setInterval(() => {
    const seconds = (performance.now() - startedMs) / 1_000;
    while (webhooks < seconds * Number(options.webhooks)) track(sendWebhook(webhooks++));
    while (cards.count < seconds * Number(options.cards)) track(openCard(cards.count++));
  }, 10);
  return {
    accepted,
    cards,
    get retries() {
      return retries;
    },
    affectedUntil(atMs) {
      affectedUntilMs = atMs;
    },
    async stop() {
      clearInterval(timer);
      await Promise.all(underway);
    },
  };
}

/** @returns the status; 0: there was no answer */
async function post(url: string, headers: Record<string, string>, body: string): Promise<number> {
  try {
    const answer = await request(url, {
      method: 'POST',
      dispatcher: agent,
      headers: { 'content-type': 'application/json', ...headers },
      body,
    });
    await answer.body.dump();
    return answer.statusCode;
  } catch {
    return 0;
  }
}

function webhook(number: number): { id: string; body: string } {
  const customer = number % CUSTOMERS;
  const period = Math.floor(number / CUSTOMERS);
  const id = `soak-${number}`;
  const event = eventOf(customer, { id, period, atMs: Date.now() });
  return { id, body: JSON.stringify({ api_version: '1.0', event }) };
}

function cardRequest(number: number): string {
  const customer = (number * 7_919) % CUSTOMERS;
  return JSON.stringify({
    workspace_id: WORKSPACE_ID,
    admin: { type: 'admin', id: '7001', name: 'Ada Agent' },
    conversation: { type: 'conversation', id: '501' },
    contact: { type: 'contact', id: `contact-${customer}`, external_id: `user-${customer}`, role: 'user' },
  });
}

/** @returns how often each event is on its contact */
async function waitForEvents(
  intercom: Running,
  accepted: ReadonlySet<string>,
): Promise<ReadonlyMap<string, number>> {
  const deadlineMs = Date.now() + CATCH_UP_MS;
  for (;;) {
    const counts = (await (await fetch(`${intercom.url}/counts`)).json()) as { events: number };
    if (counts.events >= accepted.size || Date.now() > deadlineMs) break;
    await sleep(500);
  }
  const times = (await (await fetch(`${intercom.url}/times`)).json()) as [string, number][];
  const arrived = new Map<string, number>();
  for (const [id] of times) arrived.set(id, (arrived.get(id) ?? 0) + 1);
  return arrived;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { PgBoss } from 'pg-boss';
import { pino } from 'pino';
import { openDatabase } from '../src/database/data-source.ts';
import { prepareEvent, storeEvents } from '../src/ingestion/store-events.ts';
import { eventOf } from './data.ts';
import { type Running, startProcess } from './processes.ts';
import { median, quantile, type Row } from './report.ts';
import {
  AUTHORIZATION,
  INTERCOM_TOKEN,
  PROJECT_ID,
  type Setting,
  startIntercom,
  WORKSPACE_ID,
} from './setting.ts';

const DAY_AGO_MS = Date.now() - 86_400_000;

interface Counts {
  readonly events: number;
  readonly windows: Readonly<Record<string, { readonly used: number; readonly refused: number }>>;
}

async function countsOf(intercom: Running): Promise<Counts> {
  return (await (await fetch(`${intercom.url}/counts`)).json()) as Counts;
}

/** Stores webhooks of many customers as the receiver does, so that they wait for a worker. */
async function queueEvents(databaseUrl: string, customers: number, eventsEach: number): Promise<void> {
  const open = await openDatabase({ url: databaseUrl, logger: pino({ level: 'silent' }), poolSize: 2 });
  let batch: ReturnType<typeof prepareEvent>[] = [];
  for (let period = 0; period < eventsEach; period += 1) {
    for (let customer = 0; customer < customers; customer += 1) {
      const event = eventOf(customer, { period, atMs: DAY_AGO_MS + period * 60_000 });
      batch.push(prepareEvent(event, Date.now()));
      if (batch.length < 250) continue;
      await storeEvents(open.database, { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID }, batch);
      batch = [];
    }
  }
  await storeEvents(open.database, { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID }, batch);
  await open.close();
}

const INTERCOM_CALL_MS = 50;
/** The first webhooks are not measured, because they open connections and compile code. */
const WARM_UP = 20;

/** Times from webhook to event on the contact, five a second: in one process, then with separate web and worker. */
export async function measureLatency(setting: Setting): Promise<Row[]> {
  const one = await timesToContact(setting, ['all']);
  const apart = await timesToContact(setting, ['web', 'worker']);
  const inIntercom = 2 * INTERCOM_CALL_MS;
  return [
    {
      row: 'deliver',
      what: `webhook to contact, two calls of ${INTERCOM_CALL_MS} ms`,
      value: `${describeTimes(one)}, of which ${inIntercom} ms in Intercom`,
      against: '25 ms beyond Intercom',
      ratio: (quantile(one, 0.99) - inIntercom) / 25,
      goal: 1,
      atMost: true,
    },
    {
      row: 'deliver',
      what: 'the same with web and worker as two processes',
      value: describeTimes(apart),
      against: 'p50 10 ms after that of one process',
      ratio: (median(apart) - median(one)) / 10,
      goal: 1,
      atMost: true,
    },
  ];
}

function describeTimes(times: readonly number[]): string {
  return `p50 ${median(times)} ms, p99 ${quantile(times, 0.99)} ms`;
}

/** Times from webhook to event in Intercom, ms. @param roles the processes' roles; the first receives the webhooks */
async function timesToContact(
  setting: Setting,
  roles: readonly ('all' | 'web' | 'worker')[],
): Promise<number[]> {
  const name = roles.join('_');
  const db = await setting.createDatabase(`light_${name}`);
  const customers = WARM_UP + (setting.quick ? 30 : 200);
  const intercom = await startIntercom({
    LATENCY_MS: String(INTERCOM_CALL_MS),
    CUSTOMERS: String(customers),
  });
  const apps: Running[] = [];
  for (const role of roles)
    apps.push(await setting.startApp(db.url, role, `deliver-light-${name}`, intercom.url));
  const sent = new Map<string, number>();
  const post = async (customer: number): Promise<void> => {
    const event = eventOf(customer, { period: 0, atMs: DAY_AGO_MS });
    if (customer >= WARM_UP) sent.set(String(event.id), Date.now());
    const answer = await fetch(`${apps[0]?.url}/webhooks/revenuecat/${PROJECT_ID}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: AUTHORIZATION },
      body: JSON.stringify({ event }),
    });
    if (answer.status !== 200) throw new Error(`The webhook was answered ${answer.status}`);
    await answer.text();
  };
  for (let customer = 0; customer < customers; customer += 1) {
    await Promise.all([post(customer), sleep(200)]);
  }
  await waitFor(async () => (await countsOf(intercom)).events === customers, 'the events at light load');
  const times = (await (await fetch(`${intercom.url}/times`)).json()) as [string, number][];
  for (const app of apps) await app.stop();
  await intercom.stop();
  return times.flatMap(([eventId, atMs]) => {
    const sentAt = sent.get(eventId);
    return sentAt === undefined ? [] : [atMs - sentAt];
  });
}

/** A backlog that two workers send through Intercom's default quota. */
export async function measureQuota(setting: Setting): Promise<Row[]> {
  const windows = setting.quick ? 2 : 6;
  const rate = 1_667;
  // A customer takes five calls: the contact, three events, the attributes. More customers than the windows allow.
  const customers = Math.ceil((rate * (windows + 2)) / 5);
  const db = await setting.createDatabase('full_window');
  await queueEvents(db.url, customers, 3);
  const intercom = await startIntercom({
    LATENCY_MS: '50',
    CUSTOMERS: String(customers),
    RATE: String(rate),
  });
  const workers = [
    await setting.startApp(db.url, 'worker', 'deliver-window', intercom.url),
    await setting.startApp(db.url, 'worker', 'deliver-window-2', intercom.url),
  ];
  await sleep((windows + 1.5) * 10_000);
  const { windows: seen } = await countsOf(intercom);
  const memory = workers[0]?.peakMemory() ?? 0;
  for (const worker of workers) await worker.stop();
  await intercom.stop();
  // The first window began before the workers did, and the last is not over.
  const full = Object.entries(seen)
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([, window]) => window)
    .slice(1, 1 + windows);
  const used = full.reduce((sum, window) => sum + window.used, 0) / (full.length * rate);
  const refused = Object.values(seen).reduce((sum, window) => sum + window.refused, 0);
  return [
    {
      row: 'deliver',
      what: `share of ${full.length} windows of ${rate} calls used by two workers`,
      value: `${(used * 100).toFixed(1)} %, ${refused} answers 429`,
      against: 'the quota',
      ratio: used,
      goal: 0.95,
    },
    { row: 'memory', what: 'deliver, peak RSS of a worker', value: `${memory} MiB` },
  ];
}

/** The result of a round of deliveries. */
interface Throughput {
  /** Events a second. */
  readonly rate: number;
  /** Processor time of the worker and of PostgreSQL per event, µs. */
  readonly workerUs: number;
  readonly postgresUs: number;
}

/** Events a second into a destination that takes 30 ms and fails 5 %, against one pg-boss job per event. */
export async function measureThroughput(setting: Setting): Promise<Row[]> {
  const eventsEach = 4;
  const customers = setting.quick ? 500 : 2_500;
  const total = customers * eventsEach;
  const app: Throughput[] = [];
  const boss: Throughput[] = [];
  for (let round = 0; round < (setting.quick ? 1 : 3); round += 1) {
    const db = await setting.createDatabase(`throughput_${round}`);
    await queueEvents(db.url, customers, eventsEach);
    await db.query(`update workspaces set not_before = now() + interval '1 hour'`);
    app.push(
      await deliverTo(setting, total, async (intercom) => {
        const worker = await setting.startApp(db.url, 'worker', 'deliver-throughput', intercom.url);
        await db.query('update workspaces set not_before = null');
        await db.query(`select pg_notify('delivery', $1)`, [WORKSPACE_ID]);
        return worker;
      }),
    );
    await queueJobs(db, customers, eventsEach);
    boss.push(
      await deliverTo(setting, total, (intercom) =>
        startProcess('bench/servers/boss-worker.ts', {
          DATABASE_URL: db.url,
          INTERCOM_URL: intercom.url,
          TOKEN: INTERCOM_TOKEN,
          BENCH_NAME: 'deliver-boss',
        }),
      ),
    );
  }
  const what = `${total.toLocaleString('en-US')} of ${customers.toLocaleString('en-US')} customers, 30 ms, 5 % failing`;
  return [
    {
      row: 'deliver',
      what: `events/s, ${what}`,
      value: String(median(app.map(({ rate }) => rate))),
      against: `pg-boss, one job an event: ${median(boss.map(({ rate }) => rate))}`,
      ratio: median(app.map(({ rate }, round) => rate / (boss[round]?.rate ?? Number.NaN))),
      goal: 2,
    },
    {
      row: 'deliver',
      what: 'processor time per event, worker + PostgreSQL',
      value: describeTime(app),
      against: `pg-boss, one job an event: ${describeTime(boss)}`,
      ratio: median(boss.map(timeOf)) / median(app.map(timeOf)),
    },
  ];
}

function timeOf({ workerUs, postgresUs }: Throughput): number {
  return workerUs + postgresUs;
}

function describeTime(rounds: readonly Throughput[]): string {
  const worker = median(rounds.map(({ workerUs }) => workerUs));
  const postgres = median(rounds.map(({ postgresUs }) => postgresUs));
  return `${worker.toFixed(0)} + ${postgres.toFixed(0)} µs`;
}

async function deliverTo(
  setting: Setting,
  total: number,
  start: (intercom: Running) => Promise<Running>,
): Promise<Throughput> {
  const intercom = await startProcess('bench/servers/destination.ts', {
    TOKEN: INTERCOM_TOKEN,
    LATENCY_MS: '30',
    FAILING: '0.05',
  });
  const worker = await start(intercom);
  const result = await timeToDeliver(setting, { intercom, worker, total });
  await worker.stop();
  await intercom.stop();
  return result;
}

async function queueJobs(
  db: Client & { readonly url: string },
  customers: number,
  each: number,
): Promise<void> {
  const boss = new PgBoss({ connectionString: db.url, schema: 'naive_boss' });
  boss.on('error', () => {});
  await boss.start();
  await boss.createQueue('events', { retryLimit: 10, retryDelay: 1, retryBackoff: true });
  for (let period = 0; period < each; period += 1) {
    const atS = Math.floor(Date.now() / 1_000) - 86_400 + period * 60;
    const jobs = Array.from({ length: customers }, (_, customer) => ({
      data: { eventId: randomUUID(), externalId: `user-${customer}`, atS },
    }));
    await boss.insert('events', jobs);
  }
  await boss.stop();
}

/** Measures until 99 % of the events have arrived: the rest waits for retries in either design. */
async function timeToDeliver(
  setting: Setting,
  { intercom, worker, total }: { intercom: Running; worker: Running; total: number },
): Promise<Throughput> {
  await waitFor(async () => (await countsOf(intercom)).events > 0, 'the first event');
  const startedAt = performance.now();
  const before = (await countsOf(intercom)).events;
  const workerUs = worker.processorUs();
  const postgresUs = await setting.postgresUs();
  let seen = before;
  await waitFor(async () => {
    seen = (await countsOf(intercom)).events;
    return seen >= total * 0.99;
  }, `${total} events`);
  const events = seen - before;
  return {
    rate: Math.round(events / ((performance.now() - startedAt) / 1_000)),
    workerUs: (worker.processorUs() - workerUs) / events,
    postgresUs: ((await setting.postgresUs()) - postgresUs) / events,
  };
}

async function waitFor(check: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 180_000;
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error(`Still waiting for ${what}`);
    await sleep(20);
  }
}

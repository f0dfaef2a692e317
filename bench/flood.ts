import { setTimeout as sleep } from 'node:timers/promises';
import { fill } from './data.ts';
import type { FloodInput, FloodResult } from './flood-senders.ts';
import type { LoadInput, LoadResult } from './load.ts';
import { killAll, type Running, runToEnd, stopOnSignals } from './processes.ts';
import { printTable, type Row, writeResults } from './report.ts';
import { runLoad } from './rounds.ts';
import {
  AUTHORIZATION,
  CLIENT_SECRET,
  createSetting,
  PROJECT_ID,
  startIntercom,
  WORKSPACE_ID,
} from './setting.ts';
import { keepSummaries } from './summaries.ts';

/**
 * `npm run bench:flood`: a few valid cards and webhooks a second, while another process floods the server with
 * unsigned, wrongly signed, slow and huge requests.
 */
const FLOOD_CONNECTIONS = Number(process.env.FLOOD_CONNECTIONS ?? 800);
const SECONDS = Number(process.env.FLOOD_SECONDS ?? 40);
/** After this time the flood has reached its full load. */
const BEFORE_SECONDS = 5;
const CUSTOMERS = 1_000;
/** Cards a second, and the same number of webhooks. */
const RATE = 20;
const MAX_P99_MS = 1_000;
const MAX_MEMORY_MIB = 400;

stopOnSignals();

const setting = await createSetting({ quick: false });
const rows: Row[] = [];
try {
  const db = await setting.createDatabase('flood');
  await fill(db, CUSTOMERS);
  await keepSummaries(db);
  const intercom = await startIntercom({ CUSTOMERS: String(CUSTOMERS) });
  const app = await setting.startApp(db.url, 'all', 'flood', intercom.url);
  const calm = await measure(app, 5);
  const flood: FloodInput = {
    url: app.url,
    connections: FLOOD_CONNECTIONS,
    seconds: SECONDS,
    workspaceId: WORKSPACE_ID,
    projectId: PROJECT_ID,
  };
  const flooding = runToEnd<FloodResult>('bench/flood-senders.ts', flood);
  await sleep(BEFORE_SECONDS * 1_000);
  const before = { usedUs: app.processorUs(), atMs: performance.now() };
  const flooded = await measure(app, SECONDS - BEFORE_SECONDS - 2);
  const elapsedMs = performance.now() - before.atMs;
  const cores = (app.processorUs() - before.usedUs) / 1_000 / elapsedMs;
  const { responses, sentBytes } = await flooding;
  const memory = app.peakMemory();
  await app.stop();
  await intercom.stop();
  process.stdout.write(
    `The flood sent ${Math.round(sentBytes / 1024 ** 2)} MiB and got ${JSON.stringify(responses)}\n`,
  );
  for (const kind of ['card', 'webhook'] as const) {
    const { p50Ms, p99Ms, requests, failures } = flooded[kind];
    rows.push({
      row: kind,
      what: `${FLOOD_CONNECTIONS} hostile connections: ${requests} answered, ${failures} failed`,
      value: `p50 ${p50Ms} ms, p99 ${p99Ms} ms`,
      against: `without them: p50 ${calm[kind].p50Ms} ms, p99 ${calm[kind].p99Ms} ms`,
      ratio: failures > 0 ? Number.POSITIVE_INFINITY : p99Ms / MAX_P99_MS,
      goal: 1,
      atMost: true,
    });
  }
  rows.push({
    row: 'processor',
    what: 'of the server, during the flood',
    value: `${cores.toFixed(2)} cores`,
  });
  rows.push({
    row: 'memory',
    what: 'peak RSS of the server',
    value: `${memory} MiB`,
    against: `${MAX_MEMORY_MIB} MiB`,
    ratio: memory / MAX_MEMORY_MIB,
    goal: 1,
    atMost: true,
  });
} finally {
  killAll();
  await setting.close();
}
printTable(rows);
process.stdout.write(`\nWritten to ${await writeResults(rows, { quick: false })}\n`);

async function measure(app: Running, seconds: number): Promise<Record<LoadInput['kind'], LoadResult>> {
  const common = {
    connections: 4,
    perSecond: RATE,
    seconds,
    workspaceId: WORKSPACE_ID,
    customers: CUSTOMERS,
  };
  const [card, webhook] = await Promise.all([
    runLoad({
      ...common,
      kind: 'card',
      url: `${app.url}/canvas/inbox/initialize`,
      headers: {},
      secret: CLIENT_SECRET,
    }),
    runLoad({
      ...common,
      kind: 'webhook',
      url: `${app.url}/webhooks/revenuecat/${PROJECT_ID}`,
      headers: { authorization: AUTHORIZATION },
    }),
  ]);
  return { card, webhook };
}

import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { openDatabase } from '../src/database/data-source.ts';
import { processProject } from '../src/ingestion/processor.ts';
import { createSecretBox } from '../src/workspaces/secrets.ts';
import { type Running, startProcess } from './processes.ts';
import { median, type Row } from './report.ts';
import { loadInTurn, type Measured, totalUs } from './rounds.ts';
import { AUTHORIZATION, PROJECT_ID, type Setting, WORKSPACE_ID } from './setting.ts';

const CONNECTIONS = 64;

/**
 * Measures webhooks until they are acknowledged and durable, against the same requests handled in the obvious ways.
 * Then measures how fast the processor interprets the received webhooks.
 */
export async function measureReceive(setting: Setting): Promise<Row[]> {
  const db = await setting.createDatabase('receive');
  const plain = (baseline: string): Promise<Running> =>
    startProcess('bench/servers/plain.ts', { BASELINE: baseline, DATABASE_URL: db.url, AUTHORIZATION });
  const targets = {
    app: targetOf(await setting.startApp(db.url, 'web', 'receive')),
    insert: targetOf(await plain('insert')),
    nothing: targetOf(await plain('nothing')),
    'pg-boss': targetOf(await plain('pg-boss')),
  };
  const results = await loadInTurn(setting, targets);
  const memory = targets.app.server.peakMemory();
  for (const { server } of Object.values(targets)) await server.stop();
  return [
    ...compare(results),
    { row: 'memory', what: 'receive, peak RSS', value: `${memory} MiB` },
    await measureProcess(setting, db.url),
  ];
}

function targetOf(server: Running) {
  const load = {
    kind: 'webhook',
    url: `${server.url}/webhooks/revenuecat/${PROJECT_ID}`,
    connections: CONNECTIONS,
    headers: { authorization: AUTHORIZATION },
    workspaceId: WORKSPACE_ID,
    customers: 10_000,
  } as const;
  return { server, load };
}

type Name = 'app' | 'insert' | 'nothing' | 'pg-boss';

function compare(results: Readonly<Record<Name, readonly Measured[]>>): Row[] {
  const of = (name: Name, value: (result: Measured) => number): number =>
    Math.round(median(results[name].map(value)));
  const describe = (name: Name): string =>
    `${of(name, totalUs)} µs (${of(name, (result) => result.serverUs)} + ${of(name, (result) => result.postgresUs)}), ${of(name, (result) => result.perSecond)}/s, p99 ${of(name, (result) => result.p99Ms)} ms`;
  const row = (baseline: Name, what: string, goal: number): Row => ({
    row: 'receive',
    what: 'µs per webhook (server + PostgreSQL)',
    value: describe('app'),
    against: `${what}: ${describe(baseline)}`,
    ratio: of('app', totalUs) / of(baseline, totalUs),
    goal,
    atMost: true,
  });
  return [
    row('insert', 'one INSERT per request', 0.4),
    row('nothing', 'no database', 3),
    row('pg-boss', 'pg-boss, one send per request', 0.2),
  ];
}

/** From the journal to pending delivery, for the webhooks that were received before. */
async function measureProcess(setting: Setting, url: string): Promise<Row> {
  const logger = pino({ level: 'silent' });
  const open = await openDatabase({ url, logger, poolSize: 4 });
  const project = { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID };
  const before = { node: process.cpuUsage(), postgres: await setting.postgresUs(), atMs: performance.now() };
  const { processed } = await processProject(
    { database: open.database, secrets: createSecretBox([randomBytes(32)]), logger },
    project,
  );
  const seconds = (performance.now() - before.atMs) / 1_000;
  const { user, system } = process.cpuUsage(before.node);
  const nodeUs = Math.round((user + system) / processed);
  const postgresUs = Math.round(((await setting.postgresUs()) - before.postgres) / processed);
  await open.close();
  return {
    row: 'process',
    what: 'µs per event, from the journal to pending (processor + PostgreSQL)',
    value: `${nodeUs + postgresUs} µs (${nodeUs} + ${postgresUs}), ${Math.round(processed / seconds)} events/s`,
  };
}

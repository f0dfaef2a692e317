import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { openDatabase } from '../src/database/data-source.ts';
import { processProject } from '../src/ingestion/processor.ts';
import { createSecretBox } from '../src/workspaces/secrets.ts';
import type { LoadInput, LoadResult } from './load.ts';
import { type Running, runToEnd, startProcess } from './processes.ts';
import { median, type Row } from './report.ts';
import { AUTHORIZATION, PROJECT_ID, type Setting, WORKSPACE_ID } from './setting.ts';

const CONNECTIONS = 64;

interface Measured extends LoadResult {
  /** Processor time of the server and of PostgreSQL per webhook, µs. */
  readonly serverUs: number;
  readonly postgresUs: number;
}

/**
 * Webhooks until acknowledged, durable, against the same requests handled the way one would at first; then how fast
 * the processor interprets what was received. All servers run side by side and are loaded in turn, several times,
 * because the machine's speed changes; processor time hardly does.
 */
export async function measureReceive(setting: Setting): Promise<Row[]> {
  const db = await setting.createDatabase('receive');
  const plain = (baseline: string): Promise<Running> =>
    startProcess('bench/servers/plain.ts', [], { BASELINE: baseline, DATABASE_URL: db.url, AUTHORIZATION });
  const servers = {
    app: await setting.startApp(db.url, 'web', 'receive'),
    insert: await plain('insert'),
    nothing: await plain('nothing'),
    'pg-boss': await plain('pg-boss'),
  };
  const load = async (server: Running, seconds: number): Promise<Measured> => {
    const input: LoadInput = {
      kind: 'webhook',
      url: `${server.url}/webhooks/revenuecat/${PROJECT_ID}`,
      connections: CONNECTIONS,
      seconds,
      headers: { authorization: AUTHORIZATION },
      workspaceId: WORKSPACE_ID,
      customers: 10_000,
    };
    const before = [server.processorUs(), await setting.postgresUs()] as const;
    const result = await runToEnd<LoadResult>('bench/load.ts', input);
    return {
      ...result,
      serverUs: (server.processorUs() - before[0]) / result.requests,
      postgresUs: ((await setting.postgresUs()) - before[1]) / result.requests,
    };
  };
  const names = Object.keys(servers) as (keyof typeof servers)[];
  for (const name of names) await load(servers[name], setting.quick ? 1 : 3);

  const results = new Map<string, Measured[]>(names.map((name) => [name, []]));
  for (let round = 0; round < (setting.quick ? 2 : 5); round += 1) {
    for (const name of names) {
      const result = await load(servers[name], setting.quick ? 2 : 5);
      if (result.failures > 0) throw new Error(`${name}: ${result.failures} requests failed`);
      results.get(name)?.push(result);
    }
  }
  const memory = servers.app.peakMemory();
  for (const server of Object.values(servers)) await server.stop();
  return [
    ...compare(results),
    { row: 'memory', what: 'receive, peak RSS', value: `${memory} MiB` },
    await measureProcess(setting, db.url),
  ];
}

function compare(results: ReadonlyMap<string, readonly Measured[]>): Row[] {
  const of = (name: string, value: (result: Measured) => number): number =>
    Math.round(median((results.get(name) ?? []).map(value)));
  const totalUs = ({ serverUs, postgresUs }: Measured): number => serverUs + postgresUs;
  const describe = (name: string): string =>
    `${of(name, totalUs)} µs (${of(name, (result) => result.serverUs)} + ${of(name, (result) => result.postgresUs)}), ${of(name, (result) => result.perSecond)}/s, p99 ${of(name, (result) => result.p99Ms)} ms`;
  const row = (baseline: string, what: string, goal: number): Row => ({
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

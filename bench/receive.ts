import type { LoadInput, LoadResult } from './load.ts';
import { type Running, runToEnd, startProcess } from './processes.ts';
import { median, type Row } from './report.ts';
import { AUTHORIZATION, PROJECT_ID, type Setting, WORKSPACE_ID } from './setting.ts';

const CONNECTIONS = 64;

/**
 * Webhooks a second, durable and queued, against the same requests handled the way one would at first. All
 * servers run side by side and are loaded in turn, several times, because the machine's speed changes.
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
  const load = (server: Running, seconds: number): Promise<LoadResult> => {
    const input: LoadInput = {
      kind: 'webhook',
      url: `${server.url}/webhooks/revenuecat/${PROJECT_ID}`,
      connections: CONNECTIONS,
      seconds,
      headers: { authorization: AUTHORIZATION },
      workspaceId: WORKSPACE_ID,
      customers: 10_000,
    };
    return runToEnd<LoadResult>('bench/load.ts', input);
  };
  const names = Object.keys(servers) as (keyof typeof servers)[];
  for (const name of names) await load(servers[name], setting.quick ? 1 : 3);

  const results = new Map<string, LoadResult[]>();
  for (let round = 0; round < (setting.quick ? 2 : 5); round += 1) {
    for (const name of names) {
      const result = await load(servers[name], setting.quick ? 2 : 5);
      if (result.failures > 0) throw new Error(`${name}: ${result.failures} requests failed`);
      results.set(name, [...(results.get(name) ?? []), result]);
    }
  }
  const memory = servers.app.peakMemory();
  for (const server of Object.values(servers)) await server.stop();

  const of = (name: string): LoadResult[] => results.get(name) ?? [];
  const rate = (name: string): number => median(of(name).map((result) => result.perSecond));
  const p99 = (name: string): number => median(of(name).map((result) => result.p99Ms));
  /** Of each round, what ran in the same half minute. */
  const ratio = (baseline: string): number =>
    median(
      of('app').map((result, round) => result.perSecond / (of(baseline)[round]?.perSecond ?? Number.NaN)),
    );
  const row = (baseline: string, what: string, goal: number): Row => ({
    row: 'receive',
    what: 'webhooks/s (p99)',
    value: `${rate('app')} (${p99('app')} ms)`,
    against: `${what}: ${rate(baseline)} (${p99(baseline)} ms)`,
    ratio: ratio(baseline),
    goal,
  });
  return [
    row('insert', 'one INSERT a request', 2),
    row('nothing', 'no database', 0.6),
    row('pg-boss', 'pg-boss, one send a request', 5),
    { row: 'memory', what: 'receive, peak RSS', value: `${memory} MiB` },
  ];
}

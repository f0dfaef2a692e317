import { createHmac } from 'node:crypto';
import { EVENTS_EACH, fill } from './data.ts';
import type { LoadInput, LoadResult } from './load.ts';
import { type Running, runToEnd, startProcess } from './processes.ts';
import { median, type Row } from './report.ts';
import { CLIENT_SECRET, type Setting, WORKSPACE_ID } from './setting.ts';
import { keepSummaries } from './summaries.ts';

/** Agents that open a card in the same moment. */
const CONNECTIONS = 16;

interface Measured extends LoadResult {
  /** Processor time of the server and of PostgreSQL per card, µs. */
  readonly totalUs: number;
}

/**
 * Processor time per card with many customers, against Express that verifies the same signature and answers a constant
 * (the same canvas); and the slowest of a hundred with many events against that with few.
 */
export async function measureCard(setting: Setting): Promise<Row[]> {
  const many = setting.quick ? 10_000 : 100_000;
  const few = 1_000;
  const large = await setting.createDatabase('card_many');
  const small = await setting.createDatabase('card_few');
  await fill(large, many);
  await fill(small, few);
  await keepSummaries(large);
  await keepSummaries(small);
  const app = {
    many: await setting.startApp(large.url, 'web', 'card'),
    few: await setting.startApp(small.url, 'web', 'card-few'),
  };
  const canvas = await oneCard(app.many.url);
  const constant = await startProcess('bench/servers/plain.ts', [], {
    BASELINE: 'card',
    SECRET: CLIENT_SECRET,
    CANVAS: canvas,
  });
  const load = async (server: Running, customers: number, seconds: number): Promise<Measured> => {
    const input: LoadInput = {
      kind: 'card',
      url: `${server.url}/canvas/inbox/initialize`,
      connections: CONNECTIONS,
      seconds,
      headers: {},
      workspaceId: WORKSPACE_ID,
      customers,
      secret: CLIENT_SECRET,
    };
    const usedUs = async (): Promise<number> => server.processorUs() + (await setting.postgresUs());
    const beforeUs = await usedUs();
    const result = await runToEnd<LoadResult>('bench/load.ts', input);
    return { ...result, totalUs: ((await usedUs()) - beforeUs) / result.requests };
  };
  const targets = [
    ['many', app.many, many],
    ['few', app.few, few],
    ['constant', constant, many],
  ] as const;
  for (const [, server, customers] of targets) await load(server, customers, setting.quick ? 1 : 3);
  const results: Record<string, Measured[]> = { many: [], few: [], constant: [] };
  for (let round = 0; round < (setting.quick ? 2 : 5); round += 1) {
    for (const [name, server, customers] of targets) {
      const result = await load(server, customers, setting.quick ? 2 : 5);
      if (result.failures > 0) throw new Error(`card ${name}: ${result.failures} requests failed`);
      results[name]?.push(result);
    }
  }
  const memory = app.many.peakMemory();
  for (const server of [app.many, app.few, constant]) await server.stop();

  const of = (name: string, value: (result: Measured) => number): number =>
    Math.round(median((results[name] ?? []).map(value)));
  const ratio = (a: string, b: string, value: (result: Measured) => number): number =>
    median((results[a] ?? []).map((result, round) => value(result) / value(results[b]?.[round] ?? result)));
  const rate = (result: Measured): number => result.perSecond;
  const totalUs = (result: Measured): number => result.totalUs;
  const p99 = (result: Measured): number => result.p99Ms;
  const size = (customers: number): string => `${(customers * EVENTS_EACH).toLocaleString('en-US')} events`;
  return [
    {
      row: 'card',
      what: `µs per card (server + PostgreSQL), ${size(many)}`,
      value: `${of('many', totalUs)} µs, ${of('many', rate)}/s, p99 ${of('many', p99)} ms`,
      against: `signature and a constant: ${of('constant', totalUs)} µs, ${of('constant', rate)}/s, p99 ${of('constant', p99)} ms`,
      ratio: ratio('many', 'constant', totalUs),
      goal: 2.5,
      atMost: true,
    },
    {
      row: 'card',
      what: `p99, ${size(many)}`,
      value: `${of('many', p99)} ms`,
      against: `${size(few)}: ${of('few', p99)} ms`,
      ratio: ratio('many', 'few', p99),
      goal: 1.2,
      atMost: true,
    },
    { row: 'memory', what: 'card, peak RSS', value: `${memory} MiB` },
  ];
}

/** A real card, for the baseline to answer; it must be one with a subscription on it. */
async function oneCard(url: string): Promise<string> {
  const body = JSON.stringify({
    workspace_id: WORKSPACE_ID,
    admin: { id: '7001', name: 'Ada Agent', email: 'ada@example.com' },
    conversation: { id: '501' },
    contact: { id: 'contact-0', external_id: 'user-0' },
  });
  const signature = createHmac('sha256', CLIENT_SECRET).update(body).digest('hex');
  const answer = await fetch(`${url}/canvas/inbox/initialize`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-body-signature': signature },
    body,
  });
  const canvas = await answer.text();
  if (answer.status !== 200 || !canvas.includes('89.91')) throw new Error(`No card: ${canvas.slice(0, 500)}`);
  return canvas;
}

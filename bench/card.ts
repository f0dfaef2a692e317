import { createHmac } from 'node:crypto';
import { EVENTS_EACH, fill } from './data.ts';
import { type Running, startProcess } from './processes.ts';
import { median, type Row } from './report.ts';
import { loadInTurn, type Measured, totalUs } from './rounds.ts';
import { CLIENT_SECRET, type Setting, WORKSPACE_ID } from './setting.ts';
import { keepSummaries } from './summaries.ts';

/** Agents that open a card at the same time. */
const CONNECTIONS = 16;

/**
 * Measures processor time per card with many customers, against Express that verifies the same signature and answers a
 * constant (the same canvas). Then compares the 99th percentile with many events with that with few events.
 */
export async function measureCard(setting: Setting): Promise<Row[]> {
  const customers = { many: setting.quick ? 10_000 : 100_000, few: 1_000 };
  const many = await startCards(setting, 'many', customers.many);
  const few = await startCards(setting, 'few', customers.few);
  const constant = await startProcess('bench/servers/plain.ts', {
    BASELINE: 'card',
    SECRET: CLIENT_SECRET,
    CANVAS: await oneCard(many.url),
  });
  const results = await loadInTurn(setting, {
    many: targetOf(many, customers.many),
    few: targetOf(few, customers.few),
    constant: targetOf(constant, customers.many),
  });
  const memory = many.peakMemory();
  for (const server of [many, few, constant]) await server.stop();

  type Name = keyof typeof results;
  const of = (name: Name, value: (result: Measured) => number): number =>
    Math.round(median(results[name].map(value)));
  const ratio = (a: Name, b: Name, value: (result: Measured) => number): number =>
    median(results[a].map((result, round) => value(result) / value(results[b][round] ?? result)));
  const rate = (result: Measured): number => result.perSecond;
  const p99 = (result: Measured): number => result.p99Ms;
  const describe = (name: Name): string =>
    `${of(name, totalUs)} µs, ${of(name, rate)}/s, p99 ${of(name, p99)} ms`;
  const size = (name: 'many' | 'few'): string =>
    `${(customers[name] * EVENTS_EACH).toLocaleString('en-US')} events`;
  return [
    {
      row: 'card',
      what: `µs per card (server + PostgreSQL), ${size('many')}`,
      value: describe('many'),
      against: `signature and a constant: ${describe('constant')}`,
      ratio: ratio('many', 'constant', totalUs),
      goal: 2.5,
      atMost: true,
    },
    {
      row: 'card',
      what: `p99, ${size('many')}`,
      value: `${of('many', p99)} ms`,
      against: `${size('few')}: ${of('few', p99)} ms`,
      ratio: ratio('many', 'few', p99),
      goal: 1.2,
      atMost: true,
    },
    { row: 'memory', what: 'card, peak RSS', value: `${memory} MiB` },
  ];
}

async function startCards(setting: Setting, name: string, customers: number): Promise<Running> {
  const db = await setting.createDatabase(`card_${name}`);
  await fill(db, customers);
  await keepSummaries(db);
  return setting.startApp(db.url, 'web', `card-${name}`);
}

function targetOf(server: Running, customers: number) {
  const load = {
    kind: 'card',
    url: `${server.url}/canvas/inbox/initialize`,
    connections: CONNECTIONS,
    headers: {},
    workspaceId: WORKSPACE_ID,
    customers,
    secret: CLIENT_SECRET,
  } as const;
  return { server, load };
}

/** A real card as the baseline's constant response. It must show a subscription. */
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

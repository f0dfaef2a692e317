import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import { Agent, request } from 'node:http';
import type pg from 'pg';
import { pino } from 'pino';
import type { Database } from '../../src/database/sql.ts';
import { claimNext, releaseClaim } from '../../src/delivery/claims.ts';
import { createJournal } from '../../src/ingestion/journal.ts';
import { processProject } from '../../src/ingestion/processor.ts';
import { checkWebhook } from '../../src/ingestion/routes.ts';
import {
  listDeliveries,
  readActivity,
  readDeliveredKinds,
  readKindCounts,
  readMatching,
  readOverview,
  readTimeToContact,
} from '../../src/settings/repository.ts';
import { defaultEventName, EVENT_KINDS } from '../../src/subscription/kinds.ts';
import { createSecretBox } from '../../src/workspaces/secrets.ts';
import { HEAVY_CUSTOMER, HEAVY_EVENTS, PROJECT_ID, WORKSPACE_ID } from './fill.ts';

export interface Times {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface GrowthRow {
  readonly events: number;
  readonly webhooksPerSecond: number;
  readonly webhook: Times;
  readonly firstCard: Times;
  readonly card: Times;
  readonly firstPage: Times;
  readonly deepPage: Times;
  /** What the settings' pages read: the slowest of them. */
  readonly settings: Times;
  readonly claim: Times;
  readonly bytesPerEvent: number;
  readonly databaseGiB: number;
}

function timesOf(samples: number[]): Times {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return { p50Ms: at(0.5), p99Ms: at(0.99) };
}

/** Runs `work` with `hands` callers in parallel until the time is over; the first second is not measured. */
async function sample(
  options: { seconds: number; hands: number },
  work: () => Promise<unknown>,
): Promise<{ times: Times; perSecond: number }> {
  const warmUntilMs = performance.now() + 1_000;
  const untilMs = warmUntilMs + options.seconds * 1_000;
  const samples: number[] = [];
  const hand = async (): Promise<void> => {
    for (;;) {
      const begunMs = performance.now();
      if (begunMs > untilMs) return;
      await work();
      if (begunMs > warmUntilMs) samples.push(performance.now() - begunMs);
    }
  };
  await Promise.all(Array.from({ length: options.hands }, hand));
  return { times: timesOf(samples), perSecond: samples.length / options.seconds };
}

export async function measure(input: {
  events: number;
  database: Database;
  client: pg.Client;
  appUrl: string;
  clientSecret: string;
  seconds: number;
}): Promise<GrowthRow> {
  const { events, database, client, seconds } = input;
  const customers = events / 10;
  /** Even numbers are of the large workspace. */
  const someone = (): string => `user-${2 * Math.floor(1 + Math.random() * (customers / 2 - 1))}`;
  const card = cardsOf(input.appUrl, input.clientSecret);

  // Cards first: each customer's first opening makes its summary, the second finds it.
  const firsts: number[] = [];
  const seconds2: number[] = [];
  const people = [...new Set(Array.from({ length: 600 }, someone))];
  for (const [index, id] of people.entries()) {
    const first = await card(id, null);
    const again = await card(id, null);
    if (index < 50) continue;
    firsts.push(first.ms);
    seconds2.push(again.ms);
  }

  const pages: number[] = [];
  let shown = await card(HEAVY_CUSTOMER, 'timeline');
  for (let page = 1; page < HEAVY_EVENTS / 10 - 2; page += 1) {
    shown = await card(HEAVY_CUSTOMER, 'timeline:older', shown.storedData);
    pages.push(shown.ms);
  }

  const settings = await settingsReads(database);

  const project = { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID };
  const journal = createJournal(database, () => {});
  const received = await sample({ seconds, hands: 64 }, () => {
    const id = Math.random() < 0.2 ? `new-${randomUUID()}` : someone();
    const body = renewal(id);
    return journal.append(project, checkWebhook(Buffer.from(JSON.stringify({ event: body }))));
  });
  const secrets = createSecretBox([randomBytes(32)]);
  await processProject({ database, secrets, logger: pino({ level: 'silent' }) }, project);

  await client.query(`update subscribers set due_at = null where workspace_id = $1 and due_at is not null`, [
    WORKSPACE_ID,
  ]);
  await client.query(
    `update subscribers set due_at = now() where workspace_id = $1 and subscriber_id in
       (select subscriber_id from subscribers where workspace_id = $1 and merged_into is null limit 5000)`,
    [WORKSPACE_ID],
  );
  const owner = randomUUID();
  const claimed: number[] = [];
  for (let round = 0; round < 140; ) {
    const begunMs = performance.now();
    const claims = await claimNext(database, WORKSPACE_ID, { owner, limit: 32 });
    const tookMs = performance.now() - begunMs;
    if (claims.length < 32) {
      // A small database has fewer subscribers than all rounds take: they are set free, and this round is not counted.
      if (round === 0) throw new Error('too few were due');
      await client.query(
        `update subscribers set lease_until = null, lease_owner = null where workspace_id = $1 and lease_owner = $2`,
        [WORKSPACE_ID, owner],
      );
      continue;
    }
    if (round >= 10) claimed.push(tookMs);
    if (round % 4 === 0) await Promise.all(claims.slice(0, 1).map((claim) => releaseClaim(database, claim)));
    round += 1;
  }

  const { rows } = await client.query<{ events: string; all: string; count: string }>(
    `select pg_total_relation_size('events') as events, pg_database_size(current_database()) as all,
            (select count(*) from events) as count`,
  );
  const [sizes] = rows;
  return {
    events,
    webhooksPerSecond: received.perSecond,
    webhook: received.times,
    firstCard: timesOf(firsts),
    card: timesOf(seconds2),
    firstPage: timesOf(pages.slice(0, 60)),
    deepPage: timesOf(pages.slice(-60)),
    settings,
    claim: timesOf(claimed),
    bytesPerEvent: Number(sizes?.events) / Number(sizes?.count),
    databaseGiB: Number(sizes?.all) / 2 ** 30,
  };
}

async function settingsReads(database: Database): Promise<Times> {
  const everything = { show: 'all', customer: null, kind: null, before: null, limit: 50 } as const;
  const reads: readonly (() => Promise<unknown>)[] = [
    () => readOverview(database, WORKSPACE_ID),
    () => readKindCounts(database, WORKSPACE_ID),
    () => readMatching(database, WORKSPACE_ID),
    () => readActivity(database, WORKSPACE_ID, 'Europe/Dublin'),
    () => readTimeToContact(database, WORKSPACE_ID),
    () =>
      readDeliveredKinds(
        database,
        WORKSPACE_ID,
        new Map(EVENT_KINDS.map((kind) => [kind, defaultEventName(kind)])),
      ),
    () => listDeliveries(database, WORKSPACE_ID, everything),
    () => listDeliveries(database, WORKSPACE_ID, { ...everything, show: 'failed' }),
    () => listDeliveries(database, WORKSPACE_ID, { ...everything, kind: 'refund' }),
  ];
  let slowest: Times = { p50Ms: 0, p99Ms: 0 };
  for (const read of reads) {
    const samples: number[] = [];
    for (let round = 0; round < 22; round += 1) {
      const begunMs = performance.now();
      await read();
      if (round >= 2) samples.push(performance.now() - begunMs);
    }
    const times = timesOf(samples);
    if (times.p50Ms > slowest.p50Ms) slowest = times;
  }
  return slowest;
}

/** A renewal as RevenueCat sends it. */
export function renewal(appUserId: string): Record<string, unknown> {
  const nowMs = Date.now();
  return {
    id: randomUUID(),
    type: 'RENEWAL',
    app_id: 'app1a2b3c4d',
    event_timestamp_ms: nowMs,
    app_user_id: appUserId,
    original_app_user_id: appUserId,
    aliases: [appUserId],
    product_id: 'pro_monthly',
    entitlement_ids: ['pro'],
    period_type: 'NORMAL',
    purchased_at_ms: nowMs,
    expiration_at_ms: nowMs + 30 * 86_400_000,
    store: 'APP_STORE',
    environment: 'PRODUCTION',
    is_family_share: false,
    country_code: 'US',
    currency: 'USD',
    price: 9.99,
    price_in_purchased_currency: 9.99,
    tax_percentage: 0,
    commission_percentage: 0.3,
    takehome_percentage: 0.7,
    transaction_id: randomUUID(),
    original_transaction_id: `original-${appUserId}`,
    renewal_number: 3,
    is_trial_conversion: false,
    subscriber_attributes: { $email: { value: `${appUserId}@example.com`, updated_at_ms: nowMs } },
  };
}

interface Shown {
  readonly ms: number;
  readonly storedData: unknown;
}

/** Cards of the running app, one request at a time over one connection. */
function cardsOf(
  appUrl: string,
  secret: string,
): (externalId: string, componentId: string | null, storedData?: unknown) => Promise<Shown> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  return (externalId, componentId, storedData) => {
    const body = JSON.stringify({
      workspace_id: WORKSPACE_ID,
      admin: { id: '1', name: 'Bench' },
      contact: { id: `contact-${externalId}`, external_id: externalId },
      conversation: { id: '1' },
      ...(componentId === null
        ? {}
        : { component_id: componentId, input_values: {}, current_canvas: { stored_data: storedData ?? {} } }),
    });
    const signature = createHmac('sha256', secret).update(body).digest('hex');
    const begunMs = performance.now();
    return new Promise((resolve, reject) => {
      const sent = request(
        `${appUrl}/canvas/inbox/${componentId === null ? 'initialize' : 'submit'}`,
        {
          method: 'POST',
          agent,
          headers: { 'Content-Type': 'application/json', 'X-Body-Signature': signature },
        },
        (answer) => {
          let text = '';
          answer.setEncoding('utf8');
          answer.on('data', (chunk: string) => {
            text += chunk;
          });
          answer.on('end', () => {
            const ms = performance.now() - begunMs;
            const isWhole = answer.statusCode === 200 && /"id":"(timeline|event:[^"]+)"/.test(text);
            if (!isWhole)
              return reject(new Error(`${componentId}: ${answer.statusCode} ${text.slice(0, 300)}`));
            resolve({
              ms,
              storedData: (JSON.parse(text) as { canvas: { stored_data?: unknown } }).canvas.stored_data,
            });
          });
        },
      );
      sent.on('error', reject);
      sent.end(body);
    });
  };
}
